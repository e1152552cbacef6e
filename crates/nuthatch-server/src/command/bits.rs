//! Commands of strings as sequences of bits, the highest bit of the first byte first.

use super::arguments::{Options, integer, is_word};
use super::strings::overwritten;
use super::{
    Access, Categories, Command, Flags, Group, Keys, ONE_KEY, OVERWRITES, READS, READS_AND_UPDATES,
};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::keyspace::Effect;
use nuthatch_wire::number::parse_i64;
use nuthatch_wire::resp::Args;

mod bitfield;
mod bitop;

const READ: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .keys(ONE_KEY)
        .categories(Categories::BITMAP)
}

pub(super) const COMMANDS: &[Command] = &[
    command("setbit", 4, setbit)
        .access(READS_AND_UPDATES)
        .flags(WRITE)
        .complexity("O(N) for N bytes of the string")
        .docs(
            Group::Bitmap,
            "2.2.0",
            "key offset value",
            "Sets one bit of the string of a key and returns what it was.",
        ),
    command("getbit", 3, getbit).flags(READ).docs(
        Group::Bitmap,
        "2.2.0",
        "key offset",
        "Returns one bit of the string of a key.",
    ),
    command("bitcount", -2, bitcount)
        .flags(Flags::READONLY)
        .complexity("O(N) for N bytes in the range")
        .docs(
            Group::Bitmap,
            "2.6.0",
            "key [start [end [BYTE | BIT]]]",
            "Counts the bits that are set in the string of a key, or in a part of it.",
        ),
    command("bitpos", -3, bitpos)
        .flags(Flags::READONLY)
        .complexity("O(N) for N bytes in the range")
        .docs(
            Group::Bitmap,
            "2.8.7",
            "key bit [start [end [BYTE | BIT]]]",
            "Finds the first bit that is set, or clear, in the string of a key.",
        ),
    command("bitfield", -2, bitfield::bitfield)
        .access(READS_AND_UPDATES.union(Access::VARIABLE))
        .flags(WRITE)
        .complexity("O(N) for N bytes of the string if it changes; else O(1) for each operation")
        .docs(
            Group::Bitmap,
            "3.2.0",
            "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
             <SET encoding offset value | INCRBY encoding offset increment> ...]",
            "Reads and changes integers of any width within the string of a key.",
        ),
    command("bitfield_ro", -2, bitfield::bitfield_ro)
        .flags(READ)
        .complexity("O(1) for each operation")
        .docs(
            Group::Bitmap,
            "6.0.0",
            "key [GET encoding offset [GET encoding offset ...]]",
            "Reads integers of any width within the string of a key.",
        ),
    Command::new("bitop", -4, bitop::bitop)
        .accesses(OVERWRITES, READS)
        .flags(WRITE)
        .categories(Categories::BITMAP)
        .keys(Keys::Range {
            first: 2,
            last: -1,
            step: 1,
        })
        .complexity("O(N) for N bytes of all strings")
        .docs(
            Group::Bitmap,
            "2.6.0",
            "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
            "Combines the bits of strings and keeps the result in a key.",
        ),
];

/// The position of a bit that an argument names; `#2` is twice `width` if there is a width.
fn bit_offset(ctx: &Context<'_>, text: &[u8], width: Option<u32>) -> Result<usize, CommandError> {
    let max_bytes = ctx.config.proto_max_bulk_len.0;
    let parsed = match (width, text) {
        (Some(width), [b'#', digits @ ..]) => {
            parse_i64(digits).and_then(|number| number.checked_mul(i64::from(width)))
        }
        (_, digits) => parse_i64(digits),
    };
    parsed
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < max_bytes)
        .and_then(|offset| usize::try_from(offset).ok())
        .ok_or("ERR bit offset is not an integer or out of range".into())
}

/// A bit of a string that goes on with zeros.
fn bit_at(string: &[u8], offset: usize) -> bool {
    string
        .get(offset / 8)
        .is_some_and(|byte| byte & 0x80 >> (offset % 8) != 0)
}

