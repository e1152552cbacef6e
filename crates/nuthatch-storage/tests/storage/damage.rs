//! Bits flipped, ends cut off, files lost and moved: what is recovered is what was written, or nothing is.

use crate::model::{History, Values, put, recover};
use fastrand::Rng;
use nuthatch_storage::check::{FileContent, Report, Severity, check, repair};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::simulated::SimulatedDisk;
use nuthatch_storage::log::LogWriter;
use nuthatch_storage::{FileKind, Sequence, StorageError};
use std::sync::Arc;

/// All files of a directory.
type Files = Vec<(String, Vec<u8>)>;

fn files(disk: &SimulatedDisk) -> Files {
    let mut names = disk.names().unwrap();
    names.sort();
    names
        .into_iter()
        .map(|name| (name.clone(), disk.bytes(&name).unwrap()))
        .collect()
}

fn disk_of(files: &Files) -> SimulatedDisk {
    let disk = SimulatedDisk::new(Rng::with_seed(0));
    for (name, bytes) in files {
        disk.put(name, bytes.clone());
    }
    disk
}

fn checked(disk: &SimulatedDisk) -> Report {
    check(disk).unwrap()
}

/// Writes one group, each of whose frames has so many records.
fn group(log: &mut LogWriter, history: &mut History, frames: &[usize]) {
    let from = history.next();
    let count: usize = frames.iter().sum();
    let number = |at| format!("{}", from + at as u64).into_bytes();
    let records = (0..count).map(|at| put(&[b'a' + number(at)[0] % 5], &number(at)));
    history.group(records.collect());
    let mut records = history.since(from);
    for (place, &count) in frames.iter().enumerate() {
        let (frame, rest) = records.split_at(count);
        let goes_on = place + 1 < frames.len();
        log.write(&frame.concat(), count as u64, 100 + from, goes_on)
            .unwrap();
        records = rest;
    }
}

fn snapshot_block(values: &Values, keys: std::ops::Range<usize>) -> (Vec<u8>, u64) {
    let some = values.iter().skip(keys.start).take(keys.len());
    let records: Vec<_> = some.map(|(key, value)| put(key, value)).collect();
    (records.concat(), records.len() as u64)
}

/// Two segments, a snapshot between groups of the second, and groups behind that, of which one was not synced.
fn small() -> (SimulatedDisk, History) {
    let disk = SimulatedDisk::new(Rng::with_seed(0));
    let (dir, recovered, _) = recover(&disk).unwrap();
    let mut history = History::default();
    let mut log = dir.begin_log(&recovered, 99, 1).unwrap();
    group(&mut log, &mut history, &[1]);
    log.sync().unwrap();
    group(&mut log, &mut history, &[2, 1]);
    group(&mut log, &mut history, &[2]);
    log.rotate(120, 2).unwrap();
    group(&mut log, &mut history, &[2]);
    log.sync().unwrap();
    let at = history.next();
    let mut snapshot = dir.begin_snapshot(at, 130).unwrap();
    let (records, count) = snapshot_block(&history.values(at), 0..2);
    snapshot.records(&records, count).unwrap();
    group(&mut log, &mut history, &[1, 1, 2]);
    log.sync().unwrap();
    let (records, count) = snapshot_block(&history.values(history.next()), 2..9);
    snapshot.records(&records, count).unwrap();
    snapshot.needs_log_until(history.next());
    snapshot.finish().unwrap();
    group(&mut log, &mut history, &[1]);
    log.sync().unwrap();
    group(&mut log, &mut history, &[2]);
    group(&mut log, &mut history, &[1, 1]);
    (disk.kill(), history)
}

/// As `small`, without what the snapshot makes superfluous.
fn small_without_the_past() -> (SimulatedDisk, History) {
    let (disk, history) = small();
    let (dir, recovered, _) = recover(&disk).unwrap();
    dir.remove_before(recovered.snapshot.unwrap()).unwrap();
    (disk, history)
}

