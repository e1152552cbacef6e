//! The engines, and the interface that they share.

use crate::expiration::Lifetime;
use crate::removal::Insertion;
use crate::store::{Expect, Store};
use std::borrow::Borrow;
use std::fmt::{self, Display};
use std::hash::{BuildHasher, Hash};
use std::str::FromStr;
use thiserror::Error;

/// The engine whose reads take no lock. A hit on a hot entry writes no shared memory at all: it
/// probes the table with plain loads, protects the entry by a store to memory of its own thread,
/// and leaves a saturated access byte alone. See [`Cache`](crate::Cache) for the face with all
/// features, and [`CacheBuilder::build_lock_free`](crate::CacheBuilder::build_lock_free).
pub type LockFree<K, V, S = crate::DefaultHashBuilder> = Store<K, V, S, true>;

/// The engine whose reads take their shard's read lock; with one shard it is the classic
/// single-lock cache. Under a policy that orders every hit (LRU, ARC, LIRS, LFU and kin) a hit takes
/// the lock exclusively and is told to the policy at once.
pub type Locked<K, V, S = crate::DefaultHashBuilder> = Store<K, V, S, false>;

/// Which engine a cache runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Reads take no lock: the default.
    #[default]
    LockFree,
    /// Reads take their shard's read lock.
    Locked,
}

impl Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LockFree => "lockfree",
            Self::Locked => "locked",
        })
    }
}

/// A text that names no engine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no engine {0:?}; there are lockfree and locked")]
pub struct EngineError(String);

impl FromStr for Engine {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "lockfree" => Ok(Self::LockFree),
            "locked" => Ok(Self::Locked),
            _ => Err(EngineError(text.to_owned())),
        }
    }
}

/// What every engine can do: the interface behind which locks and lock-free reads are compared.
///
/// Every operation is linearizable per key. The total weight never exceeds the capacity, at any
/// instant, and nothing is evicted while everything fits. An expired entry is never returned.
pub trait ConcurrentCache<K, V> {
    /// The value of `key`, cloned. A hit or a miss.
    fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone;

    /// Passes the value of `key` to `look`, without cloning it. A hit or a miss. While `look` runs
    /// the entry stays readable, even if it is removed meanwhile.
    fn with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized;

    /// Inserts or replaces; evicts what there is no room for.
    fn insert(&self, key: K, value: V) -> Insertion;

    /// Removes `key`. Returns whether it was there.
    fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized;

    /// Removes everything.
    fn invalidate_all(&self);

    /// Entries, including expired ones that were not cleared away yet.
    fn len(&self) -> u64;

    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries.
    fn weight(&self) -> u64;

    /// The bound on the weight.
    fn capacity(&self) -> u64;
}

impl<K, V, S, const LOCK_FREE: bool> ConcurrentCache<K, V> for Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    #[inline]
    fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.read(key, true, |entry| entry.value().clone())
    }

    #[inline]
    fn with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.read(key, true, |entry| look(entry.value()))
    }

    fn insert(&self, key: K, value: V) -> Insertion {
        self.put(key, value, Lifetime::Configured)
    }

    fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_entry(key, None)
    }

    fn invalidate_all(&self) {
        self.doom_all();
    }

    fn len(&self) -> u64 {
        self.entries()
    }

    fn weight(&self) -> u64 {
        self.total_weight()
    }

    fn capacity(&self) -> u64 {
        self.bound_capacity()
    }
}

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    /// Inserts or replaces, whatever is there.
    pub(crate) fn put(&self, key: K, value: V, lifetime: Lifetime) -> Insertion {
        match self.upsert(key, value, lifetime, Expect::Anything) {
            Ok(insertion) => insertion,
            Err(_) => unreachable!("anything was expected"),
        }
    }
}
