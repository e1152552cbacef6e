//! Snapshots read back as written, and whatever is not exactly what was written is refused.
#![cfg(feature = "snapshot")]
#![forbid(unsafe_code)]

use nuthatch::snapshot::{
    EntryState, FORMAT_VERSION, Record, SnapshotError, SnapshotWriter, read_snapshot, write_file,
};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

/// Written by the first version of the format. It must stay readable for ever.
const FIXTURE_V1: &[u8] = include_bytes!("data/snapshot-v1.bin");

fn records_of_fixture() -> Vec<Record<String, (u64, Vec<u8>)>> {
    let state = |weight, time_to_live_ns, time_to_idle_ns, access| EntryState {
        weight,
        time_to_live_ns,
        time_to_idle_ns,
        access,
    };
    let record = |key: &str, number, bytes: &[u8], state| Record {
        key: key.to_owned(),
        value: (number, bytes.to_owned()),
        state,
    };
    vec![
        record("", 0, b"", state(0, None, None, 0)),
        record("nuthatch", 1, b"seed", state(1, Some(1), None, 3)),
        record(
            "Kleiber",
            300,
            &[0; 9],
            state(70_000, None, Some(u64::MAX), 255),
        ),
        record(
            "五十雀",
            u64::MAX,
            b"\xff",
            state(u32::MAX, Some(1_000_000_007), Some(0), 128),
        ),
    ]
}

fn write<K: Serialize, V: Serialize>(records: &[Record<K, V>]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::new()).expect("a vector takes all");
    for Record { key, value, state } in records {
        writer
            .record(key, value, *state)
            .expect("a vector takes all");
    }
    writer.finish().expect("a vector takes all")
}

fn refused<K, V>(bytes: &[u8]) -> SnapshotError
where
    K: DeserializeOwned + Debug,
    V: DeserializeOwned + Debug,
{
    read_snapshot::<K, V>(bytes).expect_err("this must be refused")
}

fn random_records(rng: &mut fastrand::Rng, count: usize) -> Vec<Record<Vec<u8>, String>> {
    let time_ns = |rng: &mut fastrand::Rng| rng.bool().then(|| rng.u64(..));
    (0..count)
        .map(|_| Record {
            key: (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
            value: (0..rng.usize(..300)).map(|_| rng.char(..)).collect(),
            state: EntryState {
                weight: rng.u32(..),
                time_to_live_ns: time_ns(rng),
                time_to_idle_ns: time_ns(rng),
                access: rng.u8(..),
            },
        })
        .collect()
}

#[test]
fn random_records_read_back_in_their_order() {
    let mut rng = fastrand::Rng::with_seed(1);
    for count in [0, 1, 2, 10, 100, 1_000] {
        let records = random_records(&mut rng, count);
        let bytes = write(&records);
        assert_eq!(
            read_snapshot::<Vec<u8>, String>(&bytes[..]).unwrap(),
            records
        );
    }
}

#[test]
fn record_longer_than_a_block_reads_back() {
    let state = EntryState::default();
    let records: Vec<_> = [10, 1_000_000, 0, 70_000]
        .map(|len| Record {
            key: len as u64,
            value: vec![7_u8; len],
            state,
        })
        .into();
    assert_eq!(
        read_snapshot::<u64, Vec<u8>>(&write(&records)[..]).unwrap(),
        records
    );
}

#[test]
fn reader_that_gives_single_bytes_and_interruptions_is_read_to_the_end() {
    struct Trickle<'a>(&'a [u8], bool);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    let records = records_of_fixture();
    let read: Vec<Record<String, (u64, Vec<u8>)>> =
        read_snapshot(Trickle(&write(&records), false)).unwrap();
    assert_eq!(read, records);
}

#[test]
fn snapshot_of_version_1_still_reads() {
    let records: Vec<Record<String, (u64, Vec<u8>)>> = read_snapshot(FIXTURE_V1).unwrap();
    assert_eq!(records, records_of_fixture());
}

#[test]
fn version_1_writes_the_bytes_of_its_fixture() {
    assert_eq!(
        FORMAT_VERSION, 1,
        "a new version needs a fixture of its own"
    );
    assert_eq!(write(&records_of_fixture()), FIXTURE_V1);
}

#[test]
fn every_flipped_bit_is_detected() {
    for bit in 0..FIXTURE_V1.len() * 8 {
        let mut bytes = FIXTURE_V1.to_owned();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = refused::<String, (u64, Vec<u8>)>(&bytes);
        let (in_magic, found) = (bit < 64, format!("bit {bit}: {error:?}"));
        match error {
            SnapshotError::NotASnapshot => assert!(in_magic, "{found}"),
            SnapshotError::Corrupt { .. } | SnapshotError::Truncated { .. } => {
                assert!(!in_magic, "{found}");
            }
            _ => panic!("{found}"),
        }
    }
}

