//! GDSF, Greedy-Dual-Size-Frequency: many small popular entries rather than few large ones.
//!
//! L. Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching
//! policy", HP Laboratories report HPL-98-69R1, 1998. An entry's priority is set when it is used:
//! L + uses / weight, where L, the *inflation*, is the priority of the last victim. So what is not
//! used any more is overtaken by the inflation, however popular it was. The victim is the entry of
//! lowest priority; of several, the one used longest ago. As in the paper a newcomer's priority is
//! set before the evictions that make room for it raise the inflation. The paper turns a large
//! newcomer away if those that would have to go are worth more than it; here it is always admitted,
//! at the inflation if it is worth less, and evicted soon.
//!
//! No new priority is below the last victim's, and for such a queue there is something better than
//! a heap: the radix heap of R. K. Ahuja, K. Mehlhorn, J. B. Orlin and R. E. Tarjan, "Faster
//! algorithms for the shortest path problem", JACM 37(2), 1990. Level 0 holds the entries whose
//! priority is L, level b those whose highest bit that differs from L's is bit b - 1. If level 0
//! is empty, L becomes the lowest priority of the first level that is not, and that level's entries
//! spread over the levels below it; all others are still right. Entries only ever move down, each
//! at most 64 times, in practice a few times.
//!
//! *Cost:* insert, hit and remove O(1); evict O(log of the range of priorities) amortised,
//! independent of the number of entries. Every hit moves a list node; 18 bytes an entry. *Not for*
//! saving bytes: it trades large entries for small ones, so it misses fewer requests and more
//! bytes. In a cache bounded by entries it is LFU with ageing.

use super::levels::Levels;
use super::{Entries, EntryId, EvictionPolicy, HitMode};

/// The priority that one use gives an entry of weight 1. Fixed point with 32 binary places, so
/// that the heaviest entry's use still counts.
const ONE: u64 = 1 << 32;
/// No priority is further above the inflation than 2^48: 16 bits of uses at 2^32 each.
const SPAN_BITS: u32 = 48;
/// Priorities are lowered once the inflation has come to this.
const HIGH: u64 = 1 << 62;
/// Levels 0 to 64, rounded up to what the window needs.
const LEVELS: usize = 128;

/// Greedy-Dual-Size-Frequency; see the module's text.
#[derive(Debug)]
pub(super) struct Gdsf {
    /// A level for each bit in which a priority may differ from the inflation.
    levels: Levels,
    /// By id.
    priorities: Vec<u64>,
    /// By id; saturates.
    uses: Vec<u16>,
    inflation: u64,
    /// The inflation before the evictions that make room for a newcomer.
    inflation_at_miss: u64,
}

impl Gdsf {
    pub(super) fn new() -> Self {
        Self {
            levels: Levels::new(LEVELS),
            priorities: Vec::new(),
            uses: Vec::new(),
            inflation: 0,
            inflation_at_miss: 0,
        }
    }

    fn level(&self, id: EntryId) -> u32 {
        u64::BITS - (self.priorities[id as usize] ^ self.inflation).leading_zeros()
    }

    fn push(&mut self, id: EntryId, uses: u16, inflation: u64, entries: &Entries<'_>) {
        let weight = u64::from(entries.weight(id).max(1));
        let priority = inflation + u64::from(uses) * ONE / weight;
        self.uses[id as usize] = uses;
        self.priorities[id as usize] = priority.max(self.inflation);
        self.levels.push_back(self.level(id), id);
    }

    /// Raises the inflation to the lowest priority and brings the entries of that priority, in
    /// their order, into level 0.
    fn inflate(&mut self) {
        let Some(front) = self.levels.front() else {
            return;
        };
        let level = self.level(front);
        if level == 0 {
            return;
        }
        let last = self.levels.last(level);
        let lowest = self
            .levels
            .range(front, last)
            .map(|id| self.priorities[id as usize])
            .min();
        self.inflation = lowest.expect("the level holds its front");
        let mut id = front;
        loop {
            let next = self.levels.next(id);
            self.levels.remove(level, id);
            self.levels.push_back(self.level(id), id);
            match next {
                Some(next) if id != last => id = next,
                _ => break,
            }
        }
    }

    /// Takes the same from all priorities and the inflation. No level changes, as long as all of
    /// them agree in the bits taken away.
    fn lower(&mut self) {
        let agreed = SPAN_BITS + 1;
        let highest = self.levels.back().map_or(0, |id| self.level(id));
        if self.inflation < HIGH || highest > agreed {
            return;
        }
        let by = self.inflation >> agreed << agreed;
        self.inflation -= by;
        self.inflation_at_miss = self.inflation_at_miss.saturating_sub(by);
        for priority in &mut self.priorities {
            *priority = priority.saturating_sub(by);
        }
    }
}

