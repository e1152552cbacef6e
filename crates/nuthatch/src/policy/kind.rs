//! The table of policies: every built-in is declared here once, and its name, parameters, help,
//! parser and dispatch all come from that declaration.
//!
//! To add a policy, write its file and one entry of [`policies!`] below:
//!
//! ```text
//! /// One sentence that says what it evicts.          the summary, in docs and listings
//! clock: Clock {                                      its name; its variant of `Policy`
//!     /// What the parameter does.
//!     bits: CounterBits = CounterBits::One,           its type's FromStr checks it
//! } => clock::Clock, |setups| each(setups, |_| clock::Clock::new(bits));
//! ```
//!
//! The expression behind the type gets the setups of all shards at once and gives one instance for
//! each: `each` builds them alone, a policy that shares state between shards builds them together.

use super::parameter::Parameter;
use super::{
    Blend, CounterBits, Entries, EntryId, EvictionPolicy, HitMode, HitSampler, ParameterError,
    Promotion, SampleSize, Share, Window, adaptive, arc, clock, dlfu, fifo, gdsf, lfu, lirs, lot,
    lru, s3_fifo, sampled_lru, sieve, slru, two_q, w_tiny_lfu,
};
use std::fmt::{self, Debug, Display};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// What a policy is told when it is built for one shard of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicySetup {
    /// This shard's share of the cache's capacity, in units of weight.
    pub capacity: u64,
    /// The capacity of the whole cache, in units of weight.
    pub total_capacity: u64,
    /// The number of shards.
    pub shards: usize,
    /// This shard's number, below `shards`.
    pub shard: usize,
    /// How many entries the shard expects to hold: a hint for structures that grow in steps. Ids
    /// are announced by [`EvictionPolicy::reserve`].
    pub slots: usize,
    /// A seed for the policy's random choices, different in each shard.
    pub seed: u64,
}

impl PolicySetup {
    /// The setup of the only shard of a cache.
    pub fn single(capacity: u64, slots: usize, seed: u64) -> Self {
        Self {
            capacity,
            total_capacity: capacity,
            shards: 1,
            shard: 0,
            slots,
            seed,
        }
    }

    /// The setups of all shards: the capacity is dealt out evenly, the first shards get what is
    /// left over.
    fn sharded(total_capacity: u64, shards: usize, slots: usize, seed: u64) -> Vec<Self> {
        assert!(shards > 0, "a cache has at least one shard");
        let (each, left_over) = (
            total_capacity / shards as u64,
            total_capacity % shards as u64,
        );
        (0..shards)
            .map(|shard| Self {
                capacity: each + u64::from((shard as u64) < left_over),
                total_capacity,
                shards,
                shard,
                slots,
                // An odd multiplier makes the seeds of all shards different.
                seed: seed.wrapping_add((shard as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            })
            .collect()
    }
}

/// Builds one policy for each shard, none knowing of the others.
fn each<P>(setups: &[PolicySetup], build: impl Fn(&PolicySetup) -> P) -> Vec<P> {
    setups.iter().map(build).collect()
}

/// A built-in policy, as listings and help show it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInfo {
    /// The name that [`Policy::from_str`] knows.
    pub name: &'static str,
    /// What the policy does, in one sentence.
    pub summary: &'static str,
    /// Its parameters, in the order in which they follow the name.
    pub parameters: &'static [ParameterInfo],
}

impl Display for PolicyInfo {
    /// The name and its parameters, as one would write them: `clock[:bits]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for parameter in self.parameters {
            write!(f, "[:{}", parameter.name)?;
        }
        f.write_str(&"]".repeat(self.parameters.len()))
    }
}

/// A parameter of a built-in policy.
#[derive(Clone, Copy, Debug)]
pub struct ParameterInfo {
    /// Its name, which is its field's in [`Policy`].
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The values allowed, in words.
    pub allowed: &'static str,
    default: fn() -> String,
}

impl ParameterInfo {
    /// The value that the policy uses if none is given, as one would write it.
    pub fn default_value(&self) -> String {
        (self.default)()
    }
}

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No built-in policy has this name.
    #[error("there is no policy {name:?}; there are {}", names())]
    Unknown {
        /// The name given.
        name: String,
    },
    /// More parameters than the policy takes.
    #[error("policy {policy} takes {allowed} parameters, not {given}")]
    TooManyParameters {
        /// The policy, with its parameters.
        policy: String,
        /// How many it takes.
        allowed: usize,
        /// How many were given.
        given: usize,
    },
    /// A parameter cannot take this value.
    #[error("policy {policy}: {parameter}: {source}")]
    Parameter {
        /// The policy's name.
        policy: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// The value given and the values allowed.
        source: ParameterError,
    },
}

