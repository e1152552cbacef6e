//! Which rule is in force: the one whose shadow hits most, if the lead is worth a change.
//!
//! One [`Steering`] serves all shards of a cache. It sees the requests for a fixed sample of the
//! keys: the misses from the shards' writers, the hits from the engine in batches. Both take a lock,
//! and whoever finds it taken drops what it has: the shadows may miss a request, a reader or writer
//! never waits.
//!
//! After each epoch the hits of the shadows are compared. Epochs are short at first, because most
//! of what a wrong rule costs is lost early, and grow to four times the shadows' size. To change the
//! rule has a price, since the entries that the old one kept have to be replaced one miss at a time,
//! so a lead has to be worth 2 % of the cache.

use super::queues::Rule;
use super::shadow::Shadows;
use crate::policy::HitSampler;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const fn rule(small_percent: u8, duel: bool) -> Rule {
    Rule {
        small_percent,
        duel,
    }
}

/// The rules to choose from. The first is in force until one is known to be better.
const RULES: [Rule; 7] = [
    rule(10, false),
    rule(1, false),
    rule(3, false),
    rule(20, false),
    rule(40, false),
    rule(85, false),
    rule(1, true),
];

/// A shadow's entries: the cache's divided by this,
const SHADOW_DIVISOR: u64 = 64;
/// but not fewer than this (if the cache has as many),
const MIN_SHADOW: u64 = 64;
/// nor more than this.
const MAX_SHADOW: u64 = 512;

/// The first epoch, in sampled requests for each entry of a shadow,
const FIRST_EPOCH: f64 = 0.25;
/// its growth from one epoch to the next,
const EPOCH_GROWTH: f64 = 1.5;
/// and its end.
const LAST_EPOCH: f64 = 4.0;
/// What a hit counts for one epoch later.
const DECAY: f64 = 0.9;
/// The lead that a rule needs over the one in force: this part of that one's hits,
const RELATIVE_LEAD: f64 = 0.005;
/// this part of the shadow's entries,
const LEAD_PER_ENTRY: f64 = 0.02;
/// and so many hits.
const MIN_LEAD: f64 = 2.0;

/// The choice of the rule, shared by all shards of a cache; see the module's text.
#[derive(Debug)]
pub(super) struct Steering {
    /// The place in [`RULES`] of the rule in force.
    rule: AtomicU8,
    /// Keys whose hash has its low 32 bits below this are sampled.
    threshold: AtomicU32,
    trial: Mutex<Trial>,
}

#[derive(Debug)]
struct Trial {
    shadows: Shadows,
    capacity: u64,
    mean_weight: f64,
    /// A shadow's entries.
    entries: u64,
    /// The part of all keys that is sampled.
    rate: f64,
    /// Requests seen in this epoch.
    requests: u64,
    /// Requests in an epoch, for each entry of a shadow.
    epoch: f64,
}

impl Steering {
    pub(super) fn new(capacity: u64) -> Self {
        let steering = Self {
            rule: AtomicU8::new(0),
            threshold: AtomicU32::new(0),
            trial: Mutex::new(Trial {
                shadows: Shadows::new(&RULES),
                capacity: 0,
                mean_weight: 1.0,
                entries: 0,
                rate: 0.0,
                requests: 0,
                epoch: FIRST_EPOCH,
            }),
        };
        steering.set_capacity(capacity);
        steering
    }

    /// The rule in force.
    pub(super) fn rule(&self) -> Rule {
        // Relaxed: the rule guards no other memory.
        RULES[self.rule.load(Ordering::Relaxed) as usize]
    }

    /// Whether the key with this hash belongs to the sample.
    pub(super) fn samples(&self, hash: u64) -> bool {
        (hash as u32) < self.threshold()
    }

    /// A sampled key was asked for that is not resident.
    pub(super) fn miss(&self, hash: u64, weight: u32) {
        if let Some(mut trial) = self.trial.try_lock() {
            self.replay(&mut trial, hash, weight);
        }
    }

    /// A sampled entry was removed, not evicted.
    pub(super) fn forget(&self, hash: u64) {
        if let Some(mut trial) = self.trial.try_lock() {
            trial.shadows.forget(hash);
        }
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        let mut trial = self.trial.lock();
        if trial.capacity != capacity {
            trial.capacity = capacity;
            self.fit(&mut trial);
        }
    }

