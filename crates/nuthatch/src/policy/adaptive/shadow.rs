//! A miniature cache that replays a sample of the requests under one rule.
//!
//! C. Waldspurger, T. Saemundsson, I. Ahmad and N. Park, "Cache Modeling and Optimization using
//! Miniature Simulations", USENIX ATC 2017: a cache of 1/n of the capacity that sees the requests
//! for 1/n of the keys, chosen by hash, hits about as often as the whole cache would. A shadow runs
//! the very code of the cache, [`Queues`]; its entries are but 32 bits of a hash and a weight. With
//! ghosts and all it takes 29 bytes for each.

use super::queues::{MAX_COUNT, Queues, Rule};
use crate::policy::{AccessBytes, Entries, EntryFacts, EntryId};

/// One shadow; see the module's text.
#[derive(Debug)]
pub(super) struct Shadow {
    queues: Queues,
    access: AccessBytes,
    keys: Keys,
    free: Vec<u16>,
    /// The weight that it may hold.
    capacity: u64,
    /// The weight that it holds.
    weight: u64,
    /// The hits that it had, older ones counting less.
    hits: f64,
}

/// The keys of a shadow's entries, by id, and where to find them.
#[derive(Debug, Default)]
struct Keys {
    keys: Vec<Key>,
    /// Ids by key: open addressing, linear probing, at most half full.
    index: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    /// The high half of the hash: the low one chose the sample.
    fingerprint: u32,
    weight: u32,
}

/// Marks a place of the index that holds no id.
const VACANT: u16 = u16::MAX;

impl Shadow {
    /// A shadow that holds nothing until it is [fitted](Self::fit).
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            queues: Queues::new(rule, false),
            access: AccessBytes::new(64),
            keys: Keys::default(),
            free: Vec::new(),
            capacity: 0,
            weight: 0,
            hits: 0.0,
        }
    }

    /// Sets the capacity, and the number of entries that it holds at most, and forgets what it
    /// held.
    pub(super) fn fit(&mut self, capacity: u64, entries: u16) {
        let slots = usize::from(entries);
        self.capacity = capacity;
        self.queues.set_capacity(capacity);
        self.queues.reserve(slots);
        self.queues.fit(slots);
        self.access.reserve(slots);
        self.keys.fit(slots);
        self.free.reserve_exact(slots);
        self.clear();
    }

    /// Forgets all entries and all history.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.keys.index.fill(VACANT);
        self.free.clear();
        self.free.extend((0..self.keys.keys.len() as u16).rev());
        self.weight = 0;
        self.hits = 0.0;
    }

    /// The id of the entry with this hash.
    pub(super) fn find(&self, hash: u64) -> Option<EntryId> {
        self.keys.find(fingerprint(hash))
    }

    pub(super) fn weight_of(&self, id: EntryId) -> u32 {
        self.keys.weight(id)
    }

    pub(super) fn hits(&self) -> f64 {
        self.hits
    }

    /// Lets the hits so far count less.
    pub(super) fn decay(&mut self, factor: f64) {
        self.hits *= factor;
    }

    pub(super) fn hit(&mut self, id: EntryId) {
        self.hits += 1.0;
        self.access.count(id, MAX_COUNT);
    }

    /// Replays a miss.
    pub(super) fn insert(&mut self, hash: u64, weight: u32) {
        if u64::from(weight) > self.capacity {
            return;
        }
        let fingerprint = fingerprint(hash);
        self.queues.prepare(u64::from(fingerprint), weight);
        while self.weight + u64::from(weight) > self.capacity || self.free.is_empty() {
            let victim = self.queues.evict(&Entries::new(&self.access, &self.keys));
            self.release(victim.expect("a full shadow holds an entry"));
        }
        let id = EntryId::from(self.free.pop().expect("room was made"));
        self.keys.insert(
            id,
            Key {
                fingerprint,
                weight,
            },
        );
        self.weight += u64::from(weight);
        self.queues
            .insert(id, &Entries::new(&self.access, &self.keys));
    }

    /// Drops the entry of this hash, if there is one.
    pub(super) fn remove(&mut self, hash: u64) {
        if let Some(id) = self.find(hash) {
            self.queues
                .remove(id, &Entries::new(&self.access, &self.keys));
            self.release(id);
        }
    }

    /// Forgets an entry that the queues forgot.
    fn release(&mut self, id: EntryId) {
        self.weight -= u64::from(self.keys.weight(id));
        self.keys.remove(id);
        self.free.push(id as u16);
    }

    pub(super) fn validate(&self) {
        self.queues
            .validate(&Entries::new(&self.access, &self.keys));
        let held: Vec<u16> = self
            .keys
            .index
            .iter()
            .copied()
            .filter(|&id| id != VACANT)
            .collect();
        let weight: u64 = held
            .iter()
            .map(|&id| u64::from(self.keys.weight(id.into())))
            .sum();
        assert_eq!(self.weight, weight, "a shadow knows its weight");
        assert!(weight <= self.capacity, "a shadow is bounded");
        assert_eq!(held.len(), self.queues.len(), "what is held is indexed");
        let slots = held.len() + self.free.len();
        assert_eq!(slots, self.keys.keys.len(), "every id is held or free");
        for id in held {
            let key = self.keys.keys[id as usize];
            assert_eq!(
                self.keys.find(key.fingerprint),
                Some(id.into()),
                "the index leads to {id}"
            );
        }
    }
}

fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl EntryFacts for Keys {
    fn hash(&self, id: EntryId) -> u64 {
        u64::from(self.keys[id as usize].fingerprint)
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.keys[id as usize].weight
    }
}

impl Keys {
    fn fit(&mut self, slots: usize) {
        let key = Key {
            fingerprint: 0,
            weight: 0,
        };
        self.keys.resize(slots, key);
        self.index.resize((slots * 2).next_power_of_two(), VACANT);
    }

    fn find(&self, fingerprint: u32) -> Option<EntryId> {
        if self.index.is_empty() {
            return None;
        }
        let mut place = self.home(fingerprint);
        while self.index[place] != VACANT {
            let id = self.index[place];
            if self.keys[id as usize].fingerprint == fingerprint {
                return Some(id.into());
            }
            place = self.after(place);
        }
        None
    }

    fn insert(&mut self, id: EntryId, key: Key) {
        self.keys[id as usize] = key;
        let mut place = self.home(key.fingerprint);
        while self.index[place] != VACANT {
            place = self.after(place);
        }
        self.index[place] = id as u16;
    }

    /// Takes the id out of the index and closes the gap: whoever probed past it moves up.
    fn remove(&mut self, id: EntryId) {
        let mut gap = self.home(self.keys[id as usize].fingerprint);
        while EntryId::from(self.index[gap]) != id {
            gap = self.after(gap);
        }
        let mut place = self.after(gap);
        while self.index[place] != VACANT {
            let home = self.home(self.keys[self.index[place] as usize].fingerprint);
            let distance = |from: usize| place.wrapping_sub(from) & (self.index.len() - 1);
            // The id may move to the gap unless its home lies behind the gap.
            if distance(home) >= distance(gap) {
                self.index[gap] = self.index[place];
                gap = place;
            }
            place = self.after(place);
        }
        self.index[gap] = VACANT;
    }

    fn home(&self, fingerprint: u32) -> usize {
        // The high bits, for within a shadow nothing chose keys by them.
        ((u64::from(fingerprint) * self.index.len() as u64) >> 32) as usize
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }
}
