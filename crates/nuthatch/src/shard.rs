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

use crate::hazard::{Protection, domain};
use crate::policy::{
    AccessBytes, BuiltPolicy, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode,
};
use crate::slab::{SlotVec, prefetch};
use crate::sync::atomic::AtomicPtr;
use crate::sync::{RwLock, RwLockWriteGuard};
use crate::table::{Check, Found, Place, Table, Whereabouts};
use crate::timer_wheel::{NEVER_NS, TimerWheel};
use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, needs_drop, swap, take};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
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
    /// bound. Kept only where reads move deadlines.
    limit: Option<SlotVec<AtomicU64>>,
    /// When the value was written.
    written: Option<SlotVec<AtomicU64>>,
}

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
    /// Weight of all live entries. Written under the lock, read by anyone who looks for a shard to
    /// evict from.
    weight: AtomicU64,
    len: AtomicU64,
    writer: RwLock<Writer>,
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

/// What only the writer touches.
#[derive(Debug)]
struct Writer {
    policy: BuiltPolicy,
    /// Made when the first entry gets a deadline.
    wheel: Option<TimerWheel>,
    /// Weights by id; empty if every entry weighs 1.
    weights: Option<Vec<u32>>,
    /// Bit per id: linked in the table.
    live: Bits,
    /// Bit per id: kept from the policy, so never evicted.
    pinned: Bits,
    free: Vec<EntryId>,
    /// Slots that were never used: `fresh_start..fresh_end`.
    fresh_start: EntryId,
    fresh_end: EntryId,
    limbo: Limbo,
    /// Slots that nobody can see and whose contents are still to be dropped.
    garbage: Vec<EntryId>,
    /// Entries of a table that was invalidated as a whole, still to be removed one by one.
    doomed: Vec<EntryId>,
    keep: KeepTimes,
    /// The entry that will most likely be evicted next, and its hash. Forgotten when slots become
    /// free: an id means the same entry until then.
    ahead: Option<(EntryId, u64)>,
    /// Whether readers store the policy's era.
    stamps: bool,
}

/// Slots and tables that readers may still look at.
#[derive(Debug)]
struct Limbo {
    /// Unlinked since the last seal.
    young: Vec<EntryId>,
    /// Unlinked before `stamp` was taken.
    old: Vec<EntryId>,
    tables: Vec<*mut Table>,
    young_tables: Vec<*mut Table>,
    stamp: u64,
    /// Weight of the young, if entries are weighed.
    young_weight: u64,
    /// How many young slots are let gather: one heavy barrier serves them all.
    batch: usize,
    batch_weight: u64,
}

// SAFETY: the tables in limbo are owned by the shard; they are raw only because readers may look.
unsafe impl Send for Limbo {}
// SAFETY: as above; they are touched only under the shard's lock.
unsafe impl Sync for Limbo {}

/// A growable set of ids.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    fn contains(&self, id: EntryId) -> bool {
        self.0
            .get(id as usize / 64)
            .is_some_and(|word| word & 1 << (id % 64) != 0)
    }

    #[inline]
    fn insert(&mut self, id: EntryId) {
        if id as usize / 64 >= self.0.len() {
            self.0.resize(id as usize / 64 + 1, 0);
        }
        self.0[id as usize / 64] |= 1 << (id % 64);
    }

    #[inline]
    fn remove(&mut self, id: EntryId) {
        if let Some(word) = self.0.get_mut(id as usize / 64) {
            *word &= !(1 << (id % 64));
        }
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(&self) -> impl Iterator<Item = EntryId> {
        (0..).step_by(64).zip(&self.0).flat_map(|(first, word)| {
            (first..first + 64).filter(move |id| word & 1 << (id % 64) != 0)
        })
    }
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

/// Owns a slot that was unlinked and not yet given to limbo: its entry can still be looked at.
/// Must be given back with [`Exclusive::retire`]; a token that is dropped leaks its entry.
#[derive(Debug)]
#[must_use]
pub(crate) struct Removed(EntryId);

impl Removed {
    /// The slot's id.
    pub(crate) fn id(&self) -> EntryId {
        self.0
    }
}

/// The answers to what a policy may ask.
struct Facts<'a, K, V, H> {
    slots: &'a SlotVec<Slot<K, V>>,
    live: &'a Bits,
    weights: Option<&'a [u32]>,
    hash: &'a H,
}

