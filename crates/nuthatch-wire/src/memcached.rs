//! memcached's text protocol, classic and meta, as of memcached 1.6
//! (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).
//!
//! [`RequestParser`] reads what a client sends, where it lies; only keys in base64 are copied. What a
//! request asks for is typed here, and what is no request comes with the line that answers it, so
//! that the server runs no request that it has half understood.
//!
//! A request's end is found before anything is read of it, and where its data begins is looked up
//! again when the data is there. So it makes no difference where its bytes are cut.

pub mod base64;
mod meta;
mod request;

pub use meta::{Meta, MetaCommand, MetaFlags};
pub use request::{
    Limits, Parsed, Refusal, Request, RequestError, RequestParser, Store, StoreMode, Words,
};
