//! The oracle's record of inquiries: whether a session is in use at its address while a client wants
//! it at another one.

/// The time that the address has to respond, and the duration of an inquiry, in milliseconds.
const PATIENCE: u64 = 900;
const DURATION: u64 = 10_000;

/// The last inquiry about a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inquiry {
    /// When the first question was sent, on the relay's clock.
    asked: Option<u64>,
    has_responded: bool,
}

impl Inquiry {
    /// Returns the time since the first question, unless the inquiry is over.
    fn age(&self, now: u64) -> Option<u64> {
        let age = now.checked_sub(self.asked?)?;
        (age <= DURATION).then_some(age)
    }

    /// Records a question.
    pub(crate) fn asks(&mut self, now: u64) {
        if self.age(now).is_none() {
            *self = Self {
                asked: Some(now),
                has_responded: false,
            };
        }
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
        self.age(now).is_some_and(|age| age >= PATIENCE) && !self.has_responded
    }

    /// Returns whether who wants the session gets another seat.
    pub(crate) fn is_denied(&self, now: u64) -> bool {
        self.age(now).is_some() && self.has_responded
    }
}
