//! Clients that misbehave, and many of them: they cost little, and others are served meanwhile.

use crate::harness::{Client, PATIENCE, Running, request};
use nuthatch_server::client::Client as Connected;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use tempfile::TempDir;

/// What the server knows of the client connected last.
fn newest(server: &Running) -> Arc<Connected> {
    let clients = server.server().clients.all();
    Arc::clone(clients.last().expect("a client"))
}

/// Lets the server work until it is so; a test that waits in vain is ended by who runs it.
fn wait_until(other: &mut Client, is_so: impl Fn() -> bool) {
    while !is_so() {
        other.check(&[("PING", "+PONG")]);
    }
}

fn connect(server: &Running) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("a listener");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

#[test]
fn ten_thousand_idle_connections_hold_no_buffers_and_are_still_served() {
    /// What the program itself may keep of a client that has nothing under way.
    const BYTES_PER_CLIENT: u64 = 4096;
    // The program has files of its own; what the system does not grant cannot be tested here.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = files.saturating_sub(1_000).min(10_000);
    eprintln!("{count} connections");
    let program = Program::start("--maxclients 10001 --threads 2");
    let mut first = program.connect();
    ping(&mut first);
    let before = program.resident_bytes();
    let mut sockets: Vec<UnixStream> = (1..count).map(|_| program.connect()).collect();
    for _ in 0..2 {
        for socket in &mut sockets {
            socket.write_all(b"PING\r\n").expect("an open socket");
        }
        for socket in &mut sockets {
            expect_pong(socket);
        }
    }
    let grown = program.resident_bytes().saturating_sub(before);
    assert!(
        grown < count * BYTES_PER_CLIENT,
        "{grown} bytes are resident for {count} clients"
    );
    drop(sockets);
    ping(&mut first);
}

#[test]
fn data_threads_share_clients_evenly() {
    let server = Running::with(&[("threads", "2")]);
    let clients: Vec<Client> = (0..100).map(|_| server.client()).collect();
    server.await_clients(clients.len());
    let counts = || {
        let workers = server.server().workers().iter();
        workers.map(|worker| worker.stats.clients.get()).collect()
    };
    let mut other = server.client();
    wait_until(&mut other, || {
        let counts: Vec<u64> = counts();
        counts.iter().sum::<u64>() == 101 && counts[0].abs_diff(counts[1]) <= 1
    });
}

#[test]
fn what_waits_for_a_client_that_never_reads_is_bounded() {
    // An eighth of it may be requests that wait, but at least 4 MiB.
    let server = Running::with(&[("threads", "1"), ("maxmemory", "64mb")]);
    let most_kept = 8 << 20;
    let value = vec![b'v'; 100_000];
    let mut other = server.client();
    other.call_with(&[&b"SET"[..], b"k", &value]);
    let mut socket = connect(&server);
    socket.set_nonblocking(true).expect("an option");
    let pipeline = request(&["GET", "k"]).repeat(1000);
    wait_until(&mut other, || server.server().clients.len() == 2);
    let stalled = newest(&server);
    let (mut most, mut refused) = (0, 0);
    // Until as much waits as may, and then for long enough to see that no more is taken.
    while most < most_kept || refused < 100 {
        match socket.write(&pipeline) {
            Ok(_) => refused = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        other.check(&[("PING", "+PONG")]);
        // A batch that is sent at 256 KiB, and the reply that brought it there.
        let waits = stalled.output_bytes.load(Ordering::Relaxed);
        assert!(waits < 512 * 1024, "{waits} bytes wait");
        most = stalled.input_bytes.load(Ordering::Relaxed).max(most);
        // It is seen once a turn, of four reads.
        assert!(
            most < most_kept + 4 * 64 * 1024,
            "{most} bytes of requests wait"
        );
    }
    drop(socket);
    wait_until(&mut other, || server.server().clients.len() == 1);
}

#[test]
fn a_pipeline_may_be_written_whole_before_anything_is_read() {
    const ROUNDS: u8 = 24;
    let server = Running::with(&[("threads", "1"), ("maxmemory", "256mb")]);
    let value = |round: u8| vec![b'a' + round; 1 << 20];
    let (mut pipeline, mut expected) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        pipeline.extend(request(&[b"SET".as_slice(), b"key", &value(round)]));
        pipeline.extend(request(&["GET", "key"]));
        expected.extend_from_slice(b"+OK\r\n$1048576\r\n");
        expected.extend(value(round));
        expected.extend_from_slice(b"\r\n");
    }
    let mut client = server.client();
    client.send(&pipeline);
    assert!(client.read_bytes(expected.len()) == expected);
    // The same when the client says at once that this was all.
    client.send(&pipeline);
    client.finish();
    assert!(client.read_to_end() == expected);
}

