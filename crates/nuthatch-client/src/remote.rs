//! The remote tier: which node to ask, and what to do when it says that it is another's.
//!
//! The `redis` crate makes the connections, speaks the protocol and multiplexes requests. Which connection
//! is asked is decided here and not by its cluster client, since what may be kept of an answer depends on
//! which connection gave it: one that the server tracks, that nothing has happened to since, and whose node
//! serves the slot still. The cluster client hides all three.

use crate::error::RemoteError;
use crate::link::{Answered, Link, at};
use crate::settings::Settings;
use crate::slot::SLOTS;
use crate::stats::Counters;
use crate::topology::{Answer, Quorum, View, address, choose, epoch};
use crate::vouching::{Voucher, Vouching};
use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use redis::{AsyncConnectionConfig, Client, Pipeline, ServerError, ServerErrorKind, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// How often a request is sent on to another node before it is given up.
const REDIRECTIONS: usize = 8;
/// How long to wait before asking again a node that cannot answer for the moment.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// Who serves what is not asked more often than this.
const REFRESH_PERIOD: Duration = Duration::from_millis(50);
/// For as long as this after an epoch was first heard of, an election with it may still be won: twice the
/// node timeout, for which 30 seconds are more than is usual.
const ELECTION_NS: u64 = 60_000_000_000;
/// A node that serves nothing yet keeps its connection for this long: a slot may be on its way to it.
const NEWCOMER_NS: u64 = 10_000_000_000;
/// No node.
const NOBODY: u16 = u16::MAX;

/// Hears of what has changed on the remote tier.
pub(crate) trait Hears: Send + Sync + 'static {
    /// The key with these bytes has changed.
    fn key_changed(&self, key: &[u8]);

    /// Any key may have changed.
    fn anything_changed(&self);
}

/// What a node that was pinged says.
pub(crate) enum Pong {
    /// It serves all there is.
    Alone,
    /// Its epoch, and, if it was asked, all it knows.
    Cluster { epoch: u64, view: Option<View> },
}

/// By what right an answer may be kept in process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This node tells if it changes, or, where it is nobody, the staleness bound alone counts.
    Vouched(Voucher),
    /// By none: a node answered for a slot that is on its way to it.
    Passing,
}

/// An answer, and where it comes from.
pub(crate) struct Reply {
    pub(crate) values: Vec<Value>,
    pub(crate) origin: Origin,
    /// When it was asked.
    pub(crate) sent_ns: u64,
}

/// See the module's text.
pub(crate) struct Remote {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    vouching: Arc<Vouching>,
    hears: Arc<dyn Hears>,
    route: RwLock<Route>,
    quorum: Mutex<Quorum>,
    /// Until when an election may still be won that would change who serves what.
    unsettled_until_ns: AtomicU64,
    stale: Notify,
    refresher: Mutex<Option<AbortHandle>>,
}

/// Who serves what, as far as is known.
#[derive(Default)]
struct Route {
    /// By address.
    links: BTreeMap<Arc<str>, Running>,
    /// By number.
    numbered: Vec<Option<Arc<Link>>>,
    /// By slot: its node's number.
    owners: Vec<u16>,
    epoch: u64,
    digest: Option<u64>,
}

/// A link and its task.
struct Running {
    link: Arc<Link>,
    task: AbortHandle,
}

impl Route {
    fn owner(&self, slot: u16) -> Option<&Arc<Link>> {
        let number = *self.owners.get(usize::from(slot))?;
        self.numbered.get(usize::from(number))?.as_ref()
    }

    /// The smallest number that no link has.
    fn free_number(&self) -> u16 {
        let free = self.numbered.iter().position(Option::is_none);
        free.unwrap_or(self.numbered.len()) as u16
    }
}

impl Remote {
    /// A remote tier that is not connected yet.
    pub(crate) fn new(
        settings: Settings,
        counters: Arc<Counters>,
        vouching: Arc<Vouching>,
        hears: Arc<dyn Hears>,
    ) -> Self {
        let slots = if settings.cluster { SLOTS } else { 1 };
        Self {
            settings,
            counters,
            vouching,
            hears,
            route: RwLock::new(Route {
                owners: vec![NOBODY; usize::from(slots)],
                ..Route::default()
            }),
            quorum: Mutex::default(),
            unsettled_until_ns: AtomicU64::new(0),
            stale: Notify::new(),
            refresher: Mutex::new(None),
        }
    }

