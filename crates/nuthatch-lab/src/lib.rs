//! The laboratory of Nuthatch: which cache, for which work, and why.
#![forbid(unsafe_code)]

pub mod output;
pub mod simulate;
pub mod trace;
