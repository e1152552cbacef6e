//! The writer's promises when the disk does not do as it is told, and what the sink is told of what was written.

use crate::model::{open, put, recover};
use fastrand::Rng;
use nuthatch_storage::StorageError;
use nuthatch_storage::check::check;
use nuthatch_storage::data_dir::{DataDir, RecoverySink};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::real::Directory;
use nuthatch_storage::disk::simulated::{Faults, SimulatedDisk};
use nuthatch_storage::log::LogWriter;
use std::sync::Arc;

fn begin() -> (SimulatedDisk, DataDir, LogWriter) {
    let disk = SimulatedDisk::new(Rng::with_seed(3));
    let (dir, recovered, _) = recover(&disk).unwrap();
    let log = dir.begin_log(&recovered, 1, 2).unwrap();
    (disk, dir, log)
}

/// The calls, each with its time and how many records it brought.
#[derive(Debug, Default)]
struct Calls(Vec<(u64, u64)>);

impl RecoverySink for Calls {
    fn begin(&mut self, _total_bytes: u64) {}

    fn snapshot_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.log_records(time_ms, records)
    }

    fn log_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        let count = nuthatch_storage::record::count(&records)?;
        self.0.push((time_ms, count));
        Ok(())
    }

    fn progress(&mut self, _bytes: u64) {}
}

#[test]
fn sink_gets_whole_groups_apart_by_time() {
    let (disk, dir, mut log) = begin();
    drop(dir);
    let record = put(b"key", b"value");
    let long = put(b"key", &[7; 100_000]);
    log.write(&record, 1, 5, false).unwrap();
    log.write(&record.repeat(2), 2, 5, false).unwrap();
    log.write(&record, 1, 6, true).unwrap();
    log.write(&long, 1, 7, true).unwrap();
    log.write(&record, 1, 8, false).unwrap();
    log.write(&long, 1, 8, false).unwrap();
    log.write(&long, 1, 8, false).unwrap();
    log.write(&record, 1, 8, true).unwrap();
    let dir = DataDir::open(Arc::new(disk)).unwrap();
    let mut calls = Calls::default();
    let recovered = dir.recover(&mut calls).unwrap();
    assert_eq!(calls.0, [(5, 3), (6, 3), (8, 1), (8, 1)]);
    assert_eq!((recovered.next, recovered.log_records), (8, 8));
    assert!(recovered.cut.is_some(), "the last group was not ended");
}

