//! What the service needs around it: a database, a Redis, and two processes of this program.
//!
//! Everything that is started here ends with it: in order when [`Stage::take_down`] is called, and by
//! `SIGKILL` when a [`Stage`] is dropped.

use crate::GREETING;
use crate::database::Database;
use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Programs that can be the Redis, the first that is found.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's text. The fields are in the order in which they must end.
pub(crate) struct Stage {
    processes: [Process; 2],
    redis: Redis,
    database: PathBuf,
    products: u32,
    directory: TempDir,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set_up(redis: Option<String>, products: u32) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("near-cache-service-")
            .tempdir()
            .context("no temporary directory")?;
        let redis = match redis {
            Some(url) => Redis { url, started: None },
            None => Redis::start(directory.path()).await?,
        };
        let database = directory.path().join("products.sqlite");
        Database::create(&database, products).context("cannot make a database")?;
        // A Redis that was there before may have products of an earlier run's database, so each run takes a
        // namespace of its own, named like its directory.
        let namespace = directory
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .context("the temporary directory has a strange name")?;
        let a = Process::start("A", &database, &redis.url, namespace).await?;
        let b = Process::start("B", &database, &redis.url, namespace).await?;
        Ok(Self {
            processes: [a, b],
            redis,
            database,
            products,
            directory,
        })
    }

    /// Where the two processes serve.
    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        self.processes.each_ref().map(|process| process.address)
    }

    /// What may be tried, line by line.
    pub(crate) fn suggestions(&self) -> String {
        let [a, b] = self.addresses();
        let mut text = format!(
            "Try, from another terminal:
  curl -i http://{a}/products/42    # from the database; again: from the process
  curl -i http://{b}/products/42    # from Redis, for A has put it there; again: from the process
  curl -X PUT http://{a}/products/42 -H 'content-type: application/json' \\
       -d '{{\"name\":\"Walnuts, whole\",\"price_cents\":499,\"stock\":12}}'
  curl -i http://{b}/products/42    # the new one
  curl 'http://{b}/stats?format=text'
  curl http://{b}/stats
  curl http://{a}/healthz\n"
        );
        if let Some(Started { port, .. }) = &self.redis.started {
            text += &format!(
                "  redis-cli -p {port} monitor          # what the near caches say to Redis\n"
            );
        }
        text + "Ctrl-C ends everything."
    }

    /// Waits until something of it ends by itself, and says what.
    pub(crate) async fn broken(&mut self) -> Error {
        let [a, b] = &mut self.processes;
        let redis = async {
            match &mut self.redis.started {
                Some(started) => started.child.wait().await,
                None => std::future::pending().await,
            }
        };
        let (what, status) = tokio::select! {
            status = a.child.wait() => ("process A", status),
            status = b.child.wait() => ("process B", status),
            status = redis => ("Redis", status),
        };
        match status {
            Ok(status) => anyhow!("{what} has ended: {status}"),
            Err(error) => Error::new(error).context(format!("{what} cannot be waited for")),
        }
    }

    /// Ends everything: the processes first, for they need Redis.
    pub(crate) async fn take_down(self) {
        for process in self.processes {
            process.end().await;
        }
        if let Some(mut started) = self.redis.started {
            // It has nothing to save. It may have ended by itself.
            let _ended = started.child.kill().await;
        }
        drop(self.directory);
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.redis.started {
            Some(Started { program, .. }) => format!("a {program} of its own"),
            None => "as given".to_owned(),
        };
        writeln!(f, "Redis      {} ({by})", self.redis.url)?;
        let database = self.database.display();
        writeln!(f, "database   {database}, {} products", self.products)?;
        for process in &self.processes {
            writeln!(f, "process {}  http://{}", process.name, process.address)?;
        }
        Ok(())
    }
}

/// The Redis in use.
struct Redis {
    url: String,
    /// Nothing for one that was there before.
    started: Option<Started>,
}

