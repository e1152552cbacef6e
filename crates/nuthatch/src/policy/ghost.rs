//! Ghosts: what is remembered of entries that were evicted.
//!
//! A ghost is a fingerprint, never a key, so to find one is only almost certainly to have met the
//! same key again; a false one costs a misplaced entry, nothing more. Two kinds:
//!
//! * [`GhostLists`] keeps exact order, as the definitions of ARC (B1, B2), 2Q (A1out) and LIRS (the
//!   non-resident part of the stack) demand. A ghost costs 21 bytes: two links, 32 bits of
//!   fingerprint, 32 bits of the policy's own and its share of an index.
//! * [`CompactGhosts`] keeps order only within buckets of 32, one cache line each. A ghost costs 2
//!   bytes, and it is found wrongly once in 2,000 look-ups.
//!
//! Neither allocates but in `new` and `resize`; every operation is O(1).

use super::Links;
use super::sketch::spread;

/// Ghosts in exact order, oldest first, in one or more lists. A fingerprint is in one list at most.
///
/// ```
/// use nuthatch::policy::GhostLists;
/// let mut ghosts = GhostLists::new(1);
/// ghosts.resize(2);
/// ghosts.push(0, 0xaaaa, 1);
/// ghosts.push(0, 0xbbbb, 5);
/// ghosts.push(0, 0xcccc, 3); // There is room for two: the oldest goes.
/// assert_eq!(ghosts.remove(0xaaaa), None);
/// assert_eq!(ghosts.sum(0), 8);
/// assert_eq!(ghosts.remove(0xbbbb), Some((0, 5)));
/// ```
#[derive(Debug)]
pub struct GhostLists {
    /// The lists of ghosts and, behind them, the list of free nodes.
    links: Links,
    records: Vec<Record>,
    /// Nodes by fingerprint: open addressing, linear probing, never more than three quarters full.
    index: Vec<u32>,
    /// The sum of the notes of each list.
    sums: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    fingerprint: u32,
    note: u32,
}

/// Marks an index place that holds no node.
const VACANT: u32 = u32::MAX;

impl GhostLists {
    /// `lists` empty lists, 14 at most, with room for no ghost yet.
    pub fn new(lists: usize) -> Self {
        Self {
            links: Links::new(lists + 1),
            records: Vec::new(),
            index: Vec::new(),
            sums: vec![0; lists],
        }
    }

    /// Makes room for exactly `ghosts` ghosts in all lists together. If they are fewer than there
    /// are, the oldest of the longest lists go.
    pub fn resize(&mut self, ghosts: usize) {
        if ghosts == self.records.len() {
            return;
        }
        while self.links.len(self.free()) + ghosts < self.records.len() {
            self.pop_oldest(self.longest());
        }
        let lists = self.sums.len();
        let mut resized = Self::new(lists);
        resized.links.reserve(ghosts);
        resized.records = vec![
            Record {
                fingerprint: 0,
                note: 0
            };
            ghosts
        ];
        resized.index = vec![VACANT; ghosts + ghosts / 3 + usize::from(ghosts > 0)];
        (0..ghosts as u32).for_each(|node| resized.links.push_back(lists as u8, node));
        for list in 0..lists as u8 {
            for node in self.links.iter(list) {
                let Record { fingerprint, note } = self.records[node as usize];
                resized.push_fingerprint(list, fingerprint, note);
            }
        }
        *self = resized;
    }

    /// Ghosts that fit in all lists together.
    pub fn room(&self) -> usize {
        self.records.len()
    }

    /// Ghosts in `list`.
    pub fn len(&self, list: u8) -> usize {
        self.links.len(list)
    }

    /// Whether `list` has no ghost.
    pub fn is_empty(&self, list: u8) -> bool {
        self.len(list) == 0
    }

    /// The sum of the notes of the ghosts in `list`: its weight, where a note is a weight.
    pub fn sum(&self, list: u8) -> u64 {
        self.sums[list as usize]
    }

