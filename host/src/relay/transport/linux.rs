//! The transport with what Linux adds: where a socket has several addresses, each peer is answered
//! from the very one, and through the interface, that it wrote to (`IP_PKTINFO`, ip(7);
//! `IPV6_PKTINFO`, RFC 3542 section 6); ICMP errors name their destination (`IP_RECVERR`); the
//! kernel tells what it dropped (`SO_RXQ_OVFL`), and takes a datagram to several destinations
//! (sendmmsg(2)) or several to one (`UDP_SEGMENT`, udp(7)) in a call.

use core::mem::size_of;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;

use if_addrs::Interface;
use kilochat_core::Unreachable;
use mio::net::UdpSocket;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};

use super::Received;
use crate::relay::addresses::{folded, mapped};
use crate::relay::sockets;
use crate::relay::turn::SEGMENTS_MAX;

/// Bytes for all control messages that a datagram or an error may come with.
pub(crate) const CONTROL: usize = 512;

/// Bytes for the control messages that a datagram is sent with.
const SEND_CONTROL: usize = 64;

/// The most datagrams that are sent in a call.
const CALL: usize = 32;

/// Bytes of send buffer of a socket for one peer, before the kernel doubles it for its own overhead
/// (socket(7)): two calls with all segments, or some forty short datagrams.
const OUTLET_BUFFER: usize = 16 << 10;

/// From where a peer is answered, if it is not the only address that the socket has: this one and,
/// unless that is 0, through this interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    own: Option<IpAddr>,
    interface: u32,
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) socket: UdpSocket,
    is_v6: bool,
    /// From where it sends when it is bound to one address, unless a route says otherwise.
    own: Route,
    dropped: u64,
    /// Whether no way out has refused several datagrams in a call.
    has_segments: bool,
}

impl Transport {
    /// # Errors
    ///
    /// When the kernel does not know one of the options.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        if address.ip().is_unspecified() {
            // of an IPv4 datagram only this one tells the own address where it went to a group
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            if address.is_ipv6() {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        Ok(Self {
            socket,
            is_v6: address.is_ipv6(),
            own: Route::of(address),
            dropped: 0,
            has_segments: true,
        })
    }

