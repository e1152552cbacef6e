//! Writes a snapshot step by step, while everybody else goes on.

use super::records;
use crate::keyspace::Keyspace;
use nuthatch_storage::snapshot::SnapshotWriter;
use nuthatch_storage::{Sequence, StorageError};

/// So much is written at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// After so many bytes what was written is synced, so that the end is not one long sync.
const SYNC_EVERY_BYTES: u64 = 32 << 20;

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSnapshot {
    /// The sequence from which on the log goes on.
    pub at: Sequence,
    /// Its size.
    pub bytes: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Saver<'a> {
    keyspace: &'a Keyspace,
    writer: SnapshotWriter,
    at: Sequence,
    cursor: u64,
    keys: u64,
    block: Block,
    unsynced_bytes: u64,
}

/// Records that are not written yet.
#[derive(Debug, Default)]
struct Block {
    records: Vec<u8>,
    count: u64,
}

impl Block {
    fn write(&mut self, writer: &mut SnapshotWriter) -> Result<(), StorageError> {
        if self.count > 0 {
            writer.records(&self.records, self.count)?;
        }
        self.records.clear();
        // One huge value must not keep its memory until the end.
        self.records.shrink_to(2 * BLOCK_BYTES);
        self.count = 0;
        Ok(())
    }
}

impl<'a> Saver<'a> {
    /// Begins a snapshot that the log goes on with from `at`: all before is in the keyspace.
    pub fn new(keyspace: &'a Keyspace, writer: SnapshotWriter, at: Sequence) -> Self {
        Self {
            keyspace,
            writer,
            at,
            cursor: 0,
            keys: 0,
            block: Block::default(),
            unsynced_bytes: 0,
        }
    }

    /// Keys that the scan has come by.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Comes by about so many more keys. Returns whether all have been come by.
    pub fn step(&mut self, keys_a_step: usize) -> Result<bool, StorageError> {
        let Self {
            keyspace,
            writer,
            block,
            keys,
            ..
        } = self;
        let before_bytes = writer.bytes();
        let mut written = Ok(());
        self.cursor = keyspace.scan(self.cursor, keys_a_step, |view| {
            *keys += 1;
            let mut bytes = block.records.len();
            let Block {
                records: out,
                count,
            } = block;
            records::write_view(&view, out, |out| {
                if out.len() == bytes {
                    return;
                }
                *count += 1;
                if out.len() >= BLOCK_BYTES && written.is_ok() {
                    let mut full = Block {
                        records: std::mem::take(out),
                        count: std::mem::take(count),
                    };
                    written = full.write(writer);
                    *out = full.records;
                }
                bytes = out.len();
            });
        });
        written?;
        let is_end = self.cursor == 0;
        if is_end {
            self.block.write(&mut self.writer)?;
        }
        self.unsynced_bytes += self.writer.bytes() - before_bytes;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.writer.sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(is_end)
    }

    /// Ends the snapshot. All that its scan may have seen must be in the log before `synced`, and synced: else a
    /// crash could leave a state with some of what belongs together and not the rest.
    pub fn finish(mut self, synced: Sequence) -> Result<SavedSnapshot, StorageError> {
        self.writer.needs_log_until(synced);
        let info = self.writer.finish()?;
        Ok(SavedSnapshot {
            at: self.at,
            bytes: info.bytes,
        })
    }
}
