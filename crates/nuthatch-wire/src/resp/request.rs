//! What a client sends: arrays of bulk strings, or inline commands, parsed where they lie.
//!
//! The parser copies nothing. It notes where each argument lies in the caller's buffer, and where it
//! stopped, so a request that arrives in a thousand pieces is still read once. The buffer passed to
//! [`RequestParser::parse`] always begins with the request's first byte.

use super::inline::{self, UnbalancedQuotes};
use std::ops::Index;

/// What a request may ask for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request. Nothing is set aside for those that are only announced.
    pub max_args: usize,
    /// Bytes of one argument.
    pub max_bulk_bytes: usize,
    /// Bytes of an inline command, and of the line that announces a length.
    pub max_inline_bytes: usize,
}

impl Default for Limits {
    /// Redis' own: a million arguments, 512 MiB each, inline commands of 64 KiB.
    fn default() -> Self {
        Self {
            max_args: i32::MAX as usize,
            max_bulk_bytes: 512 * 1024 * 1024,
            max_inline_bytes: 64 * 1024,
        }
    }
}

impl Limits {
    /// What a client gets before it has shown a password, so that a stranger's header reserves
    /// nothing.
    pub fn unauthenticated(self) -> Self {
        Self {
            max_args: self.max_args.min(10),
            max_bulk_bytes: self.max_bulk_bytes.min(16 * 1024),
            ..self
        }
    }
}

/// Bytes that are no request. The connection cannot go on: where the next request begins is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of arguments is no number, or more than [`Limits::max_args`].
    #[error("Protocol error: invalid multibulk length")]
    ArgumentCount,
    /// As [`ArgumentCount`](Self::ArgumentCount), for a client without a password.
    #[error("Protocol error: unauthenticated multibulk length")]
    ArgumentCountUnauthenticated,
    /// The line with the number of arguments does not end.
    #[error("Protocol error: too big mbulk count string")]
    ArgumentCountLine,
    /// The length of an argument is no number, or more than [`Limits::max_bulk_bytes`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// As [`BulkLength`](Self::BulkLength), for a client without a password.
    #[error("Protocol error: unauthenticated bulk length")]
    BulkLengthUnauthenticated,
    /// The line with an argument's length does not end.
    #[error("Protocol error: too big bulk count string")]
    BulkLengthLine,
    /// An argument does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    NoBulk(u8),
    /// A line or an argument does not end with CR and LF.
    #[error("Protocol error: invalid CRLF in request")]
    LineEnd,
    /// An inline command is longer than [`Limits::max_inline_bytes`].
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// The quotes of an inline command do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

impl From<UnbalancedQuotes> for ProtocolError {
    fn from(_: UnbalancedQuotes) -> Self {
        Self::UnbalancedQuotes
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is whole and took so many bytes; [`RequestParser::args`] has its arguments, of which there
    /// are none if the client sent an empty line or array.
    Complete {
        /// Bytes of the buffer that belong to it.
        consumed: usize,
    },
    /// More bytes are needed: at least so many in the whole buffer, for all that is known.
    Incomplete {
        /// The length of the buffer below which it is useless to ask again.
        wanted: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// How many there are, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there are that many.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        Some(&self.bytes[span.start as usize..span.end as usize])
    }

    /// The argument at `index`.
    ///
    /// # Panics
    /// If there are not that many.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// The arguments from `start` on; none if there are not that many.
    #[inline]
    pub fn from(&self, start: usize) -> Args<'a> {
        Args {
            bytes: self.bytes,
            spans: self.spans.get(start..).unwrap_or_default(),
        }
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + use<'a> {
        let bytes = self.bytes;
        self.spans
            .iter()
            .map(move |span| &bytes[span.start as usize..span.end as usize])
    }

