//! Traces of some of a sample's keys, on which caches that are as much smaller miss about as often.
//!
//! Which of the sampled keys are taken is no longer chance: in order of popularity, and of first
//! appearance among the equally popular, each so-many-th key is (systematic sampling). So there are
//! as many popular keys among those taken as there should be, on whose number most depends. The few
//! keys that alone have a noticeable share of the requests are set aside where they are certain to
//! hit.
//!
//! What is taken is taken alike from each of four *parts*, which share no key, as the keys' hashes
//! say. They are independent samples, and tell by how much they differ how far the whole may be off.

use crate::shards::{HEAVY_SHARE, Sample, Totals};
use crate::simulate::key_hash;
use crate::trace::{Request, Trace};

/// Parts of a sample: more would have fewer keys each, and so be less alike to the whole.
pub const PARTS: usize = 4;
/// Keys to draw first, or up to twice as many.
const FIRST_KEYS: f64 = 8192.0;
/// A cache of fewer entries is another cache.
const FEWEST_ENTRIES: f64 = 64.0;
/// A key is certain to hit in a cache that all other requests fill no faster than it is asked for
/// so many times.
const CERTAIN_REQUESTS: f64 = 8.0;

/// A sample that miniatures are drawn from.
#[derive(Debug)]
pub struct Population {
    trace: Trace,
    /// Keys by part, the most popular first.
    parts: [Vec<usize>; PARTS],
    /// The most popular first.
    heavy_hitters: Vec<Heavy>,
    totals: Totals,
    total_bytes: f64,
    whole: bool,
}

/// A heavy hitter.
#[derive(Clone, Copy, Debug)]
struct Heavy {
    /// Its key, if the sample has it.
    key: Option<usize>,
    requests: f64,
    bytes: f64,
}

/// Keys that hit whenever they are asked for again, and are in no miniature: whether a miniature
/// had one would show in what it misses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Certain {
    /// How many they are.
    pub keys: f64,
    /// Requests for them.
    pub requests: f64,
    /// Bytes that these ask for.
    pub bytes: f64,
    /// Bytes of the objects themselves.
    pub object_bytes: f64,
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
    /// The share of the full trace's keys that it has, certain ones aside.
    pub share: f64,
    /// The share of the full trace's objects that it has, by their bytes, certain ones aside.
    pub byte_share: f64,
}

/// A miniature and what it is put together from.
#[derive(Debug)]
pub struct Drawn {
    /// All keys drawn.
    pub all: Miniature,
    /// The same keys by part; none if every key of the full trace was drawn.
    pub parts: Vec<Miniature>,
    /// Keys that were not up for drawing.
    pub certain: Certain,
}

