//! The options of a near cache; they live here alone, and are checked here.

use crate::clock::coarse;
use crate::codec::Codec;
#[cfg(feature = "compression")]
use crate::envelope::Compression;
use crate::envelope::Envelope;
use crate::error::BuildError;
use crate::key::{Namespace, RemoteKey};
use crate::local::{Limits, Local, Locals};
use crate::pending::Pending;
use crate::remote::Remote;
use crate::settings::Settings;
use crate::slot::SLOTS;
use crate::tiered::{Options, TieredCache};
use crate::topology::address;
use crate::vouching::Vouching;
use nuthatch::{CacheBuilder, Clock};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// What a read that finds nothing in process does when the remote tier fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemoteFailure {
    /// It calls the loader. The value is kept in process for the staleness bound at most.
    #[default]
    Load,
    /// It fails with the remote tier's error, which spares what the loader asks.
    Fail,
}

/// How `insert` treats the tier in process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// The value is kept in process, too, when the remote tier has it.
    #[default]
    Through,
    /// The value goes to the remote tier alone, and what is kept in process is dropped: for what is
    /// written here and read elsewhere.
    Around,
}

/// What to do about a server that cannot tell of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutTracking {
    /// Keep its values in process for the staleness bound at most, and warn.
    #[default]
    Bounded,
    /// Do not use it.
    Refuse,
}

/// Builds a [`TieredCache`]; see there for an example.
pub struct TieredCacheBuilder<K, V> {
    local: Option<CacheBuilder<K, Local<V>>>,
    remote: Option<String>,
    codec: Option<Arc<dyn Codec<V>>>,
    namespace: String,
    time_to_live: Option<Duration>,
    local_time_to_live: Duration,
    negative_time_to_live: Option<Duration>,
    stale_while_revalidate: Duration,
    max_staleness: Duration,
    remote_timeout: Option<Duration>,
    connect_timeout: Duration,
    max_reconnect_wait: Duration,
    load_timeout: Duration,
    lease: Option<Duration>,
    max_in_flight: usize,
    max_value_bytes: usize,
    write_mode: WriteMode,
    remote_failure: RemoteFailure,
    without_tracking: WithoutTracking,
    broadcast: bool,
    start_without_remote: bool,
    clock: Clock,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
    #[cfg(feature = "tls")]
    authorities_pem: Option<Vec<u8>>,
    #[cfg(feature = "tls")]
    identity_pem: Option<redis::ClientTlsConfig>,
}

impl<K, V> Debug for TieredCacheBuilder<K, V> {
    /// Without the address, which may have a password in it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredCacheBuilder")
            .field("namespace", &self.namespace)
            .field("time_to_live", &self.time_to_live)
            .field("max_staleness", &self.max_staleness)
            .finish_non_exhaustive()
    }
}

/// The shortest staleness bound: below it, more pings than reads would be sent.
const LEAST_STALENESS: Duration = Duration::from_millis(50);

