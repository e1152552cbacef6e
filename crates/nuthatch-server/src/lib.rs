//! The Nuthatch server: sockets, commands, keyspace, observation.
//!
//! The binary `nuthatch` is a thin shell over this crate. Data threads ([`worker`]) own connections
//! and run commands on the shared [`keyspace`], which is the library's cache; the control thread does
//! all else.
#![forbid(unsafe_code)]

pub mod acl;
pub mod big_keys;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod connection;
pub mod context;
pub mod control;
pub mod durability;
pub mod error;
pub mod events;
pub mod executor;
pub mod export;
pub mod field_expiry;
pub mod glob;
pub mod hash;
pub mod history;
pub mod hot_keys;
pub mod http;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kept;
pub mod keyspace;
pub mod latency;
pub mod launch;
pub mod locks;
pub mod mailbox;
pub mod memcached;
pub mod monitor;
pub mod object;
pub mod observers;
pub mod pause;
pub mod pubsub;
pub mod push;
pub mod reference;
pub mod secrets;
pub mod server;
pub mod session;
pub mod slowlog;
pub mod stamp;
pub mod stats;
pub mod supervisor;
pub mod tls;
pub mod top;
pub mod tracking;
pub mod version;
pub mod watch;
pub mod worker;
