//! Which key is read next: a stream made beforehand, so that nothing is drawn while the clock runs.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps of the stream, which begins anew at its end. In it lie more reads of hot keys than a processor's
/// branch predictor can learn.
const STEPS: usize = 1 << 20;
/// The step at which a cold key is due.
const COLD: u32 = u32::MAX;

/// A stream of keys, for any number of tasks.
///
/// Hot keys are drawn evenly. Cold keys come in turn, the same turn for all tasks: so one comes again when all
/// others have been read, when a cache that is a fraction of their number hardly holds it still.
#[derive(Debug)]
pub struct Schedule {
    steps: Vec<u32>,
    hot: u32,
    cold: u32,
    next_cold: AtomicU64,
}

impl Schedule {
    /// A stream of which the part `hit_ratio` is hot keys.
    ///
    /// # Panics
    /// If there is no key of a kind that is to be read, or the ratio is not from 0 to 1.
    pub fn new(hit_ratio: f64, hot: u32, cold: u32, seed: u64) -> Self {
        assert!(hot > 0 && cold > 0, "there are keys of both kinds");
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let steps = (0..STEPS).map(|_| {
            if random.random_bool(hit_ratio) {
                random.random_range(0..hot)
            } else {
                COLD
            }
        });
        Self {
            steps: steps.collect(),
            hot,
            cold,
            next_cold: AtomicU64::new(0),
        }
    }

    /// The key of a step.
    #[inline]
    pub(super) fn key(&self, step: usize) -> u32 {
        match self.steps[step % STEPS] {
            COLD => {
                let turn = self.next_cold.fetch_add(1, Ordering::Relaxed);
                self.hot + (turn % u64::from(self.cold)) as u32
            }
            key => key,
        }
    }

    /// Where one of several tasks begins.
    pub(super) fn begin(task: usize, tasks: usize) -> usize {
        task * (STEPS / tasks.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{STEPS, Schedule};
    use std::collections::HashMap;

    #[test]
    fn the_hit_ratio_is_the_share_of_hot_keys() {
        for ratio in [0.9, 0.99, 1.0] {
            let schedule = Schedule::new(ratio, 100, 1_000, 1);
            let hot = (0..STEPS).filter(|&step| schedule.key(step) < 100);
            let share = hot.count() as f64 / STEPS as f64;
            assert!((share - ratio).abs() < 0.002, "{share}");
        }
    }

    #[test]
    fn a_cold_key_comes_again_only_after_all_others() {
        let schedule = Schedule::new(0.5, 10, 1_000, 1);
        let mut last = HashMap::new();
        let cold = (0..10_000)
            .map(|step| schedule.key(step))
            .filter(|&key| key >= 10);
        for (turn, key) in cold.enumerate() {
            assert!(key < 1_010);
            if let Some(before) = last.insert(key, turn) {
                assert_eq!(turn - before, 1_000);
            }
        }
        assert_eq!(last.len(), 1_000);
    }

    #[test]
    fn tasks_begin_apart() {
        let begins: Vec<_> = (0..4).map(|task| Schedule::begin(task, 4)).collect();
        assert_eq!(begins, [0, STEPS / 4, STEPS / 2, 3 * STEPS / 4]);
    }
}
