//! Deadlines given as points in time, on a clock that tells the time of day.

use nuthatch::{Cache, CacheBuilder, Clock, Deadline, Engine, InsertOptions, Insertion, Pinning};
use nuthatch::{ManualClock, RemovalCause};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TODAY_NS: u64 = 1_790_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const YEAR_NS: u64 = 365 * 86_400 * SECOND_NS;

type Log = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

fn today() -> (CacheBuilder<u64, u64>, ManualClock, Log) {
    let (clock, hands) = Clock::manual();
    hands.set(Duration::from_nanos(TODAY_NS));
    let log = Log::default();
    let heard = Arc::clone(&log);
    let builder = Cache::builder().capacity(1_000).clock(clock).shards(2);
    let builder = builder.listener(move |key: &u64, value: &u64, cause| {
        heard.lock().unwrap().push((*key, *value, cause));
    });
    (builder, hands, log)
}

fn both_engines(test: impl Fn(CacheBuilder<u64, u64>, ManualClock, Log)) {
    for engine in [Engine::LockFree, Engine::Locked] {
        let (builder, hands, log) = today();
        test(builder.engine(engine), hands, log);
    }
}

fn deadline_of(cache: &Cache<u64, u64>, key: u64) -> Option<Option<u64>> {
    cache.peek_with(&key, |entry| entry.deadline_ns())
}

#[test]
fn an_entry_lives_up_to_its_deadline_and_no_longer() {
    both_engines(|builder, hands, log| {
        let cache = builder.build().unwrap();
        let deadlines = [1, SECOND_NS, YEAR_NS, 300 * YEAR_NS].map(|ns| TODAY_NS + ns);
        for (key, deadline_ns) in (0..).zip(deadlines) {
            let insertion = cache.insert_with_deadline(key, key, Some(deadline_ns));
            assert_eq!(insertion, Insertion::Created);
            assert_eq!(deadline_of(&cache, key), Some(Some(deadline_ns)));
        }
        cache.insert_with_deadline(8, 8, Some(u64::MAX - 1));
        cache.insert_with_deadline(9, 9, Some(u64::MAX));
        for (key, deadline_ns) in (0..).zip(deadlines) {
            hands.set(Duration::from_nanos(deadline_ns - 1));
            cache.maintain();
            assert_eq!(cache.get(&key), Some(key));
            hands.set(Duration::from_nanos(deadline_ns));
            assert_eq!(cache.get(&key), None);
            hands.set(Duration::from_nanos(deadline_ns + (2 << 20)));
            cache.maintain();
            cache.validate();
            assert_eq!(
                log.lock().unwrap().last(),
                Some(&(key, key, RemovalCause::Expired))
            );
        }
        assert_eq!((cache.get(&8), cache.get(&9)), (Some(8), Some(9)));
        hands.advance(Duration::MAX);
        assert_eq!((cache.get(&8), cache.get(&9)), (None, Some(9)));
        assert_eq!(deadline_of(&cache, 9), Some(None), "no clock gets there");
    });
}

#[test]
fn a_deadline_that_is_over_leaves_nothing_of_the_key() {
    both_engines(|builder, _, log| {
        let cache = builder.build().unwrap();
        for (key, deadline_ns) in (0..).zip([0, 5, TODAY_NS - YEAR_NS, TODAY_NS - 1, TODAY_NS]) {
            cache.insert(key, 1);
            assert_eq!(
                cache.insert_with_deadline(key, 2, Some(deadline_ns)),
                Insertion::Replaced
            );
            assert_eq!(cache.get(&key), None);
            assert_eq!(cache.insert_if_absent(key, 3), Ok(Insertion::Created));
            let heard: Vec<_> = log.lock().unwrap().drain(..).collect();
            let expected = [
                (key, 1, RemovalCause::Replaced),
                (key, 2, RemovalCause::Expired),
            ];
            assert_eq!(heard, expected);
            assert!(cache.set_deadline(&key, Some(deadline_ns)));
            assert!(!cache.set_deadline(&key, Some(deadline_ns)));
            assert_eq!(
                log.lock().unwrap().drain(..).collect::<Vec<_>>(),
                [(key, 3, RemovalCause::Expired)]
            );
            assert_eq!((cache.len(), cache.weight()), (0, 0));
            cache.validate();
        }
    });
}

#[test]
fn a_deadline_moves_both_ways_and_away() {
    both_engines(|builder, hands, log| {
        let cache = builder.build().unwrap();
        for key in 0..100 {
            cache.insert(key, key);
        }
        // Later, sooner, away; and back from each.
        for round in 1..=20 {
            for key in 0..100 {
                let deadline_ns = match (key + round) % 4 {
                    0 => None,
                    1 => Some(TODAY_NS + YEAR_NS),
                    2 => Some(TODAY_NS + round * SECOND_NS + key),
                    _ => Some(u64::MAX - 1 - key),
                };
                assert!(cache.set_deadline(&key, deadline_ns));
                assert_eq!(deadline_of(&cache, key), Some(deadline_ns));
            }
            cache.validate();
            cache.maintain();
            cache.validate();
        }
        hands.set(Duration::from_nanos(TODAY_NS + 30 * SECOND_NS));
        cache.maintain();
        let mut gone: Vec<u64> = log.lock().unwrap().iter().map(|(key, ..)| *key).collect();
        gone.sort_unstable();
        assert_eq!(gone, (0..25).map(|n| 4 * n + 2).collect::<Vec<_>>());
    });
}

