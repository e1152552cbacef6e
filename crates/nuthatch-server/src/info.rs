//! `INFO`: what the server tells of itself, in Redis' sections and under Redis' names.
//!
//! Only what is known is told: there is no line for what this server does not have or does not count.

mod persistence;

use crate::acl::{DenialReason, Refusal};
use crate::client::ClientFlags;
use crate::clock::now_ms;
use crate::command;
use crate::control::memory;
use crate::hash::disposal;
use crate::pause::PauseMode;
use crate::pubsub::Kind;
use crate::server::Server;
use crate::stats::TimesSum;
use crate::version;
use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The process.
    Server,
    /// Who is connected.
    Clients,
    /// Memory.
    Memory,
    /// What is on disk.
    Persistence,
    /// Counts since the start, or since `CONFIG RESETSTAT`.
    Stats,
    /// The part in replication.
    Replication,
    /// Time of processors.
    Cpu,
    /// Loaded modules.
    Modules,
    /// Counts by command.
    CommandStats,
    /// Counts by error.
    ErrorStats,
    /// Times by command.
    LatencyStats,
    /// Whether this is a cluster.
    Cluster,
    /// Keys.
    Keyspace,
}

impl Section {
    const ALL: [Self; 13] = [
        Self::Server,
        Self::Clients,
        Self::Memory,
        Self::Persistence,
        Self::Stats,
        Self::Replication,
        Self::Cpu,
        Self::Modules,
        Self::CommandStats,
        Self::ErrorStats,
        Self::LatencyStats,
        Self::Cluster,
        Self::Keyspace,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Clients => "Clients",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Stats => "Stats",
            Self::Replication => "Replication",
            Self::Cpu => "CPU",
            Self::Modules => "Modules",
            Self::CommandStats => "Commandstats",
            Self::ErrorStats => "Errorstats",
            Self::LatencyStats => "Latencystats",
            Self::Cluster => "Cluster",
            Self::Keyspace => "Keyspace",
        }
    }

    /// Whether it is told when no section is named.
    fn is_default(self) -> bool {
        !matches!(self, Self::CommandStats | Self::LatencyStats)
    }
}

/// The sections that these words ask for, in the order in which they are told; unknown words ask for
/// none.
pub fn sections(words: &[&[u8]]) -> Vec<Section> {
    let is_wanted = |section: &Section| {
        (words.is_empty() && section.is_default())
            || words.iter().any(|word| {
                let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
                is(section.name())
                    || is("all")
                    || is("everything")
                    || (is("default") && section.is_default())
            })
    };
    Section::ALL.into_iter().filter(is_wanted).collect()
}

/// The text of these sections.
pub fn report(server: &Server, sections: &[Section]) -> String {
    let mut report = Report::default();
    for &section in sections {
        report.begin(section);
        match section {
            Section::Server => of_server(&mut report, server),
            Section::Clients => of_clients(&mut report, server),
            Section::Memory => of_memory(&mut report, server),
            Section::Persistence => of_persistence(&mut report, server),
            Section::Stats => of_stats(&mut report, server),
            Section::Replication => of_replication(&mut report, server),
            Section::Cpu => of_cpu(&mut report),
            Section::Modules => {}
            Section::CommandStats => of_commands(&mut report, server),
            Section::ErrorStats => of_errors(&mut report, server),
            Section::LatencyStats => of_latencies(&mut report, server),
            Section::Cluster => report.line("cluster_enabled", 0),
            Section::Keyspace => of_keyspace(&mut report, server),
        }
    }
    report.text
}

#[derive(Debug, Default)]
struct Report {
    text: String,
}

impl Report {
    fn begin(&mut self, section: Section) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.write(format_args!("# {}\r\n", section.name()));
    }

    fn line(&mut self, name: &str, value: impl fmt::Display) {
        self.write(format_args!("{name}:{value}\r\n"));
    }

    /// A number of bytes, and again for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.line(name, bytes);
        self.write(format_args!("{name}_human:{}\r\n", HumanBytes(bytes)));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes what is written to it");
    }
}