#[test]
fn failed_append_is_cut_off_and_tried_again() {
    for size in [10, 1000, 200_000] {
        let (disk, dir, mut log) = begin();
        let record = put(b"key", &vec![1; size]);
        log.write(&record, 1, 1, false).unwrap();
        let before = log.segment_bytes();
        disk.set_faults(Faults {
            capacity_bytes: Some(disk.used_bytes() + size as u64 / 2),
            ..Faults::default()
        });
        assert!(log.write(&record, 1, 1, false).is_err());
        assert!(log.write(&record, 1, 1, false).is_err());
        assert_eq!((log.next_sequence(), log.segment_bytes()), (1, before));
        assert!(!log.is_broken());
        disk.set_faults(Faults::default());
        let other = put(b"other", &vec![2; size]);
        log.write(&other, 1, 1, false).unwrap();
        log.sync().unwrap();
        assert_eq!(log.synced_sequence(), 2);
        drop(dir);
        let (_dir, recovered, values) = recover(&disk.crash()).unwrap();
        assert_eq!((recovered.next, recovered.cut), (2, None));
        assert_eq!(values.len(), 2);
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_written_there_and_the_log_goes_on_elsewhere() {
    let (disk, dir, mut log) = begin();
    let record = |number: u8| put(b"key", &[number]);
    log.write(&record(1), 1, 1, false).unwrap();
    log.sync().unwrap();
    log.write(&record(2), 1, 1, true).unwrap();
    disk.fail_after(0);
    assert!(log.sync().is_err());
    assert!(log.is_broken());
    for refused in [
        log.write(&record(3), 1, 1, false),
        log.sync(),
        log.rotate(1, 3),
    ] {
        assert!(matches!(refused, Err(StorageError::Broken { .. })));
    }
    // The first operation looks for what an earlier try has left.
    disk.fail_after(1);
    assert!(log.restart(1, 4).is_err());
    assert!(log.is_broken());
    log.restart(1, 4).unwrap();
    assert_eq!((log.next_sequence(), log.synced_sequence()), (1, 1));
    log.write(&[record(2), record(3)].concat(), 2, 1, false)
        .unwrap();
    log.sync().unwrap();
    drop(dir);
    let (_dir, recovered, values) = recover(&disk.crash()).unwrap();
    assert_eq!((recovered.next, recovered.cut), (3, None));
    assert_eq!(values[&b"key"[..]], [3]);
}

#[test]
fn synced_sequence_stays_before_a_group_that_goes_on() {
    let (_disk, _dir, mut log) = begin();
    log.write(&put(b"a", b""), 1, 1, false).unwrap();
    log.write(&put(b"b", b""), 1, 1, true).unwrap();
    log.sync().unwrap();
    assert_eq!((log.synced_sequence(), log.next_sequence()), (1, 2));
    log.write(&put(b"c", b""), 1, 1, false).unwrap();
    log.sync().unwrap();
    assert_eq!(log.synced_sequence(), 3);
}

#[test]
fn empty_segment_is_not_rotated() {
    let (disk, _dir, mut log) = begin();
    log.rotate(1, 3).unwrap();
    assert_eq!(disk.names().unwrap().len(), 1);
    log.write(&put(b"a", b""), 1, 1, false).unwrap();
    log.rotate(1, 3).unwrap();
    log.rotate(1, 4).unwrap();
    assert_eq!(disk.names().unwrap().len(), 2);
    assert_eq!(log.segment_bytes(), 48);
}

#[test]
fn log_that_begins_anew_counts_with_its_snapshot_and_not_before() {
    for is_finished in [false, true] {
        let (disk, dir, mut log) = begin();
        log.write(&put(b"a", b"1"), 1, 1, false).unwrap();
        log.sync().unwrap();
        drop((log, dir));
        let (dir, recovered, _) = recover(&disk).unwrap();
        dir.settle(&recovered).unwrap();
        // Five changes later, which no log has.
        let shared = Arc::clone(dir.disk());
        let mut log = LogWriter::create(Arc::clone(&shared), 6, 1, 9).unwrap();
        let mut snapshot = dir.begin_snapshot(6, 1).unwrap();
        snapshot.records(&put(b"b", b"2"), 1).unwrap();
        log.write(&put(b"c", b"3"), 1, 1, false).unwrap();
        log.sync().unwrap();
        assert!(
            LogWriter::create(shared, 6, 1, 9).is_err(),
            "it has records"
        );
        snapshot.needs_log_until(7);
        if is_finished {
            snapshot.finish().unwrap();
        } else {
            drop(snapshot);
        }
        drop(dir);
        let disk = disk.crash();
        let (dir, recovered, values) = recover(&disk).unwrap();
        let keys: Vec<_> = values.keys().map(|key| &**key).collect();
        if is_finished {
            assert_eq!((recovered.next, &*keys), (7, &[&b"b"[..], b"c"][..]));
        } else {
            assert_eq!((recovered.next, &*keys), (1, &[&b"a"[..]][..]));
        }
        drop(dir.begin_log(&recovered, 1, 5).unwrap());
        drop(dir);
        let (_dir, again, same) = recover(&disk.crash()).unwrap();
        assert_eq!((again.next, same), (recovered.next, values));
    }
}

#[test]
fn snapshot_is_refused_without_the_log_that_it_needs() {
    let (disk, dir, mut log) = begin();
    let mut snapshot = dir.begin_snapshot(0, 1).unwrap();
    snapshot.records(&put(b"a", b"2"), 1).unwrap();
    log.write(&put(b"a", b"2"), 1, 1, false).unwrap();
    // As no server should: the log was not synced before.
    snapshot.needs_log_until(1);
    snapshot.finish().unwrap();
    drop((log, dir));
    let name = nuthatch_storage::FileKind::Segment.name(0);
    disk.put(&name, disk.bytes(&name).unwrap()[..48].to_vec());
    let error = recover(&disk).unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::MissingLog {
                from: 0,
                found: None
            }
        ),
        "{error}"
    );
}

