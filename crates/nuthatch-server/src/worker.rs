//! A data thread: its event loop, its connections, and the way of bytes from socket to command and
//! back.
//!
//! A wake serves every socket that has something: one read, all complete requests of it, one write.
//! Where many sockets have little each, several are read before the first of them is served, so that the
//! memory which their requests need is waited for once.
//! Requests are run where they lie in the thread's read buffer, replies gather in the thread's reply
//! buffer; only what is incomplete, or what a socket does not take, is kept with its connection. So an
//! idle connection holds no buffer.
//!
//! A client that does not read its replies has its requests run no further, so that what waits for it
//! is bounded by one batch. Its requests are read all the same: most clients write a whole pipeline
//! before they read, and would wait for ever if nobody took the rest of it. What is kept of requests is
//! bounded by a share of the memory that all clients of a thread have together; beyond it a client that
//! does not read is not read from either, and is disconnected if that lasts. What is published to a
//! client, it gets in any case, within its output limit.

mod commits;

use crate::client::{Client, ClientFlags, ClientId, Route};
use crate::clock;
use crate::config::Config;
use crate::connection::{Connection, Stream};
use crate::context::Context;
use crate::executor;
use crate::field_expiry;
use crate::hot_keys::HotKeys;
use crate::mailbox::{Mailbox, Message};
use crate::memcached;
use crate::push::Push;
use crate::server::{Server, WorkerHandle, WorkerId};
use crate::session::Session;
use crate::tls::TlsStream;
use hashbrown::HashMap;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use nuthatch_storage::synced::SyncWaiter;
use nuthatch_wire::memcached::Parsed;
use nuthatch_wire::resp::{
    Args, Batch, Limits, OwnedRequest, ProtocolError, Reply, RequestParser, Status,
};
use smallvec::SmallVec;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Sockets that are read before the first of them is served.
const GROUP: usize = 16;
/// What is read from each of them.
const SLOT_BYTES: usize = 4 * 1024;
/// Reads from one socket before others get their turn.
const READS_PER_TURN: usize = 4;
/// Unsent bytes at which a client's requests wait.
const STALL_BYTES: usize = 256 * 1024;
/// The part of all memory that requests may take while they wait for clients to read replies.
const KEPT_SHARE: u64 = 8;
/// What every data thread may keep of such requests, however little memory there is.
const MIN_KEPT_BYTES: u64 = 4 << 20;
/// How long a client may neither read nor be read from.
const STUCK: Duration = Duration::from_secs(60);
/// Memory of the reply buffer that is kept for the next batch.
const KEPT_REPLY_BYTES: usize = 256 * 1024;
/// Connections accepted before others get their turn.
const ACCEPTS_PER_TURN: usize = 256;
/// Bytes that a client of memcached's may send as name and password.
const MAX_CREDENTIALS_BYTES: usize = 16 * 1024;
/// How long a server that ends waits for the log, to acknowledge what is in it.
const LAST_SYNC: Duration = Duration::from_secs(5);
/// How often limits that depend on time are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Requests found before the first of them is run.
const BATCH: usize = 32;
/// Keys of one request whose memory is asked for ahead.
const KEYS_PREPARED: usize = 16;

const BELL: Token = Token(usize::MAX);
/// Listeners have the tokens below that.
const FIRST_LISTENER: usize = usize::MAX - 1024;

/// Where clients come from.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
    /// TCP, encrypted.
    Tls(TcpListener, Arc<rustls::ServerConfig>),
    /// TCP, for clients of memcached.
    Memcached(TcpListener),
}

/// See the module's text.
#[derive(Debug)]
pub struct Worker {
    handle: Arc<WorkerHandle>,
    server: Arc<Server>,
    config: Arc<Config>,
    config_version: u64,
    poll: Poll,
    listeners: Vec<Listener>,
    /// Connections by token.
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    tokens: HashMap<ClientId, usize, foldhash::fast::FixedState>,
    /// Tokens of connections that have more to read than their turn allowed.
    ready: Vec<usize>,
    /// Listeners that may have more to accept.
    accepting: Vec<usize>,
    /// Listeners that have more to accept than the process has files for. They are asked again with
    /// the next tick and not before: no event tells when a file is free, and events of more clients
    /// change nothing.
    starved: Vec<usize>,
    /// Tokens of connections that have had an event.
    woken: Vec<usize>,
    buffer: Box<[u8]>,
    /// Slots for what is read from several sockets.
    slots: Box<[u8]>,
    reply: Reply,
    batch: Batch,
    messages: Vec<Message>,
    /// Tokens of connections to which something was delivered that is to be sent.
    delivered: Vec<usize>,
    next_tick: Instant,
    /// Bytes of requests that wait, of all connections.
    kept_bytes: u64,
    /// Tokens of connections whose replies wait until what they have written is synced.
    committing: Vec<usize>,
    /// Whether some of them have come since the log's thread was told.
    is_commit_new: bool,
    /// Wakes since the first of these.
    put_off: u32,
}

