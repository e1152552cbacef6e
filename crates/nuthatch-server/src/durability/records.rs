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
        } => writer.put_hash(key, fields(flat.fields()), deadline_ms),
        Effect::HashSet { key, fields } if change.is_created => {
            let fields = last_of_each_name(fields);
            writer.put_hash(key, fields.iter().copied(), None);
        }
        Effect::HashSet { key, fields } => {
            writer.hash_set(key, fields.iter().copied().map(Field::from));
        }
        Effect::Delete { key } => writer.delete(key),
        Effect::Clear => writer.clear(),
        Effect::HashDelete { .. } | Effect::HashExpire { .. } | Effect::Expire { .. }
            if !change.is_any =>
        {
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
