//! Properties of addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the link-local IPv6 address for a hardware address (RFC 4291 appendix A).
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

/// Returns the link-local IPv4 address (RFC 3927) of a node that has no other. It is derived from
/// the hardware address; no probe is sent to find whether it is free.
pub const fn link_local_v4(hardware: [u8; 6]) -> Ipv4Addr {
    let [_, _, _, d, e, f] = hardware;
    // 169.254.1.0 to 169.254.254.255
    Ipv4Addr::new(169, 254, 1 + (d ^ e) % 254, f)
}

/// Returns whether this is a valid unicast hardware address.
pub(crate) fn is_one_machine(hardware: [u8; 6]) -> bool {
    let [first, ..] = hardware;
    first & 1 == 0 && hardware != [0; 6]
}

/// Returns whether a host on an Ethernet may have this address.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
}

/// Returns whether a datagram from Ethernet may have this source address. A loopback address is not
/// one. The relay itself refuses multicast sources.
pub(crate) fn is_on_wire(source: IpAddr) -> bool {
    // an IPv4-mapped address is not allowed on the wire either (RFC 4942 section 2.2)
    let is_mapped = matches!(source, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    !source.is_loopback() && !is_mapped
}
