//! Client-side caching: who hears of which changes, and that no change goes unheard; with one data
//! thread and with two.

use crate::harness::{Client, Running, Value};
use std::thread;

fn for_any_number_of_threads(test: impl Fn(&Running)) {
    for threads in ["1", "2"] {
        test(&Running::with(&[("threads", threads)]));
    }
}

fn in_version_3(server: &Running) -> Client {
    let mut client = server.client();
    client.call("HELLO 3");
    client
}

#[track_caller]
fn expect(client: &mut Client, values: &[&str]) {
    for expected in values {
        assert_eq!(client.read().to_string(), *expected);
    }
}

#[test]
fn a_key_that_was_read_is_invalidated_once() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut writer) = (in_version_3(server), server.client());
        reader.check(&[("CLIENT TRACKING ON", "+OK"), ("GET k", "nil")]);
        writer.check(&[
            ("SET k 1", "+OK"),
            ("SET k 2", "+OK"),
            ("SET unread 1", "+OK"),
        ]);
        expect(&mut reader, &[r#">["invalidate", ["k"]]"#]);
        reader.check(&[("GET k", r#""2""#), ("SET k 3", "+OK")]);
        expect(&mut reader, &[r#">["invalidate", ["k"]]"#]);
        reader.check(&[
            ("CLIENT TRACKING ON NOLOOP", "+OK"),
            ("GET k", r#""3""#),
            ("SET k 4", "+OK"),
            ("GET k", r#""4""#),
            ("CLIENT TRACKING OFF", "+OK"),
        ]);
        writer.check(&[("SET k 5", "+OK")]);
        reader.check(&[("PING", "+PONG")]);
    });
}

#[test]
fn own_changes_are_told_after_the_reply_of_the_whole_transaction() {
    for_any_number_of_threads(|server| {
        let mut client = in_version_3(server);
        client.check(&[("CLIENT TRACKING ON", "+OK"), ("EXISTS a b", ":0")]);
        client.send(b"MULTI\r\nSET a 1\r\nSET b 1\r\nEXEC\r\nPING\r\n");
        expect(
            &mut client,
            &[
                "+OK",
                "+QUEUED",
                "+QUEUED",
                "[+OK, +OK]",
                r#">["invalidate", ["a"]]"#,
                r#">["invalidate", ["b"]]"#,
                "+PONG",
            ],
        );
    });
}

#[test]
fn caching_chooses_the_reads_that_count() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut writer) = (in_version_3(server), server.client());
        reader.check(&[
            ("CLIENT TRACKING ON OPTIN", "+OK"),
            ("GET a", "nil"),
            ("CLIENT CACHING YES", "+OK"),
            ("GET b", "nil"),
            ("GET c", "nil"),
            ("CLIENT CACHING YES", "+OK"),
            ("MULTI", "+OK"),
            ("GET d", "+QUEUED"),
            ("EXEC", "[nil]"),
            ("GET e", "nil"),
        ]);
        for key in ["a", "b", "c", "d", "e"] {
            writer.call(&format!("SET {key} 1"));
        }
        expect(
            &mut reader,
            &[r#">["invalidate", ["b"]]"#, r#">["invalidate", ["d"]]"#],
        );
        reader.check(&[
            ("CLIENT TRACKING OFF", "+OK"),
            ("CLIENT TRACKING ON OPTOUT", "+OK"),
            ("CLIENT CACHING NO", "+OK"),
            ("GET a", r#""1""#),
            ("GET b", r#""1""#),
        ]);
        writer.check(&[("SET a 2", "+OK"), ("SET b 2", "+OK")]);
        expect(&mut reader, &[r#">["invalidate", ["b"]]"#]);
    });
}

#[test]
fn prefixes_are_broadcast() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut writer) = (in_version_3(server), server.client());
        reader.check(&[
            ("CLIENT TRACKING ON BCAST PREFIX a: PREFIX b: NOLOOP", "+OK"),
            ("SET a:own 1", "+OK"),
            (
                "CLIENT TRACKING ON BCAST PREFIX a:b",
                "-ERR Prefix 'a:b' overlaps with an existing prefix 'a:'. Prefixes for a single \
                 client must not overlap.",
            ),
            (
                "CLIENT TRACKINGINFO",
                r#"{"flags": ~["on", "bcast", "noloop"], "redirect": :0, "prefixes": ["a:", "b:"]}"#,
            ),
        ]);
        writer.check(&[
            ("SET a:1 x", "+OK"),
            ("SET c:1 x", "+OK"),
            ("SET b:1 x", "+OK"),
        ]);
        expect(
            &mut reader,
            &[r#">["invalidate", ["a:1"]]"#, r#">["invalidate", ["b:1"]]"#],
        );
        writer.send(b"MULTI\r\nINCR a:3\r\nINCR b:3\r\nINCR a:2\r\nINCR a:3\r\nEXEC\r\n");
        expect(
            &mut reader,
            &[
                r#">["invalidate", ["a:2", "a:3"]]"#,
                r#">["invalidate", ["b:3"]]"#,
            ],
        );
        drop(reader);
        server.await_clients(1);
        assert_eq!(server.server().observers.tracking.prefixes(), 0);
    });
}

#[test]
fn whoever_has_said_goodbye_hears_of_no_key() {
    for_any_number_of_threads(|server| {
        // On whichever thread the one who leaves is, one of these is on another. The goodbye and the
        // change meet by chance only.
        let mut writers = [server.client(), server.client()];
        for round in 0..400 {
            let writer = &mut writers[round % 2];
            let (mut target, mut reader) = (server.client(), server.client());
            let id = target.call("CLIENT ID").integer();
            target.call("SUBSCRIBE __redis__:invalidate");
            reader.call("HELLO 3");
            reader.check(&[(&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK")]);
            reader.call("GET k");
            target.check(&[("QUIT", "+OK")]);
            writer.check(&[(&format!("SET k {round}"), "+OK")]);
            expect(
                &mut reader,
                &[&format!(r#">["tracking-redir-broken", :{id}]"#)],
            );
        }
    });
}

#[test]
fn invalidations_can_go_to_another_client() {
    for_any_number_of_threads(|server| {
        let (mut target, mut reader, mut writer) =
            (server.client(), server.client(), server.client());
        let id = target.call("CLIENT ID").integer();
        target.check(&[(
            "SUBSCRIBE __redis__:invalidate",
            r#"["subscribe", "__redis__:invalidate", :1]"#,
        )]);
        reader.check(&[
            (&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK"),
            ("CLIENT GETREDIR", &format!(":{id}")),
            ("GET k", "nil"),
        ]);
        writer.check(&[("SET k 1", "+OK")]);
        expect(
            &mut target,
            &[r#"["message", "__redis__:invalidate", ["k"]]"#],
        );
        reader.call("HELLO 3");
        reader.check(&[("GET k", r#""1""#)]);
        drop(target);
        server.await_clients(2);
        writer.check(&[("SET k 2", "+OK")]);
        expect(
            &mut reader,
            &[&format!(r#">["tracking-redir-broken", :{id}]"#)],
        );
        reader.check(&[(
            "CLIENT TRACKINGINFO",
            &format!(
                r#"{{"flags": ~["on", "broken_redirect"], "redirect": :{id}, "prefixes": []}}"#
            ),
        )]);
    });
}

#[test]
fn expired_keys_are_invalidated() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut writer) = (in_version_3(server), server.client());
        writer.check(&[("SET k 1 PX 100", "+OK")]);
        reader.check(&[("CLIENT TRACKING ON", "+OK")]);
        reader.call("GET k");
        expect(&mut reader, &[r#">["invalidate", ["k"]]"#]);
    });
}

#[test]
fn keys_beyond_the_bound_are_invalidated() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut admin) = (in_version_3(server), server.client());
        admin.check(&[("CONFIG SET tracking-table-max-keys 2", "+OK")]);
        reader.check(&[
            ("CLIENT TRACKING ON", "+OK"),
            ("GET a", "nil"),
            ("GET b", "nil"),
            ("GET c", "nil"),
        ]);
        let first = reader.read().to_string();
        assert!(
            [r#">["invalidate", ["a"]]"#, r#">["invalidate", ["b"]]"#].contains(&&*first),
            "{first}"
        );
        assert_eq!(server.server().observers.tracking.keys(), 2);
        admin.check(&[("CONFIG SET tracking-table-max-keys 1", "+OK")]);
        reader.read();
        assert_eq!(server.server().observers.tracking.keys(), 1);
    });
}

#[test]
fn trackers_that_vanish_leave_nothing() {
    for_any_number_of_threads(|server| {
        for _ in 0..20 {
            let mut client = in_version_3(server);
            client.check(&[("CLIENT TRACKING ON", "+OK"), ("EXISTS a b c", ":0")]);
        }
        server.await_clients(0);
        let observers = &server.server().observers;
        observers.tracking.sweep();
        // The control thread may be sweeping just now.
        while observers.tracking.items() > 0 {
            thread::yield_now();
        }
        assert_eq!(observers.tracking.keys(), 0);
        assert_eq!(observers.tracking.clients(), 0);
        assert!(observers.attention.get().is_empty());
    });
}

/// Readers keep a cache of one key each and drop it when they are told; a writer counts the key up. If
/// an invalidation were lost, a reader's cache would stay old for good.
#[test]
fn no_invalidation_is_lost_between_readers_and_a_writer() {
    for_any_number_of_threads(|server| {
        let rounds = 2000;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = server.client();
                for round in 1..=rounds {
                    writer.check(&[(&format!("SET k {round}"), "+OK")]);
                }
            });
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut reader = in_version_3(server);
                    reader.check(&[("CLIENT TRACKING ON", "+OK")]);
                    let mut cached;
                    loop {
                        reader.send_request(&["GET", "k"]);
                        loop {
                            match reader.read() {
                                // What was told before the reply is about what was read before.
                                Value::Push(_) => {}
                                reply => {
                                    cached = reply;
                                    break;
                                }
                            }
                        }
                        if cached == Value::Bulk(rounds.to_string().into_bytes()) {
                            break;
                        }
                        // The cache is old, so this must come.
                        assert_eq!(reader.read().to_string(), r#">["invalidate", ["k"]]"#);
                    }
                });
            }
        });
    });
}

#[test]
fn an_invalidation_comes_before_replies_to_what_was_asked_after_the_change() {
    let server = Running::start();
    // Clients are spread over both data threads.
    let mut readers: Vec<_> = (0..2).map(|_| in_version_3(&server)).collect();
    let mut writer = server.client();
    for reader in &mut readers {
        reader.check(&[("CLIENT TRACKING ON", "+OK")]);
    }
    for round in 0..500 {
        for reader in &mut readers {
            reader.call("GET k");
        }
        writer.check(&[(&format!("SET k {round}"), "+OK")]);
        for reader in &mut readers {
            reader.send(b"PING\r\n");
            expect(reader, &[r#">["invalidate", ["k"]]"#, "+PONG"]);
        }
    }
}

#[test]
fn no_registration_outlives_a_flush() {
    for_any_number_of_threads(|server| {
        let (mut reader, mut writer) = (in_version_3(server), server.client());
        let tracking = &server.server().observers.tracking;
        for flush in ["FLUSHALL ASYNC", "FLUSHALL SYNC", "FLUSHDB"] {
            reader.check(&[("CLIENT TRACKING ON", "+OK"), ("MGET a b", "[nil, nil]")]);
            assert_eq!((tracking.keys(), tracking.items()), (2, 2));
            writer.check(&[(flush, "+OK")]);
            assert_eq!((tracking.keys(), tracking.items()), (0, 0), "{flush}");
            expect(&mut reader, &[r#">["invalidate", nil]"#]);
        }
    });
}
