//! libCacheSim's LIRS: a key heavier than the share of HIR keys is turned away unless it is on the
//! stack, and evicted when it turns from LIR to HIR.
//!
//! Its quirks are modelled too, as they decide by bytes: room among the LIR keys is also made when
//! an HIR key that has left the stack is hit, which then stays HIR; that may evict the very key that
//! was hit, which goes on to be taken for resident; and a returning key keeps the weight it had.

use super::super::queue::Queue;
use super::super::{Access, Key, KeyMap};
use super::ForeignCache;

/// What a key on the stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lir,
    Hir,
    Ghost,
}

/// LIRS.
#[derive(Debug)]
pub(super) struct Lirs {
    /// S, its bottom in front.
    stack: Queue,
    states: KeyMap<State>,
    /// Q.
    hir: Queue,
    ghosts: Queue,
    capacity: u64,
    used: u64,
    lir_weight: u64,
    lir_capacity: u64,
    hir_capacity: u64,
}

impl Lirs {
    pub(super) fn new(capacity: u64) -> Self {
        let hir_capacity = ((0.01 * capacity as f64) as u64).max(1);
        Self {
            stack: Queue::default(),
            states: KeyMap::default(),
            hir: Queue::default(),
            ghosts: Queue::default(),
            capacity,
            used: 0,
            lir_weight: 0,
            lir_capacity: capacity - hir_capacity,
            hir_capacity,
        }
    }

    fn push_stack(&mut self, key: Key, weight: u64, state: State) {
        self.stack.push_back(key, weight);
        self.states.insert(key, state);
    }

    /// Takes what is not LIR off the bottom of the stack; never the top.
    fn prune(&mut self) {
        while self.stack.len() > 1
            && let Some(key) = self.stack.front()
            && self.states[&key] != State::Lir
        {
            self.stack.remove(key);
            self.states.remove(&key);
            self.ghosts.remove(key);
        }
    }

    /// Turns the bottom of the stack into an HIR key, or evicts it if it is too heavy for one.
    fn demote(&mut self) {
        let (key, weight) = self.stack.pop_front().expect("LIR keys are on the stack");
        self.states.remove(&key);
        self.lir_weight -= weight;
        self.used -= weight;
        if weight <= self.hir_capacity {
            self.make_hir_room(weight);
            self.hir.push_back(key, weight);
            self.used += weight;
        }
        self.prune();
    }

    fn make_lir_room(&mut self, weight: u64) {
        while self.lir_weight + weight > self.lir_capacity {
            self.demote();
        }
    }

    fn make_hir_room(&mut self, weight: u64) {
        while self.hir.weight() + weight > self.hir_capacity {
            self.evict_hir();
        }
    }

    fn evict_hir(&mut self) {
        let (key, weight) = self.hir.pop_front().expect("there are HIR keys");
        if let Some(state) = self.states.get_mut(&key) {
            *state = State::Ghost;
            self.ghosts.push_back(key, weight);
        }
        self.used -= weight;
    }

    fn hit_hir_on_stack(&mut self, key: Key, weight: u64) {
        if let Some(weight) = self.hir.remove(key) {
            self.used -= weight;
        }
        self.make_lir_room(weight);
        self.states.insert(key, State::Lir);
        self.lir_weight += weight;
        self.used += weight;
    }

    fn hit_hir_off_stack(&mut self, key: Key) {
        self.hir.renew(key);
        let weight = self.hir.weight_of(key).expect("it was renewed");
        self.make_lir_room(weight);
        self.push_stack(key, weight, State::Hir);
    }

    /// A ghost returns, and is on top of the stack by now.
    fn return_ghost(&mut self, key: Key, weight: u64) {
        let old_weight = self.stack.weight_of(key).expect("it is on the stack");
        self.make_lir_room(old_weight);
        self.ghosts.remove(key);
        while self.used + weight > self.capacity {
            while self.hir.weight() >= self.hir_capacity {
                self.evict_hir();
            }
            self.demote();
        }
        self.states.insert(key, State::Lir);
        self.lir_weight += old_weight;
        self.used += old_weight;
    }

    fn admit(&mut self, key: Key, weight: u64) {
        let is_lir = self.lir_weight + weight <= self.lir_capacity;
        if is_lir {
            self.lir_weight += weight;
            self.push_stack(key, weight, State::Lir);
        } else {
            self.make_hir_room(weight);
            self.push_stack(key, weight, State::Hir);
            self.hir.push_back(key, weight);
        }
        self.used += weight;
    }

    fn serve(&mut self, key: Key, weight: u64) -> bool {
        if let Some(&state) = self.states.get(&key) {
            self.stack.renew(key);
            if self.hir.contains(key) {
                self.hir.renew(key);
            }
            match state {
                State::Lir => self.prune(),
                State::Hir => {
                    let weight = self.stack.weight_of(key).expect("it is on the stack");
                    self.hit_hir_on_stack(key, weight);
                }
                State::Ghost => {
                    if weight <= self.capacity {
                        self.return_ghost(key, weight);
                    }
                    return false;
                }
            }
            return true;
        }
        if self.hir.contains(key) {
            self.hit_hir_off_stack(key);
            return true;
        }
        if weight <= self.lir_capacity && weight <= self.hir_capacity {
            self.admit(key, weight);
        }
        false
    }
}

impl ForeignCache for Lirs {
    fn request(&mut self, access: &Access) -> bool {
        let hit = self.serve(access.key, access.weight);
        while self.stack.weight() > 2 * self.capacity
            && let Some((oldest, _)) = self.ghosts.pop_front()
        {
            self.stack.remove(oldest);
            self.states.remove(&oldest);
        }
        hit
    }
}
