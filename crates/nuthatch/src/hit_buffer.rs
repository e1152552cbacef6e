//! A lossy buffer between many readers and a writer: hits that a policy has still to hear of, or a
//! sample of them.
//!
//! It is striped by thread. A stripe is a small ring of places, each empty or holding one value,
//! with the positions that are filled and emptied next. A thread whose dense index is below [`OWNED_STRIPES`] is
//! the only one to fill its stripe, so it records with plain loads and stores of lines that it
//! mostly has to itself. All other threads share a few more stripes, whose places they claim by
//! compare-and-swap. A hit is lost if the next place is not empty, or if another thread was
//! quicker to fill it: nobody ever waits, and nobody tries twice.
//!
//! What holds in every interleaving: a value that is heard was recorded, and is heard once for it.
//! A stripe with one owner keeps its order and loses nothing while there is room. (Should two
//! threads take one index for their own, which only a thread that is ending can bring about, a hit
//! more may be lost.) Where several threads fill or drain one stripe, the positions are hints that
//! may fall behind; draining notices an empty place where none should be and then sweeps the ring.
//!
//! A stripe is allocated when it is first recorded in, and is 128 bytes.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::fmt;
use std::sync::OnceLock;

/// Stripes that belong to one thread each.
const OWNED_STRIPES: usize = 32;
/// Stripes that all further threads share.
const SHARED_STRIPES: usize = 8;

/// What can be buffered: an atomic word, one value of which means that the place is empty.
pub(crate) trait Word: Copy + Eq {
    /// The value that cannot be recorded.
    const EMPTY: Self;
    type Atomic: Send + Sync;
    /// As many as fit into a stripe.
    type Places: AsRef<[Self::Atomic]> + Send + Sync;
    fn empty_places() -> Self::Places;
    fn is_empty(place: &Self::Atomic) -> bool;
    /// Fills a place that only this thread fills and that is empty.
    fn fill(place: &Self::Atomic, value: Self);
    /// Fills a place that others may fill, if it is empty.
    fn claim(place: &Self::Atomic, value: Self) -> bool;
    /// Empties a place.
    fn take(place: &Self::Atomic) -> Option<Self>;
}

