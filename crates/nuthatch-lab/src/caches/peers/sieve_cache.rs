//! sieve-cache in its default 16 shards: `get` and `insert`.

use crate::caches::{BenchCache, Hasher, Key, Value};
use sieve_cache::ShardedSieveCache;

pub(super) struct SieveCache<K: Key, V: Value>(ShardedSieveCache<K, V, Hasher>);

impl<K: Key, V: Value> SieveCache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let cache = ShardedSieveCache::new_with_hasher(capacity, Hasher::default());
        Self(cache.expect("the capacity is above zero"))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for SieveCache<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|value| look(&value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
