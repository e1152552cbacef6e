//! Miniature caches that replay a sample of the requests, one under each rule.
//!
//! C. Waldspurger, T. Saemundsson, I. Ahmad and N. Park, "Cache Modeling and Optimization using
//! Miniature Simulations", USENIX ATC 2017: a cache of 1/n of the capacity that sees the requests
//! for 1/n of the keys, chosen by hash, hits about as often as the whole cache would. A shadow runs
//! the very code of the cache, [`Queues`], on entries that are but a hash and a weight. All shadows
//! share one directory of keys, so a request costs one look-up, and a byte for each shadow that
//! hits.

use super::queues::{MAX_COUNT, Queues, Rule};
use crate::policy::{AccessBytes, Entries, EntryFacts, EntryId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The keys that at least one shadow holds.
#[derive(Debug, Default)]
struct Directory {
    ids: HashMap<u64, EntryId, BuildHasherDefault<HashOfHash>>,
    keys: Vec<Key>,
    free: Vec<EntryId>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    hash: u64,
    weight: u32,
    /// A bit for each shadow that holds the key.
    holders: u8,
}

/// Sampled hashes agree in their low bits, which is where a table looks first.
#[derive(Default)]
struct HashOfHash(u64);

impl Hasher for HashOfHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys of the directory are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl EntryFacts for Directory {
    fn hash(&self, id: EntryId) -> u64 {
        self.keys[id as usize].hash
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.keys[id as usize].weight
    }
}

impl Directory {
    /// The id of a key, which is new if no shadow holds it.
    fn find_or_add(&mut self, hash: u64, weight: u32) -> EntryId {
        if let Some(&id) = self.ids.get(&hash) {
            return id;
        }
        let key = Key {
            hash,
            weight,
            holders: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.keys[id as usize] = key;
                id
            }
            None => {
                self.keys.push(key);
                self.keys.len() as EntryId - 1
            }
        };
        self.ids.insert(hash, id);
        id
    }

    /// A shadow holds the key no longer.
    fn release(&mut self, id: EntryId, holder: u8) {
        let key = &mut self.keys[id as usize];
        key.holders &= !holder;
        if key.holders == 0 {
            self.ids.remove(&key.hash);
            self.free.push(id);
        }
    }
}

#[derive(Debug)]
struct Shadow {
    queues: Queues,
    access: AccessBytes,
    weight: u64,
    hits: f64,
}

/// One shadow for each rule.
#[derive(Debug)]
pub(super) struct Shadows {
    directory: Directory,
    shadows: Vec<Shadow>,
    capacity: u64,
}

impl Shadows {
    /// Empty shadows, one for each of at most 8 rules, which hold nothing before [`resize`](Self::resize).
    pub(super) fn new(rules: &[Rule]) -> Self {
        assert!(rules.len() <= 8, "a byte has a bit for each shadow");
        let shadow = |&rule: &Rule| Shadow {
            queues: Queues::new(rule),
            access: AccessBytes::new(64),
            weight: 0,
            hits: 0.0,
        };
        Self {
            directory: Directory::default(),
            shadows: rules.iter().map(shadow).collect(),
            capacity: 0,
        }
    }

    /// Sets the capacity and the number of entries that are expected to fill it; keeps what still
    /// fits and belongs to the sample.
    pub(super) fn resize(&mut self, capacity: u64, entries: usize, sampled: impl Fn(u64) -> bool) {
        self.capacity = capacity;
        let left: Vec<u64> = self
            .directory
            .ids
            .keys()
            .copied()
            .filter(|&hash| !sampled(hash))
            .collect();
        left.iter().for_each(|&hash| self.forget(hash));
        for index in 0..self.shadows.len() {
            self.shadows[index].queues.set_capacity(capacity);
            self.shadows[index].queues.fit(entries);
            self.shadows[index].make_room(index, 0, capacity, &mut self.directory);
        }
    }

