//! Signals. The first that ends a program, SIGHUP included, stops the relay after its farewell, the
//! second at once; SIGUSR1 requests statistics.

use super::stopper::Stopper;
use crate::Error;

/// Directs the signals of this process to a relay. `web` is requested for statistics, too.
///
/// # Errors
///
/// If the system does not allow signal handlers.
#[cfg(unix)]
pub(crate) fn handle(stopper: Stopper, web: Option<Stopper>) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

    let failed = |error| Error::Failure(format!("cannot handle signals: {error}"));
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1]).map_err(failed)?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP).map_err(failed)?;
    }
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                stopper.report();
                web.iter().for_each(Stopper::report);
            } else if signal == SIGHUP && super::systemd::is_manager() {
                // a service has no terminal that could hang up
            } else if stopper.stop() {
                std::process::exit(128 + signal);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(failed)?;
    Ok(())
}

/// Returns whether the parent process has set a signal to be ignored, as nohup(1) does. Known on
/// Linux only.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Directs Ctrl-C and similar events to a relay.
///
/// # Errors
///
/// If the system does not allow handlers for them.
#[cfg(not(unix))]
pub(crate) fn handle(stopper: Stopper, _web: Option<Stopper>) -> Result<(), Error> {
    let interrupted = move || {
        if stopper.stop() {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(interrupted)
        .map_err(|error| Error::Failure(format!("cannot handle Ctrl-C: {error}")))
}
