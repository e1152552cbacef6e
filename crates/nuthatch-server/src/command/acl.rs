//! `ACL`: users and their permissions.

use super::{Categories, Command, Flags, Group, HELP, integer, is_word, table};
use crate::acl::{DEFAULT_USER, DenialReason, Record, Selector, User, hexadecimal};
use crate::client::Client;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::mailbox::Message;
use crate::pubsub::Kind;
use crate::server::Server;
use nuthatch_wire::resp::{Args, Reply};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const OPEN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = OPEN.union(Flags::ADMIN);
const ON_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// Records that `ACL LOG` tells if it is not asked for a number.
const TOLD_RECORDS: usize = 10;

const fn sub(name: &'static str, arity: i8, handler: super::Handler, flags: Flags) -> Command {
    Command::new(name, arity, handler).flags(flags)
}

const fn docs(command: Command, syntax: &'static str, summary: &'static str) -> Command {
    command.docs(Group::Server, "6.0.0", syntax, summary)
}

pub(super) const COMMANDS: &[Command] = &[docs(
    Command::container(
        "acl",
        &[
            docs(
                sub("cat", -2, cat, OPEN),
                "[category]",
                "Lists the categories of commands, or the commands of one.",
            ),
            docs(
                sub("deluser", -3, deluser, ADMIN).tips(ON_ALL_NODES),
                "username [username ...]",
                "Removes users and closes their connections.",
            ),
            docs(
                sub("dryrun", -4, dryrun, ADMIN),
                "username command [arg ...]",
                "Tells whether a user may run a request, without running it.",
            )
            .group(Group::Server, "7.0.0"),
            docs(
                sub("genpass", -2, genpass, OPEN),
                "[bits]",
                "Makes a random password.",
            ),
            docs(
                sub("getuser", 3, getuser, ADMIN),
                "username",
                "Returns a user's rules.",
            ),
            docs(
                sub("list", 2, list, ADMIN),
                "",
                "Returns the rules of all users, a line each.",
            ),
            docs(
                sub("load", 2, load, ADMIN),
                "",
                "Reads the users from the file that aclfile names.",
            ),
            docs(
                sub("log", -2, log, ADMIN),
                "[count | RESET]",
                "Lists what users were refused, or forgets it.",
            ),
            docs(
                sub("save", 2, save, ADMIN).tips(ON_ALL_NODES),
                "",
                "Writes the users to the file that aclfile names.",
            ),
            docs(
                sub("setuser", -3, setuser, ADMIN).tips(ON_ALL_NODES),
                "username [rule [rule ...]]",
                "Makes a user, or changes one.",
            ),
            docs(
                sub("users", 2, users, ADMIN),
                "",
                "Lists the names of all users.",
            ),
            docs(
                sub("whoami", 2, whoami, OPEN),
                "",
                "Returns the name of the connection's user.",
            ),
            HELP.group(Group::Server, "6.0.0"),
        ],
    ),
    "",
    "Commands of users and their permissions.",
)];

fn cat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    match args.len() {
        2 => bulks(ctx.reply, Categories::all().names()),
        3 => {
            let given = args.at(2);
            let category = Categories::named(given).ok_or_else(|| {
                format!("ERR Unknown category '{}'", String::from_utf8_lossy(given))
            })?;
            let entries = table().entries().iter();
            let names: Vec<_> = entries
                .filter(|entry| entry.command.all_categories().contains(category))
                .map(|entry| entry.full_name.as_str())
                .collect();
            bulks(ctx.reply, names.into_iter());
        }
        _ => return Err(too_many(args)),
    }
    Ok(())
}

fn too_many(args: Args<'_>) -> CommandError {
    let sub = String::from_utf8_lossy(args.at(1));
    format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try ACL HELP.").into()
}

fn bulks(reply: &mut Reply, texts: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) {
    reply.array(texts.len());
    for text in texts {
        reply.bulk(text.as_ref());
    }
}

fn whoami(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.bulk(ctx.session.user.name());
    Ok(())
}

