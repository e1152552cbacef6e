//! The compact format that traces are kept in.
//!
//! A `.ctr.zst` file is one zstd frame, with the content's size and a checksum in its header, of
//! 20-byte little-endian records without a header of their own:
//!
//! | offset | type | field                                                           |
//! | -----: | ---- | --------------------------------------------------------------- |
//! |      0 | u32  | `time_s`: seconds since the first request, never decreasing      |
//! |      4 | u64  | `key`: 0, 1, 2, ... in order of first appearance                 |
//! |     12 | u32  | `size`: bytes of the object, at least 1                          |
//! |     16 | u32  | `ttl_s`: time to live asked for, 0 for none                      |
//!
//! Zstd's checksum is verified once, at the end of the frame: records come out of [`CtrReader`]
//! before it has been, and only the end of the iteration without an error vouches for them.

use super::{BUFFER_BYTES, Feed, Request, Sink, TraceError, ZSTD_MAGIC};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Bytes of one record.
const RECORD_BYTES: usize = 20;
/// The bit of the frame header's descriptor that announces a checksum (RFC 8878, 3.1.1.1.1).
const CHECKSUM_FLAG: u8 = 0b100;
/// The longest zstd frame header (RFC 8878, 3.1.1.1), with its magic number.
const FRAME_HEADER_BYTES: usize = 18;

impl Request {
    fn from_record(record: &[u8; RECORD_BYTES]) -> Self {
        let u32_at =
            |at: usize| u32::from_le_bytes(*record[at..].first_chunk().expect("in bounds"));
        Self {
            time_s: u32_at(0),
            key: u64::from_le_bytes(*record[4..].first_chunk().expect("in bounds")),
            size: u32_at(12),
            ttl_s: u32_at(16),
        }
    }

    fn to_record(self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&self.time_s.to_le_bytes());
        record[4..12].copy_from_slice(&self.key.to_le_bytes());
        record[12..16].copy_from_slice(&self.size.to_le_bytes());
        record[16..].copy_from_slice(&self.ttl_s.to_le_bytes());
        record
    }
}

/// The frame's header, which was looked at, and what follows it.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Iterates over the requests of a `.ctr.zst` trace, decompressing as it goes. After an error it
/// ends.
pub struct CtrReader<R: Read> {
    /// Buffered, as a call of the decoder costs more than a record.
    decoder: BufReader<zstd::Decoder<'static, BufReader<Whole<R>>>>,
    requests: u64,
    keys: u64,
    time_s: u32,
    done: bool,
}

impl<R: Read> CtrReader<R> {
    /// Reads the frame's header.
    pub fn new(mut input: R) -> Result<Self, TraceError> {
        const FORMAT: &str = ".ctr.zst";
        let foreign = |reason| TraceError::Foreign {
            format: FORMAT,
            reason,
        };
        let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
        input
            .by_ref()
            .take(FRAME_HEADER_BYTES as u64)
            .read_to_end(&mut header)?;
        if !header.starts_with(&ZSTD_MAGIC) {
            return Err(foreign("it does not begin with a zstd frame"));
        }
        let descriptor = *header.get(4).ok_or(TraceError::Truncated { requests: 0 })?;
        if descriptor & CHECKSUM_FLAG == 0 {
            return Err(foreign("its zstd frame has no checksum"));
        }
        let input = BufReader::new(io::Cursor::new(header).chain(input));
        Ok(Self {
            decoder: BufReader::with_capacity(
                BUFFER_BYTES,
                zstd::Decoder::with_buffer(input)?.single_frame(),
            ),
            requests: 0,
            keys: 0,
            time_s: 0,
            done: false,
        })
    }

    fn read_record(&mut self) -> Result<Option<Request>, TraceError> {
        if let Some(record) = self.decoder.buffer().first_chunk() {
            let request = Request::from_record(record);
            self.decoder.consume(RECORD_BYTES);
            return self.check(request).map(Some);
        }
        self.read_split_record()
    }