impl<K, V> TieredCacheBuilder<K, V>
where
    K: RemoteKey,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self {
            local: None,
            remote: None,
            codec: None,
            namespace: String::new(),
            time_to_live: None,
            local_time_to_live: Duration::from_secs(300),
            negative_time_to_live: None,
            stale_while_revalidate: Duration::ZERO,
            max_staleness: Duration::from_secs(1),
            remote_timeout: None,
            connect_timeout: Duration::from_secs(1),
            max_reconnect_wait: Duration::from_secs(1),
            load_timeout: Duration::from_secs(30),
            lease: None,
            max_in_flight: 4_096,
            max_value_bytes: 8 << 20,
            write_mode: WriteMode::default(),
            remote_failure: RemoteFailure::default(),
            without_tracking: WithoutTracking::default(),
            broadcast: false,
            start_without_remote: false,
            clock: coarse(),
            #[cfg(feature = "compression")]
            compression: None,
            #[cfg(feature = "tls")]
            authorities_pem: None,
            #[cfg(feature = "tls")]
            identity_pem: None,
        }
    }

    /// The tier in process: its capacity, policy, engine, weigher and listener. Its clock and its times to
    /// live are this builder's. Required.
    ///
    /// A listener must not block until an operation of this near cache ends.
    pub fn local(mut self, local: CacheBuilder<K, Local<V>>) -> Self {
        self.local = Some(local);
        self
    }

    /// The remote tier: `redis://host:port` for one server (with TLS `rediss://`, over a Unix socket
    /// `redis+unix:///path`), or `redis+cluster://host:port,host:port` for a cluster, of which a few nodes are
    /// enough (with TLS `rediss+cluster://`). `user:password@` may stand before the first host, and `/db`
    /// after one server. Required.
    pub fn remote(mut self, url: impl Into<String>) -> Self {
        self.remote = Some(url.into());
        self
    }

    /// How values are kept on the remote tier. Required.
    pub fn codec(mut self, codec: impl Codec<V>) -> Self {
        self.codec = Some(Arc::new(codec));
        self
    }

    /// What keys begin with on the remote tier, with a colon after it. Unless set, they begin with nothing.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }

    /// How long the remote tier keeps what is written here. Unless set, for ever.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = Some(duration);
        self
    }

    /// How long a value is kept in process at most, whoever vouches for it; 5 minutes unless set.
    pub fn local_time_to_live(mut self, duration: Duration) -> Self {
        self.local_time_to_live = duration;
        self
    }

    /// Remembers for so long that the loader has found nothing, on both tiers, and in process also that the
    /// remote tier has nothing. Unless set, that is not remembered.
    pub fn negative_time_to_live(mut self, duration: Duration) -> Self {
        self.negative_time_to_live = Some(duration);
        self
    }

    /// Keeps values on the remote tier for so much longer than [`time_to_live`](Self::time_to_live). A
    /// loading read that finds one in that time loads it anew, if no other process does so: those are
    /// given the old value meanwhile. Needs [`lease`](Self::lease).
    pub fn stale_while_revalidate(mut self, duration: Duration) -> Self {
        self.stale_while_revalidate = duration;
        self
    }

    /// A read never gives out a value that was replaced on the remote tier longer ago than this, when the
    /// read began; 1 second unless set, 50 milliseconds at least. Each node is pinged four times as often.
    ///
    /// As a rule an entry goes as soon as its invalidation arrives, which takes a moment. This bound is
    /// what holds when none arrives: of a node that is cut off, or stopped, or deposed.
    pub fn max_staleness(mut self, duration: Duration) -> Self {
        self.max_staleness = duration;
        self
    }

    /// How long a request to the remote tier may take, with all its redirections; half a second unless set,
    /// and the staleness bound at most.
    pub fn remote_timeout(mut self, duration: Duration) -> Self {
        self.remote_timeout = Some(duration);
        self
    }

    /// How long an attempt to connect may take; 1 second unless set.
    pub fn connect_timeout(mut self, duration: Duration) -> Self {
        self.connect_timeout = duration;
        self
    }

    /// The longest wait between two attempts to connect; 1 second unless set. The first wait is 50
    /// milliseconds, each is twice as long as the one before, and half of each is left to chance.
    pub fn max_reconnect_wait(mut self, duration: Duration) -> Self {
        self.max_reconnect_wait = duration;
        self
    }

    /// How long a loader may take before it is dropped; 30 seconds unless set.
    pub fn load_timeout(mut self, duration: Duration) -> Self {
        self.load_timeout = duration;
        self
    }

    /// Has one process of all load what all miss: it takes a lease on the remote tier (a key of its own,
    /// `namespace:key` in braces and `:lease`), and the others wait for its value. The lease ends after this
    /// time, so it should be longer than loads take. Unless set, each process loads for itself.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = Some(duration);
        self
    }

    /// How many requests may wait for an answer of one node; 4,096 unless set. Those beyond fail at once.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// The longest value, in bytes as it is sent; 8 MiB unless set. Longer ones are not sent, and count as a
    /// miss if the remote tier has one.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// How `insert` treats the tier in process; [`WriteMode::Through`] unless set.
    pub fn write_mode(mut self, mode: WriteMode) -> Self {
        self.write_mode = mode;
        self
    }

    /// What a loading read does when the remote tier fails; [`RemoteFailure::Load`] unless set.
    pub fn on_remote_failure(mut self, failure: RemoteFailure) -> Self {
        self.remote_failure = failure;
        self
    }

    /// What to do about a server without RESP3 or `CLIENT TRACKING`; [`WithoutTracking::Bounded`] unless
    /// set.
    pub fn without_tracking(mut self, what: WithoutTracking) -> Self {
        self.without_tracking = what;
        self
    }

    /// Has each node tell of every change in the namespace, instead of remembering which keys were read
    /// here. Spares the servers memory, and costs a message for each write by anybody. Needs a
    /// [`namespace`](Self::namespace).
    pub fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// Builds the near cache also if the remote tier cannot be reached yet; off unless set. It goes on
    /// trying.
    pub fn start_without_remote(mut self, on: bool) -> Self {
        self.start_without_remote = on;
        self
    }

    /// Compresses values of this length on with zstd, at the given level (1 to 22; 3 is usual). Values that
    /// do not get shorter are kept as they are. Those who share the namespace must agree on whether this is
    /// set, not on how.
    #[cfg(feature = "compression")]
    pub fn compression(mut self, threshold_bytes: usize, level: i32) -> Self {
        self.compression = Some(Compression {
            threshold_bytes,
            level,
        });
        self
    }

    /// Over TLS, trusts servers whose certificates these authorities have signed, in PEM, instead of those
    /// that the system trusts.
    #[cfg(feature = "tls")]
    pub fn tls_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities_pem = Some(pem.into());
        self
    }

    /// Over TLS, shows servers this certificate, with its key, both in PEM.
    #[cfg(feature = "tls")]
    pub fn tls_identity(
        mut self,
        certificate_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity_pem = Some(redis::ClientTlsConfig {
            client_cert: certificate_pem.into(),
            client_key: key_pem.into(),
        });
        self
    }

    /// The source of time for what is kept in process. Unless set, the machine's monotonic clock as of its
    /// last tick; it must not be behind by more than 10 milliseconds.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the near cache and connects it, on the runtime of tokio that this is called on. Its tasks end
    /// when its last clone is dropped.
    ///
    /// # Errors
    /// A setting that is missing or not allowed, an address that makes no sense, and, unless
    /// [`start_without_remote`](Self::start_without_remote) is set, a remote tier that cannot be reached,
    /// does not let us in, or cannot do what is required.
    pub async fn build(self) -> Result<TieredCache<K, V>, BuildError> {
        self.check()?;
        Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let missing = |setting, hint| BuildError::Missing { setting, hint };
        let local = self.local.ok_or_else(|| {
            missing(
                "local",
                "the cache in process, such as Cache::builder().capacity(100_000)",
            )
        })?;
        let url = self.remote.ok_or_else(|| {
            missing(
                "remote",
                "the server's address, such as redis://127.0.0.1:6379",
            )
        })?;
        let codec = self.codec.ok_or_else(|| {
            missing(
                "codec",
                "how values are kept on the server, such as codec::Json or codec::Bytes",
            )
        })?;
        let Target {
            connection,
            seeds,
            cluster,
        } = Target::parse(&url)?;
        #[cfg(feature = "tls")]
        let connection =
            with_certificates(connection, &url, self.authorities_pem, self.identity_pem)?;
        let namespace = Namespace::new(&self.namespace);
        let settings = Settings {
            clock: self.clock.clone(),
            connection,
            cluster,
            seeds,
            namespace: namespace.clone(),
            max_staleness: self.max_staleness,
            remote_timeout: self
                .remote_timeout
                .unwrap_or(Duration::from_millis(500).min(self.max_staleness)),
            connect_timeout: self.connect_timeout,
            max_reconnect_wait: self.max_reconnect_wait,
            max_in_flight: self.max_in_flight,
            broadcast: self.broadcast,
            require_tracking: self.without_tracking == WithoutTracking::Refuse,
        };
        let negative = self.negative_time_to_live;
        // While a slot is on its way, a key that is made at its new place is not known of at the old one.
        let local_negative = negative.unwrap_or(Duration::ZERO);
        let limits = Limits {
            time_to_live: self.local_time_to_live,
            negative_time_to_live: if cluster {
                local_negative.min(self.max_staleness)
            } else {
                local_negative
            },
            max_staleness: self.max_staleness,
        };
        let locals = Arc::new(Locals {
            cache: local.clock(self.clock.clone()).build()?,
            pending: Pending::new(),
            vouching: Arc::new(Vouching::new(if cluster { SLOTS } else { 1 })),
            counters: Arc::default(),
            namespace,
            clock: self.clock,
            limits,
        });
        let envelope = Envelope {
            codec,
            max_value_bytes: self.max_value_bytes,
            negative: negative.is_some(),
            #[cfg(feature = "compression")]
            compression: self.compression,
        };
        let options = Options {
            time_to_live: self.time_to_live,
            negative_time_to_live: negative,
            stale_while_revalidate: self.stale_while_revalidate,
            load_timeout: self.load_timeout,
            lease: self.lease,
            write_mode: self.write_mode,
            remote_failure: self.remote_failure,
        };
        let remote = Arc::new(Remote::new(
            settings,
            Arc::clone(&locals.counters),
            Arc::clone(&locals.vouching),
            Arc::clone(&locals) as _,
        ));
        // From here on, dropping it ends its tasks.
        let cache = TieredCache::new(locals, Arc::clone(&remote), envelope, options);
        match remote.start().await {
            Err(error) if !self.start_without_remote => Err(error.into()),
            _ => Ok(cache),
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        let positive = [
            ("time_to_live", self.time_to_live),
            ("local_time_to_live", Some(self.local_time_to_live)),
            ("negative_time_to_live", self.negative_time_to_live),
            ("remote_timeout", self.remote_timeout),
            ("connect_timeout", Some(self.connect_timeout)),
            ("max_reconnect_wait", Some(self.max_reconnect_wait)),
            ("load_timeout", Some(self.load_timeout)),
            ("lease", self.lease),
        ];
        for (setting, value) in positive {
            if value.is_some_and(|value| value < Duration::from_millis(1)) {
                return Err(invalid(setting, &value, "a millisecond at least"));
            }
        }
        if self.max_staleness < LEAST_STALENESS {
            return Err(invalid(
                "max_staleness",
                &self.max_staleness,
                "50 milliseconds at least",
            ));
        }
        if self
            .remote_timeout
            .is_some_and(|timeout| timeout > self.max_staleness)
        {
            return Err(invalid(
                "remote_timeout",
                &self.remote_timeout,
                "max_staleness at most",
            ));
        }
        if self.max_in_flight == 0 || self.max_in_flight > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(invalid("max_in_flight", &self.max_in_flight, "1 at least"));
        }
        if self.max_value_bytes == 0 {
            return Err(invalid(
                "max_value_bytes",
                &self.max_value_bytes,
                "1 at least",
            ));
        }
        if self.broadcast && self.namespace.is_empty() {
            return Err(invalid("broadcast", &true, "false without a namespace"));
        }
        if !self.stale_while_revalidate.is_zero() {
            if self.lease.is_none() {
                return Err(BuildError::Missing {
                    setting: "lease",
                    hint: "stale_while_revalidate needs it to choose who loads",
                });
            }
            if self.time_to_live.is_none() {
                return Err(BuildError::Missing {
                    setting: "time_to_live",
                    hint: "stale_while_revalidate begins when it ends",
                });
            }
        }
        #[cfg(feature = "compression")]
        if let Some(Compression { level, .. }) = self.compression
            && !(1..=22).contains(&level)
        {
            return Err(invalid("compression", &level, "a level of 1 to 22"));
        }
        Ok(())
    }
}

