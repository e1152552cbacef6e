//! `CONFIG`: settings while the server runs.

use crate::harness::{Client, Running};
use std::fs;

fn setting(client: &mut Client, name: &str) -> String {
    let reply = client.call(&format!("CONFIG GET {name}"));
    let pair = reply.elements();
    assert_eq!(pair.len(), 2, "{name}: {reply}");
    pair[1].text()
}

#[test]
fn settings_are_found_by_patterns_each_once_and_sorted() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CONFIG GET timeout TIME* nonsense", "[\"timeout\", \"0\"]"),
        ("CONFIG GET nonsense", "[]"),
        (
            "CONFIG GET save appendonly",
            "[\"appendonly\", \"no\", \"save\", \"\"]",
        ),
    ]);
    let all = client.call("CONFIG GET *");
    let names: Vec<String> = all
        .elements()
        .chunks(2)
        .map(|pair| pair[0].text())
        .collect();
    assert!(names.len() > 30 && names.is_sorted(), "{names:?}");
}

#[test]
fn settings_change_together_or_not_at_all() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CONFIG SET timeout 100 maxclients 50", "+OK"),
        (
            "CONFIG SET timeout 7 maxclients many",
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must \
             be a whole number from 0 to 4294967295",
        ),
        (
            "CONFIG SET timeout 7 port 1",
            "-ERR CONFIG SET failed (possibly related to argument 'port') - can't set immutable \
             config",
        ),
        (
            "CONFIG SET timeout 7 TIMEOUT 8",
            "-ERR CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter",
        ),
        (
            "CONFIG SET timeout 7 nonsense 8",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'",
        ),
        (
            "CONFIG SET timeout 7 maxclients",
            "-ERR wrong number of arguments for 'config|set' command",
        ),
    ]);
    assert_eq!(setting(&mut client, "timeout"), "100");
    assert_eq!(setting(&mut client, "maxclients"), "50");
}

#[test]
fn what_is_read_can_be_set_again() {
    let server = Running::start();
    let mut client = server.client();
    let all = client.call("CONFIG GET *");
    for pair in all.elements().chunks(2) {
        let reply = client.call_with(&[b"CONFIG", &b"SET"[..], pair[0].bytes(), pair[1].bytes()]);
        assert_eq!(reply.to_string(), "+OK", "{}", pair[0]);
    }
    assert_eq!(client.call("CONFIG GET *"), all);
}

#[test]
fn settings_of_redis_are_taken_where_that_is_no_lie() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CONFIG SET save \"\" appendonly no", "+OK"),
        (
            "CONFIG SET appendonly yes",
            "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - can't set \
             immutable config",
        ),
        ("CONFIG SET lazyfree-lazy-expire no", "+OK"),
        ("CONFIG SET min-string-size-avoid-copy-reply 0", "+OK"),
        ("CONFIG SET maxmemory-clients 0", "+OK"),
        ("CONFIG SET list-max-listpack-size 5", "+OK"),
        ("CONFIG SET hash-max-ziplist-entries 7", "+OK"),
    ]);
    assert_eq!(setting(&mut client, "lazyfree-lazy-expire"), "no");
    assert_eq!(setting(&mut client, "hash-max-listpack-entries"), "7");
}

#[test]
fn the_file_is_rewritten_if_there_is_one() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[(
        "CONFIG REWRITE",
        "-ERR The server is running without a config file",
    )]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nuthatch.toml");
    fs::write(&path, "# mine\ntimeout = 3\n").expect("a file");
    let file = &server.server().config_file;
    file.set(path.clone()).expect("no file yet");
    client.check(&[
        ("CONFIG SET timeout 9 maxclients 77", "+OK"),
        ("CONFIG REWRITE", "+OK"),
    ]);
    let text = fs::read_to_string(&path).expect("the file");
    assert!(text.starts_with("# mine\ntimeout = \"9\"\n"), "{text}");
    assert!(text.contains("maxclients = \"77\"\n"), "{text}");
}
