//! `nuthatch-lab footprint`: what one operation of a cache executes, and which cache lines it
//! touches. `nuthatch_lab::footprint` says how that is known.
//!
//! Each operation of each cache is performed in a process of its own, which this one traces: the
//! command starts itself again with `--in-process`.

use super::JsonArguments;
use anyhow::{Context, bail};
use nuthatch_lab::caches::{CacheList, CacheSpec, Family, listing};
use nuthatch_lab::footprint::{
    Effort, FootprintError, FootprintRow, Operation, Subject, measure, perform,
};
use nuthatch_lab::keys::Kind;
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use std::process::{Command, ExitCode};
use std::time::Duration;

const THOROUGH: Effort = Effort {
    samples: 256,
    most_steps: 250_000,
    limit: Duration::from_secs(120),
};
const QUICK: Effort = Effort {
    samples: 16,
    most_steps: 50_000,
    limit: Duration::from_secs(60),
};

#[derive(Debug, clap::Args)]
#[command(after_help = listing())]
pub(crate) struct Arguments {
    /// Caches with commas between them, or all, ours, classic, peers, maps
    #[arg(long, default_value = "all")]
    caches: CacheList,
    /// Operations with commas between them: hit (of a resident key), update (an insertion of one),
    /// evict (an insertion of a new key into a full cache; maps have no bound and are left out).
    /// Where threads of the cache's own insert, what they do is not counted
    #[arg(long, value_delimiter = ',', default_value = "hit,update,evict")]
    operations: Vec<Operation>,
    /// Kinds of entries: u64 (to u64), string (of 32 B to an Arc of 100 B)
    #[arg(long, value_delimiter = ',', default_value = "u64")]
    keys: Vec<Kind>,
    /// Entries that a cache may hold [default: 10000, with --quick 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    capacity: Option<u32>,
    /// Perform in this process, to be traced by another
    #[arg(long, hide = true)]
    in_process: bool,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let capacity = arguments
        .capacity
        .unwrap_or(if arguments.quick { 1_000 } else { 10_000 });
    let work = work(arguments, capacity);
    if work.is_empty() {
        bail!("maps have no bound, so they evict nothing");
    }
    if arguments.in_process {
        for (cache, subject) in work {
            perform(cache, subject)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let presentation = arguments.json.open()?;
    let effort = if arguments.quick { QUICK } else { THOROUGH };
    let bar = progress::bar("footprint", work.len() as u64);
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for &(cache, subject) in &work {
        bar.set_message(format!("{cache}, {}, {}", subject.operation, subject.keys));
        match measure(performance(cache, subject)?, cache, subject, effort) {
            Ok(row) => rows.push(row),
            Err(error @ (FootprintError::Unsupported | FootprintError::NotPermitted(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                let name = format!("{cache}, {}, {}", subject.operation, subject.keys);
                failures.push(format!(
                    "cannot measure {:#}",
                    anyhow::Error::new(error).context(name)
                ));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    presentation.give_beside(table(&rows), &rows, &failures)
}

/// What is measured, in order. Maps evict nothing.
fn work(arguments: &Arguments, capacity: u32) -> Vec<(&CacheSpec, Subject)> {
    let mut work = Vec::new();
    for &keys in &arguments.keys {
        for &operation in &arguments.operations {
            let subject = Subject {
                operation,
                keys,
                capacity,
            };
            let evicts = |cache: &&CacheSpec| cache.info().family != Family::Map;
            let caches = arguments.caches.iter();
            let able = caches.filter(|cache| operation != Operation::Evict || evicts(cache));
            work.extend(able.map(|cache| (cache, subject)));
        }
    }
    work
}

/// This program, to perform in a process of its own.
fn performance(cache: &CacheSpec, subject: Subject) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let mut command = Command::new(program);
    command
        .args(["footprint", "--in-process"])
        .args(["--caches", &cache.to_string()])
        .args(["--operations", subject.operation.name()])
        .args(["--keys", &subject.keys.to_string()])
        .args(["--capacity", &subject.capacity.to_string()]);
    Ok(command)
}

fn table(rows: &[FootprintRow]) -> Table {
    let words = ["cache", "operation", "keys"].map(|name| (name, Align::Left));
    let numbers = [
        "samples",
        "instructions",
        "median",
        "atomic",
        "fences",
        "system calls",
        "lines read",
        "written",
        "shared, same key",
        "other key",
    ]
    .map(|name| (name, Align::Right));
    let mut table = Table::new(words.into_iter().chain(numbers));
    let mean = |mean: f64| format!("{mean:.2}");
    let shared = |shared: Option<f64>| shared.map_or_else(String::new, mean);
    for row in rows {
        table.row([
            row.cache.clone(),
            row.operation.to_string(),
            row.keys.to_string(),
            row.samples.to_string(),
            format!("{:.1}", row.instructions),
            format!("{:.1}", row.instructions_median),
            mean(row.atomic_instructions),
            mean(row.fences),
            mean(row.system_calls),
            mean(row.lines_read),
            mean(row.lines_written),
            shared(row.shared_lines_written_same_key),
            shared(row.shared_lines_written_other_key),
        ]);
    }
    table
}
