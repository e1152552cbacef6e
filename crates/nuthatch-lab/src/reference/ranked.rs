//! Keys by a priority that changes when they are used; ties fall to the least recently used.

use super::{Key, KeyMap};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A priority: finite, the lowest leaves first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Priority(pub(super) f64);

impl Eq for Priority {}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Keys in order of rank. `R` is what they are ranked by.
#[derive(Debug)]
pub(super) struct Ranked<R> {
    order: BTreeMap<(R, u64), Key>,
    ranks: KeyMap<(R, u64)>,
    time: u64,
}

impl<R: Copy + Ord> Ranked<R> {
    pub(super) fn new() -> Self {
        Self {
            order: BTreeMap::new(),
            ranks: KeyMap::default(),
            time: 0,
        }
    }

    /// Ranks `key`, which is in use right now.
    pub(super) fn set(&mut self, key: Key, rank: R) {
        self.time += 1;
        if let Some(before) = self.ranks.insert(key, (rank, self.time)) {
            self.order.remove(&before);
        }
        self.order.insert((rank, self.time), key);
    }

    pub(super) fn rank(&self, key: Key) -> R {
        self.ranks[&key].0
    }

    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Takes out the key with the lowest rank.
    pub(super) fn pop_first(&mut self) -> Option<(Key, R)> {
        let ((rank, _), key) = self.order.pop_first()?;
        self.ranks.remove(&key);
        Some((key, rank))
    }
}
