//! What the threads of a closed-loop measurement do.
//!
//! A [`Plan`] is all that is decided before the clock runs: which keys there are, in which order
//! they are asked for, which requests write, and with which entries the cache starts. It depends on
//! its [`Shape`] alone, seed included, so all caches of a run answer the same requests, and so does
//! the next run.
//!
//! Popularity is Zipf's law with exponent 0.99, as in YCSB (Cooper et al., SoCC 2010); a seeded
//! permutation keeps a key's number from telling its rank. A cache starts full, with the keys that
//! the stream asks for first: as if it had just been filled by these requests, without an eviction
//! yet.

use crate::keys::KeyKind;
use crate::suggestion::unknown;
use crate::trace::Zipf;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::{self, Display};
use std::str::FromStr;
use thiserror::Error;

/// The exponent of Zipf's law.
const ZIPF_EXPONENT: f64 = 0.99;
/// Keys of [`Workload::HotKey`].
const HOT_KEYS: u32 = 4;
/// One in so many requests of [`Workload::Scan`] belongs to the scan.
const SCAN_STRIDE: usize = 4;

/// A mix of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Reads of resident keys.
    ReadOnly,
    /// 95 % reads, 5 % insertions.
    ReadHeavy,
    /// 75 % reads, 25 % insertions.
    Mixed,
    /// 25 % reads, 75 % insertions.
    WriteHeavy,
    /// Insertions of keys never seen before, past the capacity.
    Evict,
    /// Reads, and an insertion after each miss.
    CacheAside,
    /// Reads of very few keys by all threads.
    HotKey,
    /// As [`CacheAside`](Self::CacheAside), with a scan over all keys running through: one request
    /// in four.
    Scan,
}

/// How a thread turns the stream into operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    /// Reads, and insertions where the plan says so.
    ReadsAndWrites,
    /// Reads that insert after a miss.
    ReadThrough,
    /// Insertions of keys of its own, each once; the stream is not used.
    FreshInserts,
}

impl Workload {
    /// All workloads, in the order of listings.
    pub const ALL: [Self; 8] = [
        Self::ReadOnly,
        Self::ReadHeavy,
        Self::Mixed,
        Self::WriteHeavy,
        Self::Evict,
        Self::CacheAside,
        Self::HotKey,
        Self::Scan,
    ];

    /// The name that [`from_str`](Self::from_str) knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadHeavy => "read-heavy",
            Self::Mixed => "mixed",
            Self::WriteHeavy => "write-heavy",
            Self::Evict => "evict",
            Self::CacheAside => "cache-aside",
            Self::HotKey => "hot-key",
            Self::Scan => "scan",
        }
    }

    /// How a thread turns the stream into operations.
    pub fn operations(self) -> Operations {
        match self {
            Self::ReadOnly | Self::ReadHeavy | Self::Mixed | Self::WriteHeavy | Self::HotKey => {
                Operations::ReadsAndWrites
            }
            Self::CacheAside | Self::Scan => Operations::ReadThrough,
            Self::Evict => Operations::FreshInserts,
        }
    }

    /// The share of insertions among its operations.
    fn write_share(self) -> f64 {
        match self {
            Self::ReadHeavy => 0.05,
            Self::Mixed => 0.25,
            Self::WriteHeavy => 0.75,
            _ => 0.0,
        }
    }

    /// Whether all keys are resident whatever the shape says.
    fn all_resident(self) -> bool {
        matches!(self, Self::ReadOnly | Self::HotKey)
    }
}

impl Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no workload.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", unknown("workload", name, &names()))]
pub struct UnknownWorkload {
    /// The name given.
    pub name: String,
}

fn names() -> Vec<&'static str> {
    Workload::ALL
        .map(Workload::name)
        .into_iter()
        .chain(["all"])
        .collect()
}

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(text: &str) -> Result<Self, UnknownWorkload> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == text)
            .ok_or_else(|| UnknownWorkload {
                name: text.to_owned(),
            })
    }
}

/// Workloads to run: names with commas between them, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadList(pub Vec<Workload>);

impl FromStr for WorkloadList {
    type Err = UnknownWorkload;

    fn from_str(text: &str) -> Result<Self, UnknownWorkload> {
        let workloads = match text {
            "all" => Workload::ALL.to_vec(),
            names => names.split(',').map(str::parse).collect::<Result<_, _>>()?,
        };
        Ok(Self(workloads))
    }
}

/// How large a plan is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Entries that the cache may hold.
    pub capacity: u32,
    /// Distinct keys asked for, as a multiple of the capacity; up to 1, all are resident.
    pub key_space: f64,
    /// Where the random choices start from.
    pub seed: u64,
}

/// All that is decided of a measurement before the clock runs.
#[derive(Debug)]
pub struct Plan<R: KeyKind> {
    operations: Operations,
    room: usize,
    table: Vec<R::Key>,
    fill: Vec<u32>,
    stream: Vec<R::Ticket>,
    writes: Vec<bool>,
}

