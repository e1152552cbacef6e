//! Chunked arrays that grow and never move: the home of everything a reader may look at while a
//! writer works.
//!
//! Slot `i` lives at one address from the moment its chunk is allocated until the array is
//! dropped, so a reader that learnt an index needs no lock to reach it. Chunk 0 has the size that
//! the owner asked for (for a cache bounded by entries, all it will ever need); each later chunk
//! adds a quarter of a power of two, so an array that grows wastes at most a fifth.
//!
//! ```text
//!  directory    [ c0 | c1 | c2 | c3 | c4 | c5 | .. ]
//!                 │    │    │    │    │    └─ 2B .. 2.5B
//!                 │    │    │    │    └────── 1.75B .. 2B    B = first chunk, rounded up to 2^b
//!                 │    │    │    └─────────── 1.5B .. 1.75B
//!                 │    │    └──────────────── 1.25B .. 1.5B
//!                 │    └───────────────────── B .. 1.25B
//!                 └────────────────────────── 0 .. B
//! ```
#![expect(unsafe_code, reason = "raw chunks behind a bounds-checked interface")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Smallest first chunk, as a power of two.
const MIN_FIRST_BITS: u32 = 4;
/// Enough steps of a quarter of a power of two from the smallest first chunk to 2^30 slots.
const CHUNKS: usize = 1 + 4 * (30 - MIN_FIRST_BITS as usize);

/// Types for which all-zero memory is a valid value and which need no drop.
///
/// # Safety
/// An implementor is valid when zeroed and has no drop glue that the array would have to run.
pub(crate) unsafe trait Zeroed {}
// SAFETY: an atomic integer is valid when zeroed and has no drop glue.
unsafe impl Zeroed for AtomicU8 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicU64 {}
// SAFETY: `MaybeUninit` is valid whatever its bytes and never drops its content; whoever writes a
// value into it drops that value.
unsafe impl<T> Zeroed for std::cell::UnsafeCell<std::mem::MaybeUninit<T>> {}

/// Asks the processor to load the cache line at `place`, without waiting for it. Any address will
/// do, also one where nothing lives.
#[inline]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program could see and faults at no address, and SSE
    // is part of every x86-64 processor.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Asks the system for large pages under memory that is long and looked at in no order: with small
/// ones, every look would cost a walk of the page table besides. What is never touched still takes no
/// memory, but for what shares a large page with something that is.
///
/// # Safety
/// The caller owns the `bytes` at `start`.
#[cfg(target_os = "linux")]
pub(crate) unsafe fn ask_for_large_pages(start: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    /// What the system takes as a page at least, everywhere.
    const PAGE_BYTES: usize = 64 << 10;
    const LARGE_PAGE_BYTES: usize = 2 << 20;
    let skipped = start.addr().wrapping_neg() % PAGE_BYTES;
    let bytes = bytes.saturating_sub(skipped) / PAGE_BYTES * PAGE_BYTES;
    if bytes >= LARGE_PAGE_BYTES && !cfg!(miri) {
        // SAFETY: whole pages of the caller's, whose contents stay what they are. A system that
        // knows no large pages refuses, which does no harm.
        let _refused = unsafe { madvise(start.add(skipped).cast(), bytes, Advice::LinuxHugepage) };
    }
}

/// Other systems choose for themselves.
///
/// # Safety
/// As on Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) unsafe fn ask_for_large_pages(_start: *mut u8, _bytes: usize) {}

/// Gives the pages of a block back to the system, which fills them with zeros when they are touched
/// again. Whether it did.
///
/// # Safety
/// The caller owns the `bytes` at `start`, which are whole pages, and does not need what is in them.
#[cfg(target_os = "linux")]
pub(crate) unsafe fn give_pages_back(start: *mut u8, bytes: usize) -> bool {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the caller's promise.
    !cfg!(miri) && unsafe { madvise(start.cast(), bytes, Advice::LinuxDontNeed) }.is_ok()
}

/// Other systems have ways of their own.
///
/// # Safety
/// As on Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) unsafe fn give_pages_back(_start: *mut u8, _bytes: usize) -> bool {
    false
}

