//! How clients introduce themselves.

use crate::harness::{Client, Running, Value, request};

const WRONG_PASSWORD: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let Value::Map(pairs) = map else {
        panic!("a map was expected, not {map}");
    };
    let found = pairs.iter().find(|(key, _)| key.bytes() == name.as_bytes());
    &found.unwrap_or_else(|| panic!("{map} has no {name}")).1
}

#[test]
fn hello_chooses_the_version_and_tells_what_the_server_is() {
    let server = Running::start();
    let mut client = server.client();
    let in_2 = client.call("HELLO");
    assert_eq!(in_2.elements().len(), 16);
    let in_3 = client.call("HELLO 3 SETNAME me");
    assert_eq!(field(&in_3, "server").text(), "redis");
    assert!(field(&in_3, "version").text().starts_with("7.4."));
    assert_eq!(field(&in_3, "proto").integer(), 3);
    assert_eq!(field(&in_3, "mode").text(), "standalone");
    assert_eq!(field(&in_3, "role").text(), "master");
    assert_eq!(client.call("GET none"), Value::Null);
    client.check(&[
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        (
            "HELLO x",
            "-ERR Protocol version is not an integer or out of range",
        ),
        (
            "HELLO 3 NONSENSE",
            "-ERR Syntax error in HELLO option 'NONSENSE'",
        ),
        (
            "HELLO 3 SETNAME",
            "-ERR Syntax error in HELLO option 'SETNAME'",
        ),
        (
            "HELLO 2 SETNAME \"two words\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
    ]);
    assert_eq!(client.call("HELLO 2").elements().len(), 16);
}

#[test]
fn a_password_is_asked_for_and_taken_in_all_forms() {
    let server = Running::with(&[("requirepass", "secret")]);
    let mut client = server.client();
    client.check(&[
        ("GET k", "-NOAUTH Authentication required."),
        ("AUTH wrong", WRONG_PASSWORD),
        ("AUTH secre", WRONG_PASSWORD),
        ("AUTH nobody secret", WRONG_PASSWORD),
        ("AUTH a b c", "-ERR syntax error"),
        ("AUTH secret", "+OK"),
        ("GET k", "nil"),
        ("AUTH wrong", WRONG_PASSWORD),
        ("GET k", "nil"),
        ("RESET", "+RESET"),
        ("GET k", "-NOAUTH Authentication required."),
        ("AUTH default secret", "+OK"),
        ("GET k", "nil"),
    ]);
    let mut client = server.client();
    let refused = client.call("HELLO 3").to_string();
    assert!(
        refused.starts_with("-NOAUTH HELLO must be called"),
        "{refused}"
    );
    client.check(&[("HELLO 3 AUTH default wrong", WRONG_PASSWORD)]);
    let greeting = client.call("HELLO 3 AUTH default secret");
    assert_eq!(field(&greeting, "proto").integer(), 3);
}

#[test]
fn without_a_password_one_is_a_mistake_unless_a_user_is_named() {
    let server = Running::start();
    let mut client = server.client();
    let reply = client.call("AUTH something").to_string();
    assert!(reply.contains("without any password configured"), "{reply}");
    client.check(&[("AUTH default anything", "+OK")]);
}

#[test]
fn large_requests_are_taken_right_after_the_password() {
    let server = Running::with(&[("requirepass", "secret")]);
    let mut client = server.client();
    let value = "x".repeat(100_000);
    client.send_request(&["AUTH", "secret"]);
    client.send_request(&["SET", "k", &value]);
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.read().to_string(), "+OK");
}

#[test]
fn reset_makes_a_connection_new() {
    let server = Running::start();
    let mut client = server.client();
    assert!(matches!(client.call("HELLO 3"), Value::Map(_)));
    client.check(&[("RESET", "+RESET"), ("GET none", "nil"), ("PING", "+PONG")]);
    assert!(matches!(client.call("HELLO"), Value::Array(_)));
}

