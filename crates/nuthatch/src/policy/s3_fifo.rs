//! S3-FIFO: a small queue that most entries leave unasked-for, a main queue with second chances, and
//! ghosts of those that left too early.
//!
//! J. Yang, Y. Zhang, Z. Qiu, Y. Yue and K. V. Rashmi, "FIFO Queues are All You Need for Cache
//! Eviction", SOSP 2023. A new entry goes to the small queue (10 % of the weight). At its end an
//! entry with enough hits moves to the main queue, any other is evicted and leaves a ghost; a key
//! that has a ghost goes to main at once. Main is a CLOCK with two bits: an entry with hits left goes
//! round again for one of them. An eviction takes from main if main is larger than its share, and
//! from small otherwise. Until the first eviction, what does not fit small goes to main.
//!
//! The shares are of the weight that the shard holds, so they hold for any capacity.
//!
//! *Cost:* a hit is at most one store to a byte of the entry, none once it has three; an eviction is
//! O(1) amortised over hits. 8 bytes an entry and 2 for each ghost, of which there are 9 for 10
//! entries. *Not for* keys that are asked for again right after they left the small queue, nor, with
//! two hits to promotion, for keys asked for exactly twice.

use super::queues::Queues;
use super::{CompactGhosts, Entries, EntryId, EvictionPolicy, HitMode, Promotion, Share};

const SMALL: u8 = 0;
const MAIN: u8 = 1;
/// Hits beyond this many are not counted.
const MAX_HITS: u8 = 3;
/// Ghosts for each resident entry.
const GHOSTS: Share = Share::percent(90);

/// S3-FIFO; see the module's text.
#[derive(Debug)]
pub(super) struct S3Fifo {
    /// In both queues the oldest entry stands first.
    queues: Queues<2>,
    ghosts: CompactGhosts,
    small: Share,
    promotion: Promotion,
    /// The weight that small is filled to before the first eviction.
    small_capacity: u64,
    /// A weight and small's share of it: the last that was asked for.
    share: (u64, u64),
    /// Whether the entry being inserted has left a ghost.
    has_ghost: bool,
    /// Whether an entry was ever evicted: before that, small must not grow beyond its share.
    has_evicted: bool,
}

impl S3Fifo {
    pub(super) fn new(small: Share, promotion: Promotion, capacity: u64) -> Self {
        Self {
            queues: Queues::new(),
            ghosts: CompactGhosts::new(0),
            small,
            promotion,
            small_capacity: small.of(capacity),
            share: (0, 0),
            has_ghost: false,
            has_evicted: false,
        }
    }

    /// Whether main is larger than what small's share leaves it.
    #[inline]
    fn main_is_over(&self) -> bool {
        let total = self.queues.total_weight();
        let share = match self.share {
            (of, share) if of == total => share,
            _ => self.small.of(total),
        };
        self.queues.weight(MAIN) > total - share
    }

    /// Evicts the oldest entry of small that is not worth promotion; promotes those before it.
    #[inline]
    fn evict_small(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        while let Some(id) = self.queues.front(SMALL) {
            if entries.access(id) < self.promotion.get() {
                self.queues.pop_front(SMALL, entries);
                self.ghosts.push(entries.hash(id));
                return Some(id);
            }
            entries.set_access(id, 0);
            self.queues.move_front(SMALL, MAIN, entries);
        }
        None
    }

    /// Evicts the oldest entry of main that has no hits left.
    fn evict_main(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        while let Some(id) = self.queues.front(MAIN) {
            let hits = entries.access(id);
            if hits == 0 {
                return self.queues.pop_front(MAIN, entries);
            }
            entries.set_access(id, hits.min(MAX_HITS) - 1);
            self.queues.move_front(MAIN, MAIN, entries);
        }
        None
    }

    /// Computes what depends on how much is held. A full cache holds as much time and again, so that
    /// there is seldom anything to do.
    #[inline]
    fn measure(&mut self) {
        let total = self.queues.total_weight();
        if self.share.0 != total {
            self.share = (total, self.small.of(total));
            let ghosts = GHOSTS.of(self.queues.len() as u64);
            self.ghosts.set_limit(ghosts as usize);
        }
    }
}

impl EvictionPolicy for S3Fifo {
    fn hit_mode(&self) -> HitMode {
        HitMode::Count { max: MAX_HITS }
    }

    fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
        let ghosts = GHOSTS.of(slots as u64) as usize;
        if ghosts > self.ghosts.room() {
            self.ghosts.resize(ghosts);
            self.share = (0, 0);
        }
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.small_capacity = self.small.of(capacity);
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.queues
            .first_two(if self.main_is_over() { MAIN } else { SMALL })
    }

    #[inline]
    fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        self.has_ghost = self.ghosts.remove(hash);
    }

    #[inline]
    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        entries.set_access(id, 0);
        let small_is_full = self.queues.weight(SMALL) >= self.small_capacity;
        let had_ghost = std::mem::take(&mut self.has_ghost);
        let queue = if had_ghost || (small_is_full && !self.has_evicted) {
            MAIN
        } else {
            SMALL
        };
        self.queues.push_back(queue, id, entries);
    }

    fn prefetch(&self, hash: u64) {
        self.ghosts.prefetch(hash);
    }

    #[inline]
    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.has_evicted = true;
        self.measure();
        if !self.main_is_over()
            && let Some(id) = self.evict_small(entries)
        {
            return Some(id);
        }
        self.evict_main(entries)
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
        self.has_evicted = false;
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
    use super::{MAIN, Promotion, S3Fifo, SMALL, Share};

    fn trial(promotion: Promotion, capacity: u64) -> Trial<S3Fifo> {
        Trial::new(
            S3Fifo::new(Share::percent(10), promotion, capacity),
            capacity,
        )
    }

    #[test]
    fn a_scan_leaves_what_is_popular() {
        let mut trial = trial(Promotion::TWO_HITS, 100);
        for _ in 0..3 {
            trial.hits(0..50);
        }
        trial.hits(1_000..6_000);
        assert_eq!(trial.holds(0..50), 50);
    }

    #[test]
    fn before_the_first_eviction_main_takes_what_small_has_no_room_for() {
        let mut trial = trial(Promotion::TWO_HITS, 100);
        trial.hits(0..100);
        assert_eq!(
            (
                trial.policy.queues.weight(SMALL),
                trial.policy.queues.weight(MAIN)
            ),
            (10, 90)
        );
        trial.hits(100..110);
        assert_eq!((trial.holds(0..10), trial.holds(10..110)), (0, 100));
    }

    #[test]
    fn hits_in_small_promote_from_the_number_asked_for() {
        for (promotion, kept) in [(Promotion::ONE_HIT, 2), (Promotion::TWO_HITS, 1)] {
            let mut trial = trial(promotion, 100);
            trial.hits(0..100);
            trial.hits([200, 201, 200, 201, 200]);
            trial.hits(1_000..1_050);
            assert_eq!(trial.holds(200..202), kept, "{promotion}");
        }
    }

    #[test]
    fn a_key_with_a_ghost_goes_to_main() {
        let mut trial = trial(Promotion::TWO_HITS, 100);
        trial.hits(0..100);
        trial.request(200);
        trial.hits(300..330);
        assert_eq!(trial.holds([200]), 0, "small let it go");
        trial.request(200);
        trial.hits(400..600);
        assert_eq!(trial.holds([200]), 1, "main keeps it");
    }

    #[test]
    fn a_ghost_is_forgotten_after_nine_tenths_of_a_cache_of_others() {
        let mut trial = trial(Promotion::TWO_HITS, 30);
        trial.hits(0..30);
        trial.request(200);
        trial.hits(300..340);
        trial.request(200);
        trial.hits(400..410);
        assert_eq!(trial.holds([200]), 0, "it passed through small again");
    }

    #[test]
    fn an_entry_in_main_goes_round_once_for_each_hit() {
        let mut trial = trial(Promotion::TWO_HITS, 10);
        trial.hits(0..10);
        // Key 0 is in small, 1 to 9 are in main. Ghost hits make main overflow, one at a time.
        trial.hits([1, 1, 2]);
        for key in 100..110 {
            trial.hits([key, 900 + key]);
            assert_eq!(trial.holds([key]), 0);
            trial.request(key);
        }
        assert_eq!((trial.holds([1]), trial.holds(2..10)), (1, 0));
    }

    #[test]
    fn shares_are_of_weight() {
        let mut trial = trial(Promotion::TWO_HITS, 1_000);
        for key in 0..2_000 {
            trial.request_weighing(key, 1 + (key % 13) as u32);
        }
        let small = trial.policy.queues.weight(SMALL);
        assert!((80..=125).contains(&small), "a tenth of 1,000, not {small}");
        assert!(trial.used() > 985);
    }

    #[test]
    fn a_smaller_capacity_shrinks_both_queues() {
        let mut trial = trial(Promotion::TWO_HITS, 1_000);
        trial.hits(0..1_000);
        trial.set_capacity(100);
        trial.request(5_000);
        assert_eq!((trial.policy.queues.weight(SMALL), trial.used()), (10, 100));
    }
}