fn setbit(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let offset = bit_offset(ctx, args.at(2), None)?;
    let value = match parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err("ERR bit is not an integer or out of range".into()),
    };
    let keyspace = ctx.keyspace();
    let before = keyspace.read(key, |view| {
        put_bit(ctx, key, view.string()?, offset, value, view.deadline_ms())
    });
    let before = match before {
        Some(before) => before?,
        None => put_bit(ctx, key, b"", offset, value, None)?,
    };
    ctx.reply.integer(i64::from(before));
    Ok(())
}

/// Sets a bit, if it is another one or lies behind the end; what it was.
fn put_bit(
    ctx: &mut Context<'_>,
    key: &[u8],
    old: &[u8],
    offset: usize,
    value: bool,
    deadline_ms: Option<u64>,
) -> Result<bool, CommandError> {
    let before = bit_at(old, offset);
    if before == value && offset / 8 < old.len() {
        return Ok(before);
    }
    let mut byte = old.get(offset / 8).copied().unwrap_or(0);
    let mask = 0x80 >> (offset % 8);
    if value {
        byte |= mask;
    } else {
        byte &= !mask;
    }
    let new = [byte];
    let effect = Effect::Put {
        key,
        parts: &overwritten(old, offset / 8, &new),
        deadline_ms,
    };
    ctx.apply(effect, Event::string("setbit"))?;
    Ok(before)
}

fn getbit(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let offset = bit_offset(ctx, args.at(2), None)?;
    let bit = ctx.read_string(args.at(1), |string| bit_at(string, offset))?;
    ctx.reply.integer(i64::from(bit.unwrap_or(false)));
    Ok(())
}

/// The part of a string that `BITCOUNT` and `BITPOS` look at.
#[derive(Clone, Copy, Debug)]
struct BitRange {
    start: i64,
    /// `None`: to the end of the string.
    end: Option<i64>,
    /// Whether both count bits; else bytes.
    in_bits: bool,
}

impl BitRange {
    const WHOLE: Self = Self {
        start: 0,
        end: None,
        in_bits: false,
    };

    /// Reads `[start [end [BYTE | BIT]]]`.
    fn read(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        let mut options = Options::new(args, first);
        let Some(start) = options.next() else {
            return Ok(Self::WHOLE);
        };
        let start = integer(start)?;
        let end = options.next();
        // The unit is looked at before the end, and more than a unit is not looked at at all.
        let in_bits = match (options.next(), options.left()) {
            (None, _) => false,
            (Some(unit), 0) if is_word(unit, "BIT") => true,
            (Some(unit), 0) if is_word(unit, "BYTE") => false,
            _ => return Err(CommandError::Syntax),
        };
        Ok(Self {
            start,
            end: end.map(integer).transpose()?,
            in_bits,
        })
    }

    /// The positions of the bits, in a string of so many bytes.
    fn bits(self, bytes: usize) -> std::ops::Range<usize> {
        let total = bytes as i64 * if self.in_bits { 8 } else { 1 };
        let from_start = |position: i64| {
            let position = if position < 0 {
                position.saturating_add(total)
            } else {
                position
            };
            position.max(0)
        };
        let start = from_start(self.start);
        let end = self.end.map_or(total - 1, from_start).min(total - 1);
        if start > end {
            return 0..0;
        }
        let (start, end) = (start as usize, end as usize + 1);
        if self.in_bits {
            start..end
        } else {
            8 * start..8 * end
        }
    }
}

/// A part of a string, bit by bit, as whole bytes with the first and last ones beside them.
fn count_ones(string: &[u8], bits: &std::ops::Range<usize>) -> u64 {
    if bits.is_empty() {
        return 0;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let whole: u64 = string[first..=last]
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from(u64::from_le_bytes(word).count_ones())
        })
        .sum();
    let before = string[first] & !(0xff_u8 >> (bits.start % 8));
    let after = string[last] & (0x7f_u8 >> ((bits.end - 1) % 8));
    whole - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