fn names() -> String {
    let names: Vec<_> = Policy::built_in()
        .iter()
        .map(|info| info.to_string())
        .collect();
    names.join(", ")
}

type BuildCustom = dyn Fn(&PolicySetup) -> Box<dyn EvictionPolicy> + Send + Sync;

/// A policy of the user's own; made by [`Policy::custom`].
#[derive(Clone)]
pub struct CustomPolicy {
    name: Arc<str>,
    build: Arc<BuildCustom>,
}

impl Debug for CustomPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomPolicy").field(&self.name).finish()
    }
}

impl PartialEq for CustomPolicy {
    /// Whether both came from the same call of [`Policy::custom`].
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.build, &other.build)
    }
}

/// The arguments behind a policy's name, taken one parameter after the other.
struct Arguments<'a> {
    info: &'static PolicyInfo,
    values: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    fn new(info: &'static PolicyInfo, values: Vec<&'a str>) -> Result<Self, PolicyError> {
        if values.len() > info.parameters.len() {
            return Err(PolicyError::TooManyParameters {
                policy: info.to_string(),
                allowed: info.parameters.len(),
                given: values.len(),
            });
        }
        Ok(Self { info, values })
    }

    fn get<T: Parameter>(&self, name: &str, default: T) -> Result<T, PolicyError> {
        let place = self
            .info
            .parameters
            .iter()
            .position(|parameter| parameter.name == name);
        let place = place.expect("the table declares each parameter it asks for");
        let Some(value) = self.values.get(place) else {
            return Ok(default);
        };
        value.parse().map_err(|source| PolicyError::Parameter {
            policy: self.info.name,
            parameter: self.info.parameters[place].name,
            source,
        })
    }
}

