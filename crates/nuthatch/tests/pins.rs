//! Which entries may be evicted: all at once, and with each insertion.

use nuthatch::{Cache, Clock, Deadline, Engine, InsertOptions, Insertion, Pinning, Pins, Policy};

const FAR_NS: u64 = 1 << 60;

fn both_engines(run: impl Fn(Cache<u64, u64>)) {
    for engine in [Engine::LockFree, Engine::Locked] {
        let builder = Cache::builder().capacity(40).shards(4).engine(engine);
        let builder = builder.policy(Policy::Fifo);
        run(builder.clock(Clock::from_fn(|| 1)).build().unwrap());
    }
}

fn insert(cache: &Cache<u64, u64>, key: u64, deadline: Deadline, pinning: Pinning) -> Insertion {
    let options = InsertOptions {
        deadline,
        pinning,
        keeps_old: true,
    };
    cache.insert_with(key, key, options)
}

#[test]
fn entries_are_pinned_by_whether_they_expire() {
    both_engines(|cache| {
        for key in 0..40 {
            let deadline = match key % 2 {
                0 => Deadline::Never,
                _ => Deadline::At(FAR_NS),
            };
            insert(&cache, key, deadline, Pinning::AsBefore);
        }
        cache.pin_all(Pins::WithoutDeadline);
        cache.validate();
        for key in 100..120 {
            let inserted = insert(&cache, key, Deadline::Never, Pinning::Pinned);
            assert!(inserted.is_admitted());
        }
        for key in 0..40 {
            assert_eq!(cache.contains_key(&key), key % 2 == 0, "{key}");
        }
        assert!(
            !cache.insert(200, 0).is_admitted(),
            "nothing may be evicted"
        );
        cache.pin_all(Pins::None);
        cache.validate();
        assert!(cache.insert(200, 0).is_admitted());
        cache.pin_all(Pins::All);
        assert!(!cache.insert(201, 0).is_admitted());
        cache.validate();
    });
}

#[test]
fn an_entry_without_room_leaves_the_one_it_would_replace_if_that_is_wanted() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let builder = Cache::<u64, u32>::builder()
            .weight_capacity(100)
            .engine(engine);
        let cache = builder.weigher(|_, weight| *weight).build().unwrap();
        cache.insert(1, 60);
        cache.insert(2, 40);
        cache.pin_all(Pins::All);
        let keeping = InsertOptions {
            keeps_old: true,
            ..InsertOptions::default()
        };
        for too_heavy in [61, 1_000] {
            let inserted = cache.insert_with(1, too_heavy, keeping);
            assert_eq!((inserted, cache.get(&1)), (Insertion::Rejected, Some(60)));
        }
        assert_eq!(cache.stats().rejected, 2);
        assert_eq!(cache.insert_with(1, 50, keeping), Insertion::Replaced);
        assert_eq!(cache.insert(1, 61), Insertion::Rejected);
        assert_eq!(cache.get(&1), None, "what is written last is not there");
        cache.validate();
    }
}

#[test]
fn an_insertion_passes_pins_on_or_ends_them() {
    both_engines(|cache| {
        let may_be_evicted = |key: u64| {
            for other in 1_000..1_200 {
                cache.insert(other, 0);
            }
            !cache.contains_key(&key)
        };
        for (key, pinning, evictable) in [
            (1, Pinning::AsBefore, false),
            (2, Pinning::Pinned, false),
            (3, Pinning::Unpinned, true),
        ] {
            insert(&cache, key, Deadline::Never, Pinning::Pinned);
            insert(&cache, key, Deadline::Never, pinning);
            assert_eq!(may_be_evicted(key), evictable, "{pinning:?}");
        }
        cache.validate();
    });
}
