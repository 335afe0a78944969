//! Hosts on a simulated Ethernet: they build frames, and parse those that are addressed to them as
//! strictly as a receiver should.

use core::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Packet,
    Ipv4Repr, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
    UdpPacket, UdpRepr,
};

/// A hardware address.
pub type Hardware = [u8; 6];

/// The broadcast address.
pub const BROADCAST: Hardware = [0xff; 6];

/// A UDP datagram with the addresses of its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Hardware and socket address of the sender.
    pub from: (Hardware, SocketAddr),
    /// Hardware and socket address of the receiver.
    pub to: (Hardware, SocketAddr),
    /// The payload.
    pub payload: Vec<u8>,
}

/// A host with one plain peer of a relay.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its own addresses.
    pub at: (Hardware, SocketAddr),
    /// The relay's addresses, as this host knows them.
    pub relay: (Hardware, SocketAddr),
    /// The payloads that it received.
    pub received: Vec<Vec<u8>>,
}

impl Host {
    /// Creates a host with the hardware address 02:00:00:00:01:`number`.
    pub fn new(number: u8, address: &str, relay: (Hardware, SocketAddr)) -> Self {
        let address = address.parse().expect("an address with a port");
        Self {
            at: ([2, 0, 0, 0, 1, number], address),
            relay,
            received: Vec::new(),
        }
    }

    /// Returns the frame of a datagram to the relay.
    pub fn say(&self, text: impl AsRef<[u8]>) -> Vec<u8> {
        datagram(self.at, self.relay, text.as_ref())
    }

    /// Handles a frame that the relay sent. Returns whether it was addressed to this host.
    ///
    /// # Panics
    ///
    /// If it is addressed to this host, but its contents are not what a strict receiver accepts
    /// from the relay.
    pub fn hear(&mut self, frame: &[u8]) -> bool {
        if frame.get(..6) != Some(&self.at.0[..]) {
            return false;
        }
        let Some(datagram) = parse(frame).filter(|datagram| datagram.to.1 == self.at.1) else {
            return false;
        };
        assert_eq!(
            datagram.from, self.relay,
            "the relay answers from elsewhere"
        );
        assert!(datagram.payload.len() <= 1024);
        self.received.push(datagram.payload);
        true
    }

    /// Returns all lines received since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        let payloads = self.received.drain(..);
        let texts = payloads.map(|payload| String::from_utf8(payload).expect("text"));
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

/// Returns the frame of a UDP datagram.
pub fn datagram(
    from: (Hardware, SocketAddr),
    to: (Hardware, SocketAddr),
    payload: &[u8],
) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: from.1.port(),
        dst_port: to.1.port(),
    };
    let ip = header(
        from.1.ip(),
        to.1.ip(),
        IpProtocol::Udp,
        udp.header_len() + payload.len(),
    );
    packet(from.0, to.0, &ip, |buffer| {
        udp.emit(
            &mut UdpPacket::new_unchecked(buffer),
            &ip.src_addr(),
            &ip.dst_addr(),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Returns the UDP datagram in a frame, if it has one that is valid, checksum included.
pub fn parse(frame: &[u8]) -> Option<Datagram> {
    let checksums = ChecksumCapabilities::default();
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let (source, destination, payload): (IpAddress, IpAddress, _) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
            (ip.next_header == IpProtocol::Udp).then_some(())?;
            let payload = &ethernet.payload()[usize::from(packet.header_len())..][..ip.payload_len];
            (ip.src_addr.into(), ip.dst_addr.into(), payload)
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let ip = Ipv6Repr::parse(&packet).ok()?;
            (ip.next_header == IpProtocol::Udp).then_some(())?;
            let payload = &ethernet.payload()[packet.header_len()..][..ip.payload_len];
            (ip.src_addr.into(), ip.dst_addr.into(), payload)
        }
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
    };
    let udp = UdpPacket::new_checked(payload).ok()?;
    if udp.checksum() == 0 {
        return None;
    }
    let ports = UdpRepr::parse(&udp, &source, &destination, &checksums).ok()?;
    Some(Datagram {
        from: (
            ethernet.src_addr().0,
            (IpAddr::from(source), ports.src_port).into(),
        ),
        to: (
            ethernet.dst_addr().0,
            (IpAddr::from(destination), ports.dst_port).into(),
        ),
        payload: udp.payload().to_vec(),
    })
}

/// Returns a request for the hardware address of `wanted`: ARP, or a neighbour solicitation.
pub fn who_has(from: (Hardware, IpAddr), wanted: IpAddr) -> Vec<u8> {
    match (from.1, wanted) {
        (IpAddr::V4(own), IpAddr::V4(wanted)) => {
            let arp = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: EthernetAddress(from.0),
                source_protocol_addr: own,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: wanted,
            };
            let length = arp.buffer_len();
            frame(from.0, BROADCAST, EthernetProtocol::Arp, length, |buffer| {
                arp.emit(&mut ArpPacket::new_unchecked(buffer));
            })
        }
        (IpAddr::V6(own), IpAddr::V6(wanted)) => {
            let [.., a, b, c] = wanted.octets();
            let group = Ipv6Address::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(a),
                u16::from_be_bytes([b, c]),
            );
            let question = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
                target_addr: wanted,
                lladdr: Some(RawHardwareAddress::from(EthernetAddress(from.0))),
            });
            icmpv6(
                (from.0, own),
                ([0x33, 0x33, 0xff, a, b, c], group),
                255,
                &question,
            )
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of different families")
        }
    }
}

