//! Values of keys: strings and hashes in every form that Redis since 2.2 and Valkey have written, and how
//! far the values of all other types reach.

use super::file::FileError;
use super::source::{Source, malformed};
use super::{Field, packed};
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::BufRead;

// The types, as their first byte.
pub(super) const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET: u8 = 3;
pub(super) const HASH: u8 = 4;
const ZSET_2: u8 = 5;
const MODULE_PREVIEW: u8 = 6;
const MODULE_2: u8 = 7;
const HASH_ZIPMAP: u8 = 9;
const LIST_ZIPLIST: u8 = 10;
const SET_INTSET: u8 = 11;
const ZSET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const LIST_QUICKLIST: u8 = 14;
const STREAM: u8 = 15;
const HASH_LISTPACK: u8 = 16;
const ZSET_LISTPACK: u8 = 17;
const LIST_QUICKLIST_2: u8 = 18;
const STREAM_2: u8 = 19;
const SET_LISTPACK: u8 = 20;
const STREAM_3: u8 = 21;
/// Valkey's, with a deadline behind each value; Redis has used the number in previews.
pub(super) const HASH_WITH_DEADLINES: u8 = 22;
/// Redis', with a time before each name.
pub(super) const HASH_WITH_TIMES: u8 = 24;
pub(super) const HASH_LISTPACK_WITH_TIMES: u8 = 25;

/// Whether values have this type, the previews of Redis 7.4 left out.
pub(super) fn is_type(kind: u8) -> bool {
    matches!(
        kind,
        STRING..=MODULE_2 | HASH_ZIPMAP..=HASH_WITH_DEADLINES
            | HASH_WITH_TIMES
            | HASH_LISTPACK_WITH_TIMES
    )
}

/// What modules have written, as the number before each part.
mod part {
    pub(super) const END: u64 = 0;
    pub(super) const SIGNED: u64 = 1;
    pub(super) const UNSIGNED: u64 = 2;
    pub(super) const FLOAT: u64 = 3;
    pub(super) const DOUBLE: u64 = 4;
    pub(super) const STRING: u64 = 5;
}

const STREAM_ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

/// A value of which as much was read as comes in one piece.
#[derive(Debug)]
pub(super) enum Begun {
    String(Vec<u8>),
    Hash(Vec<Field<Vec<u8>>>),
    HashInParts(HashParts),
    /// A value of another type, by its name, that was skipped.
    Other(Cow<'static, str>),
}

/// Begins to read a value of this type.
pub(super) fn begin<R: BufRead>(source: &mut Source<R>, kind: u8) -> Result<Begun, FileError> {
    let fields = match kind {
        STRING => return source.string().map(Begun::String),
        HASH => return HashParts::begin(source, Form::Plain),
        HASH_WITH_DEADLINES => return HashParts::begin(source, Form::DeadlineBehind),
        HASH_WITH_TIMES => {
            let first_ms = u64::from_le_bytes(source.array()?);
            return HashParts::begin(source, Form::TimeBefore { first_ms });
        }
        HASH_ZIPMAP => block(source, |block| packed::pairs(&packed::zipmap(block)?))?,
        HASH_ZIPLIST => block(source, |block| packed::pairs(&packed::ziplist(block)?))?,
        HASH_LISTPACK => block(source, |block| packed::pairs(&packed::listpack(block)?))?,
        HASH_LISTPACK_WITH_TIMES => {
            let _first_ms: [u8; 8] = source.array()?;
            block(source, |block| packed::triples(&packed::listpack(block)?))?
        }
        other => return skip(source, other).map(Begun::Other),
    };
    Ok(Begun::Hash(fields))
}

/// The fields of a hash that is kept in one string.
fn block<R: BufRead>(
    source: &mut Source<R>,
    fields: impl FnOnce(&[u8]) -> Option<Vec<Field<Vec<u8>>>>,
) -> Result<Vec<Field<Vec<u8>>>, FileError> {
    let offset = source.offset();
    let fields = fields(&source.string()?);
    let fields = fields.ok_or(malformed(offset, "a small hash that is damaged"))?;
    check_names(offset, &fields)?;
    Ok(fields)
}

fn check_names(offset: u64, fields: &[Field<Vec<u8>>]) -> Result<(), FileError> {
    let mut names = HashSet::with_capacity(fields.len());
    if fields.iter().all(|field| names.insert(&*field.name)) {
        Ok(())
    } else {
        Err(malformed(offset, "a hash that has a field twice"))
    }
}

/// A hash of any size, field by field.
#[derive(Debug)]
pub(super) struct HashParts {
    fields_left: u64,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    DeadlineBehind,
    /// Milliseconds since one before the first, or 0 for never.
    TimeBefore {
        first_ms: u64,
    },
}

impl HashParts {
    fn begin<R: BufRead>(source: &mut Source<R>, form: Form) -> Result<Begun, FileError> {
        let fields_left = source.number()?;
        Ok(Begun::HashInParts(Self { fields_left, form }))
    }

    /// Whether there are more fields.
    pub(super) fn is_any_left(&self) -> bool {
        self.fields_left > 0
    }

    /// The next fields, none of them twice; not many more bytes than `max_bytes`.
    pub(super) fn next<R: BufRead>(
        &mut self,
        source: &mut Source<R>,
        max_bytes: usize,
    ) -> Result<Option<Vec<Field<Vec<u8>>>>, FileError> {
        if !self.is_any_left() {
            return Ok(None);
        }
        let offset = source.offset();
        let (mut fields, mut bytes) = (Vec::new(), 0);
        while self.is_any_left() && bytes < max_bytes {
            let field = self.field(source)?;
            self.fields_left -= 1;
            bytes += size_of_val(&field) + field.name.len() + field.value.len();
            fields.push(field);
        }
        check_names(offset, &fields)?;
        Ok(Some(fields))
    }

