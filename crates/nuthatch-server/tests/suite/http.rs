//! The web side: metrics, health, the dashboard's API, and who may see them.

use crate::harness::{PATIENCE, Running};
use serde_json::Value as Json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// One reply.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

fn http_port(server: &Running) -> u16 {
    server.server().config().http_port
}

/// Sends `request` as it is and reads until the server closes.
fn exchange(port: u16, request: &str) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        status: status.expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

fn get(port: u16, path: &str) -> Reply {
    exchange(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"),
    )
}

fn json(port: u16, path: &str) -> Json {
    let reply = get(port, path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

/// Asks again until `wanted` finds what it waits for: the control thread looks once a second.
fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The value of one series of `/metrics`.
fn metric(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no {series} in:\n{text}"));
    value
        .parse()
        .unwrap_or_else(|_| panic!("{series} is {value}"))
}

#[test]
fn metrics_count_what_clients_do() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let mut client = server.client();
    client.check(&[
        ("SET k v", "+OK"),
        ("GET k", "\"v\""),
        ("GET none", "nil"),
        ("GET none", "nil"),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
        ("DEL k", ":1"),
    ]);
    let reply = get(port, "/metrics");
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    let text = reply.body;
    assert!(text.ends_with("# EOF\n"));
    for (series, value) in [
        ("nuthatch_commands_total{command=\"get\"}", 3.0),
        ("nuthatch_commands_total{command=\"set\"}", 2.0),
        ("nuthatch_commands_failed_total{command=\"set\"}", 1.0),
        ("nuthatch_keyspace_hits_total", 1.0),
        ("nuthatch_keys", 0.0),
        ("nuthatch_clients", 1.0),
        ("nuthatch_connections_total", 1.0),
        ("nuthatch_evictions_total{cause=\"capacity\"}", 0.0),
        ("nuthatch_expirations_total", 0.0),
        ("nuthatch_deletions_total", 1.0),
    ] {
        assert_eq!(metric(&text, series), value, "{series}");
    }
    let bound = metric(&text, "nuthatch_memory_bytes{kind=\"bound\"}");
    let resident = metric(&text, "nuthatch_memory_bytes{kind=\"resident\"}");
    assert!(resident > 0.0 && bound > resident, "{resident} of {bound}");
    assert!(metric(&text, "nuthatch_network_received_bytes_total") > 100.0);
}

#[test]
fn buckets_of_times_grow_up_to_the_count() {
    let server = Running::with(&[("http-port", "free"), ("slowlog-log-slower-than", "0")]);
    let mut client = server.client();
    for _ in 0..50 {
        client.check(&[("GET none", "nil")]);
    }
    let text = get(http_port(&server), "/metrics").body;
    let prefix = "nuthatch_command_duration_seconds_bucket{";
    let buckets: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(prefix)?.split_once("} "))
        .filter(|(labels, _)| labels.contains("command=\"get\""))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    assert!(buckets.len() > 10);
    assert!(buckets.is_sorted(), "{buckets:?}");
    let count = metric(
        &text,
        "nuthatch_command_duration_seconds_count{command=\"get\"}",
    );
    assert_eq!((buckets[buckets.len() - 1], count), (50.0, 50.0));
}

#[test]
fn health_checks_and_unknown_paths_and_methods_are_answered() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    assert_eq!(get(port, "/healthz").status, 200);
    assert_eq!(get(port, "/readyz").status, 200);
    assert_eq!(get(port, "/nothing").status, 404);
    assert_eq!(get(port, "/../Cargo.toml").status, 404);
    let post = "POST /api/settings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let reply = exchange(port, post);
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: get, head"));
    let head = exchange(
        port,
        "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: "));
}

#[test]
fn names_of_others_are_not_answered_to() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let reply = exchange(
        port,
        "GET /api/overview HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(reply.status, 421);
    assert!(!reply.body.contains("version"));
}

#[test]
fn a_password_guards_all_but_the_health_checks() {
    let server = Running::with(&[("http-port", "free"), ("http-password", "secret")]);
    let port = http_port(&server);
    assert_eq!(get(port, "/healthz").status, 200);
    let refused = get(port, "/metrics");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: basic"));
    let with_password = "GET /api/settings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Basic OnNlY3JldA==\r\n\r\n";
    let reply = exchange(port, with_password);
    assert_eq!(reply.status, 200);
    assert!(
        !reply.body.contains("secret\""),
        "the password is not shown"
    );
}