/// Returns an unsolicited announcement of a hardware address: gratuitous ARP, or an unsolicited
/// neighbour advertisement.
pub fn announces(from: (Hardware, IpAddr)) -> Vec<u8> {
    let IpAddr::V6(own) = from.1 else {
        return who_has(from, from.1);
    };
    let announcement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: own,
        lladdr: Some(RawHardwareAddress::from(EthernetAddress(from.0))),
    });
    let all = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmpv6(
        (from.0, own),
        ([0x33, 0x33, 0, 0, 0, 1], all),
        255,
        &announcement,
    )
}

/// Returns the hardware address that a frame gives for `wanted` in answer to [`who_has`].
pub fn has(frame: &[u8], wanted: IpAddr) -> Option<Hardware> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Arp => {
            let arp = ArpPacket::new_checked(ethernet.payload()).ok()?;
            let ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr,
                source_protocol_addr,
                ..
            } = ArpRepr::parse(&arp).ok()?
            else {
                return None;
            };
            (IpAddr::from(source_protocol_addr) == wanted).then_some(source_hardware_addr.0)
        }
        EthernetProtocol::Ipv6 => {
            let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                target_addr,
                lladdr: Some(hardware),
                ..
            }) = parse_icmpv6(ethernet.payload())?
            else {
                return None;
            };
            let hardware = hardware.as_bytes().first_chunk().copied();
            hardware.filter(|_| IpAddr::from(target_addr) == wanted)
        }
        EthernetProtocol::Ipv4 | EthernetProtocol::Unknown(_) => None,
    }
}

/// Returns whether a frame asks for a hardware address. To answer a peer this must never be
/// necessary.
pub fn asks(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return false;
    };
    match ethernet.ethertype() {
        EthernetProtocol::Arp => ArpPacket::new_checked(ethernet.payload())
            .is_ok_and(|arp| arp.operation() == ArpOperation::Request),
        EthernetProtocol::Ipv6 => matches!(
            parse_icmpv6(ethernet.payload()),
            Some(Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { .. }))
        ),
        EthernetProtocol::Ipv4 | EthernetProtocol::Unknown(_) => false,
    }
}

/// Returns an ICMP echo request (a ping) with `data`.
pub fn ping(from: (Hardware, IpAddr), to: (Hardware, IpAddr), data: &[u8]) -> Vec<u8> {
    match (from.1, to.1) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let echo = Icmpv4Repr::EchoRequest {
                ident: 7,
                seq_no: 1,
                data,
            };
            icmpv4((from.0, own.into()), (to.0, other.into()), &echo)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let echo = Icmpv6Repr::EchoRequest {
                ident: 7,
                seq_no: 1,
                data,
            };
            icmpv6((from.0, own), (to.0, other), 64, &echo)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("addresses of different families")
        }
    }
}

