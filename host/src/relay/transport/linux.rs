//! The transport with the extensions of Linux:
//!
//! - On a socket with several addresses each peer is answered from the address and through the
//!   interface that it wrote to (`IP_PKTINFO`, ip(7); `IPV6_PKTINFO`, RFC 3542 section 6).
//! - ICMP errors name their destination (`IP_RECVERR`), and the kernel reports what it dropped
//!   (`SO_RXQ_OVFL`).
//! - One call sends a datagram to several destinations (sendmmsg(2)) or several datagrams to one
//!   (`UDP_SEGMENT`, udp(7)).

mod options;
mod route;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;

use if_addrs::Interface;
use kilochat_core::Unreachable;
use mio::net::UdpSocket;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};

pub(crate) use self::route::Route;
use self::route::write_control;
use super::{Incoming, filter};
use crate::relay::addresses::{folded, mapped};
use crate::relay::loud::Shut;
use crate::relay::sockets;
use crate::relay::turn::SEGMENTS_MAX;
use options::Missing;

/// Space for all control messages of a received datagram or error, in bytes.
pub(crate) const CONTROL: usize = 512;

/// Space for the control messages of a sent datagram, in bytes.
const SEND_CONTROL: usize = 64;

/// Maximum number of datagrams that are sent in one call.
const CALL: usize = 32;

/// Requested send buffer of an outlet in bytes, which the kernel doubles for its overhead
/// (socket(7)): enough for two calls with all segments, or some forty short datagrams.
const OUTLET_BUFFER: usize = 16 << 10;

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) socket: UdpSocket,
    is_v6: bool,
    /// The route of a socket that is bound to one address, for datagrams without a route.
    own: Route,
    dropped: u64,
    /// Whether several datagrams to one destination may be sent in one call; false after a route
    /// has rejected that.
    has_segments: bool,
    missing: Missing,
}

