//! Listpacks, ziplists and zipmaps: the blocks in which Redis keeps, and dumps, small hashes.

use super::Field;

/// Bytes before the first entry: lengths of the block, for a ziplist also the place of the last entry.
const LISTPACK_HEAD: usize = 6;
const ZIPLIST_HEAD: usize = 10;
const END: u8 = 0xff;

/// In a zipmap: a length of four bytes follows.
const LONG: u8 = 0xfe;

type Entries = Vec<Vec<u8>>;

/// What is left of a block. Every method returns `None` where it ends.
#[derive(Debug)]
struct Block<'a> {
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
}

fn decimal(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The signed integer of these bytes, in little endian.
fn little_endian(bytes: &[u8]) -> i64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len() as u32;
    i64::from_le_bytes(word) << unused >> unused
}

/// Names and values in turns.
pub(super) fn pairs(entries: &[Vec<u8>]) -> Option<Vec<Field<Vec<u8>>>> {
    let (fields, rest) = entries.as_chunks::<2>();
    let fields = fields.iter().map(|[name, value]| Field {
        name: name.clone(),
        value: value.clone(),
        deadline_ms: None,
    });
    rest.is_empty().then(|| fields.collect())
}

/// Names, values and deadlines in turns; a deadline of 0 is none.
pub(super) fn triples(entries: &[Vec<u8>]) -> Option<Vec<Field<Vec<u8>>>> {
    let (fields, rest) = entries.as_chunks::<3>();
    if !rest.is_empty() {
        return None;
    }
    fields
        .iter()
        .map(|[name, value, deadline_ms]| {
            let deadline_ms = crate::number::parse_u64(deadline_ms)?;
            Some(Field {
                name: name.clone(),
                value: value.clone(),
                deadline_ms: (deadline_ms > 0).then_some(deadline_ms),
            })
        })
        .collect()
}

/// The entries of a listpack.
pub(super) fn listpack(block: &[u8]) -> Option<Entries> {
    let mut reader = Block { rest: block };
    let head: [u8; LISTPACK_HEAD] = reader.array()?;
    let total = u32::from_le_bytes(*head.first_chunk()?);
    if total as usize != block.len() {
        return None;
    }
    let mut entries = Entries::new();
    loop {
        let before = reader.rest.len();
        let first = reader.byte()?;
        let low = usize::from(first);
        let entry = match first {
            END => break,
            0x00..=0x7f => decimal(i64::from(first)),
            0x80..=0xbf => reader.take(low & 0x3f)?.to_vec(),
            0xc0..=0xdf => {
                let number = (i64::from(first) & 0x1f) << 8 | i64::from(reader.byte()?);
                decimal(number << 51 >> 51)
            }
            0xe0..=0xef => {
                let length = (low & 0x0f) << 8 | usize::from(reader.byte()?);
                reader.take(length)?.to_vec()
            }
            0xf0 => {
                let length = u32::from_le_bytes(reader.array()?);
                reader.take(length as usize)?.to_vec()
            }
            0xf1..=0xf3 => decimal(little_endian(reader.take(low - 0xef)?)),
            0xf4 => decimal(little_endian(reader.take(8)?)),
            _ => return None,
        };
        // Behind each entry stands its length, for readers that go backwards: seven bits a byte.
        let length = before - reader.rest.len();
        let length_bytes = (1..5).find(|bytes| length < 1 << (7 * bytes)).unwrap_or(5);
        reader.take(length_bytes)?;
        entries.push(entry);
    }
    reader.rest.is_empty().then_some(entries)
}

/// The entries of a ziplist.
pub(super) fn ziplist(block: &[u8]) -> Option<Entries> {
    let mut reader = Block { rest: block };
    let head: [u8; ZIPLIST_HEAD] = reader.array()?;
    let total = u32::from_le_bytes(*head.first_chunk()?);
    if total as usize != block.len() {
        return None;
    }
    let mut entries = Entries::new();
    loop {
        // Before each entry stands the length of the one before it.
        match reader.byte()? {
            END => break,
            0xfe => _ = reader.take(4)?,
            _ => {}
        }
        let first = reader.byte()?;
        let low = usize::from(first & 0x3f);
        entries.push(match first {
            0x00..=0x3f => reader.take(low)?.to_vec(),
            0x40..=0x7f => {
                let length = low << 8 | usize::from(reader.byte()?);
                reader.take(length)?.to_vec()
            }
            0x80 => {
                let length = u32::from_be_bytes(reader.array()?);
                reader.take(length as usize)?.to_vec()
            }
            0xc0 => decimal(little_endian(reader.take(2)?)),
            0xd0 => decimal(little_endian(reader.take(4)?)),
            0xe0 => decimal(little_endian(reader.take(8)?)),
            0xf0 => decimal(little_endian(reader.take(3)?)),
            0xfe => decimal(little_endian(reader.take(1)?)),
            0xf1..=0xfd => decimal(i64::from(first) - 0xf1),
            _ => return None,
        });
    }
    reader.rest.is_empty().then_some(entries)
}

