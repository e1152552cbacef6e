//! Commands of the server as a whole.

use super::{Categories, Command, Flags, Group};
use crate::context::Context;
use crate::error::CommandResult;
use nuthatch_wire::resp::Args;

pub(super) const COMMANDS: &[Command] = &[Command::new("time", 1, time)
    .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
    .categories(Categories::empty())
    .docs(
        Group::Server,
        "2.6.0",
        "",
        "Returns the server's time: seconds since 1970, and microseconds.",
    )];

fn time(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let now_us = (crate::clock::now_ns() / 1000).cast_signed();
    ctx.reply.array(2);
    ctx.reply.bulk_integer(now_us / 1_000_000);
    ctx.reply.bulk_integer(now_us % 1_000_000);
    Ok(())
}
