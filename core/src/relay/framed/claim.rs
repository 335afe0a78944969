//! What happens when another address wants to go on with a session: its own address is asked first,
//! because whoever reads the network knows the session.

use core::net::SocketAddr;

use crate::relay::Relay;
use crate::relay::event::{Event, Question};
use crate::relay::peers::{Dialect, Welcomed};
use crate::relay::seat::Seat;
use crate::time::Instant;

/// Time that the session's own address has to respond. A client sends HELLO after 0, 0.5 and 1 s.
const PATIENCE_MS: u32 = 900;

/// Time after which the inquiry is over: the next HELLO begins another one.
const OVER_MS: u32 = 10_000;

/// The last inquiry about a session, with the time of its first question in milliseconds modulo 2^32.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::relay) enum Claim {
    #[default]
    None,
    Asked(u32),
    /// There was a response.
    Denied(u32),
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
    /// Records an acknowledgement from the session's address, with the time stamp that it echoes.
    pub(super) fn handle_ack(&mut self, now: Instant, echo: Option<u16>) {
        let (Self::Asked(asked), Some(echo)) = (*self, echo) else {
            return;
        };
        let since_echo: u32 = now.as_wrapped().wrapping_sub(echo).into();
        let age = wrapped(now).wrapping_sub(asked);
        if age <= OVER_MS && since_echo <= age {
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
        let age = |asked| wrapped(now).wrapping_sub(asked);
        match *claim {
            Claim::Denied(asked) if age(asked) <= OVER_MS => return Decision::Denied,
            Claim::Asked(asked) if age(asked) < PATIENCE_MS => {}
            Claim::Asked(asked) if age(asked) <= OVER_MS => return Decision::Granted,
            Claim::None | Claim::Asked(_) | Claim::Denied(_) => {
                *claim = Claim::Asked(wrapped(now));
            }
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

fn wrapped(now: Instant) -> u32 {
    let [.., a, b, c, d] = now.as_millis().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
