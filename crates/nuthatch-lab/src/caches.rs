//! Every cache that the laboratory measures, behind one face.
//!
//! [`BenchCache`] is what a measurement needs of a cache; each cache's file implements it by the
//! calls that its documentation recommends for the purpose. Measurements are generic over it: a
//! name is looked up once per run, in [`CacheSpec::visit`], and everything inside a timed loop is
//! monomorphised and inlined as it would be in a program that uses that cache alone.
//!
//! Same conditions for all: foldhash wherever a cache lets one choose its hasher
//! ([`CacheInfo::hasher`] names the others), a capacity in entries, and default settings otherwise.

mod classic_lockfree;
mod classic_rwlock;
mod nuthatch;
#[cfg(feature = "peers")]
mod peers;

use crate::suggestion::unknown;
use ::nuthatch::policy::PolicyError;
use ::nuthatch::{Engine, Policy};
use classic_lockfree::ClassicLockFree;
use classic_rwlock::ClassicRwLock;
pub use nuthatch::Nuthatch;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::hint::black_box;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// The hasher given to every cache that lets one choose: the one that nuthatch uses by default.
pub type Hasher = foldhash::fast::RandomState;

/// What a key must be for all caches to take it.
pub trait Key: Clone + Debug + Eq + Hash + Send + Sync + 'static {}
impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Key for T {}

/// What a value must be for all caches to take it.
pub trait Value: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Value for T {}

/// A cache as a measurement sees it.
pub trait BenchCache<K: Key, V: Value>: Send + Sync {
    /// Reads `key` and lets `look` see the value: in place if the cache hands out references, else
    /// a clone of it. `None` is a miss.
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T>;

    /// Inserts or replaces.
    fn insert(&self, key: K, value: V);

    /// Reads `key`, and on a miss inserts what `load` gives. Whether it was a hit. Caches that have
    /// a call for this override it.
    #[inline]
    fn read_through(&self, key: &K, load: impl FnOnce() -> V) -> bool {
        let hit = self.hit(key);
        if !hit {
            self.insert(key.clone(), load());
        }
        hit
    }

    /// Reads `key` and does nothing with the value. Whether it was a hit.
    #[inline]
    fn hit(&self, key: &K) -> bool {
        self.read(key, |value| {
            black_box(value);
        })
        .is_some()
    }

    /// Resident entries; `None` if the cache cannot tell.
    fn resident(&self) -> Option<usize>;

    /// Lets work that the cache has put off come to an end.
    fn settle(&self) {}
}

/// A measurement over one cache: what [`CacheSpec::visit`] calls with the cache's own type.
pub trait Visitor<K: Key, V: Value> {
    /// What the measurement gives.
    type Output;

    /// Measures the cache, empty, that `build` makes.
    fn visit<C: BenchCache<K, V>>(self, build: impl FnOnce() -> C) -> Self::Output;
}

/// What kind of cache it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Nuthatch itself.
    Ours,
    /// The two designs that one finds in most programs.
    Classic,
    /// Another library's bounded cache.
    Peer,
    /// A map without bound or policy: the speed that a cache on top of it cannot pass.
    Map,
}

/// What can be told of a cache without building it.
#[derive(Clone, Copy, Debug)]
pub struct CacheInfo {
    /// The name that [`CacheSpec::from_str`] knows.
    pub name: &'static str,
    /// What kind of cache it is.
    pub family: Family,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// What hashes its keys.
    pub hasher: &'static str,
    /// Whether threads of its own insert or evict.
    pub own_threads: bool,
    /// What may follow the name after a colon, with the design that it names. The empty variant is
    /// the name alone.
    designs: &'static [(&'static str, Design)],
}

impl CacheInfo {
    /// The design that a variant names which is not in the table.
    fn unlisted(&self, variant: &str) -> Result<Design, CacheError> {
        match self.designs[0].1 {
            Design::Nuthatch(engine, ..) => {
                let policy = variant.parse().map_err(|source| CacheError::Policy {
                    cache: self.name,
                    source,
                })?;
                Ok(Design::Nuthatch(engine, policy, false))
            }
            _ => Err(CacheError::UnknownVariant {
                cache: self.name,
                variant: variant.to_owned(),
            }),
        }
    }

    const fn new(
        name: &'static str,
        family: Family,
        designs: &'static [(&'static str, Design)],
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            family,
            summary,
            hasher: "foldhash",
            own_threads: false,
            designs,
        }
    }
}

/// Which type stands behind a name.
#[derive(Clone, Debug, PartialEq)]
enum Design {
    /// The last says whether entries expire.
    Nuthatch(Engine, Policy, bool),
    ClassicRwLock(Victims),
    ClassicLockFree(Victims),
    #[cfg(feature = "peers")]
    Peer(peers::Peer),
}

