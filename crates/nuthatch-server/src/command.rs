//! The table of commands: each declared once, with name, arity, flags, categories, positions of its
//! keys, documentation and handler.
//!
//! Dispatch, errors of arity, locks, permissions, `COMMAND` and `docs/commands.md` all follow from it.
//! A family of commands is one file in `command/` with a list of [`Command`]s; `FAMILIES` names them.

mod access;
mod acl;
mod arguments;
mod bits;
mod catalog;
mod clients;
mod cluster;
mod connection;
mod counters;
mod debug;
mod durability;
mod expiry;
mod hashes;
mod keys;
mod lcs;
mod object;
mod pubsub;
mod server;
mod settings;
mod slowlog;
mod strings;
mod syntax;
mod transactions;

pub use access::{
    Access, CREATES, DELETES, INSERTS, OVERWRITES, READS, READS_AND_DELETES, READS_AND_UPDATES,
    REMOVES, UPDATES,
};
pub use arguments::{Options, TimeUnit, deadline_ms, float, integer, is_word};
pub use clients::client_line;
pub(crate) use connection::authenticate;

use crate::context::Context;
use crate::error::CommandResult;
use hashbrown::HashMap;
use nuthatch_wire::resp::Args;
use std::sync::LazyLock;

/// All families, in the order of the documentation.
const FAMILIES: &[&[Command]] = &[
    strings::COMMANDS,
    counters::COMMANDS,
    lcs::COMMANDS,
    bits::COMMANDS,
    keys::COMMANDS,
    expiry::COMMANDS,
    object::COMMANDS,
    hashes::COMMANDS,
    connection::COMMANDS,
    cluster::COMMANDS,
    catalog::COMMANDS,
    server::COMMANDS,
    durability::COMMANDS,
    settings::COMMANDS,
    acl::COMMANDS,
    clients::COMMANDS,
    slowlog::COMMANDS,
    debug::COMMANDS,
    transactions::COMMANDS,
    pubsub::COMMANDS,
];

/// Runs a command. What it writes to the context's reply is dropped if it returns an error.
pub type Handler = fn(&mut Context<'_>, Args<'_>) -> CommandResult;

bitflags::bitflags! {
    /// What is to be known of a command before it runs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// It may change keys.
        const WRITE = 1;
        /// It reads keys and changes none.
        const READONLY = 1 << 1;
        /// It may take more memory, so it is turned away when there is none.
        const DENYOOM = 1 << 2;
        /// It is for administrators.
        const ADMIN = 1 << 3;
        /// It has to do with publishing and subscribing.
        const PUBSUB = 1 << 4;
        /// It takes constant or logarithmic time.
        const FAST = 1 << 5;
        /// It runs before a client has authenticated.
        const NO_AUTH = 1 << 6;
        /// It is not queued by an open transaction but runs at once.
        const NO_QUEUE = 1 << 7;
        /// It must not be part of a transaction.
        const NO_MULTI = 1 << 8;
        /// It is not shown to monitors.
        const SKIP_MONITOR = 1 << 9;
        /// It is not kept in the slow log.
        const SKIP_SLOWLOG = 1 << 10;
        /// It must not be called by scripts.
        const NOSCRIPT = 1 << 11;
        /// It may run while data is loaded.
        const LOADING = 1 << 12;
        /// It may run where data is stale.
        const STALE = 1 << 13;
        /// A client that has subscribed may call it in version 2 too.
        const WHILE_SUBSCRIBED = 1 << 14;
        /// It has to do with every key, so nothing else may write meanwhile.
        const ALL_KEYS = 1 << 15;
        /// Clients that only reads are paused for may call it.
        const MAY_REPLICATE = 1 << 16;
        /// Its keys' values are not looked at: existence is all that it tells.
        const NO_LOOK = 1 << 17;
        /// Its calls take so little time that timing them all would cost as much; as those with FAST.
        const TIMED_SOMETIMES = 1 << 19;
        /// Where its keys stand depends on its arguments.
        const MOVABLE_KEYS = 1 << 18;
    }
}

