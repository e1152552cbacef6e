//! What other threads ask of a data thread: messages in a queue, and a bell that wakes it.

use mio::Waker;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A request of one thread to another.
#[derive(Debug)]
pub enum Message {
    /// A connection that was accepted elsewhere.
    Adopt(Box<crate::connection::Connection>),
    /// Something that a client has not asked for; it stands between replies.
    Deliver {
        /// The client.
        client: u64,
        /// What it is.
        push: crate::push::Push,
    },
    /// Closes a client's connection.
    Kill {
        /// The client.
        client: u64,
        /// Whether what waits to be sent goes out first.
        after_flush: bool,
    },
    /// What kept clients waiting may be over: ask again.
    Resume,
    /// Fields of hashes are due.
    ExpireFields,
    /// Another thread has evicted keys, and somebody has to record them.
    LogEvicted,
    /// Counted down when it is taken, between commands.
    Pass(Arc<AtomicUsize>),
}

/// A data thread's queue.
#[derive(Debug)]
pub struct Mailbox {
    queue: Mutex<Vec<Message>>,
    /// Whether the bell has been rung and not been answered, so that it is rung once.
    rung: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    /// An empty queue; `waker` wakes its reader.
    pub fn new(waker: Waker) -> Self {
        Self {
            queue: Mutex::new(Vec::new()),
            rung: AtomicBool::new(false),
            waker,
        }
    }

    /// Appends a message and wakes the reader.
    pub fn send(&self, message: Message) {
        self.queue.lock().push(message);
        self.ring();
    }

    /// Wakes the reader.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            // The bell is an eventfd of our own: it fails only if the process is out of resources,
            // and then the reader still comes by with its next event.
            tracing::warn!(%error, "a data thread could not be woken");
        }
    }

    /// Takes all messages in the order of their sending. Reader only.
    pub fn drain(&self, into: &mut Vec<Message>) {
        if self.rung.swap(false, Ordering::AcqRel) {
            into.append(&mut self.queue.lock());
        }
    }
}
