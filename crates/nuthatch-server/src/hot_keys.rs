//! The keys that commands name most, found in a sample of the commands.
//!
//! A data thread hands in the keys of one command in [`SAMPLED_ONE_IN`]. They go into a Space-Saving
//! summary (Metwally, Agrawal, El Abbadi: *Efficient computation of frequent and top-k elements in data
//! streams*, ICDT 2005) of the thread: a key that has no counter takes over the smallest one, and keeps
//! that one's count as its possible error. So the summary has a fixed size, and a key that has more
//! than 1 of `COUNTERS` of the samples is always in it. Counts fade by half in `HALF_LIFE_S`, so that
//! yesterday's hot key is not today's.
//!
//! Only the thread itself and, once a second, the control thread take the summary's lock; a sample that
//! finds it taken is dropped.

use parking_lot::Mutex;
use std::hash::BuildHasher;

/// Of the commands, one in so many hands in its keys.
pub const SAMPLED_ONE_IN: u64 = 128;
/// Spreads consecutive numbers over all 64 bits, in the ratio that fills them most evenly, so that what is
/// chosen by its number keeps no step with what a client repeats.
pub const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Keys that a thread's summary counts.
const COUNTERS: usize = 128;
/// Bytes of a key that are kept; longer keys are told apart by their hash.
const KEPT_BYTES: usize = 512;
/// Seconds in which counts fade by half.
const HALF_LIFE_S: f64 = 15.0;
/// Samples below which nothing is said: a key seen once is not hot.
const LEAST_COUNT: f64 = 2.0;

/// A key that many commands name.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// The key, or its first bytes.
    pub key: Vec<u8>,
    /// Whether bytes are missing.
    pub is_cut: bool,
    /// Commands a second that name it, estimated.
    pub per_second: f64,
    /// By how much the estimate may be too high.
    pub error_per_second: f64,
}

#[derive(Clone, Debug)]
struct Counter {
    hash: u64,
    key: Vec<u8>,
    is_cut: bool,
    count: f64,
    error: f64,
}

/// One thread's keys.
#[derive(Debug, Default)]
struct Summary {
    counters: Vec<Counter>,
    hasher: foldhash::fast::RandomState,
}

impl Summary {
    fn count(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let known = self.counters.iter_mut().find(|known| known.hash == hash);
        if let Some(counter) = known {
            counter.count += 1.0;
            return;
        }
        let kept = &key[..key.len().min(KEPT_BYTES)];
        let is_cut = kept.len() < key.len();
        if self.counters.len() < COUNTERS {
            self.counters.push(Counter {
                hash,
                key: kept.to_vec(),
                is_cut,
                count: 1.0,
                error: 0.0,
            });
            return;
        }
        let smallest = self
            .counters
            .iter_mut()
            .min_by(|one, other| one.count.total_cmp(&other.count))
            .expect("the summary is full");
        smallest.hash = hash;
        // The smallest counter changes hands often: its buffer stays.
        smallest.key.clear();
        smallest.key.extend_from_slice(kept);
        smallest.is_cut = is_cut;
        smallest.error = smallest.count;
        smallest.count += 1.0;
    }

