//! What the log's thread does each time that it looks: takes what waits in the journal, writes it as one
//! frame, syncs when the policy says so, and tells who waits.

use super::{Batch, Durability, Journal, LogOrder, Outcome};
use crate::clock;
use crate::config::{DiskErrorRule, SyncPolicy};
use nuthatch_storage::disk::Disk;
use nuthatch_storage::log::LogWriter;
use nuthatch_storage::record::take_record;
use nuthatch_storage::{FileKind, Sequence, StorageError};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How long what waits to be written gathers, if nobody waits for it.
const GATHER_MS: u64 = 20;
/// The age of what is not synced at which it is, with `everysec`. The rest of the second is for the disk.
const SYNC_AT_MS: u64 = 300;
/// A frame ends with the record that brings it to so many bytes. What was taken from the journal goes on in the
/// next then, as one group.
const FRAME_BYTES: usize = 64 << 20;
/// When a write that has failed is tried again.
const RETRY_MS: u64 = 100;
/// Over how many milliseconds the longest sync is told.
const LONGEST_OVER_MS: u64 = 10_000;

/// Whether the log takes what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// It does.
    #[default]
    Well,
    /// The last write has failed, and nothing is lost yet.
    Failing,
    /// Nobody knows what is on the disk.
    Broken,
}

/// See the module's text.
#[derive(Debug)]
pub struct LogKeeper {
    /// `None` while the log is broken.
    writer: Option<LogWriter>,
    /// What is to be written next,
    batch: Batch,
    /// but for so many bytes of it, which are written.
    written_bytes: usize,
    /// Bytes of the segments before the current one.
    former_bytes: u64,
    /// Not before then, by the steady clock, is a write that has failed tried again.
    retry_at_ms: u64,
    /// When syncs were long lately, and how long.
    long_syncs: VecDeque<(u64, u64)>,
    /// The sequence at which the log was begun anew, as long as its snapshot is not written.
    anew: Option<Sequence>,
}

impl LogKeeper {
    /// Keeps the log that `writer` writes, if there is one yet, behind segments of so many bytes.
    pub fn new(writer: Option<LogWriter>, former_bytes: u64) -> Self {
        Self {
            writer,
            batch: Batch::default(),
            written_bytes: 0,
            former_bytes,
            retry_at_ms: 0,
            long_syncs: VecDeque::new(),
            anew: None,
        }
    }

    /// Whether there is no log that counts, so that a snapshot is needed to begin one.
    pub fn is_broken(&self) -> bool {
        self.writer.is_none()
    }

    /// Does what is due. Returns in how many milliseconds something else will be, if nobody rings before;
    /// `None` if nothing will.
    pub fn step(&mut self, durability: &Durability, now_ms: u64) -> Option<u64> {
        // Without a log there is nothing to do.
        self.writer.as_ref()?;
        let steady_ms = clock::steady_ms();
        if steady_ms < self.retry_at_ms {
            return Some(self.retry_at_ms - steady_ms);
        }
        let journal = &*durability.journal;
        let policy = durability.policy();
        if self.batch.count == 0
            && let Some((oldest_ms, bytes)) = journal.waiting()
            && (policy == SyncPolicy::Always
                || bytes >= super::journal::MUCH_BYTES
                || steady_ms.saturating_sub(oldest_ms) >= GATHER_MS)
        {
            journal.take(&mut self.batch);
        }
        let oldest_ms = durability.oldest_unsynced_ms.load(Ordering::Acquire);
        let wants_sync = match policy {
            SyncPolicy::Always => true,
            SyncPolicy::EverySec => {
                oldest_ms != 0 && steady_ms.saturating_sub(oldest_ms) >= SYNC_AT_MS
            }
            SyncPolicy::No => false,
        };
        let done = self.write(durability).and_then(|()| {
            if wants_sync {
                self.sync(durability)
            } else {
                Ok(())
            }
        });
        self.settle(durability, &done, now_ms);
        self.next_step_ms(durability)
    }

