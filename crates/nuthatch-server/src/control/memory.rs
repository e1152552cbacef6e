//! The memory of the process, and the bound that keeps it below `maxmemory`.
//!
//! The library bounds the weight of all items. What the process holds resident is more: blocks of items
//! that are free, tables, connections, code. The governor compares several times a second and sets the
//! library's bound so that what is bounded in the end is what the system's out-of-memory killer looks
//! at.
//!
//! Memory that was free once stays resident, and will be used by the next items. So the resident set
//! does not shrink when the library's bound does, and a governor that lowered the bound until the
//! resident set is small enough would lower it for ever. This one asks how densely the blocks of items
//! are used instead: how much of them was in use when they last had to be more. What is resident beyond the
//! bound all the same, since sizes or threads' shares of the work have changed, is given back to the system
//! as far as whole spans of blocks are free.
//!
//! Blocks of more than 4 KiB come from the general allocator, which keeps what is freed too, in gaps between
//! the others, and does not say how much. So whatever else is resident counts as needed if it was when the
//! process last grew, and not because fewer long blocks are in it than there were. How much room gaps will
//! take is not known before blocks are freed: at first each long block counts for an eighth more than it has,
//! and slowly for less as long as memory is left when the cache is full.
//!
//! # `used_memory`
//! What the process held when it started, and the part of the rest of `maxmemory` that the keys fill. So
//! it is near the resident set of a server without keys, grows with every key, falls with every key that
//! leaves although the resident set does not, and comes to `maxmemory` when the keys have come to the
//! bound and the next one evicts: the number that clients of Redis compare with `maxmemory`.

use crate::object::Entry;
use crate::server::Server;
use nuthatch::ItemMemory;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What `used_memory` is made of; see the module's text.
#[derive(Debug)]
pub struct Usage {
    /// What the process held before it had any keys.
    start_bytes: u64,
    /// What a byte of the library's weight stands for, in parts of [`ONE`](Self::ONE).
    cost: AtomicU64,
}

impl Usage {
    const ONE: u64 = 1 << 16;

    /// Of a process that holds no keys yet.
    pub fn of_start() -> Self {
        Self {
            start_bytes: resident_bytes().unwrap_or(0),
            cost: AtomicU64::new(Self::ONE),
        }
    }

    /// What is used where entries weigh so much.
    pub fn used_bytes(&self, weight: u64) -> u64 {
        let cost = self.cost.load(Ordering::Relaxed);
        let items = u128::from(weight) * u128::from(cost) / u128::from(Self::ONE);
        self.start_bytes
            .saturating_add(u64::try_from(items).unwrap_or(u64::MAX))
    }

    /// The library's bound is `capacity` where the process may hold `bound_bytes`. Where the bound
    /// leaves less than the library is given all the same, a byte stands for itself.
    fn follow(&self, bound_bytes: u64, capacity: u64) {
        let room = bound_bytes.saturating_sub(self.start_bytes).max(capacity);
        let cost = u128::from(room) * u128::from(Self::ONE) / u128::from(capacity.max(1));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        self.cost.store(cost, Ordering::Relaxed);
    }
}

/// What the governor looks at.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// What the process may hold.
    bound_bytes: u64,
    /// What it held before it had any keys.
    start_bytes: u64,
    /// What it holds.
    resident_bytes: u64,
    /// What blocks of items take.
    items: ItemMemory,
    /// What the library says that its entries weigh.
    weight: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Governor {
    /// The bound of the library that was set last; 0 before the first.
    set_bytes: u64,
    /// The most that blocks of items have taken since they last took less.
    reserved_bytes: usize,
    /// Which part of them was in use when they came to take that much.
    density: f64,
    /// What was resident beside them.
    outside_bytes: f64,
    /// What of that long blocks of items can not use.
    others_bytes: f64,
    /// Long blocks that were in it.
    long_bytes: usize,
    /// What a byte of them costs.
    long_cost: f64,
    /// The most that was resident lately, as a part of the bound.
    peak: f64,
}

impl Default for Governor {
    fn default() -> Self {
        Self {
            set_bytes: 0,
            reserved_bytes: 0,
            density: 1.0,
            outside_bytes: 0.0,
            others_bytes: 0.0,
            long_bytes: 0,
            long_cost: 1.0 + GAPS,
            peak: 0.0,
        }
    }
}

/// Below this the first region, of which little is in use, says nothing of how dense the others are.
const TELLING_BYTES: usize = 32 << 20;
/// What is divided between keys and the rest where `maxmemory` is less than the process took to start.
const LEAST_BYTES: f64 = 65_536.0;
/// What gaps between long blocks take at most, as a part of the blocks.
const GAPS: f64 = 0.125;
/// By how much that is lowered at a time: a hundredth in a second, and only if memory is left at the peaks, for
/// what long values hold swings from one look to the next. It is raised ten times as fast.
const GAPS_STEP: f64 = 0.001;

