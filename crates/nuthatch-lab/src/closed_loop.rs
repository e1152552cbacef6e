//! Runs a plan on a cache: each thread does one operation after the other until the time is up.
//!
//! All threads wait at a gate and start together. Operations are counted by each thread for itself,
//! and the rates of the threads are added up, each over its own time from the gate to the end of
//! its last operation: with many more threads than cores, and locks whose holders lose their core,
//! some end long after the others. Every 64th operation is timed; the cost of reading the clock is
//! taken off. Nothing in the loop is shared but the cache and a flag that is written once.

use crate::caches::BenchCache;
use crate::keys::KeyKind;
use crate::workloads::{Operations, Plan};
use hdrhistogram::Histogram;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// One in so many operations is timed.
const TIMED_STRIDE: u64 = 64;
/// Passes over all keys that put back what a growing cache lost.
const REFILLS: usize = 2;
/// Enough for every cache, and little enough for thousands of threads.
const STACK_BYTES: usize = 256 << 10;
/// The longest operation that the histogram tells from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Operations per second, of all threads together.
    pub ops_per_s: f64,
    /// Reads.
    pub reads: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Durations of the timed operations.
    pub latency: Latency,
}

/// Durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Of operations of any kind.
    pub all_ns: Histogram<u32>,
    /// Of those that were reads and found their key.
    pub hits_ns: Histogram<u32>,
}

/// The machine does not let so many threads start.
#[derive(Debug, Error)]
#[error("cannot start thread {started} of {wanted}")]
pub struct TooManyThreads {
    /// Threads asked for.
    pub wanted: usize,
    /// Threads that could be started.
    pub started: usize,
    source: io::Error,
}

impl Default for Latency {
    fn default() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("the bounds are in order");
        Self {
            all_ns: empty.clone(),
            hits_ns: empty,
        }
    }
}

impl Latency {
    /// Adds what another run gave.
    pub fn add(&mut self, other: &Self) {
        for (sum, addend) in [
            (&mut self.all_ns, &other.all_ns),
            (&mut self.hits_ns, &other.hits_ns),
        ] {
            sum.add(addend)
                .expect("all histograms have the same bounds");
        }
    }

    fn record(&mut self, duration_ns: u64, hit: bool) {
        self.all_ns.saturating_record(duration_ns);
        if hit {
            self.hits_ns.saturating_record(duration_ns);
        }
    }
}

/// Fills the cache with what the plan starts from. Some caches evict from a part of theirs that is
/// full while others are not, also while they grow: where all keys are to be resident, those lost
/// are inserted again.
pub fn fill<R: KeyKind>(cache: &impl BenchCache<R::Key, R::Value>, plan: &Plan<R>) {
    for (key, value) in plan.fill() {
        cache.insert(key, value);
    }
    cache.settle();
    for _ in 0..REFILLS {
        if !plan.all_resident() {
            return;
        }
        for (key, value) in plan.fill() {
            cache.read_through(&key, || value);
        }
        cache.settle();
    }
}

/// Runs the plan with so many threads for about `duration`. Runs on the same cache must have
/// different `epoch`s: their fresh keys are told apart by it, and they start elsewhere in the
/// stream.
pub fn run<R: KeyKind>(
    cache: &impl BenchCache<R::Key, R::Value>,
    plan: &Plan<R>,
    threads: usize,
    epoch: u32,
    duration: Duration,
) -> Result<Outcome, TooManyThreads> {
    let clock_ns = clock_cost_ns();
    let gate = Gate::default();
    let stop = AtomicBool::new(false);
    let tallies = thread::scope(|scope| {
        let mut workers = Vec::with_capacity(threads);
        for number in 0..threads {
            let worker = Worker {
                cache,
                plan,
                stop: &stop,
                clock_ns,
                number,
                threads,
                epoch,
            };
            let gate = &gate;
            let started =
                thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || {
                        let latency = Latency::default();
                        gate.pass().map(|opened| worker.work(opened, latency))
                    });
            match started {
                Ok(handle) => workers.push(handle),
                Err(source) => {
                    gate.close();
                    return Err(TooManyThreads {
                        wanted: threads,
                        started: number,
                        source,
                    });
                }
            }
        }
        gate.open(threads);
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        Ok(workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>())
    })?;
    Ok(Outcome::sum(&tallies))
}

