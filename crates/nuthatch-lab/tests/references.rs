//! The product's policies against their plain references, on traces that have something of
//! everything: popular keys, loops, scans and a working set that moves.
//!
//! Where a policy makes no approximation both must agree on every hit and every victim; where it
//! does, on the miss ratio.

use nuthatch::Policy;
use nuthatch_lab::reference::{Access, NEVER, ReferenceCache, ReferencePolicy, counterpart};
use nuthatch_lab::simulate::{Bound, Outcome, Simulator, key_hash};
use std::collections::HashMap;

/// Policies that make no approximation.
const EXACT: &[&str] = &[
    "fifo",
    "clock:1",
    "clock:2",
    "clock:3",
    "lru",
    "slru",
    "slru:0.5",
    "lfu",
    "sieve",
    "gdsf",
    "two_q",
    "two_q:0.5",
    "arc",
    "lirs",
    "lirs:0.1",
];

/// Policies that do, and by how many percentage points they may differ.
const APPROXIMATE: &[(&str, f64)] = &[
    ("dlfu:0", 0.2),
    ("dlfu", 0.2),
    ("dlfu:0.9", 0.2),
    ("dlfu:1", 0.2),
    ("sampled_lru", 0.5),
    ("s3_fifo", 1.0),
    ("s3_fifo:0.2:1", 1.0),
    ("w_tiny_lfu:0.01", 1.0),
    ("w_tiny_lfu:0.2", 1.0),
];

const SEED: u64 = 7;
const KEYS: u64 = 400;

/// Key and size of each request. Keys are numbered in order of first appearance; sizes are powers
/// of two, so that a worth per byte has no rounding.
fn requests(seed: u64, len: u64) -> impl Iterator<Item = (u64, u32)> {
    let mut numbers = HashMap::new();
    (0..len).map(move |index| {
        let random = key_hash(seed.wrapping_mul(1 << 40) ^ index);
        let (kind, draw) = (random % 8, (random >> 8) % (1 << 20));
        let key = match kind {
            // Popular keys: the square of a uniform number prefers the small.
            0..4 => (((draw * draw) >> 20) * (KEYS / 4)) >> 20,
            // A working set that moves.
            4..6 => KEYS / 4 + (index / 64 + draw % 32) % (KEYS / 4),
            // A loop.
            6 => KEYS / 2 + index % (KEYS / 4),
            // A scan.
            _ => KEYS + index,
        };
        let next = numbers.len() as u64;
        (
            *numbers.entry(key).or_insert(next),
            1 << (key_hash(key) % 6),
        )
    })
}

type Reference = ReferenceCache<dyn ReferencePolicy>;

fn both(policy: &str, bound: Bound, capacity: u64) -> (Simulator, Reference) {
    let policy: Policy = policy.parse().expect("the policy exists");
    let reference = counterpart(&policy, capacity, SEED).expect("the policy has a reference");
    let product = policy
        .build(capacity, 1, 64, SEED)
        .pop()
        .expect("one shard has one policy");
    let simulator = Simulator::new(Box::new(product), bound, capacity);
    (simulator, ReferenceCache::new(reference, capacity))
}

fn access(time: u64, key: u64, size: u32, bound: Bound) -> Access {
    Access {
        key,
        weight: u64::from(bound.weight(size)),
        time,
        next_use: NEVER,
    }
}

/// Replays `len` requests through both and compares every step.
fn assert_same_steps(policy: &str, bound: Bound, capacity: u64, seed: u64, len: u64) {
    let (mut simulator, mut reference) = both(policy, bound, capacity);
    for ((key, size), time) in requests(seed, len).zip(0..) {
        let (mut victims, mut expected) = (Vec::new(), Vec::new());
        let outcome = simulator.request_observed(key, size, &mut |victim| victims.push(victim));
        let access = access(time, key, size, bound);
        let right = reference.request(&access, &mut |victim| expected.push(victim));
        let at =
            || format!("{policy}, {bound:?}, capacity {capacity}, seed {seed}, request {time}");
        assert_eq!(outcome, right, "{}", at());
        assert_eq!(victims, expected, "{}", at());
        if time % 97 == 0 {
            simulator.validate();
        }
    }
}

#[test]
fn policies_take_the_steps_of_their_references() {
    for policy in EXACT {
        for capacity in [1, 2, 3, 10, 37, 150] {
            for seed in 0..3 {
                assert_same_steps(policy, Bound::Entries, capacity, seed, 2_000);
            }
        }
    }
}

#[test]
fn policies_take_the_steps_of_their_references_by_bytes() {
    for policy in EXACT {
        for capacity in [5, 40, 333, 2_000] {
            for seed in 0..3 {
                assert_same_steps(policy, Bound::Bytes, capacity, seed, 2_000);
            }
        }
    }
}

#[test]
fn approximations_miss_about_as_often_as_their_references() {
    for &(policy, allowed_points) in APPROXIMATE {
        for (bound, capacity) in [
            (Bound::Entries, 20),
            (Bound::Entries, 100),
            (Bound::Bytes, 1_000),
            (Bound::Bytes, 2_000),
        ] {
            let (mut simulator, mut reference) = both(policy, bound, capacity);
            let mut expected = 0;
            let len = 20_000;
            for ((key, size), time) in requests(1, len).zip(0..) {
                simulator.request(key, size);
                let access = access(time, key, size, bound);
                let outcome = reference.request(&access, &mut |_| {});
                expected += u64::from(outcome != Outcome::Hit);
            }
            let misses = simulator.tally().misses;
            let points = 100.0 * (misses as f64 - expected as f64) / len as f64;
            assert!(
                points.abs() <= allowed_points,
                "{policy}, {bound:?}, {capacity}: {misses} misses, the reference {expected}, of {len}"
            );
        }
    }
}
