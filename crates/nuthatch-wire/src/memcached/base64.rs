//! Base64 (RFC 4648, with padding), in which meta commands carry binary keys.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Appends what `text` stands for. `false` if it stands for nothing; then some of it may have been
/// appended.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return false;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return false;
    }
    let digits = &text[..text.len() - padding];
    for quad in digits.chunks(4) {
        let mut bits = 0;
        for &byte in quad {
            let Some(sextet) = sextet(byte) else {
                return false;
            };
            bits = bits << 6 | sextet;
        }
        bits <<= 6 * (4 - quad.len());
        let bytes = bits.to_be_bytes();
        out.extend_from_slice(&bytes[1..quad.len()]);
    }
    true
}

/// Appends the text that stands for `bytes`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for triple in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=triple.len()].copy_from_slice(triple);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            out.push(if place <= triple.len() {
                ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn texts_of_the_standard_stand_for_their_bytes() {
        for (bytes, text) in [
            (&b"f"[..], &b"Zg=="[..]),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"\xff\xfe\xfb\xef", b"//777w=="),
        ] {
            let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
            encode(bytes, &mut encoded);
            assert_eq!(encoded, text);
            assert!(decode(text, &mut decoded));
            assert_eq!(decoded, bytes);
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            &b""[..],
            b"Zg",
            b"Zg=",
            b"Z===",
            b"====",
            b"Zg==Zg==",
            b"Zm9*",
            b"Zm 9",
        ] {
            assert!(!decode(text, &mut Vec::new()), "{}", text.escape_ascii());
        }
    }
}
