//! `/metrics`: what a Prometheus server scrapes, as OpenMetrics text.
//!
//! Names, units and labels follow Prometheus' conventions; every name begins with `nuthatch_`. They are
//! an interface: dashboards and alerts of others use them, so a name that was given stays. No label
//! holds what a client chose, so the number of series is bounded by the number of commands.

mod durability;

use crate::command;
use crate::history::Look;
use crate::server::Server;
use crate::stats::{CommandTally, TimesSum, WorkerStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of commands' times, in nanoseconds: half a microsecond to a second.
const BUCKETS_NS: &[u64] = &[
    500,
    1_000,
    2_000,
    4_000,
    8_000,
    16_000,
    32_000,
    64_000,
    125_000,
    250_000,
    500_000,
    1_000_000,
    4_000_000,
    16_000_000,
    64_000_000,
    250_000_000,
    1_000_000_000,
];

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Of `server`.
    pub fn new(server: Arc<Server>) -> Self {
        let mut registry = Registry::with_prefix("nuthatch");
        registry.register_collector(Box::new(Source(server)));
        Self { registry }
    }

    /// All metrics as they are now, as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Source(Arc<Server>);

/// Name, help and value of a counter of which each command or thread has one.
type Count<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Writes metrics one after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

/// What a series of a histogram or counter without labels is called by.
type NoLabels = [(&'static str, &'static str); 0];

impl Writer<'_> {
    /// A counter without labels.
    fn count(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        metric.encode_counter::<NoLabels, u64, f64>(&value, None)
    }

    /// A gauge without labels.
    fn level(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        metric.encode_gauge(&(value as f64))
    }

    /// A gauge of seconds without labels.
    fn time(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Gauge);
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        metric.encode_gauge(&seconds)
    }

    /// A counter of seconds without labels.
    fn count_time(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Counter);
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        metric.encode_counter::<NoLabels, f64, f64>(&seconds, None)
    }

    fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in series {
            let mut series = metric.encode_family(&labels)?;
            series.encode_counter::<L, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in series {
            metric
                .encode_family(&labels)?
                .encode_gauge(&(value as f64))?;
        }
        Ok(())
    }
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let look = Look::at(&self.0, crate::clock::now_ms());
        self.process(&mut writer)?;
        self.commands(&mut writer)?;
        self.keyspace(&mut writer, &look)?;
        self.connections(&mut writer, &look)?;
        durability::write(&mut writer, &self.0.durability_figures())?;
        self.threads(&mut writer)
    }
}

