//! What the server did lately: a sample each second and each minute, in rings of bounded length.
//!
//! Counters only grow, so what happened between two looks is their difference. The control thread
//! looks once a second; a sample holds the differences and the levels at its end. The second ring is
//! made of the same counters, looked at once a minute, so neither is made of the other and none drifts.
//! Quantiles belong to the commands of one interval: they come from the difference of two histograms.

use crate::server::Server;
use crate::stats::TimesSum;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Seconds kept one by one: a quarter of an hour.
pub const SECONDS: usize = 15 * 60;
/// Minutes kept one by one: a day.
pub const MINUTES: usize = 24 * 60;
/// Milliseconds between samples of the second ring.
const MINUTE_MS: u64 = 60_000;

/// Numbers that only grow, or what they grew by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Commands that ran, and memcached's operations on keys.
    pub commands: u64,
    /// Reads that found a live key.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Keys removed for space.
    pub evicted: u64,
    /// Keys removed for time.
    pub expired: u64,
    /// Errors answered.
    pub errors: u64,
    /// Bytes read from clients.
    pub read_bytes: u64,
    /// Bytes written to clients.
    pub written_bytes: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections turned away.
    pub rejected_connections: u64,
    /// Bytes written to the log on disk.
    pub log_written_bytes: u64,
    /// Times that the log was synced.
    pub log_syncs: u64,
    /// How long that took, in nanoseconds.
    pub log_sync_ns: u64,
    /// How long writes had to wait for the disk, in milliseconds.
    pub held_up_ms: u64,
    /// Writes that were refused because the disk had failed.
    pub refused_writes: u64,
}

impl Counts {
    /// What they grew by since `earlier`; a number that was reset meanwhile counts from zero.
    fn since(&self, earlier: &Self) -> Self {
        let growth = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            commands: growth(self.commands, earlier.commands),
            hits: growth(self.hits, earlier.hits),
            misses: growth(self.misses, earlier.misses),
            evicted: growth(self.evicted, earlier.evicted),
            expired: growth(self.expired, earlier.expired),
            errors: growth(self.errors, earlier.errors),
            read_bytes: growth(self.read_bytes, earlier.read_bytes),
            written_bytes: growth(self.written_bytes, earlier.written_bytes),
            connections: growth(self.connections, earlier.connections),
            rejected_connections: growth(self.rejected_connections, earlier.rejected_connections),
            log_written_bytes: growth(self.log_written_bytes, earlier.log_written_bytes),
            log_syncs: growth(self.log_syncs, earlier.log_syncs),
            log_sync_ns: growth(self.log_sync_ns, earlier.log_sync_ns),
            held_up_ms: growth(self.held_up_ms, earlier.held_up_ms),
            refused_writes: growth(self.refused_writes, earlier.refused_writes),
        }
    }
}

/// Numbers that go up and down. Where the memory is, as far as it is known: `item_bytes`,
/// `table_bytes` and `connection_bytes` are parts of `resident_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Clients connected.
    pub clients: u64,
    /// Keys held.
    pub keys: u64,
    /// Bytes of keys and values.
    pub item_bytes: u64,
    /// Bytes of the tables that find, order and expire them.
    pub table_bytes: u64,
    /// Bytes of requests and replies that wait.
    pub connection_bytes: u64,
    /// Bytes of the process in memory; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// Bytes that the process may hold.
    pub bound_bytes: u64,
    /// Bytes that wait to be written to the log on disk.
    pub log_buffered_bytes: u64,
    /// The longest of the log's syncs lately, in nanoseconds.
    pub log_sync_max_ns: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of the snapshot on disk.
    pub snapshot_bytes: u64,
}

/// How long commands took, in nanoseconds; 0 if none was timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// 999 of 1000 took no longer.
    pub p999_ns: u64,
}

impl Quantiles {
    /// Those of `times`.
    pub fn of(times: &TimesSum) -> Self {
        if times.count() == 0 {
            return Self::default();
        }
        Self {
            p50_ns: times.percentile_ns(50.0),
            p99_ns: times.percentile_ns(99.0),
            p999_ns: times.percentile_ns(99.9),
        }
    }
}

