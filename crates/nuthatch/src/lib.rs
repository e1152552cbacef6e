//! A bounded concurrent in-process cache that reads without locks and evicts in O(1).
#![deny(unsafe_code)]

mod bound;
mod builder;
mod cache;
mod clock;
mod engine;
mod expiration;
mod expiry;
mod flight;
mod hazard;
mod hit_buffer;
mod loading;
#[cfg(feature = "snapshot")]
mod persistence;
pub mod policy;
mod removal;
mod shard;
mod slab;
#[cfg(feature = "snapshot")]
pub mod snapshot;
mod stats;
mod store;
mod sweeper;
#[expect(
    dead_code,
    unused_imports,
    reason = "the engine's modules take their atomics from here"
)]
mod sync;
mod table;
mod timer_wheel;

pub use builder::{BuildError, CacheBuilder};
pub use cache::{Cache, Compute, EntryRef, Iter};
pub use clock::{Clock, ManualClock};
pub use engine::{ConcurrentCache, Engine, EngineError, LockFree, Locked};
pub use expiry::Expiry;
pub use flight::LoadError;
pub use policy::Policy;
pub use removal::{Insertion, RemovalCause};
pub use stats::StatsSnapshot;
pub use store::Store;

/// The hasher of keys that a cache uses unless told otherwise: fast, seeded at random.
pub type DefaultHashBuilder = foldhash::fast::RandomState;

/// Compiles and runs the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeDoctests;
