//! Every setting of the server, declared once.
//!
//! The table below gives the struct that the server reads, the flags of the command line, the keys of
//! `nuthatch.toml`, the environment's variables, `CONFIG GET` and `CONFIG SET`, and the documentation.
//! Names are Redis' where Redis has the setting. Layers, the upper wins: flags, environment
//! (`NUTHATCH_MAXMEMORY`), file, defaults.

mod example;
mod foreign;
mod layers;
mod rewrite;
mod value;

pub use example::example_file;
pub use foreign::{ALIASES, FOREIGN, Foreign, Rule, find as foreign};
pub use layers::{Layers, Origin};
pub use rewrite::rewrite;
pub use value::{
    Addresses, Bytes, ClientCertificates, DebugAccess, DiskErrorRule, EvictionScope, LogFormat,
    LogLevel, LogSwitch, MemoryPolicy, OutputLimit, OutputLimits, Percentiles, SavePoint,
    SavePoints, Secret, SettingValue, Switch, SyncPolicy,
};

use crate::events::EventClasses;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What is known of a setting without its value.
#[derive(Clone, Copy, Debug)]
pub struct SettingInfo {
    /// Its name, as in `CONFIG GET`.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What values it takes.
    pub allowed: &'static str,
    /// Whether it can be changed while the server runs.
    pub is_live: bool,
    /// Whether its value must never be printed.
    pub is_secret: bool,
}

