//! `docs/commands.md`, written from the table of commands.

use crate::command::{Command, Entry, Group, table};
use std::fmt::Write;

/// Groups in the order of the page.
const GROUPS: &[(Group, &str)] = &[
    (Group::String, "Strings"),
    (Group::Bitmap, "Bits of strings"),
    (Group::Hash, "Hashes"),
    (Group::Generic, "Keys of any type"),
    (Group::Transactions, "Transactions"),
    (Group::Pubsub, "Publish and subscribe"),
    (Group::Connection, "Connections"),
    (Group::Server, "Server"),
    (Group::Cluster, "Clusters"),
];

const HEAD: &str = "\
# Commands

Every command of Redis' protocol that `nuthatch serve` knows, with its arguments, what it does and what
it costs. `COMMAND DOCS` tells the same to clients. Arguments in `[]` may be left out, `|` separates
alternatives, `...` repeats what stands before it. Replies and errors are those of Redis 7.4 and Valkey 9.

This page is written by `nuthatch commands`.
";

/// What Redis has and this server does not, and why.
const ABSENT: &[(&str, &str)] = &[
    (
        "Lists, sets, sorted sets, streams, geo indexes, HyperLogLogs (`LPUSH`, `SADD`, `ZADD`, `XADD`, \
         `GEOADD`, `PFADD` and their families)",
        "This is a cache of strings and hashes. The types may come where caches use them.",
    ),
    (
        "Blocking commands (`BLPOP`, `BZPOPMIN`, `XREAD BLOCK` and others)",
        "There is nothing to wait for: they belong to the types above.",
    ),
    (
        "Scripts and functions (`EVAL`, `EVALSHA`, `SCRIPT`, `FCALL`, `FUNCTION`)",
        "None yet. Transactions with `WATCH`, `SET` with conditions and `DELIFEQ` cover what most \
         scripts of caches do.",
    ),
    (
        "Several databases (`SWAPDB`, `MOVE`, `SELECT` of others than 0)",
        "One keyspace. Prefixes of keys and users' key patterns keep applications apart.",
    ),
    (
        "Replication and failover (`REPLICAOF`, `PSYNC`, `FAILOVER`); `WAIT` answers 0",
        "The server stands alone; `ROLE` and `INFO replication` say so.",
    ),
    (
        "Cluster commands; `CLUSTER INFO` and its siblings answer that this is no cluster",
        "The server stands alone.",
    ),
    (
        "`SAVE`, `BGSAVE`, `BGREWRITEAOF` answer an error; `LASTSAVE` tells the start",
        "Nothing is kept on disk, and a success would be a lie.",
    ),
    (
        "Modules (`MODULE`)",
        "None can be loaded, so whatever runs was built and tested as a whole.",
    ),
    (
        "`SORT`, `MIGRATE`, `DEBUG` beyond what its help names",
        "They need the above, or are tools of Redis' own makers.",
    ),
];

/// What is answered otherwise than a user of Redis would expect.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "`used_memory` in `INFO`",
        "What the process held when it started, and the part of the rest of `maxmemory` that the keys fill: \
         near the resident set of a server without keys, and `maxmemory` when the next key evicts another. \
         `maxmemory` bounds the resident set, `used_memory_rss`; `used_memory_dataset` is what the keys take.",
    ),
    (
        "`avg_ttl` in `INFO keyspace`",
        "Always 0, Redis' own word for not known; `expires` is exact, keys that have expired and were not \
         removed yet among them, as in Redis.",
    ),
    (
        "`OBJECT FREQ`, `OBJECT IDLETIME`",
        "The errors that Redis answers where its policy does not keep the number. No policy here does: an \
         entry has one byte for the policy, which no policy makes a count of all uses or a time.",
    ),
    (
        "`MONITOR` and `CLIENT PAUSE` beside clients of memcached",
        "Their requests are shown as the commands of Redis that do the same to the same keys, one a key, \
         without what those have no words for, such as flags; and wait when those would. A value that is \
         refused for its size removes the one that it was to replace also in a pause.",
    ),
    (
        "The size of memcached's items",
        "Bounded by `proto-max-bulk-len`, as Redis' values are, and not by memcached's 1 MB.",
    ),
];

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (group, title) in GROUPS {
        let entries = table().entries().iter();
        let mut entries: Vec<&Entry> = entries
            .filter(|entry| entry.command.group == *group && is_told(entry))
            .collect();
        if entries.is_empty() {
            continue;
        }
        entries.sort_by(|one, other| one.full_name.cmp(&other.full_name));
        write!(
            page,
            "\n## {title}\n\n| command | what it does | cost | since |\n|---|---|---|---|\n"
        )
        .expect("a string takes what is written to it");
        for entry in entries {
            page += &row(entry);
        }
    }
    page += "\n## Where answers differ\n\n| what | how |\n|---|---|\n";
    for (what, how) in DIFFERENT {
        page += &format!("| {what} | {how} |\n");
    }
    page += "\n## Absent on purpose\n\nA command that is absent is answered with `ERR unknown \
             command`.\n\n| what | why |\n|---|---|\n";
    for (what, why) in ABSENT {
        page += &format!("| {what} | {why} |\n");
    }
    page
}

/// Containers are told by their subcommands, and all `HELP`s are alike.
fn is_told(entry: &Entry) -> bool {
    let is_container = !entry.subcommands.is_empty() && entry.command.arity == -2;
    !is_container && !entry.full_name.ends_with("|help")
}

fn row(entry: &Entry) -> String {
    let Command {
        syntax,
        summary,
        complexity,
        since,
        ..
    } = entry.command;
    let name = entry.full_name.replace('|', " ").to_uppercase();
    let call = format!("{name} {syntax}");
    // A bar would end the cell.
    let call = call.trim_end().replace('|', "\\|");
    format!("| `{call}` | {summary} | {complexity} | {since} |\n")
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, is_told, page};
    use crate::command::table;

    #[test]
    fn every_command_is_on_the_page() {
        let page = page();
        for entry in table().entries().iter().filter(|entry| is_told(entry)) {
            let name = entry.full_name.replace('|', " ").to_uppercase();
            assert!(page.contains(&format!("| `{name}")), "{name}");
            assert!(
                GROUPS
                    .iter()
                    .any(|(group, _)| *group == entry.command.group),
                "{name}"
            );
        }
    }
}
