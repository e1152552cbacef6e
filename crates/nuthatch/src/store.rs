//! The two engines: shards under one bound, with locked or lock-free reads.
//!
//! `Store<.., true>` is the lock-free engine, `Store<.., false>` the locked one. They differ in one
//! call, the one that finds an entry for a reader; everything else is the same code, so a
//! comparison of the two measures the lock and nothing else.
//!
//! Every write is one *operation* ([`Op`]): it takes its shard's lock, looks the key up, makes
//! room, changes table and policy, and releases the lock. What it removed leaves the critical
//! section with it: listeners hear of it when the operation has given back what weight it had left,
//! and keys and values are dropped with no lock held. Code of the user's that runs under a shard's
//! lock: `Hash` and `Eq` of keys, an [`Expiry`](crate::Expiry), and a policy of their own.
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

use crate::bound::Bound;
use crate::clock::Clock;
use crate::expiration::{Expiration, Lifetime};
use crate::hazard::{Protection, protect, thread_index};
use crate::hit_buffer::HitBuffer;
use crate::policy::{EntryId, EvictionPolicy, HitMode, HitSampler};
use crate::removal::{Insertion, RemovalCause};
use crate::shard::{Birth, Entry, Exclusive, Guarded, Panic, Removed, Shard, pass_on};
use crate::stats::{Counter, Stats, StatsSnapshot, Tally};
use crate::table::Place;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many expired, doomed or due entries a write clears away besides its own work.
const HOUSEKEEPING: usize = 8;
/// How often a write looks for room in all shards before it believes that there is none.
const ROOM_ATTEMPTS: u32 = 64;

pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;
pub(crate) type Listener<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

/// An engine: shards under one bound. `LOCK_FREE` says how reads find their entry. See
/// [`LockFree`](crate::LockFree) and [`Locked`](crate::Locked).
pub struct Store<K, V, S, const LOCK_FREE: bool> {
    shards: Box<[Shard<K, V>]>,
    /// The number of shards is 2 to this power.
    shard_bits: u32,
    hit_mode: HitMode,
    /// A hit is sampled if the low 32 bits of its hash are below this.
    sample_below: AtomicU32,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    pub(crate) expiration: Expiration<K, V>,
    pub(crate) stats: Stats,
    sampler: Option<Arc<dyn HitSampler>>,
    /// Whether entries have no weights and removals no listener: see [`put_plain`](Self::put_plain).
    is_plain: bool,
    samples: HitBuffer<u64>,
    /// Hits that the policies have not heard of yet, by shard; only for [`HitMode::Ordered`].
    ordered: Box<[HitBuffer<u32>]>,
    weigher: Option<Box<Weigher<K, V>>>,
    listener: Option<Box<Listener<K, V>>>,
    bound: Bound,
}

/// What [`Store::new`] is made of.
pub(crate) struct Parts<K, V, S> {
    pub(crate) shards: Box<[Shard<K, V>]>,
    pub(crate) bound: Bound,
    pub(crate) hit_mode: HitMode,
    pub(crate) sampler: Option<Arc<dyn HitSampler>>,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    pub(crate) expiration: Expiration<K, V>,
    pub(crate) stats: Stats,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Option<Box<Listener<K, V>>>,
}

/// What a write asks of the entry that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Anything,
    Absent,
    /// This very entry, which the caller protects.
    Entry(EntryId),
    /// An entry written at this time, in nanoseconds, where that is kept.
    WrittenAt(u64),
}

impl Expect {
    fn is_met_by<K, V>(self, found: Option<EntryId>, shard: &Shard<K, V>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Entry(id) => found == Some(id),
            Self::WrittenAt(ns) => found.and_then(|id| shard.written_ns(id)) == Some(ns),
        }
    }
}

/// A write under way: the weight it holds and what it has removed. Must be declared before the lock
/// that it is used with, so that a panic releases the lock first.
struct Op<'s, K, V> {
    bound: &'s Bound,
    tally: Tally<'s>,
    listener: Option<&'s Listener<K, V>>,
    /// Weight that is taken from the bound but belongs to no entry.
    credit: u64,
    now_ns: u64,
    /// What the listener has still to hear of.
    removed: Vec<(&'s Shard<K, V>, Removed, RemovalCause)>,
    /// The first panic of a key's or value's drop.
    panic: Option<Panic>,
}

