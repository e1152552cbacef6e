//! When the requests of an open loop are due: evenly spaced, whatever becomes of them.
//!
//! The times follow from the requests' numbers alone, so requests that could not be sent yet need no
//! queue, and no error adds up. The clock is an argument.

const NS_PER_S: u128 = 1_000_000_000;

/// The requests of one thread among several that keep one rate together.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate_per_s: u64,
    thread: u64,
    threads: u64,
    /// The number, within this thread, of the next request.
    next: u64,
}

impl Schedule {
    /// # Panics
    /// If the rate is 0, or there is no such thread.
    pub(super) fn new(rate_per_s: u64, thread: usize, threads: usize) -> Self {
        assert!(
            rate_per_s > 0 && thread < threads,
            "someone sends something"
        );
        Self {
            rate_per_s,
            thread: thread as u64,
            threads: threads as u64,
            next: 0,
        }
    }

    /// When the next request is due, in nanoseconds since the start.
    #[inline]
    pub(super) fn next_ns(&self) -> u64 {
        self.time_ns(self.next)
    }

    /// Takes the next request if it is due: the time since when it has been.
    #[inline]
    pub(super) fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_ns();
        (due_ns <= now_ns).then(|| {
            self.next += 1;
            due_ns
        })
    }

    /// The threads take turns.
    #[inline]
    fn time_ns(&self, number: u64) -> u64 {
        let overall = u128::from(number) * u128::from(self.threads) + u128::from(self.thread);
        (overall * NS_PER_S / u128::from(self.rate_per_s)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(schedule: &mut Schedule, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take(now_ns)).collect()
    }

    #[test]
    fn requests_are_due_at_even_times() {
        let mut schedule = Schedule::new(1000, 0, 1);
        assert_eq!(taken(&mut schedule, 0), [0]);
        assert!(taken(&mut schedule, 999_999).is_empty());
        assert_eq!(schedule.next_ns(), 1_000_000);
        assert_eq!(taken(&mut schedule, 2_000_000), [1_000_000, 2_000_000]);
    }

    #[test]
    fn a_stall_leaves_every_request_due_when_it_was() {
        let mut schedule = Schedule::new(1000, 0, 1);
        assert_eq!(taken(&mut schedule, 0).len(), 1);
        let late = taken(&mut schedule, 1_000_000_000);
        let expected: Vec<_> = (1..=1000).map(|number| number * 1_000_000).collect();
        assert_eq!(late, expected);
    }

    #[test]
    fn no_error_adds_up_at_rates_that_do_not_divide_a_second() {
        let mut schedule = Schedule::new(3, 0, 1);
        let times = taken(&mut schedule, 3_600_000_000_000);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(times.len(), 3 * 3600 + 1);
        assert_eq!(times.last(), Some(&3_600_000_000_000));
    }

    #[test]
    fn threads_take_turns() {
        let mut together: Vec<_> = (0..3)
            .flat_map(|thread| taken(&mut Schedule::new(700, thread, 3), 1_000_000_000))
            .collect();
        together.sort_unstable();
        assert_eq!(
            together,
            taken(&mut Schedule::new(700, 0, 1), 1_000_000_000)
        );
    }
}
