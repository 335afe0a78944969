//! Parsing of those parts of a frame that the network stack does not report.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The protocol number of UDP (RFC 768).
const UDP: u8 = 17;

/// Returns source and destination of a UDP datagram, from the start of the IP packet that an ICMP
/// error quotes.
///
/// Routers may quote only the IP header and 8 bytes (RFC 792), so lengths are not checked.
pub(crate) fn quoted(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let first = *packet.first()?;
    let (source, destination, ports): (IpAddr, IpAddr, _) = match first >> 4 {
        4 if *packet.get(9)? == UDP => {
            let (source, destination) = (field::<4>(packet, 12)?, field::<4>(packet, 16)?);
            let header = usize::from(first & 0x0f) * 4;
            (
                Ipv4Addr::from(source).into(),
                Ipv4Addr::from(destination).into(),
                header,
            )
        }
        6 if *packet.get(6)? == UDP => {
            let (source, destination) = (field::<16>(packet, 8)?, field::<16>(packet, 24)?);
            (
                Ipv6Addr::from(source).into(),
                Ipv6Addr::from(destination).into(),
                40,
            )
        }
        _ => return None,
    };
    let from = u16::from_be_bytes(field(packet, ports)?);
    let to = u16::from_be_bytes(field(packet, ports + 2)?);
    Some(((source, from).into(), (destination, to).into()))
}

/// Returns whether the source of an IPv4 packet is a multicast or broadcast address, to which no
/// reply is possible; `broadcast` is that of the node's own network.
#[cfg(feature = "ipv4")]
pub(crate) fn is_from_all_v4(packet: &[u8], broadcast: Option<Ipv4Addr>) -> bool {
    let source = field::<4>(packet, 12).map(Ipv4Addr::from);
    source.is_some_and(|ip| ip.is_multicast() || ip.is_broadcast() || Some(ip) == broadcast)
}

/// Returns whether the source of an IPv6 packet is multicast.
#[cfg(feature = "ipv6")]
pub(crate) fn is_from_all_v6(packet: &[u8]) -> bool {
    packet.get(8) == Some(&u8::MAX)
}

/// Returns whether an IPv6 packet is a router advertisement with a prefix from which no unicast
/// address can be made: smoltcp 0.14 panics on one of more than 128 bits and on multicast.
#[cfg(feature = "ipv6")]
pub(crate) fn advertises_nonsense(packet: &[u8]) -> bool {
    /// RFC 4861: message type, length of its header, option type, length of that option.
    const ADVERTISEMENT: u8 = 134;
    const HEADER: usize = 16;
    const PREFIX: u8 = 3;
    const HOP_BY_HOP: u8 = 0;
    const ICMP: u8 = 58;

    if cfg!(not(feature = "slaac")) {
        // the node ignores all others
        return false;
    }
    let Some((mut next, mut message)) = packet.get(6).zip(packet.get(40..)) else {
        return false;
    };
    if *next == HOP_BY_HOP {
        let Some([after, length, ..]) = message.first_chunk::<2>() else {
            return false;
        };
        let Some(rest) = message.get((usize::from(*length) + 1) * 8..) else {
            return false;
        };
        (next, message) = (after, rest);
    }
    if *next != ICMP || message.first() != Some(&ADVERTISEMENT) {
        return false;
    }
    let mut options = message.get(HEADER..).unwrap_or_default();
    while let Some([kind, length]) = options.first_chunk() {
        if *kind == PREFIX {
            let bits = options.get(2).copied().unwrap_or(u8::MAX);
            let first = options.get(16).copied().unwrap_or(u8::MAX);
            if bits > 128 || first == u8::MAX {
                return true;
            }
        }
        options = match usize::from(*length) * 8 {
            0 => return true,
            length => options.get(length..).unwrap_or_default(),
        };
    }
    false
}

fn field<const LENGTH: usize>(packet: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    packet.get(at..)?.first_chunk().copied()
}

/// A neighbour announced its hardware address without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) address: IpAddr,
    pub(crate) hardware: [u8; 6],
}

impl Moved {
    /// Returns `None` if the hardware address is that of a group.
    fn new(address: IpAddr, hardware: [u8; 6]) -> Option<Self> {
        (hardware[0] & 1 == 0).then_some(Self { address, hardware })
    }
}

/// Returns what a gratuitous ARP packet announces (RFC 826, RFC 5227 section 3).
#[cfg(feature = "ipv4")]
pub(crate) fn gratuitous_arp(packet: &[u8]) -> Option<Moved> {
    let (head, rest) = packet.split_first_chunk::<8>()?;
    let (hardware, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let target = rest.get(6..10)?;
    // Ethernet and IPv4; a request or a reply
    if head.get(..6)? != [0, 1, 8, 0, 6, 4] || target != sender {
        return None;
    }
    Moved::new((*sender).into(), *hardware)
}

/// Returns what an unsolicited neighbour advertisement that overrides announces (RFC 4861 sections
/// 4.4 and 7.2.6).
#[cfg(feature = "ipv6")]
pub(crate) fn unsolicited_advertisement(packet: &[u8]) -> Option<Moved> {
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;

    // ICMPv6, and a hop limit of 255: it comes from a neighbour
    if packet.get(6..8)? != [58, 255] {
        return None;
    }
    let (head, rest) = packet.get(40..)?.split_first_chunk::<8>()?;
    let [136, 0, _, _, flags, ..] = *head else {
        return None;
    };
    let (target, option) = rest.split_first_chunk::<16>()?;
    let [2, 1, hardware @ ..] = *option.first_chunk::<8>()? else {
        return None;
    };
    (flags & (SOLICITED | OVERRIDE) == OVERRIDE)
        .then(|| Moved::new((*target).into(), hardware))
        .flatten()
}
