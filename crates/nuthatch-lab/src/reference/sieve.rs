//! SIEVE: a queue that never moves, and a hand that walks from its front to its back, spares the
//! keys visited since it last came by, and evicts the first that was not.
//!
//! Y. Zhang et al., "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for Web
//! Caches", NSDI 2024.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};
use std::collections::HashSet;

/// SIEVE.
#[derive(Debug, Default)]
pub struct Sieve {
    queue: Queue,
    visited: HashSet<Key>,
    /// Where the hand goes on; the front if nowhere.
    hand: Option<Key>,
}

impl ReferencePolicy for Sieve {
    fn hit(&mut self, access: &Access) {
        self.visited.insert(access.key);
    }

    fn evict(&mut self) -> Option<Key> {
        let mut key = self.hand.or(self.queue.front())?;
        while self.visited.remove(&key) {
            key = self.queue.behind(key).or(self.queue.front())?;
        }
        self.hand = self.queue.behind(key);
        self.queue.remove(key);
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.queue.push_back(access.key, access.weight);
    }
}
