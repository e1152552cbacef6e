//! The small and the main queue, the ghosts and the sketch: everything that a [`Rule`] governs.
//!
//! ```text
//!  new ──► [ newer half │ older half ] ── hit ──► [ main, a CLOCK ] ──► out
//!           small: hits here count only             ▲
//!           in the older half    └─ not hit ─► ghost ┘ asked for again
//! ```
//!
//! Without a duel this is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023) with two changes that Clock2Q+ made (VLDB 2026): one hit is enough to be promoted, and
//! hits in the newer half of the small queue are not counted, because a request that follows the
//! first closely says little about the next (a *correlation window*). An entry in that half has the
//! access byte 255, at which readers stop.
//!
//! With a duel it is W-TinyLFU (Einziger et al., ACM TOS 2017) on CLOCK queues: the small queue is a
//! window, and the entry that falls out of it stays only if it was asked for more often than the
//! entry that main would evict. A read hit never writes the sketch. The sketch counts misses, and
//! the hits of an entry are in its own counter, which is added when it fights.
//!
//! Until the cache is full, what overflows the small queue fills main. When a change of rule makes
//! the small queue shrink, its oldest entries move over to main, two for each insertion.

use crate::policy::queues as weighed;
use crate::policy::{CompactGhosts, Entries, EntryId, FrequencySketch};

/// The value at which readers stop counting hits.
pub(super) const MAX_COUNT: u8 = 3;
/// The access byte of an entry whose hits are not counted.
const UNCOUNTED: u8 = 255;

/// The newer half of the small queue.
const NEWER: u8 = 0;
/// The older half of the small queue.
const OLDER: u8 = 1;
const MAIN: u8 = 2;

/// Entries that the main queue's hand passes in one eviction, at most: a bound on the work where
/// readers count faster than the hand takes back.
const MAX_STEPS: usize = 32;
/// The same for the window of a duel.
const MAX_WINDOW_STEPS: usize = 8;
/// Entries that overflow the small queue into main in one insertion, at most.
const MAX_OVERFLOW: usize = 2;
/// Ghosts for each entry of the capacity.
const GHOSTS_PER_ENTRY: usize = 2;
/// Bytes of the sketch for each entry of the capacity.
const SKETCH_BYTES_PER_ENTRY: f64 = 2.0;

/// How the queues are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The share of the capacity that the small queue may take, in percent.
    pub(super) small_percent: u8,
    /// Whether the older half of the ghosts is admitted to main, too, when asked for again. They
    /// are remembered in any case, for the rule that wants them.
    pub(super) old_ghosts: bool,
    /// Whether an entry that leaves the small queue has to win a duel of frequencies to stay,
    /// instead of a hit.
    pub(super) duel: bool,
}

/// The entries of one shard, or of one shadow.
#[derive(Debug)]
pub(super) struct Queues {
    rule: Rule,
    /// The two halves of the small queue, and main.
    queues: weighed::Queues<3>,
    capacity: u64,
    /// The weight that the small queue may have.
    small_target: u64,
    ghosts: CompactGhosts,
    sketch: FrequencySketch,
    /// Whether the sketch counts: only where there are duels, or may be soon.
    counts: bool,
    /// Whether the announced entry was a ghost.
    returns: bool,
    /// Whether nothing was evicted yet: what overflows the small queue fills main.
    filling: bool,
    /// Whether a change of rule left the small queue too long: its surplus moves to main.
    shrinking: bool,
}

