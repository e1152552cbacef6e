//! Client-side caching: which clients hold which keys, so that they hear when those change.
//!
//! # Why no invalidation is lost
//! A client's read registers its keys *before* it reads, under the lock of the keys' shard. A writer
//! changes the key first and then looks for those registered, under the same lock. If the writer looked
//! before the reader registered, the lock's order makes the change visible to the read; if after, it
//! finds the reader. Whether to look at all, a writer asks `Attention`, behind a SeqCst fence that
//! pairs with the one by which tracking was switched on. A registration ends when it is used, and the
//! invalidation is sent after that: it reaches the client's thread behind the reply of each read that
//! it is about.
//!
//! # What it costs
//! Keys are bounded by `tracking-table-max-keys`: beyond it, keys at random are invalidated. A client
//! that leaves only marks its [`Tracker`] as gone; [`Tracking::sweep`] drops its registrations, on the
//! control thread, a shard at a time.

use crate::client::{Client, ClientFlags, ClientId};
use crate::keyspace::KeyHasher;
use crate::push::{Outbox, Push};
use crate::watch::{Attention, Reasons};
use hashbrown::HashMap;
use indexmap::IndexMap;
use nuthatch_wire::resp::{Protocol, Reply};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A power of two; so many that a sweep holds none for long.
const SHARDS: usize = 256;

/// What others must know of a client that tracks keys.
#[derive(Debug)]
pub struct Tracker {
    /// The client.
    pub client: Arc<Client>,
    /// The client that its invalidations go to instead.
    redirection: Mutex<Option<Arc<Client>>>,
    /// Whether it does not want to hear of its own changes.
    is_noloop: AtomicBool,
    /// Whether it has ended: it no longer hears of anything.
    is_gone: AtomicBool,
}

/// Which reads of a client register keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackingMode {
    /// All.
    #[default]
    All,
    /// Those that `CLIENT CACHING YES` announces.
    OptIn,
    /// All but those that `CLIENT CACHING NO` announces.
    OptOut,
    /// None: it hears of all keys with its prefixes.
    Broadcast,
}

/// What `CLIENT TRACKING ON` asks for.
#[derive(Clone, Debug, Default)]
pub struct TrackingOptions {
    /// Which reads register keys.
    pub mode: TrackingMode,
    /// Whether the client's own changes are left out.
    pub is_noloop: bool,
    /// The client that invalidations go to.
    pub redirection: Option<Arc<Client>>,
    /// Prefixes to add, in the mode `Broadcast`.
    pub prefixes: Vec<Box<[u8]>>,
}

/// How a client tracks keys, as its own thread knows it.
#[derive(Debug)]
pub struct TrackingState {
    tracker: Arc<Tracker>,
    /// Which reads register keys.
    pub mode: TrackingMode,
    /// Whether the client's own changes are left out.
    pub is_noloop: bool,
    /// Whether `CLIENT CACHING` has been called for the next command.
    pub is_announced: bool,
    /// The prefixes of the mode `Broadcast`.
    pub prefixes: Vec<Box<[u8]>>,
}

impl TrackingState {
    /// Whether reads are to be registered now.
    pub fn registers(&self) -> bool {
        match self.mode {
            TrackingMode::All => true,
            TrackingMode::OptIn => self.is_announced,
            TrackingMode::OptOut => !self.is_announced,
            TrackingMode::Broadcast => false,
        }
    }
}

type Trackers = SmallVec<[Arc<Tracker>; 1]>;
type Shard = IndexMap<Box<[u8]>, Trackers, KeyHasher>;

/// See the module's text.
#[derive(Debug)]
pub struct Tracking {
    shards: Box<[Mutex<Shard>]>,
    hasher: KeyHasher,
    prefixes: RwLock<BTreeMap<Box<[u8]>, Trackers>>,
    trackers: Mutex<HashMap<ClientId, Arc<Tracker>, KeyHasher>>,
    keys: AtomicUsize,
    items: AtomicUsize,
    needs_sweep: AtomicBool,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: KeyHasher::default(),
            prefixes: RwLock::default(),
            trackers: Mutex::default(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            needs_sweep: AtomicBool::new(false),
        }
    }
}

