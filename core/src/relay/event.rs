//! The results of calls, as values that a driver can log, act on and count.

use core::net::SocketAddr;

use super::seat::Seat;
use crate::wire::Name;
use crate::wire::framed::{BYE_LENGTH, Frame, GAP_LENGTH, Goodbye, Session};

/// The result of handling a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A stranger got a seat, and may have said a message. The driver records the route to it.
    Joined {
        /// The new peer's seat.
        seat: Seat,
        /// The peer that lost its seat for it, if any. It may have had the same seat.
        displaced: Option<Departed>,
    },
    /// A peer sent a message, which is now due to the others.
    Said {
        /// The author's seat.
        seat: Seat,
        /// Number of its lines: 1 or 2, or more for a frame with several messages.
        lines: u8,
    },
    /// A peer was renamed.
    Renamed {
        /// The peer's seat.
        seat: Seat,
        /// Its old name.
        from: Name,
    },
    /// A peer left by itself.
    Left(Departed),
    /// An operator gave an order that removed a peer; the reply answers it.
    Removed {
        /// The operator's seat, unless that is the one that was removed.
        by: Option<Seat>,
        /// The peer.
        removed: Departed,
    },
    /// A peer gave a command that concerns only itself; the reply answers it.
    Answered {
        /// The peer's seat.
        seat: Seat,
    },
    /// A stranger asked for help, which the reply contains.
    Helped,
    /// A client requested a framed session; the reply asks it to prove that it receives at its
    /// source address.
    Challenged,
    /// A client wants to go on with a framed session that is at another address. That one is asked
    /// first whether anybody uses it there.
    Claimed {
        /// The session's seat.
        seat: Seat,
        /// The session's address.
        address: SocketAddr,
        /// What to send there.
        question: Question,
    },
    /// A client resumed its framed session, perhaps at another address. The driver records the
    /// route to it.
    Resumed {
        /// The client's seat.
        seat: Seat,
        /// The client's former address and what to send there, if the address changed.
        moved: Option<(SocketAddr, Farewell)>,
        /// The peer that had this address before, if any. It has lost its seat.
        displaced: Option<Departed>,
    },
    /// A peer acknowledged lines or repeated a request; the reply may answer.
    Acknowledged {
        /// The peer's seat.
        seat: Seat,
    },
    /// A peer has shown that it is still there, and nothing else.
    Keepalive {
        /// The peer's seat.
        seat: Seat,
    },
    /// The relay did not accept the datagram, or the first text in it.
    Refused {
        /// The sender's seat. `None` if it has no seat, or if the source address may be forged.
        seat: Option<Seat>,
        /// The reason.
        why: Refusal,
    },
}

impl Event {
    /// Returns what to send to an address other than the datagram's source, with the seat to which the
    /// route leads: a farewell to an address that is no longer a peer's, or a question to one that
    /// another client claims to have left. Returns `None` if there is nothing to send. Other departures have
    /// their farewells in [`Expired::farewell`].
    pub fn aside(&self) -> Option<(Seat, SocketAddr, &[u8])> {
        match self {
            Self::Removed { removed, .. } => removed.farewell(),
            Self::Joined { displaced, .. } => displaced.as_ref()?.farewell(),
            Self::Resumed { seat, moved, .. } => {
                let (address, farewell) = moved.as_ref()?;
                Some((*seat, *address, farewell.as_bytes()))
            }
            Self::Claimed {
                seat,
                address,
                question,
            } => Some((*seat, *address, &question.0)),
            Self::Said { .. }
            | Self::Renamed { .. }
            | Self::Left(_)
            | Self::Answered { .. }
            | Self::Helped
            | Self::Challenged
            | Self::Acknowledged { .. }
            | Self::Keepalive { .. }
            | Self::Refused { .. } => None,
        }
    }

    /// Returns the seat of the datagram's sender, if it has one now. The route by which the
    /// datagram came leads to it.
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
            Self::Removed { by, .. } => by,
            Self::Left(_) | Self::Helped | Self::Challenged | Self::Claimed { .. } => None,
        }
    }
}

/// The frame GAP, to which a client responds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Question([u8; GAP_LENGTH]);

impl Question {
    pub(super) fn new(gap: &Frame<'_>) -> Self {
        let mut frame = [0; GAP_LENGTH];
        // the buffer has exactly this length
        let _ = gap.encode_relays(&mut frame);
        Self(frame)
    }
}

