//! The process with the cache: two threads that do one operation after the other, each between two
//! marks, and announce each by a signal to themselves.
//!
//! The signal would end the process, so it never runs untraced: it tells on standard output which
//! threads to trace, and waits for a line on standard input, whose end ends it. From then on the
//! tracer decides which thread goes on, and ends the process when it has seen enough.

use super::{FootprintError, Operation, Subject};
use crate::caches::{BenchCache, CacheSpec, Visitor};
use crate::closed_loop;
use crate::keys::{Integers, KeyKind, Kind, Strings};
use crate::workloads::{Plan, Shape, Workload};
use nix::sys::signal::{Signal, raise};
use nix::unistd::gettid;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// What announces an operation.
pub(super) const CUE: Signal = Signal::SIGUSR1;
/// Keys that hits and updates go through in turn, about.
const SAMPLED_KEYS: usize = 256;
/// Passes over the sampled keys before any is measured: as many as make keys hot for every policy.
const WARM_UP_PASSES: usize = 32;
/// How much the content is turned over before an eviction is measured, as a multiple of the
/// capacity: so many new keys take every slot and every ghost into use.
const TURNOVERS: u64 = 2;
/// A cache that evicts too slowly for that turns over this long.
const TURNOVER_LIMIT: Duration = Duration::from_secs(5);
/// A cache that inserts on a thread of its own is waited for after so many insertions.
const SETTLED_BATCH: u64 = 256;
/// What a thread is given; it may use the upper half.
const STACK_BYTES: usize = 2 << 20;

/// Which threads to trace, and between which addresses.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cast {
    /// The thread that does what is measured.
    pub(super) lead: Actor,
    /// The thread whose hits are compared with the lead's.
    pub(super) rival: Actor,
    /// The address of [`begin`].
    pub(super) begin: u64,
    /// The address of [`end`].
    pub(super) end: u64,
}

/// A thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Actor {
    pub(super) thread: i32,
    /// The addresses of its stack, from the frame that its work began in downwards.
    pub(super) stack: Range<u64>,
}

/// Builds the cache in this process and lets it be measured; returns only if nobody does.
pub fn perform(cache: &CacheSpec, subject: Subject) -> Result<(), FootprintError> {
    match subject.keys {
        Kind::U64 => play::<Integers>(cache, subject),
        Kind::String => play::<Strings>(cache, subject),
    }
}

fn play<R: KeyKind>(cache: &CacheSpec, subject: Subject) -> Result<(), FootprintError> {
    let workload = match subject.operation {
        Operation::Hit | Operation::Update => Workload::ReadOnly,
        Operation::Evict => Workload::Evict,
    };
    let shape = Shape {
        capacity: subject.capacity,
        key_space: 1.0,
        seed: 1,
    };
    let plan = Plan::<R>::new(workload, &shape);
    let play = Play {
        plan: &plan,
        subject,
        own_threads: cache.info().own_threads,
    };
    cache.visit(plan.room(), play)
}

struct Play<'a, R: KeyKind> {
    plan: &'a Plan<R>,
    subject: Subject,
    own_threads: bool,
}

impl<R: KeyKind> Visitor<R::Key, R::Value> for Play<'_, R> {
    type Output = Result<(), FootprintError>;

    fn visit<C: BenchCache<R::Key, R::Value>>(self, build: impl FnOnce() -> C) -> Self::Output {
        let cache = build();
        closed_loop::fill(&cache, self.plan);
        let scene = Scene {
            ids: self.sampled_ids(&cache)?,
            cache: &cache,
            subject: self.subject,
            own_threads: self.own_threads,
            kind: PhantomData::<R>,
        };
        scene.play()
    }
}

impl<R: KeyKind> Play<'_, R> {
    /// Keys that stayed, in no order.
    fn sampled_ids(
        &self,
        cache: &impl BenchCache<R::Key, R::Value>,
    ) -> Result<Vec<u64>, FootprintError> {
        if self.subject.operation == Operation::Evict {
            return Ok(Vec::new());
        }
        let inserted = self.subject.capacity;
        let stride = (inserted as usize / SAMPLED_KEYS).max(1);
        let resident = (0..u64::from(inserted)).step_by(stride);
        let ids: Vec<_> = resident.filter(|&id| cache.hit(&R::key(id))).collect();
        if ids.len() < 2 {
            return Err(FootprintError::TooFewResident {
                kept: ids.len(),
                inserted: (inserted as usize).div_ceil(stride),
            });
        }
        Ok(ids)
    }
}

/// The cache, filled, and what is done to it.
struct Scene<'a, R, C> {
    cache: &'a C,
    /// The keys that hits and updates go through.
    ids: Vec<u64>,
    subject: Subject,
    own_threads: bool,
    kind: PhantomData<R>,
}

