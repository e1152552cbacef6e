//! Holds simulated miss ratios against those that an independent simulator published.
//!
//! The table of published rows has the columns `trace, policy, mode, size_pct_of_unique,
//! size_objects, size_bytes, miss_ratio, byte_miss_ratio, source`. [`YARDSTICKS`] says which of
//! its policies are ours, and how far apart we may be: not at all where both follow the same
//! definition, half a point where a policy leaves something open or approximates.
//!
//! A row that is further off is not excused, it is explained: where we knowingly define a policy
//! otherwise, a [`Difference`] names what is different and a model of the publisher's definition. The
//! model is simulated as well, and only if it misses what the row says does the difference explain
//! the row. Everything else fails.

use crate::simulate::{Bound, Tally};
use crate::subject::{REFERENCE, Subject};
use serde::{Deserialize, Serialize};
use std::io::Read;
use thiserror::Error;

/// Published ratios have six decimals; half of the last one is rounding, the rest is ours.
const ROUNDING_POINTS: f64 = 1e-4;

/// The tolerance, in percentage points, where approximations are part of the policy.
const CLOSE_POINTS: f64 = 0.5;

/// How close the model of LIRS must come, which is not exact in a cache with a cold share of eight
/// bytes.
const NEAR_POINTS: f64 = 0.02;

/// How close a model must come whose publisher drew lots. Its own lots are others.
const CHANCE_POINTS: f64 = 0.05;

/// How close the model of BeladySize must come: libCacheSim draws its sample from the buckets of a
/// hash table, which is not the same chance for all; the model draws from all alike.
const SAMPLE_POINTS: f64 = 0.3;

/// The most seeds that a model which draws lots is tried with. A climber may end anywhere within two
/// points, by what its first lots were: it took 160 seeds to meet every published one.
const SEEDS: u64 = 256;

/// One published miss ratio.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Published {
    /// The trace's name.
    pub trace: String,
    /// The policy's, as the publisher calls it.
    pub policy: String,
    /// What the cache was bounded by.
    mode: Mode,
    size_objects: u64,
    size_bytes: Option<u64>,
    /// Misses per request.
    pub miss_ratio: f64,
    /// Missed bytes per requested byte, in a cache bounded by bytes.
    pub byte_miss_ratio: Option<f64>,
    source: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Unit,
    Bytes,
}

/// Why a table of published miss ratios cannot be read.
#[derive(Debug, Error)]
pub enum PublishedError {
    /// A line does not have the columns, or one of them holds something else.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// A row for a cache bounded by bytes does not say by how many.
    #[error("row {row} has the mode \"bytes\" but no size_bytes")]
    NoBytes {
        /// The row's number, from 1.
        row: usize,
    },
}

/// Reads the rows that [`YARDSTICKS`] speak of, and skips all others.
pub fn read_published(input: impl Read) -> Result<Vec<Published>, PublishedError> {
    let mut reader = csv::Reader::from_reader(input);
    let mut published = Vec::new();
    for (row, line) in (1..).zip(reader.deserialize::<Published>()) {
        let line = line?;
        if line.mode == Mode::Bytes && line.size_bytes.is_none() {
            return Err(PublishedError::NoBytes { row });
        }
        if line.yardsticks().next().is_some() {
            published.push(line);
        }
    }
    Ok(published)
}

impl Published {
    /// What the cache was bounded by.
    pub fn bound(&self) -> Bound {
        match self.mode {
            Mode::Unit => Bound::Entries,
            Mode::Bytes => Bound::Bytes,
        }
    }

    /// The cache's capacity in entries or bytes.
    pub fn capacity(&self) -> u64 {
        match self.mode {
            Mode::Unit => self.size_objects,
            Mode::Bytes => self.size_bytes.expect("reading made sure of it"),
        }
    }

