//! lru's `LruCache` behind the standard library's `Mutex`: `get` and `put`, and
//! `get_or_insert_ref` to read through under one lock.

use crate::caches::{BenchCache, Hasher, Key, Value};
use lru::LruCache;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Over how many locks the keys are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::caches) enum Shards {
    /// The cache as most programs have it.
    One,
    /// As many as caches that shard have by default on a large machine.
    SixtyFour,
}

pub(super) struct MutexLru<K: Key, V> {
    /// A power of two.
    shards: Box<[Mutex<LruCache<K, V, Hasher>>]>,
    /// Chooses the shard, and each shard's own hasher the place within.
    hasher: Hasher,
}

impl<K: Key, V: Value> MutexLru<K, V> {
    pub(super) fn new(capacity: usize, shards: Shards) -> Self {
        let shards = match shards {
            Shards::One => 1,
            Shards::SixtyFour => 64,
        };
        let share = NonZeroUsize::new(capacity.div_ceil(shards)).expect("capacity above zero");
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(LruCache::with_hasher(share, Hasher::default())))
                .collect(),
            hasher: Hasher::default(),
        }
    }

    #[inline]
    fn shard(&self, key: &K) -> MutexGuard<'_, LruCache<K, V, Hasher>> {
        let index = match self.shards.len() {
            1 => 0,
            len => self.hasher.hash_one(key) as usize & (len - 1),
        };
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for MutexLru<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.shard(key).get(key).map(look)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        // Bound to a name, so that what left is dropped after the lock is free.
        let left = self.shard(&key).push(key, value);
        drop(left);
    }

    #[inline]
    fn read_through(&self, key: &K, load: impl FnOnce() -> V) -> bool {
        let mut hit = true;
        std::hint::black_box(self.shard(key).get_or_insert_ref(key, || {
            hit = false;
            load()
        }));
        hit
    }

    fn resident(&self) -> Option<usize> {
        Some(
            self.shards
                .iter()
                .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
                .sum(),
        )
    }
}
