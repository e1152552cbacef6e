//! A global allocator that takes large blocks straight from the system's pages.
//!
//! General allocators keep large blocks that were freed, in the hope that such are asked for again. A
//! cache that grows frees one array after another, each somewhat smaller than the next one: what is
//! kept is never used again, and the process holds a tenth more than it needs. Here a block of 128 KiB
//! or more is a mapping of its own, which goes back to the system when it is freed, and which the
//! system extends without copying it.
//!
//! Where blocks of a few hundred KiB come and go, most of the time would be spent in the system, which
//! clears every page of a new mapping. So a few of the mappings freed last wait on a [`Shelf`] to be used
//! again: 4 MiB together, each of at most 1 MiB, so that an array that was outgrown still goes back at once.
#![expect(unsafe_code, reason = "an allocator is asked for raw memory")]

use parking_lot::Mutex;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

/// Blocks from this size on are mappings.
const LARGE_BYTES: usize = 128 << 10;
/// Pages are at least this large, so mappings are aligned to it.
const PAGE_BYTES: usize = 4096;

/// Mappings up to this size wait to be used again. It is less than a large page, so whatever the system was
/// advised of about large pages ends with the block that it was meant for.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// What those that wait may take together.
const SHELF_BYTES: usize = 4 << 20;
/// How many may wait.
const SHELF_PLACES: usize = 16;

/// Freed mappings that wait to be used again, which nobody uses meanwhile.
///
/// The lock around it is only ever tried: whoever finds it taken goes to the system, so an allocation never
/// waits for another thread, nor a forked process for one that it does not have.
static SHELF: Mutex<Shelf> = Mutex::new(Shelf::new());

/// An allocator for programs whose memory is mostly a cache: large blocks are mappings of the system's,
/// small ones come from [`System`].
///
/// ```
/// use nuthatch::PageAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: PageAllocator = PageAllocator;
/// # fn main() {}
/// ```
///
/// On other systems than Linux it is [`System`] throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageAllocator;

/// Whether a block with this layout is a mapping.
#[inline]
fn is_mapping(layout: Layout) -> bool {
    cfg!(all(target_os = "linux", not(miri)))
        && layout.size() >= LARGE_BYTES
        && layout.align() <= PAGE_BYTES
}

// SAFETY: a block is a mapping or the system's by its layout alone, which the caller gives again when
// it frees or resizes it; both kinds are as large and aligned as the layout says, and distinct.
unsafe impl GlobalAlloc for PageAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapping(layout) {
            take_or_map(layout.size())
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapping(layout) {
            // What waits on the shelf is full of old bytes; a new mapping is zeros, and takes no memory
            // where it is not touched.
            mapping::map(layout.size())
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapping(layout) {
            // SAFETY: mapped with this size, as the layout says, and not used any more.
            unsafe { keep_or_unmap(block, layout.size()) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is that the new size makes a layout with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_mapping(layout), is_mapping(new_layout)) {
            // SAFETY: mapped with this size, as the layout says.
            (true, true) => unsafe { mapping::resize(block, layout.size(), new_size) },
            // SAFETY: the caller's promise.
            (false, false) => unsafe { System.realloc(block, layout, new_size) },
            // SAFETY: a new block does not overlap with the old one, and both have as many bytes; the
            // old one is freed as it was allocated.
            _ => unsafe {
                let new = self.alloc(new_layout);
                if !new.is_null() {
                    new.copy_from_nonoverlapping(block, layout.size().min(new_size));
                    self.dealloc(block, layout);
                }
                new
            },
        }
    }
}

/// A mapping that nobody uses.
#[derive(Clone, Copy, Debug)]
struct Freed {
    start: *mut u8,
    bytes: usize,
}

/// Freed mappings, the one that has waited longest first.
struct Shelf {
    /// The first `len` of them are there.
    freed: [Freed; SHELF_PLACES],
    len: usize,
}

// SAFETY: what is on the shelf is used by nobody, so it matters to no thread who takes it.
unsafe impl Send for Shelf {}

impl Shelf {
    const fn new() -> Self {
        let nothing = Freed {
            start: null_mut(),
            bytes: 0,
        };
        Self {
            freed: [nothing; SHELF_PLACES],
            len: 0,
        }
    }

