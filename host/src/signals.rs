//! Signals that end a client: after the first one it says goodbye, sums up, and puts the terminal
//! back; the second one ends it at once, whatever it waits for.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::Error;

/// Whether a signal has asked this program to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// Whether one has.
    #[cfg(unix)]
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks, and tells whether that was done before.
    fn ask(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a terminal, which may go away.
    Terminal,
    /// In a pipe; `nohup` keeps its meaning.
    Pipe,
}

/// Calls `leave` for the first signal that asks the program to end. The second one calls `restore`
/// and ends the program. Returns what the first one changes, for whoever may wait long.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(unix)]
pub(crate) fn watch(
    place: Place,
    leave: impl Fn() + Send + 'static,
    restore: impl Fn() + Send + 'static,
) -> Result<Leaving, Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut watched = vec![SIGINT, SIGTERM];
    if place == Place::Terminal {
        watched.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(watched)
        .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))?;
    let leaving = Leaving::default();
    let asked = leaving.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if asked.ask() {
                restore();
                // not by way of what is to be written yet: another thread may be stuck in that
                signal_hook::low_level::exit(128 + signal);
            }
            leave();
        }
    });
    Ok(leaving)
}

/// Calls `leave` for the first signal that asks the program to end. The second one calls `restore`
/// and ends the program. Returns what the first one changes, for whoever may wait long.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(not(unix))]
pub(crate) fn watch(
    _place: Place,
    leave: impl Fn() + Send + 'static,
    restore: impl Fn() + Send + 'static,
) -> Result<Leaving, Error> {
    let leaving = Leaving::default();
    let asked = leaving.clone();
    ctrlc::set_handler(move || {
        if asked.ask() {
            restore();
            std::process::exit(130);
        }
        leave();
    })
    .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))?;
    Ok(leaving)
}