/// A Redis that this program has started.
struct Started {
    child: Child,
    program: &'static str,
    port: u16,
}

impl Redis {
    /// Starts one on a free port, which keeps nothing on disk.
    async fn start(directory: &Path) -> Result<Self> {
        // Between the search for a free port and its use another program may take it.
        let mut last_words = String::new();
        for _ in 0..20 {
            let port = free_port().context("no free port")?;
            let (program, mut child) = Self::spawn(directory, port)?;
            let stdout = child.stdout.take().context("no pipe from Redis")?;
            let mut lines = BufReader::new(stdout).lines();
            let ready = timeout(PATIENCE, is_ready(&mut lines, &mut last_words));
            if ready
                .await
                .with_context(|| format!("{program} does not get ready"))??
            {
                // What it says from now on is of no interest, but it must not wait for a reader.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self {
                    url: format!("redis://127.0.0.1:{port}"),
                    started: Some(Started {
                        child,
                        program,
                        port,
                    }),
                });
            }
        }
        bail!("Redis did not start on any of 20 free ports; it said: {last_words}")
    }

    fn spawn(directory: &Path, port: u16) -> Result<(&'static str, Child)> {
        for program in PROGRAMS {
            let mut command = Command::new(program);
            command
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no", "--loglevel", "notice"])
                .arg("--dir")
                .arg(directory)
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
            match start(&mut command) {
                Ok(child) => return Ok((program, child)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(format!("cannot start {program}")),
            }
        }
        bail!(
            "neither {} is on the PATH: install Redis or Valkey, or name a running server with \
             --redis redis://host:port",
            PROGRAMS.join(" nor ")
        )
    }
}

/// Whether a Redis says that it listens; false if it ends before.
async fn is_ready(lines: &mut Lines<BufReader<ChildStdout>>, last: &mut String) -> Result<bool> {
    while let Some(line) = lines.next_line().await.context("cannot read from Redis")? {
        if line.contains("Ready to accept connections") {
            return Ok(true);
        }
        *last = line;
    }
    Ok(false)
}

/// A process of this program that serves. It ends when its standard input does, and so does not outlive
/// this one even if this one is killed.
struct Process {
    name: &'static str,
    address: SocketAddr,
    /// Held apart, since waiting for a child closes what it has itself.
    stdin: ChildStdin,
    child: Child,
}

impl Process {
    async fn start(
        name: &'static str,
        database: &Path,
        redis: &str,
        namespace: &str,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("this program does not know its own file")?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--until-stdin-ends", "--redis", redis])
            .args(["--namespace", namespace, "--database"])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = start(&mut command).context("cannot start this program again")?;
        let stdin = child.stdin.take().context("no pipe to the process")?;
        let stdout = child.stdout.take().context("no pipe from the process")?;
        let mut lines = BufReader::new(stdout).lines();
        let greeting = timeout(PATIENCE, lines.next_line())
            .await
            .with_context(|| format!("process {name} does not get ready"))?
            .with_context(|| format!("cannot read from process {name}"))?;
        let address = greeting
            .as_deref()
            .and_then(|line| line.strip_prefix(GREETING))
            .and_then(|address| address.parse().ok());
        ensure!(
            address.is_some() || greeting.is_none(),
            "process {name} said {greeting:?} instead of where it serves"
        );
        Ok(Self {
            name,
            address: address.with_context(|| format!("process {name} did not start"))?,
            stdin,
            child,
        })
    }

    /// Lets it end what it does.
    async fn end(mut self) {
        drop(self.stdin);
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            // It is stuck, so that there is nothing to wait for.
            let _ended = self.child.kill().await;
        }
    }
}

/// Starts a program that Ctrl-C in the terminal does not reach: it is ended by this one, in its turn.
fn start(command: &mut Command) -> io::Result<Child> {
    command.kill_on_drop(true).process_group(0).spawn()
}

/// A port that is free just now.
fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
