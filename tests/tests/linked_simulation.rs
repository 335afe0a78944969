//! Simulations of linked relays: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

use kilochat_tests::{simulate_as_asked, simulate_linked};

// [K1] [K2] [K5] [K6]
#[test]
fn linked_relays_keep_their_guarantees() {
    simulate_as_asked(1_000, 1, simulate_linked);
}