impl<K, V, H: Fn(&K) -> u64> EntryFacts for Facts<'_, K, V, H> {
    fn hash(&self, id: EntryId) -> u64 {
        assert!(
            self.live.contains(id),
            "a policy asked for the hash of {id}, which is not resident"
        );
        // SAFETY: the slot is live and the lock is held, so its entry is initialised and stays.
        (self.hash)(unsafe { &(*self.slots.get(id).get()).assume_init_ref().key })
    }

    fn weight(&self, id: EntryId) -> u32 {
        self.weights.map_or(1, |weights| weights[id as usize])
    }
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(mut setup: ShardSetup) -> Self {
        setup.policy.set_capacity(setup.share);
        let stamps = setup.policy.hit_mode() == HitMode::Stamp;
        // A shard may hold somewhat more than its share while others hold less, and as many slots
        // again as limbo keeps back.
        let batch = if needs_drop::<Entry<K, V>>() {
            (setup.expected / 16).clamp(16, 256)
        } else {
            (setup.expected / 16).clamp(64, 512)
        };
        let expected = setup.expected.min(MAX_FIRST_ENTRIES);
        let margin = 4 * expected.isqrt() + 4;
        let first_slots = expected + margin + 2 * batch;
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
            writer: RwLock::new(Writer {
                policy: setup.policy,
                wheel: None,
                weights: setup.weighed.then(Vec::new),
                live: Bits::default(),
                pinned: Bits::default(),
                free: Vec::new(),
                fresh_start: 0,
                fresh_end: 0,
                limbo: Limbo {
                    young: Vec::new(),
                    old: Vec::new(),
                    tables: Vec::new(),
                    young_tables: Vec::new(),
                    stamp: 0,
                    young_weight: 0,
                    batch,
                    batch_weight: setup.share / 32,
                },
                garbage: Vec::new(),
                doomed: Vec::new(),
                keep: setup.keep,
                ahead: None,
                stamps,
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
    #[inline]
    pub(crate) fn find<'p>(
        &'p self,
        protection: &'p mut Protection<'_>,
        hash: u64,
        is_it: impl Fn(&K) -> bool,
    ) -> Option<(EntryId, &'p Entry<K, V>)> {
        let id = match self.find_in_table(protection, hash, &is_it) {
            Found::Entry(id) => id,
            Found::Absent => return None,
            Found::Changed => self.find_in_tables(protection, hash, &is_it)?,
        };
        // SAFETY: `find_in_table` has accepted the entry, which is protected until `protection`
        // protects something else, which its `&mut` borrow forbids while the returned reference
        // lives.
        Some((id, unsafe { (*self.slots.get(id).get()).assume_init_ref() }))
    }

    /// As [`find_in_table`](Self::find_in_table), as often as writers come between.
    #[cold]
    #[inline(never)]
    fn find_in_tables(
        &self,
        protection: &Protection<'_>,
        hash: u64,
        is_it: &impl Fn(&K) -> bool,
    ) -> Option<EntryId> {
        loop {
            match self.find_in_table(protection, hash, is_it) {
                Found::Entry(id) => return Some(id),
                Found::Absent => return None,
                Found::Changed => {}
            }
        }
    }

    /// Finds the entry with this hash that `is_it` accepts in what is the table now, and leaves it
    /// protected.
    #[inline]
    fn find_in_table(
        &self,
        protection: &Protection<'_>,
        hash: u64,
        is_it: &impl Fn(&K) -> bool,
    ) -> Found {
        // Acquire: pairs with the Release in `Exclusive::publish`.
        let seen = self.table.load(Ordering::Acquire);
        protection.protect_table(seen.addr());
        let current = self.table.load(Ordering::Acquire);
        if current != seen {
            return Found::Changed;
        }
        // SAFETY: the table was current after it was protected, so it is freed only after a
        // snapshot that no longer sees the protection.
        let table = unsafe { &*current };
        table.find_shared(hash, |id, place| {
            let slot = self.slots.get(id);
            protection.protect_entry(ptr::from_ref(slot).addr());
            // Acquire: as the first load of the id. Still linked after the protection: the slot is
            // reused only after a snapshot that no longer sees the protection.
            if place.load(Ordering::Acquire) != id {
                return Check::Gone;
            }
            // SAFETY: linked, so initialised before its id was published (Release in
            // `Table::insert`/`replace`, Acquire in `find_shared`), and protected.
            if is_it(unsafe { &(*slot.get()).assume_init_ref().key }) {
                Check::Accept
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
        let times = self.times.get()?;
        times
            .deadline
            .get(id)
            .load(Ordering::Relaxed)
            .checked_sub(1)
    }

    /// What the deadline of `id` may not be moved beyond, if that is kept and bounded.
    #[cfg(feature = "snapshot")]
    pub(crate) fn limit_ns(&self, id: EntryId) -> Option<u64> {
        let limits = self.times.get()?.limit.as_ref()?;
        limits.get(id).load(Ordering::Relaxed).checked_sub(1)
    }

    /// Moves the deadline of an entry that the caller protects; not beyond its limit. Nothing is
    /// written if it moves by less than `slack_ns` to a later time. Returns whether it came nearer,
    /// so that the wheel has to know.
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
        let limit = times.limit.as_ref();
        let limit = limit.map_or(0, |limit| limit.get(id).load(Ordering::Relaxed));
        if limit != 0 && (new == 0 || new > limit) {
            new = limit;
        }
        let cell = times.deadline.get(id);
        let old = cell.load(Ordering::Relaxed);
        if old == new || (old != 0 && new > old && new - old < slack_ns) {
            return false;
        }
        cell.store(new, Ordering::Relaxed);
        new != 0 && (old == 0 || new < old)
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

    /// As [`find`](Self::find) or [`find_locked`](Self::find_locked), as a guard that keeps its own
    /// protection.
    #[inline]
    pub(crate) fn guard(
        &self,
        mut protection: Protection<'static>,
        lock_free: bool,
        hash: u64,
        is_it: impl Fn(&K) -> bool,
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
            shard: PhantomData,
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
    pub(crate) fn guard_hash(
        &self,
        hash: u64,
        hash_key: impl Fn(&K) -> u64,
        found: &mut Vec<Guarded<'_, K, V>>,
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
                    shard: PhantomData,
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
    shard: PhantomData<&'a Shard<K, V>>,
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

    /// The entry's id. It names the same entry while the guard lives, for its slot is not reused.
    pub(crate) fn id(&self) -> EntryId {
        self.id
    }
}

/// Beyond this many entries a shard starts smaller than it may become and grows as it fills, so
/// that a bound meant as "no bound" costs nothing.
const MAX_FIRST_ENTRIES: usize = 1 << 20;

/// The shard with its lock held: every change goes through here.
pub(crate) struct Exclusive<'a, K, V> {
    shard: &'a Shard<K, V>,
    writer: RwLockWriteGuard<'a, Writer>,
}

/// What a new entry brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) weight: u32,
    /// `None`: it has none, and no entry of the cache had any when it was written.
    pub(crate) times: Option<EntryTimes>,
}

/// The times of a new entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTimes {
    /// When it expires, in nanoseconds of the cache's clock; `None`: never.
    pub(crate) deadline_ns: Option<u64>,
    /// What its deadline may never be moved beyond.
    pub(crate) limit_ns: Option<u64>,
    /// When its value was written, if that is kept.
    pub(crate) written_ns: Option<u64>,
}

impl<'a, K, V> Exclusive<'a, K, V> {
    /// The entry with this hash that `is_it` accepts.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(&K) -> bool) -> Option<(Place, EntryId)> {
        // SAFETY: linked in the table, hence live, and the lock is held.
        let entry = |id| unsafe { (*self.shard.slots.get(id).get()).assume_init_ref() };
        self.table().find(hash, |id| is_it(&entry(id).key))
    }

    /// A live entry.
    #[inline]
    pub(crate) fn entry(&self, id: EntryId) -> &Entry<K, V> {
        assert!(self.writer.live.contains(id), "entry {id} is live");
        // SAFETY: live, and the lock is held.
        unsafe { (*self.shard.slots.get(id).get()).assume_init_ref() }
    }

    /// Protects a live entry: it stays readable until `protection` protects something else, even
    /// if it is removed meanwhile.
    pub(crate) fn protect<'p>(
        &self,
        id: EntryId,
        protection: &'p mut Protection<'_>,
    ) -> &'p Entry<K, V>
    where
        'a: 'p,
    {
        protection.protect_entry(ptr::from_ref(self.shard.slots.get(id)).addr());
        let entry = ptr::from_ref(self.entry(id));
        // SAFETY: live, the lock is held, and protected before it can be retired.
        unsafe { &*entry }
    }

    /// The weight of a live entry.
    #[inline]
    pub(crate) fn weight(&self, id: EntryId) -> u32 {
        self.writer
            .weights
            .as_ref()
            .map_or(1, |weights| weights[id as usize])
    }

    /// Weight of all live entries.
    pub(crate) fn total_weight(&self) -> u64 {
        self.shard.weight()
    }

    /// The shard whose lock this is.
    pub(crate) fn shard(&self) -> &'a Shard<K, V> {
        self.shard
    }

    /// Whether an entry has this id.
    #[cfg(feature = "snapshot")]
    pub(crate) fn is_live(&self, id: EntryId) -> bool {
        self.writer.live.contains(id)
    }

    /// Whether the policy holds `id`: it is live and not pinned.
    #[inline]
    pub(crate) fn is_evictable(&self, id: EntryId) -> bool {
        self.writer.live.contains(id) && !self.is_pinned(id)
    }

    /// Whether any entry may be due or doomed.
    #[inline]
    pub(crate) fn has_leavers(&self) -> bool {
        self.writer.wheel.is_some() || !self.writer.doomed.is_empty()
    }

    /// A live entry whose deadline has come. Takes one off `budget` for each entry looked at.
    pub(crate) fn pop_due(&mut self, now_ns: u64, budget: &mut usize) -> Option<EntryId> {
        let shard = self.shard;
        let Writer { wheel, live, .. } = &mut *self.writer;
        wheel.as_mut()?.pop_due(now_ns, budget, |id| {
            if live.contains(id) {
                shard.deadline_ns(id).unwrap_or(NEVER_NS)
            } else {
                NEVER_NS
            }
        })
    }

    /// The deadline of a live entry came nearer.
    pub(crate) fn reschedule(&mut self, id: EntryId) {
        if self.writer.live.contains(id)
            && let Some(wheel) = &mut self.writer.wheel
            && let Some(deadline_ns) = self.shard.deadline_ns(id)
        {
            wheel.schedule(id, deadline_ns);
        }
    }

    /// Whether the entry is kept from the policy.
    #[inline]
    pub(crate) fn is_pinned(&self, id: EntryId) -> bool {
        self.writer.pinned.contains(id)
    }

    /// The policy, and what it may ask.
    #[inline]
    pub(crate) fn policy<R>(
        &mut self,
        hash: &impl Fn(&K) -> u64,
        call: impl FnOnce(&mut BuiltPolicy, &Entries<'_>) -> R,
    ) -> R {
        let writer = &mut *self.writer;
        let facts = Facts {
            slots: &self.shard.slots,
            live: &writer.live,
            weights: writer.weights.as_deref(),
            hash,
        };
        call(
            &mut writer.policy,
            &Entries::new(&self.shard.access, &facts),
        )
    }

    /// Links a new entry, whose key is not in the table.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        entry: Entry<K, V>,
        birth: Birth,
        now_ns: u64,
        hash_key: &impl Fn(&K) -> u64,
    ) -> EntryId {
        if self.shard.len() as usize + 1 > self.table().capacity() {
            self.grow_table(hash_key);
        }
        let id = self.fill_slot(entry, birth, now_ns);
        self.policy(hash_key, |policy, entries| policy.insert(id, entries));
        if self.writer.stamps {
            let era = self.writer.policy.era();
            self.shard.era.store(era, Ordering::Relaxed);
        }
        self.table().insert(hash, id);
        self.count(1, u64::from(birth.weight), 0);
        id
    }

    /// Links a new entry, whose key is not in the table, in the place of one that the policy chooses:
    /// [`evict`](Self::evict), [`retire`](Self::retire) and [`insert`](Self::insert) in one, for
    /// entries that weigh 1 and have no times. Gives the entry back if the policy holds none.
    #[inline]
    pub(crate) fn exchange(
        &mut self,
        hash: u64,
        entry: Entry<K, V>,
        hash_key: &impl Fn(&K) -> u64,
    ) -> Result<EntryId, Entry<K, V>> {
        let id = self.free_slot();
        let shard = self.shard;
        let table = self.table();
        let writer = &mut *self.writer;
        let slot = shard.slots.get(id).get();
        // SAFETY: as in `fill_slot`.
        unsafe { (*slot).write(entry) };
        writer.live.insert(id);
        let facts = Facts {
            slots: &shard.slots,
            live: &writer.live,
            weights: None,
            hash: hash_key,
        };
        let entries = Entries::new(&shard.access, &facts);
        let Some(victim) = writer.policy.exchange(hash, 1, id, &entries) else {
            writer.live.remove(id);
            writer.free.push(id);
            // SAFETY: written above, not linked, and nobody reads a free slot's content.
            return Err(unsafe { (*slot).assume_init_read() });
        };
        assert!(
            victim != id && writer.live.contains(victim) && !writer.pinned.contains(victim),
            "a policy evicted {victim}, which it does not hold"
        );
        let victim_hash = match writer.ahead {
            Some((ahead, hash)) if ahead == victim => hash,
            // SAFETY: live, and the lock is held.
            _ => hash_key(unsafe { &(*shard.slots.get(victim).get()).assume_init_ref().key }),
        };
        table.remove_id(victim_hash, victim);
        writer.live.remove(victim);
        table.insert(hash, id);
        if writer.stamps {
            shard.era.store(writer.policy.era(), Ordering::Relaxed);
        }
        writer.limbo.young.push(victim);
        if writer.limbo.young.len() >= writer.limbo.batch {
            self.reclaim();
        }
        Ok(victim)
    }

    /// Puts a new entry with the same key in the place of a live one, which it returns. The policy
    /// hears of the move but not of a hit.
    pub(crate) fn replace(
        &mut self,
        place: Place,
        old: EntryId,
        entry: Entry<K, V>,
        birth: Birth,
        now_ns: u64,
        hash_key: &impl Fn(&K) -> u64,
    ) -> (EntryId, Removed) {
        let old_weight = self.weight(old);
        let id = self.fill_slot(entry, birth, now_ns);
        self.shard.access.set(id, self.shard.access.get(old));
        if self.is_pinned(old) {
            self.writer.pinned.insert(id);
            self.writer.pinned.remove(old);
        } else {
            self.policy(hash_key, |policy, entries| {
                policy.relocate(old, id, entries)
            });
        }
        self.table().replace(place, id);
        self.writer.live.remove(old);
        self.count(0, u64::from(birth.weight), u64::from(old_weight));
        (id, Removed(old))
    }

    /// Puts a new entry with the same key in the place of a live one and retires that:
    /// [`replace`](Self::replace) and [`retire`](Self::retire) in one, for entries that weigh 1 and
    /// have no times.
    #[inline]
    pub(crate) fn renew(
        &mut self,
        place: Place,
        old: EntryId,
        entry: Entry<K, V>,
        hash_key: &impl Fn(&K) -> u64,
    ) -> EntryId {
        let id = self.free_slot();
        let shard = self.shard;
        let writer = &mut *self.writer;
        // SAFETY: as in `fill_slot`.
        unsafe { (*shard.slots.get(id).get()).write(entry) };
        writer.live.insert(id);
        shard.access.set(id, shard.access.get(old));
        if writer.pinned.contains(old) {
            writer.pinned.insert(id);
            writer.pinned.remove(old);
        } else {
            let facts = Facts {
                slots: &shard.slots,
                live: &writer.live,
                weights: None,
                hash: hash_key,
            };
            let entries = Entries::new(&shard.access, &facts);
            writer.policy.relocate(old, id, &entries);
        }
        self.table().replace(place, id);
        let writer = &mut *self.writer;
        writer.live.remove(old);
        writer.limbo.young.push(old);
        if writer.limbo.young.len() >= writer.limbo.batch {
            self.reclaim();
        }
        id
    }

    /// Unlinks a live entry, and tells the policy.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        place: Place,
        id: EntryId,
        hash_key: &impl Fn(&K) -> u64,
    ) -> Removed {
        if self.is_pinned(id) {
            self.writer.pinned.remove(id);
        } else {
            self.policy(hash_key, |policy, entries| policy.remove(id, entries));
        }
        self.table().remove(hash, place);
        self.unlinked(id)
    }

    /// Unlinks a live entry known by its id only, and tells the policy.
    pub(crate) fn remove_id(&mut self, id: EntryId, hash_key: &impl Fn(&K) -> u64) -> Removed {
        let hash = hash_key(&self.entry(id).key);
        if self.is_pinned(id) {
            self.writer.pinned.remove(id);
        } else {
            self.policy(hash_key, |policy, entries| policy.remove(id, entries));
        }
        self.table().remove_id(hash, id);
        self.unlinked(id)
    }

    /// Lets the policy choose a victim and unlinks it; with it comes its weight. `None` if the
    /// policy holds no entry.
    #[inline]
    pub(crate) fn evict(&mut self, hash_key: &impl Fn(&K) -> u64) -> Option<(Removed, u32)> {
        let id = self.policy(hash_key, |policy, entries| policy.evict(entries))?;
        assert!(
            self.is_evictable(id),
            "a policy evicted {id}, which it does not hold"
        );
        let weight = self.weight(id);
        let hash = match self.writer.ahead.take() {
            Some((ahead, hash)) if ahead == id => hash,
            _ => hash_key(&self.entry(id).key),
        };
        self.table().remove_id(hash, id);
        Some((self.unlinked(id), weight))
    }

    /// Has the memory loaded that the policy will look at for a key with this hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.writer.policy.prefetch(hash);
    }

    /// Has the memory loaded that the next eviction and insertion will touch, as far as it can be
    /// told: the entry after next, the table's group of the next, the next free slot. One eviction
    /// in a cache larger than the processor's would else wait for memory three times, once after
    /// the other.
    pub(crate) fn look_ahead(&mut self, hash_key: &impl Fn(&K) -> u64) {
        let [first, second] = self.writer.policy.upcoming();
        if let Some(id) = second {
            prefetch(self.shard.slots.get(id));
        }
        // A key with memory of its own would have to be waited for to be hashed.
        if !needs_drop::<K>()
            && let Some(id) = first
            && self.writer.live.contains(id)
        {
            let hash = hash_key(&self.entry(id).key);
            self.table().prefetch(hash);
            self.writer.policy.prefetch(hash);
            self.writer.ahead = Some((id, hash));
        }
        if let Some(&id) = self.writer.free.last() {
            prefetch(self.shard.slots.get(id));
        }
    }

    /// Keeps a live entry from the policy, or gives it back.
    pub(crate) fn set_pinned(&mut self, id: EntryId, pinned: bool, hash_key: &impl Fn(&K) -> u64) {
        if self.is_pinned(id) == pinned {
            return;
        }
        if pinned {
            self.policy(hash_key, |policy, entries| policy.remove(id, entries));
            self.writer.pinned.insert(id);
        } else {
            self.writer.pinned.remove(id);
            self.policy(hash_key, |policy, entries| {
                policy.prepare(entries.hash(id), entries.weight(id));
                policy.insert(id, entries);
            });
        }
    }

    /// Unlinks everything at once: an empty table takes the place of the old one. The entries
    /// become doomed; [`next_doomed`](Self::next_doomed) hands them out. Returns their weight.
    pub(crate) fn doom_all(&mut self) -> u64 {
        let shard = self.shard;
        let weight = shard.weight();
        let old = self.publish(self.table().emptied());
        let writer = &mut *self.writer;
        // SAFETY: the old table stays allocated until limbo frees it.
        unsafe { &*old }.supersede(|id| writer.doomed.push(id));
        writer.limbo.young_tables.push(old);
        writer.live = Bits::default();
        writer.pinned = Bits::default();
        writer.policy.clear();
        self.count(0, 0, weight);
        self.shard.len.store(0, Ordering::Relaxed);
        weight
    }

    /// An entry that was unlinked by [`doom_all`](Self::doom_all) and is not retired yet.
    pub(crate) fn next_doomed(&mut self) -> Option<Removed> {
        self.writer.doomed.pop().map(Removed)
    }

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

    /// Ids of all live entries that the policy holds, those to be evicted first first, then the
    /// pinned ones.
    pub(crate) fn ranked(&self) -> Vec<EntryId> {
        let mut ids = Vec::with_capacity(self.shard.len() as usize);
        self.writer.policy.rank(&mut |id| ids.push(id));
        self.table().for_each(|id| {
            if self.is_pinned(id) {
                ids.push(id);
            }
        });
        ids
    }

    /// Ids of all live entries, in no order.
    pub(crate) fn ids(&self) -> Vec<EntryId> {
        let mut ids = Vec::with_capacity(self.shard.len() as usize);
        self.table().for_each(|id| ids.push(id));
        ids
    }

    /// Recounts the shard from scratch.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(crate) fn validate(&mut self, hash_key: &impl Fn(&K) -> u64) {
        self.table().validate(|id| hash_key(&self.entry(id).key));
        let ids = self.ids();
        let weight: u64 = ids.iter().map(|&id| u64::from(self.weight(id))).sum();
        assert_eq!(self.shard.weight(), weight, "the shard knows its weight");
        assert_eq!(
            self.shard.len(),
            ids.len() as u64,
            "the shard knows its length"
        );
        assert_eq!(self.writer.live.len(), ids.len(), "linked is live");
        let pinned = ids.iter().filter(|&&id| self.is_pinned(id)).count();
        assert_eq!(self.writer.pinned.len(), pinned, "pinned is live");
        assert_eq!(
            self.writer.policy.len(),
            ids.len() - pinned,
            "the policy holds what is not pinned"
        );
        let mut ranked = self.ranked();
        ranked.sort_unstable();
        let mut sorted = ids;
        sorted.sort_unstable();
        assert_eq!(ranked, sorted, "the policy holds the live entries");
        let writer = &*self.writer;
        let fresh = (writer.fresh_end - writer.fresh_start) as usize;
        let limbo = writer.limbo.young.len() + writer.limbo.old.len();
        let mut all: Vec<_> = [
            &writer.free,
            &writer.limbo.young,
            &writer.limbo.old,
            &writer.garbage,
            &writer.doomed,
        ]
        .into_iter()
        .flatten()
        .copied()
        .chain(sorted)
        .collect();
        all.sort_unstable();
        let listed = all.len();
        all.dedup();
        assert_eq!(
            listed,
            all.len(),
            "a slot is in one state ({limbo} in limbo, {fresh} fresh)"
        );
        self.policy(hash_key, |policy, entries| policy.validate(entries));
        if let Some(wheel) = &self.writer.wheel {
            wheel.validate(|id| {
                let live = self.writer.live.contains(id);
                live.then(|| self.shard.deadline_ns(id))
                    .flatten()
                    .unwrap_or(NEVER_NS)
            });
        }
    }

    #[inline]
    fn table(&self) -> &'a Table {
        // SAFETY: the current table is freed only by limbo, after it was superseded under this
        // lock, or by the shard's drop.
        unsafe { &*self.shard.table.load(Ordering::Relaxed) }
    }

    /// Makes `table` the current one and returns the one before.
    fn publish(&self, table: Table) -> *mut Table {
        self.shard.whereabouts.follow(&table);
        // Release: pairs with the Acquire in `Shard::find`.
        self.shard
            .table
            .swap(Box::into_raw(Box::new(table)), Ordering::AcqRel)
    }

    #[cold]
    fn grow_table(&mut self, hash_key: &impl Fn(&K) -> u64) {
        let table = Table::new((self.table().capacity() * 3 / 2).max(16));
        self.table()
            .for_each(|id| table.insert(hash_key(&self.entry(id).key), id));
        let old = self.publish(table);
        // SAFETY: the old table stays allocated until limbo frees it.
        unsafe { &*old }.supersede(|_| {});
        self.writer.limbo.young_tables.push(old);
        self.reclaim();
    }

    #[inline]
    fn fill_slot(&mut self, entry: Entry<K, V>, birth: Birth, now_ns: u64) -> EntryId {
        let id = self.free_slot();
        let slot = self.shard.slots.get(id).get();
        // SAFETY: the slot is free: not linked, in no limbo, its former contents dropped; and the
        // lock is held.
        unsafe { (*slot).write(entry) };
        self.writer.live.insert(id);
        if let Some(weights) = &mut self.writer.weights {
            weights[id as usize] = birth.weight;
        }
        if let Some(times) = birth.times {
            self.set_times(id, times, now_ns);
        }
        id
    }

    #[inline]
    fn free_slot(&mut self) -> EntryId {
        if let Some(id) = self.writer.free.pop() {
            return id;
        }
        if self.writer.fresh_start == self.writer.fresh_end {
            self.grow_slots();
        }
        let id = self.writer.fresh_start;
        self.writer.fresh_start += 1;
        id
    }

    #[cold]
    fn grow_slots(&mut self) {
        let start = self.shard.slots.next_start() as EntryId;
        let end = self.shard.slots.grow();
        self.shard.access.reserve(end);
        if let Some(times) = self.shard.times.get() {
            times.reserve(end);
        }
        let writer = &mut *self.writer;
        if let Some(weights) = &mut writer.weights {
            weights.reserve_exact(end - weights.len());
            weights.resize(end, 0);
        }
        if let Some(wheel) = &mut writer.wheel {
            wheel.reserve(end);
        }
        writer.policy.reserve(end);
        writer.fresh_start = start;
        writer.fresh_end = end as EntryId;
    }

    fn set_times(&mut self, id: EntryId, times: EntryTimes, now_ns: u64) {
        let keep = self.writer.keep;
        let all = self.shard.times.get_or_init(|| {
            let first_slots = self.shard.slots.first_slots();
            let all = Times {
                deadline: SlotVec::new(first_slots),
                limit: keep.limits.then(|| SlotVec::new(first_slots)),
                written: keep.written.then(|| SlotVec::new(first_slots)),
            };
            all.reserve(self.shard.slots.slots());
            Box::new(all)
        });
        let stored = |ns: Option<u64>| ns.map_or(0, |ns| ns.saturating_add(1));
        all.deadline
            .get(id)
            .store(stored(times.deadline_ns), Ordering::Relaxed);
        if let Some(limit) = &all.limit {
            limit
                .get(id)
                .store(stored(times.limit_ns), Ordering::Relaxed);
        }
        if let (Some(written), Some(ns)) = (&all.written, times.written_ns) {
            written.get(id).store(ns, Ordering::Relaxed);
        }
        if let Some(deadline_ns) = times.deadline_ns {
            let slots = self.shard.slots.slots();
            let wheel = self.writer.wheel.get_or_insert_with(|| {
                let mut wheel = TimerWheel::new(now_ns);
                wheel.reserve(slots);
                wheel
            });
            wheel.schedule(id, deadline_ns);
        }
    }

    #[inline]
    fn unlinked(&mut self, id: EntryId) -> Removed {
        let weight = u64::from(self.weight(id));
        self.writer.live.remove(id);
        self.count(0, 0, weight);
        self.shard
            .len
            .store(self.shard.len() - 1, Ordering::Relaxed);
        Removed(id)
    }

    #[inline]
    fn count(&self, entries: u64, added: u64, taken: u64) {
        let shard = self.shard;
        shard
            .weight
            .store(shard.weight() + added - taken, Ordering::Relaxed);
        shard.len.store(shard.len() + entries, Ordering::Relaxed);
    }
}

impl Times {
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

#[cfg(all(test, loom))]
mod model;
