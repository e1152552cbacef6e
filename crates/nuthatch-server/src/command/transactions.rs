//! Commands of transactions.
//!
//! `MULTI` opens one, the executor queues what follows, `EXEC` runs the queue with all its keys held.
//! Keys under `WATCH` are registered while their stripes are held, so each change of such a key comes
//! either before the watch begins or marks the watcher.

use super::{ALL_ARGS, Access, Categories, Command, Flags, Group};
use crate::client::ClientFlags;
use crate::context::Context;
use crate::error::CommandResult;
use crate::executor;
use crate::session::{Transaction, WatchedKey};
use nuthatch_wire::resp::Args;
use std::sync::atomic::Ordering;

const ALWAYS: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .flags(ALWAYS)
        .categories(Categories::TRANSACTION)
}

pub(super) const COMMANDS: &[Command] = &[
    command("multi", 1, multi)
        .flags(Flags::FAST.union(Flags::NO_MULTI))
        .docs(
            Group::Transactions,
            "1.2.0",
            "",
            "Begins a transaction: the commands that follow are queued.",
        ),
    command("exec", 1, exec)
        .flags(Flags::NO_QUEUE.union(Flags::SKIP_SLOWLOG))
        .complexity("Depends on the commands of the transaction")
        .docs(
            Group::Transactions,
            "1.2.0",
            "",
            "Runs the commands of a transaction with nothing in between.",
        ),
    command("discard", 1, discard)
        .flags(Flags::FAST.union(Flags::NO_QUEUE))
        .complexity("O(N) for N queued commands")
        .docs(
            Group::Transactions,
            "2.0.0",
            "",
            "Forgets the commands of a transaction.",
        ),
    command("watch", -2, watch)
        .flags(Flags::FAST.union(Flags::NO_MULTI))
        .keys(ALL_ARGS)
        .access(Access::RO)
        .complexity("O(N) for N keys")
        .docs(
            Group::Transactions,
            "2.2.0",
            "key [key ...]",
            "Lets the next transaction run only if these keys do not change before it.",
        ),
    command("unwatch", 1, unwatch)
        .flags(Flags::FAST)
        .complexity("O(N) for N watched keys")
        .docs(
            Group::Transactions,
            "2.2.0",
            "",
            "Ends the watch over all keys.",
        ),
];

fn multi(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.session.transaction = Some(Transaction::default());
    ctx.session.client.set_flags(ClientFlags::MULTI, true);
    ctx.reply.ok();
    Ok(())
}

fn exec(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let Some(transaction) = ctx.session.transaction.take() else {
        return Err("ERR EXEC without MULTI".into());
    };
    let is_broken = transaction.is_broken();
    let promise = executor::promise_transaction(ctx, &transaction);
    if let Err(error) = &promise {
        ctx.session.end_transaction(ctx.server);
        return Err(format!("EXECABORT Transaction discarded because of: {error}").into());
    }
    let has_run = !is_broken
        && executor::run_transaction(ctx, transaction, |ctx| {
            !ctx.session.is_touched(ctx.now_ms())
        });
    ctx.session.end_transaction(ctx.server);
    if is_broken {
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    if !has_run {
        ctx.reply.null_array();
    }
    Ok(())
}

fn discard(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    if ctx.session.transaction.is_none() {
        return Err("ERR DISCARD without MULTI".into());
    }
    ctx.session.end_transaction(ctx.server);
    ctx.reply.ok();
    Ok(())
}

fn watch(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keyspace = ctx.keyspace();
    let keys = args.from(1);
    let _held = keyspace
        .locks()
        .hold_many(keys.iter().map(|key| keyspace.lock_hash(key)), false);
    let observers = &ctx.server.observers;
    let session = &mut *ctx.session;
    for key in keys.iter() {
        let touched = &session.client.touched;
        if !observers.watched.watch(key, touched, &observers.attention) {
            continue;
        }
        session.watched.push(WatchedKey {
            key: key.into(),
            deadline_ms: keyspace.peek(key, |view| view.deadline_ms()).flatten(),
        });
    }
    let watched = session.watched.len() as u32;
    session.client.watched.store(watched, Ordering::Relaxed);
    ctx.reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.session.forget_watched(ctx.server);
    ctx.reply.ok();
    Ok(())
}
