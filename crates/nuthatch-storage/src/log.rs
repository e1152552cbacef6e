//! The append log: every change in its order, in segments of frames.
//!
//! A segment is a file; `log-<first sequence>.nutl` holds the records from that one on, until the next segment
//! begins. A frame is what one [`LogWriter::write`] appended. A **group** is one frame, or several of which all
//! but the last say that the group goes on: its records are recovered together or not at all.
//!
//! What keeps it right:
//!
//! - A frame's checksum covers its segment's random salt and its own place in the file. So bytes that only look
//!   like a frame are none: not those inside a value, not what an earlier file left on the disk, not a frame that
//!   was moved.
//! - A frame says up to where a sync had succeeded when it was written. So a bad frame that a later one calls
//!   synced is damage, and recovery refuses; any other is the torn end of what no sync has confirmed, and is cut.
//! - A segment's name appears when its header is on the disk, and only after everything in the segment before it
//!   is. So each but the last must reach the next one exactly, and a bad header is never the trace of a crash.
//! - An append that failed is cut off before the next one. After a sync that failed nothing more is written to
//!   the segment: the system may have dropped what it held, and would report success the next time.

mod frame;
mod reader;

pub use frame::{Frame, MAX_PAYLOAD_BYTES, SegmentHeader};
pub use reader::{Reading, SegmentReader};

use crate::Sequence;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::files::{FileKind, remove_if_there};
use frame::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use std::io;
use std::mem;
use std::sync::Arc;

/// Payloads up to this are copied behind their header, to be appended with one call; longer ones follow with a
/// call of their own, for there the copy costs more than the call.
const JOINED_BYTES: usize = 64 << 10;

/// A segment that is written to.
#[derive(Debug)]
struct Segment {
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    /// Up to where the file holds whole frames.
    end: u64,
    /// Whether something else may follow them.
    is_torn: bool,
}

impl Segment {
    fn name(&self) -> String {
        FileKind::Segment.name(self.header.first)
    }

    /// An empty segment under a name that does not count yet.
    fn begin(disk: &dyn Disk, header: SegmentHeader) -> Result<Self, StorageError> {
        let name = FileKind::Segment.temporary_name(header.first);
        remove_if_there(disk, &name)?;
        let file = disk
            .create(&name)
            .and_then(|mut file| file.append(&header.encode()).map(|()| file))
            .map_err(StorageError::io("create", name))?;
        Ok(Self {
            file,
            header,
            end: SEGMENT_HEADER_BYTES as u64,
            is_torn: false,
        })
    }

    /// Syncs what was begun.
    fn prepare(mut self) -> Result<Self, StorageError> {
        self.file
            .sync()
            .map_err(StorageError::io("sync", self.name()))?;
        Ok(self)
    }

    /// Gives what was prepared its name, in place of a segment that has it. After an error the name may be
    /// there or not.
    fn publish(mut self, disk: &dyn Disk) -> Result<Self, StorageError> {
        let name = self.name();
        self.file = disk
            .rename(&FileKind::Segment.temporary_name(self.header.first), &name)
            .and_then(|()| disk.sync_names())
            .and_then(|()| disk.open(&name))
            .map_err(StorageError::io("create", name))?;
        Ok(self)
    }

    fn create(disk: &dyn Disk, header: SegmentHeader) -> Result<Self, StorageError> {
        Self::begin(disk, header)?.prepare()?.publish(disk)
    }

