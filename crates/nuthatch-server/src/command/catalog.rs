//! `COMMAND`: the table of commands, told to clients.

use super::access::Access;
use super::syntax::{self, Argument};
use super::{Categories, Command, Entry, Flags, Group, HELP, Keys, is_word, table};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::glob;
use nuthatch_wire::resp::{Args, Reply};

const FLAGS: Flags = Flags::LOADING.union(Flags::STALE);

const fn command(name: &'static str, arity: i8, handler: super::Handler) -> Command {
    Command::new(name, arity, handler)
        .flags(FLAGS)
        .categories(Categories::CONNECTION)
}

/// A tip: the order of what is told means nothing.
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];

pub(super) const COMMANDS: &[Command] = &[command("command", -1, list_whole)
    .subcommands(&[
        command("count", 2, count).docs(
            Group::Server,
            "2.8.13",
            "",
            "Returns the number of commands.",
        ),
        command("docs", -2, docs)
            .complexity("O(N) for N commands")
            .tips(ANY_ORDER)
            .docs(
                Group::Server,
                "7.0.0",
                "[command-name [command-name ...]]",
                "Returns the documentation of commands.",
            ),
        command("getkeys", -3, getkeys)
            .complexity("O(N) for N arguments")
            .docs(
                Group::Server,
                "2.8.13",
                "command [arg ...]",
                "Returns the keys of a request.",
            ),
        command("getkeysandflags", -3, getkeysandflags)
            .complexity("O(N) for N arguments")
            .docs(
                Group::Server,
                "7.0.0",
                "command [arg ...]",
                "Returns the keys of a request and what it does to each.",
            ),
        command("info", -2, info)
            .complexity("O(N) for N commands")
            .tips(ANY_ORDER)
            .docs(
                Group::Server,
                "2.8.13",
                "[command-name [command-name ...]]",
                "Returns what the table says of commands.",
            ),
        command("list", -2, list)
            .complexity("O(N) for N commands")
            .tips(ANY_ORDER)
            .docs(
                Group::Server,
                "7.0.0",
                "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
                "Returns the names of commands.",
            ),
        HELP.group(Group::Server, "5.0.0")
            .categories(Categories::CONNECTION),
    ])
    .complexity("O(N) for N commands")
    .tips(ANY_ORDER)
    .docs(
        Group::Server,
        "2.8.13",
        "",
        "Returns what the table says of all commands.",
    )];

/// The commands that no container holds.
fn top_level() -> impl Iterator<Item = &'static Entry> + Clone {
    let is_top = |entry: &&Entry| !entry.full_name.contains('|');
    table().entries().iter().filter(is_top)
}

fn list_whole(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.array(top_level().count());
    for entry in top_level() {
        describe(ctx.reply, entry);
    }
    Ok(())
}

fn count(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.integer(top_level().count() as i64);
    Ok(())
}

fn info(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if args.len() == 2 {
        return list_whole(ctx, args);
    }
    let names = args.from(2).iter();
    ctx.reply.array(names.len());
    for name in names {
        match table().find(name) {
            Some(entry) => describe(ctx.reply, entry),
            None => ctx.reply.null_array(),
        }
    }
    Ok(())
}

fn bulks(reply: &mut Reply, texts: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) {
    for text in texts {
        reply.bulk(text.as_ref());
    }
}

/// The ten fields of a command in `COMMAND INFO`.
fn describe(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(command.arity.into());
    let flags = command.flag_names();
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
    };
    for number in [first, last, step] {
        reply.integer(number);
    }
    let categories = command.all_categories().names();
    reply.set(categories.len());
    for category in categories {
        reply.simple(&format!("@{category}"));
    }
    reply.set(command.tips.len());
    bulks(reply, command.tips.iter());
    describe_keys(reply, command);
    reply.array(entry.subcommands.len());
    for &id in &entry.subcommands {
        describe(reply, table().entry(id));
    }
}

/// Where keys are found that are treated alike.
enum Search {
    /// Up to `last` (from the first, or from the end if negative), every `step`.
    Range { last: i64, step: i64 },
    /// As many as the argument at the beginning says, every `step`.
    Counted { step: i64 },
}

fn describe_keys(reply: &mut Reply, command: &Command) {
    let (first, rest) = command.declared_access();
    match command.keys {
        Keys::None => reply.set(0),
        Keys::Counted { count, step } => {
            reply.set(1);
            let step = step as i64;
            describe_key(reply, first, count, &Search::Counted { step });
        }
        Keys::Range {
            first: start,
            last,
            step,
        } => {
            let step = step as i64;
            // In a specification the last key is counted from the first one.
            let last = if last < 0 {
                last as i64
            } else {
                last as i64 - start as i64
            };
            if first == rest || last == 0 {
                reply.set(1);
                describe_key(reply, first, start, &Search::Range { last, step });
                return;
            }
            reply.set(2);
            describe_key(reply, first, start, &Search::Range { last: 0, step });
            let last = if last < 0 { last } else { last - step };
            let start = start + step as usize;
            describe_key(reply, rest, start, &Search::Range { last, step });
        }
    }
}

