//! The two engines: shards under one bound, with locked or lock-free reads.
//!
//! `Store<.., true>` is the lock-free engine, `Store<.., false>` the locked one. They differ in one
//! call, the one that finds an entry for a reader; everything else is the same code, so a
//! comparison of the two measures the lock and nothing else.
//!
//! Every write is one *operation*: it takes its shard's lock, looks the key up, makes
//! room, changes table and policy, and releases the lock. What it removed leaves the critical
//! section with it: listeners hear of it when the operation has given back what weight it had left,
//! and keys and values are dropped with no lock held. Code of the user's that runs under a shard's
//! lock: `Hash` and `Eq` of keys, an [`Expiry`](crate::Expiry), a [`Clock`] and a policy of their
//! own.
//!
//! That code may panic. An operation that is unwound ends like any other: it gives its weight back,
//! and what it has removed is told of and let go. A `Hash` that panics, or has changed, while the
//! cache looks for an entry of its own accord makes that entry cost a search by its id, no more.
//! Where a key's or a value's drop panics, the operation is first completed, and then passes the
//! panic on.
//!
//! Room is made in the writer's own shard if that holds its share of the capacity, and else in one
//! that holds more than its share. So shards borrow from each other while some are below their
//! share, and an insertion into a full cache still takes one lock.

mod hits;
#[cfg(feature = "snapshot")]
mod saving;
mod scanning;
mod upkeep;
mod writes;

pub(crate) use writes::Expect;

use crate::bound::Bound;
use crate::clock::Clock;
use crate::entry::EntryView;
use crate::expiration::Expiration;
use crate::hazard::{Protection, protect, thread_index};
use crate::hit_buffer::HitBuffer;
use crate::policy::{EntryId, HitMode, HitSampler, Policy};
use crate::removal::RemovalCause;
use crate::shard::{Entry, Guarded, Shard, pass_on};
use crate::stats::{Counter, Stats, StatsSnapshot};
use hits::AtomicHitMode;
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;
pub(crate) type Listener<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

/// How many keys are read together: enough to wait for memory once and not for each, and few enough
/// that what was loaded is still there when its turn comes.
const BATCH: usize = 32;

/// An engine: shards under one bound. `LOCK_FREE` says how reads find their entry. See
/// [`LockFree`](crate::LockFree) and [`Locked`](crate::Locked).
#[repr(C)]
pub struct Store<K, V, S, const LOCK_FREE: bool> {
    // What every read needs, in this order and so on as few cache lines as can be.
    shards: Box<[Shard<K, V>]>,
    pub(crate) stats: Stats,
    /// The number of shards is 2 to this power.
    shard_bits: u32,
    /// A hit is sampled if the low 32 bits of its hash are below this.
    sample_below: AtomicU32,
    hit_mode: AtomicHitMode,
    /// Whether entries have no weights and removals no listener: see [`put_plain`](Self::put_plain).
    is_plain: bool,
    pub(crate) hasher: S,
    pub(crate) expiration: Expiration<K, V>,
    pub(crate) clock: Clock,
    /// Who hears of samples: the sampler of the policy in force, or of the one to come.
    sampler: Mutex<Option<Arc<dyn HitSampler>>>,
    samples: HitBuffer<u64>,
    /// Hits that the policies have not heard of yet, by shard. Made for the first policy under
    /// [`HitMode::Ordered`], and only where readers take no lock.
    ordered: OnceLock<Box<[HitBuffer<u32>]>>,
    weigher: Option<Box<Weigher<K, V>>>,
    listener: Option<Box<Listener<K, V>>>,
    bound: Bound,
    /// The policy in force.
    policy: Mutex<Policy>,
    /// Held while the policy is changed.
    changing: Mutex<()>,
    /// How many entries a shard expected to hold when the cache was built.
    policy_slots: usize,
    policy_seed: u64,
    /// Whether a reader that finds an entry whose time is over removes it.
    reads_expire: AtomicBool,
}

/// What [`Store::new`] is made of.
pub(crate) struct Parts<K, V, S> {
    pub(crate) shards: Box<[Shard<K, V>]>,
    pub(crate) bound: Bound,
    pub(crate) policy: Policy,
    pub(crate) policy_slots: usize,
    pub(crate) policy_seed: u64,
    pub(crate) hit_mode: HitMode,
    pub(crate) sampler: Option<Arc<dyn HitSampler>>,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    pub(crate) expiration: Expiration<K, V>,
    pub(crate) stats: Stats,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Option<Box<Listener<K, V>>>,
}