/// The connection with certificates of one's own, if there are any.
#[cfg(feature = "tls")]
fn with_certificates(
    connection: ConnectionInfo,
    url: &str,
    authorities_pem: Option<Vec<u8>>,
    identity_pem: Option<redis::ClientTlsConfig>,
) -> Result<ConnectionInfo, BuildError> {
    if authorities_pem.is_none() && identity_pem.is_none() {
        return Ok(connection);
    }
    if !matches!(connection.addr(), ConnectionAddr::TcpTls { .. }) {
        let url = without_credentials(url);
        return Err(invalid(
            "remote",
            &url,
            "rediss:// where certificates are given",
        ));
    }
    let certificates = redis::TlsCertificates {
        client_tls: identity_pem,
        root_cert: authorities_pem,
    };
    let client = redis::Client::build_with_tls(connection, certificates);
    let client = client.map_err(|error| BuildError::Certificates {
        reason: error.to_string(),
    })?;
    Ok(client.get_connection_info().clone())
}

fn invalid(setting: &'static str, value: &impl Debug, allowed: &'static str) -> BuildError {
    BuildError::Invalid {
        setting,
        value: format!("{value:?}"),
        allowed,
    }
}

/// What a URL of the remote tier says.
struct Target {
    connection: ConnectionInfo,
    seeds: Vec<String>,
    cluster: bool,
}

