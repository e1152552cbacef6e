//! One shard: table, entries, policy and timers as one structure under one writer lock, and the
//! lock-free read path into it.
//!
//! An entry is a slot with a small id. The table maps hashes to ids; the policy, the weights and
//! the timers are indexed by id. All of them change together in one critical section, so no entry
//! is ever in the map but not in the policy, nothing is searched for and nothing is copied.
//!
//! ```text
//!            readers, no lock                          writer, under the lock
//!   hash ─► Table ─► id ─► slots[id]                   policy   (links by id)
//!                     ├──► access[id]   one byte       weights  (if weighed)
//!                     └──► times[id]    deadlines      wheel    (if anything expires)
//! ```
//!
//! The life of a slot: *free* → *live* (linked in the table, known to the policy or pinned) →
//! *removed* (unlinked; held by a [`Removed`] token while its listener hears of it) → *limbo*
//! (readers that found it earlier may still look at it; see [`crate::hazard`]) → *garbage* (nobody
//! can see it; its key and value are dropped outside the lock) → *free*. An entry never changes
//! while it is live: a replaced value is a new slot in the same place of the table.
//!
//! Who may touch what: a slot's key and value are written only by the writer, before the slot is
//! linked; read by the writer while the slot is live, by a reader while it protects the slot, and
//! by the holder of its token; dropped by whoever took it out of limbo.
#![expect(
    unsafe_code,
    reason = "slots are shared between a writer and its readers"
)]

mod bits;
mod exclusive;
mod inspection;
mod limbo;
#[cfg(all(test, loom))]
mod model;
mod scanning;

pub(crate) use exclusive::{Birth, EntryTimes, Exclusive, Reach, Removed};

use bits::Bits;
use limbo::Limbo;

use crate::hazard::{Cells, Protection};
use crate::policy::{AccessBytes, BuiltPolicy, EntryId, EvictionPolicy, HitMode, HitSampler};
use crate::slab::{SlotVec, prefetch};
use crate::sync::RwLock;
use crate::sync::atomic::AtomicPtr;
use crate::table::{Check, Found, Table, Whereabouts};
use crate::timer_wheel::TimerWheel;
use std::any::Any;
use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::panicking;

/// A key and its value, in their slot.
#[derive(Debug)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

type Slot<K, V> = UnsafeCell<MaybeUninit<Entry<K, V>>>;

/// The times of all entries, in nanoseconds of the cache's clock; allocated when the first entry
/// gets one.
#[derive(Debug)]
pub(crate) struct Times {
    /// When the entry expires, plus one; 0 if never. Readers may move it (time to idle).
    deadline: SlotVec<AtomicU64>,
    /// What the deadline may not be moved beyond (time to live), plus one; 0 if there is no such
    /// bound, [`FIXED`] if it may not be moved at all. Kept only where reads move deadlines.
    limit: Option<SlotVec<AtomicU64>>,
    /// When the value was written.
    written: Option<SlotVec<AtomicU64>>,
}

/// In place of a deadline's limit: reads do not move the deadline.
const FIXED: u64 = u64::MAX;

/// See the module's text. In the order of need: what every read looks at lies on the first line.
#[repr(C, align(128))]
pub(crate) struct Shard<K, V> {
    table: AtomicPtr<Table>,
    slots: SlotVec<Slot<K, V>>,
    pub(crate) access: AccessBytes,
    times: OnceLock<Box<Times>>,
    /// What readers store under [`HitMode::Stamp`].
    pub(crate) era: AtomicU8,
    /// Where the table's lines are, for [`prefetch`](Self::prefetch).
    whereabouts: Whereabouts,
    writer: RwLock<Writer>,
    /// Weight of all live entries. Written under the lock, read by anyone who looks for a shard to
    /// evict from.
    weight: AtomicU64,
    len: AtomicU64,
    /// Live entries in the writer's `timed`. Written under the lock.
    timed_len: AtomicU64,
}

// SAFETY: entries are handed out as shared references to readers on other threads and dropped on
// any thread, hence `Send + Sync` of both types; the raw table pointer is owned by the shard.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Shard<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send, V: Send> Send for Shard<K, V> {}

/// How a shard is built.
#[derive(Debug)]
pub(crate) struct ShardSetup {
    pub(crate) policy: BuiltPolicy,
    pub(crate) sampler: Option<Arc<dyn HitSampler>>,
    /// Entries that the shard expects to hold at most; it grows beyond if need be.
    pub(crate) expected: usize,
    /// Whether weights are kept; else every entry weighs 1.
    pub(crate) weighed: bool,
    pub(crate) keep: KeepTimes,
    /// This shard's share of the cache's capacity.
    pub(crate) share: u64,
}