/// A zeroed slice on the heap. O(1) time where the system hands out zeroed pages lazily.
#[cfg(not(loom))]
pub(crate) fn zeroed_slice<T: Zeroed>(len: usize) -> Box<[T]> {
    let mut slice = Box::<[T]>::new_zeroed_slice(len);
    // SAFETY: the slice's own memory.
    unsafe { ask_for_large_pages(slice.as_mut_ptr().cast(), size_of_val(&*slice)) };
    // SAFETY: an implementor of `Zeroed` is valid when zeroed.
    unsafe { slice.assume_init() }
}

/// A growable array whose elements never move; see the module's text. What a look-up in chunk 0
/// needs comes first.
#[repr(C)]
pub(crate) struct SlotVec<T> {
    first: AtomicPtr<T>,
    /// The length of chunk 0; 0 until it is allocated.
    first_len: AtomicU32,
    /// The length that it will have.
    first_slots: u32,
    first_bits: u32,
    /// Number of slots that may be addressed; only grows. Relaxed everywhere: an index reaches
    /// another thread only through an Acquire/Release pair of its own (the table, a lock).
    slots: AtomicU32,
    later: OnceLock<Box<LaterChunks<T>>>,
}

/// The chunks after the first.
type LaterChunks<T> = [AtomicPtr<T>; CHUNKS - 1];

// SAFETY: the array hands out only `&T`, so sharing and sending it is sharing and sending `T`s.
unsafe impl<T: Send> Send for SlotVec<T> {}
// SAFETY: as above; `T` itself must be safe to share.
unsafe impl<T: Sync> Sync for SlotVec<T> {}

impl<T: Zeroed> SlotVec<T> {
    /// An array whose first chunk will hold exactly `first_slots` slots (at least one).
    pub(crate) fn new(first_slots: usize) -> Self {
        let first_slots = first_slots.clamp(1, 1 << 29) as u32;
        Self {
            slots: AtomicU32::new(0),
            first_len: AtomicU32::new(0),
            first_bits: first_slots
                .next_power_of_two()
                .trailing_zeros()
                .max(MIN_FIRST_BITS),
            first_slots,
            first: AtomicPtr::new(null_mut()),
            later: OnceLock::new(),
        }
    }

    /// The length of the first chunk.
    pub(crate) fn first_slots(&self) -> usize {
        self.first_slots as usize
    }

