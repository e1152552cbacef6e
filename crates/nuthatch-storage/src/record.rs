//! Records: single changes of single keys, as snapshots, logs and later replicas have them.
//!
//! A record is absolute: it says what holds after it, not how that was computed. So applying a row of
//! records twice, or on top of a state that has some of them already, ends in the same state as applying it
//! once; that is what lets a snapshot be taken while writers go on.
//!
//! ```text
//! record   | length varint | kind 1 | deadline 8? | key length varint | key | body |
//! ```
//!
//! `length` counts the bytes after itself. The highest bit of `kind` says that there is a deadline, in
//! milliseconds since 1970. Numbers are little-endian; varints have seven bits a byte, the lowest first, and
//! no more bytes than they need. `Clear` has no key. The bodies:
//!
//! ```text
//! 1 Put, 2 PutChanged        the string
//! 3 PutStamped               | marks 1 | unique number 8 | flags 4? | accessed 4? | the string |
//! 4 PutHash, 5 HashSet       | count 4 | fields |
//! 6 HashDelete, 7 HashExpire | count 4 | names, each | length varint | name | |
//! 8 Delete, 9 Expire, 10 Clear      nothing
//! field    | name length << 1 + has a deadline, varint | value length varint | deadline 8? | name | value |
//! marks    1 stale, 2 claimed, 4 has flags, 8 has accessed
//! ```

use std::fmt;

/// The longest record, in bytes after its length.
pub const MAX_RECORD_BYTES: u64 = 1 << 32;

const HAS_DEADLINE: u8 = 1 << 7;

mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const PUT_CHANGED: u8 = 2;
    pub(super) const PUT_STAMPED: u8 = 3;
    pub(super) const PUT_HASH: u8 = 4;
    pub(super) const HASH_SET: u8 = 5;
    pub(super) const HASH_DELETE: u8 = 6;
    pub(super) const HASH_EXPIRE: u8 = 7;
    pub(super) const DELETE: u8 = 8;
    pub(super) const EXPIRE: u8 = 9;
    pub(super) const CLEAR: u8 = 10;
}

mod mark {
    pub(super) const STALE: u8 = 1;
    pub(super) const CLAIMED: u8 = 1 << 1;
    pub(super) const FLAGS: u8 = 1 << 2;
    pub(super) const ACCESSED: u8 = 1 << 3;
}

/// What clients of memcached keep with a string.
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

/// A field of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it expires, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// The fields of a hash, as a record has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Count and fields, known to be well-formed.
    bytes: &'a [u8],
}

/// Names of fields, as a record has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    bytes: &'a [u8],
}

