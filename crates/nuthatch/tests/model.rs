//! Random operations on a cache, compared with a plain model after each step.

use nuthatch::{
    Cache, Clock, Compute, Deadline, Engine, InsertOptions, Insertion, Pinning, Pins, Policy,
    RemovalCause,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

type Removals = Arc<Mutex<Vec<(u64, Arc<u64>, RemovalCause)>>>;

/// What the model knows of an entry.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    value: Arc<u64>,
    weight: u32,
    deadline_ns: Option<u64>,
    pinned: bool,
}

struct Run {
    cache: Cache<u64, Arc<u64>>,
    model: HashMap<u64, Known>,
    heard: Removals,
    capacity: u64,
    weighed: bool,
    now_ns: u64,
    inserted: u64,
}

fn weight_of(value: u64) -> u32 {
    (value % 7) as u32
}

impl Run {
    /// Takes what the listener heard out of the model; evictions must be of entries that were
    /// there, and only if there was no room.
    fn follow(&mut self, may_evict: bool) {
        for (key, value, cause) in self.heard.lock().unwrap().drain(..) {
            match cause {
                RemovalCause::Evicted => {
                    assert!(may_evict, "{key} was evicted though everything fits");
                    let known = self.model.remove(&key).expect("an evicted entry was there");
                    assert!(Arc::ptr_eq(&known.value, &value));
                    assert!(!known.pinned, "{key} is pinned");
                }
                RemovalCause::Expired => {
                    let known = self.model.remove(&key).expect("an expired entry was there");
                    assert!(Arc::ptr_eq(&known.value, &value));
                    assert!(known.deadline_ns.is_some_and(|ns| ns <= self.now_ns));
                }
                RemovalCause::Replaced | RemovalCause::Invalidated => {
                    if self
                        .model
                        .get(&key)
                        .is_some_and(|known| Arc::ptr_eq(&known.value, &value))
                    {
                        self.model.remove(&key);
                    }
                }
            }
        }
    }

    fn live(&self, key: u64) -> Option<&Known> {
        self.model
            .get(&key)
            .filter(|known| known.deadline_ns.is_none_or(|ns| ns > self.now_ns))
    }

    fn check(&mut self) {
        self.cache.validate();
        assert!(self.cache.weight() <= self.capacity);
        let weight: u64 = self
            .model
            .values()
            .map(|known| u64::from(known.weight))
            .sum();
        assert_eq!(
            self.cache.weight(),
            weight,
            "the model and the cache weigh the same"
        );
        assert_eq!(self.cache.len(), self.model.len() as u64);
        let stats = self.cache.stats();
        assert_eq!(
            stats.insertions,
            self.cache.len() + stats.replaced + stats.evicted + stats.expired + stats.invalidated,
            "every entry is there or was counted out"
        );
        assert_eq!(stats.insertions, self.inserted);
    }
}

/// Today, as nanoseconds since 1970.
const TODAY_NS: u64 = 1_790_000_000_000_000_000;

