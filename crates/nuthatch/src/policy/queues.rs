//! Weighed queues over entry ids: [`Links`] that know the weight of each of their lists. What
//! policies divide the capacity with.

use super::{Entries, EntryId, Links};

/// Queues of entries, numbered from 0, and the weight of each. An entry is in one at most; its front
/// is the end that policies evict from.
#[derive(Debug)]
pub(super) struct Queues {
    links: Links,
    weights: Vec<u64>,
}

impl Queues {
    /// `queues` empty queues.
    pub(super) fn new(queues: usize) -> Self {
        Self {
            links: Links::new(queues),
            weights: vec![0; queues],
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    /// Entries in all queues.
    pub(super) fn len(&self) -> usize {
        self.lists().map(|queue| self.links.len(queue)).sum()
    }

    pub(super) fn is_empty(&self, queue: u8) -> bool {
        self.links.is_empty(queue)
    }

    /// The weight of the entries in `queue`.
    pub(super) fn weight(&self, queue: u8) -> u64 {
        self.weights[queue as usize]
    }

    /// The weight of the entries in all queues.
    pub(super) fn total_weight(&self) -> u64 {
        self.weights.iter().sum()
    }

    /// The queue that holds `id`, if any.
    pub(super) fn queue_of(&self, id: EntryId) -> Option<u8> {
        self.links.list_of(id)
    }

    pub(super) fn front(&self, queue: u8) -> Option<EntryId> {
        self.links.front(queue)
    }

    /// The first two entries of `queue`.
    pub(super) fn first_two(&self, queue: u8) -> [Option<EntryId>; 2] {
        self.links.first_two(queue)
    }

    /// Appends `id`, which must be in no queue, to `queue`.
    pub(super) fn push_back(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.links.push_back(queue, id);
        self.weights[queue as usize] += u64::from(entries.weight(id));
    }

    /// Puts `id`, which must be in no queue, first in `queue`.
    pub(super) fn push_front(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        self.links.push_front(queue, id);
        self.weights[queue as usize] += u64::from(entries.weight(id));
    }

    /// Moves `id` from the queue it is in to the end of `queue`.
    pub(super) fn move_to_back(&mut self, queue: u8, id: EntryId, entries: &Entries<'_>) {
        let from = self
            .links
            .list_of(id)
            .expect("an entry to move is in a queue");
        if from != queue {
            let weight = u64::from(entries.weight(id));
            self.weights[from as usize] -= weight;
            self.weights[queue as usize] += weight;
        }
        self.links.move_to_back(queue, id);
    }

    /// Takes `id` out of its queue and returns which one that was.
    pub(super) fn remove(&mut self, id: EntryId, entries: &Entries<'_>) -> Option<u8> {
        let queue = self.links.remove(id)?;
        self.weights[queue as usize] -= u64::from(entries.weight(id));
        Some(queue)
    }

    /// Puts `to`, which must be in no queue, in the place of `from`, which leaves.
    pub(super) fn replace(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        if let Some(queue) = self.links.list_of(from) {
            let weight = &mut self.weights[queue as usize];
            *weight -= u64::from(entries.weight(from));
            *weight += u64::from(entries.weight(to));
            self.links.replace(from, to);
        }
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.weights.fill(0);
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

    fn lists(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.weights.len() as u8
    }
}
