//! Building the frames that hosts send.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr,
    NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags, UdpPacket, UdpRepr,
};

const SECOND: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(1);

/// Returns an ARP packet from one host to another, or as a broadcast if the receiver is not known
/// yet.
pub(crate) fn arp(
    operation: ArpOperation,
    from: (EthernetAddress, Ipv4Addr),
    to: (EthernetAddress, Ipv4Addr),
) -> Vec<u8> {
    let packet = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: from.0,
        source_protocol_addr: from.1,
        target_hardware_addr: to.0,
        target_protocol_addr: to.1,
    };
    ethernet(
        from.0,
        to.0,
        EthernetProtocol::Arp,
        packet.buffer_len(),
        |payload| {
            packet.emit(&mut ArpPacket::new_unchecked(payload));
        },
    )
}

/// Returns a frame with a UDP datagram.
pub(crate) fn udp(
    from: (EthernetAddress, IpAddr, u16),
    to: (EthernetAddress, IpAddr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let header = UdpRepr {
        src_port: from.2,
        dst_port: to.2,
    };
    let length = header.header_len() + payload.len();
    let (source, destination) = (from.1.into(), to.1.into());
    let checksums = ChecksumCapabilities::default();
    ip(
        (from.0, from.1),
        (to.0, to.1),
        IpProtocol::Udp,
        length,
        |bytes| {
            header.emit(
                &mut UdpPacket::new_unchecked(bytes),
                &source,
                &destination,
                payload.len(),
                |room| room.copy_from_slice(payload),
                &checksums,
            );
        },
    )
}

/// Returns a frame with an ICMP message.
pub(crate) fn icmpv4(
    from: (EthernetAddress, Ipv4Addr),
    to: (EthernetAddress, Ipv4Addr),
    message: &Icmpv4Repr<'_>,
) -> Vec<u8> {
    let (length, checksums) = (message.buffer_len(), ChecksumCapabilities::default());
    let (from, to) = ((from.0, from.1.into()), (to.0, to.1.into()));
    ip(from, to, IpProtocol::Icmp, length, |bytes| {
        message.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums);
    })
}

/// Returns a frame with an ICMPv6 message.
pub(crate) fn icmpv6(
    from: (EthernetAddress, Ipv6Addr),
    to: (EthernetAddress, Ipv6Addr),
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let (length, checksums) = (message.buffer_len(), ChecksumCapabilities::default());
    let ends = ((from.0, from.1.into()), (to.0, to.1.into()));
    ip(ends.0, ends.1, IpProtocol::Icmpv6, length, |bytes| {
        let mut packet = Icmpv6Packet::new_unchecked(bytes);
        message.emit(&from.1, &to.1, &mut packet, &checksums);
    })
}

/// Returns a router advertisement: all hosts may use its prefix.
pub(crate) fn router_advertisement() -> Vec<u8> {
    let router = EthernetAddress([2, 0xfe, 0, 0, 0, 1]);
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xfe, 1);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let advertisement = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: SECOND * 1800,
        reachable_time: SECOND,
        retrans_time: SECOND,
        lladdr: Some(router.into()),
        mtu: Some(1500),
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
            valid_lifetime: SECOND * 3600,
            preferred_lifetime: SECOND * 1800,
            prefix: Ipv6Addr::new(0xfd00, 0, 0, 7, 0, 0, 0, 0),
        }),
    };
    let to = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
    icmpv6((router, from), (to, all), &Icmpv6Repr::Ndisc(advertisement))
}

/// Returns a frame with an IP packet of either version.
fn ip(
    from: (EthernetAddress, IpAddr),
    to: (EthernetAddress, IpAddr),
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let ethertype = if to.1.is_ipv4() {
        EthernetProtocol::Ipv4
    } else {
        EthernetProtocol::Ipv6
    };
    // the hop limit 255 shows that the sender is on the same link (RFC 4861 section 7.1)
    let header = IpRepr::new(from.1.into(), to.1.into(), protocol, length, 255);
    let total = header.header_len() + length;
    ethernet(from.0, to.0, ethertype, total, |bytes| {
        header.emit(&mut *bytes, &ChecksumCapabilities::default());
        fill(&mut bytes[header.header_len()..]);
    })
}

fn ethernet(
    from: EthernetAddress,
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = EthernetRepr {
        src_addr: from,
        dst_addr: to,
        ethertype,
    };
    // Ethernet pads shorter frames to 60 bytes
    let mut bytes = vec![0; (14 + length).max(60)];
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    fill(&mut bytes[14..14 + length]);
    bytes
}
