//! The first five minutes: a cache for people by name, read in three ways, and what it counted.
//!
//! Run it with `cargo run --example quick_start`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::{BuildError, Cache, Engine, Insertion, Policy};
use std::sync::Arc;

fn main() -> Result<(), BuildError> {
    let cache: Cache<String, Arc<str>> = Cache::builder()
        .capacity(1_000)
        .policy(Policy::s3_fifo())
        .engine(Engine::LockFree)
        .build()?;

    let inserted = cache.insert("ada".to_owned(), "wrote the first program".into());
    assert_eq!(inserted, Insertion::Created);

    // A clone of the value; the key is looked up as the `&str` that it is.
    let deed = cache.get("ada").expect("just inserted");
    println!("ada {deed}");

    // In place, without a clone: by closure, or by a guard that blocks nobody.
    assert_eq!(cache.with("ada", |deed| deed.len()), Some(23));
    if let Some(entry) = cache.get_ref("ada") {
        cache.invalidate("ada");
        println!("{} is gone, and still readable: {}", entry.key(), *entry);
    }
    assert_eq!(cache.get("ada"), None);

    // Ten times as many as fit: the cache never holds more than its capacity.
    for number in 0..10_000 {
        cache.insert(format!("guest {number}"), "was here".into());
        assert!(cache.len() <= cache.capacity());
    }
    let stats = cache.stats();
    println!("{stats}");
    assert_eq!((stats.hits, stats.misses), (3, 1));
    assert_eq!(stats.insertions, 10_001);
    assert_eq!(stats.evicted, 9_000);
    Ok(())
}
