//! Single flight: of all threads and tasks that miss the same key at once, one loads the value and
//! the others wait for it.
//!
//! Whoever joins a key's flight first becomes its [`Leader`]; all others become [`Follower`]s. A
//! follower waits by blocking its thread or as a future, whichever it likes, and no async runtime
//! is involved: both ways are a [`Waker`] in the flight's list. Only misses come here, so the
//! flights in progress live in plain hash tables behind locks.
//!
//! Most flights are never followed. Such a flight is an entry in the table and nothing else; the
//! *crew*, what leader and followers share, is made by the first follower.
//!
//! ```text
//!                    leader settles
//!          ┌─────► Led ───────────► Settled      every waker is woken, each takes the outcome
//!  join    │       ▲  │
//!  ────────┘       │  │ leader dropped: its load panicked or was cancelled
//!      takes over  │  ▼
//!                 Vacant ─────────► off the table, if nobody follows
//! ```
//!
//! **No wake-up is lost.** The phase and the list of wakers change under one lock, and a follower
//! looks at the phase and enters its waker in one critical section. While the flight is led, every
//! follower that has been polled since it was last woken is in the list, and settling wakes the
//! whole list. When the leader is dropped, the flight becomes vacant and one waker is taken off the
//! list and woken: the baton. From then on, as long as the flight is vacant, one of these holds:
//!
//! - some follower was woken and will be polled, and then it takes over; or
//! - it was dropped instead, and its `Drop` saw `Vacant` and woke the next in the list, so that the
//!   next holds the baton; or
//! - the list is empty: then every follower left was woken or was never polled, so none of them
//!   sleeps, and whichever is polled first takes over.
//!
//! A newcomer that finds the flight vacant takes over at once. A woken follower that comes too late
//! finds the flight led and enters the list again. So a vacant flight never makes anybody wait, and
//! the worst that a superfluous wake-up costs is one look. The last follower that leaves a vacant
//! flight takes it off the table, under the table's lock and the crew's: nobody joins but under both.
//!
//! **Nothing foreign runs under a lock** but `Eq` of the key: wakers are called and dropped (which
//! may drop a task, and with it a follower), and keys and values are cloned, outside.
//!
//! **What cannot be seen.** A load that loads its own key again, directly or through other keys, on
//! the same thread is told so ([`LoadError::Recursive`]). It is not noticed when the circle leads
//! through another thread or a task spawned by the load: then both wait for ever, as with any two
//! locks. And a leader whose future is kept but never polled again keeps its followers waiting.

use crate::sync::{Condvar, Mutex, thread_local};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::any::Any;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Why a load gave no value. Cloning it does not clone the loader's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed. All who waited for the same load share its error.
    #[error("the loader failed")]
    Failed(#[source] Arc<E>),
    /// The loader asked for the key that it was loading, which could only have waited for itself.
    #[error("the loader asked for the key that it was loading")]
    Recursive,
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Recursive => Self::Recursive,
        }
    }
}

/// The flights of one cache; see the module's text. Clones are the same flights.
pub(crate) struct Flights<K, V> {
    table: Arc<Table<K, V>>,
}

/// What a caller of [`Flights::join`] is.
pub(crate) enum Join<'f, K, V> {
    /// Nobody loads the key: the caller must, and then settle the flight.
    Leader(Leader<'f, K, V>),
    /// Somebody else loads the key: the caller may wait.
    Follower(Follower<'f, K, V>),
    /// The caller itself is loading the key, further up on its stack.
    Recursive,
}

/// How a flight ended for one who followed it.
pub(crate) enum Landing<'f, K, V> {
    /// The leader loaded the value.
    Loaded(V),
    /// The leader's load failed with this error, of a type that the leader chose.
    Failed(SharedError),
    /// The leader was dropped, and the follower is the leader now.
    TookOver(Leader<'f, K, V>),
}

/// An error of any type, shared by those who waited for it.
type SharedError = Arc<dyn Any + Send + Sync>;

/// One that must load a key's value. Dropped without [`settle`](Self::settle), as by a panic or a
/// cancellation, it makes way for a follower.
pub(crate) struct Leader<'f, K, V> {
    place: Place<'f, K, V>,
    /// The crew, where the table may not have it: that of one who took over, or of one who is settling.
    crew: Option<Arc<Crew<V>>>,
    settled: bool,
}

/// One that waits for a leader: a future, or a blocking [`wait`](Self::wait).
pub(crate) struct Follower<'f, K, V> {
    place: Place<'f, K, V>,
    crew: Arc<Crew<V>>,
    /// Orders the wakers of the flight.
    ticket: u64,
    /// Whether it has landed, and is no longer counted by its flight.
    landed: bool,
}

