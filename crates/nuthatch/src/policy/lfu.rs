//! LFU: evicts the entry with the fewest uses since it came in; of several, the one that has had
//! that many for longest.
//!
//! In-cache LFU in the manner of K. Shah, A. Mitra and D. Matani, "An O(1) algorithm for
//! implementing the LFU cache eviction scheme", 2010: entries of equal count stand together, a hit
//! moves an entry to the end of the next count. Counts start anew when a key comes back.
//!
//! A count stays at 255, so that a byte is enough for it; not the entry's access byte, which readers may
//! touch while the cache changes its policy, for a count is also the place of its entry. That is still LFU: the victim is always of the lowest count, and as
//! every new entry starts at 1, an entry at 255 is taken only once no other is left, which a heavy
//! newcomer may bring about, but few others.
//!
//! *Cost:* O(1) per operation, and every hit moves a list node; 9 bytes an entry and 1 KiB a shard.
//! *Not for* most workloads: what was popular once never leaves, and new entries, being all at the
//! bottom, push out each other. See `dlfu`, which forgets.

use super::levels::Levels;
use super::{Entries, EntryId, EvictionPolicy, HitMode};

/// Levels by count: 0 is never used.
const COUNTS: usize = 1 << u8::BITS;

/// Least frequently used; see the module's text.
#[derive(Debug)]
pub(super) struct Lfu {
    /// A level for each count.
    levels: Levels,
    /// By id. Stale for ids that are not resident.
    counts: Vec<u8>,
}

impl Lfu {
    pub(super) fn new() -> Self {
        Self {
            levels: Levels::new(COUNTS),
            counts: Vec::new(),
        }
    }

    fn count(&self, id: EntryId) -> u32 {
        u32::from(self.counts[id as usize])
    }
}

impl EvictionPolicy for Lfu {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.levels.reserve(slots);
        if slots > self.counts.len() {
            self.counts.reserve_exact(slots - self.counts.len());
            self.counts.resize(slots, 0);
        }
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.counts[id as usize] = 1;
        self.levels.push_back(1, id);
    }

    fn hit(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.levels.remove(self.count(id), id);
        let count = &mut self.counts[id as usize];
        *count = count.saturating_add(1);
        self.levels.push_back(self.count(id), id);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let id = self.levels.front()?;
        self.remove(id, entries);
        Some(id)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.levels.remove(self.count(id), id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.counts[to as usize] = self.counts[from as usize];
        self.levels.replace(self.count(to), from, to);
    }

    fn clear(&mut self) {
        self.levels.clear();
    }

    fn len(&self) -> usize {
        self.levels.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.levels.iter().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.levels.validate(|id| self.count(id));
    }
}

#[cfg(test)]
mod tests {
    use super::Lfu;
    use crate::policy::scripted::Scripted;

    #[test]
    fn the_fewest_uses_go_first_and_of_equals_the_one_that_has_them_longest() {
        let mut cache = Scripted::new(Lfu::new());
        cache.insert([1, 2, 3, 4]);
        cache.hit([2, 1, 1, 3]);
        assert_eq!(cache.drain(), [4, 2, 3, 1]);
    }

    #[test]
    fn counts_survive_a_new_value_but_not_an_eviction() {
        let mut cache = Scripted::new(Lfu::new());
        cache.insert([1, 2]);
        cache.hit([1, 1]);
        cache.hit([2]);
        cache.replace(1, 7);
        assert_eq!(cache.evict(1), [2]);
        cache.insert([2]);
        assert_eq!(cache.drain(), [2, 7]);
    }

    #[test]
    fn saturated_counts_still_go_last() {
        let mut cache = Scripted::new(Lfu::new());
        cache.insert([1, 2]);
        cache.hit([1; 300]);
        cache.hit([2; 253]);
        assert_eq!(cache.drain(), [2, 1]);
    }
}
