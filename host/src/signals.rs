//! The signals that end a client. After the first one it leaves the room, prints a summary, and
//! restores the terminal. The second one ends it at once, even if a thread is blocked.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::Error;

/// Whether a signal has requested that the program ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// Returns whether a signal was received.
    #[cfg(unix)]
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Records a signal. Returns whether it is not the first one.
    fn ask(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a terminal, which may be closed: SIGHUP ends the program.
    Terminal,
    /// In a pipe. SIGHUP is not handled, so that `nohup` works.
    Pipe,
}

/// Calls `leave` on the first signal that requests the end. The second one calls `restore` and ends
/// the program. Returns the flag that the first one sets, for threads that may block.
///
/// # Errors
///
/// If the system does not let signals be watched.
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
                // without flushing output: another thread may be blocked in a write
                signal_hook::low_level::exit(128 + signal);
            }
            leave();
        }
    });
    Ok(leaving)
}

/// Calls `leave` on the first signal that requests the end. The second one calls `restore` and ends
/// the program. Returns the flag that the first one sets, for threads that may block.
///
/// # Errors
///
/// If the system does not let signals be watched.
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
