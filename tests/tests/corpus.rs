//! Runs the scripts that fuzzers have found: see `fuzz/README.md`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use kilochat_tests::fuzz::{TARGETS, Target, corpus};

/// Minimum number of scripts for each target: a folder with fewer is the wrong one.
const LEAST: usize = 50;

/// Maximum size of all corpora together in bytes, because this is a repository of source code.
const MOST_BYTES: u64 = 1 << 20;

/// Returns whether a script breaks no guarantee.
fn is_kept(target: Target, path: &Path) -> bool {
    let script = fs::read(path).unwrap();
    catch_unwind(|| target(&script)).is_ok()
}

#[test]
fn every_script_of_every_corpus_keeps_the_promises() {
    for (name, target) in TARGETS {
        let scripts = corpus(name);
        assert!(scripts.len() >= LEAST, "{} of {name}", scripts.len());
        for path in scripts {
            assert!(is_kept(target, &path), "{}", path.display());
        }
    }
}

#[test]
fn there_is_a_target_and_a_small_corpus_for_each_function() {
    let mut bytes = 0;
    for (name, _) in TARGETS {
        let program = format!("fuzz/fuzz_targets/{name}.rs");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
        let program = fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("fuzz::{name}(")), "{program}");
        let sizes = corpus(name)
            .into_iter()
            .map(|path| path.metadata().unwrap().len());
        bytes += sizes.sum::<u64>();
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}
