//! Any bytes are either a snapshot, and then reading back what is written from its records gives the
//! same records, or a typed error.
//!
//! Checksums would stop nearly every mutation at the door, so a second try seals the same bytes as
//! the body of one block, and what is behind the checksums gets its share of bad input too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch::snapshot::{Record, SnapshotError, SnapshotWriter, read_snapshot};

type Records = Vec<Record<String, (u64, Vec<u8>)>>;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    for records in 0..3 {
        check(&sealed(bytes, records));
    }
});

fn check(bytes: &[u8]) {
    let read: Result<Records, SnapshotError> = read_snapshot(bytes);
    let Ok(records) = read else { return };
    let mut writer = SnapshotWriter::new(Vec::new()).expect("a vector takes all");
    for Record { key, value, state } in &records {
        writer
            .record(key, value, *state)
            .expect("a vector takes all");
    }
    let written = writer.finish().expect("a vector takes all");
    let again: Records = read_snapshot(&written[..]).expect("what was written reads back");
    assert_eq!(again, records);
}

/// A snapshot whose only block is `block`, under right checksums.
fn sealed(block: &[u8], records: u64) -> Vec<u8> {
    let mut bytes = SnapshotWriter::new(Vec::new())
        .and_then(SnapshotWriter::finish)
        .expect("a vector takes all");
    bytes.truncate(16);
    let mut checksum = crc32c::crc32c(&bytes[..12]);
    let footer = records.to_le_bytes();
    for (len, body) in [(block.len(), block), (0, &footer[..])] {
        let len = u32::try_from(len).expect("inputs are short").to_le_bytes();
        checksum = crc32c::crc32c_append(crc32c::crc32c_append(checksum, &len), body);
        bytes.extend_from_slice(&[&len[..], &checksum.to_le_bytes(), body].concat());
    }
    bytes
}
