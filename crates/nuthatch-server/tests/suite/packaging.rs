//! What is shipped beside the program, and what the program says of itself, agree with it.

use crate::harness::{PATIENCE, Running, free_port};
use nuthatch_server::config::example_file;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nuthatch");

fn packaging(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("packaging").join(file)
}

fn nuthatch(args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .output()
        .expect("the program runs")
}

fn text_of(args: &[&str]) -> String {
    let output = nuthatch(args);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {complaint}");
    String::from_utf8(output.stdout).expect("the program prints text")
}

#[test]
fn the_example_of_settings_is_what_the_program_prints() {
    let file = fs::read_to_string(packaging("nuthatch.toml")).unwrap();
    let hint = "run: nuthatch config example > packaging/nuthatch.toml";
    assert_eq!(file, example_file(), "{hint}");
    assert_eq!(file, text_of(&["config", "example"]));
    let path = packaging("nuthatch.toml");
    text_of(&["config", "check", "--config", path.to_str().unwrap()]);
}

#[test]
fn completions_and_manual_pages_know_commands_and_settings() {
    for shell in ["bash", "zsh", "fish"] {
        let text = text_of(&["completions", shell]);
        for word in ["serve", "top", "maxmemory", "http-port"] {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
    assert!(text_of(&["man"]).contains(".TH nuthatch 1"));
    let page = text_of(&["man", "serve"]);
    assert!(
        page.contains(".TH nuthatch-serve 1") && page.contains("maxmemory"),
        "{page}"
    );
    assert_eq!(nuthatch(&["man", "nonsense"]).status.code(), Some(2));
    assert_eq!(
        nuthatch(&["completions", "nonsense"]).status.code(),
        Some(2)
    );
}

/// Names of metrics that a text mentions.
fn names(text: &str) -> BTreeSet<&str> {
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    text.match_indices("nuthatch_")
        .map(|(start, _)| {
            let rest = &text[start..];
            &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn the_grafana_dashboard_names_only_metrics_that_there_are() {
    let server = Running::with(&[("http-port", "free")]);
    server.client().check(&[("GET k", "nil")]);
    let port = server.server().config().http_port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let series = metrics.lines().filter(|line| line.starts_with("nuthatch_"));
    let offered: BTreeSet<&str> = series.flat_map(names).collect();

    let text = fs::read_to_string(packaging("grafana-dashboard.json")).unwrap();
    let dashboard: Json = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut shown = BTreeSet::new();
    for target in panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        shown.extend(names(target["expr"].as_str().unwrap()));
    }
    assert!(shown.len() > 15, "{shown:?}");
    let missing: Vec<_> = shown.difference(&offered).collect();
    assert!(missing.is_empty(), "{missing:?} are none of {offered:?}");
}

#[test]
fn a_supervisor_hears_when_the_server_is_ready_and_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = directory.path().join("redis");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--port", "0", "--http-port", "0", "--threads", "1"])
        .args([OsStr::new("--unixsocket"), socket.as_os_str()])
        .env("NOTIFY_SOCKET", &path)
        .current_dir(&directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut buffer = [0; 1000];
        let length = supervisor.recv(&mut buffer);
        length.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let ready = heard();
    let asked = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    let stopping = heard();
    if asked.is_err() || ready.is_err() || stopping.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ready.unwrap().starts_with("READY=1\nSTATUS=serving on "));
    assert_eq!(stopping.unwrap(), "STOPPING=1");
    assert!(status.success(), "{status}");
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let (_held, port) = free_port();
    let output = nuthatch(&[
        "serve",
        "--port",
        "0",
        "--unixsocket",
        "/nonexistent/socket",
        "--http-port",
        &port.to_string(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains(&format!("127.0.0.1:{port} (http-port")),
        "{complaint}"
    );
}

#[test]
fn top_prints_one_picture_and_health_tells_whether_the_server_is_ready() {
    let server = Running::with(&[("http-port", "free"), ("http-password", "secret")]);
    let mut client = server.client();
    client.check(&[("SET k v", "+OK"), ("GET k", "\"v\"")]);
    let address = format!("localhost:{}", server.server().config().http_port);
    assert_eq!(text_of(&["health", "--address", &address]), "ready\n");
    let top = |password: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["top", "--once", "--address", &address]);
        command
            .env("NUTHATCH_HTTP_PASSWORD", password)
            .output()
            .unwrap()
    };
    let refused = top("wrong");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("http-password"));
    let picture = String::from_utf8(top("secret").stdout).unwrap();
    for words in ["Nuthatch 0.", "COMMAND", "get", "set", "memory"] {
        assert!(picture.contains(words), "{words} is not in {picture}");
    }
    let (held, port) = free_port();
    drop(held);
    let nobody = nuthatch(&["health", "--address", &format!("127.0.0.1:{port}")]);
    assert_eq!(nobody.status.code(), Some(2));
}