/// Expands to a match over every built-in policy and the custom one: static dispatch for ours.
macro_rules! policies {
    ($(
        $(#[doc = $summary:literal])+
        $name:ident: $variant:ident $({ $(
            $(#[doc = $about:literal])+
            $field:ident: $parameter:ty = $default:expr
        ),+ $(,)? })? => $type:ty, |$setups:ident| $build:expr;
    )+) => {
        /// Which entries to evict: a built-in policy with its parameters, or one's own.
        ///
        /// It is named by its variant or by a text: the policy's name and, after colons, its
        /// parameters, each of which may be left out from the right.
        ///
        /// ```
        /// use nuthatch::Policy;
        /// use nuthatch::policy::CounterBits;
        /// let policy: Policy = "clock:2".parse()?;
        /// assert_eq!(policy, Policy::Clock { bits: CounterBits::Two });
        /// assert_eq!(policy.to_string(), "clock:2");
        /// let error = "clock:9".parse::<Policy>().unwrap_err();
        /// assert_eq!(error.to_string(), r#"policy clock: bits: "9" is not 1, 2 or 3"#);
        /// # Ok::<(), nuthatch::policy::PolicyError>(())
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Policy {
            $(
                $(#[doc = $summary])+
                $variant $({ $(
                    $(#[doc = $about])+
                    $field: $parameter,
                )+ })?,
            )+
            /// A policy of one's own.
            Custom(CustomPolicy),
        }

        const BUILT_IN: &[PolicyInfo] = &[$(
            PolicyInfo {
                name: stringify!($name),
                summary: concat!($($summary),+).trim_ascii(),
                parameters: &[$($(
                    ParameterInfo {
                        name: stringify!($field),
                        summary: concat!($($about),+).trim_ascii(),
                        allowed: <$parameter as Parameter>::ALLOWED,
                        default: || $default.to_string(),
                    },
                )+)?],
            },
        )+];

        impl Policy {
            $($(
                #[doc = concat!("[`Policy::", stringify!($variant), "`] with its default parameters.")]
                pub fn $name() -> Self {
                    Self::$variant { $($field: $default),+ }
                }
            )?)+

            /// The policy's name, without its parameters.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant $({ $($field: _),+ })? => stringify!($name),)+
                    Self::Custom(custom) => &custom.name,
                }
            }

            /// The values of the policy's parameters, in the table's order.
            fn arguments(&self) -> Vec<String> {
                match self {
                    $(Self::$variant $({ $($field),+ })? => vec![$($($field.to_string()),+)?],)+
                    Self::Custom(_) => Vec::new(),
                }
            }

            fn build_for(&self, setups: &[PolicySetup]) -> Vec<BuiltPolicy> {
                match self {
                    $(&Self::$variant $({ $($field),+ })? => {
                        let $setups = setups;
                        let policies: Vec<$type> = $build;
                        policies.into_iter().map(|policy| BuiltPolicy(Built::$variant(policy))).collect()
                    })+
                    Self::Custom(custom) => {
                        each(setups, |setup| BuiltPolicy(Built::Custom((custom.build)(setup))))
                    }
                }
            }
        }

        impl FromStr for Policy {
            type Err = PolicyError;

            fn from_str(text: &str) -> Result<Self, PolicyError> {
                let mut words = text.split(':');
                let name = words.next().unwrap_or(text);
                let info = Self::built_in().iter().find(|info| info.name == name);
                let Some(info) = info else {
                    return Err(PolicyError::Unknown { name: name.to_owned() });
                };
                let arguments = Arguments::new(info, words.collect())?;
                match name {
                    $(stringify!($name) => Ok(Self::$variant $({ $(
                        $field: arguments.get(stringify!($field), $default)?,
                    )+ })?),)+
                    _ => unreachable!("the table lists only names that it can parse"),
                }
            }
        }

        #[derive(Debug)]
        enum Built {
            $($variant($type),)+
            Custom(Box<dyn EvictionPolicy>),
        }

        /// Calls a method of whichever policy was built.
        macro_rules! dispatch {
            ($built:expr, $policy:ident => $call:expr) => {
                match $built {
                    $(Built::$variant($policy) => $call,)+
                    Built::Custom($policy) => $call,
                }
            };
        }
    };
}

policies! {
    /// Two queues whose shares adapt to the requests by miniature simulation.
    default: Default => adaptive::Adaptive, |setups| adaptive::build(setups);

    /// Evicts the entry inserted first, used or not.
    fifo: Fifo => fifo::Fifo, |setups| each(setups, |_| fifo::Fifo::new());

    /// A queue that gives an entry another round for each hit it has counted.
    clock: Clock {
        /// The width of an entry's hit counter.
        bits: CounterBits = CounterBits::One,
    } => clock::Clock, |setups| each(setups, |_| clock::Clock::new(bits));

    /// Evicts the entry whose last use is longest ago.
    lru: Lru => lru::Lru, |setups| each(setups, |_| lru::Lru::new());

    /// LRU in two segments: entries hit once are protected from those never hit.
    slru: Slru {
        /// The protected part of the capacity.
        protected: Share = Share::percent(80),
    } => slru::Slru, |setups| each(setups, |setup| slru::Slru::new(protected, setup.capacity));

    /// Evicts the entry with the fewest uses.
    lfu: Lfu => lfu::Lfu, |setups| each(setups, |_| lfu::Lfu::new());

    /// Counts uses that fade with time: between LFU and LRU, as its weight says.
    dlfu: Dlfu {
        /// How much recency weighs: 0 is LFU, 1 is LRU, one half lets a use count half as much after
        /// one request for each resident entry.
        weight: Blend = Blend::percent(30),
    } => dlfu::Dlfu, |setups| each(setups, |_| dlfu::Dlfu::new(weight));

    /// A hand walks the queue from old to new and evicts the first entry not hit since it last came.
    sieve: Sieve => sieve::Sieve, |setups| each(setups, |_| sieve::Sieve::new());

    /// Evicts the entry with the fewest uses for its weight, counted from an inflating base.
    gdsf: Gdsf => gdsf::Gdsf, |setups| each(setups, |_| gdsf::Gdsf::new());

    /// Evicts the least recently used of a few entries chosen by lot, as Redis does.
    sampled_lru: SampledLru {
        /// How many entries an eviction looks at.
        samples: SampleSize = SampleSize::REDIS,
    } => sampled_lru::SampledLru, |setups| each(setups, |setup| {
        sampled_lru::SampledLru::new(samples, setup.seed)
    });

    /// Evicts an entry chosen by lot.
    random: Random => lot::Lot, |setups| each(setups, |setup| lot::Lot::new(1, setup.seed));

    /// Evicts the entry that expires soonest of a few chosen by lot, as Redis does.
    ttl: Ttl {
        /// How many entries an eviction looks at.
        samples: SampleSize = SampleSize::REDIS,
    } => lot::Lot, |setups| each(setups, |setup| lot::Lot::new(samples.get(), setup.seed));

    /// A small queue that entries leave unless hit, a main queue with second chances, and ghosts.
    s3_fifo: S3Fifo {
        /// The part of the capacity that new entries pass through.
        small: Share = Share::percent(10),
        /// How many hits promote an entry from small to main.
        promotion: Promotion = Promotion::TWO_HITS,
    } => s3_fifo::S3Fifo, |setups| each(setups, |setup| {
        s3_fifo::S3Fifo::new(small, promotion, setup.capacity)
    });

    /// New entries leave first in, first out; a key asked for again after that joins an LRU.
    two_q: TwoQ {
        /// The part of the capacity that new entries pass through.
        recent: Share = Share::percent(25),
    } => two_q::TwoQ, |setups| each(setups, |_| two_q::TwoQ::new(recent));

    /// Two LRU queues, of entries used once and more often, whose sizes follow what they evicted.
    arc: Arc => arc::Arc, |setups| each(setups, |setup| arc::Arc::new(setup.capacity));

    /// Keeps the entries whose last two uses lie close together.
    lirs: Lirs {
        /// The part of the capacity in which new entries wait to be used again.
        cold: Share = Share::percent(1),
    } => lirs::Lirs, |setups| each(setups, |setup| lirs::Lirs::new(cold, setup.capacity));

    /// A window for new entries; the more frequently used of who leaves it and who would make way stays.
    w_tiny_lfu: WTinyLfu {
        /// The window's part of the capacity.
        window: Window = Window::Adaptive,
    } => w_tiny_lfu::WTinyLfu, |setups| each(setups, |setup| {
        w_tiny_lfu::WTinyLfu::new(window, setup.capacity, setup.seed)
    });
}

impl Policy {
    /// A policy of one's own: `build` is called once for each shard.
    ///
    /// The name is for display only; parsing it gives no policy.
    pub fn custom<P: EvictionPolicy + 'static>(
        name: impl Into<Arc<str>>,
        build: impl Fn(&PolicySetup) -> P + Send + Sync + 'static,
    ) -> Self {
        Self::Custom(CustomPolicy {
            name: name.into(),
            build: Arc::new(move |setup| Box::new(build(setup))),
        })
    }

    /// Every built-in policy, with its parameters.
    pub fn built_in() -> &'static [PolicyInfo] {
        BUILT_IN
    }

    /// Builds the policy of each shard of a cache. `slots` is the number of entries that a shard
    /// expects to hold; the same `seed` gives policies that choose alike.
    ///
    /// # Panics
    /// If `shards` is 0.
    pub fn build(
        &self,
        total_capacity: u64,
        shards: usize,
        slots: usize,
        seed: u64,
    ) -> Vec<BuiltPolicy> {
        let policies = self.build_for(&PolicySetup::sharded(total_capacity, shards, slots, seed));
        assert_eq!(policies.len(), shards, "every shard has its policy");
        policies
    }
}

