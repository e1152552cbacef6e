//! What may depend on what, under which licence and from where, checked over `cargo metadata`.
//!
//! A crate is a wall: it exists because another crate must not see its code or its dependencies.
//! [`ARROWS`] says which walls have doors. The allowed licences are read from `deny.toml`.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Every crate of the workspace and the crates of the workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("near-cache-service", &["nuthatch", "nuthatch-client"]),
    ("nuthatch", &[]),
    ("nuthatch-client", &["nuthatch"]),
    ("nuthatch-lab", &["nuthatch", "nuthatch-client"]),
    (
        "nuthatch-server",
        &["nuthatch", "nuthatch-storage", "nuthatch-wire"],
    ),
    ("nuthatch-storage", &["nuthatch"]),
    ("nuthatch-wire", &[]),
];

/// What some crates may use besides in their tests, which nobody gets who uses them.
const TEST_ARROWS: &[(&str, &[&str])] = &[("nuthatch-client", &["nuthatch-server"])];

/// Crates that everyday builds leave out, for what they bring along.
const HEAVY: &[&str] = &["near-cache-service", "nuthatch-lab"];

/// Runtimes that the library must not bring into the programs of its users: its futures run on any.
const ASYNC_RUNTIMES: &[&str] = &["async-std", "compio", "glommio", "monoio", "smol", "tokio"];

#[test]
fn workspace_crates_use_only_the_crates_that_their_arrows_allow() {
    let metadata = metadata();
    let members = members(&metadata);
    let named: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        members.keys().copied().collect::<BTreeSet<_>>(),
        named,
        "every crate of the workspace has its arrows, and no arrow is left of a crate that is gone"
    );
    for (name, allowed) in ARROWS {
        let tests = TEST_ARROWS.iter().filter(|(tested, _)| tested == name);
        let in_tests: Vec<_> = tests.flat_map(|(_, allowed)| *allowed).collect();
        for dependency in dependencies(members[name]) {
            let is_for_tests = dependency["kind"] == "dev";
            let dependency = dependency["name"]
                .as_str()
                .expect("a dependency has a name");
            assert!(
                !named.contains(dependency)
                    || allowed.contains(&dependency)
                    || is_for_tests && in_tests.contains(&&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn everyday_builds_do_not_compile_heavy_crates() {
    let metadata = metadata();
    let members = members(&metadata);
    let defaults = array(&metadata["workspace_default_members"]);
    assert!(
        !defaults.is_empty(),
        "the workspace names its default members"
    );
    for name in HEAVY {
        assert!(
            !defaults.contains(&members[name]["id"]),
            "{name} is among the default members"
        );
    }
}

#[test]
fn library_brings_no_async_runtime_to_its_users() {
    let metadata = metadata();
    for id in normal_dependencies(&metadata, "nuthatch") {
        let name = package(&metadata, id)["name"]
            .as_str()
            .expect("a package has a name");
        assert!(
            !ASYNC_RUNTIMES.contains(&name),
            "nuthatch depends on {name}"
        );
    }
}

#[test]
fn dependencies_come_from_a_registry_under_allowed_licences() {
    let metadata = metadata();
    let allowed = allowed_licences();
    let mut outside = 0;
    for package in array(&metadata["packages"]) {
        let Some(source) = package["source"].as_str() else {
            continue;
        };
        outside += 1;
        let name = &package["name"];
        assert!(
            source.starts_with("registry+"),
            "{name} comes from {source}"
        );
        let licence = package["license"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} names no licence"));
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{name}: {licence}: {error}"));
        assert!(
            expression.evaluate(|requirement| allowed.contains(&requirement.to_string())),
            "{name} comes under {licence}, which deny.toml does not allow"
        );
    }
    assert!(outside > 0, "the workspace has dependencies");
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--all-features",
            "--format-version",
            "1",
        ])
        .current_dir(workspace_root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two levels below the workspace")
}

fn allowed_licences() -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace_root().join("deny.toml")).expect("deny.toml");
    let deny: toml::Table = text.parse().expect("deny.toml is TOML");
    deny["licenses"]["allow"]
        .as_array()
        .expect("licenses.allow is a list")
        .iter()
        .map(|licence| licence.as_str().expect("a licence is a string").to_owned())
        .collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn members(metadata: &Value) -> BTreeMap<&str, &Value> {
    array(&metadata["workspace_members"])
        .iter()
        .map(|id| {
            let package = package(metadata, id);
            (
                package["name"].as_str().expect("a package has a name"),
                package,
            )
        })
        .collect()
}

fn package<'a>(metadata: &'a Value, id: &Value) -> &'a Value {
    array(&metadata["packages"])
        .iter()
        .find(|package| package["id"] == *id)
        .unwrap_or_else(|| panic!("no package {id}"))
}

fn dependencies(package: &Value) -> &[Value] {
    array(&package["dependencies"])
}

/// The ids of all packages that building `name` as a library needs, itself left out: no
/// dev-dependencies, no build-dependencies, and none that only the loom models need.
fn normal_dependencies<'a>(metadata: &'a Value, name: &str) -> Vec<&'a Value> {
    let nodes = array(&metadata["resolve"]["nodes"]);
    let mut ids = vec![&members(metadata)[name]["id"]];
    let mut next = 0;
    while let Some(id) = ids.get(next).copied() {
        next += 1;
        let node = nodes
            .iter()
            .find(|node| node["id"] == *id)
            .expect("every package has a node");
        for dependency in array(&node["deps"]) {
            let normal = array(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null() && kind["target"] != "cfg(loom)");
            if normal && !ids.contains(&&dependency["pkg"]) {
                ids.push(&dependency["pkg"]);
            }
        }
    }
    ids.split_off(1)
}
