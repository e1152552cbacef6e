//! The load generator against servers: one of our own that answers rightly or in a wrong way, and
//! Redis and memcached where this machine has them.
#![cfg(unix)]
#![forbid(unsafe_code)]

#[path = "program/program.rs"]
mod program;

use program::{Directory, rows, run, stderr, stdout};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a server of ours does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// It is full.
    Full,
    /// A bit of each value is wrong.
    Flipped,
    /// Each value lacks its last byte.
    Short,
    /// It says what Redis would not.
    Babble,
    /// It acknowledges what it was not asked to store.
    Confused,
    /// It hangs up at the first request for a key.
    Gone,
    /// It wants a password.
    Locked,
}

type Map = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// Starts a server of the protocol of Redis, which lives as long as the test's process, and tells its
/// address.
fn serve(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    let map = Map::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let map = Arc::clone(&map);
            // The client hangs up when it has what it wants.
            thread::spawn(move || converse(stream?, fault, &map));
        }
    });
    address
}

fn converse(stream: TcpStream, fault: Fault, map: &Map) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    while let Some(words) = request(&mut input)? {
        let reply = match words[0].as_slice() {
            b"PING" if fault == Fault::Locked => b"-NOAUTH Authentication required.\r\n".to_vec(),
            b"PING" => b"+PONG\r\n".to_vec(),
            b"AUTH" if words[1..] == [b"me".to_vec(), b"word".to_vec()] => b"+OK\r\n".to_vec(),
            b"AUTH" => b"-WRONGPASS\r\n".to_vec(),
            b"HELLO" => b"%2\r\n+proto\r\n:3\r\n+modules\r\n*0\r\n".to_vec(),
            b"FLUSHALL" => {
                map.lock().unwrap().clear();
                b"+OK\r\n".to_vec()
            }
            b"GET" => match map.lock().unwrap().get(&words[1]) {
                _ if fault == Fault::Gone => return Ok(()),
                _ if fault == Fault::Babble => b"VALUE\r\n".to_vec(),
                _ if fault == Fault::Confused => b"+OK\r\n".to_vec(),
                Some(value) => bulk(value, fault),
                None => b"$-1\r\n".to_vec(),
            },
            b"SET" if fault == Fault::Full => b"-OOM command not allowed\r\n".to_vec(),
            b"SET" => {
                let [_, key, value, options @ ..] = words.as_slice() else {
                    panic!("SET takes a key and a value");
                };
                assert!(options.is_empty() || options == [b"EX".to_vec(), b"60".to_vec()]);
                map.lock().unwrap().insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            other => panic!("{}", other.escape_ascii()),
        };
        output.write_all(&reply)?;
    }
    Ok(())
}

fn bulk(value: &[u8], fault: Fault) -> Vec<u8> {
    let mut value = value.to_vec();
    match fault {
        Fault::Flipped => value[0] ^= 1,
        Fault::Short => value.truncate(value.len() - 1),
        _ => {}
    }
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.append(&mut value);
    reply.extend_from_slice(b"\r\n");
    reply
}

/// The words of the next request; `None` at the end.
fn request(input: &mut impl BufRead) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(words) = number(input, '*')? else {
        return Ok(None);
    };
    let words = (0..words).map(|_| {
        let len = number(input, '$')?.expect("a request is whole");
        let mut word = vec![0; len + 2];
        input.read_exact(&mut word)?;
        assert!(word.ends_with(b"\r\n"));
        word.truncate(len);
        Ok(word)
    });
    words.collect::<io::Result<_>>().map(Some)
}

fn number(input: &mut impl BufRead, kind: char) -> io::Result<Option<usize>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let digits = line.strip_prefix(kind).expect("a request is an array");
    let digits = digits.strip_suffix("\r\n").expect("a line ends");
    Ok(Some(digits.parse().expect("a length is a number")))
}

