//! Crashes at every place, against a model.
//!
//! A run is one directory and the processes that have it one after another. Each recovers, writes groups of
//! records, syncs, rotates, takes snapshots and removes what they make superfluous, until it ends, or dies in
//! the middle of an operation: with the machine, or alone. Operations fail, disks are full. What has to hold
//! after every death, and after a death during the recovery from one:
//!
//! - Recovery succeeds, and ends between two groups.
//! - Everything before the last sync that succeeded is there, and nothing that was not written.
//! - What recovery then hands over, snapshot and log together, is the state that the model has there.
//!
//! `NUTHATCH_CRASHES` says how many deaths to try. A failure names the run; `NUTHATCH_RUN` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ops::Bound;
use std::sync::Arc;

use fastrand::Rng;
use nuthatch_storage::data_dir::{DataDir, Recovered, RecoverySink};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::simulated::{Faults, SimulatedDisk};
use nuthatch_storage::log::LogWriter;
use nuthatch_storage::record::{Record, RecordWriter};
use nuthatch_storage::snapshot::SnapshotWriter;
use nuthatch_storage::{FileKind, Sequence, StorageError};

const KEYS: u64 = 40;

#[test]
fn every_crash_leaves_whole_groups_and_all_that_was_synced() {
    let number = |name| -> Option<u64> {
        let value = env::var(name).ok()?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
        )
    };
    if let Some(run) = number("NUTHATCH_RUN") {
        Run::new(run).go();
        return;
    }
    let wanted = number("NUTHATCH_CRASHES").unwrap_or(2_000);
    let mut total = Tally::default();
    for run in 0.. {
        total.add(&Run::new(run).go());
        if total.deaths >= wanted {
            break;
        }
    }
    eprintln!("{total:?}");
    total.assert_that_all_was_tried();
}

/// What the runs have met, without which their success would say little.
#[derive(Debug, Default)]
struct Tally {
    deaths: u64,
    deaths_in_recovery: u64,
    deaths_of_the_machine: u64,
    lost_records: u64,
    cuts: u64,
    snapshots: u64,
    recovered_snapshots: u64,
    rotations: u64,
    removals: u64,
    restarts: u64,
    failures: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.deaths += other.deaths;
        self.deaths_in_recovery += other.deaths_in_recovery;
        self.deaths_of_the_machine += other.deaths_of_the_machine;
        self.lost_records += other.lost_records;
        self.cuts += other.cuts;
        self.snapshots += other.snapshots;
        self.recovered_snapshots += other.recovered_snapshots;
        self.rotations += other.rotations;
        self.removals += other.removals;
        self.restarts += other.restarts;
        self.failures += other.failures;
    }

    fn assert_that_all_was_tried(&self) {
        let all = [
            self.deaths_in_recovery,
            self.deaths_of_the_machine,
            self.lost_records,
            self.cuts,
            self.snapshots,
            self.recovered_snapshots,
            self.rotations,
            self.removals,
            self.restarts,
            self.failures,
        ];
        assert!(
            self.deaths < 500 || all.iter().all(|count| *count > 0),
            "{self:?}"
        );
    }
}

/// The keyspace, as simple as can be.
type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn apply(state: &mut State, mut records: &[u8]) {
    while !records.is_empty() {
        match Record::take(&mut records).expect("a record") {
            Record::Put { key, value, .. } => state.insert(key.to_vec(), value.to_vec()),
            Record::Delete { key } => state.remove(key),
            Record::Clear => {
                state.clear();
                None
            }
            other => panic!("a record that nobody wrote: {other:?}"),
        };
    }
}

/// All that was ever written, and what has to be there.
#[derive(Default)]
struct Model {
    records: Vec<Vec<u8>>,
    /// Where groups end.
    ends: BTreeSet<Sequence>,
    /// What comes before survives.
    synced: Sequence,
    /// As it is after all records.
    state: State,
}

impl Model {
    fn next(&self) -> Sequence {
        self.records.len() as Sequence
    }

    fn bytes(&self, from: Sequence, to: Sequence) -> Vec<u8> {
        self.records[place(from)..place(to)].concat()
    }

    fn push_group(&mut self, records: &[Vec<u8>]) {
        for record in records {
            apply(&mut self.state, record);
            self.records.push(record.clone());
        }
        self.ends.insert(self.next());
    }