bitflags::bitflags! {
    /// Categories of permissions besides those that flags imply.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Categories: u32 {
        /// Keys of any type.
        const KEYSPACE = 1;
        /// Reads.
        const READ = 1 << 1;
        /// Writes.
        const WRITE = 1 << 2;
        /// Sets.
        const SET = 1 << 3;
        /// Sorted sets.
        const SORTEDSET = 1 << 4;
        /// Lists.
        const LIST = 1 << 5;
        /// Hashes.
        const HASH = 1 << 6;
        /// Strings.
        const STRING = 1 << 7;
        /// Bits of strings.
        const BITMAP = 1 << 8;
        /// Cardinality estimates.
        const HYPERLOGLOG = 1 << 9;
        /// Places.
        const GEO = 1 << 10;
        /// Streams.
        const STREAM = 1 << 11;
        /// Publishing and subscribing.
        const PUBSUB = 1 << 12;
        /// Administration.
        const ADMIN = 1 << 13;
        /// Constant or logarithmic time.
        const FAST = 1 << 14;
        /// More.
        const SLOW = 1 << 15;
        /// Waiting for others.
        const BLOCKING = 1 << 16;
        /// What may cost a server its health.
        const DANGEROUS = 1 << 17;
        /// Connections.
        const CONNECTION = 1 << 18;
        /// Transactions.
        const TRANSACTION = 1 << 19;
        /// Scripts.
        const SCRIPTING = 1 << 20;
    }
}

impl Flags {
    /// The flags that Redis has too, by its names.
    const NAMES: [(Self, &'static str); 15] = [
        (Self::WRITE, "write"),
        (Self::READONLY, "readonly"),
        (Self::DENYOOM, "denyoom"),
        (Self::ADMIN, "admin"),
        (Self::PUBSUB, "pubsub"),
        (Self::NOSCRIPT, "noscript"),
        (Self::LOADING, "loading"),
        (Self::STALE, "stale"),
        (Self::SKIP_MONITOR, "skip_monitor"),
        (Self::SKIP_SLOWLOG, "skip_slowlog"),
        (Self::FAST, "fast"),
        (Self::NO_AUTH, "no_auth"),
        (Self::MAY_REPLICATE, "may_replicate"),
        (Self::NO_MULTI, "no_multi"),
        (Self::MOVABLE_KEYS, "movablekeys"),
    ];
}

impl Categories {
    const NAMES: [(Self, &'static str); 21] = [
        (Self::KEYSPACE, "keyspace"),
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::SET, "set"),
        (Self::SORTEDSET, "sortedset"),
        (Self::LIST, "list"),
        (Self::HASH, "hash"),
        (Self::STRING, "string"),
        (Self::BITMAP, "bitmap"),
        (Self::HYPERLOGLOG, "hyperloglog"),
        (Self::GEO, "geo"),
        (Self::STREAM, "stream"),
        (Self::PUBSUB, "pubsub"),
        (Self::ADMIN, "admin"),
        (Self::FAST, "fast"),
        (Self::SLOW, "slow"),
        (Self::BLOCKING, "blocking"),
        (Self::DANGEROUS, "dangerous"),
        (Self::CONNECTION, "connection"),
        (Self::TRANSACTION, "transaction"),
        (Self::SCRIPTING, "scripting"),
    ];

    /// The names of these categories, without `@`.
    pub fn names(self) -> impl ExactSizeIterator<Item = &'static str> + use<> {
        let names: Vec<_> = Self::NAMES
            .iter()
            .filter(|(category, _)| self.contains(*category))
            .map(|(_, name)| *name)
            .collect();
        names.into_iter()
    }

    /// The category of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let found = Self::NAMES
            .iter()
            .find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(category, _)| *category)
    }
}

/// Where a command's keys stand among its arguments; the name is argument 0.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// Nowhere.
    None,
    /// From `first` to `last`, every `step`; a negative `last` counts from the end.
    Range {
        /// The first key.
        first: usize,
        /// The last key.
        last: isize,
        /// From one key to the next.
        step: usize,
    },
    /// The argument at `count` says how many keys follow it, every `step`.
    Counted {
        /// Where the number stands.
        count: usize,
        /// From one key to the next.
        step: usize,
    },
}

