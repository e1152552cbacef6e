//! ARC: two LRU queues, of entries asked for once and more often, whose sizes follow the ghosts.
//!
//! N. Megiddo and D. S. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003.
//! *Once* (T1 in the paper) holds entries asked for once of late, *often* (T2) the others, and each
//! leaves ghosts (B1, B2) when it evicts. A miss that finds a ghost of once says that once is too
//! small, and moves its target size up; a ghost of often moves it down. The step is the weight of
//! the entry, more if the other ghosts outnumber these. Once and its ghosts together stay within the
//! capacity, all four within twice the capacity.
//!
//! *Cost:* O(1) an operation; a hit moves a list node. 8 bytes an entry and 21 for each ghost, of
//! which there are as many as entries. *Not for* loops larger than the cache (it is LRU there) nor
//! for slow scans mixed with a changing working set, where the target wanders.

use super::queues::Queues;
use super::{Entries, EntryId, EvictionPolicy, GhostLists, HitMode};

/// Queues, and lists of ghosts, of entries asked for once and of those asked for more often.
const ONCE: u8 = 0;
const OFTEN: u8 = 1;

/// What `prepare` learnt of the entry being inserted.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    weight: u64,
    /// The list that held its ghost.
    ghost: Option<u8>,
}

/// Nothing is being inserted: an eviction is for another reason.
const NONE: Incoming = Incoming {
    weight: 0,
    ghost: None,
};

/// ARC; see the module's text.
#[derive(Debug)]
pub(super) struct Arc {
    /// In both queues the least recently used entry stands first.
    queues: Queues<2>,
    /// The note of a ghost is the weight of its entry.
    ghosts: GhostLists,
    capacity: u64,
    /// The weight that once should have (p in the paper).
    target: f64,
    incoming: Incoming,
}

impl Arc {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            queues: Queues::new(),
            ghosts: GhostLists::new(2),
            capacity,
            target: 0.0,
            incoming: NONE,
        }
    }

    /// Moves the target towards the queue whose ghost was found.
    fn adapt(&mut self, ghost: u8, ghost_weight: u32, weight: u32) {
        // The paper's sizes are those before the ghost leaves its list.
        let found = self.ghosts.sum(ghost) + u64::from(ghost_weight);
        let other = self.ghosts.sum(ONCE + OFTEN - ghost);
        let step = (other as f64 / found.max(1) as f64).max(1.0) * f64::from(weight);
        let step = if ghost == ONCE { step } else { -step };
        self.target = (self.target + step).clamp(0.0, self.capacity as f64);
    }

    /// The queue to evict from (REPLACE in the paper).
    fn queue_to_evict_from(&self) -> u8 {
        let once = self.queues.weight(ONCE) as f64;
        let tie = once == self.target && self.incoming.ghost == Some(OFTEN);
        let once_is_over = !self.queues.is_empty(ONCE) && (once > self.target || tie);
        if once_is_over || self.queues.is_empty(OFTEN) {
            ONCE
        } else {
            OFTEN
        }
    }

    /// The weight of once and its ghosts, with the entry being inserted.
    fn once_with_ghosts(&self) -> u64 {
        self.queues.weight(ONCE) + self.ghosts.sum(ONCE) + self.incoming.weight
    }

    /// The weight of all queues and ghosts, with the entry being inserted.
    fn all_with_ghosts(&self) -> u64 {
        self.once_with_ghosts() + self.queues.weight(OFTEN) + self.ghosts.sum(OFTEN)
    }

    /// Evicts the least recently used entry of `queue`.
    fn evict_from(
        &mut self,
        queue: u8,
        leaves_ghost: bool,
        entries: &Entries<'_>,
    ) -> Option<EntryId> {
        let id = self.queues.front(queue)?;
        self.queues.remove(id, entries);
        if leaves_ghost {
            self.ghosts
                .push(queue, entries.hash(id), entries.weight(id));
        }
        Some(id)
    }
}

