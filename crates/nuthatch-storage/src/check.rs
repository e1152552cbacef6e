//! What a directory has, what is wrong with it, and what could be done about that.
//!
//! [`check`] reads every file to its end, looks into every record, and lets a recovery run: so it says what a server
//! would say. It never writes. [`repair`] does what the report has announced, and only then. It deletes nothing:
//! what cannot be used any more keeps its bytes under a name that ends in `.damaged`.
//!
//! A repair keeps the newest whole snapshot, or else the blocks before the damage of the newest that there is; and of
//! the log from there on, the whole groups before the first damage or gap.

mod repair;
mod scan;

pub use repair::{Repair, repair};

use crate::Sequence;
use crate::data_dir::{Recovered, RecoverySink, recover};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::files::{FileKind, Inventory};
use crate::record::Record;
use scan::{SegmentEnd, SegmentScan, SnapshotScan};
use std::fmt;

/// What [`check`] found.
#[derive(Debug)]
pub struct Report {
    /// All files, in the order of their names.
    pub files: Vec<FileReport>,
    /// What is wrong, or only to be known.
    pub faults: Vec<Fault>,
    /// What a server would recover, or why it would not.
    pub recovery: Result<Recovered, StorageError>,
    /// What a repair would do; nothing if the directory can be recovered as it is.
    pub repairs: Vec<Repair>,
}

/// A file, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What it has.
    pub content: FileContent,
}

/// What a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// A snapshot.
    Snapshot {
        /// The version of its format.
        version: u32,
        /// The sequence at which it was begun.
        at: Sequence,
        /// Up to which record of the log it needs, if it is whole.
        until: Option<Sequence>,
        /// When it was begun, in milliseconds since 1970.
        time_ms: u64,
        /// How many records can be read.
        records: u64,
    },
    /// A segment of the log.
    Segment {
        /// The version of its format.
        version: u32,
        /// The sequence of its first record, and that of the next after its last.
        records: std::ops::Range<Sequence>,
        /// How many groups these are, and in how many frames.
        groups: u64,
        /// See `groups`.
        frames: u64,
        /// When it was made, and the time of its last frame, in milliseconds since 1970.
        created_ms: u64,
        /// See `created_ms`.
        last_time_ms: u64,
        /// Whether it begins a log, rather than continuing the segment before it.
        begins_anew: bool,
        /// Whether it says that another follows.
        is_sealed: bool,
    },
    /// A snapshot or segment whose beginning cannot be read.
    Unreadable,
    /// A file that was not completed, and is removed by the next start.
    Temporary,
    /// A file of another program, or what a repair has set aside.
    Foreign,
}

/// Something that is to be known of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The file, if it is about one.
    pub file: Option<String>,
    /// Where in the file.
    pub offset: Option<u64>,
    /// What it is.
    pub what: String,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Costs nothing.
    Note,
    /// The trace of a crash: what no sync had confirmed is lost.
    Torn,
    /// What was on the disk is not there any more, or not as it was.
    Damage,
}

impl Report {
    /// The worst that was found.
    pub fn severity(&self) -> Option<Severity> {
        self.faults.iter().map(|fault| fault.severity).max()
    }
}

/// Looks into every file. Nothing is written.
///
/// # Errors
/// [`StorageError::Io`], and [`StorageError::NewerVersion`] if a newer program has written here.
pub fn check(disk: &dyn Disk) -> Result<Report, StorageError> {
    let inventory = Inventory::take(disk)?;
    crate::files::refuse_newer(disk, &inventory)?;
    let mut findings = Findings {
        disk,
        files: Vec::new(),
        faults: Vec::new(),
    };
    for &at in &inventory.snapshots {
        findings.snapshot(at)?;
    }
    let recovery = match recover(disk, &mut Decoder) {
        Err(error @ StorageError::Io { .. }) => return Err(error),
        recovery => recovery,
    };
    for (at, &first) in inventory.segments.iter().enumerate() {
        let follower = inventory.segments.get(at + 1).copied();
        findings.segment(first, follower, &recovery)?;
    }
    findings.others(&inventory)?;
    findings.recovery(&recovery);
    let Findings {
        mut files, faults, ..
    } = findings;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let repairs = match recovery {
        Ok(_) => Vec::new(),
        Err(_) => repair::plan(disk, &inventory)?,
    };
    Ok(Report {
        files,
        faults,
        recovery,
        repairs,
    })
}

/// Looks into every record.
struct Decoder;

impl Decoder {
    fn decode(mut records: &[u8]) -> Result<(), StorageError> {
        while !records.is_empty() {
            Record::take(&mut records)?;
        }
        Ok(())
    }
}

