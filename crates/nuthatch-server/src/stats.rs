//! What a data thread counts. Each thread has counters of its own, which it alone writes; whoever asks
//! adds them up.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer and any readers.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds to it. Writer only: two writers would lose additions.
    #[inline]
    pub fn add(&self, number: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    }

    /// Sets it. Writer only.
    #[inline]
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// The number, a moment old.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Powers of two of nanoseconds, each split in four: times to within a fifth.
const BUCKETS: usize = 4 * 40;

/// How long something took, as counts by time.
#[derive(Debug)]
pub struct Times {
    buckets: [Tally; BUCKETS],
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Tally::default()),
        }
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(4);
    let exponent = 63 - ns.leading_zeros() as usize;
    let quarter = (ns >> (exponent - 2) & 3) as usize;
    (4 * (exponent - 2) + quarter).min(BUCKETS - 1)
}

/// The largest time that falls into a bucket.
fn upper_ns(bucket: usize) -> u64 {
    let (exponent, quarter) = (bucket / 4, bucket as u64 % 4);
    ((4 + quarter + 1) << exponent) - 1
}

impl Times {
    /// Counts `count` events that took `ns` each. Writer only.
    #[inline]
    pub fn record(&self, ns: u64, count: u64) {
        self.buckets[bucket(ns)].add(count);
    }

    /// Adds the counts to `sum`.
    pub fn add_to(&self, sum: &mut TimesSum) {
        for (total, tally) in sum.counts.iter_mut().zip(&self.buckets) {
            *total += tally.get();
        }
    }

    fn reset(&self) {
        for tally in &self.buckets {
            tally.set(0);
        }
    }
}

/// The [`Times`] of several threads together.
#[derive(Clone, Debug)]
pub struct TimesSum {
    counts: [u64; BUCKETS],
}

impl Default for TimesSum {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
        }
    }
}

impl TimesSum {
    /// The number of events.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time in nanoseconds that a share of `percentile` percent of the events did not exceed, to
    /// within a fifth above; 0 if there are none.
    pub fn percentile_ns(&self, percentile: f64) -> u64 {
        let count = self.count();
        let rank = ((percentile / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, &number) in self.counts.iter().enumerate() {
            seen += number;
            if seen >= rank {
                return upper_ns(bucket);
            }
        }
        0
    }

    /// What was counted since `earlier`; what was reset meanwhile counts from zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let was_reset = self.count() < earlier.count();
        let growth = |(&now, &before): (&u64, &u64)| {
            if was_reset {
                now
            } else {
                now.saturating_sub(before)
            }
        };
        let mut counts = [0; BUCKETS];
        for (count, pair) in counts
            .iter_mut()
            .zip(self.counts.iter().zip(&earlier.counts))
        {
            *count = growth(pair);
        }
        Self { counts }
    }

    /// The number of events that took at most `ns`, to within a fifth.
    pub fn count_up_to(&self, ns: u64) -> u64 {
        let buckets = self.counts.iter().enumerate();
        buckets
            .filter(|(bucket, _)| upper_ns(*bucket) <= ns)
            .map(|(_, &count)| count)
            .sum()
    }

    /// The upper bound in nanoseconds and the number of each time that occurred.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let occurred = self.counts.iter().enumerate();
        occurred
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, &count)| (upper_ns(bucket), count))
    }
}

/// What is counted of one command.
#[derive(Debug, Default)]
pub struct CommandTally {
    /// Calls that ran.
    pub calls: Tally,
    /// Their time together, in nanoseconds.
    pub ns: Tally,
    /// Calls that answered an error.
    pub failed: Tally,
    /// Calls turned away before they ran.
    pub rejected: Tally,
    /// Their times.
    pub times: Times,
}

/// Errors by their code, the first word of their text.
#[derive(Debug, Default)]
pub struct ErrorCodes(Mutex<BTreeMap<String, u64>>);

impl ErrorCodes {
    /// Codes that are counted apart: texts may come from scripts, which could make up any number.
    const MAX: usize = 128;
    /// What codes beyond that are counted as.
    const OVERFLOW: &'static str = "ERRORSTATS_OVERFLOW";

