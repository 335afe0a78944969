//! What the simulators find in this program: in a copy with bugs, the one that is in effect.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::panic;
use std::process;
use std::sync::{Mutex, Once};
use std::thread;

use super::Simulator;
use crate::{fuzz, simulate, simulate_framed};

/// Time after which a simulation or a script, which take milliseconds, counts as a loop that does not end.
const ENDLESS: Duration = Duration::from_secs(60);

/// How many simulations and scripts were begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The watch over that.
static WATCHED: Once = Once::new();

/// Where the last panic was.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);

/// What a hunt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The simulation that the oracle objected to.
    pub seed: u64,
    /// What it said.
    pub said: String,
}

/// The first of so many simulations to which the oracle objects.
///
/// # Errors
///
/// Where the product, or the simulator, panicked.
pub fn hunt(simulator: Simulator, seeds: u64) -> Result<Option<Found>, String> {
    for seed in 0..seeds {
        let failure = quietly(|| match simulator {
            Simulator::Plain => simulate(seed).err(),
            Simulator::Framed => simulate_framed(seed).err(),
        })
        .map_err(|place| format!("seed {seed} panicked, {place}"))?;
        if let Some(failure) = failure {
            let said = failure.violation.0;
            return Ok(Some(Found { seed, said }));
        }
    }
    Ok(None)
}

/// Ends the process when nothing was begun for too long.
fn watch() {
    let mut before = None;
    while before != Some(BEGUN.load(Ordering::Relaxed)) {
        before = Some(BEGUN.load(Ordering::Relaxed));
        thread::sleep(ENDLESS);
    }
    eprintln!("a simulation does not end");
    process::exit(1);
}

/// Whether a judge objects to one of the scripts for the relay that fuzzers found interesting.
///
/// # Errors
///
/// Where the product panicked.
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

/// Runs it; a panic is not printed, but returned as its place and what it said. Ends the process if
/// it does not end.
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