    /// Connects, and goes on trying if that does not succeed at once; says why it does not. The tasks go on
    /// until [`stop`](Self::stop).
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), RemoteError> {
        if self.settings.cluster {
            let found = self.refresh().await;
            let refresher = tokio::spawn(Arc::clone(self).keep_fresh());
            *self.refresher.lock() = Some(refresher.abort_handle());
            found?;
        } else {
            let seed = Arc::from(&*self.settings.seeds[0]);
            let mut route = self.route.write();
            route.owners[0] = self.link(&mut route, &seed).index;
        }
        self.any_up().await
    }

    /// Waits until a node is connected; the error of one, if all attempts fail.
    async fn any_up(&self) -> Result<(), RemoteError> {
        let mut result = Ok(());
        for link in self.links() {
            match link.settled().await {
                Ok(()) => return Ok(()),
                failed => result = failed,
            }
        }
        result
    }

    /// Ends all connections and the tasks that keep them.
    pub(crate) fn stop(&self) {
        if let Some(refresher) = self.refresher.lock().take() {
            refresher.abort();
        }
        let links = std::mem::take(&mut self.route.write().links);
        for running in links.values() {
            running.task.abort();
            running.link.retire();
        }
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let route = self.route.read();
        route
            .links
            .values()
            .map(|running| Arc::clone(&running.link))
            .collect()
    }

    /// The link to a node, which is made if there is none.
    fn link(self: &Arc<Self>, route: &mut Route, address: &Arc<str>) -> Arc<Link> {
        if let Some(running) = route.links.get(address) {
            return Arc::clone(&running.link);
        }
        let number = route.free_number();
        let link = Arc::new(Link::new(number, Arc::clone(address), &self.settings));
        let slot = usize::from(number);
        if slot == route.numbered.len() {
            route.numbered.push(None);
        }
        route.numbered[slot] = Some(Arc::clone(&link));
        let task = tokio::spawn(Arc::clone(&link).run(Arc::clone(self))).abort_handle();
        let running = Running {
            link: Arc::clone(&link),
            task,
        };
        route.links.insert(Arc::clone(address), running);
        link
    }

    /// The node that serves a slot.
    fn owner(&self, slot: u16) -> Result<Arc<Link>, RemoteError> {
        let route = self.route.read();
        route.owner(slot).cloned().ok_or_else(|| {
            self.stale.notify_one();
            RemoteError::Unserved { slot }
        })
    }

    /// The slot that a key belongs to; all keys of a server that is alone belong to one.
    pub(crate) fn slot(&self, key: &[u8]) -> u16 {
        if self.settings.cluster {
            crate::slot::slot(key)
        } else {
            0
        }
    }

    /// Sends commands that concern one slot to the node that serves it. `repeatable`: whether they may be
    /// sent again when it is not known if they were done.
    pub(crate) async fn call(
        self: &Arc<Self>,
        slot: u16,
        commands: &Pipeline,
        repeatable: bool,
    ) -> Result<Reply, RemoteError> {
        let started = Instant::now();
        let result = self.route_call(slot, commands, repeatable, started).await;
        self.count(started, result.as_ref().err());
        result
    }

    /// Counts how a request ended.
    fn count(&self, started: Instant, error: Option<&RemoteError>) {
        let counters = &self.counters;
        let Some(error) = error else {
            counters.answered_in(started.elapsed());
            return;
        };
        counters.remote_failures.count();
        match error {
            RemoteError::Timeout { .. } => counters.remote_timeouts.count(),
            RemoteError::Unavailable { .. } | RemoteError::NoTracking { .. } => {
                counters.remote_unavailable.count();
            }
            RemoteError::Overloaded { .. } => counters.remote_overloaded.count(),
            _ => {}
        }
    }

    async fn route_call(
        self: &Arc<Self>,
        slot: u16,
        commands: &Pipeline,
        repeatable: bool,
        started: Instant,
    ) -> Result<Reply, RemoteError> {
        let deadline = started + self.settings.remote_timeout;
        let mut asking: Option<Arc<Link>> = None;
        let mut last = None;
        for _ in 0..REDIRECTIONS {
            let passing = asking.take();
            let is_passing = passing.is_some();
            let link = match passing {
                Some(link) => link,
                None => self.owner(slot)?,
            };
            let answered = self.ask(&link, slot, commands, is_passing, deadline).await;
            let answered = match answered {
                Err(error @ RemoteError::Disconnected { .. }) => {
                    self.stale.notify_one();
                    // What is made anew may be ready before the deadline.
                    if !repeatable || Instant::now() + TRY_AGAIN >= deadline {
                        return Err(error);
                    }
                    last = Some(error);
                    sleep(TRY_AGAIN).await;
                    continue;
                }
                Err(error) => {
                    if matches!(error, RemoteError::Unavailable { .. }) {
                        self.stale.notify_one();
                    }
                    return Err(error);
                }
                Ok(answered) => answered,
            };
            let Some(refusal) = first_error(&answered.values) else {
                return Ok(Reply {
                    origin: if is_passing {
                        Origin::Passing
                    } else {
                        Origin::Vouched(answered.voucher)
                    },
                    sent_ns: answered.sent_ns,
                    values: answered.values,
                });
            };
            last = Some(RemoteError::Refused {
                node: Arc::clone(&link.address),
                message: refusal.to_string().into(),
            });
            match refusal.kind() {
                Some(ServerErrorKind::Moved) => match target(refusal, &link) {
                    Some(target) => self.moved(slot, &target),
                    None => break,
                },
                Some(ServerErrorKind::Ask) => match target(refusal, &link) {
                    Some(target) => {
                        asking = Some(self.link(&mut self.route.write(), &target));
                    }
                    None => break,
                },
                Some(
                    ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::ReadOnly,
                ) => {
                    self.stale.notify_one();
                    if Instant::now() + TRY_AGAIN >= deadline {
                        break;
                    }
                    sleep(TRY_AGAIN).await;
                }
                _ => break,
            }
        }
        Err(last.unwrap_or(RemoteError::Unserved { slot }))
    }

    async fn ask(
        &self,
        link: &Link,
        slot: u16,
        commands: &Pipeline,
        passing: bool,
        deadline: Instant,
    ) -> Result<Answered, RemoteError> {
        let vouch = || self.vouching.voucher(link.index, slot);
        if !passing {
            let count = commands.len();
            return link
                .ask(&self.settings, commands, count, deadline, vouch)
                .await;
        }
        let mut asking = Pipeline::with_capacity(commands.len() + 1);
        asking.cmd("ASKING");
        for command in commands.cmd_iter() {
            asking.add_command(command.clone());
        }
        let count = asking.len();
        let mut answered = link
            .ask(&self.settings, &asking, count, deadline, vouch)
            .await?;
        answered.values.remove(0);
        Ok(answered)
    }

    /// Sends commands for many slots, in one request to each node. Each item is a slot and the commands
    /// that concern it; the answers come in the items' order. What a node refuses is asked again by itself.
    pub(crate) async fn call_many(
        self: &Arc<Self>,
        items: &[(u16, Pipeline)],
    ) -> Vec<Result<Reply, RemoteError>> {
        let mut by_node: BTreeMap<u16, (Arc<Link>, Vec<usize>)> = BTreeMap::new();
        let mut results: Vec<Option<Result<Reply, RemoteError>>> = Vec::new();
        for (place, (slot, _)) in items.iter().enumerate() {
            match self.owner(*slot) {
                Ok(link) => {
                    let (_, places) = by_node.entry(link.index).or_insert((link, Vec::new()));
                    places.push(place);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut requests = Vec::new();
        for (link, places) in by_node.into_values() {
            requests.push(async move {
                let answers = self.call_node(&link, items, &places).await;
                (places, answers)
            });
        }
        for (places, answers) in join_all(requests).await {
            for (place, answer) in places.into_iter().zip(answers) {
                results[place] = Some(answer);
            }
        }
        let mut all = Vec::with_capacity(items.len());
        for (result, (slot, commands)) in results.into_iter().zip(items) {
            all.push(match result {
                Some(Ok(reply)) if first_error(&reply.values).is_some() => {
                    self.call(*slot, commands, true).await
                }
                Some(result) => result,
                None => Err(RemoteError::Unserved { slot: *slot }),
            });
        }
        all
    }

    /// The answers of one node for some items.
    async fn call_node(
        &self,
        link: &Link,
        items: &[(u16, Pipeline)],
        places: &[usize],
    ) -> Vec<Result<Reply, RemoteError>> {
        let started = Instant::now();
        let mut pipeline = Pipeline::new();
        for &place in places {
            for command in items[place].1.cmd_iter() {
                pipeline.add_command(command.clone());
            }
        }
        let deadline = started + self.settings.remote_timeout;
        let vouchers = Mutex::new(Vec::new());
        // The items' vouchers are taken all at once, just before the connection is chosen.
        let vouch = || {
            let voucher = |&place: &usize| self.vouching.voucher(link.index, items[place].0);
            *vouchers.lock() = places.iter().map(voucher).collect();
            self.vouching.voucher(link.index, items[places[0]].0)
        };
        let answered = link
            .ask(&self.settings, &pipeline, pipeline.len(), deadline, vouch)
            .await;
        self.count(started, answered.as_ref().err());
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) => return places.iter().map(|_| Err(error.clone())).collect(),
        };
        let tracked = answered.voucher != Voucher::NOBODY;
        let mut values = answered.values.into_iter();
        let vouchers = vouchers.into_inner();
        let reply = |(&place, voucher): (&usize, Voucher)| {
            Ok(Reply {
                values: values.by_ref().take(items[place].1.len()).collect(),
                origin: Origin::Vouched(if tracked { voucher } else { Voucher::NOBODY }),
                sent_ns: answered.sent_ns,
            })
        };
        places.iter().zip(vouchers).map(reply).collect()
    }

    /// A node told of changes.
    pub(crate) fn told(&self, node: u16, data: &[Value]) {
        match data.first() {
            Some(Value::Array(keys)) => {
                for key in keys {
                    match key {
                        Value::BulkString(bytes) => self.hears.key_changed(bytes),
                        Value::SimpleString(text) => self.hears.key_changed(text.as_bytes()),
                        _ => {}
                    }
                }
            }
            // Of a flush.
            _ => {
                self.counters.flushes.count();
                self.drop_node(node);
                self.hears.anything_changed();
            }
        }
    }

    /// A connection is lost, and is hidden already.
    pub(crate) fn lost(&self, link: &Link) {
        self.counters.disconnects.count();
        link.heard_ns.store(0, Ordering::Relaxed);
        self.vouching.extend(link.index, 0);
        self.drop_node(link.index);
        self.hears.anything_changed();
        self.stale.notify_one();
    }

    /// Drops all entries of the slots that a node serves.
    fn drop_node(&self, node: u16) {
        let route = self.route.read();
        for (slot, &owner) in (0..).zip(&route.owners) {
            if owner == node {
                self.vouching.drop_slot(slot);
            }
        }
    }

    /// A node says that a slot is another's.
    fn moved(self: &Arc<Self>, slot: u16, target: &Arc<str>) {
        let mut route = self.route.write();
        let number = self.link(&mut route, target).index;
        if route.owners[usize::from(slot)] != number {
            route.owners[usize::from(slot)] = number;
            self.vouching.drop_slot(slot);
            self.counters.moved_slots.count();
        }
        drop(route);
        self.stale.notify_one();
    }

    /// Whether pings should ask for all that a node knows.
    pub(crate) fn wants_views(&self) -> bool {
        self.unsettled_until_ns.load(Ordering::Relaxed) > self.settings.clock.now_ns()
    }

    /// A node has answered a ping that was sent then.
    pub(crate) fn heard(&self, link: &Link, sent_ns: u64, tracked: bool, pong: &Pong) {
        link.heard_ns.store(sent_ns, Ordering::Relaxed);
        let Pong::Cluster { epoch, view } = pong else {
            if tracked {
                self.vouching
                    .extend(link.index, self.settings.believed_until_ns(sent_ns));
            }
            return;
        };
        let route = self.route.read();
        let same = match view {
            Some(view) => Some(view.digest()) == route.digest,
            None => !self.wants_views(),
        };
        if *epoch > route.epoch || (view.is_some() && !same) {
            self.stale.notify_one();
        }
        if *epoch == route.epoch && same {
            self.quorum.lock().agreed(&link.address, sent_ns);
        }
        self.extend_all(&route);
    }

    /// Each node vouches for as long as it and a majority of all were heard of.
    fn extend_all(&self, route: &Route) {
        let agreed_ns = self.quorum.lock().since_ns();
        for running in route.links.values() {
            let link = &running.link;
            let since_ns = link.heard_ns.load(Ordering::Relaxed).min(agreed_ns);
            let until_ns = if since_ns == 0 {
                0
            } else {
                self.settings.believed_until_ns(since_ns)
            };
            self.vouching.extend(link.index, until_ns);
        }
    }

    /// For how long the node that was silent for longest of those that vouch has been silent.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        let now_ns = self.settings.clock.now_ns();
        let bound_ns = crate::clock::whole_ns(self.settings.max_staleness);
        let route = self.route.read();
        let silent_ns = |running: &Running| {
            let until_ns = self.vouching.until_ns(running.link.index);
            let since_ns = (until_ns + crate::clock::LAG_NS).checked_sub(bound_ns)?;
            (until_ns > now_ns).then(|| now_ns.saturating_sub(since_ns))
        };
        let longest_ns = route.links.values().filter_map(silent_ns).max()?;
        Some(Duration::from_nanos(longest_ns))
    }

    /// Asks who serves what whenever somebody has noticed that it may have changed.
    async fn keep_fresh(self: Arc<Self>) {
        loop {
            // Also without a reason, should a hint get lost with a connection.
            let _hint = timeout(Duration::from_secs(15), self.stale.notified()).await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "nobody says who serves which slot");
            }
            sleep(REFRESH_PERIOD).await;
        }
    }

    /// Asks all nodes who serves what, and goes by what most of them say.
    async fn refresh(self: &Arc<Self>) -> Result<(), RemoteError> {
        let mut asked = JoinSet::new();
        for link in self.links().into_iter().filter(|link| link.is_up()) {
            let remote = Arc::clone(self);
            asked.spawn(async move { remote.view_of(&link).await });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.ok().flatten());
        }
        let mut error = None;
        if answers.is_empty() {
            // Nobody who is connected: those who were, and those to begin with.
            let mut addresses = self.settings.seeds.clone();
            addresses.extend(self.links().iter().map(|link| link.address.to_string()));
            addresses.sort();
            addresses.dedup();
            let mut probes = JoinSet::new();
            for address in addresses {
                let remote = Arc::clone(self);
                probes.spawn(async move { remote.probe(&address).await });
            }
            while let Some(answer) = probes.join_next().await {
                match answer {
                    Ok(Ok(answer)) => answers.push(answer),
                    Ok(Err(failed)) => error = Some(failed),
                    Err(_) => {}
                }
            }
        }
        let current = self.route.read().digest;
        let views: Vec<Answer> = answers
            .iter()
            .map(|(_, answer, _)| answer.clone())
            .collect();
        match choose(&views, current) {
            Some(chosen) => {
                self.go_by(&chosen, &answers);
                Ok(())
            }
            None => Err(error.unwrap_or(RemoteError::Unserved { slot: 0 })),
        }
    }

    /// What a node that is connected knows, and when it was asked.
    async fn view_of(&self, link: &Link) -> Option<(Arc<str>, Answer, u64)> {
        let pipeline = what_it_knows();
        let deadline = Instant::now() + self.settings.remote_timeout;
        let nobody = || Voucher::NOBODY;
        let answered = link
            .ask(&self.settings, &pipeline, 2, deadline, nobody)
            .await
            .ok()?;
        let answer = read_answer(&answered.values, &link.address)?;
        Some((Arc::clone(&link.address), answer, answered.sent_ns))
    }

    /// What a node that is not connected knows.
    async fn probe(&self, node: &str) -> Result<(Arc<str>, Answer, u64), RemoteError> {
        let unavailable = |reason: String| RemoteError::Unavailable {
            node: node.into(),
            reason: reason.into(),
        };
        let asking = async {
            let client = Client::open(at(&self.settings.connection, node))?;
            let config = AsyncConnectionConfig::new()
                .set_response_timeout(None)
                .set_connection_timeout(None);
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let sent_ns = self.settings.clock.now_ns();
            let pipeline = what_it_knows();
            let values = connection.send_packed_commands(&pipeline, 0, 2).await?;
            Ok::<_, redis::RedisError>((values, sent_ns))
        };
        let (values, sent_ns) = timeout(self.settings.connect_timeout, asking)
            .await
            .map_err(|_| {
                unavailable(format!(
                    "no answer within {:?}",
                    self.settings.connect_timeout
                ))
            })?
            .map_err(|error| unavailable(error.to_string()))?;
        if let Some(error) = first_error(&values) {
            return Err(RemoteError::Refused {
                node: node.into(),
                message: error.to_string().into(),
            });
        }
        let answer = read_answer(&values, node)
            .ok_or_else(|| unavailable("it does not say who serves which slot".to_owned()))?;
        Ok((node.into(), answer, sent_ns))
    }

    /// Goes by what was chosen from now on.
    fn go_by(self: &Arc<Self>, chosen: &Answer, answers: &[(Arc<str>, Answer, u64)]) {
        let now_ns = self.settings.clock.now_ns();
        let digest = chosen.view.digest();
        let primaries = chosen.view.primaries();
        let mut route = self.route.write();
        let mut numbers = BTreeMap::new();
        for primary in &primaries {
            numbers.insert(Arc::clone(primary), self.link(&mut route, primary).index);
        }
        let mut moved = 0;
        for (slot, owner) in chosen.view.owners().into_iter().enumerate() {
            let number = owner.map_or(NOBODY, |owner| numbers[&owner]);
            if route.owners[slot] != number {
                route.owners[slot] = number;
                self.vouching.drop_slot(slot as u16);
                moved += 1;
            }
        }
        let is_first = route.digest.is_none();
        if !is_first {
            self.counters.moved_slots.add(moved);
        }
        // Who serves nothing any more is let go.
        let gone: Vec<Arc<str>> = route
            .links
            .iter()
            .filter(|(address, running)| {
                !primaries.contains(*address) && running.link.since_ns + NEWCOMER_NS < now_ns
            })
            .map(|(address, _)| Arc::clone(address))
            .collect();
        for address in gone {
            if let Some(running) = route.links.remove(&address) {
                running.task.abort();
                running.link.retire();
                self.vouching.extend(running.link.index, 0);
                if let Some(place) = route.numbered.get_mut(usize::from(running.link.index)) {
                    *place = None;
                }
            }
        }
        let mut quorum = self.quorum.lock();
        if route.digest != Some(digest) || route.epoch != chosen.epoch {
            tracing::info!(
                epoch = chosen.epoch,
                primaries = primaries.len(),
                moved,
                "the cluster's slots"
            );
            // An epoch that is known from the start may be that of an election under way, too.
            let until_ns = now_ns.saturating_add(ELECTION_NS);
            self.unsettled_until_ns.store(until_ns, Ordering::Relaxed);
            route.digest = Some(digest);
            route.epoch = chosen.epoch;
            quorum.reset(primaries);
        }
        for (node, answer, sent_ns) in answers {
            if answer.epoch == chosen.epoch && answer.view.digest() == digest {
                quorum.agreed(node, *sent_ns);
            }
        }
        drop(quorum);
        self.extend_all(&route);
    }
}

/// The first error of the server among its answers.
fn first_error(values: &[Value]) -> Option<&ServerError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    })
}

/// Where `MOVED` or `ASK` points to: `<slot> <host>:<port>`, without the host if it is the same.
fn target(error: &ServerError, asked: &Link) -> Option<Arc<str>> {
    let (_, target) = error.details()?.split_once(' ')?;
    let (host, port) = target.trim().rsplit_once(':')?;
    let host = match host {
        "" | "?" => asked.address.rsplit_once(':')?.0,
        known => known,
    };
    Some(address(host, port.parse().ok()?).into())
}

/// Asks a node for its epoch, and who serves what.
fn what_it_knows() -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline
        .cmd("CLUSTER")
        .arg("INFO")
        .cmd("CLUSTER")
        .arg("SLOTS");
    pipeline
}

fn read_answer(values: &[Value], asked: &str) -> Option<Answer> {
    Some(Answer {
        epoch: epoch(values.first()?)?,
        view: View::parse(values.get(1)?, asked)?,
    })
}
