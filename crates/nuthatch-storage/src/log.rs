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

    /// Puts an empty segment on the disk, under a name that does not count yet.
    fn prepare(disk: &dyn Disk, header: &SegmentHeader) -> Result<(), StorageError> {
        let name = FileKind::Segment.temporary_name(header.first);
        remove_if_there(disk, &name)?;
        disk.create(&name)
            .and_then(|mut file| {
                file.append(&header.encode())?;
                file.sync()
            })
            .map_err(StorageError::io("create", name))
    }

    /// Gives it its name. After an error it may have it or not.
    fn publish(disk: &dyn Disk, header: SegmentHeader) -> Result<Self, StorageError> {
        let name = FileKind::Segment.name(header.first);
        let file = disk
            .rename(&FileKind::Segment.temporary_name(header.first), &name)
            .and_then(|()| disk.sync_names())
            .and_then(|()| disk.open(&name))
            .map_err(StorageError::io("create", name))?;
        Ok(Self {
            file,
            header,
            end: SEGMENT_HEADER_BYTES as u64,
            is_torn: false,
        })
    }

    fn create(disk: &dyn Disk, header: SegmentHeader) -> Result<Self, StorageError> {
        Self::prepare(disk, &header)?;
        Self::publish(disk, header)
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
        let (joined, apart) = if payload.len() <= JOINED_BYTES {
            (payload, &payload[..0])
        } else {
            payload.split_at(0)
        };
        buffer.extend(joined);
        // Set until all of it is there: an append that fails, or panics, may have left anything.
        self.is_torn = true;
        self.file
            .append(buffer)
            .and_then(|()| match apart {
                [] => Ok(()),
                apart => self.file.append(apart),
            })
            .map_err(StorageError::io("write", self.name()))?;
        self.is_torn = false;
        self.end += (FRAME_HEADER_BYTES + payload.len()) as u64;
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
    /// [`StorageError::Io`], also if there is a segment that begins at `first`.
    pub fn create(
        disk: Arc<dyn Disk>,
        first: Sequence,
        time_ms: u64,
        salt: u64,
    ) -> Result<Self, StorageError> {
        let name = FileKind::Segment.name(first);
        let create = |error| StorageError::io("create", &*name)(error);
        if disk.names().map_err(create)?.contains(&name) {
            return Err(create(io::ErrorKind::AlreadyExists.into()));
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

    /// Continues the log at `header.first`, in place of a segment of that name, of which nothing is needed.
    pub(crate) fn replace(
        disk: Arc<dyn Disk>,
        header: SegmentHeader,
    ) -> Result<Self, StorageError> {
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
        Segment::prepare(&*self.disk, &header)?;
        // Once the new name may be on the disk, this segment counts up to there only.
        self.is_broken = true;
        let new = Segment::publish(&*self.disk, header)?;
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

/// Appends a seal to a segment that nobody writes to any more.
pub(crate) fn seal(
    disk: &dyn Disk,
    header: SegmentHeader,
    end: u64,
    next: Sequence,
    time_ms: u64,
) -> Result<(), StorageError> {
    let name = FileKind::Segment.name(header.first);
    let file = disk.open(&name).map_err(StorageError::io("open", name))?;
    let mut segment = Segment {
        file,
        header,
        end,
        is_torn: false,
    };
    segment.seal(next, time_ms)
}
