//! Blocks of memory for [items](crate::Item), with size classes eight bytes apart.
//!
//! General allocators round a block up by an eighth of its size and more: a cache of short strings
//! would give every seventh entry away to padding. Here a block of up to 512 bytes is rounded up to a
//! multiple of 8, and one of up to 4 KiB by at most a thirty-second; longer ones come from the global
//! allocator.
//!
//! ```text
//!   region, 4 MiB   | span | span | ... 64 of them |         from the global allocator
//!   span, 64 KiB    | head, 64 bytes | block | block | ... | blocks of one class
//!   heap            per class: the spans that have room     one lock; threads are spread over heaps
//! ```
//!
//! A block is found to belong to a span by its address, for spans are aligned to their size; a span
//! knows its heap. So a block may be freed by any thread, under the lock of the heap that its span
//! belongs to. Spans that are empty go back to their region, to be used for any class, and regions that
//! are empty to the global allocator. (Slabs with intrusive free lists: Bonwick, "The Slab Allocator",
//! 1994; heaps by thread: Berger et al., "Hoard", 2000.)
//!
//! A heap that has no room in a class takes a span from another heap that has. Otherwise a thread that
//! has come to allocate more than before would take new memory, while what was freed for it lay idle in
//! the heap of a thread that has come to allocate less. And before a new region is made, the spans that
//! heaps keep empty go back to theirs. On request, the pages of all free spans go back to the system.
//!
//! Who may touch what: a span's head and its free blocks only who holds its heap's lock; a block in use
//! only its owner. `heap` itself may be read by who owns a block of the span, and changes only under the
//! locks of both heaps: who has read it locks that heap and looks again.
#![expect(unsafe_code, reason = "memory that is cut into blocks by hand")]

use crate::hazard::thread_index;
use crate::slab::{ask_for_large_pages, give_pages_back};
use parking_lot::{Mutex, MutexGuard};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

const SPAN_BYTES: usize = 64 << 10;
const HEAD_BYTES: usize = 64;
const SPANS_PER_REGION: usize = 64;
/// Longer blocks come from the global allocator.
const MAX_BLOCK_BYTES: usize = 4096;
/// Threads beyond as many share heaps.
const HEAPS: usize = 16;
/// 64 steps of 8 bytes, then 32 steps for each doubling.
const CLASSES: usize = 64 + 3 * 32;
/// Blocks are aligned to this.
const ALIGN: usize = 8;

/// The class of blocks of at least `bytes` bytes.
#[inline]
fn class_of(bytes: usize) -> usize {
    if bytes <= 512 {
        bytes.max(1).div_ceil(8) - 1
    } else {
        // The doubling that `bytes` lies in, 0 for what is above 512, and its step there.
        let doubling = (bytes - 1).ilog2() as usize - 9;
        let step = 16 << doubling;
        64 + 32 * doubling + (bytes - (512 << doubling)).div_ceil(step) - 1
    }
}

/// The bytes of a block of this class.
#[inline]
fn class_bytes(class: usize) -> usize {
    if class < 64 {
        8 * (class + 1)
    } else {
        let (doubling, step) = ((class - 64) / 32, (class - 64) % 32 + 1);
        (512 << doubling) + (16 << doubling) * step
    }
}

/// The bytes that a block for `layout` takes.
#[inline]
pub(crate) fn block_bytes(layout: Layout) -> usize {
    if is_ours(layout) {
        class_bytes(class_of(layout.size()))
    } else {
        layout.size()
    }
}

/// Whether such blocks are cut here. Tools that look for misuse of memory see blocks of the global
/// allocator only.
#[inline]
fn is_ours(layout: Layout) -> bool {
    cfg!(not(any(miri, nuthatch_plain_items)))
        && layout.size() <= MAX_BLOCK_BYTES
        && layout.align() <= ALIGN
}

/// The head of a span.
#[repr(C, align(64))]
struct Span {
    /// Its neighbours among the spans of its class and heap that have room, in a circle.
    prev: *mut Span,
    next: *mut Span,
    /// The first block that was freed; each free block begins with the next one's address.
    free: *mut FreeBlock,
    /// Blocks that were never used begin here, as an offset from the head.
    fresh: u32,
    /// Blocks in use.
    used: u32,
    class: u16,
    heap: AtomicU16,
    region: *mut Region,
}

