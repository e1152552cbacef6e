//! Statistics: counters that cost a read no shared write, and their snapshot.
//!
//! The counters of one cache are striped. A thread whose dense index is below [`OWNED_STRIPES`] is
//! the only writer of its stripe, so it counts with a plain load and store of a line that no other
//! core touches; all other threads share a few more stripes and count there with atomic additions.
//! A stripe is allocated when it is first counted in. Reading sums all stripes: each sum is exact
//! once the counting threads are done, and never goes back, but the sums of one snapshot are not
//! taken at one instant.
//!
//! The invariant that makes plain stores right: two live threads never have the same index below
//! `OWNED_STRIPES`, and an index passes from a thread that ends to a new one through an
//! acquire/release pair of whoever hands indices out. So the new owner's loads see the old owner's
//! stores, and no count is lost.
//!
//! Switched off, nothing is allocated and nothing is counted.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Stripes that belong to one thread each.
const OWNED_STRIPES: usize = 64;
/// Stripes that all further threads share.
const SHARED_STRIPES: usize = 16;

/// So many loads of a thread are timed; of those that follow one in [`TIMED_STRIDE`] is, and counts for as
/// many, for reading the clock twice may take as long as all else that a load costs the cache.
const TIMED_LOADS: u64 = 64;
const TIMED_STRIDE: u64 = 16;

/// What is counted. Durations are counted in nanoseconds, weights in the unit of the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    // What reads, writes and loads of a plain cache count, on one cache line.
    Hits,
    Misses,
    Insertions,
    Replaced,
    Evicted,
    Expired,
    Loads,
    LoadTimeNs,
    InsertedWeight,
    ReplacedWeight,
    EvictedWeight,
    ExpiredWeight,
    Rejected,
    RejectedWeight,
    Invalidated,
    InvalidatedWeight,
    LoadFailures,
    ListenerPanics,
}

const COUNTERS: usize = Counter::ListenerPanics as usize + 1;

/// The counters of one cache; see the module's text.
pub(crate) struct Stats {
    /// Empty if statistics are switched off.
    stripes: Box<[OnceLock<Box<Stripe>>]>,
}

/// Two cache lines' alignment keeps the prefetcher of one core off the lines of another.
#[derive(Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTERS]);

impl Stats {
    /// Counters at zero, or none at all.
    pub(crate) fn new(enabled: bool) -> Self {
        let stripes = if enabled {
            OWNED_STRIPES + SHARED_STRIPES
        } else {
            0
        };
        Self {
            stripes: (0..stripes).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Whether anything is counted.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        !self.stripes.is_empty()
    }

    /// Adds `amount` to `counter` for the calling thread, whose dense index is `thread_index`.
    #[inline]
    pub(crate) fn add(&self, thread_index: usize, counter: Counter, amount: u64) {
        match self.owned(thread_index) {
            Some(stripe) => stripe.add_as_owner(counter, amount),
            None => self.first_tally(thread_index).add(counter, amount),
        }
    }

    /// The calling thread's counters, for several counts in a row.
    #[inline]
    pub(crate) fn tally(&self, thread_index: usize) -> Tally<'_> {
        match self.owned(thread_index) {
            Some(stripe) => Tally {
                stripe: Some(stripe),
                owned: true,
            },
            None => self.first_tally(thread_index),
        }
    }

    /// The stripe of a thread that has one to itself and has counted in it before.
    #[inline]
    fn owned(&self, thread_index: usize) -> Option<&Stripe> {
        if thread_index >= OWNED_STRIPES {
            return None;
        }
        self.stripes
            .get(thread_index)?
            .get()
            .map(|stripe| &**stripe)
    }

