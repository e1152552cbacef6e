//! Moves in from Redis or Valkey: an RDB file becomes the first snapshot of a directory.
//!
//! The file is read from beginning to end, once, and the snapshot is written as it goes, so memory holds no more
//! than the longest value. The snapshot gets its name when the file was read to its end and its checksum was
//! right. Before that, and after any error, the directory holds nothing.

use crate::hash;
use crate::object::Object;
use nuthatch::Item;
use nuthatch_storage::StorageError;
use nuthatch_storage::data_dir::{DataDir, Sizes};
use nuthatch_storage::record::{Field, RecordWriter};
use nuthatch_storage::snapshot::{SnapshotInfo, SnapshotWriter};
use nuthatch_wire::rdb;
use nuthatch_wire::rdb::file::{Content, Dialect, Entry, Event, FileError, FileReader};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::BufRead;

/// So much is written at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// After so many bytes what was written is synced, so that the end is not one long sync.
const SYNC_EVERY_BYTES: u64 = 32 << 20;

const MAX_NAME_BYTES: usize = Item::<Object>::MAX_KEY_LEN;
/// With its key, a value is one record of one block, which has 32 bits for its length.
const MAX_VALUE_BYTES: usize = u32::MAX as usize - 2 * MAX_NAME_BYTES;

/// What is to be imported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// The database whose keys are; without one, the file must have keys of database 0 alone.
    pub database: Option<u64>,
    /// Whether keys that the server cannot hold are left out, rather than an error.
    pub skips_unsupported: bool,
}

impl Choice {
    fn database(&self) -> u64 {
        self.database.unwrap_or(0)
    }
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What was counted.
    pub tally: Tally,
    /// The snapshot that it is now.
    pub snapshot: SnapshotInfo,
    /// Whose format the file had.
    pub dialect: Dialect,
    /// Which version of it.
    pub version: u16,
    /// The version of the server that wrote it, if it said so.
    pub writer: Option<String>,
    /// How many libraries of functions the file had besides.
    pub function_libraries: u64,
}

/// Keys by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys that hold a string.
    pub strings: u64,
    /// Keys that hold a hash.
    pub hashes: u64,
    /// The fields of these.
    pub fields: u64,
    /// Keys whose time was over.
    pub keys_over: u64,
    /// Fields whose time was over, of hashes that have others.
    pub fields_over: u64,
    /// Keys that the server cannot hold, by what is the matter.
    pub unsupported: BTreeMap<Unsupported, u64>,
    /// The number of keys of each database.
    pub databases: BTreeMap<u64, u64>,
}

/// Why the server cannot hold a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unsupported {
    /// It does not have its type, which has this name.
    #[error("of type {0}")]
    Type(String),
    /// The key is too long.
    #[error("with a name longer than {MAX_NAME_BYTES} bytes")]
    LongName,
    /// The string is too long.
    #[error("with a string longer than {MAX_VALUE_BYTES} bytes")]
    LongString,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is at fault.
    #[error("{0}. Nothing was imported")]
    File(#[from] FileError),
    /// The directory is.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The directory is not empty.
    #[error("it holds data already: an import needs a new or empty directory. Nothing was changed")]
    HoldsData,
    /// The file has keys of databases that were not chosen, and nobody said that they may be left out.
    #[error(
        "the server has one keyspace, and the file has databases {}; --database N takes one of them. Nothing \
         was imported",
        list(databases, |database, keys| format!("{database} ({keys} keys)"))
    )]
    Databases {
        /// The number of keys of each.
        databases: BTreeMap<u64, u64>,
    },
    /// The file has keys that the server cannot hold.
    #[error(
        "the server has no place for {} of the file's keys: {}; --skip-unsupported leaves them out. Nothing was \
         imported",
        unsupported.values().sum::<u64>(),
        list(unsupported, |what, keys| format!("{keys} {what}"))
    )]
    Unsupported {
        /// Their number, by what is the matter.
        unsupported: BTreeMap<Unsupported, u64>,
    },
    /// A field of a hash is longer than the server can hold.
    #[error(
        "a hash has a field of {bytes} bytes, which is more than the server can hold. Nothing was imported"
    )]
    FieldTooLarge {
        /// The length of its name and value.
        bytes: usize,
    },
}

