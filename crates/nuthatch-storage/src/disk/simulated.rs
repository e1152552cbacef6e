//! A disk in memory that crashes, tears and fails on request.
//!
//! It keeps what [`Disk`] promises and not a bit more. A [crash](SimulatedDisk::crash) is that of the
//! machine: of what was not synced it leaves what a real disk might, sector by sector and name by name. An
//! end of the process alone is [`SimulatedDisk::kill`]: all is there as it was, but still only in the memory
//! of the system, so that a crash of the next process may take what that one has read. Between, operations
//! fail as [`Faults`] say.
//!
//! Everything follows from the generator that it is given: the same operations in the same order have the
//! same results. All of it is for tests; errors of use panic.
//!
//! ```
//! use nuthatch_storage::disk::Disk;
//! use nuthatch_storage::disk::simulated::{SimulatedDisk, is_crash};
//!
//! let disk = SimulatedDisk::new(fastrand::Rng::with_seed(7));
//! let mut file = disk.create("file")?;
//! file.append(b"kept, ")?;
//! file.sync()?;
//! disk.sync_names()?;
//! file.append(b"perhaps kept")?;
//!
//! let after = disk.crash();
//! assert!(is_crash(&file.sync().unwrap_err()));
//! assert!(after.bytes("file").unwrap().starts_with(b"kept, "));
//! # Ok::<(), std::io::Error>(())
//! ```

mod content;
mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;

use self::content::Content;
use self::names::{FileId, Names};
use super::{Claim, Disk, DiskFile};

/// A disk in memory. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
    /// Which of the processes that had the disk one after another this handle belongs to.
    process: u64,
}

/// What goes wrong from now on. Chances are those of one operation, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The chance that an append or a cut fails; of what was to be appended a part may be there.
    pub append: f64,
    /// The chance that a sync of a file fails; the system may then have given up what was not synced.
    pub sync: f64,
    /// The chance that creating, opening, renaming, removing or claiming fails, or the sync of names.
    pub names: f64,
    /// The chance that a read fails, or the listing of names, or the length of a file.
    pub read: f64,
    /// Appends that need more in all files together fail when it is reached.
    pub capacity_bytes: Option<u64>,
    /// Everything that writes fails.
    pub read_only: bool,
}

/// The disk is gone: the machine has crashed, or the process has ended.
#[derive(Clone, Copy, Debug, Error)]
#[error("the simulated machine has crashed")]
pub struct Crash;

/// An operation failed because faults were asked for.
#[derive(Clone, Copy, Debug, Error)]
#[error("a fault of the simulated disk")]
pub struct Fault;

/// Whether this is the error of an operation after a crash (and not one of the [`Faults`]).
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Crash>())
}

struct Shared {
    state: Mutex<State>,
    on_sync: Mutex<Option<Arc<Call>>>,
    on_read: Mutex<Option<Arc<Call>>>,
}

type Call = dyn Fn() + Send + Sync;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    rng: Rng,
    names: Names,
    files: BTreeMap<FileId, Content>,
    created: FileId,
    /// The process that has the disk now.
    process: u64,
    /// Whether the machine stands still, until someone calls `crash` or `kill`.
    stands_still: bool,
    claimed: bool,
    faults: Faults,
    operations: u64,
    syncs: u64,
    /// The number of the operation that fails, and of that in which the machine crashes.
    fail_at: Option<u64>,
    crash_at: Option<u64>,
}

/// How an operation goes.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Succeeds,
    Fails,
    /// The machine crashes before the operation is done, or right after.
    Crashes,
}

impl Fate {
    fn result<T>(self, value: T) -> io::Result<T> {
        match self {
            Self::Succeeds => Ok(value),
            Self::Fails => Err(io::Error::other(Fault)),
            Self::Crashes => Err(io::Error::other(Crash)),
        }
    }
}

