//! Effects on hashes.
//!
//! A flat hash is copied, changed, and put in the place of the old one; an indexed hash is changed where
//! it is, and gets a new item when the cache is too far off with its weight. A hash becomes indexed when
//! it grows beyond the limits, and stays so.

use super::{Change, Effect, EffectError, Keyspace, View};
use crate::clock;
use crate::hash::{
    self, FieldView, FlatBuffer, FlatHash, HashRef, IndexedHash, OpenHash, SharedHash,
};
use crate::object::{self, Object, Value};
use nuthatch::{Item, ItemValue};
use std::sync::Arc;

/// A hash that is about to be changed.
enum HashToChange {
    /// A copy of the key's, or a new one.
    Flat(FlatBuffer),
    /// The key's own.
    Indexed(Arc<SharedHash>),
}

impl Keyspace {
    pub(super) fn make_of_hash(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
        let change = self.change_hash(effect)?;
        if change.takes_deadline
            && let Some(key) = effect.key()
            && !self.has_field_deadlines(key)
        {
            self.field_deadlines.forget(key);
        }
        Ok(change)
    }

    fn change_hash(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
        match effect {
            Effect::PutHash {
                key,
                fields,
                deadline_ms,
            } => {
                self.put_flat(key, fields, deadline_ms)?;
                if let Some(next_ms) = fields.next_deadline_ms() {
                    self.field_deadlines.note(key, next_ms);
                }
                Ok(Change::any(true))
            }
            Effect::HashSet { key, fields } => {
                let change = self.set_fields(key, fields)?;
                let deadlines = fields.iter().filter_map(|field| field.deadline_ms);
                if let Some(next_ms) = deadlines.min() {
                    self.field_deadlines.note(key, next_ms);
                }
                Ok(change)
            }
            Effect::HashDelete { key, fields } => self.delete_fields(key, fields),
            Effect::HashExpire {
                key,
                fields,
                deadline_ms,
            } => {
                let change = self.expire_fields(key, fields, deadline_ms)?;
                if let (true, Some(deadline_ms)) = (change.is_any, deadline_ms) {
                    self.field_deadlines.note(key, deadline_ms);
                }
                Ok(change)
            }
            Effect::Put { .. }
            | Effect::PutAll { .. }
            | Effect::PutStamped { .. }
            | Effect::Delete { .. }
            | Effect::Expire { .. }
            | Effect::Clear => {
                unreachable!("an effect on hashes")
            }
        }
    }

    /// A copy of a flat hash with room for `more_bytes`, or an indexed hash to be changed where it is;
    /// and when the key expires. `None` if the key holds no hash.
    fn hash_to_change(&self, key: &[u8], more_bytes: usize) -> Option<(HashToChange, Option<u64>)> {
        self.cache
            .peek_with(key, |entry| {
                let deadline_ms = View::of(entry).deadline_ms();
                let hash = match entry.key().value() {
                    ItemValue::Object(Object::Hash(hash)) => {
                        HashToChange::Indexed(Arc::clone(hash))
                    }
                    ItemValue::Bytes(bytes) if entry.key().tag() == object::HASH => {
                        let flat = FlatHash::from_bytes(bytes);
                        HashToChange::Flat(FlatBuffer::copy_of(flat, more_bytes))
                    }
                    ItemValue::Bytes(_) => return None,
                };
                Some((hash, deadline_ms))
            })
            .flatten()
    }

