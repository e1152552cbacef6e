//! Between effects and records: what a change looks like on disk, and how it is made again.
//!
//! A record is applied on top of a state that may have later changes already, since a snapshot is taken
//! while writers go on. That ends right if the last record of a key, or of a field, says all that holds of it.
//! Hence what is added here to the effects themselves:
//!
//! - A hash that was not there before is recorded as a whole. So a record of some fields is one of a hash that
//!   was there, and is passed over where it is not: there it has expired or was evicted meanwhile, perhaps while
//!   it was loaded, and must not come back with some of its fields.
//! - A removal is recorded also of a key that is not there, since it may be gone for a reason of which no
//!   record speaks, such as its expiry, or whose record is not left yet.

use crate::hash::{FieldView, FlatFields, FlatHash};
use crate::keyspace::{Change, Effect, EffectError, Keyspace, View};
use crate::object::Value;
use crate::stamp::Stamp;
use nuthatch_storage::record::{self, Field, Record, RecordWriter};
use smallvec::SmallVec;
use std::collections::HashMap;

impl<'a> From<FieldView<'a>> for Field<'a> {
    fn from(field: FieldView<'a>) -> Self {
        Self {
            name: field.name,
            value: field.value,
            deadline_ms: field.deadline_ms,
        }
    }
}