/// Which flight it is.
struct Place<'f, K, V> {
    table: &'f Table<K, V>,
    hash: u64,
    id: u64,
}

struct Table<K, V> {
    /// Locked before a crew's state, if both are.
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

struct Shard<K, V> {
    flights: HashTable<Flight<K, V>>,
    /// Flights begun, from which each has its number.
    begun: u64,
}

const SHARDS: usize = 16;

/// A flight in progress.
struct Flight<K, V> {
    hash: u64,
    key: K,
    /// Unlike any other of the same table.
    id: u64,
    /// `None` until somebody follows: then it is led.
    crew: Option<Arc<Crew<V>>>,
}

/// What the leader and the followers of a flight share.
struct Crew<V> {
    state: Mutex<State<V>>,
}

struct State<V> {
    phase: Phase<V>,
    /// Followers that have neither landed nor been dropped.
    followers: usize,
    next_ticket: u64,
    /// Those followers that sleep, by ticket: first come, first woken.
    sleepers: BTreeMap<u64, Waker>,
}

enum Phase<V> {
    /// The leader is at work.
    Led,
    /// The leader was dropped; the next one who looks takes over.
    Vacant,
    /// The flight is off the table, and its outcome is here for the followers.
    Settled(Outcome<V>),
}

enum Outcome<V> {
    Loaded(Arc<V>),
    Failed(SharedError),
}

impl<K, V> Flights<K, V> {
    /// No flights.
    pub(crate) fn new() -> Self {
        Self {
            table: Arc::new(Table {
                shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            }),
        }
    }

    /// Joins the flight of `key`, or starts one. `hash` is the key's, well mixed in its top bits.
    pub(crate) fn join<Q>(&self, hash: u64, key: &Q) -> Join<'_, K, V>
    where
        K: Borrow<Q> + Eq,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let table = &*self.table;
        // Cloned before the lock is taken, and if it is not needed dropped after it is released.
        let own = key.to_owned();
        let mut shard = table.shard(hash).lock();
        let Shard { flights, begun } = &mut *shard;
        let same_key = |flight: &Flight<K, V>| flight.hash == hash && flight.key.borrow() == key;
        match flights.entry(hash, same_key, |flight| flight.hash) {
            Entry::Vacant(vacant) => {
                *begun += 1;
                let id = *begun * SHARDS as u64 + shard_of(hash) as u64;
                vacant.insert(Flight {
                    hash,
                    key: own,
                    id,
                    crew: None,
                });
                drop(shard);
                Join::Leader(Leader::new(Place { table, hash, id }, None))
            }
            Entry::Occupied(mut occupied) => {
                let flight = occupied.get_mut();
                let place = Place {
                    table,
                    hash,
                    id: flight.id,
                };
                let crew = Arc::clone(flight.crew.get_or_insert_with(Arc::default));
                let joined = place.join(crew);
                drop(shard);
                drop(own);
                joined
            }
        }
    }

    /// Leads the flight of `key` if nobody does: for a load that nobody waits for at first, as to
    /// refresh a value ahead of its time.
    pub(crate) fn try_lead<Q>(&self, hash: u64, key: &Q) -> Option<Leader<'_, K, V>>
    where
        K: Borrow<Q> + Eq,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.join(hash, key) {
            Join::Leader(leader) => Some(leader),
            Join::Follower(_) | Join::Recursive => None,
        }
    }

    /// Flights in progress.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let shards = self.table.shards.iter();
        shards.map(|shard| shard.lock().flights.len()).sum()
    }

    /// Checks every flight in progress.
    ///
    /// # Panics
    /// If a flight is in the wrong shard, is over, or has more sleepers than followers.
    pub(crate) fn validate(&self) {
        for (index, shard) in self.table.shards.iter().enumerate() {
            for flight in shard.lock().flights.iter() {
                assert_eq!(
                    shard_of(flight.hash),
                    index,
                    "a flight is in its hash's shard"
                );
                let Some(crew) = &flight.crew else {
                    continue;
                };
                let state = crew.state.lock();
                let in_progress = matches!(state.phase, Phase::Led | Phase::Vacant);
                assert!(in_progress, "a flight that is over is off the table");
                assert!(
                    state.sleepers.len() <= state.followers,
                    "each sleeper follows"
                );
                let next = state.next_ticket;
                assert!(
                    state.sleepers.keys().all(|&ticket| ticket < next),
                    "tickets are new"
                );
            }
        }
    }
}

