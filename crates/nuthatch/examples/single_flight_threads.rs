//! Threads that miss the same key at once: one loads, the others wait for its value.
//!
//! Run it with `cargo run --example single_flight_threads`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::{Cache, LoadError};
use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

const THREADS: usize = 8;

/// Stands for a query that takes long, and fails for what does not exist.
fn population(city: &str, queries: &AtomicU32) -> io::Result<u64> {
    queries.fetch_add(1, Ordering::Relaxed);
    match city {
        "Reykjavík" => Ok(139_000),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, city)),
    }
}

fn main() -> Result<(), LoadError<io::Error>> {
    let cache: Cache<String, u64> = Cache::new(1_000);
    let (queries, start) = (AtomicU32::new(0), Barrier::new(THREADS));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                let found =
                    cache.get_or_insert_with("Reykjavík", || population("Reykjavík", &queries));
                assert_eq!(found.expect("it exists"), 139_000);
            });
        }
    });
    println!(
        "{THREADS} threads asked, {} query was made",
        queries.load(Ordering::Relaxed)
    );
    assert_eq!(queries.load(Ordering::Relaxed), 1);

    // An error reaches everyone who waited for that load, and is not cached: the next one tries
    // again.
    for attempt in 2..4 {
        let missing = cache.get_or_insert_with("Atlantis", || population("Atlantis", &queries));
        match missing {
            Err(LoadError::Failed(error)) => println!("no luck: {error}"),
            other => panic!("Atlantis was found: {other:?}"),
        }
        assert_eq!(queries.load(Ordering::Relaxed), attempt);
    }

    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures), (3, 2));
    println!(
        "{} loads, of which {} failed",
        stats.loads, stats.load_failures
    );
    Ok(())
}
