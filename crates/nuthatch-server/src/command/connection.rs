//! Commands of the connection itself.

use super::{Categories, Command, Flags, Group};
use crate::client::ClientFlags;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::{Args, Protocol};

const ALWAYS: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).categories(Categories::CONNECTION)
}

pub(super) const COMMANDS: &[Command] = &[
    command("ping", -1, ping)
        .flags(Flags::FAST.union(Flags::WHILE_SUBSCRIBED))
        .docs(
            Group::Connection,
            "1.0.0",
            "[message]",
            "Answers PONG, or the message.",
        ),
    command("echo", 2, echo).flags(ALWAYS).docs(
        Group::Connection,
        "1.0.0",
        "message",
        "Answers the message.",
    ),
    command("quit", -1, quit)
        .flags(
            ALWAYS
                .union(Flags::NO_AUTH)
                .union(Flags::NO_QUEUE)
                .union(Flags::WHILE_SUBSCRIBED)
                .union(Flags::NOSCRIPT),
        )
        .docs(Group::Connection, "1.0.0", "", "Closes the connection."),
];

fn ping(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".into()));
    }
    let message = args.get(1);
    let is_subscribed = ctx.session.client.flags().contains(ClientFlags::PUBSUB);
    if is_subscribed && ctx.reply.protocol() == Protocol::Resp2 {
        // A subscriber of version 2 tells replies from messages by their form alone.
        ctx.reply.array(2);
        ctx.reply.bulk(b"pong");
        ctx.reply.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => ctx.reply.bulk(message),
        None => ctx.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    ctx.reply.bulk(args.at(1));
    Ok(())
}

fn quit(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.ok();
    ctx.session.closing = true;
    Ok(())
}
