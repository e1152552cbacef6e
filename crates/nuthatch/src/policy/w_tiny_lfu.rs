//! W-TinyLFU: a small LRU window for the new, a segmented LRU for the rest, and a duel of frequencies
//! between who leaves the one and who would have to leave the other.
//!
//! G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
//! Transactions on Storage 13(4), 2017; the window that adapts: G. Einziger, O. Eytan, R. Friedman
//! and B. Manes, "Adaptive Software Cache Management", Middleware 2018. A new entry enters the window.
//! What the window has no room for is a candidate for the main part: if the frequency sketch has seen
//! it more often than the least recently used entry on probation, that one is evicted and the
//! candidate takes a place on probation, else the candidate is evicted. A hit on probation moves an
//! entry to the protected segment, 80 % of the main part. Nothing is counted until the cache is half
//! full, and no one duels until it is full.
//!
//! The adaptive window starts at 1 %. After each sample (ten requests an entry) it grows or shrinks by
//! a step: the same way again if the hit ratio rose, the other way if it fell. Steps begin at 1/16 of
//! the capacity and shrink by 2 % each; when the hit ratio changes by 5 points they begin anew. The
//! first step grows the window, unlike Caffeine's: there is next to nothing to take from 1 %.
//!
//! *Cost:* O(1) an operation, amortised; a hit moves a list node and counts in the sketch (one cache
//! line, and a hash of the key). 8 bytes an entry and 8 more in the sketch. *Not for* changing working
//! sets under a small window: what was popular yesterday keeps today's keys out until the sketch has
//! aged; the adaptive window needs several samples to find its size after each change of phase.

use super::queues::Queues;
use super::random::SplitMix64;
use super::{Entries, EntryId, EvictionPolicy, FrequencySketch, HitMode, Share, Window};

const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;

/// The protected part of what the window leaves.
const PROTECTED_SHARE: Share = Share::percent(80);
/// The adaptive window's first share.
const FIRST_WINDOW: Share = Share::percent(1);
/// Bytes of the sketch for each entry.
const SKETCH_BYTES: f64 = 8.0;
/// The sketch never counts fewer entries than this, so a tiny cache has a sample worth judging by.
const LEAST_SKETCH: usize = 256;
/// A candidate seen this often that lost its duel is admitted once in a while: if an attacker keeps a
/// colliding victim's estimate high, candidates are not locked out for good.
const WARM: u8 = 6;
/// One warm loser in this many is admitted.
const LOSERS_TO_ADMIT_ONE: u32 = 128;
/// Entries that change segments in one call at most, while the window adapts.
const MOVES: usize = 64;

/// W-TinyLFU; see the module's text.
#[derive(Debug)]
pub(super) struct WTinyLfu {
    /// In all three segments the least recently used entry stands first.
    queues: Queues<3>,
    sketch: FrequencySketch,
    /// Whether the cache has been half full: the sketch counts only then.
    counts: bool,
    capacity: u64,
    window: Window,
    window_capacity: u64,
    protected_capacity: u64,
    climber: Option<Climber>,
    /// The weight of the entry being inserted.
    incoming_weight: u64,
    random: SplitMix64,
}

impl WTinyLfu {
    pub(super) fn new(window: Window, capacity: u64, seed: u64) -> Self {
        let mut policy = Self {
            queues: Queues::new(),
            sketch: FrequencySketch::new(LEAST_SKETCH, SKETCH_BYTES),
            counts: false,
            capacity,
            window,
            window_capacity: 0,
            protected_capacity: 0,
            climber: None,
            incoming_weight: 0,
            random: SplitMix64::new(seed),
        };
        policy.divide();
        policy
    }

    /// Divides the capacity as at the start.
    fn divide(&mut self) {
        let (share, climber) = match self.window {
            Window::Fixed(share) => (share, None),
            Window::Adaptive => (FIRST_WINDOW, Some(Climber::new())),
        };
        let main_capacity = (self.capacity as f64 * (1.0 - share.get())) as u64;
        self.window_capacity = self.capacity - main_capacity;
        self.protected_capacity = PROTECTED_SHARE.of(main_capacity);
        self.climber = climber;
    }

    /// Counts a request in the sketch and, when a sample is complete, lets the window adapt.
    fn count(&mut self, hash: u64, is_hit: bool) {
        if !self.counts {
            return;
        }
        self.sketch.increment(hash);
        if let Some(climber) = &mut self.climber {
            climber.count(is_hit, self.sketch.sample(), self.capacity);
        }
    }

