//! How large a cache is: so many entries or bytes, or a percentage of a trace.

use crate::simulate::Bound;
use crate::trace::Trace;
use std::fmt::{self, Display};
use std::str::FromStr;
use thiserror::Error;

/// Percentages are kept as whole multiples of this part of one percent, so that 0.1 % of a trace
/// is the same number of entries on every machine.
const PARTS_PER_PERCENT: u64 = 1_000_000;

/// The capacity of a cache to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheSize {
    /// Entries or bytes.
    Absolute(u64),
    /// A percentage of the trace's unique keys or of their bytes, in millionths of one percent.
    Relative(u64),
}

/// A text that is no cache size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no cache size: give a percentage of the trace, as in 0.1%, or a whole number")]
pub struct CacheSizeError {
    text: String,
}

impl FromStr for CacheSize {
    type Err = CacheSizeError;

    fn from_str(text: &str) -> Result<Self, CacheSizeError> {
        let size = match text.strip_suffix('%') {
            Some(percent) => millionths(percent.trim()).map(Self::Relative),
            None => text.parse().ok().map(Self::Absolute),
        };
        let size = size.filter(|size| !matches!(size, Self::Absolute(0) | Self::Relative(0)));
        size.ok_or_else(|| CacheSizeError {
            text: text.to_owned(),
        })
    }
}

/// Reads a decimal number of at most six places, up to a hundred, without rounding it.
fn millionths(number: &str) -> Option<u64> {
    let (whole, places) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(places) || places.len() > 6 {
        return None;
    }
    let fraction: u64 = format!("{places:0<6}").parse().ok()?;
    let parts = whole.parse::<u64>().ok()?.checked_mul(PARTS_PER_PERCENT)? + fraction;
    (parts <= 100 * PARTS_PER_PERCENT).then_some(parts)
}

impl Display for CacheSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absolute(size) => size.fmt(f),
            Self::Relative(parts) => write!(f, "{} %", parts as f64 / PARTS_PER_PERCENT as f64),
        }
    }
}

impl CacheSize {
    /// The capacity in entries or bytes, rounded down; 0 if the trace is too small for it.
    pub fn of(self, trace: &Trace, bound: Bound) -> u64 {
        match self {
            Self::Absolute(size) => size,
            Self::Relative(parts) => {
                let product = u128::from(parts) * u128::from(whole(trace, bound));
                (product / u128::from(100 * PARTS_PER_PERCENT)) as u64
            }
        }
    }
}

/// A capacity as a percentage of a trace.
pub fn percent_of(capacity: u64, trace: &Trace, bound: Bound) -> f64 {
    100.0 * capacity as f64 / whole(trace, bound).max(1) as f64
}

/// What a cache needs to hold all of a trace.
fn whole(trace: &Trace, bound: Bound) -> u64 {
    match bound {
        Bound::Entries => trace.keys(),
        Bound::Bytes => trace.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Source;

    fn entries(size: &str) -> u64 {
        let source: Source = "loop:1011:1011".parse().unwrap();
        let trace = source.load(None).unwrap();
        size.parse::<CacheSize>()
            .unwrap()
            .of(&trace, Bound::Entries)
    }

    #[test]
    fn a_percentage_is_of_the_unique_keys_and_rounded_down() {
        assert_eq!(entries("0.1%"), 1);
        assert_eq!(entries("30%"), 303);
        assert_eq!(entries("100%"), 1011);
        assert_eq!(entries("0.05%"), 0);
        assert_eq!(entries("70"), 70);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "0",
            "-1",
            "0%",
            "101%",
            "x%",
            "1.5",
            ".5%",
            "1.0000001%",
            "1e3",
        ] {
            assert!(text.parse::<CacheSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_displays_as_it_was_given() {
        for text in ["0.1 %", "30 %", "1000"] {
            assert_eq!(
                text.replace(' ', "")
                    .parse::<CacheSize>()
                    .unwrap()
                    .to_string(),
                text
            );
        }
    }
}
