//! `DEBUG` and `MEMORY`: looks inside, and what test suites need.

use super::{Access, Command, Flags, Group, HELP, Keys, float, integer, is_word};
use crate::config::DebugAccess;
use crate::context::Context;
use crate::control::memory;
use crate::error::{CommandError, CommandResult};
use crate::object::Value;
use nuthatch_wire::resp::{Args, Protocol};
use std::sync::atomic::Ordering;
use std::time::Duration;

const SECOND_KEY: Keys = Keys::Range {
    first: 2,
    last: 2,
    step: 1,
};

const SPECIAL: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new("debug", -2, debug)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE),
        )
        .complexity("depends on the subcommand")
        .docs(
            Group::Server,
            "1.0.0",
            "<SLEEP seconds | SET-ACTIVE-EXPIRE <0 | 1> | OBJECT key | PROTOCOL kind | ERROR text | HELP>",
            "Looks inside, waits, or answers as asked, for tests of clients.",
        ),
    Command::container(
        "memory",
        &[
            Command::new("usage", -3, usage)
                .flags(Flags::READONLY)
                .keys(SECOND_KEY)
                .access(Access::RO)
                .docs(
                    Group::Server,
                    "4.0.0",
                    "key [SAMPLES count]",
                    "Returns the bytes that a key takes.",
                ),
            Command::new("stats", 2, stats).tips(SPECIAL).docs(
                Group::Server,
                "4.0.0",
                "",
                "Returns what takes memory.",
            ),
            Command::new("doctor", 2, doctor).tips(SPECIAL).docs(
                Group::Server,
                "4.0.0",
                "",
                "Says how the memory is doing.",
            ),
            Command::new("purge", 2, purge)
                .flags(Flags::LOADING)
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .docs(
                    Group::Server,
                    "4.0.0",
                    "",
                    "Removes what has expired, so that its memory is free.",
                ),
            HELP.group(Group::Server, "4.0.0"),
        ],
    )
    .docs(Group::Server, "4.0.0", "", "Commands of memory."),
];

/// What `DEBUG HELP` prints.
const DEBUG_HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ERROR <text>",
    "    Answers this text as an error.",
    "OBJECT <key>",
    "    Tells how a key's value is kept.",
    "PROTOCOL <string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false>",
    "    Answers a value of this kind.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether expired keys are removed before anybody asks for them.",
    "SLEEP <seconds>",
    "    Keeps the data thread of this connection busy.",
    "HELP",
    "    Prints this help.",
];

fn debug(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let is_allowed = match ctx.config.enable_debug_command {
        DebugAccess::Yes => true,
        DebugAccess::Local => ctx.session.client.is_local(),
        DebugAccess::No => false,
    };
    if !is_allowed {
        return Err(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server."
                .into(),
        );
    }
    let sub = args.at(1);
    let is = |name: &str, arity: usize| is_word(sub, name) && args.len() == arity;
    if is("SLEEP", 3) {
        sleep(ctx, args.at(2))
    } else if is("SET-ACTIVE-EXPIRE", 3) {
        let on = integer(args.at(2))? != 0;
        ctx.server.is_expiring.store(on, Ordering::Relaxed);
        ctx.reply.ok();
        Ok(())
    } else if is("OBJECT", 3) {
        object(ctx, args.at(2))
    } else if is("PROTOCOL", 3) {
        protocol(ctx, args.at(2))
    } else if is("ERROR", 3) {
        Err(String::from_utf8_lossy(args.at(2)).into_owned().into())
    } else if is("HELP", 2) {
        ctx.reply.array(DEBUG_HELP.len());
        for line in DEBUG_HELP {
            ctx.reply.simple(line);
        }
        Ok(())
    } else {
        let sub = String::from_utf8_lossy(sub);
        Err(format!(
            "ERR unknown subcommand or wrong number of arguments for '{sub}'. Try DEBUG HELP."
        )
        .into())
    }
}

