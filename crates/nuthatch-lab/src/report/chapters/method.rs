//! How it was measured, and how far it can be trusted.

use super::digits;
use crate::report::document::Document;
use crate::report::results::Results;
use crate::rows::ThroughputRow;

pub(super) fn write(document: &mut Document, results: &Results) {
    let about = &results.about;
    document.chapter("7. How it was measured");
    document.list(&[
        format!("Machine: {}.", about.machine),
        format!("Compiler: {}; laboratory {}; begun on {}.", about.compiler, about.program, about.date),
        "Requests, their order and what caches start with are made before the clock runs, from a seed; all \
         caches get the same. Keys follow Zipf's law with exponent 0.99 over ten times as many keys as fit, \
         but where everything is resident."
            .to_owned(),
        "Caches take turns: in each round every cache runs once, on a new instance, in an order that is drawn \
         anew. Figures are medians of the rounds, bars in charts reach from the least to the greatest."
            .to_owned(),
        "All caches hash with foldhash, but those that let nobody choose; all else is left at its defaults, and \
         each is called as its documentation recommends."
            .to_owned(),
    ]);
    let packages = about
        .packages
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    document.text(&format!(
        "Packages: {}.",
        packages.collect::<Vec<_>>().join(", ")
    ));
    noise(document, results);
    commands(document, results);
}

/// How far the rounds of the same thing lie apart.
fn noise(document: &mut Document, results: &Results) {
    document.section("Noise");
    let all: [(&str, &[ThroughputRow]); 4] = [
        ("resident reads by threads", &results.lock),
        ("evictions by threads", &results.evict_threads),
        ("latency", &results.latency),
        ("all caches", &results.peers),
    ];
    let rows = all
        .iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(what, rows)| {
            let spread = |row: &ThroughputRow| row.ops_per_s_max / row.ops_per_s_min.max(1.0);
            let mut spreads: Vec<_> = rows.iter().map(spread).collect();
            spreads.sort_by(f64::total_cmp);
            let quantile =
                |share: f64| digits(spreads[((spreads.len() - 1) as f64 * share).round() as usize]);
            vec![
                (*what).to_owned(),
                spreads.len().to_string(),
                quantile(0.5),
                quantile(0.9),
                quantile(1.0),
            ]
        });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    document.text(
        "The fastest round by the slowest, for each cache, workload and number of threads: where two caches \
         differ by less than this, they do not differ.",
    );
    document.table(
        &[
            "fastest / slowest round",
            "cells",
            "median",
            "90th percentile",
            "most",
        ],
        &rows,
    );
}

fn commands(document: &mut Document, results: &Results) {
    document.section("Commands");
    let minutes: f64 = results.units.iter().map(|unit| unit.seconds).sum::<f64>() / 60.0;
    document.text(&format!(
        "{} measurements, {minutes:.0} minutes. Their rows are in `rows.json`.",
        results.units.len()
    ));
    let failed: Vec<_> = results
        .units
        .iter()
        .filter_map(|unit| {
            Some(format!(
                "`nuthatch-lab {}`: {}",
                unit.command.join(" "),
                unit.failure.as_ref()?
            ))
        })
        .collect();
    if !failed.is_empty() {
        document.text("These failed, wholly or in part:");
        document.list(&failed);
    }
}
