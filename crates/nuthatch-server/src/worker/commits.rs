//! Replies that wait until what their connections have written is synced: with `appendfsync always` a data thread
//! goes on with others meanwhile.

use super::Worker;
use crate::connection::Connection;
use std::sync::Arc;

/// Wakes after which the log's thread is told of changes that clients wait for, if there are always more requests.
const MOST_PUT_OFF: u32 = 4;

impl Worker {
    /// Has a connection that has written wait for the log, if it must.
    #[inline]
    pub(super) fn note_commit(&mut self, connection: &mut Connection) {
        self.server.keyspace.log_evictions();
        if let Some(durability) = &self.server.durability
            && let Some(point) = durability.commit_point()
        {
            if connection.commit_point.replace(point).is_none() {
                // A connection that is served has the place that it came from.
                let id = connection.session.client.id;
                self.committing.extend(self.tokens.get(&id));
            }
            self.is_commit_new = true;
        }
    }

    /// Tells the log's thread of what was changed, and lets those go on whose changes are synced. While more
    /// requests come that a sync will be for, it is told a little later.
    pub(super) fn follow_log(&mut self, is_idle: bool) {
        let journal = self.server.keyspace.journal();
        if !journal.is_on() {
            return;
        }
        if self.is_commit_new && !is_idle && self.put_off < MOST_PUT_OFF {
            self.put_off += 1;
        } else {
            self.put_off = 0;
            if std::mem::take(&mut self.is_commit_new) {
                journal.ring();
            }
            journal.ring_if_due();
        }
        if journal.is_full()
            && let Some(durability) = &self.server.durability
        {
            durability.review();
        }
        if !self.committing.is_empty() {
            self.acknowledge_synced();
        }
    }

    /// Sends the replies of those whose changes are synced, and runs their next requests.
    pub(super) fn acknowledge_synced(&mut self) {
        let server = Arc::clone(&self.server);
        let Some(durability) = &server.durability else {
            return;
        };
        // Said before it is looked at what is synced.
        self.handle.awaits_sync.wait();
        for token in std::mem::take(&mut self.committing) {
            let connection = self.connections.get_mut(token).and_then(Option::as_mut);
            let Some(connection) = connection else {
                continue;
            };
            let Some(point) = connection.commit_point else {
                continue;
            };
            match durability.may_acknowledge(point) {
                Some(false) => self.committing.push(token),
                Some(true) => {
                    connection.commit_point = None;
                    if self.flush(token) {
                        self.serve(token, None);
                    }
                }
                None => {
                    tracing::warn!(
                        client = connection.session.client.id,
                        "a client is disconnected: the disk has failed before what it has written was synced, \
                         so it cannot be acknowledged"
                    );
                    self.close(token);
                }
            }
        }
        if self.committing.is_empty() {
            self.handle.awaits_sync.end();
        }
    }
}
