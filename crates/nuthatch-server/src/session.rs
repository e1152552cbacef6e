//! What only a client's own data thread knows of it.

use crate::acl::User;
use crate::client::{Client, ClientFlags};
use crate::command::{Entry, Flags};
use crate::pubsub::{Kind, Subscriptions};
use crate::push::Push;
use crate::server::Server;
use crate::tracking::TrackingState;
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
    reply_mode: ReplyMode,
    /// What the client's own commands push to it, until they are answered.
    pushes: Vec<Push>,
    /// Keys with followed prefixes that the command has changed.
    broadcasts: Vec<Box<[u8]>>,
    /// Whether something is left to do after each command: one question for what is rare.
    has_aftermath: bool,
    /// Whether the next request waits until a pause is over.
    is_waiting: bool,
    /// What it has subscribed to.
    pub subscriptions: Subscriptions,
    /// How it tracks keys, if it does.
    pub tracking: Option<TrackingState>,
    /// The open transaction.
    pub transaction: Option<Transaction>,
    /// Keys that the next transaction depends on.
    pub watched: Vec<WatchedKey>,
    /// Whether the connection closes once everything is sent.
    pub closing: bool,
    /// Whether a command that writes was run since replies were sent last.
    pub has_written: bool,
    /// The snapshot that the next request waits for.
    pub save_ticket: Option<u64>,
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
            pushes: Vec::new(),
            broadcasts: Vec::new(),
            has_aftermath: false,
            is_waiting: false,
            subscriptions: Subscriptions::default(),
            tracking: None,
            transaction: None,
            watched: Vec::new(),
            closing: false,
            has_written: false,
            save_ticket: None,
            last_command: None,
        }
    }
}

impl Session {
    /// Whether policy and statistics take notice of what the client reads; see `CLIENT NO-TOUCH`.
    #[inline]
    pub fn is_noticed(&self) -> bool {
        !self.client.flags().contains(ClientFlags::NO_TOUCH)
    }

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

    /// Has something written to the client once its command is answered.
    pub fn push(&mut self, push: Push) {
        self.pushes.push(push);
        self.has_aftermath = true;
    }

    /// Has those who follow a changed key's prefix told once the command is over.
    pub fn put_off(&mut self, key: &[u8]) {
        self.broadcasts.push(key.into());
        self.has_aftermath = true;
    }

    /// Takes the keys whose prefixes' followers are to be told, each once and in order.
    pub fn take_put_off(&mut self) -> Vec<Box<[u8]>> {
        let mut keys = std::mem::take(&mut self.broadcasts);
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Takes what is to be written now that a command is answered.
    pub fn take_pushes(&mut self) -> Vec<Push> {
        std::mem::take(&mut self.pushes)
    }

    /// What happens to replies.
    pub fn reply_mode(&self) -> ReplyMode {
        self.reply_mode
    }

    /// Changes what happens to replies.
    pub fn set_reply_mode(&mut self, mode: ReplyMode) {
        self.reply_mode = mode;
        self.has_aftermath = true;
    }

    /// `CLIENT CACHING` has been called: the next command's keys are tracked, or are not.
    pub fn announce_caching(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.is_announced = true;
            self.has_aftermath = true;
        }
    }

    /// Whether something is left to do after each command.
    #[inline]
    pub fn has_aftermath(&self) -> bool {
        self.has_aftermath
    }

    /// The command called last is over; `is_caching` says whether it was `CLIENT CACHING`.
    pub fn settle(&mut self, is_caching: bool) {
        if let Some(tracking) = &mut self.tracking
            && !is_caching
            && self.transaction.is_none()
        {
            tracking.is_announced = false;
        }
        let is_announced = self.tracking.as_ref().is_some_and(|t| t.is_announced);
        self.has_aftermath = is_announced || self.reply_mode != ReplyMode::On;
    }

    /// Whether the next request waits until a pause is over.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The next request waits until a pause is over, or no longer.
    pub fn set_waiting(&mut self, is_waiting: bool, server: &Server) {
        if is_waiting != self.is_waiting {
            server.observers.pause.count_waiting(is_waiting);
        }
        self.is_waiting = is_waiting;
        self.client.set_flags(ClientFlags::WAITING, is_waiting);
    }

    /// The number that replies to commands of this kind of subscription show: shard channels are
    /// counted apart.
    pub fn counted_subscriptions(&self, kind: Kind) -> i64 {
        let subscriptions = &self.subscriptions;
        let number = match kind {
            Kind::ShardChannel => subscriptions.len(kind),
            _ => subscriptions.len(Kind::Channel) + subscriptions.len(Kind::Pattern),
        };
        number as i64
    }

    /// Tracks keys no longer.
    pub fn end_tracking(&mut self, server: &Server) {
        if let Some(tracking) = self.tracking.take() {
            let observers = &server.observers;
            observers.tracking.end(tracking, &observers.attention);
        }
    }

    /// Ends all that the client has begun, so that its connection is as good as new.
    pub fn forget_all(&mut self, server: &Server) {
        let observers = &server.observers;
        self.end_transaction(server);
        self.end_tracking(server);
        let subscriptions = &mut self.subscriptions;
        observers.pubsub.leave(&self.client, subscriptions);
        observers
            .monitors
            .remove(&self.client, &observers.attention);
        self.reply_mode = ReplyMode::On;
        let chosen = ClientFlags::PUBSUB
            | ClientFlags::NO_EVICT
            | ClientFlags::NO_TOUCH
            | ClientFlags::READONLY
            | ClientFlags::IMPORT_SOURCE;
        self.client.set_flags(chosen, false);
    }

    /// Ends all that others know of; the connection is closed.
    pub fn leave(&mut self, server: &Server) {
        self.client.set_flags(ClientFlags::CLOSING, true);
        self.forget_all(server);
        self.set_waiting(false, server);
        server.clients.remove(self.client.id);
    }
}
