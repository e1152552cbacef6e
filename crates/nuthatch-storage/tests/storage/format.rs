//! The format: a directory that this version has written is kept in `tests/fixtures`, as the next versions will
//! find it, and this version still writes the same bytes.

use fastrand::Rng;
use nuthatch_storage::StorageError;
use nuthatch_storage::check::{FileContent, FileReport, check};
use nuthatch_storage::data_dir::{DataDir, RecoverySink};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::real::Directory;
use nuthatch_storage::disk::simulated::SimulatedDisk;
use nuthatch_storage::record::{Field, RecordWriter, Stamp, count};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-1");

const DEADLINE_MS: u64 = 1_900_000_000_123;

fn records(write: impl FnOnce(&mut RecordWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut RecordWriter::new(&mut out));
    out
}

fn fields() -> impl Iterator<Item = Field<'static>> + Clone {
    let field = |name, value, deadline_ms| Field {
        name,
        value,
        deadline_ms,
    };
    [
        field(b"field" as &[u8], b"value" as &[u8], None),
        field(b"brief", b"", Some(DEADLINE_MS)),
    ]
    .into_iter()
}

fn strings() -> Vec<u8> {
    records(|out| {
        out.put(b"greeting", &[b"hello, ", b"world"], false, None);
        out.put(b"changed", &[b"\0\xff\r\n"], true, Some(DEADLINE_MS));
        out.put_stamped(b"plain", &[b"stamped"], Stamp::default(), None);
        let stamp = Stamp {
            cas: 0x0123_4567_89ab_cdef,
            flags: 5,
            is_stale: true,
            is_claimed: true,
            accessed_s: Some(1_800_000_000),
        };
        out.put_stamped(b"full", &[b""], stamp, Some(DEADLINE_MS));
    })
}

fn hashes() -> Vec<u8> {
    records(|out| {
        out.put_hash(b"hash", fields(), Some(DEADLINE_MS));
        out.hash_set(b"hash", fields());
        out.hash_expire(b"hash", &[b"field"], Some(DEADLINE_MS));
        out.hash_expire(b"hash", &[b"brief", b"field"], None);
    })
}

fn removals() -> Vec<u8> {
    records(|out| {
        out.hash_delete(b"hash", &[b"field", b"brief"]);
        out.expire(b"greeting", Some(DEADLINE_MS));
        out.expire(b"greeting", None);
        out.delete(b"greeting");
        out.clear();
    })
}

fn walked() -> Vec<u8> {
    records(|out| out.put(b"greeting", &[b"hello, world"], false, None))
}

/// Two segments and a snapshot, with every kind of record, frame and header.
fn write() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Rng::with_seed(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = DataDir::open(shared).unwrap();
    let recovered = dir.recover(&mut Everything::default()).unwrap();
    let mut log = dir
        .begin_log(&recovered, 1_800_000_000_000, 0x5a17_0000_0000_0001)
        .unwrap();
    log.write(&strings(), 4, 1_800_000_000_001, false).unwrap();
    log.rotate(1_800_000_000_002, 0x5a17_0000_0000_0002)
        .unwrap();
    let mut snapshot = dir.begin_snapshot(4, 1_800_000_000_003).unwrap();
    snapshot.records(&strings(), 4).unwrap();
    log.write(&hashes(), 4, 1_800_000_000_004, true).unwrap();
    log.write(&removals(), 5, 1_800_000_000_005, false).unwrap();
    log.sync().unwrap();
    snapshot.records(&walked(), 1).unwrap();
    snapshot.needs_log_until(13);
    snapshot.finish().unwrap();
    log.write(&walked(), 1, 1_800_000_000_006, false).unwrap();
    disk.kill()
}

/// Keeps all bytes.
#[derive(Debug, Default)]
struct Everything {
    snapshot: Vec<(u64, Vec<u8>)>,
    log: Vec<u8>,
}

impl RecoverySink for Everything {
    fn begin(&mut self, _total_bytes: u64) {}

    fn snapshot_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.snapshot.push((time_ms, records));
        Ok(())
    }

    fn log_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        count(&records)?;
        self.log.extend(records);
        Ok(())
    }

    fn progress(&mut self, _bytes: u64) {}
}

fn fixture() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(FIXTURE)
        .expect("the fixture is there")
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn same_bytes_are_written_as_ever() {
    let disk = write();
    let mut names = disk.names().unwrap();
    names.sort();
    let files = fixture();
    let fixed: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, fixed);
    for (name, bytes) in files {
        assert!(disk.bytes(&name).unwrap() == bytes, "{name} differs");
    }
}

#[test]
fn what_this_version_wrote_is_recovered() {
    let disk = SimulatedDisk::new(Rng::with_seed(0));
    for (name, bytes) in fixture() {
        disk.put(&name, bytes);
    }
    let dir = DataDir::open(Arc::new(disk)).unwrap();
    let mut everything = Everything::default();
    let recovered = dir.recover(&mut everything).unwrap();
    assert_eq!((recovered.snapshot, recovered.next), (Some(4), 14));
    assert_eq!(recovered.last_time_ms, 1_800_000_000_006);
    assert_eq!((recovered.snapshot_records, recovered.log_records), (5, 10));
    let begun_ms = 1_800_000_000_003;
    let snapshot = [(begun_ms, strings()), (begun_ms, walked())];
    assert_eq!(everything.snapshot, snapshot);
    assert_eq!(everything.log, [hashes(), removals(), walked()].concat());
}

#[test]
fn check_describes_what_this_version_wrote_and_writes_nothing() {
    let report = check(&Directory::open(Path::new(FIXTURE)).unwrap()).unwrap();
    assert_eq!(report.faults, []);
    let file = |name: &str, bytes, content| FileReport {
        name: name.to_owned(),
        bytes,
        content,
    };
    let segment = |records, groups, frames, times: Range<u64>, is_sealed| FileContent::Segment {
        version: 1,
        records,
        groups,
        frames,
        created_ms: times.start,
        last_time_ms: times.end,
        begins_anew: false,
        is_sealed,
    };
    let time_ms = 1_800_000_000_000;
    let snapshot = FileContent::Snapshot {
        version: 1,
        at: 4,
        until: Some(13),
        time_ms: time_ms + 3,
        records: 5,
    };
    let expected = [
        file(
            "log-00000000000000000000.nutl",
            245,
            segment(0..4, 1, 1, time_ms..time_ms + 1, true),
        ),
        file(
            "log-00000000000000000004.nutl",
            413,
            segment(4..14, 2, 3, time_ms + 2..time_ms + 6, false),
        ),
        file("snapshot-00000000000000000004.nuts", 213, snapshot),
    ];
    assert_eq!(report.files, expected);
    assert_eq!(fixture().len(), 3, "not even a lock");
}
