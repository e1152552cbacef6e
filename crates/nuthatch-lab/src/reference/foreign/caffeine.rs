//! Caffeine 3: W-TinyLFU with a window that climbs.
//!
//! Hits reach the policy in batches, before the next insertion or when the buffer is full, and none
//! before the cache is half full, when the sketch is made. The sketch counts in blocks, by hashes of
//! its own; by weight it is made anew, and empty, whenever there are more entries than counters in a
//! row of it. The window starts at 1 %, and its first step is down. What overflows the protected
//! segment leaves it later, with the next step of the climber. A loser with six uses or more is let
//! in once in 128 duels, by lot.

use super::super::queue::Queue;
use super::super::{Access, Key};
use super::ForeignCache;
use crate::simulate::{Bound, key_hash};

const MAIN: f64 = 0.99;
const PROTECTED_SHARE: f64 = 0.8;
/// The most hits that wait for the policy.
const BUFFER: usize = 16;
/// The first step, as a part of the capacity.
const FIRST_STEP: f64 = 0.0625;
/// How much smaller each step is than the one before.
const STEP_DECAY: f64 = 0.98;
/// A change of the hit ratio that makes the steps begin anew.
const RESTART: f64 = 0.05;
/// The most keys that change segments at a time.
const TRANSFERS: usize = 1000;
/// A loser with this frequency is let in once in so many duels.
const WARM: u8 = 6;
const LOSERS_TO_ADMIT_ONE: u64 = 128;

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

/// Caffeine.
#[derive(Debug)]
pub(super) struct Caffeine {
    /// Window, probation, protected.
    queues: [Queue; 3],
    bound: Bound,
    capacity: u64,
    window_capacity: u64,
    protected_capacity: u64,
    sketch: Option<Sketch>,
    /// Hits that the policy has not heard of yet.
    waiting: Vec<Key>,
    climber: Climber,
    random: u64,
}

impl Caffeine {
    pub(super) fn new(bound: Bound, capacity: u64, seed: u64) -> Self {
        let main_capacity = (MAIN * capacity as f64) as u64;
        Self {
            queues: Default::default(),
            bound,
            capacity,
            window_capacity: capacity - main_capacity,
            protected_capacity: (PROTECTED_SHARE * main_capacity as f64) as u64,
            sketch: None,
            waiting: Vec::new(),
            climber: Climber::new(capacity),
            random: key_hash(seed),
        }
    }

    fn weight(&self) -> u64 {
        self.queues.iter().map(Queue::weight).sum()
    }

    fn contains(&self, key: Key) -> bool {
        self.queues.iter().any(|queue| queue.contains(key))
    }

    fn queue_of(&mut self, key: Key) -> &mut Queue {
        let mut queues = self.queues.iter_mut();
        let queue = queues.find(|queue| queue.contains(key));
        queue.expect("the key is resident")
    }

    fn hear(&mut self, key: Key) {
        if let Some(sketch) = &mut self.sketch {
            sketch.increment(key);
        }
    }

    /// Tells the policy of the hits that wait. Keys evicted since are counted like the others.
    fn drain(&mut self) {
        for key in std::mem::take(&mut self.waiting) {
            self.hear(key);
            self.climber.hits += 1;
            let [window, probation, protected] = &mut self.queues;
            if window.contains(key) {
                window.renew(key);
            } else if protected.contains(key) {
                protected.renew(key);
            } else if let Some(weight) = probation.remove(key) {
                let fits = weight <= self.protected_capacity;
                let queue = if fits { protected } else { probation };
                queue.push_back(key, weight);
            }
        }
    }

    /// A key too heavy for the window is the next candidate.
    fn insert(&mut self, key: Key, weight: u64) {
        if self.weight() + weight >= self.capacity / 2 {
            let entries = match self.bound {
                Bound::Entries => self.capacity,
                Bound::Bytes => 1 + self.queues.iter().map(Queue::len).sum::<usize>() as u64,
            };
            if self
                .sketch
                .as_ref()
                .is_none_or(|sketch| sketch.rows() < entries)
            {
                self.sketch = Some(Sketch::new(entries));
            }
        }
        self.hear(key);
        if weight > self.window_capacity {
            self.queues[WINDOW].push_front(key, weight);
        } else {
            self.queues[WINDOW].push_back(key, weight);
        }
    }