#[test]
fn what_the_settings_say_does_not_apply_to_a_deadline_of_its_own() {
    both_engines(|builder, hands, _| {
        let builder = builder.time_to_live(Duration::from_secs(10));
        let cache = builder
            .time_to_idle(Duration::from_secs(4))
            .build()
            .unwrap();
        let at = |seconds| Some(TODAY_NS + seconds * SECOND_NS);
        cache.insert(0, 0);
        cache.insert_with_deadline(1, 1, at(30));
        cache.insert_with_deadline(2, 2, None);
        cache.insert(3, 3);
        cache.insert(4, 4);
        assert!(cache.set_deadline(&3, at(20)));
        assert!(cache.set_deadline(&4, None));
        assert_eq!(deadline_of(&cache, 0), Some(at(4)));
        for second in 1..=40 {
            hands.set(Duration::from_nanos(TODAY_NS + second * SECOND_NS));
            cache.maintain();
            cache.validate();
            // Read all the time, so that time to idle would move what it may.
            assert_eq!(cache.get(&0).is_some(), second < 10);
            assert_eq!(cache.get(&1).is_some(), second < 30);
            assert_eq!(cache.get(&2), Some(2));
            assert_eq!(cache.get(&3).is_some(), second < 20);
            assert_eq!(cache.get(&4), Some(4));
        }
        cache.insert(2, 5);
        assert_eq!(deadline_of(&cache, 2), Some(at(44)), "as configured again");
        let configured = InsertOptions::default();
        assert_eq!(configured.deadline, Deadline::Configured);
        cache.insert_with(1, 6, configured);
        assert_eq!(deadline_of(&cache, 1), Some(at(44)));
    });
}

