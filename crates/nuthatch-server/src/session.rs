//! What only a client's own data thread knows of it.

use crate::client::Client;
use crate::command::Entry;
use crate::watch::Touched;
use nuthatch_wire::resp::OwnedRequest;
use std::sync::Arc;

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
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands to run.
    pub queue: Vec<(&'static Entry, OwnedRequest)>,
    /// Whether one of them could not be queued, so that none will run.
    pub broken: bool,
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
    /// Whether the client may call more than what needs no password.
    pub is_authenticated: bool,
    /// What happens to replies.
    pub reply_mode: ReplyMode,
    /// The open transaction.
    pub transaction: Option<Transaction>,
    /// Keys that the next transaction depends on.
    pub watched: Vec<WatchedKey>,
    /// Set when one of them changes.
    pub touched: Touched,
    /// Whether the connection closes once everything is sent.
    pub closing: bool,
    /// The command called last: most clients call it again.
    pub last_command: Option<&'static Entry>,
}

impl Session {
    /// Of a client that has just connected.
    pub fn new(client: Arc<Client>, is_authenticated: bool) -> Self {
        Self {
            client,
            is_authenticated,
            reply_mode: ReplyMode::On,
            transaction: None,
            watched: Vec::new(),
            touched: Touched::default(),
            closing: false,
            last_command: None,
        }
    }
}

impl Session {
    /// Ends the watch over all keys.
    pub fn forget_watched(&mut self, server: &crate::server::Server) {
        let observers = &server.observers;
        for watched in self.watched.drain(..) {
            observers
                .watched
                .unwatch(&watched.key, &self.touched, &observers.attention);
        }
        self.touched
            .store(false, std::sync::atomic::Ordering::Relaxed);
        self.client
            .watched
            .store(0, std::sync::atomic::Ordering::Relaxed);
    }
}
