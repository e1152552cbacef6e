//! Eviction policies: which entry to admit, which to evict.
//!
//! One contract, [`EvictionPolicy`], serves both engines and the simulator of `nuthatch-lab`. A
//! policy knows neither keys nor values nor the machine's clock: it sees an entry's id, the hash of
//! its key, its weight, and one *access byte* per entry that readers may touch. What a reader does
//! to that byte on a hit is told by the policy once ([`HitMode`]), so a read never calls the
//! policy: everything here runs under the shard's writer lock, one call at a time.
//!
//! ```text
//!   reader, no lock            access byte            writer, under the shard's lock
//!   hit ──────────────►  [ count | era | - ]  ◄────── insert, evict, remove, relocate
//!   hit (Ordered) ───►  lossy hit buffer  ─────────►  hit
//! ```
//!
//! The life of an entry, as its policy sees it: [`prepare`](EvictionPolicy::prepare) announces a
//! key that is not resident; [`evict`](EvictionPolicy::evict) is called until there is room;
//! [`insert`](EvictionPolicy::insert) links the new entry; [`relocate`](EvictionPolicy::relocate)
//! follows it to a new id when its value is replaced; and it leaves by `evict` or by
//! [`remove`](EvictionPolicy::remove) (invalidated, expired, pinned).

mod adaptive;
mod arc;
mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod dlfu;
mod fifo;
mod gdsf;
mod ghost;
mod kind;
mod levels;
mod lfu;
mod links;
mod lirs;
mod lot;
mod lru;
mod parameter;
mod queues;
mod random;
mod roster;
mod s3_fifo;
mod sampled_lru;
#[cfg(test)]
mod scripted;
mod sieve;
mod sketch;
mod slru;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod trial;
mod two_q;
mod w_tiny_lfu;

pub use ghost::{CompactGhosts, GhostLists};
pub use kind::{
    BuiltPolicy, CustomPolicy, ParameterInfo, Policy, PolicyError, PolicyInfo, PolicySetup,
};
pub use links::Links;
pub use parameter::{Blend, CounterBits, ParameterError, Promotion, SampleSize, Share, Window};
pub use sketch::FrequencySketch;

use crate::slab::SlotVec;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Names a resident entry within one shard. Ids are small and reused; they are below 2^30.
pub type EntryId = u32;

/// What a reader does to an entry's access byte on a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitMode {
    /// Nothing: the policy ignores hits (FIFO).
    Ignore,
    /// Adds one while the byte is below `max`; a byte at or above it is left alone. So a hot
    /// entry's hits are pure loads, and a policy that must not count an entry's hits for a while
    /// sets its byte to 255.
    Count {
        /// The value at which readers stop counting.
        max: u8,
    },
    /// Stores the policy's current [`era`](EvictionPolicy::era) if the byte differs from it: a
    /// coarse time of last access.
    Stamp,
    /// The policy hears of hits one by one through [`hit`](EvictionPolicy::hit): exactly and in
    /// order in the simulator and the locked engine, through a lossy buffer in the lock-free
    /// engine.
    Ordered,
}

/// A listener for a sample of all hits, for policies that steer by miniature simulation.
///
/// The engine hands over the hashes of hits whose low 32 bits are below the threshold, in small
/// batches, from any thread. Misses are not reported here: the policy sees them as
/// [`prepare`](EvictionPolicy::prepare).
pub trait HitSampler: Send + Sync + Debug {
    /// A hit is sampled if the low 32 bits of its hash are below this; 0 samples nothing.
    fn threshold(&self) -> u32;

    /// Takes a batch of sampled hits. Must be quick; may drop the batch.
    fn hits(&self, hashes: &[u64]);
}

/// The access bytes of one shard's entries: written by readers without a lock, read and reset by
/// the policy.
///
/// A byte is a hint. While a cache changes its policy, and by readers that were under way then,
/// hits are told in another policy's [`HitMode`]: a policy must bear any value, at any time, and get
/// over it.
#[derive(Debug)]
pub struct AccessBytes(SlotVec<AtomicU8>);

