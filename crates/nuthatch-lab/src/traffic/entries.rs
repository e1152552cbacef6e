//! Keys and values, made from a number when they are sent.
//!
//! A key is a constant followed by its number in hexadecimal, which takes less time to write than a
//! table of a million keys takes to look up, and no memory. A value is a function of the key's number
//! and of its own length: whoever reads one back knows all of its bytes, whoever wrote it.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::iter;
use thiserror::Error;

/// What keys begin with, repeated or cut to their length.
const KEY_PREFIX: &[u8] = b"nuthatch/lab/server/key/";
/// Digits that hold every number of a key.
const MOST_DIGITS: usize = 8;
/// The longest key that memcached takes.
const LONGEST_KEY: usize = 250;
/// The longest value that is sent.
pub const LONGEST_VALUE: u32 = 64 << 20;
/// Values' bytes come from as many places of the noise; a wrong value passes for the right one with
/// this probability, if it has the same number in front.
const NOISE_STARTS: usize = 1 << 16;
const NOISE_SEED: u64 = 0x4015E;
/// Bytes at the front of a value that tell its key.
const STAMP_BYTES: usize = 8;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Keys of one length.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Vec<u8>,
    digits: usize,
}

/// Keys that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// There are too many of them for their length.
    #[error("{keys} different keys need more than {key_bytes} bytes each")]
    TooShort {
        /// Keys wanted.
        keys: u64,
        /// Their length.
        key_bytes: usize,
    },
    /// memcached takes none of them.
    #[error("keys are of 1 to {LONGEST_KEY} bytes, not {0}")]
    Length(usize),
}

impl Keys {
    /// `keys` keys of so many bytes.
    pub fn new(keys: u64, key_bytes: usize) -> Result<Self, EntryError> {
        if !(1..=LONGEST_KEY).contains(&key_bytes) {
            return Err(EntryError::Length(key_bytes));
        }
        let digits = key_bytes.min(MOST_DIGITS);
        if keys > 16_u64.pow(digits as u32) {
            return Err(EntryError::TooShort { keys, key_bytes });
        }
        let prefix = KEY_PREFIX.iter().copied().cycle();
        Ok(Self {
            prefix: prefix.take(key_bytes - digits).collect(),
            digits,
        })
    }

    /// Bytes of each key.
    pub fn key_bytes(&self) -> usize {
        self.prefix.len() + self.digits
    }

    /// Makes the bytes of a former key, or none, those of the key of this number.
    #[inline]
    pub(super) fn write(&self, id: u32, key: &mut Vec<u8>) {
        if key.len() != self.key_bytes() {
            key.clear();
            key.extend_from_slice(&self.prefix);
            key.resize(self.key_bytes(), b'0');
        }
        let mut rest = id;
        for digit in key[self.prefix.len()..].iter_mut().rev() {
            *digit = DIGITS[(rest & 15) as usize];
            rest >>= 4;
        }
    }
}

/// Values of any length up to a longest one.
#[derive(Debug)]
pub(super) struct Values {
    noise: Vec<u8>,
}

impl Values {
    pub(super) fn new(longest: usize) -> Self {
        let mut noise = vec![0; NOISE_STARTS + longest];
        Xoshiro256PlusPlus::seed_from_u64(NOISE_SEED).fill_bytes(&mut noise);
        Self { noise }
    }

    /// The longest value that there is.
    pub(super) fn longest(&self) -> usize {
        self.noise.len() - NOISE_STARTS
    }

    /// The two parts of the value of this key and length.
    #[inline]
    fn parts(&self, id: u32, len: usize) -> ([u8; STAMP_BYTES], &[u8]) {
        let stamp = stamp(id, len);
        let start = (stamp >> 32) as usize % NOISE_STARTS;
        let noise_bytes = len.saturating_sub(STAMP_BYTES);
        (stamp.to_le_bytes(), &self.noise[start..][..noise_bytes])
    }

    #[inline]
    pub(super) fn write(&self, id: u32, len: usize, out: &mut Vec<u8>) {
        let (stamp, noise) = self.parts(id, len);
        out.extend_from_slice(&stamp[..len.min(STAMP_BYTES)]);
        out.extend_from_slice(noise);
    }

    /// Where `bytes`, which lie at `offset` of the value, first differ from what they should be.
    pub(super) fn difference(
        &self,
        id: u32,
        len: usize,
        offset: usize,
        bytes: &[u8],
    ) -> Option<usize> {
        let (stamp, noise) = self.parts(id, len);
        let expected = iter::chain(&stamp[..len.min(STAMP_BYTES)], noise).skip(offset);
        let at = iter::zip(bytes, expected).position(|(byte, expected)| byte != expected)?;
        Some(offset + at)
    }
}

/// A number that tells the key and the length, mixed (Stafford's variant 13).
#[inline]
fn stamp(id: u32, len: usize) -> u64 {
    let mut mixed = (u64::from(id) << 32 | (len as u64 & 0xFFFF_FFFF)) ^ NOISE_SEED;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(keys: &Keys, id: u32) -> Vec<u8> {
        let mut key = Vec::new();
        keys.write(id, &mut key);
        key
    }

    #[test]
    fn keys_have_their_length_and_differ() {
        for key_bytes in [2, 3, 8, 9, 32, 250] {
            let keys = Keys::new(256, key_bytes).unwrap();
            let all: HashSet<_> = (0..256).map(|id| key(&keys, id)).collect();
            assert_eq!(all.len(), 256);
            assert!(all.iter().all(|key| key.len() == key_bytes));
        }
        let keys = Keys::new(1 << 32, 32).unwrap();
        assert_eq!(key(&keys, 0xDEAD_BEEF), b"nuthatch/lab/server/key/deadbeef");
    }

    #[test]
    fn a_key_is_written_over_another() {
        let keys = Keys::new(1000, 20).unwrap();
        let mut reused = key(&keys, 999);
        keys.write(7, &mut reused);
        assert_eq!(reused, key(&keys, 7));
    }

    #[test]
    fn keys_that_cannot_be_are_refused() {
        let too_short = EntryError::TooShort {
            keys: 257,
            key_bytes: 2,
        };
        assert_eq!(Keys::new(257, 2).unwrap_err(), too_short);
        assert_eq!(Keys::new(1, 0).unwrap_err(), EntryError::Length(0));
        assert_eq!(Keys::new(1, 251).unwrap_err(), EntryError::Length(251));
    }

    #[test]
    fn a_value_tells_its_key_and_its_length_from_any_piece_of_it() {
        let values = Values::new(100);
        for len in [1, 7, 8, 9, 100] {
            let mut value = Vec::new();
            values.write(5, len, &mut value);
            assert_eq!(value.len(), len);
            for cut in 0..len {
                let (head, tail) = value.split_at(cut);
                assert_eq!(values.difference(5, len, 0, head), None);
                assert_eq!(values.difference(5, len, cut, tail), None);
                let mut wrong = value.clone();
                wrong[cut] ^= 1;
                assert_eq!(values.difference(5, len, 0, &wrong), Some(cut));
            }
        }
        let mut value = Vec::new();
        values.write(5, 100, &mut value);
        assert!(
            values.difference(6, 100, 0, &value).is_some(),
            "another key's"
        );
        assert!(values.difference(5, 99, 0, &value[..99]).is_some(), "cut");
    }
}
