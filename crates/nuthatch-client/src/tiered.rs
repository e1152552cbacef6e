//! The near cache's face: reads from the nearest tier that has the value, writes to all of them.
//!
//! # The life of a read that misses in process
//! 1. It joins the key's flight, or leads it (`pending.rs`). What follows is the leader's.
//! 2. `GET` and `PTTL` go to the node that serves the key. The voucher that the answer will carry is taken
//!    before the connection is chosen, and the time before the request is sent.
//! 3. A value is decoded. What does not decode, is too long, or says "there is none" is dealt with as the
//!    options say; what is not there may be loaded.
//! 4. A load first takes the key's lease, if there are leases: a key beside it that only one can make; and
//!    looks again, for who held the lease before may have written the value. Who
//!    does not get it is given the old value, if there is one, or waits: the key was read on a tracked
//!    connection, so the server tells when the value is there.
//! 5. What was loaded is written where nothing was (`SET NX`), so that a value written meanwhile stays; in
//!    a transaction with a read (`PTTL`), which makes the server track the key from just then on.
//! 6. The flight is settled: all who follow get the value, and it is kept in process if the key has not
//!    changed meanwhile.

use crate::builder::{RemoteFailure, TieredCacheBuilder, WriteMode};
use crate::envelope::{ABSENT, Envelope, Stored, Unreadable};
use crate::error::{Failure, LoadError, RemoteError};
use crate::key::RemoteKey;
use crate::local::{Known, Local, Locals};
use crate::pending::{Join, Landing, Lead};
use crate::remote::{Origin, Remote, Reply};
use crate::stats::{Counters, TieredStats};
use crate::vouching::Voucher;
use nuthatch::Cache;
use redis::{Cmd, Pipeline, Value};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

/// How long to wait before looking whether another process has loaded a value, should the server not tell;
/// each wait is twice as long as the one before.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// The longest of these waits.
const LAST_LOOK: Duration = Duration::from_millis(320);

/// What reads and writes go by.
pub(crate) struct Options {
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) negative_time_to_live: Option<Duration>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) load_timeout: Duration,
    pub(crate) lease: Option<Duration>,
    pub(crate) write_mode: WriteMode,
    pub(crate) remote_failure: RemoteFailure,
}

/// A cache in process in front of a remote one; see the [crate's text](crate) for an example and for what it
/// guarantees. Clones are the same cache. Its connections end when the last clone is dropped.
pub struct TieredCache<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    locals: Arc<Locals<K, V>>,
    remote: Arc<Remote>,
    envelope: Envelope<V>,
    options: Options,
}

impl<K, V> Clone for TieredCache<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V> std::fmt::Debug for TieredCache<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredCache")
            .field("local", &self.inner.locals.cache)
            .field("seeds", &self.inner.remote.settings.seeds)
            .finish_non_exhaustive()
    }
}

impl<K, V> Drop for Inner<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.remote.stop();
    }
}

/// What the remote tier has of a key.
enum Found<V> {
    /// A value, and for how long it is kept there; `due` to be loaded anew.
    Value {
        value: V,
        remaining: Option<Duration>,
        due: bool,
    },
    /// That the loader has found none.
    Absent {
        remaining: Option<Duration>,
    },
    /// Something that is no value.
    Unreadable,
    Nothing,
}

impl<V> Found<V> {
    /// Whether nothing is to be loaded. `optional`: whether it will do that there is no value.
    fn suffices(&self, optional: bool) -> bool {
        match self {
            Self::Value { due, .. } => !due,
            Self::Absent { .. } => optional,
            Self::Unreadable | Self::Nothing => false,
        }
    }
}

/// What the remote tier answered, and by what right it may be kept.
struct Read<V> {
    found: Found<V>,
    origin: Origin,
    sent_ns: u64,
}

/// How a leader's work on a key goes on.
enum Step<V, E> {
    Done(Result<Option<V>, LoadError<E>>),
    /// The key has changed: look again.
    Again,
}

/// Counts a load, and as a failure unless it is told otherwise: a panic or a dropped future leaves by `drop`.
struct LoadCount<'c> {
    counters: &'c Counters,
    succeeded: bool,
}

