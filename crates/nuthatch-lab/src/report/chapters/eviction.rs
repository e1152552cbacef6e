//! Eviction's price.

use super::{
    CLASSIC_COPY, CLASSIC_LOCK, LOCK_FREE, LOCKED, MOST_CURVES, at, by_threads, count, digits,
    distinct, figure, millions, of_workload, thread_counts, times,
};
use crate::footprint::Operation;
use crate::keys::Kind;
use crate::report::document::Document;
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::EvictRow;
use crate::svg::{Axis, Curve, LineChart, Point};

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("2. Eviction's price");
    document.text(
        "The other half of the classic finding: the lock-free design collapses as soon as it must evict. Its \
         map hides its insides, so the least recently used entry can only be found by looking at all entries, \
         and each eviction copies them. The design behind a lock sorts in place, and so is ahead, though it \
         too pays for every entry it has. An eviction that follows a link costs the same however large \
         the cache is.",
    );
    let rows = &results.evict;
    let command = results.command(Part::Evict, "evict");
    let value = |name: &str, y: &str, of: fn(&EvictRow) -> Point| {
        let curve = |cache: &str| Curve {
            name: cache.to_owned(),
            points: rows
                .iter()
                .filter(|row| row.cache == cache)
                .map(of)
                // What is not there has no logarithm, and keeps its colour free.
            .filter(|point| point.low > 0.0)
                .collect(),
        };
        let caches = distinct(rows.iter().map(|row| row.cache.as_str()));
        let curves = caches.into_iter().take(MOST_CURVES).map(curve).collect();
        LineChart {
            title: name.to_owned(),
            x: Axis::log("entries that the cache holds"),
            y: Axis::log(y),
            curves,
        }
    };
    let time = value(
        "An insertion into a full cache, with its eviction",
        "nanoseconds",
        |row| Point {
            x: f64::from(row.capacity),
            y: row.ns_per_insert,
            low: row.ns_per_insert_min,
            high: row.ns_per_insert_max,
        },
    );
    if let Some(figure) = figure("evict-time", time) {
        document.figure(figure, &reading(rows), command.as_deref());
    }
    let bytes = value(
        "Memory asked for by an insertion into a full cache",
        "bytes allocated per insertion",
        |row| {
            // Less than a thousandth of a byte is none: a list that grew once in the whole run.
            let bytes = if row.bytes_per_insert < 1e-3 {
                0.0
            } else {
                row.bytes_per_insert
            };
            Point::exact(f64::from(row.capacity), bytes)
        },
    );
    if let Some(figure) = figure("evict-bytes", bytes) {
        document.figure(figure, &bytes_reading(rows), command.as_deref());
    }
    let threaded = of_workload(&results.evict_threads, "evict", Kind::U64);
    let title = "Insertions into a full cache of 10,000 entries";
    if let Some(figure) = by_threads(title, "evict-threads", &threaded) {
        let threads = *thread_counts(&threaded).last().expect("there are rows");
        let mut text = format!("On {threads} threads");
        let told: Vec<_> = [LOCK_FREE, LOCKED, CLASSIC_LOCK, CLASSIC_COPY]
            .into_iter()
            .filter_map(|cache| Some((cache, millions(at(&threaded, cache, threads)?))))
            .map(|(cache, rate)| {
                format!("{cache} makes {} million insertions a second", digits(rate))
            })
            .collect();
        text += &format!(", {}.", told.join(", "));
        if let (Some(lock), Some(copy)) = (
            at(&threaded, CLASSIC_LOCK, 1),
            at(&threaded, CLASSIC_COPY, 1),
        ) {
            let ratio = millions(lock) / millions(copy);
            text += &format!(
                " Of the classic designs the one with the lock makes {} as many as the lock-free one on one thread.",
                times(ratio)
            );
        }
        document.figure(
            figure,
            &text,
            results.command(Part::EvictThreads, "evict").as_deref(),
        );
    }
    footprints(document, results);
    document.text(
        "What Nuthatch's engines do about it: entries lie in a slab that readers reach without a lock and whose \
         order the policy keeps in lists of indices, guarded by the shard's writer lock. An eviction takes the \
         victim off its list and its cell out of the table; readers that still look at the entry are \
         protected by hazard pointers, and it is dropped when they are gone. Nothing is copied or searched.",
    );
}