/// One key, argument 1.
pub const ONE_KEY: Keys = Keys::Range {
    first: 1,
    last: 1,
    step: 1,
};

/// Keys from argument 1 to the end.
pub const ALL_ARGS: Keys = Keys::Range {
    first: 1,
    last: -1,
    step: 1,
};

impl Keys {
    /// The positions of the keys among `args`; none beyond the end.
    pub fn positions(self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let (first, end, step) = match self {
            Self::None => (0, 0, 1),
            Self::Range { first, last, step } => {
                let end = if last < 0 {
                    args.len().saturating_sub(last.unsigned_abs() - 1)
                } else {
                    args.len().min(last.unsigned_abs() + 1)
                };
                (first, end, step)
            }
            Self::Counted { count, step } => {
                let keys = args.get(count).and_then(nuthatch_wire::number::parse_u64);
                let keys = usize::try_from(keys.unwrap_or(0)).unwrap_or(usize::MAX);
                let first = count + 1;
                let end = first.saturating_add(keys.saturating_mul(step));
                (first, end.min(args.len()), step)
            }
        };
        (first..end.max(first)).step_by(step)
    }
}

/// A group of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Strings.
    String,
    /// Bits of strings.
    Bitmap,
    /// Keys of any type.
    Generic,
    /// Hashes.
    Hash,
    /// Transactions.
    Transactions,
    /// Publishing and subscribing.
    Pubsub,
    /// Connections.
    Connection,
    /// The server.
    Server,
    /// Clusters.
    Cluster,
}

impl Group {
    /// The name that `COMMAND DOCS` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Generic => "generic",
            Self::Hash => "hash",
            Self::Transactions => "transactions",
            Self::Pubsub => "pubsub",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }
}

/// A command, as declared.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, lower case; a subcommand's without its command's.
    pub name: &'static str,
    /// The number of its arguments, names included; at least that many if negative.
    pub arity: i8,
    /// What it does.
    pub handler: Handler,
    /// What is to be known of it before it runs.
    pub flags: Flags,
    /// Categories of permissions, besides those that flags imply.
    pub categories: Categories,
    /// Where its keys stand.
    pub keys: Keys,
    /// What it does to its first key and to its others, if its flags do not say.
    pub access: Option<(Access, Access)>,
    /// What clients of a cluster should know, in Redis' words.
    pub tips: &'static [&'static str],
    /// The group of the documentation that it belongs to.
    pub group: Group,
    /// Its arguments, as documented.
    pub syntax: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// The version of Redis or Valkey that had it first.
    pub since: &'static str,
    /// Commands that its first argument names.
    pub subcommands: &'static [Command],
}

impl Command {
    /// A command without keys, flags or documentation, which the methods below add.
    pub const fn new(name: &'static str, arity: i8, handler: Handler) -> Self {
        Self {
            name,
            arity,
            handler,
            flags: Flags::empty(),
            categories: Categories::empty(),
            keys: Keys::None,
            access: None,
            tips: &[],
            group: Group::Generic,
            syntax: "",
            summary: "",
            complexity: "O(1)",
            since: "1.0.0",
            subcommands: &[],
        }
    }

    /// A name that subcommands follow.
    pub const fn container(name: &'static str, subcommands: &'static [Command]) -> Self {
        let mut command = Self::new(name, -2, no_subcommand);
        command.subcommands = subcommands;
        command
    }

