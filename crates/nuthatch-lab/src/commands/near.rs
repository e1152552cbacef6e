//! `nuthatch-lab near`: what a near cache gains in front of a server, beside the `redis` crate with and without
//! its own caching and beside the library alone; and what a hit in process costs.
//!
//! A round runs every reader once, in an order of its own, with a cache and connections of its own. So
//! whatever else the machine does meets all of them.

use super::{JsonArguments, Spread};
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use nuthatch_lab::near::{
    Address, Bench, Contender, HitCost, LocalServer, NearError, Path, Run, Scale, Schedule,
};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::progress;
use nuthatch_lab::rows::{NearHitRow, NearReadsRow, NearRow};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Cold keys are so many times the capacity at least, so that none is held until it comes again.
const COLD_TIMES: u32 = 10;
/// The share of a run's time that a round of one call takes.
const HIT_SHARE: f64 = 0.25;
/// Hits are not hits if more than this part of them is answered by the server.
const ALL_HITS: f64 = 0.9999;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server, as redis://host:port; keys of the namespace nuthatch-lab-near are written to it, and removed
    /// in the end [default: a redis-server of its own]
    #[arg(long, value_name = "URL")]
    target: Option<Address>,
    /// Percentages of the reads that the cache in process shall answer, with commas between them
    #[arg(long, value_delimiter = ',', default_value = "90,95,99,100", value_parser = percentage, value_name = "PERCENT,..")]
    hit_ratios: Vec<f64>,
    /// Tasks that read, each one key after the other
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tasks: u32,
    /// Threads of the tasks' runtime
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    threads: u32,
    /// Entries that a cache in process may hold; half as many keys are hot
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    capacity: u32,
    /// Keys that are not hot [default: 50 times the capacity, with --quick 10 times]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    cold_keys: Option<u32>,
    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    value_bytes: u32,
    /// Hot keys that somebody else writes in a second
    #[arg(long, default_value_t = 0, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    writers: u32,
    /// Rounds, in each of which every reader runs once [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Milliseconds of each run [default: 1000, with --quick 200]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    millis: Option<u64>,
    /// Where the random choices start from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take less than a minute, and be less exact
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonArguments,
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("it is a percentage from 0 to 100".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(arguments)?;
    let presentation = arguments.json.open()?;
    let own = match arguments.target {
        Some(_) => None,
        None => Some(LocalServer::start()?),
    };
    let own_address = own.as_ref().map(LocalServer::address);
    let address = arguments.target.as_ref().or(own_address.as_ref());
    let address = address.expect("a server is given or started");
    let rows = measure(address, &settings).with_context(|| address.to_string())?;
    for row in &rows {
        if let NearRow::Hit(row) = row
            && row.hit_ratio < ALL_HITS
        {
            eprintln!(
                "{}: not all reads were hits: the machine was too busy for the server to be heard of in time",
                row.call
            );
        }
    }
    let text = format!("{}\n{}", reads_table(&rows), hits_table(&rows));
    presentation.give(text, &rows)
}

/// What to measure, with nothing left open.
struct Settings {
    scale: Scale,
    hit_ratios: Vec<f64>,
    rounds: u32,
    run: Duration,
    seed: u64,
}

impl Settings {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let (quick, capacity) = (arguments.quick, arguments.capacity);
        let times = if quick { COLD_TIMES } else { 5 * COLD_TIMES };
        let cold = arguments
            .cold_keys
            .unwrap_or(capacity.saturating_mul(times));
        if cold < capacity.saturating_mul(COLD_TIMES) {
            bail!(
                "--cold-keys {cold} is less than {COLD_TIMES} times the capacity of {capacity}: a cache could \
                 hold some until they come again"
            );
        }
        let mut scale = Scale::new(capacity, cold);
        scale.value_bytes = arguments.value_bytes as usize;
        scale.tasks = arguments.tasks as usize;
        scale.threads = arguments.threads as usize;
        scale.writes_per_s = arguments.writers;
        Ok(Self {
            scale,
            hit_ratios: arguments.hit_ratios.clone(),
            rounds: arguments.rounds.unwrap_or(if quick { 3 } else { 5 }),
            run: Duration::from_millis(arguments.millis.unwrap_or(if quick { 200 } else { 1000 })),
            seed: arguments.seed,
        })
    }

    /// Runs of all readers and calls.
    fn runs(&self) -> u64 {
        let runs = self.hit_ratios.len() * Contender::ALL.len() + Path::ALL.len();
        runs as u64 * u64::from(self.rounds)
    }
}

