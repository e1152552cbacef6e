//! Commands of keys, whatever they hold. When keys expire is in `expiry.rs`.

use super::arguments::{Options, integer, is_word};
use super::{
    ALL_ARGS, CREATES, Categories, Command, Flags, Group, Keys, ONE_KEY, OVERWRITES, READS,
    READS_AND_DELETES, READS_AND_UPDATES, REMOVES,
};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::glob;
use crate::keyspace::{Effect, View};
use crate::object::Value;
use nuthatch_wire::number::parse_u64;
use nuthatch_wire::resp::{Args, Reply};

/// Keys for a call of `SCAN` that does not say how many.
const SCANNED: usize = 10;

/// Two keys.
const TWO_KEYS: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};

const SUM_OF_SHARDS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).categories(Categories::KEYSPACE)
}

pub(super) const COMMANDS: &[Command] = &[
    command("del", -2, del)
        .flags(Flags::WRITE)
        .keys(ALL_ARGS)
        .access(REMOVES)
        .tips(SUM_OF_SHARDS)
        .complexity("O(N) for N keys")
        .docs(Group::Generic, "1.0.0", "key [key ...]", "Removes keys."),
    command("unlink", -2, del)
        .flags(Flags::WRITE.union(Flags::FAST))
        .keys(ALL_ARGS)
        .access(REMOVES)
        .tips(SUM_OF_SHARDS)
        .complexity("O(N) for N keys")
        .docs(
            Group::Generic,
            "4.0.0",
            "key [key ...]",
            "Removes keys, as DEL does.",
        ),
    command("exists", -2, exists)
        .flags(Flags::READONLY.union(Flags::FAST).union(Flags::NO_LOOK))
        .keys(ALL_ARGS)
        .tips(SUM_OF_SHARDS)
        .complexity("O(N) for N keys")
        .docs(
            Group::Generic,
            "1.0.0",
            "key [key ...]",
            "Counts which of these keys exist; a key named twice counts twice.",
        ),
    command("touch", -2, touch)
        .flags(Flags::READONLY.union(Flags::FAST).union(Flags::NO_LOOK))
        .keys(ALL_ARGS)
        .tips(SUM_OF_SHARDS)
        .complexity("O(N) for N keys")
        .docs(
            Group::Generic,
            "3.2.1",
            "key [key ...]",
            "Counts which of these keys exist, and lets the policy know that they are used.",
        ),
    command("type", 2, value_type)
        .flags(Flags::READONLY.union(Flags::FAST).union(Flags::NO_LOOK))
        .keys(ONE_KEY)
        .docs(
            Group::Generic,
            "1.0.0",
            "key",
            "Returns what kind of value a key holds.",
        ),
    command("rename", 3, rename)
        .flags(Flags::WRITE)
        .keys(TWO_KEYS)
        .accesses(READS_AND_DELETES, OVERWRITES)
        .complexity("O(N) for N bytes of the value")
        .docs(
            Group::Generic,
            "1.0.0",
            "key newkey",
            "Gives a value and its time to live another key, whatever that held.",
        ),
    command("renamenx", 3, renamenx)
        .flags(Flags::WRITE.union(Flags::FAST))
        .keys(TWO_KEYS)
        .accesses(READS_AND_DELETES, CREATES)
        .complexity("O(N) for N bytes of the value")
        .docs(
            Group::Generic,
            "1.0.0",
            "key newkey",
            "Gives a value and its time to live another key, if that does not exist.",
        ),
    command("copy", -3, copy)
        .flags(Flags::WRITE.union(Flags::DENYOOM))
        .keys(TWO_KEYS)
        .accesses(READS, OVERWRITES)
        .complexity("O(N) for N bytes of the value")
        .docs(
            Group::Generic,
            "6.2.0",
            "source destination [DB destination-db] [REPLACE]",
            "Copies a value and its time to live to another key.",
        ),
    command("move", 3, move_key)
        .flags(Flags::WRITE.union(Flags::FAST))
        .keys(ONE_KEY)
        .access(READS_AND_UPDATES)
        .docs(
            Group::Generic,
            "1.0.0",
            "key db",
            "Answers an error: there is one database.",
        ),
    command("keys", 2, keys)
        .flags(Flags::READONLY)
        .categories(Categories::DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .complexity("O(N) for N keys of the server")
        .docs(
            Group::Generic,
            "1.0.0",
            "pattern",
            "Returns all keys that match a pattern.",
        ),
    command("scan", -2, scan)
        .flags(Flags::READONLY)
        .tips(&[
            "nondeterministic_output",
            "request_policy:special",
            "response_policy:special",
        ])
        .complexity("O(N) for a count of N")
        .docs(
            Group::Generic,
            "2.8.0",
            "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            "Returns some keys, and where to go on for more.",
        ),
    command("randomkey", 1, randomkey)
        .flags(Flags::READONLY)
        .tips(&[
            "request_policy:all_shards",
            "response_policy:special",
            "nondeterministic_output",
        ])
        .docs(Group::Generic, "1.0.0", "", "Returns a key at random."),
    command("dbsize", 1, dbsize)
        .flags(Flags::READONLY.union(Flags::FAST))
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs(Group::Server, "1.0.0", "", "Returns the number of keys."),
    command("flushdb", -1, flush)
        .flags(Flags::WRITE.union(Flags::ALL_KEYS))
        .categories(Categories::DANGEROUS)
        .tips(ALL_SHARDS)
        .complexity("O(N) for N keys of the server")
        .docs(
            Group::Server,
            "1.0.0",
            "[ASYNC | SYNC]",
            "Removes all keys of the database, which is the only one.",
        ),
    command("flushall", -1, flush)
        .flags(Flags::WRITE.union(Flags::ALL_KEYS))
        .categories(Categories::DANGEROUS)
        .tips(ALL_SHARDS)
        .complexity("O(N) for N keys of the server")
        .docs(
            Group::Server,
            "1.0.0",
            "[ASYNC | SYNC]",
            "Removes all keys, before it answers in either way.",
        ),
];

fn del(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let mut removed = 0;
    for key in args.from(1).iter() {
        removed += i64::from(ctx.delete(key, Event::generic("del"))?);
    }
    ctx.reply.integer(removed);
    Ok(())
}

fn exists(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys = args.from(1).iter();
    let found = keys.filter(|key| ctx.keyspace().contains(key)).count();
    ctx.reply.integer(found as i64);
    Ok(())
}

fn touch(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys = args.from(1).iter();
    let found = keys.filter_map(|key| ctx.keyspace().read(key, |_| ()));
    ctx.reply.integer(found.count() as i64);
    Ok(())
}

fn value_type(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let name = ctx
        .keyspace()
        .peek(args.at(1), |view| view.value.type_name());
    ctx.reply.simple(name.unwrap_or("none"));
    Ok(())
}

/// `key` holds a copy of what `view` shows from now on. The caller tells of it.
fn put_copy_of(ctx: &mut Context<'_>, key: &[u8], view: &View<'_>) -> CommandResult {
    let deadline_ms = view.deadline_ms();
    match (view.value, view.stamp()) {
        (Value::String(bytes), None) => ctx.make(Effect::Put {
            key,
            parts: &[bytes],
            deadline_ms,
        })?,
        (Value::String(bytes), Some(stamp)) => ctx.make(Effect::PutStamped {
            key,
            parts: &[bytes],
            stamp,
            deadline_ms,
        })?,
        (Value::Hash(hash), _) => {
            let fields = hash.to_flat();
            ctx.make(Effect::PutHash {
                key,
                fields: fields.as_hash(),
                deadline_ms,
            })?
        }
    };
    Ok(())
}

fn rename(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    rename_key(ctx, args, true)?;
    ctx.reply.ok();
    Ok(())
}

fn renamenx(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let is_renamed = rename_key(ctx, args, false)?;
    ctx.reply.integer(i64::from(is_renamed));
    Ok(())
}

/// Whether the key has another name now.
fn rename_key(ctx: &mut Context<'_>, args: Args<'_>, replaces: bool) -> Result<bool, CommandError> {
    let (from, to) = (args.at(1), args.at(2));
    let keyspace = ctx.keyspace();
    if !keyspace.contains(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to || (!replaces && keyspace.contains(to)) {
        return Ok(false);
    }
    let put = keyspace.peek(from, |view| put_copy_of(ctx, to, &view));
    put.ok_or(CommandError::NoSuchKey)??;
    // The new key is there before the old one is gone, so that nothing is lost if there is no room.
    ctx.make(Effect::Delete { key: from })?;
    ctx.changed(Some(from), Event::generic("rename_from"));
    ctx.changed(Some(to), Event::generic("rename_to"));
    Ok(true)
}

/// The number of a database, of which there is one.
fn check_database(number: &[u8]) -> CommandResult {
    let number = i32::try_from(integer(number)?).map_err(|_| CommandError::NotInteger)?;
    if number != 0 {
        return Err("ERR DB index is out of range".into());
    }
    Ok(())
}

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

fn copy(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (from, to) = (args.at(1), args.at(2));
    let mut replaces = false;
    let mut options = Options::new(args, 3);
    while let Some(option) = options.next() {
        if is_word(option, "REPLACE") {
            replaces = true;
        } else if is_word(option, "DB") {
            check_database(options.value()?)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if from == to {
        return Err(SAME_OBJECT.into());
    }
    let keyspace = ctx.keyspace();
    let copied = keyspace.look_up(from, ctx.session.is_noticed(), |view| {
        if !replaces && keyspace.contains(to) {
            return Ok(false);
        }
        put_copy_of(ctx, to, &view)?;
        ctx.changed(Some(to), Event::generic("copy_to"));
        Ok::<_, CommandError>(true)
    });
    let is_copied = copied.transpose()?.unwrap_or(false);
    ctx.reply.integer(i64::from(is_copied));
    Ok(())
}

fn move_key(_: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    check_database(args.at(2))?;
    Err(SAME_OBJECT.into())
}

fn keys(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let pattern = args.at(1);
    let keyspace = ctx.keyspace();
    if glob::is_literal(pattern) {
        let is_there = keyspace.contains(pattern);
        ctx.reply.array(usize::from(is_there));
        if is_there {
            ctx.reply.bulk(pattern);
        }
        return Ok(());
    }
    let all = pattern == b"*";
    let mut found = Reply::new(ctx.reply.protocol());
    let mut count = 0;
    for entry in keyspace.cache().iter() {
        let key = entry.key().key();
        if all || glob::matches(pattern, key) {
            found.bulk(key);
            count += 1;
        }
    }
    ctx.reply.array(count);
    ctx.reply.raw(found.as_bytes());
    Ok(())
}

/// Types that Redis knows, of which keys here may have some.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

fn scan(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let cursor = parse_u64(args.at(1)).ok_or("ERR invalid cursor")?;
    let (mut pattern, mut count, mut wanted) = (None, SCANNED, None);
    let mut options = Options::new(args, 2);
    while let Some(option) = options.next() {
        if is_word(option, "MATCH") {
            pattern = Some(options.value()?).filter(|pattern| *pattern != b"*");
        } else if is_word(option, "COUNT") {
            let number = integer(options.value()?)?;
            count = usize::try_from(number).map_err(|_| CommandError::Syntax)?;
            if count == 0 {
                return Err(CommandError::Syntax);
            }
        } else if is_word(option, "TYPE") {
            let name = options.value()?;
            let known = TYPES.iter().find(|known| is_word(name, known));
            wanted = Some(*known.ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                CommandError::from(format!("ERR unknown type name '{name}'"))
            })?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let mut found = Reply::new(ctx.reply.protocol());
    let mut matches = 0;
    let next = ctx.keyspace().scan(cursor, count, |view| {
        let is_wanted = wanted.is_none_or(|wanted| view.value.type_name() == wanted)
            && pattern.is_none_or(|pattern| glob::matches(pattern, view.key));
        if is_wanted {
            found.bulk(view.key);
            matches += 1;
        }
    });
    ctx.reply.array(2);
    let mut digits = itoa::Buffer::new();
    ctx.reply.bulk(digits.format(next).as_bytes());
    ctx.reply.array(matches);
    ctx.reply.raw(found.as_bytes());
    Ok(())
}

fn randomkey(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    match ctx.keyspace().cache().sample(fastrand::u64(..)) {
        Some(entry) => ctx.reply.bulk(entry.key().key()),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn dbsize(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    let keys = ctx.keyspace().cache().len();
    ctx.reply.integer(keys.cast_signed());
    Ok(())
}

fn flush(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let is_known = |mode| is_word(mode, "SYNC") || is_word(mode, "ASYNC");
    if args.len() > 2 || !args.get(1).is_none_or(is_known) {
        return Err(CommandError::Syntax);
    }
    ctx.apply(Effect::Clear, Event::generic("flushdb"))?;
    ctx.reply.ok();
    Ok(())
}
