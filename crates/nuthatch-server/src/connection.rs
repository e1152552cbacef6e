//! A client's connection: its socket, and what is between socket and commands.

use crate::kept::Kept;
use crate::push::Push;
use crate::session::Session;
use crate::tls::TlsStream;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use nuthatch_storage::Sequence;
use nuthatch_wire::memcached;
use nuthatch_wire::resp::{Protocol, RequestParser};
use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// A connection whose last read gave more than that is expected to have more than a slot holds.
const LITTLE_BYTES: usize = 1024;

/// If a request lacks that much, it is read to where it is kept, not copied there.
const MUCH_BYTES: usize = 16 * 1024;
/// Room is made for so many times what has arrived of a request. So whoever announces a long one and does
/// not send it gets nothing.
const AHEAD: usize = 16;

/// A socket of any kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TCP, encrypted.
    Tls(Box<TlsStream>),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Asks for events; both directions at once, each told when it changes.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            self.source(),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    /// Reads what is there.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Tcp(stream) => stream.read(buffer),
                Self::Unix(stream) => stream.read(buffer),
                Self::Tls(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// The socket, if what comes from it is what the client has sent.
    fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Tls(_) => None,
        }
    }

    /// Writes what fits.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Self::Tcp(stream) => stream.write(bytes),
                Self::Unix(stream) => stream.write(bytes),
                Self::Tls(stream) => stream.write(bytes),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Whether there may be more to read after a read that gave `read` of `wanted` bytes.
    #[inline]
    fn may_have_more(&self, read: usize, wanted: usize) -> bool {
        match self {
            // A read that does not fill the buffer has emptied the socket: the next bytes bring an
            // event.
            Self::Tcp(_) | Self::Unix(_) => read == wanted,
            Self::Tls(_) => true,
        }
    }

    /// Whether bytes that a write has taken have not left yet.
    #[inline]
    fn has_unsent(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.has_unsent(),
        }
    }

    /// Sends what writes have taken; `true` if nothing waits any more.
    fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(true),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether the client has not yet done what its kind of connection begins with.
    pub fn is_opening(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// Tells the client that nothing more will come, where the connection has words for it.
    pub fn say_goodbye(&mut self) {
        match self {
            Self::Tcp(_) | Self::Unix(_) => {}
            Self::Tls(stream) => stream.say_goodbye(),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// The client.
    pub session: Session,
    /// Reads requests.
    pub parser: RequestParser,
    /// Reads them if they are memcached's.
    pub memcached: Option<memcached::RequestParser>,
    /// The version that replies are written in.
    pub protocol: Protocol,
    /// The beginning of a request that is not complete, or requests that wait.
    pub input: Kept,
    /// How long `input` must be at least before it holds a whole request; 0 where that is not known.
    pub wanted_bytes: usize,
    /// What the socket has not taken yet.
    output: Kept,
    /// Whether the socket may have more to read.
    pub is_readable: bool,
    /// Bytes that the last read gave.
    pub last_read: usize,
    /// Whether an event has told that the client will send no more than is there.
    pub is_ending: bool,
    /// Whether all that the client has sent was read.
    pub has_ended: bool,
    /// Whether requests wait until the socket has taken what was written.
    pub is_stalled: bool,
    /// Since when it is stalled with more requests than may wait for a client that does not read.
    pub stuck_since: Option<Instant>,
    /// Since when more waits to be sent than the soft limit allows.
    pub above_soft_limit: Option<Instant>,
    /// Up to where the log must be synced before anything more is sent.
    pub commit_point: Option<Sequence>,
}

impl Connection {
    /// A new connection.
    pub fn new(stream: Stream, session: Session, parser: RequestParser) -> Self {
        Self {
            stream,
            session,
            parser,
            memcached: None,
            protocol: Protocol::Resp2,
            input: Kept::default(),
            wanted_bytes: 0,
            output: Kept::default(),
            is_readable: true,
            last_read: 0,
            is_ending: false,
            has_ended: false,
            is_stalled: false,
            stuck_since: None,
            above_soft_limit: None,
            commit_point: None,
        }
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub fn unsent_bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether no request may be run at present.
    #[inline]
    pub fn is_held_up(&self) -> bool {
        self.session.closing
            || self.is_stalled
            || self.commit_point.is_some()
            || self.session.is_waiting()
    }

    /// Whether what is there may be read before the connection's turn, into a slot of few bytes.
    pub fn may_be_read_ahead(&self) -> bool {
        self.is_readable
            && self.last_read <= LITTLE_BYTES
            && self.input.is_empty()
            && self.memcached.is_none()
            && !self.is_held_up()
    }

    /// Bytes that requests and replies take between events.
    pub fn buffered_bytes(&self) -> usize {
        self.input.capacity() + self.output.capacity() + self.parser.allocated_bytes()
    }

    /// Whether anything waits to be sent, be it encrypted already.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.unsent_bytes() > 0 || self.stream.has_unsent()
    }

    /// Reads what is there, and notes whether there may be more.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.last_read = read;
        // The end may have come with these bytes, and then brings no event of its own.
        self.is_readable = self.is_ending || self.stream.may_have_more(read, buffer.len());
        Ok(read)
    }

    /// Reads what is there of a long request that has begun; `None` if there is none.
    pub fn read_rest(&mut self) -> Option<io::Result<usize>> {
        let arrived = self.input.len();
        let total = self.foreseen_bytes(arrived);
        if total < arrived + MUCH_BYTES {
            return None;
        }
        let socket = self.stream.plain_socket()?;
        self.input.reserve(total);
        let (read, room) = self.input.append_with(|input| {
            let room = input.capacity() - input.len();
            let read = retry_on_intr(|| rustix::io::read(socket, spare_capacity(input)));
            (read, room)
        });
        Some(read.map_err(io::Error::from).inspect(|&read| {
            self.last_read = read;
            self.is_readable = self.is_ending || self.stream.may_have_more(read, room);
        }))
    }

    /// Keeps bytes of requests that are not whole or have to wait.
    pub fn keep_input(&mut self, bytes: &[u8]) {
        let arrived = self.input.len() + bytes.len();
        self.input.reserve(self.foreseen_bytes(arrived));
        self.input.extend(bytes);
    }

    /// For how much of the request that has begun there is to be room, where so much of it has arrived.
    fn foreseen_bytes(&self, arrived: usize) -> usize {
        self.wanted_bytes.min(arrived.saturating_mul(AHEAD))
    }

    /// Keeps something that is no reply, as the client's version has it, until it is flushed.
    pub fn keep_push(&mut self, push: &Push) {
        self.output
            .append_with(|out| push.write(&self.session, self.protocol, out));
    }

    /// Keeps bytes that the socket has not taken.
    pub fn keep_unsent(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
    }

    /// Writes what waits; `true` if nothing waits any more.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slice()) {
                Ok(written) => self.output.take_front(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.stream.flush()
    }
}
