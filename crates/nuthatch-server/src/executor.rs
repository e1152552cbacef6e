//! The way of one request: found in the table, checked, queued or run, counted.

use crate::acl::{DenialReason, Refusal};
use crate::client::ClientFlags;
use crate::command::{self, Entry, Flags};
use crate::context::{Context, Event};
use crate::durability::Admission;
use crate::error::{CommandError, CommandResult};
use crate::events::EventClasses;
use crate::hot_keys;
use crate::keyspace::Promise;
use crate::locks::Held;
use crate::server::Server;
use crate::session::{ReplyMode, Transaction};
use crate::slowlog::{self, SlowCommand};
use crate::watch::Reasons;
use nuthatch_wire::resp::{Args, OwnedRequest, Protocol};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Of the calls of a quick command, one in so many is timed, and counts for all of them: reading the
/// clock twice would cost a tenth of what the command itself costs.
const TIMED_ONE_IN: u64 = 16;

/// A slow log of commands faster than this needs every call timed.
const ALL_TIMED_BELOW_US: i64 = 1000;

/// Bytes that an argument takes at most besides its own, once it is a key, a value or a field.
const ROOM_PER_ARGUMENT_BYTES: usize = 128;

/// Keys of one sampled command that are counted.
const SAMPLED_KEYS: usize = 64;

/// Bytes of an unknown command's arguments that its error quotes.
const QUOTED_BYTES: usize = 128;

/// The command that a request most likely calls, given the one called before: only to prepare for it.
#[inline]
pub fn foresee(before: Option<&'static Entry>, args: Args<'_>) -> Option<&'static Entry> {
    let name = args.get(0)?;
    match before {
        Some(entry) if is_same_name(entry, name) => before,
        _ => command::table().find(name),
    }
}

/// Runs one request and writes its reply.
#[inline]
pub fn execute(ctx: &mut Context<'_>, args: Args<'_>) {
    let start = ctx.reply.len();
    match find(ctx, args) {
        Ok(entry) => {
            if let Err(error) = admit_and_run(ctx, entry, args) {
                fail(ctx, start, &error);
            }
        }
        Err(error) => {
            break_transaction(ctx);
            fail(ctx, start, &error);
        }
    }
    if ctx.session.has_aftermath() {
        settle(ctx, start);
    }
}

#[cold]
fn fail(ctx: &mut Context<'_>, start: usize, error: &CommandError) {
    ctx.reply.truncate(start);
    let text = error.to_string();
    ctx.reply.error(&text);
    ctx.worker.stats.errors.add(1);
    ctx.worker.stats.errors_by_code.add(&text);
}

/// What is left to do after few commands: replies that are dropped, and what the command has pushed to
/// its own caller.
#[cold]
fn settle(ctx: &mut Context<'_>, start: usize) {
    if ctx.session.is_waiting() {
        return;
    }
    let changed = ctx.session.take_put_off();
    if !changed.is_empty() {
        let tracking = &ctx.server.observers.tracking;
        tracking.broadcast(&changed, &mut ctx.outbox());
    }
    let session = &mut *ctx.session;
    let entry = session.last_command;
    let mode = session.reply_mode();
    // What subscribing answers are pushes, which are sent in any case.
    let is_push = entry.is_some_and(|entry| {
        let flags = entry.command.flags;
        flags.contains(Flags::PUBSUB.union(Flags::NOSCRIPT))
    });
    if mode != ReplyMode::On && !is_push {
        ctx.reply.truncate(start);
    }
    match mode {
        ReplyMode::On | ReplyMode::Off => {}
        ReplyMode::SkipNext => session.set_reply_mode(ReplyMode::Skip),
        ReplyMode::Skip => session.set_reply_mode(ReplyMode::On),
    }
    let mut bytes = Vec::new();
    for push in session.take_pushes() {
        push.write(session, ctx.reply.protocol(), &mut bytes);
    }
    ctx.reply.raw(&bytes);
    session.settle(entry.is_some_and(|entry| entry.full_name == "client|caching"));
}

