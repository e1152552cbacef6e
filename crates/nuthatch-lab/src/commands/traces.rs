//! `nuthatch-lab traces`: what is in a trace.

use anyhow::Context;
use nuthatch_lab::output::{Align, Table, write_json};
use nuthatch_lab::trace::{Request, read_ctr};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files in the .ctr.zst format
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Also write the rows as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Row {
    trace: String,
    requests: u64,
    keys: u64,
    keys_seen_once: u64,
    cold_miss_ratio: f64,
    bytes: u64,
    span_s: u32,
}

impl Row {
    fn new(trace: String, requests: &[Request]) -> Self {
        let keys = requests
            .iter()
            .map(|request| request.key + 1)
            .max()
            .unwrap_or(0);
        let mut seen = vec![0_u32; keys as usize];
        let mut sizes = vec![0_u32; keys as usize];
        for request in requests {
            seen[request.key as usize] += 1;
            sizes[request.key as usize] = request.size;
        }
        Self {
            trace,
            requests: requests.len() as u64,
            keys,
            keys_seen_once: seen.iter().filter(|&&times| times == 1).count() as u64,
            cold_miss_ratio: keys as f64 / requests.len().max(1) as f64,
            bytes: sizes.iter().copied().map(u64::from).sum(),
            span_s: requests.last().map_or(0, |request| request.time_s),
        }
    }
}

fn name(path: &Path) -> String {
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    file.strip_suffix(".ctr.zst").unwrap_or(&file).to_owned()
}

#[expect(clippy::print_stdout, reason = "the table is the command's result")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for path in &arguments.traces {
        let context = || path.display().to_string();
        let requests = read_ctr(File::open(path).with_context(context)?).with_context(context)?;
        rows.push(Row::new(name(path), &requests));
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
    for row in &rows {
        table.row([
            row.trace.clone(),
            row.requests.to_string(),
            row.keys.to_string(),
            format!(
                "{:.1} %",
                100.0 * row.keys_seen_once as f64 / row.keys.max(1) as f64
            ),
            format!("{:.1} %", 100.0 * row.cold_miss_ratio),
            row.bytes.to_string(),
            row.span_s.to_string(),
        ]);
    }
    print!("{table}");
    if let Some(path) = &arguments.json {
        write_json(path, &rows).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
