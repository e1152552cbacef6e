//! Commands of strings as a whole and of their parts. Numbers are in `counters.rs`, bits in
//! `bits.rs`.

use super::arguments::{Options, TimeUnit, deadline_ms, integer, is_word};
use super::{
    ALL_ARGS, Access, CREATES, Categories, Command, Flags, Group, INSERTS, Keys, ONE_KEY,
    OVERWRITES, READS_AND_DELETES, READS_AND_UPDATES, REMOVES,
};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::keyspace::{Effect, NewString, View};
use nuthatch_wire::number::parse_u64;
use nuthatch_wire::resp::{Args, Reply};
use smallvec::SmallVec;
use std::borrow::Cow;

const READ: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.union(Flags::FAST);

/// Keys with a value after each.
const PAIRS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 2,
};

const MULTI_SHARD: &[&str] = &[
    "request_policy:multi_shard",
    "response_policy:all_succeeded",
];

const SET: Event = Event::string("set");
const DEL: Event = Event::generic("del");
const EXPIRE: Event = Event::generic("expire");

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .keys(ONE_KEY)
        .categories(Categories::STRING)
}

pub(super) const COMMANDS: &[Command] = &[
    command("get", 2, get).flags(READ).docs(
        Group::String,
        "1.0.0",
        "key",
        "Returns the string of a key.",
    ),
    command("set", -3, set)
.access(READS_AND_UPDATES.union(Access::VARIABLE)).flags(WRITE.union(Flags::TIMED_SOMETIMES)).docs(
        Group::String,
        "1.0.0",
        "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | \
         EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Sets the string of a key, whatever it held before.",
    ),
    command("setnx", 3, setnx)
.access(CREATES).flags(FAST_WRITE).docs(
        Group::String,
        "1.0.0",
        "key value",
        "Sets the string of a key that does not exist.",
    ),
    command("setex", 4, setex)
.access(OVERWRITES).flags(WRITE).docs(
        Group::String,
        "2.0.0",
        "key seconds value",
        "Sets the string of a key and after how many seconds it expires.",
    ),
    command("psetex", 4, psetex)
.access(OVERWRITES).flags(WRITE).docs(
        Group::String,
        "2.6.0",
        "key milliseconds value",
        "Sets the string of a key and after how many milliseconds it expires.",
    ),
    command("getset", 3, getset)
.access(READS_AND_UPDATES).flags(FAST_WRITE).docs(
        Group::String,
        "1.0.0",
        "key value",
        "Sets the string of a key and returns the one before.",
    ),
    command("getdel", 2, getdel)
.access(READS_AND_DELETES)
        .flags(Flags::WRITE.union(Flags::FAST))
        .docs(
            Group::String,
            "6.2.0",
            "key",
            "Returns the string of a key and removes the key.",
        ),
    command("getex", -2, getex)
.access(READS_AND_UPDATES)
        .flags(Flags::WRITE.union(Flags::FAST))
        .docs(
            Group::String,
            "6.2.0",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | PERSIST]",
            "Returns the string of a key and sets when the key expires.",
        ),
    command("delifeq", 3, delifeq)
.access(REMOVES)
        .flags(Flags::WRITE.union(Flags::FAST))
        .docs(
            Group::String,
            "9.0.0",
            "key value",
            "Removes a key that holds this string.",
        ),
    command("mget", -2, mget)
.tips(&["request_policy:multi_shard"])
        .flags(READ)
        .keys(ALL_ARGS)
        .complexity("O(N) for N keys")
        .docs(
            Group::String,
            "1.0.0",
            "key [key ...]",
            "Returns the strings of keys, and null for each that holds none.",
        ),
    command("mset", -3, mset)
.access(OVERWRITES)
.tips(MULTI_SHARD)
        .flags(WRITE)
        .keys(PAIRS)
        .complexity("O(N) for N keys")
        .docs(
            Group::String,
            "1.0.1",
            "key value [key value ...]",
            "Sets the strings of keys, all at once.",
        ),
    command("msetnx", -3, msetnx)