fn users(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let users = ctx.server.acl.users();
    bulks(ctx.reply, users.iter().map(|user| user.name()));
    Ok(())
}

fn list(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    bulks(ctx.reply, ctx.server.acl.describe().into_iter());
    Ok(())
}

fn getuser(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let Some(user) = ctx.server.acl.user(args.at(2)) else {
        ctx.reply.null();
        return Ok(());
    };
    let rules = user.rules();
    let reply = &mut *ctx.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(1 + usize::from(rules.no_password));
    reply.bulk(if rules.is_on { b"on" } else { b"off" });
    if rules.no_password {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"passwords");
    bulks(reply, rules.passwords.iter().map(|hash| hexadecimal(hash)));
    describe(reply, &rules.root);
    reply.bulk(b"selectors");
    reply.array(rules.selectors.len());
    for selector in &rules.selectors {
        reply.map(3);
        describe(reply, selector);
    }
    Ok(())
}

/// The three fields of a selector.
fn describe(reply: &mut Reply, selector: &Selector) {
    reply.bulk(b"commands");
    reply.bulk(selector.describe_commands().as_bytes());
    reply.bulk(b"keys");
    reply.bulk(&selector.describe_keys());
    reply.bulk(b"channels");
    reply.bulk(&selector.describe_channels());
}

fn setuser(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let name = args.at(2);
    let acl = &ctx.server.acl;
    let user = acl
        .set_user(name, args.from(3).iter())
        .map_err(|error| format!("ERR {error}"))?;
    ctx.reply.ok();
    close_revoked(ctx, &[user]);
    Ok(())
}

/// Closes the connections of users that have subscribed to what the user may no longer hear.
fn close_revoked(ctx: &mut Context<'_>, users: &[Arc<User>]) {
    let bound = users.iter().filter(|user| !user.is_unbound());
    let rules: BTreeMap<_, _> = bound.map(|user| (user.name(), user.rules())).collect();
    if rules.is_empty() {
        return;
    }
    let mut revoked = BTreeMap::new();
    ctx.server.observers.pubsub.visit(|kind, name, client| {
        let user = client.names().user;
        let Some(rules) = rules.get(user.as_bytes()) else {
            return;
        };
        if !rules.allows_channel(name, kind == Kind::Pattern) {
            revoked.insert(client.id, Arc::clone(client));
        }
    });
    close(ctx, revoked.into_values());
}

fn deluser(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let names = || args.from(2).iter();
    if names().any(|name| name == DEFAULT_USER) {
        return Err("ERR The 'default' user cannot be removed".into());
    }
    let mut removed = Vec::new();
    for name in names() {
        if ctx.server.acl.remove_user(name) {
            removed.push(name.to_vec());
        }
    }
    ctx.reply.integer(removed.len() as i64);
    close_connections(ctx, &removed);
    Ok(())
}

/// Closes all connections of these users; the caller's own once it has its reply.
fn close_connections(ctx: &mut Context<'_>, users: &[Vec<u8>]) {
    let is_named = |client: &Arc<Client>| {
        let user = client.names().user;
        users.iter().any(|name| *name == user.as_bytes())
    };
    let all = ctx.server.clients.all().into_iter();
    close(ctx, all.filter(is_named));
}

fn close(ctx: &mut Context<'_>, clients: impl Iterator<Item = Arc<Client>>) {
    for client in clients {
        if client.id == ctx.session.client.id {
            ctx.session.closing = true;
        } else {
            kill(ctx.server, &client);
        }
    }
}

fn kill(server: &Server, client: &Client) {
    // Whoever lists the clients from now on does not see it.
    client.killed.store(true, Ordering::Relaxed);
    server.workers()[client.worker].mailbox.send(Message::Kill {
        client: client.id,
        after_flush: false,
    });
}

