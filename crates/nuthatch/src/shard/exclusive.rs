//! A shard with its lock held: what a writer does to it.
#![expect(
    unsafe_code,
    reason = "slots are shared between a writer and its readers"
)]

use super::bits::Bits;
use super::{Entry, FIXED, Shard, Slot, Times, Writer};
use crate::hazard::Protection;
use crate::policy::{
    BuiltPolicy, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode, HitSampler,
};
use crate::slab::{SlotVec, prefetch};
use crate::sync::RwLockWriteGuard;
use crate::table::{Place, Table};
use crate::timer_wheel::{NEVER_NS, TimerWheel};
use std::mem::needs_drop;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// Owns a slot that was unlinked and not yet given to limbo: its entry can still be looked at.
/// Must be given back with [`Exclusive::retire`]; a token that is dropped leaks its entry.
#[derive(Debug)]
#[must_use]
pub(crate) struct Removed(pub(super) EntryId);

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
    times: &'a OnceLock<Box<Times>>,
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

    fn deadline_ns(&self, id: EntryId) -> Option<u64> {
        self.times.get()?.deadline_ns(id)
    }
}

/// The shard with its lock held: every change goes through here.
pub(crate) struct Exclusive<'a, K, V> {
    pub(super) shard: &'a Shard<K, V>,
    pub(super) writer: RwLockWriteGuard<'a, Writer>,
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
    /// Where reads may move its deadline to.
    pub(crate) reach: Reach,
    /// When its value was written, if that is kept.
    pub(crate) written_ns: Option<u64>,
}

/// How far reads may move a deadline, where they move deadlines at all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    Anywhere,
    /// Not beyond this time, in nanoseconds.
    UpTo(u64),
    Nowhere,
}

