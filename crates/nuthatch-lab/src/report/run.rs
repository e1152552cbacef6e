//! Runs a plan's measurements, each in a process of its own, and keeps what they give.
//!
//! Interrupted, it loses the measurement under way; begun again, it goes on behind the last one that
//! ended. A measurement that fails, or does not end in many times the time that it should take, is
//! recorded as such with the rows that it gave, and the others go on.

use super::plan::{Plan, Unit};
use super::record::{Finished, Record, RecordError};
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;
use wait_timeout::ChildExt;

/// A measurement may take so many times what is expected of it, on a slow machine,
const PATIENCE: u32 = 10;
/// and this long in any case.
const LEAST_LIMIT: Duration = Duration::from_secs(120);

/// Why measuring ended early. What was measured is kept.
#[derive(Debug, Error)]
pub enum RunError {
    /// The record cannot be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A measurement's files cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This program cannot be started again.
    #[error("cannot start this program again to measure")]
    Start(#[source] io::Error),
}

/// Runs what the record lacks of the plan with `program`, the laboratory, and tells `show` how far it
/// is, a line at a time.
pub fn run(
    program: &Path,
    plan: &Plan,
    record: &mut Record,
    directory: &Path,
    mut show: impl FnMut(&str),
) -> Result<(), RunError> {
    let left: Vec<_> = plan.units.iter().filter(|unit| !record.has(unit)).collect();
    let done = plan.units.len() - left.len();
    if done > 0 {
        show(&format!(
            "{done} of {} measurements are there already",
            plan.units.len()
        ));
    }
    let mut pace = Pace::default();
    for (number, unit) in left.iter().enumerate() {
        let expected: Duration = left[number..].iter().map(|unit| unit.expected).sum();
        show(&format!(
            "[{}/{}] {}; {} left",
            done + number + 1,
            plan.units.len(),
            unit.name,
            in_words(pace.of(expected))
        ));
        let finished = measure(program, unit, directory)?;
        if let Some(failure) = &finished.failure {
            show(&format!("    {failure}"));
        }
        pace.add(unit.expected, Duration::from_secs_f64(finished.seconds));
        record.units.push(finished);
        record.save(directory)?;
    }
    Ok(())
}

/// How long measurements take, compared with what is expected.
#[derive(Default)]
struct Pace {
    expected: Duration,
    taken: Duration,
}

impl Pace {
    fn add(&mut self, expected: Duration, taken: Duration) {
        self.expected += expected;
        self.taken += taken;
    }

    fn of(&self, expected: Duration) -> Duration {
        if self.expected.is_zero() {
            return expected;
        }
        expected.mul_f64(self.taken.as_secs_f64() / self.expected.as_secs_f64())
    }
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// Runs one measurement.
fn measure(program: &Path, unit: &Unit, directory: &Path) -> Result<Finished, RunError> {
    let (rows_path, complaints_path) = (directory.join("unit.json"), directory.join("unit.err"));
    let create = |path: &Path| {
        File::create(path).map_err(|source| RunError::Write {
            path: path.to_owned(),
            source,
        })
    };
    drop(create(&rows_path)?);
    let complaints = create(&complaints_path)?;
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(&unit.arguments)
        .arg("--json")
        .arg(&rows_path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints)
        .spawn()
        .map_err(RunError::Start)?;
    let limit = (PATIENCE * unit.expected).max(LEAST_LIMIT);
    let waited = child.wait_timeout(limit).map_err(RunError::Start)?;
    if waited.is_none() {
        // It may have ended by itself just now; then there is nothing left to stop.
        let _ = child.kill();
        child.wait().map_err(RunError::Start)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let text = fs::read_to_string(&complaints_path).unwrap_or_default();
    let failure = failure(waited, limit, &text);
    let rows: Option<Vec<Value>> = fs::read(&rows_path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    for path in [&rows_path, &complaints_path] {
        // They are overwritten by the next measurement, so one that stays does no harm.
        let _ = fs::remove_file(path);
    }
    Ok(Finished {
        part: unit.part,
        command: unit.arguments.clone(),
        seconds,
        failure,
        rows: rows.unwrap_or_default(),
    })
}

/// What went wrong, if anything did, by how the process ended and what it said.
fn failure(status: Option<ExitStatus>, limit: Duration, complaints: &str) -> Option<String> {
    let Some(status) = status else {
        return Some(format!("it did not end within {}", in_words(limit)));
    };
    if status.success() {
        return None;
    }
    let errors = complaints
        .lines()
        .filter_map(|line| line.strip_prefix("error: "));
    let errors: Vec<_> = errors.collect();
    Some(match errors.as_slice() {
        [] => {
            let last = complaints.lines().last().unwrap_or("without a word");
            format!("it ended with {status}: {last}")
        }
        errors => errors.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_pace() {
        let mut pace = Pace::default();
        let expected = Duration::from_secs(100);
        assert_eq!(pace.of(expected), expected);
        pace.add(Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(pace.of(expected), Duration::from_secs(300));
        assert_eq!(in_words(Duration::from_secs(99)), "99 s");
        assert_eq!(in_words(Duration::from_secs(121)), "3 min");
    }
}