fn run(policy: Policy, engine: Engine, shards: usize, weighed: bool, seed: u64, start_ns: u64) {
    let heard: Removals = Arc::default();
    let hears = Arc::clone(&heard);
    let (clock, hands) = Clock::manual();
    hands.set(Duration::from_nanos(start_ns));
    let capacity = if weighed { 200 } else { 64 };
    let mut builder = Cache::builder()
        .policy(policy)
        .engine(engine)
        .shards(shards)
        .seed(seed)
        .clock(clock)
        .listener(move |key: &u64, value: &Arc<u64>, cause| {
            hears.lock().unwrap().push((*key, Arc::clone(value), cause));
        });
    builder = if weighed {
        builder
            .weight_capacity(capacity)
            .weigher(|_, value| weight_of(**value))
    } else {
        builder.capacity(capacity)
    };
    let mut random = Random(seed);
    let mut run = Run {
        cache: builder.build().unwrap(),
        model: HashMap::new(),
        heard,
        capacity,
        weighed,
        now_ns: start_ns,
        inserted: 0,
    };
    for step in 0..1_000 {
        let key = random.below(150);
        match random.below(23) {
            0..8 => {
                let value = Arc::new(random.next());
                let soon_ns = run.now_ns + random.below(50) * 1_000_000;
                let pinned = run.model.values().filter(|known| known.pinned).count();
                let mut options = InsertOptions {
                    pinning: match random.below(16) {
                        0 if pinned < 5 => Pinning::Pinned,
                        1 => Pinning::Unpinned,
                        _ => Pinning::AsBefore,
                    },
                    keeps_old: random.below(4) == 0,
                    ..InsertOptions::default()
                };
                let mut time_to_live = None;
                match random.below(8) {
                    0 | 1 => {
                        time_to_live = Some(Duration::from_nanos(soon_ns - run.now_ns));
                        options = InsertOptions::default();
                    }
                    2 => options.deadline = Deadline::At(soon_ns),
                    3 => options.deadline = Deadline::At(random.below(run.now_ns + 1)),
                    4 => options.deadline = Deadline::At(u64::MAX - random.below(3)),
                    5 => options.deadline = Deadline::Never,
                    _ => {}
                }
                let weight = if run.weighed { weight_of(*value) } else { 1 };
                let before = run.live(key).cloned();
                let old = before.as_ref().map_or(0, |known| u64::from(known.weight));
                let full = run.cache.weight() + u64::from(weight) > run.capacity + old;
                let insertion = match time_to_live {
                    None if options == InsertOptions::default() => {
                        run.cache.insert(key, Arc::clone(&value))
                    }
                    None => run.cache.insert_with(key, Arc::clone(&value), options),
                    Some(ttl) => run.cache.insert_with_ttl(key, Arc::clone(&value), ttl),
                };
                run.follow(full);
                if insertion != Insertion::Rejected {
                    if !full {
                        assert_eq!(insertion == Insertion::Replaced, before.is_some());
                    }
                    run.inserted += 1;
                    let deadline_ns = match (time_to_live, options.deadline) {
                        (Some(_), _) => Some(soon_ns),
                        (None, Deadline::At(ns)) => Some(ns).filter(|&ns| ns != u64::MAX),
                        (None, Deadline::Never | Deadline::Configured) => None,
                    };
                    run.model.insert(
                        key,
                        Known {
                            value,
                            weight,
                            deadline_ns,
                            pinned: match options.pinning {
                                Pinning::Pinned => true,
                                Pinning::Unpinned => false,
                                Pinning::AsBefore => {
                                    before.is_some_and(|known| known.pinned)
                                        && insertion == Insertion::Replaced
                                }
                            },
                        },
                    );
                }
            }
            8..13 => {
                let expected = run.live(key).map(|known| Arc::clone(&known.value));
                assert_eq!(run.cache.get(&key), expected, "step {step}");
                assert_eq!(run.cache.get_ref(&key).map(|e| Arc::clone(&e)), expected);
                assert_eq!(run.cache.contains_key(&key), expected.is_some());
                let expected = run
                    .live(key)
                    .map(|known| (key, Arc::clone(&known.value), known.deadline_ns));
                let seen = |entry: nuthatch::EntryView<'_, u64, Arc<u64>>| {
                    (*entry.key(), Arc::clone(entry.value()), entry.deadline_ns())
                };
                assert_eq!(run.cache.with_entry(&key, seen), expected);
                assert_eq!(run.cache.peek_with(&key, seen), expected);
            }
            13 => {
                let expected = run.live(key).map(|known| Arc::clone(&known.value));
                assert_eq!(run.cache.remove(&key), expected);
                run.follow(false);
                assert!(run.live(key).is_none());
            }
            14 => {
                let expected = run
                    .live(key)
                    .filter(|known| *known.value % 2 == 0)
                    .map(|known| Arc::clone(&known.value));
                assert_eq!(
                    run.cache.remove_if(&key, |_, value| **value % 2 == 0),
                    expected
                );
                run.follow(false);
            }
            15 => {
                let current = run.live(key).cloned();
                let value = run.cache.compute(key, |value| {
                    assert_eq!(value, current.as_ref().map(|known| &known.value));
                    Compute::Keep
                });
                assert_eq!(value, current.map(|known| known.value));
            }
            16 => {
                // A few may be pinned, not so many that nothing can be evicted.
                let pinned = run.model.values().filter(|known| known.pinned).count();
                let pin = pinned < 5;
                let live = run.live(key).is_some();
                let found = if pin {
                    run.cache.pin(&key)
                } else {
                    run.cache.unpin(&key)
                };
                assert_eq!(found, live);
                run.follow(false);
                if live {
                    run.model.get_mut(&key).unwrap().pinned = pin;
                }
            }
            17 => {
                let maintains = random.below(4) == 0;
                // An entry that was over when it was written is due two of the wheel's ticks later.
                let least_ns = if maintains { 2 << 20 } else { 0 };
                let by = Duration::from_nanos(least_ns + random.below(10_000_000));
                hands.advance(by);
                run.now_ns += by.as_nanos() as u64;
                if maintains {
                    run.cache.maintain();
                    run.follow(false);
                    let deadline = run
                        .model
                        .values()
                        .filter_map(|known| known.deadline_ns)
                        .min();
                    // The wheel's tick is 2^20 ns.
                    assert!(deadline.is_none_or(|ns| ns.saturating_add(2 << 20) > run.now_ns));
                }
            }
            18 => {
                let mut seen: Vec<u64> = run.cache.iter().map(|entry| *entry.key()).collect();
                seen.sort_unstable();
                let mut keys: Vec<u64> = run.model.keys().copied().collect();
                keys.retain(|&key| run.live(key).is_some());
                keys.sort_unstable();
                assert_eq!(seen, keys);
                seen.clear();
                let (mut cursor, count) = (0, random.below(20) as usize);
                loop {
                    cursor = run
                        .cache
                        .scan(cursor, count, |entry| seen.push(*entry.key()));
                    if cursor == 0 {
                        break;
                    }
                }
                seen.sort_unstable();
                assert_eq!(seen, keys);
                let sample = run.cache.sample(random.next()).map(|entry| *entry.key());
                assert_eq!(sample.is_some(), !keys.is_empty());
                assert!(sample.is_none_or(|key| keys.contains(&key)));
            }
            19 | 20 => {
                let deadline_ns = match random.below(4) {
                    0 => None,
                    1 => Some(random.below(run.now_ns + 1)),
                    2 => Some(run.now_ns + random.below(1 << 40)),
                    _ => Some(run.now_ns + 1 + random.below(50_000_000)),
                };
                assert_eq!(
                    run.cache.set_deadline(&key, deadline_ns),
                    run.live(key).is_some()
                );
                if run.live(key).is_some() {
                    run.model.get_mut(&key).unwrap().deadline_ns = deadline_ns;
                }
                run.follow(false);
                assert!(
                    deadline_ns.is_none_or(|ns| ns > run.now_ns) || !run.model.contains_key(&key),
                    "what is over leaves at once"
                );
            }
            21 if random.below(6) == 0 => {
                run.cache.pin_all(Pins::WithoutDeadline);
                run.cache.validate();
                run.cache.pin_all(Pins::None);
                for known in run.model.values_mut() {
                    known.pinned = false;
                }
                run.follow(false);
            }
            21 if random.below(3) == 0 => {
                let all = Policy::built_in();
                let chosen = &all[random.below(all.len() as u64) as usize];
                let policy: Policy = chosen.name.parse().unwrap();
                run.cache.set_policy(policy.clone());
                assert_eq!(run.cache.policy(), policy);
                // Nothing leaves, not even by time.
                run.follow(false);
            }
            _ if random.below(40) == 0 => {
                run.cache.invalidate_all();
                assert_eq!(run.cache.len(), 0);
                assert_eq!(run.cache.get(&key), None);
                run.cache.maintain();
                run.follow(false);
                assert_eq!(run.model.len(), 0, "the listener heard of all");
            }
            _ if random.below(20) == 0 => {
                run.capacity = 50 + random.below(200);
                run.cache.resize(run.capacity).unwrap();
                run.follow(true);
            }
            _ => {
                let keep = random.below(10);
                run.cache.retain(|key, _| key % 10 != keep);
                run.follow(false);
            }
        }
        run.check();
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    for info in Policy::built_in() {
        let policy: Policy = info.name.parse().unwrap();
        for engine in [Engine::LockFree, Engine::Locked] {
            for (shards, weighed) in [(1, false), (4, false), (4, true)] {
                let start_ns = if shards == 1 { 0 } else { TODAY_NS };
                let seed = 42 + shards as u64;
                run(policy.clone(), engine, shards, weighed, seed, start_ns);
            }
        }
    }
}
