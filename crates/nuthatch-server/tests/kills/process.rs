//! The program as people run it, on a directory that outlives it.

use crate::harness::{PATIENCE, Value, request};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_nuthatch");

/// Where a server keeps what it has, from one process to the next.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The program with these settings, listening on a socket of this name alone.
    pub(crate) fn command(&self, socket: &str, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--port", "0", "--http-port", "0"])
            .args([OsStr::new("--unixsocket"), self.path(socket).as_os_str()])
            .args([OsStr::new("--data-dir"), self.data().as_os_str()])
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        // What is said to the tests is no setting of the server's.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("NUTHATCH_") {
                command.env_remove(name);
            }
        }
        for (name, value) in settings {
            command.args([&format!("--{name}"), *value]);
        }
        command
    }

    /// What a process complains about that comes to no serving.
    #[track_caller]
    pub(crate) fn complaint(&self, settings: &[(&str, &str)]) -> String {
        let output = self.command("refused", settings).output();
        let output = output.expect("the program runs");
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        let is_complaint = |line: &&str| line.starts_with("nuthatch: ");
        let complaints: Vec<&str> = told.lines().filter(is_complaint).collect();
        let [complaint] = *complaints else {
            panic!("not one complaint: {told}");
        };
        complaint.to_owned()
    }

    /// All files of the data directory.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.data()).expect("a directory");
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().expect("text");
            (name, fs::read(entry.path()).expect("a file"))
        };
        entries
            .map(|entry| read(entry.expect("an entry")))
            .collect()
    }

    /// Starts a process, which may not be ready yet.
    pub(crate) fn spawn(&self, settings: &[(&str, &str)]) -> Process {
        let (notices, log) = (self.path("notices"), self.path("stderr"));
        if notices.exists() {
            fs::remove_file(&notices).expect("the former process is gone");
        }
        let supervisor = UnixDatagram::bind(&notices).expect("a socket");
        let (end, stdout) = UnixStream::pair().expect("sockets");
        end.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let child = self
            .command("socket", settings)
            .env("NOTIFY_SOCKET", &notices)
            .stdout(Stdio::from(OwnedFd::from(stdout)))
            .stderr(File::create(&log).expect("a file"))
            .spawn()
            .expect("the program runs");
        Process {
            child,
            supervisor,
            end,
            socket: self.path("socket"),
            log,
        }
    }

    /// Starts a process and waits until it serves.
    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> Process {
        let mut process = self.spawn(settings);
        let start = Instant::now();
        while !process.is_ready_within(Duration::from_secs(1)) {
            let ended = process.child.try_wait().expect("a child");
            assert_eq!(ended, None, "it does not start");
            assert!(start.elapsed() < PATIENCE, "it does not get ready");
        }
        process
    }
}

/// A process that is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    supervisor: UnixDatagram,
    /// The other end of its standard output: at its end when the process is.
    end: UnixStream,
    socket: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Waits until it serves, or so long. Returns whether it does.
    pub(crate) fn is_ready_within(&self, wait: Duration) -> bool {
        let wait = wait.max(Duration::from_micros(1));
        self.supervisor
            .set_read_timeout(Some(wait))
            .expect("a timeout");
        let mut notice = [0; 1000];
        match self.supervisor.recv(&mut notice) {
            Ok(length) => {
                let notice = String::from_utf8_lossy(&notice[..length]);
                assert!(notice.starts_with("READY=1"), "{notice}");
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until clients are answered, be it that they have to wait.
    pub(crate) fn await_clients(&self) {
        let start = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            assert!(start.elapsed() < PATIENCE, "it does not listen");
            thread::yield_now();
        }
        self.call("PING");
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.socket)
    }

    /// Sends a request of words and returns the reply.
    pub(crate) fn call(&self, line: &str) -> Value {
        self.connect().call(line)
    }

    /// Sends a request that ends the process. Returns what it answers, if it does.
    pub(crate) fn ask_to_end(&self, line: &str) -> Option<Value> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut connection = self.connect();
        assert!(connection.send(&request(&words)), "the server reads");
        connection.next()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until it has ended of itself.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let ended = self.end.read_to_end(&mut Vec::new());
        ended.expect("it ends in time");
        self.child.wait().expect("a child")
    }

    /// What it has told on standard error.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.log).expect("a file")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server has told:\n{}", self.told());
        }
        // It may have ended.
        if self.child.try_wait().expect("a child").is_none() {
            self.child.kill().expect("it runs");
            self.child.wait().expect("a child");
        }
    }
}

/// A client.
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    /// What of it was read.
    read: usize,
}

impl Connection {
    fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("a server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .expect("options of a socket");
        Self {
            stream,
            received: Vec::new(),
            read: 0,
        }
    }

    /// Sends a request of words and returns the reply.
    pub(crate) fn call(&mut self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(self.send(&request(&words)), "the server reads");
        self.next().expect("a reply")
    }

    /// Returns whether the server is there to read it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_end(error.kind()) => false,
            Err(error) => panic!("the server does not read: {error}"),
        }
    }

    /// The next reply, of those that have come.
    pub(crate) fn take(&mut self) -> Option<Value> {
        let (value, length) = Value::read(&self.received[self.read..])?;
        self.read += length;
        Some(value)
    }

    /// Waits for more replies. Returns whether the connection goes on.
    pub(crate) fn receive(&mut self) -> bool {
        self.received.drain(..std::mem::take(&mut self.read));
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) if is_end(error.kind()) => false,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// Waits for the next reply; `None` at the connection's end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(value) = self.take() {
                return Some(value);
            }
            if !self.receive() {
                return None;
            }
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
