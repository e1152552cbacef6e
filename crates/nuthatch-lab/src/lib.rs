//! The laboratory of Nuthatch: which cache, for which work, and why.
#![forbid(unsafe_code)]

pub mod caches;
pub mod closed_loop;
pub mod keys;
pub mod output;
pub mod reference;
pub mod simulate;
pub mod subject;
pub mod trace;
pub mod workloads;
