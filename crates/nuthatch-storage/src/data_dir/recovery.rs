//! What is read of a directory at the start.
//!
//! The newest snapshot, at sequence S, and the **chain**: the last segment that begins at or before S, and those
//! after it up to one that says that it begins anew. That one belongs to a snapshot that was not finished, of a
//! server that had no log before: it and what comes after it are abandoned.
//!
//! Each segment of the chain begins where the one before it ends, which was synced by then. The last one may end
//! with bytes that are no frame, or within a group. If no frame behind them calls them synced, they are the trace of
//! a crash, and are cut. Everything else is missing or damaged.

use crate::Sequence;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::files::{FileKind, Inventory};
use crate::log::{Frame, Reading, SegmentHeader, SegmentReader, Tail};
use crate::record::{MalformedRecord, take_record};
use crate::snapshot::{SnapshotPart, SnapshotReader};
use std::collections::VecDeque;
use std::mem;

/// Small groups of the same time are passed on together, until they have so many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Takes what is recovered.
pub trait RecoverySink {
    /// Before anything else: how many bytes there are to be read, at most.
    fn begin(&mut self, total_bytes: u64);

    /// A block of whole records of the snapshot, which was begun at `time_ms`. Keys may repeat; what comes later
    /// holds.
    ///
    /// # Errors
    /// Ends the recovery.
    fn snapshot_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError>;

    /// Records of the log in their order, in whole groups, none applied before `time_ms`. What was written with
    /// different times comes in different calls.
    ///
    /// # Errors
    /// Ends the recovery.
    fn log_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError>;

    /// So many bytes have been read so far.
    fn progress(&mut self, bytes: u64);
}

/// The torn end of a log, which is not recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub file: String,
    /// Where it is cut.
    pub at: u64,
    /// How many bytes that costs.
    pub bytes: u64,
}

/// What was recovered.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The snapshot that was read.
    pub snapshot: Option<Sequence>,
    /// The sequence of the next record.
    pub next: Sequence,
    /// How many records the snapshot has.
    pub snapshot_records: u64,
    /// How many records of the log were read.
    pub log_records: u64,
    /// The latest time that was found, in milliseconds since 1970, or 0.
    pub last_time_ms: u64,
    /// What was lost of the log's end.
    pub cut: Option<Cut>,
    /// Newer snapshots that are damaged, and why. What they had was recovered from an older one and the log.
    pub skipped_snapshots: Vec<String>,
    pub(crate) tail: Option<Tail>,
    /// Where the segments begin that belong to a snapshot that was not finished.
    pub(crate) abandoned: Vec<Sequence>,
}

/// Reads all of it; see [`DataDir::recover`](super::DataDir::recover).
pub(crate) fn recover(
    disk: &dyn Disk,
    sink: &mut dyn RecoverySink,
) -> Result<Recovered, StorageError> {
    let inventory = Inventory::take(disk)?;
    let (snapshot, mut damage) = choose_snapshot(disk, &inventory)?;
    let recovered = read_from(disk, snapshot, &inventory.segments, sink);
    match recovered {
        Ok(recovered) if damage.is_empty() || recovered.abandoned.is_empty() => Ok(Recovered {
            skipped_snapshots: damage.iter().map(ToString::to_string).collect(),
            ..recovered
        }),
        // The log does not make up for the damaged snapshot, so it is that which has to be told of. (What came
        // with a snapshot that was finished is not abandoned.)
        Ok(_) | Err(StorageError::MissingLog { .. }) if !damage.is_empty() => {
            Err(damage.swap_remove(0))
        }
        other => other,
    }
}

/// The newest whole snapshot, or none if the log does without, and what is wrong with those that are newer. If
/// there is nothing to choose from, the one snapshot is not looked at before it is read.
fn choose_snapshot(
    disk: &dyn Disk,
    inventory: &Inventory,
) -> Result<(Option<Sequence>, Vec<StorageError>), StorageError> {
    let log_is_all = inventory.segments.first() == Some(&0);
    let mut damage = Vec::new();
    if inventory.snapshots.len() + usize::from(log_is_all) < 2 {
        return Ok((inventory.snapshots.first().copied(), damage));
    }
    for &at in inventory.snapshots.iter().rev() {
        match verify_snapshot(disk, at) {
            Ok(()) => return Ok((Some(at), damage)),
            Err(error @ StorageError::Damaged { .. }) => damage.push(error),
            Err(error) => return Err(error),
        }
    }
    if log_is_all {
        Ok((None, damage))
    } else {
        Err(damage.swap_remove(0))
    }
}

fn verify_snapshot(disk: &dyn Disk, at: Sequence) -> Result<(), StorageError> {
    let mut reader = SnapshotReader::open(disk, at)?;
    while let SnapshotPart::Records(_) = reader.read()? {}
    Ok(())
}