    /// What this row is to be compared with.
    pub fn yardsticks(&self) -> impl Iterator<Item = &'static Yardstick> {
        YARDSTICKS.iter().filter(|yardstick| {
            yardstick.published == self.policy && yardstick.source == self.source
        })
    }

    /// Simulates `subject`, and a model if need be, and holds them against the row. `replay` runs the
    /// row's trace through a cache of the row's size.
    pub fn compare(
        &self,
        yardstick: &Yardstick,
        subject: &Subject,
        replay: impl Fn(&Subject) -> Tally,
    ) -> Comparison {
        let points = self.points(replay(subject));
        let allowed_points = yardstick.allowed_points(subject);
        let mut explanation = None;
        if points.abs() > allowed_points {
            let covers = |difference: &&Difference| difference.place.covers(self, points);
            for difference in yardstick.differences.iter().filter(covers) {
                let found = self.explain(difference, &replay);
                let holds = found.holds;
                explanation = Some(found);
                if holds {
                    break;
                }
            }
        }
        Comparison {
            trace: self.trace.clone(),
            published: self.policy.clone(),
            subject: subject.to_string(),
            bound: self.bound(),
            capacity: self.capacity(),
            points,
            allowed_points,
            verdict: match &explanation {
                _ if points.abs() <= ROUNDING_POINTS => Verdict::Equal,
                _ if points.abs() <= allowed_points => Verdict::Within,
                Some(explanation) if explanation.holds => Verdict::Explained,
                _ => Verdict::Failed,
            },
            explanation,
        }
    }

    /// A simulated miss ratio less the published one, in percentage points: by requests or by bytes,
    /// whichever is further apart.
    fn points(&self, tally: Tally) -> f64 {
        let points = |ours: f64, theirs: f64| 100.0 * (ours - theirs);
        let requests = points(tally.miss_ratio(), self.miss_ratio);
        let bytes = self
            .byte_miss_ratio
            .map(|theirs| points(tally.byte_miss_ratio(), theirs));
        bytes.map_or(requests, |bytes| further(requests, bytes))
    }

    /// Simulates a difference's model, with one seed after another if it draws lots, until one
    /// agrees with the row.
    fn explain(&self, difference: &Difference, replay: impl Fn(&Subject) -> Tally) -> Explanation {
        let mut best: Option<Explanation> = None;
        for model in difference.model.subjects() {
            let points = self.points(replay(&model));
            if best
                .as_ref()
                .is_some_and(|best| best.points.abs() <= points.abs())
            {
                continue;
            }
            let holds = points.abs() <= difference.model.allowed_points;
            best = Some(Explanation {
                difference: difference.name,
                reason: difference.reason,
                model: model.to_string(),
                points,
                holds,
            });
            if holds {
                break;
            }
        }
        best.expect("every difference has a model")
    }
}

/// Whichever of two numbers is further from 0.
fn further(a: f64, b: f64) -> f64 {
    if b.abs() > a.abs() { b } else { a }
}

/// A published policy and ours.
#[derive(Debug)]
pub struct Yardstick {
    /// The published name.
    pub published: &'static str,
    /// Our policy of that definition.
    pub policy: &'static str,
    source: &'static str,
    product_points: f64,
    reference_points: f64,
    differences: &'static [Difference],
}

impl Yardstick {
    /// A policy without a liberty to take.
    const fn exact(published: &'static str, policy: &'static str) -> Self {
        Self {
            published,
            policy,
            source: "libcachesim-0.3.5",
            product_points: ROUNDING_POINTS,
            reference_points: ROUNDING_POINTS,
            differences: &[],
        }
    }

    /// A policy that the product approximates; its reference does not.
    const fn approximate(published: &'static str, policy: &'static str) -> Self {
        Self {
            product_points: CLOSE_POINTS,
            ..Self::exact(published, policy)
        }
    }

    /// A policy that leaves something open which the publisher decided otherwise.
    const fn close(published: &'static str, policy: &'static str) -> Self {
        Self {
            reference_points: CLOSE_POINTS,
            ..Self::approximate(published, policy)
        }
    }

    const fn but(self, differences: &'static [Difference]) -> Self {
        Self {
            differences,
            ..self
        }
    }

