//! Detection of a relay that does not respond.

use core::time::Duration;

use crate::Instant;

/// Time between two requests for a reply.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of such requests: at 20 % loss in each direction three would often not be enough.
const TRIES: u8 = 9;

/// Time without a required reply after which the relay counts as silent.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) struct Pulse {
    keepalive: Duration,
    sent: Instant,
    /// Number of requests since the relay was last heard from.
    asked: u8,
    /// When the first unanswered request was sent.
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

    /// Handles the start or resumption of a session.
    pub(super) fn restart(&mut self, now: Instant, keepalive_s: u8) {
        *self = Self {
            keepalive: Duration::from_secs(keepalive_s.max(1).into()),
            sent: now,
            ..Self::new()
        };
    }

    /// Records that a frame of the session arrived.
    pub(super) const fn heard(&mut self) {
        self.asked = 0;
        self.owed = None;
    }

    /// Records that a frame was sent that needs no reply.
    pub(super) const fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Records that a frame was sent that needs a reply.
    pub(super) fn demanded(&mut self, now: Instant) {
        self.sent = now;
        self.owed.get_or_insert(now);
    }

    /// Records that a request for a reply was sent.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = self.asked.saturating_add(1);
        self.demanded(now);
    }

    /// Returns when to request a reply.
    pub(super) fn question(&self) -> Option<Instant> {
        let pause = match self.owed {
            None => self.keepalive,
            Some(_) if self.asked < TRIES => PAUSE,
            Some(_) => return None,
        };
        Some(self.sent.after(pause))
    }

    /// Returns when the relay counts as silent unless it is heard from.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.owed.map(|owed| owed.after(PATIENCE))
    }
}
