//! What is under way: per key, one read that others join, or writes.
//!
//! The state of a key here is also the mark that decides whether an answer may be kept. An answer that is
//! on its way when its key is invalidated may be older than the change, or newer: nobody can tell. So the
//! read makes its mark before it asks, an invalidation wipes it out, and the answer is kept in process only
//! if the mark is still there. (Facebook's leases for memcached, NSDI 2013, solve the same race.)
//!
//! ```text
//!   nothing ──read──► Reading ──settled──► nothing     kept, if nothing came between
//!                        │ invalidated, or a write begins
//!                        ▼
//!                     detached: those who wait still get the answer, which is not kept; who asks from
//!                     now on begins anew, so that nobody is given what is older than his question
//!
//!   nothing ──write──► Writing ──finished──► nothing   kept, if it was the only one and nothing came
//!                        │ reads                       between: of two writes nobody knows here which
//!                        ▼                             was the last
//!                     each for itself, not kept
//! ```
//!
//! **Under one lock**: what a key's state is, and what is kept of it in process. An invalidation wipes out
//! the mark and removes the entry under the lock of the key, and an answer is checked and kept under it, so
//! there is no moment between. A listener of the cache in process may run there, so it must not wait for
//! anything that needs this lock.
//!
//! **No one waits for ever.** A leader that is dropped, cancelled or by a panic, abandons its flight, and
//! those who follow begin anew: one of them leads.

use crate::error::Failure;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

type Hasher = foldhash::fast::RandomState;

/// Parts with a lock each.
const PARTS: usize = 64;

/// The keys with a state, of a part.
type Part<K, V> = Mutex<HashMap<K, State<V>, Hasher>>;

/// See the module's text.
pub(crate) struct Pending<K, V> {
    parts: Box<[Part<K, V>]>,
    hasher: Hasher,
}

enum State<V> {
    Reading(Arc<Flight<V>>),
    Writing {
        writes: u32,
        /// Whether there was another write, or an invalidation, since the first of them began.
        contended: bool,
    },
}

/// How a flight ends for all who wait for it.
#[derive(Clone, Debug)]
pub(crate) enum Landing<V> {
    /// With the value.
    Found(V),
    /// The loader has found that there is no value.
    Absent,
    /// The remote tier has no value; nobody has tried to load one.
    Nothing,
    /// With an error that all share.
    Failed(Failure),
    /// The leader is gone; begin anew.
    Abandoned,
}

/// A read that others may follow.
#[derive(Debug)]
pub(crate) struct Flight<V> {
    landing: OnceLock<Landing<V>>,
    landed: Notify,
    /// Its key has changed since it began.
    detached: AtomicBool,
    /// Told when it has.
    changed: Notify,
}

impl<V: Clone> Flight<V> {
    fn new() -> Self {
        Self {
            landing: OnceLock::new(),
            landed: Notify::new(),
            detached: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Its key has changed. It is out of the table, or about to be.
    fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn land(&self, landing: Landing<V>) {
        let first = self.landing.set(landing).is_ok();
        debug_assert!(first, "a flight lands once");
        self.landed.notify_waiters();
    }

    /// Waits for the leader.
    pub(crate) async fn wait(&self) -> Landing<V> {
        let mut landed = pin!(self.landed.notified());
        // From here on no landing is missed.
        landed.as_mut().enable();
        if self.landing.get().is_none() {
            landed.await;
        }
        let landing = self.landing.get();
        landing.expect("who is woken finds the landing").clone()
    }
}

/// What a reader does about a key that is not kept in process.
pub(crate) enum Join<'p, K: Hash + Eq + Clone, V: Clone> {
    /// It asks, for all who come after.
    Lead(Lead<'p, K, V>),
    /// Somebody else asks already.
    Follow(Arc<Flight<V>>),
    /// The key is being written: it asks for itself.
    Alone,
}

impl<K: Hash + Eq + Clone, V: Clone> Pending<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: Hasher::default(),
        }
    }

    fn part(&self, key: &K) -> &Part<K, V> {
        &self.parts[self.hasher.hash_one(key) as usize % PARTS]
    }

    /// Joins the read of a key that is under way, or begins one.
    pub(crate) fn join(&self, key: &K) -> Join<'_, K, V> {
        match self.part(key).lock().entry(key.clone()) {
            Entry::Occupied(entry) => match entry.get() {
                State::Reading(flight) => Join::Follow(Arc::clone(flight)),
                State::Writing { .. } => Join::Alone,
            },
            Entry::Vacant(entry) => {
                let flight = Arc::new(Flight::new());
                entry.insert(State::Reading(Arc::clone(&flight)));
                Join::Lead(Lead {
                    pending: self,
                    key: key.clone(),
                    flight,
                    settled: false,
                })
            }
        }
    }

    /// The key has changed: what is on its way will not be kept. `forget` removes what is.
    pub(crate) fn invalidate(&self, key: &K, forget: impl FnOnce()) {
        let mut part = self.part(key).lock();
        if let Entry::Occupied(mut entry) = part.entry(key.clone()) {
            match entry.get_mut() {
                State::Reading(flight) => {
                    flight.detach();
                    entry.remove();
                }
                State::Writing { contended, .. } => *contended = true,
            }
        }
        forget();
    }

    /// Any key may have changed.
    pub(crate) fn invalidate_all(&self) {
        for part in &self.parts {
            part.lock().retain(|_, state| match state {
                State::Reading(flight) => {
                    flight.detach();
                    false
                }
                State::Writing { contended, .. } => {
                    *contended = true;
                    true
                }
            });
        }
    }

    /// A write of the key begins. `forget` removes what is kept.
    pub(crate) fn write(&self, key: &K, forget: impl FnOnce()) -> Write<'_, K, V> {
        let mut part = self.part(key).lock();
        match part.entry(key.clone()) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                State::Writing { writes, contended } => {
                    *writes += 1;
                    *contended = true;
                }
                State::Reading(flight) => {
                    flight.detach();
                    entry.insert(State::first_write());
                }
            },
            Entry::Vacant(entry) => {
                entry.insert(State::first_write());
            }
        }
        forget();
        drop(part);
        Write {
            pending: self,
            key: key.clone(),
            ended: false,
        }
    }

    /// How many keys are being read or written.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }
}