impl Tracking {
    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Begins to track for a client, or changes how.
    pub fn begin(
        &self,
        client: &Arc<Client>,
        before: Option<TrackingState>,
        options: TrackingOptions,
        attention: &Attention,
    ) -> TrackingState {
        let is_broadcast = options.mode == TrackingMode::Broadcast;
        let redirect = options.redirection.as_ref().map_or(0, |target| target.id);
        client.redirect.store(redirect, Ordering::Relaxed);
        let mut state = before.unwrap_or_else(|| TrackingState {
            tracker: Arc::new(Tracker {
                client: Arc::clone(client),
                redirection: Mutex::new(None),
                is_noloop: AtomicBool::new(false),
                is_gone: AtomicBool::new(false),
            }),
            mode: TrackingMode::All,
            is_noloop: false,
            is_announced: false,
            prefixes: Vec::new(),
        });
        state.mode = options.mode;
        state.is_noloop = options.is_noloop;
        let tracker = &state.tracker;
        tracker
            .is_noloop
            .store(options.is_noloop, Ordering::Relaxed);
        *tracker.redirection.lock() = options.redirection;
        let mut trackers = self.trackers.lock();
        trackers.insert(client.id, Arc::clone(tracker));
        attention.set(Reasons::TRACKED, true);
        drop(trackers);
        let mut prefixes = options.prefixes;
        if is_broadcast && prefixes.is_empty() && state.prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        let mut table = self.prefixes.write();
        for prefix in prefixes {
            if !state.prefixes.contains(&prefix) {
                let trackers = table.entry(prefix.clone()).or_default();
                trackers.push(Arc::clone(&state.tracker));
                state.prefixes.push(prefix);
            }
        }
        drop(table);
        client.set_flags(ClientFlags::TRACKING, true);
        client.set_flags(ClientFlags::TRACKING_BCAST, is_broadcast);
        client.set_flags(ClientFlags::TRACKING_BROKEN, false);
        state
    }

    /// Ends it.
    pub fn end(&self, state: TrackingState, attention: &Attention) {
        let client = &state.tracker.client;
        state.tracker.is_gone.store(true, Ordering::Relaxed);
        *state.tracker.redirection.lock() = None;
        let mut table = self.prefixes.write();
        for prefix in &state.prefixes {
            if let Some(trackers) = table.get_mut(prefix) {
                trackers.retain(|tracker| !Arc::ptr_eq(tracker, &state.tracker));
                if trackers.is_empty() {
                    table.remove(prefix);
                }
            }
        }
        drop(table);
        let mut trackers = self.trackers.lock();
        trackers.remove(&client.id);
        if trackers.is_empty() {
            attention.set(Reasons::TRACKED, false);
        }
        drop(trackers);
        self.needs_sweep.store(true, Ordering::Relaxed);
        client.redirect.store(0, Ordering::Relaxed);
        let flags =
            ClientFlags::TRACKING | ClientFlags::TRACKING_BCAST | ClientFlags::TRACKING_BROKEN;
        client.set_flags(flags, false);
    }

    /// Notes that the client is about to read `key`. Beyond `max_keys`, if that is not 0, another key
    /// is invalidated.
    pub fn register(
        &self,
        key: &[u8],
        state: &TrackingState,
        max_keys: u64,
        outbox: &mut Outbox<'_>,
    ) {
        let mut shard = self.shard(key).lock();
        let is_new = if let Some(trackers) = shard.get_mut(key) {
            if trackers
                .iter()
                .any(|tracker| Arc::ptr_eq(tracker, &state.tracker))
            {
                return;
            }
            trackers.push(Arc::clone(&state.tracker));
            false
        } else {
            let trackers = SmallVec::from_iter([Arc::clone(&state.tracker)]);
            shard.insert(key.into(), trackers);
            true
        };
        self.items.fetch_add(1, Ordering::Relaxed);
        if is_new {
            let keys = self.keys.fetch_add(1, Ordering::Relaxed) + 1;
            drop(shard);
            if max_keys > 0 && keys as u64 > max_keys {
                self.forget_any(key, outbox);
            }
        }
    }

    /// Invalidates a key at random, but not this one.
    fn forget_any(&self, except: &[u8], outbox: &mut Outbox<'_>) {
        let start = fastrand::usize(..SHARDS);
        for offset in 0..SHARDS {
            let mut shard = self.shards[(start + offset) % SHARDS].lock();
            if shard.is_empty() {
                continue;
            }
            let first = fastrand::usize(..shard.len());
            let next = (first + 1) % shard.len();
            let victim = [first, next]
                .into_iter()
                .find(|place| **shard.get_index(*place).expect("a place").0 != *except);
            if let Some((key, trackers)) = victim.and_then(|at| shard.swap_remove_index(at)) {
                self.count_removed(1, trackers.len());
                drop(shard);
                tell(&[&key], &trackers, None, outbox);
                return;
            }
        }
    }

