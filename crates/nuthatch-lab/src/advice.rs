//! Which policy and which size a trace asks for, found out from a sample of its keys.
//!
//! *Miniature simulation* (Waldspurger, Saemundsson, Ahmad, Park: "Cache Modeling and Optimization
//! using Miniature Simulations", USENIX ATC 2017): a cache that is as much smaller as the sample has
//! fewer keys misses about the same share of the sample's requests.
//!
//! *Correction.* The sample has the hot keys that its hashes happened to choose, and so too many or
//! too few requests. SHARDS-adj takes requests that it lacks for hits. Here, how many misses come
//! with a key and how many with a request is a regression over the sampled keys (a generalized
//! regression estimator, Särndal et al., 1992): where popular keys hit, it says what SHARDS-adj
//! says; in a loop, where each request misses, it says that, too. The trace's keys and requests,
//! which are known, then give its misses.
//!
//! *Error.* The sample's parts, which share no key, are estimated likewise. Their spread tells that
//! of the whole, and how far their mean is from the whole's estimate tells what smallness does to
//! it. Where every key is sampled nothing is estimated, and there is no error.

use crate::grid::is_clairvoyant;
use crate::miniature::{Certain, Drawn, Miniature, PARTS, Population, extrapolate};
use crate::shards::{Sample, Totals};
use crate::simulate::{Bound, Outcome};
use crate::sizes::CacheSize;
use crate::subject::Subject;
use crate::sweep::sweep;
use crate::trace::Request;
use serde::Serialize;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::slice;

/// The error that is small enough, in points.
const AIM_POINTS: f64 = 1.0;
/// The number of keys is doubled so many times at once, at most.
const MOST_LEVELS: f64 = 2.0;
/// Student's t for 95 % and three degrees of freedom, over the square root of the four parts.
const ERRORS_PER_SPREAD: f64 = 3.182 / 2.0;
/// Nobody notices less than this, in points of the mean miss ratio.
const NEGLIGIBLE_POINTS: f64 = 0.2;
/// A doubling of the cache pays if it saves this share of the remaining misses, and so many points.
const PAYING_SHARE: f64 = 0.1;
const PAYING_POINTS: f64 = 1.0;
/// The policy that is recommended unless another one is better beyond doubt.
const DEFAULT: &str = "default";

/// What to find out.
#[derive(Clone, Debug)]
pub struct Question {
    /// The policies to choose from.
    pub subjects: Vec<Subject>,
    /// The sizes to choose from.
    pub sizes: Vec<CacheSize>,
    /// What caches are bounded by.
    pub bound: Bound,
    /// How many simulations run at a time.
    pub threads: NonZeroUsize,
}

/// One policy at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The trace's name.
    pub trace: String,
    /// The policy's.
    pub policy: String,
    /// The capacity in entries or bytes.
    pub size: u64,
    /// The same as a percentage of the trace's unique keys or their bytes.
    pub size_pct: f64,
    /// Misses per request.
    pub miss_ratio: f64,
    /// Missed bytes per requested byte.
    pub byte_miss_ratio: f64,
    /// How far `miss_ratio` may be off, in percentage points; 0 where all keys were simulated.
    pub error_points: f64,
    /// Keys that were simulated.
    pub sampled_keys: u64,
    /// The share of the trace's keys that they are.
    pub sample_rate: f64,
}

/// What to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The policy.
    pub policy: String,
    /// Its mean miss ratio over the sizes.
    pub mean: f64,
    /// The policy with the least mean, and how many points it is ahead, if it is another one.
    pub ahead: Option<(String, f64)>,
    /// How far that lead may be off, in points.
    pub lead_error_points: f64,
    /// The smallest size from which on no doubling pays, or the largest if the last one does.
    pub at: Point,
    /// What twice that size would save, in points, if that was simulated.
    pub doubling_saves_points: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Size by size in ascending order, and in the question's order of policies within a size.
    pub points: Vec<Point>,
    /// Sizes that were asked for and are less than one entry of the sample.
    pub too_small: Vec<CacheSize>,
    /// What to take; nothing if no size was left or no policy is a candidate.
    pub recommendation: Option<Recommendation>,
}

