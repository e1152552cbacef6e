//! Any files in a data directory are either recovered, and then a server that takes up the log there and crashes
//! recovers the same again; or refused, and then recovered after a repair.
//!
//! Checksums would stop nearly every mutation at the door, so most files get right ones, and what is behind the
//! checksums gets its share of bad input.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nuthatch::snapshot::framing::FrameWriter;
use nuthatch_storage::check::{check, repair};
use nuthatch_storage::data_dir::{DataDir, Recovered, RecoverySink};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::simulated::SimulatedDisk;
use nuthatch_storage::{FileKind, StorageError};
use std::sync::Arc;

#[derive(Debug, Arbitrary)]
enum File {
    Segment {
        first: u8,
        bytes: Vec<u8>,
    },
    Snapshot {
        at: u8,
        blocks: Vec<Vec<u8>>,
        until: Option<u8>,
        count: u8,
    },
    Unsealed {
        is_segment: bool,
        sequence: u8,
        bytes: Vec<u8>,
    },
}

impl File {
    fn put(self, disk: &SimulatedDisk) {
        match self {
            Self::Segment { first, bytes } => {
                disk.put(&FileKind::Segment.name(first.into()), segment(first, bytes));
            }
            Self::Snapshot {
                at,
                blocks,
                until,
                count,
            } => {
                let begun = [u64::from(at).to_le_bytes(), [1; 8]].concat();
                let end = until.map(|until| {
                    let mut end = vec![0];
                    end.extend(u64::from(until).to_le_bytes());
                    end
                });
                let mut writer = FrameWriter::new(Vec::new(), *b"\x89NUTD\r\n\x1a", 1)
                    .expect("a vector takes all");
                for block in [begun].iter().chain(&blocks).chain(&end) {
                    if !block.is_empty() {
                        writer.block(block).expect("a vector takes all");
                    }
                }
                let bytes = writer.finish(count.into()).expect("a vector takes all");
                disk.put(&FileKind::Snapshot.name(at.into()), bytes);
            }
            Self::Unsealed {
                is_segment,
                sequence,
                bytes,
            } => {
                let kind = if is_segment {
                    FileKind::Segment
                } else {
                    FileKind::Snapshot
                };
                disk.put(&kind.name(sequence.into()), bytes);
            }
        }
    }
}

/// Puts a header and checksums where a segment has them, and mostly what lets its frames follow one another.
fn segment(first: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().max(48), 0);
    bytes[..12].copy_from_slice(b"\x89NUTL\r\n\x1a\x01\0\0\0");
    let version = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&version.to_le_bytes());
    bytes[24..32].copy_from_slice(&u64::from(first).to_le_bytes());
    bytes[44] &= 1;
    bytes[45..48].fill(0);
    let header = crc32c::crc32c_append(crc32c::crc32c(&bytes[..40]), &bytes[44..48]);
    bytes[40..44].copy_from_slice(&header.to_le_bytes());
    let salt: [u8; 8] = bytes[16..24].try_into().expect("8 bytes");
    let (mut at, mut next) = (48, u64::from(first));
    while bytes.len() >= at + 48 {
        let (offset, left) = (at as u64, bytes.len() - at - 48);
        let frame = &mut bytes[at..];
        frame[..4].copy_from_slice(b"\xf7NF\x9a");
        let length = usize::from(frame[12]).min(left);
        frame[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        frame[16] &= 3;
        frame[17..20].fill(0);
        frame[21..24].fill(0);
        if frame[24] < 0xf0 {
            frame[24..32].copy_from_slice(&next.to_le_bytes());
        }
        if frame[40] < 0xf0 {
            let synced = offset * u64::from(frame[40]) / 0xf0;
            frame[40..48].copy_from_slice(&synced.to_le_bytes());
        }
        next += u64::from(frame[20]);
        let payload = crc32c::crc32c(&frame[48..48 + length]);
        frame[8..12].copy_from_slice(&payload.to_le_bytes());
        let place = [salt, offset.to_le_bytes()].concat();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&place), &frame[8..48]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
        at += 48 + length;
    }
    bytes
}

/// What was recovered, as bytes.
#[derive(Debug, Default, PartialEq)]
struct Sink {
    snapshot: Vec<u8>,
    log: Vec<u8>,
}

impl RecoverySink for Sink {
    fn begin(&mut self, _total_bytes: u64) {}

    fn snapshot_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.snapshot.extend(records);
        Ok(())
    }

    fn log_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.log.extend(records);
        Ok(())
    }

    fn progress(&mut self, _bytes: u64) {}
}

fn recover(disk: &SimulatedDisk) -> Result<(DataDir, Recovered, Sink), StorageError> {
    let dir = DataDir::open(Arc::new(disk.clone()))?;
    let mut sink = Sink::default();
    let recovered = dir.recover(&mut sink)?;
    Ok((dir, recovered, sink))
}

fuzz_target!(|files: Vec<File>| {
    let mut disk = SimulatedDisk::new(fastrand::Rng::with_seed(0));
    files.into_iter().for_each(|file| file.put(&disk));
    let report = match check(&disk) {
        Ok(report) => report,
        Err(StorageError::NewerVersion { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    if report.recovery.is_err() {
        assert!(!report.repairs.is_empty(), "{report:?}");
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        repair(&shared, &report).expect("the disk has no faults");
        let after = check(&disk).expect("the disk has no faults");
        assert!(after.recovery.is_ok(), "{report:#?}\n{after:#?}");
    }
    let (dir, recovered, first) = recover(&disk).expect("the check has recovered it");
    dir.begin_log(&recovered, 1, 2)
        .expect("the disk has no faults");
    disk = disk.crash();
    let (_dir, again, second) = recover(&disk).expect("it was recovered before");
    assert_eq!((again.next, again.cut), (recovered.next, None));
    assert_eq!(second, first);
});