    /// As [`tally`](Self::tally), for a thread without a stripe of its own, or whose stripe is still
    /// to be allocated.
    #[cold]
    fn first_tally(&self, thread_index: usize) -> Tally<'_> {
        let owned = thread_index < OWNED_STRIPES;
        let stripe = if owned {
            thread_index
        } else {
            OWNED_STRIPES + thread_index % SHARED_STRIPES
        };
        let stripe = self.stripes.get(stripe);
        Tally {
            stripe: stripe.map(|stripe| &**stripe.get_or_init(Box::default)),
            owned,
        }
    }

    /// Adds one to `counter`; as [`add`](Self::add).
    #[inline]
    pub(crate) fn count(&self, thread_index: usize, counter: Counter) {
        self.add(thread_index, counter, 1);
    }

    /// The sums of all stripes, with the state of the cache that the caller knows.
    pub(crate) fn snapshot(&self, len: u64, weight: u64, capacity: u64) -> StatsSnapshot {
        let mut sums = [0_u64; COUNTERS];
        for stripe in self.stripes.iter().filter_map(OnceLock::get) {
            for (sum, counter) in sums.iter_mut().zip(&stripe.0) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        let sum = |counter: Counter| sums[counter as usize];
        StatsSnapshot {
            hits: sum(Counter::Hits),
            misses: sum(Counter::Misses),
            insertions: sum(Counter::Insertions),
            inserted_weight: sum(Counter::InsertedWeight),
            replaced: sum(Counter::Replaced),
            replaced_weight: sum(Counter::ReplacedWeight),
            rejected: sum(Counter::Rejected),
            rejected_weight: sum(Counter::RejectedWeight),
            evicted: sum(Counter::Evicted),
            evicted_weight: sum(Counter::EvictedWeight),
            expired: sum(Counter::Expired),
            expired_weight: sum(Counter::ExpiredWeight),
            invalidated: sum(Counter::Invalidated),
            invalidated_weight: sum(Counter::InvalidatedWeight),
            loads: sum(Counter::Loads),
            load_failures: sum(Counter::LoadFailures),
            load_time_ns: sum(Counter::LoadTimeNs),
            listener_panics: sum(Counter::ListenerPanics),
            len,
            weight,
            capacity,
        }
    }
}

impl Stripe {
    #[inline]
    fn add_as_owner(&self, counter: Counter, amount: u64) {
        let counter = &self.0[counter as usize];
        // Relaxed, and not one atomic step: the calling thread is the only writer.
        let sum = counter.load(Ordering::Relaxed).wrapping_add(amount);
        counter.store(sum, Ordering::Relaxed);
    }
}

/// The counters that one thread counts in; none if statistics are off.
#[derive(Clone, Copy)]
pub(crate) struct Tally<'s> {
    stripe: Option<&'s Stripe>,
    /// Whether the calling thread is the stripe's only writer.
    owned: bool,
}

impl Tally<'_> {
    /// Adds `amount` to `counter`.
    #[inline]
    pub(crate) fn add(self, counter: Counter, amount: u64) {
        let Some(stripe) = self.stripe else { return };
        if self.owned {
            stripe.add_as_owner(counter, amount);
        } else {
            // Relaxed: a count guards no other memory.
            stripe.0[counter as usize].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Adds one to `counter`.
    #[inline]
    pub(crate) fn count(self, counter: Counter) {
        self.add(counter, 1);
    }

    /// For how many loads the time of the next one is to be counted; 0 if it is not to be taken. Which
    /// are, no load's own duration decides, so the sum is right on average.
    #[inline]
    pub(crate) fn timed_loads(self) -> u64 {
        let Some(stripe) = self.stripe else { return 0 };
        let loads = stripe.0[Counter::Loads as usize].load(Ordering::Relaxed);
        if loads < TIMED_LOADS {
            return 1;
        }
        // Spread, lest loads that are slow in a rhythm are always or never met.
        let drawn = loads.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - TIMED_STRIDE.ilog2());
        if drawn == 0 { TIMED_STRIDE } else { 0 }
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("enabled", &self.is_enabled())
            .finish_non_exhaustive()
    }
}

