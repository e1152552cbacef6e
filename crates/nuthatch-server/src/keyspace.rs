//! The keys and their values: the library's cache with one compact item per key.
//!
//! An item is one allocation with the key, the value and what little belongs to them. Eviction and
//! expiry are the library's; this module says what an item weighs, when it expires and whether it may
//! be evicted at all. Every change of the keyspace is an [`Effect`], and [`Keyspace::apply`] is the one
//! place that makes it: an effect is final (relative times are absolute, results are computed), so a
//! log or a replica can repeat it.

use crate::clock;
use crate::config::{EvictionScope, MemoryPolicy};
use crate::error::CommandError;
use crate::hash::{
    self, FieldDeadlines, FieldView, FlatBuffer, FlatHash, FlatLimits, HashRef, IndexedHash,
    OpenHash, SharedHash,
};
use crate::locks::KeyLocks;
use crate::object::{self, Entry, Object, Value};
use nuthatch::{
    BuildError, Cache, Clock, Deadline, EntryView, InsertOptions, Item, ItemTooLarge, ItemValue,
    RemovalCause,
};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Hashes keys; seeded at the start, so that nobody can choose keys that collide.
pub type KeyHasher = foldhash::quality::RandomState;

/// Bytes that an entry takes in the library's tables, besides its item.
const ENTRY_BYTES: u64 = 40;

/// A key's value and what belongs to it.
#[derive(Debug)]
pub struct View<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: Value<'a>,
    entry: EntryView<'a, Entry, ()>,
}

impl<'a> View<'a> {
    #[inline]
    fn of(entry: EntryView<'a, Entry, ()>) -> Self {
        let item = entry.key();
        Self {
            key: item.key(),
            value: Value::of(item),
            entry,
        }
    }

    /// The string that the key holds, if it holds one.
    #[inline]
    pub fn string(&self) -> Result<&'a [u8], CommandError> {
        self.value.string()
    }

    /// The hash that the key holds, if it holds one.
    #[inline]
    pub fn hash(&self) -> Result<HashRef<'a>, CommandError> {
        self.value.hash()
    }

    /// When the key expires, in milliseconds since 1970; `None` if never.
    pub fn deadline_ms(&self) -> Option<u64> {
        Some(self.entry.deadline_ns()? / 1_000_000)
    }

    /// Bytes that the key takes, in its item and in the tables.
    pub fn weight_bytes(&self) -> u64 {
        weight_bytes(self.entry.key())
    }
}

fn weight_bytes(item: &Entry) -> u64 {
    let beside = match item.value() {
        ItemValue::Bytes(_) => 0,
        ItemValue::Object(object) => object.weight_bytes(),
    };
    item.allocated_bytes() as u64 + beside + ENTRY_BYTES
}

/// One change of one key, or of all.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// The key holds a string.
    Put {
        /// The key.
        key: &'a [u8],
        /// The string, in parts that follow one another.
        parts: &'a [&'a [u8]],
        /// When it expires, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// The key holds a hash with these fields and no others.
    PutHash {
        /// The key.
        key: &'a [u8],
        /// The fields, at least one.
        fields: FlatHash<'a>,
        /// When the key expires, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// The key holds a hash, the one that it held before or a new one, and in it these fields have
    /// these values and deadlines.
    HashSet {
        /// The key.
        key: &'a [u8],
        /// The fields, at least one. Of those of one name the last counts.
        fields: &'a [FieldView<'a>],
    },
    /// The key's hash, if it holds one, has no such fields. One that has lost all is gone.
    HashDelete {
        /// The key.
        key: &'a [u8],
        /// Names of fields.
        fields: &'a [&'a [u8]],
    },
    /// Of the key's hash, if it holds one, these fields, if they exist, have this deadline.
    HashExpire {
        /// The key.
        key: &'a [u8],
        /// Names of fields.
        fields: &'a [&'a [u8]],
        /// When they are due, in milliseconds since 1970, or never.
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

