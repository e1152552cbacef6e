//! RDB files as real servers have written them, compared with what the servers had been told.
//!
//! Files of Redis 7.0 are written while the tests run, by the `redis-server` that is installed. Those of servers
//! that seldom are lie beside this file: `redis-8.0.rdb`, of Redis 8.0.6, and `valkey-9.1.rdb`, of Valkey
//! 9.1.2, hold what [`Told::all_types`] and [`Told::field_deadlines`] say.

use nuthatch_wire::rdb::Field;
use nuthatch_wire::rdb::file::{Content, Dialect, Event, FileError, FileReader};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for a server to start, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A time that is not near, in milliseconds since 1970.
const LATER_MS: u64 = 4_000_000_000_123;
/// A time that is over.
const BEFORE_MS: u64 = 1_000_000_000_456;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>),
    Other(String),
}

/// Keys, by their database and name, with when they expire and what they hold.
type Keys = BTreeMap<(u64, Vec<u8>), (Option<u64>, Held)>;

/// What a server was told, and what it should hold then.
#[derive(Default)]
struct Told {
    requests: Vec<u8>,
    database: u64,
    keys: Keys,
}

impl Told {
    fn request<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        write!(self.requests, "*{}\r\n", words.len()).unwrap();
        for word in words {
            let word = word.as_ref();
            write!(self.requests, "${}\r\n", word.len()).unwrap();
            self.requests.extend_from_slice(word);
            self.requests.extend_from_slice(b"\r\n");
        }
    }

    fn select(&mut self, database: u64) {
        self.request(&["SELECT", &database.to_string()]);
        self.database = database;
    }

    fn hold(&mut self, key: &[u8], deadline_ms: Option<u64>, held: Held) {
        let key = (self.database, key.to_vec());
        assert!(self.keys.insert(key, (deadline_ms, held)).is_none());
    }

    fn string(&mut self, key: &[u8], value: &[u8], deadline_ms: Option<u64>) {
        match deadline_ms {
            None => self.request(&[b"SET", key, value]),
            Some(ms) => self.request(&[b"SET", key, value, b"PXAT", ms.to_string().as_bytes()]),
        }
        self.hold(key, deadline_ms, Held::String(value.to_vec()));
    }

    fn hash(&mut self, key: &[u8], fields: &[(Vec<u8>, Vec<u8>)], deadline_ms: Option<u64>) {
        for some in fields.chunks(1_000) {
            let mut words = vec![b"HSET", key];
            words.extend(some.iter().flat_map(|(name, value)| [&**name, &**value]));
            self.request(&words);
        }
        if let Some(ms) = deadline_ms {
            self.request(&[b"PEXPIREAT", key, ms.to_string().as_bytes()]);
        }
        let fields = fields
            .iter()
            .map(|(name, value)| (name.clone(), (value.clone(), None)));
        self.hold(key, deadline_ms, Held::Hash(fields.collect()));
    }

    fn field_deadline(&mut self, key: &str, name: &str, deadline_ms: u64) {
        let ms = deadline_ms.to_string();
        self.request(&["HPEXPIREAT", key, &ms, "FIELDS", "1", name]);
        let (_, held) = self.keys.get_mut(&(self.database, key.into())).unwrap();
        let Held::Hash(fields) = held else {
            panic!("{key} holds no hash")
        };
        fields.get_mut(name.as_bytes()).unwrap().1 = Some(deadline_ms);
    }

    fn other(&mut self, type_name: &str, key: &str, command: &str, words: &[String]) {
        let words = words.iter().map(String::as_str);
        let words: Vec<&str> = [command, key].into_iter().chain(words).collect();
        self.request(&words);
        self.hold(key.as_bytes(), None, Held::Other(type_name.to_owned()));
    }

    /// Every type that a server of its own has, in every form that it has for it.
    fn all_types(&mut self) {
        let long = "long, and of no few kinds of letters ".repeat(10);
        self.string(b"string", b"value", None);
        self.string(b"", b"", None);
        self.string(b"binary\0\r\n\xff", &[0, 255, 13, 10, 128], None);
        self.string(b"later", b"value", Some(LATER_MS));
        self.string(b"long", long.as_bytes(), None);
        for number in [
            0,
            -1,
            127,
            -129,
            32_767,
            -32_769,
            i64::from(i32::MAX),
            1 << 40,
        ] {
            let text = number.to_string();
            self.string(format!("number {number}").as_bytes(), text.as_bytes(), None);
        }
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        self.hash(
            b"hash",
            &[pair("name", "value"), pair("", ""), pair("n", "-70000")],
            None,
        );
        self.hash(
            b"hash of a long value",
            &[pair("n", &long), pair(&long, "12")],
            Some(LATER_MS),
        );
        let numbers = |count: u32| -> Vec<String> { (0..count).map(|n| n.to_string()).collect() };
        let words = |count: u32| -> Vec<String> { (0..count).map(|n| format!("w{n}")).collect() };
        let scored = |count: u32| -> Vec<String> {
            let pairs = (0..count).flat_map(|n| [format!("{n}.5"), format!("member {n}")]);
            pairs.collect()
        };
        self.other("list", "list", "RPUSH", &words(3));
        self.other("list", "list of many", "RPUSH", &words(2_000));
        self.other("list", "list of a long one", "RPUSH", &["x".repeat(20_000)]);
        self.other("set", "set of numbers", "SADD", &numbers(10));
        self.other("set", "set", "SADD", &words(3));
        self.other("set", "set of many", "SADD", &words(600));
        self.other("zset", "zset", "ZADD", &scored(3));
        self.other("zset", "zset of many", "ZADD", &scored(600));
        let infinite = ["inf", "most", "-inf", "least"].map(str::to_owned);
        self.other("zset", "zset without bounds", "ZADD", &infinite);
        let entry = ["1-1", "name", "value"].map(str::to_owned);
        self.other("stream", "stream", "XADD", &entry);
        self.request(&["XADD", "stream", "2-1", "name", "value"]);
        self.request(&["XGROUP", "CREATE", "stream", "group", "0"]);
        self.request(&[
            "XREADGROUP",
            "GROUP",
            "group",
            "who",
            "STREAMS",
            "stream",
            ">",
        ]);
        self.request(&["XACK", "stream", "group", "1-1"]);
        let library = "#!lua name=library\nredis.register_function('f', function() return 1 end)";
        self.request(&["FUNCTION", "LOAD", library]);
    }

    /// Hashes with fields that expire, of the two sizes that matter.
    fn field_deadlines(&mut self) {
        for (key, count) in [("small", 3), ("large", 700)] {
            let field = |n: i32| (format!("f{n}").into_bytes(), format!("v{n}").into_bytes());
            self.hash(
                key.as_bytes(),
                &(0..count).map(field).collect::<Vec<_>>(),
                None,
            );
            self.field_deadline(key, "f1", LATER_MS);
            self.field_deadline(key, "f2", LATER_MS + 77);
        }
    }
}

