//! 2Q: newcomers pass through a FIFO queue, and only those asked for again after they left it come
//! into the LRU queue.
//!
//! T. Johnson and D. Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement
//! Algorithm", VLDB 1994, the full version.

use super::queue::Queue;
use super::{Access, Key, ReferencePolicy, share};

/// What ghosts remember, as a share of the weight held.
const GHOST_SHARE: f64 = 0.5;

/// 2Q.
#[derive(Debug)]
pub struct TwoQ {
    newcomers: Queue,
    ghosts: Queue,
    main: Queue,
    newcomer_share: f64,
    returns: bool,
}

impl TwoQ {
    /// Newcomers get this share of the weight held.
    pub fn new(newcomer_share: f64) -> Self {
        Self {
            newcomers: Queue::default(),
            ghosts: Queue::default(),
            main: Queue::default(),
            newcomer_share,
            returns: false,
        }
    }
}

impl ReferencePolicy for TwoQ {
    fn hit(&mut self, access: &Access) {
        if self.main.contains(access.key) {
            self.main.renew(access.key);
        }
    }

    fn miss(&mut self, access: &Access) {
        self.returns = self.ghosts.remove(access.key).is_some();
    }

    fn evict(&mut self) -> Option<Key> {
        let held = self.newcomers.weight() + self.main.weight();
        let newcomer_capacity = share(held, self.newcomer_share);
        if self.newcomers.weight() > newcomer_capacity || self.main.is_empty() {
            let (key, weight) = self.newcomers.pop_front()?;
            self.ghosts.push_back(key, weight);
            while self.ghosts.weight() > share(held, GHOST_SHARE) {
                self.ghosts.pop_front();
            }
            return Some(key);
        }
        self.main.pop_front().map(|(key, _)| key)
    }

    fn insert(&mut self, access: &Access) {
        let queue = if self.returns {
            &mut self.main
        } else {
            &mut self.newcomers
        };
        queue.push_back(access.key, access.weight);
    }
}
