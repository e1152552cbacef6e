//! Scans whose cursor is all that they keep, and samples.

use nuthatch::{Cache, Clock, Engine};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

/// A scan under way in a model: what has been there since it began, and what it has visited.
struct Scan {
    cursor: u64,
    owed: BTreeSet<u64>,
    visited: BTreeSet<u64>,
}

/// A cache that starts with a small table, and in which nothing is evicted.
fn growing(engine: Engine, shards: usize) -> Cache<u64, u64> {
    let builder = Cache::builder().weight_capacity(1 << 40).weigher(|_, _| 1);
    builder
        .engine(engine)
        .shards(shards)
        .seed(5)
        .build()
        .unwrap()
}

fn whole(cache: &Cache<u64, u64>, count: usize) -> Vec<u64> {
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        cursor = cache.scan(cursor, count, |entry| {
            assert_eq!(cache.peek(entry.key()), Some(*entry.value()));
            seen.push(*entry.key());
        });
        if cursor == 0 {
            return seen;
        }
    }
}

#[test]
fn a_scan_of_a_quiet_cache_visits_each_entry_once() {
    for engine in [Engine::LockFree, Engine::Locked] {
        for shards in [1, 8] {
            let cache = growing(engine, shards);
            assert_eq!(whole(&cache, 10), []);
            for size in [1, 2, 100, 10_000] {
                for key in 0..size {
                    cache.insert(key, size);
                }
                for count in [0, 1, 10, usize::MAX] {
                    let mut seen = whole(&cache, count);
                    seen.sort_unstable();
                    assert!(seen.into_iter().eq(0..size));
                }
            }
        }
    }
}

/// A page of a scan was empty, and its cursor not 0, where the first entries came after many places
/// that were free, which users of a small cache take for its end.
#[test]
fn a_page_is_as_long_as_asked_for_also_where_entries_are_sparse() {
    for engine in [Engine::LockFree, Engine::Locked] {
        for shards in [1, 64, 1024] {
            let cache = growing(engine, shards);
            // Tables keep their size when they are cleared.
            for key in 0..20_000 {
                cache.insert(key, 0);
            }
            cache.clear();
            for key in 0..25 {
                cache.insert(key, 0);
            }
            let (mut cursor, mut pages) = (0, Vec::new());
            loop {
                let mut visited = 0;
                cursor = cache.scan(cursor, 10, |_| visited += 1);
                pages.push(visited);
                if cursor == 0 {
                    break;
                }
            }
            assert!(
                matches!(pages[..], [10..15, 10..15] | [10..15, 10..15, 1..=5]),
                "{pages:?} of {shards} shards"
            );
        }
    }
}

#[test]
fn what_is_there_all_along_is_visited_whatever_else_happens() {
    for engine in [Engine::LockFree, Engine::Locked] {
        for (shards, seed) in [(1, 1), (1, 2), (4, 3), (16, 4)] {
            let cache = growing(engine, shards);
            let mut model = BTreeMap::new();
            let mut random = fastrand::Rng::with_seed(seed);
            let mut scans: Vec<Scan> = Vec::new();
            let (mut finished, mut keys) = (0, 200);
            for step in 0..40_000_u64 {
                // The table grows all the time, so most scans see it grow.
                keys += u64::from(step % 4 == 0);
                let key = random.u64(..keys);
                match random.u8(..8) {
                    0..5 => {
                        cache.insert(key, step);
                        model.insert(key, step);
                    }
                    5 => {
                        assert_eq!(cache.remove(&key), model.remove(&key));
                        for scan in &mut scans {
                            scan.owed.remove(&key);
                        }
                    }
                    6 if scans.len() < 4 => scans.push(Scan {
                        cursor: 0,
                        owed: model.keys().copied().collect(),
                        visited: BTreeSet::new(),
                    }),
                    _ => {
                        let Some(scan) = scans.first_mut() else {
                            continue;
                        };
                        let count = random.usize(1..60);
                        let mut visits = 0;
                        scan.cursor = cache.scan(scan.cursor, count, |entry| {
                            assert_eq!(model.get(entry.key()), Some(entry.value()));
                            scan.visited.insert(*entry.key());
                            visits += 1;
                        });
                        assert!(visits < count + 40, "{visits} visits, not {count}");
                        if scan.cursor == 0 {
                            let missed: Vec<_> = scan.owed.difference(&scan.visited).collect();
                            assert!(missed.is_empty(), "never visited: {missed:?}");
                            scans.remove(0);
                            finished += 1;
                        } else {
                            scans.rotate_left(1);
                        }
                    }
                }
            }
            cache.validate();
            assert!(finished > 10, "{finished} scans came to their end");
        }
    }
}