impl State {
    /// Counts an operation, and decides how it goes.
    fn begin(&mut self, chance: impl Fn(&Faults) -> f64) -> Fate {
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.stands_still = true;
            Fate::Crashes
        } else if self.fail_at == Some(self.operations) || self.rng.f64() < chance(&self.faults) {
            Fate::Fails
        } else {
            Fate::Succeeds
        }
    }

    /// As `begin`, of an operation that writes.
    fn begin_write(&mut self, chance: impl Fn(&Faults) -> f64) -> io::Result<Fate> {
        let fate = self.begin(chance);
        if self.faults.read_only && fate == Fate::Succeeds {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(fate)
    }

    /// Whether an operation of this fate takes effect, where it does so as a whole or not at all.
    fn takes_effect(&mut self, fate: Fate) -> bool {
        fate == Fate::Succeeds || fate == Fate::Crashes && self.rng.bool()
    }

    fn find(&self, name: &str) -> io::Result<FileId> {
        let not_found = || io::Error::from(io::ErrorKind::NotFound);
        self.names.get(name).ok_or_else(not_found)
    }

    fn content(&mut self, file: FileId) -> &mut Content {
        self.files.get_mut(&file).expect("open files are kept")
    }

    fn named(&mut self, name: &str) -> &mut Content {
        let file = self
            .names
            .get(name)
            .unwrap_or_else(|| panic!("there is no file {name}"));
        self.content(file)
    }

    fn used_bytes(&self) -> u64 {
        let bytes = |(_, file)| self.files[&file].bytes().len() as u64;
        self.names.iter().map(bytes).sum()
    }

    fn change_process(&mut self) {
        self.files.retain(|file, _| self.names.needs(*file));
        self.process += 1;
        self.stands_still = false;
        self.claimed = false;
        self.fail_at = None;
        self.crash_at = None;
    }
}

impl SimulatedDisk {
    /// An empty disk, of which everything follows from `rng`.
    pub fn new(rng: Rng) -> Self {
        let state = State {
            rng,
            names: Names::default(),
            files: BTreeMap::new(),
            created: 0,
            process: 0,
            stands_still: false,
            claimed: false,
            faults: Faults::default(),
            operations: 0,
            syncs: 0,
            fail_at: None,
            crash_at: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            on_sync: Mutex::new(None),
            on_read: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
            process: 0,
        }
    }