impl EvictionPolicy for Arc {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
        if slots > self.ghosts.room() {
            self.ghosts.resize(slots);
        }
    }

    /// Ghosts beyond a smaller capacity go with the next evictions.
    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.target = self.target.min(capacity as f64);
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.queues.first_two(self.queue_to_evict_from())
    }

    fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        let found = self.ghosts.remove(hash);
        if let Some((ghost, ghost_weight)) = found {
            self.adapt(ghost, ghost_weight, weight);
        }
        self.incoming = Incoming {
            weight: u64::from(weight),
            ghost: found.map(|(ghost, _)| ghost),
        };
    }

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        let incoming = std::mem::replace(&mut self.incoming, NONE);
        let queue = if incoming.ghost.is_some() {
            OFTEN
        } else {
            ONCE
        };
        self.queues.push_back(queue, id, entries);
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.move_to_back(OFTEN, id, entries);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        if self.incoming.ghost.is_none() {
            if self.once_with_ghosts() > self.capacity {
                if self.ghosts.is_empty(ONCE) && !self.queues.is_empty(ONCE) {
                    return self.evict_from(ONCE, false, entries);
                }
                while self.once_with_ghosts() > self.capacity && !self.ghosts.is_empty(ONCE) {
                    self.ghosts.pop_oldest(ONCE);
                }
            }
            while self.all_with_ghosts() > 2 * self.capacity && !self.ghosts.is_empty(OFTEN) {
                self.ghosts.pop_oldest(OFTEN);
            }
        }
        self.evict_from(self.queue_to_evict_from(), true, entries)
    }

    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.remove(id, entries);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.queues.replace(from, to, entries);
    }

    fn clear(&mut self) {
        self.queues.clear();
        self.ghosts.clear();
        self.target = 0.0;
        self.incoming = NONE;
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
        let targets = 0.0..=self.capacity as f64;
        assert!(
            targets.contains(&self.target),
            "the target is within the capacity"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use super::{Arc, OFTEN, ONCE};

    fn trial(capacity: u64) -> Trial<Arc> {
        Trial::new(Arc::new(capacity), capacity)
    }

    /// A full cache of 100: keys 0 to 49 often, 50 to 99 once, and as many ghosts of once.
    fn settled() -> Trial<Arc> {
        let mut trial = trial(100);
        trial.hits((0..50).chain(0..50));
        trial.hits(1_000..1_050);
        trial.hits(50..100);
        let held = [ONCE, OFTEN].map(|queue| trial.policy.queues.weight(queue));
        assert_eq!(held, [50, 50]);
        trial
    }

    #[test]
    fn a_scan_leaves_what_was_asked_for_twice() {
        let mut trial = settled();
        trial.hits(2_000..9_000);
        assert_eq!(trial.holds(0..50), 50);
    }

    #[test]
    fn a_ghost_of_once_makes_once_larger() {
        let mut trial = settled();
        assert_eq!(trial.policy.target, 0.0);
        trial.hits(1_049..1_050);
        assert_eq!(trial.policy.target, 1.0);
        // They leave once before they are asked for again: a little more room would do.
        for round in 0..40 {
            let keys = 2_000 + round * 60..2_060 + round * 60;
            trial.hits(keys.clone());
            trial.hits(keys);
        }
        assert!(trial.policy.target > 50.0, "{}", trial.policy.target);
    }

    #[test]
    fn a_ghost_of_often_makes_once_smaller() {
        let mut trial = settled();
        trial.policy.target = 80.0;
        trial.hits(2_000..2_030);
        let lost: Vec<_> = (0..50).filter(|&key| trial.holds([key]) == 0).collect();
        assert_eq!(lost.len(), 30, "often is larger than its target");
        let target = trial.policy.target;
        trial.hits(lost.iter().rev().take(5).copied());
        assert!(
            trial.policy.target <= target - 5.0,
            "{}",
            trial.policy.target
        );
        assert_eq!(trial.policy.ghosts.len(OFTEN), 25);
    }

    #[test]
    fn the_step_grows_with_the_other_ghosts() {
        let mut trial = settled();
        trial.policy.target = 0.0;
        trial.policy.ghosts.clear();
        (0..6).for_each(|ghost| trial.policy.ghosts.push(OFTEN, ghost, 1));
        (10..12).for_each(|ghost| trial.policy.ghosts.push(ONCE, ghost, 1));
        trial.policy.ghosts.remove(10);
        trial.policy.adapt(ONCE, 1, 1);
        assert_eq!(trial.policy.target, 3.0, "6 ghosts against 2");
    }

    #[test]
    fn queues_and_ghosts_stay_within_the_papers_bounds() {
        let mut trial = trial(64);
        for n in 0..20_000_u64 {
            let key = n * n % 251 + n / 4_000 * 100;
            trial.request(key % 300);
            let policy = &trial.policy;
            let once = policy.queues.weight(ONCE) + policy.ghosts.sum(ONCE);
            let often = policy.queues.weight(OFTEN) + policy.ghosts.sum(OFTEN);
            assert!(
                once <= 64 && once + often <= 128,
                "request {n}: {once} and {often}"
            );
        }
    }

    #[test]
    fn the_target_moves_by_weight() {
        let mut trial = trial(1_000);
        for key in (0..20).chain([0, 0]).chain(20..30) {
            trial.request_weighing(key, 50);
        }
        assert!(trial.policy.ghosts.sum(ONCE) > 0);
        trial.request_weighing(10, 50);
        assert_eq!(trial.policy.target, 50.0);
    }

    #[test]
    fn a_smaller_capacity_bounds_the_target() {
        let mut trial = settled();
        trial.policy.target = 80.0;
        trial.set_capacity(40);
        assert_eq!(trial.policy.target, 40.0);
        trial.hits(5_000..5_200);
        let policy = &trial.policy;
        assert!(policy.queues.weight(ONCE) + policy.ghosts.sum(ONCE) <= 40);
        assert_eq!(trial.used(), 40);
    }
}
