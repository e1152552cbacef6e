//! Clients that write without pause, each on keys of its own, and know what every key was at any time.
//!
//! A connection's operations are in the log in their order, so what a crash leaves of them is always a
//! beginning: there is a number of operations after which the keys were exactly what is found. That number
//! is searched; it says what was lost.

use crate::harness::{Value, request};
use crate::process::Connection;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Keys of each kind.
const KEYS: usize = 8;
const KINDS: [&str; 3] = ["string", "counter", "hash"];
const FIELDS: usize = 12;
/// Operations sent at once, at most, and those that are not answered when more are sent.
const BATCH: usize = 64;
const WINDOW: usize = 200;
/// A deadline that does not come.
const LATER_MS: u64 = 4_000_000_000_000;

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// Of a string.
    bytes: Vec<u8>,
    /// Of a hash; a string has none.
    fields: BTreeMap<String, Vec<u8>>,
    deadline_ms: Option<u64>,
}

type State = BTreeMap<String, Held>;

/// One request that changes keys, or one transaction of several.
#[derive(Clone, Debug)]
enum Operation {
    Set(Vec<(String, Vec<u8>)>),
    SetUntil(String, Vec<u8>, u64),
    Append(String, Vec<u8>),
    Increment(String),
    Delete(Vec<String>),
    Expire(String, Option<u64>),
    Rename(String, String),
    HashSet(String, Vec<(String, Vec<u8>)>),
    HashDelete(String, Vec<String>),
    Transaction(Vec<Operation>),
    /// Changes nothing, and may be refused while another snapshot is written.
    Save(&'static str),
}

impl Operation {
    fn write(&self, out: &mut Vec<u8>) {
        let mut words: Vec<&[u8]> = Vec::new();
        let number;
        match self {
            Self::Set(pairs) => {
                words.push(if pairs.len() == 1 { b"SET" } else { b"MSET" });
                words.extend(
                    pairs
                        .iter()
                        .flat_map(|(key, value)| [key.as_bytes(), value]),
                );
            }
            Self::SetUntil(key, value, deadline_ms) => {
                number = deadline_ms.to_string();
                words.extend([b"SET", key.as_bytes(), value, b"PXAT", number.as_bytes()]);
            }
            Self::Append(key, value) => words.extend([b"APPEND", key.as_bytes(), value]),
            Self::Increment(key) => words.extend([&b"INCR"[..], key.as_bytes()]),
            Self::Delete(keys) => {
                words.push(b"DEL");
                words.extend(keys.iter().map(String::as_bytes));
            }
            Self::Expire(key, None) => words.extend([&b"PERSIST"[..], key.as_bytes()]),
            Self::Expire(key, Some(deadline_ms)) => {
                number = deadline_ms.to_string();
                words.extend([b"PEXPIREAT", key.as_bytes(), number.as_bytes()]);
            }
            Self::Rename(from, to) => words.extend([b"RENAME", from.as_bytes(), to.as_bytes()]),
            Self::HashSet(key, fields) => {
                words.extend([&b"HSET"[..], key.as_bytes()]);
                words.extend(
                    fields
                        .iter()
                        .flat_map(|(name, value)| [name.as_bytes(), value]),
                );
            }
            Self::HashDelete(key, fields) => {
                words.extend([&b"HDEL"[..], key.as_bytes()]);
                words.extend(fields.iter().map(String::as_bytes));
            }
            Self::Transaction(parts) => {
                out.extend(request(&["MULTI"]));
                parts.iter().for_each(|part| part.write(out));
                words.push(b"EXEC");
            }
            Self::Save(command) => words.push(command.as_bytes()),
        }
        out.extend(request(&words));
    }

    fn replies(&self) -> usize {
        match self {
            Self::Transaction(parts) => parts.len() + 2,
            _ => 1,
        }
    }

    fn accepts(&self, reply: &Value) -> bool {
        match (self, reply) {
            (Self::Save(_), _) => true,
            (_, Value::Error(_) | Value::NullArray) => false,
            (_, Value::Array(replies)) => {
                !replies.iter().any(|reply| matches!(reply, Value::Error(_)))
            }
            _ => true,
        }
    }

