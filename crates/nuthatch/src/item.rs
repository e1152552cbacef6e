//! A key and its value in one block of memory behind one thin pointer.
//!
//! A cache of byte strings that keeps `String` and `Vec<u8>` pays two allocations and 48 bytes of
//! pointers, lengths and capacities for each entry. An [`Item`] is 8 bytes in its slot and one block
//! that is as long as what it holds, so `Cache<Item<T>, ()>` is a keyspace of bytes whose lookups
//! follow one pointer to key and value alike.
//!
//! ```text
//!   bytes    | header | key .. | value ..          header, 4 bytes:
//!            0        4                              u15 length of the value, u8 of the key, u8 tag
//!   longer   | header | key .. | value ..          header, 8 bytes, the first bit of it set:
//!            0        8                              u23 length of the key, u8 tag
//!   object   | header | (padding) T | key ..         u32 length of the value, or OBJECT
//!            0        8
//! ```
//!
//! An item never changes: whoever sees it may read all of it without a lock. The block's layout
//! follows from its header alone, so nothing else has to be kept to free it.
#![expect(
    unsafe_code,
    reason = "a block of memory whose contents are laid out by hand"
)]

use crate::arena::{self, ItemMemory};
use std::alloc::Layout;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use thiserror::Error;

/// In place of the length of the value: an object follows the header.
const OBJECT: u32 = u32::MAX;
/// In the first word of a header: a second word follows.
const LONG: u32 = 1 << 31;
/// Bytes of the two kinds of headers.
const SHORT_HEADER: usize = 4;
const LONG_HEADER: usize = 8;
/// What a block is aligned to, unless an object wants more.
const BLOCK_ALIGN: usize = 8;
/// Cache lines that [`Item::prefetch`] asks for.
const PREFETCHED_LINES: usize = 3;

/// A key with a value, bytes or an object of type `T`, in one allocation.
///
/// Items are equal, and hash alike, if their keys are and do, whatever their values: they are
/// meant as the keys of a [`Cache<Item<T>, ()>`](crate::Cache), which is then asked by `&[u8]`.
///
/// ```
/// use nuthatch::{Cache, Item, ItemValue};
/// let cache: Cache<Item<Vec<u64>>, ()> = Cache::new(100);
/// cache.insert(Item::from_bytes(b"nut", 0, &[b"hazel", b"nut"])?, ());
/// cache.insert(Item::from_object(b"primes", 1, vec![2, 3, 5])?, ());
/// let guard = cache.get_ref(b"nut".as_slice()).expect("just inserted");
/// assert!(matches!(guard.key().value(), ItemValue::Bytes(b"hazelnut")));
/// # Ok::<(), nuthatch::ItemTooLarge>(())
/// ```
pub struct Item<T> {
    block: NonNull<u32>,
    owns: PhantomData<T>,
}

/// What an [`Item`] holds besides its key.
pub enum ItemValue<'a, T> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// An object.
    Object(&'a T),
}

/// A key or a value that is too long for an [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ItemTooLarge {
    /// The key is.
    #[error("a key of {len} bytes exceeds the limit of {max}")]
    Key {
        /// Its length in bytes.
        len: usize,
        /// [`Item::MAX_KEY_LEN`].
        max: usize,
    },
    /// The value is.
    #[error("a value of {len} bytes exceeds the limit of {max}")]
    Value {
        /// Its length in bytes.
        len: usize,
        /// [`Item::MAX_VALUE_LEN`].
        max: usize,
    },
}

/// What a header says.
#[derive(Clone, Copy)]
struct Header {
    key_len: usize,
    /// [`OBJECT`], or the length of the value's bytes.
    value: u32,
    tag: u8,
    /// Whether it takes two words.
    is_long: bool,
}

// SAFETY: an item owns its `T`, and hands out shared references to it and to plain bytes.
unsafe impl<T: Send> Send for Item<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Item<T> {}

