use super::{Flights, Follower, Join, Landing, Leader, LoadError, Phase};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

const KEY: &str = "key";
const HASH: u64 = 0x1234_5678_9abc_def0;

type TestFlights = Flights<String, u64>;
type TestFollower<'f> = Follower<'f, String, u64>;

/// A waker that remembers that it was called.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    fn new() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self::default());
        (Arc::clone(&flag), Waker::from(flag))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Runs a future on this thread, with a parker of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn lead(flights: &TestFlights) -> Leader<'_, String, u64> {
    match flights.join(HASH, KEY) {
        Join::Leader(leader) => leader,
        Join::Follower(_) | Join::Recursive => panic!("nobody leads yet"),
    }
}

fn follow(flights: &TestFlights) -> TestFollower<'_> {
    match flights.join(HASH, KEY) {
        Join::Follower(follower) => follower,
        Join::Leader(_) | Join::Recursive => panic!("somebody leads"),
    }
}

/// Followers asleep in the flight of `KEY`.
fn sleepers(flights: &TestFlights) -> usize {
    let shard = flights.table.shards[super::shard_of(HASH)].lock();
    let flight = shard.flights.find(HASH, |flight| flight.key == KEY);
    let crew = flight.and_then(|flight| flight.crew.as_ref());
    crew.map_or(0, |crew| crew.state.lock().sleepers.len())
}

fn wait_for_sleepers(flights: &TestFlights, count: usize) {
    while sleepers(flights) < count {
        thread::yield_now();
    }
}

fn settle(leader: Leader<String, u64>, result: Result<u64, String>) {
    let returned = leader.settle(result.clone());
    assert_eq!(
        returned.map_err(|error| error.to_string()).ok(),
        result.ok()
    );
}

fn expect_value(landing: Poll<Landing<String, u64>>) -> u64 {
    match landing {
        Poll::Ready(Landing::Loaded(value)) => value,
        Poll::Ready(_) => panic!("the flight landed without a value"),
        Poll::Pending => panic!("the flight is not over"),
    }
}

fn expect_leader(landing: Poll<Landing<String, u64>>) -> Leader<String, u64> {
    match landing {
        Poll::Ready(Landing::TookOver(leader)) => leader,
        Poll::Ready(_) => panic!("the flight has an outcome"),
        Poll::Pending => panic!("the flight is led"),
    }
}

