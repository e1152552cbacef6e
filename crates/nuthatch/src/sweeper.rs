//! The optional background thread that clears away expired entries in caches that are not written.

use parking_lot::{Condvar, Mutex};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// Runs a task every period until dropped. The thread ends soon after; it is not waited for, since
/// the last handle may be dropped by the task itself.
#[derive(Debug)]
pub(crate) struct Sweeper {
    stopped: Arc<(Mutex<bool>, Condvar)>,
}

impl Sweeper {
    pub(crate) fn start(
        period: Duration,
        mut sweep: impl FnMut() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stopped);
        Builder::new()
            .name("nuthatch-sweeper".to_owned())
            .spawn(move || {
                let (stopped, wake) = &*seen;
                loop {
                    let mut stop = stopped.lock();
                    // A wake-up without a reason sweeps early, which does no harm.
                    if !*stop {
                        wake.wait_for(&mut stop, period);
                    }
                    if *stop {
                        return;
                    }
                    drop(stop);
                    // A key or a value whose drop panics has been reported by the panic hook; the
                    // next sweep goes on where this one was broken off.
                    if !catch_unwind(AssertUnwindSafe(&mut sweep)).unwrap_or(true) {
                        return;
                    }
                }
            })?;
        Ok(Self { stopped })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        *self.stopped.0.lock() = true;
        self.stopped.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::Sweeper;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn the_task_runs_again_and_again_and_ends_with_the_sweeper() {
        let (sender, receiver) = mpsc::channel();
        let sweeper = Sweeper::start(Duration::from_millis(1), move || sender.send(()).is_ok());
        let sweeper = sweeper.expect("a thread");
        for _ in 0..3 {
            receiver.recv().expect("the task runs");
        }
        drop(sweeper);
        // Ends, because the thread drops its sender.
        while receiver.recv().is_ok() {}
    }
}
