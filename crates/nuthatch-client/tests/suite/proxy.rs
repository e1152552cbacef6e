//! A network that can be cut: what is sent through it waits until it is whole again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Passes on what is sent to its port, both ways, unless it is cut.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    ended: AtomicBool,
}

/// How soon a cut, and its end, is noticed.
const NOTICE: Duration = Duration::from_millis(1);

impl Proxy {
    /// To a port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own_port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                // The server may be down: then so is this connection.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    pass_on(&client, &server, &shared);
                    pass_on(&server, &client, &shared);
                }
            }
        });
        Self {
            port: own_port,
            state,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Nothing comes through any more, and no connection breaks.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// All that waits comes through.
    pub(crate) fn mend(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it has ended.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
    }
}

/// Passes on one way, on a thread of its own, until either side closes.
fn pass_on(from: &TcpStream, to: &TcpStream, state: &Arc<State>) {
    let (mut from, mut to) = (
        from.try_clone().expect("a socket"),
        to.try_clone().expect("a socket"),
    );
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        loop {
            let read = from.read(&mut buffer);
            while state.cut.load(Ordering::Relaxed) && !state.ended.load(Ordering::Relaxed) {
                thread::sleep(NOTICE);
            }
            let passed = read.and_then(|read| to.write_all(&buffer[..read]).map(|()| read));
            if !passed.is_ok_and(|read| read > 0) {
                let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    });
}
