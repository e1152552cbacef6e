//! Commands of the deadlines of hashes' fields.
//!
//! What a command is asked to set to a time that is over, it removes at once. Whatever a command finds
//! out, the effect that it has names the fields that change and the time in absolute terms.

use super::{command, docs, inspect, nulls, read, remove, reply_once, set};
use crate::command::arguments::{TimeUnit, deadline_ms, integer, is_word};
use crate::command::{Command, Flags, INSERTS, READS_AND_UPDATES};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::hash::{FieldView, is_live};
use crate::keyspace::Effect;
use nuthatch_wire::resp::Args;
use smallvec::SmallVec;

const WRITE: Flags = Flags::WRITE.union(Flags::FAST);
const COST: &str = "O(N) for N fields";
const FIELDS_SYNTAX: &str = "key FIELDS numfields field [field ...]";

const fn expire(name: &'static str, handler: crate::command::Handler) -> Command {
    command(name, -6, handler).flags(WRITE).complexity(COST)
}

const fn time_left(name: &'static str, handler: crate::command::Handler) -> Command {
    command(name, -5, handler)
        .flags(Flags::READONLY.union(Flags::FAST))
        .complexity(COST)
}

pub(super) const HSETEX: Command = docs(
    command("hsetex", -6, hsetex)
        .flags(WRITE.union(Flags::DENYOOM))
        .access(INSERTS)
        .complexity(COST),
    "9.0.0",
    "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
     unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
    "Sets fields of a hash and when they expire.",
);
pub(super) const HGETEX: Command = docs(
    command("hgetex", -5, hgetex)
        .flags(WRITE)
        .access(READS_AND_UPDATES)
        .complexity(COST),
    "9.0.0",
    "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | \
     PERSIST] FIELDS numfields field [field ...]",
    "Returns the values of fields and sets when they expire.",
);
pub(super) const HEXPIRE: Command = docs(
    expire("hexpire", hexpire),
    "9.0.0",
    "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Sets when fields expire, in seconds from now.",
);
pub(super) const HPEXPIRE: Command = docs(
    expire("hpexpire", hpexpire),
    "9.0.0",
    "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Sets when fields expire, in milliseconds from now.",
);
pub(super) const HEXPIREAT: Command = docs(
    expire("hexpireat", hexpireat),
    "9.0.0",
    "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Sets when fields expire, in seconds since 1970.",
);
pub(super) const HPEXPIREAT: Command = docs(
    expire("hpexpireat", hpexpireat),
    "9.0.0",
    "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Sets when fields expire, in milliseconds since 1970.",
);
pub(super) const HPERSIST: Command = docs(
    command("hpersist", -5, hpersist)
        .flags(WRITE)
        .complexity(COST),
    "9.0.0",
    FIELDS_SYNTAX,
    "Lets fields exist until they are removed.",
);
pub(super) const HTTL: Command = docs(
    time_left("httl", httl),
    "9.0.0",
    FIELDS_SYNTAX,
    "Returns how many seconds fields have left.",
);
pub(super) const HPTTL: Command = docs(
    time_left("hpttl", hpttl),
    "9.0.0",
    FIELDS_SYNTAX,
    "Returns how many milliseconds fields have left.",
);
pub(super) const HEXPIRETIME: Command = docs(
    time_left("hexpiretime", hexpiretime),
    "9.0.0",
    FIELDS_SYNTAX,
    "Returns when fields expire, in seconds since 1970.",
);
pub(super) const HPEXPIRETIME: Command = docs(
    time_left("hpexpiretime", hpexpiretime),
    "9.0.0",
    FIELDS_SYNTAX,
    "Returns when fields expire, in milliseconds since 1970.",
);

/// Names of fields seen before.
pub(super) type Names<'a> = hashbrown::HashSet<&'a [u8], foldhash::fast::RandomState>;

type FieldNames<'a> = SmallVec<[&'a [u8]; 16]>;

/// The error of most commands if the number of fields is not that of the arguments.
pub(super) const NUMFIELDS: CommandError = CommandError::Other(std::borrow::Cow::Borrowed(
    "ERR numfields should be greater than 0 and match the provided number of fields",
));

/// The arguments after `FIELDS numfields`, which stand at `position`; `mismatch` if their number is
/// not as it should be.
pub(super) fn counted_fields(
    args: Args<'_>,
    position: usize,
    mismatch: CommandError,
) -> Result<FieldNames<'_>, CommandError> {
    if !is_word(args.at(position), "FIELDS") {
        return Err(CommandError::Syntax);
    }
    let count = integer(args.at(position + 1))?;
    let fields = args.from(position + 2);
    if count == 0 || usize::try_from(count) != Ok(fields.len()) {
        return Err(mismatch);
    }
    Ok(fields.iter().collect())
}

