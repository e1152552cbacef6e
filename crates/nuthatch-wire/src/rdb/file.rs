//! RDB files, read from beginning to end in little memory: what Redis and Valkey write with `SAVE`.
//!
//! ```text
//!   | "REDIS" and 4 digits, or "VALKEY" and 3 | items .. | 255 | CRC-64 of all before, 8 |
//!   item: | one that describes what follows it, or the file | .. |
//!         | type of a value, 1 | key | value |
//! ```
//!
//! Read are versions 1 to 12 of Redis, which end with Redis 8, and Valkey 9's own. Strings and hashes come out
//! as values; values of other types are skipped and named. A hash comes in parts, so that no more memory is
//! needed than the longest string takes, and a length is believed only as far as its bytes have arrived. The
//! checksum is looked at when all else was read: until [`FileReader::next`] has returned `None`, nothing is
//! known to be right.
//!
//! The format's only description is what Redis' own source reads; its numbers are those of `rdb.h`.

use super::source::{Source, malformed};
use super::value::{self, Begun, HashParts};
use super::{Field, LAST_VERSION, VALKEY_VERSION};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead};

/// The last of Redis' versions whose files have no checksum.
const LAST_VERSION_WITHOUT_CHECKSUM: u16 = 4;

/// About so many bytes of fields are a part of a hash.
const PART_BYTES: usize = 256 * 1024;

/// What an item is, as its first byte, if it is not a key with its value.
mod opcode {
    pub(super) const SLOT_IMPORT: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION_2: u8 = 245;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQ: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE_DB: u8 = 251;
    pub(super) const EXPIRE_TIME_MS: u8 = 252;
    pub(super) const EXPIRE_TIME: u8 = 253;
    pub(super) const SELECT_DB: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// Why a file is refused, and where, in bytes from its beginning.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("it cannot be read on from byte {offset}: {error}")]
    Read {
        /// Where.
        offset: u64,
        /// What the reader said.
        #[source]
        error: io::Error,
    },
    /// It has no end.
    #[error("it is cut off at byte {offset}")]
    CutOff {
        /// Where it ends.
        offset: u64,
    },
    /// It does not begin as RDB files do.
    #[error("it is no RDB file: it begins with neither REDIS nor VALKEY and a version, at byte 0")]
    NotRdb,
    /// It is of a version that is not known.
    #[error(
        "it is of version {version} of {dialect}'s format, at byte 0; versions 1 to 12 of Redis' and 80 of \
         Valkey's are read"
    )]
    Version {
        /// Whose format.
        dialect: Dialect,
        /// The version.
        version: u16,
    },
    /// It makes no sense.
    #[error("it is damaged, or of an unknown kind, at byte {offset}: {what}")]
    Malformed {
        /// Where what makes no sense begins.
        offset: u64,
        /// What is there.
        what: &'static str,
    },
    /// Its checksum is not that of its bytes.
    #[error(
        "it is damaged: the checksum at byte {offset} is {stored:016x}, that of the bytes {computed:016x}"
    )]
    Checksum {
        /// Where the checksum is.
        offset: u64,
        /// What it is.
        stored: u64,
        /// What it should be.
        computed: u64,
    },
    /// Something follows it.
    #[error(
        "it ends at byte {offset}, but more follows; a log of commands behind an RDB part is not read"
    )]
    BytesBehind {
        /// Where it ends.
        offset: u64,
    },
}

/// Whose format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis', which Valkey wrote too before version 9.
    Redis,
    /// Valkey's since version 9.
    Valkey,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// Something that a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key with its value, or with the first part of it.
    Entry(Entry),
    /// More fields of the hash that the last entry's key holds. One may have the name of a field of a part
    /// before, in a file that no server has written; then this one counts.
    Fields(Vec<Field<Vec<u8>>>),
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of its database.
    pub database: u64,
    /// The key.
    pub key: Vec<u8>,
    /// When it expires, in milliseconds since 1970; `None` if never.
    pub deadline_ms: Option<u64>,
    /// What it holds.
    pub content: Content,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A string.
    String(Vec<u8>),
    /// A hash; [`Event::Fields`] may follow. It has no fields at all if a fault of Redis has left it empty:
    /// then the key does not exist.
    Hash(Vec<Field<Vec<u8>>>),
    /// A value of another type, which was skipped: `list`, `set`, `zset`, `stream`, or the name that a module
    /// has given it.
    Other(Cow<'static, str>),
}

/// See the module's text.
#[derive(Debug)]
pub struct FileReader<R> {
    source: Source<R>,
    dialect: Dialect,
    version: u16,
    database: u64,
    /// The hash of which a part was read.
    parts: Option<HashParts>,
    writer: Option<String>,
    function_libraries: u64,
    is_ended: bool,
}