/// Options that make a measurement short.
const SHORT: [&str; 6] = [
    "--keys=500",
    "--connections=4",
    "--pipeline=1,7",
    "--rounds=2",
    "--millis=20",
    "--value-bytes=300",
];

/// The rows of a measurement, whose table was printed.
fn measured(directory: &Directory, options: &[&str]) -> Vec<Value> {
    let path = directory.path("rows.json");
    let output = run("server", &[options, &["--json", &path]].concat());
    assert!(stdout(&output).contains("generator busy"));
    rows(&path)
}

fn ratio(row: &Value) -> f64 {
    row["hit_ratio"].as_f64().expect("something is read")
}

fn count(row: &Value, field: &str) -> u64 {
    row[field].as_u64().expect("it is a count")
}

fn assert_sound(row: &Value) {
    let float = |field: &str| row[field].as_f64().expect("it is a number");
    assert!(float("ops_per_s_min") > 0.0, "{row}");
    assert!(float("ops_per_s_min") <= float("ops_per_s_median"), "{row}");
    assert!(float("ops_per_s_median") <= float("ops_per_s_max"), "{row}");
    assert!(float("p50_us") <= float("p99_us"), "{row}");
    assert!(float("p99_us") <= float("p999_us"), "{row}");
    assert!(float("p999_us") <= float("max_us") * 1.001, "{row}");
}

/// A mix, a miss for each key with its write, and an open loop, on servers of any kind, which are
/// empty. `pids` may be empty.
fn assert_measurable(test: &str, targets: &[&str], pids: &str) {
    let directory = Directory::new(test);
    let list = targets.join(",");
    let mut common = vec!["--target", &list];
    if !pids.is_empty() {
        common.extend(["--pid", pids]);
    }

    let filled = [common.as_slice(), &SHORT, &["--fill"]].concat();
    let mixed = measured(&directory, &filled);
    assert_eq!(mixed.len(), 2 * targets.len(), "a row for each pipeline");
    for row in &mixed {
        assert_sound(row);
        assert_eq!(ratio(row), 1.0, "{row}");
        assert_eq!(row["server_cpu_s_per_mop"].is_number(), !pids.is_empty());
        assert_eq!(row["rss_bytes"].is_number(), !pids.is_empty());
    }

    // The keys are of another length than before, as not every server's flush is exact.
    let replay = [
        common.as_slice(),
        &["--trace=loop:100:1000", "--ttl-s=60", "--key-bytes=20"],
        &["--connections=1", "--pipeline=1", "--flush"],
    ];
    for row in measured(&directory, &replay.concat()) {
        assert_sound(&row);
        assert_eq!(ratio(&row), 0.9, "each of 100 keys is missed once: {row}");
        assert_eq!(count(&row, "ops"), 1100, "{row}");
    }

    let open = [
        common.as_slice(),
        &["--keys=500", "--ratio=1:1", "--key-bytes=21"],
        &["--threads=2", "--connections=4", "--pipeline=3"],
        &["--rate=2000", "--millis=100", "--rounds=1"],
    ];
    for row in measured(&directory, &open.concat()) {
        assert_sound(&row);
        let due = count(&row, "ops") + count(&row, "unsent");
        assert_eq!(due, 200, "a tenth of a second's: {row}");
    }
}

#[test]
fn a_row_has_the_fields_that_scripts_rely_on() {
    let directory = Directory::new("server-fields");
    let target = serve(Fault::None);
    let rows = measured(&directory, &[&SHORT[..], &["--target", &target]].concat());
    let mut names: Vec<_> = rows[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "connections",
            "generator_busy",
            "hit_ratio",
            "key_bytes",
            "keys",
            "max_us",
            "ops",
            "ops_per_s_max",
            "ops_per_s_median",
            "ops_per_s_min",
            "p50_us",
            "p999_us",
            "p99_us",
            "pipeline",
            "rate_per_s",
            "rss_bytes",
            "rss_bytes_max",
            "server_cpu_s_per_mop",
            "target",
            "threads",
            "unsent",
            "value_bytes",
            "work",
        ]
    );
    let pipelines: Vec<_> = rows.iter().map(|row| count(row, "pipeline")).collect();
    assert_eq!(pipelines, [1, 7]);
    assert_eq!(rows[0]["target"], target.as_str());
    assert_eq!(rows[0]["work"], "10:1");
    assert!(ratio(&rows[0]) < 1.0, "nothing was there at first");
}