impl RecoverySink for Decoder {
    fn begin(&mut self, _total_bytes: u64) {}

    fn snapshot_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        Self::decode(&records)
    }

    fn log_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        Self::decode(&records)
    }

    fn progress(&mut self, _bytes: u64) {}
}

struct Findings<'a> {
    disk: &'a dyn Disk,
    files: Vec<FileReport>,
    faults: Vec<Fault>,
}

impl Findings<'_> {
    fn file(&mut self, name: String, content: FileContent) -> Result<(), StorageError> {
        let bytes = self
            .disk
            .len(&name)
            .map_err(StorageError::io("look at", &name))?;
        self.files.push(FileReport {
            name,
            bytes,
            content,
        });
        Ok(())
    }

    fn fault(&mut self, severity: Severity, file: &str, offset: Option<u64>, what: &str) {
        self.faults.push(Fault {
            severity,
            file: Some(file.into()),
            offset,
            what: what.into(),
        });
    }

    fn snapshot(&mut self, at: Sequence) -> Result<(), StorageError> {
        let name = FileKind::Snapshot.name(at);
        let scan = SnapshotScan::take(self.disk, at)?;
        if let Some((offset, what)) = scan.damage {
            self.fault(Severity::Damage, &name, Some(offset), what);
        }
        let content = match scan.time_ms {
            Some(time_ms) => FileContent::Snapshot {
                version: FileKind::Snapshot.version(),
                at,
                until: scan.until,
                time_ms,
                records: scan.records,
            },
            None => FileContent::Unreadable,
        };
        self.file(name, content)
    }

    fn segment(
        &mut self,
        first: Sequence,
        follower: Option<Sequence>,
        recovery: &Result<Recovered, StorageError>,
    ) -> Result<(), StorageError> {
        let name = FileKind::Segment.name(first);
        let scan = match SegmentScan::take(self.disk, first, follower)? {
            Ok(scan) => scan,
            Err((offset, what)) => {
                self.fault(Severity::Damage, &name, Some(offset), what);
                return self.file(name, FileContent::Unreadable);
            }
        };
        let cut = recovery.as_ref().ok().and_then(|ok| ok.cut.as_ref());
        let is_cut = cut.is_some_and(|cut| cut.file == name);
        if let SegmentEnd::Invalid { what, .. } = scan.end {
            let (severity, what) = match is_cut {
                true => (Severity::Torn, "the end of the log, torn by a crash"),
                false if scan.is_followed => {
                    let what = "its end, behind everything that counts, is not as it was written";
                    (Severity::Note, what)
                }
                false => (Severity::Damage, what),
            };
            self.fault(severity, &name, Some(scan.offset), what);
        } else if is_cut {
            let what = "a group that a crash has kept from being ended";
            self.fault(Severity::Torn, &name, Some(scan.whole_bytes), what);
        }
        let content = FileContent::Segment {
            version: FileKind::Segment.version(),
            records: first..scan.whole,
            groups: scan.groups,
            frames: scan.frames,
            created_ms: scan.header.created_ms,
            last_time_ms: scan.last_time_ms,
            begins_anew: scan.header.begins_anew,
            is_sealed: matches!(scan.end, SegmentEnd::Sealed { .. }),
        };
        self.file(name, content)
    }

    fn others(&mut self, inventory: &Inventory) -> Result<(), StorageError> {
        for name in &inventory.temporary {
            let what = "was not completed; the next start removes it";
            self.fault(Severity::Note, name, None, what);
            self.file(name.clone(), FileContent::Temporary)?;
        }
        for name in &inventory.foreign {
            self.fault(Severity::Note, name, None, "is not used, and left alone");
            self.file(name.clone(), FileContent::Foreign)?;
        }
        Ok(())
    }

    fn recovery(&mut self, recovery: &Result<Recovered, StorageError>) {
        match recovery {
            Ok(recovered) => {
                for &first in &recovered.abandoned {
                    let what =
                        "belongs to a snapshot that was not finished; the next start removes it";
                    let name = FileKind::Segment.name(first);
                    self.fault(Severity::Note, &name, None, what);
                }
            }
            // Where bytes are damaged, the file's own lines say so.
            Err(StorageError::Damaged { file, offset, .. })
                if self.faults.iter().any(|fault| {
                    fault.file.as_ref() == Some(file) && fault.offset == Some(*offset)
                }) => {}
            Err(error) => self.faults.push(Fault {
                severity: Severity::Damage,
                file: None,
                offset: None,
                what: error.to_string(),
            }),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Note => "note: ",
            Severity::Torn => "torn: ",
            Severity::Damage => "damage: ",
        })?;
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "at byte {offset}: ")?;
        }
        f.write_str(&self.what)
    }
}