/// What a cache has counted since it was built, and how full it is.
///
/// All counts only grow; [`since`](Self::since) gives those of an interval. Every entry that was
/// inserted and is no longer there was counted as replaced, evicted, expired or invalidated. With
/// statistics switched off all counts stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that found none, or an expired one.
    pub misses: u64,
    /// Entries written, new or in the place of another.
    pub insertions: u64,
    /// Their weight.
    pub inserted_weight: u64,
    /// Entries overwritten by a new value.
    pub replaced: u64,
    /// Their weight.
    pub replaced_weight: u64,
    /// Entries turned away at the door.
    pub rejected: u64,
    /// Their weight.
    pub rejected_weight: u64,
    /// Entries removed for space.
    pub evicted: u64,
    /// Their weight.
    pub evicted_weight: u64,
    /// Entries removed for time.
    pub expired: u64,
    /// Their weight.
    pub expired_weight: u64,
    /// Entries removed on request.
    pub invalidated: u64,
    /// Their weight.
    pub invalidated_weight: u64,
    /// Loads that ended, whether they gave a value or not.
    pub loads: u64,
    /// Loads that gave none: they ended with an error, by a panic, or by being dropped.
    pub load_failures: u64,
    /// Time that all loads took, in nanoseconds: exact for the first 64 loads of each thread, of those
    /// that follow one in sixteen is timed and stands for the others.
    pub load_time_ns: u64,
    /// Panics of the removal listener, which the cache survived.
    pub listener_panics: u64,
    /// Entries in the cache, when the snapshot was taken.
    pub len: u64,
    /// Their weight.
    pub weight: u64,
    /// The bound on the weight, when the snapshot was taken.
    pub capacity: u64,
}

impl StatsSnapshot {
    /// Fills in the weights of entries that weigh 1 each, which are not counted apart.
    pub(crate) fn weigh_one_each(&mut self) {
        self.inserted_weight = self.insertions;
        self.replaced_weight = self.replaced;
        self.rejected_weight = self.rejected;
        self.evicted_weight = self.evicted;
        self.expired_weight = self.expired;
        self.invalidated_weight = self.invalidated;
    }

    /// Hits and misses.
    pub fn requests(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }

    /// Hits per request; `None` before the first request.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.requests())
    }

    /// Misses per request; `None` before the first request.
    pub fn miss_ratio(&self) -> Option<f64> {
        ratio(self.misses, self.requests())
    }

    /// Time per load, failed ones included; `None` before the first one.
    pub fn mean_load_time(&self) -> Option<Duration> {
        let mean_ns = self.load_time_ns.checked_div(self.loads)?;
        Some(Duration::from_nanos(mean_ns))
    }

    /// What was counted after `earlier` was taken from the same cache. Length, weight and capacity
    /// are those of `self`. A count that is lower here than in `earlier` gives 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            insertions: self.insertions.saturating_sub(earlier.insertions),
            inserted_weight: self.inserted_weight.saturating_sub(earlier.inserted_weight),
            replaced: self.replaced.saturating_sub(earlier.replaced),
            replaced_weight: self.replaced_weight.saturating_sub(earlier.replaced_weight),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            rejected_weight: self.rejected_weight.saturating_sub(earlier.rejected_weight),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            evicted_weight: self.evicted_weight.saturating_sub(earlier.evicted_weight),
            expired: self.expired.saturating_sub(earlier.expired),
            expired_weight: self.expired_weight.saturating_sub(earlier.expired_weight),
            invalidated: self.invalidated.saturating_sub(earlier.invalidated),
            invalidated_weight: self
                .invalidated_weight
                .saturating_sub(earlier.invalidated_weight),
            loads: self.loads.saturating_sub(earlier.loads),
            load_failures: self.load_failures.saturating_sub(earlier.load_failures),
            load_time_ns: self.load_time_ns.saturating_sub(earlier.load_time_ns),
            listener_panics: self.listener_panics.saturating_sub(earlier.listener_panics),
            len: self.len,
            weight: self.weight,
            capacity: self.capacity,
        }
    }

    /// Publishes the snapshot through the [`metrics`] facade, under the label `cache` with the
    /// given name: counts as absolute counters, `nuthatch_requests_total{result}`,
    /// `nuthatch_removals_total{cause}` and so on; length, weight and capacity as gauges. Call it
    /// as often as the recorder should see news, say once in a scrape interval.
    #[cfg(feature = "metrics")]
    pub fn publish(&self, cache: &str) {
        published::publish(self, cache);
    }
}

