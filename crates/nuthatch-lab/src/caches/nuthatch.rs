//! nuthatch, on either engine and with any of its policies: `with`, which shows a value in place,
//! `insert`, and `get_or_insert_with` to read through. Statistics are on, as they are by default.

use super::{BenchCache, Key, Value};
use crate::subject::SEED;
use nuthatch::{Cache, Engine, Policy};
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::Duration;

/// This project's own cache.
#[derive(Debug)]
pub struct Nuthatch<K, V, S>(Cache<K, V, S>);

impl<K: Key, V: Value, S: BuildHasher + Send + Sync + 'static> Nuthatch<K, V, S> {
    /// A cache with room for `capacity` entries.
    ///
    /// # Panics
    /// If there is room for none.
    pub fn new(capacity: usize, engine: Engine, policy: &Policy, hasher: S) -> Self {
        Self::build(capacity, engine, policy, hasher, None)
    }

    /// The same; entries expire `ttl` after they are written.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn expiring(
        capacity: usize,
        engine: Engine,
        policy: &Policy,
        hasher: S,
        ttl: Duration,
    ) -> Self {
        Self::build(capacity, engine, policy, hasher, Some(ttl))
    }

    fn build(
        capacity: usize,
        engine: Engine,
        policy: &Policy,
        hasher: S,
        ttl: Option<Duration>,
    ) -> Self {
        let mut builder = Cache::builder()
            .capacity(capacity as u64)
            .engine(engine)
            .policy(policy.clone())
            .seed(SEED)
            .hasher(hasher);
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(ttl);
        }
        let cache = builder.build();
        Self(cache.expect("the capacity is above zero, and all else is as it is by default"))
    }
}

impl<K, V, S> BenchCache<K, V> for Nuthatch<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
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
