//! Commands about clients: who is connected, what each is called, what it wants, and when it must go.

use super::{Categories, Command, Flags, Group, HELP, integer, is_word};
use crate::client::{Client, ClientFlags, is_name};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::mailbox::Message;
use crate::pause::PauseMode;
use crate::session::ReplyMode;
use crate::tracking::{TrackingMode, TrackingOptions};
use filter::Filter;
use nuthatch_wire::resp::Args;
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod filter;
mod line;

pub use line::client_line;

const ALWAYS: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = ALWAYS.union(Flags::ADMIN);

const fn sub(name: &'static str, arity: i8, handler: super::Handler, flags: Flags) -> Command {
    Command::new(name, arity, handler)
        .flags(flags)
        .categories(Categories::CONNECTION)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::container("client", SUBCOMMANDS)
        .categories(Categories::empty())
        .docs(Group::Connection, "2.4.0", "", "Commands about clients."),
    Command::new("monitor", 1, monitor).flags(ADMIN).docs(
        Group::Server,
        "1.0.0",
        "",
        "Shows every command that is run from now on.",
    ),
];

const SUBCOMMANDS: &[Command] = &[
    sub("caching", 3, caching, ALWAYS).docs(
        Group::Connection,
        "6.0.0",
        "<YES | NO>",
        "Says whether the keys of the next command are tracked.",
    ),
    sub("capa", -3, capa, ALWAYS).docs(
        Group::Connection,
        "8.0.0",
        "capability [capability ...]",
        "Tells what the client is able to do.",
    ),
    sub("getname", 2, getname, ALWAYS).docs(
        Group::Connection,
        "2.6.9",
        "",
        "Returns the name of the connection.",
    ),
    sub("getredir", 2, getredir, ALWAYS).docs(
        Group::Connection,
        "6.0.0",
        "",
        "Returns the client that invalidations of tracked keys go to.",
    ),
    HELP.group(Group::Connection, "5.0.0"),
    sub("id", 2, id, ALWAYS).docs(
        Group::Connection,
        "5.0.0",
        "",
        "Returns the number of the connection.",
    ),
    sub("import-source", 3, import_source, ALWAYS).docs(
        Group::Connection,
        "8.1.0",
        "<ON | OFF>",
        "Says that the client imports data, which is possible in import mode only.",
    ),
    sub("info", 2, info, ALWAYS).docs(Group::Connection, "6.2.0", "", "Describes the connection."),
    sub("kill", -3, kill, ADMIN)
        .complexity("O(N) for N clients")
        .docs(
            Group::Connection,
            "2.4.0",
            "<ip:port | filter value [filter value ...]>",
            "Closes connections, those that all filters match.",
        ),
    sub("list", -2, list, ADMIN)
        .complexity("O(N) for N clients")
        .docs(
            Group::Connection,
            "2.4.0",
            "[filter value [filter value ...]]",
            "Describes connections, those that all filters match.",
        ),
    sub("no-evict", 3, no_evict, ADMIN).docs(
        Group::Connection,
        "7.0.0",
        "<ON | OFF>",
        "Says whether the client is spared when clients take too much memory.",
    ),
    sub("no-touch", 3, no_touch, ALWAYS).docs(
        Group::Connection,
        "7.2.0",
        "<ON | OFF>",
        "Says whether the client's reads leave no trace in the eviction policy.",
    ),
    sub("pause", -3, pause, ADMIN).docs(
        Group::Connection,
        "3.0.0",
        "timeout [WRITE | ALL]",
        "Lets all requests wait for so many milliseconds, or those that write.",
    ),
    sub("reply", 3, reply, ALWAYS.union(Flags::NO_MULTI)).docs(
        Group::Connection,
        "3.2.0",
        "<ON | OFF | SKIP>",
        "Says whether commands are answered.",
    ),
    sub("setinfo", 4, setinfo, ALWAYS).docs(
        Group::Connection,
        "7.2.0",
        "<LIB-NAME name | LIB-VER version>",
        "Tells the name or the version of the client's library.",
    ),
    sub("setname", 3, setname, ALWAYS).docs(
        Group::Connection,
        "2.6.9",
        "name",
        "Gives the connection a name.",
    ),
    sub("tracking", -3, tracking, ALWAYS)
        .complexity("O(N) for N prefixes")
        .docs(
            Group::Connection,
            "6.0.0",
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
             [OPTOUT] [NOLOOP]",
            "Has the client told when keys change that it has read, or that begin alike.",
        ),
    sub("trackinginfo", 2, trackinginfo, ALWAYS).docs(
        Group::Connection,
        "6.2.0",
        "",
        "Tells how the client tracks keys.",
    ),
    sub("unblock", -3, unblock, ADMIN).docs(
        Group::Connection,
        "5.0.0",
        "client-id [TIMEOUT | ERROR]",
        "Ends a command of another client that waits; no command here does.",
    ),
    sub("unpause", 2, unpause, ADMIN)
        .complexity("O(N) for N clients that wait")
        .docs(Group::Connection, "6.2.0", "", "Ends a pause."),
];