struct FreeBlock {
    next: *mut FreeBlock,
}

/// Spans that were allocated together.
struct Region {
    /// Bit per span: free.
    free: u64,
    /// Bit per span: free, and its pages are the system's again.
    given_back: u64,
    memory: NonNull<u8>,
    /// Its place among the regions that have a free span, if it is one.
    listed_at: Option<usize>,
}

/// The regions that have a free span.
struct Regions(Vec<*mut Region>);

// SAFETY: the pointers are used under the lock around the list alone.
unsafe impl Send for Regions {}

static REGIONS: Mutex<Regions> = Mutex::new(Regions(Vec::new()));
/// Bytes of all regions, but of the spans whose pages were given back.
static REGION_BYTES: AtomicUsize = AtomicUsize::new(0);
/// Bytes of blocks in use that are too long for a span.
static LONG_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What the blocks of all items of the process take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemMemory {
    /// Bytes taken from the global allocator for blocks of up to 4 KiB, in use or free, but for those
    /// that [`Item::trim_memory`](crate::Item::trim_memory) has given back to the system.
    pub reserved_bytes: usize,
    /// Bytes of those blocks that are in use.
    pub used_bytes: usize,
    /// Bytes of longer blocks, each of which comes from the global allocator.
    pub long_bytes: usize,
}

/// Aligned to large pages, of which it has two.
const REGION: Layout = match Layout::from_size_align(SPAN_BYTES * SPANS_PER_REGION, 2 << 20) {
    Ok(layout) => layout,
    Err(_) => panic!("a region has a layout"),
};

/// Spans with room, by class.
struct Heap {
    /// The first of each circle. The last, before it, has not had a block freed for longest, so it
    /// has the most room as a rule.
    with_room: [*mut Span; CLASSES],
    /// Bytes of blocks in use.
    used_bytes: usize,
}

// SAFETY: the spans are used under the lock around the heap alone.
unsafe impl Send for Heap {}

#[repr(align(128))]
struct LockedHeap(Mutex<Heap>);

static ALL_HEAPS: [LockedHeap; HEAPS] = [const {
    LockedHeap(Mutex::new(Heap {
        with_room: [null_mut(); CLASSES],
        used_bytes: 0,
    }))
}; HEAPS];

/// What all blocks take at present. Takes the lock of each heap for a moment.
pub(crate) fn memory() -> ItemMemory {
    ItemMemory {
        used_bytes: ALL_HEAPS.iter().map(|heap| heap.0.lock().used_bytes).sum(),
        reserved_bytes: REGION_BYTES.load(Ordering::Relaxed),
        long_bytes: LONG_BYTES.load(Ordering::Relaxed),
    }
}

/// Gives the pages of all spans that are free back to the system. How many bytes there were, of spans
/// that had not been given back before. Takes each of these locks for a moment, and the one around the
/// regions for a call of the system for each free span.
pub(crate) fn trim() -> usize {
    for heap in &ALL_HEAPS {
        // In the order of `free`: a heap's lock before that of the regions.
        let mut heap = heap.0.lock();
        heap.give_back_empty(&mut REGIONS.lock());
    }
    let regions = REGIONS.lock();
    let mut bytes = 0;
    for &region in &regions.0 {
        // SAFETY: regions in the list live, and are touched under its lock alone.
        unsafe { bytes += (*region).trim() };
    }
    bytes
}

/// A block for `layout`, whose size is not zero. Ends the process as the global allocator does if
/// there is no memory.
#[inline]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    if !is_ours(layout) {
        LONG_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the size is not zero, as the caller says.
        let block = NonNull::new(unsafe { alloc(layout) });
        return block.unwrap_or_else(|| handle_alloc_error(layout));
    }
    let class = class_of(layout.size());
    let heap = thread_index() % HEAPS;
    let mut locked = ALL_HEAPS[heap].0.lock();
    locked.used_bytes += class_bytes(class);
    let mut span = locked.with_room[class];
    if span.is_null() {
        span = locked.gain(class, heap);
    }
    // SAFETY: the span is in the list of those with room, whose lock is held.
    unsafe {
        let block = (*span).take();
        if !(*span).has_room() {
            locked.unlink(span);
        }
        block
    }
}