    /// Whether the candidate may take the victim's place.
    fn admits(&mut self, candidate: EntryId, victim: EntryId, entries: &Entries<'_>) -> bool {
        let candidate = self.sketch.estimate(entries.hash(candidate));
        let victim = self.sketch.estimate(entries.hash(victim));
        candidate > victim || (candidate >= WARM && self.random.below(LOSERS_TO_ADMIT_ONE) == 0)
    }

    /// Sends what no longer fits the protected segment back to probation.
    fn demote(&mut self, entries: &Entries<'_>) {
        while self.queues.weight(PROTECTED) > self.protected_capacity
            && let Some(id) = self.queues.front(PROTECTED)
        {
            self.queues.move_to_back(PROBATION, id, entries);
        }
    }

    /// Moves entries between the window and the main part, and capacity with them, as far as the
    /// climber wants and one call may.
    fn adapt(&mut self, entries: &Entries<'_>) {
        for _ in 0..MOVES {
            let wanted = self.climber.as_ref().map_or(0, |climber| climber.wanted);
            let moved = match wanted {
                0 => None,
                1.. => self.grow_window(wanted.unsigned_abs(), entries),
                _ => self.shrink_window(wanted.unsigned_abs(), entries),
            };
            let (Some(weight), Some(climber)) = (moved, &mut self.climber) else {
                break;
            };
            climber.wanted -= wanted.signum() * i64::from(weight);
        }
    }

    /// Moves one entry of at most this weight to the window; the protected segment pays.
    fn grow_window(&mut self, weight: u64, entries: &Entries<'_>) -> Option<u32> {
        let most = weight.min(self.protected_capacity);
        let fits = |id: &EntryId| u64::from(entries.weight(*id)) <= most;
        let probation = self.queues.front(PROBATION).filter(fits);
        let id = probation.or_else(|| self.queues.front(PROTECTED).filter(fits))?;
        let weight = entries.weight(id);
        self.queues.move_to_back(WINDOW, id, entries);
        self.window_capacity += u64::from(weight);
        self.protected_capacity -= u64::from(weight);
        self.demote(entries);
        Some(weight)
    }

    /// Moves one entry of at most this weight from the window to probation; protected gains.
    fn shrink_window(&mut self, weight: u64, entries: &Entries<'_>) -> Option<u32> {
        let most = weight.min(self.window_capacity.saturating_sub(1));
        let fits = |id: &EntryId| u64::from(entries.weight(*id)) <= most;
        let id = self.queues.front(WINDOW).filter(fits)?;
        let weight = entries.weight(id);
        self.queues.move_to_back(PROBATION, id, entries);
        self.window_capacity -= u64::from(weight);
        self.protected_capacity += u64::from(weight);
        Some(weight)
    }
}

impl EvictionPolicy for WTinyLfu {
    fn hit_mode(&self) -> HitMode {
        HitMode::Ordered
    }

    fn reserve(&mut self, slots: usize) {
        self.queues.reserve(slots);
        self.sketch.resize(slots.max(LEAST_SKETCH));
    }

    /// The segments keep their shares.
    fn set_capacity(&mut self, capacity: u64) {
        let scale = capacity as f64 / self.capacity.max(1) as f64;
        let scaled = |part: u64| (part as f64 * scale) as u64;
        self.window_capacity = scaled(self.window_capacity).clamp(capacity.min(1), capacity);
        let main_capacity = capacity - self.window_capacity;
        self.protected_capacity = scaled(self.protected_capacity).min(main_capacity);
        self.capacity = capacity;
        if let Some(climber) = &mut self.climber {
            *climber = Climber::new();
        }
    }

    fn prefetch(&self, hash: u64) {
        self.sketch.prefetch(hash);
    }

    /// The two who will duel.
    fn upcoming(&self) -> [Option<EntryId>; 2] {
        [WINDOW, PROBATION].map(|queue| self.queues.front(queue))
    }

