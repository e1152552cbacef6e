//! One operation of the cache over and over, for a profiler or for callgrind: `scripts/instructions`
//! runs it with and without operations, and the difference is what they cost.

use anyhow::{Context, bail};
use nuthatch::{Cache, Policy};
use std::convert::Infallible;
use std::hint::black_box;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "where a program tells what went wrong")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("operation: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, operation, capacity, count] = &arguments[..] else {
        bail!("usage: operation POLICY get|miss|update|evict|load CAPACITY COUNT");
    };
    let policy: Policy = policy.parse()?;
    let number = |text: &String| text.parse::<u64>().with_context(|| text.clone());
    let (capacity, count) = (number(capacity)?, number(count)?);
    let cache: Cache<u64, u64> = Cache::builder().capacity(capacity).policy(policy).build()?;
    // Twice the capacity, so that slots and ghosts are all in use.
    let filled = 2 * capacity;
    (0..filled).for_each(|n| {
        cache.insert(key(n), n);
    });
    let resident: Vec<u64> = (0..filled)
        .map(key)
        .filter(|key| cache.contains_key(key))
        .collect();
    // A stride that is prime to most lengths, so that neighbours are not asked for in a row.
    let some_resident = |n: u64| resident[(n.wrapping_mul(7919) % resident.len() as u64) as usize];
    match operation.as_str() {
        "get" => (0..count).for_each(|n| {
            black_box(cache.get(&some_resident(n)));
        }),
        "miss" => (0..count).for_each(|n| {
            black_box(cache.get(&key(filled + n)));
        }),
        "update" => (0..count).for_each(|n| {
            cache.insert(some_resident(n), n);
        }),
        "evict" => (0..count).for_each(|n| {
            cache.insert(key(filled + n), n);
        }),
        "load" => {
            for n in 0..count {
                let loaded = cache.get_or_insert_with(&key(filled + n), || Ok::<_, Infallible>(n));
                black_box(loaded.context("nothing fails to load")?);
            }
        }
        other => bail!("{other} is none of get, miss, update, evict, load"),
    }
    Ok(())
}

/// A different key for each number, in no order.
fn key(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