impl AccessBytes {
    /// An array whose first chunk holds exactly `first_slots` bytes, none of them allocated yet.
    pub fn new(first_slots: usize) -> Self {
        Self(SlotVec::new(first_slots))
    }

    /// Allocates bytes until ids below `slots` exist.
    pub fn reserve(&self, slots: usize) {
        while self.0.slots() < slots {
            self.0.grow();
        }
    }

    /// The byte of `id`.
    ///
    /// # Panics
    /// If `id` was never reserved.
    #[inline]
    pub fn get(&self, id: EntryId) -> u8 {
        // Relaxed: the byte is a hint that guards no other memory.
        self.0.get(id).load(Ordering::Relaxed)
    }

    /// Sets the byte of `id`.
    ///
    /// # Panics
    /// If `id` was never reserved.
    #[inline]
    pub fn set(&self, id: EntryId, value: u8) {
        self.0.get(id).store(value, Ordering::Relaxed);
    }

    /// Has the byte of `id` loaded.
    #[inline]
    pub(crate) fn prefetch(&self, id: EntryId) {
        crate::slab::prefetch(self.0.get(id));
    }

    /// What a reader does on a hit under [`HitMode::Count`]: one load, and one store only while the
    /// count is below `max`. Two racing readers may count once; the count is a hint.
    #[inline]
    pub fn count(&self, id: EntryId, max: u8) {
        let byte = self.0.get(id);
        let count = byte.load(Ordering::Relaxed);
        if count < max {
            byte.store(count + 1, Ordering::Relaxed);
        }
    }

    /// What a reader does on a hit under [`HitMode::Stamp`].
    #[inline]
    pub fn stamp(&self, id: EntryId, era: u8) {
        let byte = self.0.get(id);
        if byte.load(Ordering::Relaxed) != era {
            byte.store(era, Ordering::Relaxed);
        }
    }
}

/// What a policy may ask about resident entries: their access bytes, hashes and weights.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    access: &'a AccessBytes,
    facts: &'a dyn EntryFacts,
}

/// Where [`Entries`] gets hashes and weights from; the engine and the simulator implement it.
pub trait EntryFacts {
    /// The hash of the key of `id`. May cost a hash of the key.
    fn hash(&self, id: EntryId) -> u64;

    /// The weight of `id`; 1 in a cache bounded by entries.
    fn weight(&self, id: EntryId) -> u32;

    /// When `id` expires, in nanoseconds of the cache's clock; `None`: never.
    fn deadline_ns(&self, id: EntryId) -> Option<u64> {
        let _ = id;
        None
    }
}

impl<'a> Entries<'a> {
    /// A view of `access` and `facts`.
    pub fn new(access: &'a AccessBytes, facts: &'a dyn EntryFacts) -> Self {
        Self { access, facts }
    }

    /// The access byte of `id`.
    #[inline]
    pub fn access(&self, id: EntryId) -> u8 {
        self.access.get(id)
    }

    /// Sets the access byte of `id`.
    #[inline]
    pub fn set_access(&self, id: EntryId, value: u8) {
        self.access.set(id, value);
    }

    /// The hash of the key of `id`, well mixed in all 64 bits. May cost a hash of the key: ask once
    /// per eviction, not once per entry looked at.
    pub fn hash(&self, id: EntryId) -> u64 {
        self.facts.hash(id)
    }

    /// The weight of `id`; 1 in a cache bounded by entries.
    pub fn weight(&self, id: EntryId) -> u32 {
        self.facts.weight(id)
    }

    /// When `id` expires, in nanoseconds of the cache's clock; `None`: never, or where there is no time.
    pub fn deadline_ns(&self, id: EntryId) -> Option<u64> {
        self.facts.deadline_ns(id)
    }
}

impl Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

