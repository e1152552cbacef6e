//! Servers that are asked to end under load, in every way in which people ask.

use crate::harness::Value;
use crate::load::Loss;
use crate::process::{Home, Process};
use crate::{World, number};
use rustix::process::Signal;
use std::time::Duration;

/// How a server is asked to end.
#[derive(Clone, Copy, Debug)]
enum Way {
    Command(&'static str),
    Signal(Signal),
}

impl Way {
    /// Asks, and waits until the server has ended.
    fn end(self, mut process: Process) {
        match self {
            Self::Signal(signal) => process.signal(signal),
            Self::Command(line) => {
                let reply = process.ask_to_end(line);
                assert_eq!(reply, None, "a server that ends does not answer {line}");
            }
        }
        let status = process.await_end();
        assert!(status.success(), "{self:?}: {status}: {}", process.told());
    }
}

const WAYS: [Way; 4] = [
    Way::Command("SHUTDOWN"),
    Way::Command("SHUTDOWN SAVE"),
    Way::Signal(Signal::TERM),
    Way::Signal(Signal::INT),
];

/// Ends servers under load in these ways, one after another on one directory.
fn end_again_and_again(settings: &[(&'static str, &'static str)], ways: &[Way]) {
    let seed = number("NUTHATCH_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("NUTHATCH_KILL_SEED={seed}");
    let mut world = World::new(settings, seed);
    for &way in ways {
        let process = world.start();
        world.check(&process, Loss::Nothing);
        let life = Duration::from_millis(world.rng.u64(20..400));
        world.write_until(process, life, |process| way.end(process));
    }
    let process = world.start();
    world.check(&process, Loss::Nothing);
}

#[test]
fn no_end_that_was_asked_for_loses_anything_with_a_log() {
    let ways = [&WAYS[..], &[Way::Command("SHUTDOWN NOSAVE")]].concat();
    for policy in ["always", "everysec", "no"] {
        end_again_and_again(&[("appendfsync", policy), ("threads", "2")], &ways);
    }
}

#[test]
fn no_end_that_was_asked_for_loses_anything_without_a_log() {
    end_again_and_again(&[("appendonly", "no"), ("threads", "2")], &WAYS);
}

/// So much that loading it lasts until the server is asked to end.
const MUCH: usize = 4_000;

#[test]
fn a_server_that_is_asked_to_end_while_it_loads_ends_and_harms_nothing() {
    let home = Home::new();
    let process = home.start(&[]);
    let mut client = process.connect();
    let value = "v".repeat(10_000);
    for number in 0..MUCH {
        client.call(&format!("SET key-{number} {value}"));
    }
    Way::Command("SHUTDOWN").end(process);
    let ways = [&WAYS[..], &[Way::Command("SHUTDOWN NOSAVE")]].concat();
    for settings in [&[][..], &[("appendonly", "no")]] {
        for way in &ways {
            let process = home.spawn(settings);
            process.await_clients();
            way.end(process);
        }
    }
    let process = home.start(&[]);
    assert_eq!(process.call("DBSIZE"), Value::Integer(MUCH as i64));
}

#[test]
fn nosave_without_a_log_leaves_the_last_snapshot() {
    let home = Home::new();
    let settings = [("appendonly", "no")];
    let process = home.start(&settings);
    let mut client = process.connect();
    for line in ["SET kept 1", "SAVE", "SET lost 1", "DEL kept"] {
        client.call(line);
    }
    Way::Command("SHUTDOWN NOSAVE").end(process);
    let process = home.start(&settings);
    assert_eq!(process.call("GET kept").to_string(), "\"1\"");
    assert_eq!(process.call("GET lost").to_string(), "nil");
}
