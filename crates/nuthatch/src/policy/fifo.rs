//! FIFO: evicts the entry that was inserted first, whether it was used or not.
//!
//! The oldest of all: L. A. Belady, "A study of replacement algorithms for a virtual-storage
//! computer", IBM Systems Journal 5(2), 1966, measures it beside the optimum. Replacing a value
//! does not make its entry younger.
//!
//! *Cost:* O(1) per operation, nothing on a hit; 8 bytes an entry. *Not for* any workload that
//! favours some keys for longer than they take to cross the queue: a CLOCK costs as little and
//! keeps what is used.

use super::{Entries, EntryId, EvictionPolicy, HitMode, Links};

const QUEUE: u8 = 0;

/// First in, first out; see the module's text.
#[derive(Debug)]
pub(super) struct Fifo {
    links: Links,
}

impl Fifo {
    pub(super) fn new() -> Self {
        Self {
            links: Links::new(1),
        }
    }
}

impl EvictionPolicy for Fifo {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ignore
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.push_back(QUEUE, id);
    }

    fn evict(&mut self, _entries: &Entries<'_>) -> Option<EntryId> {
        self.links.pop_front(QUEUE)
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
    use super::Fifo;
    use crate::policy::scripted::Scripted;

    #[test]
    fn age_alone_decides_and_a_new_value_makes_no_younger() {
        let mut cache = Scripted::new(Fifo::new());
        cache.insert([1, 2, 3]);
        cache.hit([1, 1, 1]);
        cache.replace(2, 9);
        cache.insert([4]);
        assert_eq!(cache.drain(), [1, 9, 3, 4]);
    }
}
