//! `nuthatch-lab throughput`: operations per second and their latency, for caches, workloads and
//! numbers of threads.
//!
//! A round runs every cache once, in an order of its own, each time on a new cache that was filled
//! and warmed up. So whatever else the machine does meanwhile meets all caches, and how far a
//! cache's rounds lie apart tells how far they can be trusted.

use super::{JsonArguments, Spread};
use anyhow::bail;
use indicatif::ProgressBar;
use nuthatch_lab::caches::{BenchCache, CacheList, CacheSpec, Visitor, listing};
use nuthatch_lab::closed_loop::{self, Latency, Outcome, TooManyThreads};
use nuthatch_lab::containment::{Panicked, contained};
use nuthatch_lab::keys::{Integers, KeyKind, Kind, Strings};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::rows::ThroughputRow;
use nuthatch_lab::workloads::{Plan, Shape, Workload, WorkloadList};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant};

/// The share of a run's time that goes before it to warm up.
const WARM_UP: f64 = 0.2;
/// What `--quick` may take, less what building caches and starting threads may add.
const QUICK_BUDGET: Duration = Duration::from_secs(35);
const QUICK_WORKLOADS: [Workload; 4] = [
    Workload::ReadOnly,
    Workload::ReadHeavy,
    Workload::Evict,
    Workload::CacheAside,
];
/// Every key's number and popularity is kept in memory.
const MOST_KEYS: f64 = 1e9;
const LONGEST_QUICK_RUN: Duration = Duration::from_millis(200);
const SHORTEST_RUN: Duration = Duration::from_millis(5);