/// The command that a request calls, with the right number of arguments.
#[inline]
fn find(ctx: &mut Context<'_>, args: Args<'_>) -> Result<&'static Entry, CommandError> {
    let name = args.at(0);
    let entry = match ctx.session.last_command {
        // Clients mostly call what they have just called, spelt alike.
        Some(entry) if is_same_name(entry, name) => entry,
        _ => look_up(args)?,
    };
    ctx.session.last_command = Some(entry);
    if entry.command.takes(args.len()) {
        Ok(entry)
    } else {
        ctx.worker.stats.commands[entry.id as usize].rejected.add(1);
        Err(CommandError::Arity(entry.full_name.as_str().into()))
    }
}

#[inline]
fn is_same_name(entry: &Entry, name: &[u8]) -> bool {
    // A subcommand's full name has a bar, which no request has. A container that was called alone
    // may be called with a subcommand next.
    entry.full_name.len() == name.len()
        && entry.full_name.as_bytes().eq_ignore_ascii_case(name)
        && entry.subcommands.is_empty()
}

fn look_up(args: Args<'_>) -> Result<&'static Entry, CommandError> {
    let table = command::table();
    let name = args.at(0);
    let Some(entry) = table.find(name).filter(|_| !name.contains(&b'|')) else {
        return Err(unknown(args));
    };
    if entry.subcommands.is_empty() {
        return Ok(entry);
    }
    let Some(sub) = args.get(1) else {
        // A container may be a command of its own, such as COMMAND.
        return Ok(entry);
    };
    match table.find_subcommand(entry, sub) {
        Some(found) => Ok(found),
        None => Err(format!(
            "ERR unknown subcommand '{}'. Try {} HELP.",
            quoted(sub),
            entry.full_name.to_uppercase()
        )
        .into()),
    }
}

#[cold]
fn unknown(args: Args<'_>) -> CommandError {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", {
        quoted(args.at(0))
    });
    let mut left = QUOTED_BYTES;
    for arg in args.from(1).iter() {
        if left == 0 {
            break;
        }
        let shown = &arg[..arg.len().min(left)];
        text += &format!("'{}' ", quoted(shown));
        left -= shown.len();
    }
    text.into()
}

fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_BYTES)]).into_owned()
}

/// A request that cannot be queued spoils the transaction that it was meant for.
fn break_transaction(ctx: &mut Context<'_>) {
    if let Some(transaction) = &mut ctx.session.transaction {
        transaction.break_up();
    }
}

#[inline]
fn admit_and_run(ctx: &mut Context<'_>, entry: &'static Entry, args: Args<'_>) -> CommandResult {
    if let Err(error) = admit(ctx, entry, args) {
        ctx.worker.stats.commands[entry.id as usize].rejected.add(1);
        break_transaction(ctx);
        return Err(error);
    }
    let reasons = ctx.server.observers.attention.get();
    let mut _promise = None;
    if reasons.contains(Reasons::NO_EVICTION) && entry.command.flags.contains(Flags::DENYOOM) {
        _promise = promise_room(ctx, [args]);
        if _promise.is_none() {
            ctx.worker.stats.commands[entry.id as usize].rejected.add(1);
            break_transaction(ctx);
            return Err(CommandError::OutOfMemory);
        }
    }
    if reasons.contains(Reasons::PAUSED) && must_wait(ctx, entry) {
        ctx.session.set_waiting(true, ctx.server);
        return Ok(());
    }
    if reasons.intersects(Reasons::DISK | Reasons::LOADING) && must_wait_for_disk(ctx, entry)? {
        ctx.session.set_waiting(true, ctx.server);
        return Ok(());
    }
    if ctx.session.transaction.is_some() && !entry.command.flags.contains(Flags::NO_QUEUE) {
        return queue(ctx, entry, args);
    }
    if entry.command.keys_are_locked() {
        let _held = hold(ctx, entry, args);
        // What it changes is recovered together or not at all.
        let _group = ctx.keyspace().journal().group();
        ctx.session.has_written |= entry.command.flags.contains(Flags::WRITE);
        return run_seen(ctx, entry, args, reasons);
    }
    if entry.is_single_key {
        let keyspace = ctx.keyspace();
        let (hash, start) = (keyspace.lock_hash(args.at(1)), ctx.reply.len());
        return keyspace.locks().read(hash, || {
            ctx.reply.truncate(start);
            run_seen(ctx, entry, args, reasons)
        });
    }
    run_seen(ctx, entry, args, reasons)
}

