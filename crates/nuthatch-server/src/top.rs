//! `nuthatch top`: the dashboard for a terminal. It reads the same API over HTTP and shows it as lines of
//! text; what draws them is the program's business.

use crate::http::{CommandsView, DurabilityView, HistoryView, HotKeysView, Overview};
use nuthatch_wire::memcached::base64;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const ANSWER_BYTES: u64 = 16 << 20;
/// Headers of an answer at most.
const HEADERS: usize = 32;
/// Heights of a bar in a row of them.
const BARS: &[char] = &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Hot keys shown.
const HOT_KEYS: usize = 8;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The server cannot be asked.
    #[error("{address}: {error}")]
    Unreachable {
        /// Where it was sought.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The server answers with something else.
    #[error("{address}: {reason}")]
    Answer {
        /// The server.
        address: String,
        /// What it answered.
        reason: String,
    },
}

/// A server's API.
#[derive(Clone, Debug)]
pub struct Source {
    /// Host and port.
    pub address: String,
    /// The setting `http-password`; empty for none.
    pub password: String,
}

/// All that is shown.
#[derive(Clone, Debug)]
pub struct Picture {
    overview: Overview,
    history: HistoryView,
    commands: CommandsView,
    hot_keys: HotKeysView,
    durability: DurabilityView,
}

impl Source {
    /// Asks the server for everything.
    pub fn picture(&self) -> Result<Picture, TopError> {
        let overview: Overview = self.get("/api/overview")?;
        let minutes_ago = overview.now_ms.saturating_sub(3 * 60_000);
        Ok(Picture {
            history: self.get(&format!("/api/history?after={minutes_ago}"))?,
            commands: self.get("/api/commands")?,
            hot_keys: self.get("/api/hot-keys")?,
            durability: self.get("/api/durability")?,
            overview,
        })
    }

    /// Asks whether the server serves clients.
    pub fn check(&self) -> Result<(), TopError> {
        self.ask("/readyz", |_| Ok(()))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TopError> {
        self.ask(path, |body| {
            serde_json::from_slice(body).map_err(|error| error.to_string())
        })
    }

    fn ask<T>(
        &self,
        path: &str,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, TopError> {
        let answer = self.exchange(path).map_err(|error| TopError::Unreachable {
            address: self.address.clone(),
            error,
        })?;
        body(&answer)
            .and_then(read)
            .map_err(|reason| TopError::Answer {
                address: self.address.clone(),
                reason,
            })
    }

    /// Sends one request, in a version of HTTP whose answers end with the connection.
    fn exchange(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => stream,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut credentials = Vec::new();
            base64::encode(format!(":{}", self.password).as_bytes(), &mut credentials);
            let authorization = if self.password.is_empty() {
                String::new()
            } else {
                let credentials = String::from_utf8_lossy(&credentials);
                format!("Authorization: Basic {credentials}\r\n")
            };
            let host = &self.address;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{authorization}\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
            return Ok(answer);
        }
        Err(last)
    }
}

/// The body of an answer that says all is well.
fn body(answer: &[u8]) -> Result<&[u8], String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(head) = parsed else {
        return Err("the answer ends too early".to_owned());
    };
    let body = &answer[head..];
    match response.code {
        Some(200) => Ok(body),
        _ => Err(String::from_utf8_lossy(body).trim().to_owned()),
    }
}

