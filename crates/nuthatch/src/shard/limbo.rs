//! Limbo: where slots and tables wait, unlinked, until no reader can see them.
//!
//! Slots gather in `young` until a batch is full. Then a stamp is taken and they become `old`; the
//! next batch later, a snapshot of all readers' protections that was begun after that stamp tells
//! which of them nobody can see any more. One heavy barrier serves a whole batch, and mostly those
//! of many shards: see [`crate::hazard`]. A full limbo is seen to when a writer is done with its
//! shard, and where that takes a heavy barrier, the lock is released meanwhile.
#![expect(
    unsafe_code,
    reason = "slots are shared between a writer and its readers"
)]

use super::{Entry, Exclusive, Panic, Removed, Shard};
use crate::hazard::{Snapshot, domain};
use crate::policy::EntryId;
use crate::table::Table;
use std::mem::{needs_drop, swap, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::Ordering;

/// Slots and tables that readers may still look at.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Limbo {
    /// Unlinked since the last seal.
    pub(super) young: Vec<EntryId>,
    /// How many young slots are let gather: one heavy barrier serves them all.
    pub(super) batch: usize,
    /// Unlinked before `stamp` was taken.
    pub(super) old: Vec<EntryId>,
    pub(super) tables: Vec<*mut Table>,
    pub(super) young_tables: Vec<*mut Table>,
    pub(super) stamp: u64,
    /// Weight of the young, if entries are weighed.
    pub(super) young_weight: u64,
    pub(super) batch_weight: u64,
    /// Whether a writer is at a heavy barrier for this shard, without its lock.
    pub(super) renewing: bool,
}

/// Entries that a writer drops at a time: a batch at once would be a pause of tens of microseconds.
const FEW: usize = 4;
/// Of more garbage than that times this it drops more, so that none piles up;
const FEW_OF: usize = 64;
/// but never more than this.
const MOST_DROPS: usize = 64;

/// While one writer is at a heavy barrier, others let so many batches gather before they wait.
const MOST_BATCHES: usize = 4;

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
            renewing: false,
        }
    }

    /// Takes in an unlinked slot. Returns whether a batch is full.
    #[inline]
    pub(super) fn push(&mut self, id: EntryId) -> bool {
        self.young.push(id);
        self.young.len() >= self.batch
    }

    /// Whether anything waits for a snapshot.
    fn has_old(&self) -> bool {
        !self.old.is_empty() || !self.tables.is_empty()
    }

    /// Whether a superseded table waits for a snapshot.
    pub(super) fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    fn is_full(&self) -> bool {
        self.young.len() >= self.batch || self.young_weight > self.batch_weight
    }
}

impl<'a, K, V> Exclusive<'a, K, V> {
    /// Gives an unlinked slot to limbo. Its contents are dropped once no reader can see it.
    #[inline]
    pub(crate) fn retire(&mut self, removed: Removed) {
        let writer = &mut *self.writer;
        let id = removed.0;
        writer.untidy |= writer.limbo.push(id);
        if let Some(weights) = &writer.weights {
            writer.limbo.young_weight += u64::from(weights[id as usize]);
            writer.untidy |= writer.limbo.young_weight > writer.limbo.batch_weight;
        }
    }

    /// Frees what was sealed earlier and can no longer be seen, and seals what came since.
    #[cold]
    pub(crate) fn reclaim(&mut self) {
        if self.writer.limbo.has_old() {
            let snapshot = domain().snapshot(self.writer.limbo.stamp);
            self.free_unseen(&snapshot);
        }
        self.seal();
    }

    /// [`reclaim`](Self::reclaim), if no heavy barrier has to be waited for. Returns whether it was
    /// done.
    fn try_reclaim(&mut self) -> bool {
        if self.writer.limbo.has_old() {
            let Some(snapshot) = domain().newest(self.writer.limbo.stamp) else {
                return false;
            };
            self.free_unseen(&snapshot);
        }
        self.seal();
        true
    }

    fn free_unseen(&mut self, snapshot: &Snapshot) {
        let shard = self.shard;
        let writer = &mut *self.writer;
        writer.ahead = None;
        let unseen = if needs_drop::<Entry<K, V>>() {
            &mut writer.garbage
        } else {
            &mut writer.free
        };
        let before = unseen.len();
        let limbo = &mut writer.limbo;
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
        writer.untidy |= !writer.garbage.is_empty();
    }

    fn seal(&mut self) {
        let limbo = &mut self.writer.limbo;
        if limbo.old.is_empty() {
            swap(&mut limbo.old, &mut limbo.young);
        } else {
            limbo.old.append(&mut limbo.young);
        }
        limbo.tables.append(&mut limbo.young_tables);
        limbo.young_weight = 0;
        limbo.stamp = domain().stamp();
    }

    /// Releases the lock. Before that a full limbo is seen to, and after it some of the keys and
    /// values that nobody can see any more are dropped: their own code may use the cache. Returns
    /// the first panic of that code; all are dropped even so.
    #[must_use = "a panic of the user's code is to be passed on"]
    #[inline]
    pub(crate) fn finish(self) -> Option<Panic> {
        if self.writer.untidy {
            self.tidy()
        } else {
            None
        }
    }

    #[cold]
    #[inline(never)]
    fn tidy(mut self) -> Option<Panic> {
        if self.writer.limbo.is_full() && !self.try_reclaim() {
            if !self.writer.limbo.renewing {
                self = self.renew_snapshot();
                self.try_reclaim();
            } else if self.writer.limbo.young.len() >= MOST_BATCHES * self.writer.limbo.batch {
                self.reclaim();
            }
        }
        let garbage = &mut self.writer.garbage;
        let few = (FEW + garbage.len() / FEW_OF).min(garbage.len());
        let mut ids = [0; MOST_DROPS];
        let ids = &mut ids[..few.min(MOST_DROPS)];
        let kept = garbage.len() - ids.len();
        ids.copy_from_slice(&garbage[kept..]);
        garbage.truncate(kept);
        self.writer.untidy = kept > 0 || self.writer.limbo.is_full();
        let shard = self.shard;
        drop(self);
        if ids.is_empty() {
            return None;
        }
        drop_garbage(shard, ids)
    }

    /// As [`finish`](Self::finish), but drops all that nobody can see.
    #[must_use = "a panic of the user's code is to be passed on"]
    pub(crate) fn finish_wholly(mut self) -> Option<Panic> {
        let garbage = take(&mut self.writer.garbage);
        let shard = self.shard;
        drop(self);
        drop_garbage(shard, &garbage)
    }

    /// Has a snapshot taken that serves the old ones in limbo, with the lock released meanwhile: a
    /// heavy barrier takes microseconds.
    fn renew_snapshot(mut self) -> Self {
        self.writer.limbo.renewing = true;
        let (shard, stamp) = (self.shard, self.writer.limbo.stamp);
        drop(self);
        drop(domain().snapshot(stamp));
        let mut exclusive = shard.lock();
        exclusive.writer.limbo.renewing = false;
        exclusive
    }
}

/// Drops entries that were taken out of limbo, with no lock held, and gives their slots back.
fn drop_garbage<K, V>(shard: &Shard<K, V>, garbage: &[EntryId]) -> Option<Panic> {
    let mut panic = None;
    for &id in garbage {
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
    writer.free.extend_from_slice(garbage);
    panic
}
