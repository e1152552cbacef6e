//! A trace read through a cache itself: what the cache misses, with its shards, its buffers and its
//! threads, where the simulator tells what its policy would miss alone.
//!
//! Several threads take the trace's requests in turn, one at a time, so its order is kept but for
//! those in flight. Were they to take more, a thread that has to wait would keep its share of them
//! back meanwhile, and what that does to the order is worth points on loops.

use crate::caches::{BenchCache, Visitor};
use crate::keys::{Integers, KeyKind};
use crate::trace::Request;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Requests of a thread after which a cache that evicts on a thread of its own is waited for.
const SETTLED_BATCH: u32 = 32;

/// Reads requests through a new cache and counts the misses.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// What is asked for, in order.
    pub requests: &'a [Request],
    /// How many threads ask.
    pub threads: usize,
    /// Whether the cache evicts on a thread of its own; far behind, that would leave it above its
    /// bound, so it is waited for.
    pub own_threads: bool,
}

impl Visitor<u64, u64> for Replay<'_> {
    type Output = u64;

    fn visit<C: BenchCache<u64, u64>>(self, build: impl FnOnce() -> C) -> u64 {
        let cache = build();
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut misses, mut asked) = (0, 0_u32);
            // Relaxed: each thread only needs a place of its own.
            while let Some(request) = self.requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let id = request.key;
                let hit = cache.read_through(&Integers::key(id), || Integers::value(id));
                misses += u64::from(!hit);
                asked = asked.wrapping_add(1);
                if self.own_threads && asked.is_multiple_of(SETTLED_BATCH) {
                    cache.settle();
                }
            }
            misses
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(work)).collect();
            let own: u64 = work();
            let joined = others.into_iter().map(|other| other.join());
            own + joined
                .map(|misses| misses.unwrap_or_else(|panic| resume_unwind(panic)))
                .sum::<u64>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::CacheSpec;
    use crate::trace::Source;

    fn misses(cache: &str, capacity: usize, threads: usize) -> u64 {
        let source: Source = "zipf:1:1000:20000".parse().unwrap();
        let trace = source.load(None).unwrap();
        let replay = Replay {
            requests: trace.requests(),
            threads,
            own_threads: false,
        };
        cache.parse::<CacheSpec>().unwrap().visit(capacity, replay)
    }

    #[test]
    fn each_request_is_answered_once_whatever_the_threads() {
        let room_for_all = 1000;
        let keys = misses("classic-rwlock", room_for_all, 1);
        assert!(keys < 1000);
        let racing = misses("classic-rwlock", room_for_all, 4);
        // Threads that miss the same key at once each load it.
        assert!((keys..=4 * keys).contains(&racing), "{racing} for {keys}");
    }

    #[test]
    fn from_one_thread_the_classic_designs_miss_what_lru_misses() {
        let lru = misses("nuthatch-locked:lru", 100, 1);
        assert_eq!(misses("classic-rwlock", 100, 1), lru);
        assert_eq!(misses("classic-lockfree", 100, 1), lru);
    }
}
