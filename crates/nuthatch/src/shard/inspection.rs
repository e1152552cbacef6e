//! A shard as a whole: its entries in order, and whether all its parts agree.

use super::Exclusive;
use crate::policy::{EntryId, EvictionPolicy};
use crate::timer_wheel::NEVER_NS;

impl<K, V> Exclusive<'_, K, V> {
    /// Ids of all live entries that the policy holds, those to be evicted first first, then the
    /// pinned ones.
    pub(crate) fn ranked(&self) -> Vec<EntryId> {
        let mut ids = Vec::with_capacity(self.shard.len() as usize);
        self.writer.policy.rank(&mut |id| ids.push(id));
        self.table().for_each(|id| {
            if self.is_pinned(id) {
                ids.push(id);
            }
        });
        ids
    }

    /// Ids of all live entries, in no order.
    pub(crate) fn ids(&self) -> Vec<EntryId> {
        let mut ids = Vec::with_capacity(self.shard.len() as usize);
        self.table().for_each(|id| ids.push(id));
        ids
    }

    /// Recounts the shard from scratch.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(crate) fn validate(&mut self, hash_key: &impl Fn(&K) -> u64) {
        self.table().validate(|id| hash_key(&self.entry(id).key));
        let ids = self.ids();
        let weight: u64 = ids.iter().map(|&id| u64::from(self.weight(id))).sum();
        assert_eq!(self.shard.weight(), weight, "the shard knows its weight");
        assert_eq!(
            self.shard.len(),
            ids.len() as u64,
            "the shard knows its length"
        );
        assert_eq!(self.writer.live.len(), ids.len(), "linked is live");
        let timed = ids.iter().filter(|&&id| self.writer.timed.contains(id));
        let timed = timed.count();
        assert_eq!(self.writer.timed.len(), timed, "what is timed is live");
        assert_eq!(self.shard.timed_len(), timed as u64, "timed are counted");
        if !self.writer.keep.limits {
            let with_deadline = ids
                .iter()
                .filter(|&&id| self.shard.deadline_ns(id).is_some());
            assert_eq!(with_deadline.count(), timed, "what has a deadline is timed");
        }
        let pinned = ids.iter().filter(|&&id| self.is_pinned(id)).count();
        assert_eq!(self.writer.pinned.len(), pinned, "pinned is live");
        assert_eq!(
            self.writer.policy.len(),
            ids.len() - pinned,
            "the policy holds what is not pinned"
        );
        let mut ranked = self.ranked();
        ranked.sort_unstable();
        let mut sorted = ids;
        sorted.sort_unstable();
        assert_eq!(ranked, sorted, "the policy holds the live entries");
        let writer = &*self.writer;
        let fresh = (writer.fresh_end - writer.fresh_start) as usize;
        let limbo = writer.limbo.young.len() + writer.limbo.old.len();
        let mut all: Vec<_> = [
            &writer.free,
            &writer.limbo.young,
            &writer.limbo.old,
            &writer.garbage,
            &writer.doomed,
        ]
        .into_iter()
        .flatten()
        .copied()
        .chain(sorted)
        .collect();
        all.sort_unstable();
        let listed = all.len();
        all.dedup();
        assert_eq!(
            listed,
            all.len(),
            "a slot is in one state ({limbo} in limbo, {fresh} fresh)"
        );
        assert_eq!(
            self.writer.hit_mode,
            self.writer.policy.hit_mode(),
            "the shard knows what its policy hears of hits"
        );
        self.policy(hash_key, |policy, entries| policy.validate(entries));
        if let Some(wheel) = &self.writer.wheel {
            wheel.validate(|id| {
                let live = self.writer.live.contains(id);
                live.then(|| self.shard.deadline_ns(id))
                    .flatten()
                    .unwrap_or(NEVER_NS)
            });
        }
    }
}