    fn field<R: BufRead>(&self, source: &mut Source<R>) -> Result<Field<Vec<u8>>, FileError> {
        let offset = source.offset();
        let too_late = malformed(offset, "a field's deadline that is out of range");
        let mut deadline_ms = match self.form {
            Form::Plain | Form::DeadlineBehind => None,
            Form::TimeBefore { first_ms } => match source.number()? {
                0 => None,
                after => Some(first_ms.checked_add(after - 1).ok_or(too_late)?),
            },
        };
        let (name, value) = (source.string()?, source.string()?);
        if let Form::DeadlineBehind = self.form {
            let offset = source.offset();
            deadline_ms =
                match i64::from_le_bytes(source.array()?) {
                    -1 => None,
                    ms => Some(u64::try_from(ms).map_err(|_| {
                        malformed(offset, "a field's deadline that is out of range")
                    })?),
                };
        }
        Ok(Field {
            name,
            value,
            deadline_ms,
        })
    }
}

/// Skips a value, and names its type as `TYPE` does.
fn skip<R: BufRead>(source: &mut Source<R>, kind: u8) -> Result<Cow<'static, str>, FileError> {
    // The type's byte and the key stand before it.
    let offset = source.offset();
    let name = match kind {
        LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => "list",
        SET | SET_INTSET | SET_LISTPACK => "set",
        ZSET | ZSET_2 | ZSET_ZIPLIST | ZSET_LISTPACK => "zset",
        STREAM | STREAM_2 | STREAM_3 => "stream",
        MODULE_2 => {
            let name = module_name(source.number()?);
            skip_module_parts(source)?;
            return Ok(name.into());
        }
        MODULE_PREVIEW => {
            let what = "a module's value in the form of previews of Redis 4.0, which has no end";
            return Err(malformed(offset, what));
        }
        _ => return Err(malformed(offset, "a value of an unknown type")),
    };
    match kind {
        LIST | SET | LIST_QUICKLIST => repeat(source, Source::skip_string)?,
        LIST_QUICKLIST_2 => repeat(source, |source| {
            let _container = source.number()?;
            source.skip_string()
        })?,
        ZSET => repeat(source, |source| {
            source.skip_string()?;
            // A text of so many bytes, or a number that is none.
            match source.byte()? {
                253..=255 => Ok(()),
                length => source.skip(u64::from(length)),
            }
        })?,
        ZSET_2 => repeat(source, |source| {
            source.skip_string()?;
            source.skip(8)
        })?,
        STREAM | STREAM_2 | STREAM_3 => skip_stream(source, kind)?,
        _ => source.skip_string()?,
    }
    Ok(name.into())
}

/// Does something as often as the next number says.
fn repeat<R: BufRead>(
    source: &mut Source<R>,
    mut once: impl FnMut(&mut Source<R>) -> Result<(), FileError>,
) -> Result<(), FileError> {
    for _ in 0..source.number()? {
        once(source)?;
    }
    Ok(())
}

fn skip_numbers<R: BufRead>(source: &mut Source<R>, count: usize) -> Result<(), FileError> {
    for _ in 0..count {
        source.number()?;
    }
    Ok(())
}

fn skip_stream<R: BufRead>(source: &mut Source<R>, kind: u8) -> Result<(), FileError> {
    // Nodes: the first entry's ID, and a listpack.
    repeat(source, |source| {
        source.skip_string()?;
        source.skip_string()
    })?;
    // Length and last ID; then the first ID, the greatest one deleted, and the number ever added.
    let is_first = kind == STREAM;
    skip_numbers(source, if is_first { 3 } else { 8 })?;
    // Groups: name, last ID, number of entries read, and what is pending.
    repeat(source, |source| {
        source.skip_string()?;
        skip_numbers(source, if is_first { 2 } else { 3 })?;
        repeat(source, |source| {
            source.skip(STREAM_ID_BYTES + TIME_BYTES)?;
            skip_numbers(source, 1)
        })?;
        // Consumers: name, when seen, when active, and what is pending of it.
        repeat(source, |source| {
            source.skip_string()?;
            let times = if kind == STREAM_3 { 2 } else { 1 };
            source.skip(times * TIME_BYTES)?;
            repeat(source, |source| source.skip(STREAM_ID_BYTES))
        })
    })
}

/// Skips what a module has written, of a key or beside the keys, to its end.
pub(super) fn skip_module_parts<R: BufRead>(source: &mut Source<R>) -> Result<(), FileError> {
    loop {
        let offset = source.offset();
        match source.number()? {
            part::END => return Ok(()),
            part::SIGNED | part::UNSIGNED => skip_numbers(source, 1)?,
            part::FLOAT => source.skip(4)?,
            part::DOUBLE => source.skip(8)?,
            part::STRING => source.skip_string()?,
            _ => return Err(malformed(offset, "an unknown part of a module's data")),
        }
    }
}

/// The name of a module's type: nine characters of six bits each, before ten bits of a version.
fn module_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let character = |index: u32| CHARACTERS[(id >> (10 + 6 * index)) as usize & 0x3f];
    (0..9)
        .rev()
        .map(|index| char::from(character(index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn a_modules_type_has_its_name_in_its_number() {
        let id = "ReJSON-RL".bytes().fold(0_u64, |id, byte| {
            let place = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                _ => 63,
            };
            id << 6 | u64::from(place)
        });
        assert_eq!(module_name(id << 10 | 3), "ReJSON-RL");
    }
}