impl Governor {
    /// Sets the library's bound to what `maxmemory` leaves for items. Where the system does not tell what
    /// the process holds, that is all of it.
    pub fn govern(&mut self, server: &Server) {
        let cache = server.keyspace.cache();
        let bound_bytes = server.max_memory_bytes.load(Ordering::Relaxed);
        let resident_bytes = resident_bytes();
        if resident_bytes > Some(bound_bytes) {
            Entry::trim_memory();
        }
        let capacity = resident_bytes.map_or(bound_bytes, |resident_bytes| {
            self.capacity_bytes(Sight {
                bound_bytes,
                start_bytes: server.memory.start_bytes,
                resident_bytes,
                items: Entry::memory(),
                weight: cache.weight(),
            })
        });
        if capacity.abs_diff(self.set_bytes) > capacity / 512 && cache.resize(capacity).is_ok() {
            self.set_bytes = capacity;
        }
        server.memory.follow(bound_bytes, cache.capacity());
    }

    /// What entries may weigh so that the process comes to hold its bound.
    fn capacity_bytes(&mut self, sight: Sight) -> u64 {
        let ItemMemory {
            reserved_bytes,
            used_bytes,
            long_bytes,
        } = sight.items;
        if reserved_bytes > self.reserved_bytes && reserved_bytes > TELLING_BYTES {
            self.density = (used_bytes as f64 / reserved_bytes as f64).clamp(0.5, 1.0);
        }
        self.reserved_bytes = reserved_bytes;
        let used = (used_bytes + long_bytes) as f64;
        let bound = sight.bound_bytes as f64;
        let others = self.others_bytes(sight);
        // Whatever else is resident, and a process that has held more for long keeps much of it, keys have a
        // quarter of what it did not need from the start.
        let floor = (bound - sight.start_bytes as f64).max(LEAST_BYTES) / 4.0;
        if used < bound / 8.0 {
            // Too few items to tell what many would cost. What is held once stays resident, so the bound
            // is come to from below.
            return ((bound - others) * 0.7).max(floor) as u64;
        }
        self.weigh_gaps(sight);
        let cost = (used_bytes as f64 / self.density + long_bytes as f64 * self.long_cost) / used;
        let budget = (bound - others).max(floor) / cost;
        let capacity = budget * sight.weight as f64 / used;
        capacity.clamp(floor, bound.max(floor)) as u64
    }

    /// What is resident and not for items: tables and buffers, which grow with the items; code, which does
    /// not; gaps between long blocks as far as no such block can use them.
    fn others_bytes(&mut self, sight: Sight) -> f64 {
        let ItemMemory {
            reserved_bytes,
            long_bytes,
            ..
        } = sight.items;
        let outside = (sight.resident_bytes as f64 - reserved_bytes as f64).max(0.0);
        let grown = outside - self.outside_bytes;
        let changed = if grown >= 0.0 {
            grown
        } else {
            // What long blocks have left and the system has got back was not another's.
            let left = self.long_bytes.saturating_sub(long_bytes) as f64;
            (grown + left).min(0.0)
        };
        let most = (outside - long_bytes as f64).max(0.0);
        self.others_bytes = (self.others_bytes + changed).clamp(0.0, most);
        self.outside_bytes = outside;
        self.long_bytes = long_bytes;
        self.others_bytes
    }

    /// Corrects what long blocks cost by what is resident when the cache is full.
    fn weigh_gaps(&mut self, sight: Sight) {
        let resident = sight.resident_bytes as f64 / sight.bound_bytes as f64;
        let is_full = sight.weight as f64 > 0.95 * self.set_bytes as f64;
        self.peak = resident.max(self.peak * (1.0 - GAPS_STEP));
        if resident > 1.03 {
            self.long_cost += 10.0 * GAPS_STEP;
        } else if self.peak < 0.99 && is_full {
            self.long_cost -= GAPS_STEP;
        }
        self.long_cost = self.long_cost.clamp(1.0 - GAPS, 1.0 + GAPS);
    }
}

#[cfg(test)]
mod tests {
    use super::{Governor, Sight, Usage, kilobytes};
    use nuthatch::ItemMemory;

    /// A process whose items of 144 bytes cost 50 each in tables, and whose blocks are used to
    /// `density` when they grow, and stay when items go.
    struct Process {
        items: u64,
        reserved_bytes: usize,
        density: f64,
        tables: u64,
    }

    impl Process {
        fn hold(&mut self, items: u64) -> Sight {
            self.items = items;
            let used_bytes = 144 * items as usize;
            let needed = (used_bytes as f64 / self.density) as usize;
            self.reserved_bytes = self.reserved_bytes.max(needed);
            self.tables = self.tables.max(50 * items);
            Sight {
                bound_bytes: 1_000_000_000,
                start_bytes: 10_000_000,
                resident_bytes: 10_000_000 + self.tables + self.reserved_bytes as u64,
                items: ItemMemory {
                    reserved_bytes: self.reserved_bytes,
                    used_bytes,
                    long_bytes: 0,
                },
                weight: items * (144 + 40),
            }
        }
    }

