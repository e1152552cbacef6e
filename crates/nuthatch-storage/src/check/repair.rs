//! Making a directory one that can be recovered, by giving up what cannot be saved.
//!
//! Every step leaves a directory that is as damaged as before or less, so a repair that was interrupted is begun
//! anew.

use super::check;
use super::scan::{SegmentEnd, SegmentScan, SnapshotScan};
use crate::Sequence;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::files::{FileKind, Inventory, remove_if_there};
use crate::snapshot::SnapshotWriter;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// Copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A file cannot be used, and gets another name.
    SetAside {
        /// Its name.
        file: String,
        /// Its length: what is lost with it.
        bytes: u64,
        /// Its new name.
        to: String,
    },
    /// A segment is cut after its last usable group. A copy of it as it was is kept.
    Cut {
        /// Where it begins, which is its name.
        first: Sequence,
        /// Where it is cut, and how many bytes that costs.
        at: u64,
        /// See `at`.
        bytes: u64,
        /// The first record that is lost.
        next: Sequence,
        /// The copy's name.
        copy: String,
    },
    /// A snapshot is written anew from its blocks before the damage, or so that it needs less of the log. A copy of
    /// it as it was is kept.
    Rewrite {
        /// Where it begins, which is its name.
        at: Sequence,
        /// Up to where it needs the log.
        until: Sequence,
        /// How many records it has then.
        records: u64,
        /// Where the damage begins; what comes after it is lost. `None` if all is kept.
        damaged_at: Option<u64>,
        /// The copy's name.
        copy: String,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { file, bytes, to } => {
                write!(f, "rename {file} to {to}, and do without its {bytes} bytes")
            }
            Self::Cut {
                first,
                at,
                bytes,
                next,
                copy,
            } => {
                let file = FileKind::Segment.name(*first);
                write!(f, "cut the last {bytes} bytes of {file} off at byte {at}: ")?;
                write!(
                    f,
                    "its records from {next} on are lost; keep a copy as {copy}"
                )
            }
            Self::Rewrite {
                at,
                until,
                records,
                damaged_at,
                copy,
            } => {
                let file = FileKind::Snapshot.name(*at);
                write!(f, "write {file} anew with {records} records")?;
                match damaged_at {
                    Some(at) => {
                        write!(f, ", which are those before byte {at}; the others are lost")?
                    }
                    None => write!(f, ", which are all")?,
                }
                write!(f, "; it then needs the log up to record {until}")?;
                write!(f, " and may have changes of later records that are lost; ")?;
                write!(f, "keep a copy as {copy}")
            }
        }
    }
}

/// What is to be done to a directory that cannot be recovered.
pub(super) fn plan(disk: &dyn Disk, inventory: &Inventory) -> Result<Vec<Repair>, StorageError> {
    let mut plan = Plan {
        disk,
        names: disk
            .names()
            .map_err(StorageError::io("list", "the directory"))?,
        repairs: Vec::new(),
    };
    let base = plan.snapshots(inventory)?;
    let from = base.as_ref().map_or(0, |&(at, _)| at);
    let log = Usable::of(disk, from, &inventory.segments)?;
    if let Some(scan) = &log.cut {
        let copy = plan.free_name(&FileKind::Segment.name(scan.header.first));
        plan.repairs.push(Repair::Cut {
            first: scan.header.first,
            at: scan.whole_bytes,
            bytes: scan.len - scan.whole_bytes,
            next: scan.whole,
            copy,
        });
    }
    for &first in log.useless.iter().rev() {
        plan.set_aside(FileKind::Segment.name(first))?;
    }
    if let Some((at, scan)) = base {
        let reached = log.end.unwrap_or(at);
        let until = scan.until.map_or(at, |until| until.min(reached));
        if scan.until != Some(until) {
            let copy = plan.free_name(&FileKind::Snapshot.name(at));
            plan.repairs.push(Repair::Rewrite {
                at,
                until,
                records: scan.records,
                damaged_at: scan.damage.map(|(offset, _)| offset),
                copy,
            });
        }
    }
    Ok(plan.repairs)
}

/// What of the log can follow a snapshot.
#[derive(Default)]
struct Usable<'a> {
    /// Where it ends, if there is anything.
    end: Option<Sequence>,
    /// The last segment, if recovery would refuse it as it is.
    cut: Option<SegmentScan>,
    /// Where the segments begin that cannot be used, and are in the way of those that can.
    useless: &'a [Sequence],
}

impl<'a> Usable<'a> {
    fn of(disk: &dyn Disk, from: Sequence, segments: &'a [Sequence]) -> Result<Self, StorageError> {
        let behind = segments.partition_point(|&first| first <= from);
        let mut last: Option<SegmentScan> = None;
        let mut next = behind.max(1) - 1;
        while behind > 0 && next < segments.len() {
            let (first, follower) = (segments[next], segments.get(next + 1).copied());
            let Ok(scan) = SegmentScan::take(disk, first, follower)? else {
                break;
            };
            if last.is_some() && scan.header.begins_anew {
                break;
            }
            next += 1;
            let goes_on = scan.is_followed;
            last = Some(scan);
            if !goes_on {
                break;
            }
        }
        match last {
            Some(scan) if scan.whole >= from => {
                let useless = &segments[next..];
                Ok(Self {
                    end: Some(scan.whole),
                    useless,
                    cut: Some(scan).filter(|scan| match scan.end {
                        SegmentEnd::Whole => false,
                        SegmentEnd::Sealed { .. } => true,
                        SegmentEnd::Invalid { may_be_torn, .. } => {
                            !(may_be_torn && useless.is_empty())
                        }
                    }),
                })
            }
            // A log that ends before the snapshot begins cannot be continued from there, nor one that begins later.
            _ => Ok(Self {
                useless: segments,
                ..Self::default()
            }),
        }
    }
}

