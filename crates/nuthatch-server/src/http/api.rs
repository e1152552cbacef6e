//! What the dashboard and `nuthatch top` read: one view, one path, one JSON object.
//!
//! Keys, names and settings are bytes that clients chose. They are shown as text with everything escaped
//! that is not printable, so that what is shown is one line and says which bytes it stands for.

use crate::client::ClientFlags;
use crate::clock;
use crate::command;
use crate::config::SETTINGS;
use crate::durability::{Condition, Figures};
use crate::history::{Counts, Levels, Quantiles, Sample};
use crate::hot_keys;
use crate::server::Server;
use crate::stats::TimesSum;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Clients listed at most.
const CLIENTS: usize = 500;
/// Slow commands listed at most.
const SLOW_COMMANDS: usize = 500;
/// Hot keys listed at most.
const HOT_KEYS: usize = 50;
/// Bytes of a key that are shown.
const SHOWN_BYTES: usize = 200;

/// Sums since the start or since `CONFIG RESETSTAT`, and levels of now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// What happened.
    #[serde(flatten)]
    pub counts: Counts,
    /// How things stand.
    #[serde(flatten)]
    pub levels: Levels,
}

/// `/api/overview`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// Tells this run of the server from all others.
    pub run_id: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// The server's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Data threads.
    pub threads: usize,
    /// The policy in force, as `maxmemory-policy` names it.
    pub policy: String,
    /// Its name in the library.
    pub policy_in_force: String,
    /// Clients at most.
    pub max_clients: u32,
    /// Since the start.
    pub totals: Totals,
    /// The last second.
    pub latest: Option<Sample>,
    /// What is wrong with durability, if anything is, or that it is still loading.
    pub alarm: Option<Condition>,
}

/// `/api/history?after=MS&range=minutes`: what ended after that time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HistoryView {
    /// In the order of time.
    pub samples: Vec<Sample>,
}

/// A command that was called.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandRow {
    /// Its name.
    pub name: String,
    /// Calls that ran.
    pub calls: u64,
    /// Calls a second, in the last second.
    pub per_second: f64,
    /// Calls that answered an error.
    pub failed: u64,
    /// Calls turned away before they ran.
    pub rejected: u64,
    /// Their time together, in microseconds.
    pub total_us: u64,
    /// Their times.
    #[serde(flatten)]
    pub quantiles: Quantiles,
}

/// `/api/commands`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CommandsView {
    /// Commands that were called, by name.
    pub commands: Vec<CommandRow>,
}

/// `/api/durability`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DurabilityView {
    /// What the figures mean.
    #[serde(flatten)]
    pub condition: Condition,
    /// All of them.
    #[serde(flatten)]
    pub figures: Figures,
    /// Keys held.
    pub keys: u64,
    /// The part of what is on disk that is loaded, up to 1.
    pub loaded_part: f64,
    /// How long loading will go on, in milliseconds, if that can be told.
    pub loading_left_ms: Option<u64>,
    /// The part of the snapshot under way that is done, up to 1.
    pub saved_part: f64,
}

/// A client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its number.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// The name that it gave itself.
    pub name: String,
    /// The user it has authenticated as.
    pub user: String,
    /// Its library and that one's version.
    pub lib: String,
    /// Seconds since it came.
    pub age_s: u64,
    /// Seconds since it last sent something.
    pub idle_s: u64,
    /// The command that it sent last.
    pub command: String,
    /// What it is doing, as `CLIENT LIST` has it.
    pub doing: Vec<String>,
    /// Its data thread.
    pub thread: usize,
    /// The version of the protocol.
    pub protocol: u32,
    /// Bytes that wait: of an incomplete request and of replies.
    pub waiting_bytes: u64,
    /// Bytes read from it.
    pub read_bytes: u64,
    /// Bytes written to it.
    pub written_bytes: u64,
}

/// `/api/clients`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientsView {
    /// How many there are.
    pub total: usize,
    /// The first of them, by number.
    pub clients: Vec<ClientRow>,
}

/// A command that was slow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowLogRow {
    /// Its number in the log.
    pub id: u64,
    /// When it ran, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// The request, escaped; long arguments cut, secret ones hidden.
    pub command: String,
    /// The address of the client.
    pub client: String,
    /// The name of the client.
    pub client_name: String,
}

/// `/api/slow-log`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlowLogView {
    /// Microseconds from which on a command is slow; negative for never.
    pub threshold_us: i64,
    /// The newest first.
    pub entries: Vec<SlowLogRow>,
}

/// A key that many commands name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HotKeyRow {
    /// The key, escaped.
    pub key: String,
    /// Commands a second that name it, estimated.
    pub per_second: f64,
    /// By how much the estimate may be too high.
    pub error_per_second: f64,
}

/// `/api/hot-keys`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HotKeysView {
    /// Of the commands, one in so many is looked at.
    pub sampled_one_in: u64,
    /// All commands of the last second.
    pub commands_per_second: f64,
    /// The hottest first.
    pub keys: Vec<HotKeyRow>,
}