    /// What was not recovered has never been.
    fn forget_after(&mut self, next: Sequence) {
        self.records.truncate(place(next));
        self.ends.retain(|end| *end <= next);
        self.state.clear();
        apply(&mut self.state, &self.records.concat());
    }
}

fn place(sequence: Sequence) -> usize {
    usize::try_from(sequence).expect("as many as are in memory")
}

#[derive(Default)]
struct Gathered {
    total_bytes: Option<u64>,
    bytes: u64,
    state: State,
    log: Vec<u8>,
    last_time_ms: u64,
}

impl RecoverySink for Gathered {
    fn begin(&mut self, total_bytes: u64) {
        assert_eq!(self.total_bytes.replace(total_bytes), None);
    }

    fn snapshot_records(&mut self, _time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        assert!(self.log.is_empty(), "the snapshot comes first");
        apply(&mut self.state, &records);
        Ok(())
    }

    fn log_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        assert!(time_ms >= self.last_time_ms, "times go on");
        self.last_time_ms = time_ms;
        apply(&mut self.state, &records);
        self.log.extend(records);
        Ok(())
    }

    fn progress(&mut self, bytes: u64) {
        assert!(bytes >= self.bytes && Some(bytes) <= self.total_bytes);
        self.bytes = bytes;
    }
}

struct Run {
    number: u64,
    rng: Rng,
    disk: SimulatedDisk,
    model: Model,
    time_ms: u64,
    may_fail: bool,
    tally: Tally,
}

/// Says which run it was when an assertion fails.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "this was NUTHATCH_RUN={}, after {:?}",
                self.number, self.tally
            );
        }
    }
}

impl Run {
    fn new(number: u64) -> Self {
        let mut rng = Rng::with_seed(number);
        Self {
            number,
            disk: SimulatedDisk::new(rng.fork()),
            rng,
            model: Model::default(),
            time_ms: 1_000,
            may_fail: false,
            tally: Tally::default(),
        }
    }

    fn go(mut self) -> Tally {
        for _ in 0..self.rng.u64(1..12) {
            self.set_faults();
            self.maybe_die_after(40);
            if let Some((data_dir, recovered)) = self.recover() {
                if self.rng.u8(0..4) == 0 {
                    self.live_by_snapshots(&data_dir, &recovered);
                } else {
                    self.live_by_log(data_dir, &recovered);
                }
            }
            self.die();
        }
        // At the end nothing fails, so whatever the deaths have left has to be recovered.
        self.disk.set_faults(Faults::default());
        self.may_fail = false;
        self.recover().expect("nothing goes wrong");
        std::mem::take(&mut self.tally)
    }

    /// What goes wrong in the next process.
    fn set_faults(&mut self) {
        let mut faults = Faults::default();
        for chance in [
            &mut faults.append,
            &mut faults.sync,
            &mut faults.names,
            &mut faults.read,
        ] {
            if self.rng.u8(0..8) == 0 {
                *chance = [0.01, 0.05, 0.3][self.rng.usize(0..3)];
            }
        }
        if self.rng.u8(0..12) == 0 {
            faults.capacity_bytes = Some(self.disk.used_bytes() + self.rng.u64(0..30_000));
        }
        self.may_fail = faults.append + faults.sync + faults.names + faults.read > 0.0
            || faults.capacity_bytes.is_some();
        self.disk.set_faults(faults);
    }

    fn maybe_die_after(&mut self, operations: u64) {
        if self.rng.bool() {
            self.disk.crash_after(self.rng.u64(0..operations));
        }
    }

    /// The end of the process, wherever it is, and the disk for the next.
    fn die(&mut self) {
        self.tally.deaths += 1;
        if self.rng.bool() {
            self.tally.deaths_of_the_machine += 1;
            self.disk = self.disk.crash();
        } else {
            self.disk = self.disk.kill();
        }
    }