fn list<K: Display>(counts: &BTreeMap<K, u64>, word: impl Fn(&K, u64) -> String) -> String {
    let words = counts.iter().map(|(what, &keys)| word(what, keys));
    words.collect::<Vec<_>>().join(", ")
}

/// Makes the keys of an RDB file, as they are at `now_ms`, the first snapshot of a directory.
pub fn import(
    mut file: FileReader<impl BufRead>,
    dir: &DataDir,
    choice: Choice,
    now_ms: u64,
) -> Result<Imported, ImportError> {
    if dir.sizes()? != Sizes::default() {
        return Err(ImportError::HoldsData);
    }
    let mut loader = Loader {
        out: Blocks {
            writer: dir.begin_snapshot(0, now_ms)?,
            records: Vec::new(),
            count: 0,
            unsynced_bytes: 0,
        },
        choice,
        now_ms,
        tally: Tally::default(),
        hash: None,
    };
    while let Some(event) = file.next()? {
        match event {
            Event::Entry(entry) => loader.entry(entry)?,
            Event::Fields(fields) => loader.fields(&fields)?,
        }
    }
    loader.end_hash();
    loader.check()?;
    let Loader { out, tally, .. } = loader;
    Ok(Imported {
        tally,
        snapshot: out.finish()?,
        dialect: file.dialect(),
        version: file.version(),
        writer: file.writer().map(str::to_owned),
        function_libraries: file.function_libraries(),
    })
}

/// A file on its way into a snapshot.
#[derive(Debug)]
struct Loader {
    out: Blocks,
    choice: Choice,
    now_ms: u64,
    tally: Tally,
    /// The hash whose fields come, if it is one that is taken.
    hash: Option<Hash>,
}

#[derive(Debug)]
struct Hash {
    key: Vec<u8>,
    deadline_ms: Option<u64>,
    fields: u64,
    fields_over: u64,
}

impl Loader {
    fn entry(&mut self, entry: Entry) -> Result<(), ImportError> {
        self.end_hash();
        *self.tally.databases.entry(entry.database).or_default() += 1;
        if entry.database != self.choice.database() {
            return Ok(());
        }
        if !hash::is_live(entry.deadline_ms, self.now_ms) {
            self.tally.keys_over += 1;
            return Ok(());
        }
        let unsupported = match &entry.content {
            Content::Other(type_name) => Some(Unsupported::Type(type_name.to_string())),
            _ if entry.key.len() > MAX_NAME_BYTES => Some(Unsupported::LongName),
            Content::String(string) if string.len() > MAX_VALUE_BYTES => {
                Some(Unsupported::LongString)
            }
            Content::String(_) | Content::Hash(_) => None,
        };
        if let Some(what) = unsupported {
            *self.tally.unsupported.entry(what).or_default() += 1;
            return Ok(());
        }
        match entry.content {
            Content::String(string) => {
                self.tally.strings += 1;
                self.write(|out| out.put(&entry.key, &[&string], false, entry.deadline_ms))
            }
            Content::Hash(fields) => {
                self.hash = Some(Hash {
                    key: entry.key,
                    deadline_ms: entry.deadline_ms,
                    fields: 0,
                    fields_over: 0,
                });
                self.fields(&fields)
            }
            Content::Other(_) => unreachable!("it was found to be unsupported"),
        }
    }

    /// Takes a part of a hash.
    fn fields(&mut self, fields: &[rdb::Field<Vec<u8>>]) -> Result<(), ImportError> {
        let now_ms = self.now_ms;
        let Some(mut hash) = self.hash.take() else {
            return Ok(());
        };
        let live = fields
            .iter()
            .filter(|field| hash::is_live(field.deadline_ms, now_ms))
            .map(|field| Field {
                name: &field.name,
                value: &field.value,
                deadline_ms: field.deadline_ms,
            });
        for field in live.clone() {
            if field.name.len() > MAX_NAME_BYTES || field.value.len() > MAX_VALUE_BYTES {
                let bytes = field.name.len() + field.value.len();
                return Err(ImportError::FieldTooLarge { bytes });
            }
        }
        let live_count = live.clone().count() as u64;
        if live_count > 0 {
            let (key, deadline_ms) = (&hash.key, hash.deadline_ms);
            let is_first = hash.fields == 0;
            self.write(|out| {
                if is_first {
                    out.put_hash(key, live, deadline_ms);
                } else {
                    out.hash_set(key, live);
                }
            })?;
        }
        hash.fields += live_count;
        hash.fields_over += fields.len() as u64 - live_count;
        self.hash = Some(hash);
        Ok(())
    }

