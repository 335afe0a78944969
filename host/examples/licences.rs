//! Prints the licences of everything that is in the program, for packages:
//!
//!     cargo run -p kilochat --example licences -- TARGET...
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that makes packages"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What no crate contains.
const SYSTEM: &str = "\
The program also contains the standard library of Rust (Copyright The Rust Project Developers, MIT or
Apache-2.0, at your option; both texts are below). Static programs for Linux contain musl libc:

    Copyright (c) 2005-2020 Rich Felker, et al.

under the MIT licence, whose text is below. Programs for Windows contain parts of the runtime of
mingw-w64, which is in the public domain or under licences that ask for no notice in programs.
";

/// Name and version.
type Crate = (String, String);

fn main() {
    let targets: Vec<String> = std::env::args().skip(1).collect();
    assert!(!targets.is_empty(), "usage: licences TARGET...");
    let inside: BTreeSet<Crate> = targets.iter().flat_map(|target| crates(target)).collect();
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let root = PathBuf::from(metadata["workspace_root"].as_str().unwrap());
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    println!("kilochat, and what it is made of\n\n{SYSTEM}");
    for package in metadata["packages"].as_array().unwrap() {
        let of = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        if !inside.contains(&(of("name"), of("version"))) {
            continue;
        }
        let label = format!("{} {}", of("name"), of("version"));
        println!("{label}: {}", of("license"));
        let is_own = package["source"].is_null();
        let manifest = PathBuf::from(of("manifest_path"));
        let folder = if is_own {
            &root
        } else {
            manifest.parent().unwrap()
        };
        for text in texts_in(folder) {
            texts.entry(text).or_default().push(label.clone());
        }
    }
    for (text, whose) in texts {
        println!(
            "\n{}\n{}\n\n{text}",
            "-".repeat(78),
            wrapped(&whose.join(", "))
        );
    }
}

/// Returns the crates in the program for a target. Macros run in the compiler only.
fn crates(target: &str) -> BTreeSet<Crate> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package=kilochat",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}",
        "--target",
        target,
    ]);
    let crates = tree.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    });
    crates.collect()
}

/// Returns the texts of licences in the folder of a crate.
fn texts_in(folder: &Path) -> Vec<String> {
    let names = read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = names
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_lowercase();
            let starts = ["licen", "copying", "copyright", "notice", "unlicense"];
            starts.iter().any(|start| name.starts_with(start)) && path.is_file()
        })
        .collect();
    names.sort();
    let texts = names.iter().map(|name| read_to_string(name).unwrap());
    // the same text with other line ends and margins is one
    texts.map(|text| unindented(&text)).collect()
}

fn unindented(text: &str) -> String {
    let lines = text.trim().lines().map(str::trim);
    lines.collect::<Vec<_>>().join("\n")
}

/// Breaks a line at spaces, to at most 78 bytes where it can.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_inclusive(", ") {
        if width + word.len() > 78 {
            out.push('\n');
            width = 0;
        }
        out.push_str(word);
        width += word.len();
    }
    out
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}
