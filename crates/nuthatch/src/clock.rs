//! The source of time: nanoseconds since some start, as one `u64`.
//!
//! A [`Clock`] may stand still and may even jump backwards (a source of the user's own can do
//! both). Nothing in this crate breaks then: a deadline is compared with the reading of the moment
//! and with nothing remembered, and where a difference of two readings is needed, time that goes
//! back is treated as standing still. An entry that looked expired can be found again after such a
//! jump, as long as nothing has removed it meanwhile.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A source of time that costs little to clone; clones read the same time.
///
/// ```
/// use nuthatch::Clock;
/// use std::time::Duration;
/// let (clock, hands) = Clock::manual();
/// hands.advance(Duration::from_millis(3));
/// assert_eq!(clock.now_ns(), 3_000_000);
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { start: Instant },
    Manual(Arc<AtomicU64>),
    Custom(Arc<dyn Fn() -> u64 + Send + Sync>),
}

impl Clock {
    /// The latest time that a clock shows. One less than the largest number, so that no time ever
    /// reaches a deadline of `u64::MAX`, which means never.
    pub const END_OF_TIME_NS: u64 = u64::MAX - 1;

    /// The machine's monotonic clock, counted from this call.
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands at 0 until it is moved by hand: for tests.
    pub fn manual() -> (Self, ManualClock) {
        let time_ns = Arc::new(AtomicU64::new(0));
        (
            Self(Source::Manual(Arc::clone(&time_ns))),
            ManualClock { time_ns },
        )
    }

    /// A clock that asks `now_ns` for nanoseconds since any fixed start. It is asked on every
    /// operation of a cache with expiry, so it should be quick; it must not use that cache.
    pub fn from_fn(now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Source::Custom(Arc::new(now_ns)))
    }

    /// Nanoseconds since the clock's start, at most [`END_OF_TIME_NS`](Self::END_OF_TIME_NS).
    #[inline]
    pub fn now_ns(&self) -> u64 {
        let now_ns = match &self.0 {
            Source::System { start } => whole_ns(start.elapsed()),
            // Acquire: pairs with the Release in `ManualClock`, so whoever sees the new time also
            // sees what the test did before it moved the clock.
            Source::Manual(time_ns) => time_ns.load(Ordering::Acquire),
            Source::Custom(now_ns) => now_ns(),
        };
        now_ns.min(Self::END_OF_TIME_NS)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.0 {
            Source::System { .. } => "system",
            Source::Manual(_) => "manual",
            Source::Custom(_) => "custom",
        };
        f.debug_tuple("Clock").field(&source).finish()
    }
}

/// Moves the clock that [`Clock::manual`] made together with it.
#[derive(Clone, Debug)]
pub struct ManualClock {
    time_ns: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the time on, at most to the end of time.
    pub fn advance(&self, by: Duration) {
        let by_ns = whole_ns(by);
        let _previous = self
            .time_ns
            // Release: pairs with the Acquire in `Clock::now_ns`.
            .update(Ordering::AcqRel, Ordering::Acquire, |now_ns| {
                now_ns.saturating_add(by_ns).min(Clock::END_OF_TIME_NS)
            });
    }

    /// Sets the time, counted from the clock's start; it may go back.
    pub fn set(&self, since_start: Duration) {
        let now_ns = whole_ns(since_start).min(Clock::END_OF_TIME_NS);
        // Release: pairs with the Acquire in `Clock::now_ns`.
        self.time_ns.store(now_ns, Ordering::Release);
    }
}

/// `duration` in nanoseconds; a duration too long for the number (584 years) is the largest one.
fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn system_clock_never_goes_back() {
        let clock = Clock::system();
        let mut last_ns = clock.now_ns();
        for _ in 0..10_000 {
            let now_ns = clock.clone().now_ns();
            assert!(now_ns >= last_ns);
            last_ns = now_ns;
        }
    }

    #[test]
    fn clones_of_a_manual_clock_share_its_time() {
        let (clock, hands) = Clock::manual();
        let clone = clock.clone();
        assert_eq!(clone.now_ns(), 0);
        hands.clone().advance(Duration::from_secs(2));
        hands.advance(Duration::from_nanos(1));
        assert_eq!(clone.now_ns(), 2_000_000_001);
        assert_eq!(clock.now_ns(), 2_000_000_001);
    }

    #[test]
    fn manual_clock_can_be_set_back() {
        let (clock, hands) = Clock::manual();
        hands.set(Duration::from_secs(10));
        hands.set(Duration::from_secs(4));
        assert_eq!(clock.now_ns(), 4_000_000_000);
    }

    #[test]
    fn no_clock_reaches_never() {
        let (clock, hands) = Clock::manual();
        hands.advance(Duration::MAX);
        assert_eq!(clock.now_ns(), Clock::END_OF_TIME_NS);
        hands.advance(Duration::MAX);
        assert_eq!(clock.now_ns(), Clock::END_OF_TIME_NS);
        hands.set(Duration::MAX);
        assert_eq!(clock.now_ns(), Clock::END_OF_TIME_NS);
        assert_eq!(Clock::from_fn(|| u64::MAX).now_ns(), Clock::END_OF_TIME_NS);
    }

    #[test]
    fn custom_source_is_asked_each_time() {
        let ticks = Arc::new(AtomicU64::new(7));
        let source = Arc::clone(&ticks);
        let clock = Clock::from_fn(move || source.fetch_add(1, Ordering::Relaxed));
        assert_eq!((clock.now_ns(), clock.now_ns()), (7, 8));
        assert_eq!(ticks.load(Ordering::Relaxed), 9);
    }
}