/// Names and values in turns, of a zipmap: of Redis before 2.6.
pub(super) fn zipmap(block: &[u8]) -> Option<Entries> {
    let mut reader = Block { rest: block };
    // The number of pairs, as far as a byte can tell it.
    let _pairs = reader.byte()?;
    let mut entries = Entries::new();
    loop {
        let length = match reader.byte()? {
            END => break,
            LONG => u32::from_le_bytes(reader.array()?) as usize,
            length => usize::from(length),
        };
        // A value has a number of unused bytes before it, and those behind it.
        let unused = match entries.len() % 2 {
            0 => 0,
            _ => usize::from(reader.byte()?),
        };
        entries.push(reader.take(length)?.to_vec());
        reader.take(unused)?;
    }
    reader.rest.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::{listpack, pairs, triples, ziplist, zipmap};

    fn block(head_bytes: usize, entries: &[&[u8]]) -> Vec<u8> {
        let body = entries.concat();
        let mut block = vec![0; head_bytes];
        block.extend_from_slice(&body);
        block.push(0xff);
        let total = u32::try_from(block.len()).unwrap();
        block[..4].copy_from_slice(&total.to_le_bytes());
        block
    }

    #[test]
    fn entries_of_listpacks_are_read_in_all_their_forms() {
        let long = [&[0xe1, 0x00][..], &[b'x'; 256], &[0x02, 0x82]].concat();
        let block = block(
            6,
            &[
                b"\x05\x01",
                b"\x83abc\x04",
                b"\xdf\xff\x02",
                &long,
                b"\xf0\x01\x00\x00\x00y\x06",
                b"\xf1\x18\xfc\x03",
                b"\xf2\x00\x00\x80\x04",
                b"\xf3\xff\xff\xff\x7f\x05",
                b"\xf4\x00\x00\x00\x00\x00\x00\x00\x80\x09",
            ],
        );
        let entries = listpack(&block).unwrap();
        let expected: Vec<Vec<u8>> = vec![
            b"5".to_vec(),
            b"abc".to_vec(),
            b"-1".to_vec(),
            vec![b'x'; 256],
            b"y".to_vec(),
            b"-1000".to_vec(),
            b"-8388608".to_vec(),
            b"2147483647".to_vec(),
            b"-9223372036854775808".to_vec(),
        ];
        assert_eq!(entries, expected);
        assert_eq!(pairs(&entries), None, "one is left over");
        for length in 0..block.len() {
            assert_eq!(listpack(&block[..length]), None);
        }
    }

    #[test]
    fn entries_of_ziplists_are_read_in_all_their_forms() {
        let block = block(
            10,
            &[
                b"\x00\x03abc",
                b"\x05\x40\x01z",
                b"\xfe\x04\x00\x00\x00\x80\x00\x00\x00\x01w",
                b"\x00\xc0\x18\xfc",
                b"\x00\xd0\xff\xff\xff\x7f",
                b"\x00\xe0\x00\x00\x00\x00\x00\x00\x00\x80",
                b"\x00\xf0\x00\x00\x80",
                b"\x00\xfe\x80",
                b"\x00\xf1",
                b"\x00\xfd",
            ],
        );
        let expected = [
            "abc",
            "z",
            "w",
            "-1000",
            "2147483647",
            "-9223372036854775808",
            "-8388608",
            "-128",
            "0",
            "12",
        ];
        let entries = ziplist(&block).unwrap();
        assert_eq!(entries, expected.map(|text| text.as_bytes().to_vec()));
        for length in 0..block.len() {
            assert_eq!(ziplist(&block[..length]), None);
        }
    }

    #[test]
    fn entries_of_zipmaps_are_read_with_long_and_short_lengths_and_without_what_is_unused() {
        let long = [&b"\xfe\x2c\x01\x00\x00\x00"[..], &[b'x'; 300]].concat();
        let block = [b"\x02\x01a\x02\x03bc...\x01d", &*long, b"\xff"].concat();
        let expected = [&b"a"[..], b"bc", b"d", &[b'x'; 300]];
        assert_eq!(zipmap(&block).unwrap(), expected);
        for length in 0..block.len() {
            assert_eq!(zipmap(&block[..length]), None);
        }
    }

    #[test]
    fn a_third_entry_is_a_deadline() {
        let fields = triples(&[b"a".to_vec(), b"1".to_vec(), b"0".to_vec()]).unwrap();
        assert_eq!(fields[0].deadline_ms, None);
        let fields = triples(&[b"a".to_vec(), b"1".to_vec(), b"17".to_vec()]).unwrap();
        assert_eq!(fields[0].deadline_ms, Some(17));
        assert_eq!(
            triples(&[b"a".to_vec(), b"1".to_vec(), b"x".to_vec()]),
            None
        );
        assert_eq!(triples(&[b"a".to_vec()]), None);
    }
}
