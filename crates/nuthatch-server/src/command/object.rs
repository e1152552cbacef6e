//! `OBJECT`: what is known of a key besides its value; `DUMP` and `RESTORE`, which carry the value
//! elsewhere.

use super::arguments::{Options, TimeUnit, deadline_ms, integer, is_word};
use super::{Access, Categories, Command, Flags, Group, HELP, Keys, ONE_KEY, OVERWRITES};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::hash::{self, FieldView, FlatBuffer, HashRef};
use crate::keyspace::View;
use crate::object::{Value, ValueCopy};
use nuthatch_wire::number::parse_i64;
use nuthatch_wire::rdb;
use nuthatch_wire::resp::Args;

/// The longest string that Redis keeps together with its header.
const EMBEDDED_BYTES: usize = 44;

const fn sub(name: &'static str, handler: super::Handler) -> Command {
    Command::new(name, 3, handler)
        .flags(Flags::READONLY)
        .keys(Keys::Range {
            first: 2,
            last: 2,
            step: 1,
        })
        .access(Access::RO)
        .tips(&["nondeterministic_output"])
        .categories(Categories::KEYSPACE)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::container(
        "object",
        &[
            sub("encoding", encoding).docs(
                Group::Generic,
                "2.2.3",
                "key",
                "Returns how Redis would keep the value of a key.",
            ),
            sub("freq", freq).docs(
                Group::Generic,
                "4.0.0",
                "key",
                "Answers that how often a key is used is not known one by one.",
            ),
            sub("idletime", idletime).docs(
                Group::Generic,
                "2.2.3",
                "key",
                "Answers that when a key was last used is not known one by one.",
            ),
            sub("refcount", refcount).docs(
                Group::Generic,
                "2.2.3",
                "key",
                "Returns 1: values are not shared.",
            ),
            HELP.group(Group::Generic, "6.2.0")
                .categories(Categories::KEYSPACE),
        ],
    )
    .docs(
        Group::Generic,
        "2.2.3",
        "",
        "Tells about the value of a key.",
    ),
    Command::new("dump", 2, dump)
        .flags(Flags::READONLY)
        .keys(ONE_KEY)
        .tips(&["nondeterministic_output"])
        .categories(Categories::KEYSPACE)
        .complexity("O(N) for N bytes of the value")
        .docs(
            Group::Generic,
            "2.6.0",
            "key",
            "Returns the value of a key as RESTORE takes it, also that of Redis and of Valkey.",
        ),
    Command::new("restore", -4, restore)
        .flags(Flags::WRITE.union(Flags::DENYOOM))
        .keys(ONE_KEY)
        .access(OVERWRITES)
        .categories(Categories::KEYSPACE.union(Categories::DANGEROUS))
        .complexity("O(N) for N bytes of the value")
        .docs(
            Group::Generic,
            "2.6.0",
            "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
            "Sets a key to a value that DUMP has returned.",
        ),
];