    /// The result, if all went well; else there was a reason.
    fn expect<T>(&mut self, result: Result<T, StorageError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let failed = matches!(error, StorageError::Io { .. } | StorageError::Broken { .. });
                assert!(
                    failed && (self.may_fail || self.disk.has_crashed()),
                    "{error}"
                );
                self.tally.failures += 1;
                None
            }
        }
    }

    fn tick(&mut self) -> u64 {
        self.time_ms += self.rng.u64(0..10);
        self.time_ms
    }

    /// Recovers, and compares; nothing if something failed that may.
    fn recover(&mut self) -> Option<(DataDir, Recovered)> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let opened = DataDir::open(disk);
        let data_dir = self.expect(opened)?;
        let mut gathered = Gathered::default();
        let before = self.disk.contents();
        let result = data_dir.recover(&mut gathered);
        assert!(self.disk.contents() == before, "recovery only reads");
        let Some(recovered) = self.expect(result) else {
            self.tally.deaths_in_recovery += u64::from(self.disk.has_crashed());
            return None;
        };
        let next = recovered.next;
        let model = &self.model;
        assert!(
            (model.synced..=model.next()).contains(&next),
            "recovered up to {next}, synced up to {}, written up to {}",
            model.synced,
            model.next()
        );
        assert!(
            next == 0 || model.ends.contains(&next),
            "{next} is within a group"
        );
        let from = recovered.snapshot.unwrap_or(0);
        assert!(
            gathered.log == model.bytes(from, next),
            "the log differs from {from} to {next}"
        );
        assert_eq!(recovered.log_records, next - from);
        let mut expected = State::new();
        apply(&mut expected, &model.bytes(0, next));
        assert!(gathered.state == expected, "the state at {next} differs");
        assert!(recovered.last_time_ms <= self.time_ms);
        assert_eq!(
            recovered.skipped_snapshots, [""; 0],
            "no crash damages a snapshot"
        );
        self.tally.cuts += u64::from(recovered.cut.is_some());
        self.tally.recovered_snapshots += u64::from(recovered.snapshot.is_some());
        Some((data_dir, recovered))
    }

    /// What was recovered is settled: it is the past, and survives.
    fn begin(&mut self, recovered: &Recovered) {
        self.tally.lost_records += self.model.next() - recovered.next;
        self.model.forget_after(recovered.next);
        self.model.synced = recovered.next;
        let names = self.disk.names().unwrap_or_default();
        assert!(!names.iter().any(|name| name.contains("tmp")), "{names:?}");
    }

    /// A process that keeps a log.
    fn live_by_log(&mut self, data_dir: DataDir, recovered: &Recovered) {
        let time_ms = self.tick();
        let salt = self.rng.u64(..);
        let result = data_dir.begin_log(recovered, time_ms, salt);
        let Some(log) = self.expect(result) else {
            self.tally.deaths_in_recovery += u64::from(self.disk.has_crashed());
            return;
        };
        self.begin(recovered);
        self.maybe_die_after(300);
        let mut process = Process {
            data_dir,
            log,
            scan: None,
            syncs_always: self.rng.bool(),
            goes_on: false,
        };
        for _ in 0..self.rng.u64(0..80) {
            process.step(self);
            if self.disk.has_crashed() {
                return;
            }
        }
        if self.rng.bool() && process.catch_up(self).is_some() {
            self.model.synced = self.model.next();
        }
    }

    /// A process that keeps a log only while it takes a snapshot.
    fn live_by_snapshots(&mut self, data_dir: &DataDir, recovered: &Recovered) {
        let result = data_dir.settle(recovered);
        if self.expect(result).is_none() {
            self.tally.deaths_in_recovery += u64::from(self.disk.has_crashed());
            return;
        }
        self.begin(recovered);
        self.maybe_die_after(300);
        for _ in 0..self.rng.u64(0..6) {
            for _ in 0..self.rng.u64(1..10) {
                self.push_group();
            }
            // What is lost with one that fails, the next one has.
            self.snapshot_with_a_log(data_dir);
            if self.disk.has_crashed() {
                return;
            }
        }
    }

    fn snapshot_with_a_log(&mut self, data_dir: &DataDir) -> Option<()> {
        let at = self.model.next();
        let time_ms = self.tick();
        let salt = self.rng.u64(..);
        let created = LogWriter::create(Arc::clone(data_dir.disk()), at, time_ms, salt);
        let mut log = self.expect(created)?;
        let begun = data_dir.begin_snapshot(at, time_ms);
        let mut scan = Scan::new(self.expect(begun)?, at);
        while !scan.is_done {
            scan = self.go_on(scan)?;
            if self.rng.u8(0..4) == 0 {
                let time_ms = self.tick();
                let rotated = log.rotate(time_ms, self.rng.u64(..));
                self.expect(rotated)?;
            }
            if self.rng.bool() {
                self.push_group();
                let time_ms = self.tick();
                let from = log.next_sequence();
                let records = self.model.bytes(from, self.model.next());
                let written = log.write(&records, self.model.next() - from, time_ms, false);
                self.expect(written)?;
            }
        }
        let end = self.model.next();
        assert_eq!(log.next_sequence(), end);
        scan.writer.needs_log_until(end);
        let synced = log.sync();
        self.expect(synced)?;
        let finished = scan.writer.finish();
        self.expect(finished)?;
        self.tally.snapshots += 1;
        self.model.synced = end;
        self.remove_before(data_dir, at)
    }

    /// Removes what the snapshot of `at` makes superfluous. What is left is that, and the log from there on.
    fn remove_before(&mut self, data_dir: &DataDir, at: Sequence) -> Option<()> {
        let removed = data_dir.remove_before(at);
        self.expect(removed)?;
        self.tally.removals += 1;
        let contents = self.disk.contents();
        let left = |kind: FileKind| {
            // Sequences in names have as many digits each, so that names are in their order.
            let before = kind.name(0)..=kind.name(at);
            let complete = |name: &&String| !name.ends_with(".tmp");
            contents
                .range(before)
                .map(|(name, _)| name)
                .filter(complete)
                .count()
        };
        assert_eq!(left(FileKind::Snapshot), 1, "{:?}", contents.keys());
        assert!(left(FileKind::Segment) <= 1, "{:?}", contents.keys());
        Some(())
    }

    /// Goes on with a snapshot. One that failed stays so.
    fn go_on(&mut self, mut scan: Scan) -> Option<Scan> {
        let result = scan.go_on(&self.model.state, &mut self.rng);
        if self.expect(result).is_none() {
            assert!(
                scan.writer.finish().is_err(),
                "a part of the snapshot is missing"
            );
            return None;
        }
        Some(scan)
    }

    fn push_group(&mut self) {
        let count = match self.rng.u8(0..20) {
            0 => self.rng.usize(1..60),
            1..8 => self.rng.usize(1..8),
            _ => 1,
        };
        let group: Vec<_> = (0..count).map(|_| self.record()).collect();
        self.model.push_group(&group);
    }

    fn record(&mut self) -> Vec<u8> {
        let key = format!("key{}", self.rng.u64(0..KEYS));
        let mut record = Vec::new();
        let mut writer = RecordWriter::new(&mut record);
        match self.rng.u8(0..100) {
            0 => writer.clear(),
            1..20 => writer.delete(key.as_bytes()),
            _ => {
                let len = match self.rng.u8(0..200) {
                    0 => 70_000,
                    1..30 => self.rng.usize(0..2_000),
                    _ => self.rng.usize(0..40),
                };
                let value: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..))
                    .take(len)
                    .collect();
                writer.put(key.as_bytes(), &[&value], false, None);
            }
        }
        record
    }
}