    fn set_fields(&self, key: &[u8], fields: &[FieldView<'_>]) -> Result<Change, EffectError> {
        hash::check_names(fields.iter().map(|field| field.name))?;
        let now_ms = clock::now_ms();
        let mut change = Change::any(true);
        let mut count = |old_deadline_ms: Option<Option<u64>>| {
            let is_due = old_deadline_ms.is_some_and(|ms| !hash::is_live(ms, now_ms));
            change.fields_added += usize::from(is_due || old_deadline_ms.is_none());
            change.fields_due += usize::from(is_due);
            change.takes_deadline |= old_deadline_ms.flatten().is_some();
        };
        let bytes = fields.iter().map(FieldView::flat_bytes).sum();
        let found = self.hash_to_change(key, bytes);
        let is_created = found.is_none();
        let (hash, deadline_ms) =
            found.unwrap_or_else(|| (HashToChange::Flat(FlatBuffer::with_capacity(bytes)), None));
        match hash {
            HashToChange::Indexed(hash) => {
                self.check_room(bytes as u64)?;
                hash.write(|indexed| {
                    for &field in fields {
                        count(indexed.set(field)?);
                    }
                    Ok::<_, EffectError>(())
                })?;
                self.weigh_anew(key, hash, deadline_ms)?;
            }
            HashToChange::Flat(mut flat) if self.may_stay_flat(flat.as_hash(), fields) => {
                for &field in fields {
                    count(flat.set(field));
                }
                self.put_flat(key, flat.as_hash(), deadline_ms)?;
            }
            HashToChange::Flat(flat) => {
                let mut indexed = IndexedHash::from_flat(flat.as_hash(), fields.len())?;
                for &field in fields {
                    count(indexed.set(field)?);
                }
                self.put_indexed(key, indexed, deadline_ms)?;
            }
        }
        change.is_created = is_created;
        Ok(change)
    }

    /// Whether a flat hash is so still when it gets these fields. If more are given than it may have,
    /// it is not, even if some have the same name.
    fn may_stay_flat(&self, flat: FlatHash<'_>, fields: &[FieldView<'_>]) -> bool {
        let limits = &self.flat_limits;
        let all = flat.len() + fields.len();
        let is_new = |field: &&FieldView<'_>| flat.get(field.name).is_none();
        (limits.allow_fields(all)
            || fields.len() <= 16
                && limits.allow_fields(flat.len() + fields.iter().filter(is_new).count()))
            && fields.iter().all(|field| limits.allow(field))
    }

    fn put_flat(
        &self,
        key: &[u8],
        fields: FlatHash<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        let limits = &self.flat_limits;
        if limits.allow_fields(fields.len()) && fields.fields().all(|field| limits.allow(&field)) {
            let item = Item::from_bytes(key, object::HASH, &[fields.as_bytes()])?;
            return self.put(key, item, deadline_ms);
        }
        hash::check_names(fields.fields().map(|field| field.name))?;
        self.put_indexed(key, IndexedHash::from_flat(fields, 0)?, deadline_ms)
    }

    fn put_indexed(
        &self,
        key: &[u8],
        indexed: IndexedHash,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        let hash = Object::Hash(Arc::new(SharedHash::new(indexed)));
        self.put(key, Item::from_object(key, 0, hash)?, deadline_ms)
    }

    fn delete_fields(&self, key: &[u8], fields: &[&[u8]]) -> Result<Change, EffectError> {
        let Some((hash, deadline_ms)) = self.hash_to_change(key, 0) else {
            return Ok(Change::default());
        };
        let now_ms = clock::now_ms();
        let mut change = Change::default();
        let mut count = |old_deadline_ms: Option<Option<u64>>| {
            if let Some(deadline_ms) = old_deadline_ms {
                change.is_any = true;
                change.takes_deadline |= deadline_ms.is_some();
                change.fields_removed += usize::from(hash::is_live(deadline_ms, now_ms));
            }
        };
        match hash {
            HashToChange::Flat(mut flat) => {
                fields.iter().for_each(|name| count(flat.remove(name)));
                change.is_emptied = flat.as_hash().is_empty();
                if change.is_any && !change.is_emptied {
                    self.replace_flat(key, &flat, deadline_ms)?;
                }
            }
            HashToChange::Indexed(hash) => {
                change.is_emptied = hash.write(|indexed| {
                    fields.iter().for_each(|name| count(indexed.remove(name)));
                    indexed.is_empty()
                });
                if !change.is_emptied {
                    self.weigh_anew(key, hash, deadline_ms)?;
                }
            }
        }
        if change.is_emptied {
            self.cache.invalidate(key);
        }
        Ok(change)
    }