    /// So much do the cache's entries weigh on average.
    pub(super) fn set_mean_weight(&self, mean_weight: f64) {
        let mut trial = self.trial.lock();
        // Smaller changes are not worth the keys that a change of the sample loses.
        if !(0.5..2.0).contains(&(mean_weight / trial.mean_weight)) {
            trial.mean_weight = mean_weight;
            self.fit(&mut trial);
        }
    }

    /// Forgets all keys and all history.
    pub(super) fn clear(&self) {
        let mut trial = self.trial.lock();
        trial.shadows.clear();
        trial.requests = 0;
        trial.epoch = FIRST_EPOCH;
        self.rule.store(0, Ordering::Relaxed);
    }

    pub(super) fn validate(&self) {
        let trial = self.trial.lock();
        trial.shadows.validate();
        assert!(trial.requests <= trial.epoch_requests(), "epochs end");
    }

    /// Fits the sample and the shadows to the cache.
    fn fit(&self, trial: &mut Trial) {
        let entries = (trial.capacity as f64 / trial.mean_weight).max(1.0);
        let shadow = (entries as u64 / SHADOW_DIVISOR).clamp(MIN_SHADOW, MAX_SHADOW);
        trial.rate = (shadow as f64 / entries).min(1.0);
        trial.entries = (entries * trial.rate) as u64;
        // A shorter epoch may be over already; the next request ends it.
        trial.requests = trial.requests.min(trial.epoch_requests());
        let threshold = (trial.rate * 2f64.powi(32)) as u32;
        self.threshold.store(threshold, Ordering::Relaxed);
        let capacity = (trial.capacity as f64 * trial.rate).round() as u64;
        let sampled = |hash: u64| (hash as u32) < threshold;
        trial
            .shadows
            .resize(capacity, trial.entries as usize, sampled);
        // A smaller sample has shorter epochs; one that was over by now ends with the next request.
        trial.requests = trial.requests.min(trial.epoch_requests());
    }

    fn replay(&self, trial: &mut Trial, hash: u64, weight: u32) {
        trial.shadows.request(hash, weight);
        trial.requests += 1;
        if trial.requests >= trial.epoch_requests() {
            trial.requests = 0;
            trial.epoch = (trial.epoch * EPOCH_GROWTH).min(LAST_EPOCH);
            self.choose(trial);
        }
    }

    fn choose(&self, trial: &mut Trial) {
        let in_force = self.rule.load(Ordering::Relaxed) as usize;
        let hits = || trial.shadows.hits();
        let in_force_hits = hits().nth(in_force).expect("every rule has a shadow");
        let (best, most) =
            hits()
                .enumerate()
                .fold((in_force, in_force_hits), |best, (rule, hits)| {
                    if hits > best.1 { (rule, hits) } else { best }
                });
        let lead = most - in_force_hits;
        let price = (in_force_hits * RELATIVE_LEAD)
            .max(trial.entries as f64 * LEAD_PER_ENTRY)
            .max(MIN_LEAD);
        if lead >= price {
            self.rule.store(best as u8, Ordering::Relaxed);
        }
        trial.shadows.decay(DECAY);
    }
}

impl Trial {
    fn epoch_requests(&self) -> u64 {
        ((self.entries as f64 * self.epoch) as u64).max(8)
    }
}

impl HitSampler for Steering {
    fn threshold(&self) -> u32 {
        self.threshold.load(Ordering::Relaxed)
    }

    fn hits(&self, hashes: &[u64]) {
        let Some(mut trial) = self.trial.try_lock() else {
            return;
        };
        // A hit does not tell its weight: a key that no shadow holds weighs what most do.
        let weight = (trial.mean_weight as u32).max(1);
        for &hash in hashes {
            if self.samples(hash) {
                self.replay(&mut trial, hash, weight);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Steering;

    #[test]
    fn epoch_of_a_cache_that_shrank_ends_with_the_next_request() {
        let steering = Steering::new(10_000);
        for hash in 0..30 {
            steering.miss(hash, 1);
        }
        steering.set_capacity(1);
        steering.validate();
        steering.miss(0, 1);
        assert_eq!(steering.trial.lock().requests, 0);
    }
}
