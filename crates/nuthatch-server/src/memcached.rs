//! memcached's commands, over the same keys as Redis'.
//!
//! A string that was written here carries a [`Stamp`](crate::stamp::Stamp): flags, a unique number (`cas`) from one counter
//! for all keys, and marks of the meta protocol. One that a client of Redis wrote has none: its flags
//! are 0, and its unique number is a hash of its bytes, which changes when they do. So a `cas` against
//! such a string succeeds if it holds what the client has seen, even if it held something else in
//! between; and asking for the number of such a string costs a pass over it.
//!
//! A key that holds something else than a string is not found here, cannot be added, and can be
//! replaced, touched and deleted.
//!
//! Writes hold their key's stripe, as Redis' commands do, so each is atomic against every other command
//! of either protocol. Of the times that memcached keeps with an item, that of the last access is kept
//! only for items that the meta flags `h` and `l` ask for: keeping it for all would make every read a
//! write.

mod equivalent;
mod item;
mod meta;
mod stats;
mod store;

pub use item::Lifetime;

use crate::client::{Client, Route};
use crate::config::Config;
use crate::context::{Context, Event};
use crate::keyspace::Effect;
use crate::locks::Held;
use crate::server::{Server, WorkerHandle};
use crate::session::Session;
use crate::version;
use crate::watch::Reasons;
use item::Found;
use nuthatch_wire::memcached::{Refusal, Request, RequestError, Words};
use nuthatch_wire::resp::Reply;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{Arithmetic, Order};

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    next_cas: AtomicU64,
    /// When all keys are to be flushed, in milliseconds since 1970; 0: no time is set.
    flush_at_ms: AtomicU64,
}

impl Shared {
    /// Of a server that starts now.
    pub fn new(now_ms: u64) -> Self {
        Self {
            // Above every number of an earlier run, for items may outlive it: nobody writes four
            // million times a second for long.
            next_cas: AtomicU64::new(now_ms << 12),
            flush_at_ms: AtomicU64::new(0),
        }
    }

    /// A unique number, larger than all before it.
    fn next_cas(&self) -> u64 {
        self.next_cas.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether it is time to flush; `true` to one caller only.
    fn take_flush(&self, now_ms: u64) -> bool {
        let at_ms = self.flush_at_ms.load(Ordering::Relaxed);
        let taken = |at_ms| {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            let exchange = self
                .flush_at_ms
                .compare_exchange(at_ms, 0, success, failure);
            exchange.is_ok()
        };
        at_ms != 0 && at_ms <= now_ms && taken(at_ms)
    }
}

/// Flushes all keys if a `flush_all` has set this time for it, and clients are not paused.
pub fn flush_if_due(server: &Server, config: &Config, worker: &WorkerHandle) {
    if server.observers.attention.get().contains(Reasons::PAUSED) {
        return;
    }
    if server.is_loading() {
        return;
    }
    let now_ms = crate::clock::now_ms();
    if !server.memcached.take_flush(now_ms) {
        return;
    }
    // The client that asked for it may be gone.
    let nowhere = Route {
        address: String::new(),
        local_address: String::new(),
        descriptor: -1,
        is_unix: false,
    };
    let client = Arc::new(Client::new(0, nowhere, worker.id, now_ms));
    let mut context = Context {
        server,
        config,
        session: &mut Session::new(client, Arc::clone(server.acl.default_user()), true),
        reply: &mut Reply::default(),
        worker,
        in_transaction: false,
    };
    flush(&mut context);
}

fn flush(ctx: &mut Context<'_>) {
    let _held = ctx.keyspace().locks().hold_all();
    ctx.apply(Effect::Clear, Event::generic("flushall"))
        .expect("clearing needs no room");
}

/// Runs what a client has sent and writes the reply, unless it must wait until a pause is over: then the
/// session says so, and it is to be run again.
pub fn execute(ctx: &mut Context<'_>, request: Result<Request<'_>, Refusal<'_>>) {
    if !ctx.session.is_authenticated {
        return authenticate(ctx, request);
    }
    match request {
        Ok(request) if equivalent::is_granted(ctx, &request) => {
            let reasons = ctx.server.observers.attention.get();
            if reasons.contains(Reasons::PAUSED) && equivalent::must_wait(ctx, &request) {
                ctx.session.set_waiting(true, ctx.server);
                return;
            }
            if reasons.intersects(Reasons::DISK | Reasons::LOADING) {
                match equivalent::must_wait_for_disk(ctx, &request) {
                    Ok(false) => {}
                    Ok(true) => {
                        ctx.session.set_waiting(true, ctx.server);
                        return;
                    }
                    Err(error) => {
                        ctx.worker.stats.errors.add(1);
                        answer(ctx, false, &format!("SERVER_ERROR {error}"));
                        return;
                    }
                }
            }
            let before = ctx.keyspace().journal().end();
            run(ctx, request);
            let may_have_written = may_write(&request) || ctx.keyspace().journal().end() != before;
            ctx.session.has_written |= may_have_written;
            if reasons.contains(Reasons::MONITORED) {
                equivalent::show(ctx, &request);
            }
        }
        Ok(_) => {
            ctx.worker.stats.errors.add(1);
            answer(ctx, false, "CLIENT_ERROR no permission");
        }
        Err(refusal) => refuse(ctx, &refusal),
    }
}

/// Whether a request is for writing, also if it turns out that there is nothing to write.
fn may_write(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Store(_)
            | Request::Delete { .. }
            | Request::Arithmetic { .. }
            | Request::Touch { .. }
            | Request::FlushAll { .. }
    )
}

