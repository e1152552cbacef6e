//! Scans that keep their place in a number, and entries at random.
//!
//! A scan goes through the shards, and through each in the order of 32 bits of the entries' hashes,
//! those that choose where in the table a search begins. Its cursor says how far it has come, as the
//! shard's number above those bits. All entries before it have been visited, whatever has become of
//! the tables since: no table has to be remembered, and nothing has to be given back by a caller
//! that does not come again.

use super::{Store, spread};
use crate::entry::EntryView;
use crate::shard::Guarded;
use std::hash::{BuildHasher, Hash};

/// Of how many entries a scan learns under one lock.
const ENTRIES_PER_LOCK: usize = 64;
/// Through how many groups it walks under one lock.
const GROUPS_PER_LOCK: usize = 256;
/// Through how many groups a call walks for each entry asked for, where there are few entries.
const GROUPS_PER_ENTRY: usize = 16;
/// Through how many it walks in any case, if it does not find enough before: a mebibyte of table, so that
/// a call finds nothing only where next to nothing is.
const LEAST_GROUPS: usize = 1 << 14;
/// How many places are tried before a sample is taken in the order of scans. A table that is a tenth
/// full fails once in 850 times.
const PLACES_TRIED: usize = 64;

/// See the module's text.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    shard: usize,
    position: u32,
}

impl Cursor {
    fn of(number: u64) -> Self {
        Self {
            shard: (number >> 32) as usize,
            position: number as u32,
        }
    }

    fn number(self) -> u64 {
        (self.shard as u64) << 32 | u64::from(self.position)
    }

    /// The place after a walk through this one's shard that came to `position`, or to its end.
    fn moved(self, position: Option<u32>) -> Self {
        match position {
            Some(position) => Self { position, ..self },
            None => Self {
                shard: self.shard + 1,
                position: 0,
            },
        }
    }
}

impl<K, V, S, const LOCK_FREE: bool> Store<K, V, S, LOCK_FREE>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher,
{
    /// See [`Cache::scan`](crate::Cache::scan).
    pub(crate) fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(EntryView<'_, K, V>),
    ) -> u64 {
        let mut cursor = Cursor::of(cursor);
        let mut entries_left = count.max(1);
        let mut groups_left = entries_left
            .saturating_mul(GROUPS_PER_ENTRY)
            .max(LEAST_GROUPS);
        let mut hashes = Vec::new();
        let mut found = Vec::new();
        while let Some(shard) = self.shards.get(cursor.shard) {
            if shard.len() == 0 {
                // What comes from now on was not there from the beginning.
                cursor = cursor.moved(None);
                continue;
            }
            if entries_left == 0 || groups_left == 0 {
                return cursor.number();
            }
            let next = self.hashes_at(cursor, entries_left, &mut groups_left, &mut hashes);
            entries_left = entries_left.saturating_sub(hashes.len());
            for hash in hashes.drain(..) {
                shard.guard_hash(hash, |key| self.hash(key), &mut found);
                for guard in found.drain(..) {
                    if self.is_expired(shard, guard.id()) {
                        self.expire_if_wanted(hash, &guard.entry().key);
                    } else {
                        visit(EntryView::new(guard.entry(), shard, guard.id()));
                    }
                }
            }
            cursor = cursor.moved(next);
        }
        0
    }

    /// Learns under one lock of some hashes at `cursor`, up to the position returned.
    fn hashes_at(
        &self,
        cursor: Cursor,
        wanted: usize,
        groups_left: &mut usize,
        hashes: &mut Vec<u64>,
    ) -> Option<u32> {
        let granted = (*groups_left).min(GROUPS_PER_LOCK);
        let mut groups = granted;
        let next = self.shards[cursor.shard].hashes_from(
            cursor.position,
            wanted.min(ENTRIES_PER_LOCK),
            &mut groups,
            |key| self.hash(key),
            hashes,
        );
        *groups_left -= granted - groups;
        next
    }

    /// See [`Cache::sample`](crate::Cache::sample).
    pub(crate) fn sample(&self, random: u64) -> Option<Guarded<'_, K, V>> {
        if self.entries() == 0 {
            return None;
        }
        let mut random = random;
        for _ in 0..PLACES_TRIED {
            random = spread(random);
            let shard = &self.shards[self.shard_index(random)];
            let guard = shard.guard_at(spread(random));
            if let Some(guard) = guard
                && !self.is_expired(shard, guard.id())
            {
                return Some(guard);
            }
        }
        self.sample_in_order(random)
    }

    /// The first live entry at or after a place chosen by `random`, in the order of scans and all
    /// around. A few at a time, so no lock is held for long.
    #[cold]
    fn sample_in_order(&self, random: u64) -> Option<Guarded<'_, K, V>> {
        let first = self.shard_index(random);
        let mut hashes = Vec::new();
        let mut found = Vec::new();
        // The first shard comes twice: from the place on, and up to it.
        for turn in 0..=self.shards.len() {
            let shard = (first + turn) % self.shards.len();
            let mut cursor = Cursor {
                shard,
                position: if turn == 0 { random as u32 } else { 0 },
            };
            while cursor.shard == shard {
                let next = self.hashes_at(cursor, 1, &mut { GROUPS_PER_LOCK }, &mut hashes);
                while !hashes.is_empty() {
                    let chosen = random as usize % hashes.len();
                    let hash = hashes.swap_remove(chosen);
                    self.guard_hash(shard, hash, &mut found);
                    if let Some(guard) = found.pop() {
                        return Some(guard);
                    }
                }
                cursor = cursor.moved(next);
            }
        }
        None
    }
}
