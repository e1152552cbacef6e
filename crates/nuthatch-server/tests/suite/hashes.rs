//! Commands of hashes: requests and their replies, in both forms of a hash and both versions of the
//! protocol.

use crate::harness::{PATIENCE, Running, Value};
use std::collections::BTreeSet;
use std::time::Instant;

const NUMFIELDS: &str =
    "-ERR numfields should be greater than 0 and match the provided number of fields";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// Runs a test where hashes stay flat, and where they are indexed from the first field on.
fn for_both_forms(test: impl Fn(&Running)) {
    for entries in ["512", "0"] {
        for threads in ["1", "2"] {
            let settings = [("hash-max-listpack-entries", entries), ("threads", threads)];
            test(&Running::with(&settings));
        }
    }
}

#[test]
fn fields_are_set_read_and_removed() {
    for_both_forms(|server| {
        server.client().check(&[
            ("HSET h a 1 b 2", ":2"),
            ("HSET h a 3 c 4", ":1"),
            (
                "HSET h d",
                "-ERR wrong number of arguments for 'hset' command",
            ),
            (
                "HSET h d 1 e",
                "-ERR wrong number of arguments for 'hset' command",
            ),
            (
                "HMSET h d 1 e",
                "-ERR wrong number of arguments for 'hmset' command",
            ),
            ("HMSET h d 5 d 6", "+OK"),
            ("HGET h d", r#""6""#),
            ("HGET h x", "nil"),
            ("HGET x a", "nil"),
            ("HMGET h a x b", r#"["3", nil, "2"]"#),
            ("HMGET x a b", "[nil, nil]"),
            ("HLEN h", ":4"),
            ("HLEN x", ":0"),
            ("HEXISTS h a", ":1"),
            ("HEXISTS h x", ":0"),
            ("HSTRLEN h a", ":1"),
            ("HSTRLEN h x", ":0"),
            ("HSETNX h a 9", ":0"),
            ("HSETNX h e 9", ":1"),
            ("HDEL h e e x", ":1"),
            ("HGETALL h", r#"["a", "3", "b", "2", "c", "4", "d", "6"]"#),
            ("HKEYS h", r#"["a", "b", "c", "d"]"#),
            ("HVALS h", r#"["3", "2", "4", "6"]"#),
            ("HGETDEL h FIELDS 3 a a x", r#"["3", nil, nil]"#),
            ("HGETDEL h FIELDS 2 a", NUMFIELDS),
            ("HGETDEL h FIELDS 0 a", NUMFIELDS),
            ("HGETDEL h FIELD 1 a", "-ERR syntax error"),
            ("HGETDEL x FIELDS 1 a", "[nil]"),
            ("HGETALL x", "[]"),
            ("HKEYS x", "[]"),
            ("HDEL h b c d", ":3"),
            ("EXISTS h", ":0"),
        ]);
    });
}

#[test]
fn numbers_are_added_to_fields() {
    for_both_forms(|server| {
        server.client().check(&[
            ("HINCRBY h n 5", ":5"),
            ("HINCRBY h n -7", ":-2"),
            ("HSET h max 9223372036854775807 text x space \" 1\"", ":3"),
            (
                "HINCRBY h max 1",
                "-ERR increment or decrement would overflow",
            ),
            ("HINCRBY h text 1", "-ERR hash value is not an integer"),
            ("HINCRBY h space 1", "-ERR hash value is not an integer"),
            (
                "HINCRBY h n 1.5",
                "-ERR value is not an integer or out of range",
            ),
            ("HINCRBYFLOAT h n 0.5", r#""-1.5""#),
            ("HINCRBYFLOAT h f 0.1", r#""0.1""#),
            ("HINCRBYFLOAT h f 0.2", r#""0.3""#),
            ("HINCRBYFLOAT h text 1", "-ERR hash value is not a float"),
            ("HINCRBYFLOAT h n x", "-ERR value is not a valid float"),
            ("HINCRBYFLOAT h n inf", "-ERR value is NaN or Infinity"),
            ("HPEXPIREAT h 9000000000000 FIELDS 1 n", "[:1]"),
            ("HINCRBYFLOAT h n 2.5", r#""1""#),
            ("HINCRBY h n 1", ":2"),
            ("HPEXPIRETIME h FIELDS 1 n", "[:9000000000000]"),
        ]);
    });
}

#[test]
fn strings_and_hashes_are_told_apart() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("SET s v", "+OK"),
        ("HSET h f v", ":1"),
        ("GET h", WRONG_TYPE),
    ]);
    client.check(&[("INCR h", WRONG_TYPE), ("SET h v GET", WRONG_TYPE)]);
    let requests = [
        "HSET s f v",
        "HMSET s f v",
        "HSETNX s f v",
        "HGET s f",
        "HMGET s f",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HDEL s f",
        "HGETDEL s FIELDS 1 f",
        "HEXISTS s f",
        "HLEN s",
        "HSTRLEN s f",
        "HINCRBY s f 1",
        "HINCRBYFLOAT s f 1",
        "HRANDFIELD s",
        "HRANDFIELD s 1",
        "HSCAN s 0",
        "HSETEX s FIELDS 1 f v",
        "HGETEX s FIELDS 1 f",
        "HEXPIRE s 1 FIELDS 1 f",
        "HPEXPIRE s 1 FIELDS 1 f",
        "HEXPIREAT s 1 FIELDS 1 f",
        "HPEXPIREAT s 1 FIELDS 1 f",
        "HPERSIST s FIELDS 1 f",
        "HTTL s FIELDS 1 f",
        "HPTTL s FIELDS 1 f",
        "HEXPIRETIME s FIELDS 1 f",
        "HPEXPIRETIME s FIELDS 1 f",
    ];
    for request in requests {
        client.check(&[(request, WRONG_TYPE)]);
    }
    client.check(&[("GET s", r#""v""#), ("SET h v", "+OK"), ("GET h", r#""v""#)]);
}

#[test]
fn deadlines_of_fields_are_set_under_conditions() {
    for_both_forms(|server| {
        server.client().check(&[
            ("HSET h a 1 b 2", ":2"),
            ("HPEXPIREAT h 9000000000000 XX FIELDS 1 a", "[:0]"),
            ("HPEXPIREAT h 9000000000000 GT FIELDS 1 a", "[:0]"),
            ("HPEXPIREAT h 9000000000000 LT FIELDS 2 a x", "[:1, :-2]"),
            ("HPEXPIREAT h 9000000001000 NX FIELDS 1 a", "[:0]"),
            ("HPEXPIREAT h 9000000001000 LT FIELDS 1 a", "[:0]"),
            ("HPEXPIREAT h 9000000001000 GT FIELDS 2 a a", "[:1, :0]"),
            ("HPEXPIREAT h 9000000002000 XX FIELDS 2 a b", "[:1, :0]"),
            (
                "HPEXPIRETIME h FIELDS 3 a b x",
                "[:9000000002000, :-1, :-2]",
            ),
            ("HEXPIRETIME h FIELDS 1 a", "[:9000000002]"),
            ("HEXPIREAT h 9000000003 FIELDS 1 a", "[:1]"),
            ("HPEXPIRETIME h FIELDS 1 a", "[:9000000003000]"),
            ("HPERSIST h FIELDS 4 a a b x", "[:1, :-1, :-1, :-2]"),
            ("HTTL h FIELDS 1 a", "[:-1]"),
            ("HTTL x FIELDS 1 a", "[:-2]"),
            ("HEXPIRE h 100 FIELDS 1 a", "[:1]"),
            ("HTTL h FIELDS 1 a", "[:100]"),
            ("HSET h a 3", ":0"),
            ("HTTL h FIELDS 1 a", "[:-1]"),
            ("HEXPIRE h 0 FIELDS 2 a a", "[:2, :-2]"),
            ("HEXPIREAT h 1 GT FIELDS 1 b", "[:0]"),
            ("HEXISTS h b", ":1"),
            ("HPEXPIREAT h 1 FIELDS 1 b", "[:2]"),
            ("EXISTS h", ":0"),
            ("HEXPIRE x 1 FIELDS 1 a", "[:-2]"),
        ]);
    });
}

#[test]
fn requests_for_deadlines_that_make_no_sense_are_errors() {
    let server = Running::start();
    let numbers = "-ERR value is not an integer or out of range";
    server.client().check(&[
        ("HSET h a 1", ":1"),
        (
            "HEXPIRE h -1 FIELDS 1 a",
            "-ERR invalid expire time in 'hexpire' command",
        ),
        (
            "HPEXPIRE h 9223372036854775807 FIELDS 1 a",
            "-ERR invalid expire time in 'hpexpire' command",
        ),
        ("HEXPIRE h x FIELDS 1 a", numbers),
        ("HEXPIRE h 1 FIELDS x a", numbers),
        ("HEXPIRE h 1 FIELDS 2 a", NUMFIELDS),
        ("HEXPIRE h 1 FIELDS -1 a", NUMFIELDS),
        ("HEXPIRE h 1 a b c", NUMFIELDS),
        ("HEXPIRE h 1 ZZ FIELDS 1 a", "-ERR Unsupported option ZZ"),
        (
            "HEXPIRE h 1 NX GT FIELDS 1 a",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "HEXPIRE h 1 GT LT FIELDS 1 a",
            "-ERR GT and LT options at the same time are not compatible",
        ),
        ("HTTL h FIELDS 2 a", "-ERR syntax error"),
        ("HTTL h FIELD 1 a", "-ERR syntax error"),
        ("HPERSIST h FIELDS 2 a", NUMFIELDS),
        ("HGETEX h EX 1 PX 1 FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h EX FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h KEEPTTL FIELDS 1 a", "-ERR syntax error"),
        (
            "HGETEX h EX -1 FIELDS 1 a",
            "-ERR invalid expire time in 'hgetex' command",
        ),
        ("HGETEX h EX 1 a b c", NUMFIELDS),
        ("HSETEX h PERSIST FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h NX XX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h EX 1 KEEPTTL FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h FIELDS 2 a 1 b", NUMFIELDS),
        ("HSETEX h EX x FIELDS 1 a 1", numbers),
        ("HTTL h FIELDS 1 a", "[:-1]"),
    ]);
}

#[test]
fn fields_are_set_and_read_with_deadlines() {
    for_both_forms(|server| {
        server.client().check(&[
            ("HSETEX h XX FIELDS 1 a 1", ":0"),
            ("HSETEX h FXX FIELDS 1 a 1", ":0"),
            ("EXISTS h", ":0"),
            ("HSETEX h NX FNX EXAT 9000000000 FIELDS 2 a 1 b 2", ":1"),
            ("HSETEX h NX FIELDS 1 a 9", ":0"),
            ("HSETEX h FNX FIELDS 2 c 3 a 9", ":0"),
            ("HSETEX h FXX FIELDS 2 a 9 c 3", ":0"),
            ("HMGET h a b c", r#"["1", "2", nil]"#),
            ("HSETEX h XX FXX KEEPTTL FIELDS 1 a 4", ":1"),
            ("HSETEX h FIELDS 1 b 5", ":1"),
            ("HEXPIRETIME h FIELDS 2 a b", "[:9000000000, :-1]"),
            ("HGETEX h PXAT 9000000001000 FIELDS 2 b x", r#"["5", nil]"#),
            ("HPEXPIRETIME h FIELDS 1 b", "[:9000000001000]"),
            ("HGETEX h PERSIST FIELDS 1 b", r#"["5"]"#),
            ("HTTL h FIELDS 1 b", "[:-1]"),
            ("HGETEX h FIELDS 2 a b", r#"["4", "5"]"#),
            ("HGETEX h EX 0 FIELDS 2 a a", r#"["4", nil]"#),
            ("HSETEX h EX 0 FIELDS 2 b 1 c 1", ":1"),
            ("EXISTS h", ":0"),
            ("HGETEX h EX 1 FIELDS 1 a", "[nil]"),
        ]);
    });
}

/// Waits until a request has this reply.
fn await_reply(server: &Running, request: &str, reply: &str) {
    let mut client = server.client();
    let patience = Instant::now() + PATIENCE;
    loop {
        let last = client.call(request).to_string();
        if last == reply {
            return;
        }
        assert!(
            Instant::now() < patience,
            "{request} is {last}, not {reply}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn fields_that_are_due_are_removed_though_nobody_asks_for_them() {
    for_both_forms(|server| {
        let mut client = server.client();
        client.check(&[
            ("HSET h stays 1", ":1"),
            ("HSETEX h PX 1 FIELDS 2 a 1 b 2", ":1"),
            ("HSETEX gone PX 1 FIELDS 1 a 1", ":1"),
            ("HSETEX later PX 1 FIELDS 1 a 1", ":1"),
            ("HSETEX later EX 1000 FIELDS 1 b 2", ":1"),
        ]);
        // `HLEN` counts what is there, due or not.
        await_reply(server, "HLEN h", ":1");
        await_reply(server, "EXISTS gone", ":0");
        await_reply(server, "HLEN later", ":1");
        client.check(&[("HGETALL h", r#"["stays", "1"]"#)]);
        assert_eq!(server.server().keyspace.field_deadlines.len(), 1);
        let count = |client: &mut crate::harness::Client| {
            let info = client.call("INFO stats").text();
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix("expired_fields:"));
            line.map(str::to_owned)
        };
        // A field is counted a moment after it is gone.
        let patience = Instant::now() + PATIENCE;
        while count(&mut client).as_deref() != Some("4") {
            assert!(Instant::now() < patience, "{:?}", count(&mut client));
        }
        client.check(&[("CONFIG RESETSTAT", "+OK")]);
        assert_eq!(count(&mut client).as_deref(), Some("0"));
    });
}

#[test]
fn a_field_that_is_due_is_as_one_that_does_not_exist() {
    for_both_forms(|server| {
        server
            .server()
            .is_expiring
            .store(false, std::sync::atomic::Ordering::Relaxed);
        let mut client = server.client();
        client.check(&[("HSETEX h PX 1 FIELDS 3 a 1 b 2 c 3", ":1")]);
        await_reply(server, "HTTL h FIELDS 3 a b c", "[:-2, :-2, :-2]");
        client.check(&[
            ("HLEN h", ":3"),
            ("HGET h a", "nil"),
            ("HGETALL h", "[]"),
            ("HSCAN h 0", r#"["0", []]"#),
            ("HRANDFIELD h", "nil"),
            ("HRANDFIELD h -5", "[]"),
            ("HRANDFIELD h 5", "[]"),
            ("HEXPIRE h 100 FIELDS 1 a", "[:-2]"),
            ("HPERSIST h FIELDS 1 a", "[:-2]"),
            ("HSETNX h a 4", ":1"),
            ("HTTL h FIELDS 1 a", "[:-1]"),
            ("HINCRBY h b 5", ":5"),
            ("HDEL h c", ":0"),
            ("HGETALL h", r#"["a", "4", "b", "5"]"#),
            ("HLEN h", ":2"),
        ]);
    });
}

#[test]
fn fields_are_chosen_at_random() {
    for_both_forms(|server| {
        let mut client = server.client();
        client.check(&[
            ("HRANDFIELD x", "nil"),
            ("HRANDFIELD x 3", "[]"),
            ("HSET h a 1 b 2 c 3", ":3"),
            ("HRANDFIELD h 0", "[]"),
            (
                "HRANDFIELD h x",
                "-ERR value is not an integer or out of range",
            ),
            ("HRANDFIELD h 1 VALUES", "-ERR syntax error"),
            ("HRANDFIELD h 1 WITHVALUES x", "-ERR syntax error"),
            (
                "HRANDFIELD h -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807",
            ),
            (
                "HRANDFIELD h -9223372036854775807 WITHVALUES",
                "-ERR value is out of range",
            ),
        ]);
        let texts =
            |value: &Value| -> Vec<String> { value.elements().iter().map(Value::text).collect() };
        let all = texts(&client.call("HRANDFIELD h 9"));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(texts(&client.call("HRANDFIELD h -9")).len(), 9);
        let two = texts(&client.call("HRANDFIELD h 2 WITHVALUES"));
        assert_eq!(two.len(), 4);
        assert_ne!(two[0], two[2]);
        let one = client.call("HRANDFIELD h").text();
        assert!(all.contains(&one));
    });
}

#[test]
fn version_3_has_maps_and_pairs() {
    let server = Running::start();
    let mut client = server.client();
    client.call("HELLO 3");
    client.check(&[
        ("HSET h a 1", ":1"),
        ("HGETALL h", r#"{"a": "1"}"#),
        ("HGETALL x", "{}"),
        ("HRANDFIELD h 2 WITHVALUES", r#"[["a", "1"]]"#),
        ("HRANDFIELD h -2 WITHVALUES", r#"[["a", "1"], ["a", "1"]]"#),
        ("HRANDFIELD h 1", r#"["a"]"#),
        ("HSCAN h 0", r#"["0", ["a", "1"]]"#),
    ]);
}

#[test]
fn scans_take_patterns_and_counts() {
    for_both_forms(|server| {
        let mut client = server.client();
        client.check(&[
            ("HSCAN x 0", r#"["0", []]"#),
            ("HSCAN x y", "-ERR invalid cursor"),
            ("HSET h a1 1 a2 2 b1 3", ":3"),
            ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
            (
                "HSCAN h 0 COUNT x",
                "-ERR value is not an integer or out of range",
            ),
            ("HSCAN h 0 MATCH", "-ERR syntax error"),
            ("HSCAN h 0 MATCH b* COUNT 100", r#"["0", ["b1", "3"]]"#),
            ("HSCAN h 0 NOVALUES MATCH b*", r#"["0", ["b1"]]"#),
            (
                "HSCAN h 18446744073709551615 MATCH b* NOVALUES",
                r#"["0", ["b1"]]"#,
            ),
        ]);
        let fields: Vec<String> = (0..200).map(|field| format!(" {field} v")).collect();
        client.call(&format!("HSET many{}", fields.concat()));
        let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let reply = client.call(&format!("HSCAN many {cursor} COUNT 7 NOVALUES"));
            let [next, fields] = reply.elements() else {
                panic!("a cursor and fields were expected, not {reply}");
            };
            seen.extend(fields.elements().iter().map(Value::text));
            cursor = next.text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 200);
    });
}

#[test]
fn a_write_to_a_hash_breaks_a_transaction_that_watches_it() {
    for_both_forms(|server| {
        let (mut watcher, mut other) = (server.client(), server.client());
        let writes = [
            ("HSET h a 2", ":0"),
            ("HEXPIRE h 1000 FIELDS 1 a", "[:1]"),
            ("HDEL h a", ":1"),
        ];
        for (write, reply) in writes {
            watcher.check(&[
                ("HSET h a 1 b 1", ":2"),
                ("WATCH h", "+OK"),
                ("MULTI", "+OK"),
            ]);
            other.check(&[(write, reply)]);
            watcher.check(&[("HGETALL h", "+QUEUED"), ("EXEC", "nil-array")]);
            watcher.check(&[("DEL h", ":1")]);
        }
        watcher.check(&[
            ("HSETEX h PX 1 FIELDS 1 a 1", ":1"),
            ("WATCH h", "+OK"),
            ("MULTI", "+OK"),
        ]);
        await_reply(server, "EXISTS h", ":0");
        watcher.check(&[("HGETALL h", "+QUEUED"), ("EXEC", "nil-array")]);
    });
}

#[test]
fn events_are_published_in_the_order_of_what_happens() {
    for_both_forms(|server| {
        let (mut client, mut listener) = (server.client(), server.client());
        client.check(&[("CONFIG SET notify-keyspace-events Khg", "+OK")]);
        listener.call("SUBSCRIBE __keyspace@0__:h");
        let mut expect = |request: &str, reply: &str, events: &[&str]| {
            client.check(&[(request, reply)]);
            for event in events {
                let push = listener.read();
                assert_eq!(push.elements()[2].text(), *event, "after {request}");
            }
        };
        expect("HSET h a 1 b 2 c 3", ":3", &["hset"]);
        expect("HINCRBY h a 1", ":2", &["hincrby"]);
        expect("HINCRBYFLOAT h a 1", "\"3\"", &["hincrbyfloat"]);
        expect("HSETNX h a 1", ":0", &[]);
        expect("HSETEX h EX 1000 FIELDS 1 a 1", ":1", &["hset", "hexpire"]);
        expect("HEXPIRE h 1000 FIELDS 1 x", "[:-2]", &[]);
        expect("HEXPIRE h 1000 FIELDS 2 a x", "[:1, :-2]", &["hexpire"]);
        expect("HPERSIST h FIELDS 1 a", "[:1]", &["hpersist"]);
        expect("HGETEX h EX 1000 FIELDS 1 a", "[\"1\"]", &["hexpire"]);
        expect("HGETEX h PERSIST FIELDS 1 a", "[\"1\"]", &["hpersist"]);
        expect("HGETEX h FIELDS 1 a", "[\"1\"]", &[]);
        expect("HDEL h x", ":0", &[]);
        expect("HDEL h a", ":1", &["hdel"]);
        let gone = ["hset", "hexpire", "hexpired"];
        expect("HSETEX h EX 0 FIELDS 1 b 1", ":1", &gone);
        expect("HEXPIRE h 0 FIELDS 1 c", "[:2]", &["hexpired", "del"]);
        expect("HSET h a 1", ":1", &["hset"]);
        expect("HGETDEL h FIELDS 1 a", "[\"1\"]", &["hdel", "del"]);
        let soon = ["hset", "hexpire", "hexpired", "del"];
        expect("HSETEX h PX 1 FIELDS 1 a 1", ":1", &soon);
    });
}