/// One interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long it was.
    pub interval_ms: u64,
    /// What happened in it.
    #[serde(flatten)]
    pub counts: Counts,
    /// How things stood at its end.
    #[serde(flatten)]
    pub levels: Levels,
    /// How long its commands took.
    #[serde(flatten)]
    pub quantiles: Quantiles,
}

impl Sample {
    /// A count of the interval as a rate.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1000.0 / self.interval_ms.max(1) as f64
    }
}

/// One look at the server.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The counters.
    pub counts: Counts,
    /// The levels.
    pub levels: Levels,
    /// The times of all commands.
    pub times: TimesSum,
    /// Calls by the command's number.
    pub calls: Vec<u64>,
}

impl Look {
    /// At `server`, now.
    pub fn at(server: &Server, time_ms: u64) -> Self {
        let mut times = TimesSum::default();
        let mut calls = Vec::new();
        for worker in server.workers() {
            calls.resize(worker.stats.commands.len(), 0);
            for (command, sum) in worker.stats.commands.iter().zip(&mut calls) {
                let number = command.calls.get();
                *sum += number;
                if number > 0 {
                    command.times.add_to(&mut times);
                }
            }
        }
        let memcached = server.total(|stats| {
            let operations = stats.memcached.operations();
            operations.iter().map(|(_, count)| count).sum()
        });
        let stats = server.keyspace.cache().stats();
        let table_bytes = server.keyspace.table_bytes();
        let disk = server.durability_figures();
        Self {
            time_ms,
            counts: Counts {
                commands: calls.iter().sum::<u64>() + memcached,
                hits: stats.hits,
                misses: stats.misses,
                evicted: stats.evicted,
                expired: stats.expired,
                errors: server.total(|stats| stats.errors.get()),
                read_bytes: server.total(|stats| stats.read_bytes.get()),
                written_bytes: server.total(|stats| stats.written_bytes.get()),
                connections: server.total(|stats| stats.connections.get()),
                rejected_connections: server.rejected_connections.load(Ordering::Relaxed),
                log_written_bytes: disk.log_written_bytes,
                log_syncs: disk.syncs,
                log_sync_ns: disk.sync_ns,
                held_up_ms: disk.delayed_ms,
                refused_writes: disk.refused_writes,
            },
            levels: Levels {
                clients: server.clients.len() as u64,
                keys: stats.len,
                item_bytes: stats.weight.saturating_sub(table_bytes),
                table_bytes,
                connection_bytes: server.total(|stats| stats.buffered_bytes.get()),
                resident_bytes: crate::control::memory::resident_bytes().unwrap_or(0),
                bound_bytes: server.max_memory_bytes.load(Ordering::Relaxed),
                log_buffered_bytes: disk.buffered_bytes,
                log_sync_max_ns: disk.sync_max_ns,
                log_bytes: disk.log_bytes,
                snapshot_bytes: disk.snapshot_bytes,
            },
            times,
            calls,
        }
    }

