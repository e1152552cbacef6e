//! A bounded concurrent in-process cache that reads without locks and evicts in O(1).
//!
//! ```
//! use nuthatch::Cache;
//!
//! let cache: Cache<String, u64> = Cache::new(10_000);
//! cache.insert("nut".to_owned(), 7);
//! assert_eq!(cache.get("nut"), Some(7));
//! ```
//!
//! # Guarantees
//! On either engine, under every policy:
//! - The total weight is at most the capacity, at any instant, and nothing is evicted while everything
//!   fits: shards borrow from each other.
//! - Operations on one key are linearizable.
//! - An expired entry is never returned.
//! - A listener hears of each removed entry exactly once, with no lock held.
//! - Of all threads and tasks that miss a key together, one loads it; if its load panics or is
//!   cancelled, another takes over.
//! - A cache is built or refused with a [`BuildError`]; bad input does not panic
//!   ([`Cache::new`] with a capacity of 0 does, and says so).
//!
//! What removed entries occupied is reused a little later, when no reader can look at them any more; see
//! [`Cache`].
//!
//! # The picture
//! ```text
//!   get ──► shard by hash ──► table ──► id ──► slot: key, value       no lock: a hazard pointer
//!                               ▲        └───► access byte: hit       protects the slot
//!                               │
//!   insert, remove ──► the shard's writer lock ──► policy: which id to evict
//!                               │                  timers: which id expires next
//!                               └── room ◄──────── bound: one weight for all shards
//! ```
//! Entries are numbered; table, policy and timers know the numbers. So an eviction is a few changes of
//! links under one short lock, and nothing is copied or searched for.
//!
//! # Features by example
//!
//! **Reading.** [`get`](Cache::get) clones the value, so it wants values that are cheap to clone, such as an
//! [`Arc`](std::sync::Arc). [`with`](Cache::with) and [`get_ref`](Cache::get_ref) look at it in place.
//! [`peek`](Cache::peek) and [`contains_key`](Cache::contains_key) leave no trace.
//! ```
//! # use nuthatch::Cache;
//! let cache: Cache<u32, String> = Cache::new(100);
//! cache.insert_many((0..10).map(|n| (n, format!("number {n}"))));
//! assert_eq!(cache.with(&3, |text| text.len()), Some(8));
//! let guard = cache.get_ref(&4).expect("just inserted");
//! cache.invalidate(&4); // blocks nobody, and the guard still reads
//! assert_eq!(*guard, "number 4");
//! assert_eq!(cache.get_many(&[4, 5]), [None, Some("number 5".to_owned())]);
//! assert_eq!(cache.iter().count(), 9);
//! ```
//!
//! **Reading and writing in one step**, atomic for its key:
//! ```
//! use nuthatch::{Cache, Compute};
//! let visits: Cache<&str, u64> = Cache::new(100);
//! let visit = |count: Option<&u64>| Compute::Put(count.map_or(1, |count| count + 1));
//! visits.compute("home", visit);
//! assert_eq!(visits.compute("home", visit), Some(2));
//! assert_eq!(visits.remove_if("home", |_, count| *count > 5), None);
//! assert_eq!(visits.insert_if_absent("home", 0), Err(("home", 0)));
//! ```
//!
//! **Loading.** One load for each key at a time, by threads ([`get_or_insert_with`](Cache::get_or_insert_with))
//! and tasks of any runtime ([`get_or_insert_async`](Cache::get_or_insert_async)). With
//! [`refresh_after`](CacheBuilder::refresh_after) one caller loads a value anew while all others are given
//! the old one.
//! ```
//! use nuthatch::{Cache, LoadError};
//! let cache: Cache<String, u16> = Cache::new(100);
//! let port = cache.get_or_insert_with("80", || "80".parse());
//! assert_eq!(port?, 80);
//! match cache.get_or_insert_with("http", || "http".parse()) {
//!     Err(LoadError::Failed(error)) => assert_eq!(error.to_string(), "invalid digit found in string"),
//!     other => unreachable!("{other:?}"),
//! }
//! # Ok::<(), LoadError<std::num::ParseIntError>>(())
//! ```
//!
//! **A bound in weight**, and entries that stay whatever comes:
//! ```
//! use nuthatch::{Cache, Insertion};
//! let cache: Cache<u32, Vec<u8>> = Cache::builder()
//!     .weight_capacity(1_000)
//!     .weigher(|_, bytes: &Vec<u8>| bytes.len() as u32)
//!     .build()?;
//! cache.insert(0, vec![0; 400]);
//! assert!(cache.pin(&0));
//! for key in 1..100 {
//!     cache.insert(key, vec![0; 150]);
//! }
//! assert!(cache.contains_key(&0) && cache.weight() <= 1_000);
//! assert_eq!(cache.insert(100, vec![0; 1_001]), Insertion::Rejected);
//! cache.resize(500)?;
//! assert!(cache.weight() <= 500);
//! # Ok::<(), nuthatch::BuildError>(())
//! ```
//!
//! **Expiry**: for the whole cache, for one entry ([`insert_with_ttl`](Cache::insert_with_ttl)), or by an
//! [`Expiry`] of one's own. A [`Clock`] moved by hand makes tests that do not wait.
//! ```
//! use nuthatch::{Cache, Clock};
//! use std::time::Duration;
//! let (clock, hands) = Clock::manual();
//! let sessions: Cache<u32, &str> = Cache::builder()
//!     .capacity(100)
//!     .time_to_live(Duration::from_secs(3_600))
//!     .time_to_idle(Duration::from_secs(60))
//!     .clock(clock)
//!     .build()?;
//! sessions.insert(1, "ada");
//! sessions.insert_with_ttl(2, "bob", Duration::from_secs(10));
//! hands.advance(Duration::from_secs(45));
//! assert_eq!((sessions.get(&1), sessions.get(&2)), (Some("ada"), None));
//! hands.advance(Duration::from_secs(45));
//! assert_eq!(sessions.get(&1), Some("ada"), "used 45 seconds ago");
//! # Ok::<(), nuthatch::BuildError>(())
//! ```
//!
//! **Hearing of removals**, with their [cause](RemovalCause):
//! ```
//! use nuthatch::{Cache, RemovalCause};
//! use std::sync::{Arc, Mutex};
//! let log = Arc::new(Mutex::new(Vec::new()));
//! let heard = Arc::clone(&log);
//! let cache: Cache<u32, u32> = Cache::builder()
//!     .capacity(10)
//!     .listener(move |key, _, cause| heard.lock().unwrap().push((*key, cause)))
//!     .build()?;
//! cache.insert(1, 10);
//! cache.insert(1, 11);
//! cache.remove(&1);
//! let expected = [(1, RemovalCause::Replaced), (1, RemovalCause::Invalidated)];
//! assert_eq!(*log.lock().unwrap(), expected);
//! # Ok::<(), nuthatch::BuildError>(())
//! ```
//!
//! **Statistics**, as a [snapshot](StatsSnapshot) that can be printed, compared and exported:
//! ```
//! # use nuthatch::Cache;
//! let cache: Cache<u32, u32> = Cache::new(100);
//! cache.insert(1, 1);
//! let before = cache.stats();
//! cache.get(&1);
//! cache.get(&2);
//! let since = cache.stats().since(&before);
//! assert_eq!((since.hits, since.misses, since.hit_ratio()), (1, 1, Some(0.5)));
//! ```
//!
#![cfg_attr(
    feature = "snapshot",
    doc = r#"**Saving and restoring** (feature `snapshot`), with what is left of the entries' time:
