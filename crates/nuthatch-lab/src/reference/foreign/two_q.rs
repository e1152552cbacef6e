//! libCacheSim's 2Q: a key heavier than the queue for newcomers is turned away, after its ghost was
//! forgotten; the queues' shares are those of the capacity, however much is held; and the main queue
//! keeps within its own share when a ghost returns.

use super::super::queue::Queue;
use super::super::{Access, share};
use super::ForeignCache;

/// 2Q.
#[derive(Debug)]
pub(super) struct TwoQ {
    newcomers: Queue,
    ghosts: Queue,
    main: Queue,
    capacity: u64,
    newcomer_capacity: u64,
    ghost_capacity: u64,
}

impl TwoQ {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            newcomers: Queue::default(),
            ghosts: Queue::default(),
            main: Queue::default(),
            capacity,
            newcomer_capacity: share(capacity, 0.25),
            ghost_capacity: share(capacity, 0.5),
        }
    }

    fn evict(&mut self) {
        if self.newcomers.weight() > self.newcomer_capacity {
            let (key, weight) = self.newcomers.pop_front().expect("it has weight");
            if weight <= self.ghost_capacity {
                self.ghosts.push_back(key, weight);
                while self.ghosts.weight() > self.ghost_capacity {
                    self.ghosts.pop_front();
                }
            }
        } else {
            self.main.pop_front();
        }
    }
}

impl ForeignCache for TwoQ {
    fn request(&mut self, access: &Access) -> bool {
        let Access { key, weight, .. } = *access;
        if self.newcomers.contains(key) {
            return true;
        }
        let returns = self.ghosts.remove(key).is_some();
        if self.main.contains(key) {
            self.main.renew(key);
            return true;
        }
        if weight > self.newcomer_capacity {
            return false;
        }
        while self.newcomers.weight() + self.main.weight() + weight > self.capacity {
            self.evict();
        }
        if returns {
            let main_capacity = self.capacity - self.newcomer_capacity;
            while self.main.weight() + weight > main_capacity {
                self.main.pop_front();
            }
            self.main.push_back(key, weight);
        } else {
            self.newcomers.push_back(key, weight);
        }
        false
    }
}
