//! LIRS: what counts is the time between an entry's last two uses, not the time since the last.
//!
//! S. Jiang and X. Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy to
//! Improve Buffer Cache Performance", SIGMETRICS 2002. Nearly all of the capacity belongs to *hot*
//! entries (LIR in the paper), used twice in short succession; a small share (1 %) to *cold* ones
//! (resident HIR), which are evicted first in, first out. The paper's stack S orders everything used
//! since the least recent use of a hot entry: hot entries, cold ones, and ghosts of cold ones that
//! were evicted. A cold entry or ghost used while it is on the stack becomes hot, and the least
//! recently used hot entry turns cold.
//!
//! # The stack without a stack
//! Only hot entries are linked in stack order. An entry, or ghost, that is put on the stack cold takes
//! the next tick of a clock as its stamp; one that is hot takes the current tick at each use. So a
//! cold one is on the stack if its stamp is later than that of the least recently used hot entry, and
//! the paper's pruning of the stack's bottom costs nothing, except for ghosts. Cold entries queue up
//! in the order of their stamps (those that are not on the stack aside), hence so do ghosts, and
//! pruning takes them from the old end of their list.
//!
//! *Cost:* O(1) an operation, amortised; a hit moves a list node. 12 bytes an entry and 21 for each
//! ghost, of which there are as many as entries. *Not for* changing working sets: a new key has 1 %
//! of the cache in which to be used twice, or must be quick enough to find its ghost.

use super::queues::Queues;
use super::{Entries, EntryId, EvictionPolicy, GhostLists, HitMode, Share};

const COLD: u8 = 0;
const HOT: u8 = 1;
/// The only list of ghosts.
const GHOSTS: u8 = 0;
/// When the clock reaches its end, stamps are set back by this.
const SET_BACK: u32 = 1 << 31;

/// LIRS; see the module's text.
#[derive(Debug)]
pub(super) struct Lirs {
    /// Cold entries in the order of eviction (Q in the paper); hot ones, least recently used first.
    queues: Queues<2>,
    /// Ghosts that are on the stack. The note is the stamp.
    ghosts: GhostLists,
    /// When the entry with this id was put where it is in the stack.
    stamps: Vec<u32>,
    clock: u32,
    /// The stamp of the stack's bottom: the least recently used hot entry's, or while there is none,
    /// the last one's.
    bottom: u32,
    cold: Share,
    /// The weight of hot entries never exceeds this.
    hot_capacity: u64,
    /// Whether the entry being inserted has a ghost on the stack.
    has_ghost: bool,
}

impl Lirs {
    pub(super) fn new(cold: Share, capacity: u64) -> Self {
        Self {
            queues: Queues::new(),
            ghosts: GhostLists::new(1),
            stamps: Vec::new(),
            clock: 0,
            bottom: 0,
            cold,
            hot_capacity: hot_capacity(cold, capacity),
            has_ghost: false,
        }
    }

    /// Whether a cold entry or ghost with this stamp is on the stack.
    fn is_on_stack(&self, stamp: u32) -> bool {
        stamp > self.bottom
    }

    /// Raises the stack's bottom to the least recently used hot entry, and forgets ghosts below.
    fn prune(&mut self) {
        if let Some(id) = self.queues.front(HOT) {
            self.bottom = self.bottom.max(self.stamps[id as usize]);
        }
        while let Some(stamp) = self.ghosts.oldest(GHOSTS)
            && !self.is_on_stack(stamp)
        {
            self.ghosts.pop_oldest(GHOSTS);
        }
    }

    /// The stamp of a cold entry that is put on the stack now.
    fn tick(&mut self) -> u32 {
        if self.clock == u32::MAX {
            self.set_back();
        }
        self.clock += 1;
        self.clock
    }

    /// Sets all stamps back by half the clock's range, older ones to 0. What was put on the stack
    /// cold so long ago falls off it. Once in 2^31 ticks, so O(1) amortised.
    fn set_back(&mut self) {
        self.clock -= SET_BACK;
        self.bottom = self.bottom.saturating_sub(SET_BACK);
        for stamp in &mut self.stamps {
            *stamp = stamp.saturating_sub(SET_BACK);
        }
        self.ghosts
            .change_notes(|stamp| stamp.saturating_sub(SET_BACK));
        self.prune();
    }

