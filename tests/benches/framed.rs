//! What acknowledgements cost and how long lines take: `cargo bench -p kilochat-tests --bench framed`.
//!
//! The real relay and real clients in virtual time, so that the numbers are the same everywhere.
#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]

use kilochat_tests::{Measured, Violation, measure_paste, measure_talk};

/// Runs, and messages in each.
const RUNS: u64 = 40;
const MESSAGES: u64 = 200;

/// Lines that are pasted.
const PASTE: u64 = 200;

fn main() -> Result<(), Violation> {
    println!("8 receivers, 2 messages/s, 100 ms round trip; {RUNS} runs of {MESSAGES} messages");
    println!("seconds from relay to receiver, the author's way to the relay being perfect:");
    talk(true, |run| &run.from_relay)?;
    println!("seconds from author to receiver, the author's way being no better:");
    talk(false, |run| &run.from_author)?;
    println!("seconds until a paste of {PASTE} short lines is there, {RUNS} runs:");
    for lost in [0, 20] {
        let runs = (0..RUNS).map(|seed| measure_paste(seed, PASTE, lost));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let last = |times: fn(&Measured) -> &[u64]| {
            let last = runs.iter().filter_map(|run| times(run).last().copied());
            quantiles(last.collect())
        };
        let shown = last(|run| &run.from_author);
        let told = last(|run| &run.answered);
        println!("{lost:>3}% lost: {shown} shown by all; {told} its author knows");
    }
    Ok(())
}

/// Prints what is sent and how long it takes at several qualities of the network.
fn talk(is_spared: bool, times: fn(&Measured) -> &[u64]) -> Result<(), Violation> {
    for quality @ (lost, doubled, reordered) in [(0, 0, 0), (5, 5, 20), (20, 5, 20), (40, 5, 20)] {
        let runs = (0..RUNS).map(|seed| measure_talk(seed, MESSAGES, quality, is_spared));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let sends = runs.iter().map(|run| run.sends).sum::<f64>() / runs.len() as f64;
        let all = runs.iter().flat_map(|run| times(run).iter().copied());
        let all = quantiles(all.collect());
        println!(
            "{lost:>3}% lost, {doubled}% doubled, {reordered:>2}% reordered: {all}; \
             {sends:.2} sends per message and receiver"
        );
    }
    Ok(())
}

/// Median, 99th percentile and most of so many milliseconds, in seconds.
fn quantiles(mut all: Vec<u64>) -> String {
    all.sort_unstable();
    let last = all.len().saturating_sub(1);
    let [p50, p99, most] = [last / 2, last * 99 / 100, last]
        .map(|at| all.get(at).map_or(f64::NAN, |ms| *ms as f64 / 1000.0));
    format!("p50 {p50:.2} p99 {p99:.2} max {most:.2}")
}