/// Which times are kept besides deadlines, once entries have times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeepTimes {
    /// What a deadline may not be moved beyond: if reads move deadlines.
    pub(crate) limits: bool,
    /// When each value was written: if values are refreshed.
    pub(crate) written: bool,
}

/// What only the writer touches. In the order of need: what every write changes lies together, for
/// the next writer's core has to fetch it from this one's.
#[derive(Debug)]
#[repr(C)]
struct Writer {
    /// The entry that will most likely be evicted next, and its hash. Forgotten when slots become
    /// free: an id means the same entry until then.
    ahead: Option<(EntryId, u64)>,
    free: Vec<EntryId>,
    /// Whether something is to be done before or after the lock is released; see
    /// [`Exclusive::finish`].
    untidy: bool,
    /// What readers do for the policy, unless they are late in following a change of it.
    hit_mode: HitMode,
    limbo: Limbo,
    /// Bit per id: linked in the table.
    live: Bits,
    /// Bit per id: kept from the policy, so never evicted.
    pinned: Bits,
    /// Bit per id: live, and a write has given it a deadline.
    timed: Bits,
    /// Weights by id; empty if every entry weighs 1.
    weights: Option<Vec<u32>>,
    policy: BuiltPolicy,
    /// Made when the first entry gets a deadline.
    wheel: Option<TimerWheel>,
    /// Slots that were never used: `fresh_start..fresh_end`.
    fresh_start: EntryId,
    fresh_end: EntryId,
    /// Slots that nobody can see and whose contents are still to be dropped.
    garbage: Vec<EntryId>,
    /// Entries of a table that was invalidated as a whole, still to be removed one by one.
    doomed: Vec<EntryId>,
    /// The policy's listener for sampled hits, whose threshold writers ask for.
    sampler: Option<Arc<dyn HitSampler>>,
    keep: KeepTimes,
}

