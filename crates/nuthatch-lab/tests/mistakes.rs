//! What a mistake on the command line gets: exit code 2 and one line that says what is wrong and
//! what would be right, before anything is measured.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the laboratory says to these arguments, which must be wrong: the line of the error.
fn answer(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nuthatch-lab"))
        .args(arguments)
        .output()
        .expect("the laboratory starts");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(
        output.stdout.is_empty(),
        "{arguments:?}: nothing was measured"
    );
    let complaint = String::from_utf8(output.stderr).expect("it is text");
    let mut lines = complaint.lines();
    let line = lines.find_map(|line| line.strip_prefix("error: "));
    line.unwrap_or_else(|| panic!("{arguments:?}: {complaint}"))
        .to_owned()
}

fn assert_answer(arguments: &[&str], expected: &str) {
    let answer = answer(arguments);
    assert!(answer.contains(expected), "{arguments:?}: {answer}");
}

/// A file that a test may read; each test has names of its own.
fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), name].iter().collect();
    fs::write(&path, content).expect("the directory is there");
    path.to_str().expect("the directory is UTF-8").to_owned()
}

#[test]
fn a_name_that_nothing_has_gets_the_near_ones_and_all() {
    for (arguments, expected) in [
        (&["throughput", "--caches=redis"][..], "classic-lockfree"),
        (
            &["throughput", "--caches=quickcache"],
            "did you mean quick_cache?",
        ),
        (&["throughput", "--caches=classic-rwlock:fast"], "batch"),
        (&["throughput", "--caches=nuthatch-locked:best"], "sieve"),
        (
            &["throughput", "--caches=classic-rwlock,"],
            "name of a cache is missing",
        ),
        (&["throughput", "--workloads=write-only"], "write-heavy"),
        (
            &["throughput", "--workloads=hotkey"],
            "did you mean hot-key?",
        ),
        (
            &["throughput", "--workloads="],
            "name of a workload is missing",
        ),
        (&["throughput", "--keys=u32"], "u64"),
        (&["memory", "--caches="], "nuthatch-lockfree"),
        (&["footprint", "--operations=evcit"], "did you mean evict?"),
        (
            &["footprint", "--operations="],
            "name of a cache operation is missing",
        ),
        (&["simulate", "--policies=lur"], "did you mean lru?"),
        (
            &["simulate", "--policies=caffeine"],
            "w_tiny_lfu[:window], belady",
        ),
        (&["simulate", "--policies="], "name of a policy is missing"),
        (
            &["simulate", "--policies=lru,"],
            "name of a policy is missing",
        ),
        (
            &["simulate", "--policies=reference:default"],
            "no reference",
        ),
        (
            &["simulate", "--policies=belady:1"],
            "belady takes 0 parameters, not 1",
        ),
        (&["simulate", "--policies=clock:9"], "is not 1, 2 or 3"),
        (&["simulator"], "unrecognized subcommand"),
    ] {
        assert_answer(arguments, expected);
    }
}

#[test]
fn a_number_out_of_bounds_gets_the_bounds() {
    for (arguments, expected) in [
        (&["throughput", "--threads=0"][..], "1..=10000"),
        (&["throughput", "--rounds=0"], "1..=1000"),
        (&["throughput", "--millis=0"], "1..=3600000"),
        (&["throughput", "--key-space=-1"], "0.001 to 1000"),
        (
            &["throughput", "--capacity=100000000", "--key-space=11"],
            "1100000000 keys",
        ),
        (&["hitratio", "--quick", "--threads=0"], "1..=10000"),
        (&["memory", "--entries=0"], "1..=100000000"),
        (&["evict", "--capacity=many"], "many"),
        (&["simulate", "--quick", "--threads=0"], "from 1 to 1000"),
        (&["simulate", "--quick", "--seeds=0"], "from 1 to 1000"),
        (&["simulate", "--sizes=200%"], "100% holds the whole trace"),
        (&["simulate", "--sizes=half"], "0.1%"),
        (&["simulate", "--sizes=0"], "holds nothing"),
        (&["simulate", "--sizes="], "whole number"),
        (&["advise", "--sample=10"], "from 1000 to 10000000"),
        (&["advise", "--threads=0"], "from 1 to 1000"),
    ] {
        assert_answer(arguments, expected);
    }
}

