//! Tells the laboratory which compiler built it, for its reports.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").expect("cargo names the compiler");
    let output = Command::new(compiler)
        .arg("--version")
        .output()
        .expect("the compiler tells its version");
    let version = String::from_utf8_lossy(&output.stdout);
    println!("cargo::rustc-env=NUTHATCH_COMPILER={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
