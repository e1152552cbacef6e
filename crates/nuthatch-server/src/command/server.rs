//! Commands of the server as a whole.

use super::{Categories, Command, Flags, Group, is_word};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
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
    Command::new("lastsave", 1, lastsave)
        .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .categories(Categories::ADMIN.union(Categories::DANGEROUS))
        .tips(&["nondeterministic_output"])
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Returns when the server started, for it keeps nothing on disk.",
        ),
    Command::new("save", 1, save)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_MULTI))
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Answers that nothing is kept on disk.",
        ),
    Command::new("bgsave", -1, save)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT))
        .docs(
            Group::Server,
            "1.0.0",
            "[SCHEDULE | CANCEL]",
            "Answers that nothing is kept on disk.",
        ),
    Command::new("bgrewriteaof", 1, save)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT))
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Answers that nothing is kept on disk.",
        ),
    Command::new("shutdown", -1, shutdown)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::NO_MULTI),
        )
        .docs(
            Group::Server,
            "1.0.0",
            "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
            "Ends the server.",
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

const NOTHING_ON_DISK: &str = "ERR this server keeps nothing on disk";

fn lastsave(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let started_s = ctx.server.started_ms / 1000;
    ctx.reply.integer(started_s.cast_signed());
    Ok(())
}

fn save(_: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    Err(NOTHING_ON_DISK.into())
}

fn shutdown(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (mut saves, mut discards, mut aborts) = (false, false, false);
    for option in args.from(1).iter() {
        if is_word(option, "SAVE") {
            saves = true;
        } else if is_word(option, "NOSAVE") {
            discards = true;
        } else if is_word(option, "ABORT") {
            aborts = true;
        } else if !is_word(option, "NOW") && !is_word(option, "FORCE") {
            return Err(CommandError::Syntax);
        }
    }
    if (saves && discards) || (aborts && args.len() > 2) {
        return Err(CommandError::Syntax);
    }
    if aborts {
        return Err("ERR No shutdown in progress.".into());
    }
    if saves {
        return Err(NOTHING_ON_DISK.into());
    }
    tracing::info!(client = ctx.session.client.id, "ending: SHUTDOWN");
    ctx.session.closing = true;
    ctx.server.end();
    Ok(())
}
