//! `nuthatch-lab server`: load for servers of Redis' or memcached's protocol: requests per second,
//! their latency, the server's processor time and memory, and its hit ratio.
//!
//! A round runs every server once, in an order of its own, with the same requests and new
//! connections; the others are idle meanwhile. So whatever else the machine does meets all of them.

use super::input::{ColumnArguments, source};
use super::{JsonArguments, Spread};
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::rows::ServerRow;
use nuthatch_lab::trace::{Source, Trace};
use nuthatch_lab::traffic::{
    Choices, Crew, Demand, Keys, LONGEST_VALUE, Mix, Outcome, Pace, Plan, Popularity,
    ServerProcess, Target, Usage, Work,
};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::iter;
use std::process::ExitCode;
use std::slice;
use std::time::Duration;

/// The pipeline that fills servers, whatever is measured later.
const FILL_PIPELINE: usize = 64;
/// Requests a second that one thread may get answered without a pipeline and with the deepest, by
/// which those that are made before a run are reckoned,
const FASTEST_PER_S: f64 = 2e5;
const FASTEST_PIPELINED_PER_S: f64 = 3e6;
/// and the most of them, which fit the memory.
const MOST_MADE: f64 = 8e6;
/// A generator that works for this part of the time may be what the figures are about.
const BUSY: f64 = 0.9;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Servers with commas between them: redis://host:port, redis://user:password@host:port,
    /// redis://host:port?protocol=3, memcached://host:port, redis+unix:///path,
    /// memcached+unix:///path
    #[arg(long, value_delimiter = ',', required = true, value_name = "URL,..")]
    target: Vec<Target>,
    /// The servers' processes on this machine, in the order of the targets: tells their processor
    /// time and memory
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..), value_name = "PID,..")]
    pid: Vec<u32>,
    /// Different keys [default: 1000000, with --quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: Option<u64>,
    /// Bytes of a key
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=250))]
    key_bytes: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_VALUE)))]
    value_bytes: u32,
    /// How popular keys are: the exponent of Zipf's law, or uniform
    #[arg(long, default_value = "0.99", value_name = "EXPONENT")]
    zipf: Popularity,
    /// Reads and writes, as GET:SET
    #[arg(long, default_value = "10:1", value_name = "GET:SET")]
    ratio: Mix,
    /// Requests that a connection sends before it waits for all of their replies, with commas
    /// between them [default: 1,16,64, with --quick 1,16]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pipeline: Vec<u32>,
    /// Connections to each server
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Threads that share the connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    threads: u32,
    /// Rounds, in each of which every server runs once [default: 5, with --quick 3, with --trace 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: Option<u32>,
    /// Milliseconds of each run [default: 2000, with --quick 300]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    millis: Option<u64>,
    /// A soak: so many seconds for each server and pipeline, in as many rounds as that takes
    #[arg(long, conflicts_with = "rounds", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    duration_s: Option<u64>,
    /// Let what is stored expire after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    ttl_s: Option<u32>,
    /// Open loop: so many requests a second, in all, whatever becomes of them; latency counts from
    /// when each was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Remove everything from the servers before --fill, and before each replay of a trace
    #[arg(long)]
    flush: bool,
    /// Store every key first
    #[arg(long)]
    fill: bool,
    /// Read, and store what was missed: how large a part of the demand does the server hold?
    #[arg(long, conflicts_with = "ratio")]
    cache_aside: bool,
    #[arg(
        long,
        value_name = "TRACE",
        value_parser = source,
        conflicts_with_all = ["keys", "zipf", "ratio", "millis", "duration_s", "fill", "quick"],
        help = format!("Replay a trace from begin to end, and store what was missed, in its sizes. {}", Source::naming()),
    )]
    trace: Option<Source>,
    #[command(flatten)]
    columns: ColumnArguments,
    /// Where the random choices start from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    check(arguments)?;
    let presentation = arguments.json.open()?;
    let traces = arguments.trace.as_ref();
    arguments
        .columns
        .check(traces.map_or(&[], slice::from_ref))?;
    let trace = traces.map(|source| arguments.columns.load(source));
    let bench = Bench::new(arguments, trace.transpose()?)?;
    let rows = bench.measure(&mut subjects(arguments)?)?;
    for row in &rows {
        if row.generator_busy.is_some_and(|busy| busy > BUSY) {
            eprintln!(
                "{}, pipeline {}: the generator was busy all the time and may be slower than the \
                 server; more --threads may help",
                row.target, row.pipeline
            );
        }
    }
    presentation.give(table(&rows), &rows)
}

