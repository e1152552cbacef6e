//! A `redis-server` of our own, on a free port of the loopback interface, which keeps nothing on disk and ends
//! with its owner.

use super::Address;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

const PROGRAM: &str = "redis-server";
/// How long it may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no server of our own.
#[derive(Debug, Error)]
pub enum StartError {
    /// The machine does not have it.
    #[error("there is no {PROGRAM} on PATH: name a server with --target redis://host:port")]
    Missing,
    /// There is no free port.
    #[error("no port is free")]
    Port(#[source] io::Error),
    /// It does not start.
    #[error("{PROGRAM} does not start")]
    Start(#[source] io::Error),
    /// It has ended at once.
    #[error("{PROGRAM} ended with {0}")]
    Ended(ExitStatus),
    /// Nobody answers.
    #[error("{PROGRAM} accepts no connection within {} s", PATIENCE.as_secs())]
    Silent,
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct LocalServer {
    process: Child,
    port: u16,
}

impl LocalServer {
    /// Starts it, and waits until it accepts connections.
    pub fn start() -> Result<Self, StartError> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(StartError::Port)?
            .port();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::Missing,
            _ => StartError::Start(error),
        })?;
        let mut server = Self { process, port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait().map_err(StartError::Start)? {
                return Err(StartError::Ended(status));
            }
            if begin.elapsed() > PATIENCE {
                return Err(StartError::Silent);
            }
            thread::sleep(LOOK);
        }
        Ok(server)
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        let url = format!("redis://127.0.0.1:{}", self.port);
        url.parse().expect("it is an address")
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nobody to be ended or told.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
