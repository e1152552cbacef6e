//! The traces that a command replays, the sizes of the caches that it replays them through, and how
//! these are bounded.

use anyhow::{Context, bail};
use nuthatch_lab::bundled;
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::sizes::{CacheSize, capacities};
use nuthatch_lab::trace::{Columns, Format, Source, Streamed, Trace};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

/// More simulations at a time would only share the same processors.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(1000).expect("1000 is not zero");

#[derive(Debug, clap::Args)]
pub(super) struct TraceArguments {
    #[arg(long, num_args = 1.., value_name = "TRACE", value_parser = source, help = Source::naming())]
    pub(super) traces: Vec<Source>,
    #[command(flatten)]
    pub(super) columns: ColumnArguments,
    /// Capacities: percentages of each trace's unique keys (or of their bytes, with caches bounded
    /// by bytes), or whole numbers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.1%,1%,10%",
        value_name = "SIZE,.."
    )]
    sizes: Vec<CacheSize>,
    /// Replay the traces that come with the laboratory
    #[arg(long, conflicts_with_all = ["traces", "columns", "sizes"])]
    quick: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ColumnArguments {
    /// Names of a CSV's columns, of which one is `key`, others may be `time`, `size` and `ttl`
    #[arg(long, value_name = "NAME,..")]
    columns: Option<Columns>,
}

/// How each cell of a simulation is run.
#[derive(Debug, clap::Args)]
pub(super) struct CellArguments {
    /// What caches are bounded by
    #[arg(long, value_enum, default_value = "entries")]
    by: By,
    /// Simulations that run at a time
    #[arg(long, default_value_t = default_threads(), value_parser = threads)]
    threads: NonZeroUsize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    /// Every object counts 1
    Entries,
    /// Every object counts its size
    Bytes,
}

/// As many threads as the machine runs at a time.
fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn threads(text: &str) -> Result<NonZeroUsize, &'static str> {
    match text.parse() {
        Ok(threads) if threads <= MOST_THREADS => Ok(threads),
        _ => Err("it is a whole number from 1 to 1000"),
    }
}

impl CellArguments {
    pub(super) fn bound(&self) -> Bound {
        match self.by {
            By::Entries => Bound::Entries,
            By::Bytes => Bound::Bytes,
        }
    }

    pub(super) fn threads(&self) -> NonZeroUsize {
        self.threads
    }
}

/// Reads the name of a trace.
pub(super) fn source(text: &str) -> anyhow::Result<Source> {
    if Path::new(text).is_dir() {
        bail!("it is a directory; name the files in it");
    }
    Ok(text.parse()?)
}

impl ColumnArguments {
    /// Loads a trace.
    pub(super) fn load(&self, source: &Source) -> anyhow::Result<Trace> {
        let trace = source.load(self.columns.as_ref());
        trace.with_context(|| source.to_string())
    }

    /// Hands the requests of a trace to `take`, block by block.
    pub(super) fn stream(
        &self,
        source: &Source,
        take: impl FnMut(&[Streamed]) + Send,
    ) -> anyhow::Result<()> {
        let streamed = source.stream(self.columns.as_ref(), take);
        streamed.with_context(|| source.to_string())
    }

    /// Makes sure that columns are named only where there are some.
    pub(super) fn check(&self, sources: &[Source]) -> anyhow::Result<()> {
        let is_csv = |source: &Source| {
            matches!(
                source,
                Source::File {
                    format: Format::Csv,
                    ..
                }
            )
        };
        if self.columns.is_some() && !sources.iter().any(is_csv) {
            bail!("--columns is for CSV files, and no trace is one");
        }
        Ok(())
    }
}

impl TraceArguments {
    /// Hands each trace to `work`, with the capacities of the caches for it; `quick_sizes` are those
    /// of a quick run.
    pub(super) fn for_each(
        &self,
        quick_sizes: &[&str],
        bound: Bound,
        mut work: impl FnMut(&Trace, &[u64]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.quick {
            let parse = |size: &&str| size.parse().context("the quick sizes parse");
            let sizes: Vec<_> = quick_sizes.iter().map(parse).collect::<Result<_, _>>()?;
            for trace in bundled::traces()? {
                work(&trace, &fitting(&sizes, &trace, bound))?;
            }
            return Ok(());
        }
        if self.traces.is_empty() {
            bail!("nothing to replay: give --traces, or --quick for those that come along");
        }
        self.columns.check(&self.traces)?;
        let mut fits_any = false;
        // One trace after the other, as the largest ones fill much of the memory.
        for source in &self.traces {
            let trace = self.columns.load(source)?;
            let capacities = fitting(&self.sizes, &trace, bound);
            if !capacities.is_empty() {
                fits_any = true;
                work(&trace, &capacities)?;
            }
        }
        if !fits_any {
            bail!("every trace is too small for every size: give larger --sizes");
        }
        Ok(())
    }
}

/// The capacities on a trace; tells which sizes are left out.
fn fitting(sizes: &[CacheSize], trace: &Trace, bound: Bound) -> Vec<u64> {
    for size in sizes.iter().filter(|size| size.of(trace, bound) == 0) {
        eprintln!(
            "{}: {size} is less than one entry, and left out",
            trace.name()
        );
    }
    capacities(sizes, trace, bound)
}
