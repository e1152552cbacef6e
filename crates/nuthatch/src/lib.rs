//! A bounded concurrent in-process cache that reads without locks and evicts in O(1).
#![deny(unsafe_code)]

pub mod policy;
mod slab;

pub use policy::Policy;
