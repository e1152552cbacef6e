//! The connection to one node: made, watched, given up and made again by a task of its own.
//!
//! ```text
//!   Connecting ──► Up ──── breaks, is suspected, or does not answer a ping ────┐
//!       ▲ │                                                                    │
//!       │ └─ fails ──► Down ── waits, longer each time, and tries again ──► Up │
//!       └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Requests wait while a connection that was just lost is made anew, and fail at once while the node is
//! known to be down: this is the circuit breaker. It opens when an attempt to connect fails, and the next
//! attempt that succeeds closes it; requests themselves are never the probe. A node that accepts requests
//! and answers none is found out by the requests that time out, and by its pings.
//!
//! **Whose word counts.** A connection is shown to those who ask only when the server has been told to
//! track it. When it is lost, it is first hidden, then what it vouched for is dropped, then the next one is
//! made. So an answer of an older connection never carries the generation of a newer one.

use crate::clock::whole_ns;
use crate::error::RemoteError;
use crate::remote::{Pong, Remote};
use crate::settings::Settings;
use crate::topology::{View, epoch};
use crate::vouching::Voucher;
use futures_util::future::select;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline,
    ProtocolVersion, PushInfo, PushKind, RedisError, Value,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// So many requests in a row that are not answered in time make a connection suspect.
const SUSPECT_TIMEOUTS: u32 = 16;
/// The first wait after an attempt that failed; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Requests that wait to be written; those who come then wait to wait.
const QUEUE: usize = 1_024;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 64 << 10;

/// See the module's text.
pub(crate) struct Link {
    /// The node's number, as vouchers have it.
    pub(crate) index: u16,
    /// Where the node is, as the cluster's nodes call it.
    pub(crate) address: Arc<str>,
    /// When it was made.
    pub(crate) since_ns: u64,
    /// When the last ping was sent that was answered; 0 while there is no connection.
    pub(crate) heard_ns: AtomicU64,
    state: Mutex<State>,
    changed: Notify,
    waiting: Semaphore,
    /// Requests in a row that were not answered in time.
    timeouts: AtomicU32,
    suspected: Notify,
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Up),
    Down(RemoteError),
}

/// A connection that is ready.
#[derive(Clone)]
struct Up {
    connection: MultiplexedConnection,
    /// Whether the server tells of changes.
    tracked: bool,
}

/// What was answered, and by what right it may be kept.
pub(crate) struct Answered {
    pub(crate) values: Vec<Value>,
    /// Who vouches for it; nobody on a connection that is not tracked.
    pub(crate) voucher: Voucher,
    /// When it was asked.
    pub(crate) sent_ns: u64,
}

