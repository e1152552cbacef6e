//! What a client sends: lines of words, some followed by data.

use super::meta::{self, Meta};

/// Bytes of a key at most.
pub(super) const MAX_KEY_BYTES: usize = 250;
/// Bytes of a line at most, its end included, but of one that gets many keys.
const MAX_LINE_BYTES: usize = 2048;

/// What a request may ask for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one value. Larger ones are read over and not stored.
    pub max_value_bytes: usize,
    /// Bytes of a line that gets many keys.
    pub max_line_bytes: usize,
}

impl Default for Limits {
    /// Values as Redis has them, and lines of a megabyte.
    fn default() -> Self {
        Self {
            max_value_bytes: 512 << 20,
            max_line_bytes: 1 << 20,
        }
    }
}

/// Words separated by blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    /// The words in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
    }

    /// The first word, and those after it.
    #[inline]
    pub(super) fn split_first(self) -> Option<(&'a [u8], Self)> {
        let start = self.0.iter().position(|byte| *byte != b' ')?;
        let text = &self.0[start..];
        let end = text.iter().position(|byte| *byte == b' ');
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        Some((word, Self(rest)))
    }
}

/// What a storage command does with the value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Replaces it, if there is one.
    Set,
    /// Leaves it; stores only if there is none.
    Add,
    /// Replaces it; stores nothing if there is none.
    Replace,
    /// Puts the data after it.
    Append,
    /// Puts the data before it.
    Prepend,
}

