//! The node's network stack. This file and its notes are the only ones of the node that use
//! smoltcp's types.
//!
//! smoltcp handles ARP, neighbour discovery, ping, addresses and the reception of UDP. It does not
//! send the relay's datagrams: its sockets would wait for a neighbour that does not respond, and
//! delay all peers. Each peer is replied to at the hardware address from which its own datagrams
//! came, by frames that go directly to the device.

mod notes;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use heapless::Vec;
use kilochat_core::framed::FRAME;
use kilochat_core::{DATAGRAM_MAX, Instant, Network};
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::udp;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpCidr, IpProtocol, IpRepr,
    UdpPacket, UdpRepr,
};

/// The traits that an Ethernet driver for a node implements.
pub use smoltcp::phy;
/// The time stamps of [`phy::Device`].
pub use smoltcp::time;

#[cfg(feature = "ipv6")]
use crate::addresses::link_local;
use crate::config::{Config, Error};
use crate::wire::Moved;
pub(crate) use notes::Report;
use notes::{Notes, NotingDevice};

/// Maximum UDP payload in an Ethernet frame, in bytes. A datagram that is too long for the relay is
/// received as a whole, so that the relay can refuse it.
const PAYLOAD_MAX: usize = 1472;

/// Maximum length of an mDNS query that is read, in bytes.
#[cfg(feature = "mdns")]
const QUESTION_MAX: usize = 512;

/// Number of sockets: UDP, mDNS and DHCP.
const SOCKETS: usize = 3;

/// Maximum length of all headers: Ethernet, the longer IP header, UDP.
const HEADERS_MAX: usize = 14 + 40 + 8;

/// Maximum time that is passed to smoltcp, in milliseconds: it counts microseconds in an `i64`.
const TIME_MAX: u64 = 1 << 50;

/// How to send to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The hardware address from which its last datagram came: its own or its router's.
    pub(crate) hardware: [u8; 6],
    /// The node's address to which its last datagram went.
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

/// A change of the DHCP lease.
#[cfg(feature = "dhcp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEvent {
    Gained(Network, Option<Ipv4Addr>),
    Lost,
}

/// The memory of the sockets. Their tables are filled when the stack is created, so that the
/// initial value is all zero.
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
    /// Datagrams that were not sent because their source address was lost.
    stale: u64,
    udp: SocketHandle,
    #[cfg(feature = "mdns")]
    names: Option<SocketHandle>,
    #[cfg(feature = "dhcp")]
    dhcp: Option<SocketHandle>,
}

impl<D: Device> Stack<D> {
    /// Checks whether a stack can use `device`.
    pub(crate) fn check(device: &D) -> Result<(), Error> {
        let capabilities = device.capabilities();
        if !is_fit(&capabilities) {
            return Err(Error::Device);
        }
        Ok(())
    }

