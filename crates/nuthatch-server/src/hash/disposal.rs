//! A thread that drops large hashes, so that whoever removes or evicts one does not stand still while a
//! million fields are given back.

use super::IndexedHash;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

/// Fields above which a hash is dropped elsewhere; fewer are dropped in less time than it takes to wake
/// a thread and be disturbed by it.
const MAX_FIELDS_HERE: usize = 4096;

static SENT: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Drops a hash: here, if it is small, or soon.
pub(super) fn dispose(hash: IndexedHash) {
    static QUEUE: OnceLock<Option<Sender<IndexedHash>>> = OnceLock::new();
    if hash.len() <= MAX_FIELDS_HERE {
        return;
    }
    let Some(queue) = QUEUE.get_or_init(start) else {
        return;
    };
    SENT.fetch_add(1, Ordering::Relaxed);
    queue.send(hash).expect("the thread never ends");
}

/// Starts the thread; `None` where the system has no room for one.
fn start() -> Option<Sender<IndexedHash>> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("disposal".to_owned());
    let started = thread.spawn(move || {
        for hash in receiver {
            drop(hash);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    });
    if let Err(error) = &started {
        tracing::warn!(%error, "large hashes are dropped where they are removed");
    }
    started.is_ok().then_some(sender)
}

/// Hashes that wait to be dropped.
pub fn waiting() -> u64 {
    // Read first: what is dropped was sent before.
    let dropped = dropped();
    SENT.load(Ordering::Relaxed).saturating_sub(dropped)
}

/// Hashes that the thread has dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::{MAX_FIELDS_HERE, dropped};
    use crate::hash::{FieldView, IndexedHash, SharedHash};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn a_large_hash_is_dropped_by_a_thread_of_its_own() {
        let before = dropped();
        let mut hash = IndexedHash::default();
        for name in 0..=MAX_FIELDS_HERE {
            let set = hash.set(FieldView {
                name: name.to_string().as_bytes(),
                value: b"v",
                deadline_ms: None,
            });
            set.expect("a short name");
        }
        drop(SharedHash::new(hash));
        let patience = Instant::now() + Duration::from_secs(30);
        while dropped() == before {
            assert!(Instant::now() < patience, "it is still there");
            thread::yield_now();
        }
    }
}
