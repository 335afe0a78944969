//! The oracle's record of inquiries: whether a session is in use at its address while a client wants
//! it at another one.

use core::net::SocketAddr;

/// Minimum time between two questions, and between the second one and the move; and the duration of an
/// inquiry. In milliseconds.
const PATIENCE: u64 = 400;
const DURATION: u64 = 10_000;

/// The last inquiry about a session. Times are on the relay's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inquiry {
    /// When the first question was sent, and whose HELLO caused it.
    first: Option<(u64, SocketAddr)>,
    second: Option<u64>,
    has_responded: bool,
}

impl Inquiry {
    /// Returns the time since the first question, unless the inquiry is over.
    fn age(&self, now: u64) -> Option<u64> {
        let (first, _) = self.first?;
        let age = now.checked_sub(first)?;
        (age <= DURATION).then_some(age)
    }

    /// Records a question because of a HELLO from `source`.
    pub(crate) fn asks(&mut self, now: u64, source: SocketAddr) {
        match self.age(now) {
            Some(_) if self.has_responded => {}
            Some(age) => {
                if self.second.is_none() && age >= PATIENCE {
                    self.second = Some(now);
                }
                return;
            }
            None => {}
        }
        *self = Self {
            first: Some((now, source)),
            ..Self::default()
        };
    }

    /// Records an acknowledgement from the session's address.
    pub(crate) fn hears(&mut self, now: u64, echo: Option<u16>) {
        let Some(age) = self.age(now) else {
            return;
        };
        // time stamps have 16 bits
        let since_echo = echo.map(|echo| (now % 65_536 + 65_536 - u64::from(echo)) % 65_536);
        self.has_responded |= since_echo.is_some_and(|since| since <= age);
    }

    /// Returns whether the session may move.
    pub(crate) fn may_move(&self, now: u64) -> bool {
        let is_open = self.age(now).is_some() && !self.has_responded;
        let since_second = self.second.and_then(|second| now.checked_sub(second));
        is_open && since_second.is_some_and(|since| since >= PATIENCE)
    }

    /// Returns whether the client at `source`, which wants the session, gets another seat.
    pub(crate) fn is_denied(&self, now: u64, source: SocketAddr) -> bool {
        let is_claimant = self.first.is_some_and(|(_, claimant)| claimant == source);
        self.age(now).is_some() && self.has_responded && is_claimant
    }
}
