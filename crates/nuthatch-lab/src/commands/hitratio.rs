//! `nuthatch-lab hitratio`: what the caches themselves miss on a trace, from one thread and from
//! several.
//!
//! The simulator tells what a policy misses; a cache that shards, loses hits or writes, or rounds
//! its capacity misses something else, and this command tells how much.

use super::present;
use anyhow::{Context, bail};
use nuthatch_lab::bundled;
use nuthatch_lab::caches::{CacheList, Family, listing};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::replay::Replay;
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::sizes::CacheSize;
use nuthatch_lab::trace::{Columns, Source, Trace};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

const QUICK_SIZES: &[&str] = &["1%", "10%"];

#[derive(Debug, clap::Args)]
#[command(after_help = listing())]
pub(crate) struct Arguments {
    /// Caches with commas between them, or ours, classic, peers. A classic design that evicts one
    /// entry at a time takes hours on a long trace: name it with :batch
    #[arg(
        long,
        default_value = "ours,classic-rwlock:batch,classic-lockfree:batch,peers"
    )]
    caches: CacheList,
    /// Files, each with its format in front (ctr:, oracle:, csv:, arc:, lirs:) unless its name
    /// ends in .ctr.zst, .bin, .csv, .lis, .trc or these with .zst; or zipf:ALPHA:KEYS:REQUESTS,
    /// scan:ALPHA:KEYS:REQUESTS, loop:KEYS:REQUESTS
    #[arg(long, num_args = 1.., value_name = "TRACE", required_unless_present = "quick")]
    traces: Vec<Source>,
    /// Capacities: percentages of each trace's unique keys, or absolute
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.1%,1%,10%",
        value_name = "SIZE,.."
    )]
    sizes: Vec<CacheSize>,
    /// Numbers of threads with commas between them
    #[arg(long, value_delimiter = ',', default_value = "1,8", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    threads: Vec<u32>,
    /// Names of a CSV's columns, of which one is `key`, others may be `time`, `size` and `ttl`
    #[arg(long, value_name = "NAME,..")]
    columns: Option<Columns>,
    /// Replay the traces that come with the laboratory
    #[arg(long, conflicts_with_all = ["traces", "sizes"])]
    quick: bool,
    /// Also write the rows as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One line of the result; its fields are what scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    cache: String,
    trace: String,
    size: u64,
    threads: u32,
    miss_ratio: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    for cache in arguments.caches.iter() {
        if cache.info().family == Family::Map {
            bail!("{cache} keeps no bound: it would miss every key once");
        }
    }
    let mut rows = Vec::new();
    if arguments.quick {
        let parse = |size: &&str| size.parse().context("the quick sizes parse");
        let sizes: Vec<_> = QUICK_SIZES.iter().map(parse).collect::<Result<_, _>>()?;
        for trace in bundled::traces()? {
            rows.extend(replay_all(arguments, &trace, &sizes));
        }
    } else {
        for source in &arguments.traces {
            let trace = source
                .load(arguments.columns.as_ref())
                .with_context(|| source.to_string())?;
            rows.extend(replay_all(arguments, &trace, &arguments.sizes));
        }
    }
    if rows.is_empty() {
        bail!("every trace is too small for every size: give larger --sizes");
    }
    present(&table(&rows), &rows, arguments.json.as_deref())
}

fn replay_all(arguments: &Arguments, trace: &Trace, sizes: &[CacheSize]) -> Vec<Row> {
    let capacities: Vec<_> = sizes
        .iter()
        .map(|size| size.of(trace, Bound::Entries))
        .filter(|&capacity| capacity > 0)
        .collect();
    let left_out = sizes.len() - capacities.len();
    if left_out > 0 {
        let name = trace.name();
        eprintln!("{name}: {left_out} sizes are less than one entry and left out");
    }
    let cells = capacities.len() * arguments.threads.len() * arguments.caches.len();
    let bar = progress::bar(trace.name(), cells as u64);
    let mut rows = Vec::with_capacity(cells);
    for size in capacities {
        for &threads in &arguments.threads {
            for cache in arguments.caches.iter() {
                bar.set_message(format!("{cache}, {size} entries, {threads} threads"));
                let replay = Replay {
                    requests: trace.requests(),
                    threads: threads as usize,
                    own_threads: cache.info().own_threads,
                };
                let misses = cache.visit(size as usize, replay);
                rows.push(Row {
                    cache: cache.to_string(),
                    trace: trace.name().to_owned(),
                    size,
                    threads,
                    miss_ratio: misses as f64 / trace.requests().len().max(1) as f64,
                });
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    rows
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        ("trace", Align::Left),
        ("size", Align::Right),
        ("threads", Align::Right),
        ("cache", Align::Left),
        ("miss ratio %", Align::Right),
    ]);
    for row in rows {
        table.row([
            row.trace.clone(),
            row.size.to_string(),
            row.threads.to_string(),
            row.cache.clone(),
            format!("{:.2}", 100.0 * row.miss_ratio),
        ]);
    }
    table
}
