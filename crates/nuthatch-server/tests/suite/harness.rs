//! A server in this process on free loopback ports, and clients that show replies as they came.
//!
//! A [`Running`] server ends when it is dropped; then its keyspace is recounted. Nothing here waits
//! for a time: a reply that does not come within [`PATIENCE`] fails the test.
//!
//! ```ignore
//! let server = Running::start();
//! server.client().check(&[
//!     ("SET k v", "+OK"),
//!     ("GET k", r#""v""#),
//!     ("INCR k", "-ERR value is not an integer or out of range"),
//! ]);
//! ```

use nuthatch_server::config::Config;
use nuthatch_server::launch::{LaunchError, Launched, Sockets, launch_on, launch_on_disk};
use nuthatch_server::server::Server;
use nuthatch_storage::disk::simulated::SimulatedDisk;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a test waits for what must come, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs until this is dropped.
pub(crate) struct Running {
    server: Arc<Server>,
    control: Option<JoinHandle<()>>,
}

impl Running {
    /// With two data threads and default settings otherwise.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these settings, by name. A port set to `free` is a free one.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::launch(settings, launch_on)
    }

    /// As [`with`](Self::with), and keeps what it has on this disk. It may have to load that yet.
    pub(crate) fn on_disk(disk: &SimulatedDisk, settings: &[(&str, &str)]) -> Self {
        let disk = Arc::new(disk.clone());
        let settings = [&[("data-dir", "simulated")], settings].concat();
        Self::launch(&settings, |config, sockets| {
            launch_on_disk(config, sockets, disk)
        })
    }

    fn launch(
        settings: &[(&str, &str)],
        launch: impl FnOnce(Config, Sockets) -> Result<Launched, LaunchError>,
    ) -> Self {
        let mut sockets = Sockets::default();
        let (listener, port) = free_port();
        sockets.redis.push(listener);
        let mut config = Config {
            port,
            http_port: 0,
            threads: 2,
            ..Config::default()
        };
        for (name, value) in settings {
            let set = |config: &mut Config, value: &str| {
                let set = config.set(name, value);
                set.unwrap_or_else(|error| panic!("{error}"));
            };
            if *value != "free" {
                set(&mut config, value);
                continue;
            }
            let (listener, port) = free_port();
            set(&mut config, &port.to_string());
            match *name {
                "tls-port" => sockets.tls.push(listener),
                "http-port" => sockets.http = Some(listener),
                "memcached-port" => sockets.memcached.push(listener),
                other => panic!("{other} is no port that a server listens on"),
            }
        }
        config.check().unwrap_or_else(|error| panic!("{error}"));
        let launched = launch(config, sockets).unwrap_or_else(|error| panic!("{error}"));
        Self {
            server: Arc::clone(launched.server()),
            control: Some(thread::spawn(move || {
                launched.run().unwrap_or_else(|error| panic!("{error}"));
            })),
        }
    }

    /// The port for clients of Redis.
    pub(crate) fn port(&self) -> u16 {
        self.server.config().port
    }

    /// What its threads share.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Waits until so many clients are connected.
    pub(crate) fn await_clients(&self, clients: usize) {
        let patience = Instant::now() + PATIENCE;
        while self.server.clients.len() != clients {
            assert!(
                Instant::now() < patience,
                "{} clients are connected, not {clients}",
                self.server.clients.len()
            );
            thread::yield_now();
        }
    }

    /// Waits until what is on disk is loaded.
    pub(crate) fn await_loaded(&self) {
        let patience = Instant::now() + PATIENCE;
        while !self.server.is_ready() {
            assert!(Instant::now() < patience, "it loads for ever");
            thread::yield_now();
        }
    }

    /// A new client that speaks version 2 of the protocol.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.end();
        let control = self.control.take().expect("a server ends once");
        let ended = control.join();
        if !thread::panicking() {
            ended.expect("the server ends in peace");
            self.server.keyspace.cache().validate();
        }
    }
}

/// A socket that holds a free port: the server gets the socket itself, so nobody can take the port in
/// between.
pub(crate) fn free_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    (listener, port)
}

