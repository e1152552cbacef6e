//! What a user may do over memcached's protocol: what the rules say of the Redis command that does the
//! same to the same keys.

use crate::command;
use crate::context::Context;
use crate::executor;
use nuthatch_wire::memcached::{Meta, MetaCommand, Request, StoreMode};
use nuthatch_wire::resp::OwnedRequest;

/// Whether the client may ask for this.
pub(super) fn is_granted(ctx: &Context<'_>, request: &Request<'_>) -> bool {
    ctx.session.user.is_unbound() || is_granted_by_rules(ctx, request)
}

#[cold]
fn is_granted_by_rules(ctx: &Context<'_>, request: &Request<'_>) -> bool {
    let may = |name: &str, key: Option<&[u8]>| may(ctx, name, key);
    match *request {
        Request::Get { keys, exptime, .. } => {
            let name = if exptime.is_some() { "getex" } else { "get" };
            keys.iter().all(|key| may(name, Some(key)))
        }
        Request::Store(store) => may(name_of_mode(store.mode), Some(store.key)),
        Request::Delete { key, .. } => may("del", Some(key)),
        Request::Arithmetic { key, .. } => may("incrby", Some(key)),
        Request::Touch { key, .. } => may("expire", Some(key)),
        Request::FlushAll { .. } => may("flushall", None),
        Request::Stats(_) => may("info", None),
        Request::MemoryLimit { .. } => may("config|set", None),
        Request::MetaDebug { key, .. } => may("get", Some(key)),
        Request::Meta(meta) => names_of_meta(&meta)
            .into_iter()
            .flatten()
            .all(|name| may(name, Some(meta.key))),
        Request::Version
        | Request::Verbosity { .. }
        | Request::MetaNoop
        | Request::Shutdown
        | Request::Quit => true,
    }
}

fn name_of_mode(mode: StoreMode) -> &'static str {
    match mode {
        StoreMode::Set | StoreMode::Add | StoreMode::Replace | StoreMode::Prepend => "set",
        StoreMode::Append => "append",
    }
}

fn names_of_meta(meta: &Meta<'_>) -> [Option<&'static str>; 2] {
    let flags = &meta.flags;
    match meta.command {
        MetaCommand::Get => {
            let writes = flags.vivify.is_some() || flags.recache.is_some();
            let name = if flags.exptime.is_some() {
                "getex"
            } else {
                "get"
            };
            [Some(name), writes.then_some("set")]
        }
        MetaCommand::Set => [Some("set"), None],
        MetaCommand::Delete if flags.invalidates || flags.removes_value => [Some("set"), None],
        MetaCommand::Delete => [Some("del"), None],
        MetaCommand::Arithmetic => [Some("incrby"), None],
    }
}

fn may(ctx: &Context<'_>, name: &str, key: Option<&[u8]>) -> bool {
    let Some(entry) = command::table().find(name.as_bytes()) else {
        return false;
    };
    // The rest of the arguments says nothing of keys.
    let words = [Some(name.as_bytes()), key].into_iter().flatten();
    let rest = std::iter::repeat(&b"0"[..]);
    let length = usize::from(entry.command.arity.unsigned_abs());
    let request = OwnedRequest::new(words.chain(rest).take(length));
    executor::permit(ctx, entry, request.args()).is_ok()
}
