//! A large hash: one block per field, in a list, with an index by name.
//!
//! A field is one allocation of name, deadline and value (a library's item), a pointer in the list and
//! a number in the index, which finds it by hash. A removed field's place in the list is taken by the
//! last one, so a field is chosen at random, or looked at in turn, by its place.
//!
//! *Scans* count places down: a scan's cursor is the number of places that it has not looked at. What
//! moves, moves to a lower place, and new fields come at the end; so a field that is there from a scan's
//! beginning to its end is either at a place not looked at or was seen.
//!
//! *Deadlines* are in a heap beside the fields, with the hash of the name for the way back. What a later
//! write has made untrue stays there until it is due or half the heap is such, and is then dropped.

use super::{FieldView, FlatHash};
use hashbrown::HashTable;
use nuthatch::{Item, ItemTooLarge, ItemValue};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::hash::BuildHasher;

/// Name and value of one field, in one allocation.
type Field = Item<Infallible>;

/// The tag of a field whose value follows its deadline, of eight bytes.
const WITH_DEADLINE: u8 = 1;

/// Deadlines in the heap that are left there even if all are untrue.
const KEPT_STALE: usize = 32;

fn field(view: FieldView<'_>) -> Result<Field, ItemTooLarge> {
    match view.deadline_ms {
        None => Item::from_bytes(view.name, 0, &[view.value]),
        Some(ms) => Item::from_bytes(view.name, WITH_DEADLINE, &[&ms.to_le_bytes(), view.value]),
    }
}