impl Queues {
    /// Empty queues under this rule; `counts` as in [`set_rule`](Self::set_rule).
    pub(super) fn new(rule: Rule, counts: bool) -> Self {
        Self {
            rule,
            queues: weighed::Queues::new(),
            capacity: 0,
            small_target: 1,
            ghosts: CompactGhosts::new(0),
            sketch: FrequencySketch::new(0, SKETCH_BYTES_PER_ENTRY),
            counts: rule.duel || counts,
            returns: false,
            filling: true,
            shrinking: false,
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
    }

    /// Fits ghosts and sketch to a capacity of so many entries.
    pub(super) fn fit(&mut self, entries: usize) {
        self.ghosts.resize(entries * GHOSTS_PER_ENTRY);
        self.sketch.resize(entries);
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.aim();
    }

    /// Changes the rule, and whether the sketch counts for the sake of another.
    pub(super) fn set_rule(&mut self, rule: Rule, counts: bool) {
        self.counts = rule.duel || counts;
        if self.rule != rule {
            self.rule = rule;
            self.aim();
            self.shrinking = self.small_weight() > self.small_target;
        }
    }

    /// Sets the small queue's share of the capacity.
    fn aim(&mut self) {
        let share = u128::from(self.capacity) * u128::from(self.rule.small_percent) / 100;
        self.small_target = (share as u64).max(1);
    }

    /// See [`EvictionPolicy::prepare`](crate::policy::EvictionPolicy::prepare).
    #[inline]
    pub(super) fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        // The first requests for each key say nothing about who is popular: the sketch sleeps until
        // the cache is half full.
        if self.counts && self.queues.total_weight() >= self.capacity / 2 {
            self.sketch.increment(hash);
        }
        self.returns = !self.rule.duel
            && if self.rule.old_ghosts {
                self.ghosts.remove(hash)
            } else {
                self.ghosts.remove_newer_half(hash)
            };
    }

