//! The meta commands `mg`, `ms`, `md`, `ma` and `me`.

use super::item::{self, Copied, Lifetime};
use super::store::{self, Arithmetic, Order, Outcome};
use super::{answer, count_touch, hold};
use crate::context::{Context, Event};
use crate::stamp::Stamp;
use nuthatch_wire::memcached::{Meta, MetaCommand, StoreMode, base64};
use nuthatch_wire::resp::Reply;

pub(super) fn run(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    match meta.command {
        MetaCommand::Get => get(ctx, meta),
        MetaCommand::Set => set(ctx, meta),
        MetaCommand::Delete => delete(ctx, meta),
        MetaCommand::Arithmetic => arithmetic(ctx, meta),
    }
}

fn write_number(reply: &mut Reply, letter: u8, number: u64) {
    reply.raw(&[b' ', letter]);
    reply.raw(itoa::Buffer::new().format(number).as_bytes());
}

fn write_rest(reply: &mut Reply, lifetime: Lifetime, now_ms: u64) {
    match lifetime.rest_s(now_ms) {
        Some(rest_s) => write_number(reply, b't', rest_s),
        None => reply.raw(b" t-1"),
    }
}

fn write_key_text(reply: &mut Reply, key: &[u8], is_base64: bool) {
    if is_base64 {
        let mut text = Vec::with_capacity(key.len().div_ceil(3) * 4);
        base64::encode(key, &mut text);
        reply.raw(&text);
    } else {
        reply.raw(key);
    }
}

/// Writes what of a flag goes back unchanged.
fn reflect(reply: &mut Reply, meta: &Meta<'_>, word: &[u8]) {
    match word[0] {
        b'O' => {
            reply.raw(b" ");
            reply.raw(word);
        }
        b'k' => {
            reply.raw(b" k");
            write_key_text(reply, meta.key, meta.is_base64);
            if meta.is_base64 {
                reply.raw(b" b");
            }
        }
        _ => {}
    }
}

/// Writes a code with what goes back unchanged.
fn write_code(reply: &mut Reply, meta: &Meta<'_>, code: &str) {
    reply.raw(code.as_bytes());
    for word in meta.words.iter() {
        reflect(reply, meta, word);
    }
    reply.raw(b"\r\n");
}

// ---- mg -----------------------------------------------------------------------------------

fn get(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let flags = &meta.flags;
    let may_write = flags.exptime.is_some()
        || flags.vivify.is_some()
        || flags.recache.is_some()
        || flags.asks_access && !flags.is_unnoticed;
    let tally = &ctx.worker.stats.memcached;
    if !may_write {
        let now_ms = ctx.now_ms();
        let (reply, keyspace) = (&mut *ctx.reply, &ctx.server.keyspace);
        let start = reply.len();
        let found = keyspace.locks().read(keyspace.lock_hash(meta.key), || {
            reply.truncate(start);
            item::find(keyspace, meta.key, !flags.is_unnoticed, |found| {
                let stamp = found.stamp();
                if stamp.is_stale && !stamp.is_claimed {
                    // Somebody wins, and that must be noted.
                    return false;
                }
                let mut shown = Shown::new(found.value, stamp, found.lifetime());
                shown.write(reply, meta, now_ms);
                true
            })
        });
        match found {
            Some(true) => {
                tally.cmd_get.add(1);
                tally.get_hits.add(1);
                ctx.worker.hot_keys.offer(tally.cmd_get.get(), meta.key);
                return;
            }
            Some(false) => {}
            None => return miss(ctx, meta),
        }
    }
    get_and_change(ctx, meta);
}

fn miss(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let tally = &ctx.worker.stats.memcached;
    if meta.flags.exptime.is_some() {
        count_touch(ctx, false);
    } else {
        tally.cmd_get.add(1);
        tally.get_misses.add(1);
        ctx.worker.hot_keys.offer(tally.cmd_get.get(), meta.key);
    }
    if !meta.flags.is_quiet {
        write_code(ctx.reply, meta, "EN");
    }
}