#[test]
fn threads_and_tasks_that_miss_together_load_once() {
    let flights = TestFlights::new();
    let loads = AtomicUsize::new(0);
    let load = || {
        loads.fetch_add(1, Ordering::SeqCst);
        // Nobody else comes to lead, so all seven others fall asleep in time.
        wait_for_sleepers(&flights, 7);
        Ok::<_, String>(42)
    };
    thread::scope(|scope| {
        for caller in 0..8 {
            let (flights, load) = (&flights, &load);
            scope.spawn(move || {
                let value = if caller % 2 == 0 {
                    flights.load(HASH, KEY, || None, load)
                } else {
                    block_on(flights.load_async(HASH, KEY, || None, async || load()))
                };
                assert_eq!(value.expect("the load succeeds"), 42);
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(flights.len(), 0);
}

#[test]
fn different_keys_fly_at_once() {
    let flights = Flights::<u64, u64>::new();
    let together = Barrier::new(8);
    thread::scope(|scope| {
        for key in 0..8_u64 {
            let (flights, together) = (&flights, &together);
            scope.spawn(move || {
                // Equal hashes: only the key tells the flights apart.
                let load = || {
                    together.wait();
                    Ok::<_, String>(key)
                };
                assert_eq!(flights.load(7, &key, || None, load).expect("loaded"), key);
            });
        }
    });
    flights.validate();
    assert_eq!(flights.len(), 0);
}

#[test]
fn all_who_waited_share_one_error() {
    let flights = TestFlights::new();
    let errors: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let load = || {
                        wait_for_sleepers(&flights, 3);
                        Err("no such key".to_owned())
                    };
                    match flights.load(HASH, KEY, || None, load) {
                        Err(LoadError::Failed(error)) => error,
                        other => panic!("expected the loader's error, not {other:?}"),
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("no panic"))
            .collect()
    });
    assert_eq!(*errors[0], "no such key");
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    assert_eq!(flights.len(), 0, "an error is not remembered");
}

#[test]
fn a_follower_with_another_error_type_loads_for_itself() {
    let flights = TestFlights::new();
    let leader = lead(&flights);
    thread::scope(|scope| {
        let follower = scope.spawn(|| flights.load(HASH, KEY, || None, || Err::<u64, u8>(9)));
        wait_for_sleepers(&flights, 1);
        settle(leader, Err("text".to_owned()));
        match follower.join().expect("no panic") {
            Err(LoadError::Failed(error)) => assert_eq!(*error, 9),
            other => panic!("expected its own error, not {other:?}"),
        }
    });
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_panic_of_the_load_hands_over_to_exactly_one_waiter() {
    let flights = TestFlights::new();
    let loads = AtomicUsize::new(0);
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let load = || -> Result<u64, String> {
                wait_for_sleepers(&flights, 5);
                panic!("the loader gives up");
            };
            flights.load(HASH, KEY, || None, load)
        });
        while flights.len() == 0 {
            thread::yield_now();
        }
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| {
                    let load = || {
                        // The four others must still be asleep while this one leads.
                        wait_for_sleepers(&flights, 4);
                        loads.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, String>(5)
                    };
                    flights.load(HASH, KEY, || None, load)
                })
            })
            .collect();
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic").expect("loaded"), 5);
        }
        assert!(leader.join().is_err(), "the panic reaches its own caller");
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_cancelled_load_is_dropped_before_its_follower_takes_over() {
    static EVENTS: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    fn log(event: &'static str) {
        EVENTS.lock().expect("no panic").push(event);
    }
    struct Noisy;
    impl Drop for Noisy {
        fn drop(&mut self) {
            log("load dropped");
        }
    }
    struct Log;
    impl Wake for Log {
        fn wake(self: Arc<Self>) {
            log("follower woken");
        }
    }

    let flights = TestFlights::new();
    let load = || async {
        let _noisy = Noisy;
        std::future::pending::<Result<u64, String>>().await
    };
    let mut cancelled = Box::pin(flights.load_async(HASH, KEY, || None, load));
    assert!(poll_once(&mut cancelled, Waker::noop()).is_pending());
    let mut follower = follow(&flights);
    let waker = Waker::from(Arc::new(Log));
    assert!(poll_once(&mut follower, &waker).is_pending());
    drop(cancelled);
    assert_eq!(
        *EVENTS.lock().expect("no panic"),
        ["load dropped", "follower woken"]
    );
    settle(expect_leader(poll_once(&mut follower, &waker)), Ok(1));
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_chosen_follower_that_is_dropped_passes_the_baton_on() {
    let flights = TestFlights::new();
    let leader = lead(&flights);
    let mut followers: Vec<_> = (0..4).map(|_| (follow(&flights), Flag::new())).collect();
    for (follower, (_, waker)) in &mut followers {
        assert!(poll_once(follower, waker).is_pending());
    }
    drop(leader);
    for chosen in 0..3 {
        let woken: Vec<_> = followers.iter().map(|(_, (flag, _))| flag.take()).collect();
        let first_only: Vec<_> = (chosen..4).map(|follower| follower == chosen).collect();
        assert_eq!(woken, first_only, "in order, one at a time");
        followers.remove(0);
        flights.validate();
    }
    let (mut last, (flag, waker)) = followers.pop().expect("one is left");
    assert!(flag.take());
    settle(expect_leader(poll_once(&mut last, &waker)), Ok(3));
}

#[test]
fn a_newcomer_leads_a_vacant_flight_and_the_woken_follower_sleeps_again() {
    let flights = TestFlights::new();
    let leader = lead(&flights);
    let mut follower = follow(&flights);
    let (flag, waker) = Flag::new();
    assert!(poll_once(&mut follower, &waker).is_pending());
    drop(leader);
    assert!(flag.take());
    let newcomer = lead(&flights);
    assert!(poll_once(&mut follower, &waker).is_pending());
    settle(newcomer, Ok(8));
    assert!(flag.take());
    assert_eq!(expect_value(poll_once(&mut follower, &waker)), 8);
}

#[test]
fn followers_that_are_never_polled_hold_nobody_up() {
    let flights = TestFlights::new();
    let idle = follow_after_lead(&flights);
    drop(lead(&flights));
    assert_eq!(flights.len(), 1, "the idle follower may still want it");
    flights.validate();
    drop(idle);
    assert_eq!(
        flights.len(),
        0,
        "a vacant flight that nobody follows is given up"
    );
}

/// A follower whose leader is gone already.
fn follow_after_lead(flights: &TestFlights) -> TestFollower<'_> {
    let leader = lead(flights);
    let follower = follow(flights);
    drop(leader);
    follower
}

