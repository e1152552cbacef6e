//! What all threads may know of a connected client, and the list of all clients.

use crate::command;
use crate::server::WorkerId;
use crate::watch::Touched;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A client's number; numbers are never used twice.
pub type ClientId = u64;

bitflags::bitflags! {
    /// What a client is doing, as `CLIENT LIST` shows it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// A transaction is open.
        const MULTI = 1;
        /// It has subscribed to channels.
        const PUBSUB = 1 << 1;
        /// It monitors commands.
        const MONITOR = 1 << 2;
        /// It tracks keys.
        const TRACKING = 1 << 3;
        /// It tracks keys by their prefixes.
        const TRACKING_BCAST = 1 << 4;
        /// Whom its invalidations go to is gone.
        const TRACKING_BROKEN = 1 << 5;
        /// It is never evicted.
        const NO_EVICT = 1 << 6;
        /// Its reads do not touch the policy.
        const NO_TOUCH = 1 << 7;
        /// It came over a Unix socket.
        const UNIX = 1 << 8;
        /// It has said that it only reads.
        const READONLY = 1 << 10;
        /// It is being closed.
        const CLOSING = 1 << 11;
        /// Its request waits until a pause is over.
        const WAITING = 1 << 13;
        /// It imports data.
        const IMPORT_SOURCE = 1 << 14;
        /// It can be sent to another server.
        const CAPA_REDIRECT = 1 << 15;
        /// It speaks memcached's protocol.
        const MEMCACHED = 1 << 12;
    }
}

/// Names that a client gives itself.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By `CLIENT SETNAME`.
    pub name: String,
    /// The library's name, by `CLIENT SETINFO`.
    pub lib_name: String,
    /// The library's version.
    pub lib_version: String,
    /// The user it has authenticated as.
    pub user: String,
}

/// Whether a client may give itself this name: printable ASCII without blanks, or nothing.
pub fn is_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

/// A client as other threads see it. Its own data thread writes it, once per batch of requests.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    /// Where it came from.
    pub address: String,
    /// Where it came to.
    pub local_address: String,
    /// The number of its socket.
    pub descriptor: i32,
    /// Its data thread.
    pub worker: WorkerId,
    /// When it came, in milliseconds since 1970.
    pub connected_ms: u64,
    /// When it last sent something, in milliseconds since 1970.
    pub active_ms: AtomicU64,
    /// The number of the command that it last sent; `u32::MAX` before the first.
    pub command: AtomicU32,
    /// Requests it has sent.
    pub requests: AtomicU64,
    /// Bytes of an incomplete request.
    pub input_bytes: AtomicU64,
    /// Bytes that wait to be sent to it.
    pub output_bytes: AtomicU64,
    /// Bytes read from it.
    pub read_bytes: AtomicU64,
    /// Bytes written to it.
    pub written_bytes: AtomicU64,
    /// Commands in its open transaction.
    pub queued: AtomicU32,
    /// Bytes of these commands.
    pub queued_bytes: AtomicU64,
    /// Keys that it watches.
    pub watched: AtomicU32,
    /// Set when one of them changes.
    pub touched: Touched,
    /// Channels, patterns and shard channels that it has subscribed to.
    pub subscriptions: [AtomicU32; 3],
    /// The version of the protocol: 2 or 3.
    pub protocol: AtomicU32,
    /// The client that its invalidations go to; 0 if none.
    pub redirect: AtomicU64,
    /// Whether it is to be closed.
    pub killed: AtomicBool,
    flags: AtomicU32,
    names: Mutex<Names>,
}