/// One line for people: `hits 90, misses 10 (90.00 % hit), ...`.
impl fmt::Display for StatsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hits {}, misses {}", self.hits, self.misses)?;
        if let Some(hit_ratio) = self.hit_ratio() {
            write!(f, " ({:.2} % hit)", 100.0 * hit_ratio)?;
        }
        write!(
            f,
            ", insertions {}, replaced {}, rejected {}, evicted {}, expired {}, invalidated {}",
            self.insertions,
            self.replaced,
            self.rejected,
            self.evicted,
            self.expired,
            self.invalidated
        )?;
        write!(f, ", loads {} ({} failed", self.loads, self.load_failures)?;
        if let Some(mean) = self.mean_load_time() {
            write!(f, ", mean {mean:.1?}")?;
        }
        write!(
            f,
            "), listener panics {}, len {}, weight {}/{}",
            self.listener_panics, self.len, self.weight, self.capacity
        )
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(feature = "metrics")]
mod published {
    //! The names under which a snapshot is published, by the conventions of Prometheus: a unit at
    //! the end, `_total` for counters, one name with a label for the parts of one sum.

    use super::StatsSnapshot;
    use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

    const REQUESTS: &str = "nuthatch_requests_total";
    const INSERTIONS: &str = "nuthatch_insertions_total";
    const INSERTED_WEIGHT: &str = "nuthatch_inserted_weight_total";
    const REJECTIONS: &str = "nuthatch_rejections_total";
    const REJECTED_WEIGHT: &str = "nuthatch_rejected_weight_total";
    const REMOVALS: &str = "nuthatch_removals_total";
    const REMOVED_WEIGHT: &str = "nuthatch_removed_weight_total";
    const LOADS: &str = "nuthatch_loads_total";
    const LOAD_TIME: &str = "nuthatch_load_time_nanoseconds_total";
    const LISTENER_PANICS: &str = "nuthatch_listener_panics_total";
    const ENTRIES: &str = "nuthatch_entries";
    const WEIGHT: &str = "nuthatch_weight";
    const CAPACITY: &str = "nuthatch_capacity";

    pub(super) fn publish(stats: &StatsSnapshot, cache: &str) {
        // Each time, for a recorder may have been installed since the last.
        describe();
        let cache = cache.to_owned();
        let set = |name, value| counter!(name, "cache" => cache.clone()).absolute(value);
        set(INSERTIONS, stats.insertions);
        set(INSERTED_WEIGHT, stats.inserted_weight);
        set(REJECTIONS, stats.rejected);
        set(REJECTED_WEIGHT, stats.rejected_weight);
        set(LOAD_TIME, stats.load_time_ns);
        set(LISTENER_PANICS, stats.listener_panics);

        let set_result = |name, result, value| {
            counter!(name, "cache" => cache.clone(), "result" => result).absolute(value);
        };
        set_result(REQUESTS, "hit", stats.hits);
        set_result(REQUESTS, "miss", stats.misses);
        // The sums of a snapshot are not of one instant.
        let succeeded = stats.loads.saturating_sub(stats.load_failures);
        set_result(LOADS, "success", succeeded);
        set_result(LOADS, "failure", stats.load_failures);

        for (cause, count, weight) in [
            ("replaced", stats.replaced, stats.replaced_weight),
            ("evicted", stats.evicted, stats.evicted_weight),
            ("expired", stats.expired, stats.expired_weight),
            ("invalidated", stats.invalidated, stats.invalidated_weight),
        ] {
            counter!(REMOVALS, "cache" => cache.clone(), "cause" => cause).absolute(count);
            counter!(REMOVED_WEIGHT, "cache" => cache.clone(), "cause" => cause).absolute(weight);
        }

        gauge!(ENTRIES, "cache" => cache.clone()).set(stats.len as f64);
        gauge!(WEIGHT, "cache" => cache.clone()).set(stats.weight as f64);
        gauge!(CAPACITY, "cache" => cache).set(stats.capacity as f64);
    }