// Relaxed everywhere: a value guards no other memory, and all accesses to one place are in one
// order anyway.
macro_rules! word {
    ($word:ty, $atomic:ty, $places:literal) => {
        impl Word for $word {
            const EMPTY: Self = <$word>::MAX;
            type Atomic = $atomic;
            type Places = [$atomic; $places];

            fn empty_places() -> Self::Places {
                std::array::from_fn(|_| <$atomic>::new(Self::EMPTY))
            }

            #[inline]
            fn is_empty(place: &$atomic) -> bool {
                place.load(Ordering::Relaxed) == Self::EMPTY
            }

            #[inline]
            fn fill(place: &$atomic, value: Self) {
                place.store(value, Ordering::Relaxed);
            }

            #[inline]
            fn claim(place: &$atomic, value: Self) -> bool {
                place
                    .compare_exchange(Self::EMPTY, value, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            }

            #[inline]
            fn take(place: &$atomic) -> Option<Self> {
                if Self::is_empty(place) {
                    return None;
                }
                let value = place.swap(Self::EMPTY, Ordering::Relaxed);
                (value != Self::EMPTY).then_some(value)
            }
        }
    };
}

word!(u32, AtomicU32, 30);
word!(u64, AtomicU64, 15);

/// See the module's text.
pub(crate) struct HitBuffer<W: Word> {
    stripes: Box<[OnceLock<Box<Stripe<W>>>]>,
}

#[repr(align(128))]
struct Stripe<W: Word> {
    /// The place to fill next. Written only by those who fill.
    next: AtomicU32,
    /// The place to empty next. Written only by those who drain.
    head: AtomicU32,
    places: W::Places,
}

impl<W: Word> HitBuffer<W> {
    pub(crate) fn new() -> Self {
        let stripes = OWNED_STRIPES + SHARED_STRIPES;
        Self {
            stripes: (0..stripes).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Buffers `value`, if there is room. Returns whether the stripe is now full, so that the
    /// caller should try to drain. The largest number cannot be told from an empty place and is
    /// lost.
    #[inline]
    pub(crate) fn record(&self, thread_index: usize, value: W) -> bool {
        let owned = thread_index < OWNED_STRIPES;
        let stripe = if owned {
            thread_index
        } else {
            OWNED_STRIPES + thread_index % SHARED_STRIPES
        };
        let stripe = self.stripes[stripe].get_or_init(Stripe::boxed);
        if value == W::EMPTY {
            return false;
        }
        stripe.record(owned, value)
    }

    /// Passes what was buffered to `hear`, oldest first within a stripe. Of several callers at a
    /// time each hears a part, in any order.
    pub(crate) fn drain(&self, hear: &mut dyn FnMut(W)) {
        for stripe in self.stripes.iter().filter_map(OnceLock::get) {
            stripe.drain(hear);
        }
    }
}

impl<W: Word> Stripe<W> {
    fn boxed() -> Box<Self> {
        Box::new(Self {
            next: AtomicU32::new(0),
            head: AtomicU32::new(0),
            places: W::empty_places(),
        })
    }

    #[inline]
    fn record(&self, owned: bool, value: W) -> bool {
        let places = self.places.as_ref();
        let next = self.next.load(Ordering::Relaxed) as usize;
        if !W::is_empty(&places[next]) {
            return true;
        }
        if owned {
            W::fill(&places[next], value);
        } else if !W::claim(&places[next], value) {
            return false;
        }
        let next = if next + 1 == places.len() {
            0
        } else {
            next + 1
        };
        // Release: pairs with the Acquire in `drain`.
        self.next.store(next as u32, Ordering::Release);
        !W::is_empty(&places[next])
    }

    fn drain(&self, hear: &mut dyn FnMut(W)) {
        let places = self.places.as_ref();
        let len = places.len();
        // Acquire: pairs with the Release in `record`, so that the places before this position are
        // seen filled.
        let next = self.next.load(Ordering::Acquire) as usize;
        let head = self.head.load(Ordering::Relaxed) as usize;
        let take = |at: usize| W::take(&places[at % len]);
        let in_order = (head..head + len).map_while(take).map(&mut *hear).count();
        if in_order > 0 {
            let head = ((head + in_order) % len) as u32;
            self.head.store(head, Ordering::Relaxed);
        } else if head != next {
            (next..next + len).filter_map(take).for_each(hear);
            self.head.store(next as u32, Ordering::Relaxed);
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
    use super::{HitBuffer, OWNED_STRIPES, SHARED_STRIPES, Stripe, Word};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PLACES: u32 = 30;

    fn drained(buffer: &HitBuffer<u32>) -> Vec<u32> {
        let mut all = Vec::new();
        buffer.drain(&mut |value| all.push(value));
        all
    }

    #[test]
    fn what_one_thread_records_is_heard_in_order_round_after_round() {
        for thread_index in [0, 3, OWNED_STRIPES, 10_000] {
            let buffer = HitBuffer::new();
            for round in 0..20 {
                let values: Vec<u32> = (0..round + 5).map(|i| round * 100 + i).collect();
                for &value in &values {
                    assert!(!buffer.record(thread_index, value));
                }
                assert_eq!(drained(&buffer), values);
                assert_eq!(drained(&buffer), []);
            }
        }
    }

    #[test]
    fn a_full_stripe_says_so_and_loses_what_comes_after() {
        for thread_index in [0, OWNED_STRIPES + 1] {
            let buffer = HitBuffer::new();
            for value in 0..PLACES - 1 {
                assert!(!buffer.record(thread_index, value));
            }
            for value in PLACES - 1..PLACES + 3 {
                assert!(buffer.record(thread_index, value), "full at {value}");
            }
            assert_eq!(drained(&buffer), (0..PLACES).collect::<Vec<_>>());
            assert!(!buffer.record(thread_index, 7));
            assert_eq!(drained(&buffer), [7]);
        }
    }

    #[test]
    fn the_empty_value_is_lost_and_harms_nothing() {
        let buffer = HitBuffer::new();
        for value in [1, u32::MAX, 2] {
            buffer.record(0, value);
        }
        assert_eq!(drained(&buffer), [1, 2]);
        let hashes = HitBuffer::<u64>::new();
        hashes.record(0, u64::MAX);
        hashes.record(0, u64::MAX - 1);
        let mut heard = Vec::new();
        hashes.drain(&mut |hash| heard.push(hash));
        assert_eq!(heard, [u64::MAX - 1]);
    }

    #[test]
    fn stripes_take_two_lines_each_and_only_when_used() {
        assert_eq!(size_of::<Stripe<u32>>(), 128);
        assert_eq!(size_of::<Stripe<u64>>(), 128);
        let buffer = HitBuffer::<u32>::new();
        for thread_index in [1, 5, OWNED_STRIPES, OWNED_STRIPES + SHARED_STRIPES] {
            buffer.record(thread_index, 1);
        }
        let allocated = buffer.stripes.iter().filter_map(OnceLock::get);
        assert_eq!(allocated.count(), 3, "the last two indices share a stripe");
    }

    #[test]
    fn positions_that_fell_behind_do_not_block_their_stripe() {
        let thread_index = OWNED_STRIPES;
        for next in 0..PLACES {
            for head in 0..PLACES {
                let buffer = HitBuffer::new();
                for value in 0..10 {
                    buffer.record(thread_index, value);
                }
                // As threads that were suspended in the middle would leave them.
                let stripe = buffer.stripes[OWNED_STRIPES].get().expect("recorded in");
                stripe.next.store(next, Ordering::Relaxed);
                stripe.head.store(head, Ordering::Relaxed);
                let mut heard = drained(&buffer);
                for value in 10..10 + 2 * PLACES {
                    buffer.record(thread_index, value);
                    heard.extend(drained(&buffer));
                }
                heard.sort_unstable();
                let all_of_the_first = heard.iter().take_while(|&&value| value < 10).count() == 10;
                assert!(all_of_the_first, "blocked from {next} and {head}");
                assert!(heard.len() as u32 >= 2 * PLACES, "few are lost");
                assert!(heard.is_sorted_by(|a, b| a < b), "nothing is heard twice");
            }
        }
    }

    /// Waits until a drainer has been at a full stripe.
    fn wait_for_room(buffer: &HitBuffer<u32>, stripe: usize) {
        let stripe = buffer.stripes[stripe].get().expect("recorded in");
        let next = stripe.next.load(Ordering::Relaxed) as usize;
        while !u32::is_empty(&stripe.places[next]) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn owners_lose_nothing_while_there_is_room() {
        let buffer = HitBuffer::<u32>::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let drainer = scope.spawn(|| {
                let mut heard = Vec::new();
                while !done.load(Ordering::Acquire) {
                    heard.extend(drained(&buffer));
                }
                heard.extend(drained(&buffer));
                heard
            });
            let owners: Vec<_> = (0..2_u32)
                .map(|owner| {
                    let buffer = &buffer;
                    scope.spawn(move || {
                        for i in 0..5_000 {
                            if buffer.record(owner as usize, owner * 5_000 + i) {
                                wait_for_room(buffer, owner as usize);
                            }
                        }
                    })
                })
                .collect();
            for owner in owners {
                owner.join().expect("no panic");
            }
            done.store(true, Ordering::Release);
            let heard = drainer.join().expect("no panic");
            for owner in 0..2 {
                let own = heard.iter().filter(|&&value| value / 5_000 == owner);
                let own: Vec<u32> = own.copied().collect();
                assert_eq!(
                    own,
                    (owner * 5_000..(owner + 1) * 5_000).collect::<Vec<_>>()
                );
            }
        });
    }

    #[test]
    fn readers_and_drainers_of_one_stripe_lose_but_never_invent() {
        let buffer = HitBuffer::<u32>::new();
        let recording = AtomicBool::new(true);
        let heard = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4_u32)
                .map(|thread| {
                    let buffer = &buffer;
                    scope.spawn(move || {
                        for i in 0..10_000 {
                            buffer.record(OWNED_STRIPES, thread * 10_000 + i);
                        }
                    })
                })
                .collect();
            let drainers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut heard = Vec::new();
                        while recording.load(Ordering::Acquire) {
                            heard.extend(drained(&buffer));
                        }
                        heard
                    })
                })
                .collect();
            for reader in readers {
                reader.join().expect("no panic");
            }
            recording.store(false, Ordering::Release);
            let mut heard = drained(&buffer);
            for drainer in drainers {
                heard.extend(drainer.join().expect("no panic"));
            }
            heard
        });
        let mut times = vec![0; 40_000];
        for value in heard {
            times[value as usize] += 1;
        }
        assert!(
            times.iter().all(|&times| times <= 1),
            "no hit is heard twice"
        );
        assert!(times.contains(&1));
    }
}