    fn expire_fields(
        &self,
        key: &[u8],
        fields: &[&[u8]],
        field_deadline_ms: Option<u64>,
    ) -> Result<Change, EffectError> {
        let more_bytes = fields.len() * size_of::<u64>();
        let Some((hash, deadline_ms)) = self.hash_to_change(key, more_bytes) else {
            return Ok(Change::default());
        };
        let mut changed = 0;
        match hash {
            HashToChange::Flat(mut flat) => {
                for name in fields {
                    changed += usize::from(flat.set_deadline(name, field_deadline_ms));
                }
                if changed > 0 {
                    self.replace_flat(key, &flat, deadline_ms)?;
                }
            }
            HashToChange::Indexed(hash) => {
                hash.write(|indexed| {
                    for name in fields {
                        changed += usize::from(indexed.set_deadline(name, field_deadline_ms));
                    }
                });
                self.weigh_anew(key, hash, deadline_ms)?;
            }
        }
        Ok(Change {
            takes_deadline: changed > 0 && field_deadline_ms.is_none(),
            ..Change::any(changed > 0)
        })
    }

    /// A flat hash stays flat when it loses fields or deadlines change, whatever the limits are now.
    fn replace_flat(
        &self,
        key: &[u8],
        flat: &FlatBuffer,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        let item = Item::from_bytes(key, object::HASH, &[flat.as_bytes()])?;
        self.insert(key, item, deadline_ms)
    }

    /// Puts a new item for a hash that has changed in place, if the cache is too far off with its
    /// weight.
    fn weigh_anew(
        &self,
        key: &[u8],
        hash: Arc<SharedHash>,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        if !hash.is_to_be_weighed() {
            return Ok(());
        }
        let item = Item::from_object(key, 0, Object::Hash(hash))?;
        self.insert(key, item, deadline_ms)
    }

    /// Appends names of up to `max` fields of `key` that are due, to be removed by the caller, who
    /// holds the key's stripe. Returns when more of its fields are due: the present if there are more
    /// already.
    pub fn take_due_fields(
        &self,
        key: &[u8],
        now_ms: u64,
        max: usize,
        due: &mut Vec<Box<[u8]>>,
    ) -> Option<u64> {
        self.peek(key, |view| match view.value {
            Value::String(_) => None,
            Value::Hash(HashRef::Indexed(hash)) => hash.write(|indexed| {
                indexed.take_due(now_ms, max, due);
                indexed.next_deadline_ms()
            }),
            Value::Hash(HashRef::Flat(flat)) => {
                let is_due = |field: &FieldView<'_>| !field.is_live(now_ms);
                due.extend(flat.fields().filter(is_due).map(|field| field.name.into()));
                let deadlines = flat.fields().filter_map(|field| field.deadline_ms);
                deadlines.filter(|&deadline_ms| now_ms < deadline_ms).min()
            }
        })?
    }