fn bitcount(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let range = BitRange::read(args, 2)?;
    let count = ctx.read_string(args.at(1), |string| {
        // Only here a range that is empty before it is clipped stays so.
        let is_reversed =
            range.start < 0 && range.end.is_some_and(|end| end < 0 && range.start > end);
        if is_reversed {
            return 0;
        }
        count_ones(string, &range.bits(string.len()))
    })?;
    ctx.reply.integer(count.unwrap_or(0).cast_signed());
    Ok(())
}

/// The first bit in the range that is `wanted`.
fn find_bit(string: &[u8], wanted: bool, bits: std::ops::Range<usize>) -> Option<usize> {
    let skipped = if wanted { 0x00 } else { 0xff };
    let mut position = bits.start;
    while position < bits.end {
        if position.is_multiple_of(8) {
            let rest = &string[position / 8..bits.end.div_ceil(8)];
            let same = rest.iter().position(|byte| *byte != skipped)?;
            position += 8 * same;
            if position >= bits.end {
                return None;
            }
        }
        if bit_at(string, position) == wanted {
            return Some(position);
        }
        position += 1;
    }
    None
}

fn bitpos(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let wanted = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err("ERR The bit argument must be 1 or 0.".into()),
    };
    let range = BitRange::read(args, 3)?;
    let position = ctx.read_string(args.at(1), |string| {
        let bits = range.bits(string.len());
        match find_bit(string, wanted, bits.clone()) {
            Some(position) => position as i64,
            // A string goes on with zeros, unless an end was named.
            None if !wanted && range.end.is_none() && !bits.is_empty() => bits.end as i64,
            None => -1,
        }
    })?;
    // So does one that is not there, whatever range was named.
    let absent = if wanted { -1 } else { 0 };
    ctx.reply.integer(position.unwrap_or(absent));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BitRange, bit_at, count_ones, find_bit};
    use fastrand::Rng;

    /// The bits of a range, each looked at by itself.
    fn plain_bits(string: &[u8], range: BitRange) -> Vec<usize> {
        let unit = if range.in_bits { 1 } else { 8 };
        let total = (string.len() * 8 / unit) as i64;
        let position = |at: i64| if at < 0 { (at + total).max(0) } else { at };
        let start = position(range.start);
        let end = range.end.map_or(total - 1, position);
        let is_within = |bit: &usize| (start..=end).contains(&((bit / unit) as i64));
        (0..string.len() * 8).filter(is_within).collect()
    }

    #[test]
    fn ranges_of_bits_are_those_of_a_bit_by_bit_model() {
        let mut random = Rng::with_seed(3);
        for _ in 0..20_000 {
            let fill = [0x00, 0xff, random.u8(..)][random.usize(0..3)];
            let mut string = vec![fill; random.usize(0..20)];
            if !string.is_empty() && random.bool() {
                let at = random.usize(0..string.len());
                string[at] = random.u8(..);
            }
            let mut end = || random.i64(-180..180);
            let (start, end) = (end(), end());
            let range = BitRange {
                start,
                end: random.bool().then_some(end),
                in_bits: random.bool(),
            };
            let plain = plain_bits(&string, range);
            let bits = range.bits(string.len());
            assert_eq!(bits.clone().collect::<Vec<_>>(), plain, "{range:?}");
            let ones = plain.iter().filter(|bit| bit_at(&string, **bit)).count();
            assert_eq!(count_ones(&string, &bits), ones as u64, "{range:?}");
            for wanted in [false, true] {
                let mut found = plain.iter().copied();
                let first = found.find(|bit| bit_at(&string, *bit) == wanted);
                assert_eq!(find_bit(&string, wanted, bits.clone()), first, "{range:?}");
            }
        }
    }
}
