//! Commands of keys, whatever they hold.

use crate::harness::{Running, Value};
use std::collections::HashSet;

#[test]
fn keys_expire_as_the_options_allow() {
    let server = Running::start();
    server.client().check(&[
        ("SET k v", "+OK"),
        ("TTL k", ":-1"),
        ("PTTL none", ":-2"),
        ("EXPIRETIME none", ":-2"),
        ("EXPIRE none 10", ":0"),
        ("EXPIRE k 100 XX", ":0"),
        ("EXPIRE k 100 GT", ":0"),
        ("EXPIRE k 100 NX", ":1"),
        ("EXPIRE k 200 NX", ":0"),
        ("EXPIRE k 50 GT", ":0"),
        ("EXPIRE k 200 GT", ":1"),
        ("PEXPIRE k 300000 LT", ":0"),
        ("PEXPIRE k 150000 lt xx", ":1"),
        ("TTL k", ":150"),
        ("PERSIST k", ":1"),
        ("PERSIST k", ":0"),
        ("EXPIRE k 100 LT", ":1"),
        ("EXPIREAT k 4000000000", ":1"),
        ("PEXPIRETIME k", ":4000000000000"),
        ("PEXPIREAT k 4000000000499", ":1"),
        ("EXPIRETIME k", ":4000000000"),
        ("PEXPIREAT k 9223372036854775807", ":1"),
        ("EXPIRE k 100 GT", ":0"),
        (
            "EXPIRE k 10 NX XX",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "EXPIRE k 10 GT LT",
            "-ERR GT and LT options at the same time are not compatible",
        ),
        ("EXPIRE k 10 AB", "-ERR Unsupported option AB"),
        (
            "EXPIRE k 9223372036854775807",
            "-ERR invalid expire time in 'expire' command",
        ),
        (
            "PEXPIRE k 9223372036854775807",
            "-ERR invalid expire time in 'pexpire' command",
        ),
        ("EXPIRE k x", "-ERR value is not an integer or out of range"),
        ("EXPIRE k -1", ":1"),
        ("EXISTS k", ":0"),
        ("SET k v", "+OK"),
        ("EXPIREAT k 1", ":1"),
        ("GET k", "nil"),
    ]);
}

