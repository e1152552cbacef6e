//! What a report measures.
//!
//! Each unit is one command of the laboratory, in which all caches are measured in turn, round by
//! round. Units are minutes at most: what an interruption loses.

use crate::caches::{CacheList, Family, roster};
use crate::workloads::Workload;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How thorough a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Less than ten minutes on two cores.
    Quick,
    /// Less than ninety.
    Full,
}

/// What a unit's rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Throughput by threads, everything resident.
    Lock,
    /// What one operation executes and touches.
    Footprint,
    /// The cost of an eviction by capacity.
    Evict,
    /// Evictions by threads.
    EvictThreads,
    /// Durations of hits among writes.
    Latency,
    /// What policies miss.
    Policies,
    /// What `dlfu` misses as its weight moves.
    Weights,
    /// What caches miss.
    HitRatios,
    /// Bytes of an entry.
    Memory,
    /// Throughput of all caches.
    Peers,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// What its rows are for.
    pub part: Part,
    /// What to tell people who wait.
    pub name: String,
    /// The command's arguments.
    pub arguments: Vec<String>,
    /// How long it takes on two cores, roughly.
    pub expected: Duration,
}

/// What a throughput measurement is told.
#[derive(Clone, Copy)]
struct Throughput<'a> {
    caches: &'a str,
    workload: &'a str,
    keys: &'a str,
    threads: &'a str,
    capacity: &'a str,
    millis: u32,
    more: &'a [&'a str],
}

/// All measurements of a report, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How thorough they are.
    pub scale: Scale,
    /// The measurements.
    pub units: Vec<Unit>,
}

/// The designs whose locks are compared, and maps that show what is possible; at most eight, as many
/// as a chart shows. Who is in several lists has the same place in each, and so the same colour.
const LOCKS: [&str; 8] = [
    "nuthatch-lockfree",
    "nuthatch-locked",
    "classic-rwlock",
    "classic-lockfree",
    "papaya",
    "dashmap",
    "quick_cache",
    "neocache",
];
/// Those whose evictions are.
const EVICTORS: [&str; 8] = [
    "nuthatch-lockfree",
    "nuthatch-lockfree:s3_fifo",
    "classic-rwlock",
    "classic-lockfree",
    "scc_hashcache",
    "moka",
    "quick_cache",
    "neocache",
];
/// The same from several threads.
const THREADED_EVICTORS: [&str; 8] = [
    "nuthatch-lockfree",
    "nuthatch-locked",
    "classic-rwlock",
    "classic-lockfree",
    "scc_hashcache",
    "mutex_lru",
    "quick_cache",
    "neocache",
];
const LATENCIES: [&str; 8] = [
    "nuthatch-lockfree",
    "nuthatch-locked",
    "classic-rwlock:batch",
    "foyer",
    "scc_hashcache",
    "moka",
    "quick_cache",
    "neocache",
];
/// The policies of the curves and of the matrix.
const POLICIES: &str =
    "default,lru,sieve,s3_fifo,w_tiny_lfu,arc,lirs,belady,clock,two_q,slru,lfu,fifo,random";
/// The weights of `dlfu`, from LFU to LRU.
const WEIGHTS: &str = "dlfu:0,dlfu:0.01,dlfu:0.03,dlfu:0.1,dlfu:0.3,dlfu:0.5,dlfu:0.8,dlfu:1";
const SIZES: &str = "0.3%,1%,3%,10%,30%";
/// Traces made up on the spot, beside those that come along.
const SYNTHETIC: [&str; 3] = [
    "zipf:0.9:100000:1000000",
    "scan:0.9:20000:1000000",
    "loop:10000:200000",
];

/// The names of those that this build has, with commas between them.
fn present(names: &[&str]) -> String {
    let has = |name: &&&str| {
        let plain = name.split(':').next().unwrap_or(name);
        roster().any(|info| info.name == plain)
    };
    names
        .iter()
        .filter(has)
        .copied()
        .collect::<Vec<_>>()
        .join(",")
}

/// Ours and all others that keep a bound, but for the classic designs, whose evictions take too long.
fn bounded(ours: &[&str]) -> String {
    let all = CacheList::all();
    let peers = all
        .iter()
        .filter(|cache| cache.info().family == Family::Peer);
    let names: Vec<_> = ours
        .iter()
        .copied()
        .chain(peers.map(|cache| cache.info().name))
        .collect();
    present(&names)
}