/// What must hold of any directory, however damaged: it is recovered to what held after some group and says so
/// if that is not all, or refused, and then made good by a repair that deletes nothing.
fn examine(files: &Files, history: &History, may_lose_silently: bool) -> Report {
    let disk = disk_of(files);
    let report = checked(&disk);
    match recover(&disk) {
        Ok((_dir, recovered, values)) => {
            assert!(history.is_between_groups(recovered.next), "{recovered:?}");
            assert_eq!(values, history.values(recovered.next), "{recovered:?}");
            assert!(
                recovered.next == history.next() || recovered.cut.is_some() || may_lose_silently,
                "{recovered:?}"
            );
            assert_eq!(report.repairs, []);
        }
        Err(error) => {
            assert!(
                matches!(
                    error,
                    StorageError::Damaged { .. } | StorageError::MissingLog { .. }
                ),
                "{error}"
            );
            assert!(error.to_string().contains("--repair"), "{error}");
            assert_eq!(report.severity(), Some(Severity::Damage));
            assert_ne!(report.repairs, []);
            repair_and_examine(&disk, files, &report, history);
        }
    }
    report
}

fn repair_and_examine(disk: &SimulatedDisk, before: &Files, report: &Report, history: &History) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&shared, report).unwrap();
    for (name, bytes) in before {
        let is_kept = files(disk)
            .iter()
            .any(|(now, kept)| now.starts_with(name) && kept == bytes);
        assert!(is_kept, "{name} is not lost: {report:?}");
    }
    assert_eq!(checked(disk).repairs, []);
    let (_dir, recovered, values) = recover(disk).unwrap();
    assert!(history.is_between_groups(recovered.next), "{recovered:?}");
    for (key, value) in values {
        let was_written = |record: &Vec<u8>| *record == put(&key, &value);
        assert!(history.since(0).iter().any(was_written));
    }
}