#[derive(Debug, clap::Args)]
#[command(after_help = listing())]
pub(crate) struct Arguments {
    /// Caches with commas between them, or all, ours, classic, peers, maps
    #[arg(long, default_value = "all")]
    caches: CacheList,
    /// Workloads with commas between them, or all [default: all, with --quick read-only,
    /// read-heavy, evict and cache-aside]
    #[arg(long)]
    workloads: Option<WorkloadList>,
    /// Numbers of threads with commas between them [default: 1,2,8,16,1000, with --quick 1,2]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    threads: Vec<u32>,
    /// Kinds of entries: u64 (to u64), string (of 32 B to an Arc of 100 B)
    #[arg(long, value_delimiter = ',', default_value = "u64")]
    keys: Vec<Kind>,
    /// Rounds, in each of which every cache runs once [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Milliseconds of each run [default: 1000, with --quick as many as fit in a minute]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    millis: Option<u64>,
    /// Entries that a cache may hold [default: 100000, with --quick 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    capacity: Option<u32>,
    /// Distinct keys asked for, as a multiple of the capacity; up to 1, all are resident
    #[arg(long, default_value_t = 10.0, value_parser = key_space)]
    key_space: f64,
    /// Where the random choices start from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

fn key_space(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(multiple) if (0.001..=1000.0).contains(&multiple) => Ok(multiple),
        _ => Err("it is a number from 0.001 to 1000".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(arguments);
    let keys = f64::from(settings.shape.capacity) * settings.shape.key_space;
    if keys > MOST_KEYS {
        bail!("--capacity times --key-space is {keys} keys, and {MOST_KEYS} are the most");
    }
    let presentation = arguments.json.open()?;
    let mut bench = Bench::new(&settings);
    bench.measure()?;
    presentation.give_beside(table(&bench.rows), &bench.rows, &bench.failures)
}

/// What to measure, with nothing left open.
#[derive(Debug)]
struct Settings {
    caches: CacheList,
    workloads: Vec<Workload>,
    threads: Vec<u32>,
    keys: Vec<Kind>,
    rounds: u32,
    run: Duration,
    shape: Shape,
    /// How long the rounds of one combination of keys, workload and threads may take: no round but
    /// the first begins later.
    budget: Duration,
}

impl Settings {
    fn new(arguments: &Arguments) -> Self {
        let quick = arguments.quick;
        let workloads = match &arguments.workloads {
            Some(WorkloadList(given)) => given.clone(),
            None if quick => QUICK_WORKLOADS.to_vec(),
            None => Workload::ALL.to_vec(),
        };
        let threads = match arguments.threads.as_slice() {
            [] if quick => vec![1, 2],
            [] => vec![1, 2, 8, 16, 1000],
            given => given.to_vec(),
        };
        let rounds = arguments.rounds.unwrap_or(if quick { 3 } else { 5 });
        let combinations = (workloads.len() * threads.len() * arguments.keys.len()) as u32;
        let runs = combinations * arguments.caches.len() as u32 * rounds;
        let run = match arguments.millis {
            Some(millis) => Duration::from_millis(millis),
            None if quick => (QUICK_BUDGET / runs)
                .div_f64(1.0 + WARM_UP)
                .clamp(SHORTEST_RUN, LONGEST_QUICK_RUN),
            None => Duration::from_secs(1),
        };
        let capacity = if quick { 10_000 } else { 100_000 };
        Self {
            caches: arguments.caches.clone(),
            workloads,
            threads,
            keys: arguments.keys.clone(),
            rounds,
            run,
            shape: Shape {
                capacity: arguments.capacity.unwrap_or(capacity),
                key_space: arguments.key_space,
                seed: arguments.seed,
            },
            budget: if quick {
                QUICK_BUDGET / combinations
            } else {
                Duration::MAX
            },
        }
    }

    /// Runs of all combinations together.
    fn runs(&self) -> u64 {
        [
            self.keys.len(),
            self.workloads.len(),
            self.threads.len(),
            self.caches.len(),
            self.rounds as usize,
        ]
        .iter()
        .product::<usize>() as u64
    }
}

/// A measurement under way.
struct Bench<'a> {
    settings: &'a Settings,
    bar: ProgressBar,
    random: Xoshiro256PlusPlus,
    rows: Vec<ThroughputRow>,
    failures: Vec<Panicked>,
}

impl<'a> Bench<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            bar: progress::bar("throughput", settings.runs()),
            random: Xoshiro256PlusPlus::seed_from_u64(settings.shape.seed),
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn measure(&mut self) -> Result<(), TooManyThreads> {
        for &kind in &self.settings.keys {
            for &workload in &self.settings.workloads {
                match kind {
                    Kind::U64 => self.measure_workload::<Integers>(workload)?,
                    Kind::String => self.measure_workload::<Strings>(workload)?,
                }
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    fn measure_workload<R: KeyKind>(&mut self, workload: Workload) -> Result<(), TooManyThreads> {
        let plan = Plan::<R>::new(workload, &self.settings.shape);
        for &threads in &self.settings.threads {
            self.measure_rounds(workload, &plan, threads)?;
        }
        Ok(())
    }

    /// The rounds of one combination. A cache that panics is left out from then on.
    fn measure_rounds<R: KeyKind>(
        &mut self,
        workload: Workload,
        plan: &Plan<R>,
        threads: u32,
    ) -> Result<(), TooManyThreads> {
        let settings = self.settings;
        let begin = Instant::now();
        let mut tallies: Vec<_> = settings
            .caches
            .iter()
            .map(|cache| (cache, Some(Tally::default())))
            .collect();
        for round in 0..settings.rounds {
            let left = u64::from(settings.rounds - round) * settings.caches.len() as u64;
            if round > 0 && begin.elapsed() > settings.budget {
                self.bar.inc(left);
                break;
            }
            tallies.shuffle(&mut self.random);
            for (cache, slot) in &mut tallies {
                let place = match threads {
                    1 => format!("{workload}, 1 thread"),
                    threads => format!("{workload}, {threads} threads"),
                };
                self.bar.set_message(format!("{cache}, {place}"));
                self.bar.inc(1);
                let Some(tally) = slot else {
                    continue;
                };
                let run = Run {
                    plan,
                    threads: threads as usize,
                    duration: settings.run,
                };
                match contained(&cache.to_string(), &place, || cache.visit(plan.room(), run)) {
                    Ok(outcome) => tally.add(&outcome?),
                    Err(panicked) => {
                        self.failures.push(panicked);
                        *slot = None;
                    }
                }
            }
        }
        for cache in settings.caches.iter() {
            let mut measured = tallies.iter();
            let tally = measured
                .find_map(|(other, tally)| tally.as_ref().filter(|_| ptr::eq(*other, cache)));
            self.rows
                .extend(tally.map(|tally| tally.row(cache, workload, R::KIND, threads)));
        }
        Ok(())
    }
}

/// One run on a new cache.
struct Run<'a, R: KeyKind> {
    plan: &'a Plan<R>,
    threads: usize,
    duration: Duration,
}

impl<R: KeyKind> Visitor<R::Key, R::Value> for Run<'_, R> {
    type Output = Result<Outcome, TooManyThreads>;

    fn visit<C: BenchCache<R::Key, R::Value>>(self, build: impl FnOnce() -> C) -> Self::Output {
        let cache = build();
        closed_loop::fill(&cache, self.plan);
        let warm_up = self.duration.mul_f64(WARM_UP);
        closed_loop::run(&cache, self.plan, self.threads, 0, warm_up)?;
        closed_loop::run(&cache, self.plan, self.threads, 1, self.duration)
    }
}

/// The rounds of one cache.
#[derive(Default)]
struct Tally {
    ops_per_s: Vec<f64>,
    reads: u64,
    hits: u64,
    latency: Latency,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.ops_per_s.push(outcome.ops_per_s);
        self.reads += outcome.reads;
        self.hits += outcome.hits;
        self.latency.add(&outcome.latency);
    }