/// A record; see the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The key holds a string.
    Put {
        /// The key.
        key: &'a [u8],
        /// The string.
        value: &'a [u8],
        /// Whether a part of the string was changed since it was set as a whole.
        is_changed: bool,
        /// When it expires, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// The key holds a string, with what clients of memcached keep with it.
    PutStamped {
        /// The key.
        key: &'a [u8],
        /// The string.
        value: &'a [u8],
        /// What is kept with it.
        stamp: Stamp,
        /// When it expires, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// The key holds a hash with these fields and no others.
    PutHash {
        /// The key.
        key: &'a [u8],
        /// The fields, at least one.
        fields: Fields<'a>,
        /// When the key expires, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// In the key's hash, if it holds one, these fields have these values and deadlines. Of those of one name the
    /// last counts.
    HashSet {
        /// The key.
        key: &'a [u8],
        /// The fields, at least one.
        fields: Fields<'a>,
    },
    /// The key's hash, if it holds one, has no such fields. One that has lost all is gone.
    HashDelete {
        /// The key.
        key: &'a [u8],
        /// Names of fields.
        names: Names<'a>,
    },
    /// Of the key's hash, if it holds one, these fields, if they exist, have this deadline.
    HashExpire {
        /// The key.
        key: &'a [u8],
        /// Names of fields.
        names: Names<'a>,
        /// When they expire, in milliseconds since 1970, or never.
        deadline_ms: Option<u64>,
    },
    /// The key is gone.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// The key, if it exists, expires then, in milliseconds since 1970, or never.
    Expire {
        /// The key.
        key: &'a [u8],
        /// When.
        deadline_ms: Option<u64>,
    },
    /// All keys are gone.
    Clear,
}

/// Bytes that are no record, though their checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no record: {what}")]
pub struct MalformedRecord {
    /// What does not hold.
    pub what: &'static str,
}

fn malformed(what: &'static str) -> MalformedRecord {
    MalformedRecord { what }
}

impl<'a> Record<'a> {
    /// The key that the record is about; `None` for [`Clear`](Self::Clear).
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Put { key, .. }
            | Self::PutStamped { key, .. }
            | Self::PutHash { key, .. }
            | Self::HashSet { key, .. }
            | Self::HashDelete { key, .. }
            | Self::HashExpire { key, .. }
            | Self::Delete { key }
            | Self::Expire { key, .. } => Some(key),
            Self::Clear => None,
        }
    }

    /// Takes the record at the beginning of `rest`.
    pub fn take(rest: &mut &'a [u8]) -> Result<Self, MalformedRecord> {
        let mut record = take_record(rest)?;
        let reader = &mut record;
        let kind = take_byte(reader)?;
        let deadline_ms = if kind & HAS_DEADLINE == 0 {
            None
        } else {
            Some(u64::from_le_bytes(take_array(reader)?))
        };
        if kind == kind::CLEAR {
            return finish(record, Self::Clear);
        }
        let key = take_sized(reader)?;
        Ok(match kind & !HAS_DEADLINE {
            kind @ (kind::PUT | kind::PUT_CHANGED) => Self::Put {
                key,
                value: record,
                is_changed: kind == kind::PUT_CHANGED,
                deadline_ms,
            },
            kind::PUT_STAMPED => Self::PutStamped {
                key,
                stamp: take_stamp(reader)?,
                value: record,
                deadline_ms,
            },
            kind::PUT_HASH => Self::PutHash {
                key,
                fields: Fields::read(record)?,
                deadline_ms,
            },
            kind::HASH_EXPIRE => Self::HashExpire {
                key,
                names: Names::read(record)?,
                deadline_ms,
            },
            kind::EXPIRE => return finish(record, Self::Expire { key, deadline_ms }),
            _ if deadline_ms.is_some() => {
                return Err(malformed("a deadline where there can be none"));
            }
            kind::HASH_SET => Self::HashSet {
                key,
                fields: Fields::read(record)?,
            },
            kind::HASH_DELETE => Self::HashDelete {
                key,
                names: Names::read(record)?,
            },
            kind::DELETE => return finish(record, Self::Delete { key }),
            _ => return Err(malformed("an unknown kind")),
        })
    }
}

fn finish<'a>(rest: &[u8], record: Record<'a>) -> Result<Record<'a>, MalformedRecord> {
    if rest.is_empty() {
        Ok(record)
    } else {
        Err(malformed("bytes behind its end"))
    }
}

/// Takes a record without its length from the beginning of `rest`, and does not look into it.
pub fn take_record<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    let length = take_varint(rest)?;
    take(rest, length)
}

/// Takes a record from the beginning of `rest`, and returns the key that it is about; `None` if it is about all
/// keys. No more of it is looked into.
pub fn take_key<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, MalformedRecord> {
    let mut record = take_record(rest)?;
    let kind = take_byte(&mut record)?;
    if kind & HAS_DEADLINE != 0 {
        take(&mut record, 8)?;
    }
    if kind == kind::CLEAR {
        return Ok(None);
    }
    take_sized(&mut record).map(Some)
}

