//! The relay on real networks, parts of which fail: links that block, neighbours that vanish,
//! interfaces and addresses that disappear and return.
//!
//! `cargo bench -p kilochat --bench networks` prints the measurements, of which these tests check a
//! part.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

mod addresses;
mod attacks;
mod machine;
mod neighbours;

use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kilochat_tests::lab::{Reader, Speaker};
use kilochat_tests::namespace::is_in_namespace;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Runs this test again in a network namespace, while no other test of this program measures.
/// Returns `false` outside of the namespace.
fn is_alone_in_namespace(test: &str) -> bool {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    is_in_namespace(test)
}

/// Says lines until all readers have received one of them, which must happen within `patience`.
pub(crate) fn talk(speaker: &mut Speaker, readers: &[Reader], patience: Duration) {
    let first = speaker.said.len();
    let begun = Instant::now();
    let is_deaf = |reader: &&Reader| !reader.has(first);
    while readers.iter().any(|reader| is_deaf(&reader)) {
        speaker.say();
        std::thread::sleep(Duration::from_millis(100));
        let deaf = readers.iter().filter(is_deaf);
        assert!(
            begun.elapsed() < patience,
            "after {patience:?} no line arrived at {:?}",
            deaf.map(|reader| reader.dialect).collect::<Vec<_>>()
        );
    }
    println!("all heard something after {:?}", begun.elapsed());
}
