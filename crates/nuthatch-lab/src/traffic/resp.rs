//! Requests and replies in the protocol of Redis, versions 2 and 3.

use super::reply::{Body, Event, Line, ProtocolError, length};
use super::target::{Credentials, Protocol};

/// The longest value that Redis stores.
const LONGEST_VALUE: usize = 512 << 20;
/// Elements of a reply that is no value; those of a greeting are a dozen.
const MOST_ELEMENTS: usize = 1 << 20;

/// The parser. It counts the elements of nested replies instead of keeping them.
#[derive(Debug, Default)]
pub(super) struct RespReplies {
    line: Line,
    body: Option<Body>,
    /// Elements that are still to come of an aggregate reply, and make up a single notice.
    elements: usize,
}

impl RespReplies {
    #[inline]
    pub(super) fn next<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'e>>, ProtocolError> {
        loop {
            if let Some(mut body) = self.body {
                let data = body.take(input)?;
                self.body = (!body.is_whole()).then_some(body);
                if self.body.is_none() {
                    if self.elements == 0 {
                        return Ok(Some(Event::Hit { len: body.len() }));
                    }
                    self.elements -= 1;
                    if self.elements == 0 {
                        return Ok(Some(Event::Notice(b"")));
                    }
                    continue;
                }
                match data {
                    Some(_) if self.elements > 0 => continue,
                    data => return Ok(data),
                }
            }
            let Some(taken) = self.line.take(input)? else {
                return Ok(None);
            };
            let line = self.line.text(taken);
            let (&kind, rest) = line
                .split_first()
                .ok_or_else(|| ProtocolError::line(line))?;
            let meaning = match kind {
                b'$' | b'*' if rest == b"-1" => Meaning::Miss,
                b'_' if rest.is_empty() => Meaning::Miss,
                b'$' => {
                    self.body = Some(Body::new(length(rest, LONGEST_VALUE)?));
                    continue;
                }
                b'+' if rest == b"OK" => Meaning::Stored,
                b'+' | b':' | b',' | b'#' | b'(' => Meaning::Notice,
                b'-' => Meaning::Failure,
                b'*' | b'~' | b'%' => {
                    let each = if kind == b'%' { 2 } else { 1 };
                    let elements = each * length(rest, MOST_ELEMENTS)?;
                    // Within another aggregate it stands for one element of that.
                    self.elements = self.elements.saturating_sub(1) + elements;
                    if self.elements == 0 {
                        return Ok(Some(Event::Notice(b"")));
                    }
                    continue;
                }
                _ => return Err(ProtocolError::line(line)),
            };
            if self.elements == 0 {
                let text = &self.line.text(taken)[1..];
                return Ok(Some(match meaning {
                    Meaning::Miss => Event::Miss,
                    Meaning::Stored => Event::Stored,
                    Meaning::Notice => Event::Notice(text),
                    Meaning::Failure => Event::Failure(text),
                }));
            }
            self.elements -= 1;
            if self.elements == 0 {
                return Ok(Some(Event::Notice(b"")));
            }
        }
    }
}

/// What a reply of one line says.
#[derive(Clone, Copy)]
enum Meaning {
    Miss,
    Stored,
    Notice,
    Failure,
}

/// Appends the request that opens a connection.
pub(super) fn encode_greeting(
    protocol: Protocol,
    credentials: Option<&Credentials>,
    out: &mut Vec<u8>,
) {
    let default = "default".to_owned();
    match (protocol, credentials) {
        (Protocol::Resp3, Some(Credentials { user, password })) => {
            let user = user.as_ref().unwrap_or(&default);
            encode(&["HELLO", "3", "AUTH", user, password], out);
        }
        (Protocol::Resp3, None) => encode(&["HELLO", "3"], out),
        (
            _,
            Some(Credentials {
                user: None,
                password,
            }),
        ) => encode(&["AUTH", password], out),
        (
            _,
            Some(Credentials {
                user: Some(user),
                password,
            }),
        ) => {
            encode(&["AUTH", user, password], out);
        }
        (_, None) => encode(&["PING"], out),
    }
}

/// Appends a request that empties the server.
pub(super) fn encode_flush(out: &mut Vec<u8>) {
    encode(&["FLUSHALL"], out);
}

