//! The node's network stack: with its notes the only files of the node that name smoltcp's types.
//!
//! smoltcp answers ARP, neighbour discovery and ping, keeps the addresses and takes UDP apart. It
//! sends no datagram of the relay: its sockets would wait for a neighbour that does not answer, and
//! all peers with them. Each peer is answered to the hardware address that its own datagrams came
//! from, by frames that go straight to the device.

mod notes;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use heapless::Vec;
use kilochat_core::{DATAGRAM_MAX, Instant, Network};
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::udp;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpCidr, IpProtocol, IpRepr,
    UdpPacket, UdpRepr,
};

/// What an Ethernet driver for a node implements: smoltcp's traits for network devices.
pub use smoltcp::phy;
/// The time stamps of [`phy::Device`].
pub use smoltcp::time;

#[cfg(feature = "ipv6")]
use crate::addresses::link_local;
use crate::config::{Config, Error};
pub(crate) use notes::Report;
use notes::{Notes, NotingDevice};

/// Bytes of the largest UDP payload in an Ethernet frame, so that one that is too long for the
/// relay is seen and refused.
const PAYLOAD_MAX: usize = 1472;

/// Bytes of the largest question for a name that is read.
#[cfg(feature = "mdns")]
const QUESTION_MAX: usize = 512;

/// UDP, names and DHCP.
const SOCKETS: usize = 3;

/// Ethernet, the longer IP header, UDP.
const HEADERS_MAX: usize = 14 + 40 + 8;

/// How far smoltcp's clock may go: it counts microseconds in an `i64`.
const TIME_MAX: u64 = 1 << 50;

/// How to answer a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The hardware address that its last datagram came from: its own or its router's.
    pub(crate) hardware: [u8; 6],
    /// The node's address that its last datagram went to.
    pub(crate) local: IpAddr,
    /// Whether the node still has that address.
    pub(crate) is_own: bool,
}

impl Route {
    pub(crate) const NOWHERE: Self = Self {
        hardware: [0; 6],
        local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        is_own: false,
    };
}

/// A datagram that arrived at one of the node's ports.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) route: Route,
    pub(crate) payload: &'a [u8],
}

/// What DHCP has brought about.
#[cfg(feature = "dhcp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEvent {
    Gained(Network, Option<Ipv4Addr>),
    Lost,
}

/// The memory of the sockets; their tables are made when the stack is, so that it starts as zeros.
#[derive(Debug)]
pub(crate) struct Buffers {
    sockets: Vec<SocketStorage<'static>, SOCKETS>,
    metadata: Vec<udp::PacketMetadata, 1>,
    payload: [u8; PAYLOAD_MAX],
    #[cfg(feature = "mdns")]
    question_metadata: Vec<udp::PacketMetadata, 1>,
    #[cfg(feature = "mdns")]
    question: [u8; QUESTION_MAX],
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self {
            sockets: Vec::new(),
            metadata: Vec::new(),
            payload: [0; PAYLOAD_MAX],
            #[cfg(feature = "mdns")]
            question_metadata: Vec::new(),
            #[cfg(feature = "mdns")]
            question: [0; QUESTION_MAX],
        }
    }
}

/// A device with its interface and sockets.
pub(crate) struct Stack<D> {
    device: NotingDevice<D>,
    interface: Interface,
    sockets: SocketSet<'static>,
    checksums: ChecksumCapabilities,
    hardware: [u8; 6],
    /// Datagrams that were not sent because their source address is gone.
    stale: u64,
    udp: SocketHandle,
    #[cfg(feature = "mdns")]
    names: Option<SocketHandle>,
    #[cfg(feature = "dhcp")]
    dhcp: Option<SocketHandle>,
}

impl<D: Device> Stack<D> {
    /// Whether there can be a stack on `device`.
    pub(crate) fn check(device: &D) -> Result<(), Error> {
        let capabilities = device.capabilities();
        if !is_fit(&capabilities) {
            return Err(Error::Device);
        }
        Ok(())
    }

