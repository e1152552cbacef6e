//! Random operations of a server, with faults, crashes and kills at random moments, against the model.
//!
//! `CRASHES=10000` in the environment asks for so many ends, instead of the usual 1200.

use crate::model::{History, put, recover};
use fastrand::Rng;
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::disk::simulated::{Faults, SimulatedDisk, is_crash};
use nuthatch_storage::log::LogWriter;
use nuthatch_storage::record::RecordWriter;
use nuthatch_storage::snapshot::SnapshotWriter;
use nuthatch_storage::{Sequence, StorageError};
use std::env;
use std::sync::Arc;

/// How often a directory's server ends.
const LIVES: u64 = 12;

/// A server as storage sees it: it changes its keys, writes that to the log, and takes snapshots meanwhile.
struct Server {
    rng: Rng,
    dir: DataDir,
    /// None while it keeps snapshots only and is not taking one.
    log: Option<LogWriter>,
    has_log_always: bool,
    history: History,
    /// What the log or a snapshot has promised to keep.
    promised: Sequence,
    snapshot: Option<Snapshot>,
    time_ms: u64,
}

/// A walk through the keys that is under way.
struct Snapshot {
    writer: SnapshotWriter,
    at: Sequence,
    /// Keys from here on have not been read.
    position: Vec<u8>,
}

type Outcome = Result<(), StorageError>;

impl Server {
    /// Starts on what is there, and checks it.
    fn start(
        disk: &SimulatedDisk,
        mut rng: Rng,
        mut history: History,
        promised: Sequence,
        attempted: Sequence,
    ) -> Result<Self, (StorageError, History)> {
        let (dir, recovered, values) = match recover(disk) {
            Ok(recovered) => recovered,
            Err(error) => return Err((error, history)),
        };
        assert!(
            (promised..=attempted).contains(&recovered.next),
            "{promised} promised, {attempted} attempted: {recovered:?}"
        );
        assert!(history.is_between_groups(recovered.next), "{recovered:?}");
        assert_eq!(values, history.values(recovered.next), "{recovered:?}");
        assert_eq!(recovered.skipped_snapshots, [""; 0]);
        let has_log_always = rng.u8(0..4) != 0;
        let salt = rng.u64(..);
        let log = if has_log_always {
            dir.begin_log(&recovered, 1, salt).map(Some)
        } else {
            dir.settle(&recovered).map(|()| None)
        };
        let log = match log {
            Ok(log) => log,
            Err(error) => return Err((error, history)),
        };
        history.truncate(recovered.next);
        let promised = match &log {
            Some(log) => {
                assert_eq!(log.next_sequence(), recovered.next);
                log.synced_sequence()
            }
            None => recovered.next,
        };
        Ok(Self {
            rng,
            dir,
            log,
            has_log_always,
            history,
            promised,
            snapshot: None,
            time_ms: 1,
        })
    }

    fn step(&mut self) -> Outcome {
        self.time_ms += self.rng.u64(0..3);
        match self.rng.u8(0..100) {
            0..50 => self.change(),
            50..70 => self.sync(),
            70..75 => self.rotate(),
            _ => self.go_on_with_snapshot(),
        }
    }

    fn change(&mut self) -> Outcome {
        let records: Vec<_> = (0..self.rng.usize(1..6)).map(|_| self.record()).collect();
        let before = self.history.next();
        self.history.group(records);
        self.write(before)
    }

    fn record(&mut self) -> Vec<u8> {
        let key = format!("key {}", self.rng.u8(0..40));
        if self.rng.u8(0..5) == 0 {
            let mut out = Vec::new();
            RecordWriter::new(&mut out).delete(key.as_bytes());
            return out;
        }
        let longest = pick(&mut self.rng, [10, 100, 2000]);
        let len = self.rng.usize(0..longest);
        let value: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
        put(key.as_bytes(), &value)
    }

