//! The commands of Redis' that do the same to the same keys as a request of memcached's: what rules say
//! of them decides who may ask for it, it waits in a pause when they would, and monitors see them.

use crate::clock;
use crate::command::{self, Entry, Flags};
use crate::context::Context;
use crate::error::CommandError;
use crate::executor;
use nuthatch_wire::memcached::{Meta, MetaCommand, Request, StoreMode};
use nuthatch_wire::resp::OwnedRequest;
use smallvec::SmallVec;
use std::sync::Arc;

/// A command of Redis', as far as memcached has words for its arguments.
#[derive(Debug)]
struct Equivalent<'a> {
    name: &'static str,
    key: Option<&'a [u8]>,
    value: Value<'a>,
}

/// What follows the key.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    None,
    Bytes(&'a [u8]),
    Number(u64),
    Time(i64),
}

impl<'a> Equivalent<'a> {
    fn of_key(name: &'static str, key: &'a [u8]) -> Self {
        Self {
            name,
            key: Some(key),
            value: Value::None,
        }
    }

    fn of_all(name: &'static str) -> Self {
        Self {
            name,
            key: None,
            value: Value::None,
        }
    }

    fn with(self, value: Value<'a>) -> Self {
        Self { value, ..self }
    }

    fn entry(&self) -> &'static Entry {
        let found = command::table().find(self.name.as_bytes());
        found.expect("equivalents are in the table")
    }

    /// It as a request, of the words that there are.
    fn request(&self) -> OwnedRequest {
        let number = match self.value {
            Value::None | Value::Bytes(_) => String::new(),
            Value::Number(number) => number.to_string(),
            Value::Time(seconds) => seconds.to_string(),
        };
        let name = self.name.as_bytes().split(|byte| *byte == b'|');
        let mut words: SmallVec<[&[u8]; 4]> = name.chain(self.key).collect();
        match self.value {
            Value::None => {}
            Value::Bytes(bytes) => words.push(bytes),
            Value::Time(_) if self.name == "getex" => words.extend([&b"ex"[..], number.as_bytes()]),
            Value::Number(_) | Value::Time(_) => words.push(number.as_bytes()),
        }
        OwnedRequest::new(words)
    }
}

fn equivalents<'a>(request: &Request<'a>) -> SmallVec<[Equivalent<'a>; 2]> {
    let one = |equivalent| SmallVec::from_iter([equivalent]);
    match *request {
        Request::Get { keys, exptime, .. } => keys
            .iter()
            .map(|key| match exptime {
                Some(seconds) => Equivalent::of_key("getex", key).with(Value::Time(seconds)),
                None => Equivalent::of_key("get", key),
            })
            .collect(),
        Request::Store(store) => {
            let name = name_of_mode(store.mode);
            one(Equivalent::of_key(name, store.key).with(Value::Bytes(store.data)))
        }
        Request::Delete { key, .. } => one(Equivalent::of_key("del", key)),
        Request::Arithmetic {
            key,
            delta,
            is_decrement,
            ..
        } => {
            let name = if is_decrement { "decrby" } else { "incrby" };
            one(Equivalent::of_key(name, key).with(Value::Number(delta)))
        }
        Request::Touch { key, exptime, .. } => {
            one(Equivalent::of_key("expire", key).with(Value::Time(exptime)))
        }
        Request::FlushAll { .. } => one(Equivalent::of_all("flushall")),
        Request::Stats(_) => one(Equivalent::of_all("info")),
        Request::MemoryLimit { .. } => one(Equivalent::of_all("config|set")),
        Request::MetaDebug { key, .. } => one(Equivalent::of_key("get", key)),
        Request::Meta(meta) => of_meta(&meta),
        Request::Version
        | Request::Verbosity { .. }
        | Request::MetaNoop
        | Request::Shutdown
        | Request::Quit => SmallVec::new(),
    }
}

fn name_of_mode(mode: StoreMode) -> &'static str {
    match mode {
        StoreMode::Set | StoreMode::Add | StoreMode::Replace | StoreMode::Prepend => "set",
        StoreMode::Append => "append",
    }
}

fn of_meta<'a>(meta: &Meta<'a>) -> SmallVec<[Equivalent<'a>; 2]> {
    let flags = &meta.flags;
    let of_key = |name| Equivalent::of_key(name, meta.key);
    match meta.command {
        MetaCommand::Get => {
            let writes = flags.vivify.is_some() || flags.recache.is_some();
            let read = match flags.exptime {
                Some(seconds) => of_key("getex").with(Value::Time(seconds)),
                None => of_key("get"),
            };
            let written = writes.then(|| of_key("set"));
            [Some(read), written].into_iter().flatten().collect()
        }
        MetaCommand::Set => SmallVec::from_iter([of_key("set").with(Value::Bytes(meta.data))]),
        MetaCommand::Delete if flags.invalidates || flags.removes_value => {
            SmallVec::from_iter([of_key("set")])
        }
        MetaCommand::Delete => SmallVec::from_iter([of_key("del")]),
        MetaCommand::Arithmetic => {
            let delta = flags.delta.unwrap_or(1);
            SmallVec::from_iter([of_key("incrby").with(Value::Number(delta))])
        }
    }
}

/// Whether the client may ask for this.
pub(super) fn is_granted(ctx: &Context<'_>, request: &Request<'_>) -> bool {
    ctx.session.user.is_unbound() || is_granted_by_rules(ctx, request)
}

#[cold]
fn is_granted_by_rules(ctx: &Context<'_>, request: &Request<'_>) -> bool {
    equivalents(request).iter().all(|equivalent| {
        let entry = equivalent.entry();
        // The rest of the arguments says nothing of keys.
        let words = [Some(equivalent.name.as_bytes()), equivalent.key];
        let rest = std::iter::repeat(&b"0"[..]);
        let length = usize::from(entry.command.arity.unsigned_abs());
        let request = OwnedRequest::new(words.into_iter().flatten().chain(rest).take(length));
        executor::permit(ctx, entry, request.args()).is_ok()
    })
}

fn flags(request: &Request<'_>) -> Flags {
    equivalents(request)
        .iter()
        .fold(Flags::empty(), |flags, equivalent| {
            flags | equivalent.entry().command.flags
        })
}

/// Whether this must wait until a pause is over.
#[cold]
pub(super) fn must_wait(ctx: &Context<'_>, request: &Request<'_>) -> bool {
    let pause = &ctx.server.observers.pause;
    pause.holds(flags(request), ctx.now_ms())
}

/// Whether this must wait until the disk has caught up. An error if it is not to be run at all.
#[cold]
pub(super) fn must_wait_for_disk(
    ctx: &Context<'_>,
    request: &Request<'_>,
) -> Result<bool, CommandError> {
    executor::disk_admission(ctx.server, flags(request))
}

/// Shows this to monitors.
#[cold]
pub(super) fn show(ctx: &mut Context<'_>, request: &Request<'_>) {
    let client = Arc::clone(&ctx.session.client);
    let monitors = &ctx.server.observers.monitors;
    let now_ns = clock::now_ns();
    for equivalent in equivalents(request) {
        let words = equivalent.request();
        let entry = equivalent.entry();
        monitors.show(&client, entry, words.args(), now_ns, &mut ctx.outbox());
    }
}