#[cfg(all(test, loom))]
mod model {
    //! Every interleaving of few hits, by loom. Each model records once before it starts a thread,
    //! for loom does not see that `OnceLock` publishes the stripe.

    use super::{HitBuffer, OWNED_STRIPES};
    use crate::sync::thread;
    use std::sync::Arc;

    fn drained(buffer: &HitBuffer<u64>) -> Vec<u64> {
        let mut all = Vec::new();
        buffer.drain(&mut |value| all.push(value));
        all
    }

    #[test]
    fn model_an_owners_hits_are_heard_once_and_in_order() {
        loom::model(|| {
            let buffer = Arc::new(HitBuffer::new());
            buffer.record(0, 0);
            let owner = thread::spawn({
                let buffer = Arc::clone(&buffer);
                move || {
                    for value in 1..3 {
                        assert!(!buffer.record(0, value));
                    }
                }
            });
            let mut heard = drained(&buffer);
            heard.extend(drained(&buffer));
            owner.join().expect("no panic");
            heard.extend(drained(&buffer));
            assert_eq!(heard, [0, 1, 2]);
        });
    }

    #[test]
    fn model_a_ring_that_comes_round_loses_but_never_invents() {
        loom::model(|| {
            let buffer = Arc::new(HitBuffer::new());
            for value in 0..14 {
                buffer.record(0, value);
            }
            let owner = thread::spawn({
                let buffer = Arc::clone(&buffer);
                move || (14..17).for_each(|value| _ = buffer.record(0, value))
            });
            let mut heard = drained(&buffer);
            owner.join().expect("no panic");
            heard.extend(drained(&buffer));
            heard.sort_unstable();
            let (first, rest) = heard.split_at(15);
            assert_eq!(first, (0..15).collect::<Vec<_>>());
            assert!(matches!(rest, [] | [15] | [16] | [15, 16]), "{rest:?}");
            assert_eq!(drained(&buffer), []);
        });
    }