impl Link {
    pub(crate) fn new(index: u16, address: Arc<str>, settings: &Settings) -> Self {
        Self {
            index,
            address,
            since_ns: settings.clock.now_ns(),
            heard_ns: AtomicU64::new(0),
            state: Mutex::new(State::Connecting),
            changed: Notify::new(),
            waiting: Semaphore::new(settings.max_in_flight),
            timeouts: AtomicU32::new(0),
            suspected: Notify::new(),
        }
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.state.lock(), State::Up(_))
    }

    /// Sends `pipeline`, of `count` commands, and waits for the answers. `vouch` is asked for the voucher
    /// just before the connection is chosen.
    ///
    /// Answers may be errors of the server; those of the connection are errors here.
    pub(crate) async fn ask(
        &self,
        settings: &Settings,
        pipeline: &Pipeline,
        count: usize,
        deadline: Instant,
        vouch: impl Fn() -> Voucher,
    ) -> Result<Answered, RemoteError> {
        let _permit = self
            .waiting
            .try_acquire()
            .map_err(|_| RemoteError::Overloaded {
                node: Arc::clone(&self.address),
                limit: settings.max_in_flight,
            })?;
        let (mut up, voucher) = self.up(settings, deadline, vouch).await?;
        let sent_ns = settings.clock.now_ns();
        let answer = up.connection.send_packed_commands(pipeline, 0, count);
        match timeout_at(deadline, answer).await {
            Ok(Ok(values)) => {
                if self.timeouts.load(Ordering::Relaxed) > 0 {
                    self.timeouts.store(0, Ordering::Relaxed);
                }
                Ok(Answered {
                    values,
                    voucher: if up.tracked { voucher } else { Voucher::NOBODY },
                    sent_ns,
                })
            }
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => {
                if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= SUSPECT_TIMEOUTS {
                    self.suspected.notify_one();
                }
                Err(self.timed_out(settings))
            }
        }
    }

    /// The connection; waits for one that is being made anew.
    async fn up(
        &self,
        settings: &Settings,
        deadline: Instant,
        vouch: impl Fn() -> Voucher,
    ) -> Result<(Up, Voucher), RemoteError> {
        loop {
            match self.state_with(&vouch) {
                (State::Up(up), voucher) => return Ok((up, voucher)),
                (State::Down(error), _) => return Err(error),
                (State::Connecting, _) => {}
            }
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            // It may have changed before it was listened for.
            if matches!(*self.state.lock(), State::Connecting)
                && timeout_at(deadline, changed).await.is_err()
            {
                return Err(self.timed_out(settings));
            }
        }
    }

    /// The state, and a voucher taken before it was looked at.
    fn state_with(&self, vouch: impl Fn() -> Voucher) -> (State, Voucher) {
        let voucher = vouch();
        (self.state.lock().clone(), voucher)
    }

    /// Waits until the first attempt to connect has ended.
    pub(crate) async fn settled(&self) -> Result<(), RemoteError> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match &*self.state.lock() {
                State::Up(_) => return Ok(()),
                State::Down(error) => return Err(error.clone()),
                State::Connecting => {}
            }
            changed.await;
        }
    }

    fn timed_out(&self, settings: &Settings) -> RemoteError {
        RemoteError::Timeout {
            node: Arc::clone(&self.address),
            deadline: settings.remote_timeout,
        }
    }

    fn failed(&self, error: &RedisError) -> RemoteError {
        let (node, message) = (Arc::clone(&self.address), error.to_string().into());
        if error.is_unrecoverable_error() || error.is_connection_dropped() {
            RemoteError::Disconnected {
                node,
                reason: message,
            }
        } else {
            RemoteError::Refused { node, message }
        }
    }

    fn set(&self, state: State) {
        // What was there is dropped when the lock is not held any more.
        let _previous = std::mem::replace(&mut *self.state.lock(), state);
        self.changed.notify_waiters();
    }

    /// The node is not one of the cluster's primaries any more.
    pub(crate) fn retire(&self) {
        self.heard_ns.store(0, Ordering::Relaxed);
        self.set(State::Down(RemoteError::Unavailable {
            node: Arc::clone(&self.address),
            reason: "it serves no slot any more".into(),
        }));
    }

    /// Keeps a connection to the node for as long as the task is not aborted.
    pub(crate) async fn run(self: Arc<Self>, remote: Arc<Remote>) {
        let settings = &remote.settings;
        let mut wait = FIRST_WAIT;
        let mut known_down = false;
        loop {
            let broken = Arc::new(Notify::new());
            match self.connect(&remote, &broken).await {
                Ok(up) => {
                    wait = FIRST_WAIT;
                    remote.counters.connects.count();
                    if known_down {
                        tracing::info!(node = &*self.address, "connected again");
                    } else {
                        tracing::debug!(node = &*self.address, tracked = up.tracked, "connected");
                    }
                    known_down = false;
                    self.timeouts.store(0, Ordering::Relaxed);
                    self.set(State::Up(up.clone()));
                    let reason = self.watch(&remote, up, &broken).await;
                    tracing::warn!(node = &*self.address, reason, "the connection is lost");
                    self.set(State::Connecting);
                    remote.lost(&self);
                }
                Err(error) => {
                    remote.counters.connect_failures.count();
                    // Once, and not each time.
                    if known_down {
                        tracing::debug!(node = &*self.address, %error, "still not connected");
                    } else {
                        tracing::warn!(node = &*self.address, %error, "not connected, trying on");
                    }
                    known_down = true;
                    self.set(State::Down(error));
                    // Half of it at random, so that not all processes come at once.
                    sleep(wait / 2 + wait.mul_f64(fastrand::f64() / 2.0)).await;
                    wait = (wait * 2).min(settings.max_reconnect_wait);
                }
            }
        }
    }

    /// Connects, and has the server track what is read.
    async fn connect(&self, remote: &Arc<Remote>, broken: &Arc<Notify>) -> Result<Up, RemoteError> {
        let settings = &remote.settings;
        let attempt = async {
            match self.connect_tracked(remote, broken).await {
                Err(RemoteError::NoTracking { node, reason }) if !settings.require_tracking => {
                    tracing::warn!(
                        node = &*node,
                        reason = &*reason,
                        "no invalidations from this node: entries are kept for the staleness bound at most"
                    );
                    let connection = self.open(settings, ProtocolVersion::RESP2, None).await;
                    Ok(Up {
                        connection: connection.map_err(|error| self.unavailable(&error))?,
                        tracked: false,
                    })
                }
                result => result,
            }
        };
        // With a first ping, so that the node vouches for what is read from the first request on.
        let attempt = async {
            let mut up = attempt.await?;
            match self.ping(remote, &mut up).await {
                Ok(()) => Ok(up),
                Err(reason) => Err(RemoteError::Unavailable {
                    node: Arc::clone(&self.address),
                    reason: reason.into(),
                }),
            }
        };
        timeout(settings.connect_timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(RemoteError::Unavailable {
                    node: Arc::clone(&self.address),
                    reason: format!("no connection within {:?}", settings.connect_timeout).into(),
                })
            })
    }

    async fn connect_tracked(
        &self,
        remote: &Arc<Remote>,
        broken: &Arc<Notify>,
    ) -> Result<Up, RemoteError> {
        let settings = &remote.settings;
        let (hears, told) = (Arc::clone(remote), Arc::clone(broken));
        let index = self.index;
        let hear = move |push: PushInfo| -> Result<(), ()> {
            match push.kind {
                PushKind::Invalidate => hears.told(index, &push.data),
                PushKind::Disconnection => told.notify_one(),
                _ => {}
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(hear);
        let opened = self
            .open(settings, ProtocolVersion::RESP3, Some(config))
            .await;
        let mut connection = opened.map_err(|error| {
            // Servers that do not know `HELLO`, or do not let us, say so in different ways.
            let unknown = || error.to_string().contains("unknown command");
            let refused = || error.code() == Some("NOPERM");
            if error.kind() == ErrorKind::RESP3NotSupported || unknown() || refused() {
                self.no_tracking(&error)
            } else {
                self.unavailable(&error)
            }
        })?;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON");
        if settings.broadcast {
            track
                .arg("BCAST")
                .arg("PREFIX")
                .arg(settings.namespace.prefix());
        }
        track.arg("NOLOOP");
        match connection.send_packed_command(&track).await {
            Ok(Value::ServerError(error)) => Err(self.no_tracking(&RedisError::from(error))),
            Ok(_) => Ok(Up {
                connection,
                tracked: true,
            }),
            Err(error) if error.is_unrecoverable_error() => Err(self.unavailable(&error)),
            Err(error) => Err(self.no_tracking(&error)),
        }
    }

    async fn open(
        &self,
        settings: &Settings,
        protocol: ProtocolVersion,
        config: Option<AsyncConnectionConfig>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let info = at(&settings.connection, &self.address);
        let redis = info.redis_settings().clone();
        let redis = redis
            .set_protocol(protocol)
            .set_lib_name("nuthatch-client", env!("CARGO_PKG_VERSION"));
        let config = config
            .unwrap_or_default()
            // Deadlines are kept here.
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BYTES);
        let client = Client::open(info.set_redis_settings(redis))?;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn unavailable(&self, error: &RedisError) -> RemoteError {
        RemoteError::Unavailable {
            node: Arc::clone(&self.address),
            reason: error.to_string().into(),
        }
    }

    fn no_tracking(&self, error: &RedisError) -> RemoteError {
        RemoteError::NoTracking {
            node: Arc::clone(&self.address),
            reason: error.to_string().into(),
        }
    }

    /// Asks the node whether it is there; says why the connection is of no use if it is not.
    async fn ping(&self, remote: &Arc<Remote>, up: &mut Up) -> Result<(), &'static str> {
        let settings = &remote.settings;
        let ping = Ping::new(settings.cluster, remote.wants_views());
        let sent_ns = settings.clock.now_ns();
        let answer = up
            .connection
            .send_packed_commands(&ping.pipeline, 0, ping.count);
        match timeout(settings.max_staleness, answer).await {
            Err(_) => return Err("it does not answer"),
            Ok(Err(error)) if error.is_unrecoverable_error() => return Err("it broke"),
            Ok(Err(error)) => {
                tracing::warn!(node = &*self.address, %error, "a ping was refused");
            }
            Ok(Ok(values)) => match ping.read(&values, &self.address) {
                Some(pong) => remote.heard(self, sent_ns, up.tracked, &pong),
                None => tracing::warn!(node = &*self.address, ?values, "a ping was refused"),
            },
        }
        Ok(())
    }

    /// Pings the node until its connection is of no use any more; says why.
    async fn watch(&self, remote: &Arc<Remote>, mut up: Up, broken: &Notify) -> &'static str {
        let settings = &remote.settings;
        // What an older connection was suspected of is forgotten.
        pin!(self.suspected.notified()).as_mut().enable();
        let pinging = async {
            loop {
                sleep(settings.ping_period()).await;
                if let Err(reason) = self.ping(remote, &mut up).await {
                    return reason;
                }
            }
        };
        let closed = async {
            broken.notified().await;
            "it was closed"
        };
        let suspected = async {
            self.suspected.notified().await;
            "requests are not answered"
        };
        let told = async { select(pin!(closed), pin!(suspected)).await.factor_first().0 };
        select(pin!(pinging), pin!(told)).await.factor_first().0
    }
}

