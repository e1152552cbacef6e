//! The laboratory of Nuthatch: which cache, for which work, and why.
#![forbid(unsafe_code)]

pub mod advice;
pub mod bundled;
pub mod caches;
pub mod check;
pub mod closed_loop;
pub mod containment;
pub mod distinct;
pub mod footprint;
pub mod grid;
pub mod heap;
pub mod heavy_hitters;
pub mod keys;
pub mod miniature;
#[cfg(unix)]
pub mod near;
pub mod output;
pub mod plot;
pub mod progress;
pub mod reference;
pub mod replay;
pub mod report;
pub mod rows;
pub mod shards;
pub mod simulate;
pub mod sizes;
pub mod subject;
mod suggestion;
pub mod svg;
pub mod sweep;
pub mod trace;
#[cfg(unix)]
pub mod traffic;
pub mod workloads;
