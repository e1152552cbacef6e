//! Commands of hashes.

use super::arguments::{integer, is_word};
use super::{
    Categories, Command, DELETES, Flags, Group, INSERTS, ONE_KEY, READS_AND_DELETES,
    READS_AND_UPDATES,
};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::glob;
use crate::hash::{FieldView, OpenHash};
use crate::keyspace::Effect;
use nuthatch_wire::decimal::Decimal;
use nuthatch_wire::number::parse_u64;
use nuthatch_wire::resp::{Args, Protocol, Reply};
use smallvec::SmallVec;

mod expiry;

const READ: Flags = Flags::READONLY.union(Flags::FAST);
const READ_ALL: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);
const REMOVE: Flags = Flags::WRITE.union(Flags::FAST);

/// Bytes that the reply of one `HRANDFIELD` may have: a count below zero asks for as many fields as it
/// likes.
const MAX_SAMPLE_BYTES: usize = 512 << 20;

/// Fields that a scan looks at if it is not told how many.
const SCAN_COUNT: usize = 10;

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .categories(Categories::HASH)
        .keys(ONE_KEY)
}

const fn docs(
    command: Command,
    since: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    command.docs(Group::Hash, since, syntax, summary)
}

pub(super) const COMMANDS: &[Command] = &[
    docs(
        command("hset", -4, hset)
            .flags(WRITE)
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key field value [field value ...]",
        "Sets fields of a hash. Returns how many of them are new.",
    ),
    docs(
        command("hmset", -4, hmset)
            .flags(WRITE)
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key field value [field value ...]",
        "Sets fields of a hash.",
    ),
    docs(
        command("hsetnx", 4, hsetnx).flags(WRITE).access(INSERTS),
        "2.0.0",
        "key field value",
        "Sets a field of a hash if it does not exist.",
    ),
    docs(
        command("hget", 3, hget).flags(READ),
        "2.0.0",
        "key field",
        "Returns the value of a field.",
    ),
    docs(
        command("hmget", -3, hmget)
            .flags(READ)
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key field [field ...]",
        "Returns the values of fields.",
    ),
    docs(
        command("hgetall", 2, hgetall)
            .flags(READ_ALL)
            .tips(&["nondeterministic_output_order"])
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key",
        "Returns all fields of a hash and their values.",
    ),
    docs(
        command("hkeys", 2, hkeys)
            .flags(READ_ALL)
            .tips(&["nondeterministic_output_order"])
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key",
        "Returns the names of all fields of a hash.",
    ),
    docs(
        command("hvals", 2, hvals)
            .flags(READ_ALL)
            .tips(&["nondeterministic_output_order"])
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key",
        "Returns the values of all fields of a hash.",
    ),
    docs(
        command("hdel", -3, hdel)
            .flags(REMOVE)
            .access(DELETES)
            .complexity("O(N) for N fields"),
        "2.0.0",
        "key field [field ...]",
        "Removes fields of a hash; a hash without fields is removed too.",
    ),
    docs(
        command("hgetdel", -5, hgetdel)
            .flags(REMOVE)
            .access(READS_AND_DELETES)
            .complexity("O(N) for N fields"),
        "9.1.0",
        "key FIELDS numfields field [field ...]",
        "Returns the values of fields and removes them.",
    ),
    docs(
        command("hexists", 3, hexists).flags(READ.union(Flags::NO_LOOK)),
        "2.0.0",
        "key field",
        "Tells whether a field exists.",
    ),
    docs(
        command("hlen", 2, hlen).flags(READ.union(Flags::NO_LOOK)),
        "2.0.0",
        "key",
        "Returns the number of fields of a hash.",
    ),
    docs(
        command("hstrlen", 3, hstrlen).flags(READ.union(Flags::NO_LOOK)),
        "3.2.0",
        "key field",
        "Returns the length of a field's value in bytes.",
    ),
    docs(
        command("hincrby", 4, hincrby)
            .flags(WRITE)
            .access(READS_AND_UPDATES),
        "2.0.0",
        "key field increment",
        "Adds a number to the integer of a field; one that does not exist counts as 0.",
    ),
    docs(
        command("hincrbyfloat", 4, hincrbyfloat)
            .flags(WRITE)
            .access(READS_AND_UPDATES),
        "2.6.0",
        "key field increment",
        "Adds a number to the decimal fraction of a field; one that does not exist counts as 0.",
    ),
    docs(
        command("hrandfield", -2, hrandfield)
            .flags(READ_ALL)
            .tips(&["nondeterministic_output"])
            .complexity("O(N) for N fields returned"),
        "6.2.0",
        "key [count [WITHVALUES]]",
        "Returns fields chosen at random: different ones, or with a count below zero any.",
    ),
    docs(
        command("hscan", -3, hscan)
            .flags(READ_ALL)
            .tips(&["nondeterministic_output"])
            .complexity("O(1) for each call, O(N) for a whole scan of N fields"),
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "Goes through the fields of a hash, some at each call.",
    ),
    expiry::HSETEX,
    expiry::HGETEX,
    expiry::HEXPIRE,
    expiry::HPEXPIRE,
    expiry::HEXPIREAT,
    expiry::HPEXPIREAT,
    expiry::HPERSIST,
    expiry::HTTL,
    expiry::HPTTL,
    expiry::HEXPIRETIME,
    expiry::HPEXPIRETIME,
];

