//! Hunts for violations in this program: in a copy with bugs, for the one that is in effect.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::panic;
use std::process;
use std::sync::{Mutex, Once};
use std::thread;

use super::Simulator;
use crate::{fuzz, simulate, simulate_framed, simulate_linked};

/// Time after which a simulation or a script, which takes milliseconds, counts as an endless loop.
const ENDLESS: Duration = Duration::from_secs(60);

/// Number of simulations and scripts that were begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Starts the watchdog for endless loops.
static WATCHED: Once = Once::new();

/// The message of the last panic.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);

/// The result of a hunt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The seed of the simulation in which the oracle found a violation.
    pub seed: u64,
    /// The violation.
    pub said: String,
}

/// Returns the first of `seeds` simulations in which the oracle finds a violation.
///
/// # Errors
///
/// If the product or the simulator panicked: where.
pub fn hunt(simulator: Simulator, seeds: u64) -> Result<Option<Found>, String> {
    for seed in 0..seeds {
        let failure = quietly(|| match simulator {
            Simulator::Plain => simulate(seed).err(),
            Simulator::Framed => simulate_framed(seed).err(),
            Simulator::Linked => simulate_linked(seed).err(),
        })
        .map_err(|place| format!("seed {seed} panicked, {place}"))?;
        if let Some(failure) = failure {
            let said = failure.violation.0;
            return Ok(Some(Found { seed, said }));
        }
    }
    Ok(None)
}

/// Ends the process if no simulation was begun for too long.
fn watch() {
    let mut before = None;
    while before != Some(BEGUN.load(Ordering::Relaxed)) {
        before = Some(BEGUN.load(Ordering::Relaxed));
        thread::sleep(ENDLESS);
    }
    eprintln!("a simulation does not end");
    process::exit(1);
}

/// Returns whether a script in the relay's corpus breaks a guarantee.
///
/// # Errors
///
/// If the product panicked: where.
pub fn hunt_in_corpus() -> Result<bool, String> {
    for script in fuzz::corpus("relay") {
        let script = fs::read(script).map_err(|error| error.to_string())?;
        if let Err(place) = quietly(|| fuzz::relay(&script)) {
            let is_judge = place.contains("tests/src/fuzz");
            return if is_judge { Ok(true) } else { Err(place) };
        }
    }
    Ok(false)
}

/// Calls `run`. A panic is not printed, but its message is returned. The process ends if the call
/// does not return.
fn quietly<T>(run: impl FnOnce() -> T + panic::UnwindSafe) -> Result<T, String> {
    WATCHED.call_once(|| drop(thread::spawn(watch)));
    BEGUN.fetch_add(1, Ordering::Relaxed);
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        *PANICKED.lock().unwrap() = Some(info.to_string());
    }));
    let outcome = panic::catch_unwind(run);
    panic::set_hook(before);
    outcome.map_err(|_| PANICKED.lock().unwrap().take().unwrap_or_default())
}
