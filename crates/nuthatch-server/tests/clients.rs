//! Real clients against the program that people run: every test starts `nuthatch serve` on free
//! loopback ports and lets one client go through what it is used for. The programs are in `clients/`
//! and pass against Redis and memcached too, so they say what clients expect rather than what this
//! server does.
//!
//! `scripts/client-tools` installs the clients under `target/client-tools`. A test whose client is
//! missing says so and passes, but fails where the variable `CI` is set: there nothing may be left
//! out silently.

#[path = "clients/redis_rs.rs"]
mod redis_rs;
#[path = "clients/serving.rs"]
mod serving;

use serving::Serving;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where `scripts/client-tools` installs clients.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/client-tools")
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Says that `client` is missing, past the capture of tests' output.
fn skip(client: &str) {
    let text = format!(
        "SKIPPED: {client} is not installed, so it is not tested; see scripts/client-tools\n"
    );
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must not leave out a client: {text}"
    );
    io::stderr().write_all(text.as_bytes()).expect("stderr");
}

/// The output of `command`, or `None` where its program is missing.
fn output(command: &mut Command) -> Option<Output> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skip(&command.get_program().to_string_lossy());
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Asserts that `command` succeeds, showing all that it said if it does not.
#[track_caller]
fn succeeds(command: &mut Command) {
    if let Some(output) = output(command) {
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[track_caller]
fn python(program: &str, arguments: &[&str]) {
    succeeds(
        Command::new(tools().join("python/bin/python"))
            .args(["-B", "-W", "ignore"])
            .arg(programs().join(program))
            .args(arguments)
            .arg("--full"),
    );
}

#[track_caller]
fn node(package: &str, program: &str, arguments: &[&str]) {
    if !tools().join("node_modules").join(package).is_dir() {
        return skip(package);
    }
    succeeds(
        Command::new("node")
            .arg(programs().join(program))
            .args(arguments)
            .arg("--full")
            .env("CLIENT_TOOLS", tools()),
    );
}

#[test]
fn redis_py_works_over_version_2() {
    let server = Serving::start();
    python("redis_py.py", &["127.0.0.1", &server.port(), "2"]);
}

#[test]
fn redis_py_works_over_version_3_and_caches_in_the_client() {
    let server = Serving::start();
    python("redis_py.py", &["127.0.0.1", &server.port(), "3"]);
}

#[test]
fn ioredis_works_over_both_versions() {
    let server = Serving::start();
    for version in ["2", "3"] {
        node(
            "ioredis",
            "ioredis.mjs",
            &["127.0.0.1", &server.port(), version],
        );
    }
}

#[test]
fn node_redis_works_over_both_versions() {
    let server = Serving::start();
    for version in ["2", "3"] {
        node(
            "redis",
            "node_redis.mjs",
            &["127.0.0.1", &server.port(), version],
        );
    }
}

#[test]
fn pymemcache_works_and_shares_keys_with_redis_py() {
    let server = Serving::start();
    python(
        "pymemcache_client.py",
        &["127.0.0.1", &server.memcached_port(), &server.port()],
    );
}

#[test]
fn redis_cli_sets_reads_scans_and_loads() {
    let server = Serving::start();
    let port = server.port();
    let cli = |arguments: &[&str]| -> Option<String> {
        let output = output(
            Command::new("redis-cli")
                .args(["-p", &port])
                .args(arguments),
        )?;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Some(String::from_utf8(output.stdout).expect("text"))
    };
    let Some(pong) = cli(&["PING"]) else { return };
    assert_eq!(pong, "PONG\n");
    for (arguments, expected) in [
        (&["SET", "k", "a b"][..], "OK\n"),
        (&["--no-raw", "GET", "k"], "\"a b\"\n"),
        (&["-3", "--no-raw", "HSET", "h", "f", "1"], "(integer) 1\n"),
        (&["-3", "--no-raw", "HGETALL", "h"], "1# \"f\" => \"1\"\n"),
        (&["--json", "HGETALL", "h"], "{\"f\":\"1\"}\n"),
        (&["--scan", "--pattern", "k*"], "k\n"),
        (&["--no-raw", "GET", "none"], "(nil)\n"),
        (&["-n", "0", "DBSIZE"], "2\n"),
    ] {
        assert_eq!(cli(arguments).as_deref(), Some(expected), "{arguments:?}");
    }
    let error = cli(&["GET", "h"]).expect("redis-cli is there");
    assert!(error.starts_with("WRONGTYPE "), "{error}");
    let big_keys = cli(&["--bigkeys"]).expect("redis-cli is there");
    assert!(
        big_keys.contains("Sampled 2 keys in the keyspace"),
        "{big_keys}"
    );

    // What `redis-cli --pipe` sends: requests, then an ECHO of a random text that ends the replies.
    let mut pipe = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is there");
    let mut requests = Vec::new();
    for number in 0..10_000 {
        write!(requests, "SET key:{number} {number}\r\n").expect("memory");
    }
    let mut stdin = pipe.stdin.take().expect("a pipe");
    stdin.write_all(&requests).expect("redis-cli reads");
    drop(stdin);
    let output = pipe.wait_with_output().expect("redis-cli ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("errors: 0, replies: 10000"), "{said}");
    assert_eq!(cli(&["DBSIZE"]).as_deref(), Some("10002\n"));
}

#[test]
fn redis_benchmark_runs_its_tests_of_caches() {
    let server = Serving::start();
    let port = server.port();
    for depth in ["1", "16"] {
        let Some(output) = output(
            Command::new("redis-benchmark")
                .args([
                    "-p", &port, "-n", "2000", "-c", "20", "-r", "1000", "-P", depth,
                ])
                .args(["-t", "ping,set,get,incr,hset,mset", "--csv"]),
        ) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        // A line of headings, and one for each test; PING is tested inline and not.
        assert_eq!(said.lines().count(), 8, "{output:?}");
        assert!(!said.contains("Error"), "{said}");
    }
}
