//! Where data threads leave records of what they have changed, and where the log's thread takes them.
//!
//! One buffer under one lock, held as long as it takes to copy a record in. Its order is the log's order,
//! and it is right for every key: a record is left after its change was made and while the key's stripe is
//! still held.
//!
//! What one command or transaction changes is one *group*: it is gathered by its thread and left as a whole,
//! so that it is recovered as a whole or not at all.
//!
//! # Eviction
//! A key that was evicted must not come back, for a command that has seen it gone may have been answered. So
//! an eviction is a record too. But the thread that evicts does not hold the key's stripe, and before its
//! record is in the journal another thread may have written the key anew. So evicted keys are only noted, and
//! when the thread holds no stripe any more, it takes that of each in turn and leaves a record if the key is
//! still gone ([`Keyspace::log_evictions`]).

use super::records;
use crate::clock;
use crate::keyspace::{Change, Effect, Keyspace};
use nuthatch_storage::Sequence;
use nuthatch_storage::synced::Synced;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// So much is written at once, whatever the time.
pub(super) const MUCH_BYTES: usize = 256 * 1024;
/// A buffer that has grown beyond this is not kept.
const KEPT_BYTES: usize = 4 << 20;

/// Whole groups of records, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub records: Vec<u8>,
    /// Their number.
    pub count: u64,
    /// A time at or before the first of the changes, in milliseconds since 1970.
    pub time_ms: u64,
    /// When the first record was left, by the [steady clock](clock::steady_ms).
    pub since_ms: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Journal {
    /// Whether changes are recorded at all.
    is_on: AtomicBool,
    /// Whether evicted keys are noted: also while what is on disk is loaded.
    notes_evictions: AtomicBool,
    state: Mutex<State>,
    /// Tells the log's thread that there is something to do.
    bell: Condvar,
    /// The sequence of the next record.
    end: AtomicU64,
    /// What was left and is not synced yet begins here.
    synced: Synced,
    /// Changes recorded or thrown away, since the start.
    changes: AtomicU64,
    limit_bytes: AtomicU64,
    is_full: AtomicBool,
    /// Keys that were evicted by threads which do not write, as in [`Group::evicted`], and whether there are any.
    handed_over: Mutex<Vec<u8>>,
    is_handed_over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Whether records are kept for somebody to take; else they are only counted.
    keeps: bool,
    /// Whether the log's thread was told of something that it has not looked at.
    is_rung: bool,
}

/// What this thread has changed and not left in the journal yet.
#[derive(Debug, Default)]
struct Group {
    /// How many commands are under way, one inside another.
    depth: u32,
    records: Vec<u8>,
    count: u64,
    /// Keys that were evicted, each behind its length.
    evicted: Vec<u8>,
    /// Whether the log's thread is to be told.
    is_bell_due: bool,
    /// Whether something was left that nobody keeps.
    is_dropped: bool,
}

thread_local! {
    static GROUP: RefCell<Group> = RefCell::default();
}

/// A group under way; left in the journal when the outermost is dropped.
#[derive(Debug)]
pub struct OpenGroup<'a> {
    journal: &'a Journal,
}

impl Drop for OpenGroup<'_> {
    fn drop(&mut self) {
        GROUP.with_borrow_mut(|group| {
            group.depth -= 1;
            self.journal.leave_if_whole(group);
        });
    }
}

impl Journal {
    /// Whether changes are recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        // Relaxed: it is switched on before the first client is served.
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether it is noted which keys are evicted.
    #[inline]
    pub fn notes_evictions(&self) -> bool {
        // Relaxed: it is switched on before there is a key.
        self.notes_evictions.load(Ordering::Relaxed)
    }

    /// Has it noted from now on which keys are evicted.
    pub fn note_evictions(&self) {
        self.notes_evictions.store(true, Ordering::Relaxed);
    }

    /// Records changes from now on; the next record has this sequence, and all before it are on the disk.
    pub fn start(&self, next: Sequence, keeps: bool) {
        self.state.lock().keeps = keeps;
        self.end.store(next, Ordering::Release);
        self.synced.announce(next);
        self.note_evictions();
        self.is_on.store(true, Ordering::Release);
    }

    /// The sequence of the next record. All that was changed by commands which have ended is before it.
    #[inline]
    pub fn end(&self) -> Sequence {
        self.end.load(Ordering::Acquire)
    }

    /// What is before this sequence is on the disk for good.
    #[inline]
    pub fn synced(&self) -> Sequence {
        self.synced.get()
    }

    /// All before this sequence is on the disk for good. To be followed by a look at who waits.
    pub fn set_synced(&self, synced: Sequence) {
        self.synced.announce(synced);
    }