/// Where a connection goes from and to.
#[derive(Clone, Debug)]
pub struct Route {
    /// The client's address.
    pub address: String,
    /// Ours.
    pub local_address: String,
    /// The number of the socket.
    pub descriptor: i32,
    /// Whether it is a Unix socket.
    pub is_unix: bool,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: ClientId, route: Route, worker: WorkerId, now_ms: u64) -> Self {
        Self {
            id,
            address: route.address,
            local_address: route.local_address,
            descriptor: route.descriptor,
            worker,
            connected_ms: now_ms,
            active_ms: AtomicU64::new(now_ms),
            command: AtomicU32::new(u32::MAX),
            requests: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            queued: AtomicU32::new(0),
            queued_bytes: AtomicU64::new(0),
            watched: AtomicU32::new(0),
            touched: Touched::default(),
            subscriptions: Default::default(),
            protocol: AtomicU32::new(2),
            redirect: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            flags: AtomicU32::new(if route.is_unix {
                ClientFlags::UNIX.bits()
            } else {
                0
            }),
            names: Mutex::new(Names {
                user: "default".to_owned(),
                ..Names::default()
            }),
        }
    }

    /// What it is doing.
    pub fn flags(&self) -> ClientFlags {
        ClientFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Switches flags on or off.
    pub fn set_flags(&self, flags: ClientFlags, on: bool) {
        if on {
            self.flags.fetch_or(flags.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flags.bits(), Ordering::Relaxed);
        }
    }

    /// Whether it comes from this machine.
    pub fn is_local(&self) -> bool {
        self.flags().contains(ClientFlags::UNIX)
            || self
                .address
                .parse::<SocketAddr>()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// The names that it has given itself.
    pub fn names(&self) -> Names {
        self.names.lock().clone()
    }

    /// What it is doing, in Redis' letters; `N` if nothing.
    fn letters(&self) -> String {
        let letters = [
            (ClientFlags::MONITOR, 'O'),
            (ClientFlags::PUBSUB, 'P'),
            (ClientFlags::MULTI, 'x'),
            (ClientFlags::TRACKING, 't'),
            (ClientFlags::TRACKING_BROKEN, 'R'),
            (ClientFlags::TRACKING_BCAST, 'B'),
            (ClientFlags::CLOSING, 'c'),
            (ClientFlags::UNIX, 'U'),
            (ClientFlags::READONLY, 'r'),
            (ClientFlags::NO_EVICT, 'e'),
            (ClientFlags::NO_TOUCH, 'T'),
        ];
        let flags = self.flags();
        let set = letters.iter().filter(|(flag, _)| flags.contains(*flag));
        let mut text: String = set.map(|(_, letter)| *letter).collect();
        if self.touched.load(Ordering::Relaxed) {
            text.push('d');
        }
        if text.is_empty() {
            text.push('N');
        }
        text
    }

    /// Everything that is known of it in a line, as `CLIENT INFO` tells it.
    pub fn describe(&self, now_ms: u64) -> String {
        let names = self.names();
        let number = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let long = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let since_s = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
        let [channels, patterns, shard_channels] = &self.subscriptions;
        let flags = self.flags();
        let queued = if flags.contains(ClientFlags::MULTI) {
            i64::from(number(&self.queued))
        } else {
            -1
        };
        let redirect = match long(&self.redirect) {
            0 => -1,
            id => id.cast_signed(),
        };
        let command = match number(&self.command) {
            u32::MAX => "NULL",
            id => command::table().entry(id).full_name.as_str(),
        };
        format!(
            "id={} addr={} laddr={} name={} age={} idle={} flags={} db=0 sub={} psub={} ssub={} \
             multi={queued} watch={} qbuf={} oll=0 omem={} cmd={command} user={} redir={redirect} \
             resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
            self.id,
            self.address,
            self.local_address,
            names.name,
            since_s(self.connected_ms),
            since_s(long(&self.active_ms)),
            self.letters(),
            number(channels),
            number(patterns),
            number(shard_channels),
            number(&self.watched),
            long(&self.input_bytes),
            long(&self.output_bytes),
            names.user,
            number(&self.protocol),
            names.lib_name,
            names.lib_version,
            long(&self.read_bytes),
            long(&self.written_bytes),
            long(&self.requests),
        )
    }

    /// Changes them.
    pub fn rename(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock());
    }
}

/// All clients, by number.
#[derive(Default)]
pub struct Clients {
    by_id: Mutex<HashMap<ClientId, Arc<Client>>>,
    last_id: AtomicU64,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("len", &self.len()).finish()
    }
}

impl Clients {
    /// A number that no client has had.
    pub fn next_id(&self) -> ClientId {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a client.
    pub fn add(&self, client: &Arc<Client>) {
        self.by_id.lock().insert(client.id, Arc::clone(client));
    }

    /// Removes a client that has left.
    pub fn remove(&self, id: ClientId) {
        self.by_id.lock().remove(&id);
    }

    /// The client with this number.
    pub fn get(&self, id: ClientId) -> Option<Arc<Client>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// All clients, by number.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self.by_id.lock().values().cloned().collect();
        all.sort_unstable_by_key(|client| client.id);
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
