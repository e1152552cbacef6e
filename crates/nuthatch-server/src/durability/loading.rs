//! Brings what is on disk back into the keyspace, on several threads.
//!
//! One thread reads, checks and hands out; each of the others makes the changes of a share of the keys, in
//! their order. What clears all keys waits for all of them.
//!
//! A key whose time is over by now may have been given more of it by a later record, so expiry must not run ahead
//! of what is loaded: all threads keep a time that is before every change which is still to be made. The frames of
//! the log say when that was; now and then, when all threads have made all changes up to there, the time is set
//! [a little before](MARGIN_MS) that. If the clock was set back by more, nothing expires while it is loaded.

use super::{Status, records, take_evicted};
use crate::clock;
use crate::keyspace::{Effect, EffectError, Keyspace};
use nuthatch_storage::StorageError;
use nuthatch_storage::data_dir::{DataDir, Recovered, RecoverySink};
use nuthatch_storage::record::{self, Record};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Blocks that wait for a thread.
const QUEUE: usize = 4;
/// By how much a frame's time may be behind that of one before it: threads that change keys read the clock before a
/// batch of commands, and not again during it.
const MARGIN_MS: u64 = 10_000;
/// How often the time that threads keep is set, in that time.
const FOLLOW_EVERY_MS: u64 = 1000;
/// Records whose memory is asked for before the first of them is made.
const PREPARED: usize = 16;
/// After how many bytes of a snapshot it is first reckoned how many keys it has,
const RECKON_AT: u64 = 1 << 20;
/// and the part of it that is enough to be sure.
const SURE: f64 = 0.1;
/// How often memory's bound is adjusted.
const GOVERN_EVERY: Duration = Duration::from_millis(20);
/// How often, and how many times, room is looked for again where there was none and nothing may be evicted.
const ROOM_AGAIN: Duration = Duration::from_millis(20);
const ROOM_TRIES: u32 = 250;

/// Why what is on disk could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nobody wants it any more.
    #[error("loading was given up")]
    GivenUp,
    /// There is no room for it.
    #[error(
        "what is on disk does not fit: raise maxmemory, or choose a maxmemory-policy that evicts"
    )]
    Full,
    /// A value is longer than this build can hold.
    #[error("a record cannot be held: {0}")]
    Record(EffectError),
}

/// A share of a block.
enum Job {
    Records {
        block: Arc<Vec<u8>>,
        /// Where its records are.
        places: Vec<Range<usize>>,
    },
    /// All threads meet here.
    Meet(Arc<Barrier>),
}

/// Loads everything that `data` has into `keyspace`, on so many threads. `govern` is called often, to adjust
/// memory's bound, and says whether to go on.
pub fn load(
    keyspace: &Keyspace,
    data: &DataDir,
    threads: usize,
    status: &Status,
    govern: &dyn Fn() -> bool,
) -> Result<Loaded, LoadError> {
    keyspace.journal().note_evictions();
    let now_ms = clock::now_ms();
    let loaded = attempt(keyspace, data, threads, status, govern, Some(now_ms));
    if !matches!(loaded, Err(LoadError::Storage(StorageError::Sink(ref error))) if error.is::<SetBack>())
    {
        return loaded;
    }
    let cleared = keyspace.apply(Effect::Clear);
    cleared.expect("clearing needs no room");
    status.loaded_records.store(0, Ordering::Relaxed);
    attempt(keyspace, data, threads, status, govern, None)
}

/// The clock was set back while the log was written.
#[derive(Debug, thiserror::Error)]
#[error("times of the log go back")]
struct SetBack;