/// Promises room for what requests may leave in memory, so that none of them runs into its end halfway.
/// What a request does not name, such as what `APPEND` finds, is not foreseen; the command that needs more
/// room than was promised changes one key, and does so wholly or not at all.
#[cold]
fn promise_room<'a, 'r>(
    ctx: &Context<'a>,
    requests: impl IntoIterator<Item = Args<'r>>,
) -> Option<Promise<'a>> {
    let bytes_of =
        |args: Args<'_>| args.total_bytes() * 9 / 8 + args.len() * ROOM_PER_ARGUMENT_BYTES;
    let bytes: usize = requests.into_iter().map(bytes_of).sum();
    ctx.keyspace().promise_room(bytes as u64)
}

/// Promises room for the commands of a transaction that may take memory, if nothing may be evicted.
pub fn promise_transaction<'a>(
    ctx: &Context<'a>,
    transaction: &Transaction,
) -> Result<Option<Promise<'a>>, CommandError> {
    let reasons = ctx.server.observers.attention.get();
    if !reasons.contains(Reasons::NO_EVICTION) || !transaction.flags().contains(Flags::DENYOOM) {
        return Ok(None);
    }
    let queue = transaction.queue().iter();
    let takers = queue.filter(|(entry, _)| entry.command.flags.contains(Flags::DENYOOM));
    let promise = promise_room(ctx, takers.map(|(_, request)| request.args()));
    promise.map(Some).ok_or(CommandError::OutOfMemory)
}

/// Whether a command must wait until a pause is over.
#[cold]
fn must_wait(ctx: &Context<'_>, entry: &Entry) -> bool {
    let flags = effective_flags(ctx, entry);
    ctx.server.observers.pause.holds(flags, ctx.now_ms())
}

/// The flags of a command, and of those that it runs.
fn effective_flags(ctx: &Context<'_>, entry: &Entry) -> Flags {
    match &ctx.session.transaction {
        Some(transaction) if entry.full_name == "exec" => entry.command.flags | transaction.flags(),
        _ => entry.command.flags,
    }
}

/// Whether a command must wait until the disk has caught up. An error if it is not to be run at all, since the
/// disk has failed or what is on it is being loaded.
#[cold]
fn must_wait_for_disk(ctx: &mut Context<'_>, entry: &Entry) -> Result<bool, CommandError> {
    let flags = effective_flags(ctx, entry);
    let admission = disk_admission(ctx.server, flags);
    if admission.is_err() {
        ctx.worker.stats.commands[entry.id as usize].rejected.add(1);
        break_transaction(ctx);
    }
    let is_queued = ctx.session.transaction.is_some() && !flags.contains(Flags::NO_QUEUE);
    Ok(admission? && !is_queued)
}

/// Whether what has these flags must wait until the disk has caught up. An error if it is not to be run at all.
pub fn disk_admission(server: &Server, flags: Flags) -> Result<bool, CommandError> {
    if server.is_loading() && !flags.contains(Flags::LOADING) {
        return Err("LOADING Nuthatch is loading the dataset in memory".into());
    }
    let Some(durability) = server
        .durability
        .as_ref()
        .filter(|_| flags.contains(Flags::WRITE))
    else {
        return Ok(false);
    };
    match durability.admission() {
        Admission::Open | Admission::Unprotected => Ok(false),
        Admission::Waiting => Ok(true),
        Admission::Refused => Err(durability.refusal().into()),
    }
}

