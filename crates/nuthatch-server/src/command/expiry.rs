//! Commands that say when keys expire.

use super::arguments::{TimeUnit, deadline_ms, integer, is_word};
use super::{Categories, Command, Flags, Group, ONE_KEY};
use crate::context::{Context, Event};
use crate::error::{CommandError, CommandResult};
use crate::keyspace::Effect;
use nuthatch_wire::resp::Args;

const SYNTAX_SECONDS: &str = "key seconds [NX | XX | GT | LT]";
const SYNTAX_MILLISECONDS: &str = "key milliseconds [NX | XX | GT | LT]";
const SYNTAX_UNIX_SECONDS: &str = "key unix-time-seconds [NX | XX | GT | LT]";
const SYNTAX_UNIX_MILLISECONDS: &str = "key unix-time-milliseconds [NX | XX | GT | LT]";

const fn write(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .keys(ONE_KEY)
        .flags(Flags::WRITE.union(Flags::FAST))
        .categories(Categories::KEYSPACE)
}

const fn read(name: &'static str, handler: super::Handler) -> Command {
    Command::new(name, 2, handler)
        .keys(ONE_KEY)
        .flags(Flags::READONLY.union(Flags::FAST))
        .categories(Categories::KEYSPACE)
}

/// What is left of a time changes by itself.
const CHANGES: &[&str] = &["nondeterministic_output"];

pub(super) const COMMANDS: &[Command] = &[
    write("expire", -3, expire).docs(
        Group::Generic,
        "1.0.0",
        SYNTAX_SECONDS,
        "Sets after how many seconds a key expires.",
    ),
    write("pexpire", -3, pexpire).docs(
        Group::Generic,
        "2.6.0",
        SYNTAX_MILLISECONDS,
        "Sets after how many milliseconds a key expires.",
    ),
    write("expireat", -3, expireat).docs(
        Group::Generic,
        "1.2.0",
        SYNTAX_UNIX_SECONDS,
        "Sets when a key expires, in seconds since 1970.",
    ),
    write("pexpireat", -3, pexpireat).docs(
        Group::Generic,
        "2.6.0",
        SYNTAX_UNIX_MILLISECONDS,
        "Sets when a key expires, in milliseconds since 1970.",
    ),
    write("persist", 2, persist).docs(
        Group::Generic,
        "2.2.0",
        "key",
        "Lets a key that would expire live on.",
    ),
    read("ttl", ttl).tips(CHANGES).docs(
        Group::Generic,
        "1.0.0",
        "key",
        "Returns after how many seconds a key expires; -1: never, -2: there is no such key.",
    ),
    read("pttl", pttl).tips(CHANGES).docs(
        Group::Generic,
        "2.6.0",
        "key",
        "Returns after how many milliseconds a key expires; -1: never, -2: there is no such key.",
    ),
    read("expiretime", expiretime).docs(
        Group::Generic,
        "7.0.0",
        "key",
        "Returns when a key expires, in seconds since 1970; -1: never, -2: there is no such key.",
    ),
    read("pexpiretime", pexpiretime).docs(
        Group::Generic,
        "7.0.0",
        "key",
        "Returns when a key expires, in milliseconds since 1970; -1: never, -2: there is no such \
         key.",
    ),
];

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

fn expire(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadline(ctx, args, SECONDS, "expire")
}

fn pexpire(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadline(ctx, args, MILLISECONDS, "pexpire")
}

fn expireat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadline(ctx, args, UNIX_SECONDS, "expireat")
}

fn pexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    set_deadline(ctx, args, UNIX_MILLISECONDS, "pexpireat")
}

bitflags::bitflags! {
    /// On what a new deadline depends. Several hold together.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Condition: u8 {
        const NONE_BEFORE = 1;
        const SOME_BEFORE = 1 << 1;
        const LATER = 1 << 2;
        const EARLIER = 1 << 3;
    }
}

impl Condition {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut read = Self::empty();
        for option in args.from(3).iter() {
            read |= if is_word(option, "NX") {
                Self::NONE_BEFORE
            } else if is_word(option, "XX") {
                Self::SOME_BEFORE
            } else if is_word(option, "GT") {
                Self::LATER
            } else if is_word(option, "LT") {
                Self::EARLIER
            } else {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Unsupported option {option}").into());
            };
        }
        let others = Self::SOME_BEFORE | Self::LATER | Self::EARLIER;
        if read.contains(Self::NONE_BEFORE) && read.intersects(others) {
            return Err(
                "ERR NX and XX, GT or LT options at the same time are not compatible".into(),
            );
        }
        if read.contains(Self::LATER | Self::EARLIER) {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(read)
    }