/// Why a datagram was not accepted. Each reason has a counter: see [`Stats::refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// It starts with the byte 0x01 and is not a frame that a client may send, or the relay is in
    /// classic mode.
    Frame,
    /// It is a frame of a session that does not exist, or that is not at this address.
    Session,
    /// It is text from the address of a framed peer, or a frame from that of a plain one.
    Dialect,
    /// It is a frame that a later one has overtaken.
    Late,
    /// It is longer than [`DATAGRAM_MAX`](crate::DATAGRAM_MAX) bytes.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It is from a stranger and contains no name.
    Blank,
    /// It is a command from a stranger, which has no name yet.
    Nameless,
    /// Its source is not a unicast address with a port, so no reply is possible; or it is text from the
    /// port of a relay or another service: see [`Config::port`](crate::Config::port).
    Source,
    /// Its source is outside the local networks: see [`Config::open`](crate::Config::open).
    Foreign,
    /// Its source must prove that it receives there, and has not: see
    /// [`Config::prove`](crate::Config::prove).
    Unproven,
    /// A rule denies its source: see [`Relay::set_rules`](crate::Relay::set_rules).
    Denied,
    /// All seats are taken by peers that were heard from recently.
    Full,
    /// The operator has locked the room: nobody joins.
    Locked,
    /// The operator has muted the peer.
    Muted,
    /// Its network, or all foreign ones together, have their share of the seats.
    Crowded,
    /// Too many join from its network at once.
    Hasty,
    /// It is what the relay has sent a moment ago, from an echo service or another relay.
    Returned,
    /// A peer says more than it may: see [`Config::rate`](crate::Config::rate).
    Slow,
    /// The relay is stopping: see [`Relay::stop`](crate::Relay::stop).
    Stopping,
}

impl Refusal {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 20] = [
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
        Self::Unproven,
        Self::Denied,
        Self::Full,
        Self::Locked,
        Self::Muted,
        Self::Crowded,
        Self::Hasty,
        Self::Returned,
        Self::Slow,
        Self::Stopping,
    ];

    /// Returns the reason in a few words, for logs.
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
            Self::Source => "source is not unicast, or a service",
            Self::Foreign => "outside the local networks",
            Self::Unproven => "address not proved",
            Self::Denied => "denied by a rule",
            Self::Full => "all seats taken",
            Self::Locked => "the room is locked",
            Self::Muted => "muted",
            Self::Crowded => "its network has its share of the seats",
            Self::Hasty => "its network joins too fast",
            Self::Returned => "what was just sent",
            Self::Slow => "too fast",
            Self::Stopping => "relay is stopping",
        }
    }
}

/// A peer that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Departed {
    /// The seat that it had. It is free, or another peer has it.
    pub seat: Seat,
    /// Its address.
    pub address: SocketAddr,
    /// Its last name.
    pub name: Name,
    /// Why it left.
    pub why: Departure,
    /// What to send to its address, if that is still possible.
    pub farewell: Farewell,
}

impl Departed {
    /// Returns the farewell to its address, with the seat that it had. Returns `None` if there is
    /// nothing to send.
    pub fn farewell(&self) -> Option<(Seat, SocketAddr, &[u8])> {
        let payload = self.farewell.as_bytes();
        (!payload.is_empty()).then_some((self.seat, self.address, payload))
    }
}

/// The last datagram to an address at which a peer is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Farewell {
    /// Text; empty if nothing is to be sent.
    Text(&'static str),
    /// A frame.
    Bye([u8; BYE_LENGTH]),
}

impl Farewell {
    /// Nothing is to be sent.
    pub(super) const NOTHING: Self = Self::Text("");

    pub(super) fn bye(session: Session, why: Goodbye) -> Self {
        let mut frame = [0; BYE_LENGTH];
        // the buffer has exactly this length
        let _ = Frame::Bye(session, why).encode_relays(&mut frame);
        Self::Bye(frame)
    }

    /// Returns the payload; empty if nothing is to be sent.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bye(frame) => frame,
        }
    }
}

/// The result of [`Relay::handle_timeout`](crate::Relay::handle_timeout).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Expired {
    /// A peer left.
    Left(Departed),
    /// A framed peer does not respond. It keeps its seat, but nothing is sent to it until it is
    /// heard from again.
    Parked(Seat),
}

impl Expired {
    /// Returns the farewell to an address that is no longer a peer's, with the seat that it had.
    /// Returns `None` if there is nothing to send.
    pub fn farewell(&self) -> Option<(Seat, SocketAddr, &[u8])> {
        match self {
            Self::Left(departed) => departed.farewell(),
            Self::Parked(_) => None,
        }
    }
}

/// Why a peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Departure {
    /// It left by command or frame.
    Quit,
    /// The network reported its port as unreachable.
    Unreachable,
    /// It was silent, and its seat was given to another.
    Displaced,
    /// Its client was restarted: the same name came from the same address, or from another port of
    /// the same host after reports that the old port is unreachable.
    Restarted,
    /// It is foreign, speaks the plain dialect, and was silent for an hour.
    Lapsed,
    /// It was removed by the operator, or by a rule.
    Removed,
    /// Another client uses its address.
    Replaced,
    /// Two clients posted different texts under the same number in its session.
    Contested,
    /// It returned what it was sent, again and again.
    Echo,
}

