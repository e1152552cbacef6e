//! What is asked for, request by request.
//!
//! Choices are made before the clock runs, from a seed, so that all servers of a round get the same.
//! A run that outlasts its choices makes more as it goes, which costs a fraction of a microsecond for
//! each but never repeats a request: a loop would be easier to cache than the law it was drawn from.

use crate::trace::{Request, Trace, Zipf};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::{self, Display};
use std::iter;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Choices that are made at a time when those made before are used up.
const REFILL: usize = 4096;
/// The bit of a choice that makes it a write.
const SET_BIT: u32 = 1 << 31;
/// The most keys.
pub(super) const MOST_KEYS: u64 = 100_000_000;
/// Scatters popularity over the keys' numbers: a prime above all of them, so that no two share one.
const SCATTER: u64 = 2_654_435_789;
const _: () = assert!(SCATTER > MOST_KEYS);

/// How often keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All alike.
    Uniform,
    /// By Zipf's law with this exponent.
    Zipf(f64),
}

/// A text that is no popularity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("it is neither uniform nor an exponent from 0 to 10")]
pub struct PopularityError;

impl FromStr for Popularity {
    type Err = PopularityError;

    fn from_str(text: &str) -> Result<Self, PopularityError> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        match text.parse() {
            Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(Self::Zipf(exponent)),
            _ => Err(PopularityError),
        }
    }
}

impl Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "{exponent}"),
        }
    }
}

/// Reads and writes, as in `10:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    gets: u32,
    sets: u32,
}

/// A text that is no mix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("it is not GETS:SETS, two whole numbers that are not both 0, as in 10:1")]
pub struct MixError;

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let (gets, sets) = text.split_once(':').ok_or(MixError)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| MixError);
        let (gets, sets) = (number(gets)?, number(sets)?);
        if gets == 0 && sets == 0 {
            return Err(MixError);
        }
        Ok(Self { gets, sets })
    }
}

impl Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.gets, self.sets)
    }
}

impl Mix {
    /// Reads alone: a cache-aside client writes what it missed.
    pub const READS: Self = Self { gets: 1, sets: 0 };
}

/// What clients want of a server: which keys, how often, and to do what.
#[derive(Clone, Debug)]
pub struct Demand {
    zipf: Option<Arc<Zipf>>,
    keys: u64,
    mix: Mix,
}

impl Demand {
    /// # Panics
    /// If there is no key, or there are more than a hundred million.
    pub fn new(popularity: Popularity, keys: u64, mix: Mix) -> Self {
        assert!((1..=MOST_KEYS).contains(&keys), "keys have numbers");
        let zipf = match popularity {
            Popularity::Uniform => None,
            Popularity::Zipf(exponent) => Some(Arc::new(Zipf::new(exponent, keys))),
        };
        Self { zipf, keys, mix }
    }

    /// The requests of a round, of which `made` for each thread are made at once.
    pub fn choices(&self, seed: u64, threads: usize, made: usize) -> Choices {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let thread = || {
            let mut chooser = Chooser {
                demand: self.clone(),
                random: random.clone(),
            };
            random.jump();
            let made = (0..made).map(|_| chooser.choose()).collect();
            (made, chooser)
        };
        Choices {
            threads: iter::repeat_with(thread).take(threads).collect(),
        }
    }
}

/// The requests of all threads for one round.
#[derive(Clone, Debug)]
pub struct Choices {
    threads: Vec<(Arc<[u32]>, Chooser)>,
}

/// Chooses one request after the other.
#[derive(Clone, Debug)]
struct Chooser {
    demand: Demand,
    random: Xoshiro256PlusPlus,
}

impl Chooser {
    fn choose(&mut self) -> u32 {
        let Demand { zipf, keys, mix } = &self.demand;
        let random = self.random.next_u64();
        let id = match zipf {
            // Keys are filled in by number: the popular ones must not be the oldest.
            Some(zipf) => zipf.rank(random) * SCATTER % keys,
            None => below(random, *keys),
        };
        let total = u64::from(mix.gets) + u64::from(mix.sets);
        let is_set = below(self.random.next_u64(), total) >= u64::from(mix.gets);
        id as u32 | if is_set { SET_BIT } else { 0 }
    }
}

