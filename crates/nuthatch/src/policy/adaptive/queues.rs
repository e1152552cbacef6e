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

use crate::policy::{CompactGhosts, Entries, EntryId, FrequencySketch, Links};

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
    links: Links,
    /// The weights of the three lists.
    weights: [u64; 3],
    capacity: u64,
    /// The weight that the small queue may have.
    small_target: u64,
    /// Whether an entry's weight was ever other than 1. Until then nobody asks for weights.
    weighted: bool,
    ghosts: CompactGhosts,
    sketch: FrequencySketch,
    /// Whether the announced entry was a ghost.
    returns: bool,
    /// Whether nothing was evicted yet: what overflows the small queue fills main.
    filling: bool,
    /// Whether a change of rule left the small queue too long: its surplus moves to main.
    shrinking: bool,
}

impl Queues {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            links: Links::new(3),
            weights: [0; 3],
            capacity: 0,
            small_target: 1,
            weighted: false,
            ghosts: CompactGhosts::new(0),
            sketch: FrequencySketch::new(0, SKETCH_BYTES_PER_ENTRY),
            returns: false,
            filling: true,
            shrinking: false,
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
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

    pub(super) fn set_rule(&mut self, rule: Rule) {
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
    pub(super) fn prepare(&mut self, hash: u64, weight: u32) {
        self.weighted |= weight != 1;
        // The first requests for each key say nothing about who is popular: the sketch sleeps until
        // the cache is half full.
        if self.weight() >= self.capacity / 2 {
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
    pub(super) fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.returns {
            entries.set_access(id, 0);
            self.push(MAIN, id, entries);
        } else {
            entries.set_access(id, if self.rule.duel { 0 } else { UNCOUNTED });
            self.push(NEWER, id, entries);
            self.age(entries);
        }
        if self.filling || self.shrinking {
            self.overflow(entries);
        }
    }

    /// Takes out the entry that the rule evicts.
    pub(super) fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.filling = false;
        let main_is_empty = self.links.is_empty(MAIN);
        if self.small_weight() > self.small_target || main_is_empty {
            let victim = if self.rule.duel {
                self.evict_by_duel(entries)
            } else {
                self.evict_unused(entries)
            };
            if victim.is_some() {
                return victim;
            }
        }
        let victim = self.main_victim(entries)?;
        self.unlink(victim, entries);
        Some(victim)
    }

    /// See [`EvictionPolicy::prefetch`](crate::policy::EvictionPolicy::prefetch).
    pub(super) fn prefetch(&self, hash: u64) {
        self.ghosts.prefetch(hash);
        self.sketch.prefetch(hash);
    }

    /// See [`EvictionPolicy::upcoming`](crate::policy::EvictionPolicy::upcoming).
    pub(super) fn upcoming(&self) -> [Option<EntryId>; 2] {
        let list = if self.small_weight() > self.small_target {
            OLDER
        } else {
            MAIN
        };
        self.links.first_two(list)
    }

    pub(super) fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.unlink(id, entries);
        self.filling |= self.weight() < self.capacity / 2;
    }

