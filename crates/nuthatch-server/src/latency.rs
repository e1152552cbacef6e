//! Latency spikes: events that took longer than a limit, at most one a second of each kind.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Spikes kept of each kind of event.
const MAX_SPIKES: usize = 160;
/// Spikes that a graph shows.
const GRAPH_COLUMNS: usize = 80;
/// Lines of a graph.
const GRAPH_ROWS: usize = 4;

/// The longest event of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// The second, since 1970.
    pub time_s: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// The spikes of one kind of event.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Oldest first.
    pub spikes: VecDeque<Spike>,
    /// The longest of all, also of those that are no longer kept.
    pub max_ms: u64,
    /// The time of all together.
    pub sum_ms: u64,
    /// How many there were.
    pub count: u64,
}

impl History {
    fn add(&mut self, time_s: u64, duration_ms: u64) {
        self.max_ms = self.max_ms.max(duration_ms);
        self.sum_ms += duration_ms;
        self.count += 1;
        match self.spikes.back_mut() {
            Some(last) if last.time_s == time_s => {
                last.duration_ms = last.duration_ms.max(duration_ms);
            }
            _ => {
                self.spikes.push_back(Spike {
                    time_s,
                    duration_ms,
                });
                if self.spikes.len() > MAX_SPIKES {
                    self.spikes.pop_front();
                }
            }
        }
    }

    /// The spikes as bars of text, the newest at the right, below each how long ago it was.
    pub fn graph(&self, event: &str, now_s: u64) -> String {
        let skipped = self.spikes.len().saturating_sub(GRAPH_COLUMNS);
        let shown: Vec<Spike> = self.spikes.iter().skip(skipped).copied().collect();
        let durations = || shown.iter().map(|spike| spike.duration_ms);
        let high = durations().max().unwrap_or(0);
        let low = durations().min().unwrap_or(0);
        let mut text = format!(
            "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
            self.max_ms,
            "-".repeat(GRAPH_COLUMNS)
        );
        // A bar is a stack of whole and half characters.
        let steps = 2 * GRAPH_ROWS as u64;
        let height = |spike: &Spike| {
            let above_low = (spike.duration_ms - low) * (steps - 1);
            1 + above_low / (high - low).max(1)
        };
        for row in (0..GRAPH_ROWS as u64).rev() {
            let line: String = shown
                .iter()
                .map(|spike| match height(spike).saturating_sub(2 * row) {
                    0 => ' ',
                    1 => '_',
                    _ => '#',
                })
                .collect();
            text += line.trim_end();
            text.push('\n');
        }
        text.push('\n');
        let ages: Vec<Vec<char>> = shown
            .iter()
            .map(|spike| age(now_s.saturating_sub(spike.time_s)).chars().collect())
            .collect();
        for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
            let column = |age: &Vec<char>| age.get(row).copied().unwrap_or(' ');
            let line: String = ages.iter().map(column).collect();
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A time that has passed, in the unit that fits.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The spikes of all kinds of events.
#[derive(Debug, Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<&'static str, History>>);

impl LatencyMonitor {
    /// Keeps a spike.
    pub fn add(&self, event: &'static str, time_s: u64, duration_ms: u64) {
        let mut events = self.0.lock();
        events.entry(event).or_default().add(time_s, duration_ms);
    }

    /// The spikes of one kind.
    pub fn history(&self, event: &[u8]) -> Option<History> {
        let events = self.0.lock();
        events.get(std::str::from_utf8(event).ok()?).cloned()
    }

    /// The spikes of all kinds.
    pub fn all(&self) -> Vec<(&'static str, History)> {
        let events = self.0.lock();
        let pairs = events.iter();
        pairs
            .map(|(event, history)| (*event, history.clone()))
            .collect()
    }

    /// Forgets the spikes of kinds that `is_named`. Returns of how many kinds there were any.
    pub fn reset(&self, is_named: impl Fn(&str) -> bool) -> usize {
        let mut events = self.0.lock();
        let before = events.len();
        events.retain(|event, _| !is_named(event));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{History, LatencyMonitor, MAX_SPIKES, Spike};

    #[test]
    fn of_each_second_the_longest_is_kept() {
        let monitor = LatencyMonitor::default();
        for (time_s, duration_ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            monitor.add("command", time_s, duration_ms);
        }
        let history = monitor.history(b"command").expect("spikes");
        let spike = |time_s, duration_ms| Spike {
            time_s,
            duration_ms,
        };
        assert_eq!(history.spikes, [spike(1, 9), spike(2, 3)]);
        assert_eq!((history.max_ms, history.sum_ms, history.count), (9, 24, 4));
        assert_eq!(monitor.reset(|event| event == "other"), 0);
        assert_eq!(monitor.reset(|_| true), 1);
        assert!(monitor.history(b"command").is_none());
    }

    #[test]
    fn old_spikes_leave_and_their_maximum_stays() {
        let mut history = History::default();
        for time_s in 0..2 * MAX_SPIKES as u64 {
            history.add(time_s, 1000 - time_s);
        }
        assert_eq!(history.spikes.len(), MAX_SPIKES);
        assert_eq!(history.max_ms, 1000);
    }

    #[test]
    fn a_graph_shows_high_low_and_ages() {
        let mut history = History::default();
        for (time_s, duration_ms) in [(0, 100), (50, 300), (60, 500)] {
            history.add(time_s, duration_ms);
        }
        let graph = history.graph("command", 65);
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(
            lines[0],
            "command - high 500 ms, low 100 ms (all time high 500 ms)"
        );
        assert_eq!(lines[2..6], ["  #", "  #", " ##", "_##"]);
        assert_eq!(lines[7..], ["115", "m5s", " s"]);
    }
}
