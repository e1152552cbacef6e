//! Holds simulated miss ratios against those that an independent simulator published.
//!
//! The table of published rows has the columns `trace, policy, mode, size_pct_of_unique,
//! size_objects, size_bytes, miss_ratio, byte_miss_ratio, source`. [`YARDSTICKS`] says which of
//! its policies are ours, and how far apart we may be. Where both follow the same definition that
//! is nothing at all; where they knowingly do not, a [`Difference`] says what it is, and its cells
//! are reported but cannot fail.

use crate::simulate::{Bound, Tally};
use crate::subject::{REFERENCE, Subject};
use serde::{Deserialize, Serialize};
use std::io::Read;
use thiserror::Error;

/// Published ratios have six decimals; half of the last one is rounding, the rest is ours.
const ROUNDING_POINTS: f64 = 1e-4;

/// The tolerance, in percentage points, where approximations are part of the policy.
const CLOSE_POINTS: f64 = 0.5;

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

    /// How far apart the row and a simulation of it are.
    pub fn compare(&self, yardstick: &Yardstick, subject: &Subject, tally: Tally) -> Comparison {
        let points = |ours: f64, theirs: f64| 100.0 * (ours - theirs);
        let requests = points(tally.miss_ratio(), self.miss_ratio);
        let bytes = self
            .byte_miss_ratio
            .map(|theirs| points(tally.byte_miss_ratio(), theirs));
        let mut differences = yardstick.differences.iter();
        let difference = differences.find(|difference| difference.place.covers(self));
        Comparison {
            trace: self.trace.clone(),
            published: self.policy.clone(),
            subject: subject.to_string(),
            bound: self.bound(),
            capacity: self.capacity(),
            points: [Some(requests), bytes]
                .into_iter()
                .flatten()
                .fold(0.0, further),
            allowed_points: yardstick.allowed_points(subject),
            difference: difference.map(|difference| difference.reason),
        }
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
            Subject::Reference(_) | Subject::Unshipped(_) => self.reference_points,
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
    Yardstick::approximate("S3-FIFO", "s3_fifo").but(&[TINY_SMALL_QUEUE, LARGE_OBJECTS]),
    Yardstick::approximate("S3-FIFO-1hit", "s3_fifo:0.1:1").but(&[TINY_SMALL_QUEUE, LARGE_OBJECTS]),
    Yardstick::exact("Clock2Q+", "clock2q_plus").but(&[TINY_SMALL_QUEUE, LARGE_OBJECTS]),
    Yardstick::approximate("2Q", "two_q").but(&[LARGE_OBJECTS]),
    Yardstick::approximate("ARC", "arc").but(&[TARGET_STEP]),
    Yardstick::close("LIRS", "lirs").but(&[COLD_SHARE]),
    Yardstick::exact("GDSF", "gdsf_rejecting"),
    Yardstick::close("GDSF", "gdsf").but(&[ADMISSION]),
    Yardstick::close("W-TinyLFU-1%", "w_tiny_lfu:0.01").but(&[COUNTING]),
    Yardstick::close("W-TinyLFU-20%", "w_tiny_lfu:0.2").but(&[COUNTING]),
    Yardstick::close("Caffeine-3.x", "w_tiny_lfu")
        .but(&[CLIMBING])
        .by("caffeine-3.x-reactive"),
    Yardstick::close("BeladySize", "belady").but(&[SAMPLING]),
];

/// A place where we knowingly define a policy otherwise than the publisher.
#[derive(Debug)]
pub struct Difference {
    place: Place,
    reason: &'static str,
}

/// Where a difference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In caches bounded by so few entries.
    FewerEntriesThan(u64),
    /// In caches bounded by bytes.
    Bytes,
    /// In all caches.
    Everywhere,
}

impl Place {
    fn covers(self, row: &Published) -> bool {
        match self {
            Self::FewerEntriesThan(entries) => row.mode == Mode::Unit && row.size_objects < entries,
            Self::Bytes => row.mode == Mode::Bytes,
            Self::Everywhere => true,
        }
    }
}

const TINY_SMALL_QUEUE: Difference = Difference {
    place: Place::FewerEntriesThan(20),
    reason: "In caches of fewer than 20 entries libCacheSim's small queue has room for one, and it \
             then admits only what has a ghost, so next to nothing.",
};

