//! The checker of the staleness bound: writers outside, readers through the near cache, and a history of who
//! wrote what when.
//!
//! Each key's values are numbers that only grow. A number is *replaced* when a greater one, or a flush, was
//! acknowledged: by the server, and in a cluster by the primary's replica, too, since what a failover
//! forgets nobody can know. A read that begins more than the bound after a number was replaced must not
//! give that number.

use crate::servers::PATIENCE;
use nuthatch::Cache;
use nuthatch_client::{TieredCache, TieredStats, codec};
use parking_lot::Mutex;
use redis::{Connection, RedisError, RedisResult};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The bound under test, unless a trial has its own.
pub(crate) const MAX_STALENESS: Duration = Duration::from_millis(500);
/// How long a writer waits for an answer.
const WRITER_TIMEOUT: Duration = Duration::from_millis(300);
const KEYS: usize = 300;
const READERS: usize = 16;
/// What the near cache is asked to read of it: more than it keeps in process would hide faults.
const CAPACITY: u64 = 200;

type Near = TieredCache<String, u64>;

/// When each number of a key was replaced, if it was.
#[derive(Default)]
struct History {
    /// By number: when the next one was acknowledged.
    replaced: Vec<Option<Instant>>,
}

impl History {
    /// All numbers before this one are replaced by now.
    fn replace_before(&mut self, number: usize, at: Instant) {
        if self.replaced.len() < number {
            self.replaced.resize(number, None);
        }
        for replaced in self.replaced[..number].iter_mut().rev() {
            if replaced.is_some() {
                break;
            }
            *replaced = Some(at);
        }
    }

    fn replaced_at(&self, number: u64) -> Option<Instant> {
        *self.replaced.get(number as usize)?
    }
}

/// What all threads of a trial share.
struct Shared {
    bound: Duration,
    histories: Vec<Mutex<History>>,
    stop: AtomicBool,
    reads: AtomicU64,
    failures: AtomicU64,
    writes: AtomicU64,
    /// The longest time by which a number was out of date, in microseconds.
    worst_us: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// Writers and readers at work.
pub(crate) struct Trial {
    runtime: Runtime,
    pub(crate) near: Near,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

fn key(number: usize) -> String {
    format!("key{number}")
}

impl Trial {
    /// Through a near cache of the given address, with a writer that begins with these ports. `replicas`: how
    /// many must have a write before it counts.
    pub(crate) fn start(url: &str, ports: Vec<u16>, replicas: u32) -> Self {
        Self::bounded(url, ports, replicas, MAX_STALENESS)
    }

    /// With a bound of its own.
    pub(crate) fn bounded(url: &str, ports: Vec<u16>, replicas: u32, bound: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let built = TieredCache::builder()
            .local(Cache::builder().capacity(CAPACITY))
            .remote(url)
            .namespace("trial")
            .codec(codec::Json)
            .max_staleness(bound)
            .build();
        let near: Near = runtime.block_on(built).expect("built");
        let shared = Arc::new(Shared {
            bound,
            histories: (0..KEYS).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            worst_us: AtomicU64::new(0),
            violations: Mutex::default(),
        });
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Writer::new(ports, replicas).run(&shared))
        };
        let readers = (0..READERS)
            .map(|seed| runtime.spawn(read(near.clone(), Arc::clone(&shared), seed as u64)))
            .collect();
        let trial = Self {
            runtime,
            near,
            shared,
            writer: Some(writer),
            readers,
        };
        trial.becomes_useful();
        trial
    }

    /// Lets everybody go on for so long.
    pub(crate) fn go_on(&self, duration: Duration) {
        thread::sleep(duration);
    }

    /// All keys are gone by now: whatever was read before is out of date.
    pub(crate) fn all_flushed(&self) {
        let now = Instant::now();
        for history in &self.shared.histories {
            let mut history = history.lock();
            // The number that is written next may be on its way; it is not replaced.
            let known = history.replaced.len();
            history.replace_before(known, now);
        }
    }

    /// Waits until reads succeed, and most are answered in process; how long that took.
    pub(crate) fn becomes_useful(&self) -> Duration {
        let start = Instant::now();
        loop {
            let (before, failed) = (
                self.near.stats(),
                self.shared.failures.load(Ordering::Relaxed),
            );
            thread::sleep(Duration::from_millis(50));
            let after = self.near.stats();
            let hits = after.local_hits() - before.local_hits();
            let reads =
                after.local.hits + after.local.misses - before.local.hits - before.local.misses;
            let failures = self.shared.failures.load(Ordering::Relaxed) - failed;
            if failures == 0 && hits * 2 > reads && reads > 0 {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "not useful again: {after:?}");
        }
    }

