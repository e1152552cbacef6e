//! `BITFIELD`: integers of 1 to 64 bits at any place of a string.

use super::bit_offset;
use crate::command::{Options, integer, is_word};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::keyspace::Effect;
use nuthatch_wire::number::parse_u64;
use nuthatch_wire::resp::{Args, Reply};

/// The width of an integer and whether it has a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoding {
    is_signed: bool,
    width: u32,
}

impl Encoding {
    fn read(text: &[u8]) -> Option<Self> {
        let (is_signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        // The protocol has no unsigned integers of 64 bits.
        let widest = if is_signed { 64 } else { 63 };
        let width = parse_u64(digits).filter(|width| (1..=widest).contains(width))?;
        Some(Self {
            is_signed,
            width: u32::try_from(width).ok()?,
        })
    }

    /// The least and the greatest integer. Both fit 64 bits, and sums of two fit 128.
    fn bounds(self) -> (i128, i128) {
        if self.is_signed {
            (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1)
        } else {
            (0, (1 << self.width) - 1)
        }
    }

    /// The integer that these lowest bits mean.
    fn decode(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        if self.is_signed {
            (bits << unused).cast_signed() >> unused
        } else {
            bits.cast_signed()
        }
    }

    /// `number` within the bounds, or `None` where that is a failure.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        let (least, greatest) = self.bounds();
        let fitted = match overflow {
            _ if (least..=greatest).contains(&number) => number,
            Overflow::Fail => return None,
            Overflow::Saturate => number.clamp(least, greatest),
            Overflow::Wrap => (number - least).rem_euclid(1 << self.width) + least,
        };
        Some(i64::try_from(fitted).expect("bounds are those of 64 bits or closer"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    encoding: Encoding,
    overflow: Overflow,
    /// The position of the first bit.
    offset: usize,
}

impl Operation {
    fn read_all(ctx: &Context<'_>, args: Args<'_>) -> Result<Vec<Self>, CommandError> {
        let mut operations = Vec::new();
        let mut overflow = Overflow::Wrap;
        let mut options = Options::new(args, 2);
        while let Some(name) = options.next() {
            let takes = |arguments| options.left() >= arguments;
            if is_word(name, "OVERFLOW") && takes(1) {
                overflow = read_overflow(options.value()?)?;
                continue;
            }
            let is_get = is_word(name, "GET") && takes(2);
            let is_set = is_word(name, "SET") && takes(3);
            let is_increment = is_word(name, "INCRBY") && takes(3);
            if !(is_get || is_set || is_increment) {
                return Err(CommandError::Syntax);
            }
            let encoding = Encoding::read(options.value()?).ok_or(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is.",
            )?;
            let offset = bit_offset(ctx, options.value()?, Some(encoding.width))?;
            let action = if is_get {
                Action::Get
            } else if is_set {
                Action::Set(integer(options.value()?)?)
            } else {
                Action::Increment(integer(options.value()?)?)
            };
            operations.push(Self {
                action,
                encoding,
                overflow,
                offset,
            });
        }
        Ok(operations)
    }

    /// Does it, and answers. Returns whether a bit was changed.
    fn run(self, field: &mut [u8], reply: &mut Reply) -> bool {
        let Self {
            encoding, offset, ..
        } = self;
        let old = encoding.decode(read_bits(field, offset, encoding.width));
        let wanted = match self.action {
            Action::Get => {
                reply.integer(old);
                return false;
            }
            // An unsigned integer takes the bits of a negative one as a large number.
            Action::Set(value) if !encoding.is_signed => i128::from(value.cast_unsigned()),
            Action::Set(value) => i128::from(value),
            Action::Increment(by) => i128::from(old) + i128::from(by),
        };
        let Some(new) = encoding.fit(wanted, self.overflow) else {
            reply.null();
            return false;
        };
        write_bits(field, offset, encoding.width, new.cast_unsigned());
        reply.integer(match self.action {
            Action::Increment(_) => new,
            Action::Get | Action::Set(_) => old,
        });
        new != old
    }
}

fn read_overflow(name: &[u8]) -> Result<Overflow, CommandError> {
    if is_word(name, "WRAP") {
        Ok(Overflow::Wrap)
    } else if is_word(name, "SAT") {
        Ok(Overflow::Saturate)
    } else if is_word(name, "FAIL") {
        Ok(Overflow::Fail)
    } else {
        Err("ERR Invalid OVERFLOW type specified".into())
    }
}

/// `width` bits from `offset` on, as the lowest of the result; zeros behind the end.
fn read_bits(string: &[u8], offset: usize, width: u32) -> u64 {
    // A field of 64 bits lies in nine bytes at most.
    let mut bytes = [0; 16];
    let rest = string.get(offset / 8..).unwrap_or_default();
    let length = rest.len().min(9);
    bytes[..length].copy_from_slice(&rest[..length]);
    let aligned = u128::from_be_bytes(bytes) << (offset % 8);
    (aligned >> (128 - width)) as u64
}

/// Overwrites `width` bits from `offset` on, which the string has, with the lowest of `bits`.
fn write_bits(string: &mut [u8], offset: usize, width: u32, bits: u64) {
    let first = offset / 8;
    let length = (string.len() - first).min(9);
    let mut bytes = [0; 16];
    bytes[..length].copy_from_slice(&string[first..first + length]);
    let shift = 128 - width - (offset % 8) as u32;
    let mask = (u128::MAX >> (128 - width)) << shift;
    let written = u128::from_be_bytes(bytes) & !mask | (u128::from(bits) << shift) & mask;
    string[first..first + length].copy_from_slice(&written.to_be_bytes()[..length]);
}

pub(super) fn bitfield(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let operations = Operation::read_all(ctx, args)?;
    let last_written = operations
        .iter()
        .filter(|operation| operation.action != Action::Get)
        .map(|operation| operation.offset + operation.encoding.width as usize - 1)
        .max();
    let Some(last_written) = last_written else {
        return read_fields(ctx, args.at(1), operations);
    };
    let key = args.at(1);
    let old = ctx.copy_string(key)?;
    let deadline_ms = old.as_ref().and_then(|old| old.deadline_ms);
    let mut field = old.map_or_else(Vec::new, |old| old.bytes);
    let grows = field.len() <= last_written / 8;
    if grows {
        field.resize(last_written / 8 + 1, 0);
    }
    ctx.reply.array(operations.len());
    let mut is_changed = grows;
    for operation in operations {
        is_changed |= operation.run(&mut field, ctx.reply);
    }
    if is_changed {
        let effect = Effect::Put {
            key,
            parts: &[&field],
            deadline_ms,
        };
        ctx.apply(effect, Event::string("setbit"))?;
    }
    Ok(())
}

pub(super) fn bitfield_ro(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let operations = Operation::read_all(ctx, args)?;
    if operations
        .iter()
        .any(|operation| operation.action != Action::Get)
    {
        return Err("ERR BITFIELD_RO only supports the GET subcommand".into());
    }
    read_fields(ctx, args.at(1), operations)
}

fn read_fields(ctx: &mut Context<'_>, key: &[u8], operations: Vec<Operation>) -> CommandResult {
    let read = |string: &[u8]| -> Vec<i64> {
        operations
            .iter()
            .map(
                |Operation {
                     encoding, offset, ..
                 }| { encoding.decode(read_bits(string, *offset, encoding.width)) },
            )
            .collect()
    };
    let values = match ctx.read_string(key, read)? {
        Some(values) => values,
        None => vec![0; operations.len()],
    };
    ctx.reply.array(values.len());
    for value in values {
        ctx.reply.integer(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Overflow, read_bits, write_bits};
    use crate::command::bits::bit_at;
    use fastrand::Rng;

    #[test]
    fn fields_are_read_and_written_as_by_a_model_of_single_bits() {
        let mut random = Rng::with_seed(5);
        for _ in 0..10_000 {
            let mut string: Vec<u8> = (0..random.usize(1..20)).map(|_| random.u8(..)).collect();
            let total = 8 * string.len();
            let width = random.usize(1..=total.min(64));
            let offset = random.usize(0..=total - width);
            let plain = |string: &[u8]| {
                (offset..offset + width).fold(0, |value: u64, bit| {
                    value << 1 | u64::from(bit_at(string, bit))
                })
            };
            let width_bits = u32::try_from(width).unwrap();
            assert_eq!(read_bits(&string, offset, width_bits), plain(&string));
            let before = string.clone();
            let bits = random.u64(..);
            write_bits(&mut string, offset, width_bits, bits);
            assert_eq!(plain(&string), bits & u64::MAX >> (64 - width));
            let is_outside = |bit: &usize| !(offset..offset + width).contains(bit);
            for bit in (0..total).filter(is_outside) {
                assert_eq!(bit_at(&string, bit), bit_at(&before, bit), "bit {bit}");
            }
        }
        assert_eq!(read_bits(b"\xff", 4, 8), 0xf0, "zeros follow the end");
        assert_eq!(read_bits(b"\xff", 800, 64), 0);
    }

    #[test]
    fn overflow_wraps_saturates_or_fails() {
        let encoding = |text: &str| Encoding::read(text.as_bytes());
        let (i8, u8) = (encoding("i8").unwrap(), encoding("u8").unwrap());
        let cases = [
            (i8, 127, 127, 127),
            (i8, 128, -128, 127),
            (i8, -129, 127, -128),
            (i8, 127 + 256, 127, 127),
            (u8, 256, 0, 255),
            (u8, -1, 255, 0),
            (u8, 1000, 232, 255),
            (
                encoding("i64").unwrap(),
                i128::from(i64::MAX) + 1,
                i64::MIN,
                i64::MAX,
            ),
            (encoding("u63").unwrap(), 1 << 63, 0, i64::MAX),
            (encoding("i1").unwrap(), 1, -1, 0),
        ];
        for (encoding, number, wrapped, saturated) in cases {
            assert_eq!(encoding.fit(number, Overflow::Wrap), Some(wrapped));
            assert_eq!(encoding.fit(number, Overflow::Saturate), Some(saturated));
            let fits = i128::from(wrapped) == number;
            assert_eq!(
                encoding.fit(number, Overflow::Fail),
                fits.then_some(wrapped)
            );
        }
        for wrong in ["u64", "i65", "i0", "u0", "x8", "i", "", "i08", "i-1"] {
            assert_eq!(encoding(wrong), None, "{wrong}");
        }
    }
}