.access(CREATES)
        .flags(WRITE)
        .keys(PAIRS)
        .complexity("O(N) for N keys")
        .docs(
            Group::String,
            "1.0.1",
            "key value [key value ...]",
            "Sets the strings of keys, all at once, if none of them exists.",
        ),
    command("msetex", -4, msetex)
.access(OVERWRITES)
.tips(MULTI_SHARD)
        .flags(WRITE)
        .keys(Keys::Counted { count: 1, step: 2 })
        .complexity("O(N) for N keys")
        .docs(
            Group::String,
            "9.1.0",
            "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | \
             EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
            "Sets the strings of keys, all at once, and when they expire.",
        ),
    command("append", 3, append)
.access(INSERTS)
        .flags(FAST_WRITE)
        .complexity("O(N) for N bytes of the string")
        .docs(
            Group::String,
            "2.0.0",
            "key value",
            "Adds to the end of the string of a key, which is empty if the key does not exist.",
        ),
    command("strlen", 2, strlen).flags(READ.union(Flags::NO_LOOK)).docs(
        Group::String,
        "2.2.0",
        "key",
        "Returns the length of the string of a key, in bytes.",
    ),
    command("getrange", 4, getrange)
        .flags(Flags::READONLY)
        .complexity("O(N) for N bytes returned")
        .docs(
            Group::String,
            "2.4.0",
            "key start end",
            "Returns a part of the string of a key; positions below 0 count from its end.",
        ),
    command("substr", 4, getrange)
        .flags(Flags::READONLY)
        .complexity("O(N) for N bytes returned")
        .docs(
            Group::String,
            "1.0.0",
            "key start end",
            "The name that GETRANGE had first.",
        ),
    command("setrange", 4, setrange)
        .flags(WRITE)
        .complexity("O(N) for N bytes of the string")
        .docs(
            Group::String,
            "2.2.0",
            "key offset value",
            "Overwrites a part of the string of a key, which zeros lengthen first if it is too short.",
        ),
];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (reply, is_noticed) = (&mut *ctx.reply, ctx.session.is_noticed());
    let keyspace = &ctx.server.keyspace;
    let found = keyspace.look_up(args.at(1), is_noticed, |view| {
        view.string().map(|bytes| reply.bulk(bytes))
    });
    match found {
        Some(result) => result,
        None => {
            ctx.reply.null();
            Ok(())
        }
    }
}

/// On what a write depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    Absent,
    Present,
    Equal(&'a [u8]),
}

/// When what is written expires, as the options say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime<'a> {
    /// What no option asks for: never with `SET`, as before with `GETEX`.
    Default,
    Kept,
    Never,
    Given(&'a [u8], TimeUnit),
}

/// Which of the options a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Set,
    Mset,
    Get,
}

/// The options of `SET` and of those that have some of them.
#[derive(Clone, Copy, Debug)]
struct StringOptions<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime<'a>,
    get: bool,
}

impl<'a> StringOptions<'a> {
    const NONE: Self = Self {
        condition: Condition::Always,
        lifetime: Lifetime::Default,
        get: false,
    };