    /// Changes since the start.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// What this thread changes until the guard is dropped belongs together. To be begun with the stripes
    /// of all its keys held, and dropped before they are.
    #[inline]
    pub fn group(&self) -> Option<OpenGroup<'_>> {
        self.is_on().then(|| {
            GROUP.with_borrow_mut(|group| group.depth += 1);
            OpenGroup { journal: self }
        })
    }

    /// Records a change that was made. The caller holds the key's stripe.
    pub fn record(&self, effect: &Effect<'_>, change: &Change) {
        GROUP.with_borrow_mut(|group| {
            group.count += records::write(effect, change, &mut group.records);
            self.leave_if_whole(group);
        });
    }

    /// Notes that a key was evicted by this thread.
    #[cold]
    pub fn note_evicted(&self, key: &[u8]) {
        GROUP.with_borrow_mut(|group| {
            group.evicted.extend((key.len() as u64).to_le_bytes());
            group.evicted.extend(key);
        });
    }

    /// Leaves the keys that this thread has evicted to whoever writes next. Returns whether there are any.
    pub fn hand_over_evicted(&self) -> bool {
        let keys = take_evicted();
        if keys.is_empty() {
            return false;
        }
        let mut handed_over = self.handed_over.lock();
        handed_over.extend(keys);
        // Relaxed: whoever sees it takes the lock before it looks at the keys.
        self.is_handed_over.store(true, Ordering::Relaxed);
        true
    }

    fn take_handed_over(&self) -> Option<Vec<u8>> {
        if !self.is_handed_over.load(Ordering::Relaxed) {
            return None;
        }
        let mut keys = self.handed_over.lock();
        self.is_handed_over.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut keys))
    }

    fn leave_if_whole(&self, group: &mut Group) {
        if group.depth > 0 || group.count == 0 {
            return;
        }
        let now_ms = clock::now_ms();
        let mut state = self.state.lock();
        self.changes.fetch_add(group.count, Ordering::Relaxed);
        if state.keeps {
            let batch = &mut state.batch;
            let before = batch.records.len();
            if before == 0 {
                batch.time_ms = now_ms;
                batch.since_ms = clock::steady_ms();
                group.is_bell_due = true;
            }
            batch.time_ms = batch.time_ms.min(now_ms);
            batch.records.extend_from_slice(&group.records);
            batch.count += group.count;
            let after = batch.records.len();
            if after as u64 > self.limit_bytes.load(Ordering::Relaxed) {
                self.is_full.store(true, Ordering::Relaxed);
            }
            if before < MUCH_BYTES && after >= MUCH_BYTES {
                self.ring_locked(&mut state);
            }
            let end = self.end.load(Ordering::Relaxed) + group.count;
            // Release: pairs with the Acquire in `end`.
            self.end.store(end, Ordering::Release);
        } else {
            group.is_dropped = true;
        }
        drop(state);
        group.count = 0;
        group.records.clear();
        group.records.shrink_to(KEPT_BYTES);
    }

    /// Tells the log's thread of what this thread has left, if nobody has yet. To be called when the thread
    /// is about to wait.
    #[inline]
    pub fn ring_if_due(&self) {
        if GROUP.with_borrow_mut(|group| std::mem::take(&mut group.is_bell_due)) {
            self.ring();
        }
    }

    /// Whether this thread has left something that nobody keeps, since it was asked last.
    pub fn take_dropped(&self) -> bool {
        GROUP.with_borrow_mut(|group| std::mem::take(&mut group.is_dropped))
    }

    /// Has the log's thread look what there is to do.
    pub fn ring(&self) {
        self.ring_locked(&mut self.state.lock());
    }

    fn ring_locked(&self, state: &mut MutexGuard<'_, State>) {
        state.is_rung = true;
        self.bell.notify_one();
    }

    /// Waits until somebody rings, or so long. The log's thread only.
    pub fn wait(&self, timeout: Option<Duration>) {
        let mut state = self.state.lock();
        if !state.is_rung {
            match timeout {
                Some(timeout) => {
                    self.bell.wait_for(&mut state, timeout);
                }
                None => self.bell.wait(&mut state),
            }
        }
        state.is_rung = false;
    }

    /// When the first record was left that waits to be taken, by the steady clock, and how many bytes wait; `None`
    /// if nothing does.
    pub fn waiting(&self) -> Option<(u64, usize)> {
        let state = self.state.lock();
        let batch = &state.batch;
        (batch.count > 0).then_some((batch.since_ms, batch.records.len()))
    }

    /// Takes what waits, and leaves `spare` to be filled.
    pub fn take(&self, spare: &mut Batch) {
        spare.records.clear();
        spare.records.shrink_to(KEPT_BYTES);
        spare.count = 0;
        std::mem::swap(&mut self.state.lock().batch, spare);
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// Keeps records from now on, for a log that begins with the sequence that is returned, which no record
    /// has had.
    pub fn begin_anew(&self) -> Sequence {
        let mut state = self.state.lock();
        let first = self.end.load(Ordering::Relaxed) + 1;
        state.batch = Batch::default();
        state.keeps = true;
        // Release: pairs with the Acquire in `end`.
        self.end.store(first, Ordering::Release);
        first
    }

    /// Only counts changes from now on.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        state.batch = Batch::default();
        state.keeps = false;
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// How many bytes may wait to be taken.
    pub fn set_limit(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether more waits to be taken than may.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

impl Keyspace {
    /// Leaves records of the keys that this thread has evicted, or that were handed over, and that are still
    /// gone. To be called with no stripe held, by a thread that may write.
    #[inline]
    pub fn log_evictions(&self) {
        if let Some(keys) = self.journal().take_handed_over() {
            self.log_evicted(&keys);
        }
        if self.journal().is_on() && GROUP.with_borrow(|group| !group.evicted.is_empty()) {
            let mut evicted = take_evicted();
            self.log_evicted(&evicted);
            evicted.clear();
            evicted.shrink_to(KEPT_BYTES);
            GROUP.with_borrow_mut(|group| {
                if group.evicted.is_empty() {
                    group.evicted = evicted;
                }
            });
        }
    }

    /// As [`log_evictions`](Self::log_evictions), of keys that another thread has evicted.
    pub fn log_evicted(&self, mut evicted: &[u8]) {
        while let Some((length, rest)) = evicted.split_first_chunk() {
            let (key, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
            evicted = rest;
            let _held = self.locks().hold_one(self.lock_hash(key));
            if !self.contains(key) {
                let effect = Effect::Delete { key };
                self.journal().record(&effect, &Change::default());
            }
        }
    }
}

/// The keys that this thread has evicted since it was asked last.
pub(super) fn take_evicted() -> Vec<u8> {
    GROUP.with_borrow_mut(|group| std::mem::take(&mut group.evicted))
}
