//! The keys and their values: the library's cache with one compact item per key.
//!
//! An item is one allocation with the key, the value and what little belongs to them. Eviction and
//! expiry are the library's; this module says what an item weighs, when it expires and whether it may
//! be evicted at all. Every change of the keyspace is an [`Effect`], and [`Keyspace::apply`] is the one
//! place that makes it: an effect is final (relative times are absolute, results are computed), so a
//! log or a replica can repeat it.

mod hashes;

use crate::clock;
use crate::config::{EvictionScope, MemoryPolicy};
use crate::durability::Journal;
use crate::error::CommandError;
use crate::hash::{FieldDeadlines, FieldView, FlatHash, FlatLimits, HashRef};
use crate::locks::KeyLocks;
use crate::object::{self, Entry, Value};
use crate::stamp::Stamp;
use nuthatch::{
    BuildError, Cache, Clock, Deadline, EntryView, InsertOptions, Item, ItemTooLarge, ItemValue,
    Pinning, Pins, RemovalCause, Reservation,
};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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

    /// What clients of memcached keep with the string, if one of them has written it.
    pub fn stamp(&self) -> Option<Stamp> {
        let item = self.entry.key();
        match item.value() {
            ItemValue::Bytes(bytes) => Stamp::decode(item.tag(), bytes),
            ItemValue::Object(_) => None,
        }
    }

    /// Whether a part of the string was changed since it was set as a whole.
    pub fn is_changed_string(&self) -> bool {
        self.entry.key().tag() == object::CHANGED_STRING
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

/// A key and the string that it is to hold.
#[derive(Clone, Copy, Debug)]
pub struct NewString<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The string.
    pub bytes: &'a [u8],
    /// When it expires, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// One change of one key, of several, or of all.
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
    /// These keys hold these strings. If there is no room for all of them, none is put.
    PutAll {
        /// The strings. Of those of one key the last counts.
        strings: &'a [NewString<'a>],
    },
    /// The key holds a string, with what clients of memcached keep with it.
    PutStamped {
        /// The key.
        key: &'a [u8],
        /// The string, in parts that follow one another.
        parts: &'a [&'a [u8]],
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
    /// The key that changes; `None` if several do, or all.
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
            Self::PutAll { .. } | Self::Clear => None,
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
    /// Whether a hash is there that was not there before.
    pub is_created: bool,
    /// Whether a field of a hash that had a deadline is gone, or has none or another one now.
    takes_deadline: bool,
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
    journal: Arc<Journal>,
    /// Which keys may be evicted: the number of an [`EvictionScope`].
    scope: AtomicU8,
    /// Room that commands under way have been promised, in bytes.
    promised_bytes: AtomicU64,
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
        let journal = Arc::new(Journal::default());
        let evictions = Arc::clone(&journal);
        let on_removal = move |key: &[u8], cause| {
            if cause == RemovalCause::Evicted && evictions.notes_evictions() {
                evictions.note_evicted(key);
            }
            on_removal(key, cause);
        };
        let cache = Cache::<Entry, ()>::builder()
            .weight_capacity(capacity_bytes)
            .weigher(|item: &Entry, ()| u32::try_from(weight_bytes(item)).unwrap_or(u32::MAX))
            .policy(policy.policy.clone())
            .clock(Clock::from_fn(clock::now_ns))
            .listener(move |item: &Entry, (), cause| on_removal(item.key(), cause))
            .hasher(hasher.clone())
            .build()?;
        cache.remove_expired_on_read(true);
        Ok(Self {
            cache,
            hasher,
            locks: KeyLocks::new(threads),
            journal,
            scope: AtomicU8::new(policy.scope as u8),
            promised_bytes: AtomicU64::new(0),
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

    /// Where changes are recorded.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
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

    /// A number that tells values apart, for strings without a number of their own. Equal values have
    /// equal numbers. It costs a pass over the value.
    pub fn value_number(&self, value: &[u8]) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Passes the value of `key` to `look`: a hit or a miss.
    #[inline]
    pub fn read<R>(&self, key: &[u8], look: impl FnOnce(View<'_>) -> R) -> Option<R> {
        self.cache.with_entry(key, |entry| look(View::of(entry)))
    }

    /// As [`read`](Self::read), of many keys in their order; `None` for each that does not exist.
    pub fn read_many(&self, keys: &[&[u8]], mut look: impl FnMut(Option<View<'_>>)) {
        self.cache.with_many(keys, Entry::prefetch, |_, entry| {
            look(entry.map(View::of));
        });
    }

    /// As [`read`](Self::read), but neither policy nor statistics take notice.
    #[inline]
    pub fn peek<R>(&self, key: &[u8], look: impl FnOnce(View<'_>) -> R) -> Option<R> {
        self.cache.peek_with(key, |entry| look(View::of(entry)))
    }

    /// As [`read`](Self::read) if `is_noticed`, as [`peek`](Self::peek) if not.
    #[inline]
    pub fn look_up<R>(
        &self,
        key: &[u8],
        is_noticed: bool,
        look: impl FnOnce(View<'_>) -> R,
    ) -> Option<R> {
        if is_noticed {
            self.read(key, look)
        } else {
            self.peek(key, look)
        }
    }

    /// As [`look_up`](Self::look_up), of many keys in their order; `None` for each that does not exist.
    pub fn look_up_many(
        &self,
        keys: &[&[u8]],
        is_noticed: bool,
        mut look: impl FnMut(Option<View<'_>>),
    ) {
        if is_noticed {
            self.read_many(keys, look);
            return;
        }
        for key in keys {
            if self.peek(key, |view| look(Some(view))).is_none() {
                look(None);
            }
        }
    }

    /// Passes about `count` keys and their values to `look`, from where `cursor` says on, and returns
    /// the cursor of what comes next; see [`Cache::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut look: impl FnMut(View<'_>)) -> u64 {
        self.cache
            .scan(cursor, count, |entry| look(View::of(entry)))
    }

    /// Bytes that the library's tables take for the keys that are there.
    pub fn table_bytes(&self) -> u64 {
        self.cache.len() * ENTRY_BYTES
    }

    /// Whether `key` exists.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.cache.contains_key(key)
    }

    /// Makes a change, whoever asks for it, and records it in the [journal](Self::journal). The caller holds
    /// the stripes of the keys.
    #[inline]
    pub fn apply(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
        let change = self.make(effect)?;
        if self.journal.is_on() {
            self.journal.record(&effect, &change);
        }
        Ok(change)
    }

    #[inline]
    fn make(&self, effect: Effect<'_>) -> Result<Change, EffectError> {
        match effect {
            Effect::Put {
                key,
                parts,
                deadline_ms,
            } => {
                // What is put together from parts was there in part.
                let tag = match parts {
                    [_] => object::STRING,
                    _ => object::CHANGED_STRING,
                };
                let item = Item::from_bytes(key, tag, parts)?;
                self.put(key, item, deadline_ms)?;
                Ok(Change::any(true))
            }
            Effect::PutAll { strings } => {
                self.put_all(strings)?;
                Ok(Change::any(!strings.is_empty()))
            }
            Effect::PutStamped {
                key,
                parts,
                stamp,
                deadline_ms,
            } => {
                let (tag, suffix) = stamp.encode();
                let mut parts: SmallVec<[&[u8]; 4]> = parts.into();
                parts.push(&suffix);
                self.put(key, Item::from_bytes(key, tag, &parts)?, deadline_ms)?;
                Ok(Change::any(true))
            }
            Effect::Delete { key } => {
                let is_removed = self.cache.invalidate(key);
                if is_removed && self.field_deadlines.names_any() {
                    self.field_deadlines.forget(key);
                }
                Ok(Change::any(is_removed))
            }
            Effect::Expire { key, deadline_ms } => Ok(Change::any(self.expire(key, deadline_ms))),
            Effect::Clear => {
                self.cache.clear();
                self.field_deadlines.clear();
                Ok(Change::any(true))
            }
            effect => self.make_of_hash(effect),
        }
    }

    /// Which keys may be evicted at present.
    #[inline]
    pub fn scope(&self) -> EvictionScope {
        // Relaxed: whoever must see a change sees it by a shard's lock, see `set_policy`.
        EvictionScope::of_number(self.scope.load(Ordering::Relaxed))
    }

    /// Changes which keys are evicted, and in which order. The caller sees to it that changes come one
    /// at a time.
    ///
    /// The scope comes first, then all keys are pinned or unpinned as it says, shard by shard. A write
    /// at the same time takes its key's shard either before this does, and then what it has written
    /// is met here; or afterwards, and then it sees the new scope when it looks again, which it does
    /// after it has written.
    pub fn set_policy(&self, policy: &MemoryPolicy) {
        self.scope.store(policy.scope as u8, Ordering::Relaxed);
        let pins = match policy.scope {
            EvictionScope::AllKeys => Pins::None,
            EvictionScope::Volatile => Pins::WithoutDeadline,
            EvictionScope::Nothing => Pins::All,
        };
        self.cache.pin_all(pins);
        if self.cache.policy() != policy.policy {
            self.cache.set_policy(policy.policy.clone());
        }
    }

    /// Promises room for about so many bytes to a command that may take it, where nothing may be
    /// evicted. `None` if there is not as much, besides what is promised to others.
    pub fn promise_room(&self, bytes: u64) -> Option<Promise<'_>> {
        // Relaxed: additions to one word are in one order, which is all that counts here.
        let others = self.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        let promise = Promise {
            promised_bytes: &self.promised_bytes,
            bytes,
        };
        let all = self
            .cache
            .weight()
            .saturating_add(others)
            .saturating_add(bytes);
        (all <= self.cache.capacity()).then_some(promise)
    }

    /// Whether there is room for so many bytes more, where nothing may be evicted.
    fn check_room(&self, bytes: u64) -> Result<(), EffectError> {
        let is_full = self.scope() == EvictionScope::Nothing
            && self.cache.weight().saturating_add(bytes) > self.cache.capacity();
        if is_full {
            Err(EffectError::Full)
        } else {
            Ok(())
        }
    }

    fn put(&self, key: &[u8], item: Entry, deadline_ms: Option<u64>) -> Result<(), EffectError> {
        self.check_room(weight_bytes(&item))?;
        self.insert(key, item, deadline_ms)
    }

    /// Puts all strings or none. Where keys are kept from eviction, the room for all is set aside before
    /// the first is put; elsewhere each finds room, since what is in its way may be evicted.
    fn put_all(&self, strings: &[NewString<'_>]) -> Result<(), EffectError> {
        let items = strings
            .iter()
            .map(|string| Item::from_bytes(string.key, object::STRING, &[string.bytes]));
        let items: SmallVec<[Entry; 16]> = items.collect::<Result<_, _>>()?;
        let bytes = items.iter().map(weight_bytes).sum();
        let mut room = None;
        if bytes > self.cache.capacity() {
            return Err(EffectError::Full);
        }
        if self.scope() != EvictionScope::AllKeys {
            room = Some(self.cache.reserve(bytes).ok_or(EffectError::Full)?);
        }
        for (string, item) in strings.iter().zip(items) {
            self.insert_into(room.as_mut(), string.key, item, string.deadline_ms)?;
        }
        Ok(())
    }

    /// As [`put`](Self::put), of an item that is in the place of one about as heavy.
    fn insert(&self, key: &[u8], item: Entry, deadline_ms: Option<u64>) -> Result<(), EffectError> {
        self.insert_into(None, key, item, deadline_ms)
    }

    /// As [`insert`](Self::insert), with room that was set aside, if any was.
    #[inline]
    fn insert_into(
        &self,
        room: Option<&mut Reservation<'_, Entry, (), KeyHasher>>,
        key: &[u8],
        item: Entry,
        deadline_ms: Option<u64>,
    ) -> Result<(), EffectError> {
        let scope = self.scope();
        let pinning = match scope {
            // Nothing is pinned, or what is still is about to be unpinned.
            EvictionScope::AllKeys => Pinning::AsBefore,
            _ if scope.pins(deadline_ms) => Pinning::Pinned,
            _ => Pinning::Unpinned,
        };
        let options = InsertOptions {
            deadline: deadline_ms.map_or(Deadline::Never, |ms| Deadline::At(deadline_ns(ms))),
            pinning,
            keeps_old: true,
        };
        let insertion = match room {
            Some(room) => room.insert_with(item, (), options),
            None => self.cache.insert_with(item, (), options),
        };
        if !insertion.is_admitted() {
            return Err(EffectError::Full);
        }
        self.follow_scope(key, deadline_ms, scope);
        Ok(())
    }

    /// Looks again whether a key that was written under `scope` is pinned as it should be. The caller
    /// holds the key's stripe.
    #[inline]
    fn follow_scope(&self, key: &[u8], deadline_ms: Option<u64>, scope: EvictionScope) {
        let mut followed = scope;
        while self.scope() != followed {
            followed = self.scope();
            self.set_pinned(key, followed.pins(deadline_ms));
        }
    }

    fn set_pinned(&self, key: &[u8], pinned: bool) {
        if pinned {
            self.cache.pin(key);
        } else {
            self.cache.unpin(key);
        }
    }

    fn expire(&self, key: &[u8], deadline_ms: Option<u64>) -> bool {
        let changed = self.cache.set_deadline(key, deadline_ms.map(deadline_ns));
        if changed {
            let scope = self.scope();
            if scope == EvictionScope::Volatile {
                self.set_pinned(key, deadline_ms.is_none());
            }
            self.follow_scope(key, deadline_ms, scope);
        }
        changed
    }
}

/// Room that a command under way may count on; given back when this is dropped.
#[derive(Debug)]
pub struct Promise<'a> {
    promised_bytes: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.promised_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A time in milliseconds as the library's clock has it. Times after the year 2554 are the last one
/// that it has, which is not yet never: the key still is one that expires.
fn deadline_ns(deadline_ms: u64) -> u64 {
    deadline_ms.saturating_mul(1_000_000).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::{Effect, EffectError, Keyspace, NewString};
    use crate::config::{MemoryPolicy, SettingValue};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn strings_are_put_all_or_none_while_others_take_room() {
        for name in ["volatile-lru", "noeviction"] {
            let policy = MemoryPolicy::from_text(name).expect("a policy");
            let keyspace = Keyspace::new(2, 100_000, &policy, |_, _| ()).expect("a bound");
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| fill_and_drain(&keyspace, &is_over));
                let (mut put, mut refused) = (0, 0);
                while put < 40 || refused < 40 {
                    if put_many(&keyspace) {
                        put += 1;
                    } else {
                        refused += 1;
                    }
                }
                is_over.store(true, Ordering::Relaxed);
            });
            keyspace.cache().validate();
        }
    }

    /// Puts small strings until there is no room, removes them, and begins anew.
    fn fill_and_drain(keyspace: &Keyspace, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let mut filled = 0_u64;
            let put = |key: u64| {
                let effect = Effect::Put {
                    key: &key.to_le_bytes(),
                    parts: &[&[0; 100]],
                    deadline_ms: None,
                };
                keyspace.apply(effect).is_ok()
            };
            while put(filled) {
                filled += 1;
            }
            for key in 0..filled {
                let key = &key.to_le_bytes();
                let removed = keyspace.apply(Effect::Delete { key });
                assert!(removed.expect("a removal needs no room").is_any);
            }
        }
    }

    /// Puts strings that fill half of the keyspace, and removes them. Whether there was room.
    fn put_many(keyspace: &Keyspace) -> bool {
        let keys: Vec<String> = (0..50).map(|key| key.to_string()).collect();
        let strings: Vec<NewString<'_>> = keys
            .iter()
            .map(|key| NewString {
                key: key.as_bytes(),
                bytes: &[1; 900],
                deadline_ms: None,
            })
            .collect();
        let result = keyspace.apply(Effect::PutAll { strings: &strings });
        let found = keys.iter().filter(|key| keyspace.contains(key.as_bytes()));
        assert_eq!(found.count(), if result.is_ok() { 50 } else { 0 });
        for key in &keys {
            let key = key.as_bytes();
            keyspace
                .apply(Effect::Delete { key })
                .expect("a removal needs no room");
        }
        assert!(matches!(result, Ok(_) | Err(EffectError::Full)));
        result.is_ok()
    }
}
