//! The service: products over HTTP, each read from the nearest place that has it.
//!
//! # Reads
//! `GET /products/{id}` asks the cache in process, then Redis, then the database, and says in the header
//! `x-answered-by` which of them answered. What the database gave is put into both caches on the way back.
//!
//! # Writes
//! `PUT /products/{id}` writes to the database, and then *removes* the product from the caches: cache-aside with
//! invalidation. To insert the new value looks like one read saved, but is wrong as soon as two requests
//! write the same product: the database has them in one order, and Redis may get their values in the other and keep
//! the loser until its time to live ends. Removals have no order to get wrong. What is left is a read that
//! was given the old row before the write and would put it into Redis after the removal; for that the cache
//! uses leases: a removal takes the lease away, and who loads without one does not write.

use crate::database::{Database, DatabaseError, Product};
use axum::extract::{Path, Query, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nuthatch::Cache;
use nuthatch_client::codec::{self, Versioned};
use nuthatch_client::{BuildError, LoadError, RemoteError, TieredCache, TieredStats};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The version of [`Product`] as it lies in Redis: to be raised with a change that old programs cannot read.
const PRODUCT_VERSION: u16 = 1;

/// No read gives a product that was replaced longer ago than this, whatever fails. As a rule, an
/// invalidation makes it go in a moment.
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(2);

/// Which place answered.
pub(crate) const ANSWERED_BY: HeaderName = HeaderName::from_static("x-answered-by");

/// How long that took, as browsers show it: `process;dur=0.004`, in milliseconds.
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The near cache that all processes with the same database share the far part of.
pub(crate) async fn near_cache(
    redis: &str,
    namespace: &str,
) -> Result<TieredCache<u32, Product>, BuildError> {
    TieredCache::builder()
        .local(Cache::builder().capacity(1_000))
        .remote(redis)
        .namespace(namespace)
        .codec(Versioned::new(PRODUCT_VERSION, codec::Json))
        .time_to_live(Duration::from_secs(600))
        // That there is no such product is remembered, too, so that asking for it does not reach the database
        // each time.
        .negative_time_to_live(Duration::from_secs(10))
        // One process loads what several miss. It is longer than a query takes.
        .lease(Duration::from_secs(5))
        .max_staleness(MAX_STALENESS)
        .remote_timeout(Duration::from_secs(1))
        .build()
        .await
}

/// What requests are answered from.
pub(crate) struct Service {
    cache: TieredCache<u32, Product>,
    database: Database,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The cache in process.
    Process,
    /// Redis; or, where requests for one product came together, another request of this process, which
    /// asked for all of them.
    Redis,
    /// The database, which this request asked.
    Database,
    /// The knowledge, in process or in Redis, that the database has no such product.
    Remembered,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Redis => "redis",
            Self::Database => "database",
            Self::Remembered => "remembered",
        })
    }
}

impl Service {
    pub(crate) fn new(cache: TieredCache<u32, Product>, database: Database) -> Self {
        Self { cache, database }
    }

    /// A product, and where it came from. Where that does not matter, the call in the middle is enough; that
    /// asks the cache in process itself, so here a miss counts twice in its statistics.
    async fn find(&self, id: u32) -> Result<(Option<Product>, Source), LoadError<DatabaseError>> {
        if let Some(product) = self.cache.get_local(&id) {
            return Ok((Some(product), Source::Process));
        }
        let mut has_loaded = false;
        let product = self
            .cache
            .get_or_load_optional(&id, |&id| {
                has_loaded = true;
                self.database.find(id)
            })
            .await?;
        let source = match &product {
            _ if has_loaded => Source::Database,
            Some(_) => Source::Redis,
            None => Source::Remembered,
        };
        Ok((product, source))
    }

    /// Stores a product; when this returns, this process gives the new one, and others are being told.
    async fn store(&self, id: u32, product: Product) -> Result<(), ServiceError> {
        self.database.store(id, product).await?;
        let removed = self.cache.remove(&id).await;
        removed.map(drop).map_err(ServiceError::NotInvalidated)
    }
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    /// The product could not be found out.
    #[error("the product cannot be read")]
    Read(#[from] LoadError<DatabaseError>),
    /// Nothing was written.
    #[error("the product is not stored")]
    NotStored(#[from] DatabaseError),
    /// The database has the new product and Redis may have the old one. Who repeats the request repairs
    /// that; otherwise the time to live does.
    #[error(
        "the product is stored, but the old one may still be read until this request is repeated"
    )]
    NotInvalidated(#[source] RemoteError),
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(&self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let body = Json(json!({ "error": text }));
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], body).into_response()
    }
}

/// What clients may ask.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/products/{id}", get(read).put(write))
        .route("/stats", get(stats))
        .route("/healthz", get(health))
        .with_state(service)
}

async fn read(
    State(service): State<Arc<Service>>,
    Path(id): Path<u32>,
) -> Result<Response, ServiceError> {
    let start = Instant::now();
    let (product, source) = service.find(id).await?;
    let took_ms = start.elapsed().as_secs_f64() * 1e3;
    let headers = [
        (ANSWERED_BY, source.to_string()),
        (SERVER_TIMING, format!("{source};dur={took_ms:.3}")),
    ];
    Ok(match product {
        Some(product) => (headers, Json(product)).into_response(),
        None => {
            let body = Json(json!({ "error": format!("there is no product {id}") }));
            (StatusCode::NOT_FOUND, headers, body).into_response()
        }
    })
}

async fn write(
    State(service): State<Arc<Service>>,
    Path(id): Path<u32>,
    Json(product): Json<Product>,
) -> Result<StatusCode, ServiceError> {
    service.store(id, product).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How `/stats` is to look.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Text,
}

/// The parameters of `/stats`.
#[derive(Debug, Deserialize)]
struct StatsQuery {
    #[serde(default)]
    format: Format,
}

async fn stats(State(service): State<Arc<Service>>, Query(query): Query<StatsQuery>) -> Response {
    let stats = service.cache.stats();
    match query.format {
        Format::Json => Json(stats_json(&stats)).into_response(),
        Format::Text => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (plain, format!("{stats}\n")).into_response()
        }
    }
}

fn stats_json(stats: &TieredStats) -> Value {
    let ms = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1e3);
    json!({
        "local": {
            "hits": stats.local_hits(),
            "misses": stats.local.misses,
            "entries": stats.local.len,
            "evicted": stats.local.evicted,
            "expired": stats.local.expired,
        },
        "remote": {
            "hits": stats.remote_hits,
            "misses": stats.remote_misses,
            "writes": stats.remote_writes,
            "removals": stats.remote_removals,
            "failures": stats.remote_failures,
            "timeouts": stats.remote_timeouts,
            "latency_mean_ms": ms(stats.remote_latency.mean()),
            "latency_p99_ms": ms(stats.remote_latency.quantile(0.99)),
        },
        "loads": stats.loads,
        "load_failures": stats.load_failures,
        "lease_waits": stats.lease_waits,
        "negative_hits": stats.negative_hits,
        "followed": stats.followed,
        "invalidations": stats.invalidations,
        "unvouched": stats.unvouched,
        "raced": stats.raced,
        "connects": stats.connects,
        "disconnects": stats.disconnects,
        "staleness_ms": ms(stats.staleness),
        "pending": stats.pending,
    })
}

/// Well is who can answer. Without Redis, products come from the database: slower, but they come.
async fn health(State(service): State<Arc<Service>>) -> Response {
    let database = service.database.find(1).await;
    let status = match &database {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({
        "database": database.is_ok(),
        "redis": service.cache.stats().staleness.is_some(),
    });
    (status, Json(body)).into_response()
}
