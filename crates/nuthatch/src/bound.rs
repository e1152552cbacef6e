//! The bound of a whole cache: one number for all shards.
//!
//! Weight is taken before an entry is linked and given back after one was unlinked, so the total
//! never exceeds the capacity, at any instant. In a full cache an insertion evicts from its own
//! shard and hands the victim's weight on to the new entry: the shared total is then only read.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's text.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Bound {
    total: AtomicU64,
    capacity: AtomicU64,
    /// The number of shards is 2 to this power.
    shard_bits: u32,
}

impl Bound {
    /// No weight taken. The number of shards is a power of two.
    pub(crate) fn new(capacity: u64, shards: usize) -> Self {
        Self {
            total: AtomicU64::new(0),
            capacity: AtomicU64::new(capacity),
            shard_bits: shards.ilog2(),
        }
    }

    /// The bound.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Sets the bound; the caller evicts what is now too much.
    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// What `shard` may hold before it evicts its own entries rather than others'.
    pub(crate) fn share(&self, shard: usize) -> u64 {
        let capacity = self.capacity();
        let left_over = capacity & ((1 << self.shard_bits) - 1);
        (capacity >> self.shard_bits) + u64::from((shard as u64) < left_over)
    }

    /// By how much the total exceeds the bound, after it was lowered.
    pub(crate) fn excess(&self) -> u64 {
        self.total
            .load(Ordering::Relaxed)
            .saturating_sub(self.capacity())
    }

    /// Gives back as much of `credit` as the total exceeds the bound by, after it was lowered.
    #[inline]
    pub(crate) fn give_excess(&self, credit: &mut u64) {
        if *credit > 0 {
            let weight = self.excess().min(*credit);
            *credit -= weight;
            self.give(weight);
        }
    }

    /// Takes `weight` if the total then still is within the bound.
    #[inline]
    pub(crate) fn try_take(&self, weight: u64) -> bool {
        if weight == 0 {
            return true;
        }
        let mut total = self.total.load(Ordering::Relaxed);
        loop {
            match total.checked_add(weight) {
                Some(sum) if sum <= self.capacity() => {
                    match self.total.compare_exchange_weak(
                        total,
                        sum,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    ) {
                        Ok(_) => return true,
                        Err(now) => total = now,
                    }
                }
                _ => return false,
            }
        }
    }

    /// Gives back what was taken.
    #[inline]
    pub(crate) fn give(&self, weight: u64) {
        if weight > 0 {
            let before = self.total.fetch_sub(weight, Ordering::Relaxed);
            debug_assert!(before >= weight, "no more is given back than was taken");
        }
    }

    /// Weight taken and not given back.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn the_total_never_exceeds_the_capacity() {
        let bound = Bound::new(10, 4);
        assert!(bound.try_take(7));
        assert!(!bound.try_take(4));
        assert!(bound.try_take(3));
        bound.give(10);
        assert_eq!(bound.total(), 0);
        assert!(!bound.try_take(u64::MAX), "an overflow is no room");
    }

    #[test]
    fn shares_add_up_to_the_capacity() {
        let bound = Bound::new(10, 4);
        assert_eq!((0..4).map(|shard| bound.share(shard)).sum::<u64>(), 10);
    }
}
