//! A hierarchical timer wheel over entry ids: which entries are due, in O(1) per entry and 5 bytes
//! per slot (G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987).
//!
//! Time is counted in ticks of 2^20 ns (about a millisecond). Seen as a number in base 64, a tick
//! has eight digits, and the wheel has one level of 64 buckets for each. An entry is linked at the
//! level of the highest digit in which its tick differs from the wheel's own, in the bucket of that
//! digit, so each bucket stands for one stretch of time that starts at a known tick. When the wheel
//! reaches that tick, the bucket *fires*: its entries are due (level 0) or move to lower levels, at
//! most seven times in an entry's life. Eight levels cover every `u64` of nanoseconds, so there is
//! no list for the far future. One word per level says which buckets are in use, so idle stretches
//! of any length are skipped in one step.
//!
//! ```text
//!  level 2   [ 0 | 1 |...|37 |...|63 ]   4.3 s a bucket
//!                          └── fires: each entry moves to the level of its next digit
//!  level 1   [ 0 | 1 |...|63 ]           67 ms a bucket
//!  level 0   [ 0 | 1 |...|63 ]           1 ms a bucket; fires: each entry is due
//! ```
//!
//! **Lazy.** The wheel does not own deadlines; it asks for them. Buckets are singly linked, which
//! halves the memory of the usual wheel but makes it impossible to take an entry out of the middle
//! of one. So nothing ever is: an entry that leaves the cache stays linked, its slot's next entry
//! inherits the link, and the bucket that fires asks each id for the deadline it has by then and
//! links it anew, reports it or drops it. A deadline that moves away, as with every read under
//! time-to-idle, costs nothing and need not be told.
//!
//! **Early.** A deadline before the tick at which its id's bucket fires would be reported late. The
//! bucket that an id is linked in is kept with the link, so such a deadline is known when it is
//! scheduled, and the id gets a key in a small heap besides. The heap is as lazy as the wheel: a
//! key only says when to look. It is rid of stale keys when they outnumber the linked ids.
//!
//! **Exact.** When [`TimerWheel::pop_due`] has said that nothing is due at `now_ns`, no scheduled
//! deadline at or before `now_ns` less one tick remains. No id is ever reported before its deadline,
//! however the clock jumps: the wheel compares deadlines with the time it is given, and its own
//! tick, which never goes back, decides only where ids are linked.

use crate::policy::EntryId;
use early::EarlyKeys;

mod early;

/// The deadline of an entry that never expires, and of a slot without an entry.
pub(crate) const NEVER_NS: u64 = u64::MAX;

/// Length of a tick, as a power of two of nanoseconds.
const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const DIGIT_MASK: u64 = (1 << DIGIT_BITS) - 1;
const BUCKETS_PER_LEVEL: usize = 1 << DIGIT_BITS;
/// Enough digits for the 44 bits of a tick.
const LEVELS: usize = 8;

const ID_BITS: u32 = 30;
/// The id that ends a bucket.
const NIL: u32 = (1 << ID_BITS) - 1;
/// Set in the link of an id that is linked.
const LINKED: u32 = 1 << 31;
/// Bit 8 of the number of the bucket that the id is linked in; bits 0 to 7 have a byte of their
/// own.
const BUCKET_HIGH: u32 = 1 << 30;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    /// Every tick before this one has fired. Never goes back.
    tick: u64,
    levels: [Level; LEVELS],
    /// `LINKED | bit 8 of the bucket | id of the next in the bucket`, by id.
    links: Vec<u32>,
    /// Bits 0 to 7 of the number of the bucket, by id; meaningless if the id is not linked.
    buckets: Vec<u8>,
    linked: usize,
    early: EarlyKeys,
    /// The tick at which nothing more was due.
    settled: u64,
}

#[derive(Debug, Default)]
struct Level {
    /// Bit `b` is set if bucket `b` has an entry.
    occupied: u64,
    /// The first id of each bucket; empty until the level is first used, as most levels never are.
    heads: Box<[u32]>,
}

/// A bucket of a level, as the 9-bit number `level * 64 + digit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket(u16);

