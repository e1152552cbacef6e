//! What a command's handler works with.

use crate::acl::{DenialContext, Record, Refusal};
use crate::clock;
use crate::config::Config;
use crate::error::CommandError;
use crate::events::EventClasses;
use crate::keyspace::{Change, Effect, EffectError, Keyspace, NewString};
use crate::object::ValueCopy;
use crate::push::Outbox;
use crate::server::{Server, WorkerHandle};
use crate::session::Session;
use crate::watch::Reasons;
use nuthatch_wire::resp::Reply;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// The class of an event of a key, and its letter in `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    /// `g`: commands for keys of any type.
    Generic,
    /// `$`: strings.
    String,
    /// `h`: hashes.
    Hash,
    /// `x`: expiry.
    Expired,
    /// `e`: eviction.
    Evicted,
    /// `n`: new keys.
    New,
    /// `m`: reads of keys that do not exist.
    Missed,
}

/// What happened to a key, as it is published.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its class.
    pub class: EventClass,
    /// Its name.
    pub name: &'static str,
}

impl Event {
    /// An event of a command for keys of any type.
    pub const fn generic(name: &'static str) -> Self {
        Self {
            class: EventClass::Generic,
            name,
        }
    }

    /// The event of a key that was not there before.
    pub const NEW: Self = Self {
        class: EventClass::New,
        name: "new",
    };

    /// The event of a read of a key that does not exist.
    pub const MISSED: Self = Self {
        class: EventClass::Missed,
        name: "keymiss",
    };

    /// The event of a key that had to make room.
    pub const EVICTED: Self = Self {
        class: EventClass::Evicted,
        name: "evicted",
    };

    /// The event of a key whose time is over.
    pub const EXPIRED: Self = Self {
        class: EventClass::Expired,
        name: "expired",
    };

    /// An event of a command for strings.
    pub const fn string(name: &'static str) -> Self {
        Self {
            class: EventClass::String,
            name,
        }
    }
}

