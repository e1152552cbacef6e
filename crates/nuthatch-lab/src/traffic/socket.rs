//! Sockets: first with reads that wait, to greet the server, and then for the event loop.

use super::reply::{Event, Replies};
use super::target::{Address, Protocol, Target};
use super::{PATIENCE, TrafficError, memcached, resp};
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;

/// Replies to what is asked here are a few hundred bytes.
const REPLY_BYTES: usize = 4096;

/// A stream socket of either family.
#[derive(Debug)]
pub(super) enum Socket<T, U> {
    Tcp(T),
    Unix(U),
}

/// One whose reads and writes wait, but not for ever.
pub(super) type Waiting = Socket<TcpStream, UnixStream>;

/// One for an event loop, which never waits.
pub(super) type Polled = Socket<mio::net::TcpStream, mio::net::UnixStream>;

impl<T: Read, U: Read> Read for Socket<T, U> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl<T: Write, U: Write> Write for Socket<T, U> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.flush(),
            Self::Unix(socket) => socket.flush(),
        }
    }
}

impl<T: Source, U: Source> Source for Socket<T, U> {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, interests),
            Self::Unix(socket) => socket.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.reregister(registry, token, interests),
            Self::Unix(socket) => socket.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.deregister(registry),
            Self::Unix(socket) => socket.deregister(registry),
        }
    }
}

impl Waiting {
    /// Connects, and makes sure that the server speaks the protocol and lets us in. It has then
    /// accepted the connection, so the first request does not wait for that.
    pub(super) fn open(target: &Target) -> Result<Self, TrafficError> {
        let mut socket = Self::connect(&target.address).map_err(TrafficError::Connect)?;
        let mut greeting = Vec::new();
        match target.protocol {
            Protocol::Resp2 | Protocol::Resp3 => {
                let credentials = target.credentials.as_ref();
                resp::encode_greeting(target.protocol, credentials, &mut greeting);
            }
            Protocol::Memcached => memcached::encode_greeting(&mut greeting),
        }
        ask(&mut socket, target.protocol, "the greeting", &greeting)?;
        Ok(socket)
    }

    fn connect(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp { host, port } => {
                let socket = connect_any((host.as_str(), *port))?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Self::Tcp(socket)
            }
            Address::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Self::Unix(socket)
            }
        };
        Ok(socket)
    }

    /// Removes everything from the server.
    pub(super) fn empty(&mut self, protocol: Protocol) -> Result<(), TrafficError> {
        let mut request = Vec::new();
        match protocol {
            Protocol::Resp2 | Protocol::Resp3 => resp::encode_flush(&mut request),
            Protocol::Memcached => memcached::encode_flush(&mut request),
        }
        ask(self, protocol, "the flush", &request)
    }

    pub(super) fn into_polled(self) -> io::Result<Polled> {
        Ok(match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Socket::Tcp(mio::net::TcpStream::from_std(socket))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Socket::Unix(mio::net::UnixStream::from_std(socket))
            }
        })
    }
}

/// Connects to the first address of a host that accepts.
fn connect_any(place: (&str, u16)) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends a request that is no part of the measurement, and waits for the reply.
fn ask(
    socket: &mut (impl Read + Write),
    protocol: Protocol,
    name: &'static str,
    request: &[u8],
) -> Result<(), TrafficError> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TrafficError::Silent(PATIENCE),
        _ => TrafficError::Broken(error),
    };
    socket.write_all(request).map_err(broken)?;
    let mut replies = Replies::new(protocol);
    let mut buffer = [0; REPLY_BYTES];
    loop {
        let read = socket.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            return Err(TrafficError::Closed);
        }
        let mut input = &buffer[..read];
        if let Some(event) = replies.next(&mut input)? {
            return match event {
                Event::Stored | Event::Notice(_) if input.is_empty() => Ok(()),
                event => Err(refused(name, &event)),
            };
        }
    }
}

/// What came in place of the right reply.
#[cold]
pub(super) fn refused(request: &'static str, event: &Event<'_>) -> TrafficError {
    let reply = match event {
        Event::Failure(text) | Event::Notice(text) => String::from_utf8_lossy(text).into_owned(),
        Event::Key(_) | Event::Data { .. } | Event::Hit { .. } => "a value".to_owned(),
        Event::Miss => "no such key".to_owned(),
        Event::Stored => "OK".to_owned(),
    };
    TrafficError::Refused { request, reply }
}
