//! Durability: a snapshot and a log of changes in a directory, and what keeps them.
//!
//! ```text
//!   data threads ── records ──► Journal ──► log thread ──► log-....nutl      one frame a batch, synced by policy
//!        │                                      ▲
//!        │ scan, piece by piece                 │ "begin a new segment here"
//!        ▼                                      │
//!   Keyspace ─────────────────────────────► save thread ─► snapshot-....nuts   then older files are removed
//! ```
//!
//! - **Snapshots** need no fork and stop nobody. The save thread has the log begin a new segment, at sequence
//!   S, and then scans the keyspace while writers go on. What the scan sees is at least as new as S, and what
//!   changes afterwards is in the log from S on; records are absolute, so both together are the state at the
//!   log's end. Before the snapshot counts, the log is synced up to where the scan has ended. Without
//!   `appendonly` there is a log during the scan alone, which is kept with the snapshot.
//! - **Acknowledgement.** With `appendfsync always` the replies of a connection that has written wait until
//!   its changes are synced; its thread serves others meanwhile, and one sync serves all who wait. With
//!   `everysec`, writes wait once the oldest change that is not synced is a second old, so a crash loses the
//!   writes of one second at most, however slow the disk is.
//! - **When the disk fails**, reads go on, and writes are refused, or served unprotected
//!   (`on-disk-error`). A write that failed is tried again. After a sync that failed nobody knows what is on
//!   the disk, so the log ends there, and a new snapshot is written with a new log after it; until then
//!   nothing is acknowledged that a crash could lose, unless the rule says so.
//!
//! What decides is here and in [`LogKeeper`], [`Saver`] and [`load`]; threads, clocks and the disk come from
//! outside, so that tests can stop the world at any point.

mod condition;
mod journal;
mod loading;
mod log;
mod records;
mod snapshot;
mod status;
mod threads;

pub use condition::{Condition, Severity};
use journal::take_evicted;
pub use journal::{Batch, Journal};
pub use loading::{LoadError, Loaded, load};
pub use log::LogKeeper;
pub use snapshot::{SavedSnapshot, Saver};
pub use status::{Admission, Figures, Outcome, Status};
pub use threads::Threads;

use crate::clock;
use crate::config::{Config, DiskErrorRule, SavePoint, SyncPolicy};
use crate::keyspace::Keyspace;
use crate::mailbox::Message;
use crate::observers::Observers;
use crate::watch::Reasons;
use log::Health;
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::log::LogWriter;
use nuthatch_storage::{Sequence, StorageError};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The age of what is not synced at which writes wait, with `everysec`.
const MAX_UNSYNCED_MS: u64 = 1000;
/// What may wait to be written before writes wait too.
const BUFFER_BYTES: u64 = 64 << 20;
/// The part of `maxmemory` that may.
const BUFFER_SHARE: u64 = 16;
/// The point to be synced to of what the log does not have.
const NEVER: Sequence = Sequence::MAX;
/// How long after a snapshot that failed the next one is tried that nobody asks for...
const SAVE_AGAIN_MS: u64 = 5000;
/// ... and if it is to take the place of a log that has broken.
const MEND_AGAIN_MS: u64 = 1000;

/// The settings that are looked at often.
#[derive(Clone, Debug)]
struct Settings {
    policy: SyncPolicy,
    rule: DiskErrorRule,
    save_points: Vec<SavePoint>,
    rewrite_percentage: u64,
    rewrite_min_bytes: u64,
    buffer_bytes: u64,
}

/// What the threads of durability ask of each other.
#[derive(Debug, Default)]
struct Orders {
    /// What the log thread is to do for the save thread.
    asked: Option<LogOrder>,
    /// What became of it.
    done: Option<Result<Sequence, StorageError>>,
    /// Somebody wants a snapshot.
    save: bool,
    /// The log is broken: a snapshot has to take its place.
    mend: bool,
    /// When the next snapshot may be begun that nobody has asked for, by the steady clock.
    not_before_ms: u64,
    /// Snapshots asked for so far, by who waits for one, and how many of these are answered.
    tickets: u64,
    answered: u64,
    /// What became of the last snapshot that was asked for.
    answer: Outcome,
    /// The snapshot that is being written is given up.
    cancel: bool,
    end: bool,
}

/// What whoever writes a snapshot asks of whoever keeps the log: first `Begin`, which gives the sequence of the
/// snapshot; when the scan has ended `Sync`, which gives the sequence that the snapshot needs the log until;
/// then `Count`, if the snapshot is written, and `Abandon`, if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOrder {
    /// Begin a new segment, or a log where there is none that counts.
    Begin,
    /// Write and sync all that there is.
    Sync,
    /// The snapshot is written.
    Count,
    /// The snapshot was not written.
    Abandon,
}