fn read_from(
    disk: &dyn Disk,
    snapshot: Option<Sequence>,
    segments: &[Sequence],
    sink: &mut dyn RecoverySink,
) -> Result<Recovered, StorageError> {
    let from = snapshot.unwrap_or(0);
    let chain = Chain::plan(disk, segments, from)?;
    let name = snapshot.map(|at| FileKind::Snapshot.name(at));
    let snapshot_bytes = match name {
        Some(name) => disk.len(&name).map_err(StorageError::io("read", name))?,
        None => 0,
    };
    let log_bytes = chain.links.iter().map(|link| link.len).sum::<u64>();
    sink.begin(snapshot_bytes + log_bytes);
    let mut reading = Recovery {
        disk,
        from,
        read_bytes: 0,
        batch: Batch::default(),
        recovered: Recovered {
            snapshot,
            next: chain.links.first().map_or(from, |link| link.header.first),
            snapshot_records: 0,
            log_records: 0,
            last_time_ms: 0,
            cut: None,
            skipped_snapshots: Vec::new(),
            tail: None,
            abandoned: chain.abandoned,
        },
        sink,
    };
    let until = match snapshot {
        Some(at) => reading.read_snapshot(at)?,
        None => 0,
    };
    reading.read_chain(&chain.links)?;
    let recovered = reading.recovered;
    if recovered.next < until.max(from) {
        return Err(StorageError::MissingLog {
            from: recovered.next,
            found: recovered.abandoned.first().copied(),
        });
    }
    Ok(recovered)
}

/// A segment of the chain.
#[derive(Debug)]
struct Link {
    header: SegmentHeader,
    len: u64,
}

/// The segments that are read, and where those begin that are not.
#[derive(Debug, Default)]
struct Chain {
    links: Vec<Link>,
    abandoned: Vec<Sequence>,
}

impl Chain {
    fn plan(disk: &dyn Disk, segments: &[Sequence], from: Sequence) -> Result<Self, StorageError> {
        let mut chain = Self::default();
        let behind = segments.partition_point(|&first| first <= from);
        if let (0, Some(&found)) = (behind, segments.first()) {
            return Err(StorageError::MissingLog {
                from,
                found: Some(found),
            });
        }
        let needed = &segments[behind.max(1) - 1..];
        for (at, &first) in needed.iter().enumerate() {
            let reader = SegmentReader::open(disk, first)?;
            if at > 0 && reader.header().begins_anew {
                chain.abandoned = needed[at..].to_vec();
                break;
            }
            chain.links.push(Link {
                header: *reader.header(),
                len: reader.len(),
            });
        }
        Ok(chain)
    }
}

/// Records of the log that have been read and not yet been passed on.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<u8>,
    /// When the first of them was applied, or earlier.
    time_ms: u64,
    /// How many of the bytes are in whole groups, and how many records are not.
    whole_bytes: usize,
    open_records: u64,
    /// Where in the file the group begins that goes on.
    open_group: Option<u64>,
}

/// How far frames of a segment say that it was synced, in whole groups.
#[derive(Debug)]
struct Synced {
    bytes: u64,
    sequence: Sequence,
    /// The ends of the groups of which none has said so.
    groups: VecDeque<(u64, Sequence)>,
}

impl Synced {
    fn hear(&mut self, synced_bytes: u64) {
        while let Some((bytes, sequence)) = self
            .groups
            .pop_front_if(|&mut (end, _)| end <= synced_bytes)
        {
            (self.bytes, self.sequence) = (bytes, sequence);
        }
    }
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    /// The first record that is wanted of the log.
    from: Sequence,
    /// The length of the files that have been read to their end.
    read_bytes: u64,
    batch: Batch,
    recovered: Recovered,
    sink: &'a mut dyn RecoverySink,
}