/// Fills the server, measures, and removes the keys, also if the measurement fails.
fn measure(address: &Address, settings: &Settings) -> anyhow::Result<Vec<NearRow>> {
    let bar = progress::bar("near", u64::from(settings.scale.keys()));
    bar.set_message("writing the keys");
    let mut bench = Bench::new(address, settings.scale.clone(), |keys| bar.inc(keys))?;
    bar.set_length(settings.runs());
    bar.set_position(0);
    let measured = rows(&mut bench, settings, &bar);
    bar.set_message("removing the keys");
    let cleared = bench.clear();
    bar.finish_and_clear();
    let rows = measured?;
    cleared.context("the keys are not removed")?;
    Ok(rows)
}

fn rows(bench: &mut Bench, settings: &Settings, bar: &ProgressBar) -> anyhow::Result<Vec<NearRow>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
    let mut rows = Vec::new();
    for &ratio in &settings.hit_ratios {
        let tallies = read(bench, settings, ratio, bar, &mut random)?;
        let plain = Contender::ALL
            .iter()
            .position(|&contender| contender == Contender::Plain)
            .expect("somebody reads without a cache");
        let plain = Spread::of(&tallies[plain].reads_per_s).median;
        for (contender, tally) in Contender::ALL.iter().zip(&tallies) {
            rows.push(NearRow::Reads(tally.row(
                *contender,
                ratio,
                plain,
                bench.scale(),
            )));
        }
    }
    let costs = hit(bench, settings, bar, &mut random)?;
    rows.extend(hit_rows(&costs).into_iter().map(NearRow::Hit));
    Ok(rows)
}

/// The rounds of one hit ratio, by contender.
fn read(
    bench: &mut Bench,
    settings: &Settings,
    ratio: f64,
    bar: &ProgressBar,
    random: &mut Xoshiro256PlusPlus,
) -> anyhow::Result<Vec<Tally>> {
    let scale = bench.scale();
    let schedule = Arc::new(Schedule::new(ratio, scale.hot, scale.cold, settings.seed));
    let mut tallies = vec![Tally::default(); Contender::ALL.len()];
    for _ in 0..settings.rounds {
        let mut order: Vec<_> = Contender::ALL.into_iter().zip(&mut tallies).collect();
        order.shuffle(random);
        for (contender, tally) in order {
            let place = format!("{contender}, {}", percent(ratio));
            bar.set_message(place.clone());
            let run = bench.run(contender, &schedule, settings.run);
            tally.add(run.context(place)?, settings.run);
            bar.inc(1);
        }
    }
    Ok(tallies)
}

/// The rounds of all calls.
fn hit(
    bench: &Bench,
    settings: &Settings,
    bar: &ProgressBar,
    random: &mut Xoshiro256PlusPlus,
) -> Result<Vec<Vec<HitCost>>, NearError> {
    let calls = bench.hit_costs(settings.seed)?;
    let mut costs = vec![Vec::new(); Path::ALL.len()];
    for _ in 0..settings.rounds {
        let mut order: Vec<_> = Path::ALL.into_iter().zip(&mut costs).collect();
        order.shuffle(random);
        for (path, costs) in order {
            bar.set_message(path.to_string());
            costs.push(calls.measure(path, settings.run.mul_f64(HIT_SHARE))?);
            bar.inc(1);
        }
    }
    Ok(costs)
}

/// The rounds of one contender at one hit ratio.
#[derive(Clone, Default)]
struct Tally {
    reads_per_s: Vec<f64>,
    writes_per_s: Vec<f64>,
    reads: u64,
    /// `None` from the first run on that does not tell.
    hits: Option<f64>,
    requests: Option<u64>,
    latency_ns: Option<Histogram<u64>>,
}

impl Tally {
    fn add(&mut self, run: Run, duration: Duration) {
        let first = self.reads_per_s.is_empty();
        let outcome = run.outcome;
        let (hits, requests) = (self.hits, self.requests);
        self.hits = run
            .hit_ratio
            .map(|ratio| ratio * outcome.reads as f64)
            .and_then(|more| {
                if first {
                    Some(more)
                } else {
                    Some(hits? + more)
                }
            });
        self.requests = run.requests.and_then(|more| {
            if first {
                Some(more)
            } else {
                Some(requests? + more)
            }
        });
        self.reads_per_s.push(outcome.reads_per_s);
        self.writes_per_s
            .push(run.writes as f64 / duration.as_secs_f64());
        self.reads += outcome.reads;
        match &mut self.latency_ns {
            Some(sum) => sum
                .add(&outcome.latency_ns)
                .expect("all histograms have the same bounds"),
            None => self.latency_ns = Some(outcome.latency_ns),
        }
    }