#[test]
fn a_failed_flight_without_followers_leaves_nothing_behind() {
    let flights = TestFlights::new();
    drop(lead(&flights));
    assert_eq!(flights.len(), 0);
    settle(lead(&flights), Err("no".to_owned()));
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_follower_that_was_not_polled_in_time_still_gets_the_outcome() {
    let flights = TestFlights::new();
    let leader = lead(&flights);
    let mut late = follow(&flights);
    settle(leader, Ok(4));
    assert_eq!(flights.len(), 0);
    assert_eq!(expect_value(poll_once(&mut late, Waker::noop())), 4);
}

#[test]
fn a_new_leader_looks_into_the_cache_before_it_loads() {
    let flights = TestFlights::new();
    let load = || -> Result<u64, String> { panic!("the value is there") };
    assert_eq!(flights.load(HASH, KEY, || Some(6), load).expect("found"), 6);
    let load = async || -> Result<u64, String> { panic!("the value is there") };
    let found = block_on(flights.load_async(HASH, KEY, || Some(7), load));
    assert_eq!(found.expect("found"), 7);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_load_that_needs_its_own_key_is_told_so() {
    let flights = TestFlights::new();
    let recurse = || match flights.load(HASH, KEY, || None, || Ok::<_, String>(1)) {
        Err(LoadError::Recursive) => Ok::<_, String>(0),
        other => panic!("expected recursion to be noticed, not {other:?}"),
    };
    assert_eq!(
        flights.load(HASH, KEY, || None, recurse).expect("loaded"),
        0
    );

    let through_another_key = || Ok(flights.load(1, "other", || None, recurse).expect("loaded"));
    let value = flights.load(HASH, KEY, || None, through_another_key);
    assert_eq!(
        value.map_err(|error: LoadError<String>| error.to_string()),
        Ok(0)
    );

    let recurse = async || match flights.load_async(HASH, KEY, || None, async || Ok(1)).await {
        Err(LoadError::<String>::Recursive) => recurse(),
        other => panic!("expected recursion to be noticed, not {other:?}"),
    };
    let value = block_on(flights.load_async(HASH, KEY, || None, recurse));
    assert_eq!(value.expect("loaded"), 0);
    assert_eq!(flights.len(), 0);
    assert_eq!(
        flights
            .load(HASH, KEY, || None, || Ok::<_, String>(2))
            .expect("loaded"),
        2
    );
}

#[test]
fn two_tasks_of_one_thread_are_not_recursion() {
    let flights = TestFlights::new();
    let (send, receive) = mpsc::channel();
    let gate = std::future::poll_fn(|_| match receive.try_recv() {
        Ok(value) => Poll::Ready(Ok::<u64, String>(value)),
        Err(_) => Poll::Pending,
    });
    let mut first = Box::pin(flights.load_async(HASH, KEY, || None, || gate));
    assert!(poll_once(&mut first, Waker::noop()).is_pending());
    let never = async || -> Result<u64, String> { panic!("the first task leads") };
    let mut second = Box::pin(flights.load_async(HASH, KEY, || None, never));
    let (flag, waker) = Flag::new();
    assert!(poll_once(&mut second, &waker).is_pending());
    send.send(3).expect("the gate is there");
    assert!(matches!(
        poll_once(&mut first, Waker::noop()),
        Poll::Ready(Ok(3))
    ));
    assert!(flag.take());
    assert!(matches!(poll_once(&mut second, &waker), Poll::Ready(Ok(3))));
}

#[test]
fn a_panic_within_a_load_ends_the_recursion_scope() {
    let flights = TestFlights::new();
    let panicking = || {
        let load = || -> Result<u64, String> { panic!("the loader gives up") };
        flights.load(HASH, KEY, || None, load)
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
    assert_eq!(
        flights
            .load(HASH, KEY, || None, || Ok::<_, String>(1))
            .expect("loaded"),
        1
    );
}

#[test]
fn a_waker_that_drops_a_follower_does_not_deadlock() {
    /// A task that is kept alive only by its wakers.
    struct Task(
        #[expect(dead_code, reason = "dropped with the task")] Mutex<Option<TestFollower<'static>>>,
    );
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    // A waker lives as long as it likes, and so must what its task borrows.
    static FLIGHTS: LazyLock<TestFlights> = LazyLock::new(TestFlights::new);
    let flights = &*FLIGHTS;
    let leader = lead(flights);
    let mut follower = follow(flights);
    let task = Arc::new(Task(Mutex::new(Some(follow(flights)))));
    let waker = Waker::from(task);
    assert!(poll_once(&mut follower, &waker).is_pending());
    drop(waker);
    // The flight holds the task's last waker: replacing it drops the task and its follower.
    assert!(poll_once(&mut follower, Waker::noop()).is_pending());
    flights.validate();

    let task = Arc::new(Task(Mutex::new(Some(follow(flights)))));
    assert!(poll_once(&mut follower, &Waker::from(task)).is_pending());
    drop(follower);
    flights.validate();
    drop(leader);
    assert_eq!(flights.len(), 0);
}

#[test]
fn only_one_can_lead_a_refresh() {
    let flights = TestFlights::new();
    let leader = flights.try_lead(HASH, KEY).expect("nobody leads");
    assert!(flights.try_lead(HASH, KEY).is_none());
    assert_eq!(flights.len(), 1);
    settle(leader, Ok(1));
    assert!(flights.try_lead(HASH, KEY).is_some());
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_value_that_panics_when_cloned_leaves_the_flight_to_a_follower() {
    #[derive(Debug)]
    struct Fragile(Arc<AtomicBool>);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0.swap(false, Ordering::SeqCst), "this value breaks");
            Self(Arc::clone(&self.0))
        }
    }

    let flights = Flights::<String, Fragile>::new();
    let breaks = Arc::new(AtomicBool::new(true));
    let Join::Leader(leader) = flights.join(HASH, KEY) else {
        panic!("nobody leads yet");
    };
    let Join::Follower(follower) = flights.join(HASH, KEY) else {
        panic!("somebody leads");
    };
    let value = Fragile(Arc::clone(&breaks));
    let settle = || leader.settle::<String>(Ok(value));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(settle)).is_err());
    let Landing::TookOver(leader) = follower.wait() else {
        panic!("the follower takes over");
    };
    leader
        .settle::<String>(Ok(Fragile(breaks)))
        .expect("settled");
    assert_eq!(flights.len(), 0);
}

