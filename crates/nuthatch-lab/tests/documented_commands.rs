//! The laboratory's commands as the documentation and the recipes write them: each exists, with the
//! options and values given.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

/// The texts that show commands.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let design = fs::read_dir(root.join("docs/design")).expect("the directory exists");
    let design = design.map(|file| file.expect("the directory can be read").path());
    [
        "justfile",
        "README.md",
        "ARCHITECTURE.md",
        "docs/benchmarks.md",
        "docs/report/report.md",
    ]
    .map(|file| root.join(file))
    .into_iter()
    .chain(design)
    .map(|path| {
        let text = fs::read_to_string(&path).expect("the file is text");
        (path, text)
    })
    .collect()
}

/// The words that a piece of code gives the laboratory, if it calls it.
fn command(code: &str) -> Option<Vec<&str>> {
    let code = code.split(" #").next().unwrap_or(code).trim();
    let arguments = match code.split_once("nuthatch-lab -- ") {
        Some((cargo, arguments)) if cargo.starts_with("cargo run ") => arguments,
        _ => ["nuthatch-lab ", "lab "]
            .iter()
            .find_map(|name| code.strip_prefix(name))?,
    };
    Some(arguments.split_whitespace().collect())
}

/// Lines of code blocks and recipes, with continued lines joined, and code between backticks.
fn pieces(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::to_owned);
    let quoted = joined
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    lines.chain(quoted.map(str::to_owned)).collect()
}

#[test]
fn every_command_shown_exists_with_its_options() {
    let mut shown = 0;
    for (path, text) in texts() {
        for piece in pieces(&text) {
            let Some(words) = command(&piece) else {
                continue;
            };
            shown += 1;
            // Options are read from left to right, and a wrong one is told before help is given.
            let output = Command::new(env!("CARGO_BIN_EXE_nuthatch-lab"))
                .args(words.iter().copied().chain(iter::once("--help")))
                .output()
                .expect("the laboratory starts");
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: {piece}\n{complaint}",
                path.display()
            );
        }
    }
    assert!(shown >= 15, "only {shown} commands were found");
}

#[test]
fn commands_are_told_from_prose() {
    let words = |code| command(code).map(|words| words.join(" "));
    let quick = Some("simulate --quick".to_owned());
    assert_eq!(words("lab simulate --quick   # brief"), quick);
    assert_eq!(words("nuthatch-lab simulate --quick"), quick);
    assert_eq!(
        words("    cargo run --release -p nuthatch-lab -- simulate --quick"),
        quick
    );
    assert_eq!(words("cargo build --package nuthatch-lab"), None);
    assert_eq!(words("the lab simulates"), None);
}
