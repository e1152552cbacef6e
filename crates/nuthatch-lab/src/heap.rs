//! What a piece of work allocates, and how much memory it leaves behind.
//!
//! The binary's allocator is `alloc_tracker`'s: the system's, with counters of each thread's own
//! beside it that are written without atomic read-modify-write. That costs some 2 ns for an
//! allocation and its release together, few enough to leave it in during measurements of speed;
//! counters shared by all threads cost ten times as much and more under contention.
//!
//! The tracker tells totals and the *peak* of what a thread holds, not what it holds now. So
//! [`HeapMeter::growth`] ends with a block larger than any peak that the work can have reached and
//! takes that block's size off the peak: what remains is what the work left. The block is never
//! written, so it costs address space only.

use alloc_tracker::{Operation, ReportOperation, Session};
use std::hint::black_box;
use thiserror::Error;

/// A block of this size is mapped for itself and given back at once, whatever the allocator has
/// learnt from earlier blocks.
const LEAST_BALLAST_BYTES: u64 = 64 << 20;

/// Counts allocations.
#[derive(Debug)]
pub struct HeapMeter(());

/// Allocations of a piece of work, on all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// Calls that asked for memory, reallocations included.
    pub count: u64,
    /// The bytes that they asked for.
    pub bytes: u64,
}

/// Why the heap cannot be measured.
#[derive(Debug, Error)]
pub enum HeapError {
    /// The program's allocator does not count.
    #[error("this program's allocator does not count: it is not alloc_tracker's")]
    NotCounted,
    /// The machine does not hand out address space for the ballast.
    #[error("cannot reserve {bytes} bytes of address space to measure the heap with")]
    Ballast {
        /// Bytes asked for.
        bytes: u64,
    },
}

impl HeapMeter {
    /// A meter, if the program's allocator counts.
    pub fn new() -> Result<Self, HeapError> {
        let meter = Self(());
        let ((), probe) = meter.allocations(|| drop(black_box(Box::new(0_u8))));
        if probe.count == 0 {
            return Err(HeapError::NotCounted);
        }
        Ok(meter)
    }

    /// Does the work and counts its allocations, those of other threads included.
    pub fn allocations<T>(&self, work: impl FnOnce() -> T) -> (T, Allocations) {
        let (session, operation) = session();
        let span = operation.measure_process().iterations(1);
        let result = work();
        drop(span);
        let report = only_operation(&session);
        let allocations = Allocations {
            count: report.total_allocations_count(),
            bytes: report.total_bytes_allocated(),
        };
        (result, allocations)
    }

    /// Does the work and tells how many bytes more this thread holds afterwards: negative if it
    /// gave back memory that it had before, of which it had `held_bytes` at most. Memory of other
    /// threads does not count.
    pub fn growth<T>(
        &self,
        held_bytes: u64,
        work: impl FnOnce() -> T,
    ) -> Result<(T, i64), HeapError> {
        let (session, operation) = session();
        let span = operation.measure_thread().iterations(1);
        let (result, peak_bytes) = self.peak(work);
        // What is left is at least -held_bytes, so with this on top it is above the peak.
        let ballast_bytes = (peak_bytes + held_bytes + 1).max(LEAST_BALLAST_BYTES);
        reserve_and_release(ballast_bytes)?;
        drop(span);
        let lifted_bytes = peak_bytes_of(&only_operation(&session));
        Ok((result, lifted_bytes as i64 - ballast_bytes as i64))
    }

    fn peak<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let (session, operation) = session();
        let span = operation.measure_thread().iterations(1);
        let result = work();
        drop(span);
        (result, peak_bytes_of(&only_operation(&session)))
    }
}

fn session() -> (Session, Operation) {
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("work");
    (session, operation)
}

fn only_operation(session: &Session) -> ReportOperation {
    let report = session.to_report();
    let (_, operation) = report.operations().next().expect("one was begun");
    operation.clone()
}

fn peak_bytes_of(operation: &ReportOperation) -> u64 {
    let peak_bytes = operation.peak_outstanding_bytes();
    peak_bytes.expect("a span of one iteration has a peak") as u64
}

fn reserve_and_release(bytes: u64) -> Result<(), HeapError> {
    let mut block = Vec::<u8>::new();
    usize::try_from(bytes)
        .ok()
        .and_then(|bytes| block.try_reserve_exact(bytes).ok())
        .ok_or(HeapError::Ballast { bytes })?;
    black_box(&block);
    Ok(())
}

/// Bytes of memory that the process occupies; `None` where the machine does not tell.
///
/// Of the kernel's accounts this is the exact one: `statm` is some hundred kilobytes off, and
/// `smaps` comes in pieces, so that a heap that grows while it is read may be listed twice.
pub fn resident_bytes() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kilobytes: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_written_is_resident() {
        const BYTES: usize = 64 << 20;
        let written = black_box(vec![1_u8; BYTES]);
        assert!(resident_bytes().unwrap() >= BYTES as u64);
        drop(written);
    }

    #[test]
    fn an_allocator_that_does_not_count_is_refused() {
        assert!(matches!(HeapMeter::new(), Err(HeapError::NotCounted)));
    }
}
