//! The threads that send requests and count replies, each with connections of its own.

use super::connection::{Answer, Connection, Language};
use super::entries::{Keys, Values};
use super::requests::{Requests, Wanted, Work};
use super::schedule::Schedule;
use super::socket::Waiting;
use super::target::Target;
use super::{PATIENCE, TrafficError};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read at a time: the replies of a deep pipeline in one go.
const READ_BYTES: usize = 256 << 10;
/// Events fetched at a time.
const MOST_EVENTS: usize = 1024;
/// A thread that waits for replies looks up so often, lest it misses that another one failed.
const LOOK_UP: Duration = Duration::from_millis(100);
/// The event queue counts in milliseconds and may be late by one or two; what is due sooner is
/// waited for by asking again and again.
const SPIN_NS: u64 = 3_000_000;
/// The longest latency that is told from longer ones.
const LONGEST_NS: u64 = 600_000_000_000;
/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// What is asked of every server alike.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The keys.
    pub keys: Keys,
    /// Bytes of a value, where the work does not say; at most [`super::LONGEST_VALUE`].
    pub value_bytes: u32,
    /// The longest value of all.
    pub longest_value_bytes: u32,
    /// How long the server may keep what is stored.
    pub ttl_s: Option<u32>,
    /// Connections, of all threads together.
    pub connections: usize,
    /// Threads, at most as many as connections.
    pub threads: usize,
}

/// How fast requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Closed loop: requests of a batch, whose replies are all waited for before the next. Open loop:
    /// the most requests that wait for their replies on one connection.
    pub pipeline: usize,
    /// The requests per second of an open loop, of all threads together.
    pub rate_per_s: Option<u64>,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests per second that were answered, of all threads together.
    pub ops_per_s: f64,
    /// How long the slowest thread took.
    pub elapsed: Duration,
    /// Requests that were answered.
    pub ops: u64,
    /// Reads among them.
    pub gets: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Requests of an open loop that were due and could not even be sent until the end. They count
    /// among the latencies by how long they had waited.
    pub unsent: u64,
    /// From when a request was sent, or was due, until its reply was read.
    pub latency_ns: Histogram<u64>,
}

/// Connections that the server has accepted.
#[derive(Debug)]
pub struct Crew {
    target: Target,
    plan: Plan,
    sockets: Vec<Waiting>,
}

impl Crew {
    /// Opens the connections.
    ///
    /// # Panics
    /// If there is a thread without a connection.
    pub fn assemble(target: &Target, plan: &Plan) -> Result<Self, TrafficError> {
        assert!(
            (1..=plan.connections).contains(&plan.threads),
            "every thread has a connection"
        );
        let sockets = (0..plan.connections).map(|_| Waiting::open(target));
        Ok(Self {
            target: target.clone(),
            plan: plan.clone(),
            sockets: sockets.collect::<Result<_, _>>()?,
        })
    }

    /// Removes everything from the server.
    pub fn empty(&mut self) -> Result<(), TrafficError> {
        self.sockets[0].empty(self.target.protocol)
    }

    /// Does the work.
    pub fn run(self, work: &Work<'_>, pace: Pace) -> Result<Outcome, TrafficError> {
        let Self {
            target,
            plan,
            mut sockets,
        } = self;
        let values = Values::new(plan.longest_value_bytes as usize);
        let mut language = Language::new(target.protocol, plan.keys, values, plan.ttl_s);
        language.value_bytes = work.has_one_length().then_some(plan.value_bytes);
        language.cache_aside = work.is_cache_aside();
        let stop = AtomicBool::new(false);
        let mut workers = Vec::with_capacity(plan.threads);
        for thread in 0..plan.threads {
            let share = sockets.len() / (plan.threads - thread);
            let mut worker = Worker {
                connections: Vec::with_capacity(share),
                poll: Poll::new().map_err(TrafficError::Start)?,
                buffer: vec![0; READ_BYTES],
                language: &language,
                requests: work.requests(thread, plan.threads, plan.value_bytes),
                pipeline: pace.pipeline,
                schedule: pace
                    .rate_per_s
                    .map(|rate_per_s| Schedule::new(rate_per_s, thread, plan.threads)),
                deadline_ns: work.duration().map(|duration| duration.as_nanos() as u64),
                start: Instant::now(),
                stop: &stop,
                turn: 0,
                owed: 0,
                silent_since_ns: 0,
                tally: Tally::default(),
            };
            for socket in sockets.drain(..share) {
                worker
                    .employ(socket, &target)
                    .map_err(TrafficError::Start)?;
            }
            workers.push(worker);
        }
        let tallies = thread::scope(|scope| {
            let handles: Vec<_> = workers
                .into_iter()
                .map(|worker| scope.spawn(|| worker.work()))
                .collect();
            let results = handles
                .into_iter()
                .map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)));
            results.collect::<Vec<_>>()
        });
        // A thread that stopped for the failure of another one has not failed.
        let tallies = tallies.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome::sum(tallies))
    }
}

