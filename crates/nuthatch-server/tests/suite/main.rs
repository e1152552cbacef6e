//! Tests of the whole server over its sockets, as its clients see it: one program, a module for each
//! subject. [`harness`] starts servers and speaks the protocol.

mod bits;
mod browser;
mod catalog;
mod clients;
mod connections;
mod dashboard;
mod durability;
mod eviction;
mod handshakes;
mod harness;
mod harness_tests;
mod hashes;
mod http;
mod info;
mod keys;
mod memcached;
mod moving;
mod packaging;
mod permissions;
mod reference;
mod robustness;
mod settings;
mod slowness;
mod strings;
mod subscriptions;
mod tls;
mod tracking;
mod transactions;