/// A `redis-server` on a socket in a directory of its own, which ends with this.
struct Redis {
    child: Child,
    directory: TempDir,
}

impl Redis {
    /// One with these settings besides; nothing where it is not installed.
    fn start(settings: &[&str]) -> Option<Self> {
        let directory = TempDir::new().expect("a directory");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock"])
            .args(["--save", "", "--enable-debug-command", "yes"])
            .args(["--databases", "20", "--loglevel", "warning"])
            .args(settings)
            .arg("--dir")
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
        let mut redis = Self { child, directory };
        let start = Instant::now();
        while redis.cli(&["PING"], b"").stdout != b"PONG\n" {
            let ended = redis.child.try_wait().expect("a child");
            assert!(ended.is_none(), "redis-server has ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer");
        }
        Some(redis)
    }

    fn cli(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("redis-cli")
            .arg("-s")
            .arg(self.directory.path().join("redis.sock"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("redis-cli, which comes with redis-server");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("redis-cli reads");
        drop(stdin);
        child.wait_with_output().expect("redis-cli ends")
    }

    /// Tells it something, and returns the file that it saves then.
    fn save(&self, told: &Told) -> Vec<u8> {
        // What is over is to stay until it is saved.
        let frozen = self.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"], b"");
        assert_eq!(frozen.stdout, b"OK\n");
        let output = self.cli(&["--pipe"], &told.requests);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("errors: 0"),
            "{text}"
        );
        assert_eq!(self.cli(&["SAVE"], b"").stdout, b"OK\n");
        fs::read(self.directory.path().join("dump.rdb")).expect("a file")
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
    let text = "SKIPPED: redis-server is not installed, so RDB files of its own are not read\n";
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must not leave out a server: {text}"
    );
    io::stderr().write_all(text.as_bytes()).expect("stderr");
}

/// The file that a server with these settings saves after it was told something.
fn saved(settings: &[&str], told: &Told) -> Option<Vec<u8>> {
    Some(Redis::start(settings)?.save(told))
}

/// A reader of a file that is in memory.
type Reader<'a> = FileReader<BufReader<&'a [u8]>>;

/// All keys of a file, and the reader at its end.
fn read(file: &[u8]) -> Result<(Keys, Reader<'_>), FileError> {
    // An odd size, so that nothing begins where a buffer does.
    let mut reader = FileReader::new(BufReader::with_capacity(1_009, file))?;
    let mut keys = Keys::new();
    let mut last = None;
    while let Some(event) = reader.next()? {
        match event {
            Event::Entry(entry) => {
                let held = match entry.content {
                    Content::String(string) => Held::String(string),
                    Content::Hash(fields) => Held::Hash(fields.into_iter().map(pair).collect()),
                    Content::Other(type_name) => Held::Other(type_name.into_owned()),
                };
                let key = (entry.database, entry.key);
                keys.insert(key.clone(), (entry.deadline_ms, held));
                last = Some(key);
            }
            Event::Fields(more) => {
                let key = last.as_ref().expect("a key came before");
                let Some((_, Held::Hash(fields))) = keys.get_mut(key) else {
                    panic!("fields of what is no hash")
                };
                fields.extend(more.into_iter().map(pair));
            }
        }
    }
    Ok((keys, reader))
}

fn pair(field: Field<Vec<u8>>) -> (Vec<u8>, (Vec<u8>, Option<u64>)) {
    (field.name, (field.value, field.deadline_ms))
}

#[track_caller]
fn check(file: &[u8], told: &Told) {
    let (keys, reader) = read(file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reader.offset(), file.len() as u64);
    let names = |keys: &Keys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&keys), names(&told.keys));
    for (key, expected) in &told.keys {
        assert!(keys[key] == *expected, "{key:?} differs");
    }
}