#[test]
fn a_long_request_is_whole_in_whatever_pieces_it_comes() {
    /// Where the request is cut: within its head, before and after there is enough of it to make room for
    /// the rest, within a read and after many, before its last byte.
    const CUTS: [usize; 8] = [1, 15, 30, 1_500, 30_000, 100_000, 399_000, 400_025];
    let settings = [("threads", "1"), ("memcached-port", "free")];
    let server = Running::with(&settings);
    let mut other = server.client();
    let value: Vec<u8> = (0..400_000_u32).map(|index| (index % 251) as u8).collect();
    let resp = request(&[&b"SET"[..], b"key", &value]);
    let memcached = [b"set key 0 0 400000\r\n", value.as_slice(), b"\r\n"].concat();
    for (port, whole, reply) in [
        (server.port(), resp, &b"+OK\r\n"[..]),
        (
            server.server().config().memcached_port,
            memcached,
            b"STORED\r\n",
        ),
    ] {
        for cuts in [&CUTS[..], &CUTS[4..5], &CUTS[1..2], &[]] {
            other.call("DEL key");
            let clients = server.server().clients.len();
            let mut client = Client::connect(port);
            wait_until(&mut other, || server.server().clients.len() > clients);
            let known = newest(&server);
            let mut sent = 0;
            for &cut in cuts {
                let cut = cut.min(whole.len() - 1);
                client.send(&whole[sent..cut]);
                sent = cut;
                let read = || known.read_bytes.load(Ordering::Relaxed);
                wait_until(&mut other, || read() == sent as u64);
            }
            // What follows it is the next request's.
            client.send(&[&whole[sent..], &whole[..100]].concat());
            assert_eq!(client.read_bytes(reply.len()), reply);
            assert!(other.call("GET key").bytes() == value);
            client.send(&whole[100..]);
            assert_eq!(client.read_bytes(reply.len()), reply);
        }
    }
}

#[test]
fn requests_that_are_half_there_wait_alone() {
    let server = Running::with(&[("threads", "1")]);
    let whole = request(&["SET", "key", "value"]);
    let mut halves: Vec<Client> = (1..whole.len())
        .map(|cut| {
            let mut client = server.client();
            client.send(&whole[..cut]);
            client
        })
        .collect();
    server.client().check(&[("EXISTS key", ":0")]);
    for (client, cut) in halves.iter_mut().zip(1..) {
        client.send(&whole[cut..]);
        assert_eq!(client.read().text(), "OK");
    }
}

#[test]
fn announced_bytes_are_not_reserved() {
    let server = Running::with(&[("threads", "1"), ("memcached-port", "free")]);
    let mut heads = Vec::new();
    for head in [
        &b"*1\r\n$536870912\r\n"[..],
        b"*1048576\r\n",
        b"*2\r\n$3\r\nGET\r\n$99999999\r\n",
    ] {
        let mut client = server.client();
        client.send(head);
        heads.push(client);
    }
    let memcached_port = server.server().config().memcached_port;
    let mut client = Client::connect(memcached_port);
    client.send(b"set k 0 0 536870912\r\n");
    heads.push(client);
    let mut other = server.client();
    other.check(&[("PING", "+PONG")]);
    // The next tick counts what all connections hold.
    let buffered = &server.server().workers()[0].stats.buffered_bytes;
    wait_until(&mut other, || buffered.get() > 0);
    assert!(buffered.get() < 64 * 1024, "{} bytes", buffered.get());
}

