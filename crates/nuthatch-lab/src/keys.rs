//! The two kinds of entries that caches are measured with: small ones, whose cost is the cache's
//! own, and ones with blocks of memory behind key and value, as most programs have them.
//!
//! A key is made from a number by [`KeyKind::key`], without formatting and with no more allocation
//! than a clone of it needs, so even a timed loop may make keys. Reads need a key that exists:
//! they go through *tickets*, of which a stream is prepared beforehand.

use crate::caches::{Key, Value};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// A kind of entries.
pub trait KeyKind: Copy + Send + Sync + 'static {
    /// Its keys.
    type Key: Key;
    /// Its values.
    type Value: Value;
    /// What a prepared stream holds for each request: the key itself, if that is small, so that the
    /// stream's next key is always in the processor's cache.
    type Ticket: Copy + Send + Sync;

    /// Which kind it is.
    const KIND: Kind;

    /// The key of a number; different numbers have different keys.
    fn key(id: u64) -> Self::Key;

    /// A new value.
    fn value(id: u64) -> Self::Value;

    /// The ticket for the key of `id`.
    fn ticket(id: u32) -> Self::Ticket;

    /// What [`resolve`](Self::resolve) needs to know of the keys of all ids below `ids`.
    fn table(ids: u32) -> Vec<Self::Key>;

    /// The key of a ticket.
    fn resolve<'a>(table: &'a [Self::Key], ticket: &'a Self::Ticket) -> &'a Self::Key;
}

/// The names of the kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`Integers`].
    U64,
    /// [`Strings`].
    String,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::U64, Self::String];

    /// Bytes that an entry's key and value take by themselves: inline, if they are inline in every
    /// cache, else the blocks behind them as they are asked of the allocator.
    pub fn payload_bytes(self) -> usize {
        match self {
            Self::U64 => 2 * size_of::<u64>(),
            // The counters of the Arc lie in the value's block.
            Self::String => KEY_BYTES + 2 * size_of::<usize>() + VALUE_BYTES,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U64 => "u64",
            Self::String => "string",
        })
    }
}

/// A text that names no kind of entries.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there are no keys {0:?}; there are u64 (u64 to u64) and string (32 B to Arc of 100 B)")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Entries `u64 -> u64`.
#[derive(Clone, Copy, Debug)]
pub struct Integers;

impl KeyKind for Integers {
    type Key = u64;
    type Value = u64;
    type Ticket = u64;

    const KIND: Kind = Kind::U64;

    #[inline]
    fn key(id: u64) -> u64 {
        // Odd, so that different ids have different keys; large, so that they are not dense.
        id.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[inline]
    fn value(id: u64) -> u64 {
        id
    }

    fn ticket(id: u32) -> u64 {
        Self::key(id.into())
    }

    fn table(_ids: u32) -> Vec<u64> {
        Vec::new()
    }

    #[inline]
    fn resolve<'a>(_table: &'a [u64], ticket: &'a u64) -> &'a u64 {
        ticket
    }
}

/// Entries `String` of 32 bytes `-> Arc<[u8]>` of 100 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Strings;

const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 100;
const KEY_PREFIX: &[u8; KEY_BYTES - 16] = b"catalogue/entry/";

/// Each byte in hexadecimal.
const HEXADECIMAL: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

impl KeyKind for Strings {
    type Key = String;
    type Value = Arc<[u8]>;
    type Ticket = u32;

    const KIND: Kind = Kind::String;

    #[inline]
    fn key(id: u64) -> String {
        let mut key = [0; KEY_BYTES];
        key[..KEY_PREFIX.len()].copy_from_slice(KEY_PREFIX);
        let digits = key[KEY_PREFIX.len()..].chunks_exact_mut(2);
        for (pair, byte) in digits.zip(id.to_be_bytes()) {
            pair.copy_from_slice(&HEXADECIMAL[usize::from(byte)]);
        }
        str::from_utf8(&key).expect("the key is ASCII").to_owned()
    }

    #[inline]
    fn value(id: u64) -> Arc<[u8]> {
        let mut value = [0; VALUE_BYTES];
        value[..8].copy_from_slice(&id.to_le_bytes());
        Arc::from(value)
    }

    fn ticket(id: u32) -> u32 {
        id
    }

    fn table(ids: u32) -> Vec<String> {
        (0..ids).map(|id| Self::key(id.into())).collect()
    }

    #[inline]
    fn resolve<'a>(table: &'a [String], ticket: &'a u32) -> &'a String {
        &table[*ticket as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn keys_are_distinct<R: KeyKind>() {
        let ids = (0..1000).chain((1..100).map(|thread| thread << 32));
        let keys: Vec<_> = ids.map(R::key).collect();
        let distinct: HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn different_numbers_have_different_keys() {
        keys_are_distinct::<Integers>();
        keys_are_distinct::<Strings>();
    }

    fn tickets_lead_to_their_keys<R: KeyKind>() {
        let table = R::table(300);
        for id in 0..300 {
            assert_eq!(R::resolve(&table, &R::ticket(id)), &R::key(id.into()));
        }
    }

    #[test]
    fn a_ticket_leads_to_the_key_of_its_number() {
        tickets_lead_to_their_keys::<Integers>();
        tickets_lead_to_their_keys::<Strings>();
    }

    #[test]
    fn string_entries_have_the_sizes_they_promise() {
        assert_eq!(
            Strings::key(0x0123_4567_89ab_cdef),
            "catalogue/entry/0123456789abcdef"
        );
        assert_eq!(Strings::key(7).len(), KEY_BYTES);
        assert_eq!(Strings::value(7).len(), VALUE_BYTES);
    }

    #[test]
    fn kinds_are_known_by_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "i128".parse::<Kind>().unwrap_err();
        assert!(error.to_string().contains("u64"), "{error}");
    }
}