/// What a panic of the user's code carries.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Passes a panic on that was held back until the cache was in order again. One that came while
/// the thread unwinds from another ends here, for two at once would abort the process.
pub(crate) fn pass_on(panic: Option<Panic>) {
    if let Some(payload) = panic
        && !panicking()
    {
        resume_unwind(payload);
    }
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(mut setup: ShardSetup) -> Self {
        setup.policy.set_capacity(setup.share);
        // A shard may hold somewhat more than its share while others hold less, and as many slots
        // again as limbo keeps back.
        let drops = needs_drop::<Entry<K, V>>();
        let limbo = Limbo::new(setup.expected, setup.share, drops);
        let expected = setup.expected.min(MAX_FIRST_ENTRIES);
        let margin = 4 * expected.isqrt() + 4;
        let garbage = if drops { limbo.batch / 2 } else { 0 };
        let first_slots = expected + margin + 2 * limbo.batch + garbage + 32;
        let table = Table::new(expected + margin);
        Self {
            whereabouts: Whereabouts::of(&table),
            table: AtomicPtr::new(Box::into_raw(Box::new(table))),
            slots: SlotVec::new(first_slots),
            access: AccessBytes::new(first_slots),
            times: OnceLock::new(),
            era: AtomicU8::new(setup.policy.era()),
            weight: AtomicU64::new(0),
            len: AtomicU64::new(0),
            timed_len: AtomicU64::new(0),
            writer: RwLock::new(Writer {
                hit_mode: setup.policy.hit_mode(),
                policy: setup.policy,
                sampler: setup.sampler,
                wheel: None,
                weights: setup.weighed.then(Vec::new),
                live: Bits::default(),
                pinned: Bits::default(),
                timed: Bits::default(),
                free: Vec::new(),
                fresh_start: 0,
                fresh_end: 0,
                limbo,
                garbage: Vec::new(),
                doomed: Vec::new(),
                keep: setup.keep,
                ahead: None,
                untidy: false,
            }),
        }
    }

    /// Weight of all live entries; exact under the lock, a moment old otherwise.
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Number of live entries; exact under the lock, a moment old otherwise.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Number of live entries that a write has given a deadline; exact under the lock, a moment old
    /// otherwise.
    pub(crate) fn timed_len(&self) -> u64 {
        self.timed_len.load(Ordering::Relaxed)
    }

    /// Takes the writer lock.
    pub(crate) fn lock(&self) -> Exclusive<'_, K, V> {
        Exclusive {
            writer: self.writer.write(),
            shard: self,
        }
    }

    /// Takes the writer lock if nobody holds it.
    pub(crate) fn try_lock(&self) -> Option<Exclusive<'_, K, V>> {
        Some(Exclusive {
            writer: self.writer.try_write()?,
            shard: self,
        })
    }

    /// Finds the entry with this hash that `is_it` accepts, without a lock, and protects it.
    #[inline(always)]
    pub(crate) fn find<'p>(
        &'p self,
        protection: &'p mut Protection<'_>,
        hash: u64,
        is_it: impl Fn(&K) -> bool + Copy,
    ) -> Option<(EntryId, &'p Entry<K, V>)> {
        let cells = protection.cells();
        // SAFETY: an accepted entry is protected until `protection` protects something else, which
        // its `&mut` borrow forbids while the returned reference lives.
        match unsafe { self.find_in_table(cells, hash, is_it) } {
            Found::Entry(found) => Some(found),
            Found::Absent => None,
            // SAFETY: as above.
            Found::Changed => unsafe { self.find_in_tables(cells, hash, is_it) },
        }
    }

    /// As [`find_in_table`](Self::find_in_table), as often as writers come between.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn find_in_tables<'p>(
        &'p self,
        cells: Cells<'p>,
        hash: u64,
        is_it: impl Fn(&K) -> bool + Copy,
    ) -> Option<(EntryId, &'p Entry<K, V>)> {
        loop {
            // SAFETY: the caller's promise.
            match unsafe { self.find_in_table(cells, hash, is_it) } {
                Found::Entry(found) => return Some(found),
                Found::Absent => return None,
                Found::Changed => {}
            }
        }
    }

    /// Finds the entry with this hash that `is_it` accepts in what is the table now, and leaves it
    /// protected.
    ///
    /// # Safety
    /// The cells must not be used for anything else while the returned reference lives.
    #[inline(always)]
    unsafe fn find_in_table<'p>(
        &'p self,
        cells: Cells<'p>,
        hash: u64,
        is_it: impl Fn(&K) -> bool + Copy,
    ) -> Found<(EntryId, &'p Entry<K, V>)> {
        // Acquire: pairs with the Release in `Exclusive::publish`.
        let seen = self.table.load(Ordering::Acquire);
        cells.protect_table(seen.addr());
        let current = self.table.load(Ordering::Acquire);
        if current != seen {
            return Found::Changed;
        }
        // SAFETY: the table was current after it was protected, so it is freed only after a
        // snapshot that no longer sees the protection.
        let table = unsafe { &*current };
        table.find_shared(hash, move |id, place| {
            let slot = self.slots.get(id);
            cells.protect_entry(ptr::from_ref(slot).addr());
            // Acquire: as the first load of the id. Still linked after the protection: the slot is
            // reused only after a snapshot that no longer sees the protection.
            if place.load(Ordering::Acquire) != id {
                return Check::Gone;
            }
            // SAFETY: linked, so initialised before its id was published (Release in
            // `Table::insert`/`replace`, Acquire in `find_shared`), and protected.
            let entry = unsafe { (*slot.get()).assume_init_ref() };
            if is_it(&entry.key) {
                Check::Accept((id, entry))
            } else {
                Check::Reject
            }
        })
    }

    /// As [`find`](Self::find), under the shard's read lock; the entry is protected before the
    /// lock is released.
    #[inline]
    pub(crate) fn find_locked<'p>(
        &'p self,
        protection: &'p mut Protection<'_>,
        hash: u64,
        is_it: impl Fn(&K) -> bool,
    ) -> Option<(EntryId, &'p Entry<K, V>)> {
        let _reading = self.writer.read();
        // SAFETY: the table is replaced and freed only under the writer lock.
        let table = unsafe { &*self.table.load(Ordering::Relaxed) };
        let (_, id) = table.find(hash, |id| {
            // SAFETY: linked in the table, hence live, and no writer is at work.
            is_it(unsafe { &(*self.slots.get(id).get()).assume_init_ref().key })
        })?;
        let slot = self.slots.get(id);
        protection.protect_entry(ptr::from_ref(slot).addr());
        // SAFETY: as above, and protected while still linked, so it outlives the lock.
        Some((id, unsafe { (*slot.get()).assume_init_ref() }))
    }

    /// The entry of a slot that was removed and is held by `removed`.
    pub(crate) fn entry_of<'r>(&'r self, removed: &'r Removed) -> &'r Entry<K, V> {
        // SAFETY: the token is made when the slot is unlinked and consumed when it is retired, so
        // while it exists the entry is initialised and nobody drops it.
        unsafe { (*self.slots.get(removed.0).get()).assume_init_ref() }
    }

    /// When `id` expires, or `None` if never.
    #[inline]
    pub(crate) fn deadline_ns(&self, id: EntryId) -> Option<u64> {
        self.times.get()?.deadline_ns(id)
    }

    /// What the deadline of `id` may not be moved beyond, if that is kept and bounded.
    #[cfg(feature = "snapshot")]
    pub(crate) fn limit_ns(&self, id: EntryId) -> Option<u64> {
        let limits = self.times.get()?.limit.as_ref()?;
        match limits.get(id).load(Ordering::Relaxed) {
            FIXED => self.deadline_ns(id),
            limit => limit.checked_sub(1),
        }
    }

    /// Moves the deadline of an entry that the caller protects; not beyond its limit, and not if it
    /// changes meanwhile. Nothing is written if it moves by less than `slack_ns` to a later time.
    /// Returns whether it came nearer, so that the wheel has to know.
    #[inline]
    pub(crate) fn move_deadline(
        &self,
        id: EntryId,
        deadline_ns: Option<u64>,
        slack_ns: u64,
    ) -> bool {
        let Some(times) = self.times.get() else {
            return false;
        };
        let mut new = deadline_ns.map_or(0, |ns| ns.saturating_add(1));
        let cell = times.deadline.get(id);
        // Acquire: pairs with the Release in `Exclusive::set_times`, so that the limit of a deadline
        // is seen with it.
        let old = cell.load(Ordering::Acquire);
        let limit = times.limit.as_ref();
        let limit = limit.map_or(0, |limit| limit.get(id).load(Ordering::Relaxed));
        if limit == FIXED {
            return false;
        }
        if limit != 0 && (new == 0 || new > limit) {
            new = limit;
        }
        if old == new || (old != 0 && new > old && new - old < slack_ns) {
            return false;
        }
        // Not a plain store: a writer may have fixed the deadline meanwhile.
        let moved = cell.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        moved.is_ok() && new != 0 && (old == 0 || new < old)
    }

    /// When the value of an entry that the caller protects was written, if that is kept.
    pub(crate) fn written_ns(&self, id: EntryId) -> Option<u64> {
        let written = self.times.get()?.written.as_ref()?;
        Some(written.get(id).load(Ordering::Relaxed))
    }

    /// Has the cache line loaded where a search for `hash` begins. Needs no protection: it reads
    /// nothing of the table, and an address that is no longer the table's does no harm.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.whereabouts.prefetch(hash);
    }

    /// Has the slot and the access byte loaded that a search for `hash` will most likely look at first,
    /// whose line in the table should be loaded by now. Takes no lock.
    #[inline]
    pub(crate) fn prefetch_slot(&self, protection: &mut Protection<'_>, hash: u64) {
        // Acquire: pairs with the Release in `Exclusive::publish`.
        let seen = self.table.load(Ordering::Acquire);
        protection.cells().protect_table(seen.addr());
        if self.table.load(Ordering::Acquire) != seen {
            return;
        }
        // SAFETY: the table was current after it was protected, so it is freed only after a snapshot
        // that no longer sees the protection; and nobody else uses that meanwhile.
        if let Some(id) = unsafe { &*seen }.candidate(hash) {
            prefetch(self.slots.get(id));
            self.access.prefetch(id);
        }
    }

    /// As [`find`](Self::find) or [`find_locked`](Self::find_locked), as a guard that keeps its own
    /// protection.
    #[inline]
    pub(crate) fn guard(
        &self,
        mut protection: Protection<'static>,
        lock_free: bool,
        hash: u64,
        is_it: impl Fn(&K) -> bool + Copy,
    ) -> Option<Guarded<'_, K, V>> {
        let (id, entry) = if lock_free {
            self.find(&mut protection, hash, is_it)?
        } else {
            self.find_locked(&mut protection, hash, is_it)?
        };
        let entry = NonNull::from(entry);
        protection.release_table();
        Some(Guarded {
            entry,
            id,
            protection,
            shard: self,
        })
    }

    /// The hashes of all live entries, each once, in no order.
    pub(crate) fn hashes(&self, hash: impl Fn(&K) -> u64) -> Vec<u64> {
        let _reading = self.writer.read();
        let mut hashes = Vec::with_capacity(self.len() as usize);
        // SAFETY: the table is replaced and freed only under the writer lock.
        let table = unsafe { &*self.table.load(Ordering::Relaxed) };
        table.for_each(|id| {
            // SAFETY: linked in the table, hence live, and no writer is at work.
            hashes.push(hash(unsafe {
                &(*self.slots.get(id).get()).assume_init_ref().key
            }));
        });
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Guards the live entries with this hash: one, but for collisions of all 64 bits.
    pub(crate) fn guard_hash<'a>(
        &'a self,
        hash: u64,
        hash_key: impl Fn(&K) -> u64,
        found: &mut Vec<Guarded<'a, K, V>>,
    ) {
        let _reading = self.writer.read();
        // SAFETY: the table is replaced and freed only under the writer lock.
        let table = unsafe { &*self.table.load(Ordering::Relaxed) };
        table.find(hash, |id| {
            // SAFETY: linked in the table, hence live, and no writer is at work.
            let entry = unsafe { (*self.slots.get(id).get()).assume_init_ref() };
            if hash_key(&entry.key) == hash {
                let protection = crate::hazard::protect();
                protection.protect_entry(ptr::from_ref(self.slots.get(id)).addr());
                // Protected while linked, as in `guard`.
                found.push(Guarded {
                    entry: NonNull::from(entry),
                    id,
                    protection,
                    shard: self,
                });
            }
            // None is accepted, so that the search goes on.
            false
        });
    }
}

