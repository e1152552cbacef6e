//! Every key and every value is dropped exactly once, whatever happens: evictions, replacements,
//! expiry, invalidation, panics of the user's own code and code that calls back into the cache.
//!
//! Keys and values carry a token of a [`Ledger`], which counts births and deaths and notices a
//! second death of the same thing at once.

use nuthatch::{Cache, Clock, Compute, Engine, Insertion, Policy, RemovalCause};
use std::cell::Cell;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// Counts what is born and what dies.
#[derive(Debug, Default)]
struct Ledger {
    born: AtomicU64,
    dead: AtomicU64,
}

impl Ledger {
    fn alive(&self) -> u64 {
        self.born.load(Ordering::Relaxed) - self.dead.load(Ordering::Relaxed)
    }

    fn token(self: &Arc<Self>) -> Token {
        self.born.fetch_add(1, Ordering::Relaxed);
        Token {
            ledger: Arc::clone(self),
            alive: AtomicBool::new(true),
        }
    }
}

#[derive(Debug)]
struct Token {
    ledger: Arc<Ledger>,
    alive: AtomicBool,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        assert!(
            self.alive.load(Ordering::Relaxed),
            "only the living are cloned"
        );
        self.ledger.token()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert!(
            self.alive.swap(false, Ordering::Relaxed),
            "nothing dies twice"
        );
        self.ledger.dead.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// Which of the user's functions panic on this thread.
    static FAULTS: Cell<Faults> = const { Cell::new(Faults::NONE) };
}

#[derive(Clone, Copy)]
struct Faults {
    hash: bool,
    eq: bool,
    clone: bool,
    drop: bool,
    weigh: bool,
    listen: bool,
}

impl Faults {
    const NONE: Self = Self {
        hash: false,
        eq: false,
        clone: false,
        drop: false,
        weigh: false,
        listen: false,
    };
}

/// Runs `work` while the given functions panic; returns whether a panic came out.
fn with_faults(faults: Faults, work: impl FnOnce()) -> bool {
    FAULTS.set(faults);
    let result = catch_unwind(AssertUnwindSafe(work));
    FAULTS.set(Faults::NONE);
    result.is_err()
}

fn fault(chosen: impl FnOnce(Faults) -> bool) {
    if chosen(FAULTS.get()) {
        // A panic that is not reported: there are thousands.
        resume_unwind(Box::new("a fault that the test ordered"));
    }
}

/// A key whose hash can be changed, and whose functions panic on demand.
#[derive(Debug)]
struct Key {
    number: u64,
    salt: Arc<AtomicU64>,
    _token: Token,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fault(|faults| faults.hash);
        (self.number ^ self.salt.load(Ordering::Relaxed)).hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        fault(|faults| faults.eq);
        self.number == other.number
    }
}

impl Eq for Key {}

#[derive(Debug)]
struct Value {
    number: u64,
    token: Token,
}

impl Clone for Value {
    fn clone(&self) -> Self {
        fault(|faults| faults.clone);
        Self {
            number: self.number,
            token: self.token.clone(),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        fault(|faults| faults.drop);
    }
}

/// A cache and the ledger of all that is in it.
struct Bench {
    ledger: Arc<Ledger>,
    salt: Arc<AtomicU64>,
    cache: Cache<Key, Value>,
    hands: nuthatch::ManualClock,
    /// What the listener heard, if there is one.
    heard: Option<Arc<Mutex<Vec<u64>>>>,
}

const CAPACITY: u64 = 40;

impl Bench {
    /// One cache for each engine, with and without a listener, for a policy that acts on hits and
    /// for one that keeps ghosts.
    fn all() -> Vec<Self> {
        let mut benches = Vec::new();
        for engine in [Engine::LockFree, Engine::Locked] {
            for policy in [Policy::Lru, Policy::Default] {
                for listens in [false, true] {
                    benches.push(Self::new(engine, policy.clone(), listens));
                }
            }
        }
        benches
    }