#[test]
fn a_text_that_names_no_trace_gets_how_they_are_named() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).to_str();
    let here = here.expect("the directory is UTF-8");
    for command in [
        &["simulate", "--traces"][..],
        &["hitratio", "--traces"],
        &["advise", "--trace"],
        #[cfg(unix)]
        &["server", "--target=redis://127.0.0.1:1", "--trace"],
        &["traces"],
    ] {
        for (text, expected) in [
            ("keys.txt", "csv:keys.txt"),
            ("keys", "zipf:ALPHA:KEYS:REQUESTS"),
            ("zipf:1:2", "zipf:ALPHA:KEYS:REQUESTS"),
            ("loop:0:9", "loop:KEYS:REQUESTS"),
            (here, "it is a directory"),
        ] {
            assert_answer(&[command, &[text]].concat(), expected);
        }
    }
    assert_answer(&["simulate"], "--quick");
    assert_answer(&["hitratio"], "--quick");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let ctr: &[u8] = include_bytes!("../traces/source-names.ctr.zst");
    let noise: Vec<u8> = (0..4000_u32).map(|n| (n * n % 251) as u8 | 0x80).collect();
    let compressed = zstd::encode_all(&b"a\nb\n"[..], 1).expect("it fits the memory");
    for (name, content, expected) in [
        ("empty.csv", &b""[..], "holds no request"),
        ("header.csv", b"key\n", "holds no request"),
        ("empty.trc", b"", "holds no request"),
        ("empty.bin", b"", "holds no request"),
        ("ragged.csv", b"1,a,1\n2,b\n", "line 2"),
        ("two.csv", b"1,a\n", "line 1"),
        ("foreign.ctr.zst", b"key\n1\n", "not a .ctr.zst trace"),
        ("cut.ctr.zst", &ctr[..ctr.len() / 2], "truncated after"),
        (
            "cut.csv.zst",
            &compressed[..compressed.len() - 2],
            "truncated after",
        ),
        ("noise.csv", &noise, "line 1: it is not UTF-8 text"),
        ("noise.lis", &noise, "line 1: it is not UTF-8 text"),
        ("noise.bin", &noise, "request"),
        ("noise.ctr.zst", &noise, "not a .ctr.zst trace"),
        ("packed.csv", b"\x1F\x8B\x08\x00", "compressed with gzip"),
    ] {
        let path = file(name, content);
        for command in [
            &["simulate", "--traces"][..],
            &["hitratio", "--traces"],
            &["advise", "--trace"],
            #[cfg(unix)]
            &["server", "--target=redis://127.0.0.1:1", "--trace"],
            &["traces"],
        ] {
            let arguments = [command, &[&path]].concat();
            let answer = answer(&arguments);
            assert!(answer.contains(name), "{arguments:?}: {answer}");
            assert!(answer.contains(expected), "{arguments:?}: {answer}");
        }
    }
    let answer = answer(&["traces", "/nowhere/none.csv"]);
    assert_eq!(
        answer.matches("No such file").count(),
        1,
        "each cause is told once: {answer}"
    );
    assert_answer(&["simulate", "--check=/nowhere/none.csv"], "No such file");
    assert_answer(
        &["simulate", "--check", env!("CARGO_MANIFEST_DIR")],
        "cannot read",
    );
}

#[test]
fn rows_that_cannot_be_written_are_not_measured() {
    for command in [
        &["throughput"][..],
        &["hitratio", "--quick"],
        &["memory"],
        &["evict"],
        &["footprint"],
        &["simulate", "--quick"],
        &["advise", "--trace=loop:9:9"],
        &["traces", "loop:9:9"],
        #[cfg(unix)]
        &["server", "--target=redis://127.0.0.1:1"],
        #[cfg(unix)]
        &["near", "--target=redis://127.0.0.1:1"],
        &[
            "simulate",
            "--check",
            concat!(env!("CARGO_MANIFEST_DIR"), "/traces/reference.csv"),
        ],
    ] {
        for path in ["/nowhere/rows.json", env!("CARGO_TARGET_TMPDIR")] {
            assert_answer(&[command, &["--json", path]].concat(), "cannot write");
        }
    }
    for path in ["/nowhere/curves.svg", env!("CARGO_TARGET_TMPDIR")] {
        // Were it read, the trace would be missed first.
        let arguments = ["advise", "--trace=/nowhere/none.csv", "--svg", path];
        assert_answer(&arguments, "cannot write");
    }
}