#[test]
fn servers_are_measured_side_by_side() {
    let resp2 = serve(Fault::None);
    let resp3 = format!("{}?protocol=3", serve(Fault::None));
    let own = std::process::id();
    assert_measurable("server-own", &[&resp2, &resp3], &format!("{own},{own}"));
}

#[test]
fn a_cache_aside_client_finds_what_it_stored() {
    let directory = Directory::new("server-aside");
    let target = serve(Fault::None);
    let options = ["--target", &target, "--cache-aside", "--zipf=uniform"];
    let rows = measured(&directory, &[&options, &SHORT[..]].concat());
    for row in &rows {
        assert_eq!(row["work"], "cache-aside");
        assert!(ratio(row) > 0.0, "{row}");
    }
    // Some runs later, all of 500 keys are there.
    let rows = measured(&directory, &[&options, &SHORT[..], &["--fill"]].concat());
    assert!(rows.iter().all(|row| ratio(row) == 1.0));
}

#[test]
fn a_trace_says_how_long_values_are() {
    let directory = Directory::new("server-sizes");
    let target = serve(Fault::None);
    let trace = directory.write("sizes.csv", "key,size\na,5\nb,70000\na,5\nb,70000\nc,1\n");
    let options = ["--target", &target, "--trace", &trace];
    let one = ["--connections=1", "--pipeline=1"];
    let row = &measured(&directory, &[&options[..], &one].concat())[0];
    assert_eq!(ratio(row), 0.4, "{row}");
    assert!(row["value_bytes"].is_null());
    assert_eq!(row["work"], "sizes");
}

#[test]
fn each_replay_begins_with_an_empty_server_if_asked() {
    let directory = Directory::new("server-flush");
    let target = serve(Fault::None);
    let replays = ["--trace=loop:100:1000", "--rounds=2", "--pipeline=1"];
    let options = [&replays[..], &["--connections=1", "--target", &target]].concat();
    let flushed = &measured(&directory, &[&options[..], &["--flush"]].concat())[0];
    assert_eq!(
        ratio(flushed),
        0.9,
        "each of 100 keys is missed in each round"
    );
    let kept = &measured(&directory, &options)[0];
    assert_eq!(ratio(kept), 1.0, "the last round left all of them there");
}

#[test]
fn a_soak_has_as_many_rounds_as_its_time() {
    let directory = Directory::new("server-soak");
    let target = serve(Fault::None);
    let options = [
        "--target",
        &target,
        "--keys=10",
        "--pipeline=1",
        "--duration-s=1",
        "--millis=300",
        "--rate=100",
    ];
    let row = &measured(&directory, &options)[0];
    assert_eq!(count(row, "ops") + count(row, "unsent"), 4 * 30, "{row}");
}

