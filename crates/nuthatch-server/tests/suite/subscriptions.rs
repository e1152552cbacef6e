//! Publishing and subscribing, events of keys and monitors; with one data thread and with two.

use crate::harness::{Client, Running};
use nuthatch_server::pubsub::Kind;
use std::thread;

fn for_any_number_of_threads(test: impl Fn(&Running)) {
    for threads in ["1", "2"] {
        test(&Running::with(&[("threads", threads)]));
    }
}

/// Clients of every data thread: they are spread evenly.
fn clients(server: &Running, number: usize) -> Vec<Client> {
    (0..number).map(|_| server.client()).collect()
}

#[track_caller]
fn expect(client: &mut Client, values: &[&str]) {
    for expected in values {
        assert_eq!(client.read().to_string(), *expected);
    }
}

#[test]
fn messages_reach_those_who_have_subscribed() {
    for_any_number_of_threads(|server| {
        let mut publisher = server.client();
        let mut all = clients(server, 4);
        for (index, client) in all.iter_mut().enumerate() {
            if index % 2 == 1 {
                client.call("HELLO 3");
            }
            let sign = if index % 2 == 1 { ">" } else { "" };
            client.send(b"SUBSCRIBE a b\r\nPSUBSCRIBE a*\r\nSSUBSCRIBE a\r\n");
            expect(
                client,
                &[
                    &format!(r#"{sign}["subscribe", "a", :1]"#),
                    &format!(r#"{sign}["subscribe", "b", :2]"#),
                    &format!(r#"{sign}["psubscribe", "a*", :3]"#),
                    &format!(r#"{sign}["ssubscribe", "a", :1]"#),
                ],
            );
        }
        publisher.check(&[
            ("PUBLISH a one", ":8"),
            ("PUBLISH b two", ":4"),
            ("PUBLISH c three", ":0"),
            ("SPUBLISH a four", ":4"),
            ("PUBSUB NUMSUB a b c", r#"["a", :4, "b", :4, "c", :0]"#),
            ("PUBSUB NUMPAT", ":1"),
            ("PUBSUB CHANNELS a*", r#"["a"]"#),
            ("PUBSUB SHARDCHANNELS", r#"["a"]"#),
            ("PUBSUB SHARDNUMSUB a", r#"["a", :4]"#),
        ]);
        for (index, client) in all.iter_mut().enumerate() {
            let sign = if index % 2 == 1 { ">" } else { "" };
            expect(
                client,
                &[
                    &format!(r#"{sign}["message", "a", "one"]"#),
                    &format!(r#"{sign}["pmessage", "a*", "a", "one"]"#),
                    &format!(r#"{sign}["message", "b", "two"]"#),
                    &format!(r#"{sign}["smessage", "a", "four"]"#),
                ],
            );
        }
    });
}

#[test]
fn a_subscriber_of_version_2_can_only_subscribe_until_it_has_left() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("UNSUBSCRIBE", r#"["unsubscribe", nil, :0]"#),
        ("SUBSCRIBE a", r#"["subscribe", "a", :1]"#),
        ("PING", r#"["pong", ""]"#),
        (
            "GET a",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context",
        ),
        ("UNSUBSCRIBE a", r#"["unsubscribe", "a", :0]"#),
        ("GET a", "nil"),
        ("SUBSCRIBE a", r#"["subscribe", "a", :1]"#),
        ("RESET", "+RESET"),
        ("GET a", "nil"),
    ]);
    assert!(server.server().observers.pubsub.is_empty());
}

#[test]
fn what_a_client_publishes_to_itself_follows_its_reply() {
    for_any_number_of_threads(|server| {
        let mut client = server.client();
        client.call("HELLO 3");
        client.check(&[("SUBSCRIBE a", r#">["subscribe", "a", :1]"#)]);
        client.send(b"PUBLISH a 1\r\nMULTI\r\nPUBLISH a 2\r\nPING\r\nEXEC\r\nPING\r\n");
        expect(
            &mut client,
            &[
                ":1",
                r#">["message", "a", "1"]"#,
                "+OK",
                "+QUEUED",
                "+QUEUED",
                "[:1, +PONG]",
                r#">["message", "a", "2"]"#,
                "+PONG",
            ],
        );
        client.send(b"CLIENT REPLY OFF\r\nPUBLISH a 3\r\nCLIENT REPLY ON\r\n");
        expect(&mut client, &[r#">["message", "a", "3"]"#, "+OK"]);
    });
}

#[test]
fn messages_of_one_publisher_keep_their_order_beside_replies() {
    for_any_number_of_threads(|server| {
        let rounds = 3000;
        let mut subscriber = server.client();
        subscriber.call("HELLO 3");
        subscriber.check(&[("SUBSCRIBE a", r#">["subscribe", "a", :1]"#)]);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = server.client();
                for round in 0..rounds {
                    publisher.send_request(&["PUBLISH", "a", &round.to_string()]);
                }
                for _ in 0..rounds {
                    assert_eq!(publisher.read().to_string(), ":1");
                }
            });
            let (mut sent, mut replies, mut messages) = (0, 0, 0);
            while messages < rounds || replies < sent {
                if sent < rounds && sent - replies < 50 {
                    subscriber.send_request(&["ECHO", "echo"]);
                    sent += 1;
                }
                match subscriber.read().to_string().as_str() {
                    r#""echo""# => replies += 1,
                    message => {
                        assert_eq!(message, format!(r#">["message", "a", "{messages}"]"#));
                        messages += 1;
                    }
                }
            }
        });
    });
}

#[test]
fn after_unsubscribing_no_message_stands_among_replies() {
    for_any_number_of_threads(|server| {
        thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let mut publisher = server.client();
                while publisher.call("EXISTS stop").integer() == 0 {
                    publisher.call("PUBLISH a x");
                }
            });
            let mut client = server.client();
            for _ in 0..300 {
                client.check(&[("SUBSCRIBE a", r#"["subscribe", "a", :1]"#)]);
                client.send(b"UNSUBSCRIBE a\r\n");
                while client.read().elements()[0].text() != "unsubscribe" {}
                client.check(&[("GET a", "nil")]);
            }
            client.check(&[("SET stop 1", "+OK")]);
            publisher.join().expect("it stops");
        });
    });
}

#[test]
fn subscribers_that_do_not_read_are_dropped_at_their_limit() {
    let server = Running::with(&[("client-output-buffer-limit", "pubsub 1mb 0 0")]);
    let mut slow = server.client();
    slow.check(&[("SUBSCRIBE a", r#"["subscribe", "a", :1]"#)]);
    let mut publisher = server.client();
    let message = "x".repeat(100_000);
    while publisher.call_with(&["PUBLISH", "a", &message]).integer() == 1 {}
    server.await_clients(1);
    assert!(server.server().observers.pubsub.is_empty());
}

#[test]
fn monitors_that_do_not_read_are_dropped_at_the_limit_of_replicas() {
    let server = Running::with(&[("client-output-buffer-limit", "replica 1mb 0 0")]);
    let mut slow = server.client();
    slow.check(&[("MONITOR", "+OK")]);
    let mut client = server.client();
    let message = "x".repeat(100_000);
    while !server.server().observers.monitors.is_empty() {
        client.call_with(&["ECHO", &message]);
    }
    server.await_clients(1);
    assert!(server.server().observers.attention.get().is_empty());
}

#[test]
fn subscribers_that_vanish_leave_nothing() {
    for_any_number_of_threads(|server| {
        for _ in 0..20 {
            let mut client = server.client();
            client.send(b"SUBSCRIBE a b\r\nPSUBSCRIBE *\r\nSSUBSCRIBE s\r\nMONITOR\r\nSUBSCR");
            client.read();
        }
        server.await_clients(0);
        let observers = &server.server().observers;
        for kind in Kind::ALL {
            assert_eq!(observers.pubsub.len(kind), 0, "{kind:?}");
        }
        assert!(observers.monitors.is_empty());
        assert!(observers.attention.get().is_empty());
    });
}

#[test]
fn events_of_keys_are_published_as_wanted() {
    for_any_number_of_threads(|server| {
        let mut listener = server.client();
        listener.check(&[("PSUBSCRIBE __key*", r#"["psubscribe", "__key*", :1]"#)]);
        let mut client = server.client();
        client.check(&[
            ("SET silent 1", "+OK"),
            ("CONFIG SET notify-keyspace-events KE$g", "+OK"),
            (
                "CONFIG GET notify-keyspace-events",
                r#"["notify-keyspace-events", "g$KE"]"#,
            ),
            ("SET k 1", "+OK"),
            ("DEL k", ":1"),
            ("CONFIG SET notify-keyspace-events Ex", "+OK"),
            ("SET k 1 PX 1", "+OK"),
        ]);
        let event = |channel: &str, text: &str| {
            format!(r#"["pmessage", "__key*", "__{channel}", "{text}"]"#)
        };
        for expected in [
            event("keyspace@0__:k", "set"),
            event("keyevent@0__:set", "k"),
            event("keyspace@0__:k", "del"),
            event("keyevent@0__:del", "k"),
            event("keyevent@0__:expired", "k"),
        ] {
            assert_eq!(listener.read().to_string(), expected);
        }
    });
}

#[test]
fn monitors_see_commands_but_no_secrets() {
    for_any_number_of_threads(|server| {
        let mut monitor = server.client();
        monitor.check(&[
            ("MONITOR", "+OK"),
            ("GET a", "-ERR Replica can't interact with the keyspace"),
        ]);
        let mut client = server.client();
        client.call_with(&["SET", "a b", "\"\n\x01"]);
        client.call("AUTH user secret");
        client.call("HELLO 2 AUTH user secret SETNAME me");
        client.call("CLIENT LIST");
        client.call("MULTI");
        client.call("GET x");
        client.call("EXEC");
        for expected in [
            r#""SET" "a b" "\"\n\x01""#,
            r#""AUTH" "(redacted)" "(redacted)""#,
            r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "me""#,
            r#""MULTI""#,
            r#""GET" "x""#,
            r#""EXEC""#,
        ] {
            let line = monitor.read().text();
            let (head, rest) = line.split_once("] ").expect("an address");
            assert_eq!(rest, expected);
            assert!(head.contains(" [0 127.0.0.1:"), "{head}");
        }
    });
}