struct Plan<'a> {
    disk: &'a dyn Disk,
    /// Those there are, and those that will be.
    names: Vec<String>,
    repairs: Vec<Repair>,
}

impl Plan<'_> {
    fn free_name(&mut self, file: &str) -> String {
        let mut name = format!("{file}.damaged");
        let mut number = 1;
        while self.names.contains(&name) {
            number += 1;
            name = format!("{file}.damaged-{number}");
        }
        self.names.push(name.clone());
        name
    }

    fn set_aside(&mut self, file: String) -> Result<(), StorageError> {
        let bytes = self
            .disk
            .len(&file)
            .map_err(StorageError::io("look at", &file))?;
        let to = self.free_name(&file);
        self.repairs.push(Repair::SetAside { file, bytes, to });
        Ok(())
    }

    /// Chooses the snapshot to keep, and sets aside the damaged ones that are not it.
    fn snapshots(
        &mut self,
        inventory: &Inventory,
    ) -> Result<Option<(Sequence, SnapshotScan)>, StorageError> {
        let mut scans = Vec::new();
        for &at in inventory.snapshots.iter().rev() {
            scans.push((at, SnapshotScan::take(self.disk, at)?));
        }
        let whole = scans.iter().position(|(_, scan)| scan.until.is_some());
        let readable = scans.iter().position(|(_, scan)| scan.time_ms.is_some());
        let kept = match (whole, readable) {
            (Some(whole), _) => Some(whole),
            // The log alone, from its very beginning, is better than a part of a snapshot, if it goes as far.
            (None, Some(part))
                if Usable::of(self.disk, 0, &inventory.segments)?
                    .end
                    .is_some_and(|end| end >= scans[part].0) =>
            {
                None
            }
            (None, part) => part,
        };
        for (place, (at, scan)) in scans.iter().enumerate() {
            if Some(place) != kept && scan.until.is_none() {
                self.set_aside(FileKind::Snapshot.name(*at))?;
            }
        }
        Ok(kept.map(|kept| scans.swap_remove(kept)))
    }
}

/// Does what a report has announced.
///
/// # Errors
/// [`StorageError::InUse`]; [`StorageError::Changed`] if the directory is not as it was when it was checked;
/// [`StorageError::Io`].
pub fn repair(disk: &Arc<dyn Disk>, report: &super::Report) -> Result<(), StorageError> {
    let _claim = disk
        .lock()
        .map_err(StorageError::io("claim", "the directory"))?
        .ok_or(StorageError::InUse)?;
    if check(&**disk)?.repairs != report.repairs {
        return Err(StorageError::Changed);
    }
    for repair in &report.repairs {
        match repair {
            Repair::SetAside { file, to, .. } => disk
                .rename(file, to)
                .map_err(StorageError::io("rename", file))?,
            Repair::Cut {
                first, at, copy, ..
            } => {
                let name = FileKind::Segment.name(*first);
                let temporary = FileKind::Segment.temporary_name(*first);
                copy_file(&**disk, &name, u64::MAX, copy)?;
                copy_file(&**disk, &name, *at, &temporary)?;
                disk.rename(&temporary, &name)
                    .map_err(StorageError::io("rename", temporary))?;
            }
            Repair::Rewrite {
                at, until, copy, ..
            } => {
                copy_file(&**disk, &FileKind::Snapshot.name(*at), u64::MAX, copy)?;
                rewrite(disk, *at, *until)?;
            }
        }
        disk.sync_names()
            .map_err(StorageError::io("sync", "the directory"))?;
    }
    Ok(())
}

/// Copies the first `len` bytes of a file, or all of a shorter one.
fn copy_file(disk: &dyn Disk, from: &str, len: u64, to: &str) -> Result<(), StorageError> {
    let failed = |error| StorageError::io("copy", from)(error);
    // A repair that was interrupted may have left a part of it.
    remove_if_there(disk, to)?;
    let mut input = disk.read(from).map_err(failed)?.take(len);
    let mut output = disk.create(to).map_err(failed)?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        let read = input
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
            .map_err(failed)?;
        if read == 0 {
            break;
        }
        output.append(&chunk).map_err(failed)?;
    }
    output.sync().map_err(failed)
}

fn rewrite(disk: &Arc<dyn Disk>, at: Sequence, until: Sequence) -> Result<(), StorageError> {
    let time_ms = SnapshotScan::take(&**disk, at)?
        .time_ms
        .expect("its beginning was read when the repair was planned");
    let mut writer = SnapshotWriter::begin(Arc::clone(disk), at, time_ms)?;
    SnapshotScan::with(&**disk, at, |records, count| writer.records(records, count))?;
    writer.needs_log_until(until);
    writer.finish().map(drop)
}
