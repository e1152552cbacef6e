//! The types of settings' values: how each is read and written, and what it takes.

use nuthatch::policy::Policy;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A type of value that a setting can have. Reading what [`to_text`](Self::to_text) wrote gives the
/// same value.
pub trait SettingValue: Sized {
    /// What is taken, for people: completes "it takes ...".
    const ALLOWED: &'static str;
    /// Whether the value must never be printed.
    const IS_SECRET: bool = false;

    /// Reads a value; `None` if it is not one.
    fn from_text(text: &str) -> Option<Self>;

    /// The value as text.
    fn to_text(&self) -> String;
}

macro_rules! number {
    ($kind:ty, $allowed:literal) => {
        impl SettingValue for $kind {
            const ALLOWED: &'static str = $allowed;

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn to_text(&self) -> String {
                self.to_string()
            }
        }
    };
}

number!(u16, "a whole number from 0 to 65535");
number!(u32, "a whole number from 0 to 4294967295");
number!(u64, "a whole number from 0 to 18446744073709551615");
number!(i64, "a whole number");

impl SettingValue for String {
    const ALLOWED: &'static str = "any text";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_text(&self) -> String {
        self.clone()
    }
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl SettingValue for Secret {
    const ALLOWED: &'static str = "any text";
    const IS_SECRET: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl SettingValue for Switch {
    const ALLOWED: &'static str = "yes or no";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Some(Self(true)),
            "no" | "false" => Some(Self(false)),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        if self.0 { "yes" } else { "no" }.to_owned()
    }
}

/// Whether clients show certificates over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They must.
    Yes,
    /// They need not; what they show is checked.
    Optional,
    /// They are not asked.
    No,
}

impl SettingValue for ClientCertificates {
    const ALLOWED: &'static str = "yes, optional or no";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Some(Self::Yes),
            "optional" => Some(Self::Optional),
            "no" | "false" => Some(Self::No),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Yes => "yes",
            Self::Optional => "optional",
            Self::No => "no",
        }
        .to_owned()
    }
}

/// A number of bytes, with a unit if wanted: `kb`, `mb` and `gb` are powers of 1024, `k`, `m` and `g`
/// powers of 1000, as Redis has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl SettingValue for Bytes {
    const ALLOWED: &'static str = "a number of bytes, such as 1048576, 100mb or 2gb";

    fn from_text(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = lower.split_at(digits);
        let factor: u64 = match unit {
            "" | "b" => 1,
            "k" => 1000,
            "kb" => 1 << 10,
            "m" => 1_000_000,
            "mb" => 1 << 20,
            "g" => 1_000_000_000,
            "gb" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// Permissions of a file, octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl SettingValue for FileMode {
    const ALLOWED: &'static str = "octal permissions from 0 to 777";

    fn from_text(text: &str) -> Option<Self> {
        let mode = u32::from_str_radix(text, 8).ok()?;
        (mode <= 0o777).then_some(Self(mode))
    }

    fn to_text(&self) -> String {
        format!("{:o}", self.0)
    }
}

/// The number one, for settings that know no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct One;

impl SettingValue for One {
    const ALLOWED: &'static str = "1";

    fn from_text(text: &str) -> Option<Self> {
        (text == "1").then_some(Self)
    }

    fn to_text(&self) -> String {
        "1".to_owned()
    }
}

impl SettingValue for std::net::IpAddr {
    const ALLOWED: &'static str = "an IP address, such as 127.0.0.1, ::1 or 0.0.0.0";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<String>);

impl Addresses {
    /// These addresses.
    pub fn new(addresses: &[&str]) -> Self {
        Self(addresses.iter().map(|&text| text.to_owned()).collect())
    }
}

impl SettingValue for Addresses {
    const ALLOWED: &'static str = "IP addresses separated by blanks, such as 127.0.0.1 -::1, or *";

    fn from_text(text: &str) -> Option<Self> {
        let addresses: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let is_address = |text: &String| {
            let address = text.strip_prefix('-').unwrap_or(text);
            address == "*" || address == "::*" || address.parse::<std::net::IpAddr>().is_ok()
        };
        addresses.iter().all(is_address).then_some(Self(addresses))
    }

    fn to_text(&self) -> String {
        self.0.join(" ")
    }
}

/// Least importance of what is logged, in Redis' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much.
    Verbose,
    /// What an operator wants to know.
    Notice,
    /// Only what needs attention.
    Warning,
    /// Nothing.
    Nothing,
}

impl SettingValue for LogLevel {
    const ALLOWED: &'static str = "debug, verbose, notice, warning or nothing";

    fn from_text(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "verbose" => Self::Verbose,
            "notice" => Self::Notice,
            "warning" => Self::Warning,
            "nothing" => Self::Nothing,
            _ => return None,
        })
    }

    fn to_text(&self) -> String {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "verbose",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Nothing => "nothing",
        }
        .to_owned()
    }
}

