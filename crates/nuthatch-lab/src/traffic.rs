//! Traffic for cache servers: what `nuthatch-lab server` sends, counts and checks.
//!
//! A server is measured from outside, through its socket, so whatever the generator does badly looks
//! like the server's doing. Hence: a thread drives its connections from one event loop (`worker`)
//! that neither allocates nor formats for a request; requests are chosen before the clock runs
//! (`requests`), keys and values are functions of a number (`entries`), and replies are counted by
//! parsers that look at no byte twice (`resp`, `memcached`). What remains are a write and a read for
//! a batch, which is what the server spends on it too.
//!
//! *Closed loop*: each connection sends a batch as deep as the pipeline, waits for all of its
//! replies, and sends the next. The server's pace is then the generator's, and a stall of a second
//! delays one batch for each connection where it would have delayed a second's worth of users.
//! *Open loop*: requests are due by a clock (`schedule`), and latency counts from the time at which a
//! request was due, also while it could not be sent. This is what keeps a stall visible (Tene's
//! "coordinated omission").
//!
//! No reply is taken on trust: an error, a reply that no request of the kind has, or a value of the
//! wrong length ends the measurement, and every 64th value is compared byte by byte.

mod connection;
mod entries;
mod memcached;
mod process;
mod reply;
mod requests;
mod resp;
mod schedule;
mod socket;
mod target;
mod worker;

pub use entries::{EntryError, Keys, LONGEST_VALUE};
pub use process::{ServerProcess, Usage};
pub use reply::ProtocolError;
pub use requests::{Choices, Demand, Mix, MixError, Popularity, PopularityError, Work};
pub use target::{Protocol, Target, TargetError};
pub use worker::{Crew, Outcome, Pace, Plan};

use std::io;
use std::time::Duration;
use thiserror::Error;

/// So long a server may take to accept a connection, or say nothing while it owes a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a server cannot be measured, or no longer.
#[derive(Debug, Error)]
pub enum TrafficError {
    /// Nobody accepts connections there.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server owes replies and sends none.
    #[error("no reply for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server refused a request.
    #[error("{request} was answered with {reply:?}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// The reply's text.
        reply: String,
    },
    /// The reply is not of the protocol.
    #[error("not a reply of the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// A value is not what was stored.
    #[error("the value of {key} is wrong: {reason}; if other runs left it there, use --flush")]
    WrongValue {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine gives no event queue, or no thread.
    #[error("cannot start a thread with an event queue")]
    Start(#[source] io::Error),
}