/// What a node is asked to see whether it is there.
struct Ping {
    pipeline: Pipeline,
    count: usize,
    cluster: bool,
}

impl Ping {
    fn new(cluster: bool, full: bool) -> Self {
        let mut pipeline = Pipeline::new();
        if !cluster {
            pipeline.cmd("PING");
        } else {
            pipeline.cmd("CLUSTER").arg("INFO");
            if full {
                pipeline.cmd("CLUSTER").arg("SLOTS");
            }
        }
        Self {
            count: 1 + usize::from(cluster && full),
            pipeline,
            cluster,
        }
    }

    fn read(&self, values: &[Value], asked: &str) -> Option<Pong> {
        if values
            .iter()
            .any(|value| matches!(value, Value::ServerError(_)))
        {
            return None;
        }
        if !self.cluster {
            return Some(Pong::Alone);
        }
        Some(Pong::Cluster {
            epoch: epoch(values.first()?)?,
            view: match values.get(1) {
                Some(reply) => Some(View::parse(reply, asked)?),
                None => None,
            },
        })
    }
}

/// The same connection, to another address.
pub(crate) fn at(connection: &ConnectionInfo, address: &str) -> ConnectionInfo {
    let Some((host, port)) = address.rsplit_once(':') else {
        return connection.clone();
    };
    let Ok(port) = port.parse() else {
        return connection.clone();
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let addr = match connection.addr() {
        ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(host, port),
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        other => other.clone(),
    };
    connection.clone().set_addr(addr)
}

impl Settings {
    /// How often nodes are pinged: so often that a late answer does no harm.
    pub(crate) fn ping_period(&self) -> Duration {
        self.max_staleness / 4
    }

    /// Until when something may be believed that was so at `at_ns`.
    pub(crate) fn believed_until_ns(&self, at_ns: u64) -> u64 {
        (at_ns + whole_ns(self.max_staleness)).saturating_sub(crate::clock::LAG_NS)
    }
}