impl<R: BufRead> FileReader<R> {
    /// Reads a file's first bytes.
    pub fn new(read: R) -> Result<Self, FileError> {
        let mut source = Source::with_checksum(read);
        let head: [u8; 9] = source.array().map_err(|error| match error {
            FileError::CutOff { .. } => FileError::NotRdb,
            other => other,
        })?;
        let (dialect, digits) = match &head {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (Dialect::Redis, &digits[..]),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (Dialect::Valkey, &digits[..]),
            _ => return Err(FileError::NotRdb),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(FileError::NotRdb);
        }
        let version = digits
            .iter()
            .fold(0, |version, digit| 10 * version + u16::from(digit - b'0'));
        let is_known = match dialect {
            Dialect::Redis => (1..=LAST_VERSION).contains(&version),
            Dialect::Valkey => version == VALKEY_VERSION,
        };
        if !is_known {
            return Err(FileError::Version { dialect, version });
        }
        Ok(Self {
            source,
            dialect,
            version,
            database: 0,
            parts: None,
            writer: None,
            function_libraries: 0,
            is_ended: false,
        })
    }

    /// Whose format the file has.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Which version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The version of the server that wrote the file, if it said so and that was read already.
    pub fn writer(&self) -> Option<&str> {
        self.writer.as_deref()
    }

    /// How many libraries of functions were skipped.
    pub fn function_libraries(&self) -> u64 {
        self.function_libraries
    }

    /// The number of bytes that were read.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// What comes next; `None` if the file was read to its end and is right. Not to be called again after an
    /// error.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, FileError> {
        if let Some(parts) = &mut self.parts {
            if let Some(fields) = parts.next(&mut self.source, PART_BYTES)? {
                return Ok(Some(Event::Fields(fields)));
            }
            self.parts = None;
        }
        if self.is_ended {
            return Ok(None);
        }
        let mut deadline_ms = None;
        loop {
            let offset = self.source.offset();
            let source = &mut self.source;
            match source.byte()? {
                opcode::END => {
                    self.end()?;
                    return Ok(None);
                }
                opcode::EXPIRE_TIME => {
                    let seconds = i32::from_le_bytes(source.array()?);
                    deadline_ms = Some(since_1970(i64::from(seconds) * 1_000));
                }
                opcode::EXPIRE_TIME_MS => {
                    let ms = i64::from_le_bytes(source.array()?);
                    // So Redis says never.
                    deadline_ms = (ms != -1).then(|| since_1970(ms));
                }
                opcode::FREQ => _ = source.byte()?,
                opcode::IDLE => _ = source.number()?,
                opcode::SELECT_DB => self.database = source.number()?,
                opcode::RESIZE_DB => {
                    let _keys = source.number()?;
                    let _with_deadline = source.number()?;
                }
                opcode::SLOT_INFO => {
                    let _slot = source.number()?;
                    let _keys = source.number()?;
                    let _with_deadline = source.number()?;
                }
                opcode::SLOT_IMPORT if self.dialect == Dialect::Valkey => {
                    source.skip_string()?;
                    for _ in 0..source.number()? {
                        let _first = source.number()?;
                        let _last = source.number()?;
                    }
                }
                opcode::AUX => self.note()?,
                opcode::FUNCTION_2 => {
                    source.skip_string()?;
                    self.function_libraries += 1;
                }
                opcode::MODULE_AUX => {
                    let _module = source.number()?;
                    value::skip_module_parts(source)?;
                }
                kind if !self.knows(kind) => {
                    return Err(malformed(offset, "an unknown type of value or of note"));
                }
                kind => return self.entry(kind, deadline_ms).map(Some),
            }
        }
    }

    /// Whether a type means in this file what [`value`] says it does, or `value` says that it is unknown.
    fn knows(&self, kind: u8) -> bool {
        match kind {
            value::HASH_WITH_DEADLINES => self.dialect == Dialect::Valkey,
            value::HASH_WITH_TIMES | value::HASH_LISTPACK_WITH_TIMES => {
                self.dialect == Dialect::Redis
            }
            other => value::is_type(other),
        }
    }

    fn entry(&mut self, kind: u8, deadline_ms: Option<u64>) -> Result<Event, FileError> {
        let source = &mut self.source;
        let key = source.string()?;
        let content = match value::begin(source, kind)? {
            Begun::String(string) => Content::String(string),
            Begun::Hash(fields) => Content::Hash(fields),
            Begun::HashInParts(mut parts) => {
                let fields = parts.next(source, PART_BYTES)?.unwrap_or_default();
                self.parts = Some(parts);
                Content::Hash(fields)
            }
            Begun::Other(type_name) => Content::Other(type_name),
        };
        Ok(Event::Entry(Entry {
            database: self.database,
            key,
            deadline_ms,
            content,
        }))
    }

    /// Reads what the writer noted on the file.
    fn note(&mut self) -> Result<(), FileError> {
        let name = self.source.string()?;
        if name == b"redis-ver" || name == b"valkey-ver" {
            let version = self.source.string()?;
            self.writer = Some(version.escape_ascii().to_string());
            return Ok(());
        }
        self.source.skip_string()
    }

    fn end(&mut self) -> Result<(), FileError> {
        if self.version > LAST_VERSION_WITHOUT_CHECKSUM {
            let offset = self.source.offset();
            let computed = self.source.checksum();
            let stored = u64::from_le_bytes(self.source.array()?);
            // So a server says that it was told not to compute it.
            if stored != 0 && stored != computed {
                return Err(FileError::Checksum {
                    offset,
                    stored,
                    computed,
                });
            }
        }
        if !self.source.is_at_end()? {
            let offset = self.source.offset();
            return Err(FileError::BytesBehind { offset });
        }
        self.is_ended = true;
        Ok(())
    }
}