    /// Whether `key` holds a hash of which some field has a deadline.
    pub fn has_field_deadlines(&self, key: &[u8]) -> bool {
        let found = self.peek(key, |view| match view.value {
            Value::String(_) => false,
            Value::Hash(hash) => match hash.open() {
                OpenHash::Flat(flat) => flat.has_deadlines(),
                OpenHash::Indexed(indexed) => indexed.has_deadlines(),
            },
        });
        found.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use crate::clock;
    use crate::config::MemoryPolicy;
    use crate::hash::{FieldView, FlatBuffer, HashRef};
    use crate::keyspace::{ENTRY_BYTES, Effect, Keyspace};
    use crate::object::{Object, Value};
    use nuthatch::Item;
    use std::collections::BTreeMap;
    use std::thread;

    /// Fields of a key by name.
    type Model = BTreeMap<String, (String, Option<u64>)>;

    fn keyspace(threads: usize) -> Keyspace {
        let policy = MemoryPolicy::default();
        let keyspace = Keyspace::new(threads, 1 << 30, &policy, |_, _| ()).expect("a bound");
        keyspace.flat_limits.set(20, 16);
        keyspace
    }

    fn set(keyspace: &Keyspace, key: &str, fields: &[(&str, &str, Option<u64>)]) {
        let fields: Vec<FieldView<'_>> = fields
            .iter()
            .map(|&(name, value, deadline_ms)| FieldView {
                name: name.as_bytes(),
                value: value.as_bytes(),
                deadline_ms,
            })
            .collect();
        let effect = Effect::HashSet {
            key: key.as_bytes(),
            fields: &fields,
        };
        keyspace.apply(effect).expect("room");
    }

    fn fields(keyspace: &Keyspace, key: &[u8]) -> Model {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let found = keyspace.peek(key, |view| {
            let flat = view.hash().expect("a hash").to_flat();
            let fields = flat.as_hash().fields();
            fields
                .map(|field| (text(field.name), (text(field.value), field.deadline_ms)))
                .collect()
        });
        found.unwrap_or_default()
    }

    fn encoding(keyspace: &Keyspace, key: &[u8]) -> &'static str {
        let found = keyspace.peek(key, |view| view.hash().expect("a hash").encoding());
        found.expect("a key")
    }

    /// What the key weighs, recounted, and its entry in the cache's tables.
    fn recounted_bytes(keyspace: &Keyspace, key: &[u8]) -> u64 {
        let found = keyspace.peek(key, |view| match view.value {
            Value::String(_) => panic!("a hash was expected"),
            Value::Hash(HashRef::Flat(flat)) => {
                let item = Item::<Object>::from_bytes(key, 0, &[flat.as_bytes()]);
                item.expect("as long as one that is there")
                    .allocated_bytes()
            }
            Value::Hash(HashRef::Indexed(shared)) => {
                let hash = shared.read();
                hash.validate();
                // The pointer stands in the item; it leads to two counts and the hash.
                let item = Item::from_object(key, 0, 0_usize).expect("a short key");
                item.allocated_bytes() + 16 + size_of_val(shared) + hash.heap_bytes()
            }
        });
        found.map_or(0, |bytes| bytes as u64 + ENTRY_BYTES)
    }

    /// What an indexed hash has allocated.
    #[derive(Clone, Copy)]
    struct Weighed {
        /// When it was weighed last.
        heap: u64,
        now: u64,
    }

    fn weighed_bytes(keyspace: &Keyspace, key: &[u8]) -> Option<Weighed> {
        let found = keyspace.peek(key, |view| match view.value {
            Value::Hash(HashRef::Indexed(shared)) => Some(Weighed {
                heap: shared.weighed_bytes(),
                now: shared.read().heap_bytes() as u64,
            }),
            _ => None,
        });
        found.flatten()
    }

    #[test]
    fn random_effects_leave_what_a_plain_map_has() {
        for seed in 0..10 {
            compare_with_a_plain_map(seed, 2_000);
        }
    }

