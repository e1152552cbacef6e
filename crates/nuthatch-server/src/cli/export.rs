//! `nuthatch export`: a data directory becomes commands for `redis-cli --pipe`.

use super::inspect;
use clap::{Arg, ArgMatches, Command, value_parser};
use nuthatch_server::clock;
use nuthatch_server::export::{export, recover};
use nuthatch_storage::data_dir::DataDir;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// Written to standard output at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The command, as the command line declares it.
pub(super) fn command() -> Command {
    Command::new("export")
        .about("Print the commands that make what a data directory holds, for redis-cli --pipe")
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The data directory, of a server that does not run"),
        )
        .after_help(
            "Fields of hashes that expire need Redis 7.4 or Valkey 9 to be imported. The flags that clients of \
             memcached keep with a value are not exported.",
        )
}

/// Runs the command.
pub(super) fn run(matches: &ArgMatches) -> Result<(), String> {
    let path: &PathBuf = matches.get_one("directory").expect("clap asks for it");
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let (disk, _) = inspect::directory(path)?;
    let data = DataDir::open(Arc::new(disk)).map_err(|error| failed(&error))?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (keyspace, recovered) = recover(&data, threads).map_err(|error| failed(&error))?;
    for skipped in &recovered.skipped_snapshots {
        eprintln!("nuthatch: {}: {skipped}", path.display());
    }
    if let Some(cut) = recovered.cut {
        eprintln!(
            "nuthatch: {}/{}: its last {} bytes were torn off by a crash, and are not exported",
            path.display(),
            cut.file,
            cut.bytes
        );
    }
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let exported = export(&keyspace, clock::now_ms(), &mut out)
        .map_err(|error| format!("standard output: {error}"))?;
    // Standard output is for the commands.
    eprintln!(
        "Exported {} strings and {} hashes, with {} fields, as {} commands",
        exported.strings, exported.hashes, exported.fields, exported.commands
    );
    if exported.stamped > 0 {
        eprintln!(
            "  of memcached's clients: {} strings, without their flags",
            exported.stamped
        );
    }
    Ok(())
}