impl Outcome {
    fn sum(tallies: Vec<Tally>) -> Self {
        let mut sum = Self {
            ops_per_s: 0.0,
            elapsed: Duration::ZERO,
            ops: 0,
            gets: 0,
            hits: 0,
            unsent: 0,
            latency_ns: Tally::default().latency_ns,
        };
        for mut tally in tallies {
            tally.record_alike();
            let elapsed = Duration::from_nanos(tally.end_ns);
            sum.ops_per_s += tally.ops as f64 / elapsed.as_secs_f64();
            sum.elapsed = sum.elapsed.max(elapsed);
            sum.ops += tally.ops;
            sum.gets += tally.gets;
            sum.hits += tally.hits;
            sum.unsent += tally.unsent;
            sum.latency_ns
                .add(&tally.latency_ns)
                .expect("all histograms have the same bounds");
        }
        sum
    }
}

/// What one thread counts.
#[derive(Debug)]
struct Tally {
    ops: u64,
    gets: u64,
    hits: u64,
    unsent: u64,
    latency_ns: Histogram<u64>,
    /// The replies of a batch mostly took equally long, and are recorded together.
    alike: (u64, u64),
    /// When the last reply was read.
    end_ns: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST_NS, LATENCY_DIGITS);
        Self {
            ops: 0,
            gets: 0,
            hits: 0,
            unsent: 0,
            latency_ns: empty.expect("the bounds are in order"),
            alike: (0, 0),
            end_ns: 1,
        }
    }
}

impl Tally {
    #[inline]
    fn count(&mut self, answer: Answer, latency_ns: u64) {
        self.ops += 1;
        self.gets += u64::from(answer != Answer::Stored);
        self.hits += u64::from(answer == Answer::Hit);
        self.record(latency_ns);
    }

    #[inline]
    fn record(&mut self, latency_ns: u64) {
        if self.alike.0 != latency_ns {
            self.record_alike();
            self.alike.0 = latency_ns;
        }
        self.alike.1 += 1;
    }

    fn record_alike(&mut self) {
        let (latency_ns, count) = std::mem::take(&mut self.alike);
        self.latency_ns
            .saturating_record_n(latency_ns.max(1), count);
    }
}

/// One thread.
struct Worker<'a> {
    connections: Vec<Connection>,
    poll: Poll,
    buffer: Vec<u8>,
    language: &'a Language,
    requests: Requests<'a>,
    pipeline: usize,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
    deadline_ns: Option<u64>,
    start: Instant,
    stop: &'a AtomicBool,
    /// The connection whose turn it is in an open loop.
    turn: usize,
    /// Replies owed on all connections.
    owed: usize,
    /// When the last reply was read, or the first of those that are owed was asked for.
    silent_since_ns: u64,
    tally: Tally,
}

