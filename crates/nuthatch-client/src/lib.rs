//! A near cache: [`nuthatch`] in process in front of a Valkey or Redis server or cluster.
//!
//! Reads that hit in process cost what the library's do. Reads that miss ask the remote tier, which other
//! processes share, and what that does not have a loader of the caller's. The remote tier tells when something
//! has changed; and when it cannot, a bound on staleness holds.
//!
//! ```no_run
//! use nuthatch::Cache;
//! use nuthatch_client::{TieredCache, codec};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let users: TieredCache<u64, String> = TieredCache::builder()
//!     .local(Cache::builder().capacity(100_000))
//!     .remote("redis+cluster://10.0.0.1:6379,10.0.0.2:6379") // or redis://, rediss://
//!     .namespace("users")
//!     .codec(codec::Bytes)
//!     .time_to_live(Duration::from_secs(600))
//!     .max_staleness(Duration::from_secs(1))
//!     .build()
//!     .await?;
//! let find = async |id: &u64| Ok::<_, std::io::Error>(format!("user {id}, from the database"));
//! let user = users.get_or_load(&7, find).await?;
//! users.insert(8, "Ada".to_owned()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - **Invalidation.** The connection that reads is the one on which the server tells of changes
//!   (`CLIENT TRACKING`), so no change falls between. An answer that was on its way when its key changed is
//!   not kept.
//! - **Bounded staleness.** A read never gives out a value that was replaced on the remote tier more than
//!   [`max_staleness`](TieredCacheBuilder::max_staleness) before the read began: not while a node is cut off,
//!   stopped or deposed, not after a failover, and not while slots move. (In a cluster, to that comes the
//!   time until the nodes that a new primary has not told of its election hear of it, a moment; and what
//!   the cluster itself forgets in a failover, nobody can know.)
//! - **Read your own writes**, within one process: after [`insert`](TieredCache::insert) or
//!   [`remove`](TieredCache::remove) has returned, no read gives an older value.
//! - **One flight.** Tasks that miss a key together make one request, and one load; with
//!   [`lease`](TieredCacheBuilder::lease), so do processes.
//! - **Every call ends**, and nothing piles up: requests have a deadline and are bounded in number, and a
//!   node that is known to be down is not asked.
//!
//! # Features
//! | feature | gives |
//! |---|---|
//! | `json` (default) | [`codec::Json`] |
//! | `postcard` | `codec::Postcard` |
//! | `compression` | `TieredCacheBuilder::compression` |
//! | `tls` | `rediss://` and `rediss+cluster://` |
//! | `metrics` | `TieredStats::publish` |
#![forbid(unsafe_code)]

mod builder;
mod clock;
pub mod codec;
mod envelope;
mod error;
mod key;
mod link;
mod local;
mod pending;
mod remote;
mod settings;
mod slot;
mod stats;
mod tiered;
mod topology;
mod vouching;

pub use builder::{RemoteFailure, TieredCacheBuilder, WithoutTracking, WriteMode};
pub use error::{BuildError, LoadError, RemoteError};
pub use key::RemoteKey;
pub use local::Local;
pub use stats::{LatencyHistogram, TieredStats};
pub use tiered::TieredCache;
