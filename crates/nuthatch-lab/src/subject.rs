//! What can be simulated: the product's policies, their plain references, and policies that the
//! product does not ship but that are worth comparing with.
//!
//! The product's go by their own names (`lru`, `clock:2`), a reference by that name behind
//! `reference:`, the others by the names of [`Unshipped`], and other simulators' definitions by
//! those of [`Foreign`].

use crate::reference::{
    Access, Belady, BeladySize, Clock2qPlus, Foreign, Gdsf, Lru2, Mq, Random, ReferenceCache,
    ReferencePolicy, counterpart, share,
};
use crate::simulate::{Bound, Outcome, Simulator, Tally, key_hash};
use crate::suggestion::unknown;
use crate::trace::{Request, Trace};
use nuthatch::Policy;
use nuthatch::policy::PolicyError;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::str::FromStr;
use thiserror::Error;

/// The seed of all random choices, so that a simulation can be repeated. Our caches have it too.
pub const SEED: u64 = 0x5EED;

/// The prefix that asks for the reference of a policy.
pub(crate) const REFERENCE: &str = "reference:";

/// A policy that the product does not ship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshipped {
    /// Knows the future: the floor that no policy gets below.
    Belady,
    /// Evicts any entry: what a policy has to beat.
    Random,
    /// Evicts by the second-last use.
    Lru2,
    /// LRU queues by the logarithm of an entry's uses.
    Mq,
    /// S3-FIFO with a correlation window.
    Clock2qPlus,
    /// GDSF that turns away what is worth less than all that would have to go.
    GdsfRejecting,
}

impl Unshipped {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Belady,
        Self::Random,
        Self::Lru2,
        Self::Mq,
        Self::Clock2qPlus,
        Self::GdsfRejecting,
    ];

    /// The name that the command line knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Belady => "belady",
            Self::Random => "random",
            Self::Lru2 => "lru_2",
            Self::Mq => "mq",
            Self::Clock2qPlus => "clock2q_plus",
            Self::GdsfRejecting => "gdsf_rejecting",
        }
    }

    fn build(self, bound: Bound, capacity: u64) -> Box<dyn ReferencePolicy> {
        match (self, bound) {
            (Self::Belady, Bound::Entries) => Box::new(Belady::default()),
            (Self::Belady, Bound::Bytes) => Box::new(BeladySize::default()),
            (Self::Random, _) => Box::new(Random::new(SEED)),
            (Self::Lru2, _) => Box::new(Lru2::default()),
            (Self::Mq, _) => Box::new(Mq::new(capacity)),
            (Self::GdsfRejecting, _) => Box::new(Gdsf::new(true)),
            (Self::Clock2qPlus, _) => {
                let (small, ghosts) = (capacity / 10, share(capacity, 0.9));
                Box::new(Clock2qPlus::new(capacity, small, ghosts))
            }
        }
    }
}

/// A policy to simulate.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// The product's own code.
    Product(Policy),
    /// The plain reference of one of the product's policies.
    Reference(Policy),
    /// A policy that the product does not ship.
    Unshipped(Unshipped),
    /// Another simulator's definition of a policy.
    Foreign(Foreign),
}

/// A text that names nothing to simulate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// No policy has this name.
    #[error("{}", unknown("policy", name, &names()))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// It names a policy of the product with wrong parameters.
    #[error(transparent)]
    Parameters(PolicyError),
    /// The product's policy has no reference.
    #[error("policy {0} has no reference")]
    NoReference(String),
}

impl From<PolicyError> for SubjectError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Unknown { name } => Self::Unknown { name },
            error => Self::Parameters(error),
        }
    }
}

/// What can be named.
fn names() -> Vec<String> {
    let built_in = Policy::built_in().iter().map(ToString::to_string);
    let unshipped = Unshipped::ALL.map(|each| each.name().to_owned());
    let more = ["reference:POLICY".to_owned(), "all".to_owned()];
    let foreign = Foreign::names();
    built_in
        .chain(unshipped)
        .chain(foreign)
        .chain(more)
        .collect()
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let (plain, parameters) = text.split_once(':').unwrap_or((text, ""));
        if let Some(unshipped) = Unshipped::ALL.into_iter().find(|each| each.name() == plain) {
            if plain == text {
                return Ok(Self::Unshipped(unshipped));
            }
            return Err(SubjectError::Parameters(PolicyError::TooManyParameters {
                policy: plain.to_owned(),
                allowed: 0,
                given: parameters.split(':').count(),
            }));
        }
        if let Ok(foreign) = text.parse() {
            return Ok(Self::Foreign(foreign));
        }
        let Some(name) = text.strip_prefix(REFERENCE) else {
            return Ok(Self::Product(text.parse()?));
        };
        let policy: Policy = name.parse()?;
        match counterpart(&policy, 1, SEED) {
            Some(_) => Ok(Self::Reference(policy)),
            None => Err(SubjectError::NoReference(name.to_owned())),
        }
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(policy) => Display::fmt(policy, f),
            Self::Reference(policy) => write!(f, "{REFERENCE}{policy}"),
            Self::Unshipped(unshipped) => f.write_str(unshipped.name()),
            Self::Foreign(foreign) => Display::fmt(foreign, f),
        }
    }
}