impl<K, V: Clone> Flights<K, V> {
    /// The value of `key`: loaded by `load`, or by whoever loads it already, for whom the thread
    /// then blocks.
    ///
    /// `load` must put the value into the cache before it returns, so that those who come after
    /// the flight find it there. `lookup` looks there once more, for the flight before this one may
    /// have ended between the caller's miss and its joining.
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the error of the load, shared by all who waited and whose error
    /// type is the same; one with another error type loads for itself. [`LoadError::Recursive`] if
    /// the caller is within the load of this very key.
    pub(crate) fn load<Q, E>(
        &self,
        hash: u64,
        key: &Q,
        lookup: impl FnOnce() -> Option<V>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q> + Eq,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        loop {
            let landing = match self.join(hash, key) {
                Join::Leader(leader) => Landing::TookOver(leader),
                Join::Follower(follower) => follower.wait(),
                Join::Recursive => return Err(LoadError::Recursive),
            };
            match landing.narrow() {
                Narrowed::Result(result) => return result,
                Narrowed::Lead(leader) => {
                    if let Some(value) = lookup() {
                        return leader.settle(Ok(value));
                    }
                    let result = leader.during(load);
                    return leader.settle(result);
                }
                Narrowed::ForeignError => {}
            }
        }
    }

    /// [`load`](Self::load) for tasks: waits without blocking the thread. Dropping the future
    /// drops the load, and a follower takes over.
    pub(crate) async fn load_async<Q, E, F>(
        &self,
        hash: u64,
        key: &Q,
        lookup: impl FnOnce() -> Option<V>,
        load: impl FnOnce() -> F,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q> + Eq,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        loop {
            let landing = match self.join(hash, key) {
                Join::Leader(leader) => Landing::TookOver(leader),
                Join::Follower(follower) => follower.await,
                Join::Recursive => return Err(LoadError::Recursive),
            };
            match landing.narrow() {
                Narrowed::Result(result) => return result,
                Narrowed::Lead(leader) => {
                    if let Some(value) = lookup() {
                        return leader.settle(Ok(value));
                    }
                    // Declared after `leader`, so that a cancelled load is dropped before its
                    // follower starts the next.
                    let mut load = pin!(leader.during(load));
                    let step = |cx: &mut Context<'_>| leader.during(|| load.as_mut().poll(cx));
                    let result = std::future::poll_fn(step).await;
                    return leader.settle(result);
                }
                Narrowed::ForeignError => {}
            }
        }
    }
}

/// A [`Landing`] seen by one whose loader fails with `E`.
enum Narrowed<'f, K, V, E> {
    Result(Result<V, LoadError<E>>),
    Lead(Leader<'f, K, V>),
    /// The leader failed with an error of another type, which says nothing about our loader.
    ForeignError,
}

impl<'f, K, V> Landing<'f, K, V> {
    fn narrow<E: Send + Sync + 'static>(self) -> Narrowed<'f, K, V, E> {
        match self {
            Self::Loaded(value) => Narrowed::Result(Ok(value)),
            Self::Failed(error) => match error.downcast::<E>() {
                Ok(error) => Narrowed::Result(Err(LoadError::Failed(error))),
                Err(_) => Narrowed::ForeignError,
            },
            Self::TookOver(leader) => Narrowed::Lead(leader),
        }
    }
}

impl<'f, K, V> Leader<'f, K, V> {
    fn new(place: Place<'f, K, V>, crew: Option<Arc<Crew<V>>>) -> Self {
        Self {
            place,
            crew,
            settled: false,
        }
    }

    /// Runs a step of the load, within which joining this flight is recursion.
    pub(crate) fn during<R>(&self, step: impl FnOnce() -> R) -> R {
        let _leading = Leading::enter(self.place.name());
        step()
    }

    /// Ends the flight with `result`, whose value must be in the cache by now, and returns it. The
    /// value is cloned only for followers.
    pub(crate) fn settle<E>(self, result: Result<V, E>) -> Result<V, LoadError<E>>
    where
        V: Clone,
        E: Send + Sync + 'static,
    {
        let result = result.map_err(Arc::new);
        self.end(|| match &result {
            Ok(value) => Outcome::Loaded(Arc::new(value.clone())),
            Err(error) => Outcome::Failed(Arc::clone(error) as SharedError),
        });
        result.map_err(LoadError::Failed)
    }