    fn fade(&mut self, factor: f64) {
        for counter in &mut self.counters {
            counter.count *= factor;
            counter.error *= factor;
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct HotKeys {
    summary: Mutex<Summary>,
}

impl HotKeys {
    /// Counts a key of a sampled command.
    pub fn count(&self, key: &[u8]) {
        if let Some(mut summary) = self.summary.try_lock() {
            summary.count(key);
        }
    }

    /// Counts the key of a command, if its number among its like says that it is sampled.
    #[inline]
    pub fn offer(&self, number: u64, key: &[u8]) {
        if number.wrapping_mul(SCATTER) <= u64::MAX / SAMPLED_ONE_IN {
            self.count(key);
        }
    }

    /// Lets `seconds` pass.
    pub fn fade(&self, seconds: f64) {
        self.summary
            .lock()
            .fade((-seconds / HALF_LIFE_S * std::f64::consts::LN_2).exp());
    }
}

/// The hottest keys of several threads together, the hottest first.
///
/// A steady key that has `n` samples a second holds a count of `n` times the mean life of a sample, so
/// the rate is the count over that life. In a server's first seconds this is too low.
pub fn hottest<'a>(threads: impl IntoIterator<Item = &'a HotKeys>, limit: usize) -> Vec<HotKey> {
    let mut merged: Vec<Counter> = Vec::new();
    for thread in threads {
        for counter in &thread.summary.lock().counters {
            let same =
                |known: &&mut Counter| known.key == counter.key && known.is_cut == counter.is_cut;
            match merged.iter_mut().find(same) {
                Some(known) => {
                    known.count += counter.count;
                    known.error += counter.error;
                }
                None => merged.push(counter.clone()),
            }
        }
    }
    merged.retain(|counter| counter.count - counter.error >= LEAST_COUNT);
    merged.sort_by(|one, other| {
        let by_count = (other.count - other.error).total_cmp(&(one.count - one.error));
        by_count.then_with(|| one.key.cmp(&other.key))
    });
    merged.truncate(limit);
    let per_second =
        |count: f64| count * SAMPLED_ONE_IN as f64 * std::f64::consts::LN_2 / HALF_LIFE_S;
    merged
        .into_iter()
        .map(|counter| HotKey {
            per_second: per_second(counter.count),
            error_per_second: per_second(counter.error),
            key: counter.key,
            is_cut: counter.is_cut,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, HotKeys, KEPT_BYTES, SAMPLED_ONE_IN, hottest};

    #[test]
    fn the_most_named_keys_are_found_among_many_others() {
        let threads = [HotKeys::default(), HotKeys::default()];
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..20_000 {
            let thread = &threads[round % 2];
            match random.u32(0..10) {
                0 | 1 => thread.count(b"hottest"),
                2 => thread.count(b"hot"),
                _ => thread.count(format!("cold-{}", random.u32(0..100_000)).as_bytes()),
            }
        }
        let found = hottest(&threads, 2);
        let keys: Vec<_> = found.iter().map(|found| found.key.as_slice()).collect();
        assert_eq!(keys, [&b"hottest"[..], b"hot"]);
        for thread in &threads {
            assert_eq!(thread.summary.lock().counters.len(), COUNTERS);
        }
    }

    #[test]
    fn a_steady_key_is_estimated_at_its_rate() {
        let threads = [HotKeys::default()];
        for _ in 0..200 {
            for _ in 0..40 {
                threads[0].count(b"k");
            }
            threads[0].fade(1.0);
        }
        let found = hottest(&threads, 10);
        let expected = 40.0 * SAMPLED_ONE_IN as f64;
        let ratio = found[0].per_second / expected;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
        assert_eq!(found[0].error_per_second, 0.0);
    }

    #[test]
    fn one_command_in_so_many_is_sampled_whatever_the_clients_period() {
        for period in [1, 2, 16, 100, 128] {
            let keys = HotKeys::default();
            for number in 1..=SAMPLED_ONE_IN * 1000 {
                keys.offer(
                    number,
                    if number % period == 0 {
                        b"first"
                    } else {
                        b"other"
                    },
                );
            }
            let summary = keys.summary.lock();
            let total: f64 = summary.counters.iter().map(|counter| counter.count).sum();
            assert!((950.0..1050.0).contains(&total), "{total} of 1000");
            let first = summary
                .counters
                .iter()
                .find(|counter| counter.key == b"first");
            let share = first.map_or(0.0, |first| first.count) / total * period as f64;
            assert!((0.5..1.5).contains(&share), "{share} with period {period}");
        }
    }

    #[test]
    fn what_was_hot_once_fades() {
        let threads = [HotKeys::default()];
        for _ in 0..1000 {
            threads[0].count(b"k");
        }
        assert_eq!(hottest(&threads, 10).len(), 1);
        threads[0].fade(600.0);
        assert!(hottest(&threads, 10).is_empty());
    }

    #[test]
    fn long_keys_are_cut_and_still_told_apart() {
        let threads = [HotKeys::default()];
        let mut key = vec![b'x'; KEPT_BYTES + 1];
        for last in [b'1', b'2'] {
            *key.last_mut().unwrap() = last;
            for _ in 0..10 {
                threads[0].count(&key);
            }
        }
        let summary = threads[0].summary.lock();
        assert_eq!(summary.counters.len(), 2);
        assert!(summary.counters.iter().all(|counter| counter.is_cut));
        assert!(
            summary
                .counters
                .iter()
                .all(|counter| counter.key.len() == KEPT_BYTES)
        );
    }
}
