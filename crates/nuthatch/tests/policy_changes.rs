//! A running cache changes its policy: nothing is lost, the order stays, hits go on.

use nuthatch::policy::{Entries, EntryId, EvictionPolicy, HitMode, HitSampler, PolicySetup};
use nuthatch::{Cache, Engine, Policy, RemovalCause};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn built_in() -> impl Iterator<Item = Policy> {
    let names = Policy::built_in().iter().map(|info| info.name);
    names.map(|name| name.parse().expect("its own name"))
}

fn cache(policy: Policy, engine: Engine, capacity: u64, shards: usize) -> Cache<u64, u64> {
    let builder = Cache::builder().policy(policy).engine(engine);
    builder.capacity(capacity).shards(shards).build().unwrap()
}

/// The keys in the order in which they are evicted for new ones.
fn eviction_order(cache: &Cache<u64, u64>, keys: u64) -> Vec<u64> {
    let mut left: Vec<u64> = (0..keys).collect();
    let mut order = Vec::new();
    for newcomer in 1_000..1_000 + keys {
        cache.insert(newcomer, 0);
        let (stay, go) = left.iter().partition(|&key| cache.contains_key(key));
        left = stay;
        order.extend::<Vec<u64>>(go);
    }
    order
}

#[test]
fn every_policy_takes_over_from_every_other() {
    for engine in [Engine::LockFree, Engine::Locked] {
        for from in built_in() {
            for to in built_in() {
                let cache = cache(from.clone(), engine, 64, 2);
                for key in 0..100 {
                    cache.insert(key, key);
                    cache.get(&(key / 2));
                }
                cache.pin(&99);
                let mut before: Vec<u64> = cache.iter().map(|entry| *entry.key()).collect();
                let evicted = cache.stats().evicted;
                cache.set_policy(to.clone());
                cache.validate();
                assert_eq!(cache.policy(), to);
                let mut after: Vec<u64> = cache.iter().map(|entry| *entry.key()).collect();
                before.sort_unstable();
                after.sort_unstable();
                assert_eq!(before, after, "{from} to {to}");
                assert_eq!(cache.stats().evicted, evicted, "{from} to {to}");
                for key in 200..400 {
                    cache.get(&(key - 10));
                    cache.insert(key, key);
                    cache.insert(key - 5, key);
                }
                cache.validate();
                assert_eq!(cache.len(), 64, "{from} to {to}");
                assert_eq!(cache.get(&99), Some(99), "what is pinned stays pinned");
            }
        }
    }
}

#[test]
fn the_new_policy_evicts_in_the_old_ones_order_at_first() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let cache = cache(Policy::Lru, engine, 6, 1);
        cache.insert_many((0..6).map(|key| (key, key)));
        for key in [3, 0, 5] {
            cache.get(&key);
        }
        cache.set_policy(Policy::Fifo);
        assert_eq!(eviction_order(&cache, 6), [1, 2, 4, 3, 0, 5], "{engine}");
    }
}

#[test]
fn hits_are_told_as_the_policy_in_force_wants_them() {
    let modes = ["lru", "sieve", "fifo", "clock:3", "sampled_lru:64", "lfu"];
    for engine in [Engine::LockFree, Engine::Locked] {
        for from in modes {
            for to in ["lru", "sieve", "clock:3", "lfu", "sampled_lru:64"] {
                let cache = cache(from.parse().unwrap(), engine, 100, 1);
                cache.insert_many((0..100).map(|key| (key, key)));
                cache.get(&20);
                cache.set_policy(to.parse().unwrap());
                // Stamps tell entries apart by the era that they were used in.
                cache.insert_many((90..100).map(|key| (key, key)));
                cache.get(&7);
                cache.insert_many((1_000..1_005).map(|key| (key, key)));
                assert_eq!(cache.get(&7), Some(7), "{from} to {to} on {engine}");
                cache.validate();
            }
            let cache = cache(from.parse().unwrap(), engine, 4, 1);
            cache.insert_many((0..4).map(|key| (key, key)));
            cache.set_policy(Policy::Fifo);
            cache.get(&0);
            cache.insert(9, 9);
            assert_eq!(cache.len(), 4);
        }
    }
}

/// First in, first out, and hears of samples.
#[derive(Debug)]
struct Own {
    queue: Vec<EntryId>,
    hears: Arc<Heard>,
    mode: HitMode,
}

#[derive(Debug, Default)]
struct Heard {
    threshold: AtomicU32,
    sampled: AtomicU64,
    hits: AtomicU64,
    panics: AtomicBool,
    setups: Mutex<Vec<PolicySetup>>,
}

impl HitSampler for Heard {
    fn threshold(&self) -> u32 {
        self.threshold.load(Ordering::Relaxed)
    }

    fn hits(&self, hashes: &[u64]) {
        self.sampled
            .fetch_add(hashes.len() as u64, Ordering::Relaxed);
    }
}

impl EvictionPolicy for Own {
    fn hit_mode(&self) -> HitMode {
        self.mode
    }

    fn sampler(&self) -> Option<Arc<dyn HitSampler>> {
        Some(self.hears.clone())
    }

    fn reserve(&mut self, _slots: usize) {}

    fn set_capacity(&mut self, _capacity: u64) {}

    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        let panics = self.hears.panics.load(Ordering::Relaxed);
        assert!(!panics || self.queue.len() < 10, "as it was told");
        self.queue.push(id);
    }

    fn hit(&mut self, id: EntryId, _entries: &Entries<'_>) {
        assert_eq!(self.mode, HitMode::Ordered, "it does not want to know");
        assert!(self.queue.contains(&id));
        self.hears.hits.fetch_add(1, Ordering::Relaxed);
    }

    fn evict(&mut self, _entries: &Entries<'_>) -> Option<EntryId> {
        (!self.queue.is_empty()).then(|| self.queue.remove(0))
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.queue.retain(|&other| other != id);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        let id = self.queue.iter_mut().find(|id| **id == from);
        *id.expect("it is resident") = to;
    }

    fn clear(&mut self) {
        self.queue.clear();
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.queue.iter().copied().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {}
}