/// Passes the hash of `key` to `look`, with the reply and the present; `None` if there is no such key.
/// A hit or a miss.
#[inline]
fn read<R>(
    ctx: &mut Context<'_>,
    key: &[u8],
    look: impl FnOnce(&OpenHash<'_>, &mut Reply, u64) -> R,
) -> Result<Option<R>, CommandError> {
    let now_ms = ctx.now_ms();
    let (reply, is_noticed) = (&mut *ctx.reply, ctx.session.is_noticed());
    let found = ctx.server.keyspace.look_up(key, is_noticed, |view| {
        let hash = view.hash()?;
        Ok(look(&hash.open(), reply, now_ms))
    });
    found.transpose()
}

/// As [`read`], for a command that is going to write: policy and statistics take no notice.
fn inspect<R>(
    ctx: &Context<'_>,
    key: &[u8],
    look: impl FnOnce(&OpenHash<'_>) -> R,
) -> Result<Option<R>, CommandError> {
    let found = ctx.server.keyspace.peek(key, |view| {
        let hash = view.hash()?;
        Ok(look(&hash.open()))
    });
    found.transpose()
}

// ---- setting ------------------------------------------------------------------------------

/// Sets fields and tells of it. Returns how many had not existed.
fn set(
    ctx: &mut Context<'_>,
    key: &[u8],
    fields: &[FieldView<'_>],
    event: Event,
) -> Result<usize, CommandError> {
    let change = ctx.make(Effect::HashSet { key, fields })?;
    if change.fields_due > 0 {
        // Whoever waits for them to expire hears of it before they exist again.
        ctx.fields_expired(change.fields_due);
        ctx.also(key, Event::hash("hexpired"));
    }
    ctx.changed(Some(key), event);
    Ok(change.fields_added)
}

fn set_pairs(ctx: &mut Context<'_>, args: Args<'_>) -> Result<usize, CommandError> {
    if args.len() % 2 == 1 {
        let name = if args.at(0).len() == 4 {
            "hset"
        } else {
            "hmset"
        };
        return Err(CommandError::Arity(name.into()));
    }
    let key = args.at(1);
    inspect(ctx, key, |_| ())?;
    let fields: SmallVec<[FieldView<'_>; 16]> = pairs(args, 2).collect();
    set(ctx, key, &fields, Event::hash("hset"))
}

/// Names and values from argument `start` on, without deadlines.
fn pairs(args: Args<'_>, start: usize) -> impl Iterator<Item = FieldView<'_>> {
    (start..args.len()).step_by(2).map(move |name| FieldView {
        name: args.at(name),
        value: args.at(name + 1),
        deadline_ms: None,
    })
}

fn hset(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let added = set_pairs(ctx, args)?;
    ctx.reply.integer(added as i64);
    Ok(())
}

fn hmset(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_pairs(ctx, args)?;
    ctx.reply.ok();
    Ok(())
}

fn hsetnx(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, name) = (args.at(1), args.at(2));
    let now_ms = ctx.now_ms();
    let exists = inspect(ctx, key, |hash| hash.get(name, now_ms).is_some())?.unwrap_or(false);
    if !exists {
        let field = FieldView {
            name,
            value: args.at(3),
            deadline_ms: None,
        };
        set(ctx, key, &[field], Event::hash("hset"))?;
    }
    ctx.reply.integer(i64::from(!exists));
    Ok(())
}

fn hincrby(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let increment = integer(args.at(3))?;
    let text = replace(ctx, args, "hincrby", |old| {
        let old = match old {
            Some(old) => integer(old).map_err(|_| "ERR hash value is not an integer")?,
            None => 0,
        };
        let sum = old
            .checked_add(increment)
            .ok_or("ERR increment or decrement would overflow")?;
        let mut digits = itoa::Buffer::new();
        Ok(digits.format(sum).as_bytes().into())
    })?;
    ctx.reply.integer(integer(&text)?);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let increment = Decimal::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if increment.is_infinite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let text = replace(ctx, args, "hincrbyfloat", |old| {
        let old = match old {
            Some(old) => Decimal::parse(old).ok_or("ERR hash value is not a float")?,
            None => Decimal::default(),
        };
        let sum = old
            .checked_add(&increment)
            .ok_or("ERR increment would produce NaN or Infinity")?;
        Ok(sum.to_string().as_bytes().into())
    })?;
    ctx.reply.bulk(&text);
    Ok(())
}

/// A number as text.
type Digits = SmallVec<[u8; 32]>;

/// Sets the field of arguments 1 and 2 to what `change` makes of its value. The deadline stays.
fn replace(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    change: impl Fn(Option<&[u8]>) -> Result<Digits, CommandError>,
) -> Result<Digits, CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    let now_ms = ctx.now_ms();
    let found = inspect(ctx, key, |hash| {
        let old = hash.get(name, now_ms);
        let text = change(old.map(|field| field.value))?;
        Ok::<_, CommandError>((text, old.and_then(|field| field.deadline_ms)))
    })?;
    let (text, deadline_ms) = match found {
        Some(found) => found?,
        None => (change(None)?, None),
    };
    let field = FieldView {
        name,
        value: &text,
        deadline_ms,
    };
    set(ctx, key, &[field], Event::hash(event))?;
    Ok(text)
}

// ---- reading ------------------------------------------------------------------------------

fn hget(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let found = read(ctx, args.at(1), |hash, reply, now_ms| {
        let field = hash.get(args.at(2), now_ms);
        reply.bulk_or_null(field.map(|field| field.value));
    })?;
    if found.is_none() {
        ctx.reply.null();
    }
    Ok(())
}

fn hmget(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let names = args.from(2);
    ctx.reply.array(names.len());
    let found = read(ctx, args.at(1), |hash, reply, now_ms| {
        for name in names.iter() {
            let field = hash.get(name, now_ms);
            reply.bulk_or_null(field.map(|field| field.value));
        }
    })?;
    if found.is_none() {
        nulls(ctx.reply, names.len());
    }
    Ok(())
}

fn nulls(reply: &mut Reply, count: usize) {
    for _ in 0..count {
        reply.null();
    }
}

fn hgetall(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let found = read(ctx, args.at(1), |hash, reply, now_ms| {
        reply.map(hash.live_len(now_ms));
        hash.each_live(now_ms, |field| {
            reply.bulk(field.name);
            reply.bulk(field.value);
        });
    })?;
    if found.is_none() {
        ctx.reply.map(0);
    }
    Ok(())
}

/// An array of something of each field.
fn list(ctx: &mut Context<'_>, key: &[u8], part: impl Fn(FieldView<'_>) -> &[u8]) -> CommandResult {
    let found = read(ctx, key, |hash, reply, now_ms| {
        reply.array(hash.live_len(now_ms));
        hash.each_live(now_ms, |field| reply.bulk(part(field)));
    })?;
    if found.is_none() {
        ctx.reply.array(0);
    }
    Ok(())
}

fn hkeys(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    list(ctx, args.at(1), |field| field.name)
}

fn hvals(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    list(ctx, args.at(1), |field| field.value)
}

/// An integer that is 0 where there is no such key.
fn number(
    ctx: &mut Context<'_>,
    key: &[u8],
    look: impl FnOnce(&OpenHash<'_>, u64) -> usize,
) -> CommandResult {
    let number = read(ctx, key, |hash, _, now_ms| look(hash, now_ms))?;
    ctx.reply.integer(number.unwrap_or(0) as i64);
    Ok(())
}

fn hexists(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    number(ctx, args.at(1), |hash, now_ms| {
        usize::from(hash.get(args.at(2), now_ms).is_some())
    })
}

fn hlen(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    number(ctx, args.at(1), |hash, _| hash.len())
}

fn hstrlen(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    number(ctx, args.at(1), |hash, now_ms| {
        let field = hash.get(args.at(2), now_ms);
        field.map_or(0, |field| field.value.len())
    })
}

// ---- removing -----------------------------------------------------------------------------

/// Removes fields and tells of it with `event`. Returns how many existed.
fn remove(
    ctx: &mut Context<'_>,
    key: &[u8],
    fields: &[&[u8]],
    event: Event,
) -> Result<usize, CommandError> {
    let change = ctx.make(Effect::HashDelete { key, fields })?;
    let emptied = Event::generic("del");
    match (change.fields_removed > 0, change.is_emptied) {
        (true, is_emptied) => {
            ctx.changed(Some(key), event);
            if is_emptied {
                ctx.also(key, emptied);
            }
        }
        // Only fields that were due are gone.
        (false, true) => ctx.changed(Some(key), emptied),
        (false, false) => {}
    }
    Ok(change.fields_removed)
}

fn hdel(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    inspect(ctx, key, |_| ())?;
    let fields: SmallVec<[&[u8]; 16]> = args.from(2).iter().collect();
    let removed = remove(ctx, key, &fields, Event::hash("hdel"))?;
    ctx.reply.integer(removed as i64);
    Ok(())
}

fn hgetdel(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let fields = expiry::counted_fields(args, 2, expiry::NUMFIELDS)?;
    ctx.reply.array(fields.len());
    reply_once(ctx, key, &fields)?;
    remove(ctx, key, &fields, Event::hash("hdel"))?;
    Ok(())
}

/// Replies the values of fields that are about to be removed: a name that stands twice is not found
/// the second time.
fn reply_once(ctx: &mut Context<'_>, key: &[u8], fields: &[&[u8]]) -> CommandResult {
    let mut seen = expiry::Names::default();
    let found = read(ctx, key, |hash, reply, now_ms| {
        for name in fields {
            let field = hash.get(name, now_ms).filter(|_| seen.insert(name));
            reply.bulk_or_null(field.map(|field| field.value));
        }
    })?;
    if found.is_none() {
        nulls(ctx.reply, fields.len());
    }
    Ok(())
}

// ---- some of the fields -------------------------------------------------------------------

fn hrandfield(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let Some(count) = args.get(2) else {
        let found = read(ctx, args.at(1), |hash, reply, now_ms| {
            let sample = hash.sample(now_ms);
            if sample.is_empty() {
                reply.null();
            } else {
                reply.bulk(sample.at(fastrand::usize(..sample.len())).name);
            }
        })?;
        if found.is_none() {
            ctx.reply.null();
        }
        return Ok(());
    };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        )
        .into());
    }
    let with_values = match args.get(3) {
        Some(word) if args.len() == 4 && is_word(word, "WITHVALUES") => true,
        None => false,
        Some(_) => return Err(CommandError::Syntax),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err("ERR value is out of range".into());
    }
    let found = read(ctx, args.at(1), |hash, reply, now_ms| {
        let sample = hash.sample(now_ms);
        let mut random = fastrand::Rng::new();
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count >= 0 {
            let chosen = sample.choose(wanted, &mut random);
            head(reply, chosen.len(), with_values);
            for number in chosen {
                element(reply, sample.at(number), with_values);
            }
            return Ok(());
        }
        let wanted = if sample.is_empty() { 0 } else { wanted };
        head(reply, wanted, with_values);
        let start = reply.len();
        for _ in 0..wanted {
            element(reply, sample.at(random.usize(..sample.len())), with_values);
            if reply.len() - start > MAX_SAMPLE_BYTES {
                return Err("ERR the reply would be too long".into());
            }
        }
        Ok(())
    })?;
    found.unwrap_or_else(|| {
        ctx.reply.array(0);
        Ok(())
    })
}

