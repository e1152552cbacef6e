//! Real servers on free loopback ports: Redis alone, Redis as a cluster, and our own. They end when they are
//! dropped.

use nuthatch_server::config::Config;
use nuthatch_server::launch::{Sockets, launch_on};
use nuthatch_server::server::Server;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for what must come, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Says that a program is missing, past the capture of tests' output.
fn skip(program: &str) {
    let text =
        format!("SKIPPED: {program} is not installed, so the near cache is not tested with it\n");
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must not leave out a server: {text}"
    );
    io::stderr().write_all(text.as_bytes()).expect("stderr");
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "not so after {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// A `redis-server`.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// One with default settings; nothing where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// One with these arguments besides.
    pub(crate) fn with(arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        // Between the search for a free port and its use another program may take it.
        for _ in 0..20 {
            let directory = TempDir::new().expect("a directory");
            let port = free_port();
            let child = match spawn(port, &directory, &arguments) {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    skip("redis-server");
                    return None;
                }
                Err(error) => panic!("redis-server: {error}"),
            };
            let mut redis = Self {
                child,
                port,
                arguments: arguments.clone(),
                directory,
            };
            if redis.is_ready() {
                return Some(redis);
            }
        }
        panic!("redis-server did not start on any of 20 free ports");
    }

    /// Whether it answers, or refuses for want of a password; false if it has ended.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            let connection =
                redis::Client::open(self.url()).and_then(|client| client.get_connection());
            match connection
                .and_then(|mut connection| redis::cmd("PING").query::<()>(&mut connection))
            {
                Err(error) if error.is_io_error() || error.code() == Some("LOADING") => {}
                _ => return true,
            }
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks it directly.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        ask(&self.url(), words)
    }

    /// Kills it as the system does, with `SIGKILL`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }

    /// Starts it again, on the same port, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.arguments).expect("redis-server");
        assert!(self.is_ready(), "it starts again");
    }

    /// Stops it where it is.
    pub(crate) fn freeze(&self) {
        signal(&self.child, "STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        signal(&self.child, "CONT");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed already.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
}

fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
        .arg("--dir")
        .arg(directory.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

/// A port that is free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Asks a server one thing, over a connection of its own.
pub(crate) fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(url).expect("a url");
    let mut connection = client.get_connection().expect("a connection");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
        .query(&mut connection)
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Our own server, in this process.
pub(crate) struct Ours {
    server: Arc<Server>,
    port: u16,
    control: Option<JoinHandle<()>>,
}

impl Ours {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these settings besides; over TLS, too, if they have its certificates.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut config = Config {
            port,
            http_port: 0,
            threads: 2,
            ..Config::default()
        };
        let mut sockets = Sockets::default();
        sockets.redis.push(listener);
        for (name, value) in settings {
            config
                .set(name, value)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        if !settings.is_empty() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            config.tls_port = listener.local_addr().expect("an address").port();
            sockets.tls.push(listener);
        }
        let launched = launch_on(config, sockets).unwrap_or_else(|error| panic!("{error}"));
        Self {
            server: Arc::clone(launched.server()),
            port,
            control: Some(thread::spawn(move || {
                launched.run().unwrap_or_else(|error| panic!("{error}"));
            })),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls_port(&self) -> u16 {
        self.server.config().tls_port
    }

    /// Asks it as a client does.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        ask(&self.url(), words)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.server.end();
        if let Some(control) = self.control.take() {
            let _ended = control.join();
        }
    }
}

/// Three primaries with a replica each.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Nothing where Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::electing_after("1000")
    }

    /// In which a node that was silent for so many milliseconds has failed.
    pub(crate) fn electing_after(timeout_ms: &str) -> Option<Self> {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            timeout_ms,
        ];
        let more = [
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let arguments = [&arguments[..], &more[..]].concat();
        let nodes = (0..6)
            .map(|_| Redis::with(&arguments))
            .collect::<Option<Vec<_>>>()?;
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        for node in &nodes {
            create.arg(format!("127.0.0.1:{}", node.port()));
        }
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = match create.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skip("redis-cli");
                return None;
            }
            Err(error) => panic!("redis-cli: {error}"),
        };
        assert!(
            output.status.success(),
            "redis-cli --cluster create: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        let cluster = Self { nodes };
        for node in &cluster.nodes {
            eventually("all nodes agree", || {
                let info: String = node.ask(&["CLUSTER", "INFO"]);
                let nodes: String = node.ask(&["CLUSTER", "NODES"]);
                info.contains("cluster_state:ok") && nodes.matches("slave ").count() == 3
            });
        }
        // A replica that has not copied its primary yet cannot take its place.
        for node in &cluster.nodes {
            eventually("replicas are in step", || {
                let info: String = node.ask(&["INFO", "replication"]);
                info.contains("role:master") || info.contains("master_link_status:up")
            });
        }
        Some(cluster)
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The place among `nodes` of the primary that serves a slot, as the given node says.
    pub(crate) fn primary(&self, slot: u16, asked: usize) -> usize {
        let shards: Vec<(u16, u16, (String, u16))> = {
            let rows: Vec<Vec<redis::Value>> = self.nodes[asked].ask(&["CLUSTER", "SLOTS"]);
            rows.iter()
                .map(|row| {
                    let number = |value| redis::from_redis_value::<u16>(value).expect("a number");
                    let redis::Value::Array(primary) = &row[2] else {
                        panic!("{row:?}");
                    };
                    let host = redis::from_redis_value(primary[0].clone()).expect("a host");
                    (
                        number(row[0].clone()),
                        number(row[1].clone()),
                        (host, number(primary[1].clone())),
                    )
                })
                .collect()
        };
        let (_, _, (_, port)) = shards
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot))
            .expect("a node serves the slot");
        self.nodes
            .iter()
            .position(|node| node.port() == *port)
            .expect("a node of ours")
    }
}
