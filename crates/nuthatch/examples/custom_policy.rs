//! An eviction policy of one's own, and how to test it.
//!
//! BIP, bimodal insertion: M. K. Qureshi, A. Jaleel, Y. N. Patt, S. C. Steely and J. Emer, "Adaptive
//! insertion policies for high performance caching", ISCA 2007. It is LRU, but a new entry starts
//! where the next victim is taken, and only one in 32 at the other end: a loop larger than the
//! cache, of which LRU keeps nothing, keeps most of the cache in place.
//!
//! Run it with `cargo run --example custom_policy --features conformance`.

use nuthatch::policy::{
    Entries, EntryId, EvictionPolicy, HitMode, Links, Policy, PolicySetup, conformance,
};

const QUEUE: u8 = 0;

/// LRU with bimodal insertion.
#[derive(Debug)]
struct Bip {
    /// The next victim stands first.
    links: Links,
    inserts: u32,
}

impl Bip {
    fn new(_setup: &PolicySetup) -> Self {
        let links = Links::new(1);
        Self { links, inserts: 0 }
    }
}

impl EvictionPolicy for Bip {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }
    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }
    fn set_capacity(&mut self, _capacity: u64) {}
    fn insert(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.inserts = self.inserts.wrapping_add(1);
        if self.inserts.is_multiple_of(32) {
            self.links.push_back(QUEUE, id);
        } else {
            self.links.push_front(QUEUE, id);
        }
    }
    fn hit(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.move_to_back(QUEUE, id);
    }
    fn evict(&mut self, _entries: &Entries<'_>) -> Option<EntryId> {
        self.links.pop_front(QUEUE)
    }
    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.links.remove(id);
    }
    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.links.replace(from, to);
    }
    fn clear(&mut self) {
        self.links.clear();
    }
    fn len(&self) -> usize {
        self.links.len(QUEUE)
    }
    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        self.links.iter(QUEUE).for_each(visit);
    }
    fn validate(&self, _entries: &Entries<'_>) {
        self.links.validate();
    }
}

fn main() {
    let policy = Policy::custom("bip", Bip::new);
    conformance::check(&policy);
    conformance::check_order(&policy);
}

#[test]
fn the_policy_keeps_the_contract() {
    main();
}
