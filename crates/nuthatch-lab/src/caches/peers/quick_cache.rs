//! quick_cache: `get` and `insert`, and the guard of `get_value_or_guard` to read through.

use crate::caches::{BenchCache, Hasher, Key, Value};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};

pub(super) struct QuickCache<K, V>(Cache<K, V, UnitWeighter, Hasher>);

impl<K: Key, V: Value> QuickCache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Cache::with(
            capacity,
            capacity as u64,
            UnitWeighter,
            Hasher::default(),
            DefaultLifecycle::default(),
        ))
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for QuickCache<K, V> {
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
        match self.0.get_value_or_guard(key, None) {
            GuardResult::Value(value) => {
                std::hint::black_box(value);
                true
            }
            GuardResult::Guard(guard) => {
                // Refused only if the key was removed meanwhile, which no measurement does.
                let inserted = guard.insert(load());
                assert!(inserted.is_ok(), "nobody takes a placeholder away");
                false
            }
            GuardResult::Timeout => unreachable!("no timeout was given"),
        }
    }

    fn resident(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
