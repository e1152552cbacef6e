//! Sessions that live as long as their kind allows, longer while they are used, and never beyond a
//! day.
//!
//! Run it with `cargo run --example per_entry_expiry`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::{BuildError, Cache, Clock, Expiry};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Session {
    Guest,
    Member,
}

/// A guest has five minutes, whatever happens; a member an hour from the last use.
struct ByKind;

impl Expiry<u32, Session> for ByKind {
    fn after_create(&self, _id: &u32, session: &Session) -> Option<Duration> {
        Some(match session {
            Session::Guest => 5 * MINUTE,
            Session::Member => HOUR,
        })
    }

    fn after_read(
        &self,
        _id: &u32,
        session: &Session,
        remaining: Option<Duration>,
    ) -> Option<Duration> {
        match session {
            Session::Guest => remaining,
            Session::Member => Some(HOUR),
        }
    }
}

fn main() -> Result<(), BuildError> {
    // A clock moved by hand, so that the example takes no day; leave it out for the machine's.
    let (clock, hands) = Clock::manual();
    let sessions: Cache<u32, Session> = Cache::builder()
        .capacity(10_000)
        .time_to_live(24 * HOUR)
        .expiry(ByKind)
        .clock(clock)
        .build()?;
    sessions.insert(1, Session::Guest);
    sessions.insert(2, Session::Member);
    // This one entry's own time to live goes before all of the above.
    sessions.insert_with_ttl(3, Session::Guest, 10 * MINUTE);

    hands.advance(5 * MINUTE);
    let after_minutes = [1, 2, 3].map(|id| sessions.get(&id));
    println!("after 5 minutes: {after_minutes:?}");
    assert_eq!(
        after_minutes,
        [None, Some(Session::Member), Some(Session::Guest)]
    );

    let mut hours = 0;
    while sessions.get(&2).is_some() {
        hands.advance(HOUR / 2);
        hours += 1;
    }
    let hours = f64::from(hours) / 2.0;
    println!("the member, active every half hour, was logged out after {hours} hours");
    assert_eq!(hours, 24.0);

    // What has expired gives its memory back with later writes, or at once on request.
    sessions.maintain();
    assert_eq!((sessions.len(), sessions.stats().expired), (0, 3));
    Ok(())
}
