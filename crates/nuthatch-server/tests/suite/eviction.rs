//! What happens when the memory is full, under each kind of `maxmemory-policy`, and when that changes
//! while clients write.

use crate::harness::{Client, PATIENCE, Running};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

const FULL: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
const VALUE_BYTES: usize = 10_000;

/// A server whose items may take 1 MiB, and that stays: `maxmemory` is so large that the process does not
/// grow by enough for the bound to be set anew, once it has been.
fn small(policy: &str) -> Running {
    let server = Running::with(&[("maxmemory", "64gb"), ("maxmemory-policy", policy)]);
    let cache = server.server().keyspace.cache();
    let patience = Instant::now() + PATIENCE;
    while cache.capacity() == 64 << 30 {
        assert!(Instant::now() < patience, "the memory is governed");
        thread::yield_now();
    }
    cache.resize(1 << 20).expect("not zero");
    server
}

fn set(client: &mut Client, key: &str, options: &str) -> String {
    let value = "x".repeat(VALUE_BYTES);
    client
        .call(&format!("SET {key} {value} {options}"))
        .to_string()
}

fn config(client: &mut Client, policy: &str) {
    let request = format!("CONFIG SET maxmemory-policy {policy}");
    assert_eq!(client.call(&request).to_string(), "+OK", "{policy}");
}

fn count(client: &mut Client, prefix: &str) -> usize {
    let keys = client.call(&format!("KEYS {prefix}*"));
    keys.elements().len()
}

/// Writes keys until one is refused.
fn fill(client: &mut Client, prefix: &str) -> usize {
    for number in 0..1_000 {
        let reply = set(client, &format!("{prefix}{number}"), "");
        if reply != "+OK" {
            assert_eq!(reply, FULL);
            return number;
        }
    }
    panic!("1 MB holds no thousand keys of 10 kB");
}

#[test]
fn the_policy_in_force_is_told_wherever_it_is_asked_for() {
    let server = Running::start();
    let mut client = server.client();
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
        "noeviction",
        "s3_fifo:0.2",
    ] {
        config(&mut client, policy);
        client.check(&[(
            "CONFIG GET maxmemory-policy",
            &format!(r#"["maxmemory-policy", "{policy}"]"#),
        )]);
        let info = client.call("INFO memory").text();
        let line = format!("maxmemory_policy:{policy}\r\n");
        assert!(info.contains(&line), "{info}");
    }
    let in_force = server.server().keyspace.cache().policy();
    assert_eq!(in_force.to_string(), "s3_fifo:0.2");
    let refused = client.call("CONFIG SET maxmemory-policy mru").to_string();
    assert!(refused.contains("noeviction, allkeys-lru"), "{refused}");
}

#[test]
fn nothing_is_evicted_and_a_full_memory_refuses_commands_before_they_start() {
    let server = small("noeviction");
    let mut client = server.client();
    let keys = fill(&mut client, "a");
    assert_eq!(count(&mut client, "a"), keys, "nothing was evicted");
    let value = "y".repeat(VALUE_BYTES);
    let many: Vec<String> = (0..300)
        .map(|number| format!("m{number} {value}"))
        .collect();
    client.check(&[
        (&format!("SET a0 {value}"), FULL),
        ("STRLEN a0", &format!(":{VALUE_BYTES}")),
        ("DEL a1 a2 a3", ":3"),
        (&format!("MSET {}", many.join(" ")), FULL),
        ("KEYS m*", "[]"),
        (&format!("SET b {value}"), "+OK"),
    ]);
    fill(&mut client, "c");
    client.check(&[
        ("MULTI", "+OK"),
        (&format!("SET d {value}"), FULL),
        (
            "EXEC",
            "-EXECABORT Transaction discarded because of previous errors.",
        ),
        ("GET d", "nil"),
        ("DEL b", ":1"),
        ("MULTI", "+OK"),
        (&format!("SET d {value}"), "+QUEUED"),
        ("DEL a0", "+QUEUED"),
    ]);
    let mut other = server.client();
    fill(&mut other, "e");
    client.check(&[
        (
            "EXEC",
            "-EXECABORT Transaction discarded because of: OOM command not allowed when used \
             memory > 'maxmemory'.",
        ),
        ("EXISTS a0", ":1"),
        ("PING", "+PONG"),
    ]);
    // What takes no memory goes on, and what frees some makes room.
    config(&mut client, "allkeys-lru");
    assert_eq!(set(&mut client, "f", ""), "+OK");
}

