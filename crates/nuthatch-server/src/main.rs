//! The program `nuthatch`: reads its command line and settings, and serves.
#![forbid(unsafe_code)]

mod cli;

use nuthatch::PageAllocator;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: PageAllocator = PageAllocator;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
