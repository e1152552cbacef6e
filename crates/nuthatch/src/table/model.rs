//! Readers of a table while its writer works, under every interleaving with up to three
//! preemptions.

use super::{Check, Found, Table, WIDTH};
use crate::policy::EntryId;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread;
use std::sync::Arc;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// One group or two: fewer than a real table of more than one has, for each costs steps.
fn table(groups: usize) -> Table {
    Table::with_groups(groups)
}

/// A hash with this home of two groups, and this tag; tags below 16 make for probes in order.
fn hash(home: u64, tag: u64) -> u64 {
    assert!((1..16).contains(&tag));
    home << 47 | tag
}

/// What a reader finds for `hash`, where `accepted` are the ids of its key.
fn find(table: &Table, hash: u64, accepted: &[EntryId]) -> Found<EntryId> {
    table.find_shared(hash, |id, place| {
        // What a reader does after it has protected the entry.
        if place.load(Ordering::Acquire) != id {
            Check::Gone
        } else if accepted.contains(&id) {
            Check::Accept(id)
        } else {
            Check::Reject
        }
    })
}

fn read(table: &Table, hash: u64, accepted: &[EntryId]) -> Option<EntryId> {
    loop {
        match find(table, hash, accepted) {
            Found::Entry(id) => return Some(id),
            Found::Absent => return None,
            Found::Changed => {}
        }
    }
}

fn remove(table: &Table, hash: u64, id: EntryId) {
    let (place, _) = table.find(hash, |found| found == id).expect("linked");
    table.remove(hash, place);
}

#[test]
fn model_a_replaced_key_is_never_absent() {
    check(|| {
        let table = Arc::new(table(1));
        table.insert(hash(0, 7), 1);
        let reader = thread::spawn({
            let table = Arc::clone(&table);
            move || read(&table, hash(0, 7), &[1, 2, 3])
        });
        for (old, new) in [(1, 2), (2, 3)] {
            let (place, found) = table.find(hash(0, 7), |_| true).expect("linked");
            assert_eq!(found, old);
            table.replace(place, new);
        }
        let seen = reader.join().expect("no panic");
        assert!(seen.is_some(), "the key was there all the time");
    });
}

#[test]
fn model_a_displaced_key_is_found_while_others_come_and_go() {
    check(|| {
        let table = Arc::new(table(2));
        // The home group is full, so the last one moves on.
        for id in 0..WIDTH as u32 {
            table.insert(hash(0, 2 + u64::from(id)), id);
        }
        table.insert(hash(0, 1), 50);
        let reader = thread::spawn({
            let table = Arc::clone(&table);
            move || read(&table, hash(0, 1), &[50])
        });
        remove(&table, hash(0, 2), 0);
        table.insert(hash(0, 8), 60);
        // This one moves on as well, and is counted with the first.
        table.insert(hash(0, 9), 61);
        remove(&table, hash(0, 9), 61);
        assert_eq!(reader.join().expect("no panic"), Some(50));
        table.validate(|id| match id {
            50 => hash(0, 1),
            60 => hash(0, 8),
            id => hash(0, 2 + u64::from(id)),
        });
    });
}

#[test]
fn model_only_ids_that_were_linked_are_offered() {
    check(|| {
        let table = Arc::new(table(1));
        table.insert(hash(0, 7), 1);
        let reader = thread::spawn({
            let table = Arc::clone(&table);
            move || {
                let mut seen = Vec::new();
                let _: Found<()> = table.find_shared(hash(0, 7), |id, place| {
                    seen.push(id);
                    if place.load(Ordering::Acquire) == id {
                        Check::Reject
                    } else {
                        Check::Gone
                    }
                });
                seen
            }
        });
        remove(&table, hash(0, 7), 1);
        // Another key with the same tag takes the place, then the key comes back.
        table.insert(hash(0, 7), 2);
        table.insert(hash(0, 7), 3);
        let seen = reader.join().expect("no panic");
        assert!(seen.iter().all(|id| (1..4).contains(id)), "{seen:?}");
    });
}

/// A shard's table and its successor.
struct Tables {
    tables: [Table; 2],
    current: AtomicUsize,
}

impl Tables {
    fn new(successor: Table) -> Arc<Self> {
        Arc::new(Self {
            tables: [table(1), successor],
            current: AtomicUsize::new(0),
        })
    }

    fn read(&self, hash: u64, accepted: EntryId) -> Option<EntryId> {
        loop {
            let table = &self.tables[self.current.load(Ordering::Acquire)];
            match find(table, hash, &[accepted]) {
                Found::Entry(id) => return Some(id),
                Found::Absent => return None,
                Found::Changed => {}
            }
        }
    }

    fn grow(&self) -> &Table {
        self.current.store(1, Ordering::Release);
        self.tables[0].supersede(|_| {});
        &self.tables[1]
    }
}

#[test]
fn model_growth_hides_nothing() {
    check(|| {
        let tables = Tables::new(table(2));
        tables.tables[0].insert(hash(1, 7), 1);
        tables.tables[0].insert(hash(0, 8), 2);
        let reader = thread::spawn({
            let tables = Arc::clone(&tables);
            move || (tables.read(hash(1, 7), 1), tables.read(hash(0, 8), 2))
        });
        tables.tables[1].insert(hash(1, 7), 1);
        tables.tables[1].insert(hash(0, 8), 2);
        remove(tables.grow(), hash(0, 8), 2);
        let (kept, _) = reader.join().expect("no panic");
        assert_eq!(kept, Some(1), "this key was there all the time");
        assert_eq!(tables.read(hash(0, 8), 2), None, "the removal is final");
    });
}

#[test]
fn model_a_key_removed_after_growth_stays_removed() {
    check(|| {
        let tables = Tables::new(table(1));
        tables.tables[0].insert(hash(0, 8), 2);
        // Two reads in order: what the first does not find, the second does not find either.
        let reader = thread::spawn({
            let tables = Arc::clone(&tables);
            move || (tables.read(hash(0, 8), 2), tables.read(hash(0, 8), 2))
        });
        tables.tables[1].insert(hash(0, 8), 2);
        remove(tables.grow(), hash(0, 8), 2);
        let (first, second) = reader.join().expect("no panic");
        assert!(first.is_some() || second.is_none(), "gone is gone");
    });
}