    pub(super) fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.weighted |= entries.weight(to) != 1;
        if let Some(list) = self.links.list_of(from) {
            self.links.replace(from, to);
            let weight = &mut self.weights[list as usize];
            *weight = *weight - u64::from(entries.weight(from)) + u64::from(entries.weight(to));
        }
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.weights = [0; 3];
        self.weighted = false;
        self.filling = true;
        self.shrinking = false;
        self.ghosts.clear();
        self.sketch.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.links.len(NEWER) + self.links.len(OLDER) + self.links.len(MAIN)
    }

    pub(super) fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        for list in [OLDER, NEWER, MAIN] {
            self.links.iter(list).for_each(&mut *visit);
        }
    }

    pub(super) fn validate(&self, entries: &Entries<'_>) {
        self.links.validate();
        self.ghosts.validate();
        self.sketch.validate();
        for list in [NEWER, OLDER, MAIN] {
            let ids = self.links.iter(list);
            let weight: u64 = ids.map(|id| u64::from(entries.weight(id))).sum();
            assert_eq!(
                self.weights[list as usize], weight,
                "list {list} knows its weight"
            );
        }
        for id in self.links.iter(OLDER).chain(self.links.iter(MAIN)) {
            assert_ne!(
                entries.access(id),
                UNCOUNTED,
                "only new entries are not counted"
            );
        }
    }

    /// Takes out the first entry of the small queue that was not hit; those hit go to main.
    /// Amortised O(1): an entry is promoted once.
    fn evict_unused(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        while let Some(id) = self.small_front() {
            self.unlink(id, entries);
            if matches!(entries.access(id), 0 | UNCOUNTED) {
                self.age(entries);
                self.ghosts.push(entries.hash(id));
                return Some(id);
            }
            entries.set_access(id, 0);
            self.push(MAIN, id, entries);
            self.age(entries);
            if self.small_weight() <= self.small_target {
                return None;
            }
        }
        None
    }

    /// Lets the window's victim fight main's, and takes out the loser.
    fn evict_by_duel(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let candidate = self.window_victim(entries)?;
        let resident = self.main_victim(entries);
        let hash = entries.hash(candidate);
        let wins = resident.is_some_and(|resident| {
            // The candidate's latest request is why it is here: only those before count for it.
            self.frequency(candidate, hash, entries)
                > self.frequency(resident, entries.hash(resident), entries) + 1
        });
        self.unlink(candidate, entries);
        if let Some(resident) = resident.filter(|_| wins) {
            self.push(MAIN, candidate, entries);
            self.age(entries);
            self.unlink(resident, entries);
            return Some(resident);
        }
        self.age(entries);
        self.ghosts.push(hash);
        Some(candidate)
    }

    /// How often the entry was asked for of late, as a miss or as a hit.
    fn frequency(&self, id: EntryId, hash: u64, entries: &Entries<'_>) -> u8 {
        self.sketch.estimate(hash) + Self::count(id, entries)
    }

    /// Turns main's hand to an entry without a count, which then stands first.
    fn main_victim(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        for _ in 0..MAX_STEPS {
            let id = self.links.front(MAIN)?;
            let count = Self::count(id, entries);
            if count == 0 {
                break;
            }
            self.take_hit(id, count, entries);
            self.links.move_to_back(MAIN, id);
        }
        self.links.front(MAIN)
    }

    /// The same for the window: what was hit gets another turn at its newer end.
    fn window_victim(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        for _ in 0..MAX_WINDOW_STEPS {
            let id = self.small_front()?;
            let count = Self::count(id, entries);
            if count == 0 {
                break;
            }
            self.take_hit(id, count, entries);
            self.unlink(id, entries);
            self.push(NEWER, id, entries);
            self.age(entries);
        }
        self.small_front()
    }

    /// Takes back one of the hits counted of an entry, which is how long it stays. Where duels
    /// decide, the sketch learns of it here, so that no read has to write the sketch.
    fn take_hit(&mut self, id: EntryId, count: u8, entries: &Entries<'_>) {
        entries.set_access(id, count - 1);
    }

    /// Moves what a shorter small queue has no room for to main.
    fn overflow(&mut self, entries: &Entries<'_>) {
        for _ in 0..MAX_OVERFLOW {
            if self.small_weight() <= self.small_target {
                self.shrinking = false;
                return;
            }
            let Some(id) = self.small_front() else { return };
            self.unlink(id, entries);
            entries.set_access(id, Self::count(id, entries));
            self.push(MAIN, id, entries);
            self.age(entries);
        }
    }

    /// Keeps the newer half of the small queue no heavier than the older one. Hits count from here
    /// on. Amortised O(1): an entry ages once.
    fn age(&mut self, entries: &Entries<'_>) {
        while self.weights[NEWER as usize] > self.weights[OLDER as usize] {
            let Some(id) = self.links.front(NEWER) else {
                return;
            };
            self.unlink(id, entries);
            if entries.access(id) == UNCOUNTED {
                entries.set_access(id, 0);
            }
            self.push(OLDER, id, entries);
        }
    }

    fn push(&mut self, list: u8, id: EntryId, entries: &Entries<'_>) {
        self.weights[list as usize] += self.weight_of(id, entries);
        self.links.push_back(list, id);
    }

    fn unlink(&mut self, id: EntryId, entries: &Entries<'_>) {
        if let Some(list) = self.links.remove(id) {
            self.weights[list as usize] -= self.weight_of(id, entries);
        }
    }

    /// The oldest entry of the small queue.
    fn small_front(&self) -> Option<EntryId> {
        self.links.front(OLDER).or_else(|| self.links.front(NEWER))
    }

    fn small_weight(&self) -> u64 {
        self.weights[NEWER as usize] + self.weights[OLDER as usize]
    }

    fn weight(&self) -> u64 {
        self.small_weight() + self.weights[MAIN as usize]
    }

    fn weight_of(&self, id: EntryId, entries: &Entries<'_>) -> u64 {
        if self.weighted {
            u64::from(entries.weight(id))
        } else {
            1
        }
    }

    /// The hits counted of an entry.
    fn count(id: EntryId, entries: &Entries<'_>) -> u8 {
        match entries.access(id) {
            UNCOUNTED => 0,
            count => count,
        }
    }
}