/// A classic storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store<'a> {
    /// What it does with the value that is there.
    pub mode: StoreMode,
    /// The key.
    pub key: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// When it expires, as sent.
    pub exptime: i64,
    /// The unique number that the value there must have, if it is a `cas`.
    pub cas: Option<u64>,
    /// The data.
    pub data: &'a [u8],
    /// Whether no reply is wanted.
    pub is_quiet: bool,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get {
        /// The keys, at least one.
        keys: Words<'a>,
        /// Whether the reply has unique numbers.
        wants_cas: bool,
        /// When the keys expire from now on, as sent, if that is to change.
        exptime: Option<i64>,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Store(Store<'a>),
    /// `delete`.
    Delete {
        /// The key.
        key: &'a [u8],
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `incr`, `decr`.
    Arithmetic {
        /// The key.
        key: &'a [u8],
        /// How much.
        delta: u64,
        /// Whether it is a `decr`.
        is_decrement: bool,
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `touch`.
    Touch {
        /// The key.
        key: &'a [u8],
        /// When it expires from now on, as sent.
        exptime: i64,
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `flush_all`.
    FlushAll {
        /// When, as times of expiry are sent; 0 means at once.
        when: i64,
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `stats`, with what it is asked of.
    Stats(Words<'a>),
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity {
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `cache_memlimit`.
    MemoryLimit {
        /// In megabytes.
        megabytes: u32,
        /// Whether no reply is wanted.
        is_quiet: bool,
    },
    /// `mg`, `ms`, `md`, `ma`.
    Meta(Meta<'a>),
    /// `mn`.
    MetaNoop,
    /// `me`.
    MetaDebug {
        /// The key.
        key: &'a [u8],
        /// Whether it is in base64 in the reply.
        is_base64: bool,
    },
    /// `shutdown`.
    Shutdown,
    /// `quit`, and browsers that have come to the wrong port.
    Quit,
}

/// Why a line is no request; the text is the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such command.
    #[error("ERROR")]
    Unknown,
    /// Words are missing, too long or no numbers.
    #[error("CLIENT_ERROR bad command line format")]
    Format,
    /// The data does not end where it was said to.
    #[error("CLIENT_ERROR bad data chunk")]
    DataChunk,
    /// A value is larger than [`Limits::max_value_bytes`].
    #[error("SERVER_ERROR object too large for cache")]
    TooLarge,
    /// A time of expiry is no number.
    #[error("CLIENT_ERROR invalid exptime argument")]
    Exptime,
    /// What to add or subtract is no number.
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    Delta,
    /// A flag of a meta command is there twice.
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateFlag,
    /// There is no such flag.
    #[error("CLIENT_ERROR invalid flag")]
    UnknownFlag,
    /// A flag's token is not what it should be.
    #[error("CLIENT_ERROR bad token in command line format")]
    FlagToken,
    /// As both, for `ma`.
    #[error("CLIENT_ERROR invalid or duplicate flag")]
    ArithmeticFlag,
    /// Too many flags.
    #[error("CLIENT_ERROR options flags are too long")]
    TooManyFlags,
    /// An opaque token is longer than 32 bytes.
    #[error("CLIENT_ERROR opaque token too long")]
    Opaque,
    /// A key said to be in base64 is not.
    #[error("CLIENT_ERROR error decoding key")]
    Base64,
    /// `ms` has no such mode.
    #[error("CLIENT_ERROR invalid mode for ms M token")]
    StoreMode,
    /// `ma` has no such mode.
    #[error("CLIENT_ERROR invalid mode for ma M token")]
    ArithmeticMode,
    /// A command of memcached that has no meaning here.
    #[error("CLIENT_ERROR not supported")]
    NotSupported,
}

/// A line that is no request, or is one that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub error: RequestError,
    /// Whether no reply is wanted.
    pub is_quiet: bool,
    /// A key whose value was to be replaced: what it holds must not outlive that.
    pub outdated: Option<&'a [u8]>,
}

impl From<RequestError> for Refusal<'_> {
    fn from(error: RequestError) -> Self {
        Self {
            error,
            is_quiet: false,
            outdated: None,
        }
    }
}

/// What a buffer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole line, with its data if it has any.
    Whole {
        /// Bytes of the buffer that belong to it.
        consumed: usize,
        /// What it asks for.
        request: Result<Request<'a>, Refusal<'a>>,
    },
    /// Data of a request that was refused.
    Skipped {
        /// Its bytes.
        consumed: usize,
    },
    /// More bytes are needed: at least so many in the whole buffer, for all that is known.
    Incomplete {
        /// The length of the buffer below which it is useless to ask again.
        wanted: usize,
    },
    /// A line without end, or none of this protocol. The connection cannot go on.
    Hopeless,
}

/// Reads one request after another.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    /// Bytes of the buffer without a line's end, or up to it.
    scanned: usize,
    /// The length of the buffer below which it is useless to look.
    wanted: usize,
    /// Bytes of a refused request's data that are still to come.
    skip: usize,
    /// A key that was in base64.
    key: Vec<u8>,
}

/// A command line whose data, if it has any, is still to be looked for.
pub(super) enum Line<'a> {
    /// A request without data.
    Request(Request<'a>),
    /// One with data.
    WithData {
        /// The request, its data left out.
        request: Request<'a>,
        /// Bytes of the data.
        data_bytes: usize,
    },
    /// No request, and its data is no request either.
    SkipData {
        /// What is answered.
        refusal: Refusal<'a>,
        /// Bytes of the data.
        data_bytes: usize,
    },
}

impl RequestParser {
    /// A parser at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scanned: 0,
            wanted: 0,
            skip: 0,
            key: Vec::new(),
        }
    }

    /// Changes the limits for what is still to be read.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes allocated for notes between calls.
    pub fn allocated_bytes(&self) -> usize {
        self.key.capacity()
    }

    /// Reads what `buffer` begins with. If the last call found that incomplete, the buffer must begin
    /// with the same bytes.
    #[inline]
    pub fn parse<'a>(&'a mut self, buffer: &'a [u8]) -> Parsed<'a> {
        if self.skip > 0 && !buffer.is_empty() {
            let consumed = self.skip.min(buffer.len());
            self.skip -= consumed;
            return Parsed::Skipped { consumed };
        }
        let wanted = self.wanted.max(1);
        if buffer.len() < wanted {
            return Parsed::Incomplete { wanted };
        }
        let unscanned = &buffer[self.scanned..];
        let Some(newline) = unscanned.iter().position(|byte| *byte == b'\n') else {
            self.scanned = buffer.len();
            if buffer.len() >= self.line_limit(buffer) {
                return Parsed::Hopeless;
            }
            return self.incomplete(buffer.len() + 1);
        };
        let newline = self.scanned + newline;
        if newline >= self.line_limit(buffer) {
            return Parsed::Hopeless;
        }
        self.scanned = newline;
        let line_end = newline + 1;
        let text = &buffer[..newline];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.key.clear();
        let line = if line_end < 4 {
            // Too short for any command and its line's end.
            Err(RequestError::Format.into())
        } else {
            read_line(text, self.limits.max_value_bytes, &mut self.key)
        };
        let (consumed, request) = match line {
            Err(refusal) => (line_end, Err(refusal)),
            Ok(Line::Request(request)) => (line_end, Ok(request)),
            Ok(Line::SkipData {
                refusal,
                data_bytes,
            }) => {
                self.skip = data_bytes + 2;
                (line_end, Err(refusal))
            }
            Ok(Line::WithData {
                request,
                data_bytes,
            }) => {
                let data_end = line_end + data_bytes;
                if buffer.len() < data_end + 2 {
                    self.wanted = data_end + 2;
                    return Parsed::Incomplete {
                        wanted: self.wanted,
                    };
                }
                let request = if &buffer[data_end..data_end + 2] == b"\r\n" {
                    Ok(request.with_data(&buffer[line_end..data_end]))
                } else {
                    Err(Refusal {
                        is_quiet: matches!(request, Request::Store(store) if store.is_quiet),
                        ..RequestError::DataChunk.into()
                    })
                };
                (data_end + 2, request)
            }
        };
        self.scanned = 0;
        self.wanted = 0;
        Parsed::Whole { consumed, request }
    }

    fn incomplete(&mut self, wanted: usize) -> Parsed<'static> {
        self.wanted = wanted;
        Parsed::Incomplete { wanted }
    }

    /// Bytes that the line may have that `buffer` begins with.
    fn line_limit(&self, buffer: &[u8]) -> usize {
        let gets_many = [&b"get "[..], b"gets ", b"gat ", b"gats "]
            .iter()
            .any(|start| buffer.starts_with(start));
        if gets_many {
            self.limits.max_line_bytes
        } else {
            MAX_LINE_BYTES
        }
    }
}

