//! Traces of some of a sample's keys, on which caches that are as much smaller miss about as often.
//!
//! Which of the sampled keys are taken is no longer chance: in order of popularity, and of first
//! appearance among the equally popular, each so-many-th key is (systematic sampling). So there are
//! as many popular keys among those taken as there should be, on whose number most depends.
//!
//! What is taken is taken from each of four *parts* alike, which share no key. They are independent
//! samples, and tell by how much they differ how far the whole may be off: parts by the keys'
//! hashes, where the sample was itself chosen by hashes, and every fourth key, where it has all.

use crate::shards::{Sample, Totals};
use crate::simulate::key_hash;
use crate::trace::{Request, Trace};

/// Parts of a sample: more would have fewer keys each, and so be less alike to the whole.
pub const PARTS: usize = 4;
/// No key, in a renumbering.
const LEFT_OUT: u64 = u64::MAX;

/// A sample that miniatures are drawn from.
#[derive(Debug)]
pub struct Population {
    trace: Trace,
    /// Keys by part, the most popular first.
    parts: [Vec<u64>; PARTS],
    totals: Totals,
    whole: bool,
}

/// A trace of some keys, with what each of them was asked for.
#[derive(Debug)]
pub struct Miniature {
    /// The requests for these keys.
    pub trace: Trace,
    /// Requests by key.
    pub requests: Vec<f64>,
    /// Bytes asked for by key.
    pub bytes: Vec<f64>,
    /// The share of the full trace's keys that it has.
    pub share: f64,
}

/// A miniature and what it is put together from.
#[derive(Debug)]
pub struct Drawn {
    /// All keys drawn.
    pub all: Miniature,
    /// The same keys by part; none if every key of the full trace was drawn.
    pub parts: Vec<Miniature>,
}

impl Population {
    /// Makes a sample ready to be drawn from.
    pub fn new(name: &str, sample: &Sample) -> Self {
        let (trace, hashes) = sample.trace(name);
        let mut popularity = vec![0_u32; hashes.len()];
        for request in trace.requests() {
            popularity[request.key as usize] += 1;
        }
        let mut ranked: Vec<u64> = (0..trace.keys()).collect();
        // Stable, so that the equally popular stay in order of appearance.
        ranked.sort_by_key(|&key| u32::MAX - popularity[key as usize]);
        let mut parts: [Vec<u64>; PARTS] = Default::default();
        for (place, key) in ranked.into_iter().enumerate() {
            let part = if sample.is_whole() {
                place
            } else {
                // Other bits than those which chose the sample.
                key_hash(!hashes[key as usize]) as usize
            };
            parts[part % PARTS].push(key);
        }
        Self {
            trace,
            parts,
            totals: sample.covered(),
            whole: sample.is_whole(),
        }
    }

    /// What the full trace has.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Keys that can be drawn.
    pub fn keys(&self) -> usize {
        self.trace.keys() as usize
    }

    /// What all objects of the full trace weigh together.
    pub fn total_bytes(&self) -> f64 {
        self.trace.bytes() as f64 * self.totals.keys / self.trace.keys() as f64
    }

    /// Draws about so many keys.
    pub fn draw(&self, keys: usize) -> Drawn {
        let mut part_of = vec![None; self.keys()];
        for (part, list) in self.parts.iter().enumerate() {
            let wanted = keys.div_ceil(PARTS);
            let step = (list.len() as f64 / wanted as f64).max(1.0);
            // Each part begins elsewhere within the first step, so that all are evenly apart.
            let first = step * (part as f64 + 0.5) / PARTS as f64;
            let places = (0..).map(|number| (first + f64::from(number) * step) as usize);
            for place in places.take_while(|&place| place < list.len()) {
                part_of[list[place] as usize] = Some(part);
            }
        }
        let parts = if self.whole && keys >= self.keys() {
            Vec::new()
        } else {
            let part = |part| self.miniature(|key| part_of[key] == Some(part));
            (0..PARTS).map(part).collect()
        };
        Drawn {
            all: self.miniature(|key| part_of[key].is_some()),
            parts,
        }
    }

    fn miniature(&self, belongs: impl Fn(usize) -> bool) -> Miniature {
        let mut numbers = vec![LEFT_OUT; self.keys()];
        let mut list = Vec::new();
        let (mut requests, mut bytes) = (Vec::new(), Vec::new());
        for request in self.trace.requests() {
            let key = request.key as usize;
            if !belongs(key) {
                continue;
            }
            if numbers[key] == LEFT_OUT {
                numbers[key] = requests.len() as u64;
                requests.push(0.0);
                bytes.push(0.0);
            }
            let number = numbers[key];
            requests[number as usize] += 1.0;
            bytes[number as usize] += f64::from(request.size);
            list.push(Request {
                key: number,
                ..*request
            });
        }
        Miniature {
            share: requests.len() as f64 / self.totals.keys,
            trace: Trace::new(self.trace.name(), list),
            requests,
            bytes,
        }
    }
}
