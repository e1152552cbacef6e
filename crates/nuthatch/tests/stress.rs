//! Many threads, all operations, both engines: contents stay intact, the bound holds at every
//! instant, and the structures are sound at the end.
//!
//! `NUTHATCH_STRESS` multiplies the number of operations, for runs under a sanitizer or overnight.

use nuthatch::{Cache, Compute, Engine, Policy, StatsSnapshot};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A value that knows whether it is intact.
#[derive(Clone, Debug)]
struct Sealed {
    key: u64,
    body: Arc<Vec<u64>>,
}

impl Sealed {
    fn new(key: u64, stamp: u64) -> Self {
        let mut body: Vec<u64> = (0..stamp % 5 + 1)
            .map(|i| key ^ stamp.rotate_left(i as u32))
            .collect();
        body.push(
            body.iter()
                .fold(key, |sum, word| sum.wrapping_mul(31).wrapping_add(*word)),
        );
        Self {
            key,
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

fn work(cache: &Cache<u64, Sealed>, thread: u64, operations: u64) {
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
        let value = || Sealed::new(key, state);
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
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // The bound changes under way, but never beyond this; each shard is read at a
                // moment of its own, so an entry that moved on may be counted twice.
                assert!(cache.weight() <= 2_300 + 4 * threads);
                cache.maintain();
                std::thread::yield_now();
            }
        });
        let workers: Vec<_> = (1..=threads)
            .map(|thread| {
                let cache = &cache;
                scope.spawn(move || work(cache, thread, operations))
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("the bound holds");
        assert!(ended.iter().all(Result::is_ok), "every worker ends well");
    });
    cache.validate();
    let stats = cache.stats();
    cache.clear();
    assert_eq!(cache.len(), 0);
    assert!(stats.hits > 0 && stats.insertions > 0);
    stats
}

#[test]
fn all_operations_at_once_leave_every_value_whole() {
    for policy in [Policy::Default, Policy::Lru, Policy::Sieve] {
        for engine in [Engine::LockFree, Engine::Locked] {
            let stats = stress(policy.clone(), engine, 4, 6_000 * scale());
            assert!(stats.evicted > 0 && stats.expired > 0);
        }
    }
}

#[test]
fn a_thousand_threads_make_progress() {
    stress(Policy::Default, Engine::LockFree, 1_000, 100 * scale());
}
