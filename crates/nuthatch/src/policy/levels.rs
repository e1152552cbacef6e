//! Levels: one list of entries, ordered by a small integer, with a way in at every level.
//!
//! Policies that order entries by a count, a score or a bucket number keep them in a single
//! [`Links`] list, lowest level first. Beside it stand the last entry of each level and one bit
//! per level that says whether it holds any: to append to a level is to find the nearest occupied
//! level at or below it, which takes a scan of the bits, 64 at a time.
//!
//! ```text
//!   level        3         5              9
//!   list    a ─ b ─ c ─ d ─ e ─ f ─ g ─ h ─ i        front: the first of the lowest level
//!   last            c       e               i        push_back(7, x): behind e
//! ```
//!
//! Which level an entry is in is known to the policy alone, which must name it again to remove the
//! entry. The levels are a window over all integers: [`raise`](Levels::raise) moves it up, and what
//! it leaves behind joins the lowest level, ahead of what is there, so the order never changes.
//!
//! *Cost:* O(levels / 64) per operation, 8 bytes an entry and 4 bytes and a bit per level.

use super::{EntryId, Links};

const LIST: u8 = 0;

/// A list cut into levels; see the module's text.
#[derive(Debug)]
pub(super) struct Levels {
    links: Links,
    /// Level `l` has its place at `l % lasts.len()`, in this and in `occupied`.
    lasts: Box<[EntryId]>,
    occupied: Box<[u64]>,
    /// The lowest level of the window.
    lowest: u32,
}

impl Levels {
    /// A window of `levels` levels, a power of two and at least 64, that starts at level 0.
    pub(super) fn new(levels: usize) -> Self {
        assert!(
            levels.is_power_of_two() && levels >= 64,
            "the bits fill whole words"
        );
        Self {
            links: Links::new(1),
            lasts: vec![0; levels].into(),
            occupied: vec![0; levels / 64].into(),
            lowest: 0,
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    pub(super) fn len(&self) -> usize {
        self.links.len(LIST)
    }

    /// The first entry of the lowest occupied level.
    pub(super) fn front(&self) -> Option<EntryId> {
        self.links.front(LIST)
    }

    /// The last entry of the highest occupied level.
    pub(super) fn back(&self) -> Option<EntryId> {
        self.links.back(LIST)
    }

    /// The last entry of `level`, which is occupied.
    pub(super) fn last(&self, level: u32) -> EntryId {
        debug_assert!(
            self.is_occupied(self.clamp(level)),
            "level {level} is empty"
        );
        self.lasts[self.place(self.clamp(level))]
    }

    /// The entry behind `id`, in its level or the next occupied one.
    pub(super) fn next(&self, id: EntryId) -> Option<EntryId> {
        self.links.next(id)
    }

    /// The entries from `first` to `last`, both included.
    pub(super) fn range(
        &self,
        first: EntryId,
        last: EntryId,
    ) -> impl Iterator<Item = EntryId> + '_ {
        std::iter::successors(Some(first), move |&id| {
            (id != last).then(|| self.next(id)).flatten()
        })
    }

    /// All entries, lowest level first.
    pub(super) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.links.iter(LIST)
    }

    /// Appends `id`, which is in no level, to `level`; below the window means its lowest level.
    pub(super) fn push_back(&mut self, level: u32, id: EntryId) {
        let level = self.clamp(level);
        let next = match self.last_up_to(level) {
            Some(last) => self.links.next(last),
            None => self.links.front(LIST),
        };
        match next {
            Some(next) => self.links.insert_before(next, id),
            None => self.links.push_back(LIST, id),
        }
        self.set_last(level, id);
    }

    /// Takes `id` out of `level`, where it is.
    pub(super) fn remove(&mut self, level: u32, id: EntryId) {
        let level = self.clamp(level);
        let place = self.place(level);
        if self.lasts[place] == id {
            let below = (level > self.lowest)
                .then(|| self.last_up_to(level - 1))
                .flatten();
            match self.links.prev(id) {
                Some(prev) if Some(prev) != below => self.lasts[place] = prev,
                _ => self.occupied[place / 64] &= !(1 << (place % 64)),
            }
        }
        self.links.remove(id);
    }

    /// Puts `to`, which is in no level, in the place of `from`, which leaves `level`.
    pub(super) fn replace(&mut self, level: u32, from: EntryId, to: EntryId) {
        let place = self.place(self.clamp(level));
        self.links.replace(from, to);
        if self.lasts[place] == from {
            self.lasts[place] = to;
        }
    }

    /// Moves the window up to start at `lowest`. O(levels passed).
    pub(super) fn raise(&mut self, lowest: u32) {
        // Beyond a whole window every level has been passed.
        let end = lowest.min(self.lowest + self.lasts.len() as u32);
        let Some(below) = (end > self.lowest)
            .then(|| self.last_up_to(end - 1))
            .flatten()
        else {
            self.lowest = self.lowest.max(lowest);
            return;
        };
        for level in self.lowest..end {
            let place = self.place(level);
            self.occupied[place / 64] &= !(1 << (place % 64));
        }
        self.lowest = lowest;
        if !self.is_occupied(lowest) {
            self.set_last(lowest, below);
        }
    }

