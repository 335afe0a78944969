//! What is known of an address by looking at it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The link-local IPv6 address that belongs to a hardware address (RFC 4291 appendix A).
pub const fn link_local(hardware: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = hardware;
    let pair = u16::from_be_bytes;
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair([a ^ 2, b]),
        pair([c, 0xff]),
        pair([0xfe, d]),
        pair([e, f]),
    )
}

/// The link-local IPv4 address (RFC 3927) that a node takes when nobody gives it one. It is made
/// of the hardware address, and nobody is asked whether it is free.
pub const fn link_local_v4(hardware: [u8; 6]) -> Ipv4Addr {
    let [_, _, _, d, e, f] = hardware;
    // 169.254.1.0 to 169.254.254.255
    Ipv4Addr::new(169, 254, 1 + (d ^ e) % 254, f)
}

/// Whether it is the hardware address of one machine.
pub(crate) fn is_one_machine(hardware: [u8; 6]) -> bool {
    let [first, ..] = hardware;
    first & 1 == 0 && hardware != [0; 6]
}

/// Whether a machine on a wire may have this address.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
}

/// Whether a datagram on a wire may have this source: not the receiver itself. The relay refuses
/// groups.
pub(crate) fn is_on_wire(source: IpAddr) -> bool {
    // an IPv6 form of an IPv4 address is not for the wire either (RFC 4942 section 2.2)
    let is_mapped = matches!(source, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    !source.is_loopback() && !is_mapped
}
