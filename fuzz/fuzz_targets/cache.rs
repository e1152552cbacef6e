//! Any sequence of operations, on either engine under any policy, agrees with the plainest model: an
//! entry is there from its insertion until the listener hears of its removal, once.
//!
//! One thread only: what many threads do to each other is for the loom models and the stress tests.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nuthatch::{
    Cache, Clock, Compute, Deadline, Engine, InsertOptions, Insertion, ManualClock, Pinning,
};
use nuthatch::{Policy, RemovalCause};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Arbitrary, Debug)]
struct Input {
    policy: u8,
    lock_free: bool,
    shards: u8,
    weighed: bool,
    capacity: u8,
    time_to_live_ms: Option<u8>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Insert {
        key: u8,
        weight: u8,
    },
    InsertWithTtl {
        key: u8,
        weight: u8,
        ttl_ms: u8,
    },
    InsertUntil {
        key: u8,
        weight: u8,
        at_ms: Option<u8>,
        pinned: bool,
    },
    InsertIfAbsent {
        key: u8,
        weight: u8,
    },
    InsertRange {
        from: u8,
        len: u8,
    },
    Get {
        key: u8,
        times: u8,
    },
    Remove {
        key: u8,
    },
    RemoveIfHeavier {
        key: u8,
        than: u8,
    },
    Compute {
        key: u8,
        put: Option<u8>,
    },
    Pin {
        key: u8,
        pin: bool,
    },
    SetDeadline {
        key: u8,
        at_ms: Option<u8>,
    },
    Scan {
        count: u8,
        random: u64,
    },
    Retain {
        residue: u8,
    },
    InvalidateAll,
    Resize {
        capacity: u8,
    },
    Advance {
        by_ms: u8,
    },
    Maintain,
}

/// A number of its own, so that no two values are alike, and what it weighs.
type Value = (u32, u8);
type Removals = Arc<Mutex<Vec<(u8, Value, RemovalCause)>>>;

#[derive(Debug)]
struct Known {
    value: Value,
    deadline_ms: Option<u64>,
    pinned: bool,
}

struct Run {
    cache: Cache<u8, Value, BuildHasherDefault<DefaultHasher>>,
    hands: ManualClock,
    heard: Removals,
    model: HashMap<u8, Known>,
    weighed: bool,
    time_to_live_ms: Option<u8>,
    now_ms: u64,
    values: u32,
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(&input);
    for step in input.steps.iter().take(200) {
        run.step(step);
        run.check();
    }
    run.cache.clear();
    run.hear(false);
    assert!(run.model.is_empty(), "never heard of: {:?}", run.model);
});

