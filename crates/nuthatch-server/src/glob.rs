//! Patterns of keys and channels, as Redis matches them: `*`, `?`, `[a-z]`, `[^a]`, `\` escapes.

/// Whether `text` as a whole matches `pattern`. Takes time in proportion to the product of both
/// lengths at worst, never more: a star is gone back to only while no later one has matched.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte)
}

/// As [`matches()`], letters' case aside.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn matches_by(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not match: it then takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(&byte) => {
                if let Some(next) = match_one(pattern, p, byte, fold) {
                    p = next;
                    t += 1;
                    continue;
                }
            }
        }
        let Some((after_star, taken)) = retry else {
            return false;
        };
        p = after_star;
        t = taken + 1;
        retry = Some((after_star, t));
    }
}

/// The position after the element of `pattern` at `p`, if that matches `byte`.
fn match_one(pattern: &[u8], p: usize, byte: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => {
            let (matched, next) = class(pattern, p + 1, byte, fold);
            matched.then_some(next)
        }
        b'\\' if p + 1 < pattern.len() => (fold(pattern[p + 1]) == fold(byte)).then_some(p + 2),
        literal => (fold(literal) == fold(byte)).then_some(p + 1),
    }
}

/// Whether the class that begins at `p` contains `byte`, and where it ends. A class without an end
/// goes on to the end of the pattern.
fn class(pattern: &[u8], mut p: usize, byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p..).unwrap_or_default() {
            [] => break,
            [b']', ..] => {
                p += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= fold(*literal) == fold(byte);
                p += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low.min(high)), fold(*low.max(high)));
                found |= (low..=high).contains(&fold(byte));
                p += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                p += 1;
            }
        }
    }
    (found != negated, p)
}

/// Whether a pattern has no special characters, so that it matches itself alone.
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"*?[\\".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::{matches, matches_ignoring_case};

    #[test]
    fn patterns_match_as_in_redis() {
        let yes = [
            ("*", ""),
            ("*", "anything"),
            ("h?llo", "hallo"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("a\\*b", "a*b"),
            ("[\\]]", "]"),
            ("a*b*c", "a--b--b--c"),
            ("**x", "x"),
            ("key:*:end", "key:1:2:end"),
            ("a[", "a["),
        ];
        for (pattern, text) in yes {
            let expected = pattern != "a[";
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        let no = [
            ("", "a"),
            ("a", ""),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("a*b", "a"),
            ("a\\*b", "axb"),
            ("?", ""),
        ];
        for (pattern, text) in no {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
        assert!(matches_ignoring_case(b"MAX*[A-C]", b"maxmemoryb"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(50) + "b";
        let text = "a".repeat(5000);
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
