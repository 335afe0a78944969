//! What the network stack does not report about a frame: its source hardware address, whether it
//! is a report that a datagram was not delivered, and whether it announces a hardware address.

#[cfg(feature = "ipv4")]
use core::net::Ipv4Addr;
use core::net::{IpAddr, SocketAddr};

use kilochat_core::Unreachable;
use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken};
use smoltcp::time;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol};

use crate::wire::{self, Moved};

/// A device that records the sender of the last frame, and its report of datagrams that were not
/// delivered.
pub(crate) struct NotingDevice<D> {
    pub(crate) device: D,
    pub(crate) notes: Notes,
}

pub(crate) struct Notes {
    own: [u8; 6],
    /// The hardware address from which the last frame came.
    pub(crate) hardware: [u8; 6],
    pub(crate) unreachable: Option<Report>,
    /// The hardware address that the last frame announced without being asked.
    pub(crate) moved: Option<Moved>,
    /// Frames that were not passed to the stack.
    pub(crate) dropped: u64,
    /// The broadcast address of the node's IPv4 network.
    #[cfg(feature = "ipv4")]
    pub(crate) broadcast: Option<Ipv4Addr>,
}

/// A report of the network that a datagram of this node was not delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) why: Unreachable,
}

impl Notes {
    pub(crate) fn new(own: [u8; 6]) -> Self {
        Self {
            own,
            hardware: [0; 6],
            unreachable: None,
            moved: None,
            dropped: 0,
            #[cfg(feature = "ipv4")]
            broadcast: None,
        }
    }

    /// Inspects a frame. Returns whether it is passed to the stack.
    fn take(&mut self, frame: &[u8]) -> bool {
        let is_fit = self.is_fit(frame);
        self.dropped += u64::from(!is_fit);
        is_fit
    }

    /// Returns whether the frame has a source to which a reply is possible, and nothing on which the
    /// stack would panic.
    fn is_fit(&mut self, frame: &[u8]) -> bool {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return false;
        };
        self.hardware = ethernet.src_addr().0;
        if !ethernet.src_addr().is_unicast() || self.hardware == self.own {
            // no reply is possible to such a source
            return false;
        }
        let packet = ethernet.payload();
        #[cfg(feature = "ipv4")]
        if ethernet.ethertype() == EthernetProtocol::Arp {
            self.moved = wire::gratuitous_arp(packet);
        }
        #[cfg(feature = "ipv4")]
        if ethernet.ethertype() == EthernetProtocol::Ipv4 {
            self.unreachable = unreachable_v4(packet);
            return !wire::is_from_all_v4(packet, self.broadcast);
        }
        #[cfg(feature = "ipv6")]
        if ethernet.ethertype() == EthernetProtocol::Ipv6 {
            self.unreachable = unreachable_v6(packet);
            self.moved = wire::unsolicited_advertisement(packet);
            return !wire::is_from_all_v6(packet) && !wire::advertises_nonsense(packet);
        }
        true
    }
}

#[cfg(feature = "ipv4")]
fn unreachable_v4(packet: &[u8]) -> Option<Report> {
    use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Ipv4Packet};

    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Icmp {
        return None;
    }
    let icmp = Icmpv4Packet::new_checked(ip.payload()).ok()?;
    if icmp.msg_type() != Icmpv4Message::DstUnreachable || !icmp.verify_checksum() {
        return None;
    }
    report(icmp.data(), ip.dst_addr().into(), icmp.msg_code() == 3)
}

#[cfg(feature = "ipv6")]
fn unreachable_v6(packet: &[u8]) -> Option<Report> {
    use smoltcp::wire::{Icmpv6Message, Icmpv6Packet, Ipv6Packet};

    let ip = Ipv6Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    if icmp.msg_type() != Icmpv6Message::DstUnreachable
        || !icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr())
    {
        return None;
    }
    report(icmp.payload(), ip.dst_addr().into(), icmp.msg_code() == 4)
}

/// Returns what an ICMP error to `own` reports, if it quotes a datagram from that address.
fn report(quoted: &[u8], own: IpAddr, is_port: bool) -> Option<Report> {
    let (local, peer) = wire::quoted(quoted)?;
    let why = if is_port {
        Unreachable::Port
    } else {
        Unreachable::Path
    };
    (local.ip() == own).then_some(Report { local, peer, why })
}

impl<D: Device> Device for NotingDevice<D> {
    type RxToken<'a>
        = NotingToken<'a, D::RxToken<'a>>
    where
        Self: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, now: time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (token, reply) = self.device.receive(now)?;
        let notes = &mut self.notes;
        Some((NotingToken { token, notes }, reply))
    }

    fn transmit(&mut self, now: time::Instant) -> Option<Self::TxToken<'_>> {
        self.device.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

pub(crate) struct NotingToken<'a, T> {
    token: T,
    notes: &'a mut Notes,
}

impl<T: RxToken> RxToken for NotingToken<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        let notes = self.notes;
        self.token.consume(|frame| {
            let is_fit = notes.take(frame);
            // smoltcp ignores an empty frame
            handle(if is_fit { frame } else { &[] })
        })
    }

    fn meta(&self) -> PacketMeta {
        self.token.meta()
    }
}
