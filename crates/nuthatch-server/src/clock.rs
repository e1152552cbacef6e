//! The time that commands see: the system's, read once per batch of requests.
//!
//! A data thread reads the clock when it wakes, and all that it does until it waits again happens at
//! that instant. So a command sees one time from beginning to end, as in Redis, and a hit on an entry
//! with a deadline costs no call of the system. Other threads always read the clock itself.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    /// Nanoseconds since 1970 as this thread last read them; 0 if it does not keep the time.
    static KEPT_NS: Cell<u64> = const { Cell::new(0) };
    /// What this thread takes for the steady clock's time; 0 if it reads that.
    static STEADY_MS: Cell<u64> = const { Cell::new(0) };
}

/// Reads the clock and keeps the time for this thread, which returns it until it is called again.
pub fn keep_time() -> u64 {
    let now_ns = read_ns();
    KEPT_NS.set(now_ns);
    now_ns
}

/// Keeps this time for this thread, which does what was done then.
pub fn pretend(now_ms: u64) {
    KEPT_NS.set(now_ms.saturating_mul(1_000_000).max(1));
}

/// Milliseconds of a clock that nobody sets, from any beginning: to measure how long something takes.
pub fn steady_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    match STEADY_MS.get() {
        0 => {
            let start = START.get_or_init(Instant::now);
            // Not 0, which stands for no time at all.
            u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
        }
        pretended => pretended,
    }
}

/// Has [`steady_ms`] return this on this thread from now on: for tests that make time pass.
pub fn pretend_steady(now_ms: u64) {
    STEADY_MS.set(now_ms);
}

/// Keeps no time for this thread any more: it reads the clock.
pub fn forget_time() {
    KEPT_NS.set(0);
}

/// Nanoseconds since 1970: the kept time, or the clock's where none is kept.
#[inline]
pub fn now_ns() -> u64 {
    match KEPT_NS.get() {
        0 => read_ns(),
        kept => kept,
    }
}

/// Milliseconds since 1970, as [`now_ns`].
#[inline]
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

fn read_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 stands at its beginning: deadlines then never come, which loses nothing.
    let since = since.unwrap_or(Duration::from_nanos(1));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
