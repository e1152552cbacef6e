//! S3-FIFO: a small queue for newcomers, a main queue for those hit while in it, and the ghosts of
//! those that were not.
//!
//! J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023. Until the first
//! eviction a newcomer that finds the small queue full goes to the main one.

use super::queue::Queue;
use super::{Access, Key, KeyMap, ReferencePolicy};

/// The most hits that a key gets rounds for.
const MAX_COUNT: u8 = 3;

/// S3-FIFO.
#[derive(Debug)]
pub struct S3Fifo {
    small: Queue,
    main: Queue,
    ghosts: Queue,
    counts: KeyMap<u8>,
    small_capacity: u64,
    main_capacity: u64,
    ghost_capacity: u64,
    /// Hits in the small queue that take a key to the main one.
    promotion: u8,
    returns: bool,
    has_evicted: bool,
}

impl S3Fifo {
    /// Queues for `capacity`, of which newcomers get `small`.
    pub fn new(capacity: u64, small: u64, ghosts: u64, promotion: u8) -> Self {
        Self {
            small: Queue::default(),
            main: Queue::default(),
            ghosts: Queue::default(),
            counts: KeyMap::default(),
            small_capacity: small,
            main_capacity: capacity - small,
            ghost_capacity: ghosts,
            promotion,
            returns: false,
            has_evicted: false,
        }
    }

    /// Moves promoted keys on until one is found that nobody asked for enough.
    fn evict_small(&mut self) -> Option<Key> {
        while let Some((key, weight)) = self.small.pop_front() {
            if self.counts[&key] >= self.promotion {
                self.counts.insert(key, 0);
                self.main.push_back(key, weight);
                continue;
            }
            self.counts.remove(&key);
            self.ghosts.push_back(key, weight);
            while self.ghosts.weight() > self.ghost_capacity {
                self.ghosts.pop_front();
            }
            return Some(key);
        }
        None
    }

    fn evict_main(&mut self) -> Option<Key> {
        loop {
            let key = self.main.front()?;
            match self.counts.get_mut(&key).expect("a queued key has a count") {
                0 => break,
                count => *count -= 1,
            }
            self.main.renew(key);
        }
        let (key, _) = self.main.pop_front()?;
        self.counts.remove(&key);
        Some(key)
    }
}

impl ReferencePolicy for S3Fifo {
    fn hit(&mut self, access: &Access) {
        let count = self
            .counts
            .get_mut(&access.key)
            .expect("a hit key is resident");
        *count = MAX_COUNT.min(*count + 1);
    }

    fn miss(&mut self, access: &Access) {
        self.returns = self.ghosts.remove(access.key).is_some();
    }

    fn evict(&mut self) -> Option<Key> {
        self.has_evicted = true;
        if self.main.weight() <= self.main_capacity
            && let Some(victim) = self.evict_small()
        {
            return Some(victim);
        }
        self.evict_main().or_else(|| self.evict_small())
    }

    fn insert(&mut self, access: &Access) {
        let filling = !self.has_evicted && self.small.weight() >= self.small_capacity;
        let queue = if self.returns || filling {
            &mut self.main
        } else {
            &mut self.small
        };
        queue.push_back(access.key, access.weight);
        self.counts.insert(access.key, 0);
    }
}
