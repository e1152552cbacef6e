//! Commands for publishing and subscribing.

use super::{Categories, Command, Flags, Group, HELP};
use crate::client::ClientFlags;
use crate::context::Context;
use crate::error::CommandResult;
use crate::pubsub::Kind;
use nuthatch_wire::resp::Args;
use std::sync::Arc;

const ALWAYS: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const fn subscribing(
    name: &'static str,
    arity: i8,
    handler: super::Handler,
    since: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, handler)
        .flags(ALWAYS.union(Flags::NOSCRIPT).union(Flags::WHILE_SUBSCRIBED))
        .complexity("O(N) for N names")
        .docs(Group::Pubsub, since, syntax, summary)
}

const fn publishing(
    name: &'static str,
    handler: super::Handler,
    since: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, 3, handler)
        .flags(ALWAYS.union(Flags::FAST).union(Flags::MAY_REPLICATE))
        .complexity("O(N+M) for N subscribers of the channel and M patterns")
        .docs(Group::Pubsub, since, syntax, summary)
}

const fn asking(
    name: &'static str,
    arity: i8,
    handler: super::Handler,
    since: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, handler)
        .flags(ALWAYS)
        .complexity("O(N) for N names")
        .docs(Group::Pubsub, since, syntax, summary)
}

pub(super) const COMMANDS: &[Command] = &[
    subscribing(
        "subscribe",
        -2,
        subscribe,
        "2.0.0",
        "channel [channel ...]",
        "Receives the messages of channels from now on.",
    ),
    subscribing(
        "unsubscribe",
        -1,
        unsubscribe,
        "2.0.0",
        "[channel [channel ...]]",
        "Ends subscriptions of channels, or all of them.",
    ),
    subscribing(
        "psubscribe",
        -2,
        psubscribe,
        "2.0.0",
        "pattern [pattern ...]",
        "Receives the messages of all channels that match patterns from now on.",
    ),
    subscribing(
        "punsubscribe",
        -1,
        punsubscribe,
        "2.0.0",
        "[pattern [pattern ...]]",
        "Ends subscriptions of patterns, or all of them.",
    ),
    subscribing(
        "ssubscribe",
        -2,
        ssubscribe,
        "7.0.0",
        "shardchannel [shardchannel ...]",
        "Receives the messages of shard channels from now on.",
    ),
    subscribing(
        "sunsubscribe",
        -1,
        sunsubscribe,
        "7.0.0",
        "[shardchannel [shardchannel ...]]",
        "Ends subscriptions of shard channels, or all of them.",
    ),
    publishing(
        "publish",
        publish,
        "2.0.0",
        "channel message",
        "Sends a message to the subscribers of a channel, and returns how many they are.",
    ),
    publishing(
        "spublish",
        spublish,
        "7.0.0",
        "shardchannel message",
        "Sends a message to the subscribers of a shard channel, and returns how many they are.",
    ),
    Command::container(
        "pubsub",
        &[
            asking(
                "channels",
                -2,
                channels,
                "2.8.0",
                "[pattern]",
                "Lists channels that have subscribers.",
            ),
            asking(
                "numpat",
                2,
                numpat,
                "2.8.0",
                "",
                "Counts patterns that have subscribers.",
            ),
            asking(
                "numsub",
                -2,
                numsub,
                "2.8.0",
                "[channel [channel ...]]",
                "Counts the subscribers of channels, patterns aside.",
            ),
            asking(
                "shardchannels",
                -2,
                shardchannels,
                "7.0.0",
                "[pattern]",
                "Lists shard channels that have subscribers.",
            ),
            asking(
                "shardnumsub",
                -2,
                shardnumsub,
                "7.0.0",
                "[shardchannel [shardchannel ...]]",
                "Counts the subscribers of shard channels.",
            ),
            HELP.group(Group::Pubsub, "6.2.0"),
        ],
    )
    .categories(Categories::empty())
    .docs(Group::Pubsub, "2.8.0", "", "Tells who has subscribed."),
];

