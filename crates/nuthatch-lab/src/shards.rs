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

use crate::distinct::DistinctCounter;
use crate::trace::{Request, Trace};
use foldhash::fast::FixedState;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Bounds of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleBounds {
    /// Keys at most, at least 1.
    pub keys: usize,
    /// Requests at most, at least 1: each takes 16 bytes, and up to 16 more while a policy replays
    /// it.
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
    pub fn trace(&self, name: &str) -> (Trace, Vec<u64>) {
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