impl Display for Policy {
    /// The text that parses to this policy, leaving out parameters that have their default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(name)?;
        let mut arguments = self.arguments();
        let info = Self::built_in().iter().find(|info| info.name == name);
        let defaults = info.map_or(&[][..], |info| info.parameters);
        while let (Some(value), Some(parameter)) = (
            arguments.last(),
            defaults.get(arguments.len().wrapping_sub(1)),
        ) && *value == parameter.default_value()
        {
            arguments.pop();
        }
        arguments.iter().try_for_each(|value| write!(f, ":{value}"))
    }
}

/// One shard's policy, built by [`Policy::build`]. A built-in is called directly, one's own
/// through its vtable.
#[derive(Debug)]
pub struct BuiltPolicy(Built);

impl EvictionPolicy for BuiltPolicy {
    fn hit_mode(&self) -> HitMode {
        dispatch!(&self.0, policy => policy.hit_mode())
    }

    #[inline]
    fn era(&self) -> u8 {
        dispatch!(&self.0, policy => policy.era())
    }

    fn sampler(&self) -> Option<Arc<dyn HitSampler>> {
        dispatch!(&self.0, policy => policy.sampler())
    }

    fn reserve(&mut self, slots: usize) {
        dispatch!(&mut self.0, policy => policy.reserve(slots));
    }

    fn set_capacity(&mut self, capacity: u64) {
        dispatch!(&mut self.0, policy => policy.set_capacity(capacity));
    }

    #[inline]
    fn prepare(&mut self, hash: u64, weight: u32) {
        dispatch!(&mut self.0, policy => policy.prepare(hash, weight));
    }

    #[inline]
    fn insert(&mut self, id: EntryId, entries: &Entries<'_>) {
        dispatch!(&mut self.0, policy => policy.insert(id, entries));
    }

    #[inline]
    fn hit(&mut self, id: EntryId, entries: &Entries<'_>) {
        dispatch!(&mut self.0, policy => policy.hit(id, entries));
    }