/// A time as a deadline. What lies before 1970 is over in any case.
fn since_1970(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Content, Entry, Event, FileError, FileReader};
    use crate::rdb::checksum::crc64;
    use crate::rdb::{Field, value};

    const STRING_A: &[u8] = b"\x00\x01a\x01b";

    /// A file of these items, with an end and a right checksum.
    fn file(head: &[u8], items: &[&[u8]]) -> Vec<u8> {
        let mut file = [head, &items.concat(), b"\xff"].concat();
        file.extend(crc64(&file).to_le_bytes());
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Event>, FileError> {
        let mut reader = FileReader::new(file)?;
        let mut events = Vec::new();
        while let Some(event) = reader.next()? {
            events.push(event);
        }
        assert_eq!(reader.next()?, None);
        Ok(events)
    }

    fn entry(key: &[u8], deadline_ms: Option<u64>, content: Content) -> Event {
        Event::Entry(Entry {
            database: 0,
            key: key.to_vec(),
            deadline_ms,
            content,
        })
    }

    fn string_a(deadline_ms: Option<u64>) -> Event {
        entry(b"a", deadline_ms, Content::String(b"b".to_vec()))
    }

    #[test]
    fn notes_before_a_key_are_its_own() {
        let cases: [(&[u8], Option<u64>); 6] = [
            (b"\xfd\x07\x00\x00\x00", Some(7_000)),
            (b"\xfd\xff\xff\xff\xff", Some(0)),
            (b"\xfc\x07\x00\x00\x00\x00\x00\x00\x00\xf9\x05", Some(7)),
            (b"\xf8\x41\x00\xfc\x07\x00\x00\x00\x00\x00\x00\x00", Some(7)),
            (b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xfc\xfe\xff\xff\xff\xff\xff\xff\xff", Some(0)),
        ];
        for (note, deadline_ms) in cases {
            let file = file(b"REDIS0011", &[note, STRING_A, STRING_A]);
            let expected = vec![string_a(deadline_ms), string_a(None)];
            assert_eq!(read(&file).unwrap(), expected, "{}", note.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        let module_aux: &[u8] = b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x02\x01\x05\x05\x03\
            off\x03....\x04........\x00";
        let of_both: [&[u8]; 5] = [
            b"\xf4\x05\x0a\x03",
            b"\xfb\x05\x80\x00\x01\x00\x00",
            b"\xfa\x03one\xc0\x05",
            b"\xf5\x05redis",
            module_aux,
        ];
        let of_valkey: &[u8] = b"\xf3\x04name\x02\x00\x0a\x41\x00\x41\x07";
        for note in of_both {
            for head in [b"REDIS0012", b"VALKEY080"] {
                let file = file(head, &[note, STRING_A]);
                assert_eq!(read(&file).unwrap(), [string_a(None)]);
            }
        }
        let in_valkey = file(b"VALKEY080", &[of_valkey, STRING_A]);
        assert_eq!(read(&in_valkey).unwrap(), [string_a(None)]);
        let in_redis = read(&file(b"REDIS0012", &[of_valkey, STRING_A])).unwrap_err();
        assert!(
            matches!(in_redis, FileError::Malformed { offset: 9, .. }),
            "{in_redis}"
        );
    }

    #[test]
    fn values_of_old_and_foreign_types_are_read_or_named() {
        let field = |name: &[u8], value: &[u8]| Field {
            name: name.to_vec(),
            value: value.to_vec(),
            deadline_ms: None,
        };
        let zipmap = Content::Hash(vec![field(b"n", b"v1"), field(b"m", b"")]);
        let other = |name: &str| Content::Other(name.to_owned().into());
        // "AAAAAAAAB" and a version.
        let module: &[u8] = b"\x07\x01k\x44\x01\x01\x05\x02\x05\x03.\x00.\x00\x00";
        let cases: [(&[u8], Content); 7] = [
            (
                b"\x09\x01k\x0d\x02\x01n\x02\x01v1.\x01m\x00\x00\xff",
                zipmap,
            ),
            (
                b"\x03\x01k\x03\x01a\x031.5\x01b\xfd\x01c\xff",
                other("zset"),
            ),
            (b"\x01\x01k\x02\xc0\x05\x01a", other("list")),
            (b"\x02\x01k\x01\xc1\x05\x05", other("set")),
            (b"\x0e\x01k\x02\x01.\xc3\x02\x05\x00a", other("list")),
            (b"\x04\x01k\x00", Content::Hash(vec![])),
            (module, other("AAAAAAAAB")),
        ];
        for (item, content) in cases {
            let file = file(b"REDIS0009", &[item, STRING_A]);
            let expected = [entry(b"k", None, content), string_a(None)];
            assert_eq!(read(&file).unwrap(), expected, "{}", item.escape_ascii());
        }
    }

    #[test]
    fn streams_of_all_versions_are_passed_over() {
        let pending = [&[9; 24][..], b"\x05"].concat();
        for (kind, numbers, group_numbers, times) in
            [(15_u8, 3, 2, 1), (19, 8, 3, 1), (21, 8, 3, 2)]
        {
            let item = [
                &[kind][..],
                b"\x01k\x01\x02id\x02lp",
                &vec![7; numbers],
                b"\x01\x05group",
                &vec![7; group_numbers],
                b"\x01",
                &pending,
                b"\x01\x03who",
                &vec![8; 8 * times],
                b"\x01",
                &[9; 16],
            ]
            .concat();
            let file = file(b"REDIS0011", &[&item, STRING_A]);
            let stream = Content::Other("stream".into());
            let expected = [entry(b"k", None, stream), string_a(None)];
            assert_eq!(read(&file).unwrap(), expected, "type {kind}");
        }
    }

    #[test]
    fn versions_without_a_checksum_end_at_their_end() {
        let end = [b"REDIS0004", STRING_A, b"\xff"].concat();
        assert_eq!(read(&end).unwrap(), [string_a(None)]);
        let error = read(&[&*end, b"\0"].concat()).unwrap_err();
        assert!(matches!(error, FileError::BytesBehind { offset: 15 }));
    }

    #[test]
    fn what_is_no_file_or_of_an_unknown_version_is_refused() {
        for bytes in [
            &b""[..],
            b"REDIS",
            b"REDIS000",
            b"redis0009\xff",
            b"REDIS00a9\xff",
            b"VALKEY\x00\x00\x00",
            b"*3\r\n$3\r\nSET\r\n",
        ] {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error, FileError::NotRdb), "{error}");
        }
        for head in [
            b"REDIS0000",
            b"REDIS0013",
            b"REDIS0080",
            b"VALKEY079",
            b"VALKEY081",
        ] {
            let error = read(&file(head, &[])).unwrap_err();
            assert!(matches!(error, FileError::Version { .. }), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_begins() {
        let items: [(&[u8], u64); 12] = [
            (b"\x08\x01k", 9),
            (b"\x16\x01k\x01\x01n\x01v........", 9),
            (b"\x17\x01k", 9),
            (b"\xf6", 9),
            (b"\x06\x01k\x05", 12),
            (b"\x00\x82", 10),
            (b"\x00\x01k\xc4", 12),
            (b"\x00\x01k\xc3\x03\x05\xe0..", 12),
            (b"\x10\x01k\x03abc", 12),
            (b"\x04\x01k\x02\x01n\x01v\x01n\x01w", 13),
            (b"\xfe\xc0\x00", 10),
            (b"\x07\x01k\x05\x09", 13),
        ];
        for (item, expected) in items {
            let error = read(&file(b"REDIS0012", &[item])).unwrap_err();
            let FileError::Malformed { offset, .. } = error else {
                panic!("{}: {error}", item.escape_ascii());
            };
            assert_eq!(offset, expected, "{}: {error}", item.escape_ascii());
        }
        for kind in [value::HASH_WITH_TIMES, value::HASH_LISTPACK_WITH_TIMES] {
            let error = read(&file(b"VALKEY080", &[&[kind]])).unwrap_err();
            assert!(matches!(error, FileError::Malformed { offset: 9, .. }));
        }
    }
}
