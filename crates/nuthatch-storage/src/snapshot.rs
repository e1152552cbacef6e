//! Snapshots: what held when the log had so many records, up to what happened while it was written.
//!
//! A snapshot is a walk through all keys that goes on while they change. What it misses of a change, or has only
//! half of, is in the log: so it holds together with the records from where it was begun, and needs those up to
//! where it ended. It says both, and recovery refuses it without them.
//!
//! ```text
//! the framing of `nuthatch::snapshot::framing`, with these blocks:
//! first   | sequence at which it was begun 8 | time 8 |
//! then    | whole records |                                 any number of times
//! last    | 0 in a byte | sequence at which it ended 8 |
//! footer  | ... | number of records 8 |
//! ```
//!
//! No record begins with a zero, so the last block is told from the others by its first byte.
//!
//! A file gets its name when all of it is on the disk. So one that is not whole is damaged.

use crate::Sequence;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::files::{FileKind, remove_if_there};
use nuthatch::snapshot::framing::{Block, FrameError, FrameReader, FrameWriter, MAX_BLOCK_BYTES};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

const LAST: u8 = 0;

/// A file as the framing writes to it.
#[derive(Debug)]
struct Appended(Box<dyn DiskFile>);

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a snapshot. Without [`finish`](Self::finish) it is none, and removed.
#[derive(Debug)]
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    /// `None` once it is finished, or being so.
    frames: Option<FrameWriter<Appended>>,
    at: Sequence,
    time_ms: u64,
    until: Sequence,
    records: u64,
}

impl SnapshotWriter {
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        at: Sequence,
        time_ms: u64,
    ) -> Result<Self, StorageError> {
        let name = FileKind::Snapshot.temporary_name(at);
        remove_if_there(&*disk, &name)?;
        let create = |error| StorageError::io("create", &*name)(error);
        let file = disk.create(&name).map_err(create)?;
        let mut this = Self {
            disk,
            frames: None,
            at,
            time_ms,
            until: at,
            records: 0,
        };
        // Whatever fails from here on, the file is removed.
        let (magic, version) = (FileKind::Snapshot.magic(), FileKind::Snapshot.version());
        let mut frames = FrameWriter::new(Appended(file), magic, version).map_err(create)?;
        let first = [at.to_le_bytes(), time_ms.to_le_bytes()].concat();
        frames.block(&first).map_err(create)?;
        this.frames = Some(frames);
        Ok(this)
    }

    fn frames(&mut self) -> &mut FrameWriter<Appended> {
        self.frames.as_mut().expect("it is not finished")
    }

    fn name(&self) -> String {
        FileKind::Snapshot.temporary_name(self.at)
    }

    /// Writes `count` records, at least one, as one block. Some 256 KiB are a good length: the records of a block
    /// are recovered together, by one thread.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the snapshot is lost.
    pub fn records(&mut self, records: &[u8], count: u64) -> Result<(), StorageError> {
        debug_assert!(count > 0, "a block has records");
        let name = self.name();
        self.frames()
            .block(records)
            .map_err(StorageError::io("write", name))?;
        self.records += count;
        Ok(())
    }

    /// Says that the snapshot needs the log's records up to `end`, which has to be synced up to there before the
    /// snapshot is finished. To be called when the last key was read, with what the sequence is then; a snapshot of
    /// keys that did not change meanwhile needs nothing.
    ///
    /// # Panics
    /// If that is before it was begun.
    pub fn needs_log_until(&mut self, end: Sequence) {
        assert!(end >= self.at, "sequences only grow");
        self.until = end;
    }

    /// How many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.frames.as_ref().map_or(0, FrameWriter::offset)
    }

    /// Makes what was written last, so that less is left to do at the end.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the snapshot is lost.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        let name = self.name();
        let synced = self.frames().get_mut().0.sync();
        if synced.is_err() {
            // A later sync could succeed, though the system has dropped what this one was to write.
            self.frames = None;
        }
        synced.map_err(StorageError::io("sync", name))
    }

    /// Ends the snapshot. From then on it is the newest.
    ///
    /// # Errors
    /// [`StorageError::Io`]: there is no such snapshot, or it is not sure yet to be there after a crash; it is
    /// good if it is.
    pub fn finish(mut self) -> Result<SnapshotInfo, StorageError> {
        let write = StorageError::io("write", self.name());
        let mut last = vec![LAST];
        last.extend(self.until.to_le_bytes());
        let Some(mut frames) = self.frames.take() else {
            let failed = io::Error::other("an earlier sync of it failed");
            return Err(write(failed));
        };
        let end = frames.block(&last).and_then(|()| {
            // The footer is a length, a checksum and the count.
            let bytes = frames.offset() + 16;
            frames.finish(self.records).map(|file| (bytes, file))
        });
        let (bytes, mut file) = end.map_err(write)?;
        file.0
            .sync()
            .map_err(StorageError::io("sync", self.name()))?;
        let name = FileKind::Snapshot.name(self.at);
        self.disk
            .rename(&self.name(), &name)
            .and_then(|()| self.disk.sync_names())
            .map_err(StorageError::io("name", &name))?;
        Ok(SnapshotInfo {
            name,
            at: self.at,
            until: self.until,
            time_ms: self.time_ms,
            records: self.records,
            bytes,
        })
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // After `finish` there is no such file. If removing fails, the next start does it.
        let _ = self.disk.remove(&self.name());
    }
}

