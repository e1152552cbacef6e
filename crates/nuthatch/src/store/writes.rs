//! Writes: how an entry finds room and is linked, replaced or removed.

use super::{Listener, Store};
use crate::bound::Bound;
use crate::cache::{InsertOptions, Pinning};
use crate::expiration::Lifetime;
use crate::hazard::{Protection, protect, thread_index};
use crate::policy::{EntryId, EvictionPolicy, HitMode};
use crate::removal::{Insertion, RemovalCause};
use crate::shard::{Birth, Entry, Exclusive, Panic, Removed, Shard, pass_on};
use crate::stats::{Counter, Tally};
use crate::table::Place;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::mem::{forget, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::Ordering;

/// How often a write looks for room in all shards before it believes that there is none.
const ROOM_ATTEMPTS: u32 = 64;

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
pub(super) struct Op<'s, K, V> {
    bound: &'s Bound,
    pub(super) tally: Tally<'s>,
    listener: Option<&'s Listener<K, V>>,
    /// Weight that is taken from the bound but belongs to no entry.
    pub(super) credit: u64,
    pub(super) now_ns: u64,
    /// What the listener has still to hear of.
    pub(super) removed: Vec<(&'s Shard<K, V>, Removed, RemovalCause)>,
    /// The first panic of a key's or value's drop.
    pub(super) panic: Option<Panic>,
}

impl<K, V> Op<'_, K, V> {
    /// Ends a critical section: drops what nobody sees.
    #[inline]
    pub(super) fn finish(&mut self, exclusive: Exclusive<'_, K, V>) {
        if let Some(panic) = exclusive.finish() {
            self.panic.get_or_insert(panic);
        }
    }

    /// Gives back what weight is left over.
    #[inline]
    pub(super) fn settle(&mut self) {
        self.bound.give(take(&mut self.credit));
    }

    /// Ends the operation, with no lock held.
    #[inline]
    pub(super) fn end(mut self) {
        self.conclude();
        if self.panic.is_some() {
            pass_on(self.panic.take());
        }
    }

    /// Settles, tells the listener, and lets the removed entries go.
    #[inline]
    pub(super) fn conclude(&mut self) {
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

/// One unit of weight that goes back unless it is forgotten, should a policy of the user's panic.
struct Taken<'b>(&'b Bound);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give(1);
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
    pinning: Pinning,
    /// Whether what it would replace stays if there is no room.
    keeps_old: bool,
    /// Weight that was taken from the bound for it before.
    reserved: u64,
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
pub(super) enum Room {
    /// Shards that hold more than their share.
    OfShare,
    /// All.
    OfAll,
}

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    #[inline]
    pub(super) fn op(&self) -> Op<'_, K, V> {
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

    /// Counts a weight, where it is not just the number of entries.
    #[inline]
    pub(super) fn count_weight(&self, tally: Tally<'_>, counter: Counter, weight: u64) {
        if self.weigher.is_some() {
            tally.add(counter, weight);
        }
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
        self.upsert_hashed(hash, key, value, lifetime, expect)
    }

    /// [`upsert`](Self::upsert) for a caller that knows the key's hash.
    pub(crate) fn upsert_hashed(
        &self,
        hash: u64,
        key: K,
        value: V,
        lifetime: Lifetime,
        expect: Expect,
    ) -> Result<Insertion, (K, V)> {
        let mut entry = Entry { key, value };
        self.expiration.prepare(lifetime);
        if self.is_plain && matches!(expect, Expect::Anything | Expect::Absent) {
            match self.put_plain(hash, entry, lifetime, expect) {
                Ok(insertion) => return Ok(insertion),
                Err(back) => entry = back,
            }
        }
        self.fulfil(Request {
            hash,
            weight: self.weigh(&entry.key, &entry.value),
            entry: Some(entry),
            lifetime,
            expect,
            pinning: Pinning::AsBefore,
            keeps_old: false,
            reserved: 0,
        })
    }

    /// Inserts or replaces, whatever is there. See [`InsertOptions`](crate::InsertOptions).
    pub(crate) fn put_with(
        &self,
        key: K,
        value: V,
        lifetime: Lifetime,
        pinning: Pinning,
        keeps_old: bool,
    ) -> Insertion {
        self.expiration.prepare(lifetime);
        let inserted = self.fulfil(Request {
            hash: self.hash(&key),
            weight: self.weigh(&key, &value),
            entry: Some(Entry { key, value }),
            lifetime,
            expect: Expect::Anything,
            pinning,
            keeps_old,
            reserved: 0,
        });
        match inserted {
            Ok(insertion) => insertion,
            Err(_) => unreachable!("anything was expected"),
        }
    }

    /// As [`put_with`](Self::put_with), with weight out of `left`, which was [reserved](Self::reserve).
    pub(crate) fn put_reserved(
        &self,
        key: K,
        value: V,
        options: InsertOptions,
        left: &mut u64,
    ) -> Insertion {
        let lifetime = options.deadline.lifetime();
        self.expiration.prepare(lifetime);
        let weight = self.weigh(&key, &value);
        let reserved = u64::from(weight).min(*left);
        *left -= reserved;
        let inserted = self.fulfil(Request {
            hash: self.hash(&key),
            weight,
            entry: Some(Entry { key, value }),
            lifetime,
            expect: Expect::Anything,
            pinning: options.pinning,
            keeps_old: options.keeps_old,
            reserved,
        });
        // What was reserved before the bound was lowered is linked all the same.
        self.evict_all_excess();
        match inserted {
            Ok(insertion) => insertion,
            Err(_) => unreachable!("anything was expected"),
        }
    }

    /// Takes weight from the bound, and evicts for it. Returns whether it did.
    pub(crate) fn reserve(&self, weight: u64) -> bool {
        if weight > self.bound.capacity() {
            return false;
        }
        let mut op = self.op();
        // Threads begin at different shards.
        let first = thread_index();
        let mut attempts = 0;
        let is_reserved = loop {
            self.bound.give_excess(&mut op.credit);
            if op.credit < weight && self.bound.try_take(weight - op.credit) {
                op.credit = weight;
            }
            if op.credit >= weight {
                op.credit -= weight;
                break true;
            }
            let evicted = [Room::OfShare, Room::OfAll]
                .into_iter()
                .any(|room| self.evict_from(first, self.shards.len(), &mut op, weight, room));
            if !evicted {
                // As in `fulfil`.
                op.settle();
                attempts += 1;
                std::thread::yield_now();
            }
            if attempts == ROOM_ATTEMPTS {
                break false;
            }
        };
        op.end();
        is_reserved
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn unreserve(&self, weight: u64) {
        self.bound.give(weight);
    }

    /// The long way of an insertion, which does all that may be needed.
    fn fulfil(&self, mut request: Request<K, V>) -> Result<Insertion, (K, V)> {
        let index = self.shard_index(request.hash);
        self.shards[index].prefetch(request.hash);
        let mut op = self.op();
        op.credit = request.reserved;
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

    /// The short way of a write in a cache without weights or listener: one visit to the key's
    /// shard, if that can make the room itself and nothing else has to leave it. Gives the entry
    /// back, with nothing changed, if it takes more than that.
    #[inline]
    fn put_plain(
        &self,
        hash: u64,
        entry: Entry<K, V>,
        lifetime: Lifetime,
        expect: Expect,
    ) -> Result<Insertion, Entry<K, V>> {
        let index = self.shard_index(hash);
        let shard = &self.shards[index];
        shard.prefetch(hash);
        let tally = self.stats.tally(thread_index());
        let now_ns = self.now_ns();
        let mut exclusive = shard.lock();
        if LOCK_FREE && self.hit_mode.get() == HitMode::Ordered {
            self.drain_ordered(index, &mut exclusive);
        }
        if exclusive.has_leavers(now_ns) {
            return Err(entry);
        }
        let hash_key = self.rehash();
        let times_of = |entry: &Entry<K, V>, remaining| {
            let Entry { key, value } = entry;
            self.expiration
                .after_write(key, value, hash, now_ns, lifetime, remaining)
        };
        if let Some((place, old)) = exclusive.find(hash, |key| *key == entry.key) {
            let remaining_ns = self.remaining_ns(shard, old, now_ns);
            if expect == Expect::Absent || remaining_ns == Some(0) {
                return Err(entry);
            }
            let times = times_of(&entry, Some(remaining_ns));
            let id = exclusive.renew(place, old, entry, times, now_ns, &hash_key);
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
        let taken = has_room.then(|| Taken(&self.bound));
        let times = times_of(&entry, None);
        if (hash as u32) < self.sample_below.load(Ordering::Relaxed) {
            self.deliver_samples();
        }
        if let Some(taken) = taken {
            exclusive.policy(&hash_key, |policy, _| policy.prepare(hash, 1));
            let birth = Birth { weight: 1, times };
            exclusive.insert(hash, entry, birth, now_ns, &hash_key);
            forget(taken);
        } else {
            exclusive.exchange(hash, entry, times, now_ns, &hash_key)?;
            exclusive.look_ahead(&hash_key);
            tally.count(Counter::Evicted);
        }
        tally.count(Counter::Insertions);
        self.follow_sampler(exclusive.sampler());
        let panic = exclusive.finish();
        pass_on(panic);
        Ok(Insertion::Created)
    }

    /// What is left at `now_ns` of the time of an entry, in nanoseconds; `None` if it does not
    /// expire.
    #[inline]
    fn remaining_ns(&self, shard: &Shard<K, V>, id: EntryId, now_ns: u64) -> Option<u64> {
        if !self.expiration.is_in_use() {
            return None;
        }
        let deadline_ns = shard.deadline_ns(id)?;
        Some(deadline_ns.saturating_sub(now_ns))
    }

    /// What a write does to the entry that it has put in the place of another: a write is a hit.
    #[inline]
    fn written_hit(&self, exclusive: &mut Exclusive<'_, K, V>, id: EntryId) {
        match self.hit_mode.get() {
            HitMode::Ignore => {}
            HitMode::Count { max } => exclusive.shard().access.count(id, max),
            HitMode::Stamp => {
                let era = exclusive.shard().era.load(Ordering::Relaxed);
                exclusive.shard().access.stamp(id, era);
            }
            HitMode::Ordered => exclusive.hit(id, &self.rehash()),
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
        let is_reserved = request.reserved > 0 && request.reserved == u64::from(request.weight);
        if u64::from(request.weight) > self.bound.capacity() && !is_reserved {
            // Counted and removed where a key that finds no room is.
            self.reject_found(exclusive, op, found, request);
            return Step::Done(Insertion::Rejected);
        }
        let (mut prepared, mut evicted) = (false, false);
        loop {
            // If the bound was lowered, weight that belongs to no entry goes first.
            if !is_reserved {
                self.bound.give_excess(&mut op.credit);
            }
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
                if request.pinning != Pinning::Pinned {
                    exclusive.policy(&hash_key, |policy, _| {
                        policy.prepare(request.hash, request.weight);
                    });
                }
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
        let remaining_ns =
            found.and_then(|(_, id)| self.remaining_ns(exclusive.shard(), id, now_ns));
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
            if request.pinning == Pinning::Pinned {
                exclusive.insert_pinned(request.hash, entry, birth, now_ns, &hash_key);
            } else {
                exclusive.insert(request.hash, entry, birth, now_ns, &hash_key);
            }
            self.follow_sampler(exclusive.sampler());
            return Insertion::Created;
        };
        let (id, removed) = exclusive.replace(place, old, entry, birth, now_ns, &hash_key);
        self.leave(exclusive, op, removed, RemovalCause::Replaced);
        if request.pinning != Pinning::AsBefore {
            let pinned = request.pinning == Pinning::Pinned;
            exclusive.set_pinned(id, pinned, &hash_key);
        }
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

    /// Removes the entry of `key` if its time is over.
    pub(super) fn expire<Q>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut op = self.op();
        let mut exclusive = self.shards[self.shard_index(hash)].lock();
        self.find_live(&mut exclusive, &mut op, hash, key);
        op.finish(exclusive);
        op.end();
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
        self.evict_from(own + 1, self.shards.len() - 1, op, needed, room)
    }

    /// Evicts from one of `count` shards, from `first` on and around, until `needed` is there or that
    /// shard has no more to give. Returns whether anything was evicted.
    #[cold]
    fn evict_from<'s>(
        &'s self,
        first: usize,
        count: usize,
        op: &mut Op<'s, K, V>,
        needed: u64,
        room: Room,
    ) -> bool {
        let floor = |index: usize| match room {
            Room::OfShare => self.bound.share(index),
            Room::OfAll => 0,
        };
        let shards = (first..first + count).map(|index| index % self.shards.len());
        for index in shards.filter(|&index| self.shards[index].weight() > floor(index)) {
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

    /// Turns an entry away that found no room; an older value of its key must not outlive it, unless
    /// that is wanted.
    #[cold]
    fn reject<'s>(&'s self, index: usize, op: &mut Op<'s, K, V>, request: &Request<K, V>) {
        let mut exclusive = self.shards[index].lock();
        let found = self.find_live(&mut exclusive, op, request.hash, &request.entry().key);
        self.reject_found(&mut exclusive, op, found, request);
        op.finish(exclusive);
    }

    fn reject_found<'s>(
        &'s self,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
        found: Option<(Place, EntryId)>,
        request: &Request<K, V>,
    ) {
        op.tally.count(Counter::Rejected);
        let weight = u64::from(request.weight);
        self.count_weight(op.tally, Counter::RejectedWeight, weight);
        if let Some((_, id)) = found.filter(|_| !request.keeps_old) {
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

    /// Gives the live entry of `key` another deadline, which reads do not move; removes it if that is
    /// over. Returns whether there is such an entry.
    pub(crate) fn set_deadline<Q>(&self, key: &Q, deadline_ns: Option<u64>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let index = self.shard_index(hash);
        let mut op = self.op();
        let mut exclusive = self.shards[index].lock();
        self.housekeep(index, &mut exclusive, &mut op);
        let found = self.find_live(&mut exclusive, &mut op, hash, key);
        if let Some((place, id)) = found {
            // The operation's own reading may be none, while nothing has a deadline.
            let now_ns = deadline_ns.map_or(0, |_| self.clock.now_ns());
            if deadline_ns.is_some_and(|ns| ns <= now_ns) {
                op.credit += u64::from(exclusive.weight(id));
                let removed = exclusive.remove(hash, place, id, &self.rehash());
                self.leave(&mut exclusive, &mut op, removed, RemovalCause::Expired);
            } else {
                if deadline_ns.is_some() {
                    self.expiration.start();
                }
                exclusive.set_deadline(id, deadline_ns, now_ns);
            }
        }
        op.finish(exclusive);
        op.end();
        found.is_some()
    }
}
