//! The builder of a cache: the only place where options exist, and where they are checked.

use crate::DefaultHashBuilder;
use crate::bound::Bound;
use crate::cache::{AnyStore, Cache};
use crate::clock::Clock;
use crate::engine::{Engine, LockFree, Locked};
use crate::expiration::Expiration;
use crate::expiry::{Expiry, Jitter};
use crate::policy::{EvictionPolicy, Policy};
use crate::removal::RemovalCause;
use crate::shard::{KeepTimes, Shard, ShardSetup};
use crate::stats::Stats;
use crate::store::{Listener, Parts, Store, Weigher};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::thread::available_parallelism;
use std::time::Duration;
use thiserror::Error;

/// Shards for each thread that the machine runs at once: enough that two writers rarely meet.
const SHARDS_PER_CORE: usize = 16;
/// A shard should have at least this much capacity, for a policy that sees too few entries chooses
/// badly.
const LEAST_SHARE: u64 = 1024;
/// The most shards that may be asked for.
const MOST_SHARDS: usize = 1 << 16;
/// How many entries a shard expects in a cache bounded by weight, before it knows better.
const EXPECTED_WEIGHED: usize = 64;

/// Settings that no cache can be built with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither `capacity` nor `weight_capacity` was given.
    #[error("a cache needs a bound: give it a capacity or a weight_capacity")]
    NoCapacity,
    /// Both `capacity` and `weight_capacity` were given.
    #[error("a cache has one bound: capacity {entries} or weight_capacity {weight}, not both")]
    TwoCapacities {
        /// The bound in entries.
        entries: u64,
        /// The bound in weight.
        weight: u64,
    },
    /// The bound is 0: nothing could ever be kept.
    #[error("a capacity of 0 keeps nothing; the least is 1")]
    ZeroCapacity,
    /// A weigher without a bound in weight.
    #[error("a weigher needs a weight_capacity; a capacity counts entries")]
    WeigherWithoutWeightCapacity,
    /// A bound in weight without a weigher.
    #[error("a weight_capacity needs a weigher")]
    WeightCapacityWithoutWeigher,
    /// The number of shards is not a power of two, or too large.
    #[error("the number of shards must be a power of two up to {MOST_SHARDS}, not {given}")]
    Shards {
        /// The number given.
        given: usize,
    },
    /// The jitter is not a part of the whole.
    #[error("ttl_jitter must be at least 0 and less than 1, not {given}")]
    Jitter {
        /// The number given, as text.
        given: String,
    },
    /// The background sweeper cannot run without a pause.
    #[error("a sweep period of 0 would never rest")]
    ZeroSweepPeriod,
    /// The system gave no thread to the background sweeper.
    #[error("the system gave no thread to sweep in: {reason}")]
    NoThread {
        /// The system's words.
        reason: String,
    },
}

/// Builds a [`Cache`]. All settings but the bound may be left out.
///
/// ```
/// use nuthatch::{Cache, Engine, Policy};
/// use std::time::Duration;
/// let cache: Cache<String, u64> = Cache::builder()
///     .capacity(10_000)
///     .policy(Policy::Lru)
///     .engine(Engine::LockFree)
///     .time_to_live(Duration::from_secs(300))
///     .build()?;
/// cache.insert("answer".to_owned(), 42);
/// assert_eq!(cache.get("answer"), Some(42));
/// # Ok::<(), nuthatch::BuildError>(())
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct CacheBuilder<K, V, S = DefaultHashBuilder> {
    entries: Option<u64>,
    weight: Option<u64>,
    weigher: Option<Box<Weigher<K, V>>>,
    policy: Policy,
    engine: Engine,
    shards: Option<usize>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    expiry: Option<Box<dyn Expiry<K, V>>>,
    jitter: f64,
    refresh_after: Option<Duration>,
    listener: Option<Box<Listener<K, V>>>,
    statistics: bool,
    sweep_period: Option<Duration>,
    clock: Clock,
    seed: u64,
    hasher: S,
}