    /// Counts the hash whose last field has come. One that never had any does not exist.
    fn end_hash(&mut self) {
        match self.hash.take() {
            Some(hash) if hash.fields > 0 => {
                self.tally.hashes += 1;
                self.tally.fields += hash.fields;
                self.tally.fields_over += hash.fields_over;
            }
            Some(hash) if hash.fields_over > 0 => self.tally.keys_over += 1,
            Some(_) | None => {}
        }
    }

    /// Whether this is an import, once all was read.
    fn check(&self) -> Result<(), ImportError> {
        let Tally {
            databases,
            unsupported,
            ..
        } = &self.tally;
        let has_wanted = databases.contains_key(&self.choice.database());
        if self.has_unchosen() || !has_wanted && !databases.is_empty() {
            let databases = databases.clone();
            return Err(ImportError::Databases { databases });
        }
        if self.has_unsupported() {
            let unsupported = unsupported.clone();
            return Err(ImportError::Unsupported { unsupported });
        }
        Ok(())
    }

    /// Whether there are keys of databases that may not be left out.
    fn has_unchosen(&self) -> bool {
        let mut databases = self.tally.databases.keys();
        self.choice.database.is_none() && databases.any(|&database| database != 0)
    }

    /// Whether there are keys that cannot be held, and may not be left out.
    fn has_unsupported(&self) -> bool {
        !self.choice.skips_unsupported && !self.tally.unsupported.is_empty()
    }

