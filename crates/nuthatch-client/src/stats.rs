//! Counts of what the near cache does, in the library's words.

use nuthatch::StatsSnapshot;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper edges of the histogram of remote latency, in microseconds: two for each doubling from 32 us to
/// 16 s; one more bucket takes the rest.
const EDGES: usize = 39;

/// The upper edge of a bucket, in microseconds.
fn edge_us(bucket: usize) -> u64 {
    let doubling = 32_u64 << (bucket / 2);
    if bucket.is_multiple_of(2) {
        doubling
    } else {
        doubling + doubling / 2
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters, shared by all who count. Only misses and what is rare count here: hits in process
        /// are counted by the library, in stripes.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            latency: Latency,
        }

        /// What a near cache has done so far.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TieredStats {
            /// The cache in process, as the library counts. Its hits include those that
            /// [`unvouched`](Self::unvouched) counts, which were not given out.
            pub local: StatsSnapshot,
            $($(#[$doc])* pub $name: u64,)*
            /// How long the remote tier took to answer.
            pub remote_latency: LatencyHistogram,
            /// By how much an entry that is given out now may be behind the remote tier at most: the time
            /// since the node that was silent for longest was last heard of. Nothing where no node vouches
            /// for its entries.
            pub staleness: Option<Duration>,
            /// Keys that are being read or written just now.
            pub pending: usize,
        }

        impl Counters {
            pub(crate) fn snapshot(
                &self,
                local: StatsSnapshot,
                staleness: Option<Duration>,
                pending: usize,
            ) -> TieredStats {
                TieredStats {
                    local,
                    $($name: self.$name.get(),)*
                    remote_latency: self.latency(),
                    staleness,
                    pending,
                }
            }
        }

        impl TieredStats {
            /// Each counter of the near cache with its name, for those who export them.
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Reads that the remote tier answered with a value.
    remote_hits,
    /// Reads for which the remote tier had none.
    remote_misses,
    /// Entries in process that were not given out since nobody vouched for them any more.
    unvouched,
    /// Reads that were given "there is none", remembered in process or by the remote tier.
    negative_hits,
    /// Reads that waited for one that was under way.
    followed,
    /// Loaders that were called.
    loads,
    /// Of these, those that failed, took too long, or were dropped.
    load_failures,
    /// Loads that were waited for since another process held the key's lease.
    lease_waits,
    /// Values given out although they were due to be loaded anew, since another loads them.
    stale_served,
    /// Values written to the remote tier.
    remote_writes,
    /// Keys removed from the remote tier.
    remote_removals,
    /// Requests to the remote tier that failed, of any kind.
    remote_failures,
    /// Of these, those that were not answered in time.
    remote_timeouts,
    /// Of these, those that were not sent, since the node was known not to be reachable.
    remote_unavailable,
    /// Of these, those that were not sent, since too many were waiting.
    remote_overloaded,
    /// Values of the remote tier that did not decode; each is a miss.
    undecodable,
    /// Values that were too long to be kept.
    oversized,
    /// Keys of this cache that a node said have changed.
    invalidations,
    /// Times that all entries of a node were dropped since its connection broke.
    disconnects,
    /// Times that a node said that everything was flushed.
    flushes,
    /// Slots whose entries were dropped since they moved to another node.
    moved_slots,
    /// Answers that were not kept in process since their key changed while they were on their way.
    raced,
    /// Connections that were made.
    connects,
    /// Attempts to connect that failed.
    connect_failures,
}

/// Something that is counted.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The histogram as it is counted.
#[derive(Debug)]
struct Latency {
    buckets: [AtomicU64; EDGES + 1],
    sum_us: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; EDGES + 1],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// The remote tier took so long for an answer.
    pub(crate) fn answered_in(&self, elapsed: Duration) {
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        // The first bucket whose upper edge could be it, by the doubling that the latency lies in.
        let first = 2 * (us.max(32).ilog2() as usize - 5);
        let bucket = (first..EDGES).find(|&bucket| us <= edge_us(bucket));
        self.latency.buckets[bucket.unwrap_or(EDGES)].fetch_add(1, Ordering::Relaxed);
        self.latency.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn latency(&self) -> LatencyHistogram {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LatencyHistogram {
            buckets: self.latency.buckets.each_ref().map(load),
            sum_us: load(&self.latency.sum_us),
        }
    }
}

/// How often an answer took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    buckets: [u64; EDGES + 1],
    sum_us: u64,
}

impl LatencyHistogram {
    /// How many answers there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What they took on average; nothing if there were none.
    pub fn mean(&self) -> Option<Duration> {
        let mean_us = self.sum_us.checked_div(self.count())?;
        Some(Duration::from_micros(mean_us))
    }

    /// What the given part of all answers (0.99, say) did not exceed, to within a third; nothing if there
    /// were none, or if it was beyond 16 seconds.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * part.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        (bucket < EDGES).then(|| Duration::from_micros(edge_us(bucket)))
    }

    /// The buckets: the upper edge of each, and how many answers lay in it or one before it. The last has
    /// no edge.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.buckets
            .iter()
            .enumerate()
            .scan(0, |seen, (bucket, count)| {
                *seen += count;
                let edge = (bucket < EDGES).then(|| Duration::from_micros(edge_us(bucket)));
                Some((edge, *seen))
            })
    }
}

impl TieredStats {
    /// Reads that the cache in process answered with a value, or with the knowledge that there is none.
    pub fn local_hits(&self) -> u64 {
        self.local.hits.saturating_sub(self.unvouched)
    }

