//! A key as memcached sees it: bytes, flags, a unique number, a time to live.

use crate::config::EvictionScope;
use crate::context::{Context, Event};
use crate::keyspace::{Effect, Keyspace, View};
use crate::stamp::Stamp;

/// Seconds up to which a time of expiry counts from now; above it is a date.
const MAX_RELATIVE_S: i64 = 60 * 60 * 24 * 30;

/// How long an item lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever.
    Forever,
    /// Until this time, in milliseconds since 1970.
    Until(u64),
    /// Not at all: its time is over.
    Over,
}

impl Lifetime {
    /// Reads a time of expiry as clients send it: 0 for never, up to thirty days from now, or a date
    /// in seconds since 1970; what is negative is over.
    pub fn read(exptime: i64, now_ms: u64) -> Self {
        let Ok(exptime) = u64::try_from(exptime) else {
            return Self::Over;
        };
        let ms = exptime.saturating_mul(1000);
        if exptime == 0 {
            Self::Forever
        } else if exptime <= MAX_RELATIVE_S.unsigned_abs() {
            Self::Until(now_ms + ms)
        } else if ms > now_ms {
            Self::Until(ms)
        } else {
            Self::Over
        }
    }

    pub(super) fn of_deadline(deadline_ms: Option<u64>) -> Self {
        deadline_ms.map_or(Self::Forever, Self::Until)
    }

    /// Seconds that are left, rounded up; `None` if no end is near.
    pub(super) fn rest_s(self, now_ms: u64) -> Option<u64> {
        match self {
            Self::Forever => None,
            Self::Until(at_ms) => Some(at_ms.saturating_sub(now_ms).div_ceil(1000)),
            Self::Over => Some(0),
        }
    }
}

/// A string in its place.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) value: &'a [u8],
    stamp: Option<Stamp>,
    view: &'a View<'a>,
    keyspace: &'a Keyspace,
}

impl Found<'_> {
    pub(super) fn flags(&self) -> u32 {
        self.stamp.map_or(0, |stamp| stamp.flags)
    }

    /// The number that changes when the value does.
    pub(super) fn cas(&self) -> u64 {
        self.stamp().cas
    }

    /// What is kept with it; made up for a string that a client of Redis wrote.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp.unwrap_or_else(|| Stamp {
            cas: self.keyspace.value_number(self.value),
            ..Stamp::default()
        })
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        Lifetime::of_deadline(self.view.deadline_ms())
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.view.weight_bytes()
    }

    pub(super) fn to_copy(&self) -> Copied {
        Copied {
            value: self.value.to_vec(),
            stamp: self.stamp(),
            lifetime: self.lifetime(),
        }
    }
}

/// What [`Found`] shows, copied.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) value: Vec<u8>,
    pub(super) stamp: Stamp,
    pub(super) lifetime: Lifetime,
}

/// Passes the string of `key` to `look`; `None` if there is none.
#[inline]
pub(super) fn find<R>(
    keyspace: &Keyspace,
    key: &[u8],
    is_noticed: bool,
    look: impl FnOnce(&Found<'_>) -> R,
) -> Option<R> {
    let look = |view: View<'_>| {
        let found = Found {
            value: view.string().ok()?,
            stamp: view.stamp(),
            view: &view,
            keyspace,
        };
        Some(look(&found))
    };
    if is_noticed {
        keyspace.read(key, look).flatten()
    } else {
        keyspace.peek(key, look).flatten()
    }
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Whether it is too large for any item.
    pub(super) is_too_large: bool,
}

/// `key` holds `parts`, one after another, from now on.
pub(super) fn put(
    ctx: &mut Context<'_>,
    key: &[u8],
    parts: &[&[u8]],
    stamp: Stamp,
    lifetime: Lifetime,
    event: Event,
) -> Result<(), NoRoom> {
    let deadline_ms = match lifetime {
        Lifetime::Forever => None,
        Lifetime::Until(at_ms) => Some(at_ms),
        Lifetime::Over => {
            remove(ctx, key);
            return Ok(());
        }
    };
    let effect = Effect::PutStamped {
        key,
        parts,
        stamp,
        deadline_ms,
    };
    // Where nothing may be evicted, room that others were promised is not taken.
    let mut _promise = None;
    if ctx.keyspace().scope() == EvictionScope::Nothing {
        let bytes = key.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let promise = ctx.keyspace().promise_room(bytes as u64);
        if promise.is_none() {
            return Err(NoRoom {
                is_too_large: false,
            });
        }
        _promise = promise;
    }
    match ctx.apply(effect, event) {
        Ok(_) => Ok(()),
        Err(error) => Err(NoRoom {
            is_too_large: error != crate::error::CommandError::OutOfMemory,
        }),
    }
}

/// Removes `key`; returns whether it was there.
pub(super) fn remove(ctx: &mut Context<'_>, key: &[u8]) -> bool {
    ctx.delete(key, Event::generic("del"))
        .expect("a removal needs no room")
}

/// `key`, if it exists, lives that long from now on.
pub(super) fn set_lifetime(ctx: &mut Context<'_>, key: &[u8], lifetime: Lifetime) {
    let (deadline_ms, event) = match lifetime {
        Lifetime::Forever => (None, "persist"),
        Lifetime::Until(at_ms) => (Some(at_ms), "expire"),
        Lifetime::Over => {
            remove(ctx, key);
            return;
        }
    };
    let effect = Effect::Expire { key, deadline_ms };
    ctx.apply(effect, Event::generic(event))
        .expect("a deadline needs no room");
}

#[cfg(test)]
mod tests {
    use super::Lifetime;

    #[test]
    fn times_count_from_now_up_to_thirty_days_and_are_dates_above() {
        let now_ms = 1_700_000_000_500;
        for (exptime, lifetime, rest_s) in [
            (0, Lifetime::Forever, None),
            (-1, Lifetime::Over, Some(0)),
            (i64::MIN, Lifetime::Over, Some(0)),
            (1, Lifetime::Until(now_ms + 1_000), Some(1)),
            (
                2_592_000,
                Lifetime::Until(now_ms + 2_592_000_000),
                Some(2_592_000),
            ),
            (2_592_001, Lifetime::Over, Some(0)),
            (1_700_000_000, Lifetime::Over, Some(0)),
            (1_700_000_001, Lifetime::Until(1_700_000_001_000), Some(1)),
            (i64::MAX, Lifetime::Until(u64::MAX), None),
        ] {
            let read = Lifetime::read(exptime, now_ms);
            assert_eq!(read, lifetime, "{exptime}");
            if exptime != i64::MAX {
                assert_eq!(read.rest_s(now_ms), rest_s, "{exptime}");
            }
        }
    }
}
