//! The threads that keep the log and write snapshots, as thin as can be: they wait, read the clock, and call
//! what decides.

use super::{Durability, LoadError, LogKeeper, LogOrder, SavedSnapshot, Saver};
use crate::clock;
use crate::mailbox::Message;
use crate::server::Server;
use crate::watch::Reasons;
use nuthatch_storage::data_dir::Recovered;
use nuthatch_storage::{Sequence, StorageError};
use rustix::process::{Pid, setpriority_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Keys that a snapshot comes by before it is looked at whether it is still wanted.
const KEYS_A_STEP: usize = 256;
/// Threads that load, at most.
const MAX_LOADERS: usize = 8;
/// The niceness of the thread that writes snapshots: clients come first.
const NICENESS: i32 = 10;

/// The threads of a server with a data directory.
#[derive(Debug)]
pub struct Threads {
    durability: Arc<Durability>,
    log: JoinHandle<Result<(), LoadError>>,
    save: JoinHandle<()>,
}

impl Threads {
    /// Starts them: what is on disk is loaded, and then the log is kept. Until it is loaded, commands are
    /// answered that they have to wait.
    pub fn start(server: &Arc<Server>, durability: &Arc<Durability>) -> io::Result<Self> {
        durability.status.is_loading.store(true, Ordering::Relaxed);
        let now_ms = clock::now_ms();
        let started = &durability.status.loading_started_ms;
        started.store(now_ms, Ordering::Relaxed);
        let attention = &server.observers.attention;
        attention.set(Reasons::LOADING, true);
        let log = {
            let (server, durability) = (Arc::clone(server), Arc::clone(durability));
            let run = move || {
                let loaded = load_and_keep(&server, &durability);
                if loaded.is_err() {
                    server.end();
                }
                loaded
            };
            thread::Builder::new().name("log".to_owned()).spawn(run)?
        };
        let save = {
            let (server, durability) = (Arc::clone(server), Arc::clone(durability));
            let run = move || save_when_asked(&server, &durability);
            thread::Builder::new().name("save".to_owned()).spawn(run)?
        };
        Ok(Self {
            durability: Arc::clone(durability),
            log,
            save,
        })
    }

    /// Ends them, once nobody writes any more. What was left in the journal is on the disk then.
    pub fn finish(self) -> Result<(), LoadError> {
        self.durability.orders.lock().end = true;
        self.durability.orders_changed.notify_all();
        self.durability.journal.ring();
        if self.save.join().is_err() {
            tracing::error!("the thread that writes snapshots has panicked");
        }
        self.log.join().unwrap_or_else(|_| {
            tracing::error!("the thread that keeps the log has panicked");
            Ok(())
        })
    }
}

// ---- the log thread ---------------------------------------------------------------------------

fn load_and_keep(server: &Arc<Server>, durability: &Arc<Durability>) -> Result<(), LoadError> {
    let loaders = thread::available_parallelism().map_or(1, usize::from);
    let keyspace = &server.keyspace;
    let status = &durability.status;
    let start_ms = clock::now_ms();
    let loaded = durability.load(keyspace, loaders.min(MAX_LOADERS), &|| {
        server.govern_memory();
        !server.is_ending.load(Ordering::Relaxed)
    });
    let loaded = match loaded {
        // Nothing was written, so there is nothing to be kept.
        Err(LoadError::GivenUp) => return Ok(()),
        loaded => loaded?,
    };
    let expired_before = server.observers.expired.load(Ordering::Relaxed);
    keyspace.cache().clear_expired();
    let expired = server.observers.expired.load(Ordering::Relaxed) - expired_before;
    status.load_expired.store(expired, Ordering::Relaxed);
    status
        .loaded_keys
        .store(keyspace.cache().len(), Ordering::Relaxed);
    let mut keeper = durability.begin(keyspace, &loaded, clock::now_ms())?;
    let took_ms = clock::now_ms().saturating_sub(start_ms);
    status.load_ms.store(took_ms.max(1), Ordering::Relaxed);
    tell(durability, &loaded.recovered, took_ms);
    status.is_loading.store(false, Ordering::Relaxed);
    let attention = &server.observers.attention;
    attention.set(Reasons::LOADING, false);
    // What was handed over since, when nobody was told.
    server.log_evictions_soon();
    for worker in server.workers() {
        worker.mailbox.send(Message::Resume);
    }
    keep(durability, &mut keeper);
    Ok(())
}

fn tell(durability: &Durability, recovered: &Recovered, took_ms: u64) {
    let status = &durability.status;
    tracing::info!(
        directory = durability.directory,
        keys = status.loaded_keys.load(Ordering::Relaxed),
        records = status.loaded_records.load(Ordering::Relaxed),
        expired = status.load_expired.load(Ordering::Relaxed),
        took_ms,
        "loaded what is on disk"
    );
    for name in &recovered.skipped_snapshots {
        tracing::error!(
            file = name,
            "a snapshot is damaged and was left out; an older one and the log after it have all that it had"
        );
    }
    if let Some(cut) = &recovered.cut {
        tracing::warn!(
            file = cut.file,
            at = cut.at,
            bytes = cut.bytes,
            "the log's end was torn and is cut off: what stood there had not been synced"
        );
    }
}

/// Keeps the log until the server ends.
fn keep(durability: &Durability, keeper: &mut LogKeeper) {
    loop {
        let mut orders = durability.orders.lock();
        let (order, is_end) = (orders.asked.take(), orders.end);
        drop(orders);
        if let Some(order) = order {
            let done = keeper.obey(durability, order, clock::now_ms());
            durability.orders.lock().done = Some(done);
            durability.orders_changed.notify_all();
        }
        if is_end {
            if let Err(error) = keeper.write_all(durability, clock::now_ms()) {
                tracing::error!(%error, "the end of the log could not be written");
            }
            return;
        }
        let wait_ms = keeper.step(durability, clock::now_ms());
        if wait_ms != Some(0) {
            durability.journal.wait(wait_ms.map(Duration::from_millis));
        }
    }
}

// ---- the save thread --------------------------------------------------------------------------

fn save_when_asked(server: &Arc<Server>, durability: &Durability) {
    #[cfg(target_os = "linux")]
    let thread = Pid::from_raw(rustix::thread::gettid().as_raw_nonzero().get());
    #[cfg(target_os = "linux")]
    if let Err(error) = setpriority_process(thread, NICENESS) {
        tracing::debug!(%error, "snapshots are written with the priority of everything else");
    }
    while let Some(tickets) = wait_for_order(durability) {
        let start_ms = clock::now_ms();
        durability.note_save_begun(start_ms);
        let start = Instant::now();
        let saved = save(server, durability, start_ms);
        let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        durability.note_save_ended(&saved, tickets, took_ms, clock::now_ms());
        if durability.close(tickets, saved.is_ok()) {
            server.end();
        }
        for worker in server.workers() {
            worker.mailbox.send(Message::Resume);
        }
    }
}

/// Waits until a snapshot is to be written. Returns how many wait for it; `None` at the end.
fn wait_for_order(durability: &Durability) -> Option<u64> {
    let mut orders = durability.orders.lock();
    loop {
        if orders.end {
            return None;
        }
        let now_ms = clock::steady_ms();
        if orders.save || orders.mend && now_ms >= orders.not_before_ms {
            orders.save = false;
            orders.mend = false;
            return Some(orders.tickets);
        }
        if orders.mend {
            let rest = Duration::from_millis(orders.not_before_ms - now_ms);
            durability.orders_changed.wait_for(&mut orders, rest);
        } else {
            durability.orders_changed.wait(&mut orders);
        }
    }
}

fn save(
    server: &Arc<Server>,
    durability: &Durability,
    now_ms: u64,
) -> Result<SavedSnapshot, StorageError> {
    let at = ask(durability, LogOrder::Begin)?;
    let saved = write(server, durability, at, now_ms);
    let order = match &saved {
        Ok(_) => LogOrder::Count,
        Err(_) => LogOrder::Abandon,
    };
    let counted = ask(durability, order);
    let saved = saved?;
    counted?;
    durability.data.remove_before(at)?;
    Ok(saved)
}

fn write(
    server: &Arc<Server>,
    durability: &Durability,
    at: Sequence,
    now_ms: u64,
) -> Result<SavedSnapshot, StorageError> {
    let writer = durability.data.begin_snapshot(at, now_ms)?;
    let mut saver = Saver::new(&server.keyspace, writer, at);
    let mut is_end = false;
    while !is_end {
        is_end = saver.step(KEYS_A_STEP)?;
        let status = &durability.status;
        status.saved_keys.store(saver.keys(), Ordering::Relaxed);
        status.saved_bytes.store(saver.bytes(), Ordering::Relaxed);
        go_on(durability)?;
    }
    pass(server)?;
    let synced = ask(durability, LogOrder::Sync)?;
    go_on(durability)?;
    saver.finish(synced)
}

/// An error if the snapshot that is being written is given up.
fn go_on(durability: &Durability) -> Result<(), StorageError> {
    let orders = durability.orders.lock();
    if orders.end || orders.cancel {
        return Err(StorageError::Sink("it was given up".into()));
    }
    Ok(())
}

/// Has the log thread do something, and waits for it.
fn ask(durability: &Durability, order: LogOrder) -> Result<Sequence, StorageError> {
    let mut orders = durability.orders.lock();
    orders.asked = Some(order);
    durability.journal.ring();
    loop {
        if let Some(done) = orders.done.take() {
            return done;
        }
        if orders.end && orders.asked.is_some() {
            orders.asked = None;
            return Err(StorageError::Sink("the server ends".into()));
        }
        durability.orders_changed.wait(&mut orders);
    }
}

/// Waits until each data thread has been between two commands: then all that they had changed when this was
/// called is in the journal. An error if they end instead.
fn pass(server: &Server) -> Result<(), StorageError> {
    /// How often it is looked at.
    const STEP: Duration = Duration::from_millis(1);
    let left = Arc::new(AtomicUsize::new(server.workers().len()));
    for worker in server.workers() {
        worker.mailbox.send(Message::Pass(Arc::clone(&left)));
    }
    while left.load(Ordering::Acquire) > 0 {
        if server.is_ending.load(Ordering::Relaxed) {
            return Err(StorageError::Sink("the server ends".into()));
        }
        thread::sleep(STEP);
    }
    Ok(())
}