/// What one cell gives: miss ratio and byte miss ratio.
#[derive(Clone, Copy, Debug)]
struct Ratios {
    objects: f64,
    bytes: f64,
}

/// What one simulation missed, by key.
#[derive(Debug)]
struct Misses {
    requests: Vec<f64>,
    /// Nothing where each object is of one byte.
    bytes: Option<Vec<f64>>,
}

/// A point, and what the sample's parts say of its miss ratio.
#[derive(Clone, Debug)]
struct Found {
    point: Point,
    parts: Vec<f64>,
}

impl Miniature {
    fn misses(&self, subject: &Subject, bound: Bound, capacity: u64) -> Misses {
        let mut requests = vec![0.0; self.requests.len()];
        let mut bytes = self.trace.has_sizes().then(|| requests.clone());
        let mut count = |request: &Request, outcome| {
            if outcome != Outcome::Hit {
                requests[request.key as usize] += 1.0;
                if let Some(bytes) = &mut bytes {
                    bytes[request.key as usize] += f64::from(request.size);
                }
            }
        };
        subject.replay_observed(&self.trace, bound, capacity, 0, &mut count);
        Misses { requests, bytes }
    }

    /// What a policy would miss of the full trace in a cache of this size.
    fn simulate(
        &self,
        subject: &Subject,
        bound: Bound,
        size: u64,
        certain: &Certain,
        totals: &Totals,
    ) -> Ratios {
        let capacity = match bound {
            Bound::Entries => (size as f64 - certain.keys) * self.share,
            Bound::Bytes => (size as f64 - certain.object_bytes) * self.byte_share,
        };
        let capacity = capacity.round().max(1.0);
        let misses = self.misses(subject, bound, capacity as u64);
        let keys = totals.keys - certain.keys;
        // Those which are certain to hit miss once.
        let ratio = |missed: &[f64], asked: &[f64], total: f64, certain: f64, cold: f64| {
            let of_rest = estimate(missed, asked, keys, total - certain);
            (of_rest * (total - certain) + cold) / total
        };
        let objects = ratio(
            &misses.requests,
            &self.requests,
            totals.requests as f64,
            certain.requests,
            certain.keys,
        );
        let bytes = misses.bytes.map(|missed| {
            let total = totals.bytes as f64;
            ratio(
                &missed,
                &self.bytes,
                total,
                certain.bytes,
                certain.object_bytes,
            )
        });
        Ratios {
            objects,
            bytes: bytes.unwrap_or(objects),
        }
    }
}

/// The share of `total` that is missed, if of the sampled keys each was asked for `asked` and missed
/// `missed`, and `keys` keys were asked for `total` in all.
fn estimate(missed: &[f64], asked: &[f64], keys: f64, total: f64) -> f64 {
    (extrapolate(missed, asked, keys, total) / total).clamp(0.0, 1.0)
}

impl Question {
    /// Answers from a sample, which must not be empty.
    pub fn answer(&self, name: &str, sample: Sample) -> Advice {
        let population = Population::new(name, sample);
        let whole = match self.bound {
            Bound::Entries => population.totals().keys,
            Bound::Bytes => population.total_bytes(),
        };
        let mut sizes = Vec::new();
        let mut too_small = Vec::new();
        let share = population.keys() as f64 / population.totals().keys;
        for &size in &self.sizes {
            let absolute = size.of_whole(whole.round() as u64);
            if (absolute as f64 * share).round() < 1.0 {
                too_small.push(size);
            } else if !sizes.contains(&absolute) {
                sizes.push(absolute);
            }
        }
        sizes.sort_unstable();
        let mut points = Vec::new();
        let mut parts = Vec::new();
        let mut drawn = HashMap::new();
        for size in sizes {
            for found in self.at_size(&population, &mut drawn, size, whole) {
                points.push(found.point);
                parts.push(found.parts);
            }
        }
        Advice {
            too_small,
            recommendation: recommend(&points, &parts),
            points,
        }
    }

