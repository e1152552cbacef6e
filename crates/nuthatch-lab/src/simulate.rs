//! One policy, one trace, one thread: what a policy would have missed.
//!
//! [`Simulator`] drives the product's own policies through the contract of
//! [`EvictionPolicy`] just as the engines do: a miss announces the key with `prepare`, evicts while
//! there is no room and inserts; a hit touches the entry's access byte as the policy's
//! [`HitMode`] says; hits that fall into the policy's sample are delivered. What it leaves out is
//! what only an engine has: threads, values, expiry.
//!
//! Invariants: the resident entries' weights sum up to `used`, which never exceeds the capacity;
//! the index, the slots and the policy agree on which keys are resident.

use nuthatch::policy::{
    AccessBytes, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode, HitSampler,
};
use serde::Serialize;
use std::sync::Arc;

/// Marks a key that is not resident in [`Simulator::index`].
const ABSENT: EntryId = EntryId::MAX;

/// Slots that are reserved to begin with: as many as there may be entries, within these bounds.
const FEWEST_SLOTS: usize = 16;
const MOST_FIRST_SLOTS: usize = 1 << 20;

/// What a cache is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Every entry counts 1.
    Entries,
    /// Every entry counts its size.
    Bytes,
}

impl Bound {
    /// What it counts, in words.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Bytes => "bytes",
        }
    }

    /// The weight of an entry of this size.
    pub fn weight(self, size: u32) -> u32 {
        match self {
            Self::Entries => 1,
            Self::Bytes => size,
        }
    }
}

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key was resident.
    Hit,
    /// The key was not resident and has been inserted.
    Miss,
    /// The key was not resident, and its object is heavier than the whole cache.
    Bypass,
}

/// Requests and misses, by number and by bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests replayed.
    pub requests: u64,
    /// Requests that were not hits.
    pub misses: u64,
    /// Bytes of all requests.
    pub bytes: u64,
    /// Bytes of the requests that were not hits.
    pub missed_bytes: u64,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, size: u32, outcome: Outcome) {
        self.requests += 1;
        self.bytes += u64::from(size);
        if outcome != Outcome::Hit {
            self.misses += 1;
            self.missed_bytes += u64::from(size);
        }
    }

    /// Misses per request; 0 without requests.
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.requests.max(1) as f64
    }

    /// Missed bytes per requested byte; 0 without requests.
    pub fn byte_miss_ratio(&self) -> f64 {
        self.missed_bytes as f64 / self.bytes.max(1) as f64
    }
}

/// The hash that policies see of `key`: SplitMix64's finalizer, a bijection in which every bit of
/// the key reaches every bit of the hash.
pub fn key_hash(key: u64) -> u64 {
    let mut hash = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    weight: u32,
}

#[derive(Debug, Default)]
struct Slots {
    list: Vec<Slot>,
    /// By key, where hashes are not those of [`key_hash`].
    hashes: Option<Box<[u64]>>,
}

impl Slots {
    fn hash_of(&self, key: u64) -> u64 {
        match &self.hashes {
            Some(hashes) => hashes[key as usize],
            None => key_hash(key),
        }
    }
}

impl EntryFacts for Slots {
    fn hash(&self, id: EntryId) -> u64 {
        self.hash_of(self.list[id as usize].key)
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.list[id as usize].weight
    }
}

/// A cache of keys without values around one policy.
#[derive(Debug)]
pub struct Simulator {
    policy: Box<dyn EvictionPolicy>,
    hit_mode: HitMode,
    era: u8,
    sampler: Option<Arc<dyn HitSampler>>,
    access: AccessBytes,
    slots: Slots,
    free: Vec<EntryId>,
    /// Ids below this are reserved in `access` and in the policy.
    reserved: usize,
    /// By key: keys are dense numbers.
    index: Vec<EntryId>,
    bound: Bound,
    capacity: u64,
    used: u64,
    resident: usize,
    tally: Tally,
}

impl Simulator {
    /// An empty cache of `capacity` entries or bytes.
    pub fn new(mut policy: Box<dyn EvictionPolicy>, bound: Bound, capacity: u64) -> Self {
        policy.set_capacity(capacity);
        let entries = match bound {
            Bound::Entries => usize::try_from(capacity).unwrap_or(usize::MAX),
            Bound::Bytes => 0,
        };
        let first_slots = entries.clamp(FEWEST_SLOTS, MOST_FIRST_SLOTS);
        let mut simulator = Self {
            hit_mode: policy.hit_mode(),
            era: policy.era(),
            sampler: policy.sampler(),
            policy,
            access: AccessBytes::new(first_slots),
            slots: Slots::default(),
            free: Vec::new(),
            reserved: 0,
            index: Vec::new(),
            bound,
            capacity,
            used: 0,
            resident: 0,
            tally: Tally::default(),
        };
        simulator.reserve(first_slots);
        simulator
    }

