//! Simulations of the relay: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::print_stdout, reason = "a test")]

use kilochat_tests::{simulate, simulate_as_asked};

/// Number of simulations in a plain `cargo test`.
const SEEDS: u64 = 1_000;

/// Minimum number of events in each simulation.
const EVENTS: u64 = 150;

#[test]
fn the_relay_keeps_its_guarantees() {
    let asked = simulate_as_asked(SEEDS, |seed| {
        let seen = simulate(seed)?;
        assert!(seen.events >= EVENTS, "seed {seed}: {} events", seen.events);
        Ok(seen)
    });
    let Some((seeds, counts)) = asked else { return };
    println!("{seeds} simulations, {} events", counts.events);
    for (what, count) in counts.iter() {
        println!("{count:>10} {what:?}");
    }
    let unseen: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
    assert!(unseen.is_empty(), "these cases never occurred: {unseen:?}");
}
