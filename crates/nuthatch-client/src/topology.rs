//! Who serves which slot of a cluster, as its nodes say, and for how long that may be believed.
//!
//! No node knows for certain. One that has been deposed while it was cut off believes for a moment after it
//! returns that nothing has changed; a promise of such a node is worth nothing. What protects against it is
//! how Redis Cluster elects: a replica takes its primary's place with an epoch that no election had before,
//! and with the votes of a majority of the primaries, each of which adopts the epoch when it votes
//! (Redis Cluster Specification, "Replica election and promotion"). So:
//!
//! > If a majority of the primaries answer questions that were sent at `t` with the epoch that is known
//! > already, then no election with a higher epoch had been won at `t`, since of any two majorities one
//! > node is in both.
//!
//! [`Quorum`] keeps when that was so last. A higher epoch makes the near cache ask everybody who serves
//! what; and for as long as an election with that epoch could still be won, the nodes are asked for all
//! they know each time, not for the epoch alone.
//!
//! Nothing here asks or waits: answers go in, decisions come out.

use crate::slot::SLOTS;
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;

/// What one node says: for each slot, the address of its primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Sorted; first and last slot of each range.
    ranges: Vec<(u16, u16, Arc<str>)>,
}

impl View {
    /// Reads the reply to `CLUSTER SLOTS` of the node at `asked`: a node that does not know its own host
    /// leaves it out.
    pub(crate) fn parse(reply: &Value, asked: &str) -> Option<Self> {
        let Value::Array(rows) = reply else {
            return None;
        };
        let mut ranges = rows
            .iter()
            .map(|row| Self::range(row, asked))
            .collect::<Option<Vec<_>>>()?;
        ranges.sort();
        // Each slot has one primary.
        let disjoint = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        disjoint.then_some(Self { ranges })
    }

    fn range(row: &Value, asked: &str) -> Option<(u16, u16, Arc<str>)> {
        let Value::Array(parts) = row else {
            return None;
        };
        let [
            Value::Int(first),
            Value::Int(last),
            Value::Array(primary),
            ..,
        ] = &parts[..]
        else {
            return None;
        };
        let [host, Value::Int(port), ..] = &primary[..] else {
            return None;
        };
        let host = match host {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::SimpleString(text) => text,
            Value::Nil => "",
            _ => return None,
        };
        let host = match host {
            "" | "?" => asked.rsplit_once(':')?.0,
            known => known,
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        let port = u16::try_from(*port).ok()?;
        (first <= last && last < SLOTS).then(|| (first, last, address(host, port).into()))
    }

    /// A number that tells views apart.
    pub(crate) fn digest(&self) -> u64 {
        foldhash::fast::FixedState::with_seed(0).hash_one(&self.ranges)
    }

    /// The primaries that serve any slot.
    pub(crate) fn primaries(&self) -> BTreeSet<Arc<str>> {
        self.ranges
            .iter()
            .map(|range| Arc::clone(&range.2))
            .collect()
    }

    /// By slot: its primary, if it has one.
    pub(crate) fn owners(&self) -> Vec<Option<Arc<str>>> {
        let mut owners = vec![None; usize::from(SLOTS)];
        for (first, last, primary) in &self.ranges {
            for slot in *first..=*last {
                owners[usize::from(slot)] = Some(Arc::clone(primary));
            }
        }
        owners
    }
}

/// A node's address as one text; an address of IPv6 is in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The epoch in the reply to `CLUSTER INFO`.
pub(crate) fn epoch(reply: &Value) -> Option<u64> {
    let text = match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        _ => return None,
    };
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cluster_current_epoch:"))?;
    line.trim().parse().ok()
}

/// What a node answered to the question what it knows.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) epoch: u64,
    pub(crate) view: View,
}

/// The view to go by: that which most nodes have, of those that know of the latest epoch. Of two that as
/// many have, the one that is not what has been gone by so far, for somebody has heard of something new.
pub(crate) fn choose(answers: &[Answer], current: Option<u64>) -> Option<Answer> {
    let latest = answers.iter().map(|answer| answer.epoch).max()?;
    let mut votes: BTreeMap<u64, (usize, &Answer)> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.epoch == latest) {
        votes.entry(answer.view.digest()).or_insert((0, answer)).0 += 1;
    }
    let best = votes
        .iter()
        .max_by_key(|(digest, (count, _))| (*count, Some(**digest) != current));
    best.map(|(_, (_, answer))| (*answer).clone())
}

/// When a majority of the primaries last agreed with what is gone by. See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    /// By primary: when the question was sent that it answered in agreement.
    agreed_ns: BTreeMap<Arc<str>, u64>,
}

impl Quorum {
    /// These are the primaries from now on, and what is gone by has changed: nobody has agreed yet.
    pub(crate) fn reset(&mut self, primaries: impl IntoIterator<Item = Arc<str>>) {
        self.agreed_ns = primaries.into_iter().map(|primary| (primary, 0)).collect();
    }

