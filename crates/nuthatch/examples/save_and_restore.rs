//! A warm restart: what a cache holds is saved to a file and restored into a new cache, with what
//! is left of its time; a damaged file is refused and changes nothing.
//!
//! Run it with `cargo run --example save_and_restore --features snapshot`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::snapshot::SnapshotError;
use nuthatch::{Cache, Clock};
use std::error::Error;
use std::fs;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("cache.nuts");
    let (clock, hands) = Clock::manual();
    let build = || {
        let builder = Cache::<String, Vec<u32>>::builder().capacity(1_000);
        builder.time_to_live(2 * HOUR).clock(clock.clone()).build()
    };

    let before = build()?;
    for number in 0..500 {
        before.insert(format!("divisors of {number}"), divisors(number));
    }
    hands.advance(HOUR);
    let saved = before.save_to(&path)?;
    println!(
        "saved {saved} entries in {} bytes",
        fs::metadata(&path)?.len()
    );
    drop(before);

    let after = build()?;
    assert_eq!(after.restore_from(&path)?, saved);
    assert_eq!(
        after.get("divisors of 28").as_deref(),
        Some(&[1, 2, 4, 7, 14, 28][..])
    );
    hands.advance(HOUR);
    assert_eq!(after.get("divisors of 28"), None, "its two hours are over");

    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let cold = build()?;
    match cold.restore(&bytes[..]) {
        Err(error @ SnapshotError::Corrupt { .. }) => println!("one wrong bit: {error}"),
        other => panic!("a damaged snapshot was not noticed: {other:?}"),
    }
    assert!(cold.is_empty());
    Ok(())
}

fn divisors(number: u32) -> Vec<u32> {
    (1..=number)
        .filter(|part| number.is_multiple_of(*part))
        .collect()
}