    /// Whether a key that expires at `old_ms` may expire at `new_ms` instead. Never is later than any
    /// time.
    fn allows(self, old_ms: Option<u64>, new_ms: u64) -> bool {
        self.iter().all(|condition| match condition {
            Self::NONE_BEFORE => old_ms.is_none(),
            Self::SOME_BEFORE => old_ms.is_some(),
            Self::LATER => old_ms.is_some_and(|old_ms| new_ms > old_ms),
            _ => old_ms.is_none_or(|old_ms| new_ms < old_ms),
        })
    }
}

fn set_deadline(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    unit: TimeUnit,
    command: &str,
) -> CommandResult {
    let key = args.at(1);
    let condition = Condition::read(args)?;
    let deadline_ms = deadline_ms(integer(args.at(2))?, unit, ctx.now_ms(), command)?;
    // All times before 1970 are as much in the past as any.
    let deadline_ms = deadline_ms.max(0).cast_unsigned();
    let found = ctx.keyspace().peek(key, |view| view.deadline_ms());
    let is_allowed = found.is_some_and(|old_ms| condition.allows(old_ms, deadline_ms));
    let is_changed = if !is_allowed {
        false
    } else if deadline_ms <= ctx.now_ms() {
        ctx.delete_expired(key)?
    } else {
        let effect = Effect::Expire {
            key,
            deadline_ms: Some(deadline_ms),
        };
        ctx.apply(effect, Event::generic("expire"))?
    };
    ctx.reply.integer(i64::from(is_changed));
    Ok(())
}

fn persist(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let key = args.at(1);
    let found = ctx.keyspace().peek(key, |view| view.deadline_ms());
    let is_changed = if found.flatten().is_some() {
        let effect = Effect::Expire {
            key,
            deadline_ms: None,
        };
        ctx.apply(effect, Event::generic("persist"))?
    } else {
        false
    };
    ctx.reply.integer(i64::from(is_changed));
    Ok(())
}

fn ttl(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    tell_deadline(ctx, args, SECONDS)
}

fn pttl(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    tell_deadline(ctx, args, MILLISECONDS)
}

fn expiretime(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    tell_deadline(ctx, args, UNIX_SECONDS)
}

fn pexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    tell_deadline(ctx, args, UNIX_MILLISECONDS)
}

fn tell_deadline(ctx: &mut Context<'_>, args: Args<'_>, unit: TimeUnit) -> CommandResult {
    let found = ctx.keyspace().peek(args.at(1), |view| view.deadline_ms());
    let number = match found {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline_ms)) => {
            let start_ms = if unit.absolute { 0 } else { ctx.now_ms() };
            let ms = deadline_ms.saturating_sub(start_ms);
            let number = if unit.seconds { (ms + 500) / 1000 } else { ms };
            number.cast_signed()
        }
    };
    ctx.reply.integer(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Condition;

    #[test]
    fn never_is_later_than_any_time() {
        let cases = [
            (Condition::empty(), None, true),
            (Condition::NONE_BEFORE, None, true),
            (Condition::NONE_BEFORE, Some(5), false),
            (Condition::SOME_BEFORE, None, false),
            (Condition::SOME_BEFORE, Some(5), true),
            (Condition::LATER, None, false),
            (Condition::LATER, Some(10), false),
            (Condition::LATER, Some(9), true),
            (Condition::EARLIER, None, true),
            (Condition::EARLIER, Some(10), false),
            (Condition::EARLIER, Some(11), true),
            (
                Condition::SOME_BEFORE.union(Condition::EARLIER),
                None,
                false,
            ),
            (
                Condition::SOME_BEFORE.union(Condition::LATER),
                Some(9),
                true,
            ),
        ];
        for (condition, old_ms, expected) in cases {
            assert_eq!(
                condition.allows(old_ms, 10),
                expected,
                "{condition:?} {old_ms:?}"
            );
        }
    }
}
