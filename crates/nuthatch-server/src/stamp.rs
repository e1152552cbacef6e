//! What clients of memcached keep with a value: a unique number, flags, and marks of the meta
//! protocol. It stands behind the string in the item's bytes, and the item's tag says that it does, so
//! that strings without it, which is all that clients of Redis write, take no byte more.
//!
//! The layout behind the string: the unique number, 8 bytes; the flags, 4 bytes, unless they are 0;
//! when the item was last asked for its age, 4 bytes, if it was. Little-endian.

use arrayvec::ArrayVec;

/// In the tag: the string has a stamp.
const STAMPED: u8 = 1 << 7;
const STALE: u8 = 1 << 6;
const CLAIMED: u8 = 1 << 5;
const FLAGS: u8 = 1 << 4;
const ACCESSED: u8 = 1 << 3;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The number that changes with every write.
    pub cas: u64,
    /// What the client has noted.
    pub flags: u32,
    /// Whether the value was marked as outdated.
    pub is_stale: bool,
    /// Whether a client has been told that it is the one to make the value anew.
    pub is_claimed: bool,
    /// When the item was last asked for its age, in seconds since 1970.
    pub accessed_s: Option<u32>,
}

/// The bytes behind a string.
pub type Suffix = ArrayVec<u8, 16>;

/// Whether an item with this tag has a stamp behind its string.
#[inline]
pub fn is_stamped(tag: u8) -> bool {
    tag & STAMPED != 0
}

fn suffix_bytes(tag: u8) -> usize {
    8 + 4 * usize::from(tag & FLAGS != 0) + 4 * usize::from(tag & ACCESSED != 0)
}

/// The string in an item's bytes, without the stamp that the tag says is behind it.
#[inline]
pub fn without_stamp(tag: u8, bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - suffix_bytes(tag)]
}

impl Stamp {
    /// The tag and what stands behind the string.
    pub fn encode(self) -> (u8, Suffix) {
        let mut tag = STAMPED;
        let mut suffix = Suffix::new();
        suffix.extend(self.cas.to_le_bytes());
        if self.flags != 0 {
            tag |= FLAGS;
            suffix.extend(self.flags.to_le_bytes());
        }
        if let Some(accessed_s) = self.accessed_s {
            tag |= ACCESSED;
            suffix.extend(accessed_s.to_le_bytes());
        }
        if self.is_stale {
            tag |= STALE;
        }
        if self.is_claimed {
            tag |= CLAIMED;
        }
        (tag, suffix)
    }

    /// The stamp behind a string, if the tag says that there is one.
    pub fn decode(tag: u8, bytes: &[u8]) -> Option<Self> {
        if !is_stamped(tag) {
            return None;
        }
        let (_, mut suffix) = bytes.split_at(bytes.len() - suffix_bytes(tag));
        let mut number = || {
            let (number, rest) = suffix.split_first_chunk().expect("a stamp is whole");
            suffix = rest;
            u32::from_le_bytes(*number)
        };
        let cas = u64::from(number()) | u64::from(number()) << 32;
        Some(Self {
            cas,
            flags: if tag & FLAGS != 0 { number() } else { 0 },
            accessed_s: (tag & ACCESSED != 0).then(&mut number),
            is_stale: tag & STALE != 0,
            is_claimed: tag & CLAIMED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stamp, without_stamp};

    #[test]
    fn a_stamp_comes_back_from_behind_its_string() {
        for bits in 0..16_u32 {
            let stamp = Stamp {
                cas: 0x0102_0304_0506_0708 << (bits % 2),
                flags: if bits & 1 == 0 { 0 } else { u32::MAX - bits },
                is_stale: bits & 2 != 0,
                is_claimed: bits & 4 != 0,
                accessed_s: (bits & 8 != 0).then_some(7 + bits),
            };
            let (tag, suffix) = stamp.encode();
            let bytes = [&b"string"[..], &suffix].concat();
            assert_eq!(Stamp::decode(tag, &bytes), Some(stamp));
            assert_eq!(without_stamp(tag, &bytes), b"string");
        }
        assert_eq!(Stamp::decode(0, b"string"), None);
        assert_eq!(Stamp::default().encode().1.len(), 8);
    }
}