/// A number below `end` from a random one.
fn below(random: u64, end: u64) -> u64 {
    ((u128::from(random) * u128::from(end)) >> 64) as u64
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Set,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Set => "SET",
        }
    }
}

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: u32,
    pub(super) verb: Verb,
    /// Of the value to be stored, also where that happens only if it is missed.
    pub(super) value_bytes: u32,
}

/// What a run sends.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Every key is stored once.
    Fill {
        /// Keys.
        keys: u64,
    },
    /// Requests that were chosen, for so long.
    Chosen {
        /// The requests.
        choices: &'a Choices,
        /// A miss is followed by a write.
        cache_aside: bool,
        /// How long.
        duration: Duration,
    },
    /// A trace from its begin to its end, each miss followed by a write.
    Replay {
        /// The trace.
        trace: &'a Trace,
    },
}

impl<'a> Work<'a> {
    pub(super) fn is_cache_aside(&self) -> bool {
        match *self {
            Self::Fill { .. } => false,
            Self::Chosen { cache_aside, .. } => cache_aside,
            Self::Replay { .. } => true,
        }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        match *self {
            Self::Fill { .. } | Self::Replay { .. } => None,
            Self::Chosen { duration, .. } => Some(duration),
        }
    }

    /// Whether a key's value has the same length each time.
    pub(super) fn has_one_length(&self) -> bool {
        match self {
            Self::Fill { .. } | Self::Chosen { .. } => true,
            Self::Replay { trace } => !trace.has_sizes(),
        }
    }

    /// What one of `threads` sends; `value_bytes` where the work does not say.
    pub(super) fn requests(&self, thread: usize, threads: usize, value_bytes: u32) -> Requests<'a> {
        let source = match *self {
            Self::Fill { keys } => {
                let part = |thread: usize| (keys * thread as u64 / threads as u64) as u32;
                Source::Fill(part(thread)..part(thread + 1))
            }
            Self::Chosen { choices, .. } => {
                let (made, chooser) = &choices.threads[thread];
                Source::Chosen {
                    made: Arc::clone(made),
                    next: 0,
                    chooser: chooser.clone(),
                }
            }
            Self::Replay { trace } => Source::Replay {
                requests: trace.requests(),
                next: thread,
                threads,
                is_sized: trace.has_sizes(),
            },
        };
        Requests {
            source,
            value_bytes,
        }
    }
}

/// The requests of one thread.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    source: Source<'a>,
    value_bytes: u32,
}

#[derive(Debug)]
enum Source<'a> {
    Fill(Range<u32>),
    Chosen {
        made: Arc<[u32]>,
        next: usize,
        chooser: Chooser,
    },
    Replay {
        requests: &'a [Request],
        next: usize,
        threads: usize,
        is_sized: bool,
    },
}