#[test]
fn keys_are_renamed_and_copied_with_value_and_time_to_live() {
    let server = Running::start();
    server.client().check(&[
        ("SET a v EX 100", "+OK"),
        ("RENAME a b", "+OK"),
        ("MGET a b", r#"[nil, "v"]"#),
        ("TTL b", ":100"),
        ("RENAME a b", "-ERR no such key"),
        ("RENAME b b", "+OK"),
        ("RENAMENX b b", ":0"),
        ("SET c w", "+OK"),
        ("RENAMENX b c", ":0"),
        ("RENAMENX b d", ":1"),
        ("RENAME c d", "+OK"),
        ("TTL d", ":-1"),
        ("GET d", r#""w""#),
        ("HSET h f v g w", ":2"),
        ("EXPIRE h 100", ":1"),
        ("RENAME h i", "+OK"),
        ("HGET i g", r#""w""#),
        ("COPY i d", ":0"),
        ("COPY i d REPLACE", ":1"),
        ("HGET d f", r#""v""#),
        ("TTL d", ":100"),
        ("HSET d f other", ":0"),
        ("HGET i f", r#""v""#),
        ("COPY none x", ":0"),
        ("COPY i x DB 0", ":1"),
        ("COPY i x DB 1", "-ERR DB index is out of range"),
        ("COPY i x DB", "-ERR syntax error"),
        (
            "COPY i i",
            "-ERR source and destination objects are the same",
        ),
        (
            "MOVE i 0",
            "-ERR source and destination objects are the same",
        ),
        ("MOVE i 1", "-ERR DB index is out of range"),
    ]);
}

#[test]
fn a_large_hash_keeps_all_fields_under_another_name() {
    let server = Running::start();
    let mut client = server.client();
    for field in 0..2_000 {
        client.call(&format!("HSET h f{field} {field}"));
    }
    client.check(&[
        ("OBJECT ENCODING h", r#""hashtable""#),
        ("COPY h c", ":1"),
        ("RENAME h r", "+OK"),
        ("EXISTS h", ":0"),
        ("HLEN c", ":2000"),
        ("HLEN r", ":2000"),
        ("HSET c f7 other", ":0"),
        ("HGET r f7", r#""7""#),
    ]);
}

#[test]
fn keys_are_counted_listed_and_removed() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("RANDOMKEY", "nil"),
        ("MSET a1 1 a2 2 b1 3", "+OK"),
        ("HSET h f v", ":1"),
        ("EXISTS a1 a1 none h", ":3"),
        ("TOUCH a1 a1 none", ":2"),
        ("TYPE a1", "+string"),
        ("TYPE h", "+hash"),
        ("TYPE none", "+none"),
        ("DBSIZE", ":4"),
        ("KEYS none*", "[]"),
        ("KEYS b1", r#"["b1"]"#),
        ("KEYS b?", r#"["b1"]"#),
        ("DEL a1 none a1", ":1"),
        ("UNLINK a2 h", ":2"),
        ("RANDOMKEY", r#""b1""#),
        ("KEYS *", r#"["b1"]"#),
        ("FLUSHALL NOW", "-ERR syntax error"),
        ("FLUSHALL ASYNC", "+OK"),
        ("DBSIZE", ":0"),
        ("SET k v", "+OK"),
        ("FLUSHDB", "+OK"),
        ("DBSIZE", ":0"),
    ]);
}

#[test]
fn a_scan_sees_every_key_that_matches() {
    let server = Running::start();
    let mut client = server.client();
    for key in 0..1_000 {
        client.call(&format!("SET k{key} v"));
    }
    client.call("HSET h1 f v");
    let mut scan = |options: &str| {
        let (mut cursor, mut keys) = ("0".to_owned(), HashSet::new());
        loop {
            let reply = client.call(&format!("SCAN {cursor} {options}"));
            let [next, found] = reply.elements() else {
                panic!("a cursor and keys");
            };
            keys.extend(found.elements().iter().map(Value::text));
            cursor = next.text();
            if cursor == "0" {
                return keys.len();
            }
        }
    };
    assert_eq!(scan(""), 1_001);
    assert_eq!(scan("COUNT 1000"), 1_001);
    assert_eq!(scan("MATCH k?"), 10);
    assert_eq!(scan("TYPE hash"), 1);
    assert_eq!(scan("MATCH *1 TYPE string COUNT 100"), 100);
    assert_eq!(scan("TYPE list"), 0);
    client.check(&[
        ("SCAN x", "-ERR invalid cursor"),
        ("SCAN -1", "-ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        (
            "SCAN 0 COUNT x",
            "-ERR value is not an integer or out of range",
        ),
        ("SCAN 0 TYPE tree", "-ERR unknown type name 'tree'"),
        ("SCAN 0 MATCH", "-ERR syntax error"),
        ("SCAN 18446744073709551615", r#"["0", []]"#),
    ]);
}

#[test]
fn one_call_scans_all_of_few_keys() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("SCAN 0", r#"["0", []]"#),
        ("SET k v", "+OK"),
        ("SCAN 0", r#"["0", ["k"]]"#),
        ("SCAN 0 MATCH x*", r#"["0", []]"#),
    ]);
    // The tables keep their size.
    for key in 0..5_000 {
        client.call(&format!("SET {key} v"));
    }
    client.check(&[
        ("FLUSHALL", "+OK"),
        ("SET k v", "+OK"),
        ("SCAN 0", r#"["0", ["k"]]"#),
    ]);
}

#[test]
fn objects_tell_what_redis_would() {
    let server = Running::start();
    let mut client = server.client();
    client.call_with(&["SET", "raw", &"x".repeat(45)]);
    client.call_with(&["SET", "embstr", &"x".repeat(44)]);
    client.check(&[
        ("MSET int -12 no-int 012", "+OK"),
        ("OBJECT ENCODING raw", r#""raw""#),
        ("OBJECT ENCODING embstr", r#""embstr""#),
        ("OBJECT ENCODING int", r#""int""#),
        ("OBJECT ENCODING no-int", r#""embstr""#),
        ("APPEND int 3", ":4"),
        ("OBJECT ENCODING int", r#""raw""#),
        ("INCR int", ":-122"),
        ("OBJECT ENCODING int", r#""int""#),
        ("OBJECT ENCODING none", "nil"),
        ("OBJECT REFCOUNT int", ":1"),
        ("OBJECT FREQ none", "nil"),
        ("OBJECT IDLETIME none", "nil"),
    ]);
    for (line, expected) in [
        (
            "OBJECT FREQ int",
            "-ERR An LFU maxmemory policy is not selected",
        ),
        (
            "OBJECT IDLETIME int",
            "-ERR An LFU maxmemory policy is selected",
        ),
        ("OBJECT NONSENSE int", "-ERR unknown subcommand 'NONSENSE'"),
    ] {
        let reply = client.call(line).to_string();
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert!(client.call("OBJECT HELP").elements().len() > 8);
}

#[test]
fn values_are_carried_elsewhere_with_dump_and_restore() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("SET s value", "+OK"),
        ("HSET h f v g w", ":2"),
        ("DUMP none", "nil"),
    ]);
    for key in ["s", "h"] {
        let payload = client.call_with(&["DUMP", key]).bytes().to_vec();
        let mut restore = |key: &str, ttl: &str, options: &[&str]| {
            let mut args = vec![
                b"RESTORE".as_slice(),
                key.as_bytes(),
                ttl.as_bytes(),
                &payload,
            ];
            args.extend(options.iter().map(|option| option.as_bytes()));
            client.call_with(&args).to_string()
        };
        assert_eq!(restore("r", "0", &["REPLACE"]), "+OK");
        assert_eq!(
            restore("r", "0", &[]),
            "-BUSYKEY Target key name already exists."
        );
        assert_eq!(restore("t", "100000", &["REPLACE", "IDLETIME", "5"]), "+OK");
        assert_eq!(restore("u", "4000000000000", &["REPLACE", "ABSTTL"]), "+OK");
        assert_eq!(
            restore("u", "1", &["REPLACE", "ABSTTL", "FREQ", "5"]),
            "+OK"
        );
        assert_eq!(
            restore("x", "-1", &[]),
            "-ERR Invalid TTL value, must be >= 0"
        );
        assert_eq!(
            restore("x", "0", &["FREQ", "1", "IDLETIME", "1"]),
            "-ERR syntax error"
        );
        client.check(&[("TTL r", ":-1"), ("TTL t", ":100"), ("EXISTS u x", ":0")]);
        let same = client.call("DUMP r");
        assert_eq!(same.bytes(), payload);
    }
    client.check(&[
        ("HGET r g", r#""w""#),
        (
            "RESTORE x 0 garbage",
            "-ERR DUMP payload version or checksum are wrong",
        ),
        (
            "RESTORE x 0 \"\\x00\\x05abc\\x0b\\x00aaaaaaaa\"",
            "-ERR DUMP payload version or checksum are wrong",
        ),
    ]);
}

#[test]
fn fields_keep_their_own_deadlines_when_a_hash_is_carried() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("HSET h a 1 b 2", ":2"),
        ("HPEXPIREAT h 4000000000000 FIELDS 1 b", "[:1]"),
    ]);
    let payload = client.call("DUMP h").bytes().to_vec();
    client.call_with(&[b"RESTORE".as_slice(), b"r", b"0", &payload]);
    client.check(&[
        ("RENAME h i", "+OK"),
        ("HPEXPIRETIME r FIELDS 2 a b", "[:-1, :4000000000000]"),
        ("HPEXPIRETIME i FIELDS 2 a b", "[:-1, :4000000000000]"),
    ]);
}

#[test]
fn changes_are_published_by_their_names_in_their_order() {
    let server = Running::start();
    let (mut client, mut listener) = (server.client(), server.client());
    client.check(&[("CONFIG SET notify-keyspace-events EA", "+OK")]);
    listener.call("PSUBSCRIBE __keyevent@0__:*");
    let cases: &[(&str, &[&str])] = &[
        ("SET k v", &["set k"]),
        ("SET k v EX 100", &["set k", "expire k"]),
        ("GETEX k PERSIST", &["persist k"]),
        ("GETEX k PERSIST", &[]),
        ("GETEX k EX 100", &["expire k"]),
        ("PERSIST k", &["persist k"]),
        ("APPEND k w", &["append k"]),
        ("SETRANGE k 0 \"\"", &[]),
        ("SETRANGE k 1 x", &["setrange k"]),
        ("SETBIT k 100 0", &["setbit k"]),
        ("SETBIT k 100 0", &[]),
        ("BITFIELD k SET u8 0 1", &["setbit k"]),
        ("BITFIELD k SET u8 0 1 GET u8 0", &[]),
        ("BITOP NOT l k", &["set l"]),
        ("BITOP OR l none", &["del l"]),
        ("INCR n", &["incrby n"]),
        ("DECRBY n 2", &["incrby n"]),
        ("INCRBYFLOAT n 1.5", &["incrbyfloat n"]),
        (
            "MSETEX 2 a 1 b 2 EX 9",
            &["set a", "expire a", "set b", "expire b"],
        ),
        ("RENAME a c", &["rename_from a", "rename_to c"]),
        ("COPY b a", &["copy_to a"]),
        ("DEL a none b", &["del a", "del b"]),
        ("GETDEL c", &["del c"]),
        ("EXPIRE n -1", &["expired n"]),
        ("SET k v PXAT 1", &["expired k"]),
        ("SET k v NX", &["set k"]),
        ("SET k v NX", &[]),
        ("DELIFEQ k v", &["del k"]),
    ];
    for (line, expected) in cases {
        client.call(line);
        client.call("PUBLISH __keyevent@0__:end -");
        let mut heard = Vec::new();
        loop {
            let message = listener.read();
            let event = message.elements()[2].text().replace("__keyevent@0__:", "");
            if event == "end" {
                break;
            }
            heard.push(format!("{event} {}", message.elements()[3].text()));
        }
        assert_eq!(heard, *expected, "events of {line}");
    }
}

#[test]
fn a_read_removes_what_has_expired() {
    for threads in ["1", "2"] {
        let server = Running::with(&[("threads", threads), ("notify-keyspace-events", "Ex")]);
        let (mut client, mut subscriber) = (server.client(), server.client());
        client.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "+OK")]);
        subscriber.check(&[(
            "SUBSCRIBE __keyevent@0__:expired",
            r#"["subscribe", "__keyevent@0__:expired", :1]"#,
        )]);
        // Each of these reads meets the key after its time, and removes it.
        for read in [
            "GET k",
            "EXISTS k",
            "TTL k",
            "TYPE k",
            "MGET k k",
            "STRLEN k",
            "HGETALL k",
            "SCAN 0 COUNT 1000000",
            "TOUCH k",
            "DUMP k",
        ] {
            client.check(&[("SET k v", "+OK"), ("SET other v", "+OK")]);
            client.check(&[("PEXPIRE k 1", ":1")]);
            while client.call("DBSIZE").integer() == 2 {
                client.call(read);
            }
            client.check(&[("DBSIZE", ":1"), ("UNWATCH", "+OK")]);
            assert_eq!(
                subscriber.read().to_string(),
                r#"["message", "__keyevent@0__:expired", "k"]"#,
                "{read}"
            );
        }
        let info = client.call("INFO stats").text();
        assert!(info.contains("expired_keys:10\r\n"), "{info}");
    }
}

#[test]
fn a_read_that_finds_a_key_expired_invalidates_it() {
    let server = Running::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.call("HELLO 3");
    client.check(&[
        ("DEBUG SET-ACTIVE-EXPIRE 0", "+OK"),
        ("CLIENT TRACKING ON", "+OK"),
        ("SET k v PX 30", "+OK"),
    ]);
    client.call("GET k");
    while other.call("GET k").to_string() != "nil" {}
    assert_eq!(client.read().to_string(), r#">["invalidate", ["k"]]"#);
}
