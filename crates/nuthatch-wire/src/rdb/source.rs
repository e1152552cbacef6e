//! Numbers and strings of RDB, out of whatever can be read from.
//!
//! A length is believed only as far as bytes have arrived: memory grows with them, so that a damaged file
//! costs no more than a whole one of its size.

use super::file::FileError;
use super::{checksum, lzf};
use std::io::{BufRead, ErrorKind};

/// What memory is asked for at first for a string of any length.
const FIRST_BYTES: usize = 64 * 1024;

/// Encodings of strings.
const INTEGER_8: u8 = 0;
const INTEGER_16: u8 = 1;
const INTEGER_32: u8 = 2;
const LZF: u8 = 3;

/// What is left to be read, and where that is.
#[derive(Debug)]
pub(super) struct Source<R> {
    read: R,
    /// Of what was read; `None` where somebody else has seen to it.
    checksum: Option<u64>,
    offset: u64,
}

/// The number that a length stands for, or how the string behind it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<R: BufRead> Source<R> {
    /// Without a checksum.
    pub(super) fn new(read: R) -> Self {
        Self {
            read,
            checksum: None,
            offset: 0,
        }
    }

    /// With a checksum of all that is read.
    pub(super) fn with_checksum(read: R) -> Self {
        Self {
            checksum: Some(0),
            ..Self::new(read)
        }
    }

    /// The number of bytes that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The checksum of what was read.
    pub(super) fn checksum(&self) -> u64 {
        self.checksum.expect("made to have one")
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&mut self) -> Result<bool, FileError> {
        loop {
            match self.read.fill_buf() {
                Ok(buffer) => return Ok(buffer.is_empty()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(FileError::Read {
                        offset: self.offset,
                        error,
                    });
                }
            }
        }
    }

    /// Passes some of the next bytes to `look`, at least one and at most `max`, and returns how many.
    fn pass(&mut self, max: u64, look: impl FnOnce(&[u8])) -> Result<usize, FileError> {
        let offset = self.offset;
        if self.is_at_end()? {
            return Err(FileError::CutOff { offset });
        }
        let buffer = self.read.fill_buf();
        let buffer = buffer.map_err(|error| FileError::Read { offset, error })?;
        let length = usize::try_from(max).map_or(buffer.len(), |max| max.min(buffer.len()));
        let passed = &buffer[..length];
        look(passed);
        if let Some(sum) = &mut self.checksum {
            *sum = checksum::extend(*sum, passed);
        }
        self.read.consume(length);
        self.offset += length as u64;
        Ok(length)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut array = [0; N];
        let mut filled = 0;
        while filled < N {
            let free = &mut array[filled..];
            filled += self.pass(free.len() as u64, |part| {
                free[..part.len()].copy_from_slice(part);
            })?;
        }
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FileError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn skip(&mut self, mut length: u64) -> Result<(), FileError> {
        while length > 0 {
            length -= self.pass(length, |_| {})? as u64;
        }
        Ok(())
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, FileError> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut missing = length;
        while missing > 0 {
            if bytes.len() == bytes.capacity() {
                let more = bytes.len().max(FIRST_BYTES);
                bytes.reserve_exact(usize::try_from(missing).map_or(more, |all| all.min(more)));
            }
            let free = (bytes.capacity() - bytes.len()) as u64;
            missing -= self.pass(missing.min(free), |part| bytes.extend_from_slice(part))? as u64;
        }
        Ok(bytes)
    }

    fn length(&mut self) -> Result<Length, FileError> {
        let offset = self.offset;
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match (first >> 6, first) {
            (0, _) => Length::Plain(low),
            (1, _) => Length::Plain(low << 8 | u64::from(self.byte()?)),
            (3, _) => Length::Encoded(first & 0x3f),
            (_, 0x80) => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            (_, 0x81) => Length::Plain(u64::from_be_bytes(self.array()?)),
            _ => return Err(malformed(offset, "an unknown form of a length")),
        })
    }

    pub(super) fn number(&mut self) -> Result<u64, FileError> {
        let offset = self.offset;
        match self.length()? {
            Length::Plain(number) => Ok(number),
            Length::Encoded(_) => Err(malformed(offset, "a string where a number belongs")),
        }
    }

    pub(super) fn string(&mut self) -> Result<Vec<u8>, FileError> {
        let decimal = |number: i32| number.to_string().into_bytes();
        let offset = self.offset;
        Ok(match self.length()? {
            Length::Plain(length) => self.bytes(length)?,
            Length::Encoded(INTEGER_8) => decimal(i32::from(i8::from_le_bytes(self.array()?))),
            Length::Encoded(INTEGER_16) => decimal(i32::from(i16::from_le_bytes(self.array()?))),
            Length::Encoded(INTEGER_32) => decimal(i32::from_le_bytes(self.array()?)),
            Length::Encoded(LZF) => {
                let packed_bytes = self.number()?;
                let length = self.number()?;
                let packed = self.bytes(packed_bytes)?;
                usize::try_from(length)
                    .ok()
                    .and_then(|length| lzf::decompress(&packed, length))
                    .ok_or(malformed(offset, "a compressed string that is damaged"))?
            }
            Length::Encoded(_) => return Err(malformed(offset, UNKNOWN_ENCODING)),
        })
    }

    pub(super) fn skip_string(&mut self) -> Result<(), FileError> {
        let offset = self.offset;
        let length = match self.length()? {
            Length::Plain(length) => length,
            Length::Encoded(INTEGER_8) => 1,
            Length::Encoded(INTEGER_16) => 2,
            Length::Encoded(INTEGER_32) => 4,
            Length::Encoded(LZF) => {
                let packed_bytes = self.number()?;
                let _length = self.number()?;
                packed_bytes
            }
            Length::Encoded(_) => return Err(malformed(offset, UNKNOWN_ENCODING)),
        };
        self.skip(length)
    }
}

