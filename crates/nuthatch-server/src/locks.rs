//! What makes commands atomic against each other: striped locks over keys' hashes.
//!
//! - A write of one key holds its stripe.
//! - A command of several keys, and a transaction, hold all their stripes, taken in ascending order, so
//!   nobody waits in a circle.
//! - A read of one key takes no lock. It asks before and after whether a command of several keys or a
//!   transaction has been writing meanwhile, and if so reads again with its stripe held. Such a writer
//!   announces itself, with all its stripes held, before it changes the first key. So whoever has seen
//!   one of its changes sees the announcement too: no read is answered from the middle of a
//!   transaction, and none that follows another one finds an older state. (A sequence lock whose
//!   readers fall back on the writers' lock.)
//!
//! With one data thread, commands follow one another anyway, and there are no locks at all.

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering, fence};

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
    /// Writers of several keys.
    announced: Announced,
}

/// In the upper half how many writers of several keys there have been, in the lower half how many are
/// at work.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Announced(AtomicU64);

const ONE_ANNOUNCED: u64 = 1 << 32;
const AT_WORK: u64 = ONE_ANNOUNCED - 1;

/// Stripes held; released when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    guards: SmallVec<[MutexGuard<'a, ()>; 2]>,
    announced: Option<&'a AtomicU64>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(announced) = self.announced {
            // Release: pairs with the Acquire in `read`.
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
            // Comes before the changes that follow, in the eyes of whoever sees those: they are made
            // with Release, or under a lock.
            announced.fetch_add(ONE_ANNOUNCED + 1, Ordering::AcqRel);
        }
        Held { guards, announced }
    }

    /// Reads one key, whose hash is `hash`, so that no command of several keys and no transaction is
    /// seen half done. `read` may run twice, and must undo what it did the first time.
    #[inline]
    pub fn read<R>(&self, hash: u64, mut read: impl FnMut() -> R) -> R {
        if self.is_single() {
            return read();
        }
        let announced = &self.announced.0;
        // Acquire: pairs with the Release of `Held::drop`; who is done is seen wholly.
        let before = announced.load(Ordering::Acquire);
        if before & AT_WORK == 0 {
            let result = read();
            // Acquire: what `read` saw comes before the look at who has announced it.
            fence(Ordering::Acquire);
            if announced.load(Ordering::Relaxed) / ONE_ANNOUNCED == before / ONE_ANNOUNCED {
                return result;
            }
        }
        self.read_held(hash, read)
    }

    #[cold]
    fn read_held<R>(&self, hash: u64, mut read: impl FnMut() -> R) -> R {
        let _held = self.hold_one(hash);
        read()
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
                        let cell: &AtomicU64 = &cells[index];
                        locks.read(hashes[index], || cell.load(Ordering::Acquire))
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
    fn readers_never_see_a_state_in_the_middle_of_a_transaction() {
        let locks = KeyLocks::new(2);
        let cell = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..20_000 {
                    let _held = locks.hold_many([7 << 40], true);
                    // Two changes of one key, of which only the second may be seen.
                    cell.store(2 * round - 1, Ordering::Release);
                    cell.store(2 * round, Ordering::Release);
                }
            });
            scope.spawn(|| {
                loop {
                    let seen = locks.read(7 << 40, || cell.load(Ordering::Acquire));
                    assert!(seen.is_multiple_of(2), "{seen} is half a transaction");
                    if seen == 2 * 19_999 {
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