    fn read(args: Args<'a>, start: usize, family: Family) -> Result<Self, CommandError> {
        let mut read = Self::NONE;
        let mut options = Options::new(args, start);
        while let Some(option) = options.next() {
            if family != Family::Get && is_word(option, "NX") {
                read.condition(Condition::Absent)?;
            } else if family != Family::Get && is_word(option, "XX") {
                read.condition(Condition::Present)?;
            } else if family != Family::Get && is_word(option, "KEEPTTL") {
                read.lifetime(Lifetime::Kept)?;
            } else if family == Family::Set && is_word(option, "IFEQ") {
                if read.condition != Condition::Always {
                    return Err(CommandError::Syntax);
                }
                read.condition = Condition::Equal(options.value()?);
            } else if family == Family::Set && is_word(option, "GET") {
                read.get = true;
            } else if family == Family::Get && is_word(option, "PERSIST") {
                read.lifetime(Lifetime::Never)?;
            } else if let Some(unit) = TimeUnit::of_option(option) {
                read.lifetime(Lifetime::Given(options.value()?, unit))?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(read)
    }

    /// The same condition may be named twice.
    fn condition(&mut self, condition: Condition<'a>) -> CommandResult {
        if self.condition != Condition::Always && self.condition != condition {
            return Err(CommandError::Syntax);
        }
        self.condition = condition;
        Ok(())
    }

    /// So may the same kind of lifetime, and of two times the last one counts.
    fn lifetime(&mut self, lifetime: Lifetime<'a>) -> CommandResult {
        let is_same_kind = match (self.lifetime, lifetime) {
            (Lifetime::Default, _) => true,
            (Lifetime::Given(_, first), Lifetime::Given(_, second)) => first == second,
            (first, second) => first == second,
        };
        if !is_same_kind {
            return Err(CommandError::Syntax);
        }
        self.lifetime = lifetime;
        Ok(())
    }

    /// Whether what the key holds has to be known.
    fn must_look(&self) -> bool {
        self.get || self.condition != Condition::Always || self.lifetime == Lifetime::Kept
    }

    /// Looks at what the key holds, and answers it if that is asked for.
    fn look(&self, view: &View<'_>, reply: &mut Reply) -> Result<Found, CommandError> {
        if self.get {
            reply.bulk(view.string()?);
        }
        let is_equal = match self.condition {
            Condition::Equal(comparison) => view.string()? == comparison,
            Condition::Always | Condition::Absent | Condition::Present => false,
        };
        Ok(Found {
            deadline_ms: view.deadline_ms(),
            is_equal,
        })
    }
}

/// What matters of a key that is about to be written.
#[derive(Clone, Copy, Debug)]
struct Found {
    deadline_ms: Option<u64>,
    is_equal: bool,
}

/// A deadline that the options gave, in milliseconds since 1970.
fn given_deadline_ms(
    number: &[u8],
    unit: TimeUnit,
    now_ms: u64,
    command: &'static str,
) -> Result<u64, CommandError> {
    let number = integer(number)?;
    if number <= 0 {
        return Err(CommandError::ExpireTime(Cow::Borrowed(command)));
    }
    let deadline_ms = deadline_ms(number, unit, now_ms, command)?;
    Ok(deadline_ms.cast_unsigned())
}

/// Sets a key until a time, with the events that belong to it. If that time is over the key is gone.
fn put_until(
    ctx: &mut Context<'_>,
    key: &[u8],
    value: &[u8],
    deadline_ms: u64,
) -> Result<(), CommandError> {
    if deadline_ms <= ctx.now_ms() {
        ctx.delete_expired(key)?;
        return Ok(());
    }
    ctx.put(key, value, Some(deadline_ms), SET)?;
    ctx.also(key, EXPIRE);
    Ok(())
}

/// Sets a key as the options say; whether it was done.
fn set_as(
    ctx: &mut Context<'_>,
    key: &[u8],
    value: &[u8],
    options: &StringOptions<'_>,
    command: &'static str,
) -> Result<bool, CommandError> {
    // A time that makes no sense is an error also where the condition is not met.
    let deadline_ms = match options.lifetime {
        Lifetime::Given(number, unit) => {
            Some(given_deadline_ms(number, unit, ctx.now_ms(), command)?)
        }
        Lifetime::Default | Lifetime::Kept | Lifetime::Never => None,
    };
    let keyspace = ctx.keyspace();
    let look = |view: View<'_>| options.look(&view, ctx.reply);
    let found = if options.get {
        keyspace.read(key, look).transpose()?
    } else if options.must_look() {
        keyspace.peek(key, look).transpose()?
    } else {
        None
    };
    if options.get && found.is_none() {
        ctx.reply.null();
    }
    let is_met = match options.condition {
        Condition::Always => true,
        Condition::Absent => found.is_none(),
        Condition::Present => found.is_some(),
        Condition::Equal(_) => found.is_some_and(|found| found.is_equal),
    };
    if !is_met {
        return Ok(false);
    }
    if let Some(deadline_ms) = deadline_ms {
        put_until(ctx, key, value, deadline_ms)?;
    } else {
        let kept = options.lifetime == Lifetime::Kept;
        let deadline_ms = found.filter(|_| kept).and_then(|found| found.deadline_ms);
        ctx.put(key, value, deadline_ms, SET)?;
    }
    Ok(true)
}

fn set(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        ctx.put(key, value, None, SET)?;
        ctx.reply.ok();
        return Ok(());
    }
    let options = StringOptions::read(args, 3, Family::Set)?;
    let is_set = set_as(ctx, key, value, &options, "set")?;
    if !options.get {
        if is_set {
            ctx.reply.ok();
        } else {
            ctx.reply.null();
        }
    }
    Ok(())
}

fn setnx(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let options = StringOptions {
        condition: Condition::Absent,
        ..StringOptions::NONE
    };
    let is_set = set_as(ctx, args.at(1), args.at(2), &options, "setnx")?;
    ctx.reply.integer(i64::from(is_set));
    Ok(())
}

fn setex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_for(ctx, args, true, "setex")
}

