//! A sample of a trace's keys with all of their requests, of bounded size however long the trace
//! is: SHARDS (Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC Construction with SHARDS", FAST
//! 2015) in its fixed-size variant.
//!
//! A key belongs to the sample if its hash is below a limit. The limit falls whenever there are
//! more keys than the sample may have: those with the greatest hashes go, with their requests, a
//! quarter of them at a time, as it takes less time than one by one.
//! Invariant: the sample holds exactly those requests of the keys below the limit that were seen
//! before the sample was full.
//!
//! A trace that has not many more keys is kept whole: to simulate it takes no longer than to
//! simulate samples until it is known how far they are off.
//!
//! A few keys may have more requests than fit the memory, and sampling fewer keys still would say
//! nothing. Then the sample is *full*: it ends where it is, and tells how many requests of the
//! trace it covers.

use crate::distinct::{DistinctCounter, ESTIMATE_ERROR};
use crate::heavy_hitters::{HeavyHitter, HeavyHitters};
use crate::trace::{Request, Streamed, Trace};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// The share of all requests that makes a key a heavy hitter: it shows in a miss ratio whether the
/// sample has it.
pub const HEAVY_SHARE: f64 = 0.001;

/// Bounds of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleBounds {
    /// Keys at most, at least 4; but a trace of twice as many is kept whole.
    pub keys: usize,
    /// Requests at most, at least 1.
    pub requests: usize,
    /// No key goes for the sake of `requests` if fewer than this would be left.
    pub fewest_keys: usize,
}

/// A request in the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sampled {
    /// The key's number.
    key: u32,
    size: u32,
}

/// Samples a stream of requests, as [`Source::stream`] gives them.
///
/// [`Source::stream`]: crate::trace::Source::stream
#[derive(Debug)]
pub struct Sampler {
    bounds: SampleBounds,
    /// Keys with greater hashes are not in the sample.
    limit: u64,
    /// The numbers of the keys in the sample, in order of first appearance.
    numbers: HashMap<u64, u32, FixedState>,
    /// By number, also those of keys that went.
    hashes: Vec<u64>,
    /// May still hold requests above the limit; they go when there are too many.
    requests: Vec<Sampled>,
    distinct: DistinctCounter,
    heavy_hitters: HeavyHitters,
    covered: Totals,
    seen: u64,
    full: bool,
}

/// What a trace has in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Unique keys: an estimate, unless the sample holds them all.
    pub keys: f64,
    /// How many keys that may be off.
    pub keys_error: f64,
}

impl Sampler {
    /// An empty sample.
    pub fn new(bounds: SampleBounds) -> Self {
        Self {
            bounds,
            limit: u64::MAX,
            numbers: HashMap::default(),
            hashes: Vec::new(),
            requests: Vec::new(),
            distinct: DistinctCounter::default(),
            heavy_hitters: HeavyHitters::default(),
            covered: Totals::default(),
            seen: 0,
            full: false,
        }
    }

    /// Takes the next requests of the trace.
    pub fn take(&mut self, requests: &[Streamed]) {
        self.seen += requests.len() as u64;
        for &Streamed { hash, size } in requests {
            if self.full {
                return;
            }
            self.covered.requests += 1;
            self.covered.bytes += u64::from(size);
            self.distinct.count(hash);
            self.heavy_hitters.take(hash, size);
            if hash <= self.limit {
                self.keep(hash, size);
            }
        }
    }

    fn keep(&mut self, hash: u64, size: u32) {
        let next = self.hashes.len() as u32;
        let key = *self.numbers.entry(hash).or_insert(next);
        if key == next {
            self.hashes.push(hash);
            let most = if self.is_whole() { 2 } else { 1 } * self.bounds.keys;
            if self.numbers.len() > most {
                self.shrink(self.bounds.keys / 4 * 3);
                if hash > self.limit {
                    return;
                }
            }
        }
        self.requests.push(Sampled { key, size });
        if self.requests.len() == self.bounds.requests {
            self.make_room();
        }
    }

    fn is_whole(&self) -> bool {
        self.limit == u64::MAX
    }

