//! How long a hit takes while others write and evict.

use super::{LOCK_FREE, MOST_CURVES, digits, figure, of_workload, times};
use crate::keys::Kind;
use crate::report::document::Document;
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::ThroughputRow;
use crate::svg::{Axis, Curve, LineChart, Point};

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("3. Latency");
    document.text(
        "Throughput hides the slowest operations. Every 64th is timed, and hits apart from the rest; the axis \
         counts nines, so that each step to the right looks at hits ten times as rare. The time that reading \
         the clock takes is off.",
    );
    for (workload, title) in [
        ("write-heavy", "Hits among 75 % writes that evict"),
        ("read-heavy", "Hits among 5 % writes that evict"),
    ] {
        let rows = of_workload(&results.latency, workload, Kind::U64);
        let curves = rows.iter().take(MOST_CURVES).map(|row| Curve {
            name: row.cache.clone(),
            points: points(row),
        });
        let chart = LineChart {
            title: title.to_owned(),
            x: Axis::linear("percentile of hits").with_ticks(&TICKS),
            y: Axis::log("nanoseconds"),
            curves: curves.collect(),
        };
        if let Some(figure) = figure(&format!("latency-{workload}"), chart) {
            let command = results.command(Part::Latency, workload);
            document.figure(figure, &reading(&rows), command.as_deref());
        }
    }
}

/// Percentiles by the nines that they have.
const TICKS: [(f64, &str); 5] = [
    (0.301, "50 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
];

fn points(row: &ThroughputRow) -> Vec<Point> {
    let values = [
        row.hit_p50_ns,
        row.hit_p90_ns,
        row.hit_p99_ns,
        row.hit_p999_ns,
        row.hit_p9999_ns,
    ];
    let places = TICKS.iter().map(|(place, _)| *place).zip(values);
    places
        .filter_map(|(place, ns)| Some(Point::exact(place, ns? as f64)))
        .collect()
}

fn reading(rows: &[&ThroughputRow]) -> String {
    let told = |row: &ThroughputRow| {
        let (median, rare) = (row.hit_p50_ns? as f64, row.hit_p999_ns? as f64);
        Some(format!(
            "{}: {} ns in the median, {} ns at 99.9 %, {} as much",
            row.cache,
            digits(median),
            digits(rare),
            times(rare / median)
        ))
    };
    let ours = rows
        .iter()
        .find(|row| row.cache == LOCK_FREE)
        .and_then(|row| told(row));
    let best = rows
        .iter()
        .filter(|row| row.cache != LOCK_FREE && row.hit_p999_ns.is_some())
        .min_by_key(|row| row.hit_p999_ns)
        .and_then(|row| told(row));
    let sentences: Vec<_> = [
        ours,
        best.map(|best| {
            format!("Of the others the one with the shortest 99.9th percentile is {best}")
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{}.", sentences.join(". "))
}
