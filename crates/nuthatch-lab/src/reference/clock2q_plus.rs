//! Clock2Q+: S3-FIFO with a correlation window. A hit counts only once a key has left the newest
//! half of the small queue, so that a burst of requests right after a miss promotes nothing; one
//! counted hit is enough, and the main queue is a one-bit CLOCK.
//!
//! "Clock2Q+", VLDB 2026.

use super::queue::Queue;
use super::{Access, Key, KeyMap, ReferencePolicy};
use std::collections::HashSet;

/// Clock2Q+.
#[derive(Debug)]
pub struct Clock2qPlus {
    small: Queue,
    main: Queue,
    ghosts: Queue,
    used: HashSet<Key>,
    small_capacity: u64,
    main_capacity: u64,
    ghost_capacity: u64,
    /// Weight that ever came into the small queue.
    arrived: u64,
    /// What had come before a key of the small queue, and the key itself.
    arrived_at: KeyMap<u64>,
    returns: bool,
    has_evicted: bool,
}

impl Clock2qPlus {
    /// Queues for `capacity`, of which newcomers get `small`.
    pub fn new(capacity: u64, small: u64, ghosts: u64) -> Self {
        Self {
            small: Queue::default(),
            main: Queue::default(),
            ghosts: Queue::default(),
            used: HashSet::new(),
            small_capacity: small,
            main_capacity: capacity - small,
            ghost_capacity: ghosts,
            arrived: 0,
            arrived_at: KeyMap::default(),
            returns: false,
            has_evicted: false,
        }
    }

    fn evict_small(&mut self) -> Option<Key> {
        while let Some((key, weight)) = self.small.pop_front() {
            self.arrived_at.remove(&key);
            if self.used.remove(&key) {
                self.main.push_back(key, weight);
                continue;
            }
            self.ghosts.push_back(key, weight);
            while self.ghosts.weight() > self.ghost_capacity {
                self.ghosts.pop_front();
            }
            return Some(key);
        }
        None
    }

    fn evict_main(&mut self) -> Option<Key> {
        while let Some(key) = self.main.front()
            && self.used.remove(&key)
        {
            self.main.renew(key);
        }
        self.main.pop_front().map(|(key, _)| key)
    }
}

impl ReferencePolicy for Clock2qPlus {
    fn hit(&mut self, access: &Access) {
        let correlated = self.arrived_at.get(&access.key);
        if correlated.is_none_or(|at| 2 * (self.arrived - at) >= self.small_capacity) {
            self.used.insert(access.key);
        }
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
        if self.returns || filling {
            self.main.push_back(access.key, access.weight);
            return;
        }
        self.small.push_back(access.key, access.weight);
        self.arrived += access.weight;
        self.arrived_at.insert(access.key, self.arrived);
    }
}
