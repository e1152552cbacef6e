//! What the project aims at, and what this run found.

use super::peers::{fastest, fastest_peer};
use super::{
    CLASSIC_COPY, CLASSIC_LOCK, LOCK_FREE, at, count, digits, distinct, is_ours, millions,
    of_workload, times,
};
use crate::caches::Family;
use crate::grid::standings;
use crate::keys::Kind;
use crate::report::document::Document;
use crate::report::results::Results;
use crate::rows::{EvictRow, Phase, ThroughputRow};

/// `String` and `Arc<[u8]>` themselves, which are the user's and not the cache's.
const STRING_AND_ARC_BYTES: f64 = 40.0;
/// The capacity at which the classic design that copies is compared.
const COMPARED_CAPACITY: u32 = 100_000;

/// One aim, and what was found of it.
struct Target {
    what: &'static str,
    aim: &'static str,
    found: String,
    met: bool,
}

pub(super) fn write(document: &mut Document, results: &Results) {
    let targets = targets(results);
    if targets.is_empty() {
        return;
    }
    document.chapter("Against the aims");
    let missed = targets.iter().filter(|target| !target.met).count();
    document.text(&format!(
        "What the project holds itself to, with the figures of this run: {} of {} aims are met. \
         `docs/benchmarks.md` says what was tried for the others and where the limit is.",
        targets.len() - missed,
        targets.len()
    ));
    let (unmet, met): (Vec<_>, Vec<_>) = targets.iter().partition(|target| !target.met);
    let line = |target: &&Target| {
        vec![
            target.what.to_owned(),
            target.aim.to_owned(),
            target.found.clone(),
            if target.met { "met" } else { "**missed**" }.to_owned(),
        ]
    };
    let rows: Vec<_> = unmet.iter().chain(&met).map(line).collect();
    document.table(&["what", "aim", "found", ""], &rows);
}

fn targets(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    throughput(&mut targets, &results.peers);
    threads(&mut targets, &results.lock);
    evictions(&mut targets, &results.evict);
    memory(&mut targets, results);
    latency(&mut targets, &results.latency);
    misses(&mut targets, results);
    targets
}

/// Ratios of ours to the fastest of a family, at each number of threads, and the least of them.
fn against(rows: &[ThroughputRow], workload: &str, family: Family) -> Option<(String, f64)> {
    let ours = of_workload(rows, workload, Kind::U64);
    let ours = ours.into_iter().filter(|row| row.cache == LOCK_FREE);
    let ratios: Vec<_> = ours
        .filter_map(|ours| {
            let best = match family {
                Family::Peer => fastest_peer(rows, ours),
                family => fastest(rows, ours, family),
            }?;
            Some((
                ours.threads,
                millions(ours) / millions(best),
                best.cache.as_str(),
            ))
        })
        .collect();
    let least = ratios.iter().map(|(_, ratio, _)| *ratio).reduce(f64::min)?;
    let told = ratios
        .iter()
        .map(|(threads, ratio, cache)| format!("{ratio:.2} of {cache} on {threads}"));
    Some((
        format!("{} threads", told.collect::<Vec<_>>().join(", ")),
        least,
    ))
}

fn throughput(targets: &mut Vec<Target>, rows: &[ThroughputRow]) {
    for (workload, what, family, aim, least) in [
        (
            "read-only",
            "pure reads",
            Family::Peer,
            "1.2 times the fastest bounded cache",
            1.2,
        ),
        (
            "read-heavy",
            "reads among 5 % writes",
            Family::Peer,
            "1.2 times the fastest bounded cache",
            1.2,
        ),
        (
            "read-only",
            "pure reads, maps",
            Family::Map,
            "0.8 of the fastest map without a bound",
            0.8,
        ),
        (
            "read-heavy",
            "reads among 5 % writes, maps",
            Family::Map,
            "0.8 of the fastest map without a bound",
            0.8,
        ),
        (
            "write-heavy",
            "75 % writes",
            Family::Peer,
            "as fast as the fastest",
            1.0,
        ),
        (
            "evict",
            "insertions that evict",
            Family::Peer,
            "as fast as the fastest",
            1.0,
        ),
    ] {
        if let Some((found, ratio)) = against(rows, workload, family) {
            let met = ratio >= least;
            targets.push(Target {
                what,
                aim,
                found,
                met,
            });
        }
    }
}

fn threads(targets: &mut Vec<Target>, rows: &[ThroughputRow]) {
    let rows = of_workload(rows, "read-heavy", Kind::U64);
    let row = |cache: &str, threads: u32| at(&rows, cache, threads);
    if let (Some(two), Some(many)) = (row(LOCK_FREE, 2), row(LOCK_FREE, 1000)) {
        let of_two = |rate: f64| rate / two.ops_per_s_median;
        let found = of_two(many.ops_per_s_median);
        targets.push(Target {
            what: "1,000 threads, reads among 5 % writes",
            aim: "half of what two threads make",
            found: format!(
                "{found:.2} of it, {:.2} to {:.2} by round",
                of_two(many.ops_per_s_min),
                of_two(many.ops_per_s_max)
            ),
            met: found >= 0.5,
        });
    }
    if let (Some(ours), Some(classic)) = (row(LOCK_FREE, 1000), row(CLASSIC_LOCK, 1000)) {
        let ratio = millions(ours) / millions(classic);
        targets.push(Target {
            what: "the classic RwLock cache at 1,000 threads",
            aim: "3 times as fast",
            found: times(ratio),
            met: ratio >= 3.0,
        });
    }
}