fn run(ctx: &mut Context<'_>, request: Request<'_>) {
    match request {
        Request::Get {
            keys,
            wants_cas,
            exptime: None,
        } => get(ctx, keys, wants_cas),
        Request::Get {
            keys,
            wants_cas,
            exptime: Some(exptime),
        } => get_and_touch(ctx, keys, wants_cas, exptime),
        Request::Store(command) => {
            let order = Order::classic(&command, ctx.now_ms());
            let outcome = store::store(ctx, &order);
            answer(ctx, command.is_quiet, outcome.classic_text());
        }
        Request::Delete { key, is_quiet } => {
            let text = if delete(ctx, key) {
                "DELETED"
            } else {
                "NOT_FOUND"
            };
            answer(ctx, is_quiet, text);
        }
        Request::Arithmetic {
            key,
            delta,
            is_decrement,
            is_quiet,
        } => {
            let _held = hold(ctx, key);
            let result = store::add(ctx, key, delta, is_decrement, None, None);
            match result {
                Arithmetic::Done { number, .. } => {
                    answer(ctx, is_quiet, itoa::Buffer::new().format(number));
                }
                failed => answer(ctx, is_quiet, failed.failure_text()),
            }
        }
        Request::Touch {
            key,
            exptime,
            is_quiet,
        } => {
            let lifetime = Lifetime::read(exptime, ctx.now_ms());
            let _held = hold(ctx, key);
            let found = ctx.keyspace().contains(key);
            count_touch(ctx, found);
            if found {
                item::set_lifetime(ctx, key, lifetime);
            }
            answer(ctx, is_quiet, if found { "TOUCHED" } else { "NOT_FOUND" });
        }
        Request::FlushAll { when, is_quiet } => {
            ctx.worker.stats.memcached.cmd_flush.add(1);
            let due_ms = match Lifetime::read(when, ctx.now_ms()) {
                Lifetime::Until(at_ms) => at_ms,
                Lifetime::Forever | Lifetime::Over => 0,
            };
            let at_ms = &ctx.server.memcached.flush_at_ms;
            at_ms.store(due_ms, Ordering::Relaxed);
            if due_ms == 0 {
                flush(ctx);
            }
            answer(ctx, is_quiet, "OK");
        }
        Request::Stats(words) => stats::answer(ctx, words),
        Request::Version => {
            ctx.reply.raw(b"VERSION ");
            ctx.reply.raw(version::MEMCACHED.as_bytes());
            ctx.reply.raw(b"\r\n");
        }
        Request::Verbosity { is_quiet } => answer(ctx, is_quiet, "OK"),
        Request::MemoryLimit {
            megabytes,
            is_quiet,
        } => limit_memory(ctx, megabytes, is_quiet),
        Request::Meta(meta) => {
            ctx.worker.stats.memcached.cmd_meta.add(1);
            meta::run(ctx, &meta);
        }
        Request::MetaNoop => ctx.reply.raw(b"MN\r\n"),
        Request::MetaDebug { key, is_base64 } => {
            ctx.worker.stats.memcached.cmd_meta.add(1);
            meta::debug(ctx, key, is_base64);
        }
        // memcached's own text, colon and all.
        Request::Shutdown => answer(ctx, false, "SERVER_ERROR: shutdown not enabled"),
        Request::Quit => ctx.session.closing = true,
    }
}

/// Answers what is no request.
fn refuse(ctx: &mut Context<'_>, refusal: &Refusal<'_>) {
    ctx.worker.stats.errors.add(1);
    if refusal.error == RequestError::TooLarge {
        ctx.worker.stats.memcached.store_too_large.add(1);
    }
    if let Some(key) = refusal.outdated {
        let _held = hold(ctx, key);
        item::remove(ctx, key);
    }
    answer(ctx, refusal.is_quiet, &refusal.error.to_string());
}