const UNKNOWN_ENCODING: &str = "an unknown encoding of a string";

pub(super) fn malformed(offset: u64, what: &'static str) -> FileError {
    FileError::Malformed { offset, what }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_BYTES, Source};
    use crate::rdb::file::FileError;
    use std::io::{self, BufReader, Read};

    #[test]
    fn a_string_is_the_same_however_its_bytes_arrive() {
        let string: Vec<u8> = (0..3 * FIRST_BYTES).map(|index| index as u8).collect();
        let length = u32::try_from(string.len()).unwrap();
        let bytes = [b"\x80", &length.to_be_bytes()[..], &string, b"rest"].concat();
        for buffer_bytes in [1, 7, 8_192, bytes.len()] {
            let mut source = Source::new(BufReader::with_capacity(buffer_bytes, &*bytes));
            let read = source.string().unwrap();
            assert_eq!(read, string);
            assert_eq!(read.capacity(), read.len());
            assert_eq!(source.offset(), bytes.len() as u64 - 4);
            let mut source = Source::new(BufReader::with_capacity(buffer_bytes, &*bytes));
            source.skip_string().unwrap();
            assert_eq!(source.array().unwrap(), *b"rest");
            assert!(source.is_at_end().unwrap());
        }
    }

    #[test]
    fn a_length_that_is_not_there_costs_no_memory() {
        let bytes = [&b"\x81"[..], &u64::MAX.to_be_bytes(), b"abc"].concat();
        let read = Source::new(&*bytes).string().map(drop);
        let skipped = Source::new(&*bytes).skip_string();
        for result in [read, skipped] {
            let error = result.unwrap_err();
            assert!(matches!(error, FileError::CutOff { offset: 12 }), "{error}");
        }
    }

    #[test]
    fn an_error_of_the_reader_says_where() {
        let mut source = Source::new(BufReader::new((&b"\x05ab"[..]).chain(Failing)));
        let error = source.string().unwrap_err();
        assert!(
            matches!(error, FileError::Read { offset: 3, .. }),
            "{error}"
        );
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
}