    fn end(mut self, outcome: impl FnOnce() -> Outcome<V>) {
        // Off the table first: whoever joins from now on must start anew, for what it is shown
        // may not be older than its call.
        let flight = self.place.take();
        if let Some(crew) = flight.and_then(|flight| flight.crew) {
            self.crew = Some(crew);
        }
        let followed = |crew: &&Arc<Crew<V>>| crew.state.lock().followers > 0;
        let Some(crew) = self.crew.as_ref().filter(followed) else {
            self.settled = true;
            return;
        };
        // If this panics, a follower takes over; the flight stays off the table.
        let outcome = outcome();
        let mut state = crew.state.lock();
        state.phase = Phase::Settled(outcome);
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        self.settled = true;
        sleepers.into_values().for_each(Waker::wake);
    }
}

impl<K, V> Drop for Leader<'_, K, V> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let Some(crew) = self.place.crew_or_end().or_else(|| self.crew.take()) else {
            // Nobody followed.
            return;
        };
        let mut state = crew.state.lock();
        state.phase = Phase::Vacant;
        let baton = state.pass_baton();
        drop(state);
        baton.act(&self.place);
    }
}

impl<'f, K, V: Clone> Follower<'f, K, V> {
    /// Blocks the thread until the flight has ended for this follower.
    pub(crate) fn wait(mut self) -> Landing<'f, K, V> {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        loop {
            match self.look(&waker) {
                Poll::Ready(landing) => return landing,
                Poll::Pending => parker.park(),
            }
        }
    }

    /// Lands, or goes to sleep.
    fn look(&mut self, waker: &Waker) -> Poll<Landing<'f, K, V>> {
        assert!(!self.landed, "a follower is not polled after it has landed");
        let waker = waker.clone();
        let mut state = self.crew.state.lock();
        let outcome = match &state.phase {
            Phase::Led => {
                let replaced = state.sleepers.insert(self.ticket, waker);
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            Phase::Settled(outcome) => Some(outcome.share()),
            Phase::Vacant => None,
        };
        self.landed = true;
        let own_waker = state.leave(self.ticket);
        if outcome.is_none() {
            state.phase = Phase::Led;
        }
        drop(state);
        drop(own_waker);
        Poll::Ready(match outcome {
            Some(Outcome::Loaded(value)) => Landing::Loaded(V::clone(&value)),
            Some(Outcome::Failed(error)) => Landing::Failed(error),
            None => {
                let crew = Arc::clone(&self.crew);
                Landing::TookOver(Leader::new(self.place, Some(crew)))
            }
        })
    }
}

impl<'f, K, V: Clone> Future for Follower<'f, K, V> {
    type Output = Landing<'f, K, V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(cx.waker())
    }
}

impl<K, V> Drop for Follower<'_, K, V> {
    fn drop(&mut self) {
        if !self.landed {
            let mut state = self.crew.state.lock();
            let own_waker = state.leave(self.ticket);
            // This follower may have been the one that was woken to take over.
            let vacant = matches!(state.phase, Phase::Vacant);
            let baton = vacant.then(|| state.pass_baton());
            drop(state);
            drop(own_waker);
            if let Some(baton) = baton {
                baton.act(&self.place);
            }
        }
    }
}

/// What is to be done, outside the lock, for a flight that became or was left vacant.
enum Baton {
    /// Wake this follower, who then takes over.
    Wake(Waker),
    /// Nothing: some follower is awake.
    Awake,
    /// Take the flight off the table, unless somebody has joined meanwhile.
    Deserted,
}

impl Baton {
    fn act<K, V>(self, place: &Place<'_, K, V>) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::Awake => {}
            Self::Deserted => place.end_if_deserted(),
        }
    }
}

impl<V> State<V> {
    /// Forgets a follower; the caller drops its waker outside the lock.
    fn leave(&mut self, ticket: u64) -> Option<Waker> {
        self.followers -= 1;
        self.sleepers.remove(&ticket)
    }

    fn pass_baton(&mut self) -> Baton {
        match self.sleepers.pop_first() {
            Some((_, waker)) => Baton::Wake(waker),
            None if self.followers > 0 => Baton::Awake,
            None => Baton::Deserted,
        }
    }
}

impl<V> Outcome<V> {
    fn share(&self) -> Self {
        match self {
            Self::Loaded(value) => Self::Loaded(Arc::clone(value)),
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
        }
    }
}

impl<K, V> Table<K, V> {
    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V>> {
        &self.shards[shard_of(hash)]
    }
}

impl<K, V> Shard<K, V> {
    fn new() -> Self {
        Self {
            flights: HashTable::new(),
            begun: 0,
        }
    }

