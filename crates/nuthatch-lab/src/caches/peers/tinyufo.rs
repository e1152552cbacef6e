//! TinyUFO: `get` and `put` with weight 1. It does not say how many entries it holds.

use crate::caches::{BenchCache, Key, Value};

pub(super) struct TinyUfo<K, V>(tinyufo::TinyUfo<K, V>);

impl<K: Key, V: Value> TinyUfo<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(tinyufo::TinyUfo::new(capacity, capacity))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for TinyUfo<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|value| look(&value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.put(key, value, 1);
    }

    fn resident(&self) -> Option<usize> {
        None
    }
}
