//! libCacheSim's S3-FIFO and Clock2Q+: a key heavier than the small queue is turned away, after its
//! ghost was forgotten, and one that just fits makes room and is not taken in, unless it had a
//! ghost. So a small queue with room for one key of weight 1 admits nothing.

use super::super::queue::Queue;
use super::super::{Access, Key, KeyMap, share};
use super::ForeignCache;

/// The most hits that a key in the main queue gets rounds for.
const MAX_COUNT: u32 = 3;

/// S3-FIFO.
#[derive(Debug)]
pub(super) struct S3Fifo {
    small: Queue,
    main: Queue,
    ghosts: Queue,
    counts: KeyMap<u32>,
    capacity: u64,
    small_capacity: u64,
    ghost_capacity: u64,
    promotion: u32,
    max_count: u32,
    /// With a correlation window, the number of each key of the small queue among all that came
    /// into it, and how many came.
    arrivals: Option<(KeyMap<u64>, u64)>,
    has_evicted: bool,
}

impl S3Fifo {
    pub(super) fn new(capacity: u64, promotion: u32) -> Self {
        Self {
            small: Queue::default(),
            main: Queue::default(),
            ghosts: Queue::default(),
            counts: KeyMap::default(),
            capacity,
            small_capacity: share(capacity, 0.1),
            ghost_capacity: share(capacity, 0.9),
            promotion,
            max_count: MAX_COUNT,
            arrivals: None,
            has_evicted: false,
        }
    }

    /// Clock2Q+.
    pub(super) fn correlated(capacity: u64) -> Self {
        Self {
            arrivals: Some((KeyMap::default(), 0)),
            max_count: 1,
            ..Self::new(capacity, 1)
        }
    }

    fn is_correlated(&self, key: Key) -> bool {
        let Some((arrivals, arrived)) = &self.arrivals else {
            return false;
        };
        2 * (arrived - arrivals[&key]) < self.small_capacity
    }

    fn count(&mut self, key: Key) {
        *self.counts.get_mut(&key).expect("residents have counts") += 1;
    }

    fn evict(&mut self) {
        self.has_evicted = true;
        let main_is_over = self.main.weight() > self.capacity - self.small_capacity;
        if main_is_over || self.small.is_empty() {
            self.evict_main();
        } else {
            self.evict_small();
        }
    }

    fn evict_small(&mut self) {
        while let Some((key, weight)) = self.small.pop_front() {
            if let Some((arrivals, _)) = &mut self.arrivals {
                arrivals.remove(&key);
            }
            if self.counts[&key] >= self.promotion {
                self.counts.insert(key, 0);
                self.main.push_back(key, weight);
                continue;
            }
            self.counts.remove(&key);
            if weight <= self.ghost_capacity {
                self.ghosts.push_back(key, weight);
                while self.ghosts.weight() > self.ghost_capacity {
                    self.ghosts.pop_front();
                }
            }
            return;
        }
    }

    fn evict_main(&mut self) {
        while let Some((key, weight)) = self.main.pop_front() {
            match self.counts[&key].min(self.max_count) {
                0 => {
                    self.counts.remove(&key);
                    return;
                }
                count => {
                    self.counts.insert(key, count - 1);
                    self.main.push_back(key, weight);
                }
            }
        }
    }

    fn insert(&mut self, key: Key, weight: u64, returns: bool) {
        let filling = !self.has_evicted && self.small.weight() >= self.small_capacity;
        if returns || filling {
            self.main.push_back(key, weight);
        } else if weight < self.small_capacity {
            self.small.push_back(key, weight);
            if let Some((arrivals, arrived)) = &mut self.arrivals {
                *arrived += 1;
                arrivals.insert(key, *arrived);
            }
        } else {
            return;
        }
        self.counts.insert(key, 0);
    }
}

impl ForeignCache for S3Fifo {
    fn request(&mut self, access: &Access) -> bool {
        let Access { key, weight, .. } = *access;
        if self.small.contains(key) {
            if !self.is_correlated(key) {
                self.count(key);
            }
            return true;
        }
        let returns = self.ghosts.remove(key).is_some();
        if self.main.contains(key) {
            self.count(key);
            return true;
        }
        if weight <= self.small_capacity {
            while self.small.weight() + self.main.weight() + weight > self.capacity {
                self.evict();
            }
            self.insert(key, weight, returns);
        }
        false
    }
}
