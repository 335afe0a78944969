//! What the network stack does not tell of a frame: who sent it, and whether it reports that a
//! datagram did not arrive.

#[cfg(feature = "ipv4")]
use core::net::Ipv4Addr;
use core::net::{IpAddr, SocketAddr};

use kilochat_core::Unreachable;
use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken};
use smoltcp::time;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol};

use crate::wire;

/// A device that notes who sent the last frame, and what it says of datagrams that did not arrive.
pub(crate) struct NotingDevice<D> {
    pub(crate) device: D,
    pub(crate) notes: Notes,
}

pub(crate) struct Notes {
    own: [u8; 6],
    /// The hardware address that the last frame came from.
    pub(crate) hardware: [u8; 6],
    pub(crate) unreachable: Option<Report>,
    /// Frames that the stack was not given.
    pub(crate) dropped: u64,
    /// The broadcast address of the node's IPv4 network.
    #[cfg(feature = "ipv4")]
    pub(crate) broadcast: Option<Ipv4Addr>,
}

/// The network said that a datagram of this node did not arrive.
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
            dropped: 0,
            #[cfg(feature = "ipv4")]
            broadcast: None,
        }
    }

    /// Looks at a frame; returns whether the stack may have it.
    fn take(&mut self, frame: &[u8]) -> bool {
        let is_fit = self.is_fit(frame);
        self.dropped += u64::from(!is_fit);
        is_fit
    }

    /// Whether a frame is one that the stack must have, and does not drop without a word.
    fn is_fit(&mut self, frame: &[u8]) -> bool {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return false;
        };
        self.hardware = ethernet.src_addr().0;
        if !ethernet.src_addr().is_unicast() || self.hardware == self.own {
            // nobody can be answered there
            return false;
        }
        let packet = ethernet.payload();
        #[cfg(feature = "ipv4")]
        if ethernet.ethertype() == EthernetProtocol::Ipv4 {
            self.unreachable = unreachable_v4(packet);
            return !wire::is_from_all_v4(packet, self.broadcast);
        }
        #[cfg(feature = "ipv6")]
        if ethernet.ethertype() == EthernetProtocol::Ipv6 {
            self.unreachable = unreachable_v6(packet);
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

/// What an ICMP error to `own` reports, if it quotes a datagram from there.
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
            // smoltcp does nothing with an empty frame
            handle(if is_fit { frame } else { &[] })
        })
    }

    fn meta(&self) -> PacketMeta {
        self.token.meta()
    }
}