#[test]
fn every_type_is_read_or_named() {
    for compression in ["yes", "no"] {
        let mut told = Told::default();
        told.all_types();
        let Some(file) = saved(&["--rdbcompression", compression], &told) else {
            return;
        };
        check(&file, &told);
        let (_, reader) = read(&file).unwrap();
        assert_eq!(reader.dialect(), Dialect::Redis);
        assert!(reader.version() >= 10 && reader.writer().is_some());
        assert_eq!(reader.function_libraries(), 1);
    }
}

#[test]
fn notes_on_the_use_of_keys_are_no_keys() {
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        let mut told = Told::default();
        told.all_types();
        let Some(file) = saved(&["--maxmemory-policy", policy], &told) else {
            return;
        };
        check(&file, &told);
    }
}

#[test]
fn databases_and_deadlines_before_and_after_now_are_kept() {
    let mut told = Told::default();
    for database in [0, 3, 19] {
        told.select(database);
        told.string(b"same", database.to_string().as_bytes(), None);
        told.string(b"over", b"value", Some(BEFORE_MS));
        told.string(b"not over", b"value", Some(LATER_MS));
        let fields = [(b"name".to_vec(), b"value".to_vec())];
        told.hash(b"hash", &fields, Some(LATER_MS + database));
    }
    let Some(file) = saved(&[], &told) else {
        return;
    };
    check(&file, &told);
    let nothing = Told::default();
    let Some(file) = saved(&[], &nothing) else {
        return;
    };
    check(&file, &nothing);
}

