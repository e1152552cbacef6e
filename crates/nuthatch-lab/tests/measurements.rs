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
    rows_or_complaint(name, arguments).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// The same, or what the command says if it fails.
fn rows_or_complaint(name: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), &format!("{name}.json")]
        .iter()
        .collect();
    let json = ["--json", path.to_str().expect("the directory is UTF-8")];
    let output = lab(&[arguments, &json].concat());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    assert!(!output.stdout.is_empty(), "there is a table too");
    let text = std::fs::read(&path).expect("the rows are written");
    Ok(serde_json::from_slice(&text).expect("they are an array"))
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
            "hit_p90_ns",
            "hit_p99_ns",
            "hit_p999_ns",
            "hit_p9999_ns",
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
            "ns_per_insert_min",
            "ns_per_insert_max",
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

/// The rows of `footprint`, where the machine lets one process trace another.
fn footprint_rows(name: &str, arguments: &[&str]) -> Option<Vec<Value>> {
    match rows_or_complaint(name, &[&["footprint", "--quick"], arguments].concat()) {
        Ok(rows) => Some(rows),
        Err(complaint) => {
            let obstacles = ["ptrace is not permitted", "on Linux on x86-64 only"];
            let hindered = obstacles.iter().any(|what| complaint.contains(what));
            assert!(hindered, "{complaint}");
            eprintln!("SKIPPED, nothing was measured: {complaint}");
            None
        }
    }
}

/// A read lock is written by every reader, so readers share its line. A read without a lock leaves
/// nothing that another reader comes upon; under the default policy, whose hits are sampled, that
/// holds but for the rare one that empties all threads' samples.
#[test]
fn footprint_tells_reads_without_a_lock_from_read_locks() {
    let caches =
        "--caches=nuthatch-lockfree:s3_fifo,nuthatch-lockfree,nuthatch-locked,classic-rwlock";
    let Some(rows) = footprint_rows("footprint", &[caches, "--operations=hit", "--keys=u64"])
    else {
        return;
    };
    assert_fields(
        &rows,
        &[
            "cache",
            "operation",
            "keys",
            "samples",
            "instructions",
            "instructions_median",
            "atomic_instructions",
            "fences",
            "system_calls",
            "lines_read",
            "lines_written",
            "shared_lines_written_same_key",
            "shared_lines_written_other_key",
        ],
    );
    for row in &rows {
        assert_eq!(row["operation"], "hit");
        assert!(number(row, "samples") >= 1.0);
        assert!(number(row, "instructions") > 10.0);
        assert!(number(row, "lines_read") >= 1.0);
        assert_eq!(number(row, "system_calls"), 0.0);
    }
    let [unsampled, lock_free, locked, one_lock] = &rows[..] else {
        panic!("a row for each cache");
    };
    for field in [
        "atomic_instructions",
        "fences",
        "shared_lines_written_same_key",
        "shared_lines_written_other_key",
    ] {
        assert_eq!(number(unsampled, field), 0.0, "{field}");
    }
    assert!(number(lock_free, "shared_lines_written_same_key") < 1.0);
    for row in [locked, one_lock] {
        // Taken and released.
        assert!(number(row, "atomic_instructions") >= 2.0, "{row}");
        assert!(number(row, "shared_lines_written_same_key") >= 1.0, "{row}");
    }
    // Its only lock is the one that every other key needs as well.
    assert!(number(one_lock, "shared_lines_written_other_key") >= 1.0);
}

#[test]
fn footprint_of_an_insertion_compares_no_threads() {
    let arguments = [
        "--caches=nuthatch-locked:fifo",
        "--operations=update,evict",
        "--keys=string",
    ];
    let Some(rows) = footprint_rows("footprint-insertions", &arguments) else {
        return;
    };
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!(row["shared_lines_written_same_key"].is_null());
        assert!(row["shared_lines_written_other_key"].is_null());
        assert!(number(row, "lines_written") > 1.0, "{row}");
        assert!(number(row, "atomic_instructions") >= 2.0, "{row}");
    }
}