    /// Takes a flight off the table, for the caller to drop when the lock is released.
    fn take(&mut self, hash: u64, id: u64) -> Option<Flight<K, V>> {
        let found = self
            .flights
            .find_entry(hash, |flight| flight.id == id)
            .ok()?;
        let (flight, _) = found.remove();
        if self.flights.len() < self.flights.capacity() / 8 {
            self.flights.shrink_to(0, |flight| flight.hash);
        }
        Some(flight)
    }
}

impl<'f, K, V> Place<'f, K, V> {
    /// Joins the crew of a flight that is on the table, whose lock the caller holds.
    fn join(self, crew: Arc<Crew<V>>) -> Join<'f, K, V> {
        let mut state = crew.state.lock();
        match state.phase {
            Phase::Led if self.is_led_here() => Join::Recursive,
            Phase::Led => {
                let ticket = state.next_ticket;
                state.next_ticket += 1;
                state.followers += 1;
                drop(state);
                Join::Follower(Follower {
                    place: self,
                    crew,
                    ticket,
                    landed: false,
                })
            }
            Phase::Vacant => {
                state.phase = Phase::Led;
                drop(state);
                Join::Leader(Leader::new(self, Some(crew)))
            }
            Phase::Settled(_) => unreachable!("a settled flight is off the table"),
        }
    }

    /// Takes the flight off the table, if it is there.
    fn take(&self) -> Option<Flight<K, V>> {
        let mut shard = self.table.shard(self.hash).lock();
        shard.take(self.hash, self.id)
    }

    /// The crew of the flight; one without a crew ends. `None` also if it is off the table already.
    fn crew_or_end(&self) -> Option<Arc<Crew<V>>> {
        let mut shard = self.table.shard(self.hash).lock();
        let found = shard
            .flights
            .find(self.hash, |flight| flight.id == self.id)?;
        if let Some(crew) = &found.crew {
            return Some(Arc::clone(crew));
        }
        let ended = shard.take(self.hash, self.id);
        drop(shard);
        drop(ended);
        None
    }

    /// Takes the flight off the table if it is vacant and nobody follows.
    fn end_if_deserted(&self) {
        let mut shard = self.table.shard(self.hash).lock();
        let found = shard.flights.find(self.hash, |flight| flight.id == self.id);
        let deserted = found
            .and_then(|flight| flight.crew.as_ref())
            .is_some_and(|crew| {
                let state = crew.state.lock();
                matches!(state.phase, Phase::Vacant) && state.followers == 0
            });
        let ended = deserted.then(|| shard.take(self.hash, self.id));
        drop(shard);
        drop(ended);
    }

    /// Names the flight among those of all tables.
    fn name(&self) -> Name {
        (std::ptr::from_ref(self.table).addr(), self.id)
    }

    fn is_led_here(&self) -> bool {
        // A thread whose locals are gone is ending and leads nothing.
        let led = LEADING.try_with(|leading| leading.borrow().contains(&self.name()));
        led.is_ok_and(|led| led)
    }
}

/// The address of a table and the number of a flight in it.
type Name = (usize, u64);

fn shard_of(hash: u64) -> usize {
    // The table takes its own position and tag from other bits: the low ones and the top seven.
    (hash >> 48) as usize % SHARDS
}

thread_local! {
    /// The flights whose loads are running on this thread, innermost last.
    #[cfg_attr(
        not(loom),
        expect(clippy::missing_const_for_thread_local, reason = "loom's macro takes no const block")
    )]
    static LEADING: RefCell<Vec<Name>> = RefCell::new(Vec::new());
}

/// While it lives, a step of a load runs on this thread.
struct Leading;

impl Leading {
    fn enter(flight: Name) -> Option<Self> {
        let entered = LEADING.try_with(|leading| leading.borrow_mut().push(flight));
        entered.is_ok().then_some(Self)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        LEADING.with(|leading| leading.borrow_mut().pop());
    }
}

/// Blocks one thread until it is woken. Not `std::thread::park`: that has one token per thread,
/// which the executor below us on the stack may be waiting for.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    wake_up: Condvar,
}

impl Parker {
    fn park(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            self.wake_up.wait(&mut woken);
        }
        *woken = false;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.wake_up.notify_one();
    }
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<K, V> Clone for Place<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<'_, K, V> {}

impl<V> Default for Crew<V> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Led,
                followers: 0,
                next_ticket: 0,
                sleepers: BTreeMap::new(),
            }),
        }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
