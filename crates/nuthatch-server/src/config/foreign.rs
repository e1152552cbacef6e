//! Settings of Redis that this server does not have, but that its clients set and ask for.
//!
//! Of some, one value is the truth here (`appendonly no`): asking gives it, setting it is taken, and
//! setting another is an error. Others tune how Redis works inside, some of them for types that are not
//! here, and change no answer: they are taken and told again, and have no effect. Everything else is unknown.

/// What may be done with such a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It has this one value.
    Only,
    /// It takes any value, without effect.
    NoEffect,
}

/// A setting that the server does not have.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Redis' name.
    pub name: &'static str,
    /// The value, or the one at the start.
    pub value: &'static str,
    /// What may be done with it.
    pub rule: Rule,
}

const fn only(name: &'static str, value: &'static str) -> Foreign {
    Foreign {
        name,
        value,
        rule: Rule::Only,
    }
}

const fn no_effect(name: &'static str, value: &'static str) -> Foreign {
    Foreign {
        name,
        value,
        rule: Rule::NoEffect,
    }
}

/// All of them, by name.
pub const FOREIGN: &[Foreign] = &[
    only("acl-pubsub-default", "resetchannels"),
    no_effect("activedefrag", "no"),
    no_effect("activerehashing", "yes"),
    only("cluster-enabled", "no"),
    only("daemonize", "no"),
    no_effect("dynamic-hz", "yes"),
    no_effect("hll-sparse-max-bytes", "3000"),
    no_effect("hz", "10"),
    no_effect("lazyfree-lazy-eviction", "yes"),
    no_effect("lazyfree-lazy-expire", "yes"),
    no_effect("lazyfree-lazy-server-del", "yes"),
    no_effect("lazyfree-lazy-user-del", "yes"),
    no_effect("lazyfree-lazy-user-flush", "yes"),
    no_effect("list-compress-depth", "0"),
    no_effect("list-max-listpack-size", "-2"),
    only("maxmemory-clients", "0"),
    no_effect("maxmemory-samples", "5"),
    no_effect("min-io-threads-avoid-copy-reply", "7"),
    no_effect("min-string-size-avoid-copy-reply", "16384"),
    no_effect("min-string-size-avoid-copy-reply-threaded", "65536"),
    no_effect("prefetch-batch-max-size", "16"),
    only("replicaof", ""),
    no_effect("set-max-intset-entries", "512"),
    no_effect("set-max-listpack-entries", "128"),
    no_effect("set-max-listpack-value", "64"),
    only("slaveof", ""),
    no_effect("stream-node-max-bytes", "4096"),
    no_effect("stream-node-max-entries", "100"),
    no_effect("zset-max-listpack-entries", "128"),
    no_effect("zset-max-listpack-value", "64"),
];

/// Old names of settings, and today's.
pub const ALIASES: &[(&str, &str)] = &[
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
];

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|foreign| foreign.name == name)
}

#[cfg(test)]
mod tests {
    use super::{ALIASES, FOREIGN};
    use crate::config::info;

    #[test]
    fn no_name_is_both_ours_and_foreign() {
        assert!(FOREIGN.is_sorted_by_key(|foreign| foreign.name));
        for foreign in FOREIGN {
            assert!(info(foreign.name).is_err(), "{}", foreign.name);
        }
        for (old, new) in ALIASES {
            assert!(info(old).is_err() && info(new).is_ok(), "{old}");
        }
    }
}