/// Gives a block back.
///
/// # Safety
/// `block` came from [`allocate`] with the same layout and is not used any more.
#[inline]
pub(crate) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    if !is_ours(layout) {
        LONG_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { dealloc(block.as_ptr(), layout) };
        return;
    }
    let span: *mut Span = block
        .as_ptr()
        .map_addr(|address| address & !(SPAN_BYTES - 1))
        .cast();
    // SAFETY: the block lies in a span that lives as long as blocks of it are in use; but for `heap`, it
    // is touched under its heap's lock.
    unsafe {
        let mut locked = Heap::of(&(*span).heap);
        let had_room = (*span).has_room();
        locked.used_bytes -= (*span).block_bytes();
        (*span).give(block);
        if (*span).used == 0 {
            // The last span with room of its class stays, or a block that comes and goes would
            // bring a span along each time.
            let is_only = (*span).next == span;
            if had_room && !is_only {
                locked.unlink(span);
                Span::end(span, &mut REGIONS.lock());
                return;
            }
        }
        if !had_room {
            locked.link(span);
        }
    }
}

impl Heap {
    /// The heap with the number that `heap` shows, locked.
    fn of(heap: &AtomicU16) -> MutexGuard<'static, Self> {
        loop {
            // What is read here is a guess; under the lock it cannot change any more.
            let number = heap.load(Ordering::Relaxed);
            let locked = ALL_HEAPS[usize::from(number)].0.lock();
            if heap.load(Ordering::Relaxed) == number {
                return locked;
            }
        }
    }

    /// A span with room for `class`, in the list of this heap, which is number `own` and has none.
    #[cold]
    fn gain(&mut self, class: usize, own: usize) -> *mut Span {
        let span = self
            .take_over(class, own)
            .unwrap_or_else(|| Span::make(class, own, self));
        // SAFETY: new, or just taken out of another heap's list.
        unsafe { self.link(span) };
        span
    }

    /// The span with the most room for `class` of the other heaps, but of those whose lock is held:
    /// waiting for one while this one is locked could be for ever.
    fn take_over(&mut self, class: usize, own: usize) -> Option<*mut Span> {
        let others = (1..HEAPS).map(|distance| (own + distance) % HEAPS);
        for mut other in others.filter_map(|number| ALL_HEAPS[number].0.try_lock()) {
            let first = other.with_room[class];
            if first.is_null() {
                continue;
            }
            // SAFETY: a span in the list of a heap whose lock is held, and both locks are.
            unsafe {
                let span = (*first).prev;
                other.unlink(span);
                let bytes = (*span).used as usize * class_bytes(class);
                other.used_bytes -= bytes;
                self.used_bytes += bytes;
                (*span).heap.store(own as u16, Ordering::Relaxed);
                return Some(span);
            }
        }
        None
    }

    /// Gives the spans that are kept empty back to their regions.
    fn give_back_empty(&mut self, regions: &mut Regions) {
        for class in 0..CLASSES {
            let span = self.with_room[class];
            // SAFETY: spans of this heap, whose lock is held. Of several, none is empty.
            unsafe {
                if !span.is_null() && (*span).used == 0 {
                    self.unlink(span);
                    Span::end(span, regions);
                }
            }
        }
    }

    /// Puts a span before the others of its class.
    ///
    /// # Safety
    /// It is a span of this heap and in no list.
    unsafe fn link(&mut self, span: *mut Span) {
        // SAFETY: the caller's promise; those in the list are spans of this heap too.
        unsafe {
            let first = &mut self.with_room[(*span).class as usize];
            if first.is_null() {
                (*span).prev = span;
                (*span).next = span;
            } else {
                let last = (**first).prev;
                (*span).prev = last;
                (*span).next = *first;
                (*last).next = span;
                (**first).prev = span;
            }
            *first = span;
        }
    }

    /// Takes a span out of its list.
    ///
    /// # Safety
    /// It is in the list of its class in this heap.
    unsafe fn unlink(&mut self, span: *mut Span) {
        // SAFETY: the caller's promise; neighbours are spans of this heap too.
        unsafe {
            let (prev, next) = ((*span).prev, (*span).next);
            let first = &mut self.with_room[(*span).class as usize];
            if next == span {
                *first = null_mut();
                return;
            }
            (*prev).next = next;
            (*next).prev = prev;
            if *first == span {
                *first = next;
            }
        }
    }
}