    /// A stack on `device`, which has been checked, without addresses.
    #[inline(never)] // so that it is made where it stays
    pub(crate) fn new(
        device: D,
        buffers: &'static mut Buffers,
        config: &Config,
        now: Instant,
    ) -> Self {
        let checksums = device.capabilities().checksum;
        let mut device = NotingDevice {
            device,
            notes: Notes::new(config.hardware),
        };
        let mut options = iface::Config::new(EthernetAddress(config.hardware).into());
        options.random_seed = config.seed;
        #[cfg(feature = "slaac")]
        {
            options.slaac = config.slaac;
        }
        let interface = Interface::new(options, &mut device, stack_time(now));
        buffers.sockets.clear();
        // as many as there is room for
        while buffers.sockets.push(SocketStorage::EMPTY).is_ok() {}
        let mut sockets = SocketSet::new(buffers.sockets.as_mut_slice());
        let udp = open(
            &mut sockets,
            &mut buffers.metadata,
            &mut buffers.payload,
            config.port,
        );
        #[cfg(feature = "mdns")]
        let names = (!config.name.is_empty() && config.port != crate::mdns::PORT).then(|| {
            open(
                &mut sockets,
                &mut buffers.question_metadata,
                &mut buffers.question,
                crate::mdns::PORT,
            )
        });
        #[cfg(feature = "dhcp")]
        let dhcp = config.dhcp.then(|| {
            let mut socket = smoltcp::socket::dhcpv4::Socket::new();
            let mut retry = socket.get_retry_config();
            retry.discover_timeout = time::Duration::from_secs(4);
            socket.set_retry_config(retry);
            sockets.add(socket)
        });
        Self {
            device,
            interface,
            sockets,
            checksums,
            hardware: config.hardware,
            stale: 0,
            udp,
            #[cfg(feature = "mdns")]
            names,
            #[cfg(feature = "dhcp")]
            dhcp,
        }
    }

    pub(crate) fn device(&self) -> &D {
        &self.device.device
    }

    pub(crate) fn device_mut(&mut self) -> &mut D {
        &mut self.device.device
    }