fn describe_key(reply: &mut Reply, access: Access, start: usize, search: &Search) {
    reply.map(3);
    reply.bulk(b"flags");
    let names = access.names();
    reply.set(names.len() + usize::from(access.contains(Access::VARIABLE)));
    for name in names {
        reply.simple(name);
    }
    if access.contains(Access::VARIABLE) {
        reply.simple("variable_flags");
    }
    let field = |reply: &mut Reply, name: &str, number: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    };
    let kind = |reply: &mut Reply, name: &str| {
        reply.bulk(b"type");
        reply.bulk(name.as_bytes());
        reply.bulk(b"spec");
    };
    reply.bulk(b"begin_search");
    reply.map(2);
    kind(reply, "index");
    reply.map(1);
    field(reply, "index", start as i64);
    reply.bulk(b"find_keys");
    reply.map(2);
    match *search {
        Search::Range { last, step } => {
            kind(reply, "range");
            reply.map(3);
            field(reply, "lastkey", last);
            field(reply, "keystep", step);
            field(reply, "limit", 0);
        }
        Search::Counted { step } => {
            kind(reply, "keynum");
            reply.map(3);
            field(reply, "keynumidx", 0);
            field(reply, "firstkey", 1);
            field(reply, "keystep", step);
        }
    }
}

fn docs(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if args.len() == 2 {
        ctx.reply.map(top_level().count());
        for entry in top_level() {
            document(ctx.reply, entry);
        }
        return Ok(());
    }
    let found: Vec<_> = args
        .from(2)
        .iter()
        .filter_map(|name| table().find(name))
        .collect();
    ctx.reply.map(found.len());
    for entry in found {
        document(ctx.reply, entry);
    }
    Ok(())
}

/// A command's name and its documentation.
fn document(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    let arguments = syntax::arguments(command.syntax);
    reply.bulk(entry.full_name.as_bytes());
    let optional = usize::from(!arguments.is_empty()) + usize::from(!entry.subcommands.is_empty());
    reply.map(4 + optional);
    for (name, text) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        document_arguments(reply, &arguments);
    }
    if !entry.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for &id in &entry.subcommands {
            document(reply, table().entry(id));
        }
    }
}

fn document_arguments(reply: &mut Reply, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let is_key = argument.kind == syntax::Kind::Key;
        let is_compound = !argument.arguments.is_empty();
        let flags = [
            (argument.is_optional, "optional"),
            (argument.is_multiple, "multiple"),
        ];
        let flags: Vec<_> = flags.iter().filter(|(is_set, _)| *is_set).collect();
        reply.map(
            2 + usize::from(!is_compound)
                + usize::from(is_key)
                + usize::from(argument.token.is_some())
                + usize::from(!flags.is_empty())
                + usize::from(is_compound),
        );
        reply.bulk(b"name");
        reply.bulk(argument.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(argument.kind.name().as_bytes());
        if !is_compound {
            reply.bulk(b"display_text");
            reply.bulk(argument.name.as_bytes());
        }
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer(0);
        }
        if let Some(token) = &argument.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            for (_, flag) in flags {
                reply.simple(flag);
            }
        }
        if is_compound {
            reply.bulk(b"arguments");
            document_arguments(reply, &argument.arguments);
        }
    }
}

/// The keys of the request that follows two words, with what it does to each.
fn keys_of(args: Args<'_>) -> Result<Vec<(&[u8], Access)>, CommandError> {
    let request = args.from(2);
    let entry = table()
        .resolve(request)
        .ok_or("ERR Invalid command specified")?;
    if matches!(entry.command.keys, Keys::None) {
        return Err("ERR The command has no key arguments".into());
    }
    if !entry.command.takes(request.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let keys = entry.keys_and_access(request);
    Ok(keys
        .map(|(position, access)| (request.at(position), access))
        .collect())
}

fn getkeys(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys = keys_of(args)?;
    if keys.is_empty() {
        return Err("ERR Invalid arguments specified for command".into());
    }
    ctx.reply.array(keys.len());
    for (key, _) in keys {
        ctx.reply.bulk(key);
    }
    Ok(())
}

fn getkeysandflags(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let keys = keys_of(args)?;
    ctx.reply.array(keys.len());
    for (key, access) in keys {
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        let names = access.names();
        ctx.reply.set(names.len());
        for name in names {
            ctx.reply.simple(name);
        }
    }
    Ok(())
}

/// Which commands `COMMAND LIST` names.
enum Filter<'a> {
    All,
    Nothing,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn read(by: &[u8], value: &'a [u8]) -> Result<Self, CommandError> {
        if is_word(by, "MODULE") {
            // There are no modules, so nothing comes from one.
            Ok(Self::Nothing)
        } else if is_word(by, "ACLCAT") {
            Ok(Categories::named(value).map_or(Self::Nothing, Self::Category))
        } else if is_word(by, "PATTERN") {
            Ok(Self::Pattern(value))
        } else {
            Err(CommandError::Syntax)
        }
    }

    fn takes(&self, entry: &Entry) -> bool {
        match *self {
            Self::All => true,
            Self::Nothing => false,
            Self::Category(category) => entry.command.all_categories().contains(category),
            Self::Pattern(pattern) => {
                glob::matches_ignoring_case(pattern, entry.full_name.as_bytes())
            }
        }
    }
}

fn list(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let filter = match args.len() {
        2 => Filter::All,
        5 if is_word(args.at(2), "FILTERBY") => Filter::read(args.at(3), args.at(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let entries = table().entries().iter();
    let names: Vec<_> = entries
        .filter(|entry| filter.takes(entry))
        .map(|entry| entry.full_name.as_bytes())
        .collect();
    ctx.reply.array(names.len());
    bulks(ctx.reply, names.iter());
    Ok(())
}
