//! The hash table of one shard: keys' hashes to entries' ids, written by one writer at a time and
//! read by anyone.
//!
//! A group is one cache line: twelve one-byte tags, twelve ids, and eight small counts of the
//! entries that wanted to live here but had to move on, one count for each value of three bits of
//! the tag. A probe compares all tags of a group at once and looks at the ids whose tags match; it
//! goes on only if the count for its own tag is not zero. So a removal just clears its tag and takes
//! itself off the counts along its path: there are no tombstones, and steady churn never needs a
//! rebuild. (Counting who moved on is F14's idea: Bronson and Shi, "Open-sourcing F14 for faster,
//! more memory-efficient hash tables", 2019. One count for all tags would be almost never zero in a
//! full cache, and a miss would visit four groups and more; with eight it visits 1.4.)
//!
//! ```text
//!   one group, 64 bytes
//!   | tag 0..8 | tag 8..12 · 8 counts of 4 bits | id 0 | id 1 | ... | id 11 |
//!     u64        u64                              u32 each
//! ```
//!
//! The next group of a probe lies 1 to 16 further on, by the tag: neighbours do not pour into each
//! other. The number of groups has no prime factor below 17, so a probe meets all of them.
//!
//! Invariants that readers rely on:
//! - an id is stored before its tag, and cleared (to [`GONE`]) when its entry is unlinked, before
//!   the entry is retired: a reader that has protected an entry checks that its id still stands
//!   where it found it, and may then use the entry;
//! - a replaced value changes the id in place, in one store: there is no moment without the key;
//! - when a table is superseded, the new one is published first and then every id of the old one
//!   becomes [`MOVED`], before anything is unlinked from the new one.

use crate::policy::EntryId;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// Entries of a group. Models need few, for each costs them steps.
const WIDTH: usize = if cfg!(loom) { 2 } else { 12 };
/// In place of an id: nothing lives here.
const GONE: u32 = u32::MAX;
/// In place of an id: this table has been superseded.
const MOVED: u32 = u32::MAX - 1;

#[repr(align(64))]
#[derive(Debug)]
struct Group {
    tags: [AtomicU64; 2],
    ids: [AtomicU32; WIDTH],
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Table {
    groups: Box<[Group]>,
    /// See [`capacity`](Table::capacity).
    capacity: usize,
    /// Read by every search and written by the drop, so that loom reports a search in a table that
    /// is freed meanwhile.
    #[cfg(loom)]
    alive: crate::sync::UnsafeCell<bool>,
}

/// A place in a table: where an id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    group: u32,
    position: u8,
}

impl Place {
    #[inline]
    fn new(group: usize, position: u8) -> Self {
        Self {
            group: group as u32,
            position,
        }
    }
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    /// What the reader's check made of the entry that it accepted.
    Entry(T),
    /// No entry with this hash was accepted.
    Absent,
    /// What was looked at has changed meanwhile, perhaps the whole table: start again.
    Changed,
}

/// What a reader makes of one candidate id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check<T> {
    /// It is the one.
    Accept(T),
    /// It is another key with the same tag.
    Reject,
    /// It no longer stands where it was found.
    Gone,
}

/// The part of a hash that is compared within a group; never 0, which marks an empty place.
#[inline]
fn tag(hash: u64) -> u8 {
    let tag = hash as u8;
    if tag == 0 { 255 } else { tag }
}

/// The part of a hash that chooses the group where a probe for it begins: the top bits have chosen
/// the shard, the lowest are the tag. In a table of any size the groups are in the order of
/// positions.
#[inline]
pub(crate) fn position(hash: u64) -> u32 {
    (hash >> 16) as u32
}

/// The group where a probe for `hash` begins.
#[inline]
fn home(hash: u64, groups: usize) -> usize {
    scale(position(hash), groups)
}

/// A number below 2^32 as one below `len`.
#[inline]
fn scale(number: u32, len: usize) -> usize {
    ((u64::from(number) * len as u64) >> 32) as usize
}

