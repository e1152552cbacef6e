//! The commands, one module each. A command parses its arguments, calls the library and prints.

mod simulate;
mod traces;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

/// What the laboratory can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Tells what each eviction policy would have missed on a trace
    Simulate(simulate::Arguments),
    /// Describes traces: requests, keys, sizes, and the misses that no policy can avoid
    Traces(traces::Arguments),
}

impl Command {
    /// Runs the command. An error is a mistake of the caller or of the machine (exit code 2); a
    /// check that fails is told by the exit code alone.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Simulate(arguments) => simulate::run(&arguments),
            Self::Traces(arguments) => traces::run(&arguments),
        }
    }
}

/// As many threads as the machine runs at a time.
fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