    /// Renumbers the levels, `by` less each; the caller does the same to what it knows. `by` is a
    /// multiple of the window's size.
    pub(super) fn lower(&mut self, by: u32) {
        assert!(
            (by as usize).is_multiple_of(self.lasts.len()),
            "each level keeps its place"
        );
        self.lowest -= by;
    }

    /// Empties every level and moves the window back to level 0. O(ids ever used).
    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.occupied.fill(0);
        self.lowest = 0;
    }

    /// Recounts the levels from scratch, given each entry's.
    ///
    /// # Panics
    /// If an entry stands in another level, or a level's last entry or bit is wrong.
    pub(super) fn validate(&self, level_of: impl Fn(EntryId) -> u32) {
        self.links.validate();
        let mut occupied = vec![0; self.occupied.len()];
        let mut levels = self
            .iter()
            .map(|id| (self.clamp(level_of(id)), id))
            .peekable();
        while let Some((level, id)) = levels.next() {
            let place = self.place(level);
            match levels.peek() {
                Some(&(next, _)) if next == level => continue,
                Some(&(next, _)) => assert!(level < next, "levels ascend"),
                None => assert!(
                    level - self.lowest < self.lasts.len() as u32,
                    "levels lie in the window"
                ),
            }
            assert_eq!(self.lasts[place], id, "level {level} knows its last entry");
            occupied[place / 64] |= 1 << (place % 64);
        }
        assert_eq!(*occupied, *self.occupied, "occupied levels are marked");
    }

    fn clamp(&self, level: u32) -> u32 {
        debug_assert!(
            level < self.lowest + self.lasts.len() as u32,
            "level {level} lies above the window"
        );
        level.max(self.lowest)
    }

    fn place(&self, level: u32) -> usize {
        level as usize & (self.lasts.len() - 1)
    }

    fn is_occupied(&self, level: u32) -> bool {
        let place = self.place(level);
        self.occupied[place / 64] & (1 << (place % 64)) != 0
    }

    fn set_last(&mut self, level: u32, id: EntryId) {
        let place = self.place(level);
        self.lasts[place] = id;
        self.occupied[place / 64] |= 1 << (place % 64);
    }

    /// The last entry of the levels from the lowest to `level`.
    fn last_up_to(&self, level: u32) -> Option<EntryId> {
        let mut place = self.place(level);
        let mut left = (level - self.lowest) as usize + 1;
        while left > 0 {
            let span = (place % 64 + 1).min(left);
            // The bit of `place` comes first, those of lower levels behind it.
            let word = self.occupied[place / 64] << (63 - place % 64);
            let zeros = word.leading_zeros() as usize;
            if zeros < span {
                return Some(self.lasts[place - zeros]);
            }
            left -= span;
            place = place.wrapping_sub(span) & (self.lasts.len() - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Levels;
    use std::collections::BTreeMap;

    /// Entries by level and by order of arrival.
    type Model = BTreeMap<(u32, u64), u32>;

    #[test]
    fn entries_leave_by_level_and_then_by_arrival() {
        let mut levels = Levels::new(64);
        let mut model = Model::new();
        let mut at = [None; 200];
        let mut random = 1_u64;
        for step in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let id = (random >> 33) as u32 % 200;
            let lowest = step as u32 / 100;
            levels.raise(lowest);
            // The model, too, forgets how far below the window an entry is, but not the order.
            if let Some((level, arrival)) = at[id as usize].take() {
                model.remove(&(level, arrival));
                levels.remove(level, id);
            } else {
                let level = lowest + (random >> 48) as u32 % 64;
                levels.push_back(level, id);
                model.insert((level, step), id);
                at[id as usize] = Some((level, step));
            }
            assert!(levels.iter().eq(model.values().copied()), "step {step}");
            levels.validate(|id| at[id as usize].map_or(0, |(level, _)| level));
        }
        let numbers = levels.lowest / 64 * 64;
        levels.lower(numbers);
        levels.validate(|id| at[id as usize].map_or(0, |(level, _)| level.saturating_sub(numbers)));
    }

    #[test]
    fn a_window_raised_beyond_itself_keeps_the_order() {
        let mut levels = Levels::new(64);
        for (level, id) in [(0, 5), (63, 6), (7, 7)] {
            levels.push_back(level, id);
        }
        levels.raise(1000);
        levels.push_back(1000, 8);
        levels.replace(7, 7, 9);
        assert!(levels.iter().eq([5, 9, 6, 8]));
        levels.validate(|id| if id == 8 { 1000 } else { 0 });
        levels.clear();
        assert_eq!(levels.front(), None);
        levels.push_back(3, 1);
        levels.validate(|_| 3);
    }
}