impl Outcome {
    fn sum(tallies: &[Tally]) -> Self {
        let mut latency = Latency::default();
        tallies.iter().for_each(|tally| latency.add(&tally.latency));
        Self {
            ops_per_s: tallies
                .iter()
                .map(|tally| tally.ops as f64 / tally.elapsed.as_secs_f64())
                .sum(),
            reads: tallies.iter().map(|tally| tally.reads).sum(),
            hits: tallies.iter().map(|tally| tally.hits).sum(),
            latency,
        }
    }
}

/// Where threads wait until all are there.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    /// Whoever opens waits here for the others to come.
    arrived: Condvar,
    /// The others wait here.
    moved: Condvar,
}

#[derive(Default)]
struct GateState {
    waiting: usize,
    opened: Option<Instant>,
    closed: bool,
}

impl Gate {
    /// Waits for the gate to open, and tells when it did; `None` if it was closed for good.
    fn pass(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        self.arrived.notify_one();
        let state = self
            .moved
            .wait_while(state, |state| state.opened.is_none() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.opened
    }

    /// Opens the gate as soon as so many wait there.
    fn open(&self, threads: usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .arrived
            .wait_while(state, |state| state.waiting < threads)
            .unwrap_or_else(PoisonError::into_inner);
        state.opened = Some(Instant::now());
        self.moved.notify_all();
    }

    fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.moved.notify_all();
    }
}

struct Worker<'a, R: KeyKind, C> {
    cache: &'a C,
    plan: &'a Plan<R>,
    stop: &'a AtomicBool,
    clock_ns: u64,
    number: usize,
    threads: usize,
    epoch: u32,
}

/// What one thread did.
struct Tally {
    ops: u64,
    reads: u64,
    hits: u64,
    elapsed: Duration,
    latency: Latency,
}

impl<R: KeyKind, C: BenchCache<R::Key, R::Value>> Worker<'_, R, C> {
    fn work(self, opened: Instant, mut latency: Latency) -> Tally {
        let (cache, plan) = (self.cache, self.plan);
        let (mut reads, mut hits) = (0, 0);
        let mut requests = self.requests();
        let ops = match plan.operations() {
            Operations::ReadsAndWrites => self.drive(&mut latency, || {
                let request = requests.next();
                let key = plan.key(request);
                if plan.is_write(request) {
                    cache.insert(key.clone(), R::value(request as u64));
                    return false;
                }
                let hit = cache.hit(key);
                reads += 1;
                hits += u64::from(hit);
                hit
            }),
            Operations::ReadThrough => self.drive(&mut latency, || {
                let request = requests.next();
                let key = plan.key(request);
                let hit = cache.read_through(key, || R::value(request as u64));
                reads += 1;
                hits += u64::from(hit);
                hit
            }),
            Operations::FreshInserts => {
                let mut fresh = self.first_fresh_id();
                self.drive(&mut latency, || {
                    cache.insert(R::key(fresh), R::value(fresh));
                    fresh += 1;
                    false
                })
            }
        };
        Tally {
            ops,
            reads,
            hits,
            elapsed: opened.elapsed(),
            latency,
        }
    }

    /// Repeats `operation`, which tells whether it was a hit, until the flag is set, and counts.
    #[inline]
    fn drive(&self, latency: &mut Latency, mut operation: impl FnMut() -> bool) -> u64 {
        let mut ops = 0;
        loop {
            let before = Instant::now();
            let hit = operation();
            let took_ns = before.elapsed().as_nanos() as u64;
            latency.record(took_ns.saturating_sub(self.clock_ns).max(1), hit);
            ops += 1;
            for _ in 1..TIMED_STRIDE {
                // Relaxed: the flag guards no other memory.
                if self.stop.load(Ordering::Relaxed) {
                    return ops;
                }
                operation();
                ops += 1;
            }
        }
    }

    /// The thread's way through the stream: all threads start equally far from each other.
    fn requests(&self) -> Requests {
        let requests = self.plan.requests();
        let parts = self.threads * (self.epoch as usize + 1);
        let part = self.threads * self.epoch as usize + self.number;
        Requests {
            next: requests / parts * part,
            mask: requests.saturating_sub(1),
        }
    }

    /// Where the thread's own ids start: above all ids of plans, and far from other threads'.
    fn first_fresh_id(&self) -> u64 {
        let run = u64::from(self.epoch) * self.threads as u64 + self.number as u64;
        (run + 1) << 32
    }
}

