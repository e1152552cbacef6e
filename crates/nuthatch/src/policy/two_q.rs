//! 2Q: new entries queue up first in, first out; a key asked for again after it left joins an LRU.
//!
//! T. Johnson and D. Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement
//! Algorithm", VLDB 1994, the full version. *Recent* (A1in in the paper) is a FIFO with a quarter of
//! the weight; what it evicts leaves a ghost (A1out), and the ghosts remember half the weight that
//! the shard holds. A key that has a ghost goes to *frequent* (Am), an LRU with the rest. Hits in
//! recent change nothing: they are taken for one use in several steps. An eviction takes from recent
//! if that is larger than its share, and from frequent otherwise.
//!
//! *Cost:* O(1) an operation; a hit in frequent moves a list node. 8 bytes an entry and 21 for each
//! ghost, of which there is one for two entries. *Not for* caches whose entries are reused soon and
//! then no more (recent cannot tell), nor where keys return later than after half a cache of misses.

use super::queues::Queues;
use super::{Entries, EntryId, EvictionPolicy, GhostLists, HitMode, Share};

const RECENT: u8 = 0;
const FREQUENT: u8 = 1;
/// The only list of ghosts.
const OUT: u8 = 0;
/// The weight that ghosts remember, as a share of the weight held.
const GHOSTS: Share = Share::percent(50);

/// 2Q; see the module's text.
#[derive(Debug)]
pub(super) struct TwoQ {
    /// In recent the oldest entry stands first, in frequent the least recently used.
    queues: Queues<2>,
    /// The note of a ghost is the weight of its entry.
    ghosts: GhostLists,
    recent: Share,
    /// Whether the entry being inserted has left a ghost.
    has_ghost: bool,
}

impl TwoQ {
    pub(super) fn new(recent: Share) -> Self {
        Self {
            queues: Queues::new(),
            ghosts: GhostLists::new(1),
            recent,
            has_ghost: false,
        }
    }

    /// Whether recent is larger than its share.
    fn recent_is_over(&self) -> bool {
        self.queues.weight(RECENT) > self.recent.of(self.queues.total_weight())
    }
}

impl EvictionPolicy for TwoQ {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
        let ghosts = GHOSTS.of(slots as u64) as usize;
        if ghosts > self.ghosts.room() {
            self.ghosts.resize(ghosts);
        }
    }

    /// Nothing to do: the shares are of the weight held when an entry is evicted.
    fn set_capacity(&mut self, _capacity: u64) {}

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.queues.first_two(if self.recent_is_over() {
            RECENT
        } else {
            FREQUENT
        })
    }

    fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        self.has_ghost = self.ghosts.remove(hash).is_some();
    }

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        let had_ghost = std::mem::take(&mut self.has_ghost);
        let queue = if had_ghost { FREQUENT } else { RECENT };
        self.queues.push_back(queue, id, entries);
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.queues.queue_of(id) == Some(FREQUENT) {
            self.queues.move_to_back(FREQUENT, id, entries);
        }
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let total = self.queues.total_weight();
        if !self.recent_is_over()
            && let Some(id) = self.queues.front(FREQUENT)
        {
            self.queues.remove(id, entries);
            return Some(id);
        }
        let id = self.queues.front(RECENT)?;
        self.queues.remove(id, entries);
        self.ghosts.push(OUT, entries.hash(id), entries.weight(id));
        while self.ghosts.sum(OUT) > GHOSTS.of(total) {
            self.ghosts.pop_oldest(OUT);
        }
        Some(id)
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
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use super::{FREQUENT, OUT, RECENT, Share, TwoQ};

    fn trial(capacity: u64) -> Trial<TwoQ> {
        Trial::new(TwoQ::new(Share::percent(25)), capacity)
    }

    /// A full cache of 100 whose keys 0 to 49 are in frequent.
    fn settled() -> Trial<TwoQ> {
        let mut trial = trial(100);
        trial.hits(0..50);
        trial.hits(1_000..1_100);
        trial.hits(0..50);
        assert_eq!(trial.policy.queues.weight(FREQUENT), 50, "they had ghosts");
        trial
    }

    #[test]
    fn a_scan_leaves_what_came_back() {
        let mut trial = settled();
        trial.hits(2_000..9_000);
        assert_eq!(trial.holds(0..50), 50);
    }

    #[test]
    fn hits_in_recent_do_not_save_an_entry() {
        let mut trial = settled();
        trial.request(500);
        assert_eq!(trial.hits([500; 10]), 10);
        trial.hits(2_000..2_200);
        assert_eq!(trial.holds([500]), 0);
    }

    #[test]
    fn frequent_evicts_the_least_recently_used() {
        let mut trial = settled();
        trial.hits(0..25);
        // They pass through recent, and half of what frequent holds makes way for their return.
        trial.hits(2_000..2_060);
        trial.hits(2_000..2_050);
        assert_eq!(trial.holds(0..25), 25);
        assert!(trial.holds(25..50) < 25);
    }

    #[test]
    fn ghosts_remember_half_the_weight_of_the_cache() {
        let mut trial = trial(200);
        for key in 0..500 {
            trial.request_weighing(key, 1 + (key % 3) as u32);
        }
        let remembered = trial.policy.ghosts.sum(OUT);
        assert!((96..=100).contains(&remembered), "{remembered}");
        let recent = trial.policy.queues.weight(RECENT);
        assert!(
            recent > 50,
            "without a key that came back recent has it all, not {recent}"
        );
    }

    #[test]
    fn a_key_that_returns_too_late_starts_anew() {
        let mut trial = settled();
        trial.request(500);
        trial.hits(2_000..2_030);
        trial.hits(3_000..3_090);
        trial.request(500);
        trial.hits(4_000..4_060);
        assert_eq!(trial.holds([500]), 0);
    }
}
