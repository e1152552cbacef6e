//! A whole shard under loom: lock-free readers while a writer replaces, removes, grows and reuses.
//!
//! The values watch themselves: each read of one, and its drop, is an access to a loom cell, so a
//! reader that looks at a slot which is dropped or reused meanwhile is reported, whatever the
//! numbers say. Bounded to three preemptions.

use super::{Birth, Entry, Exclusive, KeepTimes, Shard, ShardSetup};
use crate::hazard::protect;
use crate::policy::Policy;
use crate::sync::{UnsafeCell, thread};
use std::sync::Arc;

/// A value whose accesses loom checks.
struct Watched(UnsafeCell<u64>);

impl Watched {
    fn read(&self) -> u64 {
        // SAFETY: only `drop` writes, and loom reports it if it comes at the same time.
        self.0.with(|value| unsafe { *value })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: as in `read`.
        self.0.with_mut(|value| unsafe { *value = u64::MAX });
    }
}

type ModelShard = Shard<u64, Watched>;

/// Keys are their own hashes: home group 0 for all of them, the key as the tag.
fn hash(key: &u64) -> u64 {
    *key
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn shard() -> Arc<ModelShard> {
    let mut policies = Policy::Fifo.build(1, 1, 1, 0);
    Arc::new(Shard::new(ShardSetup {
        policy: policies.remove(0),
        sampler: None,
        expected: 1,
        weighed: false,
        keep: KeepTimes::default(),
        share: 1,
    }))
}

/// Inserts or replaces.
fn put(exclusive: &mut Exclusive<'_, u64, Watched>, key: u64, value: u64) {
    let entry = Entry {
        key,
        value: Watched(UnsafeCell::new(value)),
    };
    let birth = Birth {
        weight: 1,
        times: None,
    };
    match exclusive.find(hash(&key), |found| *found == key) {
        Some((place, id)) => {
            let (_, removed) = exclusive.replace(place, id, entry, birth, 0, &hash);
            exclusive.retire(removed);
        }
        None => {
            exclusive.insert(hash(&key), entry, birth, 0, &hash);
        }
    }
}

fn remove(exclusive: &mut Exclusive<'_, u64, Watched>, key: u64) {
    let found = exclusive.find(hash(&key), |found| *found == key);
    let (place, id) = found.expect("the key is there");
    let removed = exclusive.remove(hash(&key), place, id, &hash);
    exclusive.retire(removed);
}

/// Frees all that no reader looks at, as a writer does sooner or later.
fn reclaim(shard: &ModelShard) {
    for _ in 0..2 {
        let mut exclusive = shard.lock();
        exclusive.reclaim();
        assert!(exclusive.finish().is_none(), "no drop panics");
    }
}

fn write(shard: &ModelShard, change: impl FnOnce(&mut Exclusive<'_, u64, Watched>)) {
    let mut exclusive = shard.lock();
    change(&mut exclusive);
    assert!(exclusive.finish().is_none(), "no drop panics");
}

fn read(shard: &ModelShard, key: u64) -> Option<u64> {
    let mut protection = protect();
    let (_, entry) = shard.find(&mut protection, hash(&key), |found| *found == key)?;
    let value = entry.value.read();
    assert_eq!(entry.value.read(), value);
    Some(value)
}

fn spawn<R: 'static>(
    shard: &Arc<ModelShard>,
    run: impl FnOnce(&ModelShard) -> R + 'static,
) -> thread::JoinHandle<R> {
    let shard = Arc::clone(shard);
    thread::spawn(move || run(&shard))
}

#[test]
fn model_a_value_replaced_and_reclaimed_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| (read(shard, 7), read(shard, 7)));
        write(&shard, |exclusive| put(exclusive, 7, 2));
        reclaim(&shard);
        // Takes the slot that was freed.
        write(&shard, |exclusive| put(exclusive, 7, 3));
        let (first, second) = reader.join().expect("no panic");
        let (first, second) = (first.expect("never absent"), second.expect("never absent"));
        assert!(
            first <= second,
            "values are read in the order of their writing"
        );
    });
}

#[test]
fn model_a_full_limbo_is_seen_to_during_reads() {
    check(|| {
        let shard = shard();
        shard.lock().writer.limbo.batch = 1;
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| (read(shard, 7), read(shard, 7)));
        // The second seals and waits for a snapshot without the lock, the third takes the slot.
        for value in 2..5 {
            write(&shard, |exclusive| put(exclusive, 7, value));
        }
        let (first, second) = reader.join().expect("no panic");
        let (first, second) = (first.expect("never absent"), second.expect("never absent"));
        assert!(
            first <= second,
            "values are read in the order of their writing"
        );
        let exclusive = shard.lock();
        let limbo = &exclusive.writer.limbo;
        assert!(limbo.young.len() + limbo.old.len() <= 2, "slots are reused");
    });
}

#[test]
fn model_two_writers_see_to_one_limbo() {
    check(|| {
        let shard = shard();
        shard.lock().writer.limbo.batch = 1;
        write(&shard, |exclusive| put(exclusive, 7, 1));
        write(&shard, |exclusive| put(exclusive, 7, 2));
        let other = spawn(&shard, |shard| {
            write(shard, |exclusive| put(exclusive, 7, 3));
            read(shard, 7)
        });
        write(&shard, |exclusive| put(exclusive, 7, 4));
        let seen = other.join().expect("no panic");
        assert!(matches!(seen, Some(3 | 4)));
        assert!(matches!(read(&shard, 7), Some(3 | 4)));
        let exclusive = shard.lock();
        assert!(
            !exclusive.writer.limbo.renewing,
            "whoever renews comes back"
        );
    });
}

