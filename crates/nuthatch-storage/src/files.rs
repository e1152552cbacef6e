//! The files of a directory: what they are called, and how each begins.
//!
//! All begin alike, in every version of the format, so that an older program can say which version it met:
//!
//! ```text
//! | magic 8 | version 4 | CRC-32C of these twelve bytes 4 |
//! ```

use crate::error::StorageError;
use crate::{Sequence, disk::Disk};
use std::io::{self, Read};

/// The bytes with which files of all kinds and versions begin.
pub(crate) const PREAMBLE_BYTES: usize = 16;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// What held at a time.
    Snapshot,
    /// A part of the log.
    Segment,
}

impl FileKind {
    /// As in PNG: bytes that are not text, and line ends of both kinds, so that a transfer that takes the file
    /// for text damages the very first bytes.
    pub(crate) fn magic(self) -> [u8; 8] {
        match self {
            Self::Snapshot => *b"\x89NUTD\r\n\x1a",
            Self::Segment => *b"\x89NUTL\r\n\x1a",
        }
    }

    /// The version of the format that this program writes, and the newest that it reads.
    pub fn version(self) -> u32 {
        match self {
            Self::Snapshot | Self::Segment => 1,
        }
    }

    fn affixes(self) -> (&'static str, &'static str) {
        match self {
            Self::Snapshot => ("snapshot-", ".nuts"),
            Self::Segment => ("log-", ".nutl"),
        }
    }

    /// The name of the file that begins at `sequence`.
    pub fn name(self, sequence: Sequence) -> String {
        let (prefix, suffix) = self.affixes();
        format!("{prefix}{sequence:020}{suffix}")
    }

    /// The kind of the file of this name, and the sequence at which it begins; `None` if no file of a data
    /// directory is called so.
    pub fn of_name(name: &str) -> Option<(Self, Sequence)> {
        match FileName::of(name) {
            FileName::Complete(kind, sequence) => Some((kind, sequence)),
            FileName::Temporary | FileName::Foreign => None,
        }
    }

    /// The name that it has until it is complete.
    pub(crate) fn temporary_name(self, sequence: Sequence) -> String {
        self.name(sequence) + TEMPORARY
    }

    fn sequence(self, name: &str) -> Option<Sequence> {
        let (prefix, suffix) = self.affixes();
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let are_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Twenty digits can say more than 64 bits can.
        digits.parse().ok().filter(|_| are_digits)
    }

    pub(crate) fn preamble(self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&self.magic());
        bytes[8..12].copy_from_slice(&self.version().to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The version that a file's first bytes name, if they are whole and of this kind.
    pub(crate) fn version_of(self, preamble: &[u8]) -> Result<u32, &'static str> {
        let preamble: &[u8; PREAMBLE_BYTES] = preamble
            .first_chunk()
            .ok_or("it ends within its first sixteen bytes")?;
        if preamble[..8] != self.magic() {
            return Err("it does not begin as a file of its name does");
        }
        let at = |at: usize| u32::from_le_bytes(*preamble[at..].first_chunk().expect("16 bytes"));
        if crc32c::crc32c(&preamble[..12]) != at(12) {
            return Err("the checksum of its version differs");
        }
        Ok(at(8))
    }
}

const TEMPORARY: &str = ".tmp";

/// What a name in the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// A complete file, and where it begins.
    Complete(FileKind, Sequence),
    /// A file that was not completed.
    Temporary,
    /// None of ours.
    Foreign,
}

impl FileName {
    pub(crate) fn of(name: &str) -> Self {
        let parse = |name| {
            [FileKind::Snapshot, FileKind::Segment]
                .into_iter()
                .find_map(|kind| Some((kind, kind.sequence(name)?)))
        };
        if let Some((kind, sequence)) = parse(name) {
            return Self::Complete(kind, sequence);
        }
        match name.strip_suffix(TEMPORARY).and_then(parse) {
            Some(_) => Self::Temporary,
            None => Self::Foreign,
        }
    }
}

/// What there is in a directory, by names alone.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Where the snapshots begin, in order.
    pub(crate) snapshots: Vec<Sequence>,
    /// Where the segments begin, in order.
    pub(crate) segments: Vec<Sequence>,
    /// The names of files that were not completed.
    pub(crate) temporary: Vec<String>,
    /// Other names.
    pub(crate) foreign: Vec<String>,
}

impl Inventory {
    pub(crate) fn take(disk: &dyn Disk) -> Result<Self, StorageError> {
        let mut inventory = Self::default();
        let mut names = disk
            .names()
            .map_err(StorageError::io("list", "the directory"))?;
        names.sort_unstable();
        for name in names {
            match FileName::of(&name) {
                FileName::Complete(FileKind::Snapshot, at) => inventory.snapshots.push(at),
                FileName::Complete(FileKind::Segment, at) => inventory.segments.push(at),
                FileName::Temporary => inventory.temporary.push(name),
                FileName::Foreign => inventory.foreign.push(name),
            }
        }
        Ok(inventory)
    }

    /// All complete files.
    pub(crate) fn complete(&self) -> impl Iterator<Item = (FileKind, Sequence)> + '_ {
        let of = |kind| move |&sequence: &Sequence| (kind, sequence);
        self.snapshots
            .iter()
            .map(of(FileKind::Snapshot))
            .chain(self.segments.iter().map(of(FileKind::Segment)))
    }
}

/// Refuses a directory in which a newer program has written.
pub(crate) fn refuse_newer(disk: &dyn Disk, inventory: &Inventory) -> Result<(), StorageError> {
    for (kind, sequence) in inventory.complete() {
        let name = kind.name(sequence);
        let mut preamble = Vec::with_capacity(PREAMBLE_BYTES);
        disk.read(&name)
            .and_then(|file| file.take(PREAMBLE_BYTES as u64).read_to_end(&mut preamble))
            .map_err(StorageError::io("read", &name))?;
        match kind.version_of(&preamble) {
            Ok(found) if found > kind.version() => {
                return Err(StorageError::NewerVersion {
                    file: name,
                    found,
                    max: kind.version(),
                });
            }
            // What is damaged is somebody else's to say: here it is only about who wrote it.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(disk: &dyn Disk, name: &str) -> Result<(), StorageError> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", name)(error))
        }
        _ => Ok(()),
    }
}