    /// With commands that its first argument may name; without one, the command itself is called.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// With these flags.
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = self.flags.union(flags);
        self
    }

    /// In these categories too.
    pub const fn categories(mut self, categories: Categories) -> Self {
        self.categories = self.categories.union(categories);
        self
    }

    /// With keys there.
    pub const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// Does this to its keys.
    pub const fn access(self, access: Access) -> Self {
        self.accesses(access, access)
    }

    /// Does one thing to its first key and another to its others.
    pub const fn accesses(mut self, first: Access, others: Access) -> Self {
        self.access = Some((first, others));
        self
    }

    /// With these tips for clients of a cluster.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// Its place in the documentation: group, first version, arguments and a sentence.
    pub const fn docs(
        mut self,
        group: Group,
        since: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Self {
        self.group = group;
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    /// In this group, since this version: for a command whose other documentation stands elsewhere.
    pub const fn group(mut self, group: Group, since: &'static str) -> Self {
        self.group = group;
        self.since = since;
        self
    }

    /// What it costs, if not O(1).
    pub const fn complexity(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    /// Whether so many arguments are right.
    #[inline]
    pub fn takes(&self, args: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 {
            args >= wanted
        } else {
            args == wanted
        }
    }

    /// The names of its flags, as `COMMAND` prints them.
    pub fn flag_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = Flags::NAMES
            .iter()
            .filter(|(flag, _)| self.flags.contains(*flag))
            .map(|(_, name)| *name)
            .collect();
        if self.categories.contains(Categories::BLOCKING) {
            names.push("blocking");
        }
        if matches!(self.keys, Keys::Counted { .. }) && !self.flags.contains(Flags::MOVABLE_KEYS) {
            names.push("movablekeys");
        }
        names
    }

    /// All categories, those that flags imply included.
    pub fn all_categories(&self) -> Categories {
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::READONLY, Categories::READ),
            (Flags::ADMIN, Categories::ADMIN.union(Categories::DANGEROUS)),
            (Flags::PUBSUB, Categories::PUBSUB),
            (Flags::FAST, Categories::FAST),
        ];
        let mut categories = self.categories;
        for (flag, category) in implied {
            if self.flags.contains(flag) {
                categories |= category;
            }
        }
        if !self.flags.contains(Flags::FAST) {
            categories |= Categories::SLOW;
        }
        categories
    }
}

/// The subcommand that prints its container's others; [`Command::group`] says where it belongs.
const HELP: Command = Command::new("help", 2, help)
    .flags(Flags::LOADING.union(Flags::STALE))
    .docs(Group::Generic, "5.0.0", "", "Prints this help.");

/// Prints the subcommands of the container that was called, two lines each.
fn help(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let table = table();
    let container = table.find(args.at(0)).expect("a subcommand's container");
    let name = container.command.name.to_uppercase();
    ctx.reply.array(1 + 2 * container.subcommands.len());
    ctx.reply.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    let subcommands = container.subcommands.iter().map(|&id| table.entry(id));
    for command in subcommands.map(|entry| entry.command) {
        let line = format!("{} {}", command.name.to_uppercase(), command.syntax);
        ctx.reply.simple(line.trim_end());
        ctx.reply.simple(&format!("    {}", command.summary));
    }
    Ok(())
}

/// Containers are never called: dispatch goes to their subcommands or answers an error.
fn no_subcommand(_: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    Err("ERR unknown subcommand".into())
}

/// A command in the table.
#[derive(Debug)]
pub struct Entry {
    /// Its number: its place among all commands, by which statistics are kept.
    pub id: u32,
    /// Its full name: `get`, `client|list`.
    pub full_name: String,
    /// As declared.
    pub command: &'static Command,
    /// The numbers of its subcommands.
    pub subcommands: Vec<u32>,
    /// Whether it changes or reads one key, argument 1, and no other.
    pub is_single_key: bool,
}

/// All commands, found by name.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// By full name, lower case.
    by_name: HashMap<Vec<u8>, u32, foldhash::fast::FixedState>,
}

/// Names are short; what is longer is no command.
const MAX_NAME_BYTES: usize = 32;

impl Table {
    fn new() -> Self {
        let mut table = Self {
            entries: Vec::new(),
            by_name: HashMap::default(),
        };
        for command in FAMILIES.iter().copied().flatten() {
            let id = table.add(command, command.name.to_owned());
            let subcommands = command
                .subcommands
                .iter()
                .map(|sub| table.add(sub, format!("{}|{}", command.name, sub.name)))
                .collect();
            table.entries[id as usize].subcommands = subcommands;
        }
        table
    }

