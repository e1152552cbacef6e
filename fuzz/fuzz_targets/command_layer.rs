//! Any requests, of either protocol, get replies that are whole values, and the keyspace keeps its
//! invariants.
//!
//! A server without sockets and threads runs them. Left out is what ends or stops a server on purpose.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nuthatch_server::client::{Client, Route};
use nuthatch_server::command::{self, Entry};
use nuthatch_server::config::{Bytes, Config};
use nuthatch_server::context::Context;
use nuthatch_server::server::Server;
use nuthatch_server::session::Session;
use nuthatch_server::{clock, executor, memcached, worker};
use nuthatch_wire::memcached::{Limits, Parsed, RequestParser};
use nuthatch_wire::resp::{OwnedRequest, Protocol, Reply};
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_resp3: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Command { number: u16, words: Vec<Word<'a>> },
    Memcached(&'a [u8]),
}

/// An argument: mostly one that means something to many commands.
#[derive(Arbitrary, Debug)]
enum Word<'a> {
    Key(u8),
    Small(i8),
    Large(i64),
    Option(u8),
    Bytes(&'a [u8]),
}

const OPTIONS: &[&str] = &[
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "NX",
    "XX",
    "GT",
    "LT",
    "FNX",
    "FXX",
    "GET",
    "SET",
    "INCRBY",
    "KEEPTTL",
    "PERSIST",
    "IFEQ",
    "MATCH",
    "COUNT",
    "TYPE",
    "string",
    "hash",
    "FIELDS",
    "WITHVALUES",
    "NOVALUES",
    "REPLACE",
    "ABSTTL",
    "DB",
    "BIT",
    "BYTE",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "u8",
    "i64",
    "OVERFLOW",
    "WRAP",
    "SAT",
    "FAIL",
    "LEN",
    "IDX",
    "MINMATCHLEN",
    "WITHMATCHLEN",
    "*",
    "k*",
    "1.5",
    "-inf",
    "ON",
    "OFF",
    "BCAST",
    "PREFIX",
    "OPTIN",
    "NOLOOP",
    "ID",
    "ADDR",
    "on",
    "+@all",
    "~*",
    "nopass",
];

impl Word<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Key(number) => format!("k{}", number % 4).into_bytes(),
            Self::Small(number) => number.to_string().into_bytes(),
            Self::Large(number) => number.to_string().into_bytes(),
            Self::Option(number) => OPTIONS[usize::from(*number) % OPTIONS.len()].into(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

fn is_left_out(entry: &Entry) -> bool {
    let name = entry.full_name.as_str();
    name == "shutdown" || name == "client|pause" || name.starts_with("debug")
}

fn words_of(number: u16, words: &[Word<'_>]) -> Option<OwnedRequest> {
    let entries = command::table().entries();
    let entry = &entries[usize::from(number) % entries.len()];
    if is_left_out(entry) {
        return None;
    }
    let mut args: Vec<Vec<u8>> = entry
        .full_name
        .as_str()
        .split('|')
        .map(|name| name.as_bytes().to_vec())
        .collect();
    args.extend(words.iter().map(Word::to_bytes));
    Some(OwnedRequest::new(args.iter().map(Vec::as_slice)))
}

/// The length of the value that `bytes` begins with.
fn value_bytes(bytes: &[u8]) -> usize {
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("a line that ends");
    let number = || -> i64 {
        let text = std::str::from_utf8(&bytes[1..end]).expect("digits");
        text.parse().expect("a number")
    };
    let after_line = end + 2;
    match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => after_line,
        b'$' | b'=' if number() < 0 => after_line,
        b'$' | b'=' => {
            let end = after_line + number() as usize;
            assert_eq!(&bytes[end..end + 2], b"\r\n");
            end + 2
        }
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let fields = if kind == b'%' { 2 } else { 1 };
            let mut end = after_line;
            for _ in 0..number().max(0) * fields {
                end += value_bytes(&bytes[end..]);
            }
            end
        }
        other => panic!("no value begins with {other}"),
    }
}

fuzz_target!(|input: Input<'_>| {
    clock::keep_time();
    let config = Config {
        maxmemory: Bytes(1 << 20),
        proto_max_bulk_len: Bytes(1 << 16),
        threads: 1,
        ..Config::default()
    };
    let server = Server::new(config, 1, clock::now_ms(), None).expect("a keyspace");
    let (_poll, handle) = worker::prepare(0).expect("an event queue");
    let workers = vec![Arc::clone(&handle)];
    let post = &server.observers.post;
    post.workers.set(workers).expect("set once");
    let route = Route {
        address: "127.0.0.1:1".to_owned(),
        local_address: "127.0.0.1:2".to_owned(),
        descriptor: -1,
        is_unix: false,
    };
    let client = Arc::new(Client::new(1, route, 0, clock::now_ms()));
    server.clients.add(&client);
    let user = Arc::clone(server.acl.default_user());
    let mut session = Session::new(client, user, true);
    let protocol = if input.is_resp3 {
        Protocol::Resp3
    } else {
        Protocol::Resp2
    };
    let mut reply = Reply::new(protocol);
    let mut parser = RequestParser::new(Limits::default());
    for step in &input.steps {
        let config = server.config();
        let mut context = Context {
            server: &server,
            config: &config,
            session: &mut session,
            reply: &mut reply,
            worker: &handle,
            in_transaction: false,
        };
        match step {
            Step::Command { number, words } => {
                let Some(request) = words_of(*number, words) else {
                    continue;
                };
                executor::execute(&mut context, request.args());
                let mut rest = reply.as_bytes();
                while !rest.is_empty() {
                    rest = &rest[value_bytes(rest)..];
                }
            }
            Step::Memcached(bytes) => {
                if let Parsed::Whole { request, .. } = parser.parse(bytes) {
                    memcached::execute(&mut context, request);
                    let text = reply.as_bytes();
                    assert!(text.is_empty() || text.ends_with(b"\r\n"));
                }
                parser = RequestParser::new(Limits::default());
            }
        }
        reply.clear(0);
    }
    session.leave(&server);
    server.keyspace.cache().validate();
});