/// A key that takes much memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BigKeyRow {
    /// The key, escaped.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Keys of one type, or of about one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BigKeyShare {
    /// The type, or the least number of bytes.
    pub name: String,
    /// How many.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// `/api/big-keys`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BigKeysView {
    /// Whether all keys have been looked at.
    pub is_complete: bool,
    /// The largest first.
    pub keys: Vec<BigKeyRow>,
    /// All keys by type.
    pub by_type: Vec<BigKeyShare>,
    /// All keys by powers of two of bytes.
    pub by_size: Vec<BigKeyShare>,
}

/// A setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettingRow {
    /// Its name.
    pub name: String,
    /// Its value; hidden if secret.
    pub value: String,
    /// Where the value comes from.
    pub origin: String,
    /// What it does.
    pub help: String,
    /// Whether it can be changed while the server runs.
    pub is_live: bool,
}

/// `/api/settings`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SettingsView {
    /// In the order of the documentation.
    pub settings: Vec<SettingRow>,
}

/// Bytes as one line of text: what is printable as it is, the rest escaped, a long end left out.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    let kept = &bytes[..bytes.len().min(SHOWN_BYTES)];
    for chunk in kept.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                // Quotes need no escape where nothing quotes the text.
                '"' | '\'' => text.push(character),
                '\0' => text.push_str("\\x00"),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes all that is written");
        }
    }
    if kept.len() < bytes.len() {
        write!(text, "… ({} bytes)", bytes.len()).expect("a string takes all that is written");
    }
    text
}

pub(super) fn overview(server: &Server) -> Overview {
    let config = server.config();
    let history = server.history.lock();
    let look = crate::history::Look::at(server, clock::now_ms());
    Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: server.run_id.clone(),
        started_ms: server.started_ms,
        now_ms: look.time_ms,
        threads: server.workers().len(),
        policy: config.get("maxmemory-policy").unwrap_or_default(),
        policy_in_force: server.keyspace.cache().policy().to_string(),
        max_clients: config.maxclients,
        totals: Totals {
            counts: look.counts,
            levels: look.levels,
        },
        latest: history.latest().copied(),
        alarm: Some(Condition::of(&server.durability_figures())).filter(Condition::is_alarming),
    }
}

pub(super) fn history(server: &Server, query: &str) -> HistoryView {
    let parameter = |wanted: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
            .next()
    };
    let after = parameter("after").and_then(|text| text.parse().ok());
    let after = after.unwrap_or(0);
    let history = server.history.lock();
    HistoryView {
        samples: if parameter("range") == Some("minutes") {
            history.minutes_after(after)
        } else {
            history.seconds_after(after)
        },
    }
}

pub(super) fn commands(server: &Server) -> CommandsView {
    let history = server.history.lock();
    let mut commands: Vec<_> = command::table()
        .entries()
        .iter()
        .filter_map(|entry| {
            let id = entry.id as usize;
            let total = |count: fn(&crate::stats::CommandTally) -> u64| {
                server.total(|stats| count(&stats.commands[id]))
            };
            let calls = total(|command| command.calls.get());
            let rejected = total(|command| command.rejected.get());
            if calls == 0 && rejected == 0 {
                return None;
            }
            let mut times = TimesSum::default();
            for worker in server.workers() {
                worker.stats.commands[id].times.add_to(&mut times);
            }
            Some(CommandRow {
                name: entry.full_name.clone(),
                calls,
                per_second: history.command_rate(entry.id),
                failed: total(|command| command.failed.get()),
                rejected,
                total_us: total(|command| command.ns.get()) / 1000,
                quantiles: Quantiles::of(&times),
            })
        })
        .collect();
    commands.sort_by(|one, other| one.name.cmp(&other.name));
    CommandsView { commands }
}

pub(super) fn durability(server: &Server) -> DurabilityView {
    let figures = server.durability_figures();
    let keys = server.keyspace.cache().len();
    DurabilityView {
        condition: Condition::of(&figures),
        keys,
        loaded_part: figures.loaded_part(),
        loading_left_ms: figures.loading_left_ms(clock::now_ms()),
        saved_part: figures.saved_part(keys),
        figures,
    }
}

pub(super) fn clients(server: &Server) -> ClientsView {
    let now_ms = clock::now_ms();
    let all = server.clients.all();
    let seconds_since = |ms: u64| now_ms.saturating_sub(ms) / 1000;
    let clients = all.iter().take(CLIENTS).map(|client| {
        let names = client.names();
        let command = client.command.load(Ordering::Relaxed);
        let entry = command::table().entries().get(command as usize);
        let lib = format!("{} {}", names.lib_name, names.lib_version);
        ClientRow {
            id: client.id,
            address: shown(client.address.as_bytes()),
            name: shown(names.name.as_bytes()),
            user: shown(names.user.as_bytes()),
            lib: shown(lib.trim().as_bytes()),
            age_s: seconds_since(client.connected_ms),
            idle_s: seconds_since(client.active_ms.load(Ordering::Relaxed)),
            command: entry.map_or_else(String::new, |entry| entry.full_name.clone()),
            doing: doing(client.flags()),
            thread: client.worker,
            protocol: client.protocol.load(Ordering::Relaxed),
            waiting_bytes: client.input_bytes.load(Ordering::Relaxed)
                + client.output_bytes.load(Ordering::Relaxed),
            read_bytes: client.read_bytes.load(Ordering::Relaxed),
            written_bytes: client.written_bytes.load(Ordering::Relaxed),
        }
    });
    ClientsView {
        total: all.len(),
        clients: clients.collect(),
    }
}

