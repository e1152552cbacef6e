//! Removes fields of hashes that are due, so that they do not keep memory which nobody can reach.
//!
//! The control thread sees that a key is to be visited ([`FieldDeadlines`](crate::hash::FieldDeadlines))
//! and asks the first data thread to do it, for with one data thread there are no locks and nobody else
//! may write. A visit holds the key's stripe and removes a bounded number of fields; a turn makes a
//! bounded number of visits.

use crate::keyspace::{Effect, Keyspace};
use crate::mailbox::Message;
use crate::server::Server;
use crate::watch::Reasons;

/// Fields removed while one key's stripe is held.
const FIELDS_PER_VISIT: usize = 256;
/// Visits before clients get their turn.
const VISITS_PER_TURN: usize = 64;

/// Asks for what is due to be removed. Nothing is while clients' writes are paused.
pub fn request(server: &Server, now_ms: u64) {
    let keyspace = &server.keyspace;
    for key in keyspace.field_deadlines.to_compare() {
        if !keyspace.has_field_deadlines(&key) {
            keyspace.field_deadlines.note(&key, 0);
        }
    }
    let is_paused = server.observers.attention.get().contains(Reasons::PAUSED);
    if keyspace.field_deadlines.is_due(now_ms)
        && !is_paused
        && let Some(worker) = server.workers().first()
    {
        worker.mailbox.send(Message::ExpireFields);
    }
}

/// Removes fields that are due. Returns whether there may be more. Data threads only.
pub fn remove_due(server: &Server, now_ms: u64) -> bool {
    for _ in 0..VISITS_PER_TURN {
        let Some(key) = server.keyspace.field_deadlines.take_due(now_ms) else {
            return false;
        };
        visit(server, &key, now_ms);
    }
    server.keyspace.field_deadlines.is_due(now_ms)
}

fn visit(server: &Server, key: &[u8], now_ms: u64) {
    let keyspace: &Keyspace = &server.keyspace;
    let _held = keyspace.locks().hold_one(keyspace.lock_hash(key));
    let mut due = Vec::new();
    let next_ms = keyspace.take_due_fields(key, now_ms, FIELDS_PER_VISIT, &mut due);
    if let Some(next_ms) = next_ms {
        keyspace.field_deadlines.note(key, next_ms);
    }
    if due.is_empty() {
        return;
    }
    let fields: Vec<&[u8]> = due.iter().map(|name| &**name).collect();
    let effect = Effect::HashDelete {
        key,
        fields: &fields,
    };
    let is_emptied = match keyspace.apply(effect) {
        Ok(change) => change.is_emptied,
        Err(error) => {
            // A hash that is larger than the whole cache by now; the cache has dropped it.
            tracing::debug!(%error, "a hash with expired fields is gone");
            true
        }
    };
    server
        .observers
        .fields_expired(key, fields.len(), is_emptied);
}