/// A snapshot that is being taken: the keys in their order, each as it is when its turn comes.
struct Scan {
    writer: SnapshotWriter,
    at: Sequence,
    last: Option<Vec<u8>>,
    is_done: bool,
}

impl Scan {
    fn new(writer: SnapshotWriter, at: Sequence) -> Self {
        Self {
            writer,
            at,
            last: None,
            is_done: false,
        }
    }

    fn go_on(&mut self, state: &State, rng: &mut Rng) -> Result<(), StorageError> {
        let from = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let part: Vec<_> = state
            .range((from, Bound::Unbounded))
            .take(rng.usize(1..20))
            .collect();
        let Some((last, _)) = part.last() else {
            self.is_done = true;
            return Ok(());
        };
        self.last = Some((*last).clone());
        let mut records = Vec::new();
        for (key, value) in &part {
            RecordWriter::new(&mut records).put(key, &[value], false, None);
        }
        self.writer.records(&records, part.len() as u64)?;
        if rng.u8(0..4) == 0 {
            self.writer.sync()?;
        }
        Ok(())
    }
}

/// A process with a log. What is in the model and not yet in the log is what the process still holds.
struct Process {
    data_dir: DataDir,
    log: LogWriter,
    scan: Option<Scan>,
    syncs_always: bool,
    /// Whether the last frame began a group, or went on with it, and did not end it.
    goes_on: bool,
}

