//! CLOCK: a queue that gives a key another round for each hit counted, up to a maximum.

use super::queue::Queue;
use super::{Access, Key, KeyMap, ReferencePolicy};

/// CLOCK with counters of a few bits.
#[derive(Debug)]
pub struct Clock {
    queue: Queue,
    counts: KeyMap<u8>,
    max: u8,
}

impl Clock {
    /// Counters that saturate at `max`.
    pub fn new(max: u8) -> Self {
        Self {
            queue: Queue::default(),
            counts: KeyMap::default(),
            max,
        }
    }
}

impl ReferencePolicy for Clock {
    fn hit(&mut self, access: &Access) {
        let count = self
            .counts
            .get_mut(&access.key)
            .expect("a hit key is resident");
        *count = self.max.min(*count + 1);
    }

    fn evict(&mut self) -> Option<Key> {
        loop {
            let key = self.queue.front()?;
            match self.counts.get_mut(&key).expect("a queued key has a count") {
                0 => break,
                count => *count -= 1,
            }
            self.queue.renew(key);
        }
        let (key, _) = self.queue.pop_front()?;
        self.counts.remove(&key);
        Some(key)
    }

    fn insert(&mut self, access: &Access) {
        self.queue.push_back(access.key, access.weight);
        self.counts.insert(access.key, 0);
    }
}