    fn new(engine: Engine, policy: Policy, listens: bool) -> Self {
        let (clock, hands) = Clock::manual();
        let heard = listens.then(Arc::<Mutex<Vec<u64>>>::default);
        let mut builder = Cache::builder()
            .engine(engine)
            .policy(policy)
            .clock(clock)
            .shards(2)
            .weight_capacity(CAPACITY)
            .weigher(|_: &Key, _: &Value| {
                fault(|faults| faults.weigh);
                1
            });
        if let Some(hears) = heard.clone() {
            builder = builder.listener(move |_: &Key, value: &Value, _| {
                hears.lock().unwrap().push(value.number);
                fault(|faults| faults.listen);
            });
        }
        Self {
            ledger: Arc::default(),
            salt: Arc::default(),
            cache: builder.build().unwrap(),
            hands,
            heard,
        }
    }

    fn key(&self, number: u64) -> Key {
        Key {
            number,
            salt: Arc::clone(&self.salt),
            _token: self.ledger.token(),
        }
    }

    fn value(&self, number: u64) -> Value {
        Value {
            number,
            token: self.ledger.token(),
        }
    }

    fn insert(&self, number: u64) -> Insertion {
        self.cache.insert(self.key(number), self.value(number))
    }

    fn fill(&self) {
        for number in 0..CAPACITY {
            self.insert(number);
        }
    }

    /// After `maintain` only what is in the cache is alive: a key and a value for each entry. The
    /// listener heard of each entry that left.
    fn check(&self) {
        self.cache.maintain();
        assert_eq!(self.ledger.alive(), 2 * self.cache.len());
        if let Some(heard) = &self.heard {
            let stats = self.cache.stats();
            let left = stats.replaced + stats.evicted + stats.expired + stats.invalidated;
            assert_eq!(heard.lock().unwrap().len() as u64, left);
        }
        self.cache.validate();
    }

