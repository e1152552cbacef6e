//! scc's HashCache: `get_sync`, which counts as use (`read_sync` does not), and the entry API to
//! insert, to replace and to read through.

use crate::caches::{BenchCache, Hasher, Key, Value};
use scc::HashCache;
use scc::hash_cache::Entry;

pub(super) struct SccHashCache<K: Key, V: Value>(HashCache<K, V, Hasher>);

impl<K: Key, V: Value> SccHashCache<K, V> {
    /// The cache rounds its capacity up to a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        Self(HashCache::with_capacity_and_hasher(
            0,
            capacity,
            Hasher::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for SccHashCache<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get_sync(key).map(|entry| look(entry.get()))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        match self.0.entry_sync(key) {
            Entry::Occupied(mut entry) => {
                entry.put(value);
            }
            Entry::Vacant(entry) => {
                entry.put_entry(value);
            }
        }
    }

    #[inline]
    fn read_through(&self, key: &K, load: impl FnOnce() -> V) -> bool {
        match self.0.entry_sync(key.clone()) {
            Entry::Occupied(entry) => {
                std::hint::black_box(entry.get());
                true
            }
            Entry::Vacant(entry) => {
                entry.put_entry(load());
                false
            }
        }
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