impl Bucket {
    fn new(level: usize, digit: u64) -> Self {
        Self((level << DIGIT_BITS) as u16 | digit as u16)
    }

    fn level(self) -> usize {
        usize::from(self.0 >> DIGIT_BITS)
    }

    fn digit(self) -> u64 {
        u64::from(self.0) & DIGIT_MASK
    }
}

impl TimerWheel {
    /// An empty wheel that starts at `now_ns`. Allocates nothing.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            tick: tick_of(now_ns),
            levels: Default::default(),
            links: Vec::new(),
            buckets: Vec::new(),
            linked: 0,
            early: EarlyKeys::default(),
            settled: u64::MAX,
        }
    }

    /// Makes room for ids below `slots`, exactly. Ids above grow the arrays on their own.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if slots > self.links.len() {
            self.links.reserve_exact(slots - self.links.len());
            self.links.resize(slots, NIL);
            self.buckets.reserve_exact(slots - self.buckets.len());
            self.buckets.resize(slots, 0);
        }
    }

    /// Says that the deadline of `id` is now `deadline_ns`. Must be called when an entry with a
    /// deadline enters a slot and whenever a deadline comes nearer; may be left out when a deadline
    /// moves away. O(1), or O(log n) for a deadline that is nearer than that under which the slot
    /// was linked before.
    #[inline]
    pub(crate) fn schedule(&mut self, id: EntryId, deadline_ns: u64) {
        self.schedule_from(self.tick, id, deadline_ns);
    }

    /// Whether [`pop_due`](Self::pop_due) has found nothing more due in this very tick. What has come
    /// due since is found in the next one.
    #[inline]
    pub(crate) fn is_settled(&self, now_ns: u64) -> bool {
        tick_of(now_ns) == self.settled
    }

    /// Finds one id whose deadline has come at `now_ns`, asking `deadline_ns` for the deadlines,
    /// and forgets that it was scheduled: the caller removes the entry, or schedules it again.
    ///
    /// Each id that is looked at, due or not, takes one off `budget`. `None` with a budget left
    /// means that nothing more is due; with none left, that the search goes on at the next call.
    ///
    /// ```text
    /// while let Some(id) = wheel.pop_due(now_ns, &mut budget, |id| slots.deadline_ns(id)) { .. }
    /// ```
    #[inline]
    pub(crate) fn pop_due(
        &mut self,
        now_ns: u64,
        budget: &mut usize,
        deadline_ns: impl Fn(EntryId) -> u64,
    ) -> Option<EntryId> {
        let now_tick = tick_of(now_ns);
        if self.early.len() > 2 * self.linked + 64 {
            self.compact_early(&deadline_ns);
        }
        while *budget > 0 {
            let early = self.early.pop_before(now_tick);
            let Some(id) = early.or_else(|| self.pop_fired(now_tick)) else {
                self.settled = now_tick;
                return None;
            };
            *budget -= 1;
            let id_deadline_ns = deadline_ns(id);
            if id_deadline_ns <= now_ns {
                return Some(id);
            }
            // Not due before the current tick, which has not fired: so it is linked in another
            // bucket than it came from, and this loop ends.
            self.schedule_from(now_tick, id, id_deadline_ns);
        }
        None
    }

    /// The next time at which [`pop_due`](Self::pop_due) has something to do, if ever: no entry is
    /// reported before it, and it may find only entries that are not due yet.
    #[cfg(test)]
    pub(crate) fn next_work_ns(&self) -> Option<u64> {
        let early = self.early.next_tick().map(|tick| tick + 1);
        let fired = self.next_bucket().map(|bucket| {
            // Level 0 fires when its tick is over.
            self.fires_at(bucket) + u64::from(bucket.level() == 0)
        });
        let tick = early.into_iter().chain(fired).min()?;
        Some(tick.saturating_mul(1 << TICK_BITS).min(NEVER_NS - 1))
    }

    /// Recounts everything from scratch; `deadline_ns` must give the deadlines of all slots.
    ///
    /// # Panics
    /// If a link or a count is wrong, or if an entry would be reported late.
    pub(crate) fn validate(&self, deadline_ns: impl Fn(EntryId) -> u64) {
        let mut linked = 0;
        for (level, buckets) in self.levels.iter().enumerate() {
            for (digit, &head) in (0..).zip(&buckets.heads) {
                let bucket = Bucket::new(level, digit);
                let occupied = buckets.occupied >> digit & 1 == 1;
                assert_eq!(
                    occupied,
                    head != NIL,
                    "{bucket:?} knows whether it is in use"
                );
                assert!(
                    !occupied || self.fires_at(bucket) >= self.tick || self.is_firing(bucket),
                    "{bucket:?} was passed over"
                );
                let mut id = head;
                while id != NIL {
                    assert_eq!(self.bucket_of(id), Some(bucket), "id {id} knows its bucket");
                    linked += 1;
                    assert!(linked <= self.links.len(), "{bucket:?} has no cycle");
                    id = self.links[id as usize] & NIL;
                }
            }
        }
        let marked = self.links.iter().filter(|&&link| link & LINKED != 0);
        assert_eq!(linked, marked.count(), "every linked id is reachable");
        assert_eq!(linked, self.linked, "the linked ids are counted");

        let early = self.early.first_ticks();
        for id in 0..self.links.len() as EntryId {
            let id_deadline_ns = deadline_ns(id);
            if id_deadline_ns != NEVER_NS {
                let tick = tick_of(id_deadline_ns);
                let by_wheel = self.bucket_of(id).map(|bucket| self.fires_at(bucket));
                let looked_at = by_wheel.into_iter().chain(early.get(&id).copied()).min();
                assert!(
                    looked_at.is_some_and(|at| at <= tick),
                    "id {id}, due at tick {tick}, is looked at in time, not at {looked_at:?}"
                );
            }
        }
    }

    /// [`schedule`](Self::schedule), where `about_now` is the best guess at the present tick.
    #[inline]
    fn schedule_from(&mut self, about_now: u64, id: EntryId, deadline_ns: u64) {
        if deadline_ns == NEVER_NS {
            return;
        }
        self.reserve(id as usize + 1);
        let tick = tick_of(deadline_ns);
        let bucket = self.bucket_of(id).unwrap_or_else(|| self.link(id, tick));
        if self.fires_at(bucket) > tick {
            self.early.push(tick, id, about_now);
        }
    }

    /// The bucket that `id` is linked in, if it is.
    #[inline]
    fn bucket_of(&self, id: EntryId) -> Option<Bucket> {
        let link = *self.links.get(id as usize)?;
        let high = u16::from(link & BUCKET_HIGH != 0) << 8;
        (link & LINKED != 0).then(|| Bucket(high | u16::from(self.buckets[id as usize])))
    }

    /// Links `id`, which is not linked, where it is looked at by `tick`, or as soon as can be.
    fn link(&mut self, id: EntryId, tick: u64) -> Bucket {
        let tick = tick.max(self.tick);
        let differing = tick ^ self.tick;
        let level = (differing.checked_ilog2().unwrap_or(0) / DIGIT_BITS) as usize;
        let digit = tick >> (level as u32 * DIGIT_BITS) & DIGIT_MASK;
        let bucket = Bucket::new(level, digit);

        let buckets = &mut self.levels[level];
        if buckets.heads.is_empty() {
            buckets.heads = vec![NIL; BUCKETS_PER_LEVEL].into();
        }
        let next = std::mem::replace(&mut buckets.heads[digit as usize], id);
        buckets.occupied |= 1 << digit;
        let high = if bucket.0 >> 8 != 0 { BUCKET_HIGH } else { 0 };
        self.links[id as usize] = LINKED | high | next;
        self.buckets[id as usize] = bucket.0 as u8;
        self.linked += 1;
        bucket
    }

    /// Takes one id off the next bucket that has fired by `now_tick`. Without one, moves the wheel
    /// to `now_tick`.
    #[inline]
    fn pop_fired(&mut self, now_tick: u64) -> Option<EntryId> {
        if let Some(bucket) = self.next_bucket() {
            let fires_at = self.fires_at(bucket);
            // The entries of a level-0 bucket may be due at any moment of its tick, so it waits for
            // the tick's end.
            if fires_at + u64::from(bucket.level() == 0) <= now_tick {
                // No bucket starts between the old tick and this one, so all links stay right.
                self.tick = self.tick.max(fires_at);
                return Some(self.unlink_first(bucket));
            }
        }
        self.tick = self.tick.max(now_tick);
        None
    }

    fn unlink_first(&mut self, bucket: Bucket) -> EntryId {
        let buckets = &mut self.levels[bucket.level()];
        let head = &mut buckets.heads[bucket.digit() as usize];
        let id = *head;
        *head = self.links[id as usize] & NIL;
        if *head == NIL {
            buckets.occupied &= !(1 << bucket.digit());
        }
        self.links[id as usize] = NIL;
        self.linked -= 1;
        id
    }

    /// The bucket that fires first. A bucket above level 0 that is firing already (the budget ran
    /// out halfway) goes first, for entries of any later tick may still be in it. Otherwise the
    /// lowest level in use: what is linked there shares all higher digits with the wheel's tick, so
    /// it comes before everything above.
    #[inline]
    fn next_bucket(&self) -> Option<Bucket> {
        let firing = (1..LEVELS)
            .map(|level| Bucket::new(level, self.digit(level)))
            .find(|&bucket| self.is_firing(bucket));
        firing.or_else(|| {
            let level = self.levels.iter().position(|level| level.occupied != 0)?;
            let digit = self.levels[level].occupied.trailing_zeros();
            Some(Bucket::new(level, u64::from(digit)))
        })
    }

    /// Whether `bucket`, above level 0, has been reached and still holds entries.
    #[inline]
    fn is_firing(&self, bucket: Bucket) -> bool {
        let level = bucket.level();
        level > 0
            && bucket.digit() == self.digit(level)
            && self.levels[level].occupied >> bucket.digit() & 1 == 1
    }

    /// The tick at which `bucket` fires: the wheel's digits above the bucket's level, the bucket's
    /// own, and zeros below.
    #[inline]
    fn fires_at(&self, bucket: Bucket) -> u64 {
        let shift = bucket.level() as u32 * DIGIT_BITS;
        let above = self.tick >> shift >> DIGIT_BITS << DIGIT_BITS;
        (above | bucket.digit()) << shift
    }

    /// The wheel's own digit at `level`.
    #[inline]
    fn digit(&self, level: usize) -> u64 {
        self.tick >> (level as u32 * DIGIT_BITS) & DIGIT_MASK
    }

    /// Keeps one early key for each id that needs one. O(keys log keys), after at least half as
    /// many schedulings.
    #[cold]
    fn compact_early(&mut self, deadline_ns: impl Fn(EntryId) -> u64) {
        let mut early = std::mem::take(&mut self.early);
        early.refresh(|id| {
            let id_deadline_ns = deadline_ns(id);
            let tick = tick_of(id_deadline_ns);
            let fires_late = |bucket| self.fires_at(bucket) > tick;
            let needed = id_deadline_ns != NEVER_NS && self.bucket_of(id).is_none_or(fires_late);
            needed.then_some(tick)
        });
        self.early = early;
    }
}

