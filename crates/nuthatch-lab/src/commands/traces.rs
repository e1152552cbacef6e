//! `nuthatch-lab traces`: what is in a trace.

use super::JsonArguments;
use super::input::{ColumnArguments, source};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::trace::{Source, Trace};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(required = true, value_name = "TRACE", value_parser = source, help = Source::naming())]
    traces: Vec<Source>,
    #[command(flatten)]
    columns: ColumnArguments,
    #[command(flatten)]
    json: JsonArguments,
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
            cold_miss_ratio: trace.keys() as f64 / requests.len() as f64,
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
    arguments.columns.check(&arguments.traces)?;
    let presentation = arguments.json.open()?;
    let mut rows = Vec::new();
    for source in &arguments.traces {
        rows.push(Row::new(&arguments.columns.load(source)?));
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
    presentation.give(table, &rows)
}
