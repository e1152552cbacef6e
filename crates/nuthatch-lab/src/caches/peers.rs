//! Other libraries' caches, and bare maps for comparison: one file each.

mod dashmap;
mod foyer;
mod mini_moka;
mod moka;
mod mutex_lru;
mod neocache;
mod papaya;
mod quick_cache;
mod rwlock_hashmap;
mod scc_hashcache;
mod scc_hashmap;
mod sieve_cache;
mod stretto;
mod tinyufo;

use super::{CacheInfo, Design, Family, Key, TTL, Value, Visitor};

/// Which type stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Dashmap,
    Foyer(foyer::Eviction),
    MiniMoka,
    Moka { expires: bool },
    MutexLru(mutex_lru::Shards),
    Neocache,
    Papaya,
    QuickCache,
    RwLockHashMap,
    SccHashCache,
    SccHashMap,
    SieveCache,
    Stretto,
    TinyUfo,
}

/// All peers and maps, in the order of listings.
pub(super) const ROSTER: &[CacheInfo] = &[
    CacheInfo::new(
        "moka",
        Family::Peer,
        &[
            ("", Design::Peer(Peer::Moka { expires: false })),
            ("ttl", Design::Peer(Peer::Moka { expires: true })),
        ],
        "W-TinyLFU behind read and write logs",
    ),
    CacheInfo::new(
        "quick_cache",
        Family::Peer,
        &[("", Design::Peer(Peer::QuickCache))],
        "sharded RwLock, Clock-PRO with ghosts",
    ),
    CacheInfo::new(
        "neocache",
        Family::Peer,
        &[("", Design::Peer(Peer::Neocache))],
        "sharded RwLock, S3-FIFO; reads hold the shard's lock",
    ),
    CacheInfo::new(
        "foyer",
        Family::Peer,
        &[
            ("", Design::Peer(Peer::Foyer(foyer::Eviction::Default))),
            (
                "s3_fifo",
                Design::Peer(Peer::Foyer(foyer::Eviction::S3Fifo)),
            ),
        ],
        "sharded RwLock, segmented LRU by default; reads return counted handles",
    ),
    CacheInfo::new(
        "mini_moka",
        Family::Peer,
        &[("", Design::Peer(Peer::MiniMoka))],
        "moka's smaller sibling on a DashMap",
    ),
    CacheInfo {
        hasher: "ahash (fixed)",
        ..CacheInfo::new(
            "tinyufo",
            Family::Peer,
            &[("", Design::Peer(Peer::TinyUfo))],
            "lock-free map and queues, S3-FIFO with TinyLFU; keeps 64-bit hashes for keys",
        )
    },
    CacheInfo {
        own_threads: true,
        ..CacheInfo::new(
            "stretto",
            Family::Peer,
            &[("", Design::Peer(Peer::Stretto))],
            "Ristretto's design: sampled LFU; a thread of its own evicts; may drop writes",
        )
    },
    CacheInfo::new(
        "scc_hashcache",
        Family::Peer,
        &[("", Design::Peer(Peer::SccHashCache))],
        "32-way associative buckets, each with a lock and an LRU of its own",
    ),
    CacheInfo::new(
        "sieve_cache",
        Family::Peer,
        &[("", Design::Peer(Peer::SieveCache))],
        "sharded Mutex, SIEVE",
    ),
    CacheInfo::new(
        "mutex_lru",
        Family::Peer,
        &[
            ("", Design::Peer(Peer::MutexLru(mutex_lru::Shards::One))),
            (
                "sharded",
                Design::Peer(Peer::MutexLru(mutex_lru::Shards::SixtyFour)),
            ),
        ],
        "Mutex<lru::LruCache>, alone or in 64 shards",
    ),
    CacheInfo::new(
        "scc_hashmap",
        Family::Map,
        &[("", Design::Peer(Peer::SccHashMap))],
        "bucket-locked map",
    ),
    CacheInfo::new(
        "papaya",
        Family::Map,
        &[("", Design::Peer(Peer::Papaya))],
        "lock-free map",
    ),
    CacheInfo::new(
        "dashmap",
        Family::Map,
        &[("", Design::Peer(Peer::Dashmap))],
        "sharded RwLock map",
    ),
    CacheInfo::new(
        "rwlock_hashmap",
        Family::Map,
        &[("", Design::Peer(Peer::RwLockHashMap))],
        "one RwLock<HashMap>",
    ),
];

impl Peer {
    /// Runs a measurement over this cache with room for `capacity` entries.
    pub(super) fn visit<K: Key, V: Value, M: Visitor<K, V>>(
        self,
        capacity: usize,
        measurement: M,
    ) -> M::Output {
        match self {
            Self::Dashmap => measurement.visit(|| dashmap::Dashmap::new(capacity)),
            Self::Foyer(eviction) => measurement.visit(|| foyer::Foyer::new(capacity, eviction)),
            Self::MiniMoka => measurement.visit(|| mini_moka::MiniMoka::new(capacity)),
            Self::Moka { expires } => {
                measurement.visit(|| moka::Moka::new(capacity, expires.then_some(TTL)))
            }
            Self::MutexLru(shards) => {
                measurement.visit(|| mutex_lru::MutexLru::new(capacity, shards))
            }
            Self::Neocache => measurement.visit(|| neocache::Neocache::new(capacity)),
            Self::Papaya => measurement.visit(|| papaya::Papaya::new(capacity)),
            Self::QuickCache => measurement.visit(|| quick_cache::QuickCache::new(capacity)),
            Self::RwLockHashMap => {
                measurement.visit(|| rwlock_hashmap::RwLockHashMap::new(capacity))
            }
            Self::SccHashCache => measurement.visit(|| scc_hashcache::SccHashCache::new(capacity)),
            Self::SccHashMap => measurement.visit(|| scc_hashmap::SccHashMap::new(capacity)),
            Self::SieveCache => measurement.visit(|| sieve_cache::SieveCache::new(capacity)),
            Self::Stretto => measurement.visit(|| stretto::Stretto::new(capacity)),
            Self::TinyUfo => measurement.visit(|| tinyufo::TinyUfo::new(capacity)),
        }
    }
}