    fn next_step_ms(&self, durability: &Durability) -> Option<u64> {
        let now_ms = clock::steady_ms();
        // Without a log there is nothing to do.
        self.writer.as_ref()?;
        if now_ms < self.retry_at_ms {
            return Some(self.retry_at_ms - now_ms);
        }
        let policy = durability.policy();
        let waiting = durability.journal.waiting().map(|(oldest_ms, bytes)| {
            let is_now = policy == SyncPolicy::Always || bytes >= super::journal::MUCH_BYTES;
            if is_now {
                now_ms
            } else {
                oldest_ms + GATHER_MS
            }
        });
        let oldest_ms = durability.oldest_unsynced_ms.load(Ordering::Acquire);
        let sync = match policy {
            SyncPolicy::Always | SyncPolicy::EverySec if oldest_ms != 0 => {
                Some(oldest_ms + SYNC_AT_MS)
            }
            _ => None,
        };
        let next_ms = waiting.into_iter().chain(sync).min()?;
        Some(next_ms.saturating_sub(now_ms))
    }

    /// Does what whoever writes a snapshot asks for, in the order of [`LogOrder`].
    pub fn obey(
        &mut self,
        durability: &Durability,
        order: LogOrder,
        now_ms: u64,
    ) -> Result<Sequence, StorageError> {
        match order {
            LogOrder::Begin if self.writer.is_some() => self.rotate(durability, now_ms),
            LogOrder::Begin => self.begin_anew(durability, now_ms),
            LogOrder::Sync => {
                self.write_all(durability, now_ms)?;
                let writer = self.writer.as_ref().ok_or_else(broken)?;
                Ok(writer.synced_sequence())
            }
            LogOrder::Count => {
                self.count(durability, now_ms);
                Ok(durability.journal.end())
            }
            LogOrder::Abandon => {
                self.abandon(durability);
                Ok(durability.journal.end())
            }
        }
    }

    /// Writes all that was left in the journal so far, and syncs it.
    pub fn write_all(&mut self, durability: &Durability, now_ms: u64) -> Result<(), StorageError> {
        let done = self.try_write_all(durability);
        self.settle(durability, &done, now_ms);
        done
    }

    fn try_write_all(&mut self, durability: &Durability) -> Result<(), StorageError> {
        // What was taken before a write failed comes first.
        self.write(durability)?;
        durability.journal.take(&mut self.batch);
        self.write(durability)?;
        self.sync(durability)
    }

    /// Begins a new segment, at the sequence that is returned: all before it was changed in the keyspace
    /// before this was called.
    fn rotate(&mut self, durability: &Durability, now_ms: u64) -> Result<Sequence, StorageError> {
        self.write_all(durability, now_ms)?;
        let writer = self.writer.as_mut().ok_or_else(broken)?;
        let former_bytes = self.former_bytes + writer.segment_bytes();
        let rotated = writer.rotate(now_ms, durability.salt());
        let next = writer.next_sequence();
        if writer.is_broken() {
            self.settle(durability, &rotated, now_ms);
        }
        // After another error the old segment goes on.
        rotated?;
        self.former_bytes = former_bytes;
        self.count_bytes(durability);
        Ok(next)
    }

    /// Begins a log anew: where there is none, or the former has broken. It counts for nothing before there
    /// is a snapshot of the sequence that is returned.
    fn begin_anew(
        &mut self,
        durability: &Durability,
        now_ms: u64,
    ) -> Result<Sequence, StorageError> {
        let first = durability.journal.begin_anew();
        self.anew = Some(first);
        self.batch = Batch::default();
        self.former_bytes = 0;
        self.retry_at_ms = 0;
        let disk = Arc::clone(durability.data.disk());
        match LogWriter::create(disk, first, now_ms, durability.salt()) {
            Ok(writer) => {
                self.writer = Some(writer);
                Ok(first)
            }
            Err(error) => {
                self.abandon(durability);
                Err(error)
            }
        }
    }