#[test]
fn only_keys_that_expire_are_evicted_and_without_any_the_old_value_stays() {
    let server = small("volatile-lru");
    let mut client = server.client();
    for number in 0..40 {
        assert_eq!(set(&mut client, &format!("keep{number}"), ""), "+OK");
    }
    for number in 0..400 {
        assert_eq!(set(&mut client, &format!("go{number}"), "EX 1000"), "+OK");
    }
    assert_eq!(count(&mut client, "keep"), 40);
    let left = count(&mut client, "go");
    assert!((1..400).contains(&left), "{left} are left");
    fill(&mut client, "more");
    assert_eq!(count(&mut client, "go"), 0, "they made room");
    assert_eq!(count(&mut client, "keep"), 40);
    let longer = "z".repeat(4 << 20);
    client.check(&[
        (&format!("SET keep0 {longer}"), FULL),
        ("STRLEN keep0", &format!(":{VALUE_BYTES}")),
    ]);
    // What gets a deadline may be evicted, and what loses it may not.
    client.check(&[("EXPIRE keep1 1000", ":1"), ("EXPIRE keep2 1000", ":1")]);
    client.check(&[("PERSIST keep2", ":1")]);
    assert_eq!(set(&mut client, "new", ""), "+OK");
    client.check(&[("EXISTS keep1", ":0"), ("EXISTS keep2", ":1")]);
    assert_eq!(
        set(&mut client, "keep3", "EX 1000"),
        "+OK",
        "in its own place"
    );
    assert_eq!(set(&mut client, "newer", ""), "+OK");
    client.check(&[("EXISTS keep3", ":0")]);
}

#[test]
fn keys_that_expire_soonest_are_evicted_first() {
    let server = small("volatile-ttl");
    let mut client = server.client();
    for number in 0..60 {
        let (soon, late) = (format!("soon{number}"), format!("late{number}"));
        assert_eq!(set(&mut client, &late, "EX 100000"), "+OK");
        assert_eq!(set(&mut client, &soon, "EX 1000"), "+OK");
    }
    for number in 0..60 {
        assert_eq!(
            set(&mut client, &format!("new{number}"), "EX 200000"),
            "+OK"
        );
    }
    let (soon, late) = (count(&mut client, "soon"), count(&mut client, "late"));
    assert!(soon < late, "{soon} and {late}");
}

#[test]
fn each_policy_takes_over_which_keys_may_be_evicted() {
    let server = small("noeviction");
    let mut client = server.client();
    fill(&mut client, "a");
    for (policy, evicts) in [
        ("volatile-lfu", false),
        ("allkeys-lfu", true),
        ("noeviction", false),
        ("volatile-random", false),
        ("allkeys-random", true),
        ("volatile-ttl", false),
        ("default", true),
    ] {
        config(&mut client, policy);
        let reply = set(&mut client, policy, "");
        assert_eq!(reply == "+OK", evicts, "{policy}: {reply}");
        server.server().keyspace.cache().validate();
        fill_up(&mut client);
    }
}

/// Leaves no room for a value, whatever the policy does.
fn fill_up(client: &mut Client) {
    for number in 0..200 {
        set(client, &format!("fill{number}"), "");
    }
}

