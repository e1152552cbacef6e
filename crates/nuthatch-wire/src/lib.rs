//! The wire formats that Nuthatch speaks, as pure functions from bytes to requests and from replies
//! to bytes. Nothing here holds a socket or a file, or knows a command; files are read out of whatever
//! implements `BufRead`.
//!
//! - [`resp`]: the Redis serialization protocol, versions 2 and 3, and inline commands
//!   (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//! - [`memcached`]: the text protocol of memcached, classic and meta.
//! - [`number`]: numbers as both protocols write them; [`decimal`]: fractions that are added exactly.
//! - [`rdb`]: Redis' and Valkey's RDB: files, and values as `DUMP` and `RESTORE` carry them.
#![forbid(unsafe_code)]

pub mod decimal;
pub mod memcached;
pub mod number;
pub mod rdb;
pub mod resp;