impl Process {
    /// Something that a server does; what fails, it tries again later.
    fn step(&mut self, run: &mut Run) {
        match run.rng.u8(0..20) {
            0 => {
                let _ = self.rotate(run);
            }
            1..4 => {
                let _ = self.sync(run);
            }
            4..8 => {
                let _ = self.snapshot(run);
            }
            8..10 => {
                // What the disk refused has grown meanwhile.
                run.push_group();
            }
            _ => {
                run.push_group();
                if self.write(run).is_some() && self.syncs_always {
                    let _ = self.sync(run);
                }
            }
        }
    }

    /// Writes what the log does not have yet: some groups together, in one frame or in several.
    fn write(&mut self, run: &mut Run) -> Option<()> {
        if self.log.is_broken() {
            let time_ms = run.tick();
            let salt = run.rng.u64(..);
            let restarted = self.log.restart(time_ms, salt);
            run.expect(restarted)?;
            run.tally.restarts += 1;
            self.goes_on = false;
            assert_eq!(self.log.next_sequence(), run.model.synced);
        }
        let from = self.log.next_sequence();
        let ends: Vec<_> = run
            .model
            .ends
            .range((Bound::Excluded(from), Bound::Unbounded))
            .copied()
            .collect();
        let [first, ..] = ends.as_slice() else {
            return Some(());
        };
        let mut end = *first;
        if run.rng.bool() {
            end = ends[run.rng.usize(0..ends.len())];
        }
        if run.rng.u8(0..4) == 0 && end - from > 1 {
            let middle = run.rng.u64(from + 1..end);
            self.write_frame(run, middle, true)?;
        }
        self.write_frame(run, end, false)
    }

    fn write_frame(&mut self, run: &mut Run, end: Sequence, goes_on: bool) -> Option<()> {
        let time_ms = run.tick();
        let from = self.log.next_sequence();
        let records = run.model.bytes(from, end);
        let written = self.log.write(&records, end - from, time_ms, goes_on);
        run.expect(written)?;
        self.goes_on = goes_on;
        assert_eq!(self.log.next_sequence(), end);
        Some(())
    }

    fn sync(&mut self, run: &mut Run) -> Option<()> {
        let synced = self.log.sync();
        run.expect(synced)?;
        run.model.synced = self.log.synced_sequence();
        Some(())
    }

    /// Writes and syncs everything.
    fn catch_up(&mut self, run: &mut Run) -> Option<()> {
        while self.log.is_broken() || self.log.next_sequence() < run.model.next() {
            self.write(run)?;
        }
        self.sync(run)?;
        assert_eq!(self.log.synced_sequence(), run.model.next());
        Some(())
    }

    fn rotate(&mut self, run: &mut Run) -> Option<()> {
        if self.log.is_broken() || self.goes_on {
            return None;
        }
        let time_ms = run.tick();
        let salt = run.rng.u64(..);
        let rotated = self.log.rotate(time_ms, salt);
        // Its sync may have succeeded though it failed.
        run.model.synced = self.log.synced_sequence();
        run.expect(rotated)?;
        run.tally.rotations += 1;
        assert_eq!(run.model.synced, self.log.next_sequence());
        Some(())
    }

    /// Begins a snapshot, goes on with it, or ends it. It has what the process has, of which the log may not
    /// have all yet, so the log has to have caught up before the snapshot counts.
    fn snapshot(&mut self, run: &mut Run) -> Option<()> {
        let Some(mut scan) = self.scan.take() else {
            if run.rng.bool() {
                // As a server does, so that all segments before can go when the snapshot is there.
                self.catch_up(run)?;
                self.rotate(run)?;
            }
            let at = run.model.next();
            let time_ms = run.tick();
            let begun = self.data_dir.begin_snapshot(at, time_ms);
            self.scan = run.expect(begun).map(|writer| Scan::new(writer, at));
            return Some(());
        };
        scan = run.go_on(scan)?;
        if !scan.is_done {
            self.scan = Some(scan);
            return Some(());
        }
        scan.writer.needs_log_until(run.model.next());
        self.catch_up(run)?;
        let finished = scan.writer.finish();
        run.expect(finished)?;
        run.tally.snapshots += 1;
        run.remove_before(&self.data_dir, scan.at)
    }
}
