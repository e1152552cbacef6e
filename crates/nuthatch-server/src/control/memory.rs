//! The memory of the process, and the bound that keeps it below `maxmemory`.
//!
//! The library bounds the weight of all items. What the process holds resident is more: the
//! allocator's rounding and its free lists, tables, connections, code. The governor measures the
//! difference now and then and takes it off the bound, so that what is bounded in the end is what the
//! system's out-of-memory killer looks at.

use crate::server::Server;
use std::fs;
use std::sync::atomic::Ordering;

/// Resident bytes of this process; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

/// The largest that [`resident_bytes`] has been.
pub fn peak_resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmHWM:").map(|kilobytes| kilobytes * 1024)
}

/// Memory of the machine.
pub fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&text, "MemTotal:").map(|kilobytes| kilobytes * 1024)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// What the container may hold, if it is bounded.
fn container_bytes() -> Option<u64> {
    let paths = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    paths
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Three quarters of what the machine or the container has.
pub fn default_bound_bytes() -> u64 {
    /// Where the system tells nothing.
    const UNKNOWN: u64 = 1 << 30;
    let machine = machine_bytes().unwrap_or(UNKNOWN);
    container_bytes().unwrap_or(u64::MAX).min(machine) / 4 * 3
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Governor {
    /// The bound of the library that was set last; 0 before the first.
    set_bytes: u64,
}

impl Governor {
    /// Sets the library's bound to what `maxmemory` leaves for items.
    pub fn govern(&mut self, server: &Server) {
        let Some(resident) = resident_bytes() else {
            return;
        };
        let cache = server.keyspace.cache();
        let bound = server.max_memory_bytes.load(Ordering::Relaxed);
        let items = cache.weight();
        let capacity = capacity_bytes(bound, resident, items);
        if capacity.abs_diff(self.set_bytes) > bound / 1024 && cache.resize(capacity).is_ok() {
            self.set_bytes = capacity;
        }
    }
}

/// What items may weigh so that a process that holds `resident` bytes with items of `items` bytes comes
/// to hold `bound`.
///
/// The difference has a fixed part and one that grows with the items. As long as the items are few, all
/// of it counts as fixed, which errs by little; when they are many, the ratio tells.
fn capacity_bytes(bound: u64, resident: u64, items: u64) -> u64 {
    let difference = resident.saturating_sub(items);
    // Where items are a small part, the allocator's share of them cannot be told from the rest.
    let by_difference = bound.saturating_sub(difference);
    if items < bound / 4 {
        return by_difference.max(bound / 2).max(1);
    }
    let by_ratio = (u128::from(bound) * u128::from(items) / u128::from(resident.max(1))) as u64;
    by_difference
        .min(by_ratio.max(bound / 2))
        .clamp(bound / 2, bound)
}

#[cfg(test)]
mod tests {
    use super::{capacity_bytes, kilobytes};

    #[test]
    fn a_process_that_follows_the_bound_ends_at_the_bound() {
        // Items cost a fifth more than they weigh, and 20 MB are there from the beginning.
        let resident_of = |items: u64| 20_000_000 + items + items / 5;
        let bound = 1_000_000_000;
        let mut items = 0;
        for _ in 0..100 {
            items = capacity_bytes(bound, resident_of(items), items);
        }
        let error = resident_of(items).abs_diff(bound) as f64 / bound as f64;
        assert!(error < 0.05, "off by {error}");
    }

    #[test]
    fn lines_of_the_system_are_read() {
        assert_eq!(kilobytes("A: 1 kB\nVmRSS:\t  20 kB\n", "VmRSS:"), Some(20));
        assert_eq!(kilobytes("VmRSS: x kB\n", "VmRSS:"), None);
        assert_eq!(kilobytes("", "VmRSS:"), None);
    }
}
