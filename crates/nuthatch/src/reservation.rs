//! Weight that is set aside for insertions to come.
//!
//! It is taken from the bound before the first of them, so all of them find room or none is begun. What
//! was set aside and not used goes back with the reservation.

use crate::cache::{Cache, InsertOptions, on_engine};
use crate::removal::Insertion;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// Weight set aside by [`Cache::reserve`].
pub struct Reservation<'c, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    cache: &'c Cache<K, V, S>,
    weight: u64,
}

impl<'c, K, V, S> Reservation<'c, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn new(cache: &'c Cache<K, V, S>, weight: u64) -> Self {
        Self { cache, weight }
    }

    /// What is left of the weight.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// As [`Cache::insert_with`], with weight of the reservation: an entry that weighs no more than what
    /// is left is admitted, also if the capacity was lowered meanwhile. One that weighs more looks for
    /// the rest as any other does. Of an entry that it replaces, the weight goes back to the cache.
    pub fn insert_with(&mut self, key: K, value: V, options: InsertOptions) -> Insertion {
        let left = &mut self.weight;
        on_engine!(self.cache, store => store.put_reserved(key, value, options, left))
    }
}

impl<K, V, S> Drop for Reservation<'_, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn drop(&mut self) {
        on_engine!(self.cache, store => store.unreserve(self.weight));
    }
}

impl<K, V, S> fmt::Debug for Reservation<'_, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}
