//! A queue whose members can be found and taken out anywhere: what the references order keys with.
//!
//! Each member holds a ticket, and an ordered map from ticket to key is the queue. Tickets grow
//! towards the back and, for those let in at the front, shrink towards it.

use super::{Key, KeyMap};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Member {
    ticket: i64,
    weight: u64,
}

/// Keys in order of arrival, each with its weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    next_back: i64,
    next_front: i64,
    order: BTreeMap<i64, Key>,
    members: KeyMap<Member>,
    weight: u64,
}

impl Queue {
    pub(super) fn push_back(&mut self, key: Key, weight: u64) {
        self.push(key, weight, self.next_back);
        self.next_back += 1;
    }

    pub(super) fn push_front(&mut self, key: Key, weight: u64) {
        self.next_front -= 1;
        self.push(key, weight, self.next_front);
    }

    fn push(&mut self, key: Key, weight: u64, ticket: i64) {
        self.order.insert(ticket, key);
        let before = self.members.insert(key, Member { ticket, weight });
        assert!(before.is_none(), "key {key} is in the queue already");
        self.weight += weight;
    }

    /// Takes a key out and returns its weight.
    pub(super) fn remove(&mut self, key: Key) -> Option<u64> {
        let member = self.members.remove(&key)?;
        self.order.remove(&member.ticket);
        self.weight -= member.weight;
        Some(member.weight)
    }

    /// Takes the front out and returns it with its weight.
    pub(super) fn pop_front(&mut self) -> Option<(Key, u64)> {
        let key = self.front()?;
        self.remove(key).map(|weight| (key, weight))
    }

    /// Sends a member to the back.
    pub(super) fn renew(&mut self, key: Key) {
        let weight = self.remove(key).expect("the key is in the queue");
        self.push_back(key, weight);
    }

    pub(super) fn front(&self) -> Option<Key> {
        self.order.values().next().copied()
    }

    /// The member right behind `key`.
    pub(super) fn behind(&self, key: Key) -> Option<Key> {
        let ticket = self.members[&key].ticket;
        self.order.range(ticket + 1..).next().map(|(_, &key)| key)
    }

    /// The weight of a member.
    pub(super) fn weight_of(&self, key: Key) -> Option<u64> {
        self.members.get(&key).map(|member| member.weight)
    }

    /// The weight of the front.
    pub(super) fn front_weight(&self) -> Option<u64> {
        self.weight_of(self.front()?)
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.members.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The sum of the members' weights.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}