/// Where the lines of a table are: only to have one loaded, for the table may have been superseded
/// and freed since.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    groups: AtomicPtr<Group>,
    len: AtomicUsize,
}

impl Whereabouts {
    pub(crate) fn of(table: &Table) -> Self {
        let whereabouts = Self {
            groups: AtomicPtr::new(null_mut()),
            len: AtomicUsize::new(0),
        };
        whereabouts.follow(table);
        whereabouts
    }

    /// Turns to another table.
    pub(crate) fn follow(&self, table: &Table) {
        self.groups
            .store(table.groups.as_ptr().cast_mut(), Ordering::Relaxed);
        self.len.store(table.groups.len(), Ordering::Relaxed);
    }

    /// Asks the processor to load the line where a search for `hash` begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let group = home(hash, self.len.load(Ordering::Relaxed));
        let groups = self.groups.load(Ordering::Relaxed);
        crate::slab::prefetch(groups.wrapping_add(group));
    }
}

/// A count that is full, and no longer exact.
const STUCK: u64 = 15;

/// Where a group's second word keeps the count for `tag`.
#[inline]
fn count_shift(tag: u8) -> u32 {
    32 + 4 * u32::from(tag & 7)
}

/// Positions whose tag equals `tag`, as a bit mask.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
#[inline]
fn matches(low: u64, high: u64, tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: SSE2 is part of every x86-64 processor.
    let equal = unsafe {
        let tags = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag.cast_signed())))
    };
    equal.cast_unsigned() & ((1 << WIDTH) - 1)
}

/// Positions whose tag equals `tag`, as a bit mask.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn matches(low: u64, high: u64, tag: u8) -> u32 {
    let mut mask = 0;
    for position in 0..WIDTH {
        mask |= u32::from(byte(low, high, position) == tag) << position;
    }
    mask
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn byte(low: u64, high: u64, position: usize) -> u8 {
    let word = if position < 8 { low } else { high };
    (word >> (8 * (position % 8))) as u8
}

impl Group {
    #[inline]
    fn matches(&self, tag: u8) -> u32 {
        // Acquire: pairs with the Release in `set_tag`, so that the id of a tag is seen with it.
        let low = self.tags[0].load(Ordering::Acquire);
        let high = self.tags[1].load(Ordering::Acquire);
        matches(low, high, tag)
    }

    /// Looks among the entries with this tag, without a lock; see [`Table::find_shared`]. Inlined
    /// everywhere: a result of several words would go through memory otherwise, in every read.
    #[inline(always)]
    fn find_shared<T>(
        &self,
        tag: u8,
        check: &mut impl FnMut(EntryId, &AtomicU32) -> Check<T>,
    ) -> Found<T> {
        let mut mask = self.matches(tag);
        while mask != 0 {
            let id = &self.ids[mask.trailing_zeros() as usize];
            // Acquire: pairs with the Release in `insert` and `replace`, so that the entry's
            // contents are seen with its id.
            let candidate = id.load(Ordering::Acquire);
            if candidate < MOVED {
                match check(candidate, id) {
                    Check::Accept(accepted) => return Found::Entry(accepted),
                    Check::Reject => {}
                    Check::Gone => return Found::Changed,
                }
            } else if candidate == MOVED {
                return Found::Changed;
            }
            mask &= mask - 1;
        }
        Found::Absent
    }

    /// Looks among the entries with this tag, under the shard's lock.
    #[inline]
    fn find(&self, tag: u8, is_it: &mut impl FnMut(EntryId) -> bool) -> Option<(u8, EntryId)> {
        let mut mask = self.matches(tag);
        while mask != 0 {
            let position = mask.trailing_zeros() as u8;
            let id = self.ids[position as usize].load(Ordering::Relaxed);
            if is_it(id) {
                return Some((position, id));
            }
            mask &= mask - 1;
        }
        None
    }

    /// Links `id` if there is a free place. Writer only.
    #[inline]
    fn insert(&self, tag: u8, id: EntryId) -> bool {
        let mask = self.matches(0);
        if mask == 0 {
            return false;
        }
        let position = mask.trailing_zeros() as u8;
        // Release: pairs with the Acquire in `find_shared`; a reader may still see an older tag for
        // this place and come here at once.
        self.ids[position as usize].store(id, Ordering::Release);
        self.set_tag(position, tag);
        true
    }

