//! What can go wrong, by what a caller would do about it.

use crate::codec::CodecError;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why the remote tier did not do what it was asked to. Cloning it is cheap.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no connection to the node, and it was tried lately; nothing was sent.
    #[error("{node} is not reachable: {reason}")]
    Unavailable {
        /// The node's address.
        node: Arc<str>,
        /// Why the last attempt failed.
        reason: Arc<str>,
    },
    /// The node did not answer in time. A write may still be done later.
    #[error("{node} did not answer within {deadline:?}")]
    Timeout {
        /// The node's address.
        node: Arc<str>,
        /// How long a call may take.
        deadline: Duration,
    },
    /// The connection broke while the answer was awaited. A write may have been done.
    #[error("the connection to {node} broke: {reason}")]
    Disconnected {
        /// The node's address.
        node: Arc<str>,
        /// What the connection says.
        reason: Arc<str>,
    },
    /// As many requests as are allowed wait for this node already; nothing was sent.
    #[error("{limit} requests to {node} wait for an answer already")]
    Overloaded {
        /// The node's address.
        node: Arc<str>,
        /// How many may wait.
        limit: usize,
    },
    /// No node serves the key's slot.
    #[error("no node serves slot {slot}")]
    Unserved {
        /// The slot.
        slot: u16,
    },
    /// The node refused: no permission, the wrong type, no memory.
    #[error("{node} refused: {message}")]
    Refused {
        /// The node's address.
        node: Arc<str>,
        /// What it said.
        message: Arc<str>,
    },
    /// The node cannot tell of changes (no RESP3 or no `CLIENT TRACKING`), and that is required.
    #[error("{node} cannot tell of changes: {reason}")]
    NoTracking {
        /// The node's address.
        node: Arc<str>,
        /// What it said.
        reason: Arc<str>,
    },
    /// The value has no bytes to be kept as.
    #[error("the value cannot be encoded")]
    Encode(#[source] Arc<CodecError>),
    /// The value is longer than allowed.
    #[error("the value has {len} bytes, and {max} are allowed")]
    ValueTooLarge {
        /// Its length in bytes, as it would be sent.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
}

/// Why a loading read gave no value. Those who waited for the same load share its error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed.
    #[error("the loader failed")]
    Failed(#[source] Arc<E>),
    /// The loader took too long and was dropped.
    #[error("the loader took longer than {limit:?}")]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// The remote tier failed, and [`RemoteFailure::Fail`](crate::RemoteFailure::Fail) was asked for.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::TimedOut { limit } => Self::TimedOut { limit: *limit },
            Self::Remote(error) => Self::Remote(error.clone()),
        }
    }
}

/// Why a near cache was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is missing.
    #[error("{setting} is not set: {hint}")]
    Missing {
        /// The builder's method.
        setting: &'static str,
        /// What to give it.
        hint: &'static str,
    },
    /// A setting has a value that is not allowed.
    #[error("{setting} is {value}: {allowed}")]
    Invalid {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        value: String,
        /// What it may be given.
        allowed: &'static str,
    },
    /// The address cannot be understood.
    #[error("the remote address {address:?} cannot be used: {reason}")]
    Address {
        /// The address, without its password.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificates that were given cannot be read.
    #[error("the certificates cannot be used: {reason}")]
    Certificates {
        /// What is wrong.
        reason: String,
    },
    /// The cache in process was refused.
    #[error("the local cache was refused")]
    Local(#[from] nuthatch::BuildError),
    /// The remote tier could not be reached.
    #[error("the remote tier could not be reached")]
    Remote(#[from] RemoteError),
    /// There is no runtime to run the connections on.
    #[error("no tokio runtime is running here")]
    NoRuntime,
}

/// What all who follow a flight share if it fails.
#[derive(Clone)]
pub(crate) enum Failure {
    Remote(RemoteError),
    /// The loader's error, of a type that only callers with the same type can take.
    Load(Arc<dyn Any + Send + Sync>),
    LoadTimedOut(Duration),
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => error.fmt(f),
            Self::Load(_) => f.write_str("Load(..)"),
            Self::LoadTimedOut(limit) => f.debug_tuple("LoadTimedOut").field(limit).finish(),
        }
    }
}

impl Failure {
    /// The error for one whose loader fails with `E`; nothing if the one who led had another type.
    pub(crate) fn to_load_error<E: Send + Sync + 'static>(&self) -> Option<LoadError<E>> {
        Some(match self {
            Self::Remote(error) => LoadError::Remote(error.clone()),
            Self::Load(error) => LoadError::Failed(Arc::clone(error).downcast().ok()?),
            Self::LoadTimedOut(limit) => LoadError::TimedOut { limit: *limit },
        })
    }
}