    /// The next record where it is not in the buffer as a whole.
    #[cold]
    fn read_split_record(&mut self) -> Result<Option<Request>, TraceError> {
        let requests = self.requests;
        let mut record = [0; RECORD_BYTES];
        let mut filled = 0;
        while filled < RECORD_BYTES {
            match self.decoder.read(&mut record[filled..]) {
                Ok(0) if filled == 0 => return self.check_end().map(|()| None),
                Ok(0) => {
                    return Err(TraceError::Malformed {
                        index: requests,
                        reason: "the frame ends within a 20-byte record",
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TraceError::reading(error, requests)),
            }
        }
        self.check(Request::from_record(&record)).map(Some)
    }

    fn check(&mut self, request: Request) -> Result<Request, TraceError> {
        let malformed = |reason| TraceError::Malformed {
            index: self.requests,
            reason,
        };
        if request.time_s < self.time_s {
            return Err(malformed(
                "its time is before that of the request before it",
            ));
        }
        if request.key > self.keys {
            return Err(malformed(
                "keys are not numbered in order of first appearance",
            ));
        }
        if request.size == 0 {
            return Err(malformed("its size is zero"));
        }
        self.keys = self.keys.max(request.key + 1);
        self.time_s = request.time_s;
        self.requests += 1;
        Ok(request)
    }

    fn check_end(&mut self) -> Result<(), TraceError> {
        let mut rest = [0];
        match self.decoder.get_mut().get_mut().read(&mut rest)? {
            0 => Ok(()),
            _ => Err(TraceError::Malformed {
                index: self.requests,
                reason: "bytes follow the end of the frame",
            }),
        }
    }
}

impl<R: Read> std::fmt::Debug for CtrReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CtrReader")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Iterator for CtrReader<R> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read_record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Reads a whole `.ctr.zst` trace.
pub fn read_ctr(input: impl Read) -> Result<Vec<Request>, TraceError> {
    CtrReader::new(input)?.collect()
}

pub(super) fn feed<S: Sink>(input: impl Read, feed: &mut Feed<'_, S>) -> Result<(), TraceError> {
    for request in CtrReader::new(input)? {
        let request = request?;
        let key = feed.sink.number(request.key);
        feed.take(Request { key, ..request });
    }
    Ok(())
}

/// Writes requests, whose keys must be dense and whose times must not decrease, as a `.ctr.zst`
/// trace.
pub fn write_ctr(output: impl Write, requests: &[Request]) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(output, 19)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some((requests.len() * RECORD_BYTES) as u64))?;
    for request in requests {
        encoder.write_all(&request.to_record())?;
    }
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        [0, 1, 0, 2, 1, 1, 3, 0]
            .iter()
            .zip(0..)
            .map(|(&key, time_s)| Request {
                key,
                time_s,
                size: 1 + key as u32,
                ttl_s: 0,
            })
            .collect()
    }

    fn written(requests: &[Request]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_ctr(&mut bytes, requests).unwrap();
        bytes
    }

    fn malformed(change: impl Fn(&mut Vec<Request>)) -> &'static str {
        let mut changed = requests();
        change(&mut changed);
        match read_ctr(written(&changed).as_slice()) {
            Err(TraceError::Malformed { reason, .. }) => reason,
            other => panic!("read as {other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(
            read_ctr(written(&requests()).as_slice()).unwrap(),
            requests()
        );
        assert_eq!(read_ctr(written(&[]).as_slice()).unwrap(), []);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = written(&requests());
        for len in 0..bytes.len() {
            let error = read_ctr(&bytes[..len]).unwrap_err();
            match error {
                TraceError::Foreign { .. } => assert!(len < 4, "{len} bytes hold the magic number"),
                TraceError::Truncated { .. } => assert!(len >= 4),
                other => panic!("{len} bytes: {other}"),
            }
        }
    }

    /// A few bits of a frame mean nothing (padding, one unused bit of the header's descriptor):
    /// flipping one of those may go unnoticed, as it changes nothing.
    #[test]
    fn a_flipped_bit_never_changes_what_is_read() {
        let bytes = written(&requests());
        let mut noticed = 0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match read_ctr(damaged.as_slice()) {
                Ok(read) => assert_eq!(read, requests(), "bit {bit} flipped unnoticed"),
                Err(_) => noticed += 1,
            }
        }
        assert!(
            noticed * 10 > bytes.len() * 8 * 9,
            "all but padding is noticed"
        );
    }

    #[test]
    fn a_foreign_file_is_told_apart() {
        let foreign = |bytes: &[u8]| matches!(read_ctr(bytes), Err(TraceError::Foreign { .. }));
        assert!(foreign(b""));
        assert!(foreign(b"key,size\n1,2\n"));
        assert!(foreign(&zstd::encode_all(&b"no checksum"[..], 1).unwrap()));
    }

    #[test]
    fn bytes_behind_the_frame_are_an_error() {
        let mut bytes = written(&requests());
        bytes.push(0);
        assert!(matches!(
            read_ctr(bytes.as_slice()),
            Err(TraceError::Malformed { .. })
        ));
    }

    #[test]
    fn a_frame_of_other_data_is_malformed() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&[0; 30]).unwrap();
        let bytes = encoder.finish().unwrap();
        assert!(matches!(
            read_ctr(bytes.as_slice()),
            Err(TraceError::Malformed { .. })
        ));
    }

    #[test]
    fn each_rule_of_the_format_is_checked() {
        assert!(malformed(|r| r[3].time_s = 1).contains("time"));
        assert!(malformed(|r| r[3].key = 3).contains("keys"));
        assert!(malformed(|r| r[3].size = 0).contains("size"));
    }

    #[test]
    fn the_reader_ends_after_an_error() {
        let bytes = written(&requests());
        let mut reader = CtrReader::new(&bytes[..bytes.len() - 1]).unwrap();
        while let Some(Ok(_)) = reader.next() {}
        assert!(reader.next().is_none());
    }
}
