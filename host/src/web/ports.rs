//! The UDP port of a page.

use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::hash::RandomState;
use std::io;

use mio::net::UdpSocket;

/// Opens UDP ports to the relay.
#[derive(Debug)]
pub(super) struct Ports {
    /// The addresses of the relay. The next port uses the first one.
    relays: Vec<SocketAddr>,
    hasher: RandomState,
}

impl Ports {
    pub(super) fn new(relays: Vec<SocketAddr>) -> Self {
        Self {
            relays,
            hasher: RandomState::new(),
        }
    }

    /// Opens a port for a page of this visitor.
    ///
    /// # Errors
    ///
    /// If there is no route to the relay, or the system has no file descriptor left.
    pub(super) fn open(&mut self, visitor: IpAddr) -> io::Result<UdpSocket> {
        let relay = *self.relays.first().ok_or(io::ErrorKind::NotFound)?;
        let opened = self.source(relay, visitor).map_or_else(
            || Err(io::ErrorKind::AddrNotAvailable.into()),
            |source| connect(source, relay),
        );
        opened.or_else(|_| {
            let any: IpAddr = if relay.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            connect(any, relay)
        })
    }

    /// Records that the relay's port is unreachable: the next page tries the relay's next address.
    pub(super) fn handle_unreachable(&mut self) {
        if !self.relays.is_empty() {
            self.relays.rotate_left(1);
        }
    }

    /// Returns the source address for a visitor. The relay takes a client with the name and the
    /// address of a former client for the same one, and its limits apply to each address. So each
    /// visitor gets an address of its own where the system has enough of them: on the loopback
    /// interface of Linux.
    fn source(&self, relay: SocketAddr, visitor: IpAddr) -> Option<IpAddr> {
        if !cfg!(target_os = "linux") || !relay.ip().is_loopback() || relay.is_ipv6() {
            return None;
        }
        let [a, b, c, ..] = self.hasher.hash_one(visitor).to_be_bytes();
        // 127.64.0.0/10 without its first and last addresses
        Some([127, 64 | a & 0x3F, b, c.clamp(1, 254)].into())
    }
}

fn connect(source: IpAddr, relay: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((source, 0).into())?;
    socket.connect(relay)?;
    Ok(socket)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_relay_sees_each_visitor_at_an_address_of_its_own() {
        let mut ports = Ports::new(vec!["127.0.0.1:9".parse().unwrap()]);
        let mut seen = |visitor: &str| {
            let port = ports.open(visitor.parse().unwrap()).unwrap();
            port.local_addr().unwrap().ip()
        };
        let ada = seen("192.168.1.5");
        assert_eq!(ada, seen("192.168.1.5"));
        assert_ne!(ada, seen("192.168.1.6"));
        assert_ne!(ada, seen("::1"));
        let IpAddr::V4(ada) = ada else {
            panic!("{ada}");
        };
        let [first, second, ..] = ada.octets();
        assert!(first == 127 && (64..128).contains(&second), "{ada}");
    }

    #[test]
    fn another_address_of_the_relay_is_tried_when_nobody_listens() {
        let relays = ["127.0.0.1:9", "[::1]:9"].map(|relay| relay.parse().unwrap());
        let mut ports = Ports::new(relays.to_vec());
        ports.handle_unreachable();
        let port = ports.open([127, 0, 0, 1].into()).unwrap();
        assert_eq!(port.peer_addr().unwrap(), relays[1]);
    }
}
