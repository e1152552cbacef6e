//! The program `nuthatch`: reads its command line and settings, and serves.
#![forbid(unsafe_code)]

mod cli;

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