impl<V> State<V> {
    fn first_write() -> Self {
        Self::Writing {
            writes: 1,
            contended: false,
        }
    }
}

/// The one who asks. Dropped without [`settle`](Self::settle), it abandons its flight.
pub(crate) struct Lead<'p, K: Hash + Eq + Clone, V: Clone> {
    pending: &'p Pending<K, V>,
    key: K,
    flight: Arc<Flight<V>>,
    settled: bool,
}

impl<K: Hash + Eq + Clone, V: Clone> Lead<'_, K, V> {
    /// Whether the key has not changed since this began, as far as is known.
    pub(crate) fn is_attached(&self) -> bool {
        !self.flight.detached.load(Ordering::Relaxed)
    }

    /// Waits until the key changes.
    pub(crate) async fn changed(&self) {
        self.flight.changed.notified().await;
    }

    /// Ends the flight. `keep` puts the value in process, and is called only if the key has not changed.
    pub(crate) fn settle(mut self, landing: Landing<V>, keep: impl FnOnce()) {
        self.settled = true;
        self.leave(keep);
        self.flight.land(landing);
    }

    /// Takes the flight out of the table, if it is still there.
    fn leave(&self, keep: impl FnOnce()) {
        let mut part = self.pending.part(&self.key).lock();
        let attached = matches!(
            part.get(&self.key),
            Some(State::Reading(flight)) if Arc::ptr_eq(flight, &self.flight)
        );
        if attached {
            part.remove(&self.key);
            keep();
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if !self.settled {
            self.leave(|| {});
            self.flight.land(Landing::Abandoned);
        }
    }
}

/// A write under way. Dropped without [`finish`](Self::finish), its outcome is unknown.
pub(crate) struct Write<'p, K: Hash + Eq + Clone, V: Clone> {
    pending: &'p Pending<K, V>,
    key: K,
    ended: bool,
}

