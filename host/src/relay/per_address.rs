//! Sockets that are opened in addition to those that are bound to a wildcard address: one for each
//! address of this machine. They follow the changes of its addresses.

use core::net::IpAddr;
use std::io;

use if_addrs::Interface;
use mio::Poll;

use super::addresses::own_addresses;
use super::network::Sockets;
use super::transport::{Path, Route, gets_own_socket, open_for_address};

/// Maximum number of additional sockets.
pub(super) const PER_ADDRESS_MAX: usize = 16;

/// Maximum number of own addresses that are recorded.
pub(super) const OWN_MAX: usize = 256;

/// The address that an additional socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the socket that is bound to the wildcard address.
    all: usize,
    address: IpAddr,
    /// The kernel's index of the interface. An interface that is deleted and created again has
    /// another one.
    interface: u32,
}

/// The changes of the additional sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) opened: usize,
    pub(super) closed: usize,
    /// Number of sockets that could not be opened: the address may be gone again, or not be ready
    /// yet.
    pub(super) missing: usize,
}

impl Sockets {
    /// Opens and closes sockets so that they match the addresses of this machine. It allocates
    /// nothing.
    pub(super) fn follow(&mut self, interfaces: &[Interface], poll: &Poll) -> Followed {
        let mut followed = Followed::default();
        self.note_own(interfaces);
        // from the last one on, because removal moves the last one into the gap
        for place in (0..self.per_address.len()).rev() {
            let Place {
                address, interface, ..
            } = self.per_address[place];
            let is_there = |other: &Interface| {
                other.ip() == address && other.index.unwrap_or_default() == interface
            };
            if !interfaces.iter().any(is_there) {
                self.close(place, poll);
                followed.closed += 1;
            }
        }
        for all in 0..self.count() {
            for interface in interfaces {
                let place = Place {
                    all,
                    address: interface.ip(),
                    interface: interface.index.unwrap_or_default(),
                };
                if self.per_address.len() < PER_ADDRESS_MAX
                    && !self.per_address.contains(&place)
                    && gets_own_socket(&self.transports[all].socket, place.address)
                {
                    match self.open(place, interface, poll) {
                        Ok(()) => followed.opened += 1,
                        Err(_) => followed.missing += 1,
                    }
                }
            }
        }
        followed
    }

    /// Returns the number of sockets that were requested; the additional ones come after them.
    fn count(&self) -> usize {
        self.transports.len() - self.per_address.len()
    }

    fn note_own(&mut self, interfaces: &[Interface]) {
        self.own.clear();
        for index in 0..self.count() {
            let Ok(bound) = self.transports[index].socket.local_addr() else {
                continue;
            };
            let room = OWN_MAX - self.own.len();
            self.own.extend(own_addresses(bound, interfaces).take(room));
        }
    }

    fn open(&mut self, place: Place, interface: &Interface, poll: &Poll) -> io::Result<()> {
        let transport = open_for_address(&self.transports[place.all].socket, interface)?;
        let another = match self.worker {
            Some(_) => Some(transport.another()?),
            None => None,
        };
        self.add(transport, poll)?;
        self.per_address.push(place);
        if let (Some(worker), Some(another)) = (&mut self.worker, another) {
            worker.open(another);
        }
        let opened = Path {
            socket: self.transports.len() - 1,
            ..Path::default()
        };
        let before = place.path_without();
        self.paths
            .change_paths(|path| (path == before).then_some(opened));
        Ok(())
    }

    /// Closes a socket. The last socket takes over its index.
    fn close(&mut self, place: usize, poll: &Poll) {
        let (index, last) = (self.count() + place, self.transports.len() - 1);
        let without = self.per_address.swap_remove(place).path_without();
        self.remove(index, poll);
        if let Some(worker) = &mut self.worker {
            worker.close(index);
        }
        self.paths.change_paths(|path| match path.socket {
            socket if socket == index => Some(without),
            socket if socket == last => Some(Path {
                socket: index,
                ..path
            }),
            _ => None,
        });
    }
}