    /// Cuts off what a failed append has left.
    fn tidy(&mut self) -> Result<(), StorageError> {
        if self.is_torn {
            self.file
                .truncate(self.end)
                .map_err(StorageError::io("cut", self.name()))?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn append(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        self.tidy()?;
        buffer.clear();
        buffer.extend(frame.encode(self.header.salt, self.end));
        let is_joined = payload.len() <= JOINED_BYTES;
        if is_joined {
            buffer.extend(payload);
        }
        // Set until all of it is there: an append that fails, or panics, may have left anything.
        self.is_torn = true;
        self.file
            .append(buffer)
            .and_then(|()| match is_joined {
                true => Ok(()),
                false => self.file.append(payload),
            })
            .map_err(StorageError::io("write", self.name()))?;
        self.is_torn = false;
        self.end += (FRAME_HEADER_BYTES + payload.len()) as u64;
        Ok(())
    }

    /// Appends the records of the segment `from` between this one's first and `end`.
    fn copy(&mut self, disk: &dyn Disk, from: Sequence, end: Sequence) -> Result<(), StorageError> {
        let mut reader = SegmentReader::open(disk, from)?;
        let (mut records, mut buffer) = (Vec::new(), Vec::new());
        while reader.next_sequence() < end {
            records.clear();
            match reader.read(&mut records)? {
                Reading::Frame(frame) if !frame.is_seal => {
                    if frame.first >= self.header.first {
                        let synced_bytes = 0;
                        let frame = Frame {
                            synced_bytes,
                            ..frame
                        };
                        self.append(&frame, &records, &mut buffer)?;
                    }
                }
                Reading::Frame(_) | Reading::End | Reading::Invalid => {
                    let what = "it is not as it was read a moment ago";
                    return Err(StorageError::damaged(reader.file(), reader.offset(), what));
                }
            }
        }
        Ok(())
    }

    /// Says in the segment itself that another follows, so that its loss would be noticed.
    fn seal(&mut self, next: Sequence, time_ms: u64) -> Result<(), StorageError> {
        let seal = Frame::seal(next, time_ms, self.end);
        self.append(&seal, &[], &mut Vec::new())?;
        self.file
            .sync()
            .map_err(StorageError::io("sync", self.name()))
    }
}

/// Appends to the log. Belongs to one thread.
#[derive(Debug)]
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    segment: Segment,
    next: Sequence,
    /// The first record of the group that goes on.
    open_group: Option<Sequence>,
    synced: Sequence,
    /// Up to where the segment's file is synced.
    synced_bytes: u64,
    is_broken: bool,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Begins a log anew at `first`, whatever there is before: for servers that had none so far, or write one
    /// only while they take a snapshot. It counts as soon as there is a snapshot of `first`, and is removed at the
    /// next start if that was never finished. Where the log is to follow what was recovered,
    /// [`DataDir::begin_log`](crate::data_dir::DataDir::begin_log) continues it.
    ///
    /// # Errors
    /// [`StorageError::Io`], also if there is a segment that begins at `first` and has records.
    pub fn create(
        disk: Arc<dyn Disk>,
        first: Sequence,
        time_ms: u64,
        salt: u64,
    ) -> Result<Self, StorageError> {
        let name = FileKind::Segment.name(first);
        match disk.len(&name) {
            // An empty one: nothing has happened since it began.
            Ok(len) if len == SEGMENT_HEADER_BYTES as u64 => {}
            Ok(_) => {
                let exists = io::ErrorKind::AlreadyExists.into();
                return Err(StorageError::io("create", name)(exists));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("create", name)(error)),
        }
        let header = SegmentHeader {
            salt,
            first,
            created_ms: time_ms,
            begins_anew: true,
        };
        let segment = Segment::create(&*disk, header)?;
        Ok(Self::of(disk, segment))
    }

    /// Continues the log that recovery has read to `end`. What no frame of its last segment calls synced is
    /// written again: it may be in the system's memory only, of a process before this one, and if a sync has
    /// failed there, another would not help.
    pub(crate) fn follow(
        disk: Arc<dyn Disk>,
        tail: &Tail,
        end: Sequence,
        time_ms: u64,
        salt: u64,
    ) -> Result<Self, StorageError> {
        let old = tail.header;
        let header = SegmentHeader {
            salt,
            first: tail.synced,
            created_ms: time_ms,
            begins_anew: old.begins_anew && old.first == tail.synced,
        };
        let mut segment = Segment::begin(&*disk, header)?;
        if tail.synced < end {
            segment.copy(&*disk, old.first, end)?;
        }
        let segment = segment.prepare()?.publish(&*disk)?;
        if tail.synced != old.first {
            // What counts is on the disk, with or without these.
            let _ = seal(&*disk, tail, time_ms);
        }
        let mut writer = Self::of(disk, segment);
        writer.next = end;
        writer.synced = end;
        Ok(writer)
    }

    /// Begins a log that follows a snapshot of `first`, or nothing at all.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        first: Sequence,
        time_ms: u64,
        salt: u64,
    ) -> Result<Self, StorageError> {
        let header = SegmentHeader {
            salt,
            first,
            created_ms: time_ms,
            begins_anew: false,
        };
        let segment = Segment::create(&*disk, header)?;
        Ok(Self::of(disk, segment))
    }

    fn of(disk: Arc<dyn Disk>, segment: Segment) -> Self {
        Self {
            disk,
            next: segment.header.first,
            open_group: None,
            synced: segment.header.first,
            synced_bytes: segment.end,
            is_broken: false,
            buffer: Vec::new(),
            segment,
        }
    }