#[test]
fn requests_that_are_none_are_turned_away() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    assert_eq!(exchange(port, "nonsense\r\n\r\n").status, 400);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may close before it has read all of it.
    drop(stream.write_all(long.as_bytes()));
    let mut reply = Vec::new();
    drop(stream.read_to_end(&mut reply));
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 431"));
    assert_eq!(get(port, "/healthz").status, 200);
}

#[test]
fn history_holds_a_sample_each_second_and_gives_the_new_ones() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let mut client = server.client();
    let sample = eventually("a sample with the command", || {
        client.check(&[("SET k v", "+OK")]);
        let view = json(port, "/api/history");
        let samples = view["samples"].as_array().unwrap().clone();
        samples
            .into_iter()
            .find(|sample| sample["commands"].as_u64() > Some(0))
    });
    assert!(sample["bound_bytes"].as_u64().unwrap() > 0);
    let time_ms = sample["time_ms"].as_u64().unwrap();
    let later = json(port, &format!("/api/history?after={time_ms}"));
    for sample in later["samples"].as_array().unwrap() {
        assert!(sample["time_ms"].as_u64().unwrap() > time_ms);
    }
    let minutes = json(port, "/api/history?range=minutes&after=nonsense");
    assert!(minutes["samples"].as_array().unwrap().is_empty());
}

#[test]
fn views_show_commands_clients_and_settings() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let mut client = server.client();
    client.check(&[
        ("GET none", "nil"),
        (
            "NONSENSE",
            "-ERR unknown command 'NONSENSE', with args beginning with: ",
        ),
    ]);
    server.server().set_config([("timeout", "77")]).unwrap();
    let commands = json(port, "/api/commands");
    let commands = commands["commands"].as_array().unwrap();
    let row = commands.iter().find(|row| row["name"] == "get").unwrap();
    assert_eq!(row["calls"], 1);
    let clients = json(port, "/api/clients");
    assert_eq!(clients["total"], 1);
    assert_eq!(clients["clients"][0]["command"], "get");
    let settings = json(port, "/api/settings");
    let settings = settings["settings"].as_array().unwrap();
    let timeout = settings
        .iter()
        .find(|row| row["name"] == "timeout")
        .unwrap();
    assert_eq!(
        (timeout["value"].as_str(), timeout["origin"].as_str()),
        (Some("77"), Some("CONFIG SET"))
    );
    let overview = json(port, "/api/overview");
    assert_eq!(overview["threads"], 2);
    assert_eq!(overview["totals"]["clients"], 1);
}

#[test]
fn hot_and_big_keys_are_found_and_shown_as_text() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let mut client = server.client();
    let big = "x".repeat(50_000);
    client.send_request(&["SET", "<b>big\n</b>", &big]);
    assert_eq!(client.read().to_string(), "+OK");
    eventually("the hot key", || {
        for _ in 0..500 {
            client.check(&[("GET \"hot\\xff\"", "nil")]);
        }
        let view = json(port, "/api/hot-keys");
        let first = view["keys"].get(0)?.clone();
        assert_eq!(first["key"], "hot\\xff");
        (first["per_second"].as_f64()? > 0.0).then_some(())
    });
    let row = eventually("the big key", || {
        json(port, "/api/big-keys")["keys"].get(0).cloned()
    });
    assert_eq!(row["key"], "<b>big\\n</b>");
    assert_eq!(row["type"], "string");
    assert!(row["bytes"].as_u64().unwrap() >= 50_000);
}