    /// Lets the keys with the greatest hashes go so that so many are left, of more.
    fn shrink(&mut self, keys: usize) {
        let mut hashes: Vec<_> = self.numbers.keys().copied().collect();
        let (_, &mut least_gone, _) = hashes.select_nth_unstable(keys);
        // Hashes are whole numbers, so the next smaller one is the greatest that may stay.
        self.limit = least_gone - 1;
        self.numbers.retain(|&hash, _| hash < least_gone);
        self.numbers.shrink_to_fit();
    }

    fn make_room(&mut self) {
        self.sweep();
        // Enough must go for the sweeps to be rare.
        while self.requests.len() > self.bounds.requests / 4 * 3 {
            let fewer = self.numbers.len() / 8 * 7;
            if fewer < self.bounds.fewest_keys {
                self.full = self.requests.len() >= self.bounds.requests;
                return;
            }
            self.shrink(fewer);
            self.sweep();
        }
    }

    /// Forgets keys above the limit and their requests, and numbers the others anew, in the same
    /// order.
    fn sweep(&mut self) {
        if self.hashes.len() == self.numbers.len() {
            return;
        }
        let mut stay = 0;
        let mut numbers = Vec::with_capacity(self.hashes.len());
        for &hash in &self.hashes {
            let stays = hash <= self.limit;
            numbers.push(stays.then_some(stay));
            stay += u32::from(stays);
        }
        let limit = self.limit;
        self.hashes.retain(|&hash| hash <= limit);
        for (number, hash) in (0..).zip(&self.hashes) {
            self.numbers.insert(*hash, number);
        }
        self.requests.retain_mut(|request| {
            let number = numbers[request.key as usize];
            request.key = number.unwrap_or_default();
            number.is_some()
        });
    }

    /// The sample of all that was taken.
    pub fn finish(mut self) -> Sample {
        self.sweep();
        let whole = self.is_whole();
        let keys = self.numbers.len() as f64;
        self.covered.keys = if whole {
            keys
        } else {
            self.distinct.estimate().max(keys)
        };
        if !whole {
            self.covered.keys_error = self.covered.keys * ESTIMATE_ERROR;
        }
        let heavy = self.covered.requests as f64 * HEAVY_SHARE;
        Sample {
            missing_heavy_hitters: self
                .heavy_hitters
                .above(heavy)
                .filter(|each| each.hash > self.limit)
                .collect(),
            hashes: self.hashes,
            requests: self.requests,
            covered: self.covered,
            seen: self.seen,
            whole,
        }
    }
}

/// Some of a trace's keys, chosen by their hashes alone, with all of their requests.
#[derive(Debug)]
pub struct Sample {
    hashes: Vec<u64>,
    requests: Vec<Sampled>,
    missing_heavy_hitters: Vec<HeavyHitter>,
    covered: Totals,
    seen: u64,
    whole: bool,
}

impl Sample {
    /// The trace as far as the sample covers it.
    pub fn covered(&self) -> Totals {
        self.covered
    }

    /// Requests of the whole trace; more than are covered if the sample was full.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether every key is in the sample.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Keys with [`HEAVY_SHARE`] of the requests or more that are not in the sample.
    pub fn missing_heavy_hitters(&self) -> &[HeavyHitter] {
        &self.missing_heavy_hitters
    }