    fn describe() {
        describe_counter!(
            REQUESTS,
            Unit::Count,
            "Reads, by whether they found a live entry."
        );
        describe_counter!(INSERTIONS, Unit::Count, "Entries written.");
        describe_counter!(INSERTED_WEIGHT, "Weight of the entries written.");
        describe_counter!(REJECTIONS, Unit::Count, "Entries turned away at the door.");
        describe_counter!(REJECTED_WEIGHT, "Weight of the entries turned away.");
        describe_counter!(REMOVALS, Unit::Count, "Entries removed, by cause.");
        describe_counter!(REMOVED_WEIGHT, "Weight of the entries removed, by cause.");
        describe_counter!(LOADS, Unit::Count, "Loads that ended, by result.");
        describe_counter!(LOAD_TIME, Unit::Nanoseconds, "Time that all loads took.");
        describe_counter!(
            LISTENER_PANICS,
            Unit::Count,
            "Panics of the removal listener."
        );
        describe_gauge!(ENTRIES, Unit::Count, "Entries in the cache.");
        describe_gauge!(WEIGHT, "Weight of the entries in the cache.");
        describe_gauge!(CAPACITY, "Bound on the weight.");
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, Counter, OWNED_STRIPES, SHARED_STRIPES, Stats, StatsSnapshot};
    use std::sync::OnceLock;
    use std::time::Duration;

    const ALL: [Counter; COUNTERS] = [
        Counter::Hits,
        Counter::Misses,
        Counter::Insertions,
        Counter::InsertedWeight,
        Counter::Replaced,
        Counter::ReplacedWeight,
        Counter::Rejected,
        Counter::RejectedWeight,
        Counter::Evicted,
        Counter::EvictedWeight,
        Counter::Expired,
        Counter::ExpiredWeight,
        Counter::Invalidated,
        Counter::InvalidatedWeight,
        Counter::Loads,
        Counter::LoadFailures,
        Counter::LoadTimeNs,
        Counter::ListenerPanics,
    ];

    fn fields(stats: &StatsSnapshot) -> [u64; COUNTERS] {
        [
            stats.hits,
            stats.misses,
            stats.insertions,
            stats.inserted_weight,
            stats.replaced,
            stats.replaced_weight,
            stats.rejected,
            stats.rejected_weight,
            stats.evicted,
            stats.evicted_weight,
            stats.expired,
            stats.expired_weight,
            stats.invalidated,
            stats.invalidated_weight,
            stats.loads,
            stats.load_failures,
            stats.load_time_ns,
            stats.listener_panics,
        ]
    }

    #[test]
    fn few_loads_are_all_timed_and_of_many_each_stands_for_those_left_out() {
        let stats = Stats::new(true);
        let tally = stats.tally(0);
        let mut timed = Vec::new();
        for _ in 0..16_064 {
            timed.push(tally.timed_loads());
            tally.count(Counter::Loads);
        }
        assert!(timed[..64].iter().all(|&loads| loads == 1));
        let standing_for: u64 = timed[64..].iter().sum();
        assert!((15_000..=17_000).contains(&standing_for), "{standing_for}");
        // Whatever the rhythm, a slow load in sixteen is met about as often as it should be.
        for phase in 0..16 {
            let met: u64 = timed[64 + phase..].iter().step_by(16).sum();
            assert!((800..=1200).contains(&met), "{met} in phase {phase}");
        }
        assert_eq!(Stats::new(false).tally(0).timed_loads(), 0);
    }

