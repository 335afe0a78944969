//! What the page costs, and what is accepted: `cargo bench -p kilochat --bench web` prints a table
//! with a ratio for each figure, and fails if one is over 1. The pages are the core's clients over
//! WebSockets, except in the rows of a browser: these need chromium, node and its packages.
//! `tests/check.sh browser` tests the page in real browsers.
#![cfg_attr(not(target_os = "linux"), allow(unused))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

#[cfg(target_os = "linux")]
#[path = "../../tests/web/page.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod page;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod rooms;
mod table;

#[cfg(target_os = "linux")]
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("needs Linux, for the processor time of a program");
}

#[cfg(target_os = "linux")]
fn main() {
    // `cargo test --benches` only checks that it starts
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut table = table::Table::default();
    rooms::measure(&mut table);
    program::measure(&mut table);
    table.print();
    assert!(table.is_accepted(), "a figure is over its limit");
}