    /// Number of slots allocated so far.
    pub(crate) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed) as usize
    }

    /// Allocates the next chunk and returns the new number of slots. One caller at a time (the
    /// owner holds its lock).
    pub(crate) fn grow(&self) -> usize {
        let slots = self.slots.load(Ordering::Relaxed);
        // A first chunk shorter than 2^b leaves a gap before chunk 1; it is filled by chunk 0's
        // successor starting at 2^b, and indices in the gap are never handed out.
        let start = if slots == 0 {
            0
        } else {
            slots.max(1 << self.first_bits)
        };
        let (chunk, offset) = self.locate(start);
        assert!(
            offset == 0 && chunk < CHUNKS,
            "an array of 2^30 slots is full"
        );
        let len = self.chunk_len(chunk);
        let layout = Self::layout(len);
        let ptr = if layout.size() == 0 {
            std::ptr::NonNull::<T>::dangling().as_ptr()
        } else {
            // SAFETY: the layout's size is not zero.
            let ptr = unsafe { alloc_zeroed(layout) }.cast::<T>();
            if ptr.is_null() {
                handle_alloc_error(layout);
            }
            // SAFETY: the chunk's own memory.
            unsafe { ask_for_large_pages(ptr.cast(), layout.size()) };
            ptr
        };
        // Release: pairs with the Acquire in `get` and `get_later`, so that whoever sees the chunk
        // sees it zeroed.
        if chunk == 0 {
            self.first.store(ptr, Ordering::Relaxed);
            self.first_len.store(self.first_slots, Ordering::Release);
        } else {
            let none = || Box::new([const { AtomicPtr::new(null_mut()) }; CHUNKS - 1]);
            self.later.get_or_init(none)[chunk - 1].store(ptr, Ordering::Release);
        }
        let slots = start + len as u32;
        self.slots.store(slots, Ordering::Relaxed);
        slots as usize
    }

    /// First index of the chunk that `grow` would add; indices between `slots()` and this are
    /// never used.
    pub(crate) fn next_start(&self) -> usize {
        let slots = self.slots.load(Ordering::Relaxed);
        if slots == 0 {
            0
        } else {
            slots.max(1 << self.first_bits) as usize
        }
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// If no chunk holds `index`.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        // Acquire: pairs with the Release in `grow`.
        if index >= self.first_len.load(Ordering::Acquire) {
            return self.get_later(index);
        }
        let ptr = self.first.load(Ordering::Relaxed);
        // SAFETY: the chunk is allocated, zeroed and lives until the array is dropped; it has
        // `first_len` slots.
        unsafe { &*ptr.add(index as usize) }
    }

    fn get_later(&self, index: u32) -> &T {
        let (chunk, offset) = self.locate(index);
        assert!(chunk > 0, "index out of bounds");
        let later = self.later.get().expect("index out of bounds");
        // Acquire: as in `get`.
        let ptr = later[chunk - 1].load(Ordering::Acquire);
        assert!(!ptr.is_null(), "index out of bounds");
        // SAFETY: as in `get`; `offset` is below the chunk's length because `locate` maps only a
        // chunk's own range to it.
        unsafe { &*ptr.add(offset) }
    }

    fn locate(&self, index: u32) -> (usize, usize) {
        if index < self.first_slots {
            return (0, index as usize);
        }
        assert!(
            index >> self.first_bits != 0,
            "index out of bounds: in the gap after the first chunk"
        );
        let top = 31 - index.leading_zeros();
        let quarter = (index >> (top - 2)) & 3;
        let start = (4 | quarter) << (top - 2);
        let chunk = 1 + 4 * (top - self.first_bits) + quarter;
        (chunk as usize, (index - start) as usize)
    }
}

impl<T> SlotVec<T> {
    fn chunk_len(&self, chunk: usize) -> usize {
        if chunk == 0 {
            self.first_slots as usize
        } else {
            1 << (self.first_bits as usize - 2 + (chunk - 1) / 4)
        }
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<T>(len).expect("a chunk fits the address space")
    }
}

impl<T> Drop for SlotVec<T> {
    fn drop(&mut self) {
        for chunk in 0..CHUNKS {
            let ptr = match chunk {
                0 => *self.first.get_mut(),
                _ => match self.later.get_mut() {
                    Some(later) => *later[chunk - 1].get_mut(),
                    None => null_mut(),
                },
            };
            let layout = Self::layout(self.chunk_len(chunk));
            if !ptr.is_null() && layout.size() > 0 {
                // SAFETY: `grow` allocated this chunk with this layout, once.
                unsafe { dealloc(ptr.cast(), layout) };
            }
        }
    }
}

impl<T> std::fmt::Debug for SlotVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotVec")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::SlotVec;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_announced_index_has_its_own_element() {
        for first in [1, 3, 16, 100, 128, 1000] {
            let array = SlotVec::<AtomicU64>::new(first);
            let mut indices = Vec::new();
            for _ in 0..6 {
                let start = array.next_start();
                let end = array.grow();
                indices.extend(start as u32..end as u32);
            }
            for &index in &indices {
                assert_eq!(array.get(index).load(Ordering::Relaxed), 0, "zeroed");
                array
                    .get(index)
                    .store(u64::from(index) + 1, Ordering::Relaxed);
            }
            for &index in &indices {
                assert_eq!(
                    array.get(index).load(Ordering::Relaxed),
                    u64::from(index) + 1
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn an_index_beyond_the_last_chunk_panics() {
        let array = SlotVec::<AtomicU64>::new(16);
        array.grow();
        array.get(16);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn an_index_between_the_first_chunk_and_the_second_panics() {
        let array = SlotVec::<AtomicU64>::new(100);
        array.grow();
        array.grow();
        array.get(100);
    }
}
