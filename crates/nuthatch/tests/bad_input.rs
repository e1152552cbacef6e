//! Settings, clocks and callbacks that no cache should be given, and what becomes of them.

use nuthatch::policy::{Entries, EntryId, EvictionPolicy, HitMode, PolicyError};
use nuthatch::{
    BuildError, Cache, CacheBuilder, Clock, Engine, Expiry, Insertion, Policy, RemovalCause,
};
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
        // Weak: the cache owns its listener, which must not own the cache.
        let seen = Arc::downgrade(&own);
        let cache = Cache::builder()
            .capacity(4)
            .engine(engine)
            .listener(move |key: &u64, _: &u64, cause| {
                assert!(!key.is_multiple_of(3), "a test's panic");
                if cause == RemovalCause::Evicted {
                    let own = seen.upgrade().expect("the test holds it");
                    let cache = own.get().expect("set before the first insertion");
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
fn pinned_entries_beyond_a_lowered_bound_stay_and_nothing_is_added() {
    for engine in ENGINES {
        let builder = builder().shards(4).engine(engine);
        let cache = builder.build().unwrap();
        for key in 0..20 {
            cache.insert(key, key);
            assert!(key >= 10 || cache.pin(&key));
        }
        cache.resize(5).unwrap();
        assert_eq!(cache.len(), 10, "pinned entries are not evicted");
        assert!((0..10).all(|key| cache.get(&key) == Some(key)));
        assert_eq!(cache.insert(99, 99), Insertion::Rejected);
        assert_eq!(
            cache.insert(3, 4),
            Insertion::Replaced,
            "as heavy as before"
        );
        for key in 0..10 {
            assert!(cache.unpin(&key));
        }
        assert_eq!(cache.insert(99, 99), Insertion::Created);
        assert!(cache.len() <= 5, "the next write evicts what is too much");
        cache.validate();
    }
}

#[test]
fn a_bound_smaller_than_the_number_of_shards_is_kept() {
    for engine in ENGINES {
        let cache = Cache::builder()
            .capacity(3)
            .shards(64)
            .engine(engine)
            .build()
            .unwrap();
        for key in 0..500_u64 {
            assert_eq!(cache.insert(key, key), Insertion::Created);
            assert_eq!(cache.get(&key), Some(key));
            assert_eq!(cache.len(), (key + 1).min(3), "evicts only when it is full");
        }
        cache.validate();
    }
}

#[test]
fn entries_without_weight_are_bounded_by_nothing_and_can_be_evicted() {
    let cache = Cache::builder()
        .weight_capacity(2)
        .weigher(|key: &u64, _: &u64| u32::from(*key >= 1_000))
        .policy(Policy::Fifo)
        .shards(1)
        .build()
        .unwrap();
    for key in 0..100 {
        assert_eq!(cache.insert(key, key), Insertion::Created);
    }
    assert_eq!((cache.len(), cache.weight()), (100, 0));
    for key in 1_000..1_003 {
        assert_eq!(cache.insert(key, key), Insertion::Created);
    }
    assert_eq!(
        (cache.len(), cache.weight()),
        (2, 2),
        "those without weight went first"
    );
    cache.validate();
}

#[test]
fn a_zero_time_to_idle_is_expired_at_once() {
    for engine in ENGINES {
        let (clock, hands) = Clock::manual();
        let builder = builder().engine(engine).clock(clock);
        let cache = builder.time_to_idle(Duration::ZERO).build().unwrap();
        for key in 0..200 {
            cache.insert(key, key);
            assert_eq!(cache.get(&key), None);
        }
        // What is expired is cleared away a tick later.
        hands.advance(Duration::from_millis(3));
        cache.maintain();
        assert!(cache.is_empty());
        cache.validate();
    }
}

/// Says anything about durations, and panics at times.
struct Moody(AtomicU64);

impl Expiry<u64, u64> for Moody {
    fn after_create(&self, _key: &u64, _value: &u64) -> Option<Duration> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(!asked.is_multiple_of(7), "a test's panic");
        [None, Some(Duration::ZERO), Some(Duration::MAX)][asked as usize % 3]
    }

    fn after_read(&self, key: &u64, value: &u64, _remaining: Option<Duration>) -> Option<Duration> {
        self.after_create(key, value)
    }
}

#[test]
fn an_expiry_that_panics_costs_the_one_entry_it_was_asked_for() {
    for engine in ENGINES {
        let (clock, hands) = Clock::manual();
        let cache = builder()
            .engine(engine)
            .clock(clock)
            .expiry(Moody(AtomicU64::new(1)))
            .build()
            .unwrap();
        let mut panics = 0;
        for key in 0..400_u64 {
            let insert_and_read = || {
                cache.insert(key % 150, key);
                cache.get(&(key % 97))
            };
            panics += u64::from(catch_unwind(AssertUnwindSafe(insert_and_read)).is_err());
            hands.advance(Duration::from_micros(key));
            cache.validate();
        }
        assert!(panics > 20);
    }
}

#[test]
fn a_guard_outlives_every_way_to_leave() {
    type Leave = fn(&Cache<u64, u64>);
    let leave: [Leave; 6] = [
        |cache| assert_eq!(cache.remove(&1), Some(10)),
        |cache| assert_eq!(cache.insert(1, 11), Insertion::Replaced),
        Cache::invalidate_all,
        Cache::clear,
        |cache| cache.resize(1).unwrap(),
        |cache| cache.insert_many((2..1_000).map(|key| (key, key))),
    ];
    for engine in ENGINES {
        for leave in leave {
            let cache = builder().engine(engine).build().unwrap();
            cache.insert(1, 10);
            let guard = cache.get_ref(&1).expect("it is there");
            leave(&cache);
            // Whatever comes into the cache now takes another slot.
            for round in 0..20 {
                cache.insert_many((2_000..2_100).map(|key| (key, round)));
                cache.maintain();
            }
            assert_eq!((*guard.key(), *guard.value()), (1, 10));
        }
    }
}

#[test]
fn a_listener_may_put_back_what_was_removed() {
    for engine in ENGINES {
        let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        // Weak: the cache owns its listener, which must not own the cache.
        let seen = Arc::downgrade(&own);
        let cache = Cache::builder()
            .capacity(1)
            .engine(engine)
            .listener(move |key: &u64, value: &u64, cause| {
                if cause == RemovalCause::Invalidated {
                    let own = seen.upgrade().expect("the test holds it");
                    let cache = own.get().expect("set before the first insertion");
                    let insertion = cache.insert(*key, *value);
                    assert_eq!(insertion, Insertion::Created, "there is room by now");
                }
            })
            .build()
            .unwrap();
        own.set(cache.clone()).expect("set once");
        cache.insert(1, 1);
        assert!(cache.invalidate(&1));
        assert_eq!(cache.get(&1), Some(1));
        assert_eq!(cache.stats().listener_panics, 0);
        cache.validate();
    }
}

/// What a wrong policy may do wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Evicts an id that was never used.
    Foreign,
    /// Evicts one entry again and again.
    Again,
    /// Says that it holds nothing.
    Nothing,
    /// Asks for the access byte of an id that was never used, which may lie in the gap after the
    /// array's first part.
    Access,
    /// Asks for the hash of an id that was never used.
    Hash,
    /// Announces ids that were never used.
    Upcoming,
}

/// Tells one lie when it is to evict.
#[derive(Debug)]
struct Liar {
    lie: Lie,
    slots: u32,
    ids: Vec<EntryId>,
}

impl EvictionPolicy for Liar {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ignore
    }
    fn reserve(&mut self, slots: usize) {
        self.slots = slots as u32;
    }
    fn set_capacity(&mut self, _capacity: u64) {}
    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.ids.push(id);
    }
    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        match self.lie {
            Lie::Foreign => return Some(12_345_678),
            Lie::Again => return self.ids.first().copied(),
            Lie::Nothing => return None,
            Lie::Access => _ = entries.access(self.slots),
            Lie::Hash => _ = entries.hash(self.slots),
            Lie::Upcoming => {}
        }
        self.ids.pop()
    }
    fn upcoming(&self) -> [Option<EntryId>; 2] {
        let id = (self.lie == Lie::Upcoming).then_some(self.slots);
        [id, id]
    }
    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.ids.retain(|&held| held != id);
    }
    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.remove(from, entries);
        self.insert(to, entries);
    }
    fn clear(&mut self) {
        self.ids.clear();
    }
    fn len(&self) -> usize {
        self.ids.len()
    }
    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.ids.iter().copied().for_each(visit);
    }
    fn validate(&self, _entries: &Entries<'_>) {}
}

