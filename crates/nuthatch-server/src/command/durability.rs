//! Commands of what is kept on disk, and of the server's end.

use super::{Categories, Command, Flags, Group, is_word};
use crate::context::Context;
use crate::durability::{Answer, Durability};
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::Args;
use std::sync::Arc;

pub(super) const COMMANDS: &[Command] = &[
    Command::new("lastsave", 1, lastsave)
        .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .categories(Categories::ADMIN.union(Categories::DANGEROUS))
        .tips(&["nondeterministic_output"])
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Returns when the last snapshot was written, in seconds since 1970; when the server started, if \
             none was.",
        ),
    Command::new("save", 1, save)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_MULTI))
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Writes a snapshot, and answers when it is on the disk. Other clients are served meanwhile.",
        ),
    Command::new("bgsave", -1, bgsave)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT))
        .docs(
            Group::Server,
            "1.0.0",
            "[SCHEDULE | CANCEL]",
            "Has a snapshot written, and answers at once.",
        ),
    Command::new("bgrewriteaof", 1, bgrewriteaof)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT))
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Has the log replaced by a snapshot, and answers at once.",
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
            "Ends the server. What was acknowledged is on the disk then, unless NOSAVE is given to a server that \
             keeps no log.",
        ),
];

fn durability<'a>(ctx: &Context<'a>) -> Result<&'a Arc<Durability>, CommandError> {
    let durability = ctx.server.durability.as_ref();
    durability.ok_or_else(|| "ERR this server keeps nothing on disk: it has no data-dir".into())
}

fn lastsave(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let saved_s = ctx.server.durability_figures().last_save_ms / 1000;
    ctx.reply.integer(saved_s.cast_signed());
    Ok(())
}

/// Waits for the snapshot that the client has asked for before, or for one that `ask` asks for now. `None` while
/// there is no answer: the command is run again then.
fn wait_for_save(
    ctx: &mut Context<'_>,
    durability: &Durability,
    ask: impl FnOnce() -> u64,
) -> Option<Result<(), String>> {
    let ticket = *ctx.session.save_ticket.get_or_insert_with(ask);
    match durability.answer(ticket) {
        Answer::Pending => {
            ctx.session.set_waiting(true, ctx.server);
            None
        }
        Answer::Written => {
            ctx.session.save_ticket = None;
            Some(Ok(()))
        }
        Answer::Failed(error) => {
            ctx.session.save_ticket = None;
            Some(Err(error))
        }
    }
}

fn save(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let durability = durability(ctx)?;
    match wait_for_save(ctx, durability, || durability.request_save()) {
        None => Ok(()),
        Some(Ok(())) => {
            ctx.reply.ok();
            Ok(())
        }
        Some(Err(error)) => Err(format!("ERR {error}").into()),
    }
}

fn bgsave(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let is_scheduled = match args.len() {
        1 => false,
        2 if is_word(args.at(1), "SCHEDULE") => true,
        2 if is_word(args.at(1), "CANCEL") => {
            if durability(ctx)?.cancel_save() {
                ctx.reply.simple("Background saving cancelled");
                return Ok(());
            }
            let text = "ERR Background saving is currently not in progress or scheduled";
            return Err(text.into());
        }
        _ => return Err(CommandError::Syntax),
    };
    let durability = durability(ctx)?;
    if !durability.is_saving() {
        durability.request_save();
        ctx.reply.simple("Background saving started");
    } else if is_scheduled {
        durability.request_save();
        ctx.reply.simple("Background saving scheduled");
    } else {
        return Err("ERR Background save already in progress".into());
    }
    Ok(())
}

fn bgrewriteaof(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let durability = durability(ctx)?;
    if !durability.is_logging() {
        return Err("ERR this server keeps no log: appendonly is no".into());
    }
    let is_saving = durability.is_saving();
    durability.request_save();
    ctx.reply.simple(if is_saving {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(())
}

fn shutdown(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (mut saves, mut discards, mut aborts, mut forces) = (false, false, false, false);
    for option in args.from(1).iter() {
        if is_word(option, "SAVE") {
            saves = true;
        } else if is_word(option, "NOSAVE") {
            discards = true;
        } else if is_word(option, "ABORT") {
            aborts = true;
        } else if is_word(option, "FORCE") {
            forces = true;
        } else if !is_word(option, "NOW") {
            return Err(CommandError::Syntax);
        }
    }
    if (saves && discards) || (aborts && args.len() > 2) {
        return Err(CommandError::Syntax);
    }
    if aborts {
        return abort_shutdown(ctx);
    }
    if saves {
        durability(ctx)?;
    }
    if !discards
        && let Some(durability) = &ctx.server.durability
        && (saves || ctx.session.save_ticket.is_some() || durability.needs_save_to_end())
    {
        // Whoever writes the snapshot ends the server then, also if this client has left.
        match wait_for_save(ctx, durability, || durability.begin_closing(forces)) {
            None => return Ok(()),
            Some(Err(_)) if !forces => {
                return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
            }
            Some(_) => {}
        }
    }
    tracing::info!(client = ctx.session.client.id, "ending: SHUTDOWN");
    ctx.session.closing = true;
    ctx.server.end();
    Ok(())
}

fn abort_shutdown(ctx: &mut Context<'_>) -> CommandResult {
    match &ctx.server.durability {
        Some(durability) if durability.is_closing() => {
            durability.end_closing();
            durability.cancel_save();
            ctx.reply.ok();
            Ok(())
        }
        _ => Err("ERR No shutdown in progress.".into()),
    }
}
