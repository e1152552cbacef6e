//! When entries expire: the builder's settings turned into deadlines.
//!
//! An entry has one deadline. Time to live and a per-entry duration fix it when the value is
//! written; time to idle and a per-entry duration after reads move it. A deadline that reads move
//! is kept within a limit, the end of the time to live. One that was given as a point in time stays
//! where it is.

use crate::expiry::{Expiry, Jitter, deadline_ns};
use crate::shard::{EntryTimes, Reach};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A read moves the deadline only if it moves by at least this part of the time to idle, so that a
/// hot entry is not written by every hit. An entry may expire that much early.
const IDLE_PARTS: u32 = 1024;

/// How long a written entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As the cache's settings say.
    Configured,
    /// This long, whatever they say; time to idle still applies.
    Given(Duration),
    /// Up to this time of the cache's clock, in nanoseconds, or for ever, whatever they say.
    Until(Option<u64>),
    /// What an entry of a snapshot had left.
    #[cfg(feature = "snapshot")]
    Remaining(Remaining),
}

impl Lifetime {
    /// Up to this time, if any; the largest number means never, for no clock reaches it.
    pub(crate) fn until(deadline_ns: Option<u64>) -> Self {
        Self::Until(deadline_ns.filter(|&ns| ns != u64::MAX))
    }

    /// Whether an entry may get a deadline that the cache's settings give none.
    fn is_own(self) -> bool {
        !matches!(self, Self::Configured | Self::Until(None))
    }
}

/// What is left of an entry's time.
#[cfg(feature = "snapshot")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    pub(crate) to_live: Option<Duration>,
    pub(crate) to_idle: Option<Duration>,
}

/// See the module's text.
///
/// In this order: what every read asks comes first.
#[repr(C)]
pub(crate) struct Expiration<K, V> {
    /// Whether any entry may have a deadline, so that writes have to look at the clock.
    in_use: AtomicBool,
    keep_written: bool,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    per_entry: Option<Box<dyn Expiry<K, V>>>,
    jitter: Jitter,
}

impl<K, V> Expiration<K, V> {
    pub(crate) fn new(
        time_to_live: Option<Duration>,
        time_to_idle: Option<Duration>,
        per_entry: Option<Box<dyn Expiry<K, V>>>,
        jitter: Jitter,
        keep_written: bool,
    ) -> Self {
        let in_use =
            time_to_live.is_some() || time_to_idle.is_some() || per_entry.is_some() || keep_written;
        Self {
            time_to_live,
            time_to_idle,
            per_entry,
            jitter,
            keep_written,
            in_use: AtomicBool::new(in_use),
        }
    }

    /// Whether any entry may have a deadline.
    #[inline]
    pub(crate) fn is_in_use(&self) -> bool {
        // Relaxed: an entry with the first deadline is not expired by any write that overlaps its
        // own insertion.
        self.in_use.load(Ordering::Relaxed)
    }

    /// An entry is about to be written that lives so.
    #[inline]
    pub(crate) fn prepare(&self, lifetime: Lifetime) {
        if lifetime.is_own() {
            self.start();
        }
    }

    /// An entry is about to get a deadline of its own.
    pub(crate) fn start(&self) {
        if !self.is_in_use() {
            self.in_use.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a read may move a deadline.
    #[inline]
    pub(crate) fn moves_on_read(&self) -> bool {
        self.time_to_idle.is_some() || self.per_entry.is_some()
    }

    /// The times of an entry that is written at `now_ns`; `None` while no entry has any.
    /// `remaining` is `None` for a new key, and else the time that the replaced value had left, in
    /// nanoseconds.
    #[inline]
    pub(crate) fn after_write(
        &self,
        key: &K,
        value: &V,
        hash: u64,
        now_ns: u64,
        lifetime: Lifetime,
        remaining: Option<Option<u64>>,
    ) -> Option<EntryTimes> {
        if !self.is_in_use() {
            return None;
        }
        let written_ns = self.keep_written.then_some(now_ns);
        let (fixed, own, idle) = match lifetime {
            Lifetime::Until(deadline_ns) => {
                return Some(EntryTimes {
                    // One that is over already is over now: the timers need not look far back.
                    deadline_ns: deadline_ns.map(|ns| ns.max(now_ns)),
                    reach: Reach::Nowhere,
                    written_ns,
                });
            }
            Lifetime::Configured => (
                self.time_to_live
                    .map(|duration| self.jitter.shorten(duration, hash ^ now_ns)),
                self.own(key, value, remaining),
                self.time_to_idle,
            ),
            Lifetime::Given(duration) => (Some(duration), None, self.time_to_idle),
            #[cfg(feature = "snapshot")]
            Lifetime::Remaining(left) => (left.to_live, left.to_idle, self.time_to_idle),
        };
        let deadline = |duration: Option<Duration>| deadline_ns(now_ns, duration?);
        let limit_ns = deadline(fixed);
        let (own_ns, idle_ns) = (deadline(own), deadline(idle));
        Some(EntryTimes {
            deadline_ns: [limit_ns, idle_ns, own_ns].into_iter().flatten().min(),
            reach: limit_ns.map_or(Reach::Anywhere, Reach::UpTo),
            written_ns,
        })
    }

    /// The duration that the user's [`Expiry`] gives a written entry.
    fn own(&self, key: &K, value: &V, remaining: Option<Option<u64>>) -> Option<Duration> {
        let expiry = self.per_entry.as_ref()?;
        match remaining {
            None => expiry.after_create(key, value),
            Some(remaining) => expiry.after_update(key, value, remaining.map(Duration::from_nanos)),
        }
    }

    /// What is left at `now_ns` to an entry with these times.
    #[cfg(feature = "snapshot")]
    pub(crate) fn remaining(
        &self,
        now_ns: u64,
        deadline_ns: Option<u64>,
        limit_ns: Option<u64>,
    ) -> Remaining {
        let left = |ns: Option<u64>| Some(Duration::from_nanos(ns?.saturating_sub(now_ns)));
        if self.moves_on_read() {
            Remaining {
                to_live: left(limit_ns),
                to_idle: left(deadline_ns),
            }
        } else {
            Remaining {
                to_live: left(deadline_ns),
                to_idle: None,
            }
        }
    }

    /// The deadline that a read at `now_ns` gives, and how small a move is not worth a write.
    /// `None` leaves the deadline alone.
    #[inline]
    pub(crate) fn after_read(
        &self,
        key: &K,
        value: &V,
        now_ns: u64,
        current_ns: Option<u64>,
    ) -> Option<(Option<u64>, u64)> {
        if let Some(expiry) = &self.per_entry {
            let remaining = current_ns.map(|ns| Duration::from_nanos(ns.saturating_sub(now_ns)));
            let wanted = expiry.after_read(key, value, remaining);
            if wanted != remaining {
                return Some((wanted.and_then(|wanted| deadline_ns(now_ns, wanted)), 0));
            }
        }
        let idle = self.time_to_idle?;
        let slack_ns = u64::try_from((idle / IDLE_PARTS).as_nanos()).unwrap_or(u64::MAX);
        Some((deadline_ns(now_ns, idle), slack_ns))
    }
}

impl<K, V> fmt::Debug for Expiration<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiration")
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .finish_non_exhaustive()
    }
}