    /// Counts an error.
    pub fn add(&self, text: &str) {
        let code = text.split(' ').next().unwrap_or_default();
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
            return;
        }
        let code = if counts.len() < Self::MAX {
            code
        } else {
            Self::OVERFLOW
        };
        *counts.entry(code.to_owned()).or_default() += 1;
    }

    /// Adds the counts to `sum`.
    pub fn add_to(&self, sum: &mut BTreeMap<String, u64>) {
        for (code, count) in self.0.lock().iter() {
            *sum.entry(code.clone()).or_default() += count;
        }
    }
}

/// What is counted of memcached's commands, under the names that `stats` has for it.
#[derive(Debug, Default)]
pub struct MemcachedTally {
    /// Keys asked for.
    pub cmd_get: Tally,
    /// Values brought.
    pub cmd_set: Tally,
    /// `flush_all`.
    pub cmd_flush: Tally,
    /// Keys touched, with or without being asked for.
    pub cmd_touch: Tally,
    /// Meta commands.
    pub cmd_meta: Tally,
    /// Keys asked for and found.
    pub get_hits: Tally,
    /// Keys asked for and not found.
    pub get_misses: Tally,
    /// Keys deleted.
    pub delete_hits: Tally,
    /// Keys to delete and not found.
    pub delete_misses: Tally,
    /// Numbers increased.
    pub incr_hits: Tally,
    /// Numbers to increase and not found.
    pub incr_misses: Tally,
    /// Numbers decreased.
    pub decr_hits: Tally,
    /// Numbers to decrease and not found.
    pub decr_misses: Tally,
    /// Values replaced as their unique number was right.
    pub cas_hits: Tally,
    /// Values to replace and not found.
    pub cas_misses: Tally,
    /// Values not replaced as their unique number was another one.
    pub cas_badval: Tally,
    /// Keys touched and found.
    pub touch_hits: Tally,
    /// Keys touched and not found.
    pub touch_misses: Tally,
    /// Tries to authenticate.
    pub auth_cmds: Tally,
    /// Tries that failed.
    pub auth_errors: Tally,
    /// Values refused for their size.
    pub store_too_large: Tally,
    /// Values refused for want of memory.
    pub store_no_memory: Tally,
}

