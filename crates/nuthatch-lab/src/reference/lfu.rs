//! LFU: evicts the key used least often since it was inserted, among equals the one whose last use
//! is longest ago. It forgets a key's count with the key and never ages a count.

use super::ranked::Ranked;
use super::{Access, Key, ReferencePolicy};

/// Least frequently used.
#[derive(Debug)]
pub struct Lfu {
    ranked: Ranked<u64>,
}

impl Default for Lfu {
    fn default() -> Self {
        Self {
            ranked: Ranked::new(),
        }
    }
}

impl ReferencePolicy for Lfu {
    fn hit(&mut self, access: &Access) {
        let uses = self.ranked.rank(access.key);
        self.ranked.set(access.key, uses + 1);
    }

    fn evict(&mut self) -> Option<Key> {
        self.ranked.pop_first().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        self.ranked.set(access.key, 1);
    }
}
