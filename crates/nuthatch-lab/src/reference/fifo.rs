//! FIFO: evicts the key inserted first.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};

/// First in, first out.
#[derive(Debug, Default)]
pub struct Fifo {
    queue: Queue,
}

impl ReferencePolicy for Fifo {
    fn hit(&mut self, _: &Access) {}

    fn evict(&mut self) -> Option<Key> {
        self.queue.pop_front().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        self.queue.push_back(access.key, access.weight);
    }
}
