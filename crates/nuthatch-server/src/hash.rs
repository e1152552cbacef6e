//! Hashes: fields with values, each of which may have a deadline of its own.
//!
//! A hash is kept in one of two forms. A *flat* one ([`FlatHash`]) is the value of its item, in place:
//! no allocation, no lock and no pointer more than a string, and like a string it never changes: a write
//! puts a new item in its place. That copies the hash, which for the few hundred fields that the
//! settings allow costs no more than looking for a field among them does. A larger one is *indexed*
//! ([`IndexedHash`]), shared by the items that stand for it one after another, and is changed in place
//! under a lock of its own: readers take no key's stripe, so they may look while a writer works.
//!
//! *A field is due* when its deadline is not after the present. No command returns a due field; it is
//! replaced or removed by a write that names it, and soon removed in any case, for keys of hashes with
//! deadlines stand in [`FieldDeadlines`] under the earliest of them. Until then it is counted by `HLEN`
//! and by the hash's weight.

mod deadlines;
mod flat;
mod indexed;

pub use deadlines::FieldDeadlines;
pub use flat::{FlatBuffer, FlatFields, FlatHash};
pub use indexed::IndexedHash;

use nuthatch::ItemTooLarge;
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldView<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it is due, in milliseconds since 1970; `None` if never.
    pub deadline_ms: Option<u64>,
}

impl FieldView<'_> {
    /// Bytes that the field takes in a flat hash, at most.
    pub fn flat_bytes(&self) -> usize {
        self.name.len() + self.value.len() + flat::MAX_HEAD_BYTES
    }

    /// Whether it exists at this time.
    #[inline]
    pub fn is_live(&self, now_ms: u64) -> bool {
        is_live(self.deadline_ms, now_ms)
    }
}

/// Whether what has this deadline exists at this time.
#[inline]
pub fn is_live(deadline_ms: Option<u64>, now_ms: u64) -> bool {
    deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms)
}

/// Up to where a hash is flat.
#[derive(Debug)]
pub struct FlatLimits {
    fields: AtomicUsize,
    bytes: AtomicUsize,
}

impl FlatLimits {
    /// Hashes of at most so many fields, with names and values of at most so many bytes.
    pub fn new(fields: u64, bytes: u64) -> Self {
        let limits = Self {
            fields: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        };
        limits.set(fields, bytes);
        limits
    }

    /// Changes them, for hashes that are written from now on.
    pub fn set(&self, fields: u64, bytes: u64) {
        let saturate = |number| usize::try_from(number).unwrap_or(usize::MAX);
        self.fields.store(saturate(fields), Ordering::Relaxed);
        self.bytes.store(saturate(bytes), Ordering::Relaxed);
    }

    /// Whether a hash may have so many fields and be flat.
    pub fn allow_fields(&self, fields: usize) -> bool {
        fields <= self.fields.load(Ordering::Relaxed)
    }

    /// Whether a flat hash may have this field.
    pub fn allow(&self, field: &FieldView<'_>) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed);
        field.name.len() <= bytes && field.value.len() <= bytes
    }
}

/// An indexed hash, shared by its items.
#[derive(Debug)]
pub struct SharedHash {
    fields: RwLock<IndexedHash>,
    /// What `fields` has allocated; apart from it, so that it is read without the lock.
    heap_bytes: AtomicU64,
    /// What that was when the hash's last item was weighed.
    weighed_bytes: AtomicU64,
}

impl SharedHash {
    /// Shares a hash.
    pub fn new(fields: IndexedHash) -> Self {
        let bytes = fields.heap_bytes() as u64;
        Self {
            fields: RwLock::new(fields),
            heap_bytes: AtomicU64::new(bytes),
            weighed_bytes: AtomicU64::new(bytes),
        }
    }

    /// Bytes that it takes, itself included. Exact whenever nobody is changing it.
    pub fn weight_bytes(&self) -> u64 {
        /// The two counts of an `Arc`.
        const COUNTS: usize = 2 * size_of::<usize>();
        self.heap_bytes.load(Ordering::Relaxed) + (size_of::<Self>() + COUNTS) as u64
    }

    /// The fields, which nobody changes meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, IndexedHash> {
        self.fields.read()
    }

    /// Changes the fields. The caller holds the key's stripe.
    pub fn write<R>(&self, change: impl FnOnce(&mut IndexedHash) -> R) -> R {
        let mut fields = self.fields.write();
        let result = change(&mut fields);
        self.heap_bytes
            .store(fields.heap_bytes() as u64, Ordering::Relaxed);
        result
    }

    /// Whether the hash weighs so much more or less than the cache believes that it has to be weighed
    /// again; if so, the caller does that now.
    ///
    /// The error of the cache's sum is thereby at most one part in thirty-two of what its indexed
    /// hashes weigh.
    pub fn is_to_be_weighed(&self) -> bool {
        let bytes = self.heap_bytes.load(Ordering::Relaxed);
        let weighed = self.weighed_bytes.load(Ordering::Relaxed);
        let is_off = bytes.abs_diff(weighed) > weighed / 32;
        if is_off {
            self.weighed_bytes.store(bytes, Ordering::Relaxed);
        }
        is_off
    }
}