impl MemcachedTally {
    /// Operations on keys, by what they do.
    pub fn operations(&self) -> [(&'static str, u64); 6] {
        let sum = |one: &Tally, other: &Tally| one.get() + other.get();
        [
            ("get", self.cmd_get.get()),
            ("set", self.cmd_set.get()),
            ("touch", self.cmd_touch.get()),
            ("delete", sum(&self.delete_hits, &self.delete_misses)),
            ("incr", sum(&self.incr_hits, &self.incr_misses)),
            ("decr", sum(&self.decr_hits, &self.decr_misses)),
        ]
    }

    /// All counts with their names.
    pub fn named(&self) -> [(&'static str, &Tally); 22] {
        [
            ("cmd_get", &self.cmd_get),
            ("cmd_set", &self.cmd_set),
            ("cmd_flush", &self.cmd_flush),
            ("cmd_touch", &self.cmd_touch),
            ("cmd_meta", &self.cmd_meta),
            ("get_hits", &self.get_hits),
            ("get_misses", &self.get_misses),
            ("delete_misses", &self.delete_misses),
            ("delete_hits", &self.delete_hits),
            ("incr_misses", &self.incr_misses),
            ("incr_hits", &self.incr_hits),
            ("decr_misses", &self.decr_misses),
            ("decr_hits", &self.decr_hits),
            ("cas_misses", &self.cas_misses),
            ("cas_hits", &self.cas_hits),
            ("cas_badval", &self.cas_badval),
            ("touch_hits", &self.touch_hits),
            ("touch_misses", &self.touch_misses),
            ("auth_cmds", &self.auth_cmds),
            ("auth_errors", &self.auth_errors),
            ("store_too_large", &self.store_too_large),
            ("store_no_memory", &self.store_no_memory),
        ]
    }
}

/// What one data thread counts.
#[derive(Debug)]
pub struct WorkerStats {
    /// By the command's number.
    pub commands: Box<[CommandTally]>,
    /// Of memcached's commands.
    pub memcached: MemcachedTally,
    /// Clients connected.
    pub clients: Tally,
    /// Connections taken.
    pub connections: Tally,
    /// Bytes read from clients.
    pub read_bytes: Tally,
    /// Bytes written to clients.
    pub written_bytes: Tally,
    /// Reads from sockets.
    pub reads: Tally,
    /// Writes to sockets.
    pub writes: Tally,
    /// Bytes that requests and replies of all clients take between events.
    pub buffered_bytes: Tally,
    /// Keys changed.
    pub changes: Tally,
    /// Errors answered.
    pub errors: Tally,
    /// The same, by code.
    pub errors_by_code: ErrorCodes,
    /// Clients disconnected because too much waited for them.
    pub output_limit_disconnections: Tally,
    /// Clients disconnected because their request was too long.
    pub query_limit_disconnections: Tally,
    /// Times the thread woke for events.
    pub wakes: Tally,
}

impl WorkerStats {
    /// Zeros, for so many commands.
    pub fn new(commands: usize) -> Self {
        Self {
            commands: (0..commands).map(|_| CommandTally::default()).collect(),
            memcached: MemcachedTally::default(),
            clients: Tally::default(),
            connections: Tally::default(),
            read_bytes: Tally::default(),
            written_bytes: Tally::default(),
            reads: Tally::default(),
            writes: Tally::default(),
            buffered_bytes: Tally::default(),
            changes: Tally::default(),
            errors: Tally::default(),
            errors_by_code: ErrorCodes::default(),
            output_limit_disconnections: Tally::default(),
            query_limit_disconnections: Tally::default(),
            wakes: Tally::default(),
        }
    }

    /// Forgets what is counted of commands and traffic. Any thread may; additions of the writer that
    /// come at the same moment may survive.
    pub fn reset(&self) {
        for command in &self.commands {
            for tally in [
                &command.calls,
                &command.ns,
                &command.failed,
                &command.rejected,
            ] {
                tally.set(0);
            }
            command.times.reset();
        }
        self.errors_by_code.0.lock().clear();
        for (_, tally) in self.memcached.named() {
            tally.set(0);
        }
        for tally in [
            &self.connections,
            &self.read_bytes,
            &self.written_bytes,
            &self.reads,
            &self.writes,
            &self.errors,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
        ] {
            tally.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCodes, Times, TimesSum, bucket, upper_ns};
    use std::collections::BTreeMap;

    #[test]
    fn a_time_falls_into_a_bucket_at_most_a_quarter_above_it() {
        for ns in (4..10_000).chain([1 << 30, (1 << 40) + 12345]) {
            let upper = upper_ns(bucket(ns));
            assert!(upper >= ns && upper <= ns + ns / 4, "{ns} in {upper}");
        }
    }

    #[test]
    fn errors_are_counted_by_code_up_to_a_bound() {
        let codes = ErrorCodes::default();
        for number in 0..200 {
            codes.add(&format!("CODE{number} text"));
        }
        codes.add("CODE0 again");
        let mut sum = BTreeMap::new();
        codes.add_to(&mut sum);
        assert_eq!(sum["CODE0"], 2);
        assert_eq!(sum["ERRORSTATS_OVERFLOW"], 72);
    }

    #[test]
    fn percentiles_are_those_of_the_times_recorded() {
        let times = Times::default();
        for ns in 1..=1000 {
            times.record(ns * 1000, 1);
        }
        let mut sum = TimesSum::default();
        times.add_to(&mut sum);
        assert_eq!(sum.count(), 1000);
        for percentile in [50.0, 99.0, 100.0] {
            let exact = percentile * 10_000.0;
            let got = sum.percentile_ns(percentile) as f64;
            assert!(got >= exact && got <= exact * 1.25, "{percentile}: {got}");
        }
        assert_eq!(TimesSum::default().percentile_ns(99.0), 0);
    }
}