#[test]
fn model_a_key_removed_and_its_slot_reused_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| (read(shard, 7), read(shard, 8)));
        write(&shard, |exclusive| remove(exclusive, 7));
        reclaim(&shard);
        write(&shard, |exclusive| put(exclusive, 8, 2));
        let (old, new) = reader.join().expect("no panic");
        assert!(old.is_none_or(|value| value == 1));
        assert!(new.is_none_or(|value| value == 2));
    });
}

#[test]
fn model_a_key_exchanged_for_another_and_its_slot_reused_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| (read(shard, 7), read(shard, 8)));
        let exchange = |key, value| {
            let value = Watched(UnsafeCell::new(value));
            write(&shard, |exclusive| {
                let exchanged =
                    exclusive.exchange(hash(&key), Entry { key, value }, None, 0, &hash);
                assert!(exchanged.is_ok(), "there is one to evict");
            });
        };
        exchange(8, 2);
        reclaim(&shard);
        // Takes the slot that was freed.
        exchange(7, 3);
        let (seven, eight) = reader.join().expect("no panic");
        assert!(seven.is_none_or(|value| value == 1 || value == 3));
        assert!(eight.is_none_or(|value| value == 2));
        assert_eq!(read(&shard, 7), Some(3));
        assert_eq!(read(&shard, 8), None);
    });
}

#[test]
fn model_a_key_that_leaves_comes_back_in_its_place_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| read(shard, 7));
        write(&shard, |exclusive| {
            remove(exclusive, 7);
            put(exclusive, 7, 2);
        });
        let seen = reader.join().expect("no panic");
        assert!(seen.is_none_or(|value| value == 1 || value == 2));
    });
}

#[test]
fn model_a_guard_outlives_its_entry() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| {
            let guard = shard.guard(protect(), true, hash(&7), |found| *found == 7)?;
            let value = guard.entry().value.read();
            // Another read on the same thread must not end the guard's protection.
            read(shard, 8);
            assert_eq!(guard.entry().value.read(), value);
            Some(value)
        });
        write(&shard, |exclusive| remove(exclusive, 7));
        reclaim(&shard);
        write(&shard, |exclusive| put(exclusive, 8, 2));
        assert!(
            reader
                .join()
                .expect("no panic")
                .is_none_or(|value| value == 1)
        );
    });
}

#[test]
fn model_a_table_grows_and_is_freed_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| read(shard, 7));
        write(&shard, |exclusive| exclusive.grow_table(&hash));
        reclaim(&shard);
        write(&shard, |exclusive| put(exclusive, 7, 2));
        let seen = reader.join().expect("no panic");
        assert!(
            seen == Some(1) || seen == Some(2),
            "the key was there all the time"
        );
    });
}

#[test]
fn model_all_entries_are_invalidated_during_reads() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| (read(shard, 7), read(shard, 7)));
        write(&shard, |exclusive| {
            exclusive.doom_all();
            while let Some(removed) = exclusive.next_doomed() {
                exclusive.retire(removed);
            }
        });
        reclaim(&shard);
        let (first, second) = reader.join().expect("no panic");
        assert!(first.is_some() || second.is_none(), "gone is gone");
        assert_eq!(read_after(&shard), None);
    });
}

#[test]
fn model_two_shards_share_snapshots() {
    check(|| {
        let (shard, other) = (shard(), shard());
        write(&shard, |exclusive| put(exclusive, 7, 1));
        write(&other, |exclusive| {
            put(exclusive, 7, 1);
            remove(exclusive, 7);
        });
        let reader = spawn(&shard, |shard| read(shard, 7));
        // Its snapshots serve both shards.
        let third = spawn(&other, reclaim);
        write(&shard, |exclusive| remove(exclusive, 7));
        reclaim(&shard);
        write(&shard, |exclusive| put(exclusive, 8, 2));
        third.join().expect("no panic");
        assert!(
            reader
                .join()
                .expect("no panic")
                .is_none_or(|value| value == 1)
        );
    });
}

/// Reads on a thread of its own, whose record ends before the model does.
fn read_after(shard: &Arc<ModelShard>) -> Option<u64> {
    spawn(shard, |shard| read(shard, 7))
        .join()
        .expect("no panic")
}

#[test]
fn model_locked_reads_protect_beyond_the_lock() {
    check(|| {
        let shard = shard();
        write(&shard, |exclusive| put(exclusive, 7, 1));
        let reader = spawn(&shard, |shard| {
            let mut protection = protect();
            let (_, entry) = shard.find_locked(&mut protection, hash(&7), |found| *found == 7)?;
            let value = entry.value.read();
            assert_eq!(entry.value.read(), value);
            Some(value)
        });
        write(&shard, |exclusive| put(exclusive, 7, 2));
        reclaim(&shard);
        write(&shard, |exclusive| put(exclusive, 7, 3));
        assert!(reader.join().expect("no panic").is_some(), "never absent");
    });
}