/// The head of fields chosen at random; version 2 has them and their values in one array.
fn head(reply: &mut Reply, count: usize, with_values: bool) {
    let is_flat = with_values && reply.protocol() == Protocol::Resp2;
    reply.array(if is_flat { 2 * count } else { count });
}

fn element(reply: &mut Reply, field: FieldView<'_>, with_values: bool) {
    if with_values && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(field.name);
    if with_values {
        reply.bulk(field.value);
    }
}

struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    with_values: bool,
}

impl<'a> ScanOptions<'a> {
    fn read(args: Args<'a>) -> Result<Self, CommandError> {
        let mut read = Self {
            pattern: None,
            count: SCAN_COUNT,
            with_values: true,
        };
        let mut options = super::Options::new(args, 3);
        while let Some(option) = options.next() {
            if is_word(option, "MATCH") {
                read.pattern = Some(options.value()?).filter(|pattern| *pattern != b"*");
            } else if is_word(option, "COUNT") {
                let count = integer(options.value()?)?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                read.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if is_word(option, "NOVALUES") {
                read.with_values = false;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(read)
    }
}

fn hscan(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let cursor = parse_u64(args.at(2)).ok_or("ERR invalid cursor")?;
    let mut found = Vec::new();
    let mut elements = 0;
    let next = read(ctx, args.at(1), |hash, reply, now_ms| {
        let options = ScanOptions::read(args)?;
        let mut fields = Reply::new(reply.protocol());
        let next = hash.scan(cursor, options.count, now_ms, |field| {
            if options
                .pattern
                .is_some_and(|pattern| !glob::matches(pattern, field.name))
            {
                return;
            }
            element_flat(&mut fields, field, options.with_values);
            elements += 1 + usize::from(options.with_values);
        });
        found = fields.take();
        Ok::<_, CommandError>(next)
    })?;
    let next = next.transpose()?.unwrap_or(0);
    ctx.reply.array(2);
    ctx.reply.bulk(next.to_string().as_bytes());
    ctx.reply.array(elements);
    ctx.reply.raw(&found);
    Ok(())
}

fn element_flat(reply: &mut Reply, field: FieldView<'_>, with_value: bool) {
    reply.bulk(field.name);
    if with_value {
        reply.bulk(field.value);
    }
}