#[inline]
fn tick_of(time_ns: u64) -> u64 {
    time_ns >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::{NEVER_NS, TICK_BITS, TimerWheel};
    use crate::policy::EntryId;
    use std::collections::{BTreeMap, BTreeSet};

    const TICK_NS: u64 = 1 << TICK_BITS;
    const SECOND_NS: u64 = 1_000_000_000;
    const DAY_NS: u64 = 86_400 * SECOND_NS;
    const YEAR_NS: u64 = 365 * DAY_NS;

    /// A wheel and the deadlines that its owner would keep.
    struct Timed {
        wheel: TimerWheel,
        deadlines_ns: BTreeMap<EntryId, u64>,
        now_ns: u64,
    }

    impl Timed {
        fn new() -> Self {
            Self {
                wheel: TimerWheel::new(0),
                deadlines_ns: BTreeMap::new(),
                now_ns: 0,
            }
        }

        fn set(&mut self, id: EntryId, deadline_ns: u64) {
            self.deadlines_ns.insert(id, deadline_ns);
            self.wheel.schedule(id, deadline_ns);
        }

        /// A reader moved the deadline away, of which nobody told the wheel.
        fn postpone(&mut self, id: EntryId, deadline_ns: u64) {
            let held_ns = self.deadlines_ns.get_mut(&id).expect("a resident id");
            *held_ns = deadline_ns.max(*held_ns);
        }

        /// The entry left for another reason than time.
        fn free(&mut self, id: EntryId) {
            self.deadlines_ns.remove(&id);
        }

        /// Removes what the wheel reports, up to the budget; returns it and the budget left.
        fn advance(&mut self, now_ns: u64, mut budget: usize) -> (Vec<EntryId>, usize) {
            self.now_ns = now_ns;
            let mut due = Vec::new();
            while let Some(id) = self.wheel.pop_due(now_ns, &mut budget, |id| {
                self.deadlines_ns.get(&id).copied().unwrap_or(NEVER_NS)
            }) {
                let deadline_ns = self.deadlines_ns.remove(&id);
                let deadline_ns = deadline_ns.expect("a reported id is resident");
                assert!(deadline_ns <= now_ns, "id {id} is reported before its time");
                due.push(id);
            }
            due.sort_unstable();
            (due, budget)
        }

        fn advance_fully(&mut self, now_ns: u64) -> Vec<EntryId> {
            let (due, left) = self.advance(now_ns, usize::MAX);
            assert!(left > 0);
            self.assert_nothing_is_late();
            due
        }

        fn assert_nothing_is_late(&self) {
            for (id, &deadline_ns) in &self.deadlines_ns {
                assert!(
                    deadline_ns.saturating_add(TICK_NS) > self.now_ns,
                    "id {id}, due at {deadline_ns}, is late at {}",
                    self.now_ns
                );
            }
        }

        fn validate(&self) {
            self.wheel
                .validate(|id| self.deadlines_ns.get(&id).copied().unwrap_or(NEVER_NS));
        }
    }

    #[test]
    fn entries_are_reported_within_a_tick_of_their_deadline() {
        let mut timed = Timed::new();
        let mut deadlines_ns = Vec::new();
        for magnitude in 0..63 {
            for offset in [0, 1, (1_u64 << magnitude) / 3] {
                deadlines_ns.push((1 << magnitude) + offset);
            }
        }
        deadlines_ns.sort_unstable();
        for (id, &deadline_ns) in (0..).zip(&deadlines_ns) {
            timed.set(id, deadline_ns);
        }
        timed.validate();
        for (id, &deadline_ns) in (0..).zip(&deadlines_ns) {
            if timed.now_ns < deadline_ns {
                timed.advance_fully(deadline_ns - 1);
                timed.validate();
                assert!(timed.deadlines_ns.contains_key(&id), "not before its time");
            }
            timed.advance_fully(deadline_ns + TICK_NS);
            assert!(!timed.deadlines_ns.contains_key(&id));
        }
    }

    #[test]
    fn a_deadline_moved_away_costs_no_second_link() {
        let mut timed = Timed::new();
        timed.set(3, 5 * SECOND_NS);
        for second in 6..100 {
            timed.set(3, second * SECOND_NS);
        }
        assert_eq!((timed.wheel.linked, timed.wheel.early.len()), (1, 0));
        assert_eq!(timed.advance_fully(99 * SECOND_NS - 1), []);
        assert_eq!(timed.advance_fully(99 * SECOND_NS + TICK_NS), [3]);
    }

    #[test]
    fn a_reused_slot_with_a_nearer_deadline_is_reported_in_time() {
        let mut timed = Timed::new();
        timed.set(0, DAY_NS);
        timed.free(0);
        timed.set(0, SECOND_NS);
        timed.validate();
        assert_eq!(timed.advance_fully(SECOND_NS + TICK_NS), [0]);
        // The old link is still there and must not report the slot's next entry.
        timed.set(0, 2 * DAY_NS);
        assert_eq!(timed.advance_fully(DAY_NS + SECOND_NS), []);
        timed.validate();
        assert_eq!(timed.advance_fully(2 * DAY_NS + TICK_NS), [0]);
    }

    #[test]
    fn a_postponed_early_deadline_is_not_lost() {
        let mut timed = Timed::new();
        timed.set(0, DAY_NS);
        timed.set(0, SECOND_NS);
        timed.postpone(0, 3 * SECOND_NS);
        assert_eq!(timed.advance_fully(2 * SECOND_NS), []);
        timed.validate();
        assert_eq!(timed.advance_fully(3 * SECOND_NS + TICK_NS), [0]);
    }

    #[test]
    fn a_deadline_in_the_past_is_reported_at_once_or_a_tick_later() {
        let mut timed = Timed::new();
        timed.advance_fully(YEAR_NS);
        timed.set(0, 0);
        timed.set(1, YEAR_NS - TICK_NS);
        timed.set(2, YEAR_NS);
        timed.advance_fully(YEAR_NS);
        assert!(!timed.deadlines_ns.contains_key(&0));
        assert!(!timed.deadlines_ns.contains_key(&1));
        timed.advance_fully(YEAR_NS + TICK_NS);
        assert!(timed.deadlines_ns.is_empty());
    }

    #[test]
    fn never_is_not_scheduled_and_a_freed_slot_is_dropped() {
        let mut timed = Timed::new();
        timed.set(0, NEVER_NS);
        assert_eq!(timed.wheel.next_work_ns(), None);
        timed.set(1, SECOND_NS);
        timed.free(1);
        assert_eq!(timed.advance_fully(2 * SECOND_NS), []);
        assert_eq!(timed.wheel.linked, 0);
        assert_eq!(timed.wheel.next_work_ns(), None);
        timed.validate();
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut timed = Timed::new();
        timed.set(0, NEVER_NS - 1);
        timed.set(1, NEVER_NS - 2 * TICK_NS);
        timed.validate();
        assert_eq!(timed.wheel.next_work_ns(), Some(3 << 62));
        assert_eq!(timed.advance_fully(NEVER_NS - TICK_NS - 1), [1]);
        timed.validate();
        assert!(timed.wheel.next_work_ns() >= Some(NEVER_NS - TICK_NS));
    }

    #[test]
    fn budget_bounds_the_ids_looked_at() {
        let mut timed = Timed::new();
        for id in 0..1000 {
            timed.set(id, DAY_NS + u64::from(id) * SECOND_NS / 10);
        }
        // Freed entries cost budget as well, though they are not reported.
        for id in (0..1000).step_by(2) {
            timed.free(id);
        }
        let mut reported = BTreeSet::new();
        let mut calls = 0;
        loop {
            let (due, left) = timed.advance(2 * DAY_NS, 7);
            timed.validate();
            assert!(due.len() <= 7);
            reported.extend(due);
            calls += 1;
            if left > 0 {
                break;
            }
        }
        assert_eq!(reported, (1..1000).step_by(2).collect());
        assert!(
            (1000 / 7..=1000 / 7 + 1).contains(&calls),
            "one look per id, in {calls} calls"
        );
    }

    #[test]
    fn an_entry_is_looked_at_once_per_level_at_most() {
        let mut timed = Timed::new();
        let mut total_left = 0;
        for id in 0..512 {
            timed.set(id, 30 * DAY_NS + u64::from(id) * 7_919_000_003);
        }
        let mut looks = 0;
        while !timed.deadlines_ns.is_empty() {
            let next_ns = timed.wheel.next_work_ns().expect("entries are scheduled");
            assert!(next_ns > timed.now_ns, "the hint is never now again");
            let (_, left) = timed.advance(next_ns, 1_000_000);
            looks += 1_000_000 - left;
            total_left += left;
        }
        assert!(total_left > 0);
        assert!(looks <= 512 * super::LEVELS, "{looks} looks at 512 entries");
    }

    #[test]
    fn no_work_is_done_before_the_hint() {
        let mut timed = Timed::new();
        timed.set(0, 90 * SECOND_NS);
        timed.set(1, 17 * DAY_NS);
        timed.set(1, 100 * SECOND_NS);
        while let Some(next_ns) = timed.wheel.next_work_ns() {
            let (due, left) = timed.advance(next_ns - 1, 100);
            assert_eq!((due, left), (vec![], 100), "nothing to do before {next_ns}");
            let (_, left) = timed.advance(next_ns, 100);
            assert!(left < 100, "something to do at {next_ns}");
        }
        assert!(timed.deadlines_ns.is_empty());
    }

    #[test]
    fn early_keys_do_not_pile_up() {
        let mut timed = Timed::new();
        for id in 0..100 {
            timed.set(id, YEAR_NS);
        }
        for round in 0..1000 {
            for id in 0..100 {
                timed.free(id);
                timed.set(id, 400 * DAY_NS / 2 + round + u64::from(id) * SECOND_NS);
            }
            timed.advance(round, 1);
            assert!(timed.wheel.early.len() <= 2 * 100 + 64 + 100);
        }
        timed.validate();
        assert_eq!(timed.advance_fully(DAY_NS), []);
        assert_eq!(timed.advance_fully(YEAR_NS).len(), 100);
    }

    #[test]
    fn early_deadlines_beyond_the_heaps_horizon_are_exact() {
        let mut timed = Timed::new();
        for (id, early_years) in [(0, 2), (1, 30), (2, 70)] {
            timed.set(id, 140 * YEAR_NS);
            timed.set(id, early_years * YEAR_NS);
        }
        for year in 1..=70 {
            assert_eq!(timed.advance_fully(year * YEAR_NS - 1), []);
            timed.validate();
            let due = timed.advance_fully(year * YEAR_NS + TICK_NS);
            let expected: &[EntryId] = match year {
                2 => &[0],
                30 => &[1],
                70 => &[2],
                _ => &[],
            };
            assert_eq!(due, expected, "in year {year}");
        }
    }

    #[test]
    fn time_that_goes_back_reports_nothing_early() {
        let mut timed = Timed::new();
        timed.set(0, 10 * DAY_NS);
        timed.advance_fully(9 * DAY_NS);
        timed.now_ns = 0;
        timed.set(1, DAY_NS);
        timed.validate();
        assert_eq!(timed.advance_fully(DAY_NS - 1), []);
        assert_eq!(timed.advance_fully(DAY_NS + TICK_NS), [1]);
        assert_eq!(timed.advance_fully(10 * DAY_NS + TICK_NS), [0]);
    }

    /// Random entries of all lifetimes, updated, read, freed and replaced, under a clock that
    /// creeps, leaps and now and then goes back, with budgets large and small.
    #[test]
    fn random_schedules_match_a_sorted_map() {
        for seed in 0..24 {
            let mut random = Random(seed);
            let mut timed = Timed::new();
            timed.now_ns = random.magnitude(60);
            timed.wheel = TimerWheel::new(timed.now_ns);
            let slots = 1 + random.below(40) as EntryId;
            let longest = [12, 30, 44, 62][seed as usize % 4];
            for _ in 0..2500 {
                let id = random.below(u64::from(slots)) as EntryId;
                let then_ns = timed.now_ns.saturating_add(random.magnitude(longest));
                match random.below(16) {
                    0..7 => timed.set(id, then_ns),
                    7..9 if timed.deadlines_ns.contains_key(&id) => timed.postpone(id, then_ns),
                    9..11 => timed.free(id),
                    11..13 => {
                        let budget = random.below(6) as usize;
                        timed.advance(then_ns.min(NEVER_NS - 1), budget);
                    }
                    13 => {
                        timed.advance_fully(timed.now_ns + random.below(4) * TICK_NS / 2);
                    }
                    14 => {
                        let back_ns = random.magnitude(longest) / 16;
                        timed.advance_fully(timed.now_ns.saturating_sub(back_ns));
                    }
                    _ => {
                        let hint_ns = timed.wheel.next_work_ns();
                        timed.advance_fully(hint_ns.unwrap_or(then_ns).min(NEVER_NS - TICK_NS));
                    }
                }
                timed.now_ns = timed.now_ns.min(NEVER_NS / 2);
                timed.validate();
            }
        }
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        /// A number of up to `bits` bits, each length equally likely.
        fn magnitude(&mut self, bits: u64) -> u64 {
            let length = self.below(bits + 1);
            self.next() & ((1 << length) - 1)
        }
    }
}