impl Target {
    fn parse(url: &str) -> Result<Self, BuildError> {
        let refused = |reason: String| BuildError::Address {
            address: without_credentials(url),
            reason,
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refused(
                "it does not begin with redis:// or the like".to_owned(),
            ));
        };
        let parse = |url: String| {
            let parsed = url.as_str().into_connection_info();
            parsed.map_err(|error| refused(error.to_string()))
        };
        let Some(scheme) = scheme.strip_suffix("+cluster") else {
            let connection = parse(url.to_owned())?;
            return Ok(Self {
                seeds: vec![shown(connection.addr())],
                connection,
                cluster: false,
            });
        };
        let (credentials, hosts) = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), rest),
        };
        let hosts = hosts.trim_end_matches('/');
        if hosts.contains('/') {
            return Err(refused("a cluster has one database".to_owned()));
        }
        let mut connections = hosts
            .split(',')
            .map(|host| parse(format!("{scheme}://{credentials}{host}")))
            .collect::<Result<Vec<_>, _>>()?;
        let seeds = connections
            .iter()
            .map(|connection| shown(connection.addr()))
            .collect();
        Ok(Self {
            seeds,
            connection: connections.swap_remove(0),
            cluster: true,
        })
    }
}

/// An address as nodes of a cluster call each other.
fn shown(addr: &ConnectionAddr) -> String {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            address(host, *port)
        }
        ConnectionAddr::Unix(path) => path.display().to_string(),
        _ => "the server".to_owned(),
    }
}

/// An address that may be shown.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, hosts))) => format!("{scheme}://...@{hosts}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{BuildError, Target};

    #[test]
    fn addresses_say_which_servers_to_begin_with() {
        let target = Target::parse("redis+cluster://ada:pa@ss@a:1,b,[::1]:7/").expect("an address");
        assert!(target.cluster);
        assert_eq!(target.seeds, ["a:1", "b:6379", "[::1]:7"]);
        assert_eq!(target.connection.redis_settings().username(), Some("ada"));
        let target = Target::parse("redis://127.0.0.1:6380/2").expect("an address");
        assert!(!target.cluster);
        assert_eq!(
            (target.seeds, target.connection.redis_settings().db()),
            (vec!["127.0.0.1:6380".to_owned()], 2)
        );
    }

    #[test]
    fn wrong_addresses_are_refused_without_showing_passwords() {
        for url in [
            "127.0.0.1:6379",
            "http://ada:secret@a:1",
            "redis+cluster://ada:secret@a:b",
            "redis+cluster://ada:secret@a:1/2",
            "memcached+cluster://a:1",
        ] {
            let error = Target::parse(url).err().expect(url);
            assert!(matches!(error, BuildError::Address { .. }));
            let text = error.to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
