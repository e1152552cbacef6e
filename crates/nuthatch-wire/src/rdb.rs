//! Redis' and Valkey's RDB format: whole [files](mod@file), and values as `DUMP` and `RESTORE` carry them, with
//! the format's version and a CRC-64 behind each.
//!
//! ```text
//!   | type, 1 | value .. | version, 2 | CRC-64 of all before, 8 |      the last two in little endian
//! ```
//!
//! What is written, Redis since 5.0 and Valkey take: the plain forms, without compression. Only a hash
//! with fields that expire needs Redis 7.4 or later. Read are strings and hashes in all forms that Redis
//! since 2.6 and Valkey have written. Nothing is taken on trust: lengths are held against the bytes
//! that are there before memory is asked for.

mod checksum;
pub mod file;
mod lzf;
mod packed;
mod source;
mod value;

use source::Source;
use value::Begun;

/// The version that is written: Redis 5.0's, and Redis 7.4's where fields expire.
const VERSION: u16 = 9;
const VERSION_OF_FIELD_DEADLINES: u16 = 12;
/// The latest versions that are read: of Redis 8, and of Valkey 9 apart from it.
const LAST_VERSION: u16 = 12;
const VALKEY_VERSION: u16 = 80;

const FOOTER_BYTES: usize = 10;

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// A hash: at least one field, and no name twice.
    Hash(Vec<Field<Vec<u8>>>),
}

/// A field of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<B> {
    /// Its name.
    pub name: B,
    /// Its value.
    pub value: B,
    /// When it expires, in milliseconds since 1970; `None` if never.
    pub deadline_ms: Option<u64>,
}

/// Why a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Its last ten bytes are not those of a payload, or belong to another one.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// Its value is of an unknown type or damaged.
    #[error("Bad data format")]
    Format,
}

/// The payload of a string.
pub fn dump_string(string: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(string.len() + 24);
    out.push(value::STRING);
    write_string(&mut out, string);
    finish(out, VERSION)
}

/// The payload of a hash.
pub fn dump_hash(fields: &[Field<&[u8]>]) -> Vec<u8> {
    let first_ms = fields.iter().filter_map(|field| field.deadline_ms).min();
    let mut out = Vec::new();
    out.push(match first_ms {
        None => value::HASH,
        Some(_) => value::HASH_WITH_TIMES,
    });
    if let Some(first_ms) = first_ms {
        out.extend_from_slice(&first_ms.to_le_bytes());
    }
    write_length(&mut out, fields.len() as u64);
    for field in fields {
        if let Some(first_ms) = first_ms {
            // From the earliest on, and one more, for 0 is never.
            let after = field
                .deadline_ms
                .map(|ms| ms.saturating_sub(first_ms).saturating_add(1));
            write_length(&mut out, after.unwrap_or(0));
        }
        write_string(&mut out, field.name);
        write_string(&mut out, field.value);
    }
    let version = match first_ms {
        None => VERSION,
        Some(_) => VERSION_OF_FIELD_DEADLINES,
    };
    finish(out, version)
}

fn finish(mut out: Vec<u8>, version: u16) -> Vec<u8> {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = checksum::crc64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    if length < 1 << 6 {
        out.push(length as u8);
    } else if length < 1 << 14 {
        out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes());
    } else if let Ok(length) = u32::try_from(length) {
        out.push(0x80);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    write_length(out, string.len() as u64);
    out.extend_from_slice(string);
}

/// The value of a payload.
pub fn restore(payload: &[u8]) -> Result<Value, PayloadError> {
    let value_bytes = payload
        .len()
        .checked_sub(FOOTER_BYTES)
        .ok_or(PayloadError::Footer)?;
    let (value, footer) = payload.split_at(value_bytes);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let is_known = (1..=LAST_VERSION).contains(&version) || version == VALKEY_VERSION;
    let checksum = checksum::crc64(&payload[..value_bytes + 2]).to_le_bytes();
    if !is_known || footer[2..] != checksum {
        return Err(PayloadError::Footer);
    }
    read_value(value).ok_or(PayloadError::Format)
}