#[test]
fn a_server_that_stands_alone_says_so() {
    let server = Running::start();
    server.client().check(&[
        ("SELECT 0", "+OK"),
        ("SELECT 1", "-ERR DB index is out of range"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        (
            "CLUSTER INFO",
            "-ERR This instance has cluster support disabled",
        ),
        ("ASKING", "-ERR This instance has cluster support disabled"),
        ("READONLY", "+OK"),
        ("READWRITE", "+OK"),
        ("ROLE", "[\"master\", :0, []]"),
        ("WAIT 0 0", ":0"),
        ("WAIT 1 -1", "-ERR timeout is negative"),
        ("WAIT 1 9223372036854775807", "-ERR timeout is out of range"),
        (
            "CLUSTER NONSENSE",
            "-ERR unknown subcommand 'NONSENSE'. Try CLUSTER HELP.",
        ),
        (
            "CLUSTER",
            "-ERR wrong number of arguments for 'cluster' command",
        ),
    ]);
}

#[test]
fn help_names_every_subcommand() {
    let server = Running::start();
    let help = server.client().call("CLUSTER HELP").to_string();
    assert!(
        help.contains("+KEYSLOT key") && help.contains("+HELP"),
        "{help}"
    );
}

#[test]
fn words_of_a_line_may_be_quoted_in_part() {
    let server = Running::start();
    let mut client = server.client();
    client.send(b"SET \"\"\"tes\"t-'k'e\"y\" \"test\"'-'value\r\nGET test'-'key\r\n");
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.read().to_string(), r#""test-value""#);
    for line in [&b"SET k 'b'a'r\r\n"[..], b"SET k \"b\"a\"r\r\n"] {
        let mut client = server.client();
        client.send(line);
        assert_eq!(
            client.read_to_end(),
            b"-ERR Protocol error: unbalanced quotes in request\r\n"
        );
    }
}

#[test]
fn lines_and_arguments_end_with_cr_and_lf() {
    let server = Running::start();
    for request in [
        &b"*1\rx$4\r\nPING\r\n"[..],
        b"*1\r\n$4\rxPING\r\n",
        b"*1\r\n$4\r\nPINGx\n",
        b"*1\r\n$4\r\nPING\rx",
        b"*2\r\n$4\r\nPINGxx$1\r\nx\r\n",
    ] {
        let mut client = server.client();
        client.send(request);
        assert_eq!(
            client.read_to_end(),
            b"-ERR Protocol error: invalid CRLF in request\r\n",
            "{}",
            request.escape_ascii()
        );
    }
}

#[test]
fn clients_that_send_at_once_are_each_served_as_if_alone() {
    const BUSY: usize = 20_000;
    let server = Running::with(&[("threads", "1")]);
    let mut busy = server.client();
    let mut clients: Vec<Client> = (0..48).map(|_| server.client()).collect();
    clients[0].check(&[("SET key value", "+OK")]);
    let long = "x".repeat(10_000);
    for round in 0..3 {
        // What the others send while the thread is at work is there at once.
        busy.send(&request(&["GET", "key"]).repeat(BUSY));
        for (index, client) in clients.iter_mut().enumerate() {
            let own = format!("{round}:{index}");
            match index % 8 {
                0 => client.send(b"GET key\r\n"),
                1 => client.send(&request(&["GET", "key"])[..9]),
                2 => client.send_request(&["SET", &own, &long]),
                3 => client.send(&request(&["GET", "key"]).repeat(300)),
                4 => client.send(b"*1\r\n:1\r\n"),
                5 => {
                    client.send_request(&["GET", "key"]);
                    client.finish();
                }
                6 => client.send(b"\r\n"),
                _ => client.send_request(&["GET", "key"]),
            }
        }
        let replies = b"$5\r\nvalue\r\n".repeat(BUSY);
        assert!(busy.read_bytes(replies.len()) == replies);
        for (index, client) in clients.iter_mut().enumerate() {
            let own = format!("{round}:{index}");
            match index % 8 {
                1 => {
                    client.send(&request(&["GET", "key"])[9..]);
                    assert_eq!(client.read().text(), "value");
                }
                2 => {
                    assert_eq!(client.read().to_string(), "+OK");
                    assert_eq!(client.call_with(&["GET", &own]).text(), long);
                }
                3 => {
                    for _ in 0..300 {
                        assert_eq!(client.read().text(), "value");
                    }
                }
                4 => {
                    let error = "-ERR Protocol error: expected '$', got ':'\r\n";
                    assert_eq!(client.read_to_end(), error.as_bytes());
                    *client = server.client();
                }
                5 => {
                    assert_eq!(client.read_to_end(), b"$5\r\nvalue\r\n");
                    *client = server.client();
                }
                6 => client.check(&[("PING", "+PONG")]),
                _ => assert_eq!(client.read().text(), "value"),
            }
        }
    }
}
