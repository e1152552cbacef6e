//! A bounded concurrent in-process cache that reads without locks and evicts in O(1).
#![deny(unsafe_code)]

mod clock;
pub mod policy;
mod slab;
#[cfg_attr(not(test), expect(dead_code, reason = "the engine embeds it"))]
mod stats;
#[cfg(feature = "snapshot")]
pub mod snapshot;
#[expect(dead_code, unused_imports, reason = "the engine's modules take their atomics from here")]
mod sync;
#[cfg_attr(not(test), expect(dead_code, reason = "the engine embeds it"))]
mod timer_wheel;

pub use policy::Policy;
pub use clock::{Clock, ManualClock};
pub use stats::StatsSnapshot;
