//! What waits for the thread that owns the terminal: nobody who puts something in waits for it.

use core::mem::take;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use jiff::Zoned;

use super::output::Shown;
use crate::chat::event::Event;

/// The most lines that wait while the terminal takes nothing; then the oldest are left out.
const LINES_MAX: usize = 1000;

/// The most lines that are taken at once, so that keys are handled between them.
const LINES_AT_ONCE: usize = 100;

/// More bytes of input than this stay in the terminal.
const BYTES_MAX: usize = 64 << 10;

/// Lines to print, bytes that were typed, and what else happened.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    news: News,
    /// Where to say that it is time to leave, once somebody talks.
    leave: Option<Sender<Event>>,
    /// Whether the thread that owns the terminal has finished.
    is_finished: bool,
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Lines to print, and when they came.
    pub(super) lines: VecDeque<(Shown, Zoned)>,
    /// How many lines before them are left out.
    pub(super) left_out: usize,
    /// What was typed.
    pub(super) bytes: Vec<u8>,
    /// The terminal has perhaps another size.
    pub(super) is_resized: bool,
    /// The program was stopped, and goes on.
    pub(super) is_continued: bool,
    /// The terminal cannot be read any more, for this reason if it did not just go away.
    pub(super) closed: Option<Option<String>>,
    /// It is time to leave, and nobody talks yet.
    pub(super) is_leaving: bool,
    /// Nothing more will come.
    pub(super) is_over: bool,
}

impl News {
    pub(super) fn is_some(&self) -> bool {
        !self.lines.is_empty()
            || !self.bytes.is_empty()
            || self.is_resized
            || self.is_continued
            || self.closed.is_some()
            || self.is_leaving
            || self.is_over
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: impl FnOnce(&mut News)) {
        what(&mut self.lock().news);
        self.changed.notify_all();
    }

    /// Adds lines to print, and leaves out the oldest if there are too many.
    pub(super) fn put_lines(&self, lines: impl Iterator<Item = Shown>) {
        let now = Zoned::now();
        self.tell(|news| {
            news.lines.extend(lines.map(|line| (line, now.clone())));
            let surplus = news.lines.len().saturating_sub(LINES_MAX);
            news.lines.drain(..surplus);
            news.left_out += surplus;
        });
    }

    /// Adds what was typed; waits while there is too much of it.
    pub(super) fn put_bytes(&self, bytes: &[u8]) {
        let state = self.lock();
        let mut state = self
            .changed
            .wait_while(state, |state| state.news.bytes.len() > BYTES_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        state.news.bytes.extend_from_slice(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// The terminal may have another size.
    pub(super) fn resize(&self) {
        self.tell(|news| news.is_resized = true);
    }

    /// The program goes on after it was stopped.
    #[cfg(unix)]
    pub(super) fn go_on(&self) {
        self.tell(|news| news.is_continued = true);
    }

    /// The terminal cannot be read any more.
    pub(super) fn close(&self, why: Option<String>) {
        self.tell(|news| news.closed = Some(why));
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.tell(|news| news.is_over = true);
    }

    /// Somebody talks now, and has to be told when it is time to leave.
    pub(super) fn set_leave(&self, leave: Sender<Event>) {
        self.lock().leave = Some(leave);
    }

    /// It is time to leave.
    pub(super) fn leave(&self) {
        let leave = self.lock().leave.clone();
        if let Some(leave) = leave {
            // whoever talks may have left
            let _ = leave.send(Event::Leave);
        } else {
            self.tell(|news| news.is_leaving = true);
        }
    }

    /// Waits until something happens, or for so long, and takes it; the whole time if the screen
    /// `is_held`.
    pub(super) fn take(&self, timeout: Option<Duration>, is_held: bool) -> News {
        let state = self.lock();
        let timeout = timeout.unwrap_or(Duration::from_secs(3600));
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| is_held || !state.news.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        let mut taken = take(&mut state.news);
        let rest = taken.lines.split_off(taken.lines.len().min(LINES_AT_ONCE));
        if !rest.is_empty() {
            state.news.lines = rest;
            state.news.is_over = take(&mut taken.is_over);
        }
        drop(state);
        self.changed.notify_all();
        taken
    }

    /// Forgets that the program was continued.
    #[cfg(unix)]
    pub(super) fn forget_continued(&self) {
        self.lock().news.is_continued = false;
    }

    /// Waits until the program was continued, or for so long.
    #[cfg(unix)]
    pub(super) fn wait_continued(&self, timeout: Duration) {
        let state = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.news.is_continued);
    }

    /// The thread that owns the terminal has finished.
    pub(super) fn finish(&self) {
        self.lock().is_finished = true;
        self.changed.notify_all();
    }

    /// Waits for that thread, or for so long; returns whether it has finished.
    pub(super) fn wait_finished(&self, timeout: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.is_finished)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_terminal_that_takes_nothing_and_what_is_left_out_is_counted() {
        let inbox = Inbox::default();
        for number in 0..LINES_MAX + 7 {
            inbox.put_lines([Shown::status(number.to_string())].into_iter());
        }
        inbox.end();
        let first = inbox.take(None, false);
        assert_eq!(first.left_out, 7);
        assert_eq!(first.lines[0].0.text, "7");
        assert!(!first.is_over);
        let mut lines = first.lines.len();
        loop {
            let news = inbox.take(None, false);
            assert_eq!(news.left_out, 0);
            lines += news.lines.len();
            if news.is_over {
                break;
            }
        }
        assert_eq!(lines, LINES_MAX);
    }
}
