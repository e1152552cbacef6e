//! Sampled LRU: looks at a few keys chosen by lot and evicts the one unused for longest, among them
//! and the best candidates of earlier evictions, as Redis does.

use super::{Access, Key, ReferencePolicy};
use crate::simulate::key_hash;
use std::collections::HashMap;

/// Candidates that are remembered.
const POOL: usize = 16;

/// LRU by lot; the same seed gives the same choices.
#[derive(Debug)]
pub struct SampledLru {
    /// All keys, in no order, and where each stands.
    keys: Vec<Key>,
    places: HashMap<Key, usize>,
    last_use: HashMap<Key, u64>,
    pool: Vec<Key>,
    samples: u8,
    seed: u64,
}

impl SampledLru {
    /// Looks at `samples` keys for each victim.
    pub fn new(samples: u8, seed: u64) -> Self {
        Self {
            keys: Vec::new(),
            places: HashMap::new(),
            last_use: HashMap::new(),
            pool: Vec::new(),
            samples,
            seed,
        }
    }
}

impl ReferencePolicy for SampledLru {
    fn hit(&mut self, access: &Access) {
        self.last_use.insert(access.key, access.time);
    }

    fn evict(&mut self) -> Option<Key> {
        for _ in 0..self.samples {
            self.seed = self.seed.wrapping_add(1);
            let place = key_hash(self.seed) % self.keys.len().max(1) as u64;
            self.pool.extend(self.keys.get(place as usize));
        }
        self.pool.retain(|key| self.last_use.contains_key(key));
        self.pool.sort_by_key(|key| self.last_use[key]);
        self.pool.dedup();
        self.pool.truncate(POOL);
        let victim = *self.pool.first()?;
        self.last_use.remove(&victim);
        let place = self
            .places
            .remove(&victim)
            .expect("a candidate is resident");
        self.keys.swap_remove(place);
        if let Some(&moved) = self.keys.get(place) {
            self.places.insert(moved, place);
        }
        Some(victim)
    }

    fn insert(&mut self, access: &Access) {
        self.places.insert(access.key, self.keys.len());
        self.keys.push(access.key);
        self.last_use.insert(access.key, access.time);
    }
}
