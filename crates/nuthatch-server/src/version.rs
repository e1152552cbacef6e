//! The versions that the server tells.

/// Of this program.
pub const NUTHATCH: &str = env!("CARGO_PKG_VERSION");

/// Of the Redis whose commands and replies this program has: clients choose what they send by it.
pub const REDIS: &str = "7.4.0";

/// Of the memcached whose protocol this program has.
pub const MEMCACHED: &str = "1.6.45";