/// The value that `bytes` are, and nothing else.
fn read_value(bytes: &[u8]) -> Option<Value> {
    let mut source = Source::new(bytes);
    let kind = source.byte().ok()?;
    let value = match value::begin(&mut source, kind).ok()? {
        Begun::String(string) => Value::String(string),
        Begun::Hash(fields) => Value::Hash(fields),
        Begun::HashInParts(mut parts) => {
            let mut fields = Vec::new();
            while let Some(part) = parts.next(&mut source, usize::MAX).ok()? {
                fields.extend(part);
            }
            Value::Hash(fields)
        }
        Begun::Other(_) => return None,
    };
    let is_empty_hash = matches!(&value, Value::Hash(fields) if fields.is_empty());
    (source.is_at_end().ok()? && !is_empty_hash).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Field, PayloadError, Value, dump_hash, dump_string, finish, restore};

    fn field<'a>(name: &'a str, value: &'a str, deadline_ms: Option<u64>) -> Field<&'a [u8]> {
        Field {
            name: name.as_bytes(),
            value: value.as_bytes(),
            deadline_ms,
        }
    }

    fn owned(fields: &[Field<&[u8]>]) -> Value {
        let own = |field: &Field<&[u8]>| Field {
            name: field.name.to_vec(),
            value: field.value.to_vec(),
            deadline_ms: field.deadline_ms,
        };
        Value::Hash(fields.iter().map(own).collect())
    }

    #[test]
    fn what_is_dumped_is_restored() {
        for length in [0, 1, 63, 64, 16_383, 16_384, 100_000] {
            let string: Vec<u8> = (0..length).map(|index| index as u8).collect();
            assert_eq!(restore(&dump_string(&string)), Ok(Value::String(string)));
        }
        let fields = [field("a", "1", None), field("b", "", None)];
        assert_eq!(restore(&dump_hash(&fields)), Ok(owned(&fields)));
        let fields = [
            field("a", "1", Some(1_900_000_000_000)),
            field("b", "2", None),
            field("c", "3", Some(1_800_000_000_000)),
        ];
        assert_eq!(restore(&dump_hash(&fields)), Ok(owned(&fields)));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let payload = dump_hash(&[field("name", "value", Some(5)), field("other", "", None)]);
        for bit in 0..8 * payload.len() {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(restore(&damaged), Err(PayloadError::Footer), "bit {bit}");
        }
        for length in 0..payload.len() {
            assert_eq!(restore(&payload[..length]), Err(PayloadError::Footer));
        }
    }

    #[test]
    fn what_makes_no_sense_behind_a_right_checksum_is_an_error() {
        let values: [&[u8]; 12] = [
            b"",
            b"\x00",
            b"\x00\x05abc",
            b"\x00\x03abcd",
            b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x00\xc3\x01\xbf\xff\x00",
            b"\x00\xc4",
            b"\x00\x82",
            b"\x04\x00",
            b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b",
            b"\x04\x02\x01a\x01b\x01a\x01c",
            b"\xff\x01a",
        ];
        for value in values {
            let payload = finish(value.to_vec(), 11);
            let refused = Err(PayloadError::Format);
            assert_eq!(restore(&payload), refused, "{}", value.escape_ascii());
        }
        let unknown = finish(b"\x00\x01a".to_vec(), 79);
        assert_eq!(restore(&unknown), Err(PayloadError::Footer));
    }

    #[test]
    fn payloads_of_redis_and_valkey_are_read() {
        let string = |text: &str| Ok(Value::String(text.as_bytes().to_vec()));
        // As `DUMP` of Redis 8.0 and of Valkey 9.1 has returned them.
        let compressed = b"\x00\xc3\t@d\x01aa\xe0W\x00\x01aa\x0c\x00#\xd5\x81\xc7JGl8";
        assert_eq!(restore(compressed), string(&"a".repeat(100)));
        let integer = b"\x00\xc190P\x00R\xbe#\xb6\r\xaeoM";
        assert_eq!(restore(integer), string("12345"));
        let (f, m) = (field("f", "v", None), field("m", "70000000000", None));
        let n = |deadline_ms| field("n", "-1234", deadline_ms);
        let deadline_ms = Some(1_900_000_000_000);
        let listpack = b"\x10  \x00\x00\x00\x06\x00\x81f\x02\x81v\x02\x81n\x02\xdb.\x02\x81m\x02\
            \xf4\x00<SL\x10\x00\x00\x00\t\xff\x0c\x007\xa3L\x05o\x1b\xdd\xdc";
        assert_eq!(restore(listpack), Ok(owned(&[f, n(None), m])));
        let of_valkey =
            b"\x16\x03\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff\x01n\xc1.\xfb\x008\xd3\
            `\xba\x01\x00\x00\x01m\x0b70000000000\xff\xff\xff\xff\xff\xff\xff\xffP\x00K\xacG\xd0\
            \x01\xe9N\xce";
        assert_eq!(restore(of_valkey), Ok(owned(&[f, n(deadline_ms), m])));
        let listpack_with_times =
            b"\x19\x008\xd3`\xba\x01\x00\x00..\x00\x00\x00\t\x00\x81n\x02\xdb.\
            \x02\xf4\x008\xd3`\xba\x01\x00\x00\t\x81f\x02\x81v\x02\x00\x01\x81m\x02\xf4\x00<SL\x10\
            \x00\x00\x00\t\x00\x01\xff\x0c\x00\x06\xf2qR\"8A\x1a";
        let in_its_order = owned(&[n(deadline_ms), f, m]);
        assert_eq!(restore(listpack_with_times), Ok(in_its_order));
        let with_times =
            b"\x18\x008\xd3`\xba\x01\x00\x00\x02\x01\x01n\xc1.\xfb\x00\x01f\x01v\x0c\x00\
            \xa0k\xdfE\xba\x08-\x7f";
        assert_eq!(restore(with_times), Ok(owned(&[n(deadline_ms), f])));
    }
}
