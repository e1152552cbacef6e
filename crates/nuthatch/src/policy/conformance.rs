//! The suite that every policy must pass: the built-in ones in our tests, yours in your own.
//!
//! [`check`] drives a policy as a cache would, by random operations of every kind, beside a plain
//! model that knows which entries are resident. After each step the policy's own
//! [`validate`](EvictionPolicy::validate) runs and the policy must hold exactly the entries of the
//! model; what it evicts must be one of them. The scenarios cover caches of one entry and of many,
//! weights of 0 and weights above a shard's share, one shard and several. [`check_order`] holds a
//! policy to the order that it tells by [`rank`](EvictionPolicy::rank).
//!
//! ```
//! use nuthatch::Policy;
//! use nuthatch::policy::conformance;
//! conformance::check(&Policy::Lru);
//! conformance::check_order(&Policy::Lru);
//! ```

use super::random::SplitMix64;
use super::{
    AccessBytes, BuiltPolicy, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode, HitSampler,
    Policy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Drives the policy through every scenario. It takes about a second without optimization.
///
/// # Panics
/// If the policy breaks its contract.
pub fn check(policy: &Policy) {
    for scenario in SCENARIOS {
        let mut cache = Cache::new(policy, scenario);
        for _ in 0..scenario.steps {
            cache.step();
            cache.validate();
        }
        cache.drain();
    }
}

/// Holds the policy to evicting in the order of its [`rank`](EvictionPolicy::rank), as long as
/// nothing else happens. A policy that counts hits is asked with all counts at 0.
///
/// The contract does not demand this: not of a policy that chooses by lot, nor of one to which it
/// matters which key comes in.
///
/// # Panics
/// If the order differs.
pub fn check_order(policy: &Policy) {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.shards == 1) {
        let mut cache = Cache::new(policy, scenario);
        for _ in 0..20 {
            for _ in 0..scenario.steps / 20 {
                cache.step();
            }
            cache.evict_in_order();
        }
    }
}

/// A cache to drive a policy in.
#[derive(Debug)]
struct Scenario {
    shards: usize,
    capacity: u64,
    /// Weights are chosen from 0 to this; a cache bounded by entries has only weights of 1.
    heaviest: Option<u32>,
    steps: usize,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        shards: 1,
        capacity: 1,
        heaviest: None,
        steps: 500,
    },
    Scenario {
        shards: 1,
        capacity: 7,
        heaviest: None,
        steps: 2_000,
    },
    Scenario {
        shards: 1,
        capacity: 100,
        heaviest: None,
        steps: 4_000,
    },
    Scenario {
        shards: 3,
        capacity: 100,
        heaviest: None,
        steps: 3_000,
    },
    Scenario {
        shards: 1,
        capacity: 1_000,
        heaviest: Some(40),
        steps: 4_000,
    },
    Scenario {
        shards: 4,
        capacity: 400,
        heaviest: Some(150),
        steps: 3_000,
    },
];

/// What an entry of a [`Shard`] is.
#[derive(Clone, Copy, Debug, Default)]
struct Fact {
    key: u64,
    weight: u32,
}

#[derive(Debug, Default)]
struct Facts(Vec<Fact>);

impl EntryFacts for Facts {
    fn hash(&self, id: EntryId) -> u64 {
        hash(self.0[id as usize].key)
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.0[id as usize].weight
    }
}

fn hash(key: u64) -> u64 {
    SplitMix64::new(key).next()
}

/// A policy and the entries that it should hold.
#[derive(Debug)]
struct Shard {
    policy: BuiltPolicy,
    access: AccessBytes,
    facts: Facts,
    resident: BTreeSet<EntryId>,
    free: Vec<EntryId>,
}

impl Shard {
    fn new(policy: BuiltPolicy) -> Self {
        // A power of two, so that every id below the number of slots exists.
        let slots = 16;
        let mut shard = Self {
            policy,
            access: AccessBytes::new(slots),
            facts: Facts::default(),
            resident: BTreeSet::new(),
            free: Vec::new(),
        };
        shard.reserve(slots);
        shard
    }