    fn freed(&self) -> &[Freed] {
        &self.freed[..self.len]
    }

    fn bytes(&self) -> usize {
        self.freed().iter().map(|freed| freed.bytes).sum()
    }

    /// Takes the mapping whose size is nearest to `bytes`, unless it is off by more than half of that:
    /// the pages that it has too many are given back, and the system clears those that it lacks.
    fn take(&mut self, bytes: usize) -> Option<Freed> {
        let off_by = |index: &usize| self.freed[*index].bytes.abs_diff(bytes);
        // Of several the one freed last, which the processor is likely to remember.
        let nearest = (0..self.len).rev().min_by_key(off_by)?;
        (off_by(&nearest) <= bytes / 2).then(|| self.remove(nearest))
    }

    /// Puts a mapping of at most [`MAX_KEPT_BYTES`] on the shelf. What has waited longest makes room and
    /// is given to `unmap`.
    fn put(&mut self, freed: Freed, mut unmap: impl FnMut(Freed)) {
        while self.len == SHELF_PLACES || self.bytes() + freed.bytes > SHELF_BYTES {
            unmap(self.remove(0));
        }
        self.freed[self.len] = freed;
        self.len += 1;
    }

    fn remove(&mut self, index: usize) -> Freed {
        let freed = self.freed[index];
        self.freed.copy_within(index + 1..self.len, index);
        self.len -= 1;
        freed
    }
}

/// A mapping of at least `bytes` with any contents, or null.
fn take_or_map(bytes: usize) -> *mut u8 {
    let bytes = bytes.next_multiple_of(PAGE_BYTES);
    let taken = SHELF.try_lock().and_then(|mut shelf| shelf.take(bytes));
    let Some(freed) = taken else {
        return mapping::map(bytes);
    };
    // SAFETY: a mapping of that size, which nobody has used since it was put on the shelf.
    unsafe {
        let block = mapping::resize(freed.start, freed.bytes, bytes);
        if block.is_null() {
            mapping::unmap(freed.start, freed.bytes);
        }
        block
    }
}

/// # Safety
/// `block` was mapped with `bytes`, and nobody uses it any more.
unsafe fn keep_or_unmap(block: *mut u8, bytes: usize) {
    let freed = Freed {
        start: block,
        bytes: bytes.next_multiple_of(PAGE_BYTES),
    };
    // SAFETY: mapped with that size, and used by nobody, as what is on the shelf.
    let unmap = |freed: Freed| unsafe { mapping::unmap(freed.start, freed.bytes) };
    if freed.bytes <= MAX_KEPT_BYTES
        && let Some(mut shelf) = SHELF.try_lock()
    {
        shelf.put(freed, unmap);
    } else {
        unmap(freed);
    }
}

#[cfg(target_os = "linux")]
mod mapping {
    use super::PAGE_BYTES;
    use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};
    use std::ptr::null_mut;

    fn rounded(bytes: usize) -> usize {
        bytes.next_multiple_of(PAGE_BYTES)
    }

    /// A mapping of zeros, or null.
    pub(super) fn map(bytes: usize) -> *mut u8 {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a private mapping wherever the system finds room touches nothing of ours.
        let mapped =
            unsafe { mmap_anonymous(null_mut(), rounded(bytes), access, MapFlags::PRIVATE) };
        mapped.map_or(null_mut(), |block| block.cast())
    }

    /// # Safety
    /// `block` was mapped with `bytes`, and nobody uses it any more.
    pub(super) unsafe fn unmap(block: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        let unmapped = unsafe { munmap(block.cast(), rounded(bytes)) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }

    /// # Safety
    /// `block` was mapped with `bytes`, and is used under the returned address alone if that is not
    /// null.
    pub(super) unsafe fn resize(block: *mut u8, bytes: usize, new_bytes: usize) -> *mut u8 {
        let (old, new) = (rounded(bytes), rounded(new_bytes));
        if old == new {
            return block;
        }
        // SAFETY: the caller's promise.
        let moved = unsafe { mremap(block.cast(), old, new, MremapFlags::MAYMOVE) };
        moved.map_or(null_mut(), |block| block.cast())
    }
}

#[cfg(not(target_os = "linux"))]
mod mapping {
    const NONE: &str = "blocks are mappings on Linux only";

