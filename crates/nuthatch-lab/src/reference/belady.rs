//! Belady's policy, which sees the future: no online policy misses less.
//!
//! L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems
//! Journal 5(2), 1966. [`Belady`] evicts the key whose next use is farthest and admits every key:
//! the fewest misses where every entry counts 1. With sizes no simple rule is optimal;
//! [`BeladySize`] evicts the greatest product of size and distance and turns away keys never used
//! again.

use super::ranked::Ranked;
use super::{Access, Key, KeyMap, NEVER, ReferencePolicy};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Farthest next use first.
#[derive(Debug)]
pub struct Belady {
    ranked: Ranked<Reverse<u64>>,
}

impl Default for Belady {
    fn default() -> Self {
        Self {
            ranked: Ranked::new(),
        }
    }
}

impl ReferencePolicy for Belady {
    fn hit(&mut self, access: &Access) {
        self.ranked.set(access.key, Reverse(access.next_use));
    }

    fn evict(&mut self) -> Option<Key> {
        self.ranked.pop_first().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        self.ranked.set(access.key, Reverse(access.next_use));
    }
}

/// Greatest size times distance first.
///
/// Among keys of about one size the farthest next use decides, so it is enough to look at the
/// farthest key of each class of sizes; classes are a twelfth of an octave wide, which bounds the
/// error of the choice by 6 %.
#[derive(Debug, Default)]
pub struct BeladySize {
    classes: Vec<BTreeSet<(u64, Key)>>,
    members: KeyMap<(u64, u64)>,
    time: u64,
}

impl BeladySize {
    fn class(weight: u64) -> usize {
        (12.0 * (weight as f64).log2()).round() as usize
    }

    fn set(&mut self, key: Key, weight: u64, next_use: u64) {
        self.remove(key);
        let class = Self::class(weight);
        if class >= self.classes.len() {
            self.classes.resize(class + 1, BTreeSet::new());
        }
        self.classes[class].insert((next_use, key));
        self.members.insert(key, (weight, next_use));
    }

    fn remove(&mut self, key: Key) {
        if let Some((weight, next_use)) = self.members.remove(&key) {
            self.classes[Self::class(weight)].remove(&(next_use, key));
        }
    }

    /// What keeping a key costs: bytes times requests until it is used.
    fn cost(&self, next_use: u64, key: Key) -> u128 {
        let (weight, _) = self.members[&key];
        u128::from(weight) * u128::from(next_use - self.time)
    }
}

impl ReferencePolicy for BeladySize {
    fn hit(&mut self, access: &Access) {
        self.time = access.time;
        let (weight, _) = self.members[&access.key];
        self.set(access.key, weight, access.next_use);
    }

    fn admits(&mut self, access: &Access) -> bool {
        self.time = access.time;
        access.next_use != NEVER
    }

    fn evict(&mut self) -> Option<Key> {
        let farthest = self.classes.iter().filter_map(BTreeSet::last);
        let (_, key) = *farthest.max_by_key(|&&(next_use, key)| self.cost(next_use, key))?;
        self.remove(key);
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.set(access.key, access.weight, access.next_use);
    }
}