/// Takes a client's name and password, which come as the data of a `set`; all else is refused before.
fn authenticate(ctx: &mut Context<'_>, request: Result<Request<'_>, Refusal<'_>>) {
    let store = match request {
        Ok(Request::Store(store)) => store,
        Ok(Request::Quit) => {
            ctx.session.closing = true;
            return;
        }
        _ => return answer(ctx, false, "CLIENT_ERROR unauthenticated"),
    };
    let tally = &ctx.worker.stats.memcached;
    tally.auth_cmds.add(1);
    let mut halves = store.data.splitn(2, |byte| *byte == b' ');
    let (Some(user), Some(password)) = (halves.next(), halves.next()) else {
        tally.auth_errors.add(1);
        let text = "CLIENT_ERROR bad authentication token format";
        return answer(ctx, false, text);
    };
    match crate::command::authenticate(ctx, user, password) {
        Ok(()) => answer(ctx, false, "STORED"),
        Err(_) => {
            tally.auth_errors.add(1);
            answer(ctx, false, "CLIENT_ERROR authentication failure");
        }
    }
}

/// Writes a line, if one is wanted.
fn answer(ctx: &mut Context<'_>, is_quiet: bool, text: &str) {
    if !is_quiet {
        ctx.reply.raw(text.as_bytes());
        ctx.reply.raw(b"\r\n");
    }
}

/// Holds a key that is about to be written.
fn hold<'a>(ctx: &Context<'a>, key: &[u8]) -> Held<'a> {
    let keyspace = ctx.keyspace();
    keyspace.locks().hold_one(keyspace.lock_hash(key))
}

fn get(ctx: &mut Context<'_>, keys: Words<'_>, wants_cas: bool) {
    let tally = &ctx.worker.stats.memcached;
    for key in keys.iter() {
        let reply = &mut *ctx.reply;
        let keyspace = &ctx.server.keyspace;
        let start = reply.len();
        let found = keyspace.locks().read(keyspace.lock_hash(key), || {
            reply.truncate(start);
            item::find(keyspace, key, true, |found| {
                write_value(reply, key, found, wants_cas);
            })
        });
        tally.cmd_get.add(1);
        ctx.worker.hot_keys.offer(tally.cmd_get.get(), key);
        match found {
            Some(()) => tally.get_hits.add(1),
            None => tally.get_misses.add(1),
        }
    }
    ctx.reply.raw(b"END\r\n");
}

fn get_and_touch(ctx: &mut Context<'_>, keys: Words<'_>, wants_cas: bool, exptime: i64) {
    let lifetime = Lifetime::read(exptime, ctx.now_ms());
    for key in keys.iter() {
        let _held = hold(ctx, key);
        let reply = &mut *ctx.reply;
        let keyspace = &ctx.server.keyspace;
        let found = item::find(keyspace, key, true, |found| {
            write_value(reply, key, found, wants_cas);
        });
        count_touch(ctx, found.is_some());
        if found.is_some() {
            item::set_lifetime(ctx, key, lifetime);
        }
    }
    ctx.reply.raw(b"END\r\n");
}

fn write_value(reply: &mut Reply, key: &[u8], found: &Found<'_>, wants_cas: bool) {
    reply.raw(b"VALUE ");
    reply.raw(key);
    reply.raw(b" ");
    let mut digits = itoa::Buffer::new();
    reply.raw(digits.format(found.flags()).as_bytes());
    reply.raw(b" ");
    reply.raw(digits.format(found.value.len()).as_bytes());
    if wants_cas {
        reply.raw(b" ");
        reply.raw(digits.format(found.cas()).as_bytes());
    }
    reply.raw(b"\r\n");
    reply.raw(found.value);
    reply.raw(b"\r\n");
}

fn count_touch(ctx: &Context<'_>, found: bool) {
    let tally = &ctx.worker.stats.memcached;
    tally.cmd_touch.add(1);
    if found {
        tally.touch_hits.add(1);
    } else {
        tally.touch_misses.add(1);
    }
}

fn delete(ctx: &mut Context<'_>, key: &[u8]) -> bool {
    let _held = hold(ctx, key);
    let removed = item::remove(ctx, key);
    let tally = &ctx.worker.stats.memcached;
    if removed {
        tally.delete_hits.add(1);
    } else {
        tally.delete_misses.add(1);
    }
    removed
}

/// `cache_memlimit`: the bound of all memory, as `CONFIG SET maxmemory` has it.
fn limit_memory(ctx: &mut Context<'_>, megabytes: u32, is_quiet: bool) {
    let bytes = (u64::from(megabytes) << 20).to_string();
    let text = if megabytes < 8 {
        "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m".to_owned()
    } else {
        match ctx.server.set_config([("maxmemory", bytes.as_str())]) {
            Ok(()) => "OK".to_owned(),
            Err(error) => format!("MEMLIMIT_ADJUST_FAILED {error}"),
        }
    };
    answer(ctx, is_quiet, &text);
}
