//! The harness itself: it shows replies of every kind, and the server it starts is a real one.

use crate::harness::{Client, Running, Value};

#[test]
fn a_reply_of_every_kind_is_shown_as_it_came() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        (r#"SET "a key" "line\r\n\x00\"""#, "+OK"),
        (r#"GET "a key""#, r#""line\r\n\x00\"""#),
        ("GET nothing", "nil"),
        ("EXISTS nothing", ":0"),
        ("SET n x", "+OK"),
        ("INCR n", "-ERR value is not an integer or out of range"),
    ]);
    let moment = client.call("TIME");
    assert_eq!(moment.elements().len(), 2);
    assert!(moment.elements()[0].text().parse::<u64>().is_ok());
}

#[test]
fn values_read_back_from_the_bytes_of_both_versions() {
    let cases: &[(&[u8], &str)] = &[
        (b"*2\r\n$-1\r\n*-1\r\n", "[nil, nil-array]"),
        (b"%1\r\n+a\r\n~1\r\n_\r\n", "{+a: ~[nil]}"),
        (b">2\r\n#t\r\n#f\r\n", ">[#t, #f]"),
        (
            b"*2\r\n,1.5\r\n(99999999999999999999\r\n",
            "[,1.5, (99999999999999999999]",
        ),
        (b"=6\r\ntxt:hi\r\n", "=txt:hi"),
    ];
    for (bytes, shown) in cases {
        for cut in 0..bytes.len() {
            assert_eq!(Value::read(&bytes[..cut]), None, "{shown} cut at {cut}");
        }
        let (value, length) = Value::read(bytes).expect("a whole value");
        assert_eq!((value.to_string().as_str(), length), (*shown, bytes.len()));
    }
    let verbatim = Value::Verbatim("txt:hi".to_owned());
    assert_eq!(verbatim.text(), "hi");
    assert_eq!(Value::Integer(7).integer(), 7);
}

#[test]
fn requests_may_be_sent_ahead_of_their_replies() {
    let server = Running::with(&[("threads", "1")]);
    let mut client = Client::connect(server.port());
    for number in 1..=3 {
        client.send_request(&["INCRBY", "n", &number.to_string()]);
    }
    let sums: Vec<i64> = (0..3).map(|_| client.read().integer()).collect();
    assert_eq!(sums, [1, 3, 6]);
    client.send(b"GET n\r\n");
    assert_eq!(client.read_bytes(7), b"$1\r\n6\r\n");
    assert_eq!(server.server().keyspace.cache().len(), 1);
    client.finish();
    assert_eq!(client.read_to_end(), b"");
}