impl<T> Item<T> {
    /// The longest key, in bytes.
    pub const MAX_KEY_LEN: usize = (1 << 23) - 1;
    /// The longest value of bytes: 4 GiB less two, or a quarter of a smaller address space.
    pub const MAX_VALUE_LEN: usize = if usize::BITS > 32 {
        OBJECT as usize - 1
    } else {
        1 << 30
    };

    /// Where an object begins.
    const OBJECT_START: usize = LONG_HEADER.next_multiple_of(align_of::<T>());
    /// Where the key behind an object begins.
    const OBJECT_END: usize = Self::OBJECT_START + size_of::<T>();

    /// An item whose value is `value`, part after part. `tag` is the user's own, all eight bits of
    /// it. One allocation and a copy of each part.
    ///
    /// # Errors
    /// [`ItemTooLarge`] if the key is longer than [`MAX_KEY_LEN`](Self::MAX_KEY_LEN) or the value
    /// longer than [`MAX_VALUE_LEN`](Self::MAX_VALUE_LEN).
    #[inline]
    pub fn from_bytes(key: &[u8], tag: u8, value: &[&[u8]]) -> Result<Self, ItemTooLarge> {
        let len = value
            .iter()
            .fold(0, |len: usize, part| len.saturating_add(part.len()));
        if len > Self::MAX_VALUE_LEN {
            let max = Self::MAX_VALUE_LEN;
            return Err(ItemTooLarge::Value { len, max });
        }
        let (item, header) = Self::allocate(key, tag, len as u32)?;
        // SAFETY: the block has room for `len` bytes behind the key, and nobody else knows it yet,
        // so no part lies in it.
        unsafe {
            let mut end = item.start().add(Self::key_start(header) + key.len());
            for part in value {
                end.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
                end = end.add(part.len());
            }
        }
        Ok(item)
    }

    /// An item whose value is `object`. `tag` is the user's own, all eight bits of it.
    ///
    /// # Errors
    /// [`ItemTooLarge::Key`] if the key is longer than [`MAX_KEY_LEN`](Self::MAX_KEY_LEN); then the
    /// object is dropped.
    #[inline]
    pub fn from_object(key: &[u8], tag: u8, object: T) -> Result<Self, ItemTooLarge> {
        let (item, _) = Self::allocate(key, tag, OBJECT)?;
        // SAFETY: the block has room for the object, aligned, in this place. Nothing can panic
        // between the allocation and here, so no item without its object is dropped.
        unsafe {
            item.start().add(Self::OBJECT_START).cast().write(object);
        }
        Ok(item)
    }

    /// A block with header and key, and room for the value.
    #[inline]
    fn allocate(key: &[u8], tag: u8, value: u32) -> Result<(Self, Header), ItemTooLarge> {
        if key.len() > Self::MAX_KEY_LEN {
            let (len, max) = (key.len(), Self::MAX_KEY_LEN);
            return Err(ItemTooLarge::Key { len, max });
        }
        let header = Header::new(key.len(), tag, value);
        let layout = Self::layout(header);
        // The size is not zero, for a header is in it.
        let block = arena::allocate(layout);
        // SAFETY: the block begins with a header's place, aligned, and has room for the key where
        // the header says that it stands. It is new, so the key does not lie in it.
        unsafe {
            header.write(block.cast());
            let start = block.add(Self::key_start(header));
            start.copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
        }
        let item = Self {
            block: block.cast(),
            owns: PhantomData,
        };
        Ok((item, header))
    }

    /// The layout of a block with this header.
    #[inline]
    fn layout(header: Header) -> Layout {
        let (value_len, align) = if header.value == OBJECT {
            (0, BLOCK_ALIGN.max(align_of::<T>()))
        } else {
            (header.value as usize, BLOCK_ALIGN)
        };
        let size = Self::key_start(header) + header.key_len + value_len;
        Layout::from_size_align(size, align).expect("an item is smaller than the address space")
    }

    #[inline]
    fn key_start(header: Header) -> usize {
        if !header.is_long {
            SHORT_HEADER
        } else if header.value == OBJECT {
            Self::OBJECT_END
        } else {
            LONG_HEADER
        }
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: a block begins with its header, which never changes, and lives as long as the item.
        unsafe { Header::read(self.block) }
    }

