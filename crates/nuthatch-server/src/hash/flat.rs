//! A small hash: its fields one after another in one buffer, found by looking at each.
//!
//! ```text
//!   count u32 | field .. | field ..        each field:
//!                                          varint   length of the name << 1 | has a deadline
//!                                          varint   length of the value
//!                                          u64      deadline, if it has one
//!                                          name, value
//! ```
//!
//! Numbers are little-endian, varints have seven bits a byte, the lowest first. A field of short name
//! and value costs two bytes besides them, and eight with a deadline. A lookup reads the head of each
//! field before the one it seeks, so this is for few fields. It is also how a whole hash is handed on,
//! of whatever size.

use super::FieldView;

const COUNT_BYTES: usize = 4;
/// The longest head of a field: two varints of 32 and 33 bits and a deadline.
pub(super) const MAX_HEAD_BYTES: usize = 5 + 5 + 8;

/// A hash in one buffer, to be read. See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlatHash<'a> {
    bytes: &'a [u8],
}

/// The fields of a [`FlatHash`], in the order in which they were added.
#[derive(Clone, Debug)]
pub struct FlatFields<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> FlatHash<'a> {
    /// What [`FlatBuffer::as_bytes`] has returned.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Self {
        debug_assert!(
            bytes.len() >= COUNT_BYTES,
            "a flat hash begins with its count"
        );
        Self { bytes }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        let count = self
            .bytes
            .first_chunk()
            .expect("a hash begins with its count");
        u32::from_le_bytes(*count) as usize
    }

    /// Whether there are none. A key never holds such a hash.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that it takes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All fields.
    pub fn fields(&self) -> FlatFields<'a> {
        FlatFields {
            rest: &self.bytes[COUNT_BYTES..],
            left: self.len(),
        }
    }

    /// The field of this name.
    pub fn get(&self, name: &[u8]) -> Option<FieldView<'a>> {
        self.fields().find(|field| field.name == name)
    }

    /// Whether some field has a deadline.
    pub fn has_deadlines(&self) -> bool {
        self.fields().any(|field| field.deadline_ms.is_some())
    }

    /// The earliest deadline of all fields.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.fields().filter_map(|field| field.deadline_ms).min()
    }
}

impl<'a> Iterator for FlatFields<'a> {
    type Item = FieldView<'a>;

    #[inline]
    fn next(&mut self) -> Option<FieldView<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let name_and_flag = take_varint(&mut self.rest);
        let value_len = take_varint(&mut self.rest) as usize;
        let deadline_ms = (name_and_flag & 1 != 0).then(|| {
            let (deadline, rest) = self.rest.split_first_chunk().expect("a whole deadline");
            self.rest = rest;
            u64::from_le_bytes(*deadline)
        });
        let (name, rest) = self.rest.split_at((name_and_flag >> 1) as usize);
        let (value, rest) = rest.split_at(value_len);
        self.rest = rest;
        Some(FieldView {
            name,
            value,
            deadline_ms,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for FlatFields<'_> {}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A hash in one buffer, to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatBuffer {
    bytes: Vec<u8>,
}

impl Default for FlatBuffer {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl FlatBuffer {
    /// No fields, and room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(COUNT_BYTES + bytes);
        buffer.extend_from_slice(&0_u32.to_le_bytes());
        Self { bytes: buffer }
    }

    /// A copy with room for so many bytes more.
    pub fn copy_of(hash: FlatHash<'_>, more_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(hash.bytes.len() + more_bytes);
        bytes.extend_from_slice(hash.bytes);
        Self { bytes }
    }

    /// As it stands.
    pub fn as_hash(&self) -> FlatHash<'_> {
        FlatHash::from_bytes(&self.bytes)
    }

    /// Where the field of this name stands.
    fn find(&self, name: &[u8]) -> Option<(std::ops::Range<usize>, FieldView<'_>)> {
        let mut fields = self.as_hash().fields();
        loop {
            let start = self.bytes.len() - fields.rest.len();
            let field = fields.next()?;
            if field.name == name {
                let end = self.bytes.len() - fields.rest.len();
                return Some((start..end, field));
            }
        }
    }

    fn add_to_count(&mut self, change: i32) {
        let count = u32::try_from(self.as_hash().len()).expect("the count has 32 bits");
        let count = count
            .checked_add_signed(change)
            .expect("a hash has fewer than 2^32 fields");
        self.bytes[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// Appends a field whose name is not there.
    pub fn push(&mut self, field: FieldView<'_>) {
        let has_deadline = u64::from(field.deadline_ms.is_some());
        put_varint(
            &mut self.bytes,
            (field.name.len() as u64) << 1 | has_deadline,
        );
        put_varint(&mut self.bytes, field.value.len() as u64);
        if let Some(deadline_ms) = field.deadline_ms {
            self.bytes.extend_from_slice(&deadline_ms.to_le_bytes());
        }
        self.bytes.extend_from_slice(field.name);
        self.bytes.extend_from_slice(field.value);
        self.add_to_count(1);
    }

    /// Sets a field, in its old place if it is there. Returns the deadline that it had then.
    pub fn set(&mut self, field: FieldView<'_>) -> Option<Option<u64>> {
        let Some((range, old)) = self.find(field.name) else {
            self.push(field);
            return None;
        };
        let old_deadline_ms = old.deadline_ms;
        if old.value.len() == field.value.len()
            && old_deadline_ms.is_some() == field.deadline_ms.is_some()
        {
            // The same lengths have the same head but for the deadline.
            let value_start = range.end - field.value.len();
            self.bytes[value_start..range.end].copy_from_slice(field.value);
            if let Some(deadline_ms) = field.deadline_ms {
                let name_start = value_start - field.name.len();
                self.bytes[name_start - 8..name_start].copy_from_slice(&deadline_ms.to_le_bytes());
            }
        } else {
            let tail = self.bytes.split_off(range.end);
            self.bytes.truncate(range.start);
            self.add_to_count(-1);
            self.push(field);
            self.bytes.extend_from_slice(&tail);
        }
        Some(old_deadline_ms)
    }

    /// Removes a field. Returns the deadline that it had, if it was there.
    pub fn remove(&mut self, name: &[u8]) -> Option<Option<u64>> {
        let (range, old) = self.find(name)?;
        let old_deadline_ms = old.deadline_ms;
        self.bytes.drain(range);
        self.add_to_count(-1);
        Some(old_deadline_ms)
    }

    /// Gives a field another deadline. Returns whether it is there and had not this one.
    pub fn set_deadline(&mut self, name: &[u8], deadline_ms: Option<u64>) -> bool {
        let Some((_, old)) = self.find(name) else {
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
        });
        true
    }

    /// The bytes, which `FlatHash::from_bytes` takes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks that the fields fill the buffer exactly and that no name stands twice.
    ///
    /// # Panics
    /// If they do not.
    pub fn validate(&self) {
        let mut fields = self.as_hash().fields();
        let mut names = std::collections::HashSet::new();
        for field in fields.by_ref() {
            assert!(names.insert(field.name), "a name stands twice");
        }
        assert!(fields.rest.is_empty(), "bytes follow the last field");
    }
}
