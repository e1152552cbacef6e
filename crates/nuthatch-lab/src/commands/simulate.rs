//! `nuthatch-lab simulate`: what each policy would have missed.

mod check;

use super::default_threads;
use anyhow::Context;
use nuthatch_lab::bundled;
use nuthatch_lab::grid::{Cell, Grid, Standing, is_clairvoyant, standings};
use nuthatch_lab::output::{Align, Table, show, write_json};
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::sizes::CacheSize;
use nuthatch_lab::subject::Subject;
use nuthatch_lab::trace::{Columns, Source, Trace};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The sizes of a quick run, small enough to let policies differ and large enough for the traces
/// that come with the laboratory.
const QUICK_SIZES: &[&str] = &["1%", "3%", "10%", "30%"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files, each with its format in front (ctr:, oracle:, csv:, arc:, lirs:) unless its name
    /// ends in .ctr.zst, .bin, .csv, .lis, .trc or these with .zst; or zipf:ALPHA:KEYS:REQUESTS,
    /// scan:ALPHA:KEYS:REQUESTS, loop:KEYS:REQUESTS. With --check: names of traces
    #[arg(long, num_args = 1.., value_name = "TRACE")]
    traces: Vec<String>,
    /// Policies by name, each with its parameters behind colons; `all` for every one
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "POLICY,.."
    )]
    policies: Vec<String>,
    /// Capacities: percentages of each trace's unique keys (or bytes), or absolute
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.1%,1%,10%",
        value_name = "SIZE,.."
    )]
    sizes: Vec<CacheSize>,
    /// What caches are bounded by
    #[arg(long, value_enum, default_value = "entries")]
    by: By,
    /// Names of a CSV's columns, of which one is `key`, others may be `time`, `size` and `ttl`
    #[arg(long, value_name = "NAME,..")]
    columns: Option<Columns>,
    /// Also write the rows as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Simulate the traces that come with the laboratory
    #[arg(long, conflicts_with_all = ["traces", "sizes", "check"])]
    quick: bool,
    /// Compare with published miss ratios instead; exit with 1 if they disagree
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["sizes", "by"])]
    check: Option<PathBuf>,
    /// Where the traces of --check are; the file's own directory if not given
    #[arg(long, requires = "check", value_name = "DIR")]
    trace_dir: Option<PathBuf>,
    /// Simulations that run at a time
    #[arg(long, default_value_t = default_threads())]
    threads: NonZeroUsize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    /// Every object counts 1
    Entries,
    /// Every object counts its size
    Bytes,
}

