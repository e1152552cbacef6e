//! foyer's in-memory cache: `get` and `insert`, which return counted handles; its call to read
//! through is asynchronous.

use crate::caches::{BenchCache, Hasher, Key, Value};
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};

/// Which of foyer's policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::caches) enum Eviction {
    /// The one that foyer takes if not told otherwise.
    Default,
    /// S3-FIFO.
    S3Fifo,
}

pub(super) struct Foyer<K: Key, V: Value>(Cache<K, V, Hasher>);

impl<K: Key, V: Value> Foyer<K, V> {
    pub(super) fn new(capacity: usize, eviction: Eviction) -> Self {
        let builder = CacheBuilder::new(capacity).with_hash_builder(Hasher::default());
        let builder = match eviction {
            Eviction::Default => builder,
            Eviction::S3Fifo => builder.with_eviction_config(S3FifoConfig::default()),
        };
        Self(builder.build())
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Foyer<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|entry| look(entry.value()))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.entries())
    }
}
