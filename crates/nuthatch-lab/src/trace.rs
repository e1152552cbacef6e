//! Traces: what a cache was asked for, request by request.
//!
//! A trace is read whole, whatever it was written in, and its keys are renumbered 0, 1, 2, ... in
//! order of first appearance. So keys are *dense*: a trace of `n` unique keys uses exactly `0..n`,
//! and whoever replays one may index arrays by key. Or it is streamed, for who samples it, and then
//! nothing of it is kept and keys are hashes. The formats' readers are the same for both: functions
//! from bytes to requests, which a sink takes. [`Source`] finds out which one a text on the
//! command line asks for.

mod block_text;
mod csv;
mod ctr;
mod oracle_general;
mod synthetic;

pub use block_text::{read_arc, read_lirs};
pub use csv::{Column, ColumnError, Columns, read_csv};
pub use ctr::{CtrReader, read_ctr, write_ctr};
pub use oracle_general::read_oracle_general;
pub use synthetic::Synthetic;
pub(crate) use synthetic::Zipf;

use crate::reference::NEVER;
use crate::simulate::key_hash;
use foldhash::quality::FixedState;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use thiserror::Error;

/// The first bytes of a zstd frame and of a gzip file.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
/// The made-up clock of traces that have none: so many requests a second.
const REQUESTS_PER_S: u64 = 1_000;
/// The seed of the hashes that stand for text keys in [`Source::stream`].
const TEXT_SEED: u64 = 0x7EC7;
/// Requests of a block that goes from the thread that reads to the one that looks: they fit the
/// cache of one core. And how many such blocks may wait.
const BLOCK_REQUESTS: usize = 4096;
const WAITING_BLOCKS: usize = 4;
/// Bytes that are read or decompressed at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// One request of a trace: a read-through `get` that loads and inserts on a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key's number, in order of first appearance in the trace.
    pub key: u64,
    /// Seconds since the trace's first request.
    pub time_s: u32,
    /// Bytes of the object, at least 1. Where a key's size changes, that of this request.
    pub size: u32,
    /// Time to live in seconds, 0 for none.
    pub ttl_s: u32,
}

/// A request of a trace that is streamed: [`Source::stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// A hash of what the trace calls the key, the same each time.
    pub hash: u64,
    /// As in [`Request`].
    pub size: u32,
}

/// Why a trace cannot be read.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The bytes are not of the format they were read as.
    #[error("not a {format} trace: {reason}")]
    Foreign {
        /// The format that was expected.
        format: &'static str,
        /// What gave it away.
        reason: &'static str,
    },
    /// The input ends too early.
    #[error("the trace is truncated after {requests} whole requests")]
    Truncated {
        /// Requests that were read before the end.
        requests: u64,
    },
    /// The input was damaged: a checksum does not match, or it cannot be decompressed.
    #[error("the trace is damaged, noticed after {requests} requests")]
    Damaged {
        /// Requests that were read before the damage was noticed.
        requests: u64,
        /// What the decompressor says.
        source: io::Error,
    },
    /// A request breaks a rule of the format.
    #[error("request {index} breaks the format: {reason}")]
    Malformed {
        /// The request's position, from 0.
        index: u64,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A line of a text format cannot be understood.
    #[error("line {line}: {reason}")]
    Line {
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is nothing to replay.
    #[error("the trace holds no request")]
    Empty,
    /// The input could not be read at all.
    #[error("cannot read the trace")]
    Io(#[from] io::Error),
}

impl TraceError {
    /// What a failed read means: decompressors report damage as errors of the kind `Other`, and an
    /// early end of their input as that of `UnexpectedEof`.
    fn reading(source: io::Error, requests: u64) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated { requests },
            io::ErrorKind::Other => Self::Damaged { requests, source },
            _ => Self::Io(source),
        }
    }
}

/// A whole trace in memory.
#[derive(Clone, Debug)]
pub struct Trace {
    name: String,
    requests: Vec<Request>,
    keys: u64,
    bytes: u64,
    next_uses: OnceLock<Box<[u64]>>,
}