impl Span {
    fn block_bytes(&self) -> usize {
        class_bytes(self.class as usize)
    }

    fn has_room(&self) -> bool {
        !self.free.is_null() || self.fresh as usize + self.block_bytes() <= SPAN_BYTES
    }

    /// Takes a block out of a span that has room.
    ///
    /// # Safety
    /// `self` is the head of a span, whose heap's lock is held.
    unsafe fn take(&mut self) -> NonNull<u8> {
        self.used += 1;
        if self.free.is_null() {
            let start = std::ptr::from_mut(self).cast::<u8>();
            // SAFETY: within the span, for it has room and no block was freed.
            let block = unsafe { start.add(self.fresh as usize) };
            self.fresh += self.block_bytes() as u32;
            // SAFETY: an address within an allocation is not null.
            unsafe { NonNull::new_unchecked(block) }
        } else {
            let block = self.free;
            // SAFETY: a free block of this span holds the address of the next one.
            self.free = unsafe { (*block).next };
            // SAFETY: not null, as was just asked.
            unsafe { NonNull::new_unchecked(block.cast()) }
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It is a block of this span that is not used any more; the heap's lock is held.
    unsafe fn give(&mut self, block: NonNull<u8>) {
        let block = block.cast::<FreeBlock>().as_ptr();
        // SAFETY: the caller's promise; blocks are large enough and aligned for an address.
        unsafe { block.write(FreeBlock { next: self.free }) };
        self.free = block;
        self.used -= 1;
    }

    /// A span for blocks of `class`, in no list. `locked` is the heap with the number `heap`.
    fn make(class: usize, heap: usize, locked: &mut Heap) -> *mut Self {
        let mut regions = REGIONS.lock();
        if regions.0.is_empty() {
            locked.give_back_empty(&mut regions);
            let others = (0..HEAPS).filter(|&number| number != heap);
            for mut other in others.filter_map(|number| ALL_HEAPS[number].0.try_lock()) {
                other.give_back_empty(&mut regions);
            }
        }
        let region = match regions.0.last() {
            Some(&region) => region,
            None => Region::make(&mut regions),
        };
        // SAFETY: regions in the list live, and are touched under its lock alone.
        unsafe {
            // What is resident already comes first.
            let resident = (*region).free & !(*region).given_back;
            let index = if resident == 0 {
                (*region).free.trailing_zeros()
            } else {
                resident.trailing_zeros()
            } as usize;
            (*region).free &= !(1 << index);
            if (*region).given_back & 1 << index != 0 {
                (*region).given_back &= !(1 << index);
                REGION_BYTES.fetch_add(SPAN_BYTES, Ordering::Relaxed);
            }
            if (*region).free == 0 {
                Region::unlist(region, &mut regions);
            }
            let span = (*region).memory.as_ptr().add(index * SPAN_BYTES).cast();
            Self::write(span, class, heap, region);
            span
        }
    }

    /// # Safety
    /// `span` is the beginning of a free span of `region`.
    unsafe fn write(span: *mut Self, class: usize, heap: usize, region: *mut Region) {
        let head = Self {
            prev: null_mut(),
            next: null_mut(),
            free: null_mut(),
            fresh: HEAD_BYTES as u32,
            used: 0,
            class: class as u16,
            heap: AtomicU16::new(heap as u16),
            region,
        };
        // SAFETY: the caller's promise.
        unsafe { span.write(head) };
    }

    /// Gives a span without blocks in use back to its region.
    ///
    /// # Safety
    /// It is in no list, and nobody uses it any more.
    unsafe fn end(span: *mut Self, regions: &mut Regions) {
        // SAFETY: a span's region lives as long as the span.
        unsafe {
            let region = (*span).region;
            let offset = span.addr() - (*region).memory.addr().get();
            if (*region).free == 0 {
                (*region).listed_at = Some(regions.0.len());
                regions.0.push(region);
            }
            (*region).free |= 1 << (offset / SPAN_BYTES);
            // One that is empty stays, for whoever needs a span next.
            if (*region).free == u64::MAX && regions.0.len() > 1 {
                Region::unlist(region, regions);
                Region::end(region);
            }
        }
    }
}

const _: () = assert!(size_of::<Span>() <= HEAD_BYTES && SPANS_PER_REGION == 64);

impl Region {
    /// A region of free spans, in the list.
    fn make(regions: &mut Regions) -> *mut Self {
        // SAFETY: the size is not zero.
        let memory = NonNull::new(unsafe { alloc(REGION) });
        let memory = memory.unwrap_or_else(|| handle_alloc_error(REGION));
        // SAFETY: a region's own memory.
        unsafe { ask_for_large_pages(memory.as_ptr(), REGION.size()) };
        let region = Box::into_raw(Box::new(Self {
            free: u64::MAX,
            given_back: 0,
            memory,
            listed_at: Some(regions.0.len()),
        }));
        regions.0.push(region);
        REGION_BYTES.fetch_add(REGION.size(), Ordering::Relaxed);
        region
    }

    /// Takes a region out of the list.
    ///
    /// # Safety
    /// It lives and is in the list.
    unsafe fn unlist(region: *mut Self, regions: &mut Regions) {
        // SAFETY: the caller's promise; all regions in the list live.
        unsafe {
            let index = (*region).listed_at.take().expect("the region is listed");
            regions.0.swap_remove(index);
            if let Some(&moved) = regions.0.get(index) {
                (*moved).listed_at = Some(index);
            }
        }
    }

    /// Gives a region's memory back.
    ///
    /// # Safety
    /// All its spans are free, and it is in no list.
    unsafe fn end(region: *mut Self) {
        // SAFETY: made by `make`, and nobody knows it any more.
        let region = unsafe { Box::from_raw(region) };
        // SAFETY: allocated with this layout.
        unsafe { dealloc(region.memory.as_ptr(), REGION) };
        let given_back = region.given_back.count_ones() as usize * SPAN_BYTES;
        REGION_BYTES.fetch_sub(REGION.size() - given_back, Ordering::Relaxed);
    }

    /// Gives the pages of its free spans back to the system; how many bytes more than before. Also those
    /// that were given back: a system that makes large pages of small ones takes what lies between along.
    fn trim(&mut self) -> usize {
        let mut bytes = 0;
        for index in (0..SPANS_PER_REGION).filter(|index| self.free & 1 << index != 0) {
            // SAFETY: a free span's memory is the region's, and nobody needs what is in it: a span's head
            // is written when it is made.
            let given_back = unsafe {
                let span = self.memory.as_ptr().add(index * SPAN_BYTES);
                give_pages_back(span, SPAN_BYTES)
            };
            if given_back && self.given_back & 1 << index == 0 {
                self.given_back |= 1 << index;
                bytes += SPAN_BYTES;
            }
        }
        REGION_BYTES.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CLASSES, MAX_BLOCK_BYTES, SPAN_BYTES, allocate, block_bytes, class_bytes, class_of, free,
        memory, trim,
    };
    use std::alloc::Layout;
    use std::collections::BTreeSet;
    use std::ptr::NonNull;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for bytes in 1..=MAX_BLOCK_BYTES {
            let class = class_of(bytes);
            assert!(class < CLASSES && class_bytes(class) >= bytes, "{bytes}");
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes}");
            let waste = class_bytes(class) - bytes;
            assert!(
                waste < 8 || waste * 32 <= bytes,
                "{bytes} in {}",
                class_bytes(class)
            );
            assert_eq!(class_bytes(class) % 8, 0);
        }
        assert_eq!(class_bytes(CLASSES - 1), MAX_BLOCK_BYTES);
    }

