//! neocache: `get`, whose guard holds the shard's read lock, and `insert`; its `entry` takes the
//! write lock even for hits, so it is not the way to read through.

use crate::caches::{BenchCache, Hasher, Key, Value};
use neocache::NeoCache;

pub(super) struct Neocache<K: Key, V>(NeoCache<K, V, Hasher>);

impl<K: Key, V: Value> Neocache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(NeoCache::with_capacity_and_hasher(
            capacity,
            Hasher::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Neocache<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|entry| look(entry.value()))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
