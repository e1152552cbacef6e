//! `nuthatch-lab traces`: what is in a trace.

use super::present;
use anyhow::Context;
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::trace::{Columns, Source, Trace};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Traces, named as for `simulate`
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<String>,
    /// Names of a CSV's columns, of which one is `key`, others may be `time`, `size` and `ttl`
    #[arg(long, value_name = "NAME,..")]
    columns: Option<Columns>,
    /// Also write the rows as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Row {
    trace: String,
    requests: usize,
    keys: u64,
    keys_seen_once: usize,
    cold_miss_ratio: f64,
    bytes: u64,
    span_s: u32,
}

impl Row {
    fn new(trace: &Trace) -> Self {
        let requests = trace.requests();
        let mut times_seen = vec![0_u64; trace.keys() as usize];
        for request in requests {
            times_seen[request.key as usize] += 1;
        }
        Self {
            trace: trace.name().to_owned(),
            requests: requests.len(),
            keys: trace.keys(),
            keys_seen_once: times_seen.iter().filter(|&&times| times == 1).count(),
            cold_miss_ratio: trace.keys() as f64 / requests.len().max(1) as f64,
            bytes: trace.bytes(),
            span_s: requests.last().map_or(0, |request| request.time_s),
        }
    }

    fn cells(&self) -> [String; 7] {
        let seen_once = self.keys_seen_once as f64 / self.keys.max(1) as f64;
        [
            self.trace.clone(),
            self.requests.to_string(),
            self.keys.to_string(),
            format!("{:.1} %", 100.0 * seen_once),
            format!("{:.1} %", 100.0 * self.cold_miss_ratio),
            self.bytes.to_string(),
            self.span_s.to_string(),
        ]
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for trace in &arguments.traces {
        let source: Source = trace.parse()?;
        let trace = source.load(arguments.columns.as_ref());
        rows.push(Row::new(&trace.with_context(|| source.to_string())?));
    }
    let numbers = [
        "requests",
        "keys",
        "seen once",
        "cold misses",
        "bytes",
        "seconds",
    ];
    let headings = numbers.map(|heading| (heading, Align::Right));
    let mut table = Table::new([("trace", Align::Left)].into_iter().chain(headings));
    rows.iter().for_each(|row| table.row(row.cells()));
    present(&table, &rows, arguments.json.as_deref())
}