impl EvictionPolicy for Gdsf {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.levels.reserve(slots);
        if slots > self.uses.len() {
            self.priorities.reserve_exact(slots - self.priorities.len());
            self.priorities.resize(slots, 0);
            self.uses.reserve_exact(slots - self.uses.len());
            self.uses.resize(slots, 0);
        }
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn prepare(&mut self, _hash: u64, _weight: u32) {
        self.inflation_at_miss = self.inflation;
    }

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.push(id, 1, self.inflation_at_miss, entries);
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.levels.remove(self.level(id), id);
        let uses = self.uses[id as usize].saturating_add(1);
        self.push(id, uses, self.inflation, entries);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        self.inflate();
        self.lower();
        let id = self.levels.front()?;
        self.remove(id, entries);
        Some(id)
    }

    fn remove(&mut self, id: EntryId, _entries: &Entries<'_>) {
        self.levels.remove(self.level(id), id);
    }

    /// A new weight takes effect with the next use.
    fn relocate(&mut self, from: EntryId, to: EntryId, _entries: &Entries<'_>) {
        self.levels.replace(self.level(from), from, to);
        self.priorities[to as usize] = self.priorities[from as usize];
        self.uses[to as usize] = self.uses[from as usize];
    }

    fn clear(&mut self) {
        self.levels.clear();
        self.inflation = 0;
        self.inflation_at_miss = 0;
    }

    fn len(&self) -> usize {
        self.levels.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        let mut ids: Vec<_> = self.levels.iter().collect();
        // Stable: of equal priorities the list has the one used longest ago first.
        ids.sort_by_key(|&id| self.priorities[id as usize]);
        ids.into_iter().for_each(visit);
    }

    fn validate(&self, _entries: &Entries<'_>) {
        self.levels.validate(|id| self.level(id));
        for id in self.levels.iter() {
            let above = self.priorities[id as usize].checked_sub(self.inflation);
            let above = above.expect("no priority is below the inflation");
            assert!(
                above <= 1 << SPAN_BITS,
                "no priority is far above the inflation"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gdsf, HIGH, ONE};
    use crate::policy::EntryId;
    use crate::policy::EvictionPolicy;
    use crate::policy::random::SplitMix64;
    use crate::policy::scripted::Scripted;
    use std::collections::BTreeMap;

    #[test]
    fn of_equal_use_the_heaviest_goes_first() {
        let mut cache = Scripted::new(Gdsf::new());
        for (id, weight) in [(1, 10), (2, 1000), (3, 100)] {
            cache.insert_weighing(id, weight);
        }
        assert_eq!(cache.drain(), [2, 3, 1]);
    }

    #[test]
    fn uses_make_up_for_weight() {
        let mut cache = Scripted::new(Gdsf::new());
        cache.insert_weighing(1, 10);
        cache.insert_weighing(2, 30);
        cache.hit([2, 2, 2]);
        assert_eq!(cache.drain(), [1, 2]);
    }

    #[test]
    fn inflation_overtakes_what_is_not_used_any_more() {
        let mut cache = Scripted::new(Gdsf::new());
        cache.insert([0]);
        cache.hit([0; 9]);
        let mut evicted = Vec::new();
        for newcomer in 1..30 {
            cache.insert([newcomer]);
            evicted.extend(cache.evict(1));
        }
        let popular = evicted
            .iter()
            .position(|&id| id == 0)
            .expect("it went at last");
        assert!((9..12).contains(&popular), "it went as number {popular}");
    }

    #[test]
    fn a_newcomer_worth_less_than_its_victims_goes_next() {
        let mut cache = Scripted::new(Gdsf::new());
        cache.insert([1, 2, 3]);
        cache.policy.prepare(0, 1000);
        assert_eq!(cache.evict(2), [1, 2]);
        cache.weigh(4, 1000);
        cache.link(4);
        cache.insert([5]);
        assert_eq!(
            cache.drain(),
            [3, 4, 5],
            "3 has the priority of the last victim, too"
        );
    }

    /// Compares with an ordered map, beginning with this inflation; returns the last inflation.
    fn equals_a_model(inflation: u64) -> u64 {
        let mut cache = Scripted::new(Gdsf::new());
        cache.policy.inflation = inflation;
        let mut random = SplitMix64::new(3);
        let mut queue = BTreeMap::<(u128, u32), EntryId>::new();
        let mut entries = BTreeMap::<EntryId, ((u128, u32), u64, u64)>::new();
        let mut base = u128::from(inflation);
        for step in 0..20_000 {
            let id = random.below(300).min(random.below(300));
            if let Some((place, uses, weight)) = entries.get_mut(&id) {
                cache.hit([id]);
                queue.remove(place);
                *uses += 1;
                *place = (base + u128::from(*uses * ONE / *weight), step);
                queue.insert(*place, id);
                continue;
            }
            let weight = 1 << random.below(8);
            let announced = base;
            cache.weigh(id, weight);
            cache.policy.prepare(0, weight);
            if entries.len() == 100 {
                let ((priority, _), victim) = queue.pop_first().expect("100 entries");
                base = priority;
                entries.remove(&victim);
                assert_eq!(cache.evict(1), [victim], "step {step}");
            }
            cache.link(id);
            let priority = base.max(announced + u128::from(ONE / u64::from(weight)));
            queue.insert((priority, step), id);
            entries.insert(id, ((priority, step), 1, weight.into()));
        }
        let mut ranked = Vec::new();
        cache.policy.rank(&mut |id| ranked.push(id));
        assert!(ranked.iter().eq(queue.values()), "the rank is the model's");
        cache.policy.inflation
    }

    #[test]
    fn victims_are_those_of_an_ordered_map() {
        equals_a_model(0);
    }

    #[test]
    fn lowering_all_priorities_changes_no_order() {
        assert!(
            equals_a_model(HIGH - 5 * ONE) < HIGH / 2,
            "priorities were lowered"
        );
    }
}