/// Runs a command before the eyes of those who want to know of it.
#[inline]
fn run_seen(
    ctx: &mut Context<'_>,
    entry: &'static Entry,
    args: Args<'_>,
    reasons: Reasons,
) -> CommandResult {
    if reasons.contains(Reasons::TRACKED) && ctx.session.tracking.is_some() {
        track(ctx, entry, args);
    }
    if reasons.contains(Reasons::EVENTS) {
        tell_misses(ctx, entry, args);
    }
    let result = run(ctx, entry, args);
    if reasons.contains(Reasons::MONITORED) {
        show(ctx, entry, args);
    }
    result
}

/// Registers the keys that a client which tracks them is about to read.
#[cold]
fn track(ctx: &mut Context<'_>, entry: &Entry, args: Args<'_>) {
    let flags = entry.command.flags;
    // Taken out while the outbox borrows the session.
    let Some(tracking) = ctx.session.tracking.take() else {
        return;
    };
    if flags.contains(Flags::READONLY) && tracking.registers() {
        let max_keys = ctx.config.tracking_table_max_keys;
        let table = &ctx.server.observers.tracking;
        for position in entry.command.keys.positions(args) {
            table.register(args.at(position), &tracking, max_keys, &mut ctx.outbox());
        }
    }
    ctx.session.tracking = Some(tracking);
}

/// Publishes which keys a command is about to read in vain.
#[cold]
fn tell_misses(ctx: &mut Context<'_>, entry: &Entry, args: Args<'_>) {
    let flags = entry.command.flags;
    if !flags.contains(Flags::READONLY) || !ctx.wants_events(EventClasses::MISSED) {
        return;
    }
    for position in entry.command.keys.positions(args) {
        let key = args.at(position);
        if !ctx.keyspace().contains(key) {
            ctx.publish_event(key, Event::MISSED);
        }
    }
}

#[cold]
fn show(ctx: &mut Context<'_>, entry: &Entry, args: Args<'_>) {
    let client = Arc::clone(&ctx.session.client);
    let monitors = &ctx.server.observers.monitors;
    let now_ns = crate::clock::now_ns();
    monitors.show(&client, entry, args, now_ns, &mut ctx.outbox());
}

impl command::Command {
    /// Whether the command's keys must be held while it runs: it writes, or reads several.
    #[inline]
    fn keys_are_locked(&self) -> bool {
        self.flags.intersects(Flags::WRITE.union(Flags::ALL_KEYS))
            || (self.flags.contains(Flags::READONLY)
                && !matches!(
                    self.keys,
                    command::Keys::None
                        | command::Keys::Range {
                            first: 1,
                            last: 1,
                            step: 1
                        }
                ))
    }
}

/// What speaks against running a command now.
#[inline]
fn admit(ctx: &Context<'_>, entry: &Entry, args: Args<'_>) -> CommandResult {
    let flags = entry.command.flags;
    if !ctx.session.is_authenticated && !flags.contains(Flags::NO_AUTH) {
        return Err("NOAUTH Authentication required.".into());
    }
    if !ctx.session.user.is_unbound() {
        permit(ctx, entry, args)?;
    }
    if ctx.session.transaction.is_some() && flags.contains(Flags::NO_MULTI) {
        let name = &entry.full_name;
        return Err(format!("ERR Command '{name}' not allowed inside a transaction").into());
    }
    let what = ctx.session.client.flags();
    if what.contains(ClientFlags::MONITOR) && flags.intersects(Flags::READONLY | Flags::WRITE) {
        return Err("ERR Replica can't interact with the keyspace".into());
    }
    if ctx.reply.protocol() == Protocol::Resp2
        && ctx.session.client.flags().contains(ClientFlags::PUBSUB)
        && !flags.contains(Flags::WHILE_SUBSCRIBED)
    {
        return Err(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context",
            entry.full_name
        )
        .into());
    }
    Ok(())
}

