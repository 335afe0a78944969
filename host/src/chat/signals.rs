//! Signals that end the program: the relay is told, and the terminal put back.

use std::sync::mpsc::Sender;

use super::conversation::Event;
use crate::Error;

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a terminal, which may go away.
    Terminal,
    /// In a pipe; `nohup` keeps its meaning.
    Pipe,
}

/// Reports the signals that ask a program to end.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(unix)]
pub(super) fn watch(sender: Sender<Event>, place: Place) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut watched = vec![SIGINT, SIGTERM];
    if place == Place::Terminal {
        watched.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(watched)
        .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(Event::Leave).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Reports the signals that ask a program to end.
///
/// # Errors
///
/// When they cannot be watched.
#[cfg(not(unix))]
pub(super) fn watch(sender: Sender<Event>, _place: Place) -> Result<(), Error> {
    ctrlc::set_handler(move || drop(sender.send(Event::Leave)))
        .map_err(|error| Error::Failure(format!("cannot watch for signals: {error}")))
}