    fn row(&self, contender: Contender, ratio: f64, plain: f64, scale: &Scale) -> NearReadsRow {
        let spread = Spread::of(&self.reads_per_s);
        let latency = self.latency_ns.as_ref().expect("there is a round");
        let reads = self.reads.max(1) as f64;
        NearReadsRow {
            reader: contender.to_string(),
            hot_ratio: ratio,
            hit_ratio: self.hits.map(|hits| hits / reads),
            tasks: scale.tasks as u32,
            threads: scale.threads as u32,
            capacity: scale.capacity,
            keys: scale.keys(),
            value_bytes: scale.value_bytes as u32,
            reads: self.reads,
            reads_per_s_median: spread.median,
            reads_per_s_min: spread.min,
            reads_per_s_max: spread.max,
            of_plain: spread.median / plain,
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
            p999_ns: latency.value_at_quantile(0.999),
            requests_per_1000_reads: self.requests.map(|requests| 1e3 * requests as f64 / reads),
            writes_per_s: Spread::of(&self.writes_per_s).median,
        }
    }
}

fn hit_rows(costs: &[Vec<HitCost>]) -> Vec<NearHitRow> {
    let spreads = costs.iter().map(|costs| {
        let ns: Vec<_> = costs.iter().map(|cost| cost.ns).collect();
        Spread::of(&ns)
    });
    let spreads: Vec<_> = spreads.collect();
    let median_of = |path: Path| {
        let place = Path::ALL.iter().position(|&other| other == path);
        spreads[place.expect("every call is measured")].median
    };
    let (library_ns, tier_ns) = (median_of(Path::LibraryTtl), median_of(Path::Tier));
    let calls = Path::ALL.iter().zip(costs).zip(&spreads);
    calls
        .map(|((path, costs), spread)| NearHitRow {
            call: path.to_string(),
            ns_median: spread.median,
            ns_min: spread.min,
            ns_max: spread.max,
            of_library: spread.median / library_ns,
            of_tier: spread.median / tier_ns,
            hit_ratio: costs.iter().map(|cost| cost.hit_ratio).sum::<f64>() / costs.len() as f64,
        })
        .collect()
}

fn reads_table(rows: &[NearRow]) -> Table {
    let numbers = [
        "hot",
        "hits",
        "reads/s",
        "min",
        "max",
        "of plain",
        "p50 ns",
        "p99 ns",
        "p99.9 ns",
        "requests/1000",
        "writes/s",
    ]
    .map(|name| (name, Align::Right));
    let mut table = Table::new([("reader", Align::Left)].into_iter().chain(numbers));
    for row in rows {
        let NearRow::Reads(row) = row else {
            continue;
        };
        table.row([
            row.reader.clone(),
            percent(row.hot_ratio),
            known(row.hit_ratio, |ratio| format!("{:.2} %", 100.0 * ratio)),
            format!("{:.0}", row.reads_per_s_median),
            format!("{:.0}", row.reads_per_s_min),
            format!("{:.0}", row.reads_per_s_max),
            format!("{:.2}", row.of_plain),
            row.p50_ns.to_string(),
            row.p99_ns.to_string(),
            row.p999_ns.to_string(),
            known(row.requests_per_1000_reads, |requests| {
                format!("{requests:.2}")
            }),
            format!("{:.0}", row.writes_per_s),
        ]);
    }
    table
}

fn hits_table(rows: &[NearRow]) -> Table {
    let numbers = ["ns", "min", "max", "of the library", "of the tier", "hits"]
        .map(|name| (name, Align::Right));
    let call = ("a hit, on one thread", Align::Left);
    let mut table = Table::new([call].into_iter().chain(numbers));
    for row in rows {
        let NearRow::Hit(row) = row else {
            continue;
        };
        table.row([
            row.call.clone(),
            format!("{:.1}", row.ns_median),
            format!("{:.1}", row.ns_min),
            format!("{:.1}", row.ns_max),
            format!("{:.2}", row.of_library),
            format!("{:.2}", row.of_tier),
            format!("{:.2} %", 100.0 * row.hit_ratio),
        ]);
    }
    table
}

/// As it was given.
fn percent(ratio: f64) -> String {
    format!("{} %", (1e6 * ratio).round() / 1e4)
}

fn known<T>(number: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    number.map_or_else(|| "-".to_owned(), shown)
}