    /// A node agreed, when it was asked at `sent_ns`.
    pub(crate) fn agreed(&mut self, node: &str, sent_ns: u64) {
        if let Some(agreed_ns) = self.agreed_ns.get_mut(node) {
            *agreed_ns = sent_ns.max(*agreed_ns);
        }
    }

    /// The latest time after which a majority has been asked and has agreed; 0 if there is none.
    pub(crate) fn since_ns(&self) -> u64 {
        let mut times: Vec<u64> = self.agreed_ns.values().copied().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(times.len() / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Quorum, View, choose, epoch};
    use redis::Value;
    use std::sync::Arc;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![
            bulk(host),
            Value::Int(port),
            bulk("id"),
            Value::Array(vec![]),
        ])
    }

    fn slots(rows: &[(i64, i64, &str, i64)]) -> Value {
        let row = |&(first, last, host, port): &(i64, i64, &str, i64)| {
            let replica = node("replica", 1);
            Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                node(host, port),
                replica,
            ])
        };
        Value::Array(rows.iter().map(row).collect())
    }

    fn view(rows: &[(i64, i64, &str, i64)]) -> View {
        View::parse(&slots(rows), "asked:1").expect("a view")
    }

    #[test]
    fn a_view_says_who_serves_each_slot() {
        let rows = [
            (5_461, 16_383, "b", 2),
            (0, 5_459, "", 1),
            (5_460, 5_460, "::1", 3),
        ];
        let view = view(&rows);
        let owners = view.owners();
        let owner = |slot: usize| owners[slot].as_deref();
        assert_eq!(
            owner(0),
            Some("asked:1"),
            "its own host is the one that was asked"
        );
        assert_eq!(owner(5_460), Some("[::1]:3"));
        assert_eq!(owner(16_383), Some("b:2"));
        assert_eq!(view.primaries().len(), 3);
        let some = View::parse(&slots(&[(7, 8, "b", 2)]), "asked:1").expect("a view");
        assert_eq!(some.owners()[9], None);
    }

    #[test]
    fn replies_that_make_no_sense_are_no_view() {
        let wrong = [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            slots(&[(0, 16_384, "a", 1)]),
            slots(&[(5, 4, "a", 1)]),
            slots(&[(0, 10, "a", 1), (10, 20, "b", 1)]),
            slots(&[(-1, 10, "a", 1)]),
            slots(&[(0, 10, "a", 65_536)]),
        ];
        for reply in wrong {
            assert_eq!(View::parse(&reply, "asked:1"), None, "{reply:?}");
        }
        assert_eq!(
            epoch(&bulk("cluster_state:ok\r\ncluster_current_epoch:12\r\n")),
            Some(12)
        );
        assert_eq!(epoch(&bulk("cluster_state:ok\r\n")), None);
        assert_eq!(epoch(&Value::Okay), None);
    }

    #[test]
    fn the_view_of_most_with_the_latest_epoch_is_gone_by() {
        let (old, new) = (view(&[(0, 16_383, "a", 1)]), view(&[(0, 16_383, "b", 1)]));
        let answer = |epoch, view: &View| Answer {
            epoch,
            view: view.clone(),
        };
        let chosen = |answers: &[Answer], current| choose(answers, current).expect("one").view;
        assert!(choose(&[], None).is_none());
        let late = [answer(1, &old), answer(1, &old), answer(2, &new)];
        assert_eq!(chosen(&late, Some(old.digest())), new);
        let most = [answer(2, &old), answer(2, &new), answer(2, &old)];
        assert_eq!(chosen(&most, Some(old.digest())), old);
        let split = [answer(2, &old), answer(2, &new)];
        assert_eq!(chosen(&split, Some(old.digest())), new);
        assert_eq!(chosen(&split, Some(new.digest())), old);
    }

    #[test]
    fn a_majority_is_what_counts() {
        let mut quorum = Quorum::default();
        assert_eq!(quorum.since_ns(), 0);
        quorum.reset(["a", "b", "c"].map(Arc::from));
        quorum.agreed("a", 100);
        assert_eq!(quorum.since_ns(), 0, "one of three");
        quorum.agreed("c", 50);
        assert_eq!(quorum.since_ns(), 50, "two of three");
        quorum.agreed("c", 40);
        quorum.agreed("stranger", 400);
        assert_eq!(quorum.since_ns(), 50);
        quorum.agreed("b", 300);
        assert_eq!(quorum.since_ns(), 100);
        // Of four, two are no majority.
        quorum.reset(["a", "b", "c", "d"].map(Arc::from));
        for node in ["a", "b"] {
            quorum.agreed(node, 500);
        }
        assert_eq!(quorum.since_ns(), 0);
        quorum.agreed("d", 300);
        assert_eq!(quorum.since_ns(), 300);
    }
}
