//! What the remote tier is set to. Made and checked by the builder alone.

use crate::key::Namespace;
use nuthatch::Clock;
use redis::ConnectionInfo;
use std::time::Duration;

/// See the builder's methods of the same names.
pub(crate) struct Settings {
    pub(crate) clock: Clock,
    /// How to connect; the address is replaced by each node's own in a cluster.
    pub(crate) connection: ConnectionInfo,
    pub(crate) cluster: bool,
    /// Addresses to begin with.
    pub(crate) seeds: Vec<String>,
    pub(crate) namespace: Namespace,
    pub(crate) max_staleness: Duration,
    pub(crate) remote_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_reconnect_wait: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) broadcast: bool,
    pub(crate) require_tracking: bool,
}
