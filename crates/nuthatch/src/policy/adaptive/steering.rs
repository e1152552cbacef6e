//! Which rule is in force: the one whose shadow hits most, if the lead is worth a change.
//!
//! One [`Steering`] serves all shards of a cache. It sees the requests for a fixed sample of the
//! keys: the misses from the shards' writers, the hits from the engine in batches. Both take a lock,
//! and whoever finds it taken drops what it has: the shadows may miss a request, a reader or writer
//! never waits.
//!
//! After each epoch, of half as many requests as a shadow has entries, the hits of the shadows are
//! compared. To change the rule has a price, since the entries that the old one kept have to be
//! replaced one miss at a time, and early leads may be chance: so the lead has to be 5 % of the hits
//! at first, and the less the more was seen; and it has to be the larger the more the small queue
//! grows. Hits fade by half in 28 times a shadow's size.

use super::queues::Rule;
use super::shadow::Shadow;
use crate::policy::HitSampler;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const fn hit_to_stay(small_percent: u8, old_ghosts: bool) -> Rule {
    Rule {
        small_percent,
        old_ghosts,
        duel: false,
    }
}

/// The rules to choose from. The first is in force until another is known to be better.
const RULES: [Rule; 6] = [
    hit_to_stay(10, false),
    hit_to_stay(3, true),
    hit_to_stay(1, false),
    hit_to_stay(25, false),
    hit_to_stay(60, false),
    Rule {
        small_percent: 1,
        old_ghosts: false,
        duel: true,
    },
];

/// A shadow's entries: the cache's divided by this,
const SHADOW_DIVISOR: f64 = 32.0;
/// but not fewer than this (if the cache has as many),
const MIN_SHADOW: f64 = 128.0;
/// nor more than this.
const MAX_SHADOW: f64 = 1024.0;

/// An epoch, in sampled requests for each entry of a shadow,
const EPOCH: f64 = 0.5;
/// and the fewest requests of one.
const MIN_EPOCH: f64 = 8.0;
/// What a hit counts for one epoch later.
const DECAY: f64 = 0.9875;

/// The lead that a rule needs over the one in force, in parts of that one's hits,
const LEAD: f64 = 0.005;
/// what is added to it at first,
const EARLY_LEAD: f64 = 0.05;
/// until so many requests for each entry of a shadow were seen; then it falls as their inverse.
const EARLY: f64 = 8.0;
/// The lead that it needs in parts of the shadow's entries,
const LEAD_PER_ENTRY: f64 = 0.02;
/// what is added to it for each percent that the small queue grows by, for the larger it is, the
/// longer the way back from it,
const LEAD_PER_GROWTH: f64 = 0.001;
/// and in hits.
const MIN_LEAD: f64 = 2.0;
/// The sketch counts while the duel's shadow has this part of the hits of the best other.
const NEAR: f64 = 0.97;

/// The flag of [`Steering::orders`] that the sketch is to count.
const COUNT: u8 = 0x80;

/// The choice of the rule, shared by all shards of a cache; see the module's text.
#[derive(Debug)]
pub(super) struct Steering {
    posted: Posted,
    contest: Mutex<Contest>,
}

/// What every miss reads, on a line that few write.
#[derive(Debug)]
#[repr(align(64))]
struct Posted {
    /// The place in [`RULES`] of the rule in force, and [`COUNT`].
    orders: AtomicU8,
    /// Keys whose hash has its low 32 bits below this are sampled.
    threshold: AtomicU32,
}

/// The rule in force, and whether the sketch is to count for the sake of another; see
/// [`Steering::orders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders(u8);

impl Orders {
    pub(super) fn rule(self) -> Rule {
        RULES[usize::from(self.0 & !COUNT)]
    }

    pub(super) fn counts(self) -> bool {
        self.0 & COUNT != 0
    }
}

#[derive(Debug)]
struct Contest {
    /// One for each rule.
    shadows: [Shadow; RULES.len()],
    /// The cache's.
    capacity: u64,
    /// The average weight of the cache's entries.
    mean_weight: f64,
    /// A shadow's entries.
    entries: f64,
    /// Requests seen in this epoch
    requests: f64,
    /// and in all before.
    past_requests: f64,
}

impl Steering {
    pub(super) fn new(capacity: u64) -> Self {
        let steering = Self {
            posted: Posted {
                orders: AtomicU8::new(COUNT),
                threshold: AtomicU32::new(0),
            },
            contest: Mutex::new(Contest {
                shadows: RULES.map(Shadow::new),
                capacity,
                mean_weight: 1.0,
                entries: 0.0,
                requests: 0.0,
                past_requests: 0.0,
            }),
        };
        steering.fit(&mut steering.contest.lock());
        steering
    }

    /// What the shards have to do.
    #[inline]
    pub(super) fn orders(&self) -> Orders {
        // Relaxed: the orders guard no other memory.
        Orders(self.posted.orders.load(Ordering::Relaxed))
    }

    /// Whether the key with this hash belongs to the sample.
    #[inline]
    pub(super) fn samples(&self, hash: u64) -> bool {
        (hash as u32) < self.posted.threshold.load(Ordering::Relaxed)
    }

    /// A sampled key was asked for that is not resident.
    #[cold]
    pub(super) fn miss(&self, hash: u64, weight: u32) {
        if let Some(mut contest) = self.contest.try_lock() {
            self.replay(&mut contest, hash, Some(weight));
        }
    }