    /// Writes to the log what it lacks from `group` on, as one group in frames of random lengths.
    fn write(&mut self, group: Sequence) -> Outcome {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let mut records = self.history.since(group);
        while !records.is_empty() {
            let count = self.rng.usize(1..=records.len());
            let (frame, rest) = records.split_at(count);
            let mut tries = 0;
            while let Err(error) = log.write(
                &frame.concat(),
                count as u64,
                self.time_ms,
                !rest.is_empty(),
            ) {
                tries += 1;
                if tries == 20 || log.is_broken() || is_end(&error) {
                    return Err(error);
                }
            }
            records = rest;
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        if let Err(error) = log.sync() {
            return self.recover_from(error);
        }
        if self.has_log_always {
            self.promised = log.synced_sequence();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Outcome {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        match log.rotate(self.time_ms, self.rng.u64(..)) {
            Err(error) => self.recover_from(error),
            Ok(()) => Ok(()),
        }
    }

    /// After a fault: if the segment is broken, writes what is not safe again, in another.
    fn recover_from(&mut self, error: StorageError) -> Outcome {
        let Some(log) = &mut self.log else {
            return Err(error);
        };
        if is_end(&error) || !log.is_broken() {
            return if is_end(&error) { Err(error) } else { Ok(()) };
        }
        let mut tries = 0;
        while let Err(error) = log.restart(self.time_ms, self.rng.u64(..)) {
            tries += 1;
            if tries == 20 || is_end(&error) {
                return Err(error);
            }
        }
        let from = log.next_sequence();
        assert!(from >= self.promised || !self.has_log_always);
        let ends: Vec<_> = (from + 1..=self.history.next())
            .filter(|&end| self.history.is_between_groups(end))
            .collect();
        let mut begin = from;
        for end in ends {
            let log = self.log.as_mut().expect("it was there");
            let all = self.history.since(begin);
            let count = end - begin;
            let records = all[..usize::try_from(count).unwrap()].concat();
            log.write(&records, count, self.time_ms, false)?;
            begin = end;
        }
        Ok(())
    }

    fn go_on_with_snapshot(&mut self) -> Outcome {
        match self.snapshot.take() {
            None => self.begin_snapshot(),
            Some(snapshot) if self.rng.u8(0..20) == 0 => {
                drop(snapshot);
                self.end_log_of_snapshot();
                Ok(())
            }
            Some(mut snapshot) => match self.walk(&mut snapshot)? {
                true => {
                    self.snapshot = Some(snapshot);
                    Ok(())
                }
                false => self.finish(snapshot),
            },
        }
    }

    fn end_log_of_snapshot(&mut self) {
        if !self.has_log_always {
            self.log = None;
        }
    }

    fn begin_snapshot(&mut self) -> Outcome {
        let at = self.history.next();
        if self.log.is_none() {
            let salt = self.rng.u64(..);
            let disk = Arc::clone(self.dir.disk());
            self.log = Some(LogWriter::create(disk, at, self.time_ms, salt)?);
        }
        let writer = match self.dir.begin_snapshot(at, self.time_ms) {
            Ok(writer) => writer,
            Err(error) => {
                self.end_log_of_snapshot();
                return Err(error);
            }
        };
        self.snapshot = Some(Snapshot {
            writer,
            at,
            position: Vec::new(),
        });
        Ok(())
    }

    /// Reads some keys as they are now. Whether there are more.
    fn walk(&mut self, snapshot: &mut Snapshot) -> Result<bool, StorageError> {
        let values = self.history.values(self.history.next());
        let count = self.rng.usize(1..20);
        let some: Vec<_> = values
            .range(snapshot.position.clone()..)
            .take(count)
            .collect();
        let Some((last, _)) = some.last() else {
            return Ok(false);
        };
        snapshot.position = [last.as_slice(), b"\0"].concat();
        let records: Vec<_> = some.iter().map(|(key, value)| put(key, value)).collect();
        let written = snapshot
            .writer
            .records(&records.concat(), records.len() as u64);
        if written.is_err() {
            self.end_log_of_snapshot();
        }
        written.map(|()| true)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Outcome {
        let end = self.history.next();
        let log = self.log.as_mut().expect("a snapshot has a log");
        if let Err(error) = log.sync() {
            let outcome = self.recover_from(error);
            self.end_log_of_snapshot();
            return outcome;
        }
        assert_eq!(log.synced_sequence(), end);
        snapshot.writer.needs_log_until(end);
        let finished = snapshot.writer.finish();
        self.end_log_of_snapshot();
        let info = finished?;
        assert_eq!((info.at, info.until), (snapshot.at, end));
        self.promised = self.promised.max(end);
        if self.rng.u8(0..4) != 0 {
            self.dir.remove_before(snapshot.at)?;
        }
        Ok(())
    }
}

/// Whether the machine is gone.
fn is_end(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { error, .. } if is_crash(error))
}

fn pick<T: Copy, const N: usize>(rng: &mut Rng, of: [T; N]) -> T {
    of[rng.usize(0..N)]
}

fn chance(rng: &mut Rng) -> f64 {
    pick(rng, [0.0, 0.0, 0.01, 0.1])
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut disk = SimulatedDisk::new(rng.fork());
    let (mut history, mut promised, mut attempted) = (History::default(), 0, 0);
    for life in 0..LIVES {
        disk.set_faults(Faults::default());
        let has_faults = rng.bool();
        if has_faults {
            disk.set_faults(Faults {
                append: chance(&mut rng),
                sync: chance(&mut rng),
                names: chance(&mut rng),
                ..Faults::default()
            });
        }
        let longest = pick(&mut rng, [20, 200, 1000]);
        disk.crash_after(rng.u64(0..longest));
        let own = rng.fork();
        match Server::start(&disk, own, history, promised, attempted) {
            Err((error, unchanged)) => {
                assert!(
                    matches!(error, StorageError::Io { .. }),
                    "seed {seed}, life {life}: {error}"
                );
                history = unchanged;
            }
            Ok(mut server) => {
                while !disk.has_crashed() {
                    if let Err(error) = server.step()
                        && !matches!(error, StorageError::Io { .. } | StorageError::Broken { .. })
                    {
                        panic!("seed {seed}, life {life}: {error}");
                    } else if server.log.as_ref().is_some_and(LogWriter::is_broken) {
                        break;
                    } else if server
                        .log
                        .as_ref()
                        .is_some_and(|log| log.next_sequence() != server.history.next())
                    {
                        // A write was given up: that server serves on without a promise.
                        break;
                    }
                }
                promised = server.promised;
                attempted = server.history.next();
                history = server.history;
            }
        }
        disk = if rng.bool() {
            disk.crash()
        } else {
            disk.kill()
        };
    }
}

#[test]
fn what_is_recovered_held_once_and_is_not_before_what_was_promised() {
    let crashes: u64 =
        env::var("CRASHES").map_or(1200, |crashes| crashes.parse().expect("a number"));
    for seed in 0..crashes.div_ceil(LIVES) {
        run(seed);
    }
}
