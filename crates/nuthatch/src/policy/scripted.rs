//! A policy in the hands of a test that says what happens, step by step: the entries are numbers,
//! and the test sees who is evicted.

use super::{AccessBytes, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode};

const SLOTS: usize = 1024;

/// A policy and what it may ask about its entries.
pub(super) struct Scripted<P> {
    pub(super) policy: P,
    access: AccessBytes,
    weights: Weights,
}

struct Weights([u32; SLOTS]);

impl EntryFacts for Weights {
    fn hash(&self, id: EntryId) -> u64 {
        u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.0[id as usize]
    }
}

impl<P: EvictionPolicy> Scripted<P> {
    pub(super) fn new(mut policy: P) -> Self {
        policy.reserve(SLOTS);
        let access = AccessBytes::new(SLOTS);
        access.reserve(SLOTS);
        Self {
            policy,
            access,
            weights: Weights([1; SLOTS]),
        }
    }

    pub(super) fn insert(&mut self, ids: impl IntoIterator<Item = EntryId>) {
        for id in ids {
            self.insert_weighing(id, 1);
        }
    }

    pub(super) fn insert_weighing(&mut self, id: EntryId, weight: u32) {
        self.weigh(id, weight);
        self.policy.prepare(self.weights.hash(id), weight);
        self.link(id);
    }

    /// Says what an entry weighs that is to be linked.
    pub(super) fn weigh(&mut self, id: EntryId, weight: u32) {
        self.weights.0[id as usize] = weight;
    }

    /// Links an entry announced before.
    pub(super) fn link(&mut self, id: EntryId) {
        self.policy
            .insert(id, &Entries::new(&self.access, &self.weights));
    }

    pub(super) fn hit(&mut self, ids: impl IntoIterator<Item = EntryId>) {
        for id in ids {
            match self.policy.hit_mode() {
                HitMode::Ignore => {}
                HitMode::Count { max } => self.access.count(id, max),
                HitMode::Stamp => self.access.stamp(id, self.policy.era()),
                HitMode::Ordered => {
                    self.policy
                        .hit(id, &Entries::new(&self.access, &self.weights));
                }
            }
        }
    }

    /// The access byte of an entry.
    pub(super) fn access(&self, id: EntryId) -> u8 {
        self.access.get(id)
    }

    /// Replaces the value of `from`, which becomes `to`, without the hit that comes with it.
    pub(super) fn replace(&mut self, from: EntryId, to: EntryId) {
        self.weights.0[to as usize] = self.weights.0[from as usize];
        self.access.set(to, self.access.get(from));
        let entries = Entries::new(&self.access, &self.weights);
        self.policy.relocate(from, to, &entries);
    }

    pub(super) fn remove(&mut self, id: EntryId) {
        self.policy
            .remove(id, &Entries::new(&self.access, &self.weights));
    }

    /// The next `count` victims.
    pub(super) fn evict(&mut self, count: usize) -> Vec<EntryId> {
        let entries = Entries::new(&self.access, &self.weights);
        let victims = std::iter::from_fn(|| self.policy.evict(&entries))
            .take(count)
            .collect();
        self.policy.validate(&entries);
        victims
    }

    /// All victims, first to last.
    pub(super) fn drain(&mut self) -> Vec<EntryId> {
        self.evict(SLOTS)
    }
}