    const fn by(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// The simulations that a row of this policy is held against.
    pub fn subjects(&self) -> Vec<Subject> {
        let subject: Subject = self
            .policy
            .parse()
            .expect("the table names policies that exist");
        let reference = format!("{REFERENCE}{}", self.policy).parse();
        [subject].into_iter().chain(reference).collect()
    }

    fn allowed_points(&self, subject: &Subject) -> f64 {
        match subject {
            Subject::Product(_) => self.product_points,
            Subject::Reference(_) | Subject::Unshipped(_) | Subject::Foreign(_) => {
                self.reference_points
            }
        }
    }
}

/// Every published policy that we have a counterpart of.
pub const YARDSTICKS: &[Yardstick] = &[
    Yardstick::exact("FIFO", "fifo"),
    Yardstick::exact("LRU", "lru"),
    Yardstick::exact("CLOCK", "clock:1"),
    Yardstick::exact("CLOCK-2bit", "clock:2"),
    Yardstick::exact("SIEVE", "sieve"),
    Yardstick::exact("Belady", "belady"),
    Yardstick::exact("LRU-2", "lru_2"),
    Yardstick::exact("MQ", "mq"),
    Yardstick::approximate("LFU", "lfu"),
    Yardstick::approximate("S3-FIFO", "s3_fifo").but(&[
        TINY_SMALL_QUEUE.modelled_by("libcachesim:s3_fifo"),
        LARGE_OBJECTS.modelled_by("libcachesim:s3_fifo"),
        COMPACT_GHOSTS.modelled_by("reference:s3_fifo"),
    ]),
    Yardstick::approximate("S3-FIFO-1hit", "s3_fifo:0.1:1").but(&[
        TINY_SMALL_QUEUE.modelled_by("libcachesim:s3_fifo:0.1:1"),
        LARGE_OBJECTS.modelled_by("libcachesim:s3_fifo:0.1:1"),
        COMPACT_GHOSTS.modelled_by("reference:s3_fifo:0.1:1"),
    ]),
    Yardstick::exact("Clock2Q+", "clock2q_plus").but(&[
        TINY_SMALL_QUEUE.modelled_by("libcachesim:clock2q_plus"),
        LARGE_OBJECTS.modelled_by("libcachesim:clock2q_plus"),
    ]),
    Yardstick::approximate("2Q", "two_q").but(&[LARGE_OBJECTS.modelled_by("libcachesim:two_q")]),
    Yardstick::approximate("ARC", "arc").but(&[TARGET_STEP]),
    Yardstick::close("LIRS", "lirs").but(&[COLD_SHARE]),
    Yardstick::exact("GDSF", "gdsf_rejecting"),
    Yardstick::close("GDSF", "gdsf").but(&[ADMISSION]),
    Yardstick::close("W-TinyLFU-1%", "w_tiny_lfu:0.01")
        .but(&[COUNTING.modelled_by("libcachesim:w_tiny_lfu:0.01")]),
    Yardstick::close("W-TinyLFU-20%", "w_tiny_lfu:0.2")
        .but(&[COUNTING.modelled_by("libcachesim:w_tiny_lfu:0.2")]),
    Yardstick::close("Caffeine-3.x", "w_tiny_lfu")
        .but(&[CLIMBING])
        .by("caffeine-3.x-reactive"),
    Yardstick::close("BeladySize", "belady").but(&[SAMPLING]),
];

/// A place where we knowingly define a policy otherwise than the publisher.
#[derive(Debug)]
pub struct Difference {
    name: &'static str,
    place: Place,
    reason: &'static str,
    model: Model,
}

impl Difference {
    /// The same difference, as this model of another policy has it.
    const fn modelled_by(self, model: &'static str) -> Self {
        Self {
            model: Model::exact(model),
            ..self
        }
    }
}

/// Where a difference shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In caches bounded by so few entries.
    FewerEntriesThan(u64),
    /// In caches bounded by bytes.
    Bytes,
    /// Wherever ours is no further off than so many points.
    Nearer(f64),
    /// In all caches.
    Everywhere,
}

impl Place {
    fn covers(self, row: &Published, points: f64) -> bool {
        match self {
            Self::FewerEntriesThan(entries) => row.mode == Mode::Unit && row.size_objects < entries,
            Self::Bytes => row.mode == Mode::Bytes,
            Self::Nearer(most) => points.abs() <= most,
            Self::Everywhere => true,
        }
    }
}

/// What misses as the publisher's does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Model {
    /// What it is simulated by; a seed follows if it draws lots.
    name: &'static str,
    draws_lots: bool,
    allowed_points: f64,
}

impl Model {
    const fn exact(name: &'static str) -> Self {
        Self {
            name,
            draws_lots: false,
            allowed_points: ROUNDING_POINTS,
        }
    }

    const fn by_lot(name: &'static str) -> Self {
        Self {
            name,
            draws_lots: true,
            allowed_points: CHANCE_POINTS,
        }
    }

    const fn within(self, allowed_points: f64) -> Self {
        Self {
            allowed_points,
            ..self
        }
    }

