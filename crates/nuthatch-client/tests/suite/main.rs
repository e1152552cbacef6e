//! The near cache against real servers: Redis alone and as a cluster, and our own.

mod faults;
mod leases;
mod misuse;
mod proxy;
mod servers;
mod staleness;
mod tiers;
#[cfg(feature = "tls")]
mod tls;