#[test]
fn whole_directory_has_no_faults() {
    for (disk, history) in [small(), small_without_the_past()] {
        let report = checked(&disk);
        assert_eq!(report.faults, []);
        let (_dir, recovered, values) = recover(&disk).unwrap();
        assert_eq!(recovered.next, history.next());
        assert_eq!(values, history.values(history.next()));
        assert_eq!((recovered.cut, recovered.snapshot), (None, Some(8)));
        assert_eq!(recovered.last_time_ms, 130);
        let kinds: Vec<_> = report.files.iter().map(|file| &file.content).collect();
        let [.., last, FileContent::Snapshot { until, records, .. }] = *kinds else {
            panic!("{kinds:?}");
        };
        assert_eq!((*until, *records), (Some(12), 5));
        let FileContent::Segment {
            records,
            groups,
            frames,
            is_sealed,
            ..
        } = last
        else {
            panic!("{last:?}");
        };
        assert_eq!((records, *groups, *frames), (&(6..17), 5, 8));
        assert!(!is_sealed);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (disk, history) in [small(), small_without_the_past()] {
        let files = files(&disk);
        for (place, (name, bytes)) in files.iter().enumerate() {
            for bit in 0..bytes.len() * 8 {
                let mut damaged = files.clone();
                damaged[place].1[bit / 8] ^= 1 << (bit % 8);
                let report = examine(&damaged, &history, false);
                assert_ne!(report.faults, [], "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_cut_is_recovered_up_to_a_group_or_refused() {
    for (disk, history) in [small(), small_without_the_past()] {
        let files = files(&disk);
        for (place, (name, bytes)) in files.iter().enumerate() {
            for len in 0..bytes.len() {
                let mut damaged = files.clone();
                damaged[place].1.truncate(len);
                // A log whose last groups are gone without a trace is whole.
                let is_last = *name == FileKind::Segment.name(6);
                examine(&damaged, &history, is_last);
                // Behind what the snapshot needs, a crash can have cut it anywhere.
                if is_last && len >= frames(bytes)[4] {
                    recover(&disk_of(&damaged)).unwrap();
                }
            }
        }
    }
}

#[test]
fn any_lost_file_is_missed_or_was_not_needed() {
    for (disk, history) in [small(), small_without_the_past()] {
        let files = files(&disk);
        for place in 0..files.len() {
            let mut damaged = files.clone();
            let (name, _) = damaged.remove(place);
            // The log is complete without the snapshot as long as it has all segments.
            let has_all_segments = damaged
                .iter()
                .any(|(name, _)| *name == FileKind::Segment.name(0));
            let is_needed = match &*name {
                name if name == FileKind::Segment.name(0) => false,
                name if name == FileKind::Segment.name(6) => true,
                _ => !has_all_segments,
            };
            match recover(&disk_of(&damaged)) {
                Err(StorageError::MissingLog { .. }) => assert!(is_needed, "{name}"),
                Err(error) => panic!("{name}: {error}"),
                Ok(_) => assert!(!is_needed, "{name}"),
            }
            examine(&damaged, &history, false);
        }
    }
}

#[test]
fn damaged_snapshot_is_passed_over_loudly_if_the_log_makes_up_for_it() {
    let (disk, history) = small();
    disk.flip_bit(&FileKind::Snapshot.name(8), 400);
    let (_dir, recovered, values) = recover(&disk).unwrap();
    assert_eq!(recovered.snapshot, None);
    assert_eq!(values, history.values(history.next()));
    let [skipped] = &*recovered.skipped_snapshots else {
        panic!("{recovered:?}");
    };
    assert!(skipped.contains(&FileKind::Snapshot.name(8)), "{skipped}");
}

/// Where a segment's frames begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = 48;
    while at < bytes.len() {
        offsets.push(at);
        let length = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap());
        at += 48 + usize::try_from(length).unwrap();
    }
    offsets
}

/// Where there is what looks like a frame.
fn markers(bytes: &[u8]) -> Vec<usize> {
    let marker = &bytes[48..52];
    let all = bytes.windows(4).enumerate();
    all.filter(|(_, window)| *window == marker)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn frames_inside_values_and_in_other_places_are_none() {
    let disk = SimulatedDisk::new(Rng::with_seed(0));
    let (dir, recovered, _) = recover(&disk).unwrap();
    let mut history = History::default();
    let mut log = dir.begin_log(&recovered, 1, 7).unwrap();
    let name = FileKind::Segment.name(0);
    for _ in 0..4 {
        // Each value is all that the segment has so far.
        let record = put(b"key", &disk.bytes(&name).unwrap());
        history.group(vec![record.clone()]);
        log.write(&record, 1, 1, false).unwrap();
        log.sync().unwrap();
    }
    let bytes = disk.bytes(&name).unwrap();
    let last = frames(&bytes)[3];
    // Cut anywhere, the copies of frames in the last value do not make it damage.
    for len in last + 1..bytes.len() {
        let torn = disk_of(&vec![(name.clone(), bytes[..len].to_vec())]);
        let (_dir, recovered, values) = recover(&torn).unwrap();
        assert_eq!(recovered.next, 3);
        assert_eq!(values, history.values(3));
        assert_eq!(recovered.cut.unwrap().at, last as u64);
    }
    // Nor is a frame one that lies elsewhere than where it was written.
    let copies = markers(&bytes);
    assert!(copies.len() > 10);
    for copy in copies.into_iter().filter(|&copy| copy != last) {
        let moved = [&bytes[..last], &bytes[copy..]].concat();
        let torn = disk_of(&vec![(name.clone(), moved)]);
        let (_dir, recovered, values) = recover(&torn).unwrap();
        assert_eq!(recovered.next, 3, "{copy}");
        assert_eq!(values, history.values(3));
    }
}

#[test]
fn newer_version_is_refused_and_nothing_is_touched() {
    for kind in [FileKind::Snapshot, FileKind::Segment] {
        let (disk, _) = small();
        let name = kind.name(if kind == FileKind::Snapshot { 8 } else { 6 });
        let mut bytes = disk.bytes(&name).unwrap();
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        disk.put(&name, bytes);
        disk.put("snapshot-00000000000000000009.nuts.tmp", vec![1]);
        let before = files(&disk);
        for error in [recover(&disk).unwrap_err(), check(&disk).unwrap_err()] {
            let StorageError::NewerVersion { file, found, max } = error else {
                panic!("{error}");
            };
            assert_eq!((file, found, max), (name.clone(), 2, 1));
        }
        assert_eq!(files(&disk), before);
    }
}

#[test]
fn directory_in_use_is_refused() {
    let (disk, _) = small();
    let (_dir, _, _) = recover(&disk).unwrap();
    assert!(matches!(recover(&disk), Err(StorageError::InUse)));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let report = checked(&disk);
    assert!(matches!(repair(&shared, &report), Err(StorageError::InUse)));
}

#[test]
fn files_of_others_are_left_alone_and_those_not_completed_are_removed() {
    let (disk, history) = small();
    let others = [
        "notes.txt",
        "dump.rdb",
        "log-1.nutl",
        "log-99999999999999999999.nutl",
        "snapshot-00000000000000000001.nuts.damaged",
    ];
    let incomplete = [
        "log-00000000000000000004.nutl.tmp",
        "snapshot-00000000000000000004.nuts.tmp",
    ];
    for name in others.iter().chain(&incomplete) {
        disk.put(name, b"anything".to_vec());
    }
    let report = checked(&disk);
    assert_eq!(report.severity(), Some(Severity::Note));
    assert_eq!(report.faults.len(), others.len() + incomplete.len());
    let (dir, recovered, values) = recover(&disk).unwrap();
    assert_eq!(values, history.values(history.next()));
    dir.begin_log(&recovered, 200, 3).unwrap();
    let names = disk.names().unwrap();
    assert!(others.iter().all(|other| names.contains(&(*other).into())));
    assert!(
        !incomplete
            .iter()
            .any(|name| names.contains(&(*name).into()))
    );
}

#[test]
fn nothing_is_removed_for_a_snapshot_that_is_not_there() {
    let (disk, _) = small();
    let before = files(&disk);
    let (dir, _, _) = recover(&disk).unwrap();
    let error = dir.remove_before(9).unwrap_err();
    assert!(matches!(error, StorageError::NoSnapshot { at: 9 }));
    assert_eq!(files(&disk), before);
}

#[test]
fn repair_is_refused_if_the_directory_has_changed_since() {
    let (disk, _) = small_without_the_past();
    disk.flip_bit(&FileKind::Snapshot.name(8), 600);
    let report = checked(&disk);
    disk.flip_bit(&FileKind::Snapshot.name(8), 600);
    let before = files(&disk);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    assert!(matches!(
        repair(&shared, &report),
        Err(StorageError::Changed)
    ));
    assert_eq!(files(&disk), before);
}

#[test]
fn repaired_snapshot_has_its_blocks_before_the_damage() {
    let (disk, history) = small_without_the_past();
    let name = FileKind::Snapshot.name(8);
    // In the second block of records.
    let bit = disk.bytes(&name).unwrap().len() as u64 * 8 - 8 * 45;
    disk.flip_bit(&name, bit);
    let report = checked(&disk);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&shared, &report).unwrap();
    let (_dir, recovered, values) = recover(&disk).unwrap();
    assert_eq!((recovered.next, recovered.snapshot_records), (17, 2));
    let whole = history.values(17);
    assert!(values.iter().all(|(key, value)| whole[key] == *value));
}

/// Runs `change` on copies of a directory whose machine crashes, or whose process ends, in each of its operations,
/// and recovers: nothing synced is lost, and nothing else is found.
fn at_every_operation(
    begin: impl Fn() -> (SimulatedDisk, History),
    promised: Sequence,
    change: impl Fn(&SimulatedDisk) -> Result<(), StorageError>,
) {
    for operation in 0.. {
        let mut has_ended = false;
        for seed in 0..20 {
            let (start, history) = begin();
            let disk = SimulatedDisk::new(Rng::with_seed(operation * 100 + seed));
            for (name, bytes) in files(&start) {
                disk.put(&name, bytes);
            }
            disk.crash_after(operation);
            has_ended = change(&disk).is_ok() && !disk.has_crashed();
            let after = if seed % 2 == 0 {
                disk.crash()
            } else {
                disk.kill()
            };
            let (_dir, recovered, values) = recover(&after).unwrap();
            assert!((promised..=history.next()).contains(&recovered.next));
            assert_eq!(values, history.values(recovered.next));
        }
        if has_ended {
            return;
        }
    }
}

#[test]
fn crash_at_any_moment_of_a_start_a_rotation_or_a_removal_loses_nothing() {
    // All that `files` copies counts as synced there.
    at_every_operation(small, 17, |disk| {
        let (dir, recovered, _) = recover(disk)?;
        let mut log = dir.begin_log(&recovered, 1, 2)?;
        log.rotate(2, 3)?;
        dir.remove_before(recovered.snapshot.unwrap())
    });
    at_every_operation(small_without_the_past, 17, |disk| {
        let (dir, recovered, _) = recover(disk)?;
        dir.settle(&recovered)?;
        let shared = Arc::clone(dir.disk());
        let mut log = LogWriter::create(shared, recovered.next, 1, 2)?;
        log.sync()?;
        dir.begin_snapshot(recovered.next, 3).map(drop)
    });
}