#[test]
fn large_values_come_whole_and_large_hashes_in_parts() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut told = Told::default();
    let noise: Vec<u8> = (0..5_000_000).map(|_| random.u8(..)).collect();
    told.string(b"noise", &noise, None);
    told.string(b"pattern", &noise[..1_000].repeat(6_000), None);
    let fields: Vec<_> = (0..60_000)
        .map(|n| {
            (
                format!("field {n}").into_bytes(),
                n.to_string().into_bytes(),
            )
        })
        .collect();
    told.hash(b"many", &fields, Some(LATER_MS));
    let one = [
        (b"large".to_vec(), noise.clone()),
        (b"small".to_vec(), b"1".to_vec()),
    ];
    told.hash(b"large", &one, None);
    for compression in ["yes", "no"] {
        let Some(file) = saved(&["--rdbcompression", compression], &told) else {
            return;
        };
        check(&file, &told);
        let mut reader = FileReader::new(&*file).unwrap();
        let mut parts = 0;
        while let Some(event) = reader.next().unwrap() {
            if let Event::Fields(fields) = event {
                parts += 1;
                assert!((1..10_000).contains(&fields.len()));
            }
        }
        assert!(parts > 8, "{parts}");
    }
}

fn small_file() -> Option<Vec<u8>> {
    let mut told = Told::default();
    told.string(b"string", b"value", None);
    told.string(b"later", b"12345", Some(LATER_MS));
    told.string(b"long", &b"abc".repeat(100), None);
    told.hash(b"hash", &[(b"name".to_vec(), b"value".to_vec())], None);
    told.other("set", "set", "SADD", &["1".to_owned(), "2".to_owned()]);
    let file = saved(&[], &told)?;
    check(&file, &told);
    Some(file)
}

#[test]
fn every_changed_bit_is_noticed_and_every_cut() {
    let Some(file) = small_file() else {
        return;
    };
    for bit in 0..8 * file.len() {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = read(&damaged).map(|_| ()).expect_err("a changed bit");
        assert!(error.to_string().contains("byte"), "bit {bit}: {error}");
    }
    for length in 0..file.len() {
        match read(&file[..length]).map(|_| ()) {
            Err(FileError::NotRdb) => assert!(length < 9),
            Err(FileError::CutOff { offset }) => assert_eq!(offset, length as u64),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    let behind = [&*file, b"*"].concat();
    let error = read(&behind).map(|_| ()).expect_err("something behind");
    let end = file.len() as u64;
    assert!(
        matches!(error, FileError::BytesBehind { offset } if offset == end),
        "{error}"
    );
}

#[test]
fn a_server_may_leave_out_the_checksum() {
    let mut told = Told::default();
    told.string(b"key", b"value", None);
    let Some(file) = saved(&["--rdbchecksum", "no"], &told) else {
        return;
    };
    assert!(file.ends_with(&[0; 8]));
    check(&file, &told);
}

fn kept_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn files_of_redis_8_and_of_valkey_9_with_deadlines_of_fields_are_read() {
    for (name, dialect, version) in [
        ("redis-8.0.rdb", Dialect::Redis, 12),
        ("valkey-9.1.rdb", Dialect::Valkey, 80),
    ] {
        let mut told = Told::default();
        told.all_types();
        told.field_deadlines();
        let file = kept_file(name);
        check(&file, &told);
        let (_, reader) = read(&file).unwrap();
        assert_eq!((reader.dialect(), reader.version()), (dialect, version));
        assert_eq!(reader.function_libraries(), 1);
    }
}
