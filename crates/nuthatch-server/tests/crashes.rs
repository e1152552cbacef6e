//! Crashes of a server's durability on a simulated disk: the keyspace, the journal, what keeps the log and what
//! writes snapshots are real, only threads and the disk are not.
//!
//! A life begins with what the last crash has left, changes keys at random, steps the log and snapshots in
//! between, meets faults, and ends in a crash at a random operation of the disk, sometimes during recovery
//! itself. After every change all that the keyspace holds is noted with the journal's sequence; after the crash
//! the keyspace must hold exactly what was noted with the sequence that recovery tells: every group whole or
//! not at all. And that sequence must be
//!
//! - with `always`: at or after all that was acknowledged;
//! - with `everysec`: such that what is lost was written within one second;
//! - in any case at or after all that was synced, and all that a former life has served.
//!
//! `NUTHATCH_CRASHES` says how many; a failure tells the seed of its row of lives, which
//! `NUTHATCH_CRASH_SEED` runs alone. The keyspace's hashes are seeded by the system, so where keys are evicted a row
//! may have to be run several times before it fails again.
#![forbid(unsafe_code)]

use fastrand::Rng;
use nuthatch_server::clock;
use nuthatch_server::config::{Config, MemoryPolicy, SettingValue, SyncPolicy};
use nuthatch_server::durability::{Admission, Durability, LoadError, LogKeeper, LogOrder, Saver};
use nuthatch_server::hash::{FieldView, FlatBuffer, OpenHash};
use nuthatch_server::keyspace::{Effect, Keyspace, NewString, View};
use nuthatch_server::object::Value;
use nuthatch_server::observers::Observers;
use nuthatch_server::stamp::Stamp;
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::disk::simulated::{Faults, SimulatedDisk};
use nuthatch_storage::{Sequence, StorageError};
use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Crashes where the environment does not say how many.
const CRASHES: u64 = 400;
/// Lives on one disk, one after another.
const LIVES: u64 = 8;
/// Different keys.
const KEYS: u64 = 40;
/// With `everysec`: over how long a time what is lost may have been written. Beside the second, a look may come
/// late by a step of this test's clock.
const LOST_WITHIN_MS: u64 = 1000 + 2 * LONGEST_STEP_MS;
const LONGEST_STEP_MS: u64 = 100;

/// What a key holds, for comparison.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    String(Vec<u8>, Option<Stamp>, bool),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>),
}

/// All keys, what they hold, and when they expire.
type Contents = BTreeMap<Vec<u8>, (Held, Option<u64>)>;

fn contents(keyspace: &Keyspace) -> Contents {
    let mut contents = Contents::new();
    let mut cursor = 0;
    loop {
        cursor = keyspace.scan(cursor, 1000, |view| {
            contents.insert(view.key.to_vec(), (held(&view), view.deadline_ms()));
        });
        if cursor == 0 {
            return contents;
        }
    }
}

fn held(view: &View<'_>) -> Held {
    match view.value {
        Value::String(bytes) => {
            Held::String(bytes.to_vec(), view.stamp(), view.is_changed_string())
        }
        Value::Hash(hash) => {
            let mut fields = BTreeMap::new();
            let mut add = |field: FieldView<'_>| {
                let value = (field.value.to_vec(), field.deadline_ms);
                fields.insert(field.name.to_vec(), value);
            };
            match hash.open() {
                OpenHash::Flat(flat) => flat.fields().for_each(&mut add),
                OpenHash::Indexed(indexed) => indexed.fields().for_each(&mut add),
            }
            Held::Hash(fields)
        }
    }
}

/// What is left of contents at that time.
fn live(contents: &Contents, now_ms: u64) -> Contents {
    let is_live = |deadline_ms: Option<u64>| deadline_ms.is_none_or(|ms| now_ms < ms);
    let mut live = contents.clone();
    live.retain(|_, (held, deadline_ms)| {
        let has_any = match held {
            Held::String(..) => true,
            Held::Hash(fields) => {
                fields.retain(|_, (_, deadline_ms)| is_live(*deadline_ms));
                !fields.is_empty()
            }
        };
        has_any && is_live(*deadline_ms)
    });
    live
}