impl Drop for LoadCount<'_> {
    fn drop(&mut self) {
        self.counters.loads.count();
        if !self.succeeded {
            self.counters.load_failures.count();
        }
    }
}

impl<K, V> TieredCache<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    /// A builder with its defaults.
    pub fn builder() -> TieredCacheBuilder<K, V> {
        TieredCacheBuilder::new()
    }

    pub(crate) fn new(
        locals: Arc<Locals<K, V>>,
        remote: Arc<Remote>,
        envelope: Envelope<V>,
        options: Options,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                locals,
                remote,
                envelope,
                options,
            }),
        }
    }

    /// The value of a key, if the cache in process has it. Asks nobody.
    #[inline]
    pub fn get_local<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.inner.locals.find(key) {
            Known::Value(value) => Some(value),
            Known::Absent | Known::Nothing => None,
        }
    }

    /// The value of a key, of the nearest tier that has it.
    ///
    /// A hit in process does not wait for anything. A task that does nothing but hit should give its thread
    /// to others now and then (`tokio::task::yield_now`), also so that nodes are pinged in time.
    ///
    /// # Errors
    /// If the cache in process does not have it, and the remote tier cannot be asked.
    #[inline]
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>, RemoteError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.inner.locals.find(key) {
            Known::Value(value) => Ok(Some(value)),
            Known::Absent => {
                self.inner.locals.counters.negative_hits.count();
                Ok(None)
            }
            Known::Nothing => self.inner.get_remote(key.to_owned()).await,
        }
    }

    /// The value of a key, of the nearest tier that has it; if none has, the one that `load` gives, which all
    /// tiers are given. Of all tasks that miss a key together, one asks and loads.
    ///
    /// ```no_run
    /// # use nuthatch_client::{LoadError, TieredCache};
    /// # async fn example(users: TieredCache<u64, String>) -> Result<(), LoadError<std::io::Error>> {
    /// let user = users.get_or_load(&7, |id| async move { Ok(format!("user {id}")) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the loader's error, shared by all who waited for it;
    /// [`LoadError::TimedOut`] if it took too long; [`LoadError::Remote`] if the remote tier fails and that is
    /// not to be loaded past.
    #[inline]
    pub async fn get_or_load<'q, Q, E, F>(
        &self,
        key: &'q Q,
        load: impl FnOnce(&'q Q) -> F,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        if let Known::Value(value) = self.inner.locals.find(key) {
            return Ok(value);
        }
        let load = || async move { load(key).await.map(Some) };
        let loaded = self.inner.load(key.to_owned(), load, false).await?;
        Ok(loaded.expect("who does not take absence is given a value"))
    }

    /// As [`get_or_load`](Self::get_or_load), with a loader that may find that there is nothing. That is
    /// remembered if [`negative_time_to_live`](TieredCacheBuilder::negative_time_to_live) says so.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    #[inline]
    pub async fn get_or_load_optional<'q, Q, E, F>(
        &self,
        key: &'q Q,
        load: impl FnOnce(&'q Q) -> F,
    ) -> Result<Option<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>>,
    {
        match self.inner.locals.find(key) {
            Known::Value(value) => return Ok(Some(value)),
            Known::Absent => {
                self.inner.locals.counters.negative_hits.count();
                return Ok(None);
            }
            Known::Nothing => {}
        }
        self.inner.load(key.to_owned(), || load(key), true).await
    }

    /// The values of some keys, in their order, each of the nearest tier that has it. Those that are not in
    /// process cost one request to each node that serves some of them.
    pub async fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<Option<V>, RemoteError>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        let mut values = Vec::new();
        let mut missing = Vec::new();
        for (place, key) in keys.into_iter().enumerate() {
            values.push(match self.inner.locals.find(key) {
                Known::Value(value) => Ok(Some(value)),
                Known::Absent => {
                    self.inner.locals.counters.negative_hits.count();
                    Ok(None)
                }
                Known::Nothing => {
                    missing.push((place, key.to_owned()));
                    Ok(None)
                }
            });
        }
        for (place, value) in self.inner.get_remote_many(missing).await {
            values[place] = value;
        }
        values
    }

    /// Writes a value to the remote tier, and then, unless writes go around it, to the cache in process. Until
    /// this returns, readers are given the old value or the new one; afterwards, the new one.
    ///
    /// # Errors
    /// If the value is not written, or if it is not known whether it was: after [`RemoteError::Timeout`] and
    /// [`RemoteError::Disconnected`] it may be. The cache in process does not have it then.
    pub async fn insert(&self, key: K, value: V) -> Result<(), RemoteError> {
        let ttl = self.inner.options.time_to_live;
        self.inner.insert(key, value, ttl).await
    }

    /// As [`insert`](Self::insert), with a time to live of its own on the remote tier, rounded up to
    /// milliseconds.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub async fn insert_with_ttl(
        &self,
        key: K,
        value: V,
        time_to_live: Duration,
    ) -> Result<(), RemoteError> {
        self.inner.insert(key, value, Some(time_to_live)).await
    }

    /// Removes a key from all tiers; whether the remote tier had it. A load of it that is under way, in this
    /// process or in any that uses leases, does not write what it loads, but for one in another process that
    /// has looked whether it may and is about to write. Where that matters, write the new value instead.
    ///
    /// # Errors
    /// If it is not removed, or if it is not known whether it was. The cache in process does not have it in
    /// any case.
    pub async fn remove<Q>(&self, key: &Q) -> Result<bool, RemoteError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.inner.remove(&key.to_owned()).await
    }

    /// Drops what the cache in process has of a key; the next read asks the remote tier.
    pub fn invalidate_local<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.inner.locals.invalidate(&key.to_owned());
    }

    /// The cache in process. Reading from it directly skips the question whether anybody vouches for what it
    /// has; writing to it is seen by nobody else.
    pub fn local(&self) -> &Cache<K, Local<V>> {
        &self.inner.locals.cache
    }

    /// What was done so far.
    pub fn stats(&self) -> TieredStats {
        let locals = &self.inner.locals;
        let staleness = self.inner.remote.staleness();
        locals
            .counters
            .snapshot(locals.cache.stats(), staleness, locals.pending.len())
    }
}