    /// Replays a request.
    pub(super) fn request(&mut self, hash: u64, weight: u32) {
        let id = self.directory.find_or_add(hash, weight);
        let Key {
            weight, holders, ..
        } = self.directory.keys[id as usize];
        if u64::from(weight) > self.capacity {
            if holders == 0 {
                self.directory.release(id, 0);
            }
            return;
        }
        for (index, shadow) in self.shadows.iter_mut().enumerate() {
            if holders >> index & 1 == 1 {
                shadow.hits += 1.0;
                shadow.access.count(id, MAX_COUNT);
            } else {
                shadow.queues.prepare(hash, weight);
                shadow.make_room(index, u64::from(weight), self.capacity, &mut self.directory);
                shadow.insert(id, weight, &self.directory);
            }
        }
        self.directory.keys[id as usize].holders = u8::MAX >> (8 - self.shadows.len());
    }

    /// Drops a key from all shadows.
    pub(super) fn forget(&mut self, hash: u64) {
        let Some(&id) = self.directory.ids.get(&hash) else {
            return;
        };
        let Key {
            weight, holders, ..
        } = self.directory.keys[id as usize];
        for (index, shadow) in self.shadows.iter_mut().enumerate() {
            if holders >> index & 1 == 1 {
                shadow
                    .queues
                    .remove(id, &Entries::new(&shadow.access, &self.directory));
                shadow.weight -= u64::from(weight);
            }
        }
        self.directory.release(id, u8::MAX);
    }

    /// The hits of each shadow, decayed.
    pub(super) fn hits(&self) -> impl Iterator<Item = f64> + '_ {
        self.shadows.iter().map(|shadow| shadow.hits)
    }

    /// Lets past hits count less.
    pub(super) fn decay(&mut self, factor: f64) {
        for shadow in &mut self.shadows {
            shadow.hits *= factor;
        }
    }

    /// Forgets all keys and all history.
    pub(super) fn clear(&mut self) {
        self.directory.ids.clear();
        self.directory.keys.clear();
        self.directory.free.clear();
        for shadow in &mut self.shadows {
            shadow.queues.clear();
            shadow.weight = 0;
            shadow.hits = 0.0;
        }
    }

    pub(super) fn validate(&self) {
        let keys = &self.directory.keys;
        for (index, shadow) in self.shadows.iter().enumerate() {
            let held = |key: &&Key| key.holders >> index & 1 == 1;
            let weight = keys
                .iter()
                .filter(held)
                .map(|key| u64::from(key.weight))
                .sum();
            assert_eq!(shadow.weight, weight, "shadow {index} knows its weight");
            assert!(shadow.weight <= self.capacity, "shadow {index} is bounded");
            assert_eq!(shadow.queues.len(), keys.iter().filter(held).count());
            shadow
                .queues
                .validate(&Entries::new(&shadow.access, &self.directory));
        }
        for (&hash, &id) in &self.directory.ids {
            assert_eq!(
                keys[id as usize].hash, hash,
                "the directory leads to the key"
            );
        }
        let known = self.directory.ids.len() + self.directory.free.len();
        assert_eq!(known, keys.len(), "every key is held or free");
    }
}

impl Shadow {
    fn make_room(&mut self, index: usize, weight: u64, capacity: u64, directory: &mut Directory) {
        while self.weight + weight > capacity {
            let victim = self.queues.evict(&Entries::new(&self.access, directory));
            let victim = victim.expect("a shadow above its capacity holds an entry");
            self.weight -= u64::from(directory.weight(victim));
            directory.release(victim, 1 << index);
        }
    }

    fn insert(&mut self, id: EntryId, weight: u32, directory: &Directory) {
        self.access.reserve(id as usize + 1);
        self.queues.reserve(id as usize + 1);
        self.queues
            .insert(id, &Entries::new(&self.access, directory));
        self.weight += u64::from(weight);
    }
}
