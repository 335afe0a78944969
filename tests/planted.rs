//! The oracle finds each of the bugs that the core lets a test plant.

#![allow(clippy::print_stdout, reason = "a test")]

use kilochat_core::{Bug, plant};
use kilochat_tests::simulate;

/// Simulations, of seed 0 and on, after which a bug counts as not found.
const SEEDS: u64 = 2_000;

// one test: a bug is planted in the whole program
#[test]
fn the_oracle_finds_every_planted_bug() {
    let mut missed = Vec::new();
    println!("{:<18} {:>5}  what the oracle said", "bug", "seed");
    for bug in Bug::ALL {
        plant(Some(bug));
        let Some(failure) = (0..SEEDS).find_map(|seed| simulate(seed).err()) else {
            missed.push(bug);
            continue;
        };
        let said: String = failure.violation.0.chars().take(100).collect();
        println!("{:<18} {:>5}  {said}", format!("{bug:?}"), failure.seed);
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(simulate(0).is_ok(), "a bug is left");
}
