//! The second classic design: a lock-free map of wrapped entries.
//!
//! The map is papaya's, which never blocks. Reads store the time into the entry. The map has no
//! order, so whoever inserts into a full cache copies every entry's key and time into a temporary
//! map, looks for the least recently used there and deletes it: O(n) time and memory for each
//! eviction, and as many temporary maps at once as threads evict. (The copy borrows the keys; with
//! owned keys it would cost a clone of each as well.)

use super::{BenchCache, Hasher, Key, Value, Victims};
use ::nuthatch::Clock;
use papaya::{Guard, HashMapRef};
use std::collections::HashMap;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

/// A cache of the second classic design.
pub(super) struct ClassicLockFree<K, V> {
    map: papaya::HashMap<K, Entry<V>, Hasher>,
    /// Entries in the map, less those whose insertion has yet to count them: signed, as one may be
    /// deleted before it was counted.
    len: AtomicIsize,
    capacity: isize,
    victims: usize,
    clock: Clock,
}

struct Entry<V> {
    value: V,
    /// Written by readers.
    accessed_ns: AtomicU64,
}

impl<K: Key, V: Value> ClassicLockFree<K, V> {
    /// An empty cache for `capacity` entries.
    pub(super) fn new(capacity: usize, victims: Victims) -> Self {
        Self::with_clock(capacity, victims, Clock::system())
    }

    fn with_clock(capacity: usize, victims: Victims, clock: Clock) -> Self {
        Self {
            map: papaya::HashMap::with_capacity_and_hasher(capacity, Hasher::default()),
            len: AtomicIsize::new(0),
            capacity: capacity as isize,
            victims: victims.of(capacity),
            clock,
        }
    }

    /// Copies the map, finds the least recently used entries and deletes those that nobody else
    /// deleted meanwhile.
    fn evict<G: Guard>(&self, map: &HashMapRef<'_, K, Entry<V>, Hasher, G>) {
        let copy: HashMap<&K, u64, Hasher> = map
            .iter()
            .map(|(key, entry)| (key, entry.accessed_ns.load(Ordering::Relaxed)))
            .collect();
        let deleted = if self.victims == 1 {
            let oldest = copy.iter().min_by_key(|&(_, accessed_ns)| accessed_ns);
            isize::from(oldest.is_some_and(|(key, _)| map.remove(*key).is_some()))
        } else {
            let mut by_access: Vec<_> = copy.into_iter().collect();
            by_access.sort_unstable_by_key(|&(_, accessed_ns)| accessed_ns);
            by_access
                .iter()
                .take(self.victims)
                .filter(|(key, _)| map.remove(*key).is_some())
                .count() as isize
        };
        self.len.fetch_sub(deleted, Ordering::Relaxed);
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for ClassicLockFree<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let map = self.map.pin();
        let entry = map.get(key)?;
        // Relaxed: a time that guards no other memory.
        entry
            .accessed_ns
            .store(self.clock.now_ns(), Ordering::Relaxed);
        Some(look(&entry.value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        let entry = Entry {
            value,
            accessed_ns: AtomicU64::new(self.clock.now_ns()),
        };
        let map = self.map.pin();
        if map.insert(key, entry).is_none() {
            // Relaxed: a count that guards no other memory. It is raised after the entry is in the
            // map, so as long as it is above the capacity there is something to evict. Threads that
            // see it there at once evict one too many each: nothing serialises them.
            self.len.fetch_add(1, Ordering::Relaxed);
            while self.len.load(Ordering::Relaxed) > self.capacity {
                self.evict(&map);
            }
        }
    }

    fn resident(&self) -> Option<usize> {
        Some(self.map.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_entry_read_longest_ago_is_evicted() {
        let (clock, hands) = Clock::manual();
        let cache = ClassicLockFree::with_clock(3, Victims::One, clock);
        for key in 0..3 {
            hands.advance(Duration::from_nanos(1));
            cache.insert(key, key);
        }
        hands.advance(Duration::from_nanos(1));
        assert_eq!(cache.read(&0, |&value| value), Some(0));
        hands.advance(Duration::from_nanos(1));
        cache.insert(3, 3);
        let resident: Vec<_> = (0..4).filter(|key| cache.hit(key)).collect();
        assert_eq!(resident, [0, 2, 3]);
    }

    #[test]
    fn a_batch_evicts_the_oldest_tenth() {
        let (clock, hands) = Clock::manual();
        let cache = ClassicLockFree::with_clock(30, Victims::Tenth, clock);
        for key in 0..31 {
            hands.advance(Duration::from_nanos(1));
            cache.insert(key, ());
        }
        let resident: Vec<_> = (0..31).filter(|key| cache.hit(key)).collect();
        assert_eq!(resident, (3..31).collect::<Vec<_>>());
    }

    #[test]
    fn replacing_a_value_of_a_full_cache_evicts_nothing() {
        let cache = ClassicLockFree::new(2, Victims::One);
        cache.insert(1, 'a');
        cache.insert(2, 'b');
        cache.insert(2, 'c');
        assert_eq!(cache.read(&1, |&value| value), Some('a'));
        assert_eq!(cache.read(&2, |&value| value), Some('c'));
    }

    #[test]
    fn threads_that_evict_at_once_keep_the_bound_and_most_entries() {
        const THREADS: usize = 4;
        let cache = ClassicLockFree::new(50, Victims::One);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let cache = &cache;
                scope.spawn(move || {
                    for key in 0..500 {
                        cache.insert(thread * 1000 + key, ());
                    }
                });
            }
        });
        let resident = cache.resident().unwrap();
        assert!((50 - THREADS + 1..=50).contains(&resident), "{resident}");
    }
}
