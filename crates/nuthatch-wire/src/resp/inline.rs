//! Inline commands: a line of words, for people with a terminal. Words may be quoted as in Redis:
//! double quotes know `\n \r \t \b \a \\ \"` and `\xHH`, single quotes only `\'`. A word may be put
//! together from quoted and other parts, as in Valkey 9.

/// A quote of a line is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnbalancedQuotes;

/// Splits `line` into words: their bytes are appended to `words`, their ends to `ends`.
pub(super) fn split(
    line: &[u8],
    words: &mut Vec<u8>,
    mut word_ends: impl FnMut(usize),
) -> Result<(), UnbalancedQuotes> {
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        rest = word(rest, words)?;
        word_ends(words.len());
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Appends the first word of `rest` to `words`; returns what follows it.
fn word<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Ok(rest),
            [b'"', tail @ ..] => rest = double_quoted(tail, words)?,
            [b'\'', tail @ ..] => rest = single_quoted(tail, words)?,
            [blank, tail @ ..] if is_blank(*blank) => return Ok(tail),
            [byte, tail @ ..] => {
                words.push(*byte);
                rest = tail;
            }
        }
    }
}

fn double_quoted<'a>(
    mut rest: &'a [u8],
    words: &mut Vec<u8>,
) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescaped(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        words.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(
    mut rest: &'a [u8],
    words: &mut Vec<u8>,
) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        words.push(byte);
        rest = tail;
    }
}

fn unescaped(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::{UnbalancedQuotes, split};

    fn words(line: &str) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut bytes, |end| ends.push(end))?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(starts
            .zip(&ends)
            .map(|(start, &end)| bytes[start..end].to_vec())
            .collect())
    }

    #[test]
    fn words_are_split_at_blanks_and_unquoted() {
        assert_eq!(words("  SET  k\tv ").unwrap(), [&b"SET"[..], b"k", b"v"]);
        assert_eq!(
            words(r#"SET "a b" "\x00\n\"" 'it\'s'"#).unwrap(),
            [&b"SET"[..], b"a b", b"\0\n\"", b"it's"]
        );
        assert_eq!(words(r#"GET """#).unwrap(), [&b"GET"[..], b""]);
        assert!(words("   ").unwrap().is_empty());
    }

    #[test]
    fn words_are_put_together_from_quoted_and_other_parts() {
        assert_eq!(
            words(r#"SET """tes"t-'k'e"y" "a b"'-'c"#).unwrap(),
            [&b"SET"[..], b"test-key", b"a b-c"]
        );
        assert_eq!(words(r#"a"" '' x' 'y"#).unwrap(), [&b"a"[..], b"", b"x y"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_an_error() {
        for line in [
            r#"GET "a"#,
            "GET 'a",
            r#"GET "b"a"r"#,
            "GET 'b'a'r",
            "GET \"a\\",
        ] {
            assert_eq!(words(line), Err(UnbalancedQuotes), "{line}");
        }
    }
}
