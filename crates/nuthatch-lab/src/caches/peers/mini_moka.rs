//! mini-moka: `get` and `insert`; it has no call to read through.

use crate::caches::{BenchCache, Hasher, Key, Value};
use mini_moka::sync::{Cache, ConcurrentCacheExt};

pub(super) struct MiniMoka<K, V>(Cache<K, V, Hasher>);

impl<K: Key, V: Value> MiniMoka<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(
            Cache::builder()
                .max_capacity(capacity as u64)
                .build_with_hasher(Hasher::default()),
        )
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for MiniMoka<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|value| look(&value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.entry_count() as usize)
    }

    fn settle(&self) {
        self.0.sync();
    }
}