    #[inline]
    fn start(&self) -> NonNull<u8> {
        self.block.cast()
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: so many bytes of the key were written there when the item was made, and they
        // never change while the item lives.
        unsafe {
            let start = self.start().add(Self::key_start(header));
            slice::from_raw_parts(start.as_ptr(), header.key_len)
        }
    }

    /// The tag that the item was made with.
    #[inline]
    pub fn tag(&self) -> u8 {
        self.header().tag
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ItemValue<'_, T> {
        let header = self.header();
        if header.value == OBJECT {
            // SAFETY: the header says that an object was written there; it lives as long as the
            // item.
            ItemValue::Object(unsafe { self.start().add(Self::OBJECT_START).cast().as_ref() })
        } else {
            // SAFETY: so many bytes were written there when the item was made, and they never
            // change while the item lives.
            ItemValue::Bytes(unsafe {
                let start = self.start().add(Self::key_start(header) + header.key_len);
                slice::from_raw_parts(start.as_ptr(), header.value as usize)
            })
        }
    }

    /// Asks the processor to load the first three lines of the item, which are all of it if it is
    /// short, without waiting for them: see [`Cache::with_many`](crate::Cache::with_many).
    #[inline]
    pub fn prefetch(&self) {
        let start = self.start().as_ptr();
        for line in 0..PREFETCHED_LINES {
            // An address beyond the item does no harm.
            crate::slab::prefetch(start.wrapping_add(64 * line));
        }
    }

    /// How many bytes the item's block takes: a header of 4, or of 8 if there is an object, a key
    /// longer than 255 bytes or a value longer than 32,767; the object with its padding, the key and the
    /// value, rounded up to a multiple of 8 up to 512 bytes, and by a thirty-second at most up to 4 KiB.
    /// What the global allocator adds to longer ones, and what the object owns elsewhere, is not in
    /// it.
    #[inline]
    pub fn allocated_bytes(&self) -> usize {
        arena::block_bytes(Self::layout(self.header()))
    }

    /// What the blocks of all items of the process take, of whatever type.
    pub fn memory() -> ItemMemory {
        arena::memory()
    }

    /// Gives memory that blocks of items have left free back to the system, where whole spans of 64 KiB
    /// are; how many bytes. On other systems than Linux there is nothing to be given back. Costs a call of
    /// the system for each such span, under a lock that threads take when they need a new one.
    pub fn trim_memory() -> usize {
        arena::trim()
    }
}

impl Header {
    /// The shortest header that can say this.
    #[inline]
    fn new(key_len: usize, tag: u8, value: u32) -> Self {
        Self {
            key_len,
            value,
            tag,
            is_long: key_len > 0xff || value > 0x7fff,
        }
    }

    /// Writes it to where a block begins.
    ///
    /// # Safety
    /// There is room for it, aligned.
    #[inline]
    unsafe fn write(self, block: NonNull<u32>) {
        let first = u32::from(self.tag) | (self.key_len as u32) << 8;
        // SAFETY: promised by the caller.
        unsafe {
            if self.is_long {
                block.write(first | LONG);
                block.add(1).write(self.value);
            } else {
                block.write(first | self.value << 16);
            }
        }
    }

    /// Reads it from where a block begins.
    ///
    /// # Safety
    /// A header was written there.
    #[inline]
    unsafe fn read(block: NonNull<u32>) -> Self {
        // SAFETY: promised by the caller.
        let first = unsafe { block.read() };
        let tag = first as u8;
        if first & LONG == 0 {
            return Self {
                key_len: (first >> 8) as usize & 0xff,
                value: first >> 16,
                tag,
                is_long: false,
            };
        }
        Self {
            key_len: (first & !LONG) as usize >> 8,
            // SAFETY: a long header has a second word.
            value: unsafe { block.add(1).read() },
            tag,
            is_long: true,
        }
    }
}

