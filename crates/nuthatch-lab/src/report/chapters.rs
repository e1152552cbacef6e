//! The chapters, from question to answer. Every figure in a sentence is computed from the rows, so
//! the text says what was measured here, also where that is not what one hoped for.

mod eviction;
mod latency;
mod lock;
mod memory;
mod method;
mod peers;
mod policies;
mod targets;

use super::compare::Comparison;
use super::document::{Document, Figure};
use super::results::Results;
use crate::caches::{CacheSpec, Family};
use crate::keys::Kind;
use crate::rows::ThroughputRow;
use crate::svg::{Axis, Curve, LineChart, Point};

/// The two engines, and the two designs that most programs have.
const LOCK_FREE: &str = "nuthatch-lockfree";
const LOCKED: &str = "nuthatch-locked";
const CLASSIC_LOCK: &str = "classic-rwlock";
const CLASSIC_COPY: &str = "classic-lockfree";
/// The curves that a chart can tell apart.
const MOST_CURVES: usize = 8;

/// Writes the report; with a comparison, what changed comes first.
pub fn document(results: &Results, comparison: Option<&Comparison>) -> Document {
    let mut document = Document::new("Nuthatch: which cache, for which work, and why");
    opening(&mut document, results);
    if let Some(comparison) = comparison {
        changes(&mut document, comparison);
    }
    targets::write(&mut document, results);
    lock::write(&mut document, results);
    eviction::write(&mut document, results);
    latency::write(&mut document, results);
    policies::write(&mut document, results);
    memory::write(&mut document, results);
    peers::write(&mut document, results);
    method::write(&mut document, results);
    document
}

fn opening(document: &mut Document, results: &Results) {
    let about = &results.about;
    document.text(&format!(
        "Measured on {} with {}, laboratory {}, on {}. Every chart has the command that made it; rates \
         of different machines or days do not compare, ratios within one command do.",
        about.machine, about.compiler, about.program, about.date
    ));
    if about.machine.threads < 4 {
        document.text(&format!(
            "This machine runs {} threads at a time. With more threads than that one sees what happens \
             when a lock's holder loses its processor, not how a design scales.",
            about.machine.threads
        ));
    }
    let failures = results
        .units
        .iter()
        .filter(|unit| unit.failure.is_some())
        .count();
    if failures > 0 {
        document.text(&format!(
            "**{} failed**, wholly or in part; the last chapter has what was said.",
            several(failures, "measurement")
        ));
    }
}

fn changes(document: &mut Document, comparison: &Comparison) {
    document.chapter("What changed");
    let Comparison {
        changes,
        compared,
        drift,
    } = comparison;
    document.text(&format!(
        "Of {compared} values that both reports have, {} differ by more than the ranges of their rounds. \
         Other libraries' caches, which did not change, became {drift:.2} times as fast; that is the \
         machine's doing and is taken off.",
        changes.len()
    ));
    let rows: Vec<_> = changes
        .iter()
        .map(|change| {
            vec![
                change.what.clone(),
                change.before.clone(),
                change.after.clone(),
                format!("{:+.1} %", 100.0 * change.share),
                if change.better { "better" } else { "worse" }.to_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        document.table(&["what", "before", "now", "change", ""], &rows);
    }
}

/// A ratio in words.
fn times(ratio: f64) -> String {
    let decimals = match ratio {
        ratio if ratio >= 999.5 => return format!("{} times", count(ratio)),
        ratio if ratio >= 9.95 => 0,
        ratio if ratio >= 1.095 => 1,
        _ => 2,
    };
    format!("{ratio:.decimals$} times")
}

/// Operations per second, in millions.
fn millions(row: &ThroughputRow) -> f64 {
    row.ops_per_s_median / 1e6
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || value == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn family(cache: &str) -> Option<Family> {
    cache
        .parse::<CacheSpec>()
        .ok()
        .map(|cache| cache.info().family)
}

fn is_ours(cache: &str) -> bool {
    family(cache) == Some(Family::Ours)
}

/// The rows of one workload.
fn of_workload<'a>(
    rows: &'a [ThroughputRow],
    workload: &str,
    keys: Kind,
) -> Vec<&'a ThroughputRow> {
    let belongs = |row: &&ThroughputRow| row.workload == workload && row.keys == keys;
    rows.iter().filter(belongs).collect()
}

/// The row of one cache at so many threads.
fn at<'a>(rows: &[&'a ThroughputRow], cache: &str, threads: u32) -> Option<&'a ThroughputRow> {
    let mut rows = rows.iter();
    rows.find(|row| row.cache == cache && row.threads == threads)
        .copied()
}

/// How one cache's rate compares with another's at so many threads.
fn ratio(rows: &[&ThroughputRow], cache: &str, other: &str, threads: u32) -> Option<f64> {
    Some(millions(at(rows, cache, threads)?) / millions(at(rows, other, threads)?))
}

/// Each value once, in order of appearance.
fn distinct<'a, T: ?Sized + PartialEq>(values: impl IntoIterator<Item = &'a T>) -> Vec<&'a T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn thread_counts(rows: &[&ThroughputRow]) -> Vec<u32> {
    let mut threads: Vec<_> = rows.iter().map(|row| row.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    threads
}

/// Rates by threads, a curve for each cache; `None` where nothing was measured.
fn by_threads(title: &str, name: &str, rows: &[&ThroughputRow]) -> Option<Figure> {
    let curve = |cache: &str| Curve {
        name: cache.to_owned(),
        points: rows
            .iter()
            .filter(|row| row.cache == cache)
            .map(|row| Point {
                x: f64::from(row.threads),
                y: millions(row),
                low: row.ops_per_s_min / 1e6,
                high: row.ops_per_s_max / 1e6,
            })
            .collect(),
    };
    let caches = distinct(rows.iter().map(|row| row.cache.as_str()));
    let curves: Vec<_> = caches.into_iter().take(MOST_CURVES).map(curve).collect();
    figure(
        name,
        LineChart {
            title: title.to_owned(),
            x: Axis::log("threads"),
            y: Axis::log("million operations per second"),
            curves,
        },
    )
}

/// The figure of a chart, if it has anything to show.
fn figure(name: &str, chart: LineChart) -> Option<Figure> {
    let has_points = chart.curves.iter().any(|curve| !curve.points.is_empty());
    has_points.then(|| Figure {
        name: name.to_owned(),
        title: chart.title.clone(),
        svg: chart.to_svg(),
    })
}

/// A whole number for a sentence.
fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something that has a plural in s.
fn several(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

#[cfg(test)]
mod tests;
