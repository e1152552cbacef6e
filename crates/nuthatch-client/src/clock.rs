//! The near cache's source of time: cheap to read on every hit, and late by a known amount at most.
//!
//! A hit asks twice what time it is: whether the entry has expired, and whether its server has been heard
//! of lately. Neither needs nanoseconds. Linux keeps the time of its last tick in memory that every process
//! can read, which costs less than asking the hardware. Such a time may be [`LAG_NS`] behind,
//! so whatever ends, ends that much earlier here.

use nuthatch::Clock;
use std::time::Duration;

/// By how much a reading may be behind: a tick of a kernel with the slowest usual clock.
pub(crate) const LAG_NS: u64 = 10_000_000;

/// The machine's monotonic clock as of its last tick.
#[cfg(target_os = "linux")]
pub(crate) fn coarse() -> Clock {
    use rustix::time::{ClockId, clock_gettime};

    Clock::from_fn(|| {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        // Since the machine was started, so neither part is negative.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    })
}

/// The machine's monotonic clock.
#[cfg(not(target_os = "linux"))]
pub(crate) fn coarse() -> Clock {
    Clock::system()
}

/// `duration` in nanoseconds; the largest number for what is longer than that (584 years).
pub(crate) fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{LAG_NS, coarse};
    use std::time::Instant;

    #[test]
    fn the_clock_never_goes_back_and_keeps_up_with_the_precise_one() {
        let clock = coarse();
        let (start, first_ns) = (Instant::now(), clock.now_ns());
        let mut last_ns = first_ns;
        while start.elapsed().as_nanos() < 3 * u128::from(LAG_NS) {
            let now_ns = clock.now_ns();
            assert!(now_ns >= last_ns);
            last_ns = now_ns;
        }
        // The precise clock is read first, so the coarse one has had its time.
        let elapsed_ns = start.elapsed().as_nanos() as u64;
        let passed_ns = clock.now_ns() - first_ns;
        assert!(
            passed_ns + LAG_NS >= elapsed_ns,
            "{passed_ns} of {elapsed_ns}"
        );
    }
}
