//! Types of the parameters that policies take. Each holds only values that its policy can work
//! with, so a policy once named needs no further checks.

use std::fmt::{self, Display};
use std::str::FromStr;
use thiserror::Error;

/// A value that a policy's parameter cannot take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{value:?} is not {allowed}")]
pub struct ParameterError {
    /// What was given.
    pub value: String,
    /// What would have been right, as words that follow "is not".
    pub allowed: &'static str,
}

/// What the table of policies needs of a parameter's type.
pub(super) trait Parameter: FromStr<Err = ParameterError> + Display {
    /// The values allowed, as words that follow "is not".
    const ALLOWED: &'static str;

    /// The error for a value that is not allowed.
    fn refuse(value: impl Display) -> ParameterError {
        ParameterError {
            value: value.to_string(),
            allowed: Self::ALLOWED,
        }
    }
}

/// A part of the capacity: more than nothing, less than all.
///
/// ```
/// use nuthatch::policy::Share;
/// assert_eq!(Share::new(0.2)?.of(1000), 200);
/// assert_eq!("0.2".parse(), Share::new(0.2));
/// assert!(Share::new(1.0).is_err());
/// # Ok::<(), nuthatch::policy::ParameterError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The share `part`, if it lies between 0 and 1, both excluded.
    pub fn new(part: f64) -> Result<Self, ParameterError> {
        if part > 0.0 && part < 1.0 {
            Ok(Self(part))
        } else {
            Err(Self::refuse(part))
        }
    }

    /// A share known to be right when the crate is compiled.
    pub(super) const fn percent(percent: u8) -> Self {
        assert!(
            percent > 0 && percent < 100,
            "a share lies between 0 and 100 percent"
        );
        Self(percent as f64 / 100.0)
    }

    /// The share as a number between 0 and 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// This share of `capacity`, rounded down.
    pub fn of(self, capacity: u64) -> u64 {
        (capacity as f64 * self.0) as u64
    }
}

impl Parameter for Share {
    const ALLOWED: &'static str = "a number between 0 and 1";
}

impl FromStr for Share {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        text.parse()
            .ok()
            .and_then(|part| Self::new(part).ok())
            .ok_or_else(|| Self::refuse(text))
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The width of a small saturating counter: 1, 2 or 3 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CounterBits {
    /// Counts to 1.
    One = 1,
    /// Counts to 3.
    Two = 2,
    /// Counts to 7.
    Three = 3,
}

impl CounterBits {
    /// The value at which the counter stays.
    pub fn max(self) -> u8 {
        (1 << self as u8) - 1
    }
}

impl Parameter for CounterBits {
    const ALLOWED: &'static str = "1, 2 or 3";
}

impl FromStr for CounterBits {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text {
            "1" => Ok(Self::One),
            "2" => Ok(Self::Two),
            "3" => Ok(Self::Three),
            _ => Err(Self::refuse(text)),
        }
    }
}

impl Display for CounterBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self as u8).fmt(f)
    }
}

/// A point between two policies: 0 is the one, 1 is the other.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Blend(f64);

impl Blend {
    /// The point `part`, if it lies between 0 and 1, both included.
    pub fn new(part: f64) -> Result<Self, ParameterError> {
        if (0.0..=1.0).contains(&part) {
            Ok(Self(part))
        } else {
            Err(Self::refuse(part))
        }
    }

    /// A point known to be right when the crate is compiled.
    pub(super) const fn percent(percent: u8) -> Self {
        assert!(percent <= 100, "a point lies between 0 and 100 percent");
        Self(percent as f64 / 100.0)
    }

    /// The point as a number from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Parameter for Blend {
    const ALLOWED: &'static str = "a number from 0 to 1";
}

impl FromStr for Blend {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        text.parse()
            .ok()
            .and_then(|part| Self::new(part).ok())
            .ok_or_else(|| Self::refuse(text))
    }
}

impl Display for Blend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many entries are looked at to choose one: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleSize(u8);

impl SampleSize {
    /// The default of Redis, 5.
    pub const REDIS: Self = Self(5);

    /// The size `samples`, if it lies between 1 and 64, both included.
    pub fn new(samples: u8) -> Result<Self, ParameterError> {
        if (1..=64).contains(&samples) {
            Ok(Self(samples))
        } else {
            Err(Self::refuse(samples))
        }
    }

    /// The size as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Parameter for SampleSize {
    const ALLOWED: &'static str = "a whole number from 1 to 64";
}

impl FromStr for SampleSize {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        text.parse()
            .ok()
            .and_then(|samples| Self::new(samples).ok())
            .ok_or_else(|| Self::refuse(text))
    }
}

impl Display for SampleSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many counted hits promote an entry: 1, 2 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promotion(u8);

impl Promotion {
    /// Promotion by the first hit.
    pub const ONE_HIT: Self = Self(1);
    /// Promotion by the second hit.
    pub const TWO_HITS: Self = Self(2);

    /// Promotion by the hit with this number, if it is 1, 2 or 3.
    pub fn new(hits: u8) -> Result<Self, ParameterError> {
        if (1..=3).contains(&hits) {
            Ok(Self(hits))
        } else {
            Err(Self::refuse(hits))
        }
    }

    /// The number of hits.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Parameter for Promotion {
    const ALLOWED: &'static str = "1, 2 or 3";
}

impl FromStr for Promotion {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        text.parse()
            .ok()
            .and_then(|hits| Self::new(hits).ok())
            .ok_or_else(|| Self::refuse(text))
    }
}

impl Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a window for new entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// Follows the hit ratio.
    Adaptive,
    /// Always this part of the capacity.
    Fixed(Share),
}

impl Parameter for Window {
    const ALLOWED: &'static str = "\"adaptive\" or a number between 0 and 1";
}

impl FromStr for Window {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        if text == "adaptive" {
            return Ok(Self::Adaptive);
        }
        let share = text.parse().map_err(|_| Self::refuse(text))?;
        Ok(Self::Fixed(share))
    }
}

impl Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("adaptive"),
            Self::Fixed(share) => share.fmt(f),
        }
    }
}