/// What can be known to be wrong before anything is opened.
fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let (targets, processes) = (arguments.target.len(), arguments.pid.len());
    if processes > 0 && processes != targets {
        bail!("--pid names {processes} processes for {targets} targets");
    }
    if arguments.threads > arguments.connections {
        bail!(
            "{} threads cannot share {} connections",
            arguments.threads,
            arguments.connections
        );
    }
    Ok(())
}

/// A server to be measured.
struct Subject {
    target: Target,
    process: Option<ServerProcess>,
}

/// The servers, whose processes are there.
fn subjects(arguments: &Arguments) -> anyhow::Result<Vec<Subject>> {
    let pids = arguments.pid.iter().copied().map(Some);
    let pids = pids.chain(iter::repeat(None));
    let subjects = arguments.target.iter().zip(pids).map(|(target, pid)| {
        let mut process = pid.map(ServerProcess::new);
        if let (Some(process), Some(pid)) = (&mut process, pid)
            && process.usage().is_none()
        {
            bail!("{target}: there is no process {pid} on this machine");
        }
        Ok(Subject {
            target: target.clone(),
            process,
        })
    });
    subjects.collect()
}

/// How servers are measured, with nothing left open.
struct Bench {
    plan: Plan,
    pipelines: Vec<u32>,
    rounds: u32,
    rate_per_s: Option<u64>,
    seed: u64,
    keys: u64,
    traffic: Traffic,
    flush: bool,
    fill: bool,
}

/// What is sent.
enum Traffic {
    Chosen {
        demand: Demand,
        mix: Mix,
        cache_aside: bool,
        duration: Duration,
    },
    Trace(Trace),
}

impl Bench {
    fn new(arguments: &Arguments, trace: Option<Trace>) -> anyhow::Result<Self> {
        let quick = arguments.quick;
        let keys = match &trace {
            Some(trace) => trace.keys(),
            None => arguments
                .keys
                .unwrap_or(if quick { 100_000 } else { 1_000_000 }),
        };
        let mut longest_value_bytes = arguments.value_bytes;
        if let Some(trace) = trace.as_ref().filter(|trace| trace.has_sizes()) {
            let sizes = trace.requests().iter().map(|request| request.size);
            longest_value_bytes = sizes.max().unwrap_or(longest_value_bytes);
            if longest_value_bytes > LONGEST_VALUE {
                bail!(
                    "{} has an object of {longest_value_bytes} bytes, and values have at most \
                     {LONGEST_VALUE}",
                    trace.name()
                );
            }
        }
        let millis = arguments.millis.unwrap_or(if quick { 300 } else { 2000 });
        let rounds = match (arguments.rounds, arguments.duration_s) {
            (Some(rounds), _) => rounds,
            (None, Some(duration_s)) => u32::try_from((duration_s * 1000).div_ceil(millis))
                .context("--duration-s has too many rounds: give longer --millis")?,
            (None, None) if trace.is_some() => 1,
            (None, None) if quick => 3,
            (None, None) => 5,
        };
        let pipelines = match arguments.pipeline.as_slice() {
            [] if quick => vec![1, 16],
            [] => vec![1, 16, 64],
            given => given.to_vec(),
        };
        let mix = if arguments.cache_aside {
            Mix::READS
        } else {
            arguments.ratio
        };
        let traffic = match trace {
            Some(trace) => Traffic::Trace(trace),
            None => Traffic::Chosen {
                demand: Demand::new(arguments.zipf, keys, mix),
                mix,
                cache_aside: arguments.cache_aside,
                duration: Duration::from_millis(millis),
            },
        };
        Ok(Self {
            plan: Plan {
                keys: Keys::new(keys, arguments.key_bytes as usize)?,
                value_bytes: arguments.value_bytes,
                longest_value_bytes,
                ttl_s: arguments.ttl_s,
                connections: arguments.connections as usize,
                threads: arguments.threads as usize,
            },
            pipelines,
            rounds,
            rate_per_s: arguments.rate,
            seed: arguments.seed,
            keys,
            traffic,
            flush: arguments.flush,
            fill: arguments.fill,
        })
    }

