//! `stats`: what memcached tells of itself, as far as this server has it. There are no slabs, so there
//! is one class of items, and nothing to say of its pages.

use super::answer as answer_line;
use crate::context::Context;
use crate::version;
use nuthatch_wire::memcached::Words;
use nuthatch_wire::resp::Reply;
use std::fmt::Display;
use std::sync::atomic::Ordering;

/// Bytes of a dump of keys, as memcached bounds it.
const DUMP_BYTES: usize = 2 << 20;

pub(super) fn answer(ctx: &mut Context<'_>, words: Words<'_>) {
    match words.iter().next() {
        None => general(ctx),
        Some(b"settings") => settings(ctx),
        Some(b"items") => items(ctx),
        Some(b"slabs") => slabs(ctx),
        Some(b"conns") => connections(ctx),
        Some(b"sizes") => line(ctx.reply, "sizes_status", "disabled"),
        Some(b"reset") => {
            for worker in ctx.server.workers() {
                for (_, tally) in worker.stats.memcached.named() {
                    tally.set(0);
                }
            }
            return answer_line(ctx, false, "RESET");
        }
        Some(b"detail") => {
            return answer_line(ctx, false, "CLIENT_ERROR stats detail not allowed");
        }
        Some(b"cachedump") => {
            if !dump(ctx, words) {
                return answer_line(ctx, false, "CLIENT_ERROR bad command line");
            }
        }
        Some(_) => return answer_line(ctx, false, "ERROR"),
    }
    answer_line(ctx, false, "END");
}

fn line(reply: &mut Reply, name: &str, value: impl Display) {
    reply.raw(format!("STAT {name} {value}\r\n").as_bytes());
}

fn general(ctx: &mut Context<'_>) {
    let (server, config) = (ctx.server, ctx.config);
    let now_ms = ctx.now_ms();
    let keyspace = server.keyspace.cache();
    let (evicted, expired) = (
        server.observers.evicted.load(Ordering::Relaxed),
        server.observers.expired.load(Ordering::Relaxed),
    );
    let reply = &mut *ctx.reply;
    line(reply, "pid", std::process::id());
    line(reply, "uptime", (now_ms - server.started_ms) / 1000);
    line(reply, "time", now_ms / 1000);
    line(reply, "version", version::MEMCACHED);
    line(reply, "pointer_size", usize::BITS);
    line(reply, "max_connections", config.maxclients);
    line(reply, "curr_connections", server.clients.len());
    let connections = server.total(|stats| stats.connections.get());
    line(reply, "total_connections", connections);
    let rejected = server.rejected_connections.load(Ordering::Relaxed);
    line(reply, "rejected_connections", rejected);
    for (index, (name, _)) in ctx.worker.stats.memcached.named().iter().enumerate() {
        let total = server.total(|stats| stats.memcached.named()[index].1.get());
        line(reply, name, total);
    }
    line(
        reply,
        "bytes_read",
        server.total(|stats| stats.read_bytes.get()),
    );
    line(
        reply,
        "bytes_written",
        server.total(|stats| stats.written_bytes.get()),
    );
    let limit = server.max_memory_bytes.load(Ordering::Relaxed);
    line(reply, "limit_maxbytes", limit);
    line(reply, "accepting_conns", 1);
    line(reply, "threads", server.workers().len());
    line(reply, "bytes", keyspace.weight());
    line(reply, "curr_items", keyspace.len());
    line(reply, "total_items", keyspace.stats().insertions);
    line(reply, "evictions", evicted);
    line(reply, "reclaimed", expired);
}

fn settings(ctx: &mut Context<'_>) {
    let (server, config, reply) = (ctx.server, ctx.config, &mut *ctx.reply);
    let limit = server.max_memory_bytes.load(Ordering::Relaxed);
    line(reply, "maxbytes", limit);
    line(reply, "maxconns", config.maxclients);
    line(reply, "tcpport", config.memcached_port);
    line(reply, "udpport", 0);
    line(reply, "inter", config.bind.0.join(","));
    line(reply, "verbosity", 0);
    line(reply, "evictions", "on");
    line(reply, "num_threads", server.workers().len());
    line(reply, "detail_enabled", "no");
    line(reply, "cas_enabled", "yes");
    line(reply, "tcp_backlog", config.tcp_backlog);
    let needs_password = !config.requirepass.0.is_empty();
    line(
        reply,
        "auth_enabled_ascii",
        if needs_password { "yes" } else { "no" },
    );
    line(reply, "item_size_max", config.proto_max_bulk_len.0);
    line(reply, "maxconns_fast", "yes");
    line(reply, "flush_enabled", "yes");
    line(reply, "dump_enabled", "yes");
    line(reply, "shutdown_command", "no");
    line(reply, "idle_timeout", config.timeout);
    line(reply, "binding_protocol", "ascii");
}

fn items(ctx: &mut Context<'_>) {
    let (server, reply) = (ctx.server, &mut *ctx.reply);
    let items = server.keyspace.cache().len();
    if items == 0 {
        return;
    }
    line(reply, "items:1:number", items);
    let evicted = server.observers.evicted.load(Ordering::Relaxed);
    line(reply, "items:1:evicted", evicted);
    let expired = server.observers.expired.load(Ordering::Relaxed);
    line(reply, "items:1:reclaimed", expired);
}

/// Some keys that are text, with their values' lengths and deadlines: class and number of items say how
/// many, 0 for as many as there is room for. `false` if they do not.
fn dump(ctx: &mut Context<'_>, words: Words<'_>) -> bool {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u32>().ok();
    let mut words = words.iter().skip(1).map(number);
    let (Some(Some(class)), Some(Some(limit))) = (words.next(), words.next()) else {
        return false;
    };
    if class != 1 {
        return true;
    }
    let limit = if limit == 0 { u32::MAX } else { limit };
    let (reply, keyspace) = (&mut *ctx.reply, &ctx.server.keyspace);
    let (start, mut shown, mut cursor) = (reply.len(), 0, 0);
    loop {
        cursor = keyspace.scan(cursor, 64, |view| {
            let (Ok(value), Ok(key)) = (view.string(), std::str::from_utf8(view.key)) else {
                return;
            };
            let has_room = reply.len() - start < DUMP_BYTES && shown < limit;
            if !has_room || key.bytes().any(|byte| byte <= b' ') {
                return;
            }
            shown += 1;
            let deadline_s = view.deadline_ms().unwrap_or(0) / 1000;
            let text = format!("ITEM {key} [{} b; {deadline_s} s]\r\n", value.len());
            reply.raw(text.as_bytes());
        });
        if cursor == 0 || shown == limit || reply.len() - start >= DUMP_BYTES {
            return true;
        }
    }
}

fn slabs(ctx: &mut Context<'_>) {
    let bytes = ctx.server.keyspace.cache().weight();
    let items = ctx.server.keyspace.cache().len();
    line(ctx.reply, "1:used_chunks", items);
    line(ctx.reply, "active_slabs", 1);
    line(ctx.reply, "total_malloced", bytes);
}

fn connections(ctx: &mut Context<'_>) {
    let now_ms = ctx.now_ms();
    for client in ctx.server.clients.all() {
        let (id, reply) = (client.id, &mut *ctx.reply);
        line(
            reply,
            &format!("{id}:addr"),
            format!("tcp:{}", client.address),
        );
        let active_ms = client.active_ms.load(Ordering::Relaxed);
        let idle_s = now_ms.saturating_sub(active_ms) / 1000;
        line(reply, &format!("{id}:secs_since_last_cmd"), idle_s);
    }
}