/// The number of records in `bytes`, none of which is looked into.
pub fn count(mut bytes: &[u8]) -> Result<u64, MalformedRecord> {
    let mut records = 0;
    while !bytes.is_empty() {
        take_record(&mut bytes)?;
        records += 1;
    }
    Ok(records)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], MalformedRecord> {
    let taken = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length));
    let (taken, after) = taken.ok_or(malformed("it goes on beyond its end"))?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MalformedRecord> {
    let taken = take(rest, N as u64)?;
    Ok(taken.try_into().expect("as many as were asked for"))
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, MalformedRecord> {
    take_array(rest).map(|[byte]| byte)
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    let length = take_varint(rest)?;
    take(rest, length)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, MalformedRecord> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits || byte == 0 && shift > 0 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a number that is too long"))
}

fn take_stamp(rest: &mut &[u8]) -> Result<Stamp, MalformedRecord> {
    let marks = take_byte(rest)?;
    if marks & !(mark::STALE | mark::CLAIMED | mark::FLAGS | mark::ACCESSED) != 0 {
        return Err(malformed("an unknown mark"));
    }
    let cas = u64::from_le_bytes(take_array(rest)?);
    let flags = if marks & mark::FLAGS == 0 {
        0
    } else {
        u32::from_le_bytes(take_array(rest)?)
    };
    let accessed_s = if marks & mark::ACCESSED == 0 {
        None
    } else {
        Some(u32::from_le_bytes(take_array(rest)?))
    };
    Ok(Stamp {
        cas,
        flags,
        is_stale: marks & mark::STALE != 0,
        is_claimed: marks & mark::CLAIMED != 0,
        accessed_s,
    })
}

fn take_count(rest: &mut &[u8]) -> Result<u32, MalformedRecord> {
    match u32::from_le_bytes(take_array(rest)?) {
        0 => Err(malformed("no fields")),
        count => Ok(count),
    }
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, MalformedRecord> {
    let name_and_flag = take_varint(rest)?;
    let value_length = take_varint(rest)?;
    let deadline_ms = if name_and_flag & 1 == 0 {
        None
    } else {
        Some(u64::from_le_bytes(take_array(rest)?))
    };
    Ok(Field {
        name: take(rest, name_and_flag >> 1)?,
        value: take(rest, value_length)?,
        deadline_ms,
    })
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, MalformedRecord> {
        let mut rest = bytes;
        for _ in 0..take_count(&mut rest)? {
            take_field(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(Self { bytes })
        } else {
            Err(malformed("bytes behind its end"))
        }
    }

    /// Count and fields as they stand in the record, known to be well-formed.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut rest = self.bytes;
        let count = take_count(&mut rest).expect("checked when it was read");
        (0..count).map(move |_| take_field(&mut rest).expect("checked when it was read"))
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Names<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, MalformedRecord> {
        let mut rest = bytes;
        for _ in 0..take_count(&mut rest)? {
            take_sized(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(Self { bytes })
        } else {
            Err(malformed("bytes behind its end"))
        }
    }

    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.bytes;
        let count = take_count(&mut rest).expect("checked when it was read");
        (0..count).map(move |_| take_sized(&mut rest).expect("checked when it was read"))
    }
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(<[u8]>::escape_ascii);
        f.debug_list()
            .entries(names.map(|name| name.to_string()))
            .finish()
    }
}

/// Appends records to a buffer. Each method appends one.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> RecordWriter<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// See [`Record::Put`]; the string comes in parts that follow one another.
    pub fn put(&mut self, key: &[u8], parts: &[&[u8]], is_changed: bool, deadline_ms: Option<u64>) {
        let kind = if is_changed {
            kind::PUT_CHANGED
        } else {
            kind::PUT
        };
        self.head(kind, key, deadline_ms, total(parts));
        parts.iter().for_each(|part| self.out.extend(*part));
    }

    /// See [`Record::PutStamped`].
    pub fn put_stamped(
        &mut self,
        key: &[u8],
        parts: &[&[u8]],
        stamp: Stamp,
        deadline_ms: Option<u64>,
    ) {
        let mut marks = 0;
        let mut body_bytes = 1 + 8 + total(parts);
        for (is_set, mark, bytes) in [
            (stamp.is_stale, mark::STALE, 0),
            (stamp.is_claimed, mark::CLAIMED, 0),
            (stamp.flags != 0, mark::FLAGS, 4),
            (stamp.accessed_s.is_some(), mark::ACCESSED, 4),
        ] {
            if is_set {
                marks |= mark;
                body_bytes += bytes;
            }
        }
        self.head(kind::PUT_STAMPED, key, deadline_ms, body_bytes);
        self.out.push(marks);
        self.out.extend(stamp.cas.to_le_bytes());
        if stamp.flags != 0 {
            self.out.extend(stamp.flags.to_le_bytes());
        }
        if let Some(accessed_s) = stamp.accessed_s {
            self.out.extend(accessed_s.to_le_bytes());
        }
        parts.iter().for_each(|part| self.out.extend(*part));
    }

    /// See [`Record::PutHash`]. There must be at least one field.
    pub fn put_hash<'f>(
        &mut self,
        key: &[u8],
        fields: impl Iterator<Item = Field<'f>> + Clone,
        deadline_ms: Option<u64>,
    ) {
        self.hash(kind::PUT_HASH, key, fields, deadline_ms);
    }

    /// See [`Record::HashSet`]. There must be at least one field.
    pub fn hash_set<'f>(&mut self, key: &[u8], fields: impl Iterator<Item = Field<'f>> + Clone) {
        self.hash(kind::HASH_SET, key, fields, None);
    }

    fn hash<'f>(
        &mut self,
        kind: u8,
        key: &[u8],
        fields: impl Iterator<Item = Field<'f>> + Clone,
        deadline_ms: Option<u64>,
    ) {
        let mut count = 0_u32;
        let mut body_bytes = 4;
        for field in fields.clone() {
            count += 1;
            body_bytes += field_bytes(&field);
        }
        debug_assert!(count > 0, "a hash has fields");
        self.head(kind, key, deadline_ms, body_bytes);
        self.out.extend(count.to_le_bytes());
        for field in fields {
            self.varint((field.name.len() as u64) << 1 | u64::from(field.deadline_ms.is_some()));
            self.varint(field.value.len() as u64);
            if let Some(deadline_ms) = field.deadline_ms {
                self.out.extend(deadline_ms.to_le_bytes());
            }
            self.out.extend(field.name);
            self.out.extend(field.value);
        }
    }

    /// See [`Record::HashDelete`]. There must be at least one name.
    pub fn hash_delete(&mut self, key: &[u8], names: &[&[u8]]) {
        self.names(kind::HASH_DELETE, key, names, None);
    }

    /// See [`Record::HashExpire`]. There must be at least one name.
    pub fn hash_expire(&mut self, key: &[u8], names: &[&[u8]], deadline_ms: Option<u64>) {
        self.names(kind::HASH_EXPIRE, key, names, deadline_ms);
    }

    fn names(&mut self, kind: u8, key: &[u8], names: &[&[u8]], deadline_ms: Option<u64>) {
        debug_assert!(!names.is_empty(), "a record of fields names some");
        let bytes = names.iter().map(|name| sized_bytes(name)).sum::<u64>();
        self.head(kind, key, deadline_ms, 4 + bytes);
        let count = u32::try_from(names.len()).expect("fewer names than bytes of a request");
        self.out.extend(count.to_le_bytes());
        for name in names {
            self.varint(name.len() as u64);
            self.out.extend(*name);
        }
    }

    /// See [`Record::Delete`].
    pub fn delete(&mut self, key: &[u8]) {
        self.head(kind::DELETE, key, None, 0);
    }

    /// See [`Record::Expire`].
    pub fn expire(&mut self, key: &[u8], deadline_ms: Option<u64>) {
        self.head(kind::EXPIRE, key, deadline_ms, 0);
    }

    /// See [`Record::Clear`].
    pub fn clear(&mut self) {
        self.out.extend([1, kind::CLEAR]);
    }

    /// A record that was read.
    pub fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Put {
                key,
                value,
                is_changed,
                deadline_ms,
            } => self.put(key, &[value], is_changed, deadline_ms),
            Record::PutStamped {
                key,
                value,
                stamp,
                deadline_ms,
            } => self.put_stamped(key, &[value], stamp, deadline_ms),
            Record::PutHash {
                key,
                fields,
                deadline_ms,
            } => self.body(kind::PUT_HASH, key, fields.bytes, deadline_ms),
            Record::HashSet { key, fields } => self.body(kind::HASH_SET, key, fields.bytes, None),
            Record::HashDelete { key, names } => {
                self.body(kind::HASH_DELETE, key, names.bytes, None);
            }
            Record::HashExpire {
                key,
                names,
                deadline_ms,
            } => self.body(kind::HASH_EXPIRE, key, names.bytes, deadline_ms),
            Record::Delete { key } => self.delete(key),
            Record::Expire { key, deadline_ms } => self.expire(key, deadline_ms),
            Record::Clear => self.clear(),
        }
    }

    fn body(&mut self, kind: u8, key: &[u8], body: &[u8], deadline_ms: Option<u64>) {
        self.head(kind, key, deadline_ms, body.len() as u64);
        self.out.extend(body);
    }

    /// Everything of a record before its body, which is to follow.
    #[inline]
    fn head(&mut self, kind: u8, key: &[u8], deadline_ms: Option<u64>, body_bytes: u64) {
        let deadline_bytes = if deadline_ms.is_some() { 8 } else { 0 };
        let length = 1 + deadline_bytes + sized_bytes(key) + body_bytes;
        debug_assert!(length <= MAX_RECORD_BYTES, "no value is that long");
        self.varint(length);
        match deadline_ms {
            None => self.out.push(kind),
            Some(deadline_ms) => {
                self.out.push(kind | HAS_DEADLINE);
                self.out.extend(deadline_ms.to_le_bytes());
            }
        }
        self.varint(key.len() as u64);
        self.out.extend(key);
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

fn total(parts: &[&[u8]]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

fn varint_bytes(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

fn sized_bytes(bytes: &[u8]) -> u64 {
    varint_bytes(bytes.len() as u64) + bytes.len() as u64
}

fn field_bytes(field: &Field<'_>) -> u64 {
    let (name, value) = (field.name.len() as u64, field.value.len() as u64);
    let deadline = if field.deadline_ms.is_some() { 8 } else { 0 };
    varint_bytes(name << 1) + varint_bytes(value) + deadline + name + value
}

#[cfg(test)]
mod tests {
    use super::{Field, Record, RecordWriter, Stamp, count};

    const FIELDS: [Field<'static>; 2] = [
        Field {
            name: b"name",
            value: b"value",
            deadline_ms: Some(7),
        },
        Field {
            name: b"",
            value: &[9; 200],
            deadline_ms: None,
        },
    ];

    /// One record of each kind, with and without what is optional.
    fn all() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = RecordWriter::new(&mut out);
        let stamp = Stamp {
            cas: u64::MAX,
            flags: 3,
            is_stale: true,
            is_claimed: true,
            accessed_s: Some(9),
        };
        for deadline_ms in [None, Some(1_900_000_000_000)] {
            writer.put(b"key", &[b"par", b"ts"], false, deadline_ms);
            writer.put(&[1; 300], &[&[2; 70_000]], true, deadline_ms);
            writer.put_stamped(b"key", &[b"value"], stamp, deadline_ms);
            writer.put_stamped(b"", &[], Stamp::default(), deadline_ms);
            writer.put_hash(b"key", FIELDS.into_iter(), deadline_ms);
            writer.hash_set(b"key", FIELDS.into_iter().skip(1));
            writer.hash_delete(b"key", &[b"a", b""]);
            writer.hash_expire(b"key", &[b"a"], deadline_ms);
            writer.delete(b"key");
            writer.expire(b"key", deadline_ms);
            writer.clear();
        }
        out
    }

    #[test]
    fn what_is_written_is_read_and_written_alike() {
        let bytes = all();
        assert_eq!(count(&bytes), Ok(22));
        let (mut rest, mut again) = (&*bytes, Vec::new());
        while !rest.is_empty() {
            RecordWriter::new(&mut again).record(Record::take(&mut rest).expect("a record"));
        }
        assert_eq!(again, bytes);
        let first = Record::take(&mut &*bytes);
        let put = Record::Put {
            key: b"key",
            value: b"parts",
            is_changed: false,
            deadline_ms: None,
        };
        assert_eq!(first, Ok(put));
    }

    #[test]
    fn a_record_that_is_cut_off_is_refused_at_every_length() {
        let bytes = all();
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let before = rest;
            Record::take(&mut rest).expect("a record");
            let record = &before[..before.len() - rest.len()];
            for length in 0..record.len().min(500) {
                assert!(Record::take(&mut &record[..length]).is_err());
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let records: [&[u8]; 11] = [
            b"\x00",
            b"\x01\x00",
            b"\x01\x0a\x00\x01",
            b"\x02\x0b\x00",
            b"\x02\x0a\x00",
            b"\x0b\x88\x00\x00\x00\x00\x00\x00\x00\x00\x01k",
            b"\x06\x05\x00\x00\x00\x00\x00",
            b"\x08\x05\x00\x01\x00\x00\x00\x04\x01",
            b"\x04\x08\x01kx",
            b"\x0b\x03\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x81\x00\x0a",
        ];
        for record in records {
            let mut rest = record;
            let taken = Record::take(&mut rest);
            assert!(
                taken.is_err() || !rest.is_empty(),
                "{}: {taken:?}",
                record.escape_ascii()
            );
        }
    }
}
