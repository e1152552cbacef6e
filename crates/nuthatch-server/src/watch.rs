//! Who wants to hear of changes: transactions that watch keys, clients that track what they have read,
//! subscribers of keys' events, monitors.
//!
//! A write asks one word, [`Attention`], whether anybody does; that word is all that a write costs
//! when nobody does.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

bitflags::bitflags! {
    /// Reasons to look twice at a command or a change.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Reasons: u32 {
        /// A transaction watches keys.
        const WATCHED = 1;
        /// A client tracks what it has read.
        const TRACKED = 1 << 1;
        /// Events of keys are published.
        const EVENTS = 1 << 2;
        /// A client monitors all commands.
        const MONITORED = 1 << 3;
        /// Clients are paused.
        const PAUSED = 1 << 4;
        /// Nothing may be evicted, so there may be no room.
        const NO_EVICTION = 1 << 5;
        /// What is on disk is being loaded.
        const LOADING = 1 << 6;
        /// The disk is slow or has failed, so writes wait or are refused.
        const DISK = 1 << 7;
    }
}

/// The reasons that hold at present, for all threads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Attention(AtomicU32);

impl Attention {
    /// Switches reasons on or off.
    pub fn set(&self, reasons: Reasons, on: bool) {
        if on {
            self.0.fetch_or(reasons.bits(), Ordering::SeqCst);
            // SeqCst: pairs with the fence of `after_change`. What the caller reads from here on, it
            // reads after the announcement.
            fence(Ordering::SeqCst);
        } else {
            self.0.fetch_and(!reasons.bits(), Ordering::SeqCst);
        }
    }

    /// The reasons that hold.
    #[inline]
    pub fn get(&self) -> Reasons {
        Reasons::from_bits_retain(self.0.load(Ordering::Relaxed))
    }

    /// The reasons that hold after a change that the caller has made. Whoever began to listen before
    /// it read what the change has replaced is among them.
    #[inline]
    pub fn after_change(&self) -> Reasons {
        // SeqCst: the change comes before the look. A listener announces itself and then reads, so
        // of the two at least one sees the other.
        fence(Ordering::SeqCst);
        self.get()
    }
}

/// A transaction's mark: set when a key that it watches changes.
pub type Touched = Arc<AtomicBool>;

/// The keys that transactions watch, and who does.
#[derive(Debug, Default)]
pub struct Watched {
    keys: Mutex<HashMap<Box<[u8]>, Vec<Touched>>>,
    count: AtomicUsize,
}

impl Watched {
    /// Begins to watch `key` for the holder of `touched`; `false` if it is watched already. The caller
    /// holds the key's stripe.
    pub fn watch(&self, key: &[u8], touched: &Touched, attention: &Attention) -> bool {
        let mut keys = self.keys.lock();
        let watchers = keys.entry(key.into()).or_default();
        if watchers.iter().any(|other| Arc::ptr_eq(other, touched)) {
            return false;
        }
        watchers.push(Arc::clone(touched));
        self.count.fetch_add(1, Ordering::Relaxed);
        attention.set(Reasons::WATCHED, true);
        true
    }

    /// Ends it.
    pub fn unwatch(&self, key: &[u8], touched: &Touched, attention: &Attention) {
        let mut keys = self.keys.lock();
        let Some(watchers) = keys.get_mut(key) else {
            return;
        };
        let before = watchers.len();
        watchers.retain(|other| !Arc::ptr_eq(other, touched));
        let removed = before - watchers.len();
        if watchers.is_empty() {
            keys.remove(key);
        }
        if self.count.fetch_sub(removed, Ordering::Relaxed) == removed {
            attention.set(Reasons::WATCHED, false);
        }
    }

    /// Marks those who watch `key`.
    pub fn touch(&self, key: &[u8]) {
        if let Some(watchers) = self.keys.lock().get(key) {
            for touched in watchers {
                touched.store(true, Ordering::Release);
            }
        }
    }

    /// Marks those who watch any key that `is_there` says exists, or all.
    pub fn touch_all(&self, is_there: impl Fn(&[u8]) -> bool) {
        for (key, watchers) in self.keys.lock().iter() {
            if is_there(key) {
                for touched in watchers {
                    touched.store(true, Ordering::Release);
                }
            }
        }
    }

    /// The number of keys that are watched, each as often as there are watchers.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Attention, Reasons, Touched, Watched};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_watched_key_marks_its_watchers_until_they_leave() {
        let (watched, attention) = (Watched::default(), Attention::default());
        let (first, second) = (Touched::default(), Touched::default());
        assert!(watched.watch(b"k", &first, &attention));
        assert!(!watched.watch(b"k", &first, &attention));
        assert!(watched.watch(b"k", &second, &attention));
        assert_eq!(watched.len(), 2);
        assert!(attention.get().contains(Reasons::WATCHED));
        watched.touch(b"other");
        assert!(!first.load(Ordering::Relaxed));
        watched.unwatch(b"k", &second, &attention);
        watched.touch(b"k");
        assert!(first.load(Ordering::Relaxed));
        assert!(!second.load(Ordering::Relaxed));
        watched.unwatch(b"k", &first, &attention);
        watched.unwatch(b"k", &first, &attention);
        assert!(watched.is_empty());
        assert!(attention.get().is_empty());
    }
}