fn evictions(targets: &mut Vec<Target>, rows: &[EvictRow]) {
    let of = |cache: &str, capacity: u32| {
        let row = rows
            .iter()
            .find(|row| row.cache == cache && row.capacity == capacity);
        row.map(|row| row.ns_per_insert)
    };
    let gap = |capacity| Some(of(CLASSIC_COPY, capacity)? / of(LOCK_FREE, capacity)?);
    if let (Some(small), Some(large)) = (gap(COMPARED_CAPACITY / 100), gap(COMPARED_CAPACITY)) {
        targets.push(Target {
            what: "the classic copying design, evicting from 100,000 entries",
            aim: "50 times as fast, and growing",
            found: format!("{}, {} at 1,000 entries", times(large), times(small)),
            met: large >= 50.0 && large > small,
        });
    }
    let ours: Vec<_> = rows.iter().filter(|row| row.cache == LOCK_FREE).collect();
    let (Some(smallest), Some(largest)) = (
        ours.iter().map(|row| row.capacity).min(),
        ours.iter().map(|row| row.capacity).max(),
    ) else {
        return;
    };
    let rise = |cache: &str| Some(of(cache, largest)? / of(cache, smallest)?);
    let peers = distinct(rows.iter().map(|row| row.cache.as_str()))
        .into_iter()
        .filter(|cache| !is_ours(cache) && !cache.starts_with("classic"));
    let mut rises: Vec<_> = peers.filter_map(rise).collect();
    rises.sort_by(f64::total_cmp);
    if let (Some(own), Some(&typical)) = (rise(LOCK_FREE), rises.get(rises.len() / 2)) {
        targets.push(Target {
            what: "the cost of an eviction as the cache grows",
            aim: "flat but for the wait for memory: at most 1.3 times the rise of the others",
            found: format!(
                "{} from {} to {} entries; the others' median {}",
                times(own),
                count(smallest.into()),
                count(largest.into()),
                times(typical)
            ),
            met: own <= 1.3 * typical,
        });
    }
    let most = ours
        .iter()
        .map(|row| row.allocs_per_insert)
        .fold(0.0, f64::max);
    targets.push(Target {
        what: "allocations for an eviction",
        aim: "none",
        found: format!("{most:.4} where there are most"),
        met: most < 5e-5,
    });
}

fn memory(targets: &mut Vec<Target>, results: &Results) {
    let bytes = |cache: &str, keys: Kind| {
        let row = results
            .memory
            .iter()
            .find(|row| row.cache == cache && row.keys == keys && row.phase == Phase::Churn)?;
        row.heap_bytes_per_entry
    };
    let mut add = |what, aim, found: Option<f64>, most: f64| {
        if let Some(found) = found {
            targets.push(Target {
                what,
                aim,
                found: format!("{} bytes", digits(found)),
                met: found <= most,
            });
        }
    };
    add(
        "memory of a u64 entry",
        "40 bytes",
        bytes(LOCK_FREE, Kind::U64),
        40.0,
    );
    add(
        "memory of a u64 entry that can expire",
        "48 bytes",
        bytes("nuthatch-lockfree:ttl", Kind::U64),
        48.0,
    );
    let payload = Kind::String.payload_bytes() as f64 + STRING_AND_ARC_BYTES;
    add(
        "memory of a String entry beside key, value and their blocks",
        "40 bytes",
        bytes(LOCK_FREE, Kind::String).map(|bytes| bytes - payload),
        40.0,
    );
}

fn latency(targets: &mut Vec<Target>, rows: &[ThroughputRow]) {
    for (workload, what) in [
        (
            "write-heavy",
            "99.9th percentile of a hit among 75 % writes",
        ),
        ("read-heavy", "99.9th percentile of a hit among 5 % writes"),
    ] {
        let row = rows
            .iter()
            .find(|row| row.cache == LOCK_FREE && row.workload == workload);
        if let Some((median, rare)) =
            row.and_then(|row| Some((row.hit_p50_ns? as f64, row.hit_p999_ns? as f64)))
        {
            targets.push(Target {
                what,
                aim: "4 times the median",
                found: format!(
                    "{} ({} of {} ns)",
                    times(rare / median),
                    digits(rare),
                    digits(median)
                ),
                met: rare <= 4.0 * median,
            });
        }
    }
}

fn misses(targets: &mut Vec<Target>, results: &Results) {
    let standings = standings(&results.policies);
    let Some(default) = standings.iter().find(|each| each.policy == "default") else {
        return;
    };
    targets.push(Target {
        what: "the default policy behind the best of each cell",
        aim: "5 points at most",
        found: format!(
            "{:.1} points, on {}",
            default.worst_points, default.worst_at
        ),
        met: default.worst_points <= 5.0,
    });
    if let Some(worse) = default.worse_than_lru {
        targets.push(Target {
            what: "cells in which the default is a point worse than LRU",
            aim: "2 at most",
            found: worse.to_string(),
            met: worse <= 2,
        });
    }
}
