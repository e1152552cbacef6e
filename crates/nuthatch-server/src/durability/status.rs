//! How durability is doing: what its threads count, and what everybody else may read.

use crate::config::{DiskErrorRule, SyncPolicy};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What became of the last attempt at something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has succeeded, or there was none.
    #[default]
    Well,
    /// It has failed, and why.
    Failed(String),
}

impl Outcome {
    /// As Redis prints it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Failed(_) => "err",
        }
    }
}

/// What writes meet at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// They are taken.
    #[default]
    Open,
    /// They wait until the disk has caught up.
    Waiting,
    /// They are refused, for the disk has failed.
    Refused,
    /// They are taken, and nothing of them is kept, for the disk has failed.
    Unprotected,
}

impl Admission {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 4] = [Self::Open, Self::Waiting, Self::Refused, Self::Unprotected];

    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Unprotected => "unprotected",
        }
    }
}

/// All figures at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Whether there is a data directory.
    pub is_on: bool,
    /// Its path; empty if there is none.
    pub directory: String,
    /// Whether changes are logged.
    pub is_logging: bool,
    /// When the log is synced.
    pub sync_policy: SyncPolicy,
    /// What happens when the disk fails.
    pub on_disk_error: DiskErrorRule,
    /// What writes meet.
    pub admission: Admission,
    /// The last error of the disk's, of log or snapshot, and when, in milliseconds since 1970.
    pub last_error: Option<(String, u64)>,

    /// Whether what is on disk is being loaded.
    pub is_loading: bool,
    /// When loading began, in milliseconds since 1970.
    pub loading_started_ms: u64,
    /// Bytes to be loaded.
    pub loading_total_bytes: u64,
    /// Bytes loaded.
    pub loading_loaded_bytes: u64,
    /// How long loading took, in milliseconds; 0 before its end.
    pub load_ms: u64,
    /// Records of the snapshot and of the log that were loaded at the start.
    pub loaded_records: u64,
    /// Keys there were when loading had ended.
    pub loaded_keys: u64,
    /// Keys left out because their time was over.
    pub load_expired: u64,
    /// Bytes of the log's torn end that were cut off at the start.
    pub load_cut_bytes: u64,

    /// Changes since the last snapshot was begun.
    pub changes_since_save: u64,
    /// Whether a snapshot is being written.
    pub is_saving: bool,
    /// When it was begun, in milliseconds since 1970.
    pub save_started_ms: u64,
    /// Keys that it has come by, of about `keys` of the keyspace.
    pub saved_keys: u64,
    /// Bytes of it that are written.
    pub saved_bytes: u64,
    /// When the last one ended that succeeded, in milliseconds since 1970; the start's if there was none.
    pub last_save_ms: u64,
    /// How long it took; `None` if there was none.
    pub last_save_duration_ms: Option<u64>,
    /// Its size in bytes.
    pub snapshot_bytes: u64,
    /// What became of the last attempt.
    pub last_save: Outcome,
    /// Snapshots written since the start.
    pub saves: u64,
    /// Whether one is asked for and has not begun.
    pub is_save_scheduled: bool,

    /// Bytes of the log's segments.
    pub log_bytes: u64,
    /// Bytes written to the log since the start.
    pub log_written_bytes: u64,
    /// Records written to the log since the start.
    pub log_records: u64,
    /// Times that the log was synced since the start.
    pub syncs: u64,
    /// How long these took, in nanoseconds.
    pub sync_ns: u64,
    /// The longest of them in the last ten seconds or so, in nanoseconds.
    pub sync_max_ns: u64,
    /// Bytes that wait to be written.
    pub buffered_bytes: u64,
    /// How old the oldest change is that is not synced, in milliseconds.
    pub unsynced_ms: u64,
    /// What became of the last write or sync of the log.
    pub last_write: Outcome,
    /// Times that writes had to wait for the disk.
    pub delays: u64,
    /// How long they had to in all, in milliseconds.
    pub delayed_ms: u64,
    /// Writes that were refused because the disk had failed.
    pub refused_writes: u64,
}

impl Figures {
    /// The part of what is on disk that is loaded, 1 at the end.
    pub fn loaded_part(&self) -> f64 {
        if self.loading_total_bytes == 0 {
            return 1.0;
        }
        self.loading_loaded_bytes as f64 / self.loading_total_bytes as f64
    }

    /// How long loading will go on, in milliseconds, if what is left goes as fast as what is done; none
    /// before it can be told.
    pub fn loading_left_ms(&self, now_ms: u64) -> Option<u64> {
        let part = self.loaded_part();
        let gone_ms = now_ms.saturating_sub(self.loading_started_ms) as f64;
        (self.is_loading && part > 0.0).then(|| (gone_ms * (1.0 - part).max(0.0) / part) as u64)
    }

    /// The part of the snapshot under way that is done, if the keyspace has so many keys.
    pub fn saved_part(&self, keys: u64) -> f64 {
        (self.saved_keys as f64 / keys.max(1) as f64).min(1.0)
    }
}

/// What the threads of durability count. Each is written by one thread at a time.
#[derive(Debug, Default)]
pub struct Status {
    pub(super) is_loading: AtomicBool,
    pub(super) loading_started_ms: AtomicU64,
    pub(super) loading_total_bytes: AtomicU64,
    pub(super) loading_loaded_bytes: AtomicU64,
    pub(super) load_ms: AtomicU64,
    pub(super) loaded_records: AtomicU64,
    pub(super) loaded_keys: AtomicU64,
    pub(super) load_expired: AtomicU64,
    pub(super) load_cut_bytes: AtomicU64,