impl<K, V> Op<'_, K, V> {
    /// Ends a critical section: drops what nobody sees.
    #[inline]
    fn finish(&mut self, exclusive: Exclusive<'_, K, V>) {
        if let Some(panic) = exclusive.finish() {
            self.panic.get_or_insert(panic);
        }
    }

    /// Gives back what weight is left over.
    #[inline]
    fn settle(&mut self) {
        self.bound.give(take(&mut self.credit));
    }

    /// Ends the operation, with no lock held.
    #[inline]
    fn end(mut self) {
        self.conclude();
        if self.panic.is_some() {
            pass_on(self.panic.take());
        }
    }

    /// Settles, tells the listener, and lets the removed entries go.
    #[inline]
    fn conclude(&mut self) {
        self.settle();
        if let Some(listener) = self.listener
            && !self.removed.is_empty()
        {
            self.tell(listener);
        }
    }

    /// Tells the listener of what was removed, and then lets it go.
    fn tell(&mut self, listener: &Listener<K, V>) {
        for (shard, removed, cause) in &self.removed {
            let entry = shard.entry_of(removed);
            let heard = catch_unwind(AssertUnwindSafe(|| {
                listener(&entry.key, &entry.value, *cause);
            }));
            if heard.is_err() {
                self.tally.count(Counter::ListenerPanics);
            }
        }
        let mut removed = take(&mut self.removed).into_iter().peekable();
        while let Some((shard, first, _)) = removed.next() {
            let mut exclusive = shard.lock();
            exclusive.retire(first);
            while let Some((_, next, _)) = removed.next_if(|(next, ..)| ptr::eq(*next, shard)) {
                exclusive.retire(next);
            }
            self.finish(exclusive);
        }
    }
}

