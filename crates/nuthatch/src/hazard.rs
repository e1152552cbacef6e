//! Hazard pointers: how a reader that takes no lock keeps what it looks at alive.
//!
//! A reader *protects* an address by writing it into a cell of its own thread's record, makes that
//! write visible (the light barrier), and then checks that the address can still be reached. A
//! writer *retires* an address by making it unreachable first; it may reuse the memory once a
//! [`Snapshot`] that was begun after that holds no cell with the address in it. Either the
//! snapshot sees the reader's cell, or the reader's check sees that the address is gone.
//!
//! ```text
//!   reader                                writer
//!   cell = address                        unlink address
//!   light barrier                         stamp = domain.stamp()
//!   still linked?  no: try again          ... later ...
//!   use it                                snapshot(stamp): heavy barrier, read all cells
//!   cell = 0                              address in no cell: reuse it
//! ```
//!
//! Hazard pointers (Michael, "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects",
//! IEEE TPDS 2004) rather than epochs, because a reader that the system has put to sleep in the
//! middle of a read then holds back one entry, not all that are removed meanwhile: with a thousand
//! threads on two cores there is always such a reader.
//!
//! The two barriers together must order the reader's store before its check and the writer's
//! unlink before its look at the cells. On Linux the light one is free (it only keeps the compiler
//! from reordering) and the heavy one is the `membarrier` system call, which runs a full barrier
//! on every core that runs a thread of this process; elsewhere, and where that call is refused,
//! both are sequentially consistent fences. A heavy barrier costs microseconds, so snapshots are
//! shared: one serves all shards of all caches for whatever they retired before it began.
//!
//! Sharing is why a stamp needs a full fence. The snapshot may be taken by a third thread, whose
//! heavy barrier reaches the cores one after the other: without the fence the unlinking store
//! could wait in the writer's store buffer while a reader, whose core the barrier has already
//! passed, protects the entry and finds it linked, and the snapshot would miss that reader.
#![expect(unsafe_code, reason = "records are shared by address and never freed")]

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, MutexGuard};
use std::marker::PhantomData;
use std::ptr::null_mut;

/// Pairs of cells in a record: how many protections one thread can hold before it needs another
/// record. So many fill two cache lines together with the record's own fields.
const PAIRS: usize = if cfg!(loom) { 2 } else { 6 };

/// [`Record::free`] if no pair is in use.
const ALL_FREE: usize = (1 << PAIRS) - 1;

/// Two cells: the table being probed, and the entry found in it.
#[derive(Debug)]
struct Pair {
    table: AtomicUsize,
    entry: AtomicUsize,
}

/// The cells of one thread. Records are never freed, only handed on; a new thread takes over the
/// record of one that has ended.
///
/// In this order: what a read writes, with the first pairs, is one cache line.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Record {
    /// Bit i is set while pair i is free. Written only by the thread that took the pairs, hence
    /// never contended; an atomic because the next owner may be another thread.
    free: AtomicUsize,
    index: usize,
    pairs: [Pair; PAIRS],
    next: AtomicPtr<Record>,
    owned: AtomicBool,
}

/// All records, and the newest snapshot of their cells.
#[derive(Debug)]
pub(crate) struct Domain {
    head: AtomicPtr<Record>,
    records: AtomicUsize,
    /// How many snapshots have been begun.
    begun: AtomicU64,
    newest: Mutex<Snapshot>,
}

/// Every address that was protected at one moment. Tables and entries are kept apart: a table's cell
/// may hold an address that has long been freed, and must not hold back an entry that lives there
/// now.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    number: u64,
    tables: Vec<usize>,
    entries: Vec<usize>,
}

impl Snapshot {
    /// Whether some reader may still look at the table at `address`.
    pub(crate) fn protects_table(&self, address: usize) -> bool {
        self.tables.binary_search(&address).is_ok()
    }

    /// Whether some reader may still look at any entry.
    pub(crate) fn protects_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether some reader may still look at the entry at `address`.
    pub(crate) fn protects_entry(&self, address: usize) -> bool {
        self.entries.binary_search(&address).is_ok()
    }
}