impl<'a> Effect<'a> {
    /// The key that changes; `None` if all do.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Put { key, .. }
            | Self::PutHash { key, .. }
            | Self::HashSet { key, .. }
            | Self::HashDelete { key, .. }
            | Self::HashExpire { key, .. }
            | Self::Delete { key }
            | Self::Expire { key, .. } => Some(key),
            Self::Clear => None,
        }
    }
}

/// What an effect has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether anything is different now.
    pub is_any: bool,
    /// Fields of a hash that were set and had not existed, due ones among them.
    pub fields_added: usize,
    /// Fields of a hash that were set and had been due.
    pub fields_due: usize,
    /// Fields of a hash that were removed and had not been due.
    pub fields_removed: usize,
    /// Whether a hash has lost its last field, and so the key is gone.
    pub is_emptied: bool,
}

impl Change {
    fn any(is_any: bool) -> Self {
        Self {
            is_any,
            ..Self::default()
        }
    }
}

/// Why an effect was not taken. The keyspace is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// There is no room, and nothing may be evicted.
    #[error("no room, and nothing may be evicted")]
    Full,
    /// The key or the value is longer than an item can hold.
    #[error(transparent)]
    TooLarge(#[from] ItemTooLarge),
}

/// See the module's text.
#[derive(Debug)]
pub struct Keyspace {
    cache: Cache<Entry, (), KeyHasher>,
    hasher: KeyHasher,
    locks: KeyLocks,
    scope: EvictionScope,
    /// Up to where hashes are flat.
    pub flat_limits: FlatLimits,
    /// Which hashes have fields that will be due.
    pub field_deadlines: FieldDeadlines,
}

impl Keyspace {
    /// An empty keyspace for so many data threads, of so many bytes, that tells `on_removal` of what
    /// is evicted or expires.
    pub fn new(
        threads: usize,
        capacity_bytes: u64,
        policy: &MemoryPolicy,
        on_removal: impl Fn(&[u8], RemovalCause) + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        let hasher = KeyHasher::default();
        let cache = Cache::<Entry, ()>::builder()
            .weight_capacity(capacity_bytes)
            .weigher(|item: &Entry, ()| u32::try_from(weight_bytes(item)).unwrap_or(u32::MAX))
            .policy(policy.policy.clone())
            .clock(Clock::from_fn(clock::now_ns))
            .listener(move |item: &Entry, (), cause| on_removal(item.key(), cause))
            .hasher(hasher.clone())
            .build()?;
        Ok(Self {
            cache,
            hasher,
            locks: KeyLocks::new(threads),
            scope: policy.scope,
            flat_limits: FlatLimits::new(512, 64),
            field_deadlines: FieldDeadlines::default(),
        })
    }

    /// The library's cache, for statistics and upkeep.
    pub fn cache(&self) -> &Cache<Entry, (), KeyHasher> {
        &self.cache
    }

    /// What makes commands atomic.
    pub fn locks(&self) -> &KeyLocks {
        &self.locks
    }

    /// The hash of a key that [`locks`](Self::locks) takes.
    #[inline]
    pub fn lock_hash(&self, key: &[u8]) -> u64 {
        if self.locks.is_single() {
            return 0;
        }
        self.hasher.hash_one(key)
    }

    /// Has the memory loaded that commands on `keys` are about to need.
    #[inline]
    pub fn prefetch(&self, keys: &[&[u8]]) {
        self.cache.prefetch(keys, Entry::prefetch);
    }

    /// Passes the value of `key` to `look`: a hit or a miss.
    #[inline]
    pub fn read<R>(&self, key: &[u8], look: impl FnOnce(View<'_>) -> R) -> Option<R> {
        self.cache.with_entry(key, |entry| look(View::of(entry)))
    }

    /// As [`read`](Self::read), but neither policy nor statistics take notice.
    #[inline]
    pub fn peek<R>(&self, key: &[u8], look: impl FnOnce(View<'_>) -> R) -> Option<R> {
        self.cache.peek_with(key, |entry| look(View::of(entry)))
    }

    /// Whether `key` exists.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.cache.contains_key(key)
    }

    /// Makes a change, whoever asks for it.
    #[inline]
    pub fn apply(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
        match effect {
            Effect::Put {
                key,
                parts,
                deadline_ms,
            } => {
                let item = Item::from_bytes(key, object::STRING, parts)?;
                self.put(item, deadline_ms)?;
                Ok(Change::any(true))
            }
            Effect::Delete { key } => Ok(Change::any(self.cache.invalidate(key))),
            Effect::Expire { key, deadline_ms } => Ok(Change::any(self.expire(key, deadline_ms))),
            Effect::Clear => {
                self.cache.clear();
                self.field_deadlines.clear();
                Ok(Change::any(true))
            }
            effect => self.apply_to_hash(effect),
        }
    }

    fn apply_to_hash(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
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
            Effect::Put { .. } | Effect::Delete { .. } | Effect::Expire { .. } | Effect::Clear => {
                unreachable!("an effect on hashes")
            }
        }
    }

