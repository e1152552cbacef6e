//! What only a client's own data thread knows of it.

use crate::acl::User;
use crate::client::{Client, ClientFlags};
use crate::command::{Entry, Flags};
use crate::server::Server;
use nuthatch_wire::resp::{Args, OwnedRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What happens to replies; see `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// They are sent.
    #[default]
    On,
    /// They are dropped.
    Off,
    /// That of the command being run is dropped, and then that of the next one.
    SkipNext,
    /// That of the command being run is dropped.
    Skip,
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    queue: Vec<(&'static Entry, OwnedRequest)>,
    queued_bytes: usize,
    flags: Flags,
    is_broken: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            queue: Vec::new(),
            queued_bytes: 0,
            flags: Flags::empty(),
            is_broken: false,
        }
    }
}

impl Transaction {
    /// Queues a command, unless none will run anyway.
    pub fn push(&mut self, entry: &'static Entry, args: Args<'_>) {
        if self.is_broken {
            return;
        }
        let request = args.to_owned();
        self.queued_bytes += request.allocated_bytes() + size_of::<(&Entry, OwnedRequest)>();
        self.flags |= entry.command.flags;
        self.queue.push((entry, request));
    }

    /// A command could not be queued: none will run.
    pub fn break_up(&mut self) {
        *self = Self {
            is_broken: true,
            ..Self::default()
        };
    }

    /// The commands to run.
    pub fn queue(&self) -> &[(&'static Entry, OwnedRequest)] {
        &self.queue
    }

    /// Bytes that the queue takes.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The flags of all queued commands together.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether a command could not be queued, so that none will run.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// A key that the client watches.
#[derive(Clone, Debug)]
pub struct WatchedKey {
    /// The key.
    pub key: Box<[u8]>,
    /// When it was to expire, when it was watched: it changes then, also if nobody notices.
    pub deadline_ms: Option<u64>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Session {
    /// What other threads see.
    pub client: Arc<Client>,
    /// Who the client is.
    pub user: Arc<User>,
    /// Whether the client may call more than what needs no password.
    pub is_authenticated: bool,
    /// What happens to replies.
    pub reply_mode: ReplyMode,
    /// The open transaction.
    pub transaction: Option<Transaction>,
    /// Keys that the next transaction depends on.
    pub watched: Vec<WatchedKey>,
    /// Whether the connection closes once everything is sent.
    pub closing: bool,
    /// The command called last: most clients call it again.
    pub last_command: Option<&'static Entry>,
}

impl Session {
    /// Of a client that has just connected.
    pub fn new(client: Arc<Client>, user: Arc<User>, is_authenticated: bool) -> Self {
        Self {
            client,
            user,
            is_authenticated,
            reply_mode: ReplyMode::On,
            transaction: None,
            watched: Vec::new(),
            closing: false,
            last_command: None,
        }
    }
}

impl Session {
    /// Whether a watched key has changed, or expired by now.
    pub fn is_touched(&self, now_ms: u64) -> bool {
        let has_expired = |watched: &WatchedKey| {
            watched
                .deadline_ms
                .is_some_and(|deadline| deadline <= now_ms)
        };
        // Acquire: pairs with the Release of `Watched::touch`.
        self.client.touched.load(Ordering::Acquire) || self.watched.iter().any(has_expired)
    }

    /// Closes the transaction, if one is open, and ends the watch.
    pub fn end_transaction(&mut self, server: &Server) {
        self.transaction = None;
        self.client.set_flags(ClientFlags::MULTI, false);
        self.client.queued.store(0, Ordering::Relaxed);
        self.client.queued_bytes.store(0, Ordering::Relaxed);
        self.forget_watched(server);
    }

    /// Ends the watch over all keys.
    pub fn forget_watched(&mut self, server: &Server) {
        let observers = &server.observers;
        let touched = &self.client.touched;
        for watched in self.watched.drain(..) {
            observers
                .watched
                .unwatch(&watched.key, touched, &observers.attention);
        }
        touched.store(false, Ordering::Relaxed);
        self.client.watched.store(0, Ordering::Relaxed);
    }

    /// Ends all that the client has begun, so that its connection is as good as new.
    pub fn forget_all(&mut self, server: &Server) {
        self.end_transaction(server);
        self.reply_mode = ReplyMode::On;
        let chosen = ClientFlags::NO_EVICT | ClientFlags::NO_TOUCH | ClientFlags::READONLY;
        self.client.set_flags(chosen, false);
    }

    /// Ends all that others know of; the connection is closed.
    pub fn leave(&mut self, server: &Server) {
        self.forget_all(server);
        server.clients.remove(self.client.id);
    }
}