/// A setting that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("unknown setting '{name}'{}", nearest.map(|n| format!(", did you mean '{n}'?")).unwrap_or_default())]
    Unknown {
        /// As it was given.
        name: String,
        /// The setting with the most similar name.
        nearest: Option<&'static str>,
    },
    /// The value is not one that the setting takes.
    #[error("{name}: '{value}' is not allowed: it takes {allowed}")]
    Value {
        /// The setting.
        name: &'static str,
        /// As it was given; hidden if the setting is secret.
        value: String,
        /// What it takes.
        allowed: &'static str,
    },
    /// The setting is read at the start only.
    #[error("{name} cannot be changed while the server runs")]
    Fixed {
        /// The setting.
        name: &'static str,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

macro_rules! settings {
    ($( $(#[doc = $help:literal])+ $field:ident: $kind:ty = $default:expr, $name:literal, $life:ident; )+) => {
        /// The values of all settings.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $( $(#[doc = $help])+ pub $field: $kind, )+
        }

        /// All settings, in the order of their documentation.
        pub const SETTINGS: &[SettingInfo] = &[
            $( SettingInfo {
                name: $name,
                help: concat!($($help, "\n"),+),
                allowed: <$kind as SettingValue>::ALLOWED,
                is_live: settings!(@$life),
                is_secret: <$kind as SettingValue>::IS_SECRET,
            }, )+
        ];

        impl Default for Config {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Config {
            /// The value of the setting called `name`, as text.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => Some(self.$field.to_text()), )+
                    _ => None,
                }
            }

            fn set_known(&mut self, name: &str, text: &str) -> bool {
                match name {
                    $( $name => match <$kind as SettingValue>::from_text(text) {
                        Some(value) => { self.$field = value; true }
                        None => false,
                    }, )+
                    _ => false,
                }
            }
        }
    };
    (@live) => { true };
    (@fixed) => { false };
}

settings! {
    /// Addresses to listen on, separated by blanks. An address that begins with `-` may be missing on
    /// this machine.
    bind: Addresses = Addresses::new(&["127.0.0.1", "-::1"]), "bind", fixed;
    /// TCP port for clients of Redis; 0 for none.
    port: u16 = 6379, "port", fixed;
    /// TCP port for clients of memcached; 0 for none.
    memcached_port: u16 = 0, "memcached-port", fixed;
    /// Port for clients of Redis over TLS; 0 for none.
    tls_port: u16 = 0, "tls-port", fixed;
    /// File with the server's certificate chain, PEM.
    tls_cert_file: String = String::new(), "tls-cert-file", fixed;
    /// File with the server's private key, PEM.
    tls_key_file: String = String::new(), "tls-key-file", fixed;
    /// File with the authorities that sign clients' certificates, PEM.
    tls_ca_cert_file: String = String::new(), "tls-ca-cert-file", fixed;
    /// Whether a client must show a certificate that an authority of tls-ca-cert-file has signed:
    /// `yes`, or `no`, or `optional` if it may.
    tls_auth_clients: ClientCertificates = ClientCertificates::Yes, "tls-auth-clients", fixed;
    /// Seconds that a client has to begin a TLS session.
    tls_handshake_timeout: u32 = 10, "tls-handshake-timeout", live;
    /// Path of a Unix socket to listen on; empty for none.
    unixsocket: String = String::new(), "unixsocket", fixed;
    /// Permissions of the Unix socket, octal; 0 leaves them to the process' mask.
    unixsocketperm: value::FileMode = value::FileMode(0), "unixsocketperm", fixed;
    /// Port of the dashboard, of `/metrics` and of the health checks; 0 for none.
    http_port: u16 = 6380, "http-port", fixed;
    /// Address of the dashboard, of `/metrics` and of the health checks.
    http_bind: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "http-bind", fixed;
    /// Password of the dashboard, of its API and of `/metrics`, for any user name; empty for none.
    http_password: Secret = Secret(String::new()), "http-password", live;
    /// Threads that serve clients; 0 for one per processor.
    threads: u16 = 0, "threads", fixed;
    /// Connections waiting to be accepted.
    tcp_backlog: u32 = 511, "tcp-backlog", fixed;
    /// Seconds between probes of idle TCP connections; 0 for none.
    tcp_keepalive: u32 = 300, "tcp-keepalive", live;
    /// Seconds after which an idle client is disconnected; 0 for never.
    timeout: u32 = 0, "timeout", live;
    /// Clients connected at most.
    maxclients: u32 = 10_000, "maxclients", live;
    /// Whether clients from elsewhere are turned away while there is no password.
    protected_mode: Switch = Switch(true), "protected-mode", live;
    /// Password of the default user; empty for none.
    requirepass: Secret = Secret(String::new()), "requirepass", live;
    /// File with users and their rights; empty for none.
    aclfile: String = String::new(), "aclfile", fixed;
    /// Failed permissions that `ACL LOG` keeps.
    acllog_max_len: u32 = 128, "acllog-max-len", live;
    /// What the process may hold resident, in bytes; 0 for three quarters of the machine's or
    /// container's memory.
    maxmemory: Bytes = Bytes(0), "maxmemory", live;
    /// What to evict when the memory is full: one of Redis' eight policies, or one of the library's,
    /// for all keys.
    maxmemory_policy: MemoryPolicy = MemoryPolicy::default(), "maxmemory-policy", live;
    /// Directory with snapshots and log, from which a restart is warm; empty to keep nothing on disk.
    data_dir: String = String::new(), "data-dir", fixed;
    /// Whether changes are logged. Without, a crash loses what has changed since the last snapshot.
    appendonly: LogSwitch = LogSwitch::Auto, "appendonly", fixed;
    /// When the log is synced: `always` before a write is acknowledged, `everysec` before it is a second
    /// old, `no` when the system sees fit.
    appendfsync: SyncPolicy = SyncPolicy::EverySec, "appendfsync", live;
    /// When a snapshot is written by itself: pairs of seconds and changes. A log needs none, for it
    /// is compacted into a snapshot when it has grown.
    save: SavePoints = SavePoints(Vec::new()), "save", live;
    /// By how many percent of the last snapshot's size the log may grow before it is compacted into a new
    /// snapshot; 0 for never.
    auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage", live;
    /// Bytes of log up to which it is never compacted.
    auto_aof_rewrite_min_size: Bytes = Bytes(64 << 20), "auto-aof-rewrite-min-size", live;
    /// What becomes of writes while the disk takes none: `refuse` answers them with an error, `serve`
    /// takes them although a crash would lose them. Reads are served in any case.
    on_disk_error: DiskErrorRule = DiskErrorRule::Refuse, "on-disk-error", live;
    /// Bytes of one argument at most.
    proto_max_bulk_len: Bytes = Bytes(512 << 20), "proto-max-bulk-len", live;
    /// Bytes of a request that is not complete at most.
    client_query_buffer_limit: Bytes = Bytes(1 << 30), "client-query-buffer-limit", live;
    /// Bytes that wait for a slow reader at most, by class of client: hard limit, soft limit, seconds
    /// above the soft limit.
    client_output_buffer_limit: OutputLimits = OutputLimits::default(), "client-output-buffer-limit", live;
    /// Which events of keys are published, as letters; empty for none.
    notify_keyspace_events: EventClasses = EventClasses::empty(), "notify-keyspace-events", live;
    /// Keys remembered for clients that track them at most; 0 for no limit.
    tracking_table_max_keys: u64 = 1_000_000, "tracking-table-max-keys", live;
    /// Microseconds from which on a command is kept in the slow log; negative for never.
    slowlog_log_slower_than: i64 = 10_000, "slowlog-log-slower-than", live;
    /// Commands that the slow log keeps.
    slowlog_max_len: u32 = 128, "slowlog-max-len", live;
    /// Milliseconds from which on an event is a latency spike; 0 to watch for none.
    latency_monitor_threshold: u64 = 0, "latency-monitor-threshold", live;
    /// Whether the time of commands is collected.
    latency_tracking: Switch = Switch(true), "latency-tracking", live;
    /// Percentiles of commands' times that `INFO latencystats` prints.
    latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]), "latency-tracking-info-percentiles", live;
    /// Who may call DEBUG: `no` for nobody, `local` for clients of this machine, `yes` for all.
    enable_debug_command: DebugAccess = DebugAccess::Local, "enable-debug-command", fixed;
    /// Fields up to which a hash is kept in one piece, which `OBJECT ENCODING` calls a listpack.
    hash_max_listpack_entries: u64 = 512, "hash-max-listpack-entries", live;
    /// Bytes of a field's name or value up to which a hash is kept in one piece.
    hash_max_listpack_value: u64 = 64, "hash-max-listpack-value", live;
    /// Databases: one.
    databases: value::One = value::One, "databases", fixed;
    /// Least importance of what is logged.
    loglevel: LogLevel = LogLevel::Notice, "loglevel", fixed;
    /// Form of the log: `text` for people, `json` for machines.
    logformat: LogFormat = LogFormat::Text, "logformat", fixed;
}

