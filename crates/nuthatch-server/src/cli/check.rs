//! `nuthatch check`: whether a data directory is whole, what is in it, and, if asked for, its repair.

use super::inspect::directory;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nuthatch_server::inspect::Time;
use nuthatch_storage::check::{FileContent, FileReport, Report, check, repair};
use nuthatch_storage::disk::Disk;
use std::path::PathBuf;
use std::sync::Arc;

/// The command, as the command line declares it.
pub(super) fn command() -> Command {
    Command::new("check")
        .about("Check a data directory: read all of it, say what is there and what is wrong")
        .long_about(
            "Check a data directory: read all of it, say what is there and what is wrong. Nothing is changed \
             without --repair, and nothing is ever deleted. The exit code is 0 if a server would start from the \
             directory without losing anything that was synced. Of a server that runs, the newest files may look \
             unfinished.",
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The data directory"),
        )
        .arg(
            Arg::new("repair")
                .long("repair")
                .action(ArgAction::SetTrue)
                .help(
                    "If a server would not start: keep what can be kept, set the rest aside under names that end \
                     in .damaged, and say what is lost",
                ),
        )
}

/// Runs the command.
pub(super) fn run(matches: &ArgMatches) -> Result<(), String> {
    let path: &PathBuf = matches.get_one("directory").expect("clap asks for it");
    let (disk, _) = directory(path)?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let report = check(&*disk).map_err(|error| error.to_string())?;
    print(&report);
    if report.recovery.is_ok() {
        if matches.get_flag("repair") {
            println!("Nothing is to be repaired.");
        }
        return Ok(());
    }
    if !matches.get_flag("repair") {
        println!("A repair (--repair) would");
        print_repairs(&report);
        return Err(format!(
            "{}: a server would not start from it",
            path.display()
        ));
    }
    repair(&disk, &report).map_err(|error| error.to_string())?;
    println!("Repaired. This was done:");
    print_repairs(&report);
    let report = check(&*disk).map_err(|error| error.to_string())?;
    println!("Now there is");
    print(&report);
    match report.recovery {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn print_repairs(report: &Report) {
    for repair in &report.repairs {
        println!("  {repair}");
    }
}

fn print(report: &Report) {
    for file in &report.files {
        println!("{}", describe(file));
    }
    for fault in &report.faults {
        println!("{fault}");
    }
    match &report.recovery {
        Ok(recovered) => {
            let snapshot = match recovered.snapshot {
                Some(at) => format!("snapshot {at} with {} records", recovered.snapshot_records),
                None => "no snapshot".to_owned(),
            };
            println!(
                "A server would start: from {snapshot}, and {} records of the log. The next record is {}.",
                recovered.log_records, recovered.next
            );
        }
        Err(error) => println!("A server would not start: {error}"),
    }
}

fn describe(file: &FileReport) -> String {
    let FileReport {
        name,
        bytes,
        content,
    } = file;
    let what = match content {
        FileContent::Snapshot {
            version,
            at,
            until,
            time_ms,
            records,
        } => {
            let until = match until {
                Some(until) => format!("needs the log until record {until}"),
                None => "is not whole".to_owned(),
            };
            format!(
                "snapshot at record {at}, begun {}, {records} records, {until}, version {version}",
                Time(*time_ms)
            )
        }
        FileContent::Segment {
            version,
            records,
            groups,
            frames,
            created_ms,
            last_time_ms,
            begins_anew,
            is_sealed,
        } => {
            let mut text = format!(
                "log from record {} until {}, {groups} groups in {frames} frames, created {}",
                records.start,
                records.end,
                Time(*created_ms)
            );
            if *frames > 0 {
                text += &format!(", last written {}", Time(*last_time_ms));
            }
            if *begins_anew {
                text += ", begins anew";
            }
            if *is_sealed {
                text += ", sealed";
            }
            text + &format!(", version {version}")
        }
        FileContent::Unreadable => "cannot be read".to_owned(),
        FileContent::Temporary => "was not completed; the next start removes it".to_owned(),
        FileContent::Foreign => "is none of the server's".to_owned(),
    };
    format!("{name}: {bytes} bytes, {what}")
}
