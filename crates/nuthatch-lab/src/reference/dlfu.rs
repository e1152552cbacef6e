//! DLFU: evicts the key whose uses, each fading with its age, sum up to the least.
//!
//! D. Lee et al., "LRFU: a spectrum of policies that subsumes the least recently used and least
//! frequently used policies", IEEE Transactions on Computers 50(12), 2001. A use at time t is worth
//! 2^t, measured in half-lives, so the order of the sums never changes by itself; what is kept is
//! the sum's logarithm, in double precision.

use super::ranked::{Priority, Ranked};
use super::{Access, Key, ReferencePolicy};

/// Decaying LFU.
#[derive(Debug)]
pub struct Dlfu {
    ranked: Ranked<Priority>,
    /// Half-lives that pass in as many requests as there are keys.
    half_lives: f64,
    now: f64,
}

impl Dlfu {
    /// From 0, which is LFU, to 1, which is LRU.
    pub fn new(weight: f64) -> Self {
        Self {
            ranked: Ranked::new(),
            half_lives: weight / (1.0 - weight),
            now: 0.0,
        }
    }

    fn advance(&mut self) {
        self.now += (self.half_lives / self.ranked.len().max(1) as f64).min(1.0);
    }
}

impl ReferencePolicy for Dlfu {
    fn hit(&mut self, access: &Access) {
        self.advance();
        let Priority(sum) = self.ranked.rank(access.key);
        let (high, low) = (sum.max(self.now), sum.min(self.now));
        self.ranked.set(
            access.key,
            Priority(high + (1.0 + (low - high).exp2()).log2()),
        );
    }

    fn evict(&mut self) -> Option<Key> {
        self.ranked.pop_first().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        self.advance();
        self.ranked.set(access.key, Priority(self.now));
    }
}
