//! libCacheSim's ARC: the target moves by the ratio of the ghosts' weights, whatever the object's
//! weight is, so by bytes it hardly moves; and each eviction drops one ghost at most, so by bytes
//! there may be more of them than the paper allows.

use super::super::queue::Queue;
use super::super::{Access, Key};
use super::ForeignCache;

/// ARC.
#[derive(Debug)]
pub(super) struct Arc {
    t1: Queue,
    t2: Queue,
    b1: Queue,
    b2: Queue,
    capacity: u64,
    target: f64,
}

/// Which ghost a key left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ghost {
    None,
    Once,
    Often,
}

impl Arc {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            t1: Queue::default(),
            t2: Queue::default(),
            b1: Queue::default(),
            b2: Queue::default(),
            capacity,
            target: 0.0,
        }
    }

    /// Takes the key's ghost and moves the target by what it says.
    fn take_ghost(&mut self, key: Key) -> Ghost {
        let (b1, b2) = (self.b1.weight() as f64, self.b2.weight() as f64);
        if self.b1.remove(key).is_some() {
            self.target = (self.target + (b2 / b1).max(1.0)).min(self.capacity as f64);
            Ghost::Once
        } else if self.b2.remove(key).is_some() {
            self.target = (self.target - (b1 / b2).max(1.0)).max(0.0);
            Ghost::Often
        } else {
            Ghost::None
        }
    }

    fn evict(&mut self, weight: u64, ghost: Ghost) {
        if ghost == Ghost::None {
            let once = self.t1.weight() + self.b1.weight();
            if once + weight > self.capacity {
                if self.b1.is_empty() {
                    self.t1.pop_front();
                    return;
                }
                self.b1.pop_front();
            } else if once + self.t2.weight() + self.b2.weight() >= 2 * self.capacity {
                self.b2.pop_front();
            }
        }
        self.replace(ghost);
    }

    fn replace(&mut self, ghost: Ghost) {
        let t1 = self.t1.weight() as f64;
        let over = t1 > self.target || (t1 == self.target && ghost == Ghost::Often);
        let (from, to) = if (!self.t1.is_empty() && over) || self.t2.is_empty() {
            (&mut self.t1, &mut self.b1)
        } else {
            (&mut self.t2, &mut self.b2)
        };
        let (key, weight) = from.pop_front().expect("there is something to evict");
        to.push_back(key, weight);
    }
}

impl ForeignCache for Arc {
    fn request(&mut self, access: &Access) -> bool {
        let Access { key, weight, .. } = *access;
        if let Some(weight) = self.t1.remove(key).or_else(|| self.t2.remove(key)) {
            self.t2.push_back(key, weight);
            return true;
        }
        let ghost = self.take_ghost(key);
        if weight > self.capacity {
            return false;
        }
        while self.t1.weight() + self.t2.weight() + weight > self.capacity {
            self.evict(weight, ghost);
        }
        let queue = match ghost {
            Ghost::None => &mut self.t1,
            Ghost::Once | Ghost::Often => &mut self.t2,
        };
        queue.push_back(key, weight);
        false
    }
}
