//! Commands of strings.

use super::arguments::{Options, TimeUnit, deadline_ms, integer, is_word};
use super::{Access, Categories, Command, Flags, Group, ONE_KEY, READS_AND_UPDATES};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::Args;
use std::borrow::Cow;

const READ: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).categories(Categories::STRING)
}

pub(super) const COMMANDS: &[Command] = &[
    command("get", 2, get).flags(READ).keys(ONE_KEY).docs(
        Group::String,
        "1.0.0",
        "key",
        "Returns the string of a key.",
    ),
    command("set", -3, set)
        .flags(
            Flags::WRITE
                .union(Flags::DENYOOM)
                .union(Flags::TIMED_SOMETIMES),
        )
        .keys(ONE_KEY)
        .access(READS_AND_UPDATES.union(Access::VARIABLE))
        .docs(
            Group::String,
            "1.0.0",
            "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | \
             EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
            "Sets the string of a key, whatever it held before.",
        ),
    command("incr", 2, incr).flags(WRITE).keys(ONE_KEY).docs(
        Group::String,
        "1.0.0",
        "key",
        "Adds one to the integer that a key holds; a key that does not exist counts as 0.",
    ),
    command("incrby", 3, incrby)
        .flags(WRITE)
        .keys(ONE_KEY)
        .docs(
            Group::String,
            "1.0.0",
            "key increment",
            "Adds a number to the integer that a key holds; a key that does not exist counts as 0.",
        ),
];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let reply = &mut *ctx.reply;
    let found = ctx.server.keyspace.read(args.at(1), |view| {
        view.string().map(|bytes| reply.bulk(bytes))
    });
    match found {
        Some(result) => result,
        None => {
            ctx.reply.null();
            Ok(())
        }
    }
}

/// What `SET` does if the key exists, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    Absent,
    Present,
    Equal(&'a [u8]),
}

/// When what `SET` writes expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Forever,
    Kept,
    Until(i64),
}

#[derive(Debug)]
struct SetOptions<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime,
    get: bool,
}

impl<'a> SetOptions<'a> {
    fn read(args: Args<'a>, now_ms: u64) -> Result<Self, CommandError> {
        let mut read = Self {
            condition: Condition::Always,
            lifetime: Lifetime::Forever,
            get: false,
        };
        let mut options = Options::new(args, 3);
        while let Some(option) = options.next() {
            if is_word(option, "NX") {
                read.condition(Condition::Absent)?;
            } else if is_word(option, "XX") {
                read.condition(Condition::Present)?;
            } else if is_word(option, "IFEQ") {
                read.condition(Condition::Equal(options.value()?))?;
            } else if is_word(option, "GET") {
                read.get = true;
            } else if is_word(option, "KEEPTTL") {
                read.lifetime(Lifetime::Kept)?;
            } else if let Some(unit) = TimeUnit::of_option(option) {
                let number = integer(options.value()?)?;
                if number <= 0 {
                    return Err(CommandError::ExpireTime(Cow::Borrowed("set")));
                }
                read.lifetime(Lifetime::Until(deadline_ms(number, unit, now_ms, "set")?))?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(read)
    }

    fn condition(&mut self, condition: Condition<'a>) -> CommandResult {
        if self.condition != Condition::Always {
            return Err(CommandError::Syntax);
        }
        self.condition = condition;
        Ok(())
    }

    fn lifetime(&mut self, lifetime: Lifetime) -> CommandResult {
        if self.lifetime != Lifetime::Forever {
            return Err(CommandError::Syntax);
        }
        self.lifetime = lifetime;
        Ok(())
    }
}

fn set(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        ctx.put(key, value, None, Event::string("set"))?;
        ctx.reply.ok();
        return Ok(());
    }
    let options = SetOptions::read(args, ctx.now_ms())?;
    let must_look =
        options.get || options.condition != Condition::Always || options.lifetime == Lifetime::Kept;
    let old = if must_look {
        ctx.keyspace().peek(key, |view| {
            let string = view.string().map(<[u8]>::to_vec);
            (string, view.deadline_ms())
        })
    } else {
        None
    };
    let old_deadline_ms = old.as_ref().and_then(|(_, deadline_ms)| *deadline_ms);
    let exists = old.is_some();
    let needs_string = options.get || matches!(options.condition, Condition::Equal(_));
    let old = match old {
        Some((string, _)) if needs_string => Some(string?),
        _ => None,
    };
    let is_met = match options.condition {
        Condition::Always => true,
        Condition::Absent => !exists,
        Condition::Present => exists,
        Condition::Equal(comparison) => old.as_deref() == Some(comparison),
    };
    if is_met {
        let deadline_ms = match options.lifetime {
            Lifetime::Forever => None,
            Lifetime::Kept => old_deadline_ms,
            Lifetime::Until(ms) => Some(ms.cast_unsigned()),
        };
        ctx.put(key, value, deadline_ms, Event::string("set"))?;
    }
    if options.get {
        ctx.reply.bulk_or_null(old.as_deref());
    } else if is_met {
        ctx.reply.ok();
    } else {
        ctx.reply.null();
    }
    Ok(())
}

fn incr(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    add(ctx, args.at(1), 1)
}

fn incrby(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let increment = integer(args.at(2))?;
    add(ctx, args.at(1), increment)
}

fn add(ctx: &mut Context<'_>, key: &[u8], increment: i64) -> CommandResult {
    let old = ctx.keyspace().read(key, |view| {
        let number = integer(view.string()?)?;
        Ok::<_, CommandError>((number, view.deadline_ms()))
    });
    let (number, deadline_ms) = old.transpose()?.unwrap_or((0, None));
    let sum = number
        .checked_add(increment)
        .ok_or("ERR increment or decrement would overflow")?;
    let mut digits = itoa::Buffer::new();
    let bytes = digits.format(sum).as_bytes();
    ctx.put(key, bytes, deadline_ms, Event::string("incrby"))?;
    ctx.reply.integer(sum);
    Ok(())
}
