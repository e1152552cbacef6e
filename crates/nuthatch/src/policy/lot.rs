//! By lot: `random` evicts any entry, `ttl` the one that expires soonest of a few.
//!
//! As Redis does for its `*-random` and `volatile-ttl`. Deadlines are looked up when an eviction needs
//! them and nowhere else, so they may change without a word to the policy. Among entries without a
//! deadline, which are evicted last, the lot decides.
//!
//! *Cost:* a hit does nothing; insert and remove O(1), evict O(1) with a look at as many deadlines as
//! there are samples; 8 bytes an entry. *Not for* anything but a reference, and for entries whose
//! deadlines tell what they are worth: neither knows what is used.

use super::random::SplitMix64;
use super::roster::Roster;
use super::{Entries, EntryId, EvictionPolicy, HitMode};

/// Eviction by lot; see the module's text.
#[derive(Debug)]
pub(super) struct Lot {
    roster: Roster,
    /// How many entries an eviction draws.
    samples: u8,
    random: SplitMix64,
}

impl Lot {
    pub(super) fn new(samples: u8, seed: u64) -> Self {
        Self {
            roster: Roster::default(),
            samples,
            random: SplitMix64::new(seed),
        }
    }
}

impl EvictionPolicy for Lot {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ignore
    }

    fn reserve(&mut self, slots: usize) {
        self.roster.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.roster.insert(id);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        let mut victim = self.roster.draw(&mut self.random)?;
        if self.samples > 1 {
            let deadline_ns = |id| entries.deadline_ns(id).unwrap_or(u64::MAX);
            let mut soonest_ns = deadline_ns(victim);
            for _ in 1..self.samples {
                let id = self.roster.draw(&mut self.random)?;
                let ns = deadline_ns(id);
                if ns < soonest_ns {
                    (victim, soonest_ns) = (id, ns);
                }
            }
        }
        self.roster.remove(victim);
        Some(victim)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.roster.remove(id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.roster.relocate(from, to);
    }

    fn clear(&mut self) {
        self.roster.clear();
    }

    fn len(&self) -> usize {
        self.roster.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.roster.iter().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.roster.validate();
    }
}

#[cfg(test)]
mod tests {
    use super::Lot;
    use crate::policy::scripted::Scripted;
    use crate::{Cache, Clock, Policy};

    #[test]
    fn any_entry_may_be_evicted_and_each_is_once() {
        let mut firsts = Vec::new();
        for seed in 0..50 {
            let mut cache = Scripted::new(Lot::new(1, seed));
            cache.insert(0..5);
            cache.replace(3, 7);
            let mut order = cache.drain();
            firsts.push(order[0]);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 4, 7]);
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, [0, 1, 2, 4, 7]);
    }

    #[test]
    fn of_those_drawn_the_one_that_expires_soonest_goes() {
        let builder = Cache::builder().capacity(100).shards(1);
        let builder = builder.policy("ttl:64".parse::<Policy>().expect("its name"));
        let cache = builder.clock(Clock::from_fn(|| 1)).build().expect("valid");
        for key in 0..50_u64 {
            cache.insert_with_deadline(key, key, None);
            cache.insert_with_deadline(100 + key, key, Some(1_000_000 + key));
        }
        // Deadlines that change are those that count.
        assert!(cache.set_deadline(&149, Some(1_000)));
        assert!(cache.set_deadline(&100, None));
        for key in 1_000..1_030 {
            cache.insert(key, key);
        }
        let left = |from: u64| (from..from + 50).filter(|key| cache.contains_key(key));
        assert_eq!(left(0).count(), 50, "what never expires stays");
        assert!(!cache.contains_key(&149) && cache.contains_key(&100));
        let early = left(100).filter(|&key| key < 120).count();
        let late = left(100).filter(|&key| key >= 130).count();
        assert!(
            early < late,
            "{early} early ones are left, {late} late ones"
        );
    }
}