    /// Appends a ghost to `list` as its newest, with a note of the policy's. An older ghost of the
    /// same fingerprint goes; if there is no room, so does the oldest of the longest list.
    pub fn push(&mut self, list: u8, hash: u64, note: u32) {
        if self.records.is_empty() {
            return;
        }
        self.remove(hash);
        if self.links.is_empty(self.free()) {
            self.pop_oldest(self.longest());
        }
        self.push_fingerprint(list, fingerprint(hash), note);
    }

    /// Takes the ghost of this hash out and returns its list and its note.
    pub fn remove(&mut self, hash: u64) -> Option<(u8, u32)> {
        let place = self.find(fingerprint(hash))?;
        Some(self.forget(place))
    }

    /// The list and the note of the ghost of this hash.
    pub fn get(&self, hash: u64) -> Option<(u8, u32)> {
        let node = self.index[self.find(fingerprint(hash))?];
        let list = self
            .links
            .list_of(node)
            .expect("an indexed node is in a list");
        Some((list, self.records[node as usize].note))
    }

    /// The note of the oldest ghost of `list`.
    pub fn oldest(&self, list: u8) -> Option<u32> {
        let node = self.links.front(list)?;
        Some(self.records[node as usize].note)
    }

    /// Forgets the oldest ghost of `list` and returns its note.
    pub fn pop_oldest(&mut self, list: u8) -> Option<u32> {
        let node = self.links.front(list)?;
        Some(self.forget(self.place_of(node)).1)
    }

    /// Replaces every note by what `change` makes of it, list by list and oldest first. O(ghosts).
    pub fn change_notes(&mut self, mut change: impl FnMut(u32) -> u32) {
        for (list, sum) in self.sums.iter_mut().enumerate() {
            *sum = 0;
            for node in self.links.iter(list as u8) {
                let note = &mut self.records[node as usize].note;
                *note = change(*note);
                *sum += u64::from(*note);
            }
        }
    }

    /// Forgets all ghosts. O(room).
    pub fn clear(&mut self) {
        let (free, nodes) = (self.free(), self.records.len() as u32);
        self.links.clear();
        (0..nodes).for_each(|node| self.links.push_back(free, node));
        self.index.fill(VACANT);
        self.sums.fill(0);
    }

    /// Recounts everything from scratch.
    ///
    /// # Panics
    /// If the lists, the index or the sums contradict each other.
    pub fn validate(&self) {
        self.links.validate();
        let mut ghosts = 0;
        for list in 0..self.sums.len() as u8 {
            let mut sum = 0;
            for node in self.links.iter(list) {
                let Record { fingerprint, note } = self.records[node as usize];
                let place = self.find(fingerprint).expect("every ghost is indexed");
                assert_eq!(
                    self.index[place], node,
                    "a fingerprint stands for one ghost"
                );
                sum += u64::from(note);
                ghosts += 1;
            }
            assert_eq!(
                self.sum(list),
                sum,
                "list {list} knows the sum of its notes"
            );
        }
        let indexed = self.index.iter().filter(|&&node| node != VACANT).count();
        assert_eq!(indexed, ghosts, "only ghosts are indexed");
        let free = self.links.len(self.free());
        assert_eq!(
            free + ghosts,
            self.records.len(),
            "every node is a ghost or free"
        );
    }

    fn free(&self) -> u8 {
        self.sums.len() as u8
    }

    fn longest(&self) -> u8 {
        let lists = 0..self.sums.len() as u8;
        lists
            .max_by_key(|&list| self.links.len(list))
            .expect("there is a list")
    }

    fn push_fingerprint(&mut self, list: u8, fingerprint: u32, note: u32) {
        let node = self
            .links
            .pop_front(self.free())
            .expect("there is a free node");
        self.records[node as usize] = Record { fingerprint, note };
        self.links.push_back(list, node);
        self.sums[list as usize] += u64::from(note);
        let mut place = self.home(fingerprint);
        while self.index[place] != VACANT {
            place = self.after(place);
        }
        self.index[place] = node;
    }

    /// Forgets the ghost at an index place; returns its list and note.
    fn forget(&mut self, place: usize) -> (u8, u32) {
        let node = self.index[place];
        let list = self
            .links
            .remove(node)
            .expect("an indexed node is in a list");
        self.links.push_back(self.free(), node);
        let note = self.records[node as usize].note;
        self.sums[list as usize] -= u64::from(note);
        self.vacate(place);
        (list, note)
    }