    /// Bytes of all arguments together.
    pub fn total_bytes(&self) -> usize {
        self.spans
            .iter()
            .map(|span| (span.end - span.start) as usize)
            .sum()
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedRequest {
        OwnedRequest::new(self.iter())
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// A request that owns its bytes: one that waits for its turn.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedRequest {
    /// A request with these arguments. Together they must be below 4 GiB.
    pub fn new<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut request = Self::default();
        for arg in args {
            let start = request.bytes.len() as u32;
            request.bytes.extend_from_slice(arg);
            let end = u32::try_from(request.bytes.len()).expect("a request is below 4 GiB");
            request.spans.push(Span { start, end });
        }
        request
    }

    /// Its arguments.
    pub fn args(&self) -> Args<'_> {
        Args {
            bytes: &self.bytes,
            spans: &self.spans,
        }
    }

    /// Bytes allocated for it.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

/// Requests that lie one behind another in a buffer, found before the first of them is run: so that
/// what they will need can be looked for in good time.
#[derive(Debug, Default)]
pub struct Batch {
    spans: Vec<Span>,
    /// Where each request's spans end, and where the request itself ends in the buffer.
    ends: Vec<(u32, u32)>,
}

impl Batch {
    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.ends.clear();
    }

    /// How many requests there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds the request that `parser` has just called complete, which begins at `start` and ends at
    /// `end` of the buffer. Returns `false` if it cannot be one of a batch, because its arguments do
    /// not lie in the buffer: an inline command.
    #[inline]
    pub fn push(&mut self, parser: &RequestParser, start: usize, end: usize) -> bool {
        let (Ok(base), Ok(end), false) =
            (u32::try_from(start), u32::try_from(end), parser.is_inline)
        else {
            return false;
        };
        let moved = parser.spans.iter().map(|span| Span {
            start: span.start + base,
            end: span.end + base,
        });
        self.spans.extend(moved);
        self.ends.push((self.spans.len() as u32, end));
        true
    }

    /// The arguments of a request, in the buffer that it was found in.
    ///
    /// # Panics
    /// If there are not that many requests.
    #[inline]
    pub fn args<'a>(&'a self, index: usize, buffer: &'a [u8]) -> Args<'a> {
        let start = match index {
            0 => 0,
            index => self.ends[index - 1].0 as usize,
        };
        Args {
            bytes: buffer,
            spans: &self.spans[start..self.ends[index].0 as usize],
        }
    }

    /// Where a request ends in the buffer.
    ///
    /// # Panics
    /// If there are not that many requests.
    #[inline]
    pub fn end(&self, index: usize) -> usize {
        self.ends[index].1 as usize
    }
}

/// Reads one request after another; see the module's text.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    authenticated: bool,
    /// Arguments that are still to come; `None` before the first line is read.
    missing: Option<usize>,
    /// Where reading goes on.
    position: usize,
    /// The length of the argument that is being read, if its line has been.
    bulk_bytes: Option<usize>,
    spans: Vec<Span>,
    /// The words of an inline command, unquoted; the spans point here if `is_inline`.
    words: Vec<u8>,
    is_inline: bool,
}

/// What a line with a number came to.
enum Line {
    Number { value: i64, end: usize },
    Malformed,
    TooLong,
    WrongEnd,
    Unfinished,
}