    /// A block filled with a number of its own.
    struct Filled {
        block: NonNull<u8>,
        layout: Layout,
        number: u8,
    }

    impl Filled {
        fn new(random: &mut fastrand::Rng) -> Self {
            let bytes = match random.u8(0..10) {
                0 => random.usize(4000..6000),
                1..3 => random.usize(512..4096),
                _ => random.usize(1..512),
            };
            let layout = Layout::from_size_align(bytes, 8).expect("a layout");
            let (block, number) = (allocate(layout), random.u8(..));
            assert_eq!(block.addr().get() % 8, 0);
            // SAFETY: a new block of so many bytes.
            unsafe { block.write_bytes(number, bytes) };
            Self {
                block,
                layout,
                number,
            }
        }

        /// Frees the block, if nobody else has written to it.
        fn free(self) {
            // SAFETY: so many bytes were written when the block was allocated.
            let bytes =
                unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == self.number));
            // SAFETY: allocated with this layout, and not used any more.
            unsafe { free(self.block, self.layout) };
        }
    }

    // SAFETY: it owns its block.
    unsafe impl Send for Filled {}

    #[test]
    fn blocks_in_use_never_overlap_whoever_frees_them() {
        let steps = if cfg!(miri) { 300 } else { 60_000 };
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut held: Vec<Filled> = Vec::new();
                    for step in 0..steps {
                        // Grows, shrinks and grows again, so that spans fill up and empty.
                        let wanted = if step * 3 / steps == 1 { 10 } else { 2_000 };
                        if held.len() < wanted && random.u8(0..3) > 0 {
                            held.push(Filled::new(&mut random));
                        } else if !held.is_empty() {
                            held.swap_remove(random.usize(0..held.len())).free();
                        }
                    }
                    held
                })
            })
            .collect();
        for thread in threads {
            // Freed by another thread than allocated them.
            for filled in thread.join().expect("no overlap") {
                filled.free();
            }
        }
    }

    /// The addresses of the spans of these blocks.
    fn spans(held: &[Filled]) -> BTreeSet<usize> {
        let address = |filled: &Filled| filled.block.addr().get() & !(SPAN_BYTES - 1);
        held.iter().map(address).collect()
    }

    #[test]
    #[cfg_attr(
        any(miri, nuthatch_plain_items),
        ignore = "blocks are the global allocator's"
    )]
    fn what_one_thread_has_left_is_used_by_another() {
        let layout = Layout::from_size_align(MAX_BLOCK_BYTES - 100, 8).expect("a layout");
        let filled = move |number| {
            let block = allocate(layout);
            // SAFETY: a new block of so many bytes.
            unsafe { block.write_bytes(number, layout.size()) };
            Filled {
                block,
                layout,
                number,
            }
        };
        let (send, receive) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        // This thread lives on, so that no other has its heap.
        let first = thread::spawn(move || {
            let blocks: Vec<_> = (0..150).map(filled).collect();
            send.send(blocks).expect("is waited for");
            assert!(ended.recv().is_err());
        });
        let mut held = receive.recv().expect("blocks");
        // Two thirds of each span go, so that hardly any is empty.
        for place in (0..held.len()).rev().filter(|place| place % 3 > 0) {
            held.remove(place).free();
        }
        let before = spans(&held);
        let second = thread::spawn(move || (0..100).map(filled).collect::<Vec<_>>());
        held.extend(second.join().expect("no panic"));
        // A heap that is locked at that moment, by a test that runs beside, is passed over.
        let new = spans(&held).difference(&before).count();
        assert!(new < 3, "{new} new spans, and {} of before", before.len());
        drop(end);
        first.join().expect("no panic");
        held.into_iter().for_each(Filled::free);
    }

    #[test]
    #[cfg_attr(
        any(miri, nuthatch_plain_items, not(target_os = "linux")),
        ignore = "no pages are given back"
    )]
    fn free_spans_are_given_back_and_used_again() {
        let layout = Layout::from_size_align(3_000, 8).expect("a layout");
        let blocks = || (0..20_000).map(|_| allocate(layout)).collect::<Vec<_>>();
        let all = |blocks: Vec<NonNull<u8>>| {
            for block in blocks {
                // SAFETY: allocated with this layout, and not used any more.
                unsafe { free(block, layout) };
            }
        };
        // Beside other tests that allocate and free: those are of a few spans.
        let kept = blocks();
        let (first, second) = (blocks(), memory());
        all(first);
        let freed = trim();
        assert!(freed > 0, "the last region's spans at least");
        let trimmed = memory();
        assert!(trimmed.reserved_bytes + freed / 2 <= second.reserved_bytes);
        let again = blocks();
        for block in &again {
            // SAFETY: a block of so many bytes.
            unsafe { block.write_bytes(7, layout.size()) };
        }
        assert!(memory().reserved_bytes > trimmed.reserved_bytes);
        all(again);
        all(kept);
    }

    #[test]
    fn a_block_takes_what_its_class_has() {
        let bytes = |size| block_bytes(Layout::from_size_align(size, 8).expect("a layout"));
        assert_eq!(bytes(100_000), 100_000);
        if cfg!(not(any(miri, nuthatch_plain_items))) {
            assert_eq!(bytes(140), 144);
            assert_eq!(bytes(1000), 1008);
        }
    }
}