fn own(hears: &Arc<Heard>, mode: HitMode) -> Policy {
    let hears = Arc::clone(hears);
    Policy::custom("own", move |setup| {
        hears.setups.lock().unwrap().push(*setup);
        Own {
            queue: Vec::new(),
            hears: Arc::clone(&hears),
            mode,
        }
    })
}

#[test]
fn a_policy_of_ones_own_takes_over_and_hears_of_hits_and_samples() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let hears: Arc<Heard> = Arc::default();
        hears.threshold.store(u32::MAX, Ordering::Relaxed);
        let cache = cache(Policy::Default, engine, 40, 2);
        cache.insert_many((0..20).map(|key| (key, key)));
        let policy = own(&hears, HitMode::Ordered);
        cache.set_policy(policy.clone());
        assert_eq!(cache.policy(), policy);
        cache.validate();
        let setups = hears.setups.lock().unwrap().clone();
        let of_shards: Vec<_> = setups.iter().map(|s| (s.shard, s.capacity)).collect();
        assert_eq!(of_shards, [(0, 20), (1, 20)]);
        for key in 0..20 {
            cache.get(&key);
        }
        cache.insert(100, 100);
        cache.maintain();
        assert_eq!(hears.hits.load(Ordering::Relaxed), 20);
        assert!(hears.sampled.load(Ordering::Relaxed) > 0);
        // And no more once another one is in force.
        cache.set_policy(Policy::Sieve);
        let heard = hears.hits.load(Ordering::Relaxed);
        let sampled = hears.sampled.load(Ordering::Relaxed);
        for key in 0..20 {
            cache.get(&key);
        }
        cache.insert(101, 101);
        cache.maintain();
        assert_eq!(hears.hits.load(Ordering::Relaxed), heard);
        assert_eq!(hears.sampled.load(Ordering::Relaxed), sampled);
        cache.validate();
    }
}

#[test]
fn a_policy_that_panics_leaves_its_shard_with_the_one_before() {
    let hears: Arc<Heard> = Arc::default();
    hears.panics.store(true, Ordering::Relaxed);
    let cache = cache(Policy::Lru, Engine::LockFree, 64, 1);
    cache.insert_many((0..64).map(|key| (key, key)));
    let change = || cache.set_policy(own(&hears, HitMode::Count { max: 7 }));
    let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
    assert!(changed.is_err());
    assert_eq!((cache.policy(), cache.len()), (Policy::Lru, 64));
    cache.validate();
    cache.insert_many((100..200).map(|key| (key, key)));
    cache.validate();
    cache.set_policy(Policy::Sieve);
    cache.insert_many((200..300).map(|key| (key, key)));
    cache.validate();
    assert_eq!(cache.len(), 64);
}

#[test]
fn a_policy_that_takes_over_is_told_the_bound_that_is_in_force() {
    let hears: Arc<Heard> = Arc::default();
    let cache = cache(Policy::Lru, Engine::LockFree, 64, 2);
    cache.resize(200).unwrap();
    cache.set_policy(own(&hears, HitMode::Ignore));
    let setups = hears.setups.lock().unwrap();
    assert!(setups.iter().all(|setup| setup.total_capacity == 200));
}

#[test]
fn readers_and_writers_go_on_while_the_policy_changes() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let evicted = Arc::new(AtomicU64::new(0));
        let hears = Arc::clone(&evicted);
        let cache: Cache<u64, u64> = Cache::builder()
            .weight_capacity(1_000)
            .weigher(|key, _| (key % 3) as u32)
            .shards(4)
            .engine(engine)
            .listener(move |_, _, cause| {
                let is_evicted = u64::from(cause == RemovalCause::Evicted);
                hears.fetch_add(is_evicted, Ordering::Relaxed);
            })
            .build()
            .unwrap();
        let working = AtomicU64::new(3);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let (cache, working) = (&cache, &working);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    for _ in 0..20_000 {
                        let key = rng.u64(0..2_000).min(rng.u64(0..2_000));
                        match rng.u8(0..10) {
                            0..7 => assert!(cache.get(&key).is_none_or(|value| value == key)),
                            7 => _ = cache.invalidate(&key),
                            _ => _ = cache.insert(key, key),
                        }
                    }
                    working.fetch_sub(1, Ordering::Release);
                });
            }
            let mut changes = built_in().collect::<Vec<_>>().into_iter().cycle();
            let mut round = 0;
            while working.load(Ordering::Acquire) > 0 || round < 15 {
                cache.set_policy(changes.next().expect("a cycle goes on"));
                assert!(cache.weight() <= 1_000);
                round += 1;
                if round % 5 == 0 {
                    cache.resize(500 + 100 * (round % 6)).unwrap();
                    cache.resize(1_000).unwrap();
                }
            }
        });
        cache.validate();
        assert!(evicted.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn changes_at_once_take_turns() {
    let cache = cache(Policy::Default, Engine::LockFree, 256, 4);
    cache.insert_many((0..256).map(|key| (key, key)));
    std::thread::scope(|scope| {
        for policy in [Policy::Lru, Policy::Sieve, Policy::Lfu] {
            let cache = &cache;
            scope.spawn(move || {
                for _ in 0..20 {
                    cache.set_policy(policy.clone());
                    cache.get(&7);
                }
            });
        }
    });
    cache.validate();
    assert_ne!(cache.policy(), Policy::Default);
}
