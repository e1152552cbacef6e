//! The command `simulate` as its users meet it: arguments in, tables, JSON and exit codes out.

use nuthatch_lab::trace::{Request, write_ctr};
use std::process::Output;

#[path = "program/program.rs"]
mod program;

use program::{Directory, rows, stderr, stdout};

fn lab(arguments: &[&str]) -> Output {
    program::run("simulate", arguments)
}

fn assert_mentions(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
}

#[test]
fn quick_needs_no_files() {
    let text = stdout(&lab(&["--quick", "--policies", "lru,default,belady"]));
    assert_mentions(
        &text,
        &["belady", "default", "sqlite-pages", "misses least"],
    );
}

#[test]
fn all_is_every_policy_of_the_product_and_every_other() {
    let directory = Directory::new("all");
    let json = directory.path("rows.json");
    stdout(&lab(&[
        "--traces",
        "loop:10:50",
        "--sizes",
        "5",
        "--json",
        &json,
    ]));
    let rows = rows(&json);
    let simulated: Vec<_> = rows
        .iter()
        .map(|row| row["policy"].as_str().unwrap())
        .collect();
    let built_in = nuthatch::Policy::built_in().iter().map(|info| info.name);
    for name in built_in.chain(["belady", "random"]) {
        assert!(simulated.contains(&name), "{name} is missing");
    }
}

#[test]
fn json_rows_have_the_fields_that_scripts_rely_on() {
    let directory = Directory::new("json");
    let json = directory.path("rows.json");
    let arguments = [
        "--traces",
        "zipf:0.9:100:5000",
        "--policies",
        "lru,belady",
        "--sizes",
        "10%,7",
    ];
    let text = stdout(&lab(&[&arguments[..], &["--json", &json]].concat()));
    assert!(text.contains("10 entries (10.0 %)"), "{text}");
    let rows = rows(&json);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let fields: Vec<_> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = vec![
            "trace",
            "policy",
            "size",
            "size_pct",
            "requests",
            "misses",
            "miss_ratio",
            "byte_miss_ratio",
            "seeds",
            "miss_ratio_min",
            "miss_ratio_max",
            "seconds",
        ];
        expected.sort_unstable();
        let mut fields = fields.clone();
        fields.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(row["trace"], "zipf:0.9:100:5000");
        assert_eq!(row["requests"], 5000);
        let ratio = row["misses"].as_f64().unwrap() / 5000.0;
        assert_eq!(row["miss_ratio"].as_f64().unwrap(), ratio);
    }
    let misses = |policy: &str, size: u64| {
        let row = rows
            .iter()
            .find(|row| row["policy"] == policy && row["size"] == size);
        row.unwrap()["misses"].as_u64().unwrap()
    };
    assert!(misses("belady", 10) < misses("lru", 10));
    assert!(misses("lru", 10) < misses("lru", 7));
}

#[test]
fn every_format_gives_the_same_answer() {
    let directory = Directory::new("formats");
    let keys = [3_u64, 5, 3, 4, 5, 3, 6, 3];
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let arc: String = keys.iter().map(|key| format!("{key} 1 0 0\n")).collect();
    let mut ctr = Vec::new();
    let numbers = [0, 1, 0, 2, 1, 0, 3, 0];
    let requests = numbers.map(|key| Request {
        key,
        time_s: 0,
        size: 1,
        ttl_s: 0,
    });
    write_ctr(&mut ctr, &requests).unwrap();
    let oracle: Vec<u8> = keys
        .iter()
        .flat_map(|key| {
            [
                &0_u32.to_le_bytes()[..],
                &key.to_le_bytes(),
                &1_u32.to_le_bytes(),
                &[255; 8],
            ]
            .concat()
        })
        .collect();
    let files = [
        directory.write("t.csv", &lines),
        directory.write("t.trc", &lines),
        directory.write("t.lis", &arc),
        directory.write("t.ctr.zst", &ctr),
        directory.write("t.bin", &oracle),
        directory.write("t.bin.zst", zstd::encode_all(oracle.as_slice(), 1).unwrap()),
        format!("csv:{}", directory.write("keys.log", &lines)),
    ];
    let json = directory.path("rows.json");
    for file in files {
        let output = lab(&[
            "--traces",
            &file,
            "--policies",
            "lru",
            "--sizes",
            "2",
            "--json",
            &json,
        ]);
        assert!(output.status.success(), "{file}: {}", stderr(&output));
        assert_eq!(rows(&json)[0]["misses"], 6, "{file}");
    }
}

