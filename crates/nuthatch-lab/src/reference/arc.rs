//! ARC: one LRU queue for keys seen once and one for keys seen again, whose shares follow the hits
//! on their ghosts.
//!
//! N. Megiddo and D. S. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003.
//! The queues bear the paper's names: T1 and T2 are resident, B1 and B2 hold their ghosts.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};

/// Where the key of the miss at hand was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ghost {
    None,
    SeenOnce,
    SeenAgain,
}

/// Adaptive Replacement Cache.
#[derive(Debug)]
pub struct Arc {
    t1: Queue,
    t2: Queue,
    b1: Queue,
    b2: Queue,
    capacity: u64,
    /// The weight that T1 should have: the paper's p.
    target: f64,
    ghost: Ghost,
    incoming: u64,
}

impl Arc {
    /// A cache of this weight.
    pub fn new(capacity: u64) -> Self {
        Self {
            t1: Queue::default(),
            t2: Queue::default(),
            b1: Queue::default(),
            b2: Queue::default(),
            capacity,
            target: 0.0,
            ghost: Ghost::None,
            incoming: 0,
        }
    }

    /// The weight of T1 and B1, with the key asked for.
    fn seen_once(&self) -> u64 {
        self.t1.weight() + self.b1.weight() + self.incoming
    }

    /// The weight of all four queues, with the key asked for.
    fn everything(&self) -> u64 {
        self.seen_once() + self.t2.weight() + self.b2.weight()
    }

    /// The paper's REPLACE.
    fn replace(&mut self) -> Option<Key> {
        let t1 = self.t1.weight() as f64;
        let over = t1 > self.target || (t1 == self.target && self.ghost == Ghost::SeenAgain);
        let from_t1 = !self.t1.is_empty() && (over || self.t2.is_empty());
        let (from, ghosts) = if from_t1 {
            (&mut self.t1, &mut self.b1)
        } else {
            (&mut self.t2, &mut self.b2)
        };
        let (key, weight) = from.pop_front()?;
        ghosts.push_back(key, weight);
        Some(key)
    }
}

impl ReferencePolicy for Arc {
    fn hit(&mut self, access: &Access) {
        let weight = self
            .t1
            .remove(access.key)
            .or_else(|| self.t2.remove(access.key));
        self.t2
            .push_back(access.key, weight.expect("a hit key is resident"));
    }

    fn miss(&mut self, access: &Access) {
        self.incoming = access.weight;
        let (b1, b2) = (self.b1.weight() as f64, self.b2.weight() as f64);
        let weight = access.weight as f64;
        self.ghost = if self.b1.remove(access.key).is_some() {
            let step = (b2 / b1).max(1.0) * weight;
            self.target = (self.target + step).min(self.capacity as f64);
            Ghost::SeenOnce
        } else if self.b2.remove(access.key).is_some() {
            let step = (b1 / b2).max(1.0) * weight;
            self.target = (self.target - step).max(0.0);
            Ghost::SeenAgain
        } else {
            Ghost::None
        };
    }

    fn evict(&mut self) -> Option<Key> {
        if self.ghost != Ghost::None {
            return self.replace();
        }
        if self.seen_once() > self.capacity {
            if self.b1.is_empty() && !self.t1.is_empty() {
                return self.t1.pop_front().map(|(key, _)| key);
            }
            while self.seen_once() > self.capacity && self.b1.pop_front().is_some() {}
        }
        while self.everything() > 2 * self.capacity && self.b2.pop_front().is_some() {}
        self.replace()
    }

    fn insert(&mut self, access: &Access) {
        let queue = if self.ghost == Ghost::None {
            &mut self.t1
        } else {
            &mut self.t2
        };
        queue.push_back(access.key, access.weight);
    }
}
