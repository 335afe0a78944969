//! The inbox of the thread that owns the terminal. A terminal that accepts no output does not block
//! the threads that add lines.

use core::mem::take;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use jiff::Zoned;

use super::output::Shown;
use crate::chat::conversation::Standing;
use crate::chat::event::Event;

/// Maximum number of lines in the inbox. When it is full, the oldest are left out.
const LINES_MAX: usize = 1000;

/// Maximum number of lines that are taken at once, so that keys are handled between them.
const LINES_AT_ONCE: usize = 100;

/// Maximum number of input bytes in the inbox before the reader of the terminal waits.
const BYTES_MAX: usize = 64 << 10;

/// Lines to print, bytes that were typed, and other events.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    updates: Updates,
    /// The conversation that must be told to leave. `None` before it starts.
    leave: Option<Sender<Event>>,
    /// Whether the thread that owns the terminal has finished.
    is_finished: bool,
}

/// The events since the last call of [`Inbox::take`].
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// Lines to print, and when they arrived.
    pub(super) lines: VecDeque<(Shown, Zoned)>,
    /// Number of lines that were left out before them.
    pub(super) left_out: usize,
    /// Bytes that were typed.
    pub(super) bytes: Vec<u8>,
    /// The terminal may have a new size.
    pub(super) is_resized: bool,
    /// The program must be suspended, because a signal says so.
    pub(super) is_suspended: bool,
    /// The program was continued after a suspension.
    pub(super) is_continued: bool,
    /// The new state of the connection.
    pub(super) standing: Option<Standing>,
    /// The terminal cannot be read any more. The reason is `None` if the terminal has gone.
    pub(super) closed: Option<Option<String>>,
    /// The program must end, and there is no conversation yet.
    pub(super) is_leaving: bool,
    /// The conversation has ended.
    pub(super) is_over: bool,
}

impl Updates {
    pub(super) fn is_some(&self) -> bool {
        !self.lines.is_empty()
            || !self.bytes.is_empty()
            || self.is_resized
            || self.is_suspended
            || self.is_continued
            || self.standing.is_some()
            || self.closed.is_some()
            || self.is_leaving
            || self.is_over
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, what: impl FnOnce(&mut Updates)) {
        what(&mut self.lock().updates);
        self.changed.notify_all();
    }

    /// Adds lines to print. Leaves out the oldest ones if there are too many.
    pub(super) fn put_lines(&self, lines: impl Iterator<Item = Shown>) {
        let now = Zoned::now();
        self.update(|updates| {
            updates.lines.extend(lines.map(|line| (line, now.clone())));
            let surplus = updates.lines.len().saturating_sub(LINES_MAX);
            updates.lines.drain(..surplus);
            updates.left_out += surplus;
        });
    }

    /// Adds bytes that were typed. Blocks while there are too many.
    pub(super) fn put_bytes(&self, bytes: &[u8]) {
        let state = self.lock();
        let mut state = self
            .changed
            .wait_while(state, |state| state.updates.bytes.len() > BYTES_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        state.updates.bytes.extend_from_slice(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// Reports that the terminal may have a new size.
    pub(super) fn resize(&self) {
        self.update(|updates| updates.is_resized = true);
    }

    /// Reports the state of the connection.
    pub(super) fn set_standing(&self, standing: Standing) {
        self.update(|updates| updates.standing = Some(standing));
    }

    /// Reports that the program must be suspended.
    #[cfg(unix)]
    pub(super) fn suspend(&self) {
        self.update(|updates| updates.is_suspended = true);
    }

    /// Reports that the program was continued.
    #[cfg(unix)]
    pub(super) fn go_on(&self) {
        self.update(|updates| updates.is_continued = true);
    }

    /// Reports that the terminal cannot be read any more.
    pub(super) fn close(&self, why: Option<String>) {
        self.update(|updates| updates.closed = Some(why));
    }

    /// Reports that the conversation has ended.
    pub(super) fn end(&self) {
        self.update(|updates| updates.is_over = true);
    }

    /// Sets the conversation that must be told to leave.
    pub(super) fn set_leave(&self, leave: Sender<Event>) {
        self.lock().leave = Some(leave);
    }

    /// Reports that the program must end.
    pub(super) fn leave(&self) {
        let leave = self.lock().leave.clone();
        if let Some(leave) = leave {
            // fails if the conversation has ended
            let _ = leave.send(Event::Leave);
        } else {
            self.update(|updates| updates.is_leaving = true);
        }
    }

    /// Waits for an event, for at most `timeout`, and takes all events. If the screen `is_held`,
    /// waits for the whole `timeout`.
    pub(super) fn take(&self, timeout: Option<Duration>, is_held: bool) -> Updates {
        let state = self.lock();
        let timeout = timeout.unwrap_or(Duration::from_secs(3600));
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| is_held || !state.updates.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        let mut taken = take(&mut state.updates);
        let rest = taken.lines.split_off(taken.lines.len().min(LINES_AT_ONCE));
        if !rest.is_empty() {
            state.updates.lines = rest;
            state.updates.is_over = take(&mut taken.is_over);
        }
        drop(state);
        self.changed.notify_all();
        taken
    }

    /// Forgets that the program was suspended and continued.
    #[cfg(unix)]
    pub(super) fn forget_suspension(&self) {
        let updates = &mut self.lock().updates;
        (updates.is_suspended, updates.is_continued) = (false, false);
    }

    /// Waits until the program is told to stop, for at most `timeout`.
    #[cfg(unix)]
    pub(super) fn wait_suspended(&self, timeout: Duration) {
        self.wait_for(timeout, |updates| updates.is_suspended);
    }

    /// Waits until the program is continued, for at most `timeout`.
    #[cfg(unix)]
    pub(super) fn wait_continued(&self, timeout: Duration) {
        self.wait_for(timeout, |updates| updates.is_continued);
    }

    #[cfg(unix)]
    fn wait_for(&self, timeout: Duration, is_there: impl Fn(&Updates) -> bool) {
        let state = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(state, timeout, |state| !is_there(&state.updates));
    }

    /// Reports that the thread that owns the terminal has finished.
    pub(super) fn finish(&self) {
        self.lock().is_finished = true;
        self.changed.notify_all();
    }

    /// Waits for that thread, for at most `timeout`. Returns whether it has finished.
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
            let updates = inbox.take(None, false);
            assert_eq!(updates.left_out, 0);
            lines += updates.lines.len();
            if updates.is_over {
                break;
            }
        }
        assert_eq!(lines, LINES_MAX);
    }
}
