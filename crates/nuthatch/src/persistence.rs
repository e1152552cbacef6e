//! Saving a cache's entries and restoring them: [`crate::snapshot`] wired to the cache.

use crate::cache::{Cache, on_engine};
use crate::expiration::{Lifetime, Remaining};
use crate::snapshot::{EntryState, SnapshotError, SnapshotWriter, read_snapshot, write_file};
use crate::store::Expect;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Writes all live entries to `writer`, least valuable first as the policy sees it, with what is
    /// left of their time to live. Returns their number. Reads and writes go on meanwhile; an entry
    /// that is written meanwhile may or may not be in the snapshot.
    ///
    /// ```
    /// use nuthatch::Cache;
    /// let cache: Cache<String, u64> = Cache::new(100);
    /// cache.insert("nut".to_owned(), 7);
    /// let mut bytes = Vec::new();
    /// cache.save(&mut bytes)?;
    ///
    /// let warm: Cache<String, u64> = Cache::new(100);
    /// assert_eq!(warm.restore(&bytes[..])?, 1);
    /// assert_eq!(warm.get("nut"), Some(7));
    /// # Ok::<(), nuthatch::snapshot::SnapshotError>(())
    /// ```
    ///
    /// # Errors
    /// [`SnapshotError::Io`], [`SnapshotError::Codec`] and [`SnapshotError::TooLarge`].
    pub fn save(&self, writer: impl Write) -> Result<u64, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let mut snapshot = SnapshotWriter::new(writer)?;
        let mut saved = 0;
        let ranked = (0..self.shards()).map(|shard| on_engine!(self, store => store.ranked(shard)));
        for (shard, id) in interleave(ranked.collect()) {
            let written = on_engine!(self, store => store.visit(shard, id, |entry, weight, remaining, access| {
                let state = state(weight, remaining, access);
                snapshot.record(&entry.key, &entry.value, state)
            }));
            if let Some(written) = written {
                written?;
                saved += 1;
            }
        }
        snapshot.finish()?;
        Ok(saved)
    }

    /// As [`save`](Self::save), to a file that appears whole or not at all: a temporary file in the
    /// same directory is written, flushed to the disk and renamed.
    ///
    /// # Errors
    /// As [`save`](Self::save); then what was at `path` is untouched.
    pub fn save_to(&self, path: impl AsRef<Path>) -> Result<u64, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        write_file(path, |file| self.save(file))
    }

    /// Inserts the entries of a snapshot whose keys are not live, in the snapshot's order, with what
    /// was left of their time to live when they were saved. Returns how many were admitted. All of
    /// the snapshot is read and checked before the first is inserted.
    ///
    /// # Errors
    /// A [`SnapshotError`] that says what is wrong; then the cache is as it was.
    pub fn restore(&self, reader: impl Read) -> Result<u64, SnapshotError>
    where
        K: DeserializeOwned + Clone,
        V: DeserializeOwned,
    {
        let mut restored = 0;
        for record in read_snapshot::<K, V>(reader)? {
            let lifetime = lifetime(record.state);
            let (key, hits) = (record.key.clone(), record.state.access);
            let inserted = on_engine!(self, store => {
                store.upsert(record.key, record.value, lifetime, Expect::Absent)
            });
            if inserted.is_ok_and(|insertion| insertion.is_admitted()) {
                restored += 1;
                on_engine!(self, store => store.count_hits(&key, hits));
            }
        }
        Ok(restored)
    }

    /// As [`restore`](Self::restore), from a file.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_from(&self, path: impl AsRef<Path>) -> Result<u64, SnapshotError>
    where
        K: DeserializeOwned + Clone,
        V: DeserializeOwned,
    {
        self.restore(BufReader::new(File::open(path)?))
    }
}

