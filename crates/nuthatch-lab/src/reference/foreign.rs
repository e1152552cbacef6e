//! Policies as other simulators define them, quirks included: what their published miss ratios are
//! held against where ours follow another definition.
//!
//! A model here exists to show that a difference is the definition's and nothing else's: it misses
//! what the published number says, the product's policy does as its own reference does, and the two
//! definitions can be read side by side. None is worth choosing for a cache. Unlike a
//! [`ReferencePolicy`](super::ReferencePolicy), a model keeps its room by itself, for some of these evict on a hit, and some
//! turn keys away.

mod arc;
mod belady_size;
mod caffeine;
mod lirs;
mod s3_fifo;
mod segments;
mod two_q;
mod w_tiny_lfu;

use super::Access;
use crate::simulate::Bound;
use std::fmt::{self, Debug, Display};
use std::str::FromStr;
use thiserror::Error;

/// A cache as another simulator defines it.
pub trait ForeignCache: Debug {
    /// Serves one request; whether the key was resident.
    fn request(&mut self, access: &Access) -> bool;
}

/// Another simulator's definition of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// libCacheSim's S3-FIFO.
    S3Fifo,
    /// The same, with one hit enough.
    S3FifoOneHit,
    /// libCacheSim's Clock2Q+.
    Clock2qPlus,
    /// libCacheSim's 2Q.
    TwoQ,
    /// libCacheSim's ARC.
    Arc,
    /// libCacheSim's LIRS.
    Lirs,
    /// libCacheSim's W-TinyLFU with a window of 1 %.
    WTinyLfu1,
    /// The same with a window of 20 %.
    WTinyLfu20,
    /// libCacheSim's Belady for objects of different sizes, which draws lots.
    BeladySize {
        /// Settles the lots.
        seed: u64,
    },
    /// Caffeine 3, which lets losers in by lot.
    Caffeine {
        /// Settles the lots.
        seed: u64,
    },
}

/// The prefixes of those that draw lots; the seed follows.
const BELADY_SIZE: &str = "libcachesim:belady_size:";
const CAFFEINE: &str = "caffeine:";

impl Foreign {
    /// Those that do not draw lots, and their names.
    const DETERMINISTIC: [(&str, Self); 8] = [
        ("libcachesim:s3_fifo", Self::S3Fifo),
        ("libcachesim:s3_fifo:0.1:1", Self::S3FifoOneHit),
        ("libcachesim:clock2q_plus", Self::Clock2qPlus),
        ("libcachesim:two_q", Self::TwoQ),
        ("libcachesim:arc", Self::Arc),
        ("libcachesim:lirs", Self::Lirs),
        ("libcachesim:w_tiny_lfu:0.01", Self::WTinyLfu1),
        ("libcachesim:w_tiny_lfu:0.2", Self::WTinyLfu20),
    ];

    /// All names, for messages.
    pub(crate) fn names() -> impl Iterator<Item = String> {
        let chance = [BELADY_SIZE, CAFFEINE].map(|prefix| format!("{prefix}SEED"));
        let names = Self::DETERMINISTIC.map(|(name, _)| name.to_owned());
        names.into_iter().chain(chance)
    }

    /// An empty cache of this weight.
    pub fn build(self, bound: Bound, capacity: u64) -> Box<dyn ForeignCache> {
        match self {
            Self::S3Fifo => Box::new(s3_fifo::S3Fifo::new(capacity, 2)),
            Self::S3FifoOneHit => Box::new(s3_fifo::S3Fifo::new(capacity, 1)),
            Self::Clock2qPlus => Box::new(s3_fifo::S3Fifo::correlated(capacity)),
            Self::TwoQ => Box::new(two_q::TwoQ::new(capacity)),
            Self::Arc => Box::new(arc::Arc::new(capacity)),
            Self::Lirs => Box::new(lirs::Lirs::new(capacity)),
            Self::WTinyLfu1 => Box::new(w_tiny_lfu::WTinyLfu::new(capacity, 0.01)),
            Self::WTinyLfu20 => Box::new(w_tiny_lfu::WTinyLfu::new(capacity, 0.2)),
            Self::BeladySize { seed } => Box::new(belady_size::BeladySize::new(capacity, seed)),
            Self::Caffeine { seed } => Box::new(caffeine::Caffeine::new(bound, capacity, seed)),
        }
    }
}

/// A text that names no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no model of another simulator's policy has this name")]
pub struct NoForeign;

impl FromStr for Foreign {
    type Err = NoForeign;

    fn from_str(text: &str) -> Result<Self, NoForeign> {
        let mut all = Self::DETERMINISTIC.into_iter();
        if let Some((_, foreign)) = all.find(|(name, _)| *name == text) {
            return Ok(foreign);
        }
        let seed = |prefix| text.strip_prefix(prefix).and_then(|seed| seed.parse().ok());
        let belady = seed(BELADY_SIZE).map(|seed| Self::BeladySize { seed });
        let caffeine = seed(CAFFEINE).map(|seed| Self::Caffeine { seed });
        belady.or(caffeine).ok_or(NoForeign)
    }
}

