//! `nuthatch inspect`: what the files of a data directory hold, as lines to read.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nuthatch_server::inspect::{Detail, InspectError, inspect};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::real::Directory;
use nuthatch_storage::{FileKind, Sequence};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The command, as the command line declares it.
pub(super) fn command() -> Command {
    Command::new("inspect")
        .about("Print what the files of a data directory hold, record by record")
        .arg(
            Arg::new("path")
                .value_name("FILE-OR-DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A snapshot, a segment of the log, or a data directory, in use or not"),
        )
        .arg(
            Arg::new("keys")
                .long("keys")
                .action(ArgAction::SetTrue)
                .help("Print only the key of each record, one a line"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("End after so many records"),
        )
}

/// Runs the command.
pub(super) fn run(matches: &ArgMatches) -> Result<(), String> {
    let path: &PathBuf = matches.get_one("path").expect("clap asks for it");
    let mut detail = Detail {
        keys_only: matches.get_flag("keys"),
        limit: matches.get_one("limit").copied(),
    };
    let (disk, files) = open(path)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut faults = Vec::new();
    for (kind, at) in files {
        if detail.limit == Some(0) {
            break;
        }
        match inspect(&disk, kind, at, &mut detail, &mut out) {
            Ok(()) => {}
            Err(InspectError::Storage(error)) => faults.push(error.to_string()),
            Err(InspectError::Output(error)) => return seen_enough(error),
        }
    }
    out.flush().or_else(seen_enough)?;
    // Others may be whole, so all were shown first.
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\nnuthatch: "))
    }
}

/// Whoever reads may go away when it has seen what it wants.
fn seen_enough<E: Into<io::Error>>(error: E) -> Result<(), String> {
    let error = error.into();
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error.to_string()),
    }
}

/// A directory and those of its files that a path names: one, or all.
fn open(path: &Path) -> Result<(Directory, Vec<(FileKind, Sequence)>), String> {
    let metadata = path.metadata();
    if !metadata.map_err(|error| failed(path, &error))?.is_file() {
        return directory(path);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let file = name.and_then(FileKind::of_name).ok_or_else(|| {
        let (snapshot, segment) = (FileKind::Snapshot.name(0), FileKind::Segment.name(0));
        format!(
            "{}: its name is not like {snapshot} or {segment}, which files of a data directory have",
            path.display()
        )
    })?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let disk = Directory::open(directory).map_err(|error| error.to_string())?;
    Ok((disk, vec![file]))
}

/// A data directory that exists, and its files, snapshots before the log.
pub(super) fn directory(path: &Path) -> Result<(Directory, Vec<(FileKind, Sequence)>), String> {
    let metadata = path.metadata().map_err(|error| failed(path, &error))?;
    if !metadata.is_dir() {
        return Err(format!("{}: it is no directory", path.display()));
    }
    let disk = Directory::open(path).map_err(|error| error.to_string())?;
    let names = disk.names().map_err(|error| failed(path, &error))?;
    let mut files: Vec<_> = names
        .iter()
        .filter_map(|name| FileKind::of_name(name))
        .collect();
    files.sort_by_key(|&(kind, at)| (kind == FileKind::Segment, at));
    if files.is_empty() {
        return Err(format!("{}: it holds no data of a server", path.display()));
    }
    Ok((disk, files))
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
