//! The oracles find each of the bugs that the core lets a test plant.

#![allow(clippy::print_stdout, reason = "a test")]

use kilochat_core::{Bug, plant};
use kilochat_tests::{Failure, simulate, simulate_framed};

/// Simulations, of seed 0 and on, after which a bug counts as not found.
const SEEDS: u64 = 2_000;

/// The first one that fails.
fn first_failure(is_framed: bool) -> Option<Box<Failure>> {
    (0..SEEDS).find_map(|seed| {
        if is_framed {
            simulate_framed(seed).err()
        } else {
            simulate(seed).err()
        }
    })
}

// one test: a bug is planted in the whole program
#[test]
fn the_oracles_find_every_planted_bug() {
    let mut missed = Vec::new();
    println!("{:<20} {:>5}  what the oracle said", "bug", "seed");
    for bug in Bug::ALL {
        plant(Some(bug));
        let Some(failure) = first_failure(bug.is_framed()) else {
            missed.push(bug);
            continue;
        };
        let said: String = failure.violation.0.chars().take(100).collect();
        println!("{:<20} {:>5}  {said}", format!("{bug:?}"), failure.seed);
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(simulate(0).is_ok(), "a bug is left");
    assert!(simulate_framed(0).is_ok(), "a bug is left");
}