#[test]
fn load_errors_read_well_and_need_no_clone_of_the_cause() {
    let cause = std::io::Error::other("connection refused");
    let error = LoadError::Failed(Arc::new(cause));
    let copy = error.clone();
    assert_eq!(copy.to_string(), "the loader failed");
    let source = std::error::Error::source(&copy).expect("it has a cause");
    assert_eq!(source.to_string(), "connection refused");
    let recursive = LoadError::<std::io::Error>::Recursive;
    assert_eq!(
        recursive.clone().to_string(),
        "the loader asked for the key that it was loading"
    );
}

/// Followers and leaders of one key come, are polled, dropped and settled in random order, on one
/// thread. After each step every follower that sleeps in a vacant flight has one awake beside it.
#[test]
fn random_comings_and_goings_never_leave_a_vacant_flight_asleep() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let flights = TestFlights::new();
        let mut leader: Option<Leader<String, u64>> = None;
        let mut followers: Vec<(TestFollower, Arc<Flag>, Waker, bool)> = Vec::new();
        for step in 0..300 {
            match random.u8(..8) {
                0..3 => match flights.join(HASH, KEY) {
                    Join::Leader(joined) => {
                        assert!(leader.replace(joined).is_none(), "two lead at once");
                    }
                    Join::Follower(follower) => {
                        let (flag, waker) = Flag::new();
                        followers.push((follower, flag, waker, false));
                    }
                    Join::Recursive => panic!("no load is running"),
                },
                3..6 if !followers.is_empty() => {
                    let at = random.usize(..followers.len());
                    let (follower, flag, waker, asleep) = &mut followers[at];
                    flag.take();
                    match poll_once(follower, waker) {
                        Poll::Pending => *asleep = true,
                        Poll::Ready(landing) => {
                            followers.swap_remove(at);
                            if let Landing::TookOver(heir) = landing {
                                assert!(leader.replace(heir).is_none(), "two lead at once");
                            }
                        }
                    }
                }
                6 if !followers.is_empty() => {
                    followers.swap_remove(random.usize(..followers.len()));
                }
                _ => match leader.take() {
                    Some(leader) if random.bool() => settle(leader, Ok(step)),
                    dropped => drop(dropped),
                },
            }
            flights.validate();
            if leader.is_none() {
                let mut vacant = followers.iter().filter(|(follower, ..)| {
                    matches!(follower.crew.state.lock().phase, Phase::Vacant)
                });
                let any_vacant = vacant.clone().next().is_some();
                let any_awake =
                    vacant.any(|(_, flag, _, asleep)| !asleep || flag.0.load(Ordering::SeqCst));
                assert!(
                    !any_vacant || any_awake,
                    "all sleep, in step {step} of seed {seed}"
                );
            }
        }
        drop(leader);
        drop(followers);
        assert_eq!(flights.len(), 0);
    }
}