#[test]
fn scans_beside_writers_miss_nothing_that_stays() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let cache = growing(engine, 4);
        for key in 0..2_000 {
            cache.insert(key, 0);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = fastrand::Rng::with_seed(1);
                let mut fresh = 1 << 32;
                for _ in 0..50_000 {
                    cache.insert(random.u64(..2_000), 1);
                    cache.insert(fresh, 2);
                    fresh += 1;
                    cache.remove(&random.u64(1 << 32..=fresh));
                }
            });
            for count in [1, 7, 100, 1_000] {
                let (mut cursor, mut seen) = (0, BTreeSet::new());
                loop {
                    cursor = cache.scan(cursor, count, |entry| {
                        seen.insert(*entry.key());
                    });
                    if cursor == 0 {
                        break;
                    }
                }
                assert!((0..2_000).all(|key| seen.contains(&key)));
            }
        });
        cache.validate();
    }
}

#[test]
fn any_number_is_a_cursor() {
    let cache = growing(Engine::LockFree, 4);
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    let mut random = fastrand::Rng::with_seed(3);
    for cursor in [
        1,
        u64::MAX,
        1 << 32,
        4 << 32,
        (4 << 32) - 1,
        u64::from(u32::MAX),
    ] {
        cache.scan(cursor, 10, |entry| assert!(*entry.key() < 1_000));
    }
    for _ in 0..1_000 {
        cache.scan(random.u64(..) >> random.u32(..64), 10, |entry| {
            assert!(*entry.key() < 1_000);
        });
    }
    assert_eq!(cache.scan(u64::MAX, 10, |_| panic!("behind the end")), 0);
}

#[test]
fn scans_and_samples_see_no_expired_entry_and_leave_no_trace() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let (clock, hands) = Clock::manual();
        let builder = Cache::<u64, u64>::builder().capacity(1_000).clock(clock);
        let cache = builder.engine(engine).build().unwrap();
        for key in 0..500 {
            cache.insert_with_deadline(key, key, (key % 100 != 7).then_some(1_000));
        }
        hands.advance(Duration::from_nanos(1_000));
        let counted = cache.stats();
        let mut seen = whole(&cache, 10);
        seen.sort_unstable();
        assert_eq!(seen, [7, 107, 207, 307, 407]);
        for random in 0..200 {
            assert_eq!(cache.sample(random).unwrap().key() % 100, 7);
        }
        assert_eq!(cache.stats(), counted);
        cache.clear();
        assert!(cache.sample(1).is_none());
    }
}

#[test]
fn every_entry_is_sampled_about_as_often() {
    for engine in [Engine::LockFree, Engine::Locked] {
        // Full tables, and one that is nearly empty, whose entries are found though not as fairly.
        for (capacity, entries, is_fair) in
            [(1_000, 1_000, true), (10, 10, true), (100_000, 20, false)]
        {
            let hasher = BuildHasherDefault::<DefaultHasher>::default();
            let builder = Cache::<u64, u64>::builder()
                .capacity(capacity)
                .hasher(hasher);
            let cache = builder.engine(engine).shards(1).build().unwrap();
            for key in 0..entries {
                cache.insert(key, key);
            }
            for sequential in [true, false] {
                let mut random = fastrand::Rng::with_seed(1);
                let mut seen = BTreeMap::new();
                for n in 0..200 * entries {
                    let number = if sequential { n } else { random.u64(..) };
                    let entry = cache.sample(number).expect("not empty");
                    *seen.entry(*entry.key()).or_insert(0) += 1;
                }
                assert_eq!(seen.len() as u64, entries, "each is sampled");
                let (least, most) = (seen.values().min(), seen.values().max());
                assert!(
                    !is_fair || (least >= Some(&100) && most <= Some(&400)),
                    "{least:?} to {most:?} times, not 200"
                );
            }
        }
    }
}
