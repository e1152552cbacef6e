//! GDSF: evicts the key of the lowest priority, which is its uses per byte on top of the inflation
//! that reigned at its last use; inflation is the priority of the last victim.
//!
//! L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
//! Policy", HP Laboratories report HPL-98-69R1, 1998. A new key's priority is set before the
//! evictions that make room for it raise the inflation, but never lies below the inflation.

use super::ranked::{Priority, Ranked};
use super::{Access, Key, ReferencePolicy};
use std::collections::HashMap;

/// Greedy-Dual-Size-Frequency.
#[derive(Debug)]
pub struct Gdsf {
    ranked: Ranked<Priority>,
    uses: HashMap<Key, (u64, u64)>,
    inflation: f64,
    inflation_at_miss: f64,
}

impl Default for Gdsf {
    fn default() -> Self {
        Self {
            ranked: Ranked::new(),
            uses: HashMap::new(),
            inflation: 0.0,
            inflation_at_miss: 0.0,
        }
    }
}

impl ReferencePolicy for Gdsf {
    fn hit(&mut self, access: &Access) {
        let (uses, weight) = self
            .uses
            .get_mut(&access.key)
            .expect("a hit key is resident");
        *uses += 1;
        let worth = *uses as f64 / *weight as f64;
        self.ranked
            .set(access.key, Priority(self.inflation + worth));
    }

    fn miss(&mut self, _: &Access) {
        self.inflation_at_miss = self.inflation;
    }

    fn evict(&mut self) -> Option<Key> {
        let (key, Priority(priority)) = self.ranked.pop_first()?;
        self.uses.remove(&key);
        self.inflation = priority;
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.uses.insert(access.key, (1, access.weight));
        let worth = 1.0 / access.weight as f64;
        let priority = (self.inflation_at_miss + worth).max(self.inflation);
        self.ranked.set(access.key, Priority(priority));
    }
}
