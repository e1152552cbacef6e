//! Counts the operations on [`Links`](super::Links), for tests that bound a policy's work by what
//! it does, not by how long that takes.

use std::cell::Cell;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Counts one operation of this thread.
pub(super) fn take() {
    STEPS.set(STEPS.get() + 1);
}

/// Operations of this thread so far.
pub(super) fn taken() -> u64 {
    STEPS.get()
}
