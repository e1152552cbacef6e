//! Commands of the server as a whole.

use super::{Categories, Command, Flags, Group};
use crate::context::Context;
use crate::error::CommandResult;
use crate::info;
use crate::version;
use nuthatch_wire::resp::Args;

pub(super) const COMMANDS: &[Command] = &[
    Command::new("info", -1, info)
        .flags(Flags::LOADING.union(Flags::STALE))
        .categories(Categories::DANGEROUS)
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ])
        .docs(
            Group::Server,
            "1.0.0",
            "[section [section ...]]",
            "Returns what the server tells of itself.",
        ),
    Command::new("lolwut", -1, lolwut)
        .flags(Flags::READONLY.union(Flags::FAST))
        .docs(
            Group::Server,
            "5.0.0",
            "[VERSION version]",
            "Draws the bird, and tells the version.",
        ),
    Command::new("time", 1, time)
        .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .tips(&["nondeterministic_output"])
        .docs(
            Group::Server,
            "2.6.0",
            "",
            "Returns the server's time: seconds since 1970, and microseconds.",
        ),
];

fn info(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let words: Vec<&[u8]> = args.from(1).iter().collect();
    let sections = info::sections(&words);
    let text = info::report(ctx.server, &sections);
    ctx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn lolwut(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let text = format!(
        "      __\n  ___( o)>\n  \\ <_. )\n   `---'\nNuthatch {}, Redis ver. {}\n",
        version::NUTHATCH,
        version::REDIS
    );
    ctx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn time(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let now_us = (crate::clock::now_ns() / 1000).cast_signed();
    ctx.reply.array(2);
    ctx.reply.bulk_integer(now_us / 1_000_000);
    ctx.reply.bulk_integer(now_us % 1_000_000);
    Ok(())
}