impl Departure {
    /// Returns the reason as it is in the announcement.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Unreachable => "unreachable",
            Self::Displaced | Self::Lapsed => "silent",
            Self::Removed => "removed",
            Self::Restarted => "restarted",
            Self::Replaced => "replaced",
            Self::Contested => "contested",
            Self::Echo => "echo",
        }
    }
}

/// What the network reported as unreachable: a port of the destination, or the path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Unreachable {
    /// No program listens at the port (ICMP type 3 code 3, RFC 792; ICMPv6 type 1 code 4, RFC 4443
    /// section 3.1).
    Port,
    /// Anything else: no route, no such host, administratively prohibited. These may be temporary.
    Path,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handled.
    pub datagrams: u64,
    /// Messages accepted from peers.
    pub messages: u64,
    /// Lines appended: messages and notices.
    pub lines: u64,
    /// Peers that got a seat.
    pub joined: u64,
    /// Peers that left, for any reason.
    pub left: u64,
    /// Peers that left because their seat was given to another.
    pub displaced: u64,
    /// Foreign peers of the plain dialect that left because they were silent for an hour.
    pub lapsed: u64,
    /// Peers that were removed by the operator or by a rule.
    pub removed: u64,
    /// Peers that left because their client was restarted.
    pub restarted: u64,
    /// Peers that left because another client uses their address.
    pub replaced: u64,
    /// Peers that left because two clients used their session.
    pub contested: u64,
    /// Peers that left because they returned what they were sent.
    pub echoes: u64,
    /// Times that a peer which has not proved its address was not sent a datagram, because it had been sent
    /// as much as it may: its lines wait.
    pub held: u64,
    /// Replies that were not sent to an address that is not proved, for the same reason.
    pub unanswered: u64,
    /// Changes of a name.
    pub renamed: u64,
    /// Commands answered, help for strangers included.
    pub answered: u64,
    /// Datagrams from peers without content: empty or blank ones.
    pub keepalives: u64,
    /// Datagrams offered to the network, including those that would have blocked.
    pub deliveries: u64,
    /// Datagrams offered with more than one line.
    pub coalesced: u64,
    /// Datagrams retransmitted to framed peers.
    pub resent: u64,
    /// Times that a framed peer was told that lines were overwritten.
    pub gaps: u64,
    /// Frames that acknowledged lines or repeated a request.
    pub acknowledged: u64,
    /// HELLOs from another address than their session's, which was then asked.
    pub claimed: u64,
    /// Sessions that were resumed by a HELLO.
    pub resumed: u64,
    /// Times that a peer was parked.
    pub parked: u64,
    /// Times that a parked peer was heard from again.
    pub unparked: u64,
    /// Cookies sent.
    pub challenged: u64,
    /// Codes sent to plain clients that must prove their address.
    pub coded: u64,
    /// Plain clients that joined with such a code.
    pub proven: u64,
    /// Deliveries that would have blocked. They were offered again, unless the peer had left.
    pub deferred: u64,
    /// Lines that were overwritten before a peer was sent them, summed over all peers.
    pub missed: u64,
    /// Reports that a peer is unreachable.
    pub unreachable: u64,
    /// Refusals without a reply: because one was sent recently, the sender might be a machine, or
    /// such a source gets none.
    pub untold: u64,
    /// Lines said here that were handed to the link.
    #[cfg(feature = "link")]
    pub link_lines: u64,
    /// Lines said here that were overwritten before they were handed to the link.
    #[cfg(feature = "link")]
    pub link_lost: u64,
    /// Lines appended that were said at other places, or here in an earlier run.
    #[cfg(feature = "link")]
    pub elsewhere_lines: u64,
    /// Messages and notices from the link that were not accepted: too long, blank, from no valid place, or
    /// while the relay is stopping.
    #[cfg(feature = "link")]
    pub elsewhere_refused: u64,
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
            lapsed: 0,
            removed: 0,
            restarted: 0,
            replaced: 0,
            contested: 0,
            echoes: 0,
            held: 0,
            unanswered: 0,
            renamed: 0,
            answered: 0,
            keepalives: 0,
            deliveries: 0,
            coalesced: 0,
            resent: 0,
            gaps: 0,
            acknowledged: 0,
            claimed: 0,
            resumed: 0,
            parked: 0,
            unparked: 0,
            challenged: 0,
            coded: 0,
            proven: 0,
            deferred: 0,
            missed: 0,
            unreachable: 0,
            untold: 0,
            #[cfg(feature = "link")]
            link_lines: 0,
            #[cfg(feature = "link")]
            link_lost: 0,
            #[cfg(feature = "link")]
            elsewhere_lines: 0,
            #[cfg(feature = "link")]
            elsewhere_refused: 0,
            refused: [0; Refusal::ALL.len()],
        }
    }

    /// Returns the number of datagrams refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or_default()
    }

    /// A datagram waits because enough was sent to its address.
    pub(super) const fn note_held(&mut self) {
        self.held += 1;
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