/// As `get`, where something of the item may change by it.
fn get_and_change(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let _held = hold(ctx, meta.key);
    let now_ms = ctx.now_ms();
    let keyspace = ctx.keyspace();
    let is_noticed = !meta.flags.is_unnoticed;
    let found = item::find(keyspace, meta.key, is_noticed, |found| found.to_copy());
    let is_missing = found.is_none();
    let old = match (found, meta.flags.vivify) {
        (Some(old), _) => old,
        (None, Some(exptime)) if !keyspace.contains(meta.key) => Copied {
            value: Vec::new(),
            stamp: Stamp {
                cas: meta
                    .flags
                    .new_cas
                    .unwrap_or_else(|| ctx.server.memcached.next_cas()),
                ..Stamp::default()
            },
            lifetime: Lifetime::read(exptime, now_ms),
        },
        (None, _) => return miss(ctx, meta),
    };
    let start = ctx.reply.len();
    let mut shown = Shown::new(&old.value, old.stamp, old.lifetime);
    shown.is_new = is_missing;
    shown.write(ctx.reply, meta, now_ms);
    let mut stamp = shown.stamp;
    if meta.flags.asks_access && is_noticed {
        stamp.accessed_s = Some(seconds(now_ms));
    }
    let lifetime = shown.lifetime;
    if is_missing || stamp != old.stamp {
        let event = Event::string("set");
        if let Err(error) = item::put(ctx, meta.key, &[&old.value], stamp, lifetime, event) {
            ctx.reply.truncate(start);
            return answer(ctx, false, error.text());
        }
    } else if lifetime != old.lifetime {
        item::set_lifetime(ctx, meta.key, lifetime);
    }
    let tally = &ctx.worker.stats.memcached;
    if meta.flags.exptime.is_some() {
        count_touch(ctx, true);
    } else {
        tally.cmd_get.add(1);
        tally.get_hits.add(1);
    }
}

/// Seconds since 1970 as stamps have them.
fn seconds(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX)
}

/// An item as an `mg` shows it, flag by flag, and as it is after that.
#[derive(Debug)]
struct Shown<'a> {
    value: &'a [u8],
    stamp: Stamp,
    lifetime: Lifetime,
    is_new: bool,
}

impl<'a> Shown<'a> {
    fn new(value: &'a [u8], stamp: Stamp, lifetime: Lifetime) -> Self {
        Self {
            value,
            stamp,
            lifetime,
            is_new: false,
        }
    }

    fn write(&mut self, reply: &mut Reply, meta: &Meta<'_>, now_ms: u64) {
        let has_value = meta.flags.wants_value && meta.flags.cas != Some(self.stamp.cas);
        if has_value {
            reply.raw(b"VA ");
            reply.raw(itoa::Buffer::new().format(self.value.len()).as_bytes());
        } else {
            reply.raw(b"HD");
        }
        let mut has_won = self.is_new;
        for word in meta.words.iter() {
            self.write_flag(reply, meta, word, now_ms, &mut has_won);
        }
        if self.stamp.is_claimed {
            reply.raw(b" Z");
        }
        if self.stamp.is_stale {
            reply.raw(b" X");
            has_won |= !self.stamp.is_claimed;
        }
        if has_won {
            reply.raw(b" W");
            self.stamp.is_claimed = true;
        }
        reply.raw(b"\r\n");
        if has_value {
            reply.raw(self.value);
            reply.raw(b"\r\n");
        }
    }

    fn write_flag(
        &mut self,
        reply: &mut Reply,
        meta: &Meta<'_>,
        word: &[u8],
        now_ms: u64,
        has_won: &mut bool,
    ) {
        match word[0] {
            b'T' => {
                let exptime = meta.flags.exptime.expect("read with the flag");
                self.lifetime = Lifetime::read(exptime, now_ms);
            }
            b'R' => {
                let recache = meta.flags.recache.expect("read with the flag");
                if !self.stamp.is_claimed
                    && !self.is_new
                    && let Lifetime::Until(at_ms) = self.lifetime
                    && let Lifetime::Until(recache_ms) = Lifetime::read(recache, now_ms)
                {
                    *has_won |= at_ms < recache_ms;
                }
            }
            b's' => write_number(reply, b's', self.value.len() as u64),
            b't' => write_rest(reply, self.lifetime, now_ms),
            b'c' => write_number(reply, b'c', self.stamp.cas),
            b'f' => write_number(reply, b'f', self.stamp.flags.into()),
            b'h' => write_number(reply, b'h', self.stamp.accessed_s.is_some().into()),
            b'l' => {
                let now_s = seconds(now_ms);
                let accessed_s = self.stamp.accessed_s.unwrap_or(now_s);
                write_number(reply, b'l', now_s.saturating_sub(accessed_s).into());
            }
            _ => reflect(reply, meta, word),
        }
    }
}