/// One value of the protocol, as it came. Its text is what [`Client::check`] compares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `+OK`
    Simple(String),
    /// `-ERR text`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `"bytes"`, escaped
    Bulk(Vec<u8>),
    /// `nil`: a null bulk string of version 2, or the null of version 3
    Null,
    /// `nil-array`: a null array of version 2
    NullArray,
    /// `[a, b]`
    Array(Vec<Value>),
    /// `{a: b}`
    Map(Vec<(Value, Value)>),
    /// `~[a, b]`
    Set(Vec<Value>),
    /// `>[a, b]`
    Push(Vec<Value>),
    /// `,1.5`
    Double(f64),
    /// `#t`, `#f`
    Boolean(bool),
    /// `(123`
    BigNumber(String),
    /// `=txt:text`
    Verbatim(String),
}

impl Value {
    /// The bytes of a bulk string.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("a bulk string was expected, not {other}"),
        }
    }

    /// The bytes of a text of any kind.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) | Self::BigNumber(text) => text.clone(),
            Self::Verbatim(text) => text.split_once(':').expect("a format").1.to_owned(),
            other => String::from_utf8_lossy(other.bytes()).into_owned(),
        }
    }

    /// The number.
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("an integer was expected, not {other}"),
        }
    }

    /// The elements of an array, set or push.
    pub(crate) fn elements(&self) -> &[Value] {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => elements,
            other => panic!("an array was expected, not {other}"),
        }
    }

    /// Reads the value that `bytes` begins with, and how long it is; `None` if it is not whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let kind = bytes[0];
        let line = std::str::from_utf8(&bytes[1..line_end]).expect("lines are text");
        let mut end = line_end + 2;
        let number = || -> i64 { line.parse().unwrap_or_else(|_| panic!("number {line:?}")) };
        let value = match kind {
            b'+' => Self::Simple(line.to_owned()),
            b'-' => Self::Error(line.to_owned()),
            b':' => Self::Integer(number()),
            b'$' | b'=' if number() >= 0 => {
                let start = end;
                let length = usize::try_from(number()).expect("not negative");
                end = start + length + 2;
                if bytes.len() < end {
                    return None;
                }
                assert_eq!(&bytes[end - 2..end], b"\r\n", "a bulk string ends its line");
                let content = bytes[start..end - 2].to_vec();
                if kind == b'$' {
                    Self::Bulk(content)
                } else {
                    Self::Verbatim(String::from_utf8(content).expect("verbatim text"))
                }
            }
            b'*' if line == "-1" => Self::NullArray,
            b'$' if line == "-1" => Self::Null,
            b'_' => Self::Null,
            b'*' | b'~' | b'>' | b'%' => {
                let fields = if kind == b'%' { 2 } else { 1 };
                let count = usize::try_from(number()).expect("a length") * fields;
                let mut elements = Vec::new();
                for _ in 0..count {
                    let (element, length) = Self::read(&bytes[end..])?;
                    elements.push(element);
                    end += length;
                }
                match kind {
                    b'*' => Self::Array(elements),
                    b'~' => Self::Set(elements),
                    b'>' => Self::Push(elements),
                    _ => Self::Map(
                        elements
                            .chunks_exact(2)
                            .map(|pair| (pair[0].clone(), pair[1].clone()))
                            .collect(),
                    ),
                }
            }
            b',' => Self::Double(line.parse().expect("a double")),
            b'#' => Self::Boolean(line == "t"),
            b'(' => Self::BigNumber(line.to_owned()),
            other => panic!("no value begins with {:?}", char::from(other)),
        };
        Some((value, end))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, elements: &[Self]| {
            let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
            write!(f, "{open}{}]", elements.join(", "))
        };
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Null => write!(f, "nil"),
            Self::NullArray => write!(f, "nil-array"),
            Self::Array(elements) => list(f, "[", elements),
            Self::Set(elements) => list(f, "~[", elements),
            Self::Push(elements) => list(f, ">[", elements),
            Self::Map(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
            Self::Double(number) => write!(f, ",{number}"),
            Self::Boolean(value) => write!(f, "#{}", if *value { "t" } else { "f" }),
            Self::BigNumber(digits) => write!(f, "({digits}"),
            Self::Verbatim(text) => write!(f, "={text}"),
        }
    }
}

