//! What is kept on disk, as clients see it: commands that save, warm restarts, and what becomes of reads and
//! writes while the disk is slow, full or broken. The disk is simulated, and holds still when a test says so.

use crate::harness::{Client, PATIENCE, Running, Value};
use nuthatch_storage::disk::simulated::{Faults, SimulatedDisk};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

fn disk() -> SimulatedDisk {
    SimulatedDisk::new(fastrand::Rng::with_seed(7))
}

/// A server that has loaded what is on the disk.
fn start(disk: &SimulatedDisk, settings: &[(&str, &str)]) -> Running {
    let server = Running::on_disk(disk, settings);
    server.await_loaded();
    server
}

/// Asks again until `wanted` is true.
#[track_caller]
fn eventually(what: &str, mut wanted: impl FnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < patience, "{what} does not come");
        thread::yield_now();
    }
}

/// A line of `INFO`.
fn info(client: &mut Client, name: &str) -> String {
    let text = client.call("INFO persistence").text();
    let line = text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.to_owned())
    });
    line.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

#[track_caller]
fn await_info(client: &mut Client, name: &str, value: &str) {
    eventually(&format!("{name}:{value}"), || info(client, name) == value);
}

fn page(server: &Running, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.server().config().http_port))
        .expect("a port that is served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a server");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

/// Holds up whoever comes by while it is shut. Opens when it is dropped, so that a test that fails ends.
#[derive(Clone, Default)]
struct Gate {
    state: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    is_shut: bool,
    waiting: usize,
}

/// Who opens the gate at the latest.
struct Keeper(Gate);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Gate {
    fn set(&self, is_shut: bool) {
        self.state.0.lock().is_shut = is_shut;
        self.state.1.notify_all();
    }

    #[must_use]
    fn shut(&self) -> Keeper {
        self.set(true);
        Keeper(self.clone())
    }

    fn pass(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        state.waiting += 1;
        changed.notify_all();
        changed.wait_while(&mut state, |state| state.is_shut);
        state.waiting -= 1;
    }

    /// Waits until somebody waits.
    #[track_caller]
    fn await_arrival(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        let waited = changed.wait_while_for(&mut state, |state| state.waiting == 0, PATIENCE);
        assert!(!waited.timed_out(), "nobody comes to the gate");
    }

    /// Every sync of the disk's goes through it.
    fn before_syncs_of(disk: &SimulatedDisk) -> Self {
        let gate = Self::default();
        let inner = gate.clone();
        disk.on_sync(move || inner.pass());
        gate
    }
}

// ---- commands ---------------------------------------------------------------------------------

