//! The transport with the standard library's sockets, for any system.
//!
//! The system chooses the source address of a reply. That may be the wrong one on a machine with
//! several addresses, and many clients ignore such a reply; bind the relay to one address with
//! `--bind` then. The crate `quinn-udp` chooses the address, but Wine, by which the tests run this
//! transport for Windows, ignores that choice, and refuses the crate an option on IPv4 sockets.

use core::net::{IpAddr, SocketAddr};
use std::io;

use if_addrs::Interface;
use kilochat_core::Unreachable;
use mio::net::UdpSocket;
use socket2::SockRef;

use super::Incoming;
use crate::relay::addresses::{folded, mapped};
use crate::relay::loud::Shut;

/// Error numbers for a full queue, which the standard library does not name: `ENOBUFS` on BSD and
/// macOS, on Linux, and `WSAENOBUFS` on Windows.
const NO_BUFFERS: [i32; 3] = [55, 105, 10055];

/// Space for control messages in bytes; there are none.
pub(crate) const CONTROL: usize = 0;

/// The route for replies to a peer, which the system chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route;

impl Route {
    /// Returns this machine's address, which is not known.
    #[cfg(any(not(target_os = "linux"), feature = "std-sockets"))]
    pub(crate) const fn own(self) -> Option<IpAddr> {
        None
    }

    /// Returns the route from an address, which the system chooses in any case.
    pub(crate) const fn from_own(_own: IpAddr) -> Self {
        Self
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) socket: UdpSocket,
    is_v6: bool,
}

impl Transport {
    /// Wraps a bound socket.
    ///
    /// # Errors
    ///
    /// If the socket has no address.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        Ok(Self { socket, is_v6 })
    }

    /// Returns the options that the system lacks: none, because none is used.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        core::iter::empty()
    }

    /// Returns another handle for the same socket, for use by another thread.
    ///
    /// # Errors
    ///
    /// If the process has no handle left.
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
        _control: &mut [u8],
    ) -> io::Result<Incoming<Route>> {
        let (length, source) = self.socket.recv_from(buffer).map_err(|error| {
            // Windows reports an unreachable port of an earlier datagram as this error
            let is_report = error.kind() == io::ErrorKind::ConnectionReset;
            if is_report {
                io::ErrorKind::Interrupted.into()
            } else {
                error
            }
        })?;
        Ok(Incoming {
            length,
            source: folded(source),
            route: Route,
        })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if sending would block. Any other error concerns this destination, or
    /// the one that [`next_unreachable`](Self::next_unreachable) reports.
    pub(crate) fn send(&self, payload: &[u8], to: SocketAddr, _route: &Route) -> io::Result<()> {
        let sent = self.socket.send_to(payload, mapped(to, self.is_v6));
        sent.map(drop).map_err(|error| match error.raw_os_error() {
            Some(code) if NO_BUFFERS.contains(&code) => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Sends nothing and returns 0: each destination needs its own call.
    pub(crate) fn send_each<'a>(
        &self,
        _payload: &[u8],
        _destinations: impl Iterator<Item = (SocketAddr, &'a Route)>,
    ) -> usize {
        0
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// Always: no call is known that sends several datagrams on every system.
    pub(crate) fn send_segments(
        &mut self,
        _payload: &[u8],
        _segment: usize,
        _to: SocketAddr,
        _route: &Route,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the maximum number of datagrams to one destination in one call.
    pub(crate) const fn segments(&self) -> usize {
        1
    }

    /// Returns the route of a received datagram for use with another socket, which the system
    /// chooses.
    pub(crate) fn outgoing(&self, route: Route) -> Option<Route> {
        Some(route)
    }

    /// Returns `None`: the system does not report unreachable destinations.
    pub(crate) fn next_unreachable(
        &self,
        _control: &mut [u8],
    ) -> Option<(SocketAddr, Unreachable)> {
        None
    }

    /// Fails: the system drops nothing for the relay.
    pub(crate) fn shut_out(&self, _sources: &[Shut]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns 0: the system does not report how many datagrams it dropped.
    pub(crate) fn dropped(&self) -> u64 {
        0
    }
}

/// Opens no socket. It is not known whether another socket with the port of `all` would take
/// datagrams away from it.
///
/// # Errors
///
/// Always.
pub(crate) fn outlet(_all: &[Transport], _port: u16, _is_v6: bool) -> io::Result<Transport> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns `false`. It is not known whether a socket for one address would take datagrams away from
/// `all`.
pub(crate) fn gets_own_socket(_all: &UdpSocket, _address: IpAddr) -> bool {
    false
}

/// Opens no socket.
///
/// # Errors
///
/// Always.
pub(crate) fn open_for_address(_all: &UdpSocket, _interface: &Interface) -> io::Result<Transport> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::addresses::interfaces;

    #[test]
    fn both_families_reach_a_dual_stack_socket_and_are_answered() {
        let Ok(socket) = UdpSocket::bind("[::]:0".parse().unwrap()) else {
            panic!("this machine has no IPv6");
        };
        let mut transport = Transport::new(socket).unwrap();
        let port = transport.socket.local_addr().unwrap().port();
        assert!(transport.shut_out(&[]).is_err());
        for local in ["127.0.0.1", "::1"] {
            let client = std::net::UdpSocket::bind((local, 0)).unwrap();
            client.connect((local, port)).unwrap();
            client.send(b"hello").unwrap();
            let mut buffer = [0; 16];
            let received = loop {
                match transport.receive(&mut buffer, &mut [0; CONTROL]) {
                    Ok(received) => break received,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            };
            assert_eq!(received.source, client.local_addr().unwrap());
            for route in [received.route, Route::from_own(local.parse().unwrap())] {
                transport
                    .send(&buffer[..received.length], received.source, &route)
                    .unwrap();
                assert_eq!(client.recv(&mut buffer).unwrap(), 5);
            }
        }
        assert_eq!(
            (
                transport.next_unreachable(&mut [0; CONTROL]),
                transport.dropped()
            ),
            (None, 0)
        );
        let nobody = "127.0.0.1:9".parse().unwrap();
        assert!(transport.send_segments(b"", 1, nobody, &Route).is_err());
        assert_eq!(transport.send_each(b"", [(nobody, &Route)].into_iter()), 0);
        assert!(!gets_own_socket(&transport.socket, nobody.ip()));
        for interface in interfaces() {
            assert!(open_for_address(&transport.socket, &interface).is_err());
        }
        assert!(transport.outgoing(Route).is_some());
        assert!(outlet(&[], 1, false).is_err());
        assert_eq!(transport.missing().count(), 0);
        assert_eq!(transport.another().unwrap().segments(), 1);
    }
}