impl Recovery<'_> {
    /// Passes the snapshot on; up to which record of the log it needs.
    fn read_snapshot(&mut self, at: Sequence) -> Result<Sequence, StorageError> {
        let mut reader = SnapshotReader::open(self.disk, at)?;
        let time_ms = reader.time_ms();
        self.recovered.last_time_ms = time_ms;
        loop {
            match reader.read()? {
                SnapshotPart::Records(records) => self.sink.snapshot_records(time_ms, records)?,
                SnapshotPart::End { until, records } => {
                    self.recovered.snapshot_records = records;
                    self.read_bytes = reader.offset();
                    self.sink.progress(self.read_bytes);
                    return Ok(until);
                }
            }
            self.sink.progress(reader.offset());
        }
    }

    fn read_chain(&mut self, chain: &[Link]) -> Result<(), StorageError> {
        for (at, link) in chain.iter().enumerate() {
            let limit = chain.get(at + 1).map(|next| next.header.first);
            self.read_segment(link, limit)?;
            self.read_bytes += link.len;
        }
        Ok(())
    }

    /// Reads a segment to where the next one begins, if it has one.
    fn read_segment(&mut self, link: &Link, limit: Option<Sequence>) -> Result<(), StorageError> {
        let mut reader = SegmentReader::open(self.disk, link.header.first)?;
        let mut synced = Synced {
            bytes: reader.offset(),
            sequence: link.header.first,
            groups: VecDeque::new(),
        };
        self.hear_time(link.header.created_ms);
        loop {
            if limit == Some(reader.next_sequence()) && self.batch.open_group.is_none() {
                return self.pass_on(reader.len());
            }
            let (mut records, offset) = (Vec::new(), reader.offset());
            let frame = match reader.read(&mut records)? {
                Reading::Frame(frame) if frame.is_seal => {
                    synced.hear(frame.synced_bytes);
                    return self.end_at_seal(&reader, frame.first, synced, limit);
                }
                Reading::Frame(frame) => frame,
                Reading::End if limit.is_none() => return self.end_log(&reader, synced),
                Reading::Invalid if limit.is_none() => return self.end_torn(&reader, synced),
                Reading::Invalid => return Err(not_as_written(&reader)),
                Reading::End => {
                    return Err(StorageError::MissingLog {
                        from: reader.next_sequence(),
                        found: limit,
                    });
                }
            };
            if limit.is_some_and(|limit| frame.end() > limit) {
                let what = "it goes on beyond the beginning of the next segment";
                return Err(StorageError::damaged(reader.file(), offset, what));
            }
            synced.hear(frame.synced_bytes);
            if !frame.goes_on {
                synced
                    .groups
                    .push_back((reader.offset(), reader.next_sequence()));
            }
            self.trim(&frame, &mut records)
                .map_err(|error| StorageError::damaged(reader.file(), offset, error.what))?;
            self.take(&frame, records, offset)?;
        }
    }

    fn hear_time(&mut self, time_ms: u64) {
        self.recovered.last_time_ms = self.recovered.last_time_ms.max(time_ms);
    }

    /// Removes what comes before the first record that is wanted.
    fn trim(&self, frame: &Frame, records: &mut Vec<u8>) -> Result<(), MalformedRecord> {
        if frame.first < self.from {
            let mut wanted = &**records;
            for _ in frame.first..frame.end().min(self.from) {
                take_record(&mut wanted)?;
            }
            records.drain(..records.len() - wanted.len());
        }
        Ok(())
    }

    /// Takes in a frame with the records of it that are wanted.
    fn take(&mut self, frame: &Frame, records: Vec<u8>, offset: u64) -> Result<(), StorageError> {
        let is_apart = frame.time_ms != self.batch.time_ms || self.batch.whole_bytes >= BATCH_BYTES;
        if is_apart && self.batch.open_group.is_none() {
            self.pass_on(offset)?;
            self.batch.time_ms = frame.time_ms;
        }
        let batch = &mut self.batch;
        if batch.records.is_empty() {
            batch.records = records;
        } else {
            batch.records.extend(records);
        }
        batch.open_records += frame.end().saturating_sub(frame.first.max(self.from));
        if frame.goes_on {
            batch.open_group.get_or_insert(offset);
        } else {
            batch.open_group = None;
            batch.whole_bytes = batch.records.len();
            self.recovered.log_records += mem::take(&mut batch.open_records);
            self.recovered.next = frame.end();
        }
        self.hear_time(frame.time_ms);
        Ok(())
    }

    /// Gives the sink what has gathered, all in whole groups.
    fn pass_on(&mut self, offset: u64) -> Result<(), StorageError> {
        let batch = mem::take(&mut self.batch);
        if !batch.records.is_empty() {
            self.sink.log_records(batch.time_ms, batch.records)?;
        }
        self.sink.progress(self.read_bytes + offset);
        Ok(())
    }

    /// Another segment was there when this one ended.
    fn end_at_seal(
        &mut self,
        reader: &SegmentReader,
        next: Sequence,
        synced: Synced,
        limit: Option<Sequence>,
    ) -> Result<(), StorageError> {
        if limit.is_none() && self.recovered.abandoned.first() == Some(&next) {
            return self.end_log(reader, synced);
        }
        Err(StorageError::MissingLog {
            from: next,
            found: limit.or(self.recovered.abandoned.first().copied()),
        })
    }

    /// The log's last segment goes on with bytes that are no frame.
    fn end_torn(&mut self, reader: &SegmentReader, mut synced: Synced) -> Result<(), StorageError> {
        if let Some(behind) = reader.synced_behind(self.disk, reader.offset())? {
            if behind > reader.offset() {
                return Err(not_as_written(reader));
            }
            synced.hear(behind);
        }
        self.end_log(reader, synced)
    }

    fn end_log(&mut self, reader: &SegmentReader, synced: Synced) -> Result<(), StorageError> {
        let at = self.batch.open_group.unwrap_or(reader.offset());
        self.recovered.cut = (at < reader.len()).then(|| Cut {
            file: reader.file().into(),
            at,
            bytes: reader.len() - at,
        });
        self.recovered.tail = Some(Tail {
            header: *reader.header(),
            synced: synced.sequence,
            synced_bytes: synced.bytes,
            len: reader.len(),
        });
        self.batch.records.truncate(self.batch.whole_bytes);
        self.pass_on(reader.len())
    }
}

fn not_as_written(reader: &SegmentReader) -> StorageError {
    let what = "what was on the disk for good is not as it was written";
    StorageError::damaged(reader.file(), reader.offset(), what)
}
