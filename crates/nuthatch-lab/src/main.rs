//! The command line of the laboratory: one module per command under `commands`.
#![forbid(unsafe_code)]

mod commands;

use clap::Parser;
use std::alloc::System;
use std::io;
use std::process::ExitCode;

/// The system's allocator, counting; `nuthatch_lab::heap` says what that costs.
#[global_allocator]
static HEAP: alloc_tracker::Allocator<System> = alloc_tracker::Allocator::system();

/// Measures caches: which one, for which work, and why.
#[derive(Debug, Parser)]
#[command(name = "nuthatch-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        // As with `| head`: whoever reads the tables has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes, but for those that the one before has told already.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_error_tells_each_cause_once() {
        let error = anyhow!("no such file")
            .context("cannot read it")
            .context("a.csv");
        assert_eq!(in_one_line(&error), "a.csv: cannot read it: no such file");
        let error = anyhow!("no such file").context("cannot read it: no such file");
        assert_eq!(in_one_line(&error), "cannot read it: no such file");
    }
}
