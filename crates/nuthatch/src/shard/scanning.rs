//! Walks over a shard in the order of its entries' hashes, step by step, and entries at random.
#![expect(
    unsafe_code,
    reason = "slots are shared between a writer and its readers"
)]

use super::{Guarded, Shard};
use crate::hazard::protect;
use crate::table::position;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

impl<K, V> Shard<K, V> {
    /// Appends the hashes of the entries whose [`position`] is at or after `from` and before the one
    /// returned, each hash once; `None` is the end of the shard. Goes on, home group by home group,
    /// until there are `enough` hashes in all or `groups` have been walked through, one of which is
    /// taken off for each. Under the shard's read lock.
    ///
    /// Positions belong to hashes, not to tables: what was walked through stays so when the table
    /// grows, and entries that came to lie elsewhere are found from the group that their search
    /// begins with.
    pub(crate) fn hashes_from(
        &self,
        from: u32,
        enough: usize,
        groups: &mut usize,
        hash_key: impl Fn(&K) -> u64,
        hashes: &mut Vec<u64>,
    ) -> Option<u32> {
        let _reading = self.writer.read();
        // SAFETY: the table is replaced and freed only under the writer lock.
        let table = unsafe { &*self.table.load(Ordering::Relaxed) };
        let mut home = table.home_at(from);
        loop {
            let before = hashes.len();
            table.for_each_from(home, |id| {
                // SAFETY: linked in the table, hence live, and no writer is at work.
                let entry = unsafe { (*self.slots.get(id).get()).assume_init_ref() };
                let hash = hash_key(&entry.key);
                if table.home(hash) == home && position(hash) >= from {
                    hashes.push(hash);
                }
            });
            // Whoever looks for a hash finds all entries that have it.
            hashes[before..].sort_unstable();
            hashes.dedup();
            home += 1;
            *groups = groups.saturating_sub(1);
            let next = table.first_position(home)?;
            if hashes.len() >= enough || *groups == 0 {
                return Some(next);
            }
        }
    }

    /// A guard of the entry that stands where `random` points to in the table, expired or not, if one
    /// does: each entry of the shard with the same probability.
    pub(crate) fn guard_at(&self, random: u64) -> Option<Guarded<'_, K, V>> {
        let _reading = self.writer.read();
        // SAFETY: the table is replaced and freed only under the writer lock.
        let id = unsafe { &*self.table.load(Ordering::Relaxed) }.at(random)?;
        let slot = self.slots.get(id);
        let protection = protect();
        protection.protect_entry(ptr::from_ref(slot).addr());
        // SAFETY: linked in the table, hence live, and no writer is at work; protected while linked,
        // so it outlives the lock.
        let entry = NonNull::from(unsafe { (*slot.get()).assume_init_ref() });
        Some(Guarded {
            entry,
            id,
            protection,
            shard: self,
        })
    }
}