fn psetex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_for(ctx, args, false, "psetex")
}

fn set_for(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    seconds: bool,
    command: &'static str,
) -> CommandResult {
    let unit = TimeUnit {
        seconds,
        absolute: false,
    };
    let deadline_ms = given_deadline_ms(args.at(2), unit, ctx.now_ms(), command)?;
    put_until(ctx, args.at(1), args.at(3), deadline_ms)?;
    ctx.reply.ok();
    Ok(())
}

fn getset(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let options = StringOptions {
        get: true,
        ..StringOptions::NONE
    };
    set_as(ctx, args.at(1), args.at(2), &options, "getset")?;
    Ok(())
}

fn getdel(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    get(ctx, args)?;
    ctx.delete(args.at(1), DEL)?;
    Ok(())
}

fn getex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let options = StringOptions::read(args, 2, Family::Get)?;
    let lifetime = match options.lifetime {
        Lifetime::Given(number, unit) => {
            let deadline_ms = given_deadline_ms(number, unit, ctx.now_ms(), "getex")?;
            Some(Some(deadline_ms))
        }
        Lifetime::Never => Some(None),
        Lifetime::Default | Lifetime::Kept => None,
    };
    let (reply, is_noticed) = (&mut *ctx.reply, ctx.session.is_noticed());
    let found = ctx.server.keyspace.look_up(key, is_noticed, |view| {
        reply.bulk(view.string()?);
        Ok::<_, CommandError>(view.deadline_ms())
    });
    let Some(before_ms) = found.transpose()? else {
        ctx.reply.null();
        return Ok(());
    };
    match lifetime {
        None => {}
        Some(Some(deadline_ms)) if deadline_ms <= ctx.now_ms() => {
            ctx.delete_expired(key)?;
        }
        Some(None) if before_ms.is_none() => {}
        Some(deadline_ms) => {
            let event = match deadline_ms {
                Some(_) => EXPIRE,
                None => Event::generic("persist"),
            };
            ctx.apply(Effect::Expire { key, deadline_ms }, event)?;
        }
    }
    Ok(())
}

fn delifeq(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    let found = ctx
        .keyspace()
        .peek(key, |view| Ok::<_, CommandError>(view.string()? == value));
    let is_equal = found.transpose()?.unwrap_or(false);
    if is_equal {
        ctx.delete(key, DEL)?;
    }
    ctx.reply.integer(i64::from(is_equal));
    Ok(())
}

fn mget(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys: SmallVec<[&[u8]; 32]> = args.from(1).iter().collect();
    let (reply, is_noticed) = (&mut *ctx.reply, ctx.session.is_noticed());
    reply.array(keys.len());
    let keyspace = &ctx.server.keyspace;
    keyspace.look_up_many(&keys, is_noticed, |view| {
        match view.and_then(|view| view.string().ok()) {
            Some(bytes) => reply.bulk(bytes),
            None => reply.null(),
        }
    });
    Ok(())
}

/// The keys and values of a list where each key is followed by its value.
fn pairs<'a>(list: Args<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    (0..list.len())
        .step_by(2)
        .map(move |index| (list.at(index), list.at(index + 1)))
}

