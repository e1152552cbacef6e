//! LRU: evicts the entry whose last use is longest ago.
//!
//! R. L. Mattson, J. Gecsei, D. R. Slutz and I. L. Traiger, "Evaluation techniques for storage
//! hierarchies", IBM Systems Journal 9(2), 1970: a stack algorithm, so a larger cache never misses
//! more.
//!
//! *Cost:* O(1) per operation, and every hit moves a list node under the shard's lock (or reaches
//! the policy through the lossy hit buffer); 8 bytes an entry. *Not for* loops a little larger than
//! the cache (every request misses), nor scans, which push out everything that was there before.

use super::{Entries, EntryId, EvictionPolicy, HitMode, Links};

const QUEUE: u8 = 0;

/// Least recently used; see the module's text.
#[derive(Debug)]
pub(super) struct Lru {
    /// The least recently used entry stands first.
    links: Links,
}

impl Lru {
    pub(super) fn new() -> Self {
        Self {
            links: Links::new(1),
        }
    }
}

impl EvictionPolicy for Lru {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.push_back(QUEUE, id);
    }

    fn hit(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.move_to_back(QUEUE, id);
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
    use super::Lru;
    use crate::policy::scripted::Scripted;

    #[test]
    fn the_last_use_decides() {
        let mut cache = Scripted::new(Lru::new());
        cache.insert([1, 2, 3, 4]);
        cache.hit([2, 1, 2]);
        assert_eq!(cache.drain(), [3, 4, 1, 2]);
    }

    #[test]
    fn a_new_value_is_no_use_in_itself() {
        let mut cache = Scripted::new(Lru::new());
        cache.insert([1, 2]);
        cache.replace(1, 3);
        assert_eq!(cache.drain(), [3, 2]);
    }
}