impl<K, V> CacheBuilder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            entries: None,
            weight: None,
            weigher: None,
            policy: Policy::Default,
            engine: Engine::default(),
            shards: None,
            time_to_live: None,
            time_to_idle: None,
            expiry: None,
            jitter: 0.0,
            refresh_after: None,
            listener: None,
            statistics: true,
            sweep_period: None,
            clock: Clock::default(),
            seed: 0x6e75_7468_6174_6368,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K, V, S> CacheBuilder<K, V, S> {
    /// The bound, in entries.
    pub fn capacity(mut self, entries: u64) -> Self {
        self.entries = Some(entries);
        self
    }

    /// The bound, in the unit of the [`weigher`](Self::weigher), which must be given too.
    pub fn weight_capacity(mut self, weight: u64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// What an entry weighs. Called once for each write, with no lock held. An entry that weighs
    /// more than the whole capacity is refused; one that weighs 0 is never evicted for its own
    /// sake, but can be evicted when others need room.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Which entries to evict. [`Policy::Default`] adapts to the work.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Which engine to run on; [`Engine::LockFree`] unless set.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// The number of independently locked parts, a power of two. Chosen by the machine's cores and
    /// the capacity unless set. With 1, the [`Locked`] engine is the classic single-lock cache.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How long an entry lives after it was written. Zero: it is expired at once.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = Some(duration);
        self
    }

    /// How long an entry lives after it was last written or hit. A hit moves the deadline only if
    /// that gains at least a thousandth of the duration, so an entry may expire that much early.
    pub fn time_to_idle(mut self, duration: Duration) -> Self {
        self.time_to_idle = Some(duration);
        self
    }

    /// A duration of its own for each entry.
    pub fn expiry(mut self, expiry: impl Expiry<K, V> + 'static) -> Self {
        self.expiry = Some(Box::new(expiry));
        self
    }

    /// Shortens each entry's time to live by a random part of up to `fraction` of it, so that
    /// entries written together do not expire together. At least 0, less than 1.
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// After this long a value is loaded again by the next caller of a loading read, while all
    /// others are still given the old one.
    pub fn refresh_after(mut self, duration: Duration) -> Self {
        self.refresh_after = Some(duration);
        self
    }

    /// Is told of every removed entry, exactly once, on the thread that removed it, with no lock
    /// held. It may use the cache. A panic of it is counted and goes no further.
    pub fn listener(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Whether to count hits, misses, removals and loads; on unless switched off. Counting a hit
    /// writes only memory of the reading thread.
    pub fn statistics(mut self, on: bool) -> Self {
        self.statistics = on;
        self
    }

    /// Runs a background thread that clears away expired entries and drops removed ones every
    /// `period`; it ends with the cache. Without it, writes do this work bit by bit. A minute is
    /// the classic period.
    pub fn sweep_every(mut self, period: Duration) -> Self {
        self.sweep_period = Some(period);
        self
    }

    /// The source of time.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The seed of all random choices (policies that sample, jitter).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The hasher of keys. Its results are mixed once more, so a weak one still spreads.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> CacheBuilder<K, V, T> {
        CacheBuilder {
            entries: self.entries,
            weight: self.weight,
            weigher: self.weigher,
            policy: self.policy,
            engine: self.engine,
            shards: self.shards,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            expiry: self.expiry,
            jitter: self.jitter,
            refresh_after: self.refresh_after,
            listener: self.listener,
            statistics: self.statistics,
            sweep_period: self.sweep_period,
            clock: self.clock,
            seed: self.seed,
            hasher,
        }
    }
}

