//! When to acknowledge, and which time stamp to echo.

use core::time::Duration;

use crate::Instant;

/// Maximum delay of an acknowledgement.
const DELAY: Duration = Duration::from_millis(100);

/// Time after which an acknowledgement is sent a second time while acknowledgements seem to get
/// lost. It is short enough that the second one, too, arrives before the relay's time-out of at
/// least 300 ms.
const AGAIN: Duration = Duration::from_millis(50);

/// Number of acknowledgements that are sent twice after a duplicate arrived. Losing one costs up to
/// a kilobyte that the relay retransmits for nothing.
const REPEATS: u8 = 32;

/// After the start, a loss or a duplicate the relay's congestion window is small. For this many
/// datagrams, acknowledge every [`SMALL_WINDOW_UNACKED_MAX`] instead of every quarter of the
/// window.
const SMALL_WINDOW: u8 = 40;

/// Maximum number of unacknowledged datagrams while the relay's congestion window may be small.
const SMALL_WINDOW_UNACKED_MAX: u8 = 2;

#[derive(Clone, Debug)]
pub(super) struct Acknowledging {
    due: Option<Instant>,
    again: Option<Instant>,
    /// Number of datagrams since the last acknowledgement, and its maximum.
    unacked: u8,
    unacked_max: u8,
    /// Number of datagrams until that maximum applies.
    small_window_left: u8,
    /// The oldest time stamp that was not echoed yet.
    echo: Option<u16>,
    repeats_left: u8,
}

/// The kind of an acknowledgement that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    First,
    /// A repetition of the last acknowledgement.
    Again,
}

impl Acknowledging {
    pub(super) const fn new() -> Self {
        Self {
            due: None,
            again: None,
            unacked: 0,
            unacked_max: 1,
            small_window_left: SMALL_WINDOW,
            echo: None,
            repeats_left: 0,
        }
    }

    /// Handles the start or resumption of a session with at most `window` datagrams in flight.
    pub(super) fn restart(&mut self, window: u8) {
        *self = Self {
            unacked_max: (window / 4).max(1),
            repeats_left: self.repeats_left,
            ..Self::new()
        };
    }

    /// Records that a datagram with this time stamp arrived and must be acknowledged.
    pub(super) fn received(&mut self, now: Instant, sent_at: u16, at_once: bool) {
        self.echo.get_or_insert(sent_at);
        self.unacked = self.unacked.saturating_add(1);
        self.small_window_left = if at_once {
            SMALL_WINDOW
        } else {
            self.small_window_left.saturating_sub(1)
        };
        let most = if self.small_window_left > 0 {
            SMALL_WINDOW_UNACKED_MAX
        } else {
            self.unacked_max
        };
        if at_once || self.unacked >= most.min(self.unacked_max) || self.repeats_left > 0 {
            self.due = Some(now);
        } else if self.due.is_none() {
            self.due = Some(now.after(DELAY));
        }
    }

    /// Records that the relay asks whether the client is there. The acknowledgement echoes the question, so that
    /// it cannot be taken for one of something earlier.
    pub(super) fn asked(&mut self, now: Instant, sent_at: u16) {
        self.echo = Some(sent_at);
        self.received(now, sent_at, true);
    }

    /// Records that a duplicate arrived, perhaps because an acknowledgement was lost.
    pub(super) fn repeated(&mut self, now: Instant, sent_at: u16) {
        self.repeats_left = REPEATS;
        self.received(now, sent_at, true);
    }

    /// Makes an acknowledgement due now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.again).min()
    }

    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        if self.due.is_some_and(|due| now >= due) {
            return Some(Due::First);
        }
        let again = self.again.is_some_and(|again| now >= again);
        again.then_some(Due::Again)
    }

    /// Records that an acknowledgement is sent. Returns the time stamp that it echoes.
    pub(super) fn sent(&mut self, now: Instant, due: Due) -> Option<u16> {
        self.again = None;
        if due == Due::First && self.repeats_left > 0 {
            self.repeats_left -= 1;
            self.again = Some(now.after(AGAIN));
        }
        self.due = None;
        self.unacked = 0;
        self.echo.take()
    }
}
