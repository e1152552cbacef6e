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

/// A line of `nuthatch-lab server`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServerRow {
    /// The server, without its password.
    pub target: String,
    /// What was sent: `GET:SET` as it was mixed, `cache-aside`, or the trace's name.
    pub work: String,
    /// Requests that a connection sends before it waits for replies; in an open loop, those that it
    /// may have waiting.
    pub pipeline: u32,
    /// Connections, of all threads together.
    pub connections: u32,
    /// Threads that sent.
    pub threads: u32,
    /// Different keys.
    pub keys: u64,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value; `None` where the trace tells.
    pub value_bytes: Option<u32>,
    /// Requests per second that were to be sent; `None` in a closed loop.
    pub rate_per_s: Option<u64>,
    /// Requests answered in all rounds.
    pub ops: u64,
    /// Requests answered per second: the median of the rounds,
    pub ops_per_s_median: f64,
    /// the slowest
    pub ops_per_s_min: f64,
    /// and the fastest of them.
    pub ops_per_s_max: f64,
    /// Requests of an open loop that were due and not sent before the end, in all rounds.
    pub unsent: u64,
    /// Latency in all rounds: the median,
    pub p50_us: f64,
    /// the 99th percentile,
    pub p99_us: f64,
    /// the 99.9th,
    pub p999_us: f64,
    /// and the longest.
    pub max_us: f64,
    /// Hits per read in all rounds; `None` where nothing is read.
    pub hit_ratio: Option<f64>,
    /// Seconds of processor time, in the kernel and outside, that the server takes for a million
    /// requests: the median of the rounds. `None` where its process is not named.
    pub server_cpu_s_per_mop: Option<f64>,
    /// Memory that the server's process occupied after the last round.
    pub rss_bytes: Option<u64>,
    /// The most that it occupied after any round.
    pub rss_bytes_max: Option<u64>,
    /// Processor time of the generator, of that which its threads could have had: near 1, a closed
    /// loop was no faster than the generator. The median of the rounds; `None` in an open loop, which
    /// waits by asking again and again.
    pub generator_busy: Option<f64>,
}

/// A line of `nuthatch-lab near`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "measure", rename_all = "lowercase")]
pub enum NearRow {
    /// Reads of many tasks, of which some reach the server.
    Reads(NearReadsRow),
    /// Reads of one thread, of which none does.
    Hit(NearHitRow),
}

/// Who reads, at which hit ratio.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NearReadsRow {
    /// Who reads.
    pub reader: String,
    /// The part of the reads that the schedule has of hot keys.
    pub hot_ratio: f64,
    /// The part of the reads that was answered in process, in all rounds; `None` without a cache.
    pub hit_ratio: Option<f64>,
    /// Tasks that read.
    pub tasks: u32,
    /// Threads of their runtime.
    pub threads: u32,
    /// Entries that a cache may hold.
    pub capacity: u32,
    /// Different keys, hot and cold.
    pub keys: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Reads in all rounds.
    pub reads: u64,
    /// Reads per second: the median of the rounds,
    pub reads_per_s_median: f64,
    /// the slowest
    pub reads_per_s_min: f64,
    /// and the fastest of them.
    pub reads_per_s_max: f64,
    /// How many times the median of reads without a cache that is.
    pub of_plain: f64,
    /// Latency of the timed reads in all rounds: the median,
    pub p50_ns: u64,
    /// the 99th percentile
    pub p99_ns: u64,
    /// and the 99.9th.
    pub p999_ns: u64,
    /// Requests that the server counted for a thousand reads, in all rounds; `None` if it does not count.
    pub requests_per_1000_reads: Option<f64>,
    /// Hot keys that somebody else wrote, per second.
    pub writes_per_s: f64,
}

/// What a hit in process costs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NearHitRow {
    /// The call.
    pub call: String,
    /// Nanoseconds for a read: the median of the rounds,
    pub ns_median: f64,
    /// the quickest
    pub ns_min: f64,
    /// and the slowest of them.
    pub ns_max: f64,
    /// How many times the median of the library's own call with a time to live that is.
    pub of_library: f64,
    /// How many times the median of the same call on the near cache's own tier in process, whose clock is
    /// cheaper to read.
    pub of_tier: f64,
    /// The part of the reads that was answered in process.
    pub hit_ratio: f64,
}