fn dryrun(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let shown = |index: usize| String::from_utf8_lossy(args.at(index)).into_owned();
    let user = ctx
        .server
        .acl
        .user(args.at(2))
        .ok_or_else(|| format!("ERR User '{}' not found", shown(2)))?;
    let request = args.from(3);
    let entry = table()
        .resolve(request)
        .ok_or_else(|| format!("ERR Command '{}' not found", shown(3)))?;
    if !entry.command.takes(request.len()) {
        return Err(CommandError::Arity(entry.full_name.as_str().into()));
    }
    let Err(denial) = user.rules().check(entry, request) else {
        ctx.reply.ok();
        return Ok(());
    };
    let user = shown(2);
    let object = String::from_utf8_lossy(request.at(denial.position));
    let text = match denial.reason {
        DenialReason::Command => format!(
            "User {user} has no permissions to run the '{}' command",
            entry.full_name
        ),
        DenialReason::Key => {
            format!("User {user} has no permissions to access the '{object}' key")
        }
        DenialReason::Channel => {
            format!("User {user} has no permissions to access the '{object}' channel")
        }
    };
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}

fn genpass(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    const MAX_BITS: i64 = 4096;
    let bits = match args.len() {
        2 => 256,
        3 => integer(args.at(2))?,
        _ => return Err(too_many(args)),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return Err(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a \
             positive number up to 4096"
                .into(),
        );
    }
    // A digit is four bits.
    let digits = usize::try_from(bits).expect("a small number").div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    getrandom::fill(&mut random)
        .map_err(|error| format!("ERR the system gives no random numbers: {error}"))?;
    ctx.reply.bulk(&hexadecimal(&random).as_bytes()[..digits]);
    Ok(())
}

fn log(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let max = match args.get(2) {
        None => TOLD_RECORDS,
        Some(_) if args.len() > 3 => return Err(too_many(args)),
        Some(word) if is_word(word, "RESET") => {
            ctx.server.acl.denials.clear();
            ctx.reply.ok();
            return Ok(());
        }
        Some(count) => usize::try_from(integer(count)?).unwrap_or(0),
    };
    let now_ms = ctx.now_ms();
    let records = ctx.server.acl.denials.newest(max);
    ctx.reply.array(records.len());
    for record in records {
        tell(ctx.reply, &record, now_ms);
    }
    Ok(())
}

fn tell(reply: &mut Reply, record: &Record, now_ms: u64) {
    let text = |reply: &mut Reply, name: &str, text: &[u8]| {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    };
    let number = |reply: &mut Reply, name: &str, number: u64| {
        reply.bulk(name.as_bytes());
        reply.integer(number.cast_signed());
    };
    reply.map(10);
    number(reply, "count", record.count);
    text(reply, "reason", record.refusal.name().as_bytes());
    text(reply, "context", record.context.name().as_bytes());
    text(reply, "object", &record.object);
    text(reply, "username", &record.user);
    reply.bulk(b"age-seconds");
    reply.double(now_ms.saturating_sub(record.created_ms) as f64 / 1000.0);
    text(reply, "client-info", record.client.as_bytes());
    number(reply, "entry-id", record.id);
    number(reply, "timestamp-created", record.created_ms);
    number(reply, "timestamp-last-updated", record.updated_ms);
}

fn file<'a>(ctx: &Context<'a>) -> Result<&'a Path, CommandError> {
    match ctx.config.aclfile.as_str() {
        "" => Err("ERR This instance is not configured to use an ACL file: set aclfile".into()),
        path => Ok(Path::new(path)),
    }
}

fn load(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let path = file(ctx)?;
    let reloaded = ctx
        .server
        .acl
        .load(path)
        .map_err(|error| format!("ERR {error}"))?;
    ctx.reply.ok();
    close_connections(ctx, &reloaded.gone);
    close_revoked(ctx, &reloaded.changed);
    Ok(())
}

fn save(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let path = file(ctx)?;
    ctx.server.acl.save(path).map_err(|error| {
        tracing::warn!(%error, "the users could not be saved");
        "ERR There was an error trying to save the ACLs. Please check the server logs for more \
         information"
    })?;
    ctx.reply.ok();
    Ok(())
}