impl Place {
    /// Returns the path for replies to peers that wrote to this address after its socket was
    /// closed: through the wildcard socket and any interface that leads to them.
    const fn path_without(self) -> Path {
        Path {
            socket: self.all,
            route: Route::from_own(self.address),
        }
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
mod tests {
    use core::net::SocketAddr;
    use core::time::Duration;

    use kilochat_core::{Config, Instant, Relay, Reply};

    use super::*;
    use crate::relay::addresses::interfaces;
    use crate::relay::turn::Network;

    /// Returns the path on which a datagram of the peer arrives.
    fn heard_on(network: &mut Sockets, peer: &std::net::UdpSocket, to: IpAddr) -> Path {
        let port = network.transports[0].socket.local_addr().unwrap().port();
        peer.send_to(b"hello", (to, port)).unwrap();
        for _ in 0..1000 {
            network.look_again();
            network.begin_batch();
            if let Some(arrival) = network.receive(&mut [0; 16]) {
                return arrival.path;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing arrived at {to}");
    }

    #[test]
    fn sockets_follow_the_addresses_and_peers_keep_the_one_that_they_wrote_to() {
        let poll = Poll::new().unwrap();
        let socket = mio::net::UdpSocket::bind("[::]:0".parse().unwrap()).unwrap();
        let mut network = Sockets::new(vec![socket], &[], &poll).unwrap();
        let mut relay = Box::new(Relay::<2, 8192, 4>::new());
        relay.configure(Config::new([0; 16]));
        let mut join = |from: SocketAddr| {
            let event = relay.handle_datagram(Instant::default(), from, b"x", &mut Reply::new());
            event.seat().unwrap()
        };
        let own: IpAddr = [127, 0, 0, 1].into();
        let peer = std::net::UdpSocket::bind((own, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let to = peer.local_addr().unwrap();
        let [seat, other] = [join(to), join("127.0.0.2:1".parse().unwrap())];
        assert_eq!(heard_on(&mut network, &peer, own).socket, 0);
        let (mut first, mut last) = (interfaces(), interfaces());
        first.sort_by_key(|interface| interface.ip() != own);
        last.sort_by_key(|interface| interface.ip() == own);
        for order in [first, last] {
            let mut followed = Followed::default();
            let allocations = allocation_counter::measure(|| {
                followed = network.follow(&order, &poll);
            });
            assert_eq!(allocations.count_total, 0, "{allocations:?}");
            let count = network.transports.len();
            let opened = Followed {
                opened: count - 1,
                ..Followed::default()
            };
            let closed = Followed {
                closed: count - 1,
                ..Followed::default()
            };
            assert_eq!(followed, opened, "{order:?}");
            assert_eq!(network.follow(&order, &poll), Followed::default());
            let path = heard_on(&mut network, &peer, own);
            assert_ne!(path.socket, 0);
            network.handle_heard(Instant::default(), seat, path, true);
            let socket = count - 1;
            network.handle_heard(Instant::default(), other, Path { socket, ..path }, true);
            assert_eq!(network.follow(&[], &poll), closed);
            assert_eq!(
                (network.transports.len(), network.per_address.len()),
                (1, 0)
            );
            let paths = [seat, other].map(|seat| network.paths.path(seat));
            assert_eq!(paths.map(|path| path.socket), [0, 0]);
            assert_eq!(heard_on(&mut network, &peer, own).socket, 0);
            network.answer(Instant::default(), b"hi", to, (paths[0], Some(seat)));
            let (_, from) = peer.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(from.ip(), own);
            assert_eq!(network.follow(&order, &poll), opened);
            assert_eq!(network.paths.path(seat).route, Route::default());
            assert_ne!(network.paths.path(seat).socket, 0);
            assert_eq!(network.follow(&[], &poll), closed);
        }
        assert_eq!(network.counters().send_errors, 0);
    }
}
