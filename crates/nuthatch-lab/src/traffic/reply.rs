//! What the parsers of replies have in common: they are fed whatever a read gave, keep no more than
//! an unfinished line, and hand out events.

use super::memcached::MemcachedReplies;
use super::resp::RespReplies;
use super::target::Protocol;
use thiserror::Error;

/// The longest line that is no value: an error's text, or the fields of a memcached header.
const LONGEST_LINE: usize = 4096;

/// What a parser found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The key that the value of this reply belongs to, where the protocol tells.
    Key(&'a [u8]),
    /// Bytes of a value; a read may end within it.
    Data {
        /// Length of the whole value.
        len: usize,
        /// Where in it the bytes lie.
        offset: usize,
        bytes: &'a [u8],
    },
    /// The end of a reply that was a value of this length.
    Hit { len: usize },
    /// A whole reply: there is no such key.
    Miss,
    /// A whole reply: the value was stored.
    Stored,
    /// A whole reply: the server refuses.
    Failure(&'a [u8]),
    /// A whole reply of another kind; its text, where it is a line.
    Notice(&'a [u8]),
}

/// Bytes that are no reply of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A line of this beginning means nothing here.
    #[error("{0:?}")]
    Line(String),
    /// A line does not end where it should.
    #[error("a line longer than {LONGEST_LINE} bytes")]
    LongLine,
    /// A line or a value is not followed by the end of a line.
    #[error("byte {0:#04x} where a line ends")]
    Unterminated(u8),
    /// A length is not a number, or out of bounds.
    #[error("the length {0:?}")]
    Length(String),
}

impl ProtocolError {
    pub(super) fn line(line: &[u8]) -> Self {
        Self::Line(String::from_utf8_lossy(line).into_owned())
    }
}

/// The parser of a connection.
#[derive(Debug)]
pub(super) enum Replies {
    Resp(RespReplies),
    Memcached(MemcachedReplies),
}

impl Replies {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp2 | Protocol::Resp3 => Self::Resp(RespReplies::default()),
            Protocol::Memcached => Self::Memcached(MemcachedReplies::default()),
        }
    }

    /// Takes bytes off the front of `input` until something is known; `None` when all are taken.
    #[inline]
    pub(super) fn next<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'e>>, ProtocolError> {
        match self {
            Self::Resp(replies) => replies.next(input),
            Self::Memcached(replies) => replies.next(input),
        }
    }
}

/// A line, which mostly comes in one piece and then is not copied.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// What came of a line whose end has not come yet.
    begun: Vec<u8>,
    /// `begun` was handed out, and is let go at the next line.
    is_over: bool,
}

impl Line {
    /// Takes the next line off the input.
    #[inline]
    pub(super) fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Taken<'i>>, ProtocolError> {
        if self.is_over {
            self.begun.clear();
            self.is_over = false;
        }
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            self.begun.extend_from_slice(input);
            *input = &[];
            if self.begun.len() > LONGEST_LINE {
                return Err(ProtocolError::LongLine);
            }
            return Ok(None);
        };
        let (piece, rest) = input.split_at(end + 1);
        *input = rest;
        if self.begun.is_empty() {
            return Ok(Some(Taken::Here(ended(piece)?)));
        }
        self.begun.extend_from_slice(piece);
        let text_bytes = ended(&self.begun)?.len();
        self.begun.truncate(text_bytes);
        self.is_over = true;
        Ok(Some(Taken::Kept))
    }

    /// The text of the line that was taken last, without its end.
    #[inline]
    pub(super) fn text<'e, 'i: 'e>(&'e self, taken: Taken<'i>) -> &'e [u8] {
        match taken {
            Taken::Here(text) => text,
            Taken::Kept => &self.begun,
        }
    }
}

/// Where a line lies. The parsers' loops cannot hold on to a borrow of what they write to next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken<'i> {
    Here(&'i [u8]),
    Kept,
}

/// A line without the two bytes that end it.
#[inline]
fn ended(line: &[u8]) -> Result<&[u8], ProtocolError> {
    match line {
        [.., last, b'\n'] if *last != b'\r' => Err(ProtocolError::Unterminated(*last)),
        [text @ .., b'\r', b'\n'] if text.len() <= LONGEST_LINE => Ok(text),
        [.., b'\r', b'\n'] => Err(ProtocolError::LongLine),
        _ => Err(ProtocolError::Unterminated(b'\n')),
    }
}

