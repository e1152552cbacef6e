//! Insertions that find room all of them or are not begun.

use nuthatch::{Cache, Deadline, Engine, InsertOptions, Insertion, Pinning};
use std::sync::atomic::{AtomicBool, Ordering};

/// Entries weigh what they hold.
fn weighed(engine: Engine, capacity: u64) -> Cache<u64, u32> {
    let builder = Cache::builder().weight_capacity(capacity);
    let builder = builder.weigher(|_, weight: &u32| *weight).shards(4);
    builder.engine(engine).seed(3).build().unwrap()
}

fn both_engines(test: impl Fn(Engine)) {
    for engine in [Engine::LockFree, Engine::Locked] {
        test(engine);
    }
}

const KEPT: InsertOptions = InsertOptions {
    deadline: Deadline::Never,
    pinning: Pinning::Pinned,
    keeps_old: true,
};

#[test]
fn what_is_reserved_is_nobody_elses_and_goes_back_unless_it_is_used() {
    both_engines(|engine| {
        let cache = weighed(engine, 100);
        let mut reserved = cache.reserve(60).expect("an empty cache");
        assert_eq!(cache.weight(), 60);
        assert!(cache.reserve(41).is_none());
        assert_eq!(cache.insert(1, 41), Insertion::Rejected);
        assert_eq!(cache.insert(2, 40), Insertion::Created);
        assert_eq!(reserved.insert_with(3, 25, KEPT), Insertion::Created);
        assert_eq!(reserved.insert_with(3, 30, KEPT), Insertion::Replaced);
        assert_eq!((reserved.weight(), cache.weight()), (5, 75));
        drop(reserved);
        assert_eq!(cache.weight(), 70);
        cache.validate();
    });
}

#[test]
fn a_reservation_evicts_what_may_be_and_only_if_that_suffices_is_it_made() {
    both_engines(|engine| {
        let cache = weighed(engine, 1_000);
        for key in 0..100 {
            cache.insert(key, 10);
            if key < 40 {
                cache.pin(&key);
            }
        }
        assert!(cache.reserve(601).is_none());
        assert!(cache.reserve(1_001).is_none());
        let mut reserved = cache.reserve(600).expect("600 may go");
        for key in 100..160 {
            assert_eq!(reserved.insert_with(key, 10, KEPT), Insertion::Created);
        }
        drop(reserved);
        assert!((0..40).chain(100..160).all(|key| cache.contains_key(&key)));
        assert_eq!(cache.len(), 100);
        cache.validate();
    });
}

#[test]
fn a_reservation_outlives_a_lower_bound() {
    both_engines(|engine| {
        let cache = weighed(engine, 100);
        for key in 0..50 {
            cache.insert(key, 1);
        }
        let mut reserved = cache.reserve(50).expect("room");
        cache.resize(40).expect("a bound");
        assert_eq!(reserved.insert_with(100, 45, KEPT), Insertion::Created);
        assert!(cache.contains_key(&100));
        drop(reserved);
        assert_eq!((cache.len(), cache.weight()), (1, 45), "all else had to go");
        cache.validate();
    });
}

#[test]
fn whoever_has_reserved_finds_room_whatever_others_write() {
    both_engines(|engine| {
        let cache = weighed(engine, 10_000);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 1..3_u64 {
                let (cache, is_over) = (&cache, &is_over);
                scope.spawn(move || {
                    let mut key = thread << 32;
                    while !is_over.load(Ordering::Relaxed) {
                        key += 1;
                        cache.insert_with(key, 7, KEPT);
                        cache.invalidate(&(key - 300));
                    }
                });
            }
            let mut reservations = 0;
            for round in 0..2_000_u64 {
                let Some(mut reserved) = cache.reserve(500) else {
                    continue;
                };
                reservations += 1;
                for key in 0..50 {
                    let inserted = reserved.insert_with(key, 10, KEPT);
                    assert!(inserted.is_admitted(), "{key} in round {round}");
                }
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(reservations > 0);
        });
        cache.validate();
    });
}