```
# use nuthatch::Cache;
let cache: Cache<String, u64> = Cache::new(100);
cache.insert("nut".to_owned(), 7);
let mut bytes = Vec::new();
cache.save(&mut bytes)?; // or `save_to` a file, which appears whole or not at all
let warm: Cache<String, u64> = Cache::new(100);
assert_eq!(warm.restore(&bytes[..])?, 1);
assert_eq!(warm.get("nut"), Some(7));
# Ok::<(), nuthatch::snapshot::SnapshotError>(())
```
"#
)]
//!
//! # Which engine
//! [`Engine::LockFree`], the default, wherever threads share a cache. [`Engine::Locked`] where one thread
//! does nearly all the work and a policy that must see every hit in order (LRU, ARC, LIRS, LFU and kin)
//! should see it exactly: the lock-free engine tells such a policy of hits late, and of some not at all. With
//! [`shards(1)`](CacheBuilder::shards) it is also the classic single-lock cache, to compare with.
//!
//! # Which policy
//! [`Policy::Default`] adapts to the work; start there. The others are for work that is known, or to compare:
//!
//! | policy | a good choice for | not for |
//! |---|---|---|
//! | `default` | work that is unknown or changes | caches of a few dozen entries |
//! | `s3_fifo` | popular keys among many seen once | keys asked for exactly twice |
//! | `w_tiny_lfu` | a popularity that stays | a working set that changes, under a small window |
//! | `sieve` | popular keys, at the least cost of a hit | scans mixed with reuse |
//! | `clock` | what LRU is good for, without its cost | loops and scans |
//! | `lru` | recency; a reference | loops and scans |
//! | `slru` | keys used repeatedly among keys used once | loops; a popular set that changes quickly |
//! | `two_q` | keys that return after they left | keys reused soon and then no more |
//! | `arc` | a balance of recency and frequency that shifts | loops; slow scans in a changing working set |
//! | `lirs` | loops; keys whose uses lie close together | a working set that changes |
//! | `lfu`, `dlfu` | counts of use that matter, for ever or fading | `lfu`: anything that changes |
//! | `gdsf` | few misses with entries of unequal weight | few missed bytes |
//! | `sampled_lru` | comparing with Redis | where LRU is wrong |
//! | `ttl` | deadlines that tell what entries are worth | entries that are used |
//! | `random` | a reference | almost everything |
//! | `fifo` | a reference | keys used for longer than they take to cross the queue |
//!
//! [`Policy::built_in`] lists them with their parameters, `"s3_fifo:0.2"` parses to one, and `nuthatch-lab
//! simulate` says what each would have missed on a trace of one's own. A type that implements
//! [`EvictionPolicy`](policy::EvictionPolicy) is a policy too:
//! ```
//! use nuthatch::{Cache, Policy};
//! let cache: Cache<u64, u64> = Cache::builder().capacity(1_000).policy("sieve".parse()?).build()?;
//! assert_eq!(cache.policy(), Policy::Sieve);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What things cost
//! - A hit takes no lock on the lock-free engine. Under `default`, `fifo`, `clock`, `sieve`, `s3_fifo`
//!   and `sampled_lru` it changes at most one byte of the entry, and none once that is right; under the
//!   others it goes through a buffer that writers drain.
//! - An insertion takes one shard's lock, in a full cache too, and an eviction is O(1) amortised (`gdsf`:
//!   the logarithm of the range of its priorities).
//! - An entry occupies its key and value, a byte for its hits, about 7 for its place in the table, and what
//!   its policy keeps, mostly 8. The first entry with a deadline adds 13 bytes for each; time to idle or an
//!   [`Expiry`], a weigher and `refresh_after` add 8, 4 and 8. A feature that is not used takes nothing.
//!   Beside its entries a shard has slots for those that left and may still be looked at: an eighth of its
//!   own number, within limits.
//! - Reading the clock: on a hit only if the entry has a deadline.
//! - [`iter`](Cache::iter) remembers 8 bytes for each entry of one shard at a time, [`save`](Cache#method.save)
//!   about 28 for each entry of the cache; both hold a lock for moments.
//!
//! # Cargo features
//! | feature | gives |
//! |---|---|
//! | `snapshot` | `Cache::save` and `restore`, and the module `snapshot`; brings serde, postcard and crc32c |
//! | `metrics` | `StatsSnapshot::publish` through the `metrics` facade |
//! | `conformance` | `policy::conformance`, the suite that tests a policy of one's own |
//!
//! None is on by default.
#![deny(unsafe_code)]