/// The hash that a key holds.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    /// A flat one.
    Flat(FlatHash<'a>),
    /// An indexed one.
    Indexed(&'a SharedHash),
}

impl<'a> HashRef<'a> {
    /// The hash to be looked at. Nobody changes it until what is returned is dropped, so that should
    /// be soon.
    #[inline]
    pub fn open(self) -> OpenHash<'a> {
        match self {
            Self::Flat(flat) => OpenHash::Flat(flat),
            Self::Indexed(shared) => OpenHash::Indexed(shared.read()),
        }
    }

    /// A copy in the flat form, of whatever size.
    pub fn to_flat(self) -> FlatBuffer {
        match self.open() {
            OpenHash::Flat(flat) => FlatBuffer::copy_of(flat, 0),
            OpenHash::Indexed(indexed) => {
                let mut flat = FlatBuffer::with_capacity(indexed.heap_bytes());
                for field in indexed.fields() {
                    flat.push(field);
                }
                flat
            }
        }
    }

    /// What `OBJECT ENCODING` calls it.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Flat(_) => "listpack",
            Self::Indexed(_) => "hashtable",
        }
    }
}

/// A hash that stands still.
#[derive(Debug)]
pub enum OpenHash<'a> {
    /// A flat one.
    Flat(FlatHash<'a>),
    /// An indexed one, locked.
    Indexed(RwLockReadGuard<'a, IndexedHash>),
}

impl OpenHash<'_> {
    /// The number of fields, those that are due included.
    pub fn len(&self) -> usize {
        match self {
            Self::Flat(flat) => flat.len(),
            Self::Indexed(indexed) => indexed.len(),
        }
    }

    /// Whether there are none. A key never holds such a hash.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The field of this name, if it exists at this time.
    #[inline]
    pub fn get(&self, name: &[u8], now_ms: u64) -> Option<FieldView<'_>> {
        let found = match self {
            Self::Flat(flat) => flat.get(name),
            Self::Indexed(indexed) => indexed.get(name),
        };
        found.filter(|field| field.is_live(now_ms))
    }

    /// The number of fields that exist at this time.
    pub fn live_len(&self, now_ms: u64) -> usize {
        if !self.may_have_due(now_ms) {
            return self.len();
        }
        let mut live = 0;
        self.each_live(now_ms, |_| live += 1);
        live
    }

    /// Looks at all fields that exist at this time, each once.
    pub fn each_live(&self, now_ms: u64, mut look: impl FnMut(FieldView<'_>)) {
        let mut look_if_live = |field: FieldView<'_>| {
            if field.is_live(now_ms) {
                look(field);
            }
        };
        match self {
            Self::Flat(flat) => flat.fields().for_each(&mut look_if_live),
            Self::Indexed(indexed) => indexed.fields().for_each(&mut look_if_live),
        }
    }

    /// Whether some field may be due.
    fn may_have_due(&self, now_ms: u64) -> bool {
        let next_ms = match self {
            Self::Flat(flat) => flat.next_deadline_ms(),
            Self::Indexed(indexed) => indexed.next_deadline_ms(),
        };
        next_ms.is_some_and(|next_ms| next_ms <= now_ms)
    }

    /// The fields from which a random one is chosen.
    pub fn sample(&self, now_ms: u64) -> Sample<'_> {
        match self {
            Self::Indexed(indexed) if !self.may_have_due(now_ms) => Sample::Places(indexed),
            Self::Indexed(indexed) => {
                Sample::Listed(indexed.fields().filter(|f| f.is_live(now_ms)).collect())
            }
            Self::Flat(flat) => {
                Sample::Listed(flat.fields().filter(|f| f.is_live(now_ms)).collect())
            }
        }
    }

    /// Looks at about `count` fields that exist at this time, from `cursor` on, 0 for a new scan.
    /// Returns the cursor to go on with, 0 at the end. A flat hash is looked at as a whole.
    ///
    /// A field that is there from the scan's first call to its last is seen, perhaps more than once.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        now_ms: u64,
        mut look: impl FnMut(FieldView<'_>),
    ) -> u64 {
        match self {
            Self::Flat(_) => {
                self.each_live(now_ms, look);
                0
            }
            Self::Indexed(indexed) => indexed.scan(cursor, count, |field| {
                if field.is_live(now_ms) {
                    look(field);
                }
            }),
        }
    }
}

/// Fields to choose from, all of which exist.
#[derive(Debug)]
pub enum Sample<'a> {
    /// All of an indexed hash.
    Places(&'a IndexedHash),
    /// These.
    Listed(Vec<FieldView<'a>>),
}

impl<'a> Sample<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Places(indexed) => indexed.len(),
            Self::Listed(fields) => fields.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The field of this number, below [`len`](Self::len).
    pub fn at(&self, number: usize) -> FieldView<'a> {
        match self {
            Self::Places(indexed) => indexed.at(number),
            Self::Listed(fields) => fields[number],
        }
    }

    /// The numbers of `count` different fields, or of all if there are fewer. Every choice is equally
    /// likely; takes time and memory in proportion to `count` (R. Floyd, "A sample of brilliance",
    /// CACM 30(9), 1987).
    pub fn choose(&self, count: usize, random: &mut fastrand::Rng) -> Vec<usize> {
        let len = self.len();
        if count >= len {
            return (0..len).collect();
        }
        let mut chosen = hashbrown::HashSet::with_capacity_and_hasher(
            count,
            foldhash::fast::RandomState::default(),
        );
        let mut numbers = Vec::with_capacity(count);
        for last in len - count..len {
            let number = random.usize(..=last);
            let number = if chosen.insert(number) { number } else { last };
            chosen.insert(number);
            numbers.push(number);
        }
        numbers
    }
}

/// Whether fields of these names can be held: a name is at most as long as a key.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Result<(), ItemTooLarge> {
    let max = nuthatch::Item::<()>::MAX_KEY_LEN;
    match names.into_iter().find(|name| name.len() > max) {
        Some(name) => Err(ItemTooLarge::Key {
            len: name.len(),
            max,
        }),
        None => Ok(()),
    }
}
