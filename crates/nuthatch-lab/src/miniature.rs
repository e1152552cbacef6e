//! Traces of some of a sample's keys, on which caches that are as much smaller miss about as often.
//!
//! Which of the sampled keys are taken is no longer chance: in order of popularity, and of first
//! appearance among the equally popular, each so-many-th key is (systematic sampling). So there are
//! as many popular keys among those taken as there should be, on whose number most depends.
//!
//! What is taken is taken alike from each of four *parts*, which share no key, as the keys' hashes
//! say. They are independent samples, and tell by how much they differ how far the whole may be off.

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
    pub fn new(name: &str, sample: Sample) -> Self {
        let (totals, whole) = (sample.covered(), sample.is_whole());
        let (trace, hashes) = sample.into_trace(name);
        let mut popularity = vec![0_u32; hashes.len()];
        for request in trace.requests() {
            popularity[request.key as usize] += 1;
        }
        let mut ranked: Vec<u64> = (0..trace.keys()).collect();
        // Stable, so that the equally popular stay in order of appearance.
        ranked.sort_by_key(|&key| u32::MAX - popularity[key as usize]);
        let mut parts: [Vec<u64>; PARTS] = Default::default();
        for key in ranked {
            // Other bits than those which chose the sample.
            let part = key_hash(!hashes[key as usize]) as usize % PARTS;
            parts[part].push(key);
        }
        Self {
            trace,
            parts,
            totals,
            whole,
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
        let step = (self.keys() as f64 / keys as f64).max(1.0);
        for (part, list) in self.parts.iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{SampleBounds, Sampler};
    use crate::trace::Source;

    fn population(trace: &str, keys: usize) -> Population {
        let source: Source = trace.parse().unwrap();
        let mut sampler = Sampler::new(SampleBounds {
            keys,
            requests: 1 << 20,
            fewest_keys: 64,
        });
        source
            .stream(None, |request| sampler.take(request))
            .unwrap();
        Population::new("t", sampler.finish())
    }

    #[test]
    fn the_parts_make_up_what_was_drawn() {
        for kept in [1000, 10_000] {
            let population = population("zipf:0.8:5000:50000", kept);
            let drawn = population.draw(400);
            assert!((396..=404).contains(&drawn.all.trace.keys()));
            let requests = |miniature: &Miniature| miniature.trace.requests().len();
            let of_parts: usize = drawn.parts.iter().map(requests).sum();
            assert_eq!(of_parts, requests(&drawn.all));
            let asked: f64 = drawn.all.requests.iter().sum();
            assert_eq!(asked as usize, of_parts);
        }
    }

    #[test]
    fn popular_keys_are_drawn_as_often_as_others() {
        let population = population("zipf:1:10000:200000", 10_000);
        let drawn = population.draw(1000);
        let share = drawn.all.trace.requests().len() as f64 / 200_000.0;
        let off = share / drawn.all.share - 1.0;
        assert!(
            off.abs() < 0.25,
            "{off}: by chance it may be three times as many"
        );
    }

    #[test]
    fn a_whole_trace_is_drawn_as_it_is() {
        let source: Source = "zipf:0.8:500:5000".parse().unwrap();
        let trace = source.load(None).unwrap();
        let population = population("zipf:0.8:500:5000", 1000);
        let drawn = population.draw(population.keys());
        assert!(drawn.parts.is_empty());
        assert_eq!(drawn.all.share, 1.0);
        let keys = |trace: &Trace| {
            let keys = trace.requests().iter().map(|request| request.key);
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&drawn.all.trace), keys(&trace));
    }
}
