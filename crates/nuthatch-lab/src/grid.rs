//! Every policy at every size of every trace, and what that says about the policies.

use crate::simulate::{Bound, Tally};
use crate::sizes::percent_of;
use crate::subject::{Subject, Unshipped};
use crate::sweep::sweep;
use crate::trace::Trace;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

/// What to simulate on each trace.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The policies.
    pub subjects: Vec<Subject>,
    /// What the caches are bounded by.
    pub bound: Bound,
    /// How many cells to simulate at a time.
    pub threads: NonZeroUsize,
    /// With how many hash functions and seeds to simulate each cell.
    pub seeds: NonZeroU32,
}

/// One policy at one size of one trace.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cell {
    /// The trace's name.
    pub trace: String,
    /// The policy's.
    pub policy: String,
    /// The capacity in entries or bytes.
    pub size: u64,
    /// The same as a percentage of the trace's unique keys or their bytes.
    pub size_pct: f64,
    /// Requests replayed.
    pub requests: u64,
    /// Requests that were not hits; with several seeds their mean, to the nearest.
    pub misses: u64,
    /// Misses per request; with several seeds the mean.
    pub miss_ratio: f64,
    /// Missed bytes per requested byte; with several seeds the mean.
    pub byte_miss_ratio: f64,
    /// With how many seeds it was simulated.
    pub seeds: u32,
    /// The miss ratio of the luckiest seed
    pub miss_ratio_min: f64,
    /// and of the unluckiest.
    pub miss_ratio_max: f64,
    /// How long the simulation took, all seeds together.
    pub seconds: f64,
}

impl Grid {
    /// Simulates all policies at all capacities of one trace, in this order: size by size, and by
    /// policy within a size.
    pub fn run(&self, trace: &Trace, capacities: &[u64]) -> Vec<Cell> {
        let pairs: Vec<_> = capacities
            .iter()
            .flat_map(|&capacity| self.subjects.iter().map(move |subject| (subject, capacity)))
            .collect();
        sweep(
            trace.name(),
            &pairs,
            self.threads,
            |&(subject, capacity)| {
                let started = Instant::now();
                let seeds = 0..u64::from(self.seeds.get());
                let tallies: Vec<_> = seeds
                    .map(|seed| subject.replay_seeded(trace, self.bound, capacity, seed))
                    .collect();
                let seconds = started.elapsed().as_secs_f64();
                self.cell(trace, subject, capacity, &tallies, seconds)
            },
        )
    }

    fn cell(
        &self,
        trace: &Trace,
        subject: &Subject,
        capacity: u64,
        tallies: &[Tally],
        seconds: f64,
    ) -> Cell {
        let seeds = self.seeds.get();
        let mean = |of: fn(&Tally) -> f64| tallies.iter().map(of).sum::<f64>() / f64::from(seeds);
        let ratios = || tallies.iter().map(Tally::miss_ratio);
        Cell {
            trace: trace.name().to_owned(),
            policy: subject.to_string(),
            size: capacity,
            size_pct: percent_of(capacity, trace, self.bound),
            requests: trace.requests().len() as u64,
            misses: mean(|tally| tally.misses as f64).round() as u64,
            miss_ratio: mean(Tally::miss_ratio),
            byte_miss_ratio: mean(Tally::byte_miss_ratio),
            seeds,
            miss_ratio_min: ratios().fold(f64::INFINITY, f64::min),
            miss_ratio_max: ratios().fold(0.0, f64::max),
            seconds,
        }
    }
}

/// Whether a policy knows the future, and so is no candidate.
pub fn is_clairvoyant(policy: &str) -> bool {
    policy == Unshipped::Belady.name()
}

/// What many cells say about one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The policy.
    pub policy: String,
    /// Its mean miss ratio.
    pub mean: f64,
    /// How far it is behind the best policy of a cell where that is most, in percentage points.
    pub worst_points: f64,
    /// Where that is.
    pub worst_at: String,
    /// Cells in which it is more than one point worse than LRU, if LRU was simulated.
    pub worse_than_lru: Option<usize>,
}