/// What writes execute and touch.
fn footprints(document: &mut Document, results: &Results) {
    let writes = results
        .footprint
        .iter()
        .filter(|row| row.operation != Operation::Hit && row.keys == Kind::U64);
    let rows: Vec<_> = writes
        .map(|row| {
            vec![
                format!("{}, {}", row.cache, row.operation),
                digits(row.instructions),
                digits(row.atomic_instructions),
                digits(row.lines_read),
                digits(row.lines_written),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    document.section("What writes execute and touch");
    document.text(
        "Followed step by step, means of some tens of operations. *update* overwrites a resident key, *evict* \
         inserts a new one into a full cache. Each line that is read or written may be a wait for memory, or \
         for another core that has it.",
    );
    let columns = [
        "u64 keys",
        "instructions",
        "atomic",
        "lines read",
        "lines written",
    ];
    document.table(&columns, &rows);
    if let Some(command) = results.command(Part::Footprint, "evict") {
        document.text(&format!("```sh\n{command}\n```"));
    }
}

fn of<'a>(rows: &'a [EvictRow], cache: &str) -> Vec<&'a EvictRow> {
    rows.iter().filter(|row| row.cache == cache).collect()
}

fn reading(rows: &[EvictRow]) -> String {
    let mut sentences = Vec::new();
    for cache in [LOCK_FREE, CLASSIC_COPY, CLASSIC_LOCK] {
        let own = of(rows, cache);
        if let (Some(first), Some(last)) = (own.first(), own.last()) {
            sentences.push(format!(
                "{cache}: {} ns at {} entries, {} ns at {}.",
                count(first.ns_per_insert.round()),
                count(first.capacity.into()),
                count(last.ns_per_insert.round()),
                count(last.capacity.into())
            ));
        }
    }
    let ratios = of(rows, CLASSIC_COPY).into_iter().filter_map(|copy| {
        let ours = rows
            .iter()
            .find(|row| row.cache == LOCK_FREE && row.capacity == copy.capacity)?;
        Some(format!(
            "{} at {}",
            times(copy.ns_per_insert / ours.ns_per_insert),
            count(copy.capacity.into())
        ))
    });
    let ratios: Vec<_> = ratios.collect();
    if !ratios.is_empty() {
        sentences.push(format!("Copying costs {} entries.", ratios.join(", ")));
    }
    let largest = rows.iter().map(|row| row.capacity).max().unwrap_or(0);
    let best = rows
        .iter()
        .filter(|row| row.capacity == largest)
        .min_by(|a, b| a.ns_per_insert.total_cmp(&b.ns_per_insert));
    if let Some(best) = best {
        sentences.push(format!(
            "At {} entries the quickest is {} with {} ns. What rises for the others is the wait for memory: \
             more entries, fewer of them in the processor's caches.",
            count(largest.into()),
            best.cache,
            digits(best.ns_per_insert)
        ));
    }
    sentences.join(" ")
}

fn bytes_reading(rows: &[EvictRow]) -> String {
    let mut text = String::new();
    if let Some(copy) = of(rows, CLASSIC_COPY).last() {
        text += &format!(
            "At {} entries {CLASSIC_COPY} asks for {} bytes for one eviction: its copy of all keys and times.",
            count(copy.capacity.into()),
            count(copy.bytes_per_insert.round())
        );
    }
    let none: Vec<_> = distinct(rows.iter().map(|row| row.cache.as_str()))
        .into_iter()
        .filter(|cache| {
            of(rows, cache)
                .iter()
                .all(|row| row.bytes_per_insert < 1e-3)
        })
        .collect();
    if !none.is_empty() {
        text += &format!(
            " No allocation at all, and so no curve: {}.",
            none.join(", ")
        );
    }
    let ours = of(rows, LOCK_FREE);
    let most = ours
        .iter()
        .map(|row| row.allocs_per_insert)
        .fold(0.0, f64::max);
    if !ours.is_empty() {
        text += &format!(
            " {LOCK_FREE} makes {most:.4} allocations for an eviction where it makes most; where that is not 0, \
             its lists of slots grew."
        );
    }
    text
}
