//! What can go wrong between a server and its directory, each kind for itself where somebody would act
//! differently on it, with words that say what to do.

use crate::Sequence;
use crate::record::MalformedRecord;
use std::error::Error;
use std::io;

/// What repairs a directory, in the words of whoever runs the server.
const REPAIR: &str = "`nuthatch check DIR` shows what is there, and `nuthatch check DIR --repair` keeps what \
                      can be kept";

/// Why something could not be stored or recovered.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk failed, or is full.
    #[error("cannot {action} {file}: {error}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file's name in the directory, or what else was meant.
        file: String,
        /// What the disk said.
        error: io::Error,
    },
    /// Another process works with the directory.
    #[error("another process uses this directory; each server needs one of its own")]
    InUse,
    /// A newer program wrote the file. Nothing was touched.
    #[error(
        "{file} has format version {found}, and this program knows versions up to {max}: start the newer \
         program that wrote it. Nothing was changed"
    )]
    NewerVersion {
        /// The file's name.
        file: String,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        max: u32,
    },
    /// Bytes are not those that were written.
    #[error("{file} is damaged at byte {offset}: {what}. {REPAIR}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// What does not hold there.
        what: &'static str,
    },
    /// A part of the log is missing.
    #[error(
        "the log is missing from record {from} on{}. {REPAIR}",
        match found {
            Some(found) => format!(", and goes on with record {found}"),
            None => String::new(),
        }
    )]
    MissingLog {
        /// The first record that is missing.
        from: Sequence,
        /// The next record that is there, if there is one.
        found: Option<Sequence>,
    },
    /// There is no such snapshot, so nothing is superfluous because of it.
    #[error("there is no snapshot of record {at}, so nothing before it can be removed")]
    NoSnapshot {
        /// Its sequence.
        at: Sequence,
    },
    /// A sync has failed before. What was written since the one that succeeded last may be lost, and a later
    /// sync would not say so.
    #[error("an earlier sync of {file} failed, so nothing more is written to it")]
    Broken {
        /// The file's name.
        file: String,
    },
    /// More bytes than one frame can hold.
    #[error("a frame of {len} bytes is longer than {max}")]
    TooLarge {
        /// How many they are.
        len: u64,
        /// The most that one takes.
        max: u64,
    },
    /// The directory is not as it was when it was checked, so what was announced may not be what is needed.
    #[error("the directory has changed since it was checked: check it again")]
    Changed,
    /// What was recovered is no record, though its checksums are right.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
    /// What was recovered could not be taken over.
    #[error("what was recovered could not be applied: {0}")]
    Sink(#[source] Box<dyn Error + Send + Sync>),
}

impl StorageError {
    pub(crate) fn io(
        action: &'static str,
        file: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |error| Self::Io {
            action,
            file,
            error,
        }
    }

    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: &'static str) -> Self {
        Self::Damaged {
            file: file.into(),
            offset,
            what,
        }
    }
}
