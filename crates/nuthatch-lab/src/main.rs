//! The command line of the laboratory: one module per command under `commands`.
#![forbid(unsafe_code)]

mod commands;

use clap::Parser;
use std::process::ExitCode;

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
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