    fn reserve(&mut self, slots: usize) {
        self.access.reserve(slots);
        self.policy.reserve(slots);
        self.free
            .extend(self.facts.0.len() as EntryId..slots as EntryId);
        self.facts.0.resize(slots, Fact::default());
    }

    /// Takes a free id, any of them, for an entry. Its access byte is left as it was.
    fn allocate(&mut self, fact: Fact, random: &mut SplitMix64) -> EntryId {
        if self.free.is_empty() {
            self.reserve(self.facts.0.len() * 2);
        }
        let place = random.below(self.free.len() as u32);
        let id = self.free.swap_remove(place as usize);
        self.facts.0[id as usize] = fact;
        self.resident.insert(id);
        id
    }

    fn release(&mut self, id: EntryId) -> Fact {
        assert!(self.resident.remove(&id), "entry {id} is resident");
        self.free.push(id);
        self.facts.0[id as usize]
    }

    /// Lets the policy choose a victim.
    fn evict(&mut self) -> Option<Fact> {
        let entries = Entries::new(&self.access, &self.facts);
        let Some(id) = self.policy.evict(&entries) else {
            assert!(
                self.resident.is_empty(),
                "a policy with entries has a victim"
            );
            return None;
        };
        assert!(self.resident.contains(&id), "victim {id} was resident");
        Some(self.release(id))
    }

    fn rank(&self) -> Vec<EntryId> {
        let mut ranked = Vec::new();
        self.policy.rank(&mut |id| ranked.push(id));
        ranked
    }

    fn validate(&self) {
        self.policy
            .validate(&Entries::new(&self.access, &self.facts));
        assert_eq!(
            self.policy.len(),
            self.resident.len(),
            "the number of entries"
        );
        assert_eq!(self.policy.is_empty(), self.resident.is_empty());
        let mut ranked = self.rank();
        ranked.sort_unstable();
        assert!(
            self.resident.iter().eq(&ranked),
            "the policy ranks each resident entry once: {ranked:?} are not {:?}",
            self.resident
        );
    }
}

/// A cache of keys without values, spread over shards that borrow capacity from each other.
#[derive(Debug)]
struct Cache {
    shards: Vec<Shard>,
    hit_mode: HitMode,
    sampler: Option<Arc<dyn HitSampler>>,
    /// By key: its shard and id.
    index: BTreeMap<u64, (usize, EntryId)>,
    used: u64,
    capacity: u64,
    keys: u32,
    heaviest: Option<u32>,
    random: SplitMix64,
}

impl Cache {
    fn new(policy: &Policy, scenario: &Scenario) -> Self {
        let capacity = scenario.capacity;
        let built = policy.build(capacity, scenario.shards, 16, 1);
        let mean_weight = scenario
            .heaviest
            .map_or(1, |heaviest| u64::from(heaviest) / 2);
        Self {
            hit_mode: built[0].hit_mode(),
            sampler: built[0].sampler(),
            shards: built.into_iter().map(Shard::new).collect(),
            index: BTreeMap::new(),
            used: 0,
            capacity,
            keys: (capacity / mean_weight) as u32 * 3 + 3,
            heaviest: scenario.heaviest,
            random: SplitMix64::new(2),
        }
    }

    /// Does one random thing.
    fn step(&mut self) {
        // Low keys come up more often than high ones.
        let key = self
            .random
            .below(self.keys)
            .min(self.random.below(self.keys));
        let key = u64::from(key);
        match self.random.below(1000) {
            0..700 => self.request(key),
            700..800 => self.replace(key),
            800..900 => self.remove(key),
            900..910 => self.scribble(),
            910..960 => {
                let shard = self.random.below(self.shards.len() as u32);
                self.evict(shard as usize);
            }
            960..990 => self.resize(),
            990..998 => self.reserve(),
            _ => self.clear(),
        }
    }