impl Trace {
    /// A trace of these requests, whose keys must be dense.
    ///
    /// # Panics
    /// If a key appears before a smaller one has.
    pub fn new(name: impl Into<String>, requests: Vec<Request>) -> Self {
        let mut sizes = Vec::new();
        for request in &requests {
            let key = usize::try_from(request.key).expect("keys are dense numbers");
            assert!(
                key <= sizes.len(),
                "keys are numbered in order of first appearance"
            );
            match sizes.get_mut(key) {
                Some(size) => *size = u64::from(request.size),
                None => sizes.push(u64::from(request.size)),
            }
        }
        let keys = sizes.len() as u64;
        Self {
            name: name.into(),
            requests,
            keys,
            bytes: sizes.iter().sum(),
            next_uses: OnceLock::new(),
        }
    }

    /// The trace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The requests, in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// For each request the position of the next one for the same key, or [`NEVER`]. Found out
    /// once, when it is first asked for.
    pub fn next_uses(&self) -> &[u64] {
        self.next_uses.get_or_init(|| {
            let mut uses = vec![NEVER; self.keys as usize];
            let mut next_uses = vec![NEVER; self.requests.len()].into_boxed_slice();
            for (index, request) in self.requests.iter().enumerate().rev() {
                let next = std::mem::replace(&mut uses[request.key as usize], index as u64);
                next_uses[index] = next;
            }
            next_uses
        })
    }

    /// Unique keys.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes of all unique objects, each by its last size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether objects have sizes; without, each is of one byte.
    pub fn has_sizes(&self) -> bool {
        self.bytes > self.keys
    }
}

/// The traces made up on the spot, as they are named.
const SYNTHETIC: &str = "zipf:ALPHA:KEYS:REQUESTS, scan:ALPHA:KEYS:REQUESTS, loop:KEYS:REQUESTS";

/// A format that a trace file may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// This project's own: [`read_ctr`].
    Ctr,
    /// libCacheSim's binary format: [`read_oracle_general`].
    OracleGeneral,
    /// Comma-separated values: [`read_csv`].
    Csv,
    /// The text format of the ARC paper's traces: [`read_arc`].
    Arc,
    /// The text format of the LIRS paper's traces: [`read_lirs`].
    Lirs,
}

impl Format {
    const ALL: [Self; 5] = [
        Self::Ctr,
        Self::OracleGeneral,
        Self::Csv,
        Self::Arc,
        Self::Lirs,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ctr => "ctr",
            Self::OracleGeneral => "oracle",
            Self::Csv => "csv",
            Self::Arc => "arc",
            Self::Lirs => "lirs",
        }
    }

    /// The endings of file names that tell the format, before any `.zst`.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Ctr => &[".ctr"],
            Self::OracleGeneral => &[".oracleGeneral.bin", ".oracleGeneral", ".bin"],
            Self::Csv => &[".csv"],
            Self::Arc => &[".lis"],
            Self::Lirs => &[".trc"],
        }
    }

    /// Splits a file's name into the trace's name and the format that its ending tells.
    fn of(file: &str) -> (&str, Option<Self>) {
        let plain = file.strip_suffix(".zst").unwrap_or(file);
        for format in Self::ALL {
            for ending in format.endings() {
                if let Some(name) = plain.strip_suffix(ending) {
                    return (name, Some(format));
                }
            }
        }
        (plain, None)
    }

    /// Reads a trace of this format. All but `.ctr.zst`, which always is, may be compressed with
    /// zstd. `columns` says what a CSV's columns are, where its first line does not.
    pub fn read(
        self,
        input: impl Read,
        columns: Option<&Columns>,
    ) -> Result<Vec<Request>, TraceError> {
        if self == Self::Ctr {
            // Its keys are numbered already.
            return read_ctr(input);
        }
        whole(|feed| self.feed(input, columns, feed))
    }

    fn feed<S: Sink>(
        self,
        input: impl Read,
        columns: Option<&Columns>,
        feed: &mut Feed<'_, S>,
    ) -> Result<(), TraceError> {
        if self == Self::Ctr {
            return ctr::feed(input, feed);
        }
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        if input.fill_buf()?.starts_with(&GZIP_MAGIC) {
            return Err(TraceError::Foreign {
                format: self.name(),
                reason: "it is compressed with gzip; only zstd is read",
            });
        }
        if input.fill_buf()?.starts_with(&ZSTD_MAGIC) {
            let plain = zstd::Decoder::with_buffer(input)?;
            let plain = BufReader::with_capacity(BUFFER_BYTES, plain);
            return self.feed_plain(plain, columns, feed);
        }
        self.feed_plain(input, columns, feed)
    }

    fn feed_plain<S: Sink>(
        self,
        input: impl BufRead,
        columns: Option<&Columns>,
        feed: &mut Feed<'_, S>,
    ) -> Result<(), TraceError> {
        match self {
            Self::Ctr => ctr::feed(input, feed),
            Self::OracleGeneral => oracle_general::feed(input, feed),
            Self::Csv => csv::feed(input, columns, feed),
            Self::Arc => block_text::feed_arc(input, feed),
            Self::Lirs => block_text::feed_lirs(input, feed),
        }
    }
}

