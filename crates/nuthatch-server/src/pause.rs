//! `CLIENT PAUSE`: clients' requests wait until it is over.
//!
//! A data thread that meets a request which must wait leaves it in its connection's buffer and goes on
//! with other clients. When the pause is ended, or the control thread finds its time over, all data
//! threads are told to ask again; until then a client that waits costs nothing.

use crate::command::Flags;
use crate::mailbox::Message;
use crate::push::Post;
use crate::watch::{Attention, Reasons};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMode {
    /// All.
    All,
    /// Those that change something others can see.
    Writes,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Pause {
    state: Mutex<Option<(u64, PauseMode)>>,
    /// Clients that wait.
    waiting: AtomicUsize,
}

impl Pause {
    /// Pauses clients until then, in milliseconds since 1970. A pause that holds already is neither
    /// shortened nor weakened.
    pub fn begin(&self, now_ms: u64, until_ms: u64, mode: PauseMode, attention: &Attention) {
        let mut state = self.state.lock();
        let before = state.filter(|(before_ms, _)| *before_ms > now_ms);
        *state = Some(match before {
            Some((before_ms, before)) => {
                let is_all = [before, mode].contains(&PauseMode::All);
                let mode = if is_all { PauseMode::All } else { mode };
                (before_ms.max(until_ms), mode)
            }
            None => (until_ms, mode),
        });
        attention.set(Reasons::PAUSED, true);
    }

    /// Ends the pause and has waiting clients served.
    pub fn end(&self, attention: &Attention, post: &Post) {
        let mut state = self.state.lock();
        if state.take().is_none() {
            return;
        }
        attention.set(Reasons::PAUSED, false);
        drop(state);
        for worker in post.workers() {
            worker.mailbox.send(Message::Resume);
        }
    }

    /// Ends the pause if its time is over.
    pub fn end_in_time(&self, now_ms: u64, attention: &Attention, post: &Post) {
        if attention.get().contains(Reasons::PAUSED) && self.mode(now_ms).is_none() {
            self.end(attention, post);
        }
    }

    /// Which requests wait at present, if any.
    pub fn mode(&self, now_ms: u64) -> Option<PauseMode> {
        let (until_ms, mode) = (*self.state.lock())?;
        (now_ms < until_ms).then_some(mode)
    }

    /// How many milliseconds are left, and which requests wait.
    pub fn remaining_ms(&self, now_ms: u64) -> Option<(u64, PauseMode)> {
        let (until_ms, mode) = (*self.state.lock())?;
        let left = until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
        Some((left, mode))
    }

    /// Whether a command with these flags must wait.
    pub fn holds(&self, flags: Flags, now_ms: u64) -> bool {
        match self.mode(now_ms) {
            None => false,
            Some(PauseMode::All) => true,
            Some(PauseMode::Writes) => flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE),
        }
    }

    /// The number of clients that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A client waits, or no longer.
    pub fn count_waiting(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
