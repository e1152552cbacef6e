//! What all threads share.

use crate::acl::Acl;
use crate::big_keys::BigKeys;
use crate::client::Clients;
use crate::clock;
use crate::command;
use crate::config::{self, Config, EvictionScope, LogSwitch, Origin, SettingError};
use crate::control::memory::{self, Governor, Usage};
use crate::control::rates::Rates;
use crate::durability::{self, Durability};
use crate::history::History;
use crate::hot_keys::HotKeys;
use crate::keyspace::Keyspace;
use crate::latency::LatencyMonitor;
use crate::mailbox::{Mailbox, Message};
use crate::memcached;
use crate::observers::Observers;
use crate::slowlog::SlowLog;
use crate::stats::WorkerStats;
use crate::watch::Reasons;
use nuthatch::{BuildError, StatsSnapshot};
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::synced::SyncWaiter;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The number of a data thread, from 0.
pub type WorkerId = usize;

/// What others see of a data thread.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its number.
    pub id: WorkerId,
    /// Its queue.
    pub mailbox: Mailbox,
    /// What it counts.
    pub stats: WorkerStats,
    /// Connections on their way to it.
    pub arriving: AtomicU64,
    /// Whether clients of it wait until the log is synced.
    pub awaits_sync: SyncWaiter,
    /// The keys that its commands name most.
    pub hot_keys: HotKeys,
}

/// See the module's text.
#[derive(Debug)]
pub struct Server {
    config: RwLock<Arc<Config>>,
    /// Grows with every change of the settings.
    config_version: AtomicU64,
    /// The keys.
    pub keyspace: Keyspace,
    /// What keeps the keys on disk, if anything does.
    pub durability: Option<Arc<Durability>>,
    /// Who hears of changes.
    pub observers: Arc<Observers>,
    /// Users and what they may do.
    pub acl: Acl,
    /// What memcached's protocol needs besides.
    pub memcached: memcached::Shared,
    /// Who is connected.
    pub clients: Clients,
    /// When the server started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Tells this run of the server from all others: forty hexadecimal digits.
    pub run_id: String,
    /// Whether the server is to end.
    pub is_ending: AtomicBool,
    /// Whether what has expired is removed before anybody asks for it.
    pub is_expiring: AtomicBool,
    /// Clients turned away because there were too many.
    pub rejected_connections: AtomicU64,
    /// What the process may hold resident, in bytes.
    pub max_memory_bytes: AtomicU64,
    /// How much of that is used.
    pub memory: Usage,
    governor: Mutex<Governor>,
    /// Commands that were slow.
    pub slow_log: SlowLog,
    /// Events that took long.
    pub latency: LatencyMonitor,
    /// What is done per second.
    pub rates: Rates,
    /// The file that settings were read from, if there was one.
    pub config_file: OnceLock<PathBuf>,
    /// Settings without effect that clients have set.
    pub foreign_settings: Mutex<BTreeMap<&'static str, String>>,
    /// What the keyspace had counted when statistics were reset last.
    cache_stats_base: Mutex<StatsSnapshot>,
    /// What happened lately.
    pub history: Mutex<History>,
    /// The keys that take most memory.
    pub big_keys: Mutex<BigKeys>,
    /// Where settings come from that are not the defaults.
    origins: Mutex<BTreeMap<&'static str, Origin>>,
}

