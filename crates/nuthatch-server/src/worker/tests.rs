//! A data thread that is told what time it is.

use super::{Listener, Ordering, STUCK, TICK, TcpListener, Worker, prepare};
use crate::clock;
use crate::config::Config;
use crate::server::Server;
use mio::Events;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A data thread that works when it is told to, and a client of it.
struct Driven {
    worker: Worker,
    events: Events,
    socket: TcpStream,
    /// Bytes of requests that were sent.
    sent: usize,
}

/// What it asks again and again, for a reply that is long.
const REQUEST: &[u8] = b"GET k\r\n";

impl Driven {
    fn new() -> Self {
        let server = Server::new(Config::default(), 1, clock::now_ms(), None).expect("a server");
        let bound = 16 << 20;
        server.max_memory_bytes.store(bound, Ordering::Relaxed);
        let (poll, handle) = prepare(0).expect("an event queue");
        let workers = &server.observers.post.workers;
        assert!(workers.set(vec![Arc::clone(&handle)]).is_ok());
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("an option");
        let address = listener.local_addr().expect("an address");
        let listeners = vec![Listener::Tcp(TcpListener::from_std(listener))];
        let worker = Worker::new(server, poll, handle, listeners).expect("a data thread");
        let mut socket = TcpStream::connect(address).expect("a listener");
        socket
            .write_all(b"SETRANGE k 1000000 v\r\n")
            .expect("an open socket");
        socket.set_nonblocking(true).expect("an option");
        Self {
            worker,
            events: Events::with_capacity(16),
            socket,
            sent: 0,
        }
    }

    /// Serves what has come.
    fn work(&mut self) {
        let moment = Duration::from_millis(1);
        self.worker.wake(&mut self.events, moment).expect("events");
    }

    /// Sends requests until the worker takes no more of them, and neither does the system.
    fn send_until_stuck(&mut self) {
        let pipeline = REQUEST.repeat(1000);
        let mut refused = 0;
        while refused < 20 {
            // From where the last request was cut off.
            match self.socket.write(&pipeline[self.sent % REQUEST.len()..]) {
                Ok(sent) => {
                    self.sent += sent;
                    refused = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
                Err(error) => panic!("{error}"),
            }
            self.work();
        }
    }

    fn is_connected(&self) -> bool {
        self.worker.tokens.len() == 1
    }
}

#[test]
fn a_client_that_is_stuck_for_a_minute_is_disconnected() {
    let mut driven = Driven::new();
    driven.send_until_stuck();
    let start = Instant::now() + TICK;
    for passed in [Duration::ZERO, STUCK / 2, STUCK - TICK] {
        driven.worker.tick(start + passed);
        assert!(driven.is_connected(), "after {passed:?}");
    }
    driven.worker.tick(start + STUCK);
    assert!(!driven.is_connected());
    let stats = &driven.worker.handle.stats;
    assert_eq!(stats.output_limit_disconnections.get(), 1);
}

#[test]
fn a_stuck_client_that_reads_in_time_is_served_on() {
    let mut driven = Driven::new();
    driven.send_until_stuck();
    let start = Instant::now() + TICK;
    driven.worker.tick(start);
    let token = driven.worker.tokens.values().copied().next().expect("one");
    let mut buffer = vec![0; 1 << 20];
    let is_stuck = |worker: &Worker| {
        let connection = worker.connections[token].as_ref().expect("it is there");
        connection.is_stalled && !worker.may_keep(connection)
    };
    assert!(is_stuck(&driven.worker));
    while is_stuck(&driven.worker) {
        match driven.socket.read(&mut buffer) {
            Ok(read) => assert!(read > 0, "it is open"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        driven.work();
    }
    driven.worker.tick(start + STUCK);
    assert!(driven.is_connected());
    // The time that it was stuck before does not count.
    driven.send_until_stuck();
    driven.worker.tick(start + 2 * STUCK);
    driven.worker.tick(start + 3 * STUCK - TICK);
    assert!(driven.is_connected());
    driven.worker.tick(start + 3 * STUCK);
    assert!(!driven.is_connected());
}
