//! Reading arguments: numbers, options, times.

use crate::error::CommandError;
use nuthatch_wire::number;
use nuthatch_wire::resp::Args;
use std::borrow::Cow;

/// An integer.
#[inline]
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotInteger)
}

/// A floating-point number that is not NaN.
pub fn float(text: &[u8]) -> Result<f64, CommandError> {
    number::parse_f64(text).ok_or(CommandError::NotFloat)
}

/// The arguments after the fixed ones, read one by one.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    args: Args<'a>,
    next: usize,
}

impl<'a> Options<'a> {
    /// The arguments from `start` on.
    pub fn new(args: Args<'a>, start: usize) -> Self {
        Self { args, next: start }
    }

    /// The next argument, which an option needs.
    pub fn value(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.args.len().saturating_sub(self.next)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        Some(arg)
    }
}

/// Whether an argument is this word, in any case.
#[inline]
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// How a time is written: seconds or milliseconds, from now or since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeUnit {
    /// Whether the number counts seconds; else milliseconds.
    pub seconds: bool,
    /// Whether it counts from 1970; else from now.
    pub absolute: bool,
}

impl TimeUnit {
    /// The unit of an option: `EX`, `PX`, `EXAT` or `PXAT`.
    pub fn of_option(option: &[u8]) -> Option<Self> {
        let (seconds, absolute) = if is_word(option, "EX") {
            (true, false)
        } else if is_word(option, "PX") {
            (false, false)
        } else if is_word(option, "EXAT") {
            (true, true)
        } else if is_word(option, "PXAT") {
            (false, true)
        } else {
            return None;
        };
        Some(Self { seconds, absolute })
    }
}

/// The time that `number` means in `unit`, in milliseconds since 1970; may be before 1970. An error
/// that names `command` if 64 bits do not hold it.
pub fn deadline_ms(
    number: i64,
    unit: TimeUnit,
    now_ms: u64,
    command: &str,
) -> Result<i64, CommandError> {
    let factor = if unit.seconds { 1000 } else { 1 };
    let start = if unit.absolute {
        0
    } else {
        now_ms.cast_signed()
    };
    number
        .checked_mul(factor)
        .and_then(|ms| ms.checked_add(start))
        .ok_or_else(|| CommandError::ExpireTime(Cow::Owned(command.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{TimeUnit, deadline_ms};

    #[test]
    fn times_beyond_64_bits_are_errors() {
        let unit = TimeUnit::of_option(b"ex").unwrap();
        assert_eq!(deadline_ms(2, unit, 500, "set"), Ok(2500));
        assert!(deadline_ms(i64::MAX / 1000, unit, 1_000_000, "set").is_err());
        let unit = TimeUnit::of_option(b"PXAT").unwrap();
        assert_eq!(deadline_ms(-5, unit, 500, "set"), Ok(-5));
        assert_eq!(TimeUnit::of_option(b"NX"), None);
    }
}