impl Server {
    /// A server without threads, which keeps its keys in `data`, if that is given.
    pub fn new(
        mut config: Config,
        threads: usize,
        now_ms: u64,
        data: Option<DataDir>,
    ) -> Result<Arc<Self>, BuildError> {
        // Clients that ask are told what holds.
        config.appendonly = if config.logs_changes() {
            LogSwitch::Yes
        } else {
            LogSwitch::No
        };
        let observers = Arc::new(Observers::default());
        let max_memory_bytes = match config.maxmemory.0 {
            0 => memory::default_bound_bytes(),
            bytes => bytes,
        };
        let told = Arc::clone(&observers);
        let keyspace = Keyspace::new(
            threads,
            max_memory_bytes,
            &config.maxmemory_policy,
            move |key, cause| told.removed(key, cause),
        )?;
        keyspace.flat_limits.set(
            config.hash_max_listpack_entries,
            config.hash_max_listpack_value,
        );
        let acl = Acl::new(&config.requirepass.0);
        observers.set_event_classes(config.notify_keyspace_events);
        observers.mind_scope(config.maxmemory_policy.scope);
        let mut random = fastrand::Rng::new();
        let durability = data.map(|data| {
            let seed = random.u64(..);
            let journal = Arc::clone(keyspace.journal());
            let observers = Arc::clone(&observers);
            let bytes = max_memory_bytes;
            Durability::new(data, &config, bytes, journal, observers, now_ms, seed).into()
        });
        let server = Arc::new(Self {
            config: RwLock::new(Arc::new(config)),
            config_version: AtomicU64::new(0),
            keyspace,
            durability,
            observers,
            acl,
            memcached: memcached::Shared::new(now_ms),
            clients: Clients::default(),
            started_ms: now_ms,
            run_id: (0..40)
                .map(|_| char::from_digit(random.u32(0..16), 16).expect("below 16"))
                .collect(),
            is_ending: AtomicBool::new(false),
            is_expiring: AtomicBool::new(true),
            rejected_connections: AtomicU64::new(0),
            max_memory_bytes: AtomicU64::new(max_memory_bytes),
            memory: Usage::of_start(),
            governor: Mutex::default(),
            slow_log: SlowLog::default(),
            latency: LatencyMonitor::default(),
            rates: Rates::default(),
            config_file: OnceLock::new(),
            foreign_settings: Mutex::default(),
            cache_stats_base: Mutex::default(),
            history: Mutex::default(),
            big_keys: Mutex::default(),
            origins: Mutex::default(),
        });
        server.govern_memory();
        Ok(server)
    }

    /// Bytes that are used, as `used_memory` has it: up to `maxmemory`.
    pub fn used_bytes(&self) -> u64 {
        self.memory.used_bytes(self.keyspace.cache().weight())
    }

