//! Many simulations on all cores.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::counts::{Case, Counts};
use crate::sim::Failure;

/// What one simulation saw, or what was wrong.
type Simulated<T> = Result<Counts<T>, Box<Failure>>;

/// Runs the simulations of all seeds below `seeds` and returns what they saw.
///
/// # Errors
///
/// One of them failed; seeds that had not begun then were not tried.
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