// ---- ms -----------------------------------------------------------------------------------

fn set(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let (flags, now_ms) = (&meta.flags, ctx.now_ms());
    let read = |exptime| Lifetime::read(exptime, now_ms);
    let order = Order {
        mode: match flags.mode {
            None | Some(b'S') => StoreMode::Set,
            Some(b'E') => StoreMode::Add,
            Some(b'A') => StoreMode::Append,
            Some(b'P') => StoreMode::Prepend,
            Some(b'R') => StoreMode::Replace,
            Some(other) => unreachable!("{other} was refused when it was read"),
        },
        key: meta.key,
        data: meta.data,
        flags: flags.client_flags,
        lifetime: flags.exptime.map_or(Lifetime::Forever, read),
        cas: flags.cas,
        new_cas: flags.new_cas,
        may_be_stale: flags.invalidates,
        vivify: flags.vivify.map(read),
    };
    let outcome = store::store(ctx, &order);
    let code = match outcome {
        Outcome::Stored { .. } if flags.is_quiet => return,
        Outcome::Stored { .. } => "HD",
        Outcome::NotStored => "NS",
        Outcome::Exists => "EX",
        Outcome::NotFound => "NF",
        Outcome::NoRoom(error) => return answer(ctx, false, error.text()),
    };
    let (cas, value_bytes) = match outcome {
        Outcome::Stored { cas, value_bytes } => (cas, value_bytes),
        _ => (0, meta.data.len()),
    };
    ctx.reply.raw(code.as_bytes());
    for word in meta.words.iter() {
        match word[0] {
            b'c' => write_number(ctx.reply, b'c', cas),
            b's' => write_number(ctx.reply, b's', value_bytes as u64),
            b'b' => {}
            _ => reflect(ctx.reply, meta, word),
        }
    }
    ctx.reply.raw(b"\r\n");
}

// ---- md -----------------------------------------------------------------------------------

fn delete(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let _held = hold(ctx, meta.key);
    let (flags, now_ms) = (&meta.flags, ctx.now_ms());
    let keeps_item = flags.removes_value || flags.invalidates;
    let found = item::find(ctx.keyspace(), meta.key, false, |found| {
        let value = (keeps_item && !flags.removes_value).then(|| found.value.to_vec());
        (value.unwrap_or_default(), found.stamp(), found.lifetime())
    });
    let tally = &ctx.worker.stats.memcached;
    let Some((value, old, old_lifetime)) = found else {
        // What is no string has no number, and no value that could be removed alone.
        let is_removed = !keeps_item && flags.cas.is_none() && item::remove(ctx, meta.key);
        if is_removed {
            tally.delete_hits.add(1);
            return deleted(ctx, meta);
        }
        tally.delete_misses.add(1);
        return write_code(ctx.reply, meta, "NF");
    };
    if flags.cas.is_some_and(|cas| cas != old.cas) {
        tally.delete_misses.add(1);
        return write_code(ctx.reply, meta, "EX");
    }
    if !keeps_item {
        item::remove(ctx, meta.key);
        tally.delete_hits.add(1);
        return deleted(ctx, meta);
    }
    let new_lifetime = flags.exptime.map(|exptime| Lifetime::read(exptime, now_ms));
    let (mut stamp, mut lifetime) = (old, old_lifetime);
    if flags.removes_value {
        stamp = Stamp {
            cas: flags.new_cas.unwrap_or(old.cas),
            flags: flags.client_flags,
            ..Stamp::default()
        };
        lifetime = new_lifetime.unwrap_or(Lifetime::Forever);
    }
    if flags.invalidates {
        stamp.cas = flags
            .new_cas
            .unwrap_or_else(|| ctx.server.memcached.next_cas());
        stamp.is_stale = true;
        // The next one who asks wins.
        stamp.is_claimed = false;
        lifetime = new_lifetime.unwrap_or(lifetime);
    }
    let event = Event::string("set");
    match item::put(ctx, meta.key, &[&value], stamp, lifetime, event) {
        Ok(()) => deleted(ctx, meta),
        Err(error) => answer(ctx, false, error.text()),
    }
}