    /// Empties an index place and closes the gap: whoever probed past it moves up.
    fn vacate(&mut self, mut gap: usize) {
        let mut place = self.after(gap);
        while self.index[place] != VACANT {
            let home = self.home(self.records[self.index[place] as usize].fingerprint);
            // The node may move to the gap unless its home lies behind the gap.
            let passed = |from: usize| match place.checked_sub(from) {
                Some(distance) => distance,
                None => place + self.index.len() - from,
            };
            if passed(home) >= passed(gap) {
                self.index[gap] = self.index[place];
                gap = place;
            }
            place = self.after(place);
        }
        self.index[gap] = VACANT;
    }

    fn find(&self, fingerprint: u32) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        let mut place = self.home(fingerprint);
        while self.index[place] != VACANT {
            if self.records[self.index[place] as usize].fingerprint == fingerprint {
                return Some(place);
            }
            place = self.after(place);
        }
        None
    }

    fn place_of(&self, node: u32) -> usize {
        let fingerprint = self.records[node as usize].fingerprint;
        self.find(fingerprint).expect("every ghost is indexed")
    }

    /// The index place where the search for a fingerprint begins.
    #[inline]
    fn home(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.index.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        if place + 1 == self.index.len() {
            0
        } else {
            place + 1
        }
    }
}

fn fingerprint(hash: u64) -> u32 {
    (spread(hash) >> 32) as u32
}

/// Fingerprints in a bucket.
const BUCKET: usize = 32;

/// The fingerprints of one bucket, newest first, zeros where there is none.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket([u16; BUCKET]);

const EMPTY: Bucket = Bucket([0; BUCKET]);

impl Bucket {
    /// Whether the fingerprint is here; unlike a search, this takes a few vector instructions.
    #[inline]
    fn contains(&self, fingerprint: u16) -> bool {
        let mut equal = [0_u16; 8];
        for ghosts in self.0.chunks_exact(8) {
            for (equal, &ghost) in equal.iter_mut().zip(ghosts) {
                *equal |= if ghost == fingerprint { u16::MAX } else { 0 };
            }
        }
        equal.into_iter().fold(0, |any, equal| any | equal) != 0
    }

    fn position(&self, fingerprint: u16) -> Option<usize> {
        self.0.iter().position(|&ghost| ghost == fingerprint)
    }

    /// Puts a fingerprint first; what comes to stand at `depth` is forgotten.
    #[inline]
    fn push(&mut self, fingerprint: u16, depth: usize) {
        self.0.copy_within(..BUCKET - 1, 1);
        self.0[0] = fingerprint;
        if let Some(ghost) = self.0.get_mut(depth) {
            *ghost = 0;
        }
    }

    fn remove(&mut self, position: usize) {
        self.0.copy_within(position + 1.., position);
        self.0[BUCKET - 1] = 0;
    }
}

/// The last `limit` ghosts or so, at 2 bytes each: a hash chooses a bucket of 32, and each bucket
/// forgets first in, first out. Up to 32 ghosts the order is exact; beyond, how long one is
/// remembered varies by a fifth or so.
///
/// ```
/// use nuthatch::policy::CompactGhosts;
/// let mut ghosts = CompactGhosts::new(2);
/// ghosts.push(0xaaaa);
/// ghosts.push(0xbbbb);
/// ghosts.push(0xcccc); // There is room for two: the oldest goes.
/// assert!(ghosts.contains(0xbbbb) && !ghosts.contains(0xaaaa));
/// assert!(ghosts.remove(0xbbbb) && !ghosts.remove(0xbbbb));
/// ```
#[derive(Clone, Debug)]
pub struct CompactGhosts {
    buckets: Vec<Bucket>,
    limit: usize,
    /// What every bucket may hold of the limit, and how many of the first hold one more.
    depth: usize,
    deeper: usize,
}

impl CompactGhosts {
    /// Room for about `limit` ghosts.
    pub fn new(limit: usize) -> Self {
        let mut ghosts = Self {
            buckets: Vec::new(),
            limit: 0,
            depth: 0,
            deeper: 0,
        };
        ghosts.resize(limit);
        ghosts
    }

