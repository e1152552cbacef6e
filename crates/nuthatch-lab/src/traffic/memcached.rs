//! Requests and replies in memcached's classic text protocol.

use super::reply::{Body, Event, Line, ProtocolError, length};
use super::resp::encode_number;

/// The longest value that memcached can be told to store.
const LONGEST_VALUE: usize = 1 << 30;

/// The parser. It takes replies to `get` of one key, `set` and what else is a single line.
#[derive(Debug, Default)]
pub(super) struct MemcachedReplies {
    line: Line,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Before a reply.
    #[default]
    Idle,
    /// Behind the header of a value.
    Body(Body),
    /// Behind a value of this length, before the line that ends the reply.
    Ending { len: usize },
}

impl MemcachedReplies {
    #[inline]
    pub(super) fn next<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'e>>, ProtocolError> {
        if let State::Body(mut body) = self.state {
            let data = body.take(input)?;
            self.state = State::Body(body);
            if data.is_some() {
                return Ok(data);
            }
            if !body.is_whole() {
                return Ok(None);
            }
            self.state = State::Ending { len: body.len() };
        }
        let Some(taken) = self.line.take(input)? else {
            return Ok(None);
        };
        let line = self.line.text(taken);
        if let State::Ending { len } = self.state {
            self.state = State::Idle;
            return match line {
                b"END" => Ok(Some(Event::Hit { len })),
                _ => Err(ProtocolError::line(line)),
            };
        }
        if let Some(header) = line.strip_prefix(b"VALUE ") {
            let (key, len) = value_header(header).ok_or_else(|| ProtocolError::line(line))?;
            self.state = State::Body(Body::new(length(len, LONGEST_VALUE)?));
            return Ok(Some(Event::Key(key)));
        }
        Ok(Some(match line {
            b"END" => Event::Miss,
            b"STORED" => Event::Stored,
            b"OK" => Event::Notice(line),
            b"NOT_STORED" | b"ERROR" => Event::Failure(line),
            _ if line.starts_with(b"VERSION ") => Event::Notice(line),
            _ if line.starts_with(b"SERVER_ERROR ") => Event::Failure(line),
            _ if line.starts_with(b"CLIENT_ERROR ") => Event::Failure(line),
            _ => return Err(ProtocolError::line(line)),
        }))
    }
}

/// The key and the length of `<key> <flags> <bytes>`, where flags are those that we store.
#[inline]
fn value_header(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = header.splitn(3, |&byte| byte == b' ');
    let (key, flags, len) = (words.next()?, words.next()?, words.next()?);
    (flags == b"0").then_some((key, len))
}

/// Appends the request that opens a connection.
pub(super) fn encode_greeting(out: &mut Vec<u8>) {
    out.extend_from_slice(b"version\r\n");
}

/// Appends a request that empties the server.
pub(super) fn encode_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"flush_all\r\n");
}

/// The parts of requests that are the same for all keys.
#[derive(Clone, Debug)]
pub(super) struct MemcachedRequests {
    /// What lies between the key and the value's length.
    attributes: Vec<u8>,
}

impl MemcachedRequests {
    pub(super) fn new(ttl_s: Option<u32>) -> Self {
        // No expiry is 0.
        let attributes = format!(" 0 {} ", ttl_s.unwrap_or(0)).into_bytes();
        Self { attributes }
    }

    #[inline]
    pub(super) fn encode_get(&self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"get ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub(super) fn encode_set(
        &self,
        key: &[u8],
        value_bytes: usize,
        value: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        out.extend_from_slice(&self.attributes);
        encode_number(value_bytes, out);
        out.extend_from_slice(b"\r\n");
        value(out);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::tests::{assert_means, assert_refused};
    use super::super::target::Protocol;
    use super::*;

    #[test]
    fn replies_mean_the_same_however_they_are_cut() {
        assert_means(
            Protocol::Memcached,
            b"VALUE k1 0 5\r\nvalue\r\nEND\r\nEND\r\nSTORED\r\nVALUE k2 0 0\r\n\r\nEND\r\n\
              OK\r\nVERSION 1.6\r\nVALUE k3 0 7\r\nEND\r\n\r\n\r\nEND\r\nERROR\r\n\
              SERVER_ERROR out of memory\r\nCLIENT_ERROR bad\r\nNOT_STORED\r\n",
            &[
                "key k1",
                "hit value",
                "miss",
                "stored",
                "key k2",
                "hit ",
                "notice OK",
                "notice VERSION 1.6",
                "key k3",
                "hit END\\r\\n\\r\\n",
                "failure ERROR",
                "failure SERVER_ERROR out of memory",
                "failure CLIENT_ERROR bad",
                "failure NOT_STORED",
            ],
        );
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            b"\r\n".as_slice(),
            b"END\n",
            b"ENDED\r\n",
            b"VALUE k 0\r\n",
            b"VALUE k 1 3\r\nabc\r\nEND\r\n",
            b"VALUE k 0 x\r\n",
            b"VALUE k 0 3 9\r\n",
            b"VALUE k 0 3\r\nabcd\r\nEND\r\n",
            b"VALUE k 0 3\r\nabc\r\nVALUE k 0 3\r\n",
            b"VALUE k 0 3\r\nabc\r\nSTORED\r\n",
            b"+OK\r\n",
        ] {
            assert_refused(Protocol::Memcached, bytes);
        }
    }

    #[test]
    fn requests_are_lines() {
        let mut out = Vec::new();
        let requests = MemcachedRequests::new(None);
        requests.encode_get(b"k1", &mut out);
        requests.encode_set(b"k2", 3, |out| out.extend_from_slice(b"abc"), &mut out);
        MemcachedRequests::new(Some(60)).encode_set(b"k", 1, |out| out.push(b'v'), &mut out);
        let expected = "get k1\r\nset k2 0 0 3\r\nabc\r\nset k 0 60 1\r\nv\r\n";
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
    }
}
