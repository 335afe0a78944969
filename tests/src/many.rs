//! Many simulations on all processors.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

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

/// Runs the simulation of the seed `SEED` and returns `None`. Without `SEED`, runs the simulations
/// of all seeds below `SEEDS`, by default `seeds`, and returns their number and coverage.
///
/// # Panics
///
/// If the oracle finds a violation.
pub fn simulate_as_asked<T: Case + Send>(
    seeds: u64,
    simulate: fn(u64) -> Simulated<T>,
) -> Option<(u64, Counts<T>)> {
    let (seeds, simulated) = match number("SEED") {
        Some(seed) => (None, simulate(seed)),
        None => {
            let seeds = number("SEEDS").unwrap_or(seeds);
            (Some(seeds), simulate_many(seeds, simulate))
        }
    };
    match simulated {
        Ok(counts) => Some((seeds?, counts)),
        Err(failure) => panic!("the oracle says no\n{failure}"),
    }
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
