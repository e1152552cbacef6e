//! Operations on one key are linearizable: recorded concurrent histories of real caches, checked.
//!
//! Threads run random operations on a few keys and note, by one counter, when each was called and
//! when it returned. Each key's history is then checked alone, as J. M. Wing and C. Gong do it in
//! "Testing and Verifying Concurrent Objects" (JPDC 1993): is there an order of the operations that
//! keeps those that did not overlap as they were and in which a plain register gives the same
//! answers? The search remembers what it has tried (G. Lowe, "Testing for linearizability", 2017).
//!
//! Where nothing is evicted the register is exact. Where entries are evicted it may forget its value
//! at any moment, but never find it again.
//!
//! `NUTHATCH_STRESS=100` runs a hundred times as many rounds.

use fastrand::Rng;
use nuthatch::{Cache, Clock, Compute, Engine, Insertion, Policy};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

/// An operation together with what it answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    /// Found this.
    Get(Option<u64>),
    Contains(bool),
    Insert(u64, Insertion),
    /// Whether it inserted.
    InsertIfAbsent(u64, bool),
    /// Took this out.
    Remove(Option<u64>),
    /// Took this even value out, or found none that is even.
    RemoveEven(Option<u64>),
    /// Saw the first and put the second.
    Replace(Option<u64>, u64),
    /// Saw this and took it out.
    ComputeRemove(Option<u64>),
    /// One key's part in the invalidation of all.
    Invalidate,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    called: u64,
    returned: u64,
    operation: Operation,
}

/// What the register holds after `operation`, or `None` if it would have answered otherwise.
fn apply(operation: Operation, state: Option<u64>) -> Option<Option<u64>> {
    let (as_answered, after) = match operation {
        Operation::Get(found) => (state == found, state),
        Operation::Contains(found) => (state.is_some() == found, state),
        Operation::Insert(value, Insertion::Created) => (state.is_none(), Some(value)),
        Operation::Insert(value, Insertion::Replaced) => (state.is_some(), Some(value)),
        Operation::Insert(_, Insertion::Rejected) => (true, None),
        Operation::InsertIfAbsent(value, true) => (state.is_none(), Some(value)),
        Operation::InsertIfAbsent(_, false) => (state.is_some(), state),
        Operation::Remove(found) => (state == found, None),
        Operation::RemoveEven(Some(found)) => (state == Some(found) && found % 2 == 0, None),
        Operation::RemoveEven(None) => (state.is_none_or(|value| value % 2 == 1), state),
        Operation::Replace(seen, value) => (state == seen, Some(value)),
        Operation::ComputeRemove(seen) => (state == seen, None),
        Operation::Invalidate => (true, None),
    };
    as_answered.then_some(after)
}

/// Whether a register that begins with `initial` can have answered like this. With `forgets`, it may
/// lose its value at any moment.
fn is_linearizable(history: &[Event], initial: Option<u64>, forgets: bool) -> bool {
    assert!(
        history.len() <= 128,
        "a history's set of operations is a u128"
    );
    let all = u128::MAX
        .checked_shr(128 - history.len() as u32)
        .unwrap_or(0);
    let mut tried = HashSet::new();
    let mut open = vec![(0_u128, initial)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !tried.insert((done, state)) {
            continue;
        }
        let pending = || (0..history.len()).filter(|&i| done & 1 << i == 0);
        let first_return = pending().map(|i| history[i].returned).min();
        let first_return = first_return.expect("not all operations are done");
        for i in pending().filter(|&i| history[i].called < first_return) {
            let forgotten = (forgets && state.is_some()).then_some(None);
            for state in [Some(state), forgotten].into_iter().flatten() {
                if let Some(after) = apply(history[i].operation, state) {
                    open.push((done | 1 << i, after));
                }
            }
        }
    }
    false
}

/// How a history is made.
#[derive(Clone, Copy)]
struct Plan {
    keys: u64,
    threads: usize,
    operations: usize,
    /// One operation in so many invalidates all.
    invalidate_one_in: Option<u32>,
    /// Whether a cache so small may reject.
    may_reject: bool,
}

