//! Commands of strings that hold a number.

use super::arguments::integer;
use super::{Categories, Command, Flags, Group, ONE_KEY, READS_AND_UPDATES};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::decimal::Decimal;
use nuthatch_wire::resp::Args;

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .keys(ONE_KEY)
        .access(READS_AND_UPDATES)
        .flags(Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST))
        .categories(Categories::STRING)
}

pub(super) const COMMANDS: &[Command] = &[
    command("incr", 2, incr).docs(
        Group::String,
        "1.0.0",
        "key",
        "Adds one to the integer that a key holds; a key that does not exist counts as 0.",
    ),
    command("decr", 2, decr).docs(
        Group::String,
        "1.0.0",
        "key",
        "Takes one from the integer that a key holds; a key that does not exist counts as 0.",
    ),
    command("incrby", 3, incrby).docs(
        Group::String,
        "1.0.0",
        "key increment",
        "Adds a number to the integer that a key holds; a key that does not exist counts as 0.",
    ),
    command("decrby", 3, decrby).docs(
        Group::String,
        "1.0.0",
        "key decrement",
        "Takes a number from the integer that a key holds; a key that does not exist counts as 0.",
    ),
    command("incrbyfloat", 3, incrbyfloat).docs(
        Group::String,
        "2.6.0",
        "key increment",
        "Adds a number with a fraction to the one that a key holds; a key that does not exist \
         counts as 0.",
    ),
];

fn incr(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    add(ctx, args.at(1), 1)
}

fn decr(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    add(ctx, args.at(1), -1)
}

fn incrby(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let increment = integer(args.at(2))?;
    add(ctx, args.at(1), increment)
}

fn decrby(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let decrement = integer(args.at(2))?;
    let increment = decrement
        .checked_neg()
        .ok_or("ERR decrement would overflow")?;
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

fn incrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let decimal = |text: &[u8]| Decimal::parse(text).ok_or(CommandError::NotFloat);
    let old = ctx.keyspace().read(key, |view| {
        Ok::<_, CommandError>((decimal(view.string()?)?, view.deadline_ms()))
    });
    let (number, deadline_ms) = old.transpose()?.unwrap_or((Decimal::default(), None));
    let sum = number
        .checked_add(&decimal(args.at(2))?)
        .ok_or("ERR increment would produce NaN or Infinity")?;
    let text = sum.to_string();
    let event = Event::string("incrbyfloat");
    ctx.put(key, text.as_bytes(), deadline_ms, event)?;
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}