impl<R: KeyKind> Plan<R> {
    /// Prepares a workload.
    pub fn new(workload: Workload, shape: &Shape) -> Self {
        let ids = Ids::new(workload, shape);
        let writes = writes(workload.write_share(), ids.stream.len(), shape.seed);
        Self {
            operations: workload.operations(),
            room: ids.room,
            table: R::table(ids.keys),
            fill: ids.fill,
            stream: ids.stream.into_iter().map(R::ticket).collect(),
            writes,
        }
    }

    /// How a thread turns the stream into operations.
    pub fn operations(&self) -> Operations {
        self.operations
    }

    /// The capacity that the cache is built with. Where all keys are to be resident it is twice
    /// their number, so that no cache evicts because its shards are unevenly full.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether all keys are to be resident.
    pub fn all_resident(&self) -> bool {
        self.room > self.fill.len()
    }

    /// The entries that the cache starts with, in the order of their insertion.
    pub fn fill(&self) -> impl Iterator<Item = (R::Key, R::Value)> {
        self.fill
            .iter()
            .map(|&id| (R::key(id.into()), R::value(id.into())))
    }

    /// Requests in the stream: a power of two.
    pub fn requests(&self) -> usize {
        self.stream.len()
    }

    /// The key of a request.
    #[inline]
    pub fn key(&self, request: usize) -> &R::Key {
        R::resolve(&self.table, &self.stream[request])
    }

    /// Whether a request is an insertion.
    #[inline]
    pub fn is_write(&self, request: usize) -> bool {
        self.writes[request]
    }
}

/// A plan in numbers of keys.
struct Ids {
    keys: u32,
    room: usize,
    fill: Vec<u32>,
    stream: Vec<u32>,
}

impl Ids {
    fn new(workload: Workload, shape: &Shape) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(shape.seed);
        let capacity = shape.capacity;
        let keys = match workload {
            Workload::HotKey => HOT_KEYS,
            Workload::ReadOnly | Workload::Evict => capacity,
            _ => ((f64::from(capacity) * shape.key_space) as u32).max(1),
        };
        let all_resident = workload.all_resident() || keys <= capacity;
        let room = match workload {
            Workload::Evict => capacity as usize,
            _ if all_resident => 2 * capacity as usize,
            _ => capacity as usize,
        };
        let ranked = permutation(keys, &mut random);
        let stream = match workload {
            Workload::Evict => Vec::new(),
            _ => stream(workload, &ranked, requests(capacity), &mut random),
        };
        let fill = first_distinct(&stream, &ranked, capacity.min(keys));
        Self {
            keys,
            room,
            fill,
            stream,
        }
    }
}

/// Requests of a stream for a cache of `capacity`: many times more, so that a cache does not meet
/// the stream's beginning again before it has turned its content over.
fn requests(capacity: u32) -> usize {
    (capacity as usize * 16)
        .next_power_of_two()
        .clamp(1 << 16, 1 << 24)
}

fn permutation(keys: u32, random: &mut Xoshiro256PlusPlus) -> Vec<u32> {
    let mut ids: Vec<_> = (0..keys).collect();
    ids.shuffle(random);
    ids
}

/// Requests for the ids in `ranked`, of which the first is the most popular.
fn stream(
    workload: Workload,
    ranked: &[u32],
    requests: usize,
    random: &mut Xoshiro256PlusPlus,
) -> Vec<u32> {
    let zipf = Zipf::new(ZIPF_EXPONENT, ranked.len() as u64);
    (0..requests)
        .map(|request| {
            if workload == Workload::Scan && request % SCAN_STRIDE == 0 {
                (request / SCAN_STRIDE % ranked.len()) as u32
            } else {
                ranked[zipf.rank(random.next_u64()) as usize]
            }
        })
        .collect()
}

/// The first `count` distinct ids of `stream`; where it has fewer, the most popular others follow.
fn first_distinct(stream: &[u32], ranked: &[u32], count: u32) -> Vec<u32> {
    let mut seen = vec![false; ranked.len()];
    stream
        .iter()
        .chain(ranked)
        .copied()
        .filter(|&id| !std::mem::replace(&mut seen[id as usize], true))
        .take(count as usize)
        .collect()
}

