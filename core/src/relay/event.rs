//! What a call did, as values that a driver can log, act on and count.

use core::net::SocketAddr;

use super::seat::Seat;
use crate::wire::framed::{BYE_LENGTH, Frame, Goodbye, Session};
use crate::wire::text::Name;

/// What a datagram was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A stranger got a seat. The driver notes from where it can be reached.
    Joined {
        /// The seat that it got.
        seat: Seat,
        /// Who had to leave for it, if anybody; it may have had the same seat.
        displaced: Option<Departed>,
    },
    /// A peer said something, which now goes to the others.
    Said {
        /// Who said it.
        seat: Seat,
        /// In how many lines: 1 or 2, or several of each in a frame.
        lines: u8,
    },
    /// A peer has another name now.
    Renamed {
        /// Who.
        seat: Seat,
        /// Its old name.
        from: Name,
    },
    /// A peer left on its own account.
    Left(Departed),
    /// A peer gave a command that concerns nobody else; the reply answers it.
    Answered {
        /// Who asked.
        seat: Seat,
    },
    /// A stranger asked for help; the reply gives it.
    Helped,
    /// Somebody wants to speak in frames; the reply asks it to show that it receives at its address.
    Challenged,
    /// A peer that speaks in frames goes on with its session, perhaps at another address. The driver
    /// notes from where it can be reached.
    Resumed {
        /// Whose session it is.
        seat: Seat,
        /// The address that it had, if it is another one, and what to send there.
        moved: Option<(SocketAddr, Farewell)>,
        /// Whose address that was, if it was another peer's, who is gone.
        displaced: Option<Departed>,
    },
    /// A peer said what it has, or asked for what it was told already; the reply may answer.
    Acknowledged {
        /// Who.
        seat: Seat,
    },
    /// A peer has shown that it is there, no more.
    Keepalive {
        /// Who.
        seat: Seat,
    },
    /// The datagram was not accepted.
    Refused {
        /// Who sent it, if it has a seat and the datagram is not perhaps another's.
        seat: Option<Seat>,
        /// Why not.
        why: Refusal,
    },
}

impl Event {
    /// What is to be sent to an address where nobody is served any more, and which seat it had.
    pub fn farewell(&self) -> Option<(Seat, SocketAddr, &[u8])> {
        let (seat, address, farewell) = if let Self::Joined {
            displaced: Some(departed),
            ..
        } = self
        {
            (departed.seat, departed.address, &departed.farewell)
        } else if let Self::Resumed {
            seat,
            moved: Some((address, farewell)),
            ..
        } = self
        {
            (*seat, *address, farewell)
        } else {
            return None;
        };
        let payload = farewell.as_bytes();
        (!payload.is_empty()).then_some((seat, address, payload))
    }

    /// The seat of the peer that sent the datagram, if it has one now. From where that came, the peer
    /// can be reached.
    pub const fn seat(&self) -> Option<Seat> {
        match *self {
            Self::Joined { seat, .. }
            | Self::Said { seat, .. }
            | Self::Renamed { seat, .. }
            | Self::Answered { seat }
            | Self::Resumed { seat, .. }
            | Self::Acknowledged { seat }
            | Self::Keepalive { seat } => Some(seat),
            Self::Refused { seat, .. } => seat,
            Self::Left(_) | Self::Helped | Self::Challenged => None,
        }
    }
}

/// Why a datagram was not accepted. Each is counted: see [`Stats::refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// It starts with the byte 0x01 and is no frame that a client sends, or the relay is in classic
    /// mode.
    Frame,
    /// A frame of a session that does not exist, or not at this address.
    Session,
    /// Text from the address of a peer that speaks in frames, or a frame from that of one that does not.
    Dialect,
    /// A frame that was overtaken by a later one.
    Late,
    /// It is longer than [`DATAGRAM_MAX`](crate::DATAGRAM_MAX) bytes.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// A stranger's datagram holds nothing that could be a name.
    Blank,
    /// A stranger gave a command before its name.
    Nameless,
    /// Its source is not a unicast address with a port: nobody can be answered there.
    Source,
    /// Its source is outside the local networks: see [`Config::open`](crate::Config::open).
    Foreign,
    /// All seats are taken by peers that were heard of lately.
    Full,
    /// The relay is stopping: see [`Relay::stop`](crate::Relay::stop).
    Stopping,
}

impl Refusal {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 12] = [
        Self::Frame,
        Self::Session,
        Self::Dialect,
        Self::Late,
        Self::TooLong,
        Self::NotUtf8,
        Self::Blank,
        Self::Nameless,
        Self::Source,
        Self::Foreign,
        Self::Full,
        Self::Stopping,
    ];

    /// The reason in a few words, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "no frame of a client",
            Self::Session => "unknown session",
            Self::Dialect => "not the dialect of its seat",
            Self::Late => "overtaken",
            Self::TooLong => "too long",
            Self::NotUtf8 => "not UTF-8",
            Self::Blank => "blank",
            Self::Nameless => "no name yet",
            Self::Source => "source is not unicast",
            Self::Foreign => "outside the local networks",
            Self::Full => "all seats taken",
            Self::Stopping => "relay is stopping",
        }
    }
}

