//! The caches miss what the simulator says that their policies miss: from one thread, neither engine
//! loses hits or misleads its policy about capacity, order or shards by more than a little.
//!
//! Some policies decide by hashes: which keys are sampled, which share a counter. On traces as short
//! as these that alone is worth up to some points, so the simulator is given the caches' own hashes.
#![forbid(unsafe_code)]

use foldhash::fast::FixedState;
use nuthatch::policy::{Entries, EntryId, EvictionPolicy, HitMode};
use nuthatch::{Engine, Policy};
use nuthatch_lab::bundled;
use nuthatch_lab::caches::{BenchCache, Nuthatch, Visitor};
use nuthatch_lab::keys::{Integers, KeyKind};
use nuthatch_lab::replay::Replay;
use nuthatch_lab::simulate::{Bound, Simulator};
use nuthatch_lab::sizes::CacheSize;
use nuthatch_lab::subject::SEED;
use nuthatch_lab::sweep::sweep;
use nuthatch_lab::trace::Trace;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

const POLICIES: [&str; 4] = ["default", "s3_fifo", "lru", "w_tiny_lfu"];
const ENGINES: [Engine; 2] = [Engine::LockFree, Engine::Locked];
/// Caches of hundreds of entries in one shard, and of thousands in two.
const SIZES: [&str; 2] = ["10%", "30%"];

/// How far a cache may be from its policy. W-TinyLFU adapts its window and ages its counters once in
/// so many requests for each slot, and an engine has more slots than a simulator: replaced and
/// evicted entries stay in some until no reader sees them any more.
fn allowed_points(policy: &Policy) -> f64 {
    match policy {
        Policy::WTinyLfu { .. } => 2.0,
        _ => 0.3,
    }
}

/// The hasher of all caches here.
fn hasher() -> FixedState {
    FixedState::with_seed(7)
}

/// Notes the hash of each new key, and nothing else: for caches with room for all.
#[derive(Debug, Default)]
struct Listener {
    hashes: Arc<Mutex<Vec<u64>>>,
    entries: usize,
}

impl EvictionPolicy for Listener {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ignore
    }

    fn reserve(&mut self, _slots: usize) {}

    fn set_capacity(&mut self, _capacity: u64) {}

    fn prepare(&mut self, hash: u64, _weight: u32) {
        self.hashes.lock().expect("no test panicked").push(hash);
    }

    fn insert(&mut self, _id: EntryId, _entries: &Entries<'_>) {
        self.entries += 1;
    }

    fn evict(&mut self, _entries: &Entries<'_>) -> Option<EntryId> {
        unreachable!("there is room for all")
    }

    fn remove(&mut self, _id: EntryId, _entries: &Entries<'_>) {
        self.entries -= 1;
    }

    fn relocate(&mut self, _from: EntryId, _to: EntryId, _entries: &Entries<'_>) {}

    fn clear(&mut self) {
        self.entries = 0;
    }

    fn len(&self) -> usize {
        self.entries
    }

    fn rank(&self, _visit: &mut dyn FnMut(EntryId)) {}

    fn validate(&self, _entries: &Entries<'_>) {}
}

/// The hashes that policies see of the keys below `keys`, by key.
fn hashes(keys: u64) -> Vec<u64> {
    let hashes = Arc::new(Mutex::new(Vec::new()));
    let listened = Arc::clone(&hashes);
    let policy = Policy::custom("listener", move |_| Listener {
        hashes: Arc::clone(&listened),
        entries: 0,
    });
    // One key at a time, from one thread: they arrive in order whatever their shards.
    let cache = Nuthatch::new(2 * keys as usize, Engine::Locked, &policy, hasher());
    (0..keys).for_each(|key| cache.insert(Integers::key(key), Integers::value(key)));
    let hashes = hashes.lock().expect("no test panicked").clone();
    assert_eq!(hashes.len() as u64, keys);
    hashes
}

/// Misses of the policy alone, over these hashes.
fn simulated(policy: &Policy, trace: &Trace, capacity: u64, hashes: &[u64]) -> u64 {
    let built = policy.build(capacity, 1, capacity as usize, SEED).pop();
    let built = built.expect("one shard has one policy");
    let simulator = Simulator::new(Box::new(built), Bound::Entries, capacity);
    let mut simulator = simulator.with_hashes(hashes);
    for request in trace.requests() {
        simulator.request(request.key, request.size);
    }
    simulator.tally().misses
}

/// Misses of a cache, from one thread.
fn replayed(policy: &Policy, engine: Engine, trace: &Trace, capacity: u64) -> u64 {
    let replay = Replay {
        requests: trace.requests(),
        threads: 1,
        own_threads: false,
    };
    replay.visit(|| Nuthatch::new(capacity as usize, engine, policy, hasher()))
}

#[test]
fn from_one_thread_both_engines_miss_what_the_simulator_says() {
    let traces = bundled::traces().expect("they can be read");
    let mut cells = Vec::new();
    for trace in &traces {
        for size in SIZES {
            let size: CacheSize = size.parse().expect("it is a size");
            for policy in POLICIES {
                let policy: Policy = policy.parse().expect("it is a policy");
                cells.push((policy, trace, size.of(trace, Bound::Entries)));
            }
        }
    }
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let differences = sweep("caches", &cells, threads, |(policy, trace, capacity)| {
        let expected = simulated(policy, trace, *capacity, &hashes(trace.keys()));
        ENGINES.map(|engine| {
            let misses = replayed(policy, engine, trace, *capacity);
            100.0 * (misses as f64 - expected as f64) / trace.requests().len() as f64
        })
    });
    for ((policy, trace, capacity), differences) in cells.iter().zip(differences) {
        for (engine, points) in ENGINES.iter().zip(differences) {
            assert!(
                f64::abs(points) <= allowed_points(policy),
                "{policy}, {engine:?}, {} at {capacity}: {points:+.2} points",
                trace.name()
            );
        }
    }
}