    /// The requests for the sampled keys as a trace, and by key the hash that chose it.
    pub fn into_trace(self, name: &str) -> (Trace, Vec<u64>) {
        let request = |sampled: &Sampled| Request {
            key: u64::from(sampled.key),
            time_s: 0,
            size: sampled.size,
            ttl_s: 0,
        };
        let requests = self.requests.iter().map(request).collect();
        (Trace::new(name, requests), self.hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::key_hash;

    fn sample(bounds: SampleBounds, keys: impl Iterator<Item = u64>) -> Sample {
        let mut sampler = Sampler::new(bounds);
        for key in keys {
            sampler.take(&[Streamed {
                hash: key_hash(key),
                size: 3,
            }]);
        }
        sampler.finish()
    }

    fn bounds(keys: usize, requests: usize, fewest_keys: usize) -> SampleBounds {
        SampleBounds {
            keys,
            requests,
            fewest_keys,
        }
    }

    #[test]
    fn a_trace_of_few_keys_is_sampled_whole() {
        let sample = sample(bounds(100, 1000, 10), (0..500).map(|index| index % 100));
        assert!(sample.is_whole());
        let totals = sample.covered();
        assert_eq!(
            (totals.requests, totals.bytes, totals.keys),
            (500, 1500, 100.0)
        );
        let (trace, hashes) = sample.into_trace("t");
        assert_eq!(trace.requests().len(), 500);
        assert_eq!(hashes, (0..100).map(key_hash).collect::<Vec<_>>());
    }

    #[test]
    fn a_trace_of_twice_as_many_keys_is_sampled_whole_and_one_of_more_is_not() {
        for (keys, is_whole) in [(200, true), (201, false)] {
            assert_eq!(sample(bounds(100, 1000, 10), 0..keys).is_whole(), is_whole);
        }
    }

    #[test]
    fn a_heavy_hitter_is_told_of_where_the_sample_lacks_it() {
        let keys =
            |hot: u64| (0..100_000).map(move |index| if index % 50 == 0 { hot } else { index });
        let (mut has, mut lacks) = (0, 0);
        for hot in 1_000_000..1_000_020 {
            let sample = sample(bounds(10_000, 100_000, 10), keys(hot));
            match sample.missing_heavy_hitters() {
                [] => has += u32::from(sample.hashes.contains(&key_hash(hot))),
                [heavy] => {
                    assert_eq!(heavy.hash, key_hash(hot));
                    assert!((1600.0..2400.0).contains(&heavy.requests), "{heavy:?}");
                    lacks += 1;
                }
                more => panic!("{more:?}"),
            }
        }
        assert_eq!(has + lacks, 20);
        assert!(lacks >= 10, "a tenth of the keys are in the sample");
    }

    #[test]
    fn the_keys_are_those_with_the_least_hashes_and_have_all_their_requests() {
        let asked = || (0..30_000_u64).map(|index| index * index % 10_007);
        let sample = sample(bounds(100, 10_000, 10), asked());
        assert!(!sample.is_whole());
        let keys = sample.covered().keys;
        assert!((4_900.0..5_110.0).contains(&keys), "{keys} of 5004 keys");
        let (trace, hashes) = sample.into_trace("t");
        assert!((75..=100).contains(&hashes.len()), "{} keys", hashes.len());
        let greatest = *hashes.iter().max().unwrap();
        let expected: Vec<_> = asked()
            .map(key_hash)
            .filter(|&hash| hash <= greatest)
            .collect();
        let sampled: Vec<_> = trace
            .requests()
            .iter()
            .map(|request| hashes[request.key as usize])
            .collect();
        assert_eq!(sampled, expected);
    }

    #[test]
    fn too_many_requests_lower_the_number_of_keys() {
        let sample = sample(
            bounds(1000, 5000, 10),
            (0..100_000).map(|index| index % 1000),
        );
        assert_eq!(sample.seen(), sample.covered().requests);
        let (trace, hashes) = sample.into_trace("t");
        assert!(trace.requests().len() < 5000);
        assert!((20..=50).contains(&hashes.len()), "{} keys", hashes.len());
        let whole = trace.requests().len() == 100 * hashes.len();
        assert!(whole, "each key has all of its requests");
    }

    #[test]
    fn a_sample_of_the_fewest_keys_ends_when_it_is_full() {
        let sample = sample(
            bounds(1000, 5000, 100),
            (0..100_000).map(|index| index % 100),
        );
        assert_eq!(sample.seen(), 100_000);
        assert_eq!(sample.covered().requests, 5000);
        assert!(sample.is_whole());
        assert_eq!(sample.into_trace("t").0.requests().len(), 5000);
    }

    #[test]
    fn a_long_stream_of_new_keys_takes_no_more_memory() {
        let mut sampler = Sampler::new(bounds(1000, 4000, 100));
        for key in 0..1_000_000 {
            sampler.take(&[Streamed {
                hash: key_hash(key),
                size: 1,
            }]);
            assert!(sampler.numbers.len() <= 2000 && sampler.requests.len() <= 4000);
        }
        let keys = sampler.finish().covered().keys;
        assert!((keys / 1e6 - 1.0).abs() < 0.01, "{keys}");
    }
}
