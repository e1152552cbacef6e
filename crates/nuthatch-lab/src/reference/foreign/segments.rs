//! libCacheSim's segmented LRU, in two segments: the main part of its W-TinyLFU.
//!
//! A newcomer goes to the first segment with room for it. A hit takes a key up one segment, and what
//! overflows there comes down again.

use super::super::Key;
use super::super::queue::Queue;

/// Two LRU queues.
#[derive(Debug)]
pub(super) struct Segments {
    queues: [Queue; 2],
    capacities: [u64; 2],
    capacity: u64,
}

impl Segments {
    /// Parts of a fifth and four fifths.
    pub(super) fn new(capacity: u64) -> Self {
        let part = |fifths: f64| (fifths / 5.0 * capacity as f64) as u64;
        Self {
            queues: [Queue::default(), Queue::default()],
            capacities: [part(1.0), part(4.0)],
            capacity,
        }
    }

    pub(super) fn weight(&self) -> u64 {
        self.queues.iter().map(Queue::weight).sum()
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.queues.iter().any(|queue| queue.contains(key))
    }

    /// Whether a key of this weight is taken in at all.
    pub(super) fn admits(&self, weight: u64) -> bool {
        weight <= self.capacities[0]
    }

    pub(super) fn has_room(&self, weight: u64) -> bool {
        self.weight() + weight <= self.capacity
    }

    /// A resident key is used.
    pub(super) fn hit(&mut self, key: Key) {
        if self.queues[1].contains(key) {
            self.queues[1].renew(key);
            return;
        }
        let weight = self.queues[0].remove(key).expect("the key is resident");
        self.queues[1].push_back(key, weight);
        while self.queues[1].weight() > self.capacities[1] {
            let (key, weight) = self.queues[1].pop_front().expect("it has weight");
            self.queues[0].push_back(key, weight);
            while self.queues[0].weight() > self.capacities[0] {
                self.evict();
            }
        }
    }

    pub(super) fn insert(&mut self, key: Key, weight: u64) {
        let mut parts = self.queues.iter().zip(self.capacities);
        let roomy = parts.position(|(queue, capacity)| queue.weight() + weight <= capacity);
        if roomy.is_none() {
            while !self.has_room(weight) {
                self.evict();
            }
        }
        self.queues[roomy.unwrap_or(0)].push_back(key, weight);
    }

    /// The next to leave.
    pub(super) fn victim(&self) -> Option<Key> {
        self.queues.iter().find_map(Queue::front)
    }

    pub(super) fn evict(&mut self) {
        let filled = self.queues.iter_mut().find(|queue| !queue.is_empty());
        if let Some(queue) = filled {
            queue.pop_front();
        }
    }
}