    fn compare_with_a_plain_map(seed: u64, steps: usize) {
        let keyspace = keyspace(1);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model: BTreeMap<String, Model> = BTreeMap::new();
        let far_ms = clock::now_ms() + 1_000_000_000;
        for step in 0..steps {
            let key = random.u32(0..6).to_string();
            let deadline_ms = random.bool().then(|| far_ms + random.u64(0..1000));
            let names: Vec<String> = (0..random.usize(1..8))
                .map(|_| random.u32(0..60).to_string())
                .collect();
            let name_bytes: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
            match random.u32(0..100) {
                0..40 => {
                    let value = "v".repeat(random.usize(0..if step % 50 == 0 { 30 } else { 17 }));
                    let given: Vec<_> = names
                        .iter()
                        .map(|name| (name.as_str(), value.as_str(), deadline_ms))
                        .collect();
                    set(&keyspace, &key, &given);
                    let hash = model.entry(key.clone()).or_default();
                    hash.extend(names.into_iter().map(|n| (n, (value.clone(), deadline_ms))));
                }
                40..80 => {
                    let effect = Effect::HashDelete {
                        key: key.as_bytes(),
                        fields: &name_bytes,
                    };
                    let change = keyspace.apply(effect).expect("nothing grows");
                    let hash = model.entry(key.clone()).or_default();
                    let before = hash.len();
                    hash.retain(|name, _| !names.contains(name));
                    assert_eq!(change.fields_removed, before - hash.len());
                    assert_eq!(change.is_any, before > hash.len());
                    assert_eq!(change.is_emptied, before > 0 && hash.is_empty());
                }
                80..97 => {
                    let effect = Effect::HashExpire {
                        key: key.as_bytes(),
                        fields: &name_bytes,
                        deadline_ms,
                    };
                    let change = keyspace.apply(effect).expect("room");
                    let hash = model.entry(key.clone()).or_default();
                    let mut changed = false;
                    for name in &names {
                        if let Some((_, old_ms)) = hash.get_mut(name) {
                            changed |= std::mem::replace(old_ms, deadline_ms) != deadline_ms;
                        }
                    }
                    assert_eq!(change.is_any, changed);
                }
                97 => {
                    let key = key.as_bytes();
                    keyspace
                        .apply(Effect::Delete { key })
                        .expect("nothing grows");
                    model.remove(std::str::from_utf8(key).expect("digits"));
                }
                98 => {
                    let other = random.u32(0..6).to_string();
                    let copied = keyspace.peek(other.as_bytes(), |view| {
                        view.hash().expect("a hash").to_flat()
                    });
                    if let Some(copy) = copied {
                        let effect = Effect::PutHash {
                            key: key.as_bytes(),
                            fields: copy.as_hash(),
                            deadline_ms: None,
                        };
                        keyspace.apply(effect).expect("room");
                        model.insert(key.clone(), model[&other].clone());
                    }
                }
                _ => {
                    let fields = random.usize(5..40) as u64;
                    keyspace.flat_limits.set(fields, 16);
                }
            }
            let expected = model.get(&key).cloned().unwrap_or_default();
            assert_eq!(fields(&keyspace, key.as_bytes()), expected, "step {step}");
            let weight = keyspace.peek(key.as_bytes(), |view| view.weight_bytes());
            let recounted = recounted_bytes(&keyspace, key.as_bytes());
            assert_eq!(weight.unwrap_or(0), recounted, "step {step}");
            // What the cache believes is exact for flat hashes, and off by a part of what an indexed
            // one had allocated when it was weighed last.
            let mut believed = 0;
            for key in 0..6_u32 {
                let key = key.to_string();
                let recounted = recounted_bytes(&keyspace, key.as_bytes());
                let weighed = weighed_bytes(&keyspace, key.as_bytes());
                let error = weighed.map_or(0, |weighed| weighed.heap.abs_diff(weighed.now));
                assert!(
                    weighed.is_none_or(|weighed| error <= weighed.heap / 32),
                    "hash {key} is off by {error} of {recounted}, step {step}"
                );
                believed += match weighed {
                    Some(weighed) => recounted - weighed.now + weighed.heap,
                    None => recounted,
                };
            }
            assert_eq!(keyspace.cache().weight(), believed, "step {step}");
            if !expected.is_empty() {
                let noted = keyspace.field_deadlines.len();
                let with_deadline = |hash: &&Model| hash.values().any(|field| field.1.is_some());
                let expected_noted = model.values().filter(with_deadline).count();
                assert!(
                    noted >= expected_noted,
                    "{noted} of {expected_noted} are to be visited"
                );
                let has_deadline = expected
                    .values()
                    .any(|(_, deadline_ms)| deadline_ms.is_some());
                assert_eq!(keyspace.has_field_deadlines(key.as_bytes()), has_deadline);
            }
        }
        keyspace.cache().validate();
    }