    /// A sampled entry was removed, not evicted.
    #[cold]
    pub(super) fn forget(&self, hash: u64) {
        if let Some(mut contest) = self.contest.try_lock() {
            contest
                .shadows
                .iter_mut()
                .for_each(|shadow| shadow.remove(hash));
        }
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        let mut contest = self.contest.lock();
        // As with the mean weight: what fits a somewhat larger cache fits this one, and a bound that
        // is adjusted again and again must not make the contest begin anew each time.
        if !(0.8..1.25).contains(&(capacity as f64 / contest.capacity as f64)) {
            contest.capacity = capacity;
            self.fit(&mut contest);
        }
    }

    /// So much do the cache's entries weigh on average.
    pub(super) fn set_mean_weight(&self, mean_weight: f64) {
        let mut contest = self.contest.lock();
        // Smaller changes are not worth what a change of the sample forgets.
        if !(0.5..2.0).contains(&(mean_weight / contest.mean_weight)) {
            contest.mean_weight = mean_weight;
            self.fit(&mut contest);
        }
    }

    /// Forgets all keys and all history.
    pub(super) fn clear(&self) {
        let mut contest = self.contest.lock();
        contest.shadows.iter_mut().for_each(Shadow::clear);
        contest.restart();
        self.posted.orders.store(COUNT, Ordering::Relaxed);
    }

    pub(super) fn validate(&self) {
        let contest = self.contest.lock();
        contest.shadows.iter().for_each(Shadow::validate);
        assert!(contest.requests < contest.epoch_requests(), "epochs end");
    }

    /// Fits the sample and the shadows to the cache; they begin again, under the rule in force.
    fn fit(&self, contest: &mut MutexGuard<'_, Contest>) {
        let entries = (contest.capacity as f64 / contest.mean_weight).max(1.0);
        contest.entries = (entries / SHADOW_DIVISOR)
            .clamp(MIN_SHADOW, MAX_SHADOW)
            .min(entries)
            .floor();
        let rate = contest.entries / entries;
        let capacity = (contest.capacity as f64 * rate).round() as u64;
        // Small entries must not find a shadow of large ones full of ids.
        let slots = if contest.mean_weight == 1.0 { 1.0 } else { 2.0 };
        let slots = (contest.entries * slots) as u16;
        contest
            .shadows
            .iter_mut()
            .for_each(|shadow| shadow.fit(capacity, slots));
        self.posted
            .threshold
            .store((rate * 2f64.powi(32)) as u32, Ordering::Relaxed);
        contest.restart();
    }

    fn replay(&self, contest: &mut Contest, hash: u64, weight: Option<u32>) {
        contest.replay(hash, weight);
        contest.requests += 1.0;
        if contest.requests >= contest.epoch_requests() {
            let orders = contest.choose(self.orders());
            self.posted.orders.store(orders.0, Ordering::Relaxed);
        }
    }
}

impl Contest {
    fn restart(&mut self) {
        self.requests = 0.0;
        self.past_requests = 0.0;
    }

    fn epoch_requests(&self) -> f64 {
        (self.entries * EPOCH).floor().max(MIN_EPOCH)
    }

    /// Replays a request in all shadows. A hit of the cache does not tell its weight: it is the one
    /// that some shadow knows, or the average.
    fn replay(&mut self, hash: u64, weight: Option<u32>) {
        let found = self.shadows.each_ref().map(|shadow| shadow.find(hash));
        let known = || {
            let mut holders = self.shadows.iter().zip(found);
            holders.find_map(|(shadow, id)| id.map(|id| shadow.weight_of(id)))
        };
        let weight = weight.or_else(known).unwrap_or(self.mean_weight as u32);
        for (shadow, id) in self.shadows.iter_mut().zip(found) {
            match id {
                Some(id) => shadow.hit(id),
                None => shadow.insert(hash, weight),
            }
        }
    }

    /// Ends the epoch and gives the orders for the next one.
    fn choose(&mut self, orders: Orders) -> Orders {
        self.past_requests += self.requests;
        self.requests = 0.0;
        let hits = self.shadows.each_ref().map(Shadow::hits);
        let in_force = usize::from(orders.0 & !COUNT);
        let best =
            (0..hits.len()).fold(
                in_force,
                |best, rule| if hits[rule] > hits[best] { rule } else { best },
            );
        let early = (EARLY * self.entries / self.past_requests).min(1.0);
        let small_percent = |rule: usize| f64::from(RULES[rule].small_percent);
        let growth = (small_percent(best) - small_percent(in_force)).max(0.0);
        let price = (hits[in_force] * (LEAD + EARLY_LEAD * early))
            .max(self.entries * (LEAD_PER_ENTRY + LEAD_PER_GROWTH * growth))
            .max(MIN_LEAD);
        self.shadows
            .iter_mut()
            .for_each(|shadow| shadow.decay(DECAY));
        let chosen = if hits[best] - hits[in_force] >= price {
            best
        } else {
            in_force
        };
        let most = |duel: bool| {
            let of_kind = RULES.iter().zip(hits).filter(|(rule, _)| rule.duel == duel);
            of_kind.fold(0.0, |most: f64, (_, hits)| most.max(hits))
        };
        let count = if most(true) > most(false) * NEAR {
            COUNT
        } else {
            0
        };
        Orders(chosen as u8 | count)
    }
}

impl HitSampler for Steering {
    fn threshold(&self) -> u32 {
        self.posted.threshold.load(Ordering::Relaxed)
    }

    fn hits(&self, hashes: &[u64]) {
        let Some(mut contest) = self.contest.try_lock() else {
            return;
        };
        for &hash in hashes {
            if self.samples(hash) {
                self.replay(&mut contest, hash, None);
            }
        }
    }
}
