//! The command `advise` as its users meet it: arguments in, tables, plots, files and exit codes out.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::fs::{self, File};
use std::process::{Command, Output};

#[path = "program/program.rs"]
mod program;

use program::{Directory, rows, stderr, stdout};

fn lab(arguments: &[&str]) -> Output {
    program::run("advise", arguments)
}

#[test]
fn a_trace_gets_a_table_a_plot_a_picture_rows_and_a_recommendation() {
    let directory = Directory::new("advise");
    let (svg, json) = (directory.path("curves.svg"), directory.path("rows.json"));
    let text = stdout(&lab(&[
        "--trace=zipf:0.9:5000:60000",
        "--policies=default,lru,belady",
        "--sizes=2%,20%,500",
        "--svg",
        &svg,
        "--json",
        &json,
    ]));
    for words in [
        "60000 requests",
        "500 (",
        "  B lru",
        "Take default at ",
        "Over all sizes default misses",
        "±",
    ] {
        assert!(text.contains(words), "no {words} in:\n{text}");
    }
    assert!(fs::read_to_string(svg).unwrap().contains("belady"));
    let rows = rows(&json);
    assert_eq!(rows.len(), 9);
    let fields: Vec<_> = rows[0].as_object().unwrap().keys().collect();
    for field in [
        "trace",
        "policy",
        "size",
        "size_pct",
        "miss_ratio",
        "error_points",
    ] {
        assert!(fields.contains(&&field.to_owned()), "{fields:?}");
    }
    assert_eq!(rows[0]["error_points"], 0.0, "all keys are simulated");
}

#[test]
fn the_users_own_keys_are_read_by_column() {
    let directory = Directory::new("advise-csv");
    let mut text = String::from("GET,/once,1\n");
    (0..3000).for_each(|index| writeln!(text, "GET,/page-{},2000", index % 30).unwrap());
    let csv = directory.write("log.csv", &text);
    let by_bytes = ["--columns=op,key,size", "--by=bytes", "--sizes=1000,100000"];
    let text = stdout(&lab(&[&["--trace", &csv], &by_bytes[..]].concat()));
    assert!(text.contains("3001 requests for 31 keys"), "{text}");
    assert!(
        text.contains("100000 bytes") && text.contains("% of bytes"),
        "{text}"
    );
}

#[test]
fn one_request_is_a_trace_and_none_is_not() {
    let directory = Directory::new("advise-few");
    let one = directory.write("one.csv", "a\n");
    let text = stdout(&lab(&["--trace", &one, "--sizes=1"]));
    assert!(text.contains("100.0 % ± 0.0 of requests miss"), "{text}");
    let too_small = lab(&["--trace", &one]);
    assert_eq!(too_small.status.code(), Some(2));
    let complaint = stderr(&too_small);
    assert!(
        complaint.contains("too small for every size"),
        "{complaint}"
    );
    let empty = directory.write("empty.csv", "");
    let none = lab(&["--trace", &empty]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("holds no request"));
}

#[test]
fn a_trace_that_is_no_use_gets_one_line_and_no_advice() {
    let directory = Directory::new("advise-no-use");
    let one = directory.write("one.csv", "a\n");
    let malformed = directory.write("malformed.csv", "1,a,1\n1,b,x\n");
    let as_file = format!("csv:{}", directory.path(""));
    let no_file = directory.path("none.csv");
    for (trace, expected) in [
        (one, "too small for every size"),
        (malformed, "line 2: its size is not a number"),
        (as_file, "cannot read the trace: Is a directory"),
        (no_file, "cannot read the trace: No such file"),
    ] {
        let output = lab(&["--trace", &trace]);
        assert_eq!(output.status.code(), Some(2), "{trace}");
        assert!(output.stdout.is_empty(), "{trace}");
        let complaint = stderr(&output);
        assert!(complaint.contains(expected), "{trace}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
    }
}

#[test]
fn a_malformed_line_is_told_however_late_it_comes() {
    let directory = Directory::new("advise-malformed");
    let mut text = "a\nb\n".repeat(50_000);
    text += "a,b\n";
    let csv = directory.write("keys.csv", &text);
    let output = lab(&["--trace", &csv]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = stderr(&output);
    assert!(complaint.contains("keys.csv: line 100001: "), "{complaint}");
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let directory = Directory::new("advise-pipe");
    let keys = directory.write("keys", "a\nb\na\n".repeat(1000));
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch-lab"));
    command.args(["advise", "--trace=csv:/dev/stdin", "--sizes=2"]);
    let output = command.stdin(File::open(keys).unwrap()).output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("3000 requests for 2 keys"), "{text}");
}

#[test]
fn more_keys_than_are_kept_are_estimated_and_the_error_told() {
    let directory = Directory::new("advise-sampled");
    let json = directory.path("rows.json");
    let text = stdout(&lab(&[
        "--trace=scan:0.9:40000:400000",
        "--sample=5000",
        "--policies=lru,clock",
        "--sizes=10%",
        "--json",
        &json,
    ]));
    assert!(text.contains("400000 requests for about"), "{text}");
    for row in rows(&json) {
        assert!(row["sampled_keys"].as_u64().unwrap() <= 5000, "{row}");
        assert!(row["error_points"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn one_key_of_many_requests_does_not_decide_by_being_in_the_sample_or_not() {
    let directory = Directory::new("advise-heavy");
    let mut text = String::new();
    // Each twentieth request is for one key, and the others loop over more than a cache holds.
    for index in 0..300_000 {
        let key = if index % 20 == 0 {
            1_000_000
        } else {
            index % 60_000
        };
        writeln!(text, "{key}").unwrap();
    }
    let csv = directory.write("heavy.csv", &text);
    let json = directory.path("rows.json");
    let policies = ["--policies=lru,clock", "--sizes=2000,8000"];
    let arguments = ["--trace", &csv, "--sample=4000", "--json", &json];
    stdout(&lab(&[&arguments[..], &policies].concat()));
    for row in rows(&json) {
        let off = row["miss_ratio"].as_f64().unwrap() - 0.95;
        assert!(off.abs() < 0.01, "{row}");
    }
}
