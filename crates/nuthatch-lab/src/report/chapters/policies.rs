//! Choosing a policy.

use super::{LOCK_FREE, MOST_CURVES, count, digits, distinct, figure, is_ours, several};
use crate::grid::{Cell, is_clairvoyant, standings};
use crate::report::document::{Document, Figure};
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::HitRatioRow;
use crate::svg::{Axis, Curve, HeatMap, LineChart, Point};

/// The policies of the curves.
const CURVES: [&str; MOST_CURVES] = [
    "default",
    "lru",
    "sieve",
    "s3_fifo",
    "w_tiny_lfu",
    "arc",
    "lirs",
    "belady",
];
const DEFAULT: &str = "default";
/// Points behind the best from which on a cell of the matrix gets no darker.
const DARKEST_POINTS: f64 = 15.0;
/// The weight of `dlfu` where its name has none.
const DEFAULT_WEIGHT: f64 = 0.3;

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("4. Choosing a policy");
    document.text(
        "What a policy misses is a property of the policy and the trace, not of the machine: the simulator \
         replays a trace and counts. Belady's algorithm knows the future; no policy gets below it.",
    );
    let cells = &results.policies;
    if cells.is_empty() {
        document.text("Not measured.");
        return;
    }
    overview(document, cells);
    curves(document, results);
    weights(document, results);
    caches(document, results);
}

fn traces(cells: &[Cell]) -> Vec<&str> {
    distinct(cells.iter().map(|cell| cell.trace.as_str()))
}