    /// The node's addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Network> + '_ {
        self.interface.ip_addrs().iter().map(|cidr| Network {
            address: cidr.address().into(),
            prefix: cidr.prefix_len(),
        })
    }

    /// Adds the link-local address and the static ones, except where a lease takes their place.
    pub(crate) fn set_static(&mut self, config: &Config) {
        #[cfg(feature = "ipv6")]
        {
            let local = Network {
                address: link_local(self.hardware).into(),
                prefix: 64,
            };
            let fixed = config.addresses.iter().filter(|n| n.address.is_ipv6());
            self.interface.update_ip_addrs(|addresses| {
                // there is room for them
                addresses.extend(cidr(&local));
                addresses.extend(fixed.filter_map(cidr));
            });
            #[cfg(feature = "mdns")]
            if self.names.is_some() {
                // there is room for it
                let _ = self.interface.join_multicast_group(crate::mdns::GROUP_V6);
            }
        }
        #[cfg(feature = "ipv4")]
        if !config.asks_for_lease() {
            self.set_ipv4(config.static_ipv4(), None);
        }
    }

    /// Replaces the IPv4 address, which forgets all neighbours.
    #[cfg(feature = "ipv4")]
    pub(crate) fn set_ipv4(&mut self, network: Option<Network>, router: Option<Ipv4Addr>) {
        let cidr = network.as_ref().and_then(cidr);
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|address| !matches!(address, IpCidr::Ipv4(_)));
            // the place of the old one is free
            addresses.extend(cidr);
        });
        self.device.notes.broadcast = match cidr {
            Some(IpCidr::Ipv4(cidr)) => cidr.broadcast(),
            _ => None,
        };
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = router {
            // there is room for it
            let _ = routes.add_default_ipv4_route(router);
        }
        #[cfg(feature = "mdns")]
        if self.names.is_some() && network.is_some() {
            // there is room for it
            let _ = self.interface.join_multicast_group(crate::mdns::GROUP_V4);
        }
    }

    /// What DHCP has brought about since the last call.
    #[cfg(feature = "dhcp")]
    pub(crate) fn poll_dhcp(&mut self) -> Option<LeaseEvent> {
        use crate::addresses::is_host;
        use smoltcp::socket::dhcpv4::{Event, Socket};

        match self.sockets.get_mut::<Socket<'_>>(self.dhcp?).poll()? {
            Event::Configured(lease) => {
                let network = Network {
                    address: lease.address.address().into(),
                    prefix: lease.address.prefix_len(),
                };
                let router = lease.router;
                Some(LeaseEvent::Gained(
                    network,
                    router.filter(|ip| is_host((*ip).into())),
                ))
            }
            Event::Deconfigured => Some(LeaseEvent::Lost),
        }
    }

    /// Does what is due without a frame: addresses that expire, questions of its own.
    pub(crate) fn maintain(&mut self, now: Instant) {
        let now = stack_time(now);
        self.interface.poll_maintenance(now);
        self.interface
            .poll_egress(now, &mut self.device, &mut self.sockets);
    }

    /// When to call [`maintain`](Self::maintain) next; it may be in the past where smoltcp waits
    /// for something that it cannot know.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let then = self.interface.poll_at(stack_time(now), &self.sockets)?;
        // rounded up: a wake-up too early would only be followed by another
        let micros = u64::try_from(then.total_micros()).unwrap_or_default();
        Some(Instant::from_millis(micros.div_ceil(1000)))
    }

    /// Takes one frame from the device; returns false if there was none.
    pub(crate) fn receive(&mut self, now: Instant) -> bool {
        self.device.notes.unreachable = None;
        let result = self.interface.poll_ingress_single(
            stack_time(now),
            &mut self.device,
            &mut self.sockets,
        );
        result != iface::PollIngressSingleResult::None
    }

    /// The datagram for the relay that the last frame brought.
    pub(crate) fn datagram(&mut self) -> Option<Result<Datagram<'_>, Misdirected>> {
        let (payload, metadata) = self
            .sockets
            .get_mut::<udp::Socket<'_>>(self.udp)
            .recv()
            .ok()?;
        let local = metadata.local_address?;
        // groups and broadcast cannot be answered from, and loopback is not on a wire
        if !self.interface.has_ip_addr(local) {
            return Some(Err(Misdirected));
        }
        Some(Ok(Datagram {
            source: source(&metadata),
            route: Route {
                hardware: self.device.notes.hardware,
                local: local.into(),
                is_own: true,
            },
            payload,
        }))
    }

    /// The question for a name that the last frame brought.
    #[cfg(feature = "mdns")]
    pub(crate) fn question(&mut self) -> Option<Datagram<'_>> {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.names?);
        let (payload, metadata) = socket.recv().ok()?;
        let source = source(&metadata);
        Some(Datagram {
            source,
            route: Route {
                hardware: self.device.notes.hardware,
                local: self
                    .interface
                    .get_source_address(&metadata.endpoint.addr)?
                    .into(),
                is_own: true,
            },
            payload,
        })
    }

    /// From where to where a datagram was, and why it did not arrive, if the last frame said so of
    /// a datagram from one of the node's addresses.
    pub(crate) fn take_unreachable(&mut self) -> Option<Report> {
        let report = self.device.notes.unreachable.take()?;
        let local = stack_address(report.local.ip())?;
        self.interface.has_ip_addr(local).then_some(report)
    }

    /// Frames that the stack was not given because of what their first bytes say.
    pub(crate) fn dropped(&self) -> u64 {
        self.device.notes.dropped
    }

    /// Datagrams that were not sent because their source address is gone.
    pub(crate) fn stale(&self) -> u64 {
        self.stale
    }

    /// Whether the device takes a frame now.
    pub(crate) fn can_send(&mut self, now: Instant) -> bool {
        self.device.device.transmit(stack_time(now)).is_some()
    }

    /// Sends a datagram at once; returns false if the device takes nothing now.
    ///
    /// Where the address of the route is gone it is only counted, as is one of mixed families, which
    /// no caller makes.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        route: &Route,
        ports: (u16, u16),
        to: IpAddr,
        payload: &[u8],
    ) -> bool {
        let udp = UdpRepr {
            src_port: ports.0,
            dst_port: ports.1,
        };
        let hop_limit = hop_limit(ports.0);
        let length = udp.header_len() + payload.len();
        let header = ip_header(route.local, to, length, hop_limit);
        let Some((ip, protocol)) = header.filter(|_| route.is_own) else {
            self.stale += 1;
            return true;
        };
        let Some(token) = self.device.device.transmit(stack_time(now)) else {
            return false;
        };
        let (hardware, checksums) = (self.hardware, &self.checksums);
        let length = EthernetFrame::<&[u8]>::buffer_len(ip.buffer_len());
        phy::TxToken::consume(token, length, |frame| {
            let mut frame = EthernetFrame::new_unchecked(frame);
            frame.set_src_addr(EthernetAddress(hardware));
            frame.set_dst_addr(EthernetAddress(route.hardware));
            frame.set_ethertype(protocol);
            let packet = frame.payload_mut();
            ip.emit(&mut *packet, checksums);
            udp.emit(
                &mut UdpPacket::new_unchecked(&mut packet[ip.header_len()..]),
                &ip.src_addr(),
                &ip.dst_addr(),
                payload.len(),
                |buffer| buffer.copy_from_slice(payload),
                checksums,
            );
        });
        true
    }
}