    fn prepare(&mut self, hash: u64, weight: u32) {
        self.queues.announce(weight);
        self.incoming_weight = u64::from(weight);
        self.counts |= self.queues.total_weight() + self.incoming_weight >= self.capacity / 2;
        self.count(hash, false);
    }

    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.incoming_weight = 0;
        if u64::from(entries.weight(id)) > self.window_capacity {
            // It is the next candidate; the rest of the window need not leave before it.
            self.queues.push_front(WINDOW, id, entries);
        } else {
            self.queues.push_back(WINDOW, id, entries);
        }
        // Whatever overflows without an eviction needs no duel: there was room.
        while self.queues.weight(WINDOW) > self.window_capacity
            && let Some(front) = self.queues.front(WINDOW).filter(|&front| front != id)
        {
            self.queues.move_to_back(PROBATION, front, entries);
        }
        self.adapt(entries);
    }

    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.count(entries.hash(id), true);
        match self.queues.queue_of(id) {
            Some(PROBATION) if u64::from(entries.weight(id)) <= self.protected_capacity => {
                self.queues.move_to_back(PROTECTED, id, entries);
                self.demote(entries);
            }
            Some(queue) => self.queues.move_to_back(queue, id, entries),
            None => {}
        }
        self.adapt(entries);
    }

    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        // A window with room sends no candidate, or it could never grow back after it lost entries.
        let overflows = self.queues.weight(WINDOW) + self.incoming_weight > self.window_capacity;
        let candidate = self.queues.front(WINDOW).filter(|_| overflows);
        let victim = self.queues.front(PROBATION);
        let evicted = match (candidate, victim) {
            (Some(candidate), Some(victim)) if self.admits(candidate, victim, entries) => {
                self.queues.move_to_back(PROBATION, candidate, entries);
                victim
            }
            (Some(candidate), _) => candidate,
            (None, Some(victim)) => victim,
            (None, None) => {
                let rest = self.queues.front(PROTECTED);
                rest.or_else(|| self.queues.front(WINDOW))?
            }
        };
        self.queues.remove(evicted, entries);
        Some(evicted)
    }

    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        self.queues.remove(id, entries);
    }

    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        self.queues.replace(from, to, entries);
    }

    fn clear(&mut self) {
        self.queues.clear();
        self.sketch.clear();
        self.counts = false;
        self.incoming_weight = 0;
        self.divide();
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        [PROBATION, WINDOW, PROTECTED]
            .into_iter()
            .flat_map(|queue| self.queues.iter(queue))
            .for_each(visit);
    }

    fn validate(&self, entries: &Entries<'_>) {
        self.queues.validate(entries);
        self.sketch.validate();
        let segments = self.window_capacity + self.protected_capacity;
        assert!(segments <= self.capacity, "the segments fit the capacity");
    }
}

/// Climbs towards the window size with the best hit ratio, one step a sample.
#[derive(Clone, Debug)]
struct Climber {
    hits: u64,
    requests: u64,
    /// The hit ratio of the sample before.
    previous: f64,
    /// The next step, as a share of the capacity: positive grows the window.
    step: f64,
    /// Weight yet to move: positive to the window.
    wanted: i64,
}

impl Climber {
    const FIRST_STEP: f64 = 0.0625;
    const STEP_DECAY: f64 = 0.98;
    /// A change of the hit ratio by this much means another workload: steps begin anew.
    const RESTART: f64 = 0.05;

    fn new() -> Self {
        Self {
            hits: 0,
            requests: 0,
            previous: 0.0,
            step: Self::FIRST_STEP,
            wanted: 0,
        }
    }

