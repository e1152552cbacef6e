//! The rows that the measuring commands give with `--json`: flat objects, whose fields are what
//! scripts rely on. The report reads them back.

use crate::keys::Kind;
use serde::{Deserialize, Serialize};

/// A line of `nuthatch-lab throughput`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ThroughputRow {
    /// The cache.
    pub cache: String,
    /// The workload's name.
    pub workload: String,
    /// The kind of entries.
    pub keys: Kind,
    /// Threads that worked at a time.
    pub threads: u32,
    /// Operations per second: the median of the rounds,
    pub ops_per_s_median: f64,
    /// the slowest
    pub ops_per_s_min: f64,
    /// and the fastest of them.
    pub ops_per_s_max: f64,
    /// `None` where nothing is read.
    pub hit_ratio: Option<f64>,
    /// The median duration of all operations,
    pub p50_ns: u64,
    /// their 99th percentile
    pub p99_ns: u64,
    /// and their 99.9th.
    pub p999_ns: u64,
    /// The same of reads that found their key; `None` where there are none. The median,
    pub hit_p50_ns: Option<u64>,
    /// the 90th percentile,
    pub hit_p90_ns: Option<u64>,
    /// the 99th,
    pub hit_p99_ns: Option<u64>,
    /// the 99.9th,
    pub hit_p999_ns: Option<u64>,
    /// and the 99.99th.
    pub hit_p9999_ns: Option<u64>,
}

/// A line of `nuthatch-lab evict`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EvictRow {
    /// The cache.
    pub cache: String,
    /// Entries that it holds.
    pub capacity: u32,
    /// Nanoseconds for an insertion and its eviction: the median of the rounds,
    pub ns_per_insert: f64,
    /// the quickest
    pub ns_per_insert_min: f64,
    /// and the slowest of them.
    pub ns_per_insert_max: f64,
    /// Allocations for each, on all threads.
    pub allocs_per_insert: f64,
    /// The bytes that they asked for.
    pub bytes_per_insert: f64,
}

/// A line of `nuthatch-lab memory`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MemoryRow {
    /// The cache.
    pub cache: String,
    /// The kind of entries.
    pub keys: Kind,
    /// When it was measured.
    pub phase: Phase,
    /// Entries resident at the end of the phase.
    pub entries: u64,
    /// `None` where a thread of the cache's own allocates.
    pub heap_bytes_per_entry: Option<f64>,
    /// `None` where the machine does not tell.
    pub rss_bytes_per_entry: Option<f64>,
}

/// When memory is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// After as many insertions as entries fit.
    Fill,
    /// After insertions of new keys beyond that.
    Churn,
}

/// A line of `nuthatch-lab hitratio`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HitRatioRow {
    /// The cache.
    pub cache: String,
    /// The trace.
    pub trace: String,
    /// The cache's capacity in entries.
    pub size: u64,
    /// Threads that shared the requests.
    pub threads: u32,
    /// Misses per request.
    pub miss_ratio: f64,
}
