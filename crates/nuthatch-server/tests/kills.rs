//! Durability with the real program on a real disk: processes that are killed with `kill -9` under load, that
//! are asked to end, and that find something wrong when they start.
//!
//! Clients write pipelined load of all kinds, each on keys of its own, while snapshots are written and the
//! log is compacted. Then the process is killed at a random moment, sometimes also the next one while it still
//! loads, and what is there after the restart is compared with what was written: for each client it must be
//! what its keys were after some number of its operations, so that no transaction is torn and nothing comes
//! back that was overwritten; and of what was acknowledged there may be lost
//!
//! - with `always` nothing;
//! - with `everysec` what was written in one second;
//! - with `no` anything that the operating system had not been given.
//!
//! `NUTHATCH_KILLS` says how many kills there are of each kind; a failure tells its seed, which
//! `NUTHATCH_KILL_SEED` takes. The moments of kills are random in any case.
#![forbid(unsafe_code)]

#[path = "suite/harness.rs"]
#[expect(dead_code, reason = "servers in this process are for other tests")]
mod harness;
#[path = "kills/load.rs"]
mod load;
#[path = "kills/process.rs"]
mod process;
#[path = "kills/shutdowns.rs"]
mod shutdowns;
#[path = "kills/starts.rs"]
mod starts;

use fastrand::Rng;
use harness::Value;
use load::{Loss, Writer};
use process::{Home, Process};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use std::{env, fs};

/// Kills of each kind where the environment does not say how many.
const KILLS: u64 = 3;
/// Clients that write.
const WRITERS: usize = 4;
/// How much later than a second after the oldest change a busy machine may see that writes have to wait.
const LATE: Duration = Duration::from_secs(1);

/// With which settings, and what may be lost.
struct Kind {
    settings: &'static [(&'static str, &'static str)],
    loss: Loss,
    longest_life_ms: u64,
}

/// Settings with which the log is compacted all the time.
const COMPACTING: [(&str, &str); 2] = [
    ("auto-aof-rewrite-min-size", "64kb"),
    ("auto-aof-rewrite-percentage", "50"),
];

/// Servers on one directory, one after another.
struct World {
    home: Home,
    settings: Vec<(&'static str, &'static str)>,
    writers: Vec<Writer>,
    rng: Rng,
}

impl World {
    fn new(settings: &[(&'static str, &'static str)], seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            home: Home::new(),
            settings: [settings, &COMPACTING].concat(),
            writers: (0..WRITERS)
                .map(|number| Writer::new(&format!("writer-{number}"), rng.u64(..)))
                .collect(),
            rng,
        }
    }

    /// Starts a server on what the former has left.
    fn start(&self) -> Process {
        self.home.start(&self.settings)
    }

    /// Has clients write for so long at most, lets `end` end the server meanwhile, and returns what that returns.
    fn write_until<R>(
        &mut self,
        process: Process,
        life: Duration,
        end: impl FnOnce(Process) -> R,
    ) -> R {
        thread::scope(|scope| {
            let (ended, ends) = mpsc::channel();
            let connections: Vec<_> = self.writers.iter().map(|_| process.connect()).collect();
            for (writer, connection) in self.writers.iter_mut().zip(connections) {
                let ended = ended.clone();
                scope.spawn(move || {
                    writer.run(connection);
                    // Nobody asks once the server has been ended.
                    ended.send(()).ok();
                });
            }
            let early = ends.recv_timeout(life);
            assert_eq!(
                early,
                Err(RecvTimeoutError::Timeout),
                "a client was left alone"
            );
            end(process)
        })
    }

    /// Compares what a server has with what was written.
    fn check(&mut self, process: &Process, loss: Loss) {
        let mut connection = process.connect();
        for writer in &mut self.writers {
            writer.check(&mut connection, loss);
        }
        let keys: usize = self.writers.iter().map(Writer::keys).sum();
        let found = connection.call("DBSIZE");
        assert_eq!(found, Value::Integer(keys as i64), "keys that nobody has");
    }

    fn acknowledged(&self) -> usize {
        self.writers.iter().map(Writer::acknowledged).sum()
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

fn kill_again_and_again(kind: &Kind) {
    let kills = number("NUTHATCH_KILLS").unwrap_or(KILLS);
    let seed = number("NUTHATCH_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let lives = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(kind.settings, seed);
        let mut acknowledged = 0;
        for _ in 0..kills {
            if world.rng.u8(0..4) == 0 {
                let loading = world.home.spawn(&world.settings);
                let wait = Duration::from_micros(world.rng.u64(0..60_000));
                loading.is_ready_within(wait);
                loading.kill();
            }
            let process = world.start();
            world.check(&process, kind.loss);
            let life = Duration::from_millis(world.rng.u64(20..kind.longest_life_ms));
            world.write_until(process, life, Process::kill);
            acknowledged += world.acknowledged();
        }
        let process = world.start();
        world.check(&process, kind.loss);
        assert!(acknowledged > 0, "nobody has written");
        let names = fs::read_dir(world.home.data()).expect("a directory");
        let is_snapshot = |name: &str| name.ends_with(".nuts");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let mut names = names.map(|name| name.into_string().expect("text"));
        assert!(names.any(|name| is_snapshot(&name)), "none was compacted");
    }));
    if let Err(panic) = lives {
        eprintln!("NUTHATCH_KILL_SEED={seed} has the same operations");
        resume_unwind(panic);
    }
}

#[test]
fn always_loses_nothing_that_was_acknowledged() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "always"), ("threads", "2")],
        loss: Loss::Nothing,
        longest_life_ms: 1200,
    });
}

#[test]
fn always_loses_nothing_with_one_thread() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "always"), ("threads", "1")],
        loss: Loss::Nothing,
        longest_life_ms: 1200,
    });
}

#[test]
fn everysec_loses_what_was_written_in_a_second_at_most() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "everysec"), ("threads", "2")],
        loss: Loss::Within(Duration::from_secs(1) + LATE),
        longest_life_ms: 4000,
    });
}

#[test]
fn everysec_loses_what_was_written_in_a_second_at_most_with_one_thread() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "everysec"), ("threads", "1")],
        loss: Loss::Within(Duration::from_secs(1) + LATE),
        longest_life_ms: 4000,
    });
}

#[test]
fn no_sync_leaves_a_beginning_of_what_was_written() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "no"), ("threads", "2")],
        loss: Loss::Anything,
        longest_life_ms: 1200,
    });
}

#[test]
fn no_sync_leaves_a_beginning_of_what_was_written_with_one_thread() {
    kill_again_and_again(&Kind {
        settings: &[("appendfsync", "no"), ("threads", "1")],
        loss: Loss::Anything,
        longest_life_ms: 1200,
    });
}