/// What became of a snapshot that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not written yet.
    Pending,
    /// It is.
    Written,
    /// It could not be written, and why.
    Failed(String),
}

/// See the module's text.
#[derive(Debug)]
pub struct Durability {
    data: DataDir,
    directory: String,
    is_logging: bool,
    journal: Arc<Journal>,
    observers: Arc<Observers>,
    settings: Mutex<Settings>,
    /// The number of a [`SyncPolicy`], for those who ask at every write.
    policy: AtomicU64,
    status: Status,
    health: Mutex<Health>,
    /// When the oldest change was made that is written and not synced, by the steady clock; 0: there is none.
    oldest_unsynced_ms: AtomicU64,
    /// Whether no more writes are taken, for the last snapshot is being written.
    is_closing: AtomicBool,
    /// Its ticket; no ticket is as large as that of none.
    closing_ticket: AtomicU64,
    /// Whether the server ends then also if it could not be written.
    closes_anyway: AtomicBool,
    /// Since when writes wait, by the steady clock.
    waiting_since_ms: Mutex<Option<u64>>,
    orders: Mutex<Orders>,
    orders_changed: Condvar,
    salts: Mutex<fastrand::Rng>,
}

impl Durability {
    /// Of a data directory that was claimed, for the keyspace that has this journal. `seed` gives the salts
    /// of the log's segments.
    pub fn new(
        data: DataDir,
        config: &Config,
        max_memory_bytes: u64,
        journal: Arc<Journal>,
        observers: Arc<Observers>,
        now_ms: u64,
        seed: u64,
    ) -> Self {
        let durability = Self {
            data,
            directory: config.data_dir.clone(),
            is_logging: config.logs_changes(),
            journal,
            observers,
            settings: Mutex::new(Settings::of(config, max_memory_bytes)),
            policy: AtomicU64::new(0),
            status: Status::default(),
            health: Mutex::default(),
            oldest_unsynced_ms: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            closing_ticket: AtomicU64::new(u64::MAX),
            closes_anyway: AtomicBool::new(false),
            waiting_since_ms: Mutex::default(),
            orders: Mutex::default(),
            orders_changed: Condvar::new(),
            salts: Mutex::new(fastrand::Rng::with_seed(seed)),
        };
        durability
            .status
            .last_save_ms
            .store(now_ms, Ordering::Relaxed);
        durability.follow(config, max_memory_bytes);
        durability
    }

    /// Takes settings that have changed.
    pub fn follow(&self, config: &Config, max_memory_bytes: u64) {
        let settings = Settings::of(config, max_memory_bytes);
        self.policy.store(settings.policy as u64, Ordering::Relaxed);
        self.journal.set_limit(settings.buffer_bytes);
        *self.settings.lock() = settings;
        // What waits for a sync that the former policy did not want is synced soon.
        self.journal.ring();
    }

    /// Whether changes are logged.
    pub fn is_logging(&self) -> bool {
        self.is_logging
    }