#[test]
fn policies_change_while_clients_write() {
    let server = small("allkeys-lru");
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (server, ends) = (&server, &ends);
            scope.spawn(move || {
                let mut client = server.client();
                let mut round = 0;
                while !ends.load(Ordering::Acquire) {
                    let key = format!("w{writer}:{}", round % 150);
                    match round % 5 {
                        0 => drop(set(&mut client, &key, "EX 1000")),
                        1 => drop(client.call(&format!("PERSIST {key}"))),
                        2 => drop(client.call(&format!("EXPIRE {key} 1000"))),
                        _ => drop(set(&mut client, &key, "")),
                    }
                    round += 1;
                }
            });
        }
        let mut client = server.client();
        for _ in 0..20 {
            for policy in ["noeviction", "volatile-lru", "volatile-ttl", "allkeys-lru"] {
                config(&mut client, policy);
            }
        }
        ends.store(true, Ordering::Release);
    });
    let mut client = server.client();
    let cache = server.server().keyspace.cache();
    cache.validate();
    // Any key that is left pinned would be in the way of one that takes all the room.
    let all = "x".repeat((1 << 20) - VALUE_BYTES);
    client.check(&[(&format!("SET all {all}"), "+OK"), ("KEYS w*", "[]")]);
}

/// `MSET` put some of its keys and then answered an error, where keys without a deadline had filled the
/// memory, and where a value was larger than all of it.
#[test]
fn several_keys_are_written_all_or_none() {
    for policy in ["allkeys-lru", "volatile-lru", "noeviction"] {
        let server = small(policy);
        let mut client = server.client();
        let value = "x".repeat(VALUE_BYTES);
        if policy != "allkeys-lru" {
            fill(&mut client, "keep");
            client.check(&[("DEL keep0 keep1 keep2", ":3")]);
        }
        let small: Vec<String> = (0..6).map(|number| format!("m{number} {value}")).collect();
        let huge = format!("m0 x m1 {}", "x".repeat(1 << 20));
        let requests = match policy {
            "allkeys-lru" => vec![huge],
            _ => vec![small.join(" "), huge],
        };
        for pairs in requests {
            let keys = pairs.matches('m').count();
            client.check(&[
                (&format!("MSET {pairs}"), FULL),
                ("EXISTS m0 m1 m2 m3 m4 m5", ":0"),
                (&format!("MSETNX {pairs}"), FULL),
                (&format!("MSETEX {keys} {pairs}"), FULL),
                (&format!("MSETEX {keys} {pairs} EX 100"), FULL),
                ("EXISTS m0 m1 m2 m3 m4 m5", ":0"),
            ]);
        }
        client.check(&[
            (&format!("MSET m0 {value} m1 {value}"), "+OK"),
            ("EXISTS m0 m1", ":2"),
        ]);
    }
}

/// What test suites of Redis do: they write until `used_memory` is at `maxmemory`, and then what they
/// write evicts.
#[test]
fn used_memory_comes_to_maxmemory_as_the_memory_fills() {
    let server = Running::start();
    let mut client = server.client();
    let number = |client: &mut Client, name: &str| {
        let info = client.call("INFO memory").text();
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a line").parse::<f64>().expect("a number")
    };
    let start = number(&mut client, "used_memory:");
    let ratio = number(&mut client, "mem_fragmentation_ratio:");
    // Other tests of this process may take or free memory meanwhile.
    assert!((0.01..100.0).contains(&ratio), "{ratio}");
    let limit = start as u64 + 8 * 1024 * 1024;
    client.check(&[
        (&format!("CONFIG SET maxmemory {limit}"), "+OK"),
        ("CONFIG SET maxmemory-policy allkeys-lru", "+OK"),
    ]);
    let value = "z".repeat(VALUE_BYTES);
    let (mut keys, mut used) = (0, start);
    while used + 100.0 * 1024.0 < limit as f64 {
        for _ in 0..20 {
            client.check(&[(&format!("SET key{keys} {value}"), "+OK")]);
            keys += 1;
        }
        used = number(&mut client, "used_memory:");
        assert!(keys < 2_000, "{used} with {keys} keys");
    }
    client.check(&[("FLUSHALL", "+OK")]);
    assert_eq!(number(&mut client, "used_memory:"), start);
}