fn sleep(ctx: &mut Context<'_>, seconds: &[u8]) -> CommandResult {
    let duration = Duration::try_from_secs_f64(float(seconds)?)
        .map_err(|_| CommandError::from("ERR value is out of range, must be positive"))?;
    std::thread::sleep(duration);
    ctx.reply.ok();
    Ok(())
}

fn object(ctx: &mut Context<'_>, key: &[u8]) -> CommandResult {
    let told = ctx.keyspace().peek(key, |view| {
        let encoding = super::object::encoding_name(&view);
        let payload = match view.value {
            Value::String(bytes) => bytes.len() as u64,
            Value::Hash(_) => view.weight_bytes(),
        };
        format!("Value refcount:1 encoding:{encoding} serializedlength:{payload}")
    });
    match told {
        Some(text) => {
            ctx.reply.simple(&text);
            Ok(())
        }
        None => Err(CommandError::NoSuchKey),
    }
}

/// A value of each kind that the protocol knows, for tests of clients.
#[expect(
    clippy::approx_constant,
    reason = "tests of clients expect this number, which is not pi"
)]
fn protocol(ctx: &mut Context<'_>, kind: &[u8]) -> CommandResult {
    let reply = &mut *ctx.reply;
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(3.141),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.protocol() == Protocol::Resp3 {
                reply.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if reply.protocol() == Protocol::Resp2 {
                return Err("ERR RESP2 is not supported by this command".into());
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|attrib|push|verbatim|true|false"
                    .into(),
            );
        }
    }
    Ok(())
}

fn usage(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    match args.len() {
        3 => {}
        // Weights are known, so there is nothing to sample; the number is checked all the same.
        5 if is_word(args.at(3), "SAMPLES") => {
            if integer(args.at(4))? < 0 {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    let bytes = ctx
        .keyspace()
        .peek(args.at(2), |view| view.weight_bytes().cast_signed());
    match bytes {
        Some(bytes) => ctx.reply.integer(bytes),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn stats(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let cache = ctx.keyspace().cache();
    let (keys, bytes) = (cache.len(), cache.weight());
    let used = ctx.server.used_bytes();
    let resident = memory::resident_bytes().unwrap_or(0);
    let clients = ctx.server.total(|stats| stats.buffered_bytes.get());
    let numbers = [
        ("total.allocated", used),
        ("clients.normal", clients),
        ("keys.count", keys),
        ("keys.bytes-per-key", bytes / keys.max(1)),
        ("dataset.bytes", bytes),
        ("overhead.total", used.saturating_sub(bytes)),
    ];
    ctx.reply.map(numbers.len() + 1);
    for (name, number) in numbers {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.integer(number.cast_signed());
    }
    ctx.reply.bulk(b"fragmentation");
    ctx.reply.double(resident as f64 / used.max(1) as f64);
    Ok(())
}

fn doctor(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    /// Below that, the process itself is most of what is resident.
    const FEW_BYTES: u64 = 64 << 20;
    let cache = ctx.keyspace().cache();
    let bound = ctx.server.max_memory_bytes.load(Ordering::Relaxed);
    let (keys, bytes) = (cache.len(), cache.weight());
    let resident = memory::resident_bytes().unwrap_or(0);
    let mut text = format!(
        "{keys} keys take {bytes} bytes; the process holds {resident} bytes of the {bound} that \
         maxmemory allows.\n"
    );
    text += if bytes < FEW_BYTES {
        "That is too little to say more.\n"
    } else if resident > bound {
        "The process is above its bound: keys are evicted until it is not.\n"
    } else if resident > bytes + bytes / 2 {
        "Much is held that no key takes: memory that keys have left, or clients' buffers (see \
         mem_clients_normal in INFO memory).\n"
    } else {
        "Nothing is wrong.\n"
    };
    ctx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn purge(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.keyspace().cache().maintain();
    ctx.reply.ok();
    Ok(())
}