    /// Creates a stack without addresses on `device`, which has been checked.
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
        // as many as fit
        while buffers.sockets.push(SocketStorage::EMPTY).is_ok() {}
        let mut sockets = SocketSet::new(buffers.sockets.as_mut_slice());
        let udp = open(
            &mut sockets,
            &mut buffers.metadata,
            &mut buffers.payload,
            config.port,
        );
        #[cfg(feature = "mdns")]
        let names = config.has_mdns_name().then(|| {
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

    pub(crate) fn hardware(&self) -> [u8; 6] {
        self.hardware
    }

    pub(crate) fn device(&self) -> &D {
        &self.device.device
    }

    pub(crate) fn device_mut(&mut self) -> &mut D {
        &mut self.device.device
    }

    /// Returns the node's addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Network> + '_ {
        self.interface.ip_addrs().iter().map(|cidr| Network {
            address: cidr.address().into(),
            prefix: cidr.prefix_len(),
        })
    }

    /// Adds the link-local address and the static ones.
    pub(crate) fn set_static(&mut self, first: &[Network]) {
        #[cfg(feature = "ipv6")]
        {
            let local = Network {
                address: link_local(self.hardware).into(),
                prefix: 64,
            };
            let fixed = first.iter().filter(|n| n.address.is_ipv6());
            self.interface.update_ip_addrs(|addresses| {
                // there is space for them
                addresses.extend(cidr(&local));
                addresses.extend(fixed.filter_map(cidr));
            });
            #[cfg(feature = "mdns")]
            if self.names.is_some() {
                // there is space for it
                let _ = self.interface.join_multicast_group(crate::mdns::GROUP_V6);
            }
        }
        #[cfg(feature = "ipv4")]
        if let Some(network) = first.iter().find(|n| n.address.is_ipv4()) {
            self.set_ipv4(Some(*network), None);
        }
    }

    /// Replaces the IPv4 address, which clears the neighbour cache.
    #[cfg(feature = "ipv4")]
    pub(crate) fn set_ipv4(&mut self, network: Option<Network>, router: Option<Ipv4Addr>) {
        let cidr = network.as_ref().and_then(cidr);
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|address| !matches!(address, IpCidr::Ipv4(_)));
            // the entry of the old address is free
            addresses.extend(cidr);
        });
        self.device.notes.broadcast = match cidr {
            Some(IpCidr::Ipv4(cidr)) => cidr.broadcast(),
            _ => None,
        };
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = router {
            // there is space for it
            let _ = routes.add_default_ipv4_route(router);
        }
        #[cfg(feature = "mdns")]
        if self.names.is_some() && network.is_some() {
            // there is space for it
            let _ = self.interface.join_multicast_group(crate::mdns::GROUP_V4);
        }
    }

    /// Returns the changes of the DHCP lease since the last call.
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

    /// Runs the timers of the stack: addresses that expire, its own requests.
    pub(crate) fn maintain(&mut self, now: Instant) {
        let now = stack_time(now);
        self.interface.poll_maintenance(now);
        self.interface
            .poll_egress(now, &mut self.device, &mut self.sockets);
    }

    /// Returns when to call [`maintain`](Self::maintain) next. It may be in the past where smoltcp
    /// waits for an event that it cannot foresee.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let then = self.interface.poll_at(stack_time(now), &self.sockets)?;
        // rounded up, because a wake-up that is too early has to be repeated
        let micros = u64::try_from(then.total_micros()).unwrap_or_default();
        Some(Instant::from_millis(micros.div_ceil(1000)))
    }

    /// Handles one frame from the device. Returns `false` if there was none.
    #[inline(never)] // what it needs of the stack is not added to what a datagram needs
    pub(crate) fn receive(&mut self, now: Instant) -> bool {
        self.device.notes.unreachable = None;
        self.device.notes.moved = None;
        let result = self.interface.poll_ingress_single(
            stack_time(now),
            &mut self.device,
            &mut self.sockets,
        );
        result != iface::PollIngressSingleResult::None
    }

    /// Returns the datagram for the relay that the last frame contained.
    #[inline(never)]
    pub(crate) fn datagram(&mut self) -> Option<Result<Datagram<'_>, Misdirected>> {
        let (payload, metadata) = self
            .sockets
            .get_mut::<udp::Socket<'_>>(self.udp)
            .recv()
            .ok()?;
        let local = metadata.local_address?;
        // multicast and broadcast addresses cannot be replied from, and loopback is not on the wire
        let own = if self.interface.has_ip_addr(local) {
            Some(local)
        } else if payload.starts_with(HELLO) {
            // a client looks for relays
            self.interface.get_source_address(&metadata.endpoint.addr)
        } else {
            None
        };
        let Some(local) = own else {
            return Some(Err(Misdirected));
        };
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

    /// Returns the mDNS query that the last frame contained.
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

    /// Returns the report of the last frame that a datagram from one of the node's addresses was
    /// not delivered: its source, its destination, and the reason.
    pub(crate) fn take_unreachable(&mut self) -> Option<Report> {
        let report = self.device.notes.unreachable.take()?;
        let local = stack_address(report.local.ip())?;
        self.interface.has_ip_addr(local).then_some(report)
    }

    /// Returns the hardware address that the last frame announced.
    pub(crate) fn moved(&self) -> Option<Moved> {
        self.device.notes.moved
    }

    /// Returns the number of frames that were dropped because of their first bytes.
    pub(crate) fn dropped(&self) -> u64 {
        self.device.notes.dropped
    }

    /// Datagrams that were not sent because their source address was lost.
    pub(crate) fn stale(&self) -> u64 {
        self.stale
    }

    /// Returns whether the device can send a frame now.
    pub(crate) fn can_send(&mut self, now: Instant) -> bool {
        self.device.device.transmit(stack_time(now)).is_some()
    }

    /// Sends a datagram immediately. Returns `false` if the device would block.
    ///
    /// If the node has lost the address of the route, the datagram is only counted. The same holds
    /// for mixed address families, which no caller passes.
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

/// The beginning of a HELLO.
const HELLO: &[u8] = &[FRAME, b'H'];

/// A datagram was sent to a multicast or broadcast address, or to one that does not exist on a
/// wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misdirected;

/// Opens a socket that only receives. It holds one datagram, which is read before the next frame.
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
    // the socket is not open yet, and callers do not pass port 0
    let _ = socket.bind(port);
    sockets.add(socket)
}

/// Returns the hop limit: 255 for mDNS responses (RFC 6762 section 11), else the recommended
/// default (RFC 1700).
const fn hop_limit(port: u16) -> u8 {
    #[cfg(feature = "mdns")]
    if port == crate::mdns::PORT {
        return 255;
    }
    let _ = port;
    64
}

/// Returns the IP header for a payload of `length` bytes, or `None` if the address families differ.
fn ip_header(
    local: IpAddr,
    to: IpAddr,
    length: usize,
    hop_limit: u8,
) -> Option<(IpRepr, EthernetProtocol)> {
    if local.is_ipv4() != to.is_ipv4() {
        // `IpRepr::new` would panic
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

/// Returns whether a device is Ethernet with frames that are long enough for every datagram.
pub(crate) fn is_fit(capabilities: &DeviceCapabilities) -> bool {
    capabilities.medium == Medium::Ethernet
        && capabilities.max_transmission_unit >= HEADERS_MAX + DATAGRAM_MAX
}

/// Returns the address as smoltcp's type, or `None` if its family is not compiled in.
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
