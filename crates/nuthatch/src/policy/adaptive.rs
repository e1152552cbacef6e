//! The default: two CLOCK queues whose shares are steered by miniature simulation.
//!
//! The queues and the rules that move entries between them stand in [`queues`]; which rule is in
//! force, and how that is found out, in [`steering`]. This file joins them: one [`Adaptive`] for
//! each shard, one [`Steering`] for the whole cache. `docs/design/eviction.md` has the reasons and
//! the measurements.
//!
//! *Cost:* a hit adds one to the entry's byte until it stands at 3, and most caches' new entries
//! are not counted at all for a while; no hit moves anything. A miss costs two cache lines beyond
//! the queues' own (ghosts, and the entry that leaves the newer half of the small queue), a third
//! where duels decide or may soon (the sketch), and one miss or hit in a sample of 1/32 or less of
//! all keys also replays itself in the shadows. 8 bytes an entry for the queues, 6 for ghosts and
//! sketch, and the shadows: 27 KB up to a cache of 4,096 entries, 190 KB from 32,768 on. *Not for*
//! caches so small that a few dozen entries matter,
//! where sampling all keys costs more than a better choice gains, nor for requests whose best rule
//! changes faster than the cache turns over: S3-FIFO or W-TinyLFU do as well there, for less.

mod queues;
mod shadow;
mod steering;

use super::{Entries, EntryId, EvictionPolicy, HitMode, HitSampler, PolicySetup};
use queues::{MAX_COUNT, Queues};
use std::sync::Arc;
use steering::{Orders, Steering};

/// One shard's part of the default policy; see the module's text.
#[derive(Debug)]
pub(super) struct Adaptive {
    queues: Queues,
    steering: Arc<Steering>,
    /// What the steering last ordered.
    orders: Orders,
    shards: u64,
    /// Entries that the shard may hold if each weighs 1.
    capacity: u64,
    /// Ids below this may be used.
    slots: usize,
    /// Whether this shard tells the steering what the entries weigh on average.
    weighs: bool,
    announced: Announced,
}

/// The entries announced by `prepare` so far.
#[derive(Debug, Default)]
struct Announced {
    entries: u64,
    weight: u64,
}

/// The policies of all shards of one cache.
pub(super) fn build(setups: &[PolicySetup]) -> Vec<Adaptive> {
    let total_capacity = setups.first().map_or(0, |setup| setup.total_capacity);
    let steering = Arc::new(Steering::new(total_capacity));
    let orders = steering.orders();
    let build = |setup: &PolicySetup| Adaptive {
        queues: Queues::new(orders.rule(), orders.counts()),
        steering: steering.clone(),
        orders,
        shards: setup.shards as u64,
        capacity: setup.capacity,
        slots: 0,
        weighs: setup.shard == 0,
        announced: Announced::default(),
    };
    setups.iter().map(build).collect()
}

impl Adaptive {
    /// Fits ghosts and sketch to the entries that the shard can hold.
    fn fit(&mut self) {
        let capacity = usize::try_from(self.capacity).unwrap_or(usize::MAX);
        self.queues.fit(self.slots.min(capacity));
    }

    /// Runs the queues as the steering orders.
    #[cold]
    fn obey(&mut self, orders: Orders) {
        self.orders = orders;
        self.queues.set_rule(orders.rule(), orders.counts());
    }

    /// Tells the steering of the average weight whenever the number of entries has doubled, so that
    /// it can guess how many entries the cache will hold.
    fn weigh(&mut self, weight: u32) {
        self.announced.entries += 1;
        self.announced.weight += u64::from(weight);
        let Announced { entries, weight } = self.announced;
        if entries.is_power_of_two() && weight != entries {
            self.steering
                .set_mean_weight(weight as f64 / entries as f64);
        }
    }
}

impl EvictionPolicy for Adaptive {
    fn hit_mode(&self) -> HitMode {
        HitMode::Count { max: MAX_COUNT }
    }

    fn sampler(&self) -> Option<Arc<dyn HitSampler>> {
        Some(self.steering.clone())
    }

    fn reserve(&mut self, slots: usize) {
        self.slots = self.slots.max(slots);
        self.queues.reserve(slots);
        self.fit();
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.queues.set_capacity(capacity);
        if self.weighs {
            self.steering
                .set_capacity(capacity.saturating_mul(self.shards));
        }
        self.fit();
    }

    #[inline]
    fn prepare(&mut self, hash: u64, weight: u32) {
        if self.weighs {
            self.weigh(weight);
        }
        if self.steering.samples(hash) {
            self.steering.miss(hash, weight);
        }
        let orders = self.steering.orders();
        if orders != self.orders {
            self.obey(orders);
        }
        self.queues.prepare(hash, weight);
    }

    #[inline]
    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.insert(id, entries);
    }

    #[inline]
    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.queues.evict(entries)
    }

    fn prefetch(&self, hash: u64) {
        self.queues.prefetch(hash);
    }

    fn upcoming(&self) -> [Option<EntryId>; 2] {
        self.queues.upcoming()
    }

    /// A removed key leaves the shadows too: they could not hit it either.
    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.remove(id, entries);
        let hash = entries.hash(id);
        if self.steering.samples(hash) {
            self.steering.forget(hash);
        }
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.queues.relocate(from, to, entries);
    }

    fn clear(&mut self) {
        self.queues.clear();
        self.steering.clear();
        self.announced = Announced::default();
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.queues.rank(visit);
    }

    fn validate(&self, entries: &Entries<'_>) {
        self.queues.validate(entries);
        self.steering.validate();
    }
}