    #[test]
    fn a_process_that_follows_the_bound_comes_to_it_and_stays_there() {
        for density in [0.97, 0.8] {
            let mut process = Process {
                items: 0,
                reserved_bytes: 0,
                density,
                tables: 0,
            };
            let mut governor = Governor::default();
            let mut items = 0;
            for step in 0..2000 {
                let sight = process.hold(items);
                let capacity = governor.capacity_bytes(sight);
                // Items come at a limited rate, and go at once.
                items = (items + 20_000).min(capacity / 184);
                if step > 1000 {
                    let error = sight.resident_bytes as f64 / 1e9 - 1.0;
                    assert!(error.abs() < 0.05, "off by {error} at density {density}");
                    let cost = 144.0 / density + 50.0;
                    let possible = 990_000_000.0 / cost;
                    assert!(items as f64 > 0.95 * possible, "{items} of {possible}");
                }
            }
        }
    }

    /// A process of items with long blocks, of an allocator that gives nothing back. Gaps come to take a
    /// part of what the blocks do, little by little from the first eviction on.
    struct Gaping {
        long_bytes: usize,
        gaps: f64,
        heap_bytes: f64,
        buffer_bytes: u64,
    }

    impl Gaping {
        /// Holds what the governor allows, a limited amount more than before, and asks it anew.
        fn step(&mut self, governor: &mut Governor, most_gaps: f64) -> Sight {
            let allowed = governor.set_bytes as usize;
            if self.long_bytes + (5 << 20) > allowed {
                self.gaps += (most_gaps - self.gaps) / 50.0;
            }
            self.long_bytes = (self.long_bytes + (5 << 20)).min(allowed);
            self.heap_bytes = self
                .heap_bytes
                .max(self.long_bytes as f64 * (1.0 + self.gaps));
            let sight = Sight {
                bound_bytes: 80_000_000,
                start_bytes: 8_000_000,
                resident_bytes: 8_000_000 + self.heap_bytes as u64 + self.buffer_bytes,
                items: ItemMemory {
                    reserved_bytes: 0,
                    used_bytes: 0,
                    long_bytes: self.long_bytes,
                },
                weight: self.long_bytes as u64,
            };
            governor.set_bytes = governor.capacity_bytes(sight);
            sight
        }
    }

    #[test]
    fn gaps_between_long_blocks_neither_break_the_bound_nor_lower_it_for_ever() {
        for most_gaps in [0.0, 0.05, 0.1, 0.15] {
            let mut process = Gaping {
                long_bytes: 0,
                gaps: 0.0,
                heap_bytes: 0.0,
                buffer_bytes: 0,
            };
            let mut governor = Governor::default();
            for step in 0..20_000 {
                // Buffers come and go.
                process.buffer_bytes = if step % 100 < 5 { 2_000_000 } else { 0 };
                let sight = process.step(&mut governor, most_gaps);
                let resident = sight.resident_bytes as f64 / 80e6;
                assert!(resident < 1.05, "{resident} resident with {most_gaps}");
                if step > 1_000 {
                    let possible = 70e6 / (1.0 + most_gaps);
                    let held = sight.weight as f64 / possible;
                    assert!(held > 0.9, "{held} held with {most_gaps} in step {step}");
                }
            }
        }
    }

    #[test]
    fn used_memory_goes_from_the_start_to_the_bound() {
        let mut usage = Usage::of_start();
        usage.start_bytes = 10 << 20;
        assert_eq!(usage.used_bytes(5), (10 << 20) + 5);
        for (bound, capacity) in [(1_u64 << 30, 800_u64 << 20), (100 << 20, 90 << 20)] {
            usage.follow(bound, capacity);
            assert_eq!(usage.used_bytes(0), 10 << 20);
            let half = (bound + (10 << 20)) / 2;
            assert!(usage.used_bytes(capacity / 2).abs_diff(half) < half / 1000);
            let full = usage.used_bytes(capacity);
            assert!(
                (bound - bound / 1000..=bound).contains(&full),
                "{full} of {bound}"
            );
        }
        // A bound below what the process takes anyway.
        usage.follow(8 << 20, 4 << 20);
        assert_eq!(usage.used_bytes(1 << 20), 11 << 20);
        assert!(usage.used_bytes(u64::MAX) > 1 << 40);
    }

    #[test]
    fn lines_of_the_system_are_read() {
        assert_eq!(kilobytes("A: 1 kB\nVmRSS:\t  20 kB\n", "VmRSS:"), Some(20));
        assert_eq!(kilobytes("VmRSS: x kB\n", "VmRSS:"), None);
        assert_eq!(kilobytes("", "VmRSS:"), None);
    }
}
