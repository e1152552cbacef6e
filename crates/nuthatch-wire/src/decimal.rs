//! Decimal fractions as `INCRBYFLOAT` and `HINCRBYFLOAT` add them.
//!
//! Redis adds in the C compiler's `long double`, whose precision differs between machines, and writes
//! 17 digits after the point. Here the digits of the text are added as they stand, which no width
//! bounds, and only the result is rounded to those 17 digits. So sums are those of Redis without
//! the noise in the last digits, and the same everywhere.

use std::cmp::Ordering;
use std::fmt;

/// Digits after the point that are written.
const FRACTION_DIGITS: usize = 17;
/// Longer texts are no numbers, as in Redis.
const MAX_TEXT_BYTES: usize = 5 * 1024 - 1;
/// The greatest and, negative, the least power of ten that `long double` has.
const MAX_EXPONENT: i64 = 4932;

/// A decimal fraction of any precision, or infinity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    is_infinite: bool,
    /// 0 to 9, the most significant first and not 0. Zero has none.
    digits: Vec<u8>,
    /// How many of the digits stand behind the point; may be more than there are.
    fraction: usize,
}

impl Decimal {
    /// Reads a decimal number, with a point, an exponent or both; also `inf` and `infinity` in any
    /// case, which Redis takes for numbers. `None` for everything else, and for what `long double` does
    /// not hold.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Self {
                is_negative,
                is_infinite: true,
                ..Self::default()
            });
        }
        let mantissa_end = text
            .iter()
            .position(|byte| matches!(byte, b'e' | b'E'))
            .unwrap_or(text.len());
        let exponent = match &text[mantissa_end..] {
            [] => 0,
            [_, exponent @ ..] => parse_exponent(exponent)?,
        };
        let (mut digits, mut fraction) = (Vec::with_capacity(mantissa_end), None);
        for &byte in &text[..mantissa_end] {
            match byte {
                b'0'..=b'9' => digits.push(byte - b'0'),
                b'.' if fraction.is_none() => fraction = Some(digits.len()),
                _ => return None,
            }
        }
        if digits.is_empty() {
            return None;
        }
        let fraction = fraction.map_or(0, |point| digits.len() - point);
        Self::scaled(is_negative, digits, fraction as i64 - exponent)
    }

    /// The number of these digits, so many of them behind the point, or zeros after them if negative.
    fn scaled(is_negative: bool, digits: Vec<u8>, fraction: i64) -> Option<Self> {
        let mut number = Self {
            is_negative,
            digits,
            ..Self::default()
        };
        number.trim();
        let Some(last) = number.digits.len().checked_sub(1) else {
            return Some(number);
        };
        let magnitude = last as i64 - fraction;
        if magnitude.abs() > MAX_EXPONENT {
            return None;
        }
        if fraction < 0 {
            let zeros = usize::try_from(-fraction).ok()?;
            number.digits.resize(number.digits.len() + zeros, 0);
        } else {
            number.fraction = usize::try_from(fraction).ok()?;
        }
        Some(number)
    }

    fn trim(&mut self) {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
    }

    /// Whether this is infinity or its negative.
    pub fn is_infinite(&self) -> bool {
        self.is_infinite
    }

    /// The exact sum; `None` if it is infinite or no number.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        if self.is_infinite || other.is_infinite {
            return None;
        }
        let fraction = self.fraction.max(other.fraction);
        let (a, b) = (self.with_fraction(fraction), other.with_fraction(fraction));
        let mut sum = if self.is_negative == other.is_negative {
            Self {
                is_negative: self.is_negative,
                digits: add_digits(&a, &b),
                ..Self::default()
            }
        } else {
            let (greater, less, is_negative) = match compare_digits(&a, &b) {
                Ordering::Less => (&b, &a, other.is_negative),
                Ordering::Equal | Ordering::Greater => (&a, &b, self.is_negative),
            };
            Self {
                is_negative,
                digits: subtract_digits(greater, less),
                ..Self::default()
            }
        };
        sum.fraction = fraction;
        sum.trim();
        let magnitude = sum.digits.len() as i64 - 1 - fraction as i64;
        (magnitude <= MAX_EXPONENT).then_some(sum)
    }

    /// The digits with so many behind the point, which are not fewer than there are.
    fn with_fraction(&self, fraction: usize) -> Vec<u8> {
        let mut digits = self.digits.clone();
        digits.resize(digits.len() + fraction - self.fraction, 0);
        digits
    }

    /// The digits before the point and those behind it, rounded to what is written, in one; the latter
    /// are always [`FRACTION_DIGITS`].
    fn rounded(&self) -> Vec<u8> {
        if self.fraction <= FRACTION_DIGITS {
            return self.with_fraction(FRACTION_DIGITS);
        }
        let dropped = self.fraction - FRACTION_DIGITS;
        let Some(kept) = self.digits.len().checked_sub(dropped) else {
            return Vec::new();
        };
        let (digits, dropped) = self.digits.split_at(kept);
        // A half goes to the even digit, so that what was rounded up once is not so again on its way
        // back to zero.
        let is_half = dropped[0] == 5 && dropped[1..].iter().all(|digit| *digit == 0);
        let is_odd = digits.last().is_some_and(|digit| digit % 2 == 1);
        let rounds_up = if is_half { is_odd } else { dropped[0] >= 5 };
        if rounds_up {
            add_digits(digits, &[1])
        } else {
            digits.to_vec()
        }
    }
}