    /// Under the shard's lock.
    fn for_each(&self, mut each: impl FnMut(EntryId)) {
        self.for_each_tagged(|_, id| each(id));
    }

    /// Under the shard's lock.
    fn for_each_tagged(&self, mut each: impl FnMut(u8, EntryId)) {
        let mut used = self.used();
        while used != 0 {
            let position = used.trailing_zeros() as usize;
            let tag =
                (self.tags[position / 8].load(Ordering::Relaxed) >> (8 * (position % 8))) as u8;
            each(tag, self.ids[position].load(Ordering::Relaxed));
            used &= used - 1;
        }
    }

    /// Positions that hold an entry, as a bit mask.
    fn used(&self) -> u32 {
        !self.matches(0) & ((1 << WIDTH) - 1)
    }

    /// How many entries with tags of this kind moved on; [`STUCK`] means that many or more.
    #[inline]
    fn passed(&self, tag: u8) -> u64 {
        self.tags[1].load(Ordering::Acquire) >> count_shift(tag) & STUCK
    }

    /// The kinds of tags, by their lowest three bits, of which an entry may have moved on.
    fn kinds_passed(&self) -> u8 {
        (0..8).fold(0, |kinds, kind| {
            kinds | u8::from(self.passed(kind) != 0) << kind
        })
    }

    /// Counts an entry that moved on. Writer only.
    #[inline]
    fn add_passed(&self, tag: u8) {
        if self.passed(tag) < STUCK {
            let word = self.tags[1].load(Ordering::Relaxed);
            self.tags[1].store(word + (1 << count_shift(tag)), Ordering::Release);
        }
    }

    /// Counts an entry off that had moved on. A count that was ever full stays so: it costs probes,
    /// never answers. One that is zero stays so too: a key whose hash has changed may leave along
    /// another path than it came, and must not bring the shard down; [`Table::validate`] checks the
    /// counts. Writer only.
    #[inline]
    fn remove_passed(&self, tag: u8) {
        if (1..STUCK).contains(&self.passed(tag)) {
            let word = self.tags[1].load(Ordering::Relaxed);
            self.tags[1].store(word - (1 << count_shift(tag)), Ordering::Release);
        }
    }

    /// Writer only.
    #[inline]
    fn set_tag(&self, position: u8, tag: u8) {
        let word = &self.tags[position as usize / 8];
        let shift = 8 * (position as u32 % 8);
        let cleared = word.load(Ordering::Relaxed) & !(0xff << shift);
        // Release: pairs with the Acquire in `matches`.
        word.store(cleared | u64::from(tag) << shift, Ordering::Release);
    }
}

impl Table {
    /// A table that holds `entries` entries at its highest load. O(1) time where the system hands
    /// out zeroed pages lazily.
    pub(crate) fn new(entries: usize) -> Self {
        Self::with_groups(Self::groups_for(entries))
    }

    fn with_groups(groups: usize) -> Self {
        let places = groups * WIDTH;
        Self {
            groups: zeroed_groups(groups),
            capacity: if groups == 1 { places } else { places * 9 / 10 },
            #[cfg(loom)]
            alive: crate::sync::UnsafeCell::new(true),
        }
    }

    /// An empty table of the same size.
    pub(crate) fn emptied(&self) -> Self {
        Self::with_groups(self.groups.len())
    }

    /// Five places of six in use at `entries` entries: beyond that, probes grow long.
    fn groups_for(entries: usize) -> usize {
        let wanted = (entries * 6 / 5).div_ceil(WIDTH).max(1);
        let is_coprime = |groups: &usize| {
            [2, 3, 5, 7, 11, 13]
                .iter()
                .all(|p| !groups.is_multiple_of(*p))
        };
        (wanted..).find(is_coprime).expect("such numbers never end")
    }

