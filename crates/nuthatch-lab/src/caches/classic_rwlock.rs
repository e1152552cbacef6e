//! The first classic design: one `RwLock` around a hash map.
//!
//! Reads share the lock and store the time into the entry. A full cache evicts under the exclusive
//! lock: it sorts all entries by their last access and removes the oldest, O(n log n) for each
//! eviction however many it removes. A thread sweeps the map each minute, also under the exclusive
//! lock, and removes entries that nobody asked for in a while.

use super::{BenchCache, Hasher, Key, Value, Victims};
use ::nuthatch::Clock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Entries that were not read or written for this long are swept away.
const IDLE_LIMIT_NS: u64 = 10 * 60 * 1_000_000_000;

/// A cache of the first classic design. Dropping it ends its sweeper.
pub(super) struct ClassicRwLock<K, V> {
    shared: Arc<Shared<K, V>>,
    /// Never sent on: its disconnection tells the sweeper to end.
    stop: Option<SyncSender<()>>,
    sweeper: Option<JoinHandle<()>>,
}

struct Shared<K, V> {
    map: RwLock<HashMap<K, Entry<V>, Hasher>>,
    capacity: usize,
    victims: usize,
    clock: Clock,
}

struct Entry<V> {
    value: V,
    /// Written by readers under the shared lock.
    accessed_ns: AtomicU64,
}

impl<K: Key, V: Value> ClassicRwLock<K, V> {
    /// An empty cache for `capacity` entries.
    pub(super) fn new(capacity: usize, victims: Victims) -> Self {
        Self::with_clock(capacity, victims, Clock::system())
    }

    fn with_clock(capacity: usize, victims: Victims, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            map: RwLock::new(HashMap::with_capacity_and_hasher(
                capacity,
                Hasher::default(),
            )),
            capacity,
            victims: victims.of(capacity),
            clock,
        });
        let (stop, stopped) = mpsc::sync_channel(0);
        let swept = Arc::clone(&shared);
        let sweeper = std::thread::Builder::new()
            .name("sweeper".into())
            .stack_size(64 << 10)
            .spawn(move || {
                while stopped.recv_timeout(SWEEP_PERIOD) == Err(RecvTimeoutError::Timeout) {
                    swept.sweep();
                }
            })
            .expect("the machine can start one more thread");
        Self {
            shared,
            stop: Some(stop),
            sweeper: Some(sweeper),
        }
    }
}

impl<K: Key, V> Shared<K, V> {
    /// Removes the least recently used entries.
    fn evict(&self, map: &mut HashMap<K, Entry<V>, Hasher>) {
        let mut by_access: Vec<_> = map
            .iter()
            .map(|(key, entry)| (entry.accessed_ns.load(Ordering::Relaxed), key))
            .collect();
        by_access.sort_unstable_by_key(|&(accessed_ns, _)| accessed_ns);
        let victims: Vec<K> = by_access
            .iter()
            .take(self.victims)
            .map(|&(_, key)| key.clone())
            .collect();
        for victim in &victims {
            map.remove(victim);
        }
    }

    fn sweep(&self) {
        let now_ns = self.clock.now_ns();
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.retain(|_, entry| now_ns.saturating_sub(*entry.accessed_ns.get_mut()) < IDLE_LIMIT_NS);
    }
}

impl<K: Key, V: Value> BenchCache<K, V> for ClassicRwLock<K, V> {
    #[inline]
    fn read<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let map = self
            .shared
            .map
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = map.get(key)?;
        // Relaxed: a time that guards no other memory.
        entry
            .accessed_ns
            .store(self.shared.clock.now_ns(), Ordering::Relaxed);
        Some(look(&entry.value))
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        let entry = Entry {
            value,
            accessed_ns: AtomicU64::new(self.shared.clock.now_ns()),
        };
        let mut map = self
            .shared
            .map
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if map.len() >= self.shared.capacity && !map.contains_key(&key) {
            self.shared.evict(&mut map);
        }
        map.insert(key, entry);
    }

    fn resident(&self) -> Option<usize> {
        let map = self
            .shared
            .map
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Some(map.len())
    }
}

impl<K, V> Drop for ClassicRwLock<K, V> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(sweeper) = self.sweeper.take() {
            sweeper.join().expect("the sweeper does not panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_read_longest_ago_is_evicted() {
        let (clock, hands) = Clock::manual();
        let cache = ClassicRwLock::with_clock(3, Victims::One, clock);
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
        let cache = ClassicRwLock::with_clock(30, Victims::Tenth, clock);
        for key in 0..31 {
            hands.advance(Duration::from_nanos(1));
            cache.insert(key, ());
        }
        let resident: Vec<_> = (0..31).filter(|key| cache.hit(key)).collect();
        assert_eq!(resident, (3..31).collect::<Vec<_>>());
    }

    #[test]
    fn replacing_a_value_of_a_full_cache_evicts_nothing() {
        let cache = ClassicRwLock::new(2, Victims::One);
        cache.insert(1, 'a');
        cache.insert(2, 'b');
        cache.insert(2, 'c');
        assert_eq!(cache.read(&1, |&value| value), Some('a'));
        assert_eq!(cache.read(&2, |&value| value), Some('c'));
    }

    #[test]
    fn a_sweep_removes_what_was_idle_for_too_long() {
        let (clock, hands) = Clock::manual();
        let cache = ClassicRwLock::with_clock(8, Victims::One, clock);
        cache.insert(1, ());
        hands.advance(Duration::from_nanos(IDLE_LIMIT_NS - 1));
        cache.insert(2, ());
        cache.shared.sweep();
        assert_eq!(cache.resident(), Some(2));
        hands.advance(Duration::from_nanos(1));
        cache.shared.sweep();
        assert_eq!(cache.resident(), Some(1));
        assert!(cache.hit(&2));
    }
}
