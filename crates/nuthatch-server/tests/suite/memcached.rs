//! memcached's protocol over the same keys as Redis', request by request.

use crate::harness::{Client, PATIENCE, Running};
use std::time::Instant;

fn start(settings: &[(&str, &str)]) -> Running {
    let mut all = vec![("memcached-port", "free")];
    all.extend_from_slice(settings);
    Running::with(&all)
}

fn connect(server: &Running) -> Client {
    Client::connect(server.server().config().memcached_port)
}

/// Sends each request and compares what comes before the answer of an `mn` sent after it, so that also
/// silence is seen.
#[track_caller]
fn check(client: &mut Client, cases: &[(&str, &str)]) {
    for (request, expected) in cases {
        client.send(format!("{request}\r\nmn\r\n").as_bytes());
        let expected = if expected.is_empty() {
            String::new()
        } else {
            format!("{expected}\r\n")
        };
        let expected = format!("{expected}MN\r\n").replace('\n', "\r\n");
        let expected = expected.replace("\r\r\n", "\r\n");
        let reply = client.read_bytes(expected.len());
        let reply = String::from_utf8_lossy(&reply);
        assert_eq!(reply, expected, "reply to {request}");
    }
}

/// The unique number that `gets` has for a key.
fn cas(client: &mut Client, key: &str) -> u64 {
    client.send(format!("mg {key} c\r\n").as_bytes());
    let line = client.read_line();
    let number = line.strip_prefix("HD c").expect("a number");
    number.parse().expect("decimal")
}

#[test]
fn classic_storage_keeps_data_and_flags_under_its_conditions() {
    for threads in ["1", "2"] {
        let server = start(&[("threads", threads)]);
        check(
            &mut connect(&server),
            &[
                ("get a", "END"),
                ("set a 7 0 5\r\nhello", "STORED"),
                ("get a b", "VALUE a 7 5\r\nhello\r\nEND"),
                ("add a 0 0 1\r\nx", "NOT_STORED"),
                ("add b 0 0 0\r\n", "STORED"),
                ("replace b 4294967295 0 2\r\n\r\n", "STORED"),
                ("replace c 0 0 1\r\nx", "NOT_STORED"),
                (
                    "get b a",
                    "VALUE b 4294967295 2\r\n\r\n\r\nVALUE a 7 5\r\nhello\r\nEND",
                ),
                ("append a 9 0 1\r\n!", "STORED"),
                ("prepend a 9 0 1\r\n>", "STORED"),
                ("get a", "VALUE a 7 7\r\n>hello!\r\nEND"),
                ("append c 0 0 1\r\nx", "NOT_STORED"),
                ("delete a", "DELETED"),
                ("delete a", "NOT_FOUND"),
                ("set a 0 0 1 noreply\r\nx", ""),
                ("delete a noreply", ""),
                ("get a", "END"),
                ("touch b 100", "TOUCHED"),
                ("mg b t", "HD t100"),
                ("gat 0 b", "VALUE b 4294967295 2\r\n\r\n\r\nEND"),
                ("mg b t", "HD t-1"),
                ("touch c 1", "NOT_FOUND"),
                ("flush_all", "OK"),
                ("get b", "END"),
            ],
        );
    }
}

#[test]
fn numbers_wrap_upwards_and_stop_at_zero() {
    let server = start(&[]);
    check(
        &mut connect(&server),
        &[
            ("incr n 1", "NOT_FOUND"),
            ("set n 3 0 20\r\n18446744073709551615", "STORED"),
            ("incr n 11", "10"),
            ("decr n 3", "7"),
            ("decr n 8 noreply", ""),
            ("get n", "VALUE n 3 1\r\n0\r\nEND"),
            ("incr n -1", "CLIENT_ERROR invalid numeric delta argument"),
            ("set n 0 0 2\r\n1x", "STORED"),
            (
                "incr n 1",
                "CLIENT_ERROR cannot increment or decrement non-numeric value",
            ),
        ],
    );
}

