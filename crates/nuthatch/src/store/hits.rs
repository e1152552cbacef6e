//! What a hit does for the policy, and how that changes with the policy.
//!
//! A hit asks one word, [`AtomicHitMode`], beside what it reads anyway, and takes no lock, but that a
//! batch of sampled hits takes the one of their listener. So when the policy changes, nobody waits for
//! the hits under way, and some are told in a mode that is not that of their shard's policy:
//!
//! ```text
//!   set_policy    listener ── mode ── shard 0 ── shard 1 ── … ── threshold ── name
//!                               │        └─ each under its lock: hits that wait, order, new policy
//!   hits told as before ────────┴──── as now, to shards that have the old policy still ────
//! ```
//!
//! That is harmless. A count or a stamp is an access byte, and a policy bears any byte and gets over
//! it. A hit that waits in a buffer is told by a writer, which asks the shard's own policy whether it
//! wants it ([`Exclusive::hit`](crate::shard::Exclusive::hit)); else it is lost, as hits in a full
//! buffer are. A sampled hit did happen, whoever hears of it. The mode changes before the first
//! shard's policy and not after the last one's, so that the bytes that a new policy sets are mostly left
//! alone.

use super::Store;
use crate::hit_buffer::HitBuffer;
use crate::policy::{BuiltPolicy, EntryId, EvictionPolicy, HitMode, HitSampler, Policy};
use crate::shard::{Exclusive, Shard, pass_on};
use crate::stats::Counter;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// A [`HitMode`] in one word: the `max` of [`HitMode::Count`], or one of the numbers below, or 0.
///
/// Relaxed throughout: it guards no other memory.
#[derive(Debug)]
pub(super) struct AtomicHitMode(AtomicU16);

const STAMP: u16 = 1 << 8;
const ORDERED: u16 = 2 << 8;

impl AtomicHitMode {
    pub(super) fn new(mode: HitMode) -> Self {
        let word = Self(AtomicU16::new(0));
        word.set(mode);
        word
    }

    #[inline]
    pub(super) fn get(&self) -> HitMode {
        // Counts first: for them, and so for most policies' hits, this is one comparison.
        match self.0.load(Ordering::Relaxed) {
            word if word as u8 != 0 => HitMode::Count { max: word as u8 },
            STAMP => HitMode::Stamp,
            ORDERED => HitMode::Ordered,
            _ => HitMode::Ignore,
        }
    }

