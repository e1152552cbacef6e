//! What a reader sees of an entry: a guard that keeps it readable, or a view for as long as a
//! closure runs.

use crate::policy::EntryId;
use crate::shard::{Entry, Guarded, Shard};
use std::fmt;
use std::ops::Deref;

/// A live entry that can be looked at without cloning it. It stays readable, and its memory in
/// place, while the guard lives, even if it is removed or replaced meanwhile; it blocks nobody. To
/// be held for moments: the entry's memory is not reused meanwhile.
pub struct EntryRef<'a, K, V>(pub(crate) Guarded<'a, K, V>);

impl<K, V> EntryRef<'_, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.0.entry().key
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &V {
        &self.0.entry().value
    }

    /// When the entry expires, as of now: see [`EntryView::deadline_ns`].
    pub fn deadline_ns(&self) -> Option<u64> {
        self.0.deadline_ns()
    }
}

impl<K, V> Deref for EntryRef<'_, K, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        self.value()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for EntryRef<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntryRef")
            .field(self.key())
            .field(self.value())
            .finish()
    }
}

/// A live entry that a closure is shown in place: see
/// [`Cache::with_entry`](crate::Cache::with_entry). It is a few pointers, and what is not asked for
/// is not read.
pub struct EntryView<'a, K, V> {
    entry: &'a Entry<K, V>,
    shard: &'a Shard<K, V>,
    id: EntryId,
}

impl<'a, K, V> EntryView<'a, K, V> {
    /// The caller protects the entry for `'a`.
    #[inline]
    pub(crate) fn new(entry: &'a Entry<K, V>, shard: &'a Shard<K, V>, id: EntryId) -> Self {
        Self { entry, shard, id }
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a K {
        &self.entry.key
    }

    /// The value.
    #[inline]
    pub fn value(self) -> &'a V {
        &self.entry.value
    }

    /// When the entry expires, in nanoseconds of the cache's [`Clock`](crate::Clock); `None`: never.
    /// The deadline is that of this moment: a read under time to idle moves it, and so does
    /// [`Cache::set_deadline`](crate::Cache::set_deadline).
    #[inline]
    pub fn deadline_ns(self) -> Option<u64> {
        self.shard.deadline_ns(self.id)
    }
}

impl<K, V> Clone for EntryView<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for EntryView<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for EntryView<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryView")
            .field("key", self.key())
            .field("value", self.value())
            .field("deadline_ns", &self.deadline_ns())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Cache, Clock, Engine};
    use std::time::Duration;

    #[test]
    fn a_view_shows_key_value_and_deadline_and_counts_as_its_method_says() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let (clock, hands) = Clock::manual();
            let builder = Cache::<String, u64>::builder().capacity(10).clock(clock);
            let cache = builder.engine(engine).build().unwrap();
            hands.set(Duration::from_secs(1));
            cache.insert("one".to_owned(), 1);
            let seen = |key| {
                cache.with_entry(key, |entry| {
                    (entry.key().clone(), *entry.value(), entry.deadline_ns())
                })
            };
            assert_eq!(seen("one"), Some(("one".to_owned(), 1, None)));
            cache.insert_with_ttl("two".to_owned(), 2, Duration::from_secs(2));
            assert_eq!(
                seen("two"),
                Some(("two".to_owned(), 2, Some(3_000_000_000)))
            );
            assert_eq!(
                cache.get_ref("two").unwrap().deadline_ns(),
                Some(3_000_000_000)
            );
            assert_eq!(seen("three"), None);
            let counted = cache.stats();
            assert_eq!((counted.hits, counted.misses), (3, 1));
            let peeked = |key| cache.peek_with(key, |entry| (*entry.value(), entry.deadline_ns()));
            assert_eq!(peeked("two"), Some((2, Some(3_000_000_000))));
            hands.set(Duration::from_secs(3));
            assert_eq!((peeked("one"), peeked("two")), (Some((1, None)), None));
            assert_eq!(cache.stats().hits, counted.hits);
            assert_eq!(cache.stats().misses, counted.misses);
            assert_eq!(seen("two"), None, "its time is over");
        }
    }

    #[test]
    fn the_closure_may_remove_what_it_looks_at() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let builder = Cache::<u64, String>::builder().capacity(10);
            let cache = builder.engine(engine).build().unwrap();
            cache.insert(1, "one".to_owned());
            let found = cache.with_entry(&1, |entry| {
                cache.clear();
                for key in 2..100 {
                    cache.insert(key, key.to_string());
                }
                entry.value().clone()
            });
            assert_eq!(found.as_deref(), Some("one"));
        }
    }

    #[test]
    fn many_keys_are_shown_in_their_order_and_counted_one_by_one() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let (clock, hands) = Clock::manual();
            let builder = Cache::<String, u64>::builder().capacity(1_000).clock(clock);
            let cache = builder.engine(engine).build().unwrap();
            for key in 0..300 {
                cache.insert_with_deadline(key.to_string(), key, (key % 3 == 0).then_some(1));
            }
            hands.set(Duration::from_secs(1));
            for len in [0, 1, 31, 32, 33, 400] {
                let keys: Vec<String> = (0..len).map(|key: u64| key.to_string()).collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let (before, mut seen) = (cache.stats(), Vec::new());
                cache.with_many(
                    &keys,
                    |key| assert!(key.parse::<u64>().unwrap() < 300),
                    |index, entry| seen.push((index as u64, entry.map(|entry| *entry.value()))),
                );
                let live = |key| (key < 300 && key % 3 != 0).then_some(key);
                assert!(
                    seen.iter()
                        .copied()
                        .eq((0..len).map(|key| (key, live(key))))
                );
                assert_eq!(
                    cache.get_many(keys.iter().copied()),
                    (0..len).map(live).collect::<Vec<_>>()
                );
                let since = cache.stats().since(&before);
                let hits = (0..len).filter_map(live).count() as u64;
                assert_eq!((since.hits, since.misses), (2 * hits, 2 * (len - hits)));
            }
        }
    }
}