impl<K: Hash + Eq + Clone, V: Clone> Write<'_, K, V> {
    /// Ends the write. `keep` puts the value in process, and is called only if nothing came between.
    pub(crate) fn finish(mut self, keep: impl FnOnce()) {
        self.ended = true;
        self.end(Some(keep));
    }

    fn end(&self, keep: Option<impl FnOnce()>) {
        let mut part = self.pending.part(&self.key).lock();
        let Some(State::Writing { writes, contended }) = part.get_mut(&self.key) else {
            unreachable!("a key that is being written stays so until the last write has ended");
        };
        *writes -= 1;
        let alone = !*contended;
        if *writes == 0 {
            part.remove(&self.key);
        } else {
            *contended = true;
        }
        // Still under the lock.
        if alone && let Some(keep) = keep {
            keep();
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Write<'_, K, V> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None::<fn()>);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Join, Landing, Lead, Pending, Write};
    use std::cell::Cell;
    use std::collections::VecDeque;

    const KEY: u8 = 0;

    /// What a server has still to tell, in the order in which it did it.
    enum Told {
        /// To the reader with this place among those under way.
        Value(usize, u64),
        Written(usize),
        Changed,
    }

    /// One key, a server that tracks who has read it, and all that may be under way.
    struct World {
        pending: &'static Pending<u8, u64>,
        /// What is kept in process.
        kept: Cell<Option<u64>>,
        server: u64,
        /// Whether the server will tell of the next change.
        tracked: bool,
        told: VecDeque<Told>,
        reads: Vec<Option<Lead<'static, u8, u64>>>,
        writes: Vec<Option<(Write<'static, u8, u64>, u64)>>,
    }

    impl World {
        fn new() -> Self {
            Self {
                pending: Box::leak(Box::new(Pending::new())),
                kept: Cell::new(None),
                server: 0,
                tracked: false,
                told: VecDeque::new(),
                reads: Vec::new(),
                writes: Vec::new(),
            }
        }

        /// A read begins, and the server answers it: at once, since what it does later is no different.
        fn read(&mut self) {
            if let Join::Lead(lead) = self.pending.join(&KEY) {
                self.told
                    .push_back(Told::Value(self.reads.len(), self.server));
                self.tracked = true;
                self.reads.push(Some(lead));
            }
        }

        /// A write of ours: the server does not tell us of it, and tracks the key from then on, since a read
        /// follows in the same transaction.
        fn write(&mut self) {
            let write = self.pending.write(&KEY, || self.kept.set(None));
            self.server += 1;
            self.tracked = true;
            self.told.push_back(Told::Written(self.writes.len()));
            self.writes.push(Some((write, self.server)));
        }

        /// A write by others.
        fn change(&mut self) {
            self.server += 1;
            if std::mem::take(&mut self.tracked) {
                self.told.push_back(Told::Changed);
            }
        }

        /// The next of what was told arrives.
        fn hear(&mut self) {
            match self.told.pop_front() {
                Some(Told::Value(place, value)) => {
                    if let Some(lead) = self.reads[place].take() {
                        lead.settle(Landing::Found(value), || self.kept.set(Some(value)));
                    }
                }
                Some(Told::Written(place)) => {
                    if let Some((write, value)) = self.writes[place].take() {
                        write.finish(|| self.kept.set(Some(value)));
                    }
                }
                Some(Told::Changed) => self.pending.invalidate(&KEY, || self.kept.set(None)),
                None => {}
            }
        }

        /// Somebody gives up, and will not look at the answer.
        fn give_up(&mut self, random: &mut fastrand::Rng) {
            if random.bool() && !self.reads.is_empty() {
                let place = random.usize(..self.reads.len());
                drop(self.reads[place].take());
            } else if !self.writes.is_empty() {
                let place = random.usize(..self.writes.len());
                drop(self.writes[place].take());
            }
        }

        /// What is kept is what the server has, unless it has told of a change that has not arrived.
        fn validate(&self) {
            if let Some(kept) = self.kept.get() {
                let to_come = self.told.iter().any(|told| matches!(told, Told::Changed));
                assert!(
                    kept == self.server || to_come,
                    "{kept} is kept, {} is right",
                    self.server
                );
                assert!(
                    kept != self.server || self.tracked || to_come,
                    "a change would be told"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_is_right_or_about_to_go_whatever_comes_between() {
        let (mut kept, mut raced) = (0_u64, 0_u64);
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new();
            for _ in 0..200 {
                match random.u8(..20) {
                    0..5 => world.read(),
                    5..7 => world.write(),
                    7..9 => world.change(),
                    9..19 => world.hear(),
                    _ => world.give_up(&mut random),
                }
                world.validate();
                match world.kept.get() {
                    Some(_) => kept += 1,
                    None => raced += 1,
                }
            }
            while !world.told.is_empty() {
                world.hear();
                world.validate();
            }
            world.reads.clear();
            world.writes.clear();
            assert_eq!(world.pending.len(), 0, "nothing is left under way");
        }
        assert!(kept > 10_000 && raced > 10_000, "{kept} {raced}");
    }

    #[test]
    fn who_asks_after_a_change_does_not_join_who_asked_before() {
        let pending: Pending<u8, u64> = Pending::new();
        let Join::Lead(first) = pending.join(&KEY) else {
            panic!("nobody asks yet");
        };
        assert!(matches!(pending.join(&KEY), Join::Follow(_)));
        assert!(first.is_attached());
        pending.invalidate(&KEY, || {});
        assert!(!first.is_attached());
        let Join::Lead(second) = pending.join(&KEY) else {
            panic!("he asks anew");
        };
        first.settle(Landing::Found(1), || {
            panic!("it may be older than the change")
        });
        let kept = Cell::new(false);
        second.settle(Landing::Found(2), || kept.set(true));
        assert!(kept.get());
        let write = pending.write(&KEY, || {});
        assert!(matches!(pending.join(&KEY), Join::Alone));
        pending.invalidate_all();
        write.finish(|| panic!("something came between"));
        assert_eq!(pending.len(), 0);
    }
}
