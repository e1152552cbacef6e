//! The hazard protocol under every interleaving that loom can build, bounded to three preemptions.
//!
//! Loom's fences stand for both barriers. What the models cannot show is that `membarrier` is worth
//! a fence on every core; they show that nothing more than that is needed.

use super::{Domain, Protection};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{UnsafeCell, thread};
use std::sync::Arc;

const ADDRESS: usize = 100;
const UNLINKED: usize = 0;

/// One slot with one link to it. Loom reports an access to `content` that is not ordered with one
/// before it: a use of the slot after its reuse.
struct Slot {
    domain: Domain,
    link: AtomicUsize,
    content: UnsafeCell<u64>,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            domain: Domain::new(),
            link: AtomicUsize::new(ADDRESS),
            content: UnsafeCell::new(1),
        })
    }

    /// What a reader of the slot sees, if it is linked.
    fn read(&self) -> Option<u64> {
        let record = self.domain.acquire();
        let protection = Protection::new(&self.domain, record);
        let seen = self.link.load(Ordering::Acquire);
        let mut content = None;
        if seen != UNLINKED {
            protection.protect_entry(seen);
            if self.link.load(Ordering::Acquire) == seen {
                let look = || self.content.with(|content| unsafe { *content });
                let first = look();
                assert_eq!(look(), first, "a protected slot keeps its content");
                content = Some(first);
            }
        }
        drop(protection);
        record.release();
        content
    }

    fn unlink(&self) -> u64 {
        self.link.store(UNLINKED, Ordering::Release);
        self.domain.stamp()
    }

    /// Writes and links new content, unless a reader holds the slot back.
    fn reuse(&self, stamp: u64) {
        if !self.domain.snapshot(stamp).protects_entry(ADDRESS) {
            self.content.with_mut(|content| unsafe { *content = 2 });
            self.link.store(ADDRESS, Ordering::Release);
        }
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn spawn<R: 'static>(
    slot: &Arc<Slot>,
    run: impl FnOnce(&Slot) -> R + 'static,
) -> thread::JoinHandle<R> {
    let slot = Arc::clone(slot);
    thread::spawn(move || run(&slot))
}

#[test]
fn model_a_reader_never_sees_a_slot_reused() {
    check(|| {
        let slot = Slot::new();
        let reader = spawn(&slot, Slot::read);
        let stamp = slot.unlink();
        slot.reuse(stamp);
        let seen = reader.join().expect("no panic");
        assert!(seen.is_none_or(|content| content == 1 || content == 2));
    });
}

#[test]
fn model_a_snapshot_of_a_third_thread_serves() {
    check(|| {
        let slot = Slot::new();
        let reader = spawn(&slot, Slot::read);
        let third = spawn(&slot, |slot| drop(slot.domain.snapshot(0)));
        let stamp = slot.unlink();
        slot.reuse(stamp);
        reader.join().expect("no panic");
        third.join().expect("no panic");
    });
}

#[test]
fn model_a_slot_unlinked_by_one_is_reused_by_another() {
    check(|| {
        let slot = Slot::new();
        let reader = spawn(&slot, Slot::read);
        let stamp = slot.unlink();
        let writer = spawn(&slot, move |slot| slot.reuse(stamp));
        reader.join().expect("no panic");
        writer.join().expect("no panic");
    });
}

#[test]
fn model_a_record_passes_on_whole() {
    check(|| {
        let domain = Arc::new(Domain::new());
        // A guard that outlives its thread's ownership of the record.
        let guard_holder = thread::spawn({
            let domain = Arc::clone(&domain);
            move || {
                let record = domain.acquire();
                let guard = Protection::new(&domain, record);
                guard.protect_entry(ADDRESS);
                record.release();
                drop(guard);
            }
        });
        let record = domain.acquire();
        let first = Protection::new(&domain, record);
        first.protect_entry(1);
        let second = Protection::new(&domain, record);
        second.protect_entry(2);
        let snapshot = domain.snapshot(domain.stamp());
        assert!(snapshot.protects_entry(1) && snapshot.protects_entry(2));
        drop(snapshot);
        drop((first, second));
        guard_holder.join().expect("no panic");
    });
}
