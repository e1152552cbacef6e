//! Somebody else who writes hot keys, so that those who cache them must be told.

use super::NearError;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use redis::{Connection, Pipeline, RedisError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often what is due is written.
const PERIOD: Duration = Duration::from_millis(1);
/// The most that is written with one request, should the server be slower than the rate.
const BATCH: u64 = 1_000;

/// A thread with a connection of its own, so that the runtime which is measured has no work with it.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), RedisError>>,
}

impl Writer {
    /// Begins to write `value` to keys drawn evenly from `names`.
    pub(super) fn start(
        mut connection: Connection,
        per_s: u32,
        names: &[String],
        value: &Arc<[u8]>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (names, value) = (names.to_vec(), Arc::clone(value));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = thread::spawn(move || {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(per_s.into());
            let begin = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * f64::from(per_s)) as u64;
                let batch = (due - count.load(Ordering::Relaxed)).min(BATCH);
                if batch == 0 {
                    thread::sleep(PERIOD);
                    continue;
                }
                let mut pipeline = Pipeline::with_capacity(batch as usize);
                for _ in 0..batch {
                    let name = &names[random.random_range(0..names.len())];
                    pipeline.cmd("SET").arg(name).arg(&value[..]).ignore();
                }
                pipeline.exec(&mut connection)?;
                count.fetch_add(batch, Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            stop,
            written,
            thread,
        }
    }

    /// Keys written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends it; an error if it has ended before.
    pub(super) fn finish(self) -> Result<(), NearError> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.thread.join().expect("the writer does not panic")?)
    }
}
