//! The face of the cache: every feature, over either engine.

use crate::DefaultHashBuilder;
use crate::builder::{BuildError, CacheBuilder};
use crate::engine::{Engine, LockFree, Locked};
use crate::entry::{EntryRef, EntryView};
use crate::expiration::Lifetime;
use crate::flight::Flights;
use crate::policy::Policy;
use crate::removal::Insertion;
use crate::reservation::Reservation;
use crate::shard::Guarded;
use crate::stats::StatsSnapshot;
use crate::store::Expect;
use crate::sweeper::Sweeper;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// A bounded concurrent cache. Cheap to clone: clones are handles of one cache.
///
/// Guarantees, on either engine:
/// - after a write returns, indeed at any instant, the total weight is at most the capacity; and
///   nothing is evicted while everything fits, for shards borrow from each other;
/// - operations on one key are linearizable;
/// - an expired entry is never returned;
/// - every removed entry is dropped exactly once, and a listener hears of it exactly once, with no
///   lock held;
/// - nothing of the user's runs under a lock but `Hash` and `Eq` of keys, an
///   [`Expiry`](crate::Expiry), a [`Clock`](crate::Clock) and a policy of their own.
///
/// A removed entry's key and value are dropped when no reader can look at them any more, four or more
/// by each write: mostly when two to three times as many further entries have left the same shard as
/// it lets gather (a sixteenth of it, at least 16 and at most 256), at latest when nine times as many
/// have, or at [`maintain`](Self::maintain).
///
/// ```
/// use nuthatch::Cache;
/// let cache: Cache<String, u64> = Cache::new(100);
/// cache.insert("nut".to_owned(), 7);
/// assert_eq!(cache.get("nut"), Some(7));
/// assert_eq!(cache.remove("nut"), Some(7));
/// assert_eq!(cache.get("nut"), None);
/// ```
pub struct Cache<K, V, S = DefaultHashBuilder> {
    pub(crate) inner: Arc<Inner<K, V, S>>,
    /// Ends the background sweeper with the last handle.
    sweeper: Option<Arc<Sweeper>>,
}

/// Aligned, so that the counts of handles beside it, which clones of a cache write, are on no line that
/// reads look at; and in this order, so that what reads look at comes first.
#[repr(C, align(64))]
pub(crate) struct Inner<K, V, S> {
    pub(crate) store: AnyStore<K, V, S>,
    pub(crate) refresh_after: Option<Duration>,
    pub(crate) flights: Flights<K, V>,
}

pub(crate) enum AnyStore<K, V, S> {
    LockFree(LockFree<K, V, S>),
    Locked(Locked<K, V, S>),
}

/// Calls a method of whichever engine it is.
macro_rules! on_engine {
    ($cache:expr, $store:ident => $call:expr) => {
        $crate::cache::on_store!($cache.inner, $store => $call)
    };
}
macro_rules! on_store {
    ($inner:expr, $store:ident => $call:expr) => {
        match &$inner.store {
            $crate::cache::AnyStore::LockFree($store) => $call,
            $crate::cache::AnyStore::Locked($store) => $call,
        }
    };
}
pub(crate) use {on_engine, on_store};

impl<K, V, S> Inner<K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    fn maintain(&self) {
        on_store!(self, store => store.maintain());
    }
}

/// When an inserted entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadline {
    /// As the cache's settings say.
    #[default]
    Configured,
    /// Never, whatever they say.
    Never,
    /// At this time of the cache's [`Clock`](crate::Clock), in nanoseconds, whatever they say; reads
    /// do not move it, under time to idle neither. A time that is over makes an entry that is expired
    /// at once; what it replaces is gone. `u64::MAX`, which no clock reaches, is never.
    At(u64),
}

impl Deadline {
    pub(crate) fn lifetime(self) -> Lifetime {
        match self {
            Self::Configured => Lifetime::Configured,
            Self::Never => Lifetime::Until(None),
            Self::At(ns) => Lifetime::until(Some(ns)),
        }
    }
}

