//! What a report was measured on and with.

use super::plan::Scale;
use super::record::About;
use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::{env, fs, thread};
use sysinfo::System;

/// The packages of the caches that are measured beside ours.
const PACKAGES: [&str; 12] = [
    "moka",
    "quick_cache",
    "neocache",
    "foyer-memory",
    "mini-moka",
    "TinyUFO",
    "stretto",
    "scc",
    "sieve-cache",
    "lru",
    "papaya",
    "dashmap",
];
/// What the workspace was built with.
const LOCK_FILE: &str = include_str!("../../../../Cargo.lock");

/// A machine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// Threads that run at a time.
    pub threads: usize,
    /// Its memory.
    pub memory_bytes: u64,
    /// The operating system and its version.
    pub system: String,
}

impl Machine {
    /// This one.
    fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let system = System::new_all().ok();
        let processor = system.as_ref().and_then(|system| system.cpus().first());
        Self {
            processor: processor.map_or_else(unknown, |cpu| cpu.brand().trim().to_owned()),
            threads: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: system.map_or(0, |system| system.total_memory()),
            system: System::kernel_long_version().unwrap_or_else(|_| unknown()),
        }
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} threads at a time, {:.0} GiB, {}",
            self.processor,
            self.threads,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.system
        )
    }
}

impl About {
    /// A report begun here and now by this program.
    pub fn here(scale: Scale, traces: &[String]) -> io::Result<Self> {
        let program = fs::read(env::current_exe()?)?;
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write(&program);
        Ok(Self {
            scale,
            machine: Machine::here(),
            program: format!("{} ({:016x})", env!("CARGO_PKG_VERSION"), hasher.finish()),
            compiler: env!("NUTHATCH_COMPILER").to_owned(),
            packages: packages(LOCK_FILE),
            traces: traces.to_vec(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        })
    }
}

/// The versions of the packages in a lock file; of several the newest, which comes last.
fn packages(lock_file: &str) -> Vec<(String, String)> {
    let quoted = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        value.strip_suffix('"').map(str::to_owned)
    };
    let lines = || lock_file.lines();
    let version = |name: &str| {
        let pairs = lines().zip(lines().skip(1));
        pairs
            .filter(|(first, _)| quoted(first, "name").as_deref() == Some(name))
            .filter_map(|(_, second)| quoted(second, "version"))
            .last()
    };
    let known = PACKAGES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), version(name)?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measured_package_has_a_version() {
        let found = packages(LOCK_FILE);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, PACKAGES);
        assert!(
            found
                .iter()
                .all(|(_, version)| version.starts_with(|digit: char| digit.is_ascii_digit()))
        );
    }

    #[test]
    fn of_several_versions_the_newest_is_told() {
        let file =
            "name = \"moka\"\nversion = \"0.11.0\"\n\nname = \"moka\"\nversion = \"0.12.1\"\n";
        assert_eq!(packages(file), [("moka".to_owned(), "0.12.1".to_owned())]);
    }
}
