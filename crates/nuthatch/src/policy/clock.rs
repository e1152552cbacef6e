//! CLOCK: a FIFO queue that gives an entry another round for each hit it has counted.
//!
//! F. J. Corbató, "A paging experiment with the Multics system", MIT Project MAC report MAC-M-384,
//! 1968. With one bit it is the classic second chance; with two or three it is the generalised
//! CLOCK of A. J. Smith, "Sequentiality and prefetching in database systems", ACM TODS 3(3), 1978.
//! The queue's front is the hand: an entry found there with a count goes to the back with one
//! less.
//!
//! *Cost:* a hit adds one to the entry's byte until it is saturated, then nothing. Insert and
//! remove O(1), evict O(1) amortised: each step of the hand takes back a count that a hit paid for.
//! 8 bytes an entry. *Not for* loops and scans, where it is as helpless as LRU, which it
//! approximates.

use super::{CounterBits, Entries, EntryId, EvictionPolicy, HitMode, Links};

const QUEUE: u8 = 0;

/// FIFO with reinsertion; see the module's text.
#[derive(Debug)]
pub(super) struct Clock {
    /// The hand points at the first entry.
    links: Links,
    max: u8,
}

impl Clock {
    pub(super) fn new(bits: CounterBits) -> Self {
        Self {
            links: Links::new(1),
            max: bits.max(),
        }
    }
}

impl EvictionPolicy for Clock {
    fn hit_mode(&self) -> HitMode {
        HitMode::Count { max: self.max }
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
        loop {
            let id = self.links.front(QUEUE)?;
            // A byte above the maximum is not this policy's own.
            let count = entries.access(id).min(self.max);
            if count == 0 {
                self.links.remove(id);
                return Some(id);
            }
            entries.set_access(id, count - 1);
            self.links.move_to_back(QUEUE, id);
        }
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.links.first_two(QUEUE)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.remove(id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.links.replace(from, to);
    }

    fn clear(&mut self) {
        self.links.clear();
    }

    fn len(&self) -> usize {
        self.links.len(QUEUE)
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.links.iter(QUEUE).for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.links.validate();
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use crate::policy::CounterBits;
    use crate::policy::scripted::Scripted;

    #[test]
    fn a_hit_saves_an_entry_once() {
        let mut cache = Scripted::new(Clock::new(CounterBits::One));
        cache.insert([1, 2, 3]);
        cache.hit([1, 1, 1]);
        assert_eq!(cache.evict(1), [2]);
        cache.insert([4]);
        assert_eq!(cache.drain(), [3, 1, 4]);
    }

    #[test]
    fn wider_counters_save_as_often_as_they_count() {
        for (bits, rounds) in [(CounterBits::Two, 3), (CounterBits::Three, 7)] {
            let mut cache = Scripted::new(Clock::new(bits));
            cache.insert([0]);
            cache.hit([0; 100]);
            for newcomer in 1..=rounds {
                cache.insert([newcomer]);
                assert_eq!(cache.evict(1), [newcomer], "{bits}");
            }
            cache.insert([100]);
            assert_eq!(cache.evict(1), [0], "{bits}");
        }
    }
}