impl<K, V, S> CacheBuilder<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the cache.
    ///
    /// # Errors
    /// A [`BuildError`] that says which setting is wrong.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let (refresh_after, sweep_period) = (self.refresh_after, self.sweep_period);
        if sweep_period.is_some_and(|period| period.is_zero()) {
            return Err(BuildError::ZeroSweepPeriod);
        }
        let store = match self.engine {
            Engine::LockFree => AnyStore::LockFree(self.build_lock_free()?),
            Engine::Locked => AnyStore::Locked(self.build_locked()?),
        };
        Cache::over(store, refresh_after, sweep_period)
    }

    /// Builds the bare lock-free engine, whatever [`engine`](Self::engine) says. Loading,
    /// refreshing and the background sweeper belong to [`Cache`] and are left out.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_lock_free(self) -> Result<LockFree<K, V, S>, BuildError> {
        self.build_store()
    }

    /// Builds the bare locked engine, as [`build_lock_free`](Self::build_lock_free).
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_locked(self) -> Result<Locked<K, V, S>, BuildError> {
        self.build_store()
    }

    fn build_store<const LOCK_FREE: bool>(self) -> Result<Store<K, V, S, LOCK_FREE>, BuildError> {
        let capacity = self.checked_capacity()?;
        let shards = self.checked_shards(capacity)?;
        let jitter = Jitter::new(self.jitter, self.seed).ok_or_else(|| BuildError::Jitter {
            given: self.jitter.to_string(),
        })?;
        let expiration = Expiration::new(
            self.time_to_live,
            self.time_to_idle,
            self.expiry,
            jitter,
            self.refresh_after.is_some(),
        );
        let bound = Bound::new(capacity, shards);
        let share = bound.share(0);
        let weighed = self.weigher.is_some();
        let expected = if weighed {
            EXPECTED_WEIGHED
        } else {
            usize::try_from(share).unwrap_or(usize::MAX)
        };
        let policy_slots = expected.min(1 << 24);
        let mut policies = self.policy.build(capacity, shards, policy_slots, self.seed);
        let hit_mode = policies[0].hit_mode();
        let sampler = policies[0].sampler();
        let shards = policies
            .drain(..)
            .enumerate()
            .map(|(shard, policy)| {
                Shard::new(ShardSetup {
                    policy,
                    sampler: sampler.clone(),
                    expected,
                    weighed,
                    keep: KeepTimes {
                        limits: expiration.moves_on_read(),
                        written: self.refresh_after.is_some(),
                    },
                    share: bound.share(shard),
                })
            })
            .collect();
        Ok(Store::new(Parts {
            shards,
            bound,
            policy: self.policy,
            policy_slots,
            policy_seed: self.seed,
            hit_mode,
            sampler,
            hasher: self.hasher,
            clock: self.clock,
            expiration,
            stats: Stats::new(self.statistics),
            weigher: self.weigher,
            listener: self.listener,
        }))
    }

    fn checked_capacity(&self) -> Result<u64, BuildError> {
        let capacity = match (self.entries, self.weight) {
            (None, None) => return Err(BuildError::NoCapacity),
            (Some(entries), Some(weight)) => {
                return Err(BuildError::TwoCapacities { entries, weight });
            }
            (Some(_), None) if self.weigher.is_some() => {
                return Err(BuildError::WeigherWithoutWeightCapacity);
            }
            (None, Some(_)) if self.weigher.is_none() => {
                return Err(BuildError::WeightCapacityWithoutWeigher);
            }
            (Some(capacity), None) | (None, Some(capacity)) => capacity,
        };
        if capacity == 0 {
            return Err(BuildError::ZeroCapacity);
        }
        Ok(capacity)
    }

    fn checked_shards(&self, capacity: u64) -> Result<usize, BuildError> {
        if let Some(given) = self.shards {
            if !given.is_power_of_two() || given > MOST_SHARDS {
                return Err(BuildError::Shards { given });
            }
            return Ok(given);
        }
        let cores = available_parallelism().map_or(1, usize::from);
        let wanted = (cores * SHARDS_PER_CORE).next_power_of_two() as u64;
        let affordable = 1 << (capacity / LEAST_SHARE).max(1).ilog2();
        Ok(wanted.min(affordable) as usize)
    }
}

impl<K, V, S> fmt::Debug for CacheBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.entries)
            .field("weight_capacity", &self.weight)
            .field("policy", &self.policy)
            .field("engine", &self.engine)
            .field("shards", &self.shards)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .finish_non_exhaustive()
    }
}
