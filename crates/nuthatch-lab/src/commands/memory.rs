//! `nuthatch-lab memory`: bytes of memory that an entry costs, by the allocator's count and by what
//! the process occupies, after the cache was filled and after its content was turned over.
//!
//! What a process occupies depends on all that it did before. So each cache is measured in a
//! process of its own: the command starts itself again with `--in-process`.

use super::JsonArguments;
use anyhow::{Context, bail};
use nuthatch_lab::caches::{BenchCache, CacheList, CacheSpec, Visitor, listing};
use nuthatch_lab::heap::{HeapError, HeapMeter, resident_bytes};
use nuthatch_lab::keys::{Integers, KeyKind, Kind, Strings};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::rows::{MemoryRow, Phase};
use std::marker::PhantomData;
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Insertions of new keys that turn the content over, for each entry.
const CHURN_PER_ENTRY: u64 = 2;
/// A cache that evicts too slowly for that churns this long.
const CHURN_LIMIT: Duration = Duration::from_secs(30);
/// A cache that inserts on a thread of its own is waited for after so many insertions, lest its
/// backlog outlasts the limit.
const SETTLED_BATCH: u64 = 256;
const QUICK_CHURN_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = listing())]
pub(crate) struct Arguments {
    /// Caches with commas between them, or all, ours, classic, peers, maps
    #[arg(long, default_value = "all")]
    caches: CacheList,
    /// Entries that the cache is built for and filled with [default: 1000000, with --quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    entries: Option<u32>,
    /// Kinds of entries: u64 (to u64), string (of 32 B to an Arc of 100 B)
    #[arg(long, value_delimiter = ',', default_value = "u64")]
    keys: Vec<Kind>,
    /// Measure in this process, not in one for each cache, and print JSON
    #[arg(long, hide = true)]
    in_process: bool,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

#[expect(clippy::print_stdout, reason = "a parent process reads the rows there")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let entries = arguments
        .entries
        .unwrap_or(if arguments.quick { 100_000 } else { 1_000_000 });
    if arguments.in_process {
        let mut rows = Vec::new();
        for cache in arguments.caches.iter() {
            for &kind in &arguments.keys {
                rows.extend(measure_here(cache, kind, entries, arguments.quick)?);
            }
        }
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    let presentation = arguments.json.open()?;
    let processes = arguments.caches.len() * arguments.keys.len();
    let bar = progress::bar("memory", processes as u64);
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for &kind in &arguments.keys {
        for cache in arguments.caches.iter() {
            bar.set_message(format!("{cache}, {kind}"));
            match measure_apart(cache, kind, entries, arguments.quick) {
                Ok(measured) => rows.extend(measured),
                Err(error) => failures.push(format!(
                    "cannot measure {cache} with {kind} keys: {error:#}"
                )),
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    presentation.give_beside(table(&rows), &rows, &failures)
}

/// Measures in a new process.
fn measure_apart(
    cache: &CacheSpec,
    kind: Kind,
    entries: u32,
    quick: bool,
) -> anyhow::Result<Vec<MemoryRow>> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let mut command = Command::new(program);
    command
        .args(["memory", "--in-process"])
        .args(["--caches", &cache.to_string()])
        .args(["--keys", &kind.to_string()])
        .args(["--entries", &entries.to_string()])
        .stderr(Stdio::inherit());
    if quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("its process ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure_here(
    cache: &CacheSpec,
    kind: Kind,
    entries: u32,
    quick: bool,
) -> Result<Vec<MemoryRow>, HeapError> {
    match kind {
        Kind::U64 => live_out::<Integers>(cache, entries, quick),
        Kind::String => live_out::<Strings>(cache, entries, quick),
    }
}

fn live_out<R: KeyKind>(
    cache: &CacheSpec,
    entries: u32,
    quick: bool,
) -> Result<Vec<MemoryRow>, HeapError> {
    let life = Life {
        cache,
        meter: HeapMeter::new()?,
        entries: entries.into(),
        churn_limit: if quick {
            QUICK_CHURN_LIMIT
        } else {
            CHURN_LIMIT
        },
        kind: PhantomData::<R>,
    };
    cache.visit(entries as usize, life)
}

/// A cache is built and filled, then its content is turned over.
struct Life<'a, R> {
    cache: &'a CacheSpec,
    meter: HeapMeter,
    entries: u64,
    churn_limit: Duration,
    kind: PhantomData<R>,
}

impl<R: KeyKind> Visitor<R::Key, R::Value> for Life<'_, R> {
    type Output = Result<Vec<MemoryRow>, HeapError>;

    fn visit<C: BenchCache<R::Key, R::Value>>(self, build: impl FnOnce() -> C) -> Self::Output {
        let start_bytes = resident_bytes();
        let row = |phase, resident: u64, heap_bytes: i64| MemoryRow {
            cache: self.cache.to_string(),
            keys: R::KIND,
            phase,
            entries: resident,
            heap_bytes_per_entry: (!self.cache.info().own_threads)
                .then(|| heap_bytes as f64 / resident as f64),
            rss_bytes_per_entry: resident_bytes()
                .zip(start_bytes)
                .map(|(now, start)| now.saturating_sub(start) as f64 / resident as f64),
        };

        let (cache, fill_bytes) = self.meter.growth(0, || {
            let cache = build();
            self.insert(&cache, 0..self.entries, Duration::MAX);
            cache.settle();
            cache
        })?;
        let filled = row(Phase::Fill, resident::<R>(&cache, self.entries), fill_bytes);

        let last = self.entries * (1 + CHURN_PER_ENTRY);
        let (inserted, churn_bytes) = self.meter.growth(fill_bytes.max(0) as u64, || {
            let inserted = self.insert(&cache, self.entries..last, self.churn_limit);
            cache.settle();
            inserted
        })?;
        let churned = row(
            Phase::Churn,
            resident::<R>(&cache, self.entries + inserted),
            fill_bytes + churn_bytes,
        );
        Ok(vec![filled, churned])
    }
}

impl<R: KeyKind> Life<'_, R> {
    /// Inserts the entries of these numbers, until the limit; how many.
    fn insert(
        &self,
        cache: &impl BenchCache<R::Key, R::Value>,
        ids: Range<u64>,
        limit: Duration,
    ) -> u64 {
        let begin = Instant::now();
        let mut inserted = 0;
        for id in ids {
            cache.insert(R::key(id), R::value(id));
            inserted += 1;
            if inserted % SETTLED_BATCH == 0 && self.cache.info().own_threads {
                cache.settle();
            }
            if begin.elapsed() > limit {
                break;
            }
        }
        inserted
    }
}

/// Entries that the cache holds, by its own word, else by asking for all that were inserted.
fn resident<R: KeyKind>(cache: &impl BenchCache<R::Key, R::Value>, inserted: u64) -> u64 {
    match cache.resident() {
        Some(resident) => resident as u64,
        None => (0..inserted).filter(|&id| cache.hit(&R::key(id))).count() as u64,
    }
}

fn table(rows: &[MemoryRow]) -> Table {
    let words = ["cache", "keys", "phase"].map(|name| (name, Align::Left));
    let numbers = [
        "entries",
        "heap B/entry",
        "RSS B/entry",
        "payload B",
        "heap overhead B",
    ]
    .map(|name| (name, Align::Right));
    let mut table = Table::new(words.into_iter().chain(numbers));
    let bytes = |bytes: Option<f64>| {
        bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes:.1}"))
    };
    for row in rows {
        let payload_bytes = row.keys.payload_bytes();
        let overhead_bytes = row
            .heap_bytes_per_entry
            .map(|heap_bytes| heap_bytes - payload_bytes as f64);
        table.row([
            row.cache.clone(),
            row.keys.to_string(),
            match row.phase {
                Phase::Fill => "fill".to_owned(),
                Phase::Churn => "churn".to_owned(),
            },
            row.entries.to_string(),
            bytes(row.heap_bytes_per_entry),
            bytes(row.rss_bytes_per_entry),
            payload_bytes.to_string(),
            bytes(overhead_bytes),
        ]);
    }
    table
}