/// Returns the data of an ICMP echo reply.
pub fn pong(frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() == EthernetProtocol::Ipv6 {
        let Icmpv6Repr::EchoReply { data, .. } = parse_icmpv6(ethernet.payload())? else {
            return None;
        };
        return Some(data.to_vec());
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
    let Icmpv4Repr::EchoReply { data, .. } =
        Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).ok()?
    else {
        return None;
    };
    Some(data.to_vec())
}

/// Returns the ICMP error "port unreachable" for the datagram in `frame`. It quotes `quoted` bytes
/// of the IP packet.
pub fn port_unreachable(frame: &[u8], quoted: usize) -> Vec<u8> {
    let datagram = parse(frame).expect("a datagram");
    let packet = &frame[14..];
    let quoted = &packet[..quoted.min(packet.len())];
    let (from, to) = (datagram.to, datagram.from);
    // encoded by hand: smoltcp would always quote the whole packet
    let (protocol, kind, code) = match from.1 {
        SocketAddr::V4(_) => (IpProtocol::Icmp, 3, 3),
        SocketAddr::V6(_) => (IpProtocol::Icmpv6, 1, 4),
    };
    let ip = header(from.1.ip(), to.1.ip(), protocol, 8 + quoted.len());
    self::packet(from.0, to.0, &ip, |buffer| {
        buffer[..8].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
        buffer[8..].copy_from_slice(quoted);
        match (ip.src_addr(), ip.dst_addr()) {
            (IpAddress::Ipv6(from), IpAddress::Ipv6(to)) => {
                Icmpv6Packet::new_unchecked(buffer).fill_checksum(&from, &to);
            }
            (IpAddress::Ipv4(_), _) | (IpAddress::Ipv6(_), IpAddress::Ipv4(_)) => {
                Icmpv4Packet::new_unchecked(buffer).fill_checksum();
            }
        }
    })
}

/// Returns the frame of an ICMPv4 message.
pub fn icmpv4(
    from: (Hardware, IpAddr),
    to: (Hardware, IpAddr),
    message: &Icmpv4Repr<'_>,
) -> Vec<u8> {
    let ip = header(from.1, to.1, IpProtocol::Icmp, message.buffer_len());
    packet(from.0, to.0, &ip, |buffer| {
        message.emit(
            &mut Icmpv4Packet::new_unchecked(buffer),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Returns the frame of an ICMPv6 message.
pub fn icmpv6(
    from: (Hardware, Ipv6Address),
    to: (Hardware, Ipv6Address),
    hop_limit: u8,
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let ip = IpRepr::new(
        from.1.into(),
        to.1.into(),
        IpProtocol::Icmpv6,
        message.buffer_len(),
        hop_limit,
    );
    packet(from.0, to.0, &ip, |buffer| {
        message.emit(
            &from.1,
            &to.1,
            &mut Icmpv6Packet::new_unchecked(buffer),
            &ChecksumCapabilities::default(),
        );
    })
}

fn parse_icmpv6(packet: &[u8]) -> Option<Icmpv6Repr<'_>> {
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let checksums = ChecksumCapabilities::default();
    Icmpv6Repr::parse(&packet.src_addr(), &packet.dst_addr(), &icmp, &checksums).ok()
}

fn header(from: IpAddr, to: IpAddr, protocol: IpProtocol, length: usize) -> IpRepr {
    IpRepr::new(from.into(), to.into(), protocol, length, 64)
}

fn packet(from: Hardware, to: Hardware, ip: &IpRepr, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let protocol = match ip {
        IpRepr::Ipv4(_) => EthernetProtocol::Ipv4,
        IpRepr::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    frame(from, to, protocol, ip.buffer_len(), |buffer| {
        ip.emit(&mut *buffer, &ChecksumCapabilities::default());
        fill(&mut buffer[ip.header_len()..]);
    })
}

fn frame(
    from: Hardware,
    to: Hardware,
    protocol: EthernetProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(length)];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.set_src_addr(EthernetAddress(from));
    ethernet.set_dst_addr(EthernetAddress(to));
    ethernet.set_ethertype(protocol);
    fill(ethernet.payload_mut());
    bytes
}
