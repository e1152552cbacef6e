//! Servers that find something wrong with their directory, or somebody else in it.

use crate::harness::Value;
use crate::process::{Home, PROGRAM, Process};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

const ALWAYS: [(&str, &str); 1] = [("appendfsync", "always")];
/// Where a segment's first frame begins, and where that has its records.
const FIRST_FRAME: usize = 48;
const FRAME_HEADER: usize = 48;

/// A server that serves these keys, and then is killed.
fn killed(home: &Home, keys: &[&str]) {
    let process = home.start(&ALWAYS);
    let mut client = process.connect();
    for key in keys {
        // Each alone, so that each is a frame that was synced before the next.
        assert_eq!(client.call(&format!("SET {key} value")).to_string(), "+OK");
    }
    process.kill();
}

/// The name of the only file that ends so and holds this text.
fn file_with(home: &Home, end: &str, text: &str) -> String {
    let is_it = |name: &str, bytes: &[u8]| {
        let has_text = bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes());
        name.ends_with(end) && has_text
    };
    let files = home.files();
    let found: Vec<&String> = files
        .iter()
        .filter(|(name, bytes)| is_it(name, bytes))
        .map(|(name, _)| name)
        .collect();
    let [name] = *found else {
        panic!("{found:?} of {:?}", files.keys());
    };
    name.clone()
}

fn change(home: &Home, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = home.data().join(name);
    let mut bytes = fs::read(&path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

fn check(home: &Home, options: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("check")
        .arg(home.data())
        .args(options)
        .output()
        .expect("the program runs")
}

fn keys(process: &Process) -> BTreeSet<String> {
    let keys = process.call("KEYS *");
    keys.elements().iter().map(Value::text).collect()
}

#[test]
fn a_directory_that_is_a_file_is_refused() {
    let home = Home::new();
    fs::write(home.data(), "text").expect("a file");
    let told = home.complaint(&[]);
    let data = home.data();
    let data = data.to_str().expect("text");
    assert!(
        told.starts_with(&format!("nuthatch: data-dir {data}: cannot ")),
        "{told}"
    );
    assert_eq!(fs::read(data).expect("a file"), b"text");
}

/// Where nobody may write, not even a superuser.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_where_nothing_can_be_written_is_refused() {
    for directory in ["/proc", "/proc/data"] {
        let home = Home::new();
        std::os::unix::fs::symlink(directory, home.data()).expect("a link");
        let told = home.complaint(&[]);
        assert!(told.contains(": cannot "), "{told}");
    }
}

#[test]
fn the_second_server_of_a_directory_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let process = home.start(&ALWAYS);
    process.call("SET before 1");
    let before = home.files();
    let told = home.complaint(&[]);
    assert!(
        told.contains("another process uses this directory"),
        "{told}"
    );
    assert_eq!(home.files(), before);
    for line in ["SET after 1", "SAVE", "SET last 1"] {
        assert_eq!(process.call(line).to_string(), "+OK");
    }
    process.kill();
    // The claim ends with the process.
    let process = home.start(&ALWAYS);
    assert_eq!(keys(&process).len(), 3);
}

