//! A lossy buffer between many readers and one writer at a time: hits that a policy has still to
//! hear of, or a sample of them.
//!
//! It is striped by thread. A stripe is a small ring: a reader claims the next place by one
//! compare-and-swap of the tail and then fills it; if another reader of the same stripe was
//! quicker, or the ring is full, the hit is lost. The writer empties places up to the tail. A
//! place that was claimed but not yet filled is skipped, and what is put there afterwards is found
//! one round later. Nobody ever waits.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::fmt;

/// Places in a stripe.
const PLACES: usize = 16;
/// Threads whose indices differ by this share a stripe.
const STRIPES: usize = 16;

/// What can be buffered: an atomic word, one value of which means that the place is empty.
pub(crate) trait Word: Copy {
    type Atomic: Send + Sync;
    fn empty() -> Self::Atomic;
    fn fill(place: &Self::Atomic, value: Self);
    fn take(place: &Self::Atomic) -> Option<Self>;
}

macro_rules! word {
    ($word:ty, $atomic:ty) => {
        impl Word for $word {
            type Atomic = $atomic;

            fn empty() -> $atomic {
                <$atomic>::new(<$word>::MAX)
            }

            fn fill(place: &$atomic, value: Self) {
                place.store(value, Ordering::Relaxed);
            }

            fn take(place: &$atomic) -> Option<Self> {
                let value = place.swap(<$word>::MAX, Ordering::Relaxed);
                (value != <$word>::MAX).then_some(value)
            }
        }
    };
}

word!(u32, AtomicU32);
word!(u64, AtomicU64);

/// See the module's text.
pub(crate) struct HitBuffer<W: Word> {
    stripes: Box<[Stripe<W>]>,
}

#[repr(align(128))]
struct Stripe<W: Word> {
    /// Places claimed so far.
    tail: AtomicU32,
    /// Places emptied so far; only the writer stores it.
    head: AtomicU32,
    places: [W::Atomic; PLACES],
}

impl<W: Word> HitBuffer<W> {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES)
                .map(|_| Stripe {
                    tail: AtomicU32::new(0),
                    head: AtomicU32::new(0),
                    places: std::array::from_fn(|_| W::empty()),
                })
                .collect(),
        }
    }

    /// Buffers `value`, if there is room. Returns whether the stripe is now full, so that the
    /// caller should try to drain.
    pub(crate) fn record(&self, thread_index: usize, value: W) -> bool {
        let stripe = &self.stripes[thread_index % STRIPES];
        let tail = stripe.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `drain`, so that a place is filled only after it was
        // emptied.
        let used = tail.wrapping_sub(stripe.head.load(Ordering::Acquire));
        if used as usize >= PLACES {
            return true;
        }
        let claim = stripe.tail.compare_exchange(
            tail,
            tail.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if claim.is_ok() {
            W::fill(&stripe.places[tail as usize % PLACES], value);
        }
        used as usize + 1 >= PLACES
    }

    /// Passes what was buffered to `hear`, oldest first within a stripe. One caller at a time.
    pub(crate) fn drain(&self, hear: &mut dyn FnMut(W)) {
        for stripe in &self.stripes {
            let tail = stripe.tail.load(Ordering::Relaxed);
            let head = stripe.head.load(Ordering::Relaxed);
            for place in 0..tail.wrapping_sub(head) {
                let place = head.wrapping_add(place) as usize % PLACES;
                if let Some(value) = W::take(&stripe.places[place]) {
                    hear(value);
                }
            }
            if tail != head {
                stripe.head.store(tail, Ordering::Release);
            }
        }
    }
}

impl<W: Word> fmt::Debug for HitBuffer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HitBuffer").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{HitBuffer, PLACES};

    fn drained(buffer: &HitBuffer<u32>) -> Vec<u32> {
        let mut all = Vec::new();
        buffer.drain(&mut |value| all.push(value));
        all
    }

    #[test]
    fn what_one_thread_records_is_heard_in_order_round_after_round() {
        let buffer = HitBuffer::new();
        for round in 0..5 {
            for i in 0..10 {
                assert!(!buffer.record(3, round * 10 + i));
            }
            assert_eq!(
                drained(&buffer),
                (round * 10..round * 10 + 10).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_full_stripe_says_so_and_loses_what_comes_after() {
        let buffer = HitBuffer::new();
        let full = (0..PLACES as u32 + 3).map(|i| buffer.record(0, i));
        let full: Vec<bool> = full.collect();
        assert_eq!(full.iter().filter(|&&full| full).count(), 4);
        assert_eq!(drained(&buffer), (0..PLACES as u32).collect::<Vec<_>>());
    }

    #[test]
    fn readers_of_one_stripe_lose_but_never_invent() {
        let buffer = HitBuffer::<u32>::new();
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let buffer = &buffer;
                scope.spawn(move || {
                    for i in 0..10_000 {
                        buffer.record(0, thread * 10_000 + i);
                    }
                });
            }
            let mut heard = vec![0; 40_000];
            for _ in 0..1_000 {
                for value in drained(&buffer) {
                    heard[value as usize] += 1;
                }
            }
            assert!(
                heard.iter().all(|&times| times <= 1),
                "no hit is heard twice"
            );
        });
    }
}