    /// The same socket once more, for another thread to send through.
    ///
    /// # Errors
    ///
    /// When there can be no more handles.
    pub(crate) fn another(&self) -> io::Result<Self> {
        let socket = std::net::UdpSocket::from(SockRef::from(&self.socket).try_clone()?);
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            ..*self
        })
    }

    /// # Errors
    ///
    /// `WouldBlock` when nothing has arrived; anything else may be tried again.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        control: &mut [u8],
    ) -> io::Result<Received<Route>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let mut route = Route::default();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
                let own = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                route = Route::new(own.into(), info.ipi_ifindex.cast_unsigned());
            } else if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
                let own = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                if own.to_ipv4_mapped().is_none() {
                    route = Route::new(own.into(), info.ipi6_ifindex);
                }
            } else if let ControlMessageOwned::RxqOvfl(dropped) = control {
                // the kernel counts in 32 bits
                let before = self.dropped & u64::from(u32::MAX);
                let now = u64::from(dropped);
                self.dropped += now.wrapping_sub(before) & u64::from(u32::MAX);
            }
        }
        let source = message
            .address
            .as_ref()
            .and_then(address)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Received {
            length: message.bytes,
            source: folded(source),
            route,
        })
    }

    /// # Errors
    ///
    /// `WouldBlock` when the network takes nothing now; anything else concerns this destination
    /// or, where [`next_unreachable`](Self::next_unreachable) names one, another.
    pub(crate) fn send(&self, payload: &[u8], to: SocketAddr, route: &Route) -> io::Result<()> {
        let mut control = [0; SEND_CONTROL];
        let length = route.write(&mut control, self.is_v6);
        self.send_with(payload, to, &control[..length])
    }

    /// Sends a datagram to each destination in a call, as long as they are answered from the one
    /// address that the socket has; returns how many the network took. Why it took no more is not
    /// known: a report that ended it is still in the queue, what would block will do so again.
    pub(crate) fn send_each<'a>(
        &self,
        payload: &[u8],
        destinations: impl Iterator<Item = (SocketAddr, &'a Route)>,
    ) -> usize {
        let addresses: heapless::Vec<SocketAddrAny, CALL> = destinations
            .take(CALL)
            .take_while(|(_, route)| route.own.is_none())
            .map(|(to, _)| mapped(to, self.is_v6).as_any())
            .collect();
        if addresses.len() < 2 {
            return 0;
        }
        let parts = [IoSlice::new(payload)];
        let mut controls = core::array::from_fn::<_, CALL, _>(|_| SendAncillaryBuffer::default());
        let mut messages: heapless::Vec<MMsgHdr<'_>, CALL> = addresses
            .iter()
            .zip(&mut controls)
            .map(|(to, control)| MMsgHdr::new_with_addr(to, &parts, control))
            .collect();
        sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT).unwrap_or_default()
    }

    /// Sends several datagrams to one destination, each of `segment` bytes but for the last, which may
    /// be shorter.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the network takes nothing now; after any other none was sent, and they may be
    /// one by one.
    pub(crate) fn send_segments(
        &mut self,
        payload: &[u8],
        segment: usize,
        to: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        let mut control = [0; SEND_CONTROL];
        let length = route.write(&mut control, self.is_v6);
        // more than a datagram can have is as good as the most
        let bytes = u16::try_from(segment).unwrap_or(u16::MAX).to_ne_bytes();
        let more = write_control(
            &mut control[length..],
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &bytes,
        );
        let sent = self.send_with(payload, to, &control[..length + more]);
        if let Err(error) = &sent
            && matches!(
                error.raw_os_error(),
                Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT)
            )
        {
            self.has_segments = false;
        }
        sent
    }

    /// How many datagrams to one destination it is worth to have at once.
    pub(crate) const fn segments(&self) -> usize {
        if self.has_segments { SEGMENTS_MAX } else { 1 }
    }

    fn send_with(&self, payload: &[u8], to: SocketAddr, control: &[u8]) -> io::Result<()> {
        let to = SockAddr::from(mapped(to, self.is_v6));
        let parts = [IoSlice::new(payload)];
        let mut message = MsgHdr::new().with_addr(&to).with_buffers(&parts);
        if !control.is_empty() {
            message = message.with_control(control);
        }
        let sent = SockRef::from(&self.socket).sendmsg(&message, libc::MSG_DONTWAIT);
        sent.map(drop).map_err(|error| match error.raw_os_error() {
            // with IP_RECVERR a full queue of the device is told, too
            Some(libc::ENOBUFS | libc::ENOMEM) => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// The route of a datagram that came on this socket with the addresses in it, for a socket that
    /// is bound to another one; none if they are not known.
    pub(crate) fn outgoing(&self, route: Route) -> Option<Route> {
        let route = if route.own.is_some() { route } else { self.own };
        route
            .own
            .is_some_and(|own| !own.is_unspecified())
            .then_some(route)
    }

    /// Whom the network has reported as unreachable since the last call, with `control` of [`CONTROL`]
    /// bytes; reading a report clears
    /// the error that the socket would have failed with.
    pub(crate) fn next_unreachable(&self, control: &mut [u8]) -> Option<(SocketAddr, Unreachable)> {
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut [],
            Some(control),
            MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        let mut why = Unreachable::Path;
        for control in message.cmsgs().ok()? {
            if let ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) = control
                && i32::try_from(error.ee_errno) == Ok(libc::ECONNREFUSED)
            {
                why = Unreachable::Port;
            }
        }
        let culprit = message.address.as_ref().and_then(address);
        // without an address it is nobody's: one that no peer has
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Some((culprit.map_or(nobody, folded), why))
    }

    /// How many datagrams the kernel dropped before they could be read, as far as it has said.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Route {
    /// From the address that a socket is bound to, and through the interface of its zone.
    fn of(bound_to: SocketAddr) -> Self {
        if bound_to.ip().is_unspecified() {
            return Self::default();
        }
        let zone = match bound_to {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Self {
            own: Some(folded(bound_to).ip()),
            interface: zone,
        }
    }

    /// From this address, through whatever interface leads to the peer.
    pub(crate) const fn from_own(own: IpAddr) -> Self {
        Self {
            own: Some(own),
            interface: 0,
        }
    }

    /// From this address unless it is a group's, and through this interface.
    fn new(address: IpAddr, interface: u32) -> Self {
        let is_group = address.is_multicast();
        let nothing = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        Self {
            own: Some(if is_group { nothing } else { address }),
            interface,
        }
    }

    /// Writes it as a control message for `sendmsg(2)`, and returns how long that is.
    fn write(&self, control: &mut [u8], is_v6: bool) -> usize {
        let Some(own) = self.own else { return 0 };
        let interface = self.interface.to_ne_bytes();
        match mapped((own, 0).into(), is_v6).ip() {
            IpAddr::V6(own) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&own.octets());
                info[16..].copy_from_slice(&interface);
                write_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
            IpAddr::V4(own) => {
                let mut info = [0; 12];
                info[..4].copy_from_slice(&interface);
                info[4..8].copy_from_slice(&own.octets());
                write_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
        }
    }
}

/// Whether an own address at which `all` is reached has a socket beside it, as name servers have it:
/// what is sent through that need not tell the kernel from where to go. `all` goes on to serve IPv6
/// link-local addresses, and peers on this machine that use an address of another interface.
pub(crate) fn is_served_beside(all: &UdpSocket, address: IpAddr) -> bool {
    let Ok(bound_to) = all.local_addr() else {
        return false;
    };
    bound_to.ip().is_unspecified()
        && match address {
            IpAddr::V4(_) => bound_to.is_ipv4() || !SockRef::from(all).only_v6().unwrap_or(true),
            IpAddr::V6(v6) => bound_to.is_ipv6() && !v6.is_unicast_link_local(),
        }
}

/// Opens a socket with the port of `all` for an address of this machine, and for its interface.
///
/// # Errors
///
/// When there can be no more sockets, or the address is gone or not ready.
pub(crate) fn open_beside(all: &UdpSocket, interface: &Interface) -> io::Result<Transport> {
    let address = SocketAddr::from((interface.ip(), all.local_addr()?.port()));
    let all = SockRef::from(all);
    let socket = sockets::unbound(address)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_reuse_address(true)?;
    // for as long as this takes the port can be shared
    all.set_reuse_address(true)?;
    let bound = socket.bind(&address.into());
    all.set_reuse_address(false)?;
    socket.set_reuse_address(false)?;
    bound?;
    let mut transport = Transport::new(UdpSocket::from_std(socket.into()))?;
    transport.own.interface = interface.index.unwrap_or_default();
    Ok(transport)
}

/// A socket that only sends, from `port` and for one peer: what the kernel holds back for that peer
/// fills no other's buffer, and no more than this one.
///
/// It is bound to an address that no datagram is ever sent to (RFC 7600, RFC 6666), so that it
/// receives nothing and costs those that do receive nothing; each datagram is sent with the address
/// in its route. `all` are the sockets that receive.
///
/// # Errors
///
/// When there can be no more sockets.
pub(crate) fn outlet(all: &[Transport], port: u16, is_v6: bool) -> io::Result<Transport> {
    let address: SocketAddr = if is_v6 {
        (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1), port).into()
    } else {
        (Ipv4Addr::new(192, 0, 0, 8), port).into()
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if is_v6 {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(OUTLET_BUFFER)?;
    socket.set_reuse_address(true)?;
    // for as long as this takes the port can be shared
    share(all, true)?;
    let bound = socket.bind(&address.into());
    share(all, false)?;
    bound?;
    let socket = UdpSocket::from_std(socket.into());
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    if is_v6 {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(Transport {
        socket,
        is_v6,
        own: Route::default(),
        dropped: 0,
        has_segments: true,
    })
}

/// Lets the port of the sockets that are bound to all addresses be shared, or no longer.
fn share(all: &[Transport], shall_be: bool) -> io::Result<()> {
    all.iter()
        .filter(|transport| transport.own.own.is_none())
        .try_for_each(|transport| SockRef::from(&transport.socket).set_reuse_address(shall_be))
}

/// Writes a control message as cmsg(3) lays it out, and returns how much room it takes; the kernel
/// copies it, so it may lie anywhere.
fn write_control(control: &mut [u8], level: i32, kind: i32, data: &[u8]) -> usize {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let length = HEADER + data.len();
    control[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
    control[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
    control[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    control[HEADER..length].copy_from_slice(data);
    length.next_multiple_of(size_of::<usize>())
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| {
        let v6 = storage.as_sockaddr_in6()?;
        Some(core::net::SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_sent_in_a_call_and_an_error_among_them_is_found() {
        for bound in ["127.0.0.1:0", "[::]:0"] {
            let socket = UdpSocket::bind(bound.parse().unwrap()).unwrap();
            let transport = Transport::new(socket).unwrap();
            let [ada, bob, eve, closed] =
                core::array::from_fn(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
            let address = |socket: &std::net::UdpSocket| socket.local_addr().unwrap();
            let closed = {
                let nobody = address(&closed);
                drop(closed);
                nobody
            };
            let (route, elsewhere) = (Route::default(), Route::new([127, 0, 0, 3].into(), 0));
            let all = [address(&ada), closed, address(&bob), address(&eve)];
            let send = |routes: [Route; 4], from: usize| {
                let destinations = all.iter().copied().zip(&routes).skip(from);
                transport.send_each(b"hello", destinations)
            };
            // one of them must be answered from another address than the rest
            assert_eq!(send([route, elsewhere, route, route], 0), 0);
            // that nobody listens there may be told to the next one's sender
            let mut sent = send([route; 4], 0);
            if sent < 4 {
                assert_eq!(sent, 2);
                sent += send([route; 4], sent);
            }
            assert_eq!(sent, 4);
            let why = transport.next_unreachable(&mut [0; CONTROL]);
            assert_eq!(why, Some((closed, Unreachable::Port)), "{bound}");
            for peer in [ada, bob, eve] {
                let mut buffer = [0; 16];
                assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
            }
        }
    }

    #[test]
    fn segments_arrive_as_datagrams_from_the_address_that_was_written_to() {
        for (bound, local, remote) in [
            ("[::]:0", "127.0.0.3", "127.0.0.1"),
            ("[::]:0", "::1", "::1"),
            ("0.0.0.0:0", "127.0.0.3", "127.0.0.1"),
        ] {
            let socket = UdpSocket::bind(bound.parse().unwrap()).unwrap();
            let mut transport = Transport::new(socket).unwrap();
            let port = transport.socket.local_addr().unwrap().port();
            let client = std::net::UdpSocket::bind((remote, 0)).unwrap();
            client.connect((local, port)).unwrap();
            client.send(b"hello").unwrap();
            let mut buffer = [0; 16];
            let received = loop {
                match transport.receive(&mut buffer, &mut [0; CONTROL]) {
                    Ok(received) => break received,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            };
            transport
                .send_segments(b"aaabbbcc", 3, received.source, &received.route)
                .unwrap();
            for segment in ["aaa", "bbb", "cc"] {
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], segment.as_bytes());
            }
            assert_eq!(transport.segments(), 16);
        }
    }

    #[test]
    fn an_outlet_sends_from_the_address_and_port_that_the_peer_wrote_to() {
        for (bound, local, remote) in [
            ("[::]:0", "127.0.0.3", "127.0.0.1"),
            ("[::]:0", "::1", "::1"),
            ("0.0.0.0:0", "127.0.0.3", "127.0.0.1"),
            ("127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
            ("[::1]:0", "::1", "::1"),
        ] {
            let socket = UdpSocket::bind(bound.parse().unwrap()).unwrap();
            let mut all = [Transport::new(socket).unwrap()];
            let port = all[0].socket.local_addr().unwrap().port();
            let client = std::net::UdpSocket::bind((remote, 0)).unwrap();
            client.connect((local, port)).unwrap();
            let limit = core::time::Duration::from_secs(10);
            client.set_read_timeout(Some(limit)).unwrap();
            client.send(b"hello").unwrap();
            let mut buffer = [0; 16];
            let received = loop {
                match all[0].receive(&mut buffer, &mut [0; CONTROL]) {
                    Ok(received) => break received,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            };
            let to = received.source;
            let route = all[0].outgoing(received.route).unwrap();
            // one for each of several peers
            let mut outlets = [(); 3].map(|()| outlet(&all, port, to.is_ipv6()).expect(bound));
            for outlet in &outlets {
                outlet.send(b"hi", to, &route).expect(bound);
                assert_eq!(client.recv(&mut buffer).unwrap(), 2);
            }
            outlets[0].send_segments(b"aab", 2, to, &route).unwrap();
            for length in [2, 1] {
                assert_eq!(client.recv(&mut buffer).unwrap(), length);
            }
            // they take nothing away from the socket that receives
            client.send(b"again").unwrap();
            while all[0].receive(&mut buffer, &mut [0; CONTROL]).is_err() {}
            // the port is not shared with anybody else
            assert!(
                std::net::UdpSocket::bind((bound.parse::<SocketAddr>().unwrap().ip(), port))
                    .is_err()
            );
            // what the network reports goes to the socket that receives, too
            drop(client);
            outlets[0].send(b"hi", to, &route).unwrap();
            let why = all[0].next_unreachable(&mut [0; CONTROL]);
            assert_eq!(why, Some((to, Unreachable::Port)));
        }
    }

    #[test]
    fn an_outlet_takes_a_bounded_number_of_bytes_for_a_peer_that_takes_none() {
        // what waits for a neighbor that does not answer needs a network: tests/networks.rs
        let all =
            [Transport::new(UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap()];
        let outlet = outlet(&all, all[0].socket.local_addr().unwrap().port(), false).unwrap();
        let size = SockRef::from(&outlet.socket).send_buffer_size().unwrap();
        assert!(
            (OUTLET_BUFFER..=4 * OUTLET_BUFFER).contains(&size),
            "{size}"
        );
    }
}