impl RequestParser {
    /// A parser at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            authenticated: true,
            missing: None,
            position: 0,
            bulk_bytes: None,
            spans: Vec::new(),
            words: Vec::new(),
            is_inline: false,
        }
    }

    /// Changes the limits for what is still to be read.
    pub fn set_limits(&mut self, limits: Limits, authenticated: bool) {
        self.authenticated = authenticated;
        self.limits = if authenticated {
            limits
        } else {
            limits.unauthenticated()
        };
    }

    /// Forgets the beginning of a request that was not whole: the next call begins anew.
    pub fn restart(&mut self) {
        self.missing = None;
    }

    /// Whether a request has been begun and is not whole.
    pub fn is_within_request(&self) -> bool {
        self.missing.is_some()
    }

    /// Bytes allocated for notes between calls.
    pub fn allocated_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.words.capacity()
    }

    /// Gives notes' memory back that only an unusual request needs.
    pub fn shrink(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(64);
        self.words.clear();
        self.words.shrink_to(0);
    }

    /// The arguments of the request that `parse` has just called complete, in the same buffer.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8]) -> Args<'a> {
        Args {
            bytes: if self.is_inline { &self.words } else { buffer },
            spans: &self.spans,
        }
    }

    /// Reads the request that `buffer` begins with, going on where the last call stopped if that
    /// call found it incomplete.
    #[inline]
    pub fn parse(&mut self, buffer: &[u8]) -> Result<Status, ProtocolError> {
        let missing = match self.missing {
            Some(missing) => missing,
            None => match buffer.first() {
                None => return Ok(Status::Incomplete { wanted: 1 }),
                Some(b'*') => match self.begin(buffer)? {
                    Some(missing) => missing,
                    None => return Ok(self.unfinished(buffer.len() + 1)),
                },
                Some(_) => return self.parse_inline(buffer),
            },
        };
        self.parse_bulks(buffer, missing)
    }

    /// Reads the line with the number of arguments.
    #[inline]
    fn begin(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        self.spans.clear();
        self.is_inline = false;
        let (value, end) = match number_line(buffer, 1, self.limits.max_inline_bytes) {
            Line::Number { value, end } => (value, end),
            Line::Malformed => return Err(ProtocolError::ArgumentCount),
            Line::TooLong => return Err(ProtocolError::ArgumentCountLine),
            Line::WrongEnd => return Err(ProtocolError::LineEnd),
            Line::Unfinished => return Ok(None),
        };
        let missing = usize::try_from(value.max(0)).unwrap_or(usize::MAX);
        if missing > self.limits.max_args {
            return Err(if self.authenticated {
                ProtocolError::ArgumentCount
            } else {
                ProtocolError::ArgumentCountUnauthenticated
            });
        }
        self.position = end;
        self.bulk_bytes = None;
        self.missing = Some(missing);
        Ok(Some(missing))
    }

    #[inline]
    fn parse_bulks(&mut self, buffer: &[u8], mut missing: usize) -> Result<Status, ProtocolError> {
        while missing > 0 {
            let bulk_bytes = match self.bulk_bytes {
                Some(bulk_bytes) => bulk_bytes,
                None => match self.bulk_head(buffer)? {
                    Some(bulk_bytes) => bulk_bytes,
                    None => {
                        self.missing = Some(missing);
                        return Ok(self.unfinished(buffer.len() + 1));
                    }
                },
            };
            let end = self.position + bulk_bytes;
            if buffer.len() < end + 2 {
                self.bulk_bytes = Some(bulk_bytes);
                self.missing = Some(missing);
                return Ok(self.unfinished(end + 2));
            }
            if buffer[end..end + 2] != *b"\r\n" {
                return Err(ProtocolError::LineEnd);
            }
            self.spans.push(Span {
                start: self.position as u32,
                end: end as u32,
            });
            self.position = end + 2;
            self.bulk_bytes = None;
            missing -= 1;
        }
        self.missing = None;
        Ok(Status::Complete {
            consumed: self.position,
        })
    }

    fn unfinished(&self, wanted: usize) -> Status {
        Status::Incomplete { wanted }
    }

    /// Reads the line with an argument's length.
    #[inline]
    fn bulk_head(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NoBulk(other)),
        }
        let (value, end) =
            match number_line(buffer, self.position + 1, self.limits.max_inline_bytes) {
                Line::Number { value, end } => (value, end),
                Line::Malformed => return Err(ProtocolError::BulkLength),
                Line::WrongEnd => return Err(ProtocolError::LineEnd),
                Line::TooLong => return Err(ProtocolError::BulkLengthLine),
                Line::Unfinished => return Ok(None),
            };
        let bulk_bytes = usize::try_from(value).map_err(|_| ProtocolError::BulkLength)?;
        if bulk_bytes > self.limits.max_bulk_bytes {
            return Err(if self.authenticated {
                ProtocolError::BulkLength
            } else {
                ProtocolError::BulkLengthUnauthenticated
            });
        }
        if end + bulk_bytes + 2 > u32::MAX as usize {
            return Err(ProtocolError::BulkLength);
        }
        self.position = end;
        Ok(Some(bulk_bytes))
    }

    /// Reads an inline command.
    #[cold]
    fn parse_inline(&mut self, buffer: &[u8]) -> Result<Status, ProtocolError> {
        let Some(newline) = buffer.iter().position(|&byte| byte == b'\n') else {
            if buffer.len() > self.limits.max_inline_bytes {
                return Err(ProtocolError::InlineTooLong);
            }
            return Ok(self.unfinished(buffer.len() + 1));
        };
        if newline > self.limits.max_inline_bytes {
            return Err(ProtocolError::InlineTooLong);
        }
        let line = &buffer[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.spans.clear();
        self.words.clear();
        self.is_inline = true;
        let (spans, mut start) = (&mut self.spans, 0);
        inline::split(line, &mut self.words, |end| {
            let end = end as u32;
            spans.push(Span { start, end });
            start = end;
        })?;
        Ok(Status::Complete {
            consumed: newline + 1,
        })
    }
}