fn check_pairs(args: Args<'_>, command: &'static str) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(Cow::Borrowed(command)));
    }
    Ok(())
}

fn mset(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    check_pairs(args, "mset")?;
    set_all(ctx, pairs(args.from(1)))?;
    ctx.reply.ok();
    Ok(())
}

/// Sets all these keys or, if there is no room for all, none.
fn set_all<'a>(
    ctx: &mut Context<'_>,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> CommandResult {
    let strings = pairs.map(|(key, bytes)| NewString {
        key,
        bytes,
        deadline_ms: None,
    });
    let strings: SmallVec<[NewString<'_>; 16]> = strings.collect();
    ctx.put_all(&strings, SET, None)
}

fn msetnx(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    check_pairs(args, "msetnx")?;
    let list = args.from(1);
    let is_set = !pairs(list).any(|(key, _)| ctx.keyspace().contains(key));
    if is_set {
        set_all(ctx, pairs(list))?;
    }
    ctx.reply.integer(i64::from(is_set));
    Ok(())
}

fn msetex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let numkeys = parse_u64(args.at(1)).and_then(|number| u32::try_from(number).ok());
    let numkeys = numkeys
        .filter(|&number| number > 0 && number <= i32::MAX.cast_unsigned())
        .ok_or("ERR invalid numkeys value or out of range")? as usize;
    let end = 2 + 2 * numkeys;
    if end > args.len() {
        return Err(CommandError::Syntax);
    }
    let options = StringOptions::read(args, end, Family::Mset)?;
    let given_ms = match options.lifetime {
        Lifetime::Given(number, unit) => {
            Some(given_deadline_ms(number, unit, ctx.now_ms(), "msetex")?)
        }
        Lifetime::Default | Lifetime::Kept | Lifetime::Never => None,
    };
    let list = || pairs(args.from(2)).take(numkeys);
    let keyspace = ctx.keyspace();
    let is_set = match options.condition {
        Condition::Absent => !list().any(|(key, _)| keyspace.contains(key)),
        Condition::Present => list().all(|(key, _)| keyspace.contains(key)),
        Condition::Always | Condition::Equal(_) => true,
    };
    if is_set && given_ms.is_some_and(|given_ms| given_ms <= ctx.now_ms()) {
        for (key, _) in list() {
            ctx.delete_expired(key)?;
        }
    } else if is_set {
        let is_kept = options.lifetime == Lifetime::Kept;
        let deadline_ms = |key| {
            let kept = || keyspace.peek(key, |view| view.deadline_ms()).flatten();
            given_ms.or_else(|| is_kept.then(kept).flatten())
        };
        let strings = list().map(|(key, bytes)| NewString {
            key,
            bytes,
            deadline_ms: deadline_ms(key),
        });
        let strings: SmallVec<[NewString<'_>; 16]> = strings.collect();
        ctx.put_all(&strings, SET, given_ms.map(|_| EXPIRE))?;
    }
    ctx.reply.integer(i64::from(is_set));
    Ok(())
}

/// An error if a string of so many bytes is too long.
fn check_length(ctx: &Context<'_>, length: usize) -> CommandResult {
    if length as u64 > ctx.config.proto_max_bulk_len.0 {
        return Err(CommandError::StringTooLong);
    }
    Ok(())
}

fn append(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    let event = Event::string("append");
    let keyspace = ctx.keyspace();
    let length = keyspace.read(key, |view| {
        let old = view.string()?;
        let length = old.len() + value.len();
        check_length(ctx, length)?;
        let effect = Effect::Put {
            key,
            parts: &[old, value],
            deadline_ms: view.deadline_ms(),
        };
        ctx.apply(effect, event)?;
        Ok::<_, CommandError>(length)
    });
    let length = match length {
        Some(length) => length?,
        None => {
            ctx.put(key, value, None, event)?;
            value.len()
        }
    };
    ctx.reply.integer(length as i64);
    Ok(())
}

