//! The lock's price.

use super::{
    CLASSIC_COPY, CLASSIC_LOCK, LOCK_FREE, LOCKED, at, by_threads, digits, millions, of_workload,
    ratio, thread_counts, times,
};
use crate::footprint::{FootprintRow, Operation};
use crate::keys::Kind;
use crate::report::document::Document;
use crate::report::plan::Part;
use crate::report::results::Results;
use crate::rows::ThroughputRow;

pub(super) fn write(document: &mut Document, results: &Results) {
    document.chapter("1. The lock's price");
    document.text(
        "The classic finding: a cache whose reads take no lock is several times as fast as one behind a \
         reader-writer lock when many threads read. Not because readers exclude each other, they do not, \
         but because taking even a shared lock writes the lock's word, and the cache line that has it then \
         moves from core to core with every read.",
    );
    for (workload, title) in [
        ("read-only", "Reads of resident keys"),
        ("read-heavy", "95 % reads, 5 % writes, everything resident"),
        ("hot-key", "Reads of four keys by all threads"),
    ] {
        let rows = of_workload(&results.lock, workload, Kind::U64);
        if let Some(figure) = by_threads(title, &format!("lock-{workload}"), &rows) {
            let command = results.command(Part::Lock, workload);
            document.figure(figure, &reading(&rows), command.as_deref());
        }
    }
    why(document, results);
}

/// What a chart of rates by threads says.
fn reading(rows: &[&ThroughputRow]) -> String {
    let threads = thread_counts(rows);
    let mut sentences = Vec::new();
    for &threads in threads
        .iter()
        .filter(|&&threads| threads <= 2)
        .chain(threads.last())
    {
        let Some(ours) = at(rows, LOCK_FREE, threads) else {
            continue;
        };
        let mut text = format!(
            "{} {LOCK_FREE} does {} million operations a second",
            on(threads),
            digits(millions(ours))
        );
        let others = [LOCKED, CLASSIC_LOCK, CLASSIC_COPY].map(|other| {
            let ratio = ratio(rows, LOCK_FREE, other, threads)?;
            Some(format!("{} {other}", times(ratio)))
        });
        let others: Vec<_> = others.into_iter().flatten().collect();
        if !others.is_empty() {
            text += &format!(", {}", others.join(", "));
        }
        let best = rows
            .iter()
            .filter(|row| row.threads == threads && row.cache != LOCK_FREE)
            .max_by(|a, b| a.ops_per_s_median.total_cmp(&b.ops_per_s_median));
        if let Some(best) = best {
            text += &format!(
                "; the fastest other is {} with {}",
                best.cache,
                digits(millions(best))
            );
        }
        sentences.push(text + ".");
    }
    sentences.dedup();
    sentences.join(" ")
}

fn on(threads: u32) -> String {
    match threads {
        1 => "On one thread".to_owned(),
        threads => format!("On {threads} threads"),
    }
}

/// The evidence: what a hit writes.
fn why(document: &mut Document, results: &Results) {
    document.section("Why: what a hit executes and touches");
    let hits: Vec<_> = results
        .footprint
        .iter()
        .filter(|row| row.operation == Operation::Hit && row.keys == Kind::U64)
        .collect();
    if hits.is_empty() {
        document.text(
            "Not measured: this machine or build cannot follow a program step by step, which is how the \
             laboratory counts atomic writes and cache lines.",
        );
        return;
    }
    document.text(
        "The laboratory follows hits of two threads instruction by instruction and notes each memory access. \
         *Atomic* are instructions that lock a cache line; *shared lines written* are lines that one \
         thread's hit writes and the other's touches, on the same key or on another one: these are what \
         moves between cores. No noise disturbs such counts. They are means of some hundred hits: what not \
         every hit does shows as a fraction, as where a policy takes over a batch of sampled hits.",
    );
    let cell = |value: Option<f64>| value.map_or_else(|| "not known".to_owned(), digits);
    let rows: Vec<_> = hits
        .iter()
        .map(|row| {
            vec![
                row.cache.clone(),
                digits(row.instructions),
                digits(row.atomic_instructions),
                digits(row.lines_read),
                digits(row.lines_written),
                cell(row.shared_lines_written_same_key),
                cell(row.shared_lines_written_other_key),
            ]
        })
        .collect();
    document.table(
        &[
            "hit, u64 keys",
            "instructions",
            "atomic",
            "lines read",
            "lines written",
            "shared lines written, same key",
            "another key",
        ],
        &rows,
    );
    let of = |cache: &str| hits.iter().find(|row| row.cache == cache).copied();
    if let (Some(free), Some(locked), Some(classic)) = (of(LOCK_FREE), of(LOCKED), of(CLASSIC_LOCK))
    {
        let shared = |row: &FootprintRow| cell(row.shared_lines_written_same_key);
        document.text(&format!(
            "A hit of {LOCK_FREE} executes {} atomic instructions and writes {} lines that another thread's hit \
             on the same key touches; {LOCKED}, the same code with a read lock in each shard, {} and {}; {CLASSIC_LOCK} {} and \
             {}. That is the whole difference between them: how a read finds its entry is the same in both engines.",
            digits(free.atomic_instructions),
            shared(free),
            digits(locked.atomic_instructions),
            shared(locked),
            digits(classic.atomic_instructions),
            shared(classic),
        ));
    }
    if let Some(command) = results.command(Part::Footprint, "hit") {
        document.text(&format!("```sh\n{command}\n```"));
    }
}