#[test]
fn a_value_is_replaced_only_under_the_number_it_has() {
    let server = start(&[]);
    let mut client = connect(&server);
    check(
        &mut client,
        &[
            ("cas a 0 0 1 1\r\nx", "NOT_FOUND"),
            ("set a 5 0 1\r\nx", "STORED"),
        ],
    );
    let first = cas(&mut client, "a");
    let gets = format!("VALUE a 5 1 {first}\r\nx\r\nEND");
    check(
        &mut client,
        &[("gets a", &gets), ("set a 5 0 1\r\nx", "STORED")],
    );
    let second = cas(&mut client, "a");
    assert!(second > first, "numbers grow");
    check(
        &mut client,
        &[
            (&format!("cas a 0 0 1 {first}\r\ny"), "EXISTS"),
            (&format!("cas a 0 0 1 {second}\r\ny"), "STORED"),
            (&format!("cas a 0 0 1 {second}\r\nz"), "EXISTS"),
            ("get a", "VALUE a 0 1\r\ny\r\nEND"),
        ],
    );
}

#[test]
fn what_one_protocol_writes_the_other_reads() {
    let server = start(&[]);
    let (mut memcached, mut redis) = (connect(&server), server.client());
    check(&mut memcached, &[("set k 7 100 5\r\nhello", "STORED")]);
    redis.check(&[
        ("GET k", "\"hello\""),
        ("EXISTS k", ":1"),
        ("SET r world", "+OK"),
        ("SET n 41", "+OK"),
    ]);
    check(
        &mut memcached,
        &[
            ("get r", "VALUE r 0 5\r\nworld\r\nEND"),
            ("incr n 1", "42"),
            ("mg k f t", "HD f7 t100"),
        ],
    );
    redis.check(&[("GET n", "\"42\""), ("INCR n", ":43"), ("SET k v", "+OK")]);
    check(
        &mut memcached,
        &[("mg k f t v", "VA 1 f0 t-1\r\nv"), ("delete k", "DELETED")],
    );
    redis.check(&[("GET k", "nil"), ("DBSIZE", ":2")]);
    // The number of a value that a client of Redis wrote follows the value.
    let first = cas(&mut memcached, "r");
    assert_eq!(cas(&mut memcached, "r"), first);
    redis.check(&[("SET r other", "+OK")]);
    check(
        &mut memcached,
        &[(&format!("cas r 0 0 1 {first}\r\nx"), "EXISTS")],
    );
    let second = cas(&mut memcached, "r");
    check(
        &mut memcached,
        &[(&format!("cas r 0 0 1 {second}\r\nx"), "STORED")],
    );
}

#[test]
fn a_key_of_another_kind_is_not_found_and_can_be_replaced() {
    let server = start(&[]);
    let (mut memcached, mut redis) = (connect(&server), server.client());
    for _ in 0..2 {
        redis.check(&[("HSET h f v", ":1")]);
        check(
            &mut memcached,
            &[
                ("get h", "END"),
                ("mg h v N0", "EN"),
                ("add h 0 0 1\r\nx", "NOT_STORED"),
                ("append h 0 0 1\r\nx", "NOT_STORED"),
                ("cas h 0 0 1 5\r\nx", "EXISTS"),
                (
                    "incr h 1",
                    "CLIENT_ERROR cannot increment or decrement non-numeric value",
                ),
                ("touch h 10", "TOUCHED"),
                ("md h x", "NF"),
                ("delete h", "DELETED"),
            ],
        );
    }
    redis.check(&[("HSET h f v", ":1")]);
    check(&mut memcached, &[("set h 0 0 1\r\nx", "STORED")]);
    redis.check(&[("GET h", "\"x\"")]);
}