    pub(super) fn map(_bytes: usize) -> *mut u8 {
        unreachable!("{NONE}")
    }

    /// # Safety
    /// Never called.
    pub(super) unsafe fn unmap(_block: *mut u8, _bytes: usize) {
        unreachable!("{NONE}")
    }

    /// # Safety
    /// Never called.
    pub(super) unsafe fn resize(_block: *mut u8, _bytes: usize, _new_bytes: usize) -> *mut u8 {
        unreachable!("{NONE}")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Freed, LARGE_BYTES, MAX_KEPT_BYTES, PAGE_BYTES, PageAllocator, SHELF, SHELF_BYTES,
        SHELF_PLACES, Shelf, is_mapping,
    };
    use parking_lot::Mutex;
    use std::alloc::{GlobalAlloc, Layout};
    use std::ptr::without_provenance_mut;
    use std::thread;

    /// Held by tests that use the one shelf of the process.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn blocks_keep_their_bytes_as_they_grow_and_shrink_past_the_border() {
        let _alone = ALONE.lock();
        let sizes = [
            100,
            LARGE_BYTES - 1,
            LARGE_BYTES,
            LARGE_BYTES + 1,
            3 * LARGE_BYTES + 77,
            3 * LARGE_BYTES + 78,
            LARGE_BYTES,
            50,
            40 * LARGE_BYTES,
            8,
        ];
        let layout = |size| Layout::from_size_align(size, 16).expect("a layout");
        let mut size = 64;
        // SAFETY: each block is used within its size, with the layout it was last given.
        unsafe {
            let mut block = PageAllocator.alloc_zeroed(layout(size));
            for (round, new_size) in sizes.into_iter().enumerate() {
                assert!(!block.is_null());
                let expected = round as u8;
                let kept = size.min(new_size);
                block.write_bytes(expected, size);
                block = PageAllocator.realloc(block, layout(size), new_size);
                let bytes = std::slice::from_raw_parts(block, kept);
                assert!(bytes.iter().all(|&byte| byte == expected), "{new_size}");
                size = new_size;
            }
            PageAllocator.dealloc(block, layout(size));
        }
    }

    #[test]
    fn zeroed_blocks_are_zero_although_others_wait_to_be_used_again() {
        let _alone = ALONE.lock();
        let layout = Layout::from_size_align(2 * LARGE_BYTES, 4096).expect("a layout");
        // SAFETY: used within their size, and freed with their layout.
        unsafe {
            let dirty = PageAllocator.alloc(layout);
            dirty.write_bytes(7, layout.size());
            PageAllocator.dealloc(dirty, layout);
            let waits = || {
                SHELF
                    .lock()
                    .freed()
                    .iter()
                    .any(|freed| freed.start == dirty)
            };
            assert_eq!(waits(), is_mapping(layout));
            let zeroed = PageAllocator.alloc_zeroed(layout);
            assert_eq!(zeroed.addr() % 4096, 0);
            let bytes = std::slice::from_raw_parts(zeroed, layout.size());
            assert!(bytes.iter().all(|&byte| byte == 0));
            if waits() {
                let again = PageAllocator.alloc(layout);
                assert_eq!(again, dirty);
                PageAllocator.dealloc(again, layout);
            }
            PageAllocator.dealloc(zeroed, layout);
        }
    }

