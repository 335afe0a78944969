//! The transport with what the standard library's sockets can do, on any system.
//!
//! The system chooses the source address of what is sent, which is the wrong one where a machine
//! has several and peers insist on theirs; bind to one address with `--bind` then.

use core::net::{IpAddr, SocketAddr};
use std::io;

use if_addrs::Interface;
use kilochat_core::Unreachable;
use mio::net::UdpSocket;
use socket2::SockRef;

use super::Received;
use crate::relay::addresses::{folded, mapped};

/// How systems say that a queue is full, for which the standard library has no name: `ENOBUFS` on
/// BSD and macOS, on Linux, and `WSAENOBUFS` on Windows.
const NO_BUFFERS: [i32; 3] = [55, 105, 10055];

/// Bytes for control messages, of which there are none.
pub(crate) const CONTROL: usize = 0;

/// From where a peer is answered: the system knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route;

impl Route {
    /// From this address.
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
    /// # Errors
    ///
    /// When the socket has no address.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        Ok(Self { socket, is_v6 })
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
        _control: &mut [u8],
    ) -> io::Result<Received<Route>> {
        let (length, source) = self.socket.recv_from(buffer).map_err(|error| {
            // how Windows tells, without a name, that nobody listens where something was sent
            let is_report = error.kind() == io::ErrorKind::ConnectionReset;
            if is_report {
                io::ErrorKind::Interrupted.into()
            } else {
                error
            }
        })?;
        Ok(Received {
            length,
            source: folded(source),
            route: Route,
        })
    }

    /// # Errors
    ///
    /// `WouldBlock` when the network takes nothing now; anything else concerns this destination
    /// or, where [`next_unreachable`](Self::next_unreachable) names one, another.
    pub(crate) fn send(&self, payload: &[u8], to: SocketAddr, _route: &Route) -> io::Result<()> {
        let sent = self.socket.send_to(payload, mapped(to, self.is_v6));
        sent.map(drop).map_err(|error| match error.raw_os_error() {
            Some(code) if NO_BUFFERS.contains(&code) => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Sends nothing: it takes a call for each destination.
    pub(crate) fn send_each<'a>(
        &self,
        _payload: &[u8],
        _destinations: impl Iterator<Item = (SocketAddr, &'a Route)>,
    ) -> usize {
        0
    }

    /// # Errors
    ///
    /// Always: several datagrams in a call are nothing that this system is known to take.
    pub(crate) fn send_segments(
        &mut self,
        _payload: &[u8],
        _segment: usize,
        _to: SocketAddr,
        _route: &Route,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many datagrams to one destination it is worth to have at once.
    pub(crate) const fn segments(&self) -> usize {
        1
    }

    /// The route of a datagram that came on this socket, for another socket: the system knows.
    pub(crate) fn outgoing(&self, route: Route) -> Option<Route> {
        Some(route)
    }

    /// Whom the network has reported as unreachable: here it does not say.
    pub(crate) fn next_unreachable(
        &self,
        _control: &mut [u8],
    ) -> Option<(SocketAddr, Unreachable)> {
        None
    }

    /// How many datagrams the system dropped before they could be read: here it does not say.
    pub(crate) fn dropped(&self) -> u64 {
        0
    }
}

/// No socket: it is not known that others with the port of `all` leave those alone.
///
/// # Errors
///
/// Always.
pub(crate) fn outlet(_all: &[Transport], _port: u16, _is_v6: bool) -> io::Result<Transport> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a socket for an own address may be opened: it is not known that others with the port of
/// `all` leave that one alone.
pub(crate) fn is_served_beside(_all: &UdpSocket, _address: IpAddr) -> bool {
    false
}

/// # Errors
///
/// Always.
pub(crate) fn open_beside(_all: &UdpSocket, _interface: &Interface) -> io::Result<Transport> {
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
        assert!(!is_served_beside(&transport.socket, nobody.ip()));
        for interface in interfaces() {
            assert!(open_beside(&transport.socket, &interface).is_err());
        }
        assert!(transport.outgoing(Route).is_some());
        assert!(outlet(&[], 1, false).is_err());
        assert_eq!(transport.another().unwrap().segments(), 1);
    }
}