    // ---- hashes ---------------------------------------------------------------------------

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
        let mut count = |old_deadline_ms: Option<Option<u64>>| match old_deadline_ms {
            None => change.fields_added += 1,
            Some(deadline_ms) if !hash::is_live(deadline_ms, now_ms) => {
                change.fields_added += 1;
                change.fields_due += 1;
            }
            Some(_) => {}
        };
        let bytes = fields.iter().map(FieldView::flat_bytes).sum();
        let found = self.hash_to_change(key, bytes);
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
            return self.put(item, deadline_ms);
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
        self.put(Item::from_object(key, 0, hash)?, deadline_ms)
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
        Ok(Change::any(changed > 0))
    }

    /// A flat hash stays flat when it loses fields or deadlines change, whatever the limits are now.
    fn replace_flat(
        &self,
        key: &[u8],
        flat: &FlatBuffer,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        let item = Item::from_bytes(key, object::HASH, &[flat.as_bytes()])?;
        self.insert(item, deadline_ms)
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
        self.insert(item, deadline_ms)
    }

    /// Whether there is room for so many bytes more, where nothing may be evicted.
    fn check_room(&self, bytes: u64) -> Result<(), EffectError> {
        let is_full = self.scope == EvictionScope::Nothing
            && self.cache.weight().saturating_add(bytes) > self.cache.capacity();
        if is_full {
            Err(EffectError::Full)
        } else {
            Ok(())
        }
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
                OpenHash::Flat(flat) => flat.next_deadline_ms().is_some(),
                OpenHash::Indexed(indexed) => indexed.has_deadlines(),
            },
        });
        found.unwrap_or(false)
    }

    // ---- items ----------------------------------------------------------------------------

    fn put(&self, item: Entry, deadline_ms: Option<u64>) -> Result<(), EffectError> {
        self.check_room(weight_bytes(&item))?;
        self.insert(item, deadline_ms)
    }

    /// As [`put`](Self::put), of an item that is in the place of one about as heavy.
    fn insert(&self, item: Entry, deadline_ms: Option<u64>) -> Result<(), EffectError> {
        let pinned = match self.scope {
            EvictionScope::AllKeys => false,
            EvictionScope::Volatile => deadline_ms.is_none(),
            EvictionScope::Nothing => true,
        };
        let deadline = deadline_ms.map_or(Deadline::Never, |ms| Deadline::At(deadline_ns(ms)));
        let options = InsertOptions { deadline, pinned };
        if self.cache.insert_with(item, (), options).is_admitted() {
            Ok(())
        } else {
            Err(EffectError::Full)
        }
    }

    fn expire(&self, key: &[u8], deadline_ms: Option<u64>) -> bool {
        let changed = self.cache.set_deadline(key, deadline_ms.map(deadline_ns));
        if changed && self.scope == EvictionScope::Volatile {
            if deadline_ms.is_some() {
                self.cache.unpin(key);
            } else {
                self.cache.pin(key);
            }
        }
        changed
    }
}

/// A hash that is about to be changed.
enum HashToChange {
    /// A copy of the key's, or a new one.
    Flat(FlatBuffer),
    /// The key's own.
    Indexed(Arc<SharedHash>),
}

/// A time in milliseconds as the library's clock has it. Times after the year 2554 never come.
fn deadline_ns(deadline_ms: u64) -> u64 {
    deadline_ms.saturating_mul(1_000_000)
}
