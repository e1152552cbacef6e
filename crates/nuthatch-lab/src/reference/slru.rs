//! SLRU: an LRU queue on probation and a protected one for keys hit while on probation.
//!
//! R. Karedla, J. S. Love and B. G. Wherry, "Caching strategies to improve disk system
//! performance", IEEE Computer 27(3), 1994.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};

/// Segmented LRU.
#[derive(Debug)]
pub struct Slru {
    probation: Queue,
    protected: Queue,
    protected_capacity: u64,
}

impl Slru {
    /// A protected segment of this weight.
    pub fn new(protected_capacity: u64) -> Self {
        Self {
            probation: Queue::default(),
            protected: Queue::default(),
            protected_capacity,
        }
    }
}

impl ReferencePolicy for Slru {
    fn hit(&mut self, access: &Access) {
        let weight = self
            .probation
            .remove(access.key)
            .or_else(|| self.protected.remove(access.key));
        self.protected
            .push_back(access.key, weight.expect("a hit key is resident"));
        while self.protected.weight() > self.protected_capacity {
            let (key, weight) = self.protected.pop_front().expect("it has weight");
            self.probation.push_back(key, weight);
        }
    }

    fn evict(&mut self) -> Option<Key> {
        let (key, _) = self
            .probation
            .pop_front()
            .or_else(|| self.protected.pop_front())?;
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.probation.push_back(access.key, access.weight);
    }
}