    /// The settings at present.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
    }

    /// Grows with every change of the settings.
    #[inline]
    pub fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Relaxed)
    }

    /// Changes settings; all or none.
    pub fn set_config<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), SettingError> {
        let mut current = self.config.write();
        let mut config = Config::clone(&current);
        let mut changed = Vec::new();
        for (name, text) in changes {
            config.set_live(name, text)?;
            changed.push(config::info(name)?.name);
        }
        config.check()?;
        if config.maxmemory != current.maxmemory {
            self.bound_memory(match config.maxmemory.0 {
                0 => memory::default_bound_bytes(),
                bytes => bytes,
            });
        }
        if config.maxmemory_policy != current.maxmemory_policy {
            let policy = &config.maxmemory_policy;
            // Commands look for room before they start for as long as they may find none.
            if policy.scope == EvictionScope::Nothing {
                self.observers.mind_scope(policy.scope);
            }
            self.keyspace.set_policy(policy);
            self.observers.mind_scope(policy.scope);
        }
        self.keyspace.flat_limits.set(
            config.hash_max_listpack_entries,
            config.hash_max_listpack_value,
        );
        if let Some(durability) = &self.durability {
            let max_memory_bytes = self.max_memory_bytes.load(Ordering::Relaxed);
            durability.follow(&config, max_memory_bytes);
        }
        if config.requirepass != current.requirepass {
            self.acl.set_default_password(&config.requirepass.0);
        }
        self.observers
            .set_event_classes(config.notify_keyspace_events);
        *current = Arc::new(config);
        drop(current);
        self.set_origins(changed.into_iter().map(|name| (name, Origin::Client)));
        self.config_version.fetch_add(1, Ordering::Release);
        self.wake_all();
        Ok(())
    }

    /// Says where the values of some settings come from.
    pub fn set_origins(&self, origins: impl IntoIterator<Item = (&'static str, Origin)>) {
        self.origins.lock().extend(origins);
    }

    /// Where the value of the setting called `name` comes from.
    pub fn origin(&self, name: &str) -> Origin {
        let origins = self.origins.lock();
        origins.get(name).copied().unwrap_or(Origin::Default)
    }

    fn bound_memory(&self, bytes: u64) {
        self.max_memory_bytes.store(bytes, Ordering::Relaxed);
        self.govern_memory();
    }

    /// Sets the bound of the keys so that the process comes to hold `maxmemory`.
    pub fn govern_memory(&self) {
        self.governor.lock().govern(self);
        self.hand_over_evictions();
    }

    /// Has a data thread record what this thread has evicted, for only data threads write. What is evicted
    /// while it loads is recorded when all is loaded.
    pub fn hand_over_evictions(&self) {
        if self.keyspace.journal().hand_over_evicted() && !self.is_loading() {
            self.log_evictions_soon();
        }
    }

    /// Has a data thread record what was handed over.
    pub fn log_evictions_soon(&self) {
        if let Some(worker) = self.workers().first() {
            worker.mailbox.send(Message::LogEvicted);
        }
    }

    /// Keys do not expire while writes of clients are paused, neither by themselves nor by being read.
    /// To be called whenever a pause may have begun or ended.
    pub fn follow_pause(&self) {
        let is_paused = self.observers.pause.mode(clock::now_ms()).is_some();
        self.keyspace.cache().remove_expired_on_read(!is_paused);
    }

    /// Whether what has expired is to be removed now, before anybody asks for it.
    pub fn may_expire(&self) -> bool {
        // What is being loaded may get more time by what is loaded later.
        let reasons = Reasons::PAUSED | Reasons::LOADING;
        !self.observers.attention.get().intersects(reasons)
            && self.is_expiring.load(Ordering::Relaxed)
    }

    /// Whether what is on disk is being loaded.
    pub fn is_loading(&self) -> bool {
        self.observers.attention.get().contains(Reasons::LOADING)
    }

    /// How durability is doing.
    pub fn durability_figures(&self) -> durability::Figures {
        match &self.durability {
            Some(durability) => durability.figures(),
            None => durability::Figures::none(self.started_ms),
        }
    }

    /// What the keyspace has counted since statistics were reset.
    pub fn cache_stats(&self) -> StatsSnapshot {
        let base = self.cache_stats_base.lock();
        self.keyspace.cache().stats().since(&base)
    }

    /// Errors answered, by code.
    pub fn errors_by_code(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for worker in self.workers() {
            worker.stats.errors_by_code.add_to(&mut sum);
        }
        sum
    }

    /// Sets counts back to 0.
    pub fn reset_stats(&self) {
        for worker in self.workers() {
            worker.stats.reset();
        }
        for count in [
            &self.observers.evicted,
            &self.observers.expired,
            &self.observers.expired_fields,
            &self.rejected_connections,
        ] {
            count.store(0, Ordering::Relaxed);
        }
        self.acl.denials.reset_counts();
        *self.cache_stats_base.lock() = self.keyspace.cache().stats();
    }

    /// The data threads; none before they have begun.
    pub fn workers(&self) -> &[Arc<WorkerHandle>] {
        self.observers.post.workers()
    }

    /// Wakes all data threads.
    pub fn wake_all(&self) {
        for worker in self.workers() {
            worker.mailbox.ring();
        }
    }

    /// Whether it serves clients.
    pub fn is_ready(&self) -> bool {
        !self.workers().is_empty() && !self.is_loading() && !self.is_ending.load(Ordering::Relaxed)
    }

    /// Ends the server: the data threads send what waits and close.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// The sum of one of the data threads' counts.
    pub fn total(&self, count: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.workers()
            .iter()
            .map(|worker| count(&worker.stats))
            .sum()
    }

    /// The number of commands run.
    pub fn commands_run(&self) -> u64 {
        self.total(|stats| {
            stats
                .commands
                .iter()
                .map(|command| command.calls.get())
                .sum()
        })
    }
}

/// Counters for every command of the table.
pub fn worker_stats() -> WorkerStats {
    WorkerStats::new(command::table().entries().len())
}