/// How [`Cache::insert_with`] inserts. As [`Cache::insert`], unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertOptions {
    /// When the entry expires.
    pub deadline: Deadline,
    /// Whether it may be evicted.
    pub pinning: Pinning,
    /// Whether, if there is no room for it, the entry stays that it would have replaced. Else that is
    /// removed, for what it holds is not what was written last.
    pub keeps_old: bool,
}

/// Whether an inserted entry may be evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// It may, unless the entry is [pinned](Cache::pin) that it replaces.
    #[default]
    AsBefore,
    /// It may not, from the first moment on.
    Pinned,
    /// It may, whatever it replaces.
    Unpinned,
}

/// Which entries [`Cache::pin_all`] pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pins {
    /// None: all are unpinned.
    None,
    /// Those without a deadline; the others are unpinned.
    WithoutDeadline,
    /// All.
    All,
}

/// What [`Cache::compute`] shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<V> {
    /// Leave everything as it is.
    Keep,
    /// Insert or replace.
    Put(V),
    /// Remove.
    Remove,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache of up to `capacity` entries, all else by default.
    ///
    /// # Panics
    /// If `capacity` is 0; [`builder`](Self::builder) reports that as an error.
    pub fn new(capacity: u64) -> Self {
        match Self::builder().capacity(capacity).build() {
            Ok(cache) => cache,
            Err(error) => panic!("{error}"),
        }
    }

    /// The builder, where all options are.
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn over(
        store: AnyStore<K, V, S>,
        refresh_after: Option<Duration>,
        sweep_period: Option<Duration>,
    ) -> Result<Self, BuildError> {
        let mut cache = Self {
            inner: Arc::new(Inner {
                store,
                refresh_after,
                flights: Flights::new(),
            }),
            sweeper: None,
        };
        if let Some(period) = sweep_period {
            let swept = Arc::downgrade(&cache.inner);
            let sweeper = Sweeper::start(period, move || match swept.upgrade() {
                Some(inner) => {
                    inner.maintain();
                    true
                }
                None => false,
            });
            let sweeper = sweeper.map_err(|error| BuildError::NoThread {
                reason: error.to_string(),
            })?;
            cache.sweeper = Some(Arc::new(sweeper));
        }
        Ok(cache)
    }

    // ---- reads ----------------------------------------------------------------------------

    /// The value of `key`, cloned. Counts as a hit or a miss.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        on_engine!(self, store => store.read(key, true, |entry| entry.value().clone()))
    }

    /// The entry of `key`, without cloning it. Counts as a hit or a miss.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<u64, String> = Cache::new(100);
    /// cache.insert(1, "nut".to_owned());
    /// let entry = cache.get_ref(&1).unwrap();
    /// cache.remove(&1); // blocks nobody, and the guard still reads
    /// assert_eq!(entry.value(), "nut");
    /// ```
    #[inline]
    pub fn get_ref<Q>(&self, key: &Q) -> Option<EntryRef<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.guard(key, true)).map(EntryRef)
    }

    /// Passes the value of `key` to `look`, without cloning it. Counts as a hit or a miss.
    #[inline]
    pub fn with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.read(key, true, |entry| look(entry.value())))
    }

    /// Passes the entry of `key` to `look`: key, value and, if it asks for it, deadline. Costs what
    /// [`with`](Self::with) costs. Counts as a hit or a miss.
    ///
    /// `look` runs with no lock held. It may use the cache, and the entry stays readable even if it
    /// is removed meanwhile; but until `look` returns its memory is not reused, so it should be quick.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<String, u64> = Cache::new(100);
    /// cache.insert("nut".to_owned(), 7);
    /// let found = cache.with_entry("nut", |entry| {
    ///     (entry.key().len(), *entry.value(), entry.deadline_ns())
    /// });
    /// assert_eq!(found, Some((3, 7, None)));
    /// ```
    #[inline]
    pub fn with_entry<Q, R>(
        &self,
        key: &Q,
        look: impl FnOnce(EntryView<'_, K, V>) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.read(key, true, look))
    }

    /// As [`with_entry`](Self::with_entry), unseen by policy, expiry and statistics.
    #[inline]
    pub fn peek_with<Q, R>(&self, key: &Q, look: impl FnOnce(EntryView<'_, K, V>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.read(key, false, look))
    }

    /// The value of `key`, cloned, unseen by policy, expiry and statistics.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        on_engine!(self, store => store.read(key, false, |entry| entry.value().clone()))
    }

    /// Whether `key` is live, unseen by policy, expiry and statistics.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.read(key, false, |_| ())).is_some()
    }

    /// The values of many keys, in their order. Their memory is asked for all at once, so this is
    /// faster than one `get` after the other where the cache is larger than the processor's.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
        V: Clone,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        let mut values = Vec::with_capacity(keys.len());
        on_engine!(self, store => store.read_many(&keys, |_| (), |_, entry| {
            values.push(entry.map(|entry| entry.value().clone()));
        }));
        values
    }

    /// Passes the entries of many keys to `look`, in their order, each with its index in `keys`; `None`
    /// is a miss. Each counts as a hit or a miss, and is as of the moment of its own look.
    ///
    /// The memory that the look-ups need is asked for some dozens of keys at a time and level by level:
    /// the table, the slots, and then what the keys own elsewhere, for which `warm` is called on each key
    /// that may be one of those asked for: [`Item::prefetch`](crate::Item::prefetch), or nothing. In a
    /// cache larger than the processor's this waits for memory about once where single look-ups wait
    /// for each key; in a small one it is work in vain.
    ///
    /// `warm` and `look` run with no lock held.
    ///
    /// ```
    /// use nuthatch::{Cache, Item, ItemValue};
    /// let cache: Cache<Item<()>, ()> = Cache::new(100);
    /// cache.insert(Item::from_bytes(b"a", 0, &[b"one"])?, ());
    /// cache.insert(Item::from_bytes(b"c", 0, &[b"three"])?, ());
    /// let mut values = Vec::new();
    /// cache.with_many::<[u8]>(&[b"a", b"b", b"c"], Item::prefetch, |index, entry| {
    ///     if let Some(ItemValue::Bytes(value)) = entry.map(|entry| entry.key().value()) {
    ///         values.push((index, value.to_vec()));
    ///     }
    /// });
    /// assert_eq!(values, [(0, b"one".to_vec()), (2, b"three".to_vec())]);
    /// # Ok::<(), nuthatch::ItemTooLarge>(())
    /// ```
    pub fn with_many<Q>(
        &self,
        keys: &[&Q],
        warm: impl Fn(&K),
        look: impl FnMut(usize, Option<EntryView<'_, K, V>>),
    ) where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => {
            store.read_many(keys, |hashes| store.warm(hashes, &warm), look);
        });
    }

    /// Has the memory loaded that look-ups of `keys` are about to need: a hint that changes nothing
    /// and counts nothing. Asks as [`with_many`](Self::with_many) does, for whoever looks the keys up
    /// one by one afterwards; `warm` is called on the first candidate for each key.
    ///
    /// Costs about half of what look-ups cost that find their memory loaded.
    pub fn prefetch<Q>(&self, keys: &[&Q], warm: impl Fn(&K))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.prefetch(keys, warm));
    }

    /// The live entries, in no order, unseen by policy and statistics. Weakly consistent: an entry
    /// that is there from before the first step to after the last is seen exactly once; one that
    /// comes or goes meanwhile may be seen. Takes 8 bytes for each entry of one shard at a time.
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        Iter {
            cache: self,
            next_shard: 0,
            hashes: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Passes about `count` live entries to `visit`, from where `cursor` says on, and returns the
    /// cursor of what comes next. A scan begins with 0 and is through when 0 is returned. Unseen by
    /// policy, expiry and statistics.
    ///
    /// An entry that is there from the scan's first call to its last is visited at least once, also
    /// if its value is replaced meanwhile and however many other keys come and go. It may be visited
    /// more than once; one that comes or goes meanwhile may be visited or not.
    ///
    /// The cursor is all that a scan is: nothing is kept in between, many can go on at a time, and one
    /// can be left off. It means something only to this cache, while that lives. A number that
    /// no call has returned is no danger: it is some place or the end.
    ///
    /// A call costs O(`count`), and holds a shard's lock, at which only writers of that shard wait, for
    /// some microseconds at a time. Where less than one place in a hundred is taken in the table, it
    /// may visit less than `count` entries, and none if it has walked through a mebibyte of table in
    /// which there are none. `visit` runs with no lock held and may use the cache.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<u32, u32> = Cache::new(1_000);
    /// cache.insert_many((0..1_000).map(|n| (n, n)));
    /// let (mut cursor, mut keys) = (0, Vec::new());
    /// loop {
    ///     cursor = cache.scan(cursor, 10, |entry| keys.push(*entry.key()));
    ///     if cursor == 0 {
    ///         break;
    ///     }
    /// }
    /// keys.sort_unstable();
    /// assert!(keys.into_iter().eq(0..1_000));
    /// ```
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(EntryView<'_, K, V>)) -> u64 {
        on_engine!(self, store => store.scan(cursor, count, visit))
    }

    /// Some live entry: each with nearly the same probability if `random` is a random number, unseen by
    /// policy, expiry and statistics. `None` if there is none. O(1) expected if at least a few
    /// in a hundred of the places that the table has are taken by live entries; with fewer it looks
    /// for the next one to a random place, which favours those that stand alone.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<u32, u32> = Cache::new(100);
    /// assert!(cache.sample(7).is_none());
    /// cache.insert_many((0..10).map(|n| (n, n)));
    /// assert!(cache.sample(7).is_some_and(|entry| *entry.key() < 10));
    /// ```
    pub fn sample(&self, random: u64) -> Option<EntryRef<'_, K, V>> {
        on_engine!(self, store => store.sample(random)).map(EntryRef)
    }

    // ---- writes ---------------------------------------------------------------------------

    /// Inserts or replaces, and evicts what there is no room for.
    pub fn insert(&self, key: K, value: V) -> Insertion {
        on_engine!(self, store => store.put(key, value, Lifetime::Configured))
    }

    /// Inserts or replaces, with a time to live of its own that goes before the cache's (time to
    /// idle still applies). Zero: it is expired at once.
    pub fn insert_with_ttl(&self, key: K, value: V, time_to_live: Duration) -> Insertion {
        on_engine!(self, store => store.put(key, value, Lifetime::Given(time_to_live)))
    }

    /// Inserts or replaces, with a deadline in nanoseconds of the cache's [`Clock`](crate::Clock):
    /// [`insert_with`](Self::insert_with) of [`Deadline::At`] or, for `None`, of [`Deadline::Never`].
    ///
    /// ```
    /// use nuthatch::{Cache, Clock};
    /// use std::time::{Duration, SystemTime, UNIX_EPOCH};
    /// let unix_ns = || {
    ///     let since = SystemTime::now().duration_since(UNIX_EPOCH);
    ///     since.map_or(0, |since| since.as_nanos() as u64)
    /// };
    /// let builder = Cache::<&str, u64>::builder().capacity(100);
    /// let cache = builder.clock(Clock::from_fn(unix_ns)).build()?;
    /// let deadline_ns = unix_ns() + 60_000_000_000;
    /// cache.insert_with_deadline("nut", 7, Some(deadline_ns));
    /// let found = cache.with_entry("nut", |entry| entry.deadline_ns());
    /// assert_eq!(found, Some(Some(deadline_ns)));
    /// # Ok::<(), nuthatch::BuildError>(())
    /// ```
    pub fn insert_with_deadline(&self, key: K, value: V, deadline_ns: Option<u64>) -> Insertion {
        on_engine!(self, store => store.put(key, value, Lifetime::until(deadline_ns)))
    }

    /// Inserts or replaces as `options` say, in one step: the entry never has another deadline, and
    /// if it is to be pinned there is no moment at which it could be evicted.
    ///
    /// ```
    /// use nuthatch::{Cache, Deadline, InsertOptions, Pinning};
    /// let cache: Cache<&str, u64> = Cache::new(100);
    /// let options = InsertOptions {
    ///     deadline: Deadline::Never,
    ///     pinning: Pinning::Pinned,
    ///     keeps_old: false,
    /// };
    /// cache.insert_with("nut", 7, options);
    /// assert_eq!(cache.get("nut"), Some(7));
    /// ```
    pub fn insert_with(&self, key: K, value: V, options: InsertOptions) -> Insertion {
        let lifetime = options.deadline.lifetime();
        if options.pinning == Pinning::AsBefore && !options.keeps_old {
            return on_engine!(self, store => store.put(key, value, lifetime));
        }
        let InsertOptions {
            pinning, keeps_old, ..
        } = options;
        on_engine!(self, store => store.put_with(key, value, lifetime, pinning, keeps_old))
    }

    /// Sets `weight` aside for entries that are inserted with what is returned, so that all of them find
    /// room; evicts for it what has to go. `None` if there is not as much to be had: nothing may be
    /// evicted, or others hold it.
    ///
    /// Until it is dropped, [`weight`](Self::weight) counts it, and others have so much less room.
    ///
    /// ```
    /// use nuthatch::{Cache, InsertOptions, Insertion};
    /// let cache: Cache<&str, u64> = Cache::new(3);
    /// cache.insert("nut", 7);
    /// cache.pin("nut");
    /// assert!(cache.reserve(3).is_none(), "the nut stays");
    /// let mut reserved = cache.reserve(2).expect("room for two");
    /// for key in ["leaf", "twig"] {
    ///     let inserted = reserved.insert_with(key, 1, InsertOptions::default());
    ///     assert_eq!(inserted, Insertion::Created);
    /// }
    /// ```
    pub fn reserve(&self, weight: u64) -> Option<Reservation<'_, K, V, S>> {
        let is_reserved = on_engine!(self, store => store.reserve(weight));
        is_reserved.then(|| Reservation::new(self, weight))
    }

    /// Gives the live entry of `key` the deadline `deadline_ns`, in nanoseconds of the cache's
    /// [`Clock`](crate::Clock), or none, in the place of the one it has and whatever the cache's
    /// settings say. Reads do not move it, under time to idle neither; the next write of the key
    /// settles anew. A deadline that is over removes the entry at once, with
    /// [`RemovalCause::Expired`](crate::RemovalCause::Expired). Returns whether there was such an entry.
    ///
    /// Neither the value nor its place with the policy changes. Costs one visit to the key's shard,
    /// under its lock; readers are not held up.
    ///
    /// ```
    /// use nuthatch::{Cache, Clock};
    /// use std::time::Duration;
    /// let (clock, hands) = Clock::manual();
    /// let cache = Cache::<u32, &str>::builder().capacity(10).clock(clock).build()?;
    /// cache.insert(1, "nut");
    /// assert!(cache.set_deadline(&1, Some(2_000_000_000)));
    /// hands.set(Duration::from_secs(2));
    /// assert_eq!(cache.get(&1), None);
    /// assert!(!cache.set_deadline(&1, None), "it is too late for that");
    /// # Ok::<(), nuthatch::BuildError>(())
    /// ```
    pub fn set_deadline<Q>(&self, key: &Q, deadline_ns: Option<u64>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let deadline_ns = deadline_ns.filter(|&ns| ns != u64::MAX);
        on_engine!(self, store => store.set_deadline(key, deadline_ns))
    }

    /// Inserts or replaces many entries, one after the other.
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }

    /// Inserts unless the key is live; then gives the entry back.
    ///
    /// # Errors
    /// The entry that was not inserted.
    pub fn insert_if_absent(&self, key: K, value: V) -> Result<Insertion, (K, V)> {
        on_engine!(self, store => store.upsert(key, value, Lifetime::Configured, Expect::Absent))
    }

    /// Removes `key` and returns its value, cloned.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        on_engine!(self, store => store.remove(key, |entry| entry.value.clone()))
    }

    /// Removes `key`. Returns whether it was live.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.remove_entry(key, None))
    }

    /// Removes `key` if `condition` accepts its entry, and returns its value, cloned. Atomic: the
    /// entry removed is the one accepted; `condition` is asked again if it changed meanwhile.
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(&K, &V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        on_engine!(self, store => store.remove_if(
            key,
            |entry| condition(&entry.key, &entry.value),
            |entry| entry.value.clone(),
        ))
    }

    /// Reads, decides and writes as one atomic step. `decide` gets the live value, if any; it runs
    /// without a lock and is asked again if the entry changed before its decision could be carried
    /// out, so it must not count on being called once. Returns the value that is there afterwards.
    ///
    /// ```
    /// use nuthatch::{Cache, Compute};
    /// let cache: Cache<&str, u64> = Cache::new(100);
    /// for _ in 0..3 {
    ///     cache.compute("nuts", |count| Compute::Put(count.copied().unwrap_or(0) + 1));
    /// }
    /// assert_eq!(cache.get("nuts"), Some(3));
    /// ```
    pub fn compute(&self, key: K, mut decide: impl FnMut(Option<&V>) -> Compute<V>) -> Option<V>
    where
        V: Clone,
    {
        let mut key = key;
        loop {
            let found = on_engine!(self, store => store.guard(&key, false));
            let decision = decide(found.as_ref().map(|guard| &guard.entry().value));
            let expect = found
                .as_ref()
                .map_or(Expect::Absent, |guard| Expect::Entry(guard.id()));
            match decision {
                Compute::Keep => return found.map(|guard| guard.entry().value.clone()),
                Compute::Put(value) => {
                    let result = value.clone();
                    let put = on_engine!(self, store => store.upsert(key, value, Lifetime::Configured, expect));
                    match put {
                        Ok(insertion) => return insertion.is_admitted().then_some(result),
                        Err((back, _)) => key = back,
                    }
                }
                Compute::Remove => {
                    let guard = found?;
                    if on_engine!(self, store => store.remove_entry(&key, Some(guard.id()))) {
                        return None;
                    }
                }
            }
        }
    }

    /// Removes every entry that `keep` turns down. `keep` runs without a lock.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for entry in self.iter() {
            if !keep(entry.key(), entry.value()) {
                on_engine!(self, store => store.remove_entry(entry.key(), Some(entry.0.id())));
            }
        }
    }

    /// Makes all entries invisible at once. How long that takes depends on the number of shards and
    /// the size of their tables, not on keys and values; those leave with later writes or with
    /// [`maintain`](Self::maintain).
    pub fn invalidate_all(&self) {
        on_engine!(self, store => store.doom_all());
    }

    /// Removes all entries and drops them before it returns, but for those that readers look at.
    pub fn clear(&self) {
        self.invalidate_all();
        self.maintain();
    }

    /// Keeps `key` from eviction until it is unpinned, removed or expires. Its weight still counts.
    /// Returns whether it is live.
    pub fn pin<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.set_pinned(key, true))
    }

    /// Lets `key` be evicted again. Returns whether it is live.
    pub fn unpin<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => store.set_pinned(key, false))
    }

    /// Pins and unpins as if [`pin`](Self::pin) or [`unpin`](Self::unpin) was called for each entry that
    /// is there: shard by shard, each locked for its share of that. An entry that is inserted
    /// meanwhile may be met or not.
    ///
    /// ```
    /// use nuthatch::{Cache, Pins};
    /// let cache: Cache<u64, u64> = Cache::new(10);
    /// cache.insert_many((0..10).map(|n| (n, n)));
    /// cache.pin_all(Pins::All);
    /// assert!(!cache.insert(10, 10).is_admitted());
    /// cache.pin_all(Pins::None);
    /// assert!(cache.insert(10, 10).is_admitted());
    /// ```
    pub fn pin_all(&self, pins: Pins) {
        on_engine!(self, store => store.pin_all(pins));
    }

    // ---- the whole ------------------------------------------------------------------------

    /// Changes the bound; what is then too much is evicted before this returns. Pinned entries stay,
    /// even if they alone weigh more.
    ///
    /// # Errors
    /// [`BuildError::ZeroCapacity`].
    pub fn resize(&self, capacity: u64) -> Result<(), BuildError> {
        if capacity == 0 {
            return Err(BuildError::ZeroCapacity);
        }
        on_engine!(self, store => store.resize(capacity));
        Ok(())
    }

    /// Makes room in the tables for so many entries in all. They grow by themselves, a quarter at a time, and each
    /// time every key is hashed anew: whoever is about to insert many spares that. Nothing is evicted, and
    /// nothing of the capacity is taken; a place in the tables takes some five bytes. Tables do not shrink.
    ///
    /// ```
    /// let cache: nuthatch::Cache<u64, u64> = nuthatch::Cache::new(1_000_000);
    /// cache.expect_entries(100_000);
    /// cache.insert_many((0..100_000).map(|key| (key, key)));
    /// assert_eq!(cache.len(), 100_000);
    /// ```
    pub fn expect_entries(&self, entries: u64) {
        on_engine!(self, store => store.expect_entries(entries));
    }

    /// Clears away what is expired or invalidated, and drops removed entries that nobody looks at.
    /// Writes do this bit by bit; call it to have it done now.
    pub fn maintain(&self) {
        self.inner.maintain();
    }

    /// Removes the entries whose time is over, which writes else do a few at a time. What
    /// [`maintain`](Self::maintain) does but for memory that readers may still look at, for which that
    /// waits: cheap enough to be called several times a second while the cache is in use.
    pub fn clear_expired(&self) {
        on_engine!(self, store => store.clear_expired());
    }

    /// Says whether a read that finds an entry whose time is over removes it. At first none does: reads
    /// wait for nobody, and writes clear away what is over. With `on`, the first read of an expired entry
    /// takes its shard's lock and calls the listener; so do scans. Other reads cost what they did, misses
    /// included.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// use std::time::Duration;
    /// let cache: Cache<u64, u64> = Cache::new(100);
    /// cache.insert_with_ttl(1, 1, Duration::ZERO);
    /// assert_eq!((cache.get(&1), cache.len()), (None, 1));
    /// cache.remove_expired_on_read(true);
    /// assert_eq!((cache.get(&1), cache.len()), (None, 0));
    /// ```
    pub fn remove_expired_on_read(&self, on: bool) {
        on_engine!(self, store => store.set_reads_expire(on));
    }

    /// Entries, including expired ones that were not cleared away yet.
    pub fn len(&self) -> u64 {
        on_engine!(self, store => store.entries())
    }

    /// Those of them that have a deadline, whatever gave it to them; counted as they come and go, so
    /// this costs the same however many there are. Where an [`Expiry`](crate::Expiry) takes
    /// deadlines away on reads, the entry is counted still.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// use std::time::Duration;
    /// let cache: Cache<&str, u64> = Cache::new(100);
    /// cache.insert("nut", 7);
    /// cache.insert_with_ttl("leaf", 1, Duration::from_secs(60));
    /// assert_eq!((cache.len(), cache.len_expiring()), (2, 1));
    /// ```
    pub fn len_expiring(&self) -> u64 {
        on_engine!(self, store => store.timed_entries())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries; their number, unless a weigher was given.
    pub fn weight(&self) -> u64 {
        on_engine!(self, store => store.total_weight())
    }

    /// The bound on the weight.
    pub fn capacity(&self) -> u64 {
        on_engine!(self, store => store.bound_capacity())
    }

    /// The number of independently locked parts.
    pub fn shards(&self) -> usize {
        on_engine!(self, store => store.shards())
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        on_engine!(self, store => store.policy())
    }

    /// Changes the policy. Nothing is evicted, and what was pinned stays pinned. The new policy takes
    /// over the entries in the old one's order, those to be evicted first first; what else the old
    /// one knew is lost: how often entries were used, and which keys it remembered of those that left.
    ///
    /// Costs O(n): shard after shard is locked for its share of that, and has both policies' memory
    /// meanwhile. Reads of the lock-free engine are not held
    /// up; those meanwhile may count for neither policy. Hits cost what they always do under the
    /// policy in force. Changes take turns. If a policy of one's own panics, some shards have the new
    /// policy, the others still the one before, and [`policy`](Self::policy) names that.
    ///
    /// ```
    /// use nuthatch::{Cache, Policy};
    /// let cache: Cache<u64, u64> = Cache::new(100);
    /// cache.insert_many((0..50).map(|n| (n, n)));
    /// cache.set_policy(Policy::Lru);
    /// assert_eq!((cache.policy(), cache.len()), (Policy::Lru, 50));
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        on_engine!(self, store => store.set_policy(policy));
    }

    /// The engine that the cache runs on.
    pub fn engine(&self) -> Engine {
        match self.inner.store {
            AnyStore::LockFree(_) => Engine::LockFree,
            AnyStore::Locked(_) => Engine::Locked,
        }
    }

    /// What was counted so far; all zero if statistics are off.
    pub fn stats(&self) -> StatsSnapshot {
        on_engine!(self, store => store.snapshot())
    }

    /// Recounts everything from scratch, with all shards locked. For tests.
    ///
    /// # Panics
    /// If an invariant does not hold. While others write, that may be so of the weight alone: what an
    /// insertion has been granted counts before its entry is there.
    pub fn validate(&self) {
        self.inner.flights.validate();
        on_engine!(self, store => store.validate());
        self.inner.flights.validate();
    }
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            sweeper: self.sweeper.clone(),
        }
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store: &dyn fmt::Debug = on_engine!(self, store => store);
        f.debug_struct("Cache")
            .field("store", store)
            .finish_non_exhaustive()
    }
}