/// A value in the making: its bytes, and the end of the line behind them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    len: usize,
    /// Bytes that came, those of the line's end included.
    taken: usize,
}

const LINE_END: [u8; 2] = *b"\r\n";

impl Body {
    pub(super) fn new(len: usize) -> Self {
        Self { len, taken: 0 }
    }

    pub(super) fn len(self) -> usize {
        self.len
    }

    pub(super) fn is_whole(self) -> bool {
        self.taken == self.len + LINE_END.len()
    }

    /// Takes bytes of the value, or of what ends it; `None` when all of the input is taken or the
    /// body is whole.
    #[inline]
    pub(super) fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        if self.taken < self.len {
            let (bytes, rest) = input.split_at(input.len().min(self.len - self.taken));
            if bytes.is_empty() {
                return Ok(None);
            }
            let offset = self.taken;
            *input = rest;
            self.taken += bytes.len();
            return Ok(Some(Event::Data {
                len: self.len,
                offset,
                bytes,
            }));
        }
        while !self.is_whole() {
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            if byte != LINE_END[self.taken - self.len] {
                return Err(ProtocolError::Unterminated(byte));
            }
            *input = rest;
            self.taken += 1;
        }
        Ok(None)
    }
}

/// Reads a decimal length.
#[inline]
pub(super) fn length(digits: &[u8], most: usize) -> Result<usize, ProtocolError> {
    let bad = || ProtocolError::Length(String::from_utf8_lossy(digits).into_owned());
    if digits.is_empty() || digits.len() > 10 {
        return Err(bad());
    }
    let mut length = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(bad());
        }
        length = length * 10 + usize::from(digit - b'0');
    }
    if length > most {
        return Err(bad());
    }
    Ok(length)
}

/// What tests of the parsers share: the same bytes in one piece and in every two.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a parser makes of pieces, in words; the bytes of a value are put together again.
    fn events(protocol: Protocol, pieces: &[&[u8]]) -> Result<Vec<String>, ProtocolError> {
        let mut replies = Replies::new(protocol);
        let (mut events, mut value) = (Vec::new(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while let Some(event) = replies.next(&mut piece)? {
                match event {
                    Event::Data { len, offset, bytes } => {
                        assert_eq!(offset, value.len(), "values come in order");
                        assert!(offset + bytes.len() <= len);
                        value.extend_from_slice(bytes);
                    }
                    Event::Hit { len } => {
                        assert_eq!(value.len(), len, "a value comes whole");
                        events.push(format!("hit {}", value.escape_ascii()));
                        value.clear();
                    }
                    Event::Key(key) => events.push(format!("key {}", key.escape_ascii())),
                    Event::Failure(text) => events.push(format!("failure {}", text.escape_ascii())),
                    Event::Notice(text) => events.push(format!("notice {}", text.escape_ascii())),
                    Event::Miss => events.push("miss".to_owned()),
                    Event::Stored => events.push("stored".to_owned()),
                }
            }
            assert!(piece.is_empty(), "all is taken");
        }
        Ok(events)
    }

    /// However the bytes are cut, they mean `expected`.
    pub(in super::super) fn assert_means(protocol: Protocol, bytes: &[u8], expected: &[&str]) {
        assert_eq!(events(protocol, &[bytes]).unwrap(), expected);
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(
                events(protocol, &[head, tail]).unwrap(),
                expected,
                "cut at {cut}"
            );
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(events(protocol, &single).unwrap(), expected);
    }

    /// However the bytes are cut, they are refused.
    pub(in super::super) fn assert_refused(protocol: Protocol, bytes: &[u8]) {
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let result = events(protocol, &[head, tail]);
            assert!(result.is_err(), "{}: {result:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        for protocol in [Protocol::Resp2, Protocol::Memcached] {
            let long = [b"+".as_slice(), &[b'a'; LONGEST_LINE]].concat();
            let result = events(protocol, &[&long, b"\r\n"]);
            assert_eq!(result, Err(ProtocolError::LongLine));
        }
    }
}
