//! LZF, in which RDB compresses strings: runs of literal bytes, and copies of what came before.

/// The longest copy that three bytes ask for.
const MAX_COPY: usize = 264;

/// What was compressed, which has this length; `None` if it does not, or makes no sense.
pub(super) fn decompress(mut packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > packed.len().saturating_mul(MAX_COPY) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(length);
    while let [control, rest @ ..] = packed {
        let control = usize::from(*control);
        if control < 32 {
            let (literal, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            packed = rest;
        } else {
            let (more, rest) = match control >> 5 {
                7 => rest
                    .split_first()
                    .map(|(more, rest)| (usize::from(*more), rest))?,
                _ => (0, rest),
            };
            let (low, rest) = rest.split_first()?;
            packed = rest;
            let copied = (control >> 5) + more + 2;
            let distance = ((control & 0x1f) << 8 | usize::from(*low)) + 1;
            let start = out.len().checked_sub(distance)?;
            // The copy may run into what it writes, which repeats it.
            for index in start..start + copied {
                out.push(out[index]);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::decompress;

    #[test]
    fn literals_and_copies_are_put_together() {
        assert_eq!(decompress(b"\x02abc", 3).unwrap(), b"abc");
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).unwrap(), b"abcabc");
        assert_eq!(decompress(b"\x00a\xe0\x00\x00", 10).unwrap(), b"aaaaaaaaaa");
        assert_eq!(decompress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn damage_is_noticed() {
        let wrong: [(&[u8], usize); 8] = [
            (b"\x02ab", 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x20\x00", 3),
            (b"\x02abc\x20", 6),
            (b"\x02abc\x20\x03", 6),
            (b"\x02abc\xe0", 20),
            (b"\x02abc", usize::MAX),
        ];
        for (packed, length) in wrong {
            assert_eq!(decompress(packed, length), None, "{packed:?}");
        }
    }
}
