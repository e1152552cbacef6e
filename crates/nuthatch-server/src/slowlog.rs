//! The slow log: the last commands that took longer than a limit, with long arguments cut and secret
//! ones left out.

use crate::command::Entry;
use crate::secrets::{REDACTED, is_secret};
use nuthatch_wire::resp::Args;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Arguments kept of a command, the note on those left out included.
const MAX_ARGS: usize = 32;
/// Bytes kept of an argument.
const MAX_ARG_BYTES: usize = 128;

/// A command that was slow.
#[derive(Clone, Debug)]
pub struct SlowCommand {
    /// Its number in the log.
    pub id: u64,
    /// When it ran, in seconds since 1970.
    pub time_s: u64,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// The request, cut.
    pub args: Vec<Vec<u8>>,
    /// The address of the client.
    pub address: String,
    /// The name of the client.
    pub name: String,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct SlowLog {
    /// Newest first.
    commands: Mutex<VecDeque<SlowCommand>>,
    next_id: AtomicU64,
}

impl SlowLog {
    /// Keeps a command; of all, the newest `max`.
    pub fn add(&self, command: SlowCommand, max: usize) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut commands = self.commands.lock();
        commands.push_front(SlowCommand { id, ..command });
        commands.truncate(max);
    }

    /// The newest commands, at most `max`.
    pub fn newest(&self, max: usize) -> Vec<SlowCommand> {
        self.commands.lock().iter().take(max).cloned().collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.commands.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.commands.lock().clear();
    }
}

/// The arguments of a request as the log keeps them.
pub fn cut(entry: &Entry, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > MAX_ARGS {
        MAX_ARGS - 1
    } else {
        args.len()
    };
    let mut cut: Vec<Vec<u8>> = (0..kept)
        .map(|index| {
            if is_secret(entry, args, index) {
                return REDACTED.as_bytes().to_vec();
            }
            let arg = args.at(index);
            match arg.get(..MAX_ARG_BYTES) {
                Some(head) if arg.len() > MAX_ARG_BYTES => {
                    let more = arg.len() - MAX_ARG_BYTES;
                    [head, format!("... ({more} more bytes)").as_bytes()].concat()
                }
                _ => arg.to_vec(),
            }
        })
        .collect();
    if kept < args.len() {
        let more = args.len() - kept;
        cut.push(format!("... ({more} more arguments)").into_bytes());
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::{SlowCommand, SlowLog, cut};
    use crate::command::table;
    use nuthatch_wire::resp::OwnedRequest;

    #[test]
    fn the_oldest_commands_leave() {
        let log = SlowLog::default();
        for duration_us in 0..5 {
            let command = SlowCommand {
                id: 0,
                time_s: 0,
                duration_us,
                args: Vec::new(),
                address: String::new(),
                name: String::new(),
            };
            log.add(command, 2);
        }
        let kept: Vec<_> = log
            .newest(9)
            .iter()
            .map(|kept| (kept.id, kept.duration_us))
            .collect();
        assert_eq!(kept, [(4, 4), (3, 3)]);
        log.clear();
        assert!(log.is_empty());
    }

    #[test]
    fn long_requests_are_cut() {
        let entry = table().find(b"del").expect("a command");
        let long = "a".repeat(130);
        let words: Vec<&str> = std::iter::once("del").chain([long.as_str(); 40]).collect();
        let request = OwnedRequest::new(words.iter().map(|word| word.as_bytes()));
        let kept = cut(entry, request.args());
        assert_eq!(kept.len(), 32);
        assert!(kept[1].ends_with(b"... (2 more bytes)"));
        assert_eq!(kept[31], b"... (10 more arguments)");
    }
}