    /// Lets the policy see these hashes, by key, instead of those of [`key_hash`]. A cache that
    /// gives its policy the same ones has the same luck with them.
    ///
    /// # Panics
    /// If a key was asked for already; later, if one is asked for that has no hash here.
    pub fn with_hashes(mut self, hashes: impl Into<Box<[u64]>>) -> Self {
        assert!(
            self.index.is_empty(),
            "the policy has not seen other hashes"
        );
        self.slots.hashes = Some(hashes.into());
        self
    }

    /// Replays one request. Keys must be dense numbers, as in every trace: memory grows with the
    /// largest one.
    pub fn request(&mut self, key: u64, size: u32) -> Outcome {
        self.request_observed(key, size, &mut |_| {})
    }

    /// As [`request`](Self::request), and shows `evicted` the key of each victim.
    pub fn request_observed(
        &mut self,
        key: u64,
        size: u32,
        evicted: &mut dyn FnMut(u64),
    ) -> Outcome {
        let at = usize::try_from(key).expect("keys are dense numbers");
        if at >= self.index.len() {
            self.index.resize((at + 1).next_power_of_two(), ABSENT);
        }
        let outcome = match self.index[at] {
            ABSENT => self.miss(key, size, evicted),
            id => self.hit(id),
        };
        self.tally.count(size, outcome);
        outcome
    }

    /// Takes a key out, as an invalidation would; tells whether it was resident.
    pub fn remove(&mut self, key: u64) -> bool {
        match self.index.get(key as usize) {
            None | Some(&ABSENT) => false,
            Some(&id) => {
                self.policy
                    .remove(id, &Entries::new(&self.access, &self.slots));
                self.forget(id);
                true
            }
        }
    }

    /// Requests and misses so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Entries that are resident.
    pub fn len(&self) -> usize {
        self.resident
    }

    /// Whether no entry is resident.
    pub fn is_empty(&self) -> bool {
        self.resident == 0
    }

