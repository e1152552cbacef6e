//! What the server keeps on disk: one directory with snapshots and an append log, both of the same
//! [records](record), and how they are written, recovered, checked and repaired.
//!
//! Nothing here knows a socket, a thread or a clock: disks are a trait ([`disk`]), times and random
//! numbers are arguments. `docs/design/persistence-format.md` draws the files byte by byte.
#![forbid(unsafe_code)]

pub mod check;
pub mod data_dir;
pub mod disk;
mod error;
mod files;
pub mod log;
pub mod record;
pub mod snapshot;
pub mod synced;

pub use error::StorageError;
pub use files::FileKind;

/// A place in the stream of all records that a directory has ever got: the number of records before it.
pub type Sequence = u64;