    fn row(
        &self,
        cache: &CacheSpec,
        workload: Workload,
        kind: Kind,
        threads: u32,
    ) -> ThroughputRow {
        let spread = Spread::of(&self.ops_per_s);
        let Latency { all_ns, hits_ns } = &self.latency;
        let of_hits = |quantile| (!hits_ns.is_empty()).then(|| hits_ns.value_at_quantile(quantile));
        ThroughputRow {
            cache: cache.to_string(),
            workload: workload.name().to_owned(),
            keys: kind,
            threads,
            ops_per_s_median: spread.median,
            ops_per_s_min: spread.min,
            ops_per_s_max: spread.max,
            hit_ratio: (self.reads > 0).then(|| self.hits as f64 / self.reads as f64),
            p50_ns: all_ns.value_at_quantile(0.5),
            p99_ns: all_ns.value_at_quantile(0.99),
            p999_ns: all_ns.value_at_quantile(0.999),
            hit_p50_ns: of_hits(0.5),
            hit_p90_ns: of_hits(0.9),
            hit_p99_ns: of_hits(0.99),
            hit_p999_ns: of_hits(0.999),
            hit_p9999_ns: of_hits(0.9999),
        }
    }
}

fn table(rows: &[ThroughputRow]) -> Table {
    let words = ["cache", "workload", "keys"].map(|name| (name, Align::Left));
    let numbers = [
        "threads",
        "M ops/s",
        "min",
        "max",
        "hits",
        "p50 ns",
        "p99 ns",
        "p99.9 ns",
        "hit p50",
        "hit p99.9",
    ]
    .map(|name| (name, Align::Right));
    let mut table = Table::new(words.into_iter().chain(numbers));
    let millions = |ops_per_s: f64| {
        let millions = ops_per_s / 1e6;
        // Three digits that mean something, however slow.
        let decimals = (2.0 - millions.log10().floor()).clamp(0.0, 6.0);
        format!("{millions:.*}", decimals as usize)
    };
    let nanoseconds = |ns: Option<u64>| ns.map_or_else(String::new, |ns| ns.to_string());
    for row in rows {
        table.row([
            row.cache.clone(),
            row.workload.clone(),
            row.keys.to_string(),
            row.threads.to_string(),
            millions(row.ops_per_s_median),
            millions(row.ops_per_s_min),
            millions(row.ops_per_s_max),
            row.hit_ratio
                .map_or_else(String::new, |ratio| format!("{:.2} %", 100.0 * ratio)),
            row.p50_ns.to_string(),
            row.p99_ns.to_string(),
            row.p999_ns.to_string(),
            nanoseconds(row.hit_p50_ns),
            nanoseconds(row.hit_p999_ns),
        ]);
    }
    table
}
