//! libCacheSim's W-TinyLFU: hits in the window are not counted, duels are; counts are halved after
//! so many hits in the main part, however much else was counted; there are duels as soon as the main
//! part is full, and none before; and a key heavier than the window, or than a fifth of the rest, is
//! turned away.
//!
//! Counts are kept in a counting Bloom filter of 14.4 counters for each unit of the main part's
//! weight. It is as crowded as it is, so its hashes decide, and are those of the original: XXH64 by
//! Yann Collet, with two seeds.

use super::super::queue::Queue;
use super::super::{Access, Key, share};
use super::ForeignCache;
use super::segments::Segments;
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// Hits in the main part between two halvings, for each unit of its weight.
const SAMPLE: u64 = 32;
/// Counters of a key.
const HASHES: u32 = 10;
/// The chance of an error that the filter is made for, if it holds no more keys than it should.
const ERROR: f64 = 0.001;
const SEEDS: [u64; 2] = [0x1234_5678, 0x1234_4321];

/// W-TinyLFU.
#[derive(Debug)]
pub(super) struct WTinyLfu {
    window: Queue,
    main: Segments,
    filter: Filter,
    capacity: u64,
    window_capacity: u64,
    main_capacity: u64,
    hits: u64,
}

impl WTinyLfu {
    pub(super) fn new(capacity: u64, window: f64) -> Self {
        let window_capacity = share(capacity, window);
        let main_capacity = capacity - window_capacity;
        Self {
            window: Queue::default(),
            main: Segments::new(main_capacity),
            filter: Filter::new(main_capacity),
            capacity,
            window_capacity,
            main_capacity,
            hits: 0,
        }
    }

    fn count_main_hit(&mut self, key: Key) {
        self.filter.add(key);
        self.hits += 1;
        if self.hits >= SAMPLE * self.main_capacity {
            self.hits = 0;
            self.filter.halve();
        }
    }

    /// Lets keys of the window pass on while the main part has room, and then one of them duel.
    fn evict(&mut self) {
        while let Some((candidate, weight)) = self.window.pop_front() {
            if self.main.has_room(weight) {
                self.main.insert(candidate, weight);
                self.filter.add(candidate);
                continue;
            }
            let victim = self.main.victim().expect("a full cache has a victim");
            if self.filter.estimate(candidate) > self.filter.estimate(victim) {
                self.main.evict();
                self.main.insert(candidate, weight);
            }
            self.filter.add(candidate);
            return;
        }
        self.main.evict();
    }
}

impl ForeignCache for WTinyLfu {
    fn request(&mut self, access: &Access) -> bool {
        let Access { key, weight, .. } = *access;
        if self.window.contains(key) {
            self.window.renew(key);
            return true;
        }
        if self.main.contains(key) {
            self.main.hit(key);
            self.count_main_hit(key);
            return true;
        }
        if weight <= self.window_capacity && self.main.admits(weight) {
            while self.window.weight() + self.main.weight() + weight > self.capacity {
                self.evict();
            }
            self.window.push_back(key, weight);
            self.filter.add(key);
        }
        false
    }
}

/// A counting Bloom filter, of which only the counters in use are kept.
#[derive(Debug)]
struct Filter {
    counters: HashMap<u32, u32, FixedState>,
    len: u32,
}

impl Filter {
    fn new(entries: u64) -> Self {
        let per_entry = -ERROR.ln() / (2.0_f64.ln() * 2.0_f64.ln());
        let len = (per_entry * entries as f64).ceil().min(f64::from(i32::MAX)) as u32;
        let len = if len < HASHES { 2 * HASHES } else { len };
        Self {
            counters: HashMap::default(),
            len,
        }
    }

    fn places(&self, key: Key) -> impl Iterator<Item = u32> + use<> {
        let len = self.len;
        // Keys count from 1 there.
        let [a, b] = SEEDS.map(|seed| xxh64(key + 1, seed) as u32);
        (0..HASHES).map(move |hash| a.wrapping_add(hash.wrapping_mul(b)) % len)
    }

    fn estimate(&self, key: Key) -> u32 {
        let count = |place| self.counters.get(&place).copied().unwrap_or(0);
        self.places(key).map(count).min().expect("a key has places")
    }

    fn add(&mut self, key: Key) {
        for place in self.places(key) {
            *self.counters.entry(place).or_insert(0) += 1;
        }
    }

    fn halve(&mut self) {
        self.counters.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }
}

/// XXH64 of one little-endian word.
fn xxh64(word: u64, seed: u64) -> u64 {
    const PRIMES: [u64; 5] = [
        0x9E37_79B1_85EB_CA87,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x85EB_CA77_C2B2_AE63,
        0x27D4_EB2F_1656_67C5,
    ];
    let mut hash = seed.wrapping_add(PRIMES[4]).wrapping_add(8);
    let lane = word
        .wrapping_mul(PRIMES[1])
        .rotate_left(31)
        .wrapping_mul(PRIMES[0]);
    hash = (hash ^ lane)
        .rotate_left(27)
        .wrapping_mul(PRIMES[0])
        .wrapping_add(PRIMES[3]);
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}