/// Where a trace comes from, as a command line names it.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file.
    File {
        /// Its format.
        format: Format,
        /// Where it is.
        path: PathBuf,
    },
    /// A trace made up on the spot.
    Synthetic(Synthetic),
}

/// Why a text names no trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// The file's name does not tell its format.
    #[error(
        "the name of {path:?} does not tell its format: say so in front of it, as in csv:{path}; \
         there are {}; and without a file {SYNTHETIC}",
        Format::ALL.map(Format::name).join(", ")
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// A made-up trace is asked for in a way that makes no sense.
    #[error("{text:?} is not {expected}")]
    Synthetic {
        /// What was given.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(synthetic) = Synthetic::parse(text)? {
            return Ok(Self::Synthetic(synthetic));
        }
        for format in Format::ALL {
            let path = text
                .strip_prefix(format.name())
                .and_then(|rest| rest.strip_prefix(':'));
            if let Some(path) = path {
                return Ok(Self::File {
                    format,
                    path: path.into(),
                });
            }
        }
        match Format::of(text) {
            (_, Some(format)) => Ok(Self::File {
                format,
                path: text.into(),
            }),
            (_, None) => Err(SourceError::UnknownFormat {
                path: text.to_owned(),
            }),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { format, path } => write!(f, "{}:{}", format.name(), path.display()),
            Self::Synthetic(synthetic) => Display::fmt(synthetic, f),
        }
    }
}

impl Source {
    /// The trace of this name in a directory, if there is one, whatever its format.
    pub fn in_directory(directory: &Path, name: &str) -> Option<Self> {
        for format in Format::ALL {
            for ending in format.endings() {
                for compression in [".zst", ""] {
                    let path = directory.join(format!("{name}{ending}{compression}"));
                    if path.is_file() {
                        return Some(Self::File { format, path });
                    }
                }
            }
        }
        None
    }

    /// The name of the trace: the file's, without directory and ending.
    pub fn name(&self) -> String {
        match self {
            Self::File { path, .. } => file_name(path),
            Self::Synthetic(synthetic) => synthetic.to_string(),
        }
    }

    /// Reads the trace, or makes it up. A trace without any request is an error: whoever named it
    /// expects something.
    pub fn load(&self, columns: Option<&Columns>) -> Result<Trace, TraceError> {
        let requests = match self {
            Self::File { format, path } => format.read(File::open(path)?, columns)?,
            Self::Synthetic(synthetic) => synthetic.requests(),
        };
        if requests.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Trace::new(self.name(), requests))
    }

    /// Hands the requests to `take` block by block, and never holds the trace: for those that would
    /// not fit the memory. Keys are not numbered, which would take memory for each, but hashed, so
    /// keys are the same where their hashes are. As with [`load`](Self::load), a trace without any
    /// request is an error.
    ///
    /// `take` runs on a thread of its own, as reading takes about as long as looking.
    pub fn stream(
        &self,
        columns: Option<&Columns>,
        mut take: impl FnMut(&[Streamed]) + Send,
    ) -> Result<(), TraceError> {
        let (filled, to_take) = mpsc::sync_channel::<Vec<Streamed>>(WAITING_BLOCKS);
        // Blocks are used again. There are only so many of them, so this never waits.
        let (taken, spare) = mpsc::sync_channel(WAITING_BLOCKS + 2);
        thread::scope(|scope| {
            scope.spawn(move || {
                for block in to_take {
                    take(&block);
                    // At the end of the trace nobody fills it again.
                    taken.send(block).ok();
                }
            });
            let mut stream = Stream {
                block: Vec::with_capacity(BLOCK_REQUESTS),
                filled,
                spare,
            };
            let mut feed = Feed::new(&mut stream);
            match self {
                Self::File { format, path } => {
                    format.feed(File::open(path)?, columns, &mut feed)?;
                }
                Self::Synthetic(synthetic) => synthetic.feed(&mut feed),
            }
            let requests = feed.requests;
            stream.hand_over();
            if requests == 0 {
                return Err(TraceError::Empty);
            }
            Ok(())
        })
    }

    /// How traces are named, in words for people.
    pub fn naming() -> String {
        let endings = Format::ALL.map(|format| {
            let zst = if format == Format::Ctr { ".zst" } else { "" };
            let endings = format
                .endings()
                .iter()
                .map(|ending| format!("{ending}{zst}"));
            let endings: Vec<_> = endings.collect();
            format!("{} ({})", endings.join(", "), format.name())
        });
        format!(
            "Files that end in {}, all but the first compressed (.zst) or not; any other file with \
             its format in front, as in csv:keys.txt; or made up on the spot: {SYNTHETIC}",
            endings.join(", ")
        )
    }
}

