//! The measuring commands as a script sees them: the JSON that it parses, and what a mistake gets.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nuthatch-lab"))
        .args(arguments)
        .output()
        .expect("the laboratory starts")
}

/// Runs a command and gives the rows of its JSON file.
fn rows(name: &str, arguments: &[&str]) -> Vec<Value> {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), &format!("{name}.json")]
        .iter()
        .collect();
    let json = ["--json", path.to_str().expect("the directory is UTF-8")];
    let output = lab(&[arguments, &json].concat());
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!output.stdout.is_empty(), "there is a table too");
    let text = std::fs::read(&path).expect("the rows are written");
    serde_json::from_slice(&text).expect("they are an array")
}

fn assert_fields(rows: &[Value], fields: &[&str]) {
    assert!(!rows.is_empty());
    for row in rows {
        let mut names: Vec<_> = row.as_object().expect("an object").keys().collect();
        let mut expected = fields.to_vec();
        names.sort();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

fn number(row: &Value, field: &str) -> f64 {
    row[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} of {row} is a number"))
}

#[test]
fn throughput_gives_a_row_for_each_combination() {
    let rows = rows(
        "throughput",
        &[
            "throughput",
            "--caches=nuthatch-lockfree:lru,classic-rwlock",
            "--workloads=read-only,evict",
            "--threads=1,2",
            "--keys=u64,string",
            "--rounds=2",
            "--millis=2",
            "--capacity=100",
        ],
    );
    assert_eq!(rows.len(), 16);
    assert_fields(
        &rows,
        &[
            "cache",
            "workload",
            "keys",
            "threads",
            "ops_per_s_median",
            "ops_per_s_min",
            "ops_per_s_max",
            "hit_ratio",
            "p50_ns",
            "p99_ns",
            "p999_ns",
            "hit_p50_ns",
            "hit_p999_ns",
        ],
    );
    for row in &rows {
        let median = number(row, "ops_per_s_median");
        assert!(number(row, "ops_per_s_min") > 0.0);
        assert!(number(row, "ops_per_s_min") <= median);
        assert!(median <= number(row, "ops_per_s_max"));
        assert!(number(row, "p50_ns") <= number(row, "p99_ns"));
        match row["workload"].as_str() {
            Some("read-only") => {
                assert_eq!(number(row, "hit_ratio"), 1.0);
                assert_eq!(number(row, "hit_p50_ns"), number(row, "p50_ns"));
                assert_eq!(number(row, "hit_p999_ns"), number(row, "p999_ns"));
            }
            _ => assert!(row["hit_ratio"].is_null() && row["hit_p50_ns"].is_null()),
        }
    }
}

#[test]
fn memory_gives_what_an_entry_costs_after_fill_and_churn() {
    let rows = rows(
        "memory",
        &[
            "memory",
            "--caches=nuthatch-locked,classic-rwlock:batch",
            "--entries=20000",
            "--keys=u64,string",
        ],
    );
    assert_eq!(rows.len(), 8);
    assert_fields(
        &rows,
        &[
            "cache",
            "keys",
            "phase",
            "entries",
            "heap_bytes_per_entry",
            "rss_bytes_per_entry",
        ],
    );
    for row in &rows {
        assert!(number(row, "entries") > 15_000.0);
        let payload_bytes = match row["keys"].as_str() {
            Some("u64") => 16.0,
            _ => 148.0,
        };
        let heap_bytes = number(row, "heap_bytes_per_entry");
        assert!((payload_bytes..10.0 * payload_bytes).contains(&heap_bytes));
    }
}

#[test]
fn evict_counts_what_the_classic_designs_allocate() {
    let rows = rows(
        "evict",
        &[
            "evict",
            "--caches=nuthatch-lockfree,classic-lockfree",
            "--capacity=1000,2000",
            "--millis=2",
            "--rounds=1",
        ],
    );
    assert_eq!(rows.len(), 4);
    assert_fields(
        &rows,
        &[
            "cache",
            "capacity",
            "ns_per_insert",
            "allocs_per_insert",
            "bytes_per_insert",
        ],
    );
    for row in &rows {
        assert!(number(row, "ns_per_insert") > 0.0);
        if row["cache"] == "classic-lockfree" {
            let least = 16.0 * number(row, "capacity");
            assert!(number(row, "bytes_per_insert") > least);
        }
    }
}

#[test]
fn hitratio_replays_a_trace_through_the_caches() {
    let rows = rows(
        "hitratio",
        &[
            "hitratio",
            "--caches=nuthatch-locked:lru,classic-rwlock",
            "--traces=loop:100:10000",
            "--sizes=50%,100",
            "--threads=1",
        ],
    );
    assert_fields(&rows, &["cache", "trace", "size", "threads", "miss_ratio"]);
    let ratios: Vec<_> = rows.iter().map(|row| number(row, "miss_ratio")).collect();
    assert_eq!(ratios, [1.0, 1.0, 0.01, 0.01]);
}

/// The cells of the table of caches in `docs/benchmarks.md`.
#[cfg(feature = "peers")]
fn documented_caches() -> Vec<Vec<String>> {
    include_str!("../../../docs/benchmarks.md")
        .lines()
        .skip_while(|line| !line.starts_with("| cache |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().replace('`', "")).collect()
        })
        .collect()
}

#[cfg(feature = "peers")]
#[test]
fn the_page_on_benchmarks_names_every_cache_with_its_hasher_and_version() {
    use nuthatch_lab::caches::roster;
    let lock: toml::Table = toml::from_str(include_str!("../../../Cargo.lock")).unwrap();
    let locked = |name: &str, version: &str| {
        let mut packages = lock["package"].as_array().unwrap().iter();
        packages.any(|package| {
            package["name"].as_str() == Some(name) && package["version"].as_str() == Some(version)
        })
    };
    let documented = documented_caches();
    assert_eq!(documented.len(), roster().count());
    for (cells, info) in documented.iter().zip(roster()) {
        assert_eq!(cells[0], info.name);
        assert_eq!(cells[2], info.hasher, "{}", info.name);
        if let Some((package, version)) = cells[1].split_once(' ')
            && version.starts_with(|digit: char| digit.is_ascii_digit())
        {
            assert!(locked(package, version), "{}: {}", info.name, cells[1]);
        }
    }
}
