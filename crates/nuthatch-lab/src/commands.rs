//! The commands, one module each. A command parses its arguments, calls the library and prints.

mod advise;
mod evict;
mod footprint;
mod hitratio;
mod input;
mod memory;
#[cfg(unix)]
mod near;
mod report;
#[cfg(unix)]
mod server;
mod simulate;
mod throughput;
mod traces;

use anyhow::Context;
use nuthatch_lab::output::{ResultFile, show};
use serde::Serialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the laboratory can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Operations per second and their latency
    Throughput(throughput::Arguments),
    /// Tells what each eviction policy would have missed on a trace
    Simulate(simulate::Arguments),
    /// Says which policy and which size suit a trace, however long it is, by sampling its keys
    Advise(advise::Arguments),
    /// What the caches themselves miss on a trace, from one thread and from several
    Hitratio(hitratio::Arguments),
    /// Bytes of memory that an entry costs
    Memory(memory::Arguments),
    /// Time and allocations that an insertion into a full cache costs, as the cache grows
    Evict(evict::Arguments),
    /// What one operation executes, and which cache lines it touches and shares
    Footprint(footprint::Arguments),
    /// All of these in one document, with charts: the performance analysis
    Report(report::Arguments),
    /// Load for servers of Redis' or memcached's protocol: speed, latency, processor time, hit ratio
    #[cfg(unix)]
    Server(Box<server::Arguments>),
    /// What a near cache gains: reads through a cache in process, kept right by a server's invalidations
    #[cfg(unix)]
    Near(Box<near::Arguments>),
    /// Describes traces: requests, keys, sizes, and the misses that no policy can avoid
    Traces(traces::Arguments),
}

impl Command {
    /// Runs the command. An error is a mistake of the caller or of the machine (exit code 2); a
    /// check that fails is told by the exit code alone.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Throughput(arguments) => throughput::run(&arguments),
            Self::Simulate(arguments) => simulate::run(&arguments),
            Self::Advise(arguments) => advise::run(&arguments),
            Self::Hitratio(arguments) => hitratio::run(&arguments),
            Self::Memory(arguments) => memory::run(&arguments),
            Self::Evict(arguments) => evict::run(&arguments),
            Self::Footprint(arguments) => footprint::run(&arguments),
            Self::Report(arguments) => report::run(&arguments),
            #[cfg(unix)]
            Self::Server(arguments) => server::run(&arguments),
            #[cfg(unix)]
            Self::Near(arguments) => near::run(&arguments),
            Self::Traces(arguments) => traces::run(&arguments),
        }
    }
}

#[derive(Debug, clap::Args)]
struct JsonArguments {
    /// Also write the rows as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl JsonArguments {
    /// Opens the file, if one was asked for.
    fn open(&self) -> anyhow::Result<Presentation> {
        let json = self.json.as_deref().map(open).transpose()?;
        Ok(Presentation { json })
    }
}

/// Opens a file for results.
fn open(path: &Path) -> anyhow::Result<ResultFile> {
    ResultFile::open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Where a command gives what it finds.
struct Presentation {
    json: Option<ResultFile>,
}

impl Presentation {
    /// As [`give`](Self::give), and then names the caches whose rows are missing, which makes the exit
    /// code 2.
    fn give_beside<R: Serialize>(
        &self,
        text: impl Display,
        rows: &[R],
        failures: &[impl Display],
    ) -> anyhow::Result<ExitCode> {
        let code = self.give(text, rows)?;
        if failures.is_empty() {
            return Ok(code);
        }
        for failure in failures {
            eprintln!("error: {failure}; the rows of the others are complete");
        }
        Ok(ExitCode::from(2))
    }

    /// Gives what was found: the text, and the rows where they were asked for.
    fn give<R: Serialize>(&self, text: impl Display, rows: &[R]) -> anyhow::Result<ExitCode> {
        show(text)?;
        if let Some(json) = &self.json {
            let context = || format!("cannot write {}", json.path().display());
            json.write_rows(rows).with_context(context)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Repeated measurements of the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// # Panics
    /// If there is no measurement.
    fn of(measurements: &[f64]) -> Self {
        let mut sorted = measurements.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self {
            median: (low + high) / 2.0,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of(&[5.0, 1.0, 3.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 5.0));
        assert_eq!(Spread::of(&[4.0, 1.0]).median, 2.5);
    }
}