/// Spreads a hasher's result over all 64 bits, so that shard, group, tag and sample may each take
/// their own bits of it, whatever hasher the user brings: one folded multiplication.
#[inline]
fn spread(hash: u64) -> u64 {
    let product = u128::from(hash ^ 0x2d35_8dcc_aa6c_78a5) * 0x9e37_79b9_7f4a_7c15_u128;
    product as u64 ^ (product >> 64) as u64
}

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    pub(crate) fn new(parts: Parts<K, V, S>) -> Self {
        let threshold = parts
            .sampler
            .as_ref()
            .map_or(0, |sampler| sampler.threshold());
        let store = Self {
            shard_bits: parts.shards.len().trailing_zeros(),
            hit_mode: AtomicHitMode::new(parts.hit_mode),
            is_plain: parts.weigher.is_none() && parts.listener.is_none(),
            sample_below: AtomicU32::new(threshold),
            samples: HitBuffer::new(),
            ordered: OnceLock::new(),
            hasher: parts.hasher,
            clock: parts.clock,
            expiration: parts.expiration,
            stats: parts.stats,
            sampler: Mutex::new(parts.sampler),
            weigher: parts.weigher,
            listener: parts.listener,
            bound: parts.bound,
            policy: Mutex::new(parts.policy),
            changing: Mutex::new(()),
            policy_slots: parts.policy_slots,
            policy_seed: parts.policy_seed,
            shards: parts.shards,
            reads_expire: AtomicBool::new(false),
        };
        store.make_buffers(parts.hit_mode);
        store
    }

    /// The hash of a key, spread over all bits.
    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        spread(self.hasher.hash_one(key))
    }

    /// The hash of a key that is in the cache. If its `Hash` panics there is none: any number will
    /// do, for an entry that is not found by its hash is looked for by its id.
    #[inline]
    fn rehash(&self) -> impl Fn(&K) -> u64 {
        |key| catch_unwind(AssertUnwindSafe(|| self.hash(key))).unwrap_or_default()
    }

    #[inline]
    fn shard_index(&self, hash: u64) -> usize {
        // Two shifts, because a shift by 64 is none.
        (hash >> 1 >> (63 - self.shard_bits)) as usize
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        if self.expiration.is_in_use() {
            self.clock.now_ns()
        } else {
            0
        }
    }

    #[inline]
    fn is_expired(&self, shard: &Shard<K, V>, id: EntryId) -> bool {
        // Whoever sees the id of the first entry with a deadline sees that there are some.
        self.expiration.is_in_use()
            && shard
                .deadline_ns(id)
                .is_some_and(|deadline_ns| self.clock.now_ns() >= deadline_ns)
    }

    // ---- reads ----------------------------------------------------------------------------

    /// Passes the live entry of `key` to `look`. With `record`, the policy and the statistics take
    /// it as a hit or a miss.
    #[inline]
    pub(crate) fn read<Q, R>(
        &self,
        key: &Q,
        record: bool,
        look: impl FnOnce(EntryView<'_, K, V>) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.read_hashed(self.hash(key), key, record, look)
    }

    /// [`read`](Self::read) for a caller that knows the key's hash.
    #[inline]
    pub(crate) fn read_hashed<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        record: bool,
        look: impl FnOnce(EntryView<'_, K, V>) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let shard = &self.shards[self.shard_index(hash)];
        if self.expiration.is_in_use() {
            return self.read_timed(shard, hash, key, record, look);
        }
        let mut protection = protect();
        let thread = protection.thread_index();
        let Some((id, entry)) = self.find(shard, &mut protection, hash, key) else {
            if record {
                self.stats.count(thread, Counter::Misses);
            }
            return None;
        };
        // The first deadline may have come meanwhile, and this entry may be the one that has it:
        // whoever sees its id also sees that there is one.
        if self.expiration.is_in_use() {
            drop(protection);
            return self.read_timed(shard, hash, key, record, look);
        }
        if record {
            self.hit(shard, id, hash, thread);
        }
        Some(look(EntryView::new(entry, shard, id)))
    }

    /// As [`read_hashed`](Self::read_hashed), where entries may have deadlines.
    #[inline(never)]
    fn read_timed<Q, R>(
        &self,
        shard: &Shard<K, V>,
        hash: u64,
        key: &Q,
        record: bool,
        look: impl FnOnce(EntryView<'_, K, V>) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut protection = protect();
        let thread = protection.thread_index();
        while let Some((id, entry)) = self.find(shard, &mut protection, hash, key) {
            if !self.is_expired(shard, id) {
                if record {
                    self.move_deadline(shard, id, entry);
                    self.hit(shard, id, hash, thread);
                }
                return Some(look(EntryView::new(entry, shard, id)));
            }
            if !self.is_superseded(shard, id, hash, key) {
                self.expire_if_wanted(hash, key);
                break;
            }
        }
        if record {
            self.stats.count(thread, Counter::Misses);
        }
        None
    }

    /// The entry of `key`, expired or not, protected.
    #[inline]
    fn find<'p, Q>(
        &'p self,
        shard: &'p Shard<K, V>,
        protection: &'p mut Protection<'_>,
        hash: u64,
        key: &Q,
    ) -> Option<(EntryId, &'p Entry<K, V>)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_it = move |found: &K| found.borrow() == key;
        if LOCK_FREE {
            shard.find(protection, hash, is_it)
        } else {
            shard.find_locked(protection, hash, is_it)
        }
    }

    /// Whether `key` has another entry by now than `id`, which the caller protects and has seen
    /// expired: its value may have been replaced in time, after the caller had found it. If not,
    /// the key was there at the latest until its time was over.
    #[cold]
    fn is_superseded<Q>(&self, shard: &Shard<K, V>, id: EntryId, hash: u64, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut protection = protect();
        let found = self.find(shard, &mut protection, hash, key);
        found.is_some_and(|(now, _)| now != id)
    }

    /// A reader has found that the time of `key`'s entry is over: removes it if readers are to.
    #[cold]
    fn expire_if_wanted<Q>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // Relaxed: readers may learn late that it was switched.
        if self.reads_expire.load(Ordering::Relaxed) {
            self.expire(hash, key);
        }
    }

    /// See [`Cache::remove_expired_on_read`](crate::Cache::remove_expired_on_read).
    pub(crate) fn set_reads_expire(&self, on: bool) {
        self.reads_expire.store(on, Ordering::Relaxed);
    }

    /// A guard of the live entry of `key`, recorded as a hit or a miss.
    #[inline]
    pub(crate) fn guard<Q>(&self, key: &Q, record: bool) -> Option<Guarded<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let shard = &self.shards[self.shard_index(hash)];
        let is_it = move |found: &K| found.borrow() == key;
        loop {
            let protection = protect();
            let thread = protection.thread_index();
            let Some(guard) = shard.guard(protection, LOCK_FREE, hash, is_it) else {
                break;
            };
            if !self.is_expired(shard, guard.id()) {
                if record {
                    self.move_deadline(shard, guard.id(), guard.entry());
                    self.hit(shard, guard.id(), hash, thread);
                }
                return Some(guard);
            }
            if !self.is_superseded(shard, guard.id(), hash, key) {
                self.expire_if_wanted(hash, key);
                break;
            }
        }
        if record {
            self.stats.count(thread_index(), Counter::Misses);
        }
        None
    }

    /// When the value that `guard` protects was written, if that is kept.
    pub(crate) fn written_ns<Q>(&self, key: &Q, guard: &Guarded<'_, K, V>) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[self.shard_index(self.hash(key))].written_ns(guard.id())
    }

    /// Reads many keys, a batch at a time: first all lines that the searches begin with are asked for,
    /// then `warm` is given the batch's hashes, then the searches run.
    pub(crate) fn read_many<Q>(
        &self,
        keys: &[&Q],
        warm: impl Fn(&[u64]),
        mut look: impl FnMut(usize, Option<EntryView<'_, K, V>>),
    ) where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut hashes = [0; BATCH];
        for (batch, first) in keys.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let hashes = self.hash_batch(batch, &mut hashes);
            warm(hashes);
            for ((key, &hash), index) in batch.iter().zip(hashes).zip(first..) {
                let found = self.read_hashed(hash, *key, true, |entry| look(index, Some(entry)));
                if found.is_none() {
                    look(index, None);
                }
            }
        }
    }

    /// Has the memory loaded that look-ups of `keys` will need, as [`warm`](Self::warm) does.
    pub(crate) fn prefetch<Q>(&self, keys: &[&Q], warm_key: impl Fn(&K))
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        let mut hashes = [0; BATCH];
        for batch in keys.chunks(BATCH) {
            self.warm(self.hash_batch(batch, &mut hashes), &warm_key);
        }
    }

    /// The hashes of at most [`BATCH`] keys, whose lines of the tables are asked for.
    fn hash_batch<'h, Q>(&self, keys: &[&Q], hashes: &'h mut [u64; BATCH]) -> &'h [u64]
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        let hashes = &mut hashes[..keys.len()];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(*key);
            self.shards[self.shard_index(*hash)].prefetch(*hash);
        }
        hashes
    }

    /// Has the memory loaded that searches for these hashes will look at, one level at a time: the
    /// slots, and what `warm_key` asks for on behalf of the keys in them. Their lines of the table
    /// should have been asked for.
    pub(crate) fn warm(&self, hashes: &[u64], warm_key: impl Fn(&K)) {
        let mut protection = protect();
        for &hash in hashes {
            self.shards[self.shard_index(hash)].prefetch_slot(&mut protection, hash);
        }
        // Without a lock on either engine, for `warm_key` is the user's.
        for &hash in hashes {
            self.shards[self.shard_index(hash)].find(&mut protection, hash, |key| {
                warm_key(key);
                true
            });
        }
    }

    /// What a hit does to the entry's deadline, if reads move that.
    #[inline]
    fn move_deadline(&self, shard: &Shard<K, V>, id: EntryId, entry: &Entry<K, V>) {
        if !self.expiration.moves_on_read() {
            return;
        }
        let now_ns = self.clock.now_ns();
        let current = shard.deadline_ns(id);
        if let Some((deadline_ns, slack_ns)) =
            self.expiration
                .after_read(&entry.key, &entry.value, now_ns, current)
        {
            let nearer = shard.move_deadline(id, deadline_ns, slack_ns);
            if nearer {
                self.reschedule(shard, id);
            }
        }
    }

    /// An entry's deadline came nearer on a read: the wheel has to know.
    #[cold]
    fn reschedule(&self, shard: &Shard<K, V>, id: EntryId) {
        let mut exclusive = shard.lock();
        exclusive.reschedule(id);
        pass_on(exclusive.finish());
    }

    // ---- the whole ------------------------------------------------------------------------

    /// What was counted, and the state of the whole.
    pub(crate) fn snapshot(&self) -> StatsSnapshot {
        let mut snapshot =
            self.stats
                .snapshot(self.entries(), self.total_weight(), self.bound_capacity());
        if self.weigher.is_none() {
            snapshot.weigh_one_each();
        }
        snapshot
    }

    pub(crate) fn bound_capacity(&self) -> u64 {
        self.bound.capacity()
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Live entries, expired ones that were not cleared away yet included.
    pub(crate) fn entries(&self) -> u64 {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Those of them that have a deadline.
    pub(crate) fn timed_entries(&self) -> u64 {
        self.shards.iter().map(Shard::timed_len).sum()
    }

    /// Weight of the live entries, and of what operations under way are about to link or have just
    /// unlinked. The shards' own weights are right one by one, but their sum mixes moments and may
    /// exceed the bound.
    pub(crate) fn total_weight(&self) -> u64 {
        self.bound.total()
    }

    /// The hashes of a shard's entries, each once.
    pub(crate) fn hashes(&self, shard: usize) -> Vec<u64> {
        self.shards[shard].hashes(|key| self.hash(key))
    }

    /// Guards of the live entries of `shard` with this hash.
    pub(crate) fn guard_hash<'s>(
        &'s self,
        shard: usize,
        hash: u64,
        found: &mut Vec<Guarded<'s, K, V>>,
    ) {
        self.shards[shard].guard_hash(hash, |key| self.hash(key), found);
        found.retain(|guard| !self.is_expired(&self.shards[shard], guard.id()));
    }

    /// Recounts everything from scratch.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(crate) fn validate(&self) {
        let hash = |key: &K| self.hash(key);
        let _turn = self.changing.lock();
        let mut locked: Vec<_> = self.shards.iter().map(Shard::lock).collect();
        let mut all_pinned = true;
        for (index, exclusive) in locked.iter_mut().enumerate() {
            exclusive.validate(&hash);
            for id in exclusive.ids() {
                all_pinned &= exclusive.is_pinned(id);
                let hash = self.hash(&exclusive.entry(id).key);
                assert_eq!(
                    self.shard_index(hash),
                    index,
                    "an entry is in its hash's shard"
                );
            }
        }
        let weight: u64 = self.shards.iter().map(Shard::weight).sum();
        assert_eq!(
            self.bound.total(),
            weight,
            "the bound knows the total weight"
        );
        assert!(
            all_pinned || self.total_weight() <= self.bound_capacity(),
            "the weight is within the bound, unless it was set below that of pinned entries"
        );
    }
}

impl<K, V, S, const LOCK_FREE: bool> fmt::Debug for Store<K, V, S, LOCK_FREE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(if LOCK_FREE { "LockFree" } else { "Locked" })
            .field("shards", &self.shards)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