/// Positions in a stream whose length is a power of two.
struct Requests {
    next: usize,
    mask: usize,
}

impl Requests {
    #[inline]
    fn next(&mut self) -> usize {
        let request = self.next & self.mask;
        self.next += 1;
        request
    }
}

/// What two readings of the clock cost, which is in each timed operation.
pub(crate) fn clock_cost_ns() -> u64 {
    const READINGS: usize = 1001;
    let mut costs: Vec<_> = (0..READINGS)
        .map(|_| Instant::now().elapsed().as_nanos() as u64)
        .collect();
    *costs.select_nth_unstable(READINGS / 2).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::{CacheSpec, Visitor};
    use crate::containment::contained;
    use crate::keys::{Integers, Strings};
    use crate::workloads::{Shape, Workload};

    struct Run<'a, R: KeyKind> {
        plan: &'a Plan<R>,
        threads: usize,
    }

    impl<R: KeyKind> Visitor<R::Key, R::Value> for Run<'_, R> {
        type Output = (Outcome, Option<usize>);

        fn visit<C: BenchCache<R::Key, R::Value>>(self, build: impl FnOnce() -> C) -> Self::Output {
            let cache = build();
            fill(&cache, self.plan);
            let duration = Duration::from_millis(1);
            let outcome = run(&cache, self.plan, self.threads, 0, duration).unwrap();
            (outcome, cache.resident())
        }
    }

    fn run_classic<R: KeyKind>(workload: Workload, threads: usize) -> (Outcome, Option<usize>) {
        let shape = Shape {
            capacity: 200,
            key_space: 10.0,
            seed: 3,
        };
        let plan = Plan::<R>::new(workload, &shape);
        let spec: CacheSpec = "classic-rwlock".parse().unwrap();
        let measurement = Run {
            plan: &plan,
            threads,
        };
        spec.visit(plan.room(), measurement)
    }

    /// Panics at a read.
    struct Faulty;

    impl BenchCache<u64, u64> for Faulty {
        fn read<T>(&self, key: &u64, _: impl FnOnce(&u64) -> T) -> Option<T> {
            panic!("nothing is known of {key}")
        }

        fn insert(&self, _: u64, _: u64) {}

        fn resident(&self) -> Option<usize> {
            None
        }
    }

    #[test]
    fn the_panic_of_a_thread_is_that_of_the_measurement() {
        let shape = Shape {
            capacity: 10,
            key_space: 1.0,
            seed: 3,
        };
        let plan = Plan::<Integers>::new(Workload::HotKey, &shape);
        let measured = contained("faulty", "hot-key", || {
            run(&Faulty, &plan, 2, 0, Duration::from_millis(1)).map(|outcome| outcome.reads)
        });
        let panicked = measured.unwrap_err();
        assert!(
            panicked.message.starts_with("nothing is known of"),
            "{panicked}"
        );
    }

    #[test]
    fn every_workload_runs_on_both_kinds_of_keys() {
        for workload in Workload::ALL {
            for (outcome, resident) in [
                run_classic::<Integers>(workload, 2),
                run_classic::<Strings>(workload, 2),
            ] {
                assert!(outcome.ops_per_s > 0.0, "{workload}");
                assert!(outcome.hits <= outcome.reads, "{workload}");
                assert!(!outcome.latency.all_ns.is_empty(), "{workload}");
                assert!(resident.unwrap() <= 400, "{workload}");
            }
        }
    }

    #[test]
    fn resident_keys_are_hits() {
        for workload in [Workload::ReadOnly, Workload::HotKey] {
            let (outcome, _) = run_classic::<Integers>(workload, 2);
            assert_eq!(outcome.hits, outcome.reads, "{workload}");
        }
    }

    #[test]
    fn fresh_inserts_read_nothing_and_leave_a_full_cache() {
        let (outcome, resident) = run_classic::<Integers>(Workload::Evict, 2);
        assert_eq!(outcome.reads, 0);
        assert_eq!(resident, Some(200));
    }

    #[test]
    fn a_thousand_threads_each_do_some_work() {
        let (outcome, _) = run_classic::<Integers>(Workload::CacheAside, 1000);
        assert!(outcome.reads >= 1000);
    }

    #[test]
    fn a_gate_that_closes_lets_nobody_through() {
        let gate = Gate::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass());
            gate.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