    fn subjects(self) -> impl Iterator<Item = Subject> {
        let seeds = if self.draws_lots { SEEDS } else { 1 };
        (0..seeds).map(move |seed| {
            let seeded = self.draws_lots.then(|| format!("{}:{seed}", self.name));
            let name = seeded.unwrap_or_else(|| self.name.to_owned());
            name.parse().expect("the table names models that exist")
        })
    }
}

const TINY_SMALL_QUEUE: Difference = Difference {
    name: "tiny small queue",
    place: Place::FewerEntriesThan(20),
    reason: "In caches of fewer than 20 entries libCacheSim's small queue has room for one, and it \
             then admits only what has a ghost, so next to nothing.",
    model: Model::exact("libcachesim:s3_fifo"),
};

const COMPACT_GHOSTS: Difference = Difference {
    name: "compact ghosts",
    place: Place::Nearer(1.0),
    reason: "Ours remembers ghosts by 16 bits in a table where they push each other out; its \
             reference, by their keys in a queue.",
    model: Model::exact("reference:s3_fifo"),
};

const LARGE_OBJECTS: Difference = Difference {
    name: "large objects",
    place: Place::Bytes,
    reason: "By bytes libCacheSim turns away what is larger than the queue for newcomers; ours \
             admits all that fits the cache.",
    model: Model::exact("libcachesim:s3_fifo"),
};

const COLD_SHARE: Difference = Difference {
    name: "cold share",
    place: Place::Bytes,
    reason: "By bytes libCacheSim's LIRS turns away what is larger than the cold share of 1 %, and \
             evicts a hot object that would turn cold and is; ours holds them.",
    model: Model::exact("libcachesim:lirs").within(NEAR_POINTS),
};

const TARGET_STEP: Difference = Difference {
    name: "target step",
    place: Place::Bytes,
    reason: "By bytes libCacheSim moves ARC's target by a ratio of sizes, which is a few bytes; \
             ours by that ratio times the object's size.",
    model: Model::exact("libcachesim:arc"),
};

const ADMISSION: Difference = Difference {
    name: "admission",
    place: Place::Bytes,
    reason: "By bytes libCacheSim's GDSF turns away an object worth less than what would have to \
             go; ours admits it, and evicts it next.",
    model: Model::exact("gdsf_rejecting"),
};

const COUNTING: Difference = Difference {
    name: "counting",
    place: Place::Everywhere,
    reason: "libCacheSim's W-TinyLFU counts hits in the main segments, inserts and duels, but not \
             hits in the window, and starts to duel at once; the paper's, like ours, counts requests.",
    model: Model::exact("libcachesim:w_tiny_lfu:0.01"),
};

const CLIMBING: Difference = Difference {
    name: "climbing",
    place: Place::Everywhere,
    reason: "Caffeine's window climbs at other moments and in other steps than ours, its hits reach \
             the policy in batches, and lots decide duels.",
    model: Model::by_lot("caffeine"),
};

const SAMPLING: Difference = Difference {
    name: "sampling",
    place: Place::Bytes,
    reason: "libCacheSim's BeladySize looks at 128 objects chosen by lot, and makes room for objects \
             that it then turns away; ours looks at all.",
    model: Model::by_lot("libcachesim:belady_size").within(SAMPLE_POINTS),
};

/// How a simulation stands to a published row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They are the same, but for the rounding of what was published.
    Equal,
    /// They are as close as they have to be.
    Within,
    /// They are not, and a model of the publisher's definition agrees with the row.
    Explained,
    /// They are not, and nothing explains it.
    Failed,
}

/// What a model of the publisher's definition says about a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The name of the difference of definition.
    pub difference: &'static str,
    /// What it is.
    pub reason: &'static str,
    /// The model that was simulated; if it draws lots, with the seed that came closest.
    pub model: String,
    /// The model's miss ratio less the published one, in percentage points.
    pub points: f64,
    /// Whether that is close enough to explain the row.
    pub holds: bool,
}

/// One published miss ratio beside our own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The trace's name.
    pub trace: String,
    /// The policy's published name.
    pub published: String,
    /// What was simulated.
    pub subject: String,
    /// What the cache was bounded by.
    pub bound: Bound,
    /// The cache's capacity.
    pub capacity: u64,
    /// Our miss ratio less the published one, in percentage points: by requests or by bytes,
    /// whichever is further apart.
    pub points: f64,
    /// How far apart they may be.
    pub allowed_points: f64,
    /// What that means.
    pub verdict: Verdict,
    /// The difference of definition that may explain it, if they are further apart.
    pub explanation: Option<Explanation>,
}