#[test]
fn garbage_ends_its_own_connection_at_most() {
    let server = Running::with(&[("memcached-port", "free")]);
    let memcached_port = server.server().config().memcached_port;
    let mut other = server.client();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..200 {
        let bytes: Vec<u8> = (0..random.usize(1..3_000))
            .map(|_| match random.u8(0..4) {
                0 => b"*$\r\n 0123456789-"[random.usize(0..16)],
                _ => random.u8(..),
            })
            .collect();
        let port = if round % 2 == 0 {
            server.port()
        } else {
            memcached_port
        };
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listener");
        let mut writer = &socket;
        // The server may have closed already.
        drop(writer.write_all(&bytes));
        drop(socket);
        other.check(&[("PING", "+PONG")]);
    }
    wait_until(&mut other, || server.server().clients.len() == 1);
}

#[test]
fn errors_of_the_protocol_are_told_before_the_connection_ends() {
    let server = Running::start();
    // Announced and not sent: the client may still do so.
    let mut patient = server.client();
    patient.send(b"*2147483647\r\n$4\r\n");
    let digits = "1".repeat(70_000);
    let lines = [
        (digits.clone(), "too big inline request"),
        (format!("*{digits}"), "too big mbulk count string"),
        (format!("*1\r\n${digits}"), "too big bulk count string"),
    ];
    let short = [
        ("set \"a b\r\n", "unbalanced quotes in request"),
        ("set 'a b\r\n", "unbalanced quotes in request"),
        ("*x\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*9223372036854775808\r\n", "invalid multibulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
        ("*1\r\nGET\r\n", "expected '$', got 'G'"),
        ("*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        (
            "*2\r\n$4\r\nECHO\r\n$1\r\nxyz\r\n",
            "invalid CRLF in request",
        ),
    ];
    let short = short.map(|(bytes, error)| (bytes.to_owned(), error));
    for (bytes, error) in short.into_iter().chain(lines) {
        let mut client = server.client();
        client.send(b"PING\r\n");
        client.send(bytes.as_bytes());
        let told = client.read_to_end();
        let expected = format!("+PONG\r\n-ERR Protocol error: {error}\r\n");
        assert_eq!(String::from_utf8_lossy(&told), expected, "{bytes:.40}");
    }
    // No requests, and no errors.
    let mut client = server.client();
    client.send(b"*0\r\n*-1\r\n*-10\r\n\r\n");
    client.check(&[("PING", "+PONG")]);
    drop(patient);
}

#[test]
fn idle_clients_are_disconnected_also_within_a_request() {
    let server = Running::with(&[("timeout", "1"), ("memcached-port", "free")]);
    let memcached_port = server.server().config().memcached_port;
    let mut clients = [
        server.client(),
        server.client(),
        Client::connect(memcached_port),
    ];
    clients[1].send(b"*2\r\n$3\r\nGET\r\n$1\r\n");
    clients[2].send(b"set k 0 0 10\r\nhalf");
    for client in &mut clients {
        assert_eq!(client.read_to_end(), b"");
    }
}

#[test]
fn connections_that_break_within_a_pipeline_leave_nothing_behind() {
    let server = Running::start();
    let mut other = server.client();
    let pipeline = request(&["INCR", "n"]).repeat(50);
    for cut in 0..200 {
        let socket = connect(&server);
        // The connection ends with a reset, whatever is under way.
        socket2::SockRef::from(&socket)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("an option");
        let mut writer = &socket;
        writer
            .write_all(&pipeline[..pipeline.len() - cut])
            .expect("an open socket");
    }
    other.check(&[("PING", "+PONG")]);
    wait_until(&mut other, || server.server().clients.len() == 1);
    let counts = server.server().workers().iter();
    let connected: u64 = counts.map(|worker| worker.stats.clients.get()).sum();
    assert_eq!(connected, 1);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_replies() {
    let server = Running::start();
    let value = vec![b'v'; 100_000];
    let mut client = server.client();
    client.call_with(&[&b"SET"[..], b"k", &value]);
    let count = 300;
    client.send(&request(&["GET", "k"]).repeat(count));
    client.finish();
    for _ in 0..count {
        assert_eq!(client.read().bytes().len(), value.len());
    }
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn clients_beyond_the_limit_are_turned_away_until_others_leave() {
    let server = Running::with(&[("maxclients", "3")]);
    let mut admitted: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut admitted {
        client.check(&[("PING", "+PONG")]);
    }
    for _ in 0..5 {
        let told = server.client().read_to_end();
        assert_eq!(told, b"-ERR max number of clients reached\r\n");
    }
    assert_eq!(
        server.server().rejected_connections.load(Ordering::Relaxed),
        5
    );
    admitted.pop();
    wait_until(&mut admitted[0], || server.server().clients.len() == 2);
    server.client().check(&[("PING", "+PONG")]);
}

#[test]
fn a_reader_too_slow_for_its_limit_is_disconnected() {
    for limit in ["normal 1mb 0 0", "normal 0 1mb 1"] {
        let server = Running::with(&[("client-output-buffer-limit", limit)]);
        let mut other = server.client();
        // More than the sockets' own buffers hold.
        let value = vec![b'v'; 48 << 20];
        other.call_with(&[&b"SET"[..], b"k", &value]);
        let mut slow = server.client();
        slow.send_request(&["GET", "k"]);
        wait_until(&mut other, || {
            let server = server.server();
            server.total(|stats| stats.output_limit_disconnections.get()) == 1
        });
        assert!(slow.read_to_end().len() < value.len());
        other.check(&[("PING", "+PONG")]);
    }
}

/// The program in a process of its own, which ends when this is dropped.
struct Program {
    child: Child,
    dir: TempDir,
}

impl Program {
    /// Starts it with a Unix socket and these settings.
    fn start(settings: &str) -> Self {
        Self::start_after("true", settings)
    }

    /// As [`start`](Self::start), after a shell has run `preparation`.
    fn start_after(preparation: &str, settings: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let script = format!(
            "{preparation}; exec \"$0\" serve --port 0 --http-port 0 --unixsocket \"$1\" --maxmemory 64mb {settings}"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_nuthatch"))
            .arg(dir.path().join("socket"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let program = Self { child, dir };
        while UnixStream::connect(program.socket()).is_err() {
            thread::yield_now();
        }
        program
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn connect(&self) -> UnixStream {
        let socket = UnixStream::connect(self.socket()).expect("room in the backlog");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket
    }

    /// What the process holds resident.
    fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = fs::read_to_string(path).expect("a process that runs");
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        let pages: u64 = pages.expect("resident pages");
        pages * rustix::param::page_size() as u64
    }

    /// Ends it and returns what it has logged.
    fn end(mut self) -> String {
        self.child.kill().expect("our own child");
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut log).expect("text");
        log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

fn ping(socket: &mut UnixStream) {
    socket.write_all(b"PING\r\n").expect("an open socket");
    expect_pong(socket);
}

fn expect_pong(socket: &mut UnixStream) {
    let mut reply = [0; 7];
    socket.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
}

#[test]
fn clients_wait_while_there_are_no_files_and_are_served_when_there_are() {
    let program = Program::start_after("ulimit -n 40", "--threads 1");
    let mut first = program.connect();
    ping(&mut first);
    let many: Vec<UnixStream> = (0..60).map(|_| program.connect()).collect();
    let mut last = program.connect();
    // Long enough for thousands of vain attempts, if any followed another at once.
    for _ in 0..2_000 {
        ping(&mut first);
    }
    drop(many);
    ping(&mut last);
    let log = program.end();
    let attempts = log.matches("could not be accepted").count();
    assert!((1..100).contains(&attempts), "{attempts} attempts: {log}");
}