fn encode(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// The parts of requests that are the same for all keys.
#[derive(Clone, Debug)]
pub(super) struct RespRequests {
    get: Vec<u8>,
    set: Vec<u8>,
    /// What follows the value.
    set_end: Vec<u8>,
}

impl RespRequests {
    pub(super) fn new(key_bytes: usize, ttl_s: Option<u32>) -> Self {
        let words = if ttl_s.is_some() { 5 } else { 3 };
        let end = match ttl_s.map(|ttl_s| ttl_s.to_string()) {
            Some(ttl) => format!("\r\n$2\r\nEX\r\n${}\r\n{ttl}\r\n", ttl.len()),
            None => "\r\n".to_owned(),
        };
        Self {
            get: format!("*2\r\n$3\r\nGET\r\n${key_bytes}\r\n").into_bytes(),
            set: format!("*{words}\r\n$3\r\nSET\r\n${key_bytes}\r\n").into_bytes(),
            set_end: end.into_bytes(),
        }
    }

    #[inline]
    pub(super) fn encode_get(&self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.get);
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
        out.extend_from_slice(&self.set);
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n$");
        encode_number(value_bytes, out);
        out.extend_from_slice(b"\r\n");
        value(out);
        out.extend_from_slice(&self.set_end);
    }
}

/// Appends a number in decimal.
#[inline]
pub(super) fn encode_number(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::super::reply::tests::{assert_means, assert_refused};
    use super::*;

    #[test]
    fn replies_mean_the_same_however_they_are_cut() {
        assert_means(
            Protocol::Resp2,
            b"$5\r\nvalue\r\n$-1\r\n+OK\r\n$0\r\n\r\n+PONG\r\n:17\r\n-ERR no\r\n$4\r\na\r\nb\r\n",
            &[
                "hit value",
                "miss",
                "stored",
                "hit ",
                "notice PONG",
                "notice 17",
                "failure ERR no",
                "hit a\\r\\nb",
            ],
        );
    }

    #[test]
    fn the_nothing_of_version_3_is_a_miss() {
        assert_means(Protocol::Resp3, b"_\r\n$1\r\nv\r\n", &["miss", "hit v"]);
    }

    #[test]
    fn a_nested_reply_is_one_notice() {
        assert_means(
            Protocol::Resp3,
            b"%3\r\n$6\r\nserver\r\n+x\r\n+proto\r\n:3\r\n+modules\r\n*1\r\n%1\r\n+a\r\n*0\r\n_\r\n",
            &["notice ", "miss"],
        );
        assert_means(Protocol::Resp2, b"*0\r\n*-1\r\n", &["notice ", "miss"]);
        assert_means(
            Protocol::Resp2,
            b"*2\r\n$2\r\nab\r\n$-1\r\n+OK\r\n",
            &["notice ", "stored"],
        );
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            b"\r\n".as_slice(),
            b"OK\r\n",
            b"+OK\n",
            b"$5\r\nvalue!\r\n",
            b"$5\r\nvalue\r!\r\n",
            b"$-2\r\n",
            b"$\r\n",
            b"$1x\r\n",
            b"$536870913\r\n",
            b"$99999999999\r\n",
            b"*-2\r\n",
            b"_x\r\n",
            b">2\r\n+invalidate\r\n",
        ] {
            assert_refused(Protocol::Resp2, bytes);
        }
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        let requests = RespRequests::new(2, None);
        requests.encode_get(b"k1", &mut out);
        requests.encode_set(b"k2", 3, |out| out.extend_from_slice(b"abc"), &mut out);
        let expected =
            "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*3\r\n$3\r\nSET\r\n$2\r\nk2\r\n$3\r\nabc\r\n";
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
        out.clear();
        let requests = RespRequests::new(1, Some(3600));
        requests.encode_set(b"k", 1, |out| out.push(b'v'), &mut out);
        let expected = "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$4\r\n3600\r\n";
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn a_greeting_names_version_and_credentials() {
        let greeting = |protocol, user: Option<&str>| {
            let credentials = Credentials {
                user: user.map(str::to_owned),
                password: "word".to_owned(),
            };
            let mut out = Vec::new();
            encode_greeting(protocol, Some(&credentials), &mut out);
            String::from_utf8(out).unwrap().replace("\r\n", " ")
        };
        assert_eq!(greeting(Protocol::Resp2, None), "*2 $4 AUTH $4 word ");
        assert_eq!(
            greeting(Protocol::Resp2, Some("me")),
            "*3 $4 AUTH $2 me $4 word "
        );
        assert_eq!(
            greeting(Protocol::Resp3, None),
            "*5 $5 HELLO $1 3 $4 AUTH $7 default $4 word "
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 65_536, usize::MAX] {
            let mut out = Vec::new();
            encode_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