    /// Drops the cache: then nothing is alive.
    fn end(self) {
        let Self { ledger, cache, .. } = self;
        drop(cache);
        assert_eq!(ledger.alive(), 0);
        assert!(ledger.born.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn evictions_replacements_and_removals_drop_once() {
    for bench in Bench::all() {
        for round in 0..5 {
            for number in 0..3 * CAPACITY {
                bench.insert(number % (CAPACITY + 10 * round));
            }
            bench.check();
            for number in 0..CAPACITY / 2 {
                drop(bench.cache.remove(&bench.key(number)));
                bench.cache.invalidate(&bench.key(number + 10));
            }
            bench.check();
        }
        bench.end();
    }
}

#[test]
fn expiry_drops_once() {
    for bench in Bench::all() {
        for number in 0..3 * CAPACITY {
            let time_to_live = Duration::from_secs(number % 7);
            let (key, value) = (bench.key(number), bench.value(number));
            bench.cache.insert_with_ttl(key, value, time_to_live);
            bench.hands.advance(Duration::from_millis(100));
        }
        bench.check();
        bench.hands.advance(Duration::from_secs(100));
        bench.check();
        assert_eq!(bench.cache.len(), 0);
        bench.end();
    }
}

#[test]
fn clear_invalidate_all_retain_and_resize_drop_once() {
    for bench in Bench::all() {
        bench.fill();
        bench.cache.invalidate_all();
        // A part is cleared away by these, a part later.
        for number in 0..3 {
            bench.insert(number);
        }
        bench.check();
        bench.fill();
        bench.cache.clear();
        assert_eq!(bench.ledger.alive(), 0, "clear drops before it returns");
        bench.fill();
        bench.cache.retain(|key, _| key.number % 3 == 0);
        bench.check();
        bench.fill();
        bench.cache.resize(7).unwrap();
        assert!(bench.cache.len() <= 7);
        bench.check();
        bench.cache.resize(CAPACITY).unwrap();
        bench.fill();
        bench.cache.invalidate_all();
        // Doomed entries are still there when the cache goes.
        bench.end();
    }
}

#[test]
fn what_guards_held_back_is_dropped_once_they_are_gone() {
    for bench in Bench::all() {
        bench.insert(1);
        bench.insert(2);
        let guards: Vec<_> = (0..20)
            .map(|_| bench.cache.get_ref(&bench.key(1)).expect("it is there"))
            .collect();
        bench.cache.invalidate(&bench.key(1));
        for number in 0..5 * CAPACITY {
            bench.insert(number + 100);
        }
        bench.cache.maintain();
        assert_eq!(
            bench.ledger.alive(),
            2 * bench.cache.len() + 2,
            "the guarded entry lives, though it was removed"
        );
        assert!(guards.iter().all(|guard| guard.value().number == 1));
        drop(guards);
        bench.check();
        bench.end();
    }
}

/// A batch of removed entries becomes free at once, but is not dropped at once: that would be a pause.
#[test]
fn a_write_drops_few_entries_and_none_pile_up() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let ledger = Arc::new(Ledger::default());
        let cache = Cache::builder().capacity(10_000).engine(engine).shards(1);
        let cache: Cache<u64, Token> = cache.build().expect("a valid configuration");
        let (mut most_dropped, mut most_alive) = (0, 0);
        for key in 0..50_000 {
            let before = ledger.dead.load(Ordering::Relaxed);
            cache.insert(key, ledger.token());
            most_dropped = most_dropped.max(ledger.dead.load(Ordering::Relaxed) - before);
            most_alive = most_alive.max(ledger.alive());
        }
        assert!((1..=16).contains(&most_dropped), "{most_dropped} at once");
        assert!(most_alive < 10_000 + 1_000, "{most_alive} alive");
    }
}

/// A guard may be the last thing that a thread drops, after the cache's own thread-local state.
#[test]
fn a_guard_in_a_thread_local_variable_outlives_its_threads_record() {
    type Guard = nuthatch::EntryRef<'static, u64, String>;
    thread_local! {
        static KEPT: Cell<Option<Guard>> = const { Cell::new(None) };
    }
    static CACHE: OnceLock<Cache<u64, String>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| Cache::new(100));
    for round in 0..50 {
        cache.insert(0, format!("kept {round}"));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // Registered before the cache's own, hence dropped after it.
                    KEPT.set(None);
                    KEPT.set(cache.get_ref(&0));
                });
            }
            for number in 1..200 {
                cache.insert(number, format!("other {number}"));
                let (first, second) = (cache.get_ref(&number), cache.get_ref(&number));
                cache.insert(number, "replaced".to_owned());
                cache.maintain();
                for guard in [first, second].into_iter().flatten() {
                    assert!(
                        guard.starts_with("other"),
                        "a guarded entry keeps its value"
                    );
                }
            }
        });
    }
    cache.validate();
}

#[test]
fn a_panicking_drop_of_a_value_loses_nothing_else() {
    for bench in Bench::all() {
        let faults = Faults {
            drop: true,
            ..Faults::NONE
        };
        let mut panics = 0;
        for number in 0..20 * CAPACITY {
            panics += u64::from(with_faults(faults, || {
                bench.insert(number % 100);
            }));
        }
        assert!(panics > 0, "the panic reaches whoever inserts");
        bench.check();
        for number in 0..CAPACITY {
            with_faults(faults, || {
                bench.cache.invalidate(&bench.key(number));
            });
            with_faults(faults, || bench.cache.maintain());
        }
        bench.check();
        with_faults(faults, || bench.cache.invalidate_all());
        assert!(bench.cache.is_empty(), "all shards were invalidated");
        with_faults(faults, || bench.cache.maintain());
        bench.check();
        bench.fill();
        // Both shards hold values whose drop panics.
        let ledger = Arc::clone(&bench.ledger);
        assert!(
            with_faults(faults, || drop(bench)),
            "the cache's own drop panics"
        );
        assert_eq!(ledger.alive(), 0);
    }
}