impl Picture {
    /// The lines to show: none wider than `width`, and no more than `height` of them.
    pub fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let mut lines = self.summary(width);
        lines.extend(self.disk());
        lines.push(String::new());
        lines.push(format!(
            "{:<20} {:>9} {:>11} {:>10} {:>10} {:>10} {:>8}",
            "COMMAND", "CALLS", "RATE", "P50", "P99", "P99.9", "ERRORS"
        ));
        let mut commands: Vec<_> = self.commands.commands.iter().collect();
        commands.sort_by(|one, other| {
            let by_rate = other.per_second.total_cmp(&one.per_second);
            by_rate.then(other.calls.cmp(&one.calls))
        });
        let hot = &self.hot_keys.keys[..self.hot_keys.keys.len().min(HOT_KEYS)];
        let room =
            height.saturating_sub(lines.len() + if hot.is_empty() { 0 } else { hot.len() + 2 });
        for row in commands.iter().take(room) {
            lines.push(format!(
                "{:<20} {:>9} {:>11} {:>10} {:>10} {:>10} {:>8}",
                row.name.replace('|', " "),
                count(row.calls as f64),
                rate(row.per_second),
                duration(row.quantiles.p50_ns),
                duration(row.quantiles.p99_ns),
                duration(row.quantiles.p999_ns),
                count((row.failed + row.rejected) as f64),
            ));
        }
        if commands.is_empty() {
            lines.push("No command has been called yet.".to_owned());
        }
        if !hot.is_empty() {
            lines.push(String::new());
            lines.push("HOT KEYS".to_owned());
            for row in hot {
                lines.push(format!("{:>11}  {}", rate(row.per_second), row.key));
            }
        }
        lines.truncate(height);
        lines.iter().map(|line| cut(line, width)).collect()
    }

    fn summary(&self, width: usize) -> Vec<String> {
        let overview = &self.overview;
        let levels = &overview.totals.levels;
        let up_s = overview.now_ms.saturating_sub(overview.started_ms) / 1000;
        let sample = overview.latest.unwrap_or_default();
        let reads = sample.counts.hits + sample.counts.misses;
        let hits = match reads {
            0 => "–".to_owned(),
            reads => format!("{:.1} %", 100.0 * sample.counts.hits as f64 / reads as f64),
        };
        let per_second = |number| rate(sample.per_second(number));
        let share = 100.0 * levels.resident_bytes as f64 / levels.bound_bytes.max(1) as f64;
        let of_operations = self.history.samples.iter();
        let operations: Vec<f64> = of_operations
            .map(|sample| sample.per_second(sample.counts.commands))
            .collect();
        vec![
            format!(
                "Nuthatch {}   up {}   policy {}   threads {}   clients {}",
                overview.version,
                uptime(up_s),
                overview.policy,
                overview.threads,
                levels.clients
            ),
            format!(
                "memory  {} of {} ({share:.0} %)   items {}   tables {}   connections {}   keys {}",
                bytes(levels.resident_bytes),
                bytes(levels.bound_bytes),
                bytes(levels.item_bytes),
                bytes(levels.table_bytes),
                bytes(levels.connection_bytes),
                count(levels.keys as f64),
            ),
            format!(
                "rates   {} commands   hits {hits}   {} evicted   {} expired   {} errors",
                per_second(sample.counts.commands),
                per_second(sample.counts.evicted),
                per_second(sample.counts.expired),
                per_second(sample.counts.errors),
            ),
            format!(
                "time    p50 {}   p99 {}   p99.9 {}   in {}/s   out {}/s",
                duration(sample.quantiles.p50_ns),
                duration(sample.quantiles.p99_ns),
                duration(sample.quantiles.p999_ns),
                bytes(sample.per_second(sample.counts.read_bytes) as u64),
                bytes(sample.per_second(sample.counts.written_bytes) as u64),
            ),
            format!("        {}", bars(&operations, width.saturating_sub(8))),
        ]
    }
}