    /// The snapshot is written of the sequence at which the current segment has begun: nothing before it
    /// counts any more.
    fn count(&mut self, durability: &Durability, now_ms: u64) {
        self.former_bytes = 0;
        let was_anew = self.anew.take().is_some();
        if !durability.is_logging {
            self.end(durability);
        } else if let (true, Some(writer)) = (was_anew, &self.writer) {
            acknowledge(durability, writer.synced_sequence());
            tracing::info!("the log is whole again, behind a new snapshot");
        }
        self.count_bytes(durability);
        if self.writer.is_some() {
            self.settle(durability, &Ok(()), now_ms);
        }
    }

    /// There will be no snapshot for the log that was begun anew, if one was.
    fn abandon(&mut self, durability: &Durability) {
        let Some(first) = self.anew.take() else {
            return;
        };
        self.end(durability);
        if let Err(error) = remove_unfinished(durability.data.disk(), first) {
            // Without a snapshot the segment counts for nothing, and the next start removes it.
            tracing::warn!(first, %error, "a segment that is of no use could not be removed");
        }
        if durability.is_logging {
            durability.orders.lock().mend = true;
        }
    }

    /// Ends the log. What is in the journal is dropped.
    fn end(&mut self, durability: &Durability) {
        self.writer = None;
        self.batch = Batch::default();
        self.written_bytes = 0;
        durability.status.taken_bytes.store(0, Ordering::Relaxed);
        durability.journal.discard();
        durability.oldest_unsynced_ms.store(0, Ordering::Release);
    }