    /// The policies at one size, and what the parts say of each: simulated on few keys first, and
    /// those on more whose error is not small enough.
    fn at_size(
        &self,
        population: &Population,
        drawn: &mut HashMap<(usize, usize), Drawn>,
        size: u64,
        whole: f64,
    ) -> Vec<Found> {
        let entries = size as f64 / whole * population.totals().keys;
        let certain = population.certain_keys(entries);
        // More keys are certain at larger sizes, never fewer, so the others are not needed again.
        drawn.retain(|&(_, set_aside), _| set_aside == certain);
        let mut results: Vec<Option<Found>> = vec![None; self.subjects.len()];
        let mut open: Vec<usize> = (0..self.subjects.len()).collect();
        let mut level = population.first_level(entries);
        while !open.is_empty() {
            let (keys, last) = population.level(level);
            let miniatures = drawn
                .entry((keys, certain))
                .or_insert_with(|| population.draw(keys, certain));
            let round = Round {
                question: self,
                totals: population.totals(),
                miniatures,
                size,
                whole,
            };
            let settled = results.iter().flatten();
            let settled: Vec<_> = settled.map(|found| found.point.error_points).collect();
            let (accepted, off) = round.play(&open, &settled, last);
            for (policy, result) in accepted {
                results[policy] = Some(result);
            }
            open.retain(|&policy| results[policy].is_none());
            // The error goes down with the root of the number of keys. Four parts tell it roughly, so
            // no more than one step is skipped.
            let levels = (2.0 * (off / AIM_POINTS).log2()).ceil();
            level += levels.clamp(1.0, MOST_LEVELS) as i32;
        }
        let result = |result: Option<Found>| result.expect("no policy is open");
        results.into_iter().map(result).collect()
    }
}

/// The simulation of one size on miniatures of so many keys.
#[derive(Debug)]
struct Round<'a> {
    question: &'a Question,
    totals: &'a Totals,
    miniatures: &'a Drawn,
    size: u64,
    whole: f64,
}

impl Round<'_> {
    /// Gives the points of those policies whose error is small enough, or of all in the last round,
    /// and the error of the others. `settled` has those of other policies that need no more.
    fn play(&self, policies: &[usize], settled: &[f64], last: bool) -> (Vec<(usize, Found)>, f64) {
        let of_parts = self.simulate(policies, &self.miniatures.parts);
        let spreads: Vec<_> = of_parts.iter().map(|parts| spread(parts)).collect();
        let mut failed = Vec::new();
        // Where the parts differ too much, the whole need not be looked at.
        let mut promising = Vec::new();
        let mut parts = Vec::new();
        for ((&policy, of_policy), &spread) in policies.iter().zip(of_parts).zip(&spreads) {
            if last || is_fine(spread, &spreads, settled) {
                promising.push(policy);
                parts.push(of_policy);
            } else {
                failed.push(spread);
            }
        }
        let of_all = self.simulate(&promising, slice::from_ref(&self.miniatures.all));
        let points: Vec<_> = promising
            .iter()
            .zip(of_all.iter().zip(&parts))
            .map(|(&policy, (all, parts))| self.point(policy, all[0], parts))
            .collect();
        let errors: Vec<_> = points
            .iter()
            .map(|found| found.point.error_points)
            .collect();
        let mut accepted = Vec::new();
        for (policy, result) in promising.into_iter().zip(points) {
            let error = result.point.error_points;
            if last || is_fine(error, &errors, settled) {
                accepted.push((policy, result));
            } else {
                failed.push(error);
            }
        }
        (accepted, overall(&failed))
    }

    /// The miss ratios of some policies on some miniatures.
    fn simulate(&self, policies: &[usize], miniatures: &[Miniature]) -> Vec<Vec<Ratios>> {
        let mut cells = Vec::new();
        for &policy in policies {
            let subject = &self.question.subjects[policy];
            cells.extend(miniatures.iter().map(|miniature| (subject, miniature)));
        }
        let name = self.miniatures.all.trace.name();
        let (bound, threads) = (self.question.bound, self.question.threads);
        let certain = &self.miniatures.certain;
        let ratios = sweep(name, &cells, threads, |(subject, miniature)| {
            miniature.simulate(subject, bound, self.size, certain, self.totals)
        });
        let mut ratios = ratios.into_iter();
        let of_policy = |_| ratios.by_ref().take(miniatures.len()).collect();
        (0..policies.len()).map(of_policy).collect()
    }

    fn point(&self, policy: usize, all: Ratios, parts: &[Ratios]) -> Found {
        let Drawn { all: drawn, .. } = self.miniatures;
        // Without parts nothing is estimated, and each would say the same.
        let mut parts: Vec<_> = parts.iter().map(|part| part.objects).collect();
        parts.resize(PARTS, all.objects);
        // A key more or less is a cold miss more or less.
        let by_keys = self.totals.keys_error / self.totals.requests as f64;
        let point = Point {
            trace: drawn.trace.name().to_owned(),
            policy: self.question.subjects[policy].to_string(),
            size: self.size,
            size_pct: 100.0 * self.size as f64 / self.whole,
            miss_ratio: all.objects,
            byte_miss_ratio: all.bytes,
            error_points: 100.0 * error(all.objects, &parts).hypot(by_keys),
            sampled_keys: drawn.trace.keys(),
            sample_rate: drawn.share,
        };
        Found { point, parts }
    }
}

