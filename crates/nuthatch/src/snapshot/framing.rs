//! A stream of blocks that is read back as written or refused: what every snapshot is written in,
//! whatever its blocks mean.
//!
//! ```text
//! header  | magic 8 | version 4 | checksum 4 |
//! block   | length 4 | checksum 4 | length bytes, at least one |      any number of times
//! footer  | 0 in 4 bytes | checksum 4 | count 8 |                     and nothing after it
//! ```
//!
//! All numbers are little-endian. A checksum is CRC-32C over *everything up to the end of the part
//! it stands in*, except the checksums themselves: so a flipped bit, a block lost, doubled or moved,
//! and an end cut off at any byte are all seen, at the latest by the part that follows. What the
//! footer counts is the writer's matter; a reader that counts too has one more proof.
//!
//! Invariant of the reader: a length is not believed before that many bytes have arrived. What a
//! damaged stream makes it allocate is bounded by twice the stream's own size and a mebibyte.

use std::io::{self, Read, Write};

/// The longest block that a stream can have.
pub const MAX_BLOCK_BYTES: u32 = u32::MAX;

/// As much as a reader makes room for before any of it has arrived: a block of the usual size is
/// read into one allocation.
const FIRST_STEP_BYTES: u64 = 1 << 20;

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The reader failed.
    #[error("input failed")]
    Io(#[from] io::Error),
    /// The stream does not begin with the magic asked for.
    #[error("the stream does not begin with the expected magic")]
    WrongMagic,
    /// The stream has a version that is not known here.
    #[error("the stream has format version {found}, and the newest known is {max}")]
    UnsupportedVersion {
        /// The stream's version.
        found: u32,
        /// The newest that can be read.
        max: u32,
    },
    /// The bytes are not those that were written.
    #[error("the stream is damaged at byte {offset}: {what}")]
    Corrupt {
        /// Where the damaged part begins.
        offset: u64,
        /// What does not hold there.
        what: &'static str,
    },
    /// The bytes end before the stream does.
    #[error("the stream breaks off after {offset} bytes")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
}

/// Writes a stream, block by block. Without [`finish`](Self::finish) it is a truncated one.
///
/// ```
/// use nuthatch::snapshot::framing::{Block, FrameReader, FrameWriter, MAX_BLOCK_BYTES};
/// let mut writer = FrameWriter::new(Vec::new(), *b"examples", 1)?;
/// writer.block(b"one block")?;
/// let bytes = writer.finish(1)?;
///
/// let mut reader = FrameReader::new(&bytes[..], *b"examples", 1, MAX_BLOCK_BYTES)?;
/// let mut body = Vec::new();
/// assert_eq!(reader.next_block(&mut body)?, Block::Payload);
/// assert_eq!(body, b"one block");
/// assert_eq!(reader.next_block(&mut body)?, Block::End { count: 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a stream that is not finished is truncated"]
pub struct FrameWriter<W: Write> {
    writer: W,
    offset: u64,
    /// Of all bytes before the offset, except the checksums themselves.
    checksum: u32,
    /// A write failed, so what reached the writer is unknown and nothing may follow it.
    failed: bool,
}

impl<W: Write> FrameWriter<W> {
    /// Begins a stream by its header. The writer gets two writes per block, 8 bytes and the payload,
    /// so large blocks need no buffer.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(mut writer: W, magic: [u8; 8], version: u32) -> io::Result<Self> {
        let mut header = [0; 16];
        header[..8].copy_from_slice(&magic);
        header[8..12].copy_from_slice(&version.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&checksum.to_le_bytes());
        writer.write_all(&header)?;
        Ok(Self {
            writer,
            offset: header.len() as u64,
            checksum,
            failed: false,
        })
    }

    /// Writes a block.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a payload that is empty or longer than
    /// [`MAX_BLOCK_BYTES`]: then nothing was written and others may follow. After an error of the
    /// writer the stream is lost, and all that follows fails.
    pub fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        match u32::try_from(payload.len()) {
            Ok(len @ 1..) => self.write_part(len, payload),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a block has 1 to {MAX_BLOCK_BYTES} bytes, and this one {}",
                    payload.len()
                ),
            )),
        }
    }

    /// Ends the stream with a count of the caller's choice, such as that of the records in all
    /// blocks, and flushes the writer.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self, count: u64) -> io::Result<W> {
        self.write_part(0, &count.to_le_bytes())?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    /// How many bytes have been written.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The writer.
    pub fn get_ref(&self) -> &W {
        &self.writer
    }

    /// The writer, to sync it for example. What is written to it directly breaks the stream.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    fn write_part(&mut self, len: u32, body: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this stream failed"));
        }
        let len = len.to_le_bytes();
        self.checksum = checksum_of_part(self.checksum, len, body);
        let mut head = [0; 8];
        head[..4].copy_from_slice(&len);
        head[4..].copy_from_slice(&self.checksum.to_le_bytes());
        // Set while writing: it stays so if the writer fails or panics.
        self.failed = true;
        self.writer.write_all(&head)?;
        self.writer.write_all(body)?;
        self.failed = false;
        self.offset += (head.len() + body.len()) as u64;
        Ok(())
    }
}

fn checksum_of_part(before: u32, len: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(before, &len), body)
}

/// What [`FrameReader::next_block`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// A block, whose payload is in the caller's buffer.
    Payload,
    /// The end of the stream, and of the reader's bytes.
    End {
        /// The count given to [`FrameWriter::finish`].
        count: u64,
    },
}

