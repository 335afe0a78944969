//! What a call did, as values that a driver can log, act on and count.

use core::net::SocketAddr;

use crate::Seat;
use crate::text::Name;

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
        /// In how many lines: 1 or 2.
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
    /// A peer has shown that it is there, no more.
    Keepalive {
        /// Who.
        seat: Seat,
    },
    /// The datagram was not accepted.
    Refused {
        /// Who sent it, if it has a seat.
        seat: Option<Seat>,
        /// Why not.
        why: Refusal,
    },
}

impl Event {
    /// The seat of the peer that sent the datagram, if it has one now.
    pub const fn seat(&self) -> Option<Seat> {
        match *self {
            Self::Joined { seat, .. }
            | Self::Said { seat, .. }
            | Self::Renamed { seat, .. }
            | Self::Answered { seat }
            | Self::Keepalive { seat } => Some(seat),
            Self::Refused { seat, .. } => seat,
            Self::Left(_) | Self::Helped => None,
        }
    }
}

/// Why a datagram was not accepted. Each is counted: see [`Stats::refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// It starts with the byte 0x01, which marks a dialect that this relay does not speak.
    Frame,
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
}

impl Refusal {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Frame,
        Self::TooLong,
        Self::NotUtf8,
        Self::Blank,
        Self::Nameless,
        Self::Source,
        Self::Foreign,
        Self::Full,
    ];

    /// The reason in a few words, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "unknown dialect",
            Self::TooLong => "too long",
            Self::NotUtf8 => "not UTF-8",
            Self::Blank => "blank",
            Self::Nameless => "no name yet",
            Self::Source => "source is not unicast",
            Self::Foreign => "outside the local networks",
            Self::Full => "all seats taken",
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
    /// What to send to its address, as far as that is still possible; empty for nothing.
    pub farewell: &'static str,
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
    /// The same name came from the same host after reports that nobody listens there.
    Restarted,
}

impl Departure {
    /// The reason in a word, as the others read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Unreachable => "unreachable",
            Self::Displaced => "silent",
            Self::Restarted => "restarted",
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
    /// Renames.
    pub renamed: u64,
    /// Commands answered, help for strangers included.
    pub answered: u64,
    /// Empty or blank datagrams from peers.
    pub keepalives: u64,
    /// Datagrams offered to the network for a peer, those refused by it included.
    pub deliveries: u64,
    /// ... of them, those of more than one line.
    pub coalesced: u64,
    /// Deliveries that the network refused for the moment; they were offered again.
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
    pub(crate) const fn new() -> Self {
        Self {
            datagrams: 0,
            messages: 0,
            lines: 0,
            joined: 0,
            left: 0,
            displaced: 0,
            restarted: 0,
            renamed: 0,
            answered: 0,
            keepalives: 0,
            deliveries: 0,
            coalesced: 0,
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

    pub(crate) fn count_refusal(&mut self, why: Refusal) {
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
