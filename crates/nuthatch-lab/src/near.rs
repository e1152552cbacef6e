//! What a cache in process gains in front of a server of Redis' protocol: what `nuthatch-lab near` measures.
//!
//! Many tasks of one runtime read keys, each waiting for its value before it reads the next. A schedule
//! (`schedule`) says which: hot keys, which every cache holds, and now and then a cold one, which hardly any
//! holds still when its turn comes again. So the hit ratio in process is chosen, and being clever gains a
//! cache next to nothing; it is measured all the same. All values are on the server, which counts
//! the requests that still reach it. Every run has a cache and connections of its own, and warms them up.
//!
//! No read is taken on trust: a key without a value, or a value of the wrong length, ends the measurement.

mod hit_cost;
mod local_server;
mod reader;
mod schedule;
mod server;
mod tasks;
mod writer;

pub use hit_cost::{HitCost, HitCosts, Path};
pub use local_server::{LocalServer, StartError};
pub use schedule::Schedule;
pub use server::{Address, AddressError, Server};
pub use tasks::Outcome;

use nuthatch_client::{BuildError, RemoteError};
use reader::{Caching, Library, Near, Plain, Reader};
use redis::RedisError;
use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::{self, Runtime};
use writer::Writer;

/// What all keys begin with on the server.
const NAMESPACE: &str = "nuthatch-lab-near";
/// The share of a run's time that goes before it to warm up.
const WARM_UP: f64 = 0.2;
/// How long a request may take, for whoever makes it, and how long the near cache believes a server that is
/// silent: longer than its default of a second, so that a busy machine does not end the measurement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an entry lives in process, where it has a time to live: the near cache's default.
const TIME_TO_LIVE: Duration = Duration::from_secs(300);

/// Why there is no measurement.
#[derive(Debug, Error)]
pub enum NearError {
    /// The server, or the way to it.
    #[error("{}", in_one_line(.0))]
    Redis(RedisError),
    /// The near cache could not be set up.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// The near cache could not ask the server.
    #[error("{0}")]
    Remote(#[from] RemoteError),
    /// A key has no value or a wrong one.
    #[error(
        "the value of {NAMESPACE}:{key} has {} bytes, not {expected}: does somebody else write to the server?",
        found.map_or_else(|| "no".to_owned(), |found| found.to_string())
    )]
    WrongValue {
        /// The key's number.
        key: u32,
        /// The length that was read; `None` if there was no value.
        found: Option<usize>,
        /// The length that was written.
        expected: usize,
    },
    /// The machine gives no threads for the runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl From<RedisError> for NearError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

/// The client's parser says what it did not expect in several lines.
fn in_one_line(error: &RedisError) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The `redis` crate's multiplexed connection, without a cache.
    Plain,
    /// The same with the `redis` crate's own caching.
    Caching,
    /// The near cache, with invalidations for the keys that it has read.
    Near,
    /// The near cache, with invalidations for all keys.
    Broadcast,
    /// The library with a time to live and without a server: a miss is filled with a copy of the value.
    LibraryTtl,
    /// The same without a time to live.
    Library,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Caching,
        Self::Near,
        Self::Broadcast,
        Self::LibraryTtl,
        Self::Library,
    ];
}

impl Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Caching => "redis-rs caching",
            Self::Near => "nuthatch near",
            Self::Broadcast => "nuthatch near, broadcast",
            Self::LibraryTtl => "bare library, time to live",
            Self::Library => "bare library",
        })
    }
}

/// How large everything is.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Entries that a cache may hold.
    pub capacity: u32,
    /// Keys that it does hold: those of the numbers below this.
    pub hot: u32,
    /// Keys that it does not: those of the numbers from there on.
    pub cold: u32,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Tasks that read.
    pub tasks: usize,
    /// Threads of the runtime.
    pub threads: usize,
    /// Hot keys that a connection of its own writes in a second.
    pub writes_per_s: u32,
}

impl Scale {
    /// Half of the capacity is hot, so that the other half takes the cold keys that come between two reads
    /// of a hot one, whatever the policy.
    pub fn new(capacity: u32, cold: u32) -> Self {
        Self {
            capacity,
            hot: (capacity / 2).max(1),
            cold,
            value_bytes: 100,
            tasks: 64,
            threads: 2,
            writes_per_s: 0,
        }
    }