fn attempt(
    keyspace: &Keyspace,
    data: &DataDir,
    threads: usize,
    status: &Status,
    govern: &dyn Fn() -> bool,
    advances_until_ms: Option<u64>,
) -> Result<Loaded, LoadError> {
    let failure = Failure::default();
    let evicted = Mutex::default();
    let clock_ms = AtomicU64::new(0);
    let sizes = data.sizes()?;
    let recovered = thread::scope(|scope| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..threads.max(1)).map(|_| sync_channel(QUEUE)).unzip();
        for receiver in receivers {
            let (failure, evicted, clock_ms) = (&failure, &evicted, &clock_ms);
            scope.spawn(move || {
                make_changes(keyspace, &receiver, failure, clock_ms);
                note_evicted(evicted);
            });
        }
        let mut dispatcher = Dispatcher {
            keyspace,
            senders,
            places: Vec::new(),
            clock_ms: &clock_ms,
            advances_until_ms,
            status,
            failure: &failure,
            govern,
            governed: Instant::now(),
            snapshot_bytes: sizes.snapshot_bytes,
            handed_bytes: 0,
            handed: 0,
            reckon_at: RECKON_AT,
        };
        data.recover(&mut dispatcher)
    });
    note_evicted(&evicted);
    clock::forget_time();
    match failure.error.into_inner() {
        Some(error) => Err(error),
        None => Ok(Loaded {
            recovered: recovered?,
            evicted: evicted.into_inner(),
        }),
    }
}

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// What was on disk.
    pub recovered: Recovered,
    /// Keys for which there was no room, to be recorded: they are still on disk.
    pub(super) evicted: Vec<u8>,
}

/// Adds the keys that this thread has evicted.
fn note_evicted(evicted: &Mutex<Vec<u8>>) {
    evicted.lock().extend(take_evicted());
}

#[derive(Debug, Default)]
struct Failure {
    has_failed: AtomicBool,
    error: Mutex<Option<LoadError>>,
}

impl Failure {
    fn set(&self, error: LoadError) {
        self.error.lock().get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

/// Makes changes until there are no more. After a failure the rest is only taken from the queue.
fn make_changes(
    keyspace: &Keyspace,
    jobs: &Receiver<Job>,
    failure: &Failure,
    clock_ms: &AtomicU64,
) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Meet(barrier) => {
                barrier.wait();
            }
            Job::Records { block, places } => {
                // Acquire: pairs with the Release of `follow`.
                clock::pretend(clock_ms.load(Ordering::Acquire));
                for places in places.chunks(PREPARED) {
                    let mut keys: SmallVec<[&[u8]; PREPARED]> = SmallVec::new();
                    for place in places {
                        // What is no record is told of when its change is made.
                        let key = record::take_key(&mut &block[place.clone()]);
                        keys.extend(key.ok().flatten());
                    }
                    keyspace.prefetch(&keys);
                    for place in places {
                        if failure.is_set() {
                            break;
                        }
                        if let Err(error) = make_change(keyspace, &block[place.clone()]) {
                            failure.set(error);
                        }
                    }
                }
            }
        }
    }
}

fn make_change(keyspace: &Keyspace, mut bytes: &[u8]) -> Result<(), LoadError> {
    let record = Record::take(&mut bytes).map_err(StorageError::from)?;
    let mut tries = 0;
    loop {
        match records::apply(keyspace, record) {
            Ok(()) => return Ok(()),
            // Memory's bound is come to from below, so there may be room in a moment.
            Err(EffectError::Full) if tries < ROOM_TRIES => {
                tries += 1;
                thread::sleep(ROOM_AGAIN);
            }
            Err(EffectError::Full) => return Err(LoadError::Full),
            Err(error) => return Err(LoadError::Record(error)),
        }
    }
}

/// Hands records out by their keys.
struct Dispatcher<'a> {
    keyspace: &'a Keyspace,
    senders: Vec<SyncSender<Job>>,
    /// By thread.
    places: Vec<Vec<Range<usize>>>,
    /// The time that all threads keep.
    clock_ms: &'a AtomicU64,
    /// Whether it goes on, and what time it is by now.
    advances_until_ms: Option<u64>,
    status: &'a Status,
    failure: &'a Failure,
    govern: &'a dyn Fn() -> bool,
    governed: Instant,
    /// Bytes of the snapshot.
    snapshot_bytes: u64,
    /// Bytes of it handed out.
    handed_bytes: u64,
    /// Records handed out.
    handed: u64,
    /// At how many bytes the keys to come are reckoned again.
    reckon_at: u64,
}