impl Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeladySize { seed } => write!(f, "{BELADY_SIZE}{seed}"),
            Self::Caffeine { seed } => write!(f, "{CAFFEINE}{seed}"),
            _ => {
                let mut all = Self::DETERMINISTIC.into_iter();
                let named = all.find(|(_, foreign)| foreign == self);
                f.write_str(named.expect("all others have a name").0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Arc, NEVER, ReferenceCache};
    use crate::simulate::Outcome;

    /// What each request did, `h` for a hit and `m` for a miss. Requests are keys and weights.
    fn outcomes(model: &str, bound: Bound, capacity: u64, requests: &[(u64, u64)]) -> String {
        let mut cache = model.parse::<Foreign>().unwrap().build(bound, capacity);
        let outcome = |(at, &(key, weight)): (usize, &(u64, u64))| {
            let mut later = (at + 1..).zip(&requests[at + 1..]);
            let next = later.find(|(_, (other, _))| *other == key);
            let access = Access {
                key,
                weight,
                time: at as u64,
                next_use: next.map_or(NEVER, |(next, _)| next as u64),
            };
            if cache.request(&access) { 'h' } else { 'm' }
        };
        requests.iter().enumerate().map(outcome).collect()
    }

    fn by_entries(model: &str, capacity: u64, keys: &[u64]) -> String {
        let requests: Vec<_> = keys.iter().map(|&key| (key, 1)).collect();
        outcomes(model, Bound::Entries, capacity, &requests)
    }

    #[test]
    fn every_model_goes_by_its_name() {
        for name in Foreign::names() {
            let name = name.replace("SEED", "7");
            let model: Foreign = name.parse().unwrap();
            assert_eq!(model.to_string(), name);
        }
        for wrong in ["caffeine", "caffeine:x", "libcachesim:lru"] {
            assert_eq!(wrong.parse::<Foreign>(), Err(NoForeign), "{wrong}");
        }
    }

    #[test]
    fn a_small_queue_for_one_admits_nothing() {
        // The first key finds the small queue, of one entry, empty, and is not taken in. So it is with
        // all others, for the queue stays empty.
        let models = ["libcachesim:s3_fifo", "libcachesim:clock2q_plus"];
        for model in models {
            assert_eq!(by_entries(model, 19, &[1, 1, 2, 2, 1]), "mmmmm", "{model}");
            assert_eq!(by_entries(model, 20, &[1, 1, 2, 2, 1]), "mhmhh", "{model}");
        }
    }

    #[test]
    fn what_is_larger_than_the_queue_for_newcomers_is_turned_away() {
        let twice = |model, weight| outcomes(model, Bound::Bytes, 100, &[(1, weight), (1, weight)]);
        for (model, largest) in [
            ("libcachesim:s3_fifo", 9),
            ("libcachesim:s3_fifo:0.1:1", 9),
            ("libcachesim:clock2q_plus", 9),
            ("libcachesim:two_q", 25),
            ("libcachesim:lirs", 1),
            ("libcachesim:w_tiny_lfu:0.01", 1),
            ("libcachesim:w_tiny_lfu:0.2", 16),
        ] {
            assert_eq!(twice(model, largest), "mh", "{model}");
            assert_eq!(twice(model, largest + 1), "mm", "{model}");
        }
    }

    #[test]
    fn the_target_of_arc_moves_by_one_whatever_an_object_weighs() {
        // Key 1 is used twice; 2, 3 and 4 push each other out of the rest of a cache of 30. When 2
        // and 3 return, a target that moves by their weights lets 4 stay and 1 go.
        let requests = [1, 1, 2, 3, 4, 2, 3, 1].map(|key| (key, 10));
        let theirs = outcomes("libcachesim:arc", Bound::Bytes, 30, &requests);
        assert_eq!(theirs, "mhmmmmmh");
        let mut ours = ReferenceCache::new(Box::new(Arc::new(30)), 30);
        let last = (0..).zip(requests).map(|(time, (key, weight))| {
            let access = Access {
                key,
                weight,
                time,
                next_use: NEVER,
            };
            ours.request(&access, &mut |_| {})
        });
        assert_eq!(last.last(), Some(Outcome::Miss));
    }

    #[test]
    fn belady_drops_what_is_used_for_the_last_time_and_makes_room_for_what_it_turns_away() {
        let model = "libcachesim:belady_size:0";
        assert_eq!(by_entries(model, 1, &[1, 2, 1]), "mmm", "2 has made room");
        assert_eq!(by_entries(model, 2, &[1, 2, 1]), "mmh");
        assert_eq!(by_entries(model, 1, &[1, 1, 2, 2]), "mhmh");
    }

    #[test]
    fn caffeine_lets_in_by_frequency_once_it_is_half_full() {
        // A loop of 6 keys over 5 entries: 0 to 4 fill the cache and none is used more often, so
        // newcomers lose their duels and most of the loop stays.
        let keys: Vec<u64> = (0..60).map(|at| at % 6).collect();
        let outcomes = by_entries("caffeine:0", 5, &keys);
        let hits = outcomes.matches('h').count();
        assert!(hits > 30, "{outcomes}");
    }
}