impl<'a> Request<'a> {
    fn with_data(self, data: &'a [u8]) -> Self {
        match self {
            Self::Store(store) => Self::Store(Store { data, ..store }),
            Self::Meta(meta) => Self::Meta(Meta { data, ..meta }),
            other => unreachable!("{other:?} has no data"),
        }
    }
}

/// Reads a decimal number; leading zeros are allowed.
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then_some(())?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// As [`unsigned`], with a sign or without.
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.split_first()? {
        (b'-', digits) => 0_i64.checked_sub_unsigned(unsigned(digits)?),
        (b'+', digits) => unsigned(digits)?.try_into().ok(),
        _ => unsigned(word)?.try_into().ok(),
    }
}

/// The number of bytes that a line says its data has.
pub(super) fn data_length(word: &[u8]) -> Option<usize> {
    let bytes = i32::try_from(unsigned(word)?).ok()?;
    usize::try_from(bytes).ok().filter(|_| bytes < i32::MAX - 2)
}

pub(super) fn is_key(key: &[u8]) -> bool {
    key.len() <= MAX_KEY_BYTES
}

/// What the line `text` asks for. A key in base64 is decoded into `decoded`.
fn read_line<'a>(
    text: &'a [u8],
    max_value_bytes: usize,
    decoded: &'a mut Vec<u8>,
) -> Result<Line<'a>, Refusal<'a>> {
    let end = text.iter().position(|byte| *byte == b' ');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let words = Words(rest);
    let request = match name {
        b"get" => get(words, false),
        b"gets" => get(words, true),
        b"gat" => get_and_touch(words, false),
        b"gats" => get_and_touch(words, true),
        b"set" => return store(words, StoreMode::Set, false, max_value_bytes),
        b"add" => return store(words, StoreMode::Add, false, max_value_bytes),
        b"replace" => return store(words, StoreMode::Replace, false, max_value_bytes),
        b"append" => return store(words, StoreMode::Append, false, max_value_bytes),
        b"prepend" => return store(words, StoreMode::Prepend, false, max_value_bytes),
        b"cas" => return store(words, StoreMode::Set, true, max_value_bytes),
        b"mg" | b"ms" | b"md" | b"ma" => {
            return meta::read_line(name, words, max_value_bytes, decoded);
        }
        b"mn" => Ok(Request::MetaNoop),
        b"me" => return meta::read_debug(words, decoded).map(Line::Request),
        b"stats" => Ok(Request::Stats(words)),
        b"version" => Ok(Request::Version),
        b"quit" => Ok(Request::Quit),
        _ => return read_rest(name, words).map(Line::Request),
    };
    Ok(Line::Request(request?))
}

