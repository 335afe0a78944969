//! What happens when another address wants to go on with a session: its own address is asked first,
//! because whoever reads the network knows the session.

use core::net::SocketAddr;

use crate::relay::Relay;
use crate::relay::event::{Event, Question};
use crate::relay::peers::{Dialect, Welcomed};
use crate::relay::seat::Seat;
use crate::time::Instant;

/// Time that the session's own address has to respond. A client sends HELLO after 0, 0.5 and 1 s.
const PATIENCE_MS: u16 = 900;

/// Time after which an acknowledgement ends the inquiry. It is less than the 65.5 s after which the clock of
/// frames begins again.
const FORGOTTEN_MS: u16 = 10_000;

/// The state of the inquiry, with the time of the first question on the clock of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::relay) enum Claim {
    #[default]
    None,
    Asked(u16),
    Denied(u16),
}

/// What becomes of a HELLO that resumes a session from another address.
pub(super) enum Decision {
    /// The session moves.
    Granted,
    /// The session's address is asked.
    Open(Event),
    /// The session is in use at its address.
    Denied,
}

impl Claim {
    /// Records an acknowledgement from the session's address.
    pub(super) const fn handle_ack(&mut self, now: u16, echo: Option<u16>) {
        let (Self::Asked(asked) | Self::Denied(asked)) = *self else {
            return;
        };
        let age = now.wrapping_sub(asked);
        if age > FORGOTTEN_MS {
            *self = Self::None;
        } else if let Some(echo) = echo
            && now.wrapping_sub(echo) <= age
        {
            *self = Self::Denied(asked);
        }
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Decides about a HELLO that resumes the session of `seat`.
    pub(super) fn claim(&mut self, now: Instant, source: SocketAddr, seat: Seat) -> Decision {
        let (Some(peer), Some(framed)) = (self.peers.peer_mut(seat), self.sessions.framed(seat))
        else {
            return Decision::Granted;
        };
        let Dialect::Framed(Welcomed { claim, .. }) = &mut peer.dialect else {
            return Decision::Granted;
        };
        let own = peer.address;
        let are_loopback = own.ip().is_loopback() && source.ip().is_loopback();
        if own == source || framed.is_parked || are_loopback {
            return Decision::Granted;
        }
        let clock = now.as_wrapped();
        match *claim {
            Claim::Denied(_) => return Decision::Denied,
            Claim::Asked(asked) if clock.wrapping_sub(asked) >= PATIENCE_MS => {
                return Decision::Granted;
            }
            Claim::Asked(_) => {}
            Claim::None => *claim = Claim::Asked(clock),
        }
        let acked = framed.window.acked();
        // before the first acknowledgement there is nothing to ask for, but the first lines are on their way
        let question = acked
            .checked_sub(1)
            .map(|last| Question::new(&framed.gap(now, last, acked)));
        Decision::Open(Event::Claimed {
            seat,
            question: question.map(|question| (own, question)),
        })
    }
}