/// What a client is doing, in words.
fn doing(flags: ClientFlags) -> Vec<String> {
    let words = [
        (ClientFlags::MULTI, "transaction"),
        (ClientFlags::PUBSUB, "subscribed"),
        (ClientFlags::MONITOR, "monitor"),
        (ClientFlags::TRACKING, "tracking"),
        (ClientFlags::NO_EVICT, "no-evict"),
        (ClientFlags::NO_TOUCH, "no-touch"),
        (ClientFlags::UNIX, "unix"),
        (ClientFlags::READONLY, "readonly"),
        (ClientFlags::CLOSING, "closing"),
        (ClientFlags::MEMCACHED, "memcached"),
    ];
    let held = words.iter().filter(|(flag, _)| flags.contains(*flag));
    held.map(|(_, word)| (*word).to_owned()).collect()
}

pub(super) fn slow_log(server: &Server) -> SlowLogView {
    let entries = server.slow_log.newest(SLOW_COMMANDS).into_iter();
    SlowLogView {
        threshold_us: server.config().slowlog_log_slower_than,
        entries: entries
            .map(|slow| SlowLogRow {
                id: slow.id,
                time_ms: slow.time_s * 1000,
                duration_us: slow.duration_us,
                command: shown(&slow.args.join(&b' ')),
                client: shown(slow.address.as_bytes()),
                client_name: shown(slow.name.as_bytes()),
            })
            .collect(),
    }
}

pub(super) fn hot_keys(server: &Server) -> HotKeysView {
    let threads = server.workers().iter().map(|worker| &worker.hot_keys);
    let keys = hot_keys::hottest(threads, HOT_KEYS).into_iter();
    let history = server.history.lock();
    HotKeysView {
        sampled_one_in: hot_keys::SAMPLED_ONE_IN,
        commands_per_second: history
            .latest()
            .map_or(0.0, |sample| sample.per_second(sample.counts.commands)),
        keys: keys
            .map(|hot| HotKeyRow {
                key: shown(&hot.key) + if hot.is_cut { "…" } else { "" },
                per_second: hot.per_second,
                error_per_second: hot.error_per_second,
            })
            .collect(),
    }
}

pub(super) fn big_keys(server: &Server) -> BigKeysView {
    let sizes = server.big_keys.lock().sizes(&server.keyspace);
    let by_size = sizes.by_size.iter().enumerate();
    BigKeysView {
        is_complete: sizes.is_complete,
        keys: sizes
            .largest
            .iter()
            .map(|big| BigKeyRow {
                key: shown(&big.key),
                type_name: big.type_name.to_owned(),
                bytes: big.bytes,
            })
            .collect(),
        by_type: sizes
            .by_type
            .iter()
            .map(|(name, share)| BigKeyShare {
                name: (*name).to_owned(),
                keys: share.keys,
                bytes: share.bytes,
            })
            .collect(),
        by_size: by_size
            .filter(|(_, share)| share.keys > 0)
            .map(|(power, share)| BigKeyShare {
                name: (1_u64 << power).to_string(),
                keys: share.keys,
                bytes: share.bytes,
            })
            .collect(),
    }
}

pub(super) fn settings(server: &Server) -> SettingsView {
    let config = server.config();
    let settings = SETTINGS.iter().map(|info| {
        let value = config.get(info.name).expect("listed settings exist");
        let is_hidden = info.is_secret && !value.is_empty();
        SettingRow {
            name: info.name.to_owned(),
            value: if is_hidden {
                "(hidden)".to_owned()
            } else {
                shown(value.as_bytes())
            },
            origin: server.origin(info.name).name().to_owned(),
            help: info.help.trim().replace(['\n', '`'], ""),
            is_live: info.is_live,
        }
    });
    SettingsView {
        settings: settings.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{SHOWN_BYTES, shown};

    #[test]
    fn bytes_are_shown_as_one_line_that_says_what_they_are() {
        assert_eq!(shown(b"user:1"), "user:1");
        assert_eq!(shown("größe".as_bytes()), "größe");
        assert_eq!(shown(b"<script>\"'"), "<script>\"'");
        assert_eq!(shown(b"a\nb\\c\0"), "a\\nb\\\\c\\x00");
        assert_eq!(shown(b"\xff\xfe!"), "\\xff\\xfe!");
        assert_eq!(shown("\u{202e}x".as_bytes()), "\\u{202e}x");
        let long = shown(&[b'x'; SHOWN_BYTES + 1]);
        assert!(long.ends_with("x… (201 bytes)"), "{long}");
    }
}
