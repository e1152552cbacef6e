//! The built program on free loopback ports; it is killed when this is dropped.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

/// A `nuthatch serve` that listens.
pub(crate) struct Serving {
    child: Child,
    port: u16,
    memcached_port: u16,
}

impl Serving {
    /// Starts one, with two data threads and default settings otherwise.
    pub(crate) fn start() -> Self {
        // Between the search for a free port and its use another program may take it.
        for _ in 0..20 {
            if let Some(serving) = Self::try_start(free_ports()) {
                return serving;
            }
        }
        panic!("the server did not start on any of 20 free ports");
    }

    fn try_start([port, memcached_port]: [u16; 2]) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NUTHATCH_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--bind", "127.0.0.1", "--threads", "2"])
            .args(["--port", &port.to_string(), "--http-port", "0"])
            .args(["--memcached-port", &memcached_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        // The greeting's last line comes when everything listens.
        let listens = said
            .lines()
            .any(|line| line.is_ok_and(|line| line.starts_with("Connect with: ")));
        let serving = Self {
            child,
            port,
            memcached_port,
        };
        listens.then_some(serving)
    }

    /// The port for clients of Redis.
    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// The port for clients of memcached.
    pub(crate) fn memcached_port(&self) -> String {
        self.memcached_port.to_string()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().expect("the program was started here");
        self.child.wait().expect("the program was started here");
    }
}

fn free_ports() -> [u16; 2] {
    let sockets =
        [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("a bound socket").port())
}