#[test]
fn a_panicking_clone_leaves_the_cache_in_order() {
    for bench in Bench::all() {
        bench.fill();
        let faults = Faults {
            clone: true,
            ..Faults::NONE
        };
        let cache = &bench.cache;
        let works: [&dyn Fn(); 6] = [
            &|| drop(cache.get(&bench.key(1))),
            &|| drop(cache.get_many([&bench.key(2), &bench.key(3)])),
            &|| drop(cache.remove(&bench.key(4))),
            &|| drop(cache.remove_if(&bench.key(5), |_, _| true)),
            &|| drop(cache.compute(bench.key(6), |_| Compute::Keep)),
            &|| drop(cache.compute(bench.key(7), |_| Compute::Put(bench.value(70)))),
        ];
        for work in works {
            assert!(with_faults(faults, work));
            bench.check();
        }
        assert_eq!(cache.len(), CAPACITY - 2, "removed, though not returned");
        bench.end();
    }
}

#[test]
fn a_panicking_hash_or_eq_leaves_the_cache_in_order() {
    for bench in Bench::all() {
        let cache = &bench.cache;
        for number in 0..CAPACITY {
            let (key, value) = (bench.key(number), bench.value(number));
            cache.insert_with_ttl(key, value, Duration::from_secs(1 + number % 2));
        }
        for (hash, eq) in [(true, false), (false, true)] {
            let faults = Faults {
                hash,
                eq,
                ..Faults::NONE
            };
            let works: [&dyn Fn(); 7] = [
                &|| drop(cache.get(&bench.key(1))),
                &|| assert!(cache.get_ref(&bench.key(1)).is_some()),
                &|| assert!(bench.insert(1).is_admitted()),
                &|| drop(cache.remove(&bench.key(2))),
                &|| drop(cache.compute(bench.key(3), |_| Compute::Remove)),
                &|| assert!(cache.pin(&bench.key(4))),
                &|| drop(cache.insert_if_absent(bench.key(5), bench.value(5))),
            ];
            for work in works {
                assert!(with_faults(faults, work));
                bench.check();
            }
        }
        assert_eq!(cache.len(), CAPACITY);
        bench.end();
    }
}

/// The cache hashes keys of its own accord where it evicts, expires, grows and resizes. Whoever
/// happens to be inserting is not to blame for another key's `Hash`.
#[test]
fn a_resident_keys_panicking_hash_harms_nobody_else() {
    for bench in Bench::all() {
        for number in 0..CAPACITY {
            let (key, value) = (bench.key(number), bench.value(number));
            let seconds = if number % 2 == 0 { 1 } else { 1000 };
            bench
                .cache
                .insert_with_ttl(key, value, Duration::from_secs(seconds));
        }
        let faults = Faults {
            hash: true,
            ..Faults::NONE
        };
        bench.hands.advance(Duration::from_secs(10));
        assert!(!with_faults(faults, || bench.cache.maintain()), "expiry");
        assert_eq!(bench.cache.len(), CAPACITY / 2);
        bench.check();
        assert!(
            !with_faults(faults, || bench.cache.resize(5).unwrap()),
            "eviction"
        );
        bench.check();
        assert_eq!(bench.cache.len(), 5);
        bench.end();
    }
}

#[test]
fn a_key_whose_hash_changes_is_still_dropped_once() {
    for bench in Bench::all() {
        for round in 0..10 {
            // The keys in the cache now hash otherwise than when they were inserted.
            bench.salt.store(round * 0x9e37_79b9, Ordering::Relaxed);
            for number in 0..5 * CAPACITY {
                bench.insert(number % 60);
                bench.cache.invalidate(&bench.key(number % 7));
                drop(bench.cache.get(&bench.key(number % 11)));
            }
            bench.cache.maintain();
            assert!(bench.cache.len() <= CAPACITY);
            assert_eq!(bench.ledger.alive(), 2 * bench.cache.len());
        }
        bench.salt.fetch_add(1, Ordering::Relaxed);
        bench.cache.retain(|_, _| false);
        bench.cache.clear();
        assert_eq!(bench.ledger.alive(), 0);
        bench.check();
        bench.end();
    }
}

