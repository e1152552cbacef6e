//! Snapshots: a cache's entries as a stream of bytes that is either read back whole or refused.
//!
//! A snapshot outlives the process, the version of this crate and sometimes the disk it was written
//! to, so it trusts none of them. Its bytes name their format's version, every block carries a
//! checksum over everything up to its own end, and the end is marked, with the number of records:
//! [`framing`] has the stream of blocks, this module what is in them. [`read_snapshot`] hands out
//! records only when it has seen the end. `docs/design/snapshot-format.md` draws the bytes.
//!
//! ```text
//! block   | one or more whole records |
//! record  | length 4 | flags 1 | access 1 | weight 4 | TTL 8? | TTI 8? | key, value in postcard |
//! ```
//!
//! Invariant of the reader: no length that was read is believed before that many bytes have
//! arrived, so what a hostile or damaged stream makes it allocate is bounded by the stream's own
//! size, up to what the types of keys and values add when they are decoded. The checksum (CRC-32C)
//! finds accidents, not forgeries: read snapshots only from where you would also read a program's
//! configuration.
//!
//! A record's times to live are what was left of them when it was written: the time between saving
//! and reading does not count, because the two processes share no clock that could be trusted.

pub mod framing;

use framing::{Block, FrameError, FrameReader, FrameWriter};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of the format that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The longest record, in bytes of its encoding.
pub const MAX_RECORD_BYTES: u64 = 1 << 30;

/// As in PNG, bytes that are not text, and line ends of both kinds: a transfer that treats the file
/// as text damages the very first bytes.
const MAGIC: [u8; 8] = *b"\x89NUTS\r\n\x1a";

/// A block is written when it has grown to this. Small enough to stay in a core's own cache, large
/// enough that the 8 bytes per block and the calls per block do not count.
const BLOCK_BYTES: usize = 64 << 10;

/// The longest block: one that was almost full when the longest record came.
const MAX_BLOCK_BYTES: u32 = BLOCK_BYTES as u32 + 4 + MAX_RECORD_BYTES as u32;

const HAS_TIME_TO_LIVE: u8 = 1;
const HAS_TIME_TO_IDLE: u8 = 2;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The reader, the writer or the file system failed.
    #[error("input or output failed")]
    Io(#[from] io::Error),
    /// The stream does not begin as a snapshot does.
    #[error("this is not a snapshot")]
    NotASnapshot,
    /// A newer version of this crate wrote the snapshot.
    #[error("the snapshot has format version {found}, and the newest known is {max}")]
    UnsupportedVersion {
        /// The snapshot's version.
        found: u32,
        /// The newest version that can be read: [`FORMAT_VERSION`].
        max: u32,
    },
    /// The bytes are not those that were written.
    #[error("the snapshot is damaged at byte {offset}: {what}")]
    Corrupt {
        /// Where the damaged part begins.
        offset: u64,
        /// What does not hold there.
        what: &'static str,
    },
    /// The stream ends before the snapshot does.
    #[error("the snapshot breaks off after {offset} bytes")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
    /// A record is too long to be written.
    #[error("a record takes {len} bytes, and the longest allowed is {max}")]
    TooLarge {
        /// The length of the record's encoding.
        len: u64,
        /// [`MAX_RECORD_BYTES`].
        max: u64,
    },
    /// A key or value could not be encoded, or the bytes do not decode as the asked types: then the
    /// snapshot is whole, but of a cache of other types.
    #[error("record {record} does not convert to or from its types")]
    Codec {
        /// The record's index in the snapshot.
        record: u64,
        /// What the codec says.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl From<FrameError> for SnapshotError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            FrameError::WrongMagic => Self::NotASnapshot,
            FrameError::UnsupportedVersion { found, max } => {
                Self::UnsupportedVersion { found, max }
            }
            FrameError::Corrupt { offset, what } => Self::Corrupt { offset, what },
            FrameError::Truncated { offset } => Self::Truncated { offset },
        }
    }
}

/// What a snapshot keeps of an entry beside its key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryState {
    /// The entry's weight.
    pub weight: u32,
    /// What is left of its time to live, if that is bounded.
    pub time_to_live_ns: Option<u64>,
    /// What is left of its time to idle, if that is bounded.
    pub time_to_idle_ns: Option<u64>,
    /// Its access byte, which means what the policy says.
    pub access: u8,
}

/// One entry of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The entry's key.
    pub key: K,
    /// The entry's value.
    pub value: V,
    /// Its weight, its remaining times and its access byte.
    pub state: EntryState,
}

