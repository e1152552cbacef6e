//! `nuthatch-lab evict`: what an insertion into a full cache costs, as the cache grows: time,
//! allocations, and bytes allocated, the evictions included and counted on all threads.
//!
//! One thread inserts keys never seen before. It inserts at least a tenth of the capacity, so that a
//! design that evicts in batches pays for a whole one, unless that takes ten times as long as asked.

use super::{JsonArguments, Spread};
use nuthatch_lab::caches::{BenchCache, CacheList, CacheSpec, Visitor, listing};
use nuthatch_lab::containment::{Panicked, contained};
use nuthatch_lab::heap::{Allocations, HeapError, HeapMeter};
use nuthatch_lab::keys::{Integers, KeyKind};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::rows::EvictRow;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// So much longer than asked a run may take to insert a tenth of the capacity.
const PATIENCE: u32 = 10;
/// The clock is read once in so many insertions, once they are known to be quick.
const LONGEST_BATCH: u64 = 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = listing())]
pub(crate) struct Arguments {
    /// Caches with commas between them, or all, ours, classic, peers, maps [default: all that keep a
    /// bound]
    #[arg(long)]
    caches: Option<CacheList>,
    /// Capacities with commas between them [default: 1000,10000,100000,1000000,10000000, with
    /// --quick the first three]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    capacity: Vec<u32>,
    /// Rounds, in each of which every cache runs once [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Milliseconds of each run, at least [default: 500, with --quick 50]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    millis: Option<u64>,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let quick = arguments.quick;
    let caches = match &arguments.caches {
        Some(caches) => caches.clone(),
        None => CacheList::all().bounded(),
    };
    let capacities = match arguments.capacity.as_slice() {
        [] if quick => vec![1_000, 10_000, 100_000],
        [] => vec![1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        given => given.to_vec(),
    };
    let rounds = arguments.rounds.unwrap_or(if quick { 1 } else { 3 });
    let millis = arguments.millis.unwrap_or(if quick { 50 } else { 500 });
    let presentation = arguments.json.open()?;
    let (rows, failures) = measure(&caches, &capacities, rounds, Duration::from_millis(millis))?;
    presentation.give_beside(table(&rows), &rows, &failures)
}

fn measure(
    caches: &[CacheSpec],
    capacities: &[u32],
    rounds: u32,
    duration: Duration,
) -> Result<(Vec<EvictRow>, Vec<Panicked>), HeapError> {
    let meter = HeapMeter::new()?;
    let runs = caches.len() as u64 * capacities.len() as u64 * u64::from(rounds);
    let bar = progress::bar("evict", runs);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for &capacity in capacities {
        let mut costs = vec![Some(Vec::new()); caches.len()];
        for _ in 0..rounds {
            let mut order: Vec<_> = (0..caches.len()).collect();
            order.shuffle(&mut random);
            for number in order {
                let cache = &caches[number];
                let place = format!("evict, {capacity} entries");
                bar.set_message(format!("{cache}, {place}"));
                bar.inc(1);
                let Some(measured) = &mut costs[number] else {
                    continue;
                };
                let pressure = Pressure {
                    meter: &meter,
                    capacity: capacity.into(),
                    duration,
                    own_threads: cache.info().own_threads,
                };
                let visit = || cache.visit(capacity as usize, pressure);
                match contained(&cache.to_string(), &place, visit) {
                    Ok(cost) => measured.push(cost),
                    Err(panicked) => {
                        failures.push(panicked);
                        costs[number] = None;
                    }
                }
            }
        }
        rows.extend(
            caches
                .iter()
                .zip(&costs)
                .filter_map(|(cache, costs)| Some(row(cache, capacity, costs.as_deref()?))),
        );
    }
    bar.finish_and_clear();
    Ok((rows, failures))
}

fn row(cache: &CacheSpec, capacity: u32, costs: &[Cost]) -> EvictRow {
    let spread = |of: fn(&Cost) -> f64| {
        let all: Vec<_> = costs.iter().map(of).collect();
        Spread::of(&all)
    };
    let time = spread(|cost| cost.elapsed.as_nanos() as f64 / cost.inserts as f64);
    EvictRow {
        cache: cache.to_string(),
        capacity,
        ns_per_insert: time.median,
        ns_per_insert_min: time.min,
        ns_per_insert_max: time.max,
        allocs_per_insert: spread(|cost| cost.allocations.count as f64 / cost.inserts as f64)
            .median,
        bytes_per_insert: spread(|cost| cost.allocations.bytes as f64 / cost.inserts as f64).median,
    }
}

/// Insertions into a full cache.
struct Pressure<'a> {
    meter: &'a HeapMeter,
    capacity: u64,
    duration: Duration,
    /// The cache inserts on a thread of its own, so the clock must not be read before that has
    /// caught up.
    own_threads: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    inserts: u64,
    elapsed: Duration,
    allocations: Allocations,
}

impl Visitor<u64, u64> for Pressure<'_> {
    type Output = Cost;

    fn visit<C: BenchCache<u64, u64>>(self, build: impl FnOnce() -> C) -> Cost {
        let cache = build();
        let mut ids = 0..;
        let mut insert = |count: u64| {
            for id in ids.by_ref().take(count as usize) {
                cache.insert(Integers::key(id), Integers::value(id));
            }
        };
        insert(self.capacity);
        cache.settle();
        let ((inserts, elapsed), allocations) = self.meter.allocations(|| {
            let begin = Instant::now();
            let mut inserts = 0;
            let mut batch = 1;
            while !self.is_done(inserts, begin.elapsed()) {
                insert(batch);
                if self.own_threads {
                    cache.settle();
                }
                inserts += batch;
                batch = (2 * batch).min(LONGEST_BATCH);
            }
            // What was put off belongs to the insertions that put it off.
            cache.settle();
            (inserts, begin.elapsed())
        });
        Cost {
            inserts,
            elapsed,
            allocations,
        }
    }
}

impl Pressure<'_> {
    fn is_done(&self, inserts: u64, elapsed: Duration) -> bool {
        let enough = inserts >= self.capacity / 10;
        inserts > 0 && elapsed >= self.duration && (enough || elapsed >= self.duration * PATIENCE)
    }
}

fn table(rows: &[EvictRow]) -> Table {
    let numbers =
        ["capacity", "ns/insert", "allocs/insert", "bytes/insert"].map(|name| (name, Align::Right));
    let mut table = Table::new([("cache", Align::Left)].into_iter().chain(numbers));
    for row in rows {
        table.row([
            row.cache.clone(),
            row.capacity.to_string(),
            format!("{:.1}", row.ns_per_insert),
            format!("{:.3}", row.allocs_per_insert),
            format!("{:.1}", row.bytes_per_insert),
        ]);
    }
    table
}