impl<T> Drop for Item<T> {
    #[inline]
    fn drop(&mut self) {
        /// Frees the block also when the object's drop panics.
        struct Block(NonNull<u8>, Layout);
        impl Drop for Block {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: allocated with this very layout, and the item that owned it is gone.
                unsafe { arena::free(self.0, self.1) }
            }
        }
        let header = self.header();
        let _block = Block(self.start(), Self::layout(header));
        if header.value == OBJECT {
            // SAFETY: the header says that an object is there, and nobody looks at it after this.
            unsafe {
                self.start()
                    .add(Self::OBJECT_START)
                    .cast::<T>()
                    .drop_in_place();
            }
        }
    }
}

impl<T> Borrow<[u8]> for Item<T> {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl<T> Hash for Item<T> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl<T> PartialEq for Item<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Item<T> {}

impl<T> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &format_args!("\"{}\"", self.key().escape_ascii()))
            .field("tag", &self.tag())
            .field("value", &self.value())
            .finish()
    }
}

impl<T> Clone for ItemValue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ItemValue<'_, T> {}

impl<T> fmt::Debug for ItemValue<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f
                .debug_tuple("Bytes")
                .field(&format_args!("\"{}\"", bytes.escape_ascii()))
                .finish(),
            Self::Object(_) => f.debug_tuple("Object").finish_non_exhaustive(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Item, ItemTooLarge, ItemValue};
    use crate::{Cache, DefaultHashBuilder, Engine};
    use std::hash::BuildHasher;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    fn bytes<T>(item: &Item<T>) -> &[u8] {
        match item.value() {
            ItemValue::Bytes(bytes) => bytes,
            ItemValue::Object(_) => panic!("{item:?} holds bytes"),
        }
    }

    fn object<T>(item: &Item<T>) -> &T {
        match item.value() {
            ItemValue::Object(object) => object,
            ItemValue::Bytes(_) => panic!("{item:?} holds an object"),
        }
    }

    #[test]
    fn an_item_is_one_pointer_wide() {
        assert_eq!(size_of::<Option<Item<String>>>(), size_of::<usize>());
    }

    #[test]
    fn bytes_of_any_length_come_back_joined() {
        let long = vec![7; 100_000];
        // Lengths on both sides of what a short header can say.
        let keys = [0, 1, 12, 255, 256, 100_000].map(|len| &long[..len]);
        for key in keys {
            let values: [&[&[u8]]; 8] = [
                &[],
                &[b""],
                &[b"v"],
                &[b"one", b"", b"two"],
                &[&long[..32_767]],
                &[&long[..32_000], &long[..768]],
                &[&long[..65_536]],
                &[&long],
            ];
            for parts in values {
                for tag in [0, 1, 255] {
                    let item = Item::<u64>::from_bytes(key, tag, parts).unwrap();
                    assert_eq!((item.key(), item.tag()), (key, tag));
                    assert_eq!(bytes(&item), parts.concat());
                    let value_len = parts.concat().len();
                    let is_long = key.len() > 255 || value_len > 32_767;
                    let header = if is_long { 8 } else { 4 };
                    let bytes = header + key.len() + value_len;
                    assert!((bytes..bytes + 8 + bytes / 32).contains(&item.allocated_bytes()));
                }
            }
        }
    }

    #[test]
    fn objects_of_any_size_and_alignment_are_kept_and_dropped_once() {
        #[repr(align(64))]
        struct Wide(Arc<()>);
        let counted = Arc::new(());
        for key in [&b""[..], b"k", b"a longer key"] {
            let thin = Item::from_object(key, 3, Arc::clone(&counted)).unwrap();
            let wide = Item::from_object(key, 200, Wide(Arc::clone(&counted))).unwrap();
            assert_eq!(Arc::strong_count(&counted), 3);
            assert!(Arc::ptr_eq(object(&thin), &counted));
            assert!(Arc::ptr_eq(&object(&wide).0, &counted));
            assert_eq!(std::ptr::from_ref(object(&wide)).addr() % 64, 0);
            assert_eq!(
                (thin.key(), thin.tag(), wide.key(), wide.tag()),
                (key, 3, key, 200)
            );
            let bytes = 16 + key.len();
            assert!((bytes..bytes + 8 + bytes / 32).contains(&thin.allocated_bytes()));
            let bytes = 128 + key.len();
            assert!((bytes..bytes + 8 + bytes / 32).contains(&wide.allocated_bytes()));
            drop((thin, wide));
            assert_eq!(Arc::strong_count(&counted), 1);
        }
        let zero_sized = Item::from_object(b"key", 9, ()).unwrap();
        assert_eq!(*object(&zero_sized), ());
        assert_eq!(zero_sized.key(), b"key");
        assert!((11..=16).contains(&zero_sized.allocated_bytes()));
    }

    #[test]
    fn an_object_whose_drop_panics_still_frees_its_block() {
        struct Panics(#[expect(dead_code, reason = "held for its count")] Arc<()>);
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("a test's panic");
            }
        }
        let counted = Arc::new(());
        let item = Item::from_object(b"key", 0, Panics(Arc::clone(&counted))).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(item))).is_err());
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let key = vec![0; Item::<u64>::MAX_KEY_LEN + 1];
        let expected = ItemTooLarge::Key {
            len: 1 << 23,
            max: (1 << 23) - 1,
        };
        assert_eq!(Item::<u64>::from_bytes(&key, 0, &[]).unwrap_err(), expected);
        assert_eq!(Item::from_object(&key, 0, 7).unwrap_err(), expected);
        assert!(Item::from_object(&key[1..], 0, 7).is_ok());
        // A slice named over and over again is longer than any memory.
        let megabyte = vec![0; 1 << 20];
        let parts = vec![&megabyte[..]; 1 << 12];
        let refused = Item::<u64>::from_bytes(b"key", 0, &parts).unwrap_err();
        let max = Item::<u64>::MAX_VALUE_LEN;
        assert_eq!(refused, ItemTooLarge::Value { len: 1 << 32, max });
        assert_eq!(
            refused.to_string(),
            format!("a value of 4294967296 bytes exceeds the limit of {max}")
        );
    }

    #[test]
    fn items_are_equal_and_hash_as_their_keys() {
        let one = Item::from_object(b"key", 1, 7).unwrap();
        let two = Item::from_bytes(b"key", 2, &[b"value"]).unwrap();
        let other = Item::from_bytes(b"kez", 2, &[b"value"]).unwrap();
        assert_eq!(one, two);
        assert_ne!(two, other);
        let hasher = DefaultHashBuilder::default();
        assert_eq!(hasher.hash_one(&one), hasher.hash_one(&b"key"[..]));
        assert_eq!(
            format!("{two:?}"),
            r#"Item { key: "key", tag: 2, value: Bytes("value") }"#
        );
    }

    #[test]
    fn a_cache_of_items_is_asked_by_bytes() {
        for engine in [Engine::LockFree, Engine::Locked] {
            let counted = Arc::new(());
            let builder = Cache::<Item<Arc<()>>, ()>::builder();
            let cache = builder
                .weight_capacity(1_000)
                .weigher(|item, ()| item.allocated_bytes() as u32)
                .engine(engine)
                .build()
                .unwrap();
            for step in 0..400_u32 {
                let key = format!("key {}", step % 100);
                let item = match step % 2 {
                    0 => Item::from_bytes(key.as_bytes(), 0, &[b"step ", key.as_bytes()]),
                    _ => Item::from_object(key.as_bytes(), 1, Arc::clone(&counted)),
                };
                cache.insert(item.unwrap(), ());
                let guard = cache.get_ref(key.as_bytes()).expect("just inserted");
                match guard.key().value() {
                    ItemValue::Bytes(value) => assert_eq!(value, format!("step {key}").as_bytes()),
                    ItemValue::Object(object) => assert!(Arc::ptr_eq(object, &counted)),
                }
            }
            cache.validate();
            assert!(cache.stats().evicted > 0);
            drop(cache);
            assert_eq!(Arc::strong_count(&counted), 1);
        }
    }
}