/// The mean miss ratio of a policy on a trace over all sizes, in percent.
fn mean(cells: &[Cell], trace: &str, policy: &str) -> Option<f64> {
    let ratios = cells
        .iter()
        .filter(|cell| cell.trace == trace && cell.policy == policy);
    let ratios: Vec<_> = ratios.map(|cell| 100.0 * cell.miss_ratio).collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

fn overview(document: &mut Document, cells: &[Cell]) {
    let standings = standings(cells);
    let candidates: Vec<_> = standings
        .iter()
        .filter(|each| !is_clairvoyant(&each.policy))
        .collect();
    let policies: Vec<_> = candidates.iter().map(|each| each.policy.clone()).collect();
    let best = |trace: &str| {
        let means = policies
            .iter()
            .filter_map(|policy| Some((mean(cells, trace, policy)?, policy.as_str())));
        means.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let rows = traces(cells).into_iter().map(|trace| {
        let least = best(trace).map_or(0.0, |(least, _)| least);
        let behind = policies
            .iter()
            .map(|policy| Some(mean(cells, trace, policy)? - least));
        (trace.to_owned(), behind.collect())
    });
    let map = HeatMap {
        title: "Points of miss ratio behind the best policy of each trace".to_owned(),
        columns: policies.clone(),
        rows: rows.collect(),
        most: DARKEST_POINTS,
    };
    let figure = Figure {
        name: "policy-matrix".to_owned(),
        title: map.title.clone(),
        svg: map.to_svg(),
    };
    let mut text =
        "Means over all sizes of a trace, from the rows of the curves below, which have the commands; policies \
         from the left by their mean over all traces."
            .to_owned();
    if let Some(first) = candidates.first() {
        text += &format!(
            " {} misses least, {:.1} % on average",
            first.policy,
            100.0 * first.mean
        );
        if let Some(default) = candidates
            .iter()
            .find(|each| each.policy == DEFAULT && each.policy != first.policy)
        {
            text += &format!("; the default misses {:.1} %", 100.0 * default.mean);
        }
        text += ".";
    }
    if let Some(default) = candidates.iter().find(|each| each.policy == DEFAULT) {
        text += &format!(
            " Where the default is furthest behind the best, it is so by {:.1} points ({}).",
            default.worst_points, default.worst_at
        );
        if let Some(cells) = default.worse_than_lru {
            text += &format!(" It is more than a point worse than LRU in {cells} cells.");
        }
    }
    document.figure(figure, &text, None);

    document.section("What the default does on each trace");
    let percent =
        |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
    let rows: Vec<_> = traces(cells)
        .into_iter()
        .filter_map(|trace| {
            let statics = policies.iter().filter(|policy| *policy != DEFAULT);
            let means = statics.filter_map(|policy| Some((mean(cells, trace, policy)?, policy)));
            let (least, name) = means.min_by(|a, b| a.0.total_cmp(&b.0))?;
            Some(vec![
                trace.to_owned(),
                percent(mean(cells, trace, DEFAULT)),
                format!("{least:.1} ({name})"),
                percent(mean(cells, trace, "lru")),
                percent(mean(cells, trace, "belady")),
            ])
        })
        .collect();
    document.table(
        &[
            "mean miss ratio %",
            "default",
            "best other",
            "lru",
            "belady",
        ],
        &rows,
    );
}

fn curves(document: &mut Document, results: &Results) {
    document.section("Miss-ratio curves");
    let cells = &results.policies;
    for (number, trace) in traces(cells).into_iter().enumerate() {
        let curve = |policy: &str| Curve {
            name: policy.to_owned(),
            points: cells
                .iter()
                .filter(|cell| cell.trace == trace && cell.policy == policy)
                .map(|cell| Point::exact(rounded(cell.size_pct), 100.0 * cell.miss_ratio))
                .collect(),
        };
        let curves = CURVES
            .map(curve)
            .into_iter()
            .filter(|curve| !curve.points.is_empty());
        let chart = LineChart {
            title: trace.to_owned(),
            x: Axis::log("size of the cache (% of the trace's keys)"),
            y: Axis::linear("requests that miss (%)"),
            curves: curves.collect(),
        };
        if let Some(figure) = figure(&format!("curve-{}", number + 1), chart) {
            let command = results
                .command(Part::Policies, trace)
                .or_else(|| results.command(Part::Policies, "--quick"));
            document.figure(figure, &curve_reading(cells, trace), command.as_deref());
        }
    }
}

/// A size as it was asked for, before it became a whole number of entries.
fn rounded(percent: f64) -> f64 {
    let unit = 10_f64.powf((1.02 * percent).log10().floor());
    (percent / unit).round() * unit
}

fn curve_reading(cells: &[Cell], trace: &str) -> String {
    let of_trace: Vec<_> = cells.iter().filter(|cell| cell.trace == trace).collect();
    let mut text = of_trace.first().map_or_else(String::new, |cell| {
        format!("{} requests. ", count(cell.requests as f64))
    });
    let mut sizes: Vec<_> = of_trace.iter().map(|cell| cell.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let Some(&middle) = sizes.get(sizes.len() / 2) else {
        return text;
    };
    let ratio = |policy: &str| {
        let cell = of_trace
            .iter()
            .find(|cell| cell.policy == policy && cell.size == middle)?;
        Some(100.0 * cell.miss_ratio)
    };
    let best = of_trace
        .iter()
        .filter(|cell| cell.size == middle && !is_clairvoyant(&cell.policy))
        .min_by(|a, b| a.miss_ratio.total_cmp(&b.miss_ratio));
    if let Some(best) = best {
        text += &format!(
            "With {} entries {} misses least, {:.1} %",
            count(middle as f64),
            best.policy,
            100.0 * best.miss_ratio
        );
        for (policy, what) in [
            (DEFAULT, "the default"),
            ("lru", "LRU"),
            ("belady", "Belady"),
        ] {
            if let Some(ratio) = ratio(policy).filter(|_| best.policy != policy) {
                text += &format!("; {what} {ratio:.1} %");
            }
        }
        text += ".";
    }
    text
}

/// The weight that a variant of `dlfu` has.
fn weight(policy: &str) -> Option<f64> {
    match policy.split_once(':') {
        None => Some(DEFAULT_WEIGHT),
        Some((_, weight)) => weight.parse().ok(),
    }
}

fn weights(document: &mut Document, results: &Results) {
    let cells = &results.weights;
    let policies = distinct(cells.iter().map(|cell| cell.policy.as_str()));
    let curve = |trace: &str| {
        let points = policies
            .iter()
            .filter_map(|policy| Some((weight(policy)?, mean(cells, trace, policy)?)));
        let mut points: Vec<_> = points
            .map(|(weight, mean)| Point::exact(weight, mean))
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Curve {
            name: trace.to_owned(),
            points,
        }
    };
    let spread = |curve: &Curve| {
        let values = || curve.points.iter().map(|point| point.y);
        values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min)
    };
    let mut all: Vec<_> = traces(cells)
        .into_iter()
        .map(curve)
        .filter(|curve| !curve.points.is_empty())
        .collect();
    // Those that the weight matters to most.
    all.sort_by(|a, b| spread(b).total_cmp(&spread(a)));
    all.truncate(MOST_CURVES);
    let told: Vec<_> = all
        .iter()
        .filter_map(|curve| {
            let best = curve.points.iter().min_by(|a, b| a.y.total_cmp(&b.y))?;
            Some(format!("{} at {} ({:.1} %)", curve.name, best.x, best.y))
        })
        .collect();
    let all_names: Vec<_> = all.iter().map(|curve| curve.name.clone()).collect();
    let chart = LineChart {
        title: "dlfu between frequency and recency".to_owned(),
        x: Axis::linear("weight of recency: 0 is LFU, 1 is LRU"),
        y: Axis::linear("mean miss ratio (%)"),
        curves: all,
    };
    let first = all_names.first();
    let command = first.and_then(|trace| results.command(Part::Weights, trace));
    let command = command.or_else(|| results.command(Part::Weights, "dlfu"));
    if let Some(figure) = figure("policy-weights", chart) {
        document.section("Recency and frequency");
        let text = format!(
            "One weight moves DLFU between counting uses and remembering the last one; no value of it is right \
             everywhere, which is why the default adapts. The traces that it matters to most, and the weight that \
             each asks for: {}. The command is that of the first; the others' differ in the trace alone.",
            told.join(", ")
        );
        document.figure(figure, &text, command.as_deref());
    }
}

/// What the caches themselves miss.
fn caches(document: &mut Document, results: &Results) {
    let rows = &results.hit_ratios;
    if rows.is_empty() {
        return;
    }
    document.section("What the caches themselves miss");
    let mut threads: Vec<_> = rows.iter().map(|row| row.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    let mean = |cache: &str, threads: u32| {
        let belongs = |row: &&HitRatioRow| row.cache == cache && row.threads == threads;
        let ratios: Vec<_> = rows
            .iter()
            .filter(belongs)
            .map(|row| 100.0 * row.miss_ratio)
            .collect();
        ratios.iter().sum::<f64>() / ratios.len() as f64
    };
    let mut caches = distinct(rows.iter().map(|row| row.cache.as_str()));
    caches.sort_by(|a, b| mean(a, threads[0]).total_cmp(&mean(b, threads[0])));
    let table: Vec<_> = caches
        .iter()
        .map(|cache| {
            let name = if is_ours(cache) {
                format!("**{cache}**")
            } else {
                (*cache).to_owned()
            };
            let means = threads.iter().map(|&threads| digits(mean(cache, threads)));
            [name].into_iter().chain(means).collect()
        })
        .collect();
    document.text(&format!(
        "A simulated policy is not yet a cache: caches shard, buffer hits and round their capacity. The same traces \
         through the caches of all libraries with their own policies, mean over traces and sizes in percent, the \
         fewest misses first; {LOCK_FREE} runs its default policy."
    ));
    let headings = threads
        .iter()
        .map(|threads| several(*threads as usize, "thread"));
    let headings: Vec<_> = ["mean miss ratio %".to_owned()]
        .into_iter()
        .chain(headings)
        .collect();
    let headings: Vec<_> = headings.iter().map(String::as_str).collect();
    document.table(&headings, &table);
    if let Some(command) = results.command(Part::HitRatios, "hitratio") {
        document.text(&format!("```sh\n{command}\n```"));
    }
}