impl Iterator for Requests<'_> {
    type Item = Wanted;

    #[inline]
    fn next(&mut self) -> Option<Wanted> {
        let (id, verb, value_bytes) = match &mut self.source {
            Source::Fill(ids) => (ids.next()?, Verb::Set, self.value_bytes),
            Source::Chosen {
                made,
                next,
                chooser,
            } => {
                if *next == made.len() {
                    *made = (0..REFILL).map(|_| chooser.choose()).collect();
                    *next = 0;
                }
                let choice = made[*next];
                *next += 1;
                let verb = match choice & SET_BIT {
                    0 => Verb::Get,
                    _ => Verb::Set,
                };
                (choice & !SET_BIT, verb, self.value_bytes)
            }
            Source::Replay {
                requests,
                next,
                threads,
                is_sized,
            } => {
                let request = requests.get(*next)?;
                *next += *threads;
                let size = if *is_sized {
                    request.size
                } else {
                    self.value_bytes
                };
                (request.key as u32, Verb::Get, size)
            }
        };
        Some(Wanted {
            id,
            verb,
            value_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Source as TraceSource;

    fn requests(demand: &Demand, seed: u64, made: usize, count: usize) -> Vec<Wanted> {
        let choices = demand.choices(seed, 1, made);
        let work = Work::Chosen {
            choices: &choices,
            cache_aside: false,
            duration: Duration::ZERO,
        };
        work.requests(0, 1, 100).take(count).collect()
    }

    #[test]
    fn requests_that_were_not_made_before_are_the_same() {
        let demand = Demand::new(Popularity::Zipf(0.99), 1000, "10:1".parse().unwrap());
        let all = requests(&demand, 7, 20_000, 20_000);
        assert_eq!(requests(&demand, 7, 10, 20_000), all);
        assert_ne!(requests(&demand, 8, 10, 20_000), all);
        assert!(all.iter().all(|wanted| wanted.id < 1000));
    }

    #[test]
    fn the_mix_is_kept() {
        let demand = Demand::new(Popularity::Uniform, 1000, "10:1".parse().unwrap());
        let all = requests(&demand, 7, 0, 110_000);
        let sets = all.iter().filter(|wanted| wanted.verb == Verb::Set).count();
        assert!((9_500..10_500).contains(&sets), "{sets}");
        for (mix, verb) in [("1:0", Verb::Get), ("0:1", Verb::Set)] {
            let demand = Demand::new(Popularity::Uniform, 10, mix.parse().unwrap());
            let all = requests(&demand, 7, 0, 1000);
            assert!(all.iter().all(|wanted| wanted.verb == verb));
        }
    }

    #[test]
    fn popular_keys_lie_anywhere_among_the_numbers() {
        let demand = Demand::new(Popularity::Zipf(1.0), 1000, Mix::READS);
        let mut counts = vec![0; 1000];
        for wanted in requests(&demand, 7, 0, 100_000) {
            counts[wanted.id as usize] += 1;
        }
        // The most popular of 1,000 keys gets 1 / H(1000) = 13.4 % of the requests.
        assert!((13_000..14_000).contains(counts.iter().max().unwrap()));
        let low: u32 = counts[..500].iter().sum();
        assert!((35_000..65_000).contains(&low), "{low} below the middle");
    }

    #[test]
    fn threads_make_different_choices() {
        let demand = Demand::new(Popularity::Uniform, 1_000_000, Mix::READS);
        let choices = demand.choices(7, 2, 10);
        assert_ne!(choices.threads[0].0, choices.threads[1].0);
    }

    #[test]
    fn a_fill_stores_every_key_once() {
        let work = Work::Fill { keys: 10 };
        let all: Vec<_> = (0..3)
            .flat_map(|thread| work.requests(thread, 3, 5))
            .collect();
        let expected: Vec<_> = (0..10)
            .map(|id| Wanted {
                id,
                verb: Verb::Set,
                value_bytes: 5,
            })
            .collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn threads_share_a_trace() {
        let trace: TraceSource = "loop:4:7".parse().unwrap();
        let trace = trace.load(None).unwrap();
        let work = Work::Replay { trace: &trace };
        let ids = |thread| -> Vec<_> {
            let requests = work.requests(thread, 2, 5);
            requests
                .map(|wanted| (wanted.id, wanted.value_bytes))
                .collect()
        };
        assert_eq!(ids(0), [(0, 5), (2, 5), (0, 5), (2, 5)]);
        assert_eq!(ids(1), [(1, 5), (3, 5), (1, 5)]);
    }

    #[test]
    fn a_trace_with_sizes_says_how_long_values_are() {
        let request = |key, size| Request {
            key,
            time_s: 0,
            size,
            ttl_s: 0,
        };
        let trace = Trace::new("t", vec![request(0, 9), request(0, 12)]);
        let work = Work::Replay { trace: &trace };
        let sizes: Vec<_> = work
            .requests(0, 1, 5)
            .map(|wanted| wanted.value_bytes)
            .collect();
        assert_eq!(sizes, [9, 12]);
        assert!(!work.has_one_length());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "zipf", "-1", "11", "NaN"] {
            assert_eq!(text.parse::<Popularity>(), Err(PopularityError), "{text}");
        }
        for text in ["", "10", "0:0", "a:b", "1:-1"] {
            assert_eq!(text.parse::<Mix>(), Err(MixError), "{text}");
        }
        assert_eq!("10:1".parse::<Mix>().unwrap().to_string(), "10:1");
        assert_eq!("0.99".parse::<Popularity>().unwrap().to_string(), "0.99");
    }
}