fn on_or_off(arg: &[u8]) -> Result<bool, CommandError> {
    if is_word(arg, "ON") {
        Ok(true)
    } else if is_word(arg, "OFF") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// ---- the connection itself ------------------------------------------------------------------

fn id(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.integer(ctx.session.client.id.cast_signed());
    Ok(())
}

fn getname(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let name = ctx.session.client.names().name;
    let name = (!name.is_empty()).then_some(name.as_bytes());
    ctx.reply.bulk_or_null(name);
    Ok(())
}

fn setname(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let name = args.at(2);
    if !is_name(name) {
        return Err(
            "ERR Client names cannot contain spaces, newlines or special characters.".into(),
        );
    }
    ctx.session.client.rename(|names| names.name = shown(name));
    ctx.reply.ok();
    Ok(())
}

fn setinfo(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (attribute, value) = (args.at(2), args.at(3));
    let is_library = is_word(attribute, "LIB-NAME");
    if !is_library && !is_word(attribute, "LIB-VER") {
        return Err(format!("ERR Unrecognized option '{}'", shown(attribute)).into());
    }
    if !is_name(value) {
        return Err(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            shown(attribute)
        )
        .into());
    }
    ctx.session.client.rename(|names| {
        let field = if is_library {
            &mut names.lib_name
        } else {
            &mut names.lib_version
        };
        *field = shown(value);
    });
    ctx.reply.ok();
    Ok(())
}

fn capa(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    // Capabilities that are not known are no error.
    if args.from(2).iter().any(|arg| is_word(arg, "REDIRECT")) {
        let client = &ctx.session.client;
        client.set_flags(ClientFlags::CAPA_REDIRECT, true);
    }
    ctx.reply.ok();
    Ok(())
}

fn import_source(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if !is_word(args.at(2), "OFF") {
        return Err("ERR Server is not in import mode".into());
    }
    ctx.reply.ok();
    Ok(())
}