mod arena;
mod bound;
mod builder;
mod cache;
mod clock;
mod engine;
mod entry;
mod expiration;
mod expiry;
mod flight;
mod hazard;
mod hit_buffer;
mod item;
mod loading;
mod page_allocator;
#[cfg(feature = "snapshot")]
mod persistence;
pub mod policy;
mod removal;
mod reservation;
mod shard;
mod slab;
#[cfg(feature = "snapshot")]
pub mod snapshot;
mod stats;
mod store;
mod sweeper;
mod sync;
mod table;
mod timer_wheel;

pub use arena::ItemMemory;
pub use builder::{BuildError, CacheBuilder};
pub use cache::{Cache, Compute, Deadline, InsertOptions, Iter, Pinning, Pins};
pub use clock::{Clock, ManualClock};
pub use engine::{ConcurrentCache, Engine, EngineError, LockFree, Locked};
pub use entry::{EntryRef, EntryView};
pub use expiry::Expiry;
pub use flight::LoadError;
pub use item::{Item, ItemTooLarge, ItemValue};
pub use page_allocator::PageAllocator;
pub use policy::Policy;
pub use removal::{Insertion, RemovalCause};
pub use reservation::Reservation;
pub use stats::StatsSnapshot;
pub use store::Store;

/// The hasher of keys that a cache uses unless told otherwise: fast, seeded at random.
pub type DefaultHashBuilder = foldhash::fast::RandomState;

/// Compiles and runs the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeDoctests;