/// Writes a snapshot, record by record.
///
/// The order of the records is part of what a snapshot tells: those that the policy would evict
/// first come first, so that a cache that inserts them in that order, and has room for fewer, keeps
/// the most valuable. A snapshot without [`finish`](Self::finish) is a truncated one.
///
/// ```
/// use nuthatch::snapshot::{EntryState, SnapshotWriter, read_snapshot};
/// let mut writer = SnapshotWriter::new(Vec::new())?;
/// writer.record(&"key", &7_u64, EntryState { weight: 1, ..EntryState::default() })?;
/// let bytes = writer.finish()?;
///
/// let records = read_snapshot::<String, u64>(&bytes[..])?;
/// assert_eq!((records[0].key.as_str(), records[0].value), ("key", 7));
/// # Ok::<(), nuthatch::snapshot::SnapshotError>(())
/// ```
#[derive(Debug)]
#[must_use = "a snapshot that is not finished is truncated"]
pub struct SnapshotWriter<W: Write> {
    frames: FrameWriter<W>,
    block: Vec<u8>,
    records: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a snapshot. The writer gets few and large writes, so it needs no buffer.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn new(writer: W) -> Result<Self, SnapshotError> {
        Ok(Self {
            frames: FrameWriter::new(writer, MAGIC, FORMAT_VERSION)?,
            block: Vec::with_capacity(BLOCK_BYTES),
            records: 0,
        })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`SnapshotError::Codec`] and [`SnapshotError::TooLarge`] leave the snapshot as it was, and
    /// more records may follow; after [`SnapshotError::Io`] it is lost, and all that follows fails.
    pub fn record<K, V>(
        &mut self,
        key: &K,
        value: &V,
        state: EntryState,
    ) -> Result<(), SnapshotError>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        let start = self.block.len();
        let encoded =
            encode(&mut self.block, key, value, state).map_err(|error| SnapshotError::Codec {
                record: self.records,
                source: error.into(),
            });
        if let Err(error) = encoded.and_then(|()| set_length(&mut self.block[start..])) {
            self.block.truncate(start);
            return Err(error);
        }
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.write_block()?;
        }
        Ok(())
    }

    /// Ends the snapshot and flushes the writer.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn finish(mut self) -> Result<W, SnapshotError> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        Ok(self.frames.finish(self.records)?)
    }

    fn write_block(&mut self) -> Result<(), SnapshotError> {
        self.frames.block(&self.block)?;
        self.block.clear();
        // One huge record must not keep its memory until the end.
        self.block.shrink_to(BLOCK_BYTES);
        Ok(())
    }
}

/// Appends a record whose length is still 0.
fn encode<K, V>(
    block: &mut Vec<u8>,
    key: &K,
    value: &V,
    state: EntryState,
) -> Result<(), postcard::Error>
where
    K: Serialize + ?Sized,
    V: Serialize + ?Sized,
{
    let flag = |time: Option<u64>, flag| if time.is_some() { flag } else { 0 };
    let flags = flag(state.time_to_live_ns, HAS_TIME_TO_LIVE)
        | flag(state.time_to_idle_ns, HAS_TIME_TO_IDLE);
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&[flags, state.access]);
    block.extend_from_slice(&state.weight.to_le_bytes());
    for time_ns in [state.time_to_live_ns, state.time_to_idle_ns]
        .into_iter()
        .flatten()
    {
        block.extend_from_slice(&time_ns.to_le_bytes());
    }
    postcard::to_io(key, &mut *block)?;
    postcard::to_io(value, &mut *block)?;
    Ok(())
}

fn set_length(record: &mut [u8]) -> Result<(), SnapshotError> {
    let (length, body) = record
        .split_first_chunk_mut()
        .expect("encode wrote a length");
    let len = body.len() as u64;
    if len > MAX_RECORD_BYTES {
        return Err(SnapshotError::TooLarge {
            len,
            max: MAX_RECORD_BYTES,
        });
    }
    *length = u32::try_from(len)
        .expect("MAX_RECORD_BYTES fits in 32 bits")
        .to_le_bytes();
    Ok(())
}

/// Reads a snapshot to its end, checks all of it and returns its records in their order.
///
/// # Errors
/// Any variant of [`SnapshotError`] but `TooLarge`. A reader that fails, a stream that is no
/// snapshot or goes on after one, and types that differ from those written are all refused.
pub fn read_snapshot<K, V>(reader: impl Read) -> Result<Vec<Record<K, V>>, SnapshotError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut frames = FrameReader::new(reader, MAGIC, FORMAT_VERSION, MAX_BLOCK_BYTES)?;
    let mut records = Vec::new();
    let mut block = Vec::new();
    loop {
        let start = frames.offset();
        match frames.next_block(&mut block)? {
            Block::Payload => {
                decode_block(&block, frames.offset() - block.len() as u64, &mut records)?;
            }
            Block::End { count } if count == records.len() as u64 => return Ok(records),
            Block::End { .. } => return Err(corrupt(start, "the number of records differs")),
        }
    }
}

