//! Commands of strings: replies, errors, and what becomes of times to live.

use crate::harness::{Running, Value};

#[test]
fn set_does_what_its_options_say() {
    let server = Running::start();
    server.client().check(&[
        ("SET k 1 NX", "+OK"),
        ("SET k 2 NX", "nil"),
        ("SET k 2 XX GET", r#""1""#),
        ("SET k 3 NX GET", r#""2""#),
        ("GET k", r#""2""#),
        ("SET none 1 XX", "nil"),
        ("SET none 1 XX GET", "nil"),
        ("EXISTS none", ":0"),
        ("SET k 3 IFEQ 9", "nil"),
        ("SET k 3 IFEQ 2", "+OK"),
        ("SET k 4 IFEQ 2 GET", r#""3""#),
        ("SET none 1 IFEQ 2", "nil"),
        ("SET k v EX 100", "+OK"),
        ("TTL k", ":100"),
        ("SET k w KEEPTTL", "+OK"),
        ("TTL k", ":100"),
        ("SET k w", "+OK"),
        ("TTL k", ":-1"),
        ("SET k v PX 100000 XX", "+OK"),
        ("TTL k", ":100"),
        ("SET k v EXAT 4000000000", "+OK"),
        ("EXPIRETIME k", ":4000000000"),
        ("SET k v PXAT 4000000000001", "+OK"),
        ("PEXPIRETIME k", ":4000000000001"),
        ("SET k v EX 10 EX 20", "+OK"),
        ("TTL k", ":20"),
        ("SET k v PXAT 1 GET", r#""v""#),
        ("EXISTS k", ":0"),
        ("SET k v NX XX", "-ERR syntax error"),
        ("SET k v IFEQ a XX", "-ERR syntax error"),
        ("SET k v EX 10 KEEPTTL", "-ERR syntax error"),
        ("SET k v EX 10 PX 10", "-ERR syntax error"),
        ("SET k v EX", "-ERR syntax error"),
        ("SET k v PERSIST", "-ERR syntax error"),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
        (
            "SET k v EX 9223372036854775807",
            "-ERR invalid expire time in 'set' command",
        ),
        (
            "SET k v EX x",
            "-ERR value is not an integer or out of range",
        ),
        ("SET k v EX x nonsense", "-ERR syntax error"),
    ]);
}

#[test]
fn what_needs_a_string_refuses_other_values_and_leaves_them() {
    let server = Running::start();
    let mut client = server.client();
    client.call("HSET h f v");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for line in [
        "GET h",
        "SET h v GET",
        "SET h v IFEQ v",
        "GETSET h v",
        "GETDEL h",
        "GETEX h EX 10",
        "DELIFEQ h v",
        "APPEND h x",
        "STRLEN h",
        "GETRANGE h 0 1",
        "SETRANGE h 0 x",
        "INCR h",
        "INCRBYFLOAT h 1",
        "SETBIT h 0 1",
        "GETBIT h 0",
        "BITCOUNT h",
        "BITPOS h 1",
        "BITFIELD h GET u8 0",
        "BITFIELD h SET u8 0 1",
        "BITFIELD_RO h GET u8 0",
        "BITOP NOT d h",
    ] {
        client.check(&[(line, wrong)]);
    }
    client.check(&[
        ("MGET h h", "[nil, nil]"),
        (
            "LCS h k",
            "-ERR The specified keys must contain string values",
        ),
        ("SETNX h v", ":0"),
        ("TTL h", ":-1"),
        ("HGET h f", r#""v""#),
        ("SET h v", "+OK"),
        ("GET h", r#""v""#),
    ]);
}

#[test]
fn reading_may_remove_or_set_the_time_to_live() {
    let server = Running::start();
    server.client().check(&[
        ("GETEX none EX 10", "nil"),
        ("SET k v", "+OK"),
        ("GETEX k", r#""v""#),
        ("TTL k", ":-1"),
        ("GETEX k EX 10", r#""v""#),
        ("TTL k", ":10"),
        ("GETEX k", r#""v""#),
        ("TTL k", ":10"),
        ("GETEX k PERSIST", r#""v""#),
        ("TTL k", ":-1"),
        ("GETEX k PERSIST EX 1", "-ERR syntax error"),
        ("GETEX k KEEPTTL", "-ERR syntax error"),
        (
            "GETEX k EX 0",
            "-ERR invalid expire time in 'getex' command",
        ),
        ("GETEX k PXAT 1", r#""v""#),
        ("EXISTS k", ":0"),
        ("SET k v EX 10", "+OK"),
        ("GETSET k w", r#""v""#),
        ("TTL k", ":-1"),
        ("GETSET new w", "nil"),
        ("GETDEL k", r#""w""#),
        ("GETDEL k", "nil"),
        ("DELIFEQ new v", ":0"),
        ("DELIFEQ new w", ":1"),
        ("DELIFEQ new w", ":0"),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
        ("SETEX k 10 v", "+OK"),
        (
            "PSETEX k 0 v",
            "-ERR invalid expire time in 'psetex' command",
        ),
        ("PSETEX k 20000 v", "+OK"),
        ("TTL k", ":20"),
    ]);
}

#[test]
fn several_keys_are_set_all_or_none() {
    let server = Running::start();
    server.client().check(&[
        ("MSET a 1 b 2", "+OK"),
        ("MGET a none b", r#"["1", nil, "2"]"#),
        ("MSETNX b 3 c 4", ":0"),
        ("MGET b c", r#"["2", nil]"#),
        ("MSETNX c 3 d 4 c 5", ":1"),
        ("MGET c d", r#"["5", "4"]"#),
        (
            "MSET a 1 b",
            "-ERR wrong number of arguments for 'mset' command",
        ),
        (
            "MSETNX a 1 b",
            "-ERR wrong number of arguments for 'msetnx' command",
        ),
        ("MSETEX 2 a 1 e 2 NX", ":0"),
        ("MSETEX 2 a 1 e 2 XX", ":0"),
        ("MSETEX 2 a 7 b 8 XX EX 100", ":1"),
        ("MGET a b e", r#"["7", "8", nil]"#),
        ("TTL b", ":100"),
        ("MSETEX 1 b 9 KEEPTTL", ":1"),
        ("TTL b", ":100"),
        ("MSETEX 1 b 9", ":1"),
        ("TTL b", ":-1"),
        ("MSETEX 2 e 1 e 2 NX", ":1"),
        ("GET e", r#""2""#),
        ("MSETEX 0 a 1", "-ERR invalid numkeys value or out of range"),
        ("MSETEX x a 1", "-ERR invalid numkeys value or out of range"),
        ("MSETEX 2 a 1 b", "-ERR syntax error"),
        ("MSETEX 1 a 1 GET", "-ERR syntax error"),
        (
            "MSETEX 1 a 1 EX 0",
            "-ERR invalid expire time in 'msetex' command",
        ),
    ]);
}

#[test]
fn parts_are_read_and_changed_and_the_time_to_live_stays() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("APPEND k hello", ":5"),
        ("EXPIRE k 100", ":1"),
        ("APPEND k \" world\"", ":11"),
        ("STRLEN k", ":11"),
        ("STRLEN none", ":0"),
        ("GETRANGE k 0 4", r#""hello""#),
        ("GETRANGE k -5 -1", r#""world""#),
        ("SUBSTR k 3 100", r#""lo world""#),
        ("GETRANGE k 5 1", r#""""#),
        ("GETRANGE none 0 -1", r#""""#),
        ("SETRANGE k 6 There", ":11"),
        ("GET k", r#""hello There""#),
        ("TTL k", ":100"),
        ("SETRANGE k 20 x", ":21"),
        (
            "GETRANGE k 10 -1",
            r#""e\x00\x00\x00\x00\x00\x00\x00\x00\x00x""#,
        ),
        ("SETRANGE none 5 \"\"", ":0"),
        ("EXISTS none", ":0"),
        ("SETRANGE k 0 \"\"", ":21"),
        ("SETRANGE k -1 x", "-ERR offset is out of range"),
        (
            "SETRANGE k 536870912 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "SETRANGE k 9223372036854775807 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
    ]);
    let long = vec![b'x'; 200_000];
    client.call_with(&[b"SET".as_slice(), b"long", &long]);
    client.check(&[("SETRANGE long 500000 end", ":500003")]);
    let got = client.call("GET long");
    assert!(got.bytes()[..200_000].iter().all(|byte| *byte == b'x'));
    assert!(got.bytes()[200_000..500_000].iter().all(|byte| *byte == 0));
    assert_eq!(&got.bytes()[500_000..], b"end");
}

#[test]
fn strings_stay_within_the_longest_that_is_allowed() {
    let server = Running::with(&[("proto-max-bulk-len", "1mb")]);
    let mut client = server.client();
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    let half = vec![b'x'; 1 << 19];
    client.call_with(&[b"SET".as_slice(), b"k", &half]);
    client.call_with(&[b"APPEND".as_slice(), b"k", &half]);
    client.check(&[
        ("STRLEN k", ":1048576"),
        ("APPEND k x", too_long),
        ("SETRANGE k 1048575 xy", too_long),
        ("SETRANGE k 1048575 y", ":1048576"),
        (
            "SETBIT k 8388608 1",
            "-ERR bit offset is not an integer or out of range",
        ),
        ("SETBIT k 8388607 0", ":1"),
        (
            "LCS k k LEN",
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ),
    ]);
}

#[test]
fn numbers_are_counted_up_and_down() {
    let server = Running::start();
    server.client().check(&[
        ("INCR n", ":1"),
        ("DECR n", ":0"),
        ("DECRBY n 5", ":-5"),
        ("INCRBY n 15", ":10"),
        ("EXPIRE n 100", ":1"),
        ("INCRBYFLOAT n 0.5", r#""10.5""#),
        ("INCRBYFLOAT n -1e1", r#""0.5""#),
        ("TTL n", ":100"),
        ("INCR n", "-ERR value is not an integer or out of range"),
        ("SET n 9223372036854775807", "+OK"),
        ("INCR n", "-ERR increment or decrement would overflow"),
        (
            "DECRBY n -9223372036854775808",
            "-ERR decrement would overflow",
        ),
        ("SET n \" 1\"", "+OK"),
        ("INCR n", "-ERR value is not an integer or out of range"),
        ("INCRBYFLOAT n 1", "-ERR value is not a valid float"),
        ("INCRBYFLOAT other x", "-ERR value is not a valid float"),
        (
            "INCRBYFLOAT other inf",
            "-ERR increment would produce NaN or Infinity",
        ),
        ("EXISTS other", ":0"),
    ]);
}

#[test]
fn the_longest_common_subsequence_is_told_in_all_its_forms() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("MSET a ohmytext b mynewtext", "+OK"),
        ("LCS a b", r#""mytext""#),
        ("LCS a b LEN", ":6"),
        ("LCS a none", r#""""#),
        (
            "LCS a b LEN IDX",
            "-ERR If you want both the length and indexes, please just use IDX.",
        ),
        ("LCS a b MINMATCHLEN", "-ERR syntax error"),
    ]);
    let matches = client
        .call("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN")
        .to_string();
    assert_eq!(
        matches,
        r#"["matches", [[[:4, :7], [:5, :8], :4]], "len", :6]"#
    );
    client.call("HELLO 3");
    let Value::Map(pairs) = client.call("LCS a b IDX") else {
        panic!("a map");
    };
    assert_eq!(
        pairs[0].1.to_string(),
        "[[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]]"
    );
}
