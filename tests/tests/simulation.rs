//! Simulations of the relay: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use kilochat_tests::{Failure, simulate, simulate_many};

/// Simulations of a plain `cargo test`.
const SEEDS: u64 = 1_000;

/// Every simulation has at least so many events.
const EVENTS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn report(failure: &Failure) -> ! {
    panic!("the oracle says no\n{failure}");
}

#[test]
fn the_relay_keeps_its_guarantees() {
    if let Some(seed) = number("SEED") {
        simulate(seed).unwrap_or_else(|failure| report(&failure));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let counts = simulate_many(seeds, |seed| {
        let seen = simulate(seed)?;
        assert!(seen.events >= EVENTS, "seed {seed}: {} events", seen.events);
        Ok(seen)
    })
    .unwrap_or_else(|failure| report(&failure));
    println!("{seeds} simulations, {} events", counts.events);
    for (what, count) in counts.iter() {
        println!("{count:>10} {what:?}");
    }
    let unseen: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
    assert!(unseen.is_empty(), "never happened: {unseen:?}");
}