    /// The state, if the machine runs and this handle's process is the one that it runs.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.state.lock();
        if state.stands_still || state.process != self.process {
            return Err(io::Error::other(Crash));
        }
        Ok(state)
    }

    /// The machine crashes: the disk as the next process finds it, with as much as a disk may have kept.
    /// Everything of this process fails from now on. Faults remain, but for those of single operations.
    ///
    /// # Panics
    ///
    /// If another process has the disk.
    pub fn crash(&self) -> Self {
        let mut state = self.last_process();
        let State {
            rng, names, files, ..
        } = &mut *state;
        *names = names.crash(rng);
        for content in files.values_mut() {
            *content = content.crash(rng);
        }
        state.change_process();
        self.next_process()
    }

    /// The process ends and the machine runs on: the disk as the next process finds it, with all that was
    /// written. What was not synced is not synced still. Otherwise as [`crash`](Self::crash).
    ///
    /// # Panics
    ///
    /// If another process has the disk.
    pub fn kill(&self) -> Self {
        let mut state = self.last_process();
        let State { rng, files, .. } = &mut *state;
        for content in files.values_mut() {
            content.kill(rng);
        }
        state.change_process();
        self.next_process()
    }

    fn last_process(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        assert_eq!(state.process, self.process, "another process has the disk");
        state
    }

    fn next_process(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            process: self.process + 1,
        }
    }

    /// From now on things go wrong so.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state.lock().faults = faults;
    }

    /// After so many more operations, one fails. Each call of [`Disk`] and [`DiskFile`] is an operation, and
    /// each call of `read`.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.shared.state.lock();
        state.fail_at = Some(state.operations + operations + 1);
    }

    /// After so many more operations, the machine crashes: in that operation, which may be done or not, and
    /// all after it fail with an error that [`is_crash`]. [`crash`](Self::crash) then tells what is left,
    /// [`kill`](Self::kill) what there would be if only the process had ended there.
    pub fn crash_after(&self, operations: u64) {
        let mut state = self.shared.state.lock();
        state.crash_at = Some(state.operations + operations + 1);
    }

    /// Whether operations of this handle fail because the machine has crashed, or the process has ended.
    pub fn has_crashed(&self) -> bool {
        self.state().is_err()
    }

    /// How many operations there were in all.
    pub fn operations(&self) -> u64 {
        self.shared.state.lock().operations
    }

    /// How many syncs of files succeeded.
    pub fn syncs(&self) -> u64 {
        self.shared.state.lock().syncs
    }

    /// Is called at the beginning of every sync of a file, which lasts as long as the call: so a test makes
    /// syncs slow by its own clock, or holds one up. Others use the disk meanwhile.
    pub fn on_sync(&self, call: impl Fn() + Send + Sync + 'static) {
        *self.shared.on_sync.lock() = Some(Arc::new(call));
    }

    /// As [`on_sync`](Self::on_sync), of every read from a file.
    pub fn on_read(&self, call: impl Fn() + Send + Sync + 'static) {
        *self.shared.on_read.lock() = Some(Arc::new(call));
    }

    /// What a file has, as processes read it.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.shared.state.lock();
        let file = state.names.get(name)?;
        Some(state.files[&file].bytes().to_vec())
    }

    /// All files by their names, as processes read them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.shared.state.lock();
        let content =
            |(name, file): (&str, _)| (name.to_owned(), state.files[&file].bytes().to_vec());
        state.names.iter().map(content).collect()
    }

    /// All files' lengths together.
    pub fn used_bytes(&self) -> u64 {
        self.shared.state.lock().used_bytes()
    }

    /// Damages a file: flips one bit, the lowest of the first byte being bit 0.
    ///
    /// # Panics
    ///
    /// If there is no such file, or no such bit in it.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        self.shared.state.lock().named(name).flip(bit);
    }

    /// Puts a file there with this content, or in place of what was there, synced and its name too.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.shared.state.lock();
        let file = state.names.get(name).unwrap_or_else(|| {
            state.created += 1;
            let created = state.created;
            state.names.create(name, created);
            created
        });
        state.names.sync();
        state.files.insert(file, Content::settled(bytes));
    }

    fn open_file(&self, file: FileId) -> Box<dyn DiskFile> {
        let disk = self.clone();
        Box::new(SimulatedFile { disk, file })
    }
}