impl Subject {
    /// Every policy of the product with its default parameters, and every other one.
    pub fn all() -> Vec<Self> {
        let parse = |name: &str| name.parse().expect("a listed policy's name parses");
        let product = Policy::built_in()
            .iter()
            .map(|info| Self::Product(parse(info.name)));
        product.chain(Unshipped::ALL.map(Self::Unshipped)).collect()
    }

    /// Replays a trace through a cache of `capacity` entries or bytes.
    pub fn replay(&self, trace: &Trace, bound: Bound, capacity: u64) -> Tally {
        self.replay_seeded(trace, bound, capacity, 0)
    }

    /// As [`replay`](Self::replay), which is what it does with seed 0; with another one, the product
    /// hashes keys another way and draws other lots.
    pub fn replay_seeded(&self, trace: &Trace, bound: Bound, capacity: u64, seed: u64) -> Tally {
        self.replay_observed(trace, bound, capacity, seed, &mut |_, _| {})
    }

    /// As [`replay_seeded`](Self::replay_seeded), and shows each request with what it did.
    pub fn replay_observed(
        &self,
        trace: &Trace,
        bound: Bound,
        capacity: u64,
        seed: u64,
        observe: &mut dyn FnMut(&Request, Outcome),
    ) -> Tally {
        match self {
            Self::Product(policy) => {
                let mut simulator = product(policy, trace, bound, capacity, seed);
                if seed != 0 {
                    let other = key_hash(!seed);
                    let hashes = (0..trace.keys()).map(|key| key_hash(key_hash(key) ^ other));
                    simulator = simulator.with_hashes(hashes.collect::<Vec<_>>());
                }
                for request in trace.requests() {
                    let outcome = simulator.request(request.key, request.size);
                    observe(request, outcome);
                }
                simulator.tally()
            }
            Self::Reference(policy) => {
                let policy = counterpart(policy, capacity, SEED).expect("parsing made sure of it");
                let mut cache = ReferenceCache::new(policy, capacity);
                let answer = |access: &Access| cache.request(access, &mut |_| {});
                replay_accesses(trace, bound, answer, observe)
            }
            Self::Unshipped(unshipped) => {
                let mut cache = ReferenceCache::new(unshipped.build(bound, capacity), capacity);
                let answer = |access: &Access| cache.request(access, &mut |_| {});
                replay_accesses(trace, bound, answer, observe)
            }
            Self::Foreign(foreign) => {
                let mut cache = foreign.build(bound, capacity);
                let answer = |access: &Access| {
                    let hit = cache.request(access);
                    if hit { Outcome::Hit } else { Outcome::Miss }
                };
                replay_accesses(trace, bound, answer, observe)
            }
        }
    }
}

/// Policies to simulate: names with commas between them, or `all` for every one.
#[derive(Clone, Debug, PartialEq)]
pub struct SubjectList {
    subjects: Vec<Subject>,
    is_all: bool,
}

impl SubjectList {
    /// Whether nothing was chosen.
    pub fn is_all(&self) -> bool {
        self.is_all
    }
}

impl Deref for SubjectList {
    type Target = [Subject];

    fn deref(&self) -> &[Subject] {
        &self.subjects
    }
}

impl FromStr for SubjectList {
    type Err = SubjectError;

    /// Reads names; each counts once.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let mut list = Self {
            subjects: Vec::new(),
            is_all: false,
        };
        for name in text.split(',').map(str::trim) {
            list.is_all |= name == "all";
            let named = match name {
                "all" => Subject::all(),
                name => vec![name.parse()?],
            };
            for subject in named {
                if !list.contains(&subject) {
                    list.subjects.push(subject);
                }
            }
        }
        Ok(list)
    }
}

/// A simulator around one of the product's policies.
fn product(policy: &Policy, trace: &Trace, bound: Bound, capacity: u64, seed: u64) -> Simulator {
    let slots = match bound {
        Bound::Entries => capacity,
        Bound::Bytes => capacity / (trace.bytes() / trace.keys().max(1)).max(1),
    };
    let mut built = policy.build(capacity, 1, slots as usize, SEED ^ seed);
    let policy = built.pop().expect("one shard has one policy");
    Simulator::new(Box::new(policy), bound, capacity)
}

fn replay_accesses(
    trace: &Trace,
    bound: Bound,
    mut answer: impl FnMut(&Access) -> Outcome,
    observe: &mut dyn FnMut(&Request, Outcome),
) -> Tally {
    let mut tally = Tally::default();
    for ((time, asked), &next_use) in (0..).zip(trace.requests()).zip(trace.next_uses()) {
        let access = Access {
            key: asked.key,
            weight: u64::from(bound.weight(asked.size)),
            time,
            next_use,
        };
        let outcome = answer(&access);
        tally.count(asked.size, outcome);
        observe(asked, outcome);
    }
    tally
}