fn file_name(path: &Path) -> String {
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    Format::of(&file).0.to_owned()
}

/// Takes what a reader finds: says what a key is called from here on, and then gets the request.
trait Sink {
    /// The name of a key that the trace gives as a number.
    fn number(&mut self, key: u64) -> u64;

    /// The name of a key that the trace gives as text.
    fn text(&mut self, key: &[u8]) -> u64;

    /// A request, its key by the name just given.
    fn take(&mut self, request: Request);
}

/// Keeps everything, and numbers the keys in order of first appearance.
#[derive(Default)]
struct Whole {
    numbers: HashMap<u64, u64>,
    texts: HashMap<Vec<u8>, u64>,
    requests: Vec<Request>,
}

impl Sink for Whole {
    fn number(&mut self, key: u64) -> u64 {
        let next = self.numbers.len() as u64;
        *self.numbers.entry(key).or_insert(next)
    }

    fn text(&mut self, key: &[u8]) -> u64 {
        if let Some(&number) = self.texts.get(key) {
            return number;
        }
        let number = self.texts.len() as u64;
        self.texts.insert(key.to_owned(), number);
        number
    }

    fn take(&mut self, request: Request) {
        self.requests.push(request);
    }
}

/// Keeps nothing, calls keys by their hashes and hands requests on in blocks.
struct Stream {
    block: Vec<Streamed>,
    filled: SyncSender<Vec<Streamed>>,
    spare: Receiver<Vec<Streamed>>,
}

impl Stream {
    fn hand_over(&mut self) {
        let spare = self.spare.try_recv();
        let mut next = spare.unwrap_or_else(|_| Vec::with_capacity(BLOCK_REQUESTS));
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        // Whoever took the blocks is gone only if it panicked, and the scope passes that on.
        self.filled.send(block).ok();
    }
}

impl Sink for Stream {
    fn number(&mut self, key: u64) -> u64 {
        // A policy that replays the requests must not see the hash that chose them, and does not:
        // it hashes other numbers.
        key_hash(key)
    }

    fn text(&mut self, key: &[u8]) -> u64 {
        let mut hasher = FixedState::with_seed(TEXT_SEED).build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    fn take(&mut self, request: Request) {
        self.block.push(Streamed {
            hash: request.key,
            size: request.size,
        });
        if self.block.len() == BLOCK_REQUESTS {
            self.hand_over();
        }
    }
}

/// Between a reader and a sink: counts the requests and keeps the clock, which it makes up if the
/// format has none.
struct Feed<'a, S> {
    sink: &'a mut S,
    requests: u64,
    start_s: Option<u64>,
    time_s: u32,
}

impl<'a, S: Sink> Feed<'a, S> {
    fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            requests: 0,
            start_s: None,
            time_s: 0,
        }
    }

    /// The time of the next request of a trace without a clock.
    fn made_up_s(&self) -> u32 {
        (self.requests / REQUESTS_PER_S) as u32
    }

    /// A request of a trace that has keys only.
    fn key(&mut self, key: u64) {
        let request = Request {
            key: self.sink.number(key),
            time_s: self.made_up_s(),
            size: 1,
            ttl_s: 0,
        };
        self.take(request);
    }

    fn take(&mut self, request: Request) {
        self.requests += 1;
        self.time_s = request.time_s;
        self.sink.take(request);
    }

    /// Seconds since the first request for one at `time_s`, which is nothing if time runs
    /// backwards or too far.
    fn since_start(&mut self, time_s: u64) -> Option<u32> {
        let start = *self.start_s.get_or_insert(time_s);
        let time_s = u32::try_from(time_s.checked_sub(start)?).ok()?;
        (time_s >= self.time_s).then_some(time_s)
    }
}

