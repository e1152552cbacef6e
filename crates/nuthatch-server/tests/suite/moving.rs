//! Moving in from Redis and out to it again: what a real `redis-server` saves is imported and served, and what is
//! exported is piped into one; each time both have the same keys. And what the commands answer to mistakes.

use crate::harness::{Client, PATIENCE, Running, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

const LATER_MS: &str = "4000000000123";

/// A `redis-server` on a free port, which ends with this.
struct Redis {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Redis {
    /// Nothing where it is not installed.
    fn start() -> Option<Self> {
        // Between the search for a free port and its use another program may take it.
        for _ in 0..20 {
            let directory = TempDir::new().expect("a directory");
            let (listener, port) = crate::harness::free_port();
            drop(listener);
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--loglevel", "warning"])
                .args(["--enable-debug-command", "yes", "--dir"])
                .arg(directory.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            let child = match child {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    skip();
                    return None;
                }
                Err(error) => panic!("redis-server: {error}"),
            };
            let mut redis = Self {
                child,
                port,
                directory,
            };
            if redis.is_ready() {
                return Some(redis);
            }
        }
        panic!("redis-server did not start on any of 20 free ports");
    }

    /// Whether it listens; false if it has ended.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer");
            thread::yield_now();
        }
        true
    }

    fn client(&self) -> Client {
        Client::connect(self.port)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("dump.rdb")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }
}

/// Says that the server is missing, past the capture of tests' output.
fn skip() {
    let text = "SKIPPED: redis-server is not installed, so nobody moves in from it or out to it\n";
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must not leave out a server: {text}"
    );
    io::stderr().write_all(text.as_bytes()).expect("stderr");
}

fn nuthatch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nuthatch"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// What the program prints.
#[track_caller]
fn printed(args: &[&str]) -> Vec<u8> {
    let output = nuthatch(args);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {complaint}");
    output.stdout
}