    fn write(&mut self, record: impl FnOnce(&mut RecordWriter<'_>)) -> Result<(), ImportError> {
        // What will be refused is read on, to be counted.
        if !self.has_unchosen() && !self.has_unsupported() {
            self.out.write(record)?;
        }
        Ok(())
    }
}

/// Records on their way into a snapshot.
#[derive(Debug)]
struct Blocks {
    writer: SnapshotWriter,
    /// Not written yet.
    records: Vec<u8>,
    count: u64,
    unsynced_bytes: u64,
}

impl Blocks {
    fn write(&mut self, record: impl FnOnce(&mut RecordWriter<'_>)) -> Result<(), StorageError> {
        let before_bytes = self.records.len();
        record(&mut RecordWriter::new(&mut self.records));
        // What does not fit with the records before it gets a block of its own.
        if self.count > 0 && self.records.len() > BLOCK_BYTES {
            let last = self.records.split_off(before_bytes);
            self.flush()?;
            self.records.extend(last);
        }
        self.count += 1;
        if self.records.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        if self.count == 0 {
            return Ok(());
        }
        self.writer.records(&self.records, self.count)?;
        self.unsynced_bytes += self.records.len() as u64;
        self.records.clear();
        // One huge value must not keep its memory until the end.
        self.records.shrink_to(2 * BLOCK_BYTES);
        self.count = 0;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.writer.sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<SnapshotInfo, StorageError> {
        self.flush()?;
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, ImportError, Imported, Unsupported, import};
    use fastrand::Rng;
    use nuthatch_storage::StorageError;
    use nuthatch_storage::data_dir::{DataDir, RecoverySink};
    use nuthatch_storage::disk::Disk;
    use nuthatch_storage::disk::simulated::SimulatedDisk;
    use nuthatch_storage::record::{self, Record};
    use nuthatch_wire::rdb::file::{FileError, FileReader};
    use nuthatch_wire::rdb::{Field, dump_hash, dump_string};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const NOW_MS: u64 = 1_000_000;
    /// Version and checksum behind a dumped value.
    const FOOTER_BYTES: usize = 10;

    /// An RDB file that is being made.
    struct File(Vec<u8>);

    impl File {
        fn new() -> Self {
            Self(b"REDIS0012".to_vec())
        }

        fn select(mut self, database: u8) -> Self {
            self.0.extend([0xfe, database]);
            self
        }

        fn value(mut self, key: &[u8], dumped: &[u8], deadline_ms: Option<u64>) -> Self {
            if let Some(ms) = deadline_ms {
                self.0.push(0xfc);
                self.0.extend(ms.to_le_bytes());
            }
            let value = &dumped[..dumped.len() - FOOTER_BYTES];
            self.0.push(value[0]);
            self.0
                .push(u8::try_from(key.len()).expect("a short key") & 0x3f);
            self.0.extend(key);
            self.0.extend(&value[1..]);
            self
        }

        fn string(self, key: &str, value: &[u8], deadline_ms: Option<u64>) -> Self {
            self.value(key.as_bytes(), &dump_string(value), deadline_ms)
        }

        fn hash(self, key: &str, fields: &[Field<&[u8]>], deadline_ms: Option<u64>) -> Self {
            self.value(key.as_bytes(), &dump_hash(fields), deadline_ms)
        }

        fn set(mut self, key: &str) -> Self {
            self.0
                .extend([2, u8::try_from(key.len()).expect("a short key")]);
            self.0.extend(key.as_bytes());
            self.0.extend(b"\x01\x01m");
            self
        }

        /// Its bytes, with a checksum that was not computed.
        fn end(self) -> Vec<u8> {
            [&*self.0, b"\xff", &[0; 8]].concat()
        }
    }

    fn field<'a>(name: &'a str, value: &'a [u8], deadline_ms: Option<u64>) -> Field<&'a [u8]> {
        Field {
            name: name.as_bytes(),
            value,
            deadline_ms,
        }
    }

    fn open(disk: &SimulatedDisk) -> DataDir {
        DataDir::open(Arc::new(disk.clone())).expect("a free directory")
    }

    fn run(file: &[u8], disk: &SimulatedDisk, choice: Choice) -> Result<Imported, ImportError> {
        import(FileReader::new(file)?, &open(disk), choice, NOW_MS)
    }

    const SKIPPING: Choice = Choice {
        database: None,
        skips_unsupported: true,
    };

    fn disk() -> SimulatedDisk {
        SimulatedDisk::new(Rng::with_seed(7))
    }

    type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

    #[derive(Debug, Default, PartialEq)]
    struct Keys {
        strings: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
        hashes: BTreeMap<Vec<u8>, (Fields, Option<u64>)>,
        longest_block: usize,
    }

    impl RecoverySink for Keys {
        fn begin(&mut self, _total_bytes: u64) {}

        fn snapshot_records(&mut self, time_ms: u64, records: Vec<u8>) -> Result<(), StorageError> {
            assert_eq!(time_ms, NOW_MS);
            self.longest_block = self.longest_block.max(records.len());
            let mut rest = &*records;
            let own = |fields: record::Fields<'_>| -> Fields {
                let own = |field: record::Field<'_>| {
                    let value = (field.value.to_vec(), field.deadline_ms);
                    (field.name.to_vec(), value)
                };
                fields.iter().map(own).collect()
            };
            while !rest.is_empty() {
                match Record::take(&mut rest)? {
                    Record::Put {
                        key,
                        value,
                        is_changed: false,
                        deadline_ms,
                    } => {
                        let value = (value.to_vec(), deadline_ms);
                        assert!(self.strings.insert(key.to_vec(), value).is_none());
                    }
                    Record::PutHash {
                        key,
                        fields,
                        deadline_ms,
                    } => {
                        let value = (own(fields), deadline_ms);
                        assert!(self.hashes.insert(key.to_vec(), value).is_none());
                    }
                    Record::HashSet { key, fields } => {
                        let (held, _) = self.hashes.get_mut(key).expect("it was put before");
                        held.extend(own(fields));
                    }
                    other => panic!("no import writes {other:?}"),
                }
            }
            Ok(())
        }

        fn log_records(&mut self, _: u64, _: Vec<u8>) -> Result<(), StorageError> {
            panic!("there is no log")
        }

        fn progress(&mut self, _bytes: u64) {}
    }

    fn recovered(disk: &SimulatedDisk) -> Keys {
        let mut keys = Keys::default();
        let recovered = open(disk).recover(&mut keys).expect("what was imported");
        assert!(recovered.snapshot.is_some());
        keys
    }

    fn holds_nothing(disk: &SimulatedDisk) -> bool {
        let names = disk.names().expect("a disk without faults");
        names.iter().all(|name| name == "lock")
    }