impl<'a, K, V, S> IntoIterator for &'a Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = EntryRef<'a, K, V>;
    type IntoIter = Iter<'a, K, V, S>;

    fn into_iter(self) -> Iter<'a, K, V, S> {
        self.iter()
    }
}

/// The iterator of [`Cache::iter`].
#[derive(Debug)]
pub struct Iter<'a, K, V, S = DefaultHashBuilder> {
    cache: &'a Cache<K, V, S>,
    next_shard: usize,
    /// What is still to be visited of the shard before: hashes rather than ids, for an entry whose
    /// value is replaced keeps its hash.
    hashes: Vec<u64>,
    found: Vec<Guarded<'a, K, V>>,
}

impl<'a, K, V, S> Iterator for Iter<'a, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = EntryRef<'a, K, V>;

    fn next(&mut self) -> Option<EntryRef<'a, K, V>> {
        loop {
            if let Some(guard) = self.found.pop() {
                return Some(EntryRef(guard));
            }
            let cache = self.cache;
            if let Some(hash) = self.hashes.pop() {
                on_engine!(cache, store => {
                    store.guard_hash(self.next_shard - 1, hash, &mut self.found);
                });
            } else if self.next_shard < cache.shards() {
                self.hashes = on_engine!(cache, store => store.hashes(self.next_shard));
                self.next_shard += 1;
            } else {
                return None;
            }
        }
    }
}