fn begin(ctx: &mut Context<'_>, kind: Kind, names: Args<'_>) -> CommandResult {
    let pubsub = &ctx.server.observers.pubsub;
    let session = &mut *ctx.session;
    session.client.set_flags(ClientFlags::PUBSUB, true);
    for name in names.iter() {
        pubsub.subscribe(kind, name, &session.client, &mut session.subscriptions);
        ctx.reply.push(3);
        ctx.reply
            .bulk(format!("{}subscribe", kind.prefix()).as_bytes());
        ctx.reply.bulk(name);
        ctx.reply.integer(session.counted_subscriptions(kind));
    }
    Ok(())
}

fn end(ctx: &mut Context<'_>, kind: Kind, names: Args<'_>) -> CommandResult {
    let pubsub = &ctx.server.observers.pubsub;
    let session = &mut *ctx.session;
    let names: Vec<Arc<[u8]>> = if names.is_empty() {
        session.subscriptions.all(kind)
    } else {
        names.iter().map(Arc::from).collect()
    };
    let word = format!("{}unsubscribe", kind.prefix());
    if names.is_empty() {
        ctx.reply.push(3);
        ctx.reply.bulk(word.as_bytes());
        ctx.reply.null();
        ctx.reply.integer(session.counted_subscriptions(kind));
    }
    for name in names {
        pubsub.unsubscribe(kind, &name, &session.client, &mut session.subscriptions);
        ctx.reply.push(3);
        ctx.reply.bulk(word.as_bytes());
        ctx.reply.bulk(&name);
        ctx.reply.integer(session.counted_subscriptions(kind));
    }
    if session.subscriptions.is_empty() {
        session.client.set_flags(ClientFlags::PUBSUB, false);
    }
    Ok(())
}

fn subscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    begin(ctx, Kind::Channel, args.from(1))
}

fn unsubscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    end(ctx, Kind::Channel, args.from(1))
}

fn psubscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    begin(ctx, Kind::Pattern, args.from(1))
}

fn punsubscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    end(ctx, Kind::Pattern, args.from(1))
}

fn ssubscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if ctx.in_transaction {
        return Err("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client".into());
    }
    begin(ctx, Kind::ShardChannel, args.from(1))
}

fn sunsubscribe(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    end(ctx, Kind::ShardChannel, args.from(1))
}

fn send(ctx: &mut Context<'_>, kind: Kind, args: Args<'_>) -> CommandResult {
    let pubsub = &ctx.server.observers.pubsub;
    let receivers = pubsub.publish(kind, args.at(1), args.at(2), &mut ctx.outbox());
    ctx.reply.integer(receivers as i64);
    Ok(())
}

fn publish(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    send(ctx, Kind::Channel, args)
}

fn spublish(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    send(ctx, Kind::ShardChannel, args)
}

fn list(ctx: &mut Context<'_>, kind: Kind, args: Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
            String::from_utf8_lossy(args.at(1))
        )
        .into());
    }
    let names = ctx.server.observers.pubsub.channels(kind, args.get(2));
    ctx.reply.array(names.len());
    for name in names {
        ctx.reply.bulk(&name);
    }
    Ok(())
}

fn count(ctx: &mut Context<'_>, kind: Kind, args: Args<'_>) -> CommandResult {
    let names = args.from(2);
    ctx.reply.array(2 * names.len());
    for name in names.iter() {
        let subscribers = ctx.server.observers.pubsub.subscribers(kind, name);
        ctx.reply.bulk(name);
        ctx.reply.integer(subscribers as i64);
    }
    Ok(())
}

fn channels(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    list(ctx, Kind::Channel, args)
}

fn shardchannels(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    list(ctx, Kind::ShardChannel, args)
}

fn numsub(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    count(ctx, Kind::Channel, args)
}

fn shardnumsub(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    count(ctx, Kind::ShardChannel, args)
}

fn numpat(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let patterns = ctx.server.observers.pubsub.len(Kind::Pattern);
    ctx.reply.integer(patterns as i64);
    Ok(())
}