#[test]
fn a_panicking_listener_hears_of_each_removal_once() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let bench = Bench::new(engine, Policy::Default, true);
        let faults = Faults {
            listen: true,
            ..Faults::NONE
        };
        let panicked = with_faults(faults, || {
            for number in 0..3 * CAPACITY {
                bench.insert(number);
            }
            bench.cache.invalidate_all();
            bench.cache.maintain();
        });
        assert!(!panicked, "its panics go no further");
        bench.check();
        let heard = bench.heard.as_ref().expect("this one listens");
        let mut heard = heard.lock().unwrap().clone();
        heard.sort_unstable();
        assert_eq!(heard, (0..3 * CAPACITY).collect::<Vec<_>>());
        assert_eq!(bench.cache.stats().listener_panics, 3 * CAPACITY);
        bench.end();
    }
}

#[test]
fn panicking_closures_leave_the_cache_in_order() {
    for bench in Bench::all() {
        let cache = &bench.cache;
        bench.fill();
        let weigh = Faults {
            weigh: true,
            ..Faults::NONE
        };
        let works: [(Faults, &dyn Fn()); 8] = [
            (Faults::NONE, &|| {
                drop(cache.compute(bench.key(1), |_| panic!("a test's panic")))
            }),
            (Faults::NONE, &|| {
                drop(cache.remove_if(&bench.key(2), |_, _| panic!("a test's panic")))
            }),
            (Faults::NONE, &|| {
                cache.retain(|_, _| panic!("a test's panic"))
            }),
            (Faults::NONE, &|| {
                cache.with(&bench.key(3), |_| panic!("a test's panic"));
            }),
            (Faults::NONE, &|| {
                for entry in cache {
                    assert!(entry.number > CAPACITY, "a test's panic");
                }
            }),
            (weigh, &|| assert!(bench.insert(4).is_admitted())),
            (weigh, &|| {
                drop(cache.compute(bench.key(5), |_| Compute::Put(bench.value(5))))
            }),
            (weigh, &|| {
                drop(cache.insert_if_absent(bench.key(999), bench.value(999)))
            }),
        ];
        for (faults, work) in works {
            assert!(with_faults(faults, work));
            bench.check();
            assert_eq!(cache.len(), CAPACITY);
        }
        bench.end();
    }
}

#[test]
fn a_panicking_loader_leaves_nothing_behind() {
    #[derive(Debug)]
    struct Loaded(Token);
    impl Clone for Loaded {
        fn clone(&self) -> Self {
            fault(|faults| faults.clone);
            Self(self.0.clone())
        }
    }
    for engine in [Engine::LockFree, Engine::Locked] {
        let ledger: Arc<Ledger> = Arc::default();
        let cache: Cache<String, Loaded> = Cache::builder()
            .capacity(10)
            .engine(engine)
            .build()
            .unwrap();
        let load = || Ok::<_, Infallible>(Loaded(ledger.token()));
        let panicked = with_faults(Faults::NONE, || {
            let _never = cache.get_or_insert_with("a", || -> Result<Loaded, Infallible> {
                panic!("a test's panic")
            });
        });
        assert!(panicked && cache.is_empty());
        let clone = Faults {
            clone: true,
            ..Faults::NONE
        };
        assert!(with_faults(clone, || drop(
            cache.get_or_insert_with("b", load)
        )));
        drop(cache.get_or_insert_with("a", load).unwrap());
        drop(cache.get_or_insert_with("b", load).unwrap());
        cache.maintain();
        assert_eq!(ledger.alive(), cache.len());
        cache.validate();
        drop(cache);
        assert_eq!(ledger.alive(), 0);
    }
}

/// A value that uses its own cache when it is cloned and when it is dropped.
struct Nosy {
    number: u64,
    cache: Weak<OnceLock<Cache<u64, Nosy>>>,
    token: Token,
}

impl Nosy {
    fn meddle(&self) {
        // Gone together with the last handle of the cache.
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let Some(cache) = cache.get() else { return };
        assert!(cache.get_ref(&u64::MAX).is_none());
        cache.invalidate(&(self.number + 1));
        // The chain of insertions ends here.
        if self.number < 1_000 {
            cache.insert(self.number + 1_000, self.sibling(self.number + 1_000));
            cache.contains_key(&self.number);
            cache.maintain();
        }
    }