    #[inline]
    fn evict(&mut self, entries: &Entries<'_>) -> Option<EntryId> {
        dispatch!(&mut self.0, policy => policy.evict(entries))
    }

    #[inline]
    fn exchange(
        &mut self,
        hash: u64,
        weight: u32,
        id: EntryId,
        entries: &Entries<'_>,
    ) -> Option<EntryId> {
        dispatch!(&mut self.0, policy => policy.exchange(hash, weight, id, entries))
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        dispatch!(&self.0, policy => policy.prefetch(hash));
    }

    #[inline]
    fn upcoming(&self) -> [Option<EntryId>; 2] {
        dispatch!(&self.0, policy => policy.upcoming())
    }

    #[inline]
    fn remove(&mut self, id: EntryId, entries: &Entries<'_>) {
        dispatch!(&mut self.0, policy => policy.remove(id, entries));
    }

    #[inline]
    fn relocate(&mut self, from: EntryId, to: EntryId, entries: &Entries<'_>) {
        dispatch!(&mut self.0, policy => policy.relocate(from, to, entries));
    }

    fn clear(&mut self) {
        dispatch!(&mut self.0, policy => policy.clear());
    }

    fn len(&self) -> usize {
        dispatch!(&self.0, policy => policy.len())
    }

    fn is_empty(&self) -> bool {
        dispatch!(&self.0, policy => policy.is_empty())
    }

    fn rank(&self, visit: &mut dyn FnMut(EntryId)) {
        dispatch!(&self.0, policy => policy.rank(visit));
    }

    fn validate(&self, entries: &Entries<'_>) {
        dispatch!(&self.0, policy => policy.validate(entries));
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, PolicyError};
    use crate::policy::EvictionPolicy as _;

    #[test]
    fn every_name_parses_to_a_policy_that_displays_as_it() {
        for info in Policy::built_in() {
            let policy: Policy = info.name.parse().expect(info.name);
            assert_eq!(policy.name(), info.name);
            assert_eq!(policy.to_string(), info.name, "defaults are left out");
            let defaults: Vec<_> = info.parameters.iter().map(|p| p.default_value()).collect();
            let spelt_out = [&[info.name.to_owned()], &defaults[..]].concat().join(":");
            assert_eq!(spelt_out.parse(), Ok(policy), "{spelt_out}");
        }
    }

    #[test]
    fn every_policy_and_parameter_says_what_it_does() {
        for info in Policy::built_in() {
            assert!(info.summary.ends_with('.'), "{info}: {}", info.summary);
            for parameter in info.parameters {
                assert!(
                    parameter.summary.ends_with('.'),
                    "{info}: {}",
                    parameter.summary
                );
                assert!(!parameter.allowed.is_empty());
            }
        }
    }

    #[test]
    fn an_unknown_policy_lists_those_there_are() {
        let error = "mru"
            .parse::<Policy>()
            .expect_err("there is no such policy");
        let text = error.to_string();
        assert!(
            text.starts_with("there is no policy \"mru\"; there are "),
            "{text}"
        );
        assert!(
            Policy::built_in()
                .iter()
                .all(|info| text.contains(info.name)),
            "{text}"
        );
    }

    #[test]
    fn surplus_and_impossible_parameters_are_refused() {
        assert_eq!(
            "lru:1".parse::<Policy>(),
            Err(PolicyError::TooManyParameters {
                policy: "lru".to_owned(),
                allowed: 0,
                given: 1
            })
        );
        for text in ["clock:0", "clock:", "clock:x"] {
            let error = text.parse::<Policy>().expect_err(text).to_string();
            assert!(error.starts_with("policy clock: bits: "), "{error}");
            assert!(error.ends_with(" is not 1, 2 or 3"), "{error}");
        }
    }

    #[test]
    fn capacity_is_dealt_out_to_shards_without_loss() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = seen.clone();
        let policy = Policy::custom("mine", move |setup| {
            log.lock().expect("not poisoned").push(*setup);
            super::fifo::Fifo::new()
        });
        let built = policy.build(10, 4, 3, 7);
        assert_eq!((built.len(), built[0].len()), (4, 0));
        let seen = seen.lock().expect("not poisoned");
        let capacities: Vec<_> = seen.iter().map(|setup| setup.capacity).collect();
        assert_eq!(capacities, [3, 3, 2, 2]);
        assert!(
            seen.iter()
                .enumerate()
                .all(|(shard, setup)| setup.shard == shard)
        );
        assert!(
            seen.iter()
                .all(|setup| setup.seed != seen[1].seed || setup.shard == 1)
        );
        assert_eq!(policy.to_string(), "mine");
    }
}
