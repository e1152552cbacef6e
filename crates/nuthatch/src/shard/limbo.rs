//! Limbo: where slots and tables wait, unlinked, until no reader can see them.
//!
//! Slots gather in `young` until a batch is full. Then a stamp is taken and they become `old`; the
//! next batch later, a snapshot of all readers' protections that was begun after that stamp tells
//! which of them nobody can see any more. One heavy barrier serves a whole batch, and mostly those
//! of many shards: see [`crate::hazard`].
#![expect(
    unsafe_code,
    reason = "slots are shared between a writer and its readers"
)]

use super::{Entry, Exclusive, Panic, Removed, Writer};
use crate::hazard::domain;
use crate::policy::EntryId;
use crate::table::Table;
use std::mem::{needs_drop, swap, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::Ordering;

/// Slots and tables that readers may still look at.
#[derive(Debug)]
pub(super) struct Limbo {
    /// Unlinked since the last seal.
    pub(super) young: Vec<EntryId>,
    /// Unlinked before `stamp` was taken.
    pub(super) old: Vec<EntryId>,
    pub(super) tables: Vec<*mut Table>,
    pub(super) young_tables: Vec<*mut Table>,
    pub(super) stamp: u64,
    /// Weight of the young, if entries are weighed.
    pub(super) young_weight: u64,
    /// How many young slots are let gather: one heavy barrier serves them all.
    pub(super) batch: usize,
    pub(super) batch_weight: u64,
}

// SAFETY: the tables in limbo are owned by the shard; they are raw only because readers may look.
unsafe impl Send for Limbo {}
// SAFETY: as above; they are touched only under the shard's lock.
unsafe impl Sync for Limbo {}

impl Limbo {
    /// An empty limbo of a shard that expects so many entries, whose share of the capacity is
    /// `share`, and whose entries run code when they are dropped or not.
    pub(super) fn new(expected: usize, share: u64, drops: bool) -> Self {
        Self {
            young: Vec::new(),
            old: Vec::new(),
            tables: Vec::new(),
            young_tables: Vec::new(),
            stamp: 0,
            young_weight: 0,
            batch: if drops {
                (expected / 16).clamp(16, 256)
            } else {
                (expected / 16).clamp(64, 512)
            },
            batch_weight: share / 32,
        }
    }
}

impl<K, V> Exclusive<'_, K, V> {
    /// Gives an unlinked slot to limbo. Its contents are dropped once no reader can see it.
    #[inline]
    pub(crate) fn retire(&mut self, removed: Removed) {
        let Writer { limbo, weights, .. } = &mut *self.writer;
        let id = removed.0;
        limbo.young.push(id);
        let mut full = limbo.young.len() >= limbo.batch;
        if let Some(weights) = weights {
            limbo.young_weight += u64::from(weights[id as usize]);
            full |= limbo.young_weight > limbo.batch_weight;
        }
        if full {
            self.reclaim();
        }
    }

    /// Frees what was sealed earlier and can no longer be seen, and seals what came since.
    #[cold]
    pub(crate) fn reclaim(&mut self) {
        let shard = self.shard;
        self.writer.ahead = None;
        let Writer {
            limbo,
            free,
            garbage,
            ..
        } = &mut *self.writer;
        if !limbo.old.is_empty() || !limbo.tables.is_empty() {
            let snapshot = domain().snapshot(limbo.stamp);
            let unseen = if needs_drop::<Entry<K, V>>() {
                garbage
            } else {
                free
            };
            let before = unseen.len();
            if snapshot.protects_entries() {
                limbo.old.retain(|&id| {
                    let slot = ptr::from_ref(shard.slots.get(id));
                    let seen = snapshot.protects_entry(slot.addr());
                    if !seen {
                        unseen.push(id);
                    }
                    seen
                });
            } else {
                unseen.append(&mut limbo.old);
            }
            // Not before: a reader that still protects the entry must see it expired.
            if let Some(times) = shard.times.get() {
                for &id in &unseen[before..] {
                    times.deadline.get(id).store(0, Ordering::Relaxed);
                }
            }
            limbo.tables.retain(|&table| {
                let seen = snapshot.protects_table(table.addr());
                if !seen {
                    // SAFETY: made from a box by `publish`, superseded, and no reader protects it.
                    drop(unsafe { Box::from_raw(table) });
                }
                seen
            });
        }
        if limbo.old.is_empty() {
            swap(&mut limbo.old, &mut limbo.young);
        } else {
            limbo.old.append(&mut limbo.young);
        }
        limbo.tables.append(&mut limbo.young_tables);
        limbo.young_weight = 0;
        limbo.stamp = domain().stamp();
    }

    /// Releases the lock, then drops the keys and values that nobody can see any more: their own
    /// code may use the cache. Returns the first panic of that code; all are dropped even so.
    #[must_use = "a panic of the user's code is to be passed on"]
    #[inline]
    pub(crate) fn finish(self) -> Option<Panic> {
        if self.writer.garbage.is_empty() {
            return None;
        }
        self.drop_garbage()
    }

    #[cold]
    fn drop_garbage(mut self) -> Option<Panic> {
        let mut garbage = take(&mut self.writer.garbage);
        let shard = self.shard;
        drop(self);
        let mut panic = None;
        for &id in &garbage {
            let slot = shard.slots.get(id).get();
            // SAFETY: the slot was taken out of limbo unseen, and garbage has one owner, us.
            let dropped = catch_unwind(AssertUnwindSafe(|| unsafe {
                (*slot).assume_init_drop();
            }));
            if let Err(payload) = dropped {
                panic.get_or_insert(payload);
            }
        }
        let mut writer = shard.writer.write();
        writer.ahead = None;
        writer.free.append(&mut garbage);
        if writer.garbage.is_empty() {
            writer.garbage = garbage;
        }
        panic
    }
}
