//! The Redis serialization protocol (RESP).
//!
//! [`RequestParser`] reads what a client sends: arrays of bulk strings, or inline commands.
//! [`Reply`] writes what a server answers, in version 2 or 3.

mod inline;
mod reply;
mod request;

pub use reply::{Protocol, Reply};
pub use request::{Args, Batch, Limits, OwnedRequest, ProtocolError, RequestParser, Status};