    #[test]
    fn keys_are_recovered_as_the_file_had_them() {
        let large = vec![b'x'; 1 << 20];
        let file = File::new()
            .string("a", b"1", None)
            .string("large", &large, Some(2 * NOW_MS))
            .string("", b"", None)
            .hash(
                "h",
                &[field("n", b"v", None), field("m", &large, Some(2 * NOW_MS))],
                None,
            )
            .end();
        let disk = disk();
        let imported = run(&file, &disk, Choice::default()).expect("a whole file");
        assert_eq!(
            (
                imported.tally.strings,
                imported.tally.hashes,
                imported.tally.fields
            ),
            (3, 1, 2)
        );
        assert_eq!((imported.snapshot.at, imported.snapshot.records), (0, 4));
        let keys = recovered(&disk);
        let string = |key: &str| &keys.strings[key.as_bytes()];
        assert_eq!(*string("a"), (b"1".to_vec(), None));
        assert_eq!(*string("large"), (large.clone(), Some(2 * NOW_MS)));
        assert_eq!(*string(""), (vec![], None));
        let fields = [
            (b"n".to_vec(), (b"v".to_vec(), None)),
            (b"m".to_vec(), (large, Some(2 * NOW_MS))),
        ];
        assert_eq!(keys.hashes[&b"h"[..]], (Fields::from(fields), None));
    }

    #[test]
    fn a_large_hash_comes_over_in_parts_and_many_keys_in_blocks() {
        let names: Vec<String> = (0..30_000).map(|n| format!("field {n}")).collect();
        // Of the first part nothing is left.
        let fields: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| {
                field(
                    name,
                    b"value",
                    Some(if n < 20_000 { NOW_MS } else { 2 * NOW_MS }),
                )
            })
            .collect();
        let mut file = File::new().hash("h", &fields, Some(3 * NOW_MS));
        for n in 0..20_000 {
            file = file.string(&n.to_string(), &[b'x'; 40], None);
        }
        let disk = disk();
        let imported = run(&file.end(), &disk, Choice::default()).expect("a whole file");
        assert_eq!(
            (imported.tally.fields, imported.tally.fields_over),
            (10_000, 20_000)
        );
        let keys = recovered(&disk);
        assert_eq!(keys.strings.len(), 20_000);
        let (held, deadline_ms) = &keys.hashes[&b"h"[..]];
        assert_eq!((held.len(), *deadline_ms), (10_000, Some(3 * NOW_MS)));
        assert!(keys.longest_block < 1 << 20, "{}", keys.longest_block);
    }

    #[test]
    fn what_is_over_is_left_out_and_counted() {
        let file = File::new()
            .string("over", b"1", Some(NOW_MS))
            .string("not over", b"1", Some(NOW_MS + 1))
            .hash("over too", &[field("n", b"v", None)], Some(1))
            .hash(
                "all fields over",
                &[field("n", b"v", Some(NOW_MS)), field("m", b"v", Some(1))],
                None,
            )
            .hash(
                "one over",
                &[field("n", b"v", Some(NOW_MS)), field("m", b"v", None)],
                None,
            )
            .value(b"empty", &[&[4, 0][..], &[0; FOOTER_BYTES]].concat(), None)
            .end();
        let disk = disk();
        let tally = run(&file, &disk, Choice::default())
            .expect("a whole file")
            .tally;
        assert_eq!((tally.strings, tally.hashes, tally.fields), (1, 1, 1));
        assert_eq!((tally.keys_over, tally.fields_over), (3, 1));
        let keys = recovered(&disk);
        assert!(keys.strings.keys().eq([b"not over"]) && keys.hashes.keys().eq([b"one over"]));
    }

    #[test]
    fn keys_of_other_types_are_an_error_unless_they_may_be_left_out() {
        let file = File::new().set("s").string("a", b"1", None).set("t").end();
        let disk = disk();
        let error = run(&file, &disk, Choice::default()).expect_err("sets");
        assert!(
            error
                .to_string()
                .contains("2 of the file's keys: 2 of type set"),
            "{error}"
        );
        assert!(holds_nothing(&disk));
        let imported = run(&file, &disk, SKIPPING).expect("they may be left out");
        let sets = (Unsupported::Type("set".into()), 2);
        assert_eq!(imported.tally.unsupported, BTreeMap::from([sets]));
        assert!(recovered(&disk).strings.keys().eq([b"a"]));
    }

