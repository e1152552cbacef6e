//! What makes commands atomic against each other: striped locks over keys' hashes.
//!
//! - A write of one key holds its stripe.
//! - A command of several keys, and a transaction, hold all their stripes, taken in ascending order, so
//!   nobody waits in a circle.
//! - A read of one key takes no lock. It only asks whether a write of several keys is under way, and if
//!   so waits for its stripe. That suffices: such a write announces itself, with all its stripes held,
//!   before it changes the first key. Whoever has seen one of its changes therefore finds either the
//!   announcement, and waits, or all of its changes.
//!
//! With one data thread, commands follow one another anyway, and there are no locks at all.

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

/// More than enough for writers to meet rarely; a power of two.
const STRIPES: usize = 1024;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(Mutex<()>);

/// See the module's text.
#[derive(Debug)]
pub struct KeyLocks {
    /// Empty where there is one data thread.
    stripes: Box<[Stripe]>,
    /// Writes of several keys that are under way.
    announced: Announced,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Announced(AtomicU32);

/// Stripes held; released when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    guards: SmallVec<[MutexGuard<'a, ()>; 2]>,
    announced: Option<&'a AtomicU32>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(announced) = self.announced {
            // Release: pairs with the Acquire in `await_writers`.
            announced.fetch_sub(1, Ordering::Release);
        }
        self.guards.clear();
    }
}

impl KeyLocks {
    /// Locks for so many data threads.
    pub fn new(threads: usize) -> Self {
        let stripes = if threads > 1 { STRIPES } else { 0 };
        Self {
            stripes: (0..stripes).map(|_| Stripe::default()).collect(),
            announced: Announced::default(),
        }
    }

    /// Whether commands run on one thread, so that nothing has to be locked.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.stripes.is_empty()
    }

    fn stripe(&self, hash: u64) -> usize {
        // The library's tables use other bits of another hash.
        (hash >> 40) as usize % self.stripes.len()
    }

    /// Holds the stripe of one key that is about to be written.
    #[inline]
    pub fn hold_one(&self, hash: u64) -> Held<'_> {
        let mut guards = SmallVec::new();
        if !self.is_single() {
            guards.push(self.stripes[self.stripe(hash)].0.lock());
        }
        Held {
            guards,
            announced: None,
        }
    }

    /// Holds the stripes of several keys; with `writes`, announces it to readers.
    pub fn hold_many(&self, hashes: impl IntoIterator<Item = u64>, writes: bool) -> Held<'_> {
        if self.is_single() {
            return Held {
                guards: SmallVec::new(),
                announced: None,
            };
        }
        let mut stripes: SmallVec<[usize; 16]> =
            hashes.into_iter().map(|hash| self.stripe(hash)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        self.hold_stripes(stripes, writes)
    }

    /// Holds all stripes: nothing else reads several keys or writes any meanwhile.
    pub fn hold_all(&self) -> Held<'_> {
        self.hold_stripes(0..self.stripes.len(), true)
    }

    fn hold_stripes(&self, stripes: impl IntoIterator<Item = usize>, writes: bool) -> Held<'_> {
        let guards = stripes
            .into_iter()
            .map(|stripe| self.stripes[stripe].0.lock())
            .collect();
        let announced = writes.then_some(&self.announced.0);
        if let Some(announced) = announced {
            // SeqCst: comes before the changes that follow, in the eyes of whoever sees those.
            announced.fetch_add(1, Ordering::SeqCst);
        }
        Held { guards, announced }
    }

    /// Waits until no write of several keys that has `hash` among them is half done.
    #[inline]
    pub fn await_writers(&self, hash: u64) {
        // Acquire: pairs with the Release of `Held::drop`.
        if self.announced.0.load(Ordering::Acquire) != 0 {
            self.await_stripe(hash);
        }
    }

    #[cold]
    fn await_stripe(&self, hash: u64) {
        drop(self.stripes[self.stripe(hash)].0.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::KeyLocks;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn readers_of_single_keys_never_see_half_of_a_write_of_two() {
        let locks = KeyLocks::new(2);
        let hashes = [1_u64 << 40, 2 << 40];
        let cells = [AtomicU64::new(0), AtomicU64::new(0)];
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..20_000 {
                    let _held = locks.hold_many(hashes, true);
                    for cell in &cells {
                        cell.store(round, Ordering::Release);
                    }
                }
            });
            scope.spawn(|| {
                loop {
                    let read = |index: usize| {
                        locks.await_writers(hashes[index]);
                        cells[index].load(Ordering::Acquire)
                    };
                    let (first, second) = (read(0), read(1));
                    assert!(second >= first, "{first} was seen, and {second} after it");
                    if first == 19_999 {
                        break;
                    }
                }
            });
        });
    }

    #[test]
    fn stripes_of_one_key_are_held_once() {
        let locks = KeyLocks::new(2);
        drop(locks.hold_many([5 << 40, 5 << 40, 5 << 40], true));
        drop(locks.hold_all());
        drop(locks.hold_one(5 << 40));
        assert!(KeyLocks::new(1).is_single());
        drop(KeyLocks::new(1).hold_many([1, 2], true));
    }
}
