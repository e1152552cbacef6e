//! What a read costs that is answered in process: one thread, hot keys only, each way to read them in turn.
//!
//! The clock is read once for [`BATCH`] reads, so it costs next to nothing. The thread is not one of the
//! runtime's: connections are looked after by those.

use super::reader::{Caching, Library, Near, Reader};
use super::{Bench, NearError, TIME_TO_LIVE};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::{self, Display};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Reads between two looks at the clock.
const BATCH: usize = 1 << 12;
/// Batches after which the keys come in the same order again.
const BATCHES: usize = 16;

/// A way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The library, without a time to live.
    Library,
    /// The library with one.
    LibraryTtl,
    /// The library as the near cache uses it: with a time to live, its clock and its entries.
    Tier,
    /// The near cache, without the remote tier.
    GetLocal,
    /// The same in broadcast mode.
    GetLocalBroadcast,
    /// The same with entries for which no connection vouches, as there are without tracking.
    GetLocalUnvouched,
    /// The near cache.
    Get,
    /// The same in broadcast mode.
    GetBroadcast,
    /// The same with entries for which no connection vouches.
    GetUnvouched,
    /// The `redis` crate's own caching.
    Caching,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Library,
        Self::LibraryTtl,
        Self::Tier,
        Self::GetLocal,
        Self::GetLocalBroadcast,
        Self::GetLocalUnvouched,
        Self::Get,
        Self::GetBroadcast,
        Self::GetUnvouched,
        Self::Caching,
    ];
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Library => "Cache::get",
            Self::LibraryTtl => "Cache::get, time to live",
            Self::Tier => "Cache::get of the tier in process",
            Self::GetLocal => "get_local",
            Self::GetLocalBroadcast => "get_local, broadcast",
            Self::GetLocalUnvouched => "get_local, not tracked",
            Self::Get => "get().await",
            Self::GetBroadcast => "get().await, broadcast",
            Self::GetUnvouched => "get().await, not tracked",
            Self::Caching => "redis-rs caching, GET",
        })
    }
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct HitCost {
    /// Nanoseconds for a read.
    pub ns: f64,
    /// The part of the reads that was answered in process, which is all of them unless the machine was so busy
    /// that the server was not heard of in time.
    pub hit_ratio: f64,
}

/// All ways to read, ready.
pub struct HitCosts<'a> {
    bench: &'a Bench,
    keys: Vec<u32>,
    bare: Library,
    bare_ttl: Library,
    near: Near,
    broadcast: Near,
    unvouched: Near,
    caching: Caching,
}

impl fmt::Debug for HitCosts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HitCosts").finish_non_exhaustive()
    }
}

impl<'a> HitCosts<'a> {
    pub(super) fn new(bench: &'a Bench, seed: u64) -> Result<Self, NearError> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let hot = bench.scale.hot;
        let costs = Self {
            bench,
            keys: (0..BATCH * BATCHES)
                .map(|_| random.random_range(0..hot))
                .collect(),
            bare: Library::new(bench, None),
            bare_ttl: Library::new(bench, Some(TIME_TO_LIVE)),
            near: bench.runtime.block_on(Near::connect(bench, false))?,
            broadcast: bench.runtime.block_on(Near::connect(bench, true))?,
            unvouched: bench.runtime.block_on(Near::unvouched(bench))?,
            caching: bench.runtime.block_on(Caching::connect(bench))?,
        };
        bench.read_hot(&costs.bare)?;
        bench.read_hot(&costs.bare_ttl)?;
        bench.read_hot(&costs.near)?;
        bench.read_hot(&costs.broadcast)?;
        bench.read_hot(&costs.caching)?;
        Ok(costs)
    }

    /// Reads one way for about `duration`.
    pub fn measure(&self, path: Path, duration: Duration) -> Result<HitCost, NearError> {
        match path {
            Path::Library => Ok(self.of_library(&self.bare, duration)),
            Path::LibraryTtl => Ok(self.of_library(&self.bare_ttl, duration)),
            Path::Tier => {
                let tier = self.near.0.local();
                let read = |key| black_box(tier.get(&key)).is_some();
                Ok(self.reads(duration, read))
            }
            Path::GetLocal => Ok(self.get_local(&self.near, duration)),
            Path::GetLocalBroadcast => Ok(self.get_local(&self.broadcast, duration)),
            Path::GetLocalUnvouched => Ok(self.get_local(&self.unvouched, duration)),
            Path::Get => self.get(&self.near, duration),
            Path::GetBroadcast => self.get(&self.broadcast, duration),
            Path::GetUnvouched => self.get(&self.unvouched, duration),
            Path::Caching => {
                let mut caching = self.caching.clone();
                self.awaits(&self.caching, duration, async |key| {
                    caching.read(key as u32).await.map(drop)
                })
            }
        }
    }

    fn of_library(&self, library: &Library, duration: Duration) -> HitCost {
        let read = |key| black_box(library.cache.get(&key)).is_some();
        self.reads(duration, read)
    }

    fn get_local(&self, near: &Near, duration: Duration) -> HitCost {
        let read = |key| black_box(near.0.get_local(&key)).is_some();
        self.reads(duration, read)
    }

    fn get(&self, near: &Near, duration: Duration) -> Result<HitCost, NearError> {
        self.awaits(near, duration, async |key| {
            black_box(near.0.get(&key).await?);
            Ok(())
        })
    }

    /// Batches of calls, which say whether they were hits.
    fn reads(&self, duration: Duration, mut read: impl FnMut(u64) -> bool) -> HitCost {
        let mut hits = 0;
        let mut batches = self.keys.chunks_exact(BATCH).cycle();
        let mut reads = 0_u64;
        let begin = Instant::now();
        loop {
            for &key in batches.next().expect("there are batches") {
                hits += u64::from(read(key.into()));
            }
            reads += BATCH as u64;
            let elapsed = begin.elapsed();
            if elapsed >= duration {
                return HitCost::of(elapsed, reads, hits);
            }
        }
    }

    /// The same with futures; whether they were hits, their reader says.
    fn awaits(
        &self,
        reader: &impl Reader,
        duration: Duration,
        mut read: impl AsyncFnMut(u64) -> Result<(), NearError>,
    ) -> Result<HitCost, NearError> {
        let hits = || reader.hits().expect("it has a cache");
        let before = hits();
        let reading = async {
            let mut batches = self.keys.chunks_exact(BATCH).cycle();
            let mut reads = 0_u64;
            let begin = Instant::now();
            loop {
                for &key in batches.next().expect("there are batches") {
                    read(key.into()).await?;
                }
                reads += BATCH as u64;
                let elapsed = begin.elapsed();
                if elapsed >= duration {
                    return Ok::<_, NearError>((elapsed, reads));
                }
            }
        };
        let (elapsed, reads) = self.bench.runtime.block_on(reading)?;
        Ok(HitCost::of(elapsed, reads, hits() - before))
    }
}

impl HitCost {
    fn of(elapsed: Duration, reads: u64, hits: u64) -> Self {
        Self {
            ns: elapsed.as_nanos() as f64 / reads as f64,
            hit_ratio: hits as f64 / reads as f64,
        }
    }
}
