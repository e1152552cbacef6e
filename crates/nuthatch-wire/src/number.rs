//! Numbers as they stand in requests and replies: decimal text, read strictly.

/// Reads a signed decimal integer as Redis does: no sign but `-`, no leading zeros, no blanks, and
/// within 64 bits. `None` for everything else.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_u64(digits)?;
    if negative {
        if magnitude == 0 {
            return None;
        }
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Reads an unsigned decimal integer: digits only, no leading zeros, within 64 bits.
#[inline]
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    match digits {
        [] => return None,
        [b'0', _, ..] => return None,
        _ if digits.len() > 20 => return None,
        _ => {}
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Reads a decimal or scientific floating-point number, `inf` and `-inf` in any case; never NaN.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // Rust's grammar also takes `nan`, `infinity` and a leading `+`; of these Redis refuses NaN.
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// Appends a number as version 3 doubles and sorted-set scores are written: the shortest text that
/// reads back the same, without an exponent where it is short, `inf`, `-inf` and `nan`.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == value.trunc() && value.abs() < 1e17 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        let magnitude = value.abs();
        let text = if (1e-5..1e17).contains(&magnitude) {
            format!("{value}")
        } else {
            format!("{value:e}")
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_f64, parse_i64, parse_u64, write_f64};

    #[test]
    fn integers_are_read_strictly() {
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [
            &b""[..],
            b"-",
            b"+1",
            b" 1",
            b"1 ",
            b"01",
            b"-0",
            b"1.0",
            b"0x10",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"99999999999999999999999",
        ] {
            assert_eq!(parse_i64(wrong), None, "{:?}", wrong.escape_ascii());
        }
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn doubles_read_back_what_was_written() {
        for value in [0.0, 1.5, -3.25, 1e300, 5e-324, 1e16, 123_456_789.125, 0.1] {
            let mut out = Vec::new();
            write_f64(&mut out, value);
            assert_eq!(parse_f64(&out), Some(value), "{}", out.escape_ascii());
        }
        let mut out = Vec::new();
        write_f64(&mut out, f64::NEG_INFINITY);
        assert_eq!(out, b"-inf");
        assert_eq!(parse_f64(b"nan"), None);
        assert_eq!(parse_f64(b""), None);
        assert_eq!(parse_f64(b" 1"), None);
    }
}