/// Decides which entry to evict. The contract stands at the top of this module.
///
/// Guarantees of the caller: calls come one at a time; ids passed to [`hit`](Self::hit),
/// [`remove`](Self::remove) and [`relocate`](Self::relocate) are resident; ids stay below the last
/// [`reserve`](Self::reserve). Duties of the policy: every call is O(1) amortised (but
/// [`clear`](Self::clear), [`rank`](Self::rank) and [`validate`](Self::validate)) and allocates
/// nothing after `reserve` and `set_capacity`; after `evict` or `remove` returned, the id is
/// forgotten; `evict` returns `None` only if the policy holds no entry.
pub trait EvictionPolicy: Send + Sync + Debug {
    /// What readers do on a hit. Always the same, and the same in all shards.
    fn hit_mode(&self) -> HitMode;

    /// The era that readers store under [`HitMode::Stamp`]. Asked after each `insert`.
    fn era(&self) -> u8 {
        0
    }

    /// The listener for sampled hits, if the policy wants one. Asked once, of the first shard's
    /// policy.
    fn sampler(&self) -> Option<Arc<dyn HitSampler>> {
        None
    }

    /// Ids below `slots` may be used from now on.
    fn reserve(&mut self, slots: usize);

    /// The bound of the whole cache: told before the first entry, and when it changes. `capacity` is
    /// this shard's share of it, in units of weight. Shards borrow from each other, so the shard may
    /// hold somewhat more or less.
    fn set_capacity(&mut self, capacity: u64);

    /// A key that is not resident will be inserted with this weight; evictions to make room for it
    /// follow. The place to look a ghost up, or to adapt. The `insert` that follows is for the same
    /// key.
    fn prepare(&mut self, hash: u64, weight: u32) {
        let _ = (hash, weight);
    }

    /// Links the new entry `id`. The policy sets its access byte (the slot's old one is left in
    /// it).
    fn insert(&mut self, id: EntryId, entries: &Entries<'_>);

    /// The entry was hit. Called only under [`HitMode::Ordered`].
    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        let _ = (id, entries);
    }

    /// Chooses a victim, forgets it and returns it; its hash and weight can still be asked for.
    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId>;

    /// What most insertions into a full cache come to, in one call: announces a key, evicts one
    /// entry and links `id`, which has taken its slot already, in that order. `None`, and nothing is
    /// linked, if there is none to evict. A policy has no reason to write its own.
    #[inline]
    fn exchange(
        &mut self,
        hash: u64,
        weight: u32,
        id: EntryId,
        entries: &Entries<'_>,
    ) -> Option<EntryId> {
        self.prepare(hash, weight);
        let victim = self.evict(entries)?;
        self.insert(id, entries);
        Some(victim)
    }

    /// A key with this hash is about to be announced by `prepare`, or to be evicted: the place to
    /// have memory loaded that the hash leads to. Must be quick.
    fn prefetch(&self, hash: u64) {
        let _ = hash;
    }

    /// The entries that `evict` will most likely choose next, in order. Only a hint: the engine has
    /// their memory loaded while other work goes on. Must be quick; may be wrong.
    fn upcoming(&self) -> [Option<EntryId>; 2] {
        [None, None]
    }

    /// Forgets an entry that leaves for another reason than space.
    fn remove(&mut self, id: EntryId, entries: &Entries<'_>);

    /// The entry known as `from` is now known as `to`: its value was replaced. Its access byte has
    /// been copied; both ids' weights can be asked for and may differ.
    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>);

    /// Forgets all entries and all history.
    fn clear(&mut self);

    /// Entries that the policy holds.
    fn len(&self) -> usize;

    /// Whether the policy holds no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits all entries, those to be evicted first first, as well as the policy can tell.
    fn rank(&self, visit: &mut dyn FnMut(EntryId));

    /// Recounts everything from scratch.
    ///
    /// # Panics
    /// If an invariant of the policy does not hold.
    fn validate(&self, entries: &Entries<'_>);
}
