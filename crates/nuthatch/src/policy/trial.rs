//! A cache of keys without values, for tests that watch a policy decide.

use super::random::SplitMix64;
use super::{AccessBytes, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode};
use std::collections::BTreeMap;

/// A single shard that does what the simulator does: on a miss, `prepare`, `evict` until there is
/// room, `insert`.
#[derive(Debug)]
pub(super) struct Trial<P> {
    pub(super) policy: P,
    access: AccessBytes,
    facts: Facts,
    /// Ids by key.
    resident: BTreeMap<u64, EntryId>,
    free: Vec<EntryId>,
    capacity: u64,
    used: u64,
    misses: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fact {
    key: u64,
    weight: u32,
}

#[derive(Debug)]
struct Facts(Vec<Fact>);

impl EntryFacts for Facts {
    fn hash(&self, id: EntryId) -> u64 {
        hash(self.0[id as usize].key)
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.0[id as usize].weight
    }
}

/// A well-mixed hash for a key.
fn hash(key: u64) -> u64 {
    SplitMix64::new(key).next()
}

impl<P: EvictionPolicy> Trial<P> {
    /// An empty cache bounded by `capacity`, which `policy` was built for.
    pub(super) fn new(mut policy: P, capacity: u64) -> Self {
        let slots = capacity as usize;
        let access = AccessBytes::new(slots);
        access.reserve(slots);
        policy.reserve(slots);
        Self {
            policy,
            access,
            facts: Facts(vec![Fact::default(); slots]),
            resident: BTreeMap::new(),
            free: (0..slots as EntryId).rev().collect(),
            capacity,
            used: 0,
            misses: 0,
        }
    }

    /// Asks for a key of weight 1 and loads it if it is not there. Returns whether it was.
    pub(super) fn request(&mut self, key: u64) -> bool {
        self.request_weighing(key, 1)
    }

    /// Asks for a key and, if it is not there, loads an entry of this weight (at least 1, at most
    /// the capacity). Returns whether it was there.
    pub(super) fn request_weighing(&mut self, key: u64, weight: u32) -> bool {
        if let Some(&id) = self.resident.get(&key) {
            match self.policy.hit_mode() {
                HitMode::Ignore => {}
                HitMode::Count { max } => self.access.count(id, max),
                HitMode::Stamp => self.access.stamp(id, self.policy.era()),
                HitMode::Ordered => self
                    .policy
                    .hit(id, &Entries::new(&self.access, &self.facts)),
            }
            return true;
        }
        self.policy.prepare(hash(key), weight);
        while self.used + u64::from(weight) > self.capacity {
            let entries = Entries::new(&self.access, &self.facts);
            let id = self
                .policy
                .evict(&entries)
                .expect("a full cache has a victim");
            let Fact { key, weight } = self.facts.0[id as usize];
            self.resident.remove(&key);
            self.free.push(id);
            self.used -= u64::from(weight);
        }
        let id = self.free.pop().expect("entries weigh at least 1");
        self.facts.0[id as usize] = Fact { key, weight };
        self.resident.insert(key, id);
        self.used += u64::from(weight);
        let entries = Entries::new(&self.access, &self.facts);
        self.policy.insert(id, &entries);
        // Recounting everything each time would make the tests slow.
        if self.misses.is_multiple_of(16) {
            self.policy.validate(&entries);
        }
        self.misses += 1;
        false
    }

    /// Asks for all these keys; returns how many were there.
    pub(super) fn hits(&mut self, keys: impl IntoIterator<Item = u64>) -> usize {
        keys.into_iter().filter(|&key| self.request(key)).count()
    }

    /// How many of these keys are there, without asking for them.
    pub(super) fn holds(&self, keys: impl IntoIterator<Item = u64>) -> usize {
        let resident = |key: &u64| self.resident.contains_key(key);
        keys.into_iter().filter(resident).count()
    }

    /// The weight of all entries.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Changes the capacity; what is too much goes with the next miss.
    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.policy.set_capacity(capacity);
    }

    /// Removes a key that is there.
    pub(super) fn remove(&mut self, key: u64) {
        let id = self.resident.remove(&key).expect("the key is there");
        self.used -= u64::from(self.facts.0[id as usize].weight);
        self.policy
            .remove(id, &Entries::new(&self.access, &self.facts));
        self.free.push(id);
    }
}
