//! DLFU, decaying LFU: every use of an entry counts, and counts less as time goes by.
//!
//! D. Lee, J. Choi, J.-H. Kim, S. H. Noh, S. L. Min, Y. Cho and C. S. Kim, "LRFU: a spectrum of
//! policies that subsumes the least recently used and least frequently used policies", IEEE
//! Transactions on Computers 50(12), 2001. An entry's value is the sum over its uses of one half to
//! the power of their age in half-lives. The weight w sets the half-life: (1 - w) / w requests for
//! each resident entry, one request at least. At 0 nothing fades and the value is the number of
//! uses: LFU. At 1 the last use outweighs all earlier ones together: LRU. One half means that a use
//! loses half its value in the time of as many requests as the cache has entries.
//!
//! The paper keeps a heap, O(log n). Here values never need to be recomputed as they fade: seen
//! from a fixed instant, a use at time t is worth 2^t for ever, so an entry's *score*, the binary
//! logarithm of its sum, changes only when it is used:
//!
//! ```text
//!   used at time t:   score' = log2(2^score + 2^t)          new:   score = t
//! ```
//!
//! Scores are rounded down to levels of 1/32, 2 % of the value apart; within a level the entry that
//! was used last comes last. A used entry's score lies between t and t + 16 (the sum, kept to 14
//! binary places, stops growing at some 47,000 undecayed uses), and entries further than 16
//! half-lives below t keep the order they have, so a window of 32 half-lives in 1,024 levels is
//! enough, and the victim is the first entry of the list.
//!
//! *Cost:* O(1) per operation and two transcendental functions a hit; every 65,536 half-lives a
//! pass over all scores lowers them. Every hit moves a list node; 12 bytes an entry and 4 KiB a
//! shard. *Not for* reads that must be as cheap as can be, nor where no one will choose the weight
//! for the workload at hand: the default policy adapts, this one does not.

use super::levels::Levels;
use super::{Blend, Entries, EntryId, EvictionPolicy, HitMode};

/// One half-life in the unit of scores.
const HALF_LIFE: u32 = 1 << 14;
/// A level is 2^9 units wide: 1/32 of a half-life.
const LEVEL_BITS: u32 = 9;
/// Levels in the window, half of them above the present.
const LEVELS: u32 = 1024;
/// When the present comes to this score, all scores are lowered by half as much.
const LATEST: u32 = 1 << 31;

/// Decaying LFU; see the module's text.
#[derive(Debug)]
pub(super) struct Dlfu {
    /// A level for each range of scores.
    levels: Levels,
    /// By id.
    scores: Vec<u32>,
    /// Half-lives that pass in as many requests as there are entries.
    half_lives: f64,
    /// The present, in half-lives.
    now: f64,
}

impl Dlfu {
    pub(super) fn new(weight: Blend) -> Self {
        Self {
            levels: Levels::new(LEVELS as usize),
            scores: Vec::new(),
            half_lives: weight.get() / (1.0 - weight.get()),
            now: 0.0,
        }
    }

    /// Lets the time of one request pass and returns the present as a score.
    fn advance(&mut self) -> u32 {
        self.now += (self.half_lives / self.len().max(1) as f64).min(1.0);
        let mut score = present(self.now);
        if score >= LATEST {
            let by = LATEST / 2;
            for score in &mut self.scores {
                *score = score.saturating_sub(by);
            }
            self.levels.lower(level(by));
            self.now -= f64::from(by / HALF_LIFE);
            score -= by;
        }
        self.levels.raise(level(score).saturating_sub(LEVELS / 2));
        score
    }

    fn level(&self, id: EntryId) -> u32 {
        level(self.scores[id as usize])
    }

    fn push(&mut self, id: EntryId, score: u32) {
        self.scores[id as usize] = score;
        self.levels.push_back(level(score), id);
    }
}

fn present(now: f64) -> u32 {
    (now * f64::from(HALF_LIFE)) as u32
}

fn level(score: u32) -> u32 {
    score >> LEVEL_BITS
}

/// The score of one more use, at the present, of an entry with this score.
fn used(score: u32, now: u32) -> u32 {
    let apart = f64::from(score.abs_diff(now)) / f64::from(HALF_LIFE);
    let gain = (1.0 + (-apart).exp2()).log2();
    score.max(now) + (gain * f64::from(HALF_LIFE)).round() as u32
}

impl EvictionPolicy for Dlfu {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.levels.reserve(slots);
        if slots > self.scores.len() {
            self.scores.reserve_exact(slots - self.scores.len());
            self.scores.resize(slots, 0);
        }
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        let now = self.advance();
        self.push(id, now);
    }

    fn hit(&mut self, id: EntryId, _entries: &Entries<'_>) {
        let now = self.advance();
        self.levels.remove(self.level(id), id);
        self.push(id, used(self.scores[id as usize], now));
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let id = self.levels.front()?;
        self.remove(id, entries);
        Some(id)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.levels.remove(self.level(id), id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.levels.replace(self.level(from), from, to);
        self.scores[to as usize] = self.scores[from as usize];
    }

    fn clear(&mut self) {
        self.levels.clear();
        self.now = 0.0;
    }

    fn len(&self) -> usize {
        self.levels.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.levels.iter().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.levels.validate(|id| self.level(id));
    }
}