/// Whether an error is small enough: it is itself, or the errors of all policies are on the whole.
/// They see the same keys, so all together tell better how far off these are than one that four
/// parts tell.
fn is_fine(error: f64, errors: &[f64], settled: &[f64]) -> bool {
    error <= AIM_POINTS || overall(&[errors, settled].concat()) <= AIM_POINTS
}

/// The root of the errors' mean square.
fn overall(errors: &[f64]) -> f64 {
    let squares: Vec<_> = errors.iter().map(|error| error.powi(2)).collect();
    mean(&squares).sqrt()
}

/// How far the parts' mean may be off, in points.
fn spread(parts: &[Ratios]) -> f64 {
    if parts.is_empty() {
        return 0.0;
    }
    let parts: Vec<_> = parts.iter().map(|part| part.objects).collect();
    100.0 * error(mean(&parts), &parts)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How far an estimate may be off, by what its parts say.
fn error(estimate: f64, parts: &[f64]) -> f64 {
    let count = parts.len() as f64;
    let mean = mean(parts);
    let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // A part has a quarter of the keys, and so caches of a quarter. What that changes may go on to
    // change as slowly from here to the full size.
    let bias = mean - estimate;
    // The parts' mean has about the variance of the whole.
    (variance * ERRORS_PER_SPREAD.powi(2) + bias * bias).sqrt()
}

/// Chooses by the points, of which `parts` has what the sample's parts say.
fn recommend(points: &[Point], parts: &[Vec<f64>]) -> Option<Recommendation> {
    let mut policies: Vec<&str> = Vec::new();
    for point in points {
        if !policies.contains(&point.policy.as_str()) && !is_clairvoyant(&point.policy) {
            policies.push(&point.policy);
        }
    }
    let places = |policy: &str| {
        let all = (0..points.len()).filter(|&place| points[place].policy == policy);
        all.collect::<Vec<_>>()
    };
    let mean = |policy: &str| {
        let places = places(policy);
        let sum: f64 = places.iter().map(|&place| points[place].miss_ratio).sum();
        sum / places.len() as f64
    };
    let best = *policies.iter().min_by(|a, b| mean(a).total_cmp(&mean(b)))?;
    let default = policies.iter().find(|&&policy| policy == DEFAULT);
    let lead = |other: &str| {
        let pairs: Vec<_> = places(other).into_iter().zip(places(best)).collect();
        let of_part = |part: usize| {
            let differences = pairs.iter().map(|&(a, b)| parts[a][part] - parts[b][part]);
            differences.sum::<f64>() / pairs.len() as f64
        };
        let of_parts: Vec<_> = (0..parts[0].len()).map(of_part).collect();
        let lead = mean(other) - mean(best);
        (100.0 * lead, 100.0 * error(lead, &of_parts))
    };
    let (mut policy, mut ahead, mut lead_error_points) = (best, None, 0.0);
    if let Some(&default) = default.filter(|&&default| default != best) {
        let (points, error_points) = lead(default);
        lead_error_points = error_points;
        if points <= error_points.max(NEGLIGIBLE_POINTS) {
            policy = default;
            ahead = Some((best.to_owned(), points));
        }
    }
    let curve: Vec<_> = places(policy)
        .into_iter()
        .map(|place| &points[place])
        .collect();
    let (at, doubling_saves_points) = knee(&curve);
    Some(Recommendation {
        policy: policy.to_owned(),
        mean: mean(policy),
        ahead,
        lead_error_points,
        at: at.clone(),
        doubling_saves_points,
    })
}

/// The smallest size from which on no doubling pays, and what the next one would save.
fn knee<'a>(curve: &[&'a Point]) -> (&'a Point, Option<f64>) {
    let mut knee = (curve[curve.len() - 1], None);
    for &point in curve.iter().rev() {
        let Some(doubled) = at(curve, 2 * point.size) else {
            continue;
        };
        let saves = point.miss_ratio - doubled;
        if saves >= (PAYING_SHARE * point.miss_ratio).max(PAYING_POINTS / 100.0) {
            break;
        }
        knee = (point, Some(100.0 * saves));
    }
    knee
}