#[test]
fn every_truncation_is_detected() {
    let records = random_records(&mut fastrand::Rng::with_seed(2), 600);
    let several_blocks = write(&records);
    assert!(
        several_blocks.len() > 3 << 16,
        "the snapshot has several blocks"
    );
    let everywhere = 0..FIXTURE_V1.len();
    for len in everywhere {
        let error = refused::<String, (u64, Vec<u8>)>(&FIXTURE_V1[..len]);
        let seen = matches!(error, SnapshotError::Truncated { offset } if offset == len as u64);
        assert!(seen, "{len} bytes: {error:?}");
    }
    for len in (0..several_blocks.len()).step_by(997) {
        let error = refused::<Vec<u8>, String>(&several_blocks[..len]);
        assert!(
            matches!(error, SnapshotError::Truncated { .. }),
            "{len} bytes: {error:?}"
        );
    }
}

#[test]
fn bytes_after_the_end_are_detected() {
    let end = FIXTURE_V1.len() as u64;
    for more in [&[0][..], FIXTURE_V1] {
        let error = refused::<String, (u64, Vec<u8>)>(&[FIXTURE_V1, more].concat());
        let seen = matches!(error, SnapshotError::Corrupt { offset, .. } if offset == end);
        assert!(seen, "{error:?}");
    }
}

#[test]
fn blocks_lost_doubled_or_swapped_are_detected() {
    let bytes = write(&random_records(&mut fastrand::Rng::with_seed(3), 600));
    let mut blocks = Vec::new();
    let mut rest = &bytes[16..bytes.len() - 16];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
        let (block, after) = rest.split_at(8 + len);
        blocks.push(block);
        rest = after;
    }
    let (header, footer) = (&bytes[..16], &bytes[bytes.len() - 16..]);
    let with = |blocks: Vec<&[u8]>| [&[header][..], &blocks, &[footer]].concat().concat();
    assert_eq!(with(blocks.clone()), bytes);
    let [first, second, others @ ..] = &blocks[..] else {
        panic!("the snapshot has several blocks")
    };
    let damaged = [
        [&[*second][..], others].concat(),
        [&[*first, *first, *second][..], others].concat(),
        [&[*second, *first][..], others].concat(),
        vec![],
    ];
    for blocks in damaged {
        let error = refused::<Vec<u8>, String>(&with(blocks));
        assert!(matches!(error, SnapshotError::Corrupt { .. }), "{error:?}");
    }
}

#[test]
fn foreign_file_is_not_a_snapshot() {
    let text_transfer: Vec<u8> = FIXTURE_V1
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect();
    let foreign: [&[u8]; 5] = [
        b"x",
        b"\x89PNG\r\n\x1a\n........",
        &[0; 100],
        b"{\"entries\": []}",
        &text_transfer,
    ];
    for bytes in foreign {
        let error = refused::<u64, u64>(bytes);
        assert!(matches!(error, SnapshotError::NotASnapshot), "{error:?}");
    }
}

#[test]
fn newer_version_is_named() {
    let error = refused::<u64, u64>(&header(FORMAT_VERSION + 1));
    let named = matches!(
        error,
        SnapshotError::UnsupportedVersion { found, max }
            if found == FORMAT_VERSION + 1 && max == FORMAT_VERSION
    );
    assert!(named, "{error:?}");
}

#[test]
fn snapshot_of_other_types_is_refused() {
    let state = EntryState::default();
    let numbers = write(&[Record {
        key: 1_u64,
        value: 2_u64,
        state,
    }]);
    assert!(matches!(
        refused::<String, String>(&numbers),
        SnapshotError::Codec { record: 0, .. }
    ));
    let texts = write(&[Record {
        key: "ab",
        value: "cd",
        state,
    }]);
    assert!(matches!(
        refused::<u8, u8>(&texts),
        SnapshotError::Codec { record: 0, .. }
    ));
}

#[test]
fn huge_length_does_not_make_the_reader_allocate() {
    struct Watched<'a>(&'a [u8], usize);
    impl Read for &mut Watched<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.max(buffer.len());
            self.0.read(buffer)
        }
    }
    for len in [1_u32 << 30, 1 << 20, u32::MAX] {
        let stream = [&header(FORMAT_VERSION)[..], &len.to_le_bytes(), &[0; 100]].concat();
        let mut watched = Watched(&stream, 0);
        read_snapshot::<u64, u64>(&mut watched).expect_err("the block is not there");
        assert!(
            watched.1 <= 64 << 10,
            "a buffer of {} bytes for 100",
            watched.1
        );
    }
}

#[test]
fn malformed_records_under_right_checksums_are_refused() {
    let whole: &[u8] = &[0, 0, 1, 0, 0, 0, 1, 2];
    let record = |len: u8, body: &[u8]| [&[len, 0, 0, 0], body].concat();
    assert_eq!(
        read_snapshot::<u8, u8>(&sealed(&record(8, whole), 1)[..])
            .unwrap()
            .len(),
        1
    );
    let malformed = [
        ("longer than its block", record(9, whole), 1),
        ("length cut off", vec![1, 0], 1),
        ("unknown flag", record(8, &[4, 0, 1, 0, 0, 0, 1, 2]), 1),
        ("weight cut off", record(4, &[0, 0, 1, 0]), 1),
        ("time cut off", record(9, &[1, 0, 1, 0, 0, 0, 1, 2, 3]), 1),
        ("wrong count", record(8, whole), 2),
    ];
    for (fault, block, records) in malformed {
        let error = refused::<u8, u8>(&sealed(&block, records));
        assert!(
            matches!(error, SnapshotError::Corrupt { .. }),
            "{fault}: {error:?}"
        );
    }
    for (fault, body) in [("no value", &whole[..7]), ("a byte too many", &[0; 9])] {
        let len = u8::try_from(body.len()).unwrap();
        let error = refused::<u8, u8>(&sealed(&record(len, body), 1));
        assert!(
            matches!(error, SnapshotError::Codec { record: 0, .. }),
            "{fault}: {error:?}"
        );
    }
}