/// Who may call `DEBUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugAccess {
    /// Nobody.
    No,
    /// Clients of this machine.
    Local,
    /// Everybody whose permissions allow it.
    Yes,
}

impl SettingValue for DebugAccess {
    const ALLOWED: &'static str = "no, local or yes";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "no" => Some(Self::No),
            "local" => Some(Self::Local),
            "yes" => Some(Self::Yes),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::No => "no",
            Self::Local => "local",
            Self::Yes => "yes",
        }
        .to_owned()
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

impl SettingValue for LogFormat {
    const ALLOWED: &'static str = "text or json";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}

/// Percentiles from 0 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl SettingValue for Percentiles {
    const ALLOWED: &'static str = "numbers from 0 to 100, separated by blanks";

    fn from_text(text: &str) -> Option<Self> {
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        let is_percentile = |number: &f64| (0.0..=100.0).contains(number);
        numbers.iter().all(is_percentile).then_some(Self(numbers))
    }

    fn to_text(&self) -> String {
        let numbers: Vec<String> = self.0.iter().map(f64::to_string).collect();
        numbers.join(" ")
    }
}

/// What may wait for a slow reader of one class. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is disconnected at once.
    pub hard_bytes: u64,
    /// Bytes at which it is disconnected after a while.
    pub soft_bytes: u64,
    /// That while, in seconds.
    pub soft_seconds: u64,
}

/// What may wait for slow readers, by class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that send requests.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients that have subscribed.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            normal: OutputLimit::default(),
            replica: OutputLimit {
                hard_bytes: 256 << 20,
                soft_bytes: 64 << 20,
                soft_seconds: 60,
            },
            pubsub: OutputLimit {
                hard_bytes: 32 << 20,
                soft_bytes: 8 << 20,
                soft_seconds: 60,
            },
        }
    }
}

impl SettingValue for OutputLimits {
    const ALLOWED: &'static str = "groups of four: class (normal, replica, pubsub), hard limit, soft limit, seconds; \
         such as pubsub 32mb 8mb 60";

    fn from_text(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut limits = Self::default();
        let (groups, rest) = words.as_chunks::<4>();
        for [class, hard, soft, seconds] in groups {
            let limit = OutputLimit {
                hard_bytes: Bytes::from_text(hard)?.0,
                soft_bytes: Bytes::from_text(soft)?.0,
                soft_seconds: seconds.parse().ok()?,
            };
            match *class {
                "normal" => limits.normal = limit,
                "replica" | "slave" => limits.replica = limit,
                "pubsub" => limits.pubsub = limit,
                _ => return None,
            }
        }
        (rest.is_empty() && !groups.is_empty()).then_some(limits)
    }

    fn to_text(&self) -> String {
        let group = |class: &str, limit: &OutputLimit| {
            format!(
                "{class} {} {} {}",
                limit.hard_bytes, limit.soft_bytes, limit.soft_seconds
            )
        };
        [
            group("normal", &self.normal),
            group("slave", &self.replica),
            group("pubsub", &self.pubsub),
        ]
        .join(" ")
    }
}

/// What to evict when the memory is full.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPolicy {
    name: String,
    /// Which keys may be evicted.
    pub scope: EvictionScope,
    /// In which order.
    pub policy: Policy,
}

/// Which keys may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionScope {
    /// All.
    AllKeys,
    /// Those that expire.
    Volatile,
    /// None: writes that need room fail.
    Nothing,
}

impl EvictionScope {
    /// The scope with this number, which is its place among them.
    #[inline]
    pub(crate) fn of_number(number: u8) -> Self {
        match number {
            0 => Self::AllKeys,
            1 => Self::Volatile,
            _ => Self::Nothing,
        }
    }

    /// Whether a key with this deadline must not be evicted.
    #[inline]
    pub(crate) fn pins(self, deadline_ms: Option<u64>) -> bool {
        match self {
            Self::AllKeys => false,
            Self::Volatile => deadline_ms.is_none(),
            Self::Nothing => true,
        }
    }
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            scope: EvictionScope::AllKeys,
            policy: Policy::Default,
        }
    }
}

impl SettingValue for MemoryPolicy {
    const ALLOWED: &'static str = "noeviction, allkeys-lru, allkeys-lfu, allkeys-random, volatile-lru, volatile-lfu, \
         volatile-random, volatile-ttl, or a policy of the library, such as default, s3_fifo or w_tiny_lfu";

