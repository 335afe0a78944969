//! Simulations of the relay: `SEEDS=100000` runs more of them, `SEED=123` runs one alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use kilochat_tests::{Counts, Failure, simulate};

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
    let next = AtomicU64::new(0);
    let total = Mutex::new(Counts::new());
    let failure = Mutex::new(None::<Box<Failure>>);
    let work = || {
        let mut counts = Counts::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            match simulate(seed) {
                Ok(seen) => {
                    assert!(seen.events >= EVENTS, "seed {seed}: {} events", seen.events);
                    counts.add(&seen);
                }
                Err(found) => {
                    next.store(seeds, Ordering::Relaxed);
                    failure.lock().unwrap().get_or_insert(found);
                }
            }
        }
        total.lock().unwrap().add(&counts);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if let Some(failure) = failure.into_inner().unwrap() {
        report(&failure);
    }
    let counts = total.into_inner().unwrap();
    println!("{seeds} simulations, {} events", counts.events);
    for (what, count) in counts.iter() {
        println!("{count:>10} {what:?}");
    }
    let unseen: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
    assert!(unseen.is_empty(), "never happened: {unseen:?}");
}