/// A number of bytes in the unit that fits.
struct HumanBytes(u64);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{}B", self.0);
        }
        let mut number = self.0 as f64 / 1024.0;
        for unit in ["K", "M", "G"] {
            if number < 1024.0 {
                return write!(f, "{number:.2}{unit}");
            }
            number /= 1024.0;
        }
        write!(f, "{number:.2}T")
    }
}

fn of_server(report: &mut Report, server: &Server) {
    let config = server.config();
    report.line("redis_version", version::REDIS);
    report.line("nuthatch_version", version::NUTHATCH);
    report.line("redis_git_sha1", "00000000");
    report.line("redis_mode", "standalone");
    let system = rustix::system::uname();
    report.line(
        "os",
        format_args!(
            "{} {} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            system.machine().to_string_lossy()
        ),
    );
    report.line("arch_bits", usize::BITS);
    report.line("process_id", std::process::id());
    report.line("run_id", &server.run_id);
    report.line("tcp_port", config.port);
    let now_us = crate::clock::now_ns() / 1000;
    report.line("server_time_usec", now_us);
    let uptime_s = (now_us / 1000).saturating_sub(server.started_ms) / 1000;
    report.line("uptime_in_seconds", uptime_s);
    report.line("uptime_in_days", uptime_s / (24 * 60 * 60));
    report.line("data_threads", server.workers().len());
    let executable = std::env::current_exe().unwrap_or_default();
    report.line("executable", executable.display());
    let file = server.config_file.get().map(|path| path.display());
    report.line(
        "config_file",
        file.map(|file| file.to_string()).unwrap_or_default(),
    );
}

fn of_clients(report: &mut Report, server: &Server) {
    let clients = server.clients.all();
    let with = |flag| {
        let with = clients
            .iter()
            .filter(|client| client.flags().contains(flag));
        with.count()
    };
    let watching = clients
        .iter()
        .filter(|client| client.watched.load(Ordering::Relaxed) > 0);
    report.line("connected_clients", clients.len());
    report.line("maxclients", server.config().maxclients);
    report.line("blocked_clients", server.observers.pause.waiting());
    report.line("tracking_clients", with(ClientFlags::TRACKING));
    report.line("pubsub_clients", with(ClientFlags::PUBSUB));
    report.line("watching_clients", watching.count());
    report.line("total_watched_keys", server.observers.watched.len());
    let (reason, actions, left_ms) = match server.observers.pause.remaining_ms(now_ms()) {
        None => ("none", "none", 0),
        Some((left_ms, PauseMode::All)) => ("client_pause", "all", left_ms),
        Some((left_ms, PauseMode::Writes)) => ("client_pause", "write", left_ms),
    };
    report.line("paused_reason", reason);
    report.line("paused_actions", actions);
    report.line("paused_timeout_milliseconds", left_ms);
}

fn of_memory(report: &mut Report, server: &Server) {
    let cache = server.keyspace.cache();
    let (used, dataset) = (server.used_bytes(), cache.weight());
    report.bytes("used_memory", used);
    report.line("used_memory_overhead", used.saturating_sub(dataset));
    report.line("used_memory_dataset", dataset);
    if let Some(resident) = memory::resident_bytes() {
        report.bytes("used_memory_rss", resident);
        report.line(
            "mem_fragmentation_ratio",
            format_args!("{:.2}", resident as f64 / used.max(1) as f64),
        );
    }
    if let Some(peak) = memory::peak_resident_bytes() {
        report.bytes("used_memory_rss_peak", peak);
    }
    if let Some(machine) = memory::machine_bytes() {
        report.bytes("total_system_memory", machine);
    }
    // Clients' buffers lower the bound of the keys; nothing is left out of it.
    report.line("mem_not_counted_for_evict", 0);
    report.bytes("maxmemory", server.max_memory_bytes.load(Ordering::Relaxed));
    report.line(
        "maxmemory_policy",
        server.config().get("maxmemory-policy").unwrap_or_default(),
    );
    report.bytes("maxmemory_items", cache.capacity());
    // The bound is on all that the process holds.
    report.line("mem_not_counted_for_evict", 0);
    report.line("lazyfree_pending_objects", disposal::waiting());
    report.line("lazyfreed_objects", disposal::dropped());
    report.line(
        "mem_clients_normal",
        server.total(|stats| stats.buffered_bytes.get()),
    );
}