fn view(field: &Field) -> FieldView<'_> {
    let bytes = match field.value() {
        ItemValue::Bytes(bytes) => bytes,
        ItemValue::Object(object) => match *object {},
    };
    let (deadline_ms, value) = if field.tag() == WITH_DEADLINE {
        let (deadline, value) = bytes.split_first_chunk().expect("a whole deadline");
        (Some(u64::from_le_bytes(*deadline)), value)
    } else {
        (None, bytes)
    };
    FieldView {
        name: field.key(),
        value,
        deadline_ms,
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct IndexedHash {
    fields: Vec<Field>,
    /// Places in `fields`.
    index: HashTable<u32>,
    hasher: foldhash::quality::RandomState,
    /// Fields that have a deadline.
    with_deadline: usize,
    /// Deadlines and the hashes of their fields' names; some are untrue by now.
    deadlines: BinaryHeap<Reverse<(u64, u64)>>,
    /// Bytes of all fields' allocations.
    field_bytes: usize,
}

impl IndexedHash {
    /// The fields of `hash` and room for `more`.
    pub fn from_flat(hash: FlatHash<'_>, more: usize) -> Result<Self, ItemTooLarge> {
        let room = hash.len() + more;
        let mut indexed = Self {
            fields: Vec::with_capacity(room),
            index: HashTable::with_capacity(room),
            ..Self::default()
        };
        for field in hash.fields() {
            indexed.set(field)?;
        }
        Ok(indexed)
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether some field has a deadline.
    pub fn has_deadlines(&self) -> bool {
        self.with_deadline > 0
    }

    /// Bytes of all allocations that the hash has made.
    pub fn heap_bytes(&self) -> usize {
        self.field_bytes
            + self.fields.capacity() * size_of::<Field>()
            + self.index.allocation_size()
            + self.deadlines.capacity() * size_of::<Reverse<(u64, u64)>>()
    }

    fn place(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let is_it = |&place: &u32| self.fields[place as usize].key() == name;
        self.index.find(hash, is_it).map(|&place| place as usize)
    }

    /// The field of this name.
    pub fn get(&self, name: &[u8]) -> Option<FieldView<'_>> {
        let place = self.place(self.hasher.hash_one(name), name)?;
        Some(self.at(place))
    }

    /// The field at a place below [`len`](Self::len).
    pub fn at(&self, place: usize) -> FieldView<'_> {
        view(&self.fields[place])
    }

    /// All fields.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = FieldView<'_>> {
        self.fields.iter().map(view)
    }

    /// A time before which no field is due; `None` if none has a deadline.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if self.with_deadline == 0 {
            return None;
        }
        let Reverse((deadline_ms, _)) = self.deadlines.peek()?;
        Some(*deadline_ms)
    }

    /// Sets a field, in its old place if it is there. Returns the deadline that it had then.
    pub fn set(&mut self, new: FieldView<'_>) -> Result<Option<Option<u64>>, ItemTooLarge> {
        let hash = self.hasher.hash_one(new.name);
        let new_field = field(new)?;
        self.field_bytes += new_field.allocated_bytes();
        let old_deadline_ms = match self.place(hash, new.name) {
            Some(place) => {
                let old = std::mem::replace(&mut self.fields[place], new_field);
                self.field_bytes -= old.allocated_bytes();
                let old_deadline_ms = view(&old).deadline_ms;
                self.with_deadline -= usize::from(old_deadline_ms.is_some());
                Some(old_deadline_ms)
            }
            None => {
                let place = u32::try_from(self.fields.len()).expect("fewer than 2^32 fields");
                self.fields.push(new_field);
                let (fields, hasher) = (&self.fields, &self.hasher);
                self.index.insert_unique(hash, place, |&place| {
                    hasher.hash_one(fields[place as usize].key())
                });
                None
            }
        };
        self.note_deadline(hash, old_deadline_ms.flatten(), new.deadline_ms);
        Ok(old_deadline_ms)
    }

    /// A field has this deadline from now on.
    fn note_deadline(&mut self, hash: u64, old_ms: Option<u64>, deadline_ms: Option<u64>) {
        if let Some(ms) = deadline_ms {
            self.with_deadline += 1;
            if old_ms != deadline_ms {
                self.deadlines.push(Reverse((ms, hash)));
            }
        }
        self.drop_untrue();
    }

    /// Builds the heap anew once most of it is untrue.
    fn drop_untrue(&mut self) {
        if self.deadlines.len() <= 2 * self.with_deadline + KEPT_STALE {
            return;
        }
        let (fields, hasher) = (&self.fields, &self.hasher);
        let true_ones = fields.iter().filter_map(|field| {
            let deadline_ms = view(field).deadline_ms?;
            Some(Reverse((deadline_ms, hasher.hash_one(field.key()))))
        });
        self.deadlines = true_ones.collect();
    }

    /// Removes a field. Returns the deadline that it had, if it was there.
    pub fn remove(&mut self, name: &[u8]) -> Option<Option<u64>> {
        let hash = self.hasher.hash_one(name);
        let fields = &self.fields;
        let is_it = |&place: &u32| fields[place as usize].key() == name;
        let entry = self.index.find_entry(hash, is_it).ok()?;
        let (place, _) = entry.remove();
        let last = self.fields.len() - 1;
        if place as usize != last {
            let moved = self.hasher.hash_one(self.fields[last].key());
            let moved = self.index.find_mut(moved, |&place| place as usize == last);
            *moved.expect("every field is in the index") = place;
        }
        let removed = self.fields.swap_remove(place as usize);
        self.field_bytes -= removed.allocated_bytes();
        let old_deadline_ms = view(&removed).deadline_ms;
        self.with_deadline -= usize::from(old_deadline_ms.is_some());
        self.shrink();
        self.drop_untrue();
        Some(old_deadline_ms)
    }

    /// Gives memory back that three quarters of the fields have left.
    fn shrink(&mut self) {
        if self.fields.capacity() > 64 && self.fields.len() < self.fields.capacity() / 4 {
            let room = self.fields.len() * 2;
            self.fields.shrink_to(room);
            let (fields, hasher) = (&self.fields, &self.hasher);
            self.index
                .shrink_to(room, |&place| hasher.hash_one(fields[place as usize].key()));
        }
    }

    /// Gives a field another deadline. Returns whether it is there and had not this one.
    pub fn set_deadline(&mut self, name: &[u8], deadline_ms: Option<u64>) -> bool {
        let Some(old) = self.get(name) else {
            return false;
        };
        if old.deadline_ms == deadline_ms {
            return false;
        }
        let value = old.value.to_vec();
        self.set(FieldView {
            name,
            value: &value,
            deadline_ms,
        })
        .expect("the name is one that was taken before");
        true
    }

    /// Appends up to `max` names of fields that are due. They are to be removed: the next call does
    /// not find them again.
    pub fn take_due(&mut self, now_ms: u64, max: usize, due: &mut Vec<Box<[u8]>>) {
        let enough = due.len() + max;
        let mut last = None;
        while due.len() < enough
            && let Some(&Reverse(next @ (deadline_ms, hash))) = self.deadlines.peek()
            && deadline_ms <= now_ms
        {
            self.deadlines.pop();
            // Equal entries follow one another, and the first has found the fields of all: a field may
            // have got this deadline twice, and two names may have one hash.
            if last.replace(next) == Some(next) {
                continue;
            }
            for &place in self.index.iter_hash(hash) {
                let field = view(&self.fields[place as usize]);
                if field.deadline_ms == Some(deadline_ms)
                    && self.hasher.hash_one(field.name) == hash
                {
                    due.push(field.name.into());
                }
            }
        }
    }

    /// Looks at about `count` fields from `cursor` on, 0 for a new scan. Returns the cursor to go on
    /// with, 0 at the end.
    pub fn scan(&self, cursor: u64, count: usize, mut look: impl FnMut(FieldView<'_>)) -> u64 {
        let len = self.fields.len() as u64;
        let start = if cursor == 0 { len } else { cursor.min(len) };
        let end = start.saturating_sub(count as u64);
        for place in (end..start).rev() {
            look(self.at(place as usize));
        }
        end
    }

    /// Recounts everything.
    ///
    /// # Panics
    /// If a count is wrong, the index misses a field, or a deadline is not in the heap.
    pub fn validate(&self) {
        assert_eq!(
            self.index.len(),
            self.fields.len(),
            "the index has every field once"
        );
        let mut with_deadline = 0;
        let mut bytes = 0;
        for (place, field) in self.fields.iter().enumerate() {
            let hash = self.hasher.hash_one(field.key());
            assert_eq!(
                self.place(hash, field.key()),
                Some(place),
                "found at its place"
            );
            bytes += field.allocated_bytes();
            if let Some(deadline_ms) = view(field).deadline_ms {
                with_deadline += 1;
                let is_it = |entry: &Reverse<(u64, u64)>| entry.0 == (deadline_ms, hash);
                assert!(
                    self.deadlines.iter().any(is_it),
                    "its deadline is in the heap"
                );
            }
        }
        assert_eq!(self.with_deadline, with_deadline, "fields with a deadline");
        assert_eq!(self.field_bytes, bytes, "bytes of the fields");
        assert!(
            self.deadlines.len() <= 2 * self.with_deadline + KEPT_STALE,
            "most of the heap is true"
        );
    }
}