    #[test]
    fn every_counter_reaches_its_own_field() {
        let stats = Stats::new(true);
        for (position, counter) in (1..).zip(ALL) {
            stats.add(0, counter, position);
            stats.add(OWNED_STRIPES, counter, 100 * position);
        }
        let snapshot = stats.snapshot(7, 8, 9);
        assert_eq!(
            fields(&snapshot),
            std::array::from_fn(|i| 101 * (i as u64 + 1))
        );
        assert_eq!(
            (snapshot.len, snapshot.weight, snapshot.capacity),
            (7, 8, 9)
        );
    }

    #[test]
    fn no_count_is_lost_between_owners_and_sharers() {
        let stats = Stats::new(true);
        let threads = OWNED_STRIPES + 2 * SHARED_STRIPES + 3;
        std::thread::scope(|scope| {
            for thread_index in 0..threads {
                let stats = &stats;
                scope.spawn(move || {
                    for _ in 0..500 {
                        stats.add(thread_index, Counter::Hits, 1);
                        stats.add(thread_index, Counter::EvictedWeight, 3);
                    }
                });
            }
        });
        let snapshot = stats.snapshot(0, 0, 0);
        assert_eq!(snapshot.hits, 500 * threads as u64);
        assert_eq!(snapshot.evicted_weight, 1500 * threads as u64);
    }

    #[test]
    fn a_stripe_handed_on_keeps_its_counts() {
        let stats = Stats::new(true);
        for _ in 0..20 {
            std::thread::scope(|scope| {
                scope.spawn(|| stats.add(5, Counter::Misses, 1));
            });
        }
        assert_eq!(stats.snapshot(0, 0, 0).misses, 20);
    }

    #[test]
    fn only_stripes_in_use_are_allocated_and_none_when_off() {
        let on = Stats::new(true);
        on.add(1, Counter::Hits, 1);
        on.add(OWNED_STRIPES + 1, Counter::Hits, 1);
        on.add(OWNED_STRIPES + SHARED_STRIPES + 1, Counter::Hits, 1);
        assert_eq!(on.stripes.iter().filter_map(OnceLock::get).count(), 2);

        let off = Stats::new(false);
        for thread_index in [0, OWNED_STRIPES, 10_000] {
            off.add(thread_index, Counter::Hits, 1);
        }
        assert!(!off.is_enabled());
        assert!(off.stripes.is_empty());
        assert_eq!(off.snapshot(0, 0, 0), StatsSnapshot::default());
    }

    #[test]
    fn the_difference_of_two_snapshots_is_what_came_between() {
        let stats = Stats::new(true);
        for counter in ALL {
            stats.add(3, counter, 1000);
        }
        let earlier = stats.snapshot(10, 20, 30);
        for (position, counter) in (1..).zip(ALL) {
            stats.add(3, counter, position);
        }
        let later = stats.snapshot(11, 22, 33);
        let between = later.since(&earlier);
        assert_eq!(fields(&between), std::array::from_fn(|i| i as u64 + 1));
        assert_eq!(
            (between.len, between.weight, between.capacity),
            (11, 22, 33)
        );
        assert_eq!(fields(&earlier.since(&later)), [0; COUNTERS]);
    }

    #[test]
    fn ratios_are_absent_until_there_is_something_to_divide_by() {
        let none = StatsSnapshot::default();
        assert_eq!(
            (none.hit_ratio(), none.miss_ratio(), none.mean_load_time()),
            (None, None, None)
        );
        let some = StatsSnapshot {
            hits: 3,
            misses: 1,
            loads: 2,
            load_failures: 1,
            load_time_ns: 3_000_000,
            ..none
        };
        assert_eq!(
            (some.hit_ratio(), some.miss_ratio()),
            (Some(0.75), Some(0.25))
        );
        assert_eq!(some.mean_load_time(), Some(Duration::from_micros(1500)));
    }