impl Reach {
    /// As it stands in [`Times::limit`].
    fn stored(self) -> u64 {
        match self {
            Self::Anywhere => 0,
            Self::UpTo(ns) => ns.saturating_add(1).min(FIXED - 1),
            Self::Nowhere => FIXED,
        }
    }
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
    pub(crate) fn has_leavers(&self, now_ns: u64) -> bool {
        let wheel = self.writer.wheel.as_ref();
        wheel.is_some_and(|wheel| !wheel.is_settled(now_ns)) || !self.writer.doomed.is_empty()
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
            self.set_timed(id, true);
        }
    }

    /// Gives a live entry a deadline that reads do not move.
    pub(crate) fn set_deadline(&mut self, id: EntryId, deadline_ns: Option<u64>, now_ns: u64) {
        assert!(self.writer.live.contains(id), "entry {id} is live");
        let times = EntryTimes {
            deadline_ns,
            reach: Reach::Nowhere,
            written_ns: None,
        };
        self.set_times(id, times, now_ns);
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
            times: &self.shard.times,
            hash,
        };
        call(
            &mut writer.policy,
            &Entries::new(&self.shard.access, &facts),
        )
    }

    /// Tells the policy of a hit, if it wants to hear of each and holds the entry.
    pub(crate) fn hit(&mut self, id: EntryId, hash: &impl Fn(&K) -> u64) {
        if self.writer.hit_mode == HitMode::Ordered && self.is_evictable(id) {
            self.policy(hash, |policy, entries| policy.hit(id, entries));
        }
    }

    /// The policy's listener for sampled hits.
    #[inline]
    pub(crate) fn sampler(&self) -> Option<&dyn HitSampler> {
        self.writer.sampler.as_deref()
    }

    /// Puts `policy`, which holds nothing and knows its capacity, in the place of the one before,
    /// which it returns; all entries that are not pinned are inserted into it, those to be evicted
    /// first first. Nothing has changed if a policy panics.
    ///
    /// # Panics
    /// If the policy before does not rank all its entries.
    pub(crate) fn change_policy(
        &mut self,
        mut policy: BuiltPolicy,
        sampler: Option<Arc<dyn HitSampler>>,
        hash: &impl Fn(&K) -> u64,
    ) -> BuiltPolicy {
        let slots = self.shard.slots.slots();
        if slots > 0 {
            policy.reserve(slots);
        }
        let mut ids = Vec::with_capacity(self.writer.policy.len());
        self.writer.policy.rank(&mut |id| ids.push(id));
        self.policy(hash, |before, entries| {
            for &id in &ids {
                policy.prepare(entries.hash(id), entries.weight(id));
                policy.insert(id, entries);
            }
            assert_eq!(
                policy.len(),
                before.len(),
                "a policy ranks each of its entries once"
            );
        });
        self.shard.era.store(policy.era(), Ordering::Relaxed);
        let writer = &mut *self.writer;
        writer.hit_mode = policy.hit_mode();
        writer.sampler = sampler;
        std::mem::replace(&mut writer.policy, policy)
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
        if self.writer.hit_mode == HitMode::Stamp {
            let era = self.writer.policy.era();
            self.shard.era.store(era, Ordering::Relaxed);
        }
        self.table().insert(hash, id);
        self.count(1, u64::from(birth.weight), 0);
        id
    }

    /// Links a new entry, whose key is not in the table, without a word to the policy: it is kept
    /// from eviction from the first moment on.
    pub(crate) fn insert_pinned(
        &mut self,
        hash: u64,
        entry: Entry<K, V>,
        birth: Birth,
        now_ns: u64,
        hash_key: &impl Fn(&K) -> u64,
    ) {
        if self.shard.len() as usize + 1 > self.table().capacity() {
            self.grow_table(hash_key);
        }
        let id = self.fill_slot(entry, birth, now_ns);
        self.shard.access.set(id, 0);
        self.writer.pinned.insert(id);
        self.table().insert(hash, id);
        self.count(1, u64::from(birth.weight), 0);
    }

    /// Links a new entry, whose key is not in the table, in the place of one that the policy chooses:
    /// [`evict`](Self::evict), [`retire`](Self::retire) and [`insert`](Self::insert) in one, for
    /// entries that weigh 1. Gives the entry back if the policy holds none.
    #[inline]
    pub(crate) fn exchange(
        &mut self,
        hash: u64,
        entry: Entry<K, V>,
        times: Option<EntryTimes>,
        now_ns: u64,
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
            times: &shard.times,
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
        self.set_timed(victim, false);
        if let Some(times) = times {
            self.set_times(id, times, now_ns);
        }
        table.insert(hash, id);
        let writer = &mut *self.writer;
        if writer.hit_mode == HitMode::Stamp {
            shard.era.store(writer.policy.era(), Ordering::Relaxed);
        }
        writer.untidy |= writer.limbo.push(victim);
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
        self.set_timed(old, false);
        self.count(0, u64::from(birth.weight), u64::from(old_weight));
        (id, Removed(old))
    }

    /// Puts a new entry with the same key in the place of a live one and retires that:
    /// [`replace`](Self::replace) and [`retire`](Self::retire) in one, for entries that weigh 1.
    #[inline]
    pub(crate) fn renew(
        &mut self,
        place: Place,
        old: EntryId,
        entry: Entry<K, V>,
        times: Option<EntryTimes>,
        now_ns: u64,
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
                times: &shard.times,
                hash: hash_key,
            };
            let entries = Entries::new(&shard.access, &facts);
            writer.policy.relocate(old, id, &entries);
        }
        if let Some(times) = times {
            self.set_times(id, times, now_ns);
        }
        self.table().replace(place, id);
        self.set_timed(old, false);
        let writer = &mut *self.writer;
        writer.live.remove(old);
        writer.untidy |= writer.limbo.push(old);
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
        writer.timed = Bits::default();
        self.shard.timed_len.store(0, Ordering::Relaxed);
        writer.policy.clear();
        self.count(0, 0, weight);
        self.shard.len.store(0, Ordering::Relaxed);
        weight
    }

    /// An entry that was unlinked by [`doom_all`](Self::doom_all) and is not retired yet.
    pub(crate) fn next_doomed(&mut self) -> Option<Removed> {
        self.writer.doomed.pop().map(Removed)
    }

    #[inline]
    pub(super) fn table(&self) -> &'a Table {
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
    pub(super) fn grow_table(&mut self, hash_key: &impl Fn(&K) -> u64) {
        self.widen_table((self.table().capacity() * 5 / 4).max(16), hash_key);
    }

    /// Makes the table one that holds so many entries, if it does not already.
    pub(crate) fn expect_entries(&mut self, entries: usize, hash_key: &impl Fn(&K) -> u64) {
        if self.table().capacity() < entries {
            self.widen_table(entries, hash_key);
        }
    }

    fn widen_table(&mut self, entries: usize, hash_key: &impl Fn(&K) -> u64) {
        let table = Table::new(entries);
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
        if self.writer.limbo.has_tables() {
            // A cache that only grows has no other occasion.
            self.reclaim();
        }
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
        // Arrays that are not there say of every entry what this one would have them say.
        let says_nothing = times.deadline_ns.is_none() && times.written_ns.is_none();
        if says_nothing && !keep.limits && self.shard.times.get().is_none() {
            return;
        }
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
        if let Some(limit) = &all.limit {
            limit.get(id).store(times.reach.stored(), Ordering::Relaxed);
        }
        let deadline = times.deadline_ns.map_or(0, |ns| ns.saturating_add(1));
        // Release: pairs with the Acquire in `Shard::move_deadline`.
        all.deadline.get(id).store(deadline, Ordering::Release);
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
        self.set_timed(id, times.deadline_ns.is_some());
    }

    /// Counts `id` among the live entries that have a deadline, or no longer.
    #[inline]
    fn set_timed(&mut self, id: EntryId, is_timed: bool) {
        let timed = &mut self.writer.timed;
        if timed.contains(id) == is_timed {
            return;
        }
        let others = self.shard.timed_len();
        let len = if is_timed {
            timed.insert(id);
            others + 1
        } else {
            timed.remove(id);
            others - 1
        };
        self.shard.timed_len.store(len, Ordering::Relaxed);
    }

    #[inline]
    fn unlinked(&mut self, id: EntryId) -> Removed {
        let weight = u64::from(self.weight(id));
        self.writer.live.remove(id);
        self.set_timed(id, false);
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