fn of_persistence(report: &mut Report, server: &Server) {
    let now_ms = now_ms();
    let mut figures = server.durability_figures();
    if !figures.is_on {
        // Nothing counts the changes that are kept, so all are told that commands have made.
        figures.changes_since_save = server.total(|stats| stats.changes.get());
    }
    let keys = server.keyspace.cache().len();
    persistence::report(report, &figures, keys, now_ms);
}

fn of_stats(report: &mut Report, server: &Server) {
    let total = |count: fn(&crate::stats::WorkerStats) -> u64| server.total(count);
    let relaxed = Ordering::Relaxed;
    let cache = server.cache_stats();
    let rates = &server.rates;
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    report.line(
        "total_connections_received",
        total(|stats| stats.connections.get()),
    );
    report.line("total_commands_processed", server.commands_run());
    report.line(
        "instantaneous_ops_per_sec",
        rates.commands_per_s.load(relaxed),
    );
    report.line(
        "total_net_input_bytes",
        total(|stats| stats.read_bytes.get()),
    );
    report.line(
        "total_net_output_bytes",
        total(|stats| stats.written_bytes.get()),
    );
    report.line(
        "instantaneous_input_kbps",
        kilobytes(rates.read_bytes_per_s.load(relaxed)),
    );
    report.line(
        "instantaneous_output_kbps",
        kilobytes(rates.written_bytes_per_s.load(relaxed)),
    );
    report.line(
        "rejected_connections",
        server.rejected_connections.load(relaxed),
    );
    let observers = &server.observers;
    report.line("expired_keys", observers.expired.load(relaxed));
    report.line("expired_fields", observers.expired_fields.load(relaxed));
    report.line("evicted_keys", observers.evicted.load(relaxed));
    // Only keys are: a client that takes too much is disconnected by its own limits.
    report.line("evicted_clients", 0);
    report.line("keyspace_hits", cache.hits);
    report.line("keyspace_misses", cache.misses);
    let (pubsub, tracking) = (&observers.pubsub, &observers.tracking);
    report.line("pubsub_channels", pubsub.len(Kind::Channel));
    report.line("pubsub_patterns", pubsub.len(Kind::Pattern));
    report.line("pubsubshard_channels", pubsub.len(Kind::ShardChannel));
    report.line("tracking_total_keys", tracking.keys());
    report.line("tracking_total_items", tracking.items());
    report.line("tracking_total_prefixes", tracking.prefixes());
    report.line("total_forks", 0);
    report.line("total_error_replies", total(|stats| stats.errors.get()));
    report.line("total_reads_processed", total(|stats| stats.reads.get()));
    report.line("total_writes_processed", total(|stats| stats.writes.get()));
    report.line(
        "client_query_buffer_limit_disconnections",
        total(|stats| stats.query_limit_disconnections.get()),
    );
    report.line(
        "client_output_buffer_limit_disconnections",
        total(|stats| stats.output_limit_disconnections.get()),
    );
    let denials = &server.acl.denials;
    for (name, refusal) in [
        ("acl_access_denied_auth", Refusal::Authentication),
        (
            "acl_access_denied_cmd",
            Refusal::Permission(DenialReason::Command),
        ),
        (
            "acl_access_denied_key",
            Refusal::Permission(DenialReason::Key),
        ),
        (
            "acl_access_denied_channel",
            Refusal::Permission(DenialReason::Channel),
        ),
    ] {
        report.line(name, denials.count(refusal));
    }
    report.line("eventloop_cycles", total(|stats| stats.wakes.get()));
}

fn of_replication(report: &mut Report, server: &Server) {
    report.line("role", "master");
    report.line("connected_slaves", 0);
    report.line("master_failover_state", "no-failover");
    report.line("master_replid", &server.run_id);
    report.line("master_repl_offset", 0);
}