    #[test]
    fn a_snapshot_prints_as_one_line() {
        let snapshot = StatsSnapshot {
            hits: 9,
            misses: 1,
            insertions: 2,
            evicted: 1,
            loads: 2,
            load_time_ns: 3_000_000,
            len: 1,
            weight: 5,
            capacity: 8,
            ..StatsSnapshot::default()
        };
        assert_eq!(
            snapshot.to_string(),
            "hits 9, misses 1 (90.00 % hit), insertions 2, replaced 0, rejected 0, evicted 1, \
             expired 0, invalidated 0, loads 2 (0 failed, mean 1.5ms), listener panics 0, len 1, \
             weight 5/8"
        );
        assert!(!StatsSnapshot::default().to_string().contains('%'));
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn a_snapshot_is_published_under_its_caches_name() {
        let recorder = published::Recorded::default();
        let snapshot = StatsSnapshot {
            hits: 9,
            misses: 4,
            expired: 2,
            loads: 3,
            load_failures: 1,
            len: 5,
            ..StatsSnapshot::default()
        };
        metrics::with_local_recorder(&recorder, || {
            snapshot.publish("users");
            snapshot.publish("users");
        });
        let values = recorder.values();
        assert_eq!(values["nuthatch_requests_total{cache=users,result=hit}"], 9);
        assert_eq!(
            values["nuthatch_requests_total{cache=users,result=miss}"],
            4
        );
        assert_eq!(
            values["nuthatch_removals_total{cache=users,cause=expired}"],
            2
        );
        assert_eq!(
            values["nuthatch_removals_total{cache=users,cause=evicted}"],
            0
        );
        assert_eq!(
            values["nuthatch_loads_total{cache=users,result=success}"],
            2
        );
        assert_eq!(
            values["nuthatch_loads_total{cache=users,result=failure}"],
            1
        );
        assert_eq!(f64::from_bits(values["nuthatch_entries{cache=users}"]), 5.0);
        for name in values.keys() {
            let (name, _) = name.split_once('{').expect("every value has a label");
            assert!(recorder.is_described(name), "{name} is described");
        }
    }

    #[cfg(feature = "metrics")]
    mod published {
        use metrics::{
            Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
        };
        use std::collections::{BTreeMap, BTreeSet};
        use std::sync::atomic::{AtomicU64, Ordering};
        use std::sync::{Arc, Mutex};

        /// A recorder that keeps what it is told.
        #[derive(Default)]
        pub(super) struct Recorded {
            values: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
            described: Mutex<BTreeSet<String>>,
        }

        impl Recorded {
            pub(super) fn values(&self) -> BTreeMap<String, u64> {
                let values = self.values.lock().expect("no test panics with the lock");
                let values = values.iter();
                values
                    .map(|(name, value)| (name.clone(), value.load(Ordering::Relaxed)))
                    .collect()
            }

            pub(super) fn is_described(&self, name: &str) -> bool {
                let described = self.described.lock().expect("no test panics with the lock");
                described.contains(name)
            }

            fn value(&self, key: &Key) -> Arc<AtomicU64> {
                let labels = key.labels();
                let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
                let name = format!("{}{{{}}}", key.name(), labels.collect::<Vec<_>>().join(","));
                let mut values = self.values.lock().expect("no test panics with the lock");
                Arc::clone(values.entry(name).or_default())
            }

            fn describe(&self, key: &KeyName) {
                let mut described = self.described.lock().expect("no test panics with the lock");
                described.insert(key.as_str().to_owned());
            }
        }

        impl Recorder for Recorded {
            fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
                self.describe(&key);
            }

            fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
                self.describe(&key);
            }

            fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
                self.describe(&key);
            }

            fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
                Counter::from_arc(self.value(key))
            }

            fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
                Gauge::from_arc(self.value(key))
            }

            fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
                Histogram::noop()
            }
        }
    }
}
