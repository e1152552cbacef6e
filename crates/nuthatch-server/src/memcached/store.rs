//! Commands that store values, with all their conditions: one order for both the classic and the meta
//! protocol.

use super::hold;
use super::item::{self, Lifetime, NoRoom};
use crate::context::{Context, Event};
use crate::stamp::Stamp;
use nuthatch_wire::memcached::{Store, StoreMode};

/// A value to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) mode: StoreMode,
    pub(super) key: &'a [u8],
    pub(super) data: &'a [u8],
    pub(super) flags: u32,
    pub(super) lifetime: Lifetime,
    /// The unique number that the item must have.
    pub(super) cas: Option<u64>,
    /// The unique number that it gets.
    pub(super) new_cas: Option<u64>,
    /// Whether an older unique number will do, and the item is stale then.
    pub(super) may_be_stale: bool,
    /// How long an item lives that is made because there is none to append to.
    pub(super) vivify: Option<Lifetime>,
}

impl<'a> Order<'a> {
    pub(super) fn classic(store: &Store<'a>, now_ms: u64) -> Self {
        Self {
            mode: store.mode,
            key: store.key,
            data: store.data,
            flags: store.flags,
            lifetime: Lifetime::read(store.exptime, now_ms),
            cas: store.cas,
            new_cas: None,
            may_be_stale: false,
            vivify: None,
        }
    }

    fn joins(&self) -> bool {
        matches!(self.mode, StoreMode::Append | StoreMode::Prepend)
    }

    /// Whether it replaces only what has the right number.
    fn is_cas(&self) -> bool {
        self.cas.is_some() && matches!(self.mode, StoreMode::Set | StoreMode::Replace)
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored { cas: u64, value_bytes: usize },
    NotStored,
    Exists,
    NotFound,
    NoRoom(NoRoom),
}

impl NoRoom {
    pub(super) fn text(self) -> &'static str {
        if self.is_too_large {
            "SERVER_ERROR object too large for cache"
        } else {
            "SERVER_ERROR out of memory storing object"
        }
    }
}

impl Outcome {
    pub(super) fn classic_text(self) -> &'static str {
        match self {
            Self::Stored { .. } => "STORED",
            Self::NotStored => "NOT_STORED",
            Self::Exists => "EXISTS",
            Self::NotFound => "NOT_FOUND",
            Self::NoRoom(error) => error.text(),
        }
    }
}

/// How the number that an order asks for stands to the item's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    NotAsked,
    Equal,
    Older,
    Other,
}

/// Stores a value, if the conditions hold.
pub(super) fn store(ctx: &mut Context<'_>, order: &Order<'_>) -> Outcome {
    let tally = &ctx.worker.stats.memcached;
    tally.cmd_set.add(1);
    ctx.worker.hot_keys.offer(tally.cmd_set.get(), order.key);
    let _held = hold(ctx, order.key);
    let keyspace = ctx.keyspace();
    // A plain set asks for nothing.
    let old = if order.mode == StoreMode::Set && order.cas.is_none() {
        None
    } else {
        item::find(keyspace, order.key, false, |found| {
            let value = order.joins().then(|| found.value.to_vec());
            (value, found.stamp(), found.lifetime())
        })
    };
    let exists = old.is_some()
        || !(order.mode == StoreMode::Set && order.cas.is_none()) && keyspace.contains(order.key);
    let mut stamp = Stamp {
        flags: order.flags,
        ..Stamp::default()
    };
    let mut lifetime = order.lifetime;
    let mut joined = None;
    let comparison = match (order.cas, &old) {
        (None | Some(0), _) => Comparison::NotAsked,
        (Some(cas), Some((_, old, _))) if cas == old.cas => Comparison::Equal,
        (Some(cas), Some((_, old, _))) if order.may_be_stale && cas < old.cas => Comparison::Older,
        (Some(_), _) => Comparison::Other,
    };
    if order.is_cas() {
        match (exists, comparison, &old) {
            (false, ..) => {
                tally.cas_misses.add(1);
                return Outcome::NotFound;
            }
            (true, Comparison::Equal, _) => {}
            (true, Comparison::Older, Some((_, old, until))) => {
                stamp.is_stale = true;
                stamp.is_claimed = old.is_claimed;
                lifetime = *until;
            }
            (true, ..) => {
                tally.cas_badval.add(1);
                return Outcome::Exists;
            }
        }
        tally.cas_hits.add(1);
    } else {
        match order.mode {
            StoreMode::Set => {}
            StoreMode::Add if exists => return Outcome::NotStored,
            StoreMode::Add => {}
            StoreMode::Replace if exists => {}
            StoreMode::Replace => return Outcome::NotStored,
            StoreMode::Append | StoreMode::Prepend => match (old, order.vivify) {
                (Some(_), _) if matches!(comparison, Comparison::Older | Comparison::Other) => {
                    return Outcome::Exists;
                }
                (Some((value, old, until)), _) => {
                    stamp.flags = old.flags;
                    lifetime = until;
                    joined = value;
                }
                (None, Some(until)) if !exists => lifetime = until,
                (None, _) => return Outcome::NotStored,
            },
        }
    }
    stamp.cas = order
        .new_cas
        .unwrap_or_else(|| ctx.server.memcached.next_cas());
    let old = joined.as_deref().unwrap_or_default();
    let (parts, event) = match order.mode {
        StoreMode::Prepend => ([order.data, old], "set"),
        StoreMode::Append => ([old, order.data], "append"),
        _ => ([old, order.data], "set"),
    };
    match item::put(
        ctx,
        order.key,
        &parts,
        stamp,
        lifetime,
        Event::string(event),
    ) {
        Ok(()) => Outcome::Stored {
            cas: stamp.cas,
            value_bytes: old.len() + order.data.len(),
        },
        Err(error) => {
            if error.is_too_large {
                tally.store_too_large.add(1);
            } else {
                tally.store_no_memory.add(1);
            }
            if order.mode == StoreMode::Set {
                // What it was to replace must not outlive it.
                item::remove(ctx, order.key);
            }
            Outcome::NoRoom(error)
        }
    }
}

