//! Blocks read back as written, each as soon as it is there; whatever is not exactly what was
//! written is refused, and what a damaged stream promises costs nothing.
#![cfg(feature = "snapshot")]
#![forbid(unsafe_code)]

use nuthatch::snapshot::framing::{Block, FrameError, FrameReader, FrameWriter, MAX_BLOCK_BYTES};
use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"\x89TEST\r\n\x1a";
const VERSION: u32 = 3;

fn stream(blocks: &[Vec<u8>], count: u64) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), MAGIC, VERSION).expect("a vector takes all");
    for block in blocks {
        writer.block(block).expect("a vector takes all");
        assert_eq!(writer.offset(), writer.get_ref().len() as u64);
    }
    writer.finish(count).expect("a vector takes all")
}

fn random_blocks(seed: u64, lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut random = |len| {
        let mut block = vec![0; len];
        rng.fill(&mut block);
        block
    };
    lengths.iter().map(|len| random(*len)).collect()
}

/// All blocks before the end or the error, and which of them it was.
fn read(bytes: impl Read) -> (Vec<Vec<u8>>, Result<u64, FrameError>) {
    let mut blocks = Vec::new();
    let mut reader = match FrameReader::new(bytes, MAGIC, VERSION, MAX_BLOCK_BYTES) {
        Ok(reader) => reader,
        Err(error) => return (blocks, Err(error)),
    };
    let mut body = Vec::new();
    loop {
        match reader.next_block(&mut body) {
            Ok(Block::Payload) => blocks.push(body.clone()),
            Ok(Block::End { count }) => return (blocks, Ok(count)),
            Err(error) => return (blocks, Err(error)),
        }
    }
}

fn refused(bytes: &[u8]) -> FrameError {
    read(bytes).1.expect_err("this must be refused")
}

#[test]
fn blocks_of_all_lengths_read_back_in_their_order_with_the_count() {
    let long = [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, 7];
    for lengths in [&[][..], &[1], &[8, 9, 64 << 10, 1], &long] {
        let blocks = random_blocks(1, lengths);
        let (read, count) = read(&stream(&blocks, u64::MAX)[..]);
        assert_eq!(count.unwrap(), u64::MAX);
        assert!(read == blocks, "blocks of {lengths:?} bytes");
    }
}

#[test]
fn parts_lie_where_the_format_says() {
    let bytes = stream(&[b"ab".to_vec()], 5);
    let mut expected = MAGIC.to_vec();
    expected.extend(VERSION.to_le_bytes());
    let mut covered = expected.clone();
    expected.extend(crc32c::crc32c(&covered).to_le_bytes());
    let parts = [(2_u32, &b"ab"[..]), (0, &[5, 0, 0, 0, 0, 0, 0, 0])];
    for (len, body) in parts {
        covered.extend(len.to_le_bytes());
        covered.extend(body);
        expected.extend(len.to_le_bytes());
        expected.extend(crc32c::crc32c(&covered).to_le_bytes());
        expected.extend(body);
    }
    assert_eq!(bytes, expected);
}

#[test]
fn every_flipped_bit_is_detected_and_never_returned() {
    let blocks = random_blocks(2, &[3, 40, 1]);
    let whole = stream(&blocks, 3);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (read, end) = read(&bytes[..]);
        assert!(blocks.starts_with(&read), "bit {bit}");
        let error = end.expect_err("the stream is damaged");
        let expected = match error {
            FrameError::WrongMagic => bit < 64,
            FrameError::Corrupt { .. } | FrameError::Truncated { .. } => bit >= 64,
            _ => false,
        };
        assert!(expected, "bit {bit}: {error:?}");
    }
}

#[test]
fn every_cut_is_detected_after_the_blocks_before_it() {
    let lengths = [3, 40, 1];
    let blocks = random_blocks(3, &lengths);
    let whole = stream(&blocks, 3);
    for len in 0..whole.len() {
        let (read, end) = read(&whole[..len]);
        let error = end.expect_err("the stream is cut");
        let named = matches!(error, FrameError::Truncated { offset } if offset == len as u64);
        assert!(named, "{len} bytes: {error:?}");
        let mut ends = lengths.iter().scan(16, |end, len| {
            *end += 8 + len;
            Some(*end)
        });
        let complete = ends.by_ref().take_while(|end| *end <= len).count();
        assert_eq!(read, blocks[..complete], "{len} bytes");
    }
}

#[test]
fn bytes_after_the_end_are_detected() {
    let whole = stream(&random_blocks(4, &[9]), 1);
    let end = whole.len() as u64;
    let error = refused(&[&whole[..], &[0]].concat());
    let seen = matches!(error, FrameError::Corrupt { offset, .. } if offset == end);
    assert!(seen, "{error:?}");
}

#[test]
fn block_of_another_stream_is_detected() {
    let ours = stream(&random_blocks(5, &[10, 20, 30]), 3);
    let theirs = stream(&random_blocks(6, &[10, 20, 30]), 3);
    let second = 16 + 18..16 + 18 + 28;
    let mixed = [
        &ours[..second.start],
        &theirs[second.clone()],
        &ours[second.end..],
    ]
    .concat();
    let error = refused(&mixed);
    let at = second.start as u64;
    assert!(
        matches!(error, FrameError::Corrupt { offset, .. } if offset == at),
        "{error:?}"
    );
}

