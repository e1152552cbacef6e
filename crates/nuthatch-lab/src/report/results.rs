//! A record's rows by what they are for.

use super::plan::Part;
use super::record::{About, Finished, Record};
use crate::footprint::FootprintRow;
use crate::grid::Cell;
use crate::rows::{EvictRow, HitRatioRow, MemoryRow, ThroughputRow};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Results {
    /// Where and with what.
    pub about: About,
    /// Each measurement, without its rows.
    pub units: Vec<Finished>,
    /// Throughput by threads, everything resident.
    pub lock: Vec<ThroughputRow>,
    /// What one operation executes and touches.
    pub footprint: Vec<FootprintRow>,
    /// The cost of an eviction by capacity.
    pub evict: Vec<EvictRow>,
    /// Evictions by threads.
    pub evict_threads: Vec<ThroughputRow>,
    /// Durations of hits among writes.
    pub latency: Vec<ThroughputRow>,
    /// What policies miss.
    pub policies: Vec<Cell>,
    /// What `dlfu` misses as its weight moves.
    pub weights: Vec<Cell>,
    /// What caches miss.
    pub hit_ratios: Vec<HitRatioRow>,
    /// Bytes of an entry.
    pub memory: Vec<MemoryRow>,
    /// Throughput of all caches.
    pub peers: Vec<ThroughputRow>,
}

/// A row of a record is not what its part says.
#[derive(Debug, Error)]
#[error("a row of {command:?} is not what that command gives")]
pub struct UnreadableRow {
    command: String,
    source: serde_json::Error,
}

impl Results {
    /// Reads the rows of a record.
    pub fn of(record: &Record) -> Result<Self, UnreadableRow> {
        let without_rows = |unit: &Finished| Finished {
            rows: Vec::new(),
            ..unit.clone()
        };
        Ok(Self {
            about: record.about.clone(),
            units: record.units.iter().map(without_rows).collect(),
            lock: rows(record, Part::Lock)?,
            footprint: rows(record, Part::Footprint)?,
            evict: rows(record, Part::Evict)?,
            evict_threads: rows(record, Part::EvictThreads)?,
            latency: rows(record, Part::Latency)?,
            policies: rows(record, Part::Policies)?,
            weights: rows(record, Part::Weights)?,
            hit_ratios: rows(record, Part::HitRatios)?,
            memory: rows(record, Part::Memory)?,
            peers: rows(record, Part::Peers)?,
        })
    }

    /// The command of the first measurement of a part of which this is one of the words, or part of
    /// one; none, if there is no such measurement.
    pub fn command(&self, part: Part, word: &str) -> Option<String> {
        let mut of_part = self.units.iter().filter(|unit| unit.part == part);
        let unit = of_part.find(|unit| unit.command.iter().any(|each| each.contains(word)))?;
        Some(format!("nuthatch-lab {}", unit.command.join(" ")))
    }
}

fn rows<R: DeserializeOwned>(record: &Record, part: Part) -> Result<Vec<R>, UnreadableRow> {
    let units = record.units.iter().filter(|unit| unit.part == part);
    let rows = units.flat_map(|unit| unit.rows.iter().map(move |row| (unit, row)));
    rows.map(|(unit, row)| {
        R::deserialize(row).map_err(|source| UnreadableRow {
            command: unit.command.join(" "),
            source,
        })
    })
    .collect()
}