    fn apply(&self, state: &mut State) {
        match self {
            Self::Set(pairs) => {
                for (key, value) in pairs {
                    state.insert(key.clone(), Held::string(value, None));
                }
            }
            Self::SetUntil(key, value, deadline_ms) => {
                state.insert(key.clone(), Held::string(value, Some(*deadline_ms)));
            }
            Self::Append(key, value) => {
                let held = state.entry(key.clone()).or_default();
                held.bytes.extend_from_slice(value);
            }
            Self::Increment(key) => {
                let held = state
                    .entry(key.clone())
                    .or_insert_with(|| Held::string(b"0", None));
                let text = std::str::from_utf8(&held.bytes).expect("a number");
                let number: u64 = text.parse().expect("a number");
                held.bytes = (number + 1).to_string().into_bytes();
            }
            Self::Delete(keys) => keys.iter().for_each(|key| drop(state.remove(key))),
            Self::Expire(key, deadline_ms) => {
                if let Some(held) = state.get_mut(key) {
                    held.deadline_ms = *deadline_ms;
                }
            }
            Self::Rename(from, to) => {
                let held = state.remove(from).expect("only what is there is renamed");
                state.insert(to.clone(), held);
            }
            Self::HashSet(key, fields) => {
                let held = state.entry(key.clone()).or_default();
                held.fields.extend(fields.iter().cloned());
            }
            Self::HashDelete(key, fields) => {
                if let Some(held) = state.get_mut(key) {
                    held.fields.retain(|name, _| !fields.contains(name));
                    if held.fields.is_empty() {
                        state.remove(key);
                    }
                }
            }
            Self::Transaction(parts) => parts.iter().for_each(|part| part.apply(state)),
            Self::Save(_) => {}
        }
    }

    /// The keys that it may change.
    fn keys(&self) -> Vec<&String> {
        match self {
            Self::Set(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Self::Delete(keys) => keys.iter().collect(),
            Self::SetUntil(key, ..)
            | Self::Append(key, _)
            | Self::Increment(key)
            | Self::Expire(key, _)
            | Self::HashSet(key, _)
            | Self::HashDelete(key, _) => vec![key],
            Self::Rename(from, to) => vec![from, to],
            Self::Transaction(parts) => parts.iter().flat_map(Self::keys).collect(),
            Self::Save(_) => Vec::new(),
        }
    }
}

impl Held {
    fn string(bytes: &[u8], deadline_ms: Option<u64>) -> Self {
        Self {
            bytes: bytes.to_vec(),
            deadline_ms,
            ..Self::default()
        }
    }

