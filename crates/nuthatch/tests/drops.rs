//! Every key and every value is dropped exactly once, whatever happens on the way.

use nuthatch::{Cache, Clock, Compute, Engine, Policy};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Counts the living, and refuses to be dropped twice.
#[derive(Debug)]
struct Counted {
    number: u64,
    living: Arc<AtomicI64>,
    dropped: AtomicU64,
    panics_on_drop: bool,
}

impl Counted {
    fn new(number: u64, living: &Arc<AtomicI64>) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            living: Arc::clone(living),
            dropped: AtomicU64::new(0),
            panics_on_drop: false,
        }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        assert!(self.number % 97 != 5, "a test's panic in clone");
        Self::new(self.number, &self.living)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert_eq!(
            self.dropped.fetch_add(1, Ordering::Relaxed),
            0,
            "dropped twice"
        );
        self.living.fetch_sub(1, Ordering::Relaxed);
        assert!(!self.panics_on_drop, "a test's panic in drop");
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Counted {}
impl std::hash::Hash for Counted {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}
impl std::borrow::Borrow<u64> for Counted {
    fn borrow(&self) -> &u64 {
        &self.number
    }
}

/// Runs what may panic, and drops what it gives.
fn surviving<R>(action: impl FnOnce() -> R) {
    drop(catch_unwind(AssertUnwindSafe(action)));
}

#[test]
fn nothing_is_leaked_and_nothing_dropped_twice() {
    for policy in [Policy::Default, Policy::Lru, Policy::Fifo] {
        for engine in [Engine::LockFree, Engine::Locked] {
            let living = Arc::new(AtomicI64::new(0));
            let (clock, hands) = Clock::manual();
            let cache: Cache<Counted, Counted> = Cache::builder()
                .capacity(200)
                .shards(4)
                .policy(policy.clone())
                .engine(engine)
                .clock(clock)
                .listener(|key: &Counted, _: &Counted, _| {
                    assert!(key.number % 31 != 7, "a test's panic in the listener");
                })
                .build()
                .unwrap();
            let new = |number| Counted::new(number, &living);
            for step in 0..6_000_u64 {
                let key = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
                match step % 12 {
                    0..5 => {
                        cache.insert(new(key), new(step));
                    }
                    5 => {
                        cache.insert_with_ttl(new(key), new(step), Duration::from_millis(step % 9));
                    }
                    6 => {
                        // Some clones panic.
                        surviving(|| cache.remove(&key));
                    }
                    7 => {
                        let guard = cache.get_ref(&key);
                        cache.invalidate(&key);
                        assert!(guard.is_none_or(|guard| guard.key().number == key));
                    }
                    8 => {
                        surviving(|| {
                            cache.compute(new(key), |value| match value {
                                Some(value) if value.number % 5 == 0 => panic!("a test's panic"),
                                Some(_) => Compute::Remove,
                                None => Compute::Put(new(step)),
                            })
                        });
                    }
                    9 => {
                        surviving(|| {
                            cache.get_or_insert_with(&new(key), || {
                                assert!(step % 4 != 1, "a test's panic in a loader");
                                Ok::<_, Infallible>(new(step))
                            })
                        });
                    }
                    10 => hands.advance(Duration::from_millis(1)),
                    _ if step % 1_000 == 11 => cache.invalidate_all(),
                    _ if step % 1_500 == 11 => cache.clear(),
                    _ => {
                        surviving(|| cache.get(&key));
                    }
                }
                let bound = 2 * (cache.len() as i64) + 2_000;
                assert!(
                    living.load(Ordering::Relaxed) <= bound,
                    "removed entries do not pile up"
                );
            }
            cache.validate();
            cache.maintain();
            let resident = 2 * cache.len() as i64;
            assert_eq!(
                living.load(Ordering::Relaxed),
                resident,
                "maintain drops what was removed"
            );
            drop(cache);
            assert_eq!(
                living.load(Ordering::Relaxed),
                0,
                "the cache drops what it held"
            );
        }
    }
}

#[test]
fn a_value_that_panics_when_dropped_takes_no_other_with_it() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let living = Arc::new(AtomicI64::new(0));
        let cache: Cache<u64, Counted> = Cache::builder()
            .capacity(50)
            .engine(engine)
            .build()
            .unwrap();
        for number in 0..1_000 {
            let mut value = Counted::new(number, &living);
            value.panics_on_drop = number % 10 == 3 && number < 900;
            surviving(|| cache.insert(number, value));
        }
        for _ in 0..100 {
            surviving(|| cache.maintain());
        }
        cache.validate();
        assert_eq!(living.load(Ordering::Relaxed), cache.len() as i64);
        surviving(|| drop(cache));
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_value_that_uses_its_cache_when_dropped_or_cloned_does_not_deadlock() {
    #[derive(Debug)]
    struct Nosy(u64, Cache<u64, Arc<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.1.get(&self.0);
            self.1.invalidate(&(self.0 + 1));
        }
    }
    for engine in [Engine::LockFree, Engine::Locked] {
        let cache: Cache<u64, Arc<Nosy>> = Cache::builder()
            .capacity(20)
            .shards(1)
            .engine(engine)
            .build()
            .unwrap();
        for key in 0..2_000 {
            cache.insert(key % 50, Arc::new(Nosy(key, cache.clone())));
            cache.get(&(key % 50));
        }
        cache.validate();
        // Each value holds the cache that holds it: without this they would live for ever.
        cache.clear();
    }
}