#[test]
fn unfinished_snapshot_leaves_nothing() {
    let (disk, dir, _log) = begin();
    let mut snapshot = dir.begin_snapshot(0, 1).unwrap();
    snapshot.records(&put(b"a", b"2"), 1).unwrap();
    assert_eq!(disk.names().unwrap().len(), 2);
    drop(snapshot);
    assert_eq!(disk.names().unwrap().len(), 1);
    let mut snapshot = dir.begin_snapshot(0, 1).unwrap();
    snapshot.records(&put(b"a", b"2"), 1).unwrap();
    disk.fail_after(0);
    assert!(snapshot.sync().is_err());
    // The next sync would succeed, and mean nothing.
    assert!(snapshot.finish().is_err());
    assert_eq!(disk.names().unwrap().len(), 1);
}

#[test]
fn sizes_are_those_of_the_files_that_count() {
    let (disk, dir, mut log) = begin();
    log.write(&put(b"a", b"1"), 1, 1, false).unwrap();
    let info = dir.begin_snapshot(1, 1).unwrap().finish().unwrap();
    disk.put("foreign", vec![0; 1000]);
    let sizes = dir.sizes().unwrap();
    assert_eq!(sizes.snapshot_bytes, info.bytes);
    assert_eq!(sizes.log_bytes, log.segment_bytes());
    assert_eq!(disk.bytes(&info.name).unwrap().len() as u64, info.bytes);
}

#[test]
fn real_directory_does_as_the_simulated_one() {
    let parent = tempfile::tempdir().unwrap();
    let directory = || Arc::new(Directory::open(parent.path().join("data")).unwrap());
    let (dir, recovered, _) = open(directory()).unwrap();
    let mut log = dir.begin_log(&recovered, 1, 2).unwrap();
    log.write(&put(b"a", b"1"), 1, 1, false).unwrap();
    log.rotate(2, 3).unwrap();
    let mut snapshot = dir.begin_snapshot(1, 2).unwrap();
    snapshot.records(&put(b"a", b"1"), 1).unwrap();
    log.write(&put(b"b", &[2; 100_000]), 1, 2, false).unwrap();
    log.sync().unwrap();
    snapshot.needs_log_until(2);
    snapshot.finish().unwrap();
    dir.remove_before(1).unwrap();
    assert!(matches!(open(directory()), Err(StorageError::InUse)));
    log.write(&put(b"c", b"3"), 1, 2, false).unwrap();
    drop((dir, log));
    for next in [3, 4] {
        let (dir, recovered, values) = open(directory()).unwrap();
        assert_eq!((recovered.snapshot, recovered.next), (Some(1), next));
        assert_eq!(values.len() as u64, next);
        let mut log = dir.begin_log(&recovered, 3, 4).unwrap();
        log.write(&put(b"d", b"4"), 1, 3, false).unwrap();
    }
    let report = check(&*directory()).unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn directory_that_cannot_be_written_is_refused_at_once() {
    let (disk, dir, _log) = begin();
    drop(dir);
    disk.set_faults(Faults {
        read_only: true,
        ..Faults::default()
    });
    let error = recover(&disk).unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error}");
    assert_eq!(check(&disk).unwrap().faults, [], "looking needs no claim");
}