    /// Entries that the table should hold at most; it can hold a few more.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The group at an index that [`home`](Self::home) or [`after`](Self::after) gave, or of a
    /// [`Place`], which comes from those.
    #[expect(unsafe_code, reason = "an index that cannot be out of bounds")]
    #[inline]
    fn group(&self, index: usize) -> &Group {
        debug_assert!(index < self.groups.len(), "group {index} is in the table");
        // SAFETY: `home` scales a 32-bit number below 2^32 to the number of groups, rounding down,
        // and `after` reduces by that number, so what both give is below it.
        unsafe { self.groups.get_unchecked(index) }
    }

    #[inline]
    pub(crate) fn home(&self, hash: u64) -> usize {
        home(hash, self.groups.len())
    }

    /// The group where probes for hashes of this position begin.
    pub(crate) fn home_at(&self, position: u32) -> usize {
        scale(position, self.groups.len())
    }

    /// The first position whose home is `group`; `None` if that is behind the last group.
    pub(crate) fn first_position(&self, group: usize) -> Option<u32> {
        let first = ((group as u64) << 32).div_ceil(self.groups.len() as u64);
        u32::try_from(first).ok()
    }

    /// The group that a probe for `tag` visits after `group`.
    #[inline]
    fn after(&self, group: usize, tag: u8) -> usize {
        let next = group + 1 + usize::from(tag >> 4);
        if next >= self.groups.len() {
            // The remainder changes anything only in a table of one group.
            (next - self.groups.len()) % self.groups.len()
        } else {
            next
        }
    }