/// The standing of each policy over all cells, the best first.
pub fn standings(cells: &[Cell]) -> Vec<Standing> {
    let mut policies: Vec<&str> = Vec::new();
    for cell in cells {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
    }
    let mut standings: Vec<_> = policies
        .into_iter()
        .map(|each| standing(each, cells))
        .collect();
    standings.sort_by(|a, b| a.mean.total_cmp(&b.mean));
    standings
}

fn standing(policy: &str, cells: &[Cell]) -> Standing {
    let mut standing = Standing {
        policy: policy.to_owned(),
        mean: 0.0,
        worst_points: 0.0,
        worst_at: String::new(),
        worse_than_lru: None,
    };
    let mut count = 0;
    for cell in cells.iter().filter(|cell| cell.policy == policy) {
        count += 1;
        standing.mean += cell.miss_ratio;
        let rivals = || cells.iter().filter(|other| is_same_cache(cell, other));
        let candidates = rivals().filter(|other| !is_clairvoyant(&other.policy));
        let best = candidates.map(|other| other.miss_ratio).fold(1.0, f64::min);
        let behind = 100.0 * (cell.miss_ratio - best);
        if behind > standing.worst_points {
            standing.worst_points = behind;
            standing.worst_at = format!("{} at {}", cell.trace, cell.size);
        }
        if let Some(lru) = rivals().find(|other| other.policy == "lru") {
            let worse = cell.miss_ratio > lru.miss_ratio + 0.01;
            *standing.worse_than_lru.get_or_insert(0) += usize::from(worse);
        }
    }
    standing.mean /= f64::from(count);
    standing
}

fn is_same_cache(a: &Cell, b: &Cell) -> bool {
    a.size == b.size && a.trace == b.trace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(subjects: &[&str]) -> Grid {
        Grid {
            subjects: subjects.iter().map(|name| name.parse().unwrap()).collect(),
            bound: Bound::Entries,
            threads: NonZeroUsize::MIN,
            seeds: NonZeroU32::MIN,
        }
    }

    #[test]
    fn seeds_spread_what_depends_on_hashes_and_nothing_else() {
        let trace = "zipf:0.8:2000:20000".parse();
        let trace = crate::trace::Source::load(&trace.unwrap(), None).unwrap();
        let mut grid = grid(&["lru", "default"]);
        let once = grid.run(&trace, &[200]);
        grid.seeds = NonZeroU32::new(4).unwrap();
        let spread = grid.run(&trace, &[200]);
        let [lru, default] = &spread[..] else {
            panic!("two cells, not {}", spread.len())
        };
        assert_eq!(lru.miss_ratio_min, lru.miss_ratio_max);
        assert_eq!(lru.misses, once[0].misses);
        assert!(default.miss_ratio_min < default.miss_ratio_max);
        let first = once[1].miss_ratio;
        assert!((default.miss_ratio_min..=default.miss_ratio_max).contains(&first));
        assert!((default.miss_ratio_min..=default.miss_ratio_max).contains(&default.miss_ratio));
    }

    #[test]
    fn a_loop_larger_than_the_cache_defeats_lru_but_not_belady() {
        let trace = crate::trace::Source::load(&"loop:100:10000".parse().unwrap(), None).unwrap();
        let cells = grid(&["lru", "belady"]).run(&trace, &[50, 100]);
        let ratios: Vec<_> = cells
            .iter()
            .map(|cell| (cell.size, cell.miss_ratio))
            .collect();
        assert_eq!(ratios.len(), 4);
        assert_eq!(ratios[0], (50, 1.0));
        assert!(ratios[1].1 < 0.6);
        assert_eq!(ratios[2..], [(100, 0.01), (100, 0.01)]);
        let standings = standings(&cells);
        assert_eq!(standings[0].policy, "belady");
        assert_eq!(standings[1].worse_than_lru, Some(0));
        assert_eq!(
            standings[1].worst_points, 0.0,
            "nothing but belady was better"
        );
    }
}
