//! SLRU: an LRU queue on probation, and a protected one for entries hit while on probation.
//!
//! R. Karedla, J. S. Love and B. G. Wherry, "Caching strategies to improve disk system
//! performance", IEEE Computer 27(3), 1994. A new entry goes on probation, a hit moves an entry to
//! the recent end of the protected queue, and what no longer fits there gets another turn at the
//! recent end of probation, whose old end is evicted. So keys asked for once pass through without
//! touching those asked for twice. The protected share is one of weight, so it holds for entries
//! of unequal sizes.
//!
//! *Cost:* O(1) per operation, amortised on a hit (each entry demoted was promoted once), and every
//! hit moves a list node; 8 bytes an entry. *Not for* loops larger than the cache, nor where the
//! popular set changes quickly: yesterday's entries are protected from today's.

use super::{Entries, EntryId, EvictionPolicy, HitMode, Links, Share};

const PROBATION: u8 = 0;
const PROTECTED: u8 = 1;

/// Segmented LRU; see the module's text.
#[derive(Debug)]
pub(super) struct Slru {
    /// In both queues the least recently used entry stands first.
    links: Links,
    share: Share,
    /// The weight that the protected queue may hold.
    protected_capacity: u64,
    /// The weight that it holds.
    protected_weight: u64,
}

impl Slru {
    pub(super) fn new(protected: Share, capacity: u64) -> Self {
        Self {
            links: Links::new(2),
            share: protected,
            protected_capacity: protected.of(capacity),
            protected_weight: 0,
        }
    }

    /// Sends what no longer fits the protected queue back to probation.
    fn demote(&mut self, entries: &Entries<'_>) {
        while self.protected_weight > self.protected_capacity {
            let Some(id) = self.links.front(PROTECTED) else {
                break;
            };
            self.protected_weight -= u64::from(entries.weight(id));
            self.links.move_to_back(PROBATION, id);
        }
    }
}

impl EvictionPolicy for Slru {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    /// The next hit demotes what a smaller capacity no longer protects.
    fn set_capacity(&mut self, capacity: u64) {
        self.protected_capacity = self.share.of(capacity);
    }

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.push_back(PROBATION, id);
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.links.list_of(id) == Some(PROBATION) {
            self.protected_weight += u64::from(entries.weight(id));
        }
        self.links.move_to_back(PROTECTED, id);
        self.demote(entries);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let id = self
            .links
            .front(PROBATION)
            .or_else(|| self.links.front(PROTECTED))?;
        self.remove(id, entries);
        Some(id)
    }

    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.links.remove(id) == Some(PROTECTED) {
            self.protected_weight -= u64::from(entries.weight(id));
        }
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        if self.links.list_of(from) == Some(PROTECTED) {
            self.protected_weight -= u64::from(entries.weight(from));
            self.protected_weight += u64::from(entries.weight(to));
        }
        self.links.replace(from, to);
    }

    fn clear(&mut self) {
        self.links.clear();
        self.protected_weight = 0;
    }

    fn len(&self) -> usize {
        self.links.len(PROBATION) + self.links.len(PROTECTED)
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.links
            .iter(PROBATION)
            .chain(self.links.iter(PROTECTED))
            .for_each(visit);
    }

    fn validate(&self, entries: &Entries<'_>) {
        self.links.validate();
        let weights = self.links.iter(PROTECTED).map(|id| entries.weight(id));
        let weight: u64 = weights.map(u64::from).sum();
        assert_eq!(weight, self.protected_weight, "the protected weight");
    }
}

#[cfg(test)]
mod tests {
    use super::Slru;
    use crate::policy::scripted::Scripted;
    use crate::policy::{EvictionPolicy, Share};

    fn slru(capacity: u64) -> Scripted<Slru> {
        Scripted::new(Slru::new(Share::percent(50), capacity))
    }

    #[test]
    fn entries_hit_once_outlive_a_scan() {
        let mut cache = slru(4);
        cache.insert([1, 2, 3, 4]);
        cache.hit([1, 2]);
        for scanned in 5..50 {
            assert_eq!(cache.evict(1).len(), 1);
            cache.insert([scanned]);
        }
        assert_eq!(cache.drain(), [48, 49, 1, 2]);
    }

    #[test]
    fn what_overflows_the_protected_queue_is_on_probation_again() {
        let mut cache = slru(4);
        cache.insert([1, 2, 3, 4]);
        cache.hit([1, 2, 3]);
        assert_eq!(cache.drain(), [4, 1, 2, 3]);
    }

    #[test]
    fn the_protected_share_is_one_of_weight() {
        let mut cache = slru(20);
        cache.insert_weighing(1, 6);
        cache.insert_weighing(2, 6);
        cache.insert([3]);
        cache.hit([1, 2]);
        assert_eq!(cache.drain(), [3, 1, 2], "the two weigh 12 of 10");
    }

    #[test]
    fn a_smaller_capacity_protects_less() {
        let mut cache = slru(8);
        cache.insert([1, 2, 3, 4]);
        cache.hit([1, 2, 3]);
        cache.policy.set_capacity(2);
        cache.hit([3]);
        assert_eq!(cache.drain(), [4, 1, 2, 3]);
        assert_eq!(cache.policy.protected_weight, 0);
    }
}
