//! Why entries leave, and what became of an insertion.

use std::fmt;

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// The policy chose it when space was needed, or it grew heavier than the whole capacity.
    Evicted,
    /// Its time was over.
    Expired,
    /// It was removed on request.
    Invalidated,
    /// Its value was overwritten.
    Replaced,
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::Replaced => "replaced",
        })
    }
}

/// What became of an insertion. Need not be looked at: a cache may always forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insertion {
    /// The key was absent and is now present.
    Created,
    /// The key was present; its value was replaced.
    Replaced,
    /// The entry alone weighs more than the capacity, or everything else is pinned. It was not
    /// admitted, and an older value of the key is gone, because it is out of date.
    Rejected,
}

impl Insertion {
    /// Whether the entry was admitted.
    pub fn is_admitted(self) -> bool {
        self != Self::Rejected
    }
}
