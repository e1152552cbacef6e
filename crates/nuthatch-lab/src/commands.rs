//! The commands, one module each. A command parses its arguments, calls the library and prints.

mod traces;

use std::process::ExitCode;

/// What the laboratory can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Describes traces: requests, keys, sizes, and the misses that no policy can avoid
    Traces(traces::Arguments),
}

impl Command {
    /// Runs the command. An error is a mistake of the caller or of the machine (exit code 2); a
    /// check that fails is told by the exit code alone.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Traces(arguments) => traces::run(&arguments),
        }
    }
}
