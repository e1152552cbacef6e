//! The measurement of near caches against a `redis-server` that it starts itself. A machine without one says
//! so and passes, but fails where the variable `CI` is set: there nothing may be left out.
#![cfg(unix)]
#![forbid(unsafe_code)]

#[path = "program/program.rs"]
mod program;

use nuthatch_lab::near::LocalServer;
use program::{Directory, rows, run, stderr, stdout};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

/// Options that make a measurement short.
const SHORT: [&str; 8] = [
    "--hit-ratios=80,100",
    "--tasks=4",
    "--threads=2",
    "--capacity=2000",
    "--cold-keys=20000",
    "--value-bytes=30",
    "--rounds=2",
    "--millis=60",
];

const PLAIN: &str = "plain";
const CACHES: [&str; 3] = [
    "redis-rs caching",
    "nuthatch near",
    "nuthatch near, broadcast",
];
const LIBRARIES: [&str; 2] = ["bare library", "bare library, time to live"];

/// Whether the machine has a server.
fn can_be_measured() -> bool {
    let mut version = Command::new("redis-server");
    version.arg("--version").stdout(Stdio::null());
    match version.status() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI needs redis-server for the near cache's measurement"
            );
            // Past the test harness, which shows nothing of tests that succeed.
            let skipped = b"\nSKIPPED: there is no redis-server on PATH to be tested with\n";
            io::stderr().write_all(skipped).unwrap();
            false
        }
        status => {
            assert!(status.unwrap().success());
            true
        }
    }
}

fn measured(test: &str, options: &[&str]) -> Vec<Value> {
    let directory = Directory::new(test);
    let path = directory.write("rows.json", "");
    let output = run("near", &[&SHORT, options, &["--json", &path]].concat());
    assert!(stdout(&output).contains("a hit, on one thread"));
    rows(&path)
}

fn number(row: &Value, field: &str) -> f64 {
    let number = row[field].as_f64();
    number.unwrap_or_else(|| panic!("no {field} in {row}"))
}

/// The rows of reads, by who reads and the part that is hot.
fn reads(rows: &[Value]) -> BTreeMap<(String, u64), &Value> {
    let reads = rows.iter().filter(|row| row["measure"] == "reads");
    let named = reads.map(|row| {
        let reader = row["reader"].as_str().expect("it has a name").to_owned();
        let percent = (100.0 * number(row, "hot_ratio")).round() as u64;
        ((reader, percent), row)
    });
    named.collect()
}

#[test]
fn every_reader_gets_the_hit_ratio_that_was_asked_for_and_the_server_the_rest() {
    if !can_be_measured() {
        return;
    }
    let rows = measured("near", &[]);
    let reads = reads(&rows);
    assert_eq!(reads.len(), 2 * (1 + CACHES.len() + LIBRARIES.len()));
    for row in reads.values() {
        assert!(number(row, "reads_per_s_min") > 0.0, "{row}");
        assert!(number(row, "reads_per_s_min") <= number(row, "reads_per_s_median"));
        assert!(number(row, "reads_per_s_median") <= number(row, "reads_per_s_max"));
        assert!(number(row, "p50_ns") <= number(row, "p99_ns"), "{row}");
        assert!(number(row, "p99_ns") <= number(row, "p999_ns"), "{row}");
        assert_eq!(number(row, "writes_per_s"), 0.0, "{row}");
    }
    for percent in [80, 100] {
        let of = |reader: &str| reads[&(reader.to_owned(), percent)];
        let plain = of(PLAIN);
        assert!(plain["hit_ratio"].is_null(), "{plain}");
        assert_eq!(number(plain, "of_plain"), 1.0, "{plain}");
        assert_eq!(number(plain, "requests_per_1000_reads"), 1e3, "{plain}");
        for cache in CACHES.iter().chain(&LIBRARIES) {
            let row = of(cache);
            let hit_ratio = number(row, "hit_ratio");
            let asked = percent as f64 / 100.0;
            assert!((hit_ratio - asked).abs() < 0.1, "{row}");
        }
        for cache in CACHES {
            // A value and its time to live for each miss, and now and then a ping. What each task was waiting for
            // when the measurement began was asked for before.
            let row = of(cache);
            let before = 2.0 * number(row, "tasks") * 1e3 / number(row, "reads");
            let missed = 1e3 * (1.0 - number(row, "hit_ratio"));
            let requests = number(row, "requests_per_1000_reads");
            assert!(requests >= 2.0 * missed - before - 1e-6, "{row}");
        }
        for library in LIBRARIES {
            assert_eq!(number(of(library), "requests_per_1000_reads"), 0.0);
        }
    }
    let hits: Vec<_> = rows.iter().filter(|row| row["measure"] == "hit").collect();
    assert_eq!(hits.len(), 10, "a row for each call");
    for row in hits {
        assert!(number(row, "ns_min") > 0.0, "{row}");
        assert!(number(row, "ns_min") <= number(row, "ns_median"), "{row}");
        assert!(number(row, "ns_median") <= number(row, "ns_max"), "{row}");
        let baseline = match row["call"].as_str() {
            Some("Cache::get, time to live") => "of_library",
            Some("Cache::get of the tier in process") => "of_tier",
            _ => continue,
        };
        assert_eq!(number(row, baseline), 1.0, "{row}");
    }
}

#[test]
fn writes_by_others_make_hot_keys_miss() {
    if !can_be_measured() {
        return;
    }
    let rows = measured("near-writers", &["--writers=5000"]);
    let reads = reads(&rows);
    for row in reads.values() {
        assert!(number(row, "writes_per_s") > 0.0, "{row}");
    }
    for cache in CACHES {
        let row = reads[&(cache.to_owned(), 100)];
        assert!(number(row, "hit_ratio") < 1.0, "{row}");
        assert!(number(row, "requests_per_1000_reads") > 0.0, "{row}");
    }
    for library in LIBRARIES {
        let row = reads[&(library.to_owned(), 100)];
        assert_eq!(number(row, "hit_ratio"), 1.0, "nobody tells it: {row}");
    }
}

#[test]
fn a_server_that_is_given_keeps_its_own_keys_only() {
    if !can_be_measured() {
        return;
    }
    let server = LocalServer::start().unwrap();
    let address = server.address().to_string();
    let place = address.strip_prefix("redis://").expect("it has a port");
    let stream = TcpStream::connect(place).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |request: &str| {
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        replies.read_line(&mut reply).unwrap();
        reply
    };
    assert_eq!(ask("SET its own\r\n"), "+OK\r\n");
    let rows = measured("near-target", &["--target", &address]);
    assert_eq!(reads(&rows).len(), 2 * (1 + CACHES.len() + LIBRARIES.len()));
    assert_eq!(ask("DBSIZE\r\n"), ":1\r\n");
}

#[test]
fn what_is_no_such_server_is_named_in_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream?.write_all(b"VALUE\r\n")?;
        }
        io::Result::Ok(())
    });
    let output = run("near", &[&SHORT[..], &["--target", &address]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty(), "nothing was measured");
    let complaint = stderr(&output);
    let line = format!("error: {address}: ");
    assert!(complaint.starts_with(&line), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}