/// What became of an addition or subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Done {
        number: u64,
        cas: u64,
        lifetime: Lifetime,
    },
    NotFound,
    NotNumeric,
    Exists,
    NoRoom(NoRoom),
}

impl Arithmetic {
    pub(super) fn failure_text(self) -> &'static str {
        match self {
            Self::Done { .. } => unreachable!("it is done"),
            Self::NotFound => "NOT_FOUND",
            Self::Exists => "EXISTS",
            Self::NotNumeric => "CLIENT_ERROR cannot increment or decrement non-numeric value",
            Self::NoRoom(error) => error.text(),
        }
    }
}

/// Adds to the number that `key` holds, around 64 bits, or subtracts from it, down to 0. The caller
/// holds the key.
pub(super) fn add(
    ctx: &mut Context<'_>,
    key: &[u8],
    delta: u64,
    is_decrement: bool,
    cas: Option<u64>,
    new_cas: Option<u64>,
) -> Arithmetic {
    let tally = &ctx.worker.stats.memcached;
    let found = item::find(ctx.keyspace(), key, true, |found| {
        (number(found.value), found.stamp(), found.lifetime())
    });
    let Some((old, mut stamp, lifetime)) = found else {
        if ctx.keyspace().contains(key) {
            return Arithmetic::NotNumeric;
        }
        if is_decrement {
            tally.decr_misses.add(1);
        } else {
            tally.incr_misses.add(1);
        }
        return Arithmetic::NotFound;
    };
    if cas.is_some_and(|cas| cas != 0 && cas != stamp.cas) {
        return Arithmetic::Exists;
    }
    let Some(old) = old else {
        return Arithmetic::NotNumeric;
    };
    let (number, event) = if is_decrement {
        tally.decr_hits.add(1);
        (old.saturating_sub(delta), "decrby")
    } else {
        tally.incr_hits.add(1);
        (old.wrapping_add(delta), "incrby")
    };
    stamp.cas = new_cas.unwrap_or_else(|| ctx.server.memcached.next_cas());
    let mut digits = itoa::Buffer::new();
    let parts = [digits.format(number).as_bytes()];
    match item::put(ctx, key, &parts, stamp, lifetime, Event::string(event)) {
        Ok(()) => Arithmetic::Done {
            number,
            cas: stamp.cas,
            lifetime,
        },
        Err(error) => Arithmetic::NoRoom(error),
    }
}

/// The number that a value is: digits, and blanks after them, which memcached leaves when a number
/// becomes shorter.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_end();
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}
