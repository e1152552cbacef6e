//! `nuthatch-lab report`: the performance analysis in one document.

use super::input::source;
use anyhow::{Context, bail};
use nuthatch_lab::output::show;
use nuthatch_lab::report::{
    self, About, Comparison, Document, Plan, Record, Results, Scale, document,
};
use nuthatch_lab::trace::Source;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Changes that a terminal shows; the report has them all.
const SHOWN_CHANGES: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory for report.html, report.md with its charts, and rows.json. If it has rows of an
    /// earlier run that was interrupted, only the rest is measured
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    out: Option<PathBuf>,
    /// Draw the rows of an earlier report again, into its own directory if --out does not name another;
    /// nothing is measured
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "traces", "fresh"])]
    from: Option<PathBuf>,
    /// Also say what changed since another report, given by its rows.json
    #[arg(long, value_name = "ROWS.json")]
    compare: Option<PathBuf>,
    /// Also simulate policies on these traces
    #[arg(long, num_args = 1.., value_name = "TRACE", value_parser = source)]
    traces: Vec<Source>,
    /// Take less than ten minutes on two cores, not up to ninety, and be less exact
    #[arg(long)]
    quick: bool,
    /// Drop the rows that an earlier run left in the directory
    #[arg(long)]
    fresh: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Read first, so that a mistyped name does not cost an hour.
    let before = arguments.compare.as_deref().map(load).transpose()?;
    let (record, directory) = match (&arguments.from, &arguments.out) {
        (Some(from), out) => {
            let record = Record::load(&Record::path(from))?;
            (record, out.as_ref().unwrap_or(from))
        }
        (None, Some(out)) => (measure(arguments, out)?, out),
        (None, None) => bail!("name a directory with --out"),
    };
    let results = Results::of(&record)?;
    let comparison = before.map(|before| Comparison::new(&before, &results));
    if arguments.from.is_some() {
        fs::create_dir_all(directory).with_context(|| cannot_write(directory))?;
        record.save(directory)?;
    }
    write(&document(&results, comparison.as_ref()), directory)?;
    if let Some(comparison) = &comparison {
        show(changes(comparison))?;
    }
    let failures = results
        .units
        .iter()
        .filter_map(|unit| unit.failure.as_ref());
    let failures: Vec<_> = failures.collect();
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    show(format_args!(
        "{}\n",
        directory.join("report.html").display()
    ))?;
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn load(path: &Path) -> anyhow::Result<Results> {
    Ok(Results::of(&Record::load(path)?)?)
}

/// Measures what the directory lacks. What fails midway leaves what was measured.
fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Record> {
    let scale = if arguments.quick {
        Scale::Quick
    } else {
        Scale::Full
    };
    let traces: Vec<_> = arguments.traces.iter().map(ToString::to_string).collect();
    for trace in &arguments.traces {
        // Whether it can be opened is known now, not in an hour.
        if let Source::File { path, .. } = trace {
            fs::File::open(path).with_context(|| trace.to_string())?;
        }
    }
    let names: Vec<_> = arguments.traces.iter().map(Source::name).collect();
    let about = About::here(scale, &names).context("cannot read this program")?;
    let mut record = Record::resume(directory, about, arguments.fresh)?;
    let plan = Plan::new(scale, &traces);
    let program = env::current_exe().context("cannot find this program to start it again")?;
    report::run(&program, &plan, &mut record, directory, |line| {
        eprintln!("{line}")
    })?;
    Ok(record)
}

fn write(document: &Document, directory: &Path) -> anyhow::Result<()> {
    let charts = directory.join(Document::directory());
    fs::create_dir_all(&charts).with_context(|| cannot_write(&charts))?;
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| cannot_write(&path))
    };
    for (name, svg) in document.files() {
        file(&name, svg)?;
    }
    file("report.md", document.markdown())?;
    file("report.html", &document.html())
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// What changed, for a terminal.
fn changes(comparison: &Comparison) -> String {
    let Comparison {
        changes,
        compared,
        drift,
    } = comparison;
    let mut text = format!(
        "{} of {compared} values differ beyond their noise; the machine's drift, {drift:.2}, is taken off.\n",
        changes.len()
    );
    for change in changes.iter().take(SHOWN_CHANGES) {
        text += &format!(
            "{:>+8.1} % {}  {}: {} -> {}\n",
            100.0 * change.share,
            if change.better { "better" } else { "worse " },
            change.what,
            change.before,
            change.after
        );
    }
    if changes.len() > SHOWN_CHANGES {
        text += &format!(
            "and {} more in the report.\n",
            changes.len() - SHOWN_CHANGES
        );
    }
    text
}