    fn count_bytes(&self, durability: &Durability) {
        if let Some(writer) = &self.writer {
            let bytes = self.former_bytes + writer.segment_bytes();
            durability.status.log_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn write(&mut self, durability: &Durability) -> Result<(), StorageError> {
        if self.batch.count == 0 {
            return Ok(());
        }
        let writer = self.writer.as_mut().ok_or_else(broken)?;
        let Batch {
            records,
            count,
            time_ms,
            since_ms,
        } = &mut self.batch;
        let oldest_ms = &durability.oldest_unsynced_ms;
        if oldest_ms.load(Ordering::Relaxed) == 0 {
            oldest_ms.store(*since_ms, Ordering::Release);
        }
        let status = &durability.status;
        while *count > 0 {
            let rest = &records[self.written_bytes..];
            let (frame, frame_count) = front(rest, *count, FRAME_BYTES)?;
            let goes_on = frame_count < *count;
            let taken_bytes = rest.len() as u64;
            status.taken_bytes.store(taken_bytes, Ordering::Relaxed);
            writer.write(frame, frame_count, *time_ms, goes_on)?;
            status
                .log_written_bytes
                .fetch_add(frame.len() as u64, Ordering::Relaxed);
            status.log_records.fetch_add(frame_count, Ordering::Relaxed);
            self.written_bytes += frame.len();
            *count -= frame_count;
        }
        records.clear();
        self.written_bytes = 0;
        status.taken_bytes.store(0, Ordering::Relaxed);
        self.count_bytes(durability);
        Ok(())
    }

    fn sync(&mut self, durability: &Durability) -> Result<(), StorageError> {
        if durability.oldest_unsynced_ms.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let writer = self.writer.as_mut().ok_or_else(broken)?;
        let start = Instant::now();
        writer.sync()?;
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let status = &durability.status;
        status.syncs.fetch_add(1, Ordering::Relaxed);
        status.sync_ns.fetch_add(ns, Ordering::Relaxed);
        self.note_sync(durability, ns);
        durability.oldest_unsynced_ms.store(0, Ordering::Release);
        if let (None, Some(writer)) = (self.anew, &self.writer) {
            acknowledge(durability, writer.synced_sequence());
        }
        Ok(())
    }

    fn note_sync(&mut self, durability: &Durability, ns: u64) {
        let now_ms = clock::steady_ms();
        let long = &mut self.long_syncs;
        while long.back().is_some_and(|(_, other)| *other <= ns) {
            long.pop_back();
        }
        long.push_back((now_ms, ns));
        while long
            .front()
            .is_some_and(|(ms, _)| ms + LONGEST_OVER_MS < now_ms)
        {
            long.pop_front();
        }
        let longest = long.front().map_or(ns, |(_, ns)| *ns);
        durability
            .status
            .sync_max_ns
            .store(longest, Ordering::Relaxed);
    }

    /// Draws the consequences of a write or sync.
    fn settle(&mut self, durability: &Durability, done: &Result<(), StorageError>, now_ms: u64) {
        match done {
            Ok(()) => {
                if self.writer.is_some() && self.anew.is_none() {
                    self.retry_at_ms = 0;
                    durability.set_health(Health::Well);
                    durability.status.set_last_write(Outcome::Well);
                }
            }
            Err(error) => {
                durability.fail("the log could not be written", error, now_ms);
                durability
                    .status
                    .set_last_write(Outcome::Failed(error.to_string()));
                let is_broken = self.writer.as_ref().is_none_or(LogWriter::is_broken);
                let serves = durability.settings.lock().rule == DiskErrorRule::Serve;
                if is_broken || serves {
                    self.give_up(durability);
                } else {
                    durability.set_health(Health::Failing);
                    self.retry_at_ms = clock::steady_ms() + RETRY_MS;
                }
            }
        }
        durability.review();
    }

    /// Ends the log: a snapshot has to take its place.
    fn give_up(&mut self, durability: &Durability) {
        if durability.is_logging {
            // Before anything is dropped: whoever has left what was dropped finds it so.
            durability.set_health(Health::Broken);
        }
        self.end(durability);
        if durability.is_logging {
            durability.orders.lock().mend = true;
            durability.orders_changed.notify_all();
        }
    }
}

/// The records at the beginning of `records` that go into one frame, which the one that brings it to `frame_bytes`
/// ends, and their number; `count` is that of all.
fn front(records: &[u8], count: u64, frame_bytes: usize) -> Result<(&[u8], u64), StorageError> {
    if records.len() <= frame_bytes {
        return Ok((records, count));
    }
    let (mut rest, mut taken) = (records, 0);
    while taken == 0 || records.len() - rest.len() < frame_bytes && taken < count {
        take_record(&mut rest)?;
        taken += 1;
    }
    Ok((&records[..records.len() - rest.len()], taken))
}

/// Removes the segment that a log was begun anew with, and before it what there may be of its snapshot: that may
/// be there though it could not be finished, and must not be without its log.
fn remove_unfinished(disk: &Arc<dyn Disk>, first: Sequence) -> io::Result<()> {
    let names = disk.names()?;
    for kind in [FileKind::Snapshot, FileKind::Segment] {
        let name = kind.name(first);
        if names.contains(&name) {
            disk.remove(&name)?;
            disk.sync_names()?;
        }
    }
    Ok(())
}

fn broken() -> StorageError {
    StorageError::Broken {
        file: "the log".to_owned(),
    }
}

/// Tells those who wait that what is before `synced` is on the disk.
fn acknowledge(durability: &Durability, synced: Sequence) {
    let journal: &Journal = &durability.journal;
    journal.set_synced(synced);
    for worker in durability.observers.post.workers() {
        if worker.awaits_sync.take() {
            worker.mailbox.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::front;
    use nuthatch_storage::record::{self, RecordWriter};

    #[test]
    fn frames_are_cut_between_records_and_hold_all_of_them() {
        let mut records = Vec::new();
        let mut writer = RecordWriter::new(&mut records);
        for length in [0, 1, 10, 1000, 3, 0, 70] {
            writer.put(b"key", &[&vec![7; length]], false, None);
        }
        for frame_bytes in [1, 12, 20, 1000, 2000] {
            let (mut rest, mut left) = (&records[..], 7);
            let mut frames = 0;
            while left > 0 {
                let (frame, count) = front(rest, left, frame_bytes).expect("records");
                assert_eq!(record::count(frame), Ok(count));
                // All but the last record are below the bound.
                assert!(count == 1 || frame.len() < frame_bytes + 1010);
                rest = &rest[frame.len()..];
                left -= count;
                frames += 1;
            }
            assert!(rest.is_empty());
            let expected = if frame_bytes == 1 { 7 } else { frames };
            assert_eq!(frames, expected);
        }
        assert_eq!(
            front(&records, 7, records.len())
                .map(|(_, count)| count)
                .ok(),
            Some(7)
        );
    }
}
