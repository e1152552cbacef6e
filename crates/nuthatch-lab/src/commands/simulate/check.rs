//! `nuthatch-lab simulate --check`: whether an independent simulator agrees.

use super::Arguments;
use anyhow::Context;
use nuthatch_lab::check::{Comparison, Count, Published, Summary, Verdict, read_published};
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::subject::Subject;
use nuthatch_lab::sweep::sweep;
use nuthatch_lab::trace::{Source, Trace};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// How many disagreements are listed one by one.
const LISTED: usize = 20;

pub(super) fn run(arguments: &Arguments, published: &Path) -> anyhow::Result<ExitCode> {
    let context = || format!("cannot read {}", published.display());
    let table = fs::read(published).with_context(context)?;
    let mut rows_by_trace = BTreeMap::<String, Vec<Published>>::new();
    for row in read_published(table.as_slice()).with_context(context)? {
        let rows = rows_by_trace.entry(row.trace.clone()).or_default();
        rows.push(row);
    }
    let sources = match arguments.input.traces.as_slice() {
        [] => find(arguments, published, rows_by_trace.keys())?,
        given => given.to_vec(),
    };
    arguments.input.columns.check(&sources)?;
    let presentation = arguments.json.open()?;
    let mut comparisons = Vec::new();
    for source in sources {
        if let Some(rows) = rows_by_trace.get(&source.name()) {
            let trace = arguments.input.columns.load(&source)?;
            comparisons.extend(compare(arguments, &trace, rows));
        }
    }
    if comparisons.is_empty() {
        anyhow::bail!("{} has no row to compare with", published.display());
    }
    presentation.give(report(&comparisons), &comparisons)?;
    let failed = comparisons.iter().any(Comparison::fails);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The traces of these names in the directory where they should be.
fn find<'a>(
    arguments: &Arguments,
    published: &Path,
    names: impl Iterator<Item = &'a String>,
) -> anyhow::Result<Vec<Source>> {
    let own_directory = published.parent().unwrap_or(Path::new("."));
    let directory = arguments.trace_dir.as_deref().unwrap_or(own_directory);
    names
        .map(|name| {
            Source::in_directory(directory, name)
                .with_context(|| format!("there is no trace {name} in {}", directory.display()))
        })
        .collect()
}

fn compare(arguments: &Arguments, trace: &Trace, rows: &[Published]) -> Vec<Comparison> {
    let wanted = &arguments.policies;
    // References miss what the product misses, as their own test says, and take their time: they
    // are for those who name them.
    let is_wanted = |subject: &Subject| match subject {
        Subject::Reference(_) => wanted.contains(subject),
        _ => wanted.is_all() || wanted.contains(subject),
    };
    let mut cells = Vec::new();
    for row in rows {
        for yardstick in row.yardsticks() {
            let subjects = yardstick.subjects().into_iter().filter(is_wanted);
            cells.extend(subjects.map(|subject| (row, yardstick, subject)));
        }
    }
    sweep(
        trace.name(),
        &cells,
        arguments.cells.threads(),
        |(row, yardstick, subject)| {
            row.compare(yardstick, subject, |subject| {
                subject.replay(trace, row.bound(), row.capacity())
            })
        },
    )
}

/// What was found, in words and tables.
fn report(comparisons: &[Comparison]) -> String {
    let summary = summary_table(&Summary::of(comparisons));
    let Count {
        rows,
        equal,
        within,
        explained,
        failed,
    } = Count::of(comparisons);
    let mut text = format!("{summary}\n{}", explanations(comparisons));
    text += &format!(
        "{rows} rows: {equal} equal, {within} within, {explained} explained, {failed} FAILED\n"
    );
    let failures = comparisons.iter().filter(|each| each.fails());
    for each in failures.take(LISTED) {
        text += &format!(
            "  {} ({}) on {} at {} {}: {:+.4} points, {:.4} allowed",
            each.subject,
            each.published,
            each.trace,
            each.capacity,
            each.bound.unit(),
            each.points,
            each.allowed_points
        );
        if let Some(explanation) = &each.explanation {
            let (model, points) = (&explanation.model, explanation.points);
            text += &format!("; {model}: {points:+.4}");
        }
        text += "\n";
    }
    if failed > LISTED {
        text += &format!("  and {} more\n", failed - LISTED);
    }
    text
}

fn summary_table(summaries: &[Summary]) -> Table {
    let mut table = Table::new([
        ("published", Align::Left),
        ("simulated", Align::Left),
        ("bounded by", Align::Left),
        ("rows", Align::Right),
        ("equal", Align::Right),
        ("within", Align::Right),
        ("explained", Align::Right),
        ("FAILED", Align::Right),
        ("mean points", Align::Right),
        ("max points", Align::Right),
        ("where", Align::Left),
    ]);
    for summary in summaries {
        table.row([
            summary.published.clone(),
            summary.subject.clone(),
            summary.bound.unit().to_owned(),
            summary.count.rows.to_string(),
            summary.count.equal.to_string(),
            summary.count.within.to_string(),
            summary.count.explained.to_string(),
            summary.count.failed.to_string(),
            format!("{:.4}", summary.mean_points),
            format!("{:+.4}", summary.max_points),
            summary.max_at.clone(),
        ]);
    }
    table
}

/// The differences of definition that explain rows.
fn explanations(comparisons: &[Comparison]) -> String {
    let mut shown = BTreeMap::<_, BTreeMap<&str, usize>>::new();
    let explained = |each: &&Comparison| each.verdict == Verdict::Explained;
    for each in comparisons.iter().filter(explained) {
        if let Some(explanation) = &each.explanation {
            let policies = shown.entry((explanation.difference, explanation.reason));
            *policies.or_default().entry(&each.published).or_default() += 1;
        }
    }
    if shown.is_empty() {
        return String::new();
    }
    let mut text =
        "Explained, as a model of the published definition misses what was published:\n".to_owned();
    for ((difference, reason), policies) in shown {
        let policies = policies
            .iter()
            .map(|(policy, rows)| format!("{policy} {rows}"));
        let policies = policies.collect::<Vec<_>>().join(", ");
        text += &format!("- {difference} ({policies}): {reason}\n");
    }
    text + "\n"
}