/// Requests that say at their end whether a reply is wanted, also if they are wrong.
fn read_rest<'a>(name: &'a [u8], words: Words<'a>) -> Result<Request<'a>, Refusal<'a>> {
    let is_quiet = is_quiet(words);
    let request = match name {
        b"delete" => delete(words, is_quiet),
        b"incr" => arithmetic(words, false, is_quiet),
        b"decr" => arithmetic(words, true, is_quiet),
        b"touch" => touch(words, is_quiet),
        b"flush_all" => flush_all(words, is_quiet),
        b"verbosity" => match words.iter().next().and_then(unsigned) {
            Some(_) => Ok(Request::Verbosity { is_quiet }),
            None => Err(RequestError::Format),
        },
        b"cache_memlimit" => match words.iter().next().and_then(unsigned) {
            Some(megabytes) => match u32::try_from(megabytes) {
                Ok(megabytes) => Ok(Request::MemoryLimit {
                    megabytes,
                    is_quiet,
                }),
                Err(_) => Err(RequestError::Unknown),
            },
            None => Err(RequestError::Unknown),
        },
        b"shutdown" => Ok(Request::Shutdown),
        b"watch" | b"slabs" | b"lru" | b"lru_crawler" => Err(RequestError::NotSupported),
        _ if words
            .iter()
            .last()
            .is_some_and(|word| word.starts_with(b"HTTP/")) =>
        {
            Ok(Request::Quit)
        }
        _ => Err(RequestError::Unknown),
    };
    request.map_err(|error| Refusal {
        is_quiet,
        ..error.into()
    })
}

fn is_quiet(words: Words<'_>) -> bool {
    let text = words.0.trim_ascii_end();
    text.ends_with(b" noreply")
}