impl Domain {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
            records: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            newest: Mutex::new(Snapshot {
                number: 0,
                tables: Vec::new(),
                entries: Vec::new(),
            }),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
            records: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            newest: Mutex::new(Snapshot::default()),
        }
    }

    /// A record that belongs to the caller until it calls [`Record::release`].
    pub(crate) fn acquire(&self) -> &Record {
        barrier::choose();
        let mut next = self.head.load(Ordering::Acquire);
        // SAFETY: records are leaked on creation, so a pointer from the list is valid for as long
        // as the process (in a model: the domain) lives.
        while let Some(record) = unsafe { next.as_ref() } {
            // Acquire: pairs with the Release in `release`.
            if !record.owned.load(Ordering::Relaxed)
                && record
                    .owned
                    .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                // A guard may outlive its thread's ownership (in another thread-local variable),
                // or was leaked: such a record belongs to nobody until all its cells are free.
                // Acquire: pairs with the Release in `put`, so that the last owner's stores to
                // the cells come before ours.
                if record.free.load(Ordering::Acquire) == ALL_FREE {
                    return record;
                }
                record.owned.store(false, Ordering::Release);
            }
            next = record.next.load(Ordering::Relaxed);
        }
        let record = Box::into_raw(Box::new(Record {
            pairs: std::array::from_fn(|_| Pair {
                table: AtomicUsize::new(0),
                entry: AtomicUsize::new(0),
            }),
            free: AtomicUsize::new(ALL_FREE),
            owned: AtomicBool::new(true),
            index: self.records.fetch_add(1, Ordering::Relaxed),
            next: AtomicPtr::new(null_mut()),
        }));
        // SAFETY: just made from a box, and leaked for good.
        let shared = unsafe { &*record };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            shared.next.store(head, Ordering::Relaxed);
            // Release: publishes the record's contents to whoever walks the list.
            match self.head.compare_exchange_weak(
                head,
                record,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return shared,
                Err(now) => head = now,
            }
        }
    }

    /// The stamp of what the caller has unlinked up to now: a snapshot with a higher number was
    /// begun after it.
    pub(crate) fn stamp(&self) -> u64 {
        // Not the light barrier: see the module's text.
        fence(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst)
    }

    /// A snapshot begun after `stamp` was taken: the newest if it serves, else a new one. Costs a
    /// heavy barrier and a walk over all records in the second case.
    pub(crate) fn snapshot(&self, stamp: u64) -> MutexGuard<'_, Snapshot> {
        let mut snapshot = self.newest.lock();
        if snapshot.number <= stamp {
            self.take(&mut snapshot);
        }
        snapshot
    }

    /// The newest snapshot if it was begun after `stamp` was taken and nobody is at it. Waits for
    /// nothing.
    pub(crate) fn newest(&self, stamp: u64) -> Option<MutexGuard<'_, Snapshot>> {
        self.newest
            .try_lock()
            .filter(|snapshot| snapshot.number > stamp)
    }

    fn take(&self, snapshot: &mut Snapshot) {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        barrier::heavy();
        let Snapshot {
            tables, entries, ..
        } = snapshot;
        tables.clear();
        entries.clear();
        let mut next = self.head.load(Ordering::Acquire);
        // SAFETY: as in `acquire`.
        while let Some(record) = unsafe { next.as_ref() } {
            for pair in &record.pairs {
                // Acquire: pairs with the Release of the reader's next store to the cell, so that
                // its use of what it protected before happens before the memory's reuse.
                for (cell, addresses) in [(&pair.table, &mut *tables), (&pair.entry, &mut *entries)]
                {
                    let address = cell.load(Ordering::Acquire);
                    if address != 0 {
                        addresses.push(address);
                    }
                }
            }
            next = record.next.load(Ordering::Relaxed);
        }
        tables.sort_unstable();
        entries.sort_unstable();
        snapshot.number = number;
    }
}

/// The domain of the process is never dropped; those of tests and models are.
#[cfg(any(test, loom))]
impl Drop for Domain {
    fn drop(&mut self) {
        let mut next = self.head.load(Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: a test drops its domain last, so nobody uses a record any more; each came
            // from a box.
            let record = unsafe { Box::from_raw(next) };
            next = record.next.load(Ordering::Relaxed);
        }
    }
}

impl Record {
    /// Gives the record back. Cells that are still in use stay so, and until they are free nobody
    /// takes the record over.
    pub(crate) fn release(&self) {
        // No search is under way, and guards need no table.
        for pair in &self.pairs {
            pair.table.store(0, Ordering::Release);
        }
        // Release: pairs with the Acquire in `Domain::acquire`.
        self.owned.store(false, Ordering::Release);
    }

    /// Takes a pair of cells, if one is free, and returns it with its bit in `free`. Owner only.
    #[inline]
    fn take(&self) -> Option<(usize, &Pair)> {
        let free = self.free.load(Ordering::Relaxed);
        let pair = self.pairs.get(free.trailing_zeros() as usize)?;
        let bit = free & free.wrapping_neg();
        self.free.store(free ^ bit, Ordering::Relaxed);
        Some((bit, pair))
    }

    #[inline]
    fn put(&self, bit: usize) {
        let free = self.free.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `Domain::acquire`.
        self.free.store(free | bit, Ordering::Release);
    }
}

