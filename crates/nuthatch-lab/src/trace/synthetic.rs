//! Traces made up on the spot, the same each time.
//!
//! `zipf:ALPHA:KEYS:REQUESTS` asks for the k-th most popular of `KEYS` keys with a probability
//! proportional to 1/k^`ALPHA`, each request independent of all others.
//! `scan:ALPHA:KEYS:REQUESTS` lets every other request walk in order, again and again, through a
//! table of ten times as many keys, beside such a Zipf load: a report that runs while a shop is
//! open. `loop:KEYS:REQUESTS` walks through `KEYS` keys in order, again and again.

use super::{Feed, Request, Sink, SourceError, Whole};
use crate::simulate::key_hash;
use std::fmt::{self, Display};

/// Bounds on what fits in memory.
const MAX_KEYS: u64 = 100_000_000;
const MAX_REQUESTS: u64 = 1_000_000_000;
/// The table that a scan walks through is so many times as large as the Zipf load's set of keys.
const SCANNED_PER_KEY: u64 = 10;

/// A trace made up on the spot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Synthetic {
    /// Independent requests by Zipf's law.
    Zipf {
        /// The law's exponent.
        alpha: f64,
        /// Keys that may be asked for.
        keys: u64,
        /// Requests.
        requests: u64,
    },
    /// Zipf's law with a sequential scan running through.
    Scan {
        /// The law's exponent.
        alpha: f64,
        /// Keys that may be asked for beside the scan.
        keys: u64,
        /// Requests, the scan's included.
        requests: u64,
    },
    /// All keys in order, again and again.
    Loop {
        /// Keys.
        keys: u64,
        /// Requests.
        requests: u64,
    },
}

impl Synthetic {
    /// Reads `zipf:..`, `scan:..` and `loop:..`; any other text is no synthetic trace.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, SourceError> {
        let (name, arguments) = text.split_once(':').unwrap_or((text, ""));
        let words: Vec<_> = arguments.split(':').collect();
        let (parsed, expected) = match (name, words.as_slice()) {
            ("zipf", &[alpha, keys, requests]) => (
                Self::zipf(alpha, keys, requests),
                "zipf:ALPHA:KEYS:REQUESTS",
            ),
            ("scan", &[alpha, keys, requests]) => (
                Self::scan(alpha, keys, requests),
                "scan:ALPHA:KEYS:REQUESTS",
            ),
            ("loop", &[keys, requests]) => (Self::endless(keys, requests), "loop:KEYS:REQUESTS"),
            ("zipf", _) => (None, "zipf:ALPHA:KEYS:REQUESTS"),
            ("scan", _) => (None, "scan:ALPHA:KEYS:REQUESTS"),
            ("loop", _) => (None, "loop:KEYS:REQUESTS"),
            _ => return Ok(None),
        };
        match parsed {
            Some(synthetic) => Ok(Some(synthetic)),
            None => Err(SourceError::Synthetic {
                text: text.to_owned(),
                expected,
            }),
        }
    }

    fn zipf(alpha: &str, keys: &str, requests: &str) -> Option<Self> {
        let (alpha, keys, requests) = (exponent(alpha)?, count(keys, MAX_KEYS)?, length(requests)?);
        Some(Self::Zipf {
            alpha,
            keys,
            requests,
        })
    }

    fn scan(alpha: &str, keys: &str, requests: &str) -> Option<Self> {
        let (alpha, keys, requests) = (exponent(alpha)?, count(keys, MAX_KEYS)?, length(requests)?);
        Some(Self::Scan {
            alpha,
            keys,
            requests,
        })
    }

    fn endless(keys: &str, requests: &str) -> Option<Self> {
        Some(Self::Loop {
            keys: count(keys, MAX_KEYS)?,
            requests: length(requests)?,
        })
    }

    /// The requests.
    pub fn requests(&self) -> Vec<Request> {
        let mut whole = Whole::default();
        self.feed(&mut Feed::new(&mut whole));
        whole.requests
    }

    pub(super) fn feed<S: Sink>(&self, feed: &mut Feed<'_, S>) {
        match *self {
            Self::Zipf {
                alpha,
                keys,
                requests,
            } => {
                let zipf = Zipf::new(alpha, keys);
                (0..requests).for_each(|index| feed.key(zipf.rank(key_hash(index))));
            }
            Self::Scan {
                alpha,
                keys,
                requests,
            } => {
                let zipf = Zipf::new(alpha, keys);
                for index in 0..requests {
                    let scanned = keys + (index / 2) % (keys * SCANNED_PER_KEY);
                    let ranked = zipf.rank(key_hash(index));
                    feed.key(if index % 2 == 0 { ranked } else { scanned });
                }
            }
            Self::Loop { keys, requests } => {
                (0..requests).for_each(|index| feed.key(index % keys));
            }
        }
    }
}