    /// Moves what overflows the window to the end of probation; the first of those moved.
    fn spill_window(&mut self) -> Option<Key> {
        let mut first = None;
        while self.queues[WINDOW].weight() > self.window_capacity {
            let (key, weight) = self.queues[WINDOW].pop_front().expect("it has weight");
            self.queues[PROBATION].push_back(key, weight);
            first.get_or_insert(key);
        }
        first
    }

    /// Lets candidates and victims duel, in the order of their queues, until all fits. When there
    /// are no more candidates the window's keys are, and no more victims, the protected keys and
    /// then the window's.
    fn evict(&mut self) {
        let mut candidate = self.spill_window();
        let mut victim = self.queues[PROBATION].front();
        let mut more_candidates = true;
        let mut more_victims = [PROTECTED, WINDOW].into_iter();
        while self.weight() > self.capacity {
            if candidate.is_none() && std::mem::take(&mut more_candidates) {
                candidate = self.queues[WINDOW].front();
            }
            match (candidate, victim) {
                (None, None) => {
                    let queue = more_victims.next().expect("some queue has weight");
                    victim = self.queues[queue].front();
                }
                (Some(key), None) => candidate = self.remove(key),
                (None, Some(key)) => victim = self.remove(key),
                (Some(key), Some(same)) if key == same => {
                    victim = self.remove(key);
                    candidate = None;
                }
                (Some(challenger), Some(defender)) => {
                    if self.admits(challenger, defender) {
                        victim = self.remove(defender);
                        candidate = self.queue_of(challenger).behind(challenger);
                    } else {
                        candidate = self.remove(challenger);
                    }
                }
            }
        }
    }

    /// Takes a key out; the one behind it.
    fn remove(&mut self, key: Key) -> Option<Key> {
        let queue = self.queue_of(key);
        let next = queue.behind(key);
        queue.remove(key);
        next
    }

    fn admits(&mut self, candidate: Key, victim: Key) -> bool {
        let frequency = |key| {
            self.sketch
                .as_ref()
                .map_or(0, |sketch| sketch.frequency(key))
        };
        let uses = frequency(candidate);
        if uses > frequency(victim) {
            return true;
        }
        if uses < WARM {
            return false;
        }
        self.random = self.random.wrapping_add(1);
        key_hash(self.random).is_multiple_of(LOSERS_TO_ADMIT_ONE)
    }

    fn climb(&mut self) {
        self.climber
            .step_after(self.sketch.as_ref().map(|sketch| sketch.sample));
        self.demote();
        match self.climber.pending {
            0 => {}
            1.. => self.grow_window(),
            _ => self.shrink_window(),
        }
    }

    /// Lets the oldest of what overflows the protected segment down to probation.
    fn demote(&mut self) {
        let [_, probation, protected] = &mut self.queues;
        for _ in 0..TRANSFERS {
            if protected.weight() <= self.protected_capacity {
                break;
            }
            let (key, weight) = protected.pop_front().expect("it has weight");
            probation.push_back(key, weight);
        }
    }

    fn grow_window(&mut self) {
        if self.protected_capacity == 0 {
            return;
        }
        let mut quota = self
            .climber
            .pending
            .unsigned_abs()
            .min(self.protected_capacity);
        self.protected_capacity -= quota;
        self.window_capacity += quota;
        self.demote();
        let [window, probation, protected] = &mut self.queues;
        for _ in 0..TRANSFERS {
            let mut sources = [&mut *probation, &mut *protected].into_iter();
            let fits =
                |queue: &&mut Queue| queue.front_weight().is_some_and(|weight| weight <= quota);
            let Some((key, weight)) = sources.find(fits).and_then(Queue::pop_front) else {
                break;
            };
            quota -= weight;
            window.push_back(key, weight);
        }
        // What no key took up is left for the next time.
        self.protected_capacity += quota;
        self.window_capacity -= quota;
        self.climber.pending = quota as i64;
    }

    fn shrink_window(&mut self) {
        if self.window_capacity <= 1 {
            return;
        }
        let mut quota = self
            .climber
            .pending
            .unsigned_abs()
            .min(self.window_capacity - 1);
        self.protected_capacity += quota;
        self.window_capacity -= quota;
        let [window, probation, _] = &mut self.queues;
        for _ in 0..TRANSFERS {
            if window.front_weight().is_none_or(|weight| weight > quota) {
                break;
            }
            let (key, weight) = window.pop_front().expect("it has a front");
            quota -= weight;
            probation.push_back(key, weight);
        }
        self.protected_capacity -= quota;
        self.window_capacity += quota;
        self.climber.pending = -(quota as i64);
    }
}

