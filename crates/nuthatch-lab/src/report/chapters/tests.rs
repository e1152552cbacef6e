use super::*;
use crate::report::{About, Change};
use crate::rows::EvictRow;

fn empty() -> Results {
    Results {
        about: About::sample(),
        units: Vec::new(),
        lock: Vec::new(),
        footprint: Vec::new(),
        evict: Vec::new(),
        evict_threads: Vec::new(),
        latency: Vec::new(),
        policies: Vec::new(),
        weights: Vec::new(),
        hit_ratios: Vec::new(),
        memory: Vec::new(),
        peers: Vec::new(),
    }
}

fn rate(cache: &str, workload: &str, threads: u32, millions: f64) -> ThroughputRow {
    ThroughputRow {
        cache: cache.to_owned(),
        workload: workload.to_owned(),
        keys: Kind::U64,
        threads,
        ops_per_s_median: 1e6 * millions,
        ops_per_s_min: 0.95e6 * millions,
        ops_per_s_max: 1.05e6 * millions,
        hit_ratio: Some(1.0),
        p50_ns: 20,
        p99_ns: 50,
        p999_ns: 100,
        hit_p50_ns: Some(20),
        hit_p90_ns: Some(30),
        hit_p99_ns: Some(50),
        hit_p999_ns: Some(100),
        hit_p9999_ns: Some(900),
    }
}

fn eviction(cache: &str, capacity: u32, ns: f64, bytes: f64) -> EvictRow {
    EvictRow {
        cache: cache.to_owned(),
        capacity,
        ns_per_insert: ns,
        ns_per_insert_min: ns,
        ns_per_insert_max: ns,
        allocs_per_insert: bytes / 100.0,
        bytes_per_insert: bytes,
    }
}

#[test]
fn without_any_row_there_is_still_a_document() {
    let document = document(&empty(), None);
    assert!(document.markdown().contains("Not measured"));
    assert_eq!(document.files().count(), 0);
    assert!(document.html().contains("an abacus"));
}

#[test]
fn every_ratio_in_the_text_follows_from_the_rows() {
    let mut results = empty();
    for (cache, one, many) in [
        (LOCK_FREE, 50.0, 60.0),
        (CLASSIC_LOCK, 40.0, 12.0),
        ("papaya", 70.0, 90.0),
    ] {
        results.lock.push(rate(cache, "read-only", 1, one));
        results.lock.push(rate(cache, "read-only", 8, many));
    }
    for (cache, small, large, bytes) in [
        (LOCK_FREE, 80.0, 90.0, 0.0),
        (CLASSIC_COPY, 20_000.0, 2_000_000.0, 4e5),
    ] {
        results.evict.push(eviction(cache, 1000, small, bytes));
        results.evict.push(eviction(cache, 100_000, large, bytes));
    }
    let document = document(&results, None);
    let text = document.markdown();
    for sentence in [
        "On 8 threads nuthatch-lockfree does 60.0 million operations a second, 5.0 times classic-rwlock; the \
         fastest other is papaya with 90.0",
        "Copying costs 250 times at 1,000, 22,222 times at 100,000 entries",
        "No allocation at all, and so no curve: nuthatch-lockfree.",
    ] {
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
    let files: Vec<_> = document.files().map(|(name, _)| name).collect();
    assert_eq!(
        files,
        [
            "charts/lock-read-only.svg",
            "charts/evict-time.svg",
            "charts/evict-bytes.svg"
        ]
    );
}

#[test]
fn losses_come_first_and_overlapping_ranges_are_level() {
    let mut results = empty();
    for (workload, ours, theirs) in [
        ("read-only", 90.0, 60.0),
        ("evict", 5.0, 15.0),
        ("mixed", 10.0, 10.5),
    ] {
        results.peers.push(rate(LOCK_FREE, workload, 2, ours));
        results.peers.push(rate("quick_cache", workload, 2, theirs));
        // No bound, and so no rival.
        results.peers.push(rate("dashmap", workload, 2, 500.0));
    }
    let document = document(&results, None);
    let text = document.markdown();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("u64 keys, 2 threads |"))
        .collect();
    let verdicts = ["evict", "**lost**", "mixed", "level", "read-only", "won"];
    for (line, verdict) in lines.iter().zip(verdicts.chunks(2)) {
        assert!(
            line.contains(verdict[0]) && line.contains(verdict[1]),
            "{line}"
        );
    }
    assert_eq!(lines.len(), 3);
    assert!(text.contains("1 lost, 1 level, 1 won"));
    assert!(text.contains("| dashmap (no bound) | 500 |"), "{text}");
    let missed = "| insertions that evict | as fast as the fastest | 0.33 of quick_cache on 2 threads | **missed** |";
    assert!(text.contains(missed), "{text}");
}

#[test]
fn failures_and_changes_are_told() {
    let mut results = empty();
    results.units.push(crate::report::Finished {
        part: crate::report::Part::Peers,
        command: vec!["throughput".to_owned()],
        seconds: 60.0,
        failure: Some("moka panicked in evict".to_owned()),
        rows: Vec::new(),
    });
    let comparison = Comparison {
        changes: vec![Change {
            what: "memory: moka".to_owned(),
            before: "10 bytes".to_owned(),
            after: "20 bytes".to_owned(),
            share: 1.0,
            better: false,
        }],
        compared: 7,
        drift: 1.5,
    };
    let document = document(&results, Some(&comparison));
    let text = document.markdown();
    for told in [
        "1 measurement failed",
        "`nuthatch-lab throughput`: moka panicked in evict",
        "Of 7 values",
        "became 1.50 times as fast",
        "| memory: moka | 10 bytes | 20 bytes | +100.0 % | worse |",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
}