/// Where `FIELDS` stands after options that begin at `first`; it must leave room for a number.
fn fields_position(args: Args<'_>, first: usize) -> Option<usize> {
    (first..args.len().saturating_sub(1)).find(|&position| is_word(args.at(position), "FIELDS"))
}

// ---- values and deadlines -----------------------------------------------------------------

/// What `HSETEX` and `HGETEX` do about deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime<'a> {
    /// The default.
    Unsaid,
    /// `KEEPTTL`.
    Kept,
    /// `PERSIST`.
    Forever,
    /// A time as it was given.
    Until(TimeUnit, &'a [u8]),
}

#[derive(Debug)]
struct FieldOptions<'a> {
    /// `Some(false)` for `NX`, `Some(true)` for `XX`.
    key_exists: Option<bool>,
    /// The same of all fields: `FNX` and `FXX`.
    fields_exist: Option<bool>,
    lifetime: Lifetime<'a>,
}

impl<'a> FieldOptions<'a> {
    /// The options before `FIELDS`; those that only `HSETEX` has, if `sets`.
    fn read(args: Args<'a>, end: usize, sets: bool) -> Result<Self, CommandError> {
        let mut read = Self {
            key_exists: None,
            fields_exist: None,
            lifetime: Lifetime::Unsaid,
        };
        let mut position = 2;
        while position < end {
            let option = args.at(position);
            if sets && (is_word(option, "NX") || is_word(option, "XX")) {
                once(&mut read.key_exists, is_word(option, "XX"))?;
            } else if sets && (is_word(option, "FNX") || is_word(option, "FXX")) {
                once(&mut read.fields_exist, is_word(option, "FXX"))?;
            } else if sets && is_word(option, "KEEPTTL") {
                read.lifetime(Lifetime::Kept)?;
            } else if !sets && is_word(option, "PERSIST") {
                read.lifetime(Lifetime::Forever)?;
            } else if let Some(unit) = TimeUnit::of_option(option) {
                position += 1;
                if position == end {
                    return Err(CommandError::Syntax);
                }
                read.lifetime(Lifetime::Until(unit, args.at(position)))?;
            } else {
                return Err(CommandError::Syntax);
            }
            position += 1;
        }
        Ok(read)
    }

    /// The same option twice is one, two different ones contradict each other.
    fn lifetime(&mut self, lifetime: Lifetime<'a>) -> CommandResult {
        let agrees = match (self.lifetime, lifetime) {
            (Lifetime::Unsaid, _) => true,
            (Lifetime::Until(before, _), Lifetime::Until(now, _)) => before == now,
            (before, now) => before == now,
        };
        self.lifetime = lifetime;
        if agrees {
            Ok(())
        } else {
            Err(CommandError::Syntax)
        }
    }

    /// The deadline that was given, if one was.
    fn deadline_ms(&self, now_ms: u64, command: &str) -> Result<Option<u64>, CommandError> {
        match self.lifetime {
            Lifetime::Until(unit, text) => field_deadline_ms(text, unit, now_ms, command).map(Some),
            Lifetime::Unsaid | Lifetime::Kept | Lifetime::Forever => Ok(None),
        }
    }
}

fn once(option: &mut Option<bool>, value: bool) -> CommandResult {
    if option.is_some_and(|before| before != value) {
        return Err(CommandError::Syntax);
    }
    *option = Some(value);
    Ok(())
}

/// A time, which must not be negative.
fn field_deadline_ms(
    text: &[u8],
    unit: TimeUnit,
    now_ms: u64,
    command: &str,
) -> Result<u64, CommandError> {
    let number = integer(text)?;
    let refused = || CommandError::ExpireTime(command.to_owned().into());
    if number < 0 {
        return Err(refused());
    }
    u64::try_from(deadline_ms(number, unit, now_ms, command)?).map_err(|_| refused())
}