/// The power of ten after the letter; what is beyond any number is cut to that.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit - b'0')).min(1_000_000)
    });
    Some(if is_negative { -magnitude } else { magnitude })
}

/// The digit `index` places before the last; 0 where there is none.
fn digit_from_end(digits: &[u8], index: usize) -> u8 {
    let position = digits.len().checked_sub(index + 1);
    position.map_or(0, |position| digits[position])
}

fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let length = a.len().max(b.len());
    let digits = |of: &[u8]| -> Vec<u8> {
        (0..length)
            .rev()
            .map(|index| digit_from_end(of, index))
            .collect()
    };
    digits(a).cmp(&digits(b))
}

fn add_digits(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = (0..=a.len().max(b.len()))
        .map(|index| {
            let digit = digit_from_end(a, index) + digit_from_end(b, index) + carry;
            carry = digit / 10;
            digit % 10
        })
        .collect();
    sum.reverse();
    sum
}

/// `a` less `b`, which is not greater.
fn subtract_digits(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = (0..a.len())
        .map(|index| {
            let digit = 10 + digit_from_end(a, index) - digit_from_end(b, index) - borrow;
            borrow = u8::from(digit < 10);
            digit % 10
        })
        .collect();
    assert_eq!(borrow, 0, "the subtrahend is not greater");
    difference.reverse();
    difference
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_infinite {
            return f.write_str(if self.is_negative { "-inf" } else { "inf" });
        }
        let mut digits = self.rounded();
        if digits.len() <= FRACTION_DIGITS {
            let missing = FRACTION_DIGITS + 1 - digits.len();
            digits.splice(..0, std::iter::repeat_n(0, missing));
        }
        let (whole, fraction) = digits.split_at(digits.len() - FRACTION_DIGITS);
        let leading = whole.iter().take_while(|digit| **digit == 0).count();
        let whole = &whole[leading.min(whole.len() - 1)..];
        let trailing = fraction.iter().rev().take_while(|digit| **digit == 0);
        let fraction = &fraction[..FRACTION_DIGITS - trailing.count()];
        let text = |digits: &[u8]| -> String {
            digits
                .iter()
                .map(|digit| char::from(b'0' + digit))
                .collect()
        };
        let is_zero = whole == [0] && fraction.is_empty();
        if self.is_negative && !is_zero {
            f.write_str("-")?;
        }
        f.write_str(&text(whole))?;
        if !fraction.is_empty() {
            write!(f, ".{}", text(fraction))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn sum(a: &str, b: &str) -> String {
        let number = |text: &str| Decimal::parse(text.as_bytes()).expect(text);
        number(a)
            .checked_add(&number(b))
            .expect("finite")
            .to_string()
    }

    #[test]
    fn sums_are_exact_and_written_plainly() {
        let cases = [
            ("0", "0", "0"),
            ("3.0", "1.1", "4.1"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("17179869184", "1.5", "17179869185.5"),
            ("1", "-1.1", "-0.1"),
            ("-1", "1", "0"),
            ("-0.5", "0.5", "0"),
            ("-0", "-0", "0"),
            ("1.", ".5", "1.5"),
            ("+1", "1E2", "101"),
            ("0.1", "0.2", "0.3"),
            ("1e-17", "0", "0.00000000000000001"),
            ("4e-18", "0", "0"),
            ("5e-18", "0", "0"),
            ("5000001e-24", "0", "0.00000000000000001"),
            ("15e-18", "0", "0.00000000000000002"),
            ("0.02439024390243902", "-0.024390243902439025", "0"),
            ("-4e-18", "0", "0"),
            ("0.99999999999999999", "0.000000000000000009", "1"),
            ("9.999999999999999999", "0", "10"),
            ("1e20", "1", "100000000000000000001"),
            ("999", "1", "1000"),
            ("1000", "-1", "999"),
            ("1e-4000", "1", "1"),
        ];
        for (a, b, expected) in cases {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
            assert_eq!(sum(b, a), expected, "{b} + {a}");
        }
        assert_eq!(sum("1e4931", "0").len(), 4932);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(5120);
        for wrong in [
            "",
            " 1",
            "1 ",
            "abc",
            "1.2.3",
            ".",
            "-",
            "e5",
            "1e",
            "1e+",
            "1e5.0",
            "nan",
            "0x10",
            "1\0",
            "--1",
            "1e4933",
            "1e99999999999999999999",
            "1e-4933",
            &long,
        ] {
            assert_eq!(Decimal::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        let infinity = Decimal::parse(b"-Inf").unwrap();
        assert!(infinity.is_infinite());
        assert_eq!(infinity.checked_add(&Decimal::default()), None);
        let most = Decimal::parse(b"9e4932").unwrap();
        assert_eq!(most.checked_add(&most), None);
    }

    #[test]
    fn sums_agree_with_integers() {
        let mut state: u64 = 1;
        for _ in 0..2_000 {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                i128::from(state.cast_signed() >> (state % 60))
            };
            let (a, b) = (next(), next());
            let shifted = |number: i128| format!("{number}e-9");
            let parsed = |text: String| Decimal::parse(text.as_bytes()).unwrap();
            let total = parsed(shifted(a)).checked_add(&parsed(shifted(b))).unwrap();
            let nano = parsed(total.to_string() + "e9");
            assert_eq!(nano.to_string(), (a + b).to_string(), "{a} + {b}");
        }
    }
}