impl Population {
    /// Makes a sample ready to be drawn from.
    pub fn new(name: &str, sample: Sample) -> Self {
        let (totals, whole) = (sample.covered(), sample.is_whole());
        let missing: Vec<_> = sample
            .missing_heavy_hitters()
            .iter()
            .map(|missing| Heavy {
                key: None,
                requests: missing.requests,
                bytes: missing.bytes,
            })
            .collect();
        let (trace, hashes) = sample.into_trace(name);
        let mut popularity = vec![0_u32; hashes.len()];
        let mut bytes = vec![0_u64; hashes.len()];
        for request in trace.requests() {
            popularity[request.key as usize] += 1;
            bytes[request.key as usize] += u64::from(request.size);
        }
        let mut ranked: Vec<usize> = (0..hashes.len()).collect();
        let mut sizes = vec![0; hashes.len()];
        for request in trace.requests() {
            sizes[request.key as usize] = request.size;
        }
        // Stable, so that the equally popular stay in order of appearance.
        ranked.sort_by_key(|&key| u32::MAX - popularity[key]);
        let mut heavy_hitters = missing;
        let heavy = HEAVY_SHARE * totals.requests as f64;
        let sampled = ranked.iter().map(|&key| Heavy {
            key: Some(key),
            requests: f64::from(popularity[key]),
            bytes: bytes[key] as f64,
        });
        heavy_hitters.extend(sampled.take_while(|each| each.requests >= heavy));
        heavy_hitters.sort_by(|a, b| b.requests.total_cmp(&a.requests));
        let total_bytes = total_bytes(&sizes, &bytes, &totals);
        let mut parts: [Vec<usize>; PARTS] = Default::default();
        for key in ranked {
            // Other bits than those which chose the sample.
            let part = key_hash(!hashes[key]) as usize % PARTS;
            parts[part].push(key);
        }
        Self {
            trace,
            parts,
            heavy_hitters,
            totals,
            total_bytes,
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
        self.total_bytes
    }

    /// How many keys are certain to hit in a cache of so many entries.
    pub fn certain_keys(&self, entries: f64) -> usize {
        let fewest = CERTAIN_REQUESTS * self.totals.requests as f64 / entries;
        self.heavy_hitters
            .partition_point(|each| each.requests >= fewest)
    }

    /// The first level whose miniatures of a cache of so many entries have more than a few.
    pub fn first_level(&self, entries: f64) -> i32 {
        let share = FEWEST_ENTRIES / entries;
        let is_enough = |level: &i32| {
            let (keys, last) = self.level(*level);
            last || keys as f64 >= share * self.totals.keys
        };
        (0..).find(is_enough).expect("there is a last level")
    }

    /// How many keys to draw for a level, each of which has twice as many as the one before, and
    /// whether it is the last.
    ///
    /// Sketches and the like are powers of two, and are as full in a miniature as in the cache only
    /// if it is smaller by a power of two.
    pub fn level(&self, level: i32) -> (usize, bool) {
        let halvings = (self.totals.keys / FIRST_KEYS).log2().floor().max(0.0) as i32;
        let keys = self.totals.keys * 0.5_f64.powi(halvings - level);
        // The parts take as long as the whole, so half of a trace as long as the trace without parts.
        let most = if self.whole { 0.5 } else { 1.0 };
        let last = keys >= most * self.keys() as f64;
        (
            if last {
                self.keys()
            } else {
                keys.round() as usize
            },
            last,
        )
    }

    /// Draws about so many keys, but none of so many most popular ones, which are certain to hit.
    /// Whoever wants every key of a whole trace gets the trace.
    pub fn draw(&self, keys: usize, certain_keys: usize) -> Drawn {
        let exact = self.whole && keys >= self.keys();
        let certain_keys = if exact { 0 } else { certain_keys };
        let set_aside = &self.heavy_hitters[..certain_keys];
        let mut drawn_of = vec![LEFT_OUT; self.keys()];
        let step = (self.keys() as f64 / keys as f64).max(1.0);
        for (part, list) in (0..).zip(&self.parts) {
            let is_aside = |key| set_aside.iter().any(|each| each.key == Some(key));
            // They are more popular than all others.
            let aside = list.iter().take_while(|&&key| is_aside(key)).count();
            let list = &list[aside..];
            // Each part begins elsewhere within the first step, so that all are evenly apart.
            let first = step * (f64::from(part) + 0.5) / PARTS as f64;
            let places = (0..).map(|number| (first + f64::from(number) * step) as usize);
            for place in places.take_while(|&place| place < list.len()) {
                drawn_of[list[place]] = part;
            }
        }
        let mut certain = Certain::default();
        for each in set_aside {
            certain.keys += 1.0;
            certain.requests += each.requests;
            certain.bytes += each.bytes;
            certain.object_bytes += each.bytes / each.requests;
        }
        let mut all = Draft::new(self.keys());
        let mut parts = Vec::new();
        if !exact {
            parts.resize_with(PARTS, || Draft::new(self.keys()));
        }
        for request in self.trace.requests() {
            let part = drawn_of[request.key as usize];
            if part != LEFT_OUT {
                all.push(request);
                if let Some(part) = parts.get_mut(part as usize) {
                    part.push(request);
                }
            }
        }
        let of_keys = self.totals.keys - certain.keys;
        let of_bytes = self.total_bytes - certain.object_bytes;
        let finish = |draft: Draft| draft.finish(self.trace.name(), of_keys, of_bytes);
        Drawn {
            all: finish(all),
            parts: parts.into_iter().map(finish).collect(),
            certain,
        }
    }
}

/// What all objects weigh, by those of a sample, for which `asked` bytes were asked by key.
fn total_bytes(sizes: &[u32], asked: &[u64], totals: &Totals) -> f64 {
    let sizes: Vec<_> = sizes.iter().map(|&size| f64::from(size)).collect();
    let asked: Vec<_> = asked.iter().map(|&bytes| bytes as f64).collect();
    extrapolate(&sizes, &asked, totals.keys, totals.bytes as f64)
}

/// The sum of a value over `keys` keys that were asked for `total` in all, by those sampled, of which
/// each was asked for `asked` and has `values`: a generalized regression estimator (Särndal et al.,
/// "Model Assisted Survey Sampling", 1992), with one part of the value in proportion to what is
/// asked, and one for each key.
pub fn extrapolate(values: &[f64], asked: &[f64], keys: f64, total: f64) -> f64 {
    let n = values.len() as f64;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (sum_asked, sum_values) = (sum(asked), sum(values));
    let spread = n * product(asked, asked) - sum_asked * sum_asked;
    if spread <= 0.0 {
        // All keys are equally popular, so requests tell no more than keys do.
        return sum_values / sum_asked * total;
    }
    let by_request = (n * product(asked, values) - sum_asked * sum_values) / spread;
    let by_key = (sum_values - by_request * sum_asked) / n;
    by_key * keys + by_request * total
}

/// Instead of a part: the key was not drawn. Instead of a number: it has none yet.
const LEFT_OUT: u32 = u32::MAX;

/// A miniature in the making.
#[derive(Debug)]
struct Draft {
    /// By the population's keys.
    numbers: Vec<u32>,
    list: Vec<Request>,
    requests: Vec<f64>,
    bytes: Vec<f64>,
}

impl Draft {
    fn new(keys: usize) -> Self {
        Self {
            numbers: vec![LEFT_OUT; keys],
            list: Vec::new(),
            requests: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn push(&mut self, request: &Request) {
        let number = &mut self.numbers[request.key as usize];
        if *number == LEFT_OUT {
            *number = self.requests.len() as u32;
            self.requests.push(0.0);
            self.bytes.push(0.0);
        }
        self.requests[*number as usize] += 1.0;
        self.bytes[*number as usize] += f64::from(request.size);
        self.list.push(Request {
            key: u64::from(*number),
            ..*request
        });
    }

    fn finish(self, name: &str, of_keys: f64, of_bytes: f64) -> Miniature {
        let trace = Trace::new(name, self.list);
        Miniature {
            share: self.requests.len() as f64 / of_keys,
            byte_share: trace.bytes() as f64 / of_bytes,
            trace,
            requests: self.requests,
            bytes: self.bytes,
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
        source.stream(None, |block| sampler.take(block)).unwrap();
        Population::new("t", sampler.finish())
    }

    #[test]
    fn the_parts_make_up_what_was_drawn() {
        for kept in [1000, 10_000] {
            let population = population("zipf:0.8:5000:50000", kept);
            let drawn = population.draw(400, 0);
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
        let drawn = population.draw(1000, 0);
        let share = drawn.all.trace.requests().len() as f64 / 200_000.0;
        let off = share / drawn.all.share - 1.0;
        assert!(
            off.abs() < 0.25,
            "{off}: by chance it may be three times as many"
        );
    }

    #[test]
    fn what_all_objects_weigh_is_told_by_some_of_them() {
        // Keys ten times as popular as others are ten times as large, and the sample has too many.
        let sizes = [10.0, 10.0, 10.0, 1.0, 1.0];
        let asked = [1000.0, 1000.0, 1000.0, 10.0, 10.0];
        let (keys, total) = (1000.0, 100.0 * 1000.0 + 900.0 * 10.0);
        let estimate = extrapolate(&sizes, &asked, keys, total);
        let truth = 100.0 * 10.0 + 900.0;
        assert!((estimate / truth - 1.0_f64).abs() < 1e-9, "{estimate}");
    }

    #[test]
    fn certain_keys_are_set_aside_and_more_of_them_for_larger_caches() {
        let population = population("zipf:1:10000:200000", 1000);
        let few = population.certain_keys(1000.0);
        let more = population.certain_keys(5000.0);
        assert!(0 < few && few < more, "{few} and {more}");
        let (none, some) = (population.draw(500, 0), population.draw(500, more));
        assert_eq!(none.certain, Certain::default());
        assert_eq!(some.certain.keys, more as f64);
        let most = |drawn: &Drawn| drawn.all.requests.iter().copied().fold(0.0, f64::max);
        // Of 200,000 requests, each certain key has 320 or more.
        assert!(most(&none) >= 320.0 && most(&some) < 320.0);
        let requests = |drawn: &Drawn| drawn.all.trace.requests().len() as f64;
        assert!(some.certain.requests > 0.0 && requests(&some) < requests(&none));
    }

    #[test]
    fn a_whole_trace_is_drawn_as_it_is() {
        let source: Source = "zipf:0.8:500:5000".parse().unwrap();
        let trace = source.load(None).unwrap();
        let population = population("zipf:0.8:500:5000", 1000);
        let drawn = population.draw(population.keys(), 3);
        assert!(drawn.parts.is_empty());
        assert_eq!(drawn.all.share, 1.0);
        let keys = |trace: &Trace| {
            let keys = trace.requests().iter().map(|request| request.key);
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&drawn.all.trace), keys(&trace));
    }
}