/// A pair of cells in use: protects at most one table and one entry, until dropped. Stays on its
/// thread.
#[derive(Debug)]
pub(crate) struct Protection<'d> {
    record: &'d Record,
    pair: &'d Pair,
    /// The pair's bit in [`Record::free`]; 0 if the whole record belongs to this protection, because
    /// the thread's own was full.
    bit: usize,
    not_send: PhantomData<*const ()>,
}

impl<'d> Protection<'d> {
    /// A protection from `record`, which the caller's thread owns; from a spare record of `domain`
    /// if that has no cells left.
    #[inline]
    pub(crate) fn new(domain: &'d Domain, record: &'d Record) -> Self {
        match record.take() {
            Some((bit, pair)) => Self {
                record,
                pair,
                bit,
                not_send: PhantomData,
            },
            None => Self::spare(domain),
        }
    }

    /// A protection with a record of its own.
    #[cold]
    fn spare(domain: &'d Domain) -> Self {
        let record = domain.acquire();
        Self {
            record,
            pair: &record.pairs[0],
            bit: 0,
            not_send: PhantomData,
        }
    }

    /// The cells, for a search that has much else to keep in registers.
    #[inline]
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells {
            pair: self.pair,
            barrier: barrier::chosen(),
        }
    }

    /// See [`Cells::protect_entry`].
    #[inline]
    pub(crate) fn protect_entry(&self, address: usize) {
        self.cells().protect_entry(address);
    }

    /// Stops protecting the table (a guard that only needs its entry).
    #[inline]
    pub(crate) fn release_table(&self) {
        self.pair.table.store(0, Ordering::Release);
    }

    /// The dense index of the record that this protection uses.
    #[inline]
    pub(crate) fn thread_index(&self) -> usize {
        self.record.index
    }
}

/// The cells of a [`Protection`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells<'p> {
    pair: &'p Pair,
    barrier: barrier::Kind,
}

impl Cells<'_> {
    /// Protects the table at `address`. The caller must check, after this, that the table is still
    /// the current one.
    #[inline]
    pub(crate) fn protect_table(self, address: usize) {
        self.pair.table.store(address, Ordering::Release);
        barrier::light(self.barrier);
    }

    /// Protects the entry at `address`. The caller must check, after this, that the entry is still
    /// linked.
    #[inline]
    pub(crate) fn protect_entry(self, address: usize) {
        // Release: pairs with the Acquire in `Domain::take`; it ends the use of the entry that the
        // cell protected before.
        self.pair.entry.store(address, Ordering::Release);
        barrier::light(self.barrier);
    }
}

impl Drop for Protection<'_> {
    #[inline]
    fn drop(&mut self) {
        let pair = self.pair;
        // Release: pairs with the Acquire in `Domain::take`. The table's cell is left alone: what
        // it holds at worst delays the end of one old table until this thread reads again.
        pair.entry.store(0, Ordering::Release);
        if self.bit == 0 {
            self.record.release();
        } else {
            self.record.put(self.bit);
        }
    }
}

pub(crate) use thread::{domain, protect, thread_index};

/// The process-wide domain and each thread's record in it.
#[cfg(not(loom))]
mod thread {
    use super::{Domain, Protection, Record};
    use std::cell::Cell;

    static DOMAIN: Domain = Domain::new();

    thread_local! {
        // Two variables, because one without a destructor is reached without a check.
        static RECORD: Cell<Option<&'static Record>> = const { Cell::new(None) };
        static RELEASE: Release = const { Release };
    }

    /// Gives the thread's record back when the thread ends.
    struct Release;

    impl Drop for Release {
        fn drop(&mut self) {
            if let Some(record) = RECORD.take() {
                record.release();
            }
        }
    }

    /// The domain that all caches of the process share.
    pub(crate) fn domain() -> &'static Domain {
        &DOMAIN
    }

    /// Cells of the calling thread's record.
    #[inline]
    pub(crate) fn protect() -> Protection<'static> {
        match RECORD.get() {
            Some(record) => Protection::new(&DOMAIN, record),
            None => protect_first(),
        }
    }

    #[cold]
    fn protect_first() -> Protection<'static> {
        // While the thread ends, its destructors may still read caches: then the record must not
        // be kept, for nobody would give it back.
        if RELEASE.try_with(|_| ()).is_err() {
            return Protection::spare(&DOMAIN);
        }
        let record = DOMAIN.acquire();
        RECORD.set(Some(record));
        Protection::new(&DOMAIN, record)
    }

    /// A small number that no other living thread has.
    #[inline]
    pub(crate) fn thread_index() -> usize {
        match RECORD.get() {
            Some(record) => record.index,
            None => protect_first().thread_index(),
        }
    }
}