/// A datagram was sent to a group, to everybody or to an address that is not on a wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misdirected;

/// Opens a socket that receives only: one datagram, which is taken before the next frame.
fn open(
    sockets: &mut SocketSet<'static>,
    metadata: &'static mut Vec<udp::PacketMetadata, 1>,
    payload: &'static mut [u8],
    port: u16,
) -> SocketHandle {
    *metadata = [udp::PacketMetadata::EMPTY].into();
    let nothing: (&'static mut [_], &'static mut [u8]) = (&mut [], &mut []);
    let mut socket = udp::Socket::new(
        udp::PacketBuffer::new(metadata.as_mut_slice(), payload),
        udp::PacketBuffer::new(nothing.0, nothing.1),
    );
    // it is not open yet, and callers do not ask for port 0
    let _ = socket.bind(port);
    sockets.add(socket)
}

/// 255 in every answer for a name (RFC 6762 section 11), else what is usual (RFC 1700).
const fn hop_limit(port: u16) -> u8 {
    #[cfg(feature = "mdns")]
    if port == crate::mdns::PORT {
        return 255;
    }
    let _ = port;
    64
}

/// The header of a packet of `length` bytes of payload, none if the families differ.
fn ip_header(
    local: IpAddr,
    to: IpAddr,
    length: usize,
    hop_limit: u8,
) -> Option<(IpRepr, EthernetProtocol)> {
    if local.is_ipv4() != to.is_ipv4() {
        // `IpRepr::new` panics
        return None;
    }
    let header = IpRepr::new(
        stack_address(local)?,
        stack_address(to)?,
        IpProtocol::Udp,
        length,
        hop_limit,
    );
    let protocol = if local.is_ipv4() {
        EthernetProtocol::Ipv4
    } else {
        EthernetProtocol::Ipv6
    };
    Some((header, protocol))
}

/// Whether a device is Ethernet, and its frames have room for every datagram.
pub(crate) fn is_fit(capabilities: &DeviceCapabilities) -> bool {
    capabilities.medium == Medium::Ethernet
        && capabilities.max_transmission_unit >= HEADERS_MAX + DATAGRAM_MAX
}

/// An address as smoltcp has it, none of a family that is not compiled in.
pub(crate) fn stack_address(ip: IpAddr) -> Option<IpAddress> {
    match ip {
        #[cfg(feature = "ipv4")]
        IpAddr::V4(ip) => Some(ip.into()),
        #[cfg(not(feature = "ipv4"))]
        IpAddr::V4(_) => None,
        #[cfg(feature = "ipv6")]
        IpAddr::V6(ip) => Some(ip.into()),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}

pub(crate) fn source(metadata: &udp::UdpMetadata) -> SocketAddr {
    (IpAddr::from(metadata.endpoint.addr), metadata.endpoint.port).into()
}

pub(crate) fn cidr(network: &Network) -> Option<IpCidr> {
    Some(IpCidr::new(stack_address(network.address)?, network.prefix))
}

pub(crate) fn stack_time(now: Instant) -> time::Instant {
    let millis = now.as_millis().min(TIME_MAX);
    time::Instant::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