impl ForeignCache for Caffeine {
    fn request(&mut self, access: &Access) -> bool {
        let Access { key, weight, .. } = *access;
        let hit = self.contains(key);
        if hit && self.sketch.is_none() {
            return true;
        }
        if hit && self.waiting.len() < BUFFER {
            self.waiting.push(key);
            return true;
        }
        self.drain();
        if !hit {
            self.climber.misses += 1;
            if weight <= self.capacity {
                self.insert(key, weight);
            } else {
                self.hear(key);
            }
        }
        self.evict();
        self.climb();
        hit
    }
}

/// Says how the window is to grow, by what the last step did to the hit ratio.
#[derive(Debug)]
struct Climber {
    hits: u64,
    misses: u64,
    hit_ratio: f64,
    first_step: f64,
    step: f64,
    /// What the window is still to grow by, or to shrink.
    pending: i64,
}

impl Climber {
    fn new(capacity: u64) -> Self {
        let first_step = FIRST_STEP * capacity as f64;
        Self {
            hits: 0,
            misses: 0,
            hit_ratio: 0.0,
            first_step,
            step: -first_step,
            pending: 0,
        }
    }

    /// Takes a step if so many requests have been seen; without a number, sees none.
    fn step_after(&mut self, sample: Option<u64>) {
        let requests = self.hits + self.misses;
        match sample {
            Some(sample) if requests < sample => return,
            Some(_) => {
                let hit_ratio = self.hits as f64 / requests as f64;
                let change = hit_ratio - self.hit_ratio;
                let amount = if change >= 0.0 { self.step } else { -self.step };
                self.step = if change.abs() >= RESTART {
                    self.first_step.copysign(amount)
                } else {
                    STEP_DECAY * amount
                };
                self.hit_ratio = hit_ratio;
                self.pending = amount as i64;
            }
            None => self.hit_ratio = 0.0,
        }
        self.hits = 0;
        self.misses = 0;
    }
}

/// Four-bit counters, sixteen in a word and eight words in a block; a key's four are in one block.
#[derive(Debug)]
struct Sketch {
    words: Vec<u64>,
    /// Increments between two halvings, and requests between two steps of the window.
    sample: u64,
    increments: u64,
}

const WORDS_PER_BLOCK: usize = 8;
const MAX_COUNT: u64 = 15;

impl Sketch {
    fn new(entries: u64) -> Self {
        let words = entries.next_power_of_two().max(WORDS_PER_BLOCK as u64);
        Self {
            words: vec![0; words as usize],
            sample: 10 * entries,
            increments: 0,
        }
    }

    /// Entries that it is large enough for.
    fn rows(&self) -> u64 {
        self.words.len() as u64
    }

    /// Word and shift of a key's counters. Keys hash as Java's numbers do, to their lower half.
    fn places(&self, key: Key) -> [(usize, u32); 4] {
        let mut block = key as u32 + 1;
        block = (block ^ (block >> 17)).wrapping_mul(0xED5A_D4BB);
        block = (block ^ (block >> 11)).wrapping_mul(0xAC4C_1B51);
        block ^= block >> 15;
        let mut counters = block.wrapping_mul(0x3184_8BAB);
        counters ^= counters >> 14;
        let blocks = self.words.len() / WORDS_PER_BLOCK;
        let first = (block as usize & (blocks - 1)) * WORDS_PER_BLOCK;
        [0, 1, 2, 3].map(|row| {
            let hash = counters >> (8 * row);
            let word = first + (hash & 1) as usize + 2 * row as usize;
            (word, 4 * ((hash >> 1) & 15))
        })
    }

    fn count(&self, (word, shift): (usize, u32)) -> u64 {
        (self.words[word] >> shift) & MAX_COUNT
    }

    fn frequency(&self, key: Key) -> u8 {
        let counts = self.places(key).map(|place| self.count(place));
        counts.into_iter().min().expect("a key has counters") as u8
    }

    fn increment(&mut self, key: Key) {
        let mut counted = false;
        for (word, shift) in self.places(key) {
            if self.count((word, shift)) < MAX_COUNT {
                self.words[word] += 1 << shift;
                counted = true;
            }
        }
        if !counted {
            return;
        }
        self.increments += 1;
        if self.increments == self.sample {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut odd = 0;
        for word in &mut self.words {
            odd += u64::from((*word & 0x1111_1111_1111_1111).count_ones());
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
        self.increments = (self.increments - odd / 4) / 2;
    }
}