/// What carries a client's bytes.
pub(crate) trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

/// A connection to a server, which ends when it is dropped.
pub(crate) struct Client {
    stream: Box<dyn Transport>,
    /// The socket below it.
    socket: TcpStream,
    /// Bytes that came after the value read last.
    received: Vec<u8>,
}

impl Client {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_over(port, |socket| Box::new(socket))
    }

    /// Connects to a port of this machine and wraps the socket.
    pub(crate) fn connect_over(
        port: u16,
        wrap: impl FnOnce(TcpStream) -> Box<dyn Transport>,
    ) -> Self {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a server listens");
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
            .expect("options of a socket");
        Self {
            stream: wrap(socket.try_clone().expect("a descriptor")),
            socket,
            received: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends a request without waiting for its reply.
    pub(crate) fn send_request<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send(&request(args));
    }

    /// Sends a request and returns its reply.
    pub(crate) fn call_with<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send_request(args);
        self.read()
    }

    /// As [`call_with`](Self::call_with), of a line such as a person types it: words separated by
    /// blanks, in double quotes where they have blanks or escapes such as `\n`, `\x00`, `\"`.
    pub(crate) fn call(&mut self, line: &str) -> Value {
        self.call_with(&words(line))
    }

    /// Runs lines one after another and compares each one's reply.
    #[track_caller]
    pub(crate) fn check(&mut self, cases: &[(&str, &str)]) {
        for (line, expected) in cases {
            let reply = self.call(line).to_string();
            assert_eq!(reply, *expected, "reply to {line}");
        }
    }

    /// The next value that the server sends.
    pub(crate) fn read(&mut self) -> Value {
        loop {
            if let Some((value, length)) = Value::read(&self.received) {
                self.received.drain(..length);
                return value;
            }
            assert!(
                self.receive() > 0,
                "the connection was closed after {:?}",
                self.received.escape_ascii().to_string()
            );
        }
    }

    /// The next `length` bytes, whatever they mean.
    pub(crate) fn read_bytes(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            assert!(self.receive() > 0, "the connection was closed");
        }
        self.received.drain(..length).collect()
    }

    /// The next line, without its end.
    pub(crate) fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.read_bytes(end + 2);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.receive() > 0, "the connection was closed");
        }
    }

    /// Everything that comes until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.receive() > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Whether nothing has come that was not read. Says nothing of what is still to come.
    pub(crate) fn hears_nothing(&mut self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket's mode");
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("a socket's mode");
        let is_quiet = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        is_quiet && self.received.is_empty()
    }

    /// The next value that the server sends; `None` if it closes the connection instead.
    pub(crate) fn read_if_served(&mut self) -> Option<Value> {
        loop {
            if let Some((value, length)) = Value::read(&self.received) {
                self.received.drain(..length);
                return Some(value);
            }
            if self.receive() == 0 {
                return None;
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.socket
            .shutdown(Shutdown::Write)
            .expect("an open socket");
    }

    /// Reads what there is, waiting for something; 0 bytes when the connection is closed.
    fn receive(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                read
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("no reply: {error}"),
        }
    }
}

/// A request as clients send it.
pub(crate) fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The words of a line; see [`Client::call`].
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = line.bytes().peekable();
    while let Some(first) = bytes.next() {
        let mut word = Vec::new();
        match first {
            b' ' => continue,
            b'"' => loop {
                match bytes.next().expect("a closing quote") {
                    b'"' => break,
                    b'\\' => word.push(match bytes.next().expect("an escaped character") {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'x' => {
                            let mut digit = || {
                                let digit = bytes.next().map(char::from);
                                digit
                                    .and_then(|digit| digit.to_digit(16))
                                    .expect("two digits") as u8
                            };
                            digit() << 4 | digit()
                        }
                        other => other,
                    }),
                    other => word.push(other),
                }
            },
            other => {
                word.push(other);
                while let Some(next) = bytes.next_if(|next| *next != b' ') {
                    word.push(next);
                }
            }
        }
        words.push(word);
    }
    words
}