/// How long entries live in a variant that lets them expire: longer than any measurement takes, so
/// that what is measured is the cost of being able to.
const TTL: Duration = Duration::from_secs(24 * 3600);

/// How many entries a classic design evicts when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    /// The least recently used one: the design as one finds it.
    One,
    /// The least recently used tenth of the capacity, so that the search is paid for once in a
    /// tenth of the capacity insertions.
    Tenth,
}

impl Victims {
    fn of(self, capacity: usize) -> usize {
        match self {
            Self::One => 1,
            Self::Tenth => capacity.div_ceil(10),
        }
    }
}

/// Ours and the classic designs, which every build has.
const OWN: &[CacheInfo] = &[
    CacheInfo::new(
        "nuthatch-lockfree",
        Family::Ours,
        &[
            (
                "",
                Design::Nuthatch(Engine::LockFree, Policy::Default, false),
            ),
            (
                "ttl",
                Design::Nuthatch(Engine::LockFree, Policy::Default, true),
            ),
        ],
        "reads take no lock; any policy behind a colon, the adaptive one by default",
    ),
    CacheInfo::new(
        "nuthatch-locked",
        Family::Ours,
        &[
            ("", Design::Nuthatch(Engine::Locked, Policy::Default, false)),
            (
                "ttl",
                Design::Nuthatch(Engine::Locked, Policy::Default, true),
            ),
        ],
        "reads take their shard's read lock; all else is as in nuthatch-lockfree",
    ),
    CacheInfo::new(
        "classic-rwlock",
        Family::Classic,
        &[
            ("", Design::ClassicRwLock(Victims::One)),
            ("batch", Design::ClassicRwLock(Victims::Tenth)),
        ],
        "one RwLock<HashMap>; LRU by sorting access times; a sweep each minute",
    ),
    CacheInfo::new(
        "classic-lockfree",
        Family::Classic,
        &[
            ("", Design::ClassicLockFree(Victims::One)),
            ("batch", Design::ClassicLockFree(Victims::Tenth)),
        ],
        "a lock-free map (papaya) of wrapped entries; each eviction copies it to find the victim",
    ),
];

/// All caches of this build, in the order of listings.
pub fn roster() -> impl Iterator<Item = &'static CacheInfo> + Clone {
    #[cfg(feature = "peers")]
    let peers = peers::ROSTER;
    #[cfg(not(feature = "peers"))]
    let peers: &[CacheInfo] = &[];
    OWN.iter().chain(peers)
}

/// All caches of this build with their summaries, as help shows them.
pub fn listing() -> String {
    let width = roster().map(|info| info.name.len()).max().unwrap_or(0);
    let lines = roster().map(|info| format!("  {:<width$}  {}", info.name, info.summary));
    let lines: Vec<_> = lines.collect();
    format!("Caches:\n{}", lines.join("\n"))
}

/// A cache by name, perhaps with a variant: what stands between the commas of `--caches`.
#[derive(Clone, Debug)]
pub struct CacheSpec {
    info: &'static CacheInfo,
    design: Design,
}

impl CacheSpec {
    /// What can be told of the cache without building it.
    pub fn info(&self) -> &'static CacheInfo {
        self.info
    }

    fn plain(info: &'static CacheInfo) -> Self {
        let (_, design) = &info.designs[0];
        Self {
            info,
            design: design.clone(),
        }
    }

    /// Runs a measurement over this cache with room for `capacity` entries.
    pub fn visit<K: Key, V: Value, M: Visitor<K, V>>(
        &self,
        capacity: usize,
        measurement: M,
    ) -> M::Output {
        match self.design {
            Design::Nuthatch(engine, ref policy, expires) => measurement.visit(|| {
                let hasher = Hasher::default();
                if expires {
                    Nuthatch::expiring(capacity, engine, policy, hasher, TTL)
                } else {
                    Nuthatch::new(capacity, engine, policy, hasher)
                }
            }),
            Design::ClassicRwLock(victims) => {
                measurement.visit(|| ClassicRwLock::new(capacity, victims))
            }
            Design::ClassicLockFree(victims) => {
                measurement.visit(|| ClassicLockFree::new(capacity, victims))
            }
            #[cfg(feature = "peers")]
            Design::Peer(peer) => peer.visit(capacity, measurement),
        }
    }
}

impl Display for CacheSpec {
    /// The text that parses to this cache, without a variant that is the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        let listed = self.info.designs.iter();
        match listed.clone().find(|(_, design)| *design == self.design) {
            Some(("", _)) => Ok(()),
            Some((variant, _)) => write!(f, ":{variant}"),
            None => match &self.design {
                Design::Nuthatch(_, policy, _) => write!(f, ":{policy}"),
                design => unreachable!("{design:?} is in the roster"),
            },
        }
    }
}

