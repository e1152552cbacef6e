//! Tasks that read, each one key after the other, until the time is up.
//!
//! Reads are counted by each task for itself, and the rates are added up, each over its own time. A read that
//! is answered in process does not wait, and a task of nothing else would never give its thread to another:
//! so every task does, after each [`TURN`] reads, whoever answers them. The clock that takes the latency is read
//! for one read in so many as the [`Reader`] says, and its cost is taken off.

use super::reader::Reader;
use super::{NearError, Schedule};
use crate::closed_loop::clock_cost_ns;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, yield_now};

/// Reads after which a task lets others have its thread.
const TURN: u64 = 512;
/// The longest read that the histogram tells from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// What the tasks of a run saw.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Reads per second, of all tasks together.
    pub reads_per_s: f64,
    /// Reads.
    pub reads: u64,
    /// How long those took that were timed.
    pub latency_ns: Histogram<u64>,
}

/// What is to be read, and by how many.
pub(super) struct Load<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) schedule: &'a Arc<Schedule>,
    pub(super) tasks: usize,
    pub(super) value_bytes: usize,
}

impl Load<'_> {
    /// Reads by the schedule for about `duration`.
    pub(super) fn run<R: Reader>(
        &self,
        reader: &R,
        duration: Duration,
    ) -> Result<Outcome, NearError> {
        let clock_ns = clock_cost_ns();
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..self.tasks).map(|task| {
            let worker = Worker {
                reader: reader.clone(),
                schedule: Arc::clone(self.schedule),
                step: Schedule::begin(task, self.tasks),
                value_bytes: self.value_bytes,
                stop: Arc::clone(&stop),
                clock_ns,
            };
            self.runtime.spawn(worker.work())
        });
        let workers = workers.collect();
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let tallies = join(self.runtime, workers)?;
        let mut latency_ns = empty();
        for tally in &tallies {
            latency_ns
                .add(&tally.latency_ns)
                .expect("all histograms have the same bounds");
        }
        Ok(Outcome {
            reads_per_s: tallies
                .iter()
                .map(|tally| tally.reads as f64 / tally.elapsed.as_secs_f64())
                .sum(),
            reads: tallies.iter().map(|tally| tally.reads).sum(),
            latency_ns,
        })
    }
}

/// Reads each hot key once.
pub(super) fn read_hot<R: Reader>(
    runtime: &Runtime,
    reader: &R,
    tasks: usize,
    hot: u32,
    value_bytes: usize,
) -> Result<(), NearError> {
    let readers = (0..tasks).map(|task| {
        let mut reader = reader.clone();
        runtime.spawn(async move {
            for key in (0..hot).skip(task).step_by(tasks) {
                check(key, reader.read(key).await?, value_bytes)?;
            }
            Ok(())
        })
    });
    join(runtime, readers.collect()).map(drop)
}

/// Waits for all tasks.
fn join<T>(
    runtime: &Runtime,
    tasks: Vec<JoinHandle<Result<T, NearError>>>,
) -> Result<Vec<T>, NearError> {
    runtime.block_on(async {
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(task.await.expect("a task that reads does not panic"));
        }
        results.into_iter().collect()
    })
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("the bounds are in order")
}

/// Whether a key has a value of the right length.
pub(super) fn check(key: u32, found: Option<usize>, expected: usize) -> Result<(), NearError> {
    if found == Some(expected) {
        return Ok(());
    }
    Err(NearError::WrongValue {
        key,
        found,
        expected,
    })
}

/// A task.
struct Worker<R> {
    reader: R,
    schedule: Arc<Schedule>,
    step: usize,
    value_bytes: usize,
    stop: Arc<AtomicBool>,
    clock_ns: u64,
}

/// What a task saw.
struct Tally {
    reads: u64,
    elapsed: Duration,
    latency_ns: Histogram<u64>,
}

impl<R: Reader> Worker<R> {
    async fn work(mut self) -> Result<Tally, NearError> {
        let mut latency_ns = empty();
        let begin = Instant::now();
        let mut reads = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.schedule.key(self.step);
            self.step += 1;
            let timed = reads.is_multiple_of(R::TIMED_STRIDE).then(Instant::now);
            let found = self.reader.read(key).await?;
            if let Some(begin) = timed {
                let elapsed_ns = begin.elapsed().as_nanos() as u64;
                latency_ns.saturating_record(elapsed_ns.saturating_sub(self.clock_ns));
            }
            check(key, found, self.value_bytes)?;
            reads += 1;
            if reads.is_multiple_of(TURN) {
                yield_now().await;
            }
        }
        Ok(Tally {
            reads,
            elapsed: begin.elapsed(),
            latency_ns,
        })
    }
}