    /// Appends one frame with `count` records, whose first was applied at `time_ms` or later. `goes_on`: what is
    /// written next belongs to the same group.
    ///
    /// # Errors
    /// [`StorageError::Io`]: nothing of it counts, and it is to be written again, with the same bytes or others;
    /// what a part of it has left in the file is cut off before. [`StorageError::Broken`], and
    /// [`StorageError::TooLarge`] for more than [`MAX_PAYLOAD_BYTES`].
    ///
    /// # Panics
    /// If there are no records.
    pub fn write(
        &mut self,
        records: &[u8],
        count: u64,
        time_ms: u64,
        goes_on: bool,
    ) -> Result<(), StorageError> {
        self.refuse_if_broken()?;
        let frame = Frame::of(
            records,
            count,
            goes_on,
            self.next,
            time_ms,
            self.synced_bytes,
        )?;
        self.segment.append(&frame, records, &mut self.buffer)?;
        self.open_group = goes_on.then(|| self.open_group.unwrap_or(self.next));
        self.next += count;
        Ok(())
    }

    /// Makes what was written last.
    ///
    /// # Errors
    /// [`StorageError::Io`], after which the writer [is broken](Self::is_broken); [`StorageError::Broken`].
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.refuse_if_broken()?;
        self.segment.tidy()?;
        if let Err(error) = self.segment.file.sync() {
            self.is_broken = true;
            return Err(StorageError::io("sync", self.segment.name())(error));
        }
        self.synced = self.whole();
        self.synced_bytes = self.segment.end;
        Ok(())
    }

    fn refuse_if_broken(&self) -> Result<(), StorageError> {
        if self.is_broken {
            return Err(StorageError::Broken {
                file: self.segment.name(),
            });
        }
        Ok(())
    }

    /// The next record after the last whole group.
    fn whole(&self) -> Sequence {
        self.open_group.unwrap_or(self.next)
    }

    /// Syncs, and goes on in a new segment. Does nothing more if this one is still empty.
    ///
    /// # Errors
    /// [`StorageError::Io`]: this segment is still the current one, unless the writer
    /// [is broken](Self::is_broken) now.
    ///
    /// # Panics
    /// If a group goes on.
    pub fn rotate(&mut self, time_ms: u64, salt: u64) -> Result<(), StorageError> {
        self.refuse_if_broken()?;
        assert!(self.open_group.is_none(), "a group lies in one segment");
        self.sync()?;
        if self.next == self.segment.header.first {
            return Ok(());
        }
        let header = SegmentHeader {
            salt,
            first: self.next,
            created_ms: time_ms,
            begins_anew: false,
        };
        let new = Segment::begin(&*self.disk, header)?.prepare()?;
        // Once the new name may be on the disk, this segment counts up to there only.
        self.is_broken = true;
        let new = new.publish(&*self.disk)?;
        self.is_broken = false;
        self.synced_bytes = new.end;
        let mut old = mem::replace(&mut self.segment, new);
        // A segment that is followed is complete without a seal: that only tells if the follower gets lost.
        let _ = old.seal(self.next, time_ms);
        Ok(())
    }

    /// After the writer broke: goes on in a new segment at [`synced_sequence`](Self::synced_sequence). All records
    /// from there on are to be written again; the caller has kept them.
    ///
    /// # Errors
    /// [`StorageError::Io`]: it can be tried again.
    pub fn restart(&mut self, time_ms: u64, salt: u64) -> Result<(), StorageError> {
        let header = SegmentHeader {
            salt,
            first: self.synced,
            created_ms: time_ms,
            // If it takes the place of the segment that broke, it begins as that did.
            begins_anew: self.segment.header.begins_anew
                && self.segment.header.first == self.synced,
        };
        self.is_broken = true;
        self.segment = Segment::create(&*self.disk, header)?;
        self.next = self.synced;
        self.open_group = None;
        self.synced_bytes = self.segment.end;
        self.is_broken = false;
        Ok(())
    }

    /// The sequence of the next record to be written.
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// Up to where records are on the disk for good, in whole groups.
    pub fn synced_sequence(&self) -> Sequence {
        self.synced
    }

    /// The length of the current segment, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.segment.end
    }

    /// Whether nothing more can be written, until [`restart`](Self::restart).
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// The end of the log as recovery found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// Of the last segment.
    pub(crate) header: SegmentHeader,
    /// Up to which record, in whole groups, frames of the segment call it synced, and where that is in the file.
    pub(crate) synced: Sequence,
    pub(crate) synced_bytes: u64,
    /// The file's length.
    pub(crate) len: u64,
}

/// Cuts off what was written again in the next segment, and seals the rest.
fn seal(disk: &dyn Disk, tail: &Tail, time_ms: u64) -> Result<(), StorageError> {
    let name = FileKind::Segment.name(tail.header.first);
    let file = disk.open(&name).map_err(StorageError::io("open", name))?;
    let mut segment = Segment {
        file,
        header: tail.header,
        end: tail.synced_bytes,
        is_torn: tail.len > tail.synced_bytes,
    };
    segment.seal(tail.synced, time_ms)
}
