//! The resident entries in no order, each at a place of its own: what a policy draws from by lot.
//!
//! Places are numbered without gaps, so an entry at a place chosen by lot is one of all with the same
//! chance. Who leaves is replaced by the last. Every operation is O(1); 8 bytes an entry.

use super::EntryId;
use super::random::SplitMix64;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// All entries, by place.
    ids: Vec<EntryId>,
    /// By id: its place in `ids`. Stale for ids that are not resident.
    places: Vec<u32>,
}

impl Roster {
    /// Makes room for ids below `slots`.
    pub(super) fn reserve(&mut self, slots: usize) {
        if slots > self.places.len() {
            self.ids.reserve_exact(slots - self.ids.len());
            self.places.reserve_exact(slots - self.places.len());
            self.places.resize(slots, 0);
        }
    }

    pub(super) fn insert(&mut self, id: EntryId) {
        self.places[id as usize] = self.ids.len() as u32;
        self.ids.push(id);
    }

    /// Takes a resident entry out.
    pub(super) fn remove(&mut self, id: EntryId) {
        debug_assert!(self.contains(id), "entry {id} is resident");
        let place = self.places[id as usize];
        self.ids.swap_remove(place as usize);
        if let Some(&moved) = self.ids.get(place as usize) {
            self.places[moved as usize] = place;
        }
    }

    /// Gives the place of `from`, which leaves, to `to`.
    pub(super) fn relocate(&mut self, from: EntryId, to: EntryId) {
        debug_assert!(self.contains(from), "entry {from} is resident");
        let place = self.places[from as usize];
        self.places[to as usize] = place;
        self.ids[place as usize] = to;
    }

    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn contains(&self, id: EntryId) -> bool {
        let place = self.places.get(id as usize);
        place.is_some_and(|&place| self.ids.get(place as usize) == Some(&id))
    }

    /// Who is at `place`; `None` from the first place on that is free.
    pub(super) fn get(&self, place: usize) -> Option<EntryId> {
        self.ids.get(place).copied()
    }

    /// One of all entries, each with the same chance; `None` if there is none.
    pub(super) fn draw(&self, random: &mut SplitMix64) -> Option<EntryId> {
        if self.ids.is_empty() {
            return None;
        }
        self.get(random.below(self.ids.len() as u32) as usize)
    }

    /// All entries, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.ids.iter().copied()
    }

    /// Compares both directions.
    ///
    /// # Panics
    /// If an entry does not know its place, as one that is there twice cannot.
    pub(super) fn validate(&self) {
        for (place, &id) in (0..).zip(&self.ids) {
            assert_eq!(self.places[id as usize], place, "{id} knows its place");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Roster, SplitMix64};
    use std::collections::BTreeSet;

    #[test]
    fn random_changes_leave_those_that_a_set_has() {
        let mut random = SplitMix64::new(5);
        let (mut roster, mut model) = (Roster::default(), BTreeSet::new());
        let mut slots = 0;
        for step in 0..20_000 {
            let id = random.below(64);
            if id >= slots {
                slots = id + 1;
                roster.reserve(slots as usize);
            }
            assert_eq!(roster.contains(id), model.contains(&id));
            match (random.below(8), model.contains(&id)) {
                (_, false) => {
                    roster.insert(id);
                    model.insert(id);
                }
                (0..5, true) => {
                    roster.remove(id);
                    model.remove(&id);
                }
                (_, true) => {
                    if let Some(to) = (0..slots).find(|to| !model.contains(to)) {
                        roster.relocate(id, to);
                        model.remove(&id);
                        model.insert(to);
                    }
                }
            }
            if step % 1_000 == 999 {
                roster.clear();
                model.clear();
            }
            roster.validate();
            assert_eq!(roster.iter().collect::<BTreeSet<_>>(), model);
            assert_eq!(roster.len(), model.len());
            assert_eq!(roster.get(roster.len()), None);
        }
    }

    #[test]
    fn each_entry_is_drawn_equally_often() {
        let mut random = SplitMix64::new(11);
        let mut roster = Roster::default();
        assert_eq!(roster.draw(&mut random), None);
        roster.reserve(20);
        (0..20).for_each(|id| roster.insert(id));
        (0..20).step_by(2).for_each(|id| roster.remove(id));
        let mut counts = [0; 20];
        for _ in 0..10_000 {
            counts[roster.draw(&mut random).expect("ten are left") as usize] += 1;
        }
        for (id, count) in counts.into_iter().enumerate() {
            let expected = if id % 2 == 0 { 0..1 } else { 900..1100 };
            assert!(expected.contains(&count), "{id} was drawn {count} times");
        }
    }
}