fn writes(share: f64, requests: usize, seed: u64) -> Vec<bool> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(!seed);
    (0..requests).map(|_| random.random_bool(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Integers, Strings};
    use std::collections::HashSet;

    const SHAPE: Shape = Shape {
        capacity: 1000,
        key_space: 10.0,
        seed: 7,
    };

    fn keys(plan: &Plan<Integers>) -> Vec<u64> {
        (0..plan.requests())
            .map(|request| *plan.key(request))
            .collect()
    }

    #[test]
    fn a_plan_depends_on_its_shape_alone() {
        for workload in Workload::ALL {
            let one = Plan::<Integers>::new(workload, &SHAPE);
            let same = Plan::<Integers>::new(workload, &SHAPE);
            assert_eq!(one.fill, same.fill);
            assert_eq!(one.writes, same.writes);
            assert_eq!(keys(&one), keys(&same));
        }
        let one = Plan::<Integers>::new(Workload::CacheAside, &SHAPE);
        let other = Plan::<Integers>::new(Workload::CacheAside, &Shape { seed: 8, ..SHAPE });
        assert_ne!(keys(&one), keys(&other));
    }

    #[test]
    fn popularity_follows_the_law_of_zipf() {
        let ids = Ids::new(Workload::CacheAside, &SHAPE);
        let mut times = vec![0_u32; ids.keys as usize];
        for &id in &ids.stream {
            times[id as usize] += 1;
        }
        times.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=ids.keys).map(|rank| f64::from(rank).powf(-0.99)).sum();
        // The law's shares of the ten most popular keys and of the most popular tenth. The bounds
        // are ten standard deviations of a sample of 65,536.
        for (ranks, tolerance) in [(10, 0.02), (1000, 0.02)] {
            let law = (1..=ranks)
                .map(|rank| f64::from(rank).powf(-0.99))
                .sum::<f64>()
                / harmonic;
            let seen = f64::from(times[..ranks as usize].iter().sum::<u32>());
            let share = seen / ids.stream.len() as f64;
            assert!(
                (share - law).abs() < tolerance,
                "{ranks}: {share} for {law}"
            );
        }
    }

    #[test]
    fn a_keys_number_does_not_tell_its_rank() {
        let ids = Ids::new(Workload::CacheAside, &SHAPE);
        let low = ids.stream.iter().filter(|&&id| id < ids.keys / 2).count();
        let popular_half = 0.9 * ids.stream.len() as f64;
        assert!((low as f64) < popular_half, "{low} of {}", ids.stream.len());
    }

    #[test]
    fn writes_have_the_share_that_the_workload_promises() {
        for (workload, share) in [
            (Workload::ReadOnly, 0.0),
            (Workload::ReadHeavy, 0.05),
            (Workload::Mixed, 0.25),
            (Workload::WriteHeavy, 0.75),
        ] {
            let plan = Plan::<Integers>::new(workload, &SHAPE);
            let writes = plan.writes.iter().filter(|&&write| write).count();
            let seen = writes as f64 / plan.requests() as f64;
            assert!((seen - share).abs() < 0.02, "{workload}: {seen}");
        }
    }

    #[test]
    fn where_all_keys_are_resident_the_fill_has_them_all() {
        let resident_by_shape = Shape {
            key_space: 0.5,
            ..SHAPE
        };
        for (workload, shape) in [
            (Workload::ReadOnly, SHAPE),
            (Workload::HotKey, SHAPE),
            (Workload::CacheAside, resident_by_shape),
        ] {
            let plan = Plan::<Integers>::new(workload, &shape);
            let filled: HashSet<_> = plan.fill().map(|(key, _)| key).collect();
            assert!(keys(&plan).iter().all(|key| filled.contains(key)));
            assert!(plan.room() >= 2 * filled.len());
        }
    }

    #[test]
    fn a_cache_starts_with_what_the_stream_asks_for_first() {
        let plan = Plan::<Integers>::new(Workload::CacheAside, &SHAPE);
        let filled: Vec<_> = plan.fill().map(|(key, _)| key).collect();
        assert_eq!(filled.len(), 1000);
        let mut seen = HashSet::new();
        let first: Vec<_> = keys(&plan)
            .into_iter()
            .filter(|&key| seen.insert(key))
            .take(1000)
            .collect();
        assert_eq!(filled, first);
    }

    #[test]
    fn a_scan_visits_every_key_in_turn() {
        let ids = Ids::new(Workload::Scan, &SHAPE);
        let scanned: Vec<_> = ids.stream.iter().step_by(SCAN_STRIDE).copied().collect();
        let round: Vec<_> = (0..ids.keys).collect();
        assert_eq!(scanned[..round.len()], round);
    }

    #[test]
    fn both_kinds_of_keys_get_the_same_requests() {
        let integers = Plan::<Integers>::new(Workload::Mixed, &SHAPE);
        let strings = Plan::<Strings>::new(Workload::Mixed, &SHAPE);
        assert_eq!(integers.requests(), strings.requests());
        for request in (0..integers.requests()).step_by(997) {
            let id = strings.stream[request];
            assert_eq!(integers.key(request), &Integers::key(id.into()));
            assert_eq!(strings.key(request), &Strings::key(id.into()));
        }
    }

    #[test]
    fn workloads_are_known_by_name() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        let list: WorkloadList = "scan,evict".parse().unwrap();
        assert_eq!(list.0, [Workload::Scan, Workload::Evict]);
        let all: WorkloadList = "all".parse().unwrap();
        assert_eq!(all.0, Workload::ALL);
        let error = "read-mostly".parse::<Workload>().unwrap_err();
        assert!(error.to_string().contains("read-heavy"), "{error}");
    }
}