    /// Asks the processor to load the line where a search for `hash` begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        crate::slab::prefetch(self.group(self.home(hash)));
    }

    /// The id that a search for `hash` will most likely look at first, if any. Needs no lock; by the
    /// time it is looked at, it may have left.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<EntryId> {
        let g = self.group(self.home(hash));
        let position = g.matches(tag(hash)).trailing_zeros();
        let id = g.ids.get(position as usize)?.load(Ordering::Acquire);
        (id < MOVED).then_some(id)
    }

    /// Looks for an entry as a reader without the lock. `check` gets each candidate's id and the
    /// place where it was found; it protects the entry, asks whether the id still stands there,
    /// and compares keys.
    #[inline(always)]
    pub(crate) fn find_shared<T>(
        &self,
        hash: u64,
        mut check: impl FnMut(EntryId, &AtomicU32) -> Check<T>,
    ) -> Found<T> {
        #[cfg(loom)]
        self.assert_alive();
        let tag = tag(hash);
        let home = self.home(hash);
        let g = self.group(home);
        match g.find_shared(tag, &mut check) {
            // Few entries live elsewhere, so the search of other groups stays out of line.
            Found::Absent if g.passed(tag) != 0 => self.find_shared_beyond(home, tag, check),
            found => found,
        }
    }

    #[cold]
    #[inline(never)]
    fn find_shared_beyond<T>(
        &self,
        home: usize,
        tag: u8,
        mut check: impl FnMut(EntryId, &AtomicU32) -> Check<T>,
    ) -> Found<T> {
        let mut group = home;
        for _ in 1..self.groups.len() {
            group = self.after(group, tag);
            let g = self.group(group);
            match g.find_shared(tag, &mut check) {
                Found::Absent if g.passed(tag) != 0 => {}
                found => return found,
            }
        }
        Found::Absent
    }

    /// Looks for an entry under the shard's lock.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        mut is_it: impl FnMut(EntryId) -> bool,
    ) -> Option<(Place, EntryId)> {
        let tag = tag(hash);
        let home = self.home(hash);
        let g = self.group(home);
        match g.find(tag, &mut is_it) {
            Some((position, id)) => Some((Place::new(home, position), id)),
            None if g.passed(tag) != 0 => self.find_beyond(home, tag, is_it),
            None => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn find_beyond(
        &self,
        home: usize,
        tag: u8,
        mut is_it: impl FnMut(EntryId) -> bool,
    ) -> Option<(Place, EntryId)> {
        let mut group = home;
        for _ in 1..self.groups.len() {
            group = self.after(group, tag);
            let g = self.group(group);
            if let Some((position, id)) = g.find(tag, &mut is_it) {
                return Some((Place::new(group, position), id));
            }
            if g.passed(tag) == 0 {
                break;
            }
        }
        None
    }

    /// Links `id`. Writer only. The caller keeps the number of entries below
    /// [`capacity`](Self::capacity).
    ///
    /// # Panics
    /// If every place is taken.
    #[inline]
    pub(crate) fn insert(&self, hash: u64, id: EntryId) {
        let tag = tag(hash);
        let home = self.home(hash);
        if !self.group(home).insert(tag, id) {
            self.insert_beyond(home, tag, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_beyond(&self, home: usize, tag: u8, id: EntryId) {
        let mut group = home;
        for _ in 1..self.groups.len() {
            self.group(group).add_passed(tag);
            group = self.after(group, tag);
            if self.group(group).insert(tag, id) {
                return;
            }
        }
        panic!("a table was filled beyond its capacity");
    }

    /// Puts `id` in the place of another entry with the same key. Writer only.
    pub(crate) fn replace(&self, place: Place, id: EntryId) {
        // Release: pairs with the Acquire in `find_shared`.
        self.group(place.group as usize).ids[place.position as usize].store(id, Ordering::Release);
    }

    /// Unlinks the entry at `place`, which was inserted with `hash`. Writer only.
    #[inline]
    pub(crate) fn remove(&self, hash: u64, place: Place) {
        let g = self.group(place.group as usize);
        g.ids[place.position as usize].store(GONE, Ordering::Release);
        g.set_tag(place.position, 0);
        let home = self.home(hash);
        if home != place.group as usize {
            self.remove_passed(home, place.group as usize, tag(hash));
        }
    }

    /// Counts an entry off that had passed by the groups from `home` on and lived in `end`.
    #[cold]
    #[inline(never)]
    fn remove_passed(&self, home: usize, end: usize, tag: u8) {
        let mut group = home;
        while group != end {
            self.group(group).remove_passed(tag);
            group = self.after(group, tag);
        }
    }

    /// Unlinks `id`, which was inserted with `hash`. Writer only.
    ///
    /// A key may hash otherwise by now, by a fault of its `Hash`. Then its entry is looked for
    /// everywhere, O(table), and the counts of who moved on keep one entry too many, which costs
    /// probes, never answers.
    ///
    /// # Panics
    /// If `id` is not linked.
    #[inline]
    pub(crate) fn remove_id(&self, hash: u64, id: EntryId) {
        match self.find(hash, |found| found == id) {
            Some((place, _)) => self.remove(hash, place),
            None => self.remove_lost(id),
        }
    }

    #[cold]
    fn remove_lost(&self, id: EntryId) {
        for g in &self.groups {
            for position in 0..WIDTH as u8 {
                if g.ids[position as usize].load(Ordering::Relaxed) == id
                    && g.matches(0) & 1 << position == 0
                {
                    g.ids[position as usize].store(GONE, Ordering::Release);
                    g.set_tag(position, 0);
                    return;
                }
            }
        }
        panic!("entry {id} is linked in its shard's table");
    }

    /// Marks every place as moved and calls `each` with the ids that were linked. Writer only;
    /// the table's successor has been published.
    pub(crate) fn supersede(&self, mut each: impl FnMut(EntryId)) {
        for g in &self.groups {
            let used = g.used();
            for (position, id) in g.ids.iter().enumerate() {
                if used & 1 << position != 0 {
                    each(id.load(Ordering::Relaxed));
                }
                id.store(MOVED, Ordering::Release);
            }
        }
    }

    /// Calls `each` with every linked id. Under the shard's lock.
    pub(crate) fn for_each(&self, mut each: impl FnMut(EntryId)) {
        for g in &self.groups {
            g.for_each(&mut each);
        }
    }

    /// Calls `each` with the id of every entry whose home is `home`, and of some others. Under the
    /// shard's lock. Goes where the entries that had to move on have gone: at most 16 ways, one for
    /// each distance between the groups of a probe, each as far as the counts say that there is more.
    pub(crate) fn for_each_from(&self, home: usize, mut each: impl FnMut(EntryId)) {
        self.group(home).for_each(&mut each);
        let passed = self.group(home).kinds_passed();
        if passed == 0 {
            return;
        }
        for way in 0..16 {
            let (mut group, mut kinds) = (home, passed);
            for _ in 1..self.groups.len() {
                group = self.after(group, way << 4);
                let g = self.group(group);
                g.for_each_tagged(|tag, id| {
                    if tag >> 4 == way && kinds & 1 << (tag & 7) != 0 {
                        each(id);
                    }
                });
                kinds &= g.kinds_passed();
                if kinds == 0 {
                    break;
                }
            }
        }
    }

    /// The id in the place that `random` points to, if there is one. Under the shard's lock.
    pub(crate) fn at(&self, random: u64) -> Option<EntryId> {
        let g = self.group(scale(random as u32, self.groups.len()));
        let position = scale((random >> 32) as u32, WIDTH);
        let used = g.used() & 1 << position != 0;
        used.then(|| g.ids[position].load(Ordering::Relaxed))
    }

    /// Recounts who moved on from scratch, given each entry's hash.
    ///
    /// # Panics
    /// If a count is wrong or an entry cannot be reached from its home.
    pub(crate) fn validate(&self, hash_of: impl Fn(EntryId) -> u64) {
        let mut counts = vec![[0; 8]; self.groups.len()];
        for (index, g) in self.groups.iter().enumerate() {
            for position in 0..WIDTH {
                if g.used() & 1 << position == 0 {
                    continue;
                }
                let hash = hash_of(g.ids[position].load(Ordering::Relaxed));
                let tag = tag(hash);
                assert!(
                    g.matches(tag) & 1 << position != 0,
                    "a tag agrees with its entry's hash"
                );
                let mut group = self.home(hash);
                while group != index {
                    counts[group][usize::from(tag & 7)] += 1;
                    group = self.after(group, tag);
                }
            }
        }
        for (g, counts) in self.groups.iter().zip(counts) {
            for (tag, count) in (0..).zip(counts) {
                let passed = g.passed(tag);
                assert!(
                    passed == count || passed == STUCK,
                    "a group counts who passed it: {passed}, not {count}"
                );
            }
        }
    }
}

/// `len` groups of zeroes: no tag, no overflow.
#[cfg(not(loom))]
fn zeroed_groups(len: usize) -> Box<[Group]> {
    crate::slab::zeroed_slice(len)
}

#[cfg(loom)]
#[expect(unsafe_code, reason = "loom's cells give raw pointers")]
impl Table {
    fn assert_alive(&self) {
        // SAFETY: only the drop writes, and loom reports it if it is not ordered with this.
        assert!(self.alive.with(|alive| unsafe { *alive }));
    }
}

#[cfg(loom)]
#[expect(unsafe_code, reason = "loom's cells give raw pointers")]
impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the owner's access is exclusive.
        self.alive.with_mut(|alive| unsafe { *alive = false });
    }
}

#[cfg(loom)]
fn zeroed_groups(len: usize) -> Box<[Group]> {
    (0..len)
        .map(|_| Group {
            tags: std::array::from_fn(|_| AtomicU64::new(0)),
            ids: std::array::from_fn(|_| AtomicU32::new(0)),
        })
        .collect()
}

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a promise about a group's layout")]
// SAFETY: a group is an array of atomic integers, valid when zeroed, without drop glue.
unsafe impl crate::slab::Zeroed for Group {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Check, Found, Table};
    use std::collections::HashMap;

    /// SplitMix64 (Steele, Lea, Flood 2014): a fixed stream of well-mixed numbers.
    fn mix(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn random_inserts_replacements_and_removals_agree_with_a_map() {
        let table = Table::new(200);
        let mut model = HashMap::new();
        let mut hashes = HashMap::new();
        for step in 0..20_000u64 {
            let key = mix(step) % 300;
            let id = step as u32;
            hashes.insert(id, mix(key));
            let found = table.find(mix(key), |id| hashes[&id] == mix(key));
            assert_eq!(found.map(|(_, id)| id), model.get(&key).copied());
            match found {
                Some((place, _)) if step % 3 == 0 => {
                    table.replace(place, id);
                    model.insert(key, id);
                }
                Some((place, _)) => {
                    table.remove(mix(key), place);
                    model.remove(&key);
                }
                None if model.len() < 200 => {
                    table.insert(mix(key), id);
                    model.insert(key, id);
                }
                None => {}
            }
            if step % 64 == 0 {
                table.validate(|id| hashes[&id]);
                let mut linked = 0;
                table.for_each(|_| linked += 1);
                assert_eq!(linked, model.len());
            }
        }
    }

    #[test]
    fn a_superseded_table_sends_its_readers_away() {
        let table = Table::new(10);
        table.insert(mix(1), 7);
        let mut moved = Vec::new();
        table.supersede(|id| moved.push(id));
        assert_eq!(moved, [7]);
        let found = table.find_shared(mix(1), |id, _| Check::Accept(id));
        assert_eq!(found, Found::Changed);
    }

    #[test]
    fn groups_are_in_the_order_of_positions() {
        for entries in [1, 10, 100, 12_345] {
            let table = Table::new(entries);
            let groups = table.groups.len();
            assert_eq!(table.first_position(0), Some(0));
            assert_eq!(table.first_position(groups), None);
            for group in 1..groups {
                let first = table.first_position(group).unwrap();
                assert_eq!(table.home_at(first), group);
                assert_eq!(table.home_at(first - 1), group - 1);
            }
            assert_eq!(table.home_at(u32::MAX), groups - 1);
        }
    }

    #[test]
    fn entries_are_found_from_their_home_wherever_they_had_to_go() {
        for (entries, homes) in [(200, 1), (200, 5), (200, 1 << 32), (12, 1)] {
            let table = Table::new(entries);
            // Few homes, so that most entries live far from theirs; some leave again.
            let hash = |id: u32| {
                let mixed = mix(u64::from(id));
                let position = (mixed >> 32) % homes * ((1 << 32) / homes);
                position << 16 | mixed & 0xffff
            };
            let mut linked: Vec<u32> = Vec::new();
            for id in 0..1_000 {
                if linked.len() == table.capacity() {
                    let gone = linked.swap_remove(mix(u64::from(id)) as usize % linked.len());
                    table.remove_id(hash(gone), gone);
                }
                table.insert(hash(id), id);
                linked.push(id);
            }
            linked.sort_unstable();
            let mut seen = Vec::new();
            for home in 0..table.groups.len() {
                table.for_each_from(home, |id| {
                    if table.home(hash(id)) == home {
                        seen.push(id);
                    }
                });
            }
            seen.sort_unstable();
            assert_eq!(seen, linked, "each once");
        }
    }

    #[test]
    fn every_place_can_be_pointed_to() {
        let table = Table::new(100);
        for id in 0..100 {
            table.insert(mix(u64::from(id)), id);
        }
        let mut seen = [0; 100];
        let mut missed = 0;
        for n in 0..20_000 {
            match table.at(mix(n)) {
                Some(id) => seen[id as usize] += 1,
                None => missed += 1,
            }
        }
        let places = 12 * table.groups.len();
        let expected = 20_000 / places;
        assert!(seen.iter().all(|&n| n > expected / 2 && n < expected * 2));
        assert!(missed > 0, "some places are free");
    }

    #[test]
    fn a_lost_entry_is_found_by_its_id() {
        let table = Table::new(100);
        for id in 0..50 {
            table.insert(mix(u64::from(id)), id);
        }
        table.remove_lost(33);
        let mut linked = Vec::new();
        table.for_each(|id| linked.push(id));
        linked.sort_unstable();
        assert_eq!(linked, (0..50).filter(|&id| id != 33).collect::<Vec<_>>());
    }
}

#[cfg(all(test, loom))]
mod model;