    fn from_text(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (scope, order) = match lower.as_str() {
            "noeviction" => (EvictionScope::Nothing, "fifo"),
            name => match name.split_once('-') {
                Some(("allkeys", order)) => (EvictionScope::AllKeys, order),
                Some(("volatile", order)) => (EvictionScope::Volatile, order),
                _ => (EvictionScope::AllKeys, name),
            },
        };
        Some(Self {
            scope,
            policy: order.parse().ok()?,
            name: lower,
        })
    }

    fn to_text(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, EvictionScope, MemoryPolicy, OutputLimits, SettingValue};

    #[test]
    fn bytes_have_units() {
        assert_eq!(Bytes::from_text("100"), Some(Bytes(100)));
        assert_eq!(Bytes::from_text("1k"), Some(Bytes(1000)));
        assert_eq!(Bytes::from_text("1KB"), Some(Bytes(1024)));
        assert_eq!(Bytes::from_text("2gb"), Some(Bytes(2 << 30)));
        for wrong in [
            "",
            "kb",
            "-1",
            "1 kb",
            "1tb",
            "99999999999999999999",
            "20000000000gb",
        ] {
            assert_eq!(Bytes::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn policies_are_redis_names_and_the_librarys() {
        let scope = |name: &str| MemoryPolicy::from_text(name).map(|policy| policy.scope);
        assert_eq!(scope("noeviction"), Some(EvictionScope::Nothing));
        assert_eq!(scope("allkeys-lru"), Some(EvictionScope::AllKeys));
        assert_eq!(scope("volatile-lfu"), Some(EvictionScope::Volatile));
        assert_eq!(scope("s3_fifo"), Some(EvictionScope::AllKeys));
        for scope_name in ["allkeys", "volatile"] {
            for order in ["lru", "lfu", "random"] {
                let name = format!("{scope_name}-{order}");
                assert!(scope(&name).is_some(), "{name}");
            }
        }
        assert_eq!(scope("volatile-ttl"), Some(EvictionScope::Volatile));
        assert_eq!(scope("nonsense"), None);
    }

    #[test]
    fn output_limits_are_groups_of_four() {
        let limits = OutputLimits::from_text("pubsub 1mb 0 0").unwrap();
        assert_eq!(limits.pubsub.hard_bytes, 1 << 20);
        assert_eq!(limits.replica, OutputLimits::default().replica);
        for wrong in ["", "pubsub 1mb", "other 1 1 1", "normal x 0 0"] {
            assert_eq!(OutputLimits::from_text(wrong), None, "{wrong}");
        }
    }
}

/// Whether changes are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSwitch {
    /// If there is a data directory.
    Auto,
    /// Yes.
    Yes,
    /// No: only snapshots are written.
    No,
}

impl SettingValue for LogSwitch {
    const ALLOWED: &'static str = "yes, no, or auto for yes where there is a data-dir";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "yes" | "true" => Some(Self::Yes),
            "no" | "false" => Some(Self::No),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Yes => "yes",
            Self::No => "no",
        }
        .to_owned()
    }
}

/// When the log is synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// Before a write is acknowledged.
    Always,
    /// Before what was acknowledged is a second old.
    EverySec,
    /// When the system sees fit.
    No,
}

impl SyncPolicy {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 3] = [Self::Always, Self::EverySec, Self::No];
}

impl SettingValue for SyncPolicy {
    const ALLOWED: &'static str = "always, everysec or no";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "always" => Some(Self::Always),
            "everysec" => Some(Self::EverySec),
            "no" => Some(Self::No),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Always => "always",
            Self::EverySec => "everysec",
            Self::No => "no",
        }
        .to_owned()
    }
}

/// What becomes of writes while the disk takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskErrorRule {
    /// They are refused.
    Refuse,
    /// They are served, and a crash would lose them.
    Serve,
}

impl SettingValue for DiskErrorRule {
    const ALLOWED: &'static str = "refuse or serve";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "refuse" => Some(Self::Refuse),
            "serve" => Some(Self::Serve),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Refuse => "refuse",
            Self::Serve => "serve",
        }
        .to_owned()
    }
}

/// When a snapshot is written by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// So many seconds after the last one...
    pub seconds: u64,
    /// ... if there were so many changes.
    pub changes: u64,
}

/// All occasions on which a snapshot is written by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl SettingValue for SavePoints {
    const ALLOWED: &'static str =
        "pairs of seconds and changes, such as '3600 1 300 100', or nothing";

    fn from_text(text: &str) -> Option<Self> {
        let numbers = text.split_whitespace().map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let pairs = numbers.chunks(2).map(|pair| match *pair {
            [seconds, changes] if seconds > 0 => Some(SavePoint { seconds, changes }),
            _ => None,
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    fn to_text(&self) -> String {
        let words: Vec<String> = self
            .0
            .iter()
            .flat_map(|point| [point.seconds.to_string(), point.changes.to_string()])
            .collect();
        words.join(" ")
    }
}