fn hsetex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let position = fields_position(args, 2).ok_or(NUMFIELDS)?;
    let options = FieldOptions::read(args, position, true)?;
    let count = integer(args.at(position + 1))?;
    let first = position + 2;
    let given = args.len() - first;
    if count == 0 || count.checked_mul(2).map(usize::try_from) != Some(Ok(given)) {
        return Err(NUMFIELDS);
    }
    let now_ms = ctx.now_ms();
    let exists = inspect(ctx, key, |_| ())?.is_some();
    if options.key_exists.is_some_and(|wanted| wanted != exists) {
        ctx.reply.integer(0);
        return Ok(());
    }
    let given_ms = options.deadline_ms(now_ms, "hsetex")?;
    let mut fields: SmallVec<[FieldView<'_>; 16]> = super::pairs(args, first).collect();
    let is_met = inspect(ctx, key, |hash| {
        fields.iter_mut().all(|field| {
            let old = hash.get(field.name, now_ms);
            if options.lifetime == Lifetime::Kept {
                field.deadline_ms = old.and_then(|old| old.deadline_ms);
            }
            options
                .fields_exist
                .is_none_or(|wanted| wanted == old.is_some())
        })
    })?;
    if !is_met.unwrap_or(options.fields_exist != Some(true)) {
        ctx.reply.integer(0);
        return Ok(());
    }
    let (set_event, expire_event) = (Event::hash("hset"), Event::hash("hexpire"));
    match given_ms {
        Some(ms) if !is_live(Some(ms), now_ms) => {
            // They are set and expire at once.
            let names: FieldNames<'_> = fields.iter().map(|field| field.name).collect();
            ctx.fields_expired(names.len());
            let change = ctx.make(Effect::HashDelete {
                key,
                fields: &names,
            })?;
            ctx.changed(Some(key), set_event);
            ctx.also(key, expire_event);
            ctx.also(key, Event::hash("hexpired"));
            if change.is_emptied || !exists {
                ctx.also(key, Event::generic("del"));
            }
        }
        Some(_) => {
            for field in &mut fields {
                field.deadline_ms = given_ms;
            }
            set(ctx, key, &fields, set_event)?;
            ctx.also(key, expire_event);
        }
        None => {
            set(ctx, key, &fields, set_event)?;
        }
    }
    ctx.reply.integer(1);
    Ok(())
}

fn hgetex(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let position = fields_position(args, 2).ok_or(NUMFIELDS)?;
    let options = FieldOptions::read(args, position, false)?;
    let fields = counted_fields(args, position, NUMFIELDS)?;
    let now_ms = ctx.now_ms();
    inspect(ctx, key, |_| ())?;
    let given_ms = options.deadline_ms(now_ms, "hgetex")?;
    ctx.reply.array(fields.len());
    if given_ms.is_some_and(|ms| ms <= now_ms) {
        reply_once(ctx, key, &fields)?;
        let removed = remove(ctx, key, &fields, Event::hash("hexpired"))?;
        ctx.fields_expired(removed);
        return Ok(());
    }
    // Only fields that exist get a deadline.
    let mut live = FieldNames::new();
    let found = read(ctx, key, |hash, reply, now_ms| {
        for name in &fields {
            let field = hash.get(name, now_ms);
            reply.bulk_or_null(field.map(|field| field.value));
            let is_touched = match options.lifetime {
                Lifetime::Until(..) => field.is_some(),
                Lifetime::Forever => field.is_some_and(|field| field.deadline_ms.is_some()),
                Lifetime::Unsaid | Lifetime::Kept => false,
            };
            if is_touched {
                live.push(name);
            }
        }
    })?;
    if found.is_none() {
        nulls(ctx.reply, fields.len());
    }
    let event = if given_ms.is_some() {
        "hexpire"
    } else {
        "hpersist"
    };
    expire_fields(ctx, key, &live, given_ms, Event::hash(event))
}

/// Gives fields a deadline, or none, and tells of it, whether or not they had another.
fn expire_fields(
    ctx: &mut Context<'_>,
    key: &[u8],
    fields: &[&[u8]],
    deadline_ms: Option<u64>,
    event: Event,
) -> CommandResult {
    if fields.is_empty() {
        return Ok(());
    }
    ctx.make(Effect::HashExpire {
        key,
        fields,
        deadline_ms,
    })?;
    ctx.changed(Some(key), event);
    Ok(())
}

// ---- deadlines ----------------------------------------------------------------------------

/// Under which conditions a field gets another deadline.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn read(args: Args<'_>, end: usize) -> Result<Self, CommandError> {
        let mut read = Self::default();
        for position in 3..end {
            let option = args.at(position);
            let condition = [
                ("NX", &mut read.nx),
                ("XX", &mut read.xx),
                ("GT", &mut read.gt),
                ("LT", &mut read.lt),
            ]
            .into_iter()
            .find(|(word, _)| is_word(option, word));
            let Some((_, condition)) = condition else {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Unsupported option {option}").into());
            };
            *condition = true;
        }
        if read.nx && (read.xx || read.gt || read.lt) {
            return Err(
                "ERR NX and XX, GT or LT options at the same time are not compatible".into(),
            );
        }
        if read.gt && read.lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(read)
    }

    /// Whether a field with the deadline `old_ms` may get `new_ms`. No deadline counts as the latest.
    fn are_met(self, old_ms: Option<u64>, new_ms: u64) -> bool {
        let is_earlier = old_ms.is_none_or(|old_ms| new_ms < old_ms);
        let is_later = old_ms.is_some_and(|old_ms| new_ms > old_ms);
        !(self.nx && old_ms.is_some()
            || self.xx && old_ms.is_none()
            || self.gt && !is_later
            || self.lt && !is_earlier)
    }
}

