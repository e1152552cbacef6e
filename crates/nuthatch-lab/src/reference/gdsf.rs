//! GDSF: evicts the key of the lowest priority, which is its uses per byte on top of the inflation
//! that reigned at its last use; inflation is the priority of the last victim.
//!
//! L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
//! Policy", HP Laboratories report HPL-98-69R1, 1998. A new key's priority is set before the
//! evictions that make room for it raise the inflation.

use super::ranked::{Priority, Ranked};
use super::{Access, Key, KeyMap, ReferencePolicy};

/// The worth of one use of a key of weight 1. The scale is libCacheSim's, so that ties are the same
/// after rounding.
const WORTH: f64 = 1e6;

/// Greedy-Dual-Size-Frequency.
#[derive(Debug)]
pub struct Gdsf {
    ranked: Ranked<Priority>,
    /// Uses and weight.
    worth: KeyMap<(u64, u64)>,
    inflation: f64,
    inflation_at_miss: f64,
    rejects: bool,
}

impl Gdsf {
    /// With `rejects`, a newcomer stands in line with the others when room is made for it, and is
    /// turned away if its turn comes: the paper's way. Without, it is always admitted.
    pub fn new(rejects: bool) -> Self {
        Self {
            ranked: Ranked::new(),
            worth: KeyMap::default(),
            inflation: 0.0,
            inflation_at_miss: 0.0,
            rejects,
        }
    }

    fn rank(&mut self, key: Key, inflation: f64) {
        let (uses, weight) = self.worth[&key];
        let priority = inflation + uses as f64 * WORTH / weight as f64;
        self.ranked.set(key, Priority(priority.max(self.inflation)));
    }
}

impl ReferencePolicy for Gdsf {
    fn hit(&mut self, access: &Access) {
        let (uses, _) = self
            .worth
            .get_mut(&access.key)
            .expect("a hit key is resident");
        *uses += 1;
        self.rank(access.key, self.inflation);
    }

    fn miss(&mut self, access: &Access) {
        self.inflation_at_miss = self.inflation;
        if self.rejects {
            self.worth.insert(access.key, (1, access.weight));
            self.rank(access.key, self.inflation);
        }
    }

    fn evict(&mut self) -> Option<Key> {
        let (key, Priority(priority)) = self.ranked.pop_first()?;
        self.worth.remove(&key);
        self.inflation = priority;
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        if !self.rejects {
            self.worth.insert(access.key, (1, access.weight));
            self.rank(access.key, self.inflation_at_miss);
        }
    }
}