impl Source {
    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let config = self.0.config();
        let policy = self.0.keyspace.cache().policy().to_string();
        writer.gauge(
            "build_info",
            "Version and policy in force; always 1.",
            None,
            [(
                [
                    ("version", env!("CARGO_PKG_VERSION")),
                    ("policy", policy.as_str()),
                ],
                1,
            )],
        )?;
        writer.level(
            "start_time",
            "When the server started, since 1970.",
            Some(&Unit::Seconds),
            self.0.started_ms / 1000,
        )?;
        writer.level(
            "max_clients",
            "Clients connected at most.",
            None,
            u64::from(config.maxclients),
        )
    }

    fn commands(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let entries = command::table().entries();
        let total = |id: u32, count: fn(&CommandTally) -> u64| {
            self.0.total(|stats| count(&stats.commands[id as usize]))
        };
        let called: Vec<_> = entries
            .iter()
            .filter(|entry| {
                let id = entry.id;
                total(id, |command| command.calls.get() + command.rejected.get()) > 0
            })
            .collect();
        let counts: [Count<CommandTally>; 3] = [
            ("commands", "Commands that ran.", |command| {
                command.calls.get()
            }),
            (
                "commands_failed",
                "Commands that ran and answered an error.",
                |command| command.failed.get(),
            ),
            (
                "commands_rejected",
                "Commands turned away before they ran.",
                |command| command.rejected.get(),
            ),
        ];
        for (name, help, count) in counts {
            let series = called.iter().map(|entry| {
                (
                    [("command", entry.full_name.as_str())],
                    total(entry.id, count),
                )
            });
            writer.counter(name, help, None, series)?;
        }
        let mut operations: Vec<(&str, u64)> = Vec::new();
        for worker in self.0.workers() {
            let counted = worker.stats.memcached.operations();
            operations.resize(counted.len(), ("", 0));
            for (sum, (name, count)) in operations.iter_mut().zip(counted) {
                *sum = (name, sum.1 + count);
            }
        }
        let series = operations.into_iter();
        writer.counter(
            "memcached_operations",
            "Operations of memcached's clients on keys.",
            None,
            series.map(|(name, count)| ([("operation", name)], count)),
        )?;
        let mut metric = writer.0.encode_descriptor(
            "command_duration",
            "Time that commands took to run. Quick ones are timed now and then, and each that is timed \
             stands for those that are not.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for entry in called {
            let mut times = TimesSum::default();
            for worker in self.0.workers() {
                let command = &worker.stats.commands[entry.id as usize];
                command.times.add_to(&mut times);
            }
            let labels = [("command", entry.full_name.as_str())];
            let mut below = 0;
            let mut buckets = Vec::with_capacity(BUCKETS_NS.len() + 1);
            for &bound_ns in BUCKETS_NS {
                let up_to = times.count_up_to(bound_ns);
                buckets.push((seconds(bound_ns), up_to - below));
                below = up_to;
            }
            let count = times.count();
            buckets.push((f64::MAX, count - below));
            let sum = seconds(total(entry.id, |command| command.ns.get()));
            let mut series = metric.encode_family(&labels)?;
            series.encode_histogram::<[(&str, &str); 1]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn keyspace(&self, writer: &mut Writer<'_>, look: &Look) -> fmt::Result {
        let stats = self.0.keyspace.cache().stats();
        let levels = &look.levels;
        writer.level("keys", "Keys held.", None, levels.keys)?;
        let counts = [
            ("keyspace_hits", "Reads that found a live key.", stats.hits),
            ("keyspace_misses", "Reads that found none.", stats.misses),
            (
                "insertions",
                "Keys written, new or again.",
                stats.insertions,
            ),
            ("expirations", "Keys removed for time.", stats.expired),
            ("deletions", "Keys removed on request.", stats.invalidated),
        ];
        for (name, help, count) in counts {
            writer.count(name, help, None, count)?;
        }
        writer.counter(
            "evictions",
            "Keys that had to go for space, by cause: evicted by the policy, or not admitted by it.",
            None,
            [
                ([("cause", "capacity")], stats.evicted),
                ([("cause", "admission")], stats.rejected),
            ],
        )?;
        writer.gauge(
            "memory",
            "Memory of the process by kind; resident is the whole, bound what it may be.",
            Some(&Unit::Bytes),
            [
                ([("kind", "items")], levels.item_bytes),
                ([("kind", "tables")], levels.table_bytes),
                ([("kind", "connections")], levels.connection_bytes),
                ([("kind", "resident")], levels.resident_bytes),
                ([("kind", "bound")], levels.bound_bytes),
            ],
        )
    }

    fn connections(&self, writer: &mut Writer<'_>, look: &Look) -> fmt::Result {
        let counts = &look.counts;
        writer.level("clients", "Clients connected.", None, look.levels.clients)?;
        writer.count(
            "connections",
            "Connections taken.",
            None,
            counts.connections,
        )?;
        writer.count(
            "connections_rejected",
            "Connections turned away.",
            None,
            self.0.rejected_connections.load(Ordering::Relaxed),
        )?;
        let dropped = |count: fn(&WorkerStats) -> u64| self.0.total(count);
        writer.counter(
            "clients_dropped",
            "Clients disconnected for their buffers, by the limit that they exceeded.",
            None,
            [
                (
                    [("limit", "output")],
                    dropped(|stats| stats.output_limit_disconnections.get()),
                ),
                (
                    [("limit", "query")],
                    dropped(|stats| stats.query_limit_disconnections.get()),
                ),
            ],
        )?;
        writer.count(
            "network_received",
            "Bytes read from clients.",
            Some(&Unit::Bytes),
            counts.read_bytes,
        )?;
        writer.count(
            "network_sent",
            "Bytes written to clients.",
            Some(&Unit::Bytes),
            counts.written_bytes,
        )?;
        writer.count("errors", "Errors answered.", None, counts.errors)
    }

    fn threads(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let counts: [Count<WorkerStats>; 3] = [
            ("thread_wakes", "Times a data thread woke.", |stats| {
                stats.wakes.get()
            }),
            (
                "thread_reads",
                "Reads of a data thread from sockets.",
                |stats| stats.reads.get(),
            ),
            (
                "thread_writes",
                "Writes of a data thread to sockets.",
                |stats| stats.writes.get(),
            ),
        ];
        for (name, help, count) in counts {
            let series = self.0.workers().iter().map(|worker| {
                let labels = [("thread", worker.id.to_string())];
                (labels, count(&worker.stats))
            });
            writer.counter(name, help, None, series)?;
        }
        let series = self.0.workers().iter().map(|worker| {
            let labels = [("thread", worker.id.to_string())];
            (labels, worker.stats.clients.get())
        });
        writer.gauge("thread_clients", "Clients of a data thread.", None, series)
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
