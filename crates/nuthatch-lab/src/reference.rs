//! Plain policies: obviously right, any speed. They are what the product's policies are checked
//! against, and what is simulated of policies that the product does not ship.
//!
//! Each follows its paper (or the definition that it names) over queues and maps of keys, shares
//! no code with the product, and knows neither access bytes nor entry ids nor hashes.
//! [`ReferenceCache`] asks it the same questions in the same order as an engine asks the product's:
//! on a miss `miss`, then `evict` while there is no room, then `insert`.

mod arc;
mod belady;
mod clock;
mod clock2q_plus;
mod dlfu;
mod fifo;
mod foreign;
mod gdsf;
mod lfu;
mod lirs;
mod lru;
mod lru_2;
mod mq;
mod queue;
mod random;
mod ranked;
mod s3_fifo;
mod sampled_lru;
mod sieve;
mod slru;
mod two_q;
mod w_tiny_lfu;

pub use arc::Arc;
pub use belady::{Belady, BeladySize};
pub use clock::Clock;
pub use clock2q_plus::Clock2qPlus;
pub use dlfu::Dlfu;
pub use fifo::Fifo;
pub use foreign::{Foreign, ForeignCache, NoForeign};
pub use gdsf::Gdsf;
pub use lfu::Lfu;
pub use lirs::Lirs;
pub use lru::Lru;
pub use lru_2::Lru2;
pub use mq::Mq;
pub use random::Random;
pub use s3_fifo::S3Fifo;
pub use sampled_lru::SampledLru;
pub use sieve::Sieve;
pub use slru::Slru;
pub use two_q::TwoQ;
pub use w_tiny_lfu::WTinyLfu;

use crate::simulate::Outcome;
use nuthatch::Policy;
use nuthatch::policy::Window;
use std::collections::HashMap;
use std::fmt::Debug;

/// A key, as traces number them.
pub type Key = u64;

/// A map by keys. The hasher is a quick one without a seed, for most of a reference's time is spent
/// looking keys up.
type KeyMap<V> = HashMap<Key, V, foldhash::fast::FixedState>;

/// The next use of a key that is not used again.
pub const NEVER: u64 = u64::MAX;

/// A part of a weight, rounded down.
pub(crate) fn share(weight: u64, part: f64) -> u64 {
    (weight as f64 * part) as u64
}

/// One request, as a reference sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The key asked for.
    pub key: Key,
    /// The weight it has if it has to be inserted; a resident key keeps the weight it came with.
    pub weight: u64,
    /// The request's position in the trace.
    pub time: u64,
    /// The position of the next request for the key, or [`NEVER`]. Only a clairvoyant policy may
    /// look at it.
    pub next_use: u64,
}

/// A plain policy.
pub trait ReferencePolicy: Debug {
    /// A resident key is used.
    fn hit(&mut self, access: &Access);

    /// A key that is not resident is asked for.
    fn miss(&mut self, access: &Access) {
        let _ = access;
    }

    /// Whether the key asked for is to be inserted at all.
    fn admits(&mut self, access: &Access) -> bool {
        let _ = access;
        true
    }

    /// Chooses a victim and forgets it; nothing if no key is resident. A policy may choose the very
    /// key that room is being made for, and so turn it away.
    fn evict(&mut self) -> Option<Key>;

    /// Takes in the key asked for.
    fn insert(&mut self, access: &Access);
}

/// The plain counterpart of one of the product's policies for a cache of this weight, if there is
/// one. `seed` settles its random choices.
pub fn counterpart(policy: &Policy, capacity: u64, seed: u64) -> Option<Box<dyn ReferencePolicy>> {
    Some(match *policy {
        Policy::Fifo => Box::new(Fifo::default()),
        Policy::Clock { bits } => Box::new(Clock::new(bits.max())),
        Policy::Lru => Box::new(Lru::default()),
        Policy::Slru { protected } => Box::new(Slru::new(protected.of(capacity))),
        Policy::Lfu => Box::new(Lfu::default()),
        Policy::Dlfu { weight } => Box::new(Dlfu::new(weight.get())),
        Policy::Sieve => Box::new(Sieve::default()),
        Policy::Gdsf => Box::new(Gdsf::new(false)),
        Policy::SampledLru { samples } => Box::new(SampledLru::new(samples.get(), seed)),
        Policy::S3Fifo { small, promotion } => {
            let ghosts = share(capacity, 0.9);
            Box::new(S3Fifo::new(
                capacity,
                small.of(capacity),
                ghosts,
                promotion.get(),
            ))
        }
        Policy::TwoQ { recent } => Box::new(TwoQ::new(recent.get())),
        Policy::Arc => Box::new(Arc::new(capacity)),
        Policy::Lirs { cold } => {
            Box::new(Lirs::new(capacity, cold.of(capacity).clamp(1, capacity)))
        }
        Policy::WTinyLfu {
            window: Window::Fixed(window),
        } => Box::new(WTinyLfu::new(capacity, window.get(), seed)),
        _ => return None,
    })
}

/// A cache of keys around one plain policy.
#[derive(Debug)]
pub struct ReferenceCache<P: ?Sized> {
    weights: KeyMap<u64>,
    used: u64,
    capacity: u64,
    policy: Box<P>,
}

impl<P: ReferencePolicy + ?Sized> ReferenceCache<P> {
    /// An empty cache of this weight.
    pub fn new(policy: Box<P>, capacity: u64) -> Self {
        Self {
            weights: KeyMap::default(),
            used: 0,
            capacity,
            policy,
        }
    }

    /// Serves one request, and shows `evicted` each victim.
    pub fn request(&mut self, access: &Access, evicted: &mut dyn FnMut(Key)) -> Outcome {
        if self.weights.contains_key(&access.key) {
            self.policy.hit(access);
            return Outcome::Hit;
        }
        if access.weight > self.capacity || !self.policy.admits(access) {
            return Outcome::Bypass;
        }
        self.policy.miss(access);
        while self.used + access.weight > self.capacity {
            let victim = self
                .policy
                .evict()
                .expect("a cache without room has a victim");
            if victim == access.key {
                return Outcome::Bypass;
            }
            let weight = self.weights.remove(&victim).expect("victims are resident");
            self.used -= weight;
            evicted(victim);
        }
        self.policy.insert(access);
        self.weights.insert(access.key, access.weight);
        self.used += access.weight;
        Outcome::Miss
    }
}