fn get(keys: Words<'_>, wants_cas: bool) -> Result<Request<'_>, RequestError> {
    if keys.split_first().is_none() || !keys.iter().all(is_key) {
        return Err(RequestError::Format);
    }
    Ok(Request::Get {
        keys,
        wants_cas,
        exptime: None,
    })
}

fn get_and_touch(words: Words<'_>, wants_cas: bool) -> Result<Request<'_>, RequestError> {
    let (exptime, keys) = words.split_first().ok_or(RequestError::Format)?;
    if keys.split_first().is_none() {
        return Err(RequestError::Format);
    }
    let exptime = signed(exptime).ok_or(RequestError::Exptime)?;
    let Request::Get { .. } = get(keys, wants_cas)? else {
        return Err(RequestError::Format);
    };
    Ok(Request::Get {
        keys,
        wants_cas,
        exptime: Some(exptime),
    })
}

fn store<'a>(
    words: Words<'a>,
    mode: StoreMode,
    has_cas: bool,
    max_value_bytes: usize,
) -> Result<Line<'a>, Refusal<'a>> {
    let mut parts = words.iter();
    let (Some(key), Some(flags), Some(exptime), Some(bytes)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(RequestError::Format.into());
    };
    let data_bytes = data_length(bytes).ok_or(RequestError::Format)?;
    let is_quiet = is_quiet(words);
    let skip = |error, outdated| {
        Ok(Line::SkipData {
            refusal: Refusal {
                error,
                is_quiet,
                outdated,
            },
            data_bytes,
        })
    };
    let cas = if has_cas {
        match parts.next().and_then(unsigned) {
            None => return skip(RequestError::Format, None),
            cas => cas,
        }
    } else {
        None
    };
    let flags = unsigned(flags).and_then(|flags| u32::try_from(flags).ok());
    let (Some(flags), Some(exptime), true) = (flags, signed(exptime), is_key(key)) else {
        return skip(RequestError::Format, None);
    };
    if data_bytes > max_value_bytes {
        let replaces = mode == StoreMode::Set && !has_cas;
        return skip(RequestError::TooLarge, replaces.then_some(key));
    }
    Ok(Line::WithData {
        request: Request::Store(Store {
            mode,
            key,
            flags,
            exptime,
            cas,
            data: &[],
            is_quiet,
        }),
        data_bytes,
    })
}

fn delete(words: Words<'_>, is_quiet: bool) -> Result<Request<'_>, RequestError> {
    match words.iter().next() {
        Some(key) if is_key(key) => Ok(Request::Delete { key, is_quiet }),
        _ => Err(RequestError::Format),
    }
}

fn arithmetic(
    words: Words<'_>,
    is_decrement: bool,
    is_quiet: bool,
) -> Result<Request<'_>, RequestError> {
    let mut words = words.iter();
    let (Some(key), Some(delta)) = (words.next(), words.next()) else {
        return Err(RequestError::Format);
    };
    if !is_key(key) {
        return Err(RequestError::Format);
    }
    Ok(Request::Arithmetic {
        key,
        delta: unsigned(delta).ok_or(RequestError::Delta)?,
        is_decrement,
        is_quiet,
    })
}

fn touch(words: Words<'_>, is_quiet: bool) -> Result<Request<'_>, RequestError> {
    let mut words = words.iter();
    let (Some(key), Some(exptime)) = (words.next(), words.next()) else {
        return Err(RequestError::Format);
    };
    if !is_key(key) {
        return Err(RequestError::Format);
    }
    Ok(Request::Touch {
        key,
        exptime: signed(exptime).ok_or(RequestError::Exptime)?,
        is_quiet,
    })
}

fn flush_all(words: Words<'_>, is_quiet: bool) -> Result<Request<'_>, RequestError> {
    let when = words.iter().next().filter(|word| *word != b"noreply");
    let when = when.map_or(Some(0), signed).ok_or(RequestError::Exptime)?;
    Ok(Request::FlushAll { when, is_quiet })
}

#[cfg(test)]
mod tests {
    use super::{Limits, Parsed, RequestParser};

    fn parser() -> RequestParser {
        RequestParser::new(Limits {
            max_value_bytes: 100,
            max_line_bytes: 5_000,
        })
    }

    /// What a stream comes to, if it is read in pieces that end at `cuts`: each result as text.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut parser = parser();
        let (mut results, mut begin) = (Vec::new(), 0);
        let mut skipped = 0;
        for end in cuts.iter().copied().chain([stream.len()]) {
            loop {
                let buffer = &stream[begin..end];
                match parser.parse(buffer) {
                    Parsed::Incomplete { wanted } => {
                        assert!(wanted > buffer.len(), "more is wanted than is there");
                        break;
                    }
                    Parsed::Skipped { consumed } => {
                        skipped += consumed;
                        begin += consumed;
                    }
                    Parsed::Hopeless => {
                        results.push("hopeless".to_owned());
                        return results;
                    }
                    Parsed::Whole { consumed, request } => {
                        results.push(format!("{skipped} {request:?}"));
                        skipped = 0;
                        begin += consumed;
                    }
                }
            }
        }
        results
    }

    #[test]
    fn a_request_comes_to_the_same_wherever_it_is_cut() {
        let long_get = [&b"get "[..], &b"key ".repeat(900), b"\r\n"].concat();
        let streams: &[&[u8]] = &[
            b"get a\r\nget a  b c \nset k 1 -2 3\r\n\r\n\x00\r\nversion\r\n",
            b"set k 0 0 3 noreply\r\nabcd\r\nset k x 0 3\r\nabc\r\nset k 0 0 101\r\n",
            b"cas k 7 0 0 18446744073709551615\r\n\r\ncas k 7 0 2 x\r\nab\r\ngats 10 k l\r\n",
            b"mg Zm9v b v t k Oabc\r\nms k 2 T30 F7 MA N5\r\nhi\r\nma k D5 J13 N0 MD\r\nmn\r\n",
            b"ms k 3 MX\r\nabc\r\nms k 3 v v\r\nabc\r\nmd k I x E9\r\nme k b\r\nmg k ?\r\n",
            b"\r\n\na\r\nbogus\r\nbogus noreply\r\nGET / HTTP/1.1\r\n",
            b"flush_all\r\nflush_all 10 noreply\r\nflush_all x\r\nverbosity 1\r\nquit\r\n",
            &long_get,
        ];
        for stream in streams {
            let whole = read(stream, &[]);
            assert!(!whole.is_empty());
            for cut in 0..stream.len().min(400) {
                assert_eq!(read(stream, &[cut]), whole, "cut at {cut}");
            }
            let every: Vec<usize> = (0..stream.len()).collect();
            assert_eq!(read(stream, &every), whole, "byte by byte");
        }
    }

    #[test]
    fn data_of_a_value_that_is_too_large_is_read_over_and_not_kept() {
        let mut parser = parser();
        let Parsed::Whole { consumed, request } = parser.parse(b"set k 0 0 2000000000\r\n") else {
            panic!("a whole line");
        };
        assert_eq!(consumed, 22);
        let refusal = request.expect_err("too large");
        assert_eq!(refusal.outdated, Some(&b"k"[..]));
        assert_eq!(parser.parse(b"abc"), Parsed::Skipped { consumed: 3 });
    }

    #[test]
    fn a_line_without_end_is_hopeless() {
        assert_eq!(parser().parse(&[b'x'; 2048]), Parsed::Hopeless);
        let mut line = vec![b'x'; 2049];
        line.push(b'\n');
        assert_eq!(parser().parse(&line), Parsed::Hopeless);
        line[..4].copy_from_slice(b"get ");
        assert!(matches!(parser().parse(&line), Parsed::Whole { .. }));
        assert!(matches!(
            parser().parse(&line[..2048]),
            Parsed::Incomplete { .. }
        ));
        assert_eq!(parser().parse(&b"get ".repeat(1250)), Parsed::Hopeless);
    }
}