/// Real threads that load, fail, panic and cancel on few keys: every call ends, and the flights
/// that are over are gone.
#[test]
fn contended_flights_all_land() {
    let flights = Flights::<u64, u64>::new();
    thread::scope(|scope| {
        for caller in 0..8 {
            let flights = &flights;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(caller);
                for _ in 0..400 {
                    let key = random.u64(..3);
                    match random.u8(..4) {
                        0 => {
                            let load = || -> Result<u64, String> { panic!("the loader gives up") };
                            let call = || flights.load(key, &key, || None, load);
                            let call = std::panic::AssertUnwindSafe(call);
                            let unwound = std::panic::catch_unwind(call);
                            if let Ok(value) = unwound {
                                check(key, &value);
                            }
                        }
                        1 => {
                            let load = async || {
                                yield_once().await;
                                Ok::<u64, String>(key)
                            };
                            let call = flights.load_async(key, &key, || None, load);
                            check(key, &block_on(call));
                        }
                        2 => {
                            let load = || Err::<u64, String>(key.to_string());
                            check(key, &flights.load(key, &key, || None, load));
                        }
                        _ => {
                            let load = async || {
                                yield_once().await;
                                Ok::<u64, String>(key)
                            };
                            let call = flights.load_async(key, &key, || None, load);
                            let mut call = Box::pin(call);
                            if let Poll::Ready(value) = poll_once(&mut call, Waker::noop()) {
                                check(key, &value);
                            }
                        }
                    }
                }
            });
        }
    });
    flights.validate();
    assert_eq!(flights.len(), 0);
}

fn check(key: u64, landed: &Result<u64, LoadError<String>>) {
    match landed {
        Ok(value) => assert_eq!(*value, key),
        Err(LoadError::Failed(error)) => assert_eq!(**error, key.to_string()),
        Err(LoadError::Recursive) => panic!("no load recurses"),
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
