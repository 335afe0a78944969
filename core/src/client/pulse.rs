//! Whether the relay still answers.

use core::time::Duration;

use crate::Instant;

/// The time between questions whether the relay is there.
const PAUSE: Duration = Duration::from_secs(1);

/// So often it is asked: where a fifth is lost each way, three times would often not be enough.
const TRIES: u8 = 9;

/// Nothing was heard for so long of a relay that should have answered: it is silent.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) struct Pulse {
    keepalive: Duration,
    sent: Instant,
    /// How often it was asked, since it was last heard.
    asked: u8,
    /// Since when it owes an answer.
    owed: Option<Instant>,
}

impl Pulse {
    pub(super) const fn new() -> Self {
        Self {
            keepalive: Duration::from_secs(1),
            sent: Instant::from_millis(0),
            asked: 0,
            owed: None,
        }
    }

    /// A session begins or goes on.
    pub(super) fn restart(&mut self, now: Instant, keepalive_s: u8) {
        *self = Self {
            keepalive: Duration::from_secs(keepalive_s.max(1).into()),
            sent: now,
            ..Self::new()
        };
    }

    /// A frame of the session came.
    pub(super) const fn heard(&mut self) {
        self.asked = 0;
        self.owed = None;
    }

    /// A frame is sent that needs no answer.
    pub(super) const fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A frame is sent that must be answered.
    pub(super) fn demanded(&mut self, now: Instant) {
        self.sent = now;
        self.owed.get_or_insert(now);
    }

    /// The relay is asked whether it is there.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = self.asked.saturating_add(1);
        self.demanded(now);
    }

    /// When to ask.
    pub(super) fn question(&self) -> Option<Instant> {
        let pause = match self.owed {
            None => self.keepalive,
            Some(_) if self.asked < TRIES => PAUSE,
            Some(_) => return None,
        };
        Some(self.sent.after(pause))
    }

    /// When it is silent if nothing is heard.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.owed.map(|owed| owed.after(PATIENCE))
    }
}
