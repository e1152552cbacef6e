//! What changed between two reports, and what is only noise.
//!
//! Each row has the range of its rounds. Where the ranges of both reports overlap nothing is claimed.
//! A machine that is faster or slower as a whole moves all caches, so the median movement of the
//! others' caches, which did not change, is taken off ours first. Where rows do not come from a
//! clock, the smallest difference that means something is given.

use super::results::Results;
use crate::caches::{CacheSpec, Family};
use crate::rows::ThroughputRow;
use std::collections::BTreeMap;

/// Bytes of an entry differ from this share on,
const BYTES_SHARE: f64 = 0.01;
/// and miss ratios from so many points on.
const POINTS: f64 = 0.1;

/// A measured value that differs beyond the noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What was measured.
    pub what: String,
    /// The value of the other report, with its unit.
    pub before: String,
    /// That of this one.
    pub after: String,
    /// By how much it is larger, as a share; below 0 it is smaller. The drift is taken off.
    pub share: f64,
    /// Whether that is an improvement.
    pub better: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What changed, the largest change first.
    pub changes: Vec<Change>,
    /// Values that are in both reports.
    pub compared: usize,
    /// By what factor other libraries' throughput moved: the machine's drift.
    pub drift: f64,
}

/// A value with its range.
#[derive(Clone, Debug)]
struct Value {
    median: f64,
    low: f64,
    high: f64,
    unit: &'static str,
    more_is_better: bool,
    /// Whether it comes from a clock, and so moves with the machine.
    timed: bool,
    ours: bool,
}

impl Value {
    fn exact(value: f64, slack: f64, unit: &'static str, cache: &str) -> Self {
        Self {
            median: value,
            low: value - slack,
            high: value + slack,
            unit,
            more_is_better: false,
            timed: false,
            ours: is_ours(cache),
        }
    }
}

fn is_ours(cache: &str) -> bool {
    cache
        .parse::<CacheSpec>()
        .is_ok_and(|cache| cache.info().family == Family::Ours)
}

/// All values of a report by what they are of.
fn values(results: &Results) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    let parts = [
        ("resident", &results.lock),
        ("evictions", &results.evict_threads),
        ("among writes", &results.latency),
        ("all caches", &results.peers),
    ];
    for (part, rows) in parts {
        for row in rows {
            values.insert(format!("{part}: {}", place(row)), rate(row));
        }
    }
    for row in &results.evict {
        let value = Value {
            median: row.ns_per_insert,
            low: row.ns_per_insert_min,
            high: row.ns_per_insert_max,
            unit: "ns",
            more_is_better: false,
            timed: true,
            ours: is_ours(&row.cache),
        };
        values.insert(
            format!("eviction: {}, {} entries", row.cache, row.capacity),
            value,
        );
    }
    for row in &results.memory {
        let Some(bytes) = row.heap_bytes_per_entry else {
            continue;
        };
        let value = Value::exact(bytes, 0.5 * BYTES_SHARE * bytes, "bytes", &row.cache);
        values.insert(
            format!("memory: {}, {}, {:?}", row.cache, row.keys, row.phase),
            value,
        );
    }
    for cell in results.policies.iter().chain(&results.weights) {
        let value = Value::exact(100.0 * cell.miss_ratio, POINTS / 2.0, "% missed", "");
        values.insert(
            format!("policy: {}, {} at {}", cell.policy, cell.trace, cell.size),
            value,
        );
    }
    values
}

fn place(row: &ThroughputRow) -> String {
    format!(
        "{}, {}, {}, {} threads",
        row.cache, row.workload, row.keys, row.threads
    )
}

fn rate(row: &ThroughputRow) -> Value {
    Value {
        median: row.ops_per_s_median / 1e6,
        low: row.ops_per_s_min / 1e6,
        high: row.ops_per_s_max / 1e6,
        unit: "M ops/s",
        more_is_better: true,
        timed: true,
        ours: is_ours(&row.cache),
    }
}

impl Comparison {
    /// What changed from `before` to `after`.
    pub fn new(before: &Results, after: &Results) -> Self {
        let (before, after) = (values(before), values(after));
        let pairs: Vec<_> = after
            .iter()
            .filter_map(|(what, after)| Some((what, before.get(what)?, after)))
            .collect();
        let drift = drift(&pairs);
        let mut changes: Vec<_> = pairs
            .iter()
            .filter_map(|&(what, before, after)| change(what, before, after, drift))
            .collect();
        changes.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
        Self {
            changes,
            compared: pairs.len(),
            drift,
        }
    }
}

/// The median factor by which others' caches became faster.
fn drift(pairs: &[(&String, &Value, &Value)]) -> f64 {
    let others = pairs
        .iter()
        .filter(|(_, before, after)| after.timed && !after.ours && before.median > 0.0);
    let mut factors: Vec<_> = others
        .map(|(_, before, after)| {
            let factor = after.median / before.median;
            if after.more_is_better {
                factor
            } else {
                factor.recip()
            }
        })
        .filter(|factor| factor.is_finite() && *factor > 0.0)
        .collect();
    factors.sort_by(f64::total_cmp);
    factors.get(factors.len() / 2).copied().unwrap_or(1.0)
}

fn change(what: &str, before: &Value, after: &Value, drift: f64) -> Option<Change> {
    let factor = match (after.timed, after.more_is_better) {
        (false, _) => 1.0,
        (true, true) => drift,
        (true, false) => drift.recip(),
    };
    let (low, high) = (before.low * factor, before.high * factor);
    if after.low <= high && low <= after.high {
        return None;
    }
    let share = after.median / (before.median * factor) - 1.0;
    let told = |value: &Value| format!("{} {}", crate::svg::short(value.median), value.unit);
    Some(Change {
        what: what.to_owned(),
        before: told(before),
        after: told(after),
        share,
        better: (share > 0.0) == after.more_is_better,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(median: f64, ours: bool) -> Value {
        Value {
            median,
            low: 0.95 * median,
            high: 1.05 * median,
            unit: "M ops/s",
            more_is_better: true,
            timed: true,
            ours,
        }
    }

    #[test]
    fn ranges_that_overlap_are_no_change() {
        assert_eq!(
            change("a", &timed(10.0, true), &timed(10.8, true), 1.0),
            None
        );
        let change = change("a", &timed(10.0, true), &timed(12.0, true), 1.0).unwrap();
        assert!(change.better && (change.share - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_machine_that_became_faster_is_taken_off() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let before = [timed(10.0, false), timed(20.0, false), timed(30.0, true)];
        let after = [timed(15.0, false), timed(30.0, false), timed(45.0, true)];
        let pairs: Vec<_> = (0..3)
            .map(|at| (&names[at], &before[at], &after[at]))
            .collect();
        let drift = drift(&pairs);
        assert_eq!(drift, 1.5);
        assert_eq!(change("c", &before[2], &after[2], drift), None);
        let unmoved = change("c", &before[2], &before[2], drift).unwrap();
        assert!(!unmoved.better);
    }

    #[test]
    fn what_no_clock_measured_does_not_drift() {
        let value = |bytes| Value::exact(bytes, 0.2, "bytes", "nuthatch-lockfree");
        assert_eq!(change("m", &value(40.0), &value(40.3), 2.0), None);
        let grown = change("m", &value(40.0), &value(44.0), 2.0).unwrap();
        assert!(!grown.better && (grown.share - 0.1).abs() < 1e-9);
    }
}
