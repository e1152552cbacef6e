//! `nuthatch-lab simulate`: what each policy would have missed.

mod check;

use super::JsonArguments;
use super::input::{CellArguments, TraceArguments};
use nuthatch_lab::grid::{Cell, Grid, Standing, is_clairvoyant, standings};
use nuthatch_lab::output::{Align, Table, show};
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::subject::SubjectList;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

/// More would tell no more.
const MOST_SEEDS: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not zero");

/// The sizes of a quick run, small enough to let policies differ and large enough for the traces
/// that come with the laboratory.
const QUICK_SIZES: &[&str] = &["1%", "3%", "10%", "30%"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    input: TraceArguments,
    /// Policies by name with commas between them, each with its parameters behind colons; `all` for
    /// every one
    #[arg(long, default_value = "all", value_name = "POLICY,..")]
    policies: SubjectList,
    #[command(flatten)]
    cells: CellArguments,
    #[command(flatten)]
    json: JsonArguments,
    /// Compare with published miss ratios instead; exit with 1 if they disagree and no known
    /// difference of definition explains it. References are compared if --policies names them
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["sizes", "by", "quick"])]
    check: Option<PathBuf>,
    /// Where the traces of --check are if --traces does not say; the file's own directory if not
    /// given either
    #[arg(
        long,
        requires = "check",
        conflicts_with = "traces",
        value_name = "DIR"
    )]
    trace_dir: Option<PathBuf>,
    /// With how many hash functions and random seeds to simulate each cell; the tables show means, and
    /// the JSON has the least and the greatest miss ratio, too
    #[arg(long, default_value = "1", value_parser = seeds, conflicts_with = "check")]
    seeds: NonZeroU32,
}

fn seeds(text: &str) -> Result<NonZeroU32, &'static str> {
    match text.parse() {
        Ok(seeds) if seeds <= MOST_SEEDS => Ok(seeds),
        _ => Err("it is a whole number from 1 to 1000"),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(published) = &arguments.check {
        return check::run(arguments, published);
    }
    let grid = Grid {
        subjects: arguments.policies.to_vec(),
        bound: arguments.cells.bound(),
        threads: arguments.cells.threads(),
        seeds: arguments.seeds,
    };
    let presentation = arguments.json.open()?;
    let mut all = Vec::new();
    arguments
        .input
        .for_each(QUICK_SIZES, grid.bound, |trace, capacities| {
            let cells = grid.run(trace, capacities);
            let (name, requests, keys) = (trace.name(), trace.requests().len(), trace.keys());
            let table = trace_table(grid.bound, &cells);
            show(format_args!(
                "{name}: {requests} requests for {keys} keys\n{table}\n"
            ))?;
            all.extend(cells);
            Ok(())
        })?;
    presentation.give(conclusion(&all), &all)
}

/// A line for each policy, the best first, and a column for each size.
fn trace_table(bound: Bound, cells: &[Cell]) -> Table {
    let mut sizes: Vec<_> = cells
        .iter()
        .map(|cell| (cell.size, cell.size_pct))
        .collect();
    sizes.dedup();
    let unit = bound.unit();
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