    fn request(&mut self, key: u64) {
        let weight = self.weight();
        match self.index.get(&key) {
            Some(&(shard, id)) => self.hit(shard, id),
            None if u64::from(weight) <= self.capacity => self.insert(Fact { key, weight }),
            None => {}
        }
    }

    fn weight(&mut self) -> u32 {
        self.heaviest
            .map_or(1, |heaviest| self.random.below(heaviest + 1))
    }

    fn hit(&mut self, shard: usize, id: EntryId) {
        let Shard {
            policy,
            access,
            facts,
            ..
        } = &mut self.shards[shard];
        match self.hit_mode {
            HitMode::Ignore => {}
            HitMode::Count { max } => access.count(id, max),
            HitMode::Stamp => access.stamp(id, policy.era()),
            HitMode::Ordered => policy.hit(id, &Entries::new(access, facts)),
        }
        let hash = facts.hash(id);
        if let Some(sampler) = &self.sampler
            && (hash as u32) < sampler.threshold()
        {
            sampler.hits(&[hash]);
        }
    }

    fn insert(&mut self, fact: Fact) {
        let hash = hash(fact.key);
        let at = (hash >> 32) as usize % self.shards.len();
        self.shards[at].policy.prepare(hash, fact.weight);
        self.make_room(at, u64::from(fact.weight));
        self.used += u64::from(fact.weight);
        let shard = &mut self.shards[at];
        let id = shard.allocate(fact, &mut self.random);
        let entries = Entries::new(&shard.access, &shard.facts);
        shard.policy.insert(id, &entries);
        self.index.insert(fact.key, (at, id));
    }

    /// Evicts from `shard`, and from the others once it is empty, until `weight` fits.
    fn make_room(&mut self, shard: usize, weight: u64) {
        let mut at = shard;
        while self.used + weight > self.capacity {
            if !self.evict(at) {
                at = (at + 1) % self.shards.len();
                assert_ne!(at, shard, "a cache without room has a victim");
            }
        }
    }

    fn evict(&mut self, shard: usize) -> bool {
        let Some(victim) = self.shards[shard].evict() else {
            return false;
        };
        self.index.remove(&victim.key);
        self.used -= u64::from(victim.weight);
        true
    }

    /// Replaces a value, which may change its weight.
    fn replace(&mut self, key: u64) {
        let weight = self.weight();
        let Some(&(at, from)) = self.index.get(&key) else {
            return;
        };
        if u64::from(weight) > self.capacity {
            return;
        }
        let shard = &mut self.shards[at];
        let to = shard.allocate(Fact { key, weight }, &mut self.random);
        shard.access.set(to, shard.access.get(from));
        let entries = Entries::new(&shard.access, &shard.facts);
        shard.policy.relocate(from, to, &entries);
        let old = shard.release(from);
        self.used = self.used - u64::from(old.weight) + u64::from(weight);
        self.index.insert(key, (at, to));
        self.hit(at, to);
        self.make_room(at, 0);
    }

    fn remove(&mut self, key: u64) {
        let Some((at, id)) = self.index.remove(&key) else {
            return;
        };
        let shard = &mut self.shards[at];
        let entries = Entries::new(&shard.access, &shard.facts);
        shard.policy.remove(id, &entries);
        self.used -= u64::from(shard.release(id).weight);
    }

    /// Halves the capacity, doubles it, or leaves it: as likely to shrink as to grow.
    fn resize(&mut self) {
        let shards = self.shards.len() as u64;
        let most = 2 * u64::from(self.keys) * u64::from(self.heaviest.unwrap_or(1));
        self.capacity = match self.random.below(2) {
            0 => (self.capacity / 2).max(1),
            _ => (self.capacity * 2).min(most),
        };
        for shard in &mut self.shards {
            shard.policy.set_capacity(self.capacity / shards);
        }
        self.make_room(0, 0);
    }