    fn sibling(&self, number: u64) -> Self {
        Self {
            number,
            cache: Weak::clone(&self.cache),
            token: self.token.clone(),
        }
    }
}

impl Clone for Nosy {
    fn clone(&self) -> Self {
        self.meddle();
        self.sibling(self.number + 2_000)
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.meddle();
    }
}

#[test]
fn drops_clones_and_listeners_may_use_the_cache() {
    for (engine, policy) in [
        (Engine::LockFree, Policy::Default),
        (Engine::LockFree, Policy::Lru),
        (Engine::Locked, Policy::Default),
        (Engine::Locked, Policy::Lru),
    ] {
        let ledger: Arc<Ledger> = Arc::default();
        let shared: Arc<OnceLock<Cache<u64, Nosy>>> = Arc::default();
        let listens = Arc::downgrade(&shared);
        // One shard, so that whatever the value's own code asks is behind the same lock.
        let cache = Cache::builder()
            .capacity(20)
            .shards(1)
            .engine(engine)
            .policy(policy)
            .listener(move |key: &u64, value: &Nosy, cause| {
                let Some(shared) = listens.upgrade() else {
                    return;
                };
                let cache = shared.get().expect("it is built");
                assert!(!cache.contains_key(&u64::MAX));
                if *key < 500 && cause == RemovalCause::Invalidated {
                    // Back again, under another number.
                    cache.insert(*key + 500, value.sibling(*key + 500));
                }
            })
            .build()
            .unwrap();
        let cache = shared.get_or_init(|| cache);
        let nosy = |number| Nosy {
            number,
            cache: Arc::downgrade(&shared),
            token: ledger.token(),
        };
        for number in 0..300 {
            cache.insert(number, nosy(number));
            drop(cache.get(&number));
            drop(cache.remove(&(number / 2)));
            drop(cache.compute(number % 10, |_| Compute::Put(nosy(number))));
        }
        assert!(cache.weight() <= 20);
        cache.validate();
        drop(shared);
        assert_eq!(ledger.alive(), 0);
    }
}

/// The entry that is turned away is the user's as well: it goes with no lock held.
#[test]
fn a_rejected_value_may_use_the_cache_when_it_is_dropped() {
    for engine in [Engine::LockFree, Engine::Locked] {
        let ledger: Arc<Ledger> = Arc::default();
        let shared: Arc<OnceLock<Cache<u64, Nosy>>> = Arc::default();
        let cache = Cache::builder()
            .weight_capacity(10)
            .weigher(|key: &u64, _: &Nosy| if *key == 0 { 11 } else { 1 })
            .shards(1)
            .engine(engine)
            .build()
            .unwrap();
        let cache = shared.get_or_init(|| cache);
        let nosy = |number| Nosy {
            number,
            cache: Arc::downgrade(&shared),
            token: ledger.token(),
        };
        assert_eq!(cache.insert(0, nosy(0)), Insertion::Rejected);
        let back = cache.insert_if_absent(1, nosy(1));
        assert_eq!(back.ok(), Some(Insertion::Created));
        assert!(cache.insert_if_absent(1, nosy(2)).is_err());
        drop(shared);
        assert_eq!(ledger.alive(), 0);
    }
}

#[test]
fn entries_without_size_are_counted_as_well() {
    static ALIVE: AtomicU64 = AtomicU64::new(0);
    #[derive(PartialEq, Eq, Hash)]
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let nothing = || {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Nothing
    };
    for engine in [Engine::LockFree, Engine::Locked] {
        let cache = Cache::builder().capacity(3).engine(engine).build().unwrap();
        for _ in 0..1_000 {
            cache.insert(nothing(), nothing());
            assert!(cache.get_ref(&nothing()).is_some());
        }
        cache.maintain();
        assert_eq!((cache.len(), ALIVE.load(Ordering::Relaxed)), (1, 2));
        drop(cache);
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    }
}
