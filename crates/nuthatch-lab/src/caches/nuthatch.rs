//! nuthatch, on either engine and with any of its policies: `with`, which shows a value in place,
//! `insert`, and `get_or_insert_with` to read through. Statistics are on, as they are by default.

use super::{BenchCache, Key, Value};
use nuthatch::{Cache, Engine, Policy};
use std::convert::Infallible;
use std::hint::black_box;

pub(super) struct Nuthatch<K, V>(Cache<K, V>);

impl<K: Key, V: Value> Nuthatch<K, V> {
    pub(super) fn new(capacity: usize, engine: Engine, policy: &Policy) -> Self {
        let cache = Cache::builder()
            .capacity(capacity as u64)
            .engine(engine)
            .policy(policy.clone())
            .build();
        Self(cache.expect("the capacity is above zero, and all else is as it is by default"))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for Nuthatch<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.0.with(key, look)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline]
    fn read_through(&self, key: &K, load: impl FnOnce() -> V) -> bool {
        let mut hit = true;
        let loaded = self.0.get_or_insert_with(key, || {
            hit = false;
            Ok::<_, Infallible>(load())
        });
        black_box(loaded).expect("the load neither fails nor asks for its own key");
        hit
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len() as usize)
    }

    fn settle(&self) {
        self.0.maintain();
    }
}