/// Asks the user's rules.
#[cold]
pub(crate) fn permit(ctx: &Context<'_>, entry: &Entry, args: Args<'_>) -> CommandResult {
    let user = &ctx.session.user;
    let Err(denial) = user.rules().check(entry, args) else {
        return Ok(());
    };
    let object = match denial.reason {
        DenialReason::Command => entry.full_name.as_bytes(),
        DenialReason::Key | DenialReason::Channel => args.at(denial.position),
    };
    let client = &ctx.session.client;
    client.command.store(entry.id, Ordering::Relaxed);
    ctx.note_refusal(Refusal::Permission(denial.reason), object, user.name());
    Err(match denial.reason {
        DenialReason::Command => format!(
            "NOPERM User {} has no permissions to run the '{}' command",
            String::from_utf8_lossy(user.name()),
            entry.full_name
        )
        .into(),
        DenialReason::Key => "NOPERM No permissions to access a key".into(),
        DenialReason::Channel => "NOPERM No permissions to access a channel".into(),
    })
}

fn queue(ctx: &mut Context<'_>, entry: &'static Entry, args: Args<'_>) -> CommandResult {
    let transaction = ctx
        .session
        .transaction
        .as_mut()
        .expect("commands are queued by an open transaction");
    transaction.push(entry, args);
    let bytes = transaction.queued_bytes() as u64;
    let client = &ctx.session.client;
    let queued = transaction.queue().len() as u32;
    client.queued.store(queued, Ordering::Relaxed);
    client.queued_bytes.store(bytes, Ordering::Relaxed);
    if bytes > ctx.config.client_query_buffer_limit.0 {
        ctx.worker.stats.query_limit_disconnections.add(1);
        tracing::warn!(
            client = client.id,
            bytes,
            "a transaction exceeds client-query-buffer-limit"
        );
        break_transaction(ctx);
        ctx.session.closing = true;
        return Err("ERR the transaction exceeds client-query-buffer-limit".into());
    }
    ctx.reply.simple("QUEUED");
    Ok(())
}

/// Holds the keys of one command.
#[inline]
fn hold<'a>(ctx: &Context<'a>, entry: &Entry, args: Args<'_>) -> Held<'a> {
    let keyspace = ctx.keyspace();
    let locks = keyspace.locks();
    if entry.is_single_key {
        return locks.hold_one(keyspace.lock_hash(args.at(1)));
    }
    let writes = entry.command.flags.contains(Flags::WRITE);
    if entry.command.flags.contains(Flags::ALL_KEYS) {
        return locks.hold_all();
    }
    let positions = entry.command.keys.positions(args);
    locks.hold_many(
        positions.map(|position| keyspace.lock_hash(args.at(position))),
        writes,
    )
}

/// Runs a command whose keys are held, and counts it.
#[inline]
fn run(ctx: &mut Context<'_>, entry: &'static Entry, args: Args<'_>) -> CommandResult {
    let stats = &ctx.worker.stats.commands[entry.id as usize];
    let calls = stats.calls.get() + 1;
    let is_quick = entry
        .command
        .flags
        .intersects(Flags::FAST.union(Flags::TIMED_SOMETIMES))
        && !(0..ALL_TIMED_BELOW_US).contains(&ctx.config.slowlog_log_slower_than);
    let weight = if is_quick { TIMED_ONE_IN } else { 1 };
    let timed_below = if is_quick {
        u64::MAX / TIMED_ONE_IN
    } else {
        u64::MAX
    };
    let scattered = calls.wrapping_mul(hot_keys::SCATTER);
    // The first call is timed whatever it is, so that a command that was called has a time.
    let result = if scattered <= timed_below || calls == 1 {
        let weight = if calls == 1 { 1 } else { weight };
        if scattered <= u64::MAX / hot_keys::SAMPLED_ONE_IN {
            sample_keys(ctx, entry, args);
        }
        let start = Instant::now();
        let result = (entry.command.handler)(ctx, args);
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        stats.ns.add(ns.saturating_mul(weight));
        if ctx.config.latency_tracking.0 {
            stats.times.record(ns, weight);
        }
        note_if_slow(ctx, entry, args, ns);
        result
    } else {
        (entry.command.handler)(ctx, args)
    };
    // Counted afterwards, so that a reset of the counts does not count itself out.
    stats.calls.add(1);
    if result.is_err() {
        stats.failed.add(1);
    }
    result
}