/// What is known of a finished snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The file's name.
    pub name: String,
    /// The sequence at which it was begun.
    pub at: Sequence,
    /// Up to which record of the log it needs.
    pub until: Sequence,
    /// When it was begun, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many records it has.
    pub records: u64,
    /// The file's length.
    pub bytes: u64,
}

/// Reads a snapshot. What it gives out is as it was written; that the snapshot is whole is known at the end.
pub struct SnapshotReader {
    frames: FrameReader<Box<dyn Read + Send>>,
    file: String,
    time_ms: u64,
    until: Option<Sequence>,
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("file", &self.file)
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

/// What comes next in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    /// A block of whole records.
    Records(Vec<u8>),
    /// It ends here, and was whole.
    End {
        /// Up to which record of the log it needs.
        until: Sequence,
        /// How many records it says that it has.
        records: u64,
    },
}

impl SnapshotReader {
    /// Opens the snapshot of `at`.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::NewerVersion`], and [`StorageError::Damaged`] if its beginning is.
    pub fn open(disk: &dyn Disk, at: Sequence) -> Result<Self, StorageError> {
        let file = FileKind::Snapshot.name(at);
        let input = disk.read(&file).map_err(StorageError::io("read", &*file))?;
        let (magic, version) = (FileKind::Snapshot.magic(), FileKind::Snapshot.version());
        let mut frames = FrameReader::new(input, magic, version, MAX_BLOCK_BYTES)
            .map_err(|error| explain(&file, error))?;
        let start = frames.offset();
        let mut first = Vec::new();
        let block = frames
            .next_block(&mut first)
            .map_err(|error| explain(&file, error))?;
        let halves = first.split_first_chunk().and_then(|(begun, time)| {
            let time: [u8; 8] = time.try_into().ok()?;
            Some((u64::from_le_bytes(*begun), u64::from_le_bytes(time)))
        });
        let damaged = |what| StorageError::damaged(&*file, start, what);
        let time_ms = match (block, halves) {
            (Block::Payload, Some((begun, time_ms))) if begun == at => time_ms,
            (Block::Payload, Some(_)) => {
                return Err(damaged("it was begun at another record than its name says"));
            }
            _ => return Err(damaged("it does not say where it was begun")),
        };
        Ok(Self {
            frames,
            file,
            time_ms,
            until: None,
        })
    }

    /// When it was begun, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Up to where it was read, in bytes.
    pub fn offset(&self) -> u64 {
        self.frames.offset()
    }

    /// Reads on.
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::Damaged`].
    pub fn read(&mut self) -> Result<SnapshotPart, StorageError> {
        loop {
            let start = self.offset();
            let damaged = |what| StorageError::damaged(&*self.file, start, what);
            let mut body = Vec::new();
            let block = self
                .frames
                .next_block(&mut body)
                .map_err(|error| explain(&self.file, error))?;
            match (block, self.until) {
                (Block::End { count }, Some(until)) => {
                    return Ok(SnapshotPart::End {
                        until,
                        records: count,
                    });
                }
                (Block::End { .. }, None) => return Err(damaged("it does not say where it ended")),
                (Block::Payload, Some(_)) => return Err(damaged("a block follows its last")),
                (Block::Payload, None) if body[0] == LAST => {
                    let end = body[1..].try_into().map_err(|_| {
                        damaged("its last block is longer or shorter than a last block")
                    })?;
                    self.until = Some(u64::from_le_bytes(end));
                }
                (Block::Payload, None) => return Ok(SnapshotPart::Records(body)),
            }
        }
    }
}

fn explain(file: &str, error: FrameError) -> StorageError {
    match error {
        FrameError::Io(error) => StorageError::io("read", file)(error),
        FrameError::WrongMagic => {
            StorageError::damaged(file, 0, "it does not begin as a file of its name does")
        }
        FrameError::UnsupportedVersion { found, max } if found > max => {
            StorageError::NewerVersion {
                file: file.into(),
                found,
                max,
            }
        }
        FrameError::UnsupportedVersion { .. } => {
            StorageError::damaged(file, 0, "its version was never in use")
        }
        FrameError::Corrupt { offset, what } => StorageError::damaged(file, offset, what),
        FrameError::Truncated { offset } => {
            StorageError::damaged(file, offset, "it breaks off here")
        }
    }
}
