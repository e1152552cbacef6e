//! Commands of the connection itself.

use super::{Categories, Command, Flags, Group, integer, is_word};
use crate::acl::{DEFAULT_USER, Refusal, User};
use crate::client::{ClientFlags, is_name};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::version;
use nuthatch_wire::resp::{Args, Protocol};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ALWAYS: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);
/// What a client may call that has not authenticated.
const FOR_STRANGERS: Flags = ALWAYS.union(Flags::NOSCRIPT).union(Flags::NO_AUTH);

/// What `ACL LOG` says that failed, whichever command it was.
const AUTH: &[u8] = b"AUTH";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

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
    command("hello", -1, hello).flags(FOR_STRANGERS).docs(
        Group::Connection,
        "6.0.0",
        "[protover [AUTH username password] [SETNAME clientname]]",
        "Chooses the version of the protocol, authenticates and names the connection.",
    ),
    command("auth", -2, auth)
        .flags(FOR_STRANGERS)
        .complexity("O(N) for N passwords of the user")
        .docs(
            Group::Connection,
            "1.0.0",
            "[username] password",
            "Authenticates the connection.",
        ),
    command("select", 2, select).flags(ALWAYS).docs(
        Group::Connection,
        "1.0.0",
        "index",
        "Chooses the database; there is one, number 0.",
    ),
    command("reset", 1, reset)
        .flags(
            FOR_STRANGERS
                .union(Flags::NO_QUEUE)
                .union(Flags::WHILE_SUBSCRIBED),
        )
        .docs(
            Group::Connection,
            "6.2.0",
            "",
            "Makes the connection what it was when it began.",
        ),
    command("quit", -1, quit)
        .flags(
            FOR_STRANGERS
                .union(Flags::NO_QUEUE)
                .union(Flags::WHILE_SUBSCRIBED),
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

/// What `HELLO` asks for.
struct Greeting<'a> {
    protocol: Option<Protocol>,
    user_and_password: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Greeting<'a> {
    fn read(args: Args<'a>) -> Result<Self, CommandError> {
        let mut greeting = Self {
            protocol: args.get(1).map(protocol).transpose()?,
            user_and_password: None,
            name: None,
        };
        let mut next = 2;
        while let Some(option) = args.get(next) {
            if is_word(option, "AUTH") && next + 2 < args.len() {
                greeting.user_and_password = Some((args.at(next + 1), args.at(next + 2)));
                next += 3;
            } else if is_word(option, "SETNAME") && next + 1 < args.len() {
                let name = args.at(next + 1);
                if !is_name(name) {
                    return Err(
                        "ERR Client names cannot contain spaces, newlines or special characters."
                            .into(),
                    );
                }
                greeting.name = Some(name);
                next += 2;
            } else {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
            }
        }
        Ok(greeting)
    }
}

fn protocol(version: &[u8]) -> Result<Protocol, CommandError> {
    let version =
        integer(version).map_err(|_| "ERR Protocol version is not an integer or out of range")?;
    match version {
        2 => Ok(Protocol::Resp2),
        3 => Ok(Protocol::Resp3),
        _ => Err("NOPROTO unsupported protocol version".into()),
    }
}

fn hello(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let greeting = Greeting::read(args)?;
    if let Some((user, password)) = greeting.user_and_password {
        authenticate(ctx, user, password)?;
    }
    if !ctx.session.is_authenticated {
        return Err(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time"
                .into(),
        );
    }
    let client = &ctx.session.client;
    if let Some(name) = greeting.name {
        let name = String::from_utf8_lossy(name).into_owned();
        client.rename(|names| names.name = name);
    }
    if let Some(protocol) = greeting.protocol {
        speak(ctx, protocol);
    }
    ctx.reply.map(8);
    for (name, text) in [
        ("server", "redis"),
        ("version", version::REDIS),
        ("nuthatch_version", version::NUTHATCH),
    ] {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(text.as_bytes());
    }
    ctx.reply.bulk(b"proto");
    ctx.reply.integer(match ctx.reply.protocol() {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    });
    ctx.reply.bulk(b"id");
    ctx.reply.integer(ctx.session.client.id.cast_signed());
    for (name, text) in [("mode", "standalone"), ("role", "master")] {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(text.as_bytes());
    }
    ctx.reply.bulk(b"modules");
    ctx.reply.array(0);
    Ok(())
}

/// Replies are in this version from now on.
fn speak(ctx: &mut Context<'_>, protocol: Protocol) {
    ctx.reply.set_protocol(protocol);
    let version = match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    ctx.session
        .client
        .protocol
        .store(version, Ordering::Relaxed);
}

fn auth(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    match args.len() {
        2 if !ctx.server.acl.default_user_has_password() => {
            return Err(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"
                    .into(),
            );
        }
        2 => authenticate(ctx, DEFAULT_USER, args.at(1))?,
        3 => authenticate(ctx, args.at(1), args.at(2))?,
        _ => return Err(CommandError::Syntax),
    }
    ctx.reply.ok();
    Ok(())
}

/// Makes the connection the user's, if the password is right.
pub(crate) fn authenticate(ctx: &mut Context<'_>, name: &[u8], password: &[u8]) -> CommandResult {
    let Some(user) = ctx.server.acl.authenticate(name, password) else {
        ctx.note_refusal(Refusal::Authentication, AUTH, name);
        return Err(WRONG_PASSWORD.into());
    };
    become_user(ctx, user);
    ctx.session.is_authenticated = true;
    Ok(())
}

/// The connection belongs to this user from now on.
fn become_user(ctx: &mut Context<'_>, user: Arc<User>) {
    let name = String::from_utf8_lossy(user.name()).into_owned();
    ctx.session.client.rename(|names| names.user = name);
    ctx.session.user = user;
}

fn select(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    match integer(args.at(1)) {
        Ok(0) => {
            ctx.reply.ok();
            Ok(())
        }
        Ok(_) => Err("ERR DB index is out of range".into()),
        Err(_) => Err("ERR value is not an integer or out of range".into()),
    }
}

fn reset(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.session.forget_all(ctx.server);
    ctx.session.client.rename(|names| names.name.clear());
    let acl = &ctx.server.acl;
    become_user(ctx, Arc::clone(acl.default_user()));
    ctx.session.is_authenticated = acl.default_user_is_open();
    speak(ctx, Protocol::Resp2);
    ctx.reply.simple("RESET");
    Ok(())
}

fn quit(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.ok();
    ctx.session.closing = true;
    // Whoever has read the reply may count on it that nothing more is sent here, on any thread.
    let client = &ctx.session.client;
    client.set_flags(ClientFlags::CLOSING, true);
    Ok(())
}
