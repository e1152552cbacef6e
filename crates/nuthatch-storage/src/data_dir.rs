//! A server's directory: who has it, what is recovered from it, and what is removed.
//!
//! Recovery reads the newest snapshot and every record of the log from where that was begun. It reads only:
//! whoever lets it run and then goes away has changed nothing. What a crash has left is put right when the log
//! is taken up again, by [`DataDir::begin_log`] or [`DataDir::settle`], and each step of that is such that a crash
//! after it recovers the same records.
//!
//! Removed is what nothing needs any more: what a newer snapshot makes superfluous, files that were not completed,
//! and the log of a snapshot that was not.

mod recovery;

pub(crate) use recovery::recover;
pub use recovery::{Cut, Recovered, RecoverySink};

use crate::Sequence;
use crate::disk::{Claim, Disk};
use crate::error::StorageError;
use crate::files::{FileKind, Inventory, refuse_newer, remove_if_there};
use crate::log::LogWriter;
use crate::snapshot::SnapshotWriter;
use std::io;
use std::sync::Arc;

/// A directory that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    _claim: Box<dyn Claim>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The length of all snapshots together, without one that is being written.
    pub snapshot_bytes: u64,
    /// The length of all segments together.
    pub log_bytes: u64,
}

impl DataDir {
    /// Claims the directory.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::NewerVersion`], [`StorageError::Io`].
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let claim = disk
            .lock()
            .map_err(StorageError::io("claim", "the directory"))?
            .ok_or(StorageError::InUse)?;
        refuse_newer(&*disk, &Inventory::take(&*disk)?)?;
        Ok(Self {
            disk,
            _claim: claim,
        })
    }

    /// Where it is.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Reads everything there is, in order, and passes it to `sink`.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] and [`StorageError::MissingLog`] where going on would lose something that was on
    /// the disk, [`StorageError::Io`], and those of `sink`. Then what it was given is no state that ever held.
    pub fn recover(&self, sink: &mut dyn RecoverySink) -> Result<Recovered, StorageError> {
        recover(&*self.disk, sink)
    }

    /// Removes what is left of what was never completed, and continues the log.
    ///
    /// # Errors
    /// [`StorageError::Io`]: what was recovered is recovered again by the next start.
    pub fn begin_log(
        &self,
        recovered: &Recovered,
        time_ms: u64,
        salt: u64,
    ) -> Result<LogWriter, StorageError> {
        self.clear(recovered)?;
        let disk = Arc::clone(&self.disk);
        match &recovered.tail {
            Some(tail) => LogWriter::follow(disk, tail, recovered.next, time_ms, salt),
            None => LogWriter::begin(disk, recovered.next, time_ms, salt),
        }
    }

    /// As [`begin_log`](Self::begin_log), for servers that do not write a log now. What was recovered stays, with
    /// the end of the log as a segment of its own, after which only a log that begins anew can follow.
    ///
    /// # Errors
    /// As `begin_log`.
    pub fn settle(&self, recovered: &Recovered) -> Result<(), StorageError> {
        let time_ms = recovered.last_time_ms;
        let Some(tail) = &recovered.tail else {
            // It has no frames, so its salt enters nothing.
            return self.begin_log(recovered, time_ms, 0).map(drop);
        };
        if tail.synced == recovered.next && tail.synced_bytes == tail.len {
            return self.clear(recovered);
        }
        // As unknown to whoever chose the records as the salt that it follows from.
        let salt = tail.header.salt.rotate_left(32).wrapping_add(1);
        self.begin_log(recovered, time_ms, salt).map(drop)
    }

    fn clear(&self, recovered: &Recovered) -> Result<(), StorageError> {
        for name in Inventory::take(&*self.disk)?.temporary {
            remove_if_there(&*self.disk, &name)?;
        }
        // From the last on, each removal for good before the next: what is left always begins with the one that
        // says that it begins anew.
        for &first in recovered.abandoned.iter().rev() {
            remove_if_there(&*self.disk, &FileKind::Segment.name(first))?;
            self.sync_names()?;
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        self.disk
            .sync_names()
            .map_err(StorageError::io("sync", "the directory"))
    }

    /// Begins a snapshot of what holds at `at`.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn begin_snapshot(
        &self,
        at: Sequence,
        time_ms: u64,
    ) -> Result<SnapshotWriter, StorageError> {
        SnapshotWriter::begin(Arc::clone(&self.disk), at, time_ms)
    }

    /// Removes the snapshots before that of `at`, and the segments that are superfluous with it.
    ///
    /// # Errors
    /// [`StorageError::NoSnapshot`], [`StorageError::Io`].
    pub fn remove_before(&self, at: Sequence) -> Result<(), StorageError> {
        let Inventory {
            snapshots,
            segments,
            ..
        } = Inventory::take(&*self.disk)?;
        if !snapshots.contains(&at) {
            return Err(StorageError::NoSnapshot { at });
        }
        self.sync_names()?;
        for before in snapshots.into_iter().filter(|&before| before < at) {
            remove_if_there(&*self.disk, &FileKind::Snapshot.name(before))?;
        }
        let needed = segments.partition_point(|&first| first <= at).max(1) - 1;
        for &before in &segments[..needed.min(segments.len())] {
            remove_if_there(&*self.disk, &FileKind::Segment.name(before))?;
        }
        Ok(())
    }

    /// How much there is.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn sizes(&self) -> Result<Sizes, StorageError> {
        let mut sizes = Sizes::default();
        for (kind, sequence) in Inventory::take(&*self.disk)?.complete() {
            let name = kind.name(sequence);
            let bytes = match self.disk.len(&name) {
                // Removed by another thread meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                len => len.map_err(StorageError::io("look at", name))?,
            };
            match kind {
                FileKind::Snapshot => sizes.snapshot_bytes += bytes,
                FileKind::Segment => sizes.log_bytes += bytes,
            }
        }
        Ok(sizes)
    }
}
