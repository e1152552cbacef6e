//! Every built-in policy under any sequence of requests and removals keeps its own invariants and the
//! cache's: what is resident fits, a resident key hits, and only resident keys are evicted.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nuthatch::Policy;
use nuthatch_lab::simulate::{Bound, Outcome, Simulator};
use std::collections::HashMap;

#[derive(Arbitrary, Debug)]
struct Input {
    policy: u8,
    capacity: u8,
    by_bytes: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Request {
        key: u8,
        size: u8,
    },
    /// The same key again and again, so that counters fill up.
    Repeat {
        key: u8,
        times: u8,
    },
    /// Keys one after the other, as a scan asks for them.
    Scan {
        from: u8,
        len: u8,
    },
    Remove {
        key: u8,
    },
}

fuzz_target!(|input: Input| {
    let policies = Policy::built_in();
    let name = policies[usize::from(input.policy) % policies.len()].name;
    let policy: Policy = name.parse().expect("a built-in policy's name parses");
    let capacity = u64::from(input.capacity) + 1;
    let bound = if input.by_bytes {
        Bound::Bytes
    } else {
        Bound::Entries
    };
    let built = policy
        .build(capacity, 1, 16, 1)
        .pop()
        .expect("one policy for one shard");
    let mut cache = Cache {
        simulator: Simulator::new(Box::new(built), bound, capacity),
        model: HashMap::new(),
        bound,
        capacity,
    };
    for step in input.steps.iter().take(200) {
        match *step {
            Step::Request { key, size } => cache.request(key, size),
            Step::Repeat { key, times } => (0..times).for_each(|_| cache.request(key, 1)),
            Step::Scan { from, len } => {
                (0..len).for_each(|step| cache.request(from.wrapping_add(step), 1));
            }
            Step::Remove { key } => {
                let resident = cache.model.remove(&u64::from(key)).is_some();
                assert_eq!(
                    cache.simulator.remove(u64::from(key)),
                    resident,
                    "{name}: {key}"
                );
            }
        }
        cache.validate();
    }
});

/// The simulator beside the plainest model of what it holds: each resident key's weight.
struct Cache {
    simulator: Simulator,
    model: HashMap<u64, u32>,
    bound: Bound,
    capacity: u64,
}

impl Cache {
    fn request(&mut self, key: u8, size: u8) {
        let (key, size) = (u64::from(key), u32::from(size) + 1);
        let mut evicted = Vec::new();
        let outcome = self
            .simulator
            .request_observed(key, size, &mut |key| evicted.push(key));
        for victim in evicted {
            assert!(
                self.model.remove(&victim).is_some(),
                "{victim} was resident"
            );
        }
        let weight = self.bound.weight(size);
        let expected = if self.model.contains_key(&key) {
            Outcome::Hit
        } else if u64::from(weight) > self.capacity {
            Outcome::Bypass
        } else {
            self.model.insert(key, weight);
            Outcome::Miss
        };
        assert_eq!(outcome, expected, "{key}");
    }

    fn validate(&self) {
        self.simulator.validate();
        let used: u64 = self.model.values().map(|&weight| u64::from(weight)).sum();
        assert_eq!(
            (self.simulator.len(), self.simulator.used()),
            (self.model.len(), used)
        );
        assert!(used <= self.capacity, "{used} of {}", self.capacity);
    }
}