fn exponent(word: &str) -> Option<f64> {
    word.parse()
        .ok()
        .filter(|alpha| (0.0..=10.0).contains(alpha))
}

fn count(word: &str, max: u64) -> Option<u64> {
    word.parse().ok().filter(|count| (1..=max).contains(count))
}

fn length(word: &str) -> Option<u64> {
    count(word, MAX_REQUESTS)
}

impl Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zipf {
                alpha,
                keys,
                requests,
            } => write!(f, "zipf:{alpha}:{keys}:{requests}"),
            Self::Scan {
                alpha,
                keys,
                requests,
            } => write!(f, "scan:{alpha}:{keys}:{requests}"),
            Self::Loop { keys, requests } => write!(f, "loop:{keys}:{requests}"),
        }
    }
}

/// Zipf's law by its cumulative distribution.
#[derive(Debug)]
pub(crate) struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(alpha: f64, keys: u64) -> Self {
        let mut sum = 0.0;
        let add = |rank: u64| {
            sum += (rank as f64).powf(-alpha);
            sum
        };
        Self {
            cumulative: (1..=keys).map(add).collect(),
        }
    }

    /// The rank, from 0, that falls to a random number.
    pub(crate) fn rank(&self, random: u64) -> u64 {
        let total = *self.cumulative.last().expect("there is a key");
        // 53 bits are all that a double can hold.
        let point = (random >> 11) as f64 / (1_u64 << 53) as f64 * total;
        self.cumulative.partition_point(|&sum| sum <= point) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<u64> {
        let synthetic = Synthetic::parse(text).unwrap().unwrap();
        assert_eq!(synthetic.to_string(), text);
        synthetic
            .requests()
            .iter()
            .map(|request| request.key)
            .collect()
    }

    #[test]
    fn zipf_asks_by_popularity() {
        let keys = keys("zipf:1:1000:100000");
        let mut counts = vec![0; 1000];
        keys.iter().for_each(|&key| counts[key as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The most popular of 1,000 keys gets 1 / H(1000) = 13.4 % of the requests.
        assert!(
            (13_000..14_000).contains(&counts[0]),
            "{} of 100,000",
            counts[0]
        );
        assert!(
            (6_300..7_100).contains(&counts[1]),
            "{} of 100,000",
            counts[1]
        );
    }

    #[test]
    fn a_loop_comes_round() {
        assert_eq!(keys("loop:3:7"), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_scan_runs_through_a_zipf_load() {
        let requests = keys("scan:1:2:80");
        let scanned: Vec<_> = requests.iter().skip(1).step_by(2).collect();
        assert_eq!(
            scanned[..20],
            scanned[20..],
            "the table of 20 keys is walked through twice"
        );
        assert!(scanned[..20].windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "zipf",
            "zipf:1:2",
            "zipf:x:1:1",
            "zipf:-1:1:1",
            "zipf:1:0:1",
            "loop:1",
            "loop:1:0",
        ] {
            assert!(Synthetic::parse(text).is_err(), "{text}");
        }
        assert_eq!(Synthetic::parse("zipf.csv"), Ok(None));
    }
}