#[test]
fn times_of_expiry_count_from_now_are_dates_or_are_over() {
    let server = start(&[]);
    let mut client = connect(&server);
    check(
        &mut client,
        &[
            ("set a 0 2592000 1\r\nx", "STORED"),
            ("mg a t", "HD t2592000"),
            ("set a 0 2592001 1\r\nx", "STORED"),
            ("get a", "END"),
            ("set a 0 0 1\r\nx", "STORED"),
            ("set a 0 -1 1\r\nx", "STORED"),
            ("get a", "END"),
            ("set a 0 4102444800 1\r\nx", "STORED"),
            ("gat -1 a", "VALUE a 0 1\r\nx\r\nEND"),
            ("get a", "END"),
            ("flush_all 4102444800", "OK"),
            ("set a 0 0 1\r\nx", "STORED"),
            ("get a", "VALUE a 0 1\r\nx\r\nEND"),
        ],
    );
}

#[test]
fn a_flush_comes_when_it_was_set_for() {
    let server = start(&[]);
    let mut client = connect(&server);
    check(
        &mut client,
        &[("set a 0 0 1\r\nx", "STORED"), ("flush_all 1", "OK")],
    );
    let mut redis = server.client();
    // Of its own accord, while nobody speaks memcached's protocol.
    while redis.call("DBSIZE").integer() > 0 {
        std::thread::yield_now();
    }
    check(
        &mut client,
        &[("get a", "END"), ("set a 0 0 1\r\nx", "STORED")],
    );
    redis.check(&[("DBSIZE", ":1")]);
}

#[test]
fn what_is_wrong_is_answered_and_what_follows_is_read() {
    let server = start(&[("proto-max-bulk-len", "1mb")]);
    let mut client = connect(&server);
    let key = "k".repeat(251);
    let large = "x".repeat((1 << 20) + 1);
    check(
        &mut client,
        &[
            ("bogus", "ERROR"),
            ("GET a", "ERROR"),
            ("bogus noreply", ""),
            ("get", "CLIENT_ERROR bad command line format"),
            (
                &format!("get {key}"),
                "CLIENT_ERROR bad command line format",
            ),
            (
                &format!("set {key} 0 0 1\r\nx"),
                "CLIENT_ERROR bad command line format",
            ),
            ("set a 0 0 -1", "CLIENT_ERROR bad command line format"),
            ("set a x 0 1\r\ny", "CLIENT_ERROR bad command line format"),
            (
                "set a 0 0 3\r\nabcd",
                "CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format",
            ),
            ("set a 0 0 1\r\nx", "STORED"),
            (
                &format!("set a 0 0 {}\r\n{large}", large.len()),
                "SERVER_ERROR object too large for cache",
            ),
            ("get a", "END"),
            (&format!("add a 0 0 {} noreply\r\n{large}", large.len()), ""),
            (
                &format!("ms a {} q\r\n{large}", large.len()),
                "SERVER_ERROR object too large for cache",
            ),
            ("touch a x", "CLIENT_ERROR invalid exptime argument"),
            ("verbosity", "CLIENT_ERROR bad command line format"),
            ("verbosity 1", "OK"),
            ("shutdown", "SERVER_ERROR: shutdown not enabled"),
            ("get a", "END"),
        ],
    );
    for hopeless in [&b"GET / HTTP/1.1\r\n"[..], &[b'x'; 4096], b"quit\r\n"] {
        let mut client = connect(&server);
        client.send(hopeless);
        assert_eq!(client.read_to_end(), b"");
    }
}