    /// Counts a request; decides on the next step at the end of the sample.
    fn count(&mut self, is_hit: bool, sample: u64, capacity: u64) {
        self.hits += u64::from(is_hit);
        self.requests += 1;
        if self.requests < sample {
            return;
        }
        let hit_ratio = self.hits as f64 / self.requests as f64;
        let change = hit_ratio - self.previous;
        let step = if change >= 0.0 { self.step } else { -self.step };
        self.wanted = (step * capacity as f64) as i64;
        self.step = if change.abs() >= Self::RESTART {
            Self::FIRST_STEP.copysign(step)
        } else {
            step * Self::STEP_DECAY
        };
        self.previous = hit_ratio;
        self.hits = 0;
        self.requests = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::SplitMix64;
    use super::super::trial::Trial;
    use super::{PROBATION, PROTECTED, Share, WINDOW, WTinyLfu, Window};

    fn trial(window: Window, capacity: u64) -> Trial<WTinyLfu> {
        Trial::new(WTinyLfu::new(window, capacity, 1), capacity)
    }

    fn fixed(percent: u8) -> Window {
        Window::Fixed(Share::percent(percent))
    }

    /// A full cache of 200 whose keys 0 to 149 have been asked for four times.
    fn settled() -> Trial<WTinyLfu> {
        let mut trial = trial(fixed(1), 200);
        trial.hits(1_000..1_200);
        trial.hits((0..4).flat_map(|_| 0..150));
        trial.hits((0..4).flat_map(|_| 0..150));
        assert_eq!(trial.holds(0..150), 150);
        trial
    }

    #[test]
    fn keys_asked_for_once_do_not_displace_the_popular() {
        let mut trial = settled();
        trial.hits(5_000..6_500);
        let left = trial.holds(0..150);
        assert!(
            left >= 145,
            "{left}: few lose to a chance collision in the sketch"
        );
    }

    #[test]
    fn a_key_asked_for_more_often_than_the_victim_is_admitted() {
        let mut trial = settled();
        trial.request(300);
        assert_eq!(trial.hits([300; 7]), 7, "the window holds it");
        trial.hits(5_000..5_300);
        assert_eq!(trial.holds([300]), 1);
    }

    #[test]
    fn a_hit_on_probation_protects() {
        let mut trial = trial(fixed(1), 100);
        trial.hits(0..100);
        assert_eq!(trial.policy.queues.weight(PROBATION), 99);
        trial.hits(0..90);
        let protected = trial.policy.queues.weight(PROTECTED);
        assert_eq!(
            protected, 79,
            "four fifths of the main part, the rest was sent back"
        );
    }

    #[test]
    fn nothing_is_counted_until_the_cache_is_half_full() {
        let mut trial = trial(fixed(1), 100);
        trial.hits((0..49).chain(0..49));
        assert!(!trial.policy.counts);
        trial.request(49);
        assert!(trial.policy.counts);
    }

    #[test]
    fn the_window_has_its_share_of_weight() {
        let mut trial = trial(fixed(20), 1_000);
        for key in 0..3_000 {
            trial.request_weighing(key, 1 + (key % 9) as u32);
        }
        let window = trial.policy.queues.weight(WINDOW);
        assert!((185..=200).contains(&window), "{window}");
    }

    #[test]
    fn an_entry_heavier_than_the_window_duels_at_once() {
        let mut trial = trial(fixed(1), 200);
        trial.hits((0..5).flat_map(|_| 0..199));
        trial.request_weighing(900, 20);
        trial.hits(5_000..5_004);
        assert_eq!(trial.holds([900]), 0);
    }

    /// Each key is asked for twice, twenty keys apart: only a window of so many can tell.
    fn recent(trial: &mut Trial<WTinyLfu>, keys: std::ops::Range<u64>) {
        for key in keys {
            trial.hits([key, key.saturating_sub(20)]);
        }
    }

    #[test]
    fn the_window_grows_where_recency_pays_and_shrinks_where_frequency_does() {
        let mut trial = trial(Window::Adaptive, 400);
        assert_eq!(trial.policy.window_capacity, 4);
        recent(&mut trial, 10_000..30_000);
        let grown = trial.policy.window_capacity;
        assert!(grown >= 20, "{grown}");
        let mut random = SplitMix64::new(5);
        let mut sizes = Vec::new();
        for scan in 0..60_000 {
            // Popular keys amid a scan: every entry of the window is one fewer in main.
            trial.hits([u64::from(random.below(420)), 100_000 + scan]);
            sizes.push(trial.policy.window_capacity);
        }
        let later = &sizes[30_000..];
        let mean = later.iter().sum::<u64>() / later.len() as u64;
        assert!(mean < grown, "{mean}, from {grown}");
    }

    #[test]
    fn a_fixed_window_stays() {
        let mut trial = trial(fixed(20), 400);
        recent(&mut trial, 10_000..20_000);
        assert_eq!(trial.policy.window_capacity, 80);
    }

    #[test]
    fn another_capacity_keeps_the_shares() {
        let mut trial = trial(fixed(20), 400);
        trial.hits(0..400);
        trial.set_capacity(100);
        trial.hits(1_000..1_100);
        assert_eq!(
            (
                trial.policy.window_capacity,
                trial.policy.protected_capacity
            ),
            (20, 64)
        );
        assert_eq!(
            (trial.used(), trial.policy.queues.weight(WINDOW)),
            (100, 20)
        );
    }
}
