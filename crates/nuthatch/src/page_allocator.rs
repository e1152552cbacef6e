//! A global allocator that takes large blocks straight from the system's pages.
//!
//! General allocators keep large blocks that were freed, in the hope that such are asked for again. A
//! cache that grows frees one array after another, each somewhat smaller than the next one: what is
//! kept is never used again, and the process holds a tenth more than it needs. Here a block of 128 KiB
//! or more is a mapping of its own, which goes back to the system when it is freed, and which the
//! system extends without copying it.
#![expect(unsafe_code, reason = "an allocator is asked for raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks from this size on are mappings.
const LARGE_BYTES: usize = 128 << 10;
/// Pages are at least this large, so mappings are aligned to it.
const PAGE_BYTES: usize = 4096;

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
            mapping::map(layout.size())
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapping(layout) {
            mapping::map(layout.size())
        } else {
            // SAFETY: the caller's promise.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapping(layout) {
            // SAFETY: mapped with this size, as the layout says.
            unsafe { mapping::unmap(block, layout.size()) }
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
    use super::{LARGE_BYTES, PageAllocator};
    use std::alloc::{GlobalAlloc, Layout};

    #[test]
    fn blocks_keep_their_bytes_as_they_grow_and_shrink_past_the_border() {
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
    fn zeroed_blocks_are_zero_also_where_others_were_freed() {
        let layout = Layout::from_size_align(2 * LARGE_BYTES, 4096).expect("a layout");
        for _ in 0..3 {
            // SAFETY: used within its size, and freed with its layout.
            unsafe {
                let block = PageAllocator.alloc_zeroed(layout);
                assert_eq!(block.addr() % 4096, 0);
                let bytes = std::slice::from_raw_parts_mut(block, layout.size());
                assert!(bytes.iter().all(|&byte| byte == 0));
                bytes.fill(7);
                PageAllocator.dealloc(block, layout);
            }
        }
    }
}
