//! Upkeep: what leaves by time, by a lower bound or all at once, bit by bit with every write or
//! on request.

use super::Store;
use super::writes::{Op, Room};
use crate::cache::Pins;
use crate::policy::{EvictionPolicy, HitMode};
use crate::removal::RemovalCause;
use crate::shard::{Exclusive, Panic, Removed, pass_on};
use crate::stats::Counter;
use std::hash::{BuildHasher, Hash};

/// How many expired, doomed or due entries a write clears away besides its own work.
const HOUSEKEEPING: usize = 8;

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    /// Work that every write does a bit of: hits that wait, entries whose time is over, entries
    /// that were invalidated all at once.
    #[inline]
    pub(super) fn housekeep<'s>(
        &'s self,
        index: usize,
        exclusive: &mut Exclusive<'s, K, V>,
        op: &mut Op<'s, K, V>,
    ) {
        if LOCK_FREE && self.hit_mode.get() == HitMode::Ordered {
            self.drain_ordered(index, exclusive);
        }
        if exclusive.has_leavers(op.now_ns) {
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
    pub(super) fn leave<'s>(
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
            panic = panic.or(self.clear_shard(index));
            // The first seals what was unlinked, the second frees it.
            for _ in 0..2 {
                let mut exclusive = shard.lock();
                exclusive.reclaim();
                panic = panic.or(exclusive.finish_wholly());
            }
        }
        pass_on(panic);
    }

    /// Removes the entries whose time is over, and those that an `invalidate_all` left.
    pub(crate) fn clear_expired(&self) {
        let mut panic = None;
        for index in 0..self.shards.len() {
            panic = panic.or(self.clear_shard(index));
        }
        pass_on(panic);
    }

    /// As [`clear_expired`](Self::clear_expired), of one shard.
    fn clear_shard(&self, index: usize) -> Option<Panic> {
        let mut panic = None;
        loop {
            let mut op = self.op();
            let mut exclusive = self.shards[index].lock();
            self.housekeep(index, &mut exclusive, &mut op);
            let more = self.clear_away(&mut exclusive, &mut op, 16 * HOUSEKEEPING);
            op.finish(exclusive);
            op.conclude();
            panic = panic.or(op.panic.take());
            if !more {
                return panic;
            }
        }
    }

    /// Makes the tables such that so many entries in all can be there before any of them has to grow.
    pub(crate) fn expect_entries(&self, entries: u64) {
        let share = entries / self.shards.len() as u64;
        // Hashes do not divide entries evenly.
        let share = usize::try_from(share + share / 32).unwrap_or(usize::MAX);
        for shard in &self.shards {
            let mut exclusive = shard.lock();
            exclusive.expect_entries(share, &self.rehash());
            pass_on(exclusive.finish());
        }
    }

    /// Pins and unpins each entry as `pins` says.
    pub(crate) fn pin_all(&self, pins: Pins) {
        for shard in &self.shards {
            let mut exclusive = shard.lock();
            for id in exclusive.ids() {
                let pinned = match pins {
                    Pins::None => false,
                    Pins::WithoutDeadline => shard.deadline_ns(id).is_none(),
                    Pins::All => true,
                };
                exclusive.set_pinned(id, pinned, &self.rehash());
            }
            pass_on(exclusive.finish());
        }
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
        self.follow_sampler(self.sampler.lock().as_deref());
        self.evict_excess(&mut op, Room::OfShare);
        // Weight may have moved, meanwhile, into a shard that had its turn. What is in nobody's
        // shard is held by an operation, which gives it up before it links anything.
        while self.evict_excess(&mut op, Room::OfAll) {}
        op.end();
    }

    /// Evicts while the total exceeds the bound, if it does.
    pub(super) fn evict_all_excess(&self) {
        if self.bound.excess() > 0 {
            let mut op = self.op();
            while self.evict_excess(&mut op, Room::OfAll) {}
            op.end();
        }
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
}