impl Disk for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut state = self.state()?;
        let fate = state.begin(|faults| faults.read);
        let mut names: Vec<_> = state
            .names
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        state.rng.shuffle(&mut names);
        fate.result(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state()?;
        let fate = state.begin_write(|faults| faults.names)?;
        if state.names.get(name).is_some() {
            return fate
                .result(())
                .and(Err(io::ErrorKind::AlreadyExists.into()));
        }
        state.created += 1;
        let file = state.created;
        if state.takes_effect(fate) {
            state.names.create(name, file);
            state.files.insert(file, Content::default());
        }
        fate.result(self.open_file(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state()?;
        state.begin_write(|faults| faults.names)?.result(())?;
        Ok(self.open_file(state.find(name)?))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let mut state = self.state()?;
        state.begin(|faults| faults.read).result(())?;
        let file = state.find(name)?;
        let disk = self.clone();
        Ok(Box::new(SimulatedReader { disk, file, at: 0 }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let mut state = self.state()?;
        state.begin(|faults| faults.read).result(())?;
        let file = state.find(name)?;
        Ok(state.content(file).bytes().len() as u64)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.begin_write(|faults| faults.names)?;
        state.find(from)?;
        if state.takes_effect(fate) {
            state.names.rename(from, to);
        }
        fate.result(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.begin_write(|faults| faults.names)?;
        state.find(name)?;
        if state.takes_effect(fate) {
            state.names.remove(name);
        }
        fate.result(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.begin_write(|faults| faults.names)?;
        if state.takes_effect(fate) {
            state.names.sync();
        }
        fate.result(())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Claim>>> {
        let mut state = self.state()?;
        state.begin_write(|faults| faults.names)?.result(())?;
        if state.claimed {
            return Ok(None);
        }
        state.claimed = true;
        let disk = self.clone();
        Ok(Some(Box::new(SimulatedClaim { disk })))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileId,
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state()?;
        let fate = state.begin_write(|faults| faults.append)?;
        let mut len = bytes.len();
        if fate != Fate::Succeeds {
            len = state.rng.usize(0..=len);
        }
        let free = state
            .faults
            .capacity_bytes
            .map(|capacity| capacity.saturating_sub(state.used_bytes()));
        let is_full = free.is_some_and(|free| free < len as u64);
        if let Some(free) = free.filter(|_| is_full) {
            len = usize::try_from(free).expect("less than a length");
        }
        state.content(self.file).append(&bytes[..len]);
        fate.result(())?;
        if is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let on_sync = self.disk.shared.on_sync.lock().clone();
        if let Some(call) = on_sync {
            call();
        }
        let mut state = self.disk.state()?;
        let fate = state.begin_write(|faults| faults.sync)?;
        let takes_effect = state.takes_effect(fate);
        let State { rng, files, .. } = &mut *state;
        let content = files.get_mut(&self.file).expect("open files are kept");
        if takes_effect {
            content.sync();
        } else if fate == Fate::Fails {
            content.sync_in_vain(rng);
        }
        state.syncs += u64::from(fate == Fate::Succeeds);
        fate.result(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state()?;
        let fate = state.begin_write(|faults| faults.append)?;
        if state.takes_effect(fate) {
            let len = usize::try_from(len).expect("a length in memory");
            state.content(self.file).truncate(len);
        }
        fate.result(())
    }
}

struct SimulatedReader {
    disk: SimulatedDisk,
    file: FileId,
    at: usize,
}

impl Read for SimulatedReader {
    /// Sometimes gives less than it could, as every reader may.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let on_read = self.disk.shared.on_read.lock().clone();
        if let Some(call) = on_read {
            call();
        }
        let mut state = self.disk.state()?;
        state.begin(|faults| faults.read).result(())?;
        let State { rng, files, .. } = &mut *state;
        let rest = files[&self.file].bytes().get(self.at..).unwrap_or(&[]);
        let mut len = rest.len().min(buffer.len());
        if len > 1 && rng.u8(0..8) == 0 {
            len = rng.usize(1..len);
        }
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

#[derive(Debug)]
struct SimulatedClaim {
    disk: SimulatedDisk,
}

impl Claim for SimulatedClaim {}

impl Drop for SimulatedClaim {
    fn drop(&mut self) {
        let mut state = self.disk.shared.state.lock();
        // The next process's claim is not this one's to give back.
        if state.process == self.disk.process {
            state.claimed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SEEDS: u64 = 200;

    fn disk(seed: u64) -> SimulatedDisk {
        SimulatedDisk::new(Rng::with_seed(seed))
    }

    fn content(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        disk.read(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn names(disk: &dyn Disk) -> Vec<String> {
        let mut names = disk.names().unwrap();
        names.sort_unstable();
        names
    }

    #[test]
    fn files_behave_as_those_of_a_directory() {
        let disk = disk(1);
        let mut file = disk.create("a").unwrap();
        file.append(b"onetwo").unwrap();
        assert_eq!(
            disk.create("a").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(disk.open("b").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            disk.remove("b").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            disk.rename("b", "a").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let mut file = disk.open("a").unwrap();
        file.append(b"three").unwrap();
        file.truncate(4).unwrap();
        file.append(b"!").unwrap();
        assert_eq!(content(&disk, "a").unwrap(), b"onet!");
        assert_eq!(disk.len("a").unwrap(), 5);
        disk.create("b").unwrap();
        disk.rename("a", "b").unwrap();
        assert_eq!(names(&disk), ["b"]);
        file.append(b"?").unwrap();
        assert_eq!(content(&disk, "b").unwrap(), b"onet!?");
        disk.remove("b").unwrap();
        assert_eq!(names(&disk), [""; 0]);
    }

    #[test]
    fn what_is_synced_survives_and_what_is_not_may() {
        let (mut with, mut without) = (0, 0);
        for seed in 0..SEEDS {
            let disk = disk(seed);
            let mut file = disk.create("kept").unwrap();
            file.append(b"kept").unwrap();
            file.sync().unwrap();
            disk.sync_names().unwrap();
            disk.create("perhaps").unwrap();
            let after = disk.crash();
            assert_eq!(content(&after, "kept").unwrap(), b"kept");
            match names(&after).as_slice() {
                [kept] if kept == "kept" => without += 1,
                [_, perhaps] if perhaps == "perhaps" => with += 1,
                other => panic!("{other:?}"),
            }
            let again = after.crash();
            assert_eq!(
                names(&again),
                names(&again.kill().crash()),
                "settled by the first"
            );
        }
        assert!(with > 0 && without > 0);
    }

    #[test]
    fn after_the_end_of_the_process_all_is_there_and_a_crash_may_still_take_it() {
        let mut lost = 0;
        for seed in 0..SEEDS {
            let disk = disk(seed);
            let mut file = disk.create("a").unwrap();
            disk.sync_names().unwrap();
            file.append(&[1; 2_000]).unwrap();
            let next = disk.kill();
            assert!(is_crash(&file.append(b"late").unwrap_err()));
            assert_eq!(content(&next, "a").unwrap(), [1; 2_000]);
            let last = next.crash();
            lost += u64::from(content(&last, "a").unwrap() != [1; 2_000]);
        }
        assert!(lost > 0);
        assert!(lost < SEEDS);
    }

    #[test]
    fn everything_of_a_process_fails_after_the_crash() {
        let disk = disk(1);
        let mut file = disk.create("a").unwrap();
        file.append(b"x").unwrap();
        let mut reader = disk.read("a").unwrap();
        assert!(!disk.has_crashed());
        let after = disk.crash();
        assert!(disk.has_crashed() && !after.has_crashed());
        let errors = [
            file.append(b"x").unwrap_err(),
            file.sync().unwrap_err(),
            file.truncate(0).unwrap_err(),
            reader.read(&mut [0; 4]).unwrap_err(),
            disk.names().unwrap_err(),
            disk.create("b").unwrap_err(),
            disk.sync_names().unwrap_err(),
            disk.lock().unwrap_err(),
        ];
        assert!(errors.iter().all(is_crash));
    }

    #[test]
    fn crash_in_an_operation_stops_the_machine_there() {
        let (mut done, mut undone) = (0, 0);
        for seed in 0..SEEDS {
            let disk = disk(seed);
            let mut file = disk.create("a").unwrap();
            disk.sync_names().unwrap();
            file.append(b"x").unwrap();
            disk.crash_after(1);
            disk.len("a").unwrap();
            assert!(is_crash(&file.sync().unwrap_err()));
            assert!(is_crash(&disk.names().unwrap_err()));
            let after = disk.crash();
            match content(&after, "a").unwrap().as_slice() {
                b"x" => done += 1,
                _ => undone += 1,
            }
        }
        assert!(done > 0 && undone > 0);
    }

    #[test]
    fn operation_that_is_to_fail_fails_alone() {
        let disk = disk(1);
        let mut file = disk.create("a").unwrap();
        disk.fail_after(1);
        file.append(b"x").unwrap();
        let error = file.append(&[1; 100]).unwrap_err();
        assert!(!is_crash(&error) && error.get_ref().unwrap().is::<Fault>());
        let part = disk.len("a").unwrap() - 1;
        assert!(part <= 100);
        file.append(b"y").unwrap();
        assert_eq!(disk.len("a").unwrap(), part + 2);
    }

    #[test]
    fn faults_by_chance_hit_the_operations_that_they_name() {
        let disk = disk(3);
        let mut file = disk.create("a").unwrap();
        let count = |faults: Faults, operation: &mut dyn FnMut() -> bool| {
            disk.set_faults(faults);
            let failed = (0..1_000).filter(|_| !operation()).count();
            disk.set_faults(Faults::default());
            failed
        };
        let append = Faults {
            append: 0.5,
            ..Faults::default()
        };
        let sync = Faults {
            sync: 0.5,
            ..Faults::default()
        };
        let names = Faults {
            names: 0.5,
            ..Faults::default()
        };
        let read = Faults {
            read: 0.5,
            ..Faults::default()
        };
        for (faults, hit) in [(append, 0), (sync, 1), (names, 2), (read, 3)] {
            let failed = [
                count(faults, &mut || file.append(b"x").is_ok()),
                count(faults, &mut || file.sync().is_ok()),
                count(faults, &mut || disk.sync_names().is_ok()),
                count(faults, &mut || disk.names().is_ok()),
            ];
            for (operation, failed) in failed.into_iter().enumerate() {
                let expected = if operation == hit { 400..600 } else { 0..1 };
                assert!(
                    expected.contains(&failed),
                    "{faults:?}: {operation} failed {failed} times"
                );
            }
        }
    }

    #[test]
    fn full_disk_takes_what_fits_until_something_is_removed() {
        let disk = disk(1);
        let capacity_bytes = Some(10);
        disk.set_faults(Faults {
            capacity_bytes,
            ..Faults::default()
        });
        disk.create("old").unwrap().append(&[0; 4]).unwrap();
        let mut file = disk.create("a").unwrap();
        let error = file.append(&[1; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.used_bytes(), 10);
        assert_eq!(content(&disk, "a").unwrap(), [1; 6]);
        disk.remove("old").unwrap();
        file.append(&[2; 4]).unwrap();
        assert!(file.append(b"x").is_err());
    }

    #[test]
    fn read_only_disk_can_be_read() {
        let disk = disk(1);
        disk.put("a", b"text".to_vec());
        let mut file = disk.open("a").unwrap();
        disk.set_faults(Faults {
            read_only: true,
            ..Faults::default()
        });
        let refused = [
            disk.create("b").unwrap_err(),
            disk.remove("a").unwrap_err(),
            disk.lock().unwrap_err(),
            file.append(b"x").unwrap_err(),
            file.truncate(0).unwrap_err(),
        ];
        let kind = io::ErrorKind::ReadOnlyFilesystem;
        assert!(refused.iter().all(|error| error.kind() == kind));
        assert_eq!(content(&disk, "a").unwrap(), b"text");
    }

    #[test]
    fn one_at_a_time_has_the_claim_and_a_crash_ends_it() {
        let disk = disk(1);
        let claim = disk.lock().unwrap().unwrap();
        assert!(disk.lock().unwrap().is_none());
        drop(claim);
        let lost = disk.lock().unwrap().unwrap();
        let after = disk.crash();
        let claim = after.lock().unwrap().unwrap();
        drop(lost);
        assert!(
            after.lock().unwrap().is_none(),
            "the dead process gave back its own claim only"
        );
        drop(claim);
        assert!(after.lock().unwrap().is_some());
    }

    #[test]
    fn sync_lasts_as_long_as_the_call_at_its_beginning() {
        let disk = disk(1);
        let clock = Arc::new(AtomicU64::new(0));
        let (inner, slow) = (disk.clone(), Arc::clone(&clock));
        disk.on_sync(move || {
            // The disk is not held meanwhile.
            inner.names().unwrap();
            slow.fetch_add(100, Ordering::Relaxed);
        });
        let mut file = disk.create("a").unwrap();
        file.append(b"x").unwrap();
        file.sync().unwrap();
        assert_eq!(clock.load(Ordering::Relaxed), 100);
        assert_eq!(disk.syncs(), 1);
    }

    #[test]
    fn damage_is_read_and_lasts() {
        let disk = disk(1);
        disk.put("a", vec![0; 4]);
        disk.flip_bit("a", 9);
        assert_eq!(disk.bytes("a").unwrap(), [0, 2, 0, 0]);
        let after = disk.crash();
        assert_eq!(content(&after, "a").unwrap(), [0, 2, 0, 0]);
        after.put("a", b"cut".to_vec());
        assert_eq!(after.crash().bytes("a").unwrap(), b"cut");
    }

    #[test]
    fn same_seed_and_operations_have_the_same_results() {
        let run = |seed| {
            let disk = disk(seed);
            disk.set_faults(Faults {
                append: 0.2,
                sync: 0.2,
                ..Faults::default()
            });
            let mut file = disk.create("a").unwrap();
            let mut outcomes = Vec::new();
            for byte in 0..100 {
                outcomes.push(file.append(&[byte; 99]).is_ok());
                outcomes.push(file.sync().is_ok());
            }
            (outcomes, disk.crash().bytes("a"))
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
