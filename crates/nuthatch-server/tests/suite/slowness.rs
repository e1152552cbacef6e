//! What the server tells of slow commands and of memory, and what tests may ask of it.

use crate::harness::{Running, Value};

#[test]
fn slow_commands_are_kept_without_secrets() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CONFIG SET slowlog-log-slower-than 0", "+OK"),
        ("SLOWLOG RESET", "+OK"),
        ("CONFIG SET requirepass hunter2", "+OK"),
        ("AUTH hunter2", "+OK"),
        (
            "HELLO 2 AUTH default hunter3",
            "-WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("ACL SETUSER bob >hunter4", "+OK"),
        ("SET k v", "+OK"),
        ("CONFIG SET slowlog-log-slower-than -1", "+OK"),
        ("SLOWLOG LEN", ":7"),
    ]);
    let log = client.call("SLOWLOG GET -1");
    let told = log.to_string();
    assert!(!told.contains("hunter"), "{told}");
    let newest = client.call("SLOWLOG GET 2");
    let entry = newest.elements()[1].elements();
    assert_eq!(entry.len(), 6);
    assert_eq!(entry[3].to_string(), "[\"SET\", \"k\", \"v\"]");
    assert!(entry[4].text().starts_with("127.0.0.1:"));
    client.check(&[
        (
            "SLOWLOG GET -2",
            "-ERR count should be greater than or equal to -1",
        ),
        (
            "CONFIG SET slowlog-max-len 0 slowlog-log-slower-than 0",
            "+OK",
        ),
        ("PING", "+PONG"),
        ("SLOWLOG LEN", ":0"),
    ]);
}

#[test]
fn spikes_are_told_in_all_forms() {
    let server = Running::with(&[("latency-monitor-threshold", "20")]);
    let mut client = server.client();
    client.check(&[
        ("LATENCY LATEST", "[]"),
        ("DEBUG SLEEP 0.03", "+OK"),
        (
            "LATENCY GRAPH nothing",
            "-ERR No samples available for event 'nothing'",
        ),
        ("LATENCY HISTORY nothing", "[]"),
    ]);
    let latest = client.call("LATENCY LATEST");
    let event = latest.elements()[0].elements();
    assert_eq!(event[0].text(), "command");
    assert!(event[2].integer() >= 30, "{latest}");
    assert_eq!(client.call("LATENCY HISTORY command").elements().len(), 1);
    assert!(
        client
            .call("LATENCY GRAPH command")
            .text()
            .starts_with("command - high ")
    );
    assert!(
        client
            .call("LATENCY DOCTOR")
            .text()
            .contains("command: 1 spikes")
    );
    client.check(&[("LATENCY RESET nothing", ":0"), ("LATENCY RESET", ":1")]);
}

#[test]
fn times_of_commands_are_told_as_histograms() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[("CONFIG RESETSTAT", "+OK"), ("SET a b", "+OK")]);
    let reply = client.call("LATENCY HISTOGRAM set nonsense get");
    let [name, times] = reply.elements() else {
        panic!("one command, not {reply}");
    };
    assert_eq!(name.text(), "set");
    assert_eq!(times.elements()[1].integer(), 1);
    let all = client.call("LATENCY HISTOGRAM").to_string();
    assert!(all.contains("\"config|resetstat\""), "{all}");
}

#[test]
fn memory_of_keys_and_of_the_process_is_told() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("MEMORY USAGE none", "nil"),
        ("SET k v", "+OK"),
        ("MEMORY USAGE k SAMPLES", "-ERR syntax error"),
        ("MEMORY PURGE", "+OK"),
    ]);
    let small = client.call("MEMORY USAGE k").integer();
    client.call_with(&["SET", "k", &"x".repeat(1000)]);
    let large = client.call("MEMORY USAGE k SAMPLES 5").integer();
    assert!(small > 0 && large >= small + 900, "{small} {large}");
    let stats = client.call("MEMORY STATS").to_string();
    assert!(stats.contains("\"keys.count\", :1"), "{stats}");
    assert!(
        client
            .call("MEMORY DOCTOR")
            .text()
            .starts_with("1 keys take ")
    );
}

#[test]
fn values_of_all_kinds_are_answered_for_tests_of_clients() {
    let server = Running::start();
    let mut client = server.client();
    assert!(matches!(client.call("HELLO 3"), Value::Map(_)));
    client.check(&[
        ("DEBUG PROTOCOL map", "{:0: #f, :1: #t, :2: #f}"),
        ("DEBUG PROTOCOL set", "~[:0, :1, :2]"),
        ("DEBUG PROTOCOL null", "nil"),
        ("DEBUG ERROR WRONG", "-WRONG"),
    ]);
    client.check(&[(
        "DEBUG NONSENSE",
        "-ERR unknown subcommand or wrong number of arguments for 'NONSENSE'. Try DEBUG HELP.",
    )]);
    let closed = Running::with(&[("enable-debug-command", "no")]);
    let refused = closed.client().call("DEBUG HELP").to_string();
    assert!(
        refused.starts_with("-ERR DEBUG command not allowed"),
        "{refused}"
    );
}

#[test]
fn persistence_that_is_not_there_is_no_success() {
    let server = Running::start();
    let mut client = server.client();
    for command in ["SAVE", "BGSAVE", "BGREWRITEAOF", "SHUTDOWN SAVE"] {
        client.check(&[(
            command,
            "-ERR this server keeps nothing on disk: it has no data-dir",
        )]);
    }
    client.check(&[
        ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
        ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error"),
    ]);
}

#[test]
fn shutdown_ends_the_server_without_a_reply() {
    let server = Running::start();
    let mut client = server.client();
    client.send_request(&["SHUTDOWN", "NOSAVE"]);
    assert!(client.read_to_end().is_empty());
}
