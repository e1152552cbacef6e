//! DashMap: `get`, whose guard holds the shard's read lock, and `insert`. No bound.

use crate::caches::{BenchCache, Hasher, Key, Value};
use dashmap::DashMap;

pub(super) struct Dashmap<K: Key, V>(DashMap<K, V, Hasher>);

impl<K: Key, V: Value> Dashmap<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(
            capacity,
            Hasher::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Dashmap<K, V> {
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