    fn set(&self, mode: HitMode) {
        let word = match mode {
            HitMode::Ignore => 0,
            HitMode::Count { max } => u16::from(max),
            HitMode::Stamp => STAMP,
            HitMode::Ordered => ORDERED,
        };
        self.0.store(word, Ordering::Relaxed);
    }
}

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    /// What a hit does: to the entry's access byte, to a sample, to the counters.
    #[inline]
    pub(super) fn hit(&self, shard: &Shard<K, V>, id: EntryId, hash: u64, thread: usize) {
        match self.hit_mode.get() {
            HitMode::Count { max } => shard.access.count(id, max),
            HitMode::Ignore => {}
            mode => self.told_hit(mode, shard, id, hash, thread),
        }
        if (hash as u32) < self.sample_below.load(Ordering::Relaxed) {
            self.sampled_hit(hash, thread);
        }
        self.stats.count(thread, Counter::Hits);
    }

    /// A hit under a policy that is told of it by more than a count.
    #[inline(never)]
    fn told_hit(&self, mode: HitMode, shard: &Shard<K, V>, id: EntryId, hash: u64, thread: usize) {
        if mode == HitMode::Stamp {
            shard.access.stamp(id, shard.era.load(Ordering::Relaxed));
        } else {
            self.ordered_hit(self.shard_index(hash), id, thread);
        }
    }

    /// A hit under a policy that hears of each.
    fn ordered_hit(&self, index: usize, id: EntryId, thread: usize) {
        let shard = &self.shards[index];
        if LOCK_FREE {
            // The buffers are made before the mode that asks for them is stored, but whoever sees
            // the one need not see the other yet.
            let Some(buffers) = self.ordered.get() else {
                return;
            };
            let full = buffers[index].record(thread, id);
            if full && let Some(mut exclusive) = shard.try_lock() {
                self.drain_ordered(index, &mut exclusive);
                pass_on(exclusive.finish());
            }
        } else {
            let mut exclusive = shard.lock();
            exclusive.hit(id, &self.rehash());
            pass_on(exclusive.finish());
        }
    }

    /// Tells a shard's policy of the hits that wait.
    pub(super) fn drain_ordered(&self, index: usize, exclusive: &mut Exclusive<'_, K, V>) {
        let Some(buffers) = self.ordered.get() else {
            return;
        };
        // The entry may have left, and its slot may even hold another one, which then gets a hit
        // too many.
        buffers[index].drain(&mut |id| exclusive.hit(id, &self.rehash()));
    }

    /// Makes the buffers that hits in this mode wait in, if they are not there yet.
    pub(super) fn make_buffers(&self, mode: HitMode) {
        if LOCK_FREE && mode == HitMode::Ordered {
            let buffers = || self.shards.iter().map(|_| HitBuffer::new()).collect();
            self.ordered.get_or_init(buffers);
        }
    }

    /// Takes over the threshold of a shard's sampler, which changes as the sampler learns how many
    /// entries fit. Called with the shard's lock held, or with the last word on which sampler it is.
    #[inline]
    pub(super) fn follow_sampler(&self, sampler: Option<&dyn HitSampler>) {
        if let Some(sampler) = sampler {
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
    pub(super) fn deliver_samples(&self) {
        let sampler = self.sampler.lock().clone();
        let Some(sampler) = sampler else { return };
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

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.lock().clone()
    }

    /// Changes the policy, shard by shard.
    pub(crate) fn set_policy(&self, policy: Policy) {
        let _turn = self.changing.lock();
        let entries = self.shards.iter().map(Shard::len).max().unwrap_or(0);
        let slots = self.policy_slots.max(entries as usize);
        let shards = self.shards.len();
        let built = policy.build(self.bound.capacity(), shards, slots, self.policy_seed);
        let (mode, sampler) = (built[0].hit_mode(), built[0].sampler());
        self.make_buffers(mode);
        self.sampler.lock().clone_from(&sampler);
        self.hit_mode.set(mode);
        for (index, policy) in built.into_iter().enumerate() {
            self.change_policy(index, policy, sampler.clone());
        }
        // Writers have followed the samplers of their shards: from here on only this one.
        self.sample_below.store(0, Ordering::Relaxed);
        self.follow_sampler(sampler.as_deref());
        *self.policy.lock() = policy;
    }

    fn change_policy(
        &self,
        index: usize,
        mut policy: BuiltPolicy,
        sampler: Option<Arc<dyn HitSampler>>,
    ) {
        let mut exclusive = self.shards[index].lock();
        self.drain_ordered(index, &mut exclusive);
        // Under the lock, so that a resize at the same time has told the old policy before, or tells
        // the new one afterwards.
        policy.set_capacity(self.bound.share(index));
        let before = exclusive.change_policy(policy, sampler, &self.rehash());
        let panic = exclusive.finish();
        drop(before);
        pass_on(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::AtomicHitMode;
    use crate::policy::HitMode;

    #[test]
    fn every_mode_comes_back_as_it_was_put_in() {
        let word = AtomicHitMode::new(HitMode::Ignore);
        let counts = (1..=u8::MAX).map(|max| HitMode::Count { max });
        let modes = [HitMode::Stamp, HitMode::Ordered, HitMode::Ignore];
        for mode in counts.chain(modes) {
            word.set(mode);
            assert_eq!(word.get(), mode);
        }
    }
}