/// A live entry, protected: it stays readable until the guard goes, even if it is removed
/// meanwhile.
#[derive(Debug)]
pub(crate) struct Guarded<'a, K, V> {
    /// A pointer, because a reference must be valid to the end of any function that the guard is
    /// moved into, also of one that drops it.
    entry: NonNull<Entry<K, V>>,
    id: EntryId,
    #[expect(dead_code, reason = "held for what its drop does")]
    protection: Protection<'static>,
    shard: &'a Shard<K, V>,
}

impl<K, V> Guarded<'_, K, V> {
    /// The entry, for as long as the guard is borrowed.
    #[inline]
    pub(crate) fn entry(&self) -> &Entry<K, V> {
        // SAFETY: protected while it was linked, by a protection that lives as long as the guard
        // and is not used for anything else; the slot itself lives as long as the shard, which the
        // guard borrows.
        unsafe { self.entry.as_ref() }
    }

    /// When the entry expires, as of now.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.shard.deadline_ns(self.id)
    }

    /// The entry's id. It names the same entry while the guard lives, for its slot is not reused.
    pub(crate) fn id(&self) -> EntryId {
        self.id
    }
}

/// Beyond this many entries a shard starts smaller than it may become and grows as it fills, so
/// that a bound meant as "no bound" costs nothing.
const MAX_FIRST_ENTRIES: usize = 1 << 20;