/// What comes after the requests of a batch.
enum Found {
    /// More of them.
    Batch,
    /// An inline command, and where it ends.
    Inline(OwnedRequest, usize),
    /// No whole request, and none before there are so many bytes of it.
    Nothing { wanted: usize },
    /// No request at all.
    Error(ProtocolError),
}

/// What was read from a socket before its turn.
#[derive(Debug)]
struct Arrived<'a> {
    slot: &'a [u8],
    read: io::Result<usize>,
}

/// What became of a connection's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It waits for the next event.
    Over,
    /// It has more to read.
    Unfinished,
    /// It is closed.
    Closed,
}

/// A data thread's poll and what others reach it by.
pub fn prepare(id: WorkerId) -> io::Result<(Poll, Arc<WorkerHandle>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), BELL)?;
    let handle = WorkerHandle {
        id,
        mailbox: Mailbox::new(waker),
        stats: crate::server::worker_stats(),
        arriving: AtomicU64::new(0),
        awaits_sync: SyncWaiter::default(),
        hot_keys: HotKeys::default(),
    };
    Ok((poll, Arc::new(handle)))
}

impl Worker {
    /// A data thread that accepts from `listeners`, if any.
    pub fn new(
        server: Arc<Server>,
        poll: Poll,
        handle: Arc<WorkerHandle>,
        mut listeners: Vec<Listener>,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER + index);
            match listener {
                Listener::Tcp(listener)
                | Listener::Tls(listener, _)
                | Listener::Memcached(listener) => {
                    poll.registry()
                        .register(listener, token, Interest::READABLE)?;
                }
                Listener::Unix(listener) => {
                    poll.registry()
                        .register(listener, token, Interest::READABLE)?;
                }
            }
        }
        Ok(Self {
            config: server.config(),
            config_version: server.config_version(),
            handle,
            server,
            poll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            tokens: HashMap::default(),
            ready: Vec::new(),
            accepting: Vec::new(),
            starved: Vec::new(),
            woken: Vec::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            slots: vec![0; GROUP * SLOT_BYTES].into_boxed_slice(),
            reply: Reply::default(),
            batch: Batch::default(),
            messages: Vec::new(),
            delivered: Vec::new(),
            next_tick: Instant::now() + TICK,
            kept_bytes: 0,
            committing: Vec::new(),
            is_commit_new: false,
            put_off: 0,
        })
    }

    /// The server that it belongs to.
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// Serves until the server ends.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.server.is_ending.load(Ordering::Relaxed) {
            let is_idle = self.ready.is_empty() && self.accepting.is_empty();
            let timeout = if is_idle && !self.is_commit_new {
                TICK
            } else {
                Duration::ZERO
            };
            match self.wake(&mut events, timeout) {
                Ok(()) => self.tick(Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.close_all();
        Ok(())
    }

    /// Waits for events, and serves all that have come.
    fn wake(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        self.poll.poll(events, Some(timeout))?;
        clock::keep_time();
        self.handle.stats.wakes.add(1);
        self.follow_config();
        // First what others have sent: whoever sends a request after a change has been answered
        // hears of the change before the reply.
        self.take_messages();
        let unfinished = std::mem::take(&mut self.ready);
        for event in &*events {
            self.take_event(event);
        }
        self.serve_woken();
        for token in unfinished {
            self.serve(token, None);
        }
        self.accept_more();
        self.follow_log(events.is_empty());
        Ok(())
    }

    fn follow_config(&mut self) {
        let version = self.server.config_version();
        if version != self.config_version {
            self.config_version = version;
            self.config = self.server.config();
            let limits = limits(&self.config);
            for connection in self.connections.iter_mut().flatten() {
                let authenticated = connection.session.is_authenticated;
                connection.parser.set_limits(limits, authenticated);
                if let Some(parser) = &mut connection.memcached {
                    parser.set_limits(memcached_limits(&self.config, authenticated));
                }
            }
        }
    }

    fn take_event(&mut self, event: &mio::event::Event) {
        let token = event.token();
        if token == BELL {
            return;
        }
        if token.0 >= FIRST_LISTENER {
            self.accepting.push(token.0 - FIRST_LISTENER);
            return;
        }
        let Some(Some(connection)) = self.connections.get_mut(token.0) else {
            return;
        };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.is_readable = true;
            connection.is_ending |= event.is_read_closed() || event.is_error();
        }
        if event.is_writable() && connection.has_unsent() && !self.flush(token.0) {
            return;
        }
        self.woken.push(token.0);
    }

    // ---- connections ----------------------------------------------------------------------

    fn accept_more(&mut self) {
        for index in std::mem::take(&mut self.accepting) {
            if self.starved.contains(&index) {
                continue;
            }
            let mut is_empty = false;
            for _ in 0..ACCEPTS_PER_TURN {
                match self.accept(index) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        is_empty = true;
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        // Out of files, most likely: clients wait in the backlog until some are
                        // closed.
                        tracing::warn!(%error, "a connection could not be accepted");
                        self.starved.push(index);
                        is_empty = true;
                        break;
                    }
                }
            }
            if !is_empty {
                // No event comes for those that are there already.
                self.accepting.push(index);
            }
        }
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        let accepted = match &self.listeners[index] {
            Listener::Tcp(listener)
            | Listener::Tls(listener, _)
            | Listener::Memcached(listener) => {
                let (stream, address) = listener.accept()?;
                self.open_tcp(index, stream, address)
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let path = self.config.unixsocket.clone();
                let route = Route {
                    address: format!("{path}:0"),
                    local_address: format!("{path}:0"),
                    descriptor: stream.as_raw_fd(),
                    is_unix: true,
                };
                Ok((Stream::Unix(stream), route, false))
            }
        };
        match accepted {
            Ok((stream, route, is_foreign)) => {
                let is_memcached = matches!(self.listeners[index], Listener::Memcached(_));
                self.welcome(stream, route, is_foreign, is_memcached);
            }
            // It left while it waited to be accepted; others may wait behind it.
            Err(error) => tracing::debug!(%error, "a client is gone"),
        }
        Ok(())
    }

    /// A connection on a socket that was accepted, where it comes from, and whether that is another
    /// machine.
    fn open_tcp(
        &self,
        index: usize,
        stream: mio::net::TcpStream,
        address: std::net::SocketAddr,
    ) -> io::Result<(Stream, Route, bool)> {
        stream.set_nodelay(true)?;
        keep_alive(&stream, self.config.tcp_keepalive)?;
        let local_address = stream.local_addr()?.to_string();
        let route = Route {
            address: address.to_string(),
            local_address,
            descriptor: stream.as_raw_fd(),
            is_unix: false,
        };
        let stream = match &self.listeners[index] {
            Listener::Tls(_, config) => Stream::Tls(Box::new(TlsStream::new(stream, config)?)),
            _ => Stream::Tcp(stream),
        };
        Ok((stream, route, !address.ip().to_canonical().is_loopback()))
    }

    /// Turns a new client away, or gives it to the data thread with the fewest.
    fn welcome(&mut self, mut stream: Stream, route: Route, is_foreign: bool, is_memcached: bool) {
        let refusal = if self.server.clients.len() >= self.config.maxclients as usize {
            Some("-ERR max number of clients reached\r\n")
        } else if is_foreign
            && self.config.protected_mode.0
            && !self.server.acl.default_user_has_password()
        {
            Some(
                "-DENIED Nuthatch is running in protected mode because protected mode is enabled \
                 and no password is set for the default user. In this mode connections are only \
                 accepted from the loopback interface. Set requirepass, or turn protected-mode off \
                 if no stranger can reach this port.\r\n",
            )
        } else {
            None
        };
        if let Some(text) = refusal {
            self.server
                .rejected_connections
                .fetch_add(1, Ordering::Relaxed);
            let text = if is_memcached {
                format!("SERVER_ERROR {}", &text[1..])
            } else {
                text.to_owned()
            };
            // Whether the client hears why is up to its socket; before a handshake there is no way.
            if !stream.is_opening()
                && let Err(error) = stream.write(text.as_bytes())
            {
                tracing::debug!(%error, "a client that was turned away has left already");
            }
            return;
        }
        let target = self
            .server
            .workers()
            .iter()
            .min_by_key(|worker| {
                worker.stats.clients.get() + worker.arriving.load(Ordering::Relaxed)
            })
            .map_or(self.handle.id, |worker| worker.id);
        let id = self.server.clients.next_id();
        let client = Arc::new(Client::new(id, route, target, clock::now_ms()));
        self.server.clients.add(&client);
        let acl = &self.server.acl;
        let is_authenticated = acl.default_user_is_open();
        let user = Arc::clone(acl.default_user());
        let session = Session::new(client, user, is_authenticated);
        let mut parser = RequestParser::new(limits(&self.config));
        parser.set_limits(limits(&self.config), is_authenticated);
        let mut connection = Box::new(Connection::new(stream, session, parser));
        if is_memcached {
            let limits = memcached_limits(&self.config, is_authenticated);
            connection.memcached = Some(nuthatch_wire::memcached::RequestParser::new(limits));
            let client = &connection.session.client;
            client.set_flags(ClientFlags::MEMCACHED, true);
        }
        let worker = &self.server.workers()[target];
        if target == self.handle.id {
            self.adopt(connection);
        } else {
            // Counted here, so that the next client goes elsewhere.
            worker.arriving.fetch_add(1, Ordering::Relaxed);
            worker.mailbox.send(Message::Adopt(connection));
        }
    }

    /// Takes a connection that was accepted.
    fn adopt(&mut self, mut connection: Box<Connection>) {
        let token = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Err(error) = connection
            .stream
            .register(self.poll.registry(), Token(token))
        {
            tracing::warn!(%error, "a connection could not be watched");
            self.server.clients.remove(connection.session.client.id);
            self.free.push(token);
            return;
        }
        self.tokens.insert(connection.session.client.id, token);
        self.connections[token] = Some(connection);
        self.handle.stats.clients.set(self.tokens.len() as u64);
        self.handle.stats.connections.add(1);
        self.serve(token, None);
    }

    fn close(&mut self, token: usize) {
        let Some(mut connection) = self.connections[token].take() else {
            return;
        };
        self.free.push(token);
        self.kept_bytes -= connection.input.len() as u64;
        let id = connection.session.client.id;
        self.tokens.remove(&id);
        self.handle.stats.clients.set(self.tokens.len() as u64);
        connection.stream.say_goodbye();
        connection.session.leave(&self.server);
    }

    fn close_all(&mut self) {
        if let Some(durability) = &self.server.durability
            && !self.committing.is_empty()
        {
            durability.wait_until_synced(self.server.keyspace.journal().end(), LAST_SYNC);
            self.acknowledge_synced();
        }
        for token in 0..self.connections.len() {
            if self.connections[token].is_some() && self.flush(token) {
                self.close(token);
            }
        }
    }

    // ---- requests -------------------------------------------------------------------------

    /// Gives each connection that has had an event its turn.
    fn serve_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        let mut slots = std::mem::take(&mut self.slots);
        for group in woken.chunks(GROUP) {
            match group {
                [token] => self.serve(*token, None),
                _ => self.serve_group(group, &mut slots),
            }
        }
        self.slots = slots;
        woken.clear();
        self.woken = woken;
    }

    /// Reads what is there for several connections, has the memory loaded that it will need, and gives
    /// each its turn.
    fn serve_group(&mut self, tokens: &[usize], slots: &mut [u8]) {
        let mut reads: SmallVec<[Option<io::Result<usize>>; GROUP]> = SmallVec::new();
        for (&token, slot) in tokens.iter().zip(slots.chunks_exact_mut(SLOT_BYTES)) {
            let connection = self.connections.get_mut(token).and_then(Option::as_mut);
            let connection = connection.filter(|connection| connection.may_be_read_ahead());
            reads.push(connection.map(|connection| connection.read(slot)));
        }
        let slots = || slots.chunks_exact(SLOT_BYTES);
        let mut keys: SmallVec<[&[u8]; GROUP]> = SmallVec::new();
        for ((&token, slot), read) in tokens.iter().zip(slots()).zip(&reads) {
            if let Some(Ok(read)) = read
                && let Some(Some(connection)) = self.connections.get_mut(token)
            {
                keys.extend(first_key(connection, &slot[..*read]));
            }
        }
        self.server.keyspace.prefetch(&keys);
        for ((&token, slot), read) in tokens.iter().zip(slots()).zip(reads) {
            self.serve(token, read.map(|read| Arrived { slot, read }));
        }
    }

    /// Gives a connection its turn, with what was read from it already.
    fn serve(&mut self, token: usize, arrived: Option<Arrived<'_>>) {
        let Some(mut connection) = self.connections.get_mut(token).and_then(Option::take) else {
            return;
        };
        let before = connection.input.len() as u64;
        let turn = self.turn(&mut connection, arrived);
        let kept = connection.input.len() as u64;
        self.kept_bytes = self.kept_bytes + kept - before;
        let client = &connection.session.client;
        client.input_bytes.store(kept, Ordering::Relaxed);
        client
            .output_bytes
            .store(connection.unsent_bytes() as u64, Ordering::Relaxed);
        self.connections[token] = Some(connection);
        match turn {
            Turn::Over => {}
            Turn::Unfinished => self.ready.push(token),
            Turn::Closed => self.close(token),
        }
    }

    fn turn(&mut self, connection: &mut Connection, mut arrived: Option<Arrived<'_>>) -> Turn {
        if connection.session.client.killed.load(Ordering::Relaxed) {
            return Turn::Closed;
        }
        if !connection.input.is_empty() && !connection.is_held_up() {
            // Requests that had to wait.
            self.process_kept(connection);
        }
        let mut reads = 0;
        while arrived.is_some()
            || connection.is_readable && !connection.session.closing && self.may_keep(connection)
        {
            if reads == READS_PER_TURN {
                return self.end_turn(connection, Turn::Unfinished);
            }
            reads += 1;
            let mut is_kept = false;
            let (slot, read) = if let Some(Arrived { slot, read }) = arrived.take() {
                (Some(slot), read)
            } else if let Some(read) = connection.read_rest() {
                is_kept = true;
                (None, read)
            } else {
                (None, connection.read(&mut self.buffer))
            };
            let read = match read {
                Ok(0) => {
                    connection.has_ended = true;
                    connection.is_readable = false;
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.is_readable = false;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "a client is gone");
                    return Turn::Closed;
                }
            };
            self.handle.stats.reads.add(1);
            self.handle.stats.read_bytes.add(read as u64);
            let client = &connection.session.client;
            client.active_ms.store(clock::now_ms(), Ordering::Relaxed);
            let total = &client.read_bytes;
            total.store(
                total.load(Ordering::Relaxed) + read as u64,
                Ordering::Relaxed,
            );
            if is_kept {
                self.process_kept(connection);
            } else if let Some(slot) = slot {
                self.process_or_keep(connection, &slot[..read]);
            } else {
                let buffer = std::mem::take(&mut self.buffer);
                self.process_or_keep(connection, &buffer[..read]);
                self.buffer = buffer;
            }
            if connection.input.len() as u64 > self.config.client_query_buffer_limit.0 {
                self.handle.stats.query_limit_disconnections.add(1);
                tracing::warn!(
                    client = connection.session.client.id,
                    bytes = connection.input.len(),
                    "a request exceeds client-query-buffer-limit"
                );
                return Turn::Closed;
            }
        }
        if connection.has_ended && !connection.is_stalled {
            // It may still read what it has asked for.
            connection.session.closing = true;
        }
        self.end_turn(connection, Turn::Over)
    }

    /// Whether more may be read, though it may have to wait.
    fn may_keep(&self, connection: &Connection) -> bool {
        let kept = connection.input.len();
        if connection.session.is_waiting() {
            // The rest may wait outside. Less is read, so that the client's end is seen.
            return kept < STALL_BYTES;
        }
        if !connection.is_stalled {
            return true;
        }
        let limit = self.config.client_query_buffer_limit.0;
        (kept + READ_BYTES) as u64 <= limit && self.kept_bytes < self.kept_limit_bytes()
    }

    /// What may be kept of requests while their clients do not read.
    fn kept_limit_bytes(&self) -> u64 {
        let all = self.server.max_memory_bytes.load(Ordering::Relaxed);
        (all / KEPT_SHARE / self.server.workers().len() as u64).max(MIN_KEPT_BYTES)
    }

    /// Runs the requests in what was read, and keeps what is left.
    fn process_or_keep(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if connection.input.is_empty() {
            let consumed = self.process(connection, bytes);
            connection.keep_input(&bytes[consumed..]);
        } else {
            connection.keep_input(bytes);
            self.process_kept(connection);
        }
    }

    fn process_kept(&mut self, connection: &mut Connection) {
        let mut input = std::mem::take(&mut connection.input);
        let consumed = self.process(connection, input.as_slice());
        input.take_front(consumed);
        connection.input = input;
    }

    /// Runs the requests in `bytes`; returns how many bytes they took.
    fn process(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        connection.wanted_bytes = 0;
        if connection.is_held_up() {
            return 0;
        }
        if connection.memcached.is_some() {
            return self.process_memcached(connection, bytes);
        }
        self.reply.set_protocol(connection.protocol);
        let mut requests = 0;
        let mut batch = std::mem::take(&mut self.batch);
        let mut consumed = 0;
        loop {
            let found = self.find_requests(connection, bytes, consumed, &mut batch);
            self.prepare(connection, bytes, &batch);
            for index in 0..batch.len() {
                if connection.is_held_up() {
                    break;
                }
                let args = batch.args(index, bytes);
                if !args.is_empty() {
                    self.run_request(connection, args);
                    if connection.session.is_waiting() {
                        break;
                    }
                    requests += 1;
                }
                consumed = batch.end(index);
            }
            if connection.is_held_up() {
                // What was found and not run is found again when its time comes.
                connection.parser.restart();
                break;
            }
            match found {
                Found::Batch => {}
                Found::Inline(request, end) => {
                    if !request.args().is_empty() {
                        self.run_request(connection, request.args());
                        if connection.session.is_waiting() {
                            connection.parser.restart();
                            break;
                        }
                        requests += 1;
                    }
                    consumed = end;
                }
                Found::Nothing { wanted } => {
                    connection.wanted_bytes = wanted;
                    break;
                }
                Found::Error(error) => {
                    self.reply.error(&format!("ERR {error}"));
                    self.handle.stats.errors.add(1);
                    connection.session.closing = true;
                    break;
                }
            }
        }
        self.batch = batch;
        connection.protocol = self.reply.protocol();
        let client = &connection.session.client;
        let before = client.requests.load(Ordering::Relaxed);
        client.requests.store(before + requests, Ordering::Relaxed);
        if let Some(entry) = connection.session.last_command {
            client.command.store(entry.id, Ordering::Relaxed);
        }
        self.send(connection);
        consumed
    }

    /// Gathers the requests from `start` on that can be run one after another, and says what comes
    /// after them.
    fn find_requests(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        mut start: usize,
        batch: &mut Batch,
    ) -> Found {
        batch.clear();
        // Before a client has authenticated, each request may change what the next one is allowed.
        let most = if connection.session.is_authenticated {
            BATCH
        } else {
            1
        };
        while batch.len() < most {
            match connection.parser.parse(&bytes[start..]) {
                Ok(Status::Complete { consumed }) => {
                    let end = start + consumed;
                    if !batch.push(&connection.parser, start, end) {
                        let args = connection.parser.args(&bytes[start..]);
                        return Found::Inline(args.to_owned(), end);
                    }
                    start = end;
                }
                Ok(Status::Incomplete { wanted }) => return Found::Nothing { wanted },
                Err(error) => return Found::Error(error),
            }
        }
        Found::Batch
    }

    /// Has the memory loaded that the requests of a batch will need.
    fn prepare(&self, connection: &Connection, bytes: &[u8], batch: &Batch) {
        if batch.len() < 2 {
            return;
        }
        let mut keys: SmallVec<[&[u8]; BATCH]> = SmallVec::new();
        let mut before = connection.session.last_command;
        for index in 0..batch.len() {
            let args = batch.args(index, bytes);
            before = executor::foresee(before, args);
            match before {
                Some(entry) if entry.is_single_key => keys.extend(args.get(1)),
                Some(entry) => {
                    let positions = entry.command.keys.positions(args).take(KEYS_PREPARED);
                    keys.extend(positions.map(|position| args.at(position)));
                }
                None => {}
            }
        }
        self.server.keyspace.prefetch(&keys);
    }

    /// Runs one request.
    #[inline]
    fn run_request(&mut self, connection: &mut Connection, args: Args<'_>) {
        let was_authenticated = connection.session.is_authenticated;
        let mut context = Context {
            server: &self.server,
            config: &self.config,
            session: &mut connection.session,
            reply: &mut self.reply,
            worker: &self.handle,
            in_transaction: false,
        };
        executor::execute(&mut context, args);
        let is_authenticated = connection.session.is_authenticated;
        if is_authenticated != was_authenticated {
            let limits = limits(&self.config);
            connection.parser.set_limits(limits, is_authenticated);
        }
        if self.reply.len() >= STALL_BYTES {
            self.send(connection);
        }
    }

    /// As [`process`](Self::process), of memcached's requests.
    fn process_memcached(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        memcached::flush_if_due(&self.server, &self.config, &self.handle);
        while !connection.is_held_up() {
            let is_authenticated = connection.session.is_authenticated;
            let parser = connection
                .memcached
                .as_mut()
                .expect("a connection of memcached's");
            match parser.parse(&bytes[consumed..]) {
                Parsed::Whole {
                    consumed: length,
                    request,
                } => {
                    let mut context = Context {
                        server: &self.server,
                        config: &self.config,
                        session: &mut connection.session,
                        reply: &mut self.reply,
                        worker: &self.handle,
                        in_transaction: false,
                    };
                    memcached::execute(&mut context, request);
                    if connection.session.is_waiting() {
                        break;
                    }
                    consumed += length;
                }
                Parsed::Skipped { consumed: length } => consumed += length,
                Parsed::Incomplete { wanted } => {
                    connection.wanted_bytes = wanted;
                    break;
                }
                Parsed::Hopeless => {
                    connection.session.closing = true;
                    break;
                }
            }
            if connection.session.is_authenticated != is_authenticated {
                parser.set_limits(memcached_limits(
                    &self.config,
                    connection.session.is_authenticated,
                ));
            }
            if self.reply.len() >= STALL_BYTES {
                self.send(connection);
            }
        }
        self.send(connection);
        consumed
    }

    /// Writes what the reply buffer holds, or keeps it for when the socket takes it.
    fn send(&mut self, connection: &mut Connection) {
        let has_written = std::mem::take(&mut connection.session.has_written);
        if has_written {
            self.note_commit(connection);
        }
        if self.reply.is_empty() {
            return;
        }
        let mut written = 0;
        if connection.unsent_bytes() == 0 && connection.commit_point.is_none() {
            match connection.stream.write(self.reply.as_bytes()) {
                Ok(bytes) => written = bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "a client is gone");
                    written = self.reply.len();
                    connection.session.closing = true;
                }
            }
            self.handle.stats.writes.add(1);
        }
        let total = self.reply.len() as u64;
        self.handle.stats.written_bytes.add(total);
        let client = &connection.session.client.written_bytes;
        client.store(client.load(Ordering::Relaxed) + total, Ordering::Relaxed);
        if written < self.reply.len() {
            connection.keep_unsent(&self.reply.as_bytes()[written..]);
            connection.is_stalled = connection.unsent_bytes() >= STALL_BYTES;
        }
        self.reply.clear(KEPT_REPLY_BYTES);
    }

    fn end_turn(&self, connection: &mut Connection, turn: Turn) -> Turn {
        let killed = &connection.session.client.killed;
        if connection.session.closing && !connection.has_unsent() || killed.load(Ordering::Relaxed)
        {
            return Turn::Closed;
        }
        turn
    }

    /// Writes what waits for a client; `false` if the connection is closed now.
    fn flush(&mut self, token: usize) -> bool {
        let Some(connection) = self.connections[token].as_mut() else {
            return false;
        };
        if connection.commit_point.is_some() {
            return true;
        }
        match connection.flush() {
            Ok(is_empty) => {
                if is_empty {
                    connection.is_stalled = false;
                    connection.above_soft_limit = None;
                    if connection.session.closing {
                        self.close(token);
                        return false;
                    }
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a client is gone");
                self.close(token);
                false
            }
        }
    }

    // ---- messages and time ----------------------------------------------------------------

    fn take_messages(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.handle.mailbox.drain(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Adopt(connection) => {
                    self.handle.arriving.fetch_sub(1, Ordering::Relaxed);
                    self.adopt(connection);
                }
                Message::Deliver { client, push } => self.deliver(client, &push),
                Message::Kill {
                    client,
                    after_flush,
                } => self.kill(client, after_flush),
                Message::Resume => self.resume(),
                Message::ExpireFields => {
                    if field_expiry::remove_due(&self.server, clock::now_ms()) {
                        // Clients get their turn before the rest.
                        self.handle.mailbox.send(Message::ExpireFields);
                    }
                    self.server.keyspace.log_evictions();
                }
                Message::LogEvicted => self.server.keyspace.log_evictions(),
                Message::Pass(left) => {
                    left.fetch_sub(1, Ordering::Release);
                }
            }
        }
        self.messages = messages;
        self.send_delivered();
    }

    /// Keeps something for a client that is no reply, and its token, to be sent with what else comes.
    fn deliver(&mut self, client: ClientId, push: &Push) {
        let Some(&token) = self.tokens.get(&client) else {
            return;
        };
        let Some(connection) = self.connections[token].as_mut() else {
            return;
        };
        let before = connection.unsent_bytes();
        connection.keep_push(push);
        let bytes = connection.unsent_bytes() - before;
        self.handle.stats.written_bytes.add(bytes as u64);
        if before == 0 {
            self.delivered.push(token);
        } else {
            self.enforce_output_limit(token);
        }
    }

    /// Sends what was delivered.
    fn send_delivered(&mut self) {
        let mut delivered = std::mem::take(&mut self.delivered);
        for token in delivered.drain(..) {
            if self.connections[token].is_some() && self.flush(token) {
                self.enforce_output_limit(token);
            }
        }
        self.delivered = delivered;
    }

    fn enforce_output_limit(&mut self, token: usize) {
        let Some(connection) = self.connections[token].as_mut() else {
            return;
        };
        let client = &connection.session.client;
        let limits = &self.config.client_output_buffer_limit;
        let flags = client.flags();
        // What is sent without being asked for is bounded, also where replies are not.
        let limit = if flags.intersects(ClientFlags::PUBSUB | ClientFlags::TRACKING_BCAST) {
            limits.pubsub
        } else if flags.contains(ClientFlags::MONITOR) {
            limits.replica
        } else {
            limits.normal
        };
        let unsent = connection.unsent_bytes() as u64;
        client.output_bytes.store(unsent, Ordering::Relaxed);
        let exceeds = |limit: u64| limit > 0 && unsent > limit;
        let exceeded = if exceeds(limit.hard_bytes) {
            true
        } else if exceeds(limit.soft_bytes) {
            let since = *connection.above_soft_limit.get_or_insert_with(Instant::now);
            since.elapsed() >= Duration::from_secs(limit.soft_seconds)
        } else {
            connection.above_soft_limit = None;
            false
        };
        if exceeded {
            tracing::warn!(
                client = client.id,
                address = client.address,
                unsent,
                "a client is disconnected: more waits for it than client-output-buffer-limit"
            );
            self.handle.stats.output_limit_disconnections.add(1);
            self.close(token);
        }
    }

    /// Sees to a client that has not read for long: lets it be read from again once there is room for
    /// more requests, or disconnects it.
    fn enforce_progress(&mut self, token: usize, now: Instant) {
        let Some(connection) = &self.connections[token] else {
            return;
        };
        let may_keep = self.may_keep(connection);
        let is_stalled = connection.is_stalled && !connection.session.is_waiting();
        let is_stuck = is_stalled && !may_keep;
        let is_held_back = is_stalled && connection.is_readable && may_keep;
        let Some(connection) = self.connections[token].as_mut() else {
            return;
        };
        if is_held_back {
            self.ready.push(token);
        }
        if !is_stuck {
            connection.stuck_since = None;
            return;
        }
        let since = *connection.stuck_since.get_or_insert(now);
        if now.duration_since(since) >= STUCK {
            tracing::warn!(
                client = connection.session.client.id,
                address = connection.session.client.address,
                requests_bytes = connection.input.len(),
                "a client is disconnected: it sends and does not read, and more of its requests wait \
                 than there is room for"
            );
            self.handle.stats.output_limit_disconnections.add(1);
            self.close(token);
        }
    }

    fn kill(&mut self, client: ClientId, after_flush: bool) {
        let Some(&token) = self.tokens.get(&client) else {
            return;
        };
        if let Some(connection) = self.connections[token].as_mut()
            && after_flush
            && connection.has_unsent()
        {
            connection.session.closing = true;
            return;
        }
        self.close(token);
    }

    /// Lets all clients go on that had to wait.
    fn resume(&mut self) {
        for token in 0..self.connections.len() {
            if let Some(connection) = &mut self.connections[token]
                && connection.session.is_waiting()
            {
                connection.session.set_waiting(false, &self.server);
                self.serve(token, None);
            }
        }
    }

    /// Looks at limits that depend on time, if they are due.
    fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.accepting.append(&mut self.starved);
        memcached::flush_if_due(&self.server, &self.config, &self.handle);
        let idle_ms = self
            .config
            .idle_timeout()
            .map(|timeout| timeout.as_millis() as u64);
        let handshake_ms = u64::from(self.config.tls_handshake_timeout) * 1000;
        let (now_ms, mut buffered) = (clock::now_ms(), 0);
        for token in 0..self.connections.len() {
            let Some(connection) = &self.connections[token] else {
                continue;
            };
            buffered += connection.buffered_bytes() as u64;
            let client = &connection.session.client;
            let idle = now_ms.saturating_sub(client.active_ms.load(Ordering::Relaxed));
            let may_idle = client
                .flags()
                .intersects(ClientFlags::PUBSUB | ClientFlags::MONITOR);
            let is_late = connection.stream.is_opening()
                && now_ms.saturating_sub(client.connected_ms) > handshake_ms;
            if is_late || !may_idle && idle_ms.is_some_and(|limit| idle > limit) {
                self.close(token);
            } else if connection.unsent_bytes() > 0 {
                self.enforce_output_limit(token);
                self.enforce_progress(token, now);
            }
        }
        self.handle.stats.buffered_bytes.set(buffered);
    }
}