    /// Different keys.
    pub fn keys(&self) -> u32 {
        self.hot + self.cold
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the tasks saw.
    pub outcome: Outcome,
    /// The part of all reads that was answered in process; `None` without a cache.
    pub hit_ratio: Option<f64>,
    /// Requests that the server counted meanwhile, but the writer's; `None` if it does not tell.
    pub requests: Option<u64>,
    /// Hot keys that were written meanwhile.
    pub writes: u64,
}

/// Measures against one server.
#[derive(Debug)]
pub struct Bench {
    scale: Scale,
    server: Server,
    runtime: Runtime,
    /// The keys as the server knows them, by number.
    names: Arc<[String]>,
    value: Arc<[u8]>,
}

impl Bench {
    /// Connects, and writes all keys to the server; `written` is told how many each time. To be ended with
    /// [`clear`](Self::clear).
    pub fn new(address: &Address, scale: Scale, written: impl Fn(u64)) -> Result<Self, NearError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(scale.threads)
            .enable_all()
            .build()
            .map_err(NearError::Runtime)?;
        let names: Arc<[String]> = (0..scale.keys())
            .map(|key| format!("{NAMESPACE}:{key}"))
            .collect();
        let value: Arc<[u8]> = vec![b'v'; scale.value_bytes].into();
        let mut bench = Self {
            server: Server::connect(address)?,
            scale,
            runtime,
            names,
            value,
        };
        bench.server.write(&bench.names, &bench.value, written)?;
        Ok(bench)
    }

    /// How large everything is.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// Removes the keys from the server.
    pub fn clear(&mut self) -> Result<(), NearError> {
        self.server.remove(&self.names)
    }

    /// One run of one contender.
    pub fn run(
        &mut self,
        contender: Contender,
        schedule: &Arc<Schedule>,
        duration: Duration,
    ) -> Result<Run, NearError> {
        match contender {
            Contender::Plain => {
                let reader = self.runtime.block_on(Plain::connect(self))?;
                self.measure(&reader, schedule, duration)
            }
            Contender::Caching => {
                let reader = self.runtime.block_on(Caching::connect(self))?;
                self.measure(&reader, schedule, duration)
            }
            Contender::Near => {
                let reader = self.runtime.block_on(Near::connect(self, false))?;
                self.measure(&reader, schedule, duration)
            }
            Contender::Broadcast => {
                let reader = self.runtime.block_on(Near::connect(self, true))?;
                self.measure(&reader, schedule, duration)
            }
            Contender::LibraryTtl => {
                let reader = Library::new(self, Some(TIME_TO_LIVE));
                self.measure(&reader, schedule, duration)
            }
            Contender::Library => {
                let reader = Library::new(self, None);
                self.measure(&reader, schedule, duration)
            }
        }
    }

    /// What a hit in process costs, each way.
    pub fn hit_costs(&self, seed: u64) -> Result<HitCosts<'_>, NearError> {
        HitCosts::new(self, seed)
    }

    /// Reads each hot key once, by all tasks together.
    fn read_hot<R: Reader>(&self, reader: &R) -> Result<(), NearError> {
        let (tasks, hot) = (self.scale.tasks, self.scale.hot);
        tasks::read_hot(&self.runtime, reader, tasks, hot, self.scale.value_bytes)
    }

    fn measure<R: Reader>(
        &mut self,
        reader: &R,
        schedule: &Arc<Schedule>,
        duration: Duration,
    ) -> Result<Run, NearError> {
        let load = tasks::Load {
            runtime: &self.runtime,
            schedule,
            tasks: self.scale.tasks,
            value_bytes: self.scale.value_bytes,
        };
        self.read_hot(reader)?;
        let writer = match self.scale.writes_per_s {
            0 => None,
            per_s => Some(Writer::start(
                self.server.connection()?,
                per_s,
                &self.names[..self.scale.hot as usize],
                &self.value,
            )),
        };
        load.run(reader, duration.mul_f64(WARM_UP))?;
        let hits_before = reader.hits();
        let requests_before = self.server.requests()?;
        let writes_before = writer.as_ref().map_or(0, Writer::written);
        let outcome = load.run(reader, duration)?;
        let writes = writer.as_ref().map_or(0, Writer::written) - writes_before;
        let requests = self.server.requests()?;
        let hits = reader.hits();
        writer.map_or(Ok(()), Writer::finish)?;
        let reads = outcome.reads as f64;
        Ok(Run {
            hit_ratio: hits
                .zip(hits_before)
                .map(|(now, before)| (now - before) as f64 / reads),
            requests: requests
                .zip(requests_before)
                .map(|(now, before)| now - before),
            writes,
            outcome,
        })
    }
}