impl Picture {
    /// Nothing where nothing is kept on disk.
    fn disk(&self) -> Vec<String> {
        let (figures, condition) = (&self.durability.figures, &self.durability.condition);
        if !figures.is_on {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if condition.is_alarming() {
            lines.push(format!("DISK    {}", condition.state));
        }
        if figures.is_loading {
            let left = self.durability.loading_left_ms;
            let left = left.map_or_else(String::new, |ms| format!(", {} left", uptime(ms / 1000)));
            lines.push(format!(
                "loading {} of {}{left}",
                bytes(figures.loading_loaded_bytes),
                bytes(figures.loading_total_bytes),
            ));
            return lines;
        }
        let snapshot = match figures.last_save_duration_ms {
            _ if figures.is_saving => {
                format!("{:.0} % written", self.durability.saved_part * 100.0)
            }
            None if figures.snapshot_bytes > 0 => {
                format!("{}, older than this run", bytes(figures.snapshot_bytes))
            }
            None => "none yet".to_owned(),
            Some(_) => {
                let age_ms = self.overview.now_ms.saturating_sub(figures.last_save_ms);
                format!(
                    "{} {} ago",
                    bytes(figures.snapshot_bytes),
                    uptime(age_ms / 1000)
                )
            }
        };
        let log = if figures.is_logging {
            let sample = self.overview.latest.unwrap_or_default();
            let counts = &sample.counts;
            format!(
                "log {}, {}/s, {} waiting   sync {}, longest {}   ",
                bytes(figures.log_bytes),
                bytes(sample.per_second(counts.log_written_bytes) as u64),
                bytes(figures.buffered_bytes),
                duration(counts.log_sync_ns / counts.log_syncs.max(1)),
                duration(figures.sync_max_ns),
            )
        } else {
            String::new()
        };
        lines.push(format!(
            "disk    {log}snapshot {snapshot}   writes {}",
            figures.admission.word()
        ));
        lines
    }
}

/// A row of bars, the newest value last, the largest as high as can be.
fn bars(values: &[f64], width: usize) -> String {
    let values = &values[values.len().saturating_sub(width)..];
    let largest = values.iter().copied().fold(0.0, f64::max);
    values
        .iter()
        .map(|value| {
            let height = (value / largest.max(1.0) * (BARS.len() - 1) as f64).round();
            BARS[(height as usize).min(BARS.len() - 1)]
        })
        .collect()
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept = line.chars().take(width.saturating_sub(1));
    kept.chain(['…']).take(width).collect()
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let (mut size, mut unit) = (value, 0);
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    let digits = match size {
        _ if unit == 0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{size:.digits$} {}", units[unit])
        .trim_end()
        .to_owned()
}

fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

fn rate(value: f64) -> String {
    count(value) + "/s"
}

fn bytes(value: u64) -> String {
    scaled(value as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn duration(ns: u64) -> String {
    match ns {
        0 => "–".to_owned(),
        ns => scaled(ns as f64, 1000.0, &["ns", "µs", "ms", "s"]),
    }
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{DurabilityView, Picture, bars, body, bytes, count, cut, duration, uptime};
    use crate::durability::{Admission, Condition};
    use crate::history::Quantiles;
    use crate::http::{CommandRow, CommandsView, HistoryView, HotKeyRow, HotKeysView, Overview};

    fn picture(commands: usize) -> Picture {
        let row = |number: usize| CommandRow {
            name: format!("command{number}"),
            calls: number as u64,
            per_second: number as f64,
            failed: 0,
            rejected: 0,
            total_us: 0,
            quantiles: Quantiles::default(),
        };
        Picture {
            overview: Overview::default(),
            history: HistoryView::default(),
            commands: CommandsView {
                commands: (0..commands).map(row).collect(),
            },
            hot_keys: HotKeysView {
                keys: vec![HotKeyRow {
                    key: "k".repeat(300),
                    per_second: 5.0,
                    error_per_second: 0.0,
                }],
                ..HotKeysView::default()
            },
            durability: DurabilityView::default(),
        }
    }

    #[test]
    fn what_is_on_disk_is_shown_if_anything_is() {
        let mut picture = picture(3);
        let shows = |picture: &Picture, words: &str| {
            let text = picture.lines(200, 60).join("\n");
            assert!(text.contains(words), "{words} is not in {text}");
        };
        assert!(!picture.lines(200, 60).join("\n").contains("disk"));
        picture.durability.figures.is_on = true;
        shows(&picture, "disk    snapshot none yet   writes open");
        let figures = &mut picture.durability.figures;
        figures.is_logging = true;
        figures.log_bytes = 1 << 20;
        figures.last_save_duration_ms = Some(5);
        picture.overview.now_ms = 120_000;
        shows(&picture, "disk    log 1.00 MiB, 0 B/s");
        shows(&picture, "snapshot 0 B 2 min ago");
        let figures = &mut picture.durability.figures;
        figures.admission = Admission::Refused;
        picture.durability.condition = Condition::of(figures);
        shows(&picture, "DISK    Writes are refused");
        let figures = &mut picture.durability.figures;
        figures.is_loading = true;
        figures.loading_total_bytes = 4096;
        figures.loading_loaded_bytes = 1024;
        picture.durability.loading_left_ms = Some(3000);
        picture.durability.condition = Condition::of(figures);
        shows(
            &picture,
            "DISK    What is on disk is being loaded: 25 % done.",
        );
        shows(&picture, "loading 1.00 KiB of 4.00 KiB, 3 s left");
    }

    #[test]
    fn what_is_shown_fits_any_terminal_and_the_busiest_come_first() {
        for (width, height) in [(80, 24), (20, 5), (200, 60), (1, 1)] {
            let lines = picture(50).lines(width, height);
            assert!(lines.len() <= height, "{} of {height}", lines.len());
            for line in &lines {
                assert!(line.chars().count() <= width, "{line} in {width}");
            }
        }
        let lines = picture(50).lines(80, 24);
        let first = lines.iter().find(|line| line.starts_with("command"));
        assert!(first.unwrap().starts_with("command49 "));
        assert!(lines.iter().any(|line| line == "HOT KEYS"));
        let empty = picture(0).lines(80, 24).join("\n");
        assert!(empty.contains("No command has been called yet."));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(count(999.0), "999");
        assert_eq!(count(12_345.0), "12.3 k");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(duration(0), "–");
        assert_eq!(duration(1_500_000), "1.50 ms");
        assert_eq!(uptime(90_061), "1 d 1 h");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(bars(&[0.0, 5.0, 10.0], 2), "▅█");
    }

    #[test]
    fn answers_that_are_no_success_give_their_reason() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\n\r\n{}"), Ok(&b"{}"[..]));
        assert_eq!(body(b"HTTP/1.0 401 No\r\n\r\nwhy\n"), Err("why".to_owned()));
        assert!(body(b"HTTP/1.0 200").is_err());
        assert!(body(b"-ERR unknown").is_err());
    }
}
