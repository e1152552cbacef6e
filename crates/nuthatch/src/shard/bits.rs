//! Sets of entries' ids.

use crate::policy::EntryId;

/// A growable set of ids.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    pub(super) fn contains(&self, id: EntryId) -> bool {
        self.0
            .get(id as usize / 64)
            .is_some_and(|word| word & 1 << (id % 64) != 0)
    }

    #[inline]
    pub(super) fn insert(&mut self, id: EntryId) {
        if id as usize / 64 >= self.0.len() {
            self.0.resize(id as usize / 64 + 1, 0);
        }
        self.0[id as usize / 64] |= 1 << (id % 64);
    }

    #[inline]
    pub(super) fn remove(&mut self, id: EntryId) {
        if let Some(word) = self.0.get_mut(id as usize / 64) {
            *word &= !(1 << (id % 64));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = EntryId> {
        (0..).step_by(64).zip(&self.0).flat_map(|(first, word)| {
            (first..first + 64).filter(move |id| word & 1 << (id % 64) != 0)
        })
    }
}
