//! Signals that end a client: it says goodbye, sums up, and puts the terminal back.

use crate::Error;

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a terminal, which may go away.
    Terminal,
    /// In a pipe; `nohup` keeps its meaning.
    Pipe,
}

/// Calls `leave` for each signal that asks a program to end, until it returns false.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(unix)]
pub(crate) fn watch(
    place: Place,
    mut leave: impl FnMut() -> bool + Send + 'static,
) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut watched = vec![SIGINT, SIGTERM];
    if place == Place::Terminal {
        watched.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(watched)
        .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if !leave() {
                return;
            }
        }
    });
    Ok(())
}

/// Calls `leave` for each signal that asks a program to end.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(not(unix))]
pub(crate) fn watch(
    _place: Place,
    mut leave: impl FnMut() -> bool + Send + 'static,
) -> Result<(), Error> {
    ctrlc::set_handler(move || {
        leave();
    })
    .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))
}