    /// Leaves some byte with an entry, as readers do that were told so by another policy.
    fn scribble(&mut self) {
        let byte = match self.random.below(3) {
            0 => u8::MAX,
            1 => self.random.below(8) as u8,
            _ => self.random.below(256) as u8,
        };
        let key = self.random.below(self.keys);
        if let Some(&(shard, id)) = self.index.get(&u64::from(key)) {
            self.shards[shard].access.set(id, byte);
        }
    }

    fn reserve(&mut self) {
        let at = self.random.below(self.shards.len() as u32);
        let shard = &mut self.shards[at as usize];
        if shard.facts.0.len() < 512 {
            shard.reserve(shard.facts.0.len() * 2);
        }
    }

    fn clear(&mut self) {
        for shard in &mut self.shards {
            shard.policy.clear();
            let resident = std::mem::take(&mut shard.resident);
            shard.free.extend(resident);
        }
        self.index.clear();
        self.used = 0;
    }

    /// Evicts everything, and finds the policy as good as new.
    fn drain(&mut self) {
        for shard in 0..self.shards.len() {
            while self.evict(shard) {}
        }
        assert_eq!(
            (self.used, self.index.len()),
            (0, 0),
            "every entry was evicted"
        );
        for key in 0..u64::from(self.keys) {
            self.request(key);
            self.validate();
        }
    }

    /// Evicts everything from the only shard, which must follow the order it told.
    fn evict_in_order(&mut self) {
        let shard = &mut self.shards[0];
        if let HitMode::Count { .. } = self.hit_mode {
            for &id in &shard.resident {
                shard.access.set(id, 0);
            }
        }
        for id in shard.rank() {
            let told = shard.facts.0[id as usize].key;
            let evicted = shard.evict().map(|victim| victim.key);
            assert_eq!(
                evicted,
                Some(told),
                "the order of eviction is the order told"
            );
        }
        self.index.clear();
        self.used = 0;
    }

    fn validate(&self) {
        let resident: usize = self.shards.iter().map(|shard| shard.resident.len()).sum();
        assert_eq!(resident, self.index.len(), "the model agrees with itself");
        self.shards.iter().for_each(Shard::validate);
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, Scenario, check, check_order};
    use crate::policy::fifo::Fifo;
    use crate::policy::{Entries, EntryId, EvictionPolicy, HitMode, Policy, PolicySetup, steps};

    /// Every built-in policy, and some with other parameters.
    fn policies() -> Vec<Policy> {
        let names = Policy::built_in().iter().map(|info| info.name);
        let variants = [
            "clock:3",
            "slru:0.01",
            "dlfu:0",
            "dlfu:1",
            "sampled_lru:1",
            "s3_fifo:0.5:1",
            "s3_fifo:0.01:3",
            "two_q:0.9",
            "lirs:0.5",
            "w_tiny_lfu:0.2",
            "w_tiny_lfu:0.99",
        ];
        let parse = |name: &str| name.parse().expect("the table's names parse");
        names.chain(variants).map(parse).collect()
    }

    #[test]
    fn every_policy_keeps_the_contract() {
        policies().iter().for_each(check);
    }

    #[test]
    fn policies_with_a_fixed_order_evict_in_the_order_they_tell() {
        let ordered = [
            "fifo", "clock", "lru", "slru", "lfu", "dlfu", "sieve", "gdsf",
        ];
        for name in ordered {
            check_order(&name.parse().expect(name));
        }
    }

    /// The keys left after some thousand steps with this seed.
    fn survivors(policy: &Policy, seed: u64) -> Vec<u64> {
        let mut cache = Cache::new(policy, &LARGE);
        let built = policy.build(LARGE.capacity, 1, 16, seed);
        cache.shards = built.into_iter().map(super::Shard::new).collect();
        for _ in 0..LARGE.steps {
            let key = cache
                .random
                .below(cache.keys)
                .min(cache.random.below(cache.keys));
            cache.request(u64::from(key));
        }
        cache.index.into_keys().collect()
    }

