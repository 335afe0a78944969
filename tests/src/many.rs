//! Many simulations on all processors.

use core::fmt::Debug;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use crate::counts::{Case, Counts};
use crate::sim::Failure;

/// Returns the number in an environment variable, such as `SEED` or `SEEDS`.
///
/// # Panics
///
/// If it is not a number.
pub fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is {value:?}, and not a number")))
}

/// Runs the simulation of the seed `SEED`. Without `SEED`, runs the simulations of all seeds below
/// `SEEDS`, by default `seeds`, and prints how often each case occurred.
///
/// # Panics
///
/// If the oracle finds a violation; or if a case occurred less than `least` times in `seeds` simulations,
/// or never in fewer of them.
#[expect(clippy::print_stdout, reason = "what the caller wants to see")]
pub fn simulate_as_asked<T: Case + Debug + Send>(
    seeds: u64,
    least: u64,
    simulate: fn(u64) -> Simulated<T>,
) {
    let said_no = |failure| panic!("the oracle says no\n{failure}");
    if let Some(seed) = number("SEED") {
        simulate(seed).unwrap_or_else(said_no);
        return;
    }
    let (asked, begun) = (number("SEEDS").unwrap_or(seeds), Instant::now());
    let counts = simulate_many(asked, simulate).unwrap_or_else(said_no);
    println!(
        "{asked} simulations, {} events, 0 violations, {:.1} s",
        counts.events,
        begun.elapsed().as_secs_f64()
    );
    for (what, count) in counts.iter() {
        println!("{count:>10} {what:?}");
    }
    let least = if asked < seeds { 1 } else { least };
    let rare: Vec<_> = counts.iter().filter(|(_, count)| *count < least).collect();
    assert!(rare.is_empty(), "these cases occurred too seldom: {rare:?}");
}

/// The coverage of one simulation, or its failure.
type Simulated<T> = Result<Counts<T>, Box<Failure>>;

/// Runs the simulations of all seeds below `seeds`. Returns their coverage.
///
/// # Errors
///
/// If a simulation fails. Those that have not begun by then are not run.
pub fn simulate_many<T: Case + Send>(
    seeds: u64,
    simulate: fn(u64) -> Simulated<T>,
) -> Simulated<T> {
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
                Ok(seen) => counts.add(&seen),
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
    match failure.into_inner().unwrap() {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().unwrap()),
    }
}
