//! What a server answers: values appended to a buffer, in version 2 or 3 of the protocol.
//!
//! Version 2 knows no maps, sets, doubles, booleans or pushes; each method says what stands in their
//! place there, as Redis does it.

use crate::number::write_f64;

/// The version of the protocol that a client has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, which every connection begins with.
    #[default]
    Resp2,
    /// Version 3.
    Resp3,
}

/// A buffer of replies. Every method appends one value, or the head of an aggregate whose elements
/// the caller appends next.
#[derive(Debug, Default)]
pub struct Reply {
    out: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    /// An empty buffer.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            out: Vec::new(),
            protocol,
        }
    }

    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// The number of bytes written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The bytes allocated.
    pub fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Drops everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Drops the first `len` bytes.
    pub fn consume(&mut self, len: usize) {
        self.out.drain(..len);
    }

    /// Drops everything, and gives memory beyond `keep_bytes` back.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.out.clear();
        self.out.shrink_to(keep_bytes);
    }

    /// Takes what has been written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The version that values are written in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the version for the values to come.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    #[inline]
    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    #[inline]
    fn head(&mut self, kind: u8, number: i64) {
        // One digit is what most lengths have.
        if let digit @ 0..=9 = number {
            self.out
                .extend_from_slice(&[kind, b'0' + digit as u8, b'\r', b'\n']);
            return;
        }
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        self.out.reserve(digits.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(digits);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Appends bytes that are whole values already.
    pub fn raw(&mut self, values: &[u8]) {
        self.out.extend_from_slice(values);
    }

    /// A simple string; it must not contain a line break.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "a simple string is one line");
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error: its code in capitals, a blank, its text. Line breaks become blanks, for an error
    /// is one line and may quote what a client has sent.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.out.extend(text.bytes().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => byte,
        }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    /// A bulk string: any bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.head(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string with the decimal text of a number.
    pub fn bulk_integer(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Null; version 2 writes a null bulk string.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"$-1\r\n"
        });
    }

    /// Null where an array was asked for; version 2 writes a null array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() {
            b"_\r\n"
        } else {
            b"*-1\r\n"
        });
    }

    /// The head of an array of `len` values.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len as i64);
    }

    /// The head of a map of `pairs` keys and values; version 2 writes an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() {
            self.head(b'%', pairs as i64);
        } else {
            self.head(b'*', 2 * pairs as i64);
        }
    }

    /// The head of a set of `len` values; version 2 writes an array.
    pub fn set(&mut self, len: usize) {
        self.head(if self.is_resp3() { b'~' } else { b'*' }, len as i64);
    }

    /// The head of a push of `len` values, which may stand between replies; version 2 writes an
    /// array.
    pub fn push(&mut self, len: usize) {
        self.head(if self.is_resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// A double; version 2 writes a bulk string.
    pub fn double(&mut self, number: f64) {
        let mut text = Vec::with_capacity(24);
        write_f64(&mut text, number);
        if self.is_resp3() {
            self.line(b',', &text);
        } else {
            self.bulk(&text);
        }
    }

    /// A boolean; version 2 writes 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.out
                .extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.integer(i64::from(value));
        }
    }

    /// An integer of any size, given as decimal text; version 2 writes a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        if self.is_resp3() {
            self.line(b'(', digits.as_bytes());
        } else {
            self.bulk(digits.as_bytes());
        }
    }

    /// Text with a three-letter format, `txt` or `mkd`; version 2 writes a bulk string.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if self.is_resp3() {
            self.head(b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(&format);
            self.out.push(b':');
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, Reply};

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply)) -> String {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        String::from_utf8(reply.take()).expect("text")
    }

    #[test]
    fn values_are_written_as_the_version_has_them() {
        type Write = fn(&mut Reply);
        let cases: &[(Write, &str, &str)] = &[
            (|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
            (|r| r.integer(-12), ":-12\r\n", ":-12\r\n"),
            (|r| r.integer(7), ":7\r\n", ":7\r\n"),
            (|r| r.bulk(b"a\0b"), "$3\r\na\0b\r\n", "$3\r\na\0b\r\n"),
            (|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::null, "$-1\r\n", "_\r\n"),
            (Reply::null_array, "*-1\r\n", "_\r\n"),
            (|r| r.array(10), "*10\r\n", "*10\r\n"),
            (|r| r.map(2), "*4\r\n", "%2\r\n"),
            (|r| r.set(3), "*3\r\n", "~3\r\n"),
            (|r| r.push(3), "*3\r\n", ">3\r\n"),
            (|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|r| r.boolean(true), ":1\r\n", "#t\r\n"),
            (
                |r| r.big_number("12345678901234567890123"),
                "$23\r\n12345678901234567890123\r\n",
                "(12345678901234567890123\r\n",
            ),
            (
                |r| r.verbatim(*b"txt", b"hi"),
                "$2\r\nhi\r\n",
                "=6\r\ntxt:hi\r\n",
            ),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(Protocol::Resp2, write), *resp2);
            assert_eq!(written(Protocol::Resp3, write), *resp3);
        }
    }

    #[test]
    fn an_error_stays_one_line_whatever_it_quotes() {
        let text = written(Protocol::Resp2, |r| r.error("ERR unknown 'a\r\n+OK'"));
        assert_eq!(text, "-ERR unknown 'a  +OK'\r\n");
    }
}