fn field_view(field: Field<'_>) -> FieldView<'_> {
    FieldView {
        name: field.name,
        value: field.value,
        deadline_ms: field.deadline_ms,
    }
}

impl From<Stamp> for record::Stamp {
    fn from(stamp: Stamp) -> Self {
        Self {
            cas: stamp.cas,
            flags: stamp.flags,
            is_stale: stamp.is_stale,
            is_claimed: stamp.is_claimed,
            accessed_s: stamp.accessed_s,
        }
    }
}

impl From<record::Stamp> for Stamp {
    fn from(stamp: record::Stamp) -> Self {
        Self {
            cas: stamp.cas,
            flags: stamp.flags,
            is_stale: stamp.is_stale,
            is_claimed: stamp.is_claimed,
            accessed_s: stamp.accessed_s,
        }
    }
}

fn fields(flat: FlatFields<'_>) -> impl Iterator<Item = Field<'_>> + Clone {
    flat.map(Field::from)
}

/// Appends the records of a whole hash: several with `piece_bytes` each, about, if it has more, for it may have more
/// than one record can.
fn write_hash(
    key: &[u8],
    flat: FlatHash<'_>,
    deadline_ms: Option<u64>,
    piece_bytes: usize,
    out: &mut Vec<u8>,
) -> u64 {
    if flat.as_bytes().len() <= piece_bytes {
        RecordWriter::new(out).put_hash(key, fields(flat.fields()), deadline_ms);
        return 1;
    }
    let mut rest = fields(flat.fields());
    let mut records = 0;
    loop {
        let (start, mut bytes, mut count) = (rest.clone(), 0, 0);
        while bytes < piece_bytes
            && let Some(field) = rest.next()
        {
            bytes += field.name.len() + field.value.len();
            count += 1;
        }
        if count == 0 {
            return records;
        }
        let mut writer = RecordWriter::new(out);
        if records == 0 {
            writer.put_hash(key, start.take(count), deadline_ms);
        } else {
            writer.hash_set(key, start.take(count));
        }
        records += 1;
    }
}

/// Of the fields of one name the last, in the order of the names' first.
fn last_of_each_name<'a>(fields: &[FieldView<'a>]) -> SmallVec<[Field<'a>; 8]> {
    /// So many are compared with each other.
    const FEW: usize = 16;
    let mut last: SmallVec<[Field<'a>; 8]> = SmallVec::with_capacity(fields.len());
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for &field in fields {
        let known = if fields.len() <= FEW {
            last.iter().position(|other| other.name == field.name)
        } else {
            match places.insert(field.name, last.len()) {
                None => None,
                Some(place) => {
                    places.insert(field.name, place);
                    Some(place)
                }
            }
        };
        match known {
            Some(place) => last[place] = field.into(),
            None => last.push(field.into()),
        }
    }
    last
}

/// Appends the records of a change that was made to `out`; returns their number.
pub(super) fn write(effect: &Effect<'_>, change: &Change, out: &mut Vec<u8>) -> u64 {
    let mut writer = RecordWriter::new(out);
    match *effect {
        Effect::Put {
            key,
            parts,
            deadline_ms,
        } => writer.put(key, parts, parts.len() != 1, deadline_ms),
        Effect::PutAll { strings } => {
            for string in strings {
                writer.put(string.key, &[string.bytes], false, string.deadline_ms);
            }
            return strings.len() as u64;
        }
        Effect::PutStamped {
            key,
            parts,
            stamp,
            deadline_ms,
        } => writer.put_stamped(key, parts, stamp.into(), deadline_ms),
        Effect::PutHash {
            key,
            fields: flat,
            deadline_ms,
        } => return write_hash(key, flat, deadline_ms, HASH_AT_ONCE_BYTES, out),
        Effect::HashSet { key, fields } if change.is_created => {
            let fields = last_of_each_name(fields);
            writer.put_hash(key, fields.iter().copied(), None);
        }
        Effect::HashSet { key, fields } => {
            writer.hash_set(key, fields.iter().copied().map(Field::from));
        }
        Effect::Delete { key } => writer.delete(key),
        Effect::Clear => writer.clear(),
        Effect::HashExpire { .. } | Effect::Expire { .. } if !change.is_any => {
            return 0;
        }
        Effect::HashDelete { key, fields } => writer.hash_delete(key, fields),
        Effect::HashExpire {
            key,
            fields,
            deadline_ms,
        } => writer.hash_expire(key, fields, deadline_ms),
        Effect::Expire { key, deadline_ms } => writer.expire(key, deadline_ms),
    }
    1
}

/// Makes the change that a record tells of.
pub(super) fn apply(keyspace: &Keyspace, record: Record<'_>) -> Result<(), EffectError> {
    match record {
        Record::Put {
            key,
            value,
            is_changed,
            deadline_ms,
        } => {
            // What is put together from parts is taken for changed.
            let parts = [value, b""];
            keyspace.apply(Effect::Put {
                key,
                parts: &parts[..1 + usize::from(is_changed)],
                deadline_ms,
            })
        }
        Record::PutStamped {
            key,
            value,
            stamp,
            deadline_ms,
        } => keyspace.apply(Effect::PutStamped {
            key,
            parts: &[value],
            stamp: stamp.into(),
            deadline_ms,
        }),
        Record::PutHash {
            key,
            fields,
            deadline_ms,
        } => keyspace.apply(Effect::PutHash {
            key,
            fields: FlatHash::from_bytes(fields.as_bytes()),
            deadline_ms,
        }),
        Record::HashSet { key, .. } if !holds_hash(keyspace, key) => return Ok(()),
        Record::HashSet { key, fields } => {
            let fields: SmallVec<[FieldView<'_>; 8]> = fields.iter().map(field_view).collect();
            keyspace.apply(Effect::HashSet {
                key,
                fields: &fields,
            })
        }
        Record::HashDelete { key, names } => {
            let fields: SmallVec<[&[u8]; 8]> = names.iter().collect();
            keyspace.apply(Effect::HashDelete {
                key,
                fields: &fields,
            })
        }
        Record::HashExpire {
            key,
            names,
            deadline_ms,
        } => {
            let fields: SmallVec<[&[u8]; 8]> = names.iter().collect();
            keyspace.apply(Effect::HashExpire {
                key,
                fields: &fields,
                deadline_ms,
            })
        }
        Record::Delete { key } => keyspace.apply(Effect::Delete { key }),
        Record::Expire { key, deadline_ms } => keyspace.apply(Effect::Expire { key, deadline_ms }),
        Record::Clear => keyspace.apply(Effect::Clear),
    }
    .map(|_| ())
}

fn holds_hash(keyspace: &Keyspace, key: &[u8]) -> bool {
    let is_hash = keyspace.peek(key, |view| view.hash().is_ok());
    is_hash.unwrap_or(false)
}

/// Bytes of a hash that one record has, about.
const HASH_AT_ONCE_BYTES: usize = 64 << 20;
/// Fields of one record of a large hash, whose lock is held meanwhile.
const FIELDS_AT_ONCE: usize = 256;

/// Appends records of all that a key holds to `out`, and calls `full` with their number after each.
///
/// A large hash is read piece by piece, from its last field to its first: what is removed meanwhile moves the
/// last field to its place, which is either still to come or was read already.
pub(super) fn write_view(view: &View<'_>, out: &mut Vec<u8>, mut full: impl FnMut(&mut Vec<u8>)) {
    let (key, deadline_ms) = (view.key, view.deadline_ms());
    let mut writer = RecordWriter::new(out);
    match view.value {
        Value::String(bytes) => match view.stamp() {
            Some(stamp) => writer.put_stamped(key, &[bytes], stamp.into(), deadline_ms),
            None => writer.put(key, &[bytes], view.is_changed_string(), deadline_ms),
        },
        Value::Hash(crate::hash::HashRef::Flat(flat)) => {
            writer.put_hash(key, fields(flat.fields()), deadline_ms);
        }
        Value::Hash(crate::hash::HashRef::Indexed(hash)) => {
            let mut rest = usize::MAX;
            let mut is_first = true;
            loop {
                let indexed = hash.read();
                let end = rest.min(indexed.len());
                if end == 0 {
                    return;
                }
                rest = end.saturating_sub(FIELDS_AT_ONCE);
                let piece = (rest..end).map(|place| Field::from(indexed.at(place)));
                let mut writer = RecordWriter::new(out);
                if is_first {
                    writer.put_hash(key, piece, deadline_ms);
                } else {
                    writer.hash_set(key, piece);
                }
                is_first = false;
                drop(indexed);
                full(out);
            }
        }
    }
    full(out);
}

#[cfg(test)]
mod tests {
    use super::{apply, last_of_each_name, write, write_hash, write_view};
    use crate::config::{MemoryPolicy, SettingValue};
    use crate::hash::{FieldView, FlatBuffer, OpenHash};
    use crate::keyspace::{Effect, Keyspace};
    use nuthatch_storage::record::{self, Record};
    use std::collections::BTreeMap;

    fn keyspace() -> Keyspace {
        let policy = MemoryPolicy::from_text("allkeys-lru").expect("a policy");
        Keyspace::new(1, 1 << 30, &policy, |_, _| ()).expect("a bound")
    }

    fn field<'a>(name: &'a [u8], value: &'a [u8]) -> FieldView<'a> {
        FieldView {
            name,
            value,
            deadline_ms: None,
        }
    }

    fn apply_all(keyspace: &Keyspace, mut records: &[u8]) {
        while !records.is_empty() {
            let record = Record::take(&mut records).expect("a record");
            apply(keyspace, record).expect("room");
        }
    }

    fn fields(keyspace: &Keyspace, key: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut found = BTreeMap::new();
        keyspace.peek(key, |view| {
            let mut add = |field: FieldView<'_>| {
                found.insert(field.name.to_vec(), field.value.to_vec());
            };
            match view.hash().expect("a hash").open() {
                OpenHash::Flat(flat) => flat.fields().for_each(&mut add),
                OpenHash::Indexed(indexed) => indexed.fields().for_each(&mut add),
            }
        });
        found
    }

    #[test]
    fn of_names_that_come_twice_the_last_counts_for_few_fields_and_for_many() {
        let names: Vec<String> = (0..40).map(|number| (number % 7).to_string()).collect();
        let values: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        for count in [1, 7, 8, 16, 17, 40] {
            let given: Vec<FieldView<'_>> = names[..count]
                .iter()
                .zip(&values)
                .map(|(name, value)| field(name.as_bytes(), value.as_bytes()))
                .collect();
            let mut expected = BTreeMap::new();
            expected.extend(given.iter().map(|field| (field.name, field.value)));
            let found = last_of_each_name(&given);
            assert_eq!(found.len(), expected.len());
            assert!(
                found
                    .iter()
                    .all(|field| expected[field.name] == field.value)
            );
        }
    }

    #[test]
    fn a_hash_that_is_new_replaces_what_an_older_state_has_under_its_key() {
        let (first, second) = (keyspace(), keyspace());
        let old = Effect::HashSet {
            key: b"key",
            fields: &[field(b"old", b"1")],
        };
        second.apply(old).expect("room");
        let effect = Effect::HashSet {
            key: b"key",
            fields: &[field(b"new", b"1"), field(b"new", b"2")],
        };
        let change = first.apply(effect).expect("room");
        let mut records = Vec::new();
        write(&effect, &change, &mut records);
        apply_all(&second, &records);
        assert_eq!(fields(&second, b"key"), fields(&first, b"key"));
    }

    #[test]
    fn fields_of_a_hash_that_is_gone_do_not_bring_it_back() {
        let (first, second) = (keyspace(), keyspace());
        let mut records = Vec::new();
        for name in [b"a", b"b"] {
            records.clear();
            let effect = Effect::HashSet {
                key: b"key",
                fields: &[field(name, b"1")],
            };
            let change = first.apply(effect).expect("room");
            write(&effect, &change, &mut records);
        }
        apply_all(&second, &records);
        assert!(!second.contains(b"key"));
    }

    #[test]
    fn a_hash_of_any_size_is_written_in_pieces_that_make_it_again() {
        let mut flat = FlatBuffer::with_capacity(1024);
        let names: Vec<String> = (0..100).map(|number| format!("name-{number}")).collect();
        for name in &names {
            flat.push(field(name.as_bytes(), b"value"));
        }
        for piece_bytes in [1, 50, 500, 1 << 20] {
            let mut records = Vec::new();
            let count = write_hash(b"key", flat.as_hash(), None, piece_bytes, &mut records);
            assert_eq!(record::count(&records), Ok(count));
            assert_eq!(count == 1, piece_bytes == 1 << 20);
            let restored = keyspace();
            apply_all(&restored, &records);
            assert_eq!(fields(&restored, b"key").len(), names.len());
        }
    }

    #[test]
    fn what_a_snapshot_sees_of_a_large_hash_makes_it_again() {
        let keyspace = keyspace();
        let names: Vec<String> = (0..1000).map(|number| format!("name-{number}")).collect();
        let all: Vec<FieldView<'_>> = names
            .iter()
            .map(|name| field(name.as_bytes(), name.as_bytes()))
            .collect();
        let effect = Effect::HashSet {
            key: b"key",
            fields: &all,
        };
        keyspace.apply(effect).expect("room");
        let (mut records, mut calls) = (Vec::new(), 0);
        keyspace.peek(b"key", |view| {
            write_view(&view, &mut records, |_| calls += 1);
        });
        assert!(calls > 3, "the hash's lock is held for {calls} pieces");
        let restored = self::keyspace();
        apply_all(&restored, &records);
        assert_eq!(fields(&restored, b"key"), fields(&keyspace, b"key"));
        restored.cache().validate();
    }
}
