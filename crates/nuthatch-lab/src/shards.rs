//! A sample of a trace's keys with all of their requests, of bounded size however long the trace
//! is: SHARDS (Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC Construction with SHARDS", FAST
//! 2015) in its fixed-size variant.
//!
//! A key belongs to the sample if its hash is below a limit. The limit falls whenever there are
//! more keys than the sample may have: the key with the greatest hash goes, with its requests.
//! Invariant: the sample holds exactly those requests of the keys below the limit that were seen
//! before the sample was full.
//!
//! A few keys may have more requests than fit the memory, and sampling fewer keys still would say
//! nothing. Then the sample is *full*: it ends where it is, and tells how many requests of the
//! trace it covers.

use crate::distinct::{DistinctCounter, ESTIMATE_ERROR};
use crate::trace::{Request, Trace};
use foldhash::fast::FixedState;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Bounds of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleBounds {
    /// Keys at most, at least 1.
    pub keys: usize,
    /// Requests at most, at least 1.
    pub requests: usize,
    /// No key goes for the sake of `requests` if fewer than this would be left.
    pub fewest_keys: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sampled {
    hash: u64,
    size: u32,
}

/// Samples a stream of requests whose keys are hashes, as [`Source::stream`] gives them.
///
/// [`Source::stream`]: crate::trace::Source::stream
#[derive(Debug)]
pub struct Sampler {
    bounds: SampleBounds,
    /// Keys with greater hashes are not in the sample.
    limit: u64,
    /// The greatest hash is on top.
    keys: BinaryHeap<u64>,
    members: HashSet<u64, FixedState>,
    /// May still hold requests above the limit; they go when there are too many.
    requests: Vec<Sampled>,
    distinct: DistinctCounter,
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
            keys: BinaryHeap::new(),
            members: HashSet::default(),
            requests: Vec::new(),
            distinct: DistinctCounter::default(),
            covered: Totals::default(),
            seen: 0,
            full: false,
        }
    }

    /// Takes the next request of the trace.
    pub fn take(&mut self, request: Request) {
        self.seen += 1;
        if self.full {
            return;
        }
        let hash = request.key;
        self.covered.requests += 1;
        self.covered.bytes += u64::from(request.size);
        self.distinct.count(hash);
        if hash > self.limit {
            return;
        }
        if self.members.insert(hash) {
            self.keys.push(hash);
            if self.keys.len() > self.bounds.keys {
                self.shrink(self.bounds.keys);
            }
        }
        if hash <= self.limit {
            self.requests.push(Sampled {
                hash,
                size: request.size,
            });
            if self.requests.len() == self.bounds.requests {
                self.make_room();
            }
        }
    }

    /// Lets the keys with the greatest hashes go until so many are left.
    fn shrink(&mut self, keys: usize) {
        while self.keys.len() > keys {
            let hash = self.keys.pop().expect("there are more than that");
            self.members.remove(&hash);
            // Hashes are whole numbers, so the next smaller one is the greatest that may stay.
            self.limit = hash - 1;
        }
    }

    fn make_room(&mut self) {
        self.sweep();
        // Enough must go for the sweeps to be rare.
        while self.requests.len() > self.bounds.requests / 4 * 3 {
            let fewer = self.keys.len() / 8 * 7;
            if fewer < self.bounds.fewest_keys {
                self.full = self.requests.len() >= self.bounds.requests;
                return;
            }
            self.shrink(fewer);
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let limit = self.limit;
        self.requests.retain(|request| request.hash <= limit);
    }

    /// The sample of all that was taken.
    pub fn finish(mut self) -> Sample {
        self.sweep();
        let whole = self.limit == u64::MAX;
        let keys = self.keys.len() as f64;
        self.covered.keys = if whole {
            keys
        } else {
            self.distinct.estimate().max(keys)
        };
        if !whole {
            self.covered.keys_error = self.covered.keys * ESTIMATE_ERROR;
        }
        Sample {
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
    requests: Vec<Sampled>,
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

    /// The requests for the sampled keys as a trace, and by key the hash that chose it.
    pub fn into_trace(self, name: &str) -> (Trace, Vec<u64>) {
        let mut numbers: HashMap<u64, u64, _> = HashMap::with_hasher(FixedState::default());
        let mut hashes = Vec::new();
        let mut requests = Vec::with_capacity(self.requests.len());
        for sampled in &self.requests {
            let key = *numbers.entry(sampled.hash).or_insert_with(|| {
                hashes.push(sampled.hash);
                hashes.len() as u64 - 1
            });
            requests.push(Request {
                key,
                time_s: 0,
                size: sampled.size,
                ttl_s: 0,
            });
        }
        (Trace::new(name, requests), hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::key_hash;

    fn sample(bounds: SampleBounds, keys: impl Iterator<Item = u64>) -> Sample {
        let mut sampler = Sampler::new(bounds);
        for key in keys {
            sampler.take(Request {
                key: key_hash(key),
                time_s: 0,
                size: 3,
                ttl_s: 0,
            });
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
    fn the_keys_are_those_with_the_least_hashes_and_have_all_their_requests() {
        let asked = || (0..30_000_u64).map(|index| index * index % 10_007);
        let sample = sample(bounds(100, 10_000, 10), asked());
        assert!(!sample.is_whole());
        let keys = sample.covered().keys;
        assert!((4_900.0..5_110.0).contains(&keys), "{keys} of 5004 keys");
        let (trace, hashes) = sample.into_trace("t");
        assert_eq!(hashes.len(), 100);
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
            sampler.take(Request {
                key: key_hash(key),
                time_s: 0,
                size: 1,
                ttl_s: 0,
            });
            assert!(sampler.keys.len() <= 1000 && sampler.requests.len() <= 4000);
        }
        let keys = sampler.finish().covered().keys;
        assert!((keys / 1e6 - 1.0).abs() < 0.01, "{keys}");
    }
}