impl<K, V> Drop for Op<'_, K, V> {
    /// Does something only if a panic has kept the operation from its end.
    #[inline]
    fn drop(&mut self) {
        self.conclude();
    }
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
        let shards = parts.shards.len();
        let threshold = parts
            .sampler
            .as_ref()
            .map_or(0, |sampler| sampler.threshold());
        let buffers = if LOCK_FREE && parts.hit_mode == HitMode::Ordered {
            shards
        } else {
            0
        };
        Self {
            shard_bits: shards.trailing_zeros(),
            hit_mode: parts.hit_mode,
            is_plain: parts.weigher.is_none() && parts.listener.is_none(),
            sample_below: AtomicU32::new(threshold),
            samples: HitBuffer::new(),
            ordered: (0..buffers).map(|_| HitBuffer::new()).collect(),
            hasher: parts.hasher,
            clock: parts.clock,
            expiration: parts.expiration,
            stats: parts.stats,
            sampler: parts.sampler,
            weigher: parts.weigher,
            listener: parts.listener,
            bound: parts.bound,
            shards: parts.shards,
        }
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
        look: impl FnOnce(&Entry<K, V>) -> R,
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
        look: impl FnOnce(&Entry<K, V>) -> R,
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
        Some(look(entry))
    }

    /// As [`read_hashed`](Self::read_hashed), where entries may have deadlines.
    #[inline(never)]
    fn read_timed<Q, R>(
        &self,
        shard: &Shard<K, V>,
        hash: u64,
        key: &Q,
        record: bool,
        look: impl FnOnce(&Entry<K, V>) -> R,
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
                return Some(look(entry));
            }
            if !self.is_superseded(shard, id, hash, key) {
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
        let is_it = |found: &K| found.borrow() == key;
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

    /// A guard of the live entry of `key`, recorded as a hit or a miss.
    #[inline]
    pub(crate) fn guard<Q>(&self, key: &Q, record: bool) -> Option<Guarded<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let shard = &self.shards[self.shard_index(hash)];
        let is_it = |found: &K| found.borrow() == key;
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

    /// Reads many keys: first all lines that the searches begin with are asked for, then the
    /// searches run.
    pub(crate) fn read_many<Q, R>(
        &self,
        keys: &[&Q],
        mut look: impl FnMut(&Entry<K, V>) -> R,
    ) -> Vec<Option<R>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(*key)).collect();
        for &hash in &hashes {
            self.shards[self.shard_index(hash)].prefetch(hash);
        }
        keys.iter()
            .zip(hashes)
            .map(|(key, hash)| self.read_hashed(hash, *key, true, &mut look))
            .collect()
    }

    /// What a hit does: to the entry's access byte, to a sample, to the counters.
    #[inline]
    fn hit(&self, shard: &Shard<K, V>, id: EntryId, hash: u64, thread: usize) {
        if let HitMode::Count { max } = self.hit_mode {
            shard.access.count(id, max);
        } else if self.hit_mode != HitMode::Ignore {
            self.told_hit(shard, id, hash, thread);
        }
        if (hash as u32) < self.sample_below.load(Ordering::Relaxed) {
            self.sampled_hit(hash, thread);
        }
        self.stats.count(thread, Counter::Hits);
    }

    /// A hit under a policy that is told of it by more than a count.
    #[inline(never)]
    fn told_hit(&self, shard: &Shard<K, V>, id: EntryId, hash: u64, thread: usize) {
        if self.hit_mode == HitMode::Stamp {
            shard.access.stamp(id, shard.era.load(Ordering::Relaxed));
        } else {
            self.ordered_hit(self.shard_index(hash), id, thread);
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

    /// A hit under a policy that hears of each.
    fn ordered_hit(&self, index: usize, id: EntryId, thread: usize) {
        let shard = &self.shards[index];
        if LOCK_FREE {
            let full = self.ordered[index].record(thread, id);
            if full && let Some(mut exclusive) = shard.try_lock() {
                self.drain_ordered(index, &mut exclusive);
                pass_on(exclusive.finish());
            }
        } else {
            let mut exclusive = shard.lock();
            self.ordered_hit_now(&mut exclusive, id);
            pass_on(exclusive.finish());
        }
    }

    fn ordered_hit_now(&self, exclusive: &mut Exclusive<'_, K, V>, id: EntryId) {
        // The entry may have left, and its slot may even hold another one, which then gets a hit
        // too many.
        if exclusive.is_evictable(id) {
            exclusive.policy(&self.rehash(), |policy, entries| policy.hit(id, entries));
        }
    }

    fn drain_ordered(&self, index: usize, exclusive: &mut Exclusive<'_, K, V>) {
        self.ordered[index].drain(&mut |id| self.ordered_hit_now(exclusive, id));
    }

    /// Takes over the sampler's threshold, which changes as the sampler learns how many entries fit.
    #[inline]
    fn follow_sampler(&self) {
        if let Some(sampler) = &self.sampler {
            let threshold = sampler.threshold();
            if self.sample_below.load(Ordering::Relaxed) != threshold {
                self.sample_below.store(threshold, Ordering::Relaxed);
            }
        }
    }

    #[cold]
    fn sampled_hit(&self, hash: u64, thread: usize) {
        if self.samples.record(thread, hash) {
            self.deliver_samples();
        }
    }

    /// Tells the sampler of the hits that wait.
    fn deliver_samples(&self) {
        let Some(sampler) = &self.sampler else { return };
        let mut batch = [0; 32];
        let mut len = 0;
        self.samples.drain(&mut |hash| {
            batch[len] = hash;
            len += 1;
            if len == batch.len() {
                sampler.hits(&batch);
                len = 0;
            }
        });
        if len > 0 {
            sampler.hits(&batch[..len]);
        }
    }

    // ---- writes ---------------------------------------------------------------------------

    #[inline]
    fn op(&self) -> Op<'_, K, V> {
        Op {
            bound: &self.bound,
            tally: self.stats.tally(thread_index()),
            listener: self.listener.as_deref(),
            credit: 0,
            now_ns: self.now_ns(),
            removed: Vec::new(),
            panic: None,
        }
    }

    /// Work that every write does a bit of: hits that wait, entries whose time is over, entries
    /// that were invalidated all at once.
    #[inline]
    fn housekeep<'s>(
        &'s self,
        index: usize,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
    ) {
        if LOCK_FREE && self.hit_mode == HitMode::Ordered {
            self.drain_ordered(index, exclusive);
        }
        if exclusive.has_leavers() {
            self.clear_away(exclusive, op, HOUSEKEEPING);
        }
    }

    /// Removes up to `budget` due and doomed entries each. Returns whether there may be more.
    fn clear_away<'s>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        budget: usize,
    ) -> bool {
        let hash = self.rehash();
        let mut due = budget;
        while let Some(id) = exclusive.pop_due(op.now_ns, &mut due) {
            op.credit += u64::from(exclusive.weight(id));
            let removed = exclusive.remove_id(id, &hash);
            self.leave(exclusive, op, removed, RemovalCause::Expired);
        }
        let mut doomed = budget;
        while doomed > 0
            && let Some(removed) = exclusive.next_doomed()
        {
            doomed -= 1;
            self.leave(exclusive, op, removed, RemovalCause::Invalidated);
        }
        due == 0 || doomed == 0
    }

    /// Counts a removal, and keeps the entry for the listener or lets it go.
    #[inline]
    fn leave<'s>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        removed: Removed,
        cause: RemovalCause,
    ) {
        let weight = u64::from(exclusive.weight(removed.id()));
        let (count, weights) = match cause {
            RemovalCause::Evicted => (Counter::Evicted, Counter::EvictedWeight),
            RemovalCause::Expired => (Counter::Expired, Counter::ExpiredWeight),
            RemovalCause::Invalidated => (Counter::Invalidated, Counter::InvalidatedWeight),
            RemovalCause::Replaced => (Counter::Replaced, Counter::ReplacedWeight),
        };
        op.tally.count(count);
        self.count_weight(op.tally, weights, weight);
        if self.listener.is_some() {
            op.removed.push((exclusive.shard(), removed, cause));
        } else {
            exclusive.retire(removed);
        }
    }

    /// Counts a weight, where it is not just the number of entries.
    #[inline]
    fn count_weight(&self, tally: Tally<'_>, counter: Counter, weight: u64) {
        if self.weigher.is_some() {
            tally.add(counter, weight);
        }
    }

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

    #[inline]
    fn weigh(&self, key: &K, value: &V) -> u32 {
        self.weigher
            .as_ref()
            .map_or(1, |weigher| weigher(key, value))
    }

    /// Inserts or replaces, if what is found is as expected; else gives the entry back.
    pub(crate) fn upsert(
        &self,
        key: K,
        value: V,
        lifetime: Lifetime,
        expect: Expect,
    ) -> Result<Insertion, (K, V)> {
        let hash = self.hash(&key);
        let mut entry = Entry { key, value };
        if lifetime != Lifetime::Configured {
            self.expiration.start();
        } else if self.is_plain && matches!(expect, Expect::Anything | Expect::Absent) {
            match self.put_plain(hash, entry, expect) {
                Ok(insertion) => return Ok(insertion),
                Err(back) => entry = back,
            }
        }
        let mut request = Request {
            hash,
            weight: self.weigh(&entry.key, &entry.value),
            entry: Some(entry),
            lifetime,
            expect,
        };
        let index = self.shard_index(request.hash);
        self.shards[index].prefetch(request.hash);
        let mut op = self.op();
        let mut room = Room::OfShare;
        let mut attempts = 0;
        let insertion = loop {
            let mut exclusive = self.shards[index].lock();
            exclusive.prefetch(request.hash);
            let step = self.try_upsert(index, &mut exclusive, &mut op, &mut request, room);
            op.finish(exclusive);
            let needed = match step {
                Step::Done(insertion) => break Some(insertion),
                Step::Unexpected => break None,
                Step::NoRoom(needed) => needed,
            };
            if self.evict_elsewhere(index, &mut op, needed, room) {
                continue;
            }
            // Nobody holds more than their share: take it from whoever holds anything. If nobody
            // does, other operations may hold it, and what this one holds may be what they wait
            // for.
            if room == Room::OfAll {
                op.settle();
                attempts += 1;
                std::thread::yield_now();
            }
            room = Room::OfAll;
            if attempts == ROOM_ATTEMPTS {
                self.reject(index, &mut op, &request);
                break Some(Insertion::Rejected);
            }
        };
        op.end();
        match insertion {
            Some(insertion) => Ok(insertion),
            None => {
                let Entry { key, value } = request.take_entry();
                Err((key, value))
            }
        }
    }

    /// The short way of a write in a cache without weights, listener or expiry: one visit to the
    /// key's shard, if that can make the room itself. Gives the entry back, with nothing changed, if
    /// it takes more than that.
    #[inline]
    fn put_plain(
        &self,
        hash: u64,
        entry: Entry<K, V>,
        expect: Expect,
    ) -> Result<Insertion, Entry<K, V>> {
        let index = self.shard_index(hash);
        let shard = &self.shards[index];
        shard.prefetch(hash);
        if self.expiration.is_in_use() {
            return Err(entry);
        }
        let tally = self.stats.tally(thread_index());
        let mut exclusive = shard.lock();
        if LOCK_FREE && self.hit_mode == HitMode::Ordered {
            self.drain_ordered(index, &mut exclusive);
        }
        if exclusive.has_leavers() {
            return Err(entry);
        }
        let hash_key = self.rehash();
        let birth = Birth {
            weight: 1,
            times: None,
        };
        if let Some((place, old)) = exclusive.find(hash, |key| *key == entry.key) {
            if expect == Expect::Absent {
                return Err(entry);
            }
            let id = exclusive.renew(place, old, entry, &hash_key);
            tally.count(Counter::Replaced);
            tally.count(Counter::Insertions);
            self.written_hit(&mut exclusive, id);
            pass_on(exclusive.finish());
            return Ok(Insertion::Replaced);
        }
        let has_room = self.bound.try_take(1);
        if !has_room && (shard.len() < self.bound.share(index) || self.bound.excess() > 0) {
            return Err(entry);
        }
        if (hash as u32) < self.sample_below.load(Ordering::Relaxed) {
            self.deliver_samples();
        }
        if has_room {
            exclusive.policy(&hash_key, |policy, _| policy.prepare(hash, 1));
            exclusive.insert(hash, entry, birth, 0, &hash_key);
        } else {
            exclusive.exchange(hash, entry, &hash_key)?;
            exclusive.look_ahead(&hash_key);
            tally.count(Counter::Evicted);
        }
        tally.count(Counter::Insertions);
        let panic = exclusive.finish();
        self.follow_sampler();
        pass_on(panic);
        Ok(Insertion::Created)
    }

    /// What a write does to the entry that it has put in the place of another: a write is a hit.
    #[inline]
    fn written_hit(&self, exclusive: &mut Exclusive<'_, K, V>, id: EntryId) {
        match self.hit_mode {
            HitMode::Ignore => {}
            HitMode::Count { max } => exclusive.shard().access.count(id, max),
            HitMode::Stamp => {
                let era = exclusive.shard().era.load(Ordering::Relaxed);
                exclusive.shard().access.stamp(id, era);
            }
            HitMode::Ordered => self.ordered_hit_now(exclusive, id),
        }
    }

    /// One visit to the key's shard: links the entry, or says what stands in the way.
    #[inline]
    fn try_upsert<'s>(
        &'s self,
        index: usize,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        request: &mut Request<K, V>,
        room: Room,
    ) -> Step {
        let hash_key = self.rehash();
        self.housekeep(index, exclusive, op);
        let mut found = self.find_live(exclusive, op, request.hash, &request.entry().key);
        if !request
            .expect
            .is_met_by(found.map(|(_, id)| id), exclusive.shard())
        {
            return Step::Unexpected;
        }
        if u64::from(request.weight) > self.bound.capacity() {
            // Counted and removed where a key that finds no room is.
            self.reject_found(exclusive, op, found, request.weight);
            return Step::Done(Insertion::Rejected);
        }
        let (mut prepared, mut evicted) = (false, false);
        loop {
            // If the bound was lowered, weight that belongs to no entry goes first.
            self.bound.give_excess(&mut op.credit);
            let old_weight = found.map_or(0, |(_, id)| exclusive.weight(id));
            let needed = u64::from(request.weight.saturating_sub(old_weight));
            if op.credit < needed && self.bound.try_take(needed - op.credit) {
                op.credit = needed;
            }
            let has_room = op.credit >= needed;
            let may_evict =
                room == Room::OfAll || exclusive.total_weight() + needed > self.bound.share(index);
            if !has_room && !may_evict {
                return Step::NoRoom(needed);
            }
            if found.is_none() && !prepared {
                prepared = true;
                // A sampled miss is told in its turn, after the hits before it.
                if (request.hash as u32) < self.sample_below.load(Ordering::Relaxed) {
                    self.deliver_samples();
                }
                exclusive.policy(&hash_key, |policy, _| {
                    policy.prepare(request.hash, request.weight);
                });
            }
            if has_room {
                let insertion = self.link(exclusive, op, request, found);
                op.credit -= needed;
                op.credit += u64::from(old_weight.saturating_sub(request.weight));
                if evicted {
                    exclusive.look_ahead(&hash_key);
                }
                return Step::Done(insertion);
            }
            let Some((removed, weight)) = exclusive.evict(&hash_key) else {
                return Step::NoRoom(needed);
            };
            evicted = true;
            op.credit += u64::from(weight);
            if found.is_some_and(|(_, id)| id == removed.id()) {
                found = None;
            }
            self.leave(exclusive, op, removed, RemovalCause::Evicted);
        }
    }

    /// Links an entry for which there is room.
    #[inline]
    fn link<'s>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        request: &mut Request<K, V>,
        found: Option<(Place, EntryId)>,
    ) -> Insertion {
        let hash_key = self.rehash();
        let now_ns = op.now_ns;
        let remaining_ns = found
            .and_then(|(_, id)| exclusive.shard().deadline_ns(id))
            .map(|deadline_ns| deadline_ns.saturating_sub(now_ns));
        let Entry { key, value } = request.entry();
        let birth = Birth {
            weight: request.weight,
            times: self.expiration.after_write(
                key,
                value,
                request.hash,
                now_ns,
                request.lifetime,
                found.map(|_| remaining_ns),
            ),
        };
        op.tally.count(Counter::Insertions);
        self.count_weight(op.tally, Counter::InsertedWeight, u64::from(request.weight));
        let entry = request.take_entry();
        let Some((place, old)) = found else {
            exclusive.insert(request.hash, entry, birth, now_ns, &hash_key);
            self.follow_sampler();
            return Insertion::Created;
        };
        let (id, removed) = exclusive.replace(place, old, entry, birth, now_ns, &hash_key);
        self.leave(exclusive, op, removed, RemovalCause::Replaced);
        self.written_hit(exclusive, id);
        Insertion::Replaced
    }

    /// The live entry of `key`; one whose time is over is removed.
    #[inline]
    fn find_live<'s, Q>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        hash: u64,
        key: &Q,
    ) -> Option<(Place, EntryId)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (place, id) = exclusive.find(hash, |found| found.borrow() == key)?;
        if self.is_expired(exclusive.shard(), id) {
            op.credit += u64::from(exclusive.weight(id));
            let removed = exclusive.remove(hash, place, id, &self.rehash());
            self.leave(exclusive, op, removed, RemovalCause::Expired);
            return None;
        }
        Some((place, id))
    }

    /// Evicts from another shard until `needed` is there or that shard has no more to give.
    /// Returns whether anything was evicted.
    #[cold]
    fn evict_elsewhere<'s>(
        &'s self,
        own: usize,
        op: &mut Op<'s, K, V>,
        needed: u64,
        room: Room,
    ) -> bool {
        let count = self.shards.len();
        let floor = |index: usize| match room {
            Room::OfShare => self.bound.share(index),
            Room::OfAll => 0,
        };
        let others = (own + 1..own + count).map(|index| index % count);
        for index in others.filter(|&index| self.shards[index].weight() > floor(index)) {
            let mut exclusive = self.shards[index].lock();
            let mut evicted = false;
            while op.credit < needed && exclusive.total_weight() > floor(index) {
                let Some((removed, weight)) = exclusive.evict(&self.rehash()) else {
                    break;
                };
                evicted = true;
                op.credit += u64::from(weight);
                self.leave(&mut exclusive, op, removed, RemovalCause::Evicted);
            }
            op.finish(exclusive);
            if evicted {
                return true;
            }
        }
        false
    }

    /// Turns an entry away that found no room; an older value of its key must not outlive it.
    #[cold]
    fn reject<'s>(&'s self, index: usize, op: &mut Op<'s, K, V>, request: &Request<K, V>) {
        let mut exclusive = self.shards[index].lock();
        let found = self.find_live(&mut exclusive, op, request.hash, &request.entry().key);
        self.reject_found(&mut exclusive, op, found, request.weight);
        op.finish(exclusive);
    }

    fn reject_found<'s>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        found: Option<(Place, EntryId)>,
        weight: u32,
    ) {
        op.tally.count(Counter::Rejected);
        self.count_weight(op.tally, Counter::RejectedWeight, u64::from(weight));
        if let Some((_, id)) = found {
            op.credit += u64::from(exclusive.weight(id));
            let removed = exclusive.remove_id(id, &self.rehash());
            self.leave(exclusive, op, removed, RemovalCause::Evicted);
        }
    }

    /// Removes the live entry of `key` if `condition` accepts it, and passes it to `look`.
    /// `condition` runs without a lock and is asked again if the entry changes meanwhile.
    pub(crate) fn remove_if<Q, R>(
        &self,
        key: &Q,
        mut condition: impl FnMut(&Entry<K, V>) -> bool,
        look: impl FnOnce(&Entry<K, V>) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        loop {
            let guard = self.guard(key, false)?;
            if !condition(guard.entry()) {
                return None;
            }
            if self.remove_entry(key, Some(guard.id())) {
                return Some(look(guard.entry()));
            }
        }
    }

    /// Removes the live entry of `key`, or only the very entry `expected`, which the caller
    /// protects. Returns whether it did.
    pub(crate) fn remove_entry<Q>(&self, key: &Q, expected: Option<EntryId>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_protected(key, expected, &mut protect())
            .is_some()
    }

    /// Removes the live entry of `key` and passes it to `look`, with no lock held.
    pub(crate) fn remove<Q, R>(&self, key: &Q, look: impl FnOnce(&Entry<K, V>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut protection = protect();
        self.remove_protected(key, None, &mut protection).map(look)
    }

    fn remove_protected<'p, Q>(
        &'p self,
        key: &Q,
        expected: Option<EntryId>,
        protection: &'p mut Protection<'static>,
    ) -> Option<&'p Entry<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let index = self.shard_index(hash);
        let mut op = self.op();
        let mut exclusive = self.shards[index].lock();
        self.housekeep(index, &mut exclusive, &mut op);
        let found = self
            .find_live(&mut exclusive, &mut op, hash, key)
            .filter(|&(_, id)| expected.is_none_or(|expected| expected == id));
        let entry = found.map(|(place, id)| {
            let entry = exclusive.protect(id, protection);
            op.credit += u64::from(exclusive.weight(id));
            let removed = exclusive.remove(hash, place, id, &self.rehash());
            self.leave(&mut exclusive, &mut op, removed, RemovalCause::Invalidated);
            entry
        });
        op.finish(exclusive);
        op.end();
        entry
    }

    /// Keeps the live entry of `key` from eviction, or gives it back to the policy. Returns whether
    /// there is such an entry.
    pub(crate) fn set_pinned<Q>(&self, key: &Q, pinned: bool) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let index = self.shard_index(hash);
        let mut op = self.op();
        let mut exclusive = self.shards[index].lock();
        let found = self.find_live(&mut exclusive, &mut op, hash, key);
        if let Some((_, id)) = found {
            exclusive.set_pinned(id, pinned, &self.rehash());
        }
        op.finish(exclusive);
        op.end();
        found.is_some()
    }

    /// Makes all entries invisible, shard by shard, in O(1) each but for one pass over the table's
    /// lines. The entries themselves leave with later writes, or with [`maintain`](Self::maintain).
    pub(crate) fn doom_all(&self) {
        let mut op = self.op();
        for shard in &self.shards {
            let mut exclusive = shard.lock();
            op.credit += exclusive.doom_all();
            op.finish(exclusive);
            op.settle();
        }
        op.end();
    }

    /// Removes what is due and what is doomed, lets the policies hear of waiting hits, and drops
    /// all removed entries that no reader looks at.
    pub(crate) fn maintain(&self) {
        let mut panic = None;
        for (index, shard) in self.shards.iter().enumerate() {
            loop {
                let mut op = self.op();
                let mut exclusive = shard.lock();
                self.housekeep(index, &mut exclusive, &mut op);
                let more = self.clear_away(&mut exclusive, &mut op, 16 * HOUSEKEEPING);
                op.finish(exclusive);
                op.conclude();
                panic = panic.or(op.panic.take());
                if !more {
                    break;
                }
            }
            // The first seals what was unlinked, the second frees it.
            for _ in 0..2 {
                let mut exclusive = shard.lock();
                exclusive.reclaim();
                panic = panic.or(exclusive.finish());
            }
        }
        pass_on(panic);
    }

    /// Changes the bound, and evicts what is then too much before it returns.
    pub(crate) fn resize(&self, capacity: u64) {
        self.bound.set_capacity(capacity);
        let mut op = self.op();
        for (index, shard) in self.shards.iter().enumerate() {
            let mut exclusive = shard.lock();
            let share = self.bound.share(index);
            exclusive.policy(&self.rehash(), |policy, _| policy.set_capacity(share));
            op.finish(exclusive);
        }
        self.follow_sampler();
        self.evict_excess(&mut op, Room::OfShare);
        // Weight may have moved, meanwhile, into a shard that had its turn. What is in nobody's
        // shard is held by an operation, which gives it up before it links anything.
        while self.evict_excess(&mut op, Room::OfAll) {}
        op.end();
    }

    /// Goes once through all shards and evicts while the total exceeds the bound. Returns whether
    /// it evicted anything.
    fn evict_excess<'s>(&'s self, op: &mut Op<'s, K, V>, room: Room) -> bool {
        let mut evicted = false;
        for (index, shard) in self.shards.iter().enumerate() {
            if self.bound.excess() == 0 {
                break;
            }
            let mut exclusive = shard.lock();
            let floor = match room {
                Room::OfShare => self.bound.share(index),
                Room::OfAll => 0,
            };
            while self.bound.excess() > 0
                && exclusive.total_weight() > floor
                && let Some((removed, weight)) = exclusive.evict(&self.rehash())
            {
                evicted = true;
                self.bound.give(u64::from(weight));
                self.leave(&mut exclusive, op, removed, RemovalCause::Evicted);
            }
            op.finish(exclusive);
        }
        evicted
    }

    /// Ids of a shard's entries, those to be evicted first first.
    #[cfg(feature = "snapshot")]
    pub(crate) fn ranked(&self, shard: usize) -> Vec<EntryId> {
        let mut exclusive = self.shards[shard].lock();
        if LOCK_FREE && self.hit_mode == HitMode::Ordered {
            self.drain_ordered(shard, &mut exclusive);
        }
        exclusive.ranked()
    }

    /// Passes the entry that has this id now, if one has, to `look`, with no lock held; with it go
    /// what is left to it, of its time to live and then of its time to idle, and its access byte.
    #[cfg(feature = "snapshot")]
    pub(crate) fn visit<R>(
        &self,
        shard: usize,
        id: EntryId,
        look: impl FnOnce(&Entry<K, V>, u32, Lifetime, u8) -> R,
    ) -> Option<R> {
        let mut protection = protect();
        let shard = &self.shards[shard];
        let exclusive = shard.lock();
        if !exclusive.is_live(id) {
            return None;
        }
        let weight = exclusive.weight(id);
        let entry = exclusive.protect(id, &mut protection);
        drop(exclusive);
        let now_ns = self.clock.now_ns();
        let deadline_ns = shard.deadline_ns(id);
        if deadline_ns.is_some_and(|ns| ns <= now_ns) {
            return None;
        }
        let lifetime = self
            .expiration
            .remaining(now_ns, deadline_ns, shard.limit_ns(id));
        Some(look(entry, weight, lifetime, shard.access.get(id)))
    }

    /// Gives the live entry of `key` the hits that an access byte of a snapshot stands for.
    #[cfg(feature = "snapshot")]
    pub(crate) fn count_hits(&self, key: &K, hits: u8) {
        if let HitMode::Count { max } = self.hit_mode
            && hits <= max
            && let Some(guard) = self.guard(key, false)
        {
            let shard = &self.shards[self.shard_index(self.hash(key))];
            for _ in 0..hits {
                shard.access.count(guard.id(), max);
            }
        }
    }

    // ---- the whole ------------------------------------------------------------------------

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

/// An insertion under way. It lives outside the critical sections, so that an entry that is turned
/// away is dropped with no lock held.
struct Request<K, V> {
    hash: u64,
    weight: u32,
    /// `None` once it is linked.
    entry: Option<Entry<K, V>>,
    lifetime: Lifetime,
    expect: Expect,
}

const LINKED_ONCE: &str = "an entry is linked once";

impl<K, V> Request<K, V> {
    fn entry(&self) -> &Entry<K, V> {
        self.entry.as_ref().expect(LINKED_ONCE)
    }

    fn take_entry(&mut self) -> Entry<K, V> {
        self.entry.take().expect(LINKED_ONCE)
    }
}

/// What became of one visit to the key's shard.
enum Step {
    Done(Insertion),
    /// What was found is not what the request expects.
    Unexpected,
    /// So much weight is missing, and this shard is not the one to give it.
    NoRoom(u64),
}

/// Whom a write may take room from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Shards that hold more than their share.
    OfShare,
    /// All.
    OfAll,
}

impl<K, V, S, const LOCK_FREE: bool> fmt::Debug for Store<K, V, S, LOCK_FREE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(if LOCK_FREE { "LockFree" } else { "Locked" })
            .field("shards", &self.shards)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