#[test]
fn only_versions_from_1_to_the_newest_known_are_read() {
    let of_version = |version| {
        let writer = FrameWriter::new(Vec::new(), MAGIC, version).unwrap();
        writer.finish(0).unwrap()
    };
    for version in 1..=VERSION {
        let bytes = of_version(version);
        let reader = FrameReader::new(&bytes[..], MAGIC, VERSION, MAX_BLOCK_BYTES).unwrap();
        assert_eq!((reader.version(), reader.offset()), (version, 16));
    }
    for version in [0, VERSION + 1, u32::MAX] {
        let error = refused(&of_version(version));
        let named = matches!(
            error,
            FrameError::UnsupportedVersion { found, max } if found == version && max == VERSION
        );
        assert!(named, "{error:?}");
    }
}

#[test]
fn empty_block_is_not_written_and_harms_nothing() {
    let mut writer = FrameWriter::new(Vec::new(), MAGIC, VERSION).unwrap();
    writer.block(b"first").unwrap();
    let error = writer.block(b"").expect_err("it would be the end");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    writer.block(b"second").unwrap();
    let (blocks, count) = read(&writer.finish(2).unwrap()[..]);
    assert_eq!(
        (blocks, count.unwrap()),
        (vec![b"first".to_vec(), b"second".to_vec()], 2)
    );
}

#[test]
fn block_beyond_the_readers_bound_is_damage_and_is_not_read() {
    let bytes = stream(&random_blocks(7, &[100, 101]), 2);
    let mut reader = FrameReader::new(&bytes[..], MAGIC, VERSION, 100).unwrap();
    let mut body = Vec::new();
    assert_eq!(reader.next_block(&mut body).unwrap(), Block::Payload);
    let error = reader.next_block(&mut body).expect_err("a byte too many");
    assert!(
        matches!(error, FrameError::Corrupt { offset: 124, .. }),
        "{error:?}"
    );
    assert_eq!((reader.offset(), body.len()), (132, 0));
}

#[test]
fn memory_grows_with_what_arrives() {
    let mut bytes = FrameWriter::new(Vec::new(), MAGIC, VERSION)
        .unwrap()
        .get_ref()
        .clone();
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 4]);
    for arriving in [0_usize, 100, 3 << 20] {
        bytes.resize(24 + arriving, 0);
        let mut reader = FrameReader::new(&bytes[..], MAGIC, VERSION, MAX_BLOCK_BYTES).unwrap();
        let mut body = Vec::new();
        reader
            .next_block(&mut body)
            .expect_err("the block is not there");
        assert!(
            body.capacity() <= 2 * arriving + (1 << 20),
            "{} bytes for {arriving}",
            body.capacity()
        );
    }
}

#[test]
fn block_read_into_a_used_buffer_takes_no_room_beyond_its_own() {
    let blocks = random_blocks(8, &[3 << 20, 256 << 10, 5]);
    let bytes = stream(&blocks, 3);
    let mut reader = FrameReader::new(&bytes[..], MAGIC, VERSION, MAX_BLOCK_BYTES).unwrap();
    let mut body = b"left over".to_vec();
    for block in &blocks {
        reader.next_block(&mut body).unwrap();
        assert!(body == *block, "a block of {} bytes", block.len());
        assert_eq!(body.capacity(), 3 << 20);
    }
}

/// A disk that takes so many bytes.
#[derive(Debug)]
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = bytes.len().min(self.0);
        self.0 -= len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failed_write_ends_the_stream_even_if_there_is_room_again() {
    assert!(FrameWriter::new(SmallDisk(15), MAGIC, VERSION).is_err());
    let mut writer = FrameWriter::new(SmallDisk(20), MAGIC, VERSION).unwrap();
    let error = writer.block(b"block").expect_err("the disk is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    writer.get_mut().0 = 1_000;
    assert!(writer.block(b"block").is_err());
    assert!(writer.finish(1).is_err());
}

/// Gives single bytes, interrupted, and fails once after so many.
struct Faulty<'a> {
    bytes: &'a [u8],
    until_failure: usize,
    interrupt: bool,
}

impl Read for Faulty<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.until_failure == 0 {
            self.until_failure = usize::MAX;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.until_failure -= 1;
        let len = buffer.len().min(1);
        self.bytes.read(&mut buffer[..len])
    }
}

#[test]
fn failed_read_ends_the_stream_even_if_the_reader_recovers() {
    let blocks = random_blocks(9, &[3, 40]);
    let whole = stream(&blocks, 2);
    let mut body = Vec::new();
    for until_failure in 0..whole.len() {
        let faulty = Faulty {
            bytes: &whole,
            until_failure,
            interrupt: false,
        };
        let Ok(mut reader) = FrameReader::new(faulty, MAGIC, VERSION, MAX_BLOCK_BYTES) else {
            assert!(until_failure < 16, "the header was there");
            continue;
        };
        let error = loop {
            match reader.next_block(&mut body) {
                Ok(Block::Payload) => {}
                Ok(Block::End { .. }) => panic!("the reader failed after {until_failure} bytes"),
                Err(error) => break error,
            }
        };
        let reset = io::ErrorKind::ConnectionReset;
        assert!(
            matches!(&error, FrameError::Io(error) if error.kind() == reset),
            "{error:?}"
        );
        assert!(reader.next_block(&mut body).is_err());
    }
    let patient = Faulty {
        bytes: &whole,
        until_failure: usize::MAX,
        interrupt: false,
    };
    let (read, count) = read(patient);
    assert_eq!((read, count.unwrap()), (blocks, 2));
}

#[test]
fn nothing_is_read_after_the_end() {
    let bytes = stream(&[], 0);
    let mut reader = FrameReader::new(&bytes[..], MAGIC, VERSION, MAX_BLOCK_BYTES).unwrap();
    let mut body = vec![1];
    assert_eq!(
        reader.next_block(&mut body).unwrap(),
        Block::End { count: 0 }
    );
    assert!(body.is_empty());
    assert!(matches!(
        reader.next_block(&mut body),
        Err(FrameError::Io(_))
    ));
}
