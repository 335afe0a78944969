//! Signals: the first to end says goodbye, the second ends at once; SIGUSR1 asks for statistics.

use super::driver::Stopper;
use crate::Error;

/// Hands the signals of this process to a relay from now on.
///
/// # Errors
///
/// When the system does not let signals be handled.
#[cfg(unix)]
pub(super) fn handle(stopper: Stopper) -> Result<(), Error> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

    let failed = |error| Error::Failure(format!("cannot handle signals: {error}"));
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1]).map_err(failed)?;
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                stopper.report();
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

/// Hands Ctrl-C and its kin to a relay from now on.
///
/// # Errors
///
/// When the system does not let them be handled.
#[cfg(not(unix))]
pub(super) fn handle(stopper: Stopper) -> Result<(), Error> {
    let interrupted = move || {
        if stopper.stop() {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(interrupted)
        .map_err(|error| Error::Failure(format!("cannot handle Ctrl-C: {error}")))
}