    /// Makes room for `limit` ghosts, neither more nor less; allocates if that changes the number
    /// of buckets. The newest are kept.
    pub fn resize(&mut self, limit: usize) {
        let (old, new) = (self.buckets.len(), limit.div_ceil(BUCKET));
        if old != new {
            let mut resized = vec![EMPTY; new];
            // A ghost's bucket is its hash scaled to the number of buckets, so the ghosts of a new
            // bucket come from the old ones that cover the same range of hashes.
            for (index, bucket) in resized.iter_mut().enumerate().filter(|_| old > 0) {
                let sources = &self.buckets[index * old / new..((index + 1) * old).div_ceil(new)];
                let newest_first =
                    (0..BUCKET).flat_map(|age| sources.iter().map(move |bucket| bucket.0[age]));
                let mut len = 0;
                for ghost in newest_first {
                    // Copies of one ghost that an earlier split left in two buckets meet again.
                    if len < BUCKET && ghost != 0 && !bucket.0[..len].contains(&ghost) {
                        bucket.0[len] = ghost;
                        len += 1;
                    }
                }
            }
            self.buckets = resized;
        }
        self.deal(limit);
    }

    /// Remembers about `limit` ghosts from now on, as far as there is room. O(1): ghosts beyond the
    /// limit are not found any more and make way as others come, but some may be found again if the
    /// limit rises before they have.
    #[inline]
    pub fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(self.room());
        if limit != self.limit {
            self.deal(limit);
        }
    }

    /// Deals the limit out to the buckets.
    fn deal(&mut self, limit: usize) {
        let buckets = self.buckets.len().max(1);
        self.limit = limit;
        self.depth = limit / buckets;
        self.deeper = limit % buckets;
    }

    /// How many ghosts it may remember.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The largest limit that needs no allocation.
    pub fn room(&self) -> usize {
        self.buckets.len() * BUCKET
    }

    /// Remembers the entry with this hash as the newest ghost.
    #[inline]
    pub fn push(&mut self, hash: u64) {
        let (index, fingerprint) = self.locate(hash);
        let depth = self.depth(index);
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.push(fingerprint, depth);
        }
    }

    /// Whether the entry with this hash is (almost certainly) remembered.
    pub fn contains(&self, hash: u64) -> bool {
        let (index, fingerprint) = self.locate(hash);
        let bucket = self.buckets.get(index);
        let position = bucket.and_then(|bucket| bucket.position(fingerprint));
        position.is_some_and(|position| position < self.depth(index))
    }

    /// Forgets the ghost of this hash; returns whether there was one.
    #[inline]
    pub fn remove(&mut self, hash: u64) -> bool {
        self.remove_before(hash, |depth| depth)
    }

    /// Forgets the ghost of this hash if it belongs to the newer half of all that may be
    /// remembered; returns whether it did.
    #[inline]
    pub fn remove_newer_half(&mut self, hash: u64) -> bool {
        self.remove_before(hash, |depth| depth.div_ceil(2))
    }

    /// Forgets the ghost of this hash if it stands before a position, given how many may stand in
    /// its bucket.
    #[inline]
    fn remove_before(&mut self, hash: u64, end: impl FnOnce(usize) -> usize) -> bool {
        let (index, fingerprint) = self.locate(hash);
        let end = end(self.depth(index));
        let Some(bucket) = self.buckets.get_mut(index) else {
            return false;
        };
        // Most look-ups end here.
        if !bucket.contains(fingerprint) {
            return false;
        }
        let position = bucket.position(fingerprint);
        let found = position.filter(|&position| position < end);
        if let Some(position) = found {
            bucket.remove(position);
        }
        found.is_some()
    }

    /// Has the cache line loaded that would hold the ghost of this hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let (index, _) = self.locate(hash);
        if let Some(bucket) = self.buckets.get(index) {
            crate::slab::prefetch(bucket);
        }
    }

    /// Forgets all ghosts.
    pub fn clear(&mut self) {
        self.buckets.fill(EMPTY);
    }

    /// Recounts the limit.
    ///
    /// # Panics
    /// If the limit is not what the buckets may hold together.
    pub fn validate(&self) {
        let depths = (0..self.buckets.len()).map(|index| self.depth(index));
        assert_eq!(
            depths.sum::<usize>(),
            self.limit,
            "the buckets' depths add up to the limit"
        );
        assert!(
            self.depth(0) <= BUCKET,
            "a bucket has room for its part of the limit"
        );
    }

    /// How many ghosts a bucket may hold.
    #[inline]
    fn depth(&self, index: usize) -> usize {
        self.depth + usize::from(index < self.deeper)
    }

    #[inline]
    fn locate(&self, hash: u64) -> (usize, u16) {
        let spread = spread(hash);
        let index = ((spread >> 32) * self.buckets.len() as u64) >> 32;
        (index as usize, (spread as u16).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{CompactGhosts, GhostLists};
    use crate::policy::sketch::spread;
    use std::collections::VecDeque;

    /// A well-mixed hash for the key `n`.
    fn hash(n: u64) -> u64 {
        spread(spread(n + 1).rotate_left(32))
    }

    /// Numbers that look random, the same in each run.
    fn numbers(below: u64) -> impl Iterator<Item = u64> {
        (0..).map(move |n| ((hash(n) >> 32) * below) >> 32)
    }

    #[test]
    fn the_older_half_stays_where_only_newer_ghosts_are_wanted() {
        let mut ghosts = CompactGhosts::new(20);
        (0..20).for_each(|n| ghosts.push(hash(n)));
        assert!(!ghosts.remove_newer_half(hash(9)) && ghosts.contains(hash(9)));
        assert!(ghosts.remove_newer_half(hash(10)) && !ghosts.contains(hash(10)));
        assert!(ghosts.remove(hash(9)) && !ghosts.remove_newer_half(hash(9)));
        ghosts.validate();
    }

    #[test]
    fn ghost_lists_do_what_plain_queues_do() {
        let mut ghosts = GhostLists::new(2);
        ghosts.resize(60);
        let mut model: [VecDeque<(u64, u32)>; 2] = [VecDeque::new(), VecDeque::new()];
        let mut random = numbers(1 << 20);
        let mut draw = |below: u64| random.next().expect("numbers do not end") % below;
        for step in 0..20_000 {
            let (key, list) = (draw(150), draw(2) as usize);
            match draw(8) {
                0..5 => {
                    let note = draw(100) as u32;
                    ghosts.push(list as u8, hash(key), note);
                    model
                        .iter_mut()
                        .for_each(|queue| queue.retain(|ghost| ghost.0 != key));
                    if model[0].len() + model[1].len() == 60 {
                        let longest = usize::from(model[1].len() >= model[0].len());
                        model[longest].pop_front();
                    }
                    model[list].push_back((key, note));
                }
                5 => {
                    let found = (0..2).find_map(|list| {
                        let at = model[list].iter().position(|ghost| ghost.0 == key)?;
                        Some((list as u8, model[list].remove(at)?.1))
                    });
                    assert_eq!(ghosts.get(hash(key)), found, "step {step}");
                    assert_eq!(ghosts.remove(hash(key)), found, "step {step}");
                }
                6 => {
                    assert_eq!(ghosts.oldest(list as u8), model[list].front().map(|g| g.1));
                    let oldest = model[list].pop_front().map(|ghost| ghost.1);
                    assert_eq!(ghosts.pop_oldest(list as u8), oldest, "step {step}");
                }
                _ => {
                    let sum = model[list].iter().map(|ghost| u64::from(ghost.1)).sum();
                    assert_eq!(ghosts.sum(list as u8), sum, "step {step}");
                    assert_eq!(ghosts.len(list as u8), model[list].len(), "step {step}");
                }
            }
            if step % 50 == 0 {
                ghosts.validate();
            }
        }
    }

    #[test]
    fn resized_ghost_lists_keep_the_newest_in_order() {
        let mut ghosts = GhostLists::new(2);
        ghosts.push(0, hash(0), 1);
        assert_eq!(ghosts.len(0), 0, "without room nothing is remembered");
        ghosts.resize(10);
        for key in 0..10 {
            ghosts.push((key % 2) as u8, hash(key), key as u32);
        }
        ghosts.resize(100);
        ghosts.validate();
        assert_eq!((ghosts.oldest(0), ghosts.oldest(1)), (Some(0), Some(1)));
        ghosts.resize(4);
        ghosts.validate();
        assert_eq!((ghosts.oldest(0), ghosts.oldest(1)), (Some(6), Some(7)));
        ghosts.clear();
        ghosts.validate();
        assert_eq!(
            (ghosts.get(hash(9)), ghosts.sum(1), ghosts.room()),
            (None, 0, 4)
        );
        ghosts.resize(0);
        ghosts.push(1, hash(3), 3);
        assert_eq!(ghosts.remove(hash(3)), None);
        ghosts.validate();
    }

    #[test]
    fn changed_notes_change_the_sum() {
        let mut ghosts = GhostLists::new(1);
        ghosts.resize(3);
        (1..=3).for_each(|key| ghosts.push(0, hash(key), key as u32));
        ghosts.change_notes(|note| note * 10);
        assert_eq!((ghosts.sum(0), ghosts.get(hash(2))), (60, Some((0, 20))));
        ghosts.validate();
    }

    #[test]
    fn a_small_compact_queue_is_exact() {
        let mut ghosts = CompactGhosts::new(20);
        let mut model = VecDeque::new();
        for (step, key) in numbers(60).take(5000).enumerate() {
            let at = model.iter().position(|&ghost| ghost == key);
            assert_eq!(ghosts.contains(hash(key)), at.is_some(), "step {step}");
            assert_eq!(ghosts.remove(hash(key)), at.is_some(), "step {step}");
            at.map(|at| model.remove(at));
            ghosts.push(hash(key));
            model.push_back(key);
            if model.len() > 20 {
                model.pop_front();
            }
            ghosts.validate();
        }
    }

    #[test]
    fn a_large_compact_queue_remembers_about_its_limit() {
        let mut ghosts = CompactGhosts::new(10_000);
        (0..100_000).for_each(|key| ghosts.push(hash(key)));
        ghosts.validate();
        let found = |keys: std::ops::Range<u64>| keys.filter(|&k| ghosts.contains(hash(k))).count();
        assert!(
            found(95_000..100_000) > 4_990,
            "the newer half is remembered"
        );
        assert!(found(0..80_000) < 100, "what is twice as old is forgotten");
        let sum = found(0..100_000);
        assert!((9_900..10_200).contains(&sum), "{sum} are remembered");
    }

    #[test]
    fn a_lower_limit_forgets_the_oldest_and_needs_no_allocation() {
        let mut ghosts = CompactGhosts::new(32);
        (0..32).for_each(|key| ghosts.push(hash(key)));
        ghosts.set_limit(5);
        ghosts.validate();
        assert!((27..32).all(|key| ghosts.contains(hash(key))));
        assert!((0..27).all(|key| !ghosts.contains(hash(key))));
        ghosts.set_limit(1000);
        assert_eq!((ghosts.limit(), ghosts.room()), (32, 32));
        ghosts.validate();
    }

    #[test]
    fn resized_compact_ghosts_keep_the_newest() {
        let mut ghosts = CompactGhosts::new(1000);
        (0..1000).for_each(|key| ghosts.push(hash(key)));
        for limit in [3000, 4096, 1000, 500] {
            ghosts.resize(limit);
            ghosts.validate();
            let newest = (900..1000)
                .filter(|&key| ghosts.contains(hash(key)))
                .count();
            assert!(
                newest >= 97,
                "{newest} of the newest 100 are left at limit {limit}"
            );
        }
        ghosts.resize(0);
        ghosts.push(hash(1));
        assert!(!ghosts.contains(hash(1)) && !ghosts.remove(hash(1)));
        ghosts.validate();
    }

    #[test]
    fn clearing_forgets_all_compact_ghosts() {
        let mut ghosts = CompactGhosts::new(100);
        (0..100).for_each(|key| ghosts.push(hash(key)));
        ghosts.clear();
        assert!((0..100).all(|key| !ghosts.contains(hash(key))));
    }
}
