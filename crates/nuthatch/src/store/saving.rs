//! What a snapshot asks of an engine: its entries in the policy's order, one by one, and the hits
//! that a restored one had.

use super::Store;
use crate::expiration::Remaining;
use crate::hazard::protect;
use crate::policy::{EntryId, HitMode};
use crate::shard::Entry;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    /// Ids of a shard's entries, those to be evicted first first.
    pub(crate) fn ranked(&self, shard: usize) -> Vec<EntryId> {
        let mut exclusive = self.shards[shard].lock();
        if LOCK_FREE && self.hit_mode.get() == HitMode::Ordered {
            self.drain_ordered(shard, &mut exclusive);
        }
        exclusive.ranked()
    }

    /// Passes the entry that has this id now, if one has, to `look`, with no lock held; with it go
    /// what is left to it, of its time to live and then of its time to idle, and its access byte.
    pub(crate) fn visit<R>(
        &self,
        shard: usize,
        id: EntryId,
        look: impl FnOnce(&Entry<K, V>, u32, Remaining, u8) -> R,
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
        let remaining = self
            .expiration
            .remaining(now_ns, deadline_ns, shard.limit_ns(id));
        Some(look(entry, weight, remaining, shard.access.get(id)))
    }

    /// Gives the live entry of `key` the hits that an access byte of a snapshot stands for.
    pub(crate) fn count_hits(&self, key: &K, hits: u8) {
        if let HitMode::Count { max } = self.hit_mode.get()
            && hits <= max
            && let Some(guard) = self.guard(key, false)
        {
            let shard = &self.shards[self.shard_index(self.hash(key))];
            for _ in 0..hits {
                shard.access.count(guard.id(), max);
            }
        }
    }
}
