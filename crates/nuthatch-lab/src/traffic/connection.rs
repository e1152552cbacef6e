//! One connection to a server: what is being sent on it, and which replies it owes.

use super::TrafficError;
use super::entries::{Keys, Values};
use super::memcached::MemcachedRequests;
use super::reply::{Event, Replies};
use super::requests::{Verb, Wanted};
use super::resp::RespRequests;
use super::socket::{Polled, Waiting, refused};
use super::target::Protocol;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// One in so many values is compared byte by byte, beginning with each connection's first.
const CHECKED_STRIDE: u32 = 64;

/// What all connections of a run have in common.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) keys: Keys,
    pub(super) values: Values,
    requests: Encoder,
    /// The length of every value, if they are all alike.
    pub(super) value_bytes: Option<u32>,
    /// Whether what was missed is to be stored.
    pub(super) cache_aside: bool,
}

#[derive(Debug)]
enum Encoder {
    Resp(RespRequests),
    Memcached(MemcachedRequests),
}

impl Language {
    pub(super) fn new(protocol: Protocol, keys: Keys, values: Values, ttl_s: Option<u32>) -> Self {
        let requests = match protocol {
            Protocol::Resp2 | Protocol::Resp3 => {
                Encoder::Resp(RespRequests::new(keys.key_bytes(), ttl_s))
            }
            Protocol::Memcached => Encoder::Memcached(MemcachedRequests::new(ttl_s)),
        };
        Self {
            keys,
            values,
            requests,
            value_bytes: None,
            cache_aside: false,
        }
    }

    #[inline]
    fn encode(&self, wanted: Wanted, key: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.keys.write(wanted.id, key);
        let len = wanted.value_bytes as usize;
        let value = |out: &mut Vec<u8>| self.values.write(wanted.id, len, out);
        match (&self.requests, wanted.verb) {
            (Encoder::Resp(resp), Verb::Get) => resp.encode_get(key, out),
            (Encoder::Resp(resp), Verb::Set) => resp.encode_set(key, len, value, out),
            (Encoder::Memcached(memcached), Verb::Get) => memcached.encode_get(key, out),
            (Encoder::Memcached(memcached), Verb::Set) => {
                memcached.encode_set(key, len, value, out);
            }
        }
    }
}

/// A reply that is owed.
#[derive(Clone, Copy, Debug)]
struct Owed {
    wanted: Wanted,
    /// Since when it is waited for.
    since_ns: u64,
}

/// A reply that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Hit,
    Miss,
    Stored,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Polled,
    replies: Replies,
    out: Vec<u8>,
    /// Bytes of `out` that the kernel took.
    written: usize,
    owed: VecDeque<Owed>,
    /// What was missed and is to be stored.
    missed: VecDeque<Wanted>,
    /// The last key that was written out.
    key: Vec<u8>,
    reads: u32,
}

impl Connection {
    /// A connection on a socket over which the server was greeted. Neither reads nor writes wait.
    pub(super) fn new(
        socket: Waiting,
        protocol: Protocol,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut socket = socket.into_polled()?;
        let events = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut socket, token, events)?;
        Ok(Self {
            socket,
            replies: Replies::new(protocol),
            out: Vec::new(),
            written: 0,
            owed: VecDeque::new(),
            missed: VecDeque::new(),
            key: Vec::new(),
            reads: 0,
        })
    }

    /// Replies that the server owes.
    #[inline]
    pub(super) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// The next key that was missed and is to be stored.
    #[inline]
    pub(super) fn take_missed(&mut self) -> Option<Wanted> {
        self.missed.pop_front()
    }

    /// Puts a request behind those to be written, which counts as waiting since then.
    #[inline]
    pub(super) fn push(&mut self, language: &Language, wanted: Wanted, since_ns: u64) {
        language.encode(wanted, &mut self.key, &mut self.out);
        self.owed.push_back(Owed { wanted, since_ns });
    }

    /// Writes as much as the kernel takes.
    pub(super) fn write_out(&mut self) -> Result<(), TrafficError> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TrafficError::Broken(error)),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what has come; `None` if that is nothing.
    #[inline]
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TrafficError> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(TrafficError::Closed),
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TrafficError::Broken(error)),
            }
        }
    }

    /// Takes bytes that were read; hands each whole reply to `count`, with the time since when it was
    /// waited for.
    #[inline]
    pub(super) fn receive(
        &mut self,
        language: &Language,
        mut input: &[u8],
        mut count: impl FnMut(Answer, u64),
    ) -> Result<(), TrafficError> {
        while let Some(event) = self.replies.next(&mut input)? {
            let Some(&Owed { wanted, since_ns }) = self.owed.front() else {
                return Err(refused("nothing", &event));
            };
            let is_checked = self.reads.is_multiple_of(CHECKED_STRIDE);
            let answer = match (event, wanted.verb) {
                (Event::Key(key), Verb::Get) => {
                    if is_checked {
                        language.keys.write(wanted.id, &mut self.key);
                        if key != self.key {
                            let reason = format!("it comes as {}'s", key.escape_ascii());
                            return Err(wrong_value(language, wanted, reason));
                        }
                    }
                    continue;
                }
                (Event::Data { len, offset, bytes }, Verb::Get) => {
                    check_length(language, wanted, len)?;
                    let difference = || language.values.difference(wanted.id, len, offset, bytes);
                    if is_checked && let Some(at) = difference() {
                        let reason = format!("byte {at} of {len} differs from what is stored");
                        return Err(wrong_value(language, wanted, reason));
                    }
                    continue;
                }
                (Event::Hit { len }, Verb::Get) => {
                    check_length(language, wanted, len)?;
                    Answer::Hit
                }
                (Event::Miss, Verb::Get) => {
                    if language.cache_aside {
                        self.missed.push_back(Wanted {
                            verb: Verb::Set,
                            ..wanted
                        });
                    }
                    Answer::Miss
                }
                (Event::Stored, Verb::Set) => Answer::Stored,
                (event, verb) => return Err(refused(verb.name(), &event)),
            };
            if wanted.verb == Verb::Get {
                self.reads = self.reads.wrapping_add(1);
            }
            self.owed.pop_front();
            count(answer, since_ns);
        }
        Ok(())
    }
}

#[inline]
fn check_length(language: &Language, wanted: Wanted, len: usize) -> Result<(), TrafficError> {
    let reason = match language.value_bytes {
        Some(expected) if len != expected as usize => {
            format!("it is of {len} bytes instead of {expected}")
        }
        None if len > language.values.longest() => {
            format!("it is of {len} bytes, more than any")
        }
        Some(_) | None => return Ok(()),
    };
    Err(wrong_value(language, wanted, reason))
}

#[cold]
fn wrong_value(language: &Language, wanted: Wanted, reason: String) -> TrafficError {
    let mut key = Vec::new();
    language.keys.write(wanted.id, &mut key);
    TrafficError::WrongValue {
        key: key.escape_ascii().to_string(),
        reason,
    }
}
