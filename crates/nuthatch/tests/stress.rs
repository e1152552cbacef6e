//! Many threads, all operations, both engines: contents stay intact, the bound holds at every
//! instant, nothing is leaked, and the structures are sound at the end.
//!
//! `NUTHATCH_STRESS=100` does a hundred times as much.

use nuthatch::{Cache, Compute, Engine, Policy, StatsSnapshot};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A value that knows whether it is intact.
#[derive(Clone, Debug)]
struct Sealed {
    key: u64,
    /// Its count is the number of values that live.
    _living: Arc<()>,
    body: Arc<Vec<u64>>,
}

impl Sealed {
    fn new(key: u64, stamp: u64, living: &Arc<()>) -> Self {
        let mut body: Vec<u64> = (0..stamp % 5 + 1)
            .map(|i| key ^ stamp.rotate_left(i as u32))
            .collect();
        body.push(
            body.iter()
                .fold(key, |sum, word| sum.wrapping_mul(31).wrapping_add(*word)),
        );
        Self {
            key,
            _living: Arc::clone(living),
            body: Arc::new(body),
        }
    }

    fn check(&self, key: u64) {
        assert_eq!(self.key, key, "a value stands under its own key");
        let (seal, body) = self.body.split_last().expect("a seal");
        let sum = body
            .iter()
            .fold(key, |sum, word| sum.wrapping_mul(31).wrapping_add(*word));
        assert_eq!(*seal, sum, "a value is whole");
    }
}

fn scale() -> u64 {
    std::env::var("NUTHATCH_STRESS")
        .map_or(1, |text| text.parse().expect("NUTHATCH_STRESS is a number"))
}

fn work(cache: &Cache<u64, Sealed>, thread: u64, operations: u64, living: &Arc<()>) {
    let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut held = Vec::new();
    for step in 0..operations {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // A few keys are hot, so that threads meet.
        let key = if state & 3 == 0 {
            state >> 60
        } else {
            (state >> 40) % 3_000
        };
        let value = || Sealed::new(key, state, living);
        match (state >> 8) % 64 {
            0..24 => {
                if let Some(found) = cache.get(&key) {
                    found.check(key);
                }
            }
            24..36 => {
                if let Some(found) = cache.get_ref(&key) {
                    found.check(key);
                    held.push(found);
                }
                // Guards are held while others remove and reuse.
                if held.len() > 12 {
                    for guard in held.drain(..) {
                        let key = *guard.key();
                        guard.check(key);
                    }
                }
            }
            36..50 => {
                cache.insert(key, value());
            }
            50 => {
                cache.insert_with_ttl(key, value(), Duration::from_micros(state % 500));
            }
            51..54 => {
                if let Some(found) = cache.remove(&key) {
                    found.check(key);
                }
            }
            54..57 => {
                cache.compute(key, |found| match found {
                    Some(found) => {
                        found.check(key);
                        if state & 4096 == 0 {
                            Compute::Remove
                        } else {
                            Compute::Put(value())
                        }
                    }
                    None => Compute::Put(value()),
                });
            }
            57..60 => {
                let loaded = cache.get_or_insert_with(&key, || Ok::<_, Infallible>(value()));
                loaded.expect("a loader that cannot fail").check(key);
            }
            60 => {
                for found in cache
                    .get_many(&[key, key + 1, key + 2])
                    .into_iter()
                    .flatten()
                {
                    found.check(found.key);
                }
            }
            61 if step % 64 == 0 => {
                for found in cache {
                    let key = *found.key();
                    found.check(key);
                }
            }
            62 if step % 512 == 0 => cache.invalidate_all(),
            62 if step % 128 == 1 => cache.retain(|key, _| key % 7 != 0),
            63 if step % 64 == 0 => {
                cache.resize(300 + state % 2_000).expect("not zero");
            }
            _ => {
                cache.pin(&key);
                cache.unpin(&key);
            }
        }
    }
}

fn stress(policy: Policy, engine: Engine, threads: u64, operations: u64) -> StatsSnapshot {
    let cache: Cache<u64, Sealed> = Cache::builder()
        .capacity(1_000)
        .shards(4)
        .policy(policy)
        .engine(engine)
        .build()
        .unwrap();
    let living = Arc::new(());
    // The bound changes under way, but never beyond this.
    let watch = || {
        assert!(cache.weight() < 2_300);
        cache.maintain();
    };
    at_once(
        threads,
        |thread| work(&cache, thread, operations, &living),
        watch,
    );
    cache.validate();
    let stats = cache.stats();
    cache.maintain();
    assert_eq!(Arc::strong_count(&living) as u64 - 1, cache.len());
    cache.clear();
    assert_eq!((cache.len(), Arc::strong_count(&living)), (0, 1));
    assert!(stats.hits > 0 && stats.insertions > 0);
    stats
}