#[test]
fn what_is_on_disk_is_told_to_people_and_machines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let settings = [
        ("http-port", "free"),
        ("data-dir", path),
        ("appendfsync", "always"),
    ];
    let start = || {
        let server = Running::with(&settings);
        let port = http_port(&server);
        eventually("the end of loading", || {
            (get(port, "/readyz").status == 200).then_some(())
        });
        (server, port)
    };
    let (server, port) = start();
    server
        .client()
        .check(&[("SET k v", "+OK"), ("SET other v", "+OK")]);
    let view = json(port, "/api/durability");
    assert_eq!(view["health"], "good", "{view}");
    assert_eq!(
        view["state"],
        "Every write is on disk before it is answered."
    );
    assert_eq!(view["directory"], path);
    assert_eq!(view["sync_policy"], "always");
    assert_eq!(view["admission"], "open");
    assert_eq!(view["log_records"], 2);
    assert!(view["syncs"].as_u64().unwrap() > 0, "{view}");
    assert!(view["log_bytes"].as_u64().unwrap() > 0, "{view}");
    assert!(json(port, "/api/overview")["alarm"].is_null());

    server
        .client()
        .check(&[("BGSAVE", "+Background saving started")]);
    let text = eventually("the snapshot", || {
        let text = get(port, "/metrics").body;
        (metric(&text, "nuthatch_snapshots_total") == 1.0).then_some(text)
    });
    for (series, value) in [
        ("nuthatch_durability_enabled", 1.0),
        ("nuthatch_loading", 0.0),
        ("nuthatch_log_records_total", 2.0),
        ("nuthatch_write_admission{state=\"open\"}", 1.0),
        ("nuthatch_write_admission{state=\"refused\"}", 0.0),
        ("nuthatch_writes_refused_total", 0.0),
        ("nuthatch_snapshot_failed", 0.0),
        ("nuthatch_log_failed", 0.0),
        ("nuthatch_disk_last_error_timestamp_seconds", 0.0),
    ] {
        assert_eq!(metric(&text, series), value, "{series}");
    }
    assert!(metric(&text, "nuthatch_log_sync_seconds_total") > 0.0);
    assert!(metric(&text, "nuthatch_snapshot_size_bytes") > 0.0);
    let written = metric(&text, "nuthatch_log_written_bytes_total");
    eventually("a sample with what was written", || {
        let view = json(port, "/api/history");
        let samples = view["samples"].as_array().unwrap();
        let of_log = samples.iter().map(|sample| &sample["log_written_bytes"]);
        let sum: u64 = of_log.map(|bytes| bytes.as_u64().unwrap()).sum();
        (sum as f64 >= written).then_some(())
    });
    drop(server);

    let (_server, port) = start();
    let view = json(port, "/api/durability");
    assert_eq!(view["loaded_keys"], 2);
    assert_eq!(view["is_loading"], false);
}

#[test]
fn a_snapshot_that_fails_is_told_wherever_people_look() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let server = Running::with(&[("http-port", "free"), ("data-dir", path)]);
    let port = http_port(&server);
    eventually("the end of loading", || {
        (get(port, "/readyz").status == 200).then_some(())
    });
    std::fs::remove_dir_all(directory.path()).unwrap();
    let mut client = server.client();
    client.check(&[("BGSAVE", "+Background saving started")]);
    let alarm = eventually("the alarm", || {
        let alarm = json(port, "/api/overview")["alarm"].take();
        let state = alarm["state"].as_str().unwrap_or_default();
        state.contains("snapshot has failed").then_some(alarm)
    });
    assert_eq!(alarm["health"], "warn", "{alarm}");
    let text = get(port, "/metrics").body;
    assert_eq!(metric(&text, "nuthatch_snapshot_failed"), 1.0);
    assert!(metric(&text, "nuthatch_disk_last_error_timestamp_seconds") > 0.0);
    let info = client.call("INFO persistence").text();
    assert!(info.contains("rdb_last_bgsave_status:err\r\n"), "{info}");
    assert!(info.contains("durable_last_error:"), "{info}");
    // Reads and writes go on, with the log that there is.
    client.check(&[("SET k v", "+OK"), ("GET k", "\"v\"")]);
}

#[test]
fn a_server_that_keeps_nothing_says_so() {
    let server = Running::with(&[("http-port", "free")]);
    let port = http_port(&server);
    let view = json(port, "/api/durability");
    assert_eq!(view["health"], "off");
    assert!(view["state"].as_str().unwrap().contains("data-dir"));
    assert_eq!(
        metric(&get(port, "/metrics").body, "nuthatch_durability_enabled"),
        0.0
    );
}
