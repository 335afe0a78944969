//! What happens when another address wants to go on with a session: its own address is asked first,
//! because whoever reads the network knows the session.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::relay::Relay;
use crate::relay::event::{Event, Question};
use crate::relay::peers::{Dialect, Welcomed};
use crate::relay::seat::Seat;
use crate::time::Instant;

/// Minimum time between the first and the second question, and between that and the move. A client
/// sends HELLO after 0, 0.5 and 1 s.
const PATIENCE_MS: u16 = 400;

/// Duration of an inquiry.
const DURATION_MS: u32 = 10_000;

/// The last inquiry about a session. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::relay) struct Inquiry {
    state: State,
    /// The time of the first question, modulo 2^32.
    asked: u32,
    /// A part of the cookie of the client whose HELLO caused that question.
    claimant: u16,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    None,
    Asked,
    /// The time from the first question to the second one.
    AskedAgain(u16),
    /// There was a response.
    Denied,
}

/// What becomes of a HELLO that resumes a session.
pub(super) enum Decision {
    /// The session moves, or it is at this address.
    Granted,
    /// The session's address is asked.
    Asked(Event),
    /// The client gets another seat.
    Denied,
}

impl Inquiry {
    fn begin(now: Instant, claimant: u16) -> Self {
        Self {
            state: State::Asked,
            asked: wrapped(now),
            claimant,
        }
    }

    /// Returns the time since the first question, unless the inquiry is over.
    fn age_ms(&self, now: Instant) -> Option<u16> {
        let age = wrapped(now).wrapping_sub(self.asked);
        let age = u16::try_from(age).ok();
        age.filter(|age| u32::from(*age) <= DURATION_MS)
    }

    /// Records an acknowledgement from the session's address, with the time stamp that it echoes.
    pub(super) fn handle_ack(&mut self, now: Instant, echo: Option<u16>) {
        let (State::Asked | State::AskedAgain(_), Some(echo)) = (self.state, echo) else {
            return;
        };
        let since_echo = now.as_wrapped().wrapping_sub(echo);
        if self.age_ms(now).is_some_and(|age| since_echo <= age) {
            self.state = State::Denied;
        }
    }

    /// Handles a HELLO from another address. Returns whether it moves the session, or `None` if the
    /// session's address must be asked.
    fn handle_claim(&mut self, now: Instant, claimant: u16) -> Option<bool> {
        let Some(age) = self.age_ms(now) else {
            *self = Self::begin(now, claimant);
            return None;
        };
        match self.state {
            State::Denied if self.claimant == claimant => return Some(false),
            State::None | State::Denied => *self = Self::begin(now, claimant),
            State::Asked if age >= PATIENCE_MS => self.state = State::AskedAgain(age),
            State::AskedAgain(again) if age.saturating_sub(again) >= PATIENCE_MS => {
                return Some(true);
            }
            State::Asked | State::AskedAgain(_) => {}
        }
        None
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Decides about a HELLO that resumes the session of `seat`.
    pub(super) fn handle_claim(
        &mut self,
        now: Instant,
        source: SocketAddr,
        cookie: Option<[u8; 16]>,
        seat: Seat,
    ) -> Decision {
        let (Some(peer), Some(framed)) = (self.peers.peer_mut(seat), self.sessions.framed(seat))
        else {
            return Decision::Granted;
        };
        let Dialect::Framed(Welcomed { inquiry, .. }) = &mut peer.dialect else {
            return Decision::Granted;
        };
        let own = peer.address;
        if own == source || framed.is_parked || is_visitor(&own, &source) {
            return Decision::Granted;
        }
        let acked = framed.window.acked();
        let Some(last) = acked.checked_sub(1) else {
            return Decision::Denied;
        };
        let [a, b, ..] = cookie.unwrap_or_default();
        match inquiry.handle_claim(now, u16::from_be_bytes([a, b])) {
            Some(true) => Decision::Granted,
            Some(false) => Decision::Denied,
            None => Decision::Asked(Event::Claimed {
                seat,
                address: own,
                question: Question::new(&framed.gap(now, last, acked)),
            }),
        }
    }
}

/// Returns whether both addresses are of one visitor of a gateway on this machine: it gives each of them
/// a loopback address.
fn is_visitor(own: &SocketAddr, source: &SocketAddr) -> bool {
    let ip = own.ip();
    let is_shared = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    ip == source.ip() && ip.is_loopback() && !is_shared
}

fn wrapped(now: Instant) -> u32 {
    let [.., a, b, c, d] = now.as_millis().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