    #[test]
    fn a_hash_is_indexed_once_it_exceeds_a_limit() {
        let keyspace = keyspace(1);
        set(&keyspace, "a", &[("f", "v", Some(u64::MAX))]);
        assert_eq!(encoding(&keyspace, b"a"), "listpack");
        set(&keyspace, "a", &[("f", "a value of 17 byt", None)]);
        assert_eq!(encoding(&keyspace, b"a"), "hashtable");
        for field in 0..21 {
            set(&keyspace, "b", &[(&field.to_string(), "v", None)]);
            let expected = if field < 20 { "listpack" } else { "hashtable" };
            assert_eq!(encoding(&keyspace, b"b"), expected, "{field}");
        }
        let mut flat = FlatBuffer::default();
        let long = [7; 17];
        flat.push(FieldView {
            name: b"f",
            value: &long,
            deadline_ms: None,
        });
        let effect = Effect::PutHash {
            key: b"c",
            fields: flat.as_hash(),
            deadline_ms: None,
        };
        keyspace.apply(effect).expect("room");
        assert_eq!(encoding(&keyspace, b"c"), "hashtable");
    }

    #[test]
    fn a_hash_keeps_its_keys_deadline_whatever_becomes_of_its_fields() {
        let keyspace = keyspace(1);
        let deadline_ms = Some(clock::now_ms() + 1_000_000);
        set(&keyspace, "k", &[("f", "v", None)]);
        let effect = Effect::Expire {
            key: b"k",
            deadline_ms,
        };
        assert!(keyspace.apply(effect).expect("no room is needed").is_any);
        for field in 0..100 {
            set(&keyspace, "k", &[(&field.to_string(), "v", None)]);
            let found = keyspace.peek(b"k", |view| view.deadline_ms());
            assert_eq!(found, Some(deadline_ms));
        }
        let effect = Effect::HashDelete {
            key: b"k",
            fields: &[b"f"],
        };
        keyspace.apply(effect).expect("nothing grows");
        assert_eq!(
            keyspace.peek(b"k", |view| view.deadline_ms()),
            Some(deadline_ms)
        );
    }

    #[test]
    fn readers_see_a_write_of_several_fields_whole() {
        const ROUNDS: u64 = 2_000;
        let keyspace = keyspace(2);
        let names: Vec<String> = (0..40).map(|name| name.to_string()).collect();
        for key in ["flat", "indexed"] {
            let count = if key == "flat" { 10 } else { 40 };
            let names = &names[..count];
            thread::scope(|scope| {
                let keyspace = &keyspace;
                scope.spawn(move || {
                    for round in 0..=ROUNDS {
                        let value = round.to_string();
                        let given: Vec<_> = names
                            .iter()
                            .map(|name| (name.as_str(), value.as_str(), None))
                            .collect();
                        let locks = keyspace.locks();
                        let _held = locks.hold_one(keyspace.lock_hash(key.as_bytes()));
                        set(keyspace, key, &given);
                    }
                });
                scope.spawn(move || {
                    let mut last = 0;
                    while last < ROUNDS {
                        let seen = fields(keyspace, key.as_bytes());
                        if seen.is_empty() {
                            continue;
                        }
                        assert_eq!(seen.len(), count);
                        let round = &seen["0"].0;
                        assert!(seen.values().all(|(value, _)| value == round), "{seen:?}");
                        let round = round.parse().expect("a number");
                        assert!(round >= last, "{round} was seen after {last}");
                        last = round;
                    }
                });
            });
        }
        assert_eq!(encoding(&keyspace, b"indexed"), "hashtable");
        keyspace.cache().validate();
    }
}
