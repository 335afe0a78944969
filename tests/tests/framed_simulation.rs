//! Simulations of the framed dialect: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::print_stdout, reason = "a test")]

use std::time::Instant;

use kilochat_tests::{simulate_as_asked, simulate_framed};

/// Number of simulations in a plain `cargo test`.
const SEEDS: u64 = 2_000;

/// Minimum number of times that each case must occur in these simulations.
const AT_LEAST: u64 = 20;

#[test]
fn relay_and_clients_keep_their_guarantees() {
    let begun = Instant::now();
    let Some((seeds, counts)) = simulate_as_asked(SEEDS, simulate_framed) else {
        return;
    };
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{seeds} simulations, {} events, 0 violations, {took:.1} s",
        counts.events
    );
    for (what, count) in counts.iter() {
        println!("{count:>10} {what:?}");
    }
    let least = if seeds < SEEDS { 1 } else { AT_LEAST };
    let rare: Vec<_> = counts.iter().filter(|(_, count)| *count < least).collect();
    assert!(rare.is_empty(), "these cases occurred too seldom: {rare:?}");
}