impl Event {
    /// An event of a command for hashes.
    pub const fn hash(name: &'static str) -> Self {
        Self {
            class: EventClass::Hash,
            name,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Context<'a> {
    /// What all threads share.
    pub server: &'a Server,
    /// The settings at present.
    pub config: &'a Config,
    /// The client.
    pub session: &'a mut Session,
    /// Where the reply goes.
    pub reply: &'a mut Reply,
    /// The thread that runs the command.
    pub worker: &'a WorkerHandle,
    /// Whether the command is part of a transaction that is being run.
    pub in_transaction: bool,
}

impl<'a> Context<'a> {
    /// The keys.
    #[inline]
    pub fn keyspace(&self) -> &'a Keyspace {
        &self.server.keyspace
    }

    /// Milliseconds since 1970; the same during a whole batch of commands.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    /// Passes the string of `key` to `look`, or `None` if there is no such key. A hit or a miss.
    #[inline]
    pub fn read_string<R>(
        &self,
        key: &[u8],
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, CommandError> {
        self.keyspace()
            .look_up(key, self.session.is_noticed(), |view| {
                view.string().map(look)
            })
            .transpose()
    }

    /// A copy of the string of `key` and when it expires.
    pub fn copy_string(&self, key: &[u8]) -> Result<Option<StringCopy>, CommandError> {
        self.keyspace()
            .look_up(key, self.session.is_noticed(), |view| {
                Ok(StringCopy {
                    bytes: view.string()?.to_vec(),
                    deadline_ms: view.deadline_ms(),
                })
            })
            .transpose()
    }

    /// Keeps for `ACL LOG` that something was refused.
    pub fn note_refusal(&self, refusal: Refusal, object: &[u8], user: &[u8]) {
        let now_ms = self.now_ms();
        let record = Record {
            id: 0,
            count: 1,
            refusal,
            context: if self.in_transaction {
                DenialContext::Transaction
            } else {
                DenialContext::TopLevel
            },
            object: object.to_vec(),
            user: user.to_vec(),
            client: self.session.client.describe(now_ms),
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        let max = self.config.acllog_max_len as usize;
        self.server.acl.denials.add(record, max);
    }

    /// Makes a change and tells those who want to hear of it. Returns whether anything is different
    /// now.
    #[inline]
    pub fn apply(&mut self, effect: Effect<'_>, event: Event) -> Result<bool, CommandError> {
        let change = self.make(effect)?;
        if change.is_any {
            self.changed(effect.key(), event);
        }
        Ok(change.is_any)
    }

    /// Makes a change and leaves it to the caller to tell of it with [`changed`](Self::changed), where
    /// several belong together and are told of in another order.
    #[inline]
    pub fn make(&mut self, effect: Effect<'_>) -> Result<Change, CommandError> {
        if let Effect::Clear = effect {
            self.before_clear();
        }
        let keyspace = self.keyspace();
        if let Some(key) = effect.key()
            && self.wants_events(EventClasses::NEW)
            && !keyspace.contains(key)
        {
            let change = keyspace.apply(effect).map_err(refused)?;
            if keyspace.contains(key) {
                self.publish_event(key, Event::NEW);
            }
            return Ok(change);
        }
        keyspace.apply(effect).map_err(refused)
    }

    /// Whether events of these classes are published at present.
    #[inline]
    pub fn wants_events(&self, classes: EventClasses) -> bool {
        let observers = &self.server.observers;
        observers.attention.get().contains(Reasons::EVENTS)
            && observers.event_classes().intersects(classes)
    }

    /// Publishes an event that no change belongs to.
    #[cold]
    pub fn publish_event(&mut self, key: &[u8], event: Event) {
        let observers = &self.server.observers;
        observers.publish_event(key, event, &mut self.outbox());
    }

    /// `key` holds `bytes` from now on, until `deadline_ms`.
    #[inline]
    pub fn put(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        deadline_ms: Option<u64>,
        event: Event,
    ) -> Result<(), CommandError> {
        let effect = Effect::Put {
            key,
            parts: &[bytes],
            deadline_ms,
        };
        self.apply(effect, event)?;
        Ok(())
    }

    /// These keys hold these strings from now on or, if there is no room for all, none does. Of each is
    /// told by `event`, and by another if one is given.
    pub fn put_all(
        &mut self,
        strings: &[NewString<'_>],
        event: Event,
        also: Option<Event>,
    ) -> Result<(), CommandError> {
        let keyspace = self.keyspace();
        let mut new_keys = HashSet::new();
        if self.wants_events(EventClasses::NEW) {
            let keys = strings.iter().map(|string| string.key);
            new_keys.extend(keys.filter(|key| !keyspace.contains(key)));
        }
        keyspace
            .apply(Effect::PutAll { strings })
            .map_err(refused)?;
        for string in strings {
            if new_keys.remove(string.key) {
                self.publish_event(string.key, Event::NEW);
            }
            self.changed(Some(string.key), event);
            if let Some(also) = also {
                self.also(string.key, also);
            }
        }
        Ok(())
    }

    /// `key` holds what was copied from elsewhere from now on, until `deadline_ms`.
    pub fn put_copy(
        &mut self,
        key: &[u8],
        value: &ValueCopy,
        deadline_ms: Option<u64>,
        event: Event,
    ) -> Result<(), CommandError> {
        match value {
            ValueCopy::String(bytes) => self.put(key, bytes, deadline_ms, event),
            ValueCopy::Hash(fields) => {
                let effect = Effect::PutHash {
                    key,
                    fields: fields.as_hash(),
                    deadline_ms,
                };
                self.apply(effect, event)?;
                Ok(())
            }
        }
    }

    /// Removes `key`. Returns whether it was there.
    pub fn delete(&mut self, key: &[u8], event: Event) -> Result<bool, CommandError> {
        self.apply(Effect::Delete { key }, event)
    }

    /// Counts fields of hashes that have expired.
    pub fn fields_expired(&self, fields: usize) {
        let expired = &self.server.observers.expired_fields;
        expired.fetch_add(fields as u64, Ordering::Relaxed);
    }

    /// Removes `key` because it was given a time that is over. Returns whether it was there.
    pub fn delete_expired(&mut self, key: &[u8]) -> Result<bool, CommandError> {
        let was_there = self.delete(key, Event::EXPIRED)?;
        if was_there {
            self.server
                .observers
                .expired
                .fetch_add(1, Ordering::Relaxed);
        }
        Ok(was_there)
    }

    /// Tells those who want to hear that `key` has changed, or all keys.
    #[inline]
    pub fn changed(&mut self, key: Option<&[u8]>, event: Event) {
        self.worker.stats.changes.add(1);
        let reasons = self.server.observers.attention.after_change();
        if !reasons.is_empty() {
            self.tell(key, event, reasons);
        }
    }

    /// Publishes one more event of a change of `key` that has been told of.
    #[inline]
    pub fn also(&mut self, key: &[u8], event: Event) {
        let reasons = self.server.observers.attention.get() & Reasons::EVENTS;
        if !reasons.is_empty() {
            self.tell(Some(key), event, reasons);
        }
    }

    /// A watched key that does not exist is not changed by a clearing, and only before it can be told
    /// which do.
    #[cold]
    fn before_clear(&self) {
        let keyspace = self.keyspace();
        let watched = &self.server.observers.watched;
        watched.touch_all(|key| keyspace.contains(key));
    }

    #[cold]
    fn tell(&mut self, key: Option<&[u8]>, event: Event, reasons: Reasons) {
        let observers = &self.server.observers;
        observers.tell(key, event, reasons, &mut self.outbox());
    }

    /// Where pushes of this command go.
    pub fn outbox(&mut self) -> Outbox<'_> {
        Outbox::of(&self.server.observers.post, self.session)
    }
}

/// A string that was copied out of the keyspace.
#[derive(Clone, Debug)]
pub struct StringCopy {
    /// The string.
    pub bytes: Vec<u8>,
    /// When it expires, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// The reply to a change that was not taken.
fn refused(error: EffectError) -> CommandError {
    match error {
        EffectError::Full => CommandError::OutOfMemory,
        EffectError::TooLarge(error) => format!("ERR {error}").into(),
    }
}
