//! Ids that must be looked at before the bucket they are linked in fires, by tick.
//!
//! A binary heap of one word per key: 34 bits of ticks since a base (208 days) above 30 bits of id.
//! A key promises only that the id is looked at by then; so a tick beyond the horizon is kept as
//! the horizon, and whoever pops the key looks, sees that it is too soon and pushes it again. The
//! base is never above a key's tick, and follows the first key in long steps.

use crate::policy::EntryId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

const ID_BITS: u32 = 30;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
/// The largest number of ticks after the base.
const HORIZON: u64 = u64::MAX >> ID_BITS;
/// How far below the first tick the base is put (18 minutes), so that ticks before the first are
/// met without moving the base.
const SLACK: u64 = 1 << 20;

/// A heap of `(tick, id)`; see the module's text.
#[derive(Debug, Default)]
pub(super) struct EarlyKeys {
    base: u64,
    keys: BinaryHeap<Reverse<u64>>,
}

impl EarlyKeys {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds `id`, to be looked at by `tick`. An `about_now` long past only makes that look too
    /// early, if `tick` is beyond the horizon from there.
    pub(super) fn push(&mut self, tick: u64, id: EntryId, about_now: u64) {
        if self.keys.is_empty() {
            self.base = tick.min(about_now).saturating_sub(SLACK);
        } else if tick < self.base {
            self.rebase(tick.saturating_sub(SLACK));
        } else if tick - self.base > HORIZON {
            // Keys are popped in order, so by the time that the horizon comes near, all keys are
            // near it and the base can follow. Only a long step is worth moving every key.
            let base = self
                .next_tick()
                .map_or(0, |tick| tick.saturating_sub(SLACK));
            if base.saturating_sub(self.base) > HORIZON / 2 {
                self.rebase(base);
            }
        }
        self.keys.push(Reverse(key(self.base, tick, id)));
    }

    /// Takes an id whose tick is over when `now_tick` begins.
    #[inline]
    pub(super) fn pop_before(&mut self, now_tick: u64) -> Option<EntryId> {
        let &Reverse(first) = self.keys.peek()?;
        if self.base + (first >> ID_BITS) >= now_tick {
            return None;
        }
        self.keys.pop();
        Some((first & ID_MASK) as EntryId)
    }

    /// The first tick of all keys.
    pub(super) fn next_tick(&self) -> Option<u64> {
        let &Reverse(first) = self.keys.peek()?;
        Some(self.base + (first >> ID_BITS))
    }

    /// Asks `tick_of` for each id's present tick and keeps one key for each id that has one.
    pub(super) fn refresh(&mut self, tick_of: impl Fn(EntryId) -> Option<u64>) {
        let mut keys = std::mem::take(&mut self.keys).into_vec();
        let base = self.base;
        keys.retain_mut(|Reverse(kept)| {
            let id = (*kept & ID_MASK) as EntryId;
            let tick = tick_of(id);
            *kept = key(base, tick.unwrap_or(base), id);
            tick.is_some()
        });
        keys.sort_unstable();
        keys.dedup();
        keys.shrink_to(2 * keys.len());
        self.keys = keys.into();
    }

    /// The first tick of each id that has a key.
    pub(super) fn first_ticks(&self) -> HashMap<EntryId, u64> {
        let mut first = HashMap::new();
        for &Reverse(key) in &self.keys {
            let tick = self.base + (key >> ID_BITS);
            let id = (key & ID_MASK) as EntryId;
            first
                .entry(id)
                .and_modify(|at: &mut u64| *at = tick.min(*at))
                .or_insert(tick);
        }
        first
    }

    /// Counts ticks from `base`, which no key is before, from now on. O(keys).
    #[cold]
    fn rebase(&mut self, base: u64) {
        let mut keys = std::mem::take(&mut self.keys).into_vec();
        for Reverse(old) in &mut keys {
            let tick = self.base + (*old >> ID_BITS);
            *old = key(base, tick, (*old & ID_MASK) as EntryId);
        }
        self.base = base;
        self.keys = keys.into();
    }
}

fn key(base: u64, tick: u64, id: EntryId) -> u64 {
    debug_assert!(tick >= base, "the base is never above a key's tick");
    tick.saturating_sub(base).min(HORIZON) << ID_BITS | u64::from(id)
}
