//! How a client is described: one line of `CLIENT LIST`, field by field as Redis prints it.

use crate::client::{Client, ClientFlags};
use crate::command;
use nuthatch_wire::resp::Args;
use std::sync::atomic::Ordering;

/// The letters that stand for what a client is doing.
pub(super) const LETTERS: &[(char, ClientFlags)] = &[
    ('O', ClientFlags::MONITOR),
    ('P', ClientFlags::PUBSUB),
    ('x', ClientFlags::MULTI),
    ('b', ClientFlags::WAITING),
    ('t', ClientFlags::TRACKING),
    ('R', ClientFlags::TRACKING_BROKEN),
    ('B', ClientFlags::TRACKING_BCAST),
    ('A', ClientFlags::CLOSING),
    ('U', ClientFlags::UNIX),
    ('r', ClientFlags::READONLY),
    ('e', ClientFlags::NO_EVICT),
    ('T', ClientFlags::NO_TOUCH),
    ('I', ClientFlags::IMPORT_SOURCE),
];

/// The letters of a client; `N` if there is nothing to tell.
pub(super) fn letters(client: &Client) -> String {
    let flags = client.flags();
    let mut letters: String = LETTERS
        .iter()
        .filter(|(_, flag)| flags.contains(*flag))
        .map(|(letter, _)| *letter)
        .collect();
    if client.touched.load(Ordering::Relaxed) {
        letters.push('d');
    }
    if letters.is_empty() {
        letters.push('N');
    }
    letters
}

/// Describes a client; `request` is what it has just asked, if it is the one who asks.
pub fn client_line(client: &Client, now_ms: u64, request: Option<Args<'_>>) -> String {
    let of = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    let flags = client.flags();
    let names = client.names();
    let is_multi = flags.contains(ClientFlags::MULTI);
    let multi = if is_multi {
        i64::from(client.queued.load(Ordering::Relaxed))
    } else {
        -1
    };
    let redirect = if flags.contains(ClientFlags::TRACKING) {
        of(&client.redirect).cast_signed()
    } else {
        -1
    };
    let [channels, patterns, shard_channels] =
        [0, 1, 2].map(|kind: usize| client.subscriptions[kind].load(Ordering::Relaxed));
    let table = command::table();
    // What it calls now is not noted yet.
    let called = match request {
        Some(args) => table
            .find(args.at(0))
            .and_then(|entry| table.find_subcommand(entry, args.get(1).unwrap_or_default())),
        None => Some(client.command.load(Ordering::Relaxed))
            .filter(|command| *command != u32::MAX)
            .map(|command| table.entry(command)),
    };
    let called = called.map_or("NULL", |entry| entry.full_name.as_str());
    let input = of(&client.input_bytes);
    let arguments = request.map_or(0, |args| args.total_bytes() as u64);
    let (output, queued) = (of(&client.output_bytes), of(&client.queued_bytes));
    let total = size_of::<Client>() as u64 + input + output + queued;
    let seconds_since = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
    let capabilities = if flags.contains(ClientFlags::CAPA_REDIRECT) {
        "r"
    } else {
        ""
    };
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} capa={capabilities} db=0 \
         sub={channels} psub={patterns} ssub={shard_channels} multi={multi} watch={} qbuf={input} \
         qbuf-free=0 argv-mem={arguments} multi-mem={queued} rbs=0 rbp=0 obl=0 oll={} \
         omem={output} tot-mem={total} events={} cmd={called} user={} redir={redirect} resp={} \
         lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        client.id,
        client.address,
        client.local_address,
        client.descriptor,
        names.name,
        seconds_since(client.connected_ms),
        seconds_since(of(&client.active_ms)),
        letters(client),
        client.watched.load(Ordering::Relaxed),
        u8::from(output > 0),
        if output > 0 { "rw" } else { "r" },
        names.user,
        client.protocol.load(Ordering::Relaxed),
        names.lib_name,
        names.lib_version,
        of(&client.read_bytes),
        of(&client.written_bytes),
        of(&client.requests),
    )
}
