//! The report as its users meet it: measured once, drawn again, compared, and begun in the wrong way.
#![forbid(unsafe_code)]

use nuthatch_lab::report::{About, Part, Plan, Record, Results, Scale, Unit, document, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nuthatch-lab");

fn lab(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the laboratory starts")
}

/// A directory of a test's own that is not there yet.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("it is ours");
    }
    directory
}

fn unit(part: Part, arguments: &[&str]) -> Unit {
    Unit {
        part,
        name: arguments[0].to_owned(),
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        expected: Duration::from_secs(1),
    }
}

/// Measurements that take no time, one of which cannot be made.
fn small_plan() -> Plan {
    let evict = [
        "evict",
        "--caches=nuthatch-lockfree,classic-lockfree",
        "--capacity=100,200",
        "--rounds=1",
        "--millis=1",
    ];
    let simulate = [
        "simulate",
        "--traces",
        "loop:100:1000",
        "--sizes=10,50",
        "--policies=lru,default,belady",
    ];
    Plan {
        scale: Scale::Quick,
        units: vec![
            unit(Part::Evict, &evict),
            unit(Part::Memory, &["memory", "--caches=no-such-cache"]),
            unit(Part::Policies, &simulate),
        ],
    }
}

/// Measures the small plan; what was told of the progress.
fn measure(directory: &Path) -> Vec<String> {
    let about = About::here(Scale::Quick, &[]).expect("the program can be read");
    let mut record = Record::resume(directory, about, false).expect("the directory can be written");
    let mut told = Vec::new();
    run(
        Path::new(PROGRAM),
        &small_plan(),
        &mut record,
        directory,
        |line| told.push(line.to_owned()),
    )
    .expect("only a measurement fails");
    told
}

#[test]
fn every_planned_measurement_is_a_command_of_the_laboratory() {
    for scale in [Scale::Quick, Scale::Full] {
        for unit in Plan::new(scale, &["loop:10:100".to_owned()]).units {
            let mut words: Vec<_> = unit.arguments.iter().map(String::as_str).collect();
            // Options are read from left to right, and a wrong one is told before help is given.
            words.push("--help");
            let output = lab(&words);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{:?}\n{complaint}", unit.arguments);
        }
    }
}

#[test]
fn what_is_measured_is_kept_and_only_the_rest_is_measured_again() {
    let directory = directory("report-resumed");
    let told = measure(&directory);
    assert!(told[0].starts_with("[1/3] evict; "), "{told:?}");
    assert!(
        told.iter().any(|line| line.contains("no-such-cache")),
        "{told:?}"
    );

    let record = Record::load(&Record::path(&directory)).expect("it was written");
    let results = Results::of(&record).expect("its rows are right");
    assert_eq!((results.evict.len(), results.policies.len()), (4, 6));
    assert_eq!(
        record
            .units
            .iter()
            .filter(|unit| unit.failure.is_some())
            .count(),
        1
    );
    let text = document(&results, None).markdown().to_owned();
    assert!(
        text.contains("1 measurement failed") && text.contains("no-such-cache"),
        "{text}"
    );

    let told = measure(&directory);
    assert_eq!(told[0], "2 of 3 measurements are there already");
    assert!(told[1].starts_with("[3/3] memory; "), "{told:?}");
    let again = Record::load(&Record::path(&directory)).expect("it was written");
    assert_eq!(again.units.len(), 3);
    for unit in record.units.iter().filter(|unit| unit.failure.is_none()) {
        let same = again
            .units
            .iter()
            .find(|other| other.command == unit.command);
        assert_eq!(same.expect("it was kept").rows, unit.rows);
    }
}

#[test]
fn a_report_is_drawn_again_elsewhere_and_compared_without_measuring() {
    let (measured, drawn) = (directory("report-measured"), directory("report-drawn"));
    measure(&measured);
    let rows = Record::path(&measured);
    let path = |path: &Path| path.to_str().expect("the directory is UTF-8").to_owned();
    let output = lab(&[
        "report",
        "--from",
        &path(&measured),
        "--out",
        &path(&drawn),
        "--compare",
        &path(&rows),
    ]);
    let complaints = String::from_utf8_lossy(&output.stderr);
    // The failed measurement is told again.
    assert_eq!(output.status.code(), Some(2), "{complaints}");
    assert!(complaints.contains("no-such-cache"), "{complaints}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("0 of 10 values differ beyond their noise"),
        "{said}"
    );
    let html = fs::read_to_string(drawn.join("report.html")).expect("it was written");
    let text = fs::read_to_string(drawn.join("report.md")).expect("it was written");
    let charts = text.matches("](charts/").count();
    assert!(charts >= 4, "{charts}");
    assert_eq!(html.matches("<svg").count(), charts);
    for line in text.lines().filter_map(|line| line.split_once("](charts/")) {
        let name = line.1.trim_end_matches(')');
        assert!(drawn.join("charts").join(name).is_file(), "{name}");
    }
    assert_eq!(
        fs::read(rows).expect("it is there"),
        fs::read(Record::path(&drawn)).expect("it is there")
    );
}

#[test]
fn a_mistake_is_told_before_anything_is_measured() {
    let there = directory("report-mistakes");
    fs::create_dir_all(&there).expect("the directory can be made");
    let file = there.join("file");
    fs::write(&file, "[]").expect("the directory can be written");
    let path = |path: &Path| path.to_str().expect("the directory is UTF-8").to_owned();
    let (file, nowhere) = (path(&file), path(&there.join("nowhere")));
    for (arguments, expected) in [
        (vec!["report", "--quick"], "--out <DIR>"),
        (vec!["report", "--quick", "--out", &file], "cannot write"),
        (vec!["report", "--from", &nowhere], "cannot read"),
        (
            vec!["report", "--from", &nowhere, "--quick"],
            "cannot be used with",
        ),
        (
            vec!["report", "--out", &nowhere, "--compare", &file],
            "is not a report's record",
        ),
        (
            vec!["report", "--out", &nowhere, "--traces", "nowhere.csv"],
            "nowhere.csv",
        ),
        (
            vec!["report", "--out", &nowhere, "--traces", "keys.log"],
            "csv:keys.log",
        ),
    ] {
        let output = lab(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
        assert!(!Path::new(&nowhere).exists(), "{arguments:?}");
    }
}