    /// The directory.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    fn policy(&self) -> SyncPolicy {
        SyncPolicy::ALL[self.policy.load(Ordering::Relaxed) as usize]
    }

    fn salt(&self) -> u64 {
        self.salts.lock().u64(..)
    }

    // ---- writes ---------------------------------------------------------------------------

    /// Up to where the log must be synced before what a client has just written is acknowledged; `None` if it
    /// need not wait.
    #[inline]
    pub fn commit_point(&self) -> Option<Sequence> {
        if self.policy() != SyncPolicy::Always || !self.is_logging {
            return None;
        }
        // If the log is well, a snapshot has what was dropped.
        if self.journal.take_dropped() && *self.health.lock() != Health::Well {
            return Some(NEVER);
        }
        let end = self.journal.end();
        (end > self.journal.synced()).then_some(end)
    }

    /// Whether what is before `point` may be acknowledged; `None` if it never will be, for the disk has failed
    /// before it was synced.
    pub fn may_acknowledge(&self, point: Sequence) -> Option<bool> {
        if self.journal.synced() >= point {
            return Some(true);
        }
        match self.status.admission() {
            Admission::Unprotected => Some(true),
            Admission::Refused => None,
            Admission::Open | Admission::Waiting if point == NEVER => None,
            Admission::Open | Admission::Waiting => Some(self.policy() != SyncPolicy::Always),
        }
    }

    /// What writes meet at present.
    pub fn admission(&self) -> Admission {
        self.status.admission()
    }

    /// Why writes are refused, as clients are told.
    pub fn refusal(&self) -> String {
        self.status.refused_writes.fetch_add(1, Ordering::Relaxed);
        let error = self.status.last_error();
        let error = error.map_or_else(|| "unknown".to_owned(), |(text, _)| text);
        format!(
            "MISCONF Errors writing to the data directory: {error}. Writes are refused until the disk \
             takes them again; see on-disk-error."
        )
    }

    /// Decides anew what writes meet. To be called when something may have changed, and several times a
    /// second.
    pub fn review(&self) {
        let now_ms = clock::steady_ms();
        let mut waiting_since_ms = self.waiting_since_ms.lock();
        let admission = self.decide(now_ms);
        if admission == self.status.admission() {
            return;
        }
        self.status.set_admission(admission);
        let holds = matches!(admission, Admission::Waiting | Admission::Refused);
        self.observers.attention.set(Reasons::DISK, holds);
        if let Some(since_ms) = waiting_since_ms.take() {
            let waited_ms = now_ms.saturating_sub(since_ms);
            self.status
                .delayed_ms
                .fetch_add(waited_ms, Ordering::Relaxed);
        }
        if admission == Admission::Waiting {
            *waiting_since_ms = Some(now_ms);
            self.status.delays.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Those who waited for the disk, and those who wait to be acknowledged, look again.
        for worker in self.observers.post.workers() {
            worker.mailbox.send(Message::Resume);
        }
    }

    fn decide(&self, now_ms: u64) -> Admission {
        let settings = self.settings.lock();
        let refused = match settings.rule {
            DiskErrorRule::Refuse => Admission::Refused,
            DiskErrorRule::Serve => Admission::Unprotected,
        };
        if *self.health.lock() != Health::Well {
            return refused;
        }
        let oldest_ms = self.oldest_unsynced_ms();
        let is_late = settings.policy == SyncPolicy::EverySec
            && self.is_logging
            && oldest_ms.is_some_and(|ms| now_ms.saturating_sub(ms) >= MAX_UNSYNCED_MS);
        if is_late || self.journal.is_full() || self.is_closing.load(Ordering::Relaxed) {
            Admission::Waiting
        } else {
            Admission::Open
        }
    }

    /// When the oldest change was made that is not synced, be it written or not, by the steady clock.
    fn oldest_unsynced_ms(&self) -> Option<u64> {
        let written_ms = match self.oldest_unsynced_ms.load(Ordering::Acquire) {
            0 => None,
            ms => Some(ms),
        };
        let waiting_ms = self.journal.waiting().map(|(ms, _)| ms);
        written_ms.into_iter().chain(waiting_ms).min()
    }

    fn set_health(&self, health: Health) {
        *self.health.lock() = health;
    }

    fn fail(&self, what: &'static str, error: &StorageError, now_ms: u64) {
        let text = error.to_string();
        if self
            .status
            .last_error()
            .is_none_or(|(last, _)| last != text)
        {
            tracing::error!(error = text, "{what}");
        }
        self.status.note_error(text, now_ms);
    }

    // ---- snapshots ------------------------------------------------------------------------

    /// Asks for a snapshot to be written soon. Returns a ticket for [`answer`](Self::answer).
    pub fn request_save(&self) -> u64 {
        self.order_save(|_| ())
    }

    /// Asks for a snapshot, and tells `note` of its ticket before it can be written.
    fn order_save(&self, note: impl FnOnce(u64)) -> u64 {
        let mut orders = self.orders.lock();
        orders.save = true;
        orders.tickets += 1;
        let ticket = orders.tickets;
        note(ticket);
        drop(orders);
        self.orders_changed.notify_all();
        ticket
    }

    /// What became of the snapshot that a ticket is for.
    pub fn answer(&self, ticket: u64) -> Answer {
        let orders = self.orders.lock();
        match &orders.answer {
            _ if orders.answered < ticket => Answer::Pending,
            Outcome::Well => Answer::Written,
            Outcome::Failed(error) => Answer::Failed(error.clone()),
        }
    }

    /// Takes no more writes, and asks for the last snapshot, which will have all that there is. Once it is
    /// written, the server is ended; if it cannot be written, only if `forces`.
    pub fn begin_closing(&self, forces: bool) -> u64 {
        self.closes_anyway.store(forces, Ordering::Relaxed);
        self.is_closing.store(true, Ordering::Relaxed);
        self.review();
        self.order_save(|ticket| self.closing_ticket.store(ticket, Ordering::Release))
    }

    /// The snapshot for all tickets up to this one was written, or not. Returns whether the server is to end
    /// now.
    fn close(&self, tickets: u64, is_saved: bool) -> bool {
        // One that was begun before has not all that there is.
        let is_last = tickets >= self.closing_ticket.load(Ordering::Acquire);
        if !self.is_closing() || !is_last {
            return false;
        }
        let ends = is_saved || self.closes_anyway.load(Ordering::Relaxed);
        if !ends {
            tracing::error!("the server does not end, for what it has could not be written");
            self.end_closing();
        }
        ends
    }

    /// Takes writes again: the server does not end after all.
    pub fn end_closing(&self) {
        self.closing_ticket.store(u64::MAX, Ordering::Release);
        self.is_closing.store(false, Ordering::Relaxed);
        self.review();
    }

    /// Whether the last snapshot is being written.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Whether a snapshot is being written, or will be at once.
    pub fn is_saving(&self) -> bool {
        self.status.is_saving.load(Ordering::Relaxed) || self.orders.lock().save
    }

    /// Gives up the snapshot that is being written, or wanted. Returns whether one was.
    pub fn cancel_save(&self) -> bool {
        let mut orders = self.orders.lock();
        // One that has ended is said to have before the lock is taken that forgets this order.
        let is_saving = self.status.is_saving.load(Ordering::Relaxed) || orders.save;
        orders.cancel |= is_saving;
        is_saving
    }

    /// Whether a server that ends now would lose what only a snapshot can keep.
    pub fn needs_save_to_end(&self) -> bool {
        !self.is_logging && self.figures_of_changes() > 0
    }

    fn figures_of_changes(&self) -> u64 {
        let at_save = self.status.changes_at_save.load(Ordering::Relaxed);
        self.journal.changes().saturating_sub(at_save)
    }

    /// Has a snapshot written if the settings say that it is time. To be called several times a second.
    pub fn keep_up(&self, now_ms: u64) {
        self.review();
        if self.status.is_saving.load(Ordering::Relaxed)
            || self.status.is_loading.load(Ordering::Relaxed)
        {
            return;
        }
        let is_due = self.is_save_due(now_ms);
        let mut orders = self.orders.lock();
        if is_due && clock::steady_ms() >= orders.not_before_ms && !orders.save {
            orders.save = true;
            drop(orders);
            self.orders_changed.notify_all();
        }
    }

    fn is_save_due(&self, now_ms: u64) -> bool {
        let settings = self.settings.lock();
        let since_ms = now_ms.saturating_sub(self.status.last_save_ms.load(Ordering::Relaxed));
        let changes = self.figures_of_changes();
        let is_point = |point: &SavePoint| {
            since_ms >= point.seconds.saturating_mul(1000) && changes >= point.changes.max(1)
        };
        if settings.save_points.iter().any(is_point) {
            return true;
        }
        let log_bytes = self.status.log_bytes.load(Ordering::Relaxed);
        let snapshot_bytes = self.status.snapshot_bytes.load(Ordering::Relaxed);
        self.is_logging
            && settings.rewrite_percentage > 0
            && log_bytes >= settings.rewrite_min_bytes
            && log_bytes >= snapshot_bytes / 100 * settings.rewrite_percentage
    }

    /// Loads what is on disk into `keyspace`; see [`load`].
    pub fn load(
        &self,
        keyspace: &Keyspace,
        threads: usize,
        govern: &dyn Fn() -> bool,
    ) -> Result<Loaded, LoadError> {
        load(keyspace, &self.data, threads, &self.status, govern)
    }

    /// Goes on where what was loaded ends. No data thread writes yet.
    pub fn begin(
        &self,
        keyspace: &Keyspace,
        loaded: &Loaded,
        now_ms: u64,
    ) -> Result<LogKeeper, StorageError> {
        let status = &self.status;
        let recovered = &loaded.recovered;
        let cut = recovered.cut.as_ref().map_or(0, |cut| cut.bytes);
        status.load_cut_bytes.store(cut, Ordering::Relaxed);
        let writer = if self.is_logging {
            Some(self.data.begin_log(recovered, now_ms, self.salt())?)
        } else {
            self.data.settle(recovered)?;
            None
        };
        let sizes = self.data.sizes()?;
        let first = writer
            .as_ref()
            .map_or(recovered.next, LogWriter::next_sequence);
        self.journal.start(first, self.is_logging);
        keyspace.log_evicted(&loaded.evicted);
        keyspace.log_evictions();
        let current_bytes = writer.as_ref().map_or(0, LogWriter::segment_bytes);
        status
            .snapshot_bytes
            .store(sizes.snapshot_bytes, Ordering::Relaxed);
        status.log_bytes.store(sizes.log_bytes, Ordering::Relaxed);
        Ok(LogKeeper::new(
            writer,
            sizes.log_bytes.saturating_sub(current_bytes),
        ))
    }

    fn note_save_begun(&self, now_ms: u64) {
        let status = &self.status;
        status.save_started_ms.store(now_ms, Ordering::Relaxed);
        status.saved_keys.store(0, Ordering::Relaxed);
        status.saved_bytes.store(0, Ordering::Relaxed);
        status.is_saving.store(true, Ordering::Relaxed);
        status
            .changes_before_save
            .store(self.journal.changes(), Ordering::Relaxed);
    }

    fn note_save_ended(
        &self,
        saved: &Result<SavedSnapshot, StorageError>,
        tickets: u64,
        took_ms: u64,
        now_ms: u64,
    ) {
        let status = &self.status;
        let is_cancelled = std::mem::take(&mut self.orders.lock().cancel);
        match saved {
            Ok(saved) => {
                status.note_saved(saved.bytes, took_ms, now_ms);
                tracing::info!(bytes = saved.bytes, took_ms, "a snapshot is written");
            }
            Err(_) if is_cancelled => tracing::info!("a snapshot was given up, as asked for"),
            Err(error) => {
                self.fail("a snapshot could not be written", error, now_ms);
                status.set_last_save(Outcome::Failed(error.to_string()));
            }
        }
        status.is_saving.store(false, Ordering::Relaxed);
        let mut orders = self.orders.lock();
        orders.answered = tickets;
        orders.answer = match saved {
            Ok(_) => Outcome::Well,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        if saved.is_err() && !is_cancelled {
            let wait_ms = if orders.mend {
                MEND_AGAIN_MS
            } else {
                SAVE_AGAIN_MS
            };
            orders.not_before_ms = clock::steady_ms() + wait_ms;
        }
    }

    // ---- figures --------------------------------------------------------------------------

    /// All figures at present.
    pub fn figures(&self) -> Figures {
        let now_ms = clock::steady_ms();
        let settings = self.settings.lock().clone();
        let mut figures = {
            // The lock keeps the wait that lasts from ending in between, and being counted twice or not at all.
            let waiting_since_ms = self.waiting_since_ms.lock();
            let mut figures = self.status.figures();
            figures.delayed_ms += waiting_since_ms.map_or(0, |ms| now_ms.saturating_sub(ms));
            figures
        };
        figures.is_on = true;
        figures.directory.clone_from(&self.directory);
        figures.is_logging = self.is_logging;
        figures.sync_policy = settings.policy;
        figures.on_disk_error = settings.rule;
        figures.changes_since_save = self.figures_of_changes();
        figures.is_save_scheduled = self.orders.lock().save && !figures.is_saving;
        figures.buffered_bytes = self.status.taken_bytes.load(Ordering::Relaxed)
            + self.journal.waiting().map_or(0, |(_, bytes)| bytes as u64);
        figures.unsynced_ms = match self.oldest_unsynced_ms() {
            Some(ms) if self.is_logging => now_ms.saturating_sub(ms),
            _ => 0,
        };
        figures
    }

    /// Whether what is on disk is still being loaded.
    pub fn is_loading(&self) -> bool {
        self.status.is_loading.load(Ordering::Relaxed)
    }

    /// Waits until what is before `point` is on the disk, but not longer than `timeout`. Returns whether it is.
    pub fn wait_until_synced(&self, point: Sequence, timeout: Duration) -> bool {
        /// How often it is looked at.
        const STEP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        while self.journal.synced() < point {
            if waited >= timeout {
                return false;
            }
            self.journal.ring();
            std::thread::sleep(STEP);
            waited += STEP;
        }
        true
    }
}

impl Settings {
    fn of(config: &Config, max_memory_bytes: u64) -> Self {
        Self {
            policy: config.appendfsync,
            rule: config.on_disk_error,
            save_points: config.save.0.clone(),
            rewrite_percentage: config.auto_aof_rewrite_percentage.into(),
            rewrite_min_bytes: config.auto_aof_rewrite_min_size.0,
            buffer_bytes: (max_memory_bytes / BUFFER_SHARE).min(BUFFER_BYTES),
        }
    }
}