    /// Links the new entry.
    #[inline]
    pub(super) fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.returns {
            entries.set_access(id, 0);
            self.queues.push_back(MAIN, id, entries);
        } else {
            entries.set_access(id, if self.rule.duel { 0 } else { UNCOUNTED });
            self.queues.push_back(NEWER, id, entries);
        }
        if self.filling || self.shrinking {
            self.overflow(entries);
        }
        self.age(entries);
    }

    /// Takes out the entry that the rule evicts.
    #[inline]
    pub(super) fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.filling = false;
        if self.small_weight() > self.small_target || self.queues.is_empty(MAIN) {
            let victim = if self.rule.duel {
                self.evict_by_duel(entries)
            } else {
                self.evict_unused(entries)
            };
            if victim.is_some() {
                return victim;
            }
        }
        self.main_victim(entries)?;
        self.queues.pop_front(MAIN, entries)
    }

    /// See [`EvictionPolicy::prefetch`](crate::policy::EvictionPolicy::prefetch).
    pub(super) fn prefetch(&self, hash: u64) {
        self.ghosts.prefetch(hash);
        if self.counts {
            self.sketch.prefetch(hash);
        }
    }

    /// See [`EvictionPolicy::upcoming`](crate::policy::EvictionPolicy::upcoming).
    pub(super) fn upcoming(&self) -> [Option<EntryId>; 2] {
        let list = if self.small_weight() > self.small_target {
            OLDER
        } else {
            MAIN
        };
        self.queues.first_two(list)
    }

    pub(super) fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.remove(id, entries);
        self.filling |= self.queues.total_weight() < self.capacity / 2;
    }

    pub(super) fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.queues.replace(from, to, entries);
    }

    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.filling = true;
        self.shrinking = false;
        self.ghosts.clear();
        self.sketch.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        for list in [OLDER, NEWER, MAIN] {
            self.queues.iter(list).for_each(&mut *visit);
        }
    }

    pub(super) fn validate(&self, entries: &Entries<'_>) {
        self.queues.validate(entries);
        self.ghosts.validate();
        self.sketch.validate();
    }

    /// Takes out the first entry of the small queue that was not hit; those hit go to main.
    /// Amortised O(1): an entry is promoted once.
    #[inline]
    fn evict_unused(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        while let Some((half, id)) = self.small_front() {
            if matches!(entries.access(id), 0 | UNCOUNTED) {
                self.queues.pop_front(half, entries);
                self.ghosts.push(entries.hash(id));
                return Some(id);
            }
            entries.set_access(id, 0);
            self.queues.move_front(half, MAIN, entries);
            if self.small_weight() <= self.small_target {
                return None;
            }
        }
        None
    }

    /// Lets the window's victim fight main's, and takes out the loser.
    fn evict_by_duel(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let (half, candidate) = self.window_victim(entries)?;
        let resident = self.main_victim(entries);
        let hash = entries.hash(candidate);
        let wins = resident.is_some_and(|resident| {
            // The candidate's latest request is why it is here: only those before count for it.
            self.frequency(candidate, hash, entries)
                > self.frequency(resident, entries.hash(resident), entries) + 1
        });
        if wins {
            let loser = self.queues.pop_front(MAIN, entries);
            entries.set_access(candidate, count(candidate, entries));
            self.queues.move_front(half, MAIN, entries);
            return loser;
        }
        self.queues.pop_front(half, entries);
        self.ghosts.push(hash);
        Some(candidate)
    }

    /// How often the entry was asked for of late, as a miss or as a hit.
    fn frequency(&self, id: EntryId, hash: u64, entries: &Entries<'_>) -> u8 {
        self.sketch.estimate(hash) + count(id, entries)
    }

    /// Turns main's hand to an entry without a count, which then stands first. A turn takes back one
    /// of the hits counted, which is how long the entry stays.
    #[inline]
    fn main_victim(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        for _ in 0..MAX_STEPS {
            let id = self.queues.front(MAIN)?;
            let hits = count(id, entries);
            if hits == 0 {
                return Some(id);
            }
            entries.set_access(id, hits - 1);
            self.queues.move_front(MAIN, MAIN, entries);
        }
        self.queues.front(MAIN)
    }

    /// The same for the window: what was hit gets another turn at its newer end.
    fn window_victim(&mut self, entries: &Entries<'_>) -> Option<(u8, EntryId)> {
        for _ in 0..MAX_WINDOW_STEPS {
            let (half, id) = self.small_front()?;
            let hits = count(id, entries);
            if hits == 0 {
                break;
            }
            entries.set_access(id, hits - 1);
            self.queues.move_front(half, NEWER, entries);
        }
        self.small_front()
    }

    /// Moves what a shorter small queue has no room for to main.
    fn overflow(&mut self, entries: &Entries<'_>) {
        for _ in 0..MAX_OVERFLOW {
            if self.small_weight() <= self.small_target {
                self.shrinking = false;
                return;
            }
            let Some((half, id)) = self.small_front() else {
                return;
            };
            entries.set_access(id, count(id, entries));
            self.queues.move_front(half, MAIN, entries);
        }
    }

    /// Keeps the newer half of the small queue no heavier than the older one. Hits count from here
    /// on. Amortised O(1): an entry ages once.
    #[inline]
    fn age(&mut self, entries: &Entries<'_>) {
        while self.queues.weight(NEWER) > self.queues.weight(OLDER) {
            let Some(id) = self.queues.front(NEWER) else {
                return;
            };
            if entries.access(id) == UNCOUNTED {
                entries.set_access(id, 0);
            }
            self.queues.move_front(NEWER, OLDER, entries);
        }
    }

    /// The oldest entry of the small queue, and which half it stands first in.
    #[inline]
    fn small_front(&self) -> Option<(u8, EntryId)> {
        let first = |half| Some((half, self.queues.front(half)?));
        first(OLDER).or_else(|| first(NEWER))
    }

    #[inline]
    fn small_weight(&self) -> u64 {
        self.queues.weight(NEWER) + self.queues.weight(OLDER)
    }
}

/// The hits counted of an entry. What is neither a count nor [`UNCOUNTED`] was left by readers under
/// another policy, and may be anything.
fn count(id: EntryId, entries: &Entries<'_>) -> u8 {
    match entries.access(id) {
        UNCOUNTED => 0,
        count => count.min(MAX_COUNT),
    }
}