    fn add(&mut self, command: &'static Command, full_name: String) -> u32 {
        let id = self.entries.len() as u32;
        let before = self.by_name.insert(full_name.clone().into_bytes(), id);
        assert!(before.is_none(), "{full_name} is declared once");
        let is_single_key = matches!(
            command.keys,
            Keys::Range {
                first: 1,
                last: 1,
                step: 1
            }
        );
        self.entries.push(Entry {
            id,
            full_name,
            command,
            subcommands: Vec::new(),
            is_single_key,
        });
        id
    }

    /// All commands, subcommands after their container.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The command with this number.
    pub fn entry(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    /// The command of this name, in any case; a subcommand's is `client|list`.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let mut lower = [0; MAX_NAME_BYTES];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let id = *self.by_name.get(&*lower)?;
        Some(self.entry(id))
    }

    /// The command that a request calls, whatever the number of its arguments; a container that is
    /// called without a subcommand is found itself.
    pub fn resolve(&self, args: Args<'_>) -> Option<&Entry> {
        let name = args.get(0)?;
        let entry = self.find(name).filter(|_| !name.contains(&b'|'))?;
        match args.get(1) {
            Some(sub) if !entry.subcommands.is_empty() => self.find_subcommand(entry, sub),
            _ => Some(entry),
        }
    }

    /// The subcommand of `container` that is called `name`, in any case.
    pub fn find_subcommand(&self, container: &Entry, name: &[u8]) -> Option<&Entry> {
        container
            .subcommands
            .iter()
            .map(|&id| self.entry(id))
            .find(|entry| entry.command.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The table of this program.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(Table::new);
    &TABLE
}

#[cfg(test)]
mod tests {
    use super::{Flags, Keys, table};
    use nuthatch_wire::resp::OwnedRequest;

    #[test]
    fn every_command_is_declared_whole() {
        for entry in table().entries() {
            let command = entry.command;
            let name = &entry.full_name;
            assert_eq!(*name, name.to_lowercase());
            assert_ne!(command.arity, 0, "{name}");
            let changes = command.flags.contains(Flags::WRITE);
            assert!(
                !changes || !command.flags.contains(Flags::READONLY),
                "{name}"
            );
            if command.subcommands.is_empty() {
                assert!(!command.summary.is_empty(), "{name} has no summary");
            }
            if let Keys::Range { first, step, .. } = command.keys {
                assert!(first > 0 && step > 0, "{name}");
                assert!(
                    command
                        .flags
                        .intersects(Flags::WRITE | Flags::READONLY | Flags::NO_MULTI),
                    "{name} has keys and neither reads nor writes them"
                );
            }
        }
    }

    #[test]
    fn commands_are_found_in_any_case() {
        assert_eq!(table().find(b"GeT").unwrap().full_name, "get");
        assert!(table().find(b"no-such-command").is_none());
        assert!(table().find(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn positions_of_keys_are_those_declared() {
        let positions = |keys: Keys, words: &[&[u8]]| {
            let request = OwnedRequest::new(words.iter().copied());
            keys.positions(request.args()).collect::<Vec<_>>()
        };
        let words: &[&[u8]] = &[b"mset", b"a", b"1", b"b", b"2"];
        let pairs = Keys::Range {
            first: 1,
            last: -1,
            step: 2,
        };
        assert_eq!(positions(pairs, words), [1, 3]);
        assert_eq!(positions(super::ALL_ARGS, words), [1, 2, 3, 4]);
        assert_eq!(positions(super::ONE_KEY, words), [1]);
        assert!(positions(super::ONE_KEY, &[b"get"]).is_empty());
        let counted: &[&[u8]] = &[b"x", b"2", b"a", b"b", b"c"];
        let after_count = |step| Keys::Counted { count: 1, step };
        assert_eq!(positions(after_count(1), counted), [2, 3]);
        assert_eq!(positions(after_count(2), counted), [2, 4]);
        let lying: &[&[u8]] = &[b"x", b"99999999999999", b"a"];
        assert_eq!(positions(after_count(1), lying), [2]);
    }
}