#[test]
fn files_of_a_newer_version_are_refused_and_stay_as_they_are() {
    for end in [".nutl", ".nuts"] {
        let home = Home::new();
        let process = home.start(&ALWAYS);
        for line in ["SET before 1", "SAVE", "SET after 1"] {
            assert_eq!(process.call(line).to_string(), "+OK");
        }
        process.kill();
        let text = if end == ".nuts" { "before" } else { "after" };
        let name = file_with(&home, end, text);
        change(&home, &name, |bytes| {
            bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
            let checksum = crc32c::crc32c(&bytes[..12]);
            bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        });
        let before = home.files();
        let told = home.complaint(&[]);
        assert!(
            told.contains(&format!("{name} has format version 7")),
            "{told}"
        );
        assert_eq!(home.files(), before);
        for options in [&[][..], &["--repair"]] {
            assert_eq!(check(&home, options).status.code(), Some(2), "{options:?}");
            assert_eq!(home.files(), before);
        }
    }
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_refused_until_it_is_repaired() {
    let home = Home::new();
    killed(&home, &["first", "second", "third"]);
    let name = file_with(&home, ".nutl", "second");
    let mut offset = 0;
    change(&home, &name, |bytes| {
        let at = bytes.windows(6).position(|window| window == b"second");
        let at = at.expect("it is there");
        offset = at;
        bytes[at] ^= 1;
    });
    let before = home.files();
    let told = home.complaint(&ALWAYS);
    let data = home.data();
    let data = data.to_str().expect("text");
    let expected = format!("nuthatch: data-dir {data}: {name} is damaged at byte ");
    assert!(told.starts_with(&expected), "{told}");
    let told_offset = told[expected.len()..].split(':').next();
    let told_offset: usize = told_offset
        .and_then(|text| text.parse().ok())
        .expect("an offset");
    assert!(
        (FIRST_FRAME + FRAME_HEADER..=offset).contains(&told_offset),
        "{told}"
    );
    assert!(told.contains("nuthatch check DIR --repair"), "{told}");
    assert_eq!(home.files(), before);

    let checked = check(&home, &[]);
    assert_eq!(checked.status.code(), Some(2));
    let report = String::from_utf8(checked.stdout).expect("text");
    assert!(
        report.contains(&format!("damage: {name}: at byte {told_offset}")),
        "{report}"
    );
    assert_eq!(home.files(), before);

    let repaired = check(&home, &["--repair"]);
    let report = String::from_utf8(repaired.stdout).expect("text");
    assert!(repaired.status.success(), "{report}");
    let process = home.start(&ALWAYS);
    assert_eq!(keys(&process), BTreeSet::from(["first".to_owned()]));
    assert_eq!(process.call("SET fourth 1").to_string(), "+OK");
    process.kill();
    assert_eq!(keys(&home.start(&ALWAYS)).len(), 2);
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_and_told() {
    let home = Home::new();
    killed(&home, &["first", "second"]);
    let name = file_with(&home, ".nutl", "second");
    change(&home, &name, |bytes| bytes.truncate(bytes.len() - 3));
    let process = home.start(&ALWAYS);
    let told = process.told();
    let is_warning =
        |line: &str| line.contains("WARN") && line.contains("torn") && line.contains(&name);
    assert!(told.lines().any(is_warning), "{told}");
    assert_eq!(keys(&process), BTreeSet::from(["first".to_owned()]));
    assert_eq!(process.call("SET third 1").to_string(), "+OK");
    process.kill();
    let process = home.start(&ALWAYS);
    assert!(
        !process.told().contains("torn"),
        "it is cut once: {}",
        process.told()
    );
    assert_eq!(keys(&process).len(), 2);
}

#[test]
fn what_was_killed_while_it_wrote_a_snapshot_leaves_nothing_behind() {
    let home = Home::new();
    killed(&home, &["kept"]);
    let left = format!("snapshot-{:020}.nuts.tmp", 1);
    fs::write(home.data().join(&left), "half of it").expect("a file");
    fs::write(home.data().join("notes.txt"), "of a person").expect("a file");
    let process = home.start(&ALWAYS);
    assert_eq!(keys(&process).len(), 1);
    let names: Vec<String> = home.files().into_keys().collect();
    assert!(!names.contains(&left), "{names:?}");
    assert!(names.contains(&"notes.txt".to_owned()), "{names:?}");
}

#[test]
fn what_has_no_room_while_it_loads_does_not_come_back_later() {
    const KEYS: usize = 4_000;
    let home = Home::new();
    let mut process = home.start(&[("maxmemory", "256mb")]);
    let mut client = process.connect();
    let value = "v".repeat(10_000);
    for number in 0..KEYS {
        let line = format!("SET key-{number} {value}");
        assert_eq!(client.call(&line).to_string(), "+OK");
    }
    process.ask_to_end("SHUTDOWN");
    assert!(process.await_end().success());
    let mut process = home.start(&[("maxmemory", "32mb")]);
    let seen = keys(&process);
    assert!(seen.len() < KEYS, "{} keys are in 32 MiB", seen.len());
    process.ask_to_end("SHUTDOWN");
    assert!(process.await_end().success());
    let process = home.start(&[("maxmemory", "256mb")]);
    let found = keys(&process);
    let back: Vec<_> = found.difference(&seen).collect();
    assert!(
        back.is_empty(),
        "{} keys came back, as {:?}",
        back.len(),
        back[0]
    );
}