fn strlen(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let length = ctx.read_string(args.at(1), <[u8]>::len)?;
    ctx.reply.integer(length.unwrap_or(0) as i64);
    Ok(())
}

/// The positions from `start` to `end`, both included and counted from the end if negative, of
/// something of length `length`.
fn range(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_start = |position: i64| {
        let position = if position < 0 {
            position.saturating_add(length)
        } else {
            position
        };
        position.max(0)
    };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

fn getrange(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let (reply, is_noticed) = (&mut *ctx.reply, ctx.session.is_noticed());
    let keyspace = &ctx.server.keyspace;
    let found = keyspace.look_up(args.at(1), is_noticed, |view| {
        let string = view.string()?;
        reply.bulk(&string[range(start, end, string.len())]);
        Ok::<_, CommandError>(())
    });
    if found.transpose()?.is_none() {
        ctx.reply.bulk(b"");
    }
    Ok(())
}

/// What lengthens a string, in pieces.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The parts of `old` with `new` in it from `offset` on, and zeros before that if `old` is too short.
/// Nothing is copied.
pub(super) fn overwritten<'a>(
    old: &'a [u8],
    offset: usize,
    new: &'a [u8],
) -> SmallVec<[&'a [u8]; 4]> {
    let mut parts = SmallVec::new();
    parts.push(&old[..offset.min(old.len())]);
    let mut missing = offset.saturating_sub(old.len());
    while missing > 0 {
        let piece = missing.min(ZEROS.len());
        parts.push(&ZEROS[..piece]);
        missing -= piece;
    }
    parts.push(new);
    parts.push(old.get(offset + new.len()..).unwrap_or_default());
    parts
}

/// Overwrites a part of a string and returns how long the string is now.
fn put_range(
    ctx: &mut Context<'_>,
    key: &[u8],
    old: &[u8],
    offset: usize,
    value: &[u8],
    deadline_ms: Option<u64>,
) -> Result<usize, CommandError> {
    if value.is_empty() {
        return Ok(old.len());
    }
    let end = offset.saturating_add(value.len());
    check_length(ctx, end)?;
    let effect = Effect::Put {
        key,
        parts: &overwritten(old, offset, value),
        deadline_ms,
    };
    ctx.apply(effect, Event::string("setrange"))?;
    Ok(old.len().max(end))
}

fn setrange(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(3));
    let offset = usize::try_from(integer(args.at(2))?).map_err(|_| "ERR offset is out of range")?;
    let keyspace = ctx.keyspace();
    let length = keyspace.read(key, |view| {
        let deadline_ms = view.deadline_ms();
        put_range(ctx, key, view.string()?, offset, value, deadline_ms)
    });
    let length = match length {
        Some(length) => length?,
        None => put_range(ctx, key, b"", offset, value, None)?,
    };
    ctx.reply.integer(length as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ZEROS, overwritten, range};

    #[test]
    fn ranges_count_from_both_ends_and_stay_within() {
        let cases = [
            ((0, -1), 0..5),
            ((1, 3), 1..4),
            ((-3, -1), 2..5),
            ((-100, 100), 0..5),
            ((3, 1), 0..0),
            ((-1, -2), 0..0),
            ((5, 10), 0..0),
            ((i64::MIN, i64::MAX), 0..5),
            ((i64::MAX, i64::MIN), 0..0),
        ];
        for ((start, end), expected) in cases {
            assert_eq!(range(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(range(0, -1, 0), 0..0);
        assert_eq!(range(-5, -5, 0), 0..0);
    }

    #[test]
    fn an_overwritten_string_has_zeros_where_it_was_too_short() {
        let joined = |old: &[u8], offset, new: &[u8]| overwritten(old, offset, new).concat();
        assert_eq!(joined(b"hello", 1, b"EL"), b"hELlo");
        assert_eq!(joined(b"hello", 3, b"LONG"), b"helLONG");
        assert_eq!(joined(b"ab", 4, b"x"), b"ab\0\0x");
        let far = 2 * ZEROS.len() + 7;
        assert_eq!(joined(b"a", far, b"x").len(), far + 1);
    }
}