#[test]
fn meta_commands_answer_flag_by_flag() {
    let server = start(&[]);
    check(
        &mut connect(&server),
        &[
            ("mg a v", "EN"),
            ("mg a v q k", ""),
            ("mg a k Oab", "EN ka Oab"),
            ("ms a 2 T30 F5 k Oab s\r\nhi", "HD ka Oab s2"),
            ("mg a s v t f k Oab q", "VA 2 s2 t30 f5 ka Oab\r\nhi"),
            ("ms a 2 q\r\nho", ""),
            ("mg a t", "HD t-1"),
            ("mg a T90 t", "HD t90"),
            ("mg a u h l", "HD h0 l0"),
            ("mg a h", "HD h0"),
            ("mg a h l", "HD h1 l0"),
            ("ms a 1 MA s\r\n!", "HD s3"),
            ("ms a 1 MP\r\n>", "HD"),
            ("mg a v t", "VA 4 t90\r\n>ho!"),
            ("ms a 1 ME\r\nx", "NS"),
            ("ms b 1 MR\r\nx", "NS"),
            ("ms b 1 MA\r\nx", "NS"),
            ("ms b 1 MA N60\r\nx", "HD"),
            ("mg b v t", "VA 1 t60\r\nx"),
            ("ms a 1 E100 c\r\nx", "HD c100"),
            ("mg a C100 v c", "HD c100"),
            ("mg a C99 v", "VA 1\r\nx"),
            ("ms a 1 C99\r\ny", "EX"),
            ("ms a 1 C100 E101\r\ny", "HD"),
            ("md a C100", "EX"),
            ("md a C101 q", ""),
            ("md a q", "NF"),
            ("ma n", "NF"),
            ("ma n N0 J13 v t", "VA 2 t-1\r\n13"),
            ("ma n D5 v", "VA 2\r\n18"),
            ("ma n MD D20 v T30 t", "VA 1 t30\r\n0"),
            ("ma n M- q", ""),
            (
                "ma b",
                "CLIENT_ERROR cannot increment or decrement non-numeric value",
            ),
            ("ma n Mx", "CLIENT_ERROR invalid mode for ma M token"),
            ("ms a 1 Mx\r\ny", "CLIENT_ERROR invalid mode for ms M token"),
            ("mg a v v", "CLIENT_ERROR duplicate flag"),
            ("mg a j", "CLIENT_ERROR invalid flag"),
            ("mg a Tx", "CLIENT_ERROR bad token in command line format"),
            (
                "mg a O12345678901234567890123456789012",
                "CLIENT_ERROR opaque token too long",
            ),
            ("mn", "MN"),
            ("me a", "EN"),
        ],
    );
}

