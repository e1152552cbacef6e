//! What clients get without asking: messages of channels, keys that are no longer valid, lines of
//! monitors.
//!
//! A push is made once and shared by all who get it; only its first bytes depend on the version of the
//! protocol. It goes into the mailbox of the client's data thread, which writes it between replies, so
//! no value is ever torn, and pushes of one sender arrive in their order. What a client causes itself
//! waits until its command is answered ([`Outbox`]).
//!
//! Between sending and writing a client may have unsubscribed, and would then take a message of version
//! 2 for a reply. So whoever writes asks once more whether the client still wants it.

use crate::client::{Client, ClientFlags, ClientId};
use crate::mailbox::Message;
use crate::pubsub::Kind;
use crate::server::WorkerHandle;
use crate::session::Session;
use nuthatch_wire::resp::{Protocol, Reply};
use std::sync::{Arc, OnceLock};

/// See the module's text.
#[derive(Clone, Debug)]
pub enum Push {
    /// A message that was published.
    Message {
        /// What kind of subscription it is for.
        kind: Kind,
        /// The channel or pattern that the client has subscribed to.
        subscription: Arc<[u8]>,
        /// The whole message but for its first byte, which says whether it is an array or a push.
        rest: Arc<[u8]>,
    },
    /// Keys that a client must no longer hold.
    Invalidation {
        /// An array of keys; `None` for all keys.
        keys: Option<Arc<[u8]>>,
        /// Whether it is for another client's keys.
        is_redirected: bool,
    },
    /// The client that invalidations should go to is gone.
    RedirectionBroken(ClientId),
    /// A command that somebody has called, as monitors see it.
    Line(Arc<[u8]>),
}

impl Push {
    /// Appends the push as the client's version has it, if the client still wants it.
    pub fn write(&self, session: &Session, protocol: Protocol, out: &mut Vec<u8>) {
        let flags = session.client.flags();
        match self {
            Self::Message {
                kind,
                subscription,
                rest,
            } => {
                if session.subscriptions.contains(*kind, subscription) {
                    out.push(match protocol {
                        Protocol::Resp2 => b'*',
                        Protocol::Resp3 => b'>',
                    });
                    out.extend_from_slice(rest);
                }
            }
            Self::Invalidation {
                keys,
                is_redirected,
            } => {
                let null: &[u8] = match protocol {
                    Protocol::Resp3 => {
                        out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n");
                        b"_\r\n"
                    }
                    Protocol::Resp2 if *is_redirected && flags.contains(ClientFlags::PUBSUB) => {
                        out.extend_from_slice(
                            b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n",
                        );
                        b"$-1\r\n"
                    }
                    // Version 2 has no pushes.
                    Protocol::Resp2 => return,
                };
                out.extend_from_slice(keys.as_deref().unwrap_or(null));
            }
            Self::RedirectionBroken(id) => {
                if protocol == Protocol::Resp3 {
                    let mut reply = Reply::new(protocol);
                    reply.push(2);
                    reply.bulk(b"tracking-redir-broken");
                    reply.integer(id.cast_signed());
                    out.extend_from_slice(reply.as_bytes());
                }
            }
            Self::Line(line) => {
                if flags.contains(ClientFlags::MONITOR) {
                    out.extend_from_slice(line);
                }
            }
        }
    }
}

/// The way to all data threads' mailboxes.
#[derive(Debug, Default)]
pub struct Post {
    /// Set once the data threads have begun.
    pub workers: OnceLock<Vec<Arc<WorkerHandle>>>,
}

impl Post {
    /// The data threads; none before they have begun.
    pub fn workers(&self) -> &[Arc<WorkerHandle>] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    /// Sends something to a client.
    pub fn send(&self, client: &Client, push: Push) {
        if let Some(worker) = self.workers().get(client.worker) {
            worker.mailbox.send(Message::Deliver {
                client: client.id,
                push,
            });
        }
    }

    /// An outbox of nobody: everything goes by mailbox.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox {
            post: self,
            own: None,
        }
    }
}

/// Where pushes go while a command runs: to others by their mailboxes, to the caller itself after the
/// reply.
#[derive(Debug)]
pub struct Outbox<'a> {
    post: &'a Post,
    own: Option<&'a mut Session>,
}

impl<'a> Outbox<'a> {
    /// The outbox of the client that runs a command.
    pub fn of(post: &'a Post, session: &'a mut Session) -> Self {
        Self {
            post,
            own: Some(session),
        }
    }

    /// The client that runs a command.
    pub fn sender(&self) -> Option<ClientId> {
        self.own.as_ref().map(|session| session.client.id)
    }

    /// Leaves a changed key to the end of the command, so that those who follow its prefix hear of all
    /// its keys at once; `false` if nobody runs a command.
    pub fn put_off(&mut self, key: &[u8]) -> bool {
        match &mut self.own {
            Some(session) if !session.client.flags().contains(ClientFlags::MEMCACHED) => {
                session.put_off(key);
                true
            }
            _ => false,
        }
    }

    /// Sends something to a client.
    pub fn send(&mut self, client: &Client, push: Push) {
        match &mut self.own {
            Some(session) if session.client.id == client.id => session.push(push),
            _ => self.post.send(client, push),
        }
    }
}