fn reply(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let mode = args.at(2);
    if is_word(mode, "ON") {
        ctx.session.set_reply_mode(ReplyMode::On);
        ctx.reply.ok();
    } else if is_word(mode, "OFF") {
        ctx.session.set_reply_mode(ReplyMode::Off);
    } else if is_word(mode, "SKIP") {
        if ctx.session.reply_mode() != ReplyMode::Off {
            ctx.session.set_reply_mode(ReplyMode::SkipNext);
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

fn set_flag(ctx: &mut Context<'_>, flag: ClientFlags, args: Args<'_>) -> CommandResult {
    let on = on_or_off(args.at(2))?;
    ctx.session.client.set_flags(flag, on);
    ctx.reply.ok();
    Ok(())
}

fn no_evict(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_flag(ctx, ClientFlags::NO_EVICT, args)
}

fn no_touch(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_flag(ctx, ClientFlags::NO_TOUCH, args)
}

fn monitor(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let observers = &ctx.server.observers;
    let client = &ctx.session.client;
    observers.monitors.add(client, &observers.attention);
    ctx.reply.ok();
    Ok(())
}

// ---- all connections ------------------------------------------------------------------------

fn info(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let line = client_line(&ctx.session.client, ctx.now_ms(), Some(args)) + "\n";
    ctx.reply.verbatim(*b"txt", line.as_bytes());
    Ok(())
}

fn list(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if args.len() == 3 {
        return Err(CommandError::Syntax);
    }
    let own = ctx.session.client.id;
    let filter = Filter::read(args, false, &ctx.server.acl)?;
    let now_ms = ctx.now_ms();
    let mut lines = String::new();
    for client in matching(ctx, &filter) {
        let request = (client.id == own).then_some(args);
        lines += &client_line(&client, now_ms, request);
        lines.push('\n');
    }
    ctx.reply.verbatim(*b"txt", lines.as_bytes());
    Ok(())
}

/// The connected clients that a filter matches, without those that are being closed.
fn matching(ctx: &Context<'_>, filter: &Filter<'_>) -> Vec<Arc<Client>> {
    let (own, now_ms) = (ctx.session.client.id, ctx.now_ms());
    let mut clients = ctx.server.clients.all();
    clients.retain(|client| {
        !client.killed.load(Ordering::Relaxed) && filter.matches(client, own, now_ms)
    });
    clients
}

fn kill(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let is_old_form = args.len() == 3;
    let filter = if is_old_form {
        Filter::by_address(args.at(2))
    } else {
        Filter::read(args, true, &ctx.server.acl)?
    };
    let victims = matching(ctx, &filter);
    if is_old_form && victims.is_empty() {
        return Err("ERR No such client".into());
    }
    for client in &victims {
        if client.id == ctx.session.client.id {
            // It still gets its reply.
            ctx.session.closing = true;
            continue;
        }
        client.killed.store(true, Ordering::Relaxed);
        if let Some(worker) = ctx.server.workers().get(client.worker) {
            worker.mailbox.send(Message::Kill {
                client: client.id,
                after_flush: false,
            });
        }
    }
    if is_old_form {
        ctx.reply.ok();
    } else {
        ctx.reply.integer(victims.len() as i64);
    }
    Ok(())
}

fn unblock(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if let Some(reason) = args.get(3)
        && !is_word(reason, "TIMEOUT")
        && !is_word(reason, "ERROR")
    {
        return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into());
    }
    integer(args.at(2))?;
    ctx.reply.integer(0);
    Ok(())
}

fn pause(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let mode = match args.get(3) {
        None => PauseMode::All,
        Some(word) if is_word(word, "ALL") => PauseMode::All,
        Some(word) if is_word(word, "WRITE") => PauseMode::Writes,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    if args.len() > 4 {
        return Err(CommandError::Syntax);
    }
    let timeout =
        integer(args.at(2)).map_err(|_| "ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    let until_ms = ctx
        .now_ms()
        .checked_add(timeout)
        .filter(|until| i64::try_from(*until).is_ok())
        .ok_or("ERR timeout is out of range")?;
    let observers = &ctx.server.observers;
    let attention = &observers.attention;
    observers
        .pause
        .begin(ctx.now_ms(), until_ms, mode, attention);
    ctx.server.follow_pause();
    ctx.reply.ok();
    Ok(())
}

fn unpause(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let observers = &ctx.server.observers;
    observers.pause.end(&observers.attention, &observers.post);
    ctx.server.follow_pause();
    ctx.reply.ok();
    Ok(())
}

// ---- client-side caching --------------------------------------------------------------------

fn tracking(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let options = read_tracking(ctx, args)?;
    if is_word(args.at(2), "OFF") {
        ctx.session.end_tracking(ctx.server);
    } else if is_word(args.at(2), "ON") {
        check_tracking(ctx, &options)?;
        let observers = &ctx.server.observers;
        let before = ctx.session.tracking.take();
        let client = &ctx.session.client;
        let state = observers
            .tracking
            .begin(client, before, options, &observers.attention);
        ctx.session.tracking = Some(state);
    } else {
        return Err(CommandError::Syntax);
    }
    ctx.reply.ok();
    Ok(())
}

fn read_tracking(ctx: &Context<'_>, args: Args<'_>) -> Result<TrackingOptions, CommandError> {
    let mut options = TrackingOptions::default();
    let (mut is_broadcast, mut is_optin, mut is_optout) = (false, false, false);
    let mut rest = super::Options::new(args, 3);
    while let Some(option) = rest.next() {
        if is_word(option, "REDIRECT") && rest.left() > 0 {
            if options.redirection.is_some() {
                return Err("ERR A client can only redirect to a single other client".into());
            }
            let id = u64::try_from(integer(rest.value()?)?).unwrap_or(0);
            if id != 0 {
                let target = ctx
                    .server
                    .clients
                    .get(id)
                    .ok_or("ERR The client ID you want redirect to does not exist")?;
                options.redirection = Some(target);
            }
        } else if is_word(option, "BCAST") {
            is_broadcast = true;
        } else if is_word(option, "OPTIN") {
            is_optin = true;
        } else if is_word(option, "OPTOUT") {
            is_optout = true;
        } else if is_word(option, "NOLOOP") {
            options.is_noloop = true;
        } else if is_word(option, "PREFIX") && rest.left() > 0 {
            options.prefixes.push(rest.value()?.into());
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if !is_word(args.at(2), "ON") {
        return Ok(options);
    }
    if !is_broadcast && !options.prefixes.is_empty() {
        return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
    }
    let before = ctx.session.tracking.as_ref().map(|state| state.mode);
    if before.is_some_and(|mode| (mode == TrackingMode::Broadcast) != is_broadcast) {
        return Err(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
             then re-enabling it with a different mode."
                .into(),
        );
    }
    if is_broadcast && (is_optin || is_optout) {
        return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
    }
    if is_optin && is_optout {
        return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
    }
    let switches = is_optin && before == Some(TrackingMode::OptOut)
        || is_optout && before == Some(TrackingMode::OptIn);
    if switches {
        return Err(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
             then re-enabling it with a different mode."
                .into(),
        );
    }
    options.mode = if is_broadcast {
        TrackingMode::Broadcast
    } else if is_optin {
        TrackingMode::OptIn
    } else if is_optout {
        TrackingMode::OptOut
    } else {
        TrackingMode::All
    };
    Ok(options)
}

/// Prefixes of one client must not overlap: it would hear of a key twice.
fn check_tracking(ctx: &Context<'_>, options: &TrackingOptions) -> CommandResult {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let existing = ctx
        .session
        .tracking
        .iter()
        .flat_map(|state| &state.prefixes);
    for (index, prefix) in options.prefixes.iter().enumerate() {
        if let Some(other) = existing.clone().find(|other| overlap(prefix, other)) {
            return Err(format!(
                "ERR Prefix '{}' overlaps with an existing prefix '{}'. Prefixes for a single \
                 client must not overlap.",
                shown(prefix),
                shown(other)
            )
            .into());
        }
        let others = &options.prefixes[index + 1..];
        if let Some(other) = others.iter().find(|other| overlap(prefix, other)) {
            return Err(format!(
                "ERR Prefix '{}' overlaps with another provided prefix '{}'. Prefixes for a single \
                 client must not overlap.",
                shown(prefix),
                shown(other)
            )
            .into());
        }
    }
    Ok(())
}

fn caching(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let Some(mode) = ctx.session.tracking.as_ref().map(|state| state.mode) else {
        return Err(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled"
                .into(),
        );
    };
    if is_word(args.at(2), "YES") {
        if mode != TrackingMode::OptIn {
            return Err(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
                    .into(),
            );
        }
    } else if is_word(args.at(2), "NO") {
        if mode != TrackingMode::OptOut {
            return Err(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
                    .into(),
            );
        }
    } else {
        return Err(CommandError::Syntax);
    }
    ctx.session.announce_caching();
    ctx.reply.ok();
    Ok(())
}

/// The client that invalidations go to: 0 if the client gets them itself, -1 if there are none.
fn redirection(ctx: &Context<'_>) -> i64 {
    let client = &ctx.session.client;
    if ctx.session.tracking.is_some() {
        client.redirect.load(Ordering::Relaxed).cast_signed()
    } else {
        -1
    }
}

fn getredir(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.integer(redirection(ctx));
    Ok(())
}

fn trackinginfo(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let mut flags = vec!["off"];
    let mut prefixes = Vec::new();
    if let Some(state) = &ctx.session.tracking {
        flags = vec!["on"];
        let (word, announced) = match state.mode {
            TrackingMode::All => ("", ""),
            TrackingMode::Broadcast => ("bcast", ""),
            TrackingMode::OptIn => ("optin", "caching-yes"),
            TrackingMode::OptOut => ("optout", "caching-no"),
        };
        flags.push(word);
        flags.push(if state.is_announced { announced } else { "" });
        flags.push(if state.is_noloop { "noloop" } else { "" });
        let what = ctx.session.client.flags();
        flags.push(if what.contains(ClientFlags::TRACKING_BROKEN) {
            "broken_redirect"
        } else {
            ""
        });
        flags.retain(|flag| !flag.is_empty());
        prefixes.clone_from(&state.prefixes);
        prefixes.sort_unstable();
    }
    ctx.reply.map(3);
    ctx.reply.bulk(b"flags");
    ctx.reply.set(flags.len());
    for flag in flags {
        ctx.reply.bulk(flag.as_bytes());
    }
    ctx.reply.bulk(b"redirect");
    ctx.reply.integer(redirection(ctx));
    ctx.reply.bulk(b"prefixes");
    ctx.reply.array(prefixes.len());
    for prefix in prefixes {
        ctx.reply.bulk(&prefix);
    }
    Ok(())
}
