//! Which hashes have fields that will be due, and when the first of them is.
//!
//! A key is named here from the first deadline that one of its fields gets until it is visited at or
//! after that time. The visitor removes the fields that are due and names the key anew for the next
//! deadline. So it may be visited too early, which costs a look, and never too late.
//!
//! Keys leave the keyspace without notice here. So that their names do not pile up, all are compared
//! with the keyspace whenever their number has doubled.

use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys below which nothing is compared.
const COMPARED_FROM: usize = 1024;

#[derive(Debug)]
struct Keys {
    /// When each is to be visited, in milliseconds since 1970.
    visits: HashMap<Arc<[u8]>, u64, foldhash::quality::RandomState>,
    /// The same by time, and what was true before.
    order: BinaryHeap<Reverse<(u64, Arc<[u8]>)>>,
    /// The number of keys at which they are compared with the keyspace.
    compare_at: usize,
}

impl Keys {
    /// Builds the order anew once most of it is untrue.
    fn drop_untrue(&mut self) {
        if self.order.len() > 2 * self.visits.len() + COMPARED_FROM {
            self.order = order(&self.visits);
        }
    }

    /// Gives memory back after many keys have left.
    fn shrink(&mut self) {
        let compare_at = (2 * self.visits.len()).max(COMPARED_FROM);
        if compare_at < self.compare_at {
            self.compare_at = compare_at;
            self.visits.shrink_to(compare_at);
            self.order = order(&self.visits);
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct FieldDeadlines {
    keys: Mutex<Keys>,
    /// The first visit, or `u64::MAX`.
    next_ms: AtomicU64,
}

impl Default for FieldDeadlines {
    fn default() -> Self {
        Self {
            keys: Mutex::new(Keys {
                visits: HashMap::default(),
                order: BinaryHeap::new(),
                compare_at: COMPARED_FROM,
            }),
            next_ms: AtomicU64::new(u64::MAX),
        }
    }
}

impl FieldDeadlines {
    /// A field of `key` has this deadline from now on.
    pub fn note(&self, key: &[u8], deadline_ms: u64) {
        let keys = &mut *self.keys.lock();
        let key = match keys.visits.get_mut(key) {
            Some(visit_ms) if *visit_ms <= deadline_ms => return,
            Some(visit_ms) => {
                *visit_ms = deadline_ms;
                let (key, _) = keys.visits.get_key_value(key).expect("just found");
                Arc::clone(key)
            }
            None => {
                let key: Arc<[u8]> = key.into();
                keys.visits.insert(Arc::clone(&key), deadline_ms);
                key
            }
        };
        keys.order.push(Reverse((deadline_ms, key)));
        keys.drop_untrue();
        self.set_next(keys);
    }

    fn set_next(&self, keys: &Keys) {
        let next_ms = keys.order.peek().map_or(u64::MAX, |Reverse((ms, _))| *ms);
        self.next_ms.store(next_ms, Ordering::Relaxed);
    }

    /// Whether some key is named, or was a moment ago.
    #[inline]
    pub fn names_any(&self) -> bool {
        self.next_ms.load(Ordering::Relaxed) != u64::MAX
    }

    /// Whether a key is to be visited.
    #[inline]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.next_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// A key to be visited, which is no longer named here.
    pub fn take_due(&self, now_ms: u64) -> Option<Arc<[u8]>> {
        let keys = &mut *self.keys.lock();
        let mut taken = None;
        while let Some(Reverse((visit_ms, _))) = keys.order.peek()
            && *visit_ms <= now_ms
            && taken.is_none()
        {
            let Reverse((visit_ms, key)) = keys.order.pop().expect("just looked at");
            if keys.visits.get(&key) == Some(&visit_ms) {
                keys.visits.remove(&key);
                taken = Some(key);
            }
        }
        if keys.visits.len() < keys.compare_at / 8 {
            keys.shrink();
        }
        self.set_next(keys);
        taken
    }

    /// All keys, if their number has doubled. Of those that have no field with a deadline any more the
    /// caller notes one that is over, so that they are visited and leave.
    pub fn to_compare(&self) -> Vec<Arc<[u8]>> {
        let keys = &mut *self.keys.lock();
        if keys.visits.len() < keys.compare_at {
            return Vec::new();
        }
        keys.compare_at = 2 * keys.visits.len();
        keys.visits.keys().map(Arc::clone).collect()
    }

    /// No field of `key` has a deadline any more. The caller holds the key's stripe.
    pub fn forget(&self, key: &[u8]) {
        let keys = &mut *self.keys.lock();
        keys.visits.remove(key);
        keys.drop_untrue();
        self.set_next(keys);
    }

    /// No key has any fields.
    pub fn clear(&self) {
        let keys = &mut *self.keys.lock();
        keys.visits = HashMap::default();
        keys.order = BinaryHeap::new();
        keys.compare_at = COMPARED_FROM;
        self.set_next(keys);
    }

    /// The number of keys named.
    pub fn len(&self) -> usize {
        self.keys.lock().visits.len()
    }

    /// Whether no key is named.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn order<S>(visits: &HashMap<Arc<[u8]>, u64, S>) -> BinaryHeap<Reverse<(u64, Arc<[u8]>)>> {
    visits
        .iter()
        .map(|(key, &visit_ms)| Reverse((visit_ms, Arc::clone(key))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{COMPARED_FROM, FieldDeadlines};

    #[test]
    fn a_key_is_visited_at_its_earliest_deadline_and_once() {
        let deadlines = FieldDeadlines::default();
        assert!(!deadlines.is_due(u64::MAX - 1));
        deadlines.note(b"a", 50);
        deadlines.note(b"a", 70);
        deadlines.note(b"a", 30);
        deadlines.note(b"b", 40);
        assert!(!deadlines.is_due(29) && deadlines.is_due(30));
        assert_eq!(deadlines.take_due(29), None);
        assert_eq!(deadlines.take_due(40).as_deref(), Some(&b"a"[..]));
        assert_eq!(deadlines.take_due(40).as_deref(), Some(&b"b"[..]));
        assert_eq!(deadlines.take_due(100), None);
        assert!(deadlines.is_empty() && !deadlines.is_due(100));
    }

    #[test]
    fn keys_are_compared_when_their_number_has_doubled() {
        let deadlines = FieldDeadlines::default();
        let key = |number: usize| number.to_string().into_bytes();
        for number in 0..COMPARED_FROM {
            assert!(deadlines.to_compare().is_empty());
            deadlines.note(&key(number), number as u64);
        }
        let all = deadlines.to_compare();
        assert_eq!(all.len(), COMPARED_FROM);
        assert!(deadlines.to_compare().is_empty());
        for gone in &all[1..] {
            deadlines.note(gone, 0);
        }
        let mut visited = 0;
        while deadlines.take_due(0).is_some() {
            visited += 1;
        }
        // The key with the deadline 0 may be the one that was not noted.
        assert!(visited >= COMPARED_FROM - 1, "{visited}");
        assert!(deadlines.len() <= 1);
        assert_eq!(deadlines.keys.lock().compare_at, COMPARED_FROM);
    }

    #[test]
    fn a_key_that_is_forgotten_is_not_visited() {
        let deadlines = FieldDeadlines::default();
        deadlines.note(b"a", 5);
        deadlines.forget(b"a");
        assert_eq!(deadlines.take_due(u64::MAX), None);
        deadlines.note(b"a", 7);
        assert_eq!(deadlines.take_due(6), None);
        assert!(deadlines.take_due(7).is_some());
    }

    #[test]
    fn what_is_no_longer_true_does_not_pile_up() {
        let deadlines = FieldDeadlines::default();
        for deadline_ms in (0..100_000).rev() {
            deadlines.note(b"key", deadline_ms);
        }
        assert!(deadlines.keys.lock().order.len() <= COMPARED_FROM + 2);
        assert!(deadlines.take_due(0).is_some());
    }
}