/// The longest string that is kept on disk.
const MAX_STORED_BYTES: u64 = 2 << 30;

impl Config {
    /// Reads `text` as the value of the setting called `name`.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let info = info(name)?;
        if self.set_known(info.name, text) {
            return Ok(());
        }
        Err(SettingError::Value {
            name: info.name,
            value: if info.is_secret {
                "(hidden)".to_owned()
            } else {
                text.to_owned()
            },
            allowed: info.allowed,
        })
    }

    /// As [`set`](Self::set), while the server runs.
    pub fn set_live(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let info = info(name)?;
        if !info.is_live {
            return Err(SettingError::Fixed { name: info.name });
        }
        self.set(name, text)
    }

    /// Checks what no setting can tell alone.
    pub fn check(&self) -> Result<(), SettingError> {
        let contradiction = |text: &str| Err(SettingError::Contradiction(text.to_owned()));
        if self.port == 0
            && self.tls_port == 0
            && self.memcached_port == 0
            && self.unixsocket.is_empty()
        {
            return contradiction(
                "port, tls-port and memcached-port are 0 and unixsocket is empty: \
                 nobody could connect",
            );
        }
        if self.tls_port != 0 && (self.tls_cert_file.is_empty() || self.tls_key_file.is_empty()) {
            return contradiction("tls-port needs tls-cert-file and tls-key-file");
        }
        if self.tls_port != 0
            && self.tls_auth_clients != ClientCertificates::No
            && self.tls_ca_cert_file.is_empty()
        {
            return contradiction(
                "tls-auth-clients asks for certificates, so it needs tls-ca-cert-file; \
                 set it to 'no' if clients have none",
            );
        }
        if self.data_dir.is_empty() && self.appendonly == LogSwitch::Yes {
            return contradiction("appendonly needs a data-dir to write the log to");
        }
        if !self.data_dir.is_empty() && self.proto_max_bulk_len.0 > MAX_STORED_BYTES {
            return contradiction(
                "proto-max-bulk-len is beyond what a data-dir takes: 2gb at most",
            );
        }
        if self.data_dir.is_empty() && !self.save.0.is_empty() {
            return contradiction("save needs a data-dir to write snapshots to");
        }
        let ports = [
            ("port", self.port),
            ("tls-port", self.tls_port),
            ("memcached-port", self.memcached_port),
            ("http-port", self.http_port),
        ];
        for (index, (name, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports[..index]
                .iter()
                .find(|(_, other)| other == port && *port != 0)
            {
                return contradiction(&format!("{other} and {name} are both {port}"));
            }
        }
        Ok(())
    }

    /// Whether changes are logged.
    pub fn logs_changes(&self) -> bool {
        !self.data_dir.is_empty() && self.appendonly != LogSwitch::No
    }

    /// How long a client may be idle, if there is a limit.
    pub fn idle_timeout(&self) -> Option<Duration> {
        (self.timeout > 0).then(|| Duration::from_secs(self.timeout.into()))
    }
}