fn has_deadline((held, deadline_ms): &(Held, Option<u64>)) -> bool {
    let in_hash = match held {
        Held::String(..) => false,
        Held::Hash(fields) => fields
            .values()
            .any(|(_, deadline_ms)| deadline_ms.is_some()),
    };
    in_hash || deadline_ms.is_some()
}

/// What the keyspace held after a change.
#[derive(Clone, Debug)]
struct State {
    /// The sequence of the next change.
    end: Sequence,
    /// When the change was made, by the steady clock.
    time_ms: u64,
    contents: Contents,
}

/// One disk, and what happened on it.
struct World {
    rng: Rng,
    disk: SimulatedDisk,
    policy: SyncPolicy,
    /// Bytes that the keyspace may hold; few enough for evictions in some worlds.
    capacity_bytes: u64,
    now_ms: u64,
    /// What a clock tells that nobody sets.
    steady_ms: u64,
    /// Whether the clock was ever set back. What had expired may then be there again in the former process, or in the
    /// next, or in both, so only what has no deadline is compared.
    was_set_back: bool,
    /// In the order of their sequences; the first is what there was at the beginning.
    states: Vec<State>,
    /// All before this must survive.
    safe: Sequence,
    /// What syncs of the disk take.
    sync_ms: Arc<AtomicU64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let disk = SimulatedDisk::new(Rng::with_seed(rng.u64(..)));
        let sync_ms = Arc::new(AtomicU64::new(0));
        let owed_ms = Arc::clone(&sync_ms);
        let slow = Rng::with_seed(rng.u64(..)).u64(0..4) * 40;
        disk.on_sync(move || {
            owed_ms.fetch_add(slow, Ordering::Relaxed);
        });
        let policy = SyncPolicy::ALL[rng.usize(0..3)];
        let capacity_bytes = if rng.u8(0..3) == 0 { 6_000 } else { 1 << 30 };
        let now_ms = 1_700_000_000_000;
        let first = State {
            end: 0,
            time_ms: 1,
            contents: Contents::new(),
        };
        Self {
            rng,
            disk,
            policy,
            capacity_bytes,
            now_ms,
            steady_ms: 1,
            was_set_back: false,
            states: vec![first],
            safe: 0,
            sync_ms,
        }
    }

    fn evicts(&self) -> bool {
        self.capacity_bytes < 1 << 20
    }

    fn advance(&mut self, ms: u64) {
        // Deadlines are odd, so that none is just now.
        let slow_ms = self.sync_ms.swap(0, Ordering::Relaxed);
        let ms = (ms + slow_ms) / 2 * 2;
        self.now_ms += ms;
        self.steady_ms += ms;
        self.keep_time();
    }

    fn keep_time(&self) {
        clock::pretend(self.now_ms);
        clock::pretend_steady(self.steady_ms);
    }

    /// Somebody sets the clock.
    fn set_clock(&mut self) {
        let ms = 2 * self.rng.u64(0..20_000);
        if self.rng.bool() {
            self.now_ms += ms;
        } else {
            self.now_ms -= ms;
            self.was_set_back = true;
        }
        self.keep_time();
    }

    /// The next process has the disk as a crash has left it.
    fn crash(&mut self) {
        self.disk = if self.rng.u8(0..5) == 0 {
            self.disk.kill()
        } else {
            self.disk.crash()
        };
        self.disk.set_faults(Faults::default());
    }

    /// From the start of a process to its crash.
    fn live(&mut self) {
        // Some machines are down for longer than keys live.
        let down_ms = [2, self.rng.u64(0..5000)][self.rng.usize(0..2)];
        self.advance(down_ms);
        if self.rng.u8(0..4) == 0 {
            self.disk.crash_after(self.rng.u64(0..40));
        }
        match self.try_to_live() {
            Ok(()) => {}
            // A start that fails tells of a crash in the middle of it, and of nothing else.
            Err(LoadError::Storage(StorageError::Io { .. })) if self.disk.has_crashed() => {}
            Err(error) => panic!("what a crash has left cannot be recovered: {error}"),
        }
        self.crash();
    }

    fn try_to_live(&mut self) -> Result<(), LoadError> {
        let data = DataDir::open(Arc::new(self.disk.clone()))?;
        let policy = MemoryPolicy::from_text("allkeys-lru").expect("a policy");
        let keyspace = Keyspace::new(2, self.capacity_bytes, &policy, |_, _| ()).expect("a bound");
        keyspace.flat_limits.set(4, 16);
        let config = Config {
            data_dir: "simulated".to_owned(),
            appendfsync: self.policy,
            ..Config::default()
        };
        let journal = Arc::clone(keyspace.journal());
        let observers = Arc::new(Observers::default());
        let (now_ms, seed) = (self.now_ms, self.rng.u64(..));
        let durability = Durability::new(data, &config, 1 << 30, journal, observers, now_ms, seed);
        let loaded = durability.load(&keyspace, 2, &|| true)?;
        let next = loaded.recovered.next;
        self.keep_time();
        self.check(&keyspace, next);
        let keeper = durability.begin(&keyspace, &loaded, self.now_ms)?;
        // What was recovered is served from now on, so no crash may take it again.
        self.safe = self.safe.max(next);
        self.note(&keyspace, self.steady_ms);
        let mut life = Life {
            world: self,
            keyspace: &keyspace,
            durability: &durability,
            keeper,
            saver: None,
            at: 0,
            points: Vec::new(),
            hangs: false,
        };
        life.run();
        Ok(())
    }

    /// Compares what was recovered with what was there, and forgets what is lost.
    fn check(&mut self, keyspace: &Keyspace, next: Sequence) {
        assert!(
            next >= self.safe,
            "recovered up to {next}, and {} was safe",
            self.safe
        );
        let is_kept = |state: &State| state.end <= next;
        let kept = self.states.partition_point(is_kept);
        let state = &self.states[kept - 1];
        assert_eq!(state.end, next, "the end is within a group");
        let (mut expected, mut found) = (
            live(&state.contents, self.now_ms),
            live(&contents(keyspace), self.now_ms),
        );
        if self.was_set_back {
            expected.retain(|_, entry| !has_deadline(entry));
            found.retain(|key, entry| expected.contains_key(key) || !has_deadline(entry));
        }
        if self.evicts() {
            // Loading may evict other keys than the former process has, and no more than that.
            for (key, held) in &found {
                assert_eq!(expected.get(key), Some(held), "{}", key.escape_ascii());
            }
        } else {
            assert_eq!(found, expected, "at {next}");
        }
        if self.policy == SyncPolicy::EverySec
            && let (Some(first_lost), Some(last)) = (self.states.get(kept), self.states.last())
        {
            let span_ms = last.time_ms - first_lost.time_ms;
            assert!(
                span_ms <= LOST_WITHIN_MS,
                "the writes of {span_ms} ms are lost"
            );
        }
        self.states.truncate(kept);
        keyspace.cache().validate();
    }

    /// Notes what the keyspace holds after a command that was run at `time_ms`.
    fn note(&mut self, keyspace: &Keyspace, time_ms: u64) {
        let state = State {
            end: keyspace.journal().end(),
            time_ms,
            contents: contents(keyspace),
        };
        match self.states.last_mut() {
            // What changes nothing leaves no record.
            Some(last) if last.end == state.end => last.contents = state.contents,
            _ => self.states.push(state),
        }
    }
}