const SECONDS: TimeUnit = TimeUnit {
    seconds: true,
    absolute: false,
};
const MILLISECONDS: TimeUnit = TimeUnit {
    seconds: false,
    absolute: false,
};
const UNIX_SECONDS: TimeUnit = TimeUnit {
    seconds: true,
    absolute: true,
};
const UNIX_MILLISECONDS: TimeUnit = TimeUnit {
    seconds: false,
    absolute: true,
};

fn hexpire(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadlines(ctx, args, SECONDS, "hexpire")
}

fn hpexpire(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadlines(ctx, args, MILLISECONDS, "hpexpire")
}

fn hexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadlines(ctx, args, UNIX_SECONDS, "hexpireat")
}

fn hpexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadlines(ctx, args, UNIX_MILLISECONDS, "hpexpireat")
}

/// Replies for each field: -2 there is none, 0 a condition is not met, 1 done, 2 the time is over and
/// the field is gone.
fn set_deadlines(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    unit: TimeUnit,
    command: &str,
) -> CommandResult {
    let key = args.at(1);
    let position = fields_position(args, 3).ok_or(NUMFIELDS)?;
    let conditions = Conditions::read(args, position)?;
    let fields = counted_fields(args, position, NUMFIELDS)?;
    let now_ms = ctx.now_ms();
    let new_ms = field_deadline_ms(args.at(2), unit, now_ms, command)?;
    let is_over = !is_live(Some(new_ms), now_ms);
    inspect(ctx, key, |_| ())?;
    ctx.reply.array(fields.len());
    let mut changed = Names::default();
    let found = read(ctx, key, |hash, reply, now_ms| {
        for name in &fields {
            // A name that stands twice finds what it has done the first time.
            let again = changed.contains(name);
            let field = hash.get(name, now_ms).filter(|_| !(again && is_over));
            let result = match field {
                None => -2,
                Some(field) => {
                    let old_ms = if again {
                        Some(new_ms)
                    } else {
                        field.deadline_ms
                    };
                    if !conditions.are_met(old_ms, new_ms) {
                        0
                    } else {
                        changed.insert(name);
                        if is_over { 2 } else { 1 }
                    }
                }
            };
            reply.integer(result);
        }
    })?;
    if found.is_none() {
        for _ in &fields {
            ctx.reply.integer(-2);
        }
    }
    let changed: FieldNames<'_> = changed.into_iter().collect();
    if is_over {
        let removed = remove(ctx, key, &changed, Event::hash("hexpired"))?;
        ctx.fields_expired(removed);
        return Ok(());
    }
    expire_fields(ctx, key, &changed, Some(new_ms), Event::hash("hexpire"))
}

/// Replies for each field: -2 there is none, -1 it had no deadline, 1 done.
fn hpersist(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let fields = counted_fields(args, 2, NUMFIELDS)?;
    inspect(ctx, key, |_| ())?;
    ctx.reply.array(fields.len());
    let mut changed = Names::default();
    let found = read(ctx, key, |hash, reply, now_ms| {
        for name in &fields {
            let result = match hash.get(name, now_ms).map(|field| field.deadline_ms) {
                None => -2,
                Some(Some(_)) if changed.insert(name) => 1,
                Some(_) => -1,
            };
            reply.integer(result);
        }
    })?;
    if found.is_none() {
        for _ in &fields {
            ctx.reply.integer(-2);
        }
    }
    let changed: FieldNames<'_> = changed.into_iter().collect();
    expire_fields(ctx, key, &changed, None, Event::hash("hpersist"))
}

fn httl(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    deadlines(ctx, args, SECONDS)
}

fn hpttl(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    deadlines(ctx, args, MILLISECONDS)
}

fn hexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    deadlines(ctx, args, UNIX_SECONDS)
}

fn hpexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    deadlines(ctx, args, UNIX_MILLISECONDS)
}

/// Replies for each field: -2 there is none, -1 it has no deadline, or the time in `unit`.
fn deadlines(ctx: &mut Context<'_>, args: Args<'_>, unit: TimeUnit) -> CommandResult {
    let fields = counted_fields(args, 2, CommandError::Syntax)?;
    ctx.reply.array(fields.len());
    let found = read(ctx, args.at(1), |hash, reply, now_ms| {
        for name in &fields {
            reply.integer(
                match hash.get(name, now_ms).map(|field| field.deadline_ms) {
                    None => -2,
                    Some(None) => -1,
                    Some(Some(deadline_ms)) => {
                        let ms = deadline_ms - if unit.absolute { 0 } else { now_ms };
                        let time = if unit.seconds {
                            ms.saturating_add(500) / 1000
                        } else {
                            ms
                        };
                        time.cast_signed()
                    }
                },
            );
        }
    })?;
    if found.is_none() {
        for _ in &fields {
            ctx.reply.integer(-2);
        }
    }
    Ok(())
}
