//! The program as people run it: what it claims in its demonstration is so, and everything that it starts ends
//! with it. Without a redis-server or valkey-server these tests say so and pass, but fail where the variable
//! `CI` is set.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_near-cache-service"));
    program.stdin(Stdio::null());
    program
}

/// Whether there is a Redis to start. Says that there is none past the capture of tests' output.
fn has_redis() -> bool {
    let found = ["redis-server", "valkey-server"].iter().any(|program| {
        match Command::new(program).arg("--version").output() {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => panic!("{program}: {error}"),
        }
    });
    if !found {
        let text = "SKIPPED: neither redis-server nor valkey-server is installed, so the near cache's example is \
                    not tested\n";
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must not leave out a server: {text}"
        );
        io::stderr().write_all(text.as_bytes()).expect("stderr");
    }
    found
}

/// What the program said, for a test that fails.
fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asks a process to end as Ctrl-C does, and waits until it has.
fn interrupt(mut child: Child) -> std::process::ExitStatus {
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(kill.success());
    child.wait().expect("a child")
}

#[test]
fn everything_the_demonstration_claims_is_so() {
    if !has_redis() {
        return;
    }
    let output = program()
        .arg("--demo")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn demonstration_works_with_a_redis_that_was_there_before_and_leaves_it_running() {
    if !has_redis() {
        return;
    }
    // The Redis of one program is given to another.
    let (owner, addresses) = start();
    let redis = format!("redis://{}", addresses[0]);
    let output = program()
        .args(["--demo", "--redis", &redis])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
    TcpStream::connect(&addresses[0]).expect("Redis runs on");
    assert!(interrupt(owner).success());
}

#[test]
fn everything_that_was_started_ends_with_the_program() {
    if !has_redis() {
        return;
    }
    let (child, addresses) = start();
    for address in &addresses {
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    assert!(interrupt(child).success());
    for address in &addresses {
        let connection = TcpStream::connect(address);
        assert!(connection.is_err(), "{address} is served still");
    }
}

#[test]
fn without_a_redis_the_error_says_what_to_do() {
    let empty = TempDir::new().expect("a directory");
    let output = program()
        .arg("--demo")
        .env("PATH", empty.path())
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    for word in ["redis-server", "valkey-server", "install", "--redis"] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn redis_that_is_not_there_is_an_error() {
    // A port that nobody listens on any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let output = program()
        .args(["--demo", "--redis", &format!("redis://{address}")])
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&address.to_string()), "{error}");
}

/// Starts everything; gives the addresses of Redis and of both processes.
fn start() -> (Child, Vec<String>) {
    let mut child = program()
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut addresses = Vec::new();
    for line in said.lines() {
        let line = line.expect("text");
        if line.starts_with("Ctrl-C") {
            break;
        }
        let is_of_the_stage = line.starts_with("Redis ") || line.starts_with("process ");
        if let Some((_, url)) = line.split_once("://").filter(|_| is_of_the_stage) {
            let address = url.split_whitespace().next().expect("an address");
            addresses.push(address.to_owned());
        }
    }
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    (child, addresses)
}