    fn measure(&self, subjects: &mut [Subject]) -> anyhow::Result<Vec<ServerRow>> {
        let runs = subjects.len() as u64 * self.pipelines.len() as u64 * u64::from(self.rounds);
        let bar = progress::bar("server", runs);
        for subject in &*subjects {
            self.prepare(&subject.target, &bar)?;
        }
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        // A server must not know a round's requests from an earlier one.
        let mut seeds = (0..).map(|round| self.seed.wrapping_add(round));
        let mut rows = Vec::new();
        for &pipeline in &self.pipelines {
            let mut records: Vec<_> = subjects.iter().map(|_| Record::default()).collect();
            for seed in seeds.by_ref().take(self.rounds as usize) {
                let choices = self.choices(seed, pipeline);
                let mut order: Vec<_> = (0..subjects.len()).collect();
                order.shuffle(&mut random);
                for number in order {
                    let subject = &mut subjects[number];
                    bar.set_message(format!("{}, pipeline {pipeline}", subject.target));
                    let work = self.work(choices.as_ref());
                    let run = self.run(subject, &work, pipeline)?;
                    records[number].add(run);
                    bar.inc(1);
                }
            }
            rows.extend(
                subjects
                    .iter()
                    .zip(&records)
                    .map(|(subject, record)| self.row(&subject.target, pipeline, record)),
            );
        }
        bar.finish_and_clear();
        Ok(rows)
    }

    /// Empties and fills a server, as asked. One that cannot be reached is found out here.
    fn prepare(&self, target: &Target, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut crew = self.assemble(target)?;
        if self.flush {
            bar.set_message(format!("{target}, flush"));
            crew.empty().with_context(|| target.to_string())?;
        }
        if self.fill {
            bar.set_message(format!("{target}, fill"));
            let pace = Pace {
                pipeline: FILL_PIPELINE,
                rate_per_s: None,
            };
            let fill = Work::Fill { keys: self.keys };
            crew.run(&fill, pace).with_context(|| target.to_string())?;
        }
        Ok(())
    }

    fn assemble(&self, target: &Target) -> anyhow::Result<Crew> {
        Crew::assemble(target, &self.plan).with_context(|| target.to_string())
    }

    fn choices(&self, seed: u64, pipeline: u32) -> Option<Choices> {
        let Traffic::Chosen {
            demand, duration, ..
        } = &self.traffic
        else {
            return None;
        };
        let threads = self.plan.threads;
        let per_s = match self.rate_per_s {
            Some(rate_per_s) => rate_per_s as f64 / threads as f64,
            None => (FASTEST_PER_S * f64::from(pipeline)).min(FASTEST_PIPELINED_PER_S),
        };
        let made = (per_s * duration.as_secs_f64()).min(MOST_MADE / threads as f64);
        Some(demand.choices(seed, threads, made as usize))
    }

    fn work<'a>(&'a self, choices: Option<&'a Choices>) -> Work<'a> {
        match (&self.traffic, choices) {
            (Traffic::Trace(trace), _) => Work::Replay { trace },
            (
                Traffic::Chosen {
                    cache_aside,
                    duration,
                    ..
                },
                choices,
            ) => Work::Chosen {
                choices: choices.expect("they were made for this round"),
                cache_aside: *cache_aside,
                duration: *duration,
            },
        }
    }

    fn run(&self, subject: &mut Subject, work: &Work<'_>, pipeline: u32) -> anyhow::Result<Run> {
        let target = &subject.target;
        let mut crew = self.assemble(target)?;
        if self.flush && matches!(self.traffic, Traffic::Trace(_)) {
            crew.empty().with_context(|| target.to_string())?;
        }
        let pace = Pace {
            pipeline: pipeline as usize,
            rate_per_s: self.rate_per_s,
        };
        let mut generator = ServerProcess::own();
        let mut usage = |process: &mut Option<ServerProcess>| {
            let own = generator.usage();
            let server = process.as_mut().map(|process| process.usage());
            match server {
                Some(None) => bail!("{target}: its process has ended"),
                server => Ok((server.flatten(), own)),
            }
        };
        let (server_before, own_before) = usage(&mut subject.process)?;
        let outcome = crew.run(work, pace).with_context(|| target.to_string())?;
        let (server, own) = usage(&mut subject.process)?;
        let cpu_s = |before: Option<Usage>, after: Option<Usage>| {
            let cpu = after?.cpu.saturating_sub(before?.cpu);
            Some(cpu.as_secs_f64())
        };
        let threads_s = outcome.elapsed.as_secs_f64() * self.plan.threads as f64;
        Ok(Run {
            server_cpu_s: cpu_s(server_before, server),
            resident_bytes: server.map(|usage| usage.resident_bytes),
            generator_busy: cpu_s(own_before, own).map(|cpu_s| cpu_s / threads_s),
            outcome,
        })
    }