fn run_one(cache: &Cache<u64, u64>, rng: &mut Rng, key: u64, value: u64, plan: Plan) -> Operation {
    match rng.u32(0..16) {
        0 | 1 => Operation::Get(cache.get(&key)),
        2 => Operation::Get(cache.peek(&key)),
        3 => Operation::Get(cache.get_ref(&key).map(|entry| *entry)),
        4 => Operation::Get(cache.with(&key, |value| *value)),
        5 => Operation::Get(cache.get_many([&key])[0]),
        6 => Operation::Contains(cache.contains_key(&key)),
        7..10 => {
            let insertion = cache.insert(key, value);
            assert!(insertion.is_admitted() || plan.may_reject);
            Operation::Insert(value, insertion)
        }
        10 => match cache.insert_if_absent(key, value) {
            Ok(Insertion::Created) => Operation::InsertIfAbsent(value, true),
            Ok(insertion) => Operation::Insert(value, insertion),
            Err(back) => {
                assert_eq!(back, (key, value));
                Operation::InsertIfAbsent(value, false)
            }
        },
        11 => Operation::Remove(cache.remove(&key)),
        12 => Operation::RemoveEven(cache.remove_if(&key, |_, value| value % 2 == 0)),
        13 => {
            let mut seen = None;
            let after = cache.compute(key, |value| {
                seen = value.copied();
                Compute::Keep
            });
            assert_eq!(after, seen);
            Operation::Get(seen)
        }
        14 => {
            let mut seen = None;
            let after = cache.compute(key, |found| {
                seen = found.copied();
                Compute::Put(value)
            });
            match after {
                Some(after) => {
                    assert_eq!(after, value);
                    Operation::Replace(seen, value)
                }
                None => Operation::Insert(value, Insertion::Rejected),
            }
        }
        _ => {
            let mut seen = None;
            let after = cache.compute(key, |value| {
                seen = value.copied();
                Compute::Remove
            });
            assert_eq!(after, None);
            Operation::ComputeRemove(seen)
        }
    }
}

/// The history of each key in one round.
fn record(cache: &Cache<u64, u64>, plan: Plan, seed: u64) -> Vec<Vec<Event>> {
    let clock = AtomicU64::new(0);
    let start = Barrier::new(plan.threads);
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let events: Vec<Vec<(u64, Event)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads as u64)
            .map(|number| {
                let (start, tick) = (&start, &tick);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed << 8 | number);
                    let mut events = Vec::with_capacity(plan.operations);
                    start.wait();
                    for operation in 0..plan.operations as u64 {
                        let key = rng.u64(0..plan.keys);
                        let all = plan
                            .invalidate_one_in
                            .is_some_and(|one_in| rng.u32(0..one_in) == 0);
                        let value = seed << 24 | number << 16 | operation;
                        let called = tick();
                        let (keys, operation) = if all {
                            cache.invalidate_all();
                            (0..plan.keys, Operation::Invalidate)
                        } else {
                            let operation = run_one(cache, &mut rng, key, value, plan);
                            (key..key + 1, operation)
                        };
                        let event = Event {
                            called,
                            returned: tick(),
                            operation,
                        };
                        events.extend(keys.map(|key| (key, event)));
                    }
                    events
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect()
    });
    let mut histories = vec![Vec::new(); plan.keys as usize];
    for (key, event) in events.into_iter().flatten() {
        histories[key as usize].push(event);
    }
    histories
}

fn check_rounds(cache: &Cache<u64, u64>, plan: Plan, forgets: bool, seed: u64) {
    let stress = std::env::var("NUTHATCH_STRESS");
    let factor: u64 = stress.map_or(1, |factor| factor.parse().expect("a number of rounds"));
    for round in 0..25 * factor {
        let initial: Vec<_> = (0..plan.keys).map(|key| cache.peek(&key)).collect();
        let histories = record(cache, plan, seed.wrapping_add(round));
        for (history, initial) in histories.iter().zip(initial) {
            assert!(
                is_linearizable(history, initial, forgets),
                "no order of these operations explains their answers; the register began with \
                 {initial:?}: {history:#?}"
            );
        }
    }
    cache.validate();
}

fn caches(capacity: u64) -> impl Iterator<Item = Cache<u64, u64>> {
    let engines = [Engine::LockFree, Engine::Locked];
    // One for each thing that a hit may do, and the default.
    let policies = [Policy::Fifo, Policy::clock(), Policy::Lru, Policy::Default];
    engines.into_iter().flat_map(move |engine| {
        policies.clone().into_iter().flat_map(move |policy| {
            [1, 4].map(|shards| {
                let builder = Cache::builder().engine(engine).policy(policy.clone());
                let builder = builder.capacity(capacity).shards(shards);
                builder.build().expect("the settings are right")
            })
        })
    })
}

#[test]
fn histories_without_evictions_are_those_of_registers() {
    let plan = Plan {
        keys: 2,
        threads: 4,
        operations: 16,
        invalidate_one_in: None,
        may_reject: false,
    };
    for (seed, cache) in caches(100).enumerate() {
        check_rounds(&cache, plan, false, seed as u64 * 1000);
        assert_eq!(cache.stats().evicted, 0);
    }
}

#[test]
fn histories_with_invalidations_of_all_are_those_of_registers() {
    let plan = Plan {
        keys: 3,
        threads: 3,
        operations: 16,
        invalidate_one_in: Some(8),
        may_reject: false,
    };
    for (seed, cache) in caches(100).enumerate() {
        check_rounds(&cache, plan, false, seed as u64 * 1000);
        assert_eq!(cache.stats().evicted, 0);
    }
}

#[test]
fn histories_with_evictions_are_those_of_registers_that_forget() {
    let plan = Plan {
        keys: 8,
        threads: 4,
        operations: 40,
        invalidate_one_in: None,
        may_reject: true,
    };
    for (seed, cache) in caches(4).enumerate() {
        check_rounds(&cache, plan, true, seed as u64 * 1000);
        assert!(cache.stats().evicted > 0);
    }
}