    /// The entry, which is linked as hot already, was used; makes room among the hot.
    fn use_hot(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.stamps[id as usize] = self.clock;
        while self.queues.weight(HOT) > self.hot_capacity
            && let Some(bottom) = self.queues.front(HOT)
        {
            self.queues.move_to_back(COLD, bottom, entries);
            self.bottom = self.bottom.max(self.stamps[bottom as usize]);
        }
        self.prune();
    }

    /// Whether an entry may be hot at all. A heavier one would drive out every other.
    fn may_be_hot(&self, id: EntryId, entries: &Entries<'_>) -> bool {
        u64::from(entries.weight(id)) <= self.hot_capacity
    }
}

/// What cold entries leave of the capacity: they get their share, but at least 1.
fn hot_capacity(cold: Share, capacity: u64) -> u64 {
    capacity.saturating_sub(cold.of(capacity).max(1))
}

impl EvictionPolicy for Lirs {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
        if slots > self.stamps.len() {
            self.stamps.reserve_exact(slots - self.stamps.len());
            self.stamps.resize(slots, 0);
            self.ghosts.resize(slots);
        }
    }

    /// The next hit cools what a smaller capacity cannot keep hot.
    fn set_capacity(&mut self, capacity: u64) {
        self.hot_capacity = hot_capacity(self.cold, capacity);
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.queues.first_two(COLD)
    }

    fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        self.has_ghost = self.ghosts.remove(hash).is_some();
    }

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        let had_ghost = std::mem::take(&mut self.has_ghost);
        let hot_weight = self.queues.weight(HOT) + u64::from(entries.weight(id));
        if hot_weight <= self.hot_capacity || (had_ghost && self.may_be_hot(id, entries)) {
            self.queues.push_back(HOT, id, entries);
            self.use_hot(id, entries);
        } else {
            self.stamps[id as usize] = self.tick();
            self.queues.push_back(COLD, id, entries);
        }
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        let is_hot = self.queues.queue_of(id) == Some(HOT);
        let on_stack = is_hot || self.is_on_stack(self.stamps[id as usize]);
        if on_stack && self.may_be_hot(id, entries) {
            self.queues.move_to_back(HOT, id, entries);
            self.use_hot(id, entries);
        } else {
            self.stamps[id as usize] = self.tick();
            self.queues.move_to_back(COLD, id, entries);
            self.prune();
        }
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let residents = self.queues.len();
        let Some(id) = self.queues.front(COLD) else {
            let id = self.queues.front(HOT)?;
            self.remove(id, entries);
            return Some(id);
        };
        self.queues.remove(id, entries);
        let stamp = self.stamps[id as usize];
        if self.is_on_stack(stamp) {
            self.ghosts.push(GHOSTS, entries.hash(id), stamp);
            if self.ghosts.len(GHOSTS) > residents {
                self.ghosts.pop_oldest(GHOSTS);
            }
        }
        Some(id)
    }

    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.remove(id, entries);
        self.prune();
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.stamps[to as usize] = self.stamps[from as usize];
        self.queues.replace(from, to, entries);
    }

    fn clear(&mut self) {
        self.queues.clear();
        self.ghosts.clear();
        self.clock = 0;
        self.bottom = 0;
        self.has_ghost = false;
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.queues.iter_all().for_each(visit);
    }

    fn validate(&self, entries: &Entries<'_>) {
        self.queues.validate(entries);
        self.ghosts.validate();
        let stamps = |queue| self.queues.iter(queue).map(|id| self.stamps[id as usize]);
        assert!(
            stamps(HOT).is_sorted(),
            "hot entries are linked in stack order"
        );
        assert!(
            stamps(HOT).next().is_none_or(|stamp| stamp == self.bottom),
            "the bottom is hot"
        );
        assert!(
            stamps(COLD).all(|stamp| stamp <= self.clock),
            "no stamp is in the future"
        );
        let on_stack = stamps(COLD).filter(|&stamp| self.is_on_stack(stamp));
        assert!(
            on_stack.is_sorted(),
            "cold entries on the stack queue up in stack order"
        );
        let oldest = self.ghosts.oldest(GHOSTS);
        assert!(
            oldest.is_none_or(|stamp| self.is_on_stack(stamp)),
            "ghosts are on the stack"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::SplitMix64;
    use super::super::trial::Trial;
    use super::{COLD, GHOSTS, HOT, Lirs, Share};

    fn trial(cold: u8, capacity: u64) -> Trial<Lirs> {
        Trial::new(Lirs::new(Share::percent(cold), capacity), capacity)
    }

    #[test]
    fn a_loop_larger_than_the_cache_hits_as_often_as_can_be() {
        let mut trial = trial(1, 100);
        for _ in 0..3 {
            trial.hits(0..150);
        }
        let hits = trial.hits((0..10).flat_map(|_| 0..150));
        assert_eq!(
            hits, 990,
            "99 of 150 are hot and stay so; LRU would have none"
        );
    }

    #[test]
    fn a_scan_leaves_the_hot() {
        let mut trial = trial(1, 100);
        trial.hits((0..99).chain(0..99));
        trial.hits(1_000..9_000);
        assert_eq!(trial.holds(0..99), 99);
    }

    #[test]
    fn a_second_use_soon_makes_hot_and_the_least_recent_hot_turns_cold() {
        let mut trial = trial(10, 20);
        trial.hits(0..18);
        trial.hits([100, 101, 100]);
        let hot = |trial: &Trial<Lirs>| trial.policy.queues.weight(HOT);
        assert_eq!(hot(&trial), 18, "100 became hot in place of 0");
        trial.hits(200..202);
        assert_eq!((trial.holds([0]), trial.holds([100])), (0, 1));
    }

    #[test]
    fn a_ghost_on_the_stack_comes_back_hot() {
        let mut trial = trial(10, 20);
        trial.hits(0..18);
        trial.hits(100..110);
        assert_eq!(
            (trial.holds([100]), trial.policy.ghosts.len(GHOSTS)),
            (0, 8)
        );
        trial.request(100);
        trial.hits(200..250);
        assert_eq!((trial.holds([100]), trial.holds([0])), (1, 0));
    }

    #[test]
    fn a_ghost_older_than_every_hot_entry_is_forgotten() {
        let mut trial = trial(10, 20);
        trial.hits(0..18);
        trial.hits(100..110);
        trial.hits(0..18);
        assert_eq!(
            trial.policy.ghosts.len(GHOSTS),
            0,
            "the stack ends at key 0"
        );
        trial.request(100);
        trial.hits(200..202);
        assert_eq!(trial.holds([100]), 0);
    }

    #[test]
    fn ghosts_are_no_more_than_entries() {
        let mut trial = trial(1, 100);
        trial.hits(0..5_000);
        assert_eq!(trial.policy.ghosts.len(GHOSTS), 100);
    }

    #[test]
    fn the_end_of_the_clock_changes_nothing() {
        let (mut young, mut old) = (trial(5, 60), trial(5, 60));
        old.policy.clock = u32::MAX - 2_000;
        let mut random = SplitMix64::new(3);
        for step in 0..20_000 {
            let key = random.below(200).min(random.below(200));
            let key = u64::from(key);
            assert_eq!(young.request(key), old.request(key), "step {step}");
        }
        assert!(old.policy.clock < u32::MAX / 2 + 30_000, "it was set back");
    }

    #[test]
    fn an_entry_heavier_than_the_hot_share_stays_cold() {
        let mut trial = trial(50, 100);
        trial.hits(0..50);
        trial.request_weighing(500, 60);
        trial.hits([500, 500]);
        assert_eq!(trial.policy.queues.weight(COLD), 60);
        let hot = trial.policy.queues.weight(HOT);
        assert!(hot >= 40, "{hot}: it drives no hot entry to the cold end");
    }

    #[test]
    fn removing_every_hot_entry_keeps_the_order() {
        let mut trial = trial(10, 20);
        trial.hits(0..18);
        trial.hits(100..120);
        (0..18).for_each(|key| trial.remove(key));
        trial.hits(0..60);
        assert_eq!(trial.used(), 20);
    }

    #[test]
    fn a_smaller_capacity_cools_what_it_cannot_keep_hot() {
        let mut trial = trial(1, 100);
        trial.hits((0..99).chain(0..99));
        trial.set_capacity(30);
        trial.hits(1_000..1_003);
        trial.request(98);
        assert_eq!((trial.used(), trial.policy.queues.weight(HOT)), (30, 29));
        assert_eq!(trial.holds(71..99), 28);
    }
}