/// Reads a stream, block by block.
///
/// Each block that it returns is as it was written, and so are all before it; whether the stream is
/// whole is known only at [`Block::End`]. It asks its reader for 8 bytes per block and then for the
/// payload in few large reads.
#[derive(Debug)]
pub struct FrameReader<R: Read> {
    reader: R,
    max_block_bytes: u32,
    version: u32,
    offset: u64,
    /// Of all bytes before the offset, except the checksums themselves.
    checksum: u32,
    /// The end was read, or something failed: what the reader would give next is no part.
    over: bool,
}

impl<R: Read> FrameReader<R> {
    /// Begins to read a stream: reads its header and checks it. A block longer than
    /// `max_block_bytes` will count as damage: with the longest that the writer makes, a damaged
    /// length is noticed before more than that was read.
    ///
    /// # Errors
    /// [`FrameError::WrongMagic`] if the stream begins with other bytes than `magic`,
    /// [`FrameError::UnsupportedVersion`] unless its version is one of 1 to `newest_version`, and the
    /// others of [`FrameError`].
    pub fn new(
        reader: R,
        magic: [u8; 8],
        newest_version: u32,
        max_block_bytes: u32,
    ) -> Result<Self, FrameError> {
        let mut this = Self {
            reader,
            max_block_bytes,
            version: 0,
            offset: 0,
            checksum: 0,
            over: false,
        };
        let mut begin = [0; 8];
        let complete = this.read_array(&mut begin);
        let begin = &begin[..usize::try_from(this.offset).expect("at most 8 bytes")];
        if !magic.starts_with(begin) {
            return Err(FrameError::WrongMagic);
        }
        complete?;
        let mut rest = [0; 8];
        this.read_array(&mut rest)?;
        let (version, checksum) = halves(rest);
        this.checksum = crc32c::crc32c_append(crc32c::crc32c(&magic), &version);
        if this.checksum != u32::from_le_bytes(checksum) {
            return Err(corrupt(0, "the header's checksum differs"));
        }
        this.version = u32::from_le_bytes(version);
        if !(1..=newest_version).contains(&this.version) {
            return Err(FrameError::UnsupportedVersion {
                found: this.version,
                max: newest_version,
            });
        }
        Ok(this)
    }

    /// The version in the stream's header.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many bytes have been read: where the next part begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block and replaces `body` by its payload; at the end checks that nothing
    /// follows, and leaves `body` empty.
    ///
    /// # Errors
    /// [`FrameError::Corrupt`], [`FrameError::Truncated`] and [`FrameError::Io`]. Then, and after the
    /// end, nothing more can be read and every further call fails.
    pub fn next_block(&mut self, body: &mut Vec<u8>) -> Result<Block, FrameError> {
        body.clear();
        if self.over {
            return Err(io::Error::other("the stream ended or failed before").into());
        }
        // Set while reading: it stays so if anything fails.
        self.over = true;
        let start = self.offset;
        let mut head = [0; 8];
        self.read_array(&mut head)?;
        let (len, checksum) = halves(head);
        let checksum = u32::from_le_bytes(checksum);
        let body_len = u32::from_le_bytes(len);
        if body_len == 0 {
            return self.read_end(start, checksum);
        }
        if body_len > self.max_block_bytes {
            return Err(corrupt(
                start,
                "a block's length is beyond the longest block",
            ));
        }
        self.read_body(body_len.into(), body)?;
        self.check_part(start, len, body, checksum)?;
        self.over = false;
        Ok(Block::Payload)
    }

    fn read_end(&mut self, start: u64, checksum: u32) -> Result<Block, FrameError> {
        let mut count = [0; 8];
        self.read_array(&mut count)?;
        self.check_part(start, [0; 4], &count, checksum)?;
        let end = self.offset;
        match self.read_array(&mut [0]) {
            Err(FrameError::Truncated { .. }) => Ok(Block::End {
                count: u64::from_le_bytes(count),
            }),
            Ok(()) => Err(corrupt(end, "bytes follow the stream's end")),
            Err(error) => Err(error),
        }
    }

    fn check_part(
        &mut self,
        start: u64,
        len: [u8; 4],
        body: &[u8],
        checksum: u32,
    ) -> Result<(), FrameError> {
        self.checksum = checksum_of_part(self.checksum, len, body);
        if self.checksum != checksum {
            return Err(corrupt(start, "the checksum differs"));
        }
        Ok(())
    }

    /// Appends the next `len` bytes. Makes room for as much again as has arrived, so the copies and
    /// the reads are few, and `read_to_end` spares the bytes that a file fills from being zeroed.
    fn read_body(&mut self, len: u64, body: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut arrived = 0;
        while arrived < len {
            let step = (len - arrived).min(arrived.max(FIRST_STEP_BYTES));
            body.reserve_exact(usize::try_from(step).map_err(io::Error::other)?);
            let read = self.reader.by_ref().take(step).read_to_end(body)? as u64;
            self.offset += read;
            arrived += read;
            if read < step {
                return Err(self.truncated());
            }
        }
        Ok(())
    }

    /// Fills the array, and counts also those bytes that came before a failure.
    fn read_array<const N: usize>(&mut self, array: &mut [u8; N]) -> Result<(), FrameError> {
        let mut filled = 0;
        while filled < N {
            match self.reader.read(&mut array[filled..]) {
                Ok(0) => return Err(self.truncated()),
                Ok(read) => {
                    filled += read;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn truncated(&self) -> FrameError {
        FrameError::Truncated {
            offset: self.offset,
        }
    }
}

fn corrupt(offset: u64, what: &'static str) -> FrameError {
    FrameError::Corrupt { offset, what }
}

fn halves(bytes: [u8; 8]) -> ([u8; 4], [u8; 4]) {
    let [a, b, c, d, e, f, g, h] = bytes;
    ([a, b, c, d], [e, f, g, h])
}