impl Dispatcher<'_> {
    /// Makes room in the keyspace's tables for the keys that are to come, as far as what has come lets expect: a
    /// snapshot is in the order of hashes, so its beginning is like the rest.
    fn reckon(&mut self, records: &[u8], count: u64) {
        self.handed_bytes += records.len() as u64;
        self.handed += count;
        if self.handed_bytes < self.reckon_at {
            return;
        }
        let snapshot_bytes = self.snapshot_bytes as f64;
        let part = (self.handed_bytes as f64 / snapshot_bytes).min(1.0);
        let (is_sure, cache) = (part >= SURE, self.keyspace.cache());
        // Rather too few: the last step is cheap, and memory that is not needed is never given back.
        let expected = self.handed as f64 / part * if is_sure { 0.97 } else { 0.5 };
        let room = cache.capacity() as f64 / self.handed_bytes as f64 * self.handed as f64;
        cache.expect_entries(expected.min(room) as u64);
        self.reckon_at = if is_sure {
            u64::MAX
        } else {
            (snapshot_bytes * SURE) as u64
        };
    }

    fn hand_out(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        if self.failure.is_set() {
            // What has failed is known to the caller.
            return Err(StorageError::Sink("loading has failed".into()));
        }
        if self.governed.elapsed() >= GOVERN_EVERY {
            if !(self.govern)() {
                self.failure.set(LoadError::GivenUp);
            }
            self.governed = Instant::now();
        }
        self.follow(time_ms)?;
        let count = record::count(&records)?;
        self.status
            .loaded_records
            .fetch_add(count, Ordering::Relaxed);
        let block = Arc::new(records);
        self.places.resize(self.senders.len(), Vec::new());
        let mut rest = &block[..];
        while !rest.is_empty() {
            let start = block.len() - rest.len();
            let key = record::take_key(&mut rest)?;
            let place = start..block.len() - rest.len();
            if let Some(key) = key {
                let thread = (self.keyspace.value_number(key) >> 32) as usize % self.senders.len();
                self.places[thread].push(place);
            } else {
                self.send(&block);
                self.meet();
                let cleared = self.keyspace.apply(Effect::Clear);
                cleared.expect("clearing needs no room");
            }
        }
        self.send(&block);
        Ok(())
    }

    /// Sets the time of all threads, if that is due before changes are made that were first made at `time_ms` or
    /// later.
    fn follow(&self, time_ms: u64) -> Result<(), StorageError> {
        let clock_ms = self.clock_ms.load(Ordering::Relaxed);
        let next_ms = match self.advances_until_ms {
            None => 1,
            Some(now_ms) if time_ms > now_ms || time_ms < clock_ms => {
                return Err(StorageError::Sink(SetBack.into()));
            }
            Some(_) => time_ms.saturating_sub(MARGIN_MS).max(1),
        };
        if clock_ms == 0 || next_ms >= clock_ms + FOLLOW_EVERY_MS {
            self.meet();
            // Release: pairs with the Acquire of `make_changes`.
            self.clock_ms.store(next_ms, Ordering::Release);
            clock::pretend(next_ms);
        }
        Ok(())
    }

    fn send(&mut self, block: &Arc<Vec<u8>>) {
        for (sender, places) in self.senders.iter().zip(&mut self.places) {
            if !places.is_empty() {
                let job = Job::Records {
                    block: Arc::clone(block),
                    places: std::mem::take(places),
                };
                sender
                    .send(job)
                    .expect("threads take jobs as long as there are senders");
            }
        }
    }

    /// Waits until all that was handed out is done.
    fn meet(&self) {
        let barrier = Arc::new(Barrier::new(self.senders.len() + 1));
        for sender in &self.senders {
            sender
                .send(Job::Meet(Arc::clone(&barrier)))
                .expect("threads take jobs as long as there are senders");
        }
        barrier.wait();
    }
}

impl RecoverySink for Dispatcher<'_> {
    fn begin(&mut self, total_bytes: u64) {
        self.status
            .loading_total_bytes
            .store(total_bytes, Ordering::Relaxed);
    }

    fn snapshot_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.reckon(&records, record::count(&records)?);
        self.hand_out(time_ms, records)
    }

    fn log_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
        self.hand_out(time_ms, records)
    }

    fn progress(&mut self, bytes: u64) {
        self.status
            .loading_loaded_bytes
            .store(bytes, Ordering::Relaxed);
    }
}