impl From<By> for Bound {
    fn from(by: By) -> Self {
        match by {
            By::Entries => Self::Entries,
            By::Bytes => Self::Bytes,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(published) = &arguments.check {
        return check::run(arguments, published);
    }
    let grid = Grid {
        subjects: subjects(&arguments.policies)?,
        sizes: sizes(arguments)?,
        bound: arguments.by.into(),
        threads: arguments.threads,
    };
    let cells = if arguments.quick {
        let mut cells = Vec::new();
        for trace in bundled::traces()? {
            cells.extend(simulate(&grid, &trace)?);
        }
        cells
    } else {
        simulate_files(arguments, &grid)?
    };
    if cells.is_empty() {
        anyhow::bail!("every trace is too small for every size: give larger --sizes");
    }
    show(conclusion(&cells))?;
    if let Some(path) = &arguments.json {
        write_json(path, &cells).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The policies asked for, without doubles.
fn subjects(names: &[String]) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for name in names {
        let more = if name == "all" {
            Subject::all()
        } else {
            vec![name.parse()?]
        };
        for subject in more {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    Ok(subjects)
}

fn sizes(arguments: &Arguments) -> anyhow::Result<Vec<CacheSize>> {
    if !arguments.quick {
        return Ok(arguments.sizes.clone());
    }
    let parse = |size: &&str| size.parse().context("the quick sizes parse");
    QUICK_SIZES.iter().map(parse).collect()
}

fn simulate_files(arguments: &Arguments, grid: &Grid) -> anyhow::Result<Vec<Cell>> {
    if arguments.traces.is_empty() {
        anyhow::bail!("nothing to simulate: give --traces, or --quick for those that come along");
    }
    let sources: Result<Vec<Source>, _> = arguments.traces.iter().map(|t| t.parse()).collect();
    let mut cells = Vec::new();
    // One trace after the other, as the largest ones fill much of the memory.
    for source in sources? {
        let trace = source
            .load(arguments.columns.as_ref())
            .with_context(|| source.to_string())?;
        cells.extend(simulate(grid, &trace)?);
    }
    Ok(cells)
}

fn simulate(grid: &Grid, trace: &Trace) -> anyhow::Result<Vec<Cell>> {
    let left_out = grid.sizes.len() - grid.capacities(trace).len();
    if left_out > 0 {
        eprintln!(
            "{}: {left_out} sizes are less than one entry and left out",
            trace.name()
        );
    }
    let cells = grid.run(trace);
    let (name, requests, keys) = (trace.name(), trace.requests().len(), trace.keys());
    let table = trace_table(grid.bound, &cells);
    show(format_args!(
        "{name}: {requests} requests for {keys} keys\n{table}\n"
    ))?;
    Ok(cells)
}

/// A line for each policy, the best first, and a column for each size.
fn trace_table(bound: Bound, cells: &[Cell]) -> Table {
    let mut sizes: Vec<_> = cells
        .iter()
        .map(|cell| (cell.size, cell.size_pct))
        .collect();
    sizes.dedup();
    let unit = match bound {
        Bound::Entries => "entries",
        Bound::Bytes => "bytes",
    };
    let headings = sizes
        .iter()
        .map(|(size, percent)| format!("{size} {unit} ({percent:.1} %)"));
    let columns = headings.map(|heading| (heading, Align::Right));
    let mut table = Table::new(
        [("miss ratio %".to_owned(), Align::Left)]
            .into_iter()
            .chain(columns),
    );
    for standing in standings(cells) {
        let of_policy = |size| {
            let mut cells = cells.iter();
            cells.find(|cell| cell.size == size && cell.policy == standing.policy)
        };
        let ratios = sizes.iter().map(|&(size, _)| {
            of_policy(size).map_or_else(String::new, |cell| ratio(cell, bound, cells))
        });
        table.row([standing.policy.clone()].into_iter().chain(ratios));
    }
    table
}

/// A cell's miss ratio, with a star if no other candidate misses less.
fn ratio(cell: &Cell, bound: Bound, cells: &[Cell]) -> String {
    let better = |other: &Cell| {
        other.size == cell.size && other.misses < cell.misses && !is_clairvoyant(&other.policy)
    };
    let best = !is_clairvoyant(&cell.policy) && !cells.iter().any(better);
    let star = if best { "*" } else { " " };
    match bound {
        Bound::Entries => format!("{:.2}{star}", 100.0 * cell.miss_ratio),
        Bound::Bytes => {
            let (requests, bytes) = (100.0 * cell.miss_ratio, 100.0 * cell.byte_miss_ratio);
            format!("{requests:.2}{star} ({bytes:.2} of bytes)")
        }
    }
}

/// What the tables mean.
fn conclusion(cells: &[Cell]) -> String {
    let standings = standings(cells);
    let mut text = String::new();
    if cells.iter().any(|cell| cell.trace != cells[0].trace) {
        text += &format!("All traces\n{}\n", standings_table(&standings));
    }
    text += "Lower is better; * marks the fewest misses of a column.\n";
    let mut candidates = standings
        .iter()
        .filter(|each| !is_clairvoyant(&each.policy));
    let Some(best) = candidates.next() else {
        return text;
    };
    text += &format!(
        "{} misses least, {:.1} % on average",
        best.policy,
        100.0 * best.mean
    );
    let mean = |policy: &str| {
        let mut all = standings.iter();
        all.find(|each| each.policy == policy)
            .map(|each| 100.0 * each.mean)
    };
    if let Some(lru) = mean("lru").filter(|_| best.policy != "lru") {
        text += &format!("; lru misses {lru:.1} %");
    }
    if let Some(belady) = mean("belady") {
        text += &format!("; belady, who knows the future, {belady:.1} %");
    }
    text + ".\n"
}

fn standings_table(standings: &[Standing]) -> Table {
    let mut table = Table::new([
        ("policy", Align::Left),
        ("mean miss ratio %", Align::Right),
        ("furthest behind the best", Align::Right),
        ("where", Align::Left),
        ("cells > 1 point worse than lru", Align::Right),
    ]);
    for standing in standings {
        table.row([
            standing.policy.clone(),
            format!("{:.2}", 100.0 * standing.mean),
            format!("{:.2} points", standing.worst_points),
            standing.worst_at.clone(),
            standing
                .worse_than_lru
                .map_or_else(String::new, |cells| cells.to_string()),
        ]);
    }
    table
}
