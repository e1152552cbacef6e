//! Transactions: what is queued, what runs, and what a watched key prevents; with one data thread and
//! with two.

use crate::harness::Running;
use std::thread;

fn for_any_number_of_threads(test: impl Fn(&Running)) {
    for threads in ["1", "2"] {
        test(&Running::with(&[("threads", threads)]));
    }
}

#[test]
fn queued_commands_run_together() {
    for_any_number_of_threads(|server| {
        server.client().check(&[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("SET a 1", "+QUEUED"),
            ("INCR a", "+QUEUED"),
            ("GET a", "+QUEUED"),
            ("EXEC", r#"[+OK, :2, "2"]"#),
            ("MULTI", "+OK"),
            ("EXEC", "[]"),
            ("MULTI", "+OK"),
            ("SET a 9", "+QUEUED"),
            ("DISCARD", "+OK"),
            ("GET a", r#""2""#),
        ]);
    });
}

#[test]
fn an_error_while_queueing_prevents_all_and_one_while_running_only_itself() {
    for_any_number_of_threads(|server| {
        let mut client = server.client();
        for spoiler in ["NONSENSE", "SET a", "MULTI", "WATCH a"] {
            client.check(&[("MULTI", "+OK"), ("SET a 1", "+QUEUED")]);
            assert!(client.call(spoiler).to_string().starts_with("-ERR"));
            client.check(&[
                ("SET a 2", "+QUEUED"),
                (
                    "EXEC",
                    "-EXECABORT Transaction discarded because of previous errors.",
                ),
                ("GET a", "nil"),
            ]);
        }
        client.check(&[
            ("MULTI", "+OK"),
            (
                "MULTI",
                "-ERR Command 'multi' not allowed inside a transaction",
            ),
            ("DISCARD", "+OK"),
            ("SET s x", "+OK"),
            ("MULTI", "+OK"),
            ("INCR s", "+QUEUED"),
            ("SET s y", "+QUEUED"),
            (
                "EXEC",
                "[-ERR value is not an integer or out of range, +OK]",
            ),
        ]);
    });
}

#[test]
fn a_change_of_a_watched_key_prevents_the_transaction() {
    for_any_number_of_threads(|server| {
        let (mut one, mut other) = (server.client(), server.client());
        for (change, is_changed) in [
            ("SET k 2", true),
            ("DEL k", true),
            ("SET unwatched 1", false),
            ("DEL k absent", true),
            ("GET k", false),
        ] {
            one.check(&[
                ("SET k 1", "+OK"),
                ("WATCH k absent k", "+OK"),
                ("MULTI", "+OK"),
                ("GET k", "+QUEUED"),
            ]);
            other.call(change);
            let expected = if is_changed { "nil-array" } else { r#"["1"]"# };
            one.check(&[("EXEC", expected), ("MULTI", "+OK"), ("EXEC", "[]")]);
        }
        assert!(server.server().observers.watched.is_empty());
    });
}

#[test]
fn a_watched_key_that_expires_prevents_the_transaction_unless_it_was_gone_before() {
    for_any_number_of_threads(|server| {
        let mut client = server.client();
        // Until it is watched in time: a slow machine may take longer than the key lives.
        loop {
            client.check(&[("SET k v PX 50", "+OK"), ("WATCH k", "+OK")]);
            if client.call("GET k").to_string() != "nil" {
                break;
            }
            client.check(&[("UNWATCH", "+OK")]);
        }
        while client.call("GET k").to_string() != "nil" {}
        client.check(&[("MULTI", "+OK"), ("EXEC", "nil-array")]);
        // It is gone for readers, whether or not the keyspace has let go of it.
        client.check(&[
            ("WATCH k", "+OK"),
            ("DEL k", ":0"),
            ("MULTI", "+OK"),
            ("EXEC", "[]"),
        ]);
        server.server().keyspace.cache().maintain();
        client.check(&[("SET k v PX 1", "+OK")]);
        while client.call("GET k").to_string() != "nil" {}
        client.check(&[("WATCH k", "+OK")]);
        server.server().keyspace.cache().maintain();
        client.check(&[("MULTI", "+OK"), ("EXEC", "[]")]);
    });
}

#[test]
fn unwatch_discard_and_exec_end_the_watch() {
    for_any_number_of_threads(|server| {
        let mut client = server.client();
        for end in ["UNWATCH", "DISCARD", "EXEC"] {
            client.check(&[("WATCH a b", "+OK")]);
            if end != "UNWATCH" {
                client.check(&[("MULTI", "+OK")]);
            }
            client.call(end);
            assert!(server.server().observers.watched.is_empty(), "{end}");
            client.check(&[("SET a 1", "+OK"), ("MULTI", "+OK"), ("EXEC", "[]")]);
        }
    });
}

#[test]
fn a_transaction_larger_than_the_limit_closes_its_connection() {
    let server = Running::with(&[("client-query-buffer-limit", "1mb")]);
    let mut client = server.client();
    client.check(&[("MULTI", "+OK")]);
    let value = "x".repeat(100_000);
    for _ in 0..9 {
        let reply = client.call_with(&["SET", "k", &value]);
        assert_eq!(reply.to_string(), "+QUEUED");
    }
    client.send_request(&["SET", "k", &value]);
    client.send_request(&["SET", "k", &value]);
    let rest = String::from_utf8(client.read_to_end()).expect("text");
    assert!(rest.contains("exceeds client-query-buffer-limit"), "{rest}");
    server.client().check(&[("GET k", "nil")]);
}

#[test]
fn clients_that_vanish_within_transactions_leave_nothing() {
    for_any_number_of_threads(|server| {
        for _ in 0..20 {
            let mut client = server.client();
            client.check(&[
                ("WATCH a b c", "+OK"),
                ("MULTI", "+OK"),
                ("SET a 1", "+QUEUED"),
            ]);
            client.send(b"*3\r\n$3\r\nSET\r\n$1\r\n");
        }
        server.await_clients(0);
        assert!(server.server().observers.watched.is_empty());
        assert!(server.server().observers.attention.get().is_empty());
    });
}

#[test]
fn increments_under_watch_are_never_lost() {
    for_any_number_of_threads(|server| {
        let rounds = 200;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = server.client();
                    let mut done = 0;
                    while done < rounds {
                        client.check(&[("WATCH n", "+OK")]);
                        let before = client.call("GET n");
                        let before: u64 = match before.to_string().as_str() {
                            "nil" => 0,
                            _ => before.text().parse().expect("a number"),
                        };
                        client.check(&[("MULTI", "+OK")]);
                        client.call(&format!("SET n {}", before + 1));
                        done += u64::from(client.call("EXEC").to_string() == "[+OK]");
                    }
                });
            }
        });
        server.client().check(&[("GET n", r#""800""#)]);
    });
}