/// The key of the first request in `bytes`, if it is one whose memory is worth asking for ahead.
fn first_key<'b>(connection: &mut Connection, bytes: &'b [u8]) -> Option<&'b [u8]> {
    match connection.parser.parse(bytes) {
        Ok(Status::Complete { .. }) => {
            let args = connection.parser.args(bytes);
            let entry = executor::foresee(connection.session.last_command, args)?;
            let key = args.get(1).filter(|_| entry.is_single_key)?;
            // The same bytes without the parser's borrow, unless the parser holds them itself, as those of an
            // inline command.
            let start = key.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
            bytes.get(start..start + key.len())
        }
        // It is found again in its turn.
        Ok(Status::Incomplete { .. }) | Err(_) => {
            connection.parser.restart();
            None
        }
    }
}

/// What the settings allow of a request.
fn limits(config: &Config) -> Limits {
    Limits {
        max_bulk_bytes: usize::try_from(config.proto_max_bulk_len.0).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}

/// What the settings allow of a request of memcached's.
fn memcached_limits(config: &Config, is_authenticated: bool) -> nuthatch_wire::memcached::Limits {
    let max_value_bytes = usize::try_from(config.proto_max_bulk_len.0).unwrap_or(usize::MAX);
    nuthatch_wire::memcached::Limits {
        max_value_bytes: if is_authenticated {
            max_value_bytes
        } else {
            max_value_bytes.min(MAX_CREDENTIALS_BYTES)
        },
        ..nuthatch_wire::memcached::Limits::default()
    }
}

/// Switches probes of an idle connection on.
fn keep_alive(stream: &mio::net::TcpStream, seconds: u32) -> io::Result<()> {
    if seconds == 0 {
        return Ok(());
    }
    let period = Duration::from_secs(seconds.into());
    let settings = socket2::TcpKeepalive::new()
        .with_time(period)
        .with_interval((period / 3).max(Duration::from_secs(1)))
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&settings)
}

#[cfg(test)]
mod tests;
