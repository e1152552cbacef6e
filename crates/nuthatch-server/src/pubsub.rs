//! Who has subscribed to which channels and patterns.
//!
//! Channels lie in shards with a lock each, so publishers on different channels rarely meet. A message
//! is put into the subscribers' mailboxes under its channel's lock: all subscribers of a channel see its
//! messages in one order.

use crate::client::Client;
use crate::glob;
use crate::keyspace::KeyHasher;
use crate::push::{Outbox, Push};
use hashbrown::{HashMap, HashSet};
use nuthatch_wire::resp::{Protocol, Reply};
use parking_lot::{Mutex, RwLock};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A power of two, more than data threads.
const SHARDS: usize = 64;

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match a pattern.
    Pattern,
    /// A channel of a cluster's shard: a namespace of its own, without patterns.
    ShardChannel,
}

impl Kind {
    /// All kinds, by number.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::ShardChannel];

    /// What begins the names of its messages: `message`, `pmessage`, `smessage`.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Channel => "",
            Self::Pattern => "p",
            Self::ShardChannel => "s",
        }
    }
}

/// A name that is subscribed to.
type Name = Arc<[u8]>;
type Subscribers = Vec<Arc<Client>>;

/// What one client has subscribed to, by kind.
#[derive(Debug, Default)]
pub struct Subscriptions {
    names: [HashSet<Name, KeyHasher>; 3],
}

impl Subscriptions {
    /// Whether the client has subscribed to this.
    pub fn contains(&self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].contains(name)
    }

    /// How many of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// Whether there are none of any kind.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }

    /// All of a kind.
    pub fn all(&self, kind: Kind) -> Vec<Arc<[u8]>> {
        self.names[kind as usize].iter().cloned().collect()
    }
}

#[derive(Debug)]
struct Channels {
    shards: Box<[Mutex<HashMap<Name, Subscribers, KeyHasher>>]>,
    hasher: KeyHasher,
    len: AtomicUsize,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: KeyHasher::default(),
            len: AtomicUsize::new(0),
        }
    }
}

impl Channels {
    fn shard(&self, name: &[u8]) -> &Mutex<HashMap<Name, Subscribers, KeyHasher>> {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    fn add(&self, name: Name, client: &Arc<Client>) {
        let mut shard = self.shard(&name).lock();
        let subscribers = shard.entry(name).or_insert_with(|| {
            // Release: pairs with the Acquire of `publish`.
            self.len.fetch_add(1, Ordering::Release);
            Vec::new()
        });
        subscribers.push(Arc::clone(client));
    }

    fn remove(&self, name: &[u8], client: &Client) {
        let mut shard = self.shard(name).lock();
        let Some(subscribers) = shard.get_mut(name) else {
            return;
        };
        leave(subscribers, client);
        if subscribers.is_empty() {
            shard.remove(name);
            self.len.fetch_sub(1, Ordering::Release);
        }
    }

    fn publish(&self, kind: Kind, name: &[u8], message: &[u8], outbox: &mut Outbox<'_>) -> usize {
        // Acquire: pairs with the Release of `add`.
        if self.len.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let shard = self.shard(name).lock();
        let Some((subscription, subscribers)) = shard.get_key_value(name) else {
            return 0;
        };
        send(kind, subscription, &[name, message], subscribers, outbox)
    }

    fn subscribers(&self, name: &[u8]) -> usize {
        self.shard(name).lock().get(name).map_or(0, Vec::len)
    }

    fn names(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Name> {
        let mut names = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            names.extend(shard.keys().filter(|name| is_wanted(name)).cloned());
        }
        names
    }
}

fn leave(subscribers: &mut Subscribers, client: &Client) {
    if let Some(place) = subscribers.iter().position(|other| other.id == client.id) {
        subscribers.swap_remove(place);
    }
}

fn send(
    kind: Kind,
    subscription: &Name,
    words: &[&[u8]],
    subscribers: &Subscribers,
    outbox: &mut Outbox<'_>,
) -> usize {
    let mut encoded = Reply::new(Protocol::Resp3);
    encoded.push(words.len() + 1);
    encoded.bulk(format!("{}message", kind.prefix()).as_bytes());
    for word in words {
        encoded.bulk(word);
    }
    let rest: Arc<[u8]> = Arc::from(&encoded.as_bytes()[1..]);
    for subscriber in subscribers {
        let push = Push::Message {
            kind,
            subscription: Arc::clone(subscription),
            rest: Arc::clone(&rest),
        };
        outbox.send(subscriber, push);
    }
    subscribers.len()
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: Channels,
    shard_channels: Channels,
    patterns: RwLock<HashMap<Name, Subscribers, KeyHasher>>,
    /// The number of patterns, so that nobody takes the lock in vain.
    pattern_count: AtomicUsize,
}

impl PubSub {
    /// Subscribes a client, unless it has already.
    pub fn subscribe(
        &self,
        kind: Kind,
        name: &[u8],
        client: &Arc<Client>,
        own: &mut Subscriptions,
    ) {
        if own.contains(kind, name) {
            return;
        }
        let name: Name = Arc::from(name);
        own.names[kind as usize].insert(Arc::clone(&name));
        match kind {
            Kind::Channel => self.channels.add(name, client),
            Kind::ShardChannel => self.shard_channels.add(name, client),
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                patterns.entry(name).or_default().push(Arc::clone(client));
                // Release: pairs with the Acquire of `publish`.
                self.pattern_count.store(patterns.len(), Ordering::Release);
            }
        }
        note(client, own);
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: &Client, own: &mut Subscriptions) {
        if !own.names[kind as usize].remove(name) {
            return;
        }
        match kind {
            Kind::Channel => self.channels.remove(name, client),
            Kind::ShardChannel => self.shard_channels.remove(name, client),
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                if let Some(subscribers) = patterns.get_mut(name) {
                    leave(subscribers, client);
                    if subscribers.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.pattern_count.store(patterns.len(), Ordering::Release);
            }
        }
        note(client, own);
    }