    #[test]
    fn blocks_in_use_never_overlap_whoever_frees_them() {
        let _alone = ALONE.lock();
        let layout = |bytes| Layout::from_size_align(bytes, 8).expect("a layout");
        /// A block filled with a number of its own.
        struct Filled(*mut u8, usize, u8);
        // SAFETY: it owns its block.
        unsafe impl Send for Filled {}
        let bytes_of = |filled: &Filled| {
            // SAFETY: so many bytes were written when the block was allocated.
            unsafe { std::slice::from_raw_parts(filled.0, filled.1) }
        };
        let is_whole = |filled: &Filled| bytes_of(filled).iter().all(|&byte| byte == filled.2);
        let steps = if cfg!(miri) { 10 } else { 500 };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(seed);
                        let mut held: Vec<Filled> = Vec::new();
                        for _ in 0..steps {
                            let bytes = random.usize(1..=3 * MAX_KEPT_BYTES / 2);
                            let mut filled = if held.len() < 4 {
                                // SAFETY: the size is not zero.
                                let block = unsafe { PageAllocator.alloc(layout(bytes)) };
                                Filled(block, bytes, 0)
                            } else {
                                held.swap_remove(random.usize(0..held.len()))
                            };
                            match random.u8(0..3) {
                                _ if filled.2 == 0 => {}
                                0 => {
                                    assert!(is_whole(&filled));
                                    // SAFETY: allocated with that layout, and not used any more.
                                    unsafe { PageAllocator.dealloc(filled.0, layout(filled.1)) };
                                    continue;
                                }
                                _ => {
                                    let old = layout(filled.1);
                                    // SAFETY: allocated with that layout, and used where it is now.
                                    filled.0 =
                                        unsafe { PageAllocator.realloc(filled.0, old, bytes) };
                                    filled.1 = filled.1.min(bytes);
                                    assert!(is_whole(&filled));
                                    filled.1 = bytes;
                                }
                            }
                            filled.2 = random.u8(1..);
                            // SAFETY: a block of so many bytes.
                            unsafe { filled.0.write_bytes(filled.2, filled.1) };
                            held.push(filled);
                        }
                        held
                    })
                })
                .collect();
            for thread in threads {
                for filled in thread.join().expect("no overlap") {
                    assert!(is_whole(&filled));
                    // SAFETY: allocated with that layout, and not used any more.
                    unsafe { PageAllocator.dealloc(filled.0, layout(filled.1)) };
                }
            }
        });
    }

    #[test]
    fn the_shelf_is_bounded_and_gives_the_nearest() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut shelf = Shelf::new();
        // What is on the shelf, the one that has waited longest first.
        let mut model: Vec<(usize, usize)> = Vec::new();
        for start in 1..20_000 {
            let bytes = PAGE_BYTES * random.usize(32..=MAX_KEPT_BYTES / PAGE_BYTES);
            if random.bool() {
                let freed = Freed {
                    start: without_provenance_mut(start),
                    bytes,
                };
                let mut unmapped = Vec::new();
                shelf.put(freed, |old| unmapped.push((old.start.addr(), old.bytes)));
                model.push((start, bytes));
                assert!(model.starts_with(&unmapped), "the oldest make room");
                model.drain(..unmapped.len());
            } else {
                let off_by = |&(_, kept): &(usize, usize)| kept.abs_diff(bytes);
                let nearest = model.iter().map(off_by).min();
                let taken = shelf.take(bytes);
                assert_eq!(taken.is_some(), nearest.is_some_and(|off| off <= bytes / 2));
                if let Some(Freed { start, bytes: kept }) = taken {
                    assert_eq!(nearest, Some(kept.abs_diff(bytes)));
                    let place = model
                        .iter()
                        .position(|&entry| entry == (start.addr(), kept));
                    model.remove(place.expect("what was put there, once"));
                }
            }
            let kept = shelf
                .freed()
                .iter()
                .map(|freed| (freed.start.addr(), freed.bytes));
            assert!(kept.eq(model.iter().copied()));
            assert!(shelf.len <= SHELF_PLACES && shelf.bytes() <= SHELF_BYTES);
        }
    }

    #[test]
    fn a_block_that_was_outgrown_goes_back_at_once() {
        let _alone = ALONE.lock();
        let layout = Layout::from_size_align(MAX_KEPT_BYTES + 1, 8).expect("a layout");
        // SAFETY: freed with its layout.
        let block = unsafe {
            let block = PageAllocator.alloc(layout);
            PageAllocator.dealloc(block, layout);
            block
        };
        assert!(
            SHELF
                .lock()
                .freed()
                .iter()
                .all(|freed| freed.start != block)
        );
    }
}