impl Transport {
    /// Wraps a bound socket and turns on the options that the system has.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let missing = options::turn_on(&socket)?;
        Ok(Self {
            socket,
            is_v6: address.is_ipv6(),
            own: Route::of(address),
            dropped: 0,
            has_segments: true,
            missing,
        })
    }

    /// Returns the options that the system lacks.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.missing.names()
    }

    /// Returns another handle for the same socket, for use by another thread.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left.
    pub(crate) fn another(&self) -> io::Result<Self> {
        let socket = std::net::UdpSocket::from(SockRef::from(&self.socket).try_clone()?);
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            ..*self
        })
    }

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if no datagram has arrived. After any other error a datagram may still
    /// be waiting, so the caller can call this function again.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        control: &mut [u8],
    ) -> io::Result<Incoming<Route>> {
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
        Ok(Incoming {
            length: message.bytes,
            source: folded(source),
            route,
        })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if sending would block. Any other error concerns this destination, or
    /// the one that [`next_unreachable`](Self::next_unreachable) reports.
    pub(crate) fn send(&self, payload: &[u8], to: SocketAddr, route: &Route) -> io::Result<()> {
        let mut control = [0; SEND_CONTROL];
        let length = route.write(&mut control, self.is_v6);
        self.send_with(payload, to, &control[..length])
    }

    /// Sends a datagram to each destination in one call, up to the first one that needs another
    /// source address. Returns the number that the network took. It does not say why it took no
    /// more: a report that ended the call is still queued, and what would block will do so again.
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

    /// Sends several datagrams to one destination, each of `segment` bytes except the last, which
    /// may be shorter.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if sending would block. After any other error none was sent, and the
    /// caller may send them one by one.
    pub(crate) fn send_segments(
        &mut self,
        payload: &[u8],
        segment: usize,
        to: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        let mut control = [0; SEND_CONTROL];
        let length = route.write(&mut control, self.is_v6);
        // a length beyond the maximum of a datagram fails in the kernel
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

    /// Returns the maximum number of datagrams to one destination in one call.
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
            // with IP_RECVERR the kernel also reports that the queue of the device is full
            Some(libc::ENOBUFS | libc::ENOMEM) => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Returns the route of a datagram that arrived on this socket, for use with a socket that is
    /// bound to another address. Returns `None` if the own address is not known.
    pub(crate) fn outgoing(&self, route: Route) -> Option<Route> {
        let route = if route.own.is_some() { route } else { self.own };
        route
            .own
            .is_some_and(|own| !own.is_unspecified())
            .then_some(route)
    }

    /// Returns the next destination that the network reported as unreachable; `control` has
    /// [`CONTROL`] bytes. Reading a report clears the error that the next call on the socket would
    /// return.
    pub(crate) fn next_unreachable(&self, control: &mut [u8]) -> Option<(SocketAddr, Unreachable)> {
        if self.missing.errors[0].is_some() {
            return None;
        }
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
        // a report without an address gets one that no peer has
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Some((culprit.map_or(nobody, folded), why))
    }

    /// Lets the kernel drop what these sources send to this socket, which counts as
    /// [`dropped`](Self::dropped). It allocates nothing.
    ///
    /// # Errors
    ///
    /// If the kernel does not take the program, or has no memory for it.
    pub(crate) fn shut_out(&self, sources: &[Shut]) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        if sources.is_empty() {
            return socket.detach_filter();
        }
        socket.attach_filter(&filter::program(sources))
    }

    /// Returns the number of datagrams that the kernel is known to have dropped before they could
    /// be read.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Returns whether an own address of the wildcard socket `all` gets a socket of its own, as DNS
/// servers have one for each address: replies through it need no source address from `IP_PKTINFO`.
/// `all` still serves IPv6 link-local addresses, and peers on this machine that use the address of
/// another interface.
pub(crate) fn gets_own_socket(all: &UdpSocket, address: IpAddr) -> bool {
    let Ok(bound_to) = all.local_addr() else {
        return false;
    };
    bound_to.ip().is_unspecified()
        && match address {
            IpAddr::V4(_) => bound_to.is_ipv4() || !SockRef::from(all).only_v6().unwrap_or(true),
            IpAddr::V6(v6) => bound_to.is_ipv6() && !v6.is_unicast_link_local(),
        }
}

/// Opens a socket for one address of this machine, bound to its interface, with the port of `all`.
///
/// # Errors
///
/// If the system has no socket left, or the address is gone or not ready yet.
pub(crate) fn open_for_address(all: &UdpSocket, interface: &Interface) -> io::Result<Transport> {
    let address = SocketAddr::from((interface.ip(), all.local_addr()?.port()));
    let all = SockRef::from(all);
    let socket = sockets::unbound(address)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.set_reuse_address(true)?;
    // the port can be shared only while this runs
    all.set_reuse_address(true)?;
    let bound = socket.bind(&address.into());
    all.set_reuse_address(false)?;
    socket.set_reuse_address(false)?;
    bound?;
    let mut transport = Transport::new(UdpSocket::from_std(socket.into()))?;
    transport.own.interface = interface.index.unwrap_or_default();
    Ok(transport)
}

/// Opens a socket that sends to one peer only, with the source port `port`. What the kernel holds
/// back for that peer takes no space in another peer's send buffer, and no more than this buffer.
///
/// It is bound to a discard address, to which no datagram is sent (RFC 7600, RFC 6666), so it
/// receives nothing and does not slow down the sockets that do. The route of each datagram has the
/// source address. `all` are the receiving sockets.
///
/// # Errors
///
/// If the system has no socket left.
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
    // the port can be shared only while this runs
    share(all, true)?;
    let bound = socket.bind(&address.into());
    share(all, false)?;
    bound?;
    let socket = UdpSocket::from_std(socket.into());
    let is_linux = all.iter().all(|other| other.missing.drops.is_none());
    let missing = Missing {
        errors: options::report_errors(&socket, is_linux)?,
        ..Missing::default()
    };
    Ok(Transport {
        socket,
        is_v6,
        own: Route::default(),
        dropped: 0,
        has_segments: true,
        missing,
    })
}

/// Allows or forbids other sockets to share the port of the wildcard sockets.
fn share(all: &[Transport], shall_be: bool) -> io::Result<()> {
    all.iter()
        .filter(|transport| transport.own.own.is_none())
        .try_for_each(|transport| SockRef::from(&transport.socket).set_reuse_address(shall_be))
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
            // one of them needs another source address than the rest
            assert_eq!(send([route, elsewhere, route, route], 0), 0);
            // the sender of the next datagram may be told that nobody listens there
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
            // outlets do not receive datagrams in place of the receiving socket
            client.send(b"again").unwrap();
            while all[0].receive(&mut buffer, &mut [0; CONTROL]).is_err() {}
            // no other program can share the port
            assert!(
                std::net::UdpSocket::bind((bound.parse::<SocketAddr>().unwrap().ip(), port))
                    .is_err()
            );
            // the receiving socket gets the reports of the network, too
            drop(client);
            outlets[0].send(b"hi", to, &route).unwrap();
            let why = all[0].next_unreachable(&mut [0; CONTROL]);
            assert_eq!(why, Some((to, Unreachable::Port)));
        }
    }

    #[test]
    fn an_outlet_takes_a_bounded_number_of_bytes_for_a_peer_that_takes_none() {
        // waiting for a neighbour that does not answer needs a network: tests/networks.rs
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
