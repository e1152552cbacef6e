//! What clients send when they connect, byte for byte, for clients whose languages these tests do
//! not run: the files in `tests/clients/handshakes` say what is sent and which replies the client
//! goes on after.

use crate::harness::{Client, Running};

#[test]
fn go_redis_connects() {
    replay(include_str!("../clients/handshakes/go-redis.txt"));
}

#[test]
fn go_redis_connects_over_version_2_and_subscribes() {
    replay(include_str!("../clients/handshakes/go-redis-resp2.txt"));
}

#[test]
fn lettuce_connects() {
    replay(include_str!("../clients/handshakes/lettuce.txt"));
}

#[test]
fn lettuce_connects_over_version_2() {
    replay(include_str!("../clients/handshakes/lettuce-resp2.txt"));
}

/// Plays the client's part of a file, once as it writes and once byte by byte.
fn replay(handshake: &str) {
    let server = Running::start();
    let mut whole = server.client();
    play(handshake, &mut whole, |client, bytes| client.send(bytes));
    let mut in_bytes = server.client();
    play(handshake, &mut in_bytes, |client, bytes| {
        for byte in bytes {
            client.send(&[*byte]);
        }
    });
}

fn play(handshake: &str, client: &mut Client, send: impl Fn(&mut Client, &[u8])) {
    for line in handshake.lines() {
        if let Some(bytes) = line.strip_prefix("> ") {
            send(client, bytes.replace("\\r\\n", "\r\n").as_bytes());
        } else if let Some(patterns) = line.strip_prefix("< ") {
            let reply = client.read().to_string();
            assert!(
                patterns
                    .split(" | ")
                    .any(|pattern| matches(pattern, &reply)),
                "{reply} is no reply that the client goes on after: {patterns}"
            );
        } else {
            assert!(line.starts_with('#'), "{line}");
        }
    }
}

/// Whether `text` is as `pattern` says, in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    text.char_indices()
        .map(|(at, _)| &text[at..])
        .chain([""])
        .any(|text| matches(rest, text))
}