/// The ids of all shards, each in its own order, mixed so that those of equal relative rank stand
/// together: a key may be in another shard of the cache that reads them.
fn interleave(shards: Vec<Vec<u32>>) -> Vec<(usize, u32)> {
    let mut all: Vec<(f64, usize, u32)> = Vec::with_capacity(shards.iter().map(Vec::len).sum());
    for (shard, ids) in shards.into_iter().enumerate() {
        let len = ids.len() as f64;
        all.extend(
            ids.into_iter()
                .enumerate()
                .map(|(rank, id)| (rank as f64 / len, shard, id)),
        );
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, shard, id)| (shard, id)).collect()
}

fn state(weight: u32, remaining: Remaining, access: u8) -> EntryState {
    // What is left until a deadline in nanoseconds is a number of nanoseconds.
    let ns =
        |duration: Option<Duration>| Some(u64::try_from(duration?.as_nanos()).unwrap_or(u64::MAX));
    EntryState {
        weight,
        time_to_live_ns: ns(remaining.to_live),
        time_to_idle_ns: ns(remaining.to_idle),
        access,
    }
}

fn lifetime(state: EntryState) -> Lifetime {
    Lifetime::Remaining(Remaining {
        to_live: state.time_to_live_ns.map(Duration::from_nanos),
        to_idle: state.time_to_idle_ns.map(Duration::from_nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::interleave;
    use crate::{Cache, Clock, Engine, Policy};
    use std::time::Duration;

    #[test]
    fn shards_of_different_lengths_are_mixed_by_relative_rank() {
        let mixed = interleave(vec![vec![1, 2, 3, 4], vec![8, 9]]);
        assert_eq!(mixed, [(0, 1), (1, 8), (0, 2), (0, 3), (1, 9), (0, 4)]);
    }

    #[test]
    fn a_smaller_cache_keeps_the_entries_that_lru_valued_most() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let build = |capacity| {
                let builder = Cache::<u64, String>::builder().capacity(capacity);
                builder.policy(Policy::Lru).engine(engine).build().unwrap()
            };
            let cache = build(100);
            cache.insert_many((0..100).map(|key| (key, key.to_string())));
            for key in 0..10 {
                cache.get(&key);
            }
            let mut bytes = Vec::new();
            assert_eq!(cache.save(&mut bytes).unwrap(), 100);
            let small = build(10);
            small.restore(&bytes[..]).unwrap();
            assert!((0..10).all(|key| small.get(&key) == Some(key.to_string())));
        }
    }

    #[test]
    fn what_is_left_of_the_times_survives_and_live_keys_are_not_overwritten() {
        let (clock, hands) = Clock::manual();
        let build = || {
            let builder = Cache::<u64, u64>::builder()
                .capacity(10)
                .clock(clock.clone());
            let builder = builder.time_to_live(Duration::from_secs(10));
            builder
                .time_to_idle(Duration::from_secs(4))
                .build()
                .unwrap()
        };
        let cache = build();
        cache.insert(1, 10);
        cache.insert(2, 20);
        hands.advance(Duration::from_secs(3));
        let mut bytes = Vec::new();
        cache.save(&mut bytes).unwrap();
        let warm = build();
        warm.insert(2, 21);
        assert_eq!(warm.restore(&bytes[..]).unwrap(), 1);
        assert_eq!(warm.get(&2), Some(21));
        hands.advance(Duration::from_millis(900));
        assert_eq!(warm.get(&1), Some(10), "a second of idling was left");
        for _ in 0..3 {
            hands.advance(Duration::from_secs(2));
            warm.get(&1);
        }
        hands.advance(Duration::from_millis(200));
        assert_eq!(warm.get(&1), None, "its time to live is over");
    }

    #[test]
    fn a_damaged_snapshot_leaves_the_cache_as_it_was() {
        let cache: Cache<u64, u64> = Cache::new(10);
        cache.insert(1, 1);
        let mut bytes = Vec::new();
        cache.save(&mut bytes).unwrap();
        let other: Cache<u64, u64> = Cache::new(10);
        other.insert(5, 5);
        for cut in 0..bytes.len() {
            assert!(other.restore(&bytes[..cut]).is_err());
        }
        assert_eq!((other.len(), other.get(&5)), (1, Some(5)));
    }
}