/// Caches to measure: names with commas between them, or `all`, or one of `ours`, `classic`, `peers`
/// and `maps` for a whole family.
#[derive(Clone, Debug)]
pub struct CacheList(Vec<CacheSpec>);

impl CacheList {
    /// Every cache of this build by its name alone.
    pub fn all() -> Self {
        Self(roster().map(CacheSpec::plain).collect())
    }

    /// Only those that keep a bound.
    pub fn bounded(self) -> Self {
        Self(
            self.into_iter()
                .filter(|spec| spec.info.family != Family::Map)
                .collect(),
        )
    }

    fn family(name: &str) -> Option<Self> {
        let family = match name {
            "all" => return Some(Self::all()),
            "ours" => Family::Ours,
            "classic" => Family::Classic,
            "peers" => Family::Peer,
            "maps" => Family::Map,
            _ => return None,
        };
        let members = roster().filter(|info| info.family == family);
        Some(Self(members.map(CacheSpec::plain).collect()))
    }
}

impl FromStr for CacheList {
    type Err = CacheError;

    fn from_str(text: &str) -> Result<Self, CacheError> {
        let mut specs: Vec<CacheSpec> = Vec::new();
        for name in text.split(',') {
            let named = match Self::family(name) {
                Some(family) => family.0,
                None => vec![name.parse()?],
            };
            for spec in named {
                if !specs.iter().any(|other| other.design == spec.design) {
                    specs.push(spec);
                }
            }
        }
        Ok(Self(specs))
    }
}

impl Deref for CacheList {
    type Target = [CacheSpec];

    fn deref(&self) -> &[CacheSpec] {
        &self.0
    }
}

impl IntoIterator for CacheList {
    type Item = CacheSpec;
    type IntoIter = std::vec::IntoIter<CacheSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A text that names no cache.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CacheError {
    /// No cache of this build has the name.
    #[error("{}", unknown("cache", name, &names()))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// What stands after the colon is no policy.
    #[error("{cache}: {source}")]
    Policy {
        /// The cache's name.
        cache: &'static str,
        /// What is wrong with it.
        source: PolicyError,
    },
    /// The cache has no such variant.
    #[error("{cache} has no variant {variant:?}; {}", variants(.cache))]
    UnknownVariant {
        /// The cache's name.
        cache: &'static str,
        /// What stood after the colon.
        variant: String,
    },
}

fn names() -> Vec<&'static str> {
    let families = ["all", "ours", "classic", "peers", "maps"];
    roster().map(|info| info.name).chain(families).collect()
}

fn variants(cache: &str) -> String {
    let named: Vec<_> = roster()
        .filter(|info| info.name == cache)
        .flat_map(|info| info.designs)
        .filter(|(variant, _)| !variant.is_empty())
        .map(|(variant, _)| *variant)
        .collect();
    if named.is_empty() {
        "it has none".to_owned()
    } else {
        format!("there is {}", named.join(", "))
    }
}

impl FromStr for CacheSpec {
    type Err = CacheError;

    fn from_str(text: &str) -> Result<Self, CacheError> {
        let (name, variant) = text.split_once(':').unwrap_or((text, ""));
        let info = roster()
            .find(|info| info.name == name)
            .ok_or_else(|| CacheError::Unknown {
                name: name.to_owned(),
            })?;
        let mut listed = info.designs.iter();
        let design = match listed.find(|(listed, _)| *listed == variant) {
            Some((_, design)) => design.clone(),
            None => info.unlisted(variant)?,
        };
        Ok(Self { info, design })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Integers, KeyKind, Strings};
    use std::collections::HashSet;

    /// All caches with all their variants, ours also with a policy that hears of every hit.
    fn every_design() -> Vec<CacheSpec> {
        let ordered = ["nuthatch-lockfree:lru", "nuthatch-locked:lru"];
        roster()
            .flat_map(|info| {
                info.designs.iter().map(move |(variant, _)| {
                    let text = format!("{}:{variant}", info.name);
                    text.trim_end_matches(':').parse().unwrap()
                })
            })
            .chain(ordered.map(|text| text.parse().unwrap()))
            .collect()
    }

    /// Inserts so many keys and counts those that are found, each with its own value.
    struct Store {
        keys: u64,
    }

    impl<R: KeyKind<Value: PartialEq + Debug>> Visitor<R::Key, R::Value> for (Store, R) {
        type Output = u64;

        fn visit<C: BenchCache<R::Key, R::Value>>(self, build: impl FnOnce() -> C) -> u64 {
            let cache = build();
            for id in 0..self.0.keys {
                cache.insert(R::key(id), R::value(id));
            }
            cache.settle();
            let mut found = 0;
            for id in 0..self.0.keys {
                if let Some(value) = cache.read(&R::key(id), Clone::clone) {
                    assert_eq!(value, R::value(id));
                    found += 1;
                }
            }
            if let Some(resident) = cache.resident() {
                assert_eq!(resident as u64, found);
            }
            assert!(!cache.hit(&R::key(self.0.keys)));
            found
        }
    }

