//! LIRS: keeps the keys whose last two uses were close together (LIR) and lends a small share of
//! the cache to all others (HIR).
//!
//! S. Jiang and X. Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy to
//! Improve Buffer Cache Performance", SIGMETRICS 2002. The stack S holds all keys used since the
//! oldest LIR key was; the queue Q holds the resident HIR keys. A ghost that comes while there are
//! as many as keys are resident replaces the oldest: the paper leaves their number open. While there is no LIR key, S has no bottom.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy};
use std::collections::HashSet;

/// Low Inter-reference Recency Set.
#[derive(Debug)]
pub struct Lirs {
    /// S; its front is its bottom.
    stack: Queue,
    /// Q.
    hir: Queue,
    /// Keys of S that are not resident, in the order in which they left.
    ghosts: Queue,
    lir: HashSet<Key>,
    lir_weight: u64,
    lir_capacity: u64,
    returns: bool,
}

impl Lirs {
    /// A cache of this weight, of which HIR keys get `hir`.
    pub fn new(capacity: u64, hir: u64) -> Self {
        Self {
            stack: Queue::default(),
            hir: Queue::default(),
            ghosts: Queue::default(),
            lir: HashSet::new(),
            lir_weight: 0,
            lir_capacity: capacity - hir,
            returns: false,
        }
    }

    fn make_lir(&mut self, key: Key, weight: u64) {
        self.lir.insert(key);
        self.lir_weight += weight;
        self.prune();
        while self.lir_weight > self.lir_capacity {
            self.demote();
        }
    }

    /// Turns the LIR key at the bottom of the stack into an HIR key.
    fn demote(&mut self) {
        let (key, weight) = self.stack.pop_front().expect("LIR keys are on the stack");
        assert!(self.lir.remove(&key), "the bottom of the stack is LIR");
        self.lir_weight -= weight;
        self.hir.push_back(key, weight);
        self.prune();
    }

    /// Clears the bottom of the stack down to a LIR key.
    fn prune(&mut self) {
        if self.lir.is_empty() {
            return;
        }
        while let Some(key) = self.stack.front()
            && !self.lir.contains(&key)
        {
            self.stack.remove(key);
            self.ghosts.remove(key);
        }
    }

    /// Whether a key may be LIR at all: a heavier one would drive out every other.
    fn may_be_lir(&self, weight: u64) -> bool {
        weight <= self.lir_capacity
    }
}

impl ReferencePolicy for Lirs {
    fn hit(&mut self, access: &Access) {
        let key = access.key;
        if self.lir.contains(&key) {
            self.stack.renew(key);
            self.prune();
            return;
        }
        let weight = self.hir.remove(key).expect("a hit key is resident");
        let stacked = self.stack.remove(key).is_some();
        self.stack.push_back(key, weight);
        if stacked && self.may_be_lir(weight) {
            self.make_lir(key, weight);
        } else {
            self.hir.push_back(key, weight);
        }
    }

    /// A returning ghost goes to the top of the stack at once, so that making room does not prune
    /// it.
    fn miss(&mut self, access: &Access) {
        self.returns = self.ghosts.remove(access.key).is_some();
        if self.returns {
            self.stack.remove(access.key);
            self.stack.push_back(access.key, access.weight);
        }
    }

    fn evict(&mut self) -> Option<Key> {
        let residents = self.hir.len() + self.lir.len();
        if self.hir.is_empty() && !self.lir.is_empty() {
            self.demote();
        }
        let (key, weight) = self.hir.pop_front()?;
        if self.stack.contains(key) {
            self.ghosts.push_back(key, weight);
            if self.ghosts.len() > residents {
                let (oldest, _) = self.ghosts.pop_front().expect("there are ghosts");
                self.stack.remove(oldest);
            }
        }
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        let (key, weight) = (access.key, access.weight);
        self.stack.remove(key);
        self.stack.push_back(key, weight);
        let has_room = self.lir_weight + weight <= self.lir_capacity;
        if has_room || (self.returns && self.may_be_lir(weight)) {
            self.make_lir(key, weight);
        } else {
            self.hir.push_back(key, weight);
        }
    }
}