impl Comparison {
    /// Whether nothing explains how far apart the two are.
    pub fn fails(&self) -> bool {
        self.verdict == Verdict::Failed
    }
}

/// Comparisons by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub rows: usize,
    /// Those that are equal.
    pub equal: usize,
    /// Those that are close enough.
    pub within: usize,
    /// Those that differ for a reason.
    pub explained: usize,
    /// Those that differ for none.
    pub failed: usize,
}

impl Count {
    /// Counts comparisons.
    pub fn of(comparisons: &[Comparison]) -> Self {
        let mut count = Self::default();
        comparisons.iter().for_each(|each| count.add(each));
        count
    }

    fn add(&mut self, comparison: &Comparison) {
        self.rows += 1;
        *match comparison.verdict {
            Verdict::Equal => &mut self.equal,
            Verdict::Within => &mut self.within,
            Verdict::Explained => &mut self.explained,
            Verdict::Failed => &mut self.failed,
        } += 1;
    }
}

/// The comparisons of one policy, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The policy's published name.
    pub published: String,
    /// What was simulated.
    pub subject: String,
    /// What the caches were bounded by: `entries` or `bytes`.
    pub bound: Bound,
    /// How they stand.
    pub count: Count,
    /// The mean of the absolute differences.
    pub mean_points: f64,
    /// The greatest difference, with its sign.
    pub max_points: f64,
    /// Where that is.
    pub max_at: String,
}

impl Summary {
    /// One summary for each policy, subject and bound, in order of first appearance.
    pub fn of(comparisons: &[Comparison]) -> Vec<Self> {
        let mut summaries: Vec<Self> = Vec::new();
        for each in comparisons {
            let fits = |summary: &&mut Self| {
                summary.published == each.published
                    && summary.subject == each.subject
                    && summary.bound == each.bound
            };
            match summaries.iter_mut().find(fits) {
                Some(summary) => summary.add(each),
                None => summaries.push(Self::first(each)),
            }
        }
        for summary in &mut summaries {
            summary.mean_points /= summary.count.rows as f64;
        }
        summaries
    }

    fn first(comparison: &Comparison) -> Self {
        let mut summary = Self {
            published: comparison.published.clone(),
            subject: comparison.subject.clone(),
            bound: comparison.bound,
            count: Count::default(),
            mean_points: 0.0,
            max_points: 0.0,
            max_at: String::new(),
        };
        summary.add(comparison);
        summary
    }

