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
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