/// Runs `work` on threads 1 to `threads`, and `watch` again and again until they are done.
fn at_once(threads: u64, work: impl Fn(u64) + Sync, watch: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watch();
                std::thread::yield_now();
            }
        });
        let work = &work;
        let workers: Vec<_> = (1..=threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("what is watched holds");
        assert!(ended.iter().all(Result::is_ok), "every worker ends well");
    });
}

#[test]
fn all_operations_at_once_leave_every_value_whole() {
    for policy in [Policy::Default, Policy::Lru, Policy::Sieve] {
        for engine in [Engine::LockFree, Engine::Locked] {
            let stats = stress(policy.clone(), engine, 4, 4_000 * scale());
            assert!(stats.evicted > 0 && stats.expired > 0);
        }
    }
}

#[test]
fn every_policy_stands_all_operations_at_once() {
    for info in Policy::built_in() {
        let policy: Policy = info.name.parse().expect("its own name");
        stress(policy, Engine::LockFree, 3, 1_000 * scale());
    }
}

#[test]
fn a_thousand_threads_make_progress() {
    for engine in [Engine::LockFree, Engine::Locked] {
        stress(Policy::Default, engine, 1_000, 30 * scale());
    }
}

/// Entries of very different weights push each other out, also across shards.
#[test]
fn the_weight_never_exceeds_the_bound_at_any_instant() {
    const CAPACITY: u64 = 1_000;
    for engine in [Engine::LockFree, Engine::Locked] {
        let cache: Cache<u64, u32> = Cache::builder()
            .weight_capacity(CAPACITY)
            .weigher(|_, weight| *weight)
            .shards(8)
            .engine(engine)
            .build()
            .unwrap();
        let (rejected, inserted) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |thread: u64| {
            let mut rng = fastrand::Rng::with_seed(thread);
            for _ in 0..5_000 * scale() {
                let weight = if rng.u32(0..50) == 0 { 600 } else { 30 };
                let insertion = cache.insert(rng.u64(0..100), rng.u32(0..=weight));
                assert!(cache.weight() <= CAPACITY, "after a write returns");
                let outcome = if insertion.is_admitted() {
                    &inserted
                } else {
                    &rejected
                };
                outcome.fetch_add(1, Ordering::Relaxed);
                if rng.u32(0..4) == 0 {
                    cache.invalidate(&rng.u64(0..100));
                }
            }
        };
        at_once(4, work, || assert!(cache.weight() <= CAPACITY));
        cache.validate();
        let (rejected, inserted) = (rejected.into_inner(), inserted.into_inner());
        assert_eq!(cache.stats().rejected, rejected);
        assert!(
            rejected < inserted / 100,
            "room is found as a rule: {rejected} rejected, {inserted} inserted"
        );
    }
}

#[test]
fn iteration_while_the_tables_grow_meets_each_lasting_entry_once() {
    const LASTING: u64 = 300;
    for engine in [Engine::LockFree, Engine::Locked] {
        for round in 0..3 * scale() {
            let cache = Cache::builder()
                .weight_capacity(u64::MAX)
                .weigher(|_, _: &u64| 1)
                .shards(2)
                .engine(engine)
                .build()
                .unwrap();
            cache.insert_many((0..LASTING).map(|key| (key, 0)));
            let work = |thread: u64| {
                for step in 0..3_000 {
                    // New keys make the tables grow; lasting ones get new values.
                    cache.insert(LASTING + thread * 10_000 + step, round);
                    cache.insert(step % LASTING, step);
                    if step % 3 == 0 {
                        cache.invalidate(&(LASTING + thread * 10_000 + step / 2));
                    }
                }
            };
            let watch = || {
                let mut met: Vec<u64> = cache.iter().map(|entry| *entry.key()).collect();
                met.sort_unstable();
                assert!(met.is_sorted_by(|a, b| a < b), "none is met twice");
                assert!(
                    met.iter().copied().take(LASTING as usize).eq(0..LASTING),
                    "all that last are met"
                );
            };
            at_once(2, work, watch);
            cache.validate();
        }
    }
}
