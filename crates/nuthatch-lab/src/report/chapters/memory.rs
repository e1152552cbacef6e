//! What an entry costs.

use super::{LOCK_FREE, digits, distinct, is_ours};
use crate::keys::Kind;
use crate::report::document::{Document, Figure};
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::{MemoryRow, Phase};
use crate::svg::{Axis, BarChart, BarGroup};

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("5. Memory per entry");
    document.text(
        "Bytes of the heap by the allocator's own count, for each entry that is resident: after filling, and \
         after the content was turned over. A cache that is built for a number of entries and takes more for \
         each leaves less for the values. Caches with threads of their own cannot be counted this way.",
    );
    for keys in Kind::ALL {
        let rows: Vec<_> = results
            .memory
            .iter()
            .filter(|row| row.keys == keys)
            .collect();
        if !rows.iter().any(|row| row.heap_bytes_per_entry.is_some()) {
            continue;
        }
        let kind = match keys {
            Kind::U64 => "u64 keys and values",
            Kind::String => "String keys of 32 bytes, values of 100",
        };
        let chart = BarChart {
            title: format!("Memory of an entry: {kind}"),
            axis: Axis::linear("bytes per entry"),
            series: ["after churn", "after filling"].map(str::to_owned).to_vec(),
            groups: groups(&rows),
        };
        let figure = Figure {
            name: format!("memory-{keys}"),
            title: chart.title.clone(),
            svg: chart.to_svg(),
        };
        let command = results.command(Part::Memory, &keys.to_string());
        document.figure(figure, &reading(&rows, keys), command.as_deref());
    }
}

fn bytes(rows: &[&MemoryRow], cache: &str, phase: Phase) -> Option<f64> {
    let row = rows
        .iter()
        .find(|row| row.cache == cache && row.phase == phase)?;
    row.heap_bytes_per_entry
}

/// The leanest first.
fn groups(rows: &[&MemoryRow]) -> Vec<BarGroup> {
    let caches = distinct(rows.iter().map(|row| row.cache.as_str()));
    let mut groups: Vec<_> = caches
        .into_iter()
        .map(|cache| BarGroup {
            name: cache.to_owned(),
            values: [Phase::Churn, Phase::Fill]
                .map(|phase| bytes(rows, cache, phase))
                .to_vec(),
        })
        .collect();
    let key = |group: &BarGroup| group.values[0].unwrap_or(f64::INFINITY);
    groups.sort_by(|a, b| key(a).total_cmp(&key(b)));
    groups
}

fn reading(rows: &[&MemoryRow], keys: Kind) -> String {
    let mut text = format!(
        "{} of these bytes are the entry itself. ",
        match keys {
            Kind::U64 => "16".to_owned(),
            Kind::String => format!(
                "{} are the blocks behind key and value; 40 more",
                keys.payload_bytes()
            ),
        }
    );
    let churned = |cache: &str| bytes(rows, cache, Phase::Churn);
    if let Some(ours) = churned(LOCK_FREE) {
        let leaner = rows
            .iter()
            .filter(|row| row.phase == Phase::Churn && !is_ours(&row.cache))
            .filter(|row| row.heap_bytes_per_entry.is_some_and(|bytes| bytes < ours))
            .map(|row| row.cache.as_str());
        let leaner: Vec<_> = leaner.collect();
        text += &format!("After churn {LOCK_FREE} takes {} bytes", digits(ours));
        if let Some(expiring) = churned("nuthatch-lockfree:ttl") {
            text += &format!(", {} where entries expire", digits(expiring));
        }
        text += &match leaner.as_slice() {
            [] => "; no other cache takes less.".to_owned(),
            leaner => format!("; leaner: {}.", leaner.join(", ")),
        };
    }
    text
}