    fn count_removed(&self, keys: usize, items: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.items.fetch_sub(items, Ordering::Relaxed);
    }

    /// `key` has changed: tells those who have read it or follow its prefix.
    pub fn invalidate(&self, key: &[u8], outbox: &mut Outbox<'_>) {
        let by = outbox.sender();
        let is_followed = {
            let table = self.prefixes.read();
            table.keys().any(|prefix| key.starts_with(prefix))
        };
        if is_followed && !outbox.put_off(key) {
            self.broadcast(&[key], outbox);
        }
        let mut shard = self.shard(key).lock();
        let Some(trackers) = shard.swap_remove(key) else {
            return;
        };
        self.count_removed(1, trackers.len());
        drop(shard);
        tell(&[key], &trackers, by, outbox);
    }

    /// These keys have changed: tells those who follow their prefixes, once for each prefix.
    pub fn broadcast<K: AsRef<[u8]>>(&self, keys: &[K], outbox: &mut Outbox<'_>) {
        let by = outbox.sender();
        for (prefix, trackers) in self.prefixes.read().iter() {
            let keys = keys.iter().map(AsRef::as_ref);
            let keys: Vec<&[u8]> = keys.filter(|key| key.starts_with(prefix)).collect();
            if !keys.is_empty() {
                tell(&keys, trackers, by, outbox);
            }
        }
    }

    /// All keys are gone: tells everybody.
    pub fn invalidate_all(&self, outbox: &mut Outbox<'_>) {
        // Registrations end before the message is sent: whoever registers later has read what is
        // there now, or gets the message after that reply.
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.count_removed(shard.len(), shard.values().map(SmallVec::len).sum());
            *shard = Shard::default();
        }
        let trackers: Vec<_> = self.trackers.lock().values().cloned().collect();
        for tracker in trackers {
            send(&tracker, None, outbox);
        }
    }

    /// Drops registrations of clients that have left.
    pub fn sweep(&self) {
        if !self.needs_sweep.swap(false, Ordering::Relaxed) {
            return;
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            let mut items = 0;
            shard.retain(|_, trackers| {
                let before = trackers.len();
                trackers.retain(|tracker| !tracker.is_gone.load(Ordering::Relaxed));
                items += before - trackers.len();
                !trackers.is_empty()
            });
            self.count_removed(before - shard.len(), items);
            if shard.is_empty() {
                *shard = Shard::default();
            }
        }
    }

    /// Invalidates keys beyond a bound that has become smaller.
    pub fn shrink(&self, max_keys: u64, outbox: &mut Outbox<'_>) {
        while max_keys > 0 && self.keys() as u64 > max_keys {
            self.forget_any(b"", outbox);
        }
    }

    /// Keys that some client holds.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Keys that clients hold, each as often as there are clients.
    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// Prefixes that clients follow.
    pub fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    /// Clients that track keys.
    pub fn clients(&self) -> usize {
        self.trackers.lock().len()
    }
}

/// Tells trackers that keys have changed, in one message.
fn tell(keys: &[&[u8]], trackers: &Trackers, by: Option<ClientId>, outbox: &mut Outbox<'_>) {
    let mut encoded = Reply::new(Protocol::Resp3);
    encoded.array(keys.len());
    for key in keys {
        encoded.bulk(key);
    }
    let encoded: Arc<[u8]> = Arc::from(encoded.as_bytes());
    for tracker in trackers {
        let is_own = by == Some(tracker.client.id);
        if !(is_own && tracker.is_noloop.load(Ordering::Relaxed)) {
            send(tracker, Some(&encoded), outbox);
        }
    }
}

/// Sends an invalidation of keys, or of all, to where the tracker wants it.
fn send(tracker: &Tracker, keys: Option<&Arc<[u8]>>, outbox: &mut Outbox<'_>) {
    if tracker.is_gone.load(Ordering::Relaxed) {
        return;
    }
    let client = &tracker.client;
    let redirection = tracker.redirection.lock();
    let push = Push::Invalidation {
        keys: keys.cloned(),
        is_redirected: redirection.is_some(),
    };
    match &*redirection {
        None => outbox.send(client, push),
        Some(target) if target.flags().contains(ClientFlags::CLOSING) => {
            client.set_flags(ClientFlags::TRACKING_BROKEN, true);
            outbox.send(client, Push::RedirectionBroken(target.id));
        }
        Some(target) => outbox.send(target, push),
    }
}