impl Run {
    fn new(input: &Input) -> Self {
        let policies = Policy::built_in();
        let name = policies[usize::from(input.policy) % policies.len()].name;
        let heard = Removals::default();
        let hears = Arc::clone(&heard);
        let (clock, hands) = Clock::manual();
        let capacity = u64::from(input.capacity) + 1;
        let mut builder = Cache::builder()
            .policy(name.parse().expect("a built-in policy's name parses"))
            .engine(if input.lock_free {
                Engine::LockFree
            } else {
                Engine::Locked
            })
            .shards(1 << (input.shards % 4))
            .seed(1)
            .clock(clock)
            .listener(move |&key: &u8, &value: &Value, cause| {
                hears
                    .lock()
                    .expect("no listener panics")
                    .push((key, value, cause));
            });
        builder = match input.weighed {
            true => builder
                .weight_capacity(capacity)
                .weigher(|_, value| u32::from(value.1)),
            false => builder.capacity(capacity),
        };
        if let Some(time_to_live_ms) = input.time_to_live_ms {
            builder = builder.time_to_live(Duration::from_millis(time_to_live_ms.into()));
        }
        Self {
            cache: builder
                .hasher(BuildHasherDefault::default())
                .build()
                .expect("sound settings"),
            hands,
            heard,
            model: HashMap::new(),
            weighed: input.weighed,
            time_to_live_ms: input.time_to_live_ms,
            now_ms: 0,
            values: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Insert { key, weight } => {
                let value = self.value(weight);
                self.write(key, value, None, |cache| cache.insert(key, value));
            }
            Step::InsertWithTtl {
                key,
                weight,
                ttl_ms,
            } => {
                let value = self.value(weight);
                let ttl = Duration::from_millis(ttl_ms.into());
                self.write(key, value, Some(ttl_ms), |cache| {
                    cache.insert_with_ttl(key, value, ttl)
                });
            }
            Step::InsertUntil {
                key,
                weight,
                at_ms,
                pinned,
            } => {
                let value = self.value(weight);
                let deadline_ms = self.around_now_ms(at_ms);
                let options = InsertOptions {
                    deadline: deadline_ms
                        .map_or(Deadline::Never, |ms| Deadline::At(ms * 1_000_000)),
                    pinning: if pinned {
                        Pinning::Pinned
                    } else {
                        Pinning::AsBefore
                    },
                    keeps_old: false,
                };
                self.write(key, value, None, |cache| {
                    cache.insert_with(key, value, options)
                });
                if let Some(known) = self
                    .model
                    .get_mut(&key)
                    .filter(|known| known.value == value)
                {
                    known.deadline_ms = deadline_ms;
                    known.pinned |= pinned;
                }
            }
            Step::InsertIfAbsent { key, weight } => {
                let value = self.value(weight);
                if self.live(key).is_some() {
                    assert_eq!(self.cache.insert_if_absent(key, value), Err((key, value)));
                } else {
                    self.write(key, value, None, |cache| {
                        cache.insert_if_absent(key, value).expect("it is absent")
                    });
                }
            }
            Step::InsertRange { from, len } => {
                for step in 0..len {
                    let (key, value) = (from.wrapping_add(step), self.value(1));
                    self.write(key, value, None, |cache| cache.insert(key, value));
                }
            }
            Step::Get { key, times } => {
                let expected = self.live(key);
                for _ in 0..=times {
                    assert_eq!(self.cache.get(&key), expected);
                }
                assert_eq!(self.cache.get_ref(&key).map(|entry| *entry), expected);
                assert_eq!(self.cache.peek(&key), expected);
                assert_eq!(self.cache.contains_key(&key), expected.is_some());
            }
            Step::Remove { key } => {
                let expected = self.live(key);
                assert_eq!(self.cache.remove(&key), expected);
                self.hear(false);
                assert_eq!(self.live(key), None);
            }
            Step::RemoveIfHeavier { key, than } => {
                let expected = self.live(key).filter(|value| value.1 > than);
                assert_eq!(
                    self.cache.remove_if(&key, |_, value| value.1 > than),
                    expected
                );
                self.hear(false);
            }
            Step::Compute { key, put } => self.compute(key, put),
            Step::Pin { key, pin } => {
                let found = if pin {
                    self.cache.pin(&key)
                } else {
                    self.cache.unpin(&key)
                };
                self.hear(false);
                assert_eq!(found, self.live(key).is_some());
                if found {
                    self.model.get_mut(&key).expect("it is live").pinned = pin;
                }
            }
            Step::SetDeadline { key, at_ms } => {
                let deadline_ms = self.around_now_ms(at_ms);
                let deadline_ns = deadline_ms.map(|ms| ms * 1_000_000);
                let is_live = self.live(key).is_some();
                assert_eq!(self.cache.set_deadline(&key, deadline_ns), is_live);
                if is_live {
                    self.model.get_mut(&key).expect("it is live").deadline_ms = deadline_ms;
                }
                self.hear(false);
                let seen = self.cache.peek_with(&key, |entry| entry.deadline_ns());
                assert!(!is_live || seen == self.live(key).map(|_| deadline_ns));
            }
            Step::Scan { count, random } => {
                let (mut cursor, mut seen) = (0, Vec::new());
                loop {
                    cursor = self.cache.scan(cursor, count.into(), |entry| {
                        assert_eq!(self.live(*entry.key()), Some(*entry.value()));
                        seen.push(*entry.key());
                    });
                    if cursor == 0 {
                        break;
                    }
                }
                seen.sort_unstable();
                let live = (0..=u8::MAX).filter(|&key| self.live(key).is_some());
                assert!(live.eq(seen.iter().copied()));
                self.cache.scan(random, count.into(), |_| {});
                let sample = self.cache.sample(random);
                assert_eq!(sample.is_some(), !seen.is_empty());
                assert!(sample.is_none_or(|entry| self.live(*entry.key()).is_some()));
            }
            Step::Retain { residue } => {
                self.cache.retain(|key, _| key % 8 != residue % 8);
                self.hear(false);
                assert!(
                    (0..=u8::MAX).all(|key| key % 8 != residue % 8 || self.live(key).is_none())
                );
            }
            Step::InvalidateAll => {
                self.cache.invalidate_all();
                assert_eq!((self.cache.len(), self.cache.weight()), (0, 0));
                self.cache.maintain();
                self.hear(false);
                assert!(self.model.is_empty(), "never heard of: {:?}", self.model);
            }
            Step::Resize { capacity } => {
                // What is pinned stays, so no bound below it could hold.
                let pinned = self.model.values().filter(|known| known.pinned);
                let pinned: u64 = pinned.map(|known| self.weight(known.value)).sum();
                let capacity = (u64::from(capacity) + 1).max(pinned);
                self.cache.resize(capacity).expect("not zero");
                self.hear(true);
            }
            Step::Advance { by_ms } => {
                self.hands.advance(Duration::from_millis(by_ms.into()));
                self.now_ms += u64::from(by_ms);
            }
            Step::Maintain => {
                self.cache.maintain();
                self.hear(false);
            }
        }
    }

