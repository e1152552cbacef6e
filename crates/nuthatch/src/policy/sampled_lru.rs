//! Sampled LRU, Redis' way: looks at a few entries chosen by lot and evicts the one unused for
//! longest.
//!
//! Redis, `evict.c` (S. Sanfilippo, "Random notes on improving the Redis LRU algorithm", 2014): no
//! list at all, but a timestamp in each entry, and a pool of the 16 best candidates met so far, so
//! that what one eviction learnt serves the next. Redis stamps the time of day; here it is the
//! number of the *era*, 8 bits, written by the reader and only if it differs. Unlike Redis, the
//! pool is judged by its entries' present stamps, so an entry used since it got there is safe.
//!
//! An era lasts one insert for every 64 entries. What is older than 127 eras counts as 127: each
//! insert looks at the next entry and moves its stamp to that line, before the era's number comes
//! round again and makes it look new.
//!
//! *Cost:* a hit stores the era's number, if it is not there yet. Insert and remove O(1), evict O(1)
//! with a look at as many entries as there are samples; 8 bytes an entry. *Not for* anything where
//! LRU is wrong: this is LRU without its list, and less exact. CLOCK costs no more.

use super::random::SplitMix64;
use super::roster::Roster;
use super::{Entries, EntryId, EvictionPolicy, HitMode, SampleSize};

const POOL: usize = 16;
/// The age, in eras, at which stamps stop getting older.
const OLDEST: u8 = 127;
/// Eras in which as many entries are inserted as there are. So long it takes to look after all
/// stamps, which makes the oldest 127 + 64 eras old.
const ERAS: usize = 64;

/// An entry that may be evicted, and its age in eras when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    age: u8,
    id: EntryId,
}

/// LRU by lot; see the module's text.
#[derive(Debug)]
pub(super) struct SampledLru {
    roster: Roster,
    /// Good candidates; some may have left, or returned as other entries.
    pool: Vec<Candidate>,
    samples: u8,
    random: SplitMix64,
    era: u8,
    /// Inserts since the era began.
    era_inserts: usize,
    /// The next place whose entry's stamp is looked after.
    swept: usize,
}

impl SampledLru {
    pub(super) fn new(samples: SampleSize, seed: u64) -> Self {
        Self {
            roster: Roster::default(),
            pool: Vec::with_capacity(POOL),
            samples: samples.get(),
            random: SplitMix64::new(seed),
            era: 0,
            era_inserts: 0,
            swept: 0,
        }
    }

    fn age(&self, id: EntryId, entries: &Entries<'_>) -> u8 {
        self.era.wrapping_sub(entries.access(id))
    }

    /// Counts an insert, and begins a new era if this one has had its share of them.
    fn count_insert(&mut self) {
        self.era_inserts += 1;
        if self.era_inserts > self.roster.len() / ERAS {
            self.era_inserts = 0;
            self.era = self.era.wrapping_add(1);
        }
    }

    /// Looks after the next entry's stamp.
    fn sweep(&mut self, entries: &Entries<'_>) {
        let Some(id) = self.roster.get(self.swept) else {
            self.swept = 0;
            return;
        };
        self.swept += 1;
        if self.age(id, entries) > OLDEST {
            entries.set_access(id, self.era.wrapping_sub(OLDEST));
        }
    }

    /// Drops candidates that have left and brings the others' ages up to date.
    fn refresh_pool(&mut self, entries: &Entries<'_>) {
        let mut pool = std::mem::take(&mut self.pool);
        pool.retain_mut(|candidate| {
            candidate.age = self.age(candidate.id, entries);
            self.roster.contains(candidate.id)
        });
        self.pool = pool;
    }

    /// Enters a candidate in the pool, in the place of the youngest if the pool is full.
    fn offer(&mut self, id: EntryId, entries: &Entries<'_>) {
        if self.pool.iter().any(|candidate| candidate.id == id) {
            return;
        }
        let age = self.age(id, entries);
        let candidate = Candidate { age, id };
        if self.pool.len() < POOL {
            self.pool.push(candidate);
        } else if let Some(youngest) = self.pool.iter_mut().min_by_key(|other| other.age)
            && youngest.age < age
        {
            *youngest = candidate;
        }
    }
}

impl EvictionPolicy for SampledLru {
    fn hit_mode(&self) -> HitMode {
        HitMode::Stamp
    }

    fn era(&self) -> u8 {
        self.era
    }

    fn reserve(&mut self, slots: usize) {
        self.roster.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.roster.insert(id);
        self.count_insert();
        entries.set_access(id, self.era);
        self.sweep(entries);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.refresh_pool(entries);
        for _ in 0..self.samples {
            let id = self.roster.draw(&mut self.random)?;
            self.offer(id, entries);
        }
        let oldest = (0..self.pool.len()).max_by_key(|&place| self.pool[place].age);
        let victim = self
            .pool
            .swap_remove(oldest.expect("there is a sample at least"));
        self.roster.remove(victim.id);
        Some(victim.id)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.roster.remove(id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.roster.relocate(from, to);
    }

    fn clear(&mut self) {
        self.roster.clear();
        self.pool.clear();
        self.swept = 0;
    }

    fn len(&self) -> usize {
        self.roster.len()
    }

    /// In no order: what is known of an entry's age stands in its access byte.
    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.roster.iter().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.roster.validate();
        assert!(self.pool.len() <= POOL, "the pool is bounded");
    }
}

#[cfg(test)]
mod tests {
    use super::SampledLru;
    use crate::policy::scripted::Scripted;
    use crate::policy::{EvictionPolicy, SampleSize};

    /// A policy that looks at 64 entries, so at each of a few, surely enough.
    fn sampled_lru() -> Scripted<SampledLru> {
        Scripted::new(SampledLru::new(
            SampleSize::new(64).expect("64 is allowed"),
            1,
        ))
    }

    #[test]
    fn entries_used_in_an_earlier_era_go_first() {
        let mut cache = sampled_lru();
        cache.insert([1, 2, 3, 4]);
        cache.hit([2, 1]);
        assert_eq!(cache.evict(1), [3]);
        cache.insert([5]);
        cache.hit([2]);
        assert_eq!(cache.evict(2), [4, 1]);
    }

    #[test]
    fn an_entry_used_since_it_became_a_candidate_is_spared() {
        let mut cache = sampled_lru();
        cache.insert([1, 2, 3]);
        assert_eq!(cache.evict(1), [1]);
        assert!(cache.policy.pool.iter().any(|candidate| candidate.id == 2));
        cache.insert([4]);
        cache.hit([2]);
        assert_eq!(cache.evict(1), [3]);
    }

    #[test]
    fn an_entry_unused_for_many_eras_does_not_look_new() {
        let mut cache = sampled_lru();
        cache.insert([0]);
        for era in 1..1_000 {
            cache.insert([era]);
            cache.remove(era);
            let age = cache.policy.era().wrapping_sub(cache.access(0));
            assert!(u32::from(age) >= era.min(127), "{age} after {era} eras");
        }
    }
}
