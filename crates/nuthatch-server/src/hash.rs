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
pub mod disposal;
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

    /// What its fields had allocated when its last item was weighed.
    #[cfg(test)]
    pub fn weighed_bytes(&self) -> u64 {
        self.weighed_bytes.load(Ordering::Relaxed)
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

impl Drop for SharedHash {
    fn drop(&mut self) {
        disposal::dispose(std::mem::take(self.fields.get_mut()));
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

#[cfg(test)]
mod tests {
    use super::{
        FieldView, FlatBuffer, HashRef, IndexedHash, OpenHash, Sample, SharedHash, is_live,
    };
    use std::collections::{BTreeMap, BTreeSet};

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

    fn model_of<'a>(fields: impl Iterator<Item = FieldView<'a>>) -> Model {
        fields
            .map(|field| {
                (
                    field.name.to_vec(),
                    (field.value.to_vec(), field.deadline_ms),
                )
            })
            .collect()
    }

    /// Lengths around those at which a varint grows.
    fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
        let len = random
            .choice([0, 1, 5, 63, 64, 127, 128, 300])
            .expect("some");
        vec![random.u8(..); len]
    }

    #[test]
    fn both_forms_agree_with_a_plain_map_whatever_is_done() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20 {
            let (mut flat, mut indexed) = (FlatBuffer::default(), IndexedHash::default());
            let mut model = Model::new();
            let mut now_ms = 1_000;
            for _ in 0..600 {
                let name = random.u32(0..80).to_string().into_bytes();
                let deadline_ms = random.bool().then(|| now_ms + random.u64(0..100));
                match random.u32(0..10) {
                    0..5 => {
                        let value = bytes(&mut random);
                        let field = FieldView {
                            name: &name,
                            value: &value,
                            deadline_ms,
                        };
                        let old = model.insert(name.clone(), (value.clone(), deadline_ms));
                        let old = old.map(|(_, deadline_ms)| deadline_ms);
                        assert_eq!(flat.set(field), old);
                        assert_eq!(indexed.set(field), Ok(old));
                    }
                    5..7 => {
                        let old = model.remove(&name).map(|(_, deadline_ms)| deadline_ms);
                        assert_eq!(flat.remove(&name), old);
                        assert_eq!(indexed.remove(&name), old);
                    }
                    7..9 => {
                        let changes = model.get_mut(&name).is_some_and(|(_, old_ms)| {
                            std::mem::replace(old_ms, deadline_ms) != deadline_ms
                        });
                        assert_eq!(flat.set_deadline(&name, deadline_ms), changes);
                        assert_eq!(indexed.set_deadline(&name, deadline_ms), changes);
                    }
                    _ => {
                        now_ms += random.u64(0..30);
                        let mut due = Vec::new();
                        while indexed.next_deadline_ms().is_some_and(|ms| ms <= now_ms) {
                            let before = due.len();
                            indexed.take_due(now_ms, 3, &mut due);
                            for name in &due[before..] {
                                assert!(indexed.remove(name).is_some(), "a name is due once");
                                flat.remove(name);
                            }
                        }
                        let due: BTreeSet<Vec<u8>> = due.iter().map(|n| n.to_vec()).collect();
                        let before = model.len();
                        model.retain(|name, (_, deadline_ms)| {
                            let live = is_live(*deadline_ms, now_ms);
                            assert_eq!(due.contains(name), !live);
                            live
                        });
                        assert_eq!(due.len(), before - model.len());
                    }
                }
                flat.validate();
                indexed.validate();
                assert_eq!(flat.as_hash().len(), model.len());
                assert_eq!(indexed.len(), model.len());
                let deadlines = model.values().filter_map(|(_, deadline_ms)| *deadline_ms);
                let next_ms = deadlines.min();
                assert_eq!(flat.as_hash().next_deadline_ms(), next_ms);
                assert_eq!(indexed.next_deadline_ms().is_some(), next_ms.is_some());
                assert!(
                    indexed.next_deadline_ms() <= next_ms,
                    "a visit comes in time"
                );
                let get = |name: &[u8]| {
                    let found = flat.as_hash().get(name);
                    assert_eq!(found, indexed.get(name));
                    found.map(|field| (field.value.to_vec(), field.deadline_ms))
                };
                assert_eq!(get(&name), model.get(&name).cloned());
            }
            assert_eq!(model_of(flat.as_hash().fields()), model);
            assert_eq!(model_of(indexed.fields()), model);
            let converted = IndexedHash::from_flat(flat.as_hash(), 0).expect("short names");
            converted.validate();
            assert_eq!(model_of(converted.fields()), model);
            let shared = SharedHash::new(indexed);
            let back = HashRef::Indexed(&shared).to_flat();
            back.validate();
            assert_eq!(model_of(back.as_hash().fields()), model);
        }
    }

    fn indexed(names: impl IntoIterator<Item = u32>) -> IndexedHash {
        let mut hash = IndexedHash::default();
        for name in names {
            let name = name.to_string();
            let set = hash.set(FieldView {
                name: name.as_bytes(),
                value: b"v",
                deadline_ms: None,
            });
            set.expect("a short name");
        }
        hash
    }

    #[test]
    fn a_scan_sees_every_field_that_stays() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..50 {
            // Fields below 1000 stay, others come and go between the calls.
            let mut hash = indexed((0..1000).chain(5000..5500));
            let mut seen = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = hash.scan(cursor, 10, |field| {
                    seen.insert(field.name.to_vec());
                });
                if cursor == 0 {
                    break;
                }
                for _ in 0..random.usize(..20) {
                    let name = random.u32(5000..9000).to_string();
                    if hash.remove(name.as_bytes()).is_none() {
                        let set = hash.set(FieldView {
                            name: name.as_bytes(),
                            value: b"v",
                            deadline_ms: None,
                        });
                        set.expect("a short name");
                    }
                }
            }
            for name in 0..1000_u32 {
                assert!(seen.contains(name.to_string().as_bytes()), "{name}");
            }
        }
    }

    #[test]
    fn a_scan_ends_whatever_cursor_it_is_given() {
        let hash = indexed(0..100);
        for cursor in [1, 99, 100, 101, u64::MAX] {
            let (mut cursor, mut calls) = (cursor, 0);
            while cursor != 0 {
                cursor = hash.scan(cursor, 10, |_| ());
                calls += 1;
                assert!(calls <= 10);
            }
        }
    }

    #[test]
    fn a_sample_is_of_different_fields_and_may_be_any() {
        let shared = SharedHash::new(indexed(0..20));
        let open = HashRef::Indexed(&shared).open();
        let sample = open.sample(0);
        assert!(matches!(sample, Sample::Places(_)));
        let mut random = fastrand::Rng::with_seed(3);
        let mut times = [0; 20];
        for _ in 0..4000 {
            let chosen = sample.choose(5, &mut random);
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 5);
            chosen.iter().for_each(|&number| times[number] += 1);
        }
        // 1000 each on average, with a deviation of 27.
        assert!(
            times.iter().all(|times| (800..1200).contains(times)),
            "{times:?}"
        );
        assert_eq!(sample.choose(20, &mut random).len(), 20);
        assert_eq!(sample.choose(usize::MAX, &mut random).len(), 20);
    }

    #[test]
    fn what_is_due_is_nowhere_to_be_seen() {
        let mut flat = FlatBuffer::default();
        for (name, deadline_ms) in [("a", Some(10)), ("b", Some(20)), ("c", None)] {
            flat.push(FieldView {
                name: name.as_bytes(),
                value: b"v",
                deadline_ms,
            });
        }
        let shared = SharedHash::new(IndexedHash::from_flat(flat.as_hash(), 0).expect("short"));
        for hash in [HashRef::Flat(flat.as_hash()), HashRef::Indexed(&shared)] {
            let open = hash.open();
            for (now_ms, expected) in [(9, "abc"), (10, "bc"), (20, "c")] {
                let mut seen = String::new();
                open.each_live(now_ms, |field| {
                    seen += str::from_utf8(field.name).expect("text")
                });
                assert_eq!(seen, expected);
                assert_eq!(open.live_len(now_ms), expected.len());
                assert_eq!(open.len(), 3);
                assert_eq!(open.sample(now_ms).len(), expected.len());
                assert_eq!(open.get(b"a", now_ms).is_some(), expected.contains('a'));
                let mut scanned = BTreeSet::new();
                assert_eq!(open.scan(0, 10, now_ms, |f| scanned.extend([f.name[0]])), 0);
                assert_eq!(scanned, expected.bytes().collect());
            }
            assert!(matches!(open, OpenHash::Flat(_)) == matches!(hash, HashRef::Flat(_)));
        }
    }
}