    fn add(&mut self, comparison: &Comparison) {
        self.count.add(comparison);
        self.mean_points += comparison.points.abs();
        if self.count.rows == 1 || comparison.points.abs() > self.max_points.abs() {
            self.max_points = comparison.points;
            self.max_at = format!("{} at {}", comparison.trace, comparison.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "trace,policy,mode,size_pct_of_unique,size_objects,size_bytes,\
                          miss_ratio,byte_miss_ratio,source\n";

    fn published(rows: &str) -> Result<Vec<Published>, PublishedError> {
        read_published((HEADER.to_owned() + rows).as_bytes())
    }

    fn tally(requests: u64, misses: u64) -> Tally {
        Tally {
            requests,
            misses,
            bytes: requests,
            missed_bytes: misses,
        }
    }

    #[test]
    fn every_yardstick_names_policies_that_exist() {
        for yardstick in YARDSTICKS {
            let subjects = yardstick.subjects();
            assert!(!subjects.is_empty(), "{}", yardstick.published);
            let product = matches!(subjects[0], Subject::Product(_));
            let adapts = yardstick.policy == "w_tiny_lfu";
            assert_eq!(
                subjects.len(),
                1 + usize::from(product && !adapts),
                "{yardstick:?}"
            );
        }
    }

    #[test]
    fn rows_of_other_policies_and_sources_are_skipped() {
        let rows = "t,LRU,unit,1,2,,0.5,,libcachesim-0.3.5\n\
                    t,LRU,unit,1,2,,0.5,,hearsay\n\
                    t,LRU-9,unit,1,2,,0.5,,libcachesim-0.3.5\n";
        assert_eq!(published(rows).unwrap().len(), 1);
    }

    #[test]
    fn rows_that_make_no_sense_are_errors() {
        assert!(published("t,LRU,unit,1,two,,0.5,,libcachesim-0.3.5\n").is_err());
        assert!(published("t,LRU,by weight,1,2,,0.5,,libcachesim-0.3.5\n").is_err());
        let no_bytes = published("t,LRU,bytes,1,2,,0.5,0.5,libcachesim-0.3.5\n");
        assert!(matches!(no_bytes, Err(PublishedError::NoBytes { row: 1 })));
    }

    /// Compares a row with what `replay` makes of its first yardstick's policy.
    fn compared(row: &str, replay: impl Fn(&Subject) -> Tally) -> Comparison {
        let rows = published(row).unwrap();
        let yardstick = rows[0].yardsticks().next().unwrap();
        rows[0].compare(yardstick, &yardstick.subjects()[0], replay)
    }

    #[test]
    fn every_difference_names_models_that_exist() {
        let differences = YARDSTICKS
            .iter()
            .flat_map(|yardstick| yardstick.differences);
        for difference in differences {
            let models = difference.model.subjects().count() as u64;
            assert!(models == 1 || models == SEEDS, "{difference:?}");
        }
    }

    #[test]
    fn a_ratio_of_an_exact_policy_may_differ_by_its_rounding_only() {
        let row = "t,LRU,unit,1,2,,0.333333,,libcachesim-0.3.5\n";
        let verdict = |misses, requests| compared(row, |_| tally(requests, misses)).verdict;
        assert_eq!(verdict(1, 3), Verdict::Equal);
        assert_eq!(verdict(33_334, 100_000), Verdict::Failed);
    }

    #[test]
    fn an_approximation_may_differ_by_half_a_point() {
        let row = "t,LFU,unit,1,2,,0.5,,libcachesim-0.3.5\n";
        let verdict = |misses| compared(row, |_| tally(1000, misses)).verdict;
        assert_eq!(verdict(500), Verdict::Equal);
        assert_eq!(verdict(496), Verdict::Within);
        assert_eq!(verdict(494), Verdict::Failed);
    }

    #[test]
    fn bytes_are_held_against_the_row_as_well() {
        let row = "t,LRU,bytes,1,2,2,0.5,0.25,libcachesim-0.3.5\n";
        let replay = |_: &Subject| tally(1000, 500);
        assert_eq!(compared(row, replay).points, 25.0);
    }

    #[test]
    fn a_difference_explains_a_row_only_where_it_is_and_if_its_model_agrees() {
        let row = |entries| format!("t,S3-FIFO,unit,1,{entries},,0.9,,libcachesim-0.3.5\n");
        let replay = |model_misses| {
            move |subject: &Subject| match subject {
                Subject::Foreign(_) => tally(10_000, model_misses),
                _ => tally(10_000, 5_000),
            }
        };
        let explained = compared(&row(19), replay(9_000));
        assert_eq!(explained.verdict, Verdict::Explained);
        assert_eq!(explained.explanation.unwrap().model, "libcachesim:s3_fifo");
        let refuted = compared(&row(19), replay(9_001));
        assert_eq!(refuted.verdict, Verdict::Failed);
        let elsewhere = compared(&row(20), replay(9_000));
        assert_eq!(elsewhere.verdict, Verdict::Failed);
        assert_eq!(elsewhere.explanation, None);
    }

    #[test]
    fn a_model_that_draws_lots_has_several_tries() {
        let row = "t,Caffeine-3.x,unit,1,20,,0.9,,caffeine-3.x-reactive\n";
        let lucky = |seed: &'static str| {
            compared(row, move |subject| match subject.to_string() {
                name if name == seed => tally(10_000, 8_996),
                _ => tally(10_000, 8_900),
            })
        };
        let explanation = lucky("caffeine:7").explanation.unwrap();
        assert!(explanation.holds);
        assert_eq!(explanation.model, "caffeine:7");
        assert!(lucky("caffeine:1000").fails());
    }

    #[test]
    fn a_summary_counts_verdicts_and_shows_the_greatest_difference() {
        let row = |ratio| format!("t,LFU,unit,1,2,,{ratio},,libcachesim-0.3.5\n");
        let comparisons =
            [0.5, 0.503, 0.9].map(|ratio| compared(&row(ratio), |_| tally(1000, 500)));
        let summary = &Summary::of(&comparisons)[0];
        let count = Count {
            rows: 3,
            equal: 1,
            within: 1,
            explained: 0,
            failed: 1,
        };
        assert_eq!(summary.count, count);
        assert_eq!(Count::of(&comparisons), count);
        assert_eq!(summary.max_points, -40.0);
    }
}