impl<K, V> Inner<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    fn counters(&self) -> &Counters {
        &self.locals.counters
    }

    /// How long a leader may take, whatever he meets with.
    fn patience(&self) -> Duration {
        self.options.load_timeout + 4 * self.remote.settings.remote_timeout
    }

    /// A read without a loader, of what is not in process.
    async fn get_remote(&self, key: K) -> Result<Option<V>, RemoteError> {
        loop {
            let lead = match self.locals.pending.join(&key) {
                Join::Lead(lead) => Some(lead),
                Join::Alone => None,
                Join::Follow(flight) => {
                    self.counters().followed.count();
                    match timeout(self.patience(), flight.wait()).await {
                        Ok(Landing::Found(value)) => return Ok(Some(value)),
                        Ok(Landing::Absent | Landing::Nothing) => return Ok(None),
                        Ok(Landing::Failed(Failure::Remote(error))) => return Err(error),
                        // Whose loader failed has not been told what the remote tier has.
                        Ok(Landing::Failed(_) | Landing::Abandoned) => continue,
                        // Its leader's future is kept somewhere and not polled.
                        Err(_) => None,
                    }
                }
            };
            let read = self.read(&key).await;
            return self.settle_read(&key, lead, read);
        }
    }

    /// Ends a read without a loader.
    fn settle_read(
        &self,
        key: &K,
        lead: Option<Lead<'_, K, V>>,
        read: Result<Read<V>, RemoteError>,
    ) -> Result<Option<V>, RemoteError> {
        let Read {
            found,
            origin,
            sent_ns,
        } = match read {
            Ok(read) => read,
            Err(error) => {
                settle(lead, Landing::Failed(Failure::Remote(error.clone())), || {});
                return Err(error);
            }
        };
        Ok(match found {
            Found::Value {
                value, remaining, ..
            } => {
                let kept = value.clone();
                self.settle_kept(lead, Landing::Found(value.clone()), || {
                    self.locals
                        .keep(key, Some(kept), origin, sent_ns, remaining);
                });
                Some(value)
            }
            Found::Absent { remaining } => {
                self.counters().negative_hits.count();
                self.settle_kept(lead, Landing::Absent, || {
                    self.locals.keep(key, None, origin, sent_ns, remaining);
                });
                None
            }
            Found::Unreadable => {
                settle(lead, Landing::Nothing, || {});
                None
            }
            Found::Nothing => {
                self.settle_kept(lead, Landing::Nothing, || {
                    if self.options.negative_time_to_live.is_some() {
                        self.locals.keep(key, None, origin, sent_ns, None);
                    }
                });
                None
            }
        })
    }

    /// Settles a flight with something that is to be kept, and counts if it is not.
    fn settle_kept(&self, lead: Option<Lead<'_, K, V>>, landing: Landing<V>, keep: impl FnOnce()) {
        let mut kept = false;
        settle(lead, landing, || {
            keep();
            kept = true;
        });
        if !kept {
            self.counters().raced.count();
        }
    }

    async fn get_remote_many(
        &self,
        missing: Vec<(usize, K)>,
    ) -> Vec<(usize, Result<Option<V>, RemoteError>)> {
        let mut led = Vec::new();
        let mut others = Vec::new();
        for (place, key) in missing {
            match self.locals.pending.join(&key) {
                Join::Lead(lead) => led.push((place, key, Some(lead))),
                Join::Alone => led.push((place, key, None)),
                // Also a key that is asked for twice.
                Join::Follow(_) => others.push((place, key)),
            }
        }
        let items: Vec<_> = led
            .iter()
            .map(|(_, key, _)| {
                let remote_key = self.locals.namespace.remote(key);
                (self.remote.slot(&remote_key), read_commands(&remote_key))
            })
            .collect();
        let replies = self.remote.call_many(&items).await;
        let mut values = Vec::with_capacity(led.len() + others.len());
        for ((place, key, lead), reply) in led.into_iter().zip(replies) {
            let read = reply.and_then(|reply| self.understand(reply));
            values.push((place, self.settle_read(&key, lead, read)));
        }
        for (place, key) in others {
            values.push((place, self.get_remote(key).await));
        }
        values
    }

    /// Asks the remote tier.
    async fn read(&self, key: &K) -> Result<Read<V>, RemoteError> {
        let remote_key = self.locals.namespace.remote(key);
        let slot = self.remote.slot(&remote_key);
        let span = tracing::debug_span!("remote_read", slot);
        let commands = read_commands(&remote_key);
        let reply = self
            .remote
            .call(slot, &commands, true)
            .instrument(span)
            .await?;
        self.understand(reply)
    }

    /// What the replies to `GET` and `PTTL` mean.
    fn understand(&self, reply: Reply) -> Result<Read<V>, RemoteError> {
        let counters = self.counters();
        let mut values = reply.values.into_iter();
        let (value, remaining_ms) = match (values.next(), values.next()) {
            (Some(value), Some(Value::Int(remaining_ms))) => (value, remaining_ms),
            other => unreachable!("a reply for each command, not {other:?}"),
        };
        // The key expired between the two commands: -2.
        let remaining = match remaining_ms {
            -1 => None,
            ms => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        };
        let bytes = match value {
            Value::BulkString(bytes) => Some(bytes),
            Value::SimpleString(text) => Some(text.into_bytes()),
            Value::Okay => Some(b"OK".to_vec()),
            _ => None,
        };
        let opened = bytes.as_deref().map(|bytes| self.envelope.open(bytes));
        let found = match opened {
            Some(Ok(Stored::Value(value))) => {
                counters.remote_hits.count();
                let grace = self.options.stale_while_revalidate;
                let left = remaining.map(|remaining| remaining.saturating_sub(grace));
                Found::Value {
                    value,
                    due: left.is_some_and(|left| left.is_zero()),
                    remaining: left,
                }
            }
            Some(Ok(Stored::Absent)) => {
                counters.remote_hits.count();
                Found::Absent { remaining }
            }
            Some(Err(unreadable)) => {
                counters.remote_misses.count();
                match &unreadable {
                    Unreadable::TooLong { .. } => counters.oversized.count(),
                    Unreadable::Undecodable(_) => counters.undecodable.count(),
                }
                tracing::debug!(%unreadable, "a value of the remote tier is a miss");
                Found::Unreadable
            }
            None => {
                counters.remote_misses.count();
                Found::Nothing
            }
        };
        Ok(Read {
            found,
            origin: reply.origin,
            sent_ns: reply.sent_ns,
        })
    }

    /// A read with a loader, of what is not in process. `optional`: whether the caller takes it that there is
    /// none.
    async fn load<E, F>(
        &self,
        key: K,
        load: impl FnOnce() -> F,
        optional: bool,
    ) -> Result<Option<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>>,
    {
        let mut load = Some(load);
        let patience = self.patience();
        let started = Instant::now();
        loop {
            let lead = match self.locals.pending.join(&key) {
                Join::Lead(lead) => Some(lead),
                Join::Alone => None,
                Join::Follow(flight) => {
                    self.counters().followed.count();
                    let left = patience.saturating_sub(started.elapsed());
                    match timeout(left, flight.wait()).await {
                        Ok(Landing::Found(value)) => return Ok(Some(value)),
                        Ok(Landing::Absent) if optional => return Ok(None),
                        Ok(Landing::Failed(failure)) => match failure.to_load_error() {
                            Some(error) => return Err(error),
                            None => continue,
                        },
                        Ok(Landing::Absent | Landing::Nothing | Landing::Abandoned) => continue,
                        Err(_) => {
                            let limit = self.options.load_timeout;
                            return Err(LoadError::TimedOut { limit });
                        }
                    }
                }
            };
            match self.lead(&key, lead, &mut load, optional, started).await {
                Step::Done(result) => return result,
                Step::Again => {}
            }
        }
    }

    /// Reads a key, and loads it if it must be.
    async fn lead<E, F>(
        &self,
        key: &K,
        lead: Option<Lead<'_, K, V>>,
        load: &mut Option<impl FnOnce() -> F>,
        optional: bool,
        started: Instant,
    ) -> Step<V, E>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>>,
    {
        let read = match self.read(key).await {
            Ok(read) => read,
            Err(error) if self.options.remote_failure == RemoteFailure::Fail => {
                settle(lead, Landing::Failed(Failure::Remote(error.clone())), || {});
                return Step::Done(Err(error.into()));
            }
            Err(error) => {
                tracing::debug!(%error, "loading past the remote tier");
                return self.load_now(key, lead, load, None).await;
            }
        };
        if read.found.suffices(optional) {
            return Step::Done(self.settle_read(key, lead, Ok(read)).map_err(Into::into));
        }
        let stale = match &read.found {
            Found::Value { value, .. } => Some(value.clone()),
            Found::Absent { .. } | Found::Unreadable | Found::Nothing => None,
        };
        let has_value = !matches!(read.found, Found::Nothing);
        let Some(length) = self.options.lease else {
            let write = Some(Placing {
                replaces: has_value,
                lease: None,
            });
            return self.load_now(key, lead, load, write).await;
        };
        match self.lease(key, length).await {
            // It was looked for in vain before the lease was taken; meanwhile another may have taken it,
            // loaded, and given it back.
            Ok((Some(lease), read)) if read.found.suffices(optional) => {
                self.end_lease(key, &lease).await;
                Step::Done(self.settle_read(key, lead, Ok(read)).map_err(Into::into))
            }
            Ok((Some(lease), read)) => {
                let write = Some(Placing {
                    replaces: !matches!(read.found, Found::Nothing),
                    lease: Some(lease),
                });
                self.load_now(key, lead, load, write).await
            }
            Ok((None, _)) => {
                if let Some(value) = stale {
                    // Another loads it. It is not kept, so that the new one is found when it is there.
                    self.counters().stale_served.count();
                    settle(lead, Landing::Found(value.clone()), || {});
                    return Step::Done(Ok(Some(value)));
                }
                self.await_other(key, lead, started).await
            }
            Err(error) if self.options.remote_failure == RemoteFailure::Fail => {
                settle(lead, Landing::Failed(Failure::Remote(error.clone())), || {});
                Step::Done(Err(error.into()))
            }
            Err(_) => self.load_now(key, lead, load, None).await,
        }
    }

    /// Waits until another process has written the key, or has given it up.
    async fn await_other<E>(
        &self,
        key: &K,
        lead: Option<Lead<'_, K, V>>,
        started: Instant,
    ) -> Step<V, E> {
        self.counters().lease_waits.count();
        let limit = self.options.load_timeout;
        let lease_key = self.lease_key(key);
        let slot = self.remote.slot(&lease_key);
        let mut look = FIRST_LOOK;
        loop {
            if started.elapsed() >= limit {
                settle(lead, Landing::Failed(Failure::LoadTimedOut(limit)), || {});
                return Step::Done(Err(LoadError::TimedOut { limit }));
            }
            match &lead {
                Some(lead) => {
                    if timeout(look, lead.changed()).await.is_ok() {
                        return Step::Again;
                    }
                }
                None => sleep(look).await,
            }
            look = (look * 2).min(LAST_LOOK);
            // The lease is gone when the value is there, and when who held it gave up. In both cases the key
            // is looked at again.
            let mut exists = redis::cmd("EXISTS");
            exists.arg(&lease_key[..]);
            match self.remote.call(slot, &alone(exists), true).await {
                Ok(reply) if reply.values.first() == Some(&Value::Int(1)) => {}
                _ => return Step::Again,
            }
        }
    }

    /// Calls the loader, and gives what it loads to all tiers.
    async fn load_now<E, F>(
        &self,
        key: &K,
        lead: Option<Lead<'_, K, V>>,
        load: &mut Option<impl FnOnce() -> F>,
        placing: Option<Placing>,
    ) -> Step<V, E>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>>,
    {
        let load = load.take().expect("a loader is called once");
        let begun_ns = self.locals.clock.now_ns();
        let limit = self.options.load_timeout;
        let loaded = {
            let mut count = LoadCount {
                counters: self.counters(),
                succeeded: false,
            };
            let loading = async { load().await }.instrument(tracing::debug_span!("load"));
            let loaded = timeout(limit, loading).await;
            count.succeeded = matches!(loaded, Ok(Ok(_)));
            loaded
        };
        let lease = placing.as_ref().and_then(|placing| placing.lease.clone());
        let failure = match loaded {
            Ok(Ok(value)) => {
                let is_current = lead.as_ref().is_some_and(Lead::is_attached);
                let placed = match placing {
                    Some(placing) if is_current => self.place(key, value.as_ref(), &placing).await,
                    _ => None,
                };
                if let Some(lease) = lease {
                    self.end_lease(key, &lease).await;
                }
                // Where the remote tier does not have it, it is believed for as long as one that nobody
                // vouches for: from when the loader began.
                let (origin, sent_ns) =
                    placed.unwrap_or((Origin::Vouched(Voucher::NOBODY), begun_ns));
                let kept = value.clone();
                let landing = match &value {
                    Some(value) => Landing::Found(value.clone()),
                    None => Landing::Absent,
                };
                self.settle_kept(lead, landing, || {
                    if kept.is_some() || self.options.negative_time_to_live.is_some() {
                        self.locals
                            .keep(key, kept, origin, sent_ns, self.options.time_to_live);
                    }
                });
                return Step::Done(Ok(value));
            }
            Ok(Err(error)) => Failure::Load(Arc::new(error)),
            Err(_) => Failure::LoadTimedOut(limit),
        };
        if let Some(lease) = lease {
            self.end_lease(key, &lease).await;
        }
        let error = failure
            .to_load_error()
            .expect("an error of the caller's own type");
        settle(lead, Landing::Failed(failure), || {});
        Step::Done(Err(error))
    }

    /// Writes what was loaded to the remote tier. Where it comes from if it may be kept as what the remote
    /// tier has; nothing if that does not have it.
    async fn place(&self, key: &K, value: Option<&V>, placing: &Placing) -> Option<(Origin, u64)> {
        let (bytes, ttl) = match value {
            Some(value) => {
                let sealed = self.envelope.seal(value);
                let bytes = sealed.inspect_err(|error| self.refused(error)).ok()?;
                let ttl = self.options.time_to_live;
                (
                    bytes,
                    ttl.map(|ttl| ttl + self.options.stale_while_revalidate),
                )
            }
            None => (ABSENT.to_vec(), Some(self.options.negative_time_to_live?)),
        };
        if let Some(lease) = &placing.lease
            && !self.holds(key, lease).await
        {
            // The key was removed meanwhile, or another has loaded it, for this took too long.
            return Some((Origin::Passing, 0));
        }
        let condition = if placing.replaces { None } else { Some("NX") };
        let written = self.write(key, &bytes, ttl, condition, true).await;
        match written {
            Ok(Some((origin, sent_ns))) => Some((origin, sent_ns)),
            // Another has written meanwhile: his value stays.
            Ok(None) => Some((Origin::Passing, 0)),
            Err(error) => {
                tracing::debug!(%error, "what was loaded is not on the remote tier");
                None
            }
        }
    }

    fn refused(&self, error: &RemoteError) {
        if let RemoteError::ValueTooLarge { .. } = error {
            self.counters().oversized.count();
        }
        tracing::warn!(%error, "a value is not kept");
    }

    /// Writes to the remote tier; nothing if the condition does not hold. `tracked`: so that the server
    /// tells when it changes.
    async fn write(
        &self,
        key: &K,
        bytes: &[u8],
        ttl: Option<Duration>,
        condition: Option<&str>,
        tracked: bool,
    ) -> Result<Option<(Origin, u64)>, RemoteError> {
        let remote_key = self.locals.namespace.remote(key);
        let slot = self.remote.slot(&remote_key);
        let mut set = redis::cmd("SET");
        set.arg(&remote_key[..]).arg(bytes);
        if let Some(ttl) = ttl {
            set.arg("PX").arg(whole_ms(ttl));
        }
        if let Some(condition) = condition {
            set.arg(condition);
        }
        // The server tracks keys that are read, and forgets those that are written. So the write is followed
        // by a read, with nobody's write between.
        let in_transaction = tracked && !self.remote.settings.broadcast;
        let commands = if in_transaction {
            let mut transaction = Pipeline::with_capacity(4);
            transaction.cmd("MULTI").add_command(set);
            transaction.cmd("PTTL").arg(&remote_key[..]).cmd("EXEC");
            transaction
        } else {
            alone(set)
        };
        let span = tracing::debug_span!("remote_write", slot);
        let reply = self
            .remote
            .call(slot, &commands, false)
            .instrument(span)
            .await?;
        let result = match reply.values.last() {
            Some(Value::Array(results)) => results.first(),
            last => last,
        };
        let written = match result {
            Some(Value::ServerError(error)) => {
                return Err(RemoteError::Refused {
                    node: "the node".into(),
                    message: error.to_string().into(),
                });
            }
            Some(Value::Nil) | None => false,
            Some(_) => true,
        };
        if written {
            self.counters().remote_writes.count();
        }
        Ok(written.then_some((reply.origin, reply.sent_ns)))
    }

    async fn insert(&self, key: K, value: V, ttl: Option<Duration>) -> Result<(), RemoteError> {
        let bytes = self
            .envelope
            .seal(&value)
            .inspect_err(|error| self.refused(error))?;
        let keeps = self.options.write_mode == WriteMode::Through;
        let remote_ttl = ttl.map(|ttl| ttl + self.options.stale_while_revalidate);
        let write = self.locals.pending.write(&key, || self.locals.forget(&key));
        let written = self.write(&key, &bytes, remote_ttl, None, keeps).await?;
        write.finish(|| {
            if let Some((origin, sent_ns)) = written.filter(|_| keeps) {
                self.locals.keep(&key, Some(value), origin, sent_ns, ttl);
            }
        });
        Ok(())
    }

    async fn remove(&self, key: &K) -> Result<bool, RemoteError> {
        let write = self.locals.pending.write(key, || self.locals.forget(key));
        if self.options.lease.is_some() {
            // Before the key: a load that is under way finds its lease gone when it comes to write.
            self.delete(&self.lease_key(key)).await?;
        }
        let removed = self.delete(&self.locals.namespace.remote(key)).await?;
        write.finish(|| {});
        self.counters().remote_removals.count();
        Ok(removed)
    }

    async fn delete(&self, remote_key: &[u8]) -> Result<bool, RemoteError> {
        let mut delete = redis::cmd("DEL");
        delete.arg(remote_key);
        let slot = self.remote.slot(remote_key);
        let reply = self.remote.call(slot, &alone(delete), true).await?;
        Ok(reply.values.first() == Some(&Value::Int(1)))
    }

    /// The key that stands for the lease of a key, on the same node.
    fn lease_key(&self, key: &K) -> Vec<u8> {
        let remote_key = self.locals.namespace.remote(key);
        [b"{", &remote_key[..], b"}:lease"].concat()
    }

    /// Takes the lease of a key, if no other holds it, and reads the key.
    async fn lease(
        &self,
        key: &K,
        length: Duration,
    ) -> Result<(Option<Lease>, Read<V>), RemoteError> {
        let token = fastrand::u128(..).to_be_bytes();
        let lease_key = self.lease_key(key);
        let mut set = redis::cmd("SET");
        set.arg(&lease_key[..])
            .arg(&token[..])
            .arg("NX")
            .arg("PX")
            .arg(whole_ms(length));
        let mut commands = alone(set);
        let remote_key = self.locals.namespace.remote(key);
        commands
            .cmd("GET")
            .arg(&remote_key[..])
            .cmd("PTTL")
            .arg(&remote_key[..]);
        let taken = Instant::now();
        let slot = self.remote.slot(&lease_key);
        let mut reply = self.remote.call(slot, &commands, false).await?;
        let got = !matches!(reply.values.remove(0), Value::Nil);
        let lease = got.then_some(Lease {
            token,
            until: taken + length,
        });
        Ok((lease, self.understand(reply)?))
    }

    /// Whether the lease is still ours, just before what was loaded under it is written.
    async fn holds(&self, key: &K, lease: &Lease) -> bool {
        let lease_key = self.lease_key(key);
        let mut get = redis::cmd("GET");
        get.arg(&lease_key[..]);
        let slot = self.remote.slot(&lease_key);
        match self.remote.call(slot, &alone(get), true).await {
            Ok(reply) => {
                matches!(reply.values.first(), Some(Value::BulkString(token)) if token[..] == lease.token)
            }
            Err(_) => false,
        }
    }

    /// Gives a lease back, if it surely is ours still. Otherwise, and if that fails, it ends by itself.
    async fn end_lease(&self, key: &K, lease: &Lease) {
        let margin = self.remote.settings.remote_timeout;
        if Instant::now() + margin < lease.until
            && self.holds(key, lease).await
            && let Err(error) = self.delete(&self.lease_key(key)).await
        {
            tracing::debug!(%error, "a lease was not given back");
        }
    }
}

/// The right to load a key for all processes.
#[derive(Clone)]
struct Lease {
    token: [u8; 16],
    until: Instant,
}

/// How what was loaded is written.
struct Placing {
    /// Over what is there; otherwise only where nothing is.
    replaces: bool,
    lease: Option<Lease>,
}

/// Ends a flight; one who asks for himself alone keeps nothing.
fn settle<K: Hash + Eq + Clone, V: Clone>(
    lead: Option<Lead<'_, K, V>>,
    landing: Landing<V>,
    keep: impl FnOnce(),
) {
    if let Some(lead) = lead {
        lead.settle(landing, keep);
    }
}

/// Asks for a key's value and what is left of its time.
fn read_commands(remote_key: &[u8]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("GET").arg(remote_key);
    pipeline.cmd("PTTL").arg(remote_key);
    pipeline
}

/// One command.
fn alone(command: Cmd) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(command);
    pipeline
}

/// In milliseconds, rounded up, and 1 at least: the server refuses 0.
fn whole_ms(duration: Duration) -> u64 {
    let ms = duration.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(ms)
        .unwrap_or(u64::MAX)
        .min(i64::MAX as u64 / 2)
}
