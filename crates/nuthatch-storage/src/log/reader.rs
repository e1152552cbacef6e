//! Reading a segment, frame by frame.
//!
//! Nothing that was read is believed before its checksum was right: lengths are compared with what the file
//! still has, so damage cannot ask for more memory than that.

use super::frame::{FRAME_HEADER_BYTES, Frame, MARKER, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::Sequence;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::files::FileKind;
use std::fmt;
use std::io::{self, BufReader, Read};

/// Read from the disk at once. Payloads longer than this go past the buffer.
const BUFFER_BYTES: usize = 256 << 10;

/// What comes next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A frame, whose records were appended to what was handed in; or a seal, which has none.
    Frame(Frame),
    /// The file ends where a frame ends.
    End,
    /// There is more, but it is no frame that continues this log.
    Invalid,
}

/// Reads one segment.
pub struct SegmentReader {
    input: BufReader<Box<dyn Read + Send>>,
    file: String,
    len: u64,
    header: SegmentHeader,
    offset: u64,
    next: Sequence,
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentReader")
            .field("file", &self.file)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl SegmentReader {
    /// Opens the segment that begins at `first`.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::NewerVersion`], and [`StorageError::Damaged`] if its header is.
    pub fn open(disk: &dyn Disk, first: Sequence) -> Result<Self, StorageError> {
        let file = FileKind::Segment.name(first);
        let len = disk.len(&file).map_err(StorageError::io("read", &*file))?;
        let input = disk.read(&file).map_err(StorageError::io("read", &*file))?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let damaged = |what| StorageError::damaged(&*file, 0, what);
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        input
            .by_ref()
            .take(SEGMENT_HEADER_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(StorageError::io("read", &*file))?;
        let version = FileKind::Segment.version();
        match FileKind::Segment.version_of(&bytes).map_err(damaged)? {
            found if found > version => {
                return Err(StorageError::NewerVersion {
                    file,
                    found,
                    max: version,
                });
            }
            found if found < version => return Err(damaged("its version was never in use")),
            _ => {}
        }
        let bytes = bytes
            .first_chunk()
            .ok_or_else(|| damaged("it ends within its header"))?;
        let header = SegmentHeader::decode(bytes).map_err(damaged)?;
        if header.first != first {
            return Err(damaged("it begins with another record than its name says"));
        }
        Ok(Self {
            input,
            file,
            len,
            header,
            offset: SEGMENT_HEADER_BYTES as u64,
            next: first,
        })
    }

    /// Reads the next frame, and appends its records to `records`, as they stand in the file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn read(&mut self, records: &mut Vec<u8>) -> Result<Reading, StorageError> {
        if self.offset == self.len {
            return Ok(Reading::End);
        }
        let start = records.len();
        let frame = self
            .try_read(records)
            .map_err(StorageError::io("read", &*self.file))?;
        let Some(frame) = frame else {
            records.truncate(start);
            return Ok(Reading::Invalid);
        };
        self.offset += frame.total_bytes();
        self.next = frame.end();
        Ok(Reading::Frame(frame))
    }

    fn try_read(&mut self, records: &mut Vec<u8>) -> io::Result<Option<Frame>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        if self.len - self.offset < FRAME_HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.input.read_exact(&mut header)?;
        let frame = Frame::decode(&header, self.header.salt, self.offset);
        let fits = |frame: &Frame| {
            frame.first == self.next && frame.total_bytes() <= self.len - self.offset
        };
        let Some(frame) = frame.filter(fits) else {
            return Ok(None);
        };
        let start = records.len();
        records.reserve(frame.length as usize);
        self.input
            .by_ref()
            .take(u64::from(frame.length))
            .read_to_end(records)?;
        let is_whole = records.len() - start == frame.length as usize
            && crc32c::crc32c(&records[start..]) == frame.payload_checksum;
        Ok(is_whole.then_some(frame))
    }

    /// The segment's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What the segment says of itself.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Up to where it was read, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's length when it was opened, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no frame.
    pub fn is_empty(&self) -> bool {
        self.len == SEGMENT_HEADER_BYTES as u64
    }

    /// The sequence of the next record.
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// Up to where a frame behind `offset` says that the file was synced: the highest that any does, if there is
    /// a frame at all.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn synced_behind(
        &self,
        disk: &dyn Disk,
        offset: u64,
    ) -> Result<Option<u64>, StorageError> {
        let input = disk
            .read(&self.file)
            .map_err(StorageError::io("read", &*self.file))?;
        search(input, offset + 1, self.header.salt).map_err(StorageError::io("read", &*self.file))
    }
}

/// Looks for headers of frames from `start` on.
fn search(mut input: impl Read, start: u64, salt: u64) -> io::Result<Option<u64>> {
    io::copy(&mut input.by_ref().take(start), &mut io::sink())?;
    let mut synced = None;
    let mut offset = start;
    let mut window = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let room = (BUFFER_BYTES - window.len()) as u64;
        let read = input.by_ref().take(room).read_to_end(&mut window)?;
        for at in 0..window.len().saturating_sub(FRAME_HEADER_BYTES - 1) {
            if window[at] != MARKER[0] {
                continue;
            }
            let header = window[at..].first_chunk().expect("as many are there");
            if let Some(frame) = Frame::decode(header, salt, offset + at as u64) {
                synced = synced.max(Some(frame.synced_bytes));
            }
        }
        if read == 0 {
            return Ok(synced);
        }
        // A header may go on in what is read next.
        let passed = window.len().saturating_sub(FRAME_HEADER_BYTES - 1);
        window.drain(..passed);
        offset += passed as u64;
    }
}