    const LARGE: Scenario = Scenario {
        shards: 1,
        capacity: 400,
        heaviest: None,
        steps: 4_000,
    };

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        for policy in policies() {
            assert_eq!(survivors(&policy, 5), survivors(&policy, 5), "{policy}");
        }
        let sampled = Policy::sampled_lru();
        assert_ne!(survivors(&sampled, 5), survivors(&sampled, 6));
    }

    /// List operations per request of a cache of `capacity` entries, over many evictions.
    fn work(policy: &Policy, capacity: u64) -> u64 {
        let scenario = Scenario {
            shards: 1,
            capacity,
            heaviest: None,
            steps: 0,
        };
        let mut cache = Cache::new(policy, &scenario);
        let before = steps::taken();
        let requests = 10 * capacity;
        for _ in 0..requests {
            let key = cache
                .random
                .below(cache.keys)
                .min(cache.random.below(cache.keys));
            cache.request(u64::from(key));
        }
        (steps::taken() - before) / requests
    }

    #[test]
    fn work_per_request_does_not_grow_with_the_cache() {
        for policy in policies() {
            let (small, large) = (work(&policy, 200), work(&policy, 5_000));
            assert!(
                large <= small + small / 4 + 1,
                "{policy}: {small}, then {large}"
            );
            assert!(large <= 40, "{policy}: {large} list operations per request");
        }
    }

    /// FIFO with one fault.
    #[derive(Debug)]
    struct Faulty {
        fifo: Fifo,
        fault: Fault,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        ForgetsNoVictim,
        SparesTheLast,
        IgnoresRemoval,
        LosesTheReplaced,
        KeepsWhatIsCleared,
        RanksBackwards,
        RanksOneTwice,
    }

    impl EvictionPolicy for Faulty {
        fn hit_mode(&self) -> HitMode {
            HitMode::Ignore
        }

        fn reserve(&mut self, slots: usize) {
            self.fifo.reserve(slots);
        }

        fn set_capacity(&mut self, capacity: u64) {
            self.fifo.set_capacity(capacity);
        }

        fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
            self.fifo.insert(id, entries);
        }

        fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
            if self.fault == Fault::SparesTheLast && self.len() == 1 {
                return None;
            }
            let victim = self.fifo.evict(entries)?;
            if self.fault == Fault::ForgetsNoVictim {
                self.fifo.insert(victim, entries);
            }
            Some(victim)
        }

        fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
            if self.fault != Fault::IgnoresRemoval {
                self.fifo.remove(id, entries);
            }
        }

        fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
            if self.fault == Fault::LosesTheReplaced {
                self.fifo.remove(from, entries);
            } else {
                self.fifo.relocate(from, to, entries);
            }
        }

        fn clear(&mut self) {
            if self.fault != Fault::KeepsWhatIsCleared {
                self.fifo.clear();
            }
        }

        fn len(&self) -> usize {
            self.fifo.len()
        }

        fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
            let mut ids = Vec::new();
            self.fifo.rank(&mut |id| ids.push(id));
            match self.fault {
                Fault::RanksBackwards => ids.reverse(),
                Fault::RanksOneTwice if ids.len() > 1 => ids[1] = ids[0],
                _ => {}
            }
            ids.into_iter().for_each(visit);
        }

        fn validate(&self, entries: &Entries<'_>) {
            self.fifo.validate(entries);
        }
    }

    #[test]
    fn every_fault_is_found() {
        let found = |fault, check: fn(&Policy)| {
            let build = move |_: &PolicySetup| Faulty {
                fifo: Fifo::new(),
                fault,
            };
            std::panic::catch_unwind(|| check(&Policy::custom("faulty", build))).is_err()
        };
        for fault in [
            Fault::ForgetsNoVictim,
            Fault::SparesTheLast,
            Fault::IgnoresRemoval,
            Fault::LosesTheReplaced,
            Fault::KeepsWhatIsCleared,
            Fault::RanksOneTwice,
        ] {
            assert!(found(fault, check), "{fault:?}");
        }
        assert!(!found(Fault::RanksBackwards, check));
        assert!(found(Fault::RanksBackwards, check_order));
    }
}