    #[test]
    fn one_database_is_taken_and_which_is_said_if_there_are_more() {
        let several = File::new()
            .string("a", b"of 0", None)
            .select(3)
            .string("a", b"of 3", None)
            .set("s")
            .end();
        let of_database = |database| Choice {
            database,
            ..SKIPPING
        };
        for database in [None, Some(1)] {
            let disk = disk();
            let error = run(&several, &disk, of_database(database)).expect_err("which?");
            let text = error.to_string();
            assert!(text.contains("databases 0 (1 keys), 3 (2 keys)"), "{text}");
            assert!(holds_nothing(&disk));
        }
        for (database, value) in [(0, b"of 0"), (3, b"of 3")] {
            let disk = disk();
            let imported = run(&several, &disk, of_database(Some(database))).expect("a choice");
            assert_eq!(imported.tally.databases, BTreeMap::from([(0, 1), (3, 2)]));
            assert_eq!(recovered(&disk).strings[&b"a"[..]], (value.to_vec(), None));
        }
        let only_another = File::new().select(3).string("a", b"1", None).end();
        let error = run(&only_another, &disk(), Choice::default()).expect_err("which?");
        assert!(matches!(error, ImportError::Databases { .. }), "{error}");
        let nothing = File::new().end();
        for database in [None, Some(5)] {
            let disk = disk();
            run(&nothing, &disk, of_database(database)).expect("an empty file");
            assert_eq!(recovered(&disk), Keys::default());
        }
    }

    #[test]
    fn a_damaged_file_leaves_nothing_behind() {
        let file = File::new().string("a", &[7; 1 << 20], None).end();
        for length in [9, 20, 1 << 19, file.len() - 9, file.len() - 1] {
            let disk = disk();
            let error = run(&file[..length], &disk, Choice::default()).expect_err("a cut");
            assert!(
                matches!(error, ImportError::File(FileError::CutOff { .. })),
                "{error}"
            );
            assert!(holds_nothing(&disk));
        }
        let mut wrong = file;
        *wrong.last_mut().expect("it is not empty") = 1;
        let disk = disk();
        let error = run(&wrong, &disk, Choice::default()).expect_err("a wrong checksum");
        assert!(
            matches!(error, ImportError::File(FileError::Checksum { .. })),
            "{error}"
        );
        assert!(holds_nothing(&disk));
    }

    #[test]
    fn a_directory_with_data_is_refused_and_left_alone() {
        let disk = disk();
        let first = File::new().string("a", b"1", None).end();
        let second = File::new().string("a", b"2", None).end();
        run(&first, &disk, Choice::default()).expect("an empty directory");
        let error = run(&second, &disk, Choice::default()).expect_err("it holds data");
        assert!(matches!(error, ImportError::HoldsData), "{error}");
        assert_eq!(recovered(&disk).strings[&b"a"[..]], (b"1".to_vec(), None));
    }

    #[test]
    fn after_any_error_of_the_disk_the_import_can_be_repeated() {
        let mut file = File::new();
        for n in 0..2_000 {
            file = file.string(&n.to_string(), &[b'x'; 1_000], None);
        }
        let file = file.end();
        let well = disk();
        run(&file, &well, Choice::default()).expect("a disk without faults");
        let mut failures = 0;
        for operations in 0..well.operations() {
            let disk = disk();
            disk.fail_after(operations);
            let dir = DataDir::open(Arc::new(disk.clone()));
            let result = dir.map(|dir| {
                let reader = FileReader::new(&*file).expect("a right beginning");
                import(reader, &dir, Choice::default(), NOW_MS)
            });
            let is_imported = matches!(result, Ok(Ok(_)));
            failures += u32::from(!is_imported);
            // The name of a snapshot may be there though it is not sure to stay.
            if !is_imported && !has_snapshot(&disk) {
                run(&file, &disk, Choice::default()).expect("the disk is well again");
            }
            assert_eq!(recovered(&disk).strings.len(), 2_000, "after {operations}");
        }
        assert!(failures > 10, "{failures} failures");
    }

    fn has_snapshot(disk: &SimulatedDisk) -> bool {
        let names = disk.names().expect("a disk without faults");
        names.iter().any(|name| name.ends_with(".nuts"))
    }
}
