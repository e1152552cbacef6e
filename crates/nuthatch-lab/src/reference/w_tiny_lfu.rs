//! W-TinyLFU: an LRU window for newcomers, a segmented LRU for the rest, and a duel of frequencies
//! between who leaves the one and who would have to leave the other.
//!
//! G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
//! Transactions on Storage 13(4), 2017. Frequencies are exact here where the paper sketches them:
//! they count to 15, from when the cache is half full, and are halved every ten counts an entry. A
//! loser that was asked for often is let in now and then.

use super::queue::Queue;
use super::{Access, Key, KeyMap, ReferencePolicy, share};
use crate::simulate::key_hash;

/// Where frequencies stop.
const MAX_COUNT: u8 = 15;
/// Counts for each resident key between two halvings, and the fewest keys to reckon with.
const SAMPLE_PER_KEY: u64 = 10;
const FEWEST_KEYS: u64 = 256;
/// The part of the main segments that is protected.
const PROTECTED_SHARE: f64 = 0.8;
/// A loser with this frequency is let in once in so many duels.
const WARM: u8 = 6;
const LOSERS_TO_ADMIT_ONE: u64 = 128;

/// W-TinyLFU with a window of a fixed size.
#[derive(Debug)]
pub struct WTinyLfu {
    window: Queue,
    probation: Queue,
    protected: Queue,
    capacity: u64,
    window_capacity: u64,
    protected_capacity: u64,
    incoming: u64,
    counts: KeyMap<u8>,
    is_counting: bool,
    counted: u64,
    most_keys: u64,
    seed: u64,
}

impl WTinyLfu {
    /// A cache of this weight, of which newcomers get the share `window`.
    pub fn new(capacity: u64, window: f64, seed: u64) -> Self {
        let main_capacity = share(capacity, 1.0 - window);
        Self {
            window: Queue::default(),
            probation: Queue::default(),
            protected: Queue::default(),
            capacity,
            window_capacity: capacity - main_capacity,
            protected_capacity: share(main_capacity, PROTECTED_SHARE),
            incoming: 0,
            counts: KeyMap::default(),
            is_counting: false,
            counted: 0,
            most_keys: FEWEST_KEYS,
            seed,
        }
    }

    fn count(&mut self, key: Key) {
        let count = self.counts.entry(key).or_insert(0);
        if !self.is_counting || *count == MAX_COUNT {
            return;
        }
        *count += 1;
        self.counted += 1;
        if self.counted >= SAMPLE_PER_KEY * self.most_keys {
            self.counted /= 2;
            self.counts.values_mut().for_each(|count| *count /= 2);
        }
    }

    fn admits(&mut self, candidate: Key, victim: Key) -> bool {
        let count = |key| self.counts.get(&key).copied().unwrap_or(0);
        if count(candidate) > count(victim) {
            return true;
        }
        self.seed = self.seed.wrapping_add(1);
        count(candidate) >= WARM && key_hash(self.seed).is_multiple_of(LOSERS_TO_ADMIT_ONE)
    }

    fn weight(&self) -> u64 {
        self.window.weight() + self.probation.weight() + self.protected.weight()
    }
}

impl ReferencePolicy for WTinyLfu {
    fn hit(&mut self, access: &Access) {
        let key = access.key;
        self.count(key);
        if self.window.contains(key) {
            self.window.renew(key);
            return;
        }
        if self.protected.contains(key) {
            self.protected.renew(key);
            return;
        }
        let weight = self.probation.remove(key).expect("a hit key is resident");
        if weight > self.protected_capacity {
            self.probation.push_back(key, weight);
            return;
        }
        self.protected.push_back(key, weight);
        while self.protected.weight() > self.protected_capacity {
            let (key, weight) = self.protected.pop_front().expect("it has weight");
            self.probation.push_back(key, weight);
        }
    }

    fn miss(&mut self, access: &Access) {
        self.incoming = access.weight;
        self.is_counting |= self.weight() + self.incoming >= self.capacity / 2;
        self.count(access.key);
    }

    fn evict(&mut self) -> Option<Key> {
        let overflows = self.window.weight() + self.incoming > self.window_capacity;
        let candidate = self.window.front().filter(|_| overflows);
        let Some(candidate) = candidate else {
            let rest = self
                .probation
                .pop_front()
                .or_else(|| self.protected.pop_front());
            return rest.or_else(|| self.window.pop_front()).map(|(key, _)| key);
        };
        let weight = self
            .window
            .remove(candidate)
            .expect("the front is in the window");
        let Some(victim) = self
            .probation
            .front()
            .filter(|&key| self.admits(candidate, key))
        else {
            return Some(candidate);
        };
        self.probation.remove(victim);
        self.probation.push_back(candidate, weight);
        Some(victim)
    }

    /// A key too heavy for the window is the next candidate. What else overflows the window without
    /// an eviction needs no duel: there was room.
    fn insert(&mut self, access: &Access) {
        let keys = self.window.len() + self.probation.len() + self.protected.len() + 1;
        self.most_keys = self.most_keys.max(keys as u64);
        if access.weight > self.window_capacity {
            self.window.push_front(access.key, access.weight);
            return;
        }
        while self.window.weight() + access.weight > self.window_capacity {
            let (key, weight) = self.window.pop_front().expect("it has weight");
            self.probation.push_back(key, weight);
        }
        self.window.push_back(access.key, access.weight);
    }
}
