//! What one operation of a cache executes, and which cache lines it touches: counted instruction by
//! instruction, so that no noise disturbs it and no hardware counter is needed.
//!
//! A process of its own holds the cache and performs the operations between two marked functions
//! ([`perform`]). The measuring process traces it, executes the marked stretch in single steps,
//! decodes each instruction and computes the addresses that it reads and writes from the registers
//! before it ([`measure`]). The same stretch with nothing in it is measured too, and taken off.
//!
//! What tells locks and lock-free reads apart is what two threads write in common. So two threads
//! take turns: one hits a key, the other the same key and then a different one, and the lines that
//! the first wrote are looked up among those that the other touched. On several cores each such line
//! travels between them on every hit; a lock that is only read-locked is such a line.
//!
//! A line is 64 bytes. Lines of the thread's own stack do not count: those between the frame that
//! its work began in and the end of what it may use below. Variables of a thread's own lie above
//! and do count, but no other thread writes them. Lines of code do not count.
//!
//! Figures are means over the operations sampled, for some caches put work off and do it once in a
//! while; the median of the instructions stands beside their mean and tells where they do. A traced
//! process runs thousands of times slower than others, so what a cache does after so many
//! milliseconds comes in after fewer operations than it would.

use crate::keys::Kind;
use crate::suggestion::unknown;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::io;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod decoder;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod unsupported;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use stage::perform;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use tracer::measure;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub use unsupported::{measure, perform};

/// What is done to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A read of a key that is resident and has been read before.
    Hit,
    /// An insertion of a key that is resident.
    Update,
    /// An insertion of a new key into a cache that is full.
    Evict,
}

impl Operation {
    /// All operations, in the order of listings.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Update, Self::Evict];

    /// The name that [`from_str`](Self::from_str) knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Update => "update",
            Self::Evict => "evict",
        }
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no operation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", unknown("cache operation", name, &Operation::ALL.map(Operation::name)))]
pub struct UnknownOperation {
    /// The name given.
    pub name: String,
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == text)
            .ok_or_else(|| UnknownOperation {
                name: text.to_owned(),
            })
    }
}

/// What is measured of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The operation.
    pub operation: Operation,
    /// The entries.
    pub keys: Kind,
    /// Entries that the cache may hold.
    pub capacity: u32,
}

/// How much work a measurement may be.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Operations sampled, unless that takes too many steps.
    pub samples: u32,
    /// No further operation is sampled after so many steps.
    pub most_steps: u64,
    /// A process that takes longer is ended.
    pub limit: Duration,
}

/// One line of the result; its fields are what scripts rely on. All but the median are means over
/// the samples.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FootprintRow {
    /// The cache's name.
    pub cache: String,
    /// What was done to it.
    pub operation: Operation,
    /// Its entries.
    pub keys: Kind,
    /// Operations sampled.
    pub samples: u32,
    /// Instructions executed, those in the kernel excepted.
    pub instructions: f64,
    /// Their median: less than the mean where some operations do the work that others put off.
    pub instructions_median: f64,
    /// Instructions that read and write memory in one atomic step.
    pub atomic_instructions: f64,
    /// Instructions that only wait for memory accesses.
    pub fences: f64,
    /// Calls of the kernel.
    pub system_calls: f64,
    /// Lines read, once each.
    pub lines_read: f64,
    /// Lines written, once each; those read as well included.
    pub lines_written: f64,
    /// Lines written by a hit that another thread's hit on the same key touches. `None` for
    /// operations that are no hits.
    pub shared_lines_written_same_key: Option<f64>,
    /// The same for another thread's hit on a different key.
    pub shared_lines_written_other_key: Option<f64>,
}

/// Why an operation cannot be measured.
#[derive(Debug, Error)]
pub enum FootprintError {
    /// Neither the registers nor the instructions of this machine are known.
    #[error("footprints are measured on Linux on x86-64 only")]
    Unsupported,
    /// The system forbids it: a security module, a sandbox, or a container's defaults.
    #[error("ptrace is not permitted here, and without it nothing can be executed step by step")]
    NotPermitted(#[source] io::Error),
    /// The process with the cache does not start, or does not speak as it should.
    #[error("cannot talk to the process with the cache")]
    Process(#[from] io::Error),
    /// The process with the cache said something else than which threads to trace.
    #[error("the process with the cache does not say which threads to trace")]
    Greeting(#[from] serde_json::Error),
    /// The process with the cache ended before its time.
    #[error("its process died: {0}")]
    Died(String),
    /// The process with the cache was ended because it took too long.
    #[error("its process was not done after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A request to the kernel failed.
    #[error("cannot trace its process")]
    Trace(#[source] io::Error),
    /// There is no instruction where one is to be executed.
    #[error("cannot decode the instruction at {address:#x}")]
    Undecodable {
        /// Where.
        address: u64,
    },
    /// The addresses that an instruction touches are not told by the registers that were read.
    #[error("cannot tell which memory {instruction} touches")]
    UnknownMemory {
        /// Its name.
        instruction: String,
    },
    /// Too few keys stayed in the cache to hit any.
    #[error("the cache keeps {kept} of {inserted} entries, too few to hit")]
    TooFewResident {
        /// Entries found.
        kept: usize,
        /// Entries inserted.
        inserted: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_name() {
        for operation in Operation::ALL {
            assert_eq!(operation.name().parse(), Ok(operation));
        }
        let error = "evcit".parse::<Operation>().unwrap_err();
        assert!(error.to_string().contains("did you mean evict"), "{error}");
    }
}