/// Reads a whole trace with one of the formats' readers.
fn whole(
    read: impl FnOnce(&mut Feed<'_, Whole>) -> Result<(), TraceError>,
) -> Result<Vec<Request>, TraceError> {
    let mut whole = Whole::default();
    read(&mut Feed::new(&mut whole))?;
    Ok(whole.requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_by_its_ending_or_by_its_prefix() {
        let format = |text: &str| match text.parse().unwrap() {
            Source::File { format, path } => (format, path.display().to_string()),
            Source::Synthetic(synthetic) => panic!("{synthetic:?}"),
        };
        assert_eq!(
            format("a/b.ctr.zst"),
            (Format::Ctr, "a/b.ctr.zst".to_owned())
        );
        assert_eq!(format("b.bin").0, Format::OracleGeneral);
        assert_eq!(format("b.oracleGeneral.zst").0, Format::OracleGeneral);
        assert_eq!(format("b.csv.zst").0, Format::Csv);
        assert_eq!(format("OLTP.lis").0, Format::Arc);
        assert_eq!(format("loop.trc").0, Format::Lirs);
        assert_eq!(format("csv:keys.log"), (Format::Csv, "keys.log".to_owned()));
        for file in ["keys.log", "keys.txt", "loop.trace.gz", ""] {
            let unknown = file.parse::<Source>().unwrap_err().to_string();
            assert!(unknown.contains(&format!("csv:{file}")), "{unknown}");
        }
    }

    #[test]
    fn the_naming_tells_every_ending_and_every_format() {
        let naming = Source::naming();
        for format in Format::ALL {
            assert!(naming.contains(&format!("({})", format.name())), "{naming}");
            for ending in format.endings() {
                assert!(naming.contains(ending), "{naming}");
            }
        }
    }

    #[test]
    fn gzip_is_told_from_text() {
        let read = Format::Lirs.read(&[0x1F, 0x8B, 8, 0][..], None);
        assert!(matches!(read, Err(TraceError::Foreign { .. })), "{read:?}");
    }

    #[test]
    fn a_trace_is_named_after_its_file() {
        let name = |text: &str| text.parse::<Source>().unwrap().name();
        assert_eq!(name("a/web12.ctr.zst"), "web12");
        assert_eq!(name("w.oracleGeneral.bin.zst"), "w");
        assert_eq!(name("csv:keys.log"), "keys.log");
        assert_eq!(name("loop:10:100"), "loop:10:100");
    }

    #[test]
    fn a_trace_counts_each_object_by_its_last_size() {
        let request = |key, size| Request {
            key,
            time_s: 0,
            size,
            ttl_s: 0,
        };
        let trace = Trace::new("t", vec![request(0, 5), request(1, 7), request(0, 9)]);
        assert_eq!(
            (trace.keys(), trace.bytes(), trace.has_sizes()),
            (2, 16, true)
        );
        assert!(!Trace::new("t", vec![request(0, 1)]).has_sizes());
    }

    #[test]
    fn each_request_knows_the_next_one_for_its_key() {
        let requests = read_lirs(&b"5\n6\n5\n7\n5\n"[..]).unwrap();
        assert_eq!(
            Trace::new("t", requests).next_uses(),
            [2, NEVER, 4, NEVER, NEVER]
        );
    }

    #[test]
    fn compressed_text_is_read_like_plain_text() {
        let text = b"7\n9\n7\n";
        let plain = Format::Lirs.read(&text[..], None).unwrap();
        let zst = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(Format::Lirs.read(zst.as_slice(), None).unwrap(), plain);
        let cut = Format::Lirs.read(&zst[..zst.len() - 1], None);
        assert!(matches!(cut, Err(TraceError::Truncated { .. })), "{cut:?}");
    }
}
