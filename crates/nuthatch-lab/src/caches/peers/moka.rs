//! moka: `get`, `insert`, and `get_with_by_ref` to read through.

use crate::caches::{BenchCache, Hasher, Key, Value};
use moka::sync::Cache;
use std::time::Duration;

pub(super) struct Moka<K, V>(Cache<K, V, Hasher>);

impl<K: Key, V: Value> Moka<K, V> {
    pub(super) fn new(capacity: usize, ttl: Option<Duration>) -> Self {
        let mut builder = Cache::builder().max_capacity(capacity as u64);
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(ttl);
        }
        Self(builder.build_with_hasher(Hasher::default()))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Moka<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|value| look(&value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline]
    fn read_through(&self, key: &K, load: impl FnOnce() -> V) -> bool {
        let mut hit = true;
        std::hint::black_box(self.0.get_with_by_ref(key, || {
            hit = false;
            load()
        }));
        hit
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.entry_count() as usize)
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