/// A peer that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Departed {
    /// The seat that it had, free now or given to another.
    pub seat: Seat,
    /// Where it was.
    pub address: SocketAddr,
    /// Its last name.
    pub name: Name,
    /// Why it is gone.
    pub why: Departure,
    /// What to send to its address, as far as that is still possible.
    pub farewell: Farewell,
}

/// The last datagram for somebody who is not at an address any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Farewell {
    /// Text; empty for nothing.
    Text(&'static str),
    /// A frame.
    Bye([u8; BYE_LENGTH]),
}

impl Farewell {
    /// Nothing is said.
    pub(super) const NOTHING: Self = Self::Text("");

    pub(super) fn bye(session: Session, why: Goodbye) -> Self {
        let mut frame = [0; BYE_LENGTH];
        // it fits exactly
        let _ = Frame::Bye(session, why).encode_relays(&mut frame);
        Self::Bye(frame)
    }

    /// The payload; empty if nothing is to be sent.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bye(frame) => frame,
        }
    }
}

/// What the passing of time did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Expired {
    /// A peer left.
    Left(Departed),
    /// A peer that speaks in frames does not answer. It keeps its seat, but nothing is sent to it until
    /// it is heard of again.
    Parked(Seat),
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Departure {
    /// It said so.
    Quit,
    /// The network reported that nobody listens there.
    Unreachable,
    /// It was silent, and its seat was needed.
    Displaced,
    /// Its client was started again and has the same name, at the same address, or at another port of
    /// the same host when nobody answered at the old one.
    Restarted,
    /// Another client speaks from its address.
    Replaced,
    /// Two clients posted different texts under the same number of its session.
    Contested,
}

impl Departure {
    /// The reason in a word, as the others read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Unreachable => "unreachable",
            Self::Displaced => "silent",
            Self::Restarted => "restarted",
            Self::Replaced => "replaced",
            Self::Contested => "contested",
        }
    }
}

/// What a network says of a destination that it cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Unreachable {
    /// Nobody listens at the port (ICMP type 3 code 3, RFC 792; ICMPv6 type 1 code 4, RFC 4443
    /// section 3.1).
    Port,
    /// Anything else: no route, no such host, not allowed. Such things pass.
    Path,
}

/// What has happened since the start, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handled.
    pub datagrams: u64,
    /// Messages accepted from peers.
    pub messages: u64,
    /// Lines that became of messages and notices.
    pub lines: u64,
    /// Peers that got a seat.
    pub joined: u64,
    /// Peers that left, for any reason.
    pub left: u64,
    /// ... of them, those whose seat was needed.
    pub displaced: u64,
    /// ... of them, those that came back from the same host.
    pub restarted: u64,
    /// ... of them, those whose address another client has now.
    pub replaced: u64,
    /// ... of them, those in whose session two clients spoke.
    pub contested: u64,
    /// Renames.
    pub renamed: u64,
    /// Commands answered, help for strangers included.
    pub answered: u64,
    /// Datagrams from peers that said nothing: empty or blank ones.
    pub keepalives: u64,
    /// Datagrams offered to the network for a peer, those refused by it included.
    pub deliveries: u64,
    /// ... of them, those of more than one line.
    pub coalesced: u64,
    /// Datagrams that were sent again to a peer that did not acknowledge them.
    pub resent: u64,
    /// Times that a peer was told that lines were overwritten, in frames.
    pub gaps: u64,
    /// Frames that said what a peer has, or asked for what it was told already.
    pub acknowledged: u64,
    /// Sessions that went on after a new HELLO.
    pub resumed: u64,
    /// Times that a peer was parked.
    pub parked: u64,
    /// ... of them, those that were heard of again.
    pub unparked: u64,
    /// Cookies given out.
    pub challenged: u64,
    /// Deliveries that the network refused for the moment; they were offered again, unless their peer is
    /// gone.
    pub deferred: u64,
    /// Lines that a peer was owed when they were overwritten, added up over peers.
    pub missed: u64,
    /// Reports that a peer cannot be reached.
    pub unreachable: u64,
    /// Refusals that their sender was not told of, because it was told lately, because it might
    /// be a machine, or because nothing is said to such a source.
    pub untold: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl Stats {
    pub(super) const fn new() -> Self {
        Self {
            datagrams: 0,
            messages: 0,
            lines: 0,
            joined: 0,
            left: 0,
            displaced: 0,
            restarted: 0,
            replaced: 0,
            contested: 0,
            renamed: 0,
            answered: 0,
            keepalives: 0,
            deliveries: 0,
            coalesced: 0,
            resent: 0,
            gaps: 0,
            acknowledged: 0,
            resumed: 0,
            parked: 0,
            unparked: 0,
            challenged: 0,
            deferred: 0,
            missed: 0,
            unreachable: 0,
            untold: 0,
            refused: [0; Refusal::ALL.len()],
        }
    }

    /// How many datagrams were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or_default()
    }

    pub(super) fn count_refusal(&mut self, why: Refusal) {
        if let Some(count) = self.refused.get_mut(why as usize) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_counter_of_its_own() {
        let mut stats = Stats::new();
        for (times, why) in Refusal::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| stats.count_refusal(why));
        }
        for (times, why) in (1..).zip(Refusal::ALL) {
            assert_eq!(stats.refused(why), times);
        }
    }
}
