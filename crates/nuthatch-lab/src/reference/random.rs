//! Random: evicts any key.

use super::{Access, Key, ReferencePolicy};
use crate::simulate::key_hash;

/// Random eviction; the same seed gives the same choices.
#[derive(Debug)]
pub struct Random {
    keys: Vec<Key>,
    seed: u64,
}

impl Random {
    /// Choices that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            keys: Vec::new(),
            seed,
        }
    }
}

impl ReferencePolicy for Random {
    fn hit(&mut self, _: &Access) {}

    fn evict(&mut self) -> Option<Key> {
        if self.keys.is_empty() {
            return None;
        }
        self.seed = self.seed.wrapping_add(1);
        let victim = key_hash(self.seed) % self.keys.len() as u64;
        Some(self.keys.swap_remove(victim as usize))
    }

    fn insert(&mut self, access: &Access) {
        self.keys.push(access.key);
    }
}
