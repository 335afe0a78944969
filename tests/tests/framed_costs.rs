//! The cost of acknowledgements and the latency of lines: the real relay and real clients in
//! virtual time, so that the numbers are the same on each machine.
//!
//! `RUNS=40 cargo test --release -p kilochat-tests --test framed_costs -- --nocapture` makes more
//! measurements.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use kilochat_tests::{Measured, measure_paste, measure_talk, number};

/// Messages in each run, two a second, to eight receivers. The round-trip time is 100 ms.
const MESSAGES: u64 = 200;

/// Number of lines that are pasted.
const PASTE: u64 = 200;

/// Percentages of datagrams that are lost, duplicated and reordered.
type Quality = (u32, u32, u32);

const PERFECT: Quality = (0, 0, 0);
const BAD: Quality = (20, 5, 20);

/// Selects times in milliseconds, sorted.
type Times = fn(&Measured) -> &[u64];

/// Returns the number of runs of each measurement.
fn runs() -> u64 {
    number("RUNS").unwrap_or(4)
}

fn talk(quality: Quality, is_spared: bool) -> Vec<Measured> {
    let runs = (0..runs()).map(|seed| measure_talk(seed, MESSAGES, quality, is_spared).unwrap());
    runs.collect()
}

/// Returns the median, the 99th percentile and the maximum.
fn quantiles(mut all: Vec<u64>) -> [u64; 3] {
    all.sort_unstable();
    let last = all.len() - 1;
    [last / 2, last * 99 / 100, last].map(|at| all[at])
}

/// Prints, and returns, how often lines were sent and the quantiles of their times.
fn told(quality: Quality, runs: &[Measured], times: Times) -> (f64, [u64; 3]) {
    let (lost, doubled, reordered) = quality;
    let sends = runs.iter().map(|run| run.sends).sum::<f64>() / runs.len() as f64;
    let all = quantiles(runs.iter().flat_map(times).copied().collect());
    let [p50, p99, most] = all;
    println!(
        "{lost:>3}% lost, {doubled}% doubled, {reordered:>2}% reordered: p50 {p50} ms, p99 {p99} ms, \
         max {most} ms; {sends:.2} sends per message and receiver"
    );
    (sends, all)
}

#[test]
fn a_network_that_loses_nothing_costs_nothing() {
    let runs = talk(PERFECT, false);
    let (sends, [_, _, most]) = told(PERFECT, &runs, |run| &run.from_relay);
    assert!((0.999..1.001).contains(&sends), "{sends}");
    assert!(most < 60, "{most} ms");
    for run in &runs {
        assert_eq!(run.messages, MESSAGES);
        // one for each line, and a few for the join
        assert!(run.acks < MESSAGES + 10, "{}", run.acks);
    }
}

#[test]
fn a_network_that_loses_a_fifth_costs_few_repetitions_and_little_time() {
    println!("from relay to receiver, the author's way to the relay being perfect:");
    for quality in [(5, 5, 20), BAD, (40, 5, 20)] {
        let (sends, [half, most, _]) = told(quality, &talk(quality, true), |run| &run.from_relay);
        assert!(quality != BAD || sends < 1.45 && half <= 60 && most < 1500);
    }
    println!("from author to receiver, the author's way being no better:");
    for quality in [(5, 5, 20), BAD, (40, 5, 20)] {
        let (_, [half, most, _]) = told(quality, &talk(quality, false), |run| &run.from_author);
        assert!(quality != BAD || half < 400 && most < 4000);
    }
}

#[test]
fn a_paste_of_two_hundred_lines_is_said_in_three_seconds() {
    for lost in [0, 20] {
        let runs = (0..runs()).map(|seed| measure_paste(seed, PASTE, lost).unwrap());
        let runs: Vec<Measured> = runs.collect();
        let last = |times: Times| {
            let last = runs.iter().map(|run| *times(run).last().unwrap());
            quantiles(last.collect())
        };
        let shown = last(|run| &run.from_author);
        let answered = last(|run| &run.answered);
        println!(
            "{lost:>3}% lost, p50, p99, max: shown by all {shown:?} ms; its author knows {answered:?} ms"
        );
        assert!(lost > 0 || shown[2] < 3000);
    }
}