#[test]
fn by_bytes_large_objects_cost_their_size() {
    let directory = Directory::new("bytes");
    let trace = directory.write(
        "t.csv",
        "time,key,size\n0,a,10\n1,b,90\n2,a,10\n3,b,90\n4,c,101\n",
    );
    let json = directory.path("rows.json");
    let arguments = [
        "--traces",
        &trace,
        "--policies",
        "lru",
        "--by",
        "bytes",
        "--json",
        &json,
    ];
    stdout(&lab(&[&arguments[..], &["--sizes", "100,80%"]].concat()));
    let rows = rows(&json);
    assert_eq!(
        (&rows[0]["size"], &rows[0]["misses"]),
        (&100.into(), &3.into())
    );
    assert_eq!(rows[0]["byte_miss_ratio"], 201.0 / 301.0);
    assert_eq!(
        (&rows[1]["size"], &rows[1]["size_pct"]),
        (&160.into(), &(16_000.0 / 201.0).into())
    );
}

#[test]
fn a_trace_too_small_for_a_size_is_said_not_simulated() {
    let output = lab(&[
        "--traces",
        "loop:5:50",
        "--policies",
        "lru",
        "--sizes",
        "1%,100%",
    ]);
    assert!(
        stderr(&output).contains("less than one entry"),
        "{}",
        stderr(&output)
    );
    assert!(stdout(&output).contains("5 entries"));
}

#[test]
fn check_passes_on_true_ratios_and_fails_on_false_ones() {
    let header = "trace,policy,mode,size_pct_of_unique,size_objects,size_bytes,miss_ratio,\
                  byte_miss_ratio,source\n";
    let row =
        |policy: &str, ratio: &str| format!("t,{policy},unit,50,2,,{ratio},,libcachesim-0.3.5\n");
    let directory = Directory::new("check");
    directory.write("t.csv", "a\nb\na\nc\nb\na\nd\na\n");
    let check = |rows: String| {
        let published = directory.write("published.csv", header.to_owned() + &rows);
        lab(&["--check", &published])
    };
    let right = check(row("LRU", "0.75") + &row("of-another-kind", "0.1"));
    let text = stdout(&right);
    assert!(
        text.contains("1 rows: 1 equal, 0 within, 0 explained, 0 FAILED"),
        "{text}"
    );
    let wrong = check(row("LRU", "0.75") + &row("FIFO", "0.5"));
    assert_eq!(wrong.status.code(), Some(1));
    let text = String::from_utf8(wrong.stdout).unwrap();
    assert!(
        text.contains("2 rows: 1 equal, 0 within, 0 explained, 1 FAILED")
            && text.contains("fifo (FIFO) on t at 2 entries: +"),
        "{text}"
    );
    let nothing = check(row("of-another-kind", "0.1"));
    assert_eq!(nothing.status.code(), Some(2));
    let broken = check("t,LRU,unit\n".to_owned());
    assert_eq!(broken.status.code(), Some(2));
}

/// One policy of each definition, and every difference by which these traces tell definitions apart.
#[test]
fn the_published_ratios_of_the_bundled_traces_agree_or_are_explained() {
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/reference.csv");
    let policies = "fifo,lru,clock,clock:2,sieve,lfu,gdsf,belady,two_q,arc,lirs,s3_fifo,\
                    s3_fifo:0.1:1,w_tiny_lfu:0.01";
    let output = lab(&["--check", published, "--policies", policies]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for difference in [
        "admission (GDSF",
        "cold share (LIRS",
        "compact ghosts (S3-FIFO-1hit",
        "counting (W-TinyLFU-1%",
        "large objects (2Q",
        "target step (ARC",
    ] {
        assert!(text.contains(difference), "{difference}\n{text}");
    }
    assert!(text.contains(" explained, 0 FAILED"), "{text}");
}
