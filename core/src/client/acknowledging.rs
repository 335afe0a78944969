//! When to acknowledge, and what to echo.

use core::time::Duration;

use crate::Instant;

/// The longest that lines stay unacknowledged.
const DELAY: Duration = Duration::from_millis(100);

/// While acknowledgements seem to get lost they are said at once, and once more after this time: the
/// second, too, comes before the relay's time-out, which is 300 ms at least.
const AGAIN: Duration = Duration::from_millis(50);

/// How many acknowledgements are said twice after lines came again: each one that gets lost costs
/// up to a kilobyte, which is sent again for nothing.
const STRAINED: u8 = 32;

/// At first, and after something was missing or came again, the relay has few datagrams on their way
/// and waits for them to be acknowledged: by this many more it has grown to some that a quarter of the
/// window is a part of.
const GROWING: u8 = 40;

/// How many datagrams wait at most until then.
const FEW: u8 = 2;

#[derive(Clone, Debug)]
pub(super) struct Acknowledging {
    due: Option<Instant>,
    again: Option<Instant>,
    /// How many datagrams came since the last acknowledgement, and how many may at most.
    waiting: u8,
    most: u8,
    /// How many datagrams must come until so many may wait.
    growing: u8,
    /// The oldest time that was not echoed.
    echo: Option<u16>,
    strained: u8,
}

/// An acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    First,
    /// It says what the last one said.
    Again,
}

impl Acknowledging {
    pub(super) const fn new() -> Self {
        Self {
            due: None,
            again: None,
            waiting: 0,
            most: 1,
            growing: GROWING,
            echo: None,
            strained: 0,
        }
    }

    /// A session begins or goes on, with at most `window` datagrams on their way.
    pub(super) fn restart(&mut self, window: u8) {
        *self = Self {
            most: (window / 4).max(1),
            strained: self.strained,
            ..Self::new()
        };
    }

    /// A datagram with this time on it is to be acknowledged.
    pub(super) fn received(&mut self, now: Instant, sent_at: u16, at_once: bool) {
        self.echo.get_or_insert(sent_at);
        self.waiting = self.waiting.saturating_add(1);
        self.growing = if at_once {
            GROWING
        } else {
            self.growing.saturating_sub(1)
        };
        let most = if self.growing > 0 { FEW } else { self.most };
        if at_once || self.waiting >= most.min(self.most) || self.strained > 0 {
            self.due = Some(now);
        } else if self.due.is_none() {
            self.due = Some(now.after(DELAY));
        }
    }

    /// What came was here already: perhaps the acknowledgement got lost.
    pub(super) fn repeated(&mut self, now: Instant, sent_at: u16) {
        self.strained = STRAINED;
        self.received(now, sent_at, true);
    }

    /// Acknowledge now.
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

    /// An acknowledgement is sent; returns what it echoes.
    pub(super) fn sent(&mut self, now: Instant, due: Due) -> Option<u16> {
        self.again = None;
        if due == Due::First && self.strained > 0 {
            self.strained -= 1;
            self.again = Some(now.after(AGAIN));
        }
        self.due = None;
        self.waiting = 0;
        self.echo.take()
    }
}