/// Reads a decimal number and the line's end from `start` on. Whether a line is too long depends on its
/// first `max_bytes` alone, and so not on where the buffer ends.
#[inline]
fn number_line(buffer: &[u8], start: usize, max_bytes: usize) -> Line {
    let rest = &buffer[start.min(buffer.len())..];
    // Most numbers have one digit.
    if let [digit @ b'0'..=b'9', b'\r', b'\n', ..] = rest {
        return Line::Number {
            value: i64::from(digit - b'0'),
            end: start + 3,
        };
    }
    // A number of 64 bits has at most 20 characters. What is longer is malformed, or has no end yet.
    let line = &rest[..rest.len().min(max_bytes)];
    let Some(length) = line.iter().position(|&byte| byte == b'\r') else {
        return if line.len() == max_bytes {
            Line::TooLong
        } else {
            Line::Unfinished
        };
    };
    match rest.get(length + 1) {
        Some(b'\n') => {}
        Some(_) => return Line::WrongEnd,
        None => return Line::Unfinished,
    }
    match crate::number::parse_i64(&rest[..length]) {
        Some(value) => Line::Number {
            value,
            end: start + length + 2,
        },
        None => Line::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Limits, ProtocolError, RequestParser, Status};

    /// Feeds `input` in pieces that end at `cuts`, and returns all requests.
    fn requests(input: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let mut parser = RequestParser::new(Limits::default());
        let (mut found, mut buffer, mut fed) = (Vec::new(), Vec::new(), 0);
        loop {
            match parser.parse(&buffer)? {
                Status::Complete { consumed } => {
                    found.push(parser.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                    buffer.drain(..consumed);
                }
                Status::Incomplete { wanted } => {
                    assert!(wanted > buffer.len(), "what is there was not enough");
                    if fed == input.len() {
                        return Ok(found);
                    }
                    let end = (fed + step).min(input.len());
                    buffer.extend_from_slice(&input[fed..end]);
                    fed = end;
                }
            }
        }
    }

    #[test]
    fn requests_are_the_same_however_they_are_cut() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n01234\r\n789\r\nPING\r\n*1\r\n$0\r\n\r\n*0\r\n\r\n\
            *2\r\n$3\r\nGET\r\n$1\r\nk\r\nECHO \"a b\"\n";
        let expected: Vec<Vec<Vec<u8>>> = vec![
            vec![b"SET".to_vec(), b"k".to_vec(), b"01234\r\n789".to_vec()],
            vec![b"PING".to_vec()],
            vec![b"".to_vec()],
            vec![],
            vec![],
            vec![b"GET".to_vec(), b"k".to_vec()],
            vec![b"ECHO".to_vec(), b"a b".to_vec()],
        ];
        for step in 1..=input.len() {
            assert_eq!(requests(input, step).unwrap(), expected, "steps of {step}");
        }
    }

    #[test]
    fn a_batch_has_the_requests_that_were_pushed() {
        let buffer = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\nPING\r\n";
        let mut parser = RequestParser::new(Limits::default());
        let (mut batch, mut start) = (Batch::default(), 0);
        let mut pushed = Vec::new();
        while let Ok(Status::Complete { consumed }) = parser.parse(&buffer[start..]) {
            pushed.push(batch.push(&parser, start, start + consumed));
            start += consumed;
        }
        assert_eq!(
            pushed,
            [true, true, false],
            "an inline command is no part of it"
        );
        assert_eq!(batch.len(), 2);
        let words = |index| batch.args(index, buffer).iter().collect::<Vec<_>>();
        assert_eq!(words(0), [&b"GET"[..], b"a"]);
        assert_eq!(words(1), [b"PING"]);
        assert_eq!(&buffer[batch.end(1)..], b"PING\r\n");
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        let error = |input: &[u8]| requests(input, input.len()).unwrap_err();
        assert_eq!(error(b"*x\r\n"), ProtocolError::ArgumentCount);
        assert_eq!(error(b"*2147483648\r\n"), ProtocolError::ArgumentCount);
        assert_eq!(requests(b"*2147483647\r\n", 20), Ok(vec![]), "it goes on");
        assert_eq!(error(b"*1\r\n+OK\r\n"), ProtocolError::NoBulk(b'+'));
        assert_eq!(error(b"*1\r\n$-1\r\n"), ProtocolError::BulkLength);
        assert_eq!(error(b"*1\r\n$536870913\r\n"), ProtocolError::BulkLength);
        assert_eq!(error(b"GET \"a\r\n"), ProtocolError::UnbalancedQuotes);
        for wrong in [&b"\rx"[..], b"x\n", b"xx", b"\n\r"] {
            let after_argument = [b"*1\r\n$4\r\nPING", wrong].concat();
            assert_eq!(error(&after_argument), ProtocolError::LineEnd);
        }
        assert_eq!(error(b"*1\rx$4\r\nPING\r\n"), ProtocolError::LineEnd);
        assert_eq!(error(b"*1\r\n$4\rxPING\r\n"), ProtocolError::LineEnd);
        assert_eq!(error(&[b'a'; 70_000]), ProtocolError::InlineTooLong);
        let mut endless = b"*".to_vec();
        endless.resize(70_000, b'1');
        assert_eq!(error(&endless), ProtocolError::ArgumentCountLine);
        let mut endless = b"*1\r\n$".to_vec();
        endless.resize(70_000, b'1');
        assert_eq!(error(&endless), ProtocolError::BulkLengthLine);
    }

    #[test]
    fn strangers_may_announce_little() {
        let mut parser = RequestParser::new(Limits::default());
        parser.set_limits(Limits::default(), false);
        assert_eq!(
            parser.parse(b"*11\r\n"),
            Err(ProtocolError::ArgumentCountUnauthenticated)
        );
        let mut parser = RequestParser::new(Limits::default());
        parser.set_limits(Limits::default(), false);
        assert_eq!(
            parser.parse(b"*1\r\n$16385\r\n"),
            Err(ProtocolError::BulkLengthUnauthenticated)
        );
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet = b"*$+-:0123456789\r\n\"' abcPING";
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..random.usize(0..40))
                .map(|_| alphabet[random.usize(0..alphabet.len())])
                .collect();
            let whole = requests(&input, input.len().max(1));
            let pieces = requests(&input, 1);
            assert_eq!(whole, pieces, "{}", input.escape_ascii());
        }
    }
}
