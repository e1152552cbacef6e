//! The tier in process: what is kept of the remote tier's answers, and what makes it go.

use crate::clock::{LAG_NS, whole_ns};
use crate::key::{Namespace, RemoteKey};
use crate::pending::Pending;
use crate::remote::{Hears, Origin};
use crate::stats::Counters;
use crate::vouching::{Voucher, Vouching};
use nuthatch::{Cache, Clock};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// An entry in process: a value, or the knowledge that there is none, and who vouches for it. What a
/// weigher and a listener of the local cache are given.
#[derive(Clone, Debug)]
pub struct Local<V> {
    value: Option<V>,
    voucher: Voucher,
}

impl<V> Local<V> {
    /// The value; nothing if what is known is that there is none.
    pub fn value(&self) -> Option<&V> {
        self.value.as_ref()
    }
}

/// What is known about a key in process.
pub(crate) enum Known<V> {
    Value(V),
    /// That there is none.
    Absent,
    Nothing,
}

/// When something that is kept in process ends.
pub(crate) struct Limits {
    pub(crate) time_to_live: Duration,
    pub(crate) negative_time_to_live: Duration,
    pub(crate) max_staleness: Duration,
}

/// See the module's text.
pub(crate) struct Locals<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) cache: Cache<K, Local<V>>,
    pub(crate) pending: Pending<K, V>,
    pub(crate) vouching: Arc<Vouching>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) namespace: Namespace,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
}

impl<K, V> Locals<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    /// What may be given out for a key.
    #[inline]
    pub(crate) fn find<Q>(&self, key: &Q) -> Known<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.cache.with(key, |entry| {
            // The time is read after the entry was found, so no entry is older than it looks.
            let vouched = self.vouching.vouches(entry.voucher, self.clock.now_ns());
            vouched.then(|| entry.value.clone())
        });
        match found {
            Some(Some(Some(value))) => Known::Value(value),
            Some(Some(None)) => Known::Absent,
            Some(None) => {
                self.counters.unvouched.count();
                Known::Nothing
            }
            None => Known::Nothing,
        }
    }

    /// Keeps what was answered, for as long as it may be: a value, or that there is none. It was asked at
    /// `sent_ns`, and the remote tier keeps it for `remaining` from then on at least.
    pub(crate) fn keep(
        &self,
        key: &K,
        value: Option<V>,
        origin: Origin,
        sent_ns: u64,
        remaining: Option<Duration>,
    ) {
        let Origin::Vouched(voucher) = origin else {
            return;
        };
        let mut longest = match value {
            Some(_) => self.limits.time_to_live,
            None => self.limits.negative_time_to_live,
        };
        longest = longest.min(remaining.unwrap_or(Duration::MAX));
        if voucher == Voucher::NOBODY {
            longest = longest.min(self.limits.max_staleness);
        }
        let deadline_ns = sent_ns
            .saturating_add(whole_ns(longest))
            .saturating_sub(LAG_NS);
        let entry = Local { value, voucher };
        self.cache
            .insert_with_deadline(key.clone(), entry, Some(deadline_ns));
    }

    /// Drops a key, and what is on its way of it.
    pub(crate) fn invalidate(&self, key: &K) {
        self.pending.invalidate(key, || self.forget(key));
    }

    /// Removes what is kept of a key.
    pub(crate) fn forget(&self, key: &K) {
        self.cache.invalidate(key);
    }
}

impl<K, V> Hears for Locals<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    fn key_changed(&self, key: &[u8]) {
        if let Some(key) = self.namespace.local(key) {
            self.counters.invalidations.count();
            self.invalidate(&key);
        }
    }

    /// The entries' vouchers are worth nothing any more; what is on its way must not be kept either.
    fn anything_changed(&self) {
        self.pending.invalidate_all();
    }
}