    fn sample_since(&self, earlier: &Self) -> Sample {
        Sample {
            time_ms: self.time_ms,
            interval_ms: self.time_ms.saturating_sub(earlier.time_ms),
            counts: self.counts.since(&earlier.counts),
            levels: self.levels,
            quantiles: Quantiles::of(&self.times.since(&earlier.times)),
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct History {
    seconds: VecDeque<Sample>,
    minutes: VecDeque<Sample>,
    last: Option<Look>,
    last_minute: Option<Look>,
    /// Calls a second by the command's number, in the last interval.
    command_rates: Vec<f64>,
}

impl History {
    /// Takes in one look. The first is where counting begins.
    pub fn record(&mut self, look: Look) {
        if let Some(last) = &self.last {
            let sample = look.sample_since(last);
            let rates = look.calls.iter().enumerate().map(|(id, &calls)| {
                let before = last.calls.get(id).copied().unwrap_or(0);
                sample.per_second(calls.checked_sub(before).unwrap_or(calls))
            });
            self.command_rates = rates.collect();
            push(&mut self.seconds, SECONDS, sample);
        }
        match &self.last_minute {
            Some(minute) if look.time_ms < minute.time_ms + MINUTE_MS => {}
            earlier => {
                if let Some(earlier) = earlier {
                    push(&mut self.minutes, MINUTES, look.sample_since(earlier));
                }
                self.last_minute = Some(look.clone());
            }
        }
        self.last = Some(look);
    }

    /// The newest sample of a second.
    pub fn latest(&self) -> Option<&Sample> {
        self.seconds.back()
    }

    /// Samples of seconds that ended after `time_ms`, in the order of time.
    pub fn seconds_after(&self, time_ms: u64) -> Vec<Sample> {
        after(&self.seconds, time_ms)
    }

    /// Samples of minutes that ended after `time_ms`, in the order of time.
    pub fn minutes_after(&self, time_ms: u64) -> Vec<Sample> {
        after(&self.minutes, time_ms)
    }

    /// Calls a second of the command with this number, in the last interval.
    pub fn command_rate(&self, id: u32) -> f64 {
        self.command_rates.get(id as usize).copied().unwrap_or(0.0)
    }
}

fn push(ring: &mut VecDeque<Sample>, length: usize, sample: Sample) {
    if ring.len() == length {
        ring.pop_front();
    }
    ring.push_back(sample);
}

fn after(ring: &VecDeque<Sample>, time_ms: u64) -> Vec<Sample> {
    let from = ring.partition_point(|sample| sample.time_ms <= time_ms);
    ring.range(from..).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, History, Look, MINUTES, SECONDS};
    use crate::stats::{Times, TimesSum};

    fn look(second: u64, commands: u64) -> Look {
        Look {
            time_ms: second * 1000,
            counts: Counts {
                commands,
                ..Counts::default()
            },
            calls: vec![commands],
            ..Look::default()
        }
    }

    #[test]
    fn a_sample_is_what_happened_between_two_looks() {
        let mut history = History::default();
        history.record(look(1, 100));
        assert!(history.latest().is_none());
        history.record(look(3, 150));
        let sample = *history.latest().unwrap();
        assert_eq!((sample.counts.commands, sample.interval_ms), (50, 2000));
        assert_eq!(sample.per_second(sample.counts.commands), 25.0);
        assert_eq!(history.command_rate(0), 25.0);
        assert_eq!(history.command_rate(7), 0.0);
    }

    #[test]
    fn counters_that_were_reset_count_from_zero() {
        let mut history = History::default();
        history.record(look(1, 100));
        history.record(look(2, 30));
        assert_eq!(history.latest().unwrap().counts.commands, 30);
    }

    #[test]
    fn rings_are_bounded_and_minutes_hold_what_seconds_held() {
        let mut history = History::default();
        for second in 0..=(MINUTES as u64 + 10) * 60 {
            history.record(look(second, second * 7));
        }
        assert_eq!(history.seconds_after(0).len(), SECONDS);
        let minutes = history.minutes_after(0);
        assert_eq!(minutes.len(), MINUTES);
        assert!(
            minutes
                .iter()
                .all(|sample| sample.counts.commands == 7 * 60)
        );
        let last = minutes.last().unwrap().time_ms;
        assert_eq!(history.minutes_after(last - 60_000).len(), 1);
        assert!(history.minutes_after(last).is_empty());
    }

    #[test]
    fn quantiles_are_of_the_interval_alone() {
        let times = Times::default();
        let sum = |times: &Times| {
            let mut sum = TimesSum::default();
            times.add_to(&mut sum);
            sum
        };
        let mut history = History::default();
        times.record(1_000_000, 1000);
        history.record(Look {
            times: sum(&times),
            ..look(1, 0)
        });
        times.record(1000, 100);
        history.record(Look {
            times: sum(&times),
            ..look(2, 0)
        });
        let quantiles = history.latest().unwrap().quantiles;
        assert!((1000..1250).contains(&quantiles.p999_ns), "{quantiles:?}");
        history.record(Look {
            times: sum(&times),
            ..look(3, 0)
        });
        assert_eq!(history.latest().unwrap().quantiles.p50_ns, 0);
    }
}
