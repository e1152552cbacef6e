//! What was measured so far, in one JSON file: `rows.json`.
//!
//! The file is replaced as a whole after each measurement, by renaming, so it is never half there.

use super::machine::Machine;
use super::plan::{Part, Scale, Unit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The file's name in a report's directory.
const FILE: &str = "rows.json";

/// All that is known of a report.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// Where and with what it was measured.
    pub about: About,
    /// The measurements that have ended.
    pub units: Vec<Finished>,
}

/// Where and with what a report was measured. Rows of different ones must not be mixed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct About {
    /// How thorough it is.
    pub scale: Scale,
    /// The machine.
    pub machine: Machine,
    /// The laboratory's version, and a checksum of the program that tells builds apart.
    pub program: String,
    /// The compiler that built it.
    pub compiler: String,
    /// The caches' packages and their versions.
    pub packages: Vec<(String, String)>,
    /// Traces beside those that come along.
    pub traces: Vec<String>,
    /// The day on which it was begun.
    pub date: String,
}

/// A measurement that has ended.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Finished {
    /// What its rows are for.
    pub part: Part,
    /// The command.
    pub command: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// What went wrong, if anything did. Rows that are there are right nevertheless.
    pub failure: Option<String>,
    /// What it gave.
    pub rows: Vec<serde_json::Value>,
}

/// Why a record cannot be used.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{} is not a report's record", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was begun with another machine, program or choice of measurements.
    #[error(
        "{} has rows with {what}: name another directory, or drop them with --fresh",
        path.display()
    )]
    Mixed {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

impl About {
    /// What forbids to put rows of both into one report; the day does not.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.scale != other.scale {
            return Some("the other choice of --quick".to_owned());
        }
        if self.machine != other.machine {
            return Some(format!("another machine, {}", other.machine));
        }
        if self.traces != other.traces {
            return Some("other --traces".to_owned());
        }
        (self.program != other.program
            || self.compiler != other.compiler
            || self.packages != other.packages)
            .then(|| format!("another build of this program, {}", other.program))
    }
}

#[cfg(test)]
impl About {
    /// One that no machine has.
    pub(super) fn sample() -> Self {
        Self {
            scale: Scale::Quick,
            machine: Machine {
                processor: "an abacus".to_owned(),
                threads: 2,
                memory_bytes: 1 << 30,
                system: "wood".to_owned(),
            },
            program: "0.1.0".to_owned(),
            compiler: "rustc".to_owned(),
            packages: vec![("moka".to_owned(), "0.12".to_owned())],
            traces: Vec::new(),
            date: "2026-11-23".to_owned(),
        }
    }
}

impl Record {
    /// An empty one.
    pub fn new(about: About) -> Self {
        Self {
            about,
            units: Vec::new(),
        }
    }

    /// The record of a directory.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// Reads a record's file.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        let text = fs::read(path).map_err(|source| RecordError::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| RecordError::Foreign {
            path: path.to_owned(),
            source,
        })
    }

    /// The record to go on with in a directory: an empty one, or that of an earlier run that was
    /// begun in the same way. The directory is made, and written to, so that whoever asked hears at
    /// once if it cannot be.
    pub fn resume(directory: &Path, about: About, fresh: bool) -> Result<Self, RecordError> {
        let path = Self::path(directory);
        let write = |source| RecordError::Write {
            path: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(write)?;
        let record = if fresh || !path.exists() {
            Self::new(about)
        } else {
            let mut earlier = Self::load(&path)?;
            if let Some(what) = about.difference(&earlier.about) {
                return Err(RecordError::Mixed { path, what });
            }
            // What failed is tried again.
            earlier.units.retain(|unit| unit.failure.is_none());
            earlier
        };
        record.save(directory)?;
        Ok(record)
    }

    /// Whether a measurement is in it.
    pub fn has(&self, unit: &Unit) -> bool {
        self.units
            .iter()
            .any(|finished| finished.command == unit.arguments)
    }

    /// Writes the record into a directory.
    pub fn save(&self, directory: &Path) -> Result<(), RecordError> {
        let path = Self::path(directory);
        let beside = path.with_extension("json.new");
        let write = |source| RecordError::Write {
            path: path.clone(),
            source,
        };
        fs::write(&beside, self.text()).map_err(write)?;
        fs::rename(&beside, &path).map_err(write)
    }

    /// JSON with a line for each row: short, and still to be read and compared line by line.
    fn text(&self) -> String {
        let mut text = format!("{{\n\"about\":{},\n\"units\":[", json(&self.about));
        for (number, unit) in self.units.iter().enumerate() {
            text += if number == 0 { "\n" } else { ",\n" };
            text += &format!(
                "{{\"part\":{},\"command\":{},\"seconds\":{:.1},\"failure\":{},\"rows\":[",
                json(&unit.part),
                json(&unit.command),
                unit.seconds,
                json(&unit.failure),
            );
            for (number, row) in unit.rows.iter().enumerate() {
                text += if number == 0 { "\n" } else { ",\n" };
                text += &row.to_string();
            }
            text += "\n]}";
        }
        text + "\n]}\n"
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finished(word: &str, failure: Option<&str>) -> Finished {
        Finished {
            part: Part::Evict,
            command: vec!["evict".to_owned(), word.to_owned()],
            seconds: 1.5,
            failure: failure.map(str::to_owned),
            rows: vec![
                json!({"cache": "lru", "capacity": 10}),
                json!({"cache": "moka"}),
            ],
        }
    }

    fn directory(name: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("nuthatch-record-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        directory
    }

    #[test]
    fn a_record_goes_on_where_it_ended_and_tries_again_what_failed() {
        let directory = directory("resume");
        let mut record = Record::resume(&directory, About::sample(), false).unwrap();
        record.units.push(finished("a", None));
        record.units.push(finished("b", Some("it burnt")));
        record.save(&directory).unwrap();
        let later = About {
            date: "2026-11-24".to_owned(),
            ..About::sample()
        };
        let resumed = Record::resume(&directory, later, false).unwrap();
        assert_eq!(resumed.units.len(), 1);
        assert_eq!(resumed.units[0].rows, record.units[0].rows);
        assert_eq!(resumed.about.date, "2026-11-23");
        let fresh = Record::resume(&directory, About::sample(), true).unwrap();
        assert!(fresh.units.is_empty());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn rows_of_different_builds_machines_and_choices_are_not_mixed() {
        let directory = directory("mixed");
        Record::resume(&directory, About::sample(), false).unwrap();
        let mut others = vec![About::sample(); 4];
        others[0].program = "0.1.1".to_owned();
        others[1].machine.threads = 16;
        others[2].scale = Scale::Full;
        others[3].traces = vec!["web.csv".to_owned()];
        for other in others {
            let mixed = Record::resume(&directory, other, false).unwrap_err();
            assert!(mixed.to_string().contains("--fresh"), "{mixed}");
        }
        fs::write(Record::path(&directory), "[]").unwrap();
        let foreign = Record::resume(&directory, About::sample(), false).unwrap_err();
        assert!(matches!(foreign, RecordError::Foreign { .. }));
        fs::remove_dir_all(&directory).unwrap();
    }
}
