//! scc's HashMap: `read_sync` and `upsert_sync`. No bound.

use crate::caches::{BenchCache, Hasher, Key, Value};

pub(super) struct SccHashMap<K: Key, V: Value>(scc::HashMap<K, V, Hasher>);

impl<K: Key, V: Value> SccHashMap<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(scc::HashMap::with_capacity_and_hasher(
            capacity,
            Hasher::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for SccHashMap<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.read_sync(key, |_, value| look(value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.upsert_sync(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