#[test]
fn a_server_without_a_directory_says_that_it_keeps_nothing() {
    let server = Running::start();
    let mut client = server.client();
    let nothing = "-ERR this server keeps nothing on disk: it has no data-dir";
    client.check(&[
        ("SAVE", nothing),
        ("BGSAVE", nothing),
        ("BGSAVE SCHEDULE", nothing),
        ("BGSAVE CANCEL", nothing),
        ("BGREWRITEAOF", nothing),
        ("SHUTDOWN SAVE", nothing),
        ("CONFIG GET appendonly", r#"["appendonly", "no"]"#),
    ]);
    assert!(client.call("LASTSAVE").integer() > 1_700_000_000);
    assert_eq!(info(&mut client, "aof_enabled"), "0");
}

#[test]
fn commands_that_save_answer_as_those_of_redis() {
    let disk = disk();
    let server = start(&disk, &[("appendfsync", "always")]);
    let mut client = server.client();
    let started_s = client.call("LASTSAVE").integer();
    client.check(&[
        ("SET k v", "+OK"),
        ("BGSAVE NONSENSE", "-ERR syntax error"),
        ("SAVE", "+OK"),
        ("CONFIG GET appendonly", r#"["appendonly", "yes"]"#),
        ("CONFIG GET appendfsync", r#"["appendfsync", "always"]"#),
        ("CONFIG GET data-dir", r#"["data-dir", "simulated"]"#),
        ("CONFIG GET save", r#"["save", ""]"#),
        ("CONFIG SET appendfsync everysec", "+OK"),
        ("CONFIG GET appendfsync", r#"["appendfsync", "everysec"]"#),
        ("CONFIG SET save \"3600 1\"", "+OK"),
        ("CONFIG GET save", r#"["save", "3600 1"]"#),
        (
            "CONFIG SET appendonly no",
            "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - can't set immutable config",
        ),
        ("MULTI", "+OK"),
        ("SAVE", "-ERR Command 'save' not allowed inside a transaction"),
        ("DISCARD", "+OK"),
    ]);
    assert!(client.call("LASTSAVE").integer() >= started_s);
    assert_eq!(info(&mut client, "rdb_saves"), "1");
    let is_snapshot = |name: &String| name.ends_with(".nuts");
    assert_eq!(
        disk.contents()
            .keys()
            .filter(|name| is_snapshot(name))
            .count(),
        1
    );
    for (command, reply) in [
        ("BGSAVE", "+Background saving started"),
        (
            "BGREWRITEAOF",
            "+Background append only file rewriting started",
        ),
        ("BGSAVE SCHEDULE", "+Background saving started"),
    ] {
        let saves: u64 = info(&mut client, "rdb_saves").parse().expect("a number");
        client.check(&[(command, reply)]);
        await_info(&mut client, "rdb_saves", &(saves + 1).to_string());
        await_info(&mut client, "rdb_bgsave_in_progress", "0");
    }
    client.check(&[(
        "BGSAVE CANCEL",
        "-ERR Background saving is currently not in progress or scheduled",
    )]);
}

#[test]
fn a_server_that_keeps_snapshots_alone_has_no_log_to_rewrite() {
    let server = start(&disk(), &[("appendonly", "no")]);
    server.client().check(&[
        (
            "BGREWRITEAOF",
            "-ERR this server keeps no log: appendonly is no",
        ),
        ("CONFIG GET appendonly", r#"["appendonly", "no"]"#),
    ]);
}

#[test]
fn a_snapshot_under_way_can_be_cancelled_and_another_put_behind_it() {
    let disk = disk();
    let gate = Gate::before_syncs_of(&disk);
    let server = start(&disk, &[("appendonly", "no")]);
    let mut client = server.client();
    client.check(&[("SET k v", "+OK")]);
    let keeper = gate.shut();
    client.check(&[("BGSAVE", "+Background saving started")]);
    gate.await_arrival();
    await_info(&mut client, "rdb_bgsave_in_progress", "1");
    let mut saver = server.client();
    client.check(&[
        ("BGSAVE", "-ERR Background save already in progress"),
        ("BGSAVE CANCEL", "+Background saving cancelled"),
        ("BGSAVE SCHEDULE", "+Background saving scheduled"),
        ("BGSAVE", "-ERR Background save already in progress"),
        ("GET k", r#""v""#),
    ]);
    // Who waits for a snapshot waits alone.
    saver.send_request(&["SAVE"]);
    client.check(&[("SET k w", "+OK"), ("GET k", r#""w""#)]);
    assert!(saver.hears_nothing());
    drop(keeper);
    assert_eq!(saver.read().to_string(), "+OK");
    assert_eq!(info(&mut client, "rdb_saves"), "1");
    await_info(&mut client, "rdb_bgsave_in_progress", "0");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
}

#[test]
fn what_was_cancelled_before_it_began_is_not_written() {
    let disk = disk();
    let gate = Gate::before_syncs_of(&disk);
    let server = start(&disk, &[]);
    let mut client = server.client();
    let keeper = gate.shut();
    client.check(&[("SET k v", "+OK")]);
    gate.await_arrival();
    // In one packet, so that the thread that writes it hardly wakes in between.
    client.send(b"BGSAVE\r\nBGSAVE CANCEL\r\n");
    assert_eq!(client.read().to_string(), "+Background saving started");
    assert_eq!(client.read().to_string(), "+Background saving cancelled");
    drop(keeper);
    await_info(&mut client, "rdb_bgsave_in_progress", "0");
    assert_eq!(info(&mut client, "rdb_saves"), "0");
}

// ---- restarts ---------------------------------------------------------------------------------

/// All keys, each with its deadline and what it holds, each field with its deadline.
fn keys(client: &mut Client) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    for key in client.call("KEYS *").elements() {
        let key = key.bytes();
        let deadline_ms = client.call_with(&[b"PEXPIRETIME", key]).integer();
        let held = if client.call_with(&[b"TYPE", key]).text() == "hash" {
            let fields = client.call_with(&[b"HGETALL", key]);
            let mut held = Vec::new();
            for [name, value] in fields.elements().as_chunks().0 {
                let request: [&[u8]; 5] = [b"HPEXPIRETIME", key, b"FIELDS", b"1", name.bytes()];
                held.push(format!("{name}: {value} {}", client.call_with(&request)));
            }
            held.sort();
            format!("{held:?}")
        } else {
            client.call_with(&[b"GET", key]).to_string()
        };
        all.insert(key.to_vec(), format!("{held} until {deadline_ms}"));
    }
    assert_eq!(client.call("DBSIZE").integer(), all.len() as i64);
    all
}

/// Writes values of every kind.
fn fill(client: &mut Client, memcached: &mut Client) {
    let done = |reply: Value| assert!(!matches!(reply, Value::Error(_)), "{reply}");
    for value in ["", "0", "-7", "007", "9223372036854775807", "text"] {
        done(client.call_with(&["SET", &format!("string {value}"), value]));
    }
    done(client.call_with(&[&b"SET"[..], &[0, 255, 13, 10], &[200; 1_000_000]]));
    done(client.call_with(&["SET", "", "of no name"]));
    done(client.call("SET later 1 PXAT 4000000000123"));
    done(client.call("SET gone 1 PXAT 4000000000123"));
    done(client.call("PEXPIREAT gone 1"));
    done(client.call("HSET small a 1 b \"\" \"\" c"));
    done(client.call("HPEXPIREAT small 4000000000456 FIELDS 1 a"));
    done(client.call("PEXPIREAT small 4000000000789"));
    for some in 0..7 {
        let mut words = vec!["HSET".to_owned(), "large".to_owned()];
        for n in 0..100 {
            words.extend([format!("field {}", 100 * some + n), format!("{n}")]);
        }
        done(client.call_with(&words));
    }
    done(client.call("HPEXPIREAT large 4000000000999 FIELDS 2 \"field 3\" \"field 650\""));
    done(client.call("HDEL large \"field 4\""));
    memcached.send(b"set flagged 77 0 5\r\nvalue\r\nset touched 0 0 1\r\nx\r\n");
    assert_eq!(memcached.read_line(), "STORED");
    assert_eq!(memcached.read_line(), "STORED");
    memcached.send(b"append touched 9 0 1\r\ny\r\n");
    assert_eq!(memcached.read_line(), "STORED");
}

fn stamps(memcached: &mut Client) -> Vec<String> {
    memcached.send(b"gets flagged touched \r\n");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "END") {
        lines.push(memcached.read_line());
    }
    lines
}

#[test]
fn a_restart_finds_every_value_of_every_kind() {
    let disk = disk();
    let settings = |threads| [("memcached-port", "free"), ("threads", threads)];
    let memcached = |server: &Running| Client::connect(server.server().config().memcached_port);
    let server = start(&disk, &settings("2"));
    fill(&mut server.client(), &mut memcached(&server));
    let (all, lines) = (keys(&mut server.client()), stamps(&mut memcached(&server)));
    assert_eq!(all.len(), 13);
    assert!(lines[0].starts_with("VALUE flagged 77 5 "), "{lines:?}");
    drop(server);
    // From the log alone; from a snapshot; from a snapshot with a log after it.
    for threads in ["1", "3", "2"] {
        let server = start(&disk, &settings(threads));
        let mut client = server.client();
        assert_eq!(keys(&mut client), all);
        assert_eq!(stamps(&mut memcached(&server)), lines);
        if threads == "1" {
            client.check(&[("SAVE", "+OK")]);
        } else {
            client.check(&[("SET another 1", "+OK"), ("DEL another", ":1")]);
        }
    }
    // A number that was given before is not given again.
    let server = start(&disk, &settings("2"));
    let mut client = memcached(&server);
    client.send(b"set flagged 77 0 5\r\nvalue\r\n");
    assert_eq!(client.read_line(), "STORED");
    assert_ne!(stamps(&mut client), lines);
}

#[test]
fn keys_whose_time_is_over_do_not_come_back() {
    let disk = disk();
    let server = start(&disk, &[]);
    let mut client = server.client();
    client.check(&[
        ("SET short 1 PX 1", "+OK"),
        ("HSET h a 1 b 2", ":2"),
        ("HPEXPIRE h 1 FIELDS 1 a", "[:1]"),
    ]);
    eventually("an expiry", || client.call("EXISTS short").integer() == 0);
    eventually("a field's", || client.call("HLEN h").integer() == 1);
    drop((client, server));
    let server = start(&disk, &[]);
    server.client().check(&[
        ("DBSIZE", ":1"),
        ("GET short", "nil"),
        ("HGETALL h", r#"["b", "2"]"#),
    ]);
}

#[test]
fn the_log_can_be_switched_off_and_on_between_starts() {
    let disk = disk();
    let with_log = |key: &str| {
        let server = start(&disk, &[("appendfsync", "always")]);
        let mut client = server.client();
        client.check(&[(&format!("SET {key} 1"), "+OK")]);
        keys(&mut client).into_keys().collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| -> BTreeSet<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    };
    assert_eq!(with_log("a"), set(&["a"]));
    let server = start(&disk, &[("appendonly", "no")]);
    server.client().check(&[
        ("GET a", r#""1""#),
        ("SET b 1", "+OK"),
        ("SAVE", "+OK"),
        // It ends without another snapshot, as if it were killed.
        ("SET lost 1", "+OK"),
        ("DEL a", ":1"),
    ]);
    drop(server);
    assert_eq!(with_log("c"), set(&["a", "b", "c"]));
    let server = start(&disk, &[("appendonly", "no")]);
    server.client().check(&[("SET lost 1", "+OK")]);
    drop(server);
    assert_eq!(with_log("d"), set(&["a", "b", "c", "d"]));
    let disk = disk.crash();
    let server = start(&disk, &[]);
    server
        .client()
        .check(&[("DBSIZE", ":4"), ("GET d", r#""1""#)]);
}

#[test]
fn while_it_loads_a_server_says_so() {
    let disk = disk();
    let server = start(&disk, &[]);
    server.client().check(&[("SET k v", "+OK")]);
    drop(server);
    let gate = Gate::default();
    let inner = gate.clone();
    disk.on_read(move || {
        // Others read too, before the first client can come.
        if thread::current().name() == Some("log") {
            inner.pass();
        }
    });
    let keeper = gate.shut();
    let settings = [("memcached-port", "free"), ("http-port", "free")];
    let server = Running::on_disk(&disk, &settings);
    gate.await_arrival();
    let mut client = server.client();
    let loading = "-LOADING Nuthatch is loading the dataset in memory";
    client.check(&[
        ("GET k", loading),
        ("SET k w", loading),
        ("SAVE", loading),
        ("BGSAVE", loading),
        ("PING", loading),
        ("MULTI", "+OK"),
        ("GET k", loading),
        (
            "EXEC",
            "-EXECABORT Transaction discarded because of previous errors.",
        ),
    ]);
    assert_eq!(info(&mut client, "loading"), "1");
    let mut memcached = Client::connect(server.server().config().memcached_port);
    memcached.send(b"get k\r\n");
    let told = memcached.read_line();
    assert!(told.starts_with("SERVER_ERROR LOADING"), "{told}");
    assert!(page(&server, "/readyz").starts_with("HTTP/1.0 503"));
    assert!(page(&server, "/metrics").contains("nuthatch_loading 1"));
    drop(keeper);
    server.await_loaded();
    client.check(&[("GET k", r#""v""#), ("SET k w", "+OK")]);
    assert_eq!(info(&mut client, "loading"), "0");
    assert!(page(&server, "/readyz").starts_with("HTTP/1.0 200"));
}

// ---- slow disks -------------------------------------------------------------------------------

#[test]
fn with_always_a_reply_waits_for_the_sync_and_nobody_else_does() {
    let disk = disk();
    let gate = Gate::before_syncs_of(&disk);
    // All are served by one thread.
    let server = start(&disk, &[("appendfsync", "always"), ("threads", "1")]);
    let mut others = server.client();
    others.check(&[("SET other 1", "+OK")]);
    let (mut monitor, mut subscriber) = (server.client(), server.client());
    monitor.check(&[("MONITOR", "+OK")]);
    subscriber.check(&[("SUBSCRIBE news", r#"["subscribe", "news", :1]"#)]);

    let keeper = gate.shut();
    let (mut writer, mut transaction) = (server.client(), server.client());
    writer.send(b"SET k v\r\nGET other\r\n");
    gate.await_arrival();
    transaction.send(b"MULTI\r\nSET a 1\r\nSET b 1\r\nEXEC\r\n");
    others.check(&[
        ("GET other", r#""1""#),
        ("PUBLISH news flash", ":1"),
        ("PING", "+PONG"),
    ]);
    eventually("the transaction", || others.call("DBSIZE").integer() == 4);
    assert_eq!(
        subscriber.read().to_string(),
        r#"["message", "news", "flash"]"#
    );
    eventually("what is published in what the monitor sees", || {
        monitor.read().to_string().contains(r#""flash""#)
    });
    assert!(
        writer.hears_nothing(),
        "a write is not acknowledged before the sync"
    );
    assert!(transaction.hears_nothing() || transaction.read().to_string() == "+OK");
    // A client that leaves meanwhile is forgotten.
    let mut leaver = server.client();
    leaver.send(b"SET left 1\r\n");
    drop(leaver);
    others.check(&[("GET other", r#""1""#)]);
    drop(keeper);
    assert_eq!(writer.read().to_string(), "+OK");
    assert_eq!(writer.read().to_string(), r#""1""#);
    eventually("the end of the transaction", || {
        transaction.read().to_string() == "[+OK, +OK]"
    });
    drop((writer, transaction, others, monitor, subscriber));
    let disk = disk.crash();
    drop(server);
    let server = start(&disk, &[]);
    server
        .client()
        .check(&[("MGET k a b", r#"["v", "1", "1"]"#)]);
}

#[test]
fn with_everysec_writes_wait_for_a_disk_that_hangs_and_reads_do_not() {
    let disk = disk();
    let gate = Gate::before_syncs_of(&disk);
    let settings = [("appendfsync", "everysec"), ("memcached-port", "free")];
    let server = start(&disk, &settings);
    let mut client = server.client();
    let keeper = gate.shut();
    client.check(&[("SET k v", "+OK")]);
    gate.await_arrival();
    await_info(&mut client, "durable_writes", "waiting");
    let mut writers: Vec<Client> = (0..4).map(|_| server.client()).collect();
    writers[0].send(b"SET k w\r\n");
    writers[1].send(b"MULTI\r\nSET a 1\r\nEXEC\r\n");
    writers[2].send(b"GET k\r\nDEL k\r\nGET k\r\n");
    let mut memcached = Client::connect(server.server().config().memcached_port);
    memcached.send(b"get k\r\nset m 0 0 1\r\n1\r\n");
    for expected in ["VALUE k 0 1", "v", "END"] {
        assert_eq!(memcached.read_line(), expected);
    }
    assert_eq!(writers[1].read().to_string(), "+OK");
    assert_eq!(writers[1].read().to_string(), "+QUEUED");
    assert_eq!(writers[2].read().to_string(), r#""v""#);
    client.check(&[("GET k", r#""v""#), ("EXISTS a", ":0"), ("DBSIZE", ":1")]);
    assert!(writers.iter_mut().all(Client::hears_nothing));
    assert!(memcached.hears_nothing());
    drop(keeper);
    assert_eq!(writers[0].read().to_string(), "+OK");
    assert_eq!(writers[1].read().to_string(), "[+OK]");
    assert_eq!(writers[2].read().to_string(), ":1");
    assert!(matches!(writers[2].read(), Value::Null | Value::Bulk(_)));
    assert_eq!(memcached.read_line(), "STORED");
    await_info(&mut client, "durable_writes", "open");
    assert_eq!(info(&mut client, "aof_delayed_fsync"), "1");
}

#[test]
fn another_policy_lets_those_go_that_wait_for_a_sync() {
    let disk = disk();
    let gate = Gate::before_syncs_of(&disk);
    let server = start(&disk, &[("appendfsync", "always")]);
    let keeper = gate.shut();
    let mut writer = server.client();
    writer.send(b"SET k v\r\n");
    gate.await_arrival();
    server
        .client()
        .check(&[("CONFIG SET appendfsync no", "+OK")]);
    assert_eq!(writer.read().to_string(), "+OK");
    drop(keeper);
}

// ---- disks that fail --------------------------------------------------------------------------

/// Writes `key`, and once more after each time that the server refuses it or hangs up, until it is taken.
#[track_caller]
fn insist(server: &Running, key: &str) {
    eventually(&format!("the write of {key}"), || {
        let mut client = server.client();
        client.send_request(&["SET", key, "value"]);
        client
            .read_if_served()
            .is_some_and(|reply| reply.to_string() == "+OK")
    });
}

/// Writes values until one is not taken. Returns those that were.
fn write_until_refused(server: &Running) -> Vec<String> {
    let mut client = server.client();
    let value = "v".repeat(10_000);
    let mut taken = Vec::new();
    loop {
        let key = format!("key {}", taken.len());
        client.send_request(&["SET", &key, &value]);
        match client.read_if_served() {
            Some(Value::Simple(_)) => taken.push(key),
            // Refused, or hung up on: what the disk does not take cannot be acknowledged.
            Some(Value::Error(error)) => {
                assert!(error.starts_with("MISCONF "), "{error}");
                return taken;
            }
            None => return taken,
            Some(other) => panic!("{other}"),
        }
        assert!(taken.len() < 10_000, "the disk takes everything");
    }
}

#[track_caller]
fn assert_has(server: &Running, keys: &[String]) {
    let mut client = server.client();
    for key in keys {
        let found = client.call_with(&["EXISTS", key]);
        assert_eq!(found, Value::Integer(1), "{key}");
    }
}

fn full(disk: &SimulatedDisk, free_bytes: u64) -> Faults {
    Faults {
        capacity_bytes: Some(disk.used_bytes() + free_bytes),
        ..Faults::default()
    }
}

#[test]
fn a_full_disk_has_writes_refused_until_there_is_room_and_nothing_is_lost() {
    for policy in ["always", "everysec", "no"] {
        let disk = disk();
        let settings = [
            ("appendfsync", policy),
            ("memcached-port", "free"),
            ("http-port", "free"),
        ];
        let server = start(&disk, &settings);
        let mut client = server.client();
        client.check(&[("SET before 1", "+OK")]);
        disk.set_faults(full(&disk, 200_000));
        let mut taken = write_until_refused(&server);
        assert!(taken.len() > 10, "{}", taken.len());
        await_info(&mut client, "durable_writes", "refused");
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        client.check(&[("GET before", r#""1""#), ("EXISTS \"key 0\"", ":1")]);
        for line in ["SET k v", "DEL before", "INCR n", "HSET h f v", "FLUSHALL"] {
            let reply = client.call(line).to_string();
            let expected = "-MISCONF Errors writing to the data directory: ";
            assert!(reply.starts_with(expected), "{line}: {reply}");
        }
        client.check(&[
            ("MULTI", "+OK"),
            ("GET before", "+QUEUED"),
            ("EXEC", r#"["1"]"#),
        ]);
        let mut memcached = Client::connect(server.server().config().memcached_port);
        memcached.send(b"set k 0 0 1\r\n1\r\nget before\r\n");
        let told = memcached.read_line();
        assert!(told.starts_with("SERVER_ERROR MISCONF "), "{told}");
        assert_eq!(memcached.read_line(), "VALUE before 0 1");
        let metrics = page(&server, "/metrics");
        let state = r#"state="refused"} 1.0"#;
        assert!(
            metrics.lines().any(|line| line.ends_with(state)),
            "{metrics}"
        );
        assert!(page(&server, "/api/durability").contains("Writes are refused"));

        disk.set_faults(Faults::default());
        insist(&server, "after");
        assert_eq!(info(&mut client, "durable_writes"), "open");
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
        // What is acknowledged now comes after all that was before.
        client.check(&[("CONFIG SET appendfsync always", "+OK")]);
        insist(&server, "last");
        taken.extend(["after", "last"].map(str::to_owned));
        let disk = disk.crash();
        drop((client, server));
        let server = start(&disk, &[]);
        assert_has(&server, &taken);
    }
}

#[test]
fn what_was_acknowledged_before_the_disk_was_full_survives_a_crash_then() {
    let disk = disk();
    let server = start(&disk, &[("appendfsync", "always")]);
    disk.set_faults(full(&disk, 100_000));
    let taken = write_until_refused(&server);
    let after = disk.crash();
    after.set_faults(Faults::default());
    drop(server);
    assert_has(&start(&after, &[]), &taken);
}

#[test]
fn after_a_sync_that_failed_the_log_begins_anew_behind_a_snapshot() {
    for policy in ["always", "everysec"] {
        let disk = disk();
        let server = start(&disk, &[("appendfsync", policy)]);
        let mut client = server.client();
        client.check(&[("SET before 1", "+OK"), ("SAVE", "+OK")]);
        let faults = Faults {
            sync: 1.0,
            ..Faults::default()
        };
        disk.set_faults(faults);
        let mut writer = server.client();
        writer.send_request(&["SET", "during", "1"]);
        let reply = writer.read_if_served();
        let acknowledged = (policy == "everysec").then(|| Value::Simple("OK".to_owned()));
        assert_eq!(reply, acknowledged);
        await_info(&mut client, "durable_writes", "refused");
        client.check(&[("GET before", r#""1""#)]);
        disk.set_faults(Faults::default());
        insist(&server, "after");
        // What broke the log is in the snapshot that it begins behind, and what was taken since in the log.
        client.check(&[
            ("GET during", r#""1""#),
            ("CONFIG SET appendfsync always", "+OK"),
        ]);
        insist(&server, "last");
        assert!(info(&mut client, "durable_last_error").contains("sync"));
        let disk = disk.crash();
        drop((client, writer, server));
        let server = start(&disk, &[]);
        server.client().check(&[
            ("DBSIZE", ":4"),
            (
                "MGET before during after last",
                r#"["1", "1", "value", "value"]"#,
            ),
        ]);
    }
}

#[test]
fn with_serve_writes_are_taken_unprotected_and_kept_once_the_disk_is_back() {
    let disk = disk();
    let settings = [
        ("appendfsync", "always"),
        ("on-disk-error", "serve"),
        ("http-port", "free"),
    ];
    let server = start(&disk, &settings);
    let mut client = server.client();
    client.check(&[("SET before 1", "+OK")]);
    disk.set_faults(full(&disk, 0));
    client.check(&[("SET during 1", "+OK")]);
    await_info(&mut client, "durable_writes", "unprotected");
    client.check(&[("SET unprotected 1", "+OK"), ("DEL before", ":1")]);
    let told = page(&server, "/api/durability");
    assert!(told.contains("a restart would lose them"), "{told}");
    disk.set_faults(Faults::default());
    await_info(&mut client, "durable_writes", "open");
    client.check(&[("SET after 1", "+OK")]);
    let disk = disk.crash();
    drop((client, server));
    let server = start(&disk, &[]);
    server.client().check(&[
        ("DBSIZE", ":3"),
        ("MGET during unprotected after", r#"["1", "1", "1"]"#),
    ]);
}

#[test]
fn a_snapshot_that_fails_is_told_and_harms_nobody() {
    let disk = disk();
    let server = start(&disk, &[("appendonly", "no")]);
    let mut client = server.client();
    client.check(&[("SET k v", "+OK")]);
    disk.set_faults(Faults {
        names: 1.0,
        ..Faults::default()
    });
    let reply = client.call("SAVE").to_string();
    assert!(reply.starts_with("-ERR cannot "), "{reply}");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    let reply = client.call("SHUTDOWN").to_string();
    assert_eq!(reply, "-ERR Errors trying to SHUTDOWN. Check logs.");
    client.check(&[("SET k w", "+OK"), ("GET k", r#""w""#)]);
    disk.set_faults(Faults::default());
    client.check(&[("SAVE", "+OK")]);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    let disk = disk.crash();
    drop((client, server));
    start(&disk, &[]).client().check(&[("GET k", r#""w""#)]);
}