/// What is known of the setting called `name`, in any case.
pub fn info(name: &str) -> Result<&'static SettingInfo, SettingError> {
    let lower = name.to_ascii_lowercase();
    SETTINGS
        .iter()
        .find(|info| info.name == lower)
        .ok_or_else(|| SettingError::Unknown {
            name: name.to_owned(),
            nearest: nearest(&lower),
        })
}

fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|info| (strsim::damerau_levenshtein(info.name, name), info.name))
        .min()
        .filter(|(distance, nearest)| *distance <= nearest.len().max(name.len()) / 2)
        .map(|(_, nearest)| nearest)
}

#[cfg(test)]
mod tests {
    use super::{Config, SETTINGS, SettingError};

    #[test]
    fn every_default_reads_back_as_itself() {
        let default = Config::default();
        for info in SETTINGS {
            let text = default.get(info.name).expect("listed settings exist");
            let mut config = Config::default();
            config
                .set(info.name, &text)
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config, default, "{}", info.name);
        }
    }

    #[test]
    fn a_wrong_name_brings_the_nearest_right_one() {
        let error = Config::default().set("max-memory", "1gb").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown setting 'max-memory', did you mean 'maxmemory'?"
        );
        let error = Config::default().set("zzz", "1").unwrap_err();
        assert_eq!(error.to_string(), "unknown setting 'zzz'");
    }

    #[test]
    fn a_wrong_value_names_setting_value_and_what_is_allowed() {
        let error = Config::default().set("port", "70000").unwrap_err();
        assert_eq!(
            error.to_string(),
            "port: '70000' is not allowed: it takes a whole number from 0 to 65535"
        );
    }

    #[test]
    fn fixed_settings_stay() {
        let error = Config::default().set_live("port", "1").unwrap_err();
        assert_eq!(error, SettingError::Fixed { name: "port" });
    }

    #[test]
    fn contradictions_are_found() {
        let mut config = Config::default();
        config.set("memcached-port", "6379").unwrap();
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "port and memcached-port are both 6379"
        );
    }
}