impl Worker<'_> {
    fn employ(&mut self, socket: Waiting, target: &Target) -> io::Result<()> {
        let token = Token(self.connections.len());
        let connection = Connection::new(socket, target.protocol, self.poll.registry(), token)?;
        self.connections.push(connection);
        Ok(())
    }

    fn work(mut self) -> Result<Tally, TrafficError> {
        self.start = Instant::now();
        let stop = self.stop;
        let result = self.work_until_done();
        if result.is_err() {
            // Relaxed: the flag guards no other memory.
            stop.store(true, Ordering::Relaxed);
        }
        result.map(|()| self.tally)
    }

    fn work_until_done(&mut self) -> Result<(), TrafficError> {
        let mut events = Events::with_capacity(MOST_EVENTS);
        if self.schedule.is_none() {
            for number in 0..self.connections.len() {
                self.send_batch(number)?;
            }
        }
        while let Some(timeout) = self.send_due()? {
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(TrafficError::Broken)?,
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            for event in &events {
                let number = event.token().0;
                if event.is_writable() {
                    self.connections[number].write_out()?;
                }
                if event.is_readable() || event.is_error() {
                    self.receive(number)?;
                }
            }
            if events.is_empty() && self.owed > 0 && self.silence() > PATIENCE {
                return Err(TrafficError::Silent(PATIENCE));
            }
        }
        Ok(())
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    #[inline]
    fn is_over(&self, now_ns: u64) -> bool {
        self.deadline_ns
            .is_some_and(|deadline_ns| now_ns >= deadline_ns)
    }

    /// How long the server has owed replies and sent none.
    fn silence(&self) -> Duration {
        Duration::from_nanos(self.now_ns() - self.silent_since_ns)
    }

    #[inline]
    fn push(&mut self, number: usize, wanted: Wanted, since_ns: u64, now_ns: u64) {
        if self.owed == 0 {
            self.silent_since_ns = now_ns;
        }
        self.owed += 1;
        self.connections[number].push(self.language, wanted, since_ns);
    }

    /// Sends what is due by the schedule. How long to wait for events then; `None` if all is done.
    fn send_due(&mut self) -> Result<Option<Duration>, TrafficError> {
        let Some(mut schedule) = self.schedule.take() else {
            return Ok((self.owed > 0).then_some(LOOK_UP));
        };
        let now_ns = self.now_ns();
        if self.is_over(now_ns) {
            self.give_up(&mut schedule);
            self.schedule = Some(schedule);
            return Ok((self.owed > 0).then_some(LOOK_UP));
        }
        let mut timeout = None;
        let mut sent = false;
        while schedule.next_ns() <= now_ns {
            let Some(number) = self.free_connection() else {
                // Replies make room.
                timeout = Some(LOOK_UP);
                break;
            };
            let Some(wanted) = self.requests.next() else {
                timeout = (self.owed > 0).then_some(LOOK_UP);
                break;
            };
            let due_ns = schedule.take(now_ns).expect("it is due");
            self.push(number, wanted, due_ns, now_ns);
            self.turn = number + 1;
            sent = true;
        }
        if let Some(wait_ns) = schedule.next_ns().checked_sub(now_ns + 1) {
            let sleep = Duration::from_millis(wait_ns.saturating_sub(SPIN_NS) / 1_000_000);
            timeout = Some(sleep.min(LOOK_UP));
        }
        self.schedule = Some(schedule);
        if sent {
            for connection in &mut self.connections {
                connection.write_out()?;
            }
        }
        Ok(timeout)
    }

    /// The next connection, in turn, on which not too many replies are owed.
    #[inline]
    fn free_connection(&self) -> Option<usize> {
        let connections = self.connections.len();
        (0..connections)
            .map(|step| (self.turn + step) % connections)
            .find(|&number| self.connections[number].owed() < self.pipeline)
    }

    /// Counts what was due before the end and could not be sent.
    fn give_up(&mut self, schedule: &mut Schedule) {
        let end_ns = self.deadline_ns.unwrap_or(u64::MAX);
        while schedule.next_ns() < end_ns
            && let Some(due_ns) = schedule.take(end_ns)
        {
            self.tally.unsent += 1;
            self.tally.record(end_ns - due_ns);
        }
    }

    /// Sends a batch of a closed loop, if there is something left to ask for.
    fn send_batch(&mut self, number: usize) -> Result<(), TrafficError> {
        let now_ns = self.now_ns();
        if self.is_over(now_ns) {
            return Ok(());
        }
        for _ in 0..self.pipeline {
            let missed = self.connections[number].take_missed();
            let Some(wanted) = missed.or_else(|| self.requests.next()) else {
                break;
            };
            self.push(number, wanted, now_ns, now_ns);
        }
        self.connections[number].write_out()
    }

    /// Reads replies, and sends what follows from them.
    fn receive(&mut self, number: usize) -> Result<(), TrafficError> {
        loop {
            let connection = &mut self.connections[number];
            let Some(read) = connection.read(&mut self.buffer)? else {
                return Ok(());
            };
            let now_ns = self.start.elapsed().as_nanos() as u64;
            let tally = &mut self.tally;
            let owed = connection.owed();
            connection.receive(self.language, &self.buffer[..read], |answer, since_ns| {
                tally.count(answer, now_ns - since_ns);
            })?;
            self.owed -= owed - connection.owed();
            self.silent_since_ns = now_ns;
            tally.end_ns = now_ns;
            if self.schedule.is_some() {
                self.send_missed(number, now_ns)?;
            } else if self.connections[number].owed() == 0 {
                self.send_batch(number)?;
            }
            // What comes later makes another event (epoll(7), on reading less than asked for).
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// In an open loop, a missed key is stored as soon as that is known.
    fn send_missed(&mut self, number: usize, now_ns: u64) -> Result<(), TrafficError> {
        while let Some(wanted) = self.connections[number].take_missed() {
            self.push(number, wanted, now_ns, now_ns);
        }
        self.connections[number].write_out()
    }
}
