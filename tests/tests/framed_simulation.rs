//! Simulations of the framed dialect: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

use kilochat_tests::{simulate_as_asked, simulate_framed};

#[test]
fn relay_and_clients_keep_their_guarantees() {
    simulate_as_asked(2_000, 20, simulate_framed);
}