const LARGE_OBJECTS: Difference = Difference {
    place: Place::Bytes,
    reason: "By bytes libCacheSim turns away what is larger than the queue for newcomers; ours \
             admits all that fits the cache.",
};

const COLD_SHARE: Difference = Difference {
    place: Place::Bytes,
    reason: "By bytes libCacheSim's LIRS turns away what is larger than the cold share of 1 %, and \
             evicts a hot object that would turn cold and is; ours holds them.",
};

const TARGET_STEP: Difference = Difference {
    place: Place::Bytes,
    reason: "By bytes libCacheSim moves ARC's target by a ratio of sizes, which is a few bytes; \
             ours by that ratio times the object's size.",
};

const ADMISSION: Difference = Difference {
    place: Place::Bytes,
    reason: "By bytes libCacheSim's GDSF turns away an object worth less than what would have to \
             go; ours admits it, and evicts it next. gdsf_rejecting does as libCacheSim does.",
};

const COUNTING: Difference = Difference {
    place: Place::Everywhere,
    reason: "libCacheSim's W-TinyLFU counts hits in the main segments, inserts and duels, but not \
             hits in the window, and starts to duel at once; the paper's, like ours, counts requests.",
};

const CLIMBING: Difference = Difference {
    place: Place::Everywhere,
    reason: "Caffeine's window climbs by random seeds, at other moments and in other steps.",
};

const SAMPLING: Difference = Difference {
    place: Place::Bytes,
    reason: "libCacheSim's BeladySize looks at 128 objects chosen by lot; ours at all.",
};

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
    /// The intended difference that covers this cell.
    pub difference: Option<&'static str>,
}

impl Comparison {
    /// Whether the two are close enough.
    pub fn agrees(&self) -> bool {
        self.points.abs() <= self.allowed_points
    }

    /// Whether they are not, and nobody meant it.
    pub fn fails(&self) -> bool {
        !self.agrees() && self.difference.is_none()
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
    /// Cells compared.
    pub cells: usize,
    /// Cells that agree.
    pub agreeing: usize,
    /// Cells that do not, by intention.
    pub intended: usize,
    /// Cells that do not and should.
    pub failed: usize,
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
            summary.mean_points /= summary.cells as f64;
        }
        summaries
    }

    fn first(comparison: &Comparison) -> Self {
        let mut summary = Self {
            published: comparison.published.clone(),
            subject: comparison.subject.clone(),
            bound: comparison.bound,
            cells: 0,
            agreeing: 0,
            intended: 0,
            failed: 0,
            mean_points: 0.0,
            max_points: 0.0,
            max_at: String::new(),
        };
        summary.add(comparison);
        summary
    }

    fn add(&mut self, comparison: &Comparison) {
        self.cells += 1;
        self.agreeing += usize::from(comparison.agrees());
        self.failed += usize::from(comparison.fails());
        self.intended += usize::from(!comparison.agrees() && !comparison.fails());
        self.mean_points += comparison.points.abs();
        if self.cells == 1 || comparison.points.abs() > self.max_points.abs() {
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

    #[test]
    fn a_ratio_may_differ_by_its_rounding_only() {
        let rows = published("t,LRU,unit,1,2,,0.333333,,libcachesim-0.3.5\n").unwrap();
        let yardstick = rows[0].yardsticks().next().unwrap();
        let lru = &yardstick.subjects()[0];
        assert!(rows[0].compare(yardstick, lru, tally(3, 1)).agrees());
        assert!(
            rows[0]
                .compare(yardstick, lru, tally(100_000, 33_334))
                .fails()
        );
    }

    #[test]
    fn an_intended_difference_does_not_fail_where_it_is_and_does_elsewhere() {
        let rows = published(
            "t,S3-FIFO,unit,1,19,,0.9,,libcachesim-0.3.5\n\
             t,S3-FIFO,unit,1,20,,0.9,,libcachesim-0.3.5\n",
        )
        .unwrap();
        let comparisons: Vec<_> = rows
            .iter()
            .map(|row| {
                let yardstick = row.yardsticks().next().unwrap();
                row.compare(yardstick, &yardstick.subjects()[0], tally(10, 5))
            })
            .collect();
        assert!(!comparisons[0].agrees() && !comparisons[0].fails());
        assert!(comparisons[1].fails());
        let summary = &Summary::of(&comparisons)[0];
        assert_eq!((summary.cells, summary.intended, summary.failed), (2, 1, 1));
        assert_eq!(summary.max_points, -40.0);
    }
}
