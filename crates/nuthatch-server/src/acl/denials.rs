//! What users were refused: counts by reason, and the last cases for `ACL LOG`.

use super::DenialReason;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// A case like one of the last minute is counted with it.
const SAME_CASE_MS: u64 = 60_000;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// To be somebody.
    Authentication,
    /// To run a request.
    Permission(DenialReason),
}

impl Refusal {
    /// As `ACL LOG` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "auth",
            Self::Permission(DenialReason::Command) => "command",
            Self::Permission(DenialReason::Key) => "key",
            Self::Permission(DenialReason::Channel) => "channel",
        }
    }
}

/// Where the request stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// By itself.
    TopLevel,
    /// In a transaction.
    Transaction,
}

impl Context {
    /// As `ACL LOG` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Transaction => "multi",
        }
    }
}

/// A case of `ACL LOG`.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number.
    pub id: u64,
    /// How often it happened.
    pub count: u64,
    /// What was refused.
    pub refusal: Refusal,
    /// Where.
    pub context: Context,
    /// The command, key, channel or user at fault.
    pub object: Vec<u8>,
    /// Who was refused.
    pub user: Vec<u8>,
    /// The client, as `CLIENT INFO` has it.
    pub client: String,
    /// When it happened first, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it happened last.
    pub updated_ms: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Denials {
    /// Newest first.
    records: Mutex<VecDeque<Record>>,
    next_id: AtomicU64,
    authentication: AtomicU64,
    command: AtomicU64,
    key: AtomicU64,
    channel: AtomicU64,
}

impl Denials {
    fn counter(&self, refusal: Refusal) -> &AtomicU64 {
        match refusal {
            Refusal::Authentication => &self.authentication,
            Refusal::Permission(DenialReason::Command) => &self.command,
            Refusal::Permission(DenialReason::Key) => &self.key,
            Refusal::Permission(DenialReason::Channel) => &self.channel,
        }
    }

    /// How often this was refused.
    pub fn count(&self, refusal: Refusal) -> u64 {
        self.counter(refusal).load(Ordering::Relaxed)
    }

    /// Keeps a case; of all, the newest `max`.
    pub fn add(&self, case: Record, max: usize) {
        self.counter(case.refusal).fetch_add(1, Ordering::Relaxed);
        let mut records = self.records.lock();
        let is_same = |known: &Record| {
            known.refusal == case.refusal
                && known.context == case.context
                && known.object == case.object
                && known.user == case.user
                && case.updated_ms.saturating_sub(known.updated_ms) <= SAME_CASE_MS
        };
        match records.iter().position(is_same) {
            Some(position) => {
                let mut known = records.remove(position).expect("a position that was found");
                known.count += 1;
                known.updated_ms = case.updated_ms;
                known.client = case.client;
                records.push_front(known);
            }
            None => {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                records.push_front(Record { id, ..case });
            }
        }
        records.truncate(max);
    }

    /// The newest cases, at most `max`.
    pub fn newest(&self, max: usize) -> Vec<Record> {
        self.records.lock().iter().take(max).cloned().collect()
    }

    /// Forgets all cases, not the counts.
    pub fn clear(&self) {
        self.records.lock().clear();
    }

    /// Sets the counts back to 0.
    pub fn reset_counts(&self) {
        for counter in [
            &self.authentication,
            &self.command,
            &self.key,
            &self.channel,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, Denials, Record, Refusal, SAME_CASE_MS};

    fn case(object: &str, now_ms: u64) -> Record {
        Record {
            id: 0,
            count: 1,
            refusal: Refusal::Authentication,
            context: Context::TopLevel,
            object: object.into(),
            user: b"u".to_vec(),
            client: String::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
        }
    }

    #[test]
    fn like_cases_of_a_minute_are_one_and_the_oldest_leave() {
        let denials = Denials::default();
        denials.add(case("a", 0), 2);
        denials.add(case("b", 1), 2);
        denials.add(case("a", 2), 2);
        let shown = |denials: &Denials| -> Vec<(Vec<u8>, u64)> {
            let records = denials.newest(9).into_iter();
            records.map(|case| (case.object, case.count)).collect()
        };
        assert_eq!(shown(&denials), [(b"a".to_vec(), 2), (b"b".to_vec(), 1)]);
        denials.add(case("a", 3 + SAME_CASE_MS), 2);
        assert_eq!(shown(&denials), [(b"a".to_vec(), 1), (b"a".to_vec(), 2)]);
        assert_eq!(denials.count(Refusal::Authentication), 4);
        assert_eq!(denials.newest(1)[0].id, 2);
    }
}
