//! Weighed queues over entry ids: [`Links`] that know the weight of each of their lists. What
//! policies divide the capacity with.
//!
//! While every entry weighs 1, nobody is asked for weights. So the policy
//! [announces](Queues::announce) the weight of each entry before it puts it in a queue.

use super::{Entries, EntryId, Links};

/// `N` queues of entries, numbered from 0, and the weight of each. An entry is in one at most; its
/// front is the end that policies evict from.
#[derive(Debug)]
pub(super) struct Queues<const N: usize> {
    links: Links,
    weights: [u64; N],
    /// Whether an entry's weight was ever other than 1.
    weighted: bool,
}

impl<const N: usize> Queues<N> {
    /// Empty queues.
    pub(super) fn new() -> Self {
        Self {
            links: Links::new(N),
            weights: [0; N],
            weighted: false,
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    /// An entry of this weight is to come.
    #[inline]
    pub(super) fn announce(&mut self, weight: u32) {
        self.weighted |= weight != 1;
    }

    /// The weight of an entry that was announced.
    #[inline]
    pub(super) fn weight_of(&self, id: EntryId, entries: &Entries<'_>) -> u64 {
        if self.weighted {
            u64::from(entries.weight(id))
        } else {
            1
        }
    }

    /// Entries in all queues.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.lists().map(|queue| self.links.len(queue)).sum()
    }

    #[inline]
    pub(super) fn is_empty(&self, queue: u8) -> bool {
        self.links.is_empty(queue)
    }

    /// The weight of the entries in `queue`.
    #[inline]
    pub(super) fn weight(&self, queue: u8) -> u64 {
        self.weights[queue as usize]
    }

    /// The weight of the entries in all queues.
    #[inline]
    pub(super) fn total_weight(&self) -> u64 {
        self.weights.iter().sum()
    }

    /// The queue that holds `id`, if any.
    pub(super) fn queue_of(&self, id: EntryId) -> Option<u8> {
        self.links.list_of(id)
    }

    #[inline]
    pub(super) fn front(&self, queue: u8) -> Option<EntryId> {
        self.links.front(queue)
    }

    /// The first two entries of `queue`.
    #[inline]
    pub(super) fn first_two(&self, queue: u8) -> [Option<EntryId>; 2] {
        self.links.first_two(queue)
    }

    /// Appends `id`, which must be in no queue, to `queue`.
    #[inline]
    pub(super) fn push_back(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.links.push_back(queue, id);
        self.add(queue, id, entries);
    }

    /// Puts `id`, which must be in no queue, first in `queue`.
    pub(super) fn push_front(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.links.push_front(queue, id);
        self.add(queue, id, entries);
    }

    /// Takes the first entry out of `queue`.
    #[inline]
    pub(super) fn pop_front(&mut self, queue: u8, entries: &Entries<'_>) -> Option<EntryId> {
        let id = self.links.pop_front(queue)?;
        self.subtract(queue, id, entries);
        Some(id)
    }

    /// Moves the first entry of `from`, if there is one, to the end of `to`.
    #[inline]
    pub(super) fn move_front(&mut self, from: u8, to: u8, entries: &Entries<'_>) {
        if let Some(id) = self.links.pop_front(from) {
            self.links.push_back(to, id);
            if from != to {
                self.subtract(from, id, entries);
                self.add(to, id, entries);
            }
        }
    }

    /// Moves `id` from the queue it is in to the end of `queue`.
    pub(super) fn move_to_back(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        let from = self
            .links
            .remove(id)
            .expect("an entry to move is in a queue");
        self.links.push_back(queue, id);
        if from != queue {
            self.subtract(from, id, entries);
            self.add(queue, id, entries);
        }
    }

    /// Takes `id` out of its queue and returns which one that was.
    pub(super) fn remove(&mut self, id: EntryId, entries: &Entries<'_>) -> Option<u8> {
        let queue = self.links.remove(id)?;
        self.subtract(queue, id, entries);
        Some(queue)
    }

    #[inline]
    fn add(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.weights[queue as usize] += self.weight_of(id, entries);
    }

    #[inline]
    fn subtract(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.weights[queue as usize] -= self.weight_of(id, entries);
    }

    /// Puts `to`, which must be in no queue, in the place of `from`, which leaves. Announces the
    /// weight of `to`.
    #[inline]
    pub(super) fn replace(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.announce(entries.weight(to));
        if let Some(queue) = self.links.replace(from, to)
            && self.weighted
        {
            self.subtract(queue, from, entries);
            self.add(queue, to, entries);
        }
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.weights = [0; N];
    }

    /// The entries of `queue`, front to back.
    pub(super) fn iter(&self, queue: u8) -> impl Iterator<Item = EntryId> + '_ {
        self.links.iter(queue)
    }

    /// The entries of all queues, queue by queue.
    pub(super) fn iter_all(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.lists().flat_map(|queue| self.links.iter(queue))
    }

    /// Recounts every queue from scratch.
    ///
    /// # Panics
    /// If a link, a length or a weight is wrong.
    pub(super) fn validate(&self, entries: &Entries<'_>) {
        self.links.validate();
        for queue in self.lists() {
            let weights = self
                .links
                .iter(queue)
                .map(|id| u64::from(entries.weight(id)));
            assert_eq!(
                weights.sum::<u64>(),
                self.weight(queue),
                "the weight of queue {queue}"
            );
        }
    }

    fn lists(&self) -> std::ops::Range<u8> {
        0..N as u8
    }
}
