//! Reads that load what is missing: one load per key at a time, shared by threads and tasks; and
//! refreshing ahead of time.

use crate::cache::{Cache, on_engine};
use crate::expiration::Lifetime;
use crate::flight::{Leader, LoadError};
use crate::hazard::thread_index;
use crate::stats::Counter;
use crate::store::Expect;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

/// What a loading read finds.
enum Lookup<V> {
    Fresh(V),
    /// A value that is due to be refreshed, and when it was written.
    Stale(V, u64),
    Missing,
}

/// Counts a load, and as a failure unless it is told otherwise: a panic or a cancelled task leaves
/// by `drop`.
struct LoadCount<'c, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    cache: &'c Cache<K, V, S>,
    /// For how many loads this one is timed.
    timed_loads: u64,
    begun_ns: u64,
    succeeded: bool,
}

impl<'c, K, V, S> LoadCount<'c, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn begin(cache: &'c Cache<K, V, S>) -> Self {
        on_engine!(cache, store => {
            let timed_loads = store.stats.tally(thread_index()).timed_loads();
            Self {
                cache,
                timed_loads,
                begun_ns: if timed_loads > 0 { store.clock.now_ns() } else { 0 },
                succeeded: false,
            }
        })
    }
}

impl<K, V, S> Drop for LoadCount<'_, K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let thread = thread_index();
        on_engine!(self.cache, store => {
            let tally = store.stats.tally(thread);
            tally.count(Counter::Loads);
            if !self.succeeded {
                tally.count(Counter::LoadFailures);
            }
            if self.timed_loads > 0 {
                let taken_ns = store.clock.now_ns().saturating_sub(self.begun_ns);
                tally.add(Counter::LoadTimeNs, taken_ns.saturating_mul(self.timed_loads));
            }
        });
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value of `key`; if it is missing, the one that `load` gives, which is inserted. Of all
    /// threads and tasks that miss a key at once, one loads and the others wait for it; if its load
    /// panics or is cancelled, one of the others takes over with its own.
    ///
    /// Under [`refresh_after`](crate::CacheBuilder::refresh_after), one caller loads a value that
    /// is due anew while all others are given the old one; if that load fails, so is the one.
    ///
    /// A value that was written by others while it was loaded is not overwritten. An invalidation
    /// while it is loaded does not stop it from being inserted.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<String, usize> = Cache::new(100);
    /// let value = cache.get_or_insert_with("nut", || "nut".parse::<usize>().or(Ok::<_, String>(7)));
    /// assert_eq!(value.unwrap(), 7);
    /// assert!(cache.get_or_insert_with("bad", || Err("no such key".to_owned())).is_err());
    /// ```
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the loader's error, shared by all who waited for it;
    /// [`LoadError::Recursive`] if the loader of a key asks for that key.
    pub fn get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = on_engine!(self, store => store.hash(key));
        match self.look_up(hash, key) {
            Lookup::Fresh(value) => Ok(value),
            Lookup::Stale(value, written_ns) => {
                let Some(leader) = self.lead_refresh(hash, key, written_ns) else {
                    return Ok(value);
                };
                let result = leader.during(|| self.counted(load));
                Ok(self.end_refresh(leader, key.to_owned(), result, (value, written_ns)))
            }
            Lookup::Missing => self.inner.flights.load(
                hash,
                key,
                || self.peek_hashed(hash, key),
                || {
                    let loaded = self.counted(load)?;
                    Ok(self.admit(hash, key.to_owned(), loaded))
                },
            ),
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), for tasks of any runtime: waiting blocks
    /// no thread, and dropping the future cancels its load.
    ///
    /// ```
    /// # use nuthatch::Cache;
    /// # async fn example() -> Result<(), nuthatch::LoadError<std::io::Error>> {
    /// let cache: Cache<String, usize> = Cache::new(100);
    /// let value = cache.get_or_insert_async("nut", async { Ok(7) }).await?;
    /// assert_eq!(value, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    pub async fn get_or_insert_async<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = on_engine!(self, store => store.hash(key));
        match self.look_up(hash, key) {
            Lookup::Fresh(value) => Ok(value),
            Lookup::Stale(value, written_ns) => {
                let Some(leader) = self.lead_refresh(hash, key, written_ns) else {
                    return Ok(value);
                };
                let result = self.counted_async(load).await;
                Ok(self.end_refresh(leader, key.to_owned(), result, (value, written_ns)))
            }
            Lookup::Missing => {
                let loaded = || async {
                    let loaded = self.counted_async(load).await?;
                    Ok(self.admit(hash, key.to_owned(), loaded))
                };
                let flights = &self.inner.flights;
                flights
                    .load_async(hash, key, || self.peek_hashed(hash, key), loaded)
                    .await
            }
        }
    }

    #[inline]
    fn look_up<Q>(&self, hash: u64, key: &Q) -> Lookup<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(refresh_after) = self.inner.refresh_after else {
            let found = on_engine!(self, store => {
                store.read_hashed(hash, key, true, |entry| entry.value().clone())
            });
            return found.map_or(Lookup::Missing, Lookup::Fresh);
        };
        on_engine!(self, store => {
            let Some(guard) = store.guard(key, true) else {
                return Lookup::Missing;
            };
            let value = guard.entry().value.clone();
            let Some(written_ns) = store.written_ns(key, &guard) else {
                return Lookup::Fresh(value);
            };
            let age_ns = store.clock.now_ns().saturating_sub(written_ns);
            if u128::from(age_ns) < refresh_after.as_nanos() {
                Lookup::Fresh(value)
            } else {
                Lookup::Stale(value, written_ns)
            }
        })
    }

    /// [`peek`](Cache::peek) for a caller that knows the key's hash.
    fn peek_hashed<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => {
            store.read_hashed(hash, key, false, |entry| entry.value().clone())
        })
    }

    /// Leads the refreshing of a value, unless someone else does or has done it already.
    fn lead_refresh<Q>(&self, hash: u64, key: &Q, written_ns: u64) -> Option<Leader<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let leader = self.inner.flights.try_lead(hash, key)?;
        match self.look_up_written(key) {
            Some(now_ns) if now_ns == written_ns => Some(leader),
            _ => None,
        }
    }

    fn look_up_written<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        on_engine!(self, store => {
            let guard = store.guard(key, false)?;
            store.written_ns(key, &guard)
        })
    }

    /// Puts a refreshed value in the place of the old one, if that is still there.
    fn end_refresh<E>(
        &self,
        leader: Leader<'_, K, V>,
        key: K,
        result: Result<V, E>,
        (old, written_ns): (V, u64),
    ) -> V
    where
        E: Send + Sync + 'static,
    {
        let Ok(value) = result else {
            // Whoever joined meanwhile takes over: the old value may have left.
            return old;
        };
        let expect = Expect::WrittenAt(written_ns);
        let written = on_engine!(self, store => {
            store.upsert(key, value.clone(), Lifetime::Configured, expect)
        });
        let current = match written {
            Ok(_) => value,
            Err((key, value)) => self.peek(&key).unwrap_or(value),
        };
        match leader.settle(Ok::<V, E>(current)) {
            Ok(value) => value,
            Err(_) => old,
        }
    }

    /// Inserts a loaded value, unless someone else has written one meanwhile, which is returned.
    fn admit(&self, hash: u64, key: K, value: V) -> V {
        let loaded = value.clone();
        let inserted = on_engine!(self, store => {
            store.upsert_hashed(hash, key, value, Lifetime::Configured, Expect::Absent)
        });
        match inserted {
            Ok(_) => loaded,
            Err((key, _)) => self.peek_hashed(hash, &key).unwrap_or(loaded),
        }
    }

    fn counted<E>(&self, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let mut count = LoadCount::begin(self);
        let result = load();
        count.succeeded = result.is_ok();
        result
    }

    async fn counted_async<E>(&self, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let mut count = LoadCount::begin(self);
        let result = load.await;
        count.succeeded = result.is_ok();
        result
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Clock, Engine, LoadError};
    use std::convert::Infallible;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn cache(engine: Engine) -> Cache<u64, u64> {
        Cache::builder()
            .capacity(100)
            .engine(engine)
            .build()
            .unwrap()
    }

    #[test]
    fn threads_that_miss_together_load_once() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let (cache, loads, start) = (cache(engine), AtomicU64::new(0), Barrier::new(8));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        let value = cache.get_or_insert_with(&1, || {
                            loads.fetch_add(1, Ordering::Relaxed);
                            Ok::<_, Infallible>(7)
                        });
                        assert_eq!(value.unwrap(), 7);
                    });
                }
            });
            assert_eq!(loads.into_inner(), 1);
            let stats = cache.stats();
            assert_eq!(
                (stats.loads, stats.load_failures, stats.insertions),
                (1, 0, 1)
            );
        }
    }

    #[test]
    fn a_failed_or_panicking_load_inserts_nothing_and_the_next_one_may_succeed() {
        let cache = cache(Engine::LockFree);
        let failed = cache.get_or_insert_with(&1, || Err::<u64, _>("no"));
        assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "no"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(&1, || -> Result<u64, Infallible> {
                panic!("a test's panic")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(cache.len(), 0);
        assert_eq!(
            cache
                .get_or_insert_with(&1, || Ok::<_, Infallible>(3))
                .unwrap(),
            3
        );
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.load_failures), (3, 2));
    }

    #[test]
    fn a_loader_that_asks_for_its_own_key_is_told_so() {
        let cache = cache(Engine::LockFree);
        let value = cache.get_or_insert_with(&1, || {
            match cache.get_or_insert_with(&1, || Ok::<_, Infallible>(1)) {
                Err(LoadError::Recursive) => Ok::<_, Infallible>(9),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(value.unwrap(), 9);
    }

    #[test]
    fn a_cancelled_task_leaves_the_key_to_the_next() {
        let cache = cache(Engine::LockFree);
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(
            cache.get_or_insert_async(&1, std::future::pending::<Result<u64, Infallible>>()),
        );
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let mut second = Box::pin(cache.get_or_insert_async(&1, async { Ok::<_, Infallible>(5) }));
        assert!(
            second.as_mut().poll(&mut cx).is_pending(),
            "the first one loads"
        );
        drop(first);
        let Poll::Ready(value) = second.as_mut().poll(&mut cx) else {
            panic!("the second one takes over");
        };
        assert_eq!((value.unwrap(), cache.get(&1)), (5, Some(5)));
        assert_eq!(cache.stats().load_failures, 1);
    }

    #[test]
    fn a_value_that_was_written_meanwhile_is_not_overwritten() {
        let cache = cache(Engine::LockFree);
        let value = cache.get_or_insert_with(&1, || {
            cache.insert(1, 2);
            Ok::<_, Infallible>(1)
        });
        assert_eq!((value.unwrap(), cache.get(&1)), (2, Some(2)));
    }

    #[test]
    fn a_stale_value_is_refreshed_by_one_and_served_to_all_others() {
        let (clock, hands) = Clock::manual();
        let builder = Cache::<u64, u64>::builder().capacity(10).clock(clock);
        let cache = builder
            .refresh_after(Duration::from_secs(1))
            .build()
            .unwrap();
        let load = |value: u64| move || Ok::<_, Infallible>(value);
        assert_eq!(cache.get_or_insert_with(&1, load(1)).unwrap(), 1);
        assert_eq!(
            cache.get_or_insert_with(&1, load(2)).unwrap(),
            1,
            "it is fresh"
        );
        hands.advance(Duration::from_secs(1));
        let refreshed = cache.get_or_insert_with(&1, || {
            let other = cache.get_or_insert_with(&1, load(8)).unwrap();
            assert_eq!(other, 1, "others are given the old one");
            Ok::<_, Infallible>(3)
        });
        assert_eq!((refreshed.unwrap(), cache.get(&1)), (3, Some(3)));
        hands.advance(Duration::from_secs(2));
        let failed = cache.get_or_insert_with(&1, || Err::<u64, _>("down"));
        assert_eq!(
            failed.unwrap(),
            3,
            "the old one serves when the loader fails"
        );
    }
}
