//! Ethernet frames that no correct host sends.

use fastrand::Rng;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet,
    Ipv6Packet, UdpPacket,
};

use crate::hosts::Lan;
use crate::hosts::frames::router_advertisement;

/// Generates random frames, and valid ones with changes.
#[derive(Debug)]
pub(crate) struct Frames {
    good: Vec<Vec<u8>>,
    random: Rng,
}

impl Frames {
    pub(crate) fn new(lan: &Lan, seed: u64) -> Self {
        let mut good = vec![router_advertisement()];
        for host in 0..lan.hosts.len() {
            good.push(lan.question(host));
            good.push(lan.ping(host));
            good.push(lan.name_question(host));
            good.push(lan.datagram(host, b"a line that somebody says"));
            good.push(lan.datagram(host, "x".repeat(900).as_bytes()));
            good.push(lan.datagram(host, b"/nick somebody"));
        }
        Self {
            good,
            random: Rng::with_seed(seed),
        }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        if self.random.u8(..4) == 0 {
            self.random_frame()
        } else {
            self.mutated_frame()
        }
    }

    /// Returns random bytes after a header that is addressed to the board.
    fn random_frame(&mut self) -> Vec<u8> {
        let length = self.random.usize(1..=1514);
        let mut frame: Vec<u8> = core::iter::repeat_with(|| self.random.u8(..))
            .take(length)
            .collect();
        let ethertypes = [[8, 0], [8, 6], [0x86, 0xdd]];
        let header = self.random.choice(&self.good).expect("there are some");
        if length >= 16 && self.random.u8(..4) != 0 {
            frame[..12].copy_from_slice(&header[..12]);
            frame[12..14].copy_from_slice(&ethertypes[self.random.usize(..3)]);
            frame[14] = [0x45, 0x60, 0][self.random.usize(..3)];
        }
        frame
    }

    fn mutated_frame(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut frame = random.choice(&self.good).expect("there are some").clone();
        for _ in 0..random.u8(1..=4) {
            // changes to headers are more frequent than others
            let end = if random.bool() {
                62.min(frame.len())
            } else {
                frame.len()
            };
            let at = random.usize(..end);
            match random.u8(..6) {
                0 => frame[at] ^= 1 << random.u8(..8),
                1 => frame[at] = random.u8(..),
                2 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
                3 => frame.truncate(at.max(1)),
                4 => frame.extend((0..random.usize(..64)).map(|_| 0xa5)),
                _ => frame.swap(at, end - 1),
            }
        }
        frame.truncate(1514);
        if random.bool() {
            repair(&mut frame);
        }
        frame
    }
}

/// Corrects the checksums, so that the board parses more of the packet.
fn repair(bytes: &mut [u8]) {
    let Ok(mut frame) = EthernetFrame::new_checked(bytes) else {
        return;
    };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut packet) = Ipv4Packet::new_checked(frame.payload_mut()) else {
                return;
            };
            packet.fill_checksum();
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            let is_icmp = packet.next_header() == IpProtocol::Icmp;
            if !is_icmp {
                repair_udp(packet.payload_mut(), &from, &to);
            } else if let Ok(mut message) = Icmpv4Packet::new_checked(packet.payload_mut()) {
                message.fill_checksum();
            }
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut packet) = Ipv6Packet::new_checked(frame.payload_mut()) else {
                return;
            };
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let is_icmp = packet.next_header() == IpProtocol::Icmpv6;
            if !is_icmp {
                repair_udp(packet.payload_mut(), &from.into(), &to.into());
            } else if let Ok(mut message) = Icmpv6Packet::new_checked(packet.payload_mut()) {
                message.fill_checksum(&from, &to);
            }
        }
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => {}
    }
}

fn repair_udp(payload: &mut [u8], from: &IpAddress, to: &IpAddress) {
    if let Ok(mut datagram) = UdpPacket::new_checked(payload) {
        datagram.fill_checksum(from, to);
    }
}