/// A reader finds a value that is alive, is held up, and goes on when that value's time is over;
/// meanwhile the value was replaced in time. To say that the key is absent would be wrong at every
/// moment. The clock, which the reader asks in between, does what the others would do.
#[test]
fn a_value_replaced_in_time_is_not_missed_by_a_reader_that_was_held_up() {
    let get = |cache: &Cache<u64, u64>| cache.get(&1);
    let get_ref = |cache: &Cache<u64, u64>| cache.get_ref(&1).map(|entry| *entry);
    for (engine, read) in [
        (Engine::LockFree, get as fn(&_) -> _),
        (Engine::LockFree, get_ref),
        (Engine::Locked, get),
        (Engine::Locked, get_ref),
    ] {
        let (clock, hands) = Clock::manual();
        let shared: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        let held_up = Arc::new(AtomicBool::new(false));
        let clock = Clock::from_fn({
            // Weak: the cache owns its clock, which must not own the cache.
            let (shared, held_up) = (Arc::downgrade(&shared), Arc::clone(&held_up));
            move || {
                if held_up.swap(false, Ordering::Relaxed) {
                    hands.set(Duration::from_secs(9));
                    let shared = shared.upgrade().expect("the test holds it");
                    let cache = shared.get().expect("it is built");
                    cache.insert_with_ttl(1, 2, Duration::from_secs(10));
                    hands.set(Duration::from_secs(11));
                }
                clock.now_ns()
            }
        });
        let cache = Cache::builder().capacity(10).engine(engine).clock(clock);
        let cache = cache.build().expect("the settings are right");
        let cache = shared.get_or_init(|| cache);
        cache.insert_with_ttl(1, 1, Duration::from_secs(10));
        held_up.store(true, Ordering::Relaxed);
        assert_eq!(read(cache), Some(2), "{engine}");
    }
}

// ---- the checker ------------------------------------------------------------------------------

fn event(called: u64, returned: u64, operation: Operation) -> Event {
    Event {
        called,
        returned,
        operation,
    }
}

#[test]
fn the_checker_accepts_overlapping_operations_in_any_order() {
    let history = [
        event(0, 9, Operation::Insert(1, Insertion::Replaced)),
        event(1, 8, Operation::Insert(2, Insertion::Created)),
        event(2, 3, Operation::Get(Some(2))),
        event(4, 5, Operation::Get(Some(1))),
        event(10, 11, Operation::Remove(Some(1))),
        event(12, 13, Operation::Get(None)),
    ];
    assert!(is_linearizable(&history, None, false));
}

#[test]
fn the_checker_rejects_what_no_register_answers() {
    let insert = event(0, 1, Operation::Insert(1, Insertion::Created));
    let overwrite = event(2, 3, Operation::Insert(2, Insertion::Replaced));
    let wrong: [(&str, Vec<Event>); 6] = [
        (
            "a value read after it was overwritten",
            vec![insert, overwrite, event(4, 5, Operation::Get(Some(1)))],
        ),
        (
            "a value that nobody wrote",
            vec![insert, event(2, 3, Operation::Get(Some(7)))],
        ),
        (
            "new, then old",
            vec![
                insert,
                event(2, 9, Operation::Insert(2, Insertion::Replaced)),
                event(3, 4, Operation::Get(Some(2))),
                event(5, 6, Operation::Get(Some(1))),
            ],
        ),
        (
            "one value removed twice",
            vec![
                insert,
                event(2, 4, Operation::Remove(Some(1))),
                event(3, 5, Operation::Remove(Some(1))),
            ],
        ),
        (
            "two updates of one value",
            vec![
                insert,
                event(2, 4, Operation::Replace(Some(1), 2)),
                event(3, 5, Operation::Replace(Some(1), 3)),
            ],
        ),
        (
            "two that found the key absent",
            vec![
                event(0, 2, Operation::InsertIfAbsent(1, true)),
                event(1, 3, Operation::InsertIfAbsent(2, true)),
            ],
        ),
    ];
    for (what, history) in wrong {
        assert!(!is_linearizable(&history, None, false), "{what}");
    }
    assert!(
        !is_linearizable(&[insert, event(2, 3, Operation::Get(None))], None, false),
        "a value lost"
    );
}

#[test]
fn a_register_that_forgets_does_not_remember_again() {
    let history = [
        event(0, 1, Operation::Insert(1, Insertion::Created)),
        event(2, 3, Operation::Get(None)),
    ];
    assert!(is_linearizable(&history, None, true));
    let again = [history[0], history[1], event(4, 5, Operation::Get(Some(1)))];
    assert!(!is_linearizable(&again, None, true));
    let stale = [
        history[0],
        event(2, 3, Operation::Insert(2, Insertion::Replaced)),
        event(4, 5, Operation::Get(Some(1))),
    ];
    assert!(!is_linearizable(&stale, None, true));
}