/// What the program complains about, in one line.
#[track_caller]
fn complaint(args: &[&str]) -> String {
    let output = nuthatch(args);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    let lines: Vec<_> = text.lines().collect();
    let [line] = *lines else {
        panic!("{args:?}: {text}");
    };
    line.to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// Our server on a directory, when it has loaded what is there.
fn serve(directory: &Path) -> Running {
    let running = Running::with(&[
        ("data-dir", text(directory)),
        ("appendfsync", "always"),
        ("memcached-port", "free"),
    ]);
    let start = Instant::now();
    let mut client = running.client();
    while matches!(client.call("DBSIZE"), Value::Error(_)) {
        assert!(start.elapsed() < PATIENCE, "it loads for ever");
        thread::yield_now();
    }
    running
}

/// All keys, each with when it expires and what it holds.
fn keys(client: &mut Client) -> BTreeMap<Vec<u8>, (i64, Vec<Value>)> {
    let mut all = BTreeMap::new();
    let names = client.call("KEYS *");
    for name in names.elements() {
        let name = name.bytes();
        let deadline_ms = client.call_with(&[b"PEXPIRETIME", name]).integer();
        let held = match &*client.call_with(&[b"TYPE", name]).text() {
            "string" => vec![client.call_with(&[b"GET", name])],
            "hash" => {
                let fields = client.call_with(&[b"HGETALL", name]);
                let mut fields = fields.elements().to_vec();
                let pairs = fields.as_chunks_mut::<2>().0;
                pairs.sort_by(|[one, _], [other, _]| one.bytes().cmp(other.bytes()));
                fields
            }
            other => panic!("a {other}"),
        };
        all.insert(name.to_vec(), (deadline_ms, held));
    }
    assert_eq!(client.call("DBSIZE").integer(), all.len() as i64);
    all
}

/// Gives a server keys of all kinds that both have.
fn fill(client: &mut Client) {
    let ok = |reply: Value| assert!(!matches!(reply, Value::Error(_)), "{reply}");
    for (n, value) in [
        "",
        "0",
        "-1",
        "70000",
        "9223372036854775807",
        "text",
        "\u{0}\r\n\u{e4}",
    ]
    .iter()
    .enumerate()
    {
        ok(client.call_with(&["SET", &format!("string {n}"), value]));
        let key = format!("string {n} that expires");
        ok(client.call_with(&["SET", &key, value, "PXAT", LATER_MS]));
    }
    ok(client.call_with(&[&b"SET"[..], &[0, 255, 13, 10, 34], &[200; 3_000_000]]));
    ok(client.call_with(&[&b"SET"[..], b"", b"of no name"]));
    ok(client.call("SET gone value PX 1"));
    ok(client.call_with(&[
        &b"HSET"[..],
        b"hash",
        b"n",
        b"v",
        b"",
        b"",
        &[255],
        &[0; 100_000],
    ]));
    ok(client.call_with(&["PEXPIREAT", "hash", LATER_MS]));
    for some in 0..50 {
        let mut words = vec!["HSET".to_owned(), "many".to_owned()];
        for n in 0..200 {
            words.push(format!("field {}", 200 * some + n));
            words.push((some * n).to_string());
        }
        ok(client.call_with(&words));
    }
    for n in 0..2_000 {
        client.send_request(&["SET", &format!("key {n}"), &n.to_string()]);
    }
    (0..2_000).for_each(|_| ok(client.read()));
}

/// Removes what the deadline of has come, so that the keys stand still.
fn await_expiry(client: &mut Client) {
    let start = Instant::now();
    while client.call("EXISTS gone").integer() == 1 {
        assert!(start.elapsed() < PATIENCE, "a key outlives its time");
        thread::yield_now();
    }
}

#[test]
fn what_redis_has_saved_is_served_after_an_import() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let mut theirs = redis.client();
    theirs.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "+OK")]);
    fill(&mut theirs);
    await_expiry(&mut theirs);
    let home = TempDir::new().expect("a directory");
    for compression in ["yes", "no"] {
        theirs.call_with(&["CONFIG", "SET", "rdbcompression", compression]);
        // It is kept until somebody asks for it.
        theirs.check(&[("SET over value PXAT 1000000000000", "+OK")]);
        theirs.check(&[("SAVE", "+OK"), ("EXISTS over", ":0")]);
        let directory = home.path().join(compression).join("data");
        let file = redis.file();
        let args = ["import", text(&file), "--data-dir", text(&directory)];
        let told = String::from_utf8(printed(&args)).expect("text");
        assert!(
            told.contains("RDB of Redis, version") && told.contains("strings     2016"),
            "{told}"
        );
        let running = serve(&directory);
        let mut ours = running.client();
        let (expected, found) = (keys(&mut theirs), keys(&mut ours));
        assert!(expected.keys().eq(found.keys()));
        for (key, expected) in &expected {
            assert!(found[key] == *expected, "{}", key.escape_ascii());
        }
        // It goes on from there: what is written now is there after the next start.
        ours.check(&[("SET another 1", "+OK"), ("DEL many", ":1")]);
        drop((ours, running));
        let running = serve(&directory);
        running.client().check(&[
            ("GET another", r#""1""#),
            ("EXISTS many", ":0"),
            ("GET \"key 7\"", r#""7""#),
        ]);
    }
}

#[test]
fn what_was_exported_makes_the_same_keys_in_redis() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let home = TempDir::new().expect("a directory");
    let running = serve(home.path());
    let mut ours = running.client();
    fill(&mut ours);
    // So it is a snapshot with a log after it, which changes what the snapshot has.
    ours.check(&[("SAVE", "+OK"), ("DEL \"key 7\" string", ":1")]);
    ours.check(&[
        ("SET \"key 8\" changed", "+OK"),
        ("APPEND \"key 9\" more", ":5"),
    ]);
    ours.check(&[("HDEL many \"field 1\"", ":1"), ("PERSIST hash", ":1")]);
    let mut memcached = Client::connect(running.server().config().memcached_port);
    memcached.send(b"set flagged 7 0 5\r\nvalue\r\n");
    assert_eq!(memcached.read_line(), "STORED");
    await_expiry(&mut ours);
    let expected = keys(&mut ours);
    drop((ours, memcached, running));

    let commands = printed(&["export", text(home.path())]);
    let mut pipe = Command::new("redis-cli")
        .args(["-p", &redis.port.to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli, which comes with redis-server");
    let mut stdin = pipe.stdin.take().expect("a pipe");
    stdin.write_all(&commands).expect("redis-cli reads");
    drop(stdin);
    let piped = pipe.wait_with_output().expect("redis-cli ends");
    let told = String::from_utf8_lossy(&piped.stdout).into_owned();
    assert!(
        piped.status.success() && told.contains("errors: 0"),
        "{told}"
    );

    let found = keys(&mut redis.client());
    assert!(expected.keys().eq(found.keys()));
    for (key, expected) in &expected {
        assert!(found[key] == *expected, "{}", key.escape_ascii());
    }
}

#[test]
fn fields_keep_their_deadlines_through_an_export() {
    let home = TempDir::new().expect("a directory");
    let running = serve(home.path());
    let mut client = running.client();
    client.check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HPEXPIREAT h 4000000000123 FIELDS 1 a", "[:1]"),
        ("HPEXPIREAT h 4000000000456 FIELDS 1 b", "[:1]"),
        ("PEXPIREAT h 4000000000789", ":1"),
    ]);
    drop((client, running));
    let commands = printed(&["export", text(home.path())]);
    let running = Running::start();
    let mut client = running.client();
    client.send(&commands);
    client.send_request(&["HPEXPIRETIME", "h", "FIELDS", "3", "a", "b", "c"]);
    let replies: Vec<String> = (0..5).map(|_| client.read().to_string()).collect();
    let expected = [
        ":3",
        "[:1]",
        "[:1]",
        ":1",
        "[:4000000000123, :4000000000456, :-1]",
    ];
    assert_eq!(replies, expected);
    client.check(&[("PEXPIRETIME h", ":4000000000789"), ("HGET h b", r#""2""#)]);
}

#[test]
fn mistakes_are_told_in_a_line() {
    let home = TempDir::new().expect("a directory");
    let at = |name: &str| text(&home.path().join(name)).to_owned();
    let (missing, no_rdb, rdb, other, data) = (
        at("missing"),
        at("no.rdb"),
        at("a.rdb"),
        at("b.rdb"),
        at("data"),
    );
    fs::write(&no_rdb, "SET a 1\r\n").expect("a file");
    fs::write(&rdb, b"REDIS0011\x00\x01a\x011\xff\0\0\0\0\0\0\0\0").expect("a file");
    fs::write(&other, b"REDIS0011\x02\x01s\x01\x01m\xff\0\0\0\0\0\0\0\0").expect("a file");
    let import = |file: &str| complaint(&["import", file, "--data-dir", &data]);
    assert!(import(&missing).contains("missing: No such file or directory"));
    assert!(import(&no_rdb).contains("no.rdb: it is no RDB file"));
    assert!(import(text(home.path())).contains("Is a directory"));
    assert!(!Path::new(&data).exists());
    assert!(import(&other).contains("1 of type set"));
    let of_file = complaint(&["import", &rdb, "--data-dir", &rdb]);
    assert!(of_file.contains("a.rdb"), "{of_file}");

    for (args, expected) in [
        (["export", &missing], "missing: No such file or directory"),
        (["export", &rdb], "it is no directory"),
        (
            ["export", text(home.path())],
            "it holds no data of a server",
        ),
        (["inspect", &missing], "missing: No such file or directory"),
        (["inspect", &rdb], "its name is not like snapshot-"),
        (
            ["inspect", text(home.path())],
            "it holds no data of a server",
        ),
    ] {
        let told = complaint(&args);
        assert!(told.contains(expected), "{args:?}: {told}");
    }

    printed(&["import", &rdb, "--data-dir", &data]);
    assert!(import(&rdb).contains("it holds data already"));
    let running = serve(Path::new(&data));
    assert!(import(&rdb).contains("another process uses this directory"));
    assert!(complaint(&["export", &data]).contains("another process uses this directory"));
    drop(running);

    for args in [
        &["import"][..],
        &["import", &rdb],
        &["import", &rdb, "--data-dir", &missing, "--database", "x"],
        &["import", &rdb, "--data-dir", &missing, "--skip"],
        &["export"],
        &["export", "--all", &data],
        &["inspect", &data, "--limit", "-1"],
    ] {
        let output = nuthatch(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error: "));
    }
    assert!(!Path::new(&missing).exists());
}

#[test]
fn a_file_comes_from_standard_input_too() {
    let home = TempDir::new().expect("a directory");
    let directory = home.path().join("data");
    let mut import = Command::new(env!("CARGO_BIN_EXE_nuthatch"))
        .args(["import", "-", "--data-dir", text(&directory)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut stdin = import.stdin.take().expect("a pipe");
    let file = b"REDIS0011\x00\x01a\x011\xff\0\0\0\0\0\0\0\0";
    for byte in file {
        stdin.write_all(&[*byte]).expect("the program reads");
    }
    drop(stdin);
    assert!(import.wait().expect("it ends").success());
    serve(&directory).client().check(&[("GET a", r#""1""#)]);
}

#[test]
fn files_are_shown_record_by_record_also_while_they_are_in_use() {
    let home = TempDir::new().expect("a directory");
    let running = serve(home.path());
    let mut client = running.client();
    client.check(&[("SET before 1", "+OK"), ("SAVE", "+OK")]);
    client.check(&[
        ("SET \"a\\x1b\" \"\\n\" PXAT 4000000000123", "+OK"),
        ("HSET h f v", ":1"),
    ]);
    let shown = |args: &[&str]| {
        let args = [&["inspect", text(home.path())], args].concat();
        String::from_utf8(printed(&args)).expect("text")
    };
    let all = shown(&[]);
    for part in [
        "snapshot begun at record 1,",
        r#"    put "before" = "1""#,
        "log from record 1",
        "records from 1",
        r#"put "a\x1b" = "\n", expires 2096-10-02T07:06:40.123Z"#,
        r#"hash "h""#,
        r#"{"f": "v"}"#,
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(all.is_ascii() && !all.contains('\x1b'));
    assert!(shown(&["--keys"]).starts_with("\"before\"\n\"a\\x1b\"\n"));
    assert_eq!(shown(&["--keys", "--limit", "1"]), "\"before\"\n");
    let name = format!("snapshot-{:020}.nuts", 1);
    let one = printed(&["inspect", text(&home.path().join(&name)), "--keys"]);
    assert_eq!(one, b"\"before\"\n");
}
