//! Which clients `CLIENT LIST` and `CLIENT KILL` are about: all those that every condition fits.

use super::line::{LETTERS, letters};
use crate::acl::Acl;
use crate::client::{Client, ClientFlags};
use crate::command::{integer, is_word};
use crate::error::CommandError;
use nuthatch_wire::number;
use nuthatch_wire::resp::Args;
use std::mem::discriminant;
use std::sync::atomic::Ordering;

/// The class that limits of output know a client by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Normal,
    Primary,
    Replica,
    Pubsub,
}

#[derive(Clone, Debug)]
enum Condition<'a> {
    Ids(Vec<i64>),
    Class(Class),
    Address(&'a [u8]),
    LocalAddress(&'a [u8]),
    Ip(&'a [u8]),
    User(&'a [u8]),
    Name(&'a [u8]),
    Library(&'a [u8]),
    LibraryVersion(&'a [u8]),
    Letters(&'a [u8]),
    Capabilities(&'a [u8]),
    Database(i64),
    MinAgeSeconds(i64),
    MinIdleSeconds(i64),
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Filter<'a> {
    /// Conditions, and whether each is to fit or not.
    conditions: Vec<(Condition<'a>, bool)>,
    /// Whether the client who asks is left out.
    skips_caller: bool,
}

impl<'a> Filter<'a> {
    /// The client at an address.
    pub(super) fn by_address(address: &'a [u8]) -> Self {
        Self {
            conditions: vec![(Condition::Address(address), true)],
            skips_caller: false,
        }
    }

    /// Reads the conditions from argument 2 on.
    pub(super) fn read(
        args: Args<'a>,
        skips_caller: bool,
        acl: &Acl,
    ) -> Result<Self, CommandError> {
        let mut filter = Self {
            conditions: Vec::new(),
            skips_caller,
        };
        let mut next = 2;
        while let Some(option) = args.get(next) {
            let name = option.to_ascii_lowercase();
            let (name, fits) = match name.strip_prefix(b"not-") {
                Some(name) => (name, false),
                None => (&*name, true),
            };
            if name == b"id" {
                let ids = args.from(next + 1).iter();
                let ids: Vec<i64> = ids.map_while(number::parse_i64).collect();
                if ids.iter().any(|id| *id < 1) {
                    return Err("ERR client-id should be greater than 0".into());
                }
                next += 1 + ids.len();
                filter.add_ids(ids, fits);
                continue;
            }
            let value = args.get(next + 1).ok_or(CommandError::Syntax)?;
            next += 2;
            if name == b"skipme" && fits {
                filter.skips_caller = yes_or_no(value)?;
                continue;
            }
            filter.set(condition(name, value, fits, acl)?, fits);
        }
        Ok(filter)
    }

    /// Adds a condition; of the same kind, the last one counts.
    fn set(&mut self, condition: Condition<'a>, fits: bool) {
        let kind = discriminant(&condition);
        self.conditions
            .retain(|(other, other_fits)| discriminant(other) != kind || *other_fits != fits);
        self.conditions.push((condition, fits));
    }

    /// Adds numbers of clients to those that are there.
    fn add_ids(&mut self, ids: Vec<i64>, fits: bool) {
        for (condition, other_fits) in &mut self.conditions {
            if let Condition::Ids(before) = condition
                && *other_fits == fits
            {
                before.extend(ids);
                return;
            }
        }
        self.conditions.push((Condition::Ids(ids), fits));
    }

    /// Whether a client is meant; `caller` is the one who asks.
    pub(super) fn matches(&self, client: &Client, caller: u64, now_ms: u64) -> bool {
        if self.skips_caller && client.id == caller {
            return false;
        }
        let names = client.names();
        let seconds_since = |then_ms: u64| (now_ms.saturating_sub(then_ms) / 1000).cast_signed();
        self.conditions.iter().all(|(condition, fits)| {
            let does_fit = match condition {
                Condition::Ids(ids) => ids.contains(&client.id.cast_signed()),
                Condition::Class(class) => class_of(client) == *class,
                Condition::Address(address) => client.address.as_bytes() == *address,
                Condition::LocalAddress(address) => client.local_address.as_bytes() == *address,
                Condition::Ip(ip) => ip_of(&client.address).as_bytes() == *ip,
                Condition::User(user) => names.user.as_bytes() == *user,
                Condition::Name(name) => !name.is_empty() && names.name.as_bytes() == *name,
                Condition::Library(name) => names.lib_name.as_bytes() == *name,
                Condition::LibraryVersion(version) => names.lib_version.as_bytes() == *version,
                Condition::Letters(wanted) => {
                    let letters = letters(client);
                    wanted
                        .iter()
                        .all(|letter| letters.as_bytes().contains(letter))
                }
                Condition::Capabilities(wanted) => {
                    let redirect = client.flags().contains(ClientFlags::CAPA_REDIRECT);
                    wanted.is_empty() || redirect
                }
                Condition::Database(database) => *database == 0,
                Condition::MinAgeSeconds(age) => seconds_since(client.connected_ms) >= *age,
                Condition::MinIdleSeconds(idle) => {
                    seconds_since(client.active_ms.load(Ordering::Relaxed)) >= *idle
                }
            };
            does_fit == *fits
        })
    }
}

fn yes_or_no(value: &[u8]) -> Result<bool, CommandError> {
    if is_word(value, "YES") {
        Ok(true)
    } else if is_word(value, "NO") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

fn condition<'a>(
    name: &[u8],
    value: &'a [u8],
    fits: bool,
    acl: &Acl,
) -> Result<Condition<'a>, CommandError> {
    let prefix = if fits { "" } else { "NOT-" };
    let shown = String::from_utf8_lossy(value);
    let known = |letters: &[char]| {
        let letters = |byte: &u8| letters.contains(&char::from(*byte));
        value.iter().all(letters)
    };
    let unknown = |what: &str| {
        let place = if fits {
            "the provided filter".to_owned()
        } else {
            format!("the NOT-{} filter", what.to_uppercase())
        };
        CommandError::from(format!("ERR Unknown {what} found in {place}: {shown}"))
    };
    let positive = |what: &str| {
        let number =
            integer(value).map_err(|_| format!("ERR {what} is not an integer or out of range"))?;
        if number <= 0 {
            return Err(CommandError::from(format!(
                "ERR {what} should be greater than 0"
            )));
        }
        Ok(number)
    };
    Ok(match name {
        b"type" => Condition::Class(
            class_named(value)
                .ok_or_else(|| CommandError::from(format!("ERR Unknown client type '{shown}'")))?,
        ),
        b"addr" => Condition::Address(value),
        b"laddr" => Condition::LocalAddress(value),
        b"ip" => Condition::Ip(value),
        b"user" if acl.user(value).is_none() => {
            return Err(format!("ERR No such user '{shown}'").into());
        }
        b"user" => Condition::User(value),
        b"name" => Condition::Name(value),
        b"lib-name" => Condition::Library(value),
        b"lib-ver" => Condition::LibraryVersion(value),
        b"flags" => {
            let mut letters: Vec<char> = LETTERS.iter().map(|(letter, _)| *letter).collect();
            letters.extend("SMdcuiEN".chars());
            if !known(&letters) {
                return Err(unknown("flags"));
            }
            Condition::Letters(value)
        }
        b"capa" => {
            if !known(&['r']) {
                return Err(unknown("capa"));
            }
            Condition::Capabilities(value)
        }
        b"db" => {
            let what = format!("{prefix}DB");
            let database = integer(value)
                .map_err(|_| format!("ERR {what} is not an integer or out of range"))?;
            if database != 0 {
                return Err(format!("ERR {what} number should be between 0 and 0").into());
            }
            Condition::Database(database)
        }
        b"maxage" if fits => Condition::MinAgeSeconds(positive("maxage")?),
        b"idle" if fits => Condition::MinIdleSeconds(positive("idle")?),
        _ => return Err(CommandError::Syntax),
    })
}

fn class_named(name: &[u8]) -> Option<Class> {
    let names = [
        ("normal", Class::Normal),
        ("slave", Class::Replica),
        ("replica", Class::Replica),
        ("pubsub", Class::Pubsub),
        ("master", Class::Primary),
        ("primary", Class::Primary),
    ];
    let found = names.iter().find(|(known, _)| is_word(name, known));
    found.map(|(_, class)| *class)
}

fn class_of(client: &Client) -> Class {
    if client.flags().contains(ClientFlags::PUBSUB) {
        Class::Pubsub
    } else {
        Class::Normal
    }
}

/// An address without its port and brackets.
fn ip_of(address: &str) -> &str {
    let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    ip.trim_start_matches('[').trim_end_matches(']')
}
