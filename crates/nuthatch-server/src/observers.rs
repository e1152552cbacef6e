//! Everybody who hears of changes, in one place; apart from the server, for the keyspace tells it of
//! what it removes.

use crate::config::EvictionScope;
use crate::context::{Event, EventClass};
use crate::events::EventClasses;
use crate::monitor::Monitors;
use crate::pause::Pause;
use crate::pubsub::PubSub;
use crate::push::{Outbox, Post};
use crate::tracking::Tracking;
use crate::watch::{Attention, Reasons, Watched};
use nuthatch::RemovalCause;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Observers {
    /// Whether anybody listens.
    pub attention: Attention,
    /// Keys that transactions watch.
    pub watched: Watched,
    /// Keys that clients hold.
    pub tracking: Tracking,
    /// Subscribers.
    pub pubsub: PubSub,
    /// Clients that see every command.
    pub monitors: Monitors,
    /// Whether clients are paused.
    pub pause: Pause,
    /// The way to the data threads.
    pub post: Post,
    /// Keys evicted since the start.
    pub evicted: AtomicU64,
    /// Keys expired since the start.
    pub expired: AtomicU64,
    /// Fields of hashes expired since the start.
    pub expired_fields: AtomicU64,
    event_classes: AtomicU32,
}

impl Observers {
    /// Which events are published.
    pub fn event_classes(&self) -> EventClasses {
        EventClasses::from_bits_retain(self.event_classes.load(Ordering::Relaxed))
    }

    /// Publishes events of these classes from now on.
    pub fn set_event_classes(&self, classes: EventClasses) {
        self.event_classes.store(classes.bits(), Ordering::Relaxed);
        self.attention.set(Reasons::EVENTS, classes.publishes());
    }

    /// Which keys may be evicted from now on.
    pub fn mind_scope(&self, scope: EvictionScope) {
        let is_nothing = scope == EvictionScope::Nothing;
        self.attention.set(Reasons::NO_EVICTION, is_nothing);
    }

    /// Tells of a change of `key`, or of all keys, for these reasons.
    pub fn tell(
        &self,
        key: Option<&[u8]>,
        event: Event,
        reasons: Reasons,
        outbox: &mut Outbox<'_>,
    ) {
        let Some(key) = key else {
            // Watched keys were told before, while it could be seen which existed.
            if reasons.contains(Reasons::TRACKED) {
                self.tracking.invalidate_all(outbox);
            }
            return;
        };
        if reasons.contains(Reasons::WATCHED) {
            self.watched.touch(key);
        }
        if reasons.contains(Reasons::TRACKED) {
            self.tracking.invalidate(key, outbox);
        }
        if reasons.contains(Reasons::EVENTS) {
            self.publish_event(key, event, outbox);
        }
    }

    /// Publishes an event, if its class is wanted.
    pub fn publish_event(&self, key: &[u8], event: Event, outbox: &mut Outbox<'_>) {
        let wanted = self.event_classes();
        if wanted.contains(class(event.class)) {
            wanted.publish(event.name, key, &self.pubsub, outbox);
        }
    }

    /// The keyspace has removed a key of its own accord.
    pub fn removed(&self, key: &[u8], cause: RemovalCause) {
        let (count, event) = match cause {
            RemovalCause::Evicted => (&self.evicted, Event::EVICTED),
            RemovalCause::Expired => (&self.expired, Event::EXPIRED),
            RemovalCause::Replaced | RemovalCause::Invalidated => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.attention.after_change();
        if cause == RemovalCause::Expired {
            // Watched keys that expire are told by their deadlines. The removal comes later, and may
            // be of a key that had expired before it was watched.
            reasons.remove(Reasons::WATCHED);
        }
        if !reasons.is_empty() {
            self.tell(Some(key), event, reasons, &mut self.post.outbox());
        }
    }

    /// So many fields of the hash of `key` have expired and are removed, perhaps all.
    pub fn fields_expired(&self, key: &[u8], fields: usize, is_emptied: bool) {
        self.expired_fields
            .fetch_add(fields as u64, Ordering::Relaxed);
        let reasons = self.attention.after_change();
        if reasons.is_empty() {
            return;
        }
        let outbox = &mut self.post.outbox();
        self.tell(Some(key), Event::hash("hexpired"), reasons, outbox);
        if is_emptied && reasons.contains(Reasons::EVENTS) {
            self.publish_event(key, Event::generic("del"), outbox);
        }
    }

    /// What has to be done from time to time.
    pub fn keep_up(&self, now_ms: u64, max_tracked_keys: u64) {
        self.pause.end_in_time(now_ms, &self.attention, &self.post);
        self.tracking.sweep();
        let outbox = &mut self.post.outbox();
        self.tracking.shrink(max_tracked_keys, outbox);
    }
}

fn class(class: EventClass) -> EventClasses {
    match class {
        EventClass::Generic => EventClasses::GENERIC,
        EventClass::String => EventClasses::STRING,
        EventClass::Hash => EventClasses::HASH,
        EventClass::Expired => EventClasses::EXPIRED,
        EventClass::Evicted => EventClasses::EVICTED,
        EventClass::New => EventClasses::NEW,
        EventClass::Missed => EventClasses::MISSED,
    }
}