    /// Ends the trial: no read was out of date beyond the bound, nothing hangs, nothing is left.
    pub(crate) fn end(mut self, what: &str) -> TieredStats {
        self.shared.stop.store(true, Ordering::Relaxed);
        for reader in std::mem::take(&mut self.readers) {
            let ended = self
                .runtime
                .block_on(async { tokio::time::timeout(PATIENCE, reader).await });
            ended.expect("no reader hangs").expect("no reader panics");
        }
        self.writer
            .take()
            .expect("a writer")
            .join()
            .expect("the writer ends");
        let stats = self.near.stats();
        let shared = &self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "{what}: {} reads, {} of them failed, {} writes; at most {} us out of date\n  {stats}",
            count(&shared.reads),
            count(&shared.failures),
            count(&shared.writes),
            count(&shared.worst_us),
        );
        assert_eq!(stats.pending, 0, "nothing is left under way");
        assert!(count(&shared.writes) > 100, "the writer has written");
        let violations = shared.violations.lock();
        assert!(
            violations.is_empty(),
            "{what}: {} reads were out of date: {:#?}",
            violations.len(),
            &violations[..violations.len().min(5)]
        );
        stats
    }
}

/// Reads random keys until the trial ends.
async fn read(near: Near, shared: Arc<Shared>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !shared.stop.load(Ordering::Relaxed) {
        // Some keys are hotter than others.
        let number = random.usize(..KEYS).min(random.usize(..KEYS));
        let begun = Instant::now();
        let result = near.get(&key(number)).await;
        shared.reads.fetch_add(1, Ordering::Relaxed);
        match result {
            Err(_) => {
                shared.failures.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(None) => {}
            Ok(Some(value)) => {
                let replaced = shared.histories[number].lock().replaced_at(value);
                if let Some(late) =
                    replaced.and_then(|replaced| begun.checked_duration_since(replaced))
                {
                    shared
                        .worst_us
                        .fetch_max(late.as_micros() as u64, Ordering::Relaxed);
                    if late > shared.bound {
                        let text =
                            format!("{value} of key {number}, {late:?} after it was replaced");
                        shared.violations.lock().push(text);
                    }
                }
            }
        }
        if random.u8(..) < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Writes from outside, wherever each key is served.
struct Writer {
    connections: HashMap<u16, Connection>,
    /// By key: the port that served it last.
    served: Vec<u16>,
    ports: Vec<u16>,
    replicas: u32,
    random: fastrand::Rng,
}

impl Writer {
    fn new(ports: Vec<u16>, replicas: u32) -> Self {
        Self {
            connections: HashMap::new(),
            served: vec![ports[0]; KEYS],
            ports,
            replicas,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn run(mut self, shared: &Shared) {
        // The number that each key is given next.
        let mut next = vec![1_u64; KEYS];
        while !shared.stop.load(Ordering::Relaxed) {
            let number = self.random.usize(..KEYS);
            // Before it is sent, so that a flush knows of it.
            {
                let mut history = shared.histories[number].lock();
                let known = next[number] as usize;
                if history.replaced.len() < known {
                    history.replaced.resize(known, None);
                }
            }
            if self.write(number, next[number]) {
                let mut history = shared.histories[number].lock();
                history.replace_before(next[number] as usize, Instant::now());
                shared.writes.fetch_add(1, Ordering::Relaxed);
            }
            // Also if it failed: it may have been done, or be done later.
            next[number] += 1;
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Whether a key is surely written.
    fn write(&mut self, number: usize, value: u64) -> bool {
        for _ in 0..4 {
            let port = self.served[number];
            match self.try_write(port, number, value) {
                Ok(acknowledged) => return acknowledged,
                Err(error) => {
                    let moved = error
                        .redirect_node()
                        .and_then(|(node, _)| node.rsplit_once(':')?.1.parse().ok());
                    if error.code() == Some("ASK") {
                        // Where a slot is on its way, the next try may find it arrived.
                        return false;
                    }
                    self.served[number] = match moved {
                        Some(port) => port,
                        None => {
                            self.connections.remove(&port);
                            self.ports[self.random.usize(..self.ports.len())]
                        }
                    };
                }
            }
        }
        false
    }

    fn try_write(&mut self, port: u16, number: usize, value: u64) -> Result<bool, RedisError> {
        let connection = match self.connections.entry(port) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
                let connection = client.get_connection_with_timeout(WRITER_TIMEOUT)?;
                connection.set_read_timeout(Some(WRITER_TIMEOUT))?;
                connection.set_write_timeout(Some(WRITER_TIMEOUT))?;
                entry.insert(connection)
            }
        };
        let mut set = redis::cmd("SET");
        set.arg(format!("trial:{}", key(number))).arg(value);
        let result: RedisResult<()> = set.query(connection);
        result?;
        if self.replicas == 0 {
            return Ok(true);
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.replicas)
            .arg(WRITER_TIMEOUT.as_millis() as u64 / 2);
        let copies: u32 = wait.query(connection)?;
        Ok(copies >= self.replicas)
    }
}

mod tests {
    use super::History;
    use std::time::{Duration, Instant};

    #[test]
    fn a_number_is_replaced_when_a_greater_one_was_acknowledged_first() {
        let mut history = History::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        history.replace_before(1, at(1));
        // 2 was never acknowledged.
        history.replace_before(3, at(3));
        history.replace_before(4, at(9));
        assert_eq!(history.replaced_at(0), Some(at(1)));
        assert_eq!(history.replaced_at(1), Some(at(3)));
        assert_eq!(history.replaced_at(2), Some(at(3)));
        assert_eq!(history.replaced_at(3), Some(at(9)));
        assert_eq!(history.replaced_at(4), None);
    }
}