    /// Ends all subscriptions of a client.
    pub fn leave(&self, client: &Client, own: &mut Subscriptions) {
        for kind in Kind::ALL {
            for name in own.all(kind) {
                self.unsubscribe(kind, &name, client, own);
            }
        }
    }

    /// Sends a message to those who have subscribed to its channel or a pattern that matches it, and
    /// returns how many that were.
    pub fn publish(
        &self,
        kind: Kind,
        channel: &[u8],
        message: &[u8],
        outbox: &mut Outbox<'_>,
    ) -> usize {
        if kind == Kind::ShardChannel {
            let channels = &self.shard_channels;
            return channels.publish(kind, channel, message, outbox);
        }
        let mut receivers = self
            .channels
            .publish(Kind::Channel, channel, message, outbox);
        // Acquire: pairs with the Release of `subscribe`.
        if self.pattern_count.load(Ordering::Acquire) > 0 {
            for (pattern, subscribers) in self.patterns.read().iter() {
                if glob::matches(pattern, channel) {
                    let words: &[&[u8]] = &[pattern, channel, message];
                    receivers += send(Kind::Pattern, pattern, words, subscribers, outbox);
                }
            }
        }
        receivers
    }

    /// The channels that have subscribers and whose names match, if a pattern is given.
    pub fn channels(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        self.of(kind)
            .names(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)))
    }

    /// Shows every subscription of every client. Nobody may subscribe or publish meanwhile on the
    /// channels that are being looked at.
    pub fn visit(&self, mut visit: impl FnMut(Kind, &[u8], &Arc<Client>)) {
        for (kind, channels) in [
            (Kind::Channel, &self.channels),
            (Kind::ShardChannel, &self.shard_channels),
        ] {
            for shard in &channels.shards {
                for (name, subscribers) in shard.lock().iter() {
                    subscribers
                        .iter()
                        .for_each(|client| visit(kind, name, client));
                }
            }
        }
        for (name, subscribers) in self.patterns.read().iter() {
            let kind = Kind::Pattern;
            subscribers
                .iter()
                .for_each(|client| visit(kind, name, client));
        }
    }

    /// How many have subscribed to a channel, patterns aside.
    pub fn subscribers(&self, kind: Kind, channel: &[u8]) -> usize {
        self.of(kind).subscribers(channel)
    }

    /// The number of channels or patterns that somebody has subscribed to.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pattern => self.pattern_count.load(Ordering::Relaxed),
            kind => self.of(kind).len.load(Ordering::Relaxed),
        }
    }

    /// Whether nobody has subscribed to anything.
    pub fn is_empty(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.len(*kind) == 0)
    }

    fn of(&self, kind: Kind) -> &Channels {
        match kind {
            Kind::Channel | Kind::Pattern => &self.channels,
            Kind::ShardChannel => &self.shard_channels,
        }
    }
}

/// Lets others know how many subscriptions the client has.
fn note(client: &Client, own: &Subscriptions) {
    for kind in Kind::ALL {
        let number = own.len(kind) as u32;
        client.subscriptions[kind as usize].store(number, Ordering::Relaxed);
    }
}
