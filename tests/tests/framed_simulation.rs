//! Simulations of the framed dialect: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::time::Instant;

use kilochat_tests::{Failure, simulate_framed, simulate_many};

/// Simulations of a plain `cargo test`.
const SEEDS: u64 = 2_000;

/// Each thing has to happen so often in that many.
const AT_LEAST: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn report(failure: &Failure) -> ! {
    panic!("the oracle says no\n{failure}");
}

#[test]
fn relay_and_clients_keep_their_guarantees() {
    if let Some(seed) = number("SEED") {
        simulate_framed(seed).unwrap_or_else(|failure| report(&failure));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let begun = Instant::now();
    let counts = simulate_many(seeds, simulate_framed).unwrap_or_else(|failure| report(&failure));
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
    assert!(rare.is_empty(), "happened too seldom: {rare:?}");
}