    /// Which part of all reads the cache in process answered; nothing if there were none.
    pub fn local_hit_ratio(&self) -> Option<f64> {
        let reads = self.local.hits + self.local.misses;
        (reads > 0).then(|| self.local_hits() as f64 / reads as f64)
    }

    /// Publishes the snapshot through the [`metrics`] facade, under the label `cache` with the given name:
    /// each counter as `nuthatch_tiered_..._total`, the staleness bound in seconds, the number of pending
    /// keys, and the cache in process as the library does. Call it as often as the recorder should see
    /// news.
    #[cfg(feature = "metrics")]
    pub fn publish(&self, cache: &str) {
        use metrics::{counter, gauge};

        self.local.publish(cache);
        let cache = cache.to_owned();
        for (name, count) in self.counts() {
            counter!(format!("nuthatch_tiered_{name}_total"), "cache" => cache.clone())
                .absolute(count);
        }
        for (edge, count) in self.remote_latency.cumulative() {
            let edge =
                edge.map_or_else(|| "+Inf".to_owned(), |edge| edge.as_secs_f64().to_string());
            counter!("nuthatch_tiered_remote_latency_seconds_bucket", "cache" => cache.clone(), "le" => edge)
                .absolute(count);
        }
        if let Some(staleness) = self.staleness {
            gauge!("nuthatch_tiered_staleness_seconds", "cache" => cache.clone())
                .set(staleness.as_secs_f64());
        }
        gauge!("nuthatch_tiered_pending", "cache" => cache).set(self.pending as f64);
    }
}

/// One line for people.
impl fmt::Display for TieredStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "local hits {}, remote hits {}, remote misses {}, loads {} ({} failed), invalidations {}, \
             unvouched {}, disconnects {}, remote failures {}",
            self.local_hits(),
            self.remote_hits,
            self.remote_misses,
            self.loads,
            self.load_failures,
            self.invalidations,
            self.unvouched,
            self.disconnects,
            self.remote_failures,
        )?;
        if let Some(p99) = self.remote_latency.quantile(0.99) {
            write!(f, ", remote p99 {p99:.1?}")?;
        }
        if let Some(staleness) = self.staleness {
            write!(f, ", at most {staleness:.1?} behind")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, EDGES, edge_us};
    use std::time::Duration;

    #[test]
    fn quantiles_are_within_a_third_above() {
        let counters = Counters::default();
        assert_eq!(counters.latency().quantile(0.5), None);
        for us in 1..=100_000 {
            counters.answered_in(Duration::from_micros(us));
        }
        let latency = counters.latency();
        assert_eq!(latency.count(), 100_000);
        assert_eq!(latency.mean(), Some(Duration::from_micros(50_000)));
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = 100_000.0 * part;
            let found = latency.quantile(part).expect("there are some").as_micros() as f64;
            assert!(found >= exact && found <= exact * 1.5, "{part}: {found}");
        }
    }

    #[test]
    fn buckets_cover_every_latency_once() {
        for bucket in 1..EDGES {
            assert!(edge_us(bucket) > edge_us(bucket - 1));
        }
        let counters = Counters::default();
        counters.answered_in(Duration::ZERO);
        counters.answered_in(Duration::from_secs(1_000));
        let cumulative: Vec<_> = counters.latency().cumulative().collect();
        assert_eq!(cumulative[0].1, 1);
        assert_eq!(cumulative[EDGES], (None, 2));
        assert_eq!(
            counters.latency().quantile(1.0),
            None,
            "beyond the last edge"
        );
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn every_counter_is_published_under_its_name() {
        use metrics_util::debugging::{DebugValue, DebuggingRecorder};
        use nuthatch::Cache;
        use std::collections::BTreeMap;

        let counters = Counters::default();
        counters.remote_hits.add(3);
        counters.invalidations.count();
        counters.answered_in(Duration::from_micros(40));
        let local: Cache<u32, u32> = Cache::new(10);
        let stats = counters.snapshot(local.stats(), Some(Duration::from_millis(250)), 2);
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || stats.publish("users"));
        let mut published = BTreeMap::new();
        for (key, _, _, value) in recorder.snapshotter().snapshot().into_vec() {
            let key = key.key();
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            assert!(labels.contains(&"cache=users".to_owned()), "{key:?}");
            let edge = labels
                .into_iter()
                .find(|label| label.starts_with("le="))
                .unwrap_or_default();
            published.insert(format!("{}{edge}", key.name()), value);
        }
        let count = |name: &str| {
            published
                .get(&format!("nuthatch_tiered_{name}"))
                .expect(name)
        };
        for (name, value) in stats.counts() {
            assert_eq!(count(&format!("{name}_total")), &DebugValue::Counter(value));
        }
        assert_eq!(count("remote_hits_total"), &DebugValue::Counter(3));
        assert_eq!(count("staleness_seconds"), &DebugValue::Gauge(0.25.into()));
        assert_eq!(count("pending"), &DebugValue::Gauge(2.0.into()));
        assert_eq!(
            count("remote_latency_seconds_bucketle=0.000032"),
            &DebugValue::Counter(0)
        );
        assert_eq!(
            count("remote_latency_seconds_bucketle=0.000048"),
            &DebugValue::Counter(1)
        );
        assert_eq!(
            count("remote_latency_seconds_bucketle=+Inf"),
            &DebugValue::Counter(1)
        );
        assert!(
            published.contains_key("nuthatch_capacity"),
            "the library's own, too"
        );
    }
}
