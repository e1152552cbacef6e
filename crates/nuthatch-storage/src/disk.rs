//! A directory on a disk, as far as storage needs one.
//!
//! A trait, because the tests' disk is in memory and loses what a real one may lose. What holds of every
//! disk:
//!
//! - What was appended is on the disk for good once [`DiskFile::sync`] has returned. Before that a crash may
//!   keep any part of it, sector by sector, in any order.
//! - After `sync` has failed, what was appended since the last one that succeeded may be lost, also if a later
//!   one succeeds: the system may have dropped it. It has to be written again, elsewhere.
//! - A name that was created, renamed or removed is so for good once [`Disk::sync_names`] has returned.

pub mod real;
#[cfg(feature = "simulation")]
pub mod simulated;

use std::fmt;
use std::io::{self, Read};

/// A directory, and the files in it by their names.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The names of all files but the one by which the directory is claimed, if there is one; in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// A new, empty file; an error if there is one of this name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file, to be appended to or cut.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file, to be read from its beginning.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// The length of an existing file, in bytes.
    fn len(&self, name: &str) -> io::Result<u64>;

    /// Gives a file another name, in place of what had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names as they are now last.
    fn sync_names(&self) -> io::Result<()>;

    /// Claims the directory for this process until the claim is dropped; `None` if another has it. Ends with
    /// the process, however that ends.
    fn lock(&self) -> io::Result<Option<Box<dyn Claim>>>;
}

/// A directory that is claimed as long as this exists.
pub trait Claim: fmt::Debug + Send + Sync {}

/// A file that is appended to.
pub trait DiskFile: fmt::Debug + Send {
    /// Appends all of `bytes`. After an error any part of them may have been appended.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended last.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file off after so many bytes, and appends there from now on.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}