/// As above, for one run of a model. A thread's locals may end after the model's statics, so each
/// thread keeps the domain alive.
#[cfg(loom)]
mod thread {
    use super::{Domain, Protection, Record};
    use crate::sync::thread_local;
    use std::sync::Arc;

    loom::lazy_static! {
        static ref DOMAIN: Arc<Domain> = Arc::new(Domain::new());
    }

    thread_local! {
        static OWNER: Owner = Owner {
            record: DOMAIN.acquire(),
            _domain: Arc::clone(&DOMAIN),
        };
    }

    struct Owner {
        record: &'static Record,
        _domain: Arc<Domain>,
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.record.release();
        }
    }

    pub(crate) fn domain() -> &'static Domain {
        &DOMAIN
    }

    pub(crate) fn protect() -> Protection<'static> {
        OWNER.with(|owner| Protection::new(&DOMAIN, owner.record))
    }

    pub(crate) fn thread_index() -> usize {
        OWNER.with(|owner| owner.record.index)
    }
}

/// The two halves of the barrier between readers and writers.
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
mod barrier {
    use rustix::thread::{MembarrierCommand, membarrier};
    use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

    const UNKNOWN: u8 = 0;
    const SYMMETRIC: u8 = 1;
    const ASYMMETRIC: u8 = 2;

    static KIND: AtomicU8 = AtomicU8::new(UNKNOWN);

    /// Decides which kind of barrier this process uses; called before a thread's first read, so
    /// that no reader skips its fence while a writer relies on it.
    pub(super) fn choose() {
        if KIND.load(Ordering::Acquire) == UNKNOWN {
            let kind = match membarrier(MembarrierCommand::RegisterPrivateExpedited) {
                Ok(()) => ASYMMETRIC,
                Err(_) => SYMMETRIC,
            };
            // The first answer stands, should two threads get different ones.
            let _ = KIND.compare_exchange(UNKNOWN, kind, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Which kind of barrier this process uses: whether readers need no fence. Stays what it is once
    /// a thread has a record.
    pub(super) type Kind = bool;

    #[inline]
    pub(super) fn chosen() -> Kind {
        KIND.load(Ordering::Relaxed) == ASYMMETRIC
    }

    #[inline]
    pub(super) fn light(asymmetric: Kind) {
        if asymmetric {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn heavy() {
        choose();
        fence(Ordering::SeqCst);
        if chosen() {
            membarrier(MembarrierCommand::PrivateExpedited)
                .expect("a registered process may call membarrier");
        }
    }
}

/// Fences on both sides: also for loom and Miri, which know no `membarrier`.
#[cfg(any(not(target_os = "linux"), loom, miri))]
mod barrier {
    use crate::sync::atomic::{Ordering, fence};

    pub(super) type Kind = ();

    pub(super) fn choose() {}

    pub(super) fn chosen() -> Kind {}

    #[inline]
    pub(super) fn light((): Kind) {
        fence(Ordering::SeqCst);
    }

    pub(super) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Domain, PAIRS, Protection, domain, protect, thread_index};
    use std::collections::HashSet;

    #[test]
    fn a_snapshot_sees_what_is_protected_and_nothing_else() {
        let domain = Domain::new();
        let record = domain.acquire();
        let stamp = domain.stamp();
        let one = Protection::new(&domain, record);
        one.cells().protect_table(100);
        one.protect_entry(200);
        {
            let snapshot = domain.snapshot(stamp);
            assert!(snapshot.protects_table(100) && !snapshot.protects_table(200));
            assert!(snapshot.protects_entry(200) && !snapshot.protects_entry(100));
        }
        drop(one);
        assert!(
            domain.snapshot(stamp).protects_entry(200),
            "an older snapshot serves for what was retired before it"
        );
        assert!(!domain.snapshot(domain.stamp()).protects_entry(200));
    }

    #[test]
    fn more_protections_than_cells_use_spare_records() {
        let all: Vec<_> = (0..3 * PAIRS).map(|_| protect()).collect();
        for (i, protection) in all.iter().enumerate() {
            protection.protect_entry(1_000_001 + 2 * i);
        }
        let stamp = domain().stamp();
        {
            let snapshot = domain().snapshot(stamp);
            assert!((0..all.len()).all(|i| snapshot.protects_entry(1_000_001 + 2 * i)));
        }
        drop(all);
        let stamp = domain().stamp();
        assert!(!domain().snapshot(stamp).protects_entry(1_000_001));
    }

    #[test]
    fn living_threads_have_different_indices_and_ended_threads_pass_theirs_on() {
        for _ in 0..3 {
            let barrier = std::sync::Barrier::new(8);
            let indices: HashSet<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let index = thread_index();
                            barrier.wait();
                            index
                        })
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(indices.len(), 8);
        }
    }
}

#[cfg(all(test, loom))]
mod model;
