//! LRU-2: evicts the key whose second-last use is longest ago. Keys used only once since they were
//! inserted have none and leave first, in order of insertion.
//!
//! E. J. O'Neil, P. E. O'Neil and G. Weikum, "The LRU-K Page Replacement Algorithm For Database
//! Disk Buffering", SIGMOD 1993, without the history of evicted keys.

use super::ranked::Ranked;
use super::{Access, Key, KeyMap, ReferencePolicy};

/// LRU-2.
#[derive(Debug)]
pub struct Lru2 {
    /// By the time of the second-last use, where there is one.
    ranked: Ranked<Option<u64>>,
    last_use: KeyMap<u64>,
}

impl Default for Lru2 {
    fn default() -> Self {
        Self {
            ranked: Ranked::new(),
            last_use: KeyMap::default(),
        }
    }
}

impl ReferencePolicy for Lru2 {
    fn hit(&mut self, access: &Access) {
        let before = self.last_use.insert(access.key, access.time);
        self.ranked.set(access.key, before);
    }

    fn evict(&mut self) -> Option<Key> {
        let (key, _) = self.ranked.pop_first()?;
        self.last_use.remove(&key);
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.last_use.insert(access.key, access.time);
        self.ranked.set(access.key, None);
    }
}
