//! libCacheSim's BeladySize: evicts the greatest product of size and distance among 128 objects drawn
//! by lot, with repetition. It drops an object when it is asked for the last time; one that is asked
//! for once only is not taken in, but room is made for it all the same.

use super::super::{Access, Key, KeyMap, NEVER};
use super::ForeignCache;
use crate::simulate::key_hash;

/// Objects looked at to choose a victim.
const SAMPLE: u64 = 128;

#[derive(Clone, Copy, Debug)]
struct Resident {
    key: Key,
    weight: u64,
    next_use: u64,
}

/// Belady's policy by size.
#[derive(Debug)]
pub(super) struct BeladySize {
    residents: Vec<Resident>,
    /// Where each is among them.
    places: KeyMap<usize>,
    used: u64,
    capacity: u64,
    random: u64,
}

impl BeladySize {
    pub(super) fn new(capacity: u64, seed: u64) -> Self {
        Self {
            residents: Vec::new(),
            places: KeyMap::default(),
            used: 0,
            capacity,
            random: key_hash(seed),
        }
    }

    fn draw(&mut self) -> usize {
        self.random = self.random.wrapping_add(1);
        (key_hash(self.random) % self.residents.len() as u64) as usize
    }

    fn evict(&mut self, now: u64) {
        let sample = (0..SAMPLE).map(|_| self.draw()).collect::<Vec<_>>();
        let cost = |&place: &usize| {
            let Resident {
                weight, next_use, ..
            } = self.residents[place];
            u128::from(weight) * u128::from(next_use - now)
        };
        let victim = sample.into_iter().max_by_key(cost);
        self.remove(victim.expect("the sample has objects"));
    }

    fn remove(&mut self, place: usize) {
        let removed = self.residents.swap_remove(place);
        self.places.remove(&removed.key);
        self.used -= removed.weight;
        if let Some(moved) = self.residents.get(place) {
            self.places.insert(moved.key, place);
        }
    }
}

impl ForeignCache for BeladySize {
    fn request(&mut self, access: &Access) -> bool {
        if let Some(&place) = self.places.get(&access.key) {
            match access.next_use {
                NEVER => self.remove(place),
                next_use => self.residents[place].next_use = next_use,
            }
            return true;
        }
        if access.weight > self.capacity {
            return false;
        }
        while self.used + access.weight > self.capacity {
            self.evict(access.time);
        }
        if access.next_use == NEVER {
            return false;
        }
        self.places.insert(access.key, self.residents.len());
        self.residents.push(Resident {
            key: access.key,
            weight: access.weight,
            next_use: access.next_use,
        });
        self.used += access.weight;
        false
    }
}
