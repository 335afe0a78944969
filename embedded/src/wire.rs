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
