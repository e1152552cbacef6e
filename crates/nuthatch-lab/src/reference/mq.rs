//! MQ: LRU queues by the logarithm of a key's uses. A key left alone for a lifetime sinks one
//! queue; a key that returns goes on where its count was when it left.
//!
//! Y. Zhou, J. F. Philbin and K. Li, "The Multi-Queue Replacement Algorithm for Second Level Buffer
//! Caches", USENIX ATC 2001, with eight queues, a lifetime of 10,000 requests and four times as
//! many ghosts as entries.

use super::queue::Queue;
use super::{Access, Key, KeyMap, ReferencePolicy};

const QUEUES: usize = 8;
const LIFETIME: u64 = 10_000;
const GHOSTS_PER_ENTRY: u64 = 4;

#[derive(Clone, Copy, Debug)]
struct Entry {
    uses: u64,
    queue: usize,
    expires: u64,
}

/// Multi-Queue.
#[derive(Debug)]
pub struct Mq {
    queues: [Queue; QUEUES],
    entries: KeyMap<Entry>,
    ghosts: Queue,
    ghost_uses: KeyMap<u64>,
    ghost_capacity: u64,
    /// The uses that the key of the miss at hand had when it left.
    uses_before: u64,
}

impl Mq {
    /// A cache of this weight.
    pub fn new(capacity: u64) -> Self {
        Self {
            queues: Default::default(),
            entries: KeyMap::default(),
            ghosts: Queue::default(),
            ghost_uses: KeyMap::default(),
            ghost_capacity: capacity.saturating_mul(GHOSTS_PER_ENTRY),
            uses_before: 0,
        }
    }

    fn enqueue(&mut self, key: Key, weight: u64, uses: u64, time: u64) {
        let queue = (uses.ilog2() as usize).min(QUEUES - 1);
        self.entries.insert(
            key,
            Entry {
                uses,
                queue,
                expires: time + LIFETIME,
            },
        );
        self.queues[queue].push_back(key, weight);
    }

    /// Moves the front of each queue down if it has expired.
    fn sink(&mut self, time: u64) {
        for upper in 1..QUEUES {
            let Some(key) = self.queues[upper].front() else {
                continue;
            };
            let entry = self
                .entries
                .get_mut(&key)
                .expect("a queued key has an entry");
            if entry.expires < time {
                *entry = Entry {
                    uses: entry.uses,
                    queue: upper - 1,
                    expires: time + LIFETIME,
                };
                let (key, weight) = self.queues[upper].pop_front().expect("it has a front");
                self.queues[upper - 1].push_back(key, weight);
            }
        }
    }
}

impl ReferencePolicy for Mq {
    fn hit(&mut self, access: &Access) {
        self.sink(access.time);
        let entry = self.entries[&access.key];
        let weight = self.queues[entry.queue].remove(access.key);
        let weight = weight.expect("an entry knows its queue");
        self.enqueue(access.key, weight, entry.uses + 1, access.time);
    }

    fn miss(&mut self, access: &Access) {
        self.sink(access.time);
        self.ghosts.remove(access.key);
        self.uses_before = self.ghost_uses.remove(&access.key).unwrap_or(0);
    }

    fn evict(&mut self) -> Option<Key> {
        let (key, weight) = self.queues.iter_mut().find_map(Queue::pop_front)?;
        let entry = self
            .entries
            .remove(&key)
            .expect("a queued key has an entry");
        self.ghosts.push_back(key, weight);
        self.ghost_uses.insert(key, entry.uses);
        while self.ghosts.weight() > self.ghost_capacity {
            let (ghost, _) = self.ghosts.pop_front().expect("ghosts have weight");
            self.ghost_uses.remove(&ghost);
        }
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.enqueue(access.key, access.weight, self.uses_before + 1, access.time);
    }
}
