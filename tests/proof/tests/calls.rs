//! The proof calls every public function of the core.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PROOF: &str = include_str!("../src/main.rs");

/// Returns the core's sources without their tests.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = fs::read_to_string(path).unwrap();
                let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
                // each function header in one line
                sources.push(
                    source
                        .replace(">\n    ", "> ")
                        .replace("\n    for ", " for "),
                );
            }
        }
    }
    sources
}

/// Returns the Rust name after `prefix`. `pub const fn` counts as `pub fn`.
fn name_behind(line: &str, prefix: &str) -> Option<String> {
    let line = line.replacen("const fn", "fn", 1);
    let rest = line.strip_prefix(prefix)?;
    let is_end = |character: char| character != '_' && !character.is_alphanumeric();
    rest.split(is_end).next().map(str::to_owned)
}

/// Returns `(type, function)` for each public function, and for each method in a trait
/// implementation of a public type. The type is empty for a free function.
fn public_functions(sources: &[String]) -> BTreeSet<(String, String)> {
    let lines = || sources.iter().flat_map(|source| source.lines());
    let types: BTreeSet<_> = lines()
        .filter_map(|line| name_behind(line, "pub struct ").or(name_behind(line, "pub enum ")))
        .collect();
    let mut functions = BTreeSet::new();
    let mut owner = String::new();
    let mut function = "    pub fn ";
    for line in lines() {
        if let Some(header) = line
            .strip_prefix("impl")
            .filter(|_| !line.contains("defmt"))
        {
            let is_trait = header.contains(" for ");
            function = if is_trait { "    fn " } else { "    pub fn " };
            // `impl<A> Trait for Type<B> {` and `impl Type {`
            let named = header.split(" for ").last().unwrap();
            let named = match named.strip_prefix('<') {
                Some(parameters) => parameters.split_once("> ").unwrap().1,
                None => named.trim_start(),
            };
            owner = name_behind(named, "").unwrap();
        } else if let Some(name) = name_behind(line, "pub fn ") {
            functions.insert((String::new(), name));
        } else if let Some(name) = name_behind(line, function).filter(|_| types.contains(&owner)) {
            functions.insert((owner.clone(), name));
        }
    }
    functions
}

/// Returns the proof's name of a call: `Relay::handle_datagram` is `RelayHandleDatagram`.
fn call_name((owner, function): &(String, String)) -> String {
    let words = function.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    owner.clone() + &words.collect::<String>()
}

#[test]
fn the_proof_calls_each_public_function_and_nothing_that_is_gone() {
    let functions = public_functions(&sources());
    let (_, calls) = PROOF.split_once("enum Call {").unwrap();
    let (calls, _) = calls.split_once("#[cfg(feature = \"planted\")]").unwrap();
    let calls: BTreeSet<_> = calls
        .split(',')
        // a call may have an attribute
        .filter_map(|call| call.trim().lines().last())
        .map(|call| call.trim().to_owned())
        .collect();
    let expected: BTreeSet<_> = functions.iter().map(call_name).collect();
    let differing: Vec<_> = calls.symmetric_difference(&expected).collect();
    assert!(differing.is_empty(), "in one of them only: {differing:?}");

    for call @ (_, function) in &functions {
        let name = call_name(call);
        let (_, arm) = PROOF.split_once(&format!("Call::{name} =>")).unwrap();
        let arm = arm.split("Call::").next().unwrap();
        assert!(arm.contains(&format!("{function}(")), "{name} => {arm}");
    }
}

#[test]
fn a_new_function_would_be_missed() {
    let source = "
pub struct Seen;
struct Hidden;
impl<const N: usize> Seen {
    pub const fn call(self) {}
    pub(crate) fn not_this(self) {}
    fn nor_this(self) {}
}
impl<const N: usize> Iterator for Seen<N> {
    fn next(&mut self) {}
}
impl Display for Hidden {
    fn fmt(&self) {}
}
impl Hidden {
    pub fn secret() {}
}
pub fn free() {}
fn closed() {}";
    let found = public_functions(&[source.to_owned()]);
    let found: Vec<_> = found.iter().map(call_name).collect();
    assert_eq!(found, ["Free", "SeenCall", "SeenNext"]);
}
