//! How large a cache is: so many entries or bytes, or a percentage of a trace.

use crate::simulate::Bound;
use crate::trace::Trace;
use std::fmt::{self, Display};
use std::str::FromStr;
use thiserror::Error;

/// Percentages are kept as whole multiples of this part of one percent, so that 0.1 % of a trace
/// is the same number of entries on every machine.
const PARTS_PER_PERCENT: u64 = 1_000_000;
/// A hundred percent.
const WHOLE: u64 = 100 * PARTS_PER_PERCENT;

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
pub enum CacheSizeError {
    /// It is neither a number nor a percentage.
    #[error("it is neither a percentage of the trace, as in 0.1%, nor a whole number")]
    Unreadable,
    /// The cache would hold nothing.
    #[error("a cache of that size holds nothing")]
    Zero,
    /// More than a hundred percent.
    #[error("100% holds the whole trace; what is larger must be given as a whole number")]
    AboveWhole,
}

impl FromStr for CacheSize {
    type Err = CacheSizeError;

    fn from_str(text: &str) -> Result<Self, CacheSizeError> {
        let size = match text.strip_suffix('%') {
            Some(percent) => millionths(percent.trim()).map(Self::Relative),
            None => text.parse().ok().map(Self::Absolute),
        };
        match size.ok_or(CacheSizeError::Unreadable)? {
            Self::Absolute(0) | Self::Relative(0) => Err(CacheSizeError::Zero),
            Self::Relative(parts) if parts > WHOLE => Err(CacheSizeError::AboveWhole),
            size => Ok(size),
        }
    }
}

/// Reads a decimal number of at most six places without rounding it.
fn millionths(number: &str) -> Option<u64> {
    let (whole, places) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(places) || places.len() > 6 {
        return None;
    }
    let fraction: u64 = format!("{places:0<6}").parse().ok()?;
    let parts = whole.parse::<u64>().ok()?.checked_mul(PARTS_PER_PERCENT)?;
    parts.checked_add(fraction)
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
        self.of_whole(whole(trace, bound))
    }

    /// The same where `whole` entries or bytes hold the trace.
    pub fn of_whole(self, whole: u64) -> u64 {
        match self {
            Self::Absolute(size) => size,
            Self::Relative(parts) => {
                let product = u128::from(parts) * u128::from(whole);
                (product / u128::from(WHOLE)) as u64
            }
        }
    }
}

/// The capacities on a trace, each once, without those that the trace is too small for.
pub fn capacities(sizes: &[CacheSize], trace: &Trace, bound: Bound) -> Vec<u64> {
    let mut capacities = Vec::new();
    for capacity in sizes.iter().map(|size| size.of(trace, bound)) {
        if capacity > 0 && !capacities.contains(&capacity) {
            capacities.push(capacity);
        }
    }
    capacities
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
        let refused = |text: &str| text.parse::<CacheSize>().unwrap_err();
        for text in [
            "",
            "-1",
            "x%",
            "1.5",
            ".5%",
            "1.0000001%",
            "1e3",
            "18446744073709.551616%",
        ] {
            assert_eq!(refused(text), CacheSizeError::Unreadable, "{text}");
        }
        assert_eq!(refused("0"), CacheSizeError::Zero);
        assert_eq!(refused("0.0%"), CacheSizeError::Zero);
        assert_eq!(refused("100.000001%"), CacheSizeError::AboveWhole);
    }

    #[test]
    fn a_capacity_counts_once_however_often_it_is_named() {
        let source: Source = "loop:100:100".parse().unwrap();
        let trace = source.load(None).unwrap();
        let sizes = ["10%", "0.1%", "10", "7"].map(|size| size.parse().unwrap());
        assert_eq!(capacities(&sizes, &trace, Bound::Entries), [10, 7]);
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