    fn row(&self, target: &Target, pipeline: u32, record: &Record) -> ServerRow {
        let speed = Spread::of(&record.ops_per_s);
        let latency = record.latency_ns.as_ref().expect("there is a round");
        let quantile_us = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        let median = |measured: &[f64]| (!measured.is_empty()).then(|| Spread::of(measured).median);
        let (work, value_bytes) = match &self.traffic {
            Traffic::Trace(trace) => {
                let is_sized = trace.has_sizes();
                (
                    trace.name().to_owned(),
                    (!is_sized).then_some(self.plan.value_bytes),
                )
            }
            Traffic::Chosen {
                mix, cache_aside, ..
            } => {
                let work = if *cache_aside {
                    "cache-aside".to_owned()
                } else {
                    mix.to_string()
                };
                (work, Some(self.plan.value_bytes))
            }
        };
        ServerRow {
            target: target.to_string(),
            work,
            pipeline,
            connections: self.plan.connections as u32,
            threads: self.plan.threads as u32,
            keys: self.keys,
            key_bytes: self.plan.keys.key_bytes() as u32,
            value_bytes,
            rate_per_s: self.rate_per_s,
            ops: record.ops,
            ops_per_s_median: speed.median,
            ops_per_s_min: speed.min,
            ops_per_s_max: speed.max,
            unsent: record.unsent,
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
            p999_us: quantile_us(0.999),
            max_us: latency.max() as f64 / 1e3,
            hit_ratio: (record.gets > 0).then(|| record.hits as f64 / record.gets as f64),
            server_cpu_s_per_mop: median(&record.cpu_s_per_mop),
            rss_bytes: record.resident_bytes.last().copied(),
            rss_bytes_max: record.resident_bytes.iter().max().copied(),
            generator_busy: match self.rate_per_s {
                Some(_) => None,
                None => median(&record.generator_busy),
            },
        }
    }
}

/// One run of one server.
struct Run {
    outcome: Outcome,
    server_cpu_s: Option<f64>,
    resident_bytes: Option<u64>,
    generator_busy: Option<f64>,
}

/// The runs of one server with one pipeline.
#[derive(Default)]
struct Record {
    ops_per_s: Vec<f64>,
    ops: u64,
    gets: u64,
    hits: u64,
    unsent: u64,
    latency_ns: Option<Histogram<u64>>,
    cpu_s_per_mop: Vec<f64>,
    resident_bytes: Vec<u64>,
    generator_busy: Vec<f64>,
}

impl Record {
    fn add(&mut self, run: Run) {
        let outcome = run.outcome;
        self.ops_per_s.push(outcome.ops_per_s);
        self.ops += outcome.ops;
        self.gets += outcome.gets;
        self.hits += outcome.hits;
        self.unsent += outcome.unsent;
        match &mut self.latency_ns {
            Some(sum) => sum
                .add(&outcome.latency_ns)
                .expect("all histograms have the same bounds"),
            None => self.latency_ns = Some(outcome.latency_ns),
        }
        let mops = outcome.ops.max(1) as f64 / 1e6;
        let cpu_s_per_mop = run.server_cpu_s.map(|cpu_s| cpu_s / mops);
        self.cpu_s_per_mop.extend(cpu_s_per_mop);
        self.resident_bytes.extend(run.resident_bytes);
        self.generator_busy.extend(run.generator_busy);
    }
}

fn table(rows: &[ServerRow]) -> Table {
    let numbers = [
        "pipeline",
        "ops/s",
        "min",
        "max",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "unsent",
        "hit ratio",
        "CPU us/op",
        "RSS MB",
        "generator busy",
    ]
    .map(|name| (name, Align::Right));
    let words = ["target", "work"].map(|name| (name, Align::Left));
    let mut table = Table::new(words.into_iter().chain(numbers));
    let known = |number: Option<f64>, places: usize| {
        number.map_or_else(|| "-".to_owned(), |number| format!("{number:.places$}"))
    };
    for row in rows {
        table.row([
            row.target.clone(),
            row.work.clone(),
            row.pipeline.to_string(),
            format!("{:.0}", row.ops_per_s_median),
            format!("{:.0}", row.ops_per_s_min),
            format!("{:.0}", row.ops_per_s_max),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            format!("{:.0}", row.max_us),
            known(row.rate_per_s.map(|_| row.unsent as f64), 0),
            known(row.hit_ratio, 4),
            // A second for a million is a microsecond for each.
            known(row.server_cpu_s_per_mop, 2),
            known(row.rss_bytes.map(|bytes| bytes as f64 / 1e6), 0),
            known(row.generator_busy, 2),
        ]);
    }
    table
}
