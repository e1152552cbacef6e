//! Every interleaving of the hand-over, by loom. A lost wake-up shows as a deadlock.
//!
//! The models of three threads are bounded to three preemptions, which takes a second; unbounded
//! they hold too, after minutes.

use super::{Flights, Join, Landing, Leader};
use crate::sync::thread;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

const KEY: u64 = 1;

type ModelFlights = Flights<u64, u64>;

fn lead(flights: &ModelFlights) -> Leader<'_, u64, u64> {
    match flights.join(KEY, &KEY) {
        Join::Leader(leader) => leader,
        Join::Follower(_) | Join::Recursive => panic!("nobody leads yet"),
    }
}

/// Joins and blocks until it has a value, which it makes itself if it must lead.
fn obtain(flights: &ModelFlights, own: u64) -> u64 {
    let load = || Ok::<_, u64>(own);
    flights
        .load(KEY, &KEY, || None, load)
        .expect("no load fails")
}

/// Joins, looks once and goes away, leading nothing.
fn look_and_leave(flights: &ModelFlights) {
    if let Join::Follower(mut follower) = flights.join(KEY, &KEY) {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Landing::TookOver(leader)) = Pin::new(&mut follower).poll(&mut context) {
            drop(leader);
        }
    }
}

#[test]
fn model_a_settled_flight_wakes_its_follower() {
    loom::model(|| {
        let flights = ModelFlights::new();
        let leader = lead(&flights);
        let follower = thread::spawn({
            let flights = flights.clone();
            move || obtain(&flights, 2)
        });
        leader.settle::<u64>(Ok(1)).expect("settled");
        let value = follower.join().expect("no panic");
        assert!(
            value == 1 || value == 2,
            "the leader's value, or its own if it came late"
        );
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn model_a_dropped_leader_hands_over() {
    loom::model(|| {
        let flights = ModelFlights::new();
        let leader = lead(&flights);
        let follower = thread::spawn({
            let flights = flights.clone();
            move || obtain(&flights, 2)
        });
        drop(leader);
        assert_eq!(follower.join().expect("no panic"), 2);
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn model_one_of_two_followers_takes_over() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let flights = ModelFlights::new();
        let leader = lead(&flights);
        let followers: Vec<_> = (2..4)
            .map(|own| {
                let flights = flights.clone();
                thread::spawn(move || obtain(&flights, own))
            })
            .collect();
        drop(leader);
        for follower in followers {
            assert!((2..4).contains(&follower.join().expect("no panic")));
        }
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn model_a_follower_that_leaves_passes_the_baton_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let flights = ModelFlights::new();
        let leader = lead(&flights);
        let leaver = thread::spawn({
            let flights = flights.clone();
            move || look_and_leave(&flights)
        });
        let follower = thread::spawn({
            let flights = flights.clone();
            move || obtain(&flights, 2)
        });
        drop(leader);
        leaver.join().expect("no panic");
        assert_eq!(follower.join().expect("no panic"), 2);
        assert_eq!(flights.len(), 0);
    });
}

#[test]
fn model_two_never_lead_at_once() {
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    loom::model(|| {
        let flights = ModelFlights::new();
        let leading = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|own| {
                let (flights, leading) = (flights.clone(), Arc::clone(&leading));
                thread::spawn(move || {
                    let load = || {
                        assert_eq!(leading.fetch_add(1, Ordering::Relaxed), 0, "two lead");
                        leading.fetch_sub(1, Ordering::Relaxed);
                        Ok::<_, u64>(own)
                    };
                    flights
                        .load(KEY, &KEY, || None, load)
                        .expect("no load fails");
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(flights.len(), 0);
    });
}