    #[test]
    fn every_cache_finds_what_was_stored() {
        let keys = 256;
        for spec in every_design() {
            let found = [
                spec.visit(2048, (Store { keys }, Integers)),
                spec.visit(2048, (Store { keys }, Strings)),
            ];
            // While it grows, it evicts from buckets that are full before their time.
            let least = match spec.info().name {
                "scc_hashcache" => keys / 2,
                _ => keys,
            };
            assert!(
                found.iter().all(|found| (least..=keys).contains(found)),
                "{spec}: {found:?}"
            );
        }
    }

    /// The most entries that a cache may keep of a capacity, by its own documentation or by how it
    /// deals its capacity out.
    fn bound(spec: &CacheSpec, capacity: u64) -> u64 {
        match spec.info().name {
            // Rounded up.
            "scc_hashcache" => capacity.next_power_of_two(),
            // Shares of shards are rounded up.
            "quick_cache" | "neocache" | "foyer" | "sieve_cache" => capacity + 64,
            "mutex_lru" => capacity.next_multiple_of(64),
            _ => capacity,
        }
    }

    #[test]
    fn every_bounded_cache_keeps_its_bound_and_uses_its_room() {
        let (capacity, keys) = (1000, 3000);
        for spec in every_design() {
            let found = spec.visit(capacity, (Store { keys }, Integers));
            if spec.info().family == Family::Map {
                assert_eq!(found, keys, "{spec}");
                continue;
            }
            let bound = bound(&spec, capacity as u64);
            assert!(found <= bound, "{spec} keeps {found} of {capacity}");
            assert!(found > bound / 2, "{spec} keeps only {found}");
        }
    }

    #[test]
    fn every_cache_works_with_room_for_one() {
        for spec in every_design() {
            let found = spec.visit(1, (Store { keys: 10 }, Integers));
            assert!(found <= 64, "{spec}");
        }
    }

    struct Replace;

    impl Visitor<u64, u64> for Replace {
        type Output = Option<u64>;

        fn visit<C: BenchCache<u64, u64>>(self, build: impl FnOnce() -> C) -> Option<u64> {
            let cache = build();
            for value in [1, 2] {
                cache.insert(7, value);
                cache.settle();
            }
            cache.read(&7, |&value| value)
        }
    }

    #[test]
    fn every_cache_replaces_values() {
        for spec in every_design() {
            assert_eq!(spec.visit(2048, Replace), Some(2), "{spec}");
        }
    }

    struct ReadThrough;

    impl Visitor<String, u64> for ReadThrough {
        type Output = ();

        fn visit<C: BenchCache<String, u64>>(self, build: impl FnOnce() -> C) {
            let cache = build();
            let key = String::from("key");
            assert!(!cache.read_through(&key, || 5));
            cache.settle();
            assert!(cache.read_through(&key, || unreachable!("the key is resident")));
            assert_eq!(cache.read(&key, |&value| value), Some(5));
        }
    }

    #[test]
    fn reading_through_loads_on_a_miss_alone() {
        for spec in every_design() {
            spec.visit(2048, ReadThrough);
        }
    }

    #[test]
    fn caches_are_known_by_name_and_variant() {
        for spec in every_design() {
            assert_eq!(
                spec.to_string().parse::<CacheSpec>().unwrap().to_string(),
                spec.to_string()
            );
        }
        let error = "memcache".parse::<CacheSpec>().unwrap_err();
        assert!(error.to_string().contains("classic-rwlock"), "{error}");
        let error = "classic-rwlock:all".parse::<CacheSpec>().unwrap_err();
        assert!(error.to_string().contains("there is batch"), "{error}");
        let ours: CacheSpec = "nuthatch-locked:clock:2".parse().unwrap();
        assert_eq!(ours.to_string(), "nuthatch-locked:clock:2");
        let error = "nuthatch-lockfree:mru".parse::<CacheSpec>().unwrap_err();
        assert!(error.to_string().contains("sieve"), "{error}");
    }

    #[test]
    fn a_list_names_each_cache_once() {
        let list: CacheList = "classic-lockfree,classic,classic-rwlock:batch"
            .parse()
            .unwrap();
        let names: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["classic-lockfree", "classic-rwlock", "classic-rwlock:batch"]
        );
        assert_eq!("all".parse::<CacheList>().unwrap().len(), roster().count());
        assert!("classic,".parse::<CacheList>().is_err());
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = roster().map(|info| info.name).collect();
        assert_eq!(names.len(), roster().count());
    }
}
