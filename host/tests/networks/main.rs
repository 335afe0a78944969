//! The relay on real networks of which parts break: links that block, neighbours that are gone,
//! adapters and addresses that come and go.
//!
//! `cargo bench -p kilochat --bench networks` prints the measurements of which these tests check a
//! part.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

mod machine;
mod neighbours;

use std::sync::{Mutex, PoisonError};

use kilochat_tests::namespace::is_in_namespace;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Runs this test again in a network namespace, while no other test of this program measures; false
/// outside of it.
fn is_alone_in_namespace(test: &str) -> bool {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    is_in_namespace(test)
}