    /// Weight that is resident.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Recounts everything from scratch, the policy included.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn validate(&self) {
        let resident: Vec<_> = (0..)
            .zip(&self.index)
            .filter(|&(_, &id)| id != ABSENT)
            .collect();
        let mut used = 0;
        for &(key, &id) in &resident {
            let slot = self.slots.list[id as usize];
            assert_eq!(slot.key, key, "the index and slot {id} agree on the key");
            used += u64::from(slot.weight);
        }
        assert_eq!(
            self.resident,
            resident.len(),
            "the number of entries is right"
        );
        assert_eq!(
            self.policy.len(),
            resident.len(),
            "the policy holds the resident entries"
        );
        assert_eq!(self.used, used, "the weight is right");
        assert!(
            self.used <= self.capacity,
            "the weight is within the capacity"
        );
        assert_eq!(
            self.slots.list.len(),
            resident.len() + self.free.len(),
            "no slot is lost"
        );
        self.policy
            .validate(&Entries::new(&self.access, &self.slots));
    }

    fn hit(&mut self, id: EntryId) -> Outcome {
        match self.hit_mode {
            HitMode::Ignore => {}
            HitMode::Count { max } => self.access.count(id, max),
            HitMode::Stamp => self.access.stamp(id, self.era),
            HitMode::Ordered => self
                .policy
                .hit(id, &Entries::new(&self.access, &self.slots)),
        }
        if let Some(sampler) = &self.sampler {
            let hash = self.slots.hash(id);
            if (hash as u32) < sampler.threshold() {
                sampler.hits(&[hash]);
            }
        }
        Outcome::Hit
    }

    fn miss(&mut self, key: u64, size: u32, evicted: &mut dyn FnMut(u64)) -> Outcome {
        let weight = self.bound.weight(size);
        if u64::from(weight) > self.capacity {
            return Outcome::Bypass;
        }
        self.policy.prepare(self.slots.hash_of(key), weight);
        while self.used + u64::from(weight) > self.capacity {
            let entries = Entries::new(&self.access, &self.slots);
            let victim = self
                .policy
                .evict(&entries)
                .expect("a cache without room has a victim");
            evicted(self.slots.list[victim as usize].key);
            self.forget(victim);
        }
        let id = self.allocate(Slot { key, weight });
        self.index[key as usize] = id;
        self.used += u64::from(weight);
        self.resident += 1;
        self.policy
            .insert(id, &Entries::new(&self.access, &self.slots));
        self.era = self.policy.era();
        Outcome::Miss
    }

    fn allocate(&mut self, slot: Slot) -> EntryId {
        if let Some(id) = self.free.pop() {
            self.slots.list[id as usize] = slot;
            return id;
        }
        let id = self.slots.list.len();
        if id == self.reserved {
            // A policy may size its history by the slots, so there are not many more than entries.
            self.reserve(id + id / 2);
        }
        self.slots.list.push(slot);
        id as EntryId
    }

    fn reserve(&mut self, slots: usize) {
        self.access.reserve(slots);
        self.policy.reserve(slots);
        self.reserved = slots;
    }

    fn forget(&mut self, id: EntryId) {
        let slot = self.slots.list[id as usize];
        let indexed = std::mem::replace(&mut self.index[slot.key as usize], ABSENT);
        assert_eq!(indexed, id, "the policy evicts resident entries");
        self.used -= u64::from(slot.weight);
        self.resident -= 1;
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch::policy::Links;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Sample {
        hashes: Mutex<Vec<u64>>,
    }

    impl HitSampler for Sample {
        fn threshold(&self) -> u32 {
            1 << 31
        }

        fn hits(&self, hashes: &[u64]) {
            self.hashes.lock().unwrap().extend(hashes);
        }
    }

    /// First in, first out, with everything that the contract lets a policy see on record.
    #[derive(Debug)]
    struct Recorder {
        links: Links,
        hit_mode: HitMode,
        log: Arc<Mutex<Vec<String>>>,
        sample: Arc<Sample>,
        inserts: u8,
        slots: usize,
    }

    impl Recorder {
        fn new(hit_mode: HitMode) -> Self {
            Self {
                links: Links::new(1),
                hit_mode,
                log: Arc::default(),
                sample: Arc::default(),
                inserts: 0,
                slots: 0,
            }
        }

        fn log(&self, line: String) {
            self.log.lock().unwrap().push(line);
        }
    }

    impl EvictionPolicy for Recorder {
        fn hit_mode(&self) -> HitMode {
            self.hit_mode
        }

        fn era(&self) -> u8 {
            self.inserts
        }

        fn sampler(&self) -> Option<Arc<dyn HitSampler>> {
            Some(self.sample.clone())
        }

        fn reserve(&mut self, slots: usize) {
            self.slots = slots;
            self.links.reserve(slots);
        }

        fn set_capacity(&mut self, capacity: u64) {
            self.log(format!("capacity {capacity}"));
        }

        fn prepare(&mut self, hash: u64, weight: u32) {
            self.log(format!("prepare {hash:x} {weight}"));
        }

        fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
            assert!(
                (id as usize) < self.slots,
                "ids are reserved before they are used"
            );
            self.log(format!(
                "insert {:x} {}",
                entries.hash(id),
                entries.weight(id)
            ));
            entries.set_access(id, 0);
            self.inserts = self.inserts.wrapping_add(1);
            self.links.push_back(0, id);
        }

        fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
            self.log(format!("hit {:x}", entries.hash(id)));
        }

        fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
            let id = self.links.pop_front(0)?;
            self.log(format!(
                "evict {:x} access {}",
                entries.hash(id),
                entries.access(id)
            ));
            Some(id)
        }

        fn remove(&mut self, id: EntryId, _: &Entries<'_>) {
            self.links.remove(id);
        }

        fn relocate(&mut self, from: EntryId, to: EntryId, _: &Entries<'_>) {
            self.links.replace(from, to);
        }

        fn clear(&mut self) {
            self.links.clear();
        }

        fn len(&self) -> usize {
            self.links.len(0)
        }

        fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
            self.links.iter(0).for_each(visit);
        }

        fn validate(&self, _: &Entries<'_>) {
            self.links.validate();
        }
    }

    fn replay(mode: HitMode, bound: Bound, capacity: u64, requests: &[(u64, u32)]) -> Vec<String> {
        let policy = Recorder::new(mode);
        let log = policy.log.clone();
        let mut simulator = Simulator::new(Box::new(policy), bound, capacity);
        for &(key, size) in requests {
            simulator.request(key, size);
            simulator.validate();
        }
        std::mem::take(&mut *log.lock().unwrap())
    }

    #[test]
    fn a_miss_prepares_then_evicts_then_inserts() {
        let [a, b] = [0, 1].map(key_hash);
        assert_eq!(
            replay(HitMode::Ignore, Bound::Entries, 1, &[(0, 9), (1, 9)]),
            [
                "capacity 1".to_owned(),
                format!("prepare {a:x} 1"),
                format!("insert {a:x} 1"),
                format!("prepare {b:x} 1"),
                format!("evict {a:x} access 0"),
                format!("insert {b:x} 1"),
            ]
        );
    }

    #[test]
    fn by_bytes_as_many_leave_as_the_new_one_needs() {
        let log = replay(
            HitMode::Ignore,
            Bound::Bytes,
            10,
            &[(0, 4), (1, 4), (2, 2), (3, 7)],
        );
        let evicted = log.iter().filter(|line| line.starts_with("evict")).count();
        assert_eq!(evicted, 2);
    }

    #[test]
    fn an_object_heavier_than_the_cache_is_bypassed_unseen() {
        let policy = Recorder::new(HitMode::Ignore);
        let log = policy.log.clone();
        let mut simulator = Simulator::new(Box::new(policy), Bound::Bytes, 10);
        assert_eq!(simulator.request(0, 10), Outcome::Miss);
        assert_eq!(simulator.request(1, 11), Outcome::Bypass);
        assert_eq!(simulator.request(0, 99), Outcome::Hit);
        assert_eq!(
            log.lock().unwrap().len(),
            3,
            "capacity, prepare and insert of the first"
        );
        let tally = Tally {
            requests: 3,
            misses: 2,
            bytes: 120,
            missed_bytes: 21,
        };
        assert_eq!(simulator.tally(), tally);
    }

    #[test]
    fn counted_hits_saturate() {
        let mode = HitMode::Count { max: 3 };
        let mut requests = vec![(0, 1); 9];
        requests.push((1, 1));
        let log = replay(mode, Bound::Entries, 1, &requests);
        assert!(log.contains(&format!("evict {:x} access 3", key_hash(0))));
    }

    #[test]
    fn stamped_hits_carry_the_era_after_the_last_insert() {
        let requests = [(0, 1), (1, 1), (0, 1), (2, 1)];
        let log = replay(HitMode::Stamp, Bound::Entries, 2, &requests);
        assert!(log.contains(&format!("evict {:x} access 2", key_hash(0))));
    }

    #[test]
    fn ordered_hits_reach_the_policy_one_by_one() {
        let requests = [(0, 1), (1, 1), (0, 1), (1, 1), (1, 1)];
        let log = replay(HitMode::Ordered, Bound::Entries, 2, &requests);
        let hits = [0, 1, 1].map(|key| format!("hit {:x}", key_hash(key)));
        assert_eq!(log[log.len() - 3..], hits);
    }

    #[test]
    fn hits_in_the_sample_are_delivered_whatever_the_mode() {
        let policy = Recorder::new(HitMode::Ignore);
        let sample = policy.sample.clone();
        let mut simulator = Simulator::new(Box::new(policy), Bound::Entries, 64);
        for key in (0..64).chain(0..64) {
            simulator.request(key, 1);
        }
        let sampled: Vec<_> = (0..64)
            .map(key_hash)
            .filter(|&hash| (hash as u32) < 1 << 31)
            .collect();
        assert!((20..44).contains(&sampled.len()), "about a half is sampled");
        assert_eq!(*sample.hashes.lock().unwrap(), sampled);
    }

    #[test]
    fn slots_grow_past_the_first_guess_and_are_reused() {
        let mut simulator = Simulator::new(
            Box::new(Recorder::new(HitMode::Ignore)),
            Bound::Bytes,
            5_000,
        );
        for key in 0..20_000 {
            simulator.request(key, 1);
        }
        simulator.validate();
        assert_eq!((simulator.len(), simulator.used()), (5_000, 5_000));
    }

    #[test]
    fn a_removed_key_is_missed_again() {
        let mut simulator =
            Simulator::new(Box::new(Recorder::new(HitMode::Ignore)), Bound::Entries, 4);
        simulator.request(0, 1);
        assert!(simulator.remove(0));
        assert!(!simulator.remove(0));
        assert!(simulator.is_empty());
        assert_eq!(simulator.request(0, 1), Outcome::Miss);
        simulator.validate();
    }
}
