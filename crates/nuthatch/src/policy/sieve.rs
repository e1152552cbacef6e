//! SIEVE: a queue whose entries never move, and a hand that walks it and takes the first entry not
//! hit since it last came by.
//!
//! Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson and K. V. Rashmi, "SIEVE is simpler than LRU: an
//! efficient turn-key eviction algorithm for web caches", USENIX NSDI 2024. The hand walks from old
//! to new; an entry that was hit loses its mark and keeps its place, where CLOCK would send it back
//! among the newest. So new entries are tried soon after they come in (the hand is close behind
//! them), and popular ones collect behind the hand.
//!
//! *Cost:* the first hit sets the entry's byte, later ones do nothing. Insert and remove O(1),
//! evict O(1) amortised: each step of the hand takes back a mark that a hit has set. 8 bytes an
//! entry. *Not for* scans mixed with reuse, nor keys asked for exactly twice, on which it does
//! badly; nor small caches whose popular set moves.

use super::{Entries, EntryId, EvictionPolicy, HitMode, Links};

const QUEUE: u8 = 0;

/// A queue and a hand; see the module's text.
#[derive(Debug)]
pub(super) struct Sieve {
    /// The oldest entry stands first.
    links: Links,
    /// Where the next search begins; `None` means at the oldest entry.
    hand: Option<EntryId>,
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self {
            links: Links::new(1),
            hand: None,
        }
    }

    /// The queue from the hand round to the hand.
    fn round(&self) -> impl Iterator<Item = EntryId> + '_ {
        let start = self.hand.or_else(|| self.links.front(QUEUE));
        let behind = std::iter::successors(start, |&id| self.links.next(id));
        let ahead = self.links.iter(QUEUE);
        behind.chain(ahead.take_while(move |&id| Some(id) != start))
    }
}

impl EvictionPolicy for Sieve {
    fn hit_mode(&self) -> HitMode {
        HitMode::Count { max: 1 }
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        entries.set_access(id, 0);
        self.links.push_back(QUEUE, id);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let mut id = self.hand.or_else(|| self.links.front(QUEUE))?;
        while entries.access(id) > 0 {
            entries.set_access(id, 0);
            id = self.links.next(id).or_else(|| self.links.front(QUEUE))?;
        }
        self.hand = self.links.next(id);
        self.links.remove(id);
        Some(id)
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        let hand = self.hand.or_else(|| self.links.front(QUEUE));
        [hand, hand.and_then(|id| self.links.next(id))]
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        if self.hand == Some(id) {
            self.hand = self.links.next(id);
        }
        self.links.remove(id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.links.replace(from, to);
        if self.hand == Some(from) {
            self.hand = Some(to);
        }
    }

    fn clear(&mut self) {
        self.links.clear();
        self.hand = None;
    }

    fn len(&self) -> usize {
        self.links.len(QUEUE)
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.round().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.links.validate();
        if let Some(hand) = self.hand {
            assert_eq!(
                self.links.list_of(hand),
                Some(QUEUE),
                "the hand points at an entry"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sieve;
    use crate::policy::scripted::Scripted;

    #[test]
    fn what_was_hit_keeps_its_place_behind_the_hand() {
        let mut cache = Scripted::new(Sieve::new());
        cache.insert([1, 2, 3, 4]);
        cache.hit([1, 3]);
        assert_eq!(cache.evict(2), [2, 4]);
        // The hand has passed 1 and 3 and is at the end, so it starts over.
        cache.insert([5]);
        assert_eq!(cache.drain(), [1, 3, 5]);
    }

    #[test]
    fn new_entries_are_tried_before_the_old_ones_behind_the_hand() {
        let mut cache = Scripted::new(Sieve::new());
        cache.insert([1, 2, 3, 4]);
        cache.hit([1, 2]);
        assert_eq!(cache.evict(1), [3]);
        cache.insert([5]);
        assert_eq!(cache.drain(), [4, 5, 1, 2]);
    }

    #[test]
    fn the_hand_goes_on_where_its_entry_was_removed_or_replaced() {
        let mut cache = Scripted::new(Sieve::new());
        cache.insert([1, 2, 3, 4, 5]);
        assert_eq!(cache.evict(1), [1]);
        cache.replace(2, 8);
        assert_eq!(cache.evict(1), [8]);
        cache.remove(3);
        assert_eq!(cache.drain(), [4, 5]);
    }
}