    fn in_short(&self) -> String {
        let short = |bytes: &[u8]| {
            let start = bytes[..bytes.len().min(40)].escape_ascii();
            format!("{start} ({} bytes)", bytes.len())
        };
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", short(value)))
            .collect();
        let fields = fields.join(", ");
        format!("{} {{{fields}}} {:?}", short(&self.bytes), self.deadline_ms)
    }
}

/// What may be lost of that which was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Nothing,
    /// What was written within so long.
    Within(Duration),
    /// Anything, but in order.
    Anything,
}

/// A client that writes. What it knows lasts from one process of the server to the next.
pub(crate) struct Writer {
    rng: Rng,
    /// What its keys begin with.
    name: String,
    /// Operations that it has ever made up.
    made: u64,
    /// What its keys held when this life began.
    base: State,
    /// What was sent since.
    operations: Vec<Operation>,
    /// How many of these are acknowledged.
    acknowledged: usize,
    /// When so many were about to be sent, and when so many were seen to be acknowledged.
    sends: Vec<(usize, Instant)>,
    acknowledgements: Vec<(usize, Instant)>,
}

impl Writer {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            name: name.to_owned(),
            made: 0,
            base: State::new(),
            operations: Vec::new(),
            acknowledged: 0,
            sends: Vec::new(),
            acknowledgements: Vec::new(),
        }
    }

    /// Operations acknowledged since the last check.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Keys that there were at the last check.
    pub(crate) fn keys(&self) -> usize {
        self.base.len()
    }

    /// Writes until the server ends.
    pub(crate) fn run(&mut self, mut connection: Connection) {
        let mut ahead = self.base.clone();
        // Replies to the operation that is answered next which have come.
        let mut replies = 0;
        loop {
            let mut bytes = Vec::new();
            for _ in 0..self.rng.usize(1..=BATCH) {
                let operation = self.make_up(&ahead);
                operation.write(&mut bytes);
                operation.apply(&mut ahead);
                self.operations.push(operation);
            }
            // From now on any part of it may have been done.
            self.sends.push((self.operations.len(), Instant::now()));
            let goes_on = connection.send(&bytes);
            let window = self.rng.usize(0..=WINDOW);
            while self.operations.len() - self.acknowledged > window || !goes_on {
                let is_end = !connection.receive();
                while let Some(reply) = connection.take() {
                    let operation = &self.operations[self.acknowledged];
                    assert!(operation.accepts(&reply), "{operation:?}: {reply}");
                    replies += 1;
                    if replies == operation.replies() {
                        replies = 0;
                        self.acknowledged += 1;
                    }
                }
                self.acknowledgements
                    .push((self.acknowledged, Instant::now()));
                if is_end {
                    return;
                }
            }
        }
    }

    fn key(&mut self, kind: &str) -> String {
        format!("{}:{kind}:{}", self.name, self.rng.usize(0..KEYS))
    }

    fn any_key(&mut self) -> String {
        let kind = KINDS[self.rng.usize(0..KINDS.len())];
        self.key(kind)
    }

    fn fields(&mut self) -> Vec<String> {
        let count = [1, 1, 2, 5][self.rng.usize(0..4)];
        let mut names = BTreeSet::new();
        for _ in 0..count {
            names.insert(format!("field {}", self.rng.usize(0..FIELDS)));
        }
        names.into_iter().collect()
    }

    /// A value that no other operation writes.
    fn value(&mut self) -> Vec<u8> {
        self.made += 1;
        let mut value = format!("{} of {};", self.made, self.name).into_bytes();
        let length = match self.rng.u32(0..2000) {
            0 => self.rng.usize(200_000..600_000),
            1..20 => self.rng.usize(1000..30_000),
            _ => self.rng.usize(0..100),
        };
        let filler = (self.made % 251) as u8;
        value.resize(value.len() + length, filler);
        value
    }

    fn make_up(&mut self, state: &State) -> Operation {
        match self.rng.u32(0..1000) {
            0..4 => Operation::Save(["BGSAVE", "BGREWRITEAOF"][self.rng.usize(0..2)]),
            4..200 => {
                let mut parts = Vec::new();
                for _ in 0..self.rng.usize(1..5) {
                    parts.push(self.make_up_part(state));
                }
                // What is renamed may be gone when it comes to it.
                parts.retain(|part| !matches!(part, Operation::Rename(..)));
                Operation::Transaction(parts)
            }
            _ => self.make_up_part(state),
        }
    }

    fn make_up_part(&mut self, state: &State) -> Operation {
        match self.rng.u32(0..100) {
            0..25 => Operation::Set(vec![(self.key("string"), self.value())]),
            25..32 => {
                let keys: BTreeSet<String> = (0..3).map(|_| self.key("string")).collect();
                let pairs = keys.into_iter().map(|key| (key, self.value()));
                Operation::Set(pairs.collect())
            }
            32..40 => {
                let deadline_ms = LATER_MS + self.rng.u64(0..1000);
                Operation::SetUntil(self.key("string"), self.value(), deadline_ms)
            }
            40..45 => Operation::Append(self.key("string"), b"more ".to_vec()),
            45..60 => Operation::Increment(self.key("counter")),
            60..68 => {
                let count = self.rng.usize(1..3);
                let keys = (0..count).map(|_| self.any_key());
                Operation::Delete(keys.collect())
            }
            68..74 => {
                let key = self.any_key();
                let deadline_ms = LATER_MS + self.rng.u64(0..1000);
                Operation::Expire(key, self.rng.bool().then_some(deadline_ms))
            }
            74..78 => {
                let (from, to) = (self.key("string"), self.key("string"));
                if from != to && state.contains_key(&from) {
                    Operation::Rename(from, to)
                } else {
                    Operation::Delete(vec![to])
                }
            }
            78..92 => {
                let fields = self.fields();
                let fields = fields.into_iter().map(|name| (name, self.value()));
                let fields = fields.collect();
                Operation::HashSet(self.key("hash"), fields)
            }
            _ => Operation::HashDelete(self.key("hash"), self.fields()),
        }
    }

    /// Compares what is there after a restart with what was written, and goes on from there.
    pub(crate) fn check(&mut self, connection: &mut Connection, loss: Loss) {
        let found = self.read(connection);
        let is_right = |state: &State, key: &str| state.get(key) == found.get(key);
        let mut state = std::mem::take(&mut self.base);
        let all = found.keys().chain(state.keys());
        let mut wrong: BTreeSet<String> =
            all.filter(|key| !is_right(&state, key)).cloned().collect();
        let mut kept = wrong.is_empty().then(|| (0, state.clone()));
        let mut nearest = (wrong.len(), 0, wrong.clone());
        for (before, operation) in self.operations.iter().enumerate() {
            operation.apply(&mut state);
            for key in operation.keys() {
                if is_right(&state, key) {
                    wrong.remove(key);
                } else {
                    wrong.insert(key.clone());
                }
            }
            if wrong.is_empty() {
                kept = Some((before + 1, state.clone()));
            }
            if wrong.len() <= nearest.0 {
                nearest = (wrong.len(), before + 1, wrong.clone());
            }
        }
        let (sent, acknowledged) = (self.operations.len(), self.acknowledged);
        let Some((kept, state)) = kept else {
            let (_, after, wrong) = nearest;
            for key in &wrong {
                let held = found.get(key).map(Held::in_short);
                eprintln!("{key} holds {held:?}");
            }
            panic!(
                "{} of {} was never so: {acknowledged} of {sent} operations are acknowledged; after {after} of \
                 them all was as found but {wrong:?}",
                self.name, self.name
            );
        };
        let lost = acknowledged.saturating_sub(kept);
        let told = format!(
            "{kept} of {}'s {sent} operations are kept, and {acknowledged} were acknowledged",
            self.name
        );
        match loss {
            Loss::Nothing => assert_eq!(lost, 0, "{told}"),
            Loss::Within(longest) if lost > 0 => {
                let span = self.span_of_lost(kept);
                assert!(
                    span <= longest,
                    "{told}; what is lost was written in {span:?}"
                );
            }
            Loss::Within(_) | Loss::Anything => {}
        }
        self.base = state;
        self.operations.clear();
        self.acknowledged = 0;
        self.sends.clear();
        self.acknowledgements.clear();
    }

    /// At least so long a time there was between the first operation that is lost and the last that was
    /// acknowledged.
    fn span_of_lost(&self, kept: usize) -> Duration {
        let acknowledged = |(count, _): &&(usize, Instant)| *count > kept;
        let (_, first) = self
            .acknowledgements
            .iter()
            .find(acknowledged)
            .expect("lost");
        let sent = |(count, _): &&(usize, Instant)| *count >= self.acknowledged;
        let (_, last) = self.sends.iter().find(sent).expect("it was sent");
        last.saturating_duration_since(*first)
    }

    /// What its keys hold now.
    fn read(&self, connection: &mut Connection) -> State {
        let mut state = State::new();
        for kind in KINDS {
            for key in (0..KEYS).map(|number| format!("{}:{kind}:{number}", self.name)) {
                let deadline_ms = connection.call(&format!("PEXPIRETIME {key}")).integer();
                if deadline_ms == -2 {
                    continue;
                }
                let mut held = Held {
                    deadline_ms: u64::try_from(deadline_ms).ok(),
                    ..Held::default()
                };
                if kind == "hash" {
                    let fields = connection.call(&format!("HGETALL {key}"));
                    for [name, value] in fields.elements().as_chunks().0 {
                        held.fields.insert(name.text(), value.bytes().to_vec());
                    }
                } else {
                    held.bytes = connection.call(&format!("GET {key}")).bytes().to_vec();
                }
                state.insert(key, held);
            }
        }
        state
    }
}