impl Plan {
    /// The measurements of a report, on traces of the caller's own as well, if there are any.
    pub fn new(scale: Scale, traces: &[String]) -> Self {
        let mut plan = Self {
            scale,
            units: Vec::new(),
        };
        plan.add_lock();
        plan.add_footprint();
        plan.add_eviction();
        plan.add_latency();
        plan.add_policies(traces);
        plan.add_memory();
        plan.add_peers();
        plan
    }

    /// What is quick and what is not.
    fn choose<T>(&self, quick: T, full: T) -> T {
        match self.scale {
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }

    fn add(&mut self, part: Part, name: &str, seconds: f64, arguments: &[&str]) {
        self.units.push(Unit {
            part,
            name: name.to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            expected: Duration::from_secs_f64(seconds),
        });
    }

    /// A throughput measurement as it is unless a chapter wants it otherwise.
    fn throughput<'a>(&self, caches: &'a str, workload: &'a str) -> Throughput<'a> {
        Throughput {
            caches,
            workload,
            keys: "u64",
            threads: "1,2",
            capacity: self.choose("10000", "100000"),
            millis: self.choose(60, 300),
            more: &[],
        }
    }

    fn add_throughput(&mut self, part: Part, measured: &Throughput<'_>) {
        let Throughput {
            caches,
            workload,
            keys,
            threads,
            capacity,
            millis,
            more,
        } = *measured;
        let rounds = self.choose(3, 5);
        let runs = rounds * caches.split(',').count() * threads.split(',').count();
        let seconds = runs as f64 * (f64::from(millis) * 1.2e-3 + self.choose(0.03, 0.2));
        let (rounds, millis) = (rounds.to_string(), millis.to_string());
        let mut arguments = vec!["throughput", "--caches", caches, "--workloads", workload];
        arguments.extend(["--keys", keys, "--threads", threads]);
        arguments.extend([
            "--capacity",
            capacity,
            "--rounds",
            &rounds,
            "--millis",
            &millis,
        ]);
        arguments.extend(more);
        let name = format!("throughput, {workload}, {keys}, {threads} threads");
        self.add(part, &name, seconds, &arguments);
    }

    fn add_lock(&mut self) {
        let caches = present(&LOCKS);
        for workload in ["read-only", "read-heavy", "hot-key"] {
            let measured = Throughput {
                threads: self.choose("1,2,8,1000", "1,2,4,16,64,1000"),
                more: &["--key-space", "1"],
                ..self.throughput(&caches, workload)
            };
            self.add_throughput(Part::Lock, &measured);
        }
    }

    fn add_footprint(&mut self) {
        let more = [
            "scc_hashcache",
            "moka",
            "foyer",
            "mutex_lru",
            "rwlock_hashmap",
        ];
        let hits = present(&[&LOCKS[..], &more].concat());
        // Step by step, an eviction that looks at all entries takes minutes.
        let writes = present(
            &[
                &["nuthatch-lockfree:s3_fifo"],
                &LOCKS[..2],
                &LOCKS[6..],
                &more[..4],
            ]
            .concat(),
        );
        for (caches, operations, seconds) in [(hits, "hit", 120.0), (writes, "update,evict", 240.0)]
        {
            let mut arguments = vec!["footprint", "--caches", &caches];
            arguments.extend(["--operations", operations, "--keys", "u64"]);
            if self.scale == Scale::Quick {
                arguments.push("--quick");
            }
            let name = format!("footprint, {operations}");
            self.add(
                Part::Footprint,
                &name,
                self.choose(15.0, seconds),
                &arguments,
            );
        }
    }

    fn add_eviction(&mut self) {
        let caches = present(&EVICTORS);
        let (capacities, rounds, millis) = self.choose(
            ("1000,10000,100000", "3", "50"),
            ("1000,10000,100000,1000000,10000000", "3", "200"),
        );
        let arguments = [
            "evict",
            "--caches",
            &caches,
            "--capacity",
            capacities,
            "--rounds",
            rounds,
            "--millis",
            millis,
        ];
        self.add(
            Part::Evict,
            "evictions by capacity",
            self.choose(15.0, 400.0),
            &arguments,
        );
        let caches = present(&THREADED_EVICTORS);
        let measured = Throughput {
            threads: self.choose("1,2,8", "1,2,4,16,64"),
            // Larger, and the classic designs would not end one eviction in a run.
            capacity: "10000",
            ..self.throughput(&caches, "evict")
        };
        self.add_throughput(Part::EvictThreads, &measured);
    }

    fn add_latency(&mut self) {
        let caches = present(&LATENCIES);
        for workload in ["write-heavy", "read-heavy"] {
            let measured = Throughput {
                threads: "2",
                millis: self.choose(300, 1000),
                ..self.throughput(&caches, workload)
            };
            self.add_throughput(Part::Latency, &measured);
        }
    }

    fn add_policies(&mut self, traces: &[String]) {
        for (part, policies) in [(Part::Policies, POLICIES), (Part::Weights, WEIGHTS)] {
            let what = match part {
                Part::Policies => "policies",
                _ => "weights of dlfu",
            };
            let arguments = ["simulate", "--quick", "--policies", policies];
            self.add(part, &format!("{what}, recorded traces"), 8.0, &arguments);
            for trace in SYNTHETIC
                .iter()
                .copied()
                .chain(traces.iter().map(String::as_str))
            {
                let arguments = [
                    "simulate",
                    "--traces",
                    trace,
                    "--sizes",
                    SIZES,
                    "--policies",
                    policies,
                ];
                self.add(part, &format!("{what}, {trace}"), 6.0, &arguments);
            }
        }
        let caches = bounded(&["nuthatch-lockfree", "nuthatch-locked"]);
        let arguments = [
            "hitratio",
            "--quick",
            "--caches",
            &caches,
            "--threads",
            "1,8",
        ];
        self.add(Part::HitRatios, "caches, recorded traces", 40.0, &arguments);
    }

    fn add_memory(&mut self) {
        // Fewer, and what is rounded up once for a cache would count as every entry's.
        let entries = "1000000";
        let caches = bounded(&["nuthatch-lockfree", "nuthatch-lockfree:ttl"]);
        let caches = match present(&["moka"]).as_str() {
            "" => caches,
            _ => caches + ",moka:ttl",
        };
        for keys in ["u64", "string"] {
            let mut arguments = vec![
                "memory",
                "--caches",
                &caches,
                "--entries",
                entries,
                "--keys",
                keys,
            ];
            if self.scale == Scale::Quick {
                arguments.push("--quick");
            }
            self.add(
                Part::Memory,
                &format!("memory, {keys}"),
                self.choose(45.0, 120.0),
                &arguments,
            );
        }
    }

    fn add_peers(&mut self) {
        let ours = [
            "nuthatch-lockfree",
            "nuthatch-lockfree:s3_fifo",
            "nuthatch-locked",
        ];
        let maps = present(&["papaya", "dashmap", "scc_hashmap"]);
        let caches = [bounded(&ours), maps].join(",");
        let caches = caches.trim_end_matches(',');
        let kinds: &[&str] = self.choose(&["u64"], &["u64", "string"]);
        for keys in kinds {
            for workload in Workload::ALL {
                let measured = Throughput {
                    keys,
                    ..self.throughput(caches, workload.name())
                };
                self.add_throughput(Part::Peers, &measured);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_is_planned_twice_and_none_names_what_the_build_lacks() {
        for scale in [Scale::Quick, Scale::Full] {
            let units = Plan::new(scale, &["a.csv".to_owned()]).units;
            for (number, unit) in units.iter().enumerate() {
                let same = |other: &&Unit| other.arguments == unit.arguments;
                assert!(
                    !units[..number].iter().any(|other| same(&other)),
                    "{}",
                    unit.name
                );
                assert!(
                    unit.arguments.iter().all(|word| !word.is_empty()),
                    "{unit:?}"
                );
                if let Some(caches) = unit.arguments.iter().position(|word| word == "--caches") {
                    assert!(
                        unit.arguments[caches + 1].parse::<CacheList>().is_ok(),
                        "{unit:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_expected_keeps_within_what_is_promised() {
        for (scale, minutes) in [(Scale::Quick, 10), (Scale::Full, 90)] {
            let plan = Plan::new(scale, &[]);
            let expected: Duration = plan.units.iter().map(|unit| unit.expected).sum();
            assert!(
                expected < Duration::from_secs(60 * minutes),
                "{scale:?}: {expected:?}"
            );
        }
    }
}