    #[test]
    fn model_sharers_of_a_stripe_lose_but_never_invent() {
        loom::model(|| {
            let buffer = Arc::new(HitBuffer::new());
            buffer.record(OWNED_STRIPES, 0);
            let sharer = thread::spawn({
                let buffer = Arc::clone(&buffer);
                move || {
                    buffer.record(OWNED_STRIPES, 1);
                    buffer.record(OWNED_STRIPES, 2);
                }
            });
            buffer.record(OWNED_STRIPES, 3);
            let mut heard = drained(&buffer);
            sharer.join().expect("no panic");
            // A position that fell behind may leave something for after the next hits.
            for value in 4..7 {
                buffer.record(OWNED_STRIPES, value);
                heard.extend(drained(&buffer));
            }
            heard.sort_unstable();
            assert!(heard.is_sorted_by(|a, b| a < b), "heard twice: {heard:?}");
            assert!(heard.iter().all(|&value| value < 7));
            assert!(
                heard.contains(&1) || heard.contains(&3),
                "one of two racers wins"
            );
            assert!(heard.contains(&6), "no stripe stays blocked");
        });
    }

    #[test]
    fn model_two_drainers_hear_each_hit_once() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let buffer = Arc::new(HitBuffer::new());
            buffer.record(0, 1);
            buffer.record(0, 2);
            let drainer = thread::spawn({
                let buffer = Arc::clone(&buffer);
                move || drained(&buffer)
            });
            let mut heard = drained(&buffer);
            heard.extend(drainer.join().expect("no panic"));
            heard.extend(drained(&buffer));
            heard.sort_unstable();
            assert_eq!(heard, [1, 2]);
        });
    }
}