#[test]
fn a_policy_that_breaks_the_contract_is_caught_and_breaks_nothing_else() {
    for (lie, expected) in [
        (Lie::Foreign, "evicted 12345678, which it does not hold"),
        (Lie::Again, "which it does not hold"),
        (Lie::Access, "out of bounds"),
        (Lie::Hash, "which is not resident"),
        (Lie::Upcoming, "out of bounds"),
    ] {
        let dropped = Arc::new(());
        let cache = Cache::builder()
            .capacity(2)
            .shards(1)
            .policy(Policy::custom("liar", move |_| Liar {
                lie,
                slots: 0,
                ids: Vec::new(),
            }))
            .build()
            .unwrap();
        let mut caught = None;
        for key in 0..10_u64 {
            let insert = || cache.insert(key, Arc::clone(&dropped));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(insert)) {
                caught.get_or_insert(panic);
            }
            assert!(cache.len() <= 2, "the bound is kept");
            assert_eq!(cache.weight(), cache.len(), "no weight is lost");
        }
        let caught = caught.expect("a lie is found out");
        let text = caught
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(caught.downcast_ref::<&str>().copied())
            .expect("a message");
        assert!(text.contains(expected), "{lie:?}: {text}");
        let readable = (0..10).filter(|key| cache.contains_key(key)).count();
        assert_eq!(readable as u64, cache.len());
        drop(cache);
        assert_eq!(Arc::strong_count(&dropped), 1, "{lie:?}: nothing is leaked");
    }
}

#[test]
fn a_policy_that_never_evicts_makes_a_full_cache_turn_others_away() {
    for engine in ENGINES {
        let cache = Cache::builder()
            .capacity(2)
            .engine(engine)
            .policy(Policy::custom("miser", |_| Liar {
                lie: Lie::Nothing,
                slots: 0,
                ids: Vec::new(),
            }))
            .build()
            .unwrap();
        for key in 0..2_u64 {
            assert_eq!(cache.insert(key, key), Insertion::Created);
        }
        assert_eq!(cache.insert(2, 2), Insertion::Rejected);
        cache.validate();
        cache.resize(1).unwrap();
        assert_eq!(cache.len(), 2, "it has its way");
    }
}
