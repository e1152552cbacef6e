//! The standard library's map behind its `RwLock`. No bound.

use crate::caches::{BenchCache, Hasher, Key, Value};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

pub(super) struct RwLockHashMap<K, V>(RwLock<HashMap<K, V, Hasher>>);

impl<K: Key, V: Value> RwLockHashMap<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity_and_hasher(
            capacity,
            Hasher::default(),
        )))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for RwLockHashMap<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).map(look)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}
