//! The relay's own terminal: typed lines are said as `host`, or are orders.
//!
//! A terminal may block, but the relay's thread must not. So one thread reads and another writes.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::stopper::Stopper;
use crate::Error;

/// Maximum number of typed lines that wait for the relay, and of answers that wait to be shown.
const QUEUE: usize = 16;

/// An answer to an order, cut to this length.
pub(super) type Answer = heapless::String<256>;

/// The relay's end of both queues.
#[derive(Debug)]
pub(super) struct Console {
    typed: Receiver<String>,
    answers: SyncSender<Answer>,
}

/// Returns whether a person can type at this relay and read the answers.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Console {
    /// Starts to read what is typed, and wakes the relay with each line.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub(super) fn start(relay: Stopper) -> Result<Self, Error> {
        let (lines, typed) = sync_channel(QUEUE);
        let (answers, to_show) = sync_channel::<Answer>(QUEUE);
        let read = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
                relay.wake();
            }
        };
        let show = move || {
            for answer in to_show {
                // an error is ignored, because the terminal may be closed
                let _ = writeln!(io::stdout(), "{answer}");
            }
        };
        let failed = |error| Error::Failure(format!("cannot start a thread: {error}"));
        let thread = |name: &str| thread::Builder::new().name(name.into());
        thread("console").spawn(read).map_err(failed)?;
        thread("answers").spawn(show).map_err(failed)?;
        Ok(Self { typed, answers })
    }

    /// Returns the next line that was typed.
    pub(super) fn next(&self) -> Option<String> {
        self.typed.try_recv().ok()
    }

    /// Shows an answer. It is dropped if too many answers wait.
    pub(super) fn show(&self, answer: &[u8]) {
        let mut shown = Answer::new();
        for character in String::from_utf8_lossy(answer).chars() {
            if shown.push(character).is_err() {
                break;
            }
        }
        let _ = self.answers.try_send(shown);
    }
}
