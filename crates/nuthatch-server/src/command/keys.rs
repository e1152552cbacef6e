//! Commands of keys, whatever they hold.

use super::{ALL_ARGS, Categories, Command, Flags, Group};
use crate::context::{Context, Event};
use crate::error::CommandResult;
use nuthatch_wire::resp::Args;

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).categories(Categories::KEYSPACE)
}

pub(super) const COMMANDS: &[Command] = &[
    command("del", -2, del)
        .flags(Flags::WRITE)
        .keys(ALL_ARGS)
        .complexity("O(N) for N keys")
        .docs(Group::Generic, "1.0.0", "key [key ...]", "Removes keys."),
    command("exists", -2, exists)
        .flags(Flags::READONLY.union(Flags::FAST))
        .keys(ALL_ARGS)
        .complexity("O(N) for N keys")
        .docs(
            Group::Generic,
            "1.0.0",
            "key [key ...]",
            "Counts which of these keys exist; a key named twice counts twice.",
        ),
    command("dbsize", 1, dbsize)
        .flags(Flags::READONLY.union(Flags::FAST))
        .docs(Group::Server, "1.0.0", "", "Returns the number of keys."),
];

fn del(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let mut removed = 0;
    for key in args.from(1).iter() {
        removed += i64::from(ctx.delete(key, Event::generic("del"))?);
    }
    ctx.reply.integer(removed);
    Ok(())
}

fn exists(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys = args.from(1).iter();
    let found = keys.filter(|key| ctx.keyspace().contains(key)).count();
    ctx.reply.integer(found as i64);
    Ok(())
}

fn dbsize(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let keys = ctx.keyspace().cache().len();
    ctx.reply.integer(keys.cast_signed());
    Ok(())
}
