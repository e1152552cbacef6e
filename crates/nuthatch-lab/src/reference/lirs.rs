//! LIRS: keeps the keys whose last two uses were close together (LIR) and lends a small share of
//! the cache to all others (HIR).
//!
//! S. Jiang and X. Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy to
//! Improve Buffer Cache Performance", SIGMETRICS 2002. The stack S holds all keys used since the
//! oldest LIR key was; the queue Q holds the resident HIR keys. Of the ghosts in S the oldest are
//! dropped while S is heavier than twice the cache.

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
    stack_capacity: u64,
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
            stack_capacity: 2 * capacity,
            returns: false,
        }
    }

    /// Puts a key on top of the stack.
    fn stack(&mut self, key: Key, weight: u64) {
        self.stack.remove(key);
        self.stack.push_back(key, weight);
    }

    fn make_lir(&mut self, key: Key, weight: u64) {
        self.lir.insert(key);
        self.lir_weight += weight;
        while self.lir_weight > self.lir_capacity && self.demote() {}
    }

    /// Turns the LIR key at the bottom of the stack into an HIR key.
    fn demote(&mut self) -> bool {
        let Some((key, weight)) = self.stack.pop_front() else {
            return false;
        };
        assert!(self.lir.remove(&key), "the bottom of the stack is LIR");
        self.lir_weight -= weight;
        self.hir.push_back(key, weight);
        self.prune();
        true
    }

    /// Clears the bottom of the stack down to a LIR key.
    fn prune(&mut self) {
        while let Some(key) = self.stack.front()
            && !self.lir.contains(&key)
        {
            self.stack.remove(key);
            self.ghosts.remove(key);
        }
    }

    fn limit(&mut self) {
        while self.stack.weight() > self.stack_capacity
            && let Some((ghost, _)) = self.ghosts.pop_front()
        {
            self.stack.remove(ghost);
        }
    }
}

impl ReferencePolicy for Lirs {
    fn hit(&mut self, access: &Access) {
        let key = access.key;
        if self.lir.contains(&key) {
            self.stack.renew(key);
            self.prune();
        } else if let Some(weight) = self.stack.remove(key) {
            self.stack.push_back(key, weight);
            self.hir.remove(key);
            self.make_lir(key, weight);
        } else {
            let weight = self.hir.remove(key).expect("a hit key is resident");
            self.hir.push_back(key, weight);
            self.stack(key, weight);
        }
        self.limit();
    }

    /// A returning ghost goes to the top of the stack at once, so that making room does not prune
    /// it.
    fn miss(&mut self, access: &Access) {
        self.returns = self.ghosts.remove(access.key).is_some();
        if self.returns {
            self.stack(access.key, access.weight);
        }
    }

    fn evict(&mut self) -> Option<Key> {
        if self.hir.is_empty() {
            self.demote();
        }
        let (key, weight) = self.hir.pop_front()?;
        if self.stack.contains(key) {
            self.ghosts.push_back(key, weight);
        }
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        let (key, weight) = (access.key, access.weight);
        self.stack(key, weight);
        if self.returns || self.lir_weight + weight <= self.lir_capacity {
            self.make_lir(key, weight);
        } else {
            self.hir.push_back(key, weight);
        }
        self.prune();
        self.limit();
    }
}
