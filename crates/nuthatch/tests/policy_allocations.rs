//! Policies allocate when they are told how many entries to expect, and never after that.
//!
//! The allocator counts per thread, so that tests do not see each other's allocations.

use nuthatch::Policy;
use nuthatch::policy::{
    AccessBytes, BuiltPolicy, Entries, EntryFacts, EntryId, EvictionPolicy, HitMode,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn hash(key: u64) -> u64 {
    (key + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Keys by id; every entry weighs 1.
struct Keys(Vec<u64>);

impl EntryFacts for Keys {
    fn hash(&self, id: EntryId) -> u64 {
        hash(self.0[id as usize])
    }

    fn weight(&self, _id: EntryId) -> u32 {
        1
    }
}

const CAPACITY: usize = 512;

/// Inserts, hits, replaces, removes and evicts thousands of entries and returns the number of
/// allocations that the policy made meanwhile.
fn allocations_in_use(policy: &mut BuiltPolicy) -> u64 {
    let mode = policy.hit_mode();
    let access = AccessBytes::new(CAPACITY * 2);
    access.reserve(CAPACITY * 2);
    policy.reserve(CAPACITY * 2);
    policy.set_capacity(CAPACITY as u64);
    let mut keys = Keys(vec![0; CAPACITY * 2]);
    let mut free: VecDeque<EntryId> = (0..CAPACITY as EntryId * 2).collect();
    let mut resident = Vec::with_capacity(CAPACITY + 1);

    let before = ALLOCATIONS.get();
    for step in 0..20 * CAPACITY {
        // Keys come back after a while, so that ghosts are met.
        let key = step as u64 % (CAPACITY as u64 * 5 / 2);
        policy.prepare(hash(key), 1);
        if resident.len() == CAPACITY {
            let victim = policy
                .evict(&Entries::new(&access, &keys))
                .expect("it holds entries");
            resident.retain(|&id| id != victim);
            free.push_back(victim);
        }
        let id = free.pop_front().expect("half of the ids are free");
        keys.0[id as usize] = key;
        policy.insert(id, &Entries::new(&access, &keys));
        resident.push(id);

        let entries = Entries::new(&access, &keys);
        for place in [step % resident.len(), step * step % resident.len()] {
            let id = resident[place];
            match mode {
                HitMode::Ignore => {}
                HitMode::Count { max } => access.count(id, max),
                HitMode::Stamp => access.stamp(id, policy.era()),
                HitMode::Ordered => policy.hit(id, &entries),
            }
        }
        if step % 7 == 0 {
            let place = step % resident.len();
            let from = resident[place];
            let to = free.pop_front().expect("half of the ids are free");
            keys.0[to as usize] = keys.0[from as usize];
            access.set(to, access.get(from));
            policy.relocate(from, to, &Entries::new(&access, &keys));
            resident[place] = to;
            free.push_back(from);
        }
        if step % 11 == 0 {
            let id = resident.swap_remove(step % resident.len());
            policy.remove(id, &Entries::new(&access, &keys));
            free.push_back(id);
        }
    }
    policy.clear();
    ALLOCATIONS.get() - before
}

#[test]
fn no_policy_allocates_after_it_reserved() {
    for info in Policy::built_in() {
        let policy: Policy = info.name.parse().expect("the table's names parse");
        let mut built = policy.build(CAPACITY as u64, 1, CAPACITY, 1).remove(0);
        assert_eq!(allocations_in_use(&mut built), 0, "{info}");
        assert_eq!(allocations_in_use(&mut built), 0, "{info}, used again");
    }
}

#[test]
fn an_allocation_is_counted() {
    let before = ALLOCATIONS.get();
    drop(Box::new([0_u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