#[test]
fn options_that_say_nothing_about_the_traces_are_refused() {
    let too_small = ["simulate", "--traces=loop:5:50", "--sizes=1%"];
    assert_answer(&too_small, "too small for every size");
    let columns = ["traces", "loop:5:50", "--columns=key"];
    assert_answer(&columns, "no trace is one");
    assert_answer(&["simulate", "--quick", "--traces=loop:5:50"], "--quick");
    let all = ["advise", "--trace=loop:5:50", "--policies=all"];
    assert_answer(&all, "too many for one plot");
    let floor = ["advise", "--trace=loop:5:50", "--policies=belady"];
    assert_answer(&floor, "cannot be recommended");
}

#[cfg(feature = "peers")]
#[test]
fn a_map_has_no_hit_ratio() {
    let arguments = ["hitratio", "--caches=dashmap", "--traces=loop:9:9"];
    assert_answer(&arguments, "dashmap keeps no bound");
}

#[cfg(unix)]
#[test]
fn a_load_that_cannot_be_sent_is_refused() {
    const TARGET: &str = "--target=redis://127.0.0.1:1";
    for (options, expected) in [
        (&["--target=http://127.0.0.1"][..], "redis+unix:///path"),
        (&["--target=redis://127.0.0.1:x"], "not a port"),
        (
            &["--target=memcached://me:word@127.0.0.1"],
            "no credentials",
        ),
        (&[], "required arguments"),
        (&[TARGET, "--pid=1,2"], "2 processes for 1 targets"),
        (&[TARGET, "--pid=4294967295"], "there is no process"),
        (&[TARGET, "--threads=2", "--connections=1"], "cannot share"),
        (&[TARGET, "--keys=0"], "1..=100000000"),
        (&[TARGET, "--key-bytes=1", "--keys=17"], "more than 1 bytes"),
        (&[TARGET, "--key-bytes=251"], "1..=250"),
        (&[TARGET, "--value-bytes=0"], "1..=67108864"),
        (&[TARGET, "--zipf=steep"], "uniform"),
        (&[TARGET, "--ratio=10"], "10:1"),
        (&[TARGET, "--ratio=0:0"], "10:1"),
        (&[TARGET, "--pipeline=0"], "1..=100000"),
        (&[TARGET, "--rate=0"], "1..=10000000"),
        (&[TARGET, "--ttl-s=2592001"], "1..=2592000"),
        (&[TARGET, "--cache-aside", "--ratio=1:1"], "--ratio"),
        (&[TARGET, "--trace=loop:9:9", "--millis=9"], "--millis"),
        (
            &[TARGET, "--trace=loop:9:9", "--columns=key"],
            "no trace is one",
        ),
        (&[TARGET, "--rounds=2", "--duration-s=9"], "--duration-s"),
        (&[TARGET], "redis://127.0.0.1:1: cannot connect"),
        (
            &["--target=memcached+unix:///nowhere/socket"],
            "memcached+unix:///nowhere/socket: cannot connect: No such file",
        ),
    ] {
        assert_answer(&[&["server"], options].concat(), expected);
    }
}

#[cfg(unix)]
#[test]
fn a_near_cache_that_cannot_be_measured_is_refused() {
    const TARGET: &str = "--target=redis://127.0.0.1:1";
    for (options, expected) in [
        (&["--target=127.0.0.1:6379"][..], "redis://host:port"),
        (&["--target=redis://127.0.0.1:x"], "not a port"),
        (&["--target=memcached://127.0.0.1"], "does not speak"),
        (&[TARGET, "--hit-ratios=101"], "from 0 to 100"),
        (&[TARGET, "--hit-ratios=most"], "from 0 to 100"),
        (&[TARGET, "--tasks=0"], "1..=100000"),
        (&[TARGET, "--threads=0"], "1..=1000"),
        (&[TARGET, "--capacity=1"], "2..=10000000"),
        (&[TARGET, "--value-bytes=0"], "1..=1048576"),
        (&[TARGET, "--capacity=10", "--cold-keys=99"], "10 times"),
        (&[TARGET, "--rounds=0"], "1..=1000"),
        (&[TARGET, "--millis=0"], "1..=3600000"),
        (&[TARGET], "redis://127.0.0.1:1: "),
        (&[TARGET], "Connection refused"),
        (&["--target=redis+unix:///nowhere/socket"], "No such file"),
    ] {
        assert_answer(&[&["near"], options].concat(), expected);
    }
}
