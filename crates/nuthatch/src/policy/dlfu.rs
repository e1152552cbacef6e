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

#[cfg(test)]
mod tests {
    use super::{Dlfu, HALF_LIFE, LATEST, level, present};
    use crate::policy::lfu::Lfu;
    use crate::policy::lru::Lru;
    use crate::policy::random::SplitMix64;
    use crate::policy::scripted::Scripted;
    use crate::policy::{Blend, EntryId, EvictionPolicy};

    fn dlfu(percent: u8) -> Scripted<Dlfu> {
        Scripted::new(Dlfu::new(Blend::percent(percent)))
    }

    /// The victims of some thousand random requests to a cache of 50 entries.
    fn victims(cache: &mut Scripted<impl EvictionPolicy>) -> Vec<EntryId> {
        let mut random = SplitMix64::new(1);
        let mut resident = [false; 200];
        let mut victims = Vec::new();
        for _ in 0..5_000 {
            let id = random.below(200).min(random.below(200));
            if resident[id as usize] {
                cache.hit([id]);
                continue;
            }
            if cache.policy.len() == 50 {
                victims.extend(cache.evict(1));
                resident[victims[victims.len() - 1] as usize] = false;
            }
            cache.insert([id]);
            resident[id as usize] = true;
        }
        victims
    }

    #[test]
    fn without_decay_it_is_lfu() {
        let lfu = victims(&mut Scripted::new(Lfu::new()));
        // Levels tell counts apart up to 46; none gets there before it is evicted.
        assert_eq!(victims(&mut dlfu(0)), lfu);
    }

    #[test]
    fn with_instant_decay_it_is_lru() {
        let lru = victims(&mut Scripted::new(Lru::new()));
        assert_eq!(victims(&mut dlfu(100)), lru);
    }

    #[test]
    fn old_uses_count_less_than_new_ones() {
        let mut cache = dlfu(50);
        cache.insert(0..10);
        cache.hit([0, 0, 0]);
        // Three half-lives later one new use outweighs four old ones.
        cache.hit([9; 30]);
        cache.hit([1]);
        cache.insert([10]);
        let order = cache.drain();
        let place = |id| order.iter().position(|&victim| victim == id);
        assert!(place(2) < place(0) && place(0) < place(1), "{order:?}");
        assert_eq!(order.last(), Some(&9));
    }

    #[test]
    fn lowering_all_scores_changes_no_order() {
        let mut early = dlfu(90);
        let mut late = dlfu(90);
        late.policy.now = f64::from(LATEST / HALF_LIFE - 100);
        late.policy.levels.raise(level(present(late.policy.now)));
        assert_eq!(victims(&mut late), victims(&mut early));
        assert!(
            late.policy.now < f64::from(LATEST / HALF_LIFE - 100),
            "scores were lowered"
        );
        assert_eq!(late.drain(), early.drain());
    }
}