/// How a value is kept, in Redis' words.
pub(super) fn encoding_name(view: &View<'_>) -> &'static str {
    match view.value {
        Value::String(_) if view.is_changed_string() => "raw",
        Value::String(bytes) if bytes.len() <= 20 && parse_i64(bytes).is_some() => "int",
        Value::String(bytes) if bytes.len() <= EMBEDDED_BYTES => "embstr",
        Value::String(_) => "raw",
        Value::Hash(hash) => hash.encoding(),
    }
}

fn encoding(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let name = ctx.keyspace().peek(args.at(2), |view| encoding_name(&view));
    ctx.reply.bulk_or_null(name.map(str::as_bytes));
    Ok(())
}

fn refcount(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if ctx.keyspace().contains(args.at(2)) {
        ctx.reply.integer(1);
    } else {
        ctx.reply.null();
    }
    Ok(())
}

/// The library's policies keep what they need, which is neither a time nor a count, so the answer is
/// that of a Redis whose policy is another one.
fn untracked(ctx: &mut Context<'_>, args: Args<'_>, text: &'static str) -> CommandResult {
    if ctx.keyspace().contains(args.at(2)) {
        return Err(text.into());
    }
    ctx.reply.null();
    Ok(())
}

fn freq(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    untracked(
        ctx,
        args,
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
         when switching between policies at runtime LRU and LFU data will take some time to adjust.",
    )
}

fn idletime(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    untracked(
        ctx,
        args,
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
         switching between policies at runtime LRU and LFU data will take some time to adjust.",
    )
}

fn dump(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let now_ms = ctx.now_ms();
    let is_noticed = ctx.session.is_noticed();
    let payload = ctx
        .keyspace()
        .look_up(args.at(1), is_noticed, |view| match view.value {
            Value::String(bytes) => rdb::dump_string(bytes),
            Value::Hash(hash) => dump_hash(hash, now_ms),
        });
    ctx.reply.bulk_or_null(payload.as_deref());
    Ok(())
}

fn dump_hash(hash: HashRef<'_>, now_ms: u64) -> Vec<u8> {
    let flat = hash.to_flat();
    let live = flat
        .as_hash()
        .fields()
        .filter(|field| field.is_live(now_ms));
    let fields: Vec<_> = live
        .map(|field| rdb::Field {
            name: field.name,
            value: field.value,
            deadline_ms: field.deadline_ms,
        })
        .collect();
    rdb::dump_hash(&fields)
}

/// What a payload holds; `None` if it is a hash whose fields are all due.
fn value_of(payload: &[u8], now_ms: u64) -> Result<Option<ValueCopy>, CommandError> {
    let fields = match rdb::restore(payload).map_err(|error| format!("ERR {error}"))? {
        rdb::Value::String(bytes) => return Ok(Some(ValueCopy::String(bytes))),
        rdb::Value::Hash(fields) => fields,
    };
    let bytes = fields
        .iter()
        .map(|field| field.name.len() + field.value.len() + 32);
    let mut flat = FlatBuffer::with_capacity(bytes.sum());
    let mut is_empty = true;
    for field in &fields {
        if hash::is_live(field.deadline_ms, now_ms) {
            is_empty = false;
            flat.push(FieldView {
                name: &field.name,
                value: &field.value,
                deadline_ms: field.deadline_ms,
            });
        }
    }
    Ok((!is_empty).then_some(ValueCopy::Hash(flat)))
}

#[derive(Debug, Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
}

impl RestoreOptions {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut read = Self::default();
        let (mut idle, mut freq) = (false, false);
        let mut options = Options::new(args, 4);
        while let Some(option) = options.next() {
            if is_word(option, "REPLACE") {
                read.replace = true;
            } else if is_word(option, "ABSTTL") {
                read.absolute = true;
            } else if is_word(option, "IDLETIME") && !freq {
                if integer(options.value()?)? < 0 {
                    return Err("ERR Invalid IDLETIME value, must be >= 0".into());
                }
                idle = true;
            } else if is_word(option, "FREQ") && !idle {
                if !(0..=255).contains(&integer(options.value()?)?) {
                    return Err("ERR Invalid FREQ value, must be >= 0 and <= 255".into());
                }
                freq = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(read)
    }
}

fn restore(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let options = RestoreOptions::read(args)?;
    if !options.replace && ctx.keyspace().contains(key) {
        return Err("BUSYKEY Target key name already exists.".into());
    }
    let ttl = integer(args.at(2))?;
    if ttl < 0 {
        return Err("ERR Invalid TTL value, must be >= 0".into());
    }
    let now_ms = ctx.now_ms();
    let unit = TimeUnit {
        seconds: false,
        absolute: options.absolute,
    };
    let deadline_ms = match ttl {
        0 => None,
        ttl => Some(deadline_ms(ttl, unit, now_ms, "restore")?.cast_unsigned()),
    };
    let value = value_of(args.at(3), now_ms)?;
    let is_over = deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
    match value {
        Some(value) if !is_over => {
            ctx.put_copy(key, &value, deadline_ms, Event::generic("restore"))?;
        }
        // There is nothing to live on: only what was there before is gone.
        _ => {
            ctx.delete(key, Event::generic("del"))?;
        }
    }
    ctx.reply.ok();
    Ok(())
}