/// Seconds of processors that the process has used: system's, user's.
fn cpu_seconds() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold blanks; after it, fields 14 and 15 of the line are the 12th
    // and 13th.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let mut seconds = || Some(fields.next()?.parse::<u64>().ok()? as f64 / ticks_per_s);
    let user = seconds()?;
    Some((seconds()?, user))
}

fn of_cpu(report: &mut Report) {
    if let Some((system, user)) = cpu_seconds() {
        report.line("used_cpu_sys", format_args!("{system:.6}"));
        report.line("used_cpu_user", format_args!("{user:.6}"));
    }
    // It never begins another process.
    report.line("used_cpu_sys_children", "0.000000");
    report.line("used_cpu_user_children", "0.000000");
}

fn of_commands(report: &mut Report, server: &Server) {
    for entry in command::table().entries() {
        let sum = |count: fn(&crate::stats::CommandTally) -> u64| {
            server.total(|stats| count(&stats.commands[entry.id as usize]))
        };
        let (calls, rejected) = (
            sum(|tally| tally.calls.get()),
            sum(|tally| tally.rejected.get()),
        );
        if calls == 0 && rejected == 0 {
            continue;
        }
        let us = sum(|tally| tally.ns.get()) / 1000;
        report.write(format_args!(
            "cmdstat_{}:calls={calls},usec={us},usec_per_call={:.2},rejected_calls={rejected},\
             failed_calls={}\r\n",
            entry.full_name,
            us as f64 / calls.max(1) as f64,
            sum(|tally| tally.failed.get())
        ));
    }
}

fn of_errors(report: &mut Report, server: &Server) {
    for (code, count) in server.errors_by_code() {
        report.write(format_args!("errorstat_{code}:count={count}\r\n"));
    }
}

fn of_latencies(report: &mut Report, server: &Server) {
    let config = server.config();
    if !config.latency_tracking.0 {
        return;
    }
    for entry in command::table().entries() {
        let times = command_times(server, entry.id);
        if times.count() == 0 {
            continue;
        }
        let percentiles = config.latency_tracking_info_percentiles.0.iter();
        let percentiles: Vec<String> = percentiles
            .map(|&percentile| {
                let us = times.percentile_ns(percentile) as f64 / 1000.0;
                format!("p{percentile}={us:.3}")
            })
            .collect();
        report.write(format_args!(
            "latency_percentiles_usec_{}:{}\r\n",
            entry.full_name,
            percentiles.join(",")
        ));
    }
}

/// The times of one command, of all data threads together.
pub fn command_times(server: &Server, command: u32) -> TimesSum {
    let mut sum = TimesSum::default();
    for worker in server.workers() {
        worker.stats.commands[command as usize]
            .times
            .add_to(&mut sum);
    }
    sum
}

fn of_keyspace(report: &mut Report, server: &Server) {
    let keys = server.keyspace.cache().len();
    if keys > 0 {
        // 0 is Redis' own word for an average that is not known.
        let expires = server.keyspace.cache().len_expiring();
        let with_fields = server.keyspace.field_deadlines.len();
        let line = format_args!(
            "keys={keys},expires={expires},avg_ttl=0,keys_with_volatile_items={with_fields}"
        );
        report.line("db0", line);
    }
}

#[cfg(test)]
mod tests {
    use super::{HumanBytes, Section, sections};

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        let shown = |bytes| HumanBytes(bytes).to_string();
        assert_eq!(shown(0), "0B");
        assert_eq!(shown(1023), "1023B");
        assert_eq!(shown(1536), "1.50K");
        assert_eq!(shown(3 << 30), "3.00G");
        assert_eq!(shown(5 << 50), "5120.00T");
    }

    #[test]
    fn each_section_is_told_once_however_often_it_is_asked_for() {
        let of = |words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            sections(&words)
        };
        assert_eq!(of(&["cpu", "CPU", "nonsense"]), [Section::Cpu]);
        assert_eq!(of(&["cpu", "all"]), Section::ALL);
        assert_eq!(of(&[]), of(&["default"]));
        assert!(!of(&[]).contains(&Section::CommandStats));
        assert!(of(&["nonsense"]).is_empty());
    }
}
