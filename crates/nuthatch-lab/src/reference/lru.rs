//! LRU: evicts the key whose last use is longest ago.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};

/// Least recently used.
#[derive(Debug, Default)]
pub struct Lru {
    queue: Queue,
}

impl ReferencePolicy for Lru {
    fn hit(&mut self, access: &Access) {
        self.queue.renew(access.key);
    }

    fn evict(&mut self) -> Option<Key> {
        self.queue.pop_front().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        self.queue.push_back(access.key, access.weight);
    }
}
