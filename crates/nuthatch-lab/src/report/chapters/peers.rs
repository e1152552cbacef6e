//! All caches beside each other, our losses first.

use super::{LOCK_FREE, digits, distinct, family, is_ours, millions, several};
use crate::caches::Family;
use crate::keys::Kind;
use crate::report::document::Document;
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::ThroughputRow;

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("6. The peers");
    let rows = &results.peers;
    if rows.is_empty() {
        document.text("Not measured.");
        return;
    }
    document.text(
        "Million operations per second. In the first table each line is a workload, and its ratio that of our \
         lock-free engine with its default policy to the fastest *other* cache that keeps a bound; losses first. \
         Where the ranges of both overlap nothing is claimed.",
    );
    versus(document, rows);
    for keys in Kind::ALL {
        let threads = distinct(
            rows.iter()
                .filter(|row| row.keys == keys)
                .map(|row| &row.threads),
        );
        for &threads in &threads {
            whole(document, rows, keys, *threads);
        }
    }
    let commands: Vec<_> = results
        .units
        .iter()
        .filter(|unit| unit.part == Part::Peers)
        .map(|unit| format!("nuthatch-lab {}", unit.command.join(" ")))
        .collect();
    if let [first, ..] = commands.as_slice() {
        document.text(&format!(
            "The first of {} such commands:\n\n```sh\n{first}\n```",
            commands.len()
        ));
    }
}

fn versus(document: &mut Document, rows: &[ThroughputRow]) {
    let ours = rows.iter().filter(|row| row.cache == LOCK_FREE);
    let mut lines: Vec<_> = ours
        .filter_map(|ours| {
            let best = fastest_peer(rows, ours)?;
            let overlap = ours.ops_per_s_min <= best.ops_per_s_max
                && best.ops_per_s_min <= ours.ops_per_s_max;
            let ratio = millions(ours) / millions(best);
            Some((ratio, overlap, ours, best))
        })
        .collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let range = |row: &ThroughputRow| {
        format!(
            "{} ({} to {})",
            digits(millions(row)),
            digits(row.ops_per_s_min / 1e6),
            digits(row.ops_per_s_max / 1e6)
        )
    };
    let table: Vec<_> = lines
        .iter()
        .map(|(ratio, overlap, ours, best)| {
            let verdict = match (overlap, *ratio < 1.0) {
                (true, _) => "level",
                (false, true) => "**lost**",
                (false, false) => "won",
            };
            vec![
                format!(
                    "{}, {} keys, {}",
                    ours.workload,
                    ours.keys,
                    several(ours.threads as usize, "thread")
                ),
                range(ours),
                format!("{} {}", best.cache, range(best)),
                format!("{ratio:.2}"),
                verdict.to_owned(),
            ]
        })
        .collect();
    document.table(
        &["workload", LOCK_FREE, "fastest other", "ratio", ""],
        &table,
    );
    let verdict = |wanted: &str| table.iter().filter(|line| line[4] == wanted).count();
    document.text(&format!(
        "{} lost, {} level, {} won.",
        verdict("**lost**"),
        verdict("level"),
        verdict("won")
    ));
}

/// The fastest cache of another library that keeps a bound, at what `ours` was measured at.
pub(super) fn fastest_peer<'a>(
    rows: &'a [ThroughputRow],
    ours: &ThroughputRow,
) -> Option<&'a ThroughputRow> {
    fastest(rows, ours, Family::Peer)
}

/// The fastest of a family, at what `ours` was measured at.
pub(super) fn fastest<'a>(
    rows: &'a [ThroughputRow],
    ours: &ThroughputRow,
    wanted: Family,
) -> Option<&'a ThroughputRow> {
    rows.iter()
        .filter(|row| {
            (&row.workload, row.keys, row.threads) == (&ours.workload, ours.keys, ours.threads)
        })
        .filter(|row| family(&row.cache) == Some(wanted))
        .max_by(|a, b| a.ops_per_s_median.total_cmp(&b.ops_per_s_median))
}

/// All caches at so many threads, the fastest bounded one of each workload in bold.
fn whole(document: &mut Document, rows: &[ThroughputRow], keys: Kind, threads: u32) {
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row.keys == keys && row.threads == threads)
        .collect();
    let caches = distinct(rows.iter().map(|row| row.cache.as_str()));
    let workloads = distinct(rows.iter().map(|row| row.workload.as_str()));
    let (caches, maps): (Vec<_>, Vec<_>) = caches
        .into_iter()
        .partition(|cache| family(cache) != Some(Family::Map));
    let of = |cache: &str, workload: &str| {
        let row = rows
            .iter()
            .find(|row| row.cache == cache && row.workload == workload);
        row.map(|row| millions(row))
    };
    let table: Vec<Vec<String>> = caches
        .iter()
        .chain(&maps)
        .map(|cache| {
            let name = match (is_ours(cache), maps.contains(cache)) {
                (true, _) => format!("**{cache}**"),
                (_, true) => format!("{cache} (no bound)"),
                _ => (*cache).to_owned(),
            };
            let cells = workloads.iter().map(|workload| {
                let Some(rate) = of(cache, workload) else {
                    return "failed".to_owned();
                };
                let best = caches
                    .iter()
                    .filter_map(|other| of(other, workload))
                    .fold(0.0, f64::max);
                if rate >= best && !maps.contains(cache) {
                    format!("**{}**", digits(rate))
                } else {
                    digits(rate)
                }
            });
            [name].into_iter().chain(cells).collect()
        })
        .collect();
    document.section(&format!(
        "Entries of {keys}, {}",
        several(threads as usize, "thread")
    ));
    let headings: Vec<_> = ["M ops/s"].into_iter().chain(workloads).collect();
    document.table(&headings, &table);
}