impl<R: KeyKind, C: BenchCache<R::Key, R::Value>> Scene<'_, R, C> {
    fn play(&self) -> Result<(), FootprintError> {
        thread::scope(|scope| {
            let works: [fn(&Self, &Curtain); 2] = [Self::lead, Self::rival];
            let mut threads = Vec::new();
            let mut actors = Vec::new();
            let mut releases = Vec::new();
            // One after the other, so that the second is warmed up on what the first has left.
            for work in works {
                let (arrive, arrivals) = mpsc::channel();
                let (release, released) = mpsc::channel();
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                threads.push(thread.spawn_scoped(scope, move || {
                    let curtain = Curtain::new(arrive, released);
                    work(self, &curtain);
                })?);
                actors.extend(arrivals.recv().ok());
                releases.push(release);
            }
            // If one panicked, the other ends for want of a release.
            let Ok([lead, rival]) = <[Actor; 2]>::try_from(actors) else {
                return Ok(());
            };
            let cast = Cast {
                lead,
                rival,
                begin: address(begin),
                end: address(end),
            };
            if announce(&cast)? {
                let playing = match self.subject.operation {
                    Operation::Hit => &releases[..],
                    Operation::Update | Operation::Evict => &releases[..1],
                };
                for release in playing {
                    release.send(()).expect("a thread waits for this");
                }
                // A rival that is not released stays: allocators and locks may be quicker in
                // processes of one thread.
                let lead = threads.swap_remove(0);
                lead.join().expect("no cache panics");
            }
            Ok(())
        })
    }

    /// Does what is measured, for ever; first of all nothing, to measure that too. Not inlined, so
    /// that all its variables lie below the frame that the curtain was made in.
    #[inline(never)]
    fn lead(&self, curtain: &Curtain) {
        match self.subject.operation {
            Operation::Hit => {
                self.warm_up_hits();
                if curtain.rises() {
                    cued(|| measured(|| ()));
                    for request in 0.. {
                        self.measured_hit(request);
                    }
                }
            }
            Operation::Update => {
                let passes = (0..WARM_UP_PASSES).flat_map(|_| &self.ids);
                passes.for_each(|&id| self.cache.insert(R::key(id), R::value(id)));
                self.cache.settle();
                if curtain.rises() {
                    self.measured_insertions(self.ids.iter().copied().cycle());
                }
            }
            Operation::Evict => {
                let fresh = self.turn_over();
                if curtain.rises() {
                    self.measured_insertions(fresh..);
                }
            }
        }
    }

    /// Hits what the lead has just hit, and then another key.
    #[inline(never)]
    fn rival(&self, curtain: &Curtain) {
        self.warm_up_hits();
        if curtain.rises() {
            let elsewhere = self.ids.len() / 2;
            for request in 0.. {
                self.measured_hit(request);
                self.measured_hit(request + elsewhere);
            }
        }
    }

    fn warm_up_hits(&self) {
        let passes = (0..WARM_UP_PASSES).flat_map(|_| &self.ids);
        passes.for_each(|&id| {
            self.cache.hit(&R::key(id));
        });
    }

    /// Inserts new keys until everything has been turned over; the next new one.
    fn turn_over(&self) -> u64 {
        let begin = Instant::now();
        let first = u64::from(self.subject.capacity);
        let last = first + TURNOVERS * first;
        for id in first..last {
            self.cache.insert(R::key(id), R::value(id));
            if self.own_threads && id % SETTLED_BATCH == 0 {
                self.cache.settle();
            }
            if begin.elapsed() > TURNOVER_LIMIT {
                return id + 1;
            }
        }
        self.cache.settle();
        last
    }

    fn measured_hit(&self, request: usize) {
        // What the operation begins with lies on the thread's own stack.
        let cache = black_box(self.cache);
        let key = R::key(self.ids[request % self.ids.len()]);
        let hit = cued(|| measured(|| cache.hit(black_box(&key))));
        assert!(hit, "a resident key is found");
    }

    /// Inserts these, each made before it is measured. First of all it only takes them, to measure
    /// that too.
    fn measured_insertions(&self, ids: impl Iterator<Item = u64>) {
        let entry = (R::key(0), R::value(0));
        cued(|| measured(|| mem::forget(black_box(entry))));
        // What the operation begins with lies on the thread's own stack.
        let cache = black_box(self.cache);
        for id in ids {
            let entry = (R::key(id), R::value(id));
            cued(|| {
                measured(|| {
                    let (key, value) = black_box(entry);
                    cache.insert(key, value);
                });
            });
        }
    }
}

/// Where a thread waits to be traced.
struct Curtain {
    actor: Actor,
    arrive: Sender<Actor>,
    released: Receiver<()>,
}

impl Curtain {
    /// For this thread, whose work begins in the frame that this is called from.
    #[inline(always)]
    fn new(arrive: Sender<Actor>, released: Receiver<()>) -> Self {
        let variable = 0_u8;
        let stack_top = ptr::from_ref(black_box(&variable)).addr() as u64;
        let actor = Actor {
            thread: gettid().as_raw(),
            stack: stack_top - STACK_BYTES as u64 / 2..stack_top,
        };
        Self {
            actor,
            arrive,
            released,
        }
    }

    /// Tells that this thread is ready and waits. Whether anybody wants to see it.
    fn rises(&self) -> bool {
        self.arrive.send(self.actor.clone()).is_ok() && self.released.recv().is_ok()
    }
}

/// Tells who is to be traced and waits for the answer; whether there is one.
fn announce(cast: &Cast) -> io::Result<bool> {
    let mut line = serde_json::to_string(cast)?;
    line.push('\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    Ok(io::stdin().read_line(&mut answer)? > 0)
}

fn address(mark: fn()) -> u64 {
    mark as usize as u64
}

/// Stops this thread until the tracer lets it go on.
#[inline(always)]
fn cued<T>(act: impl FnOnce() -> T) -> T {
    raise(CUE).expect("a thread may signal itself");
    act()
}

#[inline(always)]
fn measured<T>(operation: impl FnOnce() -> T) -> T {
    begin();
    let result = black_box(operation());
    end();
    result
}

/// What follows is measured. Different from [`end`], lest they become one function.
#[inline(never)]
fn begin() {
    black_box(b'b');
}

/// What follows is not measured any more.
#[inline(never)]
fn end() {
    black_box(b'e');
}
