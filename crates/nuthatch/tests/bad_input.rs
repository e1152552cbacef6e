//! Settings, clocks and callbacks that no cache should be given, and what becomes of them.

use nuthatch::policy::{Entries, EntryId, EvictionPolicy, HitMode, PolicyError};
use nuthatch::{BuildError, Cache, CacheBuilder, Clock, Engine, Insertion, Policy, RemovalCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const ENGINES: [Engine; 2] = [Engine::LockFree, Engine::Locked];

fn builder() -> CacheBuilder<u64, u64> {
    Cache::builder().capacity(100)
}

fn error(builder: CacheBuilder<u64, u64>) -> BuildError {
    builder
        .build()
        .expect_err("no cache can be built with this")
}

#[test]
fn settings_that_make_no_cache_are_named_in_the_error() {
    let bare = Cache::<u64, u64>::builder;
    assert_eq!(error(bare()), BuildError::NoCapacity);
    assert_eq!(error(bare().capacity(0)), BuildError::ZeroCapacity);
    assert_eq!(
        error(builder().weight_capacity(5).weigher(|_, _| 1)),
        BuildError::TwoCapacities {
            entries: 100,
            weight: 5
        }
    );
    assert_eq!(
        error(builder().weigher(|_, _| 1)),
        BuildError::WeigherWithoutWeightCapacity
    );
    assert_eq!(
        error(bare().weight_capacity(5)),
        BuildError::WeightCapacityWithoutWeigher
    );
    for given in [0, 3, 1 << 17] {
        assert_eq!(error(builder().shards(given)), BuildError::Shards { given });
    }
    for jitter in [-0.5, 1.0, f64::NAN, f64::INFINITY] {
        let found = error(builder().ttl_jitter(jitter));
        assert!(
            found.to_string().contains("at least 0 and less than 1"),
            "{found}"
        );
    }
    assert_eq!(
        error(builder().sweep_every(Duration::ZERO)),
        BuildError::ZeroSweepPeriod
    );
    let cache = builder().build().unwrap();
    assert_eq!(cache.resize(0), Err(BuildError::ZeroCapacity));
}

#[test]
fn a_policy_that_does_not_exist_is_answered_with_those_that_do() {
    let found: PolicyError = "lruu".parse::<Policy>().unwrap_err();
    let text = found.to_string();
    assert!(text.contains("lruu") && text.contains("s3_fifo"), "{text}");
}

#[test]
fn an_entry_heavier_than_the_capacity_is_refused_and_its_old_value_gone() {
    for engine in ENGINES {
        let heard: Arc<Mutex<Vec<_>>> = Arc::default();
        let hears = Arc::clone(&heard);
        let cache = Cache::builder()
            .weight_capacity(10)
            .weigher(|_, value: &u64| *value as u32)
            .engine(engine)
            .listener(move |key: &u64, value: &u64, cause| {
                hears.lock().unwrap().push((*key, *value, cause));
            })
            .build()
            .unwrap();
        assert_eq!(cache.insert(1, 4), Insertion::Created);
        assert_eq!(cache.insert(2, 4), Insertion::Created);
        assert_eq!(cache.insert(1, 11), Insertion::Rejected);
        assert_eq!(cache.insert(3, u64::from(u32::MAX)), Insertion::Rejected);
        assert_eq!(
            (cache.get(&1), cache.get(&2), cache.get(&3)),
            (None, Some(4), None)
        );
        assert_eq!(*heard.lock().unwrap(), [(1, 4, RemovalCause::Evicted)]);
        assert_eq!(cache.stats().rejected, 2);
        cache.validate();
    }
}

#[test]
fn the_heaviest_weights_do_not_overflow() {
    for capacity in [u64::MAX, u64::from(u32::MAX) * 3] {
        let cache = Cache::builder()
            .weight_capacity(capacity)
            .weigher(|_, _: &u64| u32::MAX)
            .shards(4)
            .build()
            .unwrap();
        for key in 0..50_u64 {
            assert_eq!(cache.insert(key, key), Insertion::Created);
            assert!(cache.weight() <= capacity);
        }
        assert_eq!(cache.len(), (capacity / u64::from(u32::MAX)).min(50));
        cache.validate();
    }
}

#[test]
fn a_capacity_without_end_costs_nothing_ahead() {
    let cache: Cache<u64, u64> = Cache::builder().capacity(u64::MAX).build().unwrap();
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn a_zero_time_to_live_is_expired_at_once_and_an_enormous_one_never() {
    for engine in ENGINES {
        let (clock, hands) = Clock::manual();
        let cache = builder().engine(engine).clock(clock).build().unwrap();
        cache.insert_with_ttl(1, 1, Duration::ZERO);
        cache.insert_with_ttl(2, 2, Duration::MAX);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
        hands.set(Duration::MAX);
        assert_eq!(cache.get(&2), Some(2));
        cache.maintain();
        cache.validate();
        assert_eq!(cache.len(), 1);
    }
    for duration in [Duration::ZERO, Duration::MAX] {
        let cache = builder()
            .time_to_live(duration)
            .time_to_idle(Duration::MAX)
            .build()
            .unwrap();
        cache.insert(1, 1);
        assert_eq!(cache.get(&1).is_some(), duration == Duration::MAX);
        cache.validate();
    }
}

#[test]
fn a_clock_may_stand_still_or_jump_both_ways() {
    let now_ns = Arc::new(AtomicU64::new(1 << 40));
    let reads = Arc::clone(&now_ns);
    let clock = Clock::from_fn(move || reads.load(Ordering::Relaxed));
    let cache = builder()
        .clock(clock)
        .time_to_live(Duration::from_secs(10))
        .time_to_idle(Duration::from_secs(5))
        .build()
        .unwrap();
    let mut seed = 7_u64;
    for key in 0..2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let jump = match seed >> 61 {
            0..5 => None,
            5 => Some(0),
            6 => Some(u64::MAX),
            _ => Some(seed >> 20),
        };
        if let Some(jump) = jump {
            now_ns.store(jump, Ordering::Relaxed);
        }
        cache.insert(key % 150, key);
        cache.get(&(seed % 150));
        if key % 16 == 0 {
            cache.maintain();
        }
        cache.validate();
        assert!(cache.len() <= 100);
    }
}

#[test]
fn a_listener_that_panics_or_calls_back_does_no_harm() {
    for engine in ENGINES {
        let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        let seen = Arc::clone(&own);
        let cache = Cache::builder()
            .capacity(4)
            .engine(engine)
            .listener(move |key: &u64, _: &u64, cause| {
                assert!(!key.is_multiple_of(3), "a test's panic");
                if cause == RemovalCause::Evicted {
                    let cache = seen.get().expect("set before the first insertion");
                    cache.get(key);
                    cache.invalidate(&(key + 1));
                }
            })
            .build()
            .unwrap();
        own.set(cache.clone()).expect("set once");
        for key in 0..300 {
            cache.insert(key, key);
            cache.validate();
        }
        let stats = cache.stats();
        assert!(stats.listener_panics > 0);
        assert_eq!(
            stats.insertions,
            cache.len() + stats.evicted + stats.invalidated
        );
    }
}

#[test]
fn a_cache_full_of_pinned_entries_turns_others_away() {
    for engine in ENGINES {
        let cache = Cache::builder().capacity(3).engine(engine).build().unwrap();
        for key in 0..3 {
            cache.insert(key, key);
            assert!(cache.pin(&key));
        }
        assert_eq!(cache.insert(9, 9), Insertion::Rejected);
        assert_eq!(
            cache.insert(1, 10),
            Insertion::Replaced,
            "a pinned value may be replaced"
        );
        assert!(cache.unpin(&0));
        assert_eq!(cache.insert(9, 9), Insertion::Created);
        assert_eq!((cache.get(&0), cache.get(&1)), (None, Some(10)));
        cache.validate();
    }
}

#[test]
fn a_tiny_bound_evicts_the_rest_before_resize_returns() {
    for engine in ENGINES {
        let cache = Cache::builder()
            .capacity(10_000)
            .shards(8)
            .engine(engine)
            .build()
            .unwrap();
        cache.insert_many((0..10_000_u64).map(|key| (key, key)));
        for capacity in [100, 1, 5_000] {
            cache.resize(capacity).unwrap();
            assert!(cache.weight() <= capacity);
            cache.insert(77, 77);
            assert_eq!(cache.get(&77), Some(77));
            cache.validate();
        }
    }
}

#[test]
fn a_bound_below_what_is_pinned_keeps_the_pinned_and_admits_nothing_else() {
    for engine in ENGINES {
        let cache = builder().engine(engine).build().unwrap();
        for key in 0..20 {
            cache.insert(key, key);
            assert!(key >= 5 || cache.pin(&key));
        }
        cache.resize(3).unwrap();
        assert_eq!(cache.len(), 5);
        assert_eq!(cache.insert(50, 50), Insertion::Rejected);
        assert!((0..5).all(|key| cache.get(&key) == Some(key)));
        cache.validate();
    }
}

/// Names a victim that it does not hold.
#[derive(Debug)]
struct Liar(usize);

impl EvictionPolicy for Liar {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ignore
    }
    fn reserve(&mut self, _slots: usize) {}
    fn set_capacity(&mut self, _capacity: u64) {}
    fn insert(&mut self, _id: EntryId, _entries: &Entries<'_>) {
        self.0 += 1;
    }
    fn evict(&mut self, _entries: &Entries<'_>) -> Option<EntryId> {
        Some(12_345_678)
    }
    fn remove(&mut self, _id: EntryId, _entries: &Entries<'_>) {
        self.0 -= 1;
    }
    fn relocate(&mut self, _from: EntryId, _to: EntryId, _entries: &Entries<'_>) {}
    fn clear(&mut self) {
        self.0 = 0;
    }
    fn len(&self) -> usize {
        self.0
    }
    fn rank(&self, _visit: &mut dyn FnMut(EntryId)) {}
    fn validate(&self, _entries: &Entries<'_>) {}
}

#[test]
fn a_policy_that_evicts_what_it_does_not_hold_is_caught() {
    let cache = Cache::builder()
        .capacity(2)
        .policy(Policy::custom("liar", |_| Liar(0)))
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert(2, 2);
    let caught = catch_unwind(AssertUnwindSafe(|| cache.insert(3, 3))).unwrap_err();
    let text = caught.downcast_ref::<String>().expect("a message");
    assert!(text.contains("12345678"), "{text}");
    assert_eq!(
        (cache.get(&1), cache.get(&2)),
        (Some(1), Some(2)),
        "nothing was lost"
    );
}