/// Appends the records of a block whose payload begins at `start`.
fn decode_block<K, V>(
    block: &[u8],
    start: u64,
    records: &mut Vec<Record<K, V>>,
) -> Result<(), SnapshotError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut rest = block;
    while !rest.is_empty() {
        let offset = start + (block.len() - rest.len()) as u64;
        let (record, after) = rest
            .split_first_chunk()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize))
            .ok_or(corrupt(offset, "a record goes on beyond its block"))?;
        let (state, pair) =
            decode_state(record).ok_or(corrupt(offset, "a record's state is malformed"))?;
        let (key, value) = decode_pair(pair).map_err(|source| SnapshotError::Codec {
            record: records.len() as u64,
            source,
        })?;
        records.push(Record { key, value, state });
        rest = after;
    }
    Ok(())
}

fn corrupt(offset: u64, what: &'static str) -> SnapshotError {
    SnapshotError::Corrupt { offset, what }
}

/// The state at a record's beginning and the bytes after it; none if there is no such state.
fn decode_state(record: &[u8]) -> Option<(EntryState, &[u8])> {
    let (&[flags, access], rest) = record.split_first_chunk()?;
    if flags & !(HAS_TIME_TO_LIVE | HAS_TIME_TO_IDLE) != 0 {
        return None;
    }
    let (weight, mut rest) = rest.split_first_chunk()?;
    let mut time_ns = |flag| {
        if flags & flag == 0 {
            return Some(None);
        }
        let (time_ns, after) = rest.split_first_chunk()?;
        rest = after;
        Some(Some(u64::from_le_bytes(*time_ns)))
    };
    let time_to_live_ns = time_ns(HAS_TIME_TO_LIVE)?;
    let time_to_idle_ns = time_ns(HAS_TIME_TO_IDLE)?;
    let state = EntryState {
        weight: u32::from_le_bytes(*weight),
        time_to_live_ns,
        time_to_idle_ns,
        access,
    };
    Some((state, rest))
}

fn decode_pair<K, V>(bytes: &[u8]) -> Result<(K, V), Box<dyn Error + Send + Sync>>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let (key, rest) = postcard::take_from_bytes(bytes)?;
    let (value, rest) = postcard::take_from_bytes(rest)?;
    if !rest.is_empty() {
        return Err("bytes are left over after key and value".into());
    }
    Ok((key, value))
}

/// Writes a file that appears whole or not at all: at every moment, also after a crash, `path` holds
/// either what it held before or what `write` wrote.
///
/// `write` gets a temporary file in the directory of `path`, which is then flushed to the disk and
/// renamed, and the renaming flushed too. A crash in between can leave the temporary file behind,
/// named after `path` with `.tmp` at its end.
///
/// # Errors
/// [`SnapshotError::Io`], and whatever `write` returns; then `path` is untouched and the temporary
/// file removed.
pub fn write_file<T>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let path = path.as_ref();
    let (mut temporary, file) = TemporaryFile::beside(path)?;
    let mut file = BufWriter::new(file);
    let result = write(&mut file)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    sync_directory(path)?;
    Ok(result)
}

/// Removes its file when dropped before it was renamed, also by a panic.
struct TemporaryFile {
    path: PathBuf,
    renamed: bool,
}

impl TemporaryFile {
    /// Creates a file beside `path` that belongs to this save alone.
    fn beside(path: &Path) -> io::Result<(Self, File)> {
        static SAVES: AtomicU64 = AtomicU64::new(0);
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        loop {
            // Relaxed: only that each save gets a number of its own matters.
            let save = SAVES.fetch_add(1, Ordering::Relaxed);
            let mut name = name.to_owned();
            name.push(format!(".{}-{save}.tmp", process::id()));
            let path = path.with_file_name(name);
            match File::create_new(&path) {
                // A crashed process left it, and ours has the same number: in a container that
                // happens at every start. It may also be another container's, so it stays.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    let renamed = false;
                    return created.map(|file| (Self { path, renamed }, file));
                }
            }
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that brought us here is worth more than one of tidying up.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A rename reaches the disk with its directory. Only Unix can flush one.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