#[test]
fn a_server_that_answers_wrongly_ends_the_measurement() {
    for (fault, expected) in [
        (
            Fault::Full,
            "SET was answered with \"OOM command not allowed\"",
        ),
        (Fault::Flipped, "byte 0 of 300 differs"),
        (Fault::Short, "299 bytes instead of 300"),
        (Fault::Babble, "not a reply of the protocol: \"VALUE\""),
        (Fault::Confused, "GET was answered with \"OK\""),
        (Fault::Gone, "the server closed the connection"),
        (Fault::Locked, "NOAUTH Authentication required."),
    ] {
        let target = serve(fault);
        let options = [&SHORT[..], &["--fill", "--target", &target]].concat();
        let output = run("server", &options);
        assert_eq!(output.status.code(), Some(2), "{fault:?}");
        assert!(output.stdout.is_empty(), "{fault:?}");
        let complaint = stderr(&output);
        let line = format!("error: {target}: ");
        assert!(complaint.starts_with(&line), "{fault:?}: {complaint}");
        assert!(complaint.contains(expected), "{fault:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
}

#[test]
fn a_failure_on_one_thread_ends_the_others() {
    let target = serve(Fault::Full);
    let options = ["--target", &target, "--ratio=0:1", "--threads=3"];
    let output = run("server", &[&SHORT[..], &options].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("OOM"), "{}", stderr(&output));
}

#[test]
fn credentials_are_given_and_not_shown() {
    let directory = Directory::new("server-credentials");
    let locked = serve(Fault::Locked);
    let with = |credentials: &str| locked.replace("redis://", &format!("redis://{credentials}@"));
    let right = with("me:word");
    let rows = measured(&directory, &[&SHORT[..], &["--target", &right]].concat());
    assert_eq!(rows[0]["target"], with("me:***").as_str());
    let output = run("server", &["--target", &with("me:sesame")]);
    let complaint = stderr(&output);
    assert!(complaint.contains("WRONGPASS"), "{complaint}");
    assert!(!complaint.contains("sesame"), "{complaint}");
}

/// A server of this machine's, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it was started");
    }
}

impl Server {
    /// Starts a program and waits until `is_up`; `None`, and loudly, if the machine does not have it.
    fn start(program: &str, arguments: &[&str], is_up: impl Fn() -> bool) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Past the test harness, which shows nothing of tests that succeed.
                let skipped =
                    format!("\nSKIPPED: there is no {program} on PATH to be tested with\n");
                io::stderr().write_all(skipped.as_bytes()).unwrap();
                return None;
            }
            child => child.unwrap(),
        };
        let mut server = Self(child);
        while !is_up() {
            if let Some(status) = server.0.try_wait().unwrap() {
                panic!("{program} ended with {status}");
            }
            thread::yield_now();
        }
        Some(server)
    }

    fn redis(port: u16, directory: &Directory) -> Option<Self> {
        let (port_text, socket) = (port.to_string(), directory.path("redis.sock"));
        let network = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port_text,
            "--unixsocket",
            &socket,
        ];
        let memory = ["--save", "", "--appendonly", "no"];
        let arguments = [&network[..], &memory].concat();
        Self::start("redis-server", &arguments, || accepts(port))
    }

    fn memcached(port: u16) -> Option<Self> {
        let port_text = port.to_string();
        // Started by root, it wants to know whom to be instead.
        let arguments = [
            "-l",
            "127.0.0.1",
            "-p",
            &port_text,
            "-U",
            "0",
            "-u",
            "nobody",
        ];
        Self::start("memcached", &arguments, || accepts(port))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn redis_and_memcached_can_be_measured() {
    let directory = Directory::new("server-real");
    let ports = (free_port(), free_port());
    let redis = Server::redis(ports.0, &directory);
    let memcached = Server::memcached(ports.1);
    if let Some(redis) = &redis {
        let resp2 = format!("redis://127.0.0.1:{}", ports.0);
        assert_measurable("server-redis", &[&resp2], &redis.pid().to_string());
        let socket = directory.path("redis.sock");
        let resp3 = format!("redis+unix://{socket}?protocol=3");
        assert_measurable("server-redis-3", &[&resp3], "");
    }
    if let Some(memcached) = &memcached {
        let target = format!("memcached://127.0.0.1:{}", ports.1);
        assert_measurable("server-memcached", &[&target], &memcached.pid().to_string());
        let wrong = target.replace("memcached://", "redis://");
        let output = run("server", &["--target", &wrong]);
        assert!(
            stderr(&output).contains("not a reply"),
            "{}",
            stderr(&output)
        );
    }
}
