//! stretto: `get` and `insert` with cost 1. A thread of its own applies insertions, some time
//! after the call returned, and drops some under load.

use crate::caches::{BenchCache, Hasher, Key, Value};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use stretto::{Cache, CacheBuilder, KeyBuilder};

/// Ten counters for each entry, as its documentation recommends.
const COUNTERS_PER_ENTRY: usize = 10;

pub(super) struct Stretto<K: Key, V: Value>(Cache<K, V, Keys<K>>);

/// stretto tells keys apart by two 64-bit hashes.
struct Keys<K> {
    index: Hasher,
    conflict: Hasher,
    keys: PhantomData<fn(&K)>,
}

impl<K: Key> KeyBuilder for Keys<K> {
    type Key = K;

    #[inline]
    fn hash_index<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        self.index.hash_one(key)
    }

    #[inline]
    fn hash_conflict<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        self.conflict.hash_one(key)
    }
}

impl<K: Key, V: Value> Stretto<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let keys = Keys {
            index: Hasher::default(),
            conflict: Hasher::default(),
            keys: PhantomData,
        };
        let cache = CacheBuilder::new_with_key_builder(
            capacity * COUNTERS_PER_ENTRY,
            capacity as i64,
            keys,
        )
        .finalize()
        .expect("the counters, the cost and the buffers are above zero");
        Self(cache)
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Stretto<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.get(key).map(|value| look(value.value()))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value, 1);
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn settle(&self) {
        self.0.wait().expect("its thread runs as long as the cache");
    }
}