#[test]
fn entries_that_never_expire_keep_a_cache_without_deadlines_off_the_clock() {
    let asked = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&asked);
    let clock = Clock::from_fn(move || TODAY_NS + counts.fetch_add(1, Ordering::Relaxed));
    let builder = Cache::<u64, u64>::builder().capacity(100).clock(clock);
    let cache = builder.build().unwrap();
    for key in 0..200 {
        cache.insert_with_deadline(key, key, None);
        cache.set_deadline(&key, None);
        cache.get(&key);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    cache.insert_with_deadline(1, 1, Some(TODAY_NS + SECOND_NS));
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn time_that_goes_back_breaks_nothing() {
    both_engines(|builder, hands, log| {
        let cache = builder.build().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut now_ns = TODAY_NS;
        for step in 0..3_000_u64 {
            let key = random.u64(..200);
            let deadline_ns = now_ns + random.u64(..3 * SECOND_NS) - SECOND_NS / 2;
            match random.u8(..4) {
                0 => {
                    cache.insert_with_deadline(key, step, Some(deadline_ns));
                }
                1 => {
                    cache.set_deadline(&key, Some(deadline_ns));
                }
                2 => {
                    cache.insert(key, step);
                }
                _ => {
                    let deadline_ns = deadline_of(&cache, key).flatten();
                    assert!(deadline_ns.is_none_or(|ns| ns > now_ns));
                }
            }
            // Mostly forward, sometimes back by up to a second.
            now_ns = now_ns + random.u64(..40_000_000) - random.u64(..20_000_000);
            if random.u8(..50) == 0 {
                now_ns -= random.u64(..SECOND_NS);
            }
            hands.set(Duration::from_nanos(now_ns));
            if step % 16 == 0 {
                cache.validate();
            }
        }
        hands.set(Duration::from_nanos(now_ns + 10 * SECOND_NS));
        cache.maintain();
        cache.validate();
        let with_deadline = (0..200).filter_map(|key| deadline_of(&cache, key).flatten());
        assert_eq!(with_deadline.count(), 0);
        let counted = cache.stats();
        assert_eq!(
            counted.insertions,
            cache.len() + log.lock().unwrap().len() as u64
        );
    });
}

#[test]
fn a_pinned_insertion_is_never_evicted() {
    both_engines(|builder, hands, log| {
        let cache = builder.capacity(50).build().unwrap();
        let pinned = InsertOptions {
            pinning: Pinning::Pinned,
            ..InsertOptions::default()
        };
        for key in 0..1_000 {
            cache.insert(key, key);
            if key % 50 == 0 {
                // New, in the place of an evictable entry, and of a pinned one.
                let target = if key % 100 == 0 { key } else { key + 10_000 };
                let insertion = cache.insert_with(target, key, pinned);
                assert!(insertion.is_admitted());
                cache.insert(target, key + 1);
            }
            cache.validate();
        }
        for key in (0..1_000).step_by(50) {
            let target = if key % 100 == 0 { key } else { key + 10_000 };
            assert_eq!(cache.get(&target), Some(key + 1));
            assert!(cache.unpin(&target));
        }
        for key in 2_000..4_000 {
            cache.insert(key, key);
        }
        assert!((0..1_000).step_by(100).any(|key| cache.get(&key).is_none()));
        let all_pinned = (0..60).map(|key| cache.insert_with(key, key, pinned));
        let rejected = all_pinned.filter(|insertion| !insertion.is_admitted());
        assert_eq!(rejected.count(), 10, "what is pinned fills the cache");
        let until = InsertOptions {
            deadline: Deadline::At(TODAY_NS + SECOND_NS),
            ..pinned
        };
        assert_eq!(cache.insert_with(3, 4, until), Insertion::Replaced);
        log.lock().unwrap().clear();
        hands.advance(Duration::from_secs(1));
        assert_eq!(cache.get(&3), None, "pinned entries expire");
        cache.maintain();
        assert_eq!(cache.insert(100, 0), Insertion::Created, "and give room");
        cache.validate();
    });
}

#[test]
fn entries_with_a_deadline_are_counted_whatever_becomes_of_them() {
    both_engines(|builder, hands, _| {
        let cache = builder.build().unwrap();
        let deadline_ns = Some(TODAY_NS + SECOND_NS);
        for key in 0..100 {
            cache.insert_with_deadline(key, 0, deadline_ns.filter(|_| key % 2 == 0));
        }
        assert_eq!((cache.len(), cache.len_expiring()), (100, 50));
        // Replaced by one that has none, by one that has one; given one, robbed of one; removed.
        cache.insert_with_deadline(0, 1, None);
        cache.insert_with_deadline(1, 1, deadline_ns);
        cache.insert_with_deadline(2, 1, deadline_ns);
        assert_eq!(cache.len_expiring(), 50);
        cache.set_deadline(&3, deadline_ns);
        assert_eq!(cache.len_expiring(), 51);
        cache.set_deadline(&4, None);
        cache.invalidate(&6);
        assert_eq!(cache.len_expiring(), 49);
        hands.advance(Duration::from_secs(2));
        cache.maintain();
        assert_eq!((cache.len(), cache.len_expiring()), (50, 0));
        cache.validate();
        // Evicted.
        let deadline_ns = Some(TODAY_NS + YEAR_NS);
        for key in 0..5_000 {
            cache.insert_with_deadline(key, 0, deadline_ns);
        }
        assert_eq!((cache.len(), cache.len_expiring()), (1_000, 1_000));
        cache.clear();
        assert_eq!(cache.len_expiring(), 0);
        cache.validate();
    });
}

/// Whether a key is found in one way or another.
type Read = fn(&Cache<u64, u64>, u64) -> bool;

#[test]
fn reads_remove_what_has_expired_if_they_are_to() {
    both_engines(|builder, hands, log| {
        let cache = builder.build().unwrap();
        let reads: [(u64, Read); 6] = [
            (0, |cache, key| cache.get(&key).is_some()),
            (1, |cache, key| cache.contains_key(&key)),
            (2, |cache, key| cache.get_ref(&key).is_some()),
            (3, |cache, key| cache.peek(&key).is_some()),
            (4, |cache, key| cache.get_many([&key])[0].is_some()),
            (5, |cache, _| {
                let mut seen = false;
                cache.scan(0, 100, |entry| seen |= *entry.key() == 5);
                seen
            }),
        ];
        for (key, read) in reads {
            for on in [false, true] {
                cache.remove_expired_on_read(on);
                let deadline_ns = TODAY_NS + (key + 1) * SECOND_NS;
                cache.insert_with_deadline(key, 1, Some(deadline_ns));
                assert!(read(&cache, key));
                hands.set(Duration::from_nanos(deadline_ns));
                assert!(!read(&cache, key));
                assert_eq!(cache.len(), u64::from(!on), "{key}");
                let expired = log.lock().unwrap().last() == Some(&(key, 1, RemovalCause::Expired));
                assert_eq!(expired, on, "{key}");
                hands.set(Duration::from_nanos(TODAY_NS));
                cache.invalidate(&key);
                log.lock().unwrap().clear();
                cache.validate();
            }
        }
    });
}

#[test]
fn a_read_that_finds_an_entry_expired_never_removes_its_successor() {
    both_engines(|builder, _, _| {
        let cache = builder.build().unwrap();
        cache.remove_expired_on_read(true);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..5_000 {
                    cache.insert_with_deadline(1, round, Some(TODAY_NS));
                    cache.insert(1, round);
                    assert_eq!(cache.get(&1), Some(round));
                }
            });
            while !writer.is_finished() {
                cache.get(&1);
            }
        });
        cache.validate();
    });
}
