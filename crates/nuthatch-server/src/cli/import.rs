//! `nuthatch import`: an RDB file of Redis or Valkey becomes a data directory.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nuthatch_server::clock;
use nuthatch_server::import::{Choice, ImportError, Imported, Tally, import};
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::disk::real::Directory;
use nuthatch_wire::rdb::file::FileReader;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read from the file at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The command, as the command line declares it.
pub(super) fn command() -> Command {
    Command::new("import")
        .about("Make an RDB file of Redis or Valkey the content of a new data directory")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The RDB file; - for standard input"),
        )
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The data directory, which is empty or does not exist yet"),
        )
        .arg(
            Arg::new("database")
                .long("database")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Import the keys of this database, and leave out those of others"),
        )
        .arg(
            Arg::new("skip-unsupported")
                .long("skip-unsupported")
                .action(ArgAction::SetTrue)
                .help("Leave out keys of types that the server does not have, rather than fail"),
        )
}

/// Runs the command.
pub(super) fn run(matches: &ArgMatches) -> Result<(), String> {
    let path = |name: &str| {
        matches
            .get_one::<PathBuf>(name)
            .expect("clap asks for it")
            .as_path()
    };
    let (file, directory) = (path("file"), path("data-dir"));
    let choice = Choice {
        database: matches.get_one("database").copied(),
        skips_unsupported: matches.get_flag("skip-unsupported"),
    };
    let (name, read): (_, Box<dyn Read>) = if file == Path::new("-") {
        ("standard input".to_owned(), Box::new(io::stdin().lock()))
    } else {
        let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
        (file.display().to_string(), Box::new(opened))
    };
    let about_file = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let about_directory =
        |error: &dyn std::fmt::Display| format!("{}: {error}", directory.display());
    // What is no RDB file is found before the directory is made.
    let reader = FileReader::new(BufReader::with_capacity(BUFFER_BYTES, read))
        .map_err(|error| about_file(&error))?;
    let disk = Directory::open(directory).map_err(|error| error.to_string())?;
    let data_dir = DataDir::open(Arc::new(disk)).map_err(|error| about_directory(&error))?;
    let imported =
        import(reader, &data_dir, choice, clock::now_ms()).map_err(|error| match &error {
            ImportError::Storage(_) | ImportError::HoldsData => about_directory(&error),
            ImportError::File(_)
            | ImportError::Databases { .. }
            | ImportError::Unsupported { .. }
            | ImportError::FieldTooLarge { .. } => about_file(&error),
        })?;
    tell(&name, directory, choice, &imported);
    Ok(())
}

fn tell(file: &str, directory: &Path, choice: Choice, imported: &Imported) {
    let Tally {
        strings,
        hashes,
        fields,
        keys_over,
        fields_over,
        unsupported,
        databases,
    } = &imported.tally;
    let directory = directory.display();
    let (dialect, version) = (imported.dialect, imported.version);
    let writer = imported.writer.as_deref();
    let writer = writer.map_or(String::new(), |writer| format!(", written by {writer}"));
    println!("Read {file}: RDB of {dialect}, version {version}{writer}");
    println!("  strings     {strings}");
    println!("  hashes      {hashes}, with {fields} fields");
    if *keys_over > 0 || *fields_over > 0 {
        println!("  left out    {keys_over} keys and {fields_over} fields that have expired");
    }
    for (what, keys) in unsupported {
        println!("  left out    {keys} keys {what}, which the server cannot hold");
    }
    for (database, keys) in databases {
        if Some(*database) != choice.database.or(Some(0)) {
            println!("  left out    {keys} keys of database {database}");
        }
    }
    if imported.function_libraries > 0 {
        let libraries = imported.function_libraries;
        println!("  left out    {libraries} libraries of functions");
    }
    let bytes = imported.snapshot.bytes;
    println!(
        "Wrote {directory}/{}: {bytes} bytes",
        imported.snapshot.name
    );
    println!("Serve it with: nuthatch serve --data-dir {directory}");
}