impl Times {
    /// When `id` expires, or `None` if never.
    #[inline]
    fn deadline_ns(&self, id: EntryId) -> Option<u64> {
        self.deadline.get(id).load(Ordering::Relaxed).checked_sub(1)
    }

    fn reserve(&self, slots: usize) {
        for array in [
            Some(&self.deadline),
            self.limit.as_ref(),
            self.written.as_ref(),
        ]
        .into_iter()
        .flatten()
        {
            while array.slots() < slots {
                array.grow();
            }
        }
    }
}

impl<K, V> Drop for Shard<K, V> {
    fn drop(&mut self) {
        let writer = self.writer.get_mut();
        let limbo = &mut writer.limbo;
        let tables = limbo.tables.drain(..).chain(limbo.young_tables.drain(..));
        for table in tables.chain([self.table.load(Ordering::Relaxed)]) {
            // SAFETY: the current table and the superseded ones came from boxes, and nobody else
            // has access any more.
            drop(unsafe { Box::from_raw(table) });
        }
        if !needs_drop::<Entry<K, V>>() {
            return;
        }
        let lists = [&limbo.young, &limbo.old, &writer.garbage, &writer.doomed];
        let unlinked = lists.into_iter().flatten().copied();
        let mut panic = None;
        for id in unlinked.chain(writer.live.iter()) {
            let slot = self.slots.get(id).get();
            // SAFETY: each of these slots holds an entry that has not been dropped, and is in one
            // list only.
            let dropped = catch_unwind(AssertUnwindSafe(|| unsafe {
                (*slot).assume_init_drop();
            }));
            if let Err(payload) = dropped {
                panic.get_or_insert(payload);
            }
        }
        pass_on(panic);
    }
}

impl<K, V> std::fmt::Debug for Shard<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("len", &self.len)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}