#[test]
fn keys_in_base64_are_the_bytes_that_they_stand_for() {
    let server = start(&[]);
    check(
        &mut connect(&server),
        &[
            ("ms AP8gCg== 2 b k\r\nhi", "HD kAP8gCg== b"),
            ("mg AP8gCg== b k v", "VA 2 kAP8gCg== b\r\nhi"),
            ("mg AP8g** b", "CLIENT_ERROR error decoding key"),
            ("ma AP8gCQ== b N0 k", "HD kAP8gCQ== b"),
            ("mg AP8gCw== b k", "EN kAP8gCw== b"),
        ],
    );
    server
        .client()
        .check(&[(r#"GET "\x00\xff \n""#, r#""hi""#)]);
}

#[test]
fn one_client_wins_the_right_to_make_a_value_anew() {
    let server = start(&[]);
    let mut client = connect(&server);
    check(
        &mut client,
        &[
            // Missing: the first who asks makes it.
            ("mg a N30 v", "VA 0 W\r\n"),
            ("mg a N30 v", "VA 0 Z\r\n"),
            ("mg a t", "HD t30 Z"),
            ("ms a 2 T100\r\nhi", "HD"),
            ("mg a N30 v", "VA 2\r\nhi"),
            // Near its end: the first who minds.
            ("mg a R50", "HD"),
            ("mg a R150", "HD W"),
            ("mg a R150", "HD Z"),
            // Marked as outdated: the first who asks, whatever for.
            ("ms a 2 T100 E100\r\nhi", "HD"),
            ("md a I T50 E200", "HD"),
            ("mg a v c t", "VA 2 c200 t50 X W\r\nhi"),
            ("mg a v", "VA 2 Z X\r\nhi"),
            // Brought by one who was late: still outdated.
            ("ms a 2 I C150 E201\r\nho", "HD"),
            ("mg a v c", "VA 2 c201 Z X\r\nho"),
            ("ms a 2 I C201 E202\r\nhu", "HD"),
            ("mg a v c t", "VA 2 c202 t-1\r\nhu"),
            // Without its value, and outdated.
            ("md a x I T9 F3", "HD"),
            ("mg a v f t", "VA 0 f3 t9 X W\r\n"),
        ],
    );
}

#[test]
fn a_password_is_shown_by_a_set_before_anything_else() {
    let server = start(&[("requirepass", "secret")]);
    let mut client = connect(&server);
    check_lines(
        &mut client,
        &[
            ("get a\r\n", "CLIENT_ERROR unauthenticated"),
            (
                "set a 0 0 5\r\nwrong\r\n",
                "CLIENT_ERROR bad authentication token format",
            ),
            (
                "set a 0 0 13\r\ndefault wrong\r\n",
                "CLIENT_ERROR authentication failure",
            ),
            ("set a 0 0 14\r\ndefault secret\r\n", "STORED"),
            ("get a\r\n", "END"),
        ],
    );
}

#[test]
fn a_user_may_do_what_the_rules_say_of_redis_commands() {
    let server = start(&[]);
    server.client().check(&[(
        "ACL SETUSER reader on >pw ~open:* +get +set resetchannels",
        "+OK",
    )]);
    server
        .client()
        .check(&[("CONFIG SET requirepass secret", "+OK")]);
    let mut client = connect(&server);
    check_lines(
        &mut client,
        &[
            ("set a 0 0 9\r\nreader pw\r\n", "STORED"),
            ("set open:a 0 0 1\r\nx\r\n", "STORED"),
            ("set a 0 0 1\r\nx\r\n", "CLIENT_ERROR no permission"),
            ("get open:a a\r\n", "CLIENT_ERROR no permission"),
            ("delete open:a\r\n", "CLIENT_ERROR no permission"),
            ("mg open:a\r\n", "HD"),
            ("mg open:a T30\r\n", "CLIENT_ERROR no permission"),
            ("flush_all\r\n", "CLIENT_ERROR no permission"),
        ],
    );
}

fn check_lines(client: &mut Client, cases: &[(&str, &str)]) {
    for (request, expected) in cases {
        client.send(request.as_bytes());
        assert_eq!(client.read_line(), *expected, "reply to {request}");
    }
}

#[test]
fn statistics_tell_what_was_asked() {
    let server = start(&[]);
    let mut client = connect(&server);
    check(
        &mut client,
        &[
            ("set a 0 0 1\r\nx", "STORED"),
            ("get a b", "VALUE a 0 1\r\nx\r\nEND"),
            ("stats cachedump 1 10", "ITEM a [1 b; 0 s]\r\nEND"),
            ("stats nothing", "ERROR"),
        ],
    );
    let stats = |client: &mut Client| {
        client.send(b"stats\r\n");
        let mut lines = Vec::new();
        loop {
            match client.read_line() {
                line if line == "END" => return lines,
                line => lines.push(line),
            }
        }
    };
    let lines = stats(&mut client);
    for line in [
        "STAT cmd_get 2",
        "STAT get_hits 1",
        "STAT get_misses 1",
        "STAT cmd_set 1",
        "STAT curr_items 1",
        "STAT curr_connections 1",
    ] {
        assert!(
            lines.iter().any(|other| other == line),
            "{line} in {lines:?}"
        );
    }
    check(&mut client, &[("stats reset", "RESET")]);
    let lines = stats(&mut client);
    assert!(lines.contains(&"STAT cmd_get 0".to_owned()), "{lines:?}");
}

#[test]
fn requests_in_pieces_and_in_one_piece_are_answered_alike() {
    let server = start(&[]);
    let mut client = connect(&server);
    let request =
        b"set a 3 0 5\r\na\r\nbc\r\nget a\r\nms b 2 c1 k\r\nmg a v k\r\nincr a 1\r\nmn\r\n";
    client.send(request);
    let mut whole = Vec::new();
    while !whole.ends_with(b"MN\r\n") {
        whole.extend(client.read_bytes(1));
    }
    for byte in request {
        client.send(&[*byte]);
    }
    assert_eq!(client.read_bytes(whole.len()), whole);
}

#[test]
fn a_pause_holds_writes_of_memcached_back_too() {
    let server = start(&[]);
    let (mut writer, mut reader, mut other) = (connect(&server), connect(&server), server.client());
    check(&mut writer, &[("set a 0 0 1\r\nx", "STORED")]);
    other.check(&[("CLIENT PAUSE 100000 WRITE", "+OK")]);
    writer.send(b"get a\r\nset a 0 0 3\r\nnew\r\nget a\r\n");
    assert_eq!(writer.read_line(), "VALUE a 0 1");
    assert_eq!(
        (writer.read_line().as_str(), writer.read_line().as_str()),
        ("x", "END")
    );
    // Until the write waits.
    let patience = Instant::now() + PATIENCE;
    while !other
        .call("INFO clients")
        .text()
        .contains("blocked_clients:1\r\n")
    {
        assert!(Instant::now() < patience, "a client waits");
    }
    check(
        &mut reader,
        &[
            ("get a", "VALUE a 0 1\r\nx\r\nEND"),
            ("mg a v", "VA 1\r\nx"),
        ],
    );
    other.check(&[("GET a", "\"x\""), ("CLIENT UNPAUSE", "+OK")]);
    assert_eq!(writer.read_line(), "STORED");
    assert_eq!(writer.read_line(), "VALUE a 0 3");
    assert_eq!(
        (writer.read_line().as_str(), writer.read_line().as_str()),
        ("new", "END")
    );
    for write in [
        "delete a",
        "incr a 1",
        "touch a 1",
        "gat 1 a",
        "flush_all",
        "md a",
        "ma a",
        "ms a 1\r\ny",
        "mg a N1",
        "append a 0 0 1\r\ny",
    ] {
        other.check(&[("CLIENT PAUSE 100000 WRITE", "+OK")]);
        let mut client = connect(&server);
        client.send(format!("{write}\r\n").as_bytes());
        let patience = Instant::now() + PATIENCE;
        while !other
            .call("INFO clients")
            .text()
            .contains("blocked_clients:1\r\n")
        {
            assert!(Instant::now() < patience, "{write} waits");
        }
        drop(client);
        while !other
            .call("INFO clients")
            .text()
            .contains("blocked_clients:0\r\n")
        {
            assert!(Instant::now() < patience, "{write} waits no longer");
        }
        other.check(&[("GET a", "\"new\""), ("CLIENT UNPAUSE", "+OK")]);
    }
}

#[test]
fn monitors_see_what_memcached_is_asked_as_redis_would_call_it() {
    let server = start(&[]);
    let (mut client, mut monitor) = (connect(&server), server.client());
    monitor.check(&[("MONITOR", "+OK")]);
    check(
        &mut client,
        &[
            ("set a 7 0 3\r\nx y", "STORED"),
            ("get a b", "VALUE a 7 3\r\nx y\r\nEND"),
            ("gat 100 a", "VALUE a 7 3\r\nx y\r\nEND"),
            (
                "version",
                &format!("VERSION {}", nuthatch_server::version::MEMCACHED),
            ),
            ("incr n 5", "NOT_FOUND"),
            ("touch a 50", "TOUCHED"),
            ("ms m 1\r\nz", "HD"),
            ("mg m v", "VA 1\r\nz"),
            ("md m", "HD"),
            ("flush_all", "OK"),
        ],
    );
    for expected in [
        r#""set" "a" "x y""#,
        r#""get" "a""#,
        r#""get" "b""#,
        r#""getex" "a" "ex" "100""#,
        r#""incrby" "n" "5""#,
        r#""expire" "a" "50""#,
        r#""set" "m" "z""#,
        r#""get" "m""#,
        r#""del" "m""#,
        r#""flushall""#,
    ] {
        let line = monitor.read().to_string();
        assert!(line.ends_with(&format!("] {expected}")), "{line}");
    }
}
