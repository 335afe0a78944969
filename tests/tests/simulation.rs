//! Simulations of the relay: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

use kilochat_tests::{simulate, simulate_as_asked};

/// Minimum number of events in each simulation.
const EVENTS: u64 = 150;

#[test]
fn the_relay_keeps_its_guarantees() {
    simulate_as_asked(1_000, 1, |seed| {
        let seen = simulate(seed)?;
        assert!(seen.events >= EVENTS, "seed {seed}: {} events", seen.events);
        Ok(seen)
    });
}