/// The miss ratio at a size within the curve, interpolated by the size's logarithm.
fn at(curve: &[&Point], size: u64) -> Option<f64> {
    let above = curve.iter().position(|point| point.size >= size)?;
    let right = curve[above];
    if right.size == size {
        return Some(right.miss_ratio);
    }
    let left = curve[above.checked_sub(1)?];
    let log = |size: u64| (size as f64).ln();
    let part = (log(size) - log(left.size)) / (log(right.size) - log(left.size));
    Some(left.miss_ratio + part * (right.miss_ratio - left.miss_ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;
    use crate::shards::{SampleBounds, Sampler};
    use crate::simulate::key_hash;
    use crate::trace::{Streamed, Trace};

    fn sample(trace: &Trace, keys: usize) -> Sample {
        let mut sampler = Sampler::new(SampleBounds {
            keys,
            requests: 1 << 22,
            fewest_keys: 64,
        });
        for request in trace.requests() {
            sampler.take(&[Streamed {
                hash: key_hash(request.key),
                size: request.size,
            }]);
        }
        sampler.finish()
    }

    fn question(policies: &[&str], sizes: &[&str], bound: Bound) -> Question {
        Question {
            subjects: policies.iter().map(|name| name.parse().unwrap()).collect(),
            sizes: sizes.iter().map(|size| size.parse().unwrap()).collect(),
            bound,
            threads: NonZeroUsize::MIN,
        }
    }

    #[test]
    fn where_all_keys_are_sampled_it_is_the_simulation_itself() {
        for trace in bundled::traces().unwrap() {
            let question = question(&["default", "lru"], &["3%"], Bound::Entries);
            let advice = question.answer("t", sample(&trace, 1 << 20));
            for (point, subject) in advice.points.iter().zip(&question.subjects) {
                let full = subject.replay(&trace, Bound::Entries, point.size);
                let smaller = point.sampled_keys < trace.keys();
                if !smaller {
                    assert_eq!(point.error_points, 0.0);
                    assert!((point.miss_ratio - full.miss_ratio()).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn recorded_traces_miss_what_full_simulation_says_within_the_stated_error() {
        let policies = ["default", "lru", "clock", "s3_fifo", "arc"];
        let question = question(&policies, &["4%", "16%", "32%"], Bound::Entries);
        let (mut cells, mut outside) = (0, Vec::new());
        for trace in bundled::traces().unwrap() {
            let kept = trace.keys() as usize / 2;
            for point in question.answer(trace.name(), sample(&trace, kept)).points {
                let subject: Subject = point.policy.parse().unwrap();
                let full = subject.replay(&trace, Bound::Entries, point.size);
                let off = 100.0 * (point.miss_ratio - full.miss_ratio());
                cells += 1;
                if off.abs() > point.error_points + 0.1 {
                    outside.push((point, off));
                }
            }
        }
        // The stated error is that of 95 % confidence, and cells of a trace share their keys.
        assert!(outside.len() * 10 <= cells, "{outside:#?}");
    }

    #[test]
    fn the_estimate_is_right_where_requests_or_keys_alone_decide() {
        // Every key misses once, so the misses are known by the keys.
        let cold = estimate(&[1.0; 3], &[1.0, 2.0, 9.0], 100.0, 1000.0);
        assert!((cold - 0.1).abs() < 1e-12);
        // Every request misses, whatever the popularity.
        let scan = estimate(&[1.0, 2.0, 9.0], &[1.0, 2.0, 9.0], 100.0, 1000.0);
        assert!((scan - 1.0).abs() < 1e-12);
        // All keys are alike.
        assert_eq!(estimate(&[1.0; 2], &[4.0; 2], 100.0, 1000.0), 0.25);
    }

    fn points(policy: &str, ratios: &[f64]) -> Vec<Point> {
        let point = |(number, &miss_ratio): (u32, &f64)| Point {
            trace: "t".to_owned(),
            policy: policy.to_owned(),
            size: 100 << number,
            size_pct: 1.0,
            miss_ratio,
            byte_miss_ratio: miss_ratio,
            error_points: 0.0,
            sampled_keys: 1,
            sample_rate: 1.0,
        };
        (0..).zip(ratios).map(point).collect()
    }

    fn advised(points: &[Point], parts: &[Vec<f64>]) -> Recommendation {
        recommend(points, parts).expect("there is a candidate")
    }

    #[test]
    fn the_knee_is_where_no_further_doubling_pays() {
        let knee = |ratios: &[f64]| {
            let points = points("lru", ratios);
            let advised = advised(&points, &vec![vec![0.5; PARTS]; ratios.len()]);
            let saves = advised.doubling_saves_points.map(|points| points.round());
            (advised.at.size, saves)
        };
        assert_eq!(knee(&[0.8, 0.6, 0.41, 0.40, 0.39]), (400, Some(1.0)));
        assert_eq!(knee(&[0.5, 0.5, 0.5]), (100, Some(0.0)));
        // A loop that fits at last: what comes before the cliff is no knee.
        assert_eq!(knee(&[1.0, 1.0, 1.0, 0.1]), (800, None));
        assert_eq!(knee(&[0.7]), (100, None));
    }

    #[test]
    fn the_default_is_recommended_unless_another_is_better_beyond_doubt() {
        let all = |lead: f64| [points("lru", &[0.5]), points("default", &[0.5 + lead])].concat();
        let sure = |lead: f64| vec![vec![0.5; PARTS], vec![0.5 + lead; PARTS]];
        assert_eq!(advised(&all(0.001), &sure(0.001)).policy, "default");
        assert_eq!(advised(&all(0.01), &sure(0.01)).policy, "lru");
        let unsure = vec![vec![0.5; PARTS], vec![0.48, 0.54, 0.48, 0.54]];
        let advised = advised(&all(0.01), &unsure);
        assert_eq!(advised.policy, "default");
        let (best, points) = advised.ahead.expect("lru is ahead");
        assert_eq!((best.as_str(), points.round()), ("lru", 1.0));
        assert!(advised.lead_error_points > 1.0);
    }

    #[test]
    fn who_knows_the_future_is_not_recommended() {
        let points = points("belady", &[0.1]);
        assert_eq!(recommend(&points, &[vec![0.1; PARTS]]), None);
    }

    #[test]
    fn objects_are_weighed_by_their_sizes() {
        let request = |index: u64| Request {
            key: index % 10,
            time_s: 0,
            size: 100,
            ttl_s: 0,
        };
        let trace = Trace::new("t", (0..1000).map(request).collect());
        let question = question(&["lru"], &["50%", "1000"], Bound::Bytes);
        let points = question.answer("t", sample(&trace, 100)).points;
        let got: Vec<_> = points
            .iter()
            .map(|each| (each.size, each.miss_ratio))
            .collect();
        assert_eq!(got, [(500, 1.0), (1000, 0.01)]);
    }
}
