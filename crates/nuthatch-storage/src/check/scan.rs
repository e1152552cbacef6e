//! One file for itself, to its end, with a look into every record.

use crate::Sequence;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{Frame, Reading, SegmentHeader, SegmentReader};
use crate::record::{MalformedRecord, Record};
use crate::snapshot::{SnapshotPart, SnapshotReader};

/// Where something does not hold, and what.
pub(super) type Damage = (u64, &'static str);

/// Separates damage from failures to read at all.
pub(super) fn damage<T>(
    result: Result<T, StorageError>,
) -> Result<Result<T, Damage>, StorageError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(StorageError::Damaged { offset, what, .. }) => Ok(Err((offset, what))),
        Err(error) => Err(error),
    }
}

/// The number of records, each of which is looked into.
fn decode(mut records: &[u8]) -> Result<u64, MalformedRecord> {
    let mut count = 0;
    while !records.is_empty() {
        Record::take(&mut records)?;
        count += 1;
    }
    Ok(count)
}

/// What there is of a snapshot.
#[derive(Debug, Default)]
pub(super) struct SnapshotScan {
    /// `None` if its beginning cannot be read.
    pub(super) time_ms: Option<u64>,
    /// `None` if it is not whole.
    pub(super) until: Option<Sequence>,
    /// In whole blocks.
    pub(super) records: u64,
    pub(super) damage: Option<Damage>,
}

impl SnapshotScan {
    pub(super) fn take(disk: &dyn Disk, at: Sequence) -> Result<Self, StorageError> {
        Self::with(disk, at, |_, _| Ok(()))
    }

    /// As `take`; passes every valid block on, and how many records it has.
    pub(super) fn with(
        disk: &dyn Disk,
        at: Sequence,
        mut each: impl FnMut(&[u8], u64) -> Result<(), StorageError>,
    ) -> Result<Self, StorageError> {
        let mut scan = Self::default();
        let mut reader = match damage(SnapshotReader::open(disk, at))? {
            Ok(reader) => reader,
            Err(damage) => {
                scan.damage = Some(damage);
                return Ok(scan);
            }
        };
        scan.time_ms = Some(reader.time_ms());
        loop {
            let offset = reader.offset();
            match damage(reader.read())? {
                Ok(SnapshotPart::Records(records)) => match decode(&records) {
                    Ok(count) => {
                        each(&records, count)?;
                        scan.records += count;
                    }
                    Err(error) => scan.damage = Some((offset, error.what)),
                },
                Ok(SnapshotPart::End { records, .. }) if records != scan.records => {
                    scan.damage = Some((offset, "it counts other records than it has"));
                }
                Ok(SnapshotPart::End { until, .. }) => {
                    scan.until = Some(until);
                    return Ok(scan);
                }
                Err(damage) => scan.damage = Some(damage),
            }
            if scan.damage.is_some() {
                return Ok(scan);
            }
        }
    }
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentEnd {
    /// With a frame.
    Whole,
    /// With a seal.
    Sealed {
        /// The sequence at which the next segment begins.
        next: Sequence,
    },
    /// With bytes that are no frame that belongs there.
    Invalid {
        what: &'static str,
        /// Whether they may be the trace of a crash: no later frame calls them synced.
        may_be_torn: bool,
    },
}

/// What there is of a segment.
#[derive(Debug)]
pub(super) struct SegmentScan {
    pub(super) header: SegmentHeader,
    pub(super) frames: u64,
    pub(super) groups: u64,
    pub(super) last_time_ms: u64,
    /// Where its whole groups end: the next record, and the place in the file.
    pub(super) whole: Sequence,
    pub(super) whole_bytes: u64,
    /// Where its frames end, of whole groups and others.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Whether the follower begins where these groups end.
    pub(super) is_followed: bool,
    pub(super) end: SegmentEnd,
}

impl SegmentScan {
    /// Reads the segment to the beginning of its follower, and whether a seal follows there, or to its end.
    pub(super) fn take(
        disk: &dyn Disk,
        first: Sequence,
        follower: Option<Sequence>,
    ) -> Result<Result<Self, Damage>, StorageError> {
        let mut reader = match damage(SegmentReader::open(disk, first))? {
            Ok(reader) => reader,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut scan = Self {
            header: *reader.header(),
            frames: 0,
            groups: 0,
            last_time_ms: reader.header().created_ms,
            whole: first,
            whole_bytes: reader.offset(),
            offset: reader.offset(),
            len: reader.len(),
            is_followed: false,
            end: SegmentEnd::Whole,
        };
        let mut records = Vec::new();
        loop {
            scan.offset = reader.offset();
            records.clear();
            let frame = match reader.read(&mut records)? {
                Reading::End => return Ok(Ok(scan)),
                Reading::Frame(frame) if frame.is_seal => {
                    scan.end = SegmentEnd::Sealed { next: frame.first };
                    return Ok(Ok(scan));
                }
                Reading::Invalid => {
                    let behind = reader.synced_behind(disk, scan.offset)?;
                    scan.end = SegmentEnd::Invalid {
                        what: "what is there is not what was written",
                        may_be_torn: behind.is_none_or(|synced| synced <= scan.offset),
                    };
                    return Ok(Ok(scan));
                }
                Reading::Frame(frame) => frame,
            };
            let fault = match decode(&records) {
                Ok(count) if count == u64::from(frame.count) => None,
                Ok(_) => Some("a frame counts other records than it has"),
                Err(error) => Some(error.what),
            };
            // Behind the follower's beginning nothing counts but a seal.
            let fault = fault.or(scan
                .is_followed
                .then_some("it goes on beyond the beginning of the next segment"));
            if let Some(what) = fault {
                scan.end = SegmentEnd::Invalid {
                    what,
                    may_be_torn: false,
                };
                return Ok(Ok(scan));
            }
            scan.take_frame(&frame, reader.offset());
            scan.is_followed = follower == Some(scan.whole);
        }
    }

    fn take_frame(&mut self, frame: &Frame, end: u64) {
        self.frames += 1;
        self.last_time_ms = self.last_time_ms.max(frame.time_ms);
        if !frame.goes_on {
            self.groups += 1;
            self.whole = frame.end();
            self.whole_bytes = end;
        }
    }
}
