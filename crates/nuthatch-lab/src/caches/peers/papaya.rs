//! papaya's HashMap: `get` and `insert` through a guard pinned for each operation. No bound.

use crate::caches::{BenchCache, Hasher, Key, Value};

pub(super) struct Papaya<K, V>(papaya::HashMap<K, V, Hasher>);

impl<K: Key, V: Value> Papaya<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(
            capacity,
            Hasher::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Papaya<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.pin().get(key).map(look)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.pin().insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
