//! Simulations of linked relays: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::print_stdout, reason = "a test")]

use std::time::Instant;

use kilochat_tests::{simulate_as_asked, simulate_linked};

/// Number of simulations in a plain `cargo test`.
const SEEDS: u64 = 1_000;

// [K1] [K2] [K5] [K6]
#[test]
fn linked_relays_keep_their_guarantees() {
    let begun = Instant::now();
    let Some((seeds, counts)) = simulate_as_asked(SEEDS, simulate_linked) else {
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
    let unseen: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
    assert!(unseen.is_empty(), "these cases never occurred: {unseen:?}");
}
