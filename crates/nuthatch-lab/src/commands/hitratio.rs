//! `nuthatch-lab hitratio`: what the caches themselves miss on a trace, from one thread and from
//! several.
//!
//! The simulator tells what a policy misses; a cache that shards, loses hits or writes, or rounds
//! its capacity misses something else, and this command tells how much.

use super::JsonArguments;
use super::input::TraceArguments;
use anyhow::bail;
use nuthatch_lab::caches::{CacheList, Family, listing};
use nuthatch_lab::containment::{Panicked, contained};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::replay::Replay;
use nuthatch_lab::rows::HitRatioRow;
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::trace::Trace;
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
    #[command(flatten)]
    input: TraceArguments,
    /// Numbers of threads with commas between them
    #[arg(long, value_delimiter = ',', default_value = "1,8", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    threads: Vec<u32>,
    #[command(flatten)]
    json: JsonArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    for cache in arguments.caches.iter() {
        if cache.info().family == Family::Map {
            bail!("{cache} keeps no bound: it would miss every key once");
        }
    }
    let presentation = arguments.json.open()?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    arguments
        .input
        .for_each(QUICK_SIZES, Bound::Entries, |trace, capacities| {
            replay_all(arguments, trace, capacities, &mut rows, &mut failures);
            Ok(())
        })?;
    presentation.give_beside(table(&rows), &rows, &failures)
}

fn replay_all(
    arguments: &Arguments,
    trace: &Trace,
    capacities: &[u64],
    rows: &mut Vec<HitRatioRow>,
    failures: &mut Vec<Panicked>,
) {
    let cells = capacities.len() * arguments.threads.len() * arguments.caches.len();
    let bar = progress::bar(trace.name(), cells as u64);
    for &size in capacities {
        for &threads in &arguments.threads {
            for cache in arguments.caches.iter() {
                let place = format!("{}, {size} entries, {threads} threads", trace.name());
                bar.set_message(format!("{cache}, {place}"));
                let replay = Replay {
                    requests: trace.requests(),
                    threads: threads as usize,
                    own_threads: cache.info().own_threads,
                };
                let visit = || cache.visit(size as usize, replay);
                match contained(&cache.to_string(), &place, visit) {
                    Ok(misses) => rows.push(HitRatioRow {
                        cache: cache.to_string(),
                        trace: trace.name().to_owned(),
                        size,
                        threads,
                        miss_ratio: misses as f64 / trace.requests().len() as f64,
                    }),
                    Err(panicked) => failures.push(panicked),
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
}

fn table(rows: &[HitRatioRow]) -> Table {
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
