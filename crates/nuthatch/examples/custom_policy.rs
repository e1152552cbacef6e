//! An eviction policy of one's own, and how to test it.
//!
//! BIP, bimodal insertion: M. K. Qureshi, A. Jaleel, Y. N. Patt, S. C. Steely and J. Emer, "Adaptive
//! insertion policies for high performance caching", ISCA 2007. It is LRU, but a new entry starts
//! where the next victim is taken, and only one in 32 at the other end: a loop larger than the
//! cache, of which LRU keeps nothing, keeps most of the cache in place.
//!
//! Run it with `cargo run --example custom_policy --features conformance`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

#[cfg(test)]
use nuthatch::policy::conformance;
use nuthatch::policy::{Entries, EntryId, EvictionPolicy, HitMode, Links, PolicySetup};
use nuthatch::{BuildError, Cache, Engine, Policy};

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

/// The hits of 20 rounds over 150 keys in a cache of 100.
fn hits_in_a_loop(policy: Policy) -> Result<usize, BuildError> {
    let cache = Cache::builder()
        .capacity(100)
        .policy(policy)
        .engine(Engine::Locked)
        .shards(1)
        .build()?;
    let mut hits = 0;
    for key in (0..20).flat_map(|_| 0..150) {
        match cache.get(&key) {
            Some(()) => hits += 1,
            None => _ = cache.insert(key, ()),
        }
    }
    Ok(hits)
}

fn main() -> Result<(), BuildError> {
    let lru = hits_in_a_loop(Policy::Lru)?;
    let bip = hits_in_a_loop(Policy::custom("bip", Bip::new))?;
    println!("3000 requests in a loop larger than the cache: LRU hits {lru}, BIP {bip}");
    Ok(())
}

#[test]
fn the_policy_keeps_the_contract() {
    let policy = Policy::custom("bip", Bip::new);
    conformance::check(&policy);
    conformance::check_order(&policy);
}

#[test]
fn most_of_a_loop_larger_than_the_cache_stays() -> Result<(), BuildError> {
    assert_eq!(hits_in_a_loop(Policy::Lru)?, 0);
    assert!(hits_in_a_loop(Policy::custom("bip", Bip::new))? > 1500);
    Ok(())
}