    pub(super) is_saving: AtomicBool,
    pub(super) save_started_ms: AtomicU64,
    pub(super) saved_keys: AtomicU64,
    pub(super) saved_bytes: AtomicU64,
    pub(super) last_save_ms: AtomicU64,
    /// One more than it took; 0: there was none.
    pub(super) last_save_duration_ms: AtomicU64,
    pub(super) snapshot_bytes: AtomicU64,
    pub(super) saves: AtomicU64,
    pub(super) changes_at_save: AtomicU64,
    /// As it was when the snapshot was begun that is being written.
    pub(super) changes_before_save: AtomicU64,

    /// Bytes that were taken from the journal and are not written yet.
    pub(super) taken_bytes: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    pub(super) log_written_bytes: AtomicU64,
    pub(super) log_records: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_ns: AtomicU64,
    pub(super) sync_max_ns: AtomicU64,
    pub(super) delays: AtomicU64,
    pub(super) delayed_ms: AtomicU64,
    pub(super) refused_writes: AtomicU64,
    /// The number of an [`Admission`].
    admission: AtomicU64,
    words: Mutex<Words>,
}

/// What has words.
#[derive(Debug, Default)]
struct Words {
    last_save: Outcome,
    last_write: Outcome,
    last_error: Option<(String, u64)>,
}

impl Status {
    /// What writes meet.
    #[inline]
    pub fn admission(&self) -> Admission {
        Admission::ALL[self.admission.load(Ordering::Acquire) as usize]
    }

    pub(super) fn set_admission(&self, admission: Admission) {
        // Release: who meets it finds the words that belong to it.
        self.admission.store(admission as u64, Ordering::Release);
    }

    pub(super) fn note_error(&self, text: String, now_ms: u64) {
        self.words.lock().last_error = Some((text, now_ms));
    }

    pub(super) fn last_error(&self) -> Option<(String, u64)> {
        self.words.lock().last_error.clone()
    }

    pub(super) fn set_last_write(&self, outcome: Outcome) {
        let last = &mut self.words.lock().last_write;
        if *last != outcome {
            *last = outcome;
        }
    }

    pub(super) fn set_last_save(&self, outcome: Outcome) {
        self.words.lock().last_save = outcome;
    }

    pub(super) fn note_saved(&self, bytes: u64, took_ms: u64, now_ms: u64) {
        let changes = self.changes_before_save.load(Ordering::Relaxed);
        self.changes_at_save.store(changes, Ordering::Relaxed);
        self.last_save_ms.store(now_ms, Ordering::Relaxed);
        self.last_save_duration_ms
            .store(took_ms + 1, Ordering::Relaxed);
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.saves.fetch_add(1, Ordering::Relaxed);
        self.set_last_save(Outcome::Well);
    }

    /// All figures that are counted here; what others know is as of a server that keeps nothing on disk.
    pub(super) fn figures(&self) -> Figures {
        let number = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (last_save, last_write, last_error) = {
            let words = self.words.lock();
            (
                words.last_save.clone(),
                words.last_write.clone(),
                words.last_error.clone(),
            )
        };
        Figures {
            is_on: false,
            directory: String::new(),
            is_logging: false,
            sync_policy: SyncPolicy::No,
            on_disk_error: DiskErrorRule::Refuse,
            admission: self.admission(),
            last_error,
            is_loading: self.is_loading.load(Ordering::Relaxed),
            loading_started_ms: number(&self.loading_started_ms),
            loading_total_bytes: number(&self.loading_total_bytes),
            loading_loaded_bytes: number(&self.loading_loaded_bytes),
            load_ms: number(&self.load_ms),
            loaded_records: number(&self.loaded_records),
            loaded_keys: number(&self.loaded_keys),
            load_expired: number(&self.load_expired),
            load_cut_bytes: number(&self.load_cut_bytes),
            changes_since_save: 0,
            is_saving: self.is_saving.load(Ordering::Relaxed),
            save_started_ms: number(&self.save_started_ms),
            saved_keys: number(&self.saved_keys),
            saved_bytes: number(&self.saved_bytes),
            last_save_ms: number(&self.last_save_ms),
            last_save_duration_ms: number(&self.last_save_duration_ms).checked_sub(1),
            snapshot_bytes: number(&self.snapshot_bytes),
            last_save,
            saves: number(&self.saves),
            is_save_scheduled: false,
            log_bytes: number(&self.log_bytes),
            log_written_bytes: number(&self.log_written_bytes),
            log_records: number(&self.log_records),
            syncs: number(&self.syncs),
            sync_ns: number(&self.sync_ns),
            sync_max_ns: number(&self.sync_max_ns),
            buffered_bytes: 0,
            unsynced_ms: 0,
            last_write,
            delays: number(&self.delays),
            delayed_ms: number(&self.delayed_ms),
            refused_writes: number(&self.refused_writes),
        }
    }
}

impl Figures {
    /// Of a server that keeps nothing on disk, and has started then.
    pub fn none(started_ms: u64) -> Self {
        Self {
            last_save_ms: started_ms,
            ..Status::default().figures()
        }
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self::none(0)
    }
}
