//! Those who read, each by its documented best call. Keys are the same numbers for all: the near cache and the
//! library have them as numbers, the `redis` crate is given them as text that was made beforehand.

use super::tasks::check;
use super::{Bench, NAMESPACE, NearError, REQUEST_TIMEOUT, TIME_TO_LIVE};
use nuthatch::Cache;
use nuthatch_client::{TieredCache, TieredCacheBuilder, WithoutTracking, codec};
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, ProtocolVersion};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// Somebody who reads; clones read through the same cache and connection.
pub(super) trait Reader: Clone + Send + Sync + 'static {
    /// One read in so many is timed: few where a read may take less than the clock does.
    const TIMED_STRIDE: u64 = 64;

    /// Reads a key; how long its value is.
    fn read(&mut self, key: u32) -> impl Future<Output = Result<Option<usize>, NearError>> + Send;

    /// Reads that were answered in process so far; `None` without a cache.
    fn hits(&self) -> Option<u64>;
}

/// A connection of the `redis` crate.
#[derive(Clone)]
pub(super) struct Connected {
    connection: MultiplexedConnection,
    names: Arc<[String]>,
}

impl Connected {
    async fn open(
        bench: &Bench,
        protocol: ProtocolVersion,
        config: AsyncConnectionConfig,
    ) -> Result<Self, NearError> {
        let config = config
            .set_response_timeout(Some(REQUEST_TIMEOUT))
            .set_connection_timeout(Some(REQUEST_TIMEOUT));
        let client = bench.server.client(protocol)?;
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Self {
            connection,
            names: Arc::clone(&bench.names),
        })
    }

    async fn read(&mut self, key: u32) -> Result<Option<usize>, NearError> {
        let mut get = redis::cmd("GET");
        get.arg(&self.names[key as usize]);
        let value: Option<Vec<u8>> = get.query_async(&mut self.connection).await?;
        Ok(value.map(|value| value.len()))
    }
}

/// See [`super::Contender::Plain`].
#[derive(Clone)]
pub(super) struct Plain(Connected);

impl Plain {
    pub(super) async fn connect(bench: &Bench) -> Result<Self, NearError> {
        let config = AsyncConnectionConfig::new();
        let connected = Connected::open(bench, ProtocolVersion::RESP2, config).await?;
        Ok(Self(connected))
    }
}

impl Reader for Plain {
    const TIMED_STRIDE: u64 = 1;

    async fn read(&mut self, key: u32) -> Result<Option<usize>, NearError> {
        self.0.read(key).await
    }

    fn hits(&self) -> Option<u64> {
        None
    }
}

/// See [`super::Contender::Caching`].
#[derive(Clone)]
pub(super) struct Caching(Connected);

impl Caching {
    pub(super) async fn connect(bench: &Bench) -> Result<Self, NearError> {
        let size = NonZeroUsize::new(bench.scale.capacity as usize).expect("there is room");
        let cache = CacheConfig::new()
            .set_size(size)
            .set_default_client_ttl(TIME_TO_LIVE);
        let config = AsyncConnectionConfig::new().set_cache_config(cache);
        let connected = Connected::open(bench, ProtocolVersion::RESP3, config).await?;
        Ok(Self(connected))
    }
}

impl Reader for Caching {
    #[inline]
    async fn read(&mut self, key: u32) -> Result<Option<usize>, NearError> {
        self.0.read(key).await
    }

    fn hits(&self) -> Option<u64> {
        let statistics = self.0.connection.get_cache_statistics();
        Some(statistics.expect("it has a cache").hit as u64)
    }
}

/// See [`super::Contender::Near`] and [`super::Contender::Broadcast`].
#[derive(Clone)]
pub(super) struct Near(pub(super) TieredCache<u64, Arc<[u8]>>);

impl Near {
    pub(super) async fn connect(bench: &Bench, broadcast: bool) -> Result<Self, NearError> {
        let near = local(bench)
            .remote(bench.server.url())
            .remote_timeout(REQUEST_TIMEOUT)
            .max_staleness(REQUEST_TIMEOUT)
            .without_tracking(WithoutTracking::Refuse)
            .broadcast(broadcast);
        Ok(Self(near.build().await?))
    }

    /// One that holds the hot keys, and for which nobody vouches, as with a server that does not track: its
    /// server is not there, and its loader has the values.
    pub(super) async fn unvouched(bench: &Bench) -> Result<Self, NearError> {
        let near = local(bench)
            // A path that leads through a file leads nowhere.
            .remote("redis+unix:///dev/null/none")
            .start_without_remote(true)
            .max_reconnect_wait(TIME_TO_LIVE)
            .max_staleness(TIME_TO_LIVE);
        let near = near.build().await?;
        for key in 0..bench.scale.hot {
            let load = async |_: &u64| Ok::<_, Infallible>(Arc::from(&bench.value[..]));
            let loaded = near.get_or_load(&u64::from(key), load).await;
            check(key, loaded.ok().map(|value| value.len()), bench.value.len())?;
        }
        Ok(Self(near))
    }
}

fn local(bench: &Bench) -> TieredCacheBuilder<u64, Arc<[u8]>> {
    TieredCache::builder()
        .local(Cache::builder().capacity(bench.scale.capacity.into()))
        .local_time_to_live(TIME_TO_LIVE)
        .namespace(NAMESPACE)
        .codec(codec::Bytes)
}

impl Reader for Near {
    #[inline]
    async fn read(&mut self, key: u32) -> Result<Option<usize>, NearError> {
        let value = self.0.get(&u64::from(key)).await?;
        Ok(value.map(|value| value.len()))
    }

    fn hits(&self) -> Option<u64> {
        Some(self.0.stats().local_hits())
    }
}

/// See [`super::Contender::Library`].
#[derive(Clone)]
pub(super) struct Library {
    pub(super) cache: Cache<u64, Arc<[u8]>>,
    value: Arc<[u8]>,
}

impl Library {
    pub(super) fn new(bench: &Bench, time_to_live: Option<Duration>) -> Self {
        let mut builder = Cache::builder().capacity(bench.scale.capacity.into());
        if let Some(time_to_live) = time_to_live {
            builder = builder.time_to_live(time_to_live);
        }
        Self {
            cache: builder.build().expect("the settings go together"),
            value: Arc::clone(&bench.value),
        }
    }
}

impl Reader for Library {
    #[inline]
    async fn read(&mut self, key: u32) -> Result<Option<usize>, NearError> {
        let key = u64::from(key);
        if let Some(value) = self.cache.get(&key) {
            return Ok(Some(value.len()));
        }
        let value: Arc<[u8]> = Arc::from(&self.value[..]);
        let len = value.len();
        self.cache.insert(key, value);
        Ok(Some(len))
    }

    fn hits(&self) -> Option<u64> {
        Some(self.cache.stats().hits)
    }
}
