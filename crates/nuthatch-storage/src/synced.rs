//! How far the log is synced, and who waits to hear of it.
//!
//! Whoever keeps the log announces how far it is, and then looks who waits; whoever waits says so, and then looks
//! how far the log is. Between the two steps of each stands a fence, so at least one of them sees the other
//! (Dekker's handshake): nobody waits for a sync that has happened and is never woken.

use crate::Sequence;
#[cfg(nuthatch_loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::atomic::Ordering;
#[cfg(not(nuthatch_loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, fence};

/// How far the log is synced.
#[derive(Debug)]
pub struct Synced(AtomicU64);

impl Default for Synced {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Synced {
    /// All before this sequence is on the disk for good.
    #[inline]
    pub fn get(&self) -> Sequence {
        // Acquire: pairs with the Release of `announce`; what was done before a sync is seen by who sees the sync.
        self.0.load(Ordering::Acquire)
    }

    /// All before `sequence` is on the disk for good. To be followed by [`SyncWaiter::take`] for all who may wait.
    pub fn announce(&self, sequence: Sequence) {
        self.0.store(sequence, Ordering::Release);
        // SeqCst: pairs with the fence of `SyncWaiter::wait`.
        fence(Ordering::SeqCst);
    }
}

/// Whether somebody waits for a sync.
#[derive(Debug)]
pub struct SyncWaiter(AtomicBool);

impl Default for SyncWaiter {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl SyncWaiter {
    /// Says that somebody waits. To be followed by [`Synced::get`]: what is announced after it has looked wakes it.
    pub fn wait(&self) {
        self.0.store(true, Ordering::Relaxed);
        // SeqCst: pairs with the fence of `Synced::announce`.
        fence(Ordering::SeqCst);
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether somebody waits and is to be woken, after something was announced. Says so once.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, nuthatch_loom))]
mod model {
    use super::{SyncWaiter, Synced};
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    #[derive(Default)]
    struct Shared {
        synced: Synced,
        waiter: SyncWaiter,
    }

    #[test]
    fn model_who_waits_sees_the_sync_or_is_woken() {
        loom::model(|| {
            let shared = Arc::new(Shared::default());
            let bell = Arc::new(AtomicBool::new(false));
            let log = {
                let (shared, bell) = (Arc::clone(&shared), Arc::clone(&bell));
                thread::spawn(move || {
                    shared.synced.announce(1);
                    if shared.waiter.take() {
                        bell.store(true, Ordering::Release);
                    }
                })
            };
            shared.waiter.wait();
            let has_seen = shared.synced.get() >= 1;
            log.join().expect("no panic");
            assert!(has_seen || bell.load(Ordering::Acquire));
        });
    }
}