    fn compute(&mut self, key: u8, put: Option<u8>) {
        let current = self.live(key);
        if let Some(weight) = put {
            let (value, heard) = (self.value(weight), Arc::clone(&self.heard));
            self.write(key, value, None, |cache| {
                let mut replaces = false;
                let after = cache.compute(key, |found| {
                    replaces = found.is_some();
                    // Making room may cost the key its own entry; then it asks again.
                    let evicted = |removals: &[(u8, Value, RemovalCause)]| {
                        current.is_some_and(|value| {
                            removals.contains(&(key, value, RemovalCause::Evicted))
                        })
                    };
                    let gone = evicted(&heard.lock().expect("no listener panics"));
                    assert_eq!(found.copied(), current.filter(|_| !gone));
                    Compute::Put(value)
                });
                match after {
                    None => Insertion::Rejected,
                    Some(_) if replaces => Insertion::Replaced,
                    Some(_) => Insertion::Created,
                }
            });
        } else {
            let after = self.cache.compute(key, |_| Compute::Remove);
            assert_eq!(after, None);
            self.hear(false);
            assert_eq!(self.live(key), None);
        }
    }

    /// A time before the present one or after.
    fn around_now_ms(&self, at_ms: Option<u8>) -> Option<u64> {
        Some((self.now_ms + u64::from(at_ms?)).saturating_sub(64))
    }

    fn value(&mut self, weight: u8) -> Value {
        self.values += 1;
        (self.values, weight % 16)
    }

    /// Runs an insertion and follows what it did.
    fn write(
        &mut self,
        key: u8,
        value: Value,
        ttl_ms: Option<u8>,
        insert: impl FnOnce(&Cache<u8, Value, BuildHasherDefault<DefaultHasher>>) -> Insertion,
    ) {
        let replaces = self.live(key).is_some();
        let old = self
            .model
            .get(&key)
            .map_or(0, |known| self.weight(known.value));
        let fits = self.cache.weight() - old + self.weight(value) <= self.cache.capacity();
        let pinned = replaces && self.model[&key].pinned;
        let insertion = insert(&self.cache);
        if let Some(known) = self.model.get_mut(&key).filter(|_| !fits) {
            // An old value is out of date, pinned or not, and goes also where the new one is refused.
            known.pinned = false;
        }
        self.hear(!fits);
        assert!(
            !self.model.contains_key(&key),
            "{key}: the old value is gone"
        );
        assert!(
            insertion.is_admitted() || !fits,
            "{key} was rejected though it fits"
        );
        if insertion.is_admitted() {
            assert!(fits || insertion == Insertion::Created || replaces);
            let pinned = pinned && insertion == Insertion::Replaced;
            let ttl_ms = ttl_ms.or(self.time_to_live_ms);
            let deadline_ms = ttl_ms.map(|ttl_ms| self.now_ms + u64::from(ttl_ms));
            self.model.insert(
                key,
                Known {
                    value,
                    deadline_ms,
                    pinned,
                },
            );
        }
    }

    /// Takes out of the model what the listener heard of.
    fn hear(&mut self, may_evict: bool) {
        for (key, value, cause) in self.heard.lock().expect("no listener panics").drain(..) {
            let known = self.model.remove(&key);
            let known = known.unwrap_or_else(|| panic!("{key} was not there, yet is {cause}"));
            assert_eq!(known.value, value, "{key} is {cause}");
            match cause {
                RemovalCause::Evicted => {
                    assert!(may_evict, "{key} was evicted though everything fits");
                    assert!(!known.pinned, "{key} was evicted though it is pinned");
                }
                RemovalCause::Expired => {
                    let over = known.deadline_ms.is_some_and(|ms| ms <= self.now_ms);
                    assert!(over, "{key} expired too early");
                }
                RemovalCause::Invalidated | RemovalCause::Replaced => {}
            }
        }
    }

    fn live(&self, key: u8) -> Option<Value> {
        let known = self.model.get(&key)?;
        known
            .deadline_ms
            .is_none_or(|ms| ms > self.now_ms)
            .then_some(known.value)
    }

    fn weight(&self, value: Value) -> u64 {
        if self.weighed { u64::from(value.1) } else { 1 }
    }

    fn check(&self) {
        self.cache.validate();
        let weight: u64 = self
            .model
            .values()
            .map(|known| self.weight(known.value))
            .sum();
        let found = (self.cache.len(), self.cache.weight());
        assert_eq!(found, (self.model.len() as u64, weight));
        assert!(
            weight <= self.cache.capacity(),
            "{weight} of {}",
            self.cache.capacity()
        );
    }
}