/// Keeps a command that took long in the slow log, and as a spike.
#[inline]
fn note_if_slow(ctx: &Context<'_>, entry: &Entry, args: Args<'_>, ns: u64) {
    let (us, ms) = (ns / 1000, ns / 1_000_000);
    let limit_us = u64::try_from(ctx.config.slowlog_log_slower_than);
    if limit_us.is_ok_and(|limit| us >= limit) && !entry.command.flags.contains(Flags::SKIP_SLOWLOG)
    {
        note_slow(ctx, entry, args, us);
    }
    let limit_ms = ctx.config.latency_monitor_threshold;
    if limit_ms > 0 && ms >= limit_ms {
        let event = if entry.command.flags.contains(Flags::FAST) {
            "fast-command"
        } else {
            "command"
        };
        ctx.server.latency.add(event, ctx.now_ms() / 1000, ms);
    }
}

#[cold]
fn note_slow(ctx: &Context<'_>, entry: &Entry, args: Args<'_>, duration_us: u64) {
    let client = &ctx.session.client;
    let command = SlowCommand {
        id: 0,
        time_s: ctx.now_ms() / 1000,
        duration_us,
        args: slowlog::cut(entry, args),
        address: client.address.clone(),
        name: client.names().name,
    };
    let max = ctx.config.slowlog_max_len as usize;
    ctx.server.slow_log.add(command, max);
}

/// Counts the keys of a command for the list of hot keys.
#[cold]
fn sample_keys(ctx: &Context<'_>, entry: &Entry, args: Args<'_>) {
    for position in entry.command.keys.positions(args).take(SAMPLED_KEYS) {
        ctx.worker.hot_keys.count(args.at(position));
    }
}

/// Runs a transaction: all its commands, with nothing in between. `still_valid` is asked once their
/// keys are held; if it says no, none runs, and `false` is returned.
pub fn run_transaction(
    ctx: &mut Context<'_>,
    transaction: Transaction,
    still_valid: impl FnOnce(&Context<'_>) -> bool,
) -> bool {
    let keyspace = ctx.keyspace();
    let _held = if keyspace.locks().is_single() {
        None
    } else {
        Some(hold_transaction(ctx, &transaction))
    };
    if !still_valid(ctx) {
        return false;
    }
    let _group = keyspace.journal().group();
    ctx.session.has_written |= transaction.flags().contains(Flags::WRITE);
    ctx.reply.array(transaction.queue().len());
    ctx.in_transaction = true;
    for (entry, request) in transaction.queue() {
        let start = ctx.reply.len();
        // Permissions may have changed since the command was queued.
        let permitted = if ctx.session.user.is_unbound() {
            Ok(())
        } else {
            permit(ctx, entry, request.args())
        };
        let reasons = ctx.server.observers.attention.get();
        let run = |()| run_seen(ctx, entry, request.args(), reasons);
        if let Err(error) = permitted.and_then(run) {
            fail(ctx, start, &error);
        }
    }
    ctx.in_transaction = false;
    true
}

fn hold_transaction<'a>(ctx: &Context<'a>, transaction: &Transaction) -> Held<'a> {
    let keyspace = ctx.keyspace();
    let all_keys =
        |(entry, _): &(&Entry, OwnedRequest)| entry.command.flags.contains(Flags::ALL_KEYS);
    if transaction.queue().iter().any(all_keys) {
        return keyspace.locks().hold_all();
    }
    let mut hashes: SmallVec<[u64; 32]> = SmallVec::new();
    for (entry, request) in transaction.queue() {
        let args = request.args();
        let positions = entry.command.keys.positions(args);
        hashes.extend(positions.map(|position| keyspace.lock_hash(args.at(position))));
    }
    let watched = ctx.session.watched.iter();
    hashes.extend(watched.map(|watched| keyspace.lock_hash(&watched.key)));
    keyspace.locks().hold_many(hashes, true)
}