/// A process.
struct Life<'a> {
    world: &'a mut World,
    keyspace: &'a Keyspace,
    durability: &'a Durability,
    keeper: LogKeeper,
    saver: Option<Saver<'a>>,
    /// The sequence of the snapshot that is being written.
    at: Sequence,
    /// Where replies wait for a sync.
    points: Vec<Sequence>,
    /// Whether the disk hangs, and the log's thread with it.
    hangs: bool,
}

impl Life<'_> {
    fn run(&mut self) {
        for _ in 0..self.world.rng.u64(1..200) {
            if self.world.disk.has_crashed() {
                return;
            }
            match self.world.rng.u8(0..100) {
                0..55 => self.write(),
                55..70 => {
                    let ms = self.world.rng.u64(0..=LONGEST_STEP_MS);
                    self.world.advance(ms);
                    self.step();
                }
                70..80 => self.step(),
                80..93 if !self.hangs => self.save(),
                80..93 => {}
                93..95 => self.hangs = !self.hangs,
                95..97 => self.break_something(),
                97 => self.world.disk.set_faults(Faults::default()),
                98 if self.world.rng.u8(0..4) == 0 => self.world.set_clock(),
                98 => {}
                _ => {
                    let operations = self.world.rng.u64(0..20);
                    self.world.disk.crash_after(operations);
                }
            }
            self.durability.review();
        }
    }

    /// What the log's thread does when it wakes, which it does when it has said it would.
    fn step(&mut self) {
        if self.hangs {
            return;
        }
        while let Some(wait_ms) = self.keeper.step(self.durability, self.world.now_ms)
            && wait_ms == 0
            && !self.world.disk.has_crashed()
        {}
        self.world.advance(0);
        self.look_what_is_safe();
    }

    fn look_what_is_safe(&mut self) {
        if self.world.disk.has_crashed() {
            // What the last operation has done, nobody was told.
            return;
        }
        let synced = self.keyspace.journal().synced();
        self.world.safe = self.world.safe.max(synced);
        let (durability, safe) = (self.durability, &mut self.world.safe);
        self.points
            .retain(|&point| match durability.may_acknowledge(point) {
                Some(true) => {
                    *safe = (*safe).max(point);
                    false
                }
                Some(false) => true,
                // The connection is closed without a reply.
                None => false,
            });
    }

    fn break_something(&mut self) {
        let rng = &mut self.world.rng;
        let mut chance = || [0.0, 0.0, 0.3, 1.0][rng.usize(0..4)];
        let (append, sync, names) = (chance(), chance(), chance());
        let faults = Faults {
            append,
            sync,
            names,
            ..Faults::default()
        };
        self.world.disk.set_faults(faults);
    }

    /// Goes on with a snapshot, or begins one.
    fn save(&mut self) {
        let now_ms = self.world.now_ms;
        let Some(saver) = &mut self.saver else {
            // A segment that cannot be written to cannot be followed, and a server tries again later.
            if let Ok(at) = self.keeper.obey(self.durability, LogOrder::Begin, now_ms) {
                self.at = at;
                // A log that is begun anew begins at a sequence of its own, and nothing has changed.
                let last = self.world.states.last().expect("the first is never lost");
                self.world.note(self.keyspace, last.time_ms);
                match self.durability.data().begin_snapshot(at, now_ms) {
                    Ok(writer) => self.saver = Some(Saver::new(self.keyspace, writer, at)),
                    Err(_) => self.abandon(),
                }
            }
            self.look_what_is_safe();
            return;
        };
        let keys = self.world.rng.usize(1..12);
        match saver.step(keys) {
            Ok(true) => self.finish_save(),
            Ok(false) => {}
            Err(_) => self.abandon(),
        }
    }

    fn finish_save(&mut self) {
        let now_ms = self.world.now_ms;
        let saver = self.saver.take().expect("it is under way");
        let synced = self.keeper.obey(self.durability, LogOrder::Sync, now_ms);
        let saved = synced.and_then(|synced| saver.finish(synced));
        if saved.is_err() {
            self.abandon();
            return;
        }
        let counted = self.keeper.obey(self.durability, LogOrder::Count, now_ms);
        counted.expect("counting writes nothing");
        self.look_what_is_safe();
        if self.durability.data().remove_before(self.at).is_err() {
            // The next one removes it.
        }
    }

    fn abandon(&mut self) {
        self.saver = None;
        let now_ms = self.world.now_ms;
        let abandoned = self.keeper.obey(self.durability, LogOrder::Abandon, now_ms);
        abandoned.expect("abandoning needs no disk");
    }

    /// One command, if commands that write are taken at present.
    fn write(&mut self) {
        if self.durability.admission() != Admission::Open {
            return;
        }
        if self.keeper.is_broken() {
            return;
        }
        let group = self.keyspace.journal().group();
        for _ in 0..[1, 1, 1, 2, 4][self.world.rng.usize(0..5)] {
            self.change();
            if self.world.rng.u8(0..8) == 0 {
                // The log's thread does not wait for commands to end.
                self.step();
            }
        }
        drop(group);
        self.keyspace.log_evictions();
        self.points.extend(self.durability.commit_point());
        if self.keeper.is_broken() {
            // The log has ended meanwhile. Only a snapshot will have what was changed.
            self.look_what_is_safe();
            return;
        }
        self.world.note(self.keyspace, self.world.steady_ms);
        if self.world.policy == SyncPolicy::Always && self.world.rng.bool() {
            self.step();
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key-{}", self.world.rng.u64(0..KEYS)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let rng = &mut self.world.rng;
        let length = [0, 1, 20, 300][rng.usize(0..4)];
        (0..length).map(|_| rng.u8(..)).collect()
    }

    fn deadline(&mut self) -> Option<u64> {
        let rng = &mut self.world.rng;
        rng.bool()
            .then(|| self.world.now_ms + 1 + 2 * rng.u64(0..2000))
    }

    /// Makes one change of any kind.
    fn change(&mut self) {
        let (key, value, deadline_ms) = (self.key(), self.value(), self.deadline());
        let names: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"a longer name of a field"];
        let chosen = &names[self.world.rng.usize(0..5)..];
        let kind = self.world.rng.u8(0..40);
        let effect = match kind {
            0..8 => Effect::Put {
                key: &key,
                parts: &[&value],
                deadline_ms,
            },
            8..10 => Effect::Put {
                key: &key,
                parts: &[&value, b"and more"],
                deadline_ms,
            },
            10..14 => {
                let stamp = Stamp {
                    cas: self.world.rng.u64(..),
                    flags: self.world.rng.u32(0..2),
                    is_stale: self.world.rng.bool(),
                    ..Stamp::default()
                };
                let effect = Effect::PutStamped {
                    key: &key,
                    parts: &[&value],
                    stamp,
                    deadline_ms,
                };
                self.apply(effect);
                return;
            }
            14..16 => {
                let other = self.key();
                let strings = [&key, &other].map(|key| NewString {
                    key,
                    bytes: &value,
                    deadline_ms,
                });
                self.apply(Effect::PutAll { strings: &strings });
                return;
            }
            16..18 => {
                let mut flat = FlatBuffer::with_capacity(64);
                for name in chosen {
                    flat.push(self.field(name, &value));
                }
                let fields = flat.as_hash();
                self.apply(Effect::PutHash {
                    key: &key,
                    fields,
                    deadline_ms,
                });
                return;
            }
            18..26 => {
                let fields: Vec<FieldView<'_>> =
                    chosen.iter().map(|name| self.field(name, &value)).collect();
                self.apply(Effect::HashSet {
                    key: &key,
                    fields: &fields,
                });
                return;
            }
            26..29 => Effect::HashDelete {
                key: &key,
                fields: chosen,
            },
            29..31 => {
                let live: Vec<&[u8]> = chosen
                    .iter()
                    .copied()
                    .filter(|name| self.is_live(&key, name))
                    .collect();
                if !live.is_empty() {
                    self.apply(Effect::HashExpire {
                        key: &key,
                        fields: &live,
                        deadline_ms,
                    });
                }
                return;
            }
            31..35 => Effect::Delete { key: &key },
            35..39 => Effect::Expire {
                key: &key,
                deadline_ms,
            },
            _ if self.world.rng.u8(0..4) == 0 => Effect::Clear,
            _ => return,
        };
        self.apply(effect);
    }

    fn field<'f>(&mut self, name: &'f [u8], value: &'f [u8]) -> FieldView<'f> {
        FieldView {
            name,
            value,
            deadline_ms: self.deadline(),
        }
    }

    /// Whether the field is there and not due: commands give no other a deadline.
    fn is_live(&self, key: &[u8], name: &[u8]) -> bool {
        let now_ms = self.world.now_ms;
        let look = |view: View<'_>| {
            let hash = view.hash().ok()?;
            Some(hash.open().get(name, now_ms).is_some())
        };
        self.keyspace.peek(key, look).flatten().unwrap_or(false)
    }

    fn apply(&mut self, effect: Effect<'_>) {
        let applied = self.keyspace.apply(effect);
        applied.expect("what does not fit has others evicted");
    }
}

#[test]
fn no_crash_takes_what_was_promised_nor_brings_back_what_was_overwritten() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
    let rows = match number("NUTHATCH_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            0..number("NUTHATCH_CRASHES")
                .unwrap_or(CRASHES)
                .div_ceil(LIVES)
        }
    };
    for seed in rows {
        let lives = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..LIVES {
                world.live();
            }
        });
        if let Err(panic) = lives {
            eprintln!("NUTHATCH_CRASH_SEED={seed} runs these lives alone");
            std::panic::resume_unwind(panic);
        }
    }
}