/// A header with a right checksum.
fn header(version: u32) -> Vec<u8> {
    let mut bytes = FIXTURE_V1[..8].to_owned();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// A snapshot of one block with right checksums.
fn sealed(block: &[u8], records: u64) -> Vec<u8> {
    let mut bytes = header(FORMAT_VERSION);
    let mut checksum = crc32c::crc32c(&bytes[..12]);
    let footer = records.to_le_bytes();
    for (len, body) in [(block.len(), block), (0, &footer[..])] {
        let len = u32::try_from(len).unwrap().to_le_bytes();
        checksum = crc32c::crc32c_append(crc32c::crc32c_append(checksum, &len), body);
        bytes.extend_from_slice(&[&len[..], &checksum.to_le_bytes(), body].concat());
    }
    bytes
}

/// A value that serde cannot encode, at least not after its first byte.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(None).map(|_| ())?;
        Err(serde::ser::Error::custom("no"))
    }
}

#[test]
fn record_that_fails_to_encode_leaves_the_others() {
    let state = EntryState::default();
    let mut writer = SnapshotWriter::new(Vec::new()).unwrap();
    writer.record(&1_u8, &1_u8, state).unwrap();
    let error = writer.record(&2_u8, &Unwritable, state).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Codec { record: 1, .. }),
        "{error:?}"
    );
    writer.record(&3_u8, &3_u8, state).unwrap();
    let read = read_snapshot::<u8, u8>(&writer.finish().unwrap()[..]).unwrap();
    assert_eq!(
        read.iter().map(|record| record.key).collect::<Vec<_>>(),
        [1, 3]
    );
}

/// A disk with room for so many bytes.
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
fn full_disk_fails_the_snapshot_for_good() {
    assert!(matches!(
        SnapshotWriter::new(SmallDisk(15)).unwrap_err(),
        SnapshotError::Io(_)
    ));
    let mut writer = SnapshotWriter::new(SmallDisk(100_000)).unwrap();
    let value = vec![1_u8; 40_000];
    let mut record = |key| writer.record(&key, &value, EntryState::default());
    record(0_u8).unwrap();
    record(1).unwrap();
    record(2).unwrap();
    assert!(matches!(record(3).unwrap_err(), SnapshotError::Io(_)));
    assert!(matches!(writer.finish().unwrap_err(), SnapshotError::Io(_)));
}

fn save(path: &Path, key: u8) -> Result<(), SnapshotError> {
    write_file(path, |file| {
        let mut writer = SnapshotWriter::new(file)?;
        writer.record(&key, &(), EntryState::default())?;
        writer.finish()?;
        Ok(())
    })
}

fn saved_key(path: &Path) -> u8 {
    let records = read_snapshot::<u8, ()>(fs::File::open(path).unwrap()).unwrap();
    records[0].key
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn file_is_replaced_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.snapshot");
    for key in [1, 2] {
        save(&path, key).unwrap();
        assert_eq!(saved_key(&path), key);
        assert_eq!(names(directory.path()), ["cache.snapshot"]);
    }
}

#[test]
fn failed_save_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.snapshot");
    save(&path, 1).unwrap();
    let failed = write_file(&path, |file| -> Result<(), SnapshotError> {
        file.write_all(b"half")?;
        Err(io::Error::from(io::ErrorKind::StorageFull).into())
    });
    assert!(matches!(failed.unwrap_err(), SnapshotError::Io(_)));
    let panicked = std::panic::catch_unwind(|| {
        write_file(&path, |_| -> Result<(), SnapshotError> {
            panic!("in the middle of a save")
        })
    });
    assert!(panicked.is_err());
    assert_eq!(saved_key(&path), 1);
    assert_eq!(names(directory.path()), ["cache.snapshot"]);
}

#[test]
fn temporary_file_of_a_crashed_process_stops_no_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.snapshot");
    let leftover = |save| format!("cache.snapshot.{}-{save}.tmp", std::process::id());
    for save in 0..20 {
        fs::write(directory.path().join(leftover(save)), b"half").unwrap();
    }
    save(&path, 1).unwrap();
    assert_eq!(saved_key(&path), 1);
    assert_eq!(names(directory.path()).len(), 21);
}

#[test]
fn path_without_a_file_name_or_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for path in [
        Path::new("/"),
        Path::new(".."),
        &directory.path().join("missing/cache"),
    ] {
        assert!(
            matches!(save(path, 1).unwrap_err(), SnapshotError::Io(_)),
            "{path:?}"
        );
    }
}