fn deleted(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    if !meta.flags.is_quiet {
        write_code(ctx.reply, meta, "HD");
    }
}

// ---- ma -----------------------------------------------------------------------------------

fn arithmetic(ctx: &mut Context<'_>, meta: &Meta<'_>) {
    let _held = hold(ctx, meta.key);
    let (flags, now_ms) = (&meta.flags, ctx.now_ms());
    let is_decrement = matches!(flags.mode, Some(b'D' | b'-'));
    let delta = flags.delta.unwrap_or(1);
    let result = store::add(ctx, meta.key, delta, is_decrement, flags.cas, flags.new_cas);
    let (number, cas, mut lifetime) = match (result, flags.vivify) {
        (
            Arithmetic::Done {
                number,
                cas,
                lifetime,
            },
            _,
        ) => (number, cas, lifetime),
        (Arithmetic::NotFound, Some(exptime)) => {
            let cas = flags
                .new_cas
                .unwrap_or_else(|| ctx.server.memcached.next_cas());
            let stamp = Stamp {
                cas,
                ..Stamp::default()
            };
            let lifetime = Lifetime::read(exptime, now_ms);
            let mut digits = itoa::Buffer::new();
            let parts = [digits.format(flags.initial).as_bytes()];
            let event = Event::string("set");
            if let Err(error) = item::put(ctx, meta.key, &parts, stamp, lifetime, event) {
                return answer(ctx, false, error.text());
            }
            (flags.initial, cas, lifetime)
        }
        (Arithmetic::NotFound, None) => return write_code(ctx.reply, meta, "NF"),
        (Arithmetic::Exists, _) => return write_code(ctx.reply, meta, "EX"),
        (failed, _) => return answer(ctx, false, failed.failure_text()),
    };
    let new_lifetime = flags.exptime.map(|exptime| Lifetime::read(exptime, now_ms));
    if let Some(new_lifetime) = new_lifetime {
        item::set_lifetime(ctx, meta.key, new_lifetime);
    }
    if flags.is_quiet {
        return;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let reply = &mut *ctx.reply;
    if flags.wants_value {
        reply.raw(b"VA ");
        reply.raw(itoa::Buffer::new().format(digits.len()).as_bytes());
    } else {
        reply.raw(b"HD");
    }
    for word in meta.words.iter() {
        match (word[0], new_lifetime) {
            (b'T', Some(new_lifetime)) => lifetime = new_lifetime,
            (b't', _) => write_rest(reply, lifetime, now_ms),
            (b'c', _) => write_number(reply, b'c', cas),
            _ => reflect(reply, meta, word),
        }
    }
    reply.raw(b"\r\n");
    if flags.wants_value {
        reply.raw(digits);
        reply.raw(b"\r\n");
    }
}

// ---- me -----------------------------------------------------------------------------------

/// What is known of an item, for people.
pub(super) fn debug(ctx: &mut Context<'_>, key: &[u8], is_base64: bool) {
    let now_ms = ctx.now_ms();
    let (reply, keyspace) = (&mut *ctx.reply, &ctx.server.keyspace);
    let found = item::find(keyspace, key, false, |found| {
        let stamp = found.stamp();
        let rest_s = found.lifetime().rest_s(now_ms);
        let expires = rest_s.map_or_else(|| "-1".to_owned(), |rest_s| rest_s.to_string());
        let now_s = seconds(now_ms);
        let idle_s = now_s.saturating_sub(stamp.accessed_s.unwrap_or(now_s));
        let fetched = if stamp.accessed_s.is_some() {
            "yes"
        } else {
            "no"
        };
        reply.raw(b"ME ");
        write_key_text(reply, key, is_base64);
        let text = format!(
            " exp={expires} la={idle_s} cas={} fetch={fetched} cls=1 size={}\r\n",
            stamp.cas,
            found.weight_bytes()
        );
        reply.raw(text.as_bytes());
    });
    if found.is_none() {
        answer(ctx, false, "EN");
    }
}
